//! Several facilitators: who is asked, who may be asked next, and what is said when there is nobody.

use super::*;
use std::collections::BTreeMap;

const SOLANA: &str = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";

type Given = Option<Result<Answer, CalloutError>>;
type Script = Rc<RefCell<BTreeMap<&'static str, Box<dyn FnMut() -> Given>>>>;

/// Two facilitators of one rail, `a` preferred, and a third of another.
fn gate() -> Rc<Gate> {
    let facilitator = |name: &str, network: &str| {
        json!({ "name": name, "url": format!("http://{name}.test"), "settle_timeout_seconds": 20,
                "breaker": { "failures": 2, "open_seconds": 30 }, "networks": [network] })
    };
    let policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                    SOLANA: "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM" },
        "facilitators": [facilitator("a", "eip155:84532"), facilitator("b", "eip155:84532"),
                         facilitator("sol", SOLANA)],
        "routes": [
            { "name": "premium", "path": "/premium-data", "settle": "after",
              "offers": [{ "price": "$0.01", "network": "eip155:84532" }] },
            { "name": "both", "path": "/both", "settle": "before",
              "offers": [{ "price": "$0.01", "network": "eip155:84532" }, { "price": "$0.01", "network": SOLANA }] }
        ]
    });
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy.to_string().as_bytes(), &|_| None, can).unwrap())
}

/// A host whose facilitators answer as the script says, by name and path (`a/settle`); the rest are honest.
fn scripted(script: &Script) -> TestHost {
    let script = Rc::clone(script);
    let service = move |call: &Callout| {
        let name = call.authority.strip_suffix(".test").unwrap();
        match script.borrow_mut().get_mut(format!("{name}{}", call.path).as_str()) {
            Some(answer) => answer(),
            None => honest(call),
        }
    };
    TestHost::new(NOW, service, upstream("200"))
}

/// What a service answers at a path.
type Answers<'a> = &'a [(&'static str, fn() -> Given)];

fn script(answers: Answers<'_>) -> Script {
    let script = Script::default();
    for (at, answer) in answers {
        script.borrow_mut().insert(at, Box::new(*answer));
    }
    script
}

/// A different payment each time; its signature is for the facilitator to judge.
fn fresh(seed: u32) -> String {
    let mut payment = vector_payment();
    payment["payload"]["authorization"]["nonce"] = json!(format!("0x{seed:064x}"));
    STANDARD.encode(payment.to_string())
}

fn asked(host: &TestHost) -> Vec<String> {
    host.callouts().iter().map(|call| format!("{}{}", call.authority.replace(".test", ""), call.path)).collect()
}

fn refused_connection() -> Given {
    let body = b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
    Some(Ok(Answer { status: 503, headers: Headers::default(), body: body.to_vec() }))
}

fn lost() -> Given {
    Some(Err(CalloutError::Lost))
}

fn says(reason: &'static str) -> Given {
    answer(200, json!({ "success": false, "errorReason": reason, "transaction": "" }))
}

#[test]
fn verify_fails_over_and_settle_stays_with_the_preferred_one() {
    let host = scripted(&script(&[("a/verify", refused_connection)]));
    assert_eq!(pay(&host, &gate(), "/premium-data", &payment()).status, 200);
    assert_eq!(asked(&host), ["a/verify", "b/verify", "a/settle"]);
}

#[test]
fn a_facilitator_that_keeps_failing_is_left_alone_and_tried_again_by_one_call() {
    let script = script(&[("a/verify", refused_connection)]);
    let (host, gate) = (scripted(&script), gate());
    for seed in 0..4 {
        assert_eq!(pay(&host, &gate, "/premium-data", &fresh(seed)).status, 200);
    }
    // An answer to /settle, one call later, is no failure in a row; so these two are.
    assert_eq!(host.count("breaker/a/open"), 0);
    script.borrow_mut().insert("a/settle", Box::new(refused_connection));
    assert_eq!(pay(&host, &gate, "/premium-data", &fresh(10)).status, 200);
    assert_eq!(host.count("breaker/a/open"), 1);
    assert!(host.log().iter().any(|line| line == "facilitator a: keeps failing, left alone for 30 s"));
    let before = asked(&host).len();
    assert_eq!(pay(&host, &gate, "/premium-data", &fresh(11)).status, 200);
    assert_eq!(asked(&host)[before..], ["b/verify", "b/settle"]);

    host.pass(30);
    script.borrow_mut().insert("a/verify", Box::new(|| None));
    let first = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &fresh(12))]));
    assert!(first.reply().is_none());
    assert_eq!(host.count("breaker/a/half_open"), 1);
    let before = asked(&host).len();
    assert_eq!(pay(&host, &gate, "/premium-data", &fresh(13)).status, 200);
    assert_eq!(asked(&host)[before..], ["b/verify", "b/settle"]);
    script.borrow_mut().clear();
    let mut first = first;
    host.settle_down(&mut first);
    assert_eq!(first.reply().unwrap().status, 200);
    assert_eq!((host.count("breaker/a/closed"), host.count("breaker/a/open")), (1, 1));
    let before = asked(&host).len();
    assert_eq!(pay(&host, &gate, "/premium-data", &fresh(14)).status, 200);
    assert_eq!(asked(&host)[before..], ["a/verify", "a/settle"]);
}

#[test]
fn a_refusal_is_an_answer_and_never_opens_a_breaker() {
    let refuse: fn() -> Given = || answer(500, json!({ "isValid": false, "invalidReason": "insufficient_funds" }));
    let unreadable: fn() -> Given = || answer(400, json!({ "error": "cannot read it" }));
    for answers in [refuse, unreadable] {
        let (host, gate) = (scripted(&script(&[("a/verify", answers)])), gate());
        for seed in 0..10 {
            pay(&host, &gate, "/premium-data", &fresh(seed));
        }
        assert_eq!(host.count("breaker/a/open"), 0);
    }
}

#[test]
fn an_overloaded_facilitator_is_left_alone_for_as_long_as_it_asks() {
    let busy: fn() -> Given = || {
        let headers = [("retry-after", "90")].into_iter().collect();
        Some(Ok(Answer { status: 429, headers, body: b"slow down".to_vec() }))
    };
    let (host, gate) = (scripted(&script(&[("a/verify", busy)])), gate());
    assert_eq!(pay(&host, &gate, "/premium-data", &fresh(1)).status, 200);
    assert_eq!(host.count("breaker/a/open"), 1);
    for (passed, first) in [(89, "b/verify"), (1, "a/verify")] {
        host.pass(passed);
        let before = asked(&host).len();
        pay(&host, &gate, "/premium-data", &fresh(100 + u32::try_from(passed).unwrap()));
        assert_eq!(asked(&host)[before], first);
    }
}

#[test]
fn a_settlement_without_an_answer_moves_on_where_the_chain_burns_a_nonce() {
    let failures: [fn() -> Given; 6] = [
        refused_connection,
        lost,
        || Some(Err(CalloutError::TooLarge)),
        || answer(500, json!({ "error": "boom" })),
        || answer(429, json!({})),
        || answer(504, json!("upstream request timeout")),
    ];
    for failure in failures {
        let host = scripted(&script(&[("a/settle", failure)]));
        let reply = pay(&host, &gate(), "/premium-data", &payment());
        assert_eq!(reply.status, 200);
        assert_eq!(decoded(&reply, "payment-response")["transaction"], TX);
        assert_eq!(asked(&host), ["a/verify", "a/settle", "b/settle"]);
    }
}

#[test]
fn after_a_move_no_refusal_is_believed() {
    let refusals: [fn() -> Given; 6] = [
        || says("invalid_exact_evm_nonce_already_used"),
        || says("invalid_exact_evm_transaction_failed"),
        || says("invalid_exact_evm_payload_authorization_valid_before"),
        || says("insufficient_funds"),
        || says("invalid_payload"),
        lost,
    ];
    for refusal in refusals {
        let host = scripted(&script(&[("a/settle", lost), ("b/settle", refusal)]));
        let gate = gate();
        for _ in 0..2 {
            let reply = pay(&host, &gate, "/premium-data", &payment());
            assert_eq!((reply.status, code(&reply).as_str()), (503, "outcome_unknown"));
            assert!(header(&reply, "payment-required").is_none());
        }
        assert_eq!(asked(&host), ["a/verify", "a/settle", "b/settle"]);
    }
    // The same words from the only one that was asked, where they decide anything.
    let host = scripted(&script(&[("a/settle", || says("insufficient_funds"))]));
    assert_eq!(code(&pay(&host, &gate(), "/premium-data", &payment())), "settlement_failed");
    assert_eq!(asked(&host), ["a/verify", "a/settle"]);
}

#[test]
fn an_answer_that_leaves_it_open_does_not_move() {
    for words in
        [|| says("invalid_exact_evm_nonce_already_used"), || says("unexpected_settle_error")] as [fn() -> Given; 2]
    {
        let host = scripted(&script(&[("a/settle", words)]));
        assert_eq!(code(&pay(&host, &gate(), "/premium-data", &payment())), "outcome_unknown");
        assert_eq!(asked(&host), ["a/verify", "a/settle"]);
    }
}

#[test]
fn a_request_that_never_left_moves_on_and_charges_nothing_if_there_is_nobody() {
    let unsent: fn() -> Given = || Some(Err(CalloutError::NotSent));
    let host = scripted(&script(&[("a/settle", unsent)]));
    assert_eq!(pay(&host, &gate(), "/premium-data", &payment()).status, 200);
    let host = scripted(&script(&[("a/settle", unsent), ("b/settle", unsent)]));
    let gate = gate();
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "facilitator_unavailable");
    host.serve_callouts(honest);
    assert_eq!(pay(&host, &gate, "/premium-data", &payment()).status, 200);
}

/// The payment that the second offer of `/both` asks for: one whose identity the core cannot know.
fn solana_payment(host: &TestHost, gate: &Rc<Gate>) -> String {
    let challenge = decoded(&host.send(gate, request("GET", "/both", &[])).reply().unwrap(), "payment-required");
    let accepts = challenge["accepts"].as_array().unwrap();
    let offer = accepts.iter().find(|offer| offer["network"] == SOLANA).unwrap();
    let payment = json!({ "x402Version": 2, "accepted": offer, "payload": { "transaction": "AQID" } });
    STANDARD.encode(payment.to_string())
}

fn know_solana(host: &TestHost, gate: &Rc<Gate>) {
    let kinds = || {
        answer(
            200,
            json!({ "kinds": [{ "x402Version": 2, "scheme": "exact", "network": SOLANA,
                                         "extra": { "feePayer": "EwWqGE4ZFKLofuestmU4LDdK7XM1N4ALgdZccwYugwGd" } }] }),
        )
    };
    let others = || answer(200, json!({ "kinds": [{ "x402Version": 2, "scheme": "exact", "network": "eip155:*" }] }));
    host.serve_callouts(move |call: &Callout| if call.authority == "sol.test" { kinds() } else { others() });
    let tending = Rc::clone(gate).tend(host.clone());
    crate::host::Host::spawn(host, tending);
    for _ in 0..8 {
        host.work();
    }
}

#[test]
fn a_payment_that_names_its_facilitator_never_moves() {
    let (host, gate) = (scripted(&Script::default()), gate());
    know_solana(&host, &gate);
    let payment = solana_payment(&host, &gate);
    host.serve_callouts(|_: &Callout| lost());
    let before = asked(&host).len();
    assert_eq!(code(&pay(&host, &gate, "/both", &payment)), "outcome_unknown");
    assert_eq!(asked(&host)[before..], ["sol/settle"]);
}

#[test]
fn one_transaction_pays_once_however_its_payment_is_written() {
    let (host, gate) = (scripted(&Script::default()), gate());
    know_solana(&host, &gate);
    // What other networks name a transaction by is not hexadecimal.
    host.serve_callouts(|_: &Callout| {
        answer(200, json!({ "success": true, "transaction": "0.0.1235@1700000000.000000000", "network": SOLANA }))
    });
    let payment = solana_payment(&host, &gate);
    let mut same: Value = serde_json::from_slice(&STANDARD.decode(&payment).unwrap()).unwrap();
    same["payload"]["memo"] = json!("in other words");
    let same = STANDARD.encode(same.to_string());
    assert_eq!(pay(&host, &gate, "/both", &payment).status, 200);
    for _ in 0..2 {
        let reply = pay(&host, &gate, "/both", &same);
        assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_used"));
    }
    assert_eq!(host.forwarded().len(), 1);
}

#[test]
fn offers_that_nobody_can_take_now_are_not_made_and_without_any_it_is_a_503() {
    let (host, gate) = (scripted(&Script::default()), gate());
    know_solana(&host, &gate);
    let networks = || {
        let reply = host.send(&gate, request("GET", "/both", &[])).reply().unwrap();
        assert_eq!(reply.status, 402);
        let challenge = decoded(&reply, "payment-required");
        let accepts = challenge["accepts"].as_array().unwrap().iter();
        accepts.map(|offer| offer["network"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(networks(), ["eip155:84532", SOLANA]);
    host.serve_callouts(|_: &Callout| refused_connection());
    let open_ab = |seed| pay(&host, &gate, "/premium-data", &fresh(seed));
    open_ab(1);
    let reply = open_ab(2);
    assert_eq!((reply.status, code(&reply).as_str()), (503, "facilitator_unavailable"));
    assert_eq!((host.count("breaker/a/open"), host.count("breaker/b/open")), (1, 1));
    assert_eq!(header(&reply, "retry-after"), Some("30"));
    assert_eq!(networks(), [SOLANA]);

    // A payment for an offer that is not made now is not told to pay anew.
    let before = asked(&host).len();
    let reply = open_ab(3);
    assert_eq!((reply.status, code(&reply).as_str()), (503, "facilitator_unavailable"));
    let reply = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    assert_eq!((reply.status, code(&reply).as_str()), (503, "offers_unavailable"));
    host.pass(20);
    let reply = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    assert_eq!(header(&reply, "retry-after"), Some("10"));
    assert_eq!(asked(&host).len(), before);

    host.pass(10);
    assert_eq!(networks(), ["eip155:84532", SOLANA]);
    host.serve_callouts(honest);
    assert_eq!(pay(&host, &gate, "/premium-data", &fresh(4)).status, 200);
    assert!(host.forwarded().len() == 1);
}

#[test]
fn a_pending_settlement_is_asked_for_once_more_and_nobody_else_is() {
    let pending = || answer(200, json!({ "success": false, "errorReason": "settlement_pending", "transaction": TX }));
    let again: [(fn() -> Given, u16); 6] = [
        (settled, 200),
        (pending, 503),
        (lost, 503),
        (|| says("insufficient_funds"), 503),
        (|| says("invalid_exact_evm_transaction_failed"), 503),
        (|| Some(Err(CalloutError::NotSent)), 503),
    ];
    for (second, status) in again {
        let asked_before = Rc::new(Cell::new(false));
        let script = Script::default();
        script
            .borrow_mut()
            .insert("a/settle", Box::new(move || if asked_before.replace(true) { second() } else { pending() }));
        let (host, gate) = (scripted(&script), gate());
        let mut sent = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &payment())]));
        assert!(sent.reply().is_none());
        assert_eq!(asked(&host), ["a/verify", "a/settle"]);
        host.pass(1);
        host.settle_down(&mut sent);
        let reply = sent.reply().unwrap();
        assert_eq!(reply.status, status);
        if status == 503 {
            assert_eq!(code(&reply), "outcome_unknown");
        }
        assert_eq!(asked(&host), ["a/verify", "a/settle", "a/settle"]);
        let [.., first, second] = &host.callouts()[..] else { unreachable!() };
        assert_eq!(first.body, second.body);
        // Both calls and the sleep between them take no longer than two calls would.
        assert_eq!((first.timeout_millis, second.timeout_millis), (20_000, 19_000));
    }
}

#[test]
fn each_call_shows_who_we_are() {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/cdp.json")).unwrap();
    let secret = vectors["keys"]["ed25519"].as_str().unwrap().to_owned();
    let env = move |name: &str| Some(if name == "SECRET" { secret.clone() } else { "s3cret".to_owned() });
    let facilitator = |name: &str, url: &str, auth: Value| json!({ "name": name, "url": url, "auth": auth });
    let cdp = json!({ "cdp": { "key_id_env": "ID", "key_secret_env": "SECRET" } });
    let policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [facilitator("bearer", "https://b.test", json!({ "bearer_env": "TOKEN" })),
                         facilitator("cdp", "https://cdp.test/v2/x402/", cdp)],
        "routes": [{ "path": "/premium-data", "offers": [{ "price": "$0.01", "network": "eip155:84532" }] }]
    });
    let can = Capabilities { hold_response: true, read_body: false };
    let gate = Rc::new(Gate::load(policy.to_string().as_bytes(), &env, can).unwrap());
    let first_fails = |call: &Callout| {
        if call.authority == "b.test" { lost() } else { honest_at(call.path.strip_prefix("/v2/x402")?) }
    };
    let host = TestHost::new(NOW, first_fails, upstream("200"));
    assert_eq!(pay(&host, &gate, "/premium-data", &payment()).status, 200);
    let shown = |call: &Callout, name: &str| {
        call.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let callouts = host.callouts();
    assert_eq!(shown(&callouts[0], "authorization"), ["Bearer s3cret"]);
    let mut seen = Vec::new();
    for call in callouts.iter().filter(|call| call.authority == "cdp.test") {
        assert!(shown(call, "correlation-context")[0].starts_with("sdkLanguage="));
        let token = shown(call, "authorization")[0].strip_prefix("Bearer ").unwrap().to_owned();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["uris"], json!([format!("POST cdp.test{}", call.path)]));
        assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(NOW), Some(NOW + 120)));
        seen.push(token);
    }
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1]);
    assert!(!host.log().iter().any(|line| line.contains("s3cret") || seen.iter().any(|token| line.contains(token))));
}

#[test]
fn a_payment_that_a_facilitator_stumbles_over_does_not_open_its_breaker_unless_its_payer_is_proven() {
    let stumbles: fn() -> Given = || answer(500, json!({ "error": "boom" }));
    let (host, gate) = (scripted(&script(&[("a/verify", stumbles), ("b/verify", stumbles)])), gate());
    for seed in 0..10 {
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &fresh(seed))), "facilitator_unavailable");
    }
    assert_eq!(host.count("breaker/a/open"), 0);
    for _ in 0..2 {
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "facilitator_unavailable");
    }
    assert_eq!((host.count("breaker/a/open"), host.count("breaker/b/open")), (1, 1));
}

#[test]
fn supported_is_asked_again_when_the_facilitator_says_and_what_was_known_stays_known() {
    let (host, gate) = (scripted(&Script::default()), gate());
    know_solana(&host, &gate);
    let busy = |seconds: &'static str| {
        let headers = [("retry-after", seconds)].into_iter().collect();
        Some(Ok(Answer { status: 429, headers, body: Vec::new() }))
    };
    host.serve_callouts(move |call: &Callout| if call.authority == "sol.test" { busy("60") } else { lost() });
    let asked_in = |seconds: u64| {
        let before = asked(&host).iter().filter(|call| *call == "sol/supported").count();
        for _ in 0..seconds {
            host.pass(1);
            (0..4).for_each(|_| host.work());
        }
        asked(&host).iter().filter(|call| *call == "sol/supported").count() - before
    };
    assert_eq!(asked_in(299), 0);
    assert_eq!(asked_in(2), 1);
    assert_eq!(asked_in(58), 0);
    assert_eq!(asked_in(3), 1);
    assert!(host.log().iter().any(|line| line == "facilitator sol/supported: asks to be left alone for 60 s"));
    // Another failure is tried again after a short while.
    assert_eq!(asked(&host).iter().filter(|call| *call == "a/supported").count(), 1 + 7);
    let _ = solana_payment(&host, &gate);
}
