//! The chain as judge: what became of a payment whose settlement nobody can tell the outcome of.
//!
//! Source: EIP-3009, Permit2, ERC-20, Ethereum JSON-RPC. A payment counts as settled only if the chain shows that its
//! nonce was used, and that this very use paid the payee.

mod authorization;
mod node;
mod permit;

use crate::crypto::hex;
use crate::host::Host;
use crate::policy::Rpc;
use node::{Node, Trouble};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What must be known of a payment to find out its outcome. Kept in the ledger, at most 512 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// CAIP-2 network.
    pub network: String,
    /// Token contract.
    pub token: String,
    /// Who pays.
    pub payer: String,
    /// The payment's nonce, as a 32-byte word.
    pub nonce: String,
    /// Who was to be paid, from our configuration at the time.
    pub payee: String,
    /// Atomic units, from our configuration at the time; where the charge was left open, at most so many. 0: nothing
    /// was to be charged after all.
    pub amount: String,
    /// Unix seconds: the last at which the payment could be carried out.
    pub valid_before: u64,
    /// Unix seconds before which asking makes no sense: the money call may still be answered.
    pub not_before: u64,
    /// How it was to be carried out.
    #[serde(default, skip_serializing_if = "By::is_authorization")]
    pub by: By,
}

/// How a payment is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// EIP-3009: the token itself burns the nonce, and says so in an event.
    #[default]
    Authorization,
    /// `exact` by Permit2: x402's proxy for it is the only one that may use the nonce, which no event tells of.
    Permit,
    /// `upto` by Permit2: the same by another proxy, for any part of the amount.
    Upto,
}

impl By {
    fn is_authorization(&self) -> bool {
        *self == Self::Authorization
    }
}

/// What the chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// We were paid.
    Settled {
        /// The transaction that did it; empty if nothing was to be charged.
        transaction: String,
    },
    /// We were not paid by this payment, and will not be.
    Failed {
        /// For the log.
        why: &'static str,
    },
    /// Still open.
    Open {
        /// For the log.
        why: String,
    },
}

impl Found {
    fn settled(transaction: &str) -> Self {
        Self::Settled { transaction: transaction.to_owned() }
    }

    fn open(why: &str) -> Self {
        Self::Open { why: why.to_owned() }
    }
}

/// Asks the chain.
pub async fn judge<H: Host>(host: &H, rpc: &Rpc, question: &Question) -> Found {
    if question.amount == "0" {
        return Found::settled("");
    }
    let node = Node { host, rpc };
    let found = match question.by {
        By::Authorization => authorization::judge(&node, question).await,
        By::Permit | By::Upto => permit::judge(&node, question).await,
    };
    found.unwrap_or_else(|trouble| Found::Open { why: trouble.to_string() })
}

/// The name of an event in logs: the hash of its signature.
fn topic(signature: &str) -> String {
    hex::encode(&crate::crypto::keccak256(&[signature.as_bytes()]))
}

/// What a call of a function begins with.
fn selector(signature: &str) -> String {
    topic(signature).chars().take(10).collect()
}

/// An address as a 32-byte word.
fn padded(address: &str) -> Result<String, Trouble> {
    let bytes = hex::decode_fixed::<20>(address).ok_or_else(|| Trouble::senseless("not an address"))?;
    Ok(format!("0x{:0>64}", bare(&hex::encode(&bytes))))
}

fn bare(hex: &str) -> &str {
    hex.strip_prefix("0x").unwrap_or(hex)
}

fn same(found: &Value, wanted: &str) -> bool {
    found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
}

/// The value at a JSON pointer; null if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Whether a log is of the block that the chain ended up with.
fn stands(log: &Value) -> bool {
    at(log, "/removed") != &Value::Bool(true)
}

const TRANSFER: &str = "Transfer(address,address,uint256)";
