//! Agents that share a store: two processes on one folder, two workers on one Durable Object.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::accounts::{BUYER, PAYEE};
use crate::agent::{Agents, Plan, policy};
use crate::stack::Scene;
use crate::tools::{WorkerTools, workspace_dir};
use crate::workerd::{Config, Workerd};

/// What agents that share a budget of ten payments bought.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Answers by status and code.
    pub answers: BTreeMap<String, usize>,
    /// Transfers on the chain.
    pub transfers: usize,
}

impl Shared {
    /// Whether it was ten, and no more.
    pub fn holds(&self) -> bool {
        let refused = self.answers.get("0 over_budget").copied().unwrap_or(0);
        self.transfers == 10
            && self.answers.get("200 ") == Some(&10)
            && self.answers.values().sum::<usize>() == 10 + refused
    }
}

/// A policy that allows ten payments of $0.01.
fn ten(origin: &str) -> Value {
    let mut rules = policy(&[origin]);
    rules["budgets"][0]["max"] = json!("0.1 usd");
    rules
}

/// Two processes on one folder, twelve calls each, all at once.
///
/// # Errors
/// If a part does not answer.
pub async fn processes(agents: &Agents<'_>, stack: &Scene) -> Result<Shared> {
    let store = tempfile::Builder::new().prefix("farebox-counters-").tempdir()?;
    let plan = Plan::new(ten(&stack.origin)).store(store.path());
    let (one, two) = (agents.start(&plan).await?, agents.start(&plan).await?);
    let before = stack.chain.transfers_to(PAYEE.address).await?.len();
    let urls = |whose: &str| -> Vec<Value> {
        (0..12).map(|call| json!({ "url": stack.url(&format!("/plain/users/{whose}-{call}")) })).collect()
    };
    let (first, second) = (urls("one"), urls("two"));
    let (first, second) = tokio::join!(one.pay_all(&first), two.pay_all(&second));
    let mut figures = Shared::default();
    for fetched in first?.into_iter().chain(second?) {
        *figures.answers.entry(format!("{} {}", fetched.status(), fetched.code())).or_default() += 1;
    }
    figures.transfers = stack.chain.transfers_to(PAYEE.address).await?.len() - before;
    Ok(figures)
}

/// Two workers in workerd on one Durable Object, twelve calls each, all at once.
///
/// # Errors
/// If a part does not answer.
pub async fn workers(agents: &Agents<'_>, workers: &WorkerTools, stack: &Scene) -> Result<Shared> {
    let source = workspace_dir().join("test-harness/workers/agent.mjs");
    let config = Config::of(agents.package, source)?.policy(ten(&stack.origin)).text("AGENT_KEY", BUYER.key).copy()?;
    let ports = config.ports.clone();
    let workerd = Workerd::start(workers, config).await?;
    let client = crate::http::client();
    let begun: Value = client.put(format!("http://127.0.0.1:{}", ports[0])).send().await?.json().await?;
    ensure!(begun["begun"] == true, "{begun}");
    let before = stack.chain.transfers_to(PAYEE.address).await?.len();
    let calls = (0..24).map(|call| {
        let port = ports[call % ports.len()];
        let url = stack.url(&format!("/plain/users/worker-{call}"));
        let request = client.post(format!("http://127.0.0.1:{port}")).body(url);
        tokio::spawn(async move { request.send().await?.json::<Value>().await })
    });
    let mut figures = Shared::default();
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await?.context("the worker did not answer")?;
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        if let Some(cause) = answer["error"]["cause"].as_str() {
            eprintln!("the worker's agent: {code}: {cause}");
        }
        *figures.answers.entry(format!("{} {code}", answer["status"].as_u64().unwrap_or(0))).or_default() += 1;
    }
    figures.transfers = stack.chain.transfers_to(PAYEE.address).await?.len() - before;
    if !figures.holds() {
        eprintln!("{}", workerd.log()?);
    }
    Ok(figures)
}
