//! The bytes of a slot for token families: a version, the latest expiry that was dropped, and families one after
//! another, each under the keyed hash of its id and with its length before it. A draw decodes its own family alone.

use super::table::take;
use crate::ledger::StoreError;
use crate::ledger::draw::{Child, CounterId, LinkId};
use crate::ledger::family::{Family, Kept};
use std::ops::Range;

const VERSION: u8 = 1;
/// Version and the latest expiry that was dropped.
const HEAD: usize = 9;
/// Name and length.
const ENTRY_HEAD: usize = 18;
/// Families a slot holds at most.
pub(super) const MAX_FAMILIES: usize = 32;
/// Bytes a slot has at most.
const MAX_BYTES: usize = 48 << 10;

/// A slot as it was read.
pub(super) struct Slot<'a> {
    bytes: &'a mut Vec<u8>,
}

/// Where a family lies in its slot.
struct Entry {
    name: [u8; 16],
    body: Range<usize>,
}

impl<'a> Slot<'a> {
    /// `None` if these are not bytes of ours.
    pub(super) fn read(bytes: &'a mut Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            bytes.push(VERSION);
            bytes.extend_from_slice(&[0; HEAD - 1]);
        }
        (bytes.len() >= HEAD && bytes.first() == Some(&VERSION)).then_some(Self { bytes })
    }

    /// The family of this name, if it is there: expired ones may be.
    ///
    /// # Errors
    /// If these are not bytes of ours.
    pub(super) fn family(&self, name: &[u8; 16]) -> Result<Option<Family>, StoreError> {
        let Some(entry) = self.find(name)? else { return Ok(None) };
        self.bytes.get(entry.body).and_then(decode).ok_or(StoreError::Failed).map(Some)
    }

    /// Whether a family that expires then may have been here and dropped.
    pub(super) fn may_have_dropped(&self, expires: u64) -> bool {
        expires <= self.dropped()
    }

    /// Puts a family in its place, or makes one.
    ///
    /// # Errors
    /// [`StoreError::Full`] if live families fill the slot.
    pub(super) fn put(&mut self, name: &[u8; 16], family: &Family, now: u64) -> Result<(), StoreError> {
        let body = encode(family);
        if let Some(entry) = self.find(name)?
            && let Some(place) = self.bytes.get_mut(entry.body)
            && place.len() == body.len()
        {
            place.copy_from_slice(&body);
            return Ok(());
        }
        let length = u16::try_from(body.len()).map_err(|_| StoreError::Full)?;
        let (mut kept, mut dropped) = (0, self.dropped());
        let mut next = Vec::with_capacity(self.bytes.len() + ENTRY_HEAD + body.len());
        next.extend_from_slice(&[0; HEAD]);
        for entry in self.entries() {
            let entry = entry?;
            let expires = self.bytes.get(entry.body.clone()).and_then(expires).ok_or(StoreError::Failed)?;
            if entry.name == *name {
                continue;
            }
            if now > expires {
                dropped = dropped.max(expires);
                continue;
            }
            kept += 1;
            next.extend_from_slice(self.bytes.get(entry.whole()).ok_or(StoreError::Failed)?);
        }
        next.extend_from_slice(name);
        next.extend_from_slice(&length.to_be_bytes());
        next.extend_from_slice(&body);
        if kept >= MAX_FAMILIES || next.len() > MAX_BYTES {
            return Err(StoreError::Full);
        }
        for (to, from) in next.iter_mut().zip([VERSION].into_iter().chain(dropped.to_be_bytes())) {
            *to = from;
        }
        *self.bytes = next;
        Ok(())
    }

    fn dropped(&self) -> u64 {
        let bytes = self.bytes.get(1..HEAD).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_be_bytes)
    }

    fn find(&self, name: &[u8; 16]) -> Result<Option<Entry>, StoreError> {
        for entry in self.entries() {
            let entry = entry?;
            if entry.name == *name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn entries(&self) -> impl Iterator<Item = Result<Entry, StoreError>> {
        let mut at = HEAD;
        std::iter::from_fn(move || {
            let mut rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let mut read = || {
                let name = take(&mut rest)?;
                let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
                let body = at + ENTRY_HEAD..at + ENTRY_HEAD + length;
                (rest.len() >= length).then_some(Entry { name, body })
            };
            let entry = read();
            at = entry.as_ref().map_or(self.bytes.len(), |entry| entry.body.end);
            Some(entry.ok_or(StoreError::Failed))
        })
    }
}

impl Entry {
    fn whole(&self) -> Range<usize> {
        self.body.start.saturating_sub(ENTRY_HEAD)..self.body.end
    }
}

fn expires(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

fn encode(family: &Family) -> Vec<u8> {
    let mut out = Vec::with_capacity(17 + family.children.len() * 16 + family.counters.len() * 45);
    out.extend_from_slice(&family.expires.to_be_bytes());
    out.extend_from_slice(&family.dropped.to_be_bytes());
    out.push(u8::try_from(family.children.len()).unwrap_or(u8::MAX));
    for child in &family.children {
        out.extend_from_slice(&child.id.0);
        out.extend_from_slice(&child.expires.to_be_bytes());
    }
    for kept in &family.counters {
        out.push(kept.link);
        out.extend_from_slice(&kept.id.0);
        out.extend_from_slice(&kept.period.to_be_bytes());
        out.extend_from_slice(&kept.max.to_be_bytes());
        out.extend_from_slice(&kept.state.to_be_bytes());
    }
    out
}

fn decode(mut body: &[u8]) -> Option<Family> {
    let body = &mut body;
    let mut family = Family::new(u64::from_be_bytes(take(body)?));
    family.dropped = u64::from_be_bytes(take(body)?);
    let [children] = take(body)?;
    family.children.reserve_exact(usize::from(children));
    for _ in 0..children {
        family.children.push(Child { id: LinkId(take(body)?), expires: u64::from_be_bytes(take(body)?) });
    }
    family.counters.reserve_exact(body.len() / 45 + 1);
    while !body.is_empty() {
        let [link] = take(body)?;
        let kept = Kept {
            link,
            id: CounterId(take(body)?),
            period: u32::from_be_bytes(take(body)?),
            max: u128::from_be_bytes(take(body)?),
            state: u128::from_be_bytes(take(body)?),
        };
        if link > children {
            return None;
        }
        family.counters.push(kept);
    }
    Some(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(children: u8, counters: u8) -> Family {
        let mut family = Family::new(500);
        family.dropped = 7;
        family.children = (0..children).map(|n| Child { id: LinkId([n; 8]), expires: 400 }).collect();
        let kept = |n| Kept { link: n % (children + 1), id: CounterId([n; 8]), period: 60, max: 9, state: u128::MAX };
        family.counters = (0..counters).map(kept).collect();
        family
    }

    #[test]
    fn families_survive_the_bytes_and_cut_bytes_are_nobodys() {
        let mut bytes = Vec::new();
        for (name, family) in [([1; 16], family(0, 2)), ([2; 16], family(64, 200)), ([3; 16], family(3, 0))] {
            Slot::read(&mut bytes).unwrap().put(&name, &family, 100).unwrap();
            assert_eq!(Slot::read(&mut bytes).unwrap().family(&name), Ok(Some(family)));
        }
        assert_eq!(Slot::read(&mut bytes).unwrap().family(&[4; 16]), Ok(None));
        let whole = bytes.len();
        for cut in 1..whole {
            let mut cut_off = bytes.get(..cut).unwrap().to_vec();
            let last = Slot::read(&mut cut_off).ok_or(StoreError::Failed).and_then(|slot| slot.family(&[3; 16]));
            let at_an_end = last == Ok(None);
            assert!(at_an_end || last == Err(StoreError::Failed), "{cut} {last:?}");
        }
    }

    #[test]
    fn a_slot_has_room_for_so_many_and_drops_the_expired_alone() {
        let mut bytes = Vec::new();
        let mut put = |n: usize, now: u64| {
            let mut family = family(0, 2);
            family.expires = if n == 5 { 400 } else { 500 };
            Slot::read(&mut bytes).unwrap().put(&[u8::try_from(n).unwrap(); 16], &family, now)
        };
        for n in 0..MAX_FAMILIES {
            assert_eq!(put(n, 100), Ok(()));
        }
        assert_eq!(put(MAX_FAMILIES, 100), Err(StoreError::Full));
        assert_eq!(put(MAX_FAMILIES, 400), Err(StoreError::Full));
        assert_eq!(put(MAX_FAMILIES, 401), Ok(()));
        assert_eq!(put(MAX_FAMILIES + 1, 401), Err(StoreError::Full));
        let slot = Slot::read(&mut bytes).unwrap();
        assert!(slot.family(&[5; 16]).unwrap().is_none() && slot.family(&[6; 16]).unwrap().is_some());
        assert!(slot.may_have_dropped(400) && !slot.may_have_dropped(401));
    }

    #[test]
    fn a_slot_does_not_grow_beyond_its_bytes() {
        let mut bytes = Vec::new();
        let put = |n| Slot::read(&mut bytes).unwrap().put(&[n; 16], &family(64, 255), 100);
        assert_eq!((0..32).map(put).filter(Result::is_ok).count(), 3);
        assert!(bytes.len() <= MAX_BYTES);
    }

    #[test]
    fn a_typical_token_takes_no_more_than_128_bytes() {
        let mut bytes = Vec::new();
        Slot::read(&mut bytes).unwrap().put(&[1; 16], &family(0, 2), 100).unwrap();
        assert!(bytes.len() - HEAD <= 128, "{}", bytes.len());
    }
}
