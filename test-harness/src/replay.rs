//! Adversarial replays against a real Envoy: many payments, each sent many times, at once, under other spellings, to
//! other routes and by other methods; counted by what the upstream saw and the chain carried out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::accounts::{BUYER, PAYEE};
use crate::scenario;
use crate::stack::Stack;

/// What came of a storm.
#[derive(Debug, Default)]
pub struct Findings {
    /// Requests sent.
    pub sends: usize,
    /// Sends by what was done to the payment.
    pub mix: BTreeMap<&'static str, usize>,
    /// Responses by status and code.
    pub answers: BTreeMap<String, usize>,
    /// Payments delivered.
    pub delivered: usize,
    /// Payments delivered more than once.
    pub double_deliveries: usize,
    /// Payments settled more than once.
    pub double_settlements: usize,
    /// Responses of the upstream to more requests than there were settlements.
    pub unpaid_deliveries: usize,
    /// Connections each worker took.
    pub workers: Vec<u64>,
}

/// What the adversary does to a payment it sends again.
const TRICKS: [&str; 8] = [
    "as it is",
    "other route",
    "other query",
    "other method",
    "lower case",
    "leading zeros",
    "no echo",
    "unknown member",
];

/// Sends `sends` requests with `sends / 40` payments, 64 at a time, in an order drawn from `seed`.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn storm(stack: &Stack, sends: usize, seed: u64) -> Result<Findings> {
    let transfers = stack.chain.transfers_to(PAYEE.address).await?.len();
    let used = stack.chain.authorizations_used_by(BUYER.address).await?;
    let before = stack.envoy.connections_by_worker(stack.config.port).await?;
    stack.upstream.clear();
    let mut findings = Findings { sends, ..Findings::default() };
    let mut payments = Vec::new();
    for number in 0..sends / 40 {
        payments.push(scenario::sign(stack, &path_of(number)).await?);
    }
    let mut draw = Draw(seed);
    let gate = Arc::new(tokio::sync::Semaphore::new(64));
    // Payments come in waves, so that many sends of one are under way at once.
    let mut tasks = Vec::new();
    for at in 0..sends {
        let number = (at / 40 + draw.below(3)).min(payments.len().saturating_sub(1));
        let trick = TRICKS[draw.below(TRICKS.len())];
        *findings.mix.entry(trick).or_default() += 1;
        let payment = spelled(&payments[number], trick)?;
        let path = match trick {
            "other route" => "/plain/after".to_owned(),
            "other query" => format!("{}?q={}", path_of(number), draw.below(9)),
            _ => path_of(number),
        };
        let method = if trick == "other method" { "POST" } else { "GET" };
        let request = crate::http::client()
            .request(method.parse()?, stack.url(&path))
            .header("payment-signature", payment)
            .timeout(Duration::from_secs(60));
        let permit = Arc::clone(&gate).acquire_owned().await?;
        tasks.push(tokio::spawn(async move {
            let response = request.send().await;
            let answer = match response {
                Ok(response) => {
                    let status = response.status().as_u16();
                    let body: Value = response.json().await.unwrap_or_default();
                    let code = body["code"].as_str().map_or_else(|| "upstream".to_owned(), str::to_owned);
                    format!("{status} {code}")
                }
                Err(_) => "no response".to_owned(),
            };
            drop(permit);
            (number, answer)
        }));
    }
    let mut served: HashMap<usize, usize> = HashMap::new();
    for task in tasks {
        let (number, answer) = task.await?;
        if answer == "200 upstream" {
            *served.entry(number).or_default() += 1;
        }
        *findings.answers.entry(answer).or_default() += 1;
    }
    let after = stack.envoy.connections_by_worker(stack.config.port).await?;
    let transfers = stack.chain.transfers_to(PAYEE.address).await?.len() - transfers;
    let used = stack.chain.authorizations_used_by(BUYER.address).await? - used;
    let all_served: usize = served.values().sum();
    findings.delivered = served.len();
    findings.double_deliveries = served.values().filter(|times| **times > 1).count();
    findings.double_settlements = transfers.saturating_sub(used);
    findings.unpaid_deliveries = all_served.max(stack.upstream.hits().len()).saturating_sub(transfers);
    findings.workers = after.iter().zip(before).map(|(after, before)| after - before).collect();
    Ok(findings)
}

fn path_of(number: usize) -> String {
    format!("/plain/users/{number}")
}

/// The payment as the adversary writes it.
fn spelled(payment: &str, trick: &str) -> Result<String> {
    let mut json: Value = serde_json::from_slice(&STANDARD.decode(payment)?)?;
    let authorization = &mut json["payload"]["authorization"];
    match trick {
        "lower case" => {
            for field in ["from", "to"] {
                let lower = authorization[field].as_str().context("no address")?.to_lowercase();
                authorization[field] = lower.into();
            }
        }
        "leading zeros" => {
            let value = format!("000{}", authorization["value"].as_str().context("no value")?);
            authorization["value"] = value.into();
        }
        "no echo" => json["extensions"] = Value::Object(serde_json::Map::new()),
        "unknown member" => json["unknown"] = 1.into(),
        _ => {}
    }
    Ok(STANDARD.encode(json.to_string()))
}

/// Numbers that look random and are the same every time (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap_or(0)
    }
}
