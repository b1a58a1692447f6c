//! The bytes of a slot for what must not be shown twice: a version, the latest expiry that was dropped, and for each
//! mark the keyed hash of its id and the moment until which it counts.

use crate::ledger::StoreError;

const VERSION: u8 = 1;
const HEAD: usize = 9;
const MARK: usize = 24;
/// Marks a slot holds at most.
pub(super) const MAX_MARKS: usize = 64;

/// Sets the mark `name`; `false` if it is there, or may have been.
///
/// # Errors
/// [`StoreError::Full`] if live marks fill the slot; [`StoreError::Failed`] if these are not bytes of ours.
pub(super) fn set(bytes: &mut Vec<u8>, name: &[u8; 16], until: u64, now: u64) -> Result<bool, StoreError> {
    if bytes.is_empty() {
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; HEAD - 1]);
    }
    let (head, marks) = bytes.split_first_chunk::<HEAD>().ok_or(StoreError::Failed)?;
    let [version, dropped @ ..] = *head;
    let mut dropped = u64::from_be_bytes(dropped);
    let (marks, []) = marks.as_chunks::<MARK>() else { return Err(StoreError::Failed) };
    if version != VERSION {
        return Err(StoreError::Failed);
    }
    if now > until || until <= dropped || marks.iter().any(|mark| mark.starts_with(name)) {
        return Ok(false);
    }
    let mut next = Vec::with_capacity(bytes.len() + MARK);
    next.extend_from_slice(head);
    for mark in marks {
        let ends = mark.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        if now <= ends {
            next.extend_from_slice(mark);
        } else {
            dropped = dropped.max(ends);
        }
    }
    if next.len() >= HEAD + MAX_MARKS * MARK {
        return Err(StoreError::Full);
    }
    next.extend_from_slice(name);
    next.extend_from_slice(&until.to_be_bytes());
    for (to, from) in next.iter_mut().skip(1).zip(dropped.to_be_bytes()) {
        *to = from;
    }
    *bytes = next;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_set_once_and_dropped_no_sooner_than_it_ends() {
        let mut bytes = Vec::new();
        assert_eq!(set(&mut bytes, &[1; 16], 100, 50), Ok(true));
        assert_eq!(set(&mut bytes, &[1; 16], 100, 50), Ok(false));
        assert_eq!(set(&mut bytes, &[2; 16], 200, 100), Ok(true));
        assert_eq!(bytes.len(), HEAD + 2 * MARK);
        assert_eq!(set(&mut bytes, &[3; 16], 200, 101), Ok(true));
        assert_eq!(bytes.len(), HEAD + 2 * MARK);
        // The clock was ahead: the first mark is gone, and is not set again all the same.
        assert_eq!(set(&mut bytes, &[1; 16], 100, 50), Ok(false));
        assert_eq!(set(&mut bytes, &[4; 16], 101, 50), Ok(true));
    }

    #[test]
    fn foreign_bytes_are_an_error() {
        for mut bytes in [vec![1], vec![2; 9], vec![1; 10], vec![1; 32]] {
            assert_eq!(set(&mut bytes, &[1; 16], u64::MAX, 50), Err(StoreError::Failed), "{bytes:?}");
        }
    }
}
