//! The examples of `docs/profile.md` are what the gate does: they are made here, by a seller, a buyer and its agent.
//!
//! `FAREBOX_BLESS=1` writes them anew, and `core/vectors/profile.json`, which holds them uncut for other implementations.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_core::crypto::hex;
use farebox_core::crypto::jws::{self, Jws};
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use farebox_core::gate::Gate;
use farebox_core::host::{Answer, Callout, Capabilities};
use farebox_core::http::{Headers, Reply};
use farebox_core::proof::{
    self, AUTHORIZATION, Bound, Fields, Reason, Request, Shown, Signed, Signing, Window, digest, dpop, fields,
    signature,
};
use farebox_core::rail::x402::eip3009::{Authorization, Domain};
use farebox_core::receipt::Receipt;
use farebox_core::receipt::verify::{Trust, Verifier};
use farebox_core::test_host::TestHost;
use farebox_core::token::{Chain, Constraint, Limit, Narrower, Per, Unit, delegate};
use serde_json::{Map, Value, json};
use std::rc::Rc;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/profile.md");
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/profile.json");
const NOW: u64 = 1_800_000_000;
const ORIGIN: &str = "https://api.example.com";
const PATH: &str = "/v1/quotes/btc?ccy=usd";

// ---- who is who ------------------------------------------------------------------------------------------------------

/// The keys of `core/vectors/tokens.json`: RFC 8032, section 7.1, tests 1 to 3.
fn key(name: &str) -> SigningKey {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/tokens.json")).unwrap();
    SigningKey::from_jwk(&vectors["keys"][name]["jwk"]).unwrap()
}

fn gate_key() -> SigningKey {
    key("gateway")
}

fn holder_key() -> SigningKey {
    key("agent")
}

fn agent_key() -> SigningKey {
    key("subagent")
}

fn admin_key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[3; 32]).unwrap()
}

/// The first account of Anvil and Hardhat.
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const PAYER_SECRET: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn policy() -> Value {
    json!({
        "version": 1,
        "origins": [ORIGIN],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "tokens": {
            "keys": [{ "env": "KEY" }],
            "signed_offers": {},
            "admin": { "origin": ORIGIN, "jwk": admin_key().public().to_jwk() }
        },
        "audit": {},
        "routes": [{
            "name": "quotes",
            "path": "/v1/quotes/*",
            "methods": ["GET"],
            "description": "A price",
            "mime_type": "application/json",
            "offers": [
                { "price": "$0.01", "network": "eip155:84532" },
                { "price": "$1", "network": "eip155:84532", "pass": {
                    "calls": 200, "seconds": 86400, "rate": { "calls": 60, "seconds": 60 }, "delegations": 1,
                    "bearer": { "calls": 50, "seconds": 3600 }
                } }
            ]
        }]
    })
}

/// A seller with an honest facilitator, and a service that answers with a status.
struct Seller {
    host: TestHost,
    gate: Rc<Gate>,
}

impl Seller {
    fn of(policy: &Value, status: &'static str) -> Self {
        let env = |name: &str| (name == "KEY").then(|| gate_key().to_jwk().to_string());
        let can = Capabilities { hold_response: true, read_body: true };
        let gate = Gate::load(policy.to_string().as_bytes(), &env, can).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let mut settled = 0xa0_u8;
        let facilitator = move |call: &Callout| {
            let body = match call.path.as_str() {
                "/verify" => json!({ "isValid": true, "payer": PAYER }),
                "/settle" => {
                    settled += 1;
                    let transaction = hex::encode(&[settled; 32]);
                    json!({ "success": true, "transaction": transaction, "network": "eip155:84532", "payer": PAYER })
                }
                _ => return None,
            };
            Some(Ok(Answer { status: 200, headers: Headers::default(), body: body.to_string().into_bytes() }))
        };
        let upstream =
            move |_: &Headers| Some([(":status", status), ("content-type", "application/json")].into_iter().collect());
        Self { host: TestHost::new(NOW, facilitator, upstream), gate: Rc::new(gate) }
    }

    fn send(&self, request: &Headers) -> Reply {
        self.host.send(&self.gate, request.clone()).reply().unwrap()
    }
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Headers {
    let authority = ORIGIN.strip_prefix("https://").unwrap();
    let pseudo = [(":method", method), (":authority", authority), (":path", path)];
    pseudo.into_iter().chain(more.iter().copied()).collect()
}

/// A payment for one of the offers of a challenge, signed by the payer.
fn payment(challenge: &Value, nth: usize) -> Value {
    let offer = &challenge["accepts"][nth];
    let mut payload = json!({
        "authorization": {
            "from": PAYER,
            "to": offer["payTo"],
            "value": offer["amount"],
            "validAfter": (NOW - 60).to_string(),
            "validBefore": (NOW + 240).to_string(),
            "nonce": hex::encode(&[0x40 + u8::try_from(nth).unwrap(); 32]),
        },
        "signature": "0x",
    });
    let domain = Domain {
        name: offer["extra"]["name"].as_str().unwrap(),
        version: offer["extra"]["version"].as_str().unwrap(),
        chain_id: 84532,
        contract: hex::decode_fixed(offer["asset"].as_str().unwrap()).unwrap(),
    };
    let digest = Authorization::read(&payload).unwrap().digest(&domain);
    let secret: [u8; 32] = hex::decode_fixed(PAYER_SECRET).unwrap();
    let (signature, recovery) = k256::ecdsa::SigningKey::from_slice(&secret).unwrap().sign_prehash_recoverable(&digest);
    let signature = [&signature.to_bytes()[..], &[27 + recovery.to_byte()]].concat();
    payload["signature"] = hex::encode(&signature).into();
    assert!(Authorization::read(&payload).unwrap().is_signed_by_payer(&domain));
    json!({
        "x402Version": 2,
        "resource": challenge["resource"],
        "accepted": offer,
        "payload": payload,
        "extensions": challenge["extensions"],
    })
}

fn about<'a>(method: &'a str, path: &'a str) -> Request<'a> {
    Request { method, origin: ORIGIN, target: path, has_body: false }
}

/// What a signature signs (RFC 9421 §2.5).
fn base(path: &str, headers: &Headers, signed: &Signed) -> String {
    let input = fields::Dictionary::parse(signed.signature_input.as_bytes()).unwrap();
    let Some(fields::Member::List(input)) = input.get("sig1") else { panic!("no sig1") };
    signature::base(&about("GET", path), headers, input).unwrap()
}

/// A request with a token that its holder signs.
fn signed(path: &str, token: &str, key: &SigningKey, nonce: &str) -> (Headers, String) {
    let authorization = format!("HTTPSig {token}");
    let headers = request("GET", path, &[("authorization", &authorization)]);
    let signing = Signing { key, created: NOW, nonce, label: "sig1" };
    let signed = signing.present(AUTHORIZATION, &about("GET", path), &headers).unwrap();
    let base = base(path, &headers, &signed);
    let more = [
        ("authorization", &*authorization),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    (request("GET", path, &more), base)
}

// ---- how things are written ------------------------------------------------------------------------------------------

/// Examples in the order in which they are made: name, as the page shows it, and uncut.
#[derive(Default)]
struct Made(Vec<(&'static str, String, Value)>);

impl Made {
    fn json(&mut self, name: &'static str, value: &Value) {
        self.0.push((name, pretty(value, 0), value.clone()));
    }

    fn text(&mut self, name: &'static str, text: &str) {
        self.0.push((name, cut(text), text.into()));
    }

    fn request(&mut self, name: &'static str, headers: &Headers) {
        let text = |name: &str| headers.text(name).unwrap();
        let mut lines =
            vec![format!("{} {} HTTP/1.1", text(":method"), text(":path")), format!("host: {}", text(":authority"))];
        let fields = headers.iter().filter(|(name, _)| !name.starts_with(b":"));
        let field = |(name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        lines.extend(fields.map(field));
        self.text(name, &lines.join("\n"));
    }

    /// The status and all fields of an answer but those of the service.
    fn reply(&mut self, name: &'static str, reply: &Reply) {
        let reason = match reply.status {
            200 => "OK",
            401 => "Unauthorized",
            402 => "Payment Required",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            other => panic!("{other}"),
        };
        let mut lines = vec![format!("HTTP/1.1 {} {reason}", reply.status)];
        let fields = reply.headers.iter().filter(|(name, _)| !name.starts_with(':') && name != "vary");
        lines.extend(fields.map(|(name, value)| format!("{name}: {value}")));
        self.text(name, &lines.join("\n"));
    }
}

/// Runs of letters that nobody reads, cut.
fn cut(text: &str) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || "_-.~+/=".contains(c) {
            run.push(c);
            continue;
        }
        if run.len() > 100 {
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
    if flat.chars().count() + indent <= 110 {
        return flat;
    }
    let (pad, end) = (" ".repeat(indent + 2), " ".repeat(indent));
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

fn header(reply: &Reply, name: &str) -> String {
    let found = reply.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    found.unwrap_or_else(|| panic!("no {name}: {} {}", reply.status, String::from_utf8_lossy(&reply.body)))
}

fn decoded(value: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(value).unwrap()).unwrap()
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// Header and payload of a JWS.
fn opened(text: &str) -> (Value, Value) {
    let jws = Jws::parse(text, 100_000).unwrap();
    (Value::Object(jws.header), Value::Object(jws.payload))
}

// ---- what happens ----------------------------------------------------------------------------------------------------

fn story() -> Made {
    let mut made = Made::default();
    let seller = Seller::of(&policy(), "200");
    let challenge = a_payment(&seller, &mut made);
    let token = a_pass(&seller, &challenge, &mut made);
    calls(&seller, &token, &mut made);
    a_body(&token, &mut made);
    a_delegation(&seller, &token, &mut made);
    questions(&seller, &token, &mut made);
    documents(&seller, &mut made);
    audit(&seller, &mut made);
    refusals(&mut made);
    a_credit(&mut made);
    made
}

fn a_payment(seller: &Seller, made: &mut Made) -> Value {
    let unpaid = seller.send(&request("GET", PATH, &[]));
    made.reply("challenge", &unpaid);
    let challenge = decoded(&header(&unpaid, "payment-required"));
    made.json("payment-required", &challenge);
    let signed = &challenge["extensions"]["offer-receipt"]["info"]["offers"][0];
    let (head, claims) = opened(signed["signature"].as_str().unwrap());
    made.json("signed-offer", &json!({ "header": head, "payload": claims }));
    made.json("challenge-body", &body(&unpaid));
    let payment = payment(&challenge, 0);
    let header_value = STANDARD.encode(payment.to_string());
    let paying = request("GET", PATH, &[("payment-signature", &header_value)]);
    made.request("paying", &paying);
    made.json("payment", &payment);
    let paid = seller.send(&paying);
    assert_eq!(paid.status, 200, "{}", String::from_utf8_lossy(&paid.body));
    made.reply("paid", &paid);
    made.json("payment-response", &decoded(&header(&paid, "payment-response")));
    let receipt = header(&paid, "call-receipt");
    assert_eq!(Receipt::read(&receipt, &[gate_key().public()]).unwrap().status, 200);
    let (head, claims) = opened(&receipt);
    made.json("receipt-header", &head);
    made.json("receipt", &claims);
    let (head, claims) = opened(
        decoded(&header(&paid, "payment-response"))["extensions"]["offer-receipt"]["info"]["receipt"]["signature"]
            .as_str()
            .unwrap(),
    );
    made.json("offer-receipt", &json!({ "header": head, "payload": claims }));
    let again = seller.send(&request("GET", "/v1/quotes/eth", &[("payment-signature", &header_value)]));
    made.json("problem", &body(&again));
    challenge
}

fn a_pass(seller: &Seller, challenge: &Value, made: &mut Made) -> String {
    let value = STANDARD.encode(payment(challenge, 1).to_string());
    let headers = request("GET", PATH, &[("payment-signature", &value)]);
    let key = holder_key();
    let signing = Signing { key: &key, created: NOW, nonce: "Jd7cVw0pRk4xTz2bLm6yQg", label: "sig1" };
    let signed = signing.introduce("payment-signature", &about("GET", PATH), &headers).unwrap();
    let fields = [
        ("payment-signature", &*value),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    made.request("introduction", &request("GET", PATH, &fields));
    made.text("introduction-base", &base(PATH, &headers, &signed));
    let bought = seller.send(&request("GET", PATH, &fields));
    assert_eq!(bought.status, 200, "{}", String::from_utf8_lossy(&bought.body));
    made.reply("bought", &bought);
    let token = header(&bought, "capability-token");
    let (head, claims) = opened(&token);
    made.json("token-header", &head);
    made.json("token", &claims);
    made.0.push(("token-text", String::new(), token.clone().into()));
    token
}

fn calls(seller: &Seller, token: &str, made: &mut Made) {
    let (calling, base) = signed(PATH, token, &holder_key(), "k9Jyxempel2305Nmx7Rk");
    made.request("call", &calling);
    made.text("call-base", &base);
    let served = seller.send(&calling);
    made.reply("served", &served);
    made.request("upstream", &seller.host.forwarded().pop().unwrap());
    let replayed = seller.send(&calling);
    made.reply("replayed", &replayed);
    made.json("replayed-body", &body(&replayed));

    let proof = dpop::sign(&holder_key(), &about("GET", PATH), token, NOW, "mGq2t0vJ6eYb3cXw").unwrap();
    let authorization = format!("DPoP {token}");
    let calling = request("GET", PATH, &[("authorization", &authorization), ("dpop", &proof)]);
    made.request("dpop", &calling);
    let (head, claims) = opened(&proof);
    made.json("dpop-proof", &json!({ "header": head, "payload": claims }));
    assert_eq!(seller.send(&calling).status, 200);
}

/// A proof that covers a body; of the gate it needs only what checks proofs.
fn a_body(token: &str, made: &mut Made) {
    let body = r#"{"side":"buy"}"#;
    let (authorization, digest) = (format!("HTTPSig {token}"), digest::field(body.as_bytes()));
    let fields = [("authorization", &*authorization), ("content-digest", &digest)];
    let about = Request { has_body: true, ..about("POST", "/v1/orders") };
    let key = holder_key();
    let signing = Signing { key: &key, created: NOW, nonce: "wS5eR7tY9uI1oP3aS5dF7g", label: "sig1" };
    let signed = signing.present(AUTHORIZATION, &about, &request("POST", "/v1/orders", &fields)).unwrap();
    let more = [("signature-input", &*signed.signature_input), ("signature", &signed.signature)];
    let headers = request("POST", "/v1/orders", &[&fields[..], &more].concat());
    made.request("with-body", &headers);
    let shown = Shown::find(&headers, Fields::Both).unwrap().unwrap();
    let window = Window { now: NOW, seconds: 30 };
    let proven = proof::verify(&shown, Bound::Key(&key.public()), &about, &headers, window).unwrap();
    assert!(digest::check(&proven.body.unwrap(), body.as_bytes()).is_ok());
}

fn a_delegation(seller: &Seller, token: &str, made: &mut Made) {
    let chain = Chain::inspect(token).unwrap();
    let mut grant = chain.leaf().token.grants[0].clone();
    let parent = grant.clone();
    grant.constraints = vec![Constraint::PathPrefix("/v1/quotes/".to_owned())];
    grant.limits = vec![Limit { per: Per::Token, unit: Unit::Call, max: 20 }];
    grant.inherit(&parent);
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
    let child = delegate(token, &holder_key(), narrower).unwrap();
    let (head, claims) = opened(child.rsplit('~').next().unwrap());
    made.json("delegation-header", &head);
    made.json("delegation", &claims);
    made.0.push(("delegation-text", String::new(), child.clone().into()));
    let (calling, _) = signed(PATH, &child, &agent_key(), "u2Vq9yZkT4mC1uYkA2Q7t9");
    let served = seller.send(&calling);
    made.reply("delegated", &served);
    made.request("delegated-upstream", &seller.host.forwarded().pop().unwrap());
}

fn questions(seller: &Seller, token: &str, made: &mut Made) {
    let (asking, _) = signed("/.well-known/farebox/token", token, &holder_key(), "pL0qZr5tYw8sXv2bNc6mKj");
    made.request("own-token", &asking);
    let told = seller.send(&asking);
    assert_eq!(told.status, 200, "{}", String::from_utf8_lossy(&told.body));
    made.json("own-token-answer", &body(&told));

    let jti = Chain::inspect(token).unwrap().leaf().token.jti.clone();
    let claims = json!({
        "aud": ORIGIN, "iat": NOW, "exp": NOW + 60, "jti": "Zt4mC1uYkA2Q7t9oV5Lr0w", "op": "revoke",
        "what": { "token": jti },
    });
    let signed = jws::sign(&admin_key(), "admin+jwt", None, &claims).unwrap();
    let asking = request("POST", "/.well-known/farebox/admin", &[("authorization", &format!("Bearer {signed}"))]);
    made.request("admin", &asking);
    made.json("admin-claims", &claims);
    let told = seller.send(&asking);
    assert_eq!(told.status, 200, "{}", String::from_utf8_lossy(&told.body));
    made.json("admin-answer", &body(&told));
}

fn documents(seller: &Seller, made: &mut Made) {
    for (name, path) in [
        ("jwks", "/.well-known/jwks.json"),
        ("metadata", "/.well-known/oauth-protected-resource"),
        ("did", "/.well-known/did.json"),
    ] {
        made.json(name, &body(&seller.send(&request("GET", path, &[]))));
    }
}

fn audit(seller: &Seller, made: &mut Made) {
    let lines = seller.host.audit();
    let mut verifier = Verifier::new(Trust::Keys(vec![gate_key().public()]), false);
    (1..).zip(&lines).for_each(|(place, line)| verifier.read(place, line.as_bytes()));
    assert_eq!(verifier.finish().findings, []);
    let of = |kind: &str| {
        let line = lines.iter().find(|line| line.contains(&format!("\"kind\":\"{kind}\""))).unwrap();
        serde_json::from_str::<Value>(line).unwrap()
    };
    let head = of("head");
    made.json("audit-head", &head);
    let (header, claims) = opened(head["sth"].as_str().unwrap());
    made.json("audit-sth", &json!({ "header": header, "payload": claims }));
    for (name, kind) in [
        ("audit-charge", "charge"),
        ("audit-issue", "issue"),
        ("audit-draw", "draw"),
        ("audit-refusal", "refusal"),
        ("audit-revoke", "revoke"),
    ] {
        made.json(name, &of(kind));
    }
    made.0.push(("audit-log", String::new(), lines.into()));
}

fn refusals(made: &mut Made) {
    let mut once = policy();
    once["routes"][0]["offers"][1]["pass"]["rate"] = json!({ "calls": 1, "seconds": 60 });
    once["routes"][0]["offers"][1]["pass"]["bearer"] = json!({ "calls": 2 });
    let seller = Seller::of(&once, "200");
    let challenge = decoded(&header(&seller.send(&request("GET", PATH, &[])), "payment-required"));
    let value = STANDARD.encode(payment(&challenge, 1).to_string());
    let bought = seller.send(&request("GET", PATH, &[("payment-signature", &value)]));
    let authorization = format!("Bearer {}", header(&bought, "capability-token"));
    let call = request("GET", PATH, &[("authorization", &authorization)]);
    assert_eq!(seller.send(&call).status, 200);
    let fast = seller.send(&call);
    made.reply("too-fast", &fast);
    seller.host.pass(60);
    assert_eq!(seller.send(&call).status, 200);
    seller.host.pass(60);
    let exhausted = seller.send(&call);
    made.reply("exhausted", &exhausted);
    made.json("exhausted-body", &body(&exhausted));
}

fn a_credit(made: &mut Made) {
    let mut before = policy();
    before["routes"][0]["settle"] = json!("before");
    let seller = Seller::of(&before, "500");
    let challenge = decoded(&header(&seller.send(&request("GET", PATH, &[])), "payment-required"));
    assert_eq!(challenge["accepts"][0]["extra"]["paymentFlow"], "upfront");
    let value = STANDARD.encode(payment(&challenge, 0).to_string());
    let credited = seller.send(&request("GET", PATH, &[("payment-signature", &value)]));
    made.reply("credited", &credited);
    let (_, claims) = opened(&header(&credited, "capability-token"));
    made.json("credit", &json!({ "authorization_details": claims["authorization_details"] }));
}

// ---- the page --------------------------------------------------------------------------------------------------------

#[test]
fn every_example_of_the_page_is_what_the_gate_does() {
    let made = story();
    let bless = std::env::var_os("FAREBOX_BLESS").is_some();
    let mut page = std::fs::read_to_string(PAGE).unwrap();
    let mut missing = Vec::new();
    for (name, text, _) in made.0.iter().filter(|(_, text, _)| !text.is_empty()) {
        let marker = format!("<!-- core/tests/wire_profile.rs: {name} -->\n");
        let Some((before, rest)) = page.split_once(&marker) else {
            missing.push(*name);
            continue;
        };
        let (fence, rest) = rest.split_once('\n').unwrap();
        let (shown, rest) = rest.split_once("```").unwrap();
        assert!(fence.starts_with("```") && !rest.contains(&marker), "{name}");
        if bless {
            page = format!("{before}{marker}{fence}\n{text}\n```{rest}");
        } else {
            assert_eq!(shown.trim_end(), text, "{name}: run again with FAREBOX_BLESS=1");
        }
    }
    assert_eq!(missing, [""; 0], "not on the page");
    for rest in page.split("<!-- core/tests/wire_profile.rs: ").skip(1) {
        let name = rest.split(' ').next().unwrap();
        assert!(made.0.iter().any(|(other, ..)| *other == name), "{name} is on the page, and nothing makes it");
    }
    // An example that nothing makes would be an opinion.
    let shown = page.matches("\n```http").count() + page.matches("\n```json").count();
    assert_eq!(page.matches("\n<!-- core/tests/wire_profile.rs: ").count(), shown + page.matches("\n```text").count());

    let uncut: Map<String, Value> = made.0.into_iter().map(|(name, _, value)| (name.to_owned(), value)).collect();
    let uncut = format!("{}\n", serde_json::to_string_pretty(&uncut).unwrap());
    if bless {
        std::fs::write(PAGE, page).unwrap();
        std::fs::write(VECTORS, uncut).unwrap();
    } else {
        assert!(std::fs::read_to_string(VECTORS).unwrap() == uncut, "run again with FAREBOX_BLESS=1");
    }
}

#[test]
fn the_page_tells_every_reason_to_refuse_a_proof() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    for reason in Reason::ALL {
        assert!(page.contains(&format!("\n| `{}` | ", reason.wire())), "{reason:?}");
    }
}
