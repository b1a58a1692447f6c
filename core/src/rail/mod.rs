//! What a rail must do. A rail is how value moves; gate, ledger, receipt and token know only what stands here.

pub mod breaker;
mod facilitate;
mod judge;
mod menu;
mod metering;
mod paid;
mod payment;
pub mod x402;

use crate::policy::Pass;
use crate::problem::Code;

pub use breaker::Breakers;
pub use facilitate::{Learnt, learn, settle, verify};
pub use judge::{Judgement, asked_of, judge, question};
pub use menu::{Knowledge, Menu};
pub use metering::is_metering;
pub use paid::{Paid, PaidTerms, refused_response};
pub use payment::{Payment, field, is_credential};
pub use x402::check::Checked;
pub use x402::facilitator::{Doubt, Settled, Settlement, Verdict};
pub use x402::offer_receipt::did_document;
pub use x402::supported::Supported;
pub use x402::wire::{Asking, Resource, Scope, SignedOffers};

/// The code for a payment that a facilitator finds no good, for this reason.
#[must_use]
pub fn refusal(reason: &str) -> Code {
    if reason == "permit2_allowance_required" { Code::Permit2AllowanceRequired } else { Code::PaymentInvalid }
}

/// One way to pay for a route, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Its place among the route's offers in the policy.
    pub nth: usize,
    /// Whether the money moves before or after the upstream answers.
    pub settle: Settle,
    /// Indices into [`Policy::facilitators`](crate::policy::Policy::facilitators) that cover this offer, preferred
    /// one first. Never empty.
    pub facilitators: Vec<u16>,
    /// What the rail asks for.
    pub terms: Terms,
    /// The token it buys; `None`: it buys a single call.
    pub pass: Option<Pass>,
}

/// When the money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// After the upstream answered successfully, while its response headers are held.
    After,
    /// Before the request is forwarded.
    Before,
}

/// What a rail asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Terms {
    /// x402 on a CAIP-2 network.
    X402(x402::offer::Terms),
}

/// Hash of what a payment has burnt, where only the transaction that settled it says what that was.
#[must_use]
pub fn burnt(offer: &Offer, payment: &Payment, paid: &Paid) -> Option<[u8; 32]> {
    let (Terms::X402(terms), Payment::X402(payment)) = (&offer.terms, payment);
    // Other schemes may settle several payments in one transaction.
    let one_each = terms.scheme == "exact" && !payment.says_what_it_burns() && !paid.transaction.is_empty();
    one_each.then(|| crate::crypto::sha256(&[b"burnt\0", terms.network.as_bytes(), b"\0", paid.transaction.as_bytes()]))
}

impl Offer {
    /// Atomic units this offer charges.
    #[must_use]
    pub fn amount(&self) -> u128 {
        let Terms::X402(terms) = &self.terms;
        terms.amount
    }

    /// Hash of everything that it asks for and gives.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let Terms::X402(terms) = &self.terms;
        crate::crypto::sha256(&[terms.json.as_bytes()])
    }

    /// CAIP-19 id of the asset it charges in.
    #[must_use]
    pub fn asset(&self) -> String {
        let Terms::X402(terms) = &self.terms;
        x402::assets::caip19(&terms.network, &terms.asset)
    }

    /// CAIP-10 account for an address as the rail writes it.
    #[must_use]
    pub fn account(&self, address: &str) -> String {
        let Terms::X402(terms) = &self.terms;
        format!("{}:{address}", terms.network)
    }
}
