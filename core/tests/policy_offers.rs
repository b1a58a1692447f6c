//! What an offer of the policy asks for on the wire.

use farebox_core::host::Capabilities;
use farebox_core::policy::{Access, Policy};
use farebox_core::rail::x402::offer::{Method, Terms as X402, TokenDomain};
use farebox_core::rail::{Offer, Settle, Terms};
use serde_json::{Value, json};

const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const SOLANA: &str = "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1";

fn compiled(offer: Value, hold_response: bool) -> (Settle, X402, Policy) {
    let policy = json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "denied",
        "payees": { "eip155:84532": PAYEE.to_lowercase(), "eip155:8453": PAYEE, "eip155:4326": PAYEE, "eip155:31337": PAYEE,
            "eip155:38833": PAYEE, SOLANA: "4F6PM96JJxngmHnZLBh9n58RH4aTVNWvDs2nuwrT5BP7" },
        "assets": [{ "network": "eip155:31337", "address": "0x5fbdb2315678afecb367f032d93f642f64180aa3", "symbol": "TUSD",
            "name": "Test USD", "version": "1", "decimals": 2 }],
        "facilitators": [
            { "name": "evm", "url": "https://evm.example:443/x/", "networks": ["eip155:*"] },
            { "name": "all", "url": "http://10.0.0.1:4022", "cluster": "all" },
        ],
        "routes": [{ "path": "/a", "offers": [offer] }],
    });
    let can = Capabilities { hold_response, read_body: true };
    let policy =
        Policy::load(policy.to_string().as_bytes(), &|_| None, can).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let Access::Priced(offers) = &policy.routes()[0].access else { panic!("not priced") };
    let [Offer { settle, terms: Terms::X402(terms), .. }] = offers.as_slice() else { panic!("one offer") };
    (*settle, terms.clone(), policy)
}

fn extra(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_price_in_dollars_is_in_the_default_asset() {
    let (settle, terms, policy) = compiled(json!({ "price": "$0.01", "network": "eip155:84532" }), true);
    assert_eq!(settle, Settle::After);
    assert_eq!(terms.chain_id, Some(84532));
    assert_eq!(terms.method, Method::Eip3009(TokenDomain { name: "USDC".to_owned(), version: "2".to_owned() }));
    assert_eq!(
        terms.json,
        format!(
            r#"{{"scheme":"exact","network":"eip155:84532","amount":"10000","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","payTo":"{PAYEE}","maxTimeoutSeconds":300,"extra":{{"name":"USDC","version":"2"}}}}"#
        )
    );
    let [evm, all] = policy.facilitators() else { panic!("two facilitators") };
    assert_eq!(
        (evm.authority.as_str(), evm.cluster.as_str(), evm.base_path.as_str()),
        ("evm.example", "evm.example", "/x")
    );
    assert_eq!((all.authority.as_str(), all.cluster.as_str(), all.base_path.as_str()), ("10.0.0.1:4022", "all", ""));
    assert_eq!((all.verify_timeout_seconds, all.settle_timeout_seconds), (10, 60));
}

#[test]
fn the_names_of_base_and_its_testnet_differ() {
    let (_, terms, _) = compiled(json!({ "price": "$1", "asset": "usdc", "network": "eip155:8453" }), true);
    assert_eq!(terms.extra["name"], "USD Coin");
}

#[test]
fn an_asset_of_the_policy_has_its_own_decimals() {
    for asset in ["TUSD", "0x5fbdb2315678afecb367f032d93f642f64180aa3"] {
        let (_, terms, _) = compiled(json!({ "price": "0.05", "asset": asset, "network": "eip155:31337" }), true);
        assert_eq!((terms.amount, terms.asset.as_str()), (5, "0x5FbDB2315678afecb367f032d93F642f64180aa3"));
    }
    let (_, terms, _) = compiled(json!({ "price": "$0.05", "network": "eip155:31337" }), true);
    assert_eq!(terms.amount, 5);
}

#[test]
fn an_unknown_token_needs_its_domain() {
    let offer = json!({ "amount": "7", "asset": "0x0000000000000000000000000000000000000001", "network": "eip155:31337",
        "extra": { "name": "X", "version": "9", "note": [1, 2.5] } });
    let (_, terms, _) = compiled(offer, true);
    assert_eq!(terms.method, Method::Eip3009(TokenDomain { name: "X".to_owned(), version: "9".to_owned() }));
    assert!(terms.json.ends_with(r#""extra":{"name":"X","note":[1,2.5],"version":"9"}}"#), "{}", terms.json);
}

#[test]
fn settle_before_says_so_on_the_wire() {
    for (offer, hold) in [
        (json!({ "price": "$1", "network": "eip155:84532", "settle": "before" }), true),
        (json!({ "price": "$1", "network": "eip155:84532" }), false),
    ] {
        let (settle, terms, _) = compiled(offer, hold);
        assert_eq!(settle, Settle::Before);
        assert_eq!(terms.extra, extra(json!({ "name": "USDC", "version": "2", "paymentFlow": "upfront" })));
    }
}

#[test]
fn what_is_passed_through_has_no_domain_to_check() {
    let (_, terms, policy) = compiled(json!({ "price": "$1", "network": SOLANA, "settle": "before" }), true);
    assert_eq!((terms.method.clone(), terms.chain_id, terms.amount), (Method::Opaque, None, 1_000_000));
    assert_eq!(terms.from_supported, ["feePayer"]);
    assert_eq!(terms.extra, extra(json!({ "paymentFlow": "upfront" })));
    let Access::Priced(offers) = &policy.routes()[0].access else { panic!("not priced") };
    assert_eq!(offers[0].facilitators, [1], "the first covers eip155 only");
    assert!(terms.complete(&extra(json!({}))).is_none());
    let complete = terms.complete(&extra(json!({ "feePayer": "F", "other": 1 }))).unwrap();
    assert!(complete.json.ends_with(r#""extra":{"feePayer":"F","paymentFlow":"upfront"}}"#), "{}", complete.json);

    let (_, terms, _) = compiled(json!({ "price": "$1", "network": "eip155:4326", "settle": "before" }), true);
    assert_eq!(terms.method, Method::Permit2);
    let permit2 =
        json!({ "assetTransferMethod": "permit2", "name": "MegaUSD", "version": "1", "paymentFlow": "upfront" });
    assert_eq!(terms.extra, extra(permit2));

    let (_, terms, _) = compiled(json!({ "price": "$1", "network": "eip155:38833", "settle": "before" }), true);
    assert_eq!(terms.extra, extra(json!({ "assetTransferMethod": "permit2", "paymentFlow": "upfront" })));

    let (_, terms, policy) =
        compiled(json!({ "price": "$1", "scheme": "upto", "network": "eip155:84532", "settle": "before" }), true);
    assert_eq!(
        (terms.method, terms.from_supported),
        (Method::Upto { decimals: Some(6) }, vec!["facilitatorAddress".to_owned()])
    );
    assert_eq!(terms.extra["assetTransferMethod"], "permit2");
    assert!(policy.warnings().iter().any(|warning| warning.contains("ceiling")));
}

#[test]
fn every_built_in_address_is_spelt_as_the_checksum_says() {
    use farebox_core::rail::x402::address::{Network, normal};
    use farebox_core::rail::x402::assets::Assets;
    let assets = Assets::default();
    let mut seen = 0;
    for asset in assets.iter() {
        let network = Network::parse(&asset.network).unwrap();
        assert_eq!(normal(network.namespace, &asset.address).as_deref(), Ok(&*asset.address));
        assert_eq!(asset.name.is_empty(), network.chain_id.is_none());
        seen += 1;
    }
    assert_eq!(seen, 39);
}
