//! What can be known about a payment before anybody is asked: which offer it answers, its amount, payee and time
//! window, and, where a key signed it, who paid.

use super::eip3009::{Authorization, Domain, uint_word, word_uint};
use super::offer::{Terms, TokenDomain};
use super::payment::Payment;
use crate::crypto::hex;
use crate::ledger::claim::KEPT;
use crate::problem::{Code, Problem};
use serde_json::{Map, Value};

/// Seconds that clocks may differ.
const SKEW: u64 = 60;
/// Seconds an authorization must still be valid for; the official facilitator refuses less.
const MIN_REMAINING: u64 = 6;
/// Seconds a record is kept whose payment's own time limit the core cannot read.
const OPAQUE_KEPT: u64 = 24 * 3600;

/// What the local checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Unix seconds until which the claim's record is kept.
    pub expires: u64,
    /// The payer's own key signed: who paid is proven without asking anybody.
    pub payer_proven: bool,
}

/// Whether `accepted`, a client's copy, names the offer rendered as `requirement` (x402.md §1.6): every member but
/// `extra` equal, and our `extra` contained in theirs.
#[must_use]
pub fn names(accepted: &Value, requirement: &Value) -> bool {
    let (Some(accepted), Some(requirement)) = (accepted.as_object(), requirement.as_object()) else { return false };
    accepted.len() == requirement.len()
        && requirement.iter().all(|(key, ours)| {
            accepted
                .get(key)
                .is_some_and(|theirs| if key == "extra" { contains(theirs, ours) } else { equal(theirs, ours) })
        })
}

/// JSON equality with numbers compared by value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        _ => a == b,
    }
}

fn same_members(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
}

/// Whether every member of `ours` is in `theirs`, recursively; arrays are compared whole.
fn contains(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| contains(theirs, ours)))
        }
        _ => equal(theirs, ours),
    }
}

/// Checks a payment against the terms it answers, without asking anybody.
///
/// # Errors
/// What is wrong with it, if that can be told from here.
pub fn check(payment: &Payment, terms: &Terms, only_keys: bool, now: u64) -> Result<Checked, Problem> {
    let Some(domain) = &terms.domain else {
        return Ok(Checked {
            expires: now.saturating_add(terms.max_timeout_seconds).saturating_add(OPAQUE_KEPT),
            payer_proven: false,
        });
    };
    let Some(exact) = &payment.exact else {
        return Err(Problem::new(Code::PaymentInvalid, "the payload is not a well-formed EIP-3009 authorization"));
    };
    let authorization = &exact.authorization;
    if Some(authorization.to) != hex::decode_fixed(&terms.pay_to) {
        return Err(Problem::new(Code::PaymentTerms, "the authorization pays another payee than the offer's"));
    }
    if authorization.value != uint_word(terms.amount) {
        return Err(Problem::new(
            Code::PaymentTerms,
            format!("the authorization must be for exactly {} atomic units", terms.amount),
        ));
    }
    let valid_before = window(authorization, terms.max_timeout_seconds, now)?;
    let payer_proven = token(terms, domain).is_some_and(|domain| authorization.is_signed_by_payer(&domain));
    if only_keys && !payer_proven {
        return Err(Problem::new(
            Code::PaymentInvalid,
            "the signature is not the payer's key's, and this route takes no contract wallets",
        ));
    }
    Ok(Checked { expires: valid_before.saturating_add(KEPT), payer_proven })
}

/// The end of the authorization's time window, if it fits the offer's.
fn window(authorization: &Authorization, max_timeout: u64, now: u64) -> Result<u64, Problem> {
    let seconds = |word| word_uint(word).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(u64::MAX);
    let (after, before) = (seconds(&authorization.valid_after), seconds(&authorization.valid_before));
    if before < now.saturating_add(MIN_REMAINING) {
        return Err(Problem::new(
            Code::PaymentExpired,
            format!("validBefore must be at least {MIN_REMAINING} s ahead"),
        ));
    }
    if after > now {
        return Err(Problem::new(Code::PaymentTimeWindow, "validAfter lies in the future"));
    }
    if before.saturating_sub(now) > max_timeout.saturating_add(SKEW) {
        return Err(Problem::new(Code::PaymentTimeWindow, format!("validBefore may be at most {max_timeout} s ahead")));
    }
    Ok(before)
}

fn token<'a>(terms: &Terms, domain: &'a TokenDomain) -> Option<Domain<'a>> {
    Some(Domain {
        name: &domain.name,
        version: &domain.version,
        chain_id: terms.chain_id?,
        contract: hex::decode_fixed(&terms.asset)?,
    })
}
