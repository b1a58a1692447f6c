//! The bytes of one slot: a version, then entries one after another, each at most 128 bytes.

use crate::ledger::{Binding, Claim, Money, Service};

const VERSION: u8 = 1;

/// One claim in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The claim's keyed hash.
    pub(super) name: [u8; 16],
    pub(super) claim: Claim,
}

/// A slot's entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, name: &[u8; 16]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == *name)
    }

    pub(super) fn find_mut(&mut self, name: &[u8; 16]) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.name == *name)
    }

    pub(super) fn remove(&mut self, name: &[u8; 16]) {
        self.entries.retain(|entry| entry.name != *name);
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Drops what has lapsed by `now`.
    pub(super) fn compact(&mut self, now: u64) {
        self.entries.retain(|entry| entry.claim.clone().at(now).is_some());
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.entries.len() * 128);
        out.push(VERSION);
        for Entry { name, claim } in &self.entries {
            out.extend_from_slice(name);
            out.extend_from_slice(&claim.binding.0);
            out.extend_from_slice(&claim.secret);
            out.extend_from_slice(&claim.generation.to_be_bytes());
            out.extend_from_slice(&claim.deadline.to_be_bytes());
            out.extend_from_slice(&claim.expires.to_be_bytes());
            out.push(money_code(claim.money));
            out.push(service_code(claim.service));
            out.push(claim.retries);
            encode_transaction(&mut out, &claim.transaction);
        }
        out
    }

    /// `None` if these are not bytes of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = match bytes.split_first() {
            None => return Some(Self::default()),
            Some((&VERSION, rest)) => rest,
            Some(_) => return None,
        };
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let name = take(&mut rest)?;
            let binding = Binding(take(&mut rest)?);
            let secret = take(&mut rest)?;
            let generation = u32::from_be_bytes(take(&mut rest)?);
            let deadline = u64::from_be_bytes(take(&mut rest)?);
            let expires = u64::from_be_bytes(take(&mut rest)?);
            let [money, service, retries] = take(&mut rest)?;
            let claim = Claim {
                money: money_from(money)?,
                service: service_from(service)?,
                binding,
                secret,
                generation,
                deadline,
                expires,
                retries,
                transaction: decode_transaction(&mut rest)?,
            };
            entries.push(Entry { name, claim });
        }
        Some(Self { entries })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// A 32-byte hash in hexadecimal takes 33 bytes, other text its length and one, at most 96.
fn encode_transaction(out: &mut Vec<u8>, transaction: &str) {
    if let Some(hash) = crate::crypto::hex::decode_fixed::<32>(transaction)
        && crate::crypto::hex::encode(&hash) == transaction
    {
        out.push(HASH);
        out.extend_from_slice(&hash);
        return;
    }
    let text = transaction.as_bytes().get(..transaction.len().min(MAX_TEXT)).unwrap_or_default();
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text);
}

const HASH: u8 = 255;
const MAX_TEXT: usize = 96;

fn decode_transaction(rest: &mut &[u8]) -> Option<String> {
    let [kind] = take(rest)?;
    if kind == HASH {
        return Some(crate::crypto::hex::encode(&take::<32>(rest)?));
    }
    let (text, tail) = rest.split_at_checked(usize::from(kind))?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

fn money_code(money: Money) -> u8 {
    match money {
        Money::None => 0,
        Money::Settling => 1,
        Money::Settled => 2,
        Money::Failed => 3,
        Money::Unknown => 4,
    }
}

fn money_from(code: u8) -> Option<Money> {
    [Money::None, Money::Settling, Money::Settled, Money::Failed, Money::Unknown].get(usize::from(code)).copied()
}

fn service_code(service: Service) -> u8 {
    match service {
        Service::Waiting => 0,
        Service::Forwarded => 1,
        Service::Delivered => 2,
        Service::Failed => 3,
    }
}

fn service_from(code: u8) -> Option<Service> {
    [Service::Waiting, Service::Forwarded, Service::Delivered, Service::Failed].get(usize::from(code)).copied()
}
