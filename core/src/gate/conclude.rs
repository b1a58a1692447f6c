//! What became of the service: settle or release, then the receipt.

use super::admit::{Admitted, Case, Verified};
use super::hold::Hold;
use super::refusal::Refusal;
use super::settle::{GRACE, NotPaid, settle, unknown};
use super::{Gate, Visit, owned};
use crate::host::{Event, Fact, Held, Host, Level};
use crate::http::Edits;
use crate::mutant;
use crate::policy::Route;
use crate::rail::{Offer, Paid};
use std::rc::Rc;

/// What is released to the client.
pub(super) struct Outcome<H: Host> {
    pub(super) decision: &'static str,
    pub(super) edits: Edits,
    paid: Option<Paid>,
    /// The claim, to be marked delivered once the response has been let go.
    pub(super) hold: Option<Hold<H>>,
}

impl<H: Host> Outcome<H> {
    fn unpaid(decision: &'static str) -> Self {
        Self { decision, edits: Edits::default(), paid: None, hold: None }
    }

    fn paid(decision: &'static str, paid: Paid, hold: Option<Hold<H>>) -> Self {
        let mut edits = Edits::default();
        edits.set(paid.header, paid.response.clone());
        owned::keep_private(&mut edits);
        Self { decision, edits, paid: Some(paid), hold }
    }

    /// Leaves who paid what for the access log.
    pub(super) fn note<R: Held>(&self, held: &R) {
        let Some(paid) = &self.paid else { return };
        if let Some(payer) = &paid.payer {
            held.note(Fact::Payer, payer);
        }
        if let Some(amount) = &paid.amount {
            held.note(Fact::Amount, amount);
        }
        held.note(Fact::Transaction, &paid.transaction);
    }
}

impl<H: Host> Admitted<H> {
    /// Decides what the client gets, now that the upstream's response headers are here.
    pub(super) async fn conclude<R: Held>(
        self,
        gate: &Rc<Gate>,
        host: &H,
        visit: &Visit<'_>,
        held: &R,
    ) -> Result<Outcome<H>, Refusal> {
        let success = visit.route.is_none_or(|route| succeeded(held, route)) || mutant::is("charge_failures");
        match self {
            Self::Free => Ok(Outcome::unpaid("free")),
            Self::Verified(verified) if !success || mutant::is("no_settle") => {
                verified.hold.release().await;
                Ok(Outcome::unpaid("upstream_failed"))
            }
            Self::Verified(verified) => {
                let Verified { hold, offer, payment, forwarded } = *verified;
                forwarded.delivered();
                let offer = metered(host, visit, offer, held);
                settle(gate, host, hold, &offer, &payment, GRACE).await.map_or_else(
                    |not_paid| Err(refused(gate, host, visit, not_paid)),
                    |(hold, paid)| Ok(Outcome::paid("paid", paid, Some(hold))),
                )
            }
            Self::Paid { hold, paid, .. } if !success => {
                hold.failed().await;
                Ok(Outcome::paid("paid_undelivered", paid, None))
            }
            Self::Paid { hold, paid, again } => {
                Ok(Outcome::paid(if again { "redelivered" } else { "paid" }, paid, Some(hold)))
            }
        }
    }
}

/// The offer as the upstream's response says that it is to be charged.
fn metered<H: Host, R: Held>(host: &H, visit: &Visit<'_>, offer: Offer, held: &R) -> Offer {
    let (offer, ignored) = offer.metered(held.headers());
    if let Some(why) = ignored {
        let text = format!("route {}: what the upstream says to charge was not followed: {why}", visit.name());
        host.event(&Event::Log { level: Level::Warn, text: &text });
    }
    offer
}

/// Whether the upstream's response headers say that it did what was paid for.
///
/// A status of 400 or more, or none, is a failure; a redirect is one unless the route says otherwise; so is a gRPC
/// response that ends with its headers and a status other than 0.
fn succeeded<R: Held>(held: &R, route: &Route) -> bool {
    let grpc_failed = held.headers().first("grpc-status").is_some_and(|status| status != b"0");
    match held.status() {
        100..=299 => !grpc_failed,
        300..=399 => route.redirects_are_success && !grpc_failed,
        _ => false,
    }
}

/// What a client is told whose payment was not settled after the upstream answered.
fn refused<H: Host>(gate: &Rc<Gate>, host: &H, visit: &Visit<'_>, not_paid: NotPaid) -> Refusal {
    match visit.route {
        Some(route) => Case { gate, host, visit, route, menu: gate.menu(route), source: "" }.refused(not_paid),
        None => unknown().into(),
    }
}
