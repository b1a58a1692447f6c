//! Admission: which credential the request shows, whether it is good, and whose claim it is.

use super::Visit;
use super::earlier::Earlier;
use super::hold::Hold;
use super::limits::{Forwarded, Source};
use super::refusal::Refusal;
use super::settle::{GRACE, NotPaid, settle, unknown};
use super::token::drawn::Drawing;
use super::token::issue::Purchase;
use super::{Gate, owned, token};
use crate::crypto::keys::PublicKey;
use crate::crypto::sha256;
use crate::host::{Event, Host};
use crate::http::{Edits, Headers, Reply};
use crate::ledger::{Binding, Claim, ClaimId, Claimed, Money, NewClaim, Service, Store, StoreError, Ticket};
use crate::mutant;
use crate::policy::{Access, CHALLENGE_LIMIT, PaymentIdentifier, Route, Tokens, Wallets};
use crate::problem::{Code, Problem};
use crate::proof::{Fields, Shown, digest};
use crate::rail::{self, Asking, Checked, Menu, Offer, Paid, Payment, Resource, Scope, Settle, Verdict};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// What lets a request through.
pub(super) enum Admitted<H: Host> {
    /// It needs nothing.
    Free,
    /// It is answered without the upstream.
    Answered(Box<Reply>),
    /// A capability token, of which the call was drawn.
    Drawn(Box<Drawing<H>>),
    /// A payment that a facilitator found good and that is settled once the upstream has answered.
    Verified(Box<Verified<H>>),
    /// A payment that is settled.
    Paid(Box<Settled<H>>),
}

/// A payment that is settled.
pub(super) struct Settled<H: Host> {
    pub(super) hold: Hold<H>,
    pub(super) paid: Paid,
    /// What the payment buys besides the call.
    pub(super) purchase: Purchase,
    /// What was known of the service, if the request was charged earlier.
    pub(super) before: Option<Service>,
}

impl<H: Host> Admitted<H> {
    /// SHA-256 of the body that the credential's proof is about.
    pub(super) fn body(&self) -> Option<[u8; 32]> {
        if let Self::Drawn(drawing) = self { drawing.body } else { None }
    }

    /// Whether [`forwarding`](Self::forwarding) takes `Authorization` out.
    pub(super) fn takes_authorization(&self, visit: &Visit<'_>) -> bool {
        let Self::Drawn(drawing) = self else { return false };
        drawing.in_authorization && visit.route.is_none_or(|route| route.owns_authorization)
    }

    /// The request is about to be forwarded: what the upstream is told of it.
    pub(super) fn forwarding(&mut self, visit: &Visit<'_>, tokens: Option<&Tokens>, edits: &mut Edits) {
        let takes_authorization = self.takes_authorization(visit);
        let Self::Drawn(drawing) = self else { return };
        drawing.goes();
        if takes_authorization {
            edits.remove("authorization");
        }
        edits.remove("dpop");
        let chain = drawing.chain();
        let told_payer = match tokens {
            Some(tokens) => tokens.told_payer(visit.request.origin(), chain.payer()),
            None => chain.payer().into(),
        };
        let told_payer = told_payer.into_owned();
        edits.set("farebox-payer", told_payer);
        edits.set("farebox-token-id", chain.leaf().name.to_string());
        let remaining = drawing.remaining();
        if !remaining.is_empty() {
            edits.set("farebox-remaining", remaining.to_owned());
        }
    }
}

/// A payment that a facilitator found good.
pub(super) struct Verified<H: Host> {
    pub(super) hold: Hold<H>,
    pub(super) offer: Offer,
    pub(super) payment: Payment,
    pub(super) purchase: Purchase,
    pub(super) forwarded: Forwarded<H>,
}

/// A request to a priced route, with what deciding it needs.
pub(super) struct Case<'a, H: Host> {
    pub(super) gate: &'a Rc<Gate>,
    pub(super) host: &'a H,
    pub(super) visit: &'a Visit<'a>,
    pub(super) route: &'a Route,
    /// Found when it is asked for: a token does without.
    pub(super) menu: OnceCell<Rc<Menu>>,
    pub(super) source: &'a Source<'a>,
    /// The key that the paying request introduces: what it buys is bound to it.
    pub(super) holder: Option<PublicKey>,
    /// What the paying request states of its body.
    pub(super) body: Vec<u8>,
    /// The SHA-256 digest in that, if there is one.
    pub(super) digest: Option<String>,
    /// Whether the payment's signature is its payer's key's: known without asking anybody.
    pub(super) proven: Cell<bool>,
}

impl Gate {
    /// Decides whether the request may reach the upstream.
    pub(super) async fn admit<H: Host>(
        self: &Rc<Self>,
        host: &H,
        visit: &Visit<'_>,
        headers: &Headers,
        source: impl Fn() -> String,
    ) -> Result<Admitted<H>, Refusal> {
        let Some(route) = visit.route else { return Ok(Admitted::Free) };
        match &route.access {
            Access::Free => return Ok(Admitted::Free),
            Access::Denied => return Err(Problem::new(Code::RouteDenied, "the policy denies this route").into()),
            Access::Priced(_) => {}
        }
        let source = &Source::new(&source);
        let mut case = Case::new(self, host, visit, route, source);
        let payment = case.payment(headers)?;
        if let Some(tokens) = self.policy.tokens() {
            let fields = if route.owns_authorization { Fields::Both } else { Fields::CapabilityToken };
            let shown = Shown::find(headers, fields).map_err(|error| case.refuse_proof(&error))?;
            match (shown, &payment) {
                (None, _) => {}
                (Some(shown), None) => return case.draw(tokens, &shown, headers).await,
                (Some(_), Some(_)) => {
                    let detail = "a request may show a payment or a token, not both";
                    return Err(Problem::new(Code::CredentialAmbiguous, detail).into());
                }
            }
        }
        match payment {
            None if !self.counters.challenge(source.get(), host) => {
                Err(Problem::new(Code::TooManyRequests, "too many challenges for this address").into())
            }
            None => {
                let problem = Problem::new(Code::PaymentRequired, "this route costs something; see PAYMENT-REQUIRED");
                Err(case.challenge(problem, "Payment required"))
            }
            Some(payment) => {
                case.body = owned::stated_body(headers);
                case.digest = digest::stated_field(headers);
                case.holder = case.introduced(headers)?;
                // Apart from the rest: what a payment needs is ten times what a token does.
                Box::pin(case.pay(payment)).await
            }
        }
    }
}

impl<'a, H: Host> Case<'a, H> {
    pub(super) fn new(
        gate: &'a Rc<Gate>,
        host: &'a H,
        visit: &'a Visit<'a>,
        route: &'a Route,
        source: &'a Source<'a>,
    ) -> Self {
        Self {
            gate,
            host,
            visit,
            route,
            menu: OnceCell::new(),
            source,
            holder: None,
            body: Vec::new(),
            digest: None,
            proven: Cell::new(false),
        }
    }
}

impl<H: Host> Case<'_, H> {
    /// What can be offered on the route now.
    pub(super) fn menu(&self) -> &Menu {
        self.menu.get_or_init(|| self.gate.menu(self.route))
    }

    /// The payment that the request shows.
    fn payment(&self, headers: &Headers) -> Result<Option<Payment>, Problem> {
        match rail::field(headers) {
            None => Ok(None),
            Some(_) => Payment::find(headers, self.menu(), self.resource(&self.visit.request.url())),
        }
    }

    /// Decides on a request with a payment.
    async fn pay(&self, payment: Payment) -> Result<Admitted<H>, Refusal> {
        let now = self.host.now();
        if self.route.payment_identifier == Some(PaymentIdentifier::Required) && payment.identifier().is_none() {
            let detail = "name the payment in extensions.payment-identifier.info.id, 16 to 128 of A-Z a-z 0-9 - _";
            return Err(Problem::new(Code::PaymentIdentifierRequired, detail).into());
        }
        let checked = self.check(&payment, now);
        if let Ok((offer, _)) = &checked
            && offer.pass.as_ref().is_some_and(|pass| pass.bearer.is_none())
            && self.holder.is_none()
        {
            let detail = "this pass is sold to holders of a key: sign the paying request with it (RFC 9421), tag \
                          `httpsig-oauth-token-request`; nothing was charged";
            return Err(Problem::new(Code::HolderKeyRequired, detail).into());
        }
        let proven = checked.as_ref().is_ok_and(|(_, checked)| checked.payer_proven);
        self.proven.set(proven);
        match self.claim(&payment, &checked).await? {
            Claimed::Ours(ticket) => {
                let (offer, _) = checked.map_err(|problem| self.refuse(problem))?;
                self.host.event(&Event::Claim { state: "claimed" });
                let mut hold =
                    Hold::new(self.host, ticket, Money::None, Service::Waiting, self.index(&payment, proven));
                if let Some(admitted) = self.named_before(&payment, &mut hold, proven).await? {
                    hold.release().await;
                    return Ok(admitted);
                }
                let earlier = Earlier::of(self, &payment).await?;
                let owed = match offer.settle {
                    _ if proven => earlier.owes(self, &payment).await?,
                    // Who pays is for a facilitator to say; after that it is looked at again.
                    Settle::Before => earlier.is_there(),
                    Settle::After => false,
                };
                match offer.settle {
                    Settle::After => self.verify(hold, offer, payment, proven && !owed).await,
                    Settle::Before => self.prepay(hold, offer, payment, owed).await,
                }
            }
            Claimed::Again(ticket, claim) => Ok(self.again(ticket, &claim, &payment)),
            Claimed::Known(claim) if claim.money == Money::Unknown => self.find_out(&payment, &claim).await,
            Claimed::Known(claim) => self.seen(&payment, &claim).await,
            Claimed::Unseen => {
                let problem = checked.err().unwrap_or_else(|| Problem::new(Code::LedgerUnavailable, "not claimed"));
                Err(self.refuse(problem))
            }
        }
    }

    /// Finds the offer that the payment answers and checks it, without asking anybody.
    fn check(&self, payment: &Payment, now: u64) -> Result<(Offer, Checked), Problem> {
        if !self.gate.counters.may_pay(self.source.get(), self.host) {
            return Err(Problem::new(Code::TooManyRequests, "too many payments from this address were no good"));
        }
        let checked = || {
            let none = || Problem::new(Code::PaymentMismatch, "the payment answers none of the offers made now");
            let offer = self.menu().answered_by(payment).ok_or_else(none)?;
            let checked = payment.check(offer, self.route.wallets == Wallets::Eoa, now)?;
            Ok((offer.clone(), checked))
        };
        let checked = checked();
        if checked.is_err() {
            self.gate.counters.payment_failed(self.source.get(), self.host);
        }
        if let (Ok(_), Some(account)) = (&checked, payment.account())
            && !self.gate.counters.may_forward(&account, self.host)
        {
            let detail = "too many requests of this payer were forwarded and not charged";
            return Err(Problem::new(Code::TooManyRequests, detail));
        }
        checked
    }

    /// Claims the payment, atomically, before the upstream or a facilitator hears of it. A payment that did not pass
    /// the checks is only looked up: a change of price never turns a known payment into a new challenge.
    async fn claim(&self, payment: &Payment, checked: &Result<(Offer, Checked), Problem>) -> Result<Claimed, Refusal> {
        let now = self.host.now();
        let verifying = match checked {
            Ok((offer, _)) if offer.settle == Settle::After => self.gate.longest_verify(offer),
            _ => self.route.response_timeout_seconds,
        };
        let new = NewClaim {
            deadline: now.saturating_add(verifying).saturating_add(GRACE),
            expires: checked.as_ref().map_or(0, |(_, checked)| checked.expires),
            checked: checked.is_ok(),
            ..self.look(payment)
        };
        let mut id = payment.claim_id();
        if mutant::is("no_claim") {
            let _ = self.host.random(&mut id.0);
        }
        self.ledger(self.host.store().claim(&id, &new, now).await)
    }

    /// A claim that only looks at what is known of a payment for this request.
    pub(super) fn look(&self, payment: &Payment) -> NewClaim {
        let safe = matches!(self.visit.request.method(), "GET" | "HEAD");
        NewClaim {
            binding: self.binding(payment),
            secret: self.secret(payment),
            deadline: self.host.now().saturating_add(self.route.response_timeout_seconds).saturating_add(GRACE),
            expires: 0,
            checked: false,
            repeatable: safe || self.route.redeliver_unsafe,
            proven: false,
            window: if payment.identifier().is_some() { self.route.redelivery_seconds } else { 0 },
        }
    }

    /// The request that a payment is for. To buy a pass is another request than to pay for the call itself, so that
    /// neither is ever answered from the other.
    pub(super) fn binding(&self, payment: &Payment) -> Binding {
        let offered = || self.menu().answered_by(payment).filter(|offer| offer.pass.is_some()).map(Offer::digest);
        owned::binding(self.visit, &self.body, payment.pass().or_else(offered))
    }

    /// Hash of what a repeat must show too: the payment's own secret, else the holder key it introduces.
    fn secret(&self, payment: &Payment) -> [u8; 16] {
        let secret = payment.secret();
        match &self.holder {
            Some(key) if secret == [0; 16] => token::issue::first(&sha256(&[b"holder\0", key.thumbprint().as_bytes()])),
            _ => secret,
        }
    }

    /// Settle after: the facilitator says whether the payment would settle; then the request may go. `alone`: it is known
    /// that nothing else is unresolved of this payer.
    async fn verify(
        &self,
        mut hold: Hold<H>,
        offer: Offer,
        payment: Payment,
        alone: bool,
    ) -> Result<Admitted<H>, Refusal> {
        let Some(_place) = self.gate.counters.verify(self.source.get()) else {
            hold.release().await;
            return Err(Problem::new(Code::TooManyRequests, "too many payments of this address at once").into());
        };
        hold = self.good(hold, &offer, &payment).await?;
        if !alone {
            // The facilitator has proven what the core could not: who pays, with what was not used before.
            if let Some(admitted) = Earlier::of(self, &payment).await?.admit(self, &payment).await? {
                hold.release().await;
                return Ok(admitted);
            }
            hold.looked();
        }
        self.forwarding(&mut hold).await?;
        let forwarded = Forwarded::new(self.gate, self.host, payment.account());
        let purchase = Purchase::of(self, &payment);
        Ok(Admitted::Verified(Box::new(Verified { hold, offer, payment, purchase, forwarded })))
    }

    /// Has a facilitator verify the payment. One that is not good gives the claim back.
    async fn good(&self, hold: Hold<H>, offer: &Offer, payment: &Payment) -> Result<Hold<H>, Refusal> {
        match rail::verify(self.host, self.gate.policy.facilitators(), &self.gate.breakers, offer, payment).await {
            Verdict::Valid { .. } => Ok(hold),
            Verdict::Invalid { reason } => {
                hold.release().await;
                self.gate.counters.payment_failed(self.source.get(), self.host);
                let problem = Problem::new(rail::refusal(&reason), format!("the facilitator refuses it: {reason}"));
                Err(self.challenge(problem, &reason))
            }
            Verdict::Unavailable { .. } => {
                hold.release().await;
                let detail = "no facilitator gave a usable answer; nothing was charged";
                Err(self.gate.unavailable(self.host, detail).into())
            }
        }
    }

    /// Settle before: the money moves, then the request may go. `owed`: an earlier payment of this payer may be had
    /// instead.
    async fn prepay(
        &self,
        mut hold: Hold<H>,
        offer: Offer,
        payment: Payment,
        owed: bool,
    ) -> Result<Admitted<H>, Refusal> {
        if owed {
            hold = self.good(hold, &offer, &payment).await?;
            if let Some(admitted) = Earlier::of(self, &payment).await?.admit(self, &payment).await? {
                hold.release().await;
                return Ok(admitted);
            }
        }
        let serving = self.route.response_timeout_seconds.saturating_add(GRACE);
        let settled = settle(self.gate, self.host, hold, (&offer, &payment), self.visit.name(), serving).await;
        let (mut hold, paid) = settled.map_err(|not_paid| self.refused(not_paid))?;
        if let Some(burnt) = rail::burnt(&offer, &payment, &paid) {
            // What this scheme burns is known only now: another payment may have been the same one in other words.
            let until = self.host.now().saturating_add(BURNT_KEPT);
            if !self.ledger(self.host.store().once(&burnt, until, self.host.now()).await)? {
                let _ = hold.delivered().await;
                return Err(Problem::new(Code::PaymentUsed, "the same transaction has paid for another request").into());
            }
        }
        self.forwarding(&mut hold).await?;
        let purchase = Purchase::of(self, &payment);
        Ok(Admitted::Paid(Box::new(Settled { hold, paid, purchase, before: None })))
    }

    /// Says to the store that the upstream is about to see the request.
    async fn forwarding(&self, hold: &mut Hold<H>) -> Result<(), Refusal> {
        let deadline = self.host.now().saturating_add(self.route.response_timeout_seconds).saturating_add(GRACE);
        self.ledger(hold.forwarding(deadline).await)
    }

    /// A request that was charged and may be served (once more): its buyer has shown to be the one who paid.
    pub(super) fn again(&self, ticket: Ticket, claim: &Claim, payment: &Payment) -> Admitted<H> {
        let hold = Hold::new(self.host, ticket, Money::Settled, Service::Forwarded, self.index(payment, true));
        let paid = Paid::recorded(payment, &claim.transaction, self.menu().answered_by(payment));
        let (purchase, before) = (Purchase::of(self, payment), Some(claim.service));
        Admitted::Paid(Box::new(Settled { hold, paid, purchase, before }))
    }

    /// Where the ledger keeps a claim of this payment that has no good end yet.
    pub(super) fn index(&self, payment: &Payment, looked: bool) -> Option<Index> {
        Index::of(payment, self.binding(payment), self.proven.get(), looked)
    }

    /// What a payment gets that was seen before and is owed no delivery: the token that it bought, if it did.
    pub(super) async fn seen(&self, payment: &Payment, claim: &Claim) -> Result<Admitted<H>, Refusal> {
        match self.bought(payment, claim).await {
            Some(reply) => Ok(Admitted::Answered(Box::new(reply))),
            None => Err(self.known(payment, claim)),
        }
    }

    /// Why a payment that was seen before gets nothing.
    pub(super) fn known(&self, payment: &Payment, claim: &Claim) -> Refusal {
        if claim.binding != self.binding(payment) {
            return Problem::new(Code::PaymentUsed, "the payment was used for another request").into();
        }
        match claim.money {
            Money::None | Money::Settling => {
                Problem::new(Code::PaymentInProgress, "another request with this payment is under way").into()
            }
            Money::Unknown => unknown().into(),
            Money::Settled if claim.in_service(self.host.now()) => {
                Problem::new(Code::PaymentInProgress, "the request that was paid for is still being served").into()
            }
            Money::Settled => Problem::new(Code::PaymentUsed, "the payment was settled for this request before").into(),
            Money::Failed => {
                let problem = Problem::new(Code::SettlementFailed, "the payment was refused when it was to be settled");
                self.challenge(problem, "settlement_failed")
            }
        }
    }

    /// What the request is for.
    fn resource<'u>(&'u self, url: &'u str) -> Resource<'u> {
        Resource { url, description: &self.route.description, mime_type: &self.route.mime_type }
    }

    /// A refusal that says what would be accepted. Without anything to offer, it is a 503: never free.
    pub(super) fn challenge(&self, problem: Problem, error: &str) -> Refusal {
        let menu = self.menu().payable(self.host.now_millis());
        if menu.is_empty() {
            let detail = "none of the route's offers can be made at the moment";
            let mut problem = Problem::new(Code::OffersUnavailable, detail);
            problem.retry_after = menu.wait(self.host.now_millis()).or(problem.retry_after);
            return problem.into();
        }
        let mut nonce = [0; 16];
        let nonce = self.host.random(&mut nonce).is_ok().then(|| crate::crypto::hex::encode(&nonce));
        let request = &self.visit.request;
        let origin = request.origin();
        let scope = Scope { method: request.method(), origin, route: self.visit.name() };
        let identifier = self.route.payment_identifier.map(|wanted| wanted == PaymentIdentifier::Required);
        let fits = |lines: &Vec<(String, String)>| {
            lines.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= CHALLENGE_LIMIT
        };
        let lines = |url: &str| {
            let (resource, nonce) = (self.resource(url), nonce.as_deref());
            let plain = Asking { error, resource, nonce, scope, identifier, signed: None };
            let signed = self.signed(&menu, url);
            let lines = |asking| Some(menu.challenge(&asking)).filter(fits);
            let signed = signed.as_deref().and_then(|signed| lines(Asking { signed: Some(signed), ..plain }));
            signed.or_else(|| lines(plain))
        };
        // The policy made sure that the offers fit; a long query, then a long path, may be too much on top of them.
        let url = request.url();
        match lines(&url).or_else(|| lines(&format!("{origin}{}", request.path()))) {
            Some(headers) => Refusal { problem, headers, body: menu.body(error, self.resource(&url)) },
            None => Problem::new(Code::PathTooLong, "the path leaves no room for a challenge in the headers").into(),
        }
    }

    /// A refusal of a payment that was no good; problems that paying again cannot help come as they are.
    fn refuse(&self, problem: Problem) -> Refusal {
        if problem.code.status() != 402 {
            return problem.into();
        }
        let error = problem.code.wire();
        self.challenge(problem, error)
    }

    /// What a client is told when its payment was not settled.
    pub(super) fn refused(&self, not_paid: NotPaid) -> Refusal {
        match not_paid {
            NotPaid::Problem(problem) => problem.into(),
            NotPaid::Refused { reason, response } => {
                let detail = format!("the facilitator refuses to settle: {reason}");
                let mut refusal = self.challenge(Problem::new(Code::SettlementFailed, detail), &reason);
                refusal.headers.push(response);
                refusal
            }
        }
    }

    /// What a ledger that will not or cannot means for the client.
    pub(super) fn ledger<T>(&self, result: Result<T, StoreError>) -> Result<T, Refusal> {
        result.map_err(|error| {
            if error == StoreError::Full {
                self.host.event(&Event::Claim { state: "refused" });
            }
            Problem::new(Code::LedgerUnavailable, error.to_string()).into()
        })
    }
}

/// Seconds for which it is remembered what a settled payment has burnt, where only its transaction says.
const BURNT_KEPT: u64 = 3600;

impl Gate {
    /// Nobody can be asked: when to come again depends on when somebody will be.
    pub(super) fn unavailable<H: Host>(&self, host: &H, detail: &str) -> Problem {
        let mut problem = Problem::new(Code::FacilitatorUnavailable, detail);
        problem.retry_after = self.breakers.wait(host.now_millis()).or(problem.retry_after);
        problem
    }

    /// Seconds until every facilitator that may be asked has answered or timed out.
    fn longest_verify(&self, offer: &Offer) -> u64 {
        offer
            .facilitators
            .iter()
            .filter_map(|index| self.policy.facilitators().get(usize::from(*index)))
            .fold(0, |sum, facilitator| sum.saturating_add(facilitator.verify_timeout_seconds))
    }
}

/// Where the ledger keeps which claim of a payer for a request has no good end yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    pub(super) id: ClaimId,
    pub(super) binding: Binding,
    /// Whether what was there before has been looked at, so that this payment may take its place.
    pub(super) looked: bool,
}

impl Index {
    /// For the payer of `payment`, if the payment itself says who that is. What is not `proven` to be signed by that
    /// payer's key may be anybody's, and never stands in the way of what is.
    pub(super) fn of(payment: &Payment, binding: Binding, proven: bool, looked: bool) -> Option<Self> {
        let account = payment.account()?;
        let kind: &[u8] = if proven { b"unresolved\0" } else { b"unresolved, unproven\0" };
        let id = ClaimId(crate::crypto::sha256(&[kind, &binding.0, account.as_bytes()]));
        Some(Self { id, binding, looked })
    }
}
