//! The rig against itself: real processes, no farebox. What fails here is not farebox's fault.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rig::accounts::{BUYER, OTHER_BUYER, PAYEE};
use rig::chain::{BUYER_FUNDS, NETWORK, NETWORK_V1, TOKEN};
use rig::envoy_config::{Config, Configuration, WasmFilter, read_access_log};
use rig::process::{Process, Streams, free_port, wait_for};
use rig::upstream::Answer;
use rig::{Buyer, Chain, Envoy, EnvoyConfig, Facilitator, Fault, Operation, Purchase, Tools, Upstream, wasm};
use serde_json::{Value, json};

const PRICE: u128 = 10_000;

fn tools() -> Result<Tools> {
    Tools::ensure(&|step| eprintln!("{step}"))
}

/// What a v2 server would ask for.
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

fn challenge() -> Value {
    json!({
        "x402Version": 2,
        "error": "Payment required",
        "resource": { "url": "http://seller.example/paid", "description": "", "mimeType": "" },
        "accepts": [requirements()],
    })
}

/// A chain, a facilitator on it, and what an official client signs for.
struct Market {
    tools: Tools,
    chain: Chain,
    facilitator: Facilitator,
}

impl Market {
    async fn open() -> Result<Self> {
        let tools = tools()?;
        let chain = Chain::start(&tools).await?;
        let facilitator = Facilitator::start(&tools, &chain).await?;
        Ok(Self { tools, chain, facilitator })
    }
}

fn nonce(payload: &Value) -> &str {
    payload["payload"]["authorization"]["nonce"].as_str().expect("an EIP-3009 payload has a nonce")
}

#[tokio::test]
async fn an_official_payment_settles_once() -> Result<()> {
    let Market { tools, chain, facilitator } = Market::open().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let payload = buyer.sign_payload(&challenge()).await?;

    let (status, verified) = facilitator.verify(&payload, &requirements()).await?;
    assert_eq!((status, &verified["isValid"]), (200, &json!(true)), "{verified}");
    assert_eq!(chain.authorization_used(BUYER.address, nonce(&payload)).await?, 0);

    let (status, settled) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!((status, &settled["success"]), (200, &json!(true)), "{settled}");
    assert_eq!(chain.authorization_used(BUYER.address, nonce(&payload)).await?, 1);
    assert_eq!(chain.balance(PAYEE.address).await?, PRICE);
    assert_eq!(chain.balance(BUYER.address).await?, BUYER_FUNDS - PRICE);
    let transfers = chain.transfers_to(PAYEE.address).await?;
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0].from, BUYER.address.to_lowercase());
    assert_eq!(transfers[0].amount, PRICE);
    assert_eq!(transfers[0].transaction, settled["transaction"]);

    let (_, again) = facilitator.verify(&payload, &requirements()).await?;
    assert_eq!(again["invalidReason"], "invalid_exact_evm_nonce_already_used", "{again}");
    let (_, again) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(again["success"], false, "{again}");
    assert_eq!(chain.transfers_to(PAYEE.address).await?.len(), 1);

    let counts = facilitator.counts().await?;
    assert_eq!((counts.verify, counts.settle), (2, 2));
    assert_eq!(facilitator.calls().await?[0]["request"]["paymentPayload"], payload);
    Ok(())
}

#[tokio::test]
async fn a_v1_payment_settles() -> Result<()> {
    let Market { tools, chain, facilitator } = Market::open().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let requirements = json!({
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
    });
    let challenge = json!({ "x402Version": 1, "error": "pay", "accepts": [requirements] });
    assert_eq!(buyer.sign(&challenge.to_string()).await?.header, "X-PAYMENT");
    let payload = buyer.sign_payload(&challenge).await?;
    let (_, settled) = facilitator.settle(&payload, &requirements).await?;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(chain.balance(PAYEE.address).await?, PRICE);
    Ok(())
}

#[tokio::test]
async fn a_canceled_authorization_is_refused() -> Result<()> {
    let Market { tools, chain, facilitator } = Market::open().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let payload = buyer.sign_payload(&challenge()).await?;
    let signature = buyer.sign_cancellation(nonce(&payload)).await?;
    chain.cancel_authorization(BUYER.address, nonce(&payload), &signature).await?;
    assert_eq!(chain.authorization_canceled(BUYER.address, nonce(&payload)).await?, 1);

    let (_, verified) = facilitator.verify(&payload, &requirements()).await?;
    assert_eq!(verified["isValid"], false, "{verified}");
    let (_, settled) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(settled["success"], false, "{settled}");
    assert_eq!(chain.balance(PAYEE.address).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_contract_account_pays() -> Result<()> {
    const WALLET: &str = "0x1271000000000000000000000000000000001271";
    let Market { tools, chain, facilitator } = Market::open().await?;
    chain.place_wallet(WALLET, OTHER_BUYER.address, &tools).await?;
    chain.mint(WALLET, PRICE).await?;

    let stranger = Buyer::start_for_wallet(&tools, BUYER, WALLET).await?;
    let forged = stranger.sign_payload(&challenge()).await?;
    let (_, settled) = facilitator.settle(&forged, &requirements()).await?;
    assert_eq!(settled["success"], false, "{settled}");

    let owner = Buyer::start_for_wallet(&tools, OTHER_BUYER, WALLET).await?;
    let payload = owner.sign_payload(&challenge()).await?;
    let (_, settled) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(chain.balance(WALLET).await?, 0);
    assert_eq!(chain.balance(PAYEE.address).await?, PRICE);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_paid_is_refused() -> Result<()> {
    let Market { tools, chain, facilitator } = Market::open().await?;
    let poor = Buyer::start(&tools, OTHER_BUYER).await?;
    let payload = poor.sign_payload(&challenge()).await?;
    let (_, verified) = facilitator.verify(&payload, &requirements()).await?;
    assert_eq!(verified["invalidReason"], "invalid_exact_evm_insufficient_balance", "{verified}");

    let buyer = Buyer::start(&tools, BUYER).await?;
    let payload = buyer.sign_payload(&challenge()).await?;
    chain.increase_time(301).await?;
    let signed_before = payload["payload"]["authorization"]["validBefore"].as_str().context("validBefore")?;
    assert!(chain.block_time().await? >= signed_before.parse()?);
    let (_, settled) = facilitator.settle(&payload, &requirements()).await?;
    assert_eq!(settled["success"], false, "{settled}");
    assert_eq!(chain.balance(PAYEE.address).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_token_behaves_as_usdc_does() -> Result<()> {
    let tools = tools()?;
    let chain = Chain::start(&tools).await?;
    let dir = tempfile::tempdir()?;
    let mut check = tools.node("token-check.mjs");
    check.env("RPC_URL", chain.url());
    let log = dir.path().join("log");
    let mut check = Process::spawn("the token check", check, &log, Streams::Log)?;
    let status = check.wait_exit(Duration::from_secs(60)).await?;
    assert!(status.success(), "{}", check.log()?);
    Ok(())
}

/// A seller that always asks for more: what the client does can be looked at.
#[tokio::test]
async fn the_buyer_pays_when_asked() -> Result<()> {
    let tools = tools()?;
    let upstream = Upstream::start()?;
    let header = STANDARD.encode(challenge().to_string());
    upstream.answer("/paid", Answer::new(402, ("payment-required", &header), "{}"));
    let buyer = Buyer::start(&tools, BUYER).await?;

    let purchase = Purchase::get(format!("{}/paid?q=1", upstream.url()));
    let purchase = purchase.method("POST").header("x-mine", "kept").body("a body");
    let bought = buyer.pay(purchase).await?;
    assert_eq!((bought.status, bought.requests.len()), (402, 2));
    assert_eq!(bought.challenge(), Some(&challenge()));
    let signed = bought.payment().context("no payment")?;
    let hits = upstream.hits();
    assert_eq!(hits.len(), 2);
    assert_eq!(hits[0].header("payment-signature"), None);
    assert_eq!(hits[1].header("payment-signature"), Some(signed.value.as_str()));
    for hit in hits {
        assert_eq!((hit.method.as_str(), hit.target.as_str()), ("POST", "/paid?q=1"));
        assert_eq!((hit.header("x-mine"), &hit.body[..]), (Some("kept"), &b"a body"[..]));
    }

    let signed = buyer.sign(&header).await?;
    assert_eq!(signed.header, "PAYMENT-SIGNATURE");
    let payload: Value = serde_json::from_slice(&STANDARD.decode(&signed.value)?)?;
    assert_eq!(payload["accepted"], requirements());
    assert_eq!(payload["payload"]["authorization"]["from"], buyer.address());

    let free = buyer.get(format!("{}/plain", upstream.url())).await?;
    assert_eq!((free.status, free.requests.len()), (200, 1));
    let nobody = buyer.get(format!("http://127.0.0.1:{}/", free_port()?)).await;
    assert!(nobody.is_err_and(|error| error.to_string().contains("ECONNREFUSED")));
    Ok(())
}

#[tokio::test]
async fn many_settlements_at_once_succeed() -> Result<()> {
    const PAYMENTS: usize = 25;
    let Market { tools, chain, facilitator } = Market::open().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let mut payloads = Vec::new();
    for _ in 0..PAYMENTS {
        payloads.push(buyer.sign_payload(&challenge()).await?);
    }
    let facilitator = std::sync::Arc::new(facilitator);
    let mut settlements = tokio::task::JoinSet::new();
    for payload in payloads {
        let facilitator = std::sync::Arc::clone(&facilitator);
        settlements.spawn(async move { facilitator.settle(&payload, &requirements()).await });
    }
    while let Some(settled) = settlements.join_next().await {
        let (_, settled) = settled??;
        assert_eq!(settled["success"], true, "{settled}");
    }
    assert_eq!(chain.authorizations_used_by(BUYER.address).await?, PAYMENTS);
    assert_eq!(chain.balance(PAYEE.address).await?, PRICE * PAYMENTS as u128);
    Ok(())
}

#[tokio::test]
async fn a_facilitator_misbehaves_as_told() -> Result<()> {
    let Market { tools, chain, facilitator } = Market::open().await?;
    let buyer = Buyer::start(&tools, BUYER).await?;
    let payload = buyer.sign_payload(&challenge()).await?;

    facilitator.set_faults(Operation::Verify, &[Fault::answer(500, "oops"), Fault::reset()]).await?;
    assert!(facilitator.verify(&payload, &requirements()).await.is_err(), "the answer is not JSON");
    assert!(facilitator.verify(&payload, &requirements()).await.is_err(), "no answer");
    assert_eq!(facilitator.verify(&payload, &requirements()).await?.1["isValid"], true, "healed by itself");

    facilitator.set_faults(Operation::Settle, &[Fault::reset().after_the_work()]).await?;
    assert!(facilitator.settle(&payload, &requirements()).await.is_err(), "only the answer is lost");
    assert_eq!(chain.authorization_used(BUYER.address, nonce(&payload)).await?, 1);
    Ok(())
}

#[tokio::test]
async fn envoy_serves_through_the_baseline_filter() -> Result<()> {
    let tools = tools()?;
    let upstream = Upstream::start()?;
    let logs = tempfile::tempdir()?;
    let access_log = logs.path().join("access.json");
    let filter = wasm::build(&tools, "farebox-baseline", &[])?;
    let filter = WasmFilter::new("baseline", filter, Configuration::Struct(json!({ "a": [1, "b"] })))
        .stop_iteration(true)
        .host_env_key("RIG_TEST_SECRET");
    let config = Config::new(upstream.port())?.filter(filter).access_log(&access_log);
    let envoy = EnvoyConfig::new(config.to_text()).env("RIG_TEST_SECRET", "x");
    let envoy = Envoy::start(&tools, envoy).await?;
    let http = rig::http::client();
    let get = |target: &str| http.get(format!("{}{target}", config.url())).header("x-baseline-in", "seen").send();

    let lines = ["GET //raw/./a/../b HTTP/1.1", "Host: seller.example"];
    let raw = rig::raw::request(config.port, &lines).await?;
    assert_eq!((raw.status, raw.header("content-type")), (200, Some("application/json")));
    assert_eq!(upstream.hits()[0].target, "/raw/b", "Envoy puts paths right");
    let bad = rig::raw::request(config.port, &["GET / HTTP/1.1", "bad_name: x", "host: a"]).await?;
    assert_eq!(bad.status, 400, "as configured");
    upstream.clear();

    let plain = get("/plain/a%2Fb?q=1").await?;
    assert_eq!(plain.status(), 200);
    assert_eq!(plain.json::<Value>().await?["message"], "hello from upstream");
    let hit = upstream.hits().pop().context("the upstream was not asked")?;
    assert_eq!((hit.method.as_str(), hit.target.as_str()), ("GET", "/plain/a%2Fb?q=1"));
    assert_eq!(hit.header("x-baseline"), Some("seen"));

    assert_eq!(get("/fail?status=418").await?.status(), 418);
    assert_eq!(get("/reset").await?.status(), 503);
    assert_eq!(get("/large?bytes=3000000").await?.bytes().await?.len(), 3_000_000);
    assert_eq!(get("/stream?chunks=3&ms=5").await?.text().await?.matches("data:").count(), 3);
    assert!(get("/cut?bytes=1000").await?.bytes().await.is_err(), "the body is cut off");
    assert_eq!(get("/anything").await?.json::<Value>().await?["headers"]["x-baseline"], "seen");
    assert_eq!(upstream.count(), 7);
    upstream.clear();
    assert_eq!((upstream.count(), upstream.hits().len()), (0, 0));

    assert_eq!(envoy.stat("http.main.downstream_rq_total").await?, 9);
    let workers = envoy.connections_by_worker(config.port).await?;
    assert_eq!((workers.len(), workers.iter().sum::<u64>()), (2, 9));
    assert!(envoy.prometheus().await?.contains("envoy_http_downstream_rq_total"));
    let lines = wait_for("the access log", Duration::from_secs(5), || async {
        read_access_log(&access_log).ok().filter(|lines| lines.len() == 9)
    })
    .await?;
    assert_eq!(lines[2]["path"], "/plain/a%2Fb?q=1");
    assert_eq!(lines[2]["payer"], Value::Null);
    envoy.stop().await
}

#[tokio::test]
async fn envoy_refuses_what_it_cannot_load() -> Result<()> {
    let tools = tools()?;
    let filter = WasmFilter::new("absent", "/nowhere/absent.wasm", Configuration::Text(String::new()));
    let config = EnvoyConfig::new(Config::new(free_port()?)?.filter(filter).to_text());
    let log = Envoy::expect_refused(&tools, config.clone()).await?;
    assert!(log.contains("absent.wasm"), "{log}");
    let (good, log) = Envoy::validate(&tools, config).await?;
    assert!(!good && log.contains("absent.wasm"), "{log}");

    let config = EnvoyConfig::new(Config::new(free_port()?)?.to_text());
    assert!(Envoy::validate(&tools, config.clone()).await?.0);
    assert!(Envoy::expect_refused(&tools, config).await.is_err(), "a good configuration is not refused");
    Ok(())
}

/// Run by the next test, in a process of its own.
#[tokio::test]
#[ignore = "a helper"]
async fn helper_that_starts_a_child_and_waits() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let child = Process::spawn("sleep", sleep, &dir.path().join("log"), Streams::Log)?;
    std::fs::write(std::env::var("RIG_TEST_PID_FILE")?, child.id().to_string())?;
    tokio::time::sleep(Duration::from_secs(600)).await;
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn children_do_not_outlive_a_killed_parent() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pid_file = dir.path().join("pid");
    let mut parent = Command::new(std::env::current_exe()?);
    parent.args(["--exact", "helper_that_starts_a_child_and_waits", "--ignored"]).env("RIG_TEST_PID_FILE", &pid_file);
    let mut parent = Process::spawn("the helper", parent, &dir.path().join("log"), Streams::Log)?;
    let child: u32 = parent
        .wait_until(Duration::from_secs(10), || async { std::fs::read_to_string(&pid_file).ok()?.parse().ok() })
        .await?;
    let lives = || std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(lives());
    parent.signal(libc::SIGKILL)?;
    wait_for("the end of the child", Duration::from_secs(5), || async { (!lives()).then_some(()) }).await
}
