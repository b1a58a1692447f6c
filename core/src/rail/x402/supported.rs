//! What a facilitator supports: the kinds of payment it takes, and what an offer must carry for it.

use super::offer::Terms;
use crate::host::Answer;
use crate::json;
use serde_json::{Map, Value};

/// A facilitator's `/supported`, reduced to what offers need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Supported {
    kinds: Vec<Kind>,
}

#[derive(Clone, Debug, PartialEq)]
struct Kind {
    version: u64,
    scheme: String,
    network: String,
    extra: Map<String, Value>,
}

impl Supported {
    /// Reads the body of an answer to `/supported`. `None` if it is not one.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let json = json::parse(body, Answer::MAX_BODY, 16).ok()?;
        let kinds = json.get("kinds")?.as_array()?;
        let kinds = kinds
            .iter()
            .filter_map(|kind| {
                Some(Kind {
                    version: kind.get("x402Version")?.as_u64()?,
                    scheme: kind.get("scheme")?.as_str()?.to_owned(),
                    network: kind.get("network")?.as_str()?.to_owned(),
                    extra: kind.get("extra").and_then(Value::as_object).cloned().unwrap_or_default(),
                })
            })
            .collect();
        Some(Self { kinds })
    }

    /// The `extra` of the kind that fits `terms`, if there is one.
    #[must_use]
    pub fn extra_for(&self, terms: &Terms) -> Option<&Map<String, Value>> {
        self.extra(2, &terms.scheme, &terms.network)
    }

    /// The `extra` of the kind of this protocol version, scheme and network, as that version writes networks. A kind
    /// may name a whole family (`eip155:*`).
    #[must_use]
    pub fn extra(&self, version: u64, scheme: &str, network: &str) -> Option<&Map<String, Value>> {
        let fits = |kind: &&Kind| {
            kind.version == version
                && kind.scheme == scheme
                && (kind.network == network
                    || kind
                        .network
                        .strip_suffix('*')
                        .is_some_and(|family| family.ends_with(':') && network.starts_with(family)))
        };
        self.kinds.iter().find(fits).map(|kind| &kind.extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_looked_up_by_version_scheme_and_network_or_its_family() {
        let body = br#"{"kinds":[
            {"x402Version":1,"scheme":"exact","network":"base-sepolia","extra":{"v":1}},
            {"x402Version":2,"scheme":"exact","network":"eip155:*"},
            {"x402Version":2,"scheme":"exact","network":"solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp","extra":{"feePayer":"F"}},
            {"x402Version":"2","scheme":"exact","network":"x"}, 7, {"x402Version":2}],
            "extensions":["bazaar"],"signers":{}}"#;
        let supported = Supported::read(body).unwrap();
        let has = |version, scheme, network| supported.extra(version, scheme, network).is_some();
        assert!(has(1, "exact", "base-sepolia") && !has(2, "exact", "base-sepolia"));
        assert!(has(2, "exact", "eip155:1") && !has(1, "exact", "eip155:1") && !has(2, "upto", "eip155:1"));
        assert!(!has(2, "exact", "eip1559:1") && !has(2, "exact", "x"));
        let solana = supported.extra(2, "exact", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp").unwrap();
        assert_eq!(solana["feePayer"], "F");
    }

    #[test]
    fn what_is_no_supported_answer_is_not_read() {
        for body in ["", "[]", "{}", r#"{"kinds":{}}"#, r#"{"kinds":[],"kinds":[]}"#, "<html>"] {
            assert_eq!(Supported::read(body.as_bytes()), None, "{body}");
        }
    }
}
