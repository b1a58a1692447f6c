//! Capability tokens: signed, scoped, budgeted rights to make calls, checked without asking anybody.
//!
//! A token is a JWS of type `at+jwt` (RFC 9068) whose `authorization_details` (RFC 9396) say what it allows. Its holder
//! makes narrower ones for others, offline; together they travel as `root~child~…`.
//!
//! | question | where it is decided |
//! |---|---|
//! | what a token may say, and how it is written | [`claims`], [`grant`], [`constraint`], [`limit`] |
//! | whether a credential is good, and what every link of it says | [`chain`] |
//! | whether it allows this call | [`Chain::authorises`], [`Grant::covers`] |
//! | whether a child is narrower than its parent | `narrower_than` of each of them; making and checking share it |
//! | how tokens are made | [`issue`], [`delegate`] |
//! | how a credential that was good stays cheap | [`cache`] |
//!
//! The format is ours and closed: what is not understood is refused. What a token has spent is the
//! [ledger](crate::ledger)'s to know, who shows it is a proof's. Nothing here reads a clock or a store.

pub mod cache;
pub mod chain;
pub mod claims;
pub mod constraint;
pub mod delegate;
mod error;
pub mod grant;
pub mod issue;
pub mod limit;
mod members;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use chain::{Allowed, Chain, Issuer, KeySet, Link};
pub use claims::{Holder, Token};
pub use constraint::Constraint;
pub use delegate::{Narrower, Undelegated, delegate};
pub use error::TokenError;
pub use grant::{Call, Grant};
pub use issue::issue;
pub use limit::{Limit, Per, Unit};

/// The `typ` of a token.
pub const TYPE: &str = "at+jwt";
/// Bytes a credential may have, all links together: the length of one header line that every server takes.
pub const MAX_BYTES: usize = 8 * 1024;
/// Links a credential may have, the root included.
pub const MAX_LINKS: usize = 4;
