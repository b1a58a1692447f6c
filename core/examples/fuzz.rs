//! Runs the fuzz targets of the core for as long as one likes: `cargo xtask fuzz`, which builds it as it should be
//! built.
//!
//! `fuzz [--seconds N] [--seed N] [--jobs N] [--list] [--input FILE] [target…]`; without a target, all of them.

use farebox_core::fuzz::{Finding, TARGETS, Target, fuzz, target};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything held.
fn run(mut arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut seconds, mut seed, mut input, mut targets) = (10, since_epoch.as_secs(), None, Vec::new());
    let mut jobs = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().and_then(|value| value.parse().ok());
            value.ok_or(format!("{argument} takes a number"))
        };
        match argument.as_str() {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--jobs" => jobs = number()?.max(1),
            "--input" => input = Some(arguments.next().ok_or("--input takes a file")?),
            "--list" => {
                TARGETS.iter().for_each(|target| println!("{:16} {}", target.name, target.reads));
                return Ok(true);
            }
            name => targets.push(target(name).ok_or(format!("no target {name:?}; --list shows them"))?),
        }
    }
    if let Some(file) = input {
        let [target] = targets[..] else { return Err("--input takes one target".to_owned()) };
        let bytes = std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
        println!("{}", (target.run)(&bytes));
        return Ok(true);
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    // What a panic says is printed with its input, once.
    std::panic::set_hook(Box::new(|_| {}));
    println!("seed {seed}, {seconds} s each, {jobs} at a time");
    let (next, findings) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !holds(target, seed, Duration::from_secs(seconds)) {
                        findings.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let findings = findings.into_inner();
    println!("{findings} findings");
    Ok(findings == 0)
}

fn holds(target: &Target, seed: u64, time: Duration) -> bool {
    let started = Instant::now();
    let report = fuzz(target, seed, |_| started.elapsed() >= time);
    let rate = report.executions as f64 / started.elapsed().as_secs_f64().max(0.001);
    let read: u64 = report.labels.iter().filter(|(label, _)| label.starts_with("ok")).map(|(_, count)| count).sum();
    println!(
        "{:16} {:>10} inputs, {:>8.0}/s, {:>3.0} % read, {:>4} outcomes, slowest {:.1} ms",
        target.name,
        report.executions,
        rate,
        100.0 * read as f64 / report.executions.max(1) as f64,
        report.labels.len(),
        report.slowest.as_secs_f64() * 1000.0,
    );
    let Some(Finding { input, message }) = report.finding else { return true };
    let file = std::env::temp_dir().join(format!("farebox-fuzz-{}-{seed}", target.name));
    println!("  FOUND {message}\n  input {}", input.escape_ascii());
    match std::fs::write(&file, &input) {
        Ok(()) => println!("  again: cargo xtask fuzz --input {} {}", file.display(), target.name),
        Err(error) => println!("  {}: {error}", file.display()),
    }
    false
}
