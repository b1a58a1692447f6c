//! What a decision says of itself: every rule that was looked at, with its numbers.

use crate::agent::reason::Reason;
use serde_json::{Map, Value, json};
use std::fmt;

/// What a rule says of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It has nothing against it, or allows it.
    Pass,
    /// Somebody must approve it.
    Ask,
    /// It must wait.
    Wait,
    /// It denies it.
    Deny,
}

impl Effect {
    /// The effect on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Ask => "ask",
            Self::Wait => "wait",
            Self::Deny => "deny",
        }
    }
}

/// One rule's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule: its list and name or number, like `budgets day`.
    pub rule: String,
    /// What it says.
    pub effect: Effect,
    /// Why, if it does not pass.
    pub reason: Option<Reason>,
    /// What it was judged by: name and value. Amounts carry their unit.
    pub numbers: Vec<(&'static str, String)>,
}

impl Verdict {
    pub(super) fn pass(rule: impl Into<String>) -> Self {
        Self { rule: rule.into(), effect: Effect::Pass, reason: None, numbers: Vec::new() }
    }

    pub(super) fn new(rule: impl Into<String>, effect: Effect, reason: Reason) -> Self {
        Self { rule: rule.into(), effect, reason: Some(reason), numbers: Vec::new() }
    }

    pub(super) fn deny(rule: impl Into<String>, reason: Reason) -> Self {
        Self::new(rule, Effect::Deny, reason)
    }

    /// Passes if `holds`, and else has this effect.
    pub(super) fn unless(holds: bool, rule: impl Into<String>, effect: Effect, reason: Reason) -> Self {
        if holds { Self::pass(rule) } else { Self::new(rule, effect, reason) }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.numbers.push((name, value.to_string()));
        self
    }

    fn json(&self) -> Value {
        let numbers: Map<String, Value> =
            self.numbers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
        let mut json = json!({ "rule": self.rule, "effect": self.effect.wire(), "numbers": numbers });
        if let (Some(reason), Some(members)) = (self.reason, json.as_object_mut()) {
            members.insert("reason".to_owned(), reason.wire().into());
        }
        json
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4} {}", self.effect.wire(), self.rule)?;
        if let Some(reason) = self.reason {
            write!(f, " ({})", reason.wire())?;
        }
        for (index, (name, value)) in self.numbers.iter().enumerate() {
            write!(f, "{}{name} {value}", if index == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// What is said of one offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Where the offer stands in the challenge.
    pub offer: usize,
    /// Every rule that was looked at, in order.
    pub verdicts: Vec<Verdict>,
    /// Why it stands where it stands among those that can be paid, first one first; empty for others.
    pub rank: Vec<(&'static str, String)>,
}

impl Judgement {
    /// What the rules say together: the worst of them.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.verdicts.iter().map(|verdict| verdict.effect).max().unwrap_or(Effect::Pass)
    }

    /// The reasons against it, worst first.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        reasons(&self.verdicts)
    }
}

/// How a decision came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What is said of the request, whatever the offer.
    pub request: Vec<Verdict>,
    /// What is said of each offer, in the challenge's order.
    pub offers: Vec<Judgement>,
}

impl Explanation {
    /// As JSON: `{request: [verdict], offers: [{offer, effect, verdicts, rank}]}`.
    #[must_use]
    pub fn json(&self) -> Value {
        let verdicts = |verdicts: &[Verdict]| -> Vec<Value> { verdicts.iter().map(Verdict::json).collect() };
        let offers: Vec<Value> = self
            .offers
            .iter()
            .map(|offer| {
                let rank: Map<String, Value> =
                    offer.rank.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
                json!({
                    "offer": offer.offer,
                    "effect": offer.effect().wire(),
                    "verdicts": verdicts(&offer.verdicts),
                    "rank": rank,
                })
            })
            .collect();
        json!({ "request": verdicts(&self.request), "offers": offers })
    }

    /// The reasons why nothing can be paid now: the request's, or else those of the offer that came furthest.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        let of_request = reasons(&self.request);
        if !of_request.is_empty() {
            return of_request;
        }
        // The offer with the mildest verdict, and of those the one with the fewest against it.
        let furthest = self.offers.iter().min_by_key(|offer| (offer.effect(), offer.reasons().len()));
        furthest.map(Judgement::reasons).unwrap_or_default()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.request {
            writeln!(f, "request: {verdict}")?;
        }
        for offer in &self.offers {
            for verdict in &offer.verdicts {
                writeln!(f, "offer {}: {verdict}", offer.offer)?;
            }
            for (name, value) in &offer.rank {
                writeln!(f, "offer {}: rank {name} {value}", offer.offer)?;
            }
        }
        Ok(())
    }
}

fn reasons(verdicts: &[Verdict]) -> Vec<Reason> {
    let mut against: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.effect > Effect::Pass).collect();
    against.sort_by_key(|verdict| std::cmp::Reverse(verdict.effect));
    let mut reasons: Vec<Reason> = Vec::new();
    for reason in against.into_iter().filter_map(|verdict| verdict.reason) {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}
