//! What a seller tells a buyer, and what a buyer keeps.

use super::requests::headers;
use super::{Label, Target, label, vectors, why};
use crate::agent::challenge::Challenge;
use crate::agent::counters::Counters;
use crate::agent::import;
use crate::agent::pay::{SessionKey, guard};
use crate::agent::policy::Policy;
use crate::agent::purse::Purse;
use crate::agent::request::Url;
use crate::agent::{Agent, Blob, Message, NoAnswer, Response, Store, StoreFailed, Wanted, World};
use crate::crypto::hex;
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::host::HostError;
use crate::http::Headers;
use crate::json;
use crate::token::{Token, issue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const NOW: u64 = 1_800_000_000;
const URL: &str = "https://api.example.com/premium-data";
/// What the policy lets be spent in a day: one and a half times what is asked for at a time.
const BUDGET: u128 = 15_000;

fn policy() -> Value {
    json!({
        "version": 1,
        "assets": [{ "asset": "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e", "unit": "usd" }],
        "allow": [{ "match": { "hosts": ["api.example.com"] } }],
        "caps": [{ "max": "0.05 usd" }],
        "budgets": [{ "name": "day", "max": "0.015 usd", "seconds": 86400 }]
    })
}

fn loaded() -> Policy {
    Policy::load(policy().to_string().as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn text(name: &str) -> String {
    vectors!("x402")[name].as_str().unwrap().to_owned()
}

pub(super) const CHALLENGE: Target = Target {
    name: "challenge",
    reads: "what a 402 asks for: version 2, decoded, or version 1",
    seeds: || vec![text("paymentRequiredJson").into(), text("v1_body").into()],
    run: |input| {
        let encoded = STANDARD.encode(input);
        let in_header = Challenge::read(&[("payment-required", encoded.as_str())].into_iter().collect(), b"");
        let in_body = Challenge::read(&Headers::default(), input);
        assert!(in_header.is_err() || in_body.is_err(), "it is of one version");
        let challenge = in_header.or(in_body);
        if let Ok(challenge) = &challenge {
            for (index, offer) in challenge.offers().iter().enumerate() {
                assert!(offer.as_ref().map_or_else(|unfit| unfit.index, |offer| offer.index) == index);
            }
        }
        label(&challenge)
    },
};

pub(super) const POLICY: Target = Target {
    name: "buyer-policy",
    reads: "a buyer's policy",
    seeds: || {
        let mut more = policy();
        more["deny"] = json!([{ "match": { "hosts": ["*.evil.example"] } }]);
        more["calls"] = json!([{ "max": 10, "seconds": 60 }]);
        more["slippage"] = json!({ "percent": "1" });
        vec![policy().to_string().into(), more.to_string().into()]
    },
    run: |input| match Policy::load(input) {
        Ok(policy) => {
            assert!(policy.is_not_looser(&policy), "a policy allows no more than itself");
            assert_eq!(Policy::load(policy.document().to_string().as_bytes()).unwrap().hash(), policy.hash());
            "ok".into()
        }
        Err(mistakes) => why(&mistakes.0[0].hint),
    },
};

pub(super) const COUNTERS: Target = Target {
    name: "counters",
    reads: "what a buyer has kept of what it spent",
    seeds: || {
        let mut fresh = Counters::begin(&loaded(), NOW);
        [fresh.encode()].into_iter().chain(buy(&honest()).0).chain(buy(&refusing()).0).collect()
    },
    run: |input| {
        let mut counters = match Counters::decode(input, 0) {
            Ok(counters) => counters,
            Err(error) => return label(&Err::<(), _>(error)),
        };
        let policy = loaded();
        counters.tick(&policy, NOW);
        let _ = counters.left(&policy, NOW);
        let again = Counters::decode(&counters.encode(), 0).unwrap();
        assert_eq!(again.revision(), counters.revision());
        "ok".into()
    },
};

pub(super) const TYPED_DATA: Target = Target {
    name: "typed-data",
    reads: "typed data that somebody wants signed",
    seeds: || {
        let word = |name: &str, kind: &str| json!({ "name": name, "type": kind });
        let token = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
        let permit = json!({
            "types": {
                "EIP712Domain": [word("name", "string"), word("version", "string"), word("chainId", "uint256"),
                    word("verifyingContract", "address")],
                "Permit": [word("owner", "address"), word("spender", "address"), word("value", "uint256"),
                    word("nonce", "uint256"), word("deadline", "uint256")]
            },
            "primaryType": "Permit",
            "domain": { "name": "USDC", "version": "2", "chainId": 84532, "verifyingContract": token },
            "message": {
                "owner": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "spender": "0x000000000022D473030F116dDEE9F6B43aC78BA3",
                "value": "50000", "nonce": "0", "deadline": (NOW + 60).to_string()
            }
        });
        vec![permit.to_string().into()]
    },
    run: |input| {
        let Ok(data) = json::parse(input, 1 << 16, 16) else { return "no json".into() };
        let allowed = guard::typed_data(&loaded(), &data, NOW);
        if allowed.is_ok() {
            assert_eq!(data.get("primaryType"), Some(&json!("Permit")), "nothing else is signed");
        }
        label(&allowed)
    },
};

pub(super) const ADDRESS: Target = Target {
    name: "url",
    reads: "URLs that an agent is to ask",
    seeds: || {
        [URL, "http://[::1]:8080/a/b?c=d#e", "https://API.example.com:443", "https://a.example?x"]
            .map(|url| url.as_bytes().to_vec())
            .into()
    },
    run: |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "not utf-8".into() };
        let url = Url::parse(text);
        if let Ok(url) = &url {
            assert_eq!(Url::parse(url.text()).as_ref(), Ok(url), "its one spelling is itself");
        }
        label(&url)
    },
};

pub(super) const GRANT: Target = Target {
    name: "grant",
    reads: "a wallet's grant or a user's mandate that is to become a policy",
    seeds: || {
        let token = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
        let permission = json!({
            "chainId": "0x2105", "permission": { "type": "erc20-token-stream", "data": {
                "tokenAddress": token, "amountPerSecond": "0x64", "maxAmount": "0x989680", "startTime": NOW } },
            "rules": [{ "type": "expiry", "data": { "timestamp": NOW + 600 } }]
        });
        let spending = json!({ "chainId": 8453, "permission": {
            "account": token, "spender": token, "token": token, "allowance": "1", "period": 60, "start": 1, "end": 2 } });
        let mandate = json!({ "vct": "mandate.payment.open.1", "exp": NOW, "constraints": [
            { "type": "payment.amount_range", "currency": "USD", "max": 250 },
            { "type": "payment.budget", "currency": "USD", "max": 20.5 },
            { "type": "payment.agent_recurrence", "frequency": "DAILY", "max_occurrences": 4 },
            { "type": "payment.execution_date", "not_before": "2026-12-01", "not_after": "2026-12-24T18:00:00+01:00" }
        ] });
        [permission, spending, mandate].map(|grant| grant.to_string().into_bytes()).into()
    },
    run: |input| {
        let asset = json!({ "asset": "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913" });
        let frame = import::Frame { unit: "usd".to_owned(), assets: vec![asset], ..import::Frame::default() };
        type Read = fn(&[u8], &import::Frame) -> Result<import::Imported, import::NotImported>;
        let read: [Read; 3] = [import::erc7715, import::spend_permission, import::ap2];
        let mut label = String::new();
        for (kind, read) in ["erc7715", "spend", "ap2"].into_iter().zip(read) {
            match read(input, &frame) {
                Ok(imported) => {
                    let policy = Policy::load(imported.policy.to_string().as_bytes()).unwrap();
                    assert!(!policy.document()["budgets"].as_array().unwrap().is_empty(), "something bounds it");
                    return format!("ok {kind}").into();
                }
                Err(not) => label.push_str(&format!(" {}", why(&not.detail))),
            }
        }
        label.into()
    },
};

pub(super) const PURCHASE: Target = Target {
    name: "purchase",
    reads: "a seller: challenge, headers beside it, settlement, headers beside it, each before an empty line",
    seeds: || vec![honest(), [honest(), refusing()].concat(), refusing(), version_1(), selling(), forgetting()],
    run: |input| buy(input).1,
};

/// What a seller says.
fn story(parts: [&str; 4]) -> Vec<u8> {
    parts.map(|part| format!("{part}\n\n")).concat().into_bytes()
}

fn settlement(changes: Value) -> String {
    let mut settlement = json!({
        "success": true, "payer": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "transaction": format!("0x{}", "ab".repeat(32)), "network": "eip155:84532"
    });
    for (name, value) in changes.as_object().unwrap() {
        settlement[name] = value.clone();
    }
    settlement.to_string()
}

fn honest() -> Vec<u8> {
    story([&text("paymentRequiredJson"), ":status: 402", &settlement(json!({})), ":status: 200"])
}

fn refusing() -> Vec<u8> {
    let refusal = settlement(json!({ "success": false, "errorReason": "insufficient_funds", "transaction": "" }));
    story([&text("paymentRequiredJson"), ":status: 402", &refusal, ":status: 402\nretry-after: 1"])
}

fn version_1() -> Vec<u8> {
    let settled = settlement(json!({ "network": "base-sepolia" }));
    story([&text("v1_body"), ":status: 402\nx-version: 1", &settled, ":status: 200"])
}

/// A holder's key that everybody knows, and a token that is bound to it.
fn holder() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[9; 32]).unwrap()
}

fn token() -> String {
    let gate = SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap();
    let grant = json!({
        "type": "http_call", "locations": ["https://api.example.com"], "actions": ["GET"],
        "constraints": [{ "key": "route", "one_of": ["data"] }],
        "limits": [{ "per": "token", "unit": "call", "max": "5" }]
    });
    let claims = json!({
        "iss": "https://api.example.com", "aud": "https://api.example.com", "sub": "payer", "client_id": "agent",
        "iat": NOW, "nbf": NOW, "exp": NOW + 600, "jti": "t", "cnf": { "jwk": holder().public().to_jwk() },
        "authorization_details": [grant]
    });
    issue(&gate, &Token::parse(claims.as_object().unwrap()).unwrap()).unwrap()
}

/// A seller that sells a pass, and takes it.
fn selling() -> Vec<u8> {
    let mut required: Value = serde_json::from_str(&text("paymentRequiredJson")).unwrap();
    required["accepts"].as_array_mut().unwrap().truncate(1);
    required["accepts"][0]["extra"]["pass"] = json!({ "calls": 5, "expiresIn": 600 });
    required["extensions"] =
        json!({ "farebox": { "info": { "nonce": "0x00112233445566778899aabbccddeeff" }, "schema": {} } });
    let token = token();
    let settled = settlement(json!({ "extensions": { "farebox": { "info": { "token": token } } } }));
    let fields = format!(":status: 200\ncapability-token: {token}\nfarebox-remaining: call=4");
    story([&required.to_string(), ":status: 402", &settled, &fields])
}

/// One that does not know its token any more.
fn forgetting() -> Vec<u8> {
    let problem = json!({ "type": "urn:farebox:problem:ledger_lost", "code": "ledger_lost", "advice": "pay" });
    let fields = ":status: 402\ncontent-type: application/problem+json";
    [selling(), story(["{}", ":status: 402", &problem.to_string(), fields])].concat()
}

/// A seller that says what it says by what it is asked for: the first two parts of a story to whoever has not paid, the
/// last two to whoever has. Each of them goes on to the next story, and from the last to the first.
struct Seller {
    parts: Vec<Vec<u8>>,
    asked: [Cell<usize>; 2],
    random: Cell<u8>,
    slept: Cell<u64>,
    /// The payments that were sent: what each may take, by its nonce.
    sent: Rc<RefCell<BTreeMap<String, u128>>>,
}

impl Seller {
    /// What is said, and the headers beside it.
    fn says(&self, paid: bool) -> (Vec<u8>, Headers) {
        let asked = &self.asked[usize::from(paid)];
        let story = asked.replace(asked.get() + 1) % self.parts.len().div_ceil(4).max(1);
        let part = |index: usize| self.parts.get(4 * story + index).cloned().unwrap_or_default();
        let first = if paid { 2 } else { 0 };
        (part(first), headers(&part(first + 1)))
    }
}

impl World for Seller {
    type Body = Vec<u8>;

    fn now(&self) -> u64 {
        NOW + self.slept.get()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        self.random.set(self.random.get().wrapping_add(1));
        out.fill(self.random.get());
        Ok(())
    }

    async fn sleep(&self, millis: u64) {
        self.slept.set(self.slept.get() + millis.div_ceil(1000).max(1));
    }

    async fn send(&self, message: &Message<'_>) -> Result<Response<Vec<u8>>, NoAnswer> {
        if let Some(value) = message.payment() {
            let payment: Value = serde_json::from_slice(&STANDARD.decode(value).unwrap()).unwrap();
            let text = |pointer: &str| payment.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let authorization = text("/payload/authorization/value").zip(text("/payload/authorization/nonce"));
            let permit = || {
                let at = "/payload/permit2Authorization";
                text(&format!("{at}/permitted/amount")).zip(text(&format!("{at}/nonce")))
            };
            let (amount, nonce) = authorization.or_else(permit).unwrap();
            self.sent.borrow_mut().insert(nonce, amount.parse().unwrap());
        }
        let shows = !message.credential.is_empty();
        assert!(!shows || message.url.starts_with("https://api.example.com/"), "shown to somebody else");
        let (json, mut fields) = self.says(shows);
        let status = fields.text(":status").and_then(|status| status.parse().ok()).ok_or(NoAnswer)?;
        if fields.first("x-version").is_none() {
            let name = if shows { "payment-response" } else { "payment-required" };
            fields.push(name.as_bytes(), STANDARD.encode(&json).as_bytes());
        }
        let url = fields.text("url").unwrap_or(message.url).to_owned();
        Ok(Response { status, headers: fields, url, body: json })
    }

    async fn peek(&self, body: Vec<u8>, limit: usize) -> (Vec<u8>, Vec<u8>) {
        (body.iter().copied().take(limit).collect(), body)
    }
}

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Option<Blob<u64>>>>);

impl Store for Memory {
    type Version = u64;

    async fn load(&self) -> Result<Option<Blob<u64>>, StoreFailed> {
        Ok(self.0.borrow().clone())
    }

    async fn swap(&self, expected: Option<u64>, bytes: Vec<u8>) -> Result<bool, StoreFailed> {
        let mut kept = self.0.borrow_mut();
        let same = kept.as_ref().map(|blob| blob.version) == expected;
        if same {
            *kept = Some(Blob { bytes, version: expected.unwrap_or(0) + 1 });
        }
        Ok(same)
    }
}

fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Asks such a seller three times. What is kept of it in the end, and how each went.
fn buy(input: &[u8]) -> (Option<Vec<u8>>, Label) {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
        parts.push(rest[..end].to_vec());
        rest = &rest[end + 2..];
    }
    let sent = Rc::new(RefCell::default());
    let seller = Seller {
        parts,
        asked: [Cell::new(0), Cell::new(0)],
        random: Cell::new(0),
        slept: Cell::new(0),
        sent: Rc::clone(&sent),
    };
    let secret = hex::decode_fixed("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
    let key = SessionKey::new(&secret).unwrap();
    let store = Memory::default();
    let agent = Agent::new(loaded(), Purse::of_key(key.address()), seller, store.clone(), key).with_holder(holder());
    done(agent.begin()).unwrap();
    let mut label = String::from("ok");
    for _ in 0..3 {
        match done(agent.fetch(&Wanted::get(URL))) {
            Ok(fetched) => {
                label.push_str(&format!(" {}", fetched.response.status / 100));
                label.push_str(if fetched.paid.is_some() { " paid" } else { "" });
                label.push_str(if fetched.token.is_some() { " token" } else { "" });
                label.push_str(if fetched.kept.is_some() { " kept" } else { "" });
            }
            Err(error) => label.extend(why(&error.to_string()).chars().take(24)),
        }
    }
    let spent: u128 = sent.borrow().values().sum();
    assert!(spent <= BUDGET, "{spent} was let out of the hand, with a budget of {BUDGET}");
    let kept = store.0.borrow().as_ref().map(|blob| blob.bytes.clone());
    (kept, label.into())
}
