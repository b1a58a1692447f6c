//! What is known of a payment that settled, and what the buyer is told of it.

use super::x402::facilitator::Settled;
use super::x402::wire;
use super::{Offer, Payment, Terms};

/// Name of the response header that tells of a settlement.
pub const RESPONSE_HEADER: &str = wire::RESPONSE_HEADER;

/// A payment that settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// CAIP-10 account that paid.
    pub payer: Option<String>,
    /// Atomic units charged.
    pub amount: Option<String>,
    /// Transaction; empty for rails that settle off chain.
    pub transaction: String,
    /// Value of the settlement header.
    pub response: String,
}

impl Paid {
    /// From a settlement that has just happened.
    #[must_use]
    pub fn settled(settled: &Settled, offer: &Offer, payment: &Payment) -> Self {
        let Terms::X402(terms) = &offer.terms;
        let payer = payment.payer().or_else(|| settled.payer.clone());
        Self {
            payer: payer.map(|payer| format!("{}:{payer}", terms.network)),
            amount: Some(settled.amount.clone().unwrap_or_else(|| terms.amount.to_string())),
            transaction: settled.transaction.clone(),
            response: wire::response(settled, &terms.network),
        }
    }

    /// From the record of an earlier settlement and the payment that made it.
    #[must_use]
    pub fn recorded(payment: &Payment, transaction: &str) -> Self {
        let Payment::X402(x402) = payment;
        let network = x402.network();
        let settled = Settled {
            payer: payment.payer(),
            transaction: transaction.to_owned(),
            amount: None,
            more: serde_json::Map::new(),
        };
        Self {
            payer: payment.payer().map(|payer| format!("{network}:{payer}")),
            amount: None,
            transaction: transaction.to_owned(),
            response: wire::response(&settled, network),
        }
    }
}

/// Value of the settlement header for a settlement that was refused.
#[must_use]
pub fn refused_response(reason: &str, offer: &Offer, payment: &Payment) -> String {
    let Terms::X402(terms) = &offer.terms;
    wire::response_refused(reason, payment.payer().as_deref(), &terms.network)
}
