//! A thief: somebody who rebuilds a payment from the calldata of its settlement and the public challenge, and shows it,
//! in every state that the claim can be in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{add_routes, decode, encode, nonce_of, plan};
use crate::accounts::{BUYER, PAYEE};
use crate::chain::{NETWORK_V1, number};
use crate::scenario::{self, Got};
use crate::stack::{fault_policy, priced};
use crate::upstream::Answer;
use crate::{Fault, Operation, Stack, Tools};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Each state of the claim.
    pub states: Vec<Tried>,
    /// States that the claim could not be brought to, and why.
    pub not_reached: Vec<String>,
}

/// One state of a claim, and what thief and buyer got in it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The state.
    pub state: &'static str,
    /// The thief's attempts.
    pub attempts: usize,
    /// What they were answered.
    pub answers: BTreeMap<String, usize>,
    /// Attempts that were answered with a success, with something of the upstream's, or with a success's receipt.
    pub stolen: usize,
    /// Requests that the upstream saw because of them.
    pub forwarded: usize,
    /// What the buyer got in the end by its own payment.
    pub buyer: String,
    /// What it must be.
    pub owed: &'static str,
    /// Transfers for it on the chain.
    pub transfers: usize,
}

impl Figures {
    /// Whether no thief got anything, and every buyer what it was owed.
    pub fn holds(&self) -> bool {
        self.states.len() == STATES.len() && self.complaints().is_empty()
    }

    /// What is wrong, by state.
    pub fn complaints(&self) -> Vec<String> {
        let wrong = |tried: &&Tried| {
            tried.stolen > 0
                || tried.forwarded > 0
                || tried.attempts < FORMS.len()
                || tried.buyer != tried.owed
                || tried.transfers != 1
        };
        let wrong = self.states.iter().filter(wrong).map(|tried| format!("{tried:?}"));
        wrong.chain(self.not_reached.iter().cloned()).collect()
    }

    /// All attempts.
    pub fn attempts(&self) -> usize {
        self.states.iter().map(|tried| tried.attempts).sum()
    }
}

/// States of a claim: the kind of route, how far it has come, and what the buyer's own payment comes to in the end.
const STATES: &[(&str, &str, Stage, &str)] = &[
    ("after: upstream at work", "after", Stage::AtWork, SERVED),
    ("after: settling", "after", Stage::Settling, SERVED),
    ("after: delivered", "after", Stage::Delivered, USED),
    ("after: charged, not delivered", "after", Stage::Gone, SERVED),
    ("after: unknown", "after", Stage::Unknown, SERVED),
    ("after: unknown, found out by the chain", "after", Stage::FoundOut, SERVED),
    ("after: delivered the second time", "after", Stage::Spent, USED),
    ("before: settling", "before", Stage::Settling, SERVED),
    ("before: upstream at work", "before", Stage::AtWork, SERVED),
    ("before: upstream failed", "before", Stage::Failed, SERVED),
    ("before: delivered", "before", Stage::Delivered, USED),
    ("before: unknown", "before", Stage::Unknown, SERVED),
    ("named: settling", "named", Stage::Settling, SERVED),
    ("named: charged, not delivered", "named", Stage::Gone, SERVED),
    ("named: delivered, may be repeated", "named", Stage::Delivered, SERVED),
    ("named: repeated", "named", Stage::Spent, USED),
    ("name required: charged, not delivered", "required", Stage::Gone, SERVED),
    ("name required: delivered, may be repeated", "required", Stage::Delivered, SERVED),
];
const SERVED: &str = "200 served";
const USED: &str = "409 payment_used";

/// How far a claim has come when the thief tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The upstream has the request.
    AtWork,
    /// The settlement is on the chain, and its answer on the way.
    Settling,
    /// The buyer has it.
    Delivered,
    /// Settled, and the buyer has left before.
    Gone,
    /// The settlement's answer was lost.
    Unknown,
    /// The same, and the gate has asked the chain by itself.
    FoundOut,
    /// Settled before, and the upstream failed.
    Failed,
    /// The buyer has had the second delivery that it was owed, or allowed.
    Spent,
}

/// How the thief dresses what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// With the extensions of a challenge of its own.
    OwnChallenge,
    /// With nothing but the authorization.
    Bare,
    /// With a nonce of the right form that nobody gave out.
    MadeUpNonce,
    /// With a name of its own for the payment.
    OwnName,
    /// As a client of version 1.
    Version1,
    /// For another thing at the same price.
    Elsewhere,
}

const FORMS: [Form; 6] =
    [Form::OwnChallenge, Form::Bare, Form::MadeUpNonce, Form::OwnName, Form::Version1, Form::Elsewhere];

fn policy(origin: &str) -> Value {
    let mut policy = fault_policy(origin);
    policy["facilitators"][0]["settle_timeout_seconds"] = json!(20);
    let v1 = |more: Value| {
        let mut more = more;
        more["v1"] = json!(true);
        more
    };
    let named = |required: &str| json!({ "payment_identifier": required, "redelivery_seconds": 600 });
    add_routes(
        &mut policy,
        [
            priced("thief-after", "/plain/thief/after/{id}", v1(json!({}))),
            priced("thief-before", "/plain/thief/before/{id}", v1(json!({ "settle": "before" }))),
            priced("thief-named", "/plain/thief/named/{id}", v1(named("optional"))),
            priced("thief-required", "/plain/thief/required/{id}", named("required")),
        ],
    );
    policy
}

/// Tries it.
///
/// # Errors
/// If the stack does not start.
pub async fn thief(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Figures> {
    let stack = Stack::start(tools, plan(filter, policy, env)).await?;
    let mut figures = Figures::default();
    for (number, (state, route, stage, owed)) in STATES.iter().enumerate() {
        let site = Site { stack: &stack, path: format!("/plain/thief/{route}/{number}") };
        match site.try_state(*stage, route).await {
            Ok(tried) => figures.states.push(Tried { state, owed, ..tried }),
            Err(why) => figures.not_reached.push(format!("{state}: {why:#}")),
        }
    }
    Ok(figures)
}

struct Site<'a> {
    stack: &'a Stack,
    path: String,
}

impl Site<'_> {
    async fn try_state(&self, stage: Stage, route: &str) -> Result<Tried> {
        let payment = self.sign(route).await?;
        match stage {
            Stage::AtWork | Stage::Settling => self.during(stage, &payment).await,
            _ => {
                self.reach(stage, &payment).await?;
                let loot = self.on_chain(&payment).await?;
                let mut tried = self.steal(&loot).await?;
                tried.buyer = said(&self.pay(&payment).await?);
                tried.transfers = self.transfers(&payment).await?;
                Ok(tried)
            }
        }
    }

    /// The thief comes while the buyer's own request is under way.
    async fn during(&self, stage: Stage, payment: &str) -> Result<Tried> {
        let hold = (stage == Stage::AtWork).then(|| self.stack.upstream.hold(&self.path));
        if stage == Stage::Settling {
            self.settle_fault(Fault::delay(Duration::from_secs(6))).await?;
        }
        let meanwhile = async {
            let loot = match &hold {
                Some(hold) => {
                    hold.arrived(Duration::from_secs(20)).await?;
                    // Settled before, the chain has it; settled after, it cannot be had, and is given away here.
                    decode(payment)?["payload"].clone()
                }
                None => self.on_chain(payment).await?,
            };
            let tried = self.steal(&loot).await?;
            drop(hold);
            anyhow::Ok((tried, std::time::Instant::now()))
        };
        let buying = async { (self.pay(payment).await, std::time::Instant::now()) };
        let ((got, served), tried) = tokio::join!(buying, meanwhile);
        let (mut tried, done) = tried?;
        ensure!(served > done, "the buyer was served before the thief was through");
        tried.buyer = said(&got?);
        tried.transfers = self.transfers(payment).await?;
        Ok(tried)
    }

    /// Brings the claim to where it is to be.
    async fn reach(&self, stage: Stage, payment: &str) -> Result<()> {
        let expect = async |wanted: &str| {
            let said = said(&self.pay(payment).await?);
            ensure!(said == wanted, "on the way there: {said} instead of {wanted}");
            anyhow::Ok(())
        };
        match stage {
            Stage::Delivered => expect(SERVED).await?,
            Stage::Gone => self.leave(payment).await?,
            Stage::Spent => {
                // Named payments may be repeated when they were delivered, others when they were not.
                if decode(payment)?.pointer("/extensions/payment-identifier/info/id").is_some() {
                    expect(SERVED).await?;
                } else {
                    self.leave(payment).await?;
                }
                expect(SERVED).await?;
            }
            Stage::Unknown => {
                self.settle_fault(Fault::answer_lost()).await?;
                expect("503 outcome_unknown").await?;
            }
            Stage::FoundOut => {
                let found_out = "wasmcustom.farebox_claims_total.state.settled";
                let before = self.stack.envoy.stat(found_out).await?;
                self.settle_fault(Fault::answer_lost()).await?;
                expect("503 outcome_unknown").await?;
                crate::process::wait_for("the gate to ask the chain", Duration::from_secs(30), || async {
                    (self.stack.envoy.stat(found_out).await.ok()? > before).then_some(())
                })
                .await?;
            }
            Stage::Failed => {
                let kind = ("content-type", "application/json");
                self.stack.upstream.answer(&self.path, Answer::new(500, kind, "{}"));
                expect("500 failed").await?;
                self.stack.upstream.answer(&self.path, Answer::new(200, kind, r#"{"message":"hello from upstream"}"#));
            }
            Stage::AtWork | Stage::Settling => bail!("not a state that lasts"),
        }
        Ok(())
    }

    /// Pays, and leaves while the settlement is under way.
    async fn leave(&self, payment: &str) -> Result<()> {
        self.settle_fault(Fault::delay(Duration::from_millis(1500))).await?;
        let gone = crate::http::client().get(self.stack.url(&self.path)).header("payment-signature", payment);
        ensure!(gone.timeout(Duration::from_millis(900)).send().await.is_err(), "the response came too early");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        Ok(())
    }

    /// The payment that the official client signs; with a name where the route knows names.
    async fn sign(&self, route: &str) -> Result<String> {
        let mut payload = self.stack.buyer.sign_payload(&self.challenge().await?).await?;
        if matches!(route, "named" | "required") {
            payload["extensions"]["payment-identifier"]["info"]["id"] =
                json!(format!("buyer{}", self.path.replace('/', "-")));
        }
        Ok(encode(&payload))
    }

    async fn challenge(&self) -> Result<Value> {
        let got = scenario::send(self.stack, "GET", &self.path, None).await?;
        decode(got.headers.get("payment-required").context("no challenge")?)
    }

    async fn pay(&self, payment: &str) -> Result<Got> {
        scenario::send(self.stack, "GET", &self.path, Some(payment)).await
    }

    async fn settle_fault(&self, fault: Fault) -> Result<()> {
        self.stack.facilitator.set_faults(Operation::Settle, &[fault]).await
    }

    async fn transfers(&self, payment: &str) -> Result<usize> {
        self.stack.chain.authorization_used(BUYER.address, &nonce_of(payment)?).await
    }

    /// What the chain shows to everybody of the settlement of a payment, as soon as it is there.
    async fn on_chain(&self, payment: &str) -> Result<Value> {
        let (chain, nonce) = (&self.stack.chain, nonce_of(payment)?);
        crate::process::wait_for("the settlement", Duration::from_secs(20), || async {
            (chain.authorization_used(BUYER.address, &nonce).await.ok()? == 1).then_some(())
        })
        .await?;
        let transfers = chain.transfers_to(PAYEE.address).await?;
        let transfer = transfers.last().context("no transfer")?;
        let found = chain.rpc("eth_getTransactionByHash", json!([transfer.transaction])).await?;
        let loot = read_calldata(found["input"].as_str().context("a transaction without input")?)?;
        ensure!(loot["authorization"]["nonce"] == nonce, "the calldata is of another payment");
        Ok(loot)
    }

    /// Shows the loot in every form.
    async fn steal(&self, loot: &Value) -> Result<Tried> {
        let mut tried = Tried {
            state: "",
            attempts: 0,
            answers: BTreeMap::new(),
            stolen: 0,
            forwarded: 0,
            buyer: String::new(),
            owed: "",
            transfers: 0,
        };
        for form in FORMS {
            let seen = self.stack.upstream.count();
            let got = self.show(form, loot).await?;
            tried.attempts += 1;
            tried.forwarded += usize::try_from(self.stack.upstream.count() - seen)?;
            let receipt = ["payment-response", "x-payment-response"].into_iter().find_map(|name| got.headers.get(name));
            let receipt = receipt.and_then(|receipt| decode(receipt).ok()).is_some_and(|it| it["success"] == true);
            tried.stolen += usize::from(got.status < 400 || got.body.contains("hello from upstream") || receipt);
            *tried.answers.entry(said(&got)).or_default() += 1;
        }
        Ok(tried)
    }

    async fn show(&self, form: Form, loot: &Value) -> Result<Got> {
        let challenge = self.challenge().await?;
        let mut payment = json!({
            "x402Version": 2,
            "resource": challenge["resource"],
            "accepted": challenge["accepts"][0],
            "payload": loot,
        });
        let mut path = self.path.clone();
        let mut header = "payment-signature";
        match form {
            Form::OwnChallenge => payment["extensions"] = challenge["extensions"].clone(),
            Form::Bare => {}
            Form::MadeUpNonce => {
                payment["extensions"]["farebox"]["info"]["nonce"] = json!("00112233445566778899aabbccddeeff");
            }
            Form::OwnName => {
                payment["extensions"] = challenge["extensions"].clone();
                payment["extensions"]["payment-identifier"]["info"]["id"] = json!("thief-thief-thief-0001");
            }
            Form::Version1 => {
                header = "x-payment";
                payment = json!({ "x402Version": 1, "scheme": "exact", "network": NETWORK_V1, "payload": loot });
            }
            Form::Elsewhere => {
                payment["extensions"] = challenge["extensions"].clone();
                path.push_str("-else");
            }
        }
        scenario::request("GET", &self.stack.url(&path), &[(header, &encode(&payment))]).await
    }
}

/// What a response says in short.
fn said(got: &Got) -> String {
    let what = match got.status {
        200 if got.body.contains("hello from upstream") && !got.broken => "served".to_owned(),
        _ if got.code().is_empty() => "failed".to_owned(),
        _ => got.code(),
    };
    format!("{} {what}", got.status)
}

/// The payload of the payment that a `transferWithAuthorization` carries out.
fn read_calldata(input: &str) -> Result<Value> {
    let (selector, data) = input.split_at_checked(10).context("no selector")?;
    let word = |index: usize| data.get(index * 64..(index + 1) * 64).context("calldata is too short");
    let address = |index: usize| Ok::<_, anyhow::Error>(format!("0x{}", &word(index)?[24..]));
    let decimal = |index: usize| Ok::<_, anyhow::Error>(number(&json!(format!("0x{}", word(index)?)))?.to_string());
    let signature = match selector {
        // (…, uint8 v, bytes32 r, bytes32 s)
        "0xe3ee160e" => format!("{}{}{}", word(7)?, word(8)?, &word(6)?[62..]),
        // (…, bytes signature)
        "0xcf092995" => {
            let length = usize::try_from(number(&json!(format!("0x{}", word(7)?)))?)?;
            data.get(8 * 64..8 * 64 + 2 * length).context("calldata is too short")?.to_owned()
        }
        _ => bail!("not a transferWithAuthorization: {selector}"),
    };
    Ok(json!({
        "signature": format!("0x{signature}"),
        "authorization": {
            "from": address(0)?,
            "to": address(1)?,
            "value": decimal(2)?,
            "validAfter": decimal(3)?,
            "validBefore": decimal(4)?,
            "nonce": format!("0x{}", word(5)?),
        },
    }))
}
