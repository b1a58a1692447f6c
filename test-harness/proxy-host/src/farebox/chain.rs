//! The chain that the shop settles on, as its node tells of it: every transaction is one payment that was carried out,
//! and bears its nonce as its hash.

use super::wallet::{Way, low};
use super::{Book, Shop, TOKEN};
use crate::message::{Answer, Call, Handling};
use farebox_core::crypto::{hex, keccak256};
use farebox_core::rail::x402::permit2::EXACT_PROXY;
use serde_json::{Value, json};

/// Milliseconds between blocks.
const BLOCK_MILLIS: u64 = 2000;

/// The block that is being made at a time.
pub(super) fn block_at(millis: u64) -> u64 {
    millis / BLOCK_MILLIS
}

impl Shop {
    /// What the node answers; some calls it loses.
    pub(super) fn node(&mut self, call: &Call) -> Handling {
        self.asked_chain += 1;
        let when = self.when(self.conduct.slow, 4000);
        if self.chance(self.conduct.node_lost) {
            return Handling::Answer(when, Answer::new(503, "no"));
        }
        let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let answer = match self.result(&request, call.at) {
            Some(result) => json!({ "jsonrpc": "2.0", "id": 1, "result": result }),
            None => json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32601, "message": "no such method" } }),
        };
        Handling::Answer(when, Answer::new(200, answer.to_string()))
    }

    fn result(&self, request: &Value, now: u64) -> Option<Value> {
        let params = &request["params"];
        let text = |at: &str| params.pointer(at).and_then(Value::as_str);
        // The block that is being made is nobody's yet.
        let latest = block_at(now).saturating_sub(1);
        match request["method"].as_str()? {
            "eth_getBlockByNumber" => {
                let number = if text("/0") == Some("latest") { latest } else { number(text("/0")?)? };
                let time = number * BLOCK_MILLIS / 1000;
                Some(json!({ "number": format!("{number:#x}"), "timestamp": format!("{time:#x}") }))
            }
            "eth_getLogs" => {
                let blocks = number(text("/0/fromBlock")?)?..=number(text("/0/toBlock")?)?;
                let payer = text("/0/topics/1")?;
                let carried = self.carried_for(payer).filter(|(_, book)| blocks.contains(&book.block));
                let transfers = text("/0/topics/0") == Some(&topic(TRANSFER));
                Some(if transfers {
                    carried.map(|(nonce, book)| transfer(nonce, book)).collect()
                } else {
                    let nonce: [u8; 32] = hex::decode_fixed(text("/0/topics/2")?)?;
                    let used = carried.filter(|(of, book)| **of == nonce && book.way == Way::Eip3009);
                    used.map(|(nonce, book)| usage(nonce, book)).collect()
                })
            }
            "eth_getTransactionReceipt" => {
                let nonce = hex::decode_fixed(text("/0")?)?;
                let book = self.books.get(&nonce).filter(|book| book.moved)?;
                Some(json!({ "status": "0x1", "logs": [usage(&nonce, book), transfer(&nonce, book)] }))
            }
            "eth_getTransactionByHash" => {
                let nonce = hex::decode_fixed(text("/0")?)?;
                let book = self.books.get(&nonce).filter(|book| book.moved)?;
                Some(match book.way {
                    Way::Eip3009 => json!({ "to": TOKEN, "input": "0xe3ee160e" }),
                    Way::Permit2 => json!({ "to": hex::encode(&EXACT_PROXY), "input": settlement(&nonce, book) }),
                })
            }
            "eth_call" => {
                let data = text("/0/data")?;
                let (payer, word) = (data.get(10..74)?, data.get(74..138)?);
                let block = number(text("/1")?)?;
                let used = self.carried_for(payer).filter(|(_, book)| book.block <= block);
                if text("/0/to")?.eq_ignore_ascii_case(TOKEN) {
                    let nonce = hex::decode_fixed::<32>(&format!("0x{word}"))?;
                    return Some(json!(format!("0x{:064x}", u8::from(used.into_iter().any(|(of, _)| *of == nonce)))));
                }
                let mut bitmap = [0u8; 32];
                for (nonce, _) in used.filter(|(_, book)| book.way == Way::Permit2) {
                    let digits = hex::encode(nonce);
                    if digits.get(2..64) == word.get(2..) {
                        let bit = nonce[31];
                        bitmap[31 - usize::from(bit / 8)] |= 1 << (bit % 8);
                    }
                }
                Some(json!(hex::encode(&bitmap)))
            }
            _ => None,
        }
    }

    /// What was carried out of a payer's, whose address may come as a word.
    fn carried_for(&self, payer: &str) -> impl Iterator<Item = (&[u8; 32], &Book)> {
        let address = format!("0x{}", payer.get(payer.len().saturating_sub(40)..).unwrap_or_default());
        let nonces = self.payers.get(&address.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
        nonces.iter().filter_map(|nonce| Some((nonce, self.books.get(nonce)?))).filter(|(_, book)| book.moved)
    }
}

const TRANSFER: &str = "Transfer(address,address,uint256)";

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn topic(signature: &str) -> String {
    hex::encode(&keccak256(&[signature.as_bytes()]))
}

fn word(address: &str) -> String {
    format!("{:0>64}", address.trim_start_matches("0x").to_lowercase())
}

fn usage(nonce: &[u8; 32], book: &Book) -> Value {
    let topics = [topic("AuthorizationUsed(address,bytes32)"), format!("0x{}", word(&book.payer)), hex::encode(nonce)];
    json!({ "address": TOKEN, "topics": topics, "transactionHash": hex::encode(nonce) })
}

fn transfer(nonce: &[u8; 32], book: &Book) -> Value {
    let topics = [topic(TRANSFER), format!("0x{}", word(&book.payer)), format!("0x{}", word(super::PAYEE))];
    let data = format!("0x{:064x}", book.value);
    json!({ "address": TOKEN, "topics": topics, "data": data, "transactionHash": hex::encode(nonce) })
}

/// The call of x402's proxy that carried out a permit.
fn settlement(nonce: &[u8; 32], book: &Book) -> String {
    let function = topic("settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)");
    let number = |number: u128| format!("{number:064x}");
    let selector = function.get(..10).unwrap_or_default();
    [
        selector.to_owned(),
        word(TOKEN),
        number(book.value),
        number(low(nonce)),
        number(u128::from(book.before)),
        word(&book.payer),
        word(super::PAYEE),
        number(0),
    ]
    .concat()
}
