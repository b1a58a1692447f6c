//! The `local` backend: the ledger on a proxy's shared data.
//!
//! Shared data never frees a key, and one host finds keys by CRC32 alone. So there is a fixed set of slots, each a
//! compact table of full entries; the keyed hash of an entry's id chooses its slot, so nobody can aim at one. All keys
//! share prefix and length and differ only in the last four bytes, so their CRC32s differ by construction. A slot
//! full of live entries refuses new ones: nothing live is ever forgotten.
//!
//! Tokens and proofs have slots of their own, which also remember the latest expiry of what they dropped: where a clock
//! was ahead for a while and came back, what may have been dropped is refused, and never begun anew.

#[cfg(any(test, feature = "test-host"))]
mod data;
mod doubts;
mod families;
mod marks;
mod revoked;
mod table;

#[cfg(any(test, feature = "test-host"))]
pub use data::MemoryData;

use super::family::Family;
use super::{
    Claim, ClaimId, Claimed, Conclusion, CounterId, Draw, Drawn, FamilyId, Lease, Left, MAX_DOUBT, Money, NewClaim,
    Notice, Pointer, Reservation, Revocation, Revocations, Store, StoreError, Ticket, Yield,
};
use crate::crypto::{sha256, siphash, siphash_key};
use families::Slot;
use std::fmt;
use std::rc::Rc;
use table::{Record, Table};

/// Shared data as a proxy offers it: keys that are never freed, values replaced by compare-and-swap.
pub trait SharedData: Clone + 'static {
    /// The value of `key` and its version; `None` if it was never set.
    ///
    /// # Errors
    /// If the host failed.
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError>;

    /// Sets `key` if it is still as `expected`.
    ///
    /// # Errors
    /// [`SharedError::Mismatch`] if another worker was first.
    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError>;
}

/// What a compare-and-swap expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key was never set.
    Absent,
    /// The key has this version.
    Version(u32),
}

/// Why shared data was not read or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedError {
    /// Another worker was first.
    Mismatch,
    /// The host failed.
    Failed,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mismatch => "another worker was first",
            Self::Failed => "shared data failed",
        })
    }
}

impl std::error::Error for SharedError {}

/// Random bytes a new store needs: its epoch (16) and the key of its slot hash (32).
pub const SEED_BYTES: usize = 48;

/// Entries a slot of claims or families holds on average when the ledger is at its ceiling. At 128 bytes an entry this keeps a slot
/// around 1 KiB, and its chance to meet [`table::MAX_ENTRIES`] by accident below one in a billion.
const MEAN_ENTRIES: u32 = 8;
/// Compare-and-swap attempts before a store operation is given up as failed.
const ATTEMPTS: usize = 256;

const EPOCH_KEY: &str = "farebox-.epo";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Keys of the three kinds of slots; keys of everything else have a character of their own.
#[derive(Clone, Copy)]
enum Area {
    Claims,
    Families,
    Marks,
}

/// The most slots of a kind.
const MAX_SLOTS: u32 = 1 << 22;
/// The fewest slots of a kind.
const MIN_SLOTS: u32 = 64;
/// The fewest slots for proofs, which depend on the rate of calls rather than on the number of tokens. With
/// [`marks::MAX_MARKS`] they hold what two thousand proofs a second leave behind in a minute, and take 6 MB.
const MIN_MARK_SLOTS: u32 = 4096;

/// The most live entries to expect; a ledger with more of them refuses some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Claims.
    pub claims: u32,
    /// Token families.
    pub tokens: u32,
}

/// The ledger on shared data. Clones share.
#[derive(Clone)]
pub struct LocalStore<S> {
    shared: S,
    life: Rc<Life>,
}

/// One life of a store: from its first worker's start to the loss of the shared data.
struct Life {
    epoch: [u8; 16],
    slot_key: [u8; 32],
    family_key: [u64; 2],
    /// Key of the number that changes with every revocation.
    revocation_epoch: String,
    claim_slots: u32,
    family_slots: u32,
    mark_slots: u32,
}

impl Life {
    /// `None` if these are not bytes of ours.
    fn read(founding: &[u8]) -> Option<Self> {
        let (epoch, rest) = founding.split_first_chunk::<16>()?;
        let (slot_key, rest) = rest.split_first_chunk::<32>()?;
        let (claims, rest) = rest.split_first_chunk::<4>()?;
        let (claims, tokens) = (u32::from_be_bytes(*claims), u32::from_be_bytes(rest.try_into().ok()?));
        let slots = |ceiling: u32| (ceiling / MEAN_ENTRIES).clamp(MIN_SLOTS, MAX_SLOTS).next_power_of_two();
        Some(Self {
            epoch: *epoch,
            slot_key: *slot_key,
            family_key: siphash_key(slot_key.first_chunk()?),
            revocation_epoch: key("^", REVOCATION_PLACES),
            claim_slots: slots(claims),
            family_slots: slots(tokens),
            mark_slots: slots(tokens).max(MIN_MARK_SLOTS),
        })
    }
}

impl<S: SharedData> LocalStore<S> {
    /// Opens the store, which the first worker to come founds with `seed`, for as many entries as `ceilings` says:
    /// that fixes how many slots there are, until the shared data is lost.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the host failed or the store was founded by something else.
    pub fn open(shared: S, ceilings: Ceilings, seed: &[u8; SEED_BYTES]) -> Result<Self, StoreError> {
        let mut founding = seed.to_vec();
        founding.extend_from_slice(&ceilings.claims.to_be_bytes());
        founding.extend_from_slice(&ceilings.tokens.to_be_bytes());
        let founding = match shared.set(EPOCH_KEY, &founding, Expected::Absent) {
            Ok(()) => founding,
            Err(SharedError::Mismatch) => shared.get(EPOCH_KEY).ok().flatten().ok_or(StoreError::Failed)?.0,
            Err(SharedError::Failed) => return Err(StoreError::Failed),
        };
        let life = Life::read(&founding).ok_or(StoreError::Failed)?;
        Ok(Self { shared, life: Rc::new(life) })
    }

    /// Where an entry lives: the key of its slot and its name in there.
    fn place(&self, area: Area, id: &[u8]) -> (String, [u8; 16]) {
        let hash = sha256(&[&self.life.slot_key, id]);
        let mut slot = [0; 4];
        let mut name = [0; 16];
        for (to, from) in slot.iter_mut().chain(name.iter_mut()).zip(hash) {
            *to = from;
        }
        (self.slot(area, u32::from_be_bytes(slot)), name)
    }

    /// Where a family lives, as [`place`](Self::place) says for others. Its id is a hash already, and comes with every
    /// call.
    fn family_place(&self, id: &FamilyId) -> (String, [u8; 16]) {
        let [a, b, c, d, ..] = siphash(self.life.family_key, &id.0).to_be_bytes();
        (self.slot(Area::Families, u32::from_be_bytes([a, b, c, d])), id.0)
    }

    /// The key of a slot of this area, chosen by `hash`.
    fn slot(&self, area: Area, hash: u32) -> String {
        let (first, slots) = match area {
            Area::Claims => (0, self.life.claim_slots),
            Area::Families => (MAX_SLOTS, self.life.family_slots),
            Area::Marks => (2 * MAX_SLOTS, self.life.mark_slots),
        };
        key("", first + (hash & (slots - 1)))
    }

    /// Reads the bytes at `key`, none where there is no such key, lets `change` alter them, and writes them back, until
    /// no other worker came between.
    fn swap<T>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut Vec<u8>) -> Result<(T, Write), StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..ATTEMPTS {
            let (mut bytes, expected) = match self.shared.get(key).map_err(|_| StoreError::Failed)? {
                None => (Vec::new(), Expected::Absent),
                Some((bytes, version)) => (bytes, Expected::Version(version)),
            };
            let (result, write) = change(&mut bytes)?;
            if matches!(write, Write::No) {
                return Ok(result);
            }
            match self.shared.set(key, &bytes, expected) {
                Ok(()) => return Ok(result),
                Err(SharedError::Mismatch) => {}
                Err(SharedError::Failed) => return Err(StoreError::Failed),
            }
        }
        Err(StoreError::Failed)
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let found = self.shared.get(key).map_err(|_| StoreError::Failed)?;
        Ok(found.map(|(bytes, _)| bytes).unwrap_or_default())
    }

    /// Alters the table of claims and pointers in which `id` has its place.
    fn change<T>(
        &self,
        id: &ClaimId,
        now: u64,
        mut change: impl FnMut(&mut Table, &[u8; 16]) -> Result<(T, Write), StoreError>,
    ) -> Result<T, StoreError> {
        let (key, name) = self.place(Area::Claims, &id.0);
        self.swap(&key, |bytes| {
            let mut table = Table::decode(bytes).ok_or(StoreError::Failed)?;
            let (result, write) = change(&mut table, &name)?;
            if matches!(write, Write::Yes) {
                table.compact(now);
                *bytes = table.encode();
            }
            Ok((result, write))
        })
    }

    fn change_doubts(
        &self,
        place: u32,
        mut change: impl FnMut(&mut Vec<(ClaimId, Vec<u8>)>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.swap(&key("!", place), |bytes| {
            let mut open = doubts::decode(bytes).ok_or(StoreError::Failed)?;
            change(&mut open)?;
            *bytes = doubts::encode(&open);
            Ok(((), Write::Yes))
        })
    }

    /// Alters a family that is on record; `None` if it has expired.
    fn change_family<T>(
        &self,
        id: &FamilyId,
        now_millis: u64,
        mut change: impl FnMut(&mut Family) -> T,
    ) -> Result<Option<T>, StoreError> {
        let (key, name) = self.family_place(id);
        self.swap(&key, |bytes| {
            let mut slot = Slot::read(bytes).ok_or(StoreError::Failed)?;
            let now = now_millis / 1000;
            let Some(mut family) = slot.family(&name)?.filter(|family| now <= family.expires) else {
                return Ok((None, Write::No));
            };
            let result = change(&mut family);
            slot.put(&name, &family, now)?;
            Ok((Some(result), Write::Yes))
        })
    }
}

/// Keys that hold open questions.
const DOUBT_PLACES: u32 = 64;
/// Open questions in each of them.
const DOUBTS_EACH: usize = 8;

fn doubt_place(id: &ClaimId) -> u32 {
    u32::from(id.0.first().copied().unwrap_or(0)) % DOUBT_PLACES
}

/// Keys that hold revocations.
const REVOCATION_PLACES: u32 = 16;

/// Whether a change has anything to write.
enum Write {
    Yes,
    No,
}

impl<S: SharedData> Store for LocalStore<S> {
    async fn epoch(&self) -> Result<[u8; 16], StoreError> {
        Ok(self.life.epoch)
    }

    async fn claim(&self, id: &ClaimId, new: &NewClaim, now: u64) -> Result<Claimed, StoreError> {
        self.change(id, now, |table, name| {
            let (claimed, kept) = Claim::take(table.claim(name).cloned(), id, new, now);
            let Some(kept) = kept else { return Ok((claimed, Write::No)) };
            table.compact(now);
            table.put(*name, Record::Claim(kept))?;
            Ok((claimed, Write::Yes))
        })
    }

    async fn conclude(&self, ticket: &Ticket, to: &Conclusion, now: u64) -> Result<(), StoreError> {
        self.change(&ticket.id, now, |table, name| {
            table.claim_mut(name).ok_or(StoreError::Lost)?.conclude(ticket, to, now)?;
            Ok(((), Write::Yes))
        })
    }

    async fn release(&self, ticket: &Ticket, now: u64) -> Result<(), StoreError> {
        self.change(&ticket.id, now, |table, name| {
            if !table.claim(name).ok_or(StoreError::Lost)?.may_go(ticket) {
                return Err(StoreError::Lost);
            }
            table.remove(name);
            Ok(((), Write::Yes))
        })
    }

    async fn resolve(&self, id: &ClaimId, money: Money, transaction: &str, now: u64) -> Result<(), StoreError> {
        self.change(id, now, |table, name| {
            table.claim_mut(name).ok_or(StoreError::Lost)?.resolve(money, transaction, now)?;
            Ok(((), Write::Yes))
        })
    }

    async fn yield_once(&self, ticket: &Ticket, what: &Yield, now: u64) -> Result<Yield, StoreError> {
        self.change(&ticket.id, now, |table, name| {
            let yielded = table.claim_mut(name).ok_or(StoreError::Lost)?.yield_once(ticket, what, now)?;
            Ok((yielded, Write::Yes))
        })
    }

    async fn point(
        &self,
        index: &ClaimId,
        to: &Pointer,
        instead_of: Option<&ClaimId>,
        now: u64,
    ) -> Result<Option<Pointer>, StoreError> {
        self.change(index, now, |table, name| {
            if let Some(there) = table.pointer(name, now)
                && there.target != to.target
                && Some(&there.target) != instead_of
            {
                return Ok((Some(there), Write::No));
            }
            table.compact(now);
            table.put(*name, Record::Pointer(*to))?;
            Ok((None, Write::Yes))
        })
    }

    async fn pointed(&self, index: &ClaimId, now: u64) -> Result<Option<Pointer>, StoreError> {
        self.change(index, now, |table, name| Ok((table.pointer(name, now), Write::No)))
    }

    async fn unpoint(&self, index: &ClaimId, target: &ClaimId, now: u64) -> Result<(), StoreError> {
        self.change(index, now, |table, name| {
            if table.pointer(name, now).is_none_or(|there| there.target != *target) {
                return Ok(((), Write::No));
            }
            table.remove(name);
            Ok(((), Write::Yes))
        })
    }

    async fn doubt(&self, id: &ClaimId, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.len() > MAX_DOUBT {
            return Err(StoreError::Full);
        }
        self.change_doubts(doubt_place(id), |doubts| {
            doubts.retain(|(there, _)| there != id);
            if doubts.len() >= DOUBTS_EACH {
                return Err(StoreError::Full);
            }
            doubts.push((*id, bytes.to_vec()));
            Ok(())
        })
    }

    async fn doubts(&self) -> Result<Vec<(ClaimId, Vec<u8>)>, StoreError> {
        let mut all = Vec::new();
        for place in 0..DOUBT_PLACES {
            all.extend(doubts::decode(&self.read(&key("!", place))?).ok_or(StoreError::Failed)?);
        }
        Ok(all)
    }

    async fn doubted(&self, id: &ClaimId) -> Result<Option<Vec<u8>>, StoreError> {
        let open = doubts::decode(&self.read(&key("!", doubt_place(id)))?).ok_or(StoreError::Failed)?;
        Ok(open.into_iter().find_map(|(there, bytes)| (there == *id).then_some(bytes)))
    }

    async fn undoubt(&self, id: &ClaimId) -> Result<(), StoreError> {
        self.change_doubts(doubt_place(id), |doubts| {
            doubts.retain(|(there, _)| there != id);
            Ok(())
        })
    }

    async fn lease(&self, name: Lease, seconds: u64, now: u64) -> Result<bool, StoreError> {
        let key = match name {
            Lease::Supported(facilitator) => key(",", facilitator),
            Lease::Reconcile => key("*", 0),
        };
        let until = now.saturating_add(seconds).to_be_bytes();
        let expected = match self.shared.get(&key).map_err(|_| StoreError::Failed)? {
            None => Expected::Absent,
            Some((bytes, version)) => {
                let held = bytes.try_into().map(u64::from_be_bytes).unwrap_or(0);
                if held > now {
                    return Ok(false);
                }
                Expected::Version(version)
            }
        };
        match self.shared.set(&key, &until, expected) {
            Ok(()) => Ok(true),
            Err(SharedError::Mismatch) => Ok(false),
            Err(SharedError::Failed) => Err(StoreError::Failed),
        }
    }

    async fn reserve(&self, draw: Draw, now_millis: u64) -> Result<Drawn, StoreError> {
        let (key, name) = self.family_place(&draw.family);
        let drawn = self.swap(&key, |bytes| {
            let mut slot = Slot::read(bytes).ok_or(StoreError::Failed)?;
            let mut family = match slot.family(&name)? {
                Some(family) => family,
                None if slot.may_have_dropped(draw.expires) => return Ok((Err(Drawn::Expired), Write::No)),
                None => Family::new(draw.expires),
            };
            let outcome = family.draw(&draw, now_millis);
            if !outcome.changed {
                return Ok((outcome.result, Write::No));
            }
            slot.put(&name, &family, now_millis / 1000)?;
            Ok((outcome.result, Write::Yes))
        })?;
        Ok(match drawn {
            Ok(left) => Drawn::Reserved(Reservation { draw, left }),
            Err(refusal) => refusal,
        })
    }

    async fn commit(
        &self,
        reservation: Reservation,
        used: &[(CounterId, u128)],
        now_millis: u64,
    ) -> Result<Left, StoreError> {
        if !reservation.differs(used) {
            return Ok(reservation.left);
        }
        let settle = |family: &mut Family| family.settle(&reservation, used, now_millis);
        let left = self.change_family(&reservation.draw.family, now_millis, settle)?;
        Ok(left.unwrap_or(reservation.left))
    }

    async fn refund(&self, reservation: Reservation, now_millis: u64) -> Result<(), StoreError> {
        let refund = |family: &mut Family| family.refund(&reservation);
        self.change_family(&reservation.draw.family, now_millis, refund)?;
        Ok(())
    }

    async fn left(&self, family: &FamilyId, now_millis: u64) -> Result<Option<Left>, StoreError> {
        let (key, name) = self.family_place(family);
        let mut bytes = self.read(&key)?;
        let family = Slot::read(&mut bytes).ok_or(StoreError::Failed)?.family(&name)?;
        Ok(family.filter(|family| now_millis / 1000 <= family.expires).map(|family| family.all_left(now_millis)))
    }

    async fn once(&self, id: &[u8; 32], until: u64, now: u64) -> Result<bool, StoreError> {
        let (key, name) = self.place(Area::Marks, id);
        self.swap(&key, |bytes| {
            let first = marks::set(bytes, &name, until, now)?;
            Ok((first, if first { Write::Yes } else { Write::No }))
        })
    }

    async fn revoke(&self, what: &Revocation, until: u64, now: u64) -> Result<(), StoreError> {
        let place = what.subject().0.first().map_or(0, |byte| u32::from(*byte) % REVOCATION_PLACES);
        self.swap(&key("^", place), |bytes| {
            let added = revoked::add(bytes, what, until, now)?;
            Ok(((), if added { Write::Yes } else { Write::No }))
        })?;
        // Also where nothing was added: whoever added it may have died before this.
        self.swap(&self.life.revocation_epoch, |bytes| {
            let epoch = revocation_epoch(bytes)?.wrapping_add(1);
            *bytes = epoch.to_be_bytes().to_vec();
            Ok(((), Write::Yes))
        })
    }

    async fn revocations(&self) -> Result<Revocations, StoreError> {
        // Read first: what is revoked meanwhile leads to another epoch, and so to another look.
        let epoch = self.revocation_epoch().await?;
        let mut list = Vec::new();
        for place in 0..REVOCATION_PLACES {
            list.extend(revoked::list(&self.read(&key("^", place))?).ok_or(StoreError::Failed)?);
        }
        Ok(Revocations { epoch, list })
    }

    async fn revocation_epoch(&self) -> Result<u64, StoreError> {
        revocation_epoch(&self.read(&self.life.revocation_epoch)?)
    }

    async fn publish(&self, notice: Notice, bytes: &[u8]) -> Result<(), StoreError> {
        let Notice::Supported(facilitator) = notice;
        self.swap(&key("~", facilitator), |there| {
            *there = notice_bytes(facilitator, bytes);
            Ok(((), Write::Yes))
        })
    }

    async fn published(&self, notice: Notice) -> Result<Option<Vec<u8>>, StoreError> {
        let Notice::Supported(facilitator) = notice;
        let bytes = self.read(&key("~", facilitator))?;
        Ok(bytes.strip_prefix(&facilitator.to_be_bytes()).map(<[u8]>::to_vec))
    }
}

fn revocation_epoch(bytes: &[u8]) -> Result<u64, StoreError> {
    if bytes.is_empty() {
        return Ok(0);
    }
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Failed)
}

/// Four characters of key leave 18 bits for a notice's subject, so the value says in full whom it is about.
fn notice_bytes(subject: u32, bytes: &[u8]) -> Vec<u8> {
    let mut value = subject.to_be_bytes().to_vec();
    value.extend_from_slice(bytes);
    value
}

/// A key of the common shape: the prefix, `kind`, and as many characters of `number` as make four with it.
fn key(kind: &str, number: u32) -> String {
    let mut key = String::with_capacity(12);
    key.push_str("farebox-");
    key.push_str(kind);
    for place in (0..4 - kind.len().min(4)).rev() {
        let digit = (number >> (6 * place)) & 63;
        key.push(ALPHABET.get(digit as usize).copied().unwrap_or(b'A') as char);
    }
    key
}

#[cfg(test)]
mod tests;
