//! Offers whose price is a ceiling: what the upstream's response says is charged.

use super::x402::metering;
use super::x402::offer::Method;
use super::{Offer, Terms};
use crate::http::Headers;

/// Whether a header of this name, in lower case, is for the gate alone: an upstream's word on what to charge.
#[must_use]
pub fn is_metering(name: &[u8]) -> bool {
    name == metering::HEADER.as_bytes()
}

impl Offer {
    /// The offer as it is settled after a response with these headers, and why they were not followed if they ask for
    /// something that cannot be done. An offer with a fixed price stays what it is.
    #[must_use]
    pub fn metered(self, response: &Headers) -> (Self, Option<&'static str>) {
        let Terms::X402(terms) = &self.terms;
        let Method::Upto { decimals } = terms.method else { return (self, None) };
        let (amount, ignored) = metering::charge(response, terms.amount, decimals);
        let terms = Terms::X402(terms.charging(amount));
        (Self { terms, ..self }, ignored)
    }
}
