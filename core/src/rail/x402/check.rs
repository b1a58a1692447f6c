//! What can be known about a payment before anybody is asked: which offer it answers, its amount, payee and time
//! window, and, where a key signed it, who paid.

use super::eip3009::{Domain, uint_word, word_uint};
use super::offer::{Method, Terms};
use super::payment::Payment;
use super::permit2::{EXACT_PROXY, Permit, UPTO_PROXY};
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

/// The member of `extra` that names who may settle an `upto` payment.
pub(super) const FACILITATOR: &str = "facilitatorAddress";

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
    let (end, payer_proven) = match &terms.method {
        Method::Opaque => {
            return Ok(Checked {
                expires: now.saturating_add(terms.max_timeout_seconds).saturating_add(OPAQUE_KEPT),
                payer_proven: false,
            });
        }
        Method::Eip3009(_) => authorization(payment, terms, now)?,
        Method::Permit2 => permit(payment, terms, &EXACT_PROXY, None, now)?,
        Method::Upto { .. } => {
            let facilitator = terms.extra.get(FACILITATOR).and_then(Value::as_str).and_then(hex::decode_fixed);
            let Some(facilitator) = facilitator else {
                return Err(Problem::new(Code::OffersUnavailable, "which facilitator settles is not known yet"));
            };
            permit(payment, terms, &UPTO_PROXY, Some(facilitator), now)?
        }
    };
    if only_keys && !payer_proven {
        return Err(Problem::new(
            Code::PaymentInvalid,
            "the signature is not the payer's key's, and this route takes no contract wallets",
        ));
    }
    Ok(Checked { expires: end.saturating_add(KEPT), payer_proven })
}

/// Checks an EIP-3009 authorization: the end of its time window, and whether the payer's own key signed it.
fn authorization(payment: &Payment, terms: &Terms, now: u64) -> Result<(u64, bool), Problem> {
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
    let valid_before = window(
        &authorization.valid_after,
        ("validBefore", &authorization.valid_before),
        terms.max_timeout_seconds,
        now,
    )?;
    let payer_proven = token(terms).is_some_and(|domain| authorization.is_signed_by_payer(&domain));
    Ok((valid_before, payer_proven))
}

/// Checks a permit for the proxy `spender`: its deadline, and whether the payer's own key signed it.
fn permit(
    payment: &Payment,
    terms: &Terms,
    spender: &[u8; 20],
    facilitator: Option<[u8; 20]>,
    now: u64,
) -> Result<(u64, bool), Problem> {
    let (Some((permit, _)), Some(chain_id)) = (&payment.permit, terms.chain_id) else {
        return Err(Problem::new(Code::PaymentInvalid, "the payload is not a well-formed Permit2 authorization"));
    };
    if permit.spender != *spender {
        return Err(Problem::new(Code::PaymentTerms, "the permit's spender is not x402's proxy for this scheme"));
    }
    if Some(permit.to) != hex::decode_fixed(&terms.pay_to) {
        return Err(Problem::new(Code::PaymentTerms, "the permit pays another payee than the offer's"));
    }
    if Some(permit.token) != hex::decode_fixed(&terms.asset) {
        return Err(Problem::new(Code::PaymentTerms, "the permit is for another token than the offer's"));
    }
    if permit.amount != uint_word(terms.amount) {
        return Err(Problem::new(
            Code::PaymentTerms,
            format!("the permit must be for exactly {} atomic units", terms.amount),
        ));
    }
    if facilitator.is_some() && permit.facilitator != facilitator {
        return Err(Problem::new(Code::PaymentTerms, "the permit names another facilitator than the offer's"));
    }
    let deadline = window(&permit.valid_after, ("deadline", &permit.deadline), terms.max_timeout_seconds, now)?;
    // A facilitator builds the witness that its scheme has, whatever else the payload says there.
    let signed = Permit { facilitator, ..permit.clone() };
    Ok((deadline, signed.is_signed_by_payer(chain_id)))
}

/// The end of a payment's time window, if it fits the offer's.
fn window(after: &[u8; 32], (name, end): (&str, &[u8; 32]), max_timeout: u64, now: u64) -> Result<u64, Problem> {
    let seconds = |word| word_uint(word).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(u64::MAX);
    let (after, before) = (seconds(after), seconds(end));
    if before < now.saturating_add(MIN_REMAINING) {
        return Err(Problem::new(Code::PaymentExpired, format!("{name} must be at least {MIN_REMAINING} s ahead")));
    }
    if after > now {
        return Err(Problem::new(Code::PaymentTimeWindow, "validAfter lies in the future"));
    }
    if before.saturating_sub(now) > max_timeout.saturating_add(SKEW) {
        return Err(Problem::new(Code::PaymentTimeWindow, format!("{name} may be at most {max_timeout} s ahead")));
    }
    Ok(before)
}

/// The EIP-712 domain of the token that an EIP-3009 authorization for these terms is signed for.
pub(super) fn token(terms: &Terms) -> Option<Domain<'_>> {
    let Method::Eip3009(domain) = &terms.method else { return None };
    Some(Domain {
        name: &domain.name,
        version: &domain.version,
        chain_id: terms.chain_id?,
        contract: hex::decode_fixed(&terms.asset)?,
    })
}
