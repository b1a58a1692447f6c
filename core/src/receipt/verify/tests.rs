use super::*;
use crate::crypto::jws;
use crate::crypto::keys::{Algorithm, SigningKey};
use crate::receipt::audit::{Cadence, Entry, HEAD_TYPE, Log, Position};
use crate::receipt::{Amount, Draw};
use proptest::prelude::*;
use serde_json::json;

const ISSUER: &str = "https://api.example.com";

fn key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap()
}

fn trust() -> Trust {
    Trust::Keys(vec![key().public()])
}

/// An honest log of `lines` lines, a head before every `every`th of them, one second apart.
fn honest(name: u8, lines: u64, every: u64) -> Vec<String> {
    let mut log = Log::new([name; 16]);
    let cadence = Cadence { lines: every - 1, seconds: 1_000_000 };
    let units = [Draw { unit: "call".into(), amount: Amount(1), left: Some(Amount(u128::from(lines))) }];
    (0..lines)
        .map(|now| {
            if log.head_due(cadence, now) {
                return log.head(ISSUER, &key(), now);
            }
            let entry = Entry { status: Some(200), tok: Some("t"), draw: &units, ..Entry::new(Kind::Draw, "report") };
            log.line(&entry, now)
        })
        .collect()
}

fn verified<T: AsRef<str>>(lines: &[T], partial: bool, kept: &[&str]) -> Report {
    let mut verifier = Verifier::new(trust(), partial);
    for head in kept {
        assert!(verifier.keep_head(head).unwrap());
    }
    for (place, line) in (1..).zip(lines) {
        verifier.read(place, line.as_ref().as_bytes());
    }
    verifier.finish()
}

/// Findings as `what seq`.
fn found<T: AsRef<str>>(lines: &[T], kept: &[&str]) -> Vec<String> {
    let report = verified(lines, false, kept);
    report.findings.iter().map(|finding| format!("{} {}", finding.what.wire(), finding.seq)).collect()
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn an_honest_log_is_whole() {
    for lines in [1, 2, 9, 10, 11, 100] {
        let report = verified(&honest(1, lines, 10), false, &[]);
        assert_eq!(report.findings, [], "{lines}");
        let log = &report.logs[0];
        assert_eq!((log.first, log.end, log.repeated), (0, lines, 0));
        assert_eq!(log.unsigned, (lines - 1) % 10, "lines after the last head");
        assert_eq!(log.times, (0, lines - 1));
    }
}

#[test]
fn every_edited_line_is_found() {
    let lines = honest(1, 40, 10);
    for edited in 0..39 {
        let mut lines = lines.clone();
        lines[edited] = match edited % 10 {
            0 => lines[edited].replace("\"iat\":", "\"iat\":9"),
            _ => lines[edited].replace("\"status\":200", "\"status\":402"),
        };
        assert_eq!(found(&lines, &[]), [format!("edited_line {edited}")], "{edited}");
    }
    // Nothing comes after the last line, so only what is kept elsewhere shows it.
    let mut last = lines.clone();
    last[39] = last[39].replace("\"status\":200", "\"status\":402");
    assert_eq!(found(&last, &[]), nothing());
    assert_eq!(verified(&last, false, &[]).logs[0].unsigned, 9);
    let longer = honest(1, 41, 10);
    assert_eq!(found(&last, &[&longer[40]]), ["fork 40"]);
}

#[test]
fn a_line_written_in_another_form_is_an_edited_line() {
    let mut lines = honest(1, 20, 10);
    lines[5] = lines[5].replace("\"status\":200", "\"status\": 200");
    assert_eq!(found(&lines, &[]), ["edited_line 5"]);
}

#[test]
fn every_line_left_out_is_found() {
    let lines = honest(1, 40, 10);
    for first in 0..39 {
        for count in [1, 3, 10] {
            let mut lines = lines.clone();
            let end = (first + count).min(39);
            lines.drain(first..end);
            let mut expected = vec![format!("missing_lines {first}")];
            if first == 0 && end % 10 == 0 && end < 39 {
                // What is left begins with a head, but not as a log begins.
                expected = vec!["missing_lines 0".to_owned()];
            }
            assert_eq!(found(&lines, &[]), expected, "{first}..{end}");
        }
    }
}

#[test]
fn a_chain_written_anew_is_found_by_the_heads() {
    // Whoever has the log and not the key: another line 5, and a chain to it from there on. The heads stay.
    let honest = honest(1, 30, 10);
    let mut forged: Vec<String> = honest[..5].to_vec();
    let mut prev = merkle_of(&forged[4]);
    for line in &honest[5..] {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["seq"] == 5 {
            line["status"] = json!(402);
        }
        line["prev"] = json!(base64url::encode(&prev));
        let line = crate::json::canonical(&line).unwrap();
        prev = merkle_of(&line);
        forged.push(line);
    }
    assert_eq!(found(&forged, &[]), ["bad_head 10", "bad_head 20"]);
    let mut blind = Verifier::new(Trust::ChainOnly, false);
    forged.iter().for_each(|line| blind.read(0, line.as_bytes()));
    let findings = blind.finish().findings;
    assert_eq!(findings.len(), 2, "the heads still say it, if they were left: {findings:?}");
}

fn merkle_of(line: &str) -> Hash {
    crate::receipt::merkle::leaf(line.as_bytes())
}

#[test]
fn two_histories_are_a_fork() {
    let lines = honest(1, 30, 10);
    // The same log went on differently from line 15, with the same key.
    let mut log = Log::new([1; 16]);
    let mut other = Vec::new();
    let units = [Draw { unit: "call".into(), amount: Amount(1), left: Some(Amount(30)) }];
    for now in 0..30 {
        if log.head_due(Cadence { lines: 9, seconds: 1_000_000 }, now) {
            other.push(log.head(ISSUER, &key(), now));
            continue;
        }
        let status = if now < 15 { 200 } else { 402 };
        let entry = Entry { status: Some(status), tok: Some("t"), draw: &units, ..Entry::new(Kind::Draw, "report") };
        other.push(log.line(&entry, now));
    }
    assert_eq!(lines[..15], other[..15]);
    assert_eq!(found(&other, &[]), nothing(), "each of them is whole");
    let both: Vec<String> = lines.iter().chain(&other).cloned().collect();
    assert_eq!(found(&both, &[]), ["fork 15"]);
    assert_eq!(verified(&both, false, &[]).logs[0].repeated, 15);
    // In one file only one of them, elsewhere the head of the other.
    assert_eq!(found(&lines, &[&other[20]]), ["fork 20"]);
    assert_eq!(found(&lines, &[&other[10]]), nothing(), "before they parted");
}

#[test]
fn a_line_slipped_in_is_a_fork_at_its_place_alone() {
    let honest = honest(1, 30, 10);
    let mut lines = honest.clone();
    lines.insert(15, honest[15].replace("\"status\":200", "\"status\":402"));
    assert_eq!(found(&lines, &[]), ["fork 15"]);
}

#[test]
fn a_history_written_anew_with_the_key_is_found_by_what_others_keep() {
    let history = |status: u16| {
        let mut log = Log::new([1; 16]);
        let first = log.head(ISSUER, &key(), 0);
        let line = log.line(&Entry { status: Some(status), ..Entry::new(Kind::Draw, "a") }, 1);
        (log, vec![first, line])
    };
    let (mut log, mut lines) = history(200);
    let receipt = Receipt::new(ISSUER, 2, "one", &log.position()).sign(&key());
    let entry = Entry { receipt: Some(Receipt::hash(&receipt)), ..Entry::new(Kind::Charge, "a") };
    lines.push(log.line(&entry, 2));
    let (mut log, mut other) = history(402);
    other.extend([log.line(&entry, 2), log.head(ISSUER, &key(), 3)]);
    let with_receipt = |lines: &[String]| {
        let mut verifier = Verifier::new(trust(), false);
        verifier.keep_receipt(&receipt).unwrap();
        lines.iter().for_each(|line| verifier.read(0, line.as_bytes()));
        verifier.finish().findings.iter().map(|finding| finding.what).collect::<Vec<_>>()
    };
    assert_eq!(with_receipt(&lines), []);
    assert_eq!(with_receipt(&other), [What::Receipt], "the receipt names another line before it");
    // Of a part of a log no root can be made; the chain of hashes says the same.
    assert_eq!(verified(&lines[2..], true, &[&other[3]]).findings[0].what, What::Fork);
}

#[test]
fn a_head_over_other_lines_is_no_head_whoever_signed_it() {
    let mut log = Log::new([1; 16]);
    let first = log.head(ISSUER, &key(), 0);
    let Position { seq, prev, .. } = log.position();
    let claims = json!({
        "iat": 1, "iss": ISSUER, "log": log.id(), "size": seq,
        "prev": base64url::encode(&prev), "root": base64url::encode(&[9; 32]),
    });
    let sth = jws::sign(&key(), HEAD_TYPE, Some(&key().public().thumbprint()), &claims).unwrap();
    let line: serde_json::Value = serde_json::from_str(&log.head(ISSUER, &key(), 1)).unwrap();
    let mut forged = line.clone();
    forged["sth"] = json!(sth);
    assert_eq!(found(&[&first, &crate::json::canonical(&line).unwrap()], &[]), nothing());
    assert_eq!(found(&[&first, &crate::json::canonical(&forged).unwrap()], &[]), ["bad_head 1"]);
}

#[test]
fn a_tail_cut_off_is_found_by_a_head_kept_elsewhere() {
    let lines = honest(1, 40, 10);
    for kept in [10, 20, 30] {
        for end in 1..40 {
            let expected = if end < kept { vec![format!("cut_tail {end}")] } else { nothing() };
            assert_eq!(found(&lines[..end], &[&lines[kept]]), expected, "{end} of {kept}");
        }
    }
    assert_eq!(found(&lines[..25], &[]), nothing(), "without it, nothing can be seen");
    assert_eq!(found(&lines[..25], &[&lines[30], &lines[10]]), ["cut_tail 25"]);
}

#[test]
fn a_head_is_kept_as_a_line_or_as_the_jws_in_it() {
    let lines = honest(1, 40, 10);
    let line: serde_json::Value = serde_json::from_str(&lines[30]).unwrap();
    assert_eq!(found(&lines[..25], &[line["sth"].as_str().unwrap()]), ["cut_tail 25"]);
    let mut verifier = Verifier::new(trust(), false);
    assert_eq!(verifier.keep_head(&lines[1]), Ok(false));
    assert!(verifier.keep_head("a.b.c").is_err());
    let by_another = Log::new([1; 16]).head(ISSUER, &SigningKey::from_secret(Algorithm::EdDsa, &[8; 32]).unwrap(), 1);
    assert_eq!(verifier.keep_head(&by_another), Err(ReceiptError::UnknownKey));
}

#[test]
fn a_whole_log_that_is_gone_is_found() {
    let (one, two) = (honest(1, 20, 10), honest(2, 20, 10));
    assert_eq!(found(&one, &[&two[10]]), ["missing_log 0"]);
    assert_eq!(found::<&str>(&[], &[&two[10]]), ["missing_log 0"]);
}

#[test]
fn a_log_without_a_signed_beginning_is_anybodys() {
    let mut log = Log::new([1; 16]);
    let lines: Vec<String> = (0..5).map(|now| log.line(&Entry::new(Kind::Draw, "a"), now)).collect();
    assert_eq!(found(&lines, &[]), ["no_first_head 0"]);
    let thief = SigningKey::from_secret(Algorithm::EdDsa, &[8; 32]).unwrap();
    let mut log = Log::new([1; 16]);
    let lines = [log.head(ISSUER, &thief, 0), log.line(&Entry::new(Kind::Draw, "a"), 1)];
    assert_eq!(found(&lines, &[]), ["bad_head 0"]);
    assert_eq!(verified(&lines, false, &[]).logs[0].unsigned, 2);
}

#[test]
fn a_head_of_another_log_or_place_is_no_head() {
    let other = honest(2, 11, 10);
    let swap = |into: &str, from: &str| {
        let (mut into, from): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(into).unwrap(), serde_json::from_str(from).unwrap());
        into["sth"] = from["sth"].clone();
        crate::json::canonical(&into).unwrap()
    };
    let mut lines = honest(1, 11, 10);
    lines[10] = swap(&lines[10], &other[10]);
    assert_eq!(found(&lines, &[]), ["bad_head 10"]);
    let mut lines = honest(1, 11, 10);
    lines[10] = swap(&lines[10], &lines[0].clone());
    assert_eq!(found(&lines, &[]), ["bad_head 10"]);
    // A JWS of another kind by the same key.
    let claims = json!({ "iat": 1, "iss": ISSUER, "log": "x", "prev": "", "root": "", "size": 1 });
    let jws = jws::sign(&key(), "receipt+jwt", Some(&key().public().thumbprint()), &claims).unwrap();
    assert_eq!(Head::read(&jws, &trust()), Err(ReceiptError::Jws(jws::JwsError::Type)));
    assert!(HEAD_TYPE != "receipt+jwt");
}

#[test]
fn a_log_does_not_change_hands() {
    let mut log = Log::new([1; 16]);
    let lines = [log.head(ISSUER, &key(), 0), log.head("https://elsewhere.example.com", &key(), 1)];
    assert_eq!(found(&lines, &[]), ["bad_head 1"]);
}

#[test]
fn a_part_of_a_log_is_checked_as_far_as_it_goes() {
    let lines = honest(1, 60, 10);
    let part = |lines: &[String], kept: &[&str]| {
        let findings = verified(lines, true, kept).findings;
        findings.iter().map(|finding| format!("{} {}", finding.what.wire(), finding.seq)).collect::<Vec<_>>()
    };
    assert_eq!(part(&lines[25..], &[&lines[10], &lines[30], &lines[50]]), nothing());
    assert_eq!(part(&lines[25..45], &[&lines[50]]), ["cut_tail 45"]);
    assert_eq!(found(&lines[25..], &[]), ["missing_lines 0"]);
    let mut edited = lines[25..].to_vec();
    edited[3] = edited[3].replace("\"status\":200", "\"status\":402");
    assert_eq!(part(&edited, &[]), ["edited_line 28"]);
    edited.remove(8);
    assert_eq!(part(&edited, &[]), ["edited_line 28", "missing_lines 33"]);
    // Written anew from line 25 on: the signed head says what line 29 was.
    let mut forged = lines[25..].to_vec();
    let mut prev: Option<Hash> = None;
    for line in &mut forged {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["status"] = json!(402);
        if let Some(prev) = prev {
            value["prev"] = json!(base64url::encode(&prev));
        }
        *line = crate::json::canonical(&value).unwrap();
        prev = Some(merkle_of(line));
    }
    assert_eq!(part(&forged, &[])[0], "bad_head 30");
}

#[test]
fn several_logs_lie_in_one_file_among_other_lines() {
    let (one, two) = (honest(1, 30, 10), honest(2, 30, 10));
    let mut file = Vec::new();
    for (one, two) in one.iter().zip(&two) {
        file.push("[2026-11-23 02:54:27.123][12][info][main] starting".to_owned());
        file.push(format!("[2026-11-23 02:54:27.123][12][info][wasm] wasm log farebox: {one}\r"));
        file.push(json!({ "log": format!("12 info wasm log: {two}\n"), "stream": "stderr" }).to_string());
        file.push(String::new());
    }
    let report = verified(&file, false, &[]);
    assert_eq!(report.findings, []);
    assert_eq!(report.passed_over, 60);
    assert_eq!(report.logs.iter().map(|log| (log.end, log.unsigned)).collect::<Vec<_>>(), [(30, 9), (30, 9)]);
    file.remove(4 * 12 + 2);
    assert_eq!(found(&file, &[]), ["missing_lines 12"]);
}

#[test]
fn a_line_that_was_cut_is_found_where_it_is() {
    let mut lines = honest(1, 20, 10);
    let half = lines[5].len() / 2;
    lines[5].truncate(half);
    let report = verified(&lines, false, &[]);
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.what, finding.place)).collect();
    assert_eq!(found, [(What::Unreadable, Some(6)), (What::Missing, Some(5))]);
}

#[test]
fn what_is_no_line_of_ours_is_refused() {
    let good = &honest(1, 2, 10)[1];
    let member = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replace(from, to)
    };
    for bad in [
        member("\"status\":200", "\"status\":200,\"more\":1"),
        member("\"status\":200", "\"status\":200,\"status\":200"),
        member("\"status\":200", "\"status\":200,\"sth\":\"\""),
        member("\"kind\":\"draw\"", "\"kind\":\"gift\""),
        member("\"kind\":\"draw\"", "\"kind\":\"head\""),
        member("\"log\":\"AQ", "\"log\":\""),
        member("\"prev\":\"", "\"prev\":\"A"),
        member("\"amount\":\"1\"", "\"amount\":1"),
        member("\"iat\":1", "\"iat\":-1"),
        format!("{good} and more"),
    ] {
        assert_eq!(found(&[&bad], &[]), ["unreadable_line 0"], "{bad}");
    }
}

#[test]
fn a_receipt_shows_that_its_line_is_there() {
    let mut log = Log::new([1; 16]);
    let mut lines = vec![log.head(ISSUER, &key(), 0), log.line(&Entry::new(Kind::Refusal, "a"), 1)];
    let receipt = |log: &Log, jti: &str| {
        let receipt = Receipt { htm: "GET".to_owned(), ..Receipt::new(ISSUER, 2, jti, &log.position()) };
        receipt.sign(&key())
    };
    let first = receipt(&log, "one");
    lines.push(log.line(&Entry { receipt: Some(Receipt::hash(&first)), ..Entry::new(Kind::Charge, "a") }, 2));
    let second = receipt(&log, "two");
    lines.push(log.line(&Entry { receipt: Some(Receipt::hash(&second)), ..Entry::new(Kind::Charge, "a") }, 3));
    let never = receipt(&log, "three");
    lines.push(log.line(&Entry::new(Kind::Refusal, "a"), 4));
    let with = |lines: &[String], receipt: &str| {
        let mut verifier = Verifier::new(trust(), false);
        verifier.keep_receipt(receipt).unwrap();
        lines.iter().for_each(|line| verifier.read(0, line.as_bytes()));
        let findings = verifier.finish().findings;
        findings.iter().map(|finding| format!("{} {}", finding.what.wire(), finding.seq)).collect::<Vec<_>>()
    };
    assert_eq!(with(&lines, &first), nothing());
    assert_eq!(with(&lines, &second), nothing());
    assert_eq!(with(&lines, &never), ["receipt_mismatch 4"], "it was given out, and the log does not say so");
    assert_eq!(with(&lines[..3], &second), ["cut_tail 3"]);
    assert_eq!(with(&honest(2, 5, 10), &first), ["missing_log 0"]);
}

#[test]
fn times_may_go_back_and_are_told() {
    let mut log = Log::new([1; 16]);
    let lines: Vec<String> = [100, 105, 95, 96]
        .map(|now| if now == 100 { log.head(ISSUER, &key(), now) } else { log.line(&Entry::new(Kind::Draw, "a"), now) })
        .into();
    let report = verified(&lines, false, &[]);
    assert_eq!(report.findings, []);
    assert_eq!(report.logs[0].clock_back, 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever becomes of one line, or of two, is found; and order and repetition are nothing.
    #[test]
    fn no_change_goes_unseen(seed in any::<[u32; 4]>(), lines in 3..60u64) {
        let honest = honest(1, lines, 8);
        let head = Log::new([1; 16]).head(ISSUER, &key(), 0);
        prop_assert_eq!(&honest[0], &head);
        let at = |seed: u32| (seed as usize) % (honest.len() - 1);
        let mut shuffled = honest.clone();
        shuffled.swap(at(seed[0]), at(seed[1]));
        shuffled.insert(at(seed[2]), honest[at(seed[3])].clone());
        prop_assert_eq!(found(&shuffled, &[]), nothing());

        let mut changed = honest.clone();
        let byte = (seed[1] as usize) % changed[at(seed[0])].len();
        let mut bytes = changed[at(seed[0])].clone().into_bytes();
        let bit = 1 << (seed[2] % 7);
        bytes[byte] ^= bit;
        changed[at(seed[0])] = String::from_utf8(bytes).unwrap();
        prop_assert!(!found(&changed, &[]).is_empty(), "byte {} of {:?}", byte, changed[at(seed[0])]);
    }

    /// No text makes the reader panic.
    #[test]
    fn any_text_is_read_or_refused(text in ".*", tail in any::<Vec<u8>>()) {
        let mut verifier = Verifier::new(trust(), true);
        verifier.read(1, &tail);
        for text in [text.clone(), format!("{{\"audit\":1,{text}"), format!("{{\"a\":\"{{\\\"audit\\\":1,{text}")] {
            verifier.read(2, text.as_bytes());
            let _ = verifier.keep_head(&text);
            let _ = verifier.keep_receipt(&text);
        }
        let _ = verifier.finish();
    }
}
