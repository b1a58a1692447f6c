//! What is known of a payment that settled, and what the buyer is told of it.

use super::x402::facilitator::Settled;
use super::x402::{offer_receipt, v1, wire};
use super::{Offer, Payment, Terms};
use crate::crypto::keys::SigningKey;
use serde_json::{Map, Value};

/// A payment that settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Paid {
    /// CAIP-10 account that paid.
    pub payer: Option<String>,
    /// Atomic units charged.
    pub amount: Option<String>,
    /// Transaction; empty for rails that settle off chain.
    pub transaction: String,
    /// Name of the settlement header.
    pub header: &'static str,
    /// What it was paid for, where the offer is known.
    pub terms: Option<PaidTerms>,
    /// The settlement header's JSON, without `extensions`.
    json: String,
    /// Its `extensions`.
    extensions: Map<String, Value>,
}

/// The terms of a payment that settled, for receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidTerms {
    /// The rail's scheme.
    pub scheme: String,
    /// CAIP-2 network.
    pub network: String,
    /// CAIP-19 asset.
    pub asset: String,
    /// CAIP-10 account that was paid.
    pub pay_to: String,
}

impl Paid {
    /// From a settlement that has just happened.
    #[must_use]
    pub fn settled(settled: &Settled, offer: &Offer, payment: &Payment) -> Self {
        let Terms::X402(terms) = &offer.terms;
        let payer = payment.payer().or_else(|| settled.payer.clone());
        let mut settled = settled.clone();
        let extensions = match settled.more.remove("extensions") {
            Some(Value::Object(extensions)) => extensions,
            _ => Map::new(),
        };
        Self {
            payer: payer.map(|payer| format!("{}:{payer}", terms.network)),
            amount: Some(settled.amount.clone().unwrap_or_else(|| terms.amount.to_string())),
            transaction: settled.transaction.clone(),
            header: header(payment),
            terms: Some(PaidTerms::of(offer)),
            json: wire::response(&settled, network(payment, &terms.network)),
            extensions,
        }
    }

    /// From the record of an earlier settlement and the payment that made it; `offer` is the one it answers, if that is
    /// still made.
    #[must_use]
    pub fn recorded(payment: &Payment, transaction: &str, offer: Option<&Offer>) -> Self {
        let Payment::X402(x402) = payment;
        let on = x402.network();
        let settled =
            Settled { payer: payment.payer(), transaction: transaction.to_owned(), amount: None, more: Map::new() };
        Self {
            payer: payment.payer().map(|payer| format!("{on}:{payer}")),
            amount: None,
            transaction: transaction.to_owned(),
            header: header(payment),
            terms: offer.map(PaidTerms::of),
            json: wire::response(&settled, network(payment, on)),
            extensions: Map::new(),
        }
    }

    /// Adds an extension to the settlement header.
    pub fn extend(&mut self, name: &str, value: Value) {
        self.extensions.insert(name.to_owned(), value);
    }

    /// Adds the rail's own form of a signed receipt to the settlement header: x402's `offer-receipt`, for clients of
    /// version 2. `issuer` is the origin that says so, and serves [`did_document`].
    pub fn sign(&mut self, issuer: &str, resource_url: &str, key: &SigningKey, now: u64) {
        let (Some(payer), true) = (&self.payer, self.header == wire::RESPONSE_HEADER) else { return };
        let Some((network, payer)) = payer.rsplit_once(':') else { return };
        let receipt = offer_receipt::Receipt {
            issued_at: now,
            network: network.to_owned(),
            payer: payer.to_owned(),
            resource_url: resource_url.to_owned(),
            transaction: Some(self.transaction.clone()).filter(|transaction| !transaction.is_empty()),
            version: 1,
        };
        let kid = offer_receipt::did_web(issuer, &key.public());
        self.extend(offer_receipt::EXTENSION, receipt.member(key, &kid));
    }

    /// Value of the settlement header.
    #[must_use]
    pub fn response(&self) -> String {
        wire::with_extensions(&self.json, &self.extensions)
    }
}

impl PaidTerms {
    fn of(offer: &Offer) -> Self {
        let Terms::X402(terms) = &offer.terms;
        Self {
            scheme: terms.scheme.clone(),
            network: terms.network.clone(),
            asset: offer.asset(),
            pay_to: offer.account(&terms.pay_to),
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
