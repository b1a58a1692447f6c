//! Permit2: its bitmap tells whether a nonce was used, and no event tells by what. What paid us is a transfer of the
//! token in a transaction that calls x402's proxy with this very permit; the proxy alone may use it, and pays whom it
//! names.
//!
//! A transaction that reaches the proxy through another contract is not believed: what its data says there need not be
//! what was called, and one transfer must not stand for two payments.

use super::node::{Node, Trouble, Window};
use super::{By, Found, Question, TRANSFER, at, bare, padded, same, selector, stands, topic};
use crate::crypto::{hex, keccak256};
use crate::host::Host;
use crate::rail::x402::eip3009::{address_word, uint_word, word_uint};
use crate::rail::x402::permit2::{EXACT_PROXY, PERMIT2, UPTO_PROXY};
use serde_json::{Value, json};

/// Transfers of the right amount that are looked at one by one, before the one block is looked for in which the nonce
/// was used.
const FEW: usize = 8;
/// Transfers that are looked at in that block.
const MANY: usize = 32;

/// A transfer of the token from the payer to the payee.
struct Transfer {
    transaction: String,
    amount: u128,
}

pub(super) async fn judge<H: Host>(node: &Node<'_, H>, question: &Question) -> Result<Found, Trouble> {
    let permit = Permit::of(question)?;
    let window = node.window().await?;
    if !used(node, question, window.last).await? {
        return Ok(if window.time > u128::from(question.valid_before) {
            Found::Failed { why: "the permit lapsed unused" }
        } else {
            Found::open("the permit's nonce is unused, and it is still valid")
        });
    }
    // Too many logs for an answer, or for the node: the one block will do.
    if let Ok(transfers) = transfers(node, &permit, (window.first, window.last)).await
        && transfers.len() <= FEW
        && let Some(found) = carried(node, &permit, &transfers).await?
    {
        return Ok(found);
    }
    let Some(block) = block_of_use(node, question, window).await? else {
        return Ok(Found::Open { why: format!("used, and not found in the last {} blocks", node.rpc.blocks) });
    };
    let transfers = transfers(node, &permit, (block, block)).await?;
    if let Some(found) = carried(node, &permit, transfers.get(..MANY).unwrap_or(&transfers)).await? {
        return Ok(found);
    }
    Ok(if transfers.is_empty() {
        Found::Failed { why: "the payer invalidated the permit's nonce or used it for something else" }
    } else {
        Found::open("used in a block with other payments of the payer, and none of them shows the permit")
    })
}

/// Whether the nonce is used as of a block.
async fn used<H: Host>(node: &Node<'_, H>, question: &Question, block: u128) -> Result<bool, Trouble> {
    let nonce: [u8; 32] = word(&question.nonce)?;
    let (bit, position) = nonce.split_last().ok_or_else(|| Trouble::senseless("no nonce"))?;
    let data = format!(
        "{}{}00{}",
        selector("nonceBitmap(address,uint256)"),
        bare(&padded(&question.payer)?),
        bare(&hex::encode(position))
    );
    let bitmap = node.read(&hex::encode(&PERMIT2), &data, block).await?;
    let bitmap: [u8; 32] = word(bitmap.as_str().unwrap_or_default())?;
    let byte = bitmap.iter().rev().nth(usize::from(bit / 8)).copied().unwrap_or_default();
    Ok(byte >> (bit % 8) & 1 == 1)
}

/// The block in which the nonce came to be used; `None` if that is further back than the node or we look.
async fn block_of_use<H: Host>(
    node: &Node<'_, H>,
    question: &Question,
    window: Window,
) -> Result<Option<u128>, Trouble> {
    let (mut unused, mut at) = (window.first.saturating_sub(1), window.last);
    let mut seen_unused = false;
    while at.saturating_sub(unused) > 1 {
        let middle = unused.saturating_add(at.saturating_sub(unused) / 2);
        match used(node, question, middle).await {
            Ok(true) => at = middle,
            Ok(false) => (unused, seen_unused) = (middle, true),
            // The node keeps no state that old: the newer half may do.
            Err(Trouble::Refused(_)) => (unused, seen_unused) = (middle, false),
            Err(trouble) => return Err(trouble),
        }
    }
    if !seen_unused {
        seen_unused = matches!(used(node, question, unused).await, Ok(false));
    }
    Ok(seen_unused.then_some(at))
}

/// Transfers by which the permit may have been paid, each transaction once, the latest first.
async fn transfers<H: Host>(
    node: &Node<'_, H>,
    permit: &Permit<'_>,
    blocks: (u128, u128),
) -> Result<Vec<Transfer>, Trouble> {
    let question = permit.question;
    let topics = json!([topic(TRANSFER), padded(&question.payer)?, padded(&question.payee)?]);
    let mut found: Vec<Transfer> = Vec::new();
    for log in node.logs(&question.token, blocks, topics).await?.iter().rev().filter(|log| stands(log)) {
        let amount = at(log, "/data").as_str().and_then(hex::decode_fixed::<32>).and_then(|word| word_uint(&word));
        let (Some(amount), Some(transaction)) = (amount, at(log, "/transactionHash").as_str()) else {
            return Err(Trouble::senseless("a transfer without amount or transaction"));
        };
        if permit.may_charge(amount) && !found.iter().any(|it| it.transaction == transaction && it.amount == amount) {
            found.push(Transfer { transaction: transaction.to_owned(), amount });
        }
    }
    Ok(found)
}

/// Whether one of the transfers was made by the permit.
async fn carried<H: Host>(
    node: &Node<'_, H>,
    permit: &Permit<'_>,
    transfers: &[Transfer],
) -> Result<Option<Found>, Trouble> {
    for transfer in transfers {
        let transaction = node.call("eth_getTransactionByHash", json!([transfer.transaction])).await?;
        match permit.shown(&transaction, transfer.amount) {
            Shown::Called => return Ok(Some(Found::settled(&transfer.transaction))),
            Shown::Somehow => return Ok(Some(Found::open("used through another contract than x402's proxy"))),
            Shown::Not => {}
        }
    }
    Ok(None)
}

/// What a transaction shows of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// It calls the proxy with it.
    Called,
    /// Its nonce is somewhere in its data.
    Somehow,
    /// Nothing.
    Not,
}

/// A permit as a call of the proxy carries it.
struct Permit<'a> {
    question: &'a Question,
    amount: u128,
    nonce: [u8; 32],
    token: [u8; 32],
    payer: [u8; 32],
    payee: [u8; 32],
}

const EXACT: [&str; 2] = [
    "settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)",
    "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),address,(address,uint256),bytes)",
];
const UPTO: [&str; 2] = [
    "settle(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)",
    "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)",
];
/// Words of an EIP-2612 permit, which comes first in `settleWithPermit`.
const PERMIT_2612_WORDS: usize = 5;

impl<'a> Permit<'a> {
    fn of(question: &'a Question) -> Result<Self, Trouble> {
        let address = |text: &str| hex::decode_fixed(text).map(|address| address_word(&address));
        let read = || {
            Some(Self {
                question,
                amount: question.amount.parse().ok()?,
                nonce: hex::decode_fixed(&question.nonce)?,
                token: address(&question.token)?,
                payer: address(&question.payer)?,
                payee: address(&question.payee)?,
            })
        };
        read().ok_or_else(|| Trouble::senseless("not a permit"))
    }

    /// Whether so much is what was to be charged.
    fn may_charge(&self, amount: u128) -> bool {
        match self.question.by {
            By::Upto => (1..=self.amount).contains(&amount),
            By::Permit | By::Authorization => amount == self.amount,
        }
    }

    /// What a transaction in which `amount` was transferred shows of this permit.
    fn shown(&self, transaction: &Value, amount: u128) -> Shown {
        let Some(input) = at(transaction, "/input").as_str().and_then(hex::decode) else { return Shown::Somehow };
        let (proxy, functions) = match self.question.by {
            By::Upto => (&UPTO_PROXY, UPTO),
            By::Permit | By::Authorization => (&EXACT_PROXY, EXACT),
        };
        if same(at(transaction, "/to"), &hex::encode(proxy))
            && let Some((called, data)) = input.split_first_chunk::<4>()
        {
            let skipped = functions.iter().position(|it| keccak256(&[it.as_bytes()]).starts_with(called));
            let words = data.as_chunks::<32>().0;
            let words = skipped.and_then(|nth| words.get(nth.saturating_mul(PERMIT_2612_WORDS)..));
            if words.is_some_and(|words| words.starts_with(&self.arguments(amount))) {
                return Shown::Called;
            }
        }
        if input.windows(32).any(|word| word == self.nonce) { Shown::Somehow } else { Shown::Not }
    }

    /// What the proxy is called with: token, amount signed for, nonce, deadline, what is charged where that is open,
    /// payer, payee.
    fn arguments(&self, charged: u128) -> Vec<[u8; 32]> {
        let deadline = uint_word(u128::from(self.question.valid_before));
        let mut words = vec![self.token, uint_word(self.amount), self.nonce, deadline];
        if self.question.by == By::Upto {
            words.push(uint_word(charged));
        }
        words.extend([self.payer, self.payee]);
        words
    }
}

fn word(text: &str) -> Result<[u8; 32], Trouble> {
    hex::decode_fixed(text).ok_or_else(|| Trouble::senseless("not a 32-byte word"))
}
