//! What an earlier payment means for this one: a payer whose earlier payment for the same request is unresolved is
//! not charged a second time, and a payment named like an earlier one is that one again.

use super::admit::{Admitted, Case};
use super::hold::Hold;
use super::refusal::Refusal;
use super::settle::unknown;
use crate::crypto::sha256;
use crate::host::{Event, Host, Level};
use crate::ledger::{Claim, ClaimId, Claimed, Money, NewClaim, Pointer, Store};
use crate::mutant;
use crate::problem::{Code, Problem};
use crate::rail::{self, Judgement, Payment};

/// An earlier claim of the same payer for the same request, without a good end so far.
pub(super) struct Earlier(Option<ClaimId>);

impl Earlier {
    /// Looks for one that is not of this very payment.
    pub(super) async fn of<H: Host>(case: &Case<'_, H>, payment: &Payment) -> Result<Self, Refusal> {
        let Some(index) = case.index(payment, true) else { return Ok(Self(None)) };
        let pointer = case.ledger(case.host.store().pointed(&index.id, case.host.now()).await)?;
        Ok(Self(pointer.map(|pointer| pointer.target).filter(|target| *target != payment.claim_id())))
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there is something to have from the earlier payment. An outcome that stays unknown is an error: the new
    /// payment is not settled beside it.
    ///
    /// That the signature is the payer's says nothing yet: those of settled payments are public. So nothing is given away
    /// here; [`admit`](Self::admit) does that, once a facilitator has found that this payment was not used before.
    pub(super) async fn owes<H: Host>(&self, case: &Case<'_, H>, payment: &Payment) -> Result<bool, Refusal> {
        let Some(target) = self.0 else { return Ok(false) };
        let look = NewClaim { secret: [0; 16], ..case.look(payment) };
        let now = case.host.now();
        match case.ledger(case.host.store().claim(&target, &look, now).await)? {
            Claimed::Known(Claim { money: Money::Unknown, .. }) => match case.resolve(&target, None).await {
                Judgement::Settled { .. } => Ok(true),
                Judgement::Failed => Ok(false),
                Judgement::Open | Judgement::Nobody => Err(unknown().into()),
            },
            Claimed::Known(claim) => Ok(claim.owes(&NewClaim { proven: true, ..look }, now)),
            Claimed::Again(..) | Claimed::Unseen | Claimed::Ours(_) => Ok(false),
        }
    }

    /// Answers from the earlier payment. The new one, which a facilitator has just found good and unused, proves who asks;
    /// it is not settled.
    pub(super) async fn admit<H: Host>(
        self,
        case: &Case<'_, H>,
        payment: &Payment,
    ) -> Result<Option<Admitted<H>>, Refusal> {
        let Some(target) = self.0 else { return Ok(None) };
        let look = NewClaim { proven: true, ..case.look(payment) };
        match case.ledger(case.host.store().claim(&target, &look, case.host.now()).await)? {
            Claimed::Again(ticket, claim) => Ok(Some(case.again(ticket, &claim, payment))),
            Claimed::Known(Claim { money: Money::Unknown, .. }) => match case.resolve(&target, None).await {
                Judgement::Settled { .. } => {
                    match case.ledger(case.host.store().claim(&target, &look, case.host.now()).await)? {
                        Claimed::Again(ticket, claim) => Ok(Some(case.again(ticket, &claim, payment))),
                        _ => Err(unknown().into()),
                    }
                }
                Judgement::Failed => Ok(None),
                Judgement::Open | Judgement::Nobody => Err(unknown().into()),
            },
            Claimed::Known(_) | Claimed::Unseen | Claimed::Ours(_) => Ok(None),
        }
    }
}

impl<H: Host> Case<'_, H> {
    /// A payment whose outcome is unknown is shown again: find it out now, if there is somebody to ask.
    pub(super) async fn find_out(&self, payment: &Payment, claim: &Claim) -> Result<Admitted<H>, Refusal> {
        if claim.binding != self.binding(payment) {
            return Err(self.known(payment, claim));
        }
        let id = payment.claim_id();
        let offer = self.menu().answered_by(payment);
        let fallback = offer.and_then(|offer| rail::question(offer, payment, self.host.now()));
        match self.resolve(&id, fallback).await {
            Judgement::Nobody if claim.has_lapsed(self.host.now()) => {
                let text = "a payment lapsed with its outcome unknown, and there is no rpc to ask";
                self.host.event(&Event::Log { level: Level::Error, text });
                let detail = "nobody could be asked what became of this payment; ask the seller";
                Err(Problem::new(Code::OutcomeUnresolved, detail).into())
            }
            Judgement::Open | Judgement::Nobody if mutant::is("unknown_is_402") => {
                let problem = Problem::new(Code::PaymentRequired, "pay again");
                Err(self.challenge(problem, "pay again"))
            }
            Judgement::Open | Judgement::Nobody => Err(unknown().into()),
            Judgement::Settled { .. } | Judgement::Failed => {
                let now = self.host.now();
                match self.ledger(self.host.store().claim(&id, &self.look(payment), now).await)? {
                    Claimed::Again(ticket, claim) => Ok(self.again(ticket, &claim, payment)),
                    Claimed::Known(claim) => self.seen(payment, &claim).await,
                    Claimed::Ours(_) | Claimed::Unseen => Err(unknown().into()),
                }
            }
        }
    }

    /// Asks what became of an unknown claim, by the kept question or else by `fallback`, and records the answer.
    async fn resolve(&self, id: &ClaimId, fallback: Option<Vec<u8>>) -> Judgement {
        let kept = self.host.store().doubted(id).await.ok().flatten();
        match kept.or(fallback) {
            Some(question) => self.gate.resolve(self.host, id, &question).await,
            None => Judgement::Nobody,
        }
    }

    /// Enforces `payment-identifier`: the first payment under a name of a payer is the one; a later one for the same
    /// request is answered from it, and one for another request is refused.
    pub(super) async fn named_before(
        &self,
        payment: &Payment,
        hold: &mut Hold<H>,
        proven: bool,
    ) -> Result<Option<Admitted<H>>, Refusal> {
        let wanted = self.route.payment_identifier.is_some();
        let (Some(id), Some(account), true) = (payment.identifier(), payment.account(), wanted) else {
            return Ok(None);
        };
        let index = ClaimId(sha256(&[b"payment-identifier\0", account.as_bytes(), b"\0", id.as_bytes()]));
        let (binding, now) = (self.binding(payment), self.host.now());
        let expires = now.saturating_add(IDENTIFIER_KEPT.max(self.route.redelivery_seconds));
        let ours = Pointer { target: payment.claim_id(), binding, expires };
        let (store, look) = (self.host.store(), NewClaim { proven, ..self.look(payment) });
        hold.named(index, expires);
        let mut instead_of: Option<Pointer> = None;
        // A second round replaces a name whose payment came to nothing.
        for _ in 0..2 {
            let replaced = instead_of.map(|first| first.target);
            let Some(first) = self.ledger(store.point(&index, &ours, replaced.as_ref(), now).await)? else {
                // The first payment claims itself, then looks at the name; this one took the name and looks at its claim.
                // Whichever comes second sees the other.
                let Some(first) = instead_of else { return Ok(None) };
                let claimed = self.ledger(store.claim(&first.target, &look, now).await)?;
                if let Claimed::Known(Claim { money: Money::Failed, .. }) | Claimed::Unseen | Claimed::Ours(_) = claimed
                {
                    return Ok(None);
                }
                let _ = store.point(&index, &first, Some(&ours.target), now).await;
                return match claimed {
                    Claimed::Again(ticket, claim) => Ok(Some(self.again(ticket, &claim, payment))),
                    _ => Err(under_way().into()),
                };
            };
            if first.binding != binding {
                let detail = "this payment-identifier belongs to another request of yours";
                return Err(Problem::new(Code::PaymentIdentifierConflict, detail).into());
            }
            match self.ledger(store.claim(&first.target, &look, now).await)? {
                Claimed::Again(ticket, claim) => return Ok(Some(self.again(ticket, &claim, payment))),
                Claimed::Known(Claim { money: Money::Failed, .. }) | Claimed::Unseen | Claimed::Ours(_) => {
                    instead_of = Some(first);
                }
                Claimed::Known(claim) => return Err(self.known(payment, &claim)),
            }
        }
        debug_assert!(hold.is_ours());
        Err(under_way().into())
    }
}

fn under_way() -> Problem {
    Problem::new(Code::PaymentInProgress, "another request with this payment-identifier is under way")
}

/// Seconds that a payment's name is remembered at least.
const IDENTIFIER_KEPT: u64 = 24 * 3600;
