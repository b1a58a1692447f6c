//! A claim: the atomic record that a payment is being or has been used, for which request, with which outcome.
//!
//! Two facts: where the money is, and whether the service was given. Every record that is not final has a deadline:
//! a worker that died leaves it behind. Past the deadline, a claim whose money call has not been made is released, for
//! its worker too; one whose money call was made is unknown. A claim taken over has a new generation, and only the holder of the current
//! generation may change it: a late answer still concludes the claim it belongs to, and never another's.

use super::StoreError;
use crate::mutant;

/// What the payment burns on its rail, hashed: SHA-256 over decoded values, never over wire text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimId(pub [u8; 32]);

/// Hash of the request a claim belongs to: method, origin, path and query (and body digest where known).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding(pub [u8; 16]);

/// Where the money is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Money {
    /// No money call was made.
    None,
    /// A money call was or is about to be made, and has no outcome yet.
    Settling,
    /// Paid.
    Settled,
    /// The rail refused: nothing was paid and, with this payment, nothing will be.
    Failed,
    /// The money call's outcome is not known. Never retried as if nothing happened.
    Unknown,
}

/// Whether the service was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The upstream has not seen the request.
    Waiting,
    /// The upstream has, or may have, seen the request.
    Forwarded,
    /// The response was released to the client.
    Delivered,
    /// The upstream failed.
    Failed,
}

/// What is known about a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where the money is.
    pub money: Money,
    /// Whether the service was given.
    pub service: Service,
    /// The request it belongs to.
    pub binding: Binding,
    /// Hash of a secret of the payment's first presentation that never reaches a chain; zeros if it had none.
    pub secret: [u8; 16],
    /// Raised whenever the claim changes hands.
    pub generation: u32,
    /// Unix seconds after which a claim that is not final is concluded for its absent worker.
    pub deadline: u64,
    /// Unix seconds after which the payment can no longer be used, so that the record may go.
    pub expires: u64,
    /// How often a charged but undelivered request was forwarded again.
    pub retries: u8,
    /// Unix seconds at which the ledger learned that it is paid; 0 before that.
    pub settled_at: u64,
    /// The token that was given for it.
    pub yielded: Option<Yield>,
    /// The transaction that settled it; empty if there is none.
    pub transaction: String,
}

/// The token that a claim was turned into. There is one at most, ever: whatever is made from the claim's facts
/// ([`Claim::settled_at`] among them) comes out the same when it is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yield {
    /// What the token is for.
    pub kind: Yielded,
    /// Hash of what else it says, so that the terms of a later policy make no other token of it.
    pub terms: [u8; 8],
}

/// What a token given for a payment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yielded {
    /// It was bought.
    Pass,
    /// It makes up for a charged call that was not delivered.
    Credit,
}

/// A claim about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClaim {
    /// The request it belongs to.
    pub binding: Binding,
    /// Hash of a secret of the payment's first presentation that never reaches a chain; zeros if it had none.
    pub secret: [u8; 16],
    /// Unix seconds: how long the caller may take until its next change.
    pub deadline: u64,
    /// Unix seconds after which the payment can no longer be used.
    pub expires: u64,
    /// The payment passed every check; `false` asks only for what is known about it.
    pub checked: bool,
    /// The request may reach the upstream a second time (a safe method, or the route says so).
    pub repeatable: bool,
    /// Who asks has proven to be the payer by a fresh signature: as good as the secret.
    pub proven: bool,
    /// Seconds after a delivery within which it may be repeated, because the payment names it
    /// (`payment-identifier`) and the route allows it; 0 for none.
    pub window: u64,
}

/// An entry that leads to a claim by another way than its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The claim it leads to.
    pub target: ClaimId,
    /// The request that claim belongs to.
    pub binding: Binding,
    /// Unix seconds after which the pointer may go.
    pub expires: u64,
}

/// The right to change a claim: its id and the generation in which it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which claim.
    pub id: ClaimId,
    /// The generation that is ours.
    pub generation: u32,
}

/// The answer to an attempt to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The claim is ours.
    Ours(Ticket),
    /// The payment was charged for this very request and may be served (once more): the claim is ours to do it. With the
    /// record as it was.
    Again(Ticket, Claim),
    /// The payment was seen before: this is its record.
    Known(Claim),
    /// The payment was never seen, and did not pass the checks.
    Unseen,
}

/// A change to our claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// Where the money is now.
    pub money: Money,
    /// Whether the service was given.
    pub service: Service,
    /// Unix seconds: how long until the next change, if this one is not final.
    pub deadline: u64,
    /// The transaction that settled it; empty leaves what is known.
    pub transaction: String,
    /// Unix seconds until which a record that is paid is kept at least; 0 leaves it.
    pub keep: u64,
}

/// Seconds that what a worker says to the ledger may be late: every deadline must have them to spare.
pub const LATE: u64 = 5;
/// Seconds that a record is kept after its payment lapsed, so that a buyer can still ask for its outcome.
pub const KEPT: u64 = 3600;
/// Seconds that a claim with an open outcome is kept after its payment can no longer be used.
const UNKNOWN_KEPT: u64 = 24 * 3600;

/// Seconds that a claim whose outcome was found out late is kept at least.
const RESOLVED_KEPT: u64 = 3600;

/// Times a charged but undelivered request is forwarded again.
const MAX_RETRIES: u8 = 1;

impl Claim {
    /// What the claim has become by `now`: `None` if it has lapsed and the payment may be claimed anew.
    ///
    /// This is the one place where a claim expires.
    #[must_use]
    pub fn at(mut self, now: u64) -> Option<Self> {
        if now > self.deadline {
            match self.money {
                Money::None => return None,
                Money::Settling => self.money = Money::Unknown,
                Money::Settled | Money::Failed | Money::Unknown => {}
            }
        }
        let kept = match self.money {
            Money::Settling | Money::Unknown => self.expires.saturating_add(UNKNOWN_KEPT),
            Money::None | Money::Settled | Money::Failed => self.expires,
        };
        (now <= kept).then_some(self)
    }

    /// Whether `new`, a repeat of this payment, may have the delivery it was charged for.
    ///
    /// It must be the same request, show the secret of the first presentation (authorization and signature of a
    /// settled payment are public), and nobody may be at work on it.
    #[must_use]
    pub fn owes(&self, new: &NewClaim, now: u64) -> bool {
        let free = match self.service {
            Service::Waiting => now > self.deadline,
            Service::Forwarded => new.repeatable && now > self.deadline,
            Service::Failed => new.repeatable,
            Service::Delivered => new.repeatable && now <= self.deadline.saturating_add(new.window) && new.window > 0,
        };
        let credited = matches!(self.yielded, Some(Yield { kind: Yielded::Credit, .. }));
        free && !credited
            && self.money == Money::Settled
            && self.retries < MAX_RETRIES
            && self.binding == new.binding
            && (new.proven || self.shares_secret(new))
    }

    /// Whether somebody may be serving the request that was paid for.
    #[must_use]
    pub fn in_service(&self, now: u64) -> bool {
        matches!(self.service, Service::Waiting | Service::Forwarded) && now <= self.deadline
    }

    /// Whether the payment can no longer be carried out, so that an unknown outcome stays what it is unless somebody
    /// finds it out.
    #[must_use]
    pub fn has_lapsed(&self, now: u64) -> bool {
        now.saturating_add(KEPT) > self.expires
    }

    /// Whether `new` shows the secret of the first presentation.
    #[must_use]
    pub fn shares_secret(&self, new: &NewClaim) -> bool {
        (self.secret == new.secret && self.secret != [0; 16]) || mutant::is("no_secret")
    }

    /// Whether `to` may follow: money only moves forward, and what is paid stays paid.
    #[must_use]
    pub fn may_become(&self, to: &Conclusion) -> bool {
        use Money::{Failed, None, Settled, Settling, Unknown};
        matches!(
            (self.money, to.money),
            (None, None | Settling)
                // Back to `None` only if the call is known never to have left.
                | (Settling, None | Settling | Settled | Failed | Unknown)
                | (Unknown, Unknown | Settled | Failed)
                | (Settled, Settled)
                | (Failed, Failed)
        )
    }
}

/// What the ledger does with a claim, whichever backend keeps it.
impl Claim {
    /// The answer to `new` where `known` is on record, and what to put on record, if anything.
    pub(super) fn take(known: Option<Self>, id: &ClaimId, new: &NewClaim, now: u64) -> (Claimed, Option<Self>) {
        let generation = next_generation(known.as_ref(), now);
        let ticket = Ticket { id: *id, generation };
        if let Some(claim) = known.and_then(|claim| claim.at(now)) {
            if !claim.owes(new, now) {
                return (Claimed::Known(claim), None);
            }
            let ours = Self {
                service: Service::Forwarded,
                generation,
                deadline: new.deadline,
                retries: claim.retries.saturating_add(1),
                ..claim.clone()
            };
            return (Claimed::Again(ticket, claim), Some(ours));
        }
        if !new.checked {
            return (Claimed::Unseen, None);
        }
        let claim = Self {
            money: Money::None,
            service: Service::Waiting,
            binding: new.binding,
            secret: new.secret,
            generation,
            deadline: new.deadline,
            expires: new.expires,
            retries: 0,
            settled_at: 0,
            yielded: None,
            transaction: String::new(),
        };
        (Claimed::Ours(ticket), Some(claim))
    }

    /// Moves the claim on.
    pub(super) fn conclude(&mut self, ticket: &Ticket, to: &Conclusion, now: u64) -> Result<(), StoreError> {
        // Whoever has let the deadline pass without a money call has lost the claim, although nobody took it over: others
        // may have acted on that. Its word may be late, so it loses it a little earlier than others see.
        let lapsed = self.money == Money::None && now.saturating_add(LATE) > self.deadline;
        if self.generation != ticket.generation || lapsed || !self.may_become(to) {
            return Err(StoreError::Lost);
        }
        self.becomes(to.money, now);
        self.service = to.service;
        self.deadline = to.deadline;
        if self.money == Money::Settled {
            self.expires = self.expires.max(to.keep);
        }
        if !to.transaction.is_empty() {
            self.transaction.clone_from(&to.transaction);
        }
        Ok(())
    }

    /// Whether the claim may be forgotten as if it had not been made.
    pub(super) fn may_go(&self, ticket: &Ticket) -> bool {
        self.generation == ticket.generation && self.money == Money::None
    }

    /// Records what was found out about a claim whose outcome was unknown.
    pub(super) fn resolve(&mut self, money: Money, transaction: &str, now: u64) -> Result<(), StoreError> {
        let unknown = self.clone().at(now).is_some_and(|claim| claim.money == Money::Unknown);
        if !unknown || !matches!(money, Money::Settled | Money::Failed) {
            return Err(StoreError::Lost);
        }
        self.becomes(money, now);
        self.generation = next_generation(Some(self), now);
        self.deadline = now.saturating_sub(1);
        transaction.clone_into(&mut self.transaction);
        // Whoever paid has an hour from now to come back for it.
        self.expires = self.expires.max(now.saturating_add(RESOLVED_KEPT));
        Ok(())
    }

    /// Records what token is given for the claim, unless one was.
    pub(super) fn yield_once(&mut self, ticket: &Ticket, what: &Yield, now: u64) -> Result<Yield, StoreError> {
        if self.generation != ticket.generation || self.money != Money::Settled {
            return Err(StoreError::Lost);
        }
        if let Some(yielded) = self.yielded {
            return Ok(yielded);
        }
        self.yielded = Some(*what);
        if what.kind == Yielded::Credit {
            self.service = Service::Failed;
            self.deadline = now;
        }
        Ok(*what)
    }

    fn becomes(&mut self, money: Money, now: u64) {
        if money == Money::Settled && self.money != Money::Settled {
            self.settled_at = now;
        }
        self.money = money;
    }
}

/// The generation of a claim that changes hands. It never comes twice for one id, also not after its record was
/// dropped: a record lives for seconds at least, and the clock is in it.
fn next_generation(known: Option<&Claim>, now: u64) -> u32 {
    let clock = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(0);
    known.map_or(clock, |claim| claim.generation.wrapping_add(1).max(clock))
}
