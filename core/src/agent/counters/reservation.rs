//! What happens to money between the decision and its outcome.
//!
//! ```text
//! decide ─▶ Held ── signed, kept ──▶ Sent ── paid ──────────────▶ spent
//!            │                       │  ├─ no usable answer ──▶ Doubtful ─ the same payment again ─▶ Sent
//!            │                       │  └─ refused ───────────▶ Refused
//!            └ given up, or its      └ its time passes, and nobody has seen on the chain
//!              lease ends: free        that it was not used ─▶ spent
//! ```
//!
//! A payment that has left can be carried out until it expires, whatever its seller says. So only the chain gives money
//! back, or, where the policy trusts the seller, the end of the payment's time.

use super::question::{Need, Question, paying};
use super::state::{Counters, Facts, may_be_spent, price_key};
use crate::agent::challenge::{Challenge, Terms, Version};
use crate::agent::decide::{self, Choice, Decision, Outcome as Decided};
use crate::agent::money::AccountId;
use crate::agent::policy::config::Scheme;
use crate::agent::policy::{Policy, Span};
use crate::agent::purse::Purse;
use crate::agent::request::Request;
use crate::crypto::hex;
use crate::mutant;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Seconds in which what was decided must be signed; somebody may have to take up a hardware wallet.
const LEASE_HELD: u64 = 900;
/// Seconds after which a payment that was sent may be sent again by another process, if it is good for long after that.
const LEASE_SENT: u64 = 120;
/// Seconds after its end in which a payment may still turn up on the chain.
pub(in crate::agent) const FINALITY: u64 = 300;
/// Seconds that a payment must still be good for to be worth sending again.
const MIN_REMAINING: u64 = 10;

/// Money that is reserved, or paid with an outcome that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// How far it has come.
    pub stage: Stage,
    /// Unix seconds at which it was decided.
    pub at: u64,
    /// Unix seconds until which whoever holds it has it alone.
    pub lease: u64,
    /// Unix seconds at which it counts as spent.
    pub until: u64,
    /// Method of the request.
    pub method: String,
    /// URL of the request, shortened.
    pub url: String,
    /// Host that it counts for, with the port.
    pub host: String,
    /// CAIP-19 asset.
    pub asset: String,
    /// Atomic units of it; a ceiling for `upto`.
    #[serde(with = "super::decimal")]
    pub amount: u128,
    /// CAIP-10 account that is paid.
    pub payee: String,
    /// CAIP-10 account that pays.
    pub payer: String,
    /// The signed payment, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// What the token that it buys is to be good for, if it buys one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::agent) pass: Option<Terms>,
    /// Thumbprint of the key that it introduces, if it introduces one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::agent) introduces: Option<String>,
    /// Whether the amount is a ceiling.
    ceiling: bool,
    /// Hash of the request.
    pub(super) request: String,
    pub(super) draws: Vec<Draw>,
    /// Where the offer stood in its challenge, for how long the payment is good, whether a contract pays.
    chosen: (usize, u64, bool),
    price_key: String,
    pub(super) duplicate_key: String,
    /// What it has changed, to be put back if it is freed.
    #[serde(default, skip_serializing_if = "Before::is_empty")]
    pub(super) before: Before,
    /// Whether the seller's word counts on what was charged.
    trusted: bool,
}

/// What was remembered before a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    /// When something was last paid, by cooldown.
    pub(super) cooldowns: Vec<(String, Option<u64>)>,
    /// Until when the reservation is remembered as a duplicate, and until when another one was.
    pub(super) duplicate: Option<(u64, Option<u64>)>,
}

impl Before {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How far a reservation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Decided, and nothing has left.
    Held,
    /// The payment has left, or may have.
    Sent,
    /// It has left, and what became of it is not known.
    Doubtful,
    /// The seller says that it was not taken. It can be carried out all the same until it expires.
    Refused,
}

/// A signed payment as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// Name of the request header.
    pub header: String,
    /// Its value.
    pub value: String,
    /// What the chain burns: the EIP-3009 or Permit2 nonce, in hexadecimal.
    pub nonce: String,
    /// Unix seconds until which it can be carried out.
    pub valid_before: u64,
}

/// An amount that a reservation has drawn from one counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::agent) struct Draw {
    pub(in crate::agent) counter: String,
    #[serde(with = "super::decimal")]
    pub(in crate::agent) amount: u128,
    /// Whether it is an amount of money, and not a number of calls.
    pub(in crate::agent) money: bool,
    /// The part of the time that it counts in, once it is drawn.
    pub(in crate::agent) part: (u64, u64),
    #[serde(skip)]
    pub(in crate::agent) span: Option<Span>,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was never sent.
    NotSent,
    /// The seller says that it was charged: atomic units.
    Charged(u128),
    /// The chain says that it was charged: atomic units.
    Settled(u128),
    /// The chain says that it was not used and cannot be any more.
    Unused,
    /// There was no usable answer.
    Unknown,
    /// The seller says that it was not charged.
    Refused,
}

/// The reservation is not there, or no longer at a stage where this can be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reservation is not ours any more")
    }
}

impl std::error::Error for NotHeld {}

/// A payment that was made for the same request before, and is to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The reservation's id.
    pub id: String,
    /// The reservation.
    pub reservation: Reservation,
    /// The payment.
    pub payment: Payment,
}

impl Reservation {
    /// Whether the amount is a ceiling, of which less may be charged.
    #[must_use]
    pub fn is_ceiling(&self) -> bool {
        self.ceiling
    }

    /// Whether it buys a token for more than this call.
    #[must_use]
    pub fn buys_pass(&self) -> bool {
        self.pass.is_some()
    }
}

impl Counters {
    /// Decides, and reserves what was chosen, in one step. `id` is 16 random bytes that name the reservation and any
    /// question; the same id again is the same reservation, so a write that may have happened can be repeated.
    #[must_use]
    pub fn reserve(
        &mut self,
        policy: &Policy,
        challenge: &Challenge,
        request: &Request,
        purse: &Purse,
        id: [u8; 16],
        now: u64,
    ) -> Decision {
        self.tick(policy, now);
        if let Some(choice) = self.chosen_before(policy, challenge, request, &id) {
            return Decision { outcome: Decided::Choose(choice), explanation: decide::Explanation::default() };
        }
        let decision = decide::decide(policy, challenge, request, purse, self, now);
        let now = self.clock(now);
        match &decision.outcome {
            Decided::Choose(choice) => {
                let introduces = purse.holder.clone().filter(|_| introduces(challenge, choice));
                self.take_up(policy, challenge, request, choice, (id, introduces), now);
            }
            Decided::Ask(asked) => {
                if let Some(offer) = challenge.offer(asked.offer) {
                    let document = paying(policy, request, offer);
                    let question = self.question(&document, &asked.needs, asked.seconds, id, now);
                    if asked.locks {
                        self.lock_once(&asked.subject, now);
                    }
                    return decision.asking(question);
                }
            }
            Decided::Deny(denied) => {
                if let Some(subject) = &denied.lock {
                    self.lock_once(subject, now);
                }
            }
        }
        decision
    }

    /// What was chosen under this id, if it was written after all.
    fn chosen_before(
        &self,
        policy: &Policy,
        challenge: &Challenge,
        request: &Request,
        id: &[u8; 16],
    ) -> Option<Choice> {
        let held = self.held(&id_text(id)).filter(|held| held.request == hex::encode(&request.key()))?;
        let (index, valid_seconds, contract) = held.chosen;
        let offer = challenge.offer(index)?;
        let same = held.amount == offer.amount && held.payee == offer.payee.to_string();
        let money = policy.asset(&offer.asset)?.counted(offer.amount).filter(|_| same)?;
        let payer = AccountId::parse(&held.payer).ok()?;
        Some(Choice::again(index, payer, contract, valid_seconds, money, held.trusted))
    }

    fn question(
        &mut self,
        document: &serde_json::Value,
        needs: &[Need],
        seconds: u64,
        nonce: [u8; 16],
        now: u64,
    ) -> Question {
        self.ask(document, needs.to_vec(), seconds, nonce, now)
    }

    fn lock_once(&mut self, subject: &str, now: u64) {
        // A lock that opened more than a day ago begins anew; `decide` asks only then or if there is none.
        self.lock(subject, now);
    }

    fn take_up(
        &mut self,
        policy: &Policy,
        challenge: &Challenge,
        request: &Request,
        choice: &Choice,
        (id, introduces): ([u8; 16], Option<String>),
        now: u64,
    ) {
        let key = id_text(&id);
        let Some(offer) = challenge.offer(choice.offer).filter(|_| self.held(&key).is_none()) else { return };
        let unit = policy.unit(choice.money.unit);
        let mut draws = choice.draws.clone();
        self.draw(&mut draws, now);
        let reservation = Reservation {
            stage: Stage::Held,
            at: now,
            lease: now.saturating_add(LEASE_HELD),
            until: now.saturating_add(LEASE_HELD).saturating_add(choice.valid_seconds).saturating_add(FINALITY),
            method: request.method.clone(),
            url: request.url.text().chars().take(512).collect(),
            host: super::state::host_key(request),
            asset: offer.asset.to_string(),
            amount: offer.amount,
            payee: offer.payee.to_string(),
            payer: choice.payer.to_string(),
            payment: None,
            pass: offer.pass.map(|pass| pass.terms(introduces.is_some())),
            introduces,
            ceiling: offer.scheme == Scheme::Upto,
            request: hex::encode(&request.key()),
            draws,
            chosen: (choice.offer, choice.valid_seconds, choice.contract),
            price_key: price_key(request, offer, unit),
            duplicate_key: choice.duplicate_key.clone(),
            before: Before::default(),
            trusted: choice.trusted,
        };
        let duplicate =
            policy.duplicates.map(|(seconds, _)| (choice.duplicate_key.as_str(), now.saturating_add(seconds)));
        let facts = Facts { subject: &choice.subject, cooldowns: &choice.cooldowns, duplicate };
        self.hold(key, reservation, &facts, now);
    }

    /// Keeps the signed payment with its reservation, before it is sent: from now on it may be spent.
    ///
    /// # Errors
    /// [`NotHeld`] if the reservation is gone: the payment must be thrown away.
    pub fn sign(&mut self, policy: &Policy, id: &[u8; 16], payment: Payment, now: u64) -> Result<(), NotHeld> {
        self.tick(policy, now);
        let now = self.clock(now);
        let held = self.held_mut(&id_text(id)).ok_or(NotHeld)?;
        if held.payment.as_ref() == Some(&payment) {
            return Ok(());
        }
        if held.stage != Stage::Held {
            return Err(NotHeld);
        }
        held.stage = Stage::Sent;
        held.lease = lease_of_sent(payment.valid_before, now);
        held.until = payment.valid_before.saturating_add(FINALITY);
        held.payment = Some(payment);
        let (host, payee, asset) = (held.host.clone(), held.payee.clone(), held.asset.clone());
        self.met(&host, &payee, &asset);
        Ok(())
    }

    /// Says what became of a reservation. `faults` is how many things were wrong with how the seller dealt with it.
    ///
    /// # Errors
    /// [`NotHeld`] if it is gone, or if it is to be given back although the payment may have left.
    pub fn conclude(
        &mut self,
        policy: &Policy,
        id: &str,
        outcome: &Outcome,
        faults: usize,
        now: u64,
    ) -> Result<(), NotHeld> {
        let now = self.clock(now);
        let held = self.held_mut(id).ok_or(NotHeld)?;
        let host = held.host.clone();
        match (outcome, held.stage) {
            // It was said before, by a write of which it was not known that it had happened.
            (Outcome::Unknown, Stage::Doubtful) | (Outcome::Refused, Stage::Refused) => return Ok(()),
            _ => {}
        }
        match outcome {
            Outcome::NotSent if may_be_spent(held.stage) => return Err(NotHeld),
            Outcome::NotSent | Outcome::Unused => self.free(id),
            Outcome::Unknown => {
                held.stage = Stage::Doubtful;
                held.lease = now;
            }
            Outcome::Refused => {
                held.stage = Stage::Refused;
                held.lease = now;
            }
            Outcome::Charged(charged) => {
                let counted = if held.trusted { *charged } else { held.amount };
                self.spend(policy, id, counted, now);
            }
            Outcome::Settled(charged) => self.spend(policy, id, *charged, now),
        }
        for _ in 0..faults {
            self.fault(policy, &host, now);
        }
        Ok(())
    }

    /// The payment that was made for the same request before, if what became of it is not known: it is sent again,
    /// instead of another. Whoever gets it has it alone for a while.
    pub fn resume(&mut self, policy: &Policy, request: &Request, now: u64) -> Option<Resumed> {
        self.tick(policy, now);
        if mutant::is("forgetful_buyer") {
            return None;
        }
        let now = self.clock(now);
        let key = hex::encode(&request.key());
        let id = self.find(|open| {
            let free = open.stage == Stage::Doubtful || (open.stage == Stage::Sent && open.lease <= now);
            let good = |payment: &Payment| payment.valid_before >= now.saturating_add(MIN_REMAINING);
            open.request == key && free && open.payment.as_ref().is_some_and(good)
        })?;
        let held = self.held_mut(&id)?;
        let payment = held.payment.clone()?;
        held.stage = Stage::Sent;
        held.lease = lease_of_sent(payment.valid_before, now);
        let reservation = held.clone();
        Some(Resumed { id, reservation, payment })
    }

    /// Whoever held these reservations has ended, and will say nothing more: what was never signed is free again, and
    /// what was sent is in doubt, so that the same request sends the same payment.
    pub fn abandon(&mut self, policy: &Policy, ids: &[String], now: u64) {
        self.tick(policy, now);
        let now = self.clock(now);
        for id in ids {
            match self.held(id).map(|held| held.stage) {
                Some(Stage::Held) => self.free(id),
                Some(Stage::Sent) => {
                    if let Some(held) = self.held_mut(id) {
                        held.stage = Stage::Doubtful;
                        held.lease = now;
                    }
                }
                _ => {}
            }
        }
    }

    /// Concludes what has run out: what was never signed is free again, what was sent counts as spent.
    pub(super) fn conclude_expired(&mut self, policy: &Policy, now: u64) {
        for id in self.which(|open| open.stage == Stage::Held && open.lease < now) {
            self.free(&id);
        }
        for id in self.which(|open| open.stage != Stage::Held && open.until < now) {
            let Some(open) = self.held(&id) else { continue };
            let (stage, trusted, amount, host) = (open.stage, open.trusted, open.amount, open.host.clone());
            if stage == Stage::Refused && trusted {
                self.free(&id);
                continue;
            }
            self.spend(policy, &id, amount, now);
            if stage != Stage::Refused {
                self.fault(policy, &host, now);
            }
        }
    }

    /// Gives back everything that a reservation has drawn, and takes back what it has changed.
    fn free(&mut self, id: &str) {
        let Some(reservation) = self.take(id) else { return };
        self.give_back(&reservation.draws, |draw| draw.amount);
        self.undo(&reservation);
    }

    /// Ends a reservation with this many atomic units spent. More than was signed for cannot be taken.
    fn spend(&mut self, policy: &Policy, id: &str, charged: u128, now: u64) {
        let Some(reservation) = self.take(id) else { return };
        let asset = policy.assets().find(|asset| asset.id.to_string() == reservation.asset);
        // Amounts of an asset that the policy no longer lists stay counted as they were drawn.
        let counted = |amount| asset.and_then(|asset| asset.counted(amount)).map(|money| money.amount);
        if let (Some(reserved), Some(charged)) = (counted(reservation.amount), counted(charged)) {
            self.give_back(&reservation.draws, |draw| if draw.money { reserved.saturating_sub(charged) } else { 0 });
            self.priced(&reservation.price_key, reserved, now);
        }
    }
}

/// Until when whoever sends a payment has it alone: half of what is left of its time must be left for others to send it.
fn lease_of_sent(valid_before: u64, now: u64) -> u64 {
    now.saturating_add(LEASE_SENT.min(valid_before.saturating_sub(now) / 2))
}

/// Whether the paying request introduces the holder's key: only our gate's nonce says that the seller knows what to do
/// with it, and only by version 2.
pub(in crate::agent) fn introduces(challenge: &Challenge, choice: &Choice) -> bool {
    let v2 = challenge.offer(choice.offer).is_some_and(|offer| offer.version == Version::V2);
    v2 && challenge.nonce().is_some()
}

/// A reservation's id as it is written.
#[must_use]
pub(in crate::agent) fn id_text(id: &[u8; 16]) -> String {
    hex::encode(id)
}
