//! Tokens given for payments: passes that were bought, and credits for charged calls that failed.
//!
//! One claim yields one token, ever. Everything in it derives from the claim and from the terms of what was bought, so
//! that whoever shows the payment's secret again gets the very same token, and nobody gets another.

use super::super::admit::Case;
use super::super::hold::Hold;
use super::super::{Gate, Visit, trail};
use super::documents::json_reply;
use crate::crypto::base64url;
use crate::crypto::keys::PublicKey;
use crate::crypto::sha256;
use crate::host::{Event, Host, Level};
use crate::http::Reply;
use crate::ledger::{Binding, Claim, ClaimId, Claimed, Money, NewClaim, Store, Ticket, Yield, Yielded};
use crate::policy::{Pass, PassLimits, Signer, Tokens, grant};
use crate::rail::{Paid, Payment};
use crate::receipt::{Entry, Kind};
use crate::token::{Holder, Token, TokenError, issue};
use serde_json::json;

/// Seconds that a credit is good for, unless the policy gives bearer tokens less.
const CREDIT_SECONDS: u64 = 24 * 3600;

/// What a payment buys besides its call.
#[derive(Clone, Debug)]
pub(in crate::gate) struct Purchase {
    /// The token it buys; `None`: nothing.
    pub(in crate::gate) pass: Option<Pass>,
    /// Whom a token is bound to.
    pub(in crate::gate) holder: Option<PublicKey>,
    /// What the paying request states of its body, for the receipt.
    pub(in crate::gate) digest: Option<String>,
}

impl Purchase {
    /// What `payment` buys.
    pub(in crate::gate) fn of<H: Host>(case: &Case<'_, H>, payment: &Payment) -> Self {
        let pass = case.menu().answered_by(payment).and_then(|offer| offer.pass.clone());
        Self { pass, holder: case.holder, digest: case.digest.clone() }
    }

    /// Gives the token for a settled claim, and says so in the settlement header. `None` if there is none to give: the
    /// policy signs nothing, or the claim has yielded another.
    pub(in crate::gate) async fn give<H: Host>(
        &self,
        gate: &Gate,
        host: &H,
        visit: &Visit<'_>,
        hold: &Hold<H>,
        kind: Yielded,
        paid: &mut Paid,
    ) -> Option<Given> {
        let (tokens, signer) = signer(gate)?;
        let ticket = hold.ticket()?;
        let payer = paid.payer.clone();
        let making = Making { tokens, visit, purchase: self, kind, payer: payer.as_deref() };
        let failed = |error: &dyn std::fmt::Display| {
            let text = format!("no token was given for a payment that bought one: {error}");
            host.event(&Event::Log { level: Level::Error, text: &text });
        };
        let store = host.store();
        let epoch = store.epoch().await.map_err(|error| failed(&error)).ok()?;
        let settled_at = match store.claim(&ticket.id, &LOOK, host.now()).await {
            Ok(Claimed::Known(claim)) if claim.money == Money::Settled => claim.settled_at,
            _ => {
                failed(&"the claim is not on record as settled");
                return None;
            }
        };
        let what = Yield { kind, terms: making.terms(epoch) };
        let given = store.yield_once(ticket, &what, host.now()).await.map_err(|error| failed(&error)).ok()?;
        if given != what {
            failed(&"the claim has yielded another");
            return None;
        }
        let token = making.sign(signer, &ticket.id, settled_at, &paid.transaction, epoch);
        let token = token.map_err(|error| failed(&error)).ok()?;
        paid.extend("farebox", json!({ "info": { "token": token } }));
        Some(Given { token, jti: jti(&ticket.id, epoch), kind })
    }
}

/// Asks only what is known of a claim.
const LOOK: NewClaim = NewClaim {
    binding: Binding([0; 16]),
    secret: [0; 16],
    deadline: 0,
    expires: 0,
    checked: false,
    repeatable: false,
    proven: false,
    window: 0,
};

/// A token that was given for a payment.
pub(in crate::gate) struct Given {
    /// The token.
    pub(in crate::gate) token: String,
    /// Its id.
    pub(in crate::gate) jti: String,
    /// What it is for.
    pub(in crate::gate) kind: Yielded,
}

/// The id of the token that this claim yields.
fn jti(claim: &ClaimId, epoch: [u8; 16]) -> String {
    base64url::encode(&first::<16>(&sha256(&[b"token\0", &epoch, &claim.0])))
}

impl<H: Host> Case<'_, H> {
    /// The token that this payment has bought, for whoever shows its secret: the one that was given for it, or a pass
    /// whose exchange ended before it was given.
    pub(in crate::gate) async fn bought(&self, payment: &Payment, claim: &Claim) -> Option<Reply> {
        let (tokens, signer) = signer(self.gate)?;
        let purchase = Purchase::of(self, payment);
        let kind = match claim.yielded {
            Some(yielded) => yielded.kind,
            None if purchase.pass.is_some() && !claim.in_service(self.host.now()) => Yielded::Pass,
            None => return None,
        };
        let look = self.look(payment);
        if claim.money != Money::Settled || claim.binding != look.binding || !claim.shares_secret(&look) {
            return None;
        }
        let mut paid = Paid::recorded(payment, &claim.transaction, self.menu().answered_by(payment));
        let payer = paid.payer.clone();
        let making = Making { tokens, visit: self.visit, purchase: &purchase, kind, payer: payer.as_deref() };
        let (store, id) = (self.host.store(), payment.claim_id());
        let epoch = store.epoch().await.ok()?;
        let what = Yield { kind, terms: making.terms(epoch) };
        let yielded = match claim.yielded {
            Some(yielded) => yielded,
            None => {
                let ticket = Ticket { id, generation: claim.generation };
                store.yield_once(&ticket, &what, self.host.now()).await.ok()?
            }
        };
        if yielded != what {
            return None;
        }
        let token = making.sign(signer, &id, claim.settled_at, &claim.transaction, epoch).ok()?;
        if claim.yielded.is_none() {
            let (jti, claim) = (jti(&id, epoch), trail::claim_name(&id));
            let entry = Entry {
                claim: Some(&claim),
                payer: payer.as_deref(),
                tok: Some(&jti),
                ..Entry::new(Kind::Issue, self.visit.name())
            };
            self.gate.record(self.host, &entry);
        }
        paid.extend("farebox", json!({ "info": { "token": token } }));
        let mut reply = json_reply(&json!({ "capability_token": token }), "no-store");
        reply.headers.push(("capability-token".to_owned(), token));
        reply.headers.push((paid.header.to_owned(), paid.response()));
        reply.details = "token_given_again";
        Some(reply)
    }
}

fn signer(gate: &Gate) -> Option<(&Tokens, &Signer)> {
    let tokens = gate.policy().tokens()?;
    tokens.signer.as_ref().map(|signer| (tokens, signer))
}

/// A token in the making.
struct Making<'a> {
    tokens: &'a Tokens,
    visit: &'a Visit<'a>,
    purchase: &'a Purchase,
    kind: Yielded,
    payer: Option<&'a str>,
}

impl Making<'_> {
    /// Hash of everything that it says and that does not derive from the claim.
    fn terms(&self, epoch: [u8; 16]) -> [u8; 8] {
        let token = self.token(&ClaimId([0; 32]), 0, "", epoch);
        first(&sha256(&[token.to_value().to_string().as_bytes()]))
    }

    fn sign(
        &self,
        signer: &Signer,
        claim: &ClaimId,
        settled_at: u64,
        transaction: &str,
        epoch: [u8; 16],
    ) -> Result<String, TokenError> {
        issue(&signer.key, &self.token(claim, settled_at, transaction, epoch))
    }

    fn token(&self, claim: &ClaimId, settled_at: u64, transaction: &str, epoch: [u8; 16]) -> Token {
        let jti = jti(claim, epoch);
        let (holder, origin) = (self.purchase.holder, self.visit.request.origin());
        let payer = self.payer.map_or_else(|| format!("urn:farebox:claim:{jti}"), str::to_owned);
        let (grant, seconds, delegations) = match (&self.purchase.pass, self.kind) {
            (Some(pass), Yielded::Pass) => {
                let limits = if holder.is_some() { &pass.limits } else { pass.bearer.as_ref().unwrap_or(&pass.limits) };
                (pass.grant(origin, limits), limits.seconds, pass.delegations)
            }
            _ => {
                let route = [self.visit.name().to_owned()];
                let methods = self.visit.route.map(|route| route.methods.as_slice()).unwrap_or_default();
                let seconds = CREDIT_SECONDS.min(self.tokens.bearer_max_seconds);
                let one = PassLimits { calls: Some(1), budget: None, bytes: None, seconds, rate: None };
                (grant(origin, &route, methods, &one, ""), seconds, 0)
            }
        };
        Token {
            iss: self.tokens.issuer.clone(),
            aud: vec![origin.to_owned()],
            client_id: Some(holder.map_or_else(|| payer.clone(), |key| key.thumbprint_urn())),
            sub: Some(payer),
            iat: settled_at,
            nbf: Some(settled_at),
            exp: settled_at.saturating_add(seconds),
            jti,
            cnf: holder.map(Holder::of),
            grants: vec![grant],
            del_depth: 0,
            del_max_depth: (holder.is_some() && delegations > 0).then_some(delegations),
            par_hash: None,
            txn: (!transaction.is_empty()).then(|| self.txn(transaction)),
            epoch: Some(epoch),
            scope: None,
            status: None,
            act: None,
        }
    }

    /// The payment's transaction, after its network.
    fn txn(&self, transaction: &str) -> String {
        let network = self.payer.and_then(|payer| payer.rsplit_once(':')).map(|(network, _)| network);
        network.map_or_else(|| transaction.to_owned(), |network| format!("{network}:{transaction}"))
    }
}

/// The first `N` bytes of a hash.
pub(in crate::gate) fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(hash) {
        *to = *from;
    }
    out
}
