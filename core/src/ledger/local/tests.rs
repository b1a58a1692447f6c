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

fn to(money: Money, service: Service, deadline: u64) -> Conclusion {
    Conclusion { money, service, deadline, transaction: String::new() }
}

#[test]
fn the_first_to_claim_wins_and_others_see_its_record() {
    let store = store(1000);
    ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    for _ in 0..10 {
        let known = done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap();
        assert!(matches!(known, Claimed::Known(Claim { money: Money::None, .. })));
    }
    ours(done(store.claim(&id(2), &new(NOW + 10, NOW + 100), NOW)).unwrap());
}

#[test]
fn a_claim_past_its_deadline_is_released_before_the_money_call_and_unknown_after_it() {
    let store = store(1000);
    let first = ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    let second = ours(done(store.claim(&id(1), &new(NOW + 30, NOW + 100), NOW + 11)).unwrap());
    assert!(second.generation > first.generation);
    let lost = done(store.conclude(&first, &to(Money::Settling, Service::Waiting, NOW + 20), NOW + 11));
    assert_eq!(lost, Err(StoreError::Lost));
    assert_eq!(done(store.release(&first, NOW + 11)), Err(StoreError::Lost));
    done(store.conclude(&second, &to(Money::Settling, Service::Waiting, NOW + 20), NOW + 12)).unwrap();
    let known = done(store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 21)).unwrap();
    assert!(matches!(known, Claimed::Known(Claim { money: Money::Unknown, .. })));
    // A late answer still finds the claim it belongs to.
    done(store.conclude(&second, &to(Money::Settled, Service::Waiting, NOW), NOW + 22)).unwrap();
}

#[test]
fn what_is_settled_stays_settled_and_is_never_released() {
    let store = store(1000);
    let ticket = ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    done(store.conclude(&ticket, &to(Money::Settling, Service::Forwarded, NOW + 20), NOW)).unwrap();
    done(store.conclude(&ticket, &to(Money::Settled, Service::Forwarded, NOW + 20), NOW)).unwrap();
    for money in [Money::None, Money::Settling, Money::Failed, Money::Unknown] {
        assert_eq!(done(store.conclude(&ticket, &to(money, Service::Failed, 0), NOW)), Err(StoreError::Lost));
    }
    assert_eq!(done(store.release(&ticket, NOW)), Err(StoreError::Lost));
}

#[test]
fn an_expired_record_goes_and_an_unknown_one_stays_a_day_longer() {
    let store = store(1000);
    let settled = ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    let unknown = ours(done(store.claim(&id(2), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    for ticket in [&settled, &unknown] {
        done(store.conclude(ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW)).unwrap();
    }
    done(store.conclude(&settled, &to(Money::Settled, Service::Delivered, NOW), NOW)).unwrap();
    let ask = NewClaim { checked: false, ..new(0, 0) };
    assert!(matches!(done(store.claim(&id(1), &ask, NOW + 100)).unwrap(), Claimed::Known(_)));
    assert_eq!(done(store.claim(&id(1), &ask, NOW + 101)).unwrap(), Claimed::Unseen);
    assert!(matches!(done(store.claim(&id(2), &ask, NOW + 80_000)).unwrap(), Claimed::Known(_)));
    assert_eq!(done(store.claim(&id(2), &ask, NOW + 90_000)).unwrap(), Claimed::Unseen);
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
}

#[test]
fn every_key_differs_from_every_other_in_its_last_four_bytes_alone() {
    let mut keys: Vec<String> = (0..4096).map(|n| key("", n * 1021)).collect();
    keys.extend((0..64).flat_map(|n| [key(",", n), key("~", n), key("!", n)]));
    keys.extend([EPOCH_KEY.to_owned(), key("*", 0)]);
    assert!(keys.iter().all(|key| key.len() == 12 && key.starts_with("farebox-")));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4096 + 192 + 2);
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

#[test]
fn one_worker_has_a_lease_until_it_ends() {
    let store = store(1000);
    assert_eq!(done(store.lease(Lease::Supported(5), 10, NOW)), Ok(true));
    assert_eq!(done(store.lease(Lease::Supported(5), 10, NOW + 9)), Ok(false));
    assert_eq!(done(store.lease(Lease::Supported(6), 10, NOW + 9)), Ok(true));
    assert_eq!(done(store.lease(Lease::Supported(5), 10, NOW + 10)), Ok(true));
}

#[test]
fn a_dead_workers_ticket_never_fits_a_later_claim_of_the_same_payment() {
    let store = store(1);
    let dead = ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    // Others pass through the same slots meanwhile and sweep the lapsed record away.
    for n in 2..400 {
        let _ = done(store.claim(&id(n), &new(NOW + 10, NOW + 100), NOW + 11));
    }
    ours(done(store.claim(&id(1), &new(NOW + 30, NOW + 100), NOW + 12)).unwrap());
    assert_eq!(done(store.release(&dead, NOW + 12)), Err(StoreError::Lost));
    assert_eq!(
        done(store.conclude(&dead, &to(Money::Settling, Service::Waiting, NOW + 50), NOW + 12)),
        Err(StoreError::Lost)
    );
}

#[test]
fn only_an_unknown_claim_is_resolved_and_its_old_worker_has_no_say_then() {
    let store = store(1000);
    let ticket = ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    assert_eq!(done(store.resolve(&id(1), Money::Settled, "0x1", NOW)), Err(StoreError::Lost));
    done(store.conclude(&ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW)).unwrap();
    assert_eq!(done(store.resolve(&id(1), Money::Settled, "0x1", NOW + 20)), Err(StoreError::Lost));
    assert_eq!(done(store.resolve(&id(1), Money::None, "", NOW + 21)), Err(StoreError::Lost));
    done(store.resolve(&id(1), Money::Settled, "0x1", NOW + 21)).unwrap();
    assert_eq!(
        done(store.conclude(&ticket, &to(Money::Settled, Service::Waiting, 0), NOW + 21)),
        Err(StoreError::Lost)
    );
    let again = done(store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 22)).unwrap();
    assert!(matches!(again, Claimed::Again(_, Claim { money: Money::Settled, .. })), "{again:?}");
}

#[test]
fn the_first_pointer_stays_until_it_is_replaced_by_name() {
    let store = store(1000);
    let pointer = |n| Pointer { target: id(n), binding: Binding([1; 16]), expires: NOW + 50 };
    assert_eq!(done(store.point(&id(9), &pointer(1), None, NOW)), Ok(None));
    assert_eq!(done(store.point(&id(9), &pointer(1), None, NOW)), Ok(None));
    assert_eq!(done(store.point(&id(9), &pointer(2), None, NOW)), Ok(Some(pointer(1))));
    assert_eq!(done(store.point(&id(9), &pointer(2), Some(&id(1)), NOW)), Ok(None));
    done(store.unpoint(&id(9), &id(1), NOW)).unwrap();
    assert_eq!(done(store.pointed(&id(9), NOW)), Ok(Some(pointer(2))));
    assert_eq!(done(store.pointed(&id(9), NOW + 51)), Ok(None));
    done(store.unpoint(&id(9), &id(2), NOW)).unwrap();
    assert_eq!(done(store.pointed(&id(9), NOW)), Ok(None));
}

#[test]
fn open_questions_are_few_and_told_apart() {
    let store = store(1000);
    let asked = (0..1000).filter(|n| done(store.doubt(&id(*n), &n.to_be_bytes())).is_ok()).count();
    assert!(asked > 300 && asked <= 512, "{asked}");
    assert_eq!(done(store.doubt(&id(5), &[0; MAX_DOUBT + 1])), Err(StoreError::Full));
    assert_eq!(done(store.doubts()).unwrap().len(), asked);
    assert!(done(store.doubted(&id(0))).unwrap().is_some());
    let (first, bytes) = done(store.doubts()).unwrap().swap_remove(7);
    assert_eq!(id(u32::from_be_bytes(bytes.try_into().unwrap())), first);
    done(store.undoubt(&first)).unwrap();
    assert_eq!(done(store.doubts()).unwrap().len(), asked - 1);
}

fn draw(expires: u64, max: u128, cost: u128) -> Draw {
    let mut draw = Draw::new(FamilyId::of("root"), expires);
    draw.budget(CounterId::of(0, "call"), max, cost).unwrap();
    draw.rate(CounterId::of(0, "call"), 60, 100, cost).unwrap();
    draw
}

fn reserved(drawn: Drawn) -> Reservation {
    match drawn {
        Drawn::Reserved(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_is_spent_at_the_draw_and_given_back_once() {
    let store = store(1000);
    let now = NOW * 1000;
    let one = reserved(done(store.reserve(draw(NOW + 100, 10, 6), now)).unwrap());
    assert_eq!(one.left().budget("call"), Some(4));
    let refused = done(store.reserve(draw(NOW + 100, 10, 6), now)).unwrap();
    assert_eq!(refused, Drawn::Exhausted { link: 0, counter: CounterId::of(0, "call"), left: 4 });
    let left = done(store.commit(one, &[(CounterId::of(0, "call"), 3)], now)).unwrap();
    assert_eq!(left.budget("call"), Some(7));
    let two = reserved(done(store.reserve(draw(NOW + 100, 10, 7), now)).unwrap());
    done(store.refund(two, now)).unwrap();
    let left = done(store.left(&FamilyId::of("root"), now)).unwrap().unwrap();
    assert_eq!(left.budget("call"), Some(7));
    // The rate keeps what it gave.
    assert_eq!(left.0.iter().find(|of| of.period == Some(60)).unwrap().left, 100 - 6 - 7);
    assert_eq!(done(store.reserve(draw(NOW + 100, 10, 1), now + 101_000)), Ok(Drawn::Expired));
}

#[test]
fn marks_and_revocations_hold() {
    let store = store(1000);
    assert_eq!(done(store.once(&[1; 32], NOW + 60, NOW)), Ok(true));
    assert_eq!(done(store.once(&[1; 32], NOW + 60, NOW)), Ok(false));
    assert_eq!(done(store.revocation_epoch()), Ok(0));
    let what = Revocation::Token(crate::ledger::Subject::of("root"));
    done(store.revoke(&what, NOW + 60, NOW)).unwrap();
    assert_eq!(done(store.revocations()).unwrap(), Revocations { epoch: 1, list: vec![what] });
    assert_eq!(done(store.revocation_epoch()), Ok(1));
}

#[test]
fn a_settled_claim_yields_one_token_and_after_a_credit_no_delivery() {
    let store = store(1000);
    let ticket = ours(done(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW)).unwrap());
    let credit = Yield { kind: Yielded::Credit, terms: [1; 8] };
    assert_eq!(done(store.yield_once(&ticket, &credit, NOW)), Err(StoreError::Lost));
    done(store.conclude(&ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW)).unwrap();
    done(store.conclude(&ticket, &to(Money::Settled, Service::Waiting, NOW + 20), NOW + 2)).unwrap();
    assert_eq!(done(store.yield_once(&ticket, &credit, NOW + 3)), Ok(credit));
    let other = Yield { kind: Yielded::Pass, terms: [2; 8] };
    assert_eq!(done(store.yield_once(&ticket, &other, NOW + 3)), Ok(credit));
    match done(store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 50)).unwrap() {
        Claimed::Known(claim) => assert_eq!((claim.settled_at, claim.yielded), (NOW + 2, Some(credit))),
        other => panic!("{other:?}"),
    }
}
