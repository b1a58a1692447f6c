//! The counters themselves.

use super::question::{self, Approved, Pending, Question};
use super::reservation::{Draw, Reservation, Stage};
use super::tally::{self, Tally};
use crate::agent::challenge::Offer;
use crate::agent::policy::config::{BreakerKey, Key};
use crate::agent::policy::{Policy, Span};
use crate::agent::request::Request;
use crate::agent::wallet::Wallet;
use crate::crypto::{base64url, hex, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Version of the blob.
const FORMAT: u32 = 1;
/// Bytes of a blob.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Seconds that a clock may go back.
pub(super) const SKEW: u64 = 60;
/// Counters, payments and other entries that are kept at most; beyond, payments are denied.
const MAX_TALLIES: usize = 4096;
pub(super) const MAX_OPEN: usize = 256;
const MAX_PENDING: usize = 64;
const MAX_ENTRIES: usize = 4096;
const MAX_FAULTS: usize = 1024;
/// Keys longer than this are hashed.
const MAX_KEY: usize = 200;
/// Hosts whose rate of calls is known; it advises and decides nothing.
const MAX_VISITS: usize = 256;

/// What was spent, what is reserved, and what else a decision must remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    format: u32,
    /// Grows with every change that is written.
    revision: u64,
    /// The policy in force.
    policy: Value,
    policy_hash: String,
    serial: u64,
    /// Unix seconds from which on everything is counted here; 0: from the beginning.
    since: u64,
    /// The latest time seen.
    last: u64,
    tallies: BTreeMap<String, Tally>,
    open: BTreeMap<String, Reservation>,
    /// First payees, by host and network.
    pins: BTreeMap<String, String>,
    /// Hosts, payees and assets that were paid before.
    seen: BTreeSet<String>,
    /// What was last paid, by resource and unit.
    prices: BTreeMap<String, Price>,
    /// When something was last paid, by cooldown.
    paid_at: BTreeMap<String, u64>,
    /// Payments that would be duplicates, with the time until they are remembered.
    recent: BTreeMap<String, u64>,
    faults: Vec<Fault>,
    /// What the breaker has stopped, and when: `""` for everything, or a host.
    frozen: BTreeMap<String, u64>,
    /// Questions to approvers, by what they are about.
    pending: BTreeMap<String, Pending>,
    /// When the lock of a payment began.
    locks: BTreeMap<String, u64>,
    visits: BTreeMap<String, Visits>,
    /// Tokens, which are kept where the counters are.
    #[serde(default, skip_serializing_if = "Wallet::is_empty")]
    wallet: Wallet,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Price(#[serde(with = "super::decimal")] u128, u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fault(u64, String);

/// Calls that were paid for at a host: the hour, how many in it, how many in the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Visits(u64, u64, u64);

/// Why a blob is not taken for counters. It must not be overwritten: somebody should look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCounters {
    /// It is not a blob of this format.
    Unreadable,
    /// It is an older one than was seen before.
    Stale,
}

impl fmt::Display for BadCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "the counters cannot be read",
            Self::Stale => "the counters are older than those that were seen before",
        })
    }
}

impl std::error::Error for BadCounters {}

/// What became of the wish to put another policy in force.
#[derive(Clone, Debug, PartialEq)]
pub enum Adopted {
    /// It is in force.
    Done,
    /// It allows more, and somebody must approve that; ask again once they have.
    Needs(Box<Question>),
    /// Its serial is lower than one that was seen, or not higher although it is another policy.
    Rollback,
}

/// What is left of a budget or a number of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The rule: `budgets day`.
    pub rule: String,
    /// What it is counted for, if the rule counts several things: `api.example.com`.
    pub key: String,
    /// The unit of the amounts; `calls` for numbers of calls.
    pub unit: String,
    /// The most there can be; `10^-18` of the unit, or calls.
    pub max: u128,
    /// What is spent or reserved.
    pub used: u128,
}

impl Counters {
    /// Counters of an agent that has spent nothing. A person says so, or whoever sets up the agent, and never the
    /// agent itself: it is how a budget is filled.
    #[must_use]
    pub fn begin(policy: &Policy, now: u64) -> Self {
        Self::new(policy, 0, now)
    }

    /// Counters in place of lost ones. What was spent before is not known: windowed budgets open once the window has
    /// passed, and others stay shut.
    #[must_use]
    pub fn lost(policy: &Policy, now: u64) -> Self {
        Self::new(policy, now.max(1), now)
    }

    /// Fills the budgets of counters that were found lost, if nothing has happened under them since; whether it did.
    pub fn begin_after_all(&mut self, policy: &Policy) -> bool {
        let untouched = Self { revision: 0, ..Self::new(policy, self.since, self.last) };
        let mine = Self { revision: 0, visits: BTreeMap::new(), ..self.clone() };
        let begins = self.since > 0 && mine == untouched;
        if begins {
            self.since = 0;
        }
        begins
    }

    /// The counters, of a revision that follows this one.
    pub(in crate::agent) fn after(mut self, revision: u64) -> Self {
        self.revision = self.revision.max(revision);
        self
    }

    fn new(policy: &Policy, since: u64, now: u64) -> Self {
        Self {
            format: FORMAT,
            revision: 0,
            policy: policy.document().clone(),
            policy_hash: base64url::encode(&policy.hash()),
            serial: policy.serial(),
            since,
            last: now,
            tallies: BTreeMap::new(),
            open: BTreeMap::new(),
            pins: BTreeMap::new(),
            seen: BTreeSet::new(),
            prices: BTreeMap::new(),
            paid_at: BTreeMap::new(),
            recent: BTreeMap::new(),
            faults: Vec::new(),
            frozen: BTreeMap::new(),
            pending: BTreeMap::new(),
            locks: BTreeMap::new(),
            visits: BTreeMap::new(),
            wallet: Wallet::default(),
        }
    }

    /// Reads a blob. `revision` is the highest that was seen elsewhere, if one is kept there, or 0.
    ///
    /// # Errors
    /// [`BadCounters`] if it is no blob of ours, or an older one.
    pub fn decode(bytes: &[u8], revision: u64) -> Result<Self, BadCounters> {
        let read = if bytes.len() <= MAX_BYTES { serde_json::from_slice::<Self>(bytes).ok() } else { None };
        let counters = read.filter(|counters| counters.format == FORMAT).ok_or(BadCounters::Unreadable)?;
        if counters.revision < revision {
            return Err(BadCounters::Stale);
        }
        Ok(counters)
    }

    /// The blob. Each is of a higher revision than the one it was made from.
    #[must_use]
    pub fn encode(&mut self) -> Vec<u8> {
        self.revision = self.revision.saturating_add(1);
        // A map of texts and numbers is always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Number of this state; it grows with every blob.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The document of the policy in force.
    #[must_use]
    pub fn policy(&self) -> &Value {
        &self.policy
    }

    /// Whether `policy` is the one in force.
    #[must_use]
    pub fn is_under(&self, policy: &Policy) -> bool {
        self.policy_hash == base64url::encode(&policy.hash())
    }

    /// Puts `policy` in force. One that allows no more than the one before needs nothing; another needs the approval
    /// of the old one's approvers, or, if it has none, of whoever calls this with `loosen`.
    pub fn adopt(&mut self, policy: &Policy, loosen: bool, nonce: [u8; 16], now: u64) -> Adopted {
        if self.is_under(policy) {
            return Adopted::Done;
        }
        if policy.serial() <= self.serial {
            return Adopted::Rollback;
        }
        let old = Policy::load(self.policy.to_string().as_bytes());
        let looser = old.as_ref().map_or(true, |old| !policy.is_not_looser(old));
        if looser {
            let document = question::adopting(policy, &self.policy_hash);
            let approvers: Vec<_> = old.iter().flat_map(Policy::approvers).copied().collect();
            let quorum = old.as_ref().map_or(1, Policy::quorum);
            match self.authorised(&document, (approvers, quorum), loosen, nonce, now) {
                Ok(()) => {}
                Err(Some(question)) => return Adopted::Needs(Box::new(question)),
                Err(None) => {
                    let host = question::Need { rule: "policy".to_owned(), by: Vec::new(), threshold: 1 };
                    return Adopted::Needs(Box::new(self.ask(&document, vec![host], 600, nonce, now)));
                }
            }
        }
        self.policy = policy.document().clone();
        self.policy_hash = base64url::encode(&policy.hash());
        self.serial = policy.serial();
        // Whoever was asked under the old policy was asked something else.
        self.pending.clear();
        Adopted::Done
    }

    /// Whether something that only a person may do may be done: by the approvers, or if there are none, by the caller.
    fn authorised(
        &mut self,
        document: &Value,
        (approvers, threshold): (Vec<crate::crypto::keys::PublicKey>, usize),
        by_caller: bool,
        nonce: [u8; 16],
        now: u64,
    ) -> Result<(), Option<Question>> {
        let subject = question::subject(document);
        let answered = self.pending.get(&subject).is_some_and(|pending| pending.is_answered(now));
        if answered || (approvers.is_empty() && by_caller) {
            self.pending.remove(&subject);
            return Ok(());
        }
        if approvers.is_empty() {
            return Err(None);
        }
        let need = question::Need { rule: "policy".to_owned(), by: approvers, threshold };
        Err(Some(self.ask(document, vec![need], 86_400, nonce, now)))
    }

    /// Opens the breaker of `host`, or of everything, again. If the policy has approvers, one of them must say so.
    ///
    /// # Errors
    /// The question to them; ask again once they have answered.
    pub fn unfreeze(
        &mut self,
        policy: &Policy,
        host: Option<&str>,
        nonce: [u8; 16],
        now: u64,
    ) -> Result<(), Box<Question>> {
        let scope = host.unwrap_or_default();
        let document = question::unfreezing(scope, &self.policy_hash);
        let approvers = policy.approvers().copied().collect();
        match self.authorised(&document, (approvers, policy.quorum()), true, nonce, now) {
            Ok(()) | Err(None) => {
                let stays = |host: &str| !scope.is_empty() && host != scope;
                self.frozen.retain(|host, _| stays(host));
                self.faults.retain(|fault| stays(&fault.1));
                Ok(())
            }
            Err(Some(question)) => Err(Box::new(question)),
        }
    }

    /// Lets time pass: what has expired is concluded, what nobody needs any more is dropped.
    pub fn tick(&mut self, policy: &Policy, now: u64) {
        let now = self.clock(now);
        self.last = now;
        self.conclude_expired(policy, now);
        self.pending.retain(|_, pending| pending.expires > now);
        self.recent.retain(|_, until| *until > now);
        self.wallet.forget_expired(now);
        // A lock is no longer good for a payment a day after it opened; the longest takes thirty.
        self.locks.retain(|_, since| since.saturating_add(32 * 86_400) > now);
        if !self.is_under(policy) {
            return;
        }
        let longest = policy.cooldowns.iter().map(|cooldown| cooldown.says.seconds).max().unwrap_or(0);
        self.paid_at.retain(|_, at| at.saturating_add(longest) > now);
        if let Some(breaker) = policy.breaker {
            self.faults.retain(|fault| fault.0.saturating_add(breaker.seconds) > now);
            self.frozen.retain(|_, since| !thawed(breaker.resumes_after, *since, now));
        }
        if self.tallies.len() > MAX_TALLIES / 2 {
            let spans: BTreeMap<String, Span> = spans(policy).collect();
            self.tallies.retain(|key, tally| {
                let rule = key.split('/').take(2).collect::<Vec<_>>().join("/");
                spans.get(&rule).is_none_or(|span| tally.forget(*span, now))
            });
        }
    }

    /// The time that counts: it never goes back.
    pub(in crate::agent) fn clock(&self, now: u64) -> u64 {
        now.max(self.last)
    }

    /// Whether the clock has gone back further than clocks do.
    pub(in crate::agent) fn is_ahead(&self, now: u64) -> bool {
        self.last > now.saturating_add(SKEW)
    }

    /// Whether everything that counts at `now` in this span is counted here.
    pub(in crate::agent) fn knows(&self, span: Span, now: u64) -> bool {
        self.since == 0 || (span != Span::Lifetime && self.since <= tally::needed_since(span, now))
    }

    /// What is spent or reserved under a counter.
    pub(in crate::agent) fn used(&self, counter: &str, span: Span, now: u64) -> u128 {
        self.tallies.get(counter).map_or(0, |tally| tally.used(span, now))
    }

    /// Whether another payment with these draws finds room. Nothing is ever forgotten to make some.
    pub(in crate::agent) fn has_room(&self, draws: &[Draw]) -> bool {
        let new = draws.iter().filter(|draw| !self.tallies.contains_key(&draw.counter)).count();
        self.tallies.len() + new <= MAX_TALLIES
            && self.open.len() < MAX_OPEN
            && self.pins.len() < MAX_ENTRIES
            && self.paid_at.len() < MAX_ENTRIES
            && self.recent.len() < MAX_ENTRIES
    }

    /// Since when the breaker has stopped payments to `host`.
    pub(in crate::agent) fn frozen(&self, host: &str) -> Option<u64> {
        self.frozen.get("").or_else(|| self.frozen.get(host)).copied()
    }

    /// The first payee of this host on the offer's network, if there was one: paid, or about to be.
    pub(in crate::agent) fn pin(&self, host: &str, offer: &Offer) -> Option<&str> {
        let key = pin_key(host, &offer.asset.to_string());
        let reserved = || {
            let open = self.open.values().filter(|open| pin_key(&open.host, &open.asset) == key);
            open.min_by_key(|open| open.at).map(|open| &open.payee)
        };
        self.pins.get(&key).or_else(reserved).map(String::as_str)
    }

    /// Whether a host, payee or asset (`host h`, …) was paid before.
    pub(in crate::agent) fn has_seen(&self, what: &str) -> bool {
        self.seen.contains(what)
    }

    /// What was last paid for a resource in a unit.
    pub(in crate::agent) fn last_price(&self, key: &str) -> Option<u128> {
        self.prices.get(key).map(|price| price.0)
    }

    /// When something was last paid under a cooldown.
    pub(in crate::agent) fn paid_at(&self, key: &str) -> Option<u64> {
        self.paid_at.get(key).copied()
    }

    /// Until when a payment is remembered as a duplicate.
    pub(in crate::agent) fn recent(&self, key: &str, now: u64) -> bool {
        self.recent.get(key).is_some_and(|until| *until > now)
    }

    /// When the lock of a payment began.
    pub(in crate::agent) fn locked_since(&self, subject: &str) -> Option<u64> {
        self.locks.get(subject).copied()
    }

    /// The question about a payment, if it was asked under the policy in force.
    pub(in crate::agent) fn asked(&self, subject: &str, now: u64) -> Option<&Pending> {
        self.pending.get(subject).filter(|pending| pending.expires > now)
    }

    /// Calls to a host in an hour, of late: those that were paid for, by a payment or with a token.
    pub(in crate::agent) fn calls_per_hour(&self, host: &str, now: u64) -> u64 {
        let hour = now / 3600;
        match self.visits.get(host) {
            Some(visits) if visits.0 == hour => visits.1.max(visits.2),
            Some(visits) if visits.0 + 1 == hour => visits.1,
            _ => 0,
        }
    }

    /// Questions that wait for an answer.
    pub fn questions(&self) -> impl Iterator<Item = Question> {
        self.pending.values().map(Pending::question)
    }

    /// What is open: reserved, or paid with an outcome that is not known.
    pub fn open(&self) -> impl Iterator<Item = (&str, &Reservation)> {
        self.open.iter().map(|(id, reservation)| (id.as_str(), reservation))
    }

    /// What is left of every budget and number of calls that anything was ever drawn from, and of those that count
    /// everything together.
    #[must_use]
    pub fn left(&self, policy: &Policy, now: u64) -> Vec<Left> {
        let now = self.clock(now);
        let mut lines = Vec::new();
        let mut rule = |kind: &str, label: &str, unit: &str, max: u128, span: Span, alone: bool| {
            let prefix = format!("{kind}/{}/", name_of(label));
            let mut found = false;
            for (key, tally) in self.tallies.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
                found = true;
                let key = key.strip_prefix(&prefix).unwrap_or(key).to_owned();
                lines.push(Left {
                    rule: label.to_owned(),
                    key,
                    unit: unit.to_owned(),
                    max,
                    used: tally.used(span, now),
                });
            }
            if !found && alone {
                lines.push(Left { rule: label.to_owned(), key: String::new(), unit: unit.to_owned(), max, used: 0 });
            }
        };
        for budget in &policy.budgets {
            let unit = policy.unit(budget.says.max.unit);
            rule("b", &budget.label, unit, budget.says.max.amount, budget.says.span, budget.says.per.is_empty());
        }
        for calls in &policy.calls {
            rule("c", &calls.label, "calls", calls.says.max.into(), calls.says.span, calls.says.per.is_empty());
        }
        lines
    }

    /// Records a fault of a seller; the breaker may open.
    pub(in crate::agent) fn fault(&mut self, policy: &Policy, host: &str, now: u64) {
        let Some(breaker) = policy.breaker else { return };
        if self.faults.len() >= MAX_FAULTS {
            self.faults.remove(0);
        }
        self.faults.push(Fault(now, host.to_owned()));
        let (scope, counted) = match breaker.per {
            BreakerKey::All => ("", self.faults.len()),
            BreakerKey::Host => (host, self.faults.iter().filter(|fault| fault.1 == host).count()),
        };
        if counted >= breaker.faults && (scope.is_empty() || self.frozen.len() < MAX_ENTRIES) {
            self.frozen.entry(scope.to_owned()).or_insert(now);
        }
    }

    /// Draws amounts, and notes the part of the time that each counts in.
    pub(super) fn draw(&mut self, draws: &mut [Draw], now: u64) {
        for draw in draws {
            let span = draw.span.unwrap_or(Span::Lifetime);
            draw.part = self.tallies.entry(draw.counter.clone()).or_default().draw(draw.amount, span, now);
        }
    }

    /// Opens a reservation whose amounts are drawn.
    pub(super) fn hold(&mut self, id: String, mut reservation: Reservation, facts: &Facts<'_>, now: u64) {
        for key in facts.cooldowns {
            reservation.before.cooldowns.push((key.clone(), self.paid_at.insert(key.clone(), now)));
        }
        if let Some((key, until)) = facts.duplicate {
            reservation.before.duplicate = Some((until, self.recent.insert(key.to_owned(), until)));
        }
        self.pending.remove(facts.subject);
        self.locks.remove(facts.subject);
        self.visit(&reservation.host, 1, now);
        self.open.insert(id, reservation);
    }

    /// Remembers whom and what a payment that is signed may be paid to.
    pub(super) fn met(&mut self, host: &str, payee: &str, asset: &str) {
        self.pins.entry(pin_key(host, asset)).or_insert_with(|| payee.to_owned());
        for what in seen_keys(host, payee, asset) {
            if self.seen.len() < MAX_ENTRIES {
                self.seen.insert(what);
            }
        }
    }

    /// Takes back what a reservation has changed besides its draws, unless others have changed it since.
    pub(super) fn undo(&mut self, reservation: &Reservation) {
        for (key, before) in &reservation.before.cooldowns {
            if self.paid_at.get(key) == Some(&reservation.at) {
                put_back(&mut self.paid_at, key, *before);
            }
        }
        let key = &reservation.duplicate_key;
        if let Some((until, before)) = reservation.before.duplicate
            && self.recent.get(key) == Some(&until)
        {
            put_back(&mut self.recent, key, before);
        }
    }

    /// Counts calls to a host. It advises which offer is cheapest, and decides nothing else.
    pub(in crate::agent) fn visit(&mut self, host: &str, calls: u64, now: u64) {
        let hour = now / 3600;
        if self.visits.len() >= MAX_VISITS && !self.visits.contains_key(host) {
            let oldest = self.visits.iter().min_by_key(|(_, visits)| visits.0).map(|(host, _)| host.clone());
            oldest.and_then(|host| self.visits.remove(&host));
        }
        let visits = self.visits.entry(host.to_owned()).or_default();
        *visits = match hour.checked_sub(visits.0) {
            Some(0) => Visits(hour, visits.1.saturating_add(calls), visits.2),
            Some(1) => Visits(hour, calls, visits.1),
            _ => Visits(hour, calls, 0),
        };
    }

    /// The tokens.
    pub(in crate::agent) fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// The tokens, to be changed.
    pub(in crate::agent) fn wallet_mut(&mut self) -> &mut Wallet {
        &mut self.wallet
    }

    /// Takes back this much of each amount that a reservation has drawn.
    pub(super) fn give_back(&mut self, draws: &[Draw], share: impl Fn(&Draw) -> u128) {
        for draw in draws {
            if let Some(tally) = self.tallies.get_mut(&draw.counter) {
                tally.give_back(share(draw).min(draw.amount), draw.part);
            }
        }
    }

    /// Remembers what was paid.
    pub(super) fn priced(&mut self, key: &str, amount: u128, now: u64) {
        if self.prices.len() >= MAX_ENTRIES && !self.prices.contains_key(key) {
            let oldest = self.prices.iter().min_by_key(|(_, price)| price.1).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.prices.remove(&key));
        }
        self.prices.insert(key.to_owned(), Price(amount, now));
    }

    /// The reservation of this id.
    #[must_use]
    pub fn reservation(&self, id: &[u8; 16]) -> Option<&Reservation> {
        self.open.get(&super::id_text(id))
    }

    pub(super) fn take(&mut self, id: &str) -> Option<Reservation> {
        self.open.remove(id)
    }

    pub(super) fn held(&self, id: &str) -> Option<&Reservation> {
        self.open.get(id)
    }

    pub(super) fn held_mut(&mut self, id: &str) -> Option<&mut Reservation> {
        self.open.get_mut(id)
    }

    pub(super) fn find(&self, test: impl Fn(&Reservation) -> bool) -> Option<String> {
        self.open.iter().find(|(_, reservation)| test(reservation)).map(|(id, _)| id.clone())
    }

    /// Ids of reservations for which `test` holds.
    pub(super) fn which(&self, test: impl Fn(&Reservation) -> bool) -> Vec<String> {
        self.open.iter().filter(|(_, reservation)| test(reservation)).map(|(id, _)| id.clone()).collect()
    }

    /// Begins the lock of a payment, unless it runs.
    pub(super) fn lock(&mut self, subject: &str, now: u64) {
        if self.locks.len() < MAX_ENTRIES {
            self.locks.insert(subject.to_owned(), now);
        }
    }

    /// Asks a question, or repeats the one that stands.
    pub(super) fn ask(
        &mut self,
        document: &Value,
        needs: Vec<question::Need>,
        seconds: u64,
        nonce: [u8; 16],
        now: u64,
    ) -> Question {
        let subject = question::subject(document);
        if let Some(pending) = self.pending.get(&subject)
            && pending.expires > now
        {
            return pending.question();
        }
        let pending = Pending::new(document, needs, now.saturating_add(seconds), nonce);
        let question = pending.question();
        if self.pending.len() >= MAX_PENDING {
            let soonest = self.pending.iter().min_by_key(|(_, pending)| pending.expires).map(|(key, _)| key.clone());
            soonest.and_then(|key| self.pending.remove(&key));
        }
        self.pending.insert(subject, pending);
        question
    }

    pub(super) fn pending_mut(&mut self, digest: &str) -> Option<&mut Pending> {
        self.pending.values_mut().find(|pending| pending.digest == digest)
    }

    /// Takes back a question and ends the lock of what it was about: it is not paid.
    pub(super) fn drop_lock(&mut self, subject: &str) {
        self.locks.remove(subject);
    }

    /// The subject of a question.
    pub(super) fn subject_of(&self, digest: &str) -> Option<String> {
        self.pending.iter().find(|(_, pending)| pending.digest == digest).map(|(subject, _)| subject.clone())
    }
}

/// What a reservation leaves besides its draws.
pub(super) struct Facts<'a> {
    pub(super) subject: &'a str,
    pub(super) cooldowns: &'a [String],
    pub(super) duplicate: Option<(&'a str, u64)>,
}

/// Whether a breaker goes on by itself.
fn thawed(resumes_after: Option<u64>, since: u64, now: u64) -> bool {
    resumes_after.is_some_and(|seconds| since.saturating_add(seconds) <= now)
}

/// Every counting rule's key prefix with its span.
fn spans(policy: &Policy) -> impl Iterator<Item = (String, Span)> {
    let budgets = policy.budgets.iter().map(|rule| (format!("b/{}", name_of(&rule.label)), rule.says.span));
    let calls = policy.calls.iter().map(|rule| (format!("c/{}", name_of(&rule.label)), rule.says.span));
    budgets.chain(calls)
}

/// The name in a label: `day` of `budgets day`.
fn name_of(label: &str) -> &str {
    label.split_once(' ').map_or(label, |(_, name)| name)
}

/// The counter of a rule of this kind (`b`, `c`, `d`) for this payment.
pub(in crate::agent) fn counter(kind: &str, label: &str, per: &[Key], request: &Request, offer: &Offer) -> String {
    let mut key = String::new();
    for (index, part) in per.iter().enumerate() {
        if index > 0 {
            key.push('|');
        }
        match part {
            Key::Host => key.push_str(&host_key(request)),
            Key::Resource => key.push_str(&request.url.resource()),
            Key::Asset => key.push_str(&offer.asset.to_string()),
            Key::Payee => key.push_str(&offer.payee.to_string()),
            Key::Task => key.push_str(request.task.as_deref().unwrap_or("-")),
            Key::Agent => key.push_str(request.agent.as_deref().unwrap_or("-")),
        }
    }
    format!("{kind}/{}/{}", name_of(label), short(key))
}

/// The host as it is counted: with the port, without the scheme.
pub(in crate::agent) fn host_key(request: &Request) -> String {
    request.url.origin().split_once("://").map_or("", |(_, authority)| authority).to_owned()
}

/// The key of the last price of a resource: of one call, or of a pass.
pub(in crate::agent) fn price_key(request: &Request, offer: &Offer, unit: &str) -> String {
    let what = if offer.pass.is_some() { " pass" } else { "" };
    short(format!("{} {} {unit}{what}", request.method, request.url.resource()))
}

/// What may be seen for the first time: host, payee, asset.
pub(in crate::agent) fn seen_keys(host: &str, payee: &str, asset: &str) -> [String; 3] {
    [short(format!("host {host}")), format!("payee {payee}"), format!("asset {asset}")]
}

/// A host and the network of an asset.
fn pin_key(host: &str, asset: &str) -> String {
    let network = asset.split('/').next().unwrap_or_default();
    short(format!("{host} {network}"))
}

fn put_back(map: &mut BTreeMap<String, u64>, key: &str, before: Option<u64>) {
    match before {
        Some(before) => map.insert(key.to_owned(), before),
        None => map.remove(key),
    };
}

/// `key`, or its hash if it is long.
fn short(key: String) -> String {
    if key.len() <= MAX_KEY { key } else { format!("#{}", hex::encode(&sha256(&[key.as_bytes()]))) }
}

impl Counters {
    /// An approver's answer, signed.
    ///
    /// # Errors
    /// [`BadApproval`](super::BadApproval): it answers no question that stands, or is not signed by one who was asked.
    pub fn approve(&mut self, jws: &str, now: u64) -> Result<Approved, super::BadApproval> {
        let (digest, key) = question::verified(jws, |digest| {
            self.pending.values().find(|pending| pending.digest == digest && pending.expires > now)
        })?;
        let pending = self.pending_mut(&digest).ok_or(super::BadApproval::NoQuestion)?;
        Ok(pending.approved_by(&key, now))
    }

    /// The program's own answer: whoever it asked outside of the model said yes. It counts only where the policy does
    /// not name approvers.
    ///
    /// # Errors
    /// [`BadApproval`](super::BadApproval) if no such question stands, or others must answer it.
    pub fn approve_by_host(&mut self, digest: &str, now: u64) -> Result<Approved, super::BadApproval> {
        let pending = self.pending_mut(digest).filter(|pending| pending.expires > now);
        let pending = pending.ok_or(super::BadApproval::NoQuestion)?;
        if !pending.asks_host() {
            return Err(super::BadApproval::NotAsked);
        }
        Ok(pending.approved_by_host(now))
    }

    /// Whoever was asked said no, or somebody stops what waits: the question stands until it expires, with that answer.
    pub fn reject(&mut self, digest: &str) {
        if let Some(subject) = self.subject_of(digest) {
            self.drop_lock(&subject);
        }
        if let Some(pending) = self.pending_mut(digest) {
            pending.reject();
        }
    }
}

/// Whether a reservation's money may have left.
pub(super) fn may_be_spent(stage: Stage) -> bool {
    stage != Stage::Held
}
