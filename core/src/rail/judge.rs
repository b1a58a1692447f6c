//! Unknown outcomes: what to keep of a payment so that its outcome can be found out, and finding it out.

use super::x402::chain::{self, Found, Question};
use super::{Offer, Payment, Terms};
use crate::host::Host;
use crate::policy::Policy;

/// What an open question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// We were paid.
    Settled {
        /// The transaction that did it.
        transaction: String,
    },
    /// We were not paid by this payment, and will not be.
    Failed,
    /// Still open.
    Open,
    /// There is nobody to ask.
    Nobody,
}

/// What finding out the outcome of `payment` needs, as the ledger keeps it; `None` if nobody could be asked.
/// `not_before` is when the money call is over, one way or the other (Unix seconds).
#[must_use]
pub fn question(offer: &Offer, payment: &Payment, not_before: u64) -> Option<Vec<u8>> {
    let (Payment::X402(payment), Terms::X402(terms)) = (payment, &offer.terms);
    payment.question(terms, not_before).and_then(|question| serde_json::to_vec(&question).ok())
}

/// When a kept question may be asked (Unix seconds), and on which network.
#[must_use]
pub fn asked_of(question: &[u8]) -> Option<(u64, String)> {
    read(question).map(|question| (question.not_before, question.network))
}

/// Finds out the outcome behind a kept question.
pub async fn judge<H: Host>(host: &H, policy: &Policy, question: &[u8]) -> (Judgement, String) {
    let Some(question) = read(question) else { return (Judgement::Nobody, "not a question of ours".to_owned()) };
    let Some(rpc) = policy.rpc(&question.network) else {
        return (Judgement::Nobody, format!("the policy names no rpc for {}", question.network));
    };
    match chain::judge(host, rpc, &question).await {
        Found::Settled { transaction } => (Judgement::Settled { transaction }, String::new()),
        Found::Failed { why } => (Judgement::Failed, why.to_owned()),
        Found::Open { why } => (Judgement::Open, why),
    }
}

fn read(bytes: &[u8]) -> Option<Question> {
    serde_json::from_slice(bytes).ok()
}
