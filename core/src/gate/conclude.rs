//! What became of the service: settle or release, then the receipt.

use super::admit::{Admitted, Case, Settled, Verified};
use super::hold::Hold;
use super::limits::Source;
use super::refusal::Refusal;
use super::settle::{GRACE, NotPaid, settle, unknown};
use super::token::drawn::Drawing;
use super::token::issue::{Given, Purchase};
use super::trail::{self, Charged};
use super::{Gate, Visit, owned};
use crate::host::{Event, Fact, Held, Host, Level};
use crate::http::Edits;
use crate::ledger::{self, ClaimId, Yielded};
use crate::mutant;
use crate::policy::Route;
use crate::problem::{Code, Problem};
use crate::proof::digest;
use crate::rail::{Offer, Paid};
use crate::receipt::{Entry, Kind, PayState, Receipt};
use crate::token::Chain;
use std::rc::Rc;

/// What is released to the client.
pub(super) struct Outcome {
    pub(super) decision: &'static str,
    pub(super) edits: Edits,
    paid: Option<Paid>,
    /// The token that was shown.
    token: Option<Rc<Chain>>,
    /// What is to happen if the host does not let the response go.
    kept: Option<Box<dyn FnOnce()>>,
}

impl Outcome {
    fn unpaid(decision: &'static str) -> Self {
        Self { decision, edits: Edits::default(), paid: None, token: None, kept: None }
    }

    fn paid(decision: &'static str, paid: Paid) -> Self {
        let mut edits = Edits::default();
        edits.set(paid.header, paid.response());
        owned::keep_private(&mut edits);
        Self { decision, edits, paid: Some(paid), token: None, kept: None }
    }

    fn drawn<H: Host>(decision: &'static str, drawing: &Drawing<H>) -> Self {
        let mut edits = Edits::default();
        let remaining = drawing.remaining();
        if !remaining.is_empty() && decision == "token" {
            edits.set("farebox-remaining", remaining.to_owned());
        }
        owned::keep_private(&mut edits);
        Self { decision, edits, paid: None, token: Some(Rc::clone(drawing.chain())), kept: None }
    }

    /// Takes what is to happen if the host does not let the response go.
    pub(super) fn if_kept(&mut self) -> impl FnOnce() + 'static {
        let kept = self.kept.take();
        move || kept.into_iter().for_each(|kept| kept())
    }

    /// Leaves who paid what for the access log.
    pub(super) fn note<R: Held>(&self, held: &R) {
        if let Some(chain) = &self.token {
            held.note(Fact::Payer, chain.payer());
            held.note(Fact::Token, &chain.leaf().name);
        }
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
        let mut ending = Ending { gate, host, visit, status: held.status(), digest: None };
        if matches!(self, Self::Verified(_) | Self::Paid(_)) {
            ending.digest = digest::stated_field(held.headers());
        }
        match (self, service) {
            (Self::Free | Self::Answered(_), _) => Ok(Outcome::unpaid("free")),
            (Self::Drawn(drawing), Service::Unreadable) => {
                drawing.failed(ending.status).await;
                Err(unreadable("nothing was drawn").into())
            }
            (Self::Drawn(drawing), Service::Failed) => {
                let outcome = Outcome::drawn("upstream_failed", &drawing);
                drawing.failed(ending.status).await;
                Ok(outcome)
            }
            (Self::Drawn(drawing), Service::Done) if drawing.is_exceeded_by(held) => {
                drawing.failed(ending.status).await;
                let detail =
                    "the response has, or may have, more bytes than the token allows for one call; nothing was drawn";
                Err(Problem::new(Code::TokenScope, detail).into())
            }
            (Self::Drawn(drawing), Service::Done) => {
                let outcome = Outcome::drawn("token", &drawing);
                drawing.served(held);
                Ok(outcome)
            }
            // Apart from the rest: a payment's end needs much that a token's does not.
            (Self::Verified(it), service) => Box::pin(ending.of_verified(*it, service, held)).await,
            (Self::Paid(it), service) => Box::pin(ending.of_paid(*it, service)).await,
        }
    }
}

/// An exchange whose upstream has answered.
struct Ending<'a, H: Host> {
    gate: &'a Rc<Gate>,
    host: &'a H,
    visit: &'a Visit<'a>,
    status: u16,
    /// What the upstream states of the body, for the receipt.
    digest: Option<String>,
}

impl<H: Host> Ending<'_, H> {
    /// Settles a payment that was found good, if the upstream did what it is for.
    async fn of_verified<R: Held>(&self, it: Verified<H>, service: Service, held: &R) -> Result<Outcome, Refusal> {
        let Verified { hold, offer, payment, purchase, forwarded } = it;
        if service == Service::Unreadable {
            hold.release().await;
            return Err(unreadable("nothing was charged").into());
        }
        if (service == Service::Failed && !mutant::is("charge_failures")) || mutant::is("no_settle") {
            hold.release().await;
            return Ok(Outcome::unpaid("upstream_failed"));
        }
        forwarded.delivered();
        let offer = metered(self.host, self.visit, offer, held);
        match settle(self.gate, self.host, hold, (&offer, &payment), self.visit.name(), GRACE).await {
            Ok((hold, paid)) => self.deliver("paid", hold, paid, &purchase).await,
            Err(not_paid) => {
                if let (NotPaid::Refused { .. }, Some(payer)) = (&not_paid, payment.account()) {
                    self.gate.counters.not_charged(&payer, self.host);
                }
                Err(refused(self.gate, self.host, self.visit, not_paid))
            }
        }
    }

    /// Delivers what was paid for before, or makes up for it.
    async fn of_paid(&self, it: Settled<H>, service: Service) -> Result<Outcome, Refusal> {
        let Settled { mut hold, paid, purchase, before } = it;
        let delivered = before == Some(ledger::Service::Delivered);
        match service {
            Service::Unreadable => {
                hold.write_charge();
                hold.failed().await;
                Err(with_receipt(unreadable("the payment is kept, and the same payment is served"), &paid))
            }
            // It was delivered once: nothing is owed for a repeat that fails.
            Service::Failed if delivered => {
                let _ = hold.delivered().await;
                Ok(Outcome::paid("upstream_failed", paid))
            }
            Service::Failed => self.make_up(hold, paid, &purchase).await,
            Service::Done => {
                let decision = if before.is_some() { "redelivered" } else { "paid" };
                self.deliver(decision, hold, paid, &purchase).await
            }
        }
    }

    /// Records the delivery, then lets it happen: one that cannot be recorded could be asked for again.
    async fn deliver(
        &self,
        decision: &'static str,
        hold: Hold<H>,
        mut paid: Paid,
        purchase: &Purchase,
    ) -> Result<Outcome, Refusal> {
        let claim = hold.claim();
        self.gate.sign(self.host, &self.visit.request, &mut paid);
        let given = match purchase.pass {
            Some(_) => purchase.give(self.gate, self.host, self.visit, &hold, Yielded::Pass, &mut paid).await,
            None => None,
        };
        match hold.delivered().await {
            Ok(delivered) => {
                let mut outcome = self.with_evidence(Outcome::paid(decision, paid), claim, given, purchase);
                outcome.kept = Some(Box::new(|| delivered.kept()));
                Ok(outcome)
            }
            Err(error) => {
                let detail = format!("{error}; the payment is kept: send the same payment again, and do not pay anew");
                Err(with_receipt(Problem::new(Code::LedgerUnavailable, detail), &paid))
            }
        }
    }

    /// What a buyer gets that was charged and whose call failed: the pass it bought, else a credit for another call,
    /// else the right to send the same payment again.
    async fn make_up(&self, hold: Hold<H>, mut paid: Paid, purchase: &Purchase) -> Result<Outcome, Refusal> {
        let claim = hold.claim();
        self.gate.sign(self.host, &self.visit.request, &mut paid);
        let (kind, decision) = match purchase.pass {
            Some(_) => (Yielded::Pass, "paid"),
            None => (Yielded::Credit, "credited"),
        };
        let given = purchase.give(self.gate, self.host, self.visit, &hold, kind, &mut paid).await;
        let decision = match (&given, kind) {
            (None, _) => {
                hold.failed().await;
                "paid_undelivered"
            }
            (Some(_), Yielded::Pass) => {
                // The pass is what was bought, and it is there: a delivery that is not on record changes nothing.
                let _ = hold.delivered().await;
                decision
            }
            (Some(_), Yielded::Credit) => {
                hold.closed().await;
                decision
            }
        };
        Ok(self.with_evidence(Outcome::paid(decision, paid), claim, given, purchase))
    }

    /// Adds the token that was given for the payment and the receipt, and writes the audit log's lines.
    fn with_evidence(
        &self,
        mut outcome: Outcome,
        claim: Option<ClaimId>,
        given: Option<Given>,
        purchase: &Purchase,
    ) -> Outcome {
        let (Some(claim), Some(paid)) = (claim, &outcome.paid) else { return outcome };
        let jti = given.as_ref().map(|given| given.jti.as_str());
        // A receipt says where its line stands: nothing may come between.
        self.gate.head(self.host);
        let call = Charged {
            request: &self.visit.request,
            claim: &claim,
            status: self.status,
            digest: self.digest.as_deref(),
            paid,
            token: jti,
            purchase,
        };
        let receipt = self.gate.receipt(self.host, &call);
        if self.gate.policy.audit().is_some() {
            let (pay, claim) = (trail::pay(paid, PayState::Settled), trail::claim_name(&claim));
            let entry = |kind| Entry {
                claim: Some(&claim),
                pay: Some(&pay),
                payer: pay.payer.as_deref(),
                receipt: receipt.as_deref().map(Receipt::hash),
                status: Some(self.status),
                tok: jti,
                ..Entry::new(kind, self.visit.name())
            };
            self.gate.record(self.host, &entry(Kind::Charge));
            if let Some(given) = &given {
                let kind = if given.kind == Yielded::Credit { Kind::Credit } else { Kind::Issue };
                self.gate.record(self.host, &Entry { pay: None, receipt: None, ..entry(kind) });
            }
        }
        if let Some(receipt) = receipt {
            outcome.edits.set("call-receipt", receipt);
        }
        if let Some(given) = given {
            outcome.edits.set("capability-token", given.token);
        }
        outcome
    }
}

fn with_receipt(problem: Problem, paid: &Paid) -> Refusal {
    let mut refusal = Refusal::from(problem);
    refusal.headers.push((paid.header.to_owned(), paid.response()));
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
        Some(route) => Case::new(gate, host, visit, route, &Source::new(&String::new)).refused(not_paid),
        None => unknown().into(),
    }
}
