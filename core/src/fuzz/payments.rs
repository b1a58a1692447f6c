//! Payments, and what facilitators, chains and upstreams say about them.

use super::requests::headers;
use super::{Label, Target, option, vectors, why};
use crate::crypto::hex;
use crate::host::{Answer, Callout, Capabilities};
use crate::json;
use crate::policy::{Access, Policy, Rpc};
use crate::problem::Problem;
use crate::rail;
use crate::rail::x402::chain::{By, Found, Question, judge};
use crate::rail::x402::facilitator::{self, Settlement, Verdict};
use crate::rail::x402::offer::Terms;
use crate::rail::x402::payment::Payment;
use crate::rail::x402::permit2::{EXACT_PROXY, UPTO_PROXY};
use crate::rail::x402::supported::Supported;
use crate::rail::x402::wire::Resource;
use crate::rail::x402::{check, metering};
use crate::test_host::TestHost;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const NOW: u64 = 1_800_000_000;
const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const RESOURCE: Resource<'_> = Resource { url: "https://api.example.com/", description: "", mime_type: "" };

fn text(name: &str) -> Vec<u8> {
    vectors!("x402")[name].as_str().unwrap().into()
}

/// A policy with offers of every kind, and a node.
fn policy() -> Policy {
    let network = "eip155:84532";
    let policy = json!({
        "version": 1, "origins": ["https://api.example.com"], "default": "denied", "payees": { network: PAYEE },
        "facilitators": [{ "name": "a", "url": "http://a.test" }],
        "rpc": [{ "network": network, "url": "http://node.test" }],
        "routes": [{ "path": "/", "v1": true, "offers": [{ "price": "$0.01", "network": network }] }]
    });
    let can = Capabilities { hold_response: true, read_body: false };
    Policy::load(policy.to_string().as_bytes(), &|_| None, can).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

struct World {
    terms: Vec<Terms>,
    payment: Payment,
    rpc: Rpc,
}

thread_local! {
    static WORLD: World = {
        let policy = policy();
        let Access::Priced(offers) = &policy.routes()[0].access else { unreachable!() };
        let terms = offers.iter().map(|offer| match &offer.terms { rail::Terms::X402(terms) => terms.clone() });
        World {
            terms: terms.collect(),
            payment: Payment::read(&text("exact3009_header")).unwrap(),
            rpc: policy.rpc("eip155:84532").unwrap().clone(),
        }
    };
}

/// What is known of a payment without asking anybody.
fn look(read: Result<Payment, Problem>) -> Label {
    let payment = match read {
        Ok(payment) => payment,
        Err(problem) => return why(&problem.detail),
    };
    assert_eq!(payment.claim_id(), payment.clone().claim_id());
    let payer = payment.payer();
    assert!(payer.is_none_or(|payer| hex::decode_fixed::<20>(&payer).is_some()), "a payer is an address");
    WORLD.with(|world| match check::check(&payment, &world.terms[0], true, NOW) {
        Ok(checked) => {
            assert!(checked.payer_proven, "where only keys count, one has signed");
            "ok, good".into()
        }
        Err(problem) => format!("ok, {}", problem.code.wire()).into(),
    })
}

pub(super) const HEADER: Target = Target {
    name: "payment-header",
    reads: "payments as headers",
    seeds: || vec![text("exact3009_header"), text("v1_header")],
    run: |input| match Payment::read(input) {
        Ok(payment) => look(Ok(payment)),
        Err(_) => look(WORLD.with(|world| Payment::read_v1(input, &world.terms, RESOURCE))),
    },
};

pub(super) const PAYMENT: Target = Target {
    name: "payment",
    reads: "payments, decoded",
    seeds: || {
        let names = ["exact3009_payloadJson", "permit2_payloadJson", "upto_payloadJson", "batch_deposit_payloadJson"];
        names.map(text).into()
    },
    run: |input| look(Payment::read(STANDARD.encode(input).as_bytes())),
};

pub(super) const PAYMENT_V1: Target = Target {
    name: "payment-v1",
    reads: "payments of version 1, decoded",
    seeds: || vec![text("v1_payloadJson")],
    run: |input| look(WORLD.with(|world| Payment::read_v1(STANDARD.encode(input).as_bytes(), &world.terms, RESOURCE))),
};

pub(super) const FACILITATOR: Target = Target {
    name: "facilitator",
    reads: "a facilitator's answer: status, Retry-After, body, one to a line",
    seeds: facilitator_seeds,
    run: run_facilitator,
};

fn facilitator_seeds() -> Vec<Vec<u8>> {
    let payer = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let transaction = format!("0x{}", "ab".repeat(32));
    let bodies = [
        json!({ "isValid": true, "payer": payer }),
        json!({ "success": true, "payer": payer, "transaction": transaction, "network": "eip155:84532" }),
        json!({ "isValid": false, "invalidReason": "insufficient_funds", "payer": payer }),
        json!({ "success": false, "errorReason": "invalid_exact_evm_nonce_already_used", "payer": payer, "transaction": "", "network": "eip155:84532" }),
    ];
    bodies.map(|body| format!("200\nSun, 06 Nov 2044 08:49:37 GMT\n{body}").into_bytes()).into()
}

/// A status, a header's value, and a body.
fn answer(input: &[u8], header: &str) -> Option<Answer> {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let status = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
    let mut headers = crate::http::Headers::with_capacity(1, 64);
    headers.push(header.as_bytes(), lines.next()?);
    Some(Answer { status, headers, body: lines.next()?.to_vec() })
}

fn run_facilitator(input: &[u8]) -> Label {
    let Some(answer) = answer(input, "retry-after") else { return "no answer".into() };
    let said = |name: &str| {
        json::parse(&answer.body, 1 << 20, 64).is_ok_and(|body| body.get(name) == Some(&serde_json::Value::Bool(true)))
    };
    let _ = facilitator::retry_after(&answer, NOW);
    WORLD.with(|world| {
        let verdict = facilitator::verdict(Ok(answer.clone()), &world.payment);
        assert!(!matches!(verdict, Verdict::Valid { .. }) || said("isValid"), "valid without being called so");
        let settlement = facilitator::settlement(Ok(answer.clone()), &world.payment, &world.terms[0]);
        assert!(!matches!(settlement, Settlement::Settled(_)) || said("success"), "settled without being called so");
        let word = |text: String| text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        format!("ok, {} {}", word(format!("{verdict:?}")), word(format!("{settlement:?}"))).into()
    })
}

pub(super) const SUPPORTED: Target = Target {
    name: "supported",
    reads: "what a facilitator supports",
    seeds: || {
        vec![
            br#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:84532","extra":{"a":1}},{"x402Version":1,"scheme":"exact","network":"base-sepolia"}],"extensions":[],"signers":{"eip155:*":["0x1"]}}"#.to_vec(),
        ]
    },
    run: |input| {
        let supported = Supported::read(input);
        if let Some(supported) = &supported {
            WORLD.with(|world| supported.extra_for(&world.terms[0]).is_some());
        }
        option(supported.as_ref())
    },
};

pub(super) const CHAIN: Target =
    Target { name: "chain", reads: "a node's answers, one to a line", seeds: chain_seeds, run: run_chain };

fn question(by: By) -> Question {
    Question {
        network: "eip155:84532".to_owned(),
        token: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned(),
        payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
        nonce: format!("0x{}", "11".repeat(32)),
        payee: PAYEE.to_owned(),
        amount: "10000".to_owned(),
        valid_before: NOW - 100,
        not_before: NOW - 50,
        by,
    }
}

fn chain_seeds() -> Vec<Vec<u8>> {
    let topic = |event: &str| hex::encode(&crate::crypto::keccak256(&[event.as_bytes()]));
    let padded = |address: &str| format!("0x{:0>64}", address[2..].to_lowercase());
    let Question { token, payer, nonce, payee, .. } = question(By::Authorization);
    let line = |result: serde_json::Value| json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string();
    let block = |time: u64| line(json!({ "number": "0x1000", "timestamp": format!("{time:#x}") }));
    let log = |event: &str| {
        line(
            json!([{ "address": token, "topics": [topic(event), padded(&payer), nonce], "removed": false, "transactionHash": format!("0x{}", "cd".repeat(32)) }]),
        )
    };
    let receipt = line(json!({ "status": "0x1", "logs": [{
        "address": token,
        "topics": [topic("Transfer(address,address,uint256)"), padded(&payer), padded(&payee)],
        "data": format!("0x{:064x}", 10_000)
    }] }));
    let zero = line(json!(format!("0x{}", "00".repeat(32))));
    let bitmap = line(json!(format!("0x{:064x}", 1 << 0x11)));
    let transfer =
        line(json!([{ "data": format!("0x{:064x}", 10_000), "transactionHash": format!("0x{}", "cd".repeat(32)) }]));
    let word = |text: &str| format!("{:0>64}", text.trim_start_matches("0x").to_lowercase());
    let called = |proxy: &[u8; 20], function: &str, charged: &str| {
        let amount = format!("{:064x}", 10_000);
        let deadline = format!("{:064x}", NOW - 100);
        let arguments =
            [&word(&token), &amount, &word(&nonce), &deadline, charged, &word(&payer), &word(&payee)].concat();
        line(json!({ "to": hex::encode(proxy), "input": format!("{}{arguments}", &topic(function)[..10]) }))
    };
    let exact = called(&EXACT_PROXY, "settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)", "");
    let upto = called(
        &UPTO_PROXY,
        "settle(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)",
        &format!("{:064x}", 10_000),
    );
    let named = |name: &str| name.to_owned();
    let stories = [
        vec![named("permit"), block(NOW), bitmap.clone(), transfer.clone(), exact],
        vec![named("upto"), block(NOW), bitmap.clone(), transfer, upto],
        vec![named("permit"), block(NOW), bitmap, line(json!([]))],
        vec![named("permit"), block(NOW), zero.clone()],
        vec![block(NOW), log("AuthorizationUsed(address,bytes32)"), receipt],
        vec![block(NOW), log("AuthorizationCanceled(address,bytes32)")],
        vec![block(NOW), line(json!([])), zero],
        vec![block(NOW - 1000), line(json!([]))],
    ];
    stories.map(|lines| lines.join("\n").into_bytes()).into()
}

fn run_chain(input: &[u8]) -> Label {
    let mut answers: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let by = match answers.first().map(Vec::as_slice) {
        Some(b"permit") => By::Permit,
        Some(b"upto") => By::Upto,
        _ => By::Authorization,
    };
    if by != By::Authorization {
        answers.remove(0);
    }
    let next = Cell::new(0);
    let service = move |_: &Callout| {
        let body = answers.get(next.replace(next.get() + 1))?.clone();
        Some(Ok(Answer { status: 200, headers: crate::http::Headers::default(), body }))
    };
    let host = TestHost::new(NOW, service, |_| None);
    WORLD.with(|world| {
        let question = question(by);
        let found = match pin!(judge(&host, &world.rpc, &question)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found,
            Poll::Pending => return "no answer".into(),
        };
        match found {
            Found::Settled { .. } => "ok, settled".into(),
            Found::Failed { why } => format!("ok, {why}").into(),
            Found::Open { why: open } => format!("ok, open: {}", why(&open)).into(),
        }
    })
}

pub(super) const OVERRIDES: Target = Target {
    name: "overrides",
    reads: "what an upstream says is to be charged",
    seeds: || {
        [r#"{"amount":"1000"}"#, r#"{"amount":"33.33%"}"#, r#"{"amount":"$0.005"}"#]
            .map(|value| format!("settlement-overrides: {value}\n").into_bytes())
            .into()
    },
    run: |input| {
        let headers = headers(input);
        for decimals in [None, Some(0), Some(6), Some(u8::MAX)] {
            for ceiling in [0, 10_000, u128::MAX] {
                let (amount, why) = metering::charge(&headers, ceiling, decimals);
                assert!(amount <= ceiling, "more than the ceiling");
                assert!(why.is_none() || amount == ceiling);
            }
        }
        match metering::charge(&headers, 10_000, Some(6)).1 {
            None => "ok".into(),
            Some(why) => why.into(),
        }
    },
};
