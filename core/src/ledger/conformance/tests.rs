//! The suite, run against the backends there are, and the backends against one another.

use super::*;
use crate::ledger::local::{LocalStore, MemoryData, SEED_BYTES};
use crate::ledger::memory::MemoryStore;
use crate::ledger::remote::{Remote, Transport, serve};
use crate::ledger::{LinkId, StoreError};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU8, Ordering};

static LEDGERS: AtomicU8 = AtomicU8::new(1);

/// A seed that no other ledger of this process has, for 200 of them.
fn seed() -> [u8; SEED_BYTES] {
    [LEDGERS.fetch_add(1, Ordering::Relaxed); SEED_BYTES]
}

/// Plain maps.
struct Memory;

impl Backend for Memory {
    type Store = MemoryStore;
    type Ledger = MemoryStore;

    fn found(&self, ceilings: Ceilings) -> MemoryStore {
        MemoryStore::new([seed()[0]; 16], ceilings)
    }

    fn worker(&self, ledger: &MemoryStore) -> MemoryStore {
        ledger.clone()
    }
}

/// A proxy's shared data.
struct Local;

impl Backend for Local {
    type Store = LocalStore<MemoryData>;
    type Ledger = (MemoryData, Ceilings);

    fn found(&self, ceilings: Ceilings) -> Self::Ledger {
        let data = MemoryData::default();
        LocalStore::open(data.clone(), ceilings, &seed()).unwrap();
        (data, ceilings)
    }

    fn worker(&self, (data, ceilings): &Self::Ledger) -> Self::Store {
        LocalStore::open(data.clone(), *ceilings, &seed()).unwrap()
    }
}

/// Three places, each with a store, and the messages between.
struct Far;

#[derive(Clone)]
struct Line(Vec<MemoryStore>);

impl Transport for Line {
    fn places(&self) -> u32 {
        self.0.len() as u32
    }

    async fn send(&self, place: u32, message: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        Ok(serve(&self.0[place as usize], &message).await)
    }
}

impl Backend for Far {
    type Store = Remote<Line>;
    type Ledger = Line;

    fn found(&self, ceilings: Ceilings) -> Line {
        // Entries do not spread evenly over three places, as they would over a place's slots.
        Line((0..3).map(|_| MemoryStore::new([seed()[0]; 16], ceilings)).collect())
    }

    fn worker(&self, ledger: &Line) -> Remote<Line> {
        Remote::new(ledger.clone())
    }
}

mod memory {
    super::super::conformance_tests!(super::Memory);
}

mod local {
    super::super::conformance_tests!(super::Local);
}

mod remote {
    super::super::conformance_tests!(super::Far);
}

/// Threads that draw on the same tokens at once: what is served, to the unit.
fn threads_serve_exactly<B: Backend + Sync>(backend: &B)
where
    B::Ledger: Send,
{
    const THREADS: usize = 8;
    let ledger = backend.found(CEILINGS);
    let tally = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let ledger = ledger.clone();
                scope.spawn(move || {
                    let worker = backend.worker(&ledger);
                    let (mut served, mut first, mut won) = (0, 0, 0);
                    for n in 0..2000_u32 {
                        let mut draw = call(7, NOW + 100, 5000);
                        draw.child(LinkId::of(&(n % 5).to_string()), NOW + 100).unwrap();
                        draw.budget(calls(), 4000, 1).unwrap();
                        match done(worker.reserve(draw, NOW * 1000)).unwrap() {
                            // Some are given back, and some corrected.
                            Drawn::Reserved(reservation) if (n + thread as u32).is_multiple_of(4) => {
                                done(worker.refund(reservation, NOW * 1000)).unwrap();
                            }
                            Drawn::Reserved(reservation) if (n + thread as u32) % 4 == 1 => {
                                done(worker.commit(reservation, &[(calls(), 2)], NOW * 1000)).unwrap();
                                served += 2;
                            }
                            Drawn::Reserved(_) => served += 1,
                            Drawn::Exhausted { .. } => {}
                            other => panic!("{other:?}"),
                        }
                        first += u32::from(done(worker.once(&sha256(&[&n.to_be_bytes()]), NOW + 60, NOW)) == Ok(true));
                        let claimed = done(worker.claim(&id(n % 900), &new(NOW + 10, NOW + 100), NOW)).unwrap();
                        won += u32::from(matches!(claimed, Claimed::Ours(_)));
                    }
                    (served, first, won)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    });
    let left = done(backend.worker(&ledger).left(&family(7), NOW * 1000)).unwrap().unwrap();
    let root = left.0.iter().find(|of| of.link.is_none()).unwrap();
    let children: u128 = left.0.iter().filter(|of| of.link.is_some()).map(|of| of.max - of.left).sum();
    // A correction may go beyond the last unit, by the one that a draw at that moment was short of.
    assert!((5000..5000 + THREADS as u128).contains(&tally.0), "{}", tally.0);
    assert_eq!((root.left, children), (0, tally.0));
    assert_eq!((tally.1, tally.2), (2000, 900));
}

#[test]
fn threads_on_shared_data_serve_exactly_what_fits() {
    threads_serve_exactly(&Local);
}

#[test]
fn threads_on_plain_maps_serve_exactly_what_fits() {
    threads_serve_exactly(&Memory);
}

/// One operation on few tokens, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Draw { family: u32, expires: u64, links: Vec<(u8, u64)>, counters: Vec<(u8, u8, u32, u8)> },
    Commit { nth: usize, used: Vec<(u8, u8)> },
    Refund { nth: usize },
    Left { family: u32 },
    Once { mark: u8, until: u64 },
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let links = prop::collection::vec((0..6_u8, 1..400_u64), 0..4);
    let counters = prop::collection::vec((0..4_u8, 0..3_u8, prop::sample::select(vec![0, 0, 1, 60]), 0..5_u8), 0..6);
    let draw = (0..3_u32, 1..400_u64, links, counters).prop_map(|(family, expires, links, counters)| Step::Draw {
        family,
        expires,
        links,
        counters,
    });
    let used = prop::collection::vec((0..3_u8, 0..9_u8), 0..3);
    let step = prop_oneof![
        6 => draw,
        2 => (0..8_usize, used).prop_map(|(nth, used)| Step::Commit { nth, used }),
        1 => (0..8_usize).prop_map(|nth| Step::Refund { nth }),
        1 => (0..3_u32).prop_map(|family| Step::Left { family }),
        1 => (0..9_u8, 0..200_u64).prop_map(|(mark, until)| Step::Once { mark, until }),
    ];
    prop::collection::vec((step, 0..9000_u64), 1..80)
}

fn counter(n: u8) -> CounterId {
    CounterId::of(n, "call")
}

/// What a backend says to a step, in words that compare. Expiries belong to a token, so they depend on its name alone.
fn told(store: &impl Store, open: &mut Vec<Reservation>, step: &Step, now_millis: u64) -> String {
    let sorted = |left: &crate::ledger::Left| {
        let mut left = left.0.clone();
        left.sort_by_key(|of| (of.link.map(|link| link.0), of.counter.0, of.period));
        format!("{left:?}")
    };
    match step {
        Step::Draw { family: n, expires, links, counters } => {
            let mut draw = Draw::new(family(*n), NOW + 100 + u64::from(*n) * 100 + expires / 200);
            for link in 0..=links.len() {
                for (of, id, period, cost) in counters.iter().filter(|(of, ..)| usize::from(*of) == link) {
                    let (id, cost) = (counter(*id), u128::from(*cost));
                    let max = 20 + u128::from(*of) * 3;
                    let _ = if *period == 0 { draw.budget(id, max, cost) } else { draw.rate(id, *period, max, cost) };
                }
                if let Some((child, _)) = links.get(link) {
                    let _ = draw.child(LinkId([*child; 8]), NOW + u64::from(*child) * 40);
                }
            }
            match done(store.reserve(draw, now_millis)) {
                Ok(Drawn::Reserved(reservation)) => {
                    let said = sorted(reservation.left());
                    open.push(reservation);
                    said
                }
                other => format!("{other:?}"),
            }
        }
        Step::Commit { nth, used } if *nth < open.len() => {
            let used: Vec<_> = used.iter().map(|(id, amount)| (counter(*id), u128::from(*amount))).collect();
            sorted(&done(store.commit(open.swap_remove(*nth), &used, now_millis)).unwrap())
        }
        Step::Refund { nth } if *nth < open.len() => {
            format!("{:?}", done(store.refund(open.swap_remove(*nth), now_millis)))
        }
        Step::Left { family: n } => {
            let left = done(store.left(&family(*n), now_millis)).unwrap();
            left.as_ref().map_or_else(String::new, sorted)
        }
        Step::Once { mark, until } => {
            format!("{:?}", done(store.once(&[*mark; 32], NOW + until, now_millis / 1000)))
        }
        Step::Commit { .. } | Step::Refund { .. } => String::new(),
    }
}

proptest! {
    #[test]
    fn every_backend_says_what_plain_maps_say(steps in steps()) {
        let (memory, local, far) = (lone(&Memory), lone(&Local), lone(&Far));
        let mut open = (Vec::new(), Vec::new(), Vec::new());
        let mut now = NOW * 1000;
        for (step, later) in steps {
            now += later;
            let said = told(&memory, &mut open.0, &step, now);
            prop_assert_eq!(&told(&local, &mut open.1, &step, now), &said, "{:?}", step);
            prop_assert_eq!(&told(&far, &mut open.2, &step, now), &said, "{:?}", step);
        }
    }
}
