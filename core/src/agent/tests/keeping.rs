//! What was bought and what was sent is kept: by stores that fail, calls that end, and many calls at once.

use super::super::counters::Outcome;
use super::super::pay::{Draft, NotSigned, Signer};
use super::super::reason::Reason;
use super::super::store::{Blob, Store, StoreFailed};
use super::super::{Agent, FetchError, Message, Wanted};
use super::kit::*;
use super::mall::{Mall, buying, holder_key, selling};
use serde_json::{Value, json};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

/// A store that fails to write so many times.
#[derive(Clone, Default)]
struct Failing {
    memory: Memory,
    fails: Rc<Cell<usize>>,
}

impl Store for Failing {
    type Version = u64;

    async fn load(&self) -> Result<Option<Blob<u64>>, StoreFailed> {
        self.memory.load().await
    }

    async fn swap(&self, expected: Option<u64>, bytes: Vec<u8>) -> Result<bool, StoreFailed> {
        if self.fails.get() > 0 {
            self.fails.set(self.fails.get() - 1);
            return Err(StoreFailed);
        }
        self.memory.swap(expected, bytes).await
    }
}

const QUOTES: &str = "https://api.example.com/v1/quotes/btc";

fn passes() -> Value {
    let mut seller = selling(json!({ "calls": 20, "seconds": 600 }));
    seller["routes"][0]["offers"].as_array_mut().unwrap().remove(0);
    seller
}

/// Polls a call until `sent` payments have left.
fn until_sent<F: Future>(mut running: Pin<&mut F>, street: &Street, sent: usize) {
    while street.payments.borrow().len() < sent {
        assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}

fn same_payment(street: &Street, times: usize) {
    let payments = street.payments.borrow();
    assert!(payments.len() == times && payments.iter().all(|payment| *payment == payments[0]), "{payments:?}");
}

#[test]
fn a_token_that_cannot_be_kept_is_kept_by_the_next_call() {
    for (fails, kept) in [(2, true), (4, false), (9, false)] {
        let mall = Mall::new(&passes(), &buying());
        let store = Failing::default();
        let agent = Agent::new(policy(&buying()), purse(), mall.clone(), store.clone(), key());
        let buyer = agent.with_holder(holder_key());
        run(buyer.begin()).unwrap();
        let failing = Rc::clone(&store.fails);
        mall.tampers(move |message: &Message<'_>, response| {
            failing.set(if message.payment().is_some() { fails } else { failing.get() });
            Some(response)
        });
        let wanted = Wanted::get(QUOTES);
        let first = run(buyer.fetch(&wanted)).unwrap();
        assert_eq!((first.response.status, first.kept.is_some()), (200, kept), "{fails}");
        assert_eq!(mall.events().iter().filter(|event| *event == "token_kept").count(), usize::from(kept), "{fails}");
        // While the store fails nothing is bought a second time.
        let next = std::iter::repeat_with(|| run(buyer.fetch(&wanted))).find_map(Result::ok).unwrap();
        assert!(next.token.is_some() && next.paid.is_none(), "{fails}");
        assert_eq!(run(buyer.tokens()).unwrap().len(), 1);
        assert_eq!(mall.events().iter().filter(|event| *event == "token_kept").count(), 1, "{fails}");
        assert_eq!(mall.host.borrow().calls().iter().filter(|path| *path == "/settle").count(), 1, "{fails}");
        assert_eq!(run(buyer.counters()).unwrap().open().count(), 0, "{fails}");
    }
}

#[test]
fn a_fault_that_is_told_twice_counts_once() {
    let mut desk = Desk::new(with(json!({ "breaker": { "faults": 2, "seconds": 600 } })));
    let id = desk.pay(&challenge(&[offer(json!({}))]), &get(URL)).unwrap();
    for _ in 0..3 {
        desk.counters.conclude(&desk.policy, &id, &Outcome::Refused, 1, NOW).unwrap();
    }
    assert_eq!(desk.reserve(&challenge(&[offer(json!({}))]), &get(URL)).0.reasons(), []);
}

#[test]
fn a_payment_that_is_good_for_a_short_time_is_sent_again_within_it() {
    for seconds in [30, 60, 120, 300] {
        let heard = Rc::new(Cell::new(false));
        let hears = Rc::clone(&heard);
        let street = Street::new(move |message| match message.payment() {
            Some(_) => hears.get().then(|| settled(message)),
            None => Some(demand(message, &[offer(json!({ "maxTimeoutSeconds": seconds }))])),
        });
        let store = Memory::default();
        let [first, second] = [(); 2].map(|()| agent(with(json!({})), &street, &store));
        run(first.begin()).unwrap();
        let wanted = wanted();
        // One call never goes on, and nobody says so.
        let mut stuck = Box::pin(first.fetch(&wanted));
        until_sent(stuck.as_mut(), &street, 1);
        // Another process waits for it, and for no longer than its payment is good.
        street.now.set(NOW + 120.min(seconds / 2));
        heard.set(true);
        assert_eq!(run(second.fetch(&wanted)).unwrap().response.status, 200, "{seconds}");
        same_payment(&street, 2);
    }
}

#[test]
fn a_call_that_is_dropped_and_made_anew_sends_the_same_payment_at_once() {
    let heard = Rc::new(Cell::new(false));
    let hears = Rc::clone(&heard);
    let street = Street::new(move |message| match message.payment() {
        Some(_) => hears.get().then(|| settled(message)),
        None => Some(demand(message, &[offer(json!({}))])),
    });
    let buyer = agent(with(json!({})), &street, &Memory::default());
    run(buyer.begin()).unwrap();
    let wanted = wanted();
    for sent in 1..4 {
        let mut running = Box::pin(buyer.fetch(&wanted));
        until_sent(running.as_mut(), &street, sent);
    }
    heard.set(true);
    assert_eq!(run(buyer.fetch(&wanted)).unwrap().response.status, 200);
    same_payment(&street, 4);
}

#[test]
fn many_calls_of_one_process_wait_for_each_other_on_the_store() {
    let street = Street::new(honest(vec![offer(json!({ "amount": "1000" }))]));
    let buyer = agent(with(json!({})), &street, &Memory::default());
    run(buyer.begin()).unwrap();
    let wanted: Vec<Wanted> = (0..100).map(|call| Wanted::get(&format!("{URL}?call={call}"))).collect();
    // Some are dropped while they wait.
    let mut dropped: Vec<_> = wanted.iter().map(|wanted| Box::pin(buyer.fetch(wanted))).collect();
    for _ in 0..20 {
        for running in &mut dropped {
            assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }
    drop(dropped);
    let fetched = run_all(wanted.iter().map(|wanted| Box::pin(buyer.fetch(wanted)) as Running<'_, _>).collect());
    assert!(fetched.iter().all(Result::is_ok), "{:?}", fetched.iter().find(|it| it.is_err()));
    assert_eq!(run(buyer.counters()).unwrap().open().count(), 0);
}

#[test]
fn a_signature_that_takes_longer_than_the_payment_is_good_for_pays_nothing() {
    struct Slow(Rc<Cell<u64>>, u64);
    impl Signer for Slow {
        async fn sign(&self, draft: &Draft) -> Result<Vec<u8>, NotSigned> {
            self.0.set(self.0.get() + self.1);
            key().signature(draft).map(Vec::from).ok_or(NotSigned::Failed)
        }
    }
    for (seconds, paid) in [(200, true), (293, true), (294, false), (1000, false)] {
        let street = Street::new(honest(vec![offer(json!({}))]));
        let slow = Slow(Rc::clone(&street.now), seconds);
        let buyer = Agent::new(with(json!({})), purse(), street.clone(), Memory::default(), slow);
        run(buyer.begin()).unwrap();
        let fetched = run(buyer.fetch(&wanted()));
        assert_eq!(fetched.is_ok(), paid, "{seconds}");
        assert!(paid || matches!(fetched, Err(FetchError::NotSigned(NotSigned::Failed))), "{seconds}");
        assert_eq!(street.payments.borrow().len(), usize::from(paid));
        assert_eq!(run(buyer.left()).unwrap()[0].used > 0, paid);
    }
}

#[test]
fn counters_that_are_wiped_while_the_process_lives_are_lost_and_can_begin_anew() {
    let street = Street::new(honest(vec![offer(json!({}))]));
    let store = Memory::default();
    let buyer = agent(with(json!({})), &street, &store);
    run(buyer.begin()).unwrap();
    run(buyer.fetch(&wanted())).unwrap();
    *store.0.borrow_mut() = None;
    for _ in 0..2 {
        let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&wanted())) else { panic!() };
        assert_eq!(denied.reasons, [Reason::CountersLost]);
    }
    *store.0.borrow_mut() = None;
    assert!(run(buyer.begin()).unwrap());
    assert_eq!(run(buyer.fetch(&wanted())).unwrap().paid.unwrap().outcome, Outcome::Charged(10_000));
}
