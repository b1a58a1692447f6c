//! Passes: what an offer buys when it buys a token.

use super::config;
use super::mistake::{Mistakes, quoted};
use super::tokens::LONGEST;
use crate::rail::x402::price::atomic;
use crate::token::{Constraint, Grant, Limit, Per, TokenError, Unit};
use serde_json::{Map, Value, json};

/// The capability token that an offer buys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Limits of the token of a buyer that introduces a holder key.
    pub limits: PassLimits,
    /// Limits of a bearer token; `None`: the pass is sold only to buyers that introduce a holder key.
    pub bearer: Option<PassLimits>,
    /// How often the token may be delegated on.
    pub delegations: u8,
    /// CAIP-19 id of the asset that a budget is in.
    pub asset: String,
    /// Names of the routes the token is good for; empty until the routes have their names.
    pub routes: Vec<String>,
    /// Methods that one of those routes has; empty for all.
    pub methods: Vec<String>,
}

/// What a token may be used for in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassLimits {
    /// Calls.
    pub calls: Option<u64>,
    /// Atomic units of the asset.
    pub budget: Option<u128>,
    /// Bytes of responses.
    pub bytes: Option<u64>,
    /// Seconds from its purchase.
    pub seconds: u64,
    /// Calls in how many seconds.
    pub rate: Option<(u64, u32)>,
}

/// Compiles a pass, all but its routes.
pub(crate) fn compile(
    written: &config::Pass,
    asset: &str,
    at: &str,
    bearer_max_seconds: u64,
    mistakes: &mut Mistakes,
) -> Pass {
    let mut wrong = |field: &str, found: String, hint: &str| mistakes.add(format!("{at}.{field}"), found, hint);
    if written.calls.is_none() && written.budget.is_none() {
        wrong("calls", "missing".to_owned(), "write how many calls the pass is good for, or a `budget` of money");
    }
    for (field, value) in [("calls", written.calls), ("bytes", written.bytes)] {
        if value == Some(0) {
            wrong(field, "found 0".to_owned(), "write 1 or more, or leave it out");
        }
    }
    if !(1..=LONGEST).contains(&written.seconds) {
        wrong("seconds", format!("found {}", written.seconds), "write 1 to 31536000 (a year)");
    }
    if written.delegations > 3 {
        wrong(
            "delegations",
            format!("found {}", written.delegations),
            "write 0 to 3: a credential has at most 4 links",
        );
    }
    if let Some(rate) = &written.rate
        && (rate.calls == 0 || !(1..=86_400).contains(&rate.seconds))
    {
        let found = format!("found {} calls in {} s", rate.calls, rate.seconds);
        wrong("rate", found, "write 1 or more `calls` in 1 to 86400 `seconds`");
    }
    let units = |text: &Option<String>, field: &str, mistakes: &mut Mistakes| {
        let text = text.as_deref()?;
        let units = atomic(text, 0).ok();
        if units.is_none() {
            let hint = "write atomic units of the offer's asset, like \"5000000\"";
            mistakes.add(format!("{at}.{field}"), format!("found {}", quoted(text)), hint);
        }
        units
    };
    let limits = PassLimits {
        calls: written.calls,
        budget: units(&written.budget, "budget", mistakes),
        bytes: written.bytes,
        seconds: written.seconds,
        rate: written.rate.as_ref().and_then(|rate| Some((rate.calls, u32::try_from(rate.seconds).ok()?))),
    };
    let bearer = written.bearer.as_ref().map(|bearer| {
        let seconds = bearer.seconds.unwrap_or(written.seconds.min(bearer_max_seconds));
        let budget = units(&bearer.budget, "bearer.budget", mistakes).or(limits.budget);
        let mut at_most = |field: &str, value: Option<u128>, most: Option<u128>, of: &str| {
            if value.zip(most).is_some_and(|(value, most)| value > most) || (value.is_some() && most.is_none()) {
                let most = most.map_or_else(|| "nothing".to_owned(), |most| most.to_string());
                let hint = format!("write at most {most}, which is {of}");
                mistakes.add(format!("{at}.bearer.{field}"), "more than is allowed", hint);
            }
        };
        at_most("calls", bearer.calls.map(u128::from), limits.calls.map(u128::from), "the pass's own");
        at_most("budget", bearer.budget.as_ref().and(budget), limits.budget, "the pass's own");
        at_most("seconds", Some(seconds.into()), Some(written.seconds.into()), "the pass's own");
        at_most("seconds", Some(seconds.into()), Some(bearer_max_seconds.into()), "`tokens.bearer_max_seconds`");
        PassLimits { calls: bearer.calls.or(limits.calls), budget, seconds, ..limits.clone() }
    });
    let delegations = u8::try_from(written.delegations).unwrap_or(0);
    let routes = written.routes.clone().unwrap_or_default();
    Pass { limits, bearer, delegations, asset: asset.to_owned(), routes, methods: Vec::new() }
}

/// What a grant lists where every method is meant.
const EVERY_METHOD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What a token that is sold or given allows at `origin`. `methods`: none for all.
pub(crate) fn grant(origin: &str, routes: &[String], methods: &[String], limits: &PassLimits, asset: &str) -> Grant {
    let mut actions = if methods.is_empty() { EVERY_METHOD.map(str::to_owned).to_vec() } else { methods.to_vec() };
    if actions.iter().any(|method| method == "GET") && !actions.iter().any(|method| method == "HEAD") {
        actions.push("HEAD".to_owned());
    }
    let mut counted = Vec::new();
    let mut limit = |per, unit, max: Option<u128>| counted.extend(max.map(|max| Limit { per, unit, max }));
    limit(Per::Token, Unit::Call, limits.calls.map(u128::from));
    limit(Per::Token, Unit::Byte, limits.bytes.map(u128::from));
    limit(Per::Token, Unit::Asset(asset.into()), limits.budget);
    if let Some((calls, seconds)) = limits.rate {
        limit(Per::Window(seconds), Unit::Call, Some(calls.into()));
    }
    let constraints = vec![Constraint::RouteOneOf(routes.to_vec())];
    Grant { locations: vec![origin.to_owned()], actions, constraints, limits: counted }
}

impl Pass {
    /// What the token of a buyer with a holder key, or of one without, allows at `origin`.
    pub(crate) fn grant(&self, origin: &str, limits: &PassLimits) -> Grant {
        grant(origin, &self.routes, &self.methods, limits, &self.asset)
    }

    /// Whether the token that it sells can be made: tokens have their own limits.
    ///
    /// # Errors
    /// What is too much, or not understood.
    pub(crate) fn can_be_granted(&self) -> Result<(), TokenError> {
        let every = [Some(&self.limits), self.bearer.as_ref()];
        every.into_iter().flatten().try_for_each(|limits| {
            let grant = self.grant("https://example.com", limits);
            Grant::parse(&grant.to_value()).map(drop)
        })
    }

    /// The pass as the challenge describes it, in the requirement's `extra.pass`.
    #[must_use]
    pub fn described(&self) -> Value {
        let mut described = self.limits.described();
        if self.delegations > 0 {
            described.insert("delegations".to_owned(), self.delegations.into());
        }
        match &self.bearer {
            None => {
                described.insert("holder".to_owned(), "required".into());
            }
            Some(bearer) if *bearer == self.limits => {}
            Some(bearer) => {
                described.insert("bearer".to_owned(), Value::Object(bearer.described()));
            }
        }
        Value::Object(described)
    }
}

impl PassLimits {
    fn described(&self) -> Map<String, Value> {
        let mut described = Map::new();
        let mut say = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                described.insert(key.to_owned(), value);
            }
        };
        say("calls", self.calls.map(Value::from));
        say("budget", self.budget.map(|budget| budget.to_string().into()));
        say("bytes", self.bytes.map(Value::from));
        say("expiresIn", Some(self.seconds.into()));
        say("rate", self.rate.map(|(calls, seconds)| json!({ "calls": calls, "seconds": seconds })));
        described
    }
}
