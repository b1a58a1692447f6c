//! Topic `edge`: the npm package's gate in real workerd.

use super::{Finding, MUTANT, Subject};
use anyhow::{Context, Result, bail};
use rig::package::{self, Package};
use rig::proofs::{edge, package as installs};
use rig::stack::fault_policy;
use rig::tools::{WorkerTools, workspace_dir};
use rig::workerd::WorkerStack;
use rig::{corpus, money, scenario};
use std::process::Command;

/// The claims, and the faults under which each must not hold.
pub(super) const CLAIMS: &[(u32, &[&str])] = &[
    (1, &["unknown_is_402", "no_claim"]),
    (2, &["no_draw", "loose_grants", "no_revocation"]),
    (3, &["no_secret"]),
    (4, &[]),
    (5, &["late_release"]),
];

/// How much longer a paid call may take than through `@x402/hono`, whose ledger is nothing.
const PAID_RATIO: f64 = 2.8;
/// How much of a paid call through `@x402/hono` a call with a token may take.
const TOKEN_RATIO: f64 = 1.2;

pub(super) async fn claim(id: u32, subject: &Subject) -> Result<Finding> {
    let workers = subject.tools.workers(&|step| eprintln!("· {step}"))?;
    eprintln!("· making the npm package");
    let features: &[&str] = if subject.mutant.is_some() { &["mutants"] } else { &[] };
    let package = package::build_with(&subject.tools, &workers, features)?;
    let made = Made { subject, workers, package };
    match id {
        1 => made.pays().await,
        2 => made.tokens().await,
        3 => made.corpus().await,
        4 => made.installed().await,
        5 => made.overhead().await,
        _ => bail!("no such claim"),
    }
}

struct Made<'a> {
    subject: &'a Subject,
    workers: WorkerTools,
    package: Package,
}

impl Made<'_> {
    /// Official clients, and every row of the fault matrix.
    async fn pays(&self) -> Result<Finding> {
        let stack =
            WorkerStack::start(&self.subject.tools, &self.workers, &self.package, fault_policy, |mut config| {
                for (name, value) in self.subject.variables() {
                    config = config.text(&name, &value);
                }
                config.copy()?.copy()
            })
            .await?;
        let mut complaints = Vec::new();
        for path in ["/plain/after", "/plain/before"] {
            let paid = scenario::buy(&stack, path).await?;
            if (paid.bought.status, paid.payee_delta, paid.transferred, paid.hits) != (200, 10_000, Some(10_000), 1) {
                complaints.push(format!("{path}: {} +{}", paid.bought.status, paid.payee_delta));
            }
        }
        let rows = money::rows()?;
        for (number, row) in rows.iter().enumerate() {
            match money::try_row(&stack, row, number).await {
                Ok(tried) => {
                    let [first, same, new] = &tried.cells;
                    println!("    {:42} {first:28} {same:28} {new}", row.name());
                    complaints.extend(tried.complaints());
                }
                Err(error) => complaints.push(format!("{}: {error:#}", row.name())),
            }
        }
        let (answers, hits) = edge::stampede(&stack, "/plain/after", 200).await?;
        if hits != 1 || answers.get("200 ") != Some(&1) {
            complaints.push(format!("one payment 200 times over 3 services: {answers:?}, {hits} at the upstream"));
        }
        Ok(Finding {
            id: 1,
            tried: format!(
                "@x402/fetch pays after and before through a worker in workerd, on Anvil by the official facilitator; \
                 {} rows of the fault matrix; one payment 200 times at once over 3 services",
                rows.len()
            ),
            figure: format!("{} complaints{}", complaints.len(), super::money::first(&complaints)),
            bar: "every cell as in test-harness/vectors/money.json, which is Envoy's; one delivery".to_owned(),
            holds: complaints.is_empty() && rows.len() >= 60,
        })
    }

    async fn tokens(&self) -> Result<Finding> {
        let variables = self.subject.variables();
        let stack = edge::stack(&self.subject.tools, &self.workers, &self.package, &variables).await?;
        let found = edge::tokens(&stack).await?;
        Ok(Finding {
            id: 2,
            tried: "a pass, calls with its token, a delegated token, revocation; 400 parallel calls on a cap of 300 \
                    over 3 services bound to one namespace of Durable Objects"
                .to_owned(),
            figure: format!("{found:?}"),
            bar: "no callout for a call with a token; the delegated one is good inside its grant until its root is \
                  revoked; exactly 300 served"
                .to_owned(),
            holds: found.holds(),
        })
    }

    async fn corpus(&self) -> Result<Finding> {
        if let Some(mutant) = self.subject.mutant {
            // The runner has no way to switch a fault on; the policies name it.
            let wanted = |case: &corpus::Case| case.rule.contains("secret") || case.name.contains("thief");
            let decided =
                corpus::decisions_in_workerd_under(&self.workers, &self.package, wanted, Some((MUTANT, mutant)))
                    .await?;
            return Ok(Finding {
                id: 3,
                tried: format!("{} cases in workerd", decided.cases),
                figure: format!("{} differences", decided.wrong.len()),
                bar: "none".to_owned(),
                holds: decided.wrong.is_empty(),
            });
        }
        for (what, arguments) in [
            (
                "core",
                &["test", "--quiet", "--locked", "-p", "farebox-core", "--all-features", "--test", "decisions"][..],
            ),
            (
                "the in-process host",
                &["test", "--quiet", "--locked", "-p", "farebox-proxy-host", "--test", "decisions"],
            ),
        ] {
            eprintln!("· the corpus in {what}");
            let done = Command::new("cargo").args(arguments).current_dir(workspace_dir()).output()?;
            if !done.status.success() {
                bail!("the corpus in {what}:\n{}", String::from_utf8_lossy(&done.stdout));
            }
        }
        let envoy = corpus::decisions(&self.subject.tools, &self.subject.filter).await.context("in Envoy")?;
        let workerd = corpus::decisions_in_workerd(&self.workers, &self.package, |_| true).await?;
        workerd.differs.iter().for_each(|differs| println!("    {differs}"));
        let wrong: Vec<String> = envoy.wrong.iter().chain(&workerd.wrong).cloned().collect();
        Ok(Finding {
            id: 3,
            tried: format!(
                "the decision corpus in core, the in-process host, Envoy ({} cases) and workerd ({} cases)",
                envoy.cases, workerd.cases
            ),
            figure: format!(
                "{} unexplained differences{}; {} explained, of workerd",
                wrong.len(),
                super::money::first(&wrong),
                workerd.differs.len()
            ),
            bar: "at least 300 cases, no unexplained difference".to_owned(),
            holds: wrong.is_empty() && envoy.cases >= 300 && workerd.cases >= 300 && workerd.differs.len() <= 8,
        })
    }

    async fn installed(&self) -> Result<Finding> {
        let found = installs::installed(&self.workers, &self.package).await?;
        let example = installs::example(&self.workers, &self.package)?;
        let passed = example.lines().any(|line| line.trim_start_matches(['#', ' ', 'ℹ']) == "fail 0");
        Ok(Finding {
            id: 4,
            tried:
                "npm pack; installed into a Worker project, a Hono application on Node and a Vite project, with the \
                    snippets of js/README.md as written; examples/worker checked, built and tested"
                    .to_owned(),
            figure: format!("{found:?}; the example's tests {}", if passed { "passed" } else { "failed" }),
            bar: format!(
                "everything runs; at most {} bytes of WebAssembly, {} as gzip",
                package::most("gate").0,
                package::most("gate").1
            ),
            holds: found.holds()
                && passed
                && found.module.0 <= package::most("gate").0
                && found.module.1 <= package::most("gate").1,
        })
    }

    async fn overhead(&self) -> Result<Finding> {
        let variables = self.subject.variables();
        // A fault may make each request a second slower.
        let rounds = if self.subject.mutant.is_some() { 5 } else { 200 };
        let found = edge::overhead(&self.subject.tools, &self.workers, &self.package, rounds, &variables).await?;
        Ok(Finding {
            id: 5,
            tried: format!(
                "{} requests of each kind in workerd, interleaved, one facilitator that answers at once",
                found.rounds
            ),
            figure: format!(
                "paid {:.2} × @x402/hono, token {:.2} × its paid call; {found:.2?}",
                found.paid_ratio(),
                found.token_ratio()
            ),
            bar: format!("paid at most {PAID_RATIO} ×, token at most {TOKEN_RATIO} ×"),
            holds: found.paid_ratio() <= PAID_RATIO && found.token_ratio() <= TOKEN_RATIO,
        })
    }
}
