//! One way to pay, as a challenge offers it.

use crate::agent::money::{self, AccountId, AssetId};
use crate::agent::policy::config::{Scheme, Transfer};
use crate::agent::reason::Reason;
use crate::rail::x402::v1;
use crate::receipt::Amount;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of an offer: a payment copies it back, and servers read payments of 8 to 16 KiB.
const MAX_TEXT: usize = 4096;

/// Version of x402.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Version 1: the challenge is the body.
    V1,
    /// Version 2: the challenge is a header.
    V2,
}

/// An offer: everything about it that can decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Where it stands in the challenge.
    pub index: usize,
    /// The version it is written in.
    pub version: Version,
    /// The x402 scheme.
    pub scheme: Scheme,
    /// How the value moves.
    pub transfer: Transfer,
    /// The asset; its chain is the network.
    pub asset: AssetId,
    /// Atomic units of the asset. For `upto` it is the ceiling.
    pub amount: u128,
    /// Who is paid.
    pub payee: AccountId,
    /// Seconds a payment may stay good for.
    pub max_timeout_seconds: u64,
    /// EIP-712 name and version of the token, as the offer has them.
    pub domain: Option<(String, String)>,
    /// The facilitator that alone may settle, where the offer names one.
    pub facilitator: Option<[u8; 20]>,
    /// Whether the money moves before the service does anything.
    pub upfront: bool,
    /// What the offer buys, if it is more than this one call.
    pub pass: Option<Pass>,
    /// The offer as it was written, for the copy that a payment carries.
    pub(in crate::agent) text: String,
    /// Scheme and network as version 1 names them.
    pub(in crate::agent) v1_network: Option<String>,
}

/// A pass: a payment that buys a token for several calls, besides the call that it is paid with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// What the token of a buyer that introduces a key is good for.
    pub terms: Terms,
    /// What one for any bearer is good for, if that is something else.
    pub bearer: Option<Terms>,
    /// Whether it is sold only to buyers that introduce a key.
    pub needs_holder: bool,
    /// How deep the token may be delegated.
    pub delegations: u64,
}

impl Pass {
    /// What the token is good for, if the buyer introduces a key or not.
    #[must_use]
    pub fn terms(&self, introduces: bool) -> Terms {
        if introduces { self.terms } else { self.bearer.unwrap_or(self.terms) }
    }

    /// What is written so that it cannot be read says nothing; a token is then worth a single call.
    fn read(pass: &Value) -> Self {
        Self {
            terms: Terms::read(pass),
            bearer: pass.get("bearer").filter(|bearer| bearer.is_object()).map(Terms::read),
            needs_holder: pass.get("holder").and_then(Value::as_str) == Some("required"),
            delegations: pass.get("delegations").and_then(Value::as_u64).unwrap_or(0),
        }
    }
}

/// What a token is good for in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Atomic units of the offer's asset, of which each call draws its price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Amount>,
    /// Bytes of responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Seconds from its purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// Calls in so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<(u64, u64)>,
}

impl Terms {
    fn read(terms: &Value) -> Self {
        let number = |name: &str| terms.get(name).and_then(Value::as_u64);
        let rate = |name: &str| terms.get("rate").and_then(|rate| rate.get(name)).and_then(Value::as_u64);
        Self {
            calls: number("calls"),
            budget: terms.get("budget").and_then(Value::as_str).and_then(atomic).map(Amount),
            bytes: number("bytes"),
            expires_in: number("expiresIn"),
            rate: rate("calls").zip(rate("seconds")),
        }
    }
}

/// An offer that cannot be taken, whatever the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Where it stands in the challenge.
    pub index: usize,
    /// [`Reason::OfferUnreadable`] or [`Reason::OfferUnsupported`].
    pub reason: Reason,
    /// The member that is wrong, and how.
    pub detail: &'static str,
}

impl Offer {
    /// Reads the offer at `index`: `json`, written as `text`.
    pub(super) fn read(index: usize, json: &Value, text: &str, version: Version) -> Result<Self, Unfit> {
        let bad = |detail| Unfit { index, reason: Reason::OfferUnreadable, detail };
        let unsupported = |detail| Unfit { index, reason: Reason::OfferUnsupported, detail };
        if !json.is_object() {
            return Err(bad("not an object"));
        }
        if text.len() > MAX_TEXT {
            return Err(bad("longer than 4 KiB"));
        }
        let string = |name: &str| json.get(name).and_then(Value::as_str);
        let scheme = match string("scheme") {
            Some("exact") => Scheme::Exact,
            Some("upto") if version == Version::V2 => Scheme::Upto,
            Some(_) => return Err(unsupported("scheme")),
            None => return Err(bad("scheme")),
        };
        let network = string("network").ok_or(bad("network"))?;
        let chain = match version {
            Version::V2 => money::chain(network).map_err(|_| unsupported("network"))?,
            Version::V1 => v1::chain_of(network).ok_or(unsupported("network"))?,
        };
        // A server and a client of two versions would each read the member of its own.
        let (price, other) = match version {
            Version::V2 => ("amount", "maxAmountRequired"),
            Version::V1 => ("maxAmountRequired", "amount"),
        };
        if json.get(other).is_some() {
            return Err(bad("amount: both versions' members"));
        }
        let amount = string(price).and_then(atomic).ok_or(bad("amount: not a positive decimal number below 2^128"))?;
        let asset = string("asset").and_then(|asset| money::evm(asset).ok()).ok_or(bad("asset: not an address"))?;
        let payee = string("payTo").and_then(|payee| money::evm(payee).ok()).ok_or(bad("payTo: not an address"))?;
        if payee == [0; 20] || payee == asset {
            return Err(bad("payTo: nobody's address"));
        }
        let max_timeout_seconds = json.get("maxTimeoutSeconds").and_then(seconds);
        let max_timeout_seconds = max_timeout_seconds.ok_or(bad("maxTimeoutSeconds: not a positive whole number"))?;
        let extra = match json.get("extra") {
            None | Some(Value::Null) => None,
            Some(extra @ Value::Object(_)) => Some(extra),
            Some(_) => return Err(bad("extra")),
        };
        let extra = |name: &str| extra.and_then(|extra| extra.get(name)).filter(|member| !member.is_null());
        let extra_text = |name: &str| extra(name).map(|member| member.as_str().ok_or(bad("extra")));

        let method = extra_text("assetTransferMethod").transpose()?;
        let transfer = match (scheme, method) {
            (Scheme::Exact, None | Some("eip3009")) => Transfer::Eip3009,
            (Scheme::Exact, Some("permit2")) | (Scheme::Upto, None | Some("permit2")) => Transfer::Permit2,
            _ => return Err(unsupported("extra.assetTransferMethod")),
        };
        if version == Version::V1 && transfer != Transfer::Eip3009 {
            return Err(unsupported("extra.assetTransferMethod"));
        }
        let domain = match (extra_text("name").transpose()?, extra_text("version").transpose()?) {
            (Some(name), Some(version)) => Some((name.to_owned(), version.to_owned())),
            _ if transfer == Transfer::Eip3009 => return Err(bad("extra: the token's name and version are missing")),
            _ => None,
        };
        let upfront = match extra_text("paymentFlow").transpose()? {
            None | Some("authorization") => false,
            Some("upfront") => true,
            Some(_) => return Err(unsupported("extra.paymentFlow")),
        };
        let facilitator = match scheme {
            Scheme::Exact => None,
            Scheme::Upto => {
                let named = extra_text("facilitatorAddress").transpose()?.and_then(|text| money::evm(text).ok());
                Some(named.ok_or(bad("extra.facilitatorAddress: not an address"))?)
            }
        };
        let pass = extra("pass").map(Pass::read);
        Ok(Self {
            index,
            version,
            scheme,
            transfer,
            asset: AssetId { chain, address: asset },
            amount,
            payee: AccountId { chain, address: payee },
            max_timeout_seconds,
            domain,
            facilitator,
            upfront,
            pass,
            text: text.to_owned(),
            v1_network: (version == Version::V1).then(|| network.to_owned()),
        })
    }
}

/// A positive number of atomic units, in its only spelling.
fn atomic(text: &str) -> Option<u128> {
    let canonical = !text.starts_with('0') && text.bytes().all(|c| c.is_ascii_digit());
    canonical.then(|| text.parse().ok())?
}

/// A positive whole number of seconds; `300.0` is one.
fn seconds(value: &Value) -> Option<u64> {
    let whole = || {
        let float = value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float))?;
        format!("{float:.0}").parse().ok()
    };
    value.as_u64().or_else(whole).filter(|seconds| *seconds > 0)
}
