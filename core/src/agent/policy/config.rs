//! The format of a buyer's policy: what may be written.
//!
//! The format is closed: a member that is not listed here is a mistake. Amounts are text with their unit, `"0.05 usd"`;
//! the units are those that `assets` name.

use serde::Deserialize;
use serde_json::Value;

/// What an agent may pay for, to whom, and how much. What no rule allows is denied, and what any rule denies is denied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format: 1.
    pub version: u64,
    /// Number of this edition of the policy. Counters remember the highest they have seen, and refuse an older one.
    #[serde(default = "one")]
    pub serial: u64,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// Unix seconds before which nothing is paid.
    #[serde(default)]
    pub not_before: Option<u64>,
    /// Unix seconds from which on nothing is paid.
    #[serde(default)]
    pub not_after: Option<u64>,
    /// The only assets that are paid in.
    pub assets: Vec<Asset>,
    /// What is allowed: a payment must match one of these.
    pub allow: Vec<Allow>,
    /// What is denied, whatever else allows it.
    #[serde(default)]
    pub deny: Vec<Deny>,
    /// The most that one payment may be.
    #[serde(default)]
    pub caps: Vec<Cap>,
    /// The most that payments may be together. A payment that no budget covers is denied.
    pub budgets: Vec<Budget>,
    /// How many payments may be made.
    #[serde(default)]
    pub calls: Vec<Calls>,
    /// Time between two payments.
    #[serde(default)]
    pub cooldowns: Vec<Cooldown>,
    /// Times of the week in which payments may be made.
    #[serde(default)]
    pub hours: Vec<Hours>,
    /// Amounts that wait before they are paid, so that somebody can stop them.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// Payments that somebody must approve.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Who may approve by a signature.
    #[serde(default)]
    pub approvers: Vec<Approver>,
    /// For how long a payment may stay good.
    #[serde(default)]
    pub validity: Validity,
    /// How far a price may be above what was told or paid before.
    #[serde(default)]
    pub slippage: Slippage,
    /// Whether the first payee of a host is the only one.
    #[serde(default)]
    pub payees: Option<Payees>,
    /// What happens to a payment that was just made.
    #[serde(default)]
    pub duplicates: Option<Duplicates>,
    /// When everything stops because too much goes wrong.
    #[serde(default)]
    pub breaker: Option<Breaker>,
    /// What sellers must show.
    #[serde(default)]
    pub require: Require,
    /// Sellers whose word counts on what they charged. Without it every payment counts in full.
    #[serde(default)]
    pub trust: Vec<Trust>,
    /// What may be handed on to sub-agents. Without it, nothing.
    #[serde(default)]
    pub delegate: Option<Delegate>,
    /// Which of several offers is preferred, first one first; cost decides among the rest.
    #[serde(default)]
    pub prefer: Vec<Prefer>,
}

/// An asset that may be paid in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// CAIP-19 id: `eip155:8453/erc20:0x…`.
    pub asset: String,
    /// What it counts as. Assets of one unit are worth the same to this policy.
    pub unit: String,
    /// Decimal places; needed for assets outside the built-in table.
    #[serde(default)]
    pub decimals: Option<u64>,
    /// EIP-712 domain name of the token; needed for `eip3009` outside the built-in table.
    #[serde(default)]
    pub name: Option<String>,
    /// EIP-712 domain version of the token, likewise.
    #[serde(default)]
    pub version: Option<String>,
}

/// Which payments a rule is for. An empty match is for all; every member that is written must fit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Hosts, or origins: `api.example.com`, `*.example.com`, `http://localhost:8402`.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// Paths: `/report`, `/report/{id}`, `/files/*`.
    #[serde(default)]
    pub resources: Option<Vec<String>>,
    /// Methods, in upper case.
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    /// CAIP-2 networks.
    #[serde(default)]
    pub networks: Option<Vec<String>>,
    /// CAIP-19 assets.
    #[serde(default)]
    pub assets: Option<Vec<String>>,
    /// CAIP-10 accounts that are paid.
    #[serde(default)]
    pub payees: Option<Vec<String>>,
    /// x402 schemes: `exact`, `upto`.
    #[serde(default)]
    pub schemes: Option<Vec<Scheme>>,
    /// How the value moves: `eip3009`, `permit2`.
    #[serde(default)]
    pub transfers: Option<Vec<Transfer>>,
    /// Addresses of facilitators. Only offers that name theirs match (`upto`).
    #[serde(default)]
    pub facilitators: Option<Vec<String>>,
    /// Tasks, as the program names them.
    #[serde(default)]
    pub tasks: Option<Vec<String>>,
    /// Agents, as the program names them.
    #[serde(default)]
    pub agents: Option<Vec<String>>,
}

/// An x402 scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// The amount is what is charged.
    Exact,
    /// The amount is a ceiling.
    Upto,
}

impl Scheme {
    /// The scheme as x402 writes it.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
        }
    }
}

/// How value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// By an authorization that the token itself understands (EIP-3009).
    Eip3009,
    /// By Permit2.
    Permit2,
}

impl Transfer {
    /// The transfer method as x402 writes it.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
        }
    }
}

/// What is allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// The most that one payment may be; then only assets of this unit match.
    #[serde(default)]
    pub max: Option<String>,
    /// Unix seconds before which this does not allow anything.
    #[serde(default)]
    pub not_before: Option<u64>,
    /// Unix seconds from which on this does not allow anything.
    #[serde(default)]
    pub not_after: Option<u64>,
}

/// What is denied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
}

/// The most that one payment may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// The amount: `"0.05 usd"`. For ceilings (`upto`) the ceiling counts.
    pub max: String,
}

/// The most that payments may be together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The budget's name, by which its counters are kept: letters, digits, `_`, `-`.
    pub name: String,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// The amount: `"5 usd"`.
    pub max: String,
    /// Seconds after which what was spent no longer counts. Without it the budget is for the policy's whole life.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// How the seconds are counted.
    #[serde(default)]
    pub window: Option<Window>,
    /// Unix seconds at which a fixed window began. Default: 0.
    #[serde(default)]
    pub start: Option<u64>,
    /// What has a budget of its own: one for each host, each payee and so on. Default: one for all.
    #[serde(default)]
    pub per: Vec<Key>,
}

/// How a period is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last so many seconds, at any moment. An amount counts for up to a forty-eighth of the period longer.
    Rolling,
    /// One period after another. At the boundary of two, twice the amount can be spent in a short time.
    Fixed,
}

/// What counters are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Each host, with its port.
    Host,
    /// Each origin and path.
    Resource,
    /// Each asset.
    Asset,
    /// Each account that is paid.
    Payee,
    /// Each task.
    Task,
    /// Each agent.
    Agent,
}

impl Key {
    /// The key as policies write it.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Resource => "resource",
            Self::Asset => "asset",
            Self::Payee => "payee",
            Self::Task => "task",
            Self::Agent => "agent",
        }
    }
}

/// How many payments may be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// The rule's name, by which its counters are kept: letters, digits, `_`, `-`.
    pub name: String,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// How many.
    pub max: u64,
    /// As for a budget.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// As for a budget.
    #[serde(default)]
    pub window: Option<Window>,
    /// As for a budget.
    #[serde(default)]
    pub start: Option<u64>,
    /// As for a budget.
    #[serde(default)]
    pub per: Vec<Key>,
}

/// Time between two payments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cooldown {
    /// The rule's name, by which its counters are kept: letters, digits, `_`, `-`.
    pub name: String,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// Seconds that must lie between two.
    pub seconds: u64,
    /// As for a budget.
    #[serde(default)]
    pub per: Vec<Key>,
}

/// Times of the week in which payments may be made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// The times, one of which must be now.
    pub within: Vec<Times>,
    /// Minutes by which the clock of these times is ahead of UTC. Summer time is not known here.
    #[serde(default)]
    pub utc_offset_minutes: i64,
}

/// Times of some days.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Days on which the time begins. Default: every day.
    #[serde(default)]
    pub days: Option<Vec<Day>>,
    /// `"08:00"`. Default: midnight.
    #[serde(default)]
    pub from: Option<String>,
    /// `"18:00"`, which is no longer in it; before `from`, it is the next day's. Default: midnight.
    #[serde(default)]
    pub to: Option<String>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Amounts that wait before they are paid.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// The amount above which they wait.
    pub above: String,
    /// Seconds from the first attempt. The same payment can be made in the day after them.
    pub seconds: u64,
}

/// Payments that somebody must approve.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
    /// Only amounts above this.
    #[serde(default)]
    pub above: Option<String>,
    /// Only if one of these is seen for the first time.
    #[serde(default)]
    pub first: Vec<First>,
    /// Names of the approvers. Default: whoever the program asks, outside of the model.
    #[serde(default)]
    pub by: Vec<String>,
    /// How many of them.
    #[serde(default = "one")]
    pub threshold: u64,
    /// Seconds for which a question, and the answer to it, stand.
    #[serde(default = "ten_minutes")]
    pub expires_in: u64,
}

/// What may be seen for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// The host.
    Host,
    /// The account that is paid.
    Payee,
    /// The asset.
    Asset,
}

/// Who may approve by a signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Name by which rules refer to them: letters, digits, `_`, `-`.
    pub name: String,
    /// Public key, as JWK (Ed25519 or secp256k1).
    pub jwk: Value,
}

/// For how long a payment may stay good.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// Seconds. An offer that asks for more is denied.
    #[serde(default = "ten_minutes")]
    pub max_seconds: u64,
}

impl Default for Validity {
    fn default() -> Self {
        Self { max_seconds: ten_minutes() }
    }
}

/// How far a price may be above another, in hundredths of a percent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slippage {
    /// Above what the caller was told. Default: 0.
    #[serde(default)]
    pub quoted_bps: u64,
    /// Above what was last paid for the same resource. Default: any.
    #[serde(default)]
    pub last_bps: Option<u64>,
}

/// Whether the first payee of a host is the only one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payees {
    /// What happens to a payment to another payee of the same host and network.
    pub on_change: Then,
}

/// What happens to a payment that is out of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is denied.
    Deny,
    /// The program asks somebody.
    Ask,
}

/// What happens to a payment that was just made: same request, payee and amount.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duplicates {
    /// For how many seconds a payment is remembered.
    pub seconds: u64,
    /// What happens.
    pub then: Then,
}

/// When everything stops because too much goes wrong: payments refused, unanswered, charged otherwise than offered, or
/// without the receipt that is required.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// How many faults.
    pub faults: u64,
    /// Within how many seconds.
    pub seconds: u64,
    /// What stops: everything, or the host that they came from.
    #[serde(default)]
    pub per: BreakerKey,
    /// Seconds after which it goes on by itself. Default: only when somebody says so.
    #[serde(default)]
    pub resumes_after: Option<u64>,
}

/// What a breaker stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerKey {
    /// Everything.
    #[default]
    All,
    /// Payments to the host.
    Host,
}

/// What sellers must show.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// Offers signed by the account that is paid, or by one of `signers`.
    #[serde(default)]
    pub signed_offer: bool,
    /// Receipts signed by the account that is paid, or by one of `signers`; one that is missing or wrong is a fault.
    #[serde(default)]
    pub receipt: bool,
    /// Keys of sellers.
    #[serde(default)]
    pub signers: Vec<Signer>,
}

/// A key of a seller.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// Hosts it signs for.
    pub hosts: Vec<String>,
    /// Public key, as JWK (Ed25519 or secp256k1).
    #[serde(default)]
    pub jwk: Option<Value>,
    /// Or an EVM address.
    #[serde(default)]
    pub address: Option<String>,
}

/// Sellers whose word counts on what they charged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// A name for explanations.
    #[serde(default)]
    pub name: Option<String>,
    /// Which payments.
    #[serde(default, rename = "match")]
    pub on: Match,
}

/// What may be handed on to sub-agents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    /// How many levels of sub-agents below this agent.
    pub max_depth: u64,
    /// The most of each limit that one of them may get, in hundredths of a percent.
    pub max_share_bps: u64,
    /// Seconds that what is handed on may be good for.
    #[serde(default = "hour")]
    pub max_seconds: u64,
}

/// Offers that are preferred.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefer {
    /// Which ones.
    #[serde(default, rename = "match")]
    pub on: Match,
}

fn one() -> u64 {
    1
}

fn ten_minutes() -> u64 {
    600
}

fn hour() -> u64 {
    3600
}
