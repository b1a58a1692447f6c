//! How long a decision and a signed payment take: medians, in microseconds.
//!
//! `cargo run --release -p farebox-core --example decision_speed`

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_core::agent::challenge::Challenge;
use farebox_core::agent::counters::Counters;
use farebox_core::agent::decide;
use farebox_core::agent::pay::{Binding, Draft, SessionKey};
use farebox_core::agent::policy::Policy;
use farebox_core::agent::purse::Purse;
use farebox_core::agent::request::Request;
use std::hint::black_box;
use std::time::Instant;

const NOW: u64 = 1_800_000_000;
const POLICY: &str = r#"{
    "version": 1,
    "assets": [
        { "asset": "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e", "unit": "usd" },
        { "asset": "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "unit": "usd" }
    ],
    "allow": [{ "match": { "hosts": ["api.example.com", "*.example.org"], "methods": ["GET"], "resources": ["/v1/*"] } }],
    "deny": [{ "match": { "hosts": ["evil.example.org"] } }],
    "caps": [{ "max": "0.05 usd" }],
    "budgets": [
        { "name": "day", "max": "1 usd", "seconds": 86400 },
        { "name": "host", "max": "0.5 usd", "seconds": 86400, "per": ["host"] },
        { "name": "total", "max": "10 usd" }
    ],
    "calls": [{ "name": "minute", "max": 60, "seconds": 60, "per": ["host"] }],
    "approvals": [{ "above": "0.5 usd" }],
    "slippage": { "last_bps": 500 },
    "payees": { "on_change": "deny" },
    "duplicates": { "seconds": 5, "then": "deny" },
    "breaker": { "faults": 5, "seconds": 600 }
}"#;

/// The middle of so many runs of `work`, each of a batch.
fn median(mut work: impl FnMut()) -> f64 {
    const BATCH: u32 = 50;
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..BATCH {
                work();
            }
            begun.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn challenge(offers: usize) -> Challenge {
    let offer = r#"{ "scheme": "exact", "network": "eip155:84532", "amount": "10000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "maxTimeoutSeconds": 300, "extra": { "name": "USDC", "version": "2" } }"#;
    let json = format!(r#"{{ "x402Version": 2, "accepts": [{}] }}"#, vec![offer; offers].join(","));
    let value = STANDARD.encode(json);
    Challenge::read(&[("payment-required", value.as_str())].into_iter().collect(), b"").expect("a challenge")
}

fn main() {
    let policy = Policy::load(POLICY.as_bytes()).expect("a policy");
    let key = SessionKey::new(&[7; 32]).expect("a key");
    let purse = Purse::of_key(key.address());
    let mut counters = Counters::begin(&policy, NOW);
    let request = Request::new("GET", "https://api.example.com/v1/quotes/btc?ccy=usd").expect("a request");
    for paid in 0..20u8 {
        // Counters that have seen something.
        let request = Request::new("GET", &format!("https://api.example.com/v1/quotes/{paid}")).expect("a request");
        let _ = counters.reserve(&policy, &challenge(1), &request, &purse, [paid; 16], NOW);
    }
    for offers in [1, 4, 16] {
        let challenge = challenge(offers);
        let micros = median(|| {
            black_box(decide(&policy, black_box(&challenge), &request, &purse, &counters, NOW + 10));
        });
        println!("decision, {offers} offers: {micros:.1} µs");
    }
    let one = challenge(1);
    let decision = decide(&policy, &one, &request, &purse, &counters, NOW + 10);
    let choice = decision.choice().expect("a choice");
    let micros = median(|| {
        let draft = Draft::new(&one, choice, &request, Binding { id: &[1; 16], holder: None }, NOW).expect("a draft");
        let signature = key.signature(&draft).expect("a signature");
        black_box(draft.finish(&signature).expect("a payment"));
    });
    println!("signed EIP-3009 payment: {micros:.0} µs");
}
