//! Ways to pay on EVM besides EIP-3009: Permit2, `upto`, and what differs between them.

use super::*;

const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn vector(name: &str) -> Value {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap();
    serde_json::from_str(vectors[name].as_str().unwrap()).unwrap()
}

fn encoded(payment: &Value) -> String {
    STANDARD.encode(payment.to_string())
}

fn gate_with(route: Value) -> Rc<Gate> {
    let mut dear = route.clone();
    dear["path"] = json!("/dear");
    dear["name"] = json!("dear");
    dear["offers"][0]["price"] = json!("$1");
    let policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": PAYEE },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "routes": [route, dear, { "name": "free", "path": "/free", "access": "free" }]
    });
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy.to_string().as_bytes(), &|_| None, can).unwrap_or_else(|wrong| panic!("{wrong}")))
}

fn offering(offer: Value) -> Rc<Gate> {
    gate_with(json!({ "name": "premium", "path": "/premium-data", "response_timeout_seconds": 30, "offers": [offer] }))
}

fn permit2() -> Rc<Gate> {
    offering(json!({ "price": "$0.01", "network": "eip155:84532", "transfer_method": "permit2" }))
}

/// A gate that offers `upto` and has learnt who settles it.
fn upto(host: &TestHost) -> Rc<Gate> {
    let gate = offering(json!({ "price": "$0.02", "network": "eip155:84532", "scheme": "upto" }));
    tend(host, &gate);
    gate
}

/// Lets the gate learn what its facilitators support.
fn tend(host: &TestHost, gate: &Rc<Gate>) {
    crate::host::Host::spawn(host, Rc::clone(gate).tend(host.clone()));
    for _ in 0..8 {
        host.work();
    }
}

fn metered(call: &Callout) -> Option<Result<Answer, CalloutError>> {
    match call.path.as_str() {
        "/supported" => answer(
            200,
            json!({ "kinds": [{ "x402Version": 2, "scheme": "upto", "network": "eip155:84532",
                "extra": { "facilitatorAddress": PAYEE } }] }),
        ),
        "/settle" => {
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            let amount = body["paymentRequirements"]["amount"].as_str().unwrap().to_owned();
            let transaction = if amount == "0" { "" } else { TX };
            answer(
                200,
                json!({ "success": true, "payer": PAYER, "transaction": transaction, "network": "eip155:84532",
                "amount": amount }),
            )
        }
        _ => honest(call),
    }
}

fn required(call: &Callout) -> String {
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    body["paymentRequirements"]["amount"].as_str().unwrap().to_owned()
}

#[test]
fn a_permit2_payment_is_checked_here_and_settles_after() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = permit2();
    let challenge =
        decoded(&host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap(), "payment-required");
    assert_eq!(challenge["accepts"][0], vector("permit2_payloadJson")["accepted"]);
    let reply = pay(&host, &gate, "/premium-data", &encoded(&vector("permit2_payloadJson")));
    assert_eq!(reply.status, 200);
    assert_eq!(decoded(&reply, "payment-response")["transaction"], TX);
    assert_eq!(host.calls(), ["/verify", "/settle"]);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &encoded(&vector("permit2_payloadJson")))), "payment_used");
    assert_eq!(code(&pay(&host, &gate, "/dear", &encoded(&vector("permit2_payloadJson")))), "payment_used");
}

#[test]
fn each_changed_term_of_a_permit_is_refused_before_anybody_is_asked() {
    let permit = |rest: &str| format!("/payload/permit2Authorization/{rest}");
    let cases = [
        ("/accepted/amount".to_owned(), json!("9999"), "payment_mismatch"),
        ("/accepted/extra/assetTransferMethod".to_owned(), json!("eip3009"), "payment_mismatch"),
        (permit("spender"), json!("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"), "payment_terms"),
        (permit("spender"), json!(PAYEE), "payment_terms"),
        (permit("witness/to"), json!(PAYER), "payment_terms"),
        (permit("permitted/token"), json!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "payment_terms"),
        (permit("permitted/amount"), json!("10001"), "payment_terms"),
        (permit("permitted/amount"), json!("9999"), "payment_terms"),
        (permit("deadline"), json!("1800000005"), "payment_expired"),
        (permit("deadline"), json!("1800000361"), "payment_time_window"),
        (permit("witness/validAfter"), json!("1800000001"), "payment_time_window"),
        (permit("nonce"), json!("0x11"), "payment_invalid"),
        ("/payload".to_owned(), vector_payment()["payload"].clone(), "payment_invalid"),
    ];
    for (pointer, value, expected) in cases {
        let host = TestHost::new(NOW, honest, upstream("200"));
        let mut payment = vector("permit2_payloadJson");
        *payment.pointer_mut(&pointer).unwrap() = value;
        let reply = pay(&host, &permit2(), "/premium-data", &encoded(&payment));
        assert_eq!((reply.status, code(&reply).as_str()), (402, expected), "{pointer}");
        assert!(host.calls().is_empty() && host.forwarded().is_empty());
    }
}

#[test]
fn a_payload_of_two_kinds_is_refused_on_either_offer() {
    let mut both = vector("permit2_payloadJson");
    both["payload"]["authorization"] = vector_payment()["payload"]["authorization"].clone();
    let mut other = vector_payment();
    other["payload"]["permit2Authorization"] = both["payload"]["permit2Authorization"].clone();
    for (gate, payment) in [(permit2(), both), (gate("after"), other)] {
        let host = TestHost::new(NOW, honest, upstream("200"));
        let reply = pay(&host, &gate, "/premium-data", &encoded(&payment));
        assert_eq!((reply.status, code(&reply).as_str()), (402, "payment_invalid"));
        assert!(host.calls().is_empty());
    }
}

#[test]
fn a_permit_that_a_contract_may_have_signed_goes_to_the_facilitator_unless_only_keys_pay() {
    let mut payment = vector("permit2_payloadJson");
    payment["payload"]["signature"] = json!("0x00");
    let host = TestHost::new(NOW, honest, upstream("200"));
    assert_eq!(pay(&host, &permit2(), "/premium-data", &encoded(&payment)).status, 200);
    let host = TestHost::new(NOW, honest, upstream("200"));
    let keys = gate_with(json!({ "name": "premium", "path": "/premium-data", "wallets": "eoa",
        "offers": [{ "price": "$0.01", "network": "eip155:84532", "transfer_method": "permit2" }] }));
    assert_eq!(code(&pay(&host, &keys, "/premium-data", &encoded(&payment))), "payment_invalid");
    assert!(host.calls().is_empty());
    assert_eq!(pay(&host, &keys, "/premium-data", &encoded(&vector("permit2_payloadJson"))).status, 200);
}

#[test]
fn a_missing_approval_is_412_and_the_same_payment_is_good_once_it_is_there() {
    let approved = Rc::new(Cell::new(false));
    let is_approved = Rc::clone(&approved);
    let service = move |call: &Callout| match call.path.as_str() {
        "/verify" if !is_approved.get() => {
            answer(200, json!({ "isValid": false, "invalidReason": "permit2_allowance_required", "payer": PAYER }))
        }
        _ => honest(call),
    };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = permit2();
    let payment = encoded(&vector("permit2_payloadJson"));
    let reply = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!((reply.status, code(&reply).as_str()), (412, "permit2_allowance_required"));
    assert_eq!(decoded(&reply, "payment-required")["error"], "permit2_allowance_required");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["advice"], "approve_then_resend");
    approved.set(true);
    assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
}

#[test]
fn upto_is_verified_at_its_ceiling_and_settled_at_what_the_upstream_says() {
    for (overrides, charged, warned) in [
        (Some(r#"{"amount":"1000"}"#), "1000", false),
        (Some(r#"{"amount":"33.33%"}"#), "6666", false),
        (Some(r#"{"amount":"$0.005"}"#), "5000", false),
        (Some(r#"{"amount":"0"}"#), "0", false),
        (Some(r#"{"amount":"20001"}"#), "20000", true),
        (Some("nonsense"), "20000", true),
        (None, "20000", false),
    ] {
        let host = TestHost::new(NOW, metered, move |_: &Headers| {
            let mut headers: Headers = [(":status", "200")].into_iter().collect();
            if let Some(value) = overrides {
                headers.push(b"Settlement-Overrides", value.as_bytes());
            }
            Some(headers)
        });
        let gate = upto(&host);
        let sent = host.send(
            &gate,
            request("GET", "/premium-data", &[("payment-signature", &encoded(&vector("upto_payloadJson")))]),
        );
        let reply = sent.reply().unwrap();
        assert_eq!(reply.status, 200, "{overrides:?}");
        assert!(header(&reply, "settlement-overrides").is_none());
        let calls: Vec<Callout> = host.callouts().into_iter().filter(|call| call.path != "/supported").collect();
        assert_eq!(calls.iter().map(required).collect::<Vec<_>>(), ["20000", charged], "{overrides:?}");
        assert_eq!(decoded(&reply, "payment-response")["amount"], charged);
        assert_eq!(sent.note(Fact::Amount).unwrap(), charged);
        assert_eq!(host.log().iter().any(|line| line.contains("to charge")), warned, "{overrides:?}");
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &encoded(&vector("upto_payloadJson")))), "payment_used");
    }
}

#[test]
fn a_facilitator_that_charges_something_else_than_asked_leaves_the_outcome_unknown() {
    for (field, value) in [("amount", json!("20000")), ("transaction", json!(""))] {
        let service = move |call: &Callout| {
            if call.path != "/settle" {
                return metered(call);
            }
            let mut answered = json!({ "success": true, "payer": PAYER, "transaction": TX, "network": "eip155:84532",
                "amount": "1000" });
            answered[field] = value.clone();
            answer(200, answered)
        };
        let host = TestHost::new(NOW, service, |_: &Headers| {
            Some([(":status", "200"), ("settlement-overrides", r#"{"amount":"1000"}"#)].into_iter().collect())
        });
        let reply = pay(&host, &upto(&host), "/premium-data", &encoded(&vector("upto_payloadJson")));
        assert_eq!((reply.status, code(&reply).as_str()), (503, "outcome_unknown"), "{field}");
    }
}

#[test]
fn upto_waits_for_its_facilitator_and_answers_to_no_other() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = offering(json!({ "price": "$0.02", "network": "eip155:84532", "scheme": "upto" }));
    let reply = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    assert_eq!((reply.status, code(&reply).as_str()), (503, "offers_unavailable"));

    let host = TestHost::new(NOW, metered, upstream("200"));
    let gate = upto(&host);
    let challenge =
        decoded(&host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap(), "payment-required");
    assert_eq!(challenge["accepts"][0], vector("upto_payloadJson")["accepted"]);
    for (pointer, expected) in [
        ("/accepted/extra/facilitatorAddress", "payment_mismatch"),
        ("/payload/permit2Authorization/witness/facilitator", "payment_terms"),
    ] {
        let mut payment = vector("upto_payloadJson");
        *payment.pointer_mut(pointer).unwrap() = json!(PAYER);
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &encoded(&payment))), expected);
    }
    let mut payment = vector("upto_payloadJson");
    payment["payload"]["permit2Authorization"]["witness"].as_object_mut().unwrap().remove("facilitator");
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &encoded(&payment))), "payment_terms");
    assert!(host.forwarded().is_empty());
}

#[test]
fn an_exact_price_is_what_it_is_whatever_the_upstream_says_and_nobody_sees_what_it_said() {
    let host = TestHost::new(NOW, honest, |_: &Headers| {
        Some(
            [(":status", "200"), ("settlement_overrides", "{}"), ("settlement-overrides", r#"{"amount":"1"}"#)]
                .into_iter()
                .collect(),
        )
    });
    let gate = gate("after");
    let paid = pay(&host, &gate, "/premium-data", &payment());
    let free =
        host.send(&gate, request("GET", "/free", &[("settlement-overrides", r#"{"amount":"1"}"#)])).reply().unwrap();
    for reply in [&paid, &free] {
        assert_eq!(reply.status, 200);
        assert!(reply.headers.iter().all(|(name, _)| !name.contains("overrides")), "{:?}", reply.headers);
    }
    assert_eq!(required(&host.callouts()[1]), "10000");
    assert!(host.forwarded().iter().all(|request| request.first("settlement-overrides").is_none()));
}

#[test]
fn an_upto_payment_goes_to_the_facilitator_it_names_whichever_was_listed() {
    let service = |call: &Callout| match (call.path.as_str(), call.cluster.as_str()) {
        ("/supported", "second") => answer(
            200,
            json!({ "kinds": [{ "x402Version": 2, "scheme": "upto", "network": "eip155:84532",
                "extra": { "facilitatorAddress": PAYER } }] }),
        ),
        ("/verify" | "/settle", "second") => panic!("not named by the payment"),
        _ => metered(call),
    };
    for order in [["first", "second"], ["second", "first"]] {
        let host = TestHost::new(NOW, service, upstream("200"));
        let facilitators =
            order.map(|name| json!({ "name": name, "url": format!("http://{name}.test"), "cluster": name }));
        let policy = json!({ "version": 1, "origins": ["https://api.example.com"], "default": "denied",
            "payees": { "eip155:84532": PAYEE }, "facilitators": facilitators,
            "routes": [{ "path": "/premium-data", "response_timeout_seconds": 30,
                "offers": [{ "price": "$0.02", "network": "eip155:84532", "scheme": "upto" }] }] });
        let can = Capabilities { hold_response: true, read_body: false };
        let gate = Rc::new(Gate::load(policy.to_string().as_bytes(), &|_| None, can).unwrap());
        tend(&host, &gate);
        let challenge = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
        let accepts = decoded(&challenge, "payment-required")["accepts"].clone();
        let listed = if order[0] == "first" { PAYEE } else { PAYER };
        assert_eq!(
            (accepts.as_array().unwrap().len(), &accepts[0]["extra"]["facilitatorAddress"]),
            (1, &json!(listed))
        );
        assert_eq!(pay(&host, &gate, "/premium-data", &encoded(&vector("upto_payloadJson"))).status, 200);
    }
}
