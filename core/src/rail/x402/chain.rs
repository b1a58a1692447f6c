//! The chain as judge: what became of an EIP-3009 authorization whose settlement nobody can tell the outcome of.
//!
//! Source: EIP-3009 events and `authorizationState`; Ethereum JSON-RPC. A payment counts as settled only if the token
//! says that the authorization was used and, in that very transaction, that the payee got the amount.

use crate::crypto::{hex, keccak256};
use crate::host::{Answer, Callout, Host};
use crate::json;
use crate::policy::Rpc;
use crate::rail::x402::eip3009::word_uint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What must be known of a payment to find out its outcome. Kept in the ledger, at most 512 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// CAIP-2 network.
    pub network: String,
    /// Token contract.
    pub token: String,
    /// Who pays.
    pub payer: String,
    /// The authorization's nonce.
    pub nonce: String,
    /// Who was to be paid, from our configuration at the time.
    pub payee: String,
    /// Atomic units, from our configuration at the time.
    pub amount: String,
    /// Unix seconds: the authorization cannot be used from then on.
    pub valid_before: u64,
    /// Unix seconds before which asking makes no sense: the money call may still be answered.
    pub not_before: u64,
}

/// What the chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// We were paid.
    Settled {
        /// The transaction that did it.
        transaction: String,
    },
    /// We were not paid by this payment, and will not be.
    Failed {
        /// For the log.
        why: &'static str,
    },
    /// Still open.
    Open {
        /// For the log.
        why: String,
    },
}

/// Asks the chain.
pub async fn judge<H: Host>(host: &H, rpc: &Rpc, question: &Question) -> Found {
    match ask(host, rpc, question).await {
        Ok(found) => found,
        Err(why) => Found::Open { why },
    }
}

async fn ask<H: Host>(host: &H, rpc: &Rpc, question: &Question) -> Result<Found, String> {
    let latest = call(host, rpc, "eth_getBlockByNumber", json!(["latest", false])).await?;
    let number = quantity(at(&latest, "/number"))?;
    let time = quantity(at(&latest, "/timestamp"))?;
    let last = number.saturating_sub(u128::from(rpc.confirmations));
    let first = last.saturating_sub(u128::from(rpc.blocks));
    let used = topic("AuthorizationUsed(address,bytes32)");
    let canceled = topic("AuthorizationCanceled(address,bytes32)");
    let filter = json!({
        "address": question.token,
        "fromBlock": format!("{first:#x}"),
        "toBlock": format!("{last:#x}"),
        "topics": [[used, canceled], padded(&question.payer)?, question.nonce],
    });
    let logs = call(host, rpc, "eth_getLogs", json!([filter])).await?;
    let logs = logs.as_array().ok_or("eth_getLogs: not a list")?;
    let log_of = |topic: &String| {
        logs.iter().find(|log| at(log, "/removed") != &Value::Bool(true) && same(at(log, "/topics/0"), topic))
    };
    if let Some(log) = log_of(&used) {
        let transaction = at(log, "/transactionHash").as_str().ok_or("a log without a transaction")?;
        return paid(host, rpc, question, transaction).await;
    }
    if log_of(&canceled).is_some() {
        return Ok(Found::Failed { why: "the payer cancelled the authorization" });
    }
    if time <= u128::from(question.valid_before) {
        return Ok(Found::Open { why: "neither used nor cancelled, and still valid".to_owned() });
    }
    // The events may lie further back than we looked; the state does not.
    let data = format!(
        "{}{}{}",
        selector("authorizationState(address,bytes32)"),
        bare(&padded(&question.payer)?),
        bare(&question.nonce)
    );
    let block = format!("{last:#x}");
    let state = call(host, rpc, "eth_call", json!([{ "to": question.token, "data": data }, block])).await?;
    match quantity(&state) {
        Ok(0) => Ok(Found::Failed { why: "the authorization lapsed unused" }),
        _ => Ok(Found::Open { why: format!("used or cancelled more than {} blocks ago", rpc.blocks) }),
    }
}

/// Whether the transaction that used the authorization paid us.
async fn paid<H: Host>(host: &H, rpc: &Rpc, question: &Question, transaction: &str) -> Result<Found, String> {
    let receipt = call(host, rpc, "eth_getTransactionReceipt", json!([transaction])).await?;
    let transfer = topic("Transfer(address,address,uint256)");
    let (payer, payee) = (padded(&question.payer)?, padded(&question.payee)?);
    let amount: u128 = question.amount.parse().map_err(|_| "not an amount")?;
    let ours = same(at(&receipt, "/status"), "0x1")
        && at(&receipt, "/logs").as_array().into_iter().flatten().any(|log| {
            same(at(log, "/address"), &question.token)
                && same(at(log, "/topics/0"), &transfer)
                && same(at(log, "/topics/1"), &payer)
                && same(at(log, "/topics/2"), &payee)
                && at(log, "/data").as_str().and_then(hex::decode_fixed::<32>).and_then(|word| word_uint(&word))
                    == Some(amount)
        });
    if ours {
        Ok(Found::Settled { transaction: transaction.to_owned() })
    } else {
        Ok(Found::Failed { why: "the payer used the authorization's nonce for something else" })
    }
}

async fn call<H: Host>(host: &H, rpc: &Rpc, method: &str, params: Value) -> Result<Value, String> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = Callout {
        cluster: rpc.cluster.clone(),
        method: "POST",
        scheme: rpc.scheme.clone(),
        authority: rpc.authority.clone(),
        path: rpc.path.clone(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
        timeout_millis: rpc.timeout_seconds.saturating_mul(1000),
    };
    let started = host.now_millis();
    let answer = host.callout(request).await;
    let read = match answer {
        Ok(Answer { status: 200, body, .. }) => {
            json::parse(&body, Answer::MAX_BODY, 32).map_err(|error| error.to_string())
        }
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(error) => Err(format!("{error:?}")),
    };
    let result = read.and_then(|mut json| match json.get_mut("result") {
        Some(result) if !result.is_null() => Ok(result.take()),
        _ => Err("no result".to_owned()),
    });
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    let millis = host.now_millis().saturating_sub(started);
    host.event(&crate::host::Event::Callout { kind: "rpc", outcome, millis });
    result.map_err(|why| format!("{method}: {why}"))
}

fn topic(signature: &str) -> String {
    hex::encode(&keccak256(&[signature.as_bytes()]))
}

fn selector(signature: &str) -> String {
    topic(signature).chars().take(10).collect()
}

/// An address as a 32-byte word.
fn padded(address: &str) -> Result<String, String> {
    let bytes = hex::decode_fixed::<20>(address).ok_or("not an address")?;
    Ok(format!("0x{:0>64}", bare(&hex::encode(&bytes))))
}

fn bare(hex: &str) -> &str {
    hex.strip_prefix("0x").unwrap_or(hex)
}

fn same(found: &Value, wanted: &str) -> bool {
    found.as_str().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
}

fn quantity(value: &Value) -> Result<u128, String> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).ok_or("not a quantity")?;
    u128::from_str_radix(digits.trim_start_matches('0'), 16)
        .or_else(|error| if digits.bytes().all(|c| c == b'0') { Ok(0) } else { Err(error) })
        .map_err(|_| "not a quantity".to_owned())
}

/// The value at a JSON pointer; null if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
