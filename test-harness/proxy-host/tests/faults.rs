//! Faults at every host call and every moment of a paid exchange: nothing is ever served unpaid, twice, or settled
//! twice, and the filter never traps of itself.

mod common;

use common::{Gate, code, filter, settled};
use proxy_host::farebox::{AUTHORITY, Shop, Spelling, policy};
use proxy_host::{Answer, At, Author, Effect, Handling, Host, Profile, Request, Sent, Service, When};
use std::cell::RefCell;
use std::rc::Rc;

const STATUSES: [u32; 8] = [1, 2, 3, 4, 7, 8, 10, 12];
const PATHS: [&str; 2] = ["/after", "/before"];

fn echoed(path: &str) -> Spelling {
    Spelling { echo: Some("0x00112233445566778899aabbccddeeff".to_owned()), ..Spelling::of(path) }
}

/// As [`observed`], where nothing may happen that must not.
fn disturbed(path: &str, profile: Profile, fault: impl FnOnce(&Host, u64), what: &str) -> Gate {
    let gate = observed(path, profile, fault, what);
    let shop = gate.shop.borrow();
    assert!(shop.violations.is_empty(), "{what}: {:#?}\n{:#?}", shop.violations, gate.host.log());
    drop(shop);
    gate
}

/// Runs one paid exchange with `fault`, then the same payment twice more, on both workers, after every deadline.
fn observed(path: &str, profile: Profile, fault: impl FnOnce(&Host, u64), what: &str) -> Gate {
    let gate = Gate::new(profile, 2);
    let payment = gate.pay(10_000);
    let id = gate.open(0, path, Some((&payment, &echoed(path))));
    fault(&gate.host, id);
    gate.host.advance(60_000);
    gate.host.clear_faults();
    if !gate.host.closed(id) {
        gate.host.overtake(id, 504); // held until the host gives up
    }
    gate.host.advance(1000);
    for vm in [1, 0] {
        let again = gate.open(vm, path, Some((&payment, &echoed(path))));
        gate.host.advance(50_000);
        let response = gate.host.reply(again).unwrap_or_else(|| panic!("{what}: no answer to the resend"));
        assert_ne!(response.author, Author::Host, "{what}: {response:?}");
    }
    gate
}

/// Names of the host calls of an undisturbed exchange.
fn calls_of(path: &str) -> Vec<&'static str> {
    let gate = Gate::new(Profile::envoy(), 2);
    let payment = gate.pay(10_000);
    gate.host.trace();
    let id = gate.open(0, path, Some((&payment, &echoed(path))));
    gate.host.run_until_idle();
    assert_eq!(gate.host.reply(id).unwrap().status, 200);
    gate.host.trace().into_iter().map(|(_, name)| name).collect()
}

/// What came of every status at every host call of a paid exchange.
#[derive(Default)]
struct Matrix {
    /// What must never happen.
    wrong: Vec<String>,
    /// The same, where the filter is known to be wrong.
    known: Vec<String>,
    /// Charged, and not delivered even to the resent payment.
    undelivered: Vec<String>,
}

fn matrix() -> Matrix {
    let mut matrix = Matrix::default();
    for path in PATHS {
        let names = calls_of(path);
        println!("{path}: {} host calls", names.len());
        for (nth, name) in names.iter().enumerate() {
            let before = names[..nth].iter().filter(|other| *other == name).count();
            let after = names[nth + 1..].iter().filter(|other| *other == name).count();
            // The response's headers, and the record that it was delivered, which one more change follows at most.
            let known = match *name {
                "proxy_get_header_map_pairs" => before == 2,
                "proxy_get_shared_data" | "proxy_set_shared_data" => after <= 1,
                _ => false,
            };
            for status in STATUSES {
                for effect in [Effect::Status(status), Effect::DoneBut(status)] {
                    // A host that calls a field absent and then forwards it, a call unsent that it sent, or a response
                    // held that it let go: nothing helps against these.
                    let lies = (*name == "proxy_remove_header_map_value" && effect == Effect::Status(1))
                        || (["proxy_http_call", "proxy_continue_stream"].contains(name)
                            && matches!(effect, Effect::DoneBut(_)));
                    if lies {
                        continue;
                    }
                    let what = format!("{path}, call {} ({name}): {effect:?}", nth + 1);
                    let at = At::Call(u64::try_from(nth).unwrap() + 1);
                    let gate = observed(path, Profile::envoy(), |host, _| host.inject(at, effect), &what);
                    assert_eq!(gate.host.counters().traps, 0, "{what}: {:#?}", gate.host.log());
                    let shop = gate.shop.borrow();
                    let list = if known { &mut matrix.known } else { &mut matrix.wrong };
                    list.extend(shop.violations.iter().map(|violation| format!("{what}: {violation}")));
                    if shop.books.values().any(|book| book.moved && book.delivered == 0) {
                        matrix.undelivered.push(what);
                    }
                }
            }
        }
    }
    matrix
}

#[test]
fn any_status_of_any_host_call_serves_nothing_unpaid() {
    let mut matrix = matrix();
    matrix.undelivered.dedup_by_key(|what| what.split(':').next().map(str::to_owned));
    println!("charged, and not delivered even to the resent payment: {:#?}", matrix.undelivered);
    println!("{} known to be wrong", matrix.known.len());
    assert!(matrix.wrong.is_empty(), "{:#?}", matrix.wrong);
}

/// Response headers that the host will not give are no reason to let the response go, and a delivery that the store
/// will not record does not happen.
#[test]
fn no_exception_is_left() {
    let matrix = matrix();
    assert!(matrix.known.is_empty(), "{:#?}", matrix.known);
}

#[test]
fn any_status_while_starting_is_a_refusal_or_nothing() {
    let json = policy(1000).to_string();
    let mut outcomes = [0, 0];
    for nth in 1..=40 {
        for status in STATUSES {
            let shop = Rc::new(RefCell::new(Shop::new(1)));
            let host = Host::new(&filter(), Profile::envoy(), 1, shop);
            host.inject(At::Call(nth), Effect::Status(status));
            host.trace();
            let started = host.start(&json, &[]);
            let name = host.trace().get(usize::try_from(nth).unwrap() - 1).map_or("none", |(_, name)| name);
            // Without an environment or random numbers the standard library gives up before the filter is asked.
            let theirs = matches!(name, "environ_get" | "environ_sizes_get" | "random_get");
            let trapped = matches!(started, Err(proxy_host::Refused::Trapped(_)));
            assert!(theirs || !trapped, "call {nth} ({name}), {status}: {started:?}");
            outcomes[usize::from(started.is_ok())] += 1;
        }
    }
    println!("refused {}, started {}", outcomes[0], outcomes[1]);
}

/// The delivery is on record before the response goes: where the host then keeps it, the record is taken back.
#[test]
fn a_response_that_the_host_will_not_let_go_is_still_owed() {
    for path in PATHS {
        // The request goes on first, and upfront that is all: its response is let go by a return value.
        for nth in 1..=2 {
            let what = format!("{path}, {nth}");
            let gate = Gate::new(Profile::envoy(), 2);
            let payment = gate.pay(10_000);
            gate.host.inject(At::Function("proxy_continue_stream".to_owned(), nth), Effect::Status(10));
            let first = gate.open(0, path, Some((&payment, &echoed(path))));
            gate.host.advance(1000);
            let first = gate.host.reply(first).map(|response| response.status);
            let held = path == "/after" && nth == 2;
            if held {
                assert_eq!(first, Some(503), "{what}");
            }
            gate.host.advance(60_000);
            let again = gate.open(1, path, Some((&payment, &echoed(path))));
            gate.host.advance(1000);
            let again = gate.host.reply(again).unwrap();
            assert!(!held || again.status == 200, "{what}: {again:?}");
            let shop = gate.shop.borrow();
            assert!(shop.violations.is_empty(), "{what}: {:#?}", shop.violations);
            assert!(shop.books.values().all(|book| book.delivered <= 1 && (!held || book.delivered == 1)), "{what}");
        }
    }
}

/// A VM that comes back after a trap and cannot read its configuration serves nothing; the next request starts it again.
#[test]
fn a_vm_that_comes_back_while_host_calls_fail_refuses_its_configuration_and_recovers() {
    let mut refused = 0;
    for function in
        ["proxy_get_property", "proxy_get_buffer_bytes", "proxy_set_tick_period_milliseconds", "proxy_get_shared_data"]
    {
        let gate = Gate::new(Profile::envoy(), 1);
        let get = |path: &str| {
            let id = gate.host.open(0, Request::new("GET", "http", AUTHORITY, path));
            gate.host.advance(1000);
            gate.host.take(id).map(|response| response.status)
        };
        gate.host.inject(At::Callback("proxy_on_request_headers".to_owned(), 1), Effect::Trap);
        let _ = get("/free");
        gate.host.inject(At::Function(function.to_owned(), 1), Effect::Status(10));
        let status = get("/after");
        assert!(status.is_none_or(|status| status == 402 || status >= 500), "{function}: {status:?}");
        let lines = gate.host.log();
        let line = lines.iter().find(|line| line.text.contains("configuration was refused"));
        refused += usize::from(line.is_some());
        if let Some(line) = line {
            assert!(line.text.contains("host calls having been made to fail"), "{function}: {}", line.text);
        }
        gate.host.clear_faults();
        let _ = get("/after");
        assert_eq!((get("/after"), get("/free")), (Some(402), Some(200)), "{function}: healthy again");
        assert!(gate.shop.borrow().violations.is_empty());
    }
    assert!(refused >= 2, "nothing of it was tried: {refused}");
}

#[test]
fn a_trap_at_any_host_call_serves_nothing_unpaid() {
    for path in PATHS {
        for nth in 1..=calls_of(path).len() {
            let what = format!("{path}, trap at call {nth}");
            let at = At::Call(u64::try_from(nth).unwrap());
            let gate = disturbed(path, Profile::envoy(), |host, _| host.inject(at, Effect::Trap), &what);
            assert_eq!(gate.host.counters().traps, 1, "{what}: {:#?}", gate.host.log());
        }
    }
}

#[test]
fn a_trap_in_any_callback_serves_nothing_unpaid() {
    for path in PATHS {
        for callback in [
            "proxy_on_context_create",
            "proxy_on_request_headers",
            "proxy_on_http_call_response",
            "proxy_on_response_headers",
            "proxy_on_done",
            "proxy_on_delete",
        ] {
            for nth in 1..=2 {
                let what = format!("{path}, trap in {callback} {nth}");
                let at = At::Callback(callback.to_owned(), nth);
                disturbed(path, Profile::envoy(), |host, _| host.inject(at, Effect::Trap), &what);
            }
        }
    }
}

#[test]
fn a_client_that_leaves_at_any_moment_is_charged_at_most_once() {
    let mut facts = Vec::new();
    for path in PATHS {
        for steps in 0..12 {
            let what = format!("{path}, the client leaves after {steps} steps");
            let leave = |host: &Host, id| {
                for _ in 0..steps {
                    host.step();
                }
                host.abort(id);
            };
            let gate = disturbed(path, Profile::envoy(), leave, &what);
            assert_eq!(gate.host.counters().traps, 0, "{what}");
            let shop = gate.shop.borrow();
            let book = shop.books.values().next().unwrap();
            facts.push(format!("{what}: settles {}, delivered {}", book.settles, book.delivered));
            assert!(book.delivered == 1, "{what}: the resent payment gets nothing: {book:?}\n{:#?}", gate.host.log());
        }
    }
    println!("{facts:#?}");
}

/// While the settlement is under way the host may answer past the filter; the payment then still has its delivery.
#[test]
fn a_response_that_the_host_replaces_is_owed() {
    let gate = Gate::new(Profile::envoy(), 2);
    let payment = gate.pay(10_000);
    gate.shop.borrow_mut().conduct.slow = 100;
    let id = gate.open(0, "/after", Some((&payment, &echoed("/after"))));
    for _ in 0..40 {
        gate.host.advance(500);
        if gate.calls().iter().any(|call| call == "/settle") {
            break;
        }
    }
    assert!(gate.host.reply(id).is_none());
    gate.host.overtake(id, 504);
    let response = gate.host.take(id).unwrap();
    assert_eq!((response.status, response.author), (504, Author::Host));
    gate.host.advance(10_000);
    gate.shop.borrow_mut().conduct.slow = 0;
    let again = gate.open(1, "/after", Some((&payment, &echoed("/after"))));
    gate.host.run_until_idle();
    assert_eq!(gate.host.reply(again).unwrap().status, 200, "{:#?}", gate.host.log());
    let stranger = gate.send(0, "/after", Some(&payment)).unwrap();
    assert_eq!(code(&stranger), "payment_used");
    gate.assert_clean("replaced");
}

/// A configuration update in the middle of a settlement loses nothing.
#[test]
fn an_old_root_stays_until_its_money_calls_are_done() {
    let gate = Gate::new(Profile::envoy(), 1);
    let payment = gate.pay(10_000);
    let waiting = Rc::new(RefCell::new(None));
    let settle = waiting.clone();
    gate.shop.borrow_mut().on_call = Some(Box::new(move |call| {
        (call.path() == "/settle").then(|| {
            *settle.borrow_mut() = Some(call.id);
            Handling::Wait
        })
    }));
    let id = gate.open(0, "/after", Some((&payment, &echoed("/after"))));
    gate.host.run_until_idle();
    let call = waiting.borrow_mut().take().expect("a settlement is under way");
    gate.host.update(0, &policy(1_000_000).to_string()).unwrap();
    gate.host.retire(0);
    assert_eq!(gate.host.draining(0), 1, "the old root waits for its settlement");
    assert!(gate.host.closed(id));
    gate.shop.borrow_mut().books.get_mut(&payment.nonce).unwrap().moved = true;
    let settled = settled(&payment);
    gate.host.answer(call, Answer::new(200, settled));
    gate.host.run_until_idle();
    assert_eq!(gate.host.draining(0), 0);
    gate.shop.borrow_mut().on_call = None;
    gate.host.advance(40_000);
    let again = gate.open(0, "/after", Some((&payment, &echoed("/after"))));
    gate.host.run_until_idle();
    assert_eq!(gate.host.reply(again).unwrap().status, 200, "{:#?}", gate.host.log());
    gate.assert_clean("update");
    assert!(gate.host.update(0, "{}").is_err(), "a bad update is refused");
    assert_eq!(gate.send(0, "/after", None).unwrap().status, 402, "and changes nothing");
}

/// An upstream that takes longer than the route says: the claim lapses, the payment may be used anew, and whoever
/// comes late finds that the claim is no longer theirs, even if other claims of the slot were written meanwhile.
#[test]
fn a_claim_that_lapsed_is_not_settled_by_its_former_owner() {
    let gate = Gate::with_policy(Profile::envoy(), 2, &policy(1000).to_string());
    let payment = gate.pay(10_000);
    let spelling = Spelling::of("/after");
    gate.shop.borrow_mut().on_request = Some(Box::new(|_| Some(Service::Wait)));
    let first = gate.open(0, "/after", Some((&payment, &spelling)));
    gate.host.run_until_idle();
    assert_eq!(gate.shop.borrow().requests.len(), 1, "the first is at the upstream");
    gate.host.advance(36_000); // response_timeout_seconds 30, and the grace of 5
    // Other payments, so that every slot of the ledger is written and compacted.
    gate.shop.borrow_mut().keep = false;
    gate.shop.borrow_mut().on_request = None;
    for nth in 0..1500_u32 {
        let mut nonce = [0xee; 32];
        nonce[..4].copy_from_slice(&nth.to_be_bytes());
        let other = gate.wallet.pay(10_000, nonce, gate.host.now() / 1000);
        gate.shop.borrow_mut().issue(&other);
        let id = gate.open(1, "/after", Some((&other, &spelling)));
        gate.host.run_until_idle();
        assert_eq!(gate.host.take(id).unwrap().status, 200);
    }
    gate.shop.borrow_mut().on_request = Some(Box::new(|_| Some(Service::Wait)));
    let second = gate.open(1, "/after", Some((&payment, &spelling)));
    gate.host.run_until_idle();
    assert!(gate.host.reply(second).is_none(), "the second is at the upstream: {:?}", gate.host.reply(second));
    let goods = || Sent::new(200, "goods");
    gate.host.respond(first, goods());
    gate.host.run_until_idle();
    gate.host.respond(second, goods());
    gate.host.run_until_idle();
    let statuses = [first, second].map(|id| gate.host.reply(id).map(|response| (response.status, code(&response))));
    println!("{statuses:?}");
    gate.assert_clean(&format!("lapsed: {statuses:?}"));
}

#[test]
fn a_dispatch_that_is_refused_charges_nothing() {
    let gate = Gate::new(Profile::envoy(), 1);
    let payment = gate.pay(10_000);
    gate.shop.borrow_mut().on_call = Some(Box::new(|call| (call.path() == "/settle").then_some(Handling::Refuse(2))));
    let response = gate.send(0, "/after", Some(&payment)).unwrap();
    assert_eq!(code(&response), "facilitator_unavailable");
    gate.shop.borrow_mut().on_call =
        Some(Box::new(|call| (call.path() == "/settle").then_some(Handling::Answer(When::Soon, Answer::Reset))));
    let response = gate.send(0, "/after", Some(&payment)).unwrap();
    assert_eq!(code(&response), "outcome_unknown");
    gate.shop.borrow_mut().on_call = None;
    let response = gate.send(0, "/after", Some(&payment)).unwrap();
    assert_eq!(code(&response), "outcome_unknown", "and stays so");
    gate.assert_clean("refused dispatch");
}
