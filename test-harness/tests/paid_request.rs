//! A paid request through a real Envoy, with a real chain, the official facilitator and the official client.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rig::accounts::{BUYER, PAYEE};
use rig::envoy_config::read_access_log;
use rig::scenario::{self, Refusal};
use rig::stack::test_policy;
use rig::{Fault, Operation, Plan, Purchase, Stack, Tools};

const PRICE: u128 = 10_000;

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::ensure(&|step| eprintln!("· {step}")).unwrap())
}

fn plan() -> Plan {
    plan_with(&[])
}

fn plan_with(features: &[&str]) -> Plan {
    Plan::new(rig::wasm::build(tools(), "farebox-filter", features).unwrap(), test_policy)
}

async fn stack() -> Stack {
    Stack::start(tools(), plan()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_pays_whatever_the_host_may_hold_and_however_the_policy_is_given() {
    for (stop_iteration, structured) in [(false, true), (true, false)] {
        let stack = Stack::start(tools(), Plan { stop_iteration, structured, ..plan() }).await.unwrap();
        for (path, verifies) in [("/plain/after", 1), ("/plain/before", 0), ("/plain/users/%7E7?q=%2F", 1)] {
            let paid = scenario::buy(&stack, path).await.unwrap();
            assert_eq!(paid.bought.status, 200, "{path}: {}", paid.bought.body);
            assert_eq!((paid.payee_delta, paid.transferred), (PRICE, Some(PRICE)), "{path}");
            assert_eq!((paid.asked.verify, paid.asked.settle, paid.hits), (verifies, 1, 1), "{path}");
            assert!(!paid.payment_leaked);
            assert_eq!(paid.bought.headers["cache-control"], "private, no-store");
        }
        assert_eq!(stack.upstream.hits()[0].target, "/plain/users/~7?q=%2F", "what is judged is what is forwarded");
        let free = scenario::send(&stack, "GET", "/plain/free", None).await.unwrap();
        assert_eq!(free.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_costs_what_get_costs_and_other_methods_too() {
    let stack = stack().await;
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS"] {
        let got = scenario::send(&stack, method, "/plain/after", None).await.unwrap();
        assert_eq!(got.status, 402, "{method}");
        assert!(got.headers.contains_key("payment-required"), "{method}");
    }
    assert!(stack.upstream.hits().is_empty());
    let purchase = Purchase::get(stack.url("/upload")).method("POST").body("x".repeat(300_000));
    let bought = stack.buyer.pay(purchase).await.unwrap();
    assert_eq!(bought.status, 200);
    assert_eq!(stack.upstream.hits()[0].body.len(), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_payment_at_once_over_two_workers_is_served_and_settled_once() {
    let stack = stack().await;
    for path in ["/slow?ms=200", "/plain/before"] {
        let found = scenario::stampede(&stack, path, 200).await.unwrap();
        assert_eq!(found.answers.get("200 served"), Some(&1), "{found:?}");
        assert_eq!(
            (found.hits, found.settle_calls, found.transfers, found.authorizations_used),
            (1, 1, 1, 1),
            "{found:?}"
        );
        assert!(found.workers.len() == 2 && found.workers.iter().all(|connections| *connections > 0), "{found:?}");
        let refused: usize = ["409 payment_in_progress", "409 payment_used"]
            .iter()
            .filter_map(|answer| found.answers.get(*answer))
            .sum();
        assert_eq!(refused, 199, "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_did_not_deliver_is_not_charged() {
    let stack = stack().await;
    let payment = scenario::sign(&stack, "/redirect?to=/x").await.unwrap();
    let redirected = scenario::send(&stack, "GET", "/redirect?to=/x", Some(&payment)).await.unwrap();
    assert_eq!((redirected.status, redirected.headers.get("payment-response")), (302, None));
    for (path, status) in [("/fail?status=500", 500), ("/fail?status=404", 404), ("/reset", 503)] {
        let paid = scenario::buy(&stack, path).await.unwrap();
        assert_eq!((paid.bought.status, paid.payee_delta, paid.asked.settle), (status, 0, 0), "{path}");
        assert!(paid.bought.payment_response.is_none(), "{path}");
    }
    assert_eq!(stack.chain.authorizations_used_by(BUYER.address).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_upstream_failed_can_be_used_again() {
    let stack = stack().await;
    let payment = scenario::sign(&stack, "/fail?status=503").await.unwrap();
    for _ in 0..2 {
        assert_eq!(scenario::send(&stack, "GET", "/fail?status=503", Some(&payment)).await.unwrap().status, 503);
    }
    let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(stack.chain.transfers_to(PAYEE.address).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_payment_opens_nothing_again() {
    let stack = stack().await;
    let payment = scenario::sign(&stack, "/plain/after").await.unwrap();
    assert_eq!(scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap().status, 200);
    stack.upstream.clear();
    for (method, path) in [
        ("GET", "/plain/after"),
        ("HEAD", "/plain/after"),
        ("POST", "/plain/after"),
        ("GET", "/plain/users/1"),
        ("GET", "/plain/dear"),
    ] {
        let got = scenario::send(&stack, method, path, Some(&payment)).await.unwrap();
        assert_eq!(got.status, 409, "{method} {path}");
        assert!(!got.headers.contains_key("payment-required"));
    }
    assert!(stack.upstream.hits().is_empty());
    assert_eq!(stack.chain.transfers_to(PAYEE.address).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_any_size_is_held_until_it_is_paid_for_and_then_flows() {
    for stop_iteration in [false, true] {
        let stack = Stack::start(tools(), Plan { stop_iteration, ..plan() }).await.unwrap();
        for (path, bytes) in
            [("/large?bytes=5000000", 5_000_000), ("/large?bytes=0", 0), ("/stream?chunks=3&ms=300", 0)]
        {
            let payment = scenario::sign(&stack, path).await.unwrap();
            stack.facilitator.set_faults(Operation::Settle, &[Fault::delay(Duration::from_millis(700))]).await.unwrap();
            let started = Instant::now();
            let mut response =
                rig::http::client().get(stack.url(path)).header("payment-signature", &payment).send().await.unwrap();
            let held = started.elapsed();
            assert_eq!(response.status(), 200, "{path}");
            assert!(held >= Duration::from_millis(700), "{path}: released after {held:?}, before it was settled");
            assert!(response.headers().contains_key("payment-response"));
            let first = response.chunk().await.unwrap();
            let waited = started.elapsed() - held;
            assert!(waited < Duration::from_millis(250), "{path}: the first byte came {waited:?} after the headers");
            let mut length = first.map_or(0, |chunk| chunk.len());
            while let Some(chunk) = response.chunk().await.unwrap() {
                length += chunk.len();
            }
            if path.starts_with("/large") {
                assert_eq!(length, bytes, "{path}");
            }
        }
        assert_eq!(stack.chain.transfers_to(PAYEE.address).await.unwrap().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_settlement_replaces_the_response_whatever_its_size() {
    for stop_iteration in [false, true] {
        let stack = Stack::start(tools(), Plan { stop_iteration, ..plan() }).await.unwrap();
        for path in ["/plain/after", "/large?bytes=5000000", "/stream?chunks=3&ms=100"] {
            let payment = scenario::sign(&stack, path).await.unwrap();
            let refusal =
                r#"{"success":false,"errorReason":"insufficient_funds","transaction":"","network":"eip155:84532"}"#;
            stack.facilitator.set_faults(Operation::Settle, &[Fault::answer(200, refusal)]).await.unwrap();
            let got = scenario::send(&stack, "GET", path, Some(&payment)).await.unwrap();
            assert_eq!((got.status, got.code().as_str()), (402, "settlement_failed"), "{path}");
            assert!(!got.body.contains("upstream"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_settling_is_charged_once_and_served_when_it_comes_back() {
    let stack = stack().await;
    let payment = scenario::sign(&stack, "/plain/after").await.unwrap();
    stack.facilitator.set_faults(Operation::Settle, &[Fault::delay(Duration::from_millis(800))]).await.unwrap();
    let gone = rig::http::client()
        .get(stack.url("/plain/after"))
        .header("payment-signature", &payment)
        .timeout(Duration::from_millis(400))
        .send()
        .await;
    assert!(gone.is_err());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(stack.chain.transfers_to(PAYEE.address).await.unwrap().len(), 1, "the settlement outlives its client");
    let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
    assert_eq!(got.status, 200, "{}", got.body);
    assert!(got.headers.contains_key("payment-response"));
    let again = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
    assert_eq!((again.status, again.code().as_str()), (409, "payment_used"));
    assert_eq!(stack.facilitator.counts().await.unwrap().settle, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_a_503_and_a_settlement_without_an_answer_is_never_a_402() {
    let stack = stack().await;
    let payment = scenario::sign(&stack, "/plain/after").await.unwrap();
    for fault in [
        Fault::reset(),
        Fault::answer(500, "boom"),
        Fault::answer(200, "{}"),
        Fault::answer(200, r#"{"isValid":"true"}"#),
    ] {
        stack.facilitator.set_faults(Operation::Verify, &[fault]).await.unwrap();
        let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
        assert_eq!((got.status, got.code().as_str()), (503, "facilitator_unavailable"));
        assert!(got.headers.contains_key("retry-after"));
    }
    assert!(stack.upstream.hits().is_empty());
    stack.facilitator.set_faults(Operation::Settle, &[Fault::reset().after_the_work()]).await.unwrap();
    for _ in 0..2 {
        let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
        assert_eq!((got.status, got.code().as_str()), (503, "outcome_unknown"));
        assert!(!got.headers.contains_key("payment-required"));
    }
    assert_eq!(stack.chain.transfers_to(PAYEE.address).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitator_that_keeps_failing_is_left_alone_in_view_and_works_again_without_a_restart() {
    let mut plan = Plan { workers: 1, ..plan_with(&[]) };
    plan.policy = Box::new(|origin| {
        let mut policy = test_policy(origin);
        policy["facilitators"][0]["breaker"] = serde_json::json!({ "failures": 2, "open_seconds": 3 });
        policy
    });
    let stack = Stack::start(tools(), plan).await.unwrap();
    let payment = scenario::sign(&stack, "/plain/after").await.unwrap();
    let metric = async |name: &str, tag: &str| {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let prometheus = stack.envoy.prometheus().await.unwrap();
        let wanted =
            |line: &&str| line.starts_with(name) && line.contains("facilitator=\"official\"") && line.contains(tag);
        let line = prometheus.lines().find(wanted).unwrap_or_else(|| panic!("no {name} {tag} in\n{prometheus}"));
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(metric("farebox_breaker_state", "").await, "0");

    let verify = Operation::Verify;
    stack.facilitator.set_faults(verify, &[Fault::answer(502, "<html>").always()]).await.unwrap();
    for _ in 0..2 {
        let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
        assert_eq!((got.status, got.code().as_str()), (503, "facilitator_unavailable"));
    }
    let asked = stack.facilitator.counts().await.unwrap().verify;
    assert_eq!(metric("farebox_breaker_state", "").await, "2");
    assert_eq!(metric("farebox_breaker_transitions_total", "state=\"open\"").await, "1");
    let got = scenario::send(&stack, "GET", "/plain/after", None).await.unwrap();
    assert_eq!((got.status, got.code().as_str()), (503, "offers_unavailable"));
    let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
    assert_eq!((got.status, got.code().as_str()), (503, "facilitator_unavailable"));
    assert_eq!(stack.facilitator.counts().await.unwrap().verify, asked);

    stack.facilitator.set_faults(verify, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let got = scenario::send(&stack, "GET", "/plain/after", Some(&payment)).await.unwrap();
    assert_eq!(got.status, 200);
    assert_eq!(metric("farebox_breaker_state", "").await, "0");
    assert_eq!(metric("farebox_breaker_transitions_total", "state=\"half_open\"").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_decisions_callouts_and_claims() {
    let stack = stack().await;
    let paid = scenario::buy(&stack, "/plain/after").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let prometheus = stack.envoy.prometheus().await.unwrap();
    let line = |name: &str, tags: &[(&str, &str)]| {
        prometheus
            .lines()
            .find(|line| {
                line.starts_with(name) && tags.iter().all(|(tag, value)| line.contains(&format!("{tag}=\"{value}\"")))
            })
            .unwrap_or_else(|| panic!("no {name} {tags:?} in\n{prometheus}"))
            .to_owned()
    };
    let farebox: Vec<&str> = prometheus.lines().filter(|line| line.starts_with("farebox")).collect();
    eprintln!("{farebox:#?}");
    assert!(line("farebox_exchanges_total", &[("route", "after"), ("decision", "paid")]).ends_with(" 1"));
    assert!(line("farebox_exchanges_total", &[("route", "after"), ("decision", "payment_required")]).ends_with(" 1"));
    assert!(line("farebox_claims_total", &[("state", "settled")]).ends_with(" 1"));
    line("farebox_callout_milliseconds_bucket", &[("kind", "settle")]);
    let log = read_access_log(&stack.access_log).unwrap();
    let entry = log.iter().find(|entry| entry["decision"] == "paid").unwrap();
    assert_eq!(entry["route"], "after");
    assert_eq!(entry["amount"], "10000");
    assert_eq!(entry["payer"], format!("eip155:84532:{}", BUYER.address));
    assert_eq!(entry["transaction"], paid.transaction);
    let envoy_log = stack.envoy.log().unwrap();
    let secret = &paid.bought.payment().unwrap().value;
    assert!(!envoy_log.contains(secret.as_str()), "a payment is in the log");
}

/// The trap build traps in the callback that `x-farebox-trap` names.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_any_callback_serves_nothing_unpaid_and_the_next_request_is_healthy() {
    let callbacks = [
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "http_call_response",
        "done",
        "log",
        "delete",
    ];
    for callback in callbacks {
        let stack = Stack::start(tools(), Plan { workers: 1, ..plan_with(&["trap"]) }).await.unwrap();
        let payment = scenario::sign(&stack, "/plain/after").await.unwrap();
        for payment in [None, Some(payment.as_str())] {
            let transfers = stack.chain.transfers_to(PAYEE.address).await.unwrap().len();
            let mut request = rig::http::client()
                .post(stack.url("/plain/after"))
                .header("x-farebox-trap", callback)
                .body("x".repeat(100))
                .timeout(Duration::from_secs(3));
            if let Some(payment) = payment {
                request = request.header("payment-signature", payment);
            }
            let status = request.send().await.map_or(0, |response| response.status().as_u16());
            let settled = stack.chain.transfers_to(PAYEE.address).await.unwrap().len() - transfers;
            assert!(status != 200 || settled == 1, "{callback}: served unpaid");
        }
        // Envoy makes a new VM at the next request, after a backoff of a second.
        let healthy = rig::process::wait_for("a healthy proxy", Duration::from_secs(10), || async {
            let paid = scenario::buy(&stack, "/plain/users/1").await.ok()?;
            (paid.bought.status == 200 && paid.payee_delta == PRICE).then_some(())
        });
        healthy.await.unwrap_or_else(|error| panic!("{callback}: {error:#}"));
        let unpaid = scenario::send(&stack, "GET", "/plain/after", None).await.unwrap();
        assert_eq!(unpaid.status, 402, "{callback}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_a_mistake_is_refused_and_nothing_is_served() {
    let filter = rig::wasm::build(tools(), "farebox-filter", &[]).unwrap();
    let cases = rig::mistakes::all().unwrap();
    let mut failed = Vec::new();
    // An Envoy takes seconds to start: every third here, all of them in `cargo xtask prove paid-request --claims 4`.
    let cases: Vec<_> = cases.iter().step_by(3).collect();
    assert!(cases.len() >= 30);
    for case in cases {
        match scenario::refused(tools(), &filter, &case.policy, &[]).await.unwrap() {
            Refusal::Refused(log) if case.is_explained_by(&log) => {}
            Refusal::Refused(log) => failed.push(format!(
                "{}: {}",
                case.name,
                log.lines().filter(|line| line.contains("refused")).collect::<String>()
            )),
            Refusal::Served(why) => failed.push(format!("{}: served: {why}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_priced_path_is_served_unpaid_and_the_upstream_sees_the_judged_one() {
    let stack = stack().await;
    let spellings = [
        "/plain/after",
        "/PLAIN/AFTER",
        "/plain/after/",
        "/plain//after",
        "//plain/after",
        "/plain/./after",
        "/plain/x/../after",
        "/plain/%61fter",
        "/plain/%2e/after",
        "/plain/x/%2e%2e/after",
        "/plain%2fafter",
        "/plain%5cafter",
        "/plain\\after",
        "/plain/after;x=1",
        "/plain/after%3bx",
        "/plain/after%00",
        "/plain/%2561fter",
        "/plain/after%20",
        "/plain/after#x",
        "/plain/after?x",
        "/plain/af%ter",
        "/plain/after/.",
        "/plain/free/../after",
        "/plain/free%2f..%2fafter",
        "/plain/after%09",
        "http://127.0.0.1/plain/after",
        "/plain/after%c0%af",
        "/plain/\u{e9}",
    ];
    for spelling in spellings {
        let host = format!("Host: 127.0.0.1:{}", stack.config.port);
        let line = format!("GET {spelling} HTTP/1.1");
        let response = rig::raw::request(stack.config.port, &[&line, &host, "Connection: close"]).await.unwrap();
        assert!([400, 402, 404, 421].contains(&response.status), "{spelling}: {}", response.status);
    }
    let seen: BTreeSet<String> = stack.upstream.hits().into_iter().map(|hit| hit.target).collect();
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn the_filter_has_not_grown_by_accident() {
    let filter = rig::wasm::build(tools(), "farebox-filter", &[]).unwrap();
    let bytes = std::fs::metadata(filter).unwrap().len();
    println!("farebox.wasm: {bytes} bytes");
    assert!(bytes < 1_680_000, "{bytes} bytes: if that is what it takes, raise this limit and say so in CHANGELOG.md");
}
