//! Which of several offers is taken: what the policy prefers, then what costs least, and never the first one.

use super::rules::Case;
use crate::agent::challenge::{Terms, Version};
use crate::agent::counters::{Counters, host_key};
use crate::agent::money::Money;
use crate::agent::pattern::Reading::Grant;
use crate::agent::policy::Policy;
use crate::agent::policy::config::{Scheme, Transfer};
use crate::agent::request::Request;
use std::cmp::Ordering;

/// What is compared, in this order; less is better.
struct Standing<'c, 'a> {
    case: &'c Case<'a>,
    /// Position of the first preference that it matches.
    tier: usize,
    /// Units are not compared with one another: those of the first asset come first.
    unit: usize,
    amount: u128,
    /// Calls that the amount is for.
    calls: u64,
    risks: [bool; 4],
}

/// Orders the offers, best first, each with what it was ordered by.
///
/// The cost of an offer is its amount: facilitators pay the gas of every scheme that is paid here. A pass counts for as
/// many calls as would be made in its life at the rate of late, and no more than it is good for, so that it is bought when
/// it saves something.
pub(super) fn rank<'c, 'a>(
    policy: &Policy,
    request: &Request,
    counters: &Counters,
    now: u64,
    cases: &[&'c Case<'a>],
) -> Vec<(&'c Case<'a>, Vec<(&'static str, String)>)> {
    let rate = counters.calls_per_hour(&host_key(request), now);
    let mut standings: Vec<Standing<'c, 'a>> =
        cases.iter().filter_map(|case| Standing::of(policy, request, rate, case, cases)).collect();
    standings.sort_by(Standing::compare);
    standings.iter().enumerate().map(|(place, standing)| (standing.case, standing.told(policy, place))).collect()
}

impl<'c, 'a> Standing<'c, 'a> {
    fn of(policy: &Policy, request: &Request, rate: u64, case: &'c Case<'a>, cases: &[&'c Case<'a>]) -> Option<Self> {
        let (offer, money) = (case.offer, case.money?);
        let preferred = policy.prefer.iter().position(|on| on.covers(request, offer, Grant));
        let single = cases.iter().map(|case| case.offer).filter(|it| it.pass.is_none() && it.asset == offer.asset);
        let single = single.map(|offer| offer.amount).min();
        let calls = offer.pass.map_or(1, |pass| calls(&pass.terms(case.introduces()), single, rate));
        // What is the same in price: whose money moves first, who needed an approval on chain, who may charge less,
        // which protocol can give back what was lost.
        let risks = [
            offer.upfront,
            offer.transfer == Transfer::Permit2,
            offer.scheme == Scheme::Upto,
            offer.version == Version::V1,
        ];
        let tier = preferred.unwrap_or(policy.prefer.len());
        Some(Self { case, tier, unit: money.unit, amount: money.amount, calls, risks })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let cost = || product(self.amount, other.calls).cmp(&product(other.amount, self.calls));
        (self.tier, self.unit)
            .cmp(&(other.tier, other.unit))
            .then_with(cost)
            .then_with(|| self.amount.cmp(&other.amount))
            .then_with(|| self.risks.cmp(&other.risks))
            .then_with(|| self.case.offer.index.cmp(&other.case.offer.index))
    }

    fn told(&self, policy: &Policy, place: usize) -> Vec<(&'static str, String)> {
        let mut told = vec![
            ("place", (place + 1).to_string()),
            ("preference", if policy.prefer.is_empty() { "none".to_owned() } else { (self.tier + 1).to_string() }),
            ("cost", policy.text(Money { unit: self.unit, amount: self.amount })),
        ];
        if self.case.offer.pass.is_some() {
            told.push(("for calls", self.calls.to_string()));
        }
        let risks = ["paid before service", "needs Permit2", "a ceiling", "version 1"];
        let risks: Vec<&str> =
            risks.into_iter().zip(self.risks).filter_map(|(name, risk)| risk.then_some(name)).collect();
        if !risks.is_empty() {
            told.push(("besides", risks.join(", ")));
        }
        told
    }
}

/// Calls that a pass would be used for at `rate` calls in an hour, the one that it is bought with included. `single` is
/// what one costs, as far as the challenge says.
fn calls(terms: &Terms, single: Option<u128>, rate: u64) -> u64 {
    let mut calls = terms.expires_in.map_or(1, |seconds| seconds.saturating_mul(rate) / 3600);
    if let (Some(most), Some(seconds), Some(life)) =
        (terms.rate.map(|rate| rate.0), terms.rate.map(|rate| rate.1), terms.expires_in)
    {
        calls = calls.min((life / seconds.max(1)).saturating_add(1).saturating_mul(most));
    }
    if let Some(budget) = terms.budget {
        let worth = single.filter(|single| *single > 0).map_or(0, |single| budget.0 / single);
        calls = calls.min(u64::try_from(worth).unwrap_or(u64::MAX).saturating_add(1));
    }
    calls.min(terms.calls.unwrap_or(u64::MAX).saturating_add(1)).max(1)
}

/// `amount * times` in 192 bits: high and low.
fn product(amount: u128, times: u64) -> (u128, u128) {
    let times = u128::from(times);
    let (high, low) = ((amount >> 64) * times, (amount & u128::from(u64::MAX)) * times);
    let sum = high + (low >> 64);
    (sum >> 64, (sum << 64) | (low & u128::from(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn products_are_exact() {
        assert_eq!(product(u128::MAX, u64::MAX), (0xffff_ffff_ffff_fffe, 0xffff_ffff_ffff_ffff_0000_0000_0000_0001));
        assert_eq!(product(3, 4), (0, 12));
        assert!(product(u128::MAX, 2) > product(u128::MAX, 1));
    }
}
