//! `farebox audit verify` finds what was done to a log.

mod common;

use common::{farebox, json, log, text, write_keys};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

fn write(folder: &Path, name: &str, lines: &[String]) {
    std::fs::write(folder.join(name), lines.join("\n") + "\n").unwrap();
}

/// Exit code and findings.
fn verify(folder: &Path, more: &[&str]) -> (i32, Vec<String>) {
    let (code, value) = json(folder, &[&["audit", "verify", "--keys", "jwks.json"], more].concat());
    assert_eq!(value["ok"], code == 0);
    let name = |finding: &Value| format!("{} {}", finding["finding"].as_str().unwrap(), finding["seq"]);
    (code, value["findings"].as_array().unwrap().iter().map(name).collect())
}

#[test]
fn an_honest_log_of_100_000_lines_passes_in_seconds_and_a_touched_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    let lines = log(1, 100_000, 1000);
    write(folder, "audit.log", &lines);

    let started = Instant::now();
    let (code, value) = json(folder, &["audit", "verify", "--keys", "jwks.json", "audit.log"]);
    let took = started.elapsed();
    println!("100 000 lines verified in {} ms", took.as_millis());
    assert_eq!(code, 0);
    assert_eq!(value["logs"][0]["end"], 100_000);
    assert_eq!(value["logs"][0]["kinds"]["head"], 100);
    assert_eq!(value["logs"][0]["unsigned"], 999);
    assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 }), "{took:?}");

    let lines = lines[..10_000].to_vec();
    let mut edited = lines.clone();
    edited[5001] = edited[5001].replace("\"amount\":\"1\"", "\"amount\":\"2\"");
    write(folder, "edited.log", &edited);
    assert_eq!(verify(folder, &["edited.log"]), (1, vec!["edited_line 5001".to_owned()]));

    let mut removed = lines.clone();
    removed.remove(7000);
    write(folder, "removed.log", &removed);
    assert_eq!(verify(folder, &["removed.log"]), (1, vec!["missing_lines 7000".to_owned()]));

    write(folder, "cut.log", &lines[..8500]);
    assert_eq!(verify(folder, &["cut.log"]), (0, Vec::new()), "a log alone does not show where it ended");
    write(folder, "kept.txt", &[lines[9000].clone()]);
    assert_eq!(verify(folder, &["--head", "kept.txt", "cut.log"]), (1, vec!["cut_tail 8500".to_owned()]));
    assert_eq!(verify(folder, &["--head", "kept.txt", "edited.log"]).1.len(), 1);
    assert_eq!(verify(folder, &["--head", "kept.txt", "audit.log"]), (0, Vec::new()));
}

#[test]
fn a_fork_is_found_in_one_file_and_against_a_head_kept_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    // The same key wrote two histories of one log, which part where the budgets differ: at once.
    let (one, other) = (log(1, 40, 10), log(1, 41, 10));
    write(folder, "one.log", &one);
    write(folder, "other.log", &other);
    assert_eq!(verify(folder, &["one.log"]), (0, Vec::new()));
    assert_eq!(verify(folder, &["other.log"]), (0, Vec::new()));
    assert_eq!(verify(folder, &["one.log", "other.log"]), (1, vec!["fork 1".to_owned()]));
    assert_eq!(
        verify(folder, &["--head", "other.log", "one.log"]),
        (1, vec!["fork 10".to_owned(), "fork 20".to_owned(), "fork 30".to_owned(), "fork 40".to_owned()])
    );
}

#[test]
fn a_finding_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    let mut lines = log(1, 30, 10);
    lines[14] = lines[14].replace("\"status\":200", "\"status\":500");
    let prefixed: Vec<String> =
        lines.iter().map(|line| format!("[2026-11-23][info][wasm] wasm log farebox: {line}")).collect();
    write(folder, "a.log", &prefixed[..10]);
    write(folder, "b.log", &prefixed[10..]);
    let (code, out, _) = text(folder, &["audit", "verify", "--keys", "jwks.json", "b.log", "a.log"]);
    assert_eq!(code, 1);
    assert!(out.contains("b.log:5: edited_line in log AQEBAQEBAQEBAQEBAQEBAQ: line 14 "), "{out}");
    assert!(out.ends_with("NOT whole: 1 finding\n"), "{out}");
    let (_, value) = json(folder, &["audit", "verify", "--keys", "jwks.json", "b.log", "a.log"]);
    assert_eq!(
        (value["findings"][0]["file"].as_str(), value["findings"][0]["line"].as_u64()),
        (Some("b.log"), Some(5))
    );
    let (code, _) = verify(folder, &["b.log"]);
    assert_eq!(code, 1, "the beginning is not there");
    std::fs::write(folder.join("b.log"), prefixed[15..].join("\n")).unwrap();
    assert_eq!(verify(folder, &["--partial", "b.log"]), (0, Vec::new()));
}

#[test]
fn who_has_no_keys_must_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    write(folder, "audit.log", &log(1, 30, 10));
    assert_eq!(text(folder, &["audit", "verify", "audit.log"]).0, 2);
    assert_eq!(text(folder, &["audit", "verify", "--chain-only", "audit.log"]).0, 0);
    assert_eq!(text(folder, &["audit", "verify", "--chain-only", "--keys", "jwks.json", "audit.log"]).0, 2);
    let (code, _) = json(folder, &["keygen", "other.jwk"]);
    assert_eq!(code, 0);
    let (code, value) = json(folder, &["audit", "verify", "--keys", "other.jwk", "audit.log"]);
    assert_eq!((code, value["findings"][0]["finding"].as_str()), (1, Some("bad_head")));
}

#[test]
fn a_file_without_a_log_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    std::fs::write(folder.join("other.log"), "nothing\nof ours\n").unwrap();
    assert_eq!(verify(folder, &["other.log"]), (1, Vec::new()));
    assert_eq!(text(folder, &["audit", "verify", "--keys", "jwks.json", "none.log"]).0, 2);
    assert_eq!(text(folder, &["audit", "verify", "--keys", "jwks.json", "--head", "other.log", "other.log"]).0, 2);
    let output = farebox(folder, &["audit", "verify"]);
    assert_eq!(output.status.code(), Some(2));
}
