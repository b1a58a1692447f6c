//! `cargo xtask bench tokens`: what a call with a token costs Envoy, beside the other ways to decide on a request.

use anyhow::{Result, bail};
use clap::Args;
use rig::bench::{Cost, Filters};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// What to measure: tokens.
    topic: String,
    /// Rounds; each contestant has a turn in each.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests in a turn.
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// Another build of the filter (a .wasm file), to be measured in the same run.
    #[arg(long)]
    other: Option<PathBuf>,
    /// Print one line of JSON last.
    #[arg(long)]
    json: bool,
}

/// Prints CPU time for a request, what is added to none, and its ratio to what the baseline adds.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    if options.topic != "tokens" {
        bail!("no topic {:?}; there is: tokens", options.topic);
    }
    let tools = crate::build::tools()?;
    let farebox = crate::build::filter(&tools)?;
    let baseline = rig::wasm::build(&tools, "farebox-baseline", &[])?;
    let filters = Filters { farebox, other: options.other, baseline };
    eprintln!("· {} rounds of {} requests to each", options.rounds, options.requests);
    let costs = rig::bench::tokens(&tools, &filters, options.rounds.max(1), options.requests.max(1)).await?;
    let of = |name: &str| costs.iter().find(|cost| cost.name == name).map_or(f64::NAN, Cost::median);
    let none = of("none");
    let added = |cost: &Cost| cost.median() - none;
    println!("{:<20} {:>9} {:>9} {:>11}", "", "µs", "added", "× baseline");
    for cost in &costs {
        let (micros, added, ratio) = (cost.median(), added(cost), added(cost) / (of("baseline") - none));
        println!("{:<20} {micros:>9.1} {added:>9.1} {ratio:>11.2}   {}", cost.name, cost.what);
    }
    let token = of("token") - none;
    println!(
        "a token adds {:.2} × what the baseline adds (bar 2), {:.2} × jwt_authn (bar 1), {:.2} × ext_authz (bar 0.4)",
        token / (of("baseline") - none),
        token / (of("jwt_authn") - none),
        token / (of("ext_authz") - none)
    );
    if options.json {
        let costs = costs.iter().map(|cost| {
            json!({ "name": cost.name, "what": cost.what, "micros": cost.median(), "added": added(cost),
                    "rounds": cost.micros })
        });
        println!("{}", json!({ "topic": "tokens", "costs": costs.collect::<Vec<_>>() }));
    }
    Ok(ExitCode::SUCCESS)
}
