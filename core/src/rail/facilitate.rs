//! Asking facilitators: who is asked, in which order, and what is counted.

use super::x402::facilitator::{Settlement, Verdict, call, settlement, supported_call, verdict};
use super::x402::supported::Supported;
use super::{Offer, Payment, Terms};
use crate::host::{Answer, CalloutError, Event, Host, Level};
use crate::policy::Facilitator;

/// Asks the offer's facilitators, one after another, whether the payment would settle. Verifying fails over freely.
pub async fn verify<H: Host>(host: &H, facilitators: &[Facilitator], offer: &Offer, payment: &Payment) -> Verdict {
    let (Payment::X402(payment), Terms::X402(terms)) = (payment, &offer.terms);
    let mut last = Verdict::Unavailable { why: "the offer has no facilitator".to_owned() };
    for facilitator in named(facilitators, offer) {
        let call = call(facilitator, "/verify", payment, terms, facilitator.verify_timeout_seconds);
        let started = host.now_millis();
        last = verdict(host.callout(call).await, payment);
        let outcome = match &last {
            Verdict::Valid { .. } => "ok",
            Verdict::Invalid { .. } => "refused",
            Verdict::Unavailable { why } => {
                warn(host, &facilitator.name, "/verify", why);
                "failed"
            }
        };
        count(host, "verify", outcome, started);
        if !matches!(last, Verdict::Unavailable { .. }) {
            break;
        }
    }
    last
}

/// Has the payment settled. Only a request that never left moves on to another facilitator; one that says it is
/// still at it is asked once more.
pub async fn settle<H: Host>(host: &H, facilitators: &[Facilitator], offer: &Offer, payment: &Payment) -> Settlement {
    let (Payment::X402(payment), Terms::X402(terms)) = (payment, &offer.terms);
    let mut last = Settlement::NotSent;
    for facilitator in named(facilitators, offer) {
        for _ in 0..2 {
            let call = call(facilitator, "/settle", payment, terms, facilitator.settle_timeout_seconds);
            let started = host.now_millis();
            last = settlement(host.callout(call).await, payment, terms);
            let outcome = match &last {
                Settlement::Settled(_) => "ok",
                Settlement::Refused { .. } => "refused",
                Settlement::NotSent => "not_sent",
                Settlement::Unknown { why, .. } => {
                    warn(host, &facilitator.name, "/settle", why);
                    "unknown"
                }
            };
            count(host, "settle", outcome, started);
            if !matches!(last, Settlement::Unknown { pending: true, .. }) {
                break;
            }
        }
        if last != Settlement::NotSent {
            break;
        }
    }
    last
}

/// Asks a facilitator what it supports: the answer's body, if it is usable, and what it says.
pub async fn learn<H: Host>(host: &H, facilitator: &Facilitator) -> Option<(Vec<u8>, Supported)> {
    let started = host.now_millis();
    let answer = host.callout(supported_call(facilitator)).await;
    let learned = match answer {
        Ok(Answer { status: 200..=299, body, .. }) => Supported::read(&body).map(|supported| (body, supported)),
        Ok(_) | Err(CalloutError::NotSent | CalloutError::Lost | CalloutError::TooLarge) => None,
    };
    count(host, "supported", if learned.is_some() { "ok" } else { "failed" }, started);
    learned
}

fn named<'a>(facilitators: &'a [Facilitator], offer: &'a Offer) -> impl Iterator<Item = &'a Facilitator> {
    offer.facilitators.iter().filter_map(|index| facilitators.get(usize::from(*index)))
}

fn count<H: Host>(host: &H, kind: &'static str, outcome: &'static str, started: u64) {
    host.event(&Event::Callout { kind, outcome, millis: host.now_millis().saturating_sub(started) });
}

fn warn<H: Host>(host: &H, facilitator: &str, endpoint: &str, why: &str) {
    host.event(&Event::Log { level: Level::Warn, text: &format!("facilitator {facilitator}{endpoint}: {why}") });
}
