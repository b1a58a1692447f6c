//! Offers, judged by the policy: choose one, ask somebody, or deny, with reasons rule by rule.
//!
//! [`decide`] is a pure function. Nothing that is text for people is among its inputs; what is not allowed is denied; and
//! of all that is said of an offer, the worst counts.
//!
//! | question | where it is decided |
//! |---|---|
//! | what each rule says of an offer | `rules` |
//! | which of several good offers is taken | `rank` |
//! | how the answer is told | [`Explanation`] |

mod explain;
mod rank;
mod rules;

pub use explain::{Effect, Explanation, Judgement, Verdict};

use super::challenge::Challenge;
use super::counters::question::Need;
use super::counters::{Counters, Draw, Question};
use super::money::{AccountId, Money};
use super::policy::Policy;
use super::purse::Purse;
use super::reason::Reason;
use super::request::Request;

/// What was decided, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub outcome: Outcome,
    /// Every rule that was looked at.
    pub explanation: Explanation,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Pay this offer.
    Choose(Choice),
    /// Somebody must approve this offer first.
    Ask(Asked),
    /// Pay nothing.
    Deny(Denied),
}

/// An offer that is to be paid.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Where the offer stands in the challenge.
    pub offer: usize,
    /// The account that pays.
    pub payer: AccountId,
    /// Whether the payer is a contract, whose signature only the chain can check.
    pub contract: bool,
    /// Seconds that the payment is good for.
    pub valid_seconds: u64,
    pub(super) money: Money,
    pub(super) draws: Vec<Draw>,
    pub(super) cooldowns: Vec<String>,
    pub(super) duplicate_key: String,
    pub(super) subject: String,
    pub(super) trusted: bool,
}

/// An offer that somebody must approve.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Where the offer stands in the challenge.
    pub offer: usize,
    /// The question, once [`Counters::reserve`] has asked it. What was only decided, and not reserved, has none.
    pub question: Option<Box<Question>>,
    pub(super) needs: Vec<Need>,
    pub(super) seconds: u64,
    pub(super) subject: String,
    /// Whether a lock begins with the question.
    pub(super) locks: bool,
}

/// Why nothing is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The reasons, worst first; never empty.
    pub reasons: Vec<Reason>,
    /// Unix seconds from which on it may be otherwise, if it is only too early.
    pub retry_at: Option<u64>,
    /// Whose lock begins.
    pub(super) lock: Option<String>,
}

impl Choice {
    /// A choice that was made and reserved before.
    pub(super) fn again(
        offer: usize,
        payer: AccountId,
        contract: bool,
        valid_seconds: u64,
        money: Money,
        trusted: bool,
    ) -> Self {
        let (duplicate_key, subject) = (String::new(), String::new());
        let (draws, cooldowns) = (Vec::new(), Vec::new());
        Self { offer, payer, contract, valid_seconds, money, draws, cooldowns, duplicate_key, subject, trusted }
    }
}

impl Decision {
    /// The choice, if there is one.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        match &self.outcome {
            Outcome::Choose(choice) => Some(choice),
            _ => None,
        }
    }

    /// The reasons for which nothing is paid; empty if something is.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        match &self.outcome {
            Outcome::Choose(_) => Vec::new(),
            Outcome::Ask(_) => vec![Reason::ApprovalNeeded],
            Outcome::Deny(denied) => denied.reasons.clone(),
        }
    }

    /// This decision, with the question that it asks.
    pub(super) fn asking(mut self, question: Question) -> Self {
        if let Outcome::Ask(asked) = &mut self.outcome {
            asked.question = Some(Box::new(question));
        }
        self
    }

    fn deny(explanation: Explanation, retry_at: Option<u64>, lock: Option<String>) -> Self {
        let mut reasons = explanation.reasons();
        if reasons.is_empty() {
            reasons.push(Reason::NotAllowed);
        }
        Self { outcome: Outcome::Deny(Denied { reasons, retry_at, lock }), explanation }
    }
}

/// Judges the offers of a challenge. Nothing is reserved; [`Counters::reserve`] does both in one step.
#[must_use]
pub fn decide(
    policy: &Policy,
    challenge: &Challenge,
    request: &Request,
    purse: &Purse,
    counters: &Counters,
    now: u64,
) -> Decision {
    let mut explanation = Explanation { request: rules::request(policy, request, counters, now), offers: Vec::new() };
    let now = counters.clock(now);
    let request_key = policy.duplicates.map(|_| request.key());
    let context = rules::Context { policy, challenge, request, purse, counters, request_key, now };
    let mut cases = Vec::new();
    for offer in challenge.offers() {
        match offer {
            Err(unfit) => {
                let verdict = Verdict::deny("offer", unfit.reason).with("member", unfit.detail);
                explanation.offers.push(Judgement { offer: unfit.index, verdicts: vec![verdict], rank: Vec::new() });
            }
            Ok(offer) => {
                let mut case = rules::judge(&context, offer);
                let standing = case.standing();
                let verdicts = std::mem::take(&mut case.verdicts);
                explanation.offers.push(Judgement { offer: offer.index, verdicts, rank: Vec::new() });
                cases.push((standing, case));
            }
        }
    }
    if explanation.request.iter().any(|verdict| verdict.effect > Effect::Pass) {
        return Decision::deny(explanation, None, None);
    }
    for effect in [Effect::Pass, Effect::Ask, Effect::Wait] {
        let standing: Vec<&rules::Case<'_>> =
            cases.iter().filter(|(standing, _)| *standing == effect).map(|(_, case)| case).collect();
        let mut first = None;
        for (case, why) in rank::rank(policy, request, counters, now, &standing) {
            if let Some(judgement) = explanation.offers.iter_mut().find(|it| it.offer == case.offer.index) {
                judgement.rank = why;
            }
            first = first.or(Some(case));
        }
        let Some(case) = first else { continue };
        return match effect {
            Effect::Pass => match case.choice() {
                Some(choice) => Decision { outcome: Outcome::Choose(choice), explanation },
                None => Decision::deny(explanation, None, None),
            },
            Effect::Ask => Decision { outcome: Outcome::Ask(case.asked()), explanation },
            _ => Decision::deny(explanation, case.retry_at, case.lock_to_begin()),
        };
    }
    let retry_at = cases.iter().filter_map(|(_, case)| case.retry_at).min();
    Decision::deny(explanation, retry_at, None)
}

/// Everything that a rule says of one offer, without looking at which policy is in force. For comparing policies.
#[cfg(test)]
pub(super) fn effect_of(
    policy: &Policy,
    challenge: &Challenge,
    offer: &super::challenge::Offer,
    request: &Request,
    purse: &Purse,
    counters: &Counters,
    now: u64,
) -> (Effect, Vec<Verdict>) {
    let request_key = policy.duplicates.map(|_| request.key());
    let context = rules::Context { policy, challenge, request, purse, counters, request_key, now };
    let case = rules::judge(&context, offer);
    (case.standing(), case.verdicts)
}
