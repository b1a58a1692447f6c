//! Receipts, against the gate itself: signed by the keys that it serves, about what was paid, and noticed when they are not.

use super::super::answer::Fault;
use super::super::counters::Outcome;
use super::super::receipt::{Kind, Wrong};
use super::super::{Fetched, Message, Response, Wanted};
use super::kit::{Memory, NOW, OTHER, run};
use super::mall::{Mall, buying, gate_key, selling};
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::http::Headers;
use crate::receipt::{Amount, PayState, Receipt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const URL: &str = "https://api.example.com/v1/quotes/btc?ccy=usd";

fn mall(changes: Value) -> Mall {
    let mut policy = buying();
    for (name, value) in changes.as_object().unwrap() {
        policy[name] = value.clone();
    }
    Mall::new(&selling(json!({ "calls": 20, "seconds": 600 })), &policy)
}

fn fetch(mall: &Mall) -> Fetched<Vec<u8>> {
    run(mall.bearer(&Memory::default()).fetch(&Wanted::get(URL))).unwrap()
}

/// The response with one field replaced, or taken away.
fn replaced(response: Response<Vec<u8>>, name: &str, value: Option<&str>) -> Response<Vec<u8>> {
    let mut headers = Headers::default();
    for (field, text) in response.headers.iter().filter(|(field, _)| !field.eq_ignore_ascii_case(name.as_bytes())) {
        headers.push(field, text);
    }
    if let Some(value) = value {
        headers.push(name.as_bytes(), value.as_bytes());
    }
    Response { headers, ..response }
}

/// Changes the `Call-Receipt` of paid responses, and signs it again with the seller's own key.
fn says(mall: &Mall, change: impl Fn(&mut Receipt) + 'static) {
    mall.tampers(move |_: &Message<'_>, response| {
        let Some(text) = response.headers.text("call-receipt").map(str::to_owned) else { return Some(response) };
        let mut receipt = Receipt::unverified(&text).unwrap();
        change(&mut receipt);
        Some(replaced(response, "call-receipt", Some(&receipt.sign(&gate_key()))))
    });
}

#[test]
fn what_was_charged_is_what_was_offered_and_both_receipts_say_so() {
    let mall = mall(json!({ "require": { "receipt": true } }));
    let fetched = fetch(&mall);
    let paid = fetched.paid.unwrap();
    assert_eq!((paid.outcome, paid.faults), (Outcome::Charged(10_000), vec![]));
    let kinds: Vec<Kind> = paid.receipts.iter().map(|receipt| receipt.kind).collect();
    assert_eq!(kinds, [Kind::Call, Kind::Payment]);
    for receipt in &paid.receipts {
        assert_eq!((receipt.wrong, receipt.signer.clone()), (None, Some(gate_key().public().thumbprint())));
        assert!(!receipt.text.is_empty());
    }
    assert_eq!(paid.receipts[0].claims["pay"]["amount"], "10000");
    assert_eq!(mall.events().iter().filter(|event| *event == "receipt_checked").count(), 2);
    // The keys were asked for once, without any credential.
    let asked = |sent: &(String, String, Vec<String>)| sent.1.ends_with("/.well-known/jwks.json") && sent.2.is_empty();
    let buyer = mall.bearer(&Memory::default());
    for _ in 0..3 {
        run(buyer.fetch(&Wanted::get(URL))).unwrap();
    }
    assert_eq!(mall.sent.borrow().iter().filter(|sent| asked(sent)).count(), 2);
}

#[test]
fn a_receipt_for_something_else_is_a_fault_whatever_the_policy_says() {
    let other = |account: &str| Some(format!("eip155:84532:{account}"));
    type Change = Box<dyn Fn(&mut Receipt)>;
    let changes: Vec<(Wrong, Change)> = vec![
        (Wrong::Resource, Box::new(|it| it.htm = "POST".to_owned())),
        (Wrong::Resource, Box::new(|it| it.htu = "https://api.example.com/v1/quotes/btc".to_owned())),
        (Wrong::Resource, Box::new(|it| it.htu = it.htu.replace("api.", "evil."))),
        (Wrong::Body, Box::new(|it| it.req_digest = Some(crate::proof::digest::field(b"another")))),
        (Wrong::Status, Box::new(|it| it.status = 201)),
        (Wrong::Time, Box::new(|it| it.iat = NOW - 3600)),
        (Wrong::Time, Box::new(|it| it.iat = NOW + 3600)),
        (Wrong::Unsettled, Box::new(|it| it.pay = None)),
        (Wrong::Unsettled, Box::new(|it| it.pay.as_mut().unwrap().state = PayState::Verified)),
        (Wrong::Asset, Box::new(|it| it.pay.as_mut().unwrap().network = "eip155:8453".to_owned())),
        (Wrong::Asset, Box::new(|it| it.pay.as_mut().unwrap().asset = None)),
        (Wrong::Payer, Box::new(move |it| it.pay.as_mut().unwrap().payer = other(OTHER))),
        (Wrong::Payee, Box::new(move |it| it.pay.as_mut().unwrap().pay_to = other(OTHER))),
        (Wrong::Amount, Box::new(|it| it.pay.as_mut().unwrap().amount = Some(Amount(9_999)))),
        (Wrong::Transaction, Box::new(|it| it.pay.as_mut().unwrap().transaction = Some("0x00".to_owned()))),
    ];
    for (wrong, change) in changes {
        let mall = mall(json!({}));
        says(&mall, change);
        let paid = fetch(&mall).paid.unwrap();
        assert_eq!(paid.receipts[0].wrong, Some(wrong));
        assert_eq!((paid.outcome, paid.faults), (Outcome::Charged(10_000), vec![Fault::BadReceipt]), "{wrong:?}");
    }
}

#[test]
fn a_receipt_that_nobody_who_counts_has_signed_is_as_good_as_none() {
    let forger = SigningKey::from_secret(Algorithm::EdDsa, &[66; 32]).unwrap();
    for required in [false, true] {
        let mall = mall(json!({ "require": { "receipt": required } }));
        let forged = forger.clone();
        mall.tampers(move |_: &Message<'_>, response| {
            let Some(text) = response.headers.text("call-receipt").map(str::to_owned) else { return Some(response) };
            let receipt = Receipt::unverified(&text).unwrap().sign(&forged);
            let response = replaced(response, "call-receipt", Some(&receipt));
            // x402's own is taken away.
            let json = STANDARD.decode(response.headers.text("payment-response").unwrap()).unwrap();
            let mut settlement: Value = serde_json::from_slice(&json).unwrap();
            settlement.as_object_mut().unwrap().remove("extensions");
            Some(replaced(response, "payment-response", Some(&STANDARD.encode(settlement.to_string()))))
        });
        let paid = fetch(&mall).paid.unwrap();
        assert_eq!(paid.receipts[0].wrong, Some(Wrong::Signer));
        assert_eq!(paid.faults, if required { vec![Fault::BadReceipt] } else { vec![] });
    }
    // None at all.
    let mall = mall(json!({ "require": { "receipt": true } }));
    mall.tampers(|_: &Message<'_>, response| {
        let response = replaced(response, "call-receipt", None);
        let plain = json!({ "success": true, "transaction": "0xab", "network": "eip155:84532" });
        let has = response.headers.text("payment-response").is_some();
        Some(if has {
            replaced(response, "payment-response", Some(&STANDARD.encode(plain.to_string())))
        } else {
            response
        })
    });
    assert_eq!(fetch(&mall).paid.unwrap().faults, [Fault::NoReceipt]);
}

#[test]
fn keys_that_the_policy_names_are_the_only_ones_that_count_for_their_host() {
    let named = |key: &SigningKey| json!({ "require": { "receipt": true, "signers": [{ "hosts": ["api.example.com"], "jwk": key.public().to_jwk() }] } });
    let good = mall(named(&gate_key()));
    assert_eq!(fetch(&good).paid.unwrap().faults, []);
    assert!(good.sent.borrow().iter().all(|sent| !sent.1.contains("jwks")), "nothing is fetched");
    let other = mall(named(&SigningKey::from_secret(Algorithm::EdDsa, &[66; 32]).unwrap()));
    let paid = fetch(&other).paid.unwrap();
    assert_eq!((paid.faults, paid.receipts[0].wrong), (vec![Fault::BadReceipt], Some(Wrong::Signer)));
}

#[test]
fn keys_come_from_the_sellers_own_origin_or_not_at_all() {
    let served = json!({ "keys": [gate_key().public().to_jwk()] }).to_string();
    let big = json!({ "keys": [gate_key().public().to_jwk()], "more": "x".repeat(70_000) }).to_string();
    let cases: Vec<(u16, &str, String)> = vec![
        (200, "https://evil.example/.well-known/jwks.json", served.clone()),
        (404, "https://api.example.com/.well-known/jwks.json", served),
        (200, "https://api.example.com/.well-known/jwks.json", "not JSON".to_owned()),
        (200, "https://api.example.com/.well-known/jwks.json", big),
    ];
    for (status, url, body) in cases {
        let mall = mall(json!({ "require": { "receipt": true } }));
        mall.tampers(move |message: &Message<'_>, response| {
            let keys = message.url.ends_with("jwks.json");
            let told = Response { status, url: url.to_owned(), body: body.clone().into_bytes(), ..response.clone() };
            Some(if keys { told } else { response })
        });
        assert_eq!(fetch(&mall).paid.unwrap().faults, [Fault::BadReceipt], "{status} {url}");
    }
    // A seller that does not answer holds up nothing for long.
    let mall = mall(json!({}));
    mall.tampers(|message: &Message<'_>, response| (!message.url.ends_with("jwks.json")).then_some(response));
    let paid = fetch(&mall).paid.unwrap();
    assert_eq!((paid.receipts[0].wrong, paid.faults), (Some(Wrong::Signer), vec![]));
}

#[test]
fn a_pass_that_is_not_what_was_sold_is_a_fault() {
    let sells = |pass: Value| {
        let mut seller = selling(pass);
        seller["routes"][0]["offers"].as_array_mut().unwrap().remove(0);
        seller
    };
    // The challenge promises more than the token is good for.
    let mall = Mall::new(&sells(json!({ "calls": 20, "seconds": 600 })), &buying());
    mall.tampers(|_: &Message<'_>, response| {
        let Some(value) = response.headers.text("payment-required") else { return Some(response) };
        let text = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
        let more = text.replace("\"calls\":20", "\"calls\":21");
        assert_ne!(text, more);
        Some(replaced(response, "payment-required", Some(&STANDARD.encode(more))))
    });
    let fetched = run(mall.buyer().fetch(&Wanted::get(URL)));
    // Our gate compares what is echoed, and does not take it; another may.
    assert!(fetched.is_err() || fetched.unwrap().paid.unwrap().outcome == Outcome::Refused);

    // No token, two that differ, one of another key.
    let foreign = |mall: &Mall| {
        let other = mall.buyer_with(&Memory::default(), SigningKey::from_secret(Algorithm::EdDsa, &[5; 32]).unwrap());
        run(other.fetch(&Wanted::get(URL))).unwrap();
        run(other.counters()).unwrap().wallet().tokens().next().unwrap().token.clone()
    };
    for case in 0..3 {
        let mall = Mall::new(&sells(json!({ "calls": 20, "seconds": 600 })), &buying());
        let token = foreign(&mall);
        mall.tampers(move |_: &Message<'_>, response| {
            let Some(value) = response.headers.text("payment-response") else { return Some(response) };
            let mut settlement: Value = serde_json::from_slice(&STANDARD.decode(value).unwrap()).unwrap();
            let extensions = settlement["extensions"].as_object_mut().unwrap();
            match case {
                0 => drop(extensions.remove("farebox")),
                1 => extensions["farebox"]["info"]["token"] = "a.b.c".into(),
                _ => extensions["farebox"]["info"]["token"] = token.clone().into(),
            }
            let header = (case == 2).then_some(&*token).or((case == 1).then_some("a.b.d"));
            let response = replaced(response, "capability-token", header);
            Some(replaced(response, "payment-response", Some(&STANDARD.encode(settlement.to_string()))))
        });
        let fetched = run(mall.buyer().fetch(&Wanted::get(URL))).unwrap();
        assert_eq!((fetched.kept, fetched.paid.unwrap().faults), (None, vec![Fault::Token]), "{case}");
    }
}

#[test]
fn an_offer_that_must_be_signed_is_by_a_key_that_its_own_origin_serves() {
    let required = json!({ "require": { "signed_offer": true } });
    let fetched = |seller: &Value, tamper: Option<&'static str>| {
        let mut policy = buying();
        policy["require"] = required["require"].clone();
        let mall = Mall::new(seller, &policy);
        mall.tampers(move |_: &Message<'_>, response| {
            let (Some(value), Some(price)) = (response.headers.text("payment-required"), tamper) else {
                return Some(response);
            };
            // Another price beside the signatures.
            let text = String::from_utf8(STANDARD.decode(value).unwrap()).unwrap();
            let text = text.replace("\"amount\":\"10000\"", price).replace("\"amount\":\"100000\"", price);
            Some(replaced(response, "payment-required", Some(&STANDARD.encode(text))))
        });
        let result = run(mall.bearer(&Memory::default()).fetch(&Wanted::get(URL)));
        assert_eq!(mall.with("payment-signature"), usize::from(result.is_ok()));
        result.map(|fetched| fetched.paid.unwrap().faults)
    };
    let mut seller = selling(json!({ "calls": 20, "seconds": 600 }));
    assert_eq!(fetched(&seller, None).unwrap_err().code(), "offer_unsigned");
    seller["tokens"]["signed_offers"] = json!({});
    assert_eq!(fetched(&seller, None).unwrap(), []);
    assert_eq!(fetched(&seller, Some("\"amount\":\"10001\"")).unwrap_err().code(), "offer_unsigned");
}

#[test]
fn a_key_set_that_did_not_come_is_asked_for_by_the_next_call() {
    for failure in [None, Some(503), Some(429)] {
        let mall = mall(json!({}));
        let mut asked = 0;
        mall.tampers(move |message: &Message<'_>, response| {
            asked += usize::from(message.url.ends_with("jwks.json"));
            let fails = message.url.ends_with("jwks.json") && asked == 1;
            if fails { failure.map(|status| Response { status, ..response }) } else { Some(response) }
        });
        let buyer = mall.bearer(&Memory::default());
        let signers = || {
            let paid = run(buyer.fetch(&Wanted::get(URL))).unwrap().paid.unwrap();
            paid.receipts.iter().filter(|receipt| receipt.signer.is_some()).count()
        };
        assert_eq!([signers(), signers()], [0, 2], "{failure:?}");
    }
}
