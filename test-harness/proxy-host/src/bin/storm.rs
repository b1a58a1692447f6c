//! `storm FILTER.wasm [--sends N] [--seed N] [--env NAME=VALUE]`: replays payments adversarially against a filter over
//! two VMs, prints mix, shares and figures, and one line of JSON last.

use proxy_host::Filter;
use proxy_host::farebox::storm::{Plan, storm};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().ok_or("storm FILTER.wasm [--sends N] [--seed N] [--env NAME=VALUE]")?;
    let mut plan = Plan { spared: Vec::new(), ..Plan::new(1, 20_000) };
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{option} needs a number"));
        match option.as_str() {
            "--sends" => plan.sends = number()?,
            "--seed" => plan.seed = number()?,
            "--env" => {
                let (name, value) = value.split_once('=').ok_or("--env needs NAME=VALUE")?;
                plan.env.push((name.to_owned(), value.to_owned()));
            }
            other => return Err(format!("no option {other}")),
        }
    }
    let filter = Filter::load(Path::new(&filter)).map_err(|error| error.to_string())?;
    let report = storm(&filter, &plan).map_err(|refused| format!("{refused:?}"))?;
    println!("{report}");
    let unpaid = report.violations.iter().filter(|violation| violation.contains("unpaid")).count();
    for violation in report.violations.iter().take(5) {
        println!("violation: {violation}");
    }
    for faults in report.circumstances.iter().take(5) {
        println!("{faults}");
    }
    for words in report.last_words.iter().take(5) {
        println!("trap of its own: {words}");
    }
    println!(
        "{}",
        json!({
            "sends": report.sends, "seed": report.seed, "payments": report.payments, "delivered": report.delivered,
            "double_deliveries": report.double_deliveries, "double_settlements": report.double_settlements,
            "unpaid_deliveries": unpaid, "violations": report.violations.len(), "own_traps": report.own_traps,
            "traps": report.traps, "races": report.races, "refused_configurations": report.refused,
            "untold": report.untold, "recovered": report.recovered, "asked_chain": report.asked_chain,
            "ways": report.ways,
        })
    );
    Ok(())
}
