//! EIP-3009: the token tells what became of a nonce, by its events and `authorizationState`.

use super::node::{Node, Trouble, quantity};
use super::{Found, Question, TRANSFER, at, bare, padded, same, selector, stands, topic};
use crate::crypto::hex;
use crate::host::Host;
use crate::rail::x402::eip3009::word_uint;
use serde_json::{Value, json};

const USED: &str = "AuthorizationUsed(address,bytes32)";
const CANCELED: &str = "AuthorizationCanceled(address,bytes32)";

pub(super) async fn judge<H: Host>(node: &Node<'_, H>, question: &Question) -> Result<Found, Trouble> {
    let window = node.window().await?;
    let (used, canceled) = (topic(USED), topic(CANCELED));
    let payer = padded(&question.payer)?;
    let topics = json!([[used, canceled], payer, question.nonce]);
    let logs = node.logs(&question.token, (window.first, window.last), topics).await?;
    let log_of = |topic: &String| logs.iter().find(|log| stands(log) && same(at(log, "/topics/0"), topic));
    if let Some(log) = log_of(&used) {
        let without = || Trouble::senseless("a log without a transaction");
        let transaction = at(log, "/transactionHash").as_str().ok_or_else(without)?;
        return paid(node, question, transaction).await;
    }
    if log_of(&canceled).is_some() {
        return Ok(Found::Failed { why: "the payer cancelled the authorization" });
    }
    if window.time <= u128::from(question.valid_before) {
        return Ok(Found::open("neither used nor cancelled, and still valid"));
    }
    // The events may lie further back than we looked; the state does not.
    let data = format!("{}{}{}", selector("authorizationState(address,bytes32)"), bare(&payer), bare(&question.nonce));
    match quantity(&node.read(&question.token, &data, window.last).await?) {
        Ok(0) => Ok(Found::Failed { why: "the authorization lapsed unused" }),
        _ => Ok(Found::Open { why: format!("used or cancelled more than {} blocks ago", node.rpc.blocks) }),
    }
}

/// Whether the use of the authorization in this transaction paid us.
///
/// A transaction may hold several uses, and one of them may have sent its money elsewhere: then each transfer belongs
/// to the use before it, as EIP-3009's own code has it, and where the payer's events do not alternate like that nobody
/// can tell.
async fn paid<H: Host>(node: &Node<'_, H>, question: &Question, transaction: &str) -> Result<Found, Trouble> {
    let receipt = node.call("eth_getTransactionReceipt", json!([transaction])).await?;
    if !same(at(&receipt, "/status"), "0x1") {
        return Ok(Found::open("the transaction of the event failed"));
    }
    let (used, transfer) = (topic(USED), topic(TRANSFER));
    let (payer, payee) = (padded(&question.payer)?, padded(&question.payee)?);
    let amount: u128 = question.amount.parse().map_err(|_| Trouble::senseless("not an amount"))?;
    let ours = |log: &Value| {
        same(at(log, "/topics/2"), &payee)
            && at(log, "/data").as_str().and_then(hex::decode_fixed::<32>).and_then(|word| word_uint(&word))
                == Some(amount)
    };
    let logs: Vec<(bool, &Value)> = at(&receipt, "/logs")
        .as_array()
        .into_iter()
        .flatten()
        .filter(|log| same(at(log, "/address"), &question.token) && same(at(log, "/topics/1"), &payer))
        .filter_map(|log| {
            let event = at(log, "/topics/0");
            let is_use = same(event, &used);
            (is_use || same(event, &transfer)).then_some((is_use, log))
        })
        .collect();
    let uses = logs.iter().filter(|(is_use, _)| *is_use).count();
    let paying = logs.iter().filter(|(is_use, log)| !is_use && ours(log)).count();
    if paying == 0 {
        return Ok(Found::Failed { why: "the payer used the authorization's nonce for something else" });
    }
    if uses <= 1 {
        return Ok(Found::settled(transaction));
    }
    let in_pairs = logs.chunks(2).all(|pair| matches!(pair, [(true, _), (false, _)]));
    let by_this = logs.chunks(2).any(|pair| match pair {
        [(_, of), (_, moved)] => same(at(of, "/topics/2"), &question.nonce) && ours(moved),
        _ => false,
    });
    Ok(match (in_pairs, by_this) {
        (true, true) => Found::settled(transaction),
        (true, false) => Found::Failed { why: "the payer used the authorization's nonce for something else" },
        (false, _) => Found::open("used among other transfers of the payer, and nobody can tell for which"),
    })
}
