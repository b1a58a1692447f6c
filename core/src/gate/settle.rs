//! The money call. It runs detached from the start, so that an answer always finds somebody who records it, and the
//! intent is in the store before the call leaves: a worker that dies meanwhile leaves `settling` behind, which past
//! its deadline reads `unknown`.

use super::Gate;
use super::hold::{Hold, conclude, short};
use crate::host::{Event, Host, Level};
use crate::ledger::{Money, Service, Store, Ticket};
use crate::policy::Facilitator;
use crate::problem::{Code, Problem};
use crate::rail::{self, Offer, Paid, Payment, Settlement};
use crate::task::handover;
use std::rc::Rc;

/// Seconds a worker may be late with what it says to the store.
pub(super) const GRACE: u64 = 5;

/// Why nothing was paid, or nothing is known to have been.
pub(super) enum NotPaid {
    /// The rail refused, with the settlement header that says so.
    Refused { reason: String, response: String },
    /// Nothing was charged, or it is not known: what to tell the client.
    Problem(Problem),
}

/// Settles `payment`. The claim comes back with the money in it, and stays ours for `serving` more seconds.
pub(super) async fn settle<H: Host>(
    gate: &Rc<Gate>,
    host: &H,
    hold: Hold<H>,
    offer: &Offer,
    payment: &Payment,
    serving: u64,
) -> Result<(Hold<H>, Paid), NotPaid> {
    let lost = || NotPaid::Problem(Problem::new(Code::LedgerUnavailable, "the claim was lost before it was settled"));
    let (ticket, service) = hold.hand_over().ok_or_else(lost)?;
    let (giver, awaited) = handover();
    let call = MoneyCall {
        gate: Rc::clone(gate),
        host: host.clone(),
        ticket: ticket.clone(),
        service,
        offer: offer.clone(),
        payment: payment.clone(),
    };
    host.spawn(async move {
        let settlement = call.make().await;
        let until = if giver.is_abandoned() { 0 } else { call.host.now().saturating_add(serving) };
        call.record(&settlement, until).await;
        giver.give(settlement);
    });
    match awaited.await {
        Some(Some(Settlement::Settled(settled))) => {
            Ok((Hold::new(host, ticket, Money::Settled, service), Paid::settled(&settled, offer, payment)))
        }
        Some(Some(Settlement::Refused { reason })) => {
            let response = rail::refused_response(&reason, offer, payment);
            Err(NotPaid::Refused { reason, response })
        }
        Some(Some(Settlement::NotSent)) => Err(NotPaid::Problem(Problem::new(
            Code::FacilitatorUnavailable,
            "no facilitator could be reached; nothing was charged",
        ))),
        Some(Some(Settlement::Unknown { .. })) | None => Err(NotPaid::Problem(unknown())),
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
    offer: Offer,
    payment: Payment,
}

impl<H: Host> MoneyCall<H> {
    /// Writes the intent, then makes the call. `None`: the claim was no longer ours, and no call was made.
    async fn make(&self) -> Option<Settlement> {
        let facilitators = self.gate.policy.facilitators();
        let deadline = self.host.now().saturating_add(longest_settle(facilitators, &self.offer)).saturating_add(GRACE);
        let intent = crate::ledger::Conclusion {
            money: Money::Settling,
            service: self.service,
            deadline,
            transaction: String::new(),
        };
        if let Err(error) = self.host.store().conclude(&self.ticket, &intent, self.host.now()).await {
            let text = format!("claim {}: not settled, {error}", short(&self.ticket));
            self.host.event(&Event::Log { level: Level::Warn, text: &text });
            return None;
        }
        self.host.event(&Event::Claim { state: "settling" });
        Some(rail::settle(&self.host, facilitators, &self.offer, &self.payment).await)
    }

    async fn record(&self, settlement: &Option<Settlement>, until: u64) {
        let Some(settlement) = settlement else { return };
        let (money, state, transaction) = match settlement {
            Settlement::Settled(settled) => (Money::Settled, "settled", settled.transaction.clone()),
            Settlement::Refused { .. } => (Money::Failed, "failed", String::new()),
            Settlement::NotSent => (Money::None, "released", String::new()),
            Settlement::Unknown { .. } => (Money::Unknown, "unknown", String::new()),
        };
        conclude(&self.host, &self.ticket, money, self.service, until, transaction).await;
        if money == Money::None {
            // Nothing left: the payment is as good as before.
            let _ = self.host.store().release(&self.ticket, self.host.now()).await;
        }
        if money == Money::Unknown {
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
