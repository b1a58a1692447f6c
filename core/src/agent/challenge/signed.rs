//! Signed copies of offers (x402's `offer-receipt` extension), as far as they can be read without knowing the signer.
//!
//! Source: x402 `extension-offer-and-receipt`; x402.md §4.4.

use serde_json::Value;

/// Signed offers that are looked at.
const MAX: usize = 64;

/// A signed copy of an offer.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::agent) struct SignedOffer {
    /// Where the offer stands in the challenge.
    pub(in crate::agent) index: usize,
    pub(in crate::agent) form: SignedForm,
}

/// How it is signed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::agent) enum SignedForm {
    /// A compact JWS.
    Jws(String),
    /// EIP-712: what is signed, and the signature.
    Eip712 { payload: Value, signature: String },
}

/// The signed offers of a challenge; what is not well formed is left out, and so signs nothing.
pub(super) fn read(challenge: &Value) -> Vec<SignedOffer> {
    let offers = challenge.pointer("/extensions/offer-receipt/info/offers").and_then(Value::as_array);
    offers.into_iter().flatten().take(MAX).filter_map(one).collect()
}

fn one(value: &Value) -> Option<SignedOffer> {
    let index = usize::try_from(value.get("acceptIndex")?.as_u64()?).ok()?;
    Some(SignedOffer { index, form: form(value)? })
}

/// The signed object of an offer or a receipt.
pub(in crate::agent) fn form(value: &Value) -> Option<SignedForm> {
    let signature = value.get("signature")?.as_str()?.to_owned();
    match value.get("format")?.as_str()? {
        "jws" => Some(SignedForm::Jws(signature)),
        "eip712" => Some(SignedForm::Eip712 { payload: value.get("payload")?.clone(), signature }),
        _ => None,
    }
}
