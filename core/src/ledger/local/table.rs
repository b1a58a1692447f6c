//! The bytes of one slot: a version, then entries one after another, each at most 128 bytes where the transaction is a 32-byte hash.

use crate::ledger::{Binding, Claim, ClaimId, Money, Pointer, Service, StoreError, Yield, Yielded};
use crate::mutant;

const VERSION: u8 = 2;

/// Entries a slot holds at most.
pub(super) const MAX_ENTRIES: usize = 32;

/// What a slot holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Claim(Claim),
    Pointer(Pointer),
}

impl Record {
    fn is_live(&self, now: u64) -> bool {
        match self {
            Self::Claim(claim) => claim.clone().at(now).is_some(),
            Self::Pointer(pointer) => now <= pointer.expires,
        }
    }
}

/// A slot's records, each under the keyed hash of its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    entries: Vec<([u8; 16], Record)>,
}

impl Table {
    pub(super) fn claim(&self, name: &[u8; 16]) -> Option<&Claim> {
        self.entries.iter().find_map(|(there, record)| match record {
            Record::Claim(claim) if there == name => Some(claim),
            _ => None,
        })
    }

    pub(super) fn claim_mut(&mut self, name: &[u8; 16]) -> Option<&mut Claim> {
        self.entries.iter_mut().find_map(|(there, record)| match record {
            Record::Claim(claim) if there == name => Some(claim),
            _ => None,
        })
    }

    pub(super) fn pointer(&self, name: &[u8; 16], now: u64) -> Option<Pointer> {
        self.entries.iter().find_map(|(there, record)| match record {
            Record::Pointer(pointer) if there == name && now <= pointer.expires => Some(*pointer),
            _ => None,
        })
    }

    /// Sets the record of this name.
    pub(super) fn put(&mut self, name: [u8; 16], record: Record) -> Result<(), StoreError> {
        self.remove(&name);
        if self.entries.len() >= MAX_ENTRIES {
            return Err(StoreError::Full);
        }
        self.entries.push((name, record));
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &[u8; 16]) {
        self.entries.retain(|(there, _)| there != name);
    }

    /// Drops what has lapsed by `now`.
    pub(super) fn compact(&mut self, now: u64) {
        self.entries.retain(|(_, record)| record.is_live(now));
        if mutant::is("forgetful") {
            self.entries.truncate(4);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.entries.len() * 128);
        out.push(VERSION);
        for (name, record) in &self.entries {
            out.extend_from_slice(name);
            match record {
                Record::Claim(claim) => encode_claim(&mut out, claim),
                Record::Pointer(pointer) => {
                    out.push(POINTER);
                    out.extend_from_slice(&pointer.target.0);
                    out.extend_from_slice(&pointer.binding.0);
                    out.extend_from_slice(&pointer.expires.to_be_bytes());
                }
            }
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
            let [kind] = take(&mut rest)?;
            let record = match kind {
                POINTER => Record::Pointer(Pointer {
                    target: ClaimId(take(&mut rest)?),
                    binding: Binding(take(&mut rest)?),
                    expires: u64::from_be_bytes(take(&mut rest)?),
                }),
                money => Record::Claim(decode_claim(money_from(money)?, &mut rest)?),
            };
            entries.push((name, record));
        }
        Some(Self { entries })
    }
}

/// Kind of a record that is no claim; a claim's kind is where its money is.
const POINTER: u8 = 16;

fn encode_claim(out: &mut Vec<u8>, claim: &Claim) {
    out.push(money_code(claim.money));
    out.push(service_code(claim.service));
    out.push(claim.retries);
    out.extend_from_slice(&claim.binding.0);
    out.extend_from_slice(&claim.secret);
    out.extend_from_slice(&claim.generation.to_be_bytes());
    out.extend_from_slice(&claim.deadline.to_be_bytes());
    out.extend_from_slice(&claim.expires.to_be_bytes());
    out.extend_from_slice(&claim.settled_at.to_be_bytes());
    let yielded = match claim.yielded.map(|yielded| yielded.kind) {
        None => 0,
        Some(Yielded::Pass) => 1,
        Some(Yielded::Credit) => 2,
    };
    out.push(yielded);
    out.extend_from_slice(&claim.yielded.map_or([0; 8], |yielded| yielded.terms));
    encode_transaction(out, &claim.transaction);
}

fn decode_claim(money: Money, rest: &mut &[u8]) -> Option<Claim> {
    let [service, retries] = take(rest)?;
    Some(Claim {
        money,
        service: service_from(service)?,
        retries,
        binding: Binding(take(rest)?),
        secret: take(rest)?,
        generation: u32::from_be_bytes(take(rest)?),
        deadline: u64::from_be_bytes(take(rest)?),
        expires: u64::from_be_bytes(take(rest)?),
        settled_at: u64::from_be_bytes(take(rest)?),
        yielded: decode_yield(take(rest)?, take(rest)?)?,
        transaction: decode_transaction(rest)?,
    })
}

fn decode_yield([kind]: [u8; 1], terms: [u8; 8]) -> Option<Option<Yield>> {
    let kind = match kind {
        0 => return Some(None),
        1 => Yielded::Pass,
        2 => Yielded::Credit,
        _ => return None,
    };
    Some(Some(Yield { kind, terms }))
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
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
