//! Questions to people: what is asked, of whom, and who has answered.
//!
//! A question is a document of everything that was decided about: request, offer, policy, when it expires, and a nonce.
//! Approvers sign that document, so an approval is good for nothing else. A question is answered once, and gone.

use crate::agent::challenge::{Offer, Pass, Terms};
use crate::agent::policy::Policy;
use crate::agent::request::{Body, Request};
use crate::crypto::jws::{self, Jws};
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::crypto::{base64url, hex, sha256};
use crate::json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// The `typ` of an approval.
const TYPE: &str = "farebox-approval+jwt";
/// Bytes of an approval.
const MAX_BYTES: usize = 16 * 1024;

/// What somebody is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is asked about, in full. Show it to whoever is asked; approvers sign exactly this.
    pub document: Value,
    /// Name of the question: base64url of the SHA-256 of the document's canonical JSON.
    pub digest: String,
    /// Unix seconds until which it can be answered, and until which the answer is good.
    pub expires: u64,
    /// Who must answer, for each rule that asks.
    pub needs: Vec<Asked>,
    /// Whether enough of them have said yes.
    pub answered: bool,
    /// Whether one has said no.
    pub rejected: bool,
}

/// Who must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The rule that asks.
    pub rule: String,
    /// Thumbprints (RFC 7638) of the keys that may answer; empty: whoever the program asks.
    pub by: Vec<String>,
    /// How many of them.
    pub threshold: usize,
    /// How many have.
    pub given: usize,
}

/// Signs the answer yes to `question`. `None` only if its document is not one of ours.
#[must_use]
pub fn approve(question: &Value, key: &SigningKey) -> Option<String> {
    jws::sign(key, TYPE, Some(&key.public().thumbprint()), question)
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    /// Others must still answer.
    Counted,
    /// Enough have answered.
    Enough,
    /// It had answered before.
    Again,
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadApproval {
    /// It is not a signed approval.
    Unreadable,
    /// There is no such question: it was never asked, was answered and used, or has expired.
    NoQuestion,
    /// Its signer was not asked.
    NotAsked,
}

impl fmt::Display for BadApproval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "not a signed approval",
            Self::NoQuestion => "no such question stands: it was used, has expired, or was never asked",
            Self::NotAsked => "its signer was not asked",
        })
    }
}

impl std::error::Error for BadApproval {}

/// Who must answer, as it is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Need {
    pub(in crate::agent) rule: String,
    pub(in crate::agent) by: Vec<PublicKey>,
    pub(in crate::agent) threshold: usize,
}

/// Who must answer, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    rule: String,
    /// JWKs.
    by: Vec<Value>,
    threshold: usize,
}

/// A question that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::agent) struct Pending {
    document: Value,
    pub(super) digest: String,
    pub(super) expires: u64,
    needs: Vec<Kept>,
    /// Thumbprints of those who said yes; `""` for the program.
    given: Vec<String>,
    rejected: bool,
}

impl Pending {
    pub(super) fn new(document: &Value, needs: Vec<Need>, expires: u64, nonce: [u8; 16]) -> Self {
        let mut document = document.clone();
        if let Some(members) = document.as_object_mut() {
            members.insert("expires".to_owned(), expires.into());
            members.insert("nonce".to_owned(), hex::encode(&nonce).into());
        }
        let digest = subject(&document);
        let kept = |need: Need| Kept {
            rule: need.rule,
            by: need.by.iter().map(PublicKey::to_jwk).collect(),
            threshold: need.threshold,
        };
        let needs = needs.into_iter().map(kept).collect();
        Self { document, digest, expires, needs, given: Vec::new(), rejected: false }
    }

    /// The question as it is shown.
    pub(in crate::agent) fn question(&self) -> Question {
        let needs = self.needs.iter().map(|need| Asked {
            rule: need.rule.clone(),
            by: need.names(),
            threshold: need.threshold,
            given: need.given(&self.given),
        });
        Question {
            document: self.document.clone(),
            digest: self.digest.clone(),
            expires: self.expires,
            needs: needs.collect(),
            answered: self.enough(),
            rejected: self.rejected,
        }
    }

    /// Whether enough have said yes, none no, and it still stands.
    pub(in crate::agent) fn is_answered(&self, now: u64) -> bool {
        self.expires > now && self.enough()
    }

    /// Whether these needs are met. The question may have been asked when fewer rules asked.
    pub(in crate::agent) fn satisfies(&self, needs: &[Need]) -> bool {
        !self.rejected
            && needs.iter().all(|need| {
                let names: Vec<String> = need.by.iter().map(PublicKey::thumbprint).collect();
                given(&names, &self.given) >= need.threshold
            })
    }

    /// Whether one has said no.
    pub(in crate::agent) fn is_rejected(&self) -> bool {
        self.rejected
    }

    fn enough(&self) -> bool {
        !self.rejected && self.needs.iter().all(|need| need.given(&self.given) >= need.threshold)
    }

    pub(super) fn asks_host(&self) -> bool {
        self.needs.iter().any(|need| need.by.is_empty())
    }

    pub(super) fn reject(&mut self) {
        self.rejected = true;
    }

    pub(super) fn approved_by(&mut self, key: &PublicKey, now: u64) -> Approved {
        self.approved(key.thumbprint(), now)
    }

    pub(super) fn approved_by_host(&mut self, now: u64) -> Approved {
        self.approved(String::new(), now)
    }

    fn approved(&mut self, who: String, now: u64) -> Approved {
        if self.given.contains(&who) {
            return Approved::Again;
        }
        self.given.push(who);
        if self.is_answered(now) { Approved::Enough } else { Approved::Counted }
    }
}

impl Kept {
    fn names(&self) -> Vec<String> {
        self.by.iter().filter_map(PublicKey::from_jwk).map(|key| key.thumbprint()).collect()
    }

    fn given(&self, by: &[String]) -> usize {
        given(&self.names(), by)
    }
}

/// How many different ones of `names` (nobody named: the program) are among those who said yes.
fn given(names: &[String], yes: &[String]) -> usize {
    if names.is_empty() {
        return usize::from(yes.iter().any(String::is_empty));
    }
    names.iter().filter(|name| yes.contains(name)).count()
}

/// Name of what a document is about: base64url of the SHA-256 of its canonical JSON.
pub(in crate::agent) fn subject(document: &Value) -> String {
    let text = json::canonical(document).unwrap_or_default();
    base64url::encode(&sha256(&[text.as_bytes()]))
}

/// What is asked about a payment: whatever of it changes makes it another question.
pub(in crate::agent) fn paying(policy: &Policy, request: &Request, offer: &Offer) -> Value {
    let body = match request.body {
        Body::Empty => Value::Null,
        Body::Digest(digest) => base64url::encode(&digest).into(),
        Body::Unknown => "unknown".into(),
    };
    json!({
        "action": "pay",
        "policy": base64url::encode(&policy.hash()),
        "method": request.method,
        "url": request.url.text(),
        "body": body,
        "task": request.task,
        "agent": request.agent,
        "scheme": offer.scheme.wire(),
        "transfer": offer.transfer.wire(),
        "network": offer.asset.network(),
        "asset": offer.asset.to_string(),
        "amount": offer.amount.to_string(),
        "payTo": offer.payee.to_string(),
        "paymentFlow": if offer.upfront { "upfront" } else { "authorization" },
        "maxTimeoutSeconds": offer.max_timeout_seconds.to_string(),
        "facilitator": offer.facilitator.map(|address| hex::encode(&address)),
        "pass": offer.pass.map(sold),
    })
}

/// What a pass is good for. Its numbers are the seller's, and those of canonical JSON have an end.
fn sold(pass: Pass) -> Value {
    let Pass { terms, bearer, needs_holder, delegations } = pass;
    json!({
        "terms": limits(terms),
        "bearer": bearer.map(limits),
        "needsHolder": needs_holder,
        "delegations": delegations.to_string(),
    })
}

fn limits(terms: Terms) -> Value {
    let Terms { calls, budget, bytes, expires_in, rate } = terms;
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    json!({
        "calls": text(calls),
        "budget": budget.map(|budget| budget.0.to_string()),
        "bytes": text(bytes),
        "expiresIn": text(expires_in),
        "rate": rate.map(|(calls, seconds)| json!({ "calls": calls.to_string(), "seconds": seconds.to_string() })),
    })
}

pub(super) fn adopting(policy: &Policy, old: &str) -> Value {
    json!({ "action": "adopt", "policy": base64url::encode(&policy.hash()), "serial": policy.serial(), "instead_of": old })
}

pub(super) fn unfreezing(scope: &str, policy: &str) -> Value {
    json!({ "action": "unfreeze", "policy": policy, "host": scope })
}

/// The question that a signed approval answers, and by whose key.
pub(super) fn verified<'p>(
    text: &str,
    find: impl Fn(&str) -> Option<&'p Pending>,
) -> Result<(String, PublicKey), BadApproval> {
    let signed = Jws::parse(text, MAX_BYTES).map_err(|_| BadApproval::Unreadable)?;
    let digest = subject(&Value::Object(signed.payload.clone()));
    let pending = find(&digest).ok_or(BadApproval::NoQuestion)?;
    let keys = pending.needs.iter().flat_map(|need| &need.by).filter_map(PublicKey::from_jwk);
    let mut signer = keys.filter(|key| signed.verify(key, TYPE).is_ok());
    signer.next().map(|key| (digest, key)).ok_or(BadApproval::NotAsked)
}
