//! `cargo xtask build | demo | test | fuzz | prove | bench`: the only entry points that the README names.

mod bench;
mod build;
mod demo;
mod fuzz;
mod prove;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// farebox: build it, see it work, test it, and re-measure what it claims.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build target/farebox.wasm and the npm package, and print their sizes.
    Build,
    /// Pay for a request through a real Envoy, on a chain of your own, and see every step.
    Demo(demo::Options),
    /// Run everything: format, lints, unit, vector, property and real-process tests.
    Test(test::Options),
    /// Give every parser bytes that nobody would write.
    Fuzz(fuzz::Options),
    /// Re-measure what a topic claims.
    Prove(prove::Options),
    /// Measure what a request costs, beside others in the same run.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = run(Arguments::parse().command) => outcome,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("\ninterrupted; everything that was started is stopped");
                Ok(ExitCode::from(130))
            }
        }
    });
    outcome.unwrap_or_else(|error| failed(&error))
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build => build::run(),
        Command::Demo(options) => demo::run(options).await,
        Command::Test(options) => test::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Prove(options) => prove::run(options).await,
        Command::Bench(options) => bench::run(options).await,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
