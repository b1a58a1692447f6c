//! A ledger at its ceiling, through several generations of claims and tokens: nothing live is forgotten, and its memory
//! stays what it is. Optimised builds run it with a million of each; `--nocapture` prints the figures.

#![allow(missing_docs)]

use farebox_core::crypto::sha256;
use farebox_core::ledger::local::{Ceilings, LocalStore, MemoryData, SEED_BYTES};
use farebox_core::ledger::{
    Binding, ClaimId, Claimed, Conclusion, CounterId, Draw, Drawn, FamilyId, Money, NewClaim, Service, Store,
};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

const MANY: u32 = if cfg!(debug_assertions) { 5_000 } else { 1_000_000 };
const NOW: u64 = 1_800_000_000;
/// Seconds that everything of a generation lives.
const LIFE: u64 = 1000;

type Ledger = LocalStore<MemoryData>;

fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the local store never waits"),
    }
}

fn new(now: u64) -> NewClaim {
    NewClaim {
        binding: Binding([1; 16]),
        secret: [9; 16],
        deadline: now + 30,
        expires: now + LIFE,
        checked: true,
        repeatable: false,
        proven: false,
        window: 0,
    }
}

fn pay(ledger: &Ledger, id: &ClaimId, now: u64) {
    let Ok(Claimed::Ours(ticket)) = done(ledger.claim(id, &new(now), now)) else { panic!("refused") };
    for (money, service) in [(Money::Settling, Service::Waiting), (Money::Settled, Service::Delivered)] {
        let to =
            Conclusion { money, service, deadline: now + 30, transaction: format!("0x{}", "ab".repeat(32)), keep: 0 };
        done(ledger.conclude(&ticket, &to, now)).unwrap();
    }
}

fn call(n: u32, generation: u64, expires: u64) -> Draw {
    let mut draw = Draw::new(FamilyId::of(&format!("{generation} {n}")), expires);
    draw.budget(CounterId::of(0, "call"), 2, 1).unwrap();
    draw.rate(CounterId::of(0, "call"), 60, 100, 1).unwrap();
    draw
}

/// Runs `each` for all of a generation, and prints how long one took.
fn timed(what: &str, each: impl Fn(u32)) {
    let start = Instant::now();
    (0..MANY).for_each(each);
    println!("  {what:<28} {:>6.2} us each", start.elapsed().as_secs_f64() * 1e6 / f64::from(MANY));
}

#[test]
fn a_ledger_at_its_ceiling_forgets_nothing_live_and_does_not_grow() {
    let data = MemoryData::default();
    let ceilings = Ceilings { claims: MANY, tokens: MANY };
    let ledger = LocalStore::open(data.clone(), ceilings, &[7; SEED_BYTES]).unwrap();
    let id = |generation: u64, n: u32| ClaimId(sha256(&[&generation.to_be_bytes(), &n.to_be_bytes()]));
    let mut sizes = Vec::new();
    for generation in 0..3 {
        let now = NOW + generation * (LIFE + 1);
        let millis = now * 1000;
        println!("generation {generation}: {MANY} claims, {MANY} tokens, {MANY} proofs");
        timed("payments (3 operations)", |n| pay(&ledger, &id(generation, n), now));
        timed("first draws", |n| {
            let drawn = done(ledger.reserve(call(n, generation, now + LIFE), millis));
            assert!(matches!(drawn, Ok(Drawn::Reserved(_))), "{drawn:?}");
        });
        timed("second draws", |n| {
            let drawn = done(ledger.reserve(call(n, generation, now + LIFE), millis + 999_999));
            assert!(matches!(drawn, Ok(Drawn::Reserved(_))), "{drawn:?}");
        });
        // A proof lives for a minute: as many, over as long as it takes at a thousand a second.
        timed("proofs", |n| {
            let now = now + u64::from(n) / 1000;
            assert_eq!(done(ledger.once(&id(generation, n).0, now + 60, now)), Ok(true));
        });
        timed("draws on one token", |n| {
            let mut draw = Draw::new(FamilyId::of("busy"), u64::MAX);
            draw.budget(CounterId::of(0, "call"), u128::MAX, 1).unwrap();
            draw.rate(CounterId::of(0, "call"), 1, 1 << 40, 1).unwrap();
            let drawn = done(ledger.reserve(draw, millis + u64::from(n) / 100));
            assert!(matches!(drawn, Ok(Drawn::Reserved(_))), "{drawn:?}");
        });
        let last = now + LIFE;
        timed("claims asked for again", |n| {
            let known = done(ledger.claim(&id(generation, n), &new(last), last));
            assert!(matches!(known, Ok(Claimed::Known(claim)) if claim.money == Money::Settled));
        });
        timed("draws beyond the last", |n| {
            let drawn = done(ledger.reserve(call(n, generation, now + LIFE), last * 1000));
            assert!(matches!(drawn, Ok(Drawn::Exhausted { left: 0, .. })), "{drawn:?}");
        });
        let (bytes, keys, largest) = (data.bytes(), data.keys(), data.largest());
        println!("  {bytes} bytes in {keys} keys, the longest value {largest}");
        sizes.push((bytes, keys));
        assert!(largest <= 4096, "{largest}");
    }
    // Once every slot has been in use, nothing grows any more.
    let (second, third) = (sizes[1], sizes[2]);
    assert!(third.0 * 100 <= second.0 * 105 && third.1 * 100 <= second.1 * 105, "{sizes:?}");
}
