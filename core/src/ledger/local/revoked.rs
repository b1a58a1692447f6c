//! The bytes of a place for revocations: for each what it names, before when, and until when it is kept.

use super::table::take;
use crate::ledger::StoreError;
use crate::ledger::revocation::{Named, Revocation, Subject};

/// Revocations a place holds at most.
const MAX_EACH: usize = 512;

/// A revocation as it is kept.
struct Row {
    named: Named,
    before: u64,
    until: u64,
}

/// Adds a revocation; `false` if it was there.
///
/// What has lapsed is dropped only where room is needed: a clock that is ahead for a while revives nothing then.
///
/// # Errors
/// [`StoreError::Full`] if live revocations fill the place; [`StoreError::Failed`] if these are not bytes of ours.
pub(super) fn add(bytes: &mut Vec<u8>, what: &Revocation, until: u64, now: u64) -> Result<bool, StoreError> {
    let mut rows = decode(bytes).ok_or(StoreError::Failed)?;
    let (named, before) = what.parts();
    if let Some(row) = rows.iter_mut().find(|row| row.named == named) {
        if row.before >= before && row.until >= until {
            return Ok(false);
        }
        row.before = row.before.max(before);
        row.until = row.until.max(until);
    } else {
        if rows.len() >= MAX_EACH {
            rows.retain(|row| now <= row.until);
        }
        if rows.len() >= MAX_EACH {
            return Err(StoreError::Full);
        }
        rows.push(Row { named, before, until });
    }
    *bytes = encode(&rows);
    Ok(true)
}

/// The revocations in these bytes; `None` if they are not ours.
pub(super) fn list(bytes: &[u8]) -> Option<impl Iterator<Item = Revocation>> {
    Some(decode(bytes)?.into_iter().map(|row| Revocation::from_parts(row.named, row.before)))
}

fn encode(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 33);
    for row in rows {
        let (kind, subject) = match row.named {
            Named::Everybody => (0, [0; 16]),
            Named::Token(Subject(subject)) => (1, subject),
            Named::Holder(Subject(subject)) => (2, subject),
            Named::Payer(Subject(subject)) => (3, subject),
        };
        out.push(kind);
        out.extend_from_slice(&subject);
        out.extend_from_slice(&row.before.to_be_bytes());
        out.extend_from_slice(&row.until.to_be_bytes());
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Row>> {
    let rest = &mut bytes;
    let mut rows = Vec::with_capacity(rest.len() / 33);
    while !rest.is_empty() {
        let [kind] = take(rest)?;
        let subject = Subject(take(rest)?);
        let named = match kind {
            0 => Named::Everybody,
            1 => Named::Token(subject),
            2 => Named::Holder(subject),
            3 => Named::Payer(subject),
            _ => return None,
        };
        rows.push(Row { named, before: u64::from_be_bytes(take(rest)?), until: u64::from_be_bytes(take(rest)?) });
    }
    Some(rows)
}
