//! `cargo xtask test`: everything, in the order in which it fails soonest.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Options of `test`.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out formatting and lints.
    #[arg(long)]
    no_lints: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    if !options.no_lints {
        step("format", "cargo", &["fmt", "--all", "--check"])?;
        step(
            "lints",
            "cargo",
            &[
                "clippy",
                "--quiet",
                "--locked",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ],
        )?;
    }
    step("unit, vector and property tests", "cargo", &["test", "--locked", "-p", "farebox-core", "--all-features"])?;
    eprintln!("== fuzz targets");
    if crate::fuzz::run(&crate::fuzz::Options::all(2))? != ExitCode::SUCCESS {
        bail!("a fuzz target has found something");
    }
    step("command line tests", "cargo", &["test", "--locked", "-p", "farebox-cli"])?;
    step("filter tests", "cargo", &["test", "--locked", "-p", "farebox-filter"])?;
    step("tests of the npm package's crate", "cargo", &["test", "--locked", "-p", "farebox-js", "--all-features"])?;
    let tools = crate::build::tools()?;
    for features in [&[][..], &["trap"], &["mutants"]] {
        eprintln!("· building the filter {}", features.join(" "));
        rig::wasm::build(&tools, "farebox-filter", features)?;
    }
    crate::build::package(&tools)?;
    step("real-process tests", "cargo", &["test", "--locked", "-p", "farebox-test-harness"])?;
    step("in-process host", "cargo", &["test", "--locked", "-p", "farebox-proxy-host"])?;
    println!("everything passed in {} s", started.elapsed().as_secs());
    Ok(ExitCode::SUCCESS)
}

fn step(what: &str, program: &str, arguments: &[&str]) -> Result<()> {
    let started = Instant::now();
    eprintln!("== {what}");
    let status = Command::new(program)
        .args(arguments)
        .current_dir(rig::tools::workspace_dir())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{what} failed: {program} {}", arguments.join(" "));
    }
    eprintln!("== {what}: {} s", started.elapsed().as_secs());
    Ok(())
}
