//! The npm package's gate in workerd: capability tokens, also over several services on one ledger, and what a gate costs
//! beside `@x402/hono` in the same runtime.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::tokens::{self, CAP, KEY_ENV};
use crate::accounts::{BUYER, PAYEE};
use crate::envoy_config::FACILITATOR;
use crate::package::Package;
use crate::scenario;
use crate::stack::test_policy;
use crate::tools::{WorkerTools, workspace_dir};
use crate::upstream::Answer;
use crate::workerd::{Config, WorkerStack};
use crate::{Buyer, Tools, Upstream, Workerd, chain};

/// Services that share one ledger.
const SERVICES: usize = 3;
/// Parallel calls on the capped token.
const PARALLEL: usize = 400;
/// Calls with the token of claim 2 that no facilitator is to hear of.
const CALLS: usize = 100;

/// A stack with tokens, and several services bound to one namespace of Durable Objects.
///
/// # Errors
/// If a part does not start.
pub async fn stack(
    tools: &Tools,
    workers: &WorkerTools,
    package: &Package,
    variables: &[(String, String)],
) -> Result<WorkerStack> {
    WorkerStack::start(tools, workers, package, tokens::policy, |mut config| {
        for (name, value) in tokens::with_key(variables) {
            config = config.text(&name, &value);
        }
        for _ in 1..SERVICES {
            config = config.copy()?;
        }
        Ok(config)
    })
    .await
}

/// What tokens did in workerd.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Calls with a bought pass that were served.
    pub served: usize,
    /// What the gate said was left of it.
    pub left: String,
    /// Callouts meanwhile.
    pub callouts: u64,
    /// A delegated token, inside and outside its grant, and after its root was revoked.
    pub delegated: tokens::Delegated,
    /// Answers to parallel calls on a capped token over all services.
    pub capped: BTreeMap<String, usize>,
    /// Requests of those that the upstream saw.
    pub capped_hits: u64,
    /// Services that took part.
    pub services: usize,
}

impl Tokens {
    /// Whether it is as it must be.
    pub fn holds(&self) -> bool {
        self.served == CALLS
            && self.left == format!("call={}", tokens::CALLS - CALLS)
            && self.callouts == 0
            && self.delegated.holds()
            && self.capped.get("200") == Some(&CAP)
            && self.capped.keys().all(|answer| answer == "200" || answer == "402 token_exhausted")
            && self.capped_hits == CAP as u64
            && self.services >= 3
    }
}

/// Buys, calls, delegates, revokes, and storms a capped token over all services.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn tokens(stack: &WorkerStack) -> Result<Tokens> {
    let mut figures = Tokens { services: stack.config.ports.len(), ..Tokens::default() };
    let token = bought(stack, "/plain/bulk").await?;
    let before = tokens::callouts(stack).await?;
    for _ in 0..CALLS {
        figures.served += usize::from(tokens::call(stack, "/plain/bulk", &token).await?.status == 200);
    }
    figures.left = tokens::left(stack, &token).await?;
    figures.callouts = tokens::callouts(stack).await? - before;
    figures.delegated = tokens::delegated(stack, tokens::delegated_here).await?;

    let token = bought(stack, "/plain/capped").await?;
    stack.upstream.clear();
    let gates: Vec<String> = stack.config.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    figures.capped = tokens::storm_at(stack, &gates, "/plain/capped", &[token], PARALLEL, PARALLEL).await?;
    figures.capped_hits = stack.upstream.count();
    Ok(figures)
}

async fn bought(stack: &WorkerStack, path: &str) -> Result<String> {
    let bought = stack.buyer.get(stack.url(path)).await?;
    ensure!(bought.status == 200, "{path}: {} {}", bought.status, bought.body);
    bought.headers.get("capability-token").cloned().context("no token was given")
}

/// What became of one payment sent many times at once to all services.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn stampede(stack: &WorkerStack, path: &str, times: usize) -> Result<(BTreeMap<String, usize>, u64)> {
    let payment = scenario::sign(stack, path).await?;
    let host = stack.origin.trim_start_matches("http://").to_owned();
    stack.upstream.clear();
    let mut requests = Vec::new();
    for nth in 0..times {
        let port = stack.config.ports[nth % stack.config.ports.len()];
        let (url, payment, host) = (format!("http://127.0.0.1:{port}{path}"), payment.clone(), host.clone());
        requests.push(tokio::spawn(async move {
            let fields = [("payment-signature", payment.as_str()), ("host", host.as_str())];
            match scenario::request("GET", &url, &fields).await {
                Ok(got) => format!("{} {}", got.status, got.code()),
                Err(_) => "no response".to_owned(),
            }
        }));
    }
    let mut answers = BTreeMap::new();
    for request in requests {
        *answers.entry(request.await?).or_default() += 1;
    }
    Ok((answers, stack.upstream.count()))
}

// ---- overhead --------------------------------------------------------------------------------------------------------

/// Milliseconds at the client, medians of interleaved requests.
#[derive(Clone, Debug, Default)]
pub struct Overhead {
    /// Requests of each kind.
    pub rounds: usize,
    /// A worker that passes everything on.
    pub bare: f64,
    /// A paid call through `@x402/hono`.
    pub hono: f64,
    /// A paid call through the gate, its ledger in Durable Objects on this machine's disk.
    pub disk: f64,
    /// The same, the objects' disk in memory: without what this machine takes to write a block.
    pub objects: f64,
    /// The same, its ledger in the worker's memory.
    pub memory: f64,
    /// A call with a token; ledger in Durable Objects, their disk in memory.
    pub token: f64,
    /// A call with a token; ledger in the worker's memory.
    pub token_memory: f64,
}

impl Overhead {
    /// A paid call beside one through `@x402/hono`.
    pub fn paid_ratio(&self) -> f64 {
        self.objects / self.hono
    }

    /// A call with a token beside a paid one through `@x402/hono`.
    pub fn token_ratio(&self) -> f64 {
        self.token / self.hono
    }
}

/// A kind of request that is timed.
struct Subject {
    url: String,
    host: String,
    pays: bool,
    token: Option<String>,
    times: Vec<f64>,
    _workerd: Workerd,
}

/// Times paid calls and calls with tokens, interleaved, with a facilitator that answers at once.
///
/// # Errors
/// If a part does not start, or a request is not served.
pub async fn overhead(
    tools: &Tools,
    workers: &WorkerTools,
    package: &Package,
    rounds: usize,
    variables: &[(String, String)],
) -> Result<Overhead> {
    let upstream = Upstream::start()?;
    let facilitator = Upstream::start()?;
    let says = |json: Value| Answer::new(200, ("content-type", "application/json"), json.to_string());
    let kind = json!({ "x402Version": 2, "scheme": "exact", "network": chain::NETWORK });
    facilitator.answer("/supported", says(json!({ "kinds": [kind], "extensions": [], "signers": {} })));
    facilitator.answer("/verify", says(json!({ "isValid": true, "payer": BUYER.address })));
    facilitator.answer(
        "/settle",
        says(json!({ "success": true, "transaction": format!("0x{:0>64}", 7), "network": chain::NETWORK,
                     "payer": BUYER.address })),
    );
    let buyer = Buyer::start(tools, BUYER).await?;
    let scratch = tempfile::Builder::new().prefix("farebox-objects-").tempdir()?;
    let memory = Path::new("/dev/shm");
    let in_memory = tempfile::Builder::new().prefix("farebox-objects-").tempdir_in(if memory.is_dir() {
        memory
    } else {
        scratch.path()
    })?;

    let gate = |policy: fn(&str) -> Value| -> Result<Config> {
        let config = Config::gate(package, &Value::Null, upstream.port())?.service(FACILITATOR, facilitator.port());
        let mut policy = policy(&config.url());
        policy["limits"] = json!({
            "challenges_per_second": 0, "failed_payments_per_minute": 0, "uncharged_forwards_per_minute": 0
        });
        let mut config = config.policy(policy).value("QUIET", json!(true));
        for (name, value) in tokens::with_key(variables) {
            config = config.text(&name, &value);
        }
        Ok(config)
    };
    let rig = workspace_dir().join("test-harness/workers");
    let source = |name: &str| -> Result<Config> {
        let mut config = Config::gate(package, &Value::Null, upstream.port())?;
        config.source = rig.join(name);
        Ok(config)
    };
    let hono = source("x402-hono.mjs")?
        .text("FACILITATOR_URL", &format!("http://127.0.0.1:{}", facilitator.port()))
        .text("PAYEE", PAYEE.address);
    let kinds: [(&str, Config, &str, bool); 7] = [
        ("bare", source("bare.mjs")?, "/plain/after", false),
        ("hono", hono, "/plain/after", false),
        ("disk", gate(test_policy)?, "/plain/after", false),
        ("objects", gate(test_policy)?.disk(&in_memory.path().join("paid")), "/plain/after", false),
        ("memory", gate(test_policy)?.value("MEMORY", json!(true)), "/plain/after", false),
        ("token", gate(token_policy)?.disk(&in_memory.path().join("token")), "/plain/bulk", true),
        ("token_memory", gate(token_policy)?.value("MEMORY", json!(true)), "/plain/bulk", true),
    ];
    let mut subjects = BTreeMap::new();
    for (name, config, path, token) in kinds {
        let url = format!("{}{path}", config.url());
        let workerd = Workerd::start(workers, config).await?;
        let mut subject = Subject {
            host: url.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned(),
            url,
            pays: !token && name != "bare",
            token: None,
            times: Vec::new(),
            _workerd: workerd,
        };
        if token {
            let bought = buyer.get(subject.url.clone()).await?;
            ensure!(bought.status == 200, "{name}: {} {}", bought.status, bought.body);
            subject.token = Some(bought.headers.get("capability-token").context("no token was given")?.clone());
        }
        subjects.insert(name, subject);
    }

    let client = reqwest::Client::builder().no_proxy().build()?;
    for _ in 0..rounds {
        for (name, subject) in &mut subjects {
            // Signed now: a payment of an earlier round would be too old where something is slow.
            let payment = if subject.pays { Some(paid(&buyer, &subject.url).await.context(*name)?) } else { None };
            let mut request = client.get(&subject.url).header("host", &subject.host).timeout(Duration::from_secs(20));
            if let Some(payment) = payment {
                request = request.header("payment-signature", payment);
            }
            if let Some(token) = &subject.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let began = Instant::now();
            let response = request.send().await?;
            let status = response.status().as_u16();
            let body = response.bytes().await?;
            subject.times.push(began.elapsed().as_secs_f64() * 1000.0);
            if status != 200 {
                bail!("{name}: {status} {}", String::from_utf8_lossy(&body));
            }
        }
    }
    let median = |name: &str| {
        let mut times = subjects[name].times.clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(Overhead {
        rounds,
        bare: median("bare"),
        hono: median("hono"),
        disk: median("disk"),
        objects: median("objects"),
        memory: median("memory"),
        token: median("token"),
        token_memory: median("token_memory"),
    })
}

/// A signed payment for what this address asks.
async fn paid(buyer: &Buyer, url: &str) -> Result<String> {
    let challenged = scenario::request("GET", url, &[]).await?;
    let challenge = challenged
        .headers
        .get("payment-required")
        .with_context(|| format!("no challenge: {} {}", challenged.status, challenged.body))?;
    Ok(buyer.sign(challenge).await?.value)
}

/// One pass, and nothing that a call with it need not do.
fn token_policy(origin: &str) -> Value {
    let mut policy = tokens::policy(origin);
    if let Some(policy) = policy.as_object_mut() {
        policy.remove("audit");
    }
    policy["tokens"] = json!({ "keys": [{ "env": KEY_ENV }] });
    policy
}
