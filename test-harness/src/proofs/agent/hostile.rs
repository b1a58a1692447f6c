//! Challenges that mean ill, and a stampede on a small budget.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::Stack;
use crate::agent::{Agents, Plan, Seller, policy};

/// What was refused.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// What was tried, the code it was refused with, and the one that it should be.
    pub rows: Vec<(&'static str, String, &'static str)>,
    /// Signatures that the wallet was asked for.
    pub signed: usize,
    /// Payments that left.
    pub sent: usize,
    /// Whether a payment that was redirected went on to the other origin.
    pub followed: bool,
}

impl Refusals {
    /// Whether each was refused for the right reason, before anything was signed.
    pub fn holds(&self) -> bool {
        self.complaints().is_empty()
            && (self.signed, self.sent, self.followed) == (0, 0, false)
            && self.rows.len() == 11
    }

    /// What was refused for another reason, or not.
    pub fn complaints(&self) -> Vec<String> {
        let wrong = self.rows.iter().filter(|(_, found, wanted)| found != wanted);
        wrong.map(|(what, found, wanted)| format!("{what}: {found:?}, not {wanted}")).collect()
    }
}

/// Lets the agent meet a seller that means ill.
///
/// # Errors
/// If a part does not start.
pub async fn hostile(agents: &Agents<'_>) -> Result<Refusals> {
    let seller = Seller::hostile(agents.tools).await?;
    let elsewhere = seller.origin.replace("127.0.0.1", "localhost");
    let mut rules = policy(&[&seller.origin, &elsewhere]);
    rules["payees"] = json!({ "on_change": "deny" });
    // Node itself refuses long headers, unless it is told to let them through.
    let plan = Plan::new(rules).wallet("viem").variable("NODE_OPTIONS", "--max-http-header-size=4000000");
    let agent = agents.start(&plan).await?;
    let mut figures = Refusals::default();
    let mut tried = Vec::new();
    for (what, path, wanted) in [
        ("valid for four years", "/validity", "validity_too_long"),
        ("a token that looks alike", "/lookalike", "asset_not_listed"),
        ("a redirect to another origin", "/redirect", "redirected"),
        ("a text full of instructions", "/text", "over_cap"),
        ("10 000 offers", "/many", "too_many_offers"),
        ("a header of a megabyte", "/header", "challenge_too_large"),
        ("no challenge", "/no-challenge", "challenge_unreadable"),
    ] {
        let fetched = agent.get(&seller.url(path)).await?;
        figures.rows.push((what, fetched.code().to_owned(), wanted));
        tried.push(fetched);
    }
    // What was quoted is what is paid.
    for (what, path, wanted) in [
        ("a payee that is swapped after the quote", "/swap", "quote_changed"),
        ("a price above the quote", "/raise", "price_above_quote"),
    ] {
        let quote = agent.call("quote", json!([seller.url(path)])).await?;
        ensure!(quote["outcome"] == "choose", "{quote}");
        let fetched = agent.pay(json!({ "url": seller.url(path), "quote": quote["price"] })).await?;
        figures.rows.push((what, fetched.code().to_owned(), wanted));
        tried.push(fetched);
    }
    let fetched = agent.pay(json!({ "url": seller.url("/endless"), "timeout": 3000 })).await?;
    let ended = fetched.0["error"]["name"].as_str().unwrap_or_default().to_owned();
    figures.rows.push(("a body that never ends", ended, "TimeoutError"));
    tried.push(fetched);
    figures.sent = tried.iter().map(|fetched| fetched.payments().len()).sum();
    let events = agent.events().await?;
    figures.signed = events.iter().filter(|event| event["type"] == "signing").count();

    // A payment that did leave stays where it was sent.
    let fetched = agent.get(&seller.url("/bounce")).await?;
    figures.rows.push(("a redirect of the payment", fetched.status().to_string(), "307"));
    let seen: Value = crate::http::client().get(seller.url("/seen")).send().await?.json().await?;
    figures.followed = seen.as_array().is_none_or(|seen| seen.iter().any(|seen| seen["path"] != "/bounce"));
    Ok(figures)
}

/// Fifty calls at once on a budget for one: how many the gate served, and payments that left.
///
/// # Errors
/// If a part does not answer.
pub async fn one_of_fifty(agents: &Agents<'_>, stack: &Stack) -> Result<(BTreeMap<String, usize>, usize)> {
    let mut rules = policy(&[&stack.origin]);
    rules["budgets"][0]["max"] = json!("0.01 usd");
    let agent = agents.start(&Plan::new(rules)).await?;
    let before = stack.chain.transfers_to(crate::accounts::PAYEE.address).await?.len();
    let urls = (0..50).map(|call| json!({ "url": stack.url(&format!("/plain/users/{call}")) }));
    let mut answers = BTreeMap::new();
    for fetched in agent.pay_all(&urls.collect::<Vec<_>>()).await? {
        *answers.entry(format!("{} {}", fetched.status(), fetched.code())).or_default() += 1;
    }
    let after = stack.chain.transfers_to(crate::accounts::PAYEE.address).await?.len();
    Ok((answers, after - before))
}
