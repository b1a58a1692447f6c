//! The request header that carries a payment.
//!
//! Source: x402 v2 and v1 HTTP transports; x402.md §§1.1, 1.3, 1.8. Members stand in the order of the official SDK, and
//! what the seller wrote is copied to the byte.

use super::draft::Signs;
use super::typed_data::decimal;
use crate::agent::challenge::{Challenge, Offer, Version};
use crate::agent::money::checksummed;
use crate::crypto::hex;
use crate::rail::x402::{payment, v1};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Bytes of a resource object that a payment copies back; a longer one is left out.
const MAX_RESOURCE: usize = 4096;

/// What stands round the payload.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    version: Version,
    scheme: &'static str,
    v1_network: String,
    resource: Option<String>,
    /// The JSON of the extensions' object; empty for none.
    extensions: String,
    accepted: String,
}

impl Frame {
    pub(super) fn new(challenge: &Challenge, offer: &Offer, id: &[u8; 16]) -> Self {
        let name = format!("pay_{}", hex::encode(id).trim_start_matches("0x"));
        let extensions: Vec<String> = challenge
            .echo()
            .map(|(key, value)| match key {
                "\"payment-identifier\"" => format!("{key}:{}", identified(value, &name)),
                _ => format!("{key}:{value}"),
            })
            .collect();
        Self {
            version: offer.version,
            scheme: offer.scheme.wire(),
            v1_network: offer.v1_network.clone().unwrap_or_default(),
            resource: challenge.resource().filter(|resource| resource.len() <= MAX_RESOURCE).map(str::to_owned),
            extensions: if extensions.is_empty() { String::new() } else { format!("{{{}}}", extensions.join(",")) },
            accepted: offer.text.clone(),
        }
    }

    /// Name and value of the header.
    pub(super) fn header(&self, signed: &Signs) -> (&'static str, String) {
        let payload = payload(signed);
        let (name, json) = match self.version {
            Version::V1 => {
                let network = Value::from(self.v1_network.as_str());
                let json = format!(
                    r#"{{"x402Version":1,"scheme":"{}","network":{network},"payload":{payload}}}"#,
                    self.scheme
                );
                (v1::HEADER, json)
            }
            Version::V2 => {
                let mut json = format!(r#"{{"x402Version":2,"payload":{payload}"#);
                if !self.extensions.is_empty() {
                    json.push_str(&format!(r#","extensions":{}"#, self.extensions));
                }
                if let Some(resource) = &self.resource {
                    json.push_str(&format!(r#","resource":{resource}"#));
                }
                json.push_str(&format!(r#","accepted":{}}}"#, self.accepted));
                (payment::HEADER, json)
            }
        };
        (name, STANDARD.encode(json))
    }
}

/// The `payment-identifier` extension with the payment's name in it.
fn identified(extension: &str, name: &str) -> String {
    let mut extension: Value = serde_json::from_str(extension).unwrap_or_default();
    if let Some(info) = extension.get_mut("info").and_then(Value::as_object_mut) {
        info.insert("id".to_owned(), name.into());
    }
    extension.to_string()
}

/// What the scheme defines.
fn payload(signed: &Signs) -> String {
    match signed {
        Signs::Eip3009 { authorization, .. } => format!(
            r#"{{"authorization":{{"from":"{}","to":"{}","value":"{}","validAfter":"{}","validBefore":"{}","nonce":"{}"}},"signature":"{}"}}"#,
            checksummed(&authorization.from),
            checksummed(&authorization.to),
            decimal(&authorization.value),
            decimal(&authorization.valid_after),
            decimal(&authorization.valid_before),
            hex::encode(&authorization.nonce),
            hex::encode(&authorization.signature),
        ),
        Signs::Permit2(permit) => {
            let facilitator = permit
                .facilitator
                .as_ref()
                .map_or_else(String::new, |facilitator| format!(r#""facilitator":"{}","#, checksummed(facilitator)));
            format!(
                r#"{{"signature":"{}","permit2Authorization":{{"from":"{}","permitted":{{"token":"{}","amount":"{}"}},"spender":"{}","nonce":"{}","deadline":"{}","witness":{{"to":"{}",{facilitator}"validAfter":"{}"}}}}}}"#,
                hex::encode(&permit.signature),
                checksummed(&permit.from),
                checksummed(&permit.token),
                decimal(&permit.amount),
                checksummed(&permit.spender),
                decimal(&permit.nonce),
                decimal(&permit.deadline),
                checksummed(&permit.to),
                decimal(&permit.valid_after),
            )
        }
    }
}
