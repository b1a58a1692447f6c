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

const NOW: u64 = 1_800_000_000;
const TX: &str = "0xabababababababababababababababababababababababababababababababab";
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn gate(settle: &str) -> Rc<Gate> {
    let policy = json!({
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
    match call.path.as_str() {
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
    for response in [vec![(":status", "302")], vec![(":status", "200"), ("grpc-status", "7")], vec![]] {
        let host = TestHost::new(NOW, honest, move |_: &Headers| Some(response.iter().copied().collect()));
        pay(&host, &gate("after"), "/premium-data", &payment());
        assert_eq!(host.calls(), ["/verify"]);
    }
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
        (200, json!({ "success": false, "errorReason": "settlement_pending", "transaction": TX })),
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
