//! Ledgers far away, and shared data that holds what no worker of ours wrote.

use super::{Label, Target};
use crate::crypto::sha256;
use crate::ledger::local::{Ceilings, Expected, LocalStore, MemoryData, SEED_BYTES, SharedData, SharedError};
use crate::ledger::remote::{Remote, Transport, serve};
use crate::ledger::{
    Binding, ClaimId, Claimed, Conclusion, CounterId, Draw, Drawn, FamilyId, Lease, LinkId, Money, NewClaim, Notice,
    Pointer, Revocation, Service, Store, StoreError, Subject,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const NOW: u64 = 1_800_000_000;
const CEILINGS: Ceilings = Ceilings { claims: 1000, tokens: 1000 };

fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn place() -> LocalStore<MemoryData> {
    LocalStore::open(MemoryData::default(), CEILINGS, &[1; SEED_BYTES]).unwrap()
}

/// Every operation once, as a gate would. Says how it went.
fn everything(store: &impl Store) -> Label {
    let mut failed = 0;
    let mut note = |failure: bool| failed += u32::from(failure);
    let id = ClaimId(sha256(&[b"claim"]));
    let binding = Binding([3; 16]);
    let new = NewClaim {
        binding,
        secret: [4; 16],
        deadline: NOW + 30,
        expires: NOW + 300,
        checked: true,
        repeatable: true,
        proven: true,
        window: 60,
    };
    note(done(store.epoch()).is_err());
    for _ in 0..2 {
        match done(store.claim(&id, &new, NOW)) {
            Ok(Claimed::Ours(ticket) | Claimed::Again(ticket, _)) => {
                let settling = Conclusion {
                    money: Money::Settling,
                    service: Service::Forwarded,
                    deadline: NOW + 30,
                    transaction: "0xabcd".to_owned(),
                    keep: 0,
                };
                note(done(store.conclude(&ticket, &settling, NOW)).is_err());
                note(done(store.release(&ticket, NOW)).is_err());
            }
            Ok(_) => {}
            Err(_) => note(true),
        }
    }
    note(done(store.resolve(&id, Money::Settled, "0xab", NOW)).is_err());
    let index = ClaimId(sha256(&[b"index"]));
    note(done(store.point(&index, &Pointer { target: id, binding, expires: NOW + 60 }, None, NOW)).is_err());
    note(done(store.pointed(&index, NOW)).is_err());
    note(done(store.doubt(&id, b"{}")).is_err());
    note(done(store.doubts()).is_err());
    note(done(store.doubted(&id)).is_err());
    note(done(store.undoubt(&id)).is_err());
    note(done(store.unpoint(&index, &id, NOW)).is_err());
    note(done(store.lease(Lease::Reconcile, 10, NOW)).is_err());
    note(done(store.publish(Notice::Supported(1), b"notice")).is_err());
    note(done(store.published(Notice::Supported(1))).is_err());
    let family = FamilyId::of("token");
    let mut draw = Draw::new(family, NOW + 600);
    draw.budget(CounterId::of(0, "call"), 10, 1).unwrap();
    draw.rate(CounterId::of(0, "call"), 60, 5, 1).unwrap();
    draw.child(LinkId::of("child"), NOW + 60).unwrap();
    draw.budget(CounterId::of(0, "byte"), 1000, 0).unwrap();
    match done(store.reserve(draw.clone(), NOW * 1000)) {
        Ok(Drawn::Reserved(taken)) => {
            let used = [(CounterId::of(0, "byte"), 77)];
            note(done(store.commit(taken, &used, NOW * 1000)).is_err());
        }
        Ok(_) => {}
        Err(_) => note(true),
    }
    if let Ok(Drawn::Reserved(taken)) = done(store.reserve(draw, NOW * 1000)) {
        note(done(store.refund(taken, NOW * 1000)).is_err());
    }
    note(done(store.left(&family, NOW * 1000)).is_err());
    note(done(store.once(&sha256(&[b"proof"]), NOW + 30, NOW)).is_err());
    note(done(store.revoke(&Revocation::Token(Subject::of("token")), NOW + 600, NOW)).is_err());
    note(done(store.revocations()).is_err());
    note(done(store.revocation_epoch()).is_err());
    format!("ok, {failed} failed").into()
}

/// A message and its answer.
type Exchanged = (Vec<u8>, Vec<u8>);

/// A line to one place, on which every message is kept, or every answer is the same.
#[derive(Clone)]
struct Line {
    place: Rc<LocalStore<MemoryData>>,
    kept: Rc<RefCell<Vec<Exchanged>>>,
    answer: Option<Rc<Vec<u8>>>,
}

impl Transport for Line {
    fn places(&self) -> u32 {
        1
    }

    async fn send(&self, _: u32, message: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        if let Some(answer) = &self.answer {
            return Ok(answer.to_vec());
        }
        let answer = serve(&*self.place, &message).await;
        self.kept.borrow_mut().push((message, answer.clone()));
        Ok(answer)
    }
}

/// The messages of every operation, with their answers.
fn messages() -> Vec<Exchanged> {
    let line = Line { place: Rc::new(place()), kept: Rc::default(), answer: None };
    everything(&Remote::new(line.clone()));
    line.kept.take()
}

pub(super) const MESSAGE: Target = Target {
    name: "ledger-message",
    reads: "operations that come from far away",
    seeds: || messages().into_iter().map(|(message, _)| message).collect(),
    run: |input| {
        let answer = done(serve(&place(), input));
        match answer.first() {
            Some(0) => format!("ok {}", input.first().copied().unwrap_or(0)).into(),
            Some(1) => "full".into(),
            Some(2) => "ok, lost".into(),
            _ => "failed".into(),
        }
    },
};

pub(super) const ANSWER: Target = Target {
    name: "ledger-answer",
    reads: "what a ledger far away answers",
    seeds: || messages().into_iter().map(|(_, answer)| answer).collect(),
    run: |input| {
        let answer = Some(Rc::new(input.to_vec()));
        everything(&Remote::new(Line { place: Rc::new(place()), kept: Rc::default(), answer }))
    },
};

/// Shared data in which every value that was ever set reads as the same bytes.
#[derive(Clone, Default)]
struct Altered {
    data: MemoryData,
    value: Rc<RefCell<Option<Vec<u8>>>>,
    kept: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
}

impl SharedData for Altered {
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError> {
        let found = self.data.get(key)?;
        Ok(match &*self.value.borrow() {
            Some(value) => Some((value.clone(), found.map_or(1, |(_, version)| version))),
            None => found,
        })
    }

    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError> {
        self.kept.borrow_mut().insert(key.to_owned(), value.to_vec());
        match self.data.set(key, value, expected) {
            // Under what was altered nothing fits; a set that fails for ever would be tried for ever.
            Err(SharedError::Mismatch) if self.value.borrow().is_some() => Ok(()),
            other => other,
        }
    }
}

pub(super) const SHARED: Target = Target {
    name: "shared-data",
    reads: "shared data that is not as it was left",
    seeds: || {
        let altered = Altered::default();
        everything(&LocalStore::open(altered.clone(), CEILINGS, &[1; SEED_BYTES]).unwrap());
        altered.kept.take().into_values().collect()
    },
    run: |input| {
        let altered = Altered::default();
        // Opened on what is as it should be, or on what is not.
        let store = if input.len().is_multiple_of(2) {
            let store = LocalStore::open(altered.clone(), CEILINGS, &[1; SEED_BYTES]);
            altered.value.replace(Some(input.to_vec()));
            store
        } else {
            altered.value.replace(Some(input.to_vec()));
            LocalStore::open(altered, CEILINGS, &[1; SEED_BYTES])
        };
        match store {
            Ok(store) => everything(&store),
            Err(_) => "not opened".into(),
        }
    },
};
