//! The bytes of a place for open questions: for each, the claim's id, a length, and what the asker keeps.

use super::ClaimId;

pub(super) fn encode(doubts: &[(ClaimId, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, bytes) in doubts {
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

/// `None` if these are not bytes of ours.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<(ClaimId, Vec<u8>)>> {
    let mut doubts = Vec::new();
    while !bytes.is_empty() {
        let (id, rest) = bytes.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (kept, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        doubts.push((ClaimId(*id), kept.to_vec()));
        bytes = rest;
    }
    Some(doubts)
}
