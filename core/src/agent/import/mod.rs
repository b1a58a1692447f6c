//! Grants of wallets and mandates of users, as policies.
//!
//! What somebody has signed elsewhere becomes rules here, so that the agent stops before the wallet or the merchant has to.
//! The rules allow at most what the grant allows; what no rule can say is refused, and nothing of a grant is left out
//! unless it is in `notes`. Whether a grant is genuine is for whoever got it to check: import what the wallet answered, not
//! what it was asked, and a mandate after its signature was verified.
//!
//! | grant | read by |
//! |---|---|
//! | ERC-7715 permission | [`erc7715`] |
//! | Coinbase Spend Permission | [`spend_permission`] |
//! | AP2 open payment mandate | [`ap2`] |
//!
//! `docs/agent.md` has the mapping, with an example of each. What comes out is a policy like any other: it is adopted as
//! one, and a looser one needs the approval of whoever approves such things.

mod ap2;
mod erc7715;
mod moment;
mod spend;
#[cfg(test)]
mod tests;

pub use ap2::ap2;
pub use erc7715::erc7715;
pub use spend::spend_permission;

use super::money::{self, AssetId};
/// Seconds of the longest window of a policy; what a grant spreads over more is for its whole life.
use super::policy::MAX_PERIOD as LONGEST;
use super::policy::Policy;
use crate::json;
use crate::rail::x402::assets::Assets;
use crate::rail::x402::price;
use serde_json::{Map, Value, json};
use std::fmt;

/// Bytes of a grant.
const MAX_BYTES: usize = 64 * 1024;
const MAX_DEPTH: usize = 16;

/// What a grant does not say, and a person adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Hosts that may be paid; empty: any that the grant does not exclude.
    pub hosts: Vec<String>,
    /// What the grant's asset counts as, for grants in tokens: `usd`.
    pub unit: String,
    /// Assets, as a policy writes them: those that the currency of a mandate is paid in; for a grant in a token outside the
    /// built-in table, that token with its decimals.
    pub assets: Vec<Value>,
    /// Number of the edition that the policy becomes; 1 for the first.
    pub serial: u64,
}

/// A grant as a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The policy, which [`Policy::load`] takes.
    pub policy: Value,
    /// The account that the grant spends from, if it names one (CAIP-10).
    pub account: Option<String>,
    /// What the grant says and needs no rule here, one line each.
    pub notes: Vec<String>,
}

/// Why a grant is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotImported {
    /// Where it stands in the grant: `permission.type`.
    pub path: String,
    /// What is wrong, or cannot be said in rules.
    pub detail: String,
}

impl fmt::Display for NotImported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.detail)
    }
}

impl std::error::Error for NotImported {}

fn not(path: impl Into<String>, detail: impl Into<String>) -> NotImported {
    NotImported { path: path.into(), detail: detail.into() }
}

/// Reads a grant: one JSON object, or a list of one.
fn read(grant: &[u8]) -> Result<Value, NotImported> {
    let json = json::parse(grant, MAX_BYTES, MAX_DEPTH).map_err(|error| not("", format!("not JSON: {error}")))?;
    match json {
        Value::Object(_) => Ok(json),
        Value::Array(items) => match <[Value; 1]>::try_from(items) {
            Ok([one @ Value::Object(_)]) => Ok(one),
            _ => Err(not("", "import one grant at a time")),
        },
        _ => Err(not("", "not an object")),
    }
}

/// A whole number: of JSON, or text in decimal or after `0x`.
fn number(value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) if !digits.starts_with('+') => u128::from_str_radix(digits, 16).ok(),
            None if text.bytes().all(|c| c.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn seconds(value: &Value) -> Option<u64> {
    number(value).and_then(|seconds| u64::try_from(seconds).ok())
}

/// A policy in the making.
#[derive(Default)]
struct Rules {
    name: &'static str,
    assets: Vec<Value>,
    on: Map<String, Value>,
    caps: Vec<Value>,
    budgets: Vec<Value>,
    calls: Vec<Value>,
    not_before: Option<u64>,
    not_after: Option<u64>,
    notes: Vec<String>,
    account: Option<String>,
}

impl Rules {
    /// Sets the time before which nothing is paid; the latest counts.
    fn from(&mut self, time: u64) {
        self.not_before = Some(self.not_before.unwrap_or(0).max(time)).filter(|time| *time > 0);
    }

    /// Sets the time from which on nothing is paid; the earliest counts.
    fn until(&mut self, time: u64) {
        self.not_after = Some(self.not_after.unwrap_or(u64::MAX).min(time));
    }

    /// The token of a grant: its entry in the policy, and its amounts as text.
    fn token(
        &mut self,
        asset: AssetId,
        frame: &Frame,
        path: &str,
    ) -> Result<impl Fn(u128) -> String + use<>, NotImported> {
        let id = asset.to_string();
        let written = frame.assets.iter().find(|entry| {
            let named = entry.get("asset").and_then(Value::as_str).and_then(|id| AssetId::parse(id).ok());
            named == Some(asset)
        });
        let mut entry = match written {
            Some(Value::Object(entry)) => entry.clone(),
            _ => Map::from_iter([("asset".to_owned(), id.clone().into())]),
        };
        entry.insert("unit".to_owned(), frame.unit.clone().into());
        let known = Assets::default()
            .by_address(&asset.network(), &money::checksummed(&asset.address))
            .map(|known| u64::from(known.decimals));
        let decimals = known.or_else(|| entry.get("decimals").and_then(Value::as_u64));
        let decimals = decimals.and_then(|decimals| u8::try_from(decimals).ok());
        let decimals = decimals.ok_or_else(|| {
            not(path, format!("{id} is not in the built-in table: add it to `assets`, with its decimals"))
        })?;
        self.assets.push(Value::Object(entry));
        let unit = frame.unit.clone();
        Ok(move |amount| format!("{} {unit}", price::decimal(amount, decimals)))
    }

    /// The policy, if it is one.
    fn finish(self, frame: &Frame) -> Result<Imported, NotImported> {
        let mut on = self.on;
        if !frame.hosts.is_empty() {
            let mut hosts = frame.hosts.clone();
            if let Some(granted) = on.get("hosts").and_then(Value::as_array) {
                hosts.retain(|host| granted.iter().any(|granted| granted == host));
            }
            if hosts.is_empty() {
                return Err(not("hosts", "none of these hosts is one that the grant allows"));
            }
            on.insert("hosts".to_owned(), hosts.into());
        }
        let mut policy = json!({
            "version": 1,
            "serial": frame.serial.max(1),
            "name": self.name,
            "assets": self.assets,
            "allow": [{ "match": on }],
            "budgets": self.budgets,
        });
        let mut say = |name: &str, value: Value| {
            if let Some(members) = policy.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        for (name, list) in [("caps", self.caps), ("calls", self.calls)] {
            if !list.is_empty() {
                say(name, list.into());
            }
        }
        for (name, time) in [("not_before", self.not_before), ("not_after", self.not_after)] {
            if let Some(time) = time {
                say(name, time.into());
            }
        }
        Policy::load(policy.to_string().as_bytes())
            .map_err(|mistakes| not("", format!("what comes out is no policy: {mistakes}")))?;
        Ok(Imported { policy, account: self.account, notes: self.notes })
    }
}
