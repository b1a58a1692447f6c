//! Whole exchanges through a gate: the request, the facilitator's answers and the upstream's are the input.

use super::requests::{headers, lines};
use super::{Label, Target, vectors};
use crate::crypto::jws;
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::gate::Gate;
use crate::host::{Answer, Callout, Capabilities};
use crate::http::{Headers, Reply};
use crate::proof::{AUTHORIZATION, Request, Signing};
use crate::receipt::verify::{Trust, Verifier};
use crate::test_host::TestHost;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::rc::Rc;

const NOW: u64 = 1_800_000_000;
const ORIGIN: &str = "https://api.example.com";
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// The key that signs tokens.
pub(super) fn issuer() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[1; 32]).unwrap()
}

fn admin() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[3; 32]).unwrap()
}

/// A policy with routes of every kind, passes, an administrator, and an audit log.
pub(super) fn policy() -> Value {
    let offer = json!({ "price": "$0.01", "network": "eip155:84532" });
    let mut pass = offer.clone();
    pass["pass"] = json!({ "calls": 3, "seconds": 600, "bearer": {} });
    json!({
        "version": 1,
        "origins": [ORIGIN],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "cors": { "allowed_origins": ["https://app.example"] },
        "tokens": { "keys": [{ "env": "KEY" }], "admin": { "origin": ORIGIN, "jwk": admin().public().to_jwk() } },
        "audit": {},
        "routes": [
            { "name": "after", "path": "/after", "v1": true, "offers": [offer] },
            { "name": "before", "path": "/before", "settle": "before", "offers": [offer] },
            { "name": "pass", "path": "/pass/*", "offers": [pass] },
            { "name": "free", "path": "/free", "access": "free" }
        ]
    })
}

fn gate() -> Rc<Gate> {
    let env = |name: &str| (name == "KEY").then(|| issuer().to_jwk().to_string());
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy().to_string().as_bytes(), &env, can).unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

pub(super) const EXCHANGE: Target = Target {
    name: "exchange",
    reads: "a whole exchange: request headers, an empty line, then the answers to verify and settle, and the upstream's headers",
    seeds: exchange_seeds,
    run: run_exchange,
};

/// The parts of an input, with those that are left out as an honest world says them.
fn parts(input: &[u8]) -> [Vec<u8>; 4] {
    let mut parts: [Vec<u8>; 4] = [vec![], honest_verify().into(), honest_settle().into(), b":status: 200\n".to_vec()];
    let mut rest = input;
    for part in &mut parts {
        let end = rest.windows(2).position(|pair| pair == b"\n\n");
        let (this, after) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
        if !this.is_empty() {
            *part = this.to_vec();
        }
        rest = after;
    }
    parts
}

fn honest_verify() -> String {
    json!({ "isValid": true, "payer": PAYER }).to_string()
}

fn honest_settle() -> String {
    let transaction = format!("0x{}", "ab".repeat(32));
    json!({ "success": true, "payer": PAYER, "transaction": transaction, "network": "eip155:84532" }).to_string()
}

fn host(verify: Vec<u8>, settle: Vec<u8>, upstream: Vec<u8>) -> TestHost {
    let service = move |call: &Callout| {
        let body = if call.path.ends_with("/verify") { &verify } else { &settle };
        Some(Ok(Answer { status: 200, headers: Headers::default(), body: body.clone() }))
    };
    TestHost::new(NOW, service, move |_| Some(headers(&upstream)))
}

fn run_exchange(input: &[u8]) -> Label {
    let [request, verify, settle, upstream] = parts(input);
    let request = headers(&request);
    let credentials = ["payment-signature", "x-payment", "authorization", "capability-token"];
    let shows = request.iter().any(|(name, _)| {
        let name: Vec<u8> = name.to_ascii_lowercase().iter().map(|c| if *c == b'_' { b'-' } else { *c }).collect();
        credentials.iter().any(|credential| credential.as_bytes() == name)
    });
    let host = host(verify, settle, upstream);
    let gate = gate();
    // Twice: whoever sends the same again meets what the first has left.
    let mut label = String::new();
    for _ in 0..2 {
        let mut sent = host.send(&gate, request.clone());
        match sent.reply() {
            Some(Reply { status, details, .. }) => label.push_str(&format!("{status} {} ", super::why(details))),
            None => label.push_str("waits "),
        }
        sent.hang_up();
        host.work();
    }
    for forwarded in host.forwarded() {
        let free = forwarded.text(":path").is_some_and(|path| path.to_ascii_lowercase().starts_with("/free"));
        assert!(free || shows, "served without a credential");
        let known = |name: &&str| forwarded.first(name).is_none();
        let theirs = ["payment-signature", "x-payment", "capability-token"];
        assert!(theirs.iter().all(known), "a credential went to the upstream");
    }
    let mut verifier = Verifier::new(Trust::Keys(vec![issuer().public()]), false);
    for (place, line) in (1..).zip(host.audit()) {
        verifier.read(place, line.as_bytes());
    }
    let findings = verifier.finish().findings;
    assert!(findings.is_empty(), "the audit log is whole: {findings:?}");
    if label.contains("waits") { label.into() } else { format!("ok {label}").into() }
}

/// An honest world.
fn world() -> (TestHost, Rc<Gate>) {
    (host(honest_verify().into(), honest_settle().into(), b":status: 200\n".to_vec()), gate())
}

fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields =
        vec![(":method", method), (":scheme", "https"), (":authority", "api.example.com"), (":path", path)];
    fields.extend_from_slice(more);
    fields
}

/// A payment for the first offer at `path`.
fn payment(path: &str) -> String {
    let (host, gate) = world();
    let reply = host.send(&gate, request("GET", path, &[]).into_iter().collect()).reply().unwrap();
    let (_, challenge) = reply.headers.iter().find(|(name, _)| name == "payment-required").unwrap();
    let challenge: Value = serde_json::from_slice(&STANDARD.decode(challenge).unwrap()).unwrap();
    let mut payment: Value = serde_json::from_str(vectors!("x402")["exact3009_payloadJson"].as_str().unwrap()).unwrap();
    payment["accepted"] = challenge["accepts"][0].clone();
    payment["extensions"] = json!({ "farebox": { "info": { "nonce": format!("0x{}", "1f".repeat(16)) } } });
    STANDARD.encode(payment.to_string())
}

/// A pass, bought in such a world, and bound to `holder`'s key if there is one.
fn pass(holder: Option<&SigningKey>) -> String {
    let (host, gate) = world();
    let payment = payment("/pass/a");
    let mut fields: Headers = request("GET", "/pass/a", &[("payment-signature", &payment)]).into_iter().collect();
    if let Some(key) = holder {
        let signing = Signing { key, created: NOW, nonce: "tT8mC1uYkA2Q7t9oV5Lr0w", label: "sig1" };
        let request = Request { method: "GET", origin: ORIGIN, target: "/pass/a", has_body: false };
        let signed = signing.introduce("payment-signature", &request, &fields).unwrap();
        fields.push(b"signature-input", signed.signature_input.as_bytes());
        fields.push(b"signature", signed.signature.as_bytes());
    }
    let reply = host.send(&gate, fields).reply().unwrap();
    let token = reply.headers.iter().find(|(name, _)| name == "capability-token");
    token.map(|(_, token)| token.clone()).unwrap_or_else(|| panic!("{reply:?}"))
}

fn exchange_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |method: &str, path: &str, more: &[(&str, &str)]| seeds.push(lines(request(method, path, more)));
    add("GET", "/free", &[]);
    add("GET", "/after", &[]);
    add("POST", "/nothing?a=b", &[("content-type", "application/json"), ("content-length", "2")]);
    add(
        "OPTIONS",
        "/after",
        &[
            ("origin", "https://app.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "payment-signature"),
        ],
    );
    let paid = payment("/after");
    add("GET", "/after", &[("payment-signature", &paid), ("origin", "https://app.example")]);
    add("GET", "/after", &[("x-payment", vectors!("x402")["v1_header"].as_str().unwrap())]);
    add("GET", "/before", &[("payment-signature", &payment("/before")), ("content-type", "application/grpc")]);
    add("GET", "/pass/a", &[("payment-signature", &payment("/pass/a"))]);
    let bearer = format!("Bearer {}", pass(None));
    add("GET", "/pass/a/b", &[("authorization", &bearer)]);
    add("GET", "/.well-known/farebox/token", &[("authorization", &bearer)]);
    add("GET", "/.well-known/jwks.json", &[]);
    add("GET", "/.well-known/oauth-protected-resource", &[]);
    let revoke = json!({
        "iss": "admin", "aud": ORIGIN, "iat": NOW, "exp": NOW + 60, "jti": "admin-0001", "op": "revoke",
        "what": { "token": "some-token-id" }
    });
    let revoke = format!("Bearer {}", jws::sign(&admin(), "admin+jwt", None, &revoke).unwrap());
    add("POST", "/.well-known/farebox/admin", &[("authorization", &revoke)]);

    let holder = SigningKey::from_secret(Algorithm::Es256k, &[2; 32]).unwrap();
    let held = format!("HTTPSig {}", pass(Some(&holder)));
    let mut fields: Headers = request("GET", "/pass/a", &[("authorization", &held)]).into_iter().collect();
    let signing = Signing { key: &holder, created: NOW, nonce: "oV5Lr0wtT8mC1uYkA2Q7t9", label: "sig1" };
    let about = Request { method: "GET", origin: ORIGIN, target: "/pass/a", has_body: false };
    let signed = signing.present(AUTHORIZATION, &about, &fields).unwrap();
    fields.push(b"signature-input", signed.signature_input.as_bytes());
    fields.push(b"signature", signed.signature.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let shown: Vec<_> = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    seeds.push(lines(shown.iter().map(|(name, value)| (&**name, &**value))));

    // The same payment in worlds that are not as one would wish.
    let request = lines(request("GET", "/after", &[("payment-signature", &paid)]));
    let refusals = [
        json!({ "isValid": false, "invalidReason": "insufficient_funds", "payer": PAYER }).to_string(),
        format!(
            "{}\n\n{}",
            honest_verify(),
            json!({ "success": false, "errorReason": "x", "transaction": "", "network": "eip155:84532" })
        ),
        format!("{}\n\n{}\n\n:status: 503\nretry-after: 5", honest_verify(), honest_settle()),
        format!("{}\n\n{}\n\n:status: 302\nlocation: /\nsettlement-overrides: {{}}", honest_verify(), honest_settle()),
    ];
    for refusal in refusals {
        let mut seed = request.clone();
        seed.push(b'\n');
        seed.extend(refusal.into_bytes());
        seeds.push(seed);
    }
    seeds
}
