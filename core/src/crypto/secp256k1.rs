//! Recovery of Ethereum addresses from signatures.

use super::keccak256;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

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
    let key = VerifyingKey::recover_from_prehash(digest, &parsed, RecoveryId::new(odd, false)).ok()?;
    let point = key.to_sec1_point(false);
    let (_, xy) = point.as_bytes().split_first()?;
    let (_, address) = keccak256(&[xy]).split_last_chunk::<20>().map(|(head, tail)| (head.len(), *tail))?;
    Some(address)
}
