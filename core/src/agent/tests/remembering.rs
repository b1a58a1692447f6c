//! What a decision remembers of others: of which payments, for how long, and until when it can be taken back.

use super::super::challenge::Challenge;
use super::super::counters::{Outcome, id_text};
use super::super::decide::Outcome as Decided;
use super::super::purse::Purse;
use super::super::reason::Reason;
use super::kit::*;
use serde_json::{Value, json};

fn one(changes: Value) -> Challenge {
    challenge(&[offer(changes)])
}

fn pass(calls: u64) -> Value {
    json!({ "extra": { "name": "USDC", "version": "2", "pass": { "calls": calls, "expiresIn": 600 } } })
}

fn reasons(desk: &mut Desk, challenge: &Challenge, url: &str) -> Vec<Reason> {
    let mut counters = desk.counters.clone();
    let purse = Purse { keeps_tokens: true, ..purse() };
    counters.reserve(&desk.policy, challenge, &get(url), &purse, fresh(), desk.now).reasons()
}

fn declines(desk: &mut Desk, id: &[u8; 16]) {
    desk.counters.conclude(&desk.policy, &id_text(id), &Outcome::NotSent, 0, desk.now).unwrap();
}

#[test]
fn locks_of_one_payment_open_one_after_another_and_stay_open_together() {
    let mut desk = Desk::new(with(json!({
        "locks": [{ "above": "0.005 usd", "seconds": 3600 }, { "above": "0.008 usd", "seconds": 259_200 }],
    })));
    let dear = one(json!({}));
    for later in [0, 3600, 100_000, 259_199] {
        desk.now = NOW + later;
        let Decided::Deny(denied) = desk.reserve(&dear, &get(URL)).0.outcome else { panic!() };
        assert_eq!((denied.reasons, denied.retry_at), (vec![Reason::TimeLocked], Some(NOW + 259_200)), "{later}");
    }
    desk.now = NOW + 259_200 + 86_399;
    assert_eq!(reasons(&mut desk, &dear, URL), []);
    desk.now += 1;
    assert_eq!(reasons(&mut desk, &dear, URL), [Reason::TimeLocked]);
}

#[test]
fn an_approval_is_for_what_was_asked_about_and_nothing_else() {
    let sold = [
        json!({}),
        pass(1000),
        pass(1),
        pass(u64::MAX),
        pass(u64::MAX - 1),
        json!({ "maxTimeoutSeconds": 299 }),
        json!({ "extra": { "name": "USDC", "version": "2", "paymentFlow": "upfront" } }),
    ];
    for (index, approved) in sold.iter().enumerate() {
        let mut desk = Desk::new(with(json!({ "approvals": [{ "above": "0.005 usd" }] })));
        let purse = Purse { keeps_tokens: true, ..purse() };
        let challenge = one(approved.clone());
        let asked = desk.counters.reserve(&desk.policy, &challenge, &get(URL), &purse, fresh(), NOW);
        let Decided::Ask(asked) = asked.outcome else { panic!("{approved}") };
        desk.counters.approve_by_host(&asked.question.unwrap().digest, NOW).unwrap();
        for (other, offered) in sold.iter().enumerate() {
            let needed = if other == index { vec![] } else { vec![Reason::ApprovalNeeded] };
            assert_eq!(reasons(&mut desk, &one(offered.clone()), URL), needed, "{approved}, then {offered}");
        }
    }
}

#[test]
fn who_was_never_signed_for_was_never_met() {
    let mut desk = Desk::new(with(json!({
        "payees": { "on_change": "deny" },
        "cooldowns": [{ "name": "slowly", "seconds": 60 }],
        "approvals": [{ "name": "new", "first": ["payee"] }],
    })));
    let (right, wrong) = (one(json!({})), one(json!({ "payTo": OTHER })));
    let approved = |desk: &mut Desk, challenge: &Challenge| {
        let Decided::Ask(asked) = desk.reserve(challenge, &get(URL)).0.outcome else { panic!() };
        desk.counters.approve_by_host(&asked.question.unwrap().digest, desk.now).unwrap();
        let (decision, id) = desk.reserve(challenge, &get(URL));
        (decision, id)
    };
    let (_, held) = approved(&mut desk, &wrong);
    // While it may still be signed, the host has that payee.
    assert!(reasons(&mut desk, &right, URL).contains(&Reason::PayeeChanged));
    declines(&mut desk, &held);
    assert_eq!(reasons(&mut desk, &wrong, URL), [Reason::ApprovalNeeded], "it was not seen, and nothing cools down");
    let (decision, id) = approved(&mut desk, &right);
    let payment = desk.signed(&right, decision.choice().unwrap(), &get(URL), &id);
    desk.counters.sign(&desk.policy, &id, payment, desk.now).unwrap();
    assert_eq!(reasons(&mut desk, &right, URL), [Reason::CoolingDown]);
    desk.now += 60;
    assert_eq!(reasons(&mut desk, &right, URL), []);
    assert_eq!(reasons(&mut desk, &wrong, URL)[0], Reason::PayeeChanged);
    // A payment that is declined later leaves the times of others as they were.
    let (_, held) = desk.reserve(&right, &get(URL));
    assert_eq!(reasons(&mut desk, &right, URL), [Reason::CoolingDown]);
    declines(&mut desk, &held);
    assert_eq!(reasons(&mut desk, &right, URL), []);
}

#[test]
fn a_second_payment_that_is_declined_leaves_the_first_a_duplicate() {
    let mut desk = Desk::new(with(json!({ "duplicates": { "seconds": 3600, "then": "ask" } })));
    let challenge = one(json!({}));
    let id = desk.pay(&challenge, &get(URL)).unwrap();
    desk.counters.conclude(&desk.policy, &id, &Outcome::Charged(10_000), 0, NOW).unwrap();
    desk.now += 600;
    let Decided::Ask(asked) = desk.reserve(&challenge, &get(URL)).0.outcome else { panic!() };
    desk.counters.approve_by_host(&asked.question.unwrap().digest, desk.now).unwrap();
    let (decision, second) = desk.reserve(&challenge, &get(URL));
    assert!(decision.choice().is_some());
    declines(&mut desk, &second);
    assert_eq!(reasons(&mut desk, &challenge, URL), [Reason::ApprovalNeeded]);
    desk.now = NOW + 3600;
    assert_eq!(reasons(&mut desk, &challenge, URL), []);
    // A first one that is declined is none.
    let (_, first) = desk.reserve(&challenge, &get(URL));
    declines(&mut desk, &first);
    assert_eq!(reasons(&mut desk, &challenge, URL), []);
}

#[test]
fn a_pass_and_a_single_call_have_each_their_last_price() {
    let mut desk = Desk::new(with(json!({ "slippage": { "last_bps": 0 } })));
    let dear = |amount: &str| {
        let mut dear = pass(20);
        dear["amount"] = amount.into();
        one(dear)
    };
    let id = desk.pay(&one(json!({})), &get(URL)).unwrap();
    desk.counters.conclude(&desk.policy, &id, &Outcome::Charged(10_000), 0, NOW).unwrap();
    assert_eq!(reasons(&mut desk, &dear("40000"), URL), []);
    let purse = Purse { keeps_tokens: true, ..purse() };
    let id = fresh();
    let decision = desk.counters.reserve(&desk.policy, &dear("40000"), &get(URL), &purse, id, NOW);
    let payment = desk.signed(&dear("40000"), decision.choice().unwrap(), &get(URL), &id);
    desk.counters.sign(&desk.policy, &id, payment, NOW).unwrap();
    desk.counters.conclude(&desk.policy, &id_text(&id), &Outcome::Charged(40_000), 0, NOW).unwrap();
    assert_eq!(reasons(&mut desk, &dear("40001"), URL), [Reason::PriceAboveLast]);
    assert_eq!(reasons(&mut desk, &one(json!({ "amount": "10001" })), URL), [Reason::PriceAboveLast]);
}

#[test]
fn who_opens_everything_opens_every_host() {
    let hosts = ["https://a.example.com/x", "https://b.example.com/x"];
    let mut desk = Desk::new(with(json!({
        "allow": [{ "match": { "hosts": ["*.example.com"] } }],
        "breaker": { "faults": 1, "seconds": 600, "per": "host" },
    })));
    let challenge = one(json!({}));
    for host in hosts {
        let id = desk.pay(&challenge, &get(host)).unwrap();
        desk.counters.conclude(&desk.policy, &id, &Outcome::Refused, 1, NOW).unwrap();
        assert_eq!(reasons(&mut desk, &challenge, host), [Reason::Frozen]);
    }
    let mut one_host = desk.counters.clone();
    one_host.unfreeze(&desk.policy, Some("a.example.com"), fresh(), NOW).unwrap();
    std::mem::swap(&mut desk.counters, &mut one_host);
    assert_eq!(hosts.map(|host| reasons(&mut desk, &challenge, host).len()), [0, 1]);
    std::mem::swap(&mut desk.counters, &mut one_host);
    desk.counters.unfreeze(&desk.policy, None, fresh(), NOW).unwrap();
    assert_eq!(hosts.map(|host| reasons(&mut desk, &challenge, host).len()), [0, 0]);
}

#[test]
fn a_reservation_of_before_its_changes_were_kept_is_read() {
    let mut desk = Desk::new(with(json!({ "cooldowns": [{ "name": "slowly", "seconds": 60 }] })));
    desk.pay(&one(json!({})), &get(URL)).unwrap();
    let mut blob: Value = serde_json::from_slice(&desk.counters.encode()).unwrap();
    for held in blob["open"].as_object_mut().unwrap().values_mut() {
        assert!(held.as_object_mut().unwrap().remove("before").is_some());
    }
    assert!(super::super::counters::Counters::decode(blob.to_string().as_bytes(), 0).is_ok());
}
