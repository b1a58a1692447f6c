//! Whole exchanges through the compiled filters.

mod common;

use common::{Gate, baseline, code, settled};
use proxy_host::farebox::{Shop, Spelling};
use proxy_host::{Author, Headers, Host, Profile, Request, Sent, Service, When};
use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn the_baseline_copies_its_header_in_every_profile() {
    for profile in [Profile::envoy(), Profile::envoy_body_iteration()] {
        let shop = Rc::new(RefCell::new(Shop::new(1)));
        let host = Host::new(&baseline(), profile, 1, shop.clone());
        let vm = host.start("", &[]).unwrap();
        let stream = host.open(
            vm,
            Request::new("POST", "http", "a", "/free")
                .header("x-baseline-in", "seen")
                .chunk("one")
                .chunk("two")
                .trailers(Headers::from_iter([("t", "1")])),
        );
        let other = host.open(vm, Request::new("GET", "http", "a", "/free"));
        host.run_until_idle();
        let response = host.take(stream).unwrap();
        assert_eq!((response.status, response.author, response.whole), (200, Author::Upstream, true));
        assert!(host.take(other).is_some());
        let shop = shop.borrow();
        let copied: Vec<_> = shop.requests.iter().map(|seen| seen.headers.text("x-baseline").unwrap()).collect();
        assert!(copied.contains(&"seen") && copied.contains(&"none"), "{copied:?}");
        let whole = shop.requests.iter().find(|seen| !seen.body.is_empty()).unwrap();
        assert_eq!((whole.body.as_slice(), whole.trailers.as_ref().map(|t| t.0.len())), (&b"onetwo"[..], Some(1)));
    }
}

#[test]
fn unpaid_is_402() {
    let gate = Gate::new(Profile::envoy(), 1);
    let response = gate.send(0, "/after", None).unwrap();
    assert_eq!((response.status, code(&response).as_str(), response.author), (402, "payment_required", Author::Filter));
    assert!(response.headers.get("payment-required").is_some());
    assert!(gate.shop.borrow().requests.is_empty());
    assert_eq!(gate.send(0, "/free", None).unwrap().status, 200);
    assert_eq!(gate.send(0, "/denied", None).unwrap().status, 403);
    gate.assert_clean("unpaid");
}

#[test]
fn paid_is_served_once_in_both_orders() {
    for profile in [Profile::envoy(), Profile::envoy_body_iteration()] {
        let gate = Gate::new(profile, 2);
        for (path, calls) in [("/after", vec!["/verify", "/settle"]), ("/before", vec!["/settle"])] {
            let payment = gate.pay(10_000);
            let response = gate.send(0, path, Some(&payment)).unwrap();
            assert_eq!((response.status, response.author, response.whole), (200, Author::Upstream, true), "{path}");
            assert!(response.headers.get("payment-response").is_some());
            assert_eq!(gate.calls(), calls);
            for vm in [0, 1] {
                let again = gate.send(vm, path, Some(&payment)).unwrap();
                assert_eq!((again.status, code(&again).as_str()), (409, "payment_used"));
            }
            assert!(gate.calls().is_empty());
        }
        assert_eq!(gate.host.metric("farebox_claims_total.state.settled"), 2);
        gate.assert_clean("paid");
    }
}

#[test]
fn a_failed_upstream_is_not_paid() {
    let gate = Gate::new(Profile::envoy(), 1);
    let payment = gate.pay(10_000);
    for sent in [Sent::new(500, "broken"), Sent::reset()] {
        gate.shop.borrow_mut().on_request = Some(Box::new(move |_| Some(Service::Respond(When::Soon, sent.clone()))));
        let response = gate.send(0, "/after", Some(&payment)).unwrap();
        assert!(response.status >= 500, "{response:?}");
        assert_eq!(gate.calls(), ["/verify"]);
    }
    gate.shop.borrow_mut().on_request = None;
    assert_eq!(gate.send(0, "/after", Some(&payment)).unwrap().status, 200);
    gate.assert_clean("failed upstream");
}

/// Body and trailers callbacks come while the request is held; none of them may let it go.
#[test]
fn nothing_is_released_early_while_bodies_arrive() {
    for profile in [Profile::envoy(), Profile::envoy_body_iteration()] {
        let gate = Gate::new(profile, 1);
        let payment = gate.pay(10_000);
        let held = Rc::new(RefCell::new(Vec::new()));
        let calls = held.clone();
        gate.shop.borrow_mut().on_call = Some(Box::new(move |call| {
            calls.borrow_mut().push((call.id, call.path().to_owned()));
            Some(proxy_host::Handling::Wait)
        }));
        let trailers = Headers::from_iter([("t", "1")]);
        let request = Request::new("POST", "http", proxy_host::farebox::AUTHORITY, "/after")
            .chunk("one")
            .chunk("two")
            .trailers(trailers);
        let spelling = Spelling::default();
        let id = gate.open_as(0, request, Some((&payment, &spelling)));
        gate.host.run_until_idle();
        assert!(gate.host.reply(id).is_none() && gate.shop.borrow().requests.is_empty(), "held in verify");
        let verify = held.borrow_mut().pop().unwrap();
        assert_eq!(verify.1, "/verify");
        let mut sent = Sent::new(200, "a");
        sent.body.push(b"b".to_vec());
        sent.trailers = Some(Headers::from_iter([("t", "2")]));
        gate.shop.borrow_mut().on_request = Some(Box::new(move |_| Some(Service::Respond(When::Soon, sent.clone()))));
        let valid = r#"{"isValid":true}"#;
        gate.host.answer(verify.0, proxy_host::Answer::new(200, valid));
        gate.host.run_until_idle();
        assert_eq!(gate.shop.borrow().requests.len(), 1);
        assert_eq!(gate.shop.borrow().requests[0].body, b"onetwo");
        assert!(gate.host.reply(id).is_none(), "held in settle");
        let settle = held.borrow_mut().pop().unwrap();
        gate.shop.borrow_mut().books.get_mut(&payment.nonce).unwrap().moved = true;
        let settled = settled(&payment);
        gate.host.answer(settle.0, proxy_host::Answer::new(200, settled));
        gate.host.run_until_idle();
        let response = gate.host.take(id).unwrap();
        assert_eq!((response.status, response.body.as_slice(), response.whole), (200, &b"ab"[..], true));
        assert!(response.trailers.is_some());
        gate.assert_clean("bodies");
    }
}

#[test]
fn a_configuration_that_is_refused_starts_nothing() {
    let shop = Rc::new(RefCell::new(Shop::new(1)));
    let host = Host::new(&common::filter(), Profile::envoy(), 1, shop);
    let refused = host.start("{}", &[]).unwrap_err();
    assert!(matches!(&refused, proxy_host::Refused::Configuration(lines) if !lines.is_empty()), "{refused}");
    let mut elsewhere = Profile::envoy();
    elsewhere.properties.clear();
    let shop = Rc::new(RefCell::new(Shop::new(1)));
    let host = Host::new(&common::filter(), elsewhere, 1, shop);
    let refused = host.start(&proxy_host::farebox::policy(1000).to_string(), &[]).unwrap_err();
    assert!(refused.to_string().contains("not Envoy"), "{refused}");
}

#[test]
fn an_unknown_import_is_named() {
    let module = [
        b"\0asm\x01\0\0\0".as_slice(),
        &[1, 4, 1, 0x60, 0, 0],
        &[2, 14, 1, 3, b'e', b'n', b'v', 6, b'n', b'o', b'b', b'o', b'd', b'y', 0, 0],
    ]
    .concat();
    let error = proxy_host::Filter::compile(&module).unwrap_err();
    assert!(error.to_string().contains("env.nobody"), "{error}");
}

#[test]
fn one_authorization_is_one_payment_in_both_versions() {
    let gate = Gate::new(Profile::envoy(), 2);
    let payment = gate.pay(10_000);
    let version1 = Spelling { version1: true, ..Spelling::default() };
    let first = gate.open(0, "/after", Some((&payment, &version1)));
    gate.host.run_until_idle();
    let response = gate.host.reply(first).unwrap();
    assert_eq!(response.status, 200, "{} {:?}", String::from_utf8_lossy(&response.body), gate.calls());
    for spelling in [Spelling::default(), version1] {
        let again = gate.open(1, "/after", Some((&payment, &spelling)));
        gate.host.run_until_idle();
        assert_eq!(code(&gate.host.reply(again).unwrap()), "payment_used");
    }
    gate.assert_clean("versions");
}
