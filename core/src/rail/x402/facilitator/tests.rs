//! How strictly answers are read: tables of what facilitators and what stands between us and them really say, and
//! answers at random against a second reading of the rules.

use super::*;
use crate::host::Capabilities;
use crate::policy::{Access, Policy};
use crate::rail;
use proptest::prelude::*;
use serde_json::json;

const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const OTHER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const TX: &str = "0xabababababababababababababababababababababababababababababababab";
const NETWORK: &str = "eip155:84532";

fn payment() -> Payment {
    let vectors: Value = serde_json::from_str(include_str!("../../../../vectors/x402.json")).unwrap();
    Payment::read(vectors["exact3009_header"].as_str().unwrap().as_bytes()).unwrap()
}

fn terms() -> Terms {
    let policy = json!({
        "version": 1, "origins": ["https://api.example.com"], "default": "denied", "payees": { NETWORK: OTHER },
        "facilitators": [{ "name": "a", "url": "http://a.test" }],
        "routes": [{ "path": "/", "offers": [{ "price": "$0.01", "network": NETWORK }] }]
    });
    let can = Capabilities { hold_response: true, read_body: false };
    let policy = Policy::load(policy.to_string().as_bytes(), &|_| None, can).unwrap();
    let Access::Priced(offers) = &policy.routes()[0].access else { unreachable!() };
    let rail::Terms::X402(terms) = &offers[0].terms;
    terms.clone()
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Result<Answer, CalloutError> {
    Ok(Answer { status, headers: Default::default(), body: body.into() })
}

fn valid(status: u16, body: impl Into<Vec<u8>>) -> bool {
    matches!(verdict(answer(status, body), &payment()), Verdict::Valid { .. })
}

fn read(status: u16, body: impl Into<Vec<u8>>) -> Settlement {
    settlement(answer(status, body), &payment(), &terms())
}

fn success() -> Value {
    json!({ "success": true, "payer": PAYER, "transaction": TX, "network": NETWORK })
}

#[test]
fn what_is_no_answer_is_neither_a_yes_nor_a_no() {
    let good = success().to_string();
    let doubled = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let large = format!(r#"{{"success":true,"isValid":true,"pad":"{}"}}"#, "x".repeat(1 << 20));
    let not_answers = [
        String::new(),
        "<html><body>true</body></html>".to_owned(),
        "upstream request timeout".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        format!("[{good}]"),
        doubled(r#""success":true"#),
        doubled(r#""succ\u0065ss":false"#),
        doubled(r#""extra":{"a":1,"a":2}"#),
        "null".to_owned(),
        "{}".to_owned(),
        r#"{"success":"true","isValid":"true"}"#.to_owned(),
        r#"{"success":"false","isValid":"false"}"#.to_owned(),
        r#"{"success":1,"isValid":1}"#.to_owned(),
        r#"{"success":null,"isValid":null}"#.to_owned(),
        r#"{"Success":true,"isvalid":true}"#.to_owned(),
        r#"{"result":{"success":true,"isValid":true}}"#.to_owned(),
        large,
    ];
    for body in not_answers {
        let shown: String = body.chars().take(80).collect();
        for status in [200, 301, 400, 402, 429, 500, 503, 504] {
            assert!(
                matches!(read(status, body.clone()), Settlement::Unknown { doubt: Doubt::Unanswered, .. }),
                "{status} {shown}"
            );
            let verdict = verdict(answer(status, body.clone()), &payment());
            assert!(matches!(verdict, Verdict::Unavailable { .. }), "{status} {shown}");
        }
    }
}

#[test]
fn a_yes_counts_only_with_a_success_status_and_redirects_are_not_followed() {
    let yes = json!({ "isValid": true, "payer": PAYER }).to_string();
    for status in [200, 201, 299] {
        assert!(valid(status, yes.clone()));
        assert!(matches!(read(status, success().to_string()), Settlement::Settled(_)));
    }
    for status in [0, 100, 199, 300, 301, 302, 307, 308, 400, 402, 500, 502] {
        assert!(!valid(status, yes.clone()));
        assert!(matches!(read(status, success().to_string()), Settlement::Unknown { .. }));
    }
}

#[test]
fn a_settlement_names_our_network_our_payer_our_amount_and_a_transaction() {
    let with = |name: &str, value: Value| {
        let mut answer = success();
        answer[name] = value;
        read(200, answer.to_string())
    };
    let good = [
        ("payer", json!(PAYER.to_lowercase())),
        ("payer", json!(null)),
        ("amount", json!("10000")),
        ("amount", json!("")),
        ("errorReason", json!(null)),
        ("errorReason", json!("")),
        ("anything", json!({ "else": [1] })),
    ];
    for (name, value) in good {
        assert!(matches!(with(name, value.clone()), Settlement::Settled(_)), "{name} {value}");
    }
    let bad = [
        ("payer", json!(OTHER)),
        ("payer", json!("")),
        ("payer", json!(7)),
        ("payer", json!({ "address": PAYER })),
        ("network", json!("eip155:8453")),
        ("network", json!("base-sepolia")),
        ("network", json!(84532)),
        ("network", json!(null)),
        ("transaction", json!("")),
        ("transaction", json!(null)),
        ("transaction", json!([TX])),
        ("transaction", json!("0xabab")),
        ("transaction", json!(format!("{TX}ab"))),
        ("transaction", json!(TX.replace("ab", "zz"))),
        ("amount", json!("9999")),
        ("amount", json!("10001")),
        ("amount", json!("+10000")),
        ("amount", json!("1e4")),
        ("amount", json!("10000.0")),
        ("amount", json!(10000)),
        ("amount", json!("999999999999999999999999999999999999999999")),
        ("errorReason", json!("insufficient_funds")),
        ("errorReason", json!(false)),
    ];
    for (name, value) in bad {
        assert!(matches!(with(name, value.clone()), Settlement::Unknown { .. }), "{name} {value}");
    }
    for (name, value) in [("payer", json!(OTHER)), ("payer", json!(7)), ("invalidReason", json!("expired"))] {
        let mut answer = json!({ "isValid": true, "payer": PAYER });
        answer[name] = value;
        assert!(!valid(200, answer.to_string()), "{name}");
    }
}

#[test]
fn only_a_reason_that_says_so_is_a_refusal_to_settle() {
    let refusals = [
        "insufficient_funds",
        "invalid_exact_evm_signature",
        "invalid_exact_evm_payload_authorization_valid_before",
        "invalid_exact_evm_insufficient_balance",
        "unsupported_scheme",
        "kyt_risk_detected",
        "permit2_allowance_required",
        "eip6492_factory_not_allowed",
        "missing_eip712_domain",
    ];
    let open = [
        "settlement_pending",
        "invalid_transaction_state",
        "invalid_exact_evm_nonce_already_used",
        "invalid_exact_evm_transaction_failed",
        "invalid_exact_evm_transaction_simulation_failed",
        "invalid_exact_evm_transfer_event_mismatch",
        "permit2_invalid_nonce",
        "permit2_simulation_failed",
        "duplicate_settlement",
        "unexpected_settle_error",
        "unexpected_verify_error",
        "unknown_error",
        "settle_exact_failed_onchain",
        "settle_exact_node_failure",
        "settle_exact_evm_transaction_confirmation_timed_out",
        "settle_exact_svm_block_height_exceeded",
        "post_settlement_transfer_not_confirmed",
        "smart_wallet_deployment_failed",
        "Internal Server Error",
        "",
    ];
    let said = |reason: &str, more: Value| {
        let mut answer = json!({ "success": false, "errorReason": reason });
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        [200, 400, 402, 500].map(|status| matches!(read(status, answer.to_string()), Settlement::Refused { .. }))
    };
    for reason in refusals {
        assert_eq!(said(reason, json!({ "transaction": "" })), [true; 4], "{reason}");
        assert_eq!(said(reason, json!({ "transaction": null })), [true; 4], "{reason}");
        // It may have been sent: that is for the chain to say.
        assert_eq!(said(reason, json!({ "transaction": TX })), [false; 4], "{reason}");
        assert_eq!(said(reason, json!({ "transaction": 0 })), [false; 4], "{reason}");
    }
    for reason in open {
        assert_eq!(said(reason, json!({})), [false; 4], "{reason}");
    }
}

#[test]
fn a_reason_can_stand_in_a_header_and_a_log_line() {
    let nasty = json!({ "isValid": false, "invalidReason": "a\r\nset-cookie: x\"\\\u{2028}é\u{0}b" }).to_string();
    assert_eq!(verdict(answer(200, nasty), &payment()), Verdict::Invalid { reason: "aset-cookie:xb".to_owned() });
    let long = json!({ "isValid": false, "invalidReason": "x".repeat(100_000) }).to_string();
    let Verdict::Invalid { reason } = verdict(answer(200, long), &payment()) else { unreachable!() };
    assert_eq!(reason.len(), 128);
}

#[test]
fn what_a_useless_answer_tells_of_its_facilitator() {
    let bad = Health::Bad { retry_after: None };
    let health = |status, body: &str, proven| trouble(&answer(status, body), || proven, 0);
    for status in [400, 413, 422] {
        assert_eq!(health(status, "{}", true), Health::Unclear);
    }
    for status in [0, 200, 301, 401, 403, 404, 429, 500, 502, 503, 504] {
        assert_eq!(health(status, "<html>", false), bad, "{status}");
    }
    assert_eq!((health(500, "{}", false), health(500, "{}", true)), (Health::Unclear, bad));
    assert_eq!(trouble(&Err(CalloutError::Lost), || true, 0), bad);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    const NOW: u64 = 784_111_777;
    let after = |status: u16, value: &str| {
        let headers = [("retry-after", value)].into_iter().collect();
        retry_after(&Answer { status, headers, body: Vec::new() }, NOW)
    };
    assert_eq!(after(429, "120"), Some(120));
    assert_eq!(after(503, " 7 "), Some(7));
    assert_eq!(after(429, "99999999999999999999999"), Some(u64::MAX));
    assert_eq!(after(429, "Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(after(429, "Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
    assert_eq!(after(429, "Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800 - NOW));
    assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    assert_eq!(after(200, "120"), None);
    for nothing in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994", "Sun, 00 Xxx 1994 08:49:37 GMT", ", / GMT", "é, GMT"]
    {
        assert_eq!(after(429, nothing), None, "{nothing}");
    }
}

/// A value for a member: absent (`None`), good, or one of the ways to be wrong.
fn one_of(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    proptest::option::weighted(0.8, proptest::sample::select(values))
}

proptest! {
    #[test]
    fn bytes_at_random_are_never_a_yes(status in 0u16..700, body: Vec<u8>) {
        prop_assert!(!valid(status, body.clone()));
        let open = matches!(read(status, body), Settlement::Unknown { .. });
        prop_assert!(open);
    }

    #[test]
    fn dates_at_random_are_read_without_a_panic(text in ".{0,40}", day in 0u64..40, year in 0u64..20_000) {
        let _ = http_date(&text);
        let _ = http_date(&format!("Sun, {day:02} Nov {year} {text} GMT"));
        let _ = http_date(&format!("Sun, {day:02} Feb {year} 08:49:37 GMT"));
    }

    #[test]
    fn answers_at_random_mean_what_the_rules_say(
        status in proptest::sample::select(vec![200u16, 200, 200, 204, 302, 400, 429, 500]),
        yes in one_of(vec![json!(true), json!(true), json!(false), json!("true"), json!(1), json!(null), json!([true])]),
        payer in one_of(vec![json!(PAYER), json!(PAYER.to_uppercase().replace('X', "x")), json!(OTHER), json!(5)]),
        network in one_of(vec![json!(NETWORK), json!(NETWORK), json!(NETWORK), json!("eip155:1"), json!(1)]),
        transaction in one_of(vec![json!(TX), json!(TX), json!(""), json!("0x"), json!(false)]),
        amount in proptest::option::of(proptest::sample::select(vec![json!("10000"), json!("1"), json!(10000)])),
        reason in proptest::option::of(proptest::sample::select(
            vec![json!(""), json!("insufficient_funds"), json!("unheard_of"), json!(["insufficient_funds"])],
        )),
        spoilt in proptest::option::weighted(0.2, 0usize..6),
    ) {
        let members = [
            ("success", &yes), ("isValid", &yes), ("payer", &payer), ("network", &network), ("amount", &amount),
            ("transaction", &transaction), ("errorReason", &reason), ("invalidReason", &reason),
        ];
        let object: Map<String, Value> =
            members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect();
        let text = Value::Object(object).to_string();
        let body = match spoilt {
            None => text,
            Some(0) => text[..text.len() - 1].to_owned(),
            Some(1) => format!("{text},"),
            Some(2) => format!("<!doctype html>{text}"),
            Some(3) => text.replacen('{', r#"{"x":0,"x":0,"#, 1).replace(",}", "}"),
            Some(4) => format!("[{text}]"),
            Some(_) => format!("{text}{}", " ".repeat(Answer::MAX_BODY)),
        };
        let (yes, no) = (yes == Some(json!(true)), yes == Some(json!(false)));
        let no_reason = reason.is_none() || reason == Some(json!(""));
        let our_payer = payer.as_ref().is_none_or(|payer| {
            payer.as_str().is_some_and(|payer| payer.to_lowercase() == PAYER.to_lowercase())
        });
        let fine = spoilt.is_none() && (200..300).contains(&status);
        prop_assert_eq!(valid(status, body.clone()), fine && yes && our_payer && no_reason);
        let invalid = matches!(verdict(answer(status, body.clone()), &payment()), Verdict::Invalid { .. });
        prop_assert_eq!(invalid, spoilt.is_none() && no);
        let paid = fine && yes && our_payer && no_reason && network == Some(json!(NETWORK))
            && transaction == Some(json!(TX)) && (amount.is_none() || amount == Some(json!("10000")));
        prop_assert_eq!(matches!(read(status, body.clone()), Settlement::Settled(_)), paid);
        let unsent = transaction.is_none() || transaction == Some(json!(""));
        let refused = spoilt.is_none() && no && reason == Some(json!("insufficient_funds")) && unsent;
        prop_assert_eq!(matches!(read(status, body), Settlement::Refused { .. }), refused);
    }
}
