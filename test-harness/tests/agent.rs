//! The npm package's agent, in short: `cargo xtask prove agent` is the long version.

use rig::agent::Agents;
use rig::package::{self, Package};
use rig::proofs::{agent, package as installs};
use rig::tools::WorkerTools;
use rig::{Tools, wasm};

fn made() -> (Tools, WorkerTools, Package) {
    let tools = Tools::ensure(&|step| eprintln!("· {step}")).unwrap();
    let workers = tools.workers(&|step| eprintln!("· {step}")).unwrap();
    let package = package::build(&tools, &workers).unwrap();
    (tools, workers, package)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_pays_our_gate_official_servers_and_with_every_wallet_and_survives_being_killed() {
    let (tools, _, package) = made();
    let agents = Agents::new(&tools, &package);
    let filter = wasm::build(&tools, "farebox-filter", &[]).unwrap();
    let (gate, stack) = agent::gate_in_envoy(&agents, &filter, &[]).await.unwrap();
    let officials = agent::officials(&agents, &stack, &["express", "hono", "express-v1", "express-upto"]);
    let paid = gate.and(officials.await.unwrap()).and(agent::wallets(&agents, &stack).await.unwrap());
    assert_eq!((paid.rows.len(), paid.complaints()), (14, vec![]), "{paid:#?}");

    let (answers, payments) = agent::one_of_fifty(&agents, &stack).await.unwrap();
    assert_eq!((answers.get("200 "), answers.get("0 over_budget"), payments), (Some(&1), Some(&49), 1), "{answers:?}");

    let shared = agent::processes(&agents, &stack).await.unwrap();
    assert!(shared.holds(), "{shared:?}");

    let crashes = agent::crashes(&agents, &stack, 6).await.unwrap();
    assert!(crashes.holds(), "{crashes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_pays_our_gate_in_workerd_and_in_workerd_it_shares_a_budget() {
    let (tools, workers, package) = made();
    let agents = Agents::new(&tools, &package);
    let (paid, stack) = agent::gate_in_workerd(&agents, &workers).await.unwrap();
    assert_eq!((paid.rows.len(), paid.complaints()), (2, vec![]), "{paid:#?}");
    let shared = agent::workers(&agents, &workers, &stack).await.unwrap();
    assert!(shared.holds(), "{shared:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_keeps_shows_and_delegates_tokens_asks_for_approval_and_takes_over_policies() {
    let (tools, _, package) = made();
    let agents = Agents::new(&tools, &package);
    let filter = wasm::build(&tools, "farebox-filter", &[]).unwrap();
    agent::methods(&agents, &filter).await.unwrap();
}

#[test]
fn callers_that_leave_and_stores_that_fail_cost_nothing_and_leave_nothing_behind() {
    let (_, workers, package) = made();
    eprintln!("{}", installs::on_node(&workers, &package, "node-agent.test.mjs").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_that_mean_ill_are_refused_for_the_right_reason_before_anything_is_signed() {
    let (tools, _, package) = made();
    let refused = agent::hostile(&Agents::new(&tools, &package)).await.unwrap();
    assert!(refused.holds(), "{:#?}\n{refused:#?}", refused.complaints());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_snippets_run_as_written_and_its_module_is_no_larger_than_it_should_be() {
    let (tools, workers, package) = made();
    let found = installs::agent_installed(&tools, &workers, &package).await.unwrap();
    assert!(found.holds(), "{found:#?}");
    let ((bytes, gzip), (most, most_gzip)) = (found.module, package::most("agent"));
    assert!(bytes <= most && gzip <= most_gzip, "{bytes} bytes, {gzip} as gzip");
    eprintln!("{found:?}, {:?}", agent::pace(&tools, &package).unwrap());
}
