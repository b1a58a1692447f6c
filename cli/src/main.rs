//! `farebox`: keys, tokens, receipts, audit logs and policies from the command line.
//!
//! Every command says what it found, in words or with `--json` as one JSON object whose `ok` is the answer; the exit
//! code says the same. Everything is decided in `farebox_core`, by the code that the proxy runs.

mod audit;
mod input;
mod keygen;
mod output;
mod policy;
mod receipt;
mod time;
mod token;

use clap::{Parser, Subcommand};
use output::{Outcome, Usage};
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  it is good, or it was done
  1  it is not good: refused, invalid, not whole
  2  the command cannot be run: wrong arguments, a file that cannot be read or is not what it should be

A file named - is standard input. Policies and specifications are YAML or JSON.";

/// Keys, tokens, receipts, audit logs and policies of farebox.
#[derive(Parser)]
#[command(name = "farebox", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// Write one JSON object to standard output, for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key: the private JWK goes to a file, the public one is printed.
    Keygen(keygen::Options),
    /// Make tokens, look at them, revoke them.
    #[command(subcommand)]
    Token(token::Command),
    /// Look at receipts.
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Look at audit logs.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Look at policies.
    #[command(subcommand)]
    Policy(policy::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(outcome) => outcome.print(arguments.json),
        Err(Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<Outcome, Usage> {
    match command {
        Command::Keygen(options) => keygen::run(&options),
        Command::Token(command) => token::run(command),
        Command::Receipt(command) => receipt::run(command),
        Command::Audit(command) => audit::run(command),
        Command::Policy(command) => policy::run(command),
    }
}
