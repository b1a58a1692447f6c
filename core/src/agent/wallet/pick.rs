//! Which token a call is made with, and when the next one is bought.

use super::{Held, Left, TokenInfo, TokenUse, Wallet, limits};
use crate::agent::request::{Request, Url};
use crate::crypto::sha256;
use crate::token::{Chain, Constraint, Grant};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Seconds that a token must still be good for when it is shown.
const MARGIN: u64 = 5;
/// Tokens that are tried for one call.
const MAX_TRIES: usize = 4;
/// Seconds of calls, at the rate of late, and of life, of which a token that has less is followed by the next one.
const AHEAD: u64 = 15;
/// Seconds in which a seller is not asked again for the next pass.
const NOT_AGAIN: u64 = 60;
/// Resources that are remembered for one token.
const MAX_RESOURCES: usize = 256;

/// A token that a call may be made with.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Picked {
    pub(in crate::agent) token: String,
    pub(in crate::agent) chain: Rc<Chain>,
    /// Whether its grant says, or was seen, to cover the request. Routes are named by the seller, and not known here.
    pub(in crate::agent) certain: bool,
    expires: u64,
    calls: u64,
}

impl Picked {
    pub(in crate::agent) fn name(&self) -> &str {
        &self.chain.leaf().name
    }
}

/// What this process knows of tokens, and need not write down.
#[derive(Debug, Default)]
pub(in crate::agent) struct Memory {
    chains: RefCell<BTreeMap<String, Rc<Chain>>>,
    uses: RefCell<BTreeMap<String, Usage>>,
    asked: RefCell<BTreeMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Usage {
    /// What the gate said was left last, less what was used since.
    left: Vec<Left>,
    /// What one call took of each unit, when that could be seen.
    costs: BTreeMap<String, u128>,
    /// Calls that are on their way.
    flying: u64,
    /// Resources that it was good for, and that it was not.
    seen: BTreeMap<[u8; 8], bool>,
}

/// A call that is on its way; it lands when this is dropped.
#[derive(Debug)]
pub(in crate::agent) struct Flying<'m> {
    memory: &'m Memory,
    name: String,
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        if let Some(usage) = self.memory.uses.borrow_mut().get_mut(&self.name) {
            usage.flying = usage.flying.saturating_sub(1);
        }
    }
}

impl Memory {
    /// The tokens that may be shown for `request`, best first: those that are known to be good for it, of those the one
    /// that expires first. `holder` is the thumbprint of our key.
    pub(in crate::agent) fn pick(
        &self,
        wallet: &Wallet,
        request: &Request,
        holder: Option<&str>,
        now: u64,
    ) -> Vec<Picked> {
        self.forget(wallet);
        let mut picked: Vec<Picked> =
            wallet.tokens().filter_map(|held| self.usable(held, request, holder, now)).collect();
        picked.sort_by_key(|token| (!token.certain, token.expires, token.calls));
        picked.truncate(MAX_TRIES);
        picked
    }

    fn usable(&self, held: &Held, request: &Request, holder: Option<&str>, now: u64) -> Option<Picked> {
        let chain = self.chain(&held.token)?;
        let ours = chain.holder().is_none_or(|key| Some(&*key.thumbprint) == holder);
        let in_time = chain.check_time(now, 0).is_ok() && chain.expires() > now.saturating_add(MARGIN);
        if !ours || !in_time || chain.check_audience(request.url.origin()).is_err() {
            return None;
        }
        // Whoever gives a token for a payment may write any audience into it.
        let (from, origin) = (held.resource.as_str(), request.url.origin());
        if !from.is_empty() && !from.strip_prefix(origin).is_some_and(|path| path.starts_with('/')) {
            return None;
        }
        let mut uses = self.uses.borrow_mut();
        let usage = usage(&mut uses, held, &chain);
        let covers = chain.links().map(|link| {
            let grants = link.token.grants.iter().map(|grant| covers(grant, request));
            grants.max().unwrap_or(Covers::No)
        });
        let certain = match (covers.min(), usage.seen.get(&place(&request.method, &request.url))) {
            (None | Some(Covers::No), _) | (_, Some(false)) => return None,
            (Some(Covers::Yes), _) | (_, Some(true)) => true,
            (Some(Covers::Perhaps), None) => held.resource == request.url.resource(),
        };
        let calls = usage.calls();
        (calls > usage.flying).then(|| Picked {
            token: held.token.clone(),
            expires: chain.expires(),
            calls: calls - usage.flying,
            chain,
            certain,
        })
    }

    /// Whether the next pass is to be looked for before the tokens that are left are used up: at `rate` calls in an hour,
    /// they last for less than a moment, or expire within one. A seller is asked once in a while.
    pub(in crate::agent) fn runs_out(&self, picked: &[Picked], host: &str, rate: u64, now: u64) -> bool {
        if picked.is_empty() || picked.iter().any(|token| !token.certain) {
            return false;
        }
        let lasting = picked.iter().filter(|token| token.expires > now.saturating_add(AHEAD));
        let calls = lasting.fold(0u64, |sum, token| sum.saturating_add(token.calls));
        let soon = self.asked.borrow().get(host).is_none_or(|at| at.saturating_add(NOT_AGAIN) <= now);
        let needed = rate.saturating_mul(AHEAD) / 3600;
        soon && needed > 0 && calls <= needed
    }

    /// The seller was asked for the next pass.
    pub(in crate::agent) fn asked_for_next(&self, host: &str, now: u64) {
        let mut asked = self.asked.borrow_mut();
        if asked.len() >= MAX_RESOURCES {
            asked.clear();
        }
        asked.insert(host.to_owned(), now);
    }

    /// A call leaves with this token.
    pub(in crate::agent) fn takes_off(&self, picked: &Picked) -> Flying<'_> {
        let name = picked.name().to_owned();
        if let Some(usage) = self.uses.borrow_mut().get_mut(&name) {
            usage.flying = usage.flying.saturating_add(1);
        }
        Flying { memory: self, name }
    }

    /// A call was made with this token: `told` is what the gate says is left, if it says.
    pub(in crate::agent) fn used(&self, picked: &Picked, request: &Request, told: Option<Vec<Left>>) -> TokenUse {
        let mut uses = self.uses.borrow_mut();
        let usage = uses.entry(picked.name().to_owned()).or_default();
        usage.see(request, true);
        match told {
            Some(told) => {
                for now in &told {
                    if let Some(before) = usage.left.iter().find(|left| left.unit == now.unit)
                        && let Some(cost) = before.amount.0.checked_sub(now.amount.0).filter(|cost| *cost > 0)
                    {
                        // Other calls may have landed since; the least that was seen is closest to the cost of one.
                        let known = usage.costs.entry(now.unit.clone()).or_insert(cost);
                        *known = (*known).min(cost);
                    }
                }
                usage.left = told;
            }
            None => {
                for left in usage.left.iter_mut().filter(|left| left.unit != "byte") {
                    let cost = usage.costs.get(&left.unit).copied().unwrap_or(u128::from(left.unit == "call"));
                    left.amount.0 = left.amount.0.saturating_sub(cost);
                }
            }
        }
        TokenUse { id: picked.name().to_owned(), left: usage.left.clone() }
    }

    /// The seller says that this token is not for this request.
    pub(in crate::agent) fn not_for(&self, picked: &Picked, request: &Request) {
        self.uses.borrow_mut().entry(picked.name().to_owned()).or_default().see(request, false);
    }

    /// What is left of every token that was used since it was written down.
    pub(in crate::agent) fn left(&self, wallet: &Wallet) -> Vec<(String, Vec<Left>)> {
        let uses = self.uses.borrow();
        let known = wallet.tokens().filter_map(|held| {
            let chain = self.chain(&held.token)?;
            let usage = uses.get(&*chain.leaf().name)?;
            Some((held.token.clone(), usage.left.clone()))
        });
        known.collect()
    }

    /// Every token of the wallet, with what is left of it.
    pub(in crate::agent) fn list(&self, wallet: &Wallet) -> Vec<TokenInfo> {
        let mut uses = self.uses.borrow_mut();
        let info = |held: &Held| {
            let chain = self.chain(&held.token)?;
            let left = usage(&mut uses, held, &chain).left.clone();
            Some(TokenInfo::of_chain(&chain, left))
        };
        wallet.tokens().filter_map(info).collect()
    }

    /// The links of a token of ours. Nobody verifies it here: its gate does.
    fn chain(&self, token: &str) -> Option<Rc<Chain>> {
        if let Some(chain) = self.chains.borrow().get(token) {
            return Some(Rc::clone(chain));
        }
        let chain = Rc::new(Chain::inspect(token).ok()?);
        self.chains.borrow_mut().insert(token.to_owned(), Rc::clone(&chain));
        Some(chain)
    }

    /// Forgets tokens that are kept no more.
    fn forget(&self, wallet: &Wallet) {
        let mut chains = self.chains.borrow_mut();
        if chains.len() > super::MAX_TOKENS {
            let kept: BTreeSet<&str> = wallet.tokens().map(|held| held.token.as_str()).collect();
            chains.retain(|token, _| kept.contains(token.as_str()));
            let names: BTreeSet<&str> = chains.values().map(|chain| &*chain.leaf().name).collect();
            self.uses.borrow_mut().retain(|name, usage| usage.flying > 0 || names.contains(name.as_str()));
        }
    }
}

fn usage<'u>(uses: &'u mut BTreeMap<String, Usage>, held: &Held, chain: &Chain) -> &'u mut Usage {
    uses.entry(chain.leaf().name.to_string()).or_insert_with(|| {
        let mut left = limits(chain);
        for written in &held.left {
            if let Some(left) = left.iter_mut().find(|left| left.unit == written.unit) {
                left.amount.0 = left.amount.0.min(written.amount.0);
            }
        }
        Usage { left, ..Usage::default() }
    })
}

impl Usage {
    /// Calls that it is still good for, those that are on their way included.
    fn calls(&self) -> u64 {
        let calls = self.left.iter().map(|left| {
            let least = if left.unit == "byte" { u128::from(left.amount.0 > 0) * u128::from(u64::MAX) } else { 0 };
            let cost = self.costs.get(&left.unit).copied().filter(|cost| *cost > 0).unwrap_or(1);
            u64::try_from((left.amount.0 / cost).max(least)).unwrap_or(u64::MAX)
        });
        calls.min().unwrap_or(u64::MAX)
    }

    fn see(&mut self, request: &Request, good: bool) {
        if self.seen.len() < MAX_RESOURCES {
            self.seen.insert(place(&request.method, &request.url), good);
        }
    }
}

/// Whether a grant covers a request, as far as can be said without knowing the seller's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Covers {
    No,
    Perhaps,
    Yes,
}

fn covers(grant: &Grant, request: &Request) -> Covers {
    let url = &request.url;
    let here = grant.locations.iter().any(|origin| origin == url.origin());
    let Some(path) = url.path().filter(|_| here && grant.actions.contains(&request.method)) else { return Covers::No };
    let constraint = |constraint: &Constraint| match constraint {
        Constraint::RouteOneOf(_) => Covers::Perhaps,
        Constraint::PathPrefix(_) | Constraint::PathOneOf(_) if constraint.admits(path, "") => Covers::Yes,
        Constraint::PathPrefix(_) | Constraint::PathOneOf(_) => Covers::No,
    };
    grant.constraints.iter().map(constraint).min().unwrap_or(Covers::Yes)
}

fn place(method: &str, url: &Url) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[method.as_bytes(), b" ", url.resource().as_bytes()]);
    [a, b, c, d, e, f, g, h]
}
