//! Exchanges that go while their payment is being settled, and payers who pay anew meanwhile.

use super::*;
use std::collections::VecDeque;

/// What `/settle` answers, one call after the other; a call waits as long as there is nothing for it.
type Desk = Rc<RefCell<VecDeque<Option<Result<Answer, CalloutError>>>>>;

fn desk() -> (Desk, impl FnMut(&Callout) -> Option<Result<Answer, CalloutError>>) {
    let desk = Desk::default();
    let answers = Rc::clone(&desk);
    let service = move |call: &Callout| match call.path.as_str() {
        "/settle" => answers.borrow_mut().pop_front()?,
        _ => honest(call),
    };
    (desk, service)
}

fn shown(n: u8) -> String {
    signed(n, nonce(n))
}

fn get(payment: &str) -> Headers {
    request("GET", "/premium-data", &[("payment-signature", payment)])
}

fn settles(host: &TestHost) -> usize {
    host.calls().iter().filter(|path| *path == "/settle").count()
}

/// A payment that answers what the gate offers.
fn shown_for(host: &TestHost, gate: &Rc<Gate>, n: u8) -> String {
    let challenge = host.send(gate, request("GET", "/premium-data", &[])).reply().unwrap();
    let mut payment: Value = serde_json::from_slice(&STANDARD.decode(shown(n)).unwrap()).unwrap();
    payment["accepted"] = decoded(&challenge, "payment-required")["accepts"][0].clone();
    STANDARD.encode(payment.to_string())
}

#[test]
fn a_new_payment_while_the_exchange_of_an_earlier_one_is_gone_is_answered_from_the_earlier_one() {
    for when in ["after", "before"] {
        let (desk, service) = desk();
        let host = TestHost::new(NOW, service, upstream("200"));
        let gate = gate(when);
        let payments = [1, 2].map(|n| shown_for(&host, &gate, n));
        let mut first = host.send(&gate, get(&payments[0]));
        assert!(first.reply().is_none() && settles(&host) == 1);
        first.hang_up();
        host.work();
        for payment in [&payments[1], &payments[0]] {
            let reply = pay(&host, &gate, "/premium-data", payment);
            assert_eq!((reply.status, code(&reply).as_str()), (503, "outcome_unknown"), "{when}");
            assert!(header(&reply, "retry-after").is_some() && header(&reply, "payment-required").is_none());
        }
        desk.borrow_mut().push_back(settled());
        host.work();
        let reply = pay(&host, &gate, "/premium-data", &payments[1]);
        assert_eq!(reply.status, 200, "{when}");
        assert_eq!((settles(&host), host.count("premium/redelivered")), (1, 1), "{when}");
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &payments[0])), "payment_used", "{when}");
    }
}

#[test]
fn purchases_side_by_side_are_each_charged_and_served() {
    let (desk, service) = desk();
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let mut sent: Vec<_> = (1..=5).map(|n| host.send(&gate, get(&shown(n)))).collect();
    assert_eq!(settles(&host), 5);
    desk.borrow_mut().extend((0..5).map(|_| settled()));
    for sent in &mut sent {
        host.settle_down(sent);
        assert_eq!(sent.reply().unwrap().status, 200);
    }
    assert_eq!((host.count("premium/paid"), host.forwarded().len()), (5, 5));
}

#[test]
fn of_purchases_side_by_side_the_one_that_is_cut_off_is_the_one_that_is_remembered() {
    let (desk, service) = desk();
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let mut cut = host.send(&gate, get(&shown(1)));
    let mut other = host.send(&gate, get(&shown(2)));
    cut.hang_up();
    host.work();
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &shown(3))), "outcome_unknown");
    desk.borrow_mut().extend([settled(), settled()]);
    host.settle_down(&mut other);
    assert_eq!(other.reply().unwrap().status, 200);
    assert_eq!(pay(&host, &gate, "/premium-data", &shown(3)).status, 200);
    assert_eq!((settles(&host), host.count("premium/redelivered")), (2, 1));
}

#[test]
fn an_earlier_payment_that_came_to_nothing_after_its_exchange_had_gone_is_in_nobodys_way() {
    let refused = answer(200, json!({ "success": false, "errorReason": "insufficient_funds", "transaction": "" }));
    for end in [refused, Some(Err(CalloutError::NotSent))] {
        let (desk, service) = desk();
        let host = TestHost::new(NOW, service, upstream("200"));
        let gate = gate("after");
        host.send(&gate, get(&shown(1))).hang_up();
        host.work();
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &shown(2))), "outcome_unknown");
        desk.borrow_mut().extend([end, settled()]);
        host.work();
        assert_eq!(pay(&host, &gate, "/premium-data", &shown(2)).status, 200);
        assert_eq!((settles(&host), host.count("premium/paid")), (2, 1));
    }
}

#[test]
fn an_exchange_that_goes_between_its_settlement_and_its_response_is_recoverable_at_once() {
    let (desk, service) = desk();
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let mut first = host.send(&gate, get(&shown(1)));
    desk.borrow_mut().push_back(settled());
    host.work();
    assert_eq!(host.count("claim/settled"), 1);
    first.hang_up();
    host.work();
    assert_eq!(pay(&host, &gate, "/premium-data", &shown(2)).status, 200);
    assert_eq!((settles(&host), host.count("premium/redelivered")), (1, 1));
}

#[test]
fn what_the_chain_has_decided_a_late_answer_does_not_count_again() {
    let answered = Rc::new(Cell::new(false));
    let late = Rc::clone(&answered);
    let node = node("paid", NOW);
    let service = move |call: &Callout| match (call.cluster.as_str(), call.path.as_str()) {
        ("rpc", _) => node(call),
        (_, "/settle") if !late.get() => None,
        _ => honest(call),
    };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate_with("after", with_rpc);
    host.send(&gate, get(&shown(1))).hang_up();
    host.work();
    assert_eq!(pay(&host, &gate, "/premium-data", &shown(2)).status, 200);
    answered.set(true);
    host.work();
    assert_eq!((host.count("claim/settled"), settles(&host)), (1, 1));
    for n in [1, 1] {
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &shown(n))), "payment_used");
    }
}
