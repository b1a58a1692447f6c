//! The rig against itself: every way to pay, with official clients and the official facilitator, and no farebox.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rig::accounts::{BUYER, OTHER_BUYER, PAYEE};
use rig::chain::{BUYER_FUNDS, NETWORK, NETWORK_V1, TOKEN};
use rig::clients::Client;
use rig::facilitator::Options;
use rig::permit2::{self, EXACT_PROXY, PERMIT2, UPTO_PROXY};
use rig::upstream::Answer;
use rig::wallets::{DELEGATED, Wallet, WalletKind};
use rig::{Buyer, Chain, Facilitator, Purchase, Tools, Upstream};
use serde_json::{Value, json};

const PRICE: u128 = 10_000;

fn tools() -> Result<Tools> {
    Tools::ensure(&|step| eprintln!("{step}"))
}

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

fn requirements_v1() -> Value {
    json!({
        "scheme": "exact",
        "network": NETWORK_V1,
        "maxAmountRequired": PRICE.to_string(),
        "resource": "http://seller.example/paid",
        "description": "",
        "mimeType": "application/json",
        "payTo": PAYEE.address,
        "maxTimeoutSeconds": 60,
        "asset": TOKEN,
        "extra": { "name": "USDC", "version": "2" },
    })
}

fn challenge(requirements: &Value) -> Value {
    json!({
        "x402Version": 2,
        "error": "Payment required",
        "resource": { "url": "http://seller.example/paid", "description": "", "mimeType": "" },
        "accepts": [requirements],
    })
}

async fn market() -> Result<(Tools, Chain, Facilitator)> {
    let tools = tools()?;
    let chain = Chain::start(&tools).await?;
    let facilitator = Facilitator::start(&tools, &chain).await?;
    Ok((tools, chain, facilitator))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {value}"))
}

#[tokio::test]
async fn permit2_is_where_and_what_it_is_elsewhere() -> Result<()> {
    let tools = tools()?;
    let chain = Chain::start(&tools).await?;
    assert_eq!(chain.call(PERMIT2, "0x3644e515").await?, permit2::DOMAIN_SEPARATOR);
    // The size of the code on real chains: EIP-170's limit is far, and a byte more would be another contract.
    assert_eq!(chain.code(PERMIT2).await?.len(), 2 + 2 * 9152);
    for proxy in [EXACT_PROXY, UPTO_PROXY] {
        let told = chain.call(proxy, "0x6afdd850").await?; // PERMIT2()
        assert!(told.ends_with(&PERMIT2[2..].to_lowercase()), "{proxy} says {told}");
    }
    Ok(())
}

#[tokio::test]
async fn exact_by_permit2() -> Result<()> {
    let (tools, chain, facilitator) = market().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let wanted = permit2::exact_requirements(PRICE);
    let payload = buyer.sign_payload(&challenge(&wanted)).await?;
    assert_eq!(text(&payload, "/payload/permit2Authorization/spender")?, EXACT_PROXY);

    let (_, verified) = facilitator.verify(&payload, &wanted).await?;
    assert_eq!(verified["invalidReason"], "permit2_allowance_required", "{verified}");
    chain.approve_permit2(BUYER.address, u128::MAX).await?;
    let (_, verified) = facilitator.verify(&payload, &wanted).await?;
    assert_eq!(verified["isValid"], true, "{verified}");

    let nonce = text(&payload, "/payload/permit2Authorization/nonce")?;
    assert!(!chain.permit2_nonce_used(BUYER.address, nonce).await?);
    let (_, settled) = facilitator.settle(&payload, &wanted).await?;
    assert_eq!(settled["success"], true, "{settled}");
    assert!(chain.permit2_nonce_used(BUYER.address, nonce).await?);
    let transfers = chain.transfers_to(PAYEE.address).await?;
    assert_eq!((transfers.len(), transfers[0].amount), (1, PRICE));
    assert_eq!(transfers[0].transaction, settled["transaction"]);
    assert_eq!(chain.balance(BUYER.address).await?, BUYER_FUNDS - PRICE);

    let (_, settled_again) = facilitator.settle(&payload, &wanted).await?;
    assert_eq!(settled_again["success"], false, "{settled_again}");
    let (_, again) = facilitator.verify(&payload, &wanted).await?;
    assert_eq!(again["invalidReason"], "permit2_simulation_failed", "{again}");
    assert_eq!(chain.balance(PAYEE.address).await?, PRICE);

    let cancelled = buyer.sign_payload(&challenge(&wanted)).await?;
    let nonce = text(&cancelled, "/payload/permit2Authorization/nonce")?;
    chain.cancel_permit2_nonce(BUYER.address, nonce).await?;
    assert!(chain.permit2_nonce_used(BUYER.address, nonce).await?);
    let (_, refused) = facilitator.settle(&cancelled, &wanted).await?;
    assert_eq!(refused["success"], false, "{refused}");
    // Permit2's InvalidNonce(), which the facilitator cannot read, in a reason of many lines.
    for reason in [text(&refused, "/errorReason")?, text(&settled_again, "/errorReason")?] {
        assert!(
            reason.starts_with("invalid_exact_evm_transaction_failed: ") && reason.contains("0x756688fe"),
            "{reason}"
        );
    }
    assert_eq!(chain.balance(PAYEE.address).await?, PRICE);

    let mut forged = buyer.sign_payload(&challenge(&wanted)).await?;
    forged["payload"]["permit2Authorization"]["witness"]["to"] = json!(OTHER_BUYER.address);
    let mut elsewhere = wanted.clone();
    elsewhere["payTo"] = json!(OTHER_BUYER.address);
    let (_, refused) = facilitator.settle(&forged, &elsewhere).await?;
    assert_eq!(refused["errorReason"], "invalid_permit2_signature", "{refused}");
    Ok(())
}

#[tokio::test]
async fn upto_charges_what_was_used() -> Result<()> {
    let (tools, chain, facilitator) = market().await?;
    let kinds = facilitator.supported().await?;
    let kinds = kinds["kinds"].as_array().context("no kinds")?;
    let kind = kinds.iter().find(|kind| kind["scheme"] == "upto").context("upto is not supported")?;
    assert_eq!(kind["extra"]["facilitatorAddress"], rig::accounts::FACILITATOR.address, "{kind}");
    assert!(kinds.iter().any(|kind| kind["x402Version"] == 1 && kind["network"] == NETWORK_V1));

    chain.approve_permit2(BUYER.address, u128::MAX).await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let wanted = permit2::upto_requirements(2 * PRICE);
    let charged = |amount: u128| {
        let mut charged = wanted.clone();
        charged["amount"] = json!(amount.to_string());
        charged
    };
    let payload = buyer.sign_payload(&challenge(&wanted)).await?;
    assert_eq!(text(&payload, "/payload/permit2Authorization/spender")?, UPTO_PROXY);
    let (_, verified) = facilitator.verify(&payload, &wanted).await?;
    assert_eq!(verified["isValid"], true, "{verified}");
    let (_, refused) = facilitator.settle(&payload, &charged(2 * PRICE + 1)).await?;
    assert_eq!(refused["success"], false, "{refused}");
    let (_, settled) = facilitator.settle(&payload, &charged(700)).await?;
    assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("700")), "{settled}");
    let (_, again) = facilitator.settle(&payload, &charged(700)).await?;
    assert_eq!(again["errorReason"], "permit2_simulation_failed", "{again}");
    assert_eq!(chain.balance(PAYEE.address).await?, 700);

    let payload = buyer.sign_payload(&challenge(&wanted)).await?;
    let (_, nothing) = facilitator.settle(&payload, &charged(0)).await?;
    assert_eq!((&nothing["success"], &nothing["transaction"]), (&json!(true), &json!("")), "{nothing}");
    let nonce = text(&payload, "/payload/permit2Authorization/nonce")?;
    assert!(!chain.permit2_nonce_used(BUYER.address, nonce).await?, "a charge of nothing leaves the payment unused");

    // Signed for this facilitator, another can do nothing with it.
    let options = Options::default().account(rig::facilitator::SECOND_FACILITATOR);
    let other = Facilitator::start_with(&tools, &chain, &options).await?;
    let (_, refused) = other.settle(&payload, &charged(700)).await?;
    assert_eq!(refused["success"], false, "{refused}");
    assert_eq!(chain.balance(PAYEE.address).await?, 700);
    Ok(())
}

#[tokio::test]
async fn four_kinds_of_wallets_pay() -> Result<()> {
    let (tools, chain, facilitator) = market().await?;
    for (index, kind) in (1_u128..).zip(WalletKind::ALL) {
        let wallet = Wallet::make(kind, &chain, &tools, PRICE).await?;
        assert_eq!(chain.code(&wallet.address).await? == "0x", kind == WalletKind::Counterfactual, "{kind:?}");
        let buyer = Buyer::start_for(&tools, &wallet).await?;
        let payload = buyer.sign_payload(&challenge(&requirements())).await?;
        assert_eq!(text(&payload, "/payload/authorization/from")?.to_lowercase(), wallet.address.to_lowercase());

        let (_, verified) = facilitator.verify(&payload, &requirements()).await?;
        assert_eq!(verified["isValid"], true, "{kind:?}: {verified}");
        let (_, settled) = facilitator.settle(&payload, &requirements()).await?;
        assert_eq!(settled["success"], true, "{kind:?}: {settled}");
        assert_eq!(chain.balance(PAYEE.address).await?, PRICE * index, "{kind:?}");
        assert_eq!(chain.balance(&wallet.address).await?, 0, "{kind:?}");
        assert_ne!(chain.code(&wallet.address).await?, "0x", "{kind:?}");
        let nonce = text(&payload, "/payload/authorization/nonce")?;
        assert_eq!(chain.authorization_used(&wallet.address, nonce).await?, 1, "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn wallets_do_not_pay_for_others() -> Result<()> {
    let (tools, chain, facilitator) = market().await?;

    // The key of a delegated account signs as if it were not delegated: what recovers to the payer is refused.
    let wallet = Wallet::make(WalletKind::Delegated, &chain, &tools, PRICE).await?;
    let plain = Buyer::start(&tools, DELEGATED).await?;
    let payload = plain.sign_payload(&challenge(&requirements())).await?;
    assert_eq!(text(&payload, "/payload/authorization/from")?.to_lowercase(), wallet.address.to_lowercase());
    let (_, refused) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(refused["errorReason"], "invalid_exact_evm_signature", "{refused}");

    // A key signs for a wallet that is not its own.
    for kind in WalletKind::ALL {
        let mut wallet = Wallet::make(kind, &chain, &tools, PRICE).await?;
        wallet.owner = BUYER;
        let stranger = Buyer::start_for(&tools, &wallet).await?;
        let payload = stranger.sign_payload(&challenge(&requirements())).await?;
        let (_, refused) = facilitator.verify(&payload, &requirements()).await?;
        let reason = match kind {
            WalletKind::Counterfactual => "invalid_exact_evm_transaction_simulation_failed",
            _ => "invalid_exact_evm_signature",
        };
        assert_eq!(refused["invalidReason"], reason, "{kind:?}: {refused}");
        let (_, refused) = facilitator.settle(&payload, &requirements()).await?;
        assert_eq!(refused["success"], false, "{kind:?}: {refused}");
    }
    assert_eq!(chain.balance(PAYEE.address).await?, 0);

    // A factory that the facilitator has not been told of.
    let closed = Facilitator::start_with(&tools, &chain, &Options::default().factories(&[])).await?;
    let wallet = Wallet::make_counterfactual(&chain, &tools, 7, PRICE).await?;
    let buyer = Buyer::start_for(&tools, &wallet).await?;
    let payload = buyer.sign_payload(&challenge(&requirements())).await?;
    let (_, refused) = closed.verify(&payload, &requirements()).await?;
    assert_eq!(refused["invalidReason"], "eip6492_factory_not_allowed", "{refused}");
    let (_, accepted) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(accepted["success"], true, "{accepted}");
    Ok(())
}

/// Each official client against a seller who believes everybody; what it signed is then settled.
#[tokio::test]
async fn official_clients_pay() -> Result<()> {
    let (tools, chain, facilitator) = market().await?;
    chain.approve_permit2(BUYER.address, u128::MAX).await?;
    let upstream = Upstream::start()?;
    let receipt = json!({ "success": true, "transaction": "0x1", "network": NETWORK, "payer": BUYER.address });
    let served = Answer::new(200, ("payment-response", &STANDARD.encode(receipt.to_string())), "served")
        .header("x-payment-response", &STANDARD.encode(receipt.to_string()));

    let (eip3009, by_permit2, upto) =
        (requirements(), permit2::exact_requirements(PRICE), permit2::upto_requirements(PRICE));
    for (path, wanted) in [("/eip3009", &eip3009), ("/permit2", &by_permit2), ("/upto", &upto)] {
        let header = STANDARD.encode(challenge(wanted).to_string());
        upstream.answer(path, Answer::new(402, ("payment-required", &header), "{}"));
        upstream.answer_if_paid(path, served.clone());
    }
    let v1 = json!({ "x402Version": 1, "error": "X-PAYMENT header is required", "accepts": [requirements_v1()] });
    upstream.answer("/v1", Answer::new(402, ("content-type", "application/json"), v1.to_string()));
    upstream.answer_if_paid("/v1", served.clone());

    let mut paid = 0;
    for client in Client::ALL {
        let buyer = client.start(&tools, BUYER).await?;
        let free = buyer.get(format!("{}/plain/free", upstream.url())).await?;
        assert_eq!((free.status, free.requests.len()), (200, 1), "{}", client.name());
        let v1 = requirements_v1();
        for (version, path, wanted) in
            [(2, "/eip3009", &eip3009), (2, "/permit2", &by_permit2), (2, "/upto", &upto), (1, "/v1", &v1)]
        {
            if !client.reads(version) {
                continue;
            }
            let case = format!("{} {path}", client.name());
            let purchase = Purchase::get(format!("{}{path}?q=1", upstream.url())).method("POST").body("a body");
            let bought = buyer.pay(purchase).await.context(case.clone())?;
            assert_eq!((bought.status, bought.body.as_str()), (200, "served"), "{case}");
            assert_eq!(bought.payment_response.as_ref(), Some(&receipt), "{case}");
            assert_eq!(bought.requests.len(), 2, "{case}");
            assert_eq!(bought.requests[0].status, 402, "{case}");
            assert!(bought.challenge().is_some(), "{case}");
            let hits = upstream.hits_of(path);
            assert_eq!(hits.last().map(|hit| &hit.body[..]), Some(&b"a body"[..]), "{case}: the body is sent again");

            let signed = bought.payment().context(case.clone())?;
            let name = if version == 1 { "X-PAYMENT" } else { "PAYMENT-SIGNATURE" };
            assert_eq!(signed.header, name, "{case}");
            let payload: Value = serde_json::from_slice(&STANDARD.decode(&signed.value)?)?;
            let (_, verified) = facilitator.verify(&payload, wanted).await?;
            assert_eq!(verified["isValid"], true, "{case}: {verified}");
            let (_, settled) = facilitator.settle(&payload, wanted).await?;
            assert_eq!(settled["success"], true, "{case}: {settled}");
            paid += 1;
            assert_eq!(chain.balance(PAYEE.address).await?, PRICE * paid, "{case}");
        }
        let nobody = buyer.get(format!("http://127.0.0.1:{}/", rig::process::free_port()?)).await;
        assert!(nobody.is_err(), "{}: {nobody:?}", client.name());
    }
    assert_eq!(paid, 13);
    Ok(())
}

#[tokio::test]
async fn the_chain_does_what_a_reconciler_looks_at() -> Result<()> {
    let (tools, chain, facilitator) = market().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let payload = buyer.sign_payload(&challenge(&requirements())).await?;
    let nonce = text(&payload, "/payload/authorization/nonce")?.to_owned();

    // A transaction that nobody puts into a block.
    chain.set_automine(false).await?;
    let options = Options::default().account(rig::facilitator::SECOND_FACILITATOR);
    let impatient = Facilitator::start_with(&tools, &chain, &options.confirmation(Duration::from_millis(300))).await?;
    let (_, pending) = impatient.settle(&payload, &requirements()).await?;
    assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    assert_eq!(chain.waiting_transactions().await?, 1);
    assert_eq!(chain.authorization_used(BUYER.address, &nonce).await?, 0);
    let (_, pending) = impatient.settle(&payload, &requirements()).await?;
    assert_eq!(pending["errorReason"], "settlement_pending", "{pending}");
    let before = chain.block_number().await?;
    chain.mine(3).await?;
    assert_eq!(chain.block_number().await?, before + 3);
    let (_, settled) = impatient.settle(&payload, &requirements()).await?;
    assert_eq!((&settled["success"], &settled["transaction"]), (&json!(true), &pending["transaction"]), "{settled}");
    assert_eq!(chain.authorization_used(BUYER.address, &nonce).await?, 1);
    chain.set_automine(true).await?;

    // A payment that expires.
    let payload = buyer.sign_payload(&challenge(&requirements())).await?;
    let expiry: u64 = text(&payload, "/payload/authorization/validBefore")?.parse()?;
    chain.jump_past(expiry).await?;
    assert_eq!(chain.block_time().await?, expiry + 1);
    let (_, refused) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(refused["success"], false, "{refused}");
    assert!(chain.settle_as_third_party(&payload).await.is_err(), "the token refuses it too");
    Ok(())
}
