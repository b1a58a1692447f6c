//! Tokens that were bought or given: which there are, which one a call is made with, and what is left of each.
//!
//! A token is preferred to paying wherever its grant covers the request. The seller's gate alone knows what is left of it;
//! what is kept here is what it said last, less what was used since.
//!
//! | question | where it is decided |
//! |---|---|
//! | which tokens are kept | [`Wallet`], with the counters in their store |
//! | whether a token that came is what was sold | [`judge`] |
//! | which token a call is made with, and when the next one is bought | `pick` |
//! | what is left | `left` |
//! | how a token is shown, and that the key is held | `show` |
//! | what the seller's answer says of it | `verdict` |
//! | narrower tokens for sub-agents | [`Delegation`] |

mod delegate;
mod left;
mod pick;
mod show;
mod verdict;

pub(super) use delegate::delegate;
pub use delegate::{Delegation, NotDelegated};
pub use left::Left;
pub(super) use left::limits;
pub(super) use pick::{Memory, Picked};
pub(super) use show::{Parts, introduce, present};
pub(super) use verdict::{Said, said};

use super::answer::Reply;
use super::challenge::Terms;
use super::counters::Reservation;
use super::receipt::SKEW;
use crate::http::Headers;
use crate::proof::CAPABILITY_TOKEN;
use crate::token::{Chain, Issuer, Per, TokenError, Unit};
use serde::{Deserialize, Serialize};

/// Tokens that are kept at most. Beyond, the one that expires first is dropped.
pub const MAX_TOKENS: usize = 64;
/// Seconds by which a token may be good for less than was sold: the seller counts from the settlement.
const TIME_LOST: u64 = 300;

/// The tokens that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Held>,
}

/// A token that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    /// The credential: `root~delegation~…`.
    pub(super) token: String,
    /// Unix seconds at which it came.
    pub(super) at: u64,
    /// Unix seconds from which on it is good no more.
    pub(super) expires: u64,
    /// Origin and path that it came from: it is good there whatever the seller calls the route.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    /// What was left when it was last written down; what it limits, if nothing was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<Left>,
}

/// A token, for people and programs to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name: the ids of its links, joined by `~`.
    pub id: String,
    /// Origins it is for.
    pub origins: Vec<String>,
    /// Methods it is for.
    pub methods: Vec<String>,
    /// Unix seconds from which on it is no longer good.
    pub expires: u64,
    /// Thumbprint (RFC 7638) of the key that it is bound to; `None`: whoever has it can use it.
    pub holder: Option<String>,
    /// What is left of its budgets, as far as is known.
    pub left: Vec<Left>,
    /// How many levels of delegations can still be made from it.
    pub delegations: u64,
}

/// A call with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The token's name.
    pub id: String,
    /// What is left of its budgets, as the gate says.
    pub left: Vec<Left>,
}

impl TokenInfo {
    /// What a credential says. Nobody has verified it.
    ///
    /// # Errors
    /// Why it is no token.
    pub fn of(token: &str) -> Result<Self, TokenError> {
        let chain = Chain::inspect(token)?;
        Ok(Self::of_chain(&chain, limits(&chain)))
    }

    fn of_chain(chain: &Chain, left: Vec<Left>) -> Self {
        let leaf = &chain.leaf().token;
        let methods = leaf.grants.iter().flat_map(|grant| grant.actions.iter().cloned());
        let mut methods: Vec<String> = methods.collect();
        methods.sort();
        methods.dedup();
        let deepest = leaf.del_max_depth.unwrap_or(0);
        Self {
            id: chain.leaf().name.to_string(),
            origins: leaf.aud.clone(),
            methods,
            expires: chain.expires(),
            holder: chain.holder().map(|holder| holder.thumbprint.to_string()),
            left,
            delegations: u64::from(deepest.saturating_sub(leaf.del_depth)),
        }
    }
}

impl Wallet {
    /// Every token, in the order that they came.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Held> {
        self.tokens.iter()
    }

    /// Keeps a token; the same one is kept once.
    ///
    /// # Errors
    /// Why it is no token.
    pub(super) fn keep(&mut self, token: &str, resource: &str, now: u64) -> Result<(), TokenError> {
        let expires = Chain::inspect(token)?.expires();
        if expires <= now {
            return Err(TokenError::Expired);
        }
        if self.tokens.iter().any(|held| held.token == token) {
            return Ok(());
        }
        self.forget_expired(now);
        while self.tokens.len() >= MAX_TOKENS {
            let first = self.tokens.iter().enumerate().min_by_key(|(_, held)| held.expires).map(|(index, _)| index);
            let Some(first) = first else { break };
            self.tokens.remove(first);
        }
        let (token, resource) = (token.to_owned(), resource.to_owned());
        self.tokens.push(Held { token, at: now, expires, resource, left: Vec::new() });
        Ok(())
    }

    /// Drops a token; whether there was one.
    pub(super) fn drop_token(&mut self, token: &str) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|held| held.token != token);
        self.tokens.len() < before
    }

    /// Drops the token of this name; whether there was one.
    pub(super) fn drop_named(&mut self, name: &str) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|held| Chain::inspect(&held.token).is_ok_and(|chain| *chain.leaf().name != *name));
        self.tokens.len() < before
    }

    /// Writes down what is left of a token: never more than was written before, for others may have used it too.
    pub(super) fn note_left(&mut self, token: &str, left: &[Left]) {
        for held in self.tokens.iter_mut().filter(|held| held.token == token) {
            for known in left {
                match held.left.iter_mut().find(|it| it.unit == known.unit) {
                    Some(it) => it.amount.0 = it.amount.0.min(known.amount.0),
                    None => held.left.push(known.clone()),
                }
            }
        }
    }

    pub(super) fn forget_expired(&mut self, now: u64) {
        self.tokens.retain(|held| held.expires > now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// What is wrong with a token that came for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is no token, or not for this request, or bound to a key that is not ours.
    Useless,
    /// It is good for less than was sold.
    Less,
}

/// The token that came with a response: `extension` is that of its settlement. `None` if there is none, or two that differ.
pub(super) fn came(headers: &Headers, extension: Option<&str>) -> Option<String> {
    let mut values = headers.all(CAPABILITY_TOKEN);
    let header = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(std::str::from_utf8(value).ok()?),
        (Some(_), Some(_)) => return None,
    };
    match (header, extension) {
        (Some(header), Some(extension)) if header != extension => None,
        (header, extension) => header.or(extension).map(str::to_owned),
    }
}

/// Whether a token that came for a payment is what was sold.
///
/// # Errors
/// [`Unfit`].
pub(super) fn judge(token: &str, reservation: &Reservation, reply: &Reply<'_>, now: u64) -> Result<(), Unfit> {
    let chain = Chain::inspect(token).map_err(|_| Unfit::Useless)?;
    let issuer = Issuer { iss: &chain.root().token.iss, keys: reply.keys };
    // Where the seller serves no keys, its gate alone can tell whether it has signed it.
    if reply.keys.iter().next().is_some() && Chain::verify(token, &issuer, now, SKEW).is_err() {
        return Err(Unfit::Useless);
    }
    let ours = chain.holder().is_none_or(|key| Some(&*key.thumbprint) == reply.holder);
    let method = &reservation.method;
    let grant = chain.leaf().token.grants.iter().find(|grant| grant.actions.contains(method));
    let here = chain.check_audience(reply.url.origin()).is_ok() && chain.expires() > now;
    let Some(grant) = grant.filter(|_| ours && here) else { return Err(Unfit::Useless) };
    // What is given in place of a call that failed was not sold.
    let Some(terms) = &reservation.pass else { return Ok(()) };
    let Terms { calls, budget, bytes, expires_in, rate } = *terms;
    let limited = |unit: &Unit, least: Option<u128>| {
        let limits = grant.limits.iter().filter(|limit| limit.per == Per::Token && limit.unit == *unit);
        limits.map(|limit| limit.max).min().is_none_or(|max| least.is_some_and(|least| max >= least))
    };
    let asset = Unit::from_wire(&reservation.asset);
    let in_time = |limit: &crate::token::Limit| match (limit.per, rate) {
        (Per::Window(seconds), Some((calls, window))) => u64::from(seconds) <= window && limit.max >= u128::from(calls),
        (Per::Window(_), None) => false,
        _ => true,
    };
    let good = limited(&Unit::Call, calls.map(u128::from))
        && limited(&Unit::Byte, bytes.map(u128::from))
        && asset.is_none_or(|asset| limited(&asset, budget.map(|budget| budget.0)))
        && grant.limits.iter().all(in_time)
        && expires_in.is_none_or(|seconds| chain.expires().saturating_add(TIME_LOST) >= now.saturating_add(seconds));
    if good { Ok(()) } else { Err(Unfit::Less) }
}
