//! Who holds the key that tokens belong to.

use super::pay::NotSigned;
use crate::crypto::keys::{PublicKey, SigningKey};
use std::future::{Future, ready};

/// The key that bought tokens are bound to, wherever it is: in the program, or in a browser that never gives it out
/// (WebCrypto, Ed25519, not extractable).
///
/// It is no wallet's key: it signs requests, delegations and nothing else, and holds no money.
pub trait Holder {
    /// The public key. `None` if there is none: tokens are then kept only where sellers give them to bearers.
    fn key(&self) -> Option<PublicKey>;

    /// The signature over `message`: EdDSA, or ES256K with `s` in the lower half; 64 bytes.
    ///
    /// # Errors
    /// [`NotSigned`] if it was declined or failed; the token is not shown then.
    fn sign(&self, message: &[u8]) -> impl Future<Output = Result<[u8; 64], NotSigned>>;
}

/// No key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoHolder;

impl Holder for NoHolder {
    fn key(&self) -> Option<PublicKey> {
        None
    }

    fn sign(&self, _message: &[u8]) -> impl Future<Output = Result<[u8; 64], NotSigned>> {
        ready(Err(NotSigned::Failed))
    }
}

impl Holder for SigningKey {
    fn key(&self) -> Option<PublicKey> {
        Some(self.public())
    }

    fn sign(&self, message: &[u8]) -> impl Future<Output = Result<[u8; 64], NotSigned>> {
        ready(Ok(Self::sign(self, message)))
    }
}
