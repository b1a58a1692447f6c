//! The rig against itself: a facilitator misbehaves in every way that it can be told to, and no farebox.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rig::accounts::{BUYER, PAYEE};
use rig::chain::{NETWORK, TOKEN};
use rig::{Buyer, Chain, Facilitator, Fault, Operation, Tools};
use serde_json::{Value, json};

const PRICE: u128 = 10_000;

fn requirements() -> Value {
    json!({
        "scheme": "exact",
        "network": NETWORK,
        "amount": PRICE.to_string(),
        "asset": TOKEN,
        "payTo": PAYEE.address,
        "maxTimeoutSeconds": 300,
        "extra": { "name": "USDC", "version": "2" },
    })
}

struct Market {
    chain: Chain,
    facilitator: Facilitator,
    buyer: Buyer,
}

/// What came back from the facilitator, byte for byte.
struct Raw {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Market {
    async fn open() -> Result<Self> {
        let tools = Tools::ensure(&|step| eprintln!("{step}"))?;
        let chain = Chain::start(&tools).await?;
        let facilitator = Facilitator::start(&tools, &chain).await?;
        let buyer = Buyer::start(&tools, BUYER).await?;
        Ok(Self { chain, facilitator, buyer })
    }

    async fn payload(&self) -> Result<Value> {
        let challenge = json!({
            "x402Version": 2,
            "resource": { "url": "http://seller.example/paid" },
            "accepts": [requirements()],
        });
        self.buyer.sign_payload(&challenge).await
    }

    async fn raw(&self, operation: &str, payload: &Value) -> Result<Raw> {
        self.raw_within(Duration::from_secs(30), operation, payload).await
    }

    async fn raw_within(&self, limit: Duration, operation: &str, payload: &Value) -> Result<Raw> {
        let envelope = json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements() });
        let url = format!("{}/{operation}", self.facilitator.url());
        let request = rig::http::client().post(url).json(&envelope).timeout(limit);
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Raw { status, headers, body: response.text().await? })
    }

    /// Settles a fresh payment under a fault; what came back, and how often the payment was used on the chain.
    async fn settle(&self, fault: Fault) -> Result<(Result<Raw>, usize)> {
        self.facilitator.set_faults(Operation::Settle, &[fault]).await?;
        let payload = self.payload().await?;
        let raw = self.raw("settle", &payload).await;
        Ok((raw, self.used(&payload).await?))
    }

    async fn used(&self, payload: &Value) -> Result<usize> {
        let nonce = payload["payload"]["authorization"]["nonce"].as_str().context("no nonce")?;
        self.chain.authorization_used(BUYER.address, nonce).await
    }
}

#[tokio::test]
async fn answers_that_replace_the_right_one() -> Result<()> {
    let market = Market::open().await?;
    let later = Duration::from_secs(7);
    for (fault, status, body) in [
        (Fault::server_error(500), 500, r#"{"error":"Internal Server Error"}"#),
        (Fault::server_error(503), 503, r#"{"error":"Internal Server Error"}"#),
        (Fault::too_many_requests(later), 429, r#"{"error":"Too many requests"}"#),
        (Fault::empty_object(), 200, "{}"),
        (Fault::empty_body(), 200, ""),
    ] {
        let (raw, used) = market.settle(fault.clone()).await?;
        let raw = raw?;
        assert_eq!((raw.status, raw.body.as_str(), used), (status, body, 0), "{fault:?}");
        let (raw, used) = market.settle(fault.clone().after_the_work()).await?;
        assert_eq!((raw?.status, used), (status, 1), "{fault:?}");
    }
    let (raw, _) = market.settle(Fault::too_many_requests(later)).await?;
    assert_eq!(raw?.headers["retry-after"], "7");
    let (raw, used) = market.settle(Fault::html(200)).await?;
    let raw = raw?;
    assert_eq!((&raw.headers["content-type"], used), (&"text/html".parse()?, 0));
    assert!(raw.body.starts_with("<!DOCTYPE html>"));
    let (raw, used) = market.settle(Fault::not_settled("insufficient_funds")).await?;
    assert!(raw?.body.contains("insufficient_funds") && used == 0);
    let (raw, used) = market.settle(Fault::pretended_settlement(BUYER.address)).await?;
    assert!(raw?.body.contains(r#""success":true"#) && used == 0);

    market.facilitator.set_faults(Operation::Verify, &[Fault::refused("no").always()]).await?;
    for _ in 0..3 {
        let raw = market.raw("verify", &market.payload().await?).await?;
        assert_eq!(raw.body, r#"{"invalidReason":"no","isValid":false}"#);
    }
    market.facilitator.set_faults(Operation::Verify, &[]).await?;
    let raw = market.raw("verify", &market.payload().await?).await?;
    assert!(raw.body.contains(r#""isValid":true"#), "{}", raw.body);
    Ok(())
}

#[tokio::test]
async fn answers_that_do_not_come() -> Result<()> {
    let market = Market::open().await?;
    for (fault, wanted) in [(Fault::reset(), 0), (Fault::answer_lost(), 1)] {
        let (raw, used) = market.settle(fault.clone()).await?;
        assert!(raw.is_err(), "{fault:?}");
        assert_eq!(used, wanted, "{fault:?}");
    }
    for (fault, wanted) in [(Fault::dropped(), 0), (Fault::dropped().after_the_work(), 1)] {
        market.facilitator.set_faults(Operation::Settle, std::slice::from_ref(&fault)).await?;
        let payload = market.payload().await?;
        let (began, limit) = (Instant::now(), Duration::from_secs(3));
        assert!(market.raw_within(limit, "settle", &payload).await.is_err(), "{fault:?}");
        assert!(began.elapsed() >= limit, "{fault:?} keeps the connection");
        assert_eq!(market.used(&payload).await?, wanted, "{fault:?}");
    }
    let (raw, used) = market.settle(Fault::cut(20)).await?;
    assert!(raw.is_err() && used == 1, "the body ends before it should");
    let began = Instant::now();
    let (raw, used) = market.settle(Fault::delay(Duration::from_millis(500))).await?;
    assert!(raw?.body.contains(r#""success":true"#) && used == 1 && began.elapsed() > Duration::from_millis(500));
    Ok(())
}

#[tokio::test]
async fn answers_that_are_spoiled() -> Result<()> {
    let market = Market::open().await?;
    for (fault, field, wanted) in [
        (Fault::wrong_network(), "network", json!("eip155:1")),
        (Fault::wrong_payer(), "payer", json!("0x000000000000000000000000000000000000dEaD")),
        (Fault::text_booleans(Operation::Settle), "success", json!("true")),
        (Fault::without_transaction(), "transaction", json!("")),
        (Fault::edited(json!({ "network": null })), "network", Value::Null),
    ] {
        let (raw, used) = market.settle(fault.clone()).await?;
        let raw = raw?;
        let body: Value = serde_json::from_str(&raw.body)?;
        assert_eq!((raw.status, &body[field], used), (200, &wanted, 1), "{fault:?}");
    }
    let (raw, used) = market.settle(Fault::truncated(30)).await?;
    let raw = raw?;
    assert_eq!((raw.body.len(), used), (30, 1));
    assert!(serde_json::from_str::<Value>(&raw.body).is_err());
    let (raw, used) = market.settle(Fault::megabyte()).await?;
    let raw = raw?;
    assert!(raw.body.len() > 1_000_000 && used == 1);
    assert_eq!(serde_json::from_str::<Value>(&raw.body)?["success"], true);

    market.facilitator.set_faults(Operation::Verify, &[Fault::text_booleans(Operation::Verify)]).await?;
    let raw = market.raw("verify", &market.payload().await?).await?;
    assert!(raw.body.contains(r#""isValid":"true""#), "{}", raw.body);
    Ok(())
}

#[tokio::test]
async fn a_settlement_is_pending_once_and_for_ever() -> Result<()> {
    let market = Market::open().await?;
    let settle = async |payload: &Value| anyhow::Ok(market.facilitator.settle(payload, &requirements()).await?.1);

    market.facilitator.set_faults(Operation::Settle, &[Fault::pending()]).await?;
    let payload = market.payload().await?;
    let pending = settle(&payload).await?;
    assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    let settled = settle(&payload).await?;
    assert_eq!((&settled["success"], &settled["transaction"]), (&json!(true), &pending["transaction"]), "{settled}");
    assert_eq!(market.used(&payload).await?, 1);
    let again = settle(&payload).await?;
    assert_eq!(again["success"], false, "what is settled is forgotten: {again}");

    market.facilitator.set_faults(Operation::Settle, &[Fault::pending().always()]).await?;
    let payload = market.payload().await?;
    for _ in 0..5 {
        let pending = settle(&payload).await?;
        assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    }
    assert_eq!(market.used(&payload).await?, 1, "on the chain all the same");
    market.facilitator.set_faults(Operation::Settle, &[]).await?;
    let settled = settle(&payload).await?;
    assert_eq!(settled["success"], true, "{settled}");
    Ok(())
}

#[tokio::test]
async fn somebody_else_is_first() -> Result<()> {
    let market = Market::open().await?;

    // Between verify and settle.
    let payload = market.payload().await?;
    let (_, verified) = market.facilitator.verify(&payload, &requirements()).await?;
    assert_eq!(verified["isValid"], true, "{verified}");
    market.chain.settle_as_third_party(&payload).await?;
    assert_eq!(market.used(&payload).await?, 1);
    let (_, refused) = market.facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(refused["success"], false, "{refused}");

    // Within settle.
    let (raw, used) = market.settle(Fault::settled_by_a_third_party()).await?;
    let raw = raw?;
    assert!(raw.body.contains(r#""success":false"#) && used == 1, "{}", raw.body);
    assert_eq!(market.chain.balance(PAYEE.address).await?, 2 * PRICE, "the seller has the money, twice of two");

    // Cancelled between verify and settle.
    let payload = market.payload().await?;
    let nonce = payload["payload"]["authorization"]["nonce"].as_str().context("no nonce")?;
    let signature = market.buyer.sign_cancellation(nonce).await?;
    market.chain.cancel_authorization(BUYER.address, nonce, &signature).await?;
    let (_, cancelled) = market.facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(cancelled["errorReason"], refused["errorReason"], "the facilitator cannot tell the two apart");
    assert_eq!(market.chain.authorization_canceled(BUYER.address, nonce).await?, 1);
    assert_eq!(market.chain.balance(PAYEE.address).await?, 2 * PRICE);
    Ok(())
}
