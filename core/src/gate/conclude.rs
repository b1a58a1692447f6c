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
use crate::problem::{Code, Problem};
use crate::rail::{Offer, Paid};
use std::rc::Rc;

/// What is released to the client.
pub(super) struct Outcome {
    pub(super) decision: &'static str,
    pub(super) edits: Edits,
    paid: Option<Paid>,
}

impl Outcome {
    fn unpaid(decision: &'static str) -> Self {
        Self { decision, edits: Edits::default(), paid: None }
    }

    fn paid(decision: &'static str, paid: Paid) -> Self {
        let mut edits = Edits::default();
        edits.set(paid.header, paid.response.clone());
        owned::keep_private(&mut edits);
        Self { decision, edits, paid: Some(paid) }
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
    ) -> Result<Outcome, Refusal> {
        let service = visit.route.map_or(Service::Done, |route| Service::of(held, route));
        match (self, service) {
            (Self::Free, _) => Ok(Outcome::unpaid("free")),
            (Self::Verified(verified), Service::Unreadable) => {
                verified.hold.release().await;
                Err(unreadable("nothing was charged").into())
            }
            (Self::Verified(verified), service)
                if (service == Service::Failed && !mutant::is("charge_failures")) || mutant::is("no_settle") =>
            {
                verified.hold.release().await;
                Ok(Outcome::unpaid("upstream_failed"))
            }
            (Self::Verified(verified), _) => {
                let Verified { hold, offer, payment, forwarded } = *verified;
                forwarded.delivered();
                let offer = metered(host, visit, offer, held);
                match settle(gate, host, hold, &offer, &payment, GRACE).await {
                    Ok((hold, paid)) => deliver("paid", hold, paid).await,
                    Err(not_paid) => Err(refused(gate, host, visit, not_paid)),
                }
            }
            (Self::Paid { hold, paid, .. }, Service::Unreadable) => {
                hold.failed().await;
                Err(with_receipt(unreadable("the payment is kept, and the same payment is served"), &paid))
            }
            (Self::Paid { hold, paid, .. }, Service::Failed) => {
                hold.failed().await;
                Ok(Outcome::paid("paid_undelivered", paid))
            }
            (Self::Paid { hold, paid, again }, Service::Done) => {
                deliver(if again { "redelivered" } else { "paid" }, hold, paid).await
            }
        }
    }
}

/// Records the delivery, then lets it happen: one that cannot be recorded could be asked for again.
async fn deliver<H: Host>(decision: &'static str, hold: Hold<H>, paid: Paid) -> Result<Outcome, Refusal> {
    match hold.delivered().await {
        Ok(()) => Ok(Outcome::paid(decision, paid)),
        Err(error) => {
            let detail = format!("{error}; the payment is kept: send the same payment again, and do not pay anew");
            Err(with_receipt(Problem::new(Code::LedgerUnavailable, detail), &paid))
        }
    }
}

fn with_receipt(problem: Problem, paid: &Paid) -> Refusal {
    let mut refusal = Refusal::from(problem);
    refusal.headers.push((paid.header.to_owned(), paid.response.clone()));
    refusal
}

fn unreadable(what_now: &str) -> Problem {
    Problem::new(Code::UpstreamUnreadable, format!("the upstream's response could not be read; {what_now}"))
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

/// What the upstream's response headers say of the service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// It did what was paid for.
    Done,
    /// It did not.
    Failed,
    /// The host does not give the headers: nothing may be let go on doubt.
    Unreadable,
}

impl Service {
    /// A status of 400 or more is a failure; a redirect is one unless the route says otherwise; so is a gRPC response
    /// that ends with its headers and a status other than 0.
    fn of<R: Held>(held: &R, route: &Route) -> Self {
        let grpc_failed = held.headers().first("grpc-status").is_some_and(|status| status != b"0");
        match held.status() {
            0 => Self::Unreadable,
            100..=299 if !grpc_failed => Self::Done,
            300..=399 if route.redirects_are_success && !grpc_failed => Self::Done,
            _ => Self::Failed,
        }
    }
}

/// What a client is told whose payment was not settled after the upstream answered.
fn refused<H: Host>(gate: &Rc<Gate>, host: &H, visit: &Visit<'_>, not_paid: NotPaid) -> Refusal {
    match visit.route {
        Some(route) => Case { gate, host, visit, route, menu: gate.menu(route), source: "" }.refused(not_paid),
        None => unknown().into(),
    }
}
