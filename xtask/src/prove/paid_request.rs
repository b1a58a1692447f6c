//! Topic `paid-request`: a paid request through a real Envoy.

use super::{Finding, MUTANT, Subject};
use crate::demo::is_paid;
use anyhow::{Context, Result, bail};
use rig::Stack;
use rig::scenario::{self, Refusal};
use rig::tools::workspace_dir;
use serde_json::Value;
use std::process::Command;

/// The claims, and the faults under which each must not hold.
pub(super) const CLAIMS: &[(u32, &[&str])] =
    &[(1, &["no_claim", "charge_failures"]), (2, &["no_settle"]), (3, &["no_claim"]), (4, &["accept_mistakes"])];

pub(super) async fn claim(id: u32, subject: &Subject) -> Result<Finding> {
    match id {
        1 => demo(subject),
        2 => official_client(subject).await,
        3 => stampede(subject).await,
        4 => mistakes(subject).await,
        _ => bail!("no such claim"),
    }
}

/// From a clean clone, the demo pays. Under a fault the demo of this tree runs with that filter.
fn demo(subject: &Subject) -> Result<Finding> {
    let clone = tempfile::Builder::new().prefix("farebox-clone-").tempdir()?;
    let mut command = Command::new("cargo");
    if let Some(mutant) = subject.mutant {
        command.current_dir(workspace_dir()).args(["xtask", "demo", "--json", "--filter"]).arg(&subject.filter);
        command.arg("--env").arg(format!("{MUTANT}={mutant}"));
    } else {
        let status = Command::new("git")
            .args(["clone", "--quiet"])
            .args([workspace_dir().as_path(), clone.path()])
            .status()
            .context("cannot run git")?;
        if !status.success() {
            bail!("git clone failed");
        }
        // Nothing of this tree's builds or installed tools is shared with the clone.
        command.current_dir(clone.path()).args(["xtask", "demo", "--json"]).env_remove("CARGO_TARGET_DIR");
    }
    // Not those of the xtask that runs this.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO");
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot run cargo")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().last().context("the demo printed nothing")?;
    let said: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    let holds = output.status.success()
        && said["paid"] == true
        && said["transaction"].as_str().is_some_and(|hash| hash.starts_with("0x") && hash.len() == 66)
        && said["payee_delta"] == said["price"]
        && said["price"].as_u64().is_some_and(|price| price > 0)
        && said["replay_refused"] == true
        && said["failed_upstream_charged"] == false
        && said["wasm_bytes"].as_u64().is_some_and(|bytes| bytes > 0);
    Ok(Finding {
        id: 1,
        tried: "git clone, then cargo xtask demo --json".to_owned(),
        figure: format!("{}, {said}", output.status),
        bar: "exit 0; paid, payee_delta = price, replay_refused, failed upstream not charged, transaction, wasm_bytes"
            .to_owned(),
        holds,
    })
}

/// The official client pays a route that settles after and one that settles before.
async fn official_client(subject: &Subject) -> Result<Finding> {
    let stack = Stack::start(&subject.tools, subject.plan()).await?;
    let after = scenario::buy(&stack, "/plain/after").await?;
    let before = scenario::buy(&stack, "/plain/before").await?;
    let holds = is_paid(&after)
        && is_paid(&before)
        && (after.asked.verify, after.asked.settle) == (1, 1)
        && (before.asked.verify, before.asked.settle) == (0, 1);
    let row = |name: &str, paid: &scenario::Paid| {
        format!(
            "{name}: status {}, payee +{}, transfer {:?}, verify {}, settle {}",
            paid.bought.status, paid.payee_delta, paid.transferred, paid.asked.verify, paid.asked.settle
        )
    };
    Ok(Finding {
        id: 2,
        tried: "@x402/fetch through Envoy on a settle-after and a settle-before route".to_owned(),
        figure: format!("{}; {}", row("after", &after), row("before", &before)),
        bar: "both 200 and settled once on the chain for the price; after: 1 verify, 1 settle; before: 0 and 1"
            .to_owned(),
        holds,
    })
}

/// One payment, 200 times at once, over two workers.
async fn stampede(subject: &Subject) -> Result<Finding> {
    let stack = Stack::start(&subject.tools, subject.plan()).await?;
    let found = scenario::stampede(&stack, "/slow?ms=300", 200).await?;
    let served = found.answers.get("200 served").copied().unwrap_or(0);
    let holds = served == 1
        && found.answers.values().sum::<usize>() == 200
        && (found.hits, found.settle_calls, found.transfers, found.authorizations_used) == (1, 1, 1, 1)
        && found.workers.len() == 2
        && found.workers.iter().all(|connections| *connections > 0);
    Ok(Finding {
        id: 3,
        tried: "one payment sent 200 times at once over 2 Envoy workers".to_owned(),
        figure: format!(
            "{:?}; upstream {}, settle calls {}, transfers {}, connections by worker {:?}",
            found.answers, found.hits, found.settle_calls, found.transfers, found.workers
        ),
        bar: "served 1, upstream 1, settle calls 1, transfers 1, both workers took part".to_owned(),
        holds,
    })
}

/// Each mistake is refused with the field and the remedy, and Envoy does not serve.
async fn mistakes(subject: &Subject) -> Result<Finding> {
    let mut refused = 0;
    let mut wrong = Vec::new();
    let cases = rig::mistakes::all()?;
    for case in &cases {
        match scenario::refused(&subject.tools, &subject.filter, &case.policy, &subject.env()).await? {
            Refusal::Refused(log) if case.is_explained_by(&log) => refused += 1,
            Refusal::Refused(log) => wrong.push(format!("{}: said {:?}", case.name, last_words(&log))),
            Refusal::Served(_) => wrong.push(format!("{}: served", case.name)),
        }
    }
    Ok(Finding {
        id: 4,
        tried: format!("Envoy started with each of {} mistakes in its policy", cases.len()),
        figure: format!("{refused} refused with field and remedy{}", first(&wrong)),
        bar: "all of at least 30, and Envoy never serves".to_owned(),
        holds: cases.len() >= 30 && refused == cases.len(),
    })
}

fn last_words(log: &str) -> String {
    log.lines().rfind(|line| line.contains("farebox")).unwrap_or_default().chars().take(300).collect()
}

fn first(wrong: &[String]) -> String {
    match wrong.first() {
        Some(one) => format!("; {} not, first: {one}", wrong.len()),
        None => String::new(),
    }
}
