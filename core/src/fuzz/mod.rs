//! Every parser of what comes from outside, against bytes that nobody would write.
//!
//! A [`Target`] takes bytes, hands them to a parser, and asserts what must hold whatever they are; its seeds are good
//! inputs, mostly from the vectors. [`fuzz`] changes them at random and keeps those that come to something new, by the
//! label that the target gives its outcome. It needs no instrumentation, runs in any test, and a run is told by its
//! seed. `cargo xtask fuzz` runs it for as long as one likes.
//!
//! Nothing of it is in a shipped build.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // A panic is how a target says what it found.

mod buyers;
mod exchanges;
mod ledgers;
mod mutate;
mod payments;
mod proofs;
mod receipts;
mod requests;
mod texts;
mod tokens;

use mutate::Mutator;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What came of an input, in a few words: `ok…` if it was read, else why not. Inputs with a label that was not seen
/// before are kept, so it must not repeat the input.
pub type Label = Cow<'static, str>;

/// A parser, and what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What it reads.
    pub reads: &'static str,
    /// Good inputs, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Hands an input to the parser. Panics if something does not hold.
    pub run: fn(&[u8]) -> Label,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    texts::JSON,
    texts::JWK,
    texts::JWS,
    texts::POLICY,
    tokens::CREDENTIAL,
    tokens::CLAIMS,
    tokens::DELEGATION,
    tokens::GRANTS,
    proofs::FIELDS,
    proofs::SHOWN,
    proofs::PROOF,
    proofs::INTRODUCTION,
    payments::HEADER,
    payments::PAYMENT,
    payments::PAYMENT_V1,
    payments::FACILITATOR,
    payments::SUPPORTED,
    payments::CHAIN,
    payments::OVERRIDES,
    requests::PATH,
    requests::REQUEST,
    receipts::AUDIT,
    receipts::RECEIPT,
    receipts::OFFER_RECEIPT,
    ledgers::MESSAGE,
    ledgers::ANSWER,
    ledgers::SHARED,
    exchanges::EXCHANGE,
    buyers::CHALLENGE,
    buyers::POLICY,
    buyers::COUNTERS,
    buyers::TYPED_DATA,
    buyers::ADDRESS,
    buyers::GRANT,
    buyers::PURCHASE,
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Inputs tried.
    pub executions: u64,
    /// Inputs kept, the seeds included.
    pub kept: usize,
    /// How often each label came up; at most [`MAX_LABELS`] of them.
    pub labels: BTreeMap<String, u64>,
    /// The longest that one input took.
    pub slowest: Duration,
    /// The first input that did not hold. The run ends there.
    pub finding: Option<Finding>,
}

/// An input for which a target panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
}

/// Labels that a run tells apart, and so inputs that it keeps beside the seeds.
pub const MAX_LABELS: usize = 4096;
/// Bytes that an input may have.
const MAX_INPUT: usize = 16 * 1024;

/// Runs `target` until `enough`, which is told how many inputs were tried. The seeds come first, all of them.
pub fn fuzz(target: &Target, seed: u64, mut enough: impl FnMut(u64) -> bool) -> Report {
    let seeds = (target.seeds)();
    let mut kept = Kept { read: seeds.clone(), refused: Vec::new() };
    let mut mutator = Mutator::new(seed);
    let mut report = Report::default();
    loop {
        let tried = usize::try_from(report.executions).unwrap_or(usize::MAX);
        let input = match seeds.get(tried) {
            Some(seed) => seed.clone(),
            None if enough(report.executions) => break,
            None => mutator.make(&kept, MAX_INPUT),
        };
        report.executions += 1;
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        report.slowest = report.slowest.max(started.elapsed());
        match outcome {
            Ok(label) => {
                if let Some(count) = report.labels.get_mut(&*label) {
                    *count += 1;
                } else if report.labels.len() < MAX_LABELS {
                    if label.starts_with("ok") { &mut kept.read } else { &mut kept.refused }.push(input);
                    report.labels.insert(label.into_owned(), 1);
                }
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let message = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                report.finding = Some(Finding { input, message: message.unwrap_or_default() });
                break;
            }
        }
    }
    report.kept = kept.read.len() + kept.refused.len();
    report
}

/// Inputs from which others are made.
struct Kept {
    /// Those that were read, the seeds among them.
    read: Vec<Vec<u8>>,
    /// Those that were refused, each for another reason.
    refused: Vec<Vec<u8>>,
}

/// `ok`, or why not.
fn label<T, E: std::fmt::Display>(result: &Result<T, E>) -> Label {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => why(&error.to_string()),
    }
}

/// `ok`, or `none`.
fn option<T>(value: Option<&T>) -> Label {
    if value.is_some() { "ok".into() } else { "none".into() }
}

/// A reason without what it quotes of the input: digits, and whatever stands between quotes; of a long one, the
/// beginning.
fn why(text: &str) -> Label {
    let unquoted = text.split(['"', '`']).step_by(2).flat_map(str::chars);
    unquoted.filter(|c| !c.is_ascii_digit()).take(60).collect::<String>().into()
}

/// The vectors of this name.
macro_rules! vectors {
    ($name:literal) => {
        serde_json::from_str::<serde_json::Value>(include_str!(concat!("../../vectors/", $name, ".json"))).unwrap()
    };
}
use vectors;

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds for each target: `FAREBOX_FUZZ_MILLIS`, or 100.
    fn budget() -> Duration {
        let millis = std::env::var("FAREBOX_FUZZ_MILLIS").ok().and_then(|millis| millis.parse().ok());
        Duration::from_millis(millis.unwrap_or(100))
    }

    #[test]
    fn nothing_that_comes_from_outside_makes_a_parser_panic_or_contradict_itself() {
        for target in TARGETS {
            let started = Instant::now();
            let report = fuzz(target, 1, |_| started.elapsed() >= budget());
            println!("{:16} {:8} inputs, {:4} kept", target.name, report.executions, report.kept);
            if let Some(Finding { input, message }) = report.finding {
                panic!("{}: {message}\ninput: {}", target.name, input.escape_ascii());
            }
        }
    }

    #[test]
    fn every_target_has_seeds_that_are_read() {
        for target in TARGETS {
            let labels: Vec<_> = (target.seeds)().iter().map(|seed| (target.run)(seed)).collect();
            let read = labels.iter().filter(|label| label.starts_with("ok")).count();
            assert!(2 * read >= labels.len() && read > 0, "{}: {labels:?}", target.name);
            assert_eq!(TARGETS.iter().filter(|other| other.name == target.name).count(), 1, "{}", target.name);
        }
    }

    #[test]
    fn a_fault_is_found_behind_several_changes() {
        fn run(input: &[u8]) -> Label {
            let Ok(value) = crate::json::parse(input, 1000, 8) else { return "no json".into() };
            let Some(list) = value.get("list").and_then(serde_json::Value::as_array) else { return "no list".into() };
            assert!(!(list.len() > 2 && list.iter().any(serde_json::Value::is_null)), "the fault");
            format!("ok {}", list.len().min(4)).into()
        }
        let seeds = || vec![br#"{"list":[1]}"#.to_vec(), br#"{"null":null}"#.to_vec()];
        let target = Target { name: "faulty", reads: "", seeds, run };
        let report = fuzz(&target, 1, |tried| tried > 200_000);
        let finding = report.finding.unwrap();
        assert_eq!(finding.message, "the fault");
        assert!(catch_unwind(|| run(&finding.input)).is_err(), "the input is the one");
        assert_eq!(fuzz(&target, 1, |tried| tried > 200_000).finding, Some(finding), "a run is told by its seed");
    }
}
