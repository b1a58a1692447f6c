//! A world that keeps the books: a facilitator over a chain that burns nonces, and an upstream.

use super::chain::block_at;
use super::wallet::Way;
use super::{NAMED_PRICE, price};
use crate::message::{Answer, Author, Call, Forwarded, Handling, Response, Sent, Service, When, World};
use crate::random::Random;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_core::crypto::hex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::rc::Rc;

/// How facilitator and upstream behave: percent of calls. What is left of 100 is honest and quick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conduct {
    /// Calls of either kind that take 1 to 8000 ms.
    pub slow: u32,
    /// `/verify` calls without a usable answer.
    pub verify_lost: u32,
    /// `/verify` calls that are refused.
    pub verify_refused: u32,
    /// `/settle` calls that the host refuses to send.
    pub not_sent: u32,
    /// `/settle` calls that are refused, and not carried out.
    pub settle_refused: u32,
    /// `/settle` calls that are carried out, and whose answer is lost.
    pub settle_lost: u32,
    /// `/settle` calls that never arrive, which looks the same.
    pub settle_gone: u32,
    /// `/settle` calls that say once that they are pending, and are carried out when asked again.
    pub settle_pending: u32,
    /// Calls of the chain's node without a usable answer.
    pub node_lost: u32,
    /// Upstream responses of status 500.
    pub upstream_fails: u32,
    /// Upstream connections that break before or after the headers.
    pub upstream_resets: u32,
    /// Upstream responses that take 1 to 20 000 ms.
    pub upstream_slow: u32,
}

/// What is known of one authorization.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Who pays.
    pub payer: String,
    /// Atomic units it is for.
    pub value: u128,
    /// How it moves money.
    pub way: Way,
    /// Unix seconds at which it ends.
    pub before: u64,
    /// Its signature, in lower case.
    pub signature: String,
    /// Calls of `/verify`.
    pub verifies: u32,
    /// Calls of `/settle` that arrived.
    pub settles: u32,
    /// Calls of `/settle` after one that did not say "pending".
    pub repeated: u32,
    /// Whether the chain moved the money.
    pub moved: bool,
    /// The block in which it did.
    pub block: u64,
    /// Whether nobody was told so.
    pub untold: bool,
    /// Requests with it that reached the upstream.
    pub forwarded: u32,
    /// Responses of the upstream's, below status 400, that left for a client with a receipt for it.
    pub delivered: u32,
    pending: bool,
}

/// What a stream shows and asks for.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Path of the request.
    pub path: String,
    /// Nonce of the payment it shows.
    pub nonce: Option<[u8; 32]>,
}

type OnCall = Box<dyn FnMut(&Call) -> Option<Handling>>;
type OnRequest = Box<dyn FnMut(&Forwarded) -> Option<Service>>;

/// A facilitator, a chain and an upstream.
pub struct Shop {
    /// How they behave.
    pub conduct: Conduct,
    /// Answers callouts before `conduct` is looked at, where it answers.
    pub on_call: Option<OnCall>,
    /// Answers requests before `conduct` is looked at, where it answers.
    pub on_request: Option<OnRequest>,
    /// Every authorization that was issued.
    pub books: HashMap<[u8; 32], Book>,
    /// What streams show, to be filled by whoever opens them.
    pub attempts: HashMap<u64, Attempt>,
    /// Paths of the callouts that arrived, as long as `keep` says so.
    pub calls: Vec<String>,
    /// Requests that reached the upstream, as long as `keep` says so.
    pub requests: Vec<Forwarded>,
    /// Whether `calls` and `requests` are kept.
    pub keep: bool,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// Calls of the chain's node.
    pub asked_chain: u64,
    /// Nonces by payer.
    pub(super) payers: HashMap<String, Vec<[u8; 32]>>,
    /// What was charged on the route that knows names: by payer and name.
    named: HashMap<(String, String), [u8; 32]>,
    random: Random,
    goods: Rc<str>,
}

impl Shop {
    /// An honest one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            conduct: Conduct::default(),
            on_call: None,
            on_request: None,
            books: HashMap::new(),
            attempts: HashMap::new(),
            calls: Vec::new(),
            requests: Vec::new(),
            keep: true,
            violations: Vec::new(),
            asked_chain: 0,
            payers: HashMap::new(),
            named: HashMap::new(),
            random: Random::new(seed ^ 0x5109),
            goods: "{\"goods\":true}".into(),
        }
    }

    /// Opens a book for a payment.
    pub fn issue(&mut self, payment: &super::Payment) {
        let json = payment.json(&super::Spelling::default());
        let signature = json["payload"]["signature"].as_str().unwrap_or_default().to_lowercase();
        let (payer, value, way, before) = (payment.from.clone(), payment.value, payment.way, payment.before);
        self.payers.entry(payer.clone()).or_default().push(payment.nonce);
        self.books.insert(payment.nonce, Book { payer, value, way, before, signature, ..Book::default() });
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        percent > 0 && self.random.chance(percent)
    }

    pub(super) fn when(&mut self, percent: u32, most: usize) -> When {
        if self.chance(percent) {
            When::After(1 + u64::try_from(self.random.below(most)).unwrap_or(0))
        } else {
            When::Soon
        }
    }

    fn verify(&mut self, payment: &Value) -> Handling {
        let when = self.when(self.conduct.slow, 8000);
        if self.chance(self.conduct.verify_lost) {
            return Handling::Answer(when, Answer::new(503, "no"));
        }
        let refused = self.chance(self.conduct.verify_refused);
        let payer = payer(payment);
        let Some((_, book)) = find(&mut self.books, payment) else {
            return answer(
                when,
                &json!({ "isValid": false, "invalidReason": "unknown_authorization", "payer": payer }),
            );
        };
        book.verifies += 1;
        let honest = signed(book, payment) && !book.moved;
        if refused || !honest {
            return answer(when, &json!({ "isValid": false, "invalidReason": "invalid_exact_evm_payload_signature" }));
        }
        answer(when, &json!({ "isValid": true, "payer": payer }))
    }

    fn settle(&mut self, payment: &Value, now: u64) -> Handling {
        let when = self.when(self.conduct.slow, 8000);
        let dice = u32::try_from(self.random.below(100)).unwrap_or(0);
        let Conduct { not_sent, settle_refused, settle_lost, settle_gone, settle_pending, .. } = self.conduct;
        let mut end = 0;
        let mut falls = |percent: u32| {
            end += percent;
            dice < end && dice >= end - percent
        };
        if falls(not_sent) {
            return Handling::Refuse(crate::status::BAD_ARGUMENT);
        }
        let (refused, lost, gone) = (falls(settle_refused), falls(settle_lost), falls(settle_gone));
        let pending = falls(settle_pending);
        let payer = payer(payment);
        let network = if payment["x402Version"] == 1 { "base-sepolia" } else { super::NETWORK };
        let refusal =
            |reason: &str| json!({ "success": false, "errorReason": reason, "transaction": "", "network": network });
        let Some((nonce, book)) = find(&mut self.books, payment) else {
            self.violations.push("an authorization that nobody issued was to be settled".to_owned());
            return answer(when, &refusal("unknown_authorization"));
        };
        book.settles += 1;
        let again = std::mem::take(&mut book.pending);
        if book.settles > 1 && !again {
            book.repeated += 1;
            self.violations.push(format!("{} was to be settled twice", hex::encode(&nonce)));
        }
        if book.moved {
            return answer(when, &refusal("invalid_exact_evm_nonce_already_used"));
        }
        if !signed(book, payment) {
            return answer(when, &refusal("invalid_exact_evm_payload_signature"));
        }
        if pending && !again {
            book.pending = true;
            return answer(when, &refusal("settlement_pending"));
        }
        if refused {
            return answer(when, &refusal("insufficient_funds"));
        }
        if gone {
            return Handling::Wait;
        }
        book.moved = true;
        book.block = block_at(now);
        book.untold = lost;
        let value = book.value;
        if value == NAMED_PRICE
            && let Some(name) = payment["extensions"]["payment-identifier"]["info"]["id"].as_str()
        {
            let named = (book.payer.clone(), name.to_owned());
            if let Some(other) = self.named.insert(named, nonce).filter(|other| *other != nonce) {
                let (one, other) = (hex::encode(&nonce), hex::encode(&other));
                self.violations.push(format!("{one} and {other} were both charged under one name"));
            }
        }
        if lost {
            return if dice % 2 == 0 { Handling::Wait } else { Handling::Answer(when, Answer::Reset) };
        }
        answer(
            when,
            &json!({
                "success": true, "payer": payer, "transaction": hex::encode(&nonce),
                "network": network, "amount": value.to_string()
            }),
        )
    }
}

fn answer(when: When, json: &Value) -> Handling {
    Handling::Answer(when, Answer::new(200, json.to_string()))
}

fn find<'a>(books: &'a mut HashMap<[u8; 32], Book>, payment: &Value) -> Option<([u8; 32], &'a mut Book)> {
    let payload = &payment["payload"];
    let nonce = match payload["permit2Authorization"]["nonce"].as_str() {
        Some(nonce) => farebox_core::rail::x402::eip3009::uint_word(nonce.parse().ok()?),
        None => hex::decode_fixed(payload["authorization"]["nonce"].as_str()?)?,
    };
    books.get_mut(&nonce).map(|book| (nonce, book))
}

fn payer(payment: &Value) -> Value {
    let payload = &payment["payload"];
    let kinds = ["authorization", "permit2Authorization"].map(|kind| payload[kind]["from"].clone());
    kinds.into_iter().find(Value::is_string).unwrap_or_default()
}

fn signed(book: &Book, payment: &Value) -> bool {
    let signature = payment["payload"]["signature"].as_str().unwrap_or_default();
    book.signature.eq_ignore_ascii_case(signature)
}

impl World for Shop {
    fn call(&mut self, call: &Call) -> Handling {
        if let Some(handling) = self.on_call.as_mut().and_then(|service| service(call)) {
            return handling;
        }
        if self.keep {
            self.calls.push(call.path().to_owned());
        }
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        match call.path() {
            "/verify" => self.verify(&body["paymentPayload"]),
            "/settle" => self.settle(&body["paymentPayload"], call.at),
            "/" if call.cluster == "node" => self.node(call),
            "/supported" => answer(
                When::Soon,
                &json!({
                    "kinds": [
                        { "x402Version": 2, "scheme": "exact", "network": super::NETWORK },
                        { "x402Version": 1, "scheme": "exact", "network": "base-sepolia" }
                    ],
                    "extensions": [], "signers": {} }),
            ),
            _ => Handling::Answer(When::Soon, Answer::new(404, "")),
        }
    }

    fn upstream(&mut self, request: &Forwarded) -> Service {
        if self.keep {
            self.requests.push(request.clone());
        }
        let nonce = self.attempts.get(&request.stream).and_then(|attempt| attempt.nonce);
        if let Some(book) = nonce.and_then(|nonce| self.books.get_mut(&nonce)) {
            book.forwarded += 1;
        }
        if ["payment-signature", "x-payment"].iter().any(|name| request.headers.get(name).is_some()) {
            self.violations.push("the upstream saw a payment".to_owned());
        }
        if let Some(service) = self.on_request.as_mut().and_then(|service| service(request)) {
            return service;
        }
        let when = self.when(self.conduct.upstream_slow, 20_000);
        if self.chance(self.conduct.upstream_fails) {
            return Service::Respond(when, Sent::new(500, "broken"));
        }
        let mut sent = Sent::new(200, self.goods.as_bytes());
        if self.chance(self.conduct.upstream_resets) {
            sent = if self.random.chance(50) { Sent::reset() } else { Sent { cut: true, ..sent } };
        }
        if sent.headers.0.is_empty() {
            return Service::Respond(when, sent);
        }
        sent.headers.add("content-type", "application/json");
        if request.headers.text(":method") == Some("HEAD") && !sent.cut {
            sent.body = Vec::new();
        }
        Service::Respond(when, sent)
    }

    fn released(&mut self, stream: u64, response: &Response) {
        if response.author != Author::Upstream || response.status >= 400 {
            return;
        }
        let Some(attempt) = self.attempts.get(&stream) else { return };
        let Some(price) = price(&attempt.path) else { return };
        let shown = attempt.nonce.and_then(|nonce| self.books.get(&nonce)).map(|book| book.payer.clone());
        // The receipt says what the delivery is for: not always what was shown, but always the same payer's.
        let Some(nonce) = receipt(response).or(attempt.nonce) else {
            self.violations.push(format!("{} was served without a payment", attempt.path));
            return;
        };
        let name = hex::encode(&nonce);
        let Some(book) = self.books.get_mut(&nonce) else {
            self.violations.push(format!("{} was served on a receipt for {name}, which nobody issued", attempt.path));
            return;
        };
        book.delivered += 1;
        if shown.as_ref() != Some(&book.payer) {
            self.violations.push(format!("{} was served to another than the payer of {name}", attempt.path));
        }
        if !book.moved {
            self.violations.push(format!("{} was served unpaid by {name}", attempt.path));
        }
        if book.value < price {
            self.violations.push(format!("{} was served for {} by {name}", attempt.path, book.value));
        }
        if book.delivered > 1 {
            self.violations.push(format!("{} was served {} times by {name}", attempt.path, book.delivered));
        }
    }
}

/// The transaction of a response's receipt: in this shop, the authorization's nonce.
fn receipt(response: &Response) -> Option<[u8; 32]> {
    let json = STANDARD
        .decode(response.headers.get("payment-response").or_else(|| response.headers.get("x-payment-response"))?)
        .ok()?;
    let json: Value = serde_json::from_slice(&json).ok()?;
    hex::decode_fixed(json["transaction"].as_str()?)
}

impl std::fmt::Debug for Shop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shop").field("books", &self.books.len()).field("violations", &self.violations).finish()
    }
}
