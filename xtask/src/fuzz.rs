//! `cargo xtask fuzz`: the fuzz targets of the core (core/src/fuzz), for longer than tests run them.

use anyhow::{Context, Result};
use clap::Args;
use std::process::{Command, ExitCode};

/// Options of `fuzz`.
#[derive(Args)]
pub(crate) struct Options {
    /// The targets; none for all of them.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the random changes begin; the same seed makes the same inputs.
    #[arg(long)]
    seed: Option<u64>,
    /// Targets at a time; as many as there are cores, if nothing is said.
    #[arg(long)]
    jobs: Option<u64>,
    /// Try this file once, on one target.
    #[arg(long)]
    input: Option<String>,
    /// Show the targets.
    #[arg(long)]
    list: bool,
}

impl Options {
    /// All targets, for so many seconds each.
    pub(crate) fn all(seconds: u64) -> Self {
        Self { targets: Vec::new(), seconds, seed: None, jobs: None, input: None, list: false }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    // The profile is fast, and checks what a release does not: overflows and debug assertions.
    cargo.args(["run", "--quiet", "--locked", "--profile", "fuzz", "-p", "farebox-core", "--features", "test-host"]);
    cargo.args(["--example", "fuzz", "--", "--seconds", &options.seconds.to_string()]);
    if let Some(seed) = options.seed {
        cargo.args(["--seed", &seed.to_string()]);
    }
    if let Some(jobs) = options.jobs {
        cargo.args(["--jobs", &jobs.to_string()]);
    }
    if let Some(input) = &options.input {
        cargo.args(["--input", input]);
    }
    if options.list {
        cargo.arg("--list");
    }
    let status = cargo.args(&options.targets).current_dir(rig::tools::workspace_dir()).status().context("cargo run")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
