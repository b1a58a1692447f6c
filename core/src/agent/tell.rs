//! What an agent did and found, as JSON: what shells and [`facade`](super::facade) hand over, so that every language is
//! told the same.
//!
//! Amounts are decimal strings of atomic units, with `text` beside them in the policy's units. Texts of sellers stand
//! only where it says so; show them as text, and never as anything else.

use super::challenge::{Challenge, Offer};
use super::counters::{Approved, Counters, Left, Outcome, Payment, Question, Reservation, Stage};
use super::decide::{Decision, Outcome as Decided};
use super::event::Event;
use super::flow::{FetchError, Fetched, Paid, Plan};
use super::money::{self, AssetId};
use super::policy::Policy;
use super::receipt::Receipt;
use super::wallet::{self, TokenInfo, TokenUse};
use crate::crypto::base64url;
use crate::rail::x402::price;
use serde_json::{Map, Value, json};

/// A decision: `{outcome, offer?, payer?, valid_seconds?, question?, retry_at?, reasons, explanation}`.
#[must_use]
pub fn decision(policy: &Policy, decision: &Decision, challenge: &Challenge) -> Value {
    let of = |index: usize| challenge.offer(index).map(|it| offer(policy, it));
    let reasons: Vec<&str> = decision.reasons().iter().map(|reason| reason.wire()).collect();
    let mut told = match &decision.outcome {
        Decided::Choose(choice) => json!({
            "outcome": "choose",
            "offer": of(choice.offer),
            "payer": choice.payer.to_string(),
            "valid_seconds": choice.valid_seconds,
        }),
        Decided::Ask(asked) => json!({
            "outcome": "ask",
            "offer": of(asked.offer),
            "question": asked.question.as_deref().map(question),
        }),
        Decided::Deny(denied) => json!({ "outcome": "deny", "retry_at": denied.retry_at }),
    };
    if let Some(members) = told.as_object_mut() {
        members.insert("reasons".to_owned(), reasons.into());
        members.insert("explanation".to_owned(), decision.explanation.json());
    }
    told
}

/// An offer, as it was read.
#[must_use]
pub fn offer(policy: &Policy, offer: &Offer) -> Value {
    json!({
        "index": offer.index,
        "scheme": offer.scheme.wire(),
        "transfer": offer.transfer.wire(),
        "network": offer.asset.network(),
        "asset": offer.asset.to_string(),
        "amount": offer.amount.to_string(),
        "text": text(policy, &offer.asset, offer.amount),
        "payee": offer.payee.to_string(),
        "max_timeout_seconds": offer.max_timeout_seconds,
        "upfront": offer.upfront,
        "pass": offer.pass.map(|pass| json!({
            "calls": pass.terms.calls,
            "budget": pass.terms.budget,
            "bytes": pass.terms.bytes,
            "expires_in": pass.terms.expires_in,
            "delegations": pass.delegations,
            "needs_holder": pass.needs_holder,
        })),
    })
}

/// A payment as it is sent: `{header, value, nonce, valid_before}`.
#[must_use]
pub fn payment(payment: &Payment) -> Value {
    json!({
        "header": payment.header,
        "value": payment.value,
        "nonce": payment.nonce,
        "valid_before": payment.valid_before,
    })
}

/// What is reserved.
#[must_use]
pub fn reservation(policy: &Policy, held: &Reservation) -> Value {
    let asset = AssetId::parse(&held.asset).ok();
    json!({
        "stage": match held.stage {
            Stage::Held => "held",
            Stage::Sent => "sent",
            Stage::Doubtful => "doubtful",
            Stage::Refused => "refused",
        },
        "at": held.at,
        "until": held.until,
        "method": held.method,
        "url": held.url,
        "host": held.host,
        "asset": held.asset,
        "amount": held.amount.to_string(),
        "text": asset.and_then(|asset| text(policy, &asset, held.amount)),
        "ceiling": held.is_ceiling(),
        "pass": held.buys_pass(),
        "payee": held.payee,
        "payer": held.payer,
        "nonce": held.payment.as_ref().map(|payment| payment.nonce.as_str()),
        "valid_before": held.payment.as_ref().map(|payment| payment.valid_before),
    })
}

/// A question: `{digest, document, expires, needs, answered, rejected}`.
#[must_use]
pub fn question(question: &Question) -> Value {
    let needs: Vec<Value> = question
        .needs
        .iter()
        .map(|need| json!({ "rule": need.rule, "by": need.by, "threshold": need.threshold, "given": need.given }))
        .collect();
    json!({
        "digest": question.digest,
        "document": question.document,
        "expires": question.expires,
        "needs": needs,
        "answered": question.answered,
        "rejected": question.rejected,
    })
}

/// What became of a payment: `{id, outcome, charged?, faults, code?, transaction?, receipts, reservation, explanation}`.
/// `code` and `transaction` are the seller's words.
#[must_use]
pub fn paid(policy: &Policy, paid: &Paid) -> Value {
    let (outcome, charged) = outcome(&paid.outcome);
    let faults: Vec<&str> = paid.faults.iter().map(|fault| fault.wire()).collect();
    let asset = AssetId::parse(&paid.reservation.asset).ok();
    json!({
        "id": paid.id,
        "outcome": outcome,
        "charged": charged.map(|amount| amount.to_string()),
        "charged_text": charged.and_then(|amount| text(policy, &asset?, amount)),
        "faults": faults,
        "code": paid.code,
        "transaction": paid.transaction,
        "receipts": paid.receipts.iter().map(receipt).collect::<Vec<_>>(),
        "reservation": reservation(policy, &paid.reservation),
        "explanation": paid.explanation.json(),
    })
}

/// An outcome's name, and what was charged.
pub(super) fn outcome(outcome: &Outcome) -> (&'static str, Option<u128>) {
    match outcome {
        Outcome::Charged(amount) | Outcome::Settled(amount) => ("charged", Some(*amount)),
        Outcome::Refused => ("refused", None),
        Outcome::NotSent | Outcome::Unused => ("unused", None),
        Outcome::Unknown => ("unknown", None),
    }
}

/// A receipt: `{kind, text, claims, signer?, good, wrong?}`. `text` and `claims` are the seller's words.
#[must_use]
pub fn receipt(receipt: &Receipt) -> Value {
    json!({
        "kind": receipt.kind.wire(),
        "text": receipt.text,
        "claims": receipt.claims,
        "signer": receipt.signer,
        "good": receipt.is_good(),
        "wrong": receipt.wrong.map(|wrong| wrong.wire()),
    })
}

/// A token: `{id, origins, methods, expires, holder?, left, delegations}`.
#[must_use]
pub fn token(token: &TokenInfo) -> Value {
    json!({
        "id": token.id,
        "origins": token.origins,
        "methods": token.methods,
        "expires": token.expires,
        "holder": token.holder,
        "left": of_token(&token.left),
        "delegations": token.delegations,
    })
}

/// A call with a token: `{id, left}`.
#[must_use]
pub fn token_use(used: &TokenUse) -> Value {
    json!({ "id": used.id, "left": of_token(&used.left) })
}

fn of_token(left: &[wallet::Left]) -> Value {
    left.iter().map(|left| json!({ "unit": left.unit, "amount": left.amount })).collect()
}

/// What is left of budgets and numbers of calls: a list of `{rule, key, unit, max, used, left}`.
#[must_use]
pub fn left(left: &[Left]) -> Value {
    let line = |left: &Left| {
        let text = |amount: u128| match left.unit.as_str() {
            "calls" => amount.to_string(),
            _ => price::decimal(amount, money::SCALE),
        };
        json!({
            "rule": left.rule,
            "key": left.key,
            "unit": left.unit,
            "max": text(left.max),
            "used": text(left.used),
            "left": text(left.max.saturating_sub(left.used)),
        })
    };
    left.iter().map(line).collect()
}

/// What is left, open and asked: `{left, open, questions, adopted, revision}`.
#[must_use]
pub fn status(policy: &Policy, counters: &Counters, now: u64) -> Value {
    let open = counters.open().map(|(id, held)| {
        let mut held = reservation(policy, held);
        if let Some(members) = held.as_object_mut() {
            members.insert("id".to_owned(), id.into());
        }
        held
    });
    json!({
        "left": left(&counters.left(policy, now)),
        "open": open.collect::<Vec<_>>(),
        "questions": counters.questions().map(|asked| question(&asked)).collect::<Vec<_>>(),
        "adopted": counters.is_under(policy),
        "revision": counters.revision(),
    })
}

/// A policy: `{hash, serial, name, document, warnings}`.
#[must_use]
pub fn policy(policy: &Policy) -> Value {
    json!({
        "hash": base64url::encode(&policy.hash()),
        "serial": policy.serial(),
        "name": policy.name(),
        "warnings": policy.warnings(),
        "document": policy.document(),
    })
}

/// What became of an answer to a question, in a word.
#[must_use]
pub fn approved(approved: Approved) -> &'static str {
    match approved {
        Approved::Counted => "counted",
        Approved::Enough => "enough",
        Approved::Again => "again",
    }
}

/// What came with a response, all but the response: `{paid?, token?, kept?, receipts}`.
#[must_use]
pub fn fetched<B>(policy: &Policy, fetched: &Fetched<B>) -> Value {
    json!({
        "paid": fetched.paid.as_ref().map(|it| paid(policy, it)),
        "token": fetched.token.as_ref().map(token_use),
        "kept": fetched.kept.as_ref().map(token),
        "receipts": fetched.receipts.iter().map(receipt).collect::<Vec<_>>(),
    })
}

/// A plan: `{plan: "free", status}`, `{plan: "token", token}`, `{plan: "pay", decision}`.
#[must_use]
pub fn plan(policy: &Policy, plan: &Plan) -> Value {
    match plan {
        Plan::Free(status) => json!({ "plan": "free", "status": status }),
        Plan::Token(of) => json!({ "plan": "token", "token": token(of) }),
        Plan::Pay(pay) => json!({ "plan": "pay", "decision": decision(policy, &pay.1, &pay.0) }),
    }
}

/// An error: `{code, detail, reasons?, retry_at?, explanation?, question?, paid?}`.
#[must_use]
pub fn error(policy: &Policy, error: &FetchError) -> Value {
    let mut told = Map::new();
    let mut say = |name: &str, value: Value| told.insert(name.to_owned(), value);
    say("code", error.code().into());
    say("detail", error.to_string().into());
    match error {
        FetchError::Denied(denied, explanation) => {
            say("reasons", denied.reasons.iter().map(|reason| Value::from(reason.wire())).collect());
            say("retry_at", denied.retry_at.into());
            say("explanation", explanation.json());
        }
        FetchError::ApprovalNeeded(asked, explanation) => {
            say("question", question(asked));
            say("explanation", explanation.json());
        }
        FetchError::Doubtful(of) => {
            say("paid", paid(policy, of));
        }
        _ => {}
    }
    Value::Object(told)
}

/// An event: `{event, id?, …}`.
#[must_use]
pub fn event(policy: &Policy, event: &Event<'_>) -> Value {
    let mut told = match event {
        Event::Decided { id, request, challenge, decision: decided } => json!({
            "id": id,
            "method": request.method,
            "url": request.url.text(),
            "decision": decision(policy, decided, challenge),
        }),
        Event::Reserved { id, reservation: held }
        | Event::Signed { id, reservation: held }
        | Event::Resumed { id, reservation: held } => json!({ "id": id, "reservation": reservation(policy, held) }),
        Event::GivenUp { id, why } => json!({ "id": id, "why": why }),
        Event::Sent { id, attempt } => json!({ "id": id, "attempt": attempt }),
        Event::Paid { paid: of } => json!({ "id": of.id, "paid": paid(policy, of) }),
        Event::ReceiptChecked { id, receipt: of } => json!({ "id": id, "receipt": receipt(of) }),
        Event::TokenKept { token: of } => json!({ "token": token(of) }),
        Event::TokenUsed { used } => json!({ "token": token_use(used) }),
        Event::TokenDropped { token, why } => json!({ "token": { "id": token }, "why": why }),
    };
    if let Some(members) = told.as_object_mut() {
        members.insert("event".to_owned(), event.name().into());
    }
    told
}

/// An amount in the policy's units: `0.01 usd`.
fn text(policy: &Policy, asset: &AssetId, amount: u128) -> Option<String> {
    let money = policy.asset(asset)?.counted(amount)?;
    Some(policy.text(money))
}
