//! Proofs: how a request shows a token, and that it holds the token's key.
//!
//! | question | where it is decided |
//! |---|---|
//! | which credential does the request show, and how | [`Shown`] |
//! | must a proof come with it, of which kind | [`verify`] |
//! | what an HTTP message signature must say and cover | [`httpsig`] |
//! | what a `DPoP` proof must say | [`dpop`] |
//! | which body the request is about | [`digest`] |
//! | what exactly is signed | [`signature`], on [`fields`] |
//!
//! Nothing here knows a route, a ledger or a clock: a proof is good or not, and [`Proven`] says what the caller must
//! still do so that it is good **once**, and good for the **body**.
//!
//! # Example
//!
//! A holder signs a request, and the gate checks it.
//!
//! ```
//! use farebox_core::crypto::keys::{Algorithm, SigningKey};
//! use farebox_core::http::Headers;
//! use farebox_core::proof::{self, AUTHORIZATION, Bound, Fields, Request, Shown, Signing, Window};
//!
//! let key = SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap();
//! let request = Request {
//!     method: "GET",
//!     origin: "https://api.example.com",
//!     target: "/v1/quotes?ccy=usd",
//!     has_body: false,
//! };
//! let mut headers: Headers = [("authorization", "HTTPSig root~child")].into_iter().collect();
//!
//! let signing = Signing { key: &key, created: 1_800_000_000, nonce: "tT8mC1uYkA2Q7t9oV5Lr0w", label: "sig1" };
//! let signed = signing.present(AUTHORIZATION, &request, &headers).unwrap();
//! headers.push(b"signature-input", signed.signature_input.as_bytes());
//! headers.push(b"signature", signed.signature.as_bytes());
//!
//! let shown = Shown::find(&headers, Fields::Both).unwrap().unwrap();
//! assert_eq!(shown.credential, "root~child");
//! let window = Window { now: 1_800_000_010, seconds: 30 };
//! let proven = proof::verify(&shown, Bound::Key(&key.public()), &request, &headers, window).unwrap();
//! assert_eq!(proven.once.len(), 1);
//! assert_eq!(proven.until, 1_800_000_031);
//! ```

pub mod digest;
pub mod dpop;
mod error;
pub mod fields;
pub mod httpsig;
mod shown;
pub mod signature;
#[cfg(test)]
mod tests;

pub use error::{ProofError, Reason};
pub use httpsig::{Introduction, Signed, Signing, introduced};
pub use shown::{AUTHORIZATION, CAPABILITY_TOKEN, Fields, MAX_CREDENTIAL, Presented, Shown};
pub use signature::Request;

use crate::crypto::keys::PublicKey;
use crate::crypto::sha256;
use crate::http::Headers;

/// What the last link of the credential is bound to: its `cnf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    /// Nothing: whoever has it holds it.
    Nothing,
    /// `cnf.jkt`: the key with this RFC 7638 thumbprint. Only a `DPoP` proof brings the key itself.
    Thumbprint(&'a str),
    /// `cnf.jwk`.
    Key(&'a PublicKey),
}

impl Bound<'_> {
    fn is_to(&self, key: &PublicKey) -> bool {
        match self {
            Self::Nothing => false,
            Self::Thumbprint(thumbprint) => key.thumbprint() == *thumbprint,
            Self::Key(bound) => *bound == key,
        }
    }
}

/// When a proof may have been made: no more than `seconds` before `now`, and no more after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Unix seconds.
    pub now: u64,
    /// What clocks may differ by and a request may be on its way. The draft says 30.
    pub seconds: u64,
}

impl Window {
    fn check(&self, made: u64) -> Result<(), ProofError> {
        if made > self.now.saturating_add(self.seconds) {
            return Err(ProofError::new(Reason::ProofEarly, "the proof was made in the future"));
        }
        if made.saturating_add(self.seconds) < self.now {
            return Err(ProofError::new(Reason::ProofExpired, "the proof was made too long ago"));
        }
        Ok(())
    }

    /// The first second at which a proof made at `made` is too old.
    fn ends(&self, made: u64) -> u64 {
        made.saturating_add(self.seconds).saturating_add(1)
    }
}

/// A good proof, and what the caller must still do with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a proof is good once, and for one body"]
pub struct Proven {
    /// Identities of the proof, one for each signature: each must be new to the ledger, or the request is refused with
    /// [`ProofError::replayed`]. Empty for a bearer token. They differ from key to key, so nobody can use up another's.
    pub once: Vec<[u8; 32]>,
    /// Unix second from which on the identities may be forgotten: the proof is then too old by itself.
    pub until: u64,
    /// SHA-256 of the body that the proof is about. The request must not be served with another body
    /// ([`digest::check`]). `None`: the proof says nothing of a body.
    pub body: Option<[u8; 32]>,
}

/// Checks that a request which shows a credential bound to `bound` may do so: that the proof its scheme asks for is
/// there and good.
///
/// A token that is bound to a key is never taken as a bearer token, and a token that is bound to nothing never with a
/// proof: either would hide a mistake of the client's, or an attack.
///
/// # Errors
/// A [`ProofError`]; its reasons are the same for both kinds of proof. [`Reason::ProofMissing`] or
/// [`Reason::ProofUnbound`] if scheme and token do not fit each other.
pub fn verify(
    shown: &Shown<'_>,
    bound: Bound<'_>,
    request: &Request<'_>,
    headers: &Headers,
    window: Window,
) -> Result<Proven, ProofError> {
    match (shown.presented, bound) {
        (Presented::Bearer, Bound::Nothing) => Ok(Proven::default()),
        (Presented::Bearer, _) => {
            Err(ProofError::new(Reason::ProofMissing, "the token is bound to a key; show it with a proof"))
        }
        (_, Bound::Nothing) => {
            Err(ProofError::new(Reason::ProofUnbound, "the token is bound to no key; show it as `Bearer`"))
        }
        (Presented::HttpSig, Bound::Thumbprint(_)) => Err(ProofError::new(
            Reason::ProofUnbound,
            "the token names its key by thumbprint alone; show it with `DPoP`",
        )),
        (Presented::HttpSig, Bound::Key(key)) => httpsig::presented(shown.field, key, request, headers, window),
        (Presented::Dpop, bound) => dpop::presented(shown.credential, bound, request, headers, window),
    }
}

/// What a proof is remembered by: its kind, its key, and what its maker promised to use once.
fn identity(kind: &str, key: &PublicKey, nonce: &str) -> [u8; 32] {
    let (prefix, key): (&[u8], &[u8]) = match key {
        PublicKey::Ed25519(key) => (b"\0ed25519\0", key),
        PublicKey::Secp256k1(key) => (b"\0secp256k1\0", key),
    };
    sha256(&[kind.as_bytes(), prefix, key, nonce.as_bytes()])
}
