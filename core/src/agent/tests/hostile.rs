//! Challenges and sellers that mean harm: each is refused for the right reason, before anything is signed.

use super::super::challenge::{self, Challenge};
use super::super::counters::{Counters, Outcome};
use super::super::decide;
use super::super::reason::Reason;
use super::super::request::Quote;
use super::super::{FetchError, Message, Response};
use super::kit::*;
use crate::http::Headers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What becomes of a fetch from this seller; nothing may have been paid.
fn refused(seller: impl FnMut(&Message<'_>) -> Option<Response<Vec<u8>>> + 'static) -> Vec<Reason> {
    let street = Street::new(seller);
    let store = Memory::default();
    let buyer = agent(policy(&base()), &street, &store);
    run(buyer.begin()).unwrap();
    let reasons = match run(buyer.fetch(&wanted())) {
        Err(FetchError::Denied(denied, _)) => denied.reasons,
        Err(FetchError::Challenge(refused)) => vec![refused.reason],
        other => panic!("{other:?}"),
    };
    assert!(street.payments.borrow().is_empty());
    assert_eq!(run(buyer.counters()).unwrap().open().count(), 0, "nothing is reserved either");
    reasons
}

fn offered(offers: Vec<Value>) -> Vec<Reason> {
    refused(move |message| Some(demand(message, &offers)))
}

fn raw(headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Vec<Reason> {
    refused(move |message| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Some(reply(message, 402, &headers, &body))
    })
}

#[test]
fn ten_thousand_offers_are_too_many() {
    // In the header they are too long already; in a version 1 body they are counted.
    let v1 = json!({ "scheme": "exact", "network": "base-sepolia" });
    let body = json!({ "x402Version": 1, "accepts": vec![v1; 10_000] }).to_string();
    assert_eq!(raw(vec![], body.clone().into_bytes()), [Reason::ChallengeTooLarge]);
    let short = json!({ "x402Version": 1, "accepts": vec![1; 10_000] }).to_string();
    assert_eq!(raw(vec![], short.into_bytes()), [Reason::TooManyOffers]);
    assert_eq!(offered(vec![json!({}); challenge::MAX_OFFERS + 1]), [Reason::TooManyOffers]);
    assert_eq!(offered(vec![offer(json!({})); 1000]), [Reason::ChallengeTooLarge]);
    assert_eq!(offered(vec![]), [Reason::NoOffers]);
}

#[test]
fn a_header_of_a_megabyte_is_not_read() {
    let mut long = required(&[offer(json!({}))]);
    long["resource"]["description"] = "x".repeat(1024 * 1024).into();
    assert_eq!(raw(vec![("payment-required", STANDARD.encode(long.to_string()))], vec![]), [Reason::ChallengeTooLarge]);
    assert_eq!(raw(vec![], vec![b' '; 1024 * 1024]), [Reason::ChallengeTooLarge]);
    assert_eq!(
        offered(vec![offer(json!({ "extra": { "name": "USDC", "version": "2", "x": "x".repeat(5000) } }))]),
        [Reason::OfferUnreadable]
    );
}

#[test]
fn four_years_are_too_long() {
    assert_eq!(offered(vec![offer(json!({ "maxTimeoutSeconds": 4 * 365 * 86_400 }))]), [Reason::ValidityTooLong]);
    assert_eq!(offered(vec![offer(json!({ "maxTimeoutSeconds": u64::MAX }))]), [Reason::ValidityTooLong]);
}

#[test]
fn a_token_that_looks_alike_is_another_token() {
    assert_eq!(offered(vec![offer(json!({ "asset": OTHER }))]), [Reason::AssetNotListed]);
    assert_eq!(offered(vec![offer(json!({ "extra": { "name": "USDC ", "version": "2" } }))]), [Reason::AssetDisagrees]);
    assert_eq!(offered(vec![offer(json!({ "extra": { "name": "USDC", "version": "1" } }))]), [Reason::AssetDisagrees]);
}

#[test]
fn a_payee_that_was_swapped_between_quote_and_payment_is_not_paid() {
    let policy = with(json!({ "payees": { "on_change": "deny" } }));
    let counters = Counters::begin(&policy, NOW);
    let mut request = get(URL);
    request.quote = Some(Quote { asset: usdc(), amount: 10_000, payee: Some(account(PAYEE)) });
    let swapped = challenge(&[offer(json!({ "payTo": OTHER }))]);
    let decision = decide::decide(&policy, &swapped, &request, &purse(), &counters, NOW);
    assert_eq!(decision.reasons(), [Reason::QuoteChanged]);
    // Without a quote: the host was paid at another account before.
    let mut desk = Desk::new(policy);
    desk.pay(&challenge(&[offer(json!({}))]), &get(URL)).unwrap();
    assert_eq!(desk.reserve(&swapped, &get("https://api.example.com/b")).0.reasons(), [Reason::PayeeChanged]);
    // Another network has payees of its own, and the same payee is welcome.
    assert!(desk.pay(&challenge(&[offer(json!({}))]), &get("https://api.example.com/b")).is_some());
}

#[test]
fn a_redirect_to_another_origin_is_not_paid_there() {
    for url in
        ["https://evil.example/premium-data", "http://api.example.com/premium-data", "https://api.example.com:444/"]
    {
        let reasons = refused(move |message| {
            let mut response = demand(message, &[offer(json!({}))]);
            response.url = url.to_owned();
            Some(response)
        });
        assert!(reasons.contains(&Reason::Redirected), "{url} {reasons:?}");
    }
}

#[test]
fn a_price_above_the_quote_is_not_paid() {
    let street = Street::new(honest(vec![offer(json!({ "amount": "10001" }))]));
    let store = Memory::default();
    let buyer = agent(policy(&base()), &street, &store);
    run(buyer.begin()).unwrap();
    let mut wanted = wanted();
    wanted.quote = Some(Quote { asset: usdc(), amount: 10_000, payee: None });
    let Err(FetchError::Denied(denied, _)) = run(buyer.fetch(&wanted)) else { panic!() };
    assert_eq!(denied.reasons, [Reason::PriceAboveQuote]);
    assert!(street.payments.borrow().is_empty());
    // As far above as the policy allows, it is.
    let tolerant = with(json!({ "slippage": { "quoted_bps": 1 } }));
    let buyer = agent(tolerant, &street, &Memory::default());
    run(buyer.begin()).unwrap();
    assert!(run(buyer.fetch(&wanted)).is_ok());
}

#[test]
fn what_two_readers_could_read_as_two_is_refused() {
    let good = required(&[offer(json!({}))]).to_string();
    let twice = good.replacen("\"amount\":", "\"amount\":\"1\",\"amo\\u0075nt\":", 1);
    assert_ne!(twice, good);
    let header = |json: &str| vec![("payment-required", STANDARD.encode(json))];
    assert_eq!(raw(header(&twice), vec![]), [Reason::ChallengeUnreadable]);
    assert_eq!(raw([header(&good), header(&good)].concat(), vec![]), [Reason::ChallengeUnreadable]);
    assert_eq!(
        raw(vec![("payment-required", "%%".to_owned())], good.clone().into_bytes()),
        [Reason::ChallengeUnreadable]
    );
    assert_eq!(
        raw(header(&good.replace("\"x402Version\":2", "\"x402Version\":1")), vec![]),
        [Reason::ChallengeUnreadable]
    );
    assert_eq!(raw(vec![], b"Payment Required".to_vec()), [Reason::ChallengeUnreadable]);
    assert_eq!(raw(header(&"[".repeat(100)), vec![]), [Reason::ChallengeUnreadable]);
    let both = offer(json!({ "maxAmountRequired": "1" }));
    assert_eq!(offered(vec![both]), [Reason::OfferUnreadable]);
}

#[test]
fn an_offer_that_is_not_well_formed_is_not_paid() {
    for changes in [
        json!({ "amount": 10000 }),
        json!({ "amount": "-1" }),
        json!({ "amount": "0" }),
        json!({ "amount": "010000" }),
        json!({ "amount": "1e4" }),
        json!({ "amount": "340282366920938463463374607431768211456" }),
        json!({ "payTo": "0x0000000000000000000000000000000000000000" }),
        json!({ "payTo": USDC }),
        json!({ "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C9" }),
        json!({ "asset": "USDC" }),
        json!({ "maxTimeoutSeconds": 0 }),
        json!({ "maxTimeoutSeconds": -1 }),
        json!({ "maxTimeoutSeconds": "300" }),
        json!({ "extra": null }),
        json!({ "extra": [] }),
        json!({ "extra": { "name": "USDC" } }),
        json!({ "extra": { "name": 1, "version": "2" } }),
        json!({ "scheme": null }),
        json!({ "scheme": "upto", "extra": { "name": "USDC", "version": "2" } }),
    ] {
        assert_eq!(offered(vec![offer(changes.clone())]), [Reason::OfferUnreadable], "{changes}");
    }
    for changes in [
        json!({ "scheme": "batch-settlement" }),
        json!({ "network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp" }),
        json!({ "network": "base-sepolia" }),
        json!({ "extra": { "name": "USDC", "version": "2", "assetTransferMethod": "erc7710" } }),
        json!({ "extra": { "name": "USDC", "version": "2", "paymentFlow": "escrow" } }),
    ] {
        assert_eq!(offered(vec![offer(changes.clone())]), [Reason::OfferUnsupported], "{changes}");
    }
    // The largest amount is counted without running over, and refused by the cap.
    assert_eq!(offered(vec![offer(json!({ "amount": u128::MAX.to_string() }))]), [Reason::OverCap]);
}

#[test]
fn one_bad_offer_does_not_spoil_the_others() {
    let street = Street::new(honest(vec![json!({}), offer(json!({ "asset": OTHER })), offer(json!({}))]));
    let store = Memory::default();
    let buyer = agent(policy(&base()), &street, &store);
    run(buyer.begin()).unwrap();
    let fetched = run(buyer.fetch(&wanted())).unwrap();
    let paid = fetched.paid.unwrap();
    assert_eq!(paid.outcome, Outcome::Charged(10_000));
    assert_eq!(paid.explanation.offers.len(), 3);
}

#[test]
fn reading_a_challenge_never_panics() {
    use proptest::prelude::*;
    let good = required(&[offer(json!({})), offer(json!({ "scheme": "upto" }))]).to_string();
    proptest!(ProptestConfig::with_cases(512), |(at in 0..good.len(), byte in any::<u8>(), cut in 0..good.len())| {
        let mut changed = good.clone().into_bytes();
        changed[at] = byte;
        for bytes in [&changed[..], &good.as_bytes()[..cut]] {
            let value = STANDARD.encode(bytes);
            let headers: Headers = [("payment-required", value.as_str())].into_iter().collect();
            let _ = Challenge::read(&headers, b"");
            let _ = Challenge::read(&Headers::default(), bytes);
        }
    });
}
