//! secp256k1: recovery of Ethereum addresses, and JWA's ES256K (RFC 8812).

use super::{keccak256, sha256};
use k256::PublicKey;
use k256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use k256::elliptic_curve::sec1::ToSec1Point;

/// The address whose key signed `digest`, from a 65-byte `r‖s‖v` signature.
///
/// Only what an EIP-3009 token accepts from a key counts: `v` 27 or 28 and `s` in the lower half of the order.
/// `None` says that no key is proven, not that the signature is worthless: contracts have rules of their own.
#[must_use]
pub fn recover(digest: &[u8; 32], signature: &[u8]) -> Option<[u8; 20]> {
    let (rs, v) = signature.split_first_chunk::<64>()?;
    let odd = match v {
        [27] => false,
        [28] => true,
        _ => return None,
    };
    let parsed = Signature::from_slice(rs).ok()?;
    if parsed.normalize_s() != parsed {
        return None;
    }
    address(&VerifyingKey::recover_from_prehash(digest, &parsed, RecoveryId::new(odd, false)).ok()?)
}

/// The Ethereum address of a key.
fn address(key: &VerifyingKey) -> Option<[u8; 20]> {
    let point = key.to_sec1_point(false);
    let (_, xy) = point.as_bytes().split_first()?;
    keccak256(&[xy]).last_chunk::<20>().copied()
}

/// A signing key for ES256K. Its bytes are wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(SigningKey);

impl Key {
    /// From the secret number, big-endian. `None` if it is zero or not below the order.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(secret).ok().map(Self)
    }

    /// The secret number. Whoever has it can sign.
    pub(crate) fn secret(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The public key, compressed (SEC 1 §2.3.3).
    #[must_use]
    pub fn public(&self) -> [u8; 33] {
        compressed(self.0.verifying_key()).unwrap_or([0; 33])
    }

    /// The Ethereum address of the key.
    #[must_use]
    pub fn address(&self) -> Option<[u8; 20]> {
        address(self.0.verifying_key())
    }

    /// The signature over a digest as Ethereum writes it: `r`, `s` in the lower half, and `v`, 27 or 28. The nonce is
    /// that of RFC 6979.
    #[must_use]
    pub fn sign_recoverable(&self, digest: &[u8; 32]) -> [u8; 65] {
        // Signing puts `s` into the lower half, and the parity is of that signature.
        let (signature, parity) = self.0.sign_prehash_recoverable(digest);
        let mut bytes = [27 + u8::from(parity.is_y_odd()); 65];
        for (to, from) in bytes.iter_mut().zip(signature.to_bytes()) {
            *to = from;
        }
        bytes
    }

    /// The signature over the SHA-256 of `message`: `r` and `s`, 32 bytes each, `s` in the lower half. The nonce is
    /// that of RFC 6979. `None` for one message in 2²⁵⁶.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature: Signature = self.0.sign_prehash(&sha256(&[message])).ok()?;
        Some(signature.normalize_s().to_bytes().into())
    }
}

/// The compressed form of the key with these coordinates, if they are a point of the curve.
#[must_use]
pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Option<[u8; 33]> {
    let mut point = [4; 65];
    point.get_mut(1..33)?.copy_from_slice(x);
    point.get_mut(33..)?.copy_from_slice(y);
    compressed(&VerifyingKey::from_sec1_bytes(&point).ok()?)
}

/// The coordinates of a compressed key.
#[must_use]
pub fn coordinates(public: &[u8; 33]) -> Option<([u8; 32], [u8; 32])> {
    let point = PublicKey::from_sec1_bytes(public).ok()?.to_sec1_point(false);
    let (x, y) = point.as_bytes().get(1..)?.split_first_chunk::<32>()?;
    Some((*x, y.try_into().ok()?))
}

fn compressed(key: &VerifyingKey) -> Option<[u8; 33]> {
    key.to_sec1_point(true).as_bytes().try_into().ok()
}

/// Whether `signature` is that of the compressed key `public` over the SHA-256 of `message`.
///
/// `s` must be in the lower half of the order, so that nobody can make a second signature from a first.
#[must_use]
pub fn verify(public: &[u8; 33], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(public), Signature::from_slice(signature)) else {
        return false;
    };
    signature.normalize_s() == signature && key.verify_prehash(&sha256(&[message]), &signature).is_ok()
}
