//! What tests and proofs try on a [`Stack`], and the facts they find. Nothing here judges: whoever calls does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::accounts::{BUYER, PAYEE};
use crate::buyer::Bought;
use crate::envoy_config::{Config, Configuration, FACILITATOR, WasmFilter};
use crate::facilitator::Counts;
use crate::stack::{Scene, Stack};
use crate::{Envoy, EnvoyConfig, Tools, Upstream};

/// What one purchase by the official client did.
#[derive(Debug)]
pub struct Paid {
    /// What the client got.
    pub bought: Bought,
    /// Atomic units the payee has more than before.
    pub payee_delta: u128,
    /// The transaction that the receipt names; empty if it names none.
    pub transaction: String,
    /// The amount of the transfer to the payee that the chain has under that transaction.
    pub transferred: Option<u128>,
    /// Requests the upstream saw.
    pub hits: usize,
    /// Whether one of them carried a payment.
    pub payment_leaked: bool,
    /// What the facilitator was asked for.
    pub asked: Counts,
}

/// Lets the official client buy `path`.
///
/// # Errors
/// If a part of the stack does not answer, or the client throws.
pub async fn buy(stack: &Scene, path: &str) -> Result<Paid> {
    let (before, asked) = (stack.chain.balance(PAYEE.address).await?, stack.facilitator.counts().await?);
    stack.upstream.clear();
    let bought = stack.buyer.get(stack.url(path)).await?;
    let after = stack.facilitator.counts().await?;
    let transaction = bought
        .payment_response
        .as_ref()
        .and_then(|response| response["transaction"].as_str())
        .unwrap_or_default()
        .to_owned();
    let transfers = stack.chain.transfers_to(PAYEE.address).await?;
    let transferred =
        transfers.iter().find(|transfer| transfer.transaction == transaction).map(|transfer| transfer.amount);
    let hits = stack.upstream.hits();
    Ok(Paid {
        payee_delta: stack.chain.balance(PAYEE.address).await?.saturating_sub(before),
        transaction,
        transferred,
        payment_leaked: hits.iter().any(|hit| hit.header("payment-signature").is_some()),
        hits: hits.len(),
        bought,
        asked: Counts {
            verify: after.verify - asked.verify,
            settle: after.settle - asked.settle,
            supported: after.supported - asked.supported,
        },
    })
}

/// The payment that the official client signs for `path`, without sending it.
///
/// # Errors
/// If the gate does not challenge, or the client throws.
pub async fn sign(stack: &Scene, path: &str) -> Result<String> {
    let response = crate::http::client().get(stack.url(path)).send().await?;
    let challenge = response.headers().get("payment-required").context("no challenge")?.to_str()?.to_owned();
    Ok(stack.buyer.sign(&challenge).await?.value)
}

/// A response to one request of ours.
#[derive(Clone, Debug)]
pub struct Got {
    /// Status.
    pub status: u16,
    /// Headers, names in lower case; the last of a name counts.
    pub headers: BTreeMap<String, String>,
    /// Body; what came of it, if it broke off.
    pub body: String,
    /// Whether the body broke off.
    pub broken: bool,
}

impl Got {
    /// The problem code of a refusal; empty if the body is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request with a payment.
///
/// # Errors
/// If there is no response at all.
pub async fn send(stack: &Scene, method: &str, path: &str, payment: Option<&str>) -> Result<Got> {
    let payment = payment.map(|payment| ("payment-signature", payment));
    request(method, &stack.url(path), payment.as_slice()).await
}

/// Waits until something is offered at `url`: `upto` is once the gate knows who settles it, which takes longer where the
/// facilitator was not there at first.
///
/// # Errors
/// If nothing is after half a minute, or nobody answers.
pub async fn offered(url: &str) -> Result<()> {
    for _ in 0..300 {
        if request("GET", url, &[]).await?.status == 402 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("nothing is offered at {url}")
}

/// Sends a request with these headers.
///
/// # Errors
/// If there is no response at all.
pub async fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Got> {
    let mut request = crate::http::client().request(method.parse()?, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.timeout(Duration::from_secs(60)).send().await?;
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = response.text().await;
    let broken = body.is_err();
    Ok(Got { status, headers, body: body.unwrap_or_default(), broken })
}

/// What became of one payment sent many times at once.
#[derive(Debug)]
pub struct Stampede {
    /// Responses by status and, for refusals, problem code.
    pub answers: BTreeMap<String, usize>,
    /// Requests the upstream saw.
    pub hits: usize,
    /// Calls of the facilitator's `/settle`.
    pub settle_calls: u64,
    /// Transfers to the payee on the chain.
    pub transfers: usize,
    /// How often the token burnt the authorization.
    pub authorizations_used: usize,
    /// Connections that each Envoy worker took for it.
    pub workers: Vec<u64>,
}

/// Sends one payment `times` times at once, each on a connection of its own.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn stampede(stack: &Stack, path: &str, times: usize) -> Result<Stampede> {
    let payment = sign(stack, path).await?;
    let transfers = stack.chain.transfers_to(PAYEE.address).await?.len();
    let used = stack.chain.authorizations_used_by(BUYER.address).await?;
    let settles = stack.facilitator.counts().await?.settle;
    let workers = stack.envoy.connections_by_worker(stack.config.port).await?;
    stack.upstream.clear();
    let url = stack.url(path);
    let requests = (0..times).map(|_| {
        let (url, payment) = (url.clone(), payment.clone());
        tokio::spawn(async move {
            let request = crate::http::client().get(url).header("payment-signature", payment);
            let Ok(response) = request.timeout(Duration::from_secs(60)).send().await else {
                return "no response".to_owned();
            };
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap_or_default();
            format!("{status} {}", body["code"].as_str().unwrap_or("served"))
        })
    });
    let mut answers = BTreeMap::new();
    for request in requests.collect::<Vec<_>>() {
        *answers.entry(request.await?).or_default() += 1;
    }
    let after = stack.envoy.connections_by_worker(stack.config.port).await?;
    Ok(Stampede {
        answers,
        hits: stack.upstream.hits().len(),
        settle_calls: stack.facilitator.counts().await?.settle - settles,
        transfers: stack.chain.transfers_to(PAYEE.address).await?.len() - transfers,
        authorizations_used: stack.chain.authorizations_used_by(BUYER.address).await? - used,
        workers: after.iter().zip(workers).map(|(after, before)| after - before).collect(),
    })
}

/// What Envoy made of a policy.
#[derive(Debug)]
pub enum Refusal {
    /// It ended without serving; its log.
    Refused(String),
    /// It served.
    Served(String),
}

/// Starts Envoy with a policy that it should refuse.
///
/// # Errors
/// If the rig itself fails.
pub async fn refused(tools: &Tools, filter: &Path, policy: &str, env: &[(&str, &str)]) -> Result<Refusal> {
    let upstream = Upstream::start()?;
    let mut wasm = WasmFilter::new("farebox", filter, Configuration::Text(policy.to_owned()));
    let env = [env, &crate::mistakes::VARIABLES].concat();
    for (name, _) in &env {
        wasm = wasm.host_env_key(name);
    }
    let config = Config::new(upstream.port())?.cluster(FACILITATOR, 9).filter(wasm);
    let mut envoy = EnvoyConfig::new(config.to_text()).concurrency(1);
    for (name, value) in &env {
        envoy = envoy.env(name, value);
    }
    let port = config.port;
    match Envoy::expect_refused(tools, envoy).await {
        Ok(log) if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() => Ok(Refusal::Served(log)),
        Ok(log) => Ok(Refusal::Refused(log)),
        Err(error) => Ok(Refusal::Served(format!("{error:#}"))),
    }
}
