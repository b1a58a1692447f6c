//! Whether a request may go on the token that it shows. Cheap checks first; a token that was seen before costs no
//! signature check of its own.

use super::super::admit::{Admitted, Case};
use super::super::limits::Forwarded;
use super::super::refusal::Refusal;
use super::documents;
use super::drawn::Drawing;
use crate::crypto::keys::PublicKey;
use crate::host::{BodyError, Host};
use crate::http::Headers;
use crate::ledger::{Drawn, Store};
use crate::mutant;
use crate::policy::{Tokens, method};
use crate::problem::{Code, Problem};
use crate::proof::{self, Bound, ProofError, Reason, Shown, Window};
use crate::rail;
use crate::token::{Allowed, Call, Chain, Constraint, Per, TokenError, Unit};
use std::cell::OnceCell;
use std::rc::Rc;

/// Seconds that clocks may differ.
pub(super) const SKEW: u64 = 30;

impl<H: Host> Case<'_, H> {
    /// Decides on a request with a token.
    pub(in crate::gate) async fn draw(
        &self,
        tokens: &Tokens,
        shown: &Shown<'_>,
        headers: &Headers,
    ) -> Result<Admitted<H>, Refusal> {
        let chain = self.chain(tokens, shown).await?;
        let call = Call {
            origin: self.visit.request.origin(),
            method: self.visit.request.method(),
            path: self.visit.request.path(),
            route: &self.route.name,
            cost: &[],
        };
        let cost = self.cost(&chain, &call);
        let call = Call { cost: &cost, ..call };
        let call = if mutant::is("loose_grants") { anywhere(&chain, call) } else { call };
        let allowed = chain.authorises(&call).map_err(|error| self.refuse_token(&error))?;
        let body = self.prove(tokens, shown, &chain, headers).await?;
        // Whoever may delegate makes as many tokens as it likes: they count as one.
        let account = &chain.root().name;
        if !self.gate.counters.may_forward(account, self.host) {
            let detail = "too many requests with this token were forwarded and not charged";
            return Err(Problem::new(Code::TooManyRequests, detail).into());
        }
        let too_many = |_| Problem::new(Code::TokenScope, "the token has more limits than are counted for one call");
        let limits = || allowed.links().flat_map(|(_, _, grant)| &grant.limits);
        let counted = limits().any(|limit| limit.per != Per::Call) && !mutant::is("no_draw");
        let lifelong = limits().any(|limit| limit.per == Per::Token);
        if self.has_lost(tokens, &chain, lifelong).await? {
            let problem = Problem::new(Code::LedgerLost, "what this token was used for is not known any more");
            return Err(self.challenge(problem, Code::LedgerLost.wire()));
        }
        let reservation = match counted {
            false => None,
            true => {
                let draw = allowed.draw(SKEW).map_err(too_many)?;
                match self.ledger(self.host.store().reserve(draw, self.host.now_millis()).await)? {
                    Drawn::Reserved(reservation) => Some(reservation),
                    refused => return Err(self.refuse_draw(&refused, &allowed)),
                }
            }
        };
        let (bytes, most_bytes) = (allowed.used(&Unit::Byte, 0), allowed.most(&Unit::Byte));
        let forwarded = Forwarded::new(self.gate, self.host, Some(account.to_string()));
        let written = self.gate.policy.audit().map(|_| (Rc::clone(self.gate), self.route.name.clone()));
        let drawing = Drawing {
            host: self.host.clone(),
            chain: Rc::clone(&chain),
            in_authorization: shown.field == proof::AUTHORIZATION,
            body,
            most_bytes,
            reservation,
            bytes,
            sent: None,
            cost,
            forwarded: Some(forwarded),
            written,
            remaining: OnceCell::new(),
            went: false,
        };
        Ok(Admitted::Drawn(Box::new(drawing)))
    }

    /// Whether the ledger that this token was drawn from is gone, and with it what was drawn and revoked. It matters for
    /// tokens with limits over their lives, and for any that says which ledger it belongs to.
    pub(super) async fn has_lost(&self, tokens: &Tokens, chain: &Chain, lifelong: bool) -> Result<bool, Refusal> {
        let stated = chain.root().token.epoch;
        if !(lifelong || stated.is_some()) || tokens.honours_lost || mutant::is("no_epoch") {
            return Ok(false);
        }
        Ok(stated != Some(self.ledger(self.host.store().epoch().await)?))
    }

    /// The chain that the request shows, if it is good.
    pub(in crate::gate) async fn chain(&self, tokens: &Tokens, shown: &Shown<'_>) -> Result<Rc<Chain>, Refusal> {
        let now = self.host.now();
        let chain = self.read(tokens, shown.credential)?;
        chain.check_time(now, SKEW).map_err(|error| self.refuse_token(&error))?;
        let Some(desk) = &self.gate.desk else { return Err(self.refuse_token(&TokenError::UnknownKey)) };
        if self.ledger(desk.is_revoked(self.host, tokens, &chain).await)? && !mutant::is("no_revocation") {
            return Err(Problem::new(Code::TokenRevoked, "the token was revoked").into());
        }
        Ok(chain)
    }

    /// Checks that the request proves to hold the chain, and that it has not done so before; SHA-256 of the body that
    /// the proof is about.
    pub(in crate::gate) async fn prove(
        &self,
        tokens: &Tokens,
        shown: &Shown<'_>,
        chain: &Chain,
        headers: &Headers,
    ) -> Result<Option<[u8; 32]>, Refusal> {
        let now = self.host.now();
        let leaf = &chain.leaf().token;
        let bound = match &leaf.cnf {
            None if leaf.exp.saturating_sub(leaf.iat) > tokens.bearer_max_seconds => {
                let detail = "a token that is bound to no key is not accepted for that long";
                return Err(self.unauthorized(Problem::new(Code::TokenInvalid, detail)));
            }
            None => Bound::Nothing,
            Some(holder) => holder.key.as_ref().map_or(Bound::Thumbprint(&holder.thumbprint), Bound::Key),
        };
        let origin = self.visit.request.origin();
        let request = self.request(origin, headers);
        let window = Window { now, seconds: tokens.proof_window_seconds };
        let proven = proof::verify(shown, bound, &request, headers, window).map_err(|e| self.refuse_proof(&e))?;
        for identity in &proven.once {
            if !self.ledger(self.host.store().once(identity, proven.until, now).await)? {
                return Err(self.refuse_proof(&ProofError::replayed()));
            }
        }
        Ok(proven.body)
    }

    /// The key that the paying request introduces: what the payment buys is bound to it.
    pub(in crate::gate) fn introduced(&self, headers: &Headers) -> Result<Option<PublicKey>, Refusal> {
        let Some(tokens) = self.gate.policy.tokens() else { return Ok(None) };
        let Some(field) = rail::field(headers) else { return Ok(None) };
        let origin = self.visit.request.origin();
        let window = Window { now: self.host.now(), seconds: tokens.proof_window_seconds };
        let introduced = proof::introduced(field, &self.request(origin, headers), headers, window);
        // Replayed, it introduces the same key beside the same payment, which is claimed once.
        introduced.map(|it| it.map(|it| it.key)).map_err(|error| self.refuse_proof(&error))
    }

    /// The request as a proof is about it.
    pub(in crate::gate) fn request<'r>(&'r self, origin: &'r str, headers: &'r Headers) -> proof::Request<'r> {
        let length = headers.text("content-length");
        let has_body = length.map_or_else(|| !method::is_bodiless(self.visit.request.method()), |length| length != "0");
        proof::Request {
            method: self.visit.request.method(),
            origin,
            // What the client signed is what it sent, in whatever spelling; what was judged is the canonical path of it.
            target: headers.text(":path").unwrap_or_else(|| self.visit.request.target()),
            has_body: has_body || headers.first("transfer-encoding").is_some(),
        }
    }

    fn read(&self, tokens: &Tokens, credential: &str) -> Result<Rc<Chain>, Refusal> {
        let Some(desk) = &self.gate.desk else { return Err(self.refuse_token(&TokenError::UnknownKey)) };
        if let Some(known) = desk.known(credential) {
            return Ok(known);
        }
        if !self.gate.counters.may_pay(self.source.get(), self.host) {
            let detail = "too many credentials from this address were no good";
            return Err(Problem::new(Code::TooManyRequests, detail).into());
        }
        desk.verify(self.host, tokens, credential, SKEW).map_err(|error| {
            if error != TokenError::Expired {
                self.gate.counters.payment_failed(self.source.get(), self.host);
            }
            self.refuse_token(&error)
        })
    }

    /// Compares a body with the digest that a proof covers.
    pub(in crate::gate) fn check_body(
        &self,
        digest: &[u8; 32],
        body: Result<Vec<u8>, BodyError>,
    ) -> Result<(), Refusal> {
        let unread = |why: &str| {
            let detail = format!("the body that the proof covers could not be read: {why}");
            self.unauthorized(Problem::new(Code::ProofInvalid, detail))
        };
        match body {
            Ok(body) => proof::digest::check(digest, &body).map_err(|error| self.refuse_proof(&error)),
            Err(BodyError::TooLarge) => Err(unread("it is too large")),
            Err(BodyError::Unsupported) => Err(unread("the proxy does not give it")),
        }
    }

    /// What a call of this route draws: of several assets that it has a price in, the first that the token may spend.
    fn cost(&self, chain: &Chain, call: &Call<'_>) -> Vec<(Unit, u128)> {
        let prices = &self.route.call_prices;
        let with = |price: Option<&(Unit, u128)>| -> Vec<(Unit, u128)> {
            [(Unit::Call, 1), (Unit::Byte, 1)].into_iter().chain(price.cloned()).collect()
        };
        let others = if prices.len() > 1 { prices.as_slice() } else { &[] };
        let mut costs = others.iter().map(|price| with(Some(price)));
        costs.find(|cost| chain.authorises(&Call { cost, ..*call }).is_ok()).unwrap_or_else(|| with(prices.first()))
    }

    pub(super) fn refuse_token(&self, error: &TokenError) -> Refusal {
        let code = match error {
            // Where holders ask about their tokens there is nothing to pay for.
            TokenError::Expired if std::ptr::eq(self.route, &self.gate.own) => Code::TokenInvalid,
            TokenError::Expired => Code::TokenExpired,
            TokenError::NotYetValid => Code::TokenNotYetValid,
            TokenError::NotGranted | TokenError::CallLimit | TokenError::WrongAudience => Code::TokenScope,
            _ => Code::TokenInvalid,
        };
        let problem = Problem::new(code, error.to_string());
        match code.status() {
            401 => self.unauthorized(problem),
            402 => self.challenge(problem, code.wire()),
            _ => problem.into(),
        }
    }

    pub(in crate::gate) fn refuse_proof(&self, error: &ProofError) -> Refusal {
        let code = match error.reason {
            Reason::CredentialAmbiguous => Code::CredentialAmbiguous,
            Reason::CredentialMalformed => Code::TokenInvalid,
            Reason::ProofMissing => Code::ProofRequired,
            Reason::ProofReplayed => Code::ProofReplayed,
            _ => Code::ProofInvalid,
        };
        let problem = Problem::new(code, error.to_string());
        if code.status() == 401 { self.unauthorized(problem) } else { problem.into() }
    }

    /// A refusal that says by which schemes a token may be shown (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1).
    pub(super) fn unauthorized(&self, problem: Problem) -> Refusal {
        let error = match problem.code {
            Code::ProofRequired | Code::ProofInvalid | Code::ProofReplayed => "invalid_dpop_proof",
            _ => "invalid_token",
        };
        let metadata = format!("{}{}", self.visit.request.origin(), documents::METADATA);
        let mut refusal = Refusal::from(problem);
        for scheme in ["HTTPSig", "DPoP", "Bearer"] {
            let (error, more) = match scheme {
                "DPoP" => (error, ", algs=\"EdDSA Ed25519 ES256K\""),
                _ => ("invalid_token", ""),
            };
            let value = format!("{scheme} error=\"{error}\"{more}, resource_metadata=\"{metadata}\"");
            refusal.headers.push(("www-authenticate".to_owned(), value));
        }
        refusal
    }

    fn refuse_draw(&self, refused: &Drawn, allowed: &Allowed<'_>) -> Refusal {
        match refused {
            Drawn::TooFast { link, counter, period, retry_after_millis: Some(millis) } => {
                let seconds = millis.div_ceil(1000).max(1);
                let mut problem = Problem::new(Code::TokenRate, "calls with this token come faster than it allows");
                problem.retry_after = Some(seconds);
                let mut refusal = Refusal::from(problem);
                refusal.headers.push(("ratelimit".to_owned(), format!("\"token\";r=0;t={seconds}")));
                if let Some(rate) = allowed.rate(*link, *counter, *period).filter(|rate| !rate.unit.is_asset()) {
                    let unit = if rate.unit == Unit::Byte { ";qu=\"content-bytes\"" } else { "" };
                    let policy = format!("\"token\";q={}{unit};w={period}", rate.max);
                    refusal.headers.push(("ratelimit-policy".to_owned(), policy));
                }
                refusal
            }
            Drawn::TooFast { .. } => {
                Problem::new(Code::TokenScope, "one such call is more than the token's whole rate").into()
            }
            Drawn::TooManyChildren => {
                Problem::new(Code::TooManyRequests, "too many tokens delegated from this one are in use").into()
            }
            Drawn::Exhausted { .. } | Drawn::Expired | Drawn::Reserved(_) => {
                let code = if matches!(refused, Drawn::Expired) { Code::TokenExpired } else { Code::TokenExhausted };
                let problem = Problem::new(code, "too little is left on the token for this call");
                self.challenge(problem, code.wire())
            }
        }
    }
}

/// The call as the widest link of the chain would have it: a fault for `prove --self-check`.
fn anywhere<'a>(chain: &'a Chain, call: Call<'a>) -> Call<'a> {
    let grants = chain.links().flat_map(|link| &link.token.grants);
    let prefix = grants.flat_map(|grant| &grant.constraints).find_map(|constraint| match constraint {
        Constraint::PathPrefix(prefix) => Some(prefix.as_str()),
        _ => None,
    });
    Call { path: prefix.unwrap_or(call.path), ..call }
}
