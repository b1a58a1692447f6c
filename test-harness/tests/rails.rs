//! Every way to pay that the gate checks itself, through a real Envoy with official clients and the official
//! facilitator.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rig::accounts::{BUYER, PAYEE};
use rig::chain::NETWORK;
use rig::clients::Client;
use rig::stack::test_policy;
use rig::{Plan, Stack, Tools, scenario};
use serde_json::{Value, json};

const PRICE: u128 = 10_000;

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::ensure(&|step| eprintln!("· {step}")).unwrap())
}

fn policy(origin: &str) -> Value {
    let mut policy = test_policy(origin);
    let route = |name: &str, path: &str, offer: Value| {
        let mut offer = offer;
        offer["network"] = json!(NETWORK);
        offer["max_timeout_seconds"] = json!(120);
        json!({ "name": name, "path": path, "response_timeout_seconds": 30, "offers": [offer] })
    };
    let mut old = route("old", "/plain/old", json!({ "price": "$0.01" }));
    old["v1"] = json!(true);
    if let Some(routes) = policy["routes"].as_array_mut() {
        routes.extend([
            route("permit2", "/plain/permit2", json!({ "price": "$0.01", "transfer_method": "permit2" })),
            route("metered", "/metered", json!({ "price": "$0.02", "scheme": "upto" })),
            route("echo", "/rig.Echo/*", json!({ "price": "$0.01" })),
            old,
        ]);
    }
    policy
}

async fn stack() -> Result<Stack> {
    let filter = rig::wasm::build(tools(), "farebox-filter", &[])?;
    let stack = Stack::start(tools(), Plan::new(filter, policy)).await?;
    // Until every worker has learnt what the facilitator supports.
    for _ in 0..100 {
        let mut known = 0;
        for _ in 0..8 {
            let metered = scenario::send(&stack, "GET", "/metered", None).await?.status == 402;
            let old = scenario::send(&stack, "GET", "/plain/old", None).await?;
            let old = serde_json::from_str::<Value>(&old.body).is_ok_and(|body| body["accepts"].is_array());
            known += u32::from(metered && old);
        }
        if known == 8 {
            return Ok(stack);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the gate never learnt what the facilitator supports")
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_pay_by_permit2_upto_and_in_version_1() -> Result<()> {
    let stack = stack().await?;
    let mut expected = 0;
    for client in Client::ALL {
        let buyer = client.start(tools(), BUYER).await?;
        // The Python client of the rig is installed without its extra `extensions`, and without that it pays by Permit2
        // only where a challenge has no extension at all.
        if client.reads(2) && client != Client::Python {
            if expected == 0 {
                let unapproved = buyer.get(stack.url("/plain/permit2")).await?;
                assert_eq!(unapproved.status, 412, "{}: {}", client.name(), unapproved.body);
                stack.chain.approve_permit2(BUYER.address, u128::MAX).await?;
            }
            let paid = buyer.get(stack.url("/plain/permit2")).await?;
            assert_eq!(paid.status, 200, "{}: {}", client.name(), paid.body);
            expected += PRICE;
            for (charge, charged) in [("700", 700), ("0", 0), ("$0.005", PRICE / 2), ("30000", 2 * PRICE)] {
                let paid = buyer.get(stack.url(&format!("/metered?charge={charge}"))).await?;
                assert_eq!(paid.status, 200, "{} {charge}: {}", client.name(), paid.body);
                assert!(!paid.headers.contains_key("settlement-overrides"));
                expected += charged;
                assert_eq!(stack.chain.balance(PAYEE.address).await?, expected, "{} {charge}", client.name());
            }
        }
        let paid = buyer.get(stack.url("/plain/old")).await?;
        assert_eq!(paid.status, 200, "{}: {}", client.name(), paid.body);
        let header = if client.reads(2) { "payment-response" } else { "x-payment-response" };
        assert!(paid.headers.contains_key(header), "{}: {:?}", client.name(), paid.headers);
        expected += PRICE;
        assert_eq!(stack.chain.balance(PAYEE.address).await?, expected, "{}", client.name());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_is_told_what_it_costs_in_metadata() -> Result<()> {
    let stack = stack().await?;
    let port =
        stack.url("").rsplit(':').next().and_then(|port| port.trim_matches('/').parse().ok()).context("a port")?;
    let told = rig::grpc::call(port, "/rig.Echo/Unary", &[], b"hello").await?;
    assert_eq!((told.http_status, told.status(), told.trailers_only), (200, Some(9), true), "{told:?}");
    let message = told.metadata("grpc-message").context("a message")?;
    assert!(message.starts_with("payment_required: "), "{message}");
    let challenge = told.metadata("payment-required").context("a challenge")?;
    let challenge: Value = serde_json::from_slice(&STANDARD.decode(challenge)?)?;
    assert_eq!(challenge["accepts"][0]["amount"], PRICE.to_string());
    let told = rig::grpc::call(port, "/rig.Echo/Unary", &[("payment-signature", "x")], b"hello").await?;
    assert_eq!(told.status(), Some(3), "{told:?}");
    assert!(stack.upstream.hits().iter().all(|hit| !hit.target.starts_with("/rig.Echo")));
    Ok(())
}
