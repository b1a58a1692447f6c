//! What a token allows: one entry of `authorization_details` (RFC 9396) of the type `http_call`.

use super::members::{Members, texts};
use super::{Constraint, Limit, Per, TokenError, Unit};
use crate::policy::authority::Origin;
use crate::policy::method;
use serde_json::{Map, Value};

const TYPE: &str = "http_call";
const MAX_ENTRIES: usize = 16;

/// A call that a token is to pay for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Scheme and authority as the policy knows them: `https://api.example.com`.
    pub origin: &'a str,
    /// The method, as it came.
    pub method: &'a str,
    /// The canonical path, without the query.
    pub path: &'a str,
    /// The policy's name of the route.
    pub route: &'a str,
    /// What the call costs, as far as it is known before it is made. A unit that is not listed costs nothing.
    pub cost: &'a [(Unit, u128)],
}

/// Calls that a token allows, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Origins: scheme and authority, lower-case, without a default port.
    pub locations: Vec<String>,
    /// Methods. `HEAD` must be listed like any other.
    pub actions: Vec<String>,
    /// Conditions, all of which must hold.
    pub constraints: Vec<Constraint>,
    /// Limits, all of which are counted.
    pub limits: Vec<Limit>,
}

impl Grant {
    /// Reads an entry of `authorization_details`.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] if anything in it is not understood.
    pub fn parse(value: &Value) -> Result<Self, TokenError> {
        const WHAT: &str = "an entry of `authorization_details` has `type`, `locations`, `actions`, `constraints` and \
                            `limits`, and nothing else";
        let mut members = Members::of(value, WHAT)?;
        members.must("type", "the type of `authorization_details` is `http_call`", |kind| {
            (kind.as_str()? == TYPE).then_some(())
        })?;
        let grant = Self {
            locations: members
                .must("locations", "`locations` are 1 to 16 origins", |list| texts(list, MAX_ENTRIES, is_origin))?,
            actions: members.must("actions", "`actions` are 1 to 16 methods", |list| {
                texts(list, MAX_ENTRIES, |name| method::is_allowed(name.as_bytes()))
            })?,
            constraints: list(members.take("constraints"), Constraint::parse)?,
            limits: list(members.take("limits"), Limit::parse)?,
        };
        members.end(WHAT)?;
        grant.check_limits()?;
        Ok(grant)
    }

    /// As [`parse`](Self::parse) reads it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("type".to_owned(), TYPE.into());
        entry.insert("locations".to_owned(), self.locations.clone().into());
        entry.insert("actions".to_owned(), self.actions.clone().into());
        if !self.constraints.is_empty() {
            entry.insert("constraints".to_owned(), self.constraints.iter().map(Constraint::to_value).collect());
        }
        if !self.limits.is_empty() {
            entry.insert("limits".to_owned(), self.limits.iter().map(Limit::to_value).collect());
        }
        Value::Object(entry)
    }

    fn check_limits(&self) -> Result<(), TokenError> {
        let twice = self
            .limits
            .iter()
            .enumerate()
            .any(|(index, limit)| self.limits.iter().take(index).any(|earlier| earlier.counts_as(limit)));
        if twice { Err(TokenError::Malformed("two limits of one grant count the same")) } else { Ok(()) }
    }

    /// Whether it allows `call`. What was spent before is the ledger's to know.
    ///
    /// A grant that limits money allows only calls that cost money it names: else a call priced in another asset, or in
    /// none, would be free. A grant that limits no money at all has been paid for in another way.
    ///
    /// # Errors
    /// [`TokenError::CallLimit`] if only the limits of a single call forbid it, else [`TokenError::NotGranted`].
    pub fn covers(&self, call: &Call<'_>) -> Result<(), TokenError> {
        let admitted = self.locations.iter().any(|origin| origin == call.origin)
            && self.actions.iter().any(|method| method == call.method)
            && self.constraints.iter().all(|constraint| constraint.admits(call.path, call.route))
            && call.cost.iter().all(|(unit, amount)| *amount == 0 || self.has_money(unit))
            && (!self.limits_money() || call.cost.iter().any(|(unit, _)| unit.is_asset()));
        if !admitted {
            return Err(TokenError::NotGranted);
        }
        let within =
            self.limits.iter().all(|limit| limit.per != Per::Call || total(call.cost, &limit.unit) <= limit.max);
        if within { Ok(()) } else { Err(TokenError::CallLimit) }
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn weight(&self) -> usize {
        let of = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + 2 * text.len()).sum::<usize>();
        let constraints = self.constraints.iter().map(|constraint| match constraint {
            Constraint::PathPrefix(prefix) => 2 * prefix.len(),
            Constraint::PathOneOf(choices) | Constraint::RouteOneOf(choices) => of(choices),
        });
        let limits = self.limits.iter().map(|limit| size_of::<Limit>() + 2 * limit.unit.wire().len());
        size_of::<Self>()
            + of(&self.locations)
            + of(&self.actions)
            + constraints.map(|inner| size_of::<Constraint>() + inner).sum::<usize>()
            + limits.sum::<usize>()
    }

    /// Whether `unit` may be spent under this grant: it is no money, or money that it names, or it names none at all.
    fn has_money(&self, unit: &Unit) -> bool {
        !unit.is_asset() || !self.limits_money() || self.limits.iter().any(|limit| limit.unit == *unit)
    }

    fn limits_money(&self) -> bool {
        self.limits.iter().any(|limit| limit.unit.is_asset())
    }

    /// Whether every call that this grant covers is covered by `parent`, and counted by it no more than here.
    ///
    /// Each condition of the parent must be there again, as it was or narrower; each limit again, as it was or lower.
    ///
    /// # Errors
    /// [`TokenError::Wider`] with the first thing that is wider.
    pub fn narrower_than(&self, parent: &Self) -> Result<(), TokenError> {
        if !self.locations.iter().all(|origin| parent.locations.contains(origin)) {
            return Err(TokenError::Wider("locations"));
        }
        if !self.actions.iter().all(|method| parent.actions.contains(method)) {
            return Err(TokenError::Wider("actions"));
        }
        let kept = |theirs: &Constraint| self.constraints.iter().any(|ours| ours.narrower_than(theirs));
        if !parent.constraints.iter().all(kept) {
            return Err(TokenError::Wider("constraints"));
        }
        let kept = |theirs: &Limit| self.limits.iter().any(|ours| ours.counts_as(theirs) && ours.max <= theirs.max);
        if !parent.limits.iter().all(kept) {
            return Err(TokenError::Wider("limits"));
        }
        if !self.limits.iter().all(|limit| parent.has_money(&limit.unit)) {
            return Err(TokenError::Wider("limits in another asset"));
        }
        Ok(())
    }

    /// Adds each condition and limit of `parent` that nothing here stands for yet, so that a grant which says only
    /// what is to be narrower becomes one that is.
    pub fn inherit(&mut self, parent: &Self) {
        let missing: Vec<_> = parent
            .constraints
            .iter()
            .filter(|theirs| !self.constraints.iter().any(|ours| ours.same_key(theirs)))
            .cloned()
            .collect();
        self.constraints.extend(missing);
        let missing: Vec<_> = parent
            .limits
            .iter()
            .filter(|theirs| !self.limits.iter().any(|ours| ours.counts_as(theirs)))
            .cloned()
            .collect();
        self.limits.extend(missing);
    }
}

/// What `cost` says about `unit`, all entries together.
pub(super) fn total(cost: &[(Unit, u128)], unit: &Unit) -> u128 {
    cost.iter().filter(|(listed, _)| listed == unit).fold(0, |sum, (_, amount)| sum.saturating_add(*amount))
}

fn list<T>(value: Option<&Value>, read: impl Fn(&Value) -> Result<T, TokenError>) -> Result<Vec<T>, TokenError> {
    const WHAT: &str = "`constraints` and `limits` are lists of at most 16";
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let items = value.as_array().filter(|items| items.len() <= MAX_ENTRIES).ok_or(TokenError::Malformed(WHAT))?;
    items.iter().map(read).collect()
}

fn is_origin(text: &str) -> bool {
    Origin::parse(text, false).is_ok_and(|origin| origin.text() == text)
}
