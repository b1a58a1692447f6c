//! Receipts, offers and audit logs, as whoever keeps them reads them.

use super::texts::{key, public};
use super::{Label, Target, label, vectors, why};
use crate::json;
use crate::rail::x402::offer_receipt;
use crate::receipt::Receipt;
use crate::receipt::audit::{Entry, Kind, Log};
use crate::receipt::verify::{Head, Trust, Verifier};
use serde_json::json;

pub(super) const AUDIT: Target =
    Target { name: "audit", reads: "lines of an audit log", seeds: || vec![log(), log_with_noise()], run: run_audit };

/// A log of a few lines and a head.
fn log() -> Vec<u8> {
    let mut log = Log::new([7; 16]);
    let mut text = log.head("https://api.example.com", &key("gateway"), 1_800_000_000);
    text.push('\n');
    for (index, kind) in [Kind::Charge, Kind::Draw, Kind::Refusal, Kind::Draw].into_iter().enumerate() {
        let entry = Entry { what: Some("something \"quoted\""), ..Entry::new(kind, "route") };
        text.push_str(&log.line(&entry, 1_800_000_000 + index as u64));
        text.push('\n');
    }
    text.push_str(&log.head("https://api.example.com", &key("gateway"), 1_800_000_010));
    text.push('\n');
    text.into_bytes()
}

fn log_with_noise() -> Vec<u8> {
    let text = String::from_utf8(log()).unwrap();
    text.lines()
        .map(|line| format!("[2027-01-15 08:00:00.000][7][info] farebox: {line}\nother\n"))
        .collect::<String>()
        .into()
}

fn run_audit(input: &[u8]) -> Label {
    let mut verifier = Verifier::new(Trust::Keys(public().to_vec()), false);
    let mut last = None;
    for (place, line) in (1..).zip(input.split(|byte| *byte == b'\n')) {
        verifier.read(place, line);
        last = std::str::from_utf8(line).ok().filter(|line| line.contains("head")).or(last);
    }
    let kept = last.is_some_and(|line| verifier.keep_head(line).is_ok());
    let report = verifier.finish();
    if report.findings.is_empty() && !report.logs.is_empty() {
        return format!("ok, {} {kept}", report.logs.len().min(3)).into();
    }
    let mut words: Vec<_> = report.findings.iter().map(|finding| finding.what.wire()).collect();
    words.sort_unstable();
    words.dedup();
    words.join(" ").into()
}

pub(super) const RECEIPT: Target = Target {
    name: "receipt",
    reads: "receipts and heads",
    seeds: || super::texts::signed().iter().skip(5).take(2).cloned().collect(),
    run: run_receipt,
};

fn run_receipt(input: &[u8]) -> Label {
    let Ok(text) = std::str::from_utf8(input) else { return "not utf-8".into() };
    let read = Receipt::read(text, public());
    if let Ok(receipt) = &read {
        assert_eq!(Receipt::unverified(text).as_ref(), Ok(receipt));
        assert!(super::texts::signed().iter().any(|known| known == input), "nobody signed this");
    }
    let head = Head::read(text, &Trust::Keys(public().to_vec()));
    assert!(head.is_err(), "a receipt is no head");
    let _ = Head::read(text, &Trust::ChainOnly);
    label(&read)
}

pub(super) const OFFER_RECEIPT: Target = Target {
    name: "offer-receipt",
    reads: "x402's signed offers and receipts",
    seeds: || {
        let signature = &vectors!("x402")["offer_jws"];
        let receipt = offer_receipt::Receipt {
            issued_at: 1_800_000_000,
            network: "eip155:84532".to_owned(),
            payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
            resource_url: "https://api.example.com/premium-data".to_owned(),
            transaction: None,
            version: 1,
        };
        let offer = json!({ "info": { "offers": [{ "format": "jws", "acceptIndex": 0, "signature": signature }] } });
        let key = key("gateway");
        let member = receipt.member(&key, &offer_receipt::did_key(&key.public()));
        vec![offer.to_string().into_bytes(), member.to_string().into_bytes()]
    },
    run: |input| {
        let Ok(member) = json::parse(input, 1 << 16, 16) else { return "no json".into() };
        let receipt = offer_receipt::Receipt::read(&member, public());
        let offer = offer_receipt::offer(&member, 0, public());
        match (receipt, offer) {
            (Some(_), _) => "ok, a receipt".into(),
            (_, Some(_)) => "ok, an offer".into(),
            _ => why("neither"),
        }
    },
};
