//! `docs/tokens.md` shows what the gate does: its policies are loaded, its examples are made here. Run with
//! `FAREBOX_BLESS=1` to write the examples anew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_core::crypto::jws::{self, Jws};
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use farebox_core::gate::Gate;
use farebox_core::host::{Answer, Capabilities};
use farebox_core::http::{Headers, Reply};
use farebox_core::policy::reads_bodies;
use farebox_core::proof::{AUTHORIZATION, Request, Signing, dpop};
use farebox_core::receipt::Receipt;
use farebox_core::receipt::verify::{Trust, Verifier};
use farebox_core::test_host::TestHost;
use farebox_core::token::{Chain, Constraint, Grant, Limit, Narrower, Per, Unit, delegate};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tokens.md");
const NOW: u64 = 1_795_000_000;
const ORIGIN: &str = "https://api.example.com";
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// The keys of the page: everybody knows them.
fn key(number: u8) -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[number; 32]).unwrap()
}

fn gate_key() -> SigningKey {
    key(1)
}

fn holder_key() -> SigningKey {
    key(2)
}

fn admin_key() -> SigningKey {
    key(3)
}

fn agent_key() -> SigningKey {
    key(4)
}

/// The key that the gate changes to.
fn new_key() -> SigningKey {
    key(5)
}

/// A public key as operators write it.
fn public(key: &SigningKey) -> Value {
    let mut jwk = key.public().to_jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}

// ---- the page --------------------------------------------------------------------------------------------------------

fn page() -> String {
    std::fs::read_to_string(PAGE).unwrap()
}

/// The YAML blocks of the page.
fn blocks() -> Vec<Value> {
    let page = page();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(text, _)| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))).collect()
}

/// The policy that the page begins with.
fn policy() -> Value {
    blocks().into_iter().find(|block| block.get("version").is_some()).expect("a policy")
}

/// The policy with a part of one put into it: objects are merged, a route replaces the one of its name or is added.
fn with(mut policy: Value, part: &Value) -> Value {
    fn merge(into: &mut Map<String, Value>, part: &Map<String, Value>) {
        for (name, value) in part {
            match (into.get_mut(name), value) {
                (Some(Value::Object(there)), Value::Object(more)) => merge(there, more),
                (Some(Value::Array(there)), Value::Array(more)) if name == "routes" => {
                    for route in more {
                        there.retain(|other| other["name"] != route["name"]);
                        there.push(route.clone());
                    }
                }
                _ => {
                    into.insert(name.clone(), value.clone());
                }
            }
        }
    }
    merge(policy.as_object_mut().unwrap(), part.as_object().unwrap());
    policy
}

fn gate(policy: &Value) -> Result<Rc<Gate>, String> {
    let env = |name: &str| {
        let key = match name {
            "FAREBOX_TOKEN_KEY" => gate_key(),
            "FAREBOX_TOKEN_KEY_2027" => new_key(),
            "FAREBOX_PAYER_SECRET" => return Some("0123456789abcdef0123456789abcdef".to_owned()),
            _ => return None,
        };
        Some(key.to_jwk().to_string())
    };
    let text = policy.to_string();
    let can = Capabilities { hold_response: true, read_body: reads_bodies(text.as_bytes()) };
    let gate = Gate::load(text.as_bytes(), &env, can).map_err(|mistakes| mistakes.to_string())?;
    match gate.policy().warnings() {
        [] => Ok(Rc::new(gate)),
        warnings => Err(warnings.join("\n")),
    }
}

/// The policy with the part of the page that has this, found by a JSON pointer.
fn policy_that_has(pointer: &str) -> Value {
    let parts = blocks();
    let part =
        parts.iter().filter(|block| block.get("version").is_none()).find(|block| block.pointer(pointer).is_some());
    with(policy(), part.unwrap_or_else(|| panic!("no block has {pointer}")))
}

#[test]
fn every_policy_and_every_part_of_one_loads() {
    let known = policy();
    let mut parts = 0;
    for block in blocks() {
        let policy = match block.as_object().unwrap().keys().next().unwrap().as_str() {
            "vm_config" | "config" => continue,
            _ if block.get("version").is_some() => block,
            _ => with(known.clone(), &block),
        };
        gate(&policy).unwrap_or_else(|why| panic!("{why}\n{policy:#}"));
        parts += 1;
    }
    assert!(parts >= 8, "{parts}");
}

#[test]
fn every_example_is_what_the_gate_does() {
    let bless = std::env::var_os("FAREBOX_BLESS").is_some();
    let mut page = page();
    let mut made = story();
    for (name, text) in std::mem::take(&mut made) {
        let marker = format!("<!-- core/tests/tokens_page.rs: {name} -->\n");
        let Some((before, rest)) = page.split_once(&marker) else { panic!("{name} is not on the page:\n{text}") };
        let (fence, rest) = rest.split_once('\n').unwrap();
        let (shown, rest) = rest.split_once("```").unwrap();
        let shown = shown.trim_end();
        assert!(fence.starts_with("```"), "{name}");
        if bless {
            page = format!("{before}{marker}{fence}\n{text}\n```{rest}");
        } else {
            assert_eq!(shown, text, "{name}: run again with FAREBOX_BLESS=1");
        }
        made.insert(name, text);
    }
    for rest in page.split("<!-- core/tests/tokens_page.rs: ").skip(1) {
        let name = rest.split(' ').next().unwrap();
        assert!(made.contains_key(name), "{name} is on the page, and nothing makes it");
    }
    if bless {
        std::fs::write(PAGE, page).unwrap();
    }
}

// ---- how things are written ------------------------------------------------------------------------------------------

/// Long runs of letters, cut.
fn cut(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || "_-.~+/=".contains(c) {
            run.push(c);
            continue;
        }
        if run.len() > 64 {
            run.truncate(24);
            run.push('…');
        }
        out.push_str(&run);
        run.clear();
        out.push(c);
    }
    out.pop();
    out
}

/// JSON with as much on a line as fits.
fn pretty(value: &Value, indent: usize) -> String {
    let flat = flat(value);
    if flat.chars().count() + indent <= 100 {
        return flat;
    }
    let pad = " ".repeat(indent + 2);
    let end = " ".repeat(indent);
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| format!("{pad}{}", pretty(item, indent + 2))).collect();
            format!("[\n{}\n{end}]", items.join(",\n"))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{pad}\"{name}\": {}", pretty(value, indent + 2));
            format!("{{\n{}\n{end}}}", members.iter().map(member).collect::<Vec<_>>().join(",\n"))
        }
        other => cut(&other.to_string()),
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(", ")),
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\": {}", flat(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => cut(&other.to_string()),
    }
}

fn show(value: &Value) -> String {
    pretty(value, 0)
}

fn sent(headers: &Headers) -> String {
    let text = |name: &str| headers.text(name).unwrap().to_owned();
    let mut lines =
        vec![format!("{} {} HTTP/1.1", text(":method"), text(":path")), format!("host: {}", text(":authority"))];
    for (name, value) in headers.iter() {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        if !name.starts_with(':') {
            lines.push(format!("{name}: {}", cut(&value)));
        }
    }
    lines.join("\n")
}

fn answered(reply: &Reply, names: &[&str]) -> String {
    let reason = match reply.status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        other => panic!("{other}"),
    };
    let mut lines = vec![format!("HTTP/1.1 {} {reason}", reply.status)];
    for name in names {
        let values: Vec<&String> = reply.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value).collect();
        assert!(!values.is_empty(), "no {name} in {reply:?}");
        lines.extend(values.iter().map(|value| format!("{name}: {}", cut(value))));
    }
    lines.join("\n")
}

fn header(reply: &Reply, name: &str) -> String {
    let value = reply.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    value.unwrap_or_else(|| panic!("no {name}: {} {}", reply.status, String::from_utf8_lossy(&reply.body)))
}

fn decoded(value: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(value).unwrap()).unwrap()
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

// ---- the story -------------------------------------------------------------------------------------------------------

/// A gate with a facilitator that is honest and an upstream that answers as told.
struct Shop {
    host: TestHost,
    gate: Rc<Gate>,
    status: Rc<Cell<&'static str>>,
}

impl Shop {
    fn open(policy: &Value) -> Self {
        let status = Rc::new(Cell::new("200"));
        let answers = Rc::clone(&status);
        let transaction = Cell::new(0xb0_u8);
        let facilitator = move |call: &farebox_core::host::Callout| {
            let said = match call.path.as_str() {
                "/verify" => json!({ "isValid": true, "payer": PAYER }),
                "/settle" => {
                    transaction.set(transaction.get() + 1);
                    let transaction = format!("0x{}", format!("{:x}", transaction.get()).repeat(32));
                    json!({ "success": true, "transaction": transaction, "network": "eip155:8453", "payer": PAYER })
                }
                _ => return None,
            };
            Some(Ok(Answer { status: 200, headers: Headers::default(), body: said.to_string().into_bytes() }))
        };
        let upstream = move |_: &Headers| Some([(":status", answers.get())].into_iter().collect());
        let host = TestHost::new(NOW, facilitator, upstream);
        Self { host, gate: gate(policy).unwrap(), status }
    }

    fn send(&self, headers: Headers) -> Reply {
        self.host.send(&self.gate, headers).reply().unwrap()
    }

    /// A payment for the `nth` offer at `path`.
    fn payment(&self, method: &str, path: &str, nth: usize, number: u8) -> String {
        let challenge = decoded(&header(&self.send(request(method, path, &[])), "payment-required"));
        let offer = &challenge["accepts"][nth];
        let nonce = challenge["extensions"]["farebox"]["info"]["nonce"].clone();
        let payment = json!({
            "x402Version": 2,
            "resource": challenge["resource"],
            "accepted": offer,
            "payload": {
                "signature": format!("0x{}1b", "11".repeat(64)),
                "authorization": {
                    "from": PAYER, "to": offer["payTo"], "value": offer["amount"],
                    "validAfter": (NOW - 60).to_string(), "validBefore": (NOW + 240).to_string(),
                    "nonce": format!("0x{number:0>64x}"),
                },
            },
            "extensions": { "farebox": { "info": { "nonce": nonce } } },
        });
        STANDARD.encode(payment.to_string())
    }

    fn buy(&self, path: &str, nth: usize, number: u8) -> Reply {
        let payment = self.payment("GET", path, nth, number);
        self.send(request("GET", path, &[("payment-signature", &payment)]))
    }
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Headers {
    let authority = ORIGIN.strip_prefix("https://").unwrap();
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)];
    pseudo.into_iter().chain(more.iter().copied()).collect()
}

fn about<'a>(method: &'a str, path: &'a str) -> Request<'a> {
    Request { method, origin: ORIGIN, target: path, has_body: false }
}

/// A request that pays and introduces the holder's key.
fn introducing(path: &str, payment: &str) -> Headers {
    let key = holder_key();
    let signing = Signing { key: &key, created: NOW, nonce: "tT8mC1uYkA2Q7t9oV5Lr0w", label: "sig1" };
    let headers = request("GET", path, &[("payment-signature", payment)]);
    let signed = signing.introduce("payment-signature", &about("GET", path), &headers).unwrap();
    let fields = [
        ("payment-signature", payment),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    request("GET", path, &fields)
}

fn presenting(path: &str, token: &str, key: &SigningKey, nonce: &str) -> Headers {
    let authorization = format!("HTTPSig {token}");
    let signing = Signing { key, created: NOW, nonce, label: "sig1" };
    let headers = request("GET", path, &[("authorization", &authorization)]);
    let signed = signing.present(AUTHORIZATION, &about("GET", path), &headers).unwrap();
    let fields = [
        ("authorization", authorization.as_str()),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    request("GET", path, &fields)
}

fn story() -> BTreeMap<&'static str, String> {
    let mut made = BTreeMap::new();
    let shop = Shop::open(&policy());
    made.insert("gate-key", gate_key().to_jwk().to_string());
    bearer(&shop, &mut made);
    bound(&mut made);
    documents(&shop, &mut made);
    evidence(&mut made);
    credit(&mut made);
    administrator(&mut made);
    made
}

fn bearer(shop: &Shop, made: &mut BTreeMap<&'static str, String>) {
    let unpaid = shop.send(request("GET", "/quotes/btc", &[]));
    let challenge = decoded(&header(&unpaid, "payment-required"));
    made.insert("challenge", show(&challenge["accepts"][1]));

    let payment = shop.payment("GET", "/quotes/btc", 1, 1);
    let bought = shop.send(request("GET", "/quotes/btc", &[("payment-signature", &payment)]));
    let fields = ["capability-token", "payment-response", "call-receipt", "cache-control"];
    made.insert("bought", answered(&bought, &fields));
    let token = header(&bought, "capability-token");
    let response = decoded(&header(&bought, "payment-response"));
    assert_eq!(response["extensions"]["farebox"]["info"]["token"], token.as_str());
    made.insert("payment-response", show(&json!({ "extensions": { "farebox": response["extensions"]["farebox"] } })));
    let jws = Jws::parse(&token, 8192).unwrap();
    made.insert("token", show(&Value::Object(jws.payload)));
    assert!(Chain::inspect(&token).unwrap().holder().is_none());

    let asked = request("GET", "/quotes/eth", &[("authorization", &format!("Bearer {token}"))]);
    let got = shop.send(asked.clone());
    made.insert("call", format!("{}\n\n{}", sent(&asked), answered(&got, &["farebox-remaining", "cache-control"])));
    let seen = shop.host.forwarded().pop().unwrap();
    assert!(seen.first("authorization").is_none());
    made.insert("upstream", sent(&seen));

    let asked = request("GET", "/.well-known/farebox/token", &[("authorization", &format!("Bearer {token}"))]);
    let got = shop.send(asked.clone());
    made.insert("left", format!("{}\n\n{}", sent(&asked), show(&body(&got))));

    let again = shop.send(request("GET", "/quotes/btc", &[("payment-signature", &payment)]));
    assert_eq!((again.status, header(&again, "capability-token")), (200, token.clone()));
    let mut stolen = decoded(&payment);
    stolen["extensions"] = json!({});
    let stolen = STANDARD.encode(stolen.to_string());
    assert_eq!(
        body(&shop.send(request("GET", "/quotes/btc", &[("payment-signature", &stolen)])))["code"],
        "payment_used"
    );

    let call = || shop.send(request("GET", "/quotes/btc", &[("authorization", &format!("Bearer {token}"))]));
    let fast = (0..30).map(|_| call()).find(|reply| reply.status == 429).unwrap();
    made.insert("fast", answered(&fast, &["retry-after", "ratelimit", "ratelimit-policy"]));
    let mut later = (0..200).map(|_| {
        shop.host.pass(1);
        call()
    });
    let exhausted = later.find(|reply| reply.status == 402).unwrap();
    let offered = decoded(&header(&exhausted, "payment-required"));
    assert_eq!(offered["accepts"][1]["extra"]["pass"]["calls"], 200);
    made.insert("exhausted", format!("{}\n\n{}", answered(&exhausted, &["payment-required"]), show(&body(&exhausted))));
}

fn bound(made: &mut BTreeMap<&'static str, String>) {
    let shop = &Shop::open(&policy());
    let payment = shop.payment("GET", "/quotes/btc", 1, 2);
    let asked = introducing("/quotes/btc", &payment);
    made.insert("introduce", sent(&asked));
    let token = header(&shop.send(asked), "capability-token");
    let root = Chain::inspect(&token).unwrap().root().token.clone();
    made.insert(
        "bound",
        show(
            &json!({ "cnf": root.to_value()["cnf"], "client_id": root.client_id, "del_max_depth": root.del_max_depth }),
        ),
    );

    let asked = presenting("/quotes/btc", &token, &holder_key(), "u2Vq9yZkT4mC1uYkA2Q7t9");
    let got = shop.send(asked.clone());
    assert_eq!(got.status, 200);
    made.insert("signed", sent(&asked));
    let naked = shop.send(request("GET", "/quotes/btc", &[("authorization", &format!("Bearer {token}"))]));
    made.insert("naked", format!("{}\n\n{}", answered(&naked, &["www-authenticate"]), show(&body(&naked))));

    let proof = dpop::sign(&holder_key(), &about("GET", "/quotes/btc"), &token, NOW, "kX3nB0sWqE6yU8iP1oA5dF").unwrap();
    let fields = [("authorization", &*format!("DPoP {token}")), ("dpop", &proof)];
    let asked = request("GET", "/quotes/btc", &fields);
    assert_eq!(shop.send(asked.clone()).status, 200);
    let read = Jws::parse(&proof, 8192).unwrap();
    made.insert("dpop", sent(&asked));
    made.insert("dpop-proof", show(&json!({ "header": read.header, "payload": read.payload })));

    let theirs = &root.grants[0];
    let mut grant = Grant {
        constraints: vec![Constraint::PathPrefix("/quotes/fx/".to_owned())],
        limits: vec![Limit { per: Per::Token, unit: Unit::Call, max: 50 }],
        ..theirs.clone()
    };
    grant.inherit(theirs);
    let narrower = Narrower {
        jti: "research-agent-1".to_owned(),
        holder: agent_key().public(),
        grants: vec![grant],
        aud: None,
        iat: NOW,
        nbf: None,
        exp: NOW + 900,
        del_max_depth: None,
    };
    let child = delegate(&token, &holder_key(), narrower).unwrap();
    made.insert("delegated", show(&Chain::inspect(&child).unwrap().leaf().token.to_value()));
    let asked = presenting("/quotes/fx/eurusd", &child, &agent_key(), "h5Gf8dSa2qWe4rTy6uIo0p");
    let got = shop.send(asked);
    made.insert("delegated-call", answered(&got, &["farebox-remaining"]));
    let outside = shop.send(presenting("/quotes/btc", &child, &agent_key(), "n8Bv5cXz1lKj3hGf7dSa9q"));
    made.insert("delegated-outside", show(&body(&outside)));
}

fn documents(shop: &Shop, made: &mut BTreeMap<&'static str, String>) {
    let get = |path: &str| body(&shop.send(request("GET", path, &[])));
    made.insert("jwks", show(&get("/.well-known/jwks.json")));
    made.insert("metadata", show(&get("/.well-known/oauth-protected-resource")));
}

fn evidence(made: &mut BTreeMap<&'static str, String>) {
    let shop = Shop::open(&policy());
    let bought = shop.buy("/quotes/btc?day=1", 1, 3);
    let text = header(&bought, "call-receipt");
    let receipt = Receipt::read(&text, &[gate_key().public()]).unwrap();
    made.insert("receipt", show(&serde_json::to_value(&receipt).unwrap()));
    let token = header(&bought, "capability-token");
    let call = shop.send(request("GET", "/quotes/btc", &[("authorization", &format!("Bearer {token}"))]));
    assert_eq!(call.status, 200);
    let lines = shop.host.audit();
    let mut verifier = Verifier::new(Trust::Keys(vec![gate_key().public()]), false);
    verifier.keep_receipt(&text).unwrap();
    for (number, line) in (1..).zip(&lines) {
        verifier.read(number, line.as_bytes());
    }
    assert_eq!(verifier.finish().findings, []);
    let kind = |line: &&String| serde_json::from_str::<Value>(line).unwrap()["kind"] == "draw";
    made.insert("audit-line", lines.iter().find(kind).unwrap().clone());
}

fn credit(made: &mut BTreeMap<&'static str, String>) {
    let shop = Shop::open(&policy_that_has("/routes/0/settle"));
    shop.status.set("500");
    let payment = shop.payment("POST", "/orders", 0, 4);
    let failed = shop.send(request("POST", "/orders", &[("payment-signature", &payment)]));
    made.insert("credit", answered(&failed, &["capability-token", "payment-response"]));
    let credit = header(&failed, "capability-token");
    let root = Chain::inspect(&credit).unwrap().root().token.clone();
    made.insert("credit-token", show(&json!({ "exp - iat": root.exp - root.iat, "authorization_details": root.to_value()["authorization_details"] })));
    assert_eq!(shop.host.count("orders/credited"), 1);
    let call = || shop.send(request("POST", "/orders", &[("authorization", &format!("Bearer {credit}"))]));
    assert_eq!(call().status, 500);
    shop.status.set("200");
    assert_eq!((call().status, call().status), (200, 402));
}

fn administrator(made: &mut BTreeMap<&'static str, String>) {
    let policy = policy_that_has("/tokens/admin");
    assert_eq!(policy["tokens"]["admin"]["jwk"], public(&admin_key()));
    let shop = Shop::open(&policy);
    made.insert("admin-key", admin_key().to_jwk().to_string());
    let token = header(&shop.buy("/quotes/btc", 1, 5), "capability-token");
    let call = || shop.send(request("GET", "/quotes/btc", &[("authorization", &format!("Bearer {token}"))]));
    assert_eq!(call().status, 200);
    let jti = Chain::inspect(&token).unwrap().root().token.jti.clone();
    let ask = |jti: &str, more: Value| {
        let mut claims = json!({ "aud": ORIGIN, "iat": NOW, "exp": NOW + 60, "jti": jti });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let kid = admin_key().public().thumbprint();
        let signed = jws::sign(&admin_key(), "admin+jwt", Some(&kid), &claims).unwrap();
        let fields = [("authorization", &*format!("Bearer {signed}"))];
        (claims, signed.clone(), shop.send(request("POST", "/.well-known/farebox/admin", &fields)))
    };
    let (claims, _, answer) = ask("Zr4jQ8sT2vW6xY0a", json!({ "op": "left", "token": jti }));
    made.insert("admin-left", format!("{}\n\n{}", show(&claims), show(&body(&answer))));
    let (claims, signed, answer) = ask("c1D5eF9gH3iJ7kLm", json!({ "op": "revoke", "what": { "token": jti } }));
    made.insert("admin-header", show(&Value::Object(Jws::parse(&signed, 8192).unwrap().header)));
    made.insert("admin-claims", show(&claims));
    made.insert(
        "admin-request",
        format!("POST /.well-known/farebox/admin HTTP/1.1\nhost: api.example.com\nauthorization: Bearer {signed}"),
    );
    made.insert("admin-answer", show(&body(&answer)));
    let refused = call();
    assert_eq!((answer.status, refused.status), (200, 403));
    made.insert("revoked", show(&body(&refused)));
}

/// What operations.md promises of a key that was stolen.
#[test]
fn a_key_taken_out_ends_its_tokens_and_their_buyers_get_them_signed_by_the_new_one() {
    let shop = Shop::open(&policy());
    let payment = shop.payment("GET", "/quotes/btc", 1, 6);
    let show = |gate| {
        let headers = request("GET", "/quotes/btc", &[("payment-signature", &payment)]);
        shop.host.send(gate, headers).reply().unwrap()
    };
    let call = |gate, token: &str| {
        let headers = request("GET", "/quotes/btc", &[("authorization", &format!("Bearer {token}"))]);
        shop.host.send(gate, headers).reply().unwrap()
    };
    let old = header(&show(&shop.gate), "capability-token");
    assert_eq!(header(&call(&shop.gate, &old), "farebox-remaining"), "call=99");
    let mut changed = policy();
    changed["tokens"]["keys"] = json!([{ "env": "FAREBOX_TOKEN_KEY_2027" }]);
    let changed = gate(&changed).unwrap();
    assert_eq!(body(&call(&changed, &old))["code"], "token_invalid");
    let new = header(&show(&changed), "capability-token");
    assert_ne!(new, old);
    assert_eq!(header(&call(&changed, &new), "farebox-remaining"), "call=98");
}

/// A pass that is changed in the policy is another pass: the page tells sellers to mind the buyers of the old one.
#[test]
fn a_changed_pass_is_not_given_again() {
    let shop = Shop::open(&policy());
    let payment = shop.payment("GET", "/quotes/btc", 1, 7);
    let show = |gate| {
        let headers = request("GET", "/quotes/btc", &[("payment-signature", &payment)]);
        shop.host.send(gate, headers).reply().unwrap()
    };
    assert_eq!(show(&shop.gate).status, 200);
    let mut changed = policy();
    changed["routes"][0]["offers"][1]["pass"]["calls"] = 201.into();
    let changed = gate(&changed).unwrap();
    assert_eq!(body(&show(&changed))["code"], "payment_used");
    shop.host.pass(2 * 3600);
    assert_eq!(body(&show(&shop.gate))["code"], "payment_expired");
}
