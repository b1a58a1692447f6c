//! How much a token allows: calls, bytes or money, for one call, in a window of time, or altogether.

use super::TokenError;
use super::members::Members;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is counted.
#[derive(Clone, Debug)]
pub enum Unit {
    /// Calls.
    Call,
    /// Bytes of response bodies.
    Byte,
    /// Atomic units of an asset (CAIP-19). Two spellings of an EVM address are one asset.
    Asset(Arc<str>),
}

impl PartialEq for Unit {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Call, Self::Call) | (Self::Byte, Self::Byte) => true,
            (Self::Asset(a), Self::Asset(b)) => a == b || (is_evm(a) && a.eq_ignore_ascii_case(b)),
            _ => false,
        }
    }
}

impl Eq for Unit {}

impl Unit {
    /// Reads `call`, `byte` or a CAIP-19 asset.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        match text {
            "call" => Some(Self::Call),
            "byte" => Some(Self::Byte),
            asset => is_asset(asset).then(|| Self::Asset(asset.into())),
        }
    }

    /// How it is written.
    #[must_use]
    pub fn wire(&self) -> &str {
        match self {
            Self::Call => "call",
            Self::Byte => "byte",
            Self::Asset(asset) => asset,
        }
    }

    /// Whether it is money.
    #[must_use]
    pub fn is_asset(&self) -> bool {
        matches!(self, Self::Asset(_))
    }
}

/// CAIP-19 `chain/namespace:reference` or `chain/namespace:reference/id`, where chain is a CAIP-2 id.
fn is_asset(text: &str) -> bool {
    let part = |text: &str, least: usize, most: usize, more: &str| {
        (least..=most).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || more.contains(char::from(c)))
    };
    let lower = |text: &str| part(text, 3, 8, "-") && !text.bytes().any(|c| c.is_ascii_uppercase());
    let mut parts = text.split('/');
    let (Some(chain), Some(asset), id, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Some((space, chain)), Some((kind, asset))) = (chain.split_once(':'), asset.split_once(':')) else {
        return false;
    };
    lower(space)
        && part(chain, 1, 32, "-_")
        && lower(kind)
        && part(asset, 1, 128, "-.%")
        && id.is_none_or(|id| part(id, 1, 78, "-.%"))
}

fn is_evm(asset: &str) -> bool {
    asset.starts_with("eip155:")
}

/// Over what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Each call by itself.
    Call,
    /// The whole life of the token.
    Token,
    /// Any stretch of so many seconds, as a rate.
    Window(u32),
}

/// At most `max` of `unit` over `per`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Over what it is counted.
    pub per: Per,
    /// What is counted.
    pub unit: Unit,
    /// How much is allowed. For a window 1 to 2⁶⁴ − 1.
    pub max: u128,
}

impl Limit {
    /// Reads `{"max", "per", "unit"}`. Amounts are decimal strings, because numbers lose digits on the way.
    ///
    /// # Errors
    /// [`TokenError::Malformed`].
    pub fn parse(value: &Value) -> Result<Self, TokenError> {
        const WHAT: &str = "a limit has `max`, `per` and `unit`, and nothing else";
        let mut members = Members::of(value, WHAT)?;
        let limit = Self {
            max: members
                .must("max", "`max` of a limit is an amount as a decimal string", |max| amount(max.as_str()?))?,
            per: members.must("per", "`per` of a limit is \"call\", \"token\" or seconds", per)?,
            unit: members.must("unit", "`unit` of a limit is \"call\", \"byte\" or a CAIP-19 asset", |unit| {
                Unit::from_wire(unit.as_str()?)
            })?,
        };
        members.end(WHAT)?;
        limit.check()?;
        Ok(limit)
    }

    fn check(&self) -> Result<(), TokenError> {
        match self.per {
            Per::Window(_) if self.max == 0 || self.max > u128::from(u64::MAX) => {
                Err(TokenError::Malformed("`max` of a window is 1 to 2^64 - 1"))
            }
            _ => Ok(()),
        }
    }

    /// As [`parse`](Self::parse) reads it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let per = match self.per {
            Per::Call => json!("call"),
            Per::Token => json!("token"),
            Per::Window(seconds) => json!(seconds),
        };
        json!({ "max": self.max.to_string(), "per": per, "unit": self.unit.wire() })
    }

    /// Whether it counts the same as `other`, whatever the maximum.
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        self.per == other.per && self.unit == other.unit
    }
}

fn per(value: &Value) -> Option<Per> {
    match value {
        Value::String(text) if text == "call" => Some(Per::Call),
        Value::String(text) if text == "token" => Some(Per::Token),
        seconds => match u32::try_from(seconds.as_u64()?) {
            Ok(0) | Err(_) => None,
            Ok(seconds) => Some(Per::Window(seconds)),
        },
    }
}

/// Decimal digits without sign or leading zero.
fn amount(text: &str) -> Option<u128> {
    let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const USDC: &str = "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

    #[test]
    fn a_limit_is_read_back_as_it_was_written() {
        for unit in ["call", "byte", USDC] {
            for per in [json!("call"), json!("token"), json!(1), json!(4_294_967_295_u32)] {
                let value = json!({ "max": "18446744073709551615", "per": per, "unit": unit });
                assert_eq!(Limit::parse(&value).unwrap().to_value(), value);
            }
        }
        let most = json!({ "max": u128::MAX.to_string(), "per": "token", "unit": "call" });
        assert_eq!(Limit::parse(&most).unwrap().max, u128::MAX);
    }

    #[test]
    fn what_is_not_understood_is_no_limit() {
        let good = json!({ "max": "1", "per": "token", "unit": "call" });
        assert!(Limit::parse(&good).is_ok());
        for (name, bad) in [
            ("max", json!(1)),
            ("max", json!("")),
            ("max", json!("-1")),
            ("max", json!("+1")),
            ("max", json!("01")),
            ("max", json!("1.0")),
            ("max", json!("1e3")),
            ("max", json!(" 1")),
            ("max", json!("٣")),
            ("max", json!("340282366920938463463374607431768211456")),
            ("per", json!("day")),
            ("per", json!("60")),
            ("per", json!(0)),
            ("per", json!(-60)),
            ("per", json!(60.0)),
            ("per", json!(4_294_967_296_u64)),
            ("unit", json!("calls")),
            ("unit", json!("CALL")),
            ("unit", json!("usd")),
            ("unit", json!("eip155:8453")),
            ("unit", json!("eip155:8453/erc20")),
            ("unit", json!("eip155:8453/erc20:")),
            ("unit", json!("eip155/erc20:0x1")),
            ("unit", json!("EIP155:8453/erc20:0x1")),
            ("unit", json!("eip155:8453/erc20:0x1/2/3")),
            ("unit", json!("eip155:8453/erc20:0x 1")),
            ("unit", json!(["call"])),
            ("currency", json!("USD")),
        ] {
            let mut limit = good.clone();
            limit[name] = bad.clone();
            assert!(Limit::parse(&limit).is_err(), "{name} {bad}");
        }
        for name in ["max", "per", "unit"] {
            let mut limit = good.clone();
            limit.as_object_mut().unwrap().remove(name);
            assert!(Limit::parse(&limit).is_err(), "without {name}");
        }
        for max in ["0", "18446744073709551616"] {
            assert!(Limit::parse(&json!({ "max": max, "per": 60, "unit": "call" })).is_err(), "{max} in a window");
            assert!(Limit::parse(&json!({ "max": max, "per": "token", "unit": "call" })).is_ok(), "{max} altogether");
        }
        assert!(Limit::parse(&json!([])).is_err());
    }

    #[test]
    fn an_asset_is_one_asset_however_its_address_is_spelt() {
        let unit = |text: &str| Unit::from_wire(text).unwrap();
        assert_eq!(unit(USDC), unit(&USDC.to_ascii_lowercase()));
        let solana = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
        assert_ne!(unit(solana), unit(&solana.replace("EPj", "epj")));
        assert_ne!(unit(USDC), unit("eip155:84532/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"));
    }
}
