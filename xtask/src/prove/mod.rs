//! `cargo xtask prove <topic>`: claims, each re-measured by running the real thing, and each with a mutation of the
//! filter under which it must come out false.

mod agent;
mod edge;
mod money;
mod paid_request;
mod tokens;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `prove`.
#[derive(Args)]
pub(crate) struct Options {
    /// What to prove: paid-request, money, tokens, edge or agent.
    topic: String,
    /// Only these claims.
    #[arg(long, value_delimiter = ',')]
    claims: Vec<u32>,
    /// Show instead that each claim can fail: run it against a filter with a fault built in.
    #[arg(long)]
    self_check: bool,
    /// Print one line of JSON last.
    #[arg(long)]
    json: bool,
}

/// What one claim came to.
pub(crate) struct Finding {
    /// Number in the topic.
    id: u32,
    /// What was tried.
    tried: String,
    /// What was measured.
    figure: String,
    /// What it must be.
    bar: String,
    holds: bool,
}

/// The filter that a claim is tried against.
pub(crate) struct Subject {
    tools: rig::Tools,
    filter: PathBuf,
    /// The fault that is built in, if any.
    mutant: Option<&'static str>,
}

impl Subject {
    /// A stack with this filter and the policy of most tests.
    fn plan(&self) -> rig::Plan {
        self.plan_with(rig::stack::test_policy)
    }

    /// A stack with this filter and `policy`.
    fn plan_with(&self, policy: fn(&str) -> Value) -> rig::Plan {
        let plan = rig::Plan::new(&self.filter, policy);
        match self.mutant {
            Some(mutant) => plan.env(MUTANT, mutant),
            None => plan,
        }
    }

    /// The filter's environment, for scenarios that start their own stacks.
    fn variables(&self) -> Vec<(String, String)> {
        self.mutant.map(|mutant| (MUTANT.to_owned(), mutant.to_owned())).into_iter().collect()
    }

    /// The filter's environment.
    fn env(&self) -> Vec<(&'static str, &'static str)> {
        self.mutant.map(|mutant| (MUTANT, mutant)).into_iter().collect()
    }
}

/// Names the fault to switch on in a filter built with the feature `mutants`.
pub(crate) const MUTANT: &str = "FAREBOX_MUTANT";

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let topics = [
        ("paid-request", paid_request::CLAIMS),
        ("money", money::CLAIMS),
        ("tokens", tokens::CLAIMS),
        ("edge", edge::CLAIMS),
        ("agent", agent::CLAIMS),
    ];
    let Some((topic, claims)) = topics.into_iter().find(|(topic, _)| *topic == options.topic) else {
        bail!("no topic {:?}; there are: {}", options.topic, topics.map(|(topic, _)| topic).join(", "));
    };
    let tools = crate::build::tools()?;
    let features: &[&str] = if options.self_check { &["mutants"] } else { &[] };
    eprintln!("· building the filter{}", if options.self_check { " with faults to switch on" } else { "" });
    let filter = rig::wasm::build(&tools, "farebox-filter", features)?;
    let mut findings = Vec::new();
    for (id, mutants) in claims {
        if !options.claims.is_empty() && !options.claims.contains(id) {
            continue;
        }
        let faults: Vec<Option<&str>> =
            if options.self_check { mutants.iter().copied().map(Some).collect() } else { vec![None] };
        for mutant in faults {
            let subject = Subject { tools: tools.clone(), filter: filter.clone(), mutant };
            let finding = match topic {
                "money" => money::claim(*id, &subject).await,
                "edge" => edge::claim(*id, &subject).await,
                "agent" => agent::claim(*id, &subject).await,
                "tokens" => tokens::claim(*id, &subject).await,
                _ => paid_request::claim(*id, &subject).await,
            };
            let finding = finding.with_context(|| format!("claim {id}"));
            findings.push(report(*id, mutant, finding)?);
        }
    }
    if findings.is_empty() {
        bail!("no such claim");
    }
    let good = findings.iter().all(|finding| finding.holds);
    if options.json {
        let claims: Vec<Value> = findings
            .iter()
            .map(|finding| {
                json!({ "id": finding.id, "tried": finding.tried, "figure": finding.figure, "bar": finding.bar,
                        "holds": finding.holds })
            })
            .collect();
        println!("{}", json!({ "topic": options.topic, "self_check": options.self_check, "claims": claims }));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a row. Under a fault, what must hold is that the claim does not.
fn report(id: u32, mutant: Option<&str>, finding: Result<Finding>) -> Result<Finding> {
    let finding = match (mutant, finding) {
        (None, finding) => finding?,
        (Some(mutant), Ok(finding)) => Finding {
            tried: format!("with fault {mutant}: {}", finding.tried),
            bar: format!("must not hold: {}", finding.bar),
            holds: !finding.holds,
            ..finding
        },
        // A claim that cannot even be measured under a fault has noticed it only if it says what it missed.
        (Some(mutant), Err(error)) => Finding {
            id,
            tried: format!("with fault {mutant}"),
            figure: format!("could not be measured: {error:#}"),
            bar: "must be measured, and not hold".to_owned(),
            holds: false,
        },
    };
    let verdict = if finding.holds { "holds" } else { "DOES NOT HOLD" };
    println!(
        "claim {}: {verdict}\n  tried:  {}\n  figure: {}\n  bar:    {}",
        finding.id, finding.tried, finding.figure, finding.bar
    );
    Ok(finding)
}
