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
            .filter(|kind| kind.get("x402Version").and_then(Value::as_u64) == Some(2))
            .filter_map(|kind| {
                Some(Kind {
                    scheme: kind.get("scheme")?.as_str()?.to_owned(),
                    network: kind.get("network")?.as_str()?.to_owned(),
                    extra: kind.get("extra").and_then(Value::as_object).cloned().unwrap_or_default(),
                })
            })
            .collect();
        Some(Self { kinds })
    }

    /// The `extra` of the kind that fits `terms`, if there is one. A kind may name a whole family (`eip155:*`).
    #[must_use]
    pub fn extra_for(&self, terms: &Terms) -> Option<&Map<String, Value>> {
        let fits = |kind: &&Kind| {
            kind.scheme == terms.scheme
                && (kind.network == terms.network
                    || kind
                        .network
                        .strip_suffix('*')
                        .is_some_and(|family| family.ends_with(':') && terms.network.starts_with(family)))
        };
        self.kinds.iter().find(fits).map(|kind| &kind.extra)
    }
}
