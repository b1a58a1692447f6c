//! The money rules, against a facilitator and an upstream that are closures.

use super::Gate;
use crate::host::{Answer, Callout, CalloutError, Capabilities, Fact};
use crate::http::{Headers, Reply};
use crate::test_host::TestHost;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

mod chain;
mod facilitators;
mod gone;
mod grpc;
mod offers;
mod rails;
mod tokens;
mod v1;

const NOW: u64 = 1_800_000_000;
const TX: &str = "0xabababababababababababababababababababababababababababababababab";
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn gate(settle: &str) -> Rc<Gate> {
    gate_with(settle, |_| {})
}

fn gate_with(settle: &str, change: impl Fn(&mut Value)) -> Rc<Gate> {
    let mut policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "cors": { "allowed_origins": ["https://app.example"] },
        "routes": [
            { "name": "premium", "path": "/premium-data", "settle": settle, "response_timeout_seconds": 30,
              "description": "Premium data", "mime_type": "application/json",
              "offers": [{ "price": "$0.01", "network": "eip155:84532" }] },
            { "name": "dear", "path": "/dear", "offers": [{ "price": "$0.02", "network": "eip155:84532" }] },
            { "name": "same-price", "path": "/same-price", "offers": [{ "price": "$0.01", "network": "eip155:84532" }] },
            { "name": "free", "path": "/free", "access": "free" },
            { "name": "denied", "path": "/denied", "access": "denied" }
        ]
    });
    change(&mut policy);
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy.to_string().as_bytes(), &|_| None, can).unwrap())
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Headers {
    let mut fields =
        vec![(":method", method), (":scheme", "https"), (":authority", "api.example.com"), (":path", path)];
    fields.extend_from_slice(more);
    fields.into_iter().collect()
}

fn vector_payment() -> Value {
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/x402.json")).unwrap();
    serde_json::from_str(vectors["exact3009_payloadJson"].as_str().unwrap()).unwrap()
}

/// The official client's payment, echoing `nonce` as official clients echo every extension.
fn payment_with(nonce: Option<&str>) -> String {
    let mut payment = vector_payment();
    if let Some(nonce) = nonce {
        payment["extensions"] = json!({ "farebox": { "info": { "nonce": nonce }, "schema": {} } });
    }
    STANDARD.encode(payment.to_string())
}

fn payment() -> String {
    payment_with(Some("0x00112233445566778899aabbccddeeff"))
}

fn answer(status: u16, body: Value) -> Option<Result<Answer, CalloutError>> {
    Some(Ok(Answer { status, headers: Headers::default(), body: body.to_string().into_bytes() }))
}

fn valid() -> Option<Result<Answer, CalloutError>> {
    answer(200, json!({ "isValid": true, "payer": PAYER }))
}

fn settled() -> Option<Result<Answer, CalloutError>> {
    answer(200, json!({ "success": true, "payer": PAYER, "transaction": TX, "network": "eip155:84532" }))
}

fn honest(call: &Callout) -> Option<Result<Answer, CalloutError>> {
    honest_at(&call.path)
}

fn honest_at(endpoint: &str) -> Option<Result<Answer, CalloutError>> {
    match endpoint {
        "/verify" => valid(),
        "/settle" => settled(),
        _ => None,
    }
}

fn upstream(status: &'static str) -> impl FnMut(&Headers) -> Option<Headers> {
    move |_| Some([(":status", status), ("payment-response", "forged")].into_iter().collect())
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn code(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["code"].as_str().unwrap().to_owned()
}

fn decoded(reply: &Reply, name: &str) -> Value {
    serde_json::from_slice(&STANDARD.decode(header(reply, name).unwrap()).unwrap()).unwrap()
}

fn pay(host: &TestHost, gate: &Rc<Gate>, path: &str, payment: &str) -> Reply {
    host.send(gate, request("GET", path, &[("payment-signature", payment)])).reply().unwrap()
}

#[test]
fn an_unpaid_request_is_challenged_and_the_upstream_never_sees_it() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    for method in ["GET", "HEAD", "POST"] {
        let reply = host.send(&gate("after"), request(method, "/premium-data", &[])).reply().unwrap();
        assert_eq!((reply.status, code(&reply).as_str()), (402, "payment_required"));
        let challenge = decoded(&reply, "payment-required");
        assert_eq!(challenge["resource"]["url"], "https://api.example.com/premium-data");
        assert_eq!(challenge["accepts"][0]["amount"], "10000");
        assert_eq!(header(&reply, "cache-control"), Some("no-store"));
    }
    assert!(host.forwarded().is_empty() && host.calls().is_empty());
    assert_eq!(host.count("premium/payment_required"), 3);
}

#[test]
fn settle_after_verifies_forwards_settles_and_hands_out_the_receipt() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let sent = host.send(&gate("after"), request("GET", "/premium-data", &[("payment-signature", &payment())]));
    let reply = sent.reply().unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"upstream".as_slice()));
    let receipt = decoded(&reply, "payment-response");
    assert_eq!(receipt["transaction"], TX);
    assert_eq!(reply.headers.iter().filter(|(name, _)| name == "payment-response").count(), 1);
    assert_eq!(header(&reply, "cache-control"), Some("private, no-store"));
    assert_eq!(host.calls(), ["/verify", "/settle"]);
    assert!(host.forwarded()[0].first("payment-signature").is_none());
    assert_eq!(sent.note(Fact::Payer).unwrap(), format!("eip155:84532:{PAYER}"));
    assert_eq!(sent.note(Fact::Amount).unwrap(), "10000");
    assert_eq!(host.count("premium/paid"), 1);
}

#[test]
fn settle_before_settles_first_and_never_asks_verify() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate("before");
    let challenge =
        decoded(&host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap(), "payment-required");
    assert_eq!(challenge["accepts"][0]["extra"]["paymentFlow"], "upfront");
    let mut payment = vector_payment();
    payment["accepted"] = challenge["accepts"][0].clone();
    let reply = pay(&host, &gate, "/premium-data", &STANDARD.encode(payment.to_string()));
    assert_eq!(reply.status, 200);
    assert_eq!(host.calls(), ["/settle"]);
}

#[test]
fn the_facilitator_gets_the_clients_payment_unchanged_and_our_requirement() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let mut odd = vector_payment();
    odd["accepted"]["extra"]["added"] = json!(1.50);
    odd["unknown"] = json!({ "a": [1, 2] });
    let text = odd.to_string();
    pay(&host, &gate("after"), "/premium-data", &STANDARD.encode(&text));
    let body = String::from_utf8(host.callouts()[0].body.clone()).unwrap();
    assert!(body.contains(&text));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["paymentRequirements"]["extra"], json!({ "name": "USDC", "version": "2" }));
}

#[test]
fn a_failed_upstream_is_not_charged_and_the_payment_stays_good() {
    let host = TestHost::new(NOW, honest, upstream("500"));
    let gate = gate("after");
    for _ in 0..2 {
        let reply = pay(&host, &gate, "/premium-data", &payment());
        assert_eq!(reply.status, 500);
        assert!(header(&reply, "payment-response").is_none());
    }
    assert_eq!(host.calls(), ["/verify", "/verify"]);
    assert_eq!(host.count("premium/upstream_failed"), 2);
}

#[test]
fn redirects_and_trailers_only_grpc_failures_are_not_charged() {
    for response in [vec![(":status", "302")], vec![(":status", "200"), ("grpc-status", "7")]] {
        let host = TestHost::new(NOW, honest, move |_: &Headers| Some(response.iter().copied().collect()));
        pay(&host, &gate("after"), "/premium-data", &payment());
        assert_eq!(host.calls(), ["/verify"]);
    }
}

#[test]
fn a_response_that_cannot_be_read_is_not_let_go_and_not_charged() {
    let host = TestHost::new(NOW, honest, |_: &Headers| Some(Headers::default()));
    let reply = pay(&host, &gate("after"), "/premium-data", &payment());
    assert_eq!((reply.status, code(&reply).as_str()), (502, "upstream_unreadable"));
    assert_eq!(host.calls(), ["/verify"]);
}

#[test]
fn a_used_payment_is_refused_on_its_own_and_on_any_other_request() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate("after");
    assert_eq!(pay(&host, &gate, "/premium-data", &payment()).status, 200);
    for path in ["/premium-data", "/premium-data?x=1", "/same-price", "/dear"] {
        let reply = pay(&host, &gate, path, &payment());
        assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_used"), "{path}");
        assert!(header(&reply, "payment-required").is_none());
    }
    let head = request("HEAD", "/premium-data", &[("payment-signature", &payment())]);
    assert_eq!(code(&host.send(&gate, head).reply().unwrap()), "payment_used");
    assert_eq!((host.forwarded().len(), host.calls().len()), (1, 2));
}

#[test]
fn a_payment_for_a_cheap_route_does_not_open_a_dear_one() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let reply = pay(&host, &gate("after"), "/dear", &payment());
    assert_eq!((reply.status, code(&reply).as_str()), (402, "payment_mismatch"));
    assert!(host.calls().is_empty());
}

#[test]
fn each_changed_term_is_refused_before_anybody_is_asked() {
    let cases: [(&str, Value, &str); 12] = [
        ("/accepted/amount", json!("9999"), "payment_mismatch"),
        ("/accepted/payTo", json!(PAYER), "payment_mismatch"),
        ("/accepted/asset", json!("0x036cbd53842c5426634e7929541ec2318f3dcf7e"), "payment_mismatch"),
        ("/accepted/network", json!("eip155:8453"), "payment_mismatch"),
        ("/accepted/scheme", json!("upto"), "payment_mismatch"),
        ("/accepted/maxTimeoutSeconds", json!(301), "payment_mismatch"),
        ("/accepted/extra/name", json!("USD Coin"), "payment_mismatch"),
        ("/payload/authorization/to", json!(PAYER), "payment_terms"),
        ("/payload/authorization/value", json!("10001"), "payment_terms"),
        ("/payload/authorization/validBefore", json!("1799999999"), "payment_expired"),
        ("/payload/authorization/validBefore", json!("1800000400"), "payment_time_window"),
        ("/payload/authorization/validAfter", json!("1800000001"), "payment_time_window"),
    ];
    for (pointer, value, expected) in cases {
        let host = TestHost::new(NOW, honest, upstream("200"));
        let mut payment = vector_payment();
        *payment.pointer_mut(pointer).unwrap() = value;
        let reply = pay(&host, &gate("after"), "/premium-data", &STANDARD.encode(payment.to_string()));
        assert_eq!((reply.status, code(&reply).as_str()), (402, expected), "{pointer}");
        assert!(header(&reply, "payment-required").is_some());
        assert!(host.calls().is_empty() && host.forwarded().is_empty());
    }
}

#[test]
fn one_payment_at_once_runs_the_upstream_once() {
    let open = Rc::new(Cell::new(false));
    let gate_open = Rc::clone(&open);
    let host = TestHost::new(NOW, honest, move |_: &Headers| {
        gate_open.get().then(|| [(":status", "200")].into_iter().collect())
    });
    let gate = gate("after");
    let mut first = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &payment())]));
    assert!(first.reply().is_none());
    for _ in 0..50 {
        let reply = pay(&host, &gate, "/premium-data", &payment());
        assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_in_progress"));
        assert_eq!(header(&reply, "retry-after"), Some("1"));
    }
    open.set(true);
    host.settle_down(&mut first);
    assert_eq!(first.reply().unwrap().status, 200);
    assert_eq!((host.forwarded().len(), host.calls().len()), (1, 2));
}

#[test]
fn a_facilitator_that_lies_or_fails_never_lets_a_request_through() {
    let bad = [
        json!({}),
        json!({ "isValid": "true" }),
        json!({ "isValid": 1 }),
        json!({ "isValid": true, "payer": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" }),
        json!([true]),
    ];
    for body in bad {
        let host = TestHost::new(NOW, move |_: &Callout| answer(200, body.clone()), upstream("200"));
        let reply = pay(&host, &gate("after"), "/premium-data", &payment());
        assert_eq!((reply.status, code(&reply).as_str()), (503, "facilitator_unavailable"));
        assert!(host.forwarded().is_empty());
    }
    for error in [CalloutError::NotSent, CalloutError::Lost, CalloutError::TooLarge] {
        let host = TestHost::new(NOW, move |_: &Callout| Some(Err(error)), upstream("200"));
        assert_eq!(code(&pay(&host, &gate("after"), "/premium-data", &payment())), "facilitator_unavailable");
    }
    let positive_error = |_: &Callout| answer(500, json!({ "isValid": true }));
    let host = TestHost::new(NOW, positive_error, upstream("200"));
    assert_eq!(code(&pay(&host, &gate("after"), "/premium-data", &payment())), "facilitator_unavailable");
}

#[test]
fn a_negative_verify_counts_under_any_status_and_leaves_no_claim() {
    for status in [200, 400, 500] {
        let refuse =
            move |_: &Callout| answer(status, json!({ "isValid": false, "invalidReason": "insufficient_funds" }));
        let host = TestHost::new(NOW, refuse, upstream("200"));
        let gate = gate("after");
        let reply = pay(&host, &gate, "/premium-data", &payment());
        assert_eq!((reply.status, code(&reply).as_str()), (402, "payment_invalid"));
        assert_eq!(decoded(&reply, "payment-required")["error"], "insufficient_funds");
        host.serve_callouts(honest);
        assert_eq!(pay(&host, &gate, "/premium-data", &payment()).status, 200);
    }
}

#[test]
fn an_unknown_settlement_is_never_a_402_and_serves_nothing() {
    let unknown = [
        (500, json!({ "error": "boom" })),
        (200, json!({})),
        (200, json!({ "success": "true" })),
        (200, json!({ "success": true, "transaction": TX, "network": "eip155:1", "payer": PAYER })),
        (200, json!({ "success": true, "transaction": "", "network": "eip155:84532", "payer": PAYER })),
        (200, json!({ "success": false })),
        (503, json!({ "success": false, "errors": [{ "code": 1 }] })),
        (200, json!({ "success": false, "errorReason": "rpc_unreachable" })),
        (200, json!({ "success": false, "errorReason": "invalid_exact_evm_nonce_already_used" })),
        (200, json!({ "success": false, "errorReason": "whatever", "transaction": TX })),
    ];
    for (status, body) in unknown {
        let service = move |call: &Callout| if call.path == "/verify" { valid() } else { answer(status, body.clone()) };
        let host = TestHost::new(NOW, service, upstream("200"));
        let gate = gate("after");
        for _ in 0..3 {
            let reply = pay(&host, &gate, "/premium-data", &payment());
            assert_eq!((reply.status, code(&reply).as_str()), (503, "outcome_unknown"));
            assert!(header(&reply, "payment-required").is_none());
            host.pass(100);
        }
        assert_eq!(host.forwarded().len(), 1);
        assert_eq!(host.calls().iter().filter(|path| *path == "/verify").count(), 1);
    }
}

#[test]
fn a_refused_settlement_serves_nothing_and_says_so() {
    let service = |call: &Callout| match call.path.as_str() {
        "/verify" => valid(),
        _ => answer(200, json!({ "success": false, "errorReason": "insufficient_funds", "transaction": "" })),
    };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let reply = pay(&host, &gate, "/premium-data", &payment());
    assert_eq!((reply.status, code(&reply).as_str()), (402, "settlement_failed"));
    assert_eq!(decoded(&reply, "payment-response")["success"], false);
    assert!(header(&reply, "payment-required").is_some());
    let again = pay(&host, &gate, "/premium-data", &payment());
    assert_eq!((again.status, code(&again).as_str()), (402, "settlement_failed"));
    assert_eq!(host.forwarded().len(), 1);
}

#[test]
fn a_client_that_leaves_during_settlement_finds_its_delivery_later_and_a_thief_does_not() {
    let held = Rc::new(Cell::new(true));
    let hold = Rc::clone(&held);
    let service = move |call: &Callout| match call.path.as_str() {
        "/verify" => valid(),
        "/settle" if hold.get() => None,
        _ => settled(),
    };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let mut sent = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &payment())]));
    sent.hang_up();
    held.set(false);
    host.work();
    for thief in [payment_with(None), payment_with(Some("0xffffffffffffffffffffffffffffffff"))] {
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &thief)), "payment_used");
    }
    let reply = pay(&host, &gate, "/premium-data", &payment());
    assert_eq!(reply.status, 200);
    assert_eq!(decoded(&reply, "payment-response")["transaction"], TX);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "payment_used");
    assert_eq!(host.calls(), ["/verify", "/settle"]);
}

#[test]
fn a_client_that_leaves_during_verify_or_forward_leaves_no_claim_behind() {
    let verify_answers = Rc::new(Cell::new(false));
    let answers = Rc::clone(&verify_answers);
    let service = move |call: &Callout| match call.path.as_str() {
        "/verify" if !answers.get() => None,
        _ => honest(call),
    };
    let ready = Rc::new(Cell::new(false));
    let upstream_ready = Rc::clone(&ready);
    let host = TestHost::new(NOW, service, move |_: &Headers| {
        upstream_ready.get().then(|| [(":status", "200")].into_iter().collect())
    });
    let gate = gate("after");
    let with_payment = || request("GET", "/premium-data", &[("payment-signature", &payment())]);
    host.send(&gate, with_payment()).hang_up();
    host.work();
    verify_answers.set(true);
    host.send(&gate, with_payment()).hang_up();
    host.work();
    assert_eq!(host.count("claim/released"), 2);
    ready.set(true);
    assert_eq!(host.send(&gate, with_payment()).reply().unwrap().status, 200);
}

#[test]
fn a_worker_that_died_before_settling_releases_and_one_that_died_settling_leaves_unknown() {
    let stuck = Rc::new(RefCell::new("/verify"));
    let at = Rc::clone(&stuck);
    let service = move |call: &Callout| if call.path == *at.borrow() { None } else { honest(call) };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let with_payment = || request("GET", "/premium-data", &[("payment-signature", &payment())]);
    std::mem::forget(host.send(&gate, with_payment()));
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "payment_in_progress");
    host.pass(20);
    *stuck.borrow_mut() = "/settle";
    std::mem::forget(host.send(&gate, with_payment()));
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "payment_in_progress");
    host.pass(200);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "outcome_unknown");
}

#[test]
fn settle_before_owes_a_delivery_when_the_upstream_fails() {
    let fails = Rc::new(Cell::new(true));
    let failing = Rc::clone(&fails);
    let host = TestHost::new(NOW, honest, move |_: &Headers| {
        Some([(":status", if failing.get() { "502" } else { "200" })].into_iter().collect())
    });
    let gate = gate("before");
    let challenge = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    let challenge = decoded(&challenge, "payment-required");
    let mut payment = vector_payment();
    payment["accepted"] = challenge["accepts"][0].clone();
    payment["extensions"] = challenge["extensions"].clone();
    let payment = STANDARD.encode(payment.to_string());
    let reply = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!(reply.status, 502);
    assert_eq!(decoded(&reply, "payment-response")["success"], true);
    fails.set(false);
    assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment)), "payment_used");
    assert_eq!(host.calls(), ["/settle"]);
}

#[test]
fn a_known_payment_is_found_before_its_time_window_is_looked_at() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate("after");
    assert_eq!(pay(&host, &gate, "/premium-data", &payment()).status, 200);
    host.pass(600);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "payment_used");
}

#[test]
fn owned_fields_are_stripped_on_every_route_in_both_directions() {
    let host = TestHost::new(NOW, honest, |_: &Headers| {
        Some([(":status", "200"), ("Payment-Response", "x"), ("farebox-payer", "x"), ("x", "y")].into_iter().collect())
    });
    let forged = [
        ("Farebox-Payer", "me"),
        ("farebox_token_id", "1"),
        ("capability-token", "1"),
        ("x-http-method-override", "DELETE"),
        ("x-envoy-retry-on", "5xx"),
        ("X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms", "1"),
        ("x-keep", "1"),
    ];
    let reply = host.send(&gate("after"), request("GET", "/free", &forged)).reply().unwrap();
    assert_eq!(reply.headers.iter().filter(|(name, _)| name == "x").count(), 1);
    assert_eq!(reply.headers.len(), 2, "{:?}", reply.headers);
    let seen: Vec<_> = host.forwarded()[0].iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(seen, [":method", ":scheme", ":authority", ":path", "x-keep"]);
}

#[test]
fn a_long_target_never_makes_a_challenge_that_clients_cannot_read() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let long = format!("/premium-data?q={}", "x".repeat(7000));
    let reply = host.send(&gate("after"), request("GET", &long, &[])).reply().unwrap();
    assert_eq!(decoded(&reply, "payment-required")["resource"]["url"], "https://api.example.com/premium-data");
    assert!(header(&reply, "payment-required").unwrap().len() < 8192);
}

#[test]
fn the_upstream_sees_the_authority_that_was_judged() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let headers: Headers =
        [(":method", "GET"), (":scheme", "https"), (":authority", "API.example.com:443"), (":path", "/free")]
            .into_iter()
            .collect();
    assert_eq!(host.send(&gate("after"), headers).reply().unwrap().status, 200);
    assert_eq!(host.forwarded()[0].text(":authority"), Some("api.example.com"));
}

#[test]
fn two_payments_on_one_request_are_refused() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let payment = payment();
    for second in ["payment-signature", "x-payment"] {
        let headers = request("GET", "/premium-data", &[("payment-signature", &payment), (second, &payment)]);
        let reply = host.send(&gate("after"), headers).reply().unwrap();
        assert_eq!((reply.status, code(&reply).as_str()), (400, "credential_ambiguous"));
    }
    assert!(host.calls().is_empty());
}

#[test]
fn what_the_policy_does_not_name_is_refused() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    for (path, status, expected) in
        [("/nothing", 404, "no_route"), ("/denied", 403, "route_denied"), ("/a//b", 400, "bad_path")]
    {
        let reply = host.send(&gate("after"), request("GET", path, &[])).reply().unwrap();
        assert_eq!((reply.status, code(&reply).as_str()), (status, expected));
    }
    let other: Headers =
        [(":method", "GET"), (":scheme", "https"), (":authority", "other.example"), (":path", "/free")]
            .into_iter()
            .collect();
    let reply = host.send(&gate("after"), other).reply().unwrap();
    assert_eq!((reply.status, code(&reply).as_str()), (421, "unknown_host"));
    assert!(host.forwarded().is_empty());
}

#[test]
fn pages_of_named_origins_can_pay_and_others_cannot_read() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-mine"),
    ];
    let reply = host.send(&gate("after"), request("OPTIONS", "/premium-data", &preflight)).reply().unwrap();
    assert_eq!(reply.status, 204);
    assert!(header(&reply, "access-control-allow-headers").unwrap().contains("payment-signature"));
    let page = [("origin", "https://app.example")];
    let reply = host.send(&gate("after"), request("GET", "/premium-data", &page)).reply().unwrap();
    assert_eq!(header(&reply, "access-control-allow-origin"), Some("https://app.example"));
    let stranger = [("origin", "https://evil.example"), ("access-control-request-method", "GET")];
    let reply = host.send(&gate("after"), request("OPTIONS", "/premium-data", &stranger)).reply().unwrap();
    assert_eq!(reply.status, 402);
    assert!(header(&reply, "access-control-allow-origin").is_none());
}

/// A payment that the payer's key has signed, with this nonce, echoing what `extensions` says.
fn signed(nonce: u8, extensions: Value) -> String {
    let mut payment = vector_payment();
    payment["payload"]["authorization"]["nonce"] = json!(crate::crypto::hex::encode(&[nonce; 32]));
    payment["extensions"] = extensions;
    resigned(payment)
}

/// A payment, signed as it now is.
fn resigned(mut payment: Value) -> String {
    use crate::crypto::hex;
    use crate::rail::x402::eip3009::{Authorization, Domain};
    let authorization = Authorization::read(&payment["payload"]).unwrap();
    let contract = hex::decode_fixed("0x036CbD53842c5426634e7929541eC2318f3dCF7e").unwrap();
    let digest = authorization.digest(&Domain { name: "USDC", version: "2", chain_id: 84532, contract });
    let key = hex::decode("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
    let key = k256::ecdsa::SigningKey::from_slice(&key).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(&digest);
    let mut bytes = signature.to_bytes().to_vec();
    bytes.push(27 + u8::from(recovery));
    payment["payload"]["signature"] = json!(hex::encode(&bytes));
    STANDARD.encode(payment.to_string())
}

fn nonce(n: u8) -> Value {
    json!({ "farebox": { "info": { "nonce": format!("0x{n:032x}") }, "schema": {} } })
}

fn named(id: &str) -> Value {
    json!({ "payment-identifier": { "info": { "required": false, "id": id }, "schema": {} } })
}

fn with_rpc(policy: &mut Value) {
    policy["rpc"] = json!([{ "network": "eip155:84532", "url": "http://node.test", "cluster": "rpc" }]);
}

/// A chain on which the payer's authorization had this fate; `time` is the latest block's.
fn node(fate: &'static str, time: u64) -> impl Fn(&Callout) -> Option<Result<Answer, CalloutError>> {
    move |call| {
        let request: Value = serde_json::from_slice(&call.body).unwrap();
        let topic = |signature: &str| crate::crypto::hex::encode(&crate::crypto::keccak256(&[signature.as_bytes()]));
        let word = |address: &str| format!("0x{:0>64}", address.trim_start_matches("0x").to_lowercase());
        let transfer = |to: &str, amount: u64| {
            json!({ "address": "0x036cbd53842c5426634e7929541ec2318f3dcf7e", "data": format!("0x{amount:064x}"),
                    "topics": [topic("Transfer(address,address,uint256)"), word(PAYER), word(to)] })
        };
        let payee = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        let result = match (request["method"].as_str().unwrap(), fate) {
            (_, "down") => return Some(Err(CalloutError::Lost)),
            ("eth_getBlockByNumber", _) => json!({ "number": "0x100", "timestamp": format!("{time:#x}") }),
            ("eth_getLogs", "unused") => json!([]),
            ("eth_getLogs", "canceled") => {
                json!([{ "topics": [topic("AuthorizationCanceled(address,bytes32)")], "transactionHash": TX }])
            }
            ("eth_getLogs", _) => {
                json!([{ "topics": [topic("AuthorizationUsed(address,bytes32)")], "transactionHash": TX }])
            }
            ("eth_getTransactionReceipt", "paid") => json!({ "status": "0x1", "logs": [transfer(payee, 10_000)] }),
            ("eth_getTransactionReceipt", "short") => json!({ "status": "0x1", "logs": [transfer(payee, 9_999)] }),
            ("eth_getTransactionReceipt", _) => json!({ "status": "0x1", "logs": [transfer(PAYER, 10_000)] }),
            ("eth_call", _) => json!(format!("0x{:064x}", 0)),
            other => panic!("{other:?}"),
        };
        answer(200, json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    }
}

/// A facilitator that verifies and whose settlements nobody hears of, beside a chain with this fate.
fn silent(fate: &'static str, time: u64) -> impl FnMut(&Callout) -> Option<Result<Answer, CalloutError>> {
    let node = node(fate, time);
    move |call| match (call.cluster.as_str(), call.path.as_str()) {
        ("rpc", _) => node(call),
        (_, "/verify") => valid(),
        _ => Some(Err(CalloutError::Lost)),
    }
}

#[test]
fn the_chain_decides_an_unknown_outcome_when_the_client_asks_again() {
    let before = NOW + 100;
    let after = NOW + 301;
    for (fate, time, expected) in [
        ("paid", before, (200, "")),
        ("canceled", before, (402, "settlement_failed")),
        ("short", before, (402, "settlement_failed")),
        ("elsewhere", before, (402, "settlement_failed")),
        ("unused", before, (503, "outcome_unknown")),
        ("unused", after, (402, "settlement_failed")),
        ("down", after, (503, "outcome_unknown")),
    ] {
        let host = TestHost::new(NOW, silent(fate, time), upstream("200"));
        let gate = gate_with("after", with_rpc);
        let first = pay(&host, &gate, "/premium-data", &payment());
        assert_eq!(code(&first), "outcome_unknown", "{fate}");
        let reply = pay(&host, &gate, "/premium-data", &payment());
        assert_eq!(reply.status, expected.0, "{fate}");
        if expected.0 == 200 {
            assert_eq!(decoded(&reply, "payment-response")["transaction"], TX);
            assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "payment_used");
        } else {
            assert_eq!(code(&reply), expected.1, "{fate}");
        }
        assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 1, "{fate}");
    }
}

#[test]
fn unknown_outcomes_are_found_out_without_anybody_asking() {
    let host = TestHost::new(NOW, silent("paid", NOW), upstream("200"));
    let gate = gate_with("after", with_rpc);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "outcome_unknown");
    let tending = Rc::clone(&gate).tend(host.clone());
    crate::host::Host::spawn(&host, tending);
    for _ in 0..10 {
        host.pass(1);
        host.work();
    }
    assert_eq!(host.count("claim/settled"), 1);
    let reply = pay(&host, &gate, "/premium-data", &payment());
    assert_eq!(reply.status, 200);
}

#[test]
fn what_nobody_can_find_out_is_not_asked_for_ever() {
    let host = TestHost::new(NOW, silent("down", NOW), upstream("200"));
    let gate = gate_with("after", with_rpc);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "outcome_unknown");
    crate::host::Host::spawn(&host, Rc::clone(&gate).tend(host.clone()));
    let asked = |seconds: u64| {
        host.pass(seconds);
        for _ in 0..10 {
            host.pass(1);
            host.work();
        }
        let before = host.callouts().len();
        for _ in 0..10 {
            host.pass(1);
            host.work();
        }
        host.callouts()[before..].iter().filter(|call| call.cluster == "rpc").count()
    };
    assert!(asked(3600) > 0);
    assert_eq!(asked(2 * 24 * 3600), 0);
    assert!(host.log().iter().any(|line| line.contains("not asked for any more")), "{:?}", host.log());
}

#[test]
fn without_a_node_to_ask_a_lapsed_unknown_outcome_is_told_as_such_and_never_as_a_402() {
    let host = TestHost::new(NOW, silent("paid", NOW), upstream("200"));
    let gate = gate("after");
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "outcome_unknown");
    host.pass(290);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "outcome_unknown");
    host.pass(20);
    let reply = pay(&host, &gate, "/premium-data", &payment());
    assert_eq!((reply.status, code(&reply).as_str()), (409, "outcome_unresolved"));
}

#[test]
fn a_new_payment_while_an_earlier_one_is_unknown_is_not_settled() {
    for (fate, expected) in [("unused", 503), ("paid", 200)] {
        let host = TestHost::new(NOW, silent(fate, NOW), upstream("200"));
        let gate = gate_with("after", with_rpc);
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &signed(1, nonce(1)))), "outcome_unknown");
        let reply = pay(&host, &gate, "/premium-data", &signed(2, nonce(2)));
        assert_eq!(reply.status, expected, "{fate}");
        assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 1);
        // For another request the payer may pay as ever.
        assert_eq!(code(&pay(&host, &gate, "/same-price", &signed(3, nonce(3)))), "outcome_unknown");
        assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 2);
    }
}

#[test]
fn a_new_payment_while_an_earlier_one_is_undelivered_gets_the_earlier_delivery() {
    let held = Rc::new(Cell::new(true));
    let hold = Rc::clone(&held);
    let service = move |call: &Callout| match call.path.as_str() {
        "/settle" if hold.get() => None,
        _ => honest(call),
    };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate("after");
    let headers = request("GET", "/premium-data", &[("payment-signature", &signed(1, nonce(1)))]);
    let mut sent = host.send(&gate, headers);
    sent.hang_up();
    held.set(false);
    host.work();
    // A copy of the public payment with another signature proves nothing.
    let mut forged: Value = serde_json::from_slice(&STANDARD.decode(signed(2, nonce(2))).unwrap()).unwrap();
    forged["payload"]["authorization"]["nonce"] = json!(format!("0x{}", "03".repeat(32)));
    let before = host.calls().len();
    host.serve_callouts(|call: &Callout| match call.path.as_str() {
        "/verify" => answer(200, json!({ "isValid": false, "invalidReason": "invalid_exact_evm_signature" })),
        _ => honest(call),
    });
    pay(&host, &gate, "/premium-data", &STANDARD.encode(forged.to_string()));
    assert_eq!(host.calls()[before], "/verify", "who is not proven is for the facilitator to prove");
    host.serve_callouts(honest);
    let settles = |host: &TestHost| host.calls().iter().filter(|path| *path == "/settle").count();
    let settled_so_far = settles(&host);
    let reply = pay(&host, &gate, "/premium-data", &signed(2, nonce(2)));
    assert_eq!(reply.status, 200);
    assert_eq!(host.count("premium/redelivered"), 1);
    assert_eq!(settles(&host), settled_so_far, "the new payment was not settled");
    // Delivered: the next payment is an ordinary one.
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(4, nonce(4))).status, 200);
    assert_eq!(settles(&host), settled_so_far + 1);
}

#[test]
fn a_payment_that_was_used_before_gets_nothing_of_what_its_payer_is_owed() {
    for settle in ["after", "before"] {
        let fails = Rc::new(Cell::new(false));
        let failing = Rc::clone(&fails);
        let lost = Rc::new(Cell::new(false));
        let losing = Rc::clone(&lost);
        let service = move |call: &Callout| match call.path.as_str() {
            "/settle" if losing.get() => None,
            _ => honest(call),
        };
        let host = TestHost::new(NOW, service, move |_: &Headers| {
            Some([(":status", if failing.get() { "500" } else { "200" })].into_iter().collect())
        });
        let gate = gate_with(settle, |_| {});
        // As its client would answer the route's offer.
        let signed_for = |n: u8, extensions: Value| {
            let mut payment: Value = serde_json::from_slice(&STANDARD.decode(signed(n, extensions)).unwrap()).unwrap();
            if settle == "before" {
                payment["accepted"]["extra"]["paymentFlow"] = json!("upfront");
            }
            STANDARD.encode(payment.to_string())
        };
        assert_eq!(pay(&host, &gate, "/same-price", &signed(1, nonce(1))).status, 200);
        // The second one is charged and not delivered.
        lost.set(settle == "after");
        fails.set(settle == "before");
        let second = request("GET", "/premium-data", &[("payment-signature", &signed_for(2, nonce(2)))]);
        let mut sent = host.send(&gate, second);
        sent.hang_up();
        lost.set(false);
        fails.set(false);
        host.work();
        let (forwarded, settled) = (host.forwarded().len(), host.calls().iter().filter(|it| *it == "/settle").count());

        // What was settled is public: authorization and signature. This gate knows it, ...
        let reply = pay(&host, &gate, "/premium-data", &signed_for(1, nonce(7)));
        assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_used"), "{settle}");
        // ... and of what was used elsewhere a facilitator does.
        host.serve_callouts(|call: &Callout| match call.path.as_str() {
            "/verify" => {
                answer(200, json!({ "isValid": false, "invalidReason": "invalid_exact_evm_nonce_already_used" }))
            }
            _ => honest(call),
        });
        assert_ne!(pay(&host, &gate, "/premium-data", &signed_for(3, nonce(7))).status, 200, "{settle}");
        assert_eq!(host.forwarded().len(), forwarded, "{settle}");
        host.serve_callouts(honest);
        // A fresh one shows that it is the payer who asks.
        assert_eq!(pay(&host, &gate, "/premium-data", &signed_for(4, nonce(4))).status, 200, "{settle}");
        assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), settled, "{settle}");
    }
}

#[test]
fn a_named_payment_is_charged_once_whatever_is_signed_under_its_name() {
    let identified = |policy: &mut Value| {
        policy["routes"][0]["payment_identifier"] = json!("optional");
        policy["routes"][2]["payment_identifier"] = json!("required");
    };
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate_with("after", identified);
    let challenge = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    let extension = decoded(&challenge, "payment-required")["extensions"]["payment-identifier"].clone();
    assert_eq!(extension["info"], json!({ "required": false }));
    let id = "pay_0123456789abcdef";
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(1, named(id))).status, 200);
    for second in [1, 2] {
        let reply = pay(&host, &gate, "/premium-data", &signed(second, named(id)));
        assert_eq!(code(&reply), "payment_used", "same name, same request: the record");
    }
    let reply = pay(&host, &gate, "/same-price", &signed(3, named(id)));
    assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_identifier_conflict"));
    for missing in [nonce(1), named("short"), named("with spaces in it, and long")] {
        let reply = pay(&host, &gate, "/same-price", &signed(4, missing));
        assert_eq!((reply.status, code(&reply).as_str()), (400, "payment_identifier_required"));
    }
    assert_eq!(pay(&host, &gate, "/same-price", &signed(5, named("pay_another_0123456789"))).status, 200);
    assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 2);
    assert_eq!(host.forwarded().len(), 2);
}

#[test]
fn a_name_is_remembered_for_a_day_however_short_its_payment_is_good() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate_with("after", |policy| policy["routes"][0]["payment_identifier"] = json!("optional"));
    let id = "pay_0123456789abcdef";
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(1, named(id))).status, 200);
    host.pass(23 * 3600);
    // One that is good now: what it was signed for is hours away from the first one's.
    let mut late: Value = serde_json::from_slice(&STANDARD.decode(signed(2, named(id))).unwrap()).unwrap();
    late["payload"]["authorization"]["validBefore"] = json!((NOW + 23 * 3600 + 60).to_string());
    let reply = pay(&host, &gate, "/premium-data", &resigned(late));
    assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_used"));
    assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 1);
}

#[test]
fn a_name_whose_payment_came_to_nothing_is_free_again() {
    let fails = Rc::new(Cell::new(true));
    let failing = Rc::clone(&fails);
    let host = TestHost::new(NOW, honest, move |_: &Headers| {
        Some([(":status", if failing.get() { "500" } else { "200" })].into_iter().collect())
    });
    let gate = gate_with("after", |policy| policy["routes"][0]["payment_identifier"] = json!("optional"));
    let id = "pay_0123456789abcdef";
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(1, named(id))).status, 500);
    fails.set(false);
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(2, named(id))).status, 200);
}

#[test]
fn a_name_that_a_later_payment_took_over_is_not_charged_to_the_first_one_as_well() {
    let slow = Rc::new(Cell::new(true));
    let is_slow = Rc::clone(&slow);
    let host = TestHost::new(NOW, honest, move |_: &Headers| {
        (!is_slow.get()).then(|| [(":status", "200")].into_iter().collect())
    });
    let gate = gate_with("after", |policy| policy["routes"][0]["payment_identifier"] = json!("optional"));
    let id = "pay_0123456789abcdef";
    let mut first = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &signed(1, named(id)))]));
    assert!(first.reply().is_none());
    // Longer than an upstream may take: the first payment's claim has lapsed.
    host.pass(120);
    slow.set(false);
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(2, named(id))).status, 200);
    host.settle_down(&mut first);
    assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 1);
    let reply = first.reply().unwrap();
    assert_eq!(
        (reply.status, code(&reply).as_str()),
        (503, "ledger_unavailable"),
        "the first one's service is not given for nothing"
    );
}

#[test]
fn a_named_payment_is_delivered_again_within_the_routes_window() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate_with("after", |policy| {
        policy["routes"][0]["payment_identifier"] = json!("optional");
        policy["routes"][0]["redelivery_seconds"] = json!(60);
    });
    let payment = signed(1, named("pay_0123456789abcdef"));
    assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &signed(1, nonce(1)))), "payment_used", "without its name");
    assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment)), "payment_used", "once");
    assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 1);
}

/// A payment for a route that settles so, signed by the payer's key; or by a contract, which alone can judge that.
fn for_route(settle: &str, nth: u8, of_contract: bool) -> String {
    let mut payment: Value = serde_json::from_slice(&STANDARD.decode(signed(nth, nonce(nth))).unwrap()).unwrap();
    if settle == "before" {
        payment["accepted"]["extra"]["paymentFlow"] = json!("upfront");
    }
    if of_contract {
        payment["payload"]["signature"] = json!(format!("0x{}", "22".repeat(100)));
    }
    STANDARD.encode(payment.to_string())
}

fn settles(host: &TestHost) -> usize {
    host.calls().iter().filter(|path| *path == "/settle").count()
}

#[test]
fn a_new_payment_of_a_contract_is_not_settled_beside_an_unknown_one() {
    for settle in ["before", "after"] {
        let host = TestHost::new(NOW, silent("down", NOW), upstream("200"));
        let gate = gate(settle);
        let first = for_route(settle, 1, true);
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &first)), "outcome_unknown");
        host.serve_callouts(honest);
        let reply = pay(&host, &gate, "/premium-data", &for_route(settle, 2, true));
        assert_eq!((code(&reply).as_str(), settles(&host)), ("outcome_unknown", 1), "{settle}");
        // It is another's request that nothing is unknown of.
        assert_eq!(pay(&host, &gate, "/same-price", &for_route("after", 3, true)).status, 200, "{settle}");
    }
}

#[test]
fn what_a_stranger_sends_in_a_payers_name_does_not_stand_in_its_way() {
    let host = TestHost::new(NOW, silent("down", NOW), upstream("200"));
    let gate = gate("before");
    let strangers = for_route("before", 1, true);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &strangers)), "outcome_unknown");
    host.serve_callouts(honest);
    assert_eq!(pay(&host, &gate, "/premium-data", &for_route("before", 2, false)).status, 200);
}

#[test]
fn requests_whose_settlement_is_refused_count_as_uncharged() {
    let refused = |call: &Callout| match call.path.as_str() {
        "/settle" => answer(200, json!({ "success": false, "errorReason": "insufficient_funds", "transaction": "" })),
        _ => honest(call),
    };
    let host = TestHost::new(NOW, refused, upstream("200"));
    let gate = gate_with("after", |policy| policy["limits"] = json!({ "uncharged_forwards_per_minute": 3 }));
    for nth in 1..=3 {
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &signed(nth, nonce(nth)))), "settlement_failed");
    }
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &signed(4, nonce(4)))), "too_many_requests");
    assert_eq!(host.forwarded().len(), 3);
}

#[test]
fn a_name_that_came_with_no_good_payment_is_forgotten() {
    let host = TestHost::new(
        NOW,
        |_| answer(200, json!({ "isValid": false, "invalidReason": "invalid_payload" })),
        upstream("200"),
    );
    let identified = |policy: &mut Value| {
        for route in [0, 2] {
            policy["routes"][route]["payment_identifier"] = json!("optional");
        }
    };
    let gate = gate_with("after", identified);
    let id = "pay_0123456789abcdef";
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &signed(1, named(id)))), "payment_invalid");
    host.serve_callouts(honest);
    assert_eq!(
        pay(&host, &gate, "/same-price", &signed(2, named(id))).status,
        200,
        "the name is another request's now"
    );
}

#[test]
fn a_facilitator_in_trouble_is_no_bad_payment() {
    for reason in ["unexpected_verify_error", "unknown_error", "invalid_batch_settlement_evm_rpc_read_failed"] {
        let host = TestHost::new(
            NOW,
            move |_| answer(200, json!({ "isValid": false, "invalidReason": reason })),
            upstream("200"),
        );
        let reply = pay(&host, &gate("after"), "/premium-data", &payment());
        assert_eq!((reply.status, code(&reply).as_str()), (503, "facilitator_unavailable"), "{reason}");
    }
}

#[test]
fn pages_of_every_origin_read_what_comes_without_cookies() {
    let host = TestHost::new(NOW, honest, |_| {
        Some([(":status", "200"), ("access-control-allow-credentials", "true")].into_iter().collect())
    });
    let gate = gate_with("after", |policy| policy["cors"] = json!({ "allowed_origins": ["*"] }));
    let page = [("origin", "https://evil.example")];
    let reply = host.send(&gate, request("GET", "/free", &page)).reply().unwrap();
    assert_eq!(header(&reply, "access-control-allow-origin"), Some("*"));
}

#[test]
fn an_unsafe_method_is_forwarded_a_second_time_only_where_the_route_says_so() {
    for (allowed, expected) in [(false, 409), (true, 200)] {
        let held = Rc::new(Cell::new(true));
        let hold = Rc::clone(&held);
        let service = move |call: &Callout| match call.path.as_str() {
            "/settle" if hold.get() => None,
            _ => honest(call),
        };
        let host = TestHost::new(NOW, service, upstream("200"));
        let gate = gate_with("after", |policy| policy["routes"][0]["redeliver_unsafe"] = json!(allowed));
        let post = || request("POST", "/premium-data", &[("payment-signature", &payment())]);
        host.send(&gate, post()).hang_up();
        held.set(false);
        host.work();
        assert_eq!(host.send(&gate, post()).reply().unwrap().status, expected);
    }
}

#[test]
fn a_payment_for_one_body_is_not_for_another() {
    let gate = gate("after");
    let host = TestHost::new(NOW, honest, upstream("200"));
    let post = |body: &[u8]| {
        let (payment, digest) = (payment(), crate::proof::digest::field(body));
        let fields = [("payment-signature", payment.as_str()), ("content-digest", &digest)];
        host.send(&gate, request("POST", "/premium-data", &fields)).reply().unwrap()
    };
    assert_eq!(post(b"one").status, 200);
    let detail = |reply: &Reply| serde_json::from_slice::<Value>(&reply.body).unwrap()["detail"].clone();
    assert_eq!(detail(&post(b"one")), "the payment was settled for this request before");
    assert_eq!(detail(&post(b"two")), "the payment was used for another request");
    let none = host.send(&gate, request("POST", "/premium-data", &[("payment-signature", &payment())]));
    assert_eq!(detail(&none.reply().unwrap()), "the payment was used for another request");
}

#[test]
fn what_one_source_or_payer_costs_is_limited() {
    let limited = |policy: &mut Value| {
        policy["limits"] = json!({ "challenges_per_second": 5, "failed_payments_per_minute": 3,
                                   "uncharged_forwards_per_minute": 2, "verifying_per_source": 2 });
    };
    let host = TestHost::new(NOW, honest, upstream("500"));
    let gate = gate_with("after", limited);
    let statuses: Vec<u16> =
        (0..7).map(|_| host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap().status).collect();
    assert_eq!(statuses, [402, 402, 402, 402, 402, 429, 429]);
    let statuses: Vec<u16> = (0..4).map(|n| pay(&host, &gate, "/premium-data", &signed(n, nonce(n))).status).collect();
    assert_eq!(statuses, [500, 500, 429, 429]);
    // A client that leaves while the upstream works costs as much as an upstream that fails.
    let host = TestHost::new(NOW, honest, |_: &Headers| None);
    let gate = gate_with("after", limited);
    for n in 0..2 {
        host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &signed(n, nonce(n)))])).hang_up();
        host.work();
    }
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(3, nonce(3))).status, 429);
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate_with("after", limited);
    let statuses: Vec<u16> = (0..5).map(|n| pay(&host, &gate, "/dear", &signed(n, nonce(n))).status).collect();
    assert_eq!(statuses, [402, 402, 402, 429, 429]);
    let host = TestHost::new(NOW, |_: &Callout| None, upstream("200"));
    let gate = gate_with("after", limited);
    let mut sent: Vec<_> = (0..3)
        .map(|n| host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &signed(n, nonce(n)))])))
        .collect();
    assert_eq!(
        sent.iter().map(|sent| sent.reply().map(|reply| reply.status)).collect::<Vec<_>>(),
        [None, None, Some(429)]
    );
    sent[0].hang_up();
    host.work();
    let next = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &signed(9, nonce(9)))]));
    assert!(next.reply().is_none(), "a place is free again");
}

#[test]
fn clients_whose_address_nobody_knows_do_not_share_a_limit() {
    let gate = gate_with("after", |policy: &mut Value| {
        policy["limits"] = json!({ "challenges_per_second": 2, "failed_payments_per_minute": 2,
                                   "verifying_per_source": 1 });
    });
    let host = TestHost::new(NOW, honest, upstream("200"));
    host.come_from("");
    let statuses: Vec<u16> =
        (0..4).map(|_| host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap().status).collect();
    assert_eq!(statuses, [402; 4]);
    let statuses: Vec<u16> = (0..4).map(|n| pay(&host, &gate, "/dear", &signed(n, nonce(n))).status).collect();
    assert_eq!(statuses, [402; 4], "payments that are no good");
    assert_eq!(pay(&host, &gate, "/premium-data", &signed(9, nonce(9))).status, 200, "the others pay on");
    let host = TestHost::new(NOW, |_: &Callout| None, upstream("200"));
    host.come_from("");
    let sent: Vec<_> = (0..3)
        .map(|n| host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &signed(n, nonce(n)))])))
        .collect();
    assert!(sent.iter().all(|sent| sent.reply().is_none()), "all are under verification");
}
