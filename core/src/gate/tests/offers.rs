//! Signed offers: what they say, how long they are kept, how many are made.

use super::*;
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::rail::x402::offer_receipt;

fn key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[1; 32]).unwrap()
}

/// A gate that signs its offers as `signed_offers` says.
fn signing(signed_offers: Value) -> Rc<Gate> {
    let policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator.test", "cluster": "facilitator" }],
        "limits": { "challenges_per_second": 0 },
        "tokens": { "keys": [{ "env": "KEY" }], "signed_offers": signed_offers },
        "routes": [{ "name": "all", "path": "/*", "offers": [
            { "price": "$0.01", "network": "eip155:84532" },
            { "price": "$0.02", "network": "eip155:84532", "max_timeout_seconds": 60,
              "pass": { "calls": 3, "seconds": 600, "bearer": {} } }
        ] }]
    });
    let env = |name: &str| (name == "KEY").then(|| key().to_jwk().to_string());
    let can = Capabilities { hold_response: true, read_body: false };
    Rc::new(Gate::load(policy.to_string().as_bytes(), &env, can).unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

/// The signed offers of a challenge, verified; `None` if it has none.
fn offered(host: &TestHost, gate: &Rc<Gate>, path: &str) -> Option<Vec<Value>> {
    let challenge = decoded(&host.send(gate, request("GET", path, &[])).reply().unwrap(), "payment-required");
    let member = challenge["extensions"].get(offer_receipt::EXTENSION)?;
    let accepts = challenge["accepts"].as_array().unwrap();
    let offers = (0..).zip(accepts).map(|(index, accept)| {
        let offer = offer_receipt::offer(member, index, &[key().public()]).unwrap();
        for name in ["scheme", "network", "amount", "asset", "payTo"] {
            assert_eq!(offer[name], accept[name], "{name}");
        }
        assert_eq!(offer["resourceUrl"], challenge["resource"]["url"]);
        offer
    });
    Some(offers.collect())
}

fn until(offers: Option<Vec<Value>>) -> Vec<u64> {
    offers.unwrap().iter().map(|offer| offer["validUntil"].as_u64().unwrap() - NOW).collect()
}

#[test]
fn every_offer_is_signed_and_kept_until_half_of_the_shortest_is_over() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = signing(json!({}));
    assert_eq!(until(offered(&host, &gate, "/a")), [300, 60]);
    host.pass(29);
    assert_eq!(until(offered(&host, &gate, "/a")), [300, 60]);
    assert_eq!(until(offered(&host, &gate, "/a?b")), [329, 89], "another resource");
    host.pass(1);
    assert_eq!(until(offered(&host, &gate, "/a")), [330, 90]);
    let gate = signing(json!({ "valid_seconds": 3600 }));
    assert_eq!(until(offered(&host, &gate, "/a")), [3630, 3630]);
    host.pass(1799);
    assert_eq!(until(offered(&host, &gate, "/a")), [3630, 3630]);
    host.pass(1);
    assert_eq!(until(offered(&host, &gate, "/a")), [5430, 5430]);
}

#[test]
fn no_more_signatures_are_made_in_a_second_than_the_policy_says_and_challenges_come_all_the_same() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = signing(json!({ "per_second": 10 }));
    let signed = |host: &TestHost| (0..100).filter(|n| offered(host, &gate, &format!("/{n}")).is_some()).count();
    assert_eq!(signed(&host), 5);
    host.pass(1);
    // Those that are kept, and five more.
    assert_eq!(signed(&host), 10);
}

#[test]
fn what_is_kept_does_not_grow_without_bound() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = signing(json!({ "per_second": 10_000 }));
    let path = |n: u32| format!("/{n:0>200}");
    assert!((0..900).all(|n| offered(&host, &gate, &path(n)).is_some()));
    host.pass(1);
    assert_eq!(until(offered(&host, &gate, &path(899))), [300, 60], "the last is kept");
    assert_eq!(until(offered(&host, &gate, &path(0))), [301, 61], "the first made room");
}

#[test]
fn a_challenge_without_room_for_signatures_comes_without_them_and_with_its_query() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = signing(json!({}));
    assert!(offered(&host, &gate, &format!("/{:a>250}", "")).is_some());
    let path = format!("/a?{:b>1500}", "");
    assert_eq!(offered(&host, &gate, &path), None);
    let challenge = decoded(&host.send(&gate, request("GET", &path, &[])).reply().unwrap(), "payment-required");
    assert!(challenge["resource"]["url"].as_str().unwrap().ends_with("bbb"));
}
