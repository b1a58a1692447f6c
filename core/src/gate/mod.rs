//! One exchange, from request to receipt.
//!
//! [`Gate::serve`] is the whole story; each step has its module:
//!
//! | step | module |
//! |---|---|
//! | which credential, is it good, whose claim is it | `admit` |
//! | what an earlier payment means for this one | `earlier` |
//! | what one source or payer may cost | `limits` |
//! | a claim in our hands, and what happens when we are dropped | `hold` |
//! | the money call, which outlives its exchange | `settle` |
//! | what became of the service, the receipt | `conclude` |
//! | refusals and challenges as HTTP | `refusal` |
//! | offers that are signed, and how often | `signed` |
//! | header fields that are ours alone, in both directions | `owned` |
//! | browsers | `cors` |
//! | capability tokens: shown, given, asked about | `token` |
//! | receipts, and the audit log | `trail` |
//! | unknown outcomes, found out | `reconcile` |
//! | work between exchanges | `tend` |

mod admit;
mod conclude;
mod cors;
mod earlier;
mod hold;
mod limits;
mod owned;
mod reconcile;
mod refusal;
mod settle;
mod signed;
mod tend;
#[cfg(test)]
mod tests;
mod token;
mod trail;

use crate::host::{Capabilities, Done, Event, Exchange, Fact, Held, Host};
use crate::http::{Edits, Reply};
use crate::mutant;
use crate::policy::{Access, CanonicalRequest, DefaultAccess, Mistakes, Policy, Route, Routed};
use crate::problem::{Code, Problem};
use crate::rail::{Breakers, Knowledge, Menu};
use crate::receipt::{Entry, Kind};
use admit::{Admitted, Case};
use limits::{Counters, Source};
use refusal::{Form, Refusal};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use trail::Trail;

/// The seller side: one policy, ready to decide exchanges. Each worker has its own.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    known: RefCell<Knowledge>,
    breakers: Rc<Breakers>,
    /// Menus by route name, made at first use, dropped when knowledge changes.
    menus: RefCell<HashMap<String, Rc<Menu>>>,
    counters: Counters,
    /// What is remembered of capability tokens; `None` if the policy has none.
    desk: Option<token::Desk>,
    /// Where requests about tokens themselves belong.
    own: Route,
    trail: Trail,
    signed: signed::Signed,
}

impl Gate {
    /// Reads and compiles a policy.
    ///
    /// `env` looks up the variables that the policy names for secrets; `can` is what this host's configuration allows.
    ///
    /// # Errors
    /// Every mistake found, each with the path of the field, what was found and what is allowed.
    pub fn load(json: &[u8], env: &dyn Fn(&str) -> Option<String>, can: Capabilities) -> Result<Self, Mistakes> {
        let policy = match Policy::load(json, env, can) {
            Err(_) if mutant::is("accept_mistakes") => Policy::load(NOTHING, env, can)?,
            loaded => loaded?,
        };
        let known = RefCell::new(vec![None; policy.facilitators().len()]);
        let counters = Counters::new(policy.limits());
        let breakers = Rc::new(Breakers::new(policy.facilitators()));
        let desk = policy.tokens().map(|_| token::Desk::default());
        Ok(Self {
            policy,
            known,
            breakers,
            menus: RefCell::default(),
            counters,
            desk,
            own: Route::own(OWN),
            trail: Trail::default(),
            signed: signed::Signed::default(),
        })
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides one exchange.
    pub async fn serve<H: Host, E: Exchange>(self: Rc<Self>, host: H, mut exchange: E) -> Done {
        let request = match self.policy.canonical(exchange.headers()) {
            Ok(request) => request,
            Err(_) if mutant::is("loose_paths") => {
                return exchange.forward(Edits::default()).await.release(Edits::default());
            }
            Err(bad) => return self.refuse(&host, exchange, UNMATCHED, Problem::from(bad).into()),
        };
        if let Some(reply) = cors::preflight(&self.policy, exchange.headers()) {
            decided(&host, &exchange_notes(&exchange), UNMATCHED, "preflight");
            return exchange.reply(reply);
        }
        if let Some(answer) = self.about_tokens(&host, &request, &exchange).await {
            return match answer {
                Ok(reply) => self.answer(&host, exchange, OWN, reply),
                Err(refusal) => self.refuse(&host, exchange, OWN, refusal),
            };
        }
        let visit = match self.visit(request) {
            Ok(visit) => visit,
            Err(refusal) => return self.refuse(&host, exchange, UNMATCHED, refusal),
        };
        let source = || exchange.source().to_owned();
        let mut admitted = match self.admit(&host, &visit, exchange.headers(), source).await {
            Ok(Admitted::Answered(reply)) => return self.answer(&host, exchange, visit.name(), *reply),
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse(&host, exchange, visit.name(), refusal),
        };
        if let Some((digest, limit)) =
            admitted.body().zip(self.policy.tokens().and_then(|tokens| tokens.max_body_bytes))
        {
            let body = exchange.body(limit).await;
            let source = Source::new(&String::new);
            let route = visit.route.unwrap_or(&self.own);
            let case = Case::new(&self, &host, &visit, route, &source);
            if let Err(refusal) = case.check_body(&digest, body) {
                return self.refuse(&host, exchange, visit.name(), refusal);
            }
        }
        let form = Form::of(exchange.headers());
        let mut response_edits = cors::edits(&self.policy, exchange.headers());
        let elsewhere = self.policy.tokens().filter(|_| !admitted.takes_authorization(&visit));
        let mut upstream_edits = owned::towards_upstream(exchange.headers(), &visit.request, elsewhere);
        admitted.forwarding(&visit, self.policy.tokens(), &mut upstream_edits);
        let held = exchange.forward(upstream_edits).await;
        owned::strip_from_response(held.headers(), &mut response_edits);
        match admitted.conclude(&self, &host, &visit, &held).await {
            Ok(mut outcome) => {
                outcome.note(&held);
                decided(&host, &held_notes(&held), visit.name(), outcome.decision);
                let kept = outcome.if_kept();
                response_edits.0.extend(outcome.edits.0);
                if mutant::is("late_release") {
                    host.sleep(1000).await;
                }
                held.release_or(response_edits, kept)
            }
            Err(refusal) => {
                let decision = refusal.problem.code.wire();
                decided(&host, &held_notes(&held), visit.name(), decision);
                self.record_refusal(&host, visit.name(), &refusal);
                let mut reply = refusal.reply(form);
                cors::extend(&mut reply, &response_edits);
                held.reply(reply)
            }
        }
    }

    /// Finds the route of a request.
    fn visit(&self, request: CanonicalRequest) -> Result<Visit<'_>, Refusal> {
        match self.policy.route(&request) {
            Routed::Route(route) => Ok(Visit { request, route: Some(route) }),
            Routed::Unmatched(DefaultAccess::Free) => Ok(Visit { request, route: None }),
            Routed::Unmatched(DefaultAccess::Denied) => {
                Err(Problem::new(Code::NoRoute, "no route of the policy matches").into())
            }
            Routed::MethodNotAllowed { allow } => Err(Refusal::method_not_allowed(allow)),
        }
    }

    /// What can be offered on `route` now.
    fn menu(&self, route: &Route) -> Rc<Menu> {
        let Access::Priced(offers) = &route.access else { return Rc::default() };
        if let Some(menu) = self.menus.borrow().get(&route.name) {
            return Rc::clone(menu);
        }
        let menu = Rc::new(Menu::of(offers, &self.known.borrow(), &self.breakers));
        self.menus.borrow_mut().insert(route.name.clone(), Rc::clone(&menu));
        menu
    }

    /// Answers a request about tokens themselves, if it is one: keys, metadata, a holder's or an administrator's question.
    async fn about_tokens<H: Host, E: Exchange>(
        self: &Rc<Self>,
        host: &H,
        request: &CanonicalRequest,
        exchange: &E,
    ) -> Option<Result<Reply, Refusal>> {
        let tokens = self.policy.tokens()?;
        let admin = tokens.admin.as_ref().filter(|it| it.path == request.path() && it.origin == request.origin());
        if admin.is_none() && !request.path().starts_with("/.well-known/") {
            return None;
        }
        if let Some(document) = token::documents::answer(host, tokens, request).await {
            return Some(document);
        }
        if admin.is_none() && request.path() != token::inquiry::OWN {
            return None;
        }
        let visit = Visit { request: request.clone(), route: Some(&self.own) };
        let source = || exchange.source().to_owned();
        let source = &Source::new(&source);
        let case = Case::new(self, host, &visit, &self.own, source);
        Some(match admin {
            Some(admin) => case.administer(admin, exchange.headers()).await,
            None => case.own_token(tokens, exchange.headers()).await,
        })
    }

    fn answer<H: Host, E: Exchange>(&self, host: &H, exchange: E, route: &str, mut reply: Reply) -> Done {
        decided(host, &exchange_notes(&exchange), route, reply.details);
        cors::extend(&mut reply, &cors::edits(&self.policy, exchange.headers()));
        exchange.reply(reply)
    }

    fn record_refusal<H: Host>(&self, host: &H, route: &str, refusal: &Refusal) {
        if self.policy.audit().is_some() {
            let code = refusal.problem.code;
            let entry =
                Entry { code: Some(code.wire()), status: Some(code.status()), ..Entry::new(Kind::Refusal, route) };
            self.record(host, &entry);
        }
    }

    fn refuse<H: Host, E: Exchange>(&self, host: &H, exchange: E, route: &str, refusal: Refusal) -> Done {
        decided(host, &exchange_notes(&exchange), route, refusal.problem.code.wire());
        self.record_refusal(host, route, &refusal);
        let mut reply = refusal.reply(Form::of(exchange.headers()));
        cors::extend(&mut reply, &cors::edits(&self.policy, exchange.headers()));
        exchange.reply(reply)
    }
}

/// A policy that denies everything.
const NOTHING: &[u8] = br#"{"version":1,"origins":["http://localhost"],"default":"denied","routes":[]}"#;

/// Route name of requests about tokens themselves.
const OWN: &str = "farebox";
/// Route name of exchanges that belong to none.
const UNMATCHED: &str = "unmatched";

/// A request that has found its route.
struct Visit<'a> {
    request: CanonicalRequest,
    /// `None`: no route matches, and the policy lets the rest through.
    route: Option<&'a Route>,
}

impl Visit<'_> {
    fn name(&self) -> &str {
        self.route.map_or(UNMATCHED, |route| &route.name)
    }
}

fn exchange_notes<E: Exchange>(exchange: &E) -> impl Fn(Fact, &str) {
    |fact, value| exchange.note(fact, value)
}

fn held_notes<R: Held>(held: &R) -> impl Fn(Fact, &str) {
    |fact, value| held.note(fact, value)
}

/// Counts a decision and leaves it for the access log.
fn decided<H: Host>(host: &H, note: &impl Fn(Fact, &str), route: &str, decision: &'static str) {
    note(Fact::Route, route);
    note(Fact::Decision, decision);
    host.event(&Event::Exchange { route, decision });
}
