//! Money and budgets as receipts and audit lines write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// A payment and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Pay {
    /// Atomic units charged; absent where only the rail knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// CAIP-19 asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// CAIP-2 network.
    pub network: String,
    /// CAIP-10 account that is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pay_to: Option<String>,
    /// CAIP-10 account that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// The rail's own name for the way of paying.
    pub scheme: String,
    /// What became of it.
    pub state: PayState,
    /// The transaction on the network; absent where there is none, or none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayState {
    /// Found good, and nothing more: no money has moved.
    Verified,
    /// The money has moved.
    Settled,
    /// The money has not moved, and will not.
    Failed,
    /// Nobody could say when this was written.
    Unknown,
}

/// What a call took of one budget of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw<'a> {
    /// Units taken.
    pub amount: Amount,
    /// Units left afterwards, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Amount>,
    /// What is counted: `call`, `byte` or a CAIP-19 asset.
    pub unit: Cow<'a, str>,
}

/// Atomic units; a decimal string on the wire, as no number of JSON holds them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub u128);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(from)?;
        let amount = text.parse().ok().filter(|amount: &u128| amount.to_string() == *text);
        amount.map(Self).ok_or_else(|| serde::de::Error::custom("an amount is a decimal string without leading zeros"))
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn an_amount_has_one_spelling() {
        let read = |json: &str| serde_json::from_str::<Amount>(json).ok();
        assert_eq!(read("\"0\""), Some(Amount(0)));
        let most = format!("\"{}\"", u128::MAX);
        assert_eq!(read(&most), Some(Amount(u128::MAX)));
        assert_eq!(serde_json::to_string(&Amount(u128::MAX)).unwrap(), most);
        for bad in ["1", "\"\"", "\"01\"", "\"+1\"", "\"-1\"", "\"1.0\"", "\"340282366920938463463374607431768211456\""]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
