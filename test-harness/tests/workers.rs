//! The npm package's gate in real workerd. `FAREBOX_CASES=word` plays the cases of the decision corpus whose name or
//! policy has the word.

use rig::package::{self, Package};
use rig::proofs::{edge, package as installs};
use rig::stack::{fault_policy, test_policy};
use rig::tools::{WorkerTools, workspace_dir};
use rig::workerd::{Config, WorkerStack};
use rig::{Tools, Workerd, corpus, money, scenario};
use std::time::Duration;

fn made() -> (Tools, WorkerTools, Package) {
    let tools = Tools::ensure(&|step| eprintln!("· {step}")).unwrap();
    let workers = tools.workers(&|step| eprintln!("· {step}")).unwrap();
    let package = package::build(&tools, &workers).unwrap();
    (tools, workers, package)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_official_client_pays_through_a_worker_after_and_before() {
    let (tools, workers, package) = made();
    let stack = WorkerStack::start(&tools, &workers, &package, test_policy, Ok).await.unwrap();
    for path in ["/plain/after", "/plain/before"] {
        let paid = scenario::buy(&stack, path).await.unwrap();
        assert_eq!((paid.bought.status, paid.payee_delta, paid.hits), (200, 10_000, 1), "{path}: {paid:?}");
        assert_eq!(paid.transferred, Some(10_000), "{path}: {paid:?}");
        assert!(!paid.payment_leaked);
    }
    let failed = scenario::buy(&stack, "/fail").await.unwrap();
    assert_eq!((failed.bought.status, failed.payee_delta), (500, 0), "{failed:?}");
    let log = stack.workerd.log().unwrap();
    assert!(log.lines().any(|line| line.contains(r#""decision":"paid""#) && line.contains("0x")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_the_fault_matrix_come_out_in_a_worker_as_in_envoy() {
    const ROWS: [&str; 9] = [
        "settle: nothing wrong",
        "verify: reset",
        "verify: refused",
        "settle: reset, done",
        "settle: refused",
        "settle: pending once",
        "client gone: verify",
        "client gone: upstream",
        "client gone: settle",
    ];
    let (tools, workers, package) = made();
    let stack = WorkerStack::start(&tools, &workers, &package, fault_policy, Ok).await.unwrap();
    let mut complaints = Vec::new();
    let rows = money::rows().unwrap().into_iter().filter(|row| ROWS.contains(&row.fault.as_str()));
    for (number, row) in rows.enumerate() {
        match money::try_row(&stack, &row, number).await {
            Ok(tried) => complaints.extend(tried.complaints()),
            Err(error) => complaints.push(format!("{}: {error:#}", row.name())),
        }
    }
    assert!(complaints.is_empty(), "{}\n{}", complaints.join("\n"), stack.workerd.log().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn workerd_decides_every_case_as_written() {
    let (_, workers, package) = made();
    let word = std::env::var("FAREBOX_CASES").unwrap_or_default();
    let wanted = |case: &corpus::Case| case.name.contains(&word) || case.policy.contains(&word);
    let decided = corpus::decisions_in_workerd(&workers, &package, wanted).await.unwrap();
    eprintln!("{} cases over {} rules, {} left out", decided.cases, decided.rules, decided.left_out);
    decided.pending.iter().for_each(|pending| eprintln!("pending: {pending}"));
    decided.differs.iter().for_each(|differs| eprintln!("differs: {differs}"));
    assert!(decided.wrong.is_empty(), "{}", decided.wrong.join("\n"));
    assert!(decided.cases >= 120 || !word.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_bought_drawn_delegated_and_revoked_in_workers_and_a_cap_holds_over_three_of_them() {
    let (tools, workers, package) = made();
    let stack = edge::stack(&tools, &workers, &package, &[]).await.unwrap();
    let found = edge::tokens(&stack).await.unwrap();
    assert!(found.holds(), "{found:#?}");
    let (answers, hits) = edge::stampede(&stack, "/plain/after", 60).await.unwrap();
    assert_eq!((answers.get("200 "), hits), (Some(&1), 1), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_installs_into_other_projects_and_its_readme_runs_as_written() {
    let (_, workers, package) = made();
    let found = installs::installed(&workers, &package).await.unwrap();
    assert!(found.holds(), "{found:#?}");
    eprintln!("{found:?}");
    let (bytes, gzip) = found.module;
    assert!(bytes <= package::most("gate").0 && gzip <= package::most("gate").1, "{bytes} bytes, {gzip} as gzip");
    eprintln!("{}", installs::example(&workers, &package).unwrap());
}

#[test]
fn the_gate_keeps_its_rules_on_node() {
    let (_, workers, package) = made();
    eprintln!("{}", installs::on_node(&workers, &package, "node.test.mjs").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_a_worker_ends_what_is_under_way_with_a_503() {
    let (_, workers, package) = made();
    let config = Config::of(&package, workspace_dir().join("test-harness/workers/trapping.mjs")).unwrap();
    let origin = config.url();
    let workerd = Workerd::start(&workers, config.policy(test_policy(&origin))).await.unwrap();
    let url = |path: &str| format!("{origin}{path}");
    let unpaid = async || scenario::request("GET", &url("/plain/after"), &[]).await.unwrap();
    assert_eq!(unpaid().await.status, 402);
    let free = url("/plain/free");
    let waits = tokio::spawn(async move { scenario::request("GET", &free, &[]).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let trapped = scenario::request("GET", &url("/plain/after"), &[("x-trap", "yes")]).await.unwrap();
    for got in [trapped, waits.await.unwrap()] {
        assert_eq!((got.status, got.headers["content-type"].as_str()), (503, "application/problem+json"), "{got:?}");
    }
    assert_eq!(unpaid().await.status, 402, "{}", workerd.log().unwrap());
}

#[test]
fn the_types_of_the_gate_are_good_on_node() {
    let (_, workers, package) = made();
    installs::types_on_node(&workers, &package).unwrap();
}
