//! The storm, and how fast the host is. `STORM_SENDS=1000000 STORM_SEED=1 cargo test -p farebox-proxy-host
//! --test storm -- --nocapture` is the long one.

mod common;

use common::{Gate, filter, mutants};
use proxy_host::farebox::storm::{MONEY_CALLS, Plan, storm};
use proxy_host::farebox::{AUTHORITY, Attempt, Spelling};
use proxy_host::{Profile, Request};
use std::time::Instant;

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

#[test]
fn no_payment_buys_two_deliveries_or_is_settled_twice() {
    let (seed, sends) = (number("STORM_SEED", 1), number("STORM_SENDS", 20_000));
    for (nth, profile) in (0..).zip([Profile::envoy(), Profile::envoy_body_iteration()]) {
        let plan = Plan { profile, spared: MONEY_CALLS.to_vec(), ..Plan::new(seed + nth, sends / 2) };
        let report = storm(&filter(), &plan).unwrap();
        println!("{report}\n");
        let shown = &report.violations[..report.violations.len().min(10)];
        assert!(report.violations.is_empty(), "{shown:#?}\n{:#?}", report.circumstances);
        assert_eq!(report.own_traps, 0, "{:#?}", report.last_words);
        assert!(report.delivered > 0 && report.races > 0 && report.traps > 0);
        assert!(report.ways.len() == 4 && report.ways.values().all(|count| *count > 10), "{:?}", report.ways);
    }
}

/// Only a VM that traps leaves clients without an answer.
#[test]
fn a_storm_without_traps_leaves_nobody_hanging() {
    let plan = Plan { traps: 0, failures: 0, ..Plan::new(number("STORM_SEED", 1) + 100, 5000) };
    let report = storm(&filter(), &plan).unwrap();
    println!("{report}\n");
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert_eq!(report.answers.get("hung until the client left"), None);
    assert_eq!(report.own_traps, 0);
}

/// A judge that never finds anyone guilty proves nothing: filters with a known fault must be found out.
#[test]
fn the_storm_finds_filters_that_are_wrong() {
    for (mutant, word) in [("no_claim", "settled twice"), ("no_settle", "unpaid")] {
        let plan = Plan { env: vec![("FAREBOX_MUTANT".to_owned(), mutant.to_owned())], ..Plan::new(1, 2000) };
        let report = storm(&mutants(), &plan).unwrap();
        let found = report.violations.iter().filter(|violation| violation.contains(word)).count();
        println!("{mutant}: {} violations, {found} with the word {word:?}", report.violations.len());
        assert!(found > 0, "{mutant}: {report}");
    }
}

/// Prints figures; only a host that has become absurdly slow fails.
#[test]
fn figures() {
    let gate = Gate::new(Profile::envoy(), 1);
    gate.shop.borrow_mut().keep = false;
    let run = |count: u32, with_payment: bool| {
        let payments: Vec<_> = (0..count)
            .map(|nth| {
                let mut nonce = [0; 32];
                nonce[..4].copy_from_slice(&nth.to_be_bytes());
                gate.wallet.pay(10_000, nonce, gate.host.now() / 1000)
            })
            .collect();
        let requests: Vec<_> = payments
            .iter()
            .zip(0_u32..)
            .map(|(payment, nth)| {
                gate.shop.borrow_mut().issue(payment);
                let mut request = Request::new("GET", "http", AUTHORITY, "/after");
                let [_, b, c, d] = nth.to_be_bytes(); // no limit by source is meant here
                request.source = format!("10.{b}.{c}.{d}:4711");
                let header = payment.header(&Spelling::default());
                if with_payment { request.header("payment-signature", &header) } else { request }
            })
            .collect();
        let started = Instant::now();
        for (request, payment) in requests.into_iter().zip(&payments) {
            let id = gate.host.open(0, request);
            let nonce = with_payment.then_some(payment.nonce);
            gate.shop.borrow_mut().attempts.insert(id, Attempt { path: "/after".to_owned(), nonce });
            gate.host.run_until_idle();
            let response = gate.host.take(id).unwrap();
            assert_eq!(response.status, if with_payment { 200 } else { 402 });
        }
        f64::from(count) / started.elapsed().as_secs_f64()
    };
    let (paid, unpaid) = (run(3000, true), run(20_000, false));
    let id = gate.host.open(0, Request::new("GET", "http", AUTHORITY, "/free"));
    gate.host.run_until_idle();
    gate.host.take(id);
    println!("paid exchanges {paid:.0}/s, challenges {unpaid:.0}/s");
    gate.assert_clean("figures");
    assert!(paid > 200.0 && unpaid > 1000.0);
}
