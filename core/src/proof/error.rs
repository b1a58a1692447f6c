//! Why a credential or a proof is refused.

use super::fields::Malformed;
use std::borrow::Cow;
use std::fmt;

/// A refusal: a stable reason for programs, and words for people. Repeats nothing of what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofError {
    /// The stable reason.
    pub reason: Reason,
    /// What is wrong, in words; never decides anything.
    pub detail: Cow<'static, str>,
}

/// A stable reason to refuse a credential or its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// More than one credential, or a field twice that may come once.
    CredentialAmbiguous,
    /// A credential that cannot be read.
    CredentialMalformed,
    /// The token is bound to a key, and the request shows no proof of it.
    ProofMissing,
    /// The request shows a proof, and the token is not bound to a key of that kind.
    ProofUnbound,
    /// The proof cannot be read, or holds what it must not hold.
    ProofMalformed,
    /// The proof does not say or does not cover what it must.
    ProofIncomplete,
    /// The proof was made too long ago.
    ProofExpired,
    /// The proof was made in the future: a clock is wrong.
    ProofEarly,
    /// The proof was made for another request or another token, or by another key.
    ProofMismatch,
    /// The signature is not the key's.
    ProofInvalid,
    /// The same proof was shown before.
    ProofReplayed,
    /// The body is not the one that the request's `Content-Digest` describes.
    BodyMismatch,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::CredentialAmbiguous,
        Self::CredentialMalformed,
        Self::ProofMissing,
        Self::ProofUnbound,
        Self::ProofMalformed,
        Self::ProofIncomplete,
        Self::ProofExpired,
        Self::ProofEarly,
        Self::ProofMismatch,
        Self::ProofInvalid,
        Self::ProofReplayed,
        Self::BodyMismatch,
    ];

    /// The reason on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::CredentialAmbiguous => "credential_ambiguous",
            Self::CredentialMalformed => "credential_malformed",
            Self::ProofMissing => "proof_missing",
            Self::ProofUnbound => "proof_unbound",
            Self::ProofMalformed => "proof_malformed",
            Self::ProofIncomplete => "proof_incomplete",
            Self::ProofExpired => "proof_expired",
            Self::ProofEarly => "proof_early",
            Self::ProofMismatch => "proof_mismatch",
            Self::ProofInvalid => "proof_invalid",
            Self::ProofReplayed => "proof_replayed",
            Self::BodyMismatch => "body_mismatch",
        }
    }
}

impl ProofError {
    pub(super) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The refusal of a proof whose identity the ledger has seen ([`Proven::once`](super::Proven::once)).
    #[must_use]
    pub fn replayed() -> Self {
        Self::new(Reason::ProofReplayed, "this proof was shown before; make a new one for each request")
    }

    /// The stable reason, on the wire.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason.wire()
    }
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason(), self.detail)
    }
}

impl std::error::Error for ProofError {}

/// A field of a proof that is no structured field.
pub(super) fn malformed(field: &'static str, error: Malformed) -> ProofError {
    ProofError::new(Reason::ProofMalformed, format!("{field}: {error}"))
}
