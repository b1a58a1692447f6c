//! What the answer to a paid request says about the money.
//!
//! A seller's word is not proof. It can say that it charged less than it may still take, so what is believed is what
//! costs more, unless the policy trusts the seller; and everything that does not fit what was offered is a fault, of
//! which the policy's breaker counts only so many.

use super::challenge::{SignedForm, form};
use super::counters::{Outcome, Payment, Reservation};
use super::money::{self, AccountId, AssetId};
use super::policy::Policy;
use super::receipt::{self, Receipt};
use super::request::{Body, Url};
use super::wallet;
use crate::crypto::jws::Jws;
use crate::http::Headers;
use crate::json;
use crate::proof::CAPABILITY_TOKEN;
use crate::rail::x402::{v1, wire};
use crate::receipt::call;
use crate::token::KeySet;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Bytes of a settlement header's value and of a problem's body that are read.
pub const MAX_BYTES: usize = 32 * 1024;
const MAX_DEPTH: usize = 16;
/// Seconds that a payment must still be good for when it is sent; facilitators want as many.
const MIN_REMAINING: u64 = 6;
/// Seconds between two attempts, if the seller names none, and the most that it can name.
const AGAIN_AFTER: u64 = 2;
const MOST_AFTER: u64 = 30;

/// Something that is wrong with how a seller dealt with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It charged another amount than it offered.
    Amount,
    /// It settled on another network.
    Network,
    /// It names somebody else as the payer.
    Payer,
    /// Its settlement cannot be read.
    Unreadable,
    /// It gave no receipt, and the policy wants one.
    NoReceipt,
    /// Its receipt is not for this payment, or not signed by whom it should be.
    BadReceipt,
    /// It sold a pass and gave no token for it, or one that is good for less.
    Token,
    /// It refused the payment.
    Refused,
}

impl Fault {
    /// Every fault.
    pub const ALL: &'static [Self] = &[
        Self::Amount,
        Self::Network,
        Self::Payer,
        Self::Unreadable,
        Self::NoReceipt,
        Self::BadReceipt,
        Self::Token,
        Self::Refused,
    ];

    /// The fault on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Amount => "amount",
            Self::Network => "network",
            Self::Payer => "payer",
            Self::Unreadable => "unreadable",
            Self::NoReceipt => "no_receipt",
            Self::BadReceipt => "bad_receipt",
            Self::Token => "token",
            Self::Refused => "refused",
        }
    }
}

/// What is to be done with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give it to whoever asked.
    Deliver,
    /// Send the same request with the same payment again after so many milliseconds, if the request can be repeated;
    /// else give it to whoever asked.
    Resend(u64),
}

/// An answer, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What became of the payment.
    pub outcome: Outcome,
    /// What is to be done.
    pub next: Next,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// The gate's code, or the settlement's reason, of an answer that refuses. Text of the seller: it decides nothing.
    pub code: Option<String>,
    /// The transaction that the seller names.
    pub transaction: Option<String>,
    /// Receipts that came with it, each with whether it is good.
    pub receipts: Vec<Receipt>,
    /// The token that came with it, and is to be kept.
    pub token: Option<String>,
    /// Whether the gate itself says that the same payment may be sent again: then it may, whatever the method.
    pub repeatable: bool,
}

/// Times that a payment is sent for one call.
pub const ATTEMPTS: usize = 4;

impl Answer {
    /// Milliseconds after which the payment is to be sent again, if it is: `attempt` is how often it was sent.
    ///
    /// What a request does when it is sent twice is known only of methods that are idempotent, and where the seller's
    /// gate says so.
    #[must_use]
    pub fn resends(&self, reservation: &Reservation, attempt: usize, now: u64) -> Option<u64> {
        let Next::Resend(millis) = self.next else { return None };
        let safe = self.repeatable || matches!(reservation.method.as_str(), "GET" | "HEAD" | "PUT" | "DELETE");
        let at = now.saturating_add(millis / 1000);
        let time = reservation.payment.as_ref().is_some_and(|payment| is_in_time(payment, at));
        (attempt < ATTEMPTS && safe && time).then_some(millis)
    }

    /// No answer came: the payment may have arrived.
    #[must_use]
    pub fn none() -> Self {
        Self {
            outcome: Outcome::Unknown,
            next: Next::Resend(AGAIN_AFTER * 1000),
            faults: Vec::new(),
            code: None,
            transaction: None,
            receipts: Vec::new(),
            token: None,
            repeatable: false,
        }
    }
}

/// A settlement, as a response's header states it.
struct Settlement {
    success: bool,
    chain: Option<u64>,
    payer: Option<[u8; 20]>,
    names_payer: bool,
    amount: Option<u128>,
    names_amount: bool,
    reason: Option<String>,
    transaction: Option<String>,
    receipt: Option<SignedForm>,
    token: Option<String>,
}

/// The response to a request that carried a payment, and that request.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The URL that was asked.
    pub url: &'a Url,
    /// The body that was sent.
    pub sent: Body,
    /// Status of the response; 0 where a browser does not tell it.
    pub status: u16,
    /// Its header fields.
    pub headers: &'a Headers,
    /// Its body, or the beginning. May be empty where it is a delivery, which is never read.
    pub body: &'a [u8],
    /// Keys that the seller's origin serves; empty if they were not fetched.
    pub keys: &'a KeySet,
    /// Thumbprint (RFC 7638) of the key that tokens may be bound to.
    pub holder: Option<&'a str>,
}

/// Whether the keys of the seller's origin are needed to judge the receipts and the token of this response.
#[must_use]
pub fn needs_keys(policy: &Policy, url: &Url, headers: &Headers) -> bool {
    let has = |name| headers.first(name).is_some();
    receipt::needs_keys(policy, url) && (has(call::HEADER) || has(CAPABILITY_TOKEN) || receipt_names_origin(headers))
}

/// Whether x402's receipt is signed by a key that an origin may serve.
fn receipt_names_origin(headers: &Headers) -> bool {
    let value = headers.first(wire::RESPONSE_HEADER);
    match value.and_then(|value| Settlement::read(value, false)).and_then(|settlement| settlement.receipt) {
        Some(SignedForm::Jws(text)) => Jws::parse(&text, MAX_BYTES)
            .is_ok_and(|jws| jws.kid().is_some_and(|kid| kid.starts_with("did:web:") || !kid.starts_with("did:"))),
        _ => false,
    }
}

/// Reads the answer to the request that carried the payment of `reservation`.
#[must_use]
pub fn read(policy: &Policy, reservation: &Reservation, reply: &Reply<'_>, now: u64) -> Answer {
    let Reply { status, headers, body, .. } = *reply;
    let mut answer = Answer { next: Next::Deliver, ..Answer::none() };
    let is_v1 = reservation.payment.as_ref().is_some_and(|payment| payment.header == v1::HEADER);
    let name = if is_v1 { v1::RESPONSE_HEADER } else { wire::RESPONSE_HEADER };
    let again = Next::Resend(after(headers).saturating_mul(1000));
    let problem = problem(headers, body);
    if let Some((code, advice)) = &problem {
        answer.code = Some(code.clone());
        answer.repeatable = advice == "resend_same_payment";
    }
    let mut values = headers.all(name);
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => answer.faults.push(Fault::Unreadable),
        (Some(value), None) => match Settlement::read(value, is_v1) {
            None => answer.faults.push(Fault::Unreadable),
            Some(settlement) => return settled(policy, reservation, reply, settlement, answer, again, now),
        },
        (None, _) if (200..400).contains(&status) => {
            // Served, and nothing said about money: the payment can be carried out, so it counts.
            answer.outcome = Outcome::Charged(reservation.amount);
            if policy.receipt {
                answer.faults.push(Fault::NoReceipt);
            }
        }
        (None, _) if answer.repeatable => answer.next = again,
        (None, _) => match (status, problem) {
            // A browser that does not follow a redirect shows nothing of it.
            (0, _) => {}
            // The gate says that it cannot be told; nobody else can either.
            (409, Some(_)) => {}
            (402 | 412, _) => {
                answer.outcome = Outcome::Refused;
                answer.faults.push(Fault::Refused);
            }
            (429 | 500..=599, None) | (429, Some(_)) => answer.next = again,
            _ => answer.outcome = Outcome::Refused,
        },
    }
    answer
}

/// What a settlement says.
fn settled(
    policy: &Policy,
    reservation: &Reservation,
    reply: &Reply<'_>,
    settlement: Settlement,
    mut answer: Answer,
    again: Next,
    now: u64,
) -> Answer {
    answer.transaction.clone_from(&settlement.transaction);
    if !settlement.success {
        answer.code = settlement.reason.or(answer.code);
        // Sent to the chain, and not seen there yet.
        if answer.code.as_deref() == Some("settlement_pending") {
            answer.next = again;
            return answer;
        }
        answer.outcome = Outcome::Refused;
        answer.faults.push(Fault::Refused);
        return answer;
    }
    let asset = AssetId::parse(&reservation.asset).ok();
    let payer = AccountId::parse(&reservation.payer).ok().map(|account| account.address);
    let payee = AccountId::parse(&reservation.payee).ok().map(|account| account.address);
    if settlement.chain.is_none() || settlement.chain != asset.map(|asset| asset.chain) {
        answer.faults.push(Fault::Network);
    }
    if settlement.names_payer && settlement.payer != payer {
        answer.faults.push(Fault::Payer);
    }
    let charged = settlement.amount.unwrap_or(reservation.amount);
    let ceiling = reservation.is_ceiling();
    let fits = if ceiling { charged <= reservation.amount } else { charged == reservation.amount };
    if !fits || (settlement.names_amount && settlement.amount.is_none()) {
        answer.faults.push(Fault::Amount);
    }
    answer.outcome = Outcome::Charged(charged);
    if let (Some(asset), Some(payer), Some(payee)) = (asset, &payer, &payee) {
        let transaction = settlement.transaction.as_deref();
        let paid = receipt::Paid { asset, payee, payer, amount: charged, transaction };
        let about = receipt::About {
            method: &reservation.method,
            url: reply.url,
            body: reply.sent,
            status: reply.status,
            headers: reply.headers,
            at: reservation.at,
            paid: Some(paid),
            token: None,
        };
        answer.receipts.extend(receipt::call(policy, &about, reply.keys, now));
        let form = settlement.receipt.as_ref();
        answer.receipts.extend(form.map(|form| receipt::payment(policy, form, &about, reply.keys, now)));
    }
    answer.faults.extend(fault_of(policy, &answer.receipts));
    let token = wallet::came(reply.headers, settlement.token.as_deref());
    match token.as_deref().map(|token| wallet::judge(token, reservation, reply, now)) {
        Some(Ok(())) => answer.token = token,
        Some(Err(wallet::Unfit::Useless)) => answer.faults.push(Fault::Token),
        // It is good for less than was sold, and for something.
        Some(Err(wallet::Unfit::Less)) => {
            answer.token = token;
            answer.faults.push(Fault::Token);
        }
        None if reservation.buys_pass() => answer.faults.push(Fault::Token),
        None => {}
    }
    answer
}

/// What is wrong with how a seller gave receipts. One that says something else than what happened is wrong in any case;
/// one that nobody who counts has signed is as good as none.
fn fault_of(policy: &Policy, receipts: &[Receipt]) -> Option<Fault> {
    let lies = |receipt: &Receipt| receipt.signer.is_some() && !receipt.is_good();
    if receipts.iter().any(lies) {
        return Some(Fault::BadReceipt);
    }
    if !policy.receipt || receipts.iter().any(Receipt::is_good) {
        return None;
    }
    Some(if receipts.is_empty() { Fault::NoReceipt } else { Fault::BadReceipt })
}

impl Settlement {
    /// Reads the header's value.
    fn read(value: &[u8], is_v1: bool) -> Option<Self> {
        if value.len() > MAX_BYTES {
            return None;
        }
        let json = json::parse(&STANDARD.decode(value).ok()?, MAX_BYTES, MAX_DEPTH).ok()?;
        // What is null is absent.
        let member = |name: &str| json.get(name).filter(|value| !value.is_null());
        let text = |name: &str| member(name).and_then(Value::as_str);
        let network = text("network").unwrap_or_default();
        let amount = text("amount").filter(|amount| !amount.is_empty());
        Some(Self {
            success: member("success")?.as_bool()?,
            chain: if is_v1 { v1::chain_of(network) } else { money::chain(network).ok() },
            payer: text("payer").and_then(|payer| money::evm(payer).ok()),
            names_payer: member("payer").is_some(),
            amount: amount.and_then(|amount| amount.parse().ok()),
            names_amount: amount.is_some(),
            reason: text("errorReason").map(shortened),
            transaction: text("transaction").filter(|transaction| !transaction.is_empty()).map(shortened),
            receipt: json.pointer("/extensions/offer-receipt/info/receipt").and_then(form),
            token: json.pointer("/extensions/farebox/info/token").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// The code of one of our gate's problems, if that is what the body is.
pub(super) fn code(headers: &Headers, body: &[u8]) -> Option<String> {
    problem(headers, body).map(|(code, _)| code)
}

/// Code and advice of one of our gate's problems.
fn problem(headers: &Headers, body: &[u8]) -> Option<(String, String)> {
    let kind = headers.text("content-type")?;
    if !kind.split(';').next()?.trim().eq_ignore_ascii_case("application/problem+json") {
        return None;
    }
    let json = json::parse(body, MAX_BYTES, MAX_DEPTH).ok()?;
    let text = |name: &str| json.get(name).and_then(Value::as_str).map(shortened);
    text("type")?.starts_with("urn:farebox:problem:").then_some(())?;
    Some((text("code")?, text("advice")?))
}

/// Whether a payment is good for long enough to be sent at `at`.
pub(super) fn is_in_time(payment: &Payment, at: u64) -> bool {
    at.saturating_add(MIN_REMAINING) < payment.valid_before
}

/// Seconds after which the seller wants to be asked again.
fn after(headers: &Headers) -> u64 {
    let named = headers.text("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
    named.unwrap_or(AGAIN_AFTER).clamp(1, MOST_AFTER)
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}
