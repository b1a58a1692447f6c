//! Clients that know only x402 version 1, on routes that take them.

use super::*;

const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap()
}

fn vector(name: &str) -> Value {
    serde_json::from_str(vectors()[name].as_str().unwrap()).unwrap()
}

fn encoded(payment: &Value) -> String {
    STANDARD.encode(payment.to_string())
}

/// A gate whose `/premium-data` takes version 1, and `/new` does not.
fn gate_of(route: Value) -> Rc<Gate> {
    let mut old = json!({ "name": "old", "path": "/premium-data", "v1": true, "description": "Premium data",
        "mime_type": "application/json",
        "offers": [{ "price": "$0.01", "network": "eip155:84532", "max_timeout_seconds": 60 }] });
    for (name, value) in route.as_object().unwrap() {
        old[name] = value.clone();
    }
    let policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": PAYEE, "eip155:8453": PAYEE },
        "assets": [{ "network": "eip155:84532", "address": "0x0000000000000000000000000000000000000011",
            "symbol": "OTHER", "name": "Other", "version": "1", "decimals": 6 }],
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "cors": { "allowed_origins": ["https://app.example"] },
        "routes": [old, { "name": "new", "path": "/new", "offers": [{ "price": "$0.01", "network": "eip155:84532" }] }]
    });
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy.to_string().as_bytes(), &|_| None, can).unwrap_or_else(|wrong| panic!("{wrong}")))
}

fn learnt(host: &TestHost, gate: Rc<Gate>) -> Rc<Gate> {
    crate::host::Host::spawn(host, Rc::clone(&gate).tend(host.clone()));
    for _ in 0..8 {
        host.work();
    }
    gate
}

fn old(call: &Callout) -> Option<Result<Answer, CalloutError>> {
    let said = |network: &str| json!({ "success": true, "payer": PAYER, "transaction": TX, "network": network });
    match call.path.as_str() {
        "/supported" => answer(
            200,
            json!({ "kinds": [{ "x402Version": 1, "scheme": "exact", "network": "base-sepolia" },
                { "x402Version": 2, "scheme": "exact", "network": "eip155:*" }] }),
        ),
        "/settle" if call.body.starts_with(br#"{"x402Version":1,"#) => answer(200, said("base-sepolia")),
        _ => honest(call),
    }
}

fn send(host: &TestHost, gate: &Rc<Gate>, path: &str, header: &str, payment: &Value) -> Reply {
    host.send(gate, request("GET", path, &[(header, &encoded(payment))])).reply().unwrap()
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn a_challenge_is_for_both_versions_header_and_body() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = learnt(&host, gate_of(json!({})));
    let reply = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    assert_eq!(reply.status, 402);
    let v2 = decoded(&reply, "payment-required");
    assert_eq!((&v2["x402Version"], &v2["accepts"][0]["network"]), (&json!(2), &json!("eip155:84532")));
    let v1 = body(&reply);
    assert_eq!(v1["x402Version"], 1);
    assert_eq!(v1["accepts"], vector("v1_body")["accepts"]);
    assert_eq!(
        (&v1["error"], &v1["code"], &v1["status"]),
        (&json!("Payment required"), &json!("payment_required"), &json!(402))
    );
    let reply = host.send(&gate, request("GET", "/new", &[])).reply().unwrap();
    assert!(body(&reply).get("accepts").is_none());
}

#[test]
fn a_version_1_payment_is_verified_forwarded_settled_and_told_as_version_1() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = learnt(&host, gate_of(json!({})));
    let sent =
        host.send(&gate, request("GET", "/premium-data", &[("X-PAYMENT", vectors()["v1_header"].as_str().unwrap())]));
    let reply = sent.reply().unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"upstream".as_slice()));
    let receipt = decoded(&reply, "x-payment-response");
    assert_eq!((&receipt["transaction"], &receipt["network"]), (&json!(TX), &json!("base-sepolia")));
    assert!(header(&reply, "payment-response").is_none());
    assert_eq!(sent.note(Fact::Payer).unwrap(), format!("eip155:84532:{PAYER}"));
    assert!(host.forwarded()[0].first("x-payment").is_none());
    for call in host.callouts().iter().filter(|call| call.path != "/supported") {
        let envelope: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(envelope["x402Version"], 1);
        assert_eq!(envelope["paymentPayload"], vector("v1_payloadJson"));
        assert_eq!(envelope["paymentRequirements"], vector("v1_body")["accepts"][0]);
    }
    assert_eq!(code(&send(&host, &gate, "/premium-data", "x-payment", &vector("v1_payloadJson"))), "payment_used");
}

#[test]
fn one_authorization_is_one_payment_in_either_version() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = learnt(&host, gate_of(json!({})));
    assert_eq!(send(&host, &gate, "/premium-data", "x-payment", &vector("v1_payloadJson")).status, 200);
    let mut v2 = vector_payment();
    v2["payload"] = vector("v1_payloadJson")["payload"].clone();
    v2["accepted"]["maxTimeoutSeconds"] = json!(60);
    for path in ["/premium-data", "/new"] {
        assert_eq!(code(&send(&host, &gate, path, "payment-signature", &v2)), "payment_used");
    }
    assert_eq!(host.forwarded().len(), 1);

    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = learnt(&host, gate_of(json!({})));
    assert_eq!(send(&host, &gate, "/premium-data", "payment-signature", &v2).status, 200);
    assert_eq!(code(&send(&host, &gate, "/premium-data", "x-payment", &vector("v1_payloadJson"))), "payment_used");
}

#[test]
fn a_version_1_payment_elsewhere_is_as_if_it_were_not_there() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = learnt(&host, gate_of(json!({})));
    let reply = send(&host, &gate, "/new", "x-payment", &vector("v1_payloadJson"));
    assert_eq!((reply.status, code(&reply).as_str()), (402, "payment_required"));
    assert!(host.forwarded().is_empty());
}

#[test]
fn each_changed_term_of_a_version_1_payment_is_refused_before_anybody_is_asked() {
    for (pointer, value, expected) in [
        ("/network", json!("base"), "payment_mismatch"),
        ("/network", json!("eip155:84532"), "payment_mismatch"),
        ("/scheme", json!("upto"), "payment_mismatch"),
        ("/payload/authorization/to", json!(PAYER), "payment_terms"),
        ("/payload/authorization/value", json!("9999"), "payment_terms"),
        ("/payload/authorization/validBefore", json!("1800000005"), "payment_expired"),
        ("/payload/authorization/validBefore", json!("1800000121"), "payment_time_window"),
        ("/payload/authorization/validAfter", json!("1800000001"), "payment_time_window"),
        ("/x402Version", json!(2), "payment_malformed"),
        ("/payload", json!("x"), "payment_malformed"),
        ("/network", json!(84532), "payment_malformed"),
    ] {
        let host = TestHost::new(NOW, old, upstream("200"));
        let gate = learnt(&host, gate_of(json!({})));
        let mut payment = vector("v1_payloadJson");
        *payment.pointer_mut(pointer).unwrap() = value;
        let reply = send(&host, &gate, "/premium-data", "x-payment", &payment);
        assert_eq!(code(&reply), expected, "{pointer}");
        assert_eq!(host.calls(), ["/supported"]);
        if reply.status == 402 {
            let body = body(&reply);
            assert_eq!((&body["x402Version"], &body["error"]), (&json!(1), &json!(expected)));
        }
    }
}

#[test]
fn an_offer_that_no_facilitator_takes_in_version_1_is_not_made_in_it() {
    let host = TestHost::new(
        NOW,
        |call: &Callout| match call.path.as_str() {
            "/supported" => {
                answer(200, json!({ "kinds": [{ "x402Version": 2, "scheme": "exact", "network": "eip155:84532" }] }))
            }
            _ => honest(call),
        },
        upstream("200"),
    );
    let gate = learnt(&host, gate_of(json!({})));
    let reply = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    assert!(body(&reply).get("accepts").is_none() && header(&reply, "payment-required").is_some());
    let reply = send(&host, &gate, "/premium-data", "x-payment", &vector("v1_payloadJson"));
    assert_eq!(code(&reply), "payment_mismatch");
}

#[test]
fn of_several_tokens_the_one_that_was_signed_for_is_meant() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let offers = json!([
        { "price": "$0.01", "asset": "OTHER", "network": "eip155:84532", "max_timeout_seconds": 60 },
        { "price": "$0.01", "network": "eip155:84532", "max_timeout_seconds": 60 },
        { "price": "$0.01", "network": "eip155:8453", "max_timeout_seconds": 60 },
        { "price": "$0.01", "network": "eip155:84532", "transfer_method": "permit2" }
    ]);
    let gate = learnt(&host, gate_of(json!({ "offers": offers })));
    let reply = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    let accepts = body(&reply)["accepts"].clone();
    // The facilitator lists no version 1 of Base, and Permit2 has no version 1.
    assert_eq!(accepts.as_array().unwrap().len(), 2, "{accepts}");
    assert_eq!(decoded(&reply, "payment-required")["accepts"].as_array().unwrap().len(), 4);
    assert_eq!(send(&host, &gate, "/premium-data", "x-payment", &vector("v1_payloadJson")).status, 200);
    let envelope: Value = serde_json::from_slice(&host.callouts()[1].body).unwrap();
    assert_eq!(envelope["paymentRequirements"]["asset"], "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
}

#[test]
fn a_payment_of_each_version_on_one_request_is_refused() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = learnt(&host, gate_of(json!({})));
    let (v1, v2) = (encoded(&vector("v1_payloadJson")), payment());
    let reply = host
        .send(&gate, request("GET", "/premium-data", &[("x-payment", &v1), ("payment-signature", &v2)]))
        .reply()
        .unwrap();
    assert_eq!((reply.status, code(&reply).as_str()), (400, "credential_ambiguous"));
}

#[test]
fn a_settlement_that_was_refused_is_told_as_version_1() {
    let host = TestHost::new(
        NOW,
        |call: &Callout| match call.path.as_str() {
            "/settle" => answer(200, json!({ "success": false, "errorReason": "insufficient_funds", "payer": PAYER })),
            _ => old(call),
        },
        upstream("200"),
    );
    let gate = learnt(&host, gate_of(json!({})));
    let reply = send(&host, &gate, "/premium-data", "x-payment", &vector("v1_payloadJson"));
    assert_eq!((reply.status, code(&reply).as_str()), (402, "settlement_failed"));
    let told = decoded(&reply, "x-payment-response");
    assert_eq!(
        (&told["success"], &told["errorReason"], &told["network"]),
        (&json!(false), &json!("insufficient_funds"), &json!("base-sepolia"))
    );
    assert_eq!(body(&reply)["error"], "insufficient_funds");
}

#[test]
fn pages_may_send_and_read_the_headers_of_version_1() {
    let host = TestHost::new(NOW, old, upstream("200"));
    let gate = gate_of(json!({}));
    let preflight = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let reply = host.send(&gate, request("OPTIONS", "/premium-data", &preflight)).reply().unwrap();
    assert!(header(&reply, "access-control-allow-headers").unwrap().contains("x-payment"));
    let reply = host.send(&gate, request("GET", "/premium-data", &preflight[..1])).reply().unwrap();
    assert!(header(&reply, "access-control-expose-headers").unwrap().contains("x-payment-response"));
}

#[test]
fn what_was_charged_in_version_1_and_not_delivered_goes_to_the_payers_next_payment() {
    let failing = Rc::new(Cell::new(true));
    let fails = Rc::clone(&failing);
    let host = TestHost::new(NOW, old, move |_: &Headers| {
        Some([(":status", if fails.get() { "500" } else { "200" })].into_iter().collect())
    });
    let offers = json!([{ "price": "$0.01", "network": "eip155:84532" }]);
    let gate = learnt(&host, gate_of(json!({ "settle": "before", "offers": offers })));
    let first = vector("v1_payloadJson");
    assert_eq!(send(&host, &gate, "/premium-data", "x-payment", &first).status, 500);
    failing.set(false);
    // Whoever reads the first one off the chain gets nothing.
    assert_eq!(code(&send(&host, &gate, "/premium-data", "x-payment", &first)), "payment_used");
    // The payer, who is known by a fresh signature, is served and not charged.
    let v2: Value = serde_json::from_slice(&STANDARD.decode(signed(7, json!({}))).unwrap()).unwrap();
    let next = json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": v2["payload"] });
    let settles = |host: &TestHost| host.calls().iter().filter(|path| *path == "/settle").count();
    let reply = send(&host, &gate, "/premium-data", "x-payment", &next);
    assert_eq!((reply.status, settles(&host)), (200, 1));
    assert_eq!(decoded(&reply, "x-payment-response")["transaction"], TX);
    assert_eq!(code(&send(&host, &gate, "/premium-data", "x-payment", &first)), "payment_used", "delivered");
}
