//! x402 version 1, for clients that know nothing newer: `exact` by EIP-3009 on the networks that they know.
//!
//! Source: x402.md §1.8. The challenge is the response's body, the payment comes in `X-PAYMENT` and names its offer by
//! scheme and network alone; the authorization inside is version 2's, and so is its claim.

use super::offer::{Method, Terms};
use super::payment::Payment;
use super::wire::{Resource, string};
use crate::crypto::hex;
use serde_json::{Map, Value, json};

/// Name of the request header that carries a payment.
pub const HEADER: &str = "x-payment";
/// Name of the settlement header.
pub const RESPONSE_HEADER: &str = "x-payment-response";

/// Networks by the names that `x402-fetch` 1.2 knows; it throws at a whole challenge with any other in it.
const NAMES: [(&str, u64); 15] = [
    ("abstract", 2741),
    ("abstract-testnet", 11124),
    ("avalanche", 43114),
    ("avalanche-fuji", 43113),
    ("base", 8453),
    ("base-sepolia", 84532),
    ("educhain", 41923),
    ("iotex", 4689),
    ("peaq", 3338),
    ("polygon", 137),
    ("polygon-amoy", 80002),
    ("sei", 1329),
    ("sei-testnet", 1328),
    ("skale-base-sepolia", 324_705_682),
    ("story", 1514),
];

/// Every network name, for hints.
pub(crate) fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

/// The chain id of the network of this name.
pub(crate) fn chain_of(name: &str) -> Option<u64> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}

/// The network's name in version 1, if an offer of these terms can be made in it.
#[must_use]
pub fn name_of(terms: &Terms) -> Option<&'static str> {
    let Method::Eip3009(_) = &terms.method else { return None };
    NAMES.iter().find(|(_, id)| Some(*id) == terms.chain_id).map(|(name, _)| *name)
}

/// What a version 1 payment is for: all that such a payment does not say itself.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The network as the client names it.
    pub(super) network: String,
    url: String,
    description: String,
    mime_type: String,
}

impl About {
    /// A payment on the network of this name, shown for `resource`.
    pub(super) fn new(network: &str, resource: Resource<'_>) -> Self {
        Self {
            network: network.to_owned(),
            url: resource.url.to_owned(),
            description: resource.description.to_owned(),
            mime_type: resource.mime_type.to_owned(),
        }
    }

    /// The requirement as the facilitator gets it.
    pub(super) fn requirement(&self, terms: &Terms) -> String {
        let resource = Resource { url: &self.url, description: &self.description, mime_type: &self.mime_type };
        requirement(terms, &self.network, resource)
    }
}

/// Those of `candidates` that a payment on the network of this name can be for, by token: the one whose holder
/// signed it, or else the first. Version 1 leaves the token to be guessed.
pub(super) fn token<'a>(
    candidates: &'a [Terms],
    network: &str,
    signed_for: impl Fn(&Terms) -> bool,
) -> Option<&'a Terms> {
    let mut here = candidates.iter().filter(|terms| terms.v1 == Some(network));
    let first = here.clone().next()?;
    if here.clone().all(|terms| terms.asset == first.asset) {
        return Some(first);
    }
    Some(here.find(|terms| signed_for(terms)).unwrap_or(first))
}

/// Whether a version 1 payment can be for these terms: network and token, and with `to_the_letter` amount and payee.
#[must_use]
pub fn answers(payment: &Payment, terms: &Terms, to_the_letter: bool) -> bool {
    let (Some(about), Some(exact)) = (&payment.v1, &payment.exact) else { return false };
    terms.v1 == Some(about.network.as_str())
        && hex::decode_fixed(&terms.asset) == Some(exact.asset)
        && (!to_the_letter
            || (hex::decode_fixed(&terms.pay_to) == Some(exact.authorization.to)
                && exact.authorization.value == super::eip3009::uint_word(terms.amount)))
}

/// The members of a version 1 challenge.
#[must_use]
pub fn required<'a>(
    error: &str,
    resource: Resource<'_>,
    offered: impl Iterator<Item = &'a Terms>,
) -> Map<String, Value> {
    let accepts: Vec<Value> =
        offered.filter_map(|terms| serde_json::from_str(&requirement(terms, terms.v1?, resource)).ok()).collect();
    if accepts.is_empty() {
        return Map::new();
    }
    let body = json!({ "x402Version": 1, "error": error, "accepts": accepts });
    if let Value::Object(members) = body { members } else { Map::new() }
}

/// A requirement, members in the SDK's order. `outputSchema` stays out: old clients refuse it as null.
fn requirement(terms: &Terms, network: &str, resource: Resource<'_>) -> String {
    format!(
        r#"{{"scheme":"exact","network":{},"maxAmountRequired":"{}","resource":{},"description":{},"mimeType":{},"payTo":{},"maxTimeoutSeconds":{},"asset":{},"extra":{}}}"#,
        string(network),
        terms.amount,
        string(resource.url),
        string(resource.description),
        string(resource.mime_type),
        string(&terms.pay_to),
        terms.max_timeout_seconds,
        string(&terms.asset),
        Value::Object(terms.extra.clone()),
    )
}
