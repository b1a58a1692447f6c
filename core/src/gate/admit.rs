//! Admission: which credential the request shows, whether it is good, and whose claim it is.

use super::hold::Hold;
use super::refusal::Refusal;
use super::settle::{GRACE, NotPaid, settle, unknown};
use super::{Gate, Visit, owned};
use crate::host::{Event, Host};
use crate::http::Headers;
use crate::ledger::{Claim, Claimed, Money, NewClaim, Service, Store, StoreError, Ticket};
use crate::mutant;
use crate::policy::{Access, CHALLENGE_LIMIT, Route, Wallets};
use crate::problem::{Code, Problem};
use crate::rail::{self, Checked, Menu, Offer, Paid, Payment, Resource, Settle, Verdict};
use std::rc::Rc;

/// What lets a request through.
pub(super) enum Admitted<H: Host> {
    /// It needs nothing.
    Free,
    /// A payment that a facilitator found good and that is settled once the upstream has answered.
    Verified { hold: Hold<H>, offer: Offer, payment: Payment },
    /// A payment that is settled.
    Paid {
        hold: Hold<H>,
        paid: Paid,
        /// The request was charged earlier and not delivered.
        again: bool,
    },
}

impl Gate {
    /// Decides whether the request may reach the upstream.
    pub(super) async fn admit<H: Host>(
        self: &Rc<Self>,
        host: &H,
        visit: &Visit<'_>,
        headers: &Headers,
    ) -> Result<Admitted<H>, Refusal> {
        let Some(route) = visit.route else { return Ok(Admitted::Free) };
        match &route.access {
            Access::Free => return Ok(Admitted::Free),
            Access::Denied => return Err(Problem::new(Code::RouteDenied, "the policy denies this route").into()),
            Access::Priced(_) => {}
        }
        let menu = self.menu(route);
        let Some(payment) = Payment::find(headers)? else {
            let problem = Problem::new(Code::PaymentRequired, "this route costs something; see PAYMENT-REQUIRED");
            return Err(challenge(host, visit, route, &menu, problem, "Payment required"));
        };
        let checked = check(&menu, route, &payment, host.now());
        match self.claim(host, visit, route, &payment, &checked).await? {
            Claimed::Ours(ticket) => {
                let (offer, _) = checked.map_err(|problem| challenge_again(host, visit, route, &menu, problem))?;
                host.event(&Event::Claim { state: "claimed" });
                let hold = Hold::new(host, ticket, Money::None, Service::Waiting);
                match offer.settle {
                    Settle::After => self.verify(host, visit, route, &menu, hold, offer, payment).await,
                    Settle::Before => self.prepay(host, visit, route, &menu, hold, offer, payment).await,
                }
            }
            Claimed::Again(ticket, claim) => Ok(again(host, ticket, &claim, &payment)),
            Claimed::Known(claim) => Err(known(host, visit, route, &menu, &claim)),
            Claimed::Unseen => {
                let problem = checked.err().unwrap_or_else(|| Problem::new(Code::LedgerUnavailable, "not claimed"));
                Err(challenge_again(host, visit, route, &menu, problem))
            }
        }
    }

    /// Claims the payment, atomically, before the upstream or a facilitator hears of it. A payment that did not pass
    /// the checks is only looked up: a change of price never turns a known payment into a new challenge.
    async fn claim<H: Host>(
        &self,
        host: &H,
        visit: &Visit<'_>,
        route: &Route,
        payment: &Payment,
        checked: &Result<(Offer, Checked), Problem>,
    ) -> Result<Claimed, Refusal> {
        let now = host.now();
        let deadline = match checked {
            Ok((offer, _)) if offer.settle == Settle::After => now.saturating_add(self.longest_verify(offer)),
            _ => now.saturating_add(route.response_timeout_seconds),
        };
        let new = NewClaim {
            binding: owned::binding(visit),
            secret: payment.secret(),
            deadline: deadline.saturating_add(GRACE),
            expires: checked.as_ref().map_or(0, |(_, checked)| checked.expires),
            checked: checked.is_ok(),
            repeatable: matches!(visit.request.method(), "GET" | "HEAD"),
            proven: false,
            window: 0,
        };
        let mut id = payment.claim_id();
        if mutant::is("no_claim") {
            let _ = host.random(&mut id.0);
        }
        host.store().claim(&id, &new, now).await.map_err(|error| {
            if error == StoreError::Full {
                host.event(&Event::Claim { state: "refused" });
            }
            Problem::new(Code::LedgerUnavailable, error.to_string()).into()
        })
    }

    /// Settle after: the facilitator says whether the payment would settle; then the request may go.
    #[expect(clippy::too_many_arguments, reason = "one step of one story, with everything it needs by name")]
    async fn verify<H: Host>(
        self: &Rc<Self>,
        host: &H,
        visit: &Visit<'_>,
        route: &Route,
        menu: &Menu,
        mut hold: Hold<H>,
        offer: Offer,
        payment: Payment,
    ) -> Result<Admitted<H>, Refusal> {
        match rail::verify(host, self.policy.facilitators(), &offer, &payment).await {
            Verdict::Valid { .. } => {}
            Verdict::Invalid { reason } => {
                hold.release().await;
                let problem = Problem::new(Code::PaymentInvalid, format!("the facilitator refuses it: {reason}"));
                return Err(challenge(host, visit, route, menu, problem, &reason));
            }
            Verdict::Unavailable { .. } => {
                hold.release().await;
                let detail = "no facilitator gave a usable answer; nothing was charged";
                return Err(Problem::new(Code::FacilitatorUnavailable, detail).into());
            }
        }
        forwarding(host, route, &mut hold).await?;
        Ok(Admitted::Verified { hold, offer, payment })
    }

    /// Settle before: the money moves, then the request may go.
    #[expect(clippy::too_many_arguments, reason = "one step of one story, with everything it needs by name")]
    async fn prepay<H: Host>(
        self: &Rc<Self>,
        host: &H,
        visit: &Visit<'_>,
        route: &Route,
        menu: &Menu,
        hold: Hold<H>,
        offer: Offer,
        payment: Payment,
    ) -> Result<Admitted<H>, Refusal> {
        let serving = route.response_timeout_seconds.saturating_add(GRACE);
        let (mut hold, paid) = settle(self, host, hold, &offer, &payment, serving)
            .await
            .map_err(|not_paid| refused(host, visit, route, menu, not_paid))?;
        forwarding(host, route, &mut hold).await?;
        Ok(Admitted::Paid { hold, paid, again: false })
    }

    fn longest_verify(&self, offer: &Offer) -> u64 {
        offer
            .facilitators
            .iter()
            .filter_map(|index| self.policy.facilitators().get(usize::from(*index)))
            .fold(0, |sum, facilitator| sum.saturating_add(facilitator.verify_timeout_seconds))
    }
}

/// Finds the offer that the payment answers and checks it, without asking anybody.
fn check(menu: &Menu, route: &Route, payment: &Payment, now: u64) -> Result<(Offer, Checked), Problem> {
    let offer = menu
        .answered_by(payment)
        .ok_or_else(|| Problem::new(Code::PaymentMismatch, "the payment answers none of the offers made now"))?;
    let checked = payment.check(offer, route.wallets == Wallets::Eoa, now)?;
    Ok((offer.clone(), checked))
}

/// Says to the store that the upstream is about to see the request.
async fn forwarding<H: Host>(host: &H, route: &Route, hold: &mut Hold<H>) -> Result<(), Refusal> {
    let deadline = host.now().saturating_add(route.response_timeout_seconds).saturating_add(GRACE);
    hold.forwarding(deadline).await.map_err(|error| Problem::new(Code::LedgerUnavailable, error.to_string()).into())
}

/// A charged request that was not delivered, and whose payment shows the secret of its first presentation.
fn again<H: Host>(host: &H, ticket: Ticket, claim: &Claim, payment: &Payment) -> Admitted<H> {
    let hold = Hold::new(host, ticket, Money::Settled, Service::Forwarded);
    Admitted::Paid { hold, paid: Paid::recorded(payment, &claim.transaction), again: true }
}

/// What a payment that was seen before gets.
fn known<H: Host>(host: &H, visit: &Visit<'_>, route: &Route, menu: &Menu, claim: &Claim) -> Refusal {
    if claim.binding != owned::binding(visit) {
        return Problem::new(Code::PaymentUsed, "the payment was used for another request").into();
    }
    match claim.money {
        Money::None | Money::Settling => {
            Problem::new(Code::PaymentInProgress, "another request with this payment is under way").into()
        }
        Money::Unknown => unknown().into(),
        Money::Settled => Problem::new(Code::PaymentUsed, "the payment was settled for this request before").into(),
        Money::Failed => {
            let problem = Problem::new(Code::SettlementFailed, "the payment was refused when it was to be settled");
            challenge(host, visit, route, menu, problem, "settlement_failed")
        }
    }
}

/// A refusal that says what would be accepted. Without anything to offer, it is a 503: never free.
pub(super) fn challenge<H: Host>(
    host: &H,
    visit: &Visit<'_>,
    route: &Route,
    menu: &Menu,
    problem: Problem,
    error: &str,
) -> Refusal {
    if menu.is_empty() {
        return Problem::new(Code::OffersUnavailable, "none of the route's offers can be made at the moment").into();
    }
    let mut nonce = [0; 16];
    let nonce = host.random(&mut nonce).is_ok().then(|| crate::crypto::hex::encode(&nonce));
    let lines = |url: &str| {
        let resource = Resource { url, description: &route.description, mime_type: &route.mime_type };
        menu.challenge(error, resource, nonce.as_deref())
    };
    let fits = |lines: &Vec<(String, String)>| {
        lines.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= CHALLENGE_LIMIT
    };
    // The policy made sure that the offers fit; a long query, then a long path, may be too much on top of them.
    let without_query = || format!("{}{}", visit.request.origin(), visit.request.path());
    let whole = Some(lines(&visit.request.url())).filter(&fits);
    match whole.or_else(|| Some(lines(&without_query())).filter(&fits)) {
        Some(headers) => Refusal { problem, headers },
        None => {
            Problem::new(Code::PathTooLong, "the path leaves no room for a challenge in the response's headers").into()
        }
    }
}

/// A challenge after a payment that was no good; problems that paying again cannot help come as they are.
fn challenge_again<H: Host>(host: &H, visit: &Visit<'_>, route: &Route, menu: &Menu, problem: Problem) -> Refusal {
    if problem.code.status() != 402 {
        return problem.into();
    }
    let error = problem.code.wire();
    challenge(host, visit, route, menu, problem, error)
}

/// What a client is told when its payment was not settled.
pub(super) fn refused<H: Host>(host: &H, visit: &Visit<'_>, route: &Route, menu: &Menu, not_paid: NotPaid) -> Refusal {
    match not_paid {
        NotPaid::Problem(problem) => problem.into(),
        NotPaid::Refused { reason, response } => {
            let problem = Problem::new(Code::SettlementFailed, format!("the facilitator refuses to settle: {reason}"));
            let mut refusal = challenge(host, visit, route, menu, problem, &reason);
            refusal.headers.push((rail::RESPONSE_HEADER.to_owned(), response));
            refusal
        }
    }
}
