use super::*;
use crate::ledger::{Binding, Service, Yielded};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const NOW: u64 = 1_800_000_000;

fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the local store never waits"),
    }
}

fn ceilings(ceiling: u32) -> Ceilings {
    Ceilings { claims: ceiling, tokens: ceiling }
}

fn store(ceiling: u32) -> LocalStore<MemoryData> {
    LocalStore::open(MemoryData::default(), ceilings(ceiling), &[1; SEED_BYTES]).unwrap()
}

fn id(n: u32) -> ClaimId {
    ClaimId(sha256(&[&n.to_be_bytes()]))
}

fn new(deadline: u64, expires: u64) -> NewClaim {
    NewClaim {
        binding: Binding([1; 16]),
        secret: [9; 16],
        deadline,
        expires,
        checked: true,
        repeatable: true,
        proven: false,
        window: 0,
    }
}

fn ours(claimed: Claimed) -> Ticket {
    match claimed {
        Claimed::Ours(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// A call on a token that has one.
fn call(n: u32) -> Draw {
    let mut draw = Draw::new(FamilyId::of(&n.to_string()), NOW + 100);
    draw.budget(CounterId::of(0, "call"), 1, 1).unwrap();
    draw
}

#[test]
fn a_full_slot_refuses_and_forgets_nothing_live() {
    let store = store(1);
    let mut taken = Vec::new();
    let refused = (0..10_000).find(|n| match done(store.claim(&id(*n), &new(NOW + 10, NOW + 100), NOW)) {
        Ok(claimed) => {
            taken.push((*n, ours(claimed)));
            false
        }
        Err(error) => error == StoreError::Full,
    });
    assert!(refused.is_some() && taken.len() > 64 * 8);
    for (n, _) in &taken {
        assert!(matches!(done(store.claim(&id(*n), &new(NOW + 10, NOW + 100), NOW)), Ok(Claimed::Known(_))));
    }
    // Once they have lapsed there is room again.
    ours(done(store.claim(&id(refused.unwrap()), &new(NOW + 30, NOW + 100), NOW + 11)).unwrap());
}

#[test]
fn at_its_ceiling_no_slot_is_full_and_none_passes_four_kib() {
    let data = MemoryData::default();
    let store = LocalStore::open(data.clone(), ceilings(20_000), &[3; SEED_BYTES]).unwrap();
    for n in 0..20_000 {
        ours(done(store.claim(&id(n), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    }
    assert!(data.largest() <= 4096, "{}", data.largest());
    for n in 0..20_000 {
        assert!(matches!(done(store.reserve(call(n), NOW * 1000)), Ok(Drawn::Reserved(_))));
    }
    assert!(data.largest() <= 4096, "{}", data.largest());
}

#[test]
fn every_key_differs_from_every_other_in_its_last_four_bytes_alone() {
    let mut keys: Vec<String> = (0..4096).map(|n| key("", n * 1021)).collect();
    keys.extend((0..64).flat_map(|n| [key(",", n), key("~", n), key("!", n), key("^", n)]));
    keys.extend([EPOCH_KEY.to_owned(), key("*", 0)]);
    assert!(keys.iter().all(|key| key.len() == 12 && key.starts_with("farebox-")));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4096 + 256 + 2);
}

#[test]
fn workers_that_interleave_agree_on_one_winner() {
    /// Another worker claims the same payment between every read and write, once.
    #[derive(Clone)]
    struct Racing {
        data: MemoryData,
        rival: Rc<Cell<Option<u32>>>,
    }
    impl SharedData for Racing {
        fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError> {
            let seen = self.data.get(key);
            if let Some(n) = self.rival.take() {
                let rival = LocalStore::open(self.data.clone(), ceilings(1000), &[1; SEED_BYTES]).unwrap();
                ours(done(rival.claim(&id(n), &new(NOW + 10, NOW + 100), NOW)).unwrap());
                assert!(matches!(done(rival.reserve(call(n), NOW * 1000)), Ok(Drawn::Reserved(_))));
                assert_eq!(done(rival.once(&id(n).0, NOW + 100, NOW)), Ok(true));
            }
            seen
        }
        fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError> {
            self.data.set(key, value, expected)
        }
    }
    let racing = Racing { data: MemoryData::default(), rival: Rc::default() };
    let store = LocalStore::open(racing.clone(), ceilings(1000), &[1; SEED_BYTES]).unwrap();
    for n in 0..100 {
        racing.rival.set(Some(n));
        let claimed = done(store.claim(&id(n), &new(NOW + 10, NOW + 100), NOW)).unwrap();
        assert!(matches!(claimed, Claimed::Known(_)), "{claimed:?}");
        racing.rival.set(Some(n + 100));
        let drawn = done(store.reserve(call(n + 100), NOW * 1000)).unwrap();
        assert!(matches!(drawn, Drawn::Exhausted { .. }), "{drawn:?}");
        racing.rival.set(Some(n + 200));
        assert_eq!(done(store.once(&id(n + 200).0, NOW + 100, NOW)), Ok(false));
    }
}

#[test]
fn foreign_bytes_are_an_error_and_never_a_free_claim() {
    let data = MemoryData::default();
    let store = LocalStore::open(data.clone(), ceilings(1000), &[1; SEED_BYTES]).unwrap();
    ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    let (key, _) = store.place(Area::Claims, &id(1).0);
    let (bytes, version) = data.get(&key).unwrap().unwrap();
    for cut in 1..bytes.len() {
        assert_eq!(Table::decode(&bytes[..cut]).is_some(), cut == 1, "{cut}");
    }
    data.set(&key, b"\x07junk", Expected::Version(version)).unwrap();
    assert_eq!(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)), Err(StoreError::Failed));
    for key in [store.family_place(&call(1).family).0, store.place(Area::Marks, &id(1).0).0] {
        data.set(&key, b"\x07junk", Expected::Absent).unwrap();
    }
    assert_eq!(done(store.reserve(call(1), NOW * 1000)), Err(StoreError::Failed));
    assert_eq!(done(store.once(&id(1).0, NOW + 100, NOW)), Err(StoreError::Failed));
    data.set(&store.life.revocation_epoch, b"junk", Expected::Absent).unwrap();
    assert_eq!(done(store.revocation_epoch()), Err(StoreError::Failed));
}

#[test]
fn records_survive_the_bytes_with_transactions_of_every_kind() {
    for transaction in [
        "",
        "0xabababababababababababababababababababababababababababababababab",
        "5VERv8NMvzbJMEkV8xnrLkEaWRtSz9CosKDYjCJjBRnbJLgp8uirBgmQpjKhoR4tjF3ZpRzrFmBV6UjKdiSZkQUW",
        "0xABcd",
    ] {
        let claim = Claim {
            money: Money::Settled,
            service: Service::Failed,
            binding: Binding([3; 16]),
            secret: [4; 16],
            generation: 7,
            deadline: 1,
            expires: u64::MAX,
            retries: 2,
            settled_at: u64::MAX,
            yielded: Some(Yield { kind: Yielded::Credit, terms: [6; 8] }),
            transaction: transaction.to_owned(),
        };
        let mut table = Table::default();
        table.put([5; 16], Record::Claim(claim)).unwrap();
        let bytes = table.encode();
        assert_eq!(Table::decode(&bytes).unwrap(), table);
        if transaction.len() == 66 {
            assert!(bytes.len() <= 129, "{}", bytes.len());
        }
    }
}

#[test]
fn a_store_founded_by_one_worker_is_opened_by_the_others() {
    let data = MemoryData::default();
    let one = LocalStore::open(data.clone(), ceilings(1000), &[1; SEED_BYTES]).unwrap();
    let two = LocalStore::open(data, ceilings(999_999), &[2; SEED_BYTES]).unwrap();
    assert_eq!(done(one.epoch()), done(two.epoch()));
    ours(done(one.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    assert!(matches!(done(two.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)), Ok(Claimed::Known(_))));
}
