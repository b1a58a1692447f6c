//! The buyer's rules, read and compiled.
//!
//! | question | where it is decided |
//! |---|---|
//! | what may be written | [`config`] (the types), `read` (structure), `compile` (meaning) |
//! | which payments a rule is for | `matching` |
//! | whether one policy allows more than another | `compare` |
//! | who signed it | `signed` |

mod compare;
mod compile;
pub mod config;
pub(super) mod matching;
mod read;
mod signed;
pub(super) mod week;

pub(super) use compile::MAX_PERIOD;
pub use read::MAX_BYTES;
pub use signed::{BadSignature, sign};

use super::money::{self, AssetId, Money};
use super::pattern::HostPattern;
use crate::crypto::keys::PublicKey;
use crate::policy::mistake::Mistakes;
use config::{BreakerKey, First, Key, Then};
use matching::Match;
use serde_json::Value;
use week::Week;

/// A buyer's policy, compiled. It has no contradictions left in it.
#[derive(Clone, Debug)]
pub struct Policy {
    document: Value,
    hash: [u8; 32],
    serial: u64,
    name: String,
    not_before: u64,
    not_after: u64,
    units: Vec<String>,
    assets: Vec<Asset>,
    pub(super) allow: Vec<Rule<Allow>>,
    pub(super) deny: Vec<Rule<()>>,
    pub(super) caps: Vec<Rule<Money>>,
    pub(super) budgets: Vec<Rule<Budget>>,
    pub(super) calls: Vec<Rule<Calls>>,
    pub(super) cooldowns: Vec<Rule<Cooldown>>,
    pub(super) hours: Vec<Rule<Week>>,
    pub(super) locks: Vec<Rule<Lock>>,
    pub(super) approvals: Vec<Rule<Approval>>,
    approvers: Vec<(String, PublicKey)>,
    pub(super) max_validity: u64,
    pub(super) quoted_bps: u64,
    pub(super) last_bps: Option<u64>,
    pub(super) pins: Option<Then>,
    pub(super) duplicates: Option<(u64, Then)>,
    pub(super) breaker: Option<Breaker>,
    pub(super) signed_offer: bool,
    pub(super) receipt: bool,
    pub(super) signers: Vec<Signer>,
    pub(super) trust: Vec<Rule<()>>,
    delegate: Option<Delegate>,
    pub(super) prefer: Vec<Match>,
}

/// A rule: its name in explanations, which payments it is for, and what it says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule<T> {
    pub(super) label: String,
    pub(super) on: Match,
    pub(super) says: T,
}

/// An asset that may be paid in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asset {
    pub(super) id: AssetId,
    pub(super) unit: usize,
    pub(super) decimals: u8,
    /// EIP-712 domain name and version, where the policy or the built-in table knows them.
    pub(super) domain: Option<(String, String)>,
}

impl Asset {
    /// `amount` atomic units in the unit's scale, if that can be counted.
    pub(super) fn counted(&self, amount: u128) -> Option<Money> {
        let factor = money::power(money::SCALE.saturating_sub(self.decimals));
        Some(Money { unit: self.unit, amount: amount.checked_mul(factor)? })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allow {
    pub(super) max: Option<Money>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) max: Money,
    pub(super) span: Span,
    pub(super) per: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) max: u64,
    pub(super) span: Span,
    pub(super) per: Vec<Key>,
}

/// For how long something counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// For ever.
    Lifetime,
    /// For so many seconds after it happened.
    Rolling(u64),
    /// Until the end of the period in which it happened.
    Fixed { seconds: u64, start: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cooldown {
    pub(super) seconds: u64,
    pub(super) per: Vec<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) above: Money,
    pub(super) seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Approval {
    pub(super) above: Option<Money>,
    pub(super) first: Vec<First>,
    /// Empty: whoever the program asks.
    pub(super) by: Vec<PublicKey>,
    pub(super) threshold: usize,
    pub(super) expires_in: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breaker {
    pub(super) faults: usize,
    pub(super) seconds: u64,
    pub(super) per: BreakerKey,
    pub(super) resumes_after: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) hosts: Vec<HostPattern>,
    pub(super) key: SignerKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SignerKey {
    Jwk(PublicKey),
    Address([u8; 20]),
}

/// What may be handed on to sub-agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// Levels of sub-agents.
    pub max_depth: u64,
    /// The most of each limit that one of them may get, in hundredths of a percent.
    pub max_share_bps: u64,
    /// Seconds that what is handed on may be good for.
    pub max_seconds: u64,
}

impl Policy {
    /// Reads and compiles a policy.
    ///
    /// # Errors
    /// Every mistake found, each with the path of the field, what was found and what to write instead.
    pub fn load(json: &[u8]) -> Result<Self, Mistakes> {
        let (config, document) = read::read(json)?;
        compile::compile(config, document)
    }

    /// The policy as it is hashed and signed: every member as it was written, in one spelling (RFC 8785).
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// SHA-256 of the document's canonical JSON. It names the policy in counters, approvals and audit records.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Number of this edition. Counters refuse one that is lower than the highest they have seen.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The name for people; may be empty.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unix seconds from which and until which anything is paid.
    #[must_use]
    pub fn life(&self) -> (u64, u64) {
        (self.not_before, self.not_after)
    }

    /// What may be handed on to sub-agents, if anything.
    #[must_use]
    pub fn delegate(&self) -> Option<Delegate> {
        self.delegate
    }

    /// Things that are right but may not be meant, one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            let capped = self.caps.iter().any(|cap| cap.says.unit == index)
                || self.allow.iter().all(|allow| allow.says.max.is_some());
            if !self.budgets.iter().any(|budget| budget.says.max.unit == index) {
                warnings.push(format!("no budget is in {unit}: nothing can be paid in its assets"));
            } else if !capped {
                warnings.push(format!("no cap is in {unit}: one payment may take a whole budget"));
            }
        }
        warnings
    }

    /// The asset, if it may be paid in.
    pub(super) fn asset(&self, id: &AssetId) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.id == *id)
    }

    /// Every asset that may be paid in.
    pub(super) fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.assets.iter()
    }

    /// How many approvers must agree to what only people may do: as many as the strictest rule wants.
    pub(super) fn quorum(&self) -> usize {
        let by_name = self.approvals.iter().filter(|rule| !rule.says.by.is_empty());
        by_name.map(|rule| rule.says.threshold).max().unwrap_or(1).min(self.approvers.len().max(1))
    }

    /// The name of a unit.
    pub(super) fn unit(&self, index: usize) -> &str {
        self.units.get(index).map_or("", String::as_str)
    }

    /// An amount for people: `0.05 usd`.
    pub(super) fn text(&self, money: Money) -> String {
        money::text(money.amount, self.unit(money.unit))
    }

    /// The name of an approver's key.
    pub(super) fn approver(&self, key: &PublicKey) -> Option<&str> {
        self.approvers.iter().find(|(_, known)| known == key).map(|(name, _)| name.as_str())
    }

    /// Every approver's key. Who may approve that a policy is loosened.
    pub(super) fn approvers(&self) -> impl Iterator<Item = &PublicKey> {
        self.approvers.iter().map(|(_, key)| key)
    }
}
