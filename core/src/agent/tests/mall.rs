//! A world with a real gate in it: what the agent sends goes through the gate's own code.

use super::super::flow::{Message, NoAnswer, Response, World};
use super::super::pay::SessionKey;
use super::super::policy::Policy;
use super::super::purse::Purse;
use super::super::{Agent, Event, tell};
use super::kit::{Memory, NOW, PAYER, fresh, key, policy, run, turn};
use crate::crypto::hex;
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::gate::Gate;
use crate::host::{Answer, Callout, Capabilities, HostError};
use crate::http::Headers;
use crate::test_host::TestHost;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub(super) const ORIGIN: &str = "https://api.example.com";

/// The seller's key.
pub(super) fn gate_key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap()
}

/// The buyer's key for tokens.
pub(super) fn holder_key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[9; 32]).unwrap()
}

/// One call for a cent, and a pass of `pass` beside it.
pub(super) fn selling(pass: Value) -> Value {
    json!({
        "version": 1,
        "origins": [ORIGIN],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "tokens": { "keys": [{ "env": "KEY" }] },
        "routes": [{
            "name": "quotes", "path": "/v1/quotes/*", "methods": ["GET", "POST"],
            "offers": [
                { "price": "$0.01", "network": "eip155:84532" },
                { "price": "$0.10", "network": "eip155:84532", "pass": pass },
            ],
        }],
    })
}

/// What the buyer may do: one dollar a day, at `api.example.com`.
pub(super) fn buying() -> Value {
    let mut policy = super::kit::base();
    policy["caps"] = json!([{ "max": "0.5 usd" }]);
    policy
}

/// A request that was sent: method, URL, names of the credential's fields.
type Asked = (String, String, Vec<String>);
type Tampers = dyn FnMut(&Message<'_>, Response<Vec<u8>>) -> Option<Response<Vec<u8>>>;

/// A world with one seller. Clones are the same one.
#[derive(Clone)]
pub(super) struct Mall {
    pub(super) host: Rc<RefCell<TestHost>>,
    gate: Rc<Gate>,
    pub(super) now: Rc<Cell<u64>>,
    /// What was sent: method, URL, names of the credential's fields.
    pub(super) sent: Rc<RefCell<Vec<Asked>>>,
    /// Events, as JSON.
    pub(super) events: Rc<RefCell<Vec<Value>>>,
    policy: Rc<Policy>,
    /// Stands between the gate and the agent.
    pub(super) tamper: Rc<RefCell<Box<Tampers>>>,
}

/// A host whose facilitator takes every payment.
pub(super) fn host(seed: u8, now: u64) -> TestHost {
    let mut settled = 0u8;
    let facilitator = move |call: &Callout| {
        let body = match call.path.as_str() {
            "/verify" => json!({ "isValid": true, "payer": PAYER }),
            "/settle" => {
                settled = settled.wrapping_add(1);
                let transaction = hex::encode(&[settled; 32]);
                json!({ "success": true, "transaction": transaction, "network": "eip155:84532", "payer": PAYER })
            }
            _ => return None,
        };
        Some(Ok(Answer { status: 200, headers: Headers::default(), body: body.to_string().into_bytes() }))
    };
    let upstream = |request: &Headers| {
        let status = if request.text(":path").unwrap().ends_with("fails") { "500" } else { "200" };
        Some([(":status", status), ("content-type", "application/json")].into_iter().collect())
    };
    TestHost::born(seed, now, facilitator, upstream)
}

impl Mall {
    pub(super) fn new(seller: &Value, buyer: &Value) -> Self {
        let env = |name: &str| (name == "KEY").then(|| gate_key().to_jwk().to_string());
        let can = Capabilities { hold_response: true, read_body: true };
        let gate = Gate::load(seller.to_string().as_bytes(), &env, can).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        Self {
            host: Rc::new(RefCell::new(host(1, NOW))),
            gate: Rc::new(gate),
            now: Rc::new(Cell::new(NOW)),
            sent: Rc::default(),
            events: Rc::default(),
            policy: Rc::new(policy(buyer)),
            tamper: Rc::new(RefCell::new(Box::new(|_: &Message<'_>, response| Some(response)))),
        }
    }

    /// The same world for a buyer with another policy.
    pub(super) fn under(&self, buyer: &Value) -> Self {
        Self { policy: Rc::new(policy(buyer)), ..self.clone() }
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.now.set(self.now.get() + seconds);
        self.host.borrow().pass(seconds);
    }

    /// How many requests carried a field of this name.
    pub(super) fn with(&self, field: &str) -> usize {
        self.sent.borrow().iter().filter(|(_, _, fields)| fields.iter().any(|it| it == field)).count()
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.events.borrow().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn tampers(
        &self,
        tamper: impl FnMut(&Message<'_>, Response<Vec<u8>>) -> Option<Response<Vec<u8>>> + 'static,
    ) {
        *self.tamper.borrow_mut() = Box::new(tamper);
    }

    /// A buyer with a key for tokens, whose counters have begun.
    pub(super) fn buyer(&self) -> Agent<Self, Memory, SessionKey, SigningKey> {
        self.buyer_with(&Memory::default(), holder_key())
    }

    pub(super) fn buyer_with(&self, store: &Memory, holder: SigningKey) -> Agent<Self, Memory, SessionKey, SigningKey> {
        let agent = self.bearer(store).with_holder(holder);
        let _ = run(agent.begin());
        agent
    }

    /// A buyer without such a key.
    pub(super) fn bearer(&self, store: &Memory) -> Agent<Self, Memory, SessionKey> {
        let purse = Purse::of_key(key().address());
        let agent = Agent::new((*self.policy).clone(), purse, self.clone(), store.clone(), key());
        let _ = run(agent.begin());
        agent
    }
}

impl World for Mall {
    type Body = Vec<u8>;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        out.copy_from_slice(fresh().get(..out.len()).ok_or(HostError)?);
        Ok(())
    }

    async fn sleep(&self, millis: u64) {
        for _ in 0..16 {
            turn().await;
        }
        self.pass(millis / 1000);
    }

    async fn send(&self, message: &Message<'_>) -> Result<Response<Vec<u8>>, NoAnswer> {
        turn().await;
        let fields = message.credential.iter().map(|(name, _)| name.clone()).collect();
        self.sent.borrow_mut().push((message.method.to_owned(), message.url.to_owned(), fields));
        let (authority, target) = message.url.strip_prefix("https://").unwrap().split_once('/').unwrap();
        let target = format!("/{target}");
        let mut headers: Headers =
            [(":method", message.method), (":authority", authority), (":path", &target)].into_iter().collect();
        for (name, value) in message.headers.iter().chain(message.credential) {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        if !message.body.is_empty() {
            headers.push(b"content-length", message.body.len().to_string().as_bytes());
        }
        let host = self.host.borrow().clone();
        let reply = host.send(&self.gate, headers).reply().ok_or(NoAnswer)?;
        let headers = reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let response = Response { status: reply.status, headers, url: message.url.to_owned(), body: reply.body };
        turn().await;
        (self.tamper.borrow_mut())(message, response).ok_or(NoAnswer)
    }

    async fn peek(&self, body: Vec<u8>, limit: usize) -> (Vec<u8>, Vec<u8>) {
        (body.iter().copied().take(limit).collect(), body)
    }

    fn event(&self, event: &Event<'_>) {
        self.events.borrow_mut().push(tell::event(&self.policy, event));
    }
}
