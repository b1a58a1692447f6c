//! The engine for other languages: JSON in, JSON out, and the counters' blob beside it.
//!
//! A shell keeps one [`Engine`] for each policy and calls [`Engine::call`] with an operation and the blob of its store. If
//! the reply has a blob, the shell writes it by compare-and-swap, and if another was faster, it reads and calls again
//! **with the same operation**. Nothing that a reply says may be acted upon before its blob is written.
//!
//! | operation | members besides `op` and `now` | the reply's members | writes |
//! |---|---|---|---|
//! | `begin` | | | yes |
//! | `decide` | `request`, `challenge` | `decision` | |
//! | `reserve` | `request`, `challenge`, `id` | `decision`, and `draft` if something is to be signed | yes |
//! | `sign` | `id`, `signature` (absent: by the session key) | `payment`, `reservation` | yes |
//! | `give_up` | `id` | | yes |
//! | `answer` | `id`, `attempt` (from 1), `response` (null: none came) | `resend_after` (milliseconds, or null), `outcome`, `faults`, … | if it is not to be sent again |
//! | `resume` | `request` | `resumed`: null, or `id`, `payment`, `reservation` | if there is one |
//! | `evidence` | `id`, `amount` (what the chain says was taken; null: it was not and cannot be) | | yes |
//! | `approve` | `jws` | `approved` | yes |
//! | `approve_by_host` | `digest` | `approved` | yes |
//! | `reject` | `digest` | | yes |
//! | `adopt` | `policy`, `loosen`, `id` | `adopted`, or `question` | yes |
//! | `unfreeze` | `host` (absent: all), `id` | `question`, if one must be answered | yes |
//! | `tick` | | | yes |
//! | `status` | | `left`, `open`, `questions`, `policy` | |
//! | `guard` | `typed_data` | | |
//! | `compare` | `policy` | `looser` | |
//!
//! `now` is Unix seconds, `id` is 16 random bytes in hexadecimal, new for each payment and the same when an operation is
//! repeated. A `request` is `{method, url, asked?, body?: {sha256} | "unknown", task?, agent?, quote?: {asset, amount,
//! payee?}}`; a `challenge` is `{headers: [[name, value]], body?}`, a `response` `{status, headers, body?, keys?}`, where `keys` is
//! what the seller serves at `/.well-known/jwks.json`. What goes
//! wrong is `{error: {code, detail}}`, and then nothing is written.

use super::answer::{self, Answer};
use super::challenge::Challenge;
use super::counters::{Adopted, Counters, Outcome};
use super::decide;
use super::flow::keys;
use super::import;
use super::money::{self, AccountId, AssetId};
use super::pay::{Binding, Draft, SessionKey, guard};
use super::policy::Policy;
use super::policy::config::Transfer;
use super::purse::{Account, Purse};
use super::request::{Body, Quote, Request, Url};
use super::tell;
use crate::crypto::hex;
use crate::http::Headers;
use crate::json;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Bytes of an operation.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 40;
/// Drafts that wait for a signature.
const MAX_DRAFTS: usize = 256;

/// A policy, the accounts that pay, and the payments that wait for a signature.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    purse: Purse,
    session: Option<SessionKey>,
    drafts: BTreeMap<[u8; 16], (Draft, Request)>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply, a JSON object.
    pub json: String,
    /// The blob to write in place of the one that was given.
    pub blob: Option<Vec<u8>>,
}

/// Why a call did nothing.
struct Failed {
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
}

impl Failed {
    fn new(code: &'static str, detail: impl std::fmt::Display) -> Self {
        Self { code, detail: detail.to_string(), more: Map::new() }
    }

    fn json(self) -> Value {
        let mut error = self.more;
        error.insert("code".to_owned(), self.code.into());
        error.insert("detail".to_owned(), self.detail.into());
        json!({ "error": error })
    }
}

/// The accounts of a wallet, as a shell writes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPurse {
    #[serde(default)]
    accounts: Vec<WrittenAccount>,
    #[serde(default)]
    keeps_tokens: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAccount {
    address: String,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    transfers: Option<Vec<Transfer>>,
    #[serde(default)]
    contract: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRequest {
    method: String,
    url: String,
    #[serde(default)]
    asked: Option<String>,
    #[serde(default)]
    body: Option<WrittenBody>,
    #[serde(default)]
    task: Option<String>,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    quote: Option<WrittenQuote>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WrittenBody {
    Digest { sha256: String },
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenQuote {
    asset: String,
    amount: String,
    #[serde(default)]
    payee: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenResponse {
    #[serde(default)]
    status: u16,
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Option<String>,
    /// The key set of the seller's origin.
    #[serde(default)]
    keys: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    Begin {
        now: u64,
    },
    Decide {
        now: u64,
        request: WrittenRequest,
        challenge: WrittenResponse,
    },
    Reserve {
        now: u64,
        request: WrittenRequest,
        challenge: WrittenResponse,
        id: String,
    },
    Sign {
        now: u64,
        id: String,
        #[serde(default)]
        signature: Option<String>,
    },
    GiveUp {
        now: u64,
        id: String,
    },
    Answer {
        now: u64,
        id: String,
        attempt: usize,
        response: Option<WrittenResponse>,
    },
    Resume {
        now: u64,
        request: WrittenRequest,
    },
    Evidence {
        now: u64,
        id: String,
        amount: Option<String>,
    },
    Approve {
        now: u64,
        jws: String,
    },
    ApproveByHost {
        now: u64,
        digest: String,
    },
    Reject {
        now: u64,
        digest: String,
    },
    Adopt {
        now: u64,
        policy: Value,
        #[serde(default)]
        loosen: bool,
        id: String,
    },
    Unfreeze {
        now: u64,
        #[serde(default)]
        host: Option<String>,
        id: String,
    },
    Tick {
        now: u64,
    },
    Status {
        now: u64,
    },
    Guard {
        now: u64,
        typed_data: Value,
    },
    Compare {
        #[serde(default, rename = "now")]
        _now: Option<u64>,
        policy: Value,
    },
}

impl Engine {
    /// An engine for a policy (JSON) and the accounts of a wallet: `{accounts: [{address, networks?, transfers?,
    /// contract?}], keeps_tokens?}`. Without `transfers` an account pays by EIP-3009 alone.
    ///
    /// # Errors
    /// A JSON object `{error: {code, detail, mistakes?: [{path, found, hint}]}}`.
    pub fn new(policy: &str, purse: &str) -> Result<Self, String> {
        let policy = load(policy.as_bytes()).map_err(|failed| failed.json().to_string())?;
        let purse = read_purse(purse).map_err(|failed| failed.json().to_string())?;
        Ok(Self { policy, purse, session: None, drafts: BTreeMap::new() })
    }

    /// Gives the engine a key that it signs payments with (`sign` without `signature`), for an account of its own. The
    /// account's address, which is added to the purse if it is not in it; `None` if the bytes are no key.
    pub fn hold(&mut self, secret: &[u8; 32]) -> Option<String> {
        let key = SessionKey::new(secret)?;
        let address = key.address();
        if !self.purse.accounts.iter().any(|account| account.address == address) {
            self.purse.accounts.push(Account::of_key(address));
        }
        self.session = Some(key);
        Some(money::checksummed(&address))
    }

    /// The policy: `{hash, serial, name, document, warnings}`.
    #[must_use]
    pub fn policy(&self) -> String {
        tell::policy(&self.policy).to_string()
    }

    /// Does one operation on the counters in `blob`; `None` where the store has none.
    ///
    /// A store without a blob is one that has lost it: only `begin` makes a new one. A shell calls `begin` when a person
    /// sets up the agent, and never by itself.
    pub fn call(&mut self, operation: &str, blob: Option<&[u8]>) -> Reply {
        match self.run(operation, blob) {
            Ok((json, blob)) => Reply { json: json.to_string(), blob },
            Err(failed) => Reply { json: failed.json().to_string(), blob: None },
        }
    }

    fn run(&mut self, operation: &str, blob: Option<&[u8]>) -> Result<(Value, Option<Vec<u8>>), Failed> {
        let bad = |error: &dyn std::fmt::Display| Failed::new("bad_operation", error);
        let operation = json::parse(operation.as_bytes(), MAX_BYTES, MAX_DEPTH).map_err(|error| bad(&error))?;
        let operation = Operation::deserialize(&operation).map_err(|error| bad(&error))?;
        let counters = match blob {
            None => None,
            Some(bytes) => Some(Counters::decode(bytes, 0).map_err(|error| Failed::new("store", error))?),
        };
        if let Operation::Begin { now } = operation {
            if counters.is_some() {
                return Err(Failed::new("begun", "there are counters, which stay as they are"));
            }
            return Ok((json!({}), Some(Counters::begin(&self.policy, now).encode())));
        }
        let now = operation.now();
        let mut counters = counters.unwrap_or_else(|| Counters::lost(&self.policy, now));
        let (json, writes) = self.apply(operation, &mut counters)?;
        Ok((json, writes.then(|| counters.encode())))
    }

    /// The reply, and whether the counters are to be written.
    fn apply(&mut self, operation: Operation, counters: &mut Counters) -> Result<(Value, bool), Failed> {
        let policy = &self.policy;
        Ok(match operation {
            Operation::Begin { .. } => (json!({}), false),
            Operation::Decide { now, request, challenge } => {
                let (request, challenge) = (read_request(request)?, read_challenge(challenge)?);
                let decision = decide::decide(policy, &challenge, &request, &self.purse, counters, now);
                (json!({ "decision": tell::decision(policy, &decision, &challenge) }), false)
            }
            Operation::Reserve { now, request, challenge, id } => {
                let (request, challenge, id) = (read_request(request)?, read_challenge(challenge)?, read_id(&id)?);
                (self.reserve(counters, &challenge, &request, id, now)?, true)
            }
            Operation::Sign { now, id, signature } => (self.sign(counters, &read_id(&id)?, signature, now)?, true),
            Operation::GiveUp { now, id } => {
                let id = read_id(&id)?;
                self.drafts.remove(&id);
                conclude(policy, counters, &id, &Outcome::NotSent, 0, now)?;
                (json!({}), true)
            }
            Operation::Answer { now, id, attempt, response } => {
                self.answer(counters, &read_id(&id)?, attempt, response, now)?
            }
            Operation::Resume { now, request } => {
                let request = read_request(request)?;
                match counters.resume(policy, &request, now) {
                    None => (json!({ "resumed": null }), false),
                    Some(resumed) => {
                        let resumed = json!({
                            "id": resumed.id,
                            "payment": tell::payment(&resumed.payment),
                            "reservation": tell::reservation(policy, &resumed.reservation),
                        });
                        (json!({ "resumed": resumed }), true)
                    }
                }
            }
            Operation::Evidence { now, id, amount } => {
                let outcome = match amount {
                    None => Outcome::Unused,
                    Some(amount) => {
                        Outcome::Settled(amount.parse().map_err(|_| Failed::new("bad_operation", "amount"))?)
                    }
                };
                conclude(policy, counters, &read_id(&id)?, &outcome, 0, now)?;
                (json!({}), true)
            }
            Operation::Approve { now, jws } => {
                let approved = counters.approve(&jws, now).map_err(|error| Failed::new("bad_approval", error))?;
                (json!({ "approved": tell::approved(approved) }), true)
            }
            Operation::ApproveByHost { now, digest } => {
                let approved = counters.approve_by_host(&digest, now);
                (
                    json!({ "approved": tell::approved(approved.map_err(|error| Failed::new("bad_approval", error))?) }),
                    true,
                )
            }
            Operation::Reject { digest, .. } => {
                counters.reject(&digest);
                (json!({}), true)
            }
            Operation::Adopt { now, policy, loosen, id } => {
                let policy = load(policy.to_string().as_bytes())?;
                match counters.adopt(&policy, loosen, read_id(&id)?, now) {
                    Adopted::Done => {
                        self.policy = policy;
                        (json!({ "adopted": true }), true)
                    }
                    Adopted::Needs(question) => {
                        (json!({ "adopted": false, "question": tell::question(&question) }), true)
                    }
                    Adopted::Rollback => return Err(Failed::new("rollback", "a later edition was in force before")),
                }
            }
            Operation::Unfreeze { now, host, id } => {
                let question = counters.unfreeze(policy, host.as_deref(), read_id(&id)?, now).err();
                (json!({ "question": question.as_deref().map(tell::question) }), true)
            }
            Operation::Tick { now } => {
                counters.tick(policy, now);
                (json!({}), true)
            }
            Operation::Status { now } => (tell::status(policy, counters, now), false),
            Operation::Guard { now, typed_data } => {
                guard::typed_data(policy, &typed_data, now)
                    .map_err(|refused| Failed::new("typed_data", refused.wire()))?;
                (json!({}), false)
            }
            Operation::Compare { policy: other, .. } => {
                (json!({ "looser": load(other.to_string().as_bytes())?.looser_than(policy) }), false)
            }
        })
    }

    fn reserve(
        &mut self,
        counters: &mut Counters,
        challenge: &Challenge,
        request: &Request,
        id: [u8; 16],
        now: u64,
    ) -> Result<Value, Failed> {
        let decision = counters.reserve(&self.policy, challenge, request, &self.purse, id, now);
        let mut reply = json!({ "decision": tell::decision(&self.policy, &decision, challenge) });
        if let Some(choice) = decision.choice() {
            let draft = Draft::new(challenge, choice, request, Binding { id: &id, holder: None }, now);
            let draft = draft.ok_or_else(|| Failed::new("bad_operation", "the challenge is another"))?;
            if let Some(members) = reply.as_object_mut() {
                members.insert("draft".to_owned(), of_draft(&draft));
            }
            if self.drafts.len() >= MAX_DRAFTS {
                self.drafts.pop_first();
            }
            self.drafts.insert(id, (draft, request.clone()));
        }
        Ok(reply)
    }

    fn sign(
        &mut self,
        counters: &mut Counters,
        id: &[u8; 16],
        signature: Option<String>,
        now: u64,
    ) -> Result<Value, Failed> {
        let (draft, _) = self.drafts.get(id).ok_or_else(|| Failed::new("no_draft", "nothing waits under this id"))?;
        let signature = match (signature, &self.session) {
            (Some(text), _) => hex::decode(&text).ok_or_else(|| Failed::new("bad_signature", "not hexadecimal"))?,
            (None, Some(key)) => {
                let signature = key.signature(draft).map(|signature| signature.to_vec());
                signature.ok_or_else(|| Failed::new("bad_signature", "the session key is not the payer's"))?
            }
            (None, None) => return Err(Failed::new("bad_signature", "there is none, and no session key")),
        };
        let payment = draft.clone().finish(&signature).map_err(|error| Failed::new("bad_signature", error))?;
        counters.sign(&self.policy, id, payment.clone(), now).map_err(|error| Failed::new("not_held", error))?;
        let reservation = counters.reservation(id).map(|held| tell::reservation(&self.policy, held));
        Ok(json!({ "payment": tell::payment(&payment), "reservation": reservation }))
    }

    fn answer(
        &mut self,
        counters: &mut Counters,
        id: &[u8; 16],
        attempt: usize,
        response: Option<WrittenResponse>,
        now: u64,
    ) -> Result<(Value, bool), Failed> {
        let held = counters.reservation(id).ok_or_else(|| Failed::new("not_held", "there is no such reservation"))?;
        let answer = match response {
            None => Answer::none(),
            Some(response) => {
                let url = Url::parse(&held.url).map_err(|error| Failed::new("bad_operation", error))?;
                let (url, sent) = match self.drafts.get(id) {
                    Some((_, request)) => (&request.url, request.body),
                    None => (&url, Body::Unknown),
                };
                let body = response.body.unwrap_or_default();
                let headers = headers(&response.headers);
                let keys = keys::read(response.keys.unwrap_or_default().to_string().as_bytes()).unwrap_or_default();
                let (status, body) = (response.status, body.as_bytes());
                let holder = self.purse.holder.as_deref();
                let reply = answer::Reply { url, sent, status, headers: &headers, body, keys: &keys, holder };
                answer::read(&self.policy, held, &reply, now)
            }
        };
        let resend_after = answer.resends(held, attempt, now);
        let (outcome, charged) = tell::outcome(&answer.outcome);
        let charged = charged.map(|amount| amount.to_string());
        let faults: Vec<&str> = answer.faults.iter().map(|fault| fault.wire()).collect();
        let told = json!({
            "resend_after": resend_after,
            "outcome": outcome,
            "charged": charged,
            "faults": faults,
            "code": answer.code,
            "transaction": answer.transaction,
            "receipts": answer.receipts.iter().map(tell::receipt).collect::<Vec<_>>(),
            "token": answer.token,
            "reservation": tell::reservation(&self.policy, held),
        });
        if resend_after.is_none() {
            conclude(&self.policy, counters, id, &answer.outcome, answer.faults.len(), now)?;
            self.drafts.remove(id);
        }
        Ok((told, resend_after.is_none()))
    }
}

impl Operation {
    fn now(&self) -> u64 {
        match self {
            Self::Begin { now }
            | Self::Decide { now, .. }
            | Self::Reserve { now, .. }
            | Self::Sign { now, .. }
            | Self::GiveUp { now, .. }
            | Self::Answer { now, .. }
            | Self::Resume { now, .. }
            | Self::Evidence { now, .. }
            | Self::Approve { now, .. }
            | Self::ApproveByHost { now, .. }
            | Self::Reject { now, .. }
            | Self::Adopt { now, .. }
            | Self::Unfreeze { now, .. }
            | Self::Tick { now }
            | Self::Status { now }
            | Self::Guard { now, .. } => *now,
            Self::Compare { .. } => 0,
        }
    }
}

fn conclude(
    policy: &Policy,
    counters: &mut Counters,
    id: &[u8; 16],
    outcome: &Outcome,
    faults: usize,
    now: u64,
) -> Result<(), Failed> {
    let id = super::counters::id_text(id);
    counters.conclude(policy, &id, outcome, faults, now).map_err(|error| Failed::new("not_held", error))
}

fn load(json: &[u8]) -> Result<Policy, Failed> {
    Policy::load(json).map_err(|mistakes| {
        let mut failed = Failed::new("policy", &mistakes);
        let list = mistakes.0.iter().map(|it| json!({ "path": it.path, "found": it.found, "hint": it.hint }));
        failed.more.insert("mistakes".to_owned(), list.collect());
        failed
    })
}

fn read_purse(text: &str) -> Result<Purse, Failed> {
    purse(text).map_err(|error| Failed::new("purse", error))
}

/// The accounts of a wallet, as [`Engine::new`] takes them.
///
/// # Errors
/// What is wrong with them, in words.
pub fn purse(text: &str) -> Result<Purse, String> {
    let json = json::parse(text.as_bytes(), MAX_BYTES, MAX_DEPTH).map_err(|error| error.to_string())?;
    let written = WrittenPurse::deserialize(&json).map_err(|error| error.to_string())?;
    let accounts = written.accounts.into_iter().map(|account| {
        let chains = account.networks.iter().map(|network| money::chain(network));
        Ok(Account {
            address: money::evm(&account.address)?,
            chains: chains.collect::<Result<_, _>>()?,
            transfers: account.transfers.unwrap_or_else(|| vec![Transfer::Eip3009]),
            contract: account.contract,
        })
    });
    let accounts = accounts.collect::<Result<_, String>>()?;
    Ok(Purse { accounts, keeps_tokens: written.keeps_tokens, holder: None })
}

/// A grant of a wallet or a mandate of a user as a policy ([`import`]): `kind` is `erc7715`, `spend_permission` or `ap2`,
/// `frame` is `{hosts?, unit?, assets?, serial?}`.
///
/// # Errors
/// A JSON object `{error: {code: "not_imported", detail, path}}`.
pub fn import(kind: &str, grant: &str, frame: &str) -> Result<String, String> {
    imported(kind, grant, frame).map_err(|failed| failed.json().to_string())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFrame {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    assets: Vec<Value>,
    #[serde(default)]
    serial: u64,
}

fn imported(kind: &str, grant: &str, frame: &str) -> Result<String, Failed> {
    let bad = |error: &dyn std::fmt::Display| Failed::new("bad_operation", error);
    let frame = json::parse(frame.as_bytes(), MAX_BYTES, MAX_DEPTH).map_err(|error| bad(&error))?;
    let WrittenFrame { hosts, unit, assets, serial } =
        WrittenFrame::deserialize(&frame).map_err(|error| bad(&error))?;
    let frame = import::Frame { hosts, unit, assets, serial };
    let read = match kind {
        "erc7715" => import::erc7715,
        "spend_permission" => import::spend_permission,
        "ap2" => import::ap2,
        _ => return Err(bad(&"kind is erc7715, spend_permission or ap2")),
    };
    let imported = read(grant.as_bytes(), &frame).map_err(|not| {
        let mut failed = Failed::new("not_imported", &not);
        failed.more.insert("path".to_owned(), not.path.into());
        failed
    })?;
    let (policy, account, notes) = (imported.policy, imported.account, imported.notes);
    Ok(json!({ "policy": policy, "account": account, "notes": notes }).to_string())
}

fn read_request(written: WrittenRequest) -> Result<Request, Failed> {
    let bad = |error: &dyn std::fmt::Display| Failed::new("request", error);
    let mut request = Request::new(&written.method, &written.url).map_err(|error| bad(&error))?;
    let asked = written.asked.as_deref().map(Url::parse).transpose().map_err(|error| bad(&error))?;
    request.asked = asked.filter(|asked| asked.text() != request.url.text());
    request.body = match written.body {
        None => Body::Empty,
        Some(WrittenBody::Word(word)) if word == "unknown" => Body::Unknown,
        Some(WrittenBody::Digest { sha256 }) => {
            Body::Digest(hex::decode_fixed(&sha256).ok_or_else(|| bad(&"body.sha256 is 32 bytes in hexadecimal"))?)
        }
        Some(WrittenBody::Word(_)) => return Err(bad(&"body is {sha256} or \"unknown\"")),
    };
    request.task = written.task;
    request.agent = written.agent;
    request.quote = match written.quote {
        None => None,
        Some(quote) => Some(Quote {
            asset: AssetId::parse(&quote.asset).map_err(|error| bad(&error))?,
            amount: quote.amount.parse().map_err(|error| bad(&error))?,
            payee: quote.payee.as_deref().map(AccountId::parse).transpose().map_err(|error| bad(&error))?,
        }),
    };
    Ok(request)
}

fn read_challenge(written: WrittenResponse) -> Result<Challenge, Failed> {
    let body = written.body.unwrap_or_default();
    Challenge::read(&headers(&written.headers), body.as_bytes())
        .map_err(|refused| Failed::new(refused.reason.wire(), refused.detail))
}

fn headers(fields: &[(String, String)]) -> Headers {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn read_id(text: &str) -> Result<[u8; 16], Failed> {
    hex::decode_fixed(text).ok_or_else(|| Failed::new("bad_operation", "id is 16 bytes in hexadecimal"))
}

fn of_draft(draft: &Draft) -> Value {
    json!({
        "payer": money::checksummed(&draft.payer()),
        "chain": draft.chain(),
        "digest": hex::encode(&draft.digest()),
        "typed_data": draft.typed_data(),
    })
}
