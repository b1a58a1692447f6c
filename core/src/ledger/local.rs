//! The `local` backend: the ledger on a proxy's shared data.
//!
//! Shared data never frees a key, and one host finds keys by CRC32 alone. So there is a fixed set of slots, each a
//! compact table of full entries; the keyed hash of a claim's id chooses its slot, so nobody can aim at one. All keys
//! share prefix and length and differ only in the last four bytes, so their CRC32s differ by construction. A slot
//! full of live entries refuses new ones: nothing live is ever forgotten.

mod doubts;
mod table;

use super::{
    Claim, ClaimId, Claimed, Conclusion, Lease, MAX_DOUBT, Money, NewClaim, Notice, Pointer, Service, Store,
    StoreError, Ticket,
};
use crate::crypto::sha256;
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

/// Entries a slot holds on average when the ledger is at its ceiling. At 128 bytes an entry this keeps a slot
/// around 1 KiB, and its chance to meet [`table::MAX_ENTRIES`] by accident below one in a billion.
const MEAN_ENTRIES: u32 = 8;
/// Compare-and-swap attempts before a store operation is given up as failed.
const ATTEMPTS: usize = 256;

const EPOCH_KEY: &str = "farebox-.epo";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
    slot_mask: u32,
}

impl<S: SharedData> LocalStore<S> {
    /// Opens the store, which the first worker to come founds with `seed`.
    ///
    /// `ceiling` is the most live claims to expect; it fixes how many slots there are, so all gates on the same
    /// shared data should agree on it.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the host failed or the store was founded by something else.
    pub fn open(shared: S, ceiling: u32, seed: &[u8; SEED_BYTES]) -> Result<Self, StoreError> {
        let slots = (ceiling / MEAN_ENTRIES).clamp(64, 1 << 22).next_power_of_two();
        let mut founding = seed.to_vec();
        founding.extend_from_slice(&slots.to_be_bytes());
        let founding = match shared.set(EPOCH_KEY, &founding, Expected::Absent) {
            Ok(()) => founding,
            Err(SharedError::Mismatch) => shared.get(EPOCH_KEY).ok().flatten().ok_or(StoreError::Failed)?.0,
            Err(SharedError::Failed) => return Err(StoreError::Failed),
        };
        let (epoch, rest) = founding.split_first_chunk::<16>().ok_or(StoreError::Failed)?;
        let (slot_key, rest) = rest.split_first_chunk::<32>().ok_or(StoreError::Failed)?;
        let slots = u32::from_be_bytes(rest.try_into().map_err(|_| StoreError::Failed)?);
        if !slots.is_power_of_two() {
            return Err(StoreError::Failed);
        }
        let life = Life { epoch: *epoch, slot_key: *slot_key, slot_mask: slots - 1 };
        Ok(Self { shared, life: Rc::new(life) })
    }

    /// The random name of this life of the store.
    #[must_use]
    pub fn epoch(&self) -> [u8; 16] {
        self.life.epoch
    }

    /// Where a claim lives: the key of its slot and its name in there.
    fn place(&self, id: &ClaimId) -> (String, [u8; 16]) {
        let hash = sha256(&[&self.life.slot_key, &id.0]);
        let mut slot = [0; 4];
        let mut name = [0; 16];
        for (to, from) in slot.iter_mut().chain(name.iter_mut()).zip(hash) {
            *to = from;
        }
        (key("", u32::from_be_bytes(slot) & self.life.slot_mask), name)
    }

    /// Reads the table at `key`, lets `change` alter it, and writes it back, until no other worker came between.
    fn change<T>(
        &self,
        key: &str,
        now: u64,
        mut change: impl FnMut(&mut Table) -> Result<(T, Write), StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..ATTEMPTS {
            let (mut table, expected) = match self.shared.get(key).map_err(|_| StoreError::Failed)? {
                None => (Table::default(), Expected::Absent),
                Some((bytes, version)) => {
                    (Table::decode(&bytes).ok_or(StoreError::Failed)?, Expected::Version(version))
                }
            };
            let (result, write) = change(&mut table)?;
            if matches!(write, Write::No) {
                return Ok(result);
            }
            table.compact(now);
            match self.shared.set(key, &table.encode(), expected) {
                Ok(()) => return Ok(result),
                Err(SharedError::Mismatch) => {}
                Err(SharedError::Failed) => return Err(StoreError::Failed),
            }
        }
        Err(StoreError::Failed)
    }

    fn change_doubts(
        &self,
        place: u32,
        mut change: impl FnMut(&mut Vec<(ClaimId, Vec<u8>)>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let key = key("!", place);
        for _ in 0..ATTEMPTS {
            let (mut open, expected) = match self.shared.get(&key).map_err(|_| StoreError::Failed)? {
                None => (Vec::new(), Expected::Absent),
                Some((bytes, version)) => {
                    (doubts::decode(&bytes).ok_or(StoreError::Failed)?, Expected::Version(version))
                }
            };
            change(&mut open)?;
            match self.shared.set(&key, &doubts::encode(&open), expected) {
                Ok(()) => return Ok(()),
                Err(SharedError::Mismatch) => {}
                Err(SharedError::Failed) => return Err(StoreError::Failed),
            }
        }
        Err(StoreError::Failed)
    }
}

/// Seconds that a claim whose outcome was found out late is kept at least.
const RESOLVED_KEPT: u64 = 3600;
/// Keys that hold open questions.
const DOUBT_PLACES: u32 = 64;
/// Open questions in each of them.
const DOUBTS_EACH: usize = 8;

fn doubt_place(id: &ClaimId) -> u32 {
    u32::from(id.0.first().copied().unwrap_or(0)) % DOUBT_PLACES
}

/// The generation of a claim that changes hands. It never comes twice for one id, also not after its record was
/// dropped: a record lives for seconds at least, and the clock is in it.
fn next_generation(known: Option<&Claim>, now: u64) -> u32 {
    let clock = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(0);
    known.map_or(clock, |claim| claim.generation.wrapping_add(1).max(clock))
}

/// Whether a change has anything to write.
enum Write {
    Yes,
    No,
}

impl<S: SharedData> Store for LocalStore<S> {
    async fn claim(&self, id: &ClaimId, new: &NewClaim, now: u64) -> Result<Claimed, StoreError> {
        let (key, name) = self.place(id);
        self.change(&key, now, |table| {
            let known = table.claim(&name).cloned();
            if let Some(claim) = known.clone().and_then(|claim| claim.at(now)) {
                if !claim.owes(new, now) {
                    return Ok((Claimed::Known(claim), Write::No));
                }
                let claim = Claim {
                    service: Service::Forwarded,
                    generation: next_generation(Some(&claim), now),
                    deadline: new.deadline,
                    retries: claim.retries.saturating_add(1),
                    ..claim
                };
                let ticket = Ticket { id: *id, generation: claim.generation };
                table.put(name, Record::Claim(claim.clone()))?;
                return Ok((Claimed::Again(ticket, claim), Write::Yes));
            }
            if !new.checked {
                return Ok((Claimed::Unseen, Write::No));
            }
            table.compact(now);
            let claim = Claim {
                money: Money::None,
                service: Service::Waiting,
                binding: new.binding,
                secret: new.secret,
                generation: next_generation(known.as_ref(), now),
                deadline: new.deadline,
                expires: new.expires,
                retries: 0,
                transaction: String::new(),
            };
            let ticket = Ticket { id: *id, generation: claim.generation };
            table.put(name, Record::Claim(claim))?;
            Ok((Claimed::Ours(ticket), Write::Yes))
        })
    }

    async fn conclude(&self, ticket: &Ticket, to: &Conclusion, now: u64) -> Result<(), StoreError> {
        let (key, name) = self.place(&ticket.id);
        self.change(&key, now, |table| {
            let claim = table.claim_mut(&name).ok_or(StoreError::Lost)?;
            if claim.generation != ticket.generation || !claim.may_become(to) {
                return Err(StoreError::Lost);
            }
            claim.money = to.money;
            claim.service = to.service;
            claim.deadline = to.deadline;
            if !to.transaction.is_empty() {
                claim.transaction.clone_from(&to.transaction);
            }
            Ok(((), Write::Yes))
        })
    }

    async fn release(&self, ticket: &Ticket, now: u64) -> Result<(), StoreError> {
        let (key, name) = self.place(&ticket.id);
        self.change(&key, now, |table| {
            let claim = table.claim(&name).ok_or(StoreError::Lost)?;
            if claim.generation != ticket.generation || claim.money != Money::None {
                return Err(StoreError::Lost);
            }
            table.remove(&name);
            Ok(((), Write::Yes))
        })
    }

    async fn resolve(&self, id: &ClaimId, money: Money, transaction: &str, now: u64) -> Result<(), StoreError> {
        let (key, name) = self.place(id);
        self.change(&key, now, |table| {
            let claim = table.claim_mut(&name).ok_or(StoreError::Lost)?;
            let unknown = claim.clone().at(now).is_some_and(|claim| claim.money == Money::Unknown);
            if !unknown || !matches!(money, Money::Settled | Money::Failed) {
                return Err(StoreError::Lost);
            }
            claim.money = money;
            claim.generation = next_generation(Some(claim), now);
            claim.deadline = now.saturating_sub(1);
            transaction.clone_into(&mut claim.transaction);
            // Whoever paid has an hour from now to come back for it.
            claim.expires = claim.expires.max(now.saturating_add(RESOLVED_KEPT));
            Ok(((), Write::Yes))
        })
    }

    async fn point(
        &self,
        index: &ClaimId,
        to: &Pointer,
        instead_of: Option<&ClaimId>,
        now: u64,
    ) -> Result<Option<Pointer>, StoreError> {
        let (key, name) = self.place(index);
        self.change(&key, now, |table| {
            if let Some(there) = table.pointer(&name, now)
                && there.target != to.target
                && Some(&there.target) != instead_of
            {
                return Ok((Some(there), Write::No));
            }
            table.compact(now);
            table.put(name, Record::Pointer(*to))?;
            Ok((None, Write::Yes))
        })
    }

    async fn pointed(&self, index: &ClaimId, now: u64) -> Result<Option<Pointer>, StoreError> {
        let (key, name) = self.place(index);
        self.change(&key, now, |table| Ok((table.pointer(&name, now), Write::No)))
    }

    async fn unpoint(&self, index: &ClaimId, target: &ClaimId, now: u64) -> Result<(), StoreError> {
        let (key, name) = self.place(index);
        self.change(&key, now, |table| {
            if table.pointer(&name, now).is_none_or(|there| there.target != *target) {
                return Ok(((), Write::No));
            }
            table.remove(&name);
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
            if let Some((bytes, _)) = self.shared.get(&key("!", place)).map_err(|_| StoreError::Failed)? {
                all.extend(doubts::decode(&bytes).ok_or(StoreError::Failed)?);
            }
        }
        Ok(all)
    }

    async fn doubted(&self, id: &ClaimId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((bytes, _)) = self.shared.get(&key("!", doubt_place(id))).map_err(|_| StoreError::Failed)? else {
            return Ok(None);
        };
        let open = doubts::decode(&bytes).ok_or(StoreError::Failed)?;
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

    async fn publish(&self, notice: Notice, bytes: &[u8]) -> Result<(), StoreError> {
        let Notice::Supported(facilitator) = notice;
        let key = key("~", facilitator);
        for _ in 0..ATTEMPTS {
            let expected = match self.shared.get(&key).map_err(|_| StoreError::Failed)? {
                None => Expected::Absent,
                Some((_, version)) => Expected::Version(version),
            };
            match self.shared.set(&key, &notice_bytes(facilitator, bytes), expected) {
                Ok(()) => return Ok(()),
                Err(SharedError::Mismatch) => {}
                Err(SharedError::Failed) => return Err(StoreError::Failed),
            }
        }
        Err(StoreError::Failed)
    }

    async fn published(&self, notice: Notice) -> Result<Option<Vec<u8>>, StoreError> {
        let Notice::Supported(facilitator) = notice;
        let Some((bytes, _)) = self.shared.get(&key("~", facilitator)).map_err(|_| StoreError::Failed)? else {
            return Ok(None);
        };
        Ok(bytes.strip_prefix(&facilitator.to_be_bytes()).map(<[u8]>::to_vec))
    }
}

/// Four characters of key leave 18 bits for a notice's subject, so the value says in full whom it is about.
fn notice_bytes(subject: u32, bytes: &[u8]) -> Vec<u8> {
    let mut value = subject.to_be_bytes().to_vec();
    value.extend_from_slice(bytes);
    value
}

/// A key of the common shape: the prefix, `kind`, and as many characters of `number` as make four with it.
fn key(kind: &str, number: u32) -> String {
    let mut key = format!("farebox-{kind}");
    for place in (0..4 - kind.len().min(4)).rev() {
        let digit = (number >> (6 * place)) & 63;
        key.push(ALPHABET.get(digit as usize).copied().unwrap_or(b'A') as char);
    }
    key
}

#[cfg(test)]
mod tests;
