//! The money call. It runs detached from the start, so that an answer always finds somebody who records it, and the
//! intent is in the store before the call leaves: a worker that dies meanwhile leaves `settling` behind, which past
//! its deadline reads `unknown`. If the exchange goes while the call is under way, that deadline is brought forward:
//! from then on nobody will deliver what is being paid for, and whoever asks is answered as of an unknown outcome.

use super::admit::Index;
use super::hold::{Hold, conclude, concluding, point_to, short};
use super::{Gate, trail};
use crate::host::{Event, Host, Level};
use crate::ledger::{Conclusion, Money, Service, Store, StoreError, Ticket};
use crate::mutant;
use crate::policy::Facilitator;
use crate::problem::{Code, Problem};
use crate::rail::{self, Offer, Paid, Payment, Settled, Settlement};
use crate::receipt::{Entry, Kind, PayState};
use crate::task::{before, handover};
use std::pin::pin;
use std::rc::Rc;

/// Seconds a worker may be late with what it says to the store.
pub(super) const GRACE: u64 = crate::ledger::LATE;

/// Why nothing was paid, or nothing is known to have been.
pub(super) enum NotPaid {
    /// The rail refused, with the settlement header that says so.
    Refused { reason: String, response: (String, String) },
    /// Nothing was charged, or it is not known: what to tell the client.
    Problem(Problem),
}

/// Settles `payment`. The claim comes back with the money in it, and stays ours for `serving` more seconds.
pub(super) async fn settle<H: Host>(
    gate: &Rc<Gate>,
    host: &H,
    hold: Hold<H>,
    (offer, payment): (&Offer, &Payment),
    route: &str,
    serving: u64,
) -> Result<(Hold<H>, Paid), NotPaid> {
    let lost = || NotPaid::Problem(Problem::new(Code::LedgerUnavailable, "the claim was lost before it was settled"));
    let (ticket, service, index, keep) = hold.hand_over().ok_or_else(lost)?;
    let (giver, awaited) = handover();
    let call = MoneyCall {
        gate: Rc::clone(gate),
        host: host.clone(),
        ticket,
        service,
        index,
        keep,
        offer: offer.clone(),
        payment: payment.clone(),
        route: route.to_owned(),
    };
    host.spawn(async move {
        let Some(settlement) = call.make(giver.abandoned()).await else { return giver.give(None) };
        let until = if giver.is_abandoned() { 0 } else { call.host.now().saturating_add(serving) };
        call.record(&settlement, until).await;
        giver.give(Some(match settlement {
            // The exchange may be gone before it takes this: then the hold says so.
            Settlement::Settled(settled) => {
                let write = call.line(&settled);
                Ok((Hold::new(&call.host, call.ticket, Money::Settled, service, index).charged(write), settled))
            }
            other => Err(other),
        }));
    });
    match awaited.await {
        Some(Some(Ok((hold, settled)))) => Ok((hold, Paid::settled(&settled, offer, payment))),
        Some(Some(Err(Settlement::Refused { reason }))) => {
            let response = rail::refused_response(&reason, offer, payment);
            Err(NotPaid::Refused { reason, response })
        }
        Some(Some(Err(Settlement::NotSent))) => {
            let detail = "no facilitator could be reached; nothing was charged";
            Err(NotPaid::Problem(gate.unavailable(host, detail)))
        }
        Some(Some(Err(_))) | None => Err(NotPaid::Problem(unknown())),
        Some(None) => Err(lost()),
    }
}

/// What a client is told while nobody knows whether its payment was settled.
pub(super) fn unknown() -> Problem {
    Problem::new(
        Code::OutcomeUnknown,
        "whether this payment was settled is not known yet; send the same payment again later, and do not pay anew",
    )
}

struct MoneyCall<H: Host> {
    gate: Rc<Gate>,
    host: H,
    ticket: Ticket,
    service: Service,
    /// Where the ledger keeps that this payer has an unresolved claim for this request.
    index: Option<Index>,
    /// Until when the record is kept at least, once it is paid.
    keep: u64,
    offer: Offer,
    payment: Payment,
    /// Name of the route, for the audit log.
    route: String,
}

impl<H: Host> MoneyCall<H> {
    /// Writes that this was charged, and no more; nothing if there is no audit log.
    fn line(&self, settled: &Settled) -> Option<Box<dyn FnOnce()>> {
        self.gate.policy.audit()?;
        let (gate, host, route) = (Rc::clone(&self.gate), self.host.clone(), self.route.clone());
        let pay = trail::pay(&Paid::settled(settled, &self.offer, &self.payment), PayState::Settled);
        let claim = trail::claim_name(&self.ticket.id);
        Some(Box::new(move || {
            let payer = pay.payer.as_deref();
            let entry = Entry { claim: Some(&claim), pay: Some(&pay), payer, ..Entry::new(Kind::Charge, &route) };
            gate.record(&host, &entry);
        }))
    }

    /// Writes the intent, then makes the call; `gone` resolves when the exchange goes meanwhile. `None`: the claim was
    /// no longer ours, and no call was made.
    async fn make(&self, gone: impl Future<Output = ()>) -> Option<Settlement> {
        let facilitators = self.gate.policy.facilitators();
        let deadline = self.host.now().saturating_add(longest_settle(facilitators, &self.offer)).saturating_add(GRACE);
        let intent = concluding(Money::Settling, self.service, deadline);
        if let Err(error) = self.host.store().conclude(&self.ticket, &intent, self.host.now()).await {
            let text = format!("claim {}: not settled, {error}", short(&self.ticket));
            self.host.event(&Event::Log { level: Level::Warn, text: &text });
            return None;
        }
        self.host.event(&Event::Claim { state: "settling" });
        self.remember(deadline).await;
        let mut settling =
            pin!(rail::settle(&self.host, facilitators, &self.gate.breakers, &self.offer, &self.payment));
        if let Some(settlement) = before(settling.as_mut(), gone).await {
            return Some(settlement);
        }
        self.leave_alone().await;
        Some(settling.await)
    }

    /// The exchange is gone, and the call goes on: for everybody else the outcome is unknown from now on. Without this
    /// a new payment of the same payer would look like one more purchase beside the first, and be charged.
    async fn leave_alone(&self) {
        let now = self.host.now();
        let gone = concluding(Money::Settling, self.service, now.saturating_sub(1));
        if mutant::is("gone_unmarked") || self.host.store().conclude(&self.ticket, &gone, now).await.is_err() {
            return;
        }
        point_to(&self.host, &self.ticket, self.index.as_ref()).await;
    }

    /// Leaves behind what is needed if this worker does not live to see the answer: which payment of this payer is
    /// open, and how to find out what became of it. Neither is needed to be safe, so a full store is no reason to stop.
    async fn remember(&self, deadline: u64) {
        point_to(&self.host, &self.ticket, self.index.as_ref()).await;
        if self.gate.policy.asks_chains()
            && let Some(question) = rail::question(&self.offer, &self.payment, deadline)
        {
            let _ = self.host.store().doubt(&self.ticket.id, &question).await;
        }
    }

    async fn record(&self, settlement: &Settlement, until: u64) {
        let (money, state, transaction) = match settlement {
            Settlement::Refused { .. } if mutant::is("no_settle_check") => (Money::Settled, "settled", String::new()),
            Settlement::Settled(settled) => (Money::Settled, "settled", settled.transaction.clone()),
            Settlement::Refused { .. } => (Money::Failed, "failed", String::new()),
            Settlement::NotSent => (Money::None, "released", String::new()),
            Settlement::Unknown { .. } => (Money::Unknown, "unknown", String::new()),
        };
        let to = Conclusion { money, service: self.service, deadline: until, transaction, keep: self.keep };
        if conclude(&self.host, &self.ticket, &to).await == Err(StoreError::Lost) {
            // The chain was asked meanwhile, and has decided.
            return;
        }
        let (store, now) = (self.host.store(), self.host.now());
        if money == Money::None {
            // Nothing left: the payment is as good as before.
            let _ = store.release(&self.ticket, now).await;
        }
        if let (Money::None | Money::Failed, Some(index)) = (money, &self.index) {
            let _ = store.unpoint(&index.id, &self.ticket.id, now).await;
        }
        if self.gate.policy.asks_chains() && money != Money::Unknown {
            let _ = store.undoubt(&self.ticket.id).await;
        }
        if money == Money::Unknown {
            if let Some(question) =
                rail::question(&self.offer, &self.payment, now).filter(|_| self.gate.policy.asks_chains())
            {
                let _ = store.doubt(&self.ticket.id, &question).await;
            }
            // A purchase beside this one may have taken its place meanwhile.
            point_to(&self.host, &self.ticket, self.index.as_ref()).await;
            let text = format!("claim {}: the settlement's outcome is unknown", short(&self.ticket));
            self.host.event(&Event::Log { level: Level::Error, text: &text });
        }
        self.host.event(&Event::Claim { state });
    }
}

/// Seconds until every facilitator that may be asked, twice where it says pending, has answered or timed out.
fn longest_settle(facilitators: &[Facilitator], offer: &Offer) -> u64 {
    offer
        .facilitators
        .iter()
        .filter_map(|index| facilitators.get(usize::from(*index)))
        .fold(0, |sum, facilitator| sum.saturating_add(facilitator.settle_timeout_seconds.saturating_mul(2)))
}
