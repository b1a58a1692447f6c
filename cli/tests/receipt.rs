//! `farebox receipt verify`.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{ISSUER, json, key, text, write_keys};
use farebox_core::proof::digest;
use farebox_core::rail::x402::offer_receipt;
use farebox_core::receipt::{Amount, Entry, Kind, Log, Pay, PayState, Receipt};
use serde_json::json;
use std::path::Path;

const URL: &str = "https://api.example.com/v1/quotes/BTC?ccy=usd";
const PAYER: &str = "eip155:8453:0x857b06519E91e3A54538791bDbb0E22373e36b66";

fn receipt(log: &Log, state: PayState) -> Receipt {
    let pay = Pay {
        amount: Some(Amount(10_000)),
        asset: Some("eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".to_owned()),
        network: "eip155:8453".to_owned(),
        pay_to: Some("eip155:8453:0x209693Bc6afc0C5328bA36FaF03C514EF312287C".to_owned()),
        payer: Some(PAYER.to_owned()),
        scheme: "exact".to_owned(),
        state,
        transaction: Some("0xab".to_owned()),
    };
    Receipt {
        htm: "GET".to_owned(),
        htu: URL.to_owned(),
        status: 200,
        req_digest: Some(digest::field(b"")),
        res_digest: Some(digest::field(b"{}")),
        pay: Some(pay),
        ..Receipt::new(ISSUER, 1_795_000_020, "r-1", &log.position())
    }
}

/// Exit code and reason.
fn verify(folder: &Path, more: &[&str]) -> (i32, Option<String>) {
    let (code, value) = json(folder, &[&["receipt", "verify", "--keys", "jwks.json"], more].concat());
    assert_eq!(value["ok"], code == 0);
    (code, value["reason"].as_str().map(str::to_owned))
}

#[test]
fn a_receipt_is_genuine_and_the_one_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    let jws = receipt(&Log::new([1; 16]), PayState::Settled).sign(&key());
    std::fs::write(folder.join("receipt.txt"), format!("{jws}\n")).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("body"), "{}").unwrap();
    let asked = ["--paid", "--issuer", ISSUER, "--method", "GET", "--url", URL, "--status", "200", "--payer", PAYER];
    let bodies = ["--request-body", "empty", "--response-body", "body"];
    assert_eq!(verify(folder, &[&asked[..], &bodies, &["receipt.txt"]].concat()), (0, None));
    assert_eq!(verify(folder, &[&jws]), (0, None));
    assert_eq!(verify(folder, &["--payer", "0x857B06519e91e3a54538791bDbb0E22373e36b66", &jws]), (0, None));
    let differs = (1, Some("differs".to_owned()));
    for other in [
        ["--issuer", "https://elsewhere.example.com"],
        ["--method", "POST"],
        ["--url", "https://api.example.com/v1/quotes/BTC"],
        ["--status", "201"],
        ["--payer", "0x0000000000000000000000000000000000000001"],
        ["--request-body", "body"],
        ["--response-body", "empty"],
    ] {
        assert_eq!(verify(folder, &[&other[..], &[&jws]].concat()), differs, "{other:?}");
    }
    let (code, out, _) = text(folder, &["receipt", "verify", "--keys", "jwks.json", "receipt.txt"]);
    assert!(code == 0 && out.contains("10000 of eip155:8453/erc20:") && out.ends_with("genuine\n"), "{out}");
}

#[test]
fn a_payment_that_was_only_verified_is_never_read_as_paid() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    for state in [PayState::Verified, PayState::Failed, PayState::Unknown] {
        let jws = receipt(&Log::new([1; 16]), state).sign(&key());
        assert_eq!(verify(folder, &[&jws]).0, 0);
        assert_eq!(verify(folder, &["--paid", &jws]).0, 1);
        let (_, out, _) = text(folder, &["receipt", "verify", "--keys", "jwks.json", &jws]);
        assert!(!out.contains("settled"), "{out}");
    }
    let (_, out, _) = text(
        folder,
        &["receipt", "verify", "--keys", "jwks.json", &receipt(&Log::new([1; 16]), PayState::Verified).sign(&key())],
    );
    assert!(out.contains("this proves no payment"), "{out}");
}

#[test]
fn a_forged_receipt_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    assert_eq!(json(folder, &["keygen", "thief.jwk"]).0, 0);
    let jws = receipt(&Log::new([1; 16]), PayState::Settled).sign(&key());
    let (code, value) = json(folder, &["receipt", "verify", "--keys", "thief.jwk", &jws]);
    assert_eq!((code, value["reason"].as_str()), (1, Some("bad_receipt")));
    let mut parts: Vec<&str> = jws.split('.').collect();
    let other = receipt(&Log::new([2; 16]), PayState::Settled).sign(&key());
    parts[1] = other.split('.').nth(1).unwrap();
    assert_eq!(verify(folder, &[&parts.join(".")]), (1, Some("bad_receipt".to_owned())));
    assert_eq!(text(folder, &["receipt", "verify", "--keys", "jwks.json", "nothing.txt"]).0, 2);
    assert_eq!(text(folder, &["receipt", "verify", &jws]).0, 2);
}

#[test]
fn the_receipt_in_a_payment_response_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    let receipt = offer_receipt::Receipt {
        issued_at: 1_795_000_020,
        network: "eip155:8453".to_owned(),
        payer: "0x857b06519E91e3A54538791bDbb0E22373e36b66".to_owned(),
        resource_url: URL.to_owned(),
        transaction: None,
        version: 1,
    };
    let member = receipt.member(&key(), &offer_receipt::did_web(ISSUER, &key().public()));
    let header = |extensions| STANDARD.encode(json!({ "success": true, "extensions": extensions }).to_string());
    let good = header(json!({ "offer-receipt": member }));
    assert_eq!(verify(folder, &["--url", URL, "--payer", PAYER.rsplit(':').next().unwrap(), &good]), (0, None));
    assert_eq!(verify(folder, &["--url", "https://api.example.com/", &good]).0, 1);
    assert_eq!(verify(folder, &["--status", "200", &good]).0, 1, "it does not say");
    assert_eq!(verify(folder, &[&header(json!({}))]), (1, Some("no_receipt".to_owned())));
    let mut forged = member;
    forged["info"]["receipt"]["signature"] = json!("a.b.c");
    assert_eq!(verify(folder, &[&header(json!({ "offer-receipt": forged }))]), (1, Some("bad_receipt".to_owned())));
}

#[test]
fn a_log_must_record_the_receipts_that_were_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_keys(folder);
    let mut log = Log::new([1; 16]);
    let mut lines = vec![log.head(ISSUER, &key(), 1_795_000_000)];
    let jws = receipt(&log, PayState::Settled).sign(&key());
    let entry = Entry { receipt: Some(Receipt::hash(&jws)), ..Entry::new(Kind::Charge, "quotes") };
    lines.push(log.line(&entry, 1_795_000_020));
    let never = receipt(&log, PayState::Settled).sign(&key());
    lines.push(log.line(&Entry::new(Kind::Refusal, "quotes"), 1_795_000_021));
    std::fs::write(folder.join("audit.log"), lines.join("\n")).unwrap();
    std::fs::write(folder.join("good"), &jws).unwrap();
    std::fs::write(folder.join("never"), format!("{jws}\n{never}\n")).unwrap();
    let verify =
        |receipts: &str| json(folder, &["audit", "verify", "--keys", "jwks.json", "--receipt", receipts, "audit.log"]);
    assert_eq!(verify("good").0, 0);
    let (code, value) = verify("never");
    assert_eq!((code, value["findings"][0]["finding"].as_str()), (1, Some("receipt_mismatch")));
}
