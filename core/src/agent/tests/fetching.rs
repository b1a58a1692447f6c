//! The flow of a request: what is sent, how often, and what is kept of it.

use super::super::answer::Fault;
use super::super::counters::{Outcome, Stage};
use super::super::decide::Outcome as Decided;
use super::super::pay::{Draft, NotSigned, Signer};
use super::super::reason::Reason;
use super::super::store::{Blob, Store, StoreFailed};
use super::super::{Agent, FetchError, Message, Plan, Response, Wanted};
use super::kit::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

fn ready(
    changes: Value,
    seller: impl FnMut(&Message<'_>) -> Option<Response<Vec<u8>>> + 'static,
) -> (TestAgent, Street, Memory) {
    let street = Street::new(seller);
    let store = Memory::default();
    let buyer = agent(with(changes), &street, &store);
    assert!(run(buyer.begin()).unwrap());
    (buyer, street, store)
}

fn used(buyer: &TestAgent) -> u128 {
    run(buyer.left()).unwrap()[0].used / 1_000_000_000_000
}

#[test]
fn a_request_that_costs_nothing_is_passed_through() {
    let (buyer, street, _) = ready(json!({}), |message| Some(reply(message, 200, &[], b"free")));
    let fetched = run(buyer.fetch(&wanted())).unwrap();
    assert_eq!(
        (fetched.response.body.as_slice(), fetched.paid.is_none(), street.requests.get()),
        (&b"free"[..], true, 1)
    );
}

#[test]
fn a_priced_request_is_paid_once_and_counted() {
    let (buyer, street, _) = ready(json!({}), honest(vec![offer(json!({}))]));
    let paid = run(buyer.fetch(&wanted())).unwrap().paid.unwrap();
    assert_eq!(
        (paid.outcome, paid.faults.len(), paid.transaction.as_deref()),
        (Outcome::Charged(10_000), 0, Some("0xab"))
    );
    assert_eq!((street.requests.get(), street.payments.borrow().len(), used(&buyer)), (2, 1, 10_000));
    assert_eq!(run(buyer.counters()).unwrap().open().count(), 0);
}

#[test]
fn the_cheapest_good_offer_is_taken_wherever_it_stands() {
    let offers = vec![
        offer(json!({ "amount": "30000" })),
        offer(json!({ "amount": "9000", "asset": OTHER })),
        offer(json!({ "amount": "20000", "extra": { "name": "USDC", "version": "2", "paymentFlow": "upfront" } })),
        offer(json!({ "amount": "20000" })),
    ];
    let (buyer, ..) = ready(json!({}), honest(offers.clone()));
    let paid = run(buyer.fetch(&wanted())).unwrap().paid.unwrap();
    assert_eq!(paid.outcome, Outcome::Charged(20_000));
    let place = |index: usize| {
        paid.explanation.offers[index].rank.iter().find(|(name, _)| *name == "place").map(|it| it.1.clone())
    };
    assert_eq!([0, 1, 2, 3].map(place), [Some("3".to_owned()), None, Some("2".to_owned()), Some("1".to_owned())]);
    // What the policy prefers comes first, whatever it costs.
    let preference = json!({ "prefer": [{ "match": { "payees": [format!("eip155:84532:{OTHER}")] } }] });
    let (buyer, ..) =
        ready(preference, honest([offers, vec![offer(json!({ "amount": "40000", "payTo": OTHER }))]].concat()));
    assert_eq!(run(buyer.fetch(&wanted())).unwrap().paid.unwrap().outcome, Outcome::Charged(40_000));
}

#[test]
fn an_answer_that_does_not_come_is_asked_for_again_with_the_same_payment() {
    let attempts = Rc::new(Cell::new(0));
    let count = Rc::clone(&attempts);
    let (buyer, street, _) = ready(json!({}), move |message| {
        let Some(_) = message.payment() else { return Some(demand(message, &[offer(json!({}))])) };
        count.set(count.get() + 1);
        match count.get() {
            1 => None,
            2 => Some(reply(message, 503, &[], b"upstream connect error")),
            _ => Some(settled(message)),
        }
    });
    let fetched = run(buyer.fetch(&wanted())).unwrap();
    assert_eq!(fetched.response.status, 200);
    let payments = street.payments.borrow();
    assert_eq!(payments.len(), 3);
    assert!(payments.iter().all(|payment| *payment == payments[0]));
    assert_eq!(used(&buyer), 10_000);
}

#[test]
fn what_is_not_idempotent_is_repeated_only_if_the_gate_says_so() {
    let post = Wanted { method: "POST".to_owned(), body: b"x".to_vec(), ..wanted() };
    let (buyer, street, _) =
        ready(json!({}), |message| message.payment().is_none().then(|| demand(message, &[offer(json!({}))])));
    let Err(FetchError::Doubtful(paid)) = run(buyer.fetch(&post)) else { panic!() };
    assert_eq!((paid.outcome, street.payments.borrow().len()), (Outcome::Unknown, 1));
    // The caller's own repetition sends the same payment.
    assert!(matches!(run(buyer.fetch(&post)), Err(FetchError::Doubtful(_))));
    let payments = street.payments.borrow().clone();
    assert_eq!((payments.len(), payments[0] == payments[1], used(&buyer)), (2, true, 10_000));

    let body = json!({ "type": "urn:farebox:problem:outcome_unknown", "code": "outcome_unknown", "advice": "resend_same_payment" });
    let (buyer, street, _) = ready(json!({}), move |message| {
        let problem = [("content-type", "application/problem+json"), ("retry-after", "5")];
        Some(match message.payment() {
            None => demand(message, &[offer(json!({}))]),
            Some(_) => reply(message, 503, &problem, body.to_string().as_bytes()),
        })
    });
    let fetched = run(buyer.fetch(&post)).unwrap();
    assert_eq!(fetched.paid.unwrap().code.as_deref(), Some("outcome_unknown"));
    assert_eq!((street.payments.borrow().len(), street.now.get()), (4, NOW + 15));
}

#[test]
fn after_a_crash_the_same_request_sends_the_same_payment() {
    let answering = Rc::new(Cell::new(false));
    let now_answering = Rc::clone(&answering);
    let (buyer, street, store) = ready(json!({}), move |message| match message.payment() {
        None => Some(demand(message, &[offer(json!({}))])),
        Some(_) => now_answering.get().then(|| settled(message)),
    });
    // The process dies while it waits for the answer.
    {
        let wanted = wanted();
        let mut call = Box::pin(buyer.fetch(&wanted));
        while street.payments.borrow().is_empty() {
            let waker = std::task::Waker::noop();
            assert!(call.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
        }
    }
    // Another starts at once: the first may still be at work, so this one is another call.
    answering.set(true);
    let second = agent(with(json!({})), &street, &store);
    assert!(run(second.fetch(&wanted())).is_ok());
    assert_eq!(used(&second), 20_000);
    // Later, the first payment is what the same request sends.
    street.now.set(NOW + 125);
    let fetched = run(second.fetch(&wanted())).unwrap();
    assert_eq!(fetched.response.status, 200);
    let payments = street.payments.borrow();
    assert_eq!((payments.len(), payments[0] == payments[2], payments[0] == payments[1]), (3, true, false));
    assert_eq!(used(&second), 20_000);
    assert_eq!(run(second.counters()).unwrap().open().count(), 0);
}

#[test]
fn what_a_process_that_is_gone_has_left_is_taken_up_at_once() {
    let heard = Rc::new(Cell::new(false));
    let hears = Rc::clone(&heard);
    let (first, street, store) = ready(json!({}), move |message| match message.payment() {
        Some(_) if !hears.get() => None,
        Some(_) => Some(settled(message)),
        None => Some(demand(message, &[offer(json!({}))])),
    });
    // It ends while it waits for the answer to its payment.
    let asked = wanted();
    let mut running = Box::pin(first.fetch(&asked));
    while street.payments.borrow().is_empty() {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(running.as_mut().poll(&mut context).is_pending());
    }
    drop(running);
    let ids = |buyer: &TestAgent| -> Vec<String> {
        run(buyer.counters()).unwrap().open().map(|(id, _)| id.to_owned()).collect()
    };
    let left = ids(&first);
    assert_eq!(left.len(), 1);
    heard.set(true);
    let second = agent(with(json!({})), &street, &store);
    run(second.abandon(&left)).unwrap();
    assert_eq!(run(second.fetch(&wanted())).unwrap().response.status, 200);
    let payments = street.payments.borrow();
    assert_eq!((payments.len(), payments[0] == payments[1], used(&second), ids(&second).len()), (2, true, 10_000, 0));
    drop(payments);
    // What was not signed is free again, and what was concluded stays so.
    let mut desk = Desk::new(with(json!({})));
    let (_, held) = desk.reserve(&challenge(&[offer(json!({}))]), &get(URL));
    let held = super::super::counters::id_text(&held);
    desk.counters.abandon(&desk.policy, &[held, "0x00".to_owned()], NOW);
    assert_eq!((desk.counters.open().count(), desk.counters.left(&desk.policy, NOW)[0].used), (0, 0));
}

#[test]
fn a_signature_that_is_declined_leaves_nothing_behind() {
    struct Declining;
    impl Signer for Declining {
        async fn sign(&self, _: &Draft) -> Result<Vec<u8>, NotSigned> {
            Err(NotSigned::Declined)
        }
    }
    struct Wrong;
    impl Signer for Wrong {
        async fn sign(&self, _: &Draft) -> Result<Vec<u8>, NotSigned> {
            Ok(vec![1; 65])
        }
    }
    let street = Street::new(honest(vec![offer(json!({}))]));
    let store = Memory::default();
    let declining = Agent::new(with(json!({})), purse(), street.clone(), store.clone(), Declining);
    run(declining.begin()).unwrap();
    assert!(matches!(run(declining.fetch(&wanted())), Err(FetchError::NotSigned(NotSigned::Declined))));
    let wrong = Agent::new(with(json!({})), purse(), street.clone(), store.clone(), Wrong);
    assert!(matches!(run(wrong.fetch(&wanted())), Err(FetchError::BadSignature(_))));
    assert!(street.payments.borrow().is_empty());
    assert_eq!(run(wrong.left()).unwrap()[0].used, 0);
}

#[test]
fn what_was_charged_is_compared_with_what_was_offered() {
    let outcome = |changes: Value, settlement: Value| {
        let (buyer, ..) = ready(changes, move |message| {
            let value = STANDARD.encode(settlement.to_string());
            Some(match message.payment() {
                None => demand(message, &[offer(json!({}))]),
                Some(_) => reply(message, 200, &[("payment-response", &value)], b""),
            })
        });
        let paid = run(buyer.fetch(&wanted())).unwrap().paid.unwrap();
        (paid.faults, used(&buyer))
    };
    let said = |changes: Value| {
        let mut settlement =
            json!({ "success": true, "payer": PAYER, "transaction": "0xab", "network": "eip155:84532" });
        for (name, value) in changes.as_object().unwrap() {
            settlement[name] = value.clone();
        }
        settlement
    };
    assert_eq!(outcome(json!({}), said(json!({}))), (vec![], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "amount": "10000", "payer": null }))), (vec![], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "amount": "10001" }))), (vec![Fault::Amount], 10_000));
    // A seller's word does not fill a budget, unless the policy trusts it.
    assert_eq!(outcome(json!({}), said(json!({ "amount": "1" }))), (vec![Fault::Amount], 10_000));
    let trusting = json!({ "trust": [{ "match": { "hosts": ["api.example.com"] } }] });
    assert_eq!(outcome(trusting, said(json!({ "amount": "1" }))), (vec![Fault::Amount], 1));
    assert_eq!(outcome(json!({}), said(json!({ "amount": "x" }))), (vec![Fault::Amount], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "network": "eip155:1" }))), (vec![Fault::Network], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "network": null }))), (vec![Fault::Network], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "payer": OTHER }))), (vec![Fault::Payer], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "success": "true" }))), (vec![Fault::Unreadable], 10_000));
    assert_eq!(outcome(json!({}), said(json!({ "success": false }))), (vec![Fault::Refused], 10_000));
    let wants_receipt = json!({ "require": { "receipt": true } });
    assert_eq!(outcome(wants_receipt, said(json!({}))), (vec![Fault::NoReceipt], 10_000));
}

#[test]
fn a_refusal_is_an_answer_and_pays_nothing_more() {
    let (buyer, street, _) = ready(json!({}), |message| Some(demand(message, &[offer(json!({}))])));
    let fetched = run(buyer.fetch(&wanted())).unwrap();
    let paid = fetched.paid.unwrap();
    assert_eq!((fetched.response.status, paid.outcome, paid.faults), (402, Outcome::Refused, vec![Fault::Refused]));
    assert_eq!((street.payments.borrow().len(), used(&buyer)), (1, 10_000));
    // It can still be carried out, so it is counted, and at its end it is spent.
    let open = run(buyer.counters()).unwrap();
    assert_eq!(open.open().map(|(_, open)| open.stage).collect::<Vec<_>>(), [Stage::Refused]);
}

#[test]
fn the_breaker_stops_what_keeps_going_wrong_until_somebody_says_so() {
    let (buyer, street, store) =
        ready(json!({ "breaker": { "faults": 3, "seconds": 600, "per": "host" } }), |message| {
            Some(demand(message, &[offer(json!({}))]))
        });
    for call in 0..3 {
        run(buyer.fetch(&Wanted::get(&format!("{URL}?{call}")))).unwrap();
    }
    let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&wanted())) else { panic!() };
    assert_eq!((denied.reasons, street.payments.borrow().len()), (vec![Reason::Frozen], 3));
    street.now.set(NOW + 86_400);
    let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&wanted())) else { panic!() };
    assert_eq!(denied.reasons, [Reason::Frozen]);
    let mut counters = run(buyer.counters()).unwrap();
    counters.unfreeze(buyer.policy(), Some("api.example.com"), fresh(), NOW + 86_400).unwrap();
    store.0.borrow_mut().as_mut().unwrap().bytes = counters.encode();
    assert!(run(buyer.fetch(&wanted())).is_ok());
}

#[test]
fn a_plan_pays_and_reserves_nothing() {
    let (buyer, street, store) = ready(json!({}), honest(vec![offer(json!({}))]));
    let before = store.0.borrow().clone();
    let Plan::Pay(plan) = run(buyer.quote(&wanted())).unwrap() else { panic!() };
    let (challenge, decision) = *plan;
    assert_eq!(challenge.offer(decision.choice().unwrap().offer).unwrap().amount, 10_000);
    assert!(street.payments.borrow().is_empty() && *store.0.borrow() == before);
}

#[test]
fn an_approval_by_the_program_lets_the_same_request_through_once() {
    let (buyer, street, _) = ready(json!({ "approvals": [{ "above": "0.005 usd" }] }), honest(vec![offer(json!({}))]));
    let Err(FetchError::ApprovalNeeded(question, explanation)) = run(buyer.fetch(&wanted())) else { panic!() };
    assert!(explanation.to_string().contains("approval_needed"), "{explanation}");
    assert_eq!(question.document["url"], URL);
    run(buyer.approve_by_host(&question.digest)).unwrap().unwrap();
    assert!(run(buyer.fetch(&wanted())).is_ok());
    assert!(matches!(run(buyer.fetch(&wanted())), Err(FetchError::ApprovalNeeded(..))));
    assert_eq!(street.payments.borrow().len(), 1);
}

#[test]
fn a_locked_amount_waits_and_can_be_stopped() {
    let mut desk = Desk::new(with(json!({ "locks": [{ "above": "0.005 usd", "seconds": 3600 }] })));
    let challenge = challenge(&[offer(json!({}))]);
    let Decided::Deny(denied) = desk.reserve(&challenge, &get(URL)).0.outcome else { panic!() };
    assert_eq!((denied.reasons, denied.retry_at), (vec![Reason::TimeLocked], Some(NOW + 3600)));
    desk.now += 3599;
    let Decided::Deny(denied) = desk.reserve(&challenge, &get(URL)).0.outcome else { panic!() };
    assert_eq!(denied.retry_at, Some(NOW + 3600), "asking again does not begin it anew");
    desk.now += 1;
    assert!(desk.pay(&challenge, &get(URL)).is_some());
    // It was for one payment.
    assert_eq!(desk.reserve(&challenge, &get(URL)).0.reasons(), [Reason::TimeLocked]);
    // One that nobody comes for in a day begins anew.
    desk.now += 3600 + 86_400;
    assert_eq!(desk.reserve(&challenge, &get(URL)).0.reasons(), [Reason::TimeLocked]);
}

#[test]
fn a_store_that_fails_or_is_not_ours_stops_everything() {
    struct Broken;
    impl Store for Broken {
        type Version = u64;
        async fn load(&self) -> Result<Option<Blob<u64>>, StoreFailed> {
            Err(StoreFailed)
        }
        async fn swap(&self, _: Option<u64>, _: Vec<u8>) -> Result<bool, StoreFailed> {
            Err(StoreFailed)
        }
    }
    let street = Street::new(honest(vec![offer(json!({}))]));
    let broken = Agent::new(with(json!({})), purse(), street.clone(), Broken, key());
    assert!(matches!(run(broken.fetch(&wanted())), Err(FetchError::Store(_))));
    let store = Memory::default();
    *store.0.borrow_mut() = Some(Blob { bytes: b"{}".to_vec(), version: 1 });
    let buyer = agent(with(json!({})), &street, &store);
    assert!(matches!(run(buyer.fetch(&wanted())), Err(FetchError::Store(_))));
    assert_eq!(store.0.borrow().as_ref().unwrap().bytes, b"{}", "it is not overwritten");
    // An older blob is not taken for the counters either.
    let store = Memory::default();
    let buyer = agent(with(json!({})), &street, &store);
    run(buyer.begin()).unwrap();
    let old = store.0.borrow().clone();
    run(buyer.fetch(&wanted())).unwrap();
    *store.0.borrow_mut() = old;
    assert!(matches!(run(buyer.fetch(&wanted())), Err(FetchError::Store(_))));
    assert_eq!(street.payments.borrow().len(), 1);
    // Without counters nothing was ever begun: that is a loss, not a start.
    let buyer = agent(with(json!({})), &street, &Memory::default());
    let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&wanted())) else { panic!() };
    assert_eq!(denied.reasons, [Reason::CountersLost]);
}

#[test]
fn rules_of_time_say_when() {
    // 1800000000 is a Friday, 08:00 UTC.
    let mut desk = Desk::new(with(json!({
        "hours": [{ "within": [{ "days": ["fri"], "from": "09:00", "to": "10:00" }] }],
        "cooldowns": [{ "name": "pause", "seconds": 60, "per": ["host"] }],
        "duplicates": { "seconds": 300, "then": "deny" },
    })));
    let challenge = challenge(&[offer(json!({}))]);
    assert_eq!(desk.reserve(&challenge, &get(URL)).0.reasons(), [Reason::OutsideHours]);
    desk.now += 3600;
    let id = desk.pay(&challenge, &get(URL)).unwrap();
    desk.counters.conclude(&desk.policy, &id, &Outcome::Charged(10_000), 0, desk.now).unwrap();
    let Decided::Deny(denied) = desk.reserve(&challenge, &get(&format!("{URL}?b"))).0.outcome else { panic!() };
    assert_eq!((denied.reasons, denied.retry_at), (vec![Reason::CoolingDown], Some(NOW + 3660)));
    desk.now += 60;
    assert_eq!(desk.reserve(&challenge, &get(URL)).0.reasons(), [Reason::Duplicate]);
    assert!(desk.pay(&challenge, &get(&format!("{URL}?b"))).is_some());
    desk.now += 240;
    assert!(desk.pay(&challenge, &get(URL)).is_some());
    desk.now = NOW + 7200;
    assert_eq!(desk.reserve(&challenge, &get(URL)).0.reasons(), [Reason::OutsideHours]);
}

#[test]
fn a_price_that_jumps_since_the_last_time_is_not_paid() {
    let mut desk = Desk::new(with(json!({ "slippage": { "last_bps": 2000 } })));
    let paid = |desk: &mut Desk, amount: &str| {
        let challenge = challenge(&[offer(json!({ "amount": amount }))]);
        let (decision, id) = desk.reserve(&challenge, &get(URL));
        let Some(choice) = decision.choice() else { return decision.reasons() };
        let payment = desk.signed(&challenge, choice, &get(URL), &id);
        desk.counters.sign(&desk.policy, &id, payment, desk.now).unwrap();
        let id = super::super::counters::id_text(&id);
        desk.counters.conclude(&desk.policy, &id, &Outcome::Charged(1), 0, desk.now).unwrap();
        vec![]
    };
    assert_eq!(paid(&mut desk, "10000"), []);
    assert_eq!(paid(&mut desk, "12001"), [Reason::PriceAboveLast]);
    assert_eq!(paid(&mut desk, "12000"), []);
    assert_eq!(paid(&mut desk, "14400"), []);
    assert_eq!(paid(&mut desk, "100"), []);
    assert_eq!(paid(&mut desk, "200"), [Reason::PriceAboveLast]);
}

#[test]
fn what_may_have_left_is_not_given_back_because_somebody_says_so() {
    let mut desk = Desk::new(with(json!({})));
    let challenge = challenge(&[offer(json!({}))]);
    let id = desk.pay(&challenge, &get(URL)).unwrap();
    assert!(desk.counters.conclude(&desk.policy, &id, &Outcome::NotSent, 0, NOW).is_err());
    assert_eq!(desk.counters.left(&desk.policy, NOW)[0].used, 10_000_000_000_000_000);
    // The chain may say so.
    desk.counters.conclude(&desk.policy, &id, &Outcome::Unused, 0, NOW).unwrap();
    assert_eq!(desk.counters.left(&desk.policy, NOW)[0].used, 0);
    assert!(desk.counters.conclude(&desk.policy, &id, &Outcome::Unused, 0, NOW).is_err());
}

#[test]
fn a_request_that_is_redirected_within_its_origin_sends_the_same_payment_again_too() {
    let (buyer, street, _) = ready(json!({}), |message| {
        let mut answer = demand(message, &[offer(json!({}))]);
        answer.url = format!("{URL}/");
        message.payment().is_none().then_some(answer)
    });
    for sent in [4, 8] {
        assert!(matches!(run(buyer.fetch(&wanted())), Err(FetchError::Doubtful(_))));
        let payments = street.payments.borrow();
        assert!(payments.len() == sent && payments.iter().all(|payment| *payment == payments[0]));
    }
    assert_eq!(used(&buyer), 10_000);
}

#[test]
fn a_request_whose_method_a_redirect_may_change_is_not_paid_for_at_another_url() {
    let (buyer, street, _) = ready(json!({}), |message| {
        let mut answer = demand(message, &[offer(json!({}))]);
        answer.url = format!("{URL}/created");
        Some(if message.payment().is_some() { settled(message) } else { answer })
    });
    let post = Wanted { method: "POST".to_owned(), body: b"x".to_vec(), ..wanted() };
    let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&post)) else { panic!() };
    assert_eq!((denied.reasons, street.payments.borrow().len()), (vec![Reason::Redirected], 0));
    let head = Wanted { method: "HEAD".to_owned(), ..wanted() };
    assert!(run(buyer.fetch(&head)).is_ok() && run(buyer.fetch(&wanted())).is_ok());
    let there = Wanted { url: format!("{URL}/created"), ..post };
    assert!(run(buyer.fetch(&there)).is_ok());
}

#[test]
fn it_is_not_too_late_to_begin_until_something_has_happened() {
    let street = Street::new(honest(vec![offer(json!({}))]));
    let buyer = agent(with(json!({})), &street, &Memory::default());
    for _ in 0..2 {
        let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&wanted())) else { panic!() };
        assert_eq!(denied.reasons, [Reason::CountersLost]);
    }
    assert!(run(buyer.begin()).unwrap());
    assert_eq!(run(buyer.fetch(&wanted())).unwrap().paid.unwrap().outcome, Outcome::Charged(10_000));
    assert!(!run(buyer.begin()).unwrap());
    assert_eq!(used(&buyer), 10_000);
}
