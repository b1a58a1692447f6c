//! The chain as judge of payments by Permit2, and of authorizations that share their transaction.

use super::*;
use crate::crypto::{hex, keccak256};

const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const TOKEN: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const EXACT: &str = "0x402085c248eea27d92e8b30b2c58ed07f9e20001";
const UPTO: &str = "0x4020a4f3b7b90cca423b9fabcc0ce57c6c240002";
/// Nonce of the vectors.
const NONCE: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";
const DEADLINE: u64 = 1_800_000_300;
const LATEST: u64 = 5000;

fn vector(name: &str) -> Value {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap();
    serde_json::from_str(vectors[name].as_str().unwrap()).unwrap()
}

fn topic(signature: &str) -> String {
    hex::encode(&keccak256(&[signature.as_bytes()]))
}

fn word(digits: &str) -> String {
    format!("{:0>64}", digits.trim_start_matches("0x").to_lowercase())
}

fn number(value: u64) -> String {
    format!("{value:064x}")
}

/// A transaction that moved tokens from the payer.
#[derive(Clone)]
struct Moved {
    block: u64,
    hash: String,
    called: &'static str,
    input: String,
    amount: u64,
}

/// A chain on which the permit's nonce was used in `used_in`, with these transfers; state is kept from `kept_from` on.
#[derive(Clone)]
struct Chain {
    time: u64,
    used_in: Option<u64>,
    kept_from: u64,
    /// Most logs that the node answers with.
    most: usize,
    moved: Vec<Moved>,
}

impl Chain {
    fn new(used_in: Option<u64>) -> Self {
        Self { time: NOW + 100, used_in, kept_from: 0, most: 1000, moved: Vec::new() }
    }

    fn with(mut self, moved: Moved) -> Self {
        self.moved.push(moved);
        self
    }

    fn answer(&self, call: &Callout) -> Option<Result<Answer, CalloutError>> {
        let request: Value = serde_json::from_slice(&call.body).unwrap();
        let param = |at: &str| request["params"].pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let block = |text: String| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let refused = |why: &str| {
            let error = json!({ "code": -32000, "message": why });
            answer(200, json!({ "jsonrpc": "2.0", "id": 1, "error": error }))
        };
        let result = match request["method"].as_str().unwrap() {
            "eth_getBlockByNumber" => {
                let number = if param("/0") == "latest" { LATEST } else { block(param("/0")) };
                // A block every two seconds.
                json!({ "number": format!("{number:#x}"), "timestamp": format!("{:#x}", self.time - (LATEST - number) * 2) })
            }
            "eth_call" => {
                assert!(param("/0/to").eq_ignore_ascii_case("0x000000000022D473030F116dDEE9F6B43aC78BA3"));
                let position = format!("00{}", &NONCE[2..64]);
                assert_eq!(param("/0/data"), format!("0x4fe02b44{}{position}", word(PAYER)));
                let at = block(param("/1"));
                if at < self.kept_from {
                    return refused("missing trie node");
                }
                // Bit 0x11 of the word.
                json!(format!("0x{:064x}", if self.used_in.is_some_and(|used| used <= at) { 1u32 << 0x11 } else { 0 }))
            }
            "eth_getLogs" => {
                assert_eq!(request["params"][0]["address"], TOKEN);
                let wanted = json!([
                    topic("Transfer(address,address,uint256)"),
                    format!("0x{}", word(PAYER)),
                    format!("0x{}", word(PAYEE))
                ]);
                assert_eq!(request["params"][0]["topics"], wanted);
                let (from, to) = (block(param("/0/fromBlock")), block(param("/0/toBlock")));
                let found: Vec<_> = self.moved.iter().filter(|it| (from..=to).contains(&it.block)).collect();
                if found.len() > self.most {
                    return refused("query returned more than 1000 results");
                }
                let log = |it: &&Moved| json!({ "data": format!("0x{}", number(it.amount)), "topics": wanted, "transactionHash": it.hash });
                found.iter().map(log).collect()
            }
            "eth_getTransactionByHash" => {
                let it = self.moved.iter().find(|it| it.hash == param("/0")).unwrap();
                json!({ "to": it.called, "input": it.input })
            }
            other => panic!("{other}"),
        };
        answer(200, json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    }
}

/// The arguments of the proxy up to the payee, with this nonce.
fn arguments(scheme: &str, nonce: &str, charged: u64) -> String {
    let (signed, charge) = if scheme == "upto" { (20_000, number(charged)) } else { (10_000, String::new()) };
    [word(TOKEN), number(signed), word(nonce), number(DEADLINE), charge, word(PAYER), word(PAYEE)].concat()
}

fn selector(scheme: &str, with_permit: bool) -> String {
    let permit = "((address,uint256),uint256,uint256)";
    let rest = if scheme == "upto" {
        format!("{permit},uint256,address,(address,address,uint256),bytes)")
    } else {
        format!("{permit},address,(address,uint256),bytes)")
    };
    let whole = if with_permit {
        format!("settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),{rest}")
    } else {
        format!("settle({rest}")
    };
    topic(&whole)[..10].to_owned()
}

/// The vector's payment as the official facilitator carries it out.
fn settled(scheme: &str, block: u64, charged: u64) -> Moved {
    let called = if scheme == "upto" { UPTO } else { EXACT };
    let input = format!("{}{}{}", selector(scheme, false), arguments(scheme, NONCE, charged), "00".repeat(224));
    Moved { block, hash: TX.to_owned(), called, input, amount: charged }
}

/// Another payment of the same payer, for as much.
fn another(block: u64, n: u64, charged: u64) -> Moved {
    let nonce = format!("0x{n:064x}");
    let input = format!("{}{}{}", selector("exact", false), arguments("exact", &nonce, charged), "00".repeat(192));
    Moved { block, hash: format!("0x{n:064x}"), input, ..settled("exact", block, charged) }
}

/// A gate that takes the vectors' payments, and a world in which no settlement is answered.
fn world(scheme: &str, change: impl Fn(&mut Value), chain: Chain) -> (TestHost, Rc<Gate>) {
    let offer = match scheme {
        "upto" | "upto for nothing" => json!({ "price": "$0.02", "network": "eip155:84532", "scheme": "upto" }),
        _ => json!({ "price": "$0.01", "network": "eip155:84532", "transfer_method": "permit2" }),
    };
    let gate = gate_with("after", |policy| {
        with_rpc(policy);
        policy["routes"][0]["offers"] = json!([offer]);
        change(policy);
    });
    let service = move |call: &Callout| match (call.cluster.as_str(), call.path.as_str()) {
        ("rpc", _) => chain.answer(call),
        (_, "/supported") => answer(
            200,
            json!({ "kinds": [{ "x402Version": 2, "scheme": "exact", "network": "eip155:84532" },
                { "x402Version": 2, "scheme": "upto", "network": "eip155:84532",
                  "extra": { "facilitatorAddress": PAYEE } }] }),
        ),
        (_, "/verify") => valid(),
        _ => Some(Err(CalloutError::Lost)),
    };
    // What an upstream would have charged of an open amount.
    let charge = if scheme == "upto for nothing" { r#"{"amount":"0"}"# } else { r#"{"amount":"1000"}"# };
    let host = TestHost::new(NOW, service, move |_: &Headers| {
        Some([(":status", "200"), ("settlement-overrides", charge)].into_iter().collect())
    });
    crate::host::Host::spawn(&host, Rc::clone(&gate).tend(host.clone()));
    for _ in 0..8 {
        host.work();
    }
    (host, gate)
}

fn shown(scheme: &str) -> String {
    let mut payment = vector(if scheme == "upto" { "upto_payloadJson" } else { "permit2_payloadJson" });
    payment["extensions"] = nonce(1);
    STANDARD.encode(payment.to_string())
}

/// What a payment gets that is sent again after its settlement was not answered.
fn again(scheme: &str, change: impl Fn(&mut Value), chain: Chain) -> (u16, String) {
    let (host, gate) = world(scheme, change, chain);
    let payment = shown(scheme);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment)), "outcome_unknown");
    let reply = pay(&host, &gate, "/premium-data", &payment);
    assert_eq!(host.calls().iter().filter(|path| *path == "/settle").count(), 1);
    if reply.status == 200 {
        let transaction = decoded(&reply, "payment-response")["transaction"].as_str().unwrap().to_owned();
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment)), "payment_used");
        return (200, transaction);
    }
    (reply.status, code(&reply))
}

#[test]
fn the_chain_decides_an_unknown_permit2_outcome() {
    let paid = (200, TX.to_owned());
    let failed = (402, "settlement_failed".to_owned());
    let open = (503, "outcome_unknown".to_owned());
    let late = |chain: Chain| Chain { time: DEADLINE + 1, ..chain };
    let unused = Chain::new(None);
    let used = Chain::new(Some(4900));
    let with_permit = |scheme: &str, charged: u64| {
        let arguments = arguments(scheme, NONCE, charged);
        let input = format!("{}{}{arguments}{}", selector(scheme, true), "00".repeat(160), "00".repeat(224));
        Moved { input, ..settled(scheme, 4900, charged) }
    };
    for (what, scheme, chain, expected) in [
        ("settled", "exact", used.clone().with(settled("exact", 4900, 10_000)), &paid),
        ("settled with an approval", "exact", used.clone().with(with_permit("exact", 10_000)), &paid),
        ("settled late", "exact", late(used.clone().with(settled("exact", 4900, 10_000))), &paid),
        ("settled for what was asked", "upto", used.clone().with(settled("upto", 4900, 1000)), &paid),
        ("settled for all of it", "upto", used.clone().with(settled("upto", 4900, 20_000)), &paid),
        ("settled with an approval", "upto", used.clone().with(with_permit("upto", 7)), &paid),
        (
            "settled, and others beside",
            "exact",
            used.clone()
                .with(another(4800, 3, 10_000))
                .with(settled("exact", 4900, 10_000))
                .with(another(4950, 4, 10_000)),
            &paid,
        ),
        ("unused, valid", "exact", unused.clone(), &open),
        ("unused at the deadline", "exact", Chain { time: DEADLINE, ..unused.clone() }, &open),
        ("unused, lapsed", "exact", late(unused.clone()), &failed),
        ("unused, lapsed", "upto", late(unused), &failed),
        ("invalidated", "exact", used.clone(), &failed),
        ("invalidated", "upto", used.clone(), &failed),
        (
            "invalidated, others beside",
            "exact",
            used.clone().with(another(4899, 3, 10_000)).with(another(4901, 4, 10_000)),
            &failed,
        ),
        ("invalidated, another in the same block", "exact", used.clone().with(another(4900, 3, 10_000)), &open),
        ("for less", "exact", used.clone().with(settled("exact", 4900, 9_999)), &failed),
        ("for more than was signed", "upto", used.clone().with(settled("upto", 4900, 20_001)), &failed),
        ("used before we look", "exact", Chain::new(Some(3000)), &open),
    ] {
        assert_eq!(again(scheme, |_| {}, chain), *expected, "{scheme}: {what}");
    }
}

#[test]
fn a_permit_that_another_transaction_only_mentions_is_not_paid_by_its_transfer() {
    let open = (503, "outcome_unknown".to_owned());
    let chain = Chain::new(Some(4900));
    let ours = settled("exact", 4900, 10_000);
    // In another payment's signature, which may be of any length.
    let other = another(4900, 3, 10_000);
    let mentioned = Moved { input: format!("{}{}", other.input, arguments("exact", NONCE, 0)), ..other };
    assert_eq!(again("exact", |_| {}, chain.clone().with(mentioned)), open);
    // Through a contract that need not pass on what it was given.
    let relayed = Moved { called: PAYER, ..ours.clone() };
    assert_eq!(again("exact", |_| {}, chain.clone().with(relayed)), open);
    // By the other scheme's proxy, which cannot have used it.
    let swapped = Moved { called: UPTO, ..ours.clone() };
    assert_eq!(again("exact", |_| {}, chain.clone().with(swapped)), open);
    // By a function that is not known to pay.
    let unknown = Moved { input: ours.input.replacen(&selector("exact", false), "0x12345678", 1), ..ours };
    assert_eq!(again("exact", |_| {}, chain.with(unknown)), open);
}

#[test]
fn among_many_payments_alike_the_block_tells_which_is_meant() {
    let busy = |used_in: u64, most: usize| {
        let mut chain = Chain { most, ..Chain::new(Some(used_in)) };
        for n in 1..200 {
            chain.moved.push(another(4000 + n * 5, n, 10_000));
        }
        chain
    };
    let paid = (200, TX.to_owned());
    let failed = (402, "settlement_failed".to_owned());
    let open = (503, "outcome_unknown".to_owned());
    for most in [1000, 50] {
        assert_eq!(again("exact", |_| {}, busy(4333, most).with(settled("exact", 4333, 10_000))), paid);
        assert_eq!(again("exact", |_| {}, busy(4335, most).with(settled("exact", 4335, 10_000))), paid);
        assert_eq!(again("exact", |_| {}, busy(4333, most)), failed, "invalidated");
    }
    // A node that keeps no older state still finds what was done since.
    let pruned =
        |used_in: u64| Chain { kept_from: 4900, ..busy(used_in, 1000) }.with(settled("exact", used_in, 10_000));
    assert_eq!(again("exact", |_| {}, pruned(4950)), paid);
    assert_eq!(again("exact", |_| {}, pruned(4850)), open);
    // Of a payer who has not paid much else, logs are enough.
    let quiet = Chain { kept_from: 4999, ..Chain::new(Some(4200)) };
    assert_eq!(again("exact", |_| {}, quiet.clone().with(settled("exact", 4200, 10_000))), paid);
    assert_eq!(again("exact", |_| {}, quiet), open, "invalidated or not: nobody can tell");
}

#[test]
fn an_unconfirmed_block_decides_nothing() {
    let confirmed = |policy: &mut Value| policy["rpc"][0]["confirmations"] = json!(10);
    let open = (503, "outcome_unknown".to_owned());
    let recent = Chain::new(Some(4995)).with(settled("exact", 4995, 10_000));
    assert_eq!(again("exact", confirmed, recent), open);
    let old = Chain::new(Some(4990)).with(settled("exact", 4990, 10_000));
    assert_eq!(again("exact", confirmed, old), (200, TX.to_owned()));
    // Lapsed at the latest block, and not at the one that counts: what came between may have used it.
    let between = Chain { time: DEADLINE + 1, ..Chain::new(None) };
    assert_eq!(again("exact", confirmed, between), open);
    let lapsed = Chain { time: DEADLINE + 21, ..Chain::new(None) };
    assert_eq!(again("exact", confirmed, lapsed), (402, "settlement_failed".to_owned()));
}

#[test]
fn an_unknown_permit2_outcome_is_found_out_without_anybody_asking() {
    for (scheme, charged) in [("exact", 10_000), ("upto", 1000)] {
        let (host, gate) = world(scheme, |_| {}, Chain::new(Some(4900)).with(settled(scheme, 4900, charged)));
        let payment = shown(scheme);
        assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment)), "outcome_unknown");
        for _ in 0..10 {
            host.pass(1);
            host.work();
        }
        assert_eq!(host.count("claim/settled"), 1, "{scheme}");
        assert_eq!(pay(&host, &gate, "/premium-data", &payment).status, 200);
    }
}

#[test]
fn an_upto_payment_that_was_to_charge_nothing_needs_no_chain() {
    let (host, gate) = world("upto for nothing", |_| {}, Chain::new(None));
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &shown("upto"))), "outcome_unknown");
    let reply = pay(&host, &gate, "/premium-data", &shown("upto"));
    assert_eq!((reply.status, &decoded(&reply, "payment-response")["transaction"]), (200, &json!("")));
}

/// What the second of two authorizations gets whose nonces were used in one transaction, of which these are the logs.
fn shared(logs: &[(&str, &str)]) -> (u16, String) {
    let used = topic("AuthorizationUsed(address,bytes32)");
    let transfer = topic("Transfer(address,address,uint256)");
    let payer = format!("0x{}", word(PAYER));
    let ours = vector_payment()["payload"]["authorization"]["nonce"].as_str().unwrap().to_owned();
    let logs: Vec<Value> = logs
        .iter()
        .map(|(event, of)| match *event {
            "used" if *of == "ours" => json!({ "address": TOKEN, "topics": [used, payer, ours] }),
            "used" => json!({ "address": TOKEN, "topics": [used, payer, format!("0x{:064x}", 7)] }),
            _ => json!({ "address": TOKEN, "data": format!("0x{}", number(10_000)),
                "topics": [transfer, payer, format!("0x{}", word(of))] }),
        })
        .collect();
    let service = move |call: &Callout| {
        if call.cluster != "rpc" {
            return if call.path == "/verify" { valid() } else { Some(Err(CalloutError::Lost)) };
        }
        let request: Value = serde_json::from_slice(&call.body).unwrap();
        let result = match request["method"].as_str().unwrap() {
            "eth_getBlockByNumber" => json!({ "number": "0x100", "timestamp": format!("{NOW:#x}") }),
            "eth_getLogs" => json!([{ "topics": [used], "transactionHash": TX }]),
            _ => json!({ "status": "0x1", "logs": logs }),
        };
        answer(200, json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    };
    let host = TestHost::new(NOW, service, upstream("200"));
    let gate = gate_with("after", with_rpc);
    assert_eq!(code(&pay(&host, &gate, "/premium-data", &payment())), "outcome_unknown");
    let reply = pay(&host, &gate, "/premium-data", &payment());
    (reply.status, if reply.status == 200 { String::new() } else { code(&reply) })
}

#[test]
fn one_transfer_never_stands_for_two_authorizations_of_a_transaction() {
    let elsewhere = "0x00000000000000000000000000000000000000aa";
    let paid = (200, String::new());
    let failed = (402, "settlement_failed".to_owned());
    let open = (503, "outcome_unknown".to_owned());
    for (logs, expected) in [
        (&[("used", "ours"), ("transfer", PAYEE)][..], &paid),
        (&[("used", "other"), ("transfer", PAYEE), ("used", "ours"), ("transfer", PAYEE)], &paid),
        (&[("used", "other"), ("transfer", PAYEE), ("used", "ours"), ("transfer", elsewhere)], &failed),
        (&[("used", "ours"), ("transfer", elsewhere), ("used", "other"), ("transfer", PAYEE)], &failed),
        (&[("transfer", elsewhere), ("used", "ours"), ("transfer", PAYEE), ("used", "other")], &open),
        (&[("used", "ours"), ("used", "other"), ("transfer", PAYEE), ("transfer", elsewhere)], &open),
        (&[("used", "ours"), ("transfer", elsewhere), ("used", "other"), ("transfer", elsewhere)], &failed),
    ] {
        assert_eq!(shared(logs), *expected, "{logs:?}");
    }
}
