//! Whether one policy allows more than another.
//!
//! The answer is conservative: what cannot be seen to be tighter counts as looser. A budget is compared by its name,
//! because its counters are kept by it: under a new name it would begin at zero.

use super::config::BreakerKey;
use super::{Allow, Approval, Policy, Rule, Span};
use crate::agent::money::Money;
use crate::agent::pattern::Reading::{Grant, Restrict};
use crate::agent::policy::config::Then;

impl Policy {
    /// What this policy would allow that `older` does not, a line for each rule that is looser or gone. Empty: every
    /// payment that this policy allows, `older` allows too, with no more approval than here.
    #[must_use]
    pub fn looser_than(&self, older: &Self) -> Vec<String> {
        let mut looser = Looser { new: self, old: older, found: Vec::new() };
        looser.life();
        looser.assets();
        looser.allow();
        looser.restrictions();
        looser.counted();
        looser.approvals();
        looser.settings();
        looser.found
    }

    /// Whether this policy allows nothing that `older` does not.
    #[must_use]
    pub fn is_not_looser(&self, older: &Self) -> bool {
        self.looser_than(older).is_empty()
    }
}

struct Looser<'a> {
    new: &'a Policy,
    old: &'a Policy,
    found: Vec<String>,
}

impl Looser<'_> {
    fn unless(&mut self, tight: bool, what: impl FnOnce() -> String) {
        if !tight {
            self.found.push(what());
        }
    }

    /// Whether `mine` of the new policy is at most `its` of the old one.
    fn at_most(&self, mine: Money, its: Money) -> bool {
        self.new.unit(mine.unit) == self.old.unit(its.unit) && mine.amount <= its.amount
    }

    fn life(&mut self) {
        let (new, old) = (self.new.life(), self.old.life());
        self.unless(new.0 >= old.0, || "not_before is earlier".to_owned());
        self.unless(new.1 <= old.1, || "not_after is later".to_owned());
    }

    fn assets(&mut self) {
        for asset in &self.new.assets {
            let same = self.old.asset(&asset.id).is_some_and(|old| {
                self.new.unit(asset.unit) == self.old.unit(old.unit)
                    && asset.decimals == old.decimals
                    && asset.domain == old.domain
            });
            self.unless(same, || format!("assets: {} is new or counts otherwise", asset.id));
        }
    }

    fn allow(&mut self) {
        for new in &self.new.allow {
            let inside = self.old.allow.iter().any(|old| self.allows_no_more(new, old));
            self.unless(inside, || format!("{}: allows more", new.label));
        }
    }

    fn allows_no_more(&self, new: &Rule<Allow>, old: &Rule<Allow>) -> bool {
        let max = match (new.says.max, old.says.max) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(new), Some(old)) => self.at_most(new, old),
        };
        max && new.on.within(&old.on, Grant)
            && new.says.not_before >= old.says.not_before
            && new.says.not_after <= old.says.not_after
    }

    /// Rules that are not counted: each old one must live on in a new one that is for as much and says as little.
    fn restrictions(&mut self) {
        let (new, old) = (self.new, self.old);
        for rule in &old.deny {
            let kept = new.deny.iter().any(|deny| rule.on.within(&deny.on, Restrict));
            self.unless(kept, || format!("{}: no longer denied", rule.label));
        }
        for rule in &old.caps {
            let kept =
                new.caps.iter().any(|cap| rule.on.within(&cap.on, Restrict) && self.at_most(cap.says, rule.says));
            self.unless(kept, || format!("{}: the cap is higher or for less", rule.label));
        }
        for rule in &old.hours {
            let kept =
                new.hours.iter().any(|hours| rule.on.within(&hours.on, Restrict) && hours.says.within(&rule.says));
            self.unless(kept, || format!("{}: the hours are longer or for less", rule.label));
        }
        for rule in &old.locks {
            let kept = new.locks.iter().any(|lock| {
                rule.on.within(&lock.on, Restrict)
                    && self.at_most(lock.says.above, rule.says.above)
                    && lock.says.seconds >= rule.says.seconds
            });
            self.unless(kept, || format!("{}: the lock is shorter or for less", rule.label));
        }
        // What counters believe of sellers is given, not taken.
        for rule in &new.trust {
            let inside = old.trust.iter().any(|trust| rule.on.within(&trust.on, Grant));
            self.unless(inside, || format!("{}: more sellers are trusted", rule.label));
        }
    }

    fn counted(&mut self) {
        let (new, old) = (self.new, self.old);
        for rule in &old.budgets {
            let kept = new.budgets.iter().any(|budget| {
                budget.label == rule.label
                    && rule.on.within(&budget.on, Restrict)
                    && self.at_most(budget.says.max, rule.says.max)
                    && budget.says.per == rule.says.per
                    && counts_as_long(budget.says.span, rule.says.span)
            });
            self.unless(kept, || format!("{}: the budget is larger, counted otherwise or for less", rule.label));
        }
        // A budget also lets payments through that no other one covers.
        for rule in &new.budgets {
            let covered = old.budgets.iter().any(|budget| {
                rule.on.within(&budget.on, Restrict) && new.unit(rule.says.max.unit) == old.unit(budget.says.max.unit)
            });
            self.unless(covered, || format!("{}: covers payments that no budget covered", rule.label));
        }
        for rule in &old.calls {
            let kept = new.calls.iter().any(|calls| {
                calls.label == rule.label
                    && rule.on.within(&calls.on, Restrict)
                    && calls.says.max <= rule.says.max
                    && calls.says.per == rule.says.per
                    && counts_as_long(calls.says.span, rule.says.span)
            });
            self.unless(kept, || format!("{}: more calls, counted otherwise or for less", rule.label));
        }
        for rule in &old.cooldowns {
            let kept = new.cooldowns.iter().any(|cooldown| {
                cooldown.label == rule.label
                    && rule.on.within(&cooldown.on, Restrict)
                    && cooldown.says.seconds >= rule.says.seconds
                    && cooldown.says.per == rule.says.per
            });
            self.unless(kept, || format!("{}: the cooldown is shorter, counted otherwise or for less", rule.label));
        }
    }

    fn approvals(&mut self) {
        for rule in &self.old.approvals {
            let kept = self
                .new
                .approvals
                .iter()
                .any(|new| rule.on.within(&new.on, Restrict) && self.asks_as_much(&new.says, &rule.says));
            self.unless(kept, || format!("{}: less is asked", rule.label));
        }
        // Whoever may approve can also loosen the policy.
        for key in self.new.approvers() {
            let known = self.old.approvers().any(|old| old == key) || self.old.approvers().next().is_none();
            self.unless(known, || format!("approvers: {} is new", self.new.approver(key).unwrap_or_default()));
        }
        let gone = self.old.approvers().next().is_some() && self.new.approvers().next().is_none();
        self.unless(!gone, || "approvers: there are none any more".to_owned());
    }

    fn asks_as_much(&self, new: &Approval, old: &Approval) -> bool {
        let above = match (new.above, old.above) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(new), Some(old)) => self.at_most(new, old),
        };
        let first =
            new.first.is_empty() || (!old.first.is_empty() && old.first.iter().all(|it| new.first.contains(it)));
        let by = old.by.is_empty() || (!new.by.is_empty() && new.by.iter().all(|key| old.by.contains(key)));
        above && first && by && new.threshold >= old.threshold && new.expires_in <= old.expires_in
    }

    fn settings(&mut self) {
        let (new, old) = (self.new, self.old);
        self.unless(new.max_validity <= old.max_validity, || "validity.max_seconds is longer".to_owned());
        self.unless(new.quoted_bps <= old.quoted_bps, || "slippage.quoted_bps is higher".to_owned());
        let last = match (new.last_bps, old.last_bps) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(new), Some(old)) => new <= old,
        };
        self.unless(last, || "slippage.last_bps is higher".to_owned());
        let then = |new: Option<Then>, old: Option<Then>| match (new, old) {
            (_, None) | (Some(Then::Deny), _) | (Some(Then::Ask), Some(Then::Ask)) => true,
            (None | Some(Then::Ask), Some(_)) => false,
        };
        self.unless(then(new.pins, old.pins), || "payees: changes are let through".to_owned());
        let duplicates = then(new.duplicates.map(|it| it.1), old.duplicates.map(|it| it.1))
            && new.duplicates.map_or(0, |it| it.0) >= old.duplicates.map_or(0, |it| it.0);
        self.unless(duplicates, || "duplicates: more are let through".to_owned());
        let breaker = match (new.breaker, old.breaker) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(new), Some(old)) => {
                new.faults <= old.faults
                    && new.seconds >= old.seconds
                    && (new.per == old.per || new.per == BreakerKey::All)
                    && new.resumes_after.unwrap_or(u64::MAX) >= old.resumes_after.unwrap_or(u64::MAX)
            }
        };
        self.unless(breaker, || "breaker: stops later or less".to_owned());
        self.unless(new.signed_offer || !old.signed_offer, || "require.signed_offer is gone".to_owned());
        self.unless(new.receipt || !old.receipt, || "require.receipt is gone".to_owned());
        for signer in &new.signers {
            let known = old.signers.iter().any(|old| {
                old.key == signer.key
                    && signer.hosts.iter().all(|host| old.hosts.iter().any(|old| host.within(old, Grant)))
            });
            self.unless(known || !old.signed_offer, || "require.signers: a key is new".to_owned());
        }
        // Where no key is named, those count that the host serves itself.
        for host in old.signers.iter().filter(|_| old.signed_offer).flat_map(|signer| &signer.hosts) {
            let named = new.signers.iter().flat_map(|signer| &signer.hosts).any(|new| host.within(new, Grant));
            self.unless(named, || "require.signers: a host has no key any more".to_owned());
        }
        let delegate = match (new.delegate, old.delegate) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(new), Some(old)) => {
                new.max_depth <= old.max_depth
                    && new.max_share_bps <= old.max_share_bps
                    && new.max_seconds <= old.max_seconds
            }
        };
        self.unless(delegate, || "delegate: more may be handed on".to_owned());
    }
}

/// Whether what counts under `old` counts as long under `new`, in the same counters.
fn counts_as_long(new: Span, old: Span) -> bool {
    match (new, old) {
        (Span::Rolling(new), Span::Rolling(old)) => new >= old,
        (new, old) => new == old,
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;
    use crate::crypto::keys::{Algorithm, SigningKey};
    use serde_json::{Value, json};

    #[test]
    fn who_signs_offers_is_neither_added_nor_dropped_unnoticed() {
        let key = |n: u8| SigningKey::from_secret(Algorithm::EdDsa, &[n; 32]).unwrap().public().to_jwk();
        let policy = |require: Value| {
            let policy = json!({
                "version": 1,
                "assets": [{ "asset": "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e", "unit": "usd" }],
                "allow": [{ "match": { "hosts": ["api.example.com"] } }],
                "budgets": [{ "name": "day", "max": "1 usd", "seconds": 86_400 }],
                "require": require,
            });
            Policy::load(policy.to_string().as_bytes()).unwrap()
        };
        let signer = |n: u8| json!({ "hosts": ["api.example.com"], "jwk": key(n) });
        let one = policy(json!({ "signed_offer": true, "signers": [signer(1)] }));
        assert!(one.is_not_looser(&one));
        for require in [
            json!({ "signed_offer": true }),
            json!({ "signed_offer": true, "signers": [signer(2)] }),
            json!({ "signed_offer": true, "signers": [signer(1), signer(2)] }),
            json!({ "signers": [signer(1)] }),
        ] {
            assert!(!policy(require.clone()).is_not_looser(&one), "{require}");
        }
    }
}
