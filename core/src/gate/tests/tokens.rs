//! Capability tokens: bought, shown, drawn on, given back, revoked.

use super::*;
use crate::crypto::jws;
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::proof::{AUTHORIZATION, Request, Signing};
use crate::receipt::Receipt;
use crate::receipt::verify::{Trust, Verifier};
use crate::token::{Chain, Constraint, Grant, Limit, Narrower, Per, Token, Unit, delegate};

fn key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[1; 32]).unwrap()
}

fn holder() -> SigningKey {
    SigningKey::from_secret(Algorithm::Es256k, &[2; 32]).unwrap()
}

fn admin() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[3; 32]).unwrap()
}

/// A gate that sells `pass` at `/premium-data`, and nothing else there.
fn seller(settle: &str, pass: Value) -> Rc<Gate> {
    seller_with(settle, pass, |_| {})
}

fn seller_with(settle: &str, pass: Value, change: impl Fn(&mut Value)) -> Rc<Gate> {
    let mut policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "tokens": {
            "keys": [{ "env": "KEY" }],
            "admin": { "origin": "https://api.example.com", "jwk": admin().public().to_jwk() }
        },
        "audit": {},
        "routes": [
            { "name": "premium", "path": "/premium-data", "settle": settle,
              "offers": [{ "price": "$0.01", "network": "eip155:84532" }] },
            { "name": "dear", "path": "/dear", "offers": [{ "price": "$0.02", "network": "eip155:84532" }] },
            { "name": "theirs", "path": "/theirs", "authorization": "upstream",
              "offers": [{ "price": "$0.02", "network": "eip155:84532" }] },
            { "name": "free", "path": "/free", "access": "free" }
        ]
    });
    if !pass.is_null() {
        policy["routes"][0]["offers"][0]["pass"] = pass;
    }
    change(&mut policy);
    let env = |name: &str| (name == "KEY").then(|| key().to_jwk().to_string());
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy.to_string().as_bytes(), &env, can).unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

/// A payment for the first offer at `path`, the `nth` of this payer.
fn payment_for(host: &TestHost, gate: &Rc<Gate>, path: &str, nth: u8) -> String {
    let challenge = decoded(&host.send(gate, request("GET", path, &[])).reply().unwrap(), "payment-required");
    let mut payment = vector_payment();
    payment["accepted"] = challenge["accepts"][0].clone();
    payment["payload"]["authorization"]["value"] = challenge["accepts"][0]["amount"].clone();
    payment["payload"]["authorization"]["nonce"] = format!("0x{:0>64}", hex(nth)).into();
    payment["extensions"] = json!({ "farebox": { "info": { "nonce": format!("0x{:0>32}", hex(nth)) } } });
    STANDARD.encode(payment.to_string())
}

fn hex(nth: u8) -> String {
    format!("{nth:x}")
}

fn bought(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let token = header(reply, "capability-token").unwrap().to_owned();
    assert_eq!(decoded(reply, "payment-response")["extensions"]["farebox"]["info"]["token"], token.as_str());
    token
}

fn call(host: &TestHost, gate: &Rc<Gate>, path: &str, token: &str) -> Reply {
    host.send(gate, request("GET", path, &[("authorization", &format!("Bearer {token}"))])).reply().unwrap()
}

fn bearer_pass(calls: u64) -> Value {
    json!({ "calls": calls, "seconds": 600, "bearer": {} })
}

#[test]
fn a_pass_is_bought_once_and_then_admits_without_a_callout() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let payment = payment_for(&host, &gate, "/premium-data", 1);
    let token = bought(&pay(&host, &gate, "/premium-data", &payment));
    for left in ["call=2", "call=1", "call=0"] {
        let reply = call(&host, &gate, "/premium-data", &token);
        assert_eq!((reply.status, header(&reply, "farebox-remaining")), (200, Some(left)));
        assert_eq!(header(&reply, "cache-control"), Some("private, no-store"));
        let seen = host.forwarded().pop().unwrap();
        assert_eq!(seen.text("farebox-remaining"), Some(left));
        assert!(seen.text("farebox-payer").unwrap().starts_with("eip155:84532:0x"));
        assert_eq!(seen.text("farebox-token-id").unwrap(), Chain::inspect(&token).unwrap().leaf().token.jti);
        assert!(seen.first("authorization").is_none());
    }
    let reply = call(&host, &gate, "/premium-data", &token);
    assert_eq!((reply.status, code(&reply).as_str()), (402, "token_exhausted"));
    assert!(decoded(&reply, "payment-required")["accepts"][0]["extra"]["pass"]["calls"] == 3);
    assert_eq!(host.calls(), ["/verify", "/settle"]);
    assert_eq!(host.count("premium/token"), 3);
}

#[test]
fn the_same_payment_gets_the_same_token_and_nobody_elses_gets_anything() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let payment = payment_for(&host, &gate, "/premium-data", 1);
    let token = bought(&pay(&host, &gate, "/premium-data", &payment));
    host.pass(100);
    assert_eq!(bought(&pay(&host, &gate, "/premium-data", &payment)), token);
    assert_eq!(host.forwarded().len(), 1);
    let decoded: Value = serde_json::from_slice(&STANDARD.decode(&payment).unwrap()).unwrap();
    for stolen in [json!({}), json!({ "farebox": { "info": { "nonce": format!("0x{:0>32}", "9") } } })] {
        let mut thief = decoded.clone();
        thief["extensions"] = stolen;
        let reply = pay(&host, &gate, "/premium-data", &STANDARD.encode(thief.to_string()));
        assert_eq!((reply.status, code(&reply).as_str()), (409, "payment_used"));
        assert!(header(&reply, "capability-token").is_none());
    }
}

#[test]
fn a_call_that_the_upstream_fails_is_given_back() {
    let status = Rc::new(Cell::new("500"));
    let answers = Rc::clone(&status);
    let host = TestHost::new(NOW, honest, move |_| Some([(":status", answers.get())].into_iter().collect()));
    let gate = seller("after", bearer_pass(1));
    status.set("200");
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    status.set("500");
    for _ in 0..3 {
        assert_eq!(call(&host, &gate, "/premium-data", &token).status, 500);
    }
    status.set("200");
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 402);
}

#[test]
fn a_client_that_leaves_after_the_request_went_is_charged() {
    let answers = Rc::new(Cell::new(true));
    let ready = Rc::clone(&answers);
    let host = TestHost::new(NOW, honest, move |_| ready.get().then(|| [(":status", "200")].into_iter().collect()));
    let gate = seller("after", bearer_pass(1));
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    answers.set(false);
    let fields = [("authorization", &*format!("Bearer {token}"))];
    let mut sent = host.send(&gate, request("GET", "/premium-data", &fields));
    assert!(sent.reply().is_none());
    sent.hang_up();
    host.work();
    answers.set(true);
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 402);
}

#[test]
fn a_pass_for_holders_of_a_key_is_not_sold_to_others_and_nothing_is_charged() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", json!({ "calls": 3, "seconds": 600 }));
    let payment = payment_for(&host, &gate, "/premium-data", 1);
    let reply = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!((reply.status, code(&reply).as_str()), (400, "holder_key_required"));
    assert!(host.calls().is_empty());
    assert_eq!(host.count("claim/claimed"), 0);
}

fn proof_request(path: &str) -> Request<'_> {
    Request { method: "GET", origin: "https://api.example.com", target: path, has_body: false }
}

fn bound_token(host: &TestHost, gate: &Rc<Gate>, nth: u8) -> String {
    let payment = payment_for(host, gate, "/premium-data", nth);
    let nonce = format!("introduction-{nth:010}");
    let headers = request("GET", "/premium-data", &[("payment-signature", &payment)]);
    let signing = Signing { key: &holder(), created: host_now(host), nonce: &nonce, label: "sig1" };
    let signed = signing.introduce("payment-signature", &proof_request("/premium-data"), &headers).unwrap();
    let fields = [
        ("payment-signature", payment.as_str()),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    bought(&host.send(gate, request("GET", "/premium-data", &fields)).reply().unwrap())
}

fn host_now(host: &TestHost) -> u64 {
    use crate::host::Host;
    host.now()
}

fn signed_call(host: &TestHost, gate: &Rc<Gate>, path: &str, token: &str, key: &SigningKey, nonce: &str) -> Reply {
    let authorization = format!("HTTPSig {token}");
    let headers = request("GET", path, &[("authorization", &authorization)]);
    let signing = Signing { key, created: host_now(host), nonce, label: "sig1" };
    let signed = signing.present(AUTHORIZATION, &proof_request(path), &headers).unwrap();
    let fields = [
        ("authorization", authorization.as_str()),
        ("signature-input", &signed.signature_input),
        ("signature", &signed.signature),
    ];
    host.send(gate, request("GET", path, &fields)).reply().unwrap()
}

#[test]
fn a_token_of_a_key_is_good_with_a_fresh_proof_alone() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", json!({ "calls": 3, "seconds": 600 }));
    let token = bound_token(&host, &gate, 1);
    assert_eq!(Chain::inspect(&token).unwrap().holder().unwrap().key, Some(holder().public()));
    let naked = call(&host, &gate, "/premium-data", &token);
    assert_eq!((naked.status, code(&naked).as_str()), (401, "proof_required"));
    assert!(header(&naked, "www-authenticate").unwrap().contains("oauth-protected-resource"));
    assert_eq!(signed_call(&host, &gate, "/premium-data", &token, &holder(), "nonce-0000000001").status, 200);
    let replayed = signed_call(&host, &gate, "/premium-data", &token, &holder(), "nonce-0000000001");
    assert_eq!((replayed.status, code(&replayed).as_str()), (401, "proof_replayed"));
    let stolen = signed_call(&host, &gate, "/premium-data", &token, &admin(), "nonce-0000000002");
    assert_eq!((stolen.status, code(&stolen).as_str()), (401, "proof_invalid"));
    assert_eq!(host.forwarded().len(), 2);
}

#[test]
fn a_delegated_token_is_good_for_its_narrower_grant_and_draws_on_the_root() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller_with("after", json!({ "calls": 3, "seconds": 600, "delegations": 1 }), |policy| {
        policy["routes"][0]["path"] = "/premium-data/*".into();
    });
    let payment_path = "/premium-data";
    let token = bound_token(&host, &gate, 1);
    assert_eq!(payment_path, "/premium-data");
    let root = Chain::inspect(&token).unwrap().root().token.clone();
    let child_key = SigningKey::from_secret(Algorithm::EdDsa, &[9; 32]).unwrap();
    let mut grant = Grant {
        constraints: vec![crate::token::Constraint::PathPrefix("/premium-data/quotes/".to_owned())],
        limits: vec![Limit { per: Per::Token, unit: Unit::Call, max: 2 }],
        ..root.grants[0].clone()
    };
    grant.inherit(&root.grants[0]);
    let narrower = Narrower {
        jti: "child-1".to_owned(),
        holder: child_key.public(),
        grants: vec![grant],
        aud: None,
        iat: NOW,
        nbf: None,
        exp: root.exp,
        del_max_depth: None,
    };
    let child = delegate(&token, &holder(), narrower).unwrap();
    let go = |path: &str, nonce: &str| signed_call(&host, &gate, path, &child, &child_key, nonce);
    assert_eq!(go("/premium-data/quotes/btc", "nonce-0000000001").status, 200);
    let outside = go("/premium-data/other", "nonce-0000000002");
    assert_eq!((outside.status, code(&outside).as_str()), (403, "token_scope"));
    assert_eq!(signed_call(&host, &gate, "/premium-data/x", &token, &holder(), "nonce-0000000003").status, 200);
    assert_eq!(signed_call(&host, &gate, "/premium-data/x", &token, &holder(), "nonce-0000000004").status, 200);
    let empty = go("/premium-data/quotes/btc", "nonce-0000000005");
    assert_eq!((empty.status, code(&empty).as_str()), (402, "token_exhausted"));

    // Revoking the root stops the child.
    let token = bound_token(&host, &gate, 2);
    assert_eq!(signed_call(&host, &gate, "/premium-data/x", &token, &holder(), "nonce-0000000006").status, 200);
    let jti = Chain::inspect(&token).unwrap().root().token.jti.clone();
    assert_eq!(
        administer(&host, &gate, "revocation-1", json!({ "op": "revoke", "what": { "token": jti } })).status,
        200
    );
    let revoked = signed_call(&host, &gate, "/premium-data/x", &token, &holder(), "nonce-0000000007");
    assert_eq!((revoked.status, code(&revoked).as_str()), (403, "token_revoked"));
}

fn administer(host: &TestHost, gate: &Rc<Gate>, jti: &str, what: Value) -> Reply {
    administer_as(host, gate, &admin(), jti, what)
}

fn administer_as(host: &TestHost, gate: &Rc<Gate>, key: &SigningKey, jti: &str, what: Value) -> Reply {
    let now = host_now(host);
    let mut claims = json!({ "aud": "https://api.example.com", "iat": now, "exp": now + 60, "jti": jti });
    claims.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    let signed = jws::sign(key, "admin+jwt", None, &claims).unwrap();
    let fields = [("authorization", &*format!("Bearer {signed}"))];
    host.send(gate, request("POST", "/.well-known/farebox/admin", &fields)).reply().unwrap()
}

#[test]
fn administrators_are_answered_once_and_nobody_else_is() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    let jti = Chain::inspect(&token).unwrap().root().token.jti.clone();
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    let left = json!({ "op": "left", "token": jti });
    let reply = administer(&host, &gate, "question-1", left.clone());
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["counters"][0]["left"], "2");
    assert_eq!(body["counters"][0]["unit"], "call");
    for refused in [
        administer(&host, &gate, "question-1", left.clone()),
        administer_as(&host, &gate, &key(), "question-2", left.clone()),
        administer_as(&host, &gate, &holder(), "question-3", left.clone()),
        administer(&host, &gate, "question-4", json!({ "op": "left", "token": jti, "more": 1 })),
        administer(&host, &gate, "question-5", json!({ "op": "everything" })),
        administer(&host, &gate, "short", left.clone()),
        administer(&host, &gate, "question-6", json!({ "op": "left", "token": jti, "aud": "https://other" })),
        administer(&host, &gate, "question-7", json!({ "op": "left", "token": jti, "exp": NOW + 3600 })),
        administer(
            &host,
            &gate,
            "question-8",
            json!({ "op": "left", "token": jti, "iat": NOW - 300, "exp": NOW - 240 }),
        ),
    ] {
        assert_eq!((refused.status, code(&refused).as_str()), (401, "admin_refused"));
    }
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    for what in [json!({ "payer": format!("eip155:84532:{PAYER}") }), json!({ "issued_before": NOW + 1 })] {
        let gate = seller("after", bearer_pass(3));
        let host = TestHost::new(NOW, honest, upstream("200"));
        let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
        assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
        assert_eq!(administer(&host, &gate, "revocation-1", json!({ "op": "revoke", "what": what })).status, 200);
        assert_eq!(code(&call(&host, &gate, "/premium-data", &token)), "token_revoked", "{what}");
    }
}

#[test]
fn without_an_administrator_in_the_policy_nobody_is_answered() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller_with("after", bearer_pass(3), |policy| {
        policy["tokens"].as_object_mut().unwrap().remove("admin");
    });
    assert_eq!(administer(&host, &gate, "question-1", json!({ "op": "left", "token": "a" })).status, 404);
}

#[test]
fn a_holder_can_ask_what_is_left() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    let ask = |token: &str| {
        let fields = [("authorization", &*format!("Bearer {token}"))];
        host.send(&gate, request("GET", "/.well-known/farebox/token", &fields)).reply().unwrap()
    };
    let told = |reply: &Reply| serde_json::from_slice::<Value>(&reply.body).unwrap()["remaining"].clone();
    assert_eq!(told(&ask(&token)), "call=3");
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    assert_eq!(told(&ask(&token)), "call=2");
    assert_eq!(ask("nonsense").status, 401);
    assert_eq!(ask(&format!("{}x", &token[..token.len() - 1])).status, 401);
}

#[test]
fn what_a_holder_is_told_is_of_its_own_links_alone() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", json!({ "calls": 9, "seconds": 600, "delegations": 1 }));
    let root = bound_token(&host, &gate, 1);
    let agents = [8, 9].map(|secret| SigningKey::from_secret(Algorithm::EdDsa, &[secret; 32]).unwrap());
    let children = [4, 6].map(|max| {
        let parent = Chain::inspect(&root).unwrap().root().token.clone();
        let mut grant = parent.grants[0].clone();
        grant.limits = vec![Limit { per: Per::Token, unit: Unit::Call, max }];
        let narrower = Narrower {
            jti: format!("child-{max}"),
            holder: agents[usize::from(max == 6)].public(),
            grants: vec![grant],
            aud: None,
            iat: NOW,
            nbf: None,
            exp: parent.exp,
            del_max_depth: None,
        };
        delegate(&root, &holder(), narrower).unwrap()
    });
    let ask = |token: &str, key: &SigningKey, nonce: &str| {
        let reply = signed_call(&host, &gate, "/.well-known/farebox/token", token, key, nonce);
        serde_json::from_slice::<Value>(&reply.body).unwrap()["remaining"].clone()
    };
    let go = |nonce: &str| signed_call(&host, &gate, "/premium-data", &children[0], &agents[0], nonce).status;
    assert_eq!(ask(&children[1], &agents[1], "question-00000001"), "call=6");
    assert_eq!([go("call-000000000001"), go("call-000000000002"), go("call-000000000003")], [200; 3]);
    assert_eq!(ask(&root, &holder(), "question-00000002"), "call=6", "not its child's 1");
    assert_eq!(ask(&children[0], &agents[0], "question-00000003"), "call=1");
    assert_eq!(ask(&children[1], &agents[1], "question-00000004"), "call=6", "not its sibling's 1");
    assert_eq!(go("call-000000000004"), 200);
    assert_eq!(ask(&children[1], &agents[1], "question-00000005"), "call=5", "the root has no more");
}

#[test]
fn a_charged_call_that_failed_is_made_up_by_one_credit() {
    let status = Rc::new(Cell::new("500"));
    let answers = Rc::clone(&status);
    let host = TestHost::new(NOW, honest, move |_| Some([(":status", answers.get())].into_iter().collect()));
    let gate = seller("before", Value::Null);
    let payment = payment_for(&host, &gate, "/premium-data", 1);
    let failed = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!(failed.status, 500);
    let credit = header(&failed, "capability-token").unwrap().to_owned();
    assert_eq!(host.count("premium/credited"), 1);
    // The payment itself is closed: it gives the same credit, and no second call.
    host.pass(10);
    let again = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!((again.status, header(&again, "capability-token")), (200, Some(credit.as_str())));
    assert_eq!(host.forwarded().len(), 1);
    // A credit call that fails restores the credit.
    assert_eq!(call(&host, &gate, "/premium-data", &credit).status, 500);
    status.set("200");
    assert_eq!(call(&host, &gate, "/premium-data", &credit).status, 200);
    assert_eq!(call(&host, &gate, "/premium-data", &credit).status, 402);
    assert_eq!(call(&host, &gate, "/dear", &credit).status, 403);
    assert_eq!(host.calls(), ["/settle"]);
}

#[test]
fn a_pass_whose_buyer_left_is_there_for_the_same_payment_whatever_the_method() {
    for method in ["GET", "POST"] {
        let held = Rc::new(Cell::new(true));
        let hold = Rc::clone(&held);
        let service = move |call: &Callout| match call.path.as_str() {
            "/settle" if hold.get() => None,
            _ => honest(call),
        };
        let host = TestHost::new(NOW, service, upstream("200"));
        let gate = seller("after", bearer_pass(3));
        let payment = payment_for(&host, &gate, "/premium-data", 1);
        let again = |payment: &str| {
            let fields = [("payment-signature", payment)];
            host.send(&gate, request(method, "/premium-data", &fields)).reply().unwrap()
        };
        let fields = [("payment-signature", payment.as_str())];
        let mut sent = host.send(&gate, request(method, "/premium-data", &fields));
        assert!(sent.reply().is_none());
        sent.hang_up();
        held.set(false);
        host.work();
        let mut thief: Value = serde_json::from_slice(&STANDARD.decode(&payment).unwrap()).unwrap();
        thief["extensions"] = json!({});
        assert_eq!(code(&again(&STANDARD.encode(thief.to_string()))), "payment_used");
        let token = bought(&again(&payment));
        assert_eq!(bought(&again(&payment)), token);
        assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
        assert_eq!(host.calls(), ["/verify", "/settle"]);
        // The upstream saw what may be repeated twice, and what may not once; and the call with the token.
        assert_eq!(host.forwarded().len(), if method == "GET" { 3 } else { 2 });
        assert_eq!(host.audit().iter().filter(|line| line.contains("\"kind\":\"issue\"")).count(), 1);
    }
}

#[test]
fn a_pass_is_known_by_what_was_bought_whatever_is_offered_now() {
    let host = TestHost::new(
        NOW,
        |call| match call.path.as_str() {
            "/settle" => Some(Err(CalloutError::Lost)),
            path => honest_at(path),
        },
        upstream("200"),
    );
    let payment = payment_for(&host, &seller("after", bearer_pass(3)), "/premium-data", 1);
    assert_eq!(code(&pay(&host, &seller("after", bearer_pass(3)), "/premium-data", &payment)), "outcome_unknown");
    let dearer = seller_with("after", bearer_pass(2), |policy| policy["routes"][0]["offers"][0]["price"] = json!("$5"));
    assert_eq!(code(&pay(&host, &dearer, "/premium-data", &payment)), "outcome_unknown");
}

#[test]
fn a_repeat_within_the_window_that_fails_is_worth_no_credit() {
    let status = Rc::new(Cell::new("200"));
    let answers = Rc::clone(&status);
    let host = TestHost::new(NOW, honest, move |_| Some([(":status", answers.get())].into_iter().collect()));
    let gate = seller_with("before", Value::Null, |policy| {
        policy["routes"][0]["payment_identifier"] = json!("optional");
        policy["routes"][0]["redelivery_seconds"] = json!(60);
    });
    let mut payment: Value =
        serde_json::from_slice(&STANDARD.decode(payment_for(&host, &gate, "/premium-data", 1)).unwrap()).unwrap();
    payment["extensions"]["payment-identifier"] = json!({ "info": { "id": "pay_0123456789abcdef" } });
    let payment = STANDARD.encode(payment.to_string());
    assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
    status.set("429");
    let failed = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!((failed.status, host.forwarded().len()), (429, 2));
    assert!(header(&failed, "capability-token").is_none());
    assert_eq!(host.count("premium/credited"), 0);
    let settled = decoded(&failed, "payment-response");
    assert_eq!(settled["success"], true);
    status.set("200");
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment)), "payment_used");
}

#[test]
fn a_single_call_and_a_pass_at_the_same_place_are_never_answered_from_one_another() {
    let host = TestHost::new(
        NOW,
        |call| match call.path.as_str() {
            "/settle" => Some(Err(CalloutError::Lost)),
            path => honest_at(path),
        },
        upstream("200"),
    );
    let gate = seller_with("after", Value::Null, |policy| {
        let pass = json!({ "price": "$1", "network": "eip155:84532", "pass": bearer_pass(100) });
        policy["routes"][0]["offers"].as_array_mut().unwrap().insert(0, pass);
    });
    let unpaid = host.send(&gate, request("GET", "/premium-data", &[])).reply().unwrap();
    let accepts = decoded(&unpaid, "payment-required")["accepts"].clone();
    // Single calls come first, whatever the order in the policy: official clients pay the first they can.
    assert!(accepts[0]["extra"]["pass"].is_null() && accepts[1]["extra"]["pass"]["calls"] == 100);
    let reply = pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1));
    assert_eq!(code(&reply), "outcome_unknown");
    let mut pass: Value =
        serde_json::from_slice(&STANDARD.decode(payment_for(&host, &gate, "/premium-data", 2)).unwrap()).unwrap();
    pass["accepted"] = accepts[1].clone();
    pass["payload"]["authorization"]["value"] = accepts[1]["amount"].clone();
    host.serve_callouts(honest);
    let bought = pay(&host, &gate, "/premium-data", &STANDARD.encode(pass.to_string()));
    assert_eq!(bought.status, 200);
    assert!(header(&bought, "capability-token").is_some());
    assert_eq!(host.count("claim/settled"), 1);
}

#[test]
fn a_payment_beside_a_token_is_ambiguous() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let payment = payment_for(&host, &gate, "/premium-data", 1);
    let token = bought(&pay(&host, &gate, "/premium-data", &payment));
    let authorization = format!("Bearer {token}");
    for fields in [
        vec![("authorization", authorization.as_str()), ("payment-signature", &payment)],
        vec![("authorization", &authorization), ("capability-token", &token)],
        vec![("authorization", &authorization), ("authorization", &authorization)],
    ] {
        let reply = host.send(&gate, request("GET", "/premium-data", &fields)).reply().unwrap();
        assert_eq!((reply.status, code(&reply).as_str()), (400, "credential_ambiguous"));
    }
    let reply = host.send(&gate, request("GET", "/premium-data", &[("capability-token", &token)])).reply().unwrap();
    assert_eq!(reply.status, 200);
}

#[test]
fn where_authorization_is_the_upstreams_only_capability_token_is_ours() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller_with("after", bearer_pass(3), |policy| {
        policy["routes"][0]["offers"][0]["pass"]["routes"] = json!(["premium", "theirs"]);
    });
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    let send = |fields: &[(&str, &str)]| host.send(&gate, request("GET", "/theirs", fields)).reply().unwrap();
    assert_eq!(code(&send(&[("authorization", "Bearer app-key")])), "payment_required");
    let reply = send(&[("authorization", "Bearer app-key"), ("capability-token", &token)]);
    assert_eq!(reply.status, 200);
    // A token of ours never reaches an upstream, in whichever field and on whichever route it comes.
    let misplaced = format!("Bearer {token}");
    assert_eq!(code(&send(&[("authorization", &misplaced)])), "payment_required");
    let free = host.send(&gate, request("GET", "/free", &[("authorization", &misplaced)])).reply().unwrap();
    assert_eq!(free.status, 200);
    assert!(host.forwarded().last().unwrap().first("authorization").is_none());
    let free = host.send(&gate, request("GET", "/free", &[("authorization", "Bearer app-key")])).reply().unwrap();
    assert_eq!(free.status, 200);
    assert_eq!(host.forwarded().last().unwrap().text("authorization"), Some("Bearer app-key"));
}

#[test]
fn calls_that_come_too_fast_are_told_when_to_come_again() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let pass = json!({ "calls": 100, "seconds": 600, "rate": { "calls": 2, "seconds": 10 }, "bearer": {} });
    let gate = seller("after", pass);
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    let fast = call(&host, &gate, "/premium-data", &token);
    assert_eq!((fast.status, code(&fast).as_str()), (429, "token_rate"));
    assert_eq!(header(&fast, "retry-after"), Some("5"));
    assert_eq!(header(&fast, "ratelimit"), Some("\"token\";r=0;t=5"));
    assert_eq!(header(&fast, "ratelimit-policy"), Some("\"token\";q=2;w=10"));
    host.pass(5);
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
}

#[test]
fn money_is_drawn_at_the_price_of_the_route() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let pass = json!({ "budget": "45000", "seconds": 600, "bearer": {}, "routes": ["premium", "dear"] });
    let gate = seller_with("after", pass, |policy| {
        policy["routes"][0]["call_prices"] = json!([{ "price": "$0.005", "network": "eip155:84532" }]);
    });
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    let left =
        |reply: &Reply| header(reply, "farebox-remaining").map(|left| left.split(';').next().unwrap().to_owned());
    assert_eq!(left(&call(&host, &gate, "/dear", &token)).unwrap(), "amount=25000");
    assert_eq!(left(&call(&host, &gate, "/premium-data", &token)).unwrap(), "amount=20000");
    assert_eq!(left(&call(&host, &gate, "/dear", &token)).unwrap(), "amount=0");
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 402);
}

#[test]
fn bytes_are_counted_as_they_were_sent() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", json!({ "calls": 100, "bytes": 20, "seconds": 600, "bearer": {} }));
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    // Each response has 8 bytes: after three, 24 of 20 are used.
    for _ in 0..3 {
        assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    }
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 402);
}

fn epoch(host: &TestHost, gate: &Rc<Gate>) -> [u8; 16] {
    let metadata = host.send(gate, request("GET", "/.well-known/oauth-protected-resource", &[])).reply().unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.body).unwrap();
    crate::crypto::base64url::decode_fixed(metadata["farebox_ledger_epoch"].as_str().unwrap()).unwrap()
}

/// A root that the gate's key signed, with these limits, for every route and method.
fn issued(host: &TestHost, gate: &Rc<Gate>, limits: Value, change: impl Fn(&mut Token)) -> String {
    let limits: Vec<Limit> = limits.as_array().unwrap().iter().map(|limit| Limit::parse(limit).unwrap()).collect();
    let mut token = Token {
        iss: "https://api.example.com".to_owned(),
        aud: vec!["https://api.example.com".to_owned()],
        client_id: Some("somebody".to_owned()),
        sub: Some("eip155:84532:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned()),
        iat: NOW,
        nbf: Some(NOW),
        exp: NOW + 600,
        jti: "issued-0123456789".to_owned(),
        cnf: None,
        grants: vec![Grant {
            locations: vec!["https://api.example.com".to_owned()],
            actions: ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
            constraints: vec![],
            limits,
        }],
        del_depth: 0,
        del_max_depth: None,
        par_hash: None,
        txn: None,
        epoch: Some(epoch(host, gate)),
        scope: None,
        status: None,
        act: None,
    };
    change(&mut token);
    crate::token::issue(&key(), &token).unwrap()
}

const USDC: &str = "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e";

#[test]
fn a_token_that_is_limited_in_money_alone_is_no_good_where_calls_have_no_price() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let money = issued(&host, &gate, json!([{ "per": "token", "unit": USDC, "max": "50000" }]), |_| {});
    let reply = call(&host, &gate, "/premium-data", &money);
    assert_eq!((reply.status, code(&reply).as_str()), (403, "token_scope"), "a pass is all that is sold here");
    assert_eq!(call(&host, &gate, "/dear", &money).status, 200);
}

#[test]
fn of_several_prices_a_call_draws_the_first_that_the_token_may_spend() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let other = "eip155:84532/erc20:0x1111111111111111111111111111111111111111";
    let gate = seller_with("after", Value::Null, |policy| {
        policy["assets"] = json!([{ "network": "eip155:84532", "address": "0x1111111111111111111111111111111111111111",
            "symbol": "OTHER", "name": "Other", "version": "1", "decimals": 6 }]);
        policy["routes"][0]["call_prices"] = json!([
            { "price": "$0.01", "network": "eip155:84532" },
            { "amount": "7", "network": "eip155:84532", "asset": "OTHER" }
        ]);
    });
    // The first grant is of one asset, the second of the other: what counts is the grant that covers the call.
    let token = issued(&host, &gate, json!([{ "per": "token", "unit": other, "max": "20" }]), |token| {
        let mut first = token.grants[0].clone();
        first.limits = vec![Limit::parse(&json!({ "per": "token", "unit": USDC, "max": "9" })).unwrap()];
        first.constraints = vec![Constraint::RouteOneOf(vec!["dear".to_owned()])];
        token.grants.insert(0, first);
    });
    let reply = call(&host, &gate, "/premium-data", &token);
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(
        header(&reply, "farebox-remaining").unwrap().split(", ").last().unwrap().split(';').next(),
        Some("amount=13")
    );
}

#[test]
fn a_pass_for_several_routes_has_the_methods_of_each() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller_with(
        "after",
        json!({ "calls": 5, "seconds": 600, "bearer": {}, "routes": ["premium", "dear"] }),
        |policy| {
            policy["routes"][0]["methods"] = json!(["GET"]);
            policy["routes"][1]["methods"] = json!(["POST"]);
        },
    );
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    let fields = [("authorization", &*format!("Bearer {token}"))];
    for (method, path, status) in
        [("GET", "/premium-data", 200), ("POST", "/dear", 200), ("POST", "/premium-data", 405)]
    {
        assert_eq!(host.send(&gate, request(method, path, &fields)).reply().unwrap().status, status, "{method} {path}");
    }
}

#[test]
fn a_response_with_more_bytes_than_one_call_may_have_is_not_released_and_not_drawn() {
    let length = Rc::new(Cell::new(Some("1001")));
    let stated = Rc::clone(&length);
    let host = TestHost::new(NOW, honest, move |_| {
        let length = stated.get().map(|length| ("content-length", length));
        Some([(":status", "200")].into_iter().chain(length).collect())
    });
    let gate = seller("after", bearer_pass(3));
    let limits =
        json!([{ "per": "call", "unit": "byte", "max": "1000" }, { "per": "token", "unit": "call", "max": "1" }]);
    let token = issued(&host, &gate, limits, |_| {});
    for too_many in [Some("1001"), Some("18446744073709551616"), Some("-1"), None] {
        length.set(too_many);
        let reply = call(&host, &gate, "/premium-data", &token);
        assert_eq!((reply.status, code(&reply).as_str()), (403, "token_scope"), "{too_many:?}");
    }
    length.set(Some("1000"));
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 402);
}

#[test]
fn another_scheme_in_authorization_is_the_upstreams_where_the_token_came_in_its_own_field() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    let fields = [("authorization", "Basic dXNlcjpwYXNz"), ("capability-token", token.as_str())];
    assert_eq!(host.send(&gate, request("GET", "/premium-data", &fields)).reply().unwrap().status, 200);
    let seen = host.forwarded().pop().unwrap();
    assert_eq!(seen.text("authorization"), Some("Basic dXNlcjpwYXNz"));
    assert!(seen.first("capability-token").is_none());
}

#[test]
fn what_is_left_is_not_told_of_a_token_whose_ledger_is_gone_or_that_is_for_elsewhere() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let calls = json!([{ "per": "token", "unit": "call", "max": "5" }]);
    let good = issued(&host, &gate, calls.clone(), |_| {});
    let reply = call(&host, &gate, super::super::token::inquiry::OWN, &good);
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let lost = issued(&host, &gate, calls.clone(), |token| token.epoch = Some([9; 16]));
    let elsewhere = issued(&host, &gate, calls, |token| token.aud = vec!["https://other.example.com".to_owned()]);
    for (token, status) in [(lost, 401), (elsewhere, 403)] {
        assert_eq!(call(&host, &gate, super::super::token::inquiry::OWN, &token).status, status);
    }
}

#[test]
fn a_token_that_names_its_ledger_is_no_good_with_another_whatever_its_limits() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    for limits in [json!([]), json!([{ "per": 60, "unit": "call", "max": "5" }])] {
        let fits = |epoch| issued(&host, &gate, limits.clone(), |token| token.epoch = epoch);
        assert_eq!(call(&host, &gate, "/premium-data", &fits(Some(epoch(&host, &gate)))).status, 200);
        assert_eq!(call(&host, &gate, "/premium-data", &fits(None)).status, 200);
        let lost = call(&host, &gate, "/premium-data", &fits(Some([9; 16])));
        assert_eq!((lost.status, code(&lost).as_str()), (402, "ledger_lost"));
    }
}

#[test]
fn another_spelling_of_a_payer_is_revoked_too() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller_with("after", bearer_pass(3), |policy| {
        policy["tokens"]["revoked"] = json!([{ "payer": "eip155:84532:0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266" }]);
    });
    let token = issued(&host, &gate, json!([]), |_| {});
    let reply = call(&host, &gate, "/premium-data", &token);
    assert_eq!((reply.status, code(&reply).as_str()), (403, "token_revoked"));
}

#[test]
fn the_audit_log_tells_the_bytes_that_went_and_of_calls_whose_client_left() {
    let answers = Rc::new(Cell::new(true));
    let ready = Rc::clone(&answers);
    let host = TestHost::new(NOW, honest, move |_| ready.get().then(|| [(":status", "200")].into_iter().collect()));
    let gate = seller("after", json!({ "calls": 9, "bytes": 20, "seconds": 600, "bearer": {} }));
    let token = bought(&pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1)));
    assert_eq!(call(&host, &gate, "/premium-data", &token).status, 200);
    answers.set(false);
    let fields = [("authorization", &*format!("Bearer {token}"))];
    let mut sent = host.send(&gate, request("GET", "/premium-data", &fields));
    assert!(sent.reply().is_none());
    sent.hang_up();
    host.work();
    let lines: Vec<Value> = host.audit().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let draws: Vec<_> = lines.iter().filter(|line| line["kind"] == "draw").collect();
    assert_eq!(draws.len(), 2);
    let drawn = |nth: usize, unit: &str| {
        let drawn = draws[nth]["draw"].as_array().unwrap().iter().find(|drawn| drawn["unit"] == unit).unwrap();
        (drawn["amount"].as_str().unwrap().to_owned(), drawn["left"].as_str().unwrap().to_owned())
    };
    // Each response has 8 bytes.
    assert_eq!(drawn(0, "byte"), ("8".to_owned(), "12".to_owned()));
    assert_eq!((drawn(1, "call").1, draws[1]["status"].is_null()), ("7".to_owned(), true));
}

#[test]
fn the_audit_log_tells_of_a_charge_whose_client_left() {
    for settle in ["after", "before"] {
        let waits = Rc::new(Cell::new(true));
        let (hold, ready) = (Rc::clone(&waits), Rc::clone(&waits));
        let service = move |call: &Callout| match call.path.as_str() {
            "/settle" if settle == "after" && hold.get() => None,
            _ => honest(call),
        };
        let serves =
            move |_: &Headers| (settle == "after" || !ready.get()).then(|| [(":status", "200")].into_iter().collect());
        let host = TestHost::new(NOW, service, serves);
        let gate = seller(settle, Value::Null);
        let payment = payment_for(&host, &gate, "/premium-data", 1);
        let mut sent = host.send(&gate, request("GET", "/premium-data", &[("payment-signature", &payment)]));
        assert!(sent.reply().is_none());
        sent.hang_up();
        waits.set(false);
        host.work();
        let charges = || -> Vec<Value> {
            let lines = host.audit().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
            lines.filter(|line| line["kind"] == "charge").collect()
        };
        assert_eq!(charges().len(), 1, "{settle}");
        assert!(charges()[0]["status"].is_null() && charges()[0]["pay"]["state"] == "settled", "{settle}");
        assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
        let lines = charges();
        assert_eq!((lines.len(), &lines[1]["claim"]), (2, &lines[0]["claim"]), "{settle}");
    }
}

#[test]
fn a_receipt_says_what_was_stated_of_both_bodies() {
    let served = crate::proof::digest::field(b"{}");
    let answer = served.clone();
    let host = TestHost::new(NOW, honest, move |_| {
        Some([(":status", "200"), ("content-digest", answer.as_str())].into_iter().collect())
    });
    let gate = seller("after", bearer_pass(3));
    let payment = payment_for(&host, &gate, "/premium-data", 1);
    let asked = crate::proof::digest::field(b"asked");
    let fields = [("payment-signature", payment.as_str()), ("content-digest", asked.as_str())];
    let reply = host.send(&gate, request("POST", "/premium-data", &fields)).reply().unwrap();
    let receipt = crate::receipt::Receipt::unverified(header(&reply, "call-receipt").unwrap()).unwrap();
    assert_eq!((receipt.req_digest, receipt.res_digest), (Some(asked), Some(served)));
}

#[test]
fn a_token_of_another_life_of_the_ledger_is_refused_unless_the_policy_honours_it() {
    let sold = TestHost::new(NOW, honest, upstream("200"));
    for (rule, status, said) in [("refuse", 402, "ledger_lost"), ("honour", 200, "")] {
        let gate = seller_with("after", bearer_pass(3), |policy| policy["tokens"]["ledger_lost"] = rule.into());
        let token = bought(&pay(&sold, &gate, "/premium-data", &payment_for(&sold, &gate, "/premium-data", 1)));
        let mut claims = Chain::inspect(&token).unwrap().root().token.clone();
        claims.epoch = Some([0; 16]);
        let other = crate::token::issue(&key(), &claims).unwrap();
        let reply = call(&sold, &gate, "/premium-data", &other);
        assert_eq!(reply.status, status, "{rule}");
        if !said.is_empty() {
            assert_eq!(code(&reply), said);
        }
    }
}

#[test]
fn keys_and_metadata_are_there_for_everybody() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let get = |path: &str| host.send(&gate, request("GET", path, &[])).reply().unwrap();
    let keys: Value = serde_json::from_slice(&get("/.well-known/jwks.json").body).unwrap();
    assert_eq!(keys["keys"][0]["kid"], key().public().thumbprint());
    assert_eq!(keys["keys"][0]["alg"], "EdDSA");
    assert!(keys["keys"][0]["d"].is_null());
    let metadata: Value = serde_json::from_slice(&get("/.well-known/oauth-protected-resource").body).unwrap();
    assert_eq!(metadata["resource"], "https://api.example.com");
    assert_eq!(metadata["jwks_uri"], "https://api.example.com/.well-known/jwks.json");
    let did: Value = serde_json::from_slice(&get("/.well-known/did.json").body).unwrap();
    assert_eq!(did["id"], "did:web:api.example.com");
    assert_eq!(host.send(&gate, request("POST", "/.well-known/jwks.json", &[])).reply().unwrap().status, 405);
    let without = gate_with("after", |_| {});
    assert_eq!(host.send(&without, request("GET", "/.well-known/jwks.json", &[])).reply().unwrap().status, 404);
}

#[test]
fn every_charge_has_a_receipt_that_the_served_keys_verify() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(3));
    let reply = pay(&host, &gate, "/premium-data?a=1", &payment_for(&host, &gate, "/premium-data?a=1", 1));
    let receipt = Receipt::read(header(&reply, "call-receipt").unwrap(), &[key().public()]).unwrap();
    assert_eq!((receipt.htm.as_str(), receipt.status), ("GET", 200));
    assert_eq!(receipt.htu, "https://api.example.com/premium-data?a=1");
    let pay = receipt.pay.unwrap();
    assert_eq!(pay.transaction.as_deref(), Some(TX));
    assert_eq!(pay.amount.unwrap().0, 10_000);
    let member = &decoded(&reply, "payment-response")["extensions"]["offer-receipt"];
    let theirs = crate::rail::x402::offer_receipt::Receipt::read(member, &[key().public()]).unwrap();
    assert_eq!((theirs.payer.as_str(), theirs.network.as_str()), (PAYER, "eip155:84532"));
    assert_eq!(theirs.resource_url, receipt.htu);
    assert_eq!(receipt.tok, Some(Chain::inspect(&bought(&reply)).unwrap().leaf().token.jti.clone()));
}

#[test]
fn the_audit_log_tells_of_every_charge_draw_and_refusal_and_verifies() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = seller("after", bearer_pass(1));
    let reply = pay(&host, &gate, "/premium-data", &payment_for(&host, &gate, "/premium-data", 1));
    let (token, receipt) = (bought(&reply), header(&reply, "call-receipt").unwrap().to_owned());
    let _ = call(&host, &gate, "/premium-data", &token);
    let _ = call(&host, &gate, "/premium-data", &token);
    let lines = host.audit();
    let kinds: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["head", "refusal", "charge", "issue", "draw", "refusal"]);
    assert!(!lines.join("").contains(&token));
    let mut verifier = Verifier::new(Trust::Keys(vec![key().public()]), false);
    verifier.keep_receipt(&receipt).unwrap();
    for (number, line) in (1..).zip(&lines) {
        verifier.read(number, line.as_bytes());
    }
    let report = verifier.finish();
    assert_eq!(report.findings, []);
    assert_eq!(report.logs[0].unsigned, 5);
}
