//! What the gate writes: `PAYMENT-REQUIRED` and `PAYMENT-RESPONSE`, in the SDK's member order.
//!
//! Source: x402 v2 HTTP transport; x402.md §§1.1–1.4.

use super::facilitator::Settled;
use super::offer_receipt;
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

/// What a challenge says besides its offers.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Why, in a word.
    pub error: &'a str,
    /// What is to be paid for.
    pub resource: Resource<'a>,
    /// For the client to echo.
    pub nonce: Option<&'a str>,
    /// The request that the challenge answers.
    pub scope: Scope<'a>,
    /// Whether the client may (`false`) or must name its payment; `None`: it cannot.
    pub identifier: Option<bool>,
    /// The offers once more, signed.
    pub signed: Option<&'a SignedOffers>,
}

/// The request that a challenge answers, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Request method.
    pub method: &'a str,
    /// The policy's origin.
    pub origin: &'a str,
    /// Name of the route.
    pub route: &'a str,
}

/// Signed offers as the rail writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOffers(pub(in crate::rail) String);

impl SignedOffers {
    /// Bytes that they take in a challenge, before its encoding.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// The value of `PAYMENT-REQUIRED`. `accepts` is the offers' JSON array.
#[must_use]
pub fn required(asking: &Asking<'_>, accepts: &str) -> String {
    let Asking { error, resource, nonce, scope, identifier, signed } = *asking;
    let mut extensions = Vec::new();
    if let Some(nonce) = nonce {
        let Scope { method, origin, route } = scope;
        extensions.push(format!(
            r#""farebox":{{"info":{{"nonce":"{nonce}","scope":{{"method":{},"origin":{},"route":{}}}}},"schema":{{}}}}"#,
            string(method),
            string(origin),
            string(route),
        ));
    }
    if let Some(required) = identifier {
        extensions
            .push(format!(r#""payment-identifier":{{"info":{{"required":{required}}},"schema":{IDENTIFIER_SCHEMA}}}"#));
    }
    if let Some(SignedOffers(member)) = signed {
        extensions.push(format!(r#""{}":{member}"#, offer_receipt::EXTENSION));
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
    use serde_json::json;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap()
    }

    fn asking<'a>(error: &'a str, resource: Resource<'a>) -> Asking<'a> {
        let scope = Scope { method: "GET", origin: "https://a", route: "r" };
        Asking { error, resource, nonce: Some("n"), scope, identifier: None, signed: None }
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
        let ours = required(&Asking { nonce: None, ..asking("Payment required", resource) }, accepts);
        assert_eq!(ours, vectors()["paymentRequiredHeader"].as_str().unwrap());
    }

    #[test]
    fn text_of_the_policy_cannot_break_out_of_the_json() {
        let resource = Resource { url: "https://a/\"}", description: "\u{2028}\n\"", mime_type: "\\" };
        let header = required(&asking("\"", resource), "[]");
        let json: Value = serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap();
        assert_eq!(json["resource"]["url"], "https://a/\"}");
        let info = json!({ "nonce": "n", "scope": { "method": "GET", "origin": "https://a", "route": "r" } });
        assert_eq!(json["extensions"]["farebox"]["info"], info);
    }
}
