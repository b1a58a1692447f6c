//! Facilitators: the services that verify and settle.

use super::Secret;

/// An HTTP service that verifies and settles payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facilitator {
    /// Unique name, `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// The host's name for the service (Envoy: cluster).
    pub cluster: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Value of `:authority`.
    pub authority: String,
    /// What stands before `/verify`: empty, or starts with `/` and does not end with one.
    pub base_path: String,
    /// Seconds to wait for `/verify` and `/supported`.
    pub verify_timeout_seconds: u64,
    /// Seconds to wait for `/settle`.
    pub settle_timeout_seconds: u64,
    /// Value of `Authorization` after `Bearer `.
    pub bearer: Option<Secret>,
}
