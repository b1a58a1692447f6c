//! Narrower tokens for sub-agents, made offline.

use super::{Held, TokenInfo, Wallet};
use crate::agent::holder::Holder;
use crate::agent::pay::NotSigned;
use crate::agent::policy::Delegate;
use crate::agent::request::Url;
use crate::crypto::base64url;
use crate::crypto::keys::PublicKey;
use crate::token::{Chain, Constraint, Grant, Limit, Narrower, Per, TokenError, Undelegated, Unit};
use std::fmt;

/// What a sub-agent is to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The sub-agent's public key. It proves to hold it with every call.
    pub holder: PublicKey,
    /// An absolute URL of the seller that it is to call: the token is chosen by it, and is good for its origin alone.
    pub url: String,
    /// Methods; empty for all that the token has.
    pub methods: Vec<String>,
    /// Canonical paths, of which those that end in `/` stand for everything below; empty for all that the token has.
    pub paths: Vec<String>,
    /// Calls in all. `None`: as many as the policy lets one sub-agent have.
    pub calls: Option<u64>,
    /// Money in all, in atomic units of the asset that the token's budget is in. `None`: as for calls.
    pub budget: Option<u128>,
    /// Seconds that it is good for. `None`: as long as the policy and the token allow.
    pub seconds: Option<u64>,
    /// How many levels of sub-agents it may have itself.
    pub levels: u64,
}

impl Delegation {
    /// Everything that policy and token allow at `url`, for the holder of this key.
    #[must_use]
    pub fn to(holder: PublicKey, url: &str) -> Self {
        Self {
            holder,
            url: url.to_owned(),
            methods: Vec::new(),
            paths: Vec::new(),
            calls: None,
            budget: None,
            seconds: None,
            levels: 0,
        }
    }
}

/// Why nothing is delegated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDelegated {
    /// The policy lets nothing be handed on, or not as deep.
    Policy,
    /// The URL cannot be read.
    Url,
    /// No token of ours is for this URL, or may be delegated, or our key is another.
    NoToken,
    /// More is asked for than the policy lets one sub-agent have.
    TooMuch,
    /// The token does not allow it.
    Token(TokenError),
    /// The holder's key did not sign.
    NotSigned(NotSigned),
    /// The store failed, or there is no randomness.
    Failed,
}

impl NotDelegated {
    /// The code on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Url => "url",
            Self::NoToken => "no_token",
            Self::TooMuch => "too_much",
            Self::Token(_) => "token",
            Self::NotSigned(_) => "not_signed",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for NotDelegated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("the policy lets nothing be handed on, or not so deep"),
            Self::Url => f.write_str("the URL cannot be read"),
            Self::NoToken => f.write_str("there is no token for this URL that may be delegated by our key"),
            Self::TooMuch => f.write_str("more is asked for than the policy lets one sub-agent have"),
            Self::Token(why) => why.fmt(f),
            Self::NotSigned(why) => why.fmt(f),
            Self::Failed => f.write_str("the store failed, or there is no randomness"),
        }
    }
}

impl std::error::Error for NotDelegated {}

/// Makes a narrower token of the one in the wallet that is good for longest, within what the policy allows.
pub(in crate::agent) async fn delegate<H: Holder>(
    wallet: &Wallet,
    rules: Option<Delegate>,
    holder: &H,
    wanted: &Delegation,
    (id, now): ([u8; 16], u64),
) -> Result<(String, TokenInfo), NotDelegated> {
    let rules = rules.filter(|rules| wanted.levels < rules.max_depth).ok_or(NotDelegated::Policy)?;
    let url = Url::parse(&wanted.url).map_err(|_| NotDelegated::Url)?;
    let key = holder.key().ok_or(NotDelegated::NoToken)?;
    let parent = longest(wallet, &url, &key, now).ok_or(NotDelegated::NoToken)?;
    let chain = Chain::inspect(&parent.token).map_err(NotDelegated::Token)?;
    let token = &chain.leaf().token;
    let seconds = wanted.seconds.unwrap_or(rules.max_seconds);
    if seconds > rules.max_seconds {
        return Err(NotDelegated::TooMuch);
    }
    let grants = token.grants.iter().filter(|grant| grant.locations.iter().any(|it| it == url.origin()));
    let grants: Result<Vec<Grant>, NotDelegated> =
        grants.map(|grant| narrowed(grant, &url, rules.max_share_bps, wanted)).collect();
    let depth = u64::from(token.del_depth).saturating_add(1);
    let narrower = Narrower {
        jti: base64url::encode(&id),
        holder: wanted.holder,
        grants: grants?,
        aud: Some(vec![url.origin().to_owned()]),
        iat: now,
        nbf: None,
        exp: chain.expires().min(now.saturating_add(seconds)),
        del_max_depth: (wanted.levels > 0).then(|| u8::try_from(depth + wanted.levels).unwrap_or(u8::MAX)),
    };
    let unsigned = Undelegated::new(&parent.token, &key, narrower).map_err(NotDelegated::Token)?;
    let signature = holder.sign(unsigned.signing_input().as_bytes()).await.map_err(NotDelegated::NotSigned)?;
    let longer = unsigned.finish(&signature).map_err(NotDelegated::Token)?;
    let info = TokenInfo::of(&longer).map_err(NotDelegated::Token)?;
    Ok((longer, info))
}

/// Of the tokens that our key may delegate, and that are for this origin, the one that is good for longest.
fn longest<'w>(wallet: &'w Wallet, url: &Url, key: &PublicKey, now: u64) -> Option<&'w Held> {
    let good = wallet.tokens().filter_map(|held| {
        let chain = Chain::inspect(&held.token).ok()?;
        let leaf = &chain.leaf().token;
        let ours = leaf.cnf.as_ref().and_then(|holder| holder.key) == Some(*key);
        let deeper = leaf.del_max_depth.is_some_and(|deepest| deepest > leaf.del_depth);
        let here = chain.check_audience(url.origin()).is_ok() && chain.check_time(now, 0).is_ok();
        (ours && deeper && here).then(|| (chain.expires(), held))
    });
    good.max_by_key(|(expires, _)| *expires).map(|(_, held)| held)
}

/// What of a grant is handed on.
fn narrowed(parent: &Grant, url: &Url, share_bps: u64, wanted: &Delegation) -> Result<Grant, NotDelegated> {
    let mut limits = Vec::new();
    for limit in &parent.limits {
        let share = match limit.per {
            Per::Token => share(limit.max, share_bps),
            // What one call may cost, and how fast calls may come, is the same for everybody.
            Per::Call | Per::Window(_) => limit.max,
        };
        let asked = match (&limit.unit, limit.per) {
            (Unit::Call, Per::Token) => wanted.calls.map(u128::from),
            (Unit::Asset(_), Per::Token) => wanted.budget,
            _ => None,
        };
        if asked.is_some_and(|asked| asked > share) {
            return Err(NotDelegated::TooMuch);
        }
        limits.push(Limit { max: asked.unwrap_or(share), ..limit.clone() });
    }
    // What the token does not limit, the sub-agent's may.
    let counts_calls = |limit: &Limit| limit.per == Per::Token && limit.unit == Unit::Call;
    if let Some(calls) = wanted.calls
        && !limits.iter().any(counts_calls)
    {
        limits.push(Limit { per: Per::Token, unit: Unit::Call, max: calls.into() });
    }
    let mut grant = Grant {
        locations: vec![url.origin().to_owned()],
        actions: if wanted.methods.is_empty() { parent.actions.clone() } else { wanted.methods.clone() },
        constraints: paths(&wanted.paths),
        limits,
    };
    grant.inherit(parent);
    Ok(grant)
}

/// One constraint for these paths: those that end in `/` stand for everything below, so there can be one such alone.
fn paths(paths: &[String]) -> Vec<Constraint> {
    match paths {
        [] => Vec::new(),
        [prefix] if prefix.ends_with('/') => vec![Constraint::PathPrefix(prefix.clone())],
        paths => vec![Constraint::PathOneOf(paths.to_vec())],
    }
}

fn share(max: u128, bps: u64) -> u128 {
    let bps = u128::from(bps.min(10_000));
    (max / 10_000) * bps + (max % 10_000) * bps / 10_000
}
