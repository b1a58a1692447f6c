//! The policy format: what an operator may write. `docs/policy.schema.json` is generated from these types.
//!
//! The format is closed: a member that is not listed here is a mistake.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a seller asks for, and where. Written as JSON, or as YAML inside the proxy's own configuration. In YAML, put
/// addresses, amounts and prices in quotes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "farebox policy"))]
pub struct Config {
    /// Version of this format: 1.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1)))]
    pub version: u64,
    /// The origins that clients use, each a scheme and a host, like `https://api.example.com` or
    /// `http://localhost:8080`. `*` as the first label stands for one label. Requests for any other host are refused
    /// (421), and the URL in a challenge begins with one of these.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub origins: Vec<String>,
    /// What happens to a request that no route matches.
    pub default: DefaultAccess,
    /// Whether `/Report` and `/report` are two paths. If not (the default), routes match without regard to the case of
    /// ASCII letters.
    #[serde(default)]
    pub case_sensitive_paths: bool,
    /// Who is paid, by CAIP-2 network: `eip155:8453: "0x…"`. An offer may name its own payee.
    #[serde(default)]
    pub payees: BTreeMap<String, String>,
    /// Assets besides the built-in default assets of x402.
    #[serde(default)]
    pub assets: Vec<Asset>,
    /// Services that verify and settle payments. Of those that cover an offer's network, the first is preferred.
    #[serde(default)]
    pub facilitators: Vec<Facilitator>,
    /// Chain nodes that are asked when the outcome of a settlement is unknown; at most one for each network. Without
    /// one, such a payment stays unknown until it lapses.
    #[serde(default)]
    pub rpc: Vec<Rpc>,
    /// What is matched, and what it asks for. The most specific match wins, whatever the order.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The record of payments.
    #[serde(default)]
    pub ledger: Ledger,
    /// Calls from browser pages of other origins.
    #[serde(default)]
    pub cors: Cors,
    /// How much one source or payer may cost the gate.
    #[serde(default)]
    pub limits: Limits,
    /// Capability tokens. Absent: none are sold and none are accepted.
    #[serde(default)]
    pub tokens: Option<Tokens>,
    /// The audit log. Absent: none is written.
    #[serde(default)]
    pub audit: Option<Audit>,
}

/// A node of one network, asked by JSON-RPC for what became of a payment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "rpc"))]
pub struct Rpc {
    /// CAIP-2 network, like `eip155:8453`.
    pub network: String,
    /// URL that JSON-RPC requests are posted to.
    pub url: String,
    /// The proxy's name for the service (Envoy: cluster). Default: the URL's host, with its port if there is one.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Seconds to wait for an answer.
    #[serde(default = "ten")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 60)))]
    pub timeout_seconds: u64,
    /// How many blocks back events are looked for.
    #[serde(default = "thousand")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub blocks: u64,
    /// How many blocks must stand on an event before it counts.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 1000)))]
    pub confirmations: u64,
}

/// How much one source or payer may cost the gate. Counted by each worker; 0 means no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "limits"))]
pub struct Limits {
    /// Challenges for one source address in a second.
    #[serde(default = "thousand")]
    pub challenges_per_second: u64,
    /// Payments of one source address that turn out to be no good, in a minute.
    #[serde(default = "sixty")]
    pub failed_payments_per_minute: u64,
    /// Requests of one payer that were forwarded and not charged, in a minute.
    #[serde(default = "sixty")]
    pub uncharged_forwards_per_minute: u64,
    /// Payments of one source address under verification at once.
    #[serde(default = "sixty_four")]
    pub verifying_per_source: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            challenges_per_second: thousand(),
            failed_payments_per_minute: sixty(),
            uncharged_forwards_per_minute: sixty(),
            verifying_per_source: sixty_four(),
        }
    }
}

/// Whether buyers may name their payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PaymentIdentifier {
    /// They may.
    Optional,
    /// They must: a payment without an id is refused (400).
    Required,
}

/// What happens to a request that no route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DefaultAccess {
    /// It is refused (404).
    Denied,
    /// It is forwarded without payment.
    Free,
}

/// A token that a price may be in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "asset"))]
pub struct Asset {
    /// CAIP-2 network, like `eip155:8453`.
    pub network: String,
    /// Contract or mint address, in quotes.
    pub address: String,
    /// Ticker by which an offer's `asset` may name it.
    pub symbol: String,
    /// EIP-712 domain name of the token; needed on `eip155` networks, but for `permit2`.
    #[serde(default)]
    pub name: String,
    /// EIP-712 domain version of the token; needed on `eip155` networks, but for `permit2`.
    #[serde(default)]
    pub version: String,
    /// How the token is paid with. A token without EIP-3009 says `permit2`; with its `name` and `version` buyers may
    /// approve Permit2 by EIP-2612.
    #[serde(default)]
    pub transfer_method: Option<TransferMethod>,
    /// Decimal places: 1 token is `10^decimals` atomic units.
    #[cfg_attr(feature = "schema", schemars(range(max = 38)))]
    pub decimals: u64,
}

/// How a token is paid with on `eip155` networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TransferMethod {
    /// By an authorization that the token itself understands (EIP-3009).
    Eip3009,
    /// By Permit2, which the buyer approves once for each token.
    Permit2,
}

impl TransferMethod {
    /// The method as x402 writes it.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
        }
    }
}

/// A service that verifies and settles payments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "facilitator"))]
pub struct Facilitator {
    /// Unique name: letters, digits, `_`, `-`.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$")))]
    pub name: String,
    /// Base URL: what stands before `/verify` and `/settle`.
    pub url: String,
    /// The proxy's name for the service (Envoy: cluster). Default: the URL's host, with its port if there is one.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Seconds to wait for `/verify` and `/supported`.
    #[serde(default = "ten")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub verify_timeout_seconds: u64,
    /// Seconds to wait for `/settle`. Keep it below what is left of the proxy's own route timeout.
    #[serde(default = "sixty")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub settle_timeout_seconds: u64,
    /// How we show who we are.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// When it is left alone because it keeps failing.
    #[serde(default)]
    pub breaker: Breaker,
    /// CAIP-2 networks it covers; `eip155:*` for all of a namespace. Default: all.
    #[serde(default)]
    pub networks: Option<Vec<String>>,
}

/// When a facilitator that keeps failing is left alone. Each of the proxy's workers counts for itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "breaker"))]
pub struct Breaker {
    /// Failed calls in a row after which it is left alone. An answer that refuses a payment is no failure.
    #[serde(default = "five")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub failures: u64,
    /// Seconds until it is tried again, by one call at a time.
    #[serde(default = "ten")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub open_seconds: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: five(), open_seconds: ten() }
    }
}

/// How we show a facilitator who we are: one of these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "auth"))]
pub struct Auth {
    /// Environment variable whose value is sent as `Authorization: Bearer …`. Envoy passes on only the variables that
    /// `vm_config.environment_variables.host_env_keys` lists.
    #[serde(default)]
    pub bearer_env: Option<String>,
    /// A key of Coinbase's developer platform, which signs a token for each request.
    #[serde(default)]
    pub cdp: Option<Cdp>,
}

/// An API key of Coinbase's developer platform (CDP). Envoy passes on only the variables that
/// `vm_config.environment_variables.host_env_keys` lists.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "cdp"))]
pub struct Cdp {
    /// Environment variable that holds the key's id (`CDP_API_KEY_ID`).
    pub key_id_env: String,
    /// Environment variable that holds the key's secret (`CDP_API_KEY_SECRET`): Ed25519 in base64, or P-256 in PEM.
    pub key_secret_env: String,
}

/// A match, with what it asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "route"))]
pub struct Route {
    /// Unique name in metrics and logs: letters, digits, `_`, `-`. Default: made from the path.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$")))]
    pub name: Option<String>,
    /// Hosts it is for, with the port if it is not the scheme's default; each must belong to an origin. Default: all.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub hosts: Option<Vec<String>>,
    /// Path: `/report`, `/report/{id}` (one segment), or `/files/*` (everything below, and `/files` itself).
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^/")))]
    pub path: String,
    /// Methods, in upper case. `GET` includes `HEAD`. Default: all. A path that matches, but not with this method, is
    /// 405.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub methods: Option<Vec<String>>,
    /// What a request needs. `offers` imply `priced`.
    #[serde(default)]
    pub access: Option<Access>,
    /// What the buyer gets, for the challenge.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 500)))]
    pub description: String,
    /// Media type of the response, for the challenge.
    #[serde(default)]
    pub mime_type: String,
    /// When the money moves. Default: `after` where the proxy can hold response headers.
    #[serde(default)]
    pub settle: Option<Settle>,
    /// Whether clients that know only x402 version 1 may pay too: the challenge is then also in the response's body, and
    /// `X-PAYMENT` is accepted. Only offers with scheme `exact` by EIP-3009, on networks that such clients know.
    #[serde(default)]
    pub v1: bool,
    /// Whether an upstream status from 300 to 399 is a delivery, to be paid for.
    #[serde(default)]
    pub redirects_are_success: bool,
    /// Which payers are accepted.
    #[serde(default)]
    pub wallets: Wallets,
    /// Seconds the upstream may take to its response headers.
    #[serde(default = "three_hundred")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3600)))]
    pub response_timeout_seconds: u64,
    /// Whether buyers may name their payments by x402's `payment-identifier`, so that a second payment under the same
    /// id is never charged. Default: ids are not looked at.
    #[serde(default)]
    pub payment_identifier: Option<PaymentIdentifier>,
    /// Seconds after a delivery within which a repeat under the same `payment-identifier` is forwarded once more.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 86_400)))]
    pub redelivery_seconds: u64,
    /// Whether a request with another method than GET or HEAD that was charged and not delivered may reach the
    /// upstream a second time.
    #[serde(default)]
    pub redeliver_unsafe: bool,
    /// Whose `Authorization` is. Default: `farebox` where there are `tokens`.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// What a call with a token that has a budget of money costs, at most one price for each asset. Default: the
    /// amount of the first single-call offer in that asset.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub call_prices: Vec<CallPrice>,
    /// Ways to pay, one of which is enough.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub offers: Vec<Offer>,
}

/// Whose `Authorization` is on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Authorization {
    /// It carries capability tokens, and the upstream never sees it.
    Farebox,
    /// The upstream's. Capability tokens come in `Capability-Token` alone.
    Upstream,
}

/// What a call with a token costs in one asset: either `price`, or `amount` and `asset`, as in an offer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "call_price"))]
pub struct CallPrice {
    /// `"$0.01"`: in the network's default asset, or in the `asset` named. `"0.01"`: in units of the `asset` named.
    #[serde(default)]
    pub price: Option<String>,
    /// Exact number of atomic units, in quotes; needs `asset` as an address.
    #[serde(default)]
    pub amount: Option<String>,
    /// CAIP-2 network, like `eip155:8453`.
    pub network: String,
    /// Ticker or address of the asset.
    #[serde(default)]
    pub asset: Option<String>,
}

/// What a request on a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Access {
    /// A payment that answers one of the offers.
    Priced,
    /// Nothing.
    Free,
    /// It is refused (403), whatever it shows.
    Denied,
}

/// When the money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Settle {
    /// After the upstream answered successfully, before the client gets the answer.
    After,
    /// Before the request reaches the upstream.
    Before,
}

/// Which payers are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Wallets {
    /// Key-held accounts and smart accounts. A signature that is not the payer's own key's is for the facilitator to
    /// judge.
    #[default]
    Any,
    /// Key-held accounts only: a signature that does not recover to the payer is refused here.
    Eoa,
}

/// One way to pay for a route. It needs either `price`, or `amount` and `asset`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "offer"))]
pub struct Offer {
    /// `"$0.01"`: in the network's default asset, or in the `asset` named. `"0.01"`: in units of the `asset` named.
    #[serde(default)]
    pub price: Option<String>,
    /// Exact number of atomic units, in quotes; needs `asset` as an address.
    #[serde(default)]
    pub amount: Option<String>,
    /// CAIP-2 network, like `eip155:8453`.
    pub network: String,
    /// x402 scheme: `exact`; `upto` (on `eip155` networks), where the price is a ceiling and the upstream's response
    /// header `Settlement-Overrides` says what is charged; or another one, which is passed through to the facilitator
    /// and must settle `before`. So must `exact` outside `eip155` networks.
    #[serde(default = "exact")]
    pub scheme: String,
    /// Ticker or address of the asset.
    #[serde(default)]
    pub asset: Option<String>,
    /// Who is paid. Default: the network's entry in `payees`.
    #[serde(default)]
    pub pay_to: Option<String>,
    /// How the buyer pays on an `eip155` network. Default: `eip3009` if the asset has it, for `upto` always `permit2`.
    #[serde(default)]
    pub transfer_method: Option<TransferMethod>,
    /// Seconds a payment may be valid for.
    #[serde(default = "three_hundred")]
    #[cfg_attr(feature = "schema", schemars(range(min = 10, max = 3600)))]
    pub max_timeout_seconds: u64,
    /// When the money moves. Default: as the route says.
    #[serde(default)]
    pub settle: Option<Settle>,
    /// Further members of the requirement's `extra`.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// Members of `extra` that are copied from the facilitator's `/supported`.
    #[serde(default)]
    pub from_supported: Option<Vec<String>>,
    /// What the offer buys instead of a single call: a capability token with these limits. The call that it is bought
    /// with is on top.
    #[serde(default)]
    pub pass: Option<Pass>,
}

/// The capability token that an offer buys. It needs `calls` or `budget`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "pass"))]
pub struct Pass {
    /// Calls in all.
    #[serde(default)]
    pub calls: Option<u64>,
    /// Atomic units of the offer's asset that may be drawn in all, in quotes; each call draws the route's price.
    #[serde(default)]
    pub budget: Option<String>,
    /// Bytes of responses in all. A response that passes what is left is delivered whole; the next call is refused.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Seconds the token is good for.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub seconds: u64,
    /// How fast calls may come.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// How often the token may be delegated on: 0 for not at all. Only tokens with a holder key can be.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 3)))]
    pub delegations: u64,
    /// Names of the routes the token is good for. Default: this one.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub routes: Option<Vec<String>>,
    /// Lets buyers that introduce no holder key have a bearer token, with these limits. Absent: such buyers are refused
    /// before they are charged.
    #[serde(default)]
    pub bearer: Option<Bearer>,
}

/// What a token may have at most that whoever holds it may use. What is absent is as in the pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "bearer"))]
pub struct Bearer {
    /// Calls in all.
    #[serde(default)]
    pub calls: Option<u64>,
    /// Atomic units of the offer's asset that may be drawn in all, in quotes.
    #[serde(default)]
    pub budget: Option<String>,
    /// Seconds the token is good for; at most `tokens.bearer_max_seconds`.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// How fast something may come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "rate"))]
pub struct Rate {
    /// Calls.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub calls: u64,
    /// In how many seconds.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub seconds: u64,
}

/// Capability tokens: who signs them, and which are good no more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "tokens"))]
pub struct Tokens {
    /// The `iss` of tokens and receipts, one of the origins. Default: the first of the origins without a `*`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Keys of the gate. The first signs; tokens of all are accepted.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8)))]
    pub keys: Vec<TokenKey>,
    /// The most seconds that a token without a holder key may be good for.
    #[serde(default = "hour")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub bearer_max_seconds: u64,
    /// How far the clocks of holders may be off, in seconds: proofs from further away are refused, and each proof is
    /// remembered for twice as long.
    #[serde(default = "thirty")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 300)))]
    pub proof_window_seconds: u64,
    /// Bytes of verified tokens that each worker remembers; a token takes about 4 KB.
    #[serde(default = "sixteen_mib")]
    #[cfg_attr(feature = "schema", schemars(range(min = 65_536, max = 1_073_741_824)))]
    pub cache_bytes: u64,
    /// Bytes up to which a request's body is read, so that a proof that covers its `Content-Digest` is checked against
    /// the body itself. The proxy must be able to hold a request for its body (Envoy:
    /// `allow_on_headers_stop_iteration: true` for the filter). Absent: the digest is the upstream's to check.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 16_777_216)))]
    pub max_body_bytes: Option<u64>,
    /// What happens to tokens whose counters were lost, because the proxy was started anew or its last listener went.
    #[serde(default)]
    pub ledger_lost: LedgerLost,
    /// Tokens that are good no more, whatever happens to the ledger.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 4096)))]
    pub revoked: Vec<Revoked>,
    /// Lets an operator revoke tokens and ask what is left on them. Absent: nobody can.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// Signs the offers of challenges (x402's `offer-receipt`), so that a buyer can show later what it was offered.
    /// Absent: they are not signed.
    #[serde(default)]
    pub signed_offers: Option<SignedOffers>,
    /// Tells the upstream pseudonyms in the place of accounts, in `Farebox-Payer`. Absent: it is told the account.
    #[serde(default)]
    pub payer_pseudonyms: Option<PayerPseudonyms>,
}

/// How offers are signed. A signature costs as much as many requests, so each worker keeps what it has signed until half
/// of its time is over, and signs no more than so many a second; beyond that, challenges come unsigned.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "signed_offers"))]
pub struct SignedOffers {
    /// Seconds that a signed offer holds. Default: as long as its payment may be valid for (`max_timeout_seconds`).
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 10, max = 86_400)))]
    pub valid_seconds: Option<u64>,
    /// The most signatures that each worker makes in a second.
    #[serde(default = "fifty")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_000)))]
    pub per_second: u64,
}

/// Where the pseudonyms of payers come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "payer_pseudonyms"))]
pub struct PayerPseudonyms {
    /// Environment variable that holds a secret of at least 32 bytes. The same secret makes the same pseudonyms, so all
    /// gates of a service have one, and it outlives changes of the signing key.
    pub env: String,
}

/// What happens to tokens whose counters were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LedgerLost {
    /// They are refused, as `ledger_lost`.
    #[default]
    Refuse,
    /// They start with their whole budget again.
    Honour,
}

/// A key of the gate: one of these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "key"))]
pub struct TokenKey {
    /// Environment variable that holds a private JWK, Ed25519 or secp256k1 (`farebox keygen` makes one). Envoy passes on
    /// only the variables that `vm_config.environment_variables.host_env_keys` lists.
    #[serde(default)]
    pub env: Option<String>,
    /// A public JWK: its tokens are accepted, and nothing is signed with it.
    #[serde(default)]
    pub jwk: Option<Map<String, Value>>,
}

/// Tokens that are good no more: one of these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "revoked"))]
pub struct Revoked {
    /// A token's id (`jti`), with everything that was delegated from it.
    #[serde(default)]
    pub token: Option<String>,
    /// RFC 7638 thumbprint of a holder's key.
    #[serde(default)]
    pub holder: Option<String>,
    /// CAIP-10 account of a payer.
    #[serde(default)]
    pub payer: Option<String>,
    /// Unix seconds: every token issued before.
    #[serde(default)]
    pub issued_before: Option<u64>,
}

/// Where an operator revokes tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "admin"))]
pub struct Admin {
    /// The origin on which it is answered; one of the origins.
    pub origin: String,
    /// The path on which it is answered.
    #[serde(default = "admin_path")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^/")))]
    pub path: String,
    /// Public JWK of the key that signs requests; not one of the gate's own keys.
    pub jwk: Map<String, Value>,
}

/// The audit log: a line for each charge, draw and refusal, each with the hash of the one before.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "audit"))]
pub struct Audit {
    /// Lines after which a signed head is written.
    #[serde(default = "thousand")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub head_lines: u64,
    /// Seconds after which a signed head is written, if there are new lines.
    #[serde(default = "sixty")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub head_seconds: u64,
}

/// The record of payments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "ledger"))]
pub struct Ledger {
    /// The most payments remembered at once. When they are all live, new ones are refused (503) rather than old ones
    /// forgotten.
    #[serde(default = "million")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1000, max = 10_000_000)))]
    pub claims: u64,
    /// The most tokens with counters at once, and proofs remembered. When they are all live, further ones are refused
    /// (503) rather than old ones forgotten.
    #[serde(default = "million")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1000, max = 10_000_000)))]
    pub tokens: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { claims: million(), tokens: million() }
    }
}

/// Calls from browser pages of other origins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(title = "cors"))]
pub struct Cors {
    /// Origins whose pages may call and pay, or `"*"` alone for all. Empty: the gate adds no CORS headers.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
}

fn five() -> u64 {
    5
}

fn ten() -> u64 {
    10
}

fn fifty() -> u64 {
    50
}

fn sixty() -> u64 {
    60
}

fn sixty_four() -> u64 {
    64
}

fn thousand() -> u64 {
    1000
}

fn three_hundred() -> u64 {
    300
}

fn million() -> u64 {
    1_000_000
}

fn thirty() -> u64 {
    30
}

fn hour() -> u64 {
    3600
}

fn sixteen_mib() -> u64 {
    16 * 1024 * 1024
}

fn admin_path() -> String {
    "/.well-known/farebox/admin".to_owned()
}

fn exact() -> String {
    "exact".to_owned()
}
