//! Policies, challenges, a world, stores, and sellers for tests.

use super::super::challenge::Challenge;
use super::super::counters::{Counters, Payment};
use super::super::decide::{Choice, Decision};
use super::super::flow::{Message, NoAnswer, Response, World};
use super::super::money::{AccountId, AssetId};
use super::super::pay::{Binding, Draft, SessionKey};
use super::super::policy::Policy;
use super::super::purse::{Account, Purse};
use super::super::request::Request;
use super::super::store::{Blob, Store, StoreFailed};
use super::super::{Agent, Wanted};
use crate::crypto::hex;
use crate::host::HostError;
use crate::http::Headers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
pub(super) const USDC_ID: &str = "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e";
pub(super) const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub(super) const OTHER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
pub(super) const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
pub(super) const URL: &str = "https://api.example.com/premium-data";

/// Everything at `api.example.com`, at most 0.05 usd each, 1 usd a day.
pub(super) fn base() -> Value {
    json!({
        "version": 1,
        "assets": [{ "asset": USDC_ID, "unit": "usd" }],
        "allow": [{ "match": { "hosts": ["api.example.com"] } }],
        "caps": [{ "max": "0.05 usd" }],
        "budgets": [{ "name": "day", "max": "1 usd", "seconds": 86400 }],
    })
}

pub(super) fn policy(json: &Value) -> Policy {
    Policy::load(json.to_string().as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// `base` with members replaced.
pub(super) fn with(changes: Value) -> Policy {
    let mut json = base();
    for (name, value) in changes.as_object().unwrap() {
        json[name] = value.clone();
    }
    policy(&json)
}

/// An offer of 0.01 USDC with members replaced.
pub(super) fn offer(changes: Value) -> Value {
    let mut offer = json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": USDC, "payTo": PAYEE,
        "maxTimeoutSeconds": 300, "extra": { "name": "USDC", "version": "2" },
    });
    for (name, value) in changes.as_object().unwrap() {
        offer[name] = value.clone();
    }
    offer
}

pub(super) fn required(offers: &[Value]) -> Value {
    json!({
        "x402Version": 2, "error": "Payment required",
        "resource": { "url": URL, "description": "Premium data", "mimeType": "application/json" },
        "accepts": offers,
    })
}

pub(super) fn header(required: &Value) -> Headers {
    let value = STANDARD.encode(required.to_string());
    [("payment-required", value.as_str())].into_iter().collect()
}

pub(super) fn challenge(offers: &[Value]) -> Challenge {
    Challenge::read(&header(&required(offers)), b"").unwrap()
}

pub(super) fn get(url: &str) -> Request {
    Request::new("GET", url).unwrap()
}

pub(super) fn address(text: &str) -> [u8; 20] {
    hex::decode_fixed(text).unwrap()
}

pub(super) fn purse() -> Purse {
    Purse { accounts: vec![Account::of_key(address(PAYER))], keeps_tokens: false, holder: None }
}

/// The key of Anvil's account 0.
pub(super) fn key() -> SessionKey {
    let secret = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    SessionKey::new(&hex::decode_fixed(secret).unwrap()).unwrap()
}

pub(super) fn usdc() -> AssetId {
    AssetId::parse(USDC_ID).unwrap()
}

pub(super) fn account(address: &str) -> AccountId {
    AccountId::parse(&format!("eip155:84532:{address}")).unwrap()
}

/// Sixteen bytes that were never used before.
pub(super) fn fresh() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes()
}

/// Counters, a policy and a clock, for tests that need no store.
pub(super) struct Desk {
    pub(super) policy: Policy,
    pub(super) counters: Counters,
    pub(super) now: u64,
}

impl Desk {
    pub(super) fn new(policy: Policy) -> Self {
        let counters = Counters::begin(&policy, NOW);
        Self { policy, counters, now: NOW }
    }

    pub(super) fn reserve(&mut self, challenge: &Challenge, request: &Request) -> (Decision, [u8; 16]) {
        let id = fresh();
        (self.counters.reserve(&self.policy, challenge, request, &purse(), id, self.now), id)
    }

    pub(super) fn signed(&self, challenge: &Challenge, choice: &Choice, request: &Request, id: &[u8; 16]) -> Payment {
        let draft = Draft::new(challenge, choice, request, Binding { id, holder: None }, self.now).unwrap();
        let signature = key().signature(&draft).unwrap();
        draft.finish(&signature).unwrap()
    }

    /// Reserves and signs; `None` if it was not to be.
    pub(super) fn pay(&mut self, challenge: &Challenge, request: &Request) -> Option<String> {
        let (decision, id) = self.reserve(challenge, request);
        let choice = decision.choice()?;
        let payment = self.signed(challenge, choice, request, &id);
        self.counters.sign(&self.policy, &id, payment, self.now).unwrap();
        Some(super::super::counters::id_text(&id))
    }
}

/// A store in memory. Clones are the same one. It lets others go first, so that races happen.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(pub(super) Rc<RefCell<Option<Blob<u64>>>>);

impl Store for Memory {
    type Version = u64;

    async fn load(&self) -> Result<Option<Blob<u64>>, StoreFailed> {
        turn().await;
        let read = self.0.borrow().clone();
        // Others may write while it is on its way.
        turn().await;
        Ok(read)
    }

    async fn swap(&self, expected: Option<u64>, bytes: Vec<u8>) -> Result<bool, StoreFailed> {
        turn().await;
        let mut kept = self.0.borrow_mut();
        if kept.as_ref().map(|blob| blob.version) != expected {
            return Ok(false);
        }
        let version = expected.map_or(1, |version| version + 1);
        *kept = Some(Blob { bytes, version });
        Ok(true)
    }
}

/// Lets others go first.
pub(super) async fn turn() {
    let mut passed = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut passed, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

type Answers = dyn FnMut(&Message<'_>) -> Option<Response<Vec<u8>>>;

/// A world with one seller. Clones are the same one.
#[derive(Clone)]
pub(super) struct Street {
    pub(super) now: Rc<Cell<u64>>,
    seller: Rc<RefCell<Answers>>,
    /// Payments that were sent, by value.
    pub(super) payments: Rc<RefCell<Vec<String>>>,
    pub(super) requests: Rc<Cell<usize>>,
}

impl Street {
    /// `seller` answers; `None`: no answer comes.
    pub(super) fn new(seller: impl FnMut(&Message<'_>) -> Option<Response<Vec<u8>>> + 'static) -> Self {
        Self {
            now: Rc::new(Cell::new(NOW)),
            seller: Rc::new(RefCell::new(seller)),
            payments: Rc::default(),
            requests: Rc::default(),
        }
    }
}

impl World for Street {
    type Body = Vec<u8>;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        out.copy_from_slice(fresh().get(..out.len()).ok_or(HostError)?);
        Ok(())
    }

    async fn sleep(&self, millis: u64) {
        for _ in 0..8 {
            turn().await;
        }
        self.now.set(self.now.get() + millis / 1000);
    }

    async fn send(&self, message: &Message<'_>) -> Result<Response<Vec<u8>>, NoAnswer> {
        turn().await;
        self.requests.set(self.requests.get() + 1);
        if let Some(value) = message.payment() {
            self.payments.borrow_mut().push(value.to_owned());
        }
        let answer = (self.seller.borrow_mut())(message);
        turn().await;
        answer.ok_or(NoAnswer)
    }

    async fn peek(&self, body: Vec<u8>, limit: usize) -> (Vec<u8>, Vec<u8>) {
        (body.iter().copied().take(limit).collect(), body)
    }
}

pub(super) type TestAgent = Agent<Street, Memory, SessionKey>;

pub(super) fn agent(policy: Policy, street: &Street, store: &Memory) -> TestAgent {
    Agent::new(policy, purse(), street.clone(), store.clone(), key())
}

pub(super) fn reply(message: &Message<'_>, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response<Vec<u8>> {
    Response { status, headers: headers.iter().copied().collect(), url: message.url.to_owned(), body: body.to_vec() }
}

pub(super) fn demand(message: &Message<'_>, offers: &[Value]) -> Response<Vec<u8>> {
    let value = STANDARD.encode(required(offers).to_string());
    reply(message, 402, &[("payment-required", &value)], b"{}")
}

pub(super) fn settled(message: &Message<'_>) -> Response<Vec<u8>> {
    let value = STANDARD.encode(
        json!({ "success": true, "payer": PAYER, "transaction": "0xab", "network": "eip155:84532" }).to_string(),
    );
    reply(message, 200, &[("payment-response", &value)], b"data")
}

/// A seller that asks for `offers` and takes every payment.
pub(super) fn honest(offers: Vec<Value>) -> impl FnMut(&Message<'_>) -> Option<Response<Vec<u8>>> {
    move |message| Some(if message.payment().is_some() { settled(message) } else { demand(message, &offers) })
}

/// Runs a future that needs nobody but itself.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// A future that runs in turns with others.
pub(super) type Running<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Runs futures in turns.
pub(super) fn run_all<T>(futures: Vec<Running<'_, T>>) -> Vec<T> {
    let mut slots: Vec<_> = futures.into_iter().map(|future| (Some(future), None)).collect();
    while slots.iter().any(|(_, value)| value.is_none()) {
        for (future, value) in &mut slots {
            if let Some(running) = future
                && let Poll::Ready(done) = running.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                *value = Some(done);
                *future = None;
            }
        }
    }
    slots.into_iter().filter_map(|(_, value)| value).collect()
}

pub(super) fn wanted() -> Wanted {
    Wanted::get(URL)
}
