//! `farebox audit verify`.

use crate::output::{Outcome, Table, Usage};
use crate::{input, time};
use clap::{Args, Subcommand};
use farebox_core::receipt::verify::{Finding, Report, Summary, Trust, Verifier};
use serde_json::{Value, json};
use std::io::BufRead;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether audit logs are whole: no line changed, none left out, no second history, no end cut off.
    ///
    /// The files may hold the lines of several logs in any order, among others, as a proxy or a log collector writes
    /// them.
    Verify(Verify),
}

/// Options of `audit verify`.
#[derive(Args)]
pub(crate) struct Verify {
    /// Public keys of the gate, a JWK or a JWKS: the heads must be signed by one of them.
    #[arg(long, value_name = "FILE", required_unless_present = "chain_only", conflicts_with = "chain_only")]
    keys: Vec<PathBuf>,
    /// Do without keys. Only the chain is checked, which whoever holds the log could have written anew.
    #[arg(long)]
    chain_only: bool,
    /// The files begin in the middle of a log, as rotated ones do.
    #[arg(long)]
    partial: bool,
    /// Heads that were kept elsewhere: signed heads, or lines of a log that hold them.
    #[arg(long, value_name = "FILE")]
    head: Vec<PathBuf>,
    /// Receipts (Call-Receipt) that the log must record, one on each line.
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// The log's files, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) fn run(command: Command) -> Result<Outcome, Usage> {
    let Command::Verify(options) = command;
    let trust = if options.chain_only { Trust::ChainOnly } else { Trust::Keys(input::public_keys(&options.keys)?) };
    let mut verifier = Verifier::new(trust, options.partial);
    for path in &options.head {
        let mut heads = 0;
        each_line(path, |number, line| {
            let head = verifier.keep_head(&String::from_utf8_lossy(line));
            let head = head.map_err(|error| at(path, number, &format!("it is no head of these keys: {error}")))?;
            heads += u64::from(head);
            Ok(())
        })?;
        if heads == 0 {
            return Err(Usage::new(format_args!("{}: there is no head in it", path.display())));
        }
    }
    for path in &options.receipt {
        each_line(path, |number, line| {
            let kept = verifier.keep_receipt(&String::from_utf8_lossy(line));
            kept.map_err(|error| at(path, number, &format!("it is no receipt of these keys: {error}")))
        })?;
    }
    let mut places = Places::default();
    for path in &options.files {
        places.begin(path);
        let begin = places.next;
        let mut last = begin;
        each_line(path, |number, line| {
            last = begin + number;
            verifier.read(last, line);
            Ok(())
        })?;
        places.next = last;
    }
    Ok(outcome(&verifier.finish(), &places))
}

fn at(path: &Path, number: u64, what: &str) -> Usage {
    Usage::new(format_args!("{}:{number}: {what}", path.display()))
}

/// Reads a file line by line. Empty ones do not count, but are counted.
fn each_line(path: &Path, mut read: impl FnMut(u64, &[u8]) -> Result<(), Usage>) -> Result<(), Usage> {
    let mut file = input::open(path)?;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = file.read_until(b'\n', &mut line).map_err(|error| at(path, number, &error.to_string()))?;
        if length == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            read(number, &line)?;
        }
    }
    Ok(())
}

/// Which file and line a running number stands for.
#[derive(Default)]
struct Places {
    /// Each file, and the number before its first line.
    files: Vec<(u64, PathBuf)>,
    next: u64,
}

impl Places {
    fn begin(&mut self, path: &Path) {
        self.files.push((self.next, path.to_owned()));
    }

    fn name(&self, place: u64) -> Option<(&Path, u64)> {
        let file = self.files.iter().rev().find(|(before, _)| *before < place)?;
        Some((&file.1, place - file.0))
    }
}

fn outcome(report: &Report, places: &Places) -> Outcome {
    let mut table = Table::default();
    for log in &report.logs {
        table.line(about(log));
    }
    for finding in &report.findings {
        let place = finding.place.and_then(|place| places.name(place));
        let place = place.map(|(file, line)| format!("{}:{line}: ", file.display())).unwrap_or_default();
        let log = if finding.log.is_empty() { String::new() } else { format!(" in log {}", finding.log) };
        table.line(format_args!("{place}{}{log}: {}", finding.what.wire(), finding.detail));
    }
    let good = report.findings.is_empty() && !report.logs.is_empty();
    table.line(match (good, report.findings.len()) {
        (true, _) => "whole".to_owned(),
        (false, 0) => "no line of an audit log was found".to_owned(),
        (false, 1) => "NOT whole: 1 finding".to_owned(),
        (false, many) => format!("NOT whole: {many} findings"),
    });
    let json = json!({
        "logs": report.logs.iter().map(log_json).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(|finding| finding_json(finding, places)).collect::<Vec<_>>(),
        "passed_over": report.passed_over,
    });
    Outcome::new(good, table.end(), json)
}

fn about(log: &Summary) -> String {
    let kinds: Vec<String> = log.kinds.iter().map(|(kind, count)| format!("{count} {}", kind.wire())).collect();
    let mut text = format!(
        "log {}: lines {} to {}, {} to {}: {}",
        log.log,
        log.first,
        log.end.saturating_sub(1),
        time::utc(log.times.0),
        time::utc(log.times.1),
        kinds.join(", "),
    );
    if log.unsigned > 0 {
        text.push_str(&format!("; the last {} no head covers", log.unsigned));
    }
    if log.repeated > 0 {
        text.push_str(&format!("; {} came again", log.repeated));
    }
    if log.clock_back > 60 {
        text.push_str(&format!("; the clock went back by {} s", log.clock_back));
    }
    text
}

fn log_json(log: &Summary) -> Value {
    let kinds = log.kinds.iter().map(|(kind, count)| (kind.wire().to_owned(), json!(count)));
    json!({
        "log": log.log,
        "first": log.first,
        "end": log.end,
        "unsigned": log.unsigned,
        "repeated": log.repeated,
        "since": log.times.0,
        "until": log.times.1,
        "clock_back": log.clock_back,
        "kinds": kinds.collect::<serde_json::Map<_, _>>(),
    })
}

fn finding_json(finding: &Finding, places: &Places) -> Value {
    let place = finding.place.and_then(|place| places.name(place));
    json!({
        "finding": finding.what.wire(),
        "log": finding.log,
        "seq": finding.seq,
        "file": place.map(|(file, _)| file),
        "line": place.map(|(_, line)| line),
        "detail": finding.detail,
    })
}
