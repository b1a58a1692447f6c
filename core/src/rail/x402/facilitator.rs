//! The facilitator's HTTP interface: what is sent, and how strictly its answers are read.
//!
//! Source: x402.md §2. A positive answer counts only with explicit booleans, our network, our payer and, where the
//! scheme has one, a transaction; a negative one counts under any status.

use super::offer::Terms;
use super::payment::Payment;
use crate::crypto::hex;
use crate::host::{Answer, Callout, CalloutError};
use crate::json;
use crate::policy::Facilitator;
use serde_json::{Map, Value};

/// What `/verify` said.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The payment would settle.
    Valid {
        /// Who pays, as the facilitator writes it.
        payer: Option<String>,
    },
    /// It would not.
    Invalid {
        /// The facilitator's reason, an opaque word.
        reason: String,
    },
    /// No usable answer.
    Unavailable {
        /// For the log.
        why: String,
    },
}

/// What `/settle` said.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// Paid.
    Settled(Settled),
    /// Not paid, and with this payment never will be.
    Refused {
        /// The facilitator's reason, an opaque word.
        reason: String,
    },
    /// The request never left: nothing happened.
    NotSent,
    /// Anything else: it may have been paid.
    Unknown {
        /// For the log.
        why: String,
        /// The facilitator says that it is still at it.
        pending: bool,
    },
}

/// A settlement that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// Who paid, as the facilitator writes it.
    pub payer: Option<String>,
    /// Transaction; empty for schemes that settle off chain.
    pub transaction: String,
    /// Atomic units charged, if it says.
    pub amount: Option<String>,
    /// Members the buyer may want: `extensions` and `extra`.
    pub more: Map<String, Value>,
}

/// The request for `/verify` or `/settle`: the client's payment unchanged, and our own requirement.
#[must_use]
pub fn call(
    to: &Facilitator,
    endpoint: &'static str,
    payment: &Payment,
    terms: &Terms,
    timeout_seconds: u64,
) -> Callout {
    let body =
        format!(r#"{{"x402Version":2,"paymentPayload":{},"paymentRequirements":{}}}"#, payment.text.trim(), terms.json);
    let mut call = request(to, "POST", endpoint, timeout_seconds);
    call.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    call.body = body.into_bytes();
    call
}

/// The request for `/supported`.
#[must_use]
pub fn supported_call(to: &Facilitator) -> Callout {
    request(to, "GET", "/supported", to.verify_timeout_seconds)
}

fn request(to: &Facilitator, method: &'static str, endpoint: &str, timeout_seconds: u64) -> Callout {
    let mut headers = vec![("accept".to_owned(), "application/json".to_owned())];
    if let Some(bearer) = &to.bearer {
        headers.push(("authorization".to_owned(), format!("Bearer {}", bearer.expose())));
    }
    Callout {
        cluster: to.cluster.clone(),
        method,
        scheme: to.scheme.clone(),
        authority: to.authority.clone(),
        path: format!("{}{endpoint}", to.base_path),
        headers,
        body: Vec::new(),
        timeout_millis: timeout_seconds.saturating_mul(1000),
    }
}

/// Reads the answer to `/verify`.
#[must_use]
pub fn verdict(answer: Result<Answer, CalloutError>, payment: &Payment) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Verdict::Unavailable { why: format!("{error:?}") },
    };
    let Some(json) = object(&answer) else {
        return Verdict::Unavailable { why: format!("status {} without a JSON object", answer.status) };
    };
    match json.get("isValid") {
        Some(Value::Bool(false)) => Verdict::Invalid { reason: word(&json, "invalidReason") },
        Some(Value::Bool(true)) if (200..300).contains(&answer.status) => {
            let payer = text(&json, "payer");
            if same_payer(payment, payer.as_deref()) {
                Verdict::Valid { payer }
            } else {
                Verdict::Unavailable { why: "the answer names another payer".to_owned() }
            }
        }
        _ => Verdict::Unavailable { why: format!("status {} without isValid", answer.status) },
    }
}

/// Reasons that leave open whether the payment was settled. A nonce found used, or a transaction that failed, may
/// mean that somebody else carried out the very authorization that pays us.
const OPEN: [&str; 12] = [
    "settlement_pending",
    "invalid_transaction_state",
    "unexpected_settle_error",
    "unknown_error",
    "duplicate_settlement",
    "invalid_exact_evm_nonce_already_used",
    "invalid_exact_evm_transaction_failed",
    "invalid_exact_evm_transfer_event_mismatch",
    "settle_exact_evm_transaction_confirmation_timed_out",
    "settle_exact_svm_transaction_confirmation_timed_out",
    "settle_exact_node_failure",
    "post_settlement_transfer_not_confirmed",
];

/// Reads the answer to `/settle`.
#[must_use]
pub fn settlement(answer: Result<Answer, CalloutError>, payment: &Payment, terms: &Terms) -> Settlement {
    let unknown = |why: String| Settlement::Unknown { why, pending: false };
    let answer = match answer {
        Ok(answer) => answer,
        Err(CalloutError::NotSent) => return Settlement::NotSent,
        Err(error) => return unknown(format!("{error:?}")),
    };
    let Some(json) = object(&answer) else {
        return unknown(format!("status {} without a JSON object", answer.status));
    };
    match json.get("success") {
        Some(Value::Bool(false)) => {
            let reason = word(&json, "errorReason");
            let broadcast = text(&json, "transaction").is_some_and(|transaction| !transaction.is_empty());
            if broadcast || OPEN.contains(&reason.as_str()) {
                let pending = reason == "settlement_pending";
                Settlement::Unknown { why: reason, pending }
            } else {
                Settlement::Refused { reason }
            }
        }
        Some(Value::Bool(true)) if (200..300).contains(&answer.status) => {
            settled(json, payment, terms).unwrap_or_else(unknown)
        }
        _ => unknown(format!("status {} without success", answer.status)),
    }
}

fn settled(mut json: Map<String, Value>, payment: &Payment, terms: &Terms) -> Result<Settlement, String> {
    if text(&json, "network").as_deref() != Some(terms.network.as_str()) {
        return Err("the answer names another network".to_owned());
    }
    let payer = text(&json, "payer");
    if !same_payer(payment, payer.as_deref()) {
        return Err("the answer names another payer".to_owned());
    }
    let transaction = text(&json, "transaction").unwrap_or_default();
    if terms.domain.is_some() && hex::decode_fixed::<32>(&transaction).is_none() {
        return Err("the answer has no transaction".to_owned());
    }
    if transaction.len() > 96 {
        return Err("the answer's transaction is too long".to_owned());
    }
    let amount = text(&json, "amount").filter(|amount| !amount.is_empty());
    if terms.domain.is_some() && amount.as_ref().is_some_and(|amount| *amount != terms.amount.to_string()) {
        return Err("the answer names another amount".to_owned());
    }
    let more = ["extensions", "extra"]
        .into_iter()
        .filter_map(|key| json.remove_entry(key).filter(|(_, value)| value.is_object()))
        .collect();
    Ok(Settlement::Settled(Settled { payer, transaction, amount, more }))
}

/// Whether an answer's payer agrees with what the payment itself says.
fn same_payer(payment: &Payment, answered: Option<&str>) -> bool {
    match (payment.payer(), answered) {
        (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
        _ => true,
    }
}

fn object(answer: &Answer) -> Option<Map<String, Value>> {
    match json::parse(&answer.body, Answer::MAX_BODY, 32) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn text(json: &Map<String, Value>, name: &str) -> Option<String> {
    json.get(name)?.as_str().map(str::to_owned)
}

/// A reason, reduced to what may stand in a header and a log line.
fn word(json: &Map<String, Value>, name: &str) -> String {
    let clean: String = text(json, name)
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_graphic() && *c != '"' && *c != '\\')
        .take(128)
        .collect();
    if clean.is_empty() { "no_reason_given".to_owned() } else { clean }
}
