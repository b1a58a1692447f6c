//! Capability tokens through a real Envoy: bought by the official client, shown, delegated, revoked, lost.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use farebox_core::crypto::jws;
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use farebox_core::proof::{AUTHORIZATION, Request, Signing};
use farebox_core::token::{Chain, Constraint, Limit, Narrower, Per, Unit, delegate};
use serde_json::{Value, json};

use super::{add_routes, decode, encode, plan};
use crate::scenario::{self, Got};
use crate::stack::{priced, test_policy};
use crate::upstream::Answer;
use crate::{Envoy, EnvoyConfig, Scene, Stack, Tools};

/// Variable that holds the gate's signing key.
pub const KEY_ENV: &str = "FAREBOX_TOKEN_KEY";
/// Calls of the large pass.
pub const CALLS: usize = 10_000;
/// Calls of the pass that is stormed.
pub const CAP: usize = 300;

/// The gate's signing key in the rig.
pub fn gate_key() -> SigningKey {
    key(Algorithm::EdDsa, 1)
}

/// The administrator's key in the rig.
pub fn admin_key() -> SigningKey {
    key(Algorithm::EdDsa, 2)
}

/// A holder's key in the rig: a wallet's kind if `number` is even, Ed25519 if it is odd.
pub fn holder_key(number: u8) -> SigningKey {
    key(if number.is_multiple_of(2) { Algorithm::Es256k } else { Algorithm::EdDsa }, 100 + number)
}

fn key(algorithm: Algorithm, number: u8) -> SigningKey {
    SigningKey::from_secret(algorithm, &[number; 32]).expect("a small number that is not 0 is a key")
}

/// The environment that a policy with tokens needs.
pub fn with_key(env: &[(String, String)]) -> Vec<(String, String)> {
    let mut env = env.to_vec();
    env.push((KEY_ENV.to_owned(), gate_key().to_jwk().to_string()));
    env
}

/// [`test_policy`] with passes of several kinds, an administrator, and an audit log.
pub fn policy(origin: &str) -> Value {
    let mut policy = test_policy(origin);
    policy["tokens"] = json!({
        "keys": [{ "env": KEY_ENV }],
        "signed_offers": {},
        "admin": { "origin": origin, "jwk": admin_key().public().to_jwk() },
    });
    policy["audit"] = json!({});
    policy["limits"] = json!({
        "challenges_per_second": 0, "failed_payments_per_minute": 0, "uncharged_forwards_per_minute": 0
    });
    let pass = |name: &str, path: &str, pass: Value| {
        let mut route = priced(name, path, json!({}));
        route["offers"][0]["pass"] = pass;
        route
    };
    add_routes(
        &mut policy,
        [
            pass("bulk", "/plain/bulk", json!({ "calls": CALLS, "seconds": 3600, "bearer": {} })),
            pass("capped", "/plain/capped", json!({ "calls": CAP, "seconds": 3600, "bearer": {} })),
            pass("shared", "/plain/shared/*", json!({ "calls": CAP, "seconds": 3600, "delegations": 2 })),
        ],
    );
    policy
}

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What came of the official client's pass and the calls with it.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    /// Status of the purchase.
    pub bought: u16,
    /// Calls with the token that were served.
    pub served: usize,
    /// Everything else that came before the budget was used up.
    pub others: BTreeMap<String, usize>,
    /// What the last calls said was left, the smallest first.
    pub last_left: Option<u128>,
    /// What the gate says is left in the end.
    pub left: String,
    /// What the call after the last was answered.
    pub after: String,
    /// Whether that answer offers a pass.
    pub offers_pass: bool,
    /// Callouts of the gate while the token was used.
    pub callouts: u64,
    /// Requests that the upstream saw, without the purchase.
    pub hits: u64,
    /// Connections by worker.
    pub workers: Vec<u64>,
    /// Calls a second.
    pub pace: f64,
}

impl Bulk {
    /// Whether it is as it must be for `calls` calls.
    pub fn holds(&self, calls: usize) -> bool {
        self.bought == 200
            && self.served == calls
            && self.others.is_empty()
            && self.left == "call=0"
            && self.after == "402 token_exhausted"
            && self.offers_pass
            && self.callouts == 0
            && self.hits == calls as u64
            && self.workers.iter().all(|connections| *connections > 0)
    }
}

/// The official client buys the large pass, and it is used up.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn bulk(stack: &Stack) -> Result<Bulk> {
    let bought = stack.buyer.get(stack.url("/plain/bulk")).await?;
    let mut figures = Bulk { bought: bought.status, ..Bulk::default() };
    let token = bought.headers.get("capability-token").context("no token was given")?.clone();
    stack.upstream.clear();
    let callouts = callouts(stack).await?;
    let workers = stack.envoy.connections_by_worker(stack.config.port).await?;
    let began = Instant::now();
    let answers = storm(stack, "/plain/bulk", std::slice::from_ref(&token), CALLS, 64).await?;
    figures.pace = CALLS as f64 / began.elapsed().as_secs_f64();
    for (answer, times) in answers {
        match answer.as_str() {
            "200" => figures.served = times,
            _ => {
                figures.others.insert(answer, times);
            }
        }
    }
    figures.hits = stack.upstream.count();
    figures.left = left(stack, &token).await?;
    let after = call(stack, "/plain/bulk", &token).await?;
    figures.after = format!("{} {}", after.status, after.code());
    if let Some(challenge) = after.headers.get("payment-required") {
        figures.offers_pass = decode(challenge)?["accepts"][0]["extra"]["pass"]["calls"] == CALLS;
    }
    figures.callouts = self::callouts(stack).await? - callouts;
    let after = stack.envoy.connections_by_worker(stack.config.port).await?;
    figures.workers = after.iter().zip(workers).map(|(after, before)| after - before).collect();
    Ok(figures)
}

/// What came of many parallel calls on a small budget.
#[derive(Clone, Debug, Default)]
pub struct Capped {
    /// Answers by status and code.
    pub answers: BTreeMap<String, usize>,
    /// Requests that the upstream saw.
    pub hits: u64,
    /// Connections by worker.
    pub workers: Vec<u64>,
}

impl Capped {
    /// Whether exactly the budget was served.
    pub fn holds(&self) -> bool {
        self.answers.get("200") == Some(&CAP)
            && self.answers.keys().all(|answer| answer == "200" || answer == "402 token_exhausted")
            && self.hits == CAP as u64
            && self.workers.iter().all(|connections| *connections > 0)
    }
}

/// A bearer token with few calls, and many calls at once.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn capped(stack: &Stack, calls: usize, at_once: usize) -> Result<Capped> {
    let bought = stack.buyer.get(stack.url("/plain/capped")).await?;
    let token = bought.headers.get("capability-token").context("no token was given")?.clone();
    counted(stack, "/plain/capped", &[token], calls, at_once).await
}

/// Four tokens delegated from one, and many calls at once with all of them.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn shared(stack: &Stack, calls: usize, at_once: usize) -> Result<Capped> {
    let root = buy_bound(stack, "/plain/shared/a", &holder_key(0)).await?;
    let mut children = Vec::new();
    for number in 1..=4 {
        children.push(narrowed(&root, &holder_key(0), &holder_key(number), "/plain/shared/", CAP as u128)?);
    }
    counted(stack, "/plain/shared/x", &children, calls, at_once).await
}

async fn counted(stack: &Stack, path: &str, tokens: &[String], calls: usize, at_once: usize) -> Result<Capped> {
    stack.upstream.clear();
    let workers = stack.envoy.connections_by_worker(stack.config.port).await?;
    let answers = storm(stack, path, tokens, calls, at_once).await?;
    let after = stack.envoy.connections_by_worker(stack.config.port).await?;
    Ok(Capped {
        answers,
        hits: stack.upstream.count(),
        workers: after.iter().zip(workers).map(|(after, before)| after - before).collect(),
    })
}

/// What a delegated token got.
#[derive(Clone, Debug, Default)]
pub struct Delegated {
    /// Inside its grant.
    pub inside: String,
    /// Outside its grant, inside its parent's.
    pub outside: String,
    /// With its parent's holder's key instead of its own.
    pub by_parent: String,
    /// As a bearer token.
    pub naked: String,
    /// What the administrator was answered.
    pub revoked: u16,
    /// After its root was revoked, in ten calls on connections of their own.
    pub after: BTreeMap<String, usize>,
}

impl Delegated {
    /// Whether it is as it must be.
    pub fn holds(&self) -> bool {
        self.inside == "200 "
            && self.outside == "403 token_scope"
            && self.by_parent == "401 proof_invalid"
            && self.naked == "401 proof_required"
            && self.revoked == 200
            && self.after.len() == 1
            && self.after.contains_key("403 token_revoked")
    }
}

/// A delegated token, inside and outside its grant, and after its root was revoked. `make` makes it from the root and
/// the secret JWK of its holder, for the holder with the second JWK.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn delegated(
    stack: &Scene,
    make: impl Fn(&str, &SigningKey, &SigningKey) -> Result<String>,
) -> Result<Delegated> {
    let (holder, agent) = (holder_key(2), holder_key(3));
    let root = buy_bound(stack, "/plain/shared/a", &holder).await?;
    let child = make(&root, &holder, &agent)?;
    let said = |got: Got| format!("{} {}", got.status, got.code());
    let mut figures = Delegated {
        inside: said(signed_call(stack, "/plain/shared/quotes/btc", &child, &agent).await?),
        outside: said(signed_call(stack, "/plain/shared/other", &child, &agent).await?),
        by_parent: said(signed_call(stack, "/plain/shared/quotes/btc", &child, &holder).await?),
        naked: said(call(stack, "/plain/shared/quotes/btc", &child).await?),
        ..Delegated::default()
    };
    let jti = Chain::inspect(&root)?.root().token.jti.clone();
    figures.revoked = administer(stack, json!({ "op": "revoke", "what": { "token": jti } })).await?.status;
    for _ in 0..10 {
        let got = signed_call(stack, "/plain/shared/quotes/btc", &child, &agent).await?;
        *figures.after.entry(said(got)).or_default() += 1;
    }
    Ok(figures)
}

/// A token delegated in this process: to `/plain/shared/quotes/`, at most 20 calls.
///
/// # Errors
/// If it cannot be made.
pub fn delegated_here(root: &str, holder: &SigningKey, agent: &SigningKey) -> Result<String> {
    narrowed(root, holder, agent, "/plain/shared/quotes/", 20)
}

fn narrowed(root: &str, holder: &SigningKey, agent: &SigningKey, prefix: &str, calls: u128) -> Result<String> {
    let chain = Chain::inspect(root)?;
    let parent = &chain.leaf().token;
    let theirs = parent.grants.first().context("a token without a grant")?;
    let mut grant = farebox_core::token::Grant {
        constraints: vec![Constraint::PathPrefix(prefix.to_owned())],
        limits: vec![Limit { per: Per::Token, unit: Unit::Call, max: calls }],
        ..theirs.clone()
    };
    grant.inherit(theirs);
    let narrower = Narrower {
        jti: format!("child-{}", agent.public().thumbprint()),
        holder: agent.public(),
        grants: vec![grant],
        aud: None,
        iat: now(),
        nbf: None,
        exp: parent.exp,
        del_max_depth: None,
    };
    Ok(delegate(root, holder, narrower)?)
}

/// What became of tokens when the proxy's memory was lost.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// What happened to the proxy, and what a spent token, one that was revoked, and a used credit were answered then.
    pub rows: Vec<(String, [String; 3])>,
    /// Requests that the upstream saw because of them.
    pub hits: u64,
}

impl Lost {
    /// Whether nothing came back to life.
    pub fn holds(&self) -> bool {
        self.rows.len() == 2
            && self.hits == 0
            && self.rows.iter().flat_map(|(_, answers)| answers).all(|answer| answer == "402 ledger_lost")
    }
}

/// Spends a token and a credit and revokes a token; then Envoy is killed and started anew, and the listener is taken
/// away and brought back.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn lost(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Lost> {
    let mut figures = Lost::default();
    let dir = tempfile::Builder::new().prefix("farebox-listeners-").tempdir()?;
    let file = dir.path().join("listeners.json");
    let watched = file.clone();
    let plan = plan(filter, policy, &with_key(env)).edit(move |bootstrap| {
        let listeners = bootstrap["static_resources"]["listeners"].take();
        bootstrap["static_resources"]["listeners"] = json!([]);
        bootstrap["node"] = json!({ "id": "rig", "cluster": "rig" });
        bootstrap["dynamic_resources"]["lds_config"] =
            json!({ "resource_api_version": "V3", "path_config_source": { "path": watched } });
        // An error shows as a proxy that has no listener.
        let _ = std::fs::write(&watched, resources(&listeners, 1).to_string());
    });
    let mut stack = Stack::start(tools, plan).await?;
    ready(&stack).await?;
    let shown = spent(&stack).await?;
    stack.upstream.clear();

    let listeners = stack.config.build()["static_resources"]["listeners"].take();
    let write = |listeners: &Value, version: u32| -> Result<()> {
        let part = dir.path().join("part");
        std::fs::write(&part, resources(listeners, version).to_string())?;
        Ok(std::fs::rename(part, &file)?)
    };
    write(&json!([]), 2)?;
    let port = stack.config.port;
    crate::process::wait_for("the listener to go", Duration::from_secs(20), || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.err()
    })
    .await?;
    // Longer than it may drain.
    tokio::time::sleep(Duration::from_secs(4)).await;
    write(&listeners, 3)?;
    ready(&stack).await?;
    figures.rows.push(("listener removed and added".to_owned(), answers(&stack, &shown).await?));

    let text = std::fs::read_to_string(stack.envoy.config_path())?;
    stack.envoy.process().signal(libc::SIGKILL)?;
    let mut config = EnvoyConfig::new(text).concurrency(2);
    for (name, value) in with_key(env) {
        config = config.env(&name, &value);
    }
    // The ports of the one that was killed are free again once it is reaped.
    stack.envoy = Envoy::start(tools, config).await?;
    ready(&stack).await?;
    figures.rows.push(("Envoy killed and started anew".to_owned(), answers(&stack, &shown).await?));
    figures.hits = stack.upstream.count();
    Ok(figures)
}

/// A spent token, a revoked one, a used credit; each with its path.
type Shown = [(String, String); 3];

async fn spent(stack: &Stack) -> Result<Shown> {
    let token = |bought: &crate::buyer::Bought| bought.headers.get("capability-token").cloned();
    let bought = stack.buyer.get(stack.url("/plain/capped")).await?;
    let spent = token(&bought).context("no token was given")?;
    let answers = storm(stack, "/plain/capped", std::slice::from_ref(&spent), CAP + 5, 32).await?;
    ensure!(answers.get("200") == Some(&CAP), "{answers:?}");
    let bought = stack.buyer.get(stack.url("/plain/bulk")).await?;
    let revoked = token(&bought).context("no token was given")?;
    ensure!(call(stack, "/plain/bulk", &revoked).await?.status == 200, "a fresh token is good");
    let jti = Chain::inspect(&revoked)?.root().token.jti.clone();
    ensure!(administer(stack, json!({ "op": "revoke", "what": { "token": jti } })).await?.status == 200, "not revoked");
    stack.upstream.answer("/fail/before", failure());
    let bought = stack.buyer.get(stack.url("/fail/before")).await?;
    let credit = token(&bought).context("no credit was given")?;
    stack.upstream.answer("/fail/before", Answer::new(200, ("content-type", "text/plain"), "made up"));
    let got = call(stack, "/fail/before", &credit).await?;
    ensure!(got.status == 200, "the credit is good once: {} {}", got.status, got.code());
    let again = call(stack, "/fail/before", &credit).await?;
    ensure!(again.code() == "token_exhausted", "the credit is good once: {} {}", again.status, again.code());
    Ok([("/plain/capped".to_owned(), spent), ("/plain/bulk".to_owned(), revoked), ("/fail/before".to_owned(), credit)])
}

fn failure() -> Answer {
    Answer::new(500, ("content-type", "text/plain"), "failed")
}

async fn answers(stack: &Stack, shown: &Shown) -> Result<[String; 3]> {
    let mut answers = [const { String::new() }; 3];
    for (answer, (path, token)) in answers.iter_mut().zip(shown) {
        let got = call(stack, path, token).await?;
        *answer = format!("{} {}", got.status, got.code());
    }
    Ok(answers)
}

async fn ready(stack: &Stack) -> Result<()> {
    crate::process::wait_for("the gate", Duration::from_secs(30), || async {
        scenario::request("GET", &stack.url("/.well-known/jwks.json"), &[])
            .await
            .ok()
            .filter(|got| got.status == 200)
            .map(|_| ())
    })
    .await
}

fn resources(listeners: &Value, version: u32) -> Value {
    let listeners = listeners.as_array().into_iter().flatten().cloned().map(|mut listener| {
        listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
        listener
    });
    json!({ "version_info": version.to_string(), "resources": listeners.collect::<Vec<_>>() })
}

/// What others make of our tokens and receipts, and what thieves get.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Tokens, receipts, and x402's signed offers and receipts, that npm `jose` verified by the served keys.
    pub verified: usize,
    /// How many it was given.
    pub given: usize,
    /// Altered ones that it accepted.
    pub altered_accepted: usize,
    /// What thieves got who showed the payment of a pass or of a credit without its secret.
    pub thieves: BTreeMap<String, usize>,
    /// Whether the buyer got the same token and the same credit again.
    pub same: [bool; 2],
}

impl Foreign {
    /// Whether it is as it must be.
    pub fn holds(&self) -> bool {
        self.given == 8
            && self.verified == self.given
            && self.altered_accepted == 0
            && self.thieves.len() == 1
            && self.thieves.get("409 payment_used") == Some(&6)
            && self.same == [true, true]
    }
}

/// npm `jose` verifies what came with a pass and with a credit: the signed offer, the token, the receipts. Thieves replay
/// both payments, and so does the buyer.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn foreign(tools: &Tools, stack: &Scene) -> Result<Foreign> {
    let mut figures = Foreign::default();
    let (mut tokens, mut receipts, mut x402) = (Vec::new(), Vec::new(), Vec::new());
    for (nth, (path, status)) in [("/plain/capped", 200), ("/fail/before", 500)].into_iter().enumerate() {
        stack.upstream.answer("/fail/before", failure());
        let payment = scenario::sign(stack, path).await?;
        // The official client echoes the challenge's extensions.
        x402.push(signature(&decode(&payment)?, "/extensions/offer-receipt/info/offers/0/signature")?);
        let got = scenario::send(stack, "GET", path, Some(&payment)).await?;
        ensure!(got.status == status, "{path}: {} {}", got.status, got.code());
        let settled = decode(got.headers.get("payment-response").context("not paid")?)?;
        x402.push(signature(&settled, "/extensions/offer-receipt/info/receipt/signature")?);
        let token = got.headers.get("capability-token").context("no token was given")?.clone();
        receipts.push(got.headers.get("call-receipt").context("no receipt was given")?.clone());
        for extensions in
            [json!({}), json!(null), json!({ "farebox": { "info": { "nonce": format!("0x{:0>32}", 7) } } })]
        {
            let mut stolen = decode(&payment)?;
            stolen["extensions"] = extensions;
            let got = scenario::send(stack, "GET", path, Some(&encode(&stolen))).await?;
            let gave = if got.headers.contains_key("capability-token") { "a token" } else { "" };
            *figures.thieves.entry(format!("{} {}{gave}", got.status, got.code())).or_default() += 1;
        }
        let again = scenario::send(stack, "GET", path, Some(&payment)).await?;
        figures.same[nth] = again.status == 200 && again.headers.get("capability-token") == Some(&token);
        tokens.push(token);
    }
    let document = async |path: &str| -> Result<Value> {
        Ok(serde_json::from_str(&scenario::request("GET", &stack.url(path), &[]).await?.body)?)
    };
    let (jwks, did) = (document("/.well-known/jwks.json").await?, document("/.well-known/did.json").await?);
    let verify = |[tokens, receipts, x402]: [&[String]; 3]| {
        let asked = json!({
            "jwks": jwks, "did": did, "issuer": stack.origin, "audience": stack.origin,
            "tokens": tokens, "receipts": receipts, "x402": x402,
        });
        jose(tools, &asked).map(|results| verified(&results))
    };
    figures.given = tokens.len() + receipts.len() + x402.len();
    figures.verified = verify([&tokens, &receipts, &x402])?;
    let [tokens, receipts, x402] =
        [tokens, receipts, x402].map(|texts| texts.iter().map(|it| alter(it)).collect::<Vec<_>>());
    figures.altered_accepted = verify([&tokens, &receipts, &x402])?;
    Ok(figures)
}

fn signature(json: &Value, pointer: &str) -> Result<String> {
    Ok(json.pointer(pointer).and_then(Value::as_str).with_context(|| format!("nothing at {pointer}"))?.to_owned())
}

/// Of ours, that the gate is named; of x402's, that the resource is.
fn verified(results: &Value) -> usize {
    let said = |kind: &str, name: &str| {
        let all = results[kind].as_array().into_iter().flatten();
        all.filter(|claims| claims["error"].is_null() && claims[name].is_string()).count()
    };
    said("tokens", "iss") + said("receipts", "iss") + said("x402", "resourceUrl")
}

/// The same with another letter in its signature's middle.
fn alter(text: &str) -> String {
    let at = text.len() - 40;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

fn jose(tools: &Tools, asked: &Value) -> Result<Value> {
    let mut child =
        tools.node("jose-check.mjs").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run node")?;
    child.stdin.take().context("no standard input")?.write_all(asked.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a ledger with a million claims and a million tokens takes of the proxy.
#[derive(Clone, Debug, Default)]
pub struct Million {
    /// Claims, and as many tokens, of each generation.
    pub entries: u64,
    /// Entries that were found again in the last second of their lives.
    pub found: u64,
    /// What went wrong.
    pub complaints: Vec<String>,
    /// Bytes that the proxy has allocated: empty, and after each generation, the one before having expired.
    pub allocated: Vec<u64>,
    /// Microseconds for a claim with its conclusions and a draw.
    pub micros: f64,
}

impl Million {
    /// Whether everything was found again, and the second generation took no more than a tenth more than the first.
    pub fn holds(&self) -> bool {
        let [_, first, second] = self.allocated.as_slice() else { return false };
        self.complaints.is_empty() && self.found == 2 * self.entries && *second <= first + first / 10
    }
}

/// Fills the ledger of a real Envoy, through a filter with the feature `probe`, with two generations of `entries`
/// (10 000 or a million) claims and as many tokens.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn million(tools: &Tools, probe: &Path, env: &[(String, String)], entries: u64) -> Result<Million> {
    const AT_ONCE: u64 = 5000;
    // The probe's ledger is for ten thousand of each, or for a million.
    let policy = if entries > 10_000 { |_: &str| json!({ "ledger": "million" }) } else { |_: &str| json!({}) };
    let stack = Stack::start(tools, plan(probe, policy, env)).await?;
    let mut figures = Million { entries, ..Million::default() };
    figures.allocated.push(allocated(&stack).await?);
    let began = Instant::now();
    for generation in 0..2 {
        let now = 1_800_000_000 + generation * 1001;
        for step in ["fill", "check"] {
            for from in (0..entries).step_by(usize::try_from(AT_ONCE)?) {
                let count = AT_ONCE.min(entries - from);
                let script = format!("{step}:{now}-{from}-{count},reply:200");
                let got = scenario::request("GET", &stack.url("/"), &[("x-probe", &script)]).await?;
                match (step, got.status) {
                    ("check", 200) => figures.found += count,
                    (_, 200) => {}
                    _ => figures.complaints.push(got.body.chars().take(200).collect()),
                }
                if figures.complaints.len() >= 10 {
                    return Ok(figures);
                }
            }
        }
        figures.allocated.push(allocated(&stack).await?);
    }
    figures.micros = began.elapsed().as_secs_f64() * 1e6 / (2 * entries) as f64;
    Ok(figures)
}

/// Bytes that Envoy says it has allocated.
async fn allocated(stack: &Stack) -> Result<u64> {
    let memory: Value = serde_json::from_str(&stack.envoy.admin("/memory").await?)?;
    memory["allocated"].as_str().and_then(|bytes| bytes.parse().ok()).context("no `allocated` in /memory")
}

// ---- clients ----------------------------------------------------------------------------------------------------------

/// A call with a token as it is.
///
/// # Errors
/// If there is no response.
pub async fn call(stack: &Scene, path: &str, token: &str) -> Result<Got> {
    scenario::request("GET", &stack.url(path), &[("authorization", &format!("Bearer {token}"))]).await
}

/// A call with a token and a proof by `key`.
///
/// # Errors
/// If there is no response.
pub async fn signed_call(stack: &Scene, path: &str, token: &str, key: &SigningKey) -> Result<Got> {
    let fields = signed(&stack.origin, path, token, key)?;
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    scenario::request("GET", &stack.url(path), &fields).await
}

/// A text that was not used before.
fn fresh() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("nonce-{since}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What became of two POSTs whose proof covers the digest of their body: as it was signed, and altered by a byte.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn bodies(stack: &Scene) -> Result<[String; 2]> {
    let (key, path, body) = (holder_key(5), "/plain/shared/upload", r#"{"amount":1}"#);
    let token = buy_bound(stack, "/plain/shared/a", &key).await?;
    let origin = stack.origin.clone();
    let authorization = format!("HTTPSig {token}");
    let digest = farebox_core::proof::digest::field(body.as_bytes());
    let mut answers = [const { String::new() }; 2];
    for (answer, sent) in answers.iter_mut().zip([body, r#"{"amount":9}"#]) {
        let request = Request { method: "POST", origin: &origin, target: path, has_body: true };
        let fields = [("authorization", authorization.as_str()), ("content-digest", digest.as_str())];
        let nonce = fresh();
        let signing = Signing { key: &key, created: now(), nonce: &nonce, label: "sig1" };
        let headers = fields.into_iter().collect();
        let signed = signing.present(AUTHORIZATION, &request, &headers).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut request = crate::http::client().post(stack.url(path)).body(sent);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.header("signature-input", &signed.signature_input).header("signature", &signed.signature);
        let response = request.timeout(Duration::from_secs(20)).send().await?;
        let status = response.status().as_u16();
        let said: Value = serde_json::from_str(&response.text().await?).unwrap_or_default();
        *answer = format!("{status} {}", said["code"].as_str().unwrap_or_default());
    }
    Ok(answers)
}

/// Buys the pass at `path` for the holder of `key`, with a payment that the official client signs.
///
/// # Errors
/// If there is no response, or no token in it.
pub async fn buy_bound(stack: &Scene, path: &str, key: &SigningKey) -> Result<String> {
    let payment = scenario::sign(stack, path).await?;
    let origin = stack.origin.clone();
    let headers = [("payment-signature", payment.as_str())].into_iter().collect();
    let request = Request { method: "GET", origin: &origin, target: path, has_body: false };
    let nonce = fresh();
    let signing = Signing { key, created: now(), nonce: &nonce, label: "sig1" };
    let signed =
        signing.introduce("payment-signature", &request, &headers).map_err(|error| anyhow::anyhow!("{error}"))?;
    let fields = [
        ("payment-signature", payment.as_str()),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    let got = scenario::request("GET", &stack.url(path), &fields).await?;
    ensure!(got.status == 200, "{path}: {} {}", got.status, got.body);
    got.headers.get("capability-token").cloned().context("no token was given")
}

/// Asks as the administrator.
///
/// # Errors
/// If there is no response.
pub async fn administer(stack: &Scene, what: Value) -> Result<Got> {
    let mut claims = json!({ "aud": stack.origin.clone(), "iat": now(), "exp": now() + 60, "jti": fresh() });
    if let (Some(claims), Value::Object(what)) = (claims.as_object_mut(), what) {
        claims.extend(what);
    }
    let signed = jws::sign(&admin_key(), "admin+jwt", None, &claims).context("not signed")?;
    let fields = [("authorization", &*format!("Bearer {signed}"))];
    scenario::request("POST", &stack.url("/.well-known/farebox/admin"), &fields).await
}

/// What the gate says is left on a token, to whoever holds it.
pub(super) async fn left(stack: &Scene, token: &str) -> Result<String> {
    let fields = [("authorization", &*format!("Bearer {token}"))];
    let got = scenario::request("GET", &stack.url("/.well-known/farebox/token"), &fields).await?;
    let body: Value = serde_json::from_str(&got.body)?;
    Ok(body["remaining"].as_str().unwrap_or_default().to_owned())
}

/// Callouts that the gate has made for payments.
pub(super) async fn callouts(stack: &Scene) -> Result<u64> {
    let counts = stack.facilitator.counts().await?;
    Ok(counts.verify + counts.settle)
}

/// `calls` calls, `at_once` at a time on connections that are kept, with the tokens in turn; delegated ones with proofs
/// by their holders.
async fn storm(
    stack: &Scene,
    path: &str,
    tokens: &[String],
    calls: usize,
    at_once: usize,
) -> Result<BTreeMap<String, usize>> {
    storm_at(stack, std::slice::from_ref(&stack.origin), path, tokens, calls, at_once).await
}

/// The same on several gates in turn, all for the origin of the first.
pub(super) async fn storm_at(
    stack: &Scene,
    gates: &[String],
    path: &str,
    tokens: &[String],
    calls: usize,
    at_once: usize,
) -> Result<BTreeMap<String, usize>> {
    let mut holders = Vec::new();
    for token in tokens {
        let holder = Chain::inspect(token)?.holder().map(|holder| holder.thumbprint.to_string());
        let of = |thumbprint: String| (0..=9).map(holder_key).find(|key| key.public().thumbprint() == thumbprint);
        holders.push(match holder {
            None => None,
            Some(thumbprint) => Some(of(thumbprint).context("a holder that is not one of ours")?),
        });
    }
    let next = Arc::new(AtomicUsize::new(0));
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(at_once).build()?;
    let mut clients = Vec::new();
    for _ in 0..at_once {
        let (next, client) = (Arc::clone(&next), client.clone());
        let urls: Vec<String> = gates.iter().map(|gate| format!("{gate}{path}")).collect();
        let (tokens, holders) = (tokens.to_vec(), holders.clone());
        let (origin, path) = (stack.origin.clone(), path.to_owned());
        clients.push(tokio::spawn(async move {
            let mut answers: BTreeMap<String, usize> = BTreeMap::new();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= calls {
                    return Ok::<_, anyhow::Error>(answers);
                }
                let (token, holder) = (&tokens[nth % tokens.len()], &holders[nth % tokens.len()]);
                let host = origin.trim_start_matches("http://");
                let mut request =
                    client.get(&urls[nth % urls.len()]).header("host", host).timeout(Duration::from_secs(60));
                match holder {
                    None => request = request.header("authorization", format!("Bearer {token}")),
                    Some(key) => {
                        for (name, value) in signed(&origin, &path, token, key)? {
                            request = request.header(name, value);
                        }
                    }
                }
                let response = request.send().await?;
                let status = response.status().as_u16();
                let body = response.text().await.unwrap_or_default();
                let code = match status {
                    200 => String::new(),
                    _ => {
                        let body: Value = serde_json::from_str(&body).unwrap_or_default();
                        format!(" {}", body["code"].as_str().unwrap_or("no code"))
                    }
                };
                *answers.entry(format!("{status}{code}")).or_default() += 1;
            }
        }));
    }
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for client in clients {
        for (answer, times) in client.await?? {
            *answers.entry(answer).or_default() += times;
        }
    }
    Ok(answers)
}

/// The fields of a call with a token and a proof by `key`.
fn signed(origin: &str, path: &str, token: &str, key: &SigningKey) -> Result<Vec<(&'static str, String)>> {
    let authorization = format!("HTTPSig {token}");
    let headers = [("authorization", authorization.as_str())].into_iter().collect();
    let request = Request { method: "GET", origin, target: path, has_body: false };
    let nonce = fresh();
    let signing = Signing { key, created: now(), nonce: &nonce, label: "sig1" };
    let signed = signing.present(AUTHORIZATION, &request, &headers).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(vec![
        ("authorization", authorization),
        ("signature-input", signed.signature_input),
        ("signature", signed.signature),
    ])
}
