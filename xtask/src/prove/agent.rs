//! Topic `agent`: the npm package's agent.

use super::{Finding, MUTANT, Subject};
use anyhow::{Context, Result, bail};
use rig::agent::Agents;
use rig::package::{self, Package};
use rig::proofs::{agent, browser, package as installs};
use rig::tools::{WorkerTools, workspace_dir};
use std::process::Command;

/// The claims, and the faults under which each must not hold.
pub(super) const CLAIMS: &[(u32, &[&str])] = &[
    (1, &["short_payment"]),
    (2, &["no_budget", "unlabelled"]),
    (3, &["no_budget"]),
    (4, &["no_budget"]),
    (5, &["forgetful_buyer"]),
    (6, &[]),
];

/// Moments at which an agent is killed.
const POINTS: usize = 100;
/// Microseconds that a decision may take.
const DECISION: f64 = 50.0;
/// Offers of a challenge that it is measured for; what it takes for more is printed.
const OFFERS: u32 = 4;
/// Microseconds that a signed payment may take.
const PAYMENT: f64 = 2000.0;

pub(super) async fn claim(id: u32, subject: &Subject) -> Result<Finding> {
    let workers = subject.tools.workers(&|step| eprintln!("· {step}"))?;
    eprintln!("· making the npm package");
    let features: &[&str] = if subject.mutant.is_some() { &["mutants"] } else { &[] };
    let package = package::build_with(&subject.tools, &workers, features)?;
    let made = Made { subject, workers, package };
    match id {
        1 => made.pays().await,
        2 => made.browses().await,
        3 => made.refuses().await,
        4 => made.properties(),
        5 => made.survives().await,
        6 => made.installed().await,
        _ => bail!("no such claim"),
    }
}

struct Made<'a> {
    subject: &'a Subject,
    workers: WorkerTools,
    package: Package,
}

impl Made<'_> {
    /// Agents of the package. A fault is theirs, and not the gate's.
    fn agents(&self) -> Agents<'_> {
        Agents { env: self.subject.variables(), ..Agents::new(&self.subject.tools, &self.package) }
    }

    /// Our gate in Envoy and in workerd, official servers, every kind of wallet.
    async fn pays(&self) -> Result<Finding> {
        let agents = self.agents();
        let (gate, stack) = agent::gate_in_envoy(&agents, &self.subject.filter, &[]).await?;
        let kinds = ["express", "hono", "express-v1", "express-upto"];
        let officials = agent::officials(&agents, &stack, &kinds).await?;
        let wallets = agent::wallets(&agents, &stack).await?;
        let (worker, _) = agent::gate_in_workerd(&agents, &self.workers).await?;
        let paid = gate.and(officials).and(wallets).and(worker);
        for (what, paid) in &paid.rows {
            match paid {
                Ok(paid) => println!("    {what:60} {} units, {}", paid.amount, paid.transaction),
                Err(error) => println!("    {what:60} {error:#}"),
            }
        }
        let complaints = paid.complaints();
        Ok(Finding {
            id: 1,
            tried: "agent.fetch at our gate in Envoy (after, before, Permit2, upto, version 1) and workerd, \
                    @x402/express, @x402/hono, x402-express 1.2 (version 1), upto on @x402/express; by session key, viem, \
                    ethers, EIP-1193 provider and contract wallet"
                .to_owned(),
            figure: format!(
                "{} of {} paid{}",
                paid.rows.len() - complaints.len(),
                paid.rows.len(),
                super::money::first(&complaints)
            ),
            bar: "all 16, each one payment and one transfer of its price".to_owned(),
            holds: complaints.is_empty() && paid.rows.len() == 16,
        })
    }

    /// The page of `examples/browser-agent` in Chromium. A fault is the page's, or its agent's.
    async fn browses(&self) -> Result<Finding> {
        let Self { subject, package, .. } = self;
        let found = browser::browsed(&subject.tools, &subject.filter, package, subject.mutant).await?;
        let complaints = found.complaints();
        complaints.iter().for_each(|complaint| println!("    {complaint}"));
        let (passes, violations) = found.axe();
        let shots = found.shots.strip_prefix(workspace_dir()).unwrap_or(&found.shots);
        Ok(Finding {
            id: 2,
            tried: format!(
                "the page of examples/browser-agent in Chromium {}, on a phone and on a desktop, in light and in dark: \
                 pays the gate in Envoy, is stopped by its budget, asks, opens receipts, is reloaded, gets other limits",
                found.version
            ),
            figure: format!(
                "{} visits, {} payments of {} units on the chain; axe: {violations} violations, {passes} passes; {} \
                 complaints{}; screenshots in {}",
                found.visits.len(),
                found.authorizations_used,
                found.payee_delta,
                complaints.len(),
                super::money::first(&complaints),
                shots.display()
            ),
            bar: "4 visits of 5 payments each, no violation, no complaint".to_owned(),
            holds: complaints.is_empty(),
        })
    }

    /// Attacks, hostile challenges, a stampede on a budget for one.
    async fn refuses(&self) -> Result<Finding> {
        let agents = self.agents();
        let attacks = self.core(&["agent::tests::attacks", "agent::tests::hostile"])?;
        let refused = agent::hostile(&agents).await?;
        for (what, found, _) in &refused.rows {
            println!("    {what:45} {found}");
        }
        let (_, stack) = agent::gate_in_envoy(&agents, &self.subject.filter, &[]).await?;
        let (answers, payments) = agent::one_of_fifty(&agents, &stack).await?;
        let processes = agent::processes(&agents, &stack).await?;
        let workers = agent::workers(&agents, &self.workers, &stack).await?;
        Ok(Finding {
            id: 3,
            tried:
                "A1 to A12 as tests of the core; a seller with 11 challenges and answers that mean ill; 50 calls at \
                    once on a budget for one; two processes on one folder, and two workers on one Durable Object, 24 \
                    calls at once on a budget for ten"
                    .to_owned(),
            figure: format!(
                "attacks: {attacks}; {} of 11 refused for the right reason, {} signed, {} sent{}; fifty: {payments} paid, \
                 {answers:?}; processes: {processes:?}; workers: {workers:?}",
                refused.rows.len() - refused.complaints().len(),
                refused.signed,
                refused.sent,
                super::money::first(&refused.complaints())
            ),
            bar: "every attack fails; each for its reason, before anything is signed; one payment; ten each".to_owned(),
            holds: attacks.passed()
                && refused.holds()
                && payments == 1
                && answers.get("200 ") == Some(&1)
                && answers.get("0 over_budget") == Some(&49)
                && processes.holds()
                && workers.holds(),
        })
    }

    /// The engine's property tests.
    fn properties(&self) -> Result<Finding> {
        let ran = self.core(&["agent::tests::properties"])?;
        Ok(Finding {
            id: 4,
            tried: "property tests: histories of decisions, crashes and replays by several processes on one store; \
                    tightened policies; other texts"
                .to_owned(),
            figure: ran.to_string(),
            bar: "no history exceeds a budget, no tightening allows more, no text decides".to_owned(),
            holds: ran.passed(),
        })
    }

    /// Agents that are killed.
    async fn survives(&self) -> Result<Finding> {
        let agents = self.agents();
        let (_, stack) = agent::gate_in_envoy(&agents, &self.subject.filter, &[]).await?;
        let points = if self.subject.mutant.is_some() { 12 } else { POINTS };
        let found = agent::crashes(&agents, &stack, points).await?;
        Ok(Finding {
            id: 5,
            tried: format!(
                "{points} purchases at our gate in Envoy whose Node process is killed, each at another moment; \
                            the next process on the same store makes the same request"
            ),
            figure: format!("{found:?}"),
            bar: "nothing paid twice, every request served, what was in doubt by the same payment; counters and chain \
                  agree, nothing stays open"
                .to_owned(),
            holds: found.holds(),
        })
    }

    /// The README's snippets, sizes, pace.
    async fn installed(&self) -> Result<Finding> {
        let found = installs::agent_installed(&self.subject.tools, &self.workers, &self.package).await?;
        let rust = self.rust_example()?;
        let pace = agent::pace(&self.subject.tools, &self.package)?;
        eprintln!("· building the engine's measurement");
        let engine = agent::engine_pace(&self.subject.tools)?;
        println!("    engine: {engine:?} µs");
        let most = package::most("agent");
        Ok(Finding {
            id: 6,
            tried:
                "npm pack; the agent's snippets of js/README.md as written, in Node, in a page built by Vite and in \
                    Rust; medians in WebAssembly on Node, at a seller that answers at once"
                    .to_owned(),
            figure: format!("{found:?}; Rust: {rust}; engine {engine:?} µs, whole agent {pace:?} µs"),
            bar: format!(
                "everything runs; at most {} bytes of WebAssembly, {} as gzip; a decision among up to {OFFERS} \
                 offers under {DECISION} µs, a signed payment under {PAYMENT} µs",
                most.0, most.1
            ),
            holds: found.holds()
                && rust.passed()
                && found.module.0 <= most.0
                && found.module.1 <= most.1
                && engine.decisions.len() == 3
                && engine
                    .decisions
                    .iter()
                    .filter(|(offers, _)| *offers <= OFFERS)
                    .all(|(_, micros)| *micros < DECISION)
                && engine.payment < PAYMENT,
        })
    }

    /// Runs tests of the core, with the fault if there is one.
    fn core(&self, names: &[&str]) -> Result<Ran> {
        eprintln!("· tests of the core: {}", names.join(", "));
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--quiet", "--locked", "-p", "farebox-core", "--all-features", "--lib", "--"]).args(names);
        cargo.current_dir(workspace_dir());
        if let Some(mutant) = self.subject.mutant {
            cargo.env(MUTANT, mutant);
        }
        Ran::of(&mut cargo)
    }

    /// The example of the crate's documentation, which is what Rust users get.
    fn rust_example(&self) -> Result<Ran> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["test", "--quiet", "--locked", "-p", "farebox-core", "--doc", "agent"])
            .current_dir(workspace_dir());
        Ran::of(&mut cargo)
    }
}

/// What a run of tests came to: `12 passed; 0 failed`.
struct Ran {
    passed: usize,
    failed: usize,
}

impl Ran {
    fn of(cargo: &mut Command) -> Result<Self> {
        let output = cargo.output().context("cannot run cargo")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let results = text.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
        let mut ran = Self { passed: 0, failed: 0 };
        for result in results {
            let number = |word: &str| {
                let before = result.split(word).next()?;
                before.rsplit([' ', ';', '.']).find_map(|word| word.trim().parse::<usize>().ok())
            };
            ran.passed += number(" passed").unwrap_or(0);
            ran.failed += number(" failed").unwrap_or(0);
        }
        if ran.passed + ran.failed == 0 {
            bail!("no tests ran:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(ran)
    }

    fn passed(&self) -> bool {
        self.failed == 0
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}
