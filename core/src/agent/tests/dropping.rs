//! Futures that are dropped, answers that are lost: nothing is paid twice, and everything is accounted for.

use super::super::counters::Stage;
use super::super::{Message, Wanted};
use super::kit::{Memory, NOW, run};
use super::mall::{Mall, buying, holder_key, selling};
use serde_json::{Value, json};
use std::future::Future;
use std::task::{Context, Waker};

const URL: &str = "https://api.example.com/v1/quotes/btc?ccy=usd";

fn passes() -> Value {
    let mut seller = selling(json!({ "calls": 20, "seconds": 600 }));
    seller["routes"][0]["offers"].as_array_mut().unwrap().remove(0);
    seller
}

/// Polls a future so many times, then drops it; whether it had ended.
fn polled<T>(future: impl Future<Output = T>, times: usize) -> bool {
    let mut future = std::pin::pin!(future);
    (0..times).any(|_| future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready())
}

#[test]
fn a_call_may_be_dropped_at_any_await() {
    for seller in [selling(json!({ "calls": 20, "seconds": 600 })), passes()] {
        let mut ended = false;
        let mut drops = 0;
        while !ended {
            let mall = Mall::new(&seller, &buying());
            let store = Memory::default();
            let buyer = mall.buyer_with(&store, holder_key());
            let wanted = Wanted::get(URL);
            ended = polled(buyer.fetch(&wanted), drops);
            drops += 1;
            // What was reserved and not signed is free at once; what was signed is in doubt.
            run(buyer.tidy()).unwrap();
            let counters = run(buyer.counters()).unwrap();
            let open: Vec<Stage> = counters.open().map(|(_, held)| held.stage).collect();
            assert!(open.iter().all(|stage| *stage == Stage::Doubtful), "{drops}: {open:?}");
            // The same request at once, by another process: served, by one settlement in all.
            let again = mall.buyer_with(&store, holder_key());
            let fetched = run(again.fetch(&wanted)).unwrap_or_else(|error| panic!("{drops}: {error}"));
            let settled = mall.host.borrow().calls().iter().filter(|path| *path == "/settle").count();
            let delivered = fetched.paid.as_ref().and_then(|paid| paid.code.as_deref());
            match (fetched.response.status, delivered) {
                // Served: by the one payment, by a second one after a first call that had ended, or with the pass.
                (200, None) => assert!(settled == 1 || (ended && settled == 2), "{drops}: {settled}"),
                // To the seller the first response was delivered: the payment opens nothing more, and is not made anew.
                (409, Some("payment_used")) => assert_eq!(settled, 1, "{drops}"),
                other => panic!("{drops}: {other:?}"),
            }
            let used = run(again.counters()).unwrap().left(again.policy(), mall.now.get())[0].used;
            let price = if seller == passes() { 100_000 } else { 10_000 } * 1_000_000_000_000u128;
            assert_eq!(used, price * settled as u128, "{drops}");
        }
        assert!(drops > 15, "{drops}");
    }
}

#[test]
fn a_pass_whose_answer_was_lost_is_got_with_the_same_payment() {
    // The first answer to the payment never comes; the service was asked, and the token is given to whoever shows the
    // payment's secret.
    let mall = Mall::new(&passes(), &buying());
    let mut lost = 0;
    mall.tampers(move |message: &Message<'_>, response| {
        let paid = message.payment().is_some();
        lost += usize::from(paid);
        (!paid || lost > 1).then_some(response)
    });
    let buyer = mall.buyer();
    let fetched = run(buyer.fetch(&Wanted::get(URL))).unwrap();
    assert_eq!(fetched.response.status, 200);
    assert_eq!(run(buyer.tokens()).unwrap().len(), 1);
    assert_eq!(mall.host.borrow().calls().iter().filter(|path| *path == "/settle").count(), 1);
    let sent: Vec<Vec<String>> = mall.sent.borrow().iter().map(|(_, _, fields)| fields.clone()).collect();
    let introduced = ["payment-signature", "signature-input", "signature"];
    assert_eq!(sent.iter().filter(|fields| **fields == introduced).count(), 2);
    assert!(!String::from_utf8_lossy(&fetched.response.body).contains("capability_token"), "the call itself was made");
}

#[test]
fn a_credit_for_a_call_that_failed_is_kept_and_used_for_the_next() {
    let mut seller = selling(json!({ "calls": 20, "seconds": 600 }));
    seller["routes"][0]["offers"].as_array_mut().unwrap().truncate(1);
    seller["routes"][0]["settle"] = "before".into();
    let mall = Mall::new(&seller, &buying());
    let buyer = mall.buyer();
    let fetched = run(buyer.fetch(&Wanted::get("https://api.example.com/v1/quotes/fails"))).unwrap();
    assert_eq!(fetched.response.status, 500);
    let credit = fetched.kept.unwrap();
    assert_eq!((credit.left[0].amount.0, credit.expires > NOW), (1, true));
    let fetched = run(buyer.fetch(&Wanted::get(URL))).unwrap();
    assert_eq!((fetched.response.status, fetched.token.unwrap().id, fetched.paid.is_none()), (200, credit.id, true));
}
