//! What a 402 asks for: its offers, read strictly.
//!
//! Only what is in [`Offer`] can decide anything. Texts for people (`error`, `description` and all others) are not even
//! kept apart: they stand in the raw parts that a payment copies back, and nothing reads them.

mod offer;
mod raw;
mod signed;

pub use offer::{Offer, Pass, Terms, Unfit, Version};
pub(super) use signed::{SignedForm, SignedOffer, form};

use super::reason::Reason;
use crate::crypto::hex;
use crate::http::Headers;
use crate::json;
use crate::rail::x402::wire;
use crate::token::KeySet;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt;

/// Bytes of a `PAYMENT-REQUIRED` header's value.
pub const MAX_HEADER: usize = 64 * 1024;
/// Bytes of a version 1 challenge's body.
pub const MAX_BODY: usize = 256 * 1024;
/// Offers of a challenge. The official API allows sixteen.
pub const MAX_OFFERS: usize = 64;
const MAX_DEPTH: usize = 32;
/// Bytes of a challenge's extensions that a payment echoes. Of longer ones it echoes only those that it answers.
const MAX_ECHO: usize = 4096;

/// A challenge, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    version: Version,
    offers: Vec<Result<Offer, Unfit>>,
    /// The resource object as it was written.
    resource: Option<String>,
    /// The extensions as they were written: name, value.
    extensions: Vec<(String, String)>,
    nonce: Option<String>,
    identifier: bool,
    signed: Vec<SignedOffer>,
    keys: KeySet,
}

/// Why a challenge was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable reason.
    pub reason: Reason,
    /// What is wrong, in our words.
    pub detail: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.wire(), self.detail)
    }
}

impl std::error::Error for Refused {}

impl Challenge {
    /// Reads the challenge of a 402: version 2 from its header; without one, version 1 from its body.
    ///
    /// # Errors
    /// [`Refused`] if there is none, or it cannot be read in exactly one way, or is larger than any honest one.
    pub fn read(headers: &Headers, body: &[u8]) -> Result<Self, Refused> {
        let mut values = headers.all(wire::REQUIRED_HEADER);
        match (values.next(), values.next()) {
            (Some(value), None) => Self::read_v2(value),
            (None, _) => Self::read_v1(body),
            (Some(_), Some(_)) => Err(unreadable("PAYMENT-REQUIRED came more than once")),
        }
    }

    fn read_v2(value: &[u8]) -> Result<Self, Refused> {
        limit("PAYMENT-REQUIRED", value.len(), MAX_HEADER)?;
        let bytes = STANDARD.decode(value).map_err(|_| unreadable("PAYMENT-REQUIRED is not standard base64"))?;
        let (text, json) = document(&bytes, MAX_HEADER, 2)?;
        let resource = raw::member(text, "resource").filter(|resource| resource.starts_with('{')).map(str::to_owned);
        let extensions: Vec<(String, String)> = raw::member(text, "extensions")
            .map_or_else(Vec::new, raw::members)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // Ours are 16 bytes in hexadecimal. Others count as none, but are echoed.
        let nonce = json.pointer("/extensions/farebox/info/nonce").and_then(Value::as_str);
        let nonce = nonce.filter(|nonce| hex::decode_fixed::<16>(nonce).is_some()).map(str::to_owned);
        let identifier = json.pointer("/extensions/payment-identifier/info").is_some_and(Value::is_object);
        let signed = signed::read(&json);
        let offers = offers(text, &json, Version::V2)?;
        let keys = KeySet::default();
        Ok(Self { version: Version::V2, offers, resource, extensions, nonce, identifier, signed, keys })
    }

    fn read_v1(body: &[u8]) -> Result<Self, Refused> {
        limit("the body", body.len(), MAX_BODY)?;
        let (text, json) = document(body, MAX_BODY, 1)?;
        let offers = offers(text, &json, Version::V1)?;
        let (version, extensions, signed, keys) = (Version::V1, Vec::new(), Vec::new(), KeySet::default());
        Ok(Self { version, offers, resource: None, extensions, nonce: None, identifier: false, signed, keys })
    }

    /// The version of x402.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Every offer, in the seller's order; those that are not well formed with what is wrong.
    pub fn offers(&self) -> &[Result<Offer, Unfit>] {
        &self.offers
    }

    /// The offer that stands at `index` in the challenge.
    #[must_use]
    pub fn offer(&self, index: usize) -> Option<&Offer> {
        self.offers.get(index)?.as_ref().ok()
    }

    /// The gate's nonce, if it sent one.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// Whether the buyer may name the payment (`payment-identifier`).
    #[must_use]
    pub fn takes_identifier(&self) -> bool {
        self.identifier
    }

    /// The challenge with the keys that its own origin serves, by which its signed offers are judged where the policy
    /// names no others. Whoever calls this has fetched them from there.
    #[must_use]
    pub fn with_keys(mut self, keys: KeySet) -> Self {
        self.keys = keys;
        self
    }

    /// The keys that its own origin serves, where they were fetched.
    pub(super) fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Signed copies of offers.
    pub(super) fn signed(&self) -> &[SignedOffer] {
        &self.signed
    }

    /// The resource object, as it was written.
    pub(super) fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// The extensions that a payment echoes, as they were written: names in quotes, values.
    pub(super) fn echo(&self) -> impl Iterator<Item = (&str, &str)> {
        let bytes: usize = self.extensions.iter().map(|(name, value)| name.len() + value.len()).sum();
        let ours = |name: &str| matches!(name, "\"farebox\"" | "\"payment-identifier\"");
        let kept =
            move |(name, value): &&(String, String)| bytes <= MAX_ECHO || (ours(name) && value.len() <= MAX_ECHO);
        self.extensions.iter().filter(kept).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn offers(text: &str, json: &Value, version: Version) -> Result<Vec<Result<Offer, Unfit>>, Refused> {
    let Some(accepts) = json.get("accepts").and_then(Value::as_array) else {
        return Err(unreadable("`accepts` must be a list"));
    };
    if accepts.is_empty() {
        return Err(Refused { reason: Reason::NoOffers, detail: "`accepts` is empty".to_owned() });
    }
    if accepts.len() > MAX_OFFERS {
        let detail = format!("{} offers where at most {MAX_OFFERS} are looked at", accepts.len());
        return Err(Refused { reason: Reason::TooManyOffers, detail });
    }
    let texts = raw::member(text, "accepts").map_or_else(Vec::new, raw::items);
    if texts.len() != accepts.len() {
        return Err(unreadable("`accepts` must be a list"));
    }
    let read = |(index, (text, json))| Offer::read(index, json, text, version);
    Ok(texts.into_iter().zip(accepts).enumerate().map(read).collect())
}

/// Reads a challenge of this version; the text and what it says.
fn document(bytes: &[u8], max: usize, version: u64) -> Result<(&str, Value), Refused> {
    let json = json::parse(bytes, max, MAX_DEPTH).map_err(|error| unreadable(&error.to_string()))?;
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("not UTF-8"))?;
    match json.get("x402Version").and_then(Value::as_u64) {
        Some(found) if found == version => Ok((text, json)),
        _ => Err(unreadable(&format!("x402Version must be {version} here"))),
    }
}

fn limit(what: &str, length: usize, max: usize) -> Result<(), Refused> {
    if length <= max {
        return Ok(());
    }
    let detail = format!("{what} has {length} bytes where at most {max} are read");
    Err(Refused { reason: Reason::ChallengeTooLarge, detail })
}

fn unreadable(detail: &str) -> Refused {
    Refused { reason: Reason::ChallengeUnreadable, detail: detail.to_owned() }
}
