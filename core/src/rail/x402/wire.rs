//! What the gate writes: `PAYMENT-REQUIRED` and `PAYMENT-RESPONSE`, in the SDK's member order.
//!
//! Source: x402 v2 HTTP transport; x402.md §§1.1–1.4.

use super::facilitator::Settled;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Name of the challenge header.
pub const REQUIRED_HEADER: &str = "payment-required";
/// Name of the settlement header.
pub const RESPONSE_HEADER: &str = "payment-response";

/// What a challenge says besides its offers.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// The resource as the gate's own origin and the canonical target make it.
    pub url: &'a str,
    /// For people; may be empty.
    pub description: &'a str,
    /// Media type of a paid response; may be empty.
    pub mime_type: &'a str,
}

/// The value of `PAYMENT-REQUIRED`. `accepts` is the offers' JSON array; `nonce` goes out in our extension, for the
/// client to echo; `identifier` makes it the `payment-identifier` extension, with its `required`.
#[must_use]
pub fn required(
    error: &str,
    resource: Resource<'_>,
    accepts: &str,
    nonce: Option<&str>,
    identifier: Option<bool>,
) -> String {
    let mut extensions = Vec::new();
    if let Some(nonce) = nonce {
        extensions.push(format!(r#""farebox":{{"info":{{"nonce":"{nonce}"}},"schema":{{}}}}"#));
    }
    if let Some(required) = identifier {
        extensions
            .push(format!(r#""payment-identifier":{{"info":{{"required":{required}}},"schema":{IDENTIFIER_SCHEMA}}}"#));
    }
    let extensions =
        if extensions.is_empty() { String::new() } else { format!(r#","extensions":{{{}}}"#, extensions.join(",")) };
    STANDARD.encode(format!(
        r#"{{"x402Version":2,"error":{},"resource":{{"url":{},"description":{},"mimeType":{}}},"accepts":{accepts}{extensions}}}"#,
        string(error),
        string(resource.url),
        string(resource.description),
        string(resource.mime_type),
    ))
}

/// The schema of the `payment-identifier` extension's `info`.
const IDENTIFIER_SCHEMA: &str = r#"{"type":"object","properties":{"required":{"type":"boolean"},"id":{"type":"string","minLength":16,"maxLength":128,"pattern":"^[a-zA-Z0-9_-]+$"}},"required":["required"]}"#;

/// The JSON of `PAYMENT-RESPONSE` for a settlement that happened, without its extensions.
#[must_use]
pub fn response(settled: &Settled, network: &str) -> String {
    let mut json = String::from(r#"{"success":true"#);
    if let Some(payer) = &settled.payer {
        json.push_str(&format!(r#","payer":{}"#, string(payer)));
    }
    json.push_str(&format!(r#","transaction":{},"network":{}"#, string(&settled.transaction), string(network)));
    if let Some(amount) = &settled.amount {
        json.push_str(&format!(r#","amount":{}"#, string(amount)));
    }
    for (key, value) in &settled.more {
        json.push_str(&format!(",{}:{value}", string(key)));
    }
    json.push('}');
    json
}

/// The value of `PAYMENT-RESPONSE`: `json`, an object that is not empty, with these extensions.
#[must_use]
pub fn with_extensions(json: &str, extensions: &serde_json::Map<String, Value>) -> String {
    if extensions.is_empty() {
        return STANDARD.encode(json);
    }
    let members = json.strip_suffix('}').unwrap_or(json);
    STANDARD.encode(format!(r#"{members},"extensions":{}}}"#, Value::Object(extensions.clone())))
}

/// The value of `PAYMENT-RESPONSE` for a settlement that was refused.
#[must_use]
pub fn response_refused(reason: &str, payer: Option<&str>, network: &str) -> String {
    let payer = payer.map(|payer| format!(r#","payer":{}"#, string(payer))).unwrap_or_default();
    STANDARD.encode(format!(
        r#"{{"success":false,"errorReason":{}{payer},"transaction":"","network":{}}}"#,
        string(reason),
        string(network)
    ))
}

/// `text` as a JSON string.
pub(super) fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap()
    }

    #[test]
    fn the_challenge_is_the_official_servers_to_the_byte() {
        let theirs: Value = serde_json::from_str(vectors()["paymentRequiredJson"].as_str().unwrap()).unwrap();
        let text = vectors()["paymentRequiredJson"].as_str().unwrap().to_owned();
        let accepts = text.split_once("\"accepts\":").unwrap().1.strip_suffix('}').unwrap();
        let resource = Resource {
            url: theirs["resource"]["url"].as_str().unwrap(),
            description: theirs["resource"]["description"].as_str().unwrap(),
            mime_type: theirs["resource"]["mimeType"].as_str().unwrap(),
        };
        let ours = required("Payment required", resource, accepts, None, None);
        assert_eq!(ours, vectors()["paymentRequiredHeader"].as_str().unwrap());
    }

    #[test]
    fn text_of_the_policy_cannot_break_out_of_the_json() {
        let resource = Resource { url: "https://a/\"}", description: "\u{2028}\n\"", mime_type: "\\" };
        let header = required("\"", resource, "[]", Some("n"), None);
        let json: Value = serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap();
        assert_eq!(json["resource"]["url"], "https://a/\"}");
        assert_eq!(json["extensions"]["farebox"]["info"]["nonce"], "n");
    }
}
