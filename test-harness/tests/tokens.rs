//! Capability tokens through the real Envoy, chain, facilitator and client: see [`rig::proofs::tokens`].

use std::path::PathBuf;
use std::sync::OnceLock;

use rig::proofs::tokens;
use rig::{Plan, Stack, Tools};

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::ensure(&|step| eprintln!("· {step}")).unwrap())
}

fn filter() -> PathBuf {
    rig::wasm::build(tools(), "farebox-filter", &[]).unwrap()
}

async fn stack() -> Stack {
    let plan = tokens::with_key(&[])
        .iter()
        .fold(Plan::new(filter(), tokens::policy), |plan, (name, value)| plan.env(name, value));
    Stack::start(tools(), plan).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_is_bought_by_the_official_client_and_admits_without_a_callout_to_the_last_call() {
    let figures = tokens::bulk(&stack().await).await.unwrap();
    eprintln!("{figures:#?}");
    assert!(figures.holds(tokens::CALLS), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_exact_under_parallel_calls_also_when_delegated_tokens_share_it() {
    let stack = stack().await;
    let alone = tokens::capped(&stack, 2000, 48).await.unwrap();
    assert!(alone.holds(), "{alone:#?}");
    let shared = tokens::shared(&stack, 1200, 32).await.unwrap();
    assert!(shared.holds(), "{shared:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_token_is_held_to_its_grant_and_falls_with_its_root() {
    let stack = stack().await;
    let figures = tokens::delegated(&stack, tokens::delegated_here).await.unwrap();
    assert!(figures.holds(), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_spent_or_revoked_comes_back_to_life_with_a_new_ledger() {
    let figures = tokens::lost(tools(), &filter(), &[]).await.unwrap();
    assert!(figures.holds(), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_verify_what_we_sign_and_thieves_get_nothing() {
    let stack = stack().await;
    let figures = tokens::foreign(tools(), &stack).await.unwrap();
    assert!(figures.holds(), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_the_one_that_was_signed() {
    fn policy(origin: &str) -> serde_json::Value {
        let mut policy = tokens::policy(origin);
        policy["tokens"]["max_body_bytes"] = 65_536.into();
        policy
    }
    let mut plan = Plan::new(filter(), policy);
    plan.stop_iteration = true;
    for (name, value) in tokens::with_key(&[]) {
        plan = plan.env(&name, &value);
    }
    let stack = Stack::start(tools(), plan).await.unwrap();
    let answers = tokens::bodies(&stack).await.unwrap();
    assert_eq!(answers, ["200 ", "401 proof_invalid"]);
    let seen = stack.upstream.hits_of("/plain/shared/upload");
    assert_eq!(seen.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ledger_forgets_nothing_live_and_its_memory_is_used_again() {
    let probe = rig::wasm::build(tools(), "farebox-filter", &["probe"]).unwrap();
    let figures = tokens::million(tools(), &probe, &[], 10_000).await.unwrap();
    eprintln!("{figures:?}");
    assert!(figures.holds(), "{figures:?}");
}
