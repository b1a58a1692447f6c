//! An agent that is killed at any moment.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::Stack;
use crate::accounts::{BUYER, PAYEE};
use crate::agent::{Agents, Plan, policy};

/// What became of purchases whose agents were killed.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    /// Purchases during which the agent was killed.
    pub points: usize,
    /// Kills that came after the answer was on record.
    pub late: usize,
    /// How far they had come: what the next agent found in the store.
    pub found: BTreeMap<String, usize>,
    /// What the next agent got for the same request.
    pub answers: BTreeMap<String, usize>,
    /// Payments that were found in doubt, and sent again unchanged.
    pub same_payment: usize,
    /// Requests that the chain was paid for more than once.
    pub paid_twice: usize,
    /// Requests that were made, with those that no kill came in time for; each is to be paid for once.
    pub requests: usize,
    /// Transfers on the chain.
    pub transfers: usize,
    /// What the counters have, as the policy counts.
    pub used: String,
    /// Reservations that were still open at the end.
    pub open: usize,
}

impl Crashes {
    /// Whether nothing was paid twice, and everything is accounted for.
    pub fn holds(&self) -> bool {
        let served = self.answers.get("200").copied().unwrap_or(0);
        let doubtful = self.found.get("doubtful").copied().unwrap_or(0);
        self.paid_twice == 0
            && self.transfers == self.requests
            && self.open == 0
            && self.same_payment == doubtful
            && served == self.points
            && self.used == format!("{}", 0.01 * self.transfers as f64).chars().take(4).collect::<String>()
    }
}

/// Kills agents that share a store, each at another moment of a purchase, and lets the next one make the same request.
///
/// # Errors
/// If a part does not answer.
pub async fn crashes(agents: &Agents<'_>, stack: &Stack, points: usize) -> Result<Crashes> {
    let store = tempfile::Builder::new().prefix("farebox-counters-").tempdir()?;
    let mut rules = policy(&[&stack.origin]);
    rules["budgets"][0]["max"] = json!("50 usd");
    let plan = Plan::new(rules).store(store.path());
    let mut figures = Crashes::default();
    let before = stack.chain.transfers_to(PAYEE.address).await?.len();
    let mut agent = agents.start(&plan).await?;
    // How long a purchase takes here; the kills are spread over a little more.
    let began = std::time::Instant::now();
    for warm_up in 0..2 {
        ensure!(agent.get(&stack.url(&format!("/plain/named/warm-{warm_up}"))).await?.status() == 200, "no purchase");
    }
    let whole = began.elapsed() / 2;
    figures.requests = 2;
    let mut attempt = 0;
    while figures.points < points {
        attempt += 1;
        figures.requests += 1;
        ensure!(attempt < 4 * points + 8, "the agents are too fast to be killed: {figures:?}");
        let url = stack.url(&format!("/plain/named/crash-{attempt}"));
        let spent = agent.used().await?;
        // Evenly over the time, in an order that is not theirs.
        let share = (attempt * 37 % 100) as f64 / 100.0;
        let answer = tokio::time::timeout(whole.mul_f64(share), agent.get(&url)).await;
        if answer.is_ok() {
            continue; // it was faster
        }
        agent.kill()?;
        drop(agent);
        agent = agents.start(&plan).await?;
        let open = agent.call("open", json!([])).await?;
        let open = open.as_array().context("no reservations")?;
        // Others are left over from before, which the end counts.
        let open: Vec<_> = open.iter().filter(|open| open["url"] == *url).cloned().collect();
        let stage = open.first().and_then(|open| open["stage"].as_str()).unwrap_or("nothing").to_owned();
        if open.is_empty() && agent.used().await? != spent {
            // The answer had come and was on record: the purchase was over, and to ask again would be another one.
            figures.late += 1;
            continue;
        }
        let nonce = open.first().map(|open| open["nonce"].clone());
        let hits = stack.chain.authorizations_used_by(BUYER.address).await?;
        let again = agent.get(&url).await?;
        let used = stack.chain.authorizations_used_by(BUYER.address).await? - hits;
        figures.points += 1;
        *figures.found.entry(stage.clone()).or_default() += 1;
        *figures.answers.entry(format!("{}{}", again.status(), again.code())).or_default() += 1;
        if stage == "doubtful" {
            let same =
                again.payment()["resumed"] == true && Some(&again.payment()["reservation"]["nonce"]) == nonce.as_ref();
            figures.same_payment += usize::from(same);
        }
        figures.paid_twice += usize::from(used > 1);
    }
    // The chain may be behind its facilitator by a block.
    tokio::time::sleep(Duration::from_millis(500)).await;
    figures.transfers = stack.chain.transfers_to(PAYEE.address).await?.len() - before;
    figures.used = agent.used().await?;
    figures.open = agent.call("open", json!([])).await?.as_array().map_or(usize::MAX, Vec::len);
    Ok(figures)
}
