//! What is known of a payment that settled, and what the buyer is told of it.

use super::x402::facilitator::Settled;
use super::x402::{v1, wire};
use super::{Offer, Payment, Terms};

/// A payment that settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// CAIP-10 account that paid.
    pub payer: Option<String>,
    /// Atomic units charged.
    pub amount: Option<String>,
    /// Transaction; empty for rails that settle off chain.
    pub transaction: String,
    /// Name of the settlement header.
    pub header: &'static str,
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
            header: header(payment),
            response: wire::response(settled, network(payment, &terms.network)),
        }
    }

    /// From the record of an earlier settlement and the payment that made it.
    #[must_use]
    pub fn recorded(payment: &Payment, transaction: &str) -> Self {
        let Payment::X402(x402) = payment;
        let on = x402.network();
        let settled = Settled {
            payer: payment.payer(),
            transaction: transaction.to_owned(),
            amount: None,
            more: serde_json::Map::new(),
        };
        Self {
            payer: payment.payer().map(|payer| format!("{on}:{payer}")),
            amount: None,
            transaction: transaction.to_owned(),
            header: header(payment),
            response: wire::response(&settled, network(payment, on)),
        }
    }
}

/// The settlement header for a settlement that was refused, name and value.
#[must_use]
pub fn refused_response(reason: &str, offer: &Offer, payment: &Payment) -> (String, String) {
    let Terms::X402(terms) = &offer.terms;
    let network = network(payment, &terms.network);
    (header(payment).to_owned(), wire::response_refused(reason, payment.payer().as_deref(), network))
}

/// Name of the header in which a client that paid like this looks for its settlement.
fn header(payment: &Payment) -> &'static str {
    let Payment::X402(payment) = payment;
    if payment.is_v1() { v1::RESPONSE_HEADER } else { wire::RESPONSE_HEADER }
}

/// The network as a client that paid like this names it.
fn network<'a>(payment: &'a Payment, network: &'a str) -> &'a str {
    let Payment::X402(payment) = payment;
    payment.names_network(network)
}
