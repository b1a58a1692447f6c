//! A key that the program itself holds.

use super::{Draft, NotSigned, Signer};
use crate::crypto::secp256k1::Key;
use std::future::{Future, ready};

/// A secp256k1 key for an account of its own, with little money on it. Its bytes are wiped when it is dropped.
///
/// It signs drafts and nothing else: there is no way to have it sign a hash that somebody else made.
pub struct SessionKey {
    key: Key,
    address: [u8; 20],
}

impl SessionKey {
    /// From the 32 secret bytes. `None` if they are no key.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Option<Self> {
        let key = Key::from_secret(secret)?;
        let address = key.address()?;
        Some(Self { key, address })
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> [u8; 20] {
        self.address
    }

    /// The signature for a payment of this account.
    #[must_use]
    pub fn signature(&self, draft: &Draft) -> Option<[u8; 65]> {
        (draft.payer() == self.address).then(|| self.key.sign_recoverable(&draft.digest()))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionKey({})", crate::agent::money::checksummed(&self.address))
    }
}

impl Signer for SessionKey {
    fn sign(&self, draft: &Draft) -> impl Future<Output = Result<Vec<u8>, NotSigned>> {
        ready(self.signature(draft).map(|signature| signature.to_vec()).ok_or(NotSigned::Failed))
    }
}
