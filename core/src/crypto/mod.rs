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
use std::hash::Hasher as _;

/// SHA-256 over the parts one after another. Parts must be of fixed length or framed by the caller.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SipHash-2-4 under a secret key: for tables whose places nobody may aim at.
#[must_use]
#[allow(deprecated)] // The one keyed hash of the standard library; its successor takes no key.
pub fn siphash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let [low, high] = key;
    let mut hasher = std::hash::SipHasher::new_with_keys(low, high);
    hasher.write(bytes);
    hasher.finish()
}

/// The key of [`siphash`] in 16 random bytes.
#[must_use]
pub fn siphash_key(bytes: &[u8; 16]) -> [u64; 2] {
    let (low, high) = bytes.split_at(8);
    [low, high].map(|word| word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
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
