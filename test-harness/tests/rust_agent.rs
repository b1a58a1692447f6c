//! The example for Rust, as the README has it, buys from the real gate.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use rig::accounts::{BUYER, PAYEE};
use rig::proofs::tokens;
use rig::tools::workspace_dir;
use rig::{Plan, Stack, Tools};
use serde_json::Value;

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::ensure(&|step| eprintln!("· {step}")).unwrap())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_dir().join(path)).unwrap()
}

/// Builds the example by its path dependency, as whoever copies it would.
fn example() -> PathBuf {
    let built = Command::new(env!("CARGO")).args(["build", "--locked", "-p", "rust-agent"]).status();
    assert!(built.unwrap().success());
    // Beside the tests' own: `target/debug/deps/rust_agent-…`.
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join(format!("rust-agent{}", std::env::consts::EXE_SUFFIX))
}

#[test]
fn the_readme_shows_the_example() {
    let readme = read("README.md");
    let blocks: Vec<&str> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks, [read("examples/rust-agent/src/main.rs")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_pays_within_its_budget_keeps_its_pass_and_stops() {
    let binary = example();
    let plan = Plan::new(rig::wasm::build(tools(), "farebox-filter", &[]).unwrap(), tokens::policy);
    let plan = tokens::with_key(&[]).iter().fold(plan, |plan, (name, value)| plan.env(name, value));
    let stack = Stack::start(tools(), plan).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut policy: Value = serde_json::from_str(&read("examples/rust-agent/policy.json")).unwrap();
    policy["allow"][0]["match"]["hosts"] = serde_json::json!([stack.origin]);
    policy["budgets"][0]["max"] = "0.025 usd".into();
    let written = dir.path().join("policy.json");
    std::fs::write(&written, policy.to_string()).unwrap();
    let run_in = |folder: &str, what: &str| -> Output {
        Command::new(&binary)
            .arg(&written)
            .arg(dir.path().join(folder))
            .arg(what)
            .env("PRIVATE_KEY", BUYER.key)
            .env("HOLDER_KEY", "11".repeat(32))
            .output()
            .unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    let run = |what: &str| run_in("kept", what);

    // Nobody has said that its budgets are full, so it pays nothing; it is not too late to say so.
    let early = run_in("early", &stack.url("/plain/after"));
    assert!(!early.status.success() && text(&early.stderr).contains("counters_lost"), "{}", text(&early.stderr));
    assert_eq!(text(&run_in("early", "begin").stdout), "begun\n");
    assert_eq!(text(&run("begin").stdout), "begun\n");
    assert_eq!(text(&run("begin").stdout), "had begun\n");

    let before = stack.chain.balance(PAYEE.address).await.unwrap();
    let paid = run(&stack.url("/plain/after"));
    assert!(paid.status.success(), "{}", text(&paid.stderr));
    assert!(!paid.stdout.is_empty());
    let events = text(&paid.stderr);
    for event in ["decided", "reserved", "signed", "sent", "receipt_checked", "paid"] {
        assert!(events.contains(&format!("\"event\":\"{event}\"")), "{event}: {events}");
    }
    assert!(!events.contains("\"good\":false"), "{events}");
    // A pass for calls of a whole route, by a key that the paying request introduces; then it is used, in another process.
    let bought = run(&stack.url("/plain/shared/a"));
    assert!(text(&bought.stderr).contains("\"event\":\"token_kept\""), "{}", text(&bought.stderr));
    let called = run(&stack.url("/plain/shared/b?x=1"));
    assert!(
        called.status.success() && text(&called.stderr).contains("\"event\":\"token_used\""),
        "{}",
        text(&called.stderr)
    );
    assert_eq!(stack.chain.balance(PAYEE.address).await.unwrap() - before, 20_000);
    // Half a cent is left.
    let denied = run(&stack.url("/plain/after"));
    assert!(!denied.status.success() && text(&denied.stderr).contains("over_budget"), "{}", text(&denied.stderr));
    assert_eq!(stack.chain.balance(PAYEE.address).await.unwrap() - before, 20_000);
}
