//! Tokens, against the gate itself: bought when they save something, preferred to paying, shown with a proof, followed by
//! the next one, dropped, handed on.

use super::super::Wanted;
use super::super::wallet::{Delegation, NotDelegated};
use super::super::{Agent, Holder, Plan, World};
use super::kit::{Memory, NOW, run, run_all};
use super::mall::{Mall, ORIGIN, buying, gate_key, holder_key, selling};
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::token::{Chain, Grant, Token, issue};
use serde_json::{Value, json};

const PAYER: &str = "eip155:84532:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const URL: &str = "https://api.example.com/v1/quotes/btc?ccy=usd";

fn pass() -> Value {
    json!({ "calls": 20, "seconds": 86400, "delegations": 2, "bearer": { "calls": 15, "seconds": 3600 } })
}

/// One that costs less than ten single calls and can be had alone.
fn only_pass(pass: Value) -> Value {
    let mut seller = selling(pass);
    let offers = seller["routes"][0]["offers"].as_array_mut().unwrap();
    offers.remove(0);
    seller
}

fn status<W, S, K, H>(agent: &Agent<W, S, K, H>, url: &str) -> u16
where
    W: World,
    S: super::super::Store,
    K: super::super::pay::Signer,
    H: Holder,
{
    run(agent.fetch(&Wanted::get(url))).unwrap_or_else(|error| panic!("{error}")).response.status
}

#[test]
fn a_pass_is_bought_once_it_saves_something_and_then_used() {
    let mall = Mall::new(&selling(pass()), &buying());
    let buyer = mall.buyer();
    // Ten cents for twenty calls and one: cheaper from ten calls in a day on, so at one in an hour.
    assert_eq!(status(&buyer, URL), 200);
    assert_eq!((mall.with("payment-signature"), mall.with("capability-token")), (1, 0));
    let fetched = run(buyer.fetch(&Wanted::get(URL))).unwrap();
    let paid = fetched.paid.unwrap();
    assert!(paid.reservation.buys_pass() && paid.faults.is_empty(), "{:?}", paid.faults);
    let kept = fetched.kept.unwrap();
    assert_eq!(kept.holder, Some(holder_key().public().thumbprint()));
    assert_eq!((kept.left[0].unit.as_str(), kept.left[0].amount.0, kept.delegations), ("call", 20, 2));
    // Its route is the seller's affair; another path of it is tried, and served.
    for (call, url) in [URL, "https://api.example.com/v1/quotes/eth", URL].into_iter().enumerate() {
        let fetched = run(buyer.fetch(&Wanted::get(url))).unwrap();
        let used = fetched.token.unwrap();
        assert!(fetched.paid.is_none() && fetched.response.status == 200);
        assert_eq!((&used.id, used.left[0].amount.0), (&kept.id, 19 - call as u128));
    }
    assert_eq!((mall.with("payment-signature"), mall.with("capability-token")), (2, 3));
    let seen = mall.host.borrow().forwarded().last().unwrap().clone();
    assert_eq!((seen.text("farebox-token-id"), seen.text("capability-token")), (Some(&*kept.id), None));
}

#[test]
fn a_body_is_signed_and_an_altered_one_is_refused() {
    let mall = Mall::new(&only_pass(pass()), &buying());
    let buyer = mall.buyer();
    let post = |body: &[u8]| Wanted { method: "POST".to_owned(), body: body.to_vec(), ..Wanted::get(URL) };
    let first = run(buyer.fetch(&post(b"{}"))).unwrap();
    assert!(first.paid.unwrap().faults.is_empty() && first.kept.is_some());
    assert_eq!(run(buyer.fetch(&post(b"{\"n\":2}"))).unwrap().response.status, 200);
    let sent = mall.sent.borrow().last().unwrap().2.clone();
    assert_eq!(sent, ["capability-token", "content-digest", "signature-input", "signature"]);
    // An empty body is signed as one, too.
    assert_eq!(run(buyer.fetch(&post(b""))).unwrap().token.unwrap().left[0].amount.0, 18);
}

#[test]
fn when_a_token_is_used_up_the_next_one_is_bought_without_a_failed_call() {
    let mall = Mall::new(&only_pass(json!({ "calls": 3, "seconds": 600 })), &buying());
    let buyer = mall.buyer();
    for call in 0..9 {
        assert_eq!(status(&buyer, URL), 200, "{call}");
    }
    // Each pass is for the call that it is bought with and three more.
    assert_eq!((mall.with("payment-signature"), mall.with("capability-token")), (3, 6));
    assert_eq!(mall.sent.borrow().iter().filter(|(_, _, fields)| fields.is_empty()).count(), 3 + 1 /* keys */);
}

#[test]
fn at_a_high_rate_the_next_pass_is_bought_before_the_last_call_of_the_one_before() {
    let mall = Mall::new(&only_pass(json!({ "calls": 300, "seconds": 3600 })), &buying());
    let buyer = mall.buyer();
    let left = || run(buyer.tokens()).unwrap().iter().map(|token| token.left[0].amount.0).sum::<u128>();
    for call in 0..301 {
        // Three hundred calls in an hour are one in twelve seconds: one call is left for the next fifteen.
        let (before, bought) = (left(), run(buyer.fetch(&Wanted::get(URL))).unwrap().kept.is_some());
        assert_eq!(bought, call == 0 || call == 300, "{call}");
        assert_eq!(before, if call == 0 { 0 } else { 301 - call }, "{call}");
    }
    // What was left of the first is used before the second.
    assert_eq!(left(), 301);
    assert_eq!(run(buyer.fetch(&Wanted::get(URL))).unwrap().token.unwrap().left[0].amount.0, 0);
}

#[test]
fn a_token_that_expires_is_not_shown_any_more() {
    let mall = Mall::new(&only_pass(json!({ "calls": 100, "seconds": 600 })), &buying());
    let buyer = mall.buyer();
    assert_eq!(status(&buyer, URL), 200);
    mall.pass(594);
    assert_eq!(status(&buyer, URL), 200);
    assert_eq!((mall.with("payment-signature"), mall.with("capability-token")), (1, 1));
    mall.pass(2);
    assert_eq!(status(&buyer, URL), 200);
    assert_eq!((mall.with("payment-signature"), mall.with("capability-token")), (2, 1));
}

#[test]
fn without_a_key_of_ours_a_pass_is_bought_for_bearers_and_one_that_needs_a_key_is_not() {
    let mall = Mall::new(&only_pass(pass()), &buying());
    let store = Memory::default();
    let buyer = mall.bearer(&store);
    let fetched = run(buyer.fetch(&Wanted::get(URL))).unwrap();
    let kept = fetched.kept.unwrap();
    assert_eq!((kept.holder, kept.left[0].amount.0), (None, 15));
    assert!(fetched.paid.unwrap().faults.is_empty());
    assert_eq!(run(buyer.fetch(&Wanted::get(URL))).unwrap().token.unwrap().left[0].amount.0, 14);
    assert_eq!(mall.sent.borrow().last().unwrap().2, ["capability-token"]);

    // A pass without terms for bearers is sold to holders of a key alone.
    let mall = Mall::new(&only_pass(json!({ "calls": 20, "seconds": 600 })), &buying());
    let error = run(mall.bearer(&Memory::default()).fetch(&Wanted::get(URL))).unwrap_err();
    assert_eq!(error.code(), "wallet_cannot_pay");
    assert_eq!(mall.with("payment-signature"), 0);
}

#[test]
fn a_token_is_shown_to_its_own_origin_alone_and_survives_a_restart() {
    let mall = Mall::new(&only_pass(pass()), &buying());
    let store = Memory::default();
    assert_eq!(status(&mall.buyer_with(&store, holder_key()), URL), 200);
    // Another process, with the same store and key.
    let again = mall.buyer_with(&store, holder_key());
    assert_eq!(run(again.fetch(&Wanted::get(URL))).unwrap().token.unwrap().left[0].amount.0, 19);
    // Another key: it is of no use.
    let other = mall.buyer_with(&store, SigningKey::from_secret(Algorithm::EdDsa, &[5; 32]).unwrap());
    assert!(run(other.fetch(&Wanted::get(URL))).unwrap().paid.is_some());
    // Another origin.
    let Plan::Free(421) = run(again.quote(&Wanted::get("https://evil.example/v1/quotes/btc"))).unwrap() else {
        panic!()
    };
    assert_eq!(run(again.fetch(&Wanted::get("https://evil.example/v1/quotes/btc"))).unwrap().response.status, 421);
    assert_eq!(mall.sent.borrow().last().unwrap().2, Vec::<String>::new());
    let Plan::Token(token) = run(again.quote(&Wanted::get(URL))).unwrap() else { panic!() };
    assert_eq!(token.left[0].amount.0, 19);
}

#[test]
fn a_token_that_came_with_a_payment_is_not_shown_to_others_that_it_names() {
    let evil = "https://evil.example";
    let token = Token {
        iss: evil.to_owned(),
        aud: vec![evil.to_owned(), ORIGIN.to_owned()],
        client_id: Some(PAYER.to_owned()),
        sub: Some(PAYER.to_owned()),
        iat: NOW,
        nbf: Some(NOW),
        exp: NOW + 86_400,
        jti: "0123456789abcdefghijkl".to_owned(),
        cnf: None,
        grants: vec![Grant {
            locations: vec![evil.to_owned(), ORIGIN.to_owned()],
            actions: vec!["GET".to_owned()],
            constraints: vec![],
            limits: vec![],
        }],
        del_depth: 0,
        del_max_depth: None,
        par_hash: None,
        txn: None,
        epoch: None,
        scope: None,
        status: None,
        act: None,
    };
    let token = issue(&SigningKey::from_secret(Algorithm::EdDsa, &[9; 32]).unwrap(), &token).unwrap();
    for (from, shown) in [("https://evil.example/x", 0), ("", 1)] {
        let mall = Mall::new(&only_pass(pass()), &buying());
        let store = Memory::default();
        let buyer = mall.buyer_with(&store, holder_key());
        {
            let mut kept = store.0.borrow_mut();
            let blob = kept.as_mut().unwrap();
            let mut counters = super::super::counters::Counters::decode(&blob.bytes, 0).unwrap();
            counters.wallet_mut().keep(&token, from, NOW).unwrap();
            blob.bytes = counters.encode();
        }
        assert_eq!(status(&buyer, URL), 200);
        // Only somebody who handed it on may say where it is good.
        let before_paying = mall
            .sent
            .borrow()
            .iter()
            .take_while(|(_, _, fields)| fields.iter().all(|it| it != "payment-signature"))
            .count();
        let with_token = mall.sent.borrow()[..before_paying].iter().filter(|(_, _, fields)| !fields.is_empty()).count();
        assert_eq!(with_token, shown, "{from}");
    }
}

#[test]
fn a_seller_that_has_forgotten_its_tokens_is_paid_again_and_remembered_for_it() {
    let mut policy = buying();
    policy["breaker"] = json!({ "faults": 2, "seconds": 3600, "per": "host" });
    let mall = Mall::new(&only_pass(pass()), &policy);
    let buyer = mall.buyer();
    assert_eq!(status(&buyer, URL), 200);
    // It is restarted, and its ledger begins anew.
    *mall.host.borrow_mut() = super::mall::host(2, mall.now.get());
    assert_eq!(run(buyer.fetch(&Wanted::get(URL))).unwrap().paid.unwrap().reservation.amount, 100_000);
    assert_eq!((status(&buyer, URL), run(buyer.tokens()).unwrap().len()), (200, 1));
    // It happens again, and that is enough.
    *mall.host.borrow_mut() = super::mall::host(3, mall.now.get());
    assert_eq!(run(buyer.fetch(&Wanted::get(URL))).unwrap_err().code(), "frozen");
    let dropped: Vec<Value> =
        mall.events.borrow().iter().filter(|event| event["event"] == "token_dropped").cloned().collect();
    assert_eq!((dropped.len(), &dropped[0]["why"]), (2, &json!("ledger_lost")));
    assert_eq!(run(buyer.unfreeze(Some("api.example.com"))).unwrap(), None);
    assert_eq!(status(&buyer, URL), 200);
}

#[test]
fn fifty_calls_at_once_with_a_used_up_token_buy_one_pass() {
    let mall = Mall::new(&only_pass(json!({ "calls": 100, "seconds": 3600 })), &buying());
    let buyer = mall.buyer();
    let wanted: Vec<Wanted> = (0..50).map(|call| Wanted::get(&format!("{URL}&call={call}"))).collect();
    let calls = wanted.iter().map(|wanted| {
        let call: super::kit::Running<'_, u16> = Box::pin(async { buyer.fetch(wanted).await.unwrap().response.status });
        call
    });
    assert_eq!(run_all(calls.collect()), vec![200; 50]);
    assert_eq!((mall.with("payment-signature"), mall.with("capability-token")), (1, 49));
    // No more calls than are left are sent at a time: nothing is refused for a token that is used up.
    assert!(mall.events().iter().all(|event| event != "token_dropped"));
    assert_eq!(run(buyer.tokens()).unwrap()[0].left[0].amount.0, 51);
}

#[test]
fn a_narrower_token_is_made_offline_and_is_all_that_a_sub_agent_needs() {
    let mut policy = buying();
    policy["delegate"] = json!({ "max_depth": 2, "max_share_bps": 2500, "max_seconds": 1800 });
    let mall = Mall::new(&only_pass(pass()), &policy);
    let buyer = mall.buyer();
    let subkey = SigningKey::from_secret(Algorithm::Es256k, &[4; 32]).unwrap();
    let mut wish = Delegation::to(subkey.public(), URL);
    assert_eq!(run(buyer.delegate(&wish)).unwrap_err(), NotDelegated::NoToken);
    assert_eq!(status(&buyer, URL), 200);
    let before = mall.sent.borrow().len();
    wish.methods = vec!["GET".to_owned()];
    wish.paths = vec!["/v1/quotes/".to_owned()];
    let (token, info) = run(buyer.delegate(&wish)).unwrap();
    assert_eq!(mall.sent.borrow().len(), before, "offline");
    assert_eq!((info.left[0].amount.0, info.expires, &*info.methods), (5, NOW + 1800, &["GET".to_owned()][..]));
    assert_eq!(info.holder, Some(subkey.public().thumbprint()));
    // More than a quarter, longer than half an hour, deeper than twice: the policy says no.
    for change in [Delegation { calls: Some(6), ..wish.clone() }, Delegation { seconds: Some(1801), ..wish.clone() }] {
        assert_eq!(run(buyer.delegate(&change)).unwrap_err(), NotDelegated::TooMuch);
    }
    assert_eq!(run(buyer.delegate(&Delegation { levels: 2, ..wish.clone() })).unwrap_err(), NotDelegated::Policy);

    // The sub-agent may pay nothing: its policy allows nothing here.
    let mut nothing = buying();
    nothing["allow"][0]["match"]["hosts"] = json!(["nowhere.example"]);
    let sub = mall.under(&nothing).buyer_with(&Memory::default(), subkey);
    assert!(run(sub.keep_token(&token)).unwrap().is_ok());
    for left in (0..5).rev() {
        assert_eq!(run(sub.fetch(&Wanted::get(URL))).unwrap().token.unwrap().left[0].amount.0, left);
    }
    assert_eq!(run(sub.fetch(&Wanted::get(URL))).unwrap_err().code(), "not_allowed");
    // What it used is the parent's, too.
    assert_eq!(run(buyer.fetch(&Wanted::get(URL))).unwrap().token.unwrap().left[0].amount.0, 14);
    // Somebody else's key cannot use it, and says so.
    assert!(run(buyer.keep_token(&token)).unwrap().is_err());
}

#[test]
fn a_token_that_names_its_key_by_thumbprint_is_shown_with_dpop() {
    let mall = Mall::new(&only_pass(pass()), &buying());
    let buyer = mall.buyer();
    let first = run(buyer.fetch(&Wanted::get(URL))).unwrap().kept.unwrap();
    let bought = run(buyer.counters()).unwrap().wallet().tokens().next().unwrap().token.clone();
    assert_eq!(first.id, Chain::inspect(&bought).unwrap().leaf().name.to_string());
    // The seller issues one out of band, in the same epoch.
    let mut token: Token = Chain::inspect(&bought).unwrap().root().token.clone();
    token.jti = "out-of-band".to_owned();
    token.cnf = Some(crate::token::Holder::named(&holder_key().public().thumbprint()));
    token.del_max_depth = None;
    token.grants = token.grants.iter().map(|grant| Grant { constraints: Vec::new(), ..grant.clone() }).collect();
    token.exp = NOW + 500;
    let token = issue(&gate_key(), &token).unwrap();
    assert!(run(buyer.keep_token(&token)).unwrap().is_ok());
    let used = run(buyer.fetch(&Wanted::get(URL))).unwrap().token.unwrap();
    // It says itself that it is good here, and it expires first.
    assert_eq!((used.id.as_str(), used.left[0].amount.0), ("out-of-band", 19));
    assert_eq!(mall.sent.borrow().last().unwrap().2, ["capability-token", "dpop"]);
}

#[test]
fn a_token_is_not_sent_where_a_route_does_not_take_it_twice() {
    let mut seller = only_pass(pass());
    let mut other = seller["routes"][0].clone();
    other["name"] = "news".into();
    other["path"] = "/v1/news".into();
    other["offers"] = json!([{ "price": "$0.01", "network": "eip155:84532" }]);
    seller["routes"].as_array_mut().unwrap().push(other);
    let mall = Mall::new(&seller, &buying());
    let buyer = mall.buyer();
    assert_eq!(status(&buyer, URL), 200);
    let news = format!("{ORIGIN}/v1/news");
    for _ in 0..3 {
        assert_eq!(run(buyer.fetch(&Wanted::get(&news))).unwrap().paid.unwrap().reservation.amount, 10_000);
    }
    assert_eq!(mall.with("capability-token"), 1);
    assert_eq!(run(buyer.tokens()).unwrap()[0].left[0].amount.0, 20);
}
