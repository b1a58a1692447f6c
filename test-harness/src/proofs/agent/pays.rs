//! The agent pays, unmodified, whoever sells by x402.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::{add_routes, plan};
use crate::accounts::{BUYER, OTHER_BUYER, PAYEE};
use crate::agent::{Agent, Agents, Plan, Seller, policy};
use crate::chain::{Chain, NETWORK};
use crate::stack::{fault_policy, priced, test_policy};
use crate::tools::WorkerTools;
use crate::workerd::WorkerStack;
use crate::{Stack, scenario};

/// Atomic units of $0.01.
const CENT: u128 = 10_000;

/// What the agent paid.
#[derive(Debug, Default)]
pub struct Payments {
    /// Each purchase: what it was, and what was paid, or what went wrong.
    pub rows: Vec<(String, Result<Paid>)>,
}

/// A purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Atomic units that went from the payer to the payee.
    pub amount: u128,
    /// The transaction.
    pub transaction: String,
}

impl Payments {
    /// What went wrong.
    pub fn complaints(&self) -> Vec<String> {
        let failed = self.rows.iter().filter_map(|(what, paid)| Some((what, paid.as_ref().err()?)));
        failed.map(|(what, error)| format!("{what}: {error:#}")).collect()
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self
    }
}

/// Our gate in Envoy: every way to pay.
///
/// # Errors
/// If a part of the stack does not start.
pub async fn gate_in_envoy(agents: &Agents<'_>, filter: &Path, env: &[(String, String)]) -> Result<(Payments, Stack)> {
    let stack = Stack::start(agents.tools, plan(filter, ways, env)).await?;
    stack.chain.approve_permit2(BUYER.address, u128::MAX).await?;
    scenario::offered(&stack.url("/metered")).await?;
    let agent = start(agents, &stack.origin).await?;
    let mut figures = Payments::default();
    for (what, path, costs) in [
        ("settle after", "/plain/after", CENT),
        ("settle before", "/plain/before", CENT),
        ("Permit2", "/plain/permit2", CENT),
        ("upto $0.02, metered 7000", "/metered?charge=7000", 7000),
        ("version 1", "/plain/v1", CENT),
    ] {
        let paid = pay(&agent, &stack.chain, &stack.url(path), costs).await;
        figures.rows.push((format!("our gate in Envoy, {what}"), paid));
    }
    Ok((figures, stack))
}

fn ways(origin: &str) -> Value {
    let mut policy = fault_policy(origin);
    policy["facilitators"][0]["verify_timeout_seconds"] = json!(10);
    policy["facilitators"][0]["settle_timeout_seconds"] = json!(20);
    let offers = |price: &str, more: Value| {
        let mut offer = json!({ "price": price, "network": NETWORK, "max_timeout_seconds": 300 });
        if let (Some(offer), Value::Object(more)) = (offer.as_object_mut(), more) {
            offer.extend(more);
        }
        json!({ "offers": [offer] })
    };
    let mut v1 = offers("$0.01", json!({}));
    v1["v1"] = json!(true);
    let routes = [
        priced("permit2", "/plain/permit2", offers("$0.01", json!({ "transfer_method": "permit2" }))),
        priced("v1", "/plain/v1", v1),
        priced("named", "/plain/named/{id}", json!({ "payment_identifier": "optional", "redelivery_seconds": 600 })),
    ];
    add_routes(&mut policy, routes);
    policy
}

/// Our gate in workerd.
///
/// # Errors
/// If a part of the stack does not start.
pub async fn gate_in_workerd(agents: &Agents<'_>, workers: &WorkerTools) -> Result<(Payments, WorkerStack)> {
    let stack = WorkerStack::start(agents.tools, workers, agents.package, test_policy, Ok).await?;
    let agent = start(agents, &stack.origin).await?;
    let mut figures = Payments::default();
    for (what, path) in [("settle after", "/plain/after"), ("settle before", "/plain/before")] {
        let paid = pay(&agent, &stack.chain, &stack.url(path), CENT).await;
        figures.rows.push((format!("our gate in workerd, {what}"), paid));
    }
    Ok((figures, stack))
}

/// Official servers, with the facilitator and the chain of a stack.
///
/// # Errors
/// If one does not start.
pub async fn officials(agents: &Agents<'_>, stack: &Stack, kinds: &[&str]) -> Result<Payments> {
    stack.chain.approve_permit2(BUYER.address, u128::MAX).await?;
    let mut figures = Payments::default();
    for kind in kinds {
        let (name, path, costs) = match *kind {
            "express" => ("@x402/express 2.27.0", "/paid", CENT),
            "express-upto" => ("@x402/express 2.27.0, upto $0.02, metered 7000", "/metered", 7000),
            "hono" => ("@x402/hono 2.27.0", "/paid", CENT),
            _ => ("x402-express 1.2.0, version 1", "/paid", CENT),
        };
        let seller = Seller::start(agents.tools, kind, &stack.facilitator).await?;
        let agent = start(agents, &seller.origin).await?;
        let paid = pay(&agent, &stack.chain, &seller.url(path), costs).await;
        figures.rows.push((name.to_owned(), paid));
    }
    Ok(figures)
}

/// Every kind of wallet, at our gate in Envoy.
///
/// # Errors
/// If an agent does not start.
pub async fn wallets(agents: &Agents<'_>, stack: &Stack) -> Result<Payments> {
    const WALLET: &str = "0x1271000000000000000000000000000000006666";
    stack.chain.mint(OTHER_BUYER.address, 10 * CENT).await?;
    stack.chain.place_wallet(WALLET, OTHER_BUYER.address, agents.tools).await?;
    stack.chain.mint(WALLET, 10 * CENT).await?;
    let mut figures = Payments::default();
    for kind in ["session", "viem", "ethers", "provider", "contract"] {
        let plan = Plan::new(policy(&[&stack.origin])).key(OTHER_BUYER);
        let plan = if kind == "contract" { plan.contract(WALLET) } else { plan.wallet(kind) };
        let agent = agents.start(&plan).await?;
        let paid = pay(&agent, &stack.chain, &stack.url(&format!("/plain/users/{kind}")), CENT).await;
        figures.rows.push((format!("a {kind} wallet"), paid));
    }
    Ok(figures)
}

async fn start(agents: &Agents<'_>, origin: &str) -> Result<Agent> {
    agents.start(&Plan::new(policy(&[origin])).transfers("eip3009,permit2")).await
}

async fn pay(agent: &Agent, chain: &Chain, url: &str, costs: u128) -> Result<Paid> {
    let payer = agent.address().to_lowercase();
    let before = chain.balance(PAYEE.address).await?;
    let fetched = agent.get(url).await?;
    ensure!(fetched.status() == 200, "{}", fetched.0);
    let payment = fetched.payment();
    ensure!(payment["outcome"] == "charged" && payment["faults"] == json!([]), "{payment}");
    ensure!(fetched.payments().len() == 1, "payments were sent: {:?}", fetched.payments().len());
    let transaction = payment["transaction"].as_str().context("no transaction")?.to_owned();
    let transfers = chain.transfers_to(PAYEE.address).await?;
    let transfer = transfers.iter().find(|transfer| transfer.transaction == transaction && transfer.from == payer);
    let amount = transfer.context("no transfer under the transaction that the seller names")?.amount;
    let more = chain.balance(PAYEE.address).await?.saturating_sub(before);
    ensure!((amount, more) == (costs, costs), "transferred {amount}, the payee has {more} more");
    Ok(Paid { amount, transaction })
}
