//! Seller configuration: what each route asks for, and how a request is read so that it finds its route.
//!
//! | question | where it is decided |
//! |---|---|
//! | what may be written in a policy | [`config`] (the types), `read` (structure), `compile` (meaning) |
//! | what a request's one canonical form is | [`canonical`], [`path`], [`authority`] |
//! | what a HEAD costs, which methods exist | [`method`] |
//! | what a route asks for | [`Route`], its offers in `rail` |
//! | which route a request belongs to | [`routes`] |
//! | who signs tokens, which are good no more | [`Tokens`] |
//! | what a pass buys | [`Pass`] |
//! | how a mistake reads | [`mistake`] |
//!
//! A policy that loads has no contradictions left in it: what the gate does at a request cannot fail for a reason
//! that was visible when it was loaded.

pub mod authority;
pub mod canonical;
mod compile;
pub mod config;
mod facilitator;
mod fold;
pub mod method;
pub mod mistake;
pub(crate) mod pass;
pub mod path;
mod pattern;
mod read;
mod route;
pub mod routes;
mod rpc;
#[cfg(feature = "schema")]
mod schema;
mod secret;
mod tokens;

pub use canonical::{BadRequest, CanonicalRequest};
pub use config::{Audit, DefaultAccess, Limits, PaymentIdentifier, Wallets};
pub use facilitator::{Auth, Facilitator};
pub use mistake::{Mistake, Mistakes};
pub(crate) use pass::grant;
pub use pass::{Pass, PassLimits};
pub use route::{Access, CHALLENGE_LIMIT, Route, URL_ROOM};
pub use routes::Routed;
pub use rpc::Rpc;
pub use secret::Secret;
pub use tokens::{Admin, SignedOffers, Signer, Tokens};

use crate::host::Capabilities;
use crate::http::Headers;

/// Bytes a policy may have.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How deep a policy may be nested.
pub const MAX_DEPTH: usize = 32;

/// A seller's policy, compiled.
#[derive(Debug)]
pub struct Policy {
    authorities: authority::Authorities,
    case_sensitive: bool,
    routes: Vec<Route>,
    table: routes::Table,
    facilitators: Vec<Facilitator>,
    rpc: Vec<Rpc>,
    limits: Limits,
    claims_ceiling: u32,
    tokens_ceiling: u32,
    tokens: Option<Tokens>,
    audit: Option<Audit>,
    allowed_origins: Vec<String>,
    warnings: Vec<String>,
}

impl Policy {
    /// Reads and compiles a policy.
    ///
    /// `env` looks up the variables that the policy names for secrets; `can` is what this host's configuration allows.
    ///
    /// # Errors
    /// Every mistake found, each with the path of the field, what was found and what to write instead.
    pub fn load(json: &[u8], env: &dyn Fn(&str) -> Option<String>, can: Capabilities) -> Result<Self, Mistakes> {
        compile::compile(&read::read(json)?, env, can)
    }

    /// Things that work but that an operator should know, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every route, in the order of the policy.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The one form in which a request is judged and forwarded.
    ///
    /// # Errors
    /// [`BadRequest`] for a request that two readers could read as two different ones, or that is for another host.
    pub fn canonical(&self, headers: &Headers) -> Result<CanonicalRequest, BadRequest> {
        CanonicalRequest::read(headers, &self.authorities, !self.case_sensitive)
    }

    /// The route a request belongs to.
    #[must_use]
    pub fn route(&self, request: &CanonicalRequest) -> Routed<'_> {
        self.table.find(&self.routes, request)
    }

    /// The facilitators, in the order of the policy; an [`Offer`](crate::rail::Offer) refers to them by index.
    #[must_use]
    pub fn facilitators(&self) -> &[Facilitator] {
        &self.facilitators
    }

    /// The node of a CAIP-2 network, if the policy names one.
    #[must_use]
    pub fn rpc(&self, network: &str) -> Option<&Rpc> {
        self.rpc.iter().find(|rpc| rpc.network == network)
    }

    /// Whether the policy names a node of any network.
    #[must_use]
    pub fn asks_chains(&self) -> bool {
        !self.rpc.is_empty()
    }

    /// How much one source or payer may cost.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The most claims the ledger may hold at once.
    #[must_use]
    pub fn claims_ceiling(&self) -> u32 {
        self.claims_ceiling
    }

    /// The most tokens with counters, and proofs, that the ledger may hold at once.
    #[must_use]
    pub fn tokens_ceiling(&self) -> u32 {
        self.tokens_ceiling
    }

    /// How capability tokens are made and checked; `None` if there are none.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// How the audit log is written; `None` if none is.
    #[must_use]
    pub fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }

    /// Browser origins that may call, as serialised in `Origin`; `*` alone for all. Empty: no CORS headers of ours.
    #[must_use]
    pub fn allowed_origins(&self) -> &[String] {
        &self.allowed_origins
    }

    /// Whether a browser page of `origin` (the value of the request's `Origin`) may call.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        origin != "null" && (self.allows_every_origin() || self.allowed_origins.iter().any(|allowed| allowed == origin))
    }

    /// Whether pages of every origin may call.
    #[must_use]
    pub fn allows_every_origin(&self) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == "*")
    }
}

/// Whether a policy, good or not, asks for bodies to be read: some hosts must know before they load it.
#[must_use]
pub fn reads_bodies(json: &[u8]) -> bool {
    let policy = crate::json::parse(json, MAX_BYTES, MAX_DEPTH).ok();
    policy.is_some_and(|policy| policy.pointer("/tokens/max_body_bytes").is_some())
}

/// The JSON Schema of the policy, as published in `docs/policy.schema.json`.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> serde_json::Value {
    schema::schema()
}
