//! The facilitator's HTTP interface: what is sent, and how strictly its answers are read.
//!
//! Source: x402.md §2. A positive answer counts only with explicit booleans, our network, our payer and, where the
//! scheme has one, a transaction, and with nothing in it that says otherwise; a negative one counts under any status.

use super::cdp;
use super::offer::{Method, Terms};
use super::payment::Payment;
use crate::crypto::hex;
use crate::host::{Answer, Callout, CalloutError, Host};
use crate::json;
use crate::policy::{Auth, Facilitator};
use crate::rail::breaker::Health;
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
        /// What leaves it open.
        doubt: Doubt,
    },
}

/// What leaves a settlement's outcome open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The facilitator says that it is still at it.
    Pending,
    /// The facilitator answered, and its answer decides nothing.
    Answered,
    /// There was no usable answer.
    Unanswered,
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
    let payload = payment.text.trim();
    let body = match &payment.v1 {
        None => format!(r#"{{"x402Version":2,"paymentPayload":{payload},"paymentRequirements":{}}}"#, terms.json),
        Some(about) => {
            let requirement = about.requirement(terms);
            format!(r#"{{"x402Version":1,"paymentPayload":{payload},"paymentRequirements":{requirement}}}"#)
        }
    };
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
    Callout {
        cluster: to.cluster.clone(),
        method,
        scheme: to.scheme.clone(),
        authority: to.authority.clone(),
        path: format!("{}{endpoint}", to.base_path),
        headers: vec![("accept".to_owned(), "application/json".to_owned())],
        body: Vec::new(),
        timeout_millis: timeout_seconds.saturating_mul(1000),
    }
}

/// Adds to a call what shows the facilitator who we are.
///
/// # Errors
/// Why it cannot be shown: the call must not be made.
pub fn authorize<H: Host>(host: &H, to: &Facilitator, call: &mut Callout) -> Result<(), &'static str> {
    match &to.auth {
        None => {}
        Some(Auth::Bearer(bearer)) => {
            call.headers.push(("authorization".to_owned(), format!("Bearer {}", bearer.expose())));
        }
        Some(Auth::Cdp(key)) => {
            let mut nonce = [0; 16];
            host.random(&mut nonce).map_err(|_| "no token without randomness, and the host has none")?;
            let token = key.token(call.method, &call.authority, &call.path, host.now(), nonce);
            call.headers.push(("authorization".to_owned(), format!("Bearer {token}")));
            call.headers.push((cdp::CORRELATION.0.to_owned(), cdp::CORRELATION.1.to_owned()));
        }
    }
    Ok(())
}

/// Whether a payment that got no usable answer to `/settle` may be taken to another facilitator: only if the chain
/// lets its authorization through no more than once, and it does not name the facilitator that carries it.
#[must_use]
pub fn may_move(payment: &Payment, terms: &Terms) -> bool {
    terms.from_supported.is_empty()
        && match terms.method {
            Method::Eip3009(_) => payment.exact.is_some(),
            Method::Permit2 => payment.permit.is_some(),
            Method::Upto { .. } | Method::Opaque => false,
        }
}

/// What an answer tells of its facilitator if it turns out to be of no use. `proven` tells whether the payer's own key
/// signed the payment.
#[must_use]
pub fn trouble(answer: &Result<Answer, CalloutError>, proven: impl FnOnce() -> bool, now: u64) -> Health {
    match answer {
        // It is there and says that it could not read this request; that is as likely the payment's fault.
        Ok(Answer { status: 400 | 413 | 422, .. }) => Health::Unclear,
        // Facilitators also answer this to a payment that they stumble over. If one that anybody could have made up
        // counted, a stranger could have a facilitator left alone by all.
        Ok(answer) if answer.status == 500 && object(answer).is_some() && !proven() => Health::Unclear,
        Ok(answer) => Health::Bad { retry_after: retry_after(answer, now) },
        Err(_) => Health::Bad { retry_after: None },
    }
}

/// Seconds after which an overloaded service asks to be called again (429 or 503 with `Retry-After`).
#[must_use]
pub fn retry_after(answer: &Answer, now: u64) -> Option<u64> {
    if !matches!(answer.status, 429 | 503) {
        return None;
    }
    let value = answer.headers.text("retry-after")?.trim();
    if value.bytes().all(|c| c.is_ascii_digit()) && !value.is_empty() {
        return Some(value.parse().unwrap_or(u64::MAX));
    }
    Some(http_date(value)?.saturating_sub(now))
}

/// Unix seconds of an HTTP date in the one form that may still be sent: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.strip_suffix(" GMT")?.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = u64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|part| *part < 61));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Reads the answer to `/verify`.
#[must_use]
pub fn verdict(answer: Result<Answer, CalloutError>, payment: &Payment) -> Verdict {
    let unavailable = |why: String| Verdict::Unavailable { why };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unavailable(format!("{error:?}")),
    };
    let Some(json) = object(&answer) else {
        return unavailable(format!("status {} without a JSON object", answer.status));
    };
    match json.get("isValid") {
        Some(Value::Bool(false)) => match word(&json, "invalidReason") {
            reason if is_trouble(&reason) => unavailable(format!("it says {reason}")),
            reason => Verdict::Invalid { reason },
        },
        Some(Value::Bool(true)) if (200..300).contains(&answer.status) => {
            valid(&json, payment).unwrap_or_else(|why| unavailable(why.to_owned()))
        }
        _ => unavailable(format!("status {} without isValid", answer.status)),
    }
}

/// Whether a reason speaks of the facilitator's own trouble, and says nothing of the payment (x402.md §1.9).
fn is_trouble(reason: &str) -> bool {
    reason.starts_with("unexpected_") || reason == "unknown_error" || reason.ends_with("rpc_read_failed")
}

fn valid(json: &Map<String, Value>, payment: &Payment) -> Result<Verdict, &'static str> {
    if text(json, "invalidReason")?.is_some_and(|reason| !reason.is_empty()) {
        return Err("the answer says valid, and why it is not");
    }
    let payer = text(json, "payer")?;
    if !same_payer(payment, payer.as_deref()) {
        return Err("the answer names another payer");
    }
    Ok(Verdict::Valid { payer })
}

/// Beginnings of the reasons by which facilitators say that they looked at a payment and will not settle it (x402.md
/// §1.9). Any other word may be about their own trouble after they sent it.
const REFUSALS: [&str; 16] = [
    "amount_too_low",
    "asset_not_deployed_contract",
    "eip2612_",
    "eip6492_factory_not_allowed",
    "erc20_approval_",
    "insufficient_",
    "invalid_",
    "kyt_risk_detected",
    "missing_",
    "permit2_",
    "preflight_validation_failed",
    "request_blocked_by_location",
    "self_send_not_allowed",
    "unsupported_",
    "upto_",
    "value_mismatch",
];

/// Parts of reasons that leave open whether the payment was settled, even where the word begins like a refusal. A
/// nonce found used, a transaction that failed or cannot be simulated, may mean that somebody else carried out the
/// very authorization that pays us.
const OPEN: [&str; 9] = [
    "nonce",
    "transaction_failed",
    "transaction_state",
    "simulation_failed",
    "event_mismatch",
    "_pending",
    "timed_out",
    "broadcast",
    "not_confirmed",
];

/// Whether a reason says that the payment was not settled and that this facilitator will not settle it.
fn refuses(reason: &str) -> bool {
    REFUSALS.iter().any(|start| reason.starts_with(start)) && !OPEN.iter().any(|part| reason.contains(part))
}

/// Reads the answer to `/settle`.
#[must_use]
pub fn settlement(answer: Result<Answer, CalloutError>, payment: &Payment, terms: &Terms) -> Settlement {
    let unknown = |why: String, doubt: Doubt| Settlement::Unknown { why, doubt };
    let answer = match answer {
        Ok(answer) => answer,
        Err(CalloutError::NotSent) => return Settlement::NotSent,
        Err(error) => return unknown(format!("{error:?}"), Doubt::Unanswered),
    };
    let Some(json) = object(&answer) else {
        return unknown(format!("status {} without a JSON object", answer.status), Doubt::Unanswered);
    };
    match json.get("success") {
        Some(Value::Bool(false)) => {
            let reason = word(&json, "errorReason");
            // Anything but a missing or empty transaction: it may have been sent.
            let sent = !matches!(text(&json, "transaction").as_ref().map(Option::as_deref), Ok(None | Some("")));
            match reason.as_str() {
                "settlement_pending" => unknown(reason, Doubt::Pending),
                _ if sent || !refuses(&reason) => unknown(reason, Doubt::Answered),
                _ => Settlement::Refused { reason },
            }
        }
        Some(Value::Bool(true)) if (200..300).contains(&answer.status) => match settled(json, payment, terms) {
            Ok(settled) => Settlement::Settled(settled),
            Err(why) => unknown(why.to_owned(), Doubt::Unanswered),
        },
        _ => unknown(format!("status {} without success", answer.status), Doubt::Unanswered),
    }
}

fn settled(mut json: Map<String, Value>, payment: &Payment, terms: &Terms) -> Result<Settled, &'static str> {
    if text(&json, "errorReason")?.is_some_and(|reason| !reason.is_empty()) {
        return Err("the answer says settled, and why it is not");
    }
    let network = text(&json, "network")?;
    if ![terms.network.as_str(), payment.names_network(&terms.network)]
        .contains(&network.as_deref().unwrap_or_default())
    {
        return Err("the answer names another network");
    }
    let payer = text(&json, "payer")?;
    if !same_payer(payment, payer.as_deref()) {
        return Err("the answer names another payer");
    }
    let transaction = text(&json, "transaction")?.unwrap_or_default();
    // Schemes that settle off chain have no transaction, nor has an `upto` payment that is settled for nothing.
    let known = terms.is_checked() || terms.scheme == "exact";
    let evm = terms.chain_id.is_some() && !transaction.is_empty();
    if evm && hex::decode_fixed::<32>(&transaction).is_none() || known && terms.amount > 0 && transaction.is_empty() {
        return Err("the answer has no transaction");
    }
    if transaction.len() > 96 || !transaction.bytes().all(|c| c.is_ascii_graphic() && !b"\"'\\<>&".contains(&c)) {
        return Err("the answer's transaction is not one");
    }
    let amount = text(&json, "amount")?.filter(|amount| !amount.is_empty());
    if let Some(amount) = &amount {
        let digits = amount.bytes().all(|c| c.is_ascii_digit());
        let charged = amount.parse::<u128>().ok().filter(|_| digits).ok_or("the answer's amount is not one")?;
        if charged > terms.amount || known && charged != terms.amount {
            return Err("the answer names another amount");
        }
    }
    let more = ["extensions", "extra"]
        .into_iter()
        .filter_map(|key| json.remove_entry(key).filter(|(_, value)| value.is_object()))
        .collect();
    Ok(Settled { payer, transaction, amount, more })
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

/// A member that is text, or not there: absent and null are one.
fn text(json: &Map<String, Value>, name: &str) -> Result<Option<String>, &'static str> {
    match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("a member of the answer that must be text is not"),
    }
}

/// A reason, reduced to what may stand in a header and a log line.
fn word(json: &Map<String, Value>, name: &str) -> String {
    let clean: String = json
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_graphic() && *c != '"' && *c != '\\')
        .take(128)
        .collect();
    if clean.is_empty() { "no_reason_given".to_owned() } else { clean }
}

#[cfg(test)]
#[path = "facilitator/tests.rs"]
mod tests;
