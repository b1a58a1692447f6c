//! Hashes and keys: wrappers over audited crates, nothing invented.

pub mod base64url;
pub mod ed25519;
pub mod es256;
pub mod hex;
pub mod jws;
pub mod keys;
pub mod mac;
pub mod secp256k1;

use sha2::{Digest, Sha256};
use sha3::Keccak256;

/// SHA-256 over the parts one after another. Parts must be of fixed length or framed by the caller.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Keccak-256 (Ethereum's, not SHA3-256) over the parts one after another.
#[must_use]
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
