//! Policies that say who wrote them.

use super::Policy;
use crate::crypto::jws::{self, Jws, JwsError};
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::policy::mistake::Mistakes;
use serde_json::Value;
use std::fmt;

/// The `typ` of a signed policy.
const TYPE: &str = "farebox-policy+jwt";

/// A signed policy: a JWS of the policy's document. `None` only if the document cannot be written, which a policy that
/// was loaded always can.
#[must_use]
pub fn sign(policy: &Policy, key: &SigningKey) -> Option<String> {
    jws::sign(key, TYPE, Some(&key.public().thumbprint()), policy.document())
}

impl Policy {
    /// Reads a policy that one of `keys` signed.
    ///
    /// # Errors
    /// [`BadSignature`] if none of them did, or what is wrong with the policy.
    pub fn load_signed(text: &str, keys: &[PublicKey]) -> Result<Self, BadSignature> {
        let signed = Jws::parse(text, 2 * super::MAX_BYTES).map_err(BadSignature::Jws)?;
        let mut verified = Err(JwsError::Signature);
        for key in keys {
            verified = verified.or_else(|_| signed.verify(key, TYPE));
        }
        verified.map_err(BadSignature::Jws)?;
        Self::load(Value::Object(signed.payload).to_string().as_bytes()).map_err(BadSignature::Policy)
    }
}

/// Why a signed policy was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSignature {
    /// It is not signed by one of the keys.
    Jws(JwsError),
    /// It is signed, and wrong.
    Policy(Mistakes),
}

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jws(error) => write!(f, "the policy's signature: {}", error.reason()),
            Self::Policy(mistakes) => mistakes.fmt(f),
        }
    }
}

impl std::error::Error for BadSignature {}
