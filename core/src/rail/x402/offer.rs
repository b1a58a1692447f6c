//! An x402 offer: the requirement a client copies into `accepted`, compiled from the policy.

use serde_json::{Map, Value};

/// What an x402 offer asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// x402 scheme.
    pub scheme: String,
    /// CAIP-2 network.
    pub network: String,
    /// Atomic units of the asset, never 0.
    pub amount: u128,
    /// The asset as x402 writes it on this network (EVM: checksummed address).
    pub asset: String,
    /// The payee as x402 writes it on this network (EVM: checksummed address).
    pub pay_to: String,
    /// Seconds an authorization may be valid for.
    pub max_timeout_seconds: u64,
    /// The requirement's `extra`, without what [`from_supported`](Self::from_supported) adds.
    pub extra: Map<String, Value>,
    /// EIP-712 domain of the token where a payment is an EIP-3009 authorization that the core can check itself and
    /// whose identity it knows. `None`: passed through to the facilitator, settled before forwarding.
    pub domain: Option<TokenDomain>,
    /// EIP-155 chain id of an EVM network.
    pub chain_id: Option<u64>,
    /// Members of the facilitator's `/supported` kind's `extra` that the requirement must carry. Empty: the offer can
    /// be made without asking.
    pub from_supported: Vec<String>,
    /// The requirement as JSON, members in the SDK's order, without what `from_supported` adds.
    pub json: String,
}

/// Name and version of a token's EIP-712 domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDomain {
    /// EIP-712 `name`, which may differ from the token's `name()` on another network.
    pub name: String,
    /// EIP-712 `version`.
    pub version: String,
}

impl Terms {
    /// These terms with the members of `extra` (a facilitator's `/supported` kind) that they need; `None` if one is
    /// missing there.
    #[must_use]
    pub fn complete(&self, extra: &Map<String, Value>) -> Option<Self> {
        let mut complete = self.clone();
        for key in &self.from_supported {
            complete.extra.insert(key.clone(), extra.get(key)?.clone());
        }
        complete.json = complete.render();
        Some(complete)
    }

    /// The requirement as JSON, members in the SDK's order (x402.md §1.1).
    pub(crate) fn render(&self) -> String {
        format!(
            r#"{{"scheme":{},"network":{},"amount":"{}","asset":{},"payTo":{},"maxTimeoutSeconds":{},"extra":{}}}"#,
            text(&self.scheme),
            text(&self.network),
            self.amount,
            text(&self.asset),
            text(&self.pay_to),
            self.max_timeout_seconds,
            Value::Object(self.extra.clone()),
        )
    }
}

/// `value` as a JSON string.
fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}
