use super::*;
use crate::crypto::sha256;
use crate::ledger::local::{Ceilings, LocalStore, MemoryData, SEED_BYTES};
use proptest::prelude::*;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const NOW: u64 = 1_800_000_000;

type Place = LocalStore<MemoryData>;

/// Places in this process, and how many messages are still carried before the line breaks.
#[derive(Clone)]
struct Line {
    places: Rc<Vec<Place>>,
    carries: Rc<Cell<usize>>,
}

impl Transport for Line {
    fn places(&self) -> u32 {
        self.places.len() as u32
    }

    async fn send(&self, place: u32, message: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let answer = serve(&self.places[place as usize], &message).await;
        match self.carries.get() {
            0 => Err(StoreError::Failed),
            left => {
                self.carries.set(left - 1);
                Ok(answer)
            }
        }
    }
}

fn place() -> Place {
    LocalStore::open(MemoryData::default(), Ceilings { claims: 1000, tokens: 1000 }, &[1; SEED_BYTES]).unwrap()
}

fn line(places: usize) -> Line {
    Line { places: Rc::new((0..places).map(|_| place()).collect()), carries: Rc::new(Cell::new(usize::MAX)) }
}

fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn id(n: u8) -> ClaimId {
    ClaimId(sha256(&[&[n]]))
}

/// One operation, over few enough things that they meet.
#[derive(Clone, Debug)]
enum Step {
    Claim(u8, NewClaim),
    Conclude(u8, u32, Conclusion),
    Release(u8, u32),
    Resolve(u8, Money, String),
    Point(u8, Pointer, Option<u8>),
    Pointed(u8),
    Unpoint(u8, u8),
    Doubt(u8, Vec<u8>),
    Doubts,
    Doubted(u8),
    Undoubt(u8),
    Lease(Lease, u64),
    Publish(u32, Vec<u8>),
    Published(u32),
}

fn few() -> impl Strategy<Value = u8> {
    0..4u8
}

fn money() -> impl Strategy<Value = Money> {
    prop::sample::select(vec![Money::None, Money::Settling, Money::Settled, Money::Failed, Money::Unknown])
}

fn service() -> impl Strategy<Value = Service> {
    prop::sample::select(vec![Service::Waiting, Service::Forwarded, Service::Delivered, Service::Failed])
}

fn new_claim() -> impl Strategy<Value = NewClaim> {
    let binding = (0..2u8).prop_map(|n| Binding([n; 16]));
    (binding, 0..2u8, 0..90u64, any::<(bool, bool, bool)>(), 0..2u64).prop_map(
        |(binding, secret, deadline, (unchecked, repeatable, proven), window)| NewClaim {
            binding,
            secret: [secret; 16],
            deadline: NOW + deadline,
            expires: NOW + 100,
            checked: !unchecked,
            repeatable,
            proven,
            window,
        },
    )
}

fn conclusion() -> impl Strategy<Value = Conclusion> {
    (money(), service(), 0..90u64, "(0x[0-9a-f]{8})?", 0..300u64).prop_map(
        |(money, service, deadline, transaction, keep)| Conclusion {
            money,
            service,
            deadline: NOW + deadline,
            transaction,
            keep: NOW + keep,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let generation = || prop_oneof![Just(0u32), Just(NOW as u32), Just(NOW as u32 + 1)];
    let pointer = || {
        (few(), 0..90u64).prop_map(|(n, expires)| Pointer {
            target: id(n),
            binding: Binding([n; 16]),
            expires: NOW + expires,
        })
    };
    let bytes = || prop::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        4 => (few(), new_claim()).prop_map(|(n, new)| Step::Claim(n, new)),
        3 => (few(), generation(), conclusion()).prop_map(|(n, g, to)| Step::Conclude(n, g, to)),
        1 => (few(), generation()).prop_map(|(n, g)| Step::Release(n, g)),
        1 => (few(), money(), "[0-9a-f]{0,8}").prop_map(|(n, money, text)| Step::Resolve(n, money, text)),
        2 => (few(), pointer(), prop::option::of(few())).prop_map(|(n, to, old)| Step::Point(n, to, old)),
        1 => few().prop_map(Step::Pointed),
        1 => (few(), few()).prop_map(|(n, target)| Step::Unpoint(n, target)),
        1 => (few(), bytes()).prop_map(|(n, bytes)| Step::Doubt(n, bytes)),
        1 => Just(Step::Doubts),
        1 => few().prop_map(Step::Doubted),
        1 => few().prop_map(Step::Undoubt),
        1 => (prop_oneof![Just(Lease::Reconcile), (0..2u32).prop_map(Lease::Supported)], 0..20u64)
            .prop_map(|(name, seconds)| Step::Lease(name, seconds)),
        1 => (0..2u32, bytes()).prop_map(|(n, bytes)| Step::Publish(n, bytes)),
        1 => (0..2u32).prop_map(Step::Published),
    ]
}

/// What a step came to, in words that compare.
fn carried_out(store: &impl Store, step: &Step, now: u64) -> String {
    let ticket = |n: u8, generation: u32| Ticket { id: id(n), generation };
    match step.clone() {
        Step::Claim(n, new) => format!("{:?}", done(store.claim(&id(n), &new, now))),
        Step::Conclude(n, g, to) => format!("{:?}", done(store.conclude(&ticket(n, g), &to, now))),
        Step::Release(n, g) => format!("{:?}", done(store.release(&ticket(n, g), now))),
        Step::Resolve(n, money, text) => format!("{:?}", done(store.resolve(&id(n), money, &text, now))),
        Step::Point(n, to, old) => {
            format!("{:?}", done(store.point(&id(n + 100), &to, old.map(id).as_ref(), now)))
        }
        Step::Pointed(n) => format!("{:?}", done(store.pointed(&id(n + 100), now))),
        Step::Unpoint(n, target) => format!("{:?}", done(store.unpoint(&id(n + 100), &id(target), now))),
        Step::Doubt(n, bytes) => format!("{:?}", done(store.doubt(&id(n), &bytes))),
        Step::Doubts => {
            let mut open = done(store.doubts()).unwrap();
            open.sort_by_key(|(id, _)| id.0);
            format!("{open:?}")
        }
        Step::Doubted(n) => format!("{:?}", done(store.doubted(&id(n)))),
        Step::Undoubt(n) => format!("{:?}", done(store.undoubt(&id(n)))),
        Step::Lease(name, seconds) => format!("{:?}", done(store.lease(name, seconds, now))),
        Step::Publish(n, bytes) => format!("{:?}", done(store.publish(Notice::Supported(n), &bytes))),
        Step::Published(n) => format!("{:?}", done(store.published(Notice::Supported(n)))),
    }
}

proptest! {
    #[test]
    fn a_store_far_away_does_what_one_here_does(steps in prop::collection::vec((step(), 0..5u64), 1..60)) {
        let (here, far) = (place(), Remote::new(line(3)));
        let mut now = NOW;
        for (step, later) in steps {
            now += later;
            prop_assert_eq!(carried_out(&here, &step, now), carried_out(&far, &step, now), "{:?}", step);
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_answered_as_a_failure(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(first) = bytes.first_mut() {
            *first %= 30;
        }
        let store = place();
        let answer = done(serve(&store, &bytes));
        prop_assert!(!answer.is_empty());
        if bytes.is_empty() || !(1..=24).contains(&bytes[0]) {
            prop_assert_eq!(answer, vec![3]);
        }
    }
}

#[test]
fn an_answer_that_is_lost_is_a_failure_and_what_was_done_stays_done() {
    let line = line(1);
    let store = Remote::new(line.clone());
    let new = NewClaim {
        binding: Binding([1; 16]),
        secret: [9; 16],
        deadline: NOW + 10,
        expires: NOW + 100,
        checked: true,
        repeatable: true,
        proven: false,
        window: 0,
    };
    line.carries.set(0);
    assert_eq!(done(store.claim(&id(1), &new, NOW)), Err(StoreError::Failed));
    line.carries.set(usize::MAX);
    assert!(matches!(done(store.claim(&id(1), &new, NOW)), Ok(Claimed::Known(_))));
    assert!(matches!(done(store.claim(&id(1), &new, NOW + 11)), Ok(Claimed::Ours(_))));
}

#[test]
fn an_answer_cut_short_or_too_long_is_a_failure() {
    #[derive(Clone)]
    struct Says(Vec<u8>);
    impl Transport for Says {
        fn places(&self) -> u32 {
            1
        }
        async fn send(&self, _: u32, _: Vec<u8>) -> Result<Vec<u8>, StoreError> {
            Ok(self.0.clone())
        }
    }
    for (answer, wanted) in [
        (vec![], Err(StoreError::Failed)),
        (vec![0], Err(StoreError::Failed)),
        (vec![0, 1], Ok(true)),
        (vec![0, 2], Err(StoreError::Failed)),
        (vec![0, 1, 0], Err(StoreError::Failed)),
        (vec![1], Err(StoreError::Full)),
        (vec![2], Err(StoreError::Lost)),
        (vec![3], Err(StoreError::Failed)),
        (vec![77], Err(StoreError::Failed)),
    ] {
        let said = done(Remote::new(Says(answer.clone())).lease(Lease::Reconcile, 1, NOW));
        assert_eq!(said, wanted, "{answer:?}");
    }
}
