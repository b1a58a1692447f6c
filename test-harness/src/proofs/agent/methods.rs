//! What else an agent does than pay: tokens that it keeps, shows and hands on, questions that it asks, policies that it
//! takes over. Each function ends at the first thing that is not as it should be, and says it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::{plan, tokens as gate};
use crate::accounts::{BUYER, OTHER_BUYER, PAYEE};
use crate::agent::{Agents, Fetched, Plan, asset, policy};
use crate::stack::Stack;

/// The key of tokens of the agent that buys them.
const HOLDER: &str = "4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c";

/// All of it, with our gate in Envoy.
///
/// # Errors
/// If something is not as it should be.
pub async fn methods(agents: &Agents<'_>, filter: &Path) -> Result<()> {
    let stack = Stack::start(agents.tools, plan(filter, gate::policy, &gate::with_key(&[]))).await?;
    tokens(agents, &stack).await.context("tokens")?;
    approvals(agents, &stack).await.context("approvals")?;
    policies(agents, &stack).await.context("policies")?;
    // Some browsers do not say whether a request has a body.
    let agent = agents.start(&Plan::new(policy(&[&stack.origin])).variable("NO_BODY", "1")).await?;
    let paid = agent.get(&stack.url("/plain/users/no-body")).await?;
    ensure!(paid.status() == 200 && paid.payment()["outcome"] == "charged", "without `Request.body`: {}", paid.0);
    Ok(())
}

/// A bought pass opens calls, a narrower one is handed to an agent that has no money, and a key that WebCrypto keeps
/// proves that it is its own.
async fn tokens(agents: &Agents<'_>, stack: &Stack) -> Result<()> {
    let mut rules = policy(&[&stack.origin]);
    rules["caps"][0]["max"] = json!("10 usd");
    rules["budgets"][0]["max"] = json!("100 usd");
    rules["delegate"] = json!({ "max_depth": 1, "max_share_bps": 5000, "max_seconds": 3600 });
    let root = agents.start(&Plan::new(rules).holder(HOLDER)).await?;
    let url = |path: &str| stack.url(path);

    let bought = root.get(&url("/plain/shared/a")).await?;
    ensure!(bought.status() == 200 && bought.payment()["outcome"] == "charged", "the pass: {}", bought.0);
    let kept = &bought.0["details"]["kept"];
    let id = kept["id"].as_str().with_context(|| format!("no token was kept: {}", bought.0))?.to_owned();
    ensure!(kept["holder"].is_string() && kept["delegations"] == 2, "it is bound, and may be delegated: {kept}");

    let again = root.get(&url("/plain/shared/b")).await?;
    ensure!(again.status() == 200 && again.0["payment"].is_null(), "a call with it: {}", again.0);
    ensure!(again.0["details"]["token"]["id"] == *id, "{}", again.0);
    let quote = root.call("quote", json!([url("/plain/shared/b")])).await?;
    ensure!(quote["outcome"] == "token" && quote["token"]["id"] == *id, "{quote}");
    let listed = root.call("tokens", json!([])).await?;
    ensure!(listed.as_array().is_some_and(|all| all.len() == 1) && listed[0]["id"] == *id, "{listed}");

    // The sub-agent may not pay what anything here costs.
    let mut poor = policy(&[&stack.origin]);
    poor["caps"][0]["max"] = json!("0.001 usd");
    let child = agents.start(&Plan::new(poor).key(OTHER_BUYER).holder("webcrypto")).await?;
    let holder = child.call("holder", json!([])).await?;
    ensure!(holder["crv"] == "Ed25519" && holder["d"].is_null(), "{holder}");
    let narrow = json!({ "holder": holder, "url": url("/plain/shared/quotes/btc"), "methods": ["GET"],
                         "paths": ["/plain/shared/quotes/"], "calls": 2, "seconds": 600 });
    let delegated = root.call("delegate", json!([narrow])).await?;
    let text = delegated["text"].as_str().with_context(|| format!("nothing was delegated: {delegated}"))?;
    let stranger = root.call("keep", json!([text])).await?;
    ensure!(stranger["error"]["code"].is_string(), "a token for another's key is not kept: {stranger}");
    let taken = child.call("keep", json!([text])).await?;
    ensure!(taken["id"].as_str().is_some_and(|own| own.starts_with(&format!("{id}~"))), "{taken}");
    for call in ["btc", "eth"] {
        let got = child.get(&url(&format!("/plain/shared/quotes/{call}"))).await?;
        ensure!(got.status() == 200 && got.0["payment"].is_null(), "the sub-agent's call: {}", got.0);
        ensure!(got.payments().is_empty(), "{}", got.0);
    }
    for (what, path) in [("a third call", "/plain/shared/quotes/btc"), ("another path", "/plain/shared/other")] {
        denied(what, &child.get(&url(path)).await?, "over_cap")?;
    }
    let much = json!({ "holder": holder, "url": url("/plain/shared/quotes/btc"), "calls": 100_000 });
    let refused = root.call("delegate", json!([much])).await?;
    ensure!(refused["error"]["code"] == "too_much", "more than the policy hands on: {refused}");

    let dropped = (root.call("drop", json!([id])).await?, root.call("drop", json!([id])).await?);
    ensure!(dropped == (json!(true), json!(false)), "{dropped:?}");
    ensure!(root.call("tokens", json!([])).await? == json!([]), "it was dropped");
    root.call("close", json!([])).await?;
    denied("after close", &root.get(&url("/plain/shared/a")).await?, "closed")?;
    Ok(())
}

/// Somebody is asked above an amount: who says yes is charged once, who says no pays nothing, and who is not there is
/// waited for.
async fn approvals(agents: &Agents<'_>, stack: &Stack) -> Result<()> {
    let mut rules = policy(&[&stack.origin]);
    rules["approvals"] = json!([{ "above": "0.005 usd" }]);
    let plan = Plan::new(rules);
    let transfers = async || Ok::<_, anyhow::Error>(stack.chain.transfers_to(PAYEE.address).await?.len());
    let before = transfers().await?;

    let no = agents.start(&plan.clone().variable("ASK", "no")).await?;
    denied("who says no", &no.get(&stack.url("/plain/users/no")).await?, "approval_needed")?;
    ensure!(no.used().await? == "0", "{}", no.used().await?);
    ensure!(transfers().await? == before, "something was paid that somebody refused");

    let yes = agents.start(&plan.clone().variable("ASK", "yes")).await?;
    let paid = yes.get(&stack.url("/plain/users/yes")).await?;
    ensure!(paid.status() == 200 && paid.payment()["outcome"] == "charged", "who says yes: {}", paid.0);

    let later = agents.start(&plan).await?;
    let url = stack.url("/plain/users/later");
    let asked = later.get(&url).await?;
    denied("who is not there", &asked, "approval_needed")?;
    let digest = asked.0["error"]["question"]["digest"].clone();
    let questions = later.call("questions", json!([])).await?;
    ensure!(questions[0]["digest"] == digest, "{questions}");
    ensure!(later.call("approve", json!([digest])).await? == "enough", "the digest approves it");
    let paid = later.get(&url).await?;
    ensure!(paid.status() == 200 && paid.payment()["outcome"] == "charged", "after the yes: {}", paid.0);
    denied("one yes is one payment", &later.get(&stack.url("/plain/users/again")).await?, "approval_needed")?;
    let bad = later.call("approve", json!(["bm90aGluZw"])).await?;
    ensure!(bad["error"]["code"] == "bad_approval", "{bad}");
    ensure!(transfers().await? == before + 2, "{} payments", transfers().await? - before);
    Ok(())
}

/// A policy gives way to a tighter one, and to a looser one only if somebody says so; one that was granted elsewhere pays
/// within that grant.
async fn policies(agents: &Agents<'_>, stack: &Stack) -> Result<()> {
    let edition = |serial: u64, cap: &str| {
        let mut rules = policy(&[&stack.origin]);
        (rules["serial"], rules["caps"][0]["max"]) = (json!(serial), json!(cap));
        rules
    };
    let store = tempfile::Builder::new().prefix("farebox-counters-").tempdir()?;
    let agent = agents.start(&Plan::new(edition(1, "0.05 usd")).store(store.path())).await?;
    let url = stack.url("/plain/users/edition");
    agent.call("adopt", json!([edition(2, "0.001 usd")])).await?;
    denied("after it was tightened", &agent.get(&url).await?, "over_cap")?;
    let loosened = agent.call("adopt", json!([edition(3, "0.05 usd")])).await?;
    ensure!(loosened["error"]["code"] == "approval_needed", "loosened by nobody: {loosened}");
    denied("still", &agent.get(&url).await?, "over_cap")?;
    agent.call("adopt", json!([edition(3, "0.05 usd"), { "loosen": true }])).await?;
    let paid = agent.get(&url).await?;
    ensure!(paid.status() == 200 && paid.payment()["outcome"] == "charged", "after it was loosened: {}", paid.0);
    let back = agent.call("adopt", json!([edition(2, "0.001 usd")])).await?;
    ensure!(back["error"]["code"] == "rollback", "an earlier edition: {back}");

    let chain = asset();
    let (network, token) = chain.split_once("/erc20:").context("the rig's asset is an ERC-20 token")?;
    let grant = json!({
        "chainId": network.trim_start_matches("eip155:").parse::<u64>()?,
        "permission": { "account": BUYER.address, "spender": OTHER_BUYER.address, "token": token, "allowance": "15000",
                        "period": 86_400, "start": 1_700_000_000, "end": 4_000_000_000_u64, "salt": "0", "extraData": "0x" },
    });
    let host = stack.origin.trim_start_matches("http://");
    let frame = json!({ "hosts": [stack.origin, host], "unit": "usd", "assets": [{ "asset": chain, "unit": "usd" }] });
    let imported = agent.call("import", json!(["spend_permission", grant, frame])).await?;
    ensure!(imported["policy"].is_object(), "{imported}");
    let granted = agents.start(&Plan::new(imported["policy"].clone())).await?;
    let first = granted.get(&stack.url("/plain/users/granted-1")).await?;
    ensure!(first.status() == 200 && first.payment()["outcome"] == "charged", "within the grant: {}", first.0);
    denied("beyond the grant", &granted.get(&stack.url("/plain/users/granted-2")).await?, "over_budget")?;
    let odd = agent.call("import", json!(["spend_permission", { "chainId": 1 }, frame])).await?;
    ensure!(odd["error"]["code"] == "not_imported", "{odd}");
    Ok(())
}

fn denied(what: &str, fetched: &Fetched, code: &str) -> Result<()> {
    ensure!((fetched.status(), fetched.code()) == (0, code), "{what}: {}", fetched.0);
    ensure!(fetched.payments().is_empty(), "{what}: a payment was sent: {}", fetched.0);
    Ok(())
}
