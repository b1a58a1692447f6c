//! Circuit breakers: a facilitator that keeps failing is left alone for a while, then tried by one call at a time.
//!
//! ```text
//! closed ── failures in a row, or told to come later ──▶ open ── its time is over ──▶ half-open
//!   ▲                                                    ▲                              │
//!   └────────────── the one call it lets through is answered                            │
//!                                                        └───── or fails ───────────────┘
//! ```
//!
//! Each worker has its own. An answer that says no is an answer: only what tells that the facilitator itself is in
//! trouble counts (connection failures, timeouts, 5xx, 429, answers that are not answers).

use crate::policy::Facilitator;
use std::cell::Cell;

/// Most seconds that a facilitator's own `Retry-After` keeps it closed to us.
const LONGEST_WAIT: u64 = 300;

/// The breakers of a policy's facilitators, by their index there.
#[derive(Debug, Default)]
pub struct Breakers(Vec<Breaker>);

#[derive(Debug)]
struct Breaker {
    failures: u32,
    open_millis: u64,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until_millis: u64 },
    HalfOpen { probing: bool },
}

/// A state that a breaker has just entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// Calls go through.
    Closed,
    /// No call goes through for this many seconds.
    Open(u64),
    /// One call goes through at a time.
    HalfOpen,
}

impl Entered {
    /// The state's name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a call told of its facilitator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works: it gave a usable answer, whichever.
    Good,
    /// It is in trouble; with the seconds after which it asked to be tried again.
    Bad {
        /// Its `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Nothing: it could not read this one payment, or nobody waited for the answer.
    Unclear,
}

impl Breakers {
    /// Breakers for these facilitators, all closed.
    #[must_use]
    pub fn new(facilitators: &[Facilitator]) -> Self {
        let breaker = |facilitator: &Facilitator| Breaker {
            failures: facilitator.breaker_failures,
            open_millis: facilitator.breaker_open_seconds.saturating_mul(1000),
            state: Cell::new(State::Closed { failures: 0 }),
        };
        Self(facilitators.iter().map(breaker).collect())
    }

    /// The right to call a facilitator now, if its breaker allows it.
    #[must_use]
    pub fn ask(&self, index: u16, now_millis: u64) -> Option<Permit<'_>> {
        let breaker = self.0.get(usize::from(index))?;
        let (next, entered) = match breaker.state.get() {
            state @ State::Closed { .. } => (state, None),
            State::Open { until_millis } if until_millis > now_millis => return None,
            State::Open { .. } => (State::HalfOpen { probing: true }, Some(Entered::HalfOpen)),
            State::HalfOpen { probing: false } => (State::HalfOpen { probing: true }, None),
            State::HalfOpen { probing: true } => return None,
        };
        breaker.state.set(next);
        Some(Permit { breaker, probe: next == State::HalfOpen { probing: true }, entered })
    }

    /// Whether a facilitator is not to be called now. One that is due to be tried is not open.
    #[must_use]
    pub fn is_open(&self, index: u16, now_millis: u64) -> bool {
        let state = self.0.get(usize::from(index)).map(|breaker| breaker.state.get());
        matches!(state, Some(State::Open { until_millis }) if until_millis > now_millis)
    }

    /// Seconds until the first of those that are open may be tried again; `None` if none is open.
    #[must_use]
    pub fn wait(&self, now_millis: u64) -> Option<u64> {
        let left = |breaker: &Breaker| match breaker.state.get() {
            State::Open { until_millis } => until_millis.checked_sub(now_millis).filter(|left| *left > 0),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        };
        self.0.iter().filter_map(left).min().map(|millis| millis.div_ceil(1000))
    }
}

/// The right to make one call. Dropped unused, it is as if it had not been given.
#[derive(Debug)]
#[must_use = "a call is made, and its outcome told"]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
    entered: Option<Entered>,
}

impl Permit<'_> {
    /// The state that the breaker entered by giving it.
    #[must_use]
    pub fn entered(&self) -> Option<Entered> {
        self.entered
    }

    /// What the call told, and the state that the breaker enters by it. A call that left before the breaker opened
    /// changes nothing any more.
    pub fn tell(self, health: Health, now_millis: u64) -> Option<Entered> {
        let counted = match (self.breaker.state.get(), self.probe) {
            (State::Closed { failures }, _) => failures,
            (State::HalfOpen { .. }, true) => self.breaker.failures,
            (State::HalfOpen { .. }, false) | (State::Open { .. }, _) => return None,
        };
        let (next, entered) = match health {
            Health::Unclear => return None,
            Health::Good => (State::Closed { failures: 0 }, self.probe.then_some(Entered::Closed)),
            Health::Bad { retry_after: None } if counted.saturating_add(1) < self.breaker.failures => {
                (State::Closed { failures: counted.saturating_add(1) }, None)
            }
            Health::Bad { retry_after } => {
                let told = retry_after.unwrap_or(0).min(LONGEST_WAIT).saturating_mul(1000);
                let millis = self.breaker.open_millis.max(told);
                let until_millis = now_millis.saturating_add(millis);
                (State::Open { until_millis }, Some(Entered::Open(millis.div_ceil(1000))))
            }
        };
        self.breaker.state.set(next);
        entered
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && self.breaker.state.get() == (State::HalfOpen { probing: true }) {
            self.breaker.state.set(State::HalfOpen { probing: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Health = Health::Bad { retry_after: None };

    fn breakers() -> Breakers {
        let breaker = |_| Breaker { failures: 3, open_millis: 10_000, state: Cell::new(State::Closed { failures: 0 }) };
        Breakers((0..2).map(breaker).collect())
    }

    fn tell(breakers: &Breakers, health: Health, now: u64) -> Option<Entered> {
        breakers.ask(0, now).unwrap().tell(health, now)
    }

    fn fail(breakers: &Breakers) {
        for _ in 0..3 {
            tell(breakers, BAD, 0);
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_only_then() {
        let breakers = breakers();
        for health in [BAD, BAD, Health::Good, BAD, Health::Unclear, BAD] {
            assert_eq!(tell(&breakers, health, 0), None);
        }
        assert_eq!(tell(&breakers, BAD, 0), Some(Entered::Open(10)));
        assert!(breakers.ask(0, 9_999).is_none() && breakers.is_open(0, 9_999));
        assert!(breakers.ask(1, 0).is_some() && !breakers.is_open(1, 0));
        assert_eq!((breakers.wait(0), breakers.wait(9_001), breakers.wait(10_000)), (Some(10), Some(1), None));
    }

    #[test]
    fn half_open_lets_one_call_through_at_a_time() {
        let breakers = breakers();
        fail(&breakers);
        assert!(!breakers.is_open(0, 10_000));
        let probe = breakers.ask(0, 10_000).unwrap();
        assert_eq!(probe.entered(), Some(Entered::HalfOpen));
        assert!(breakers.ask(0, 10_000).is_none());
        // A probe that nobody waits for any more makes room for the next.
        drop(probe);
        let probe = breakers.ask(0, 10_000).unwrap();
        assert_eq!((probe.entered(), probe.tell(BAD, 10_000)), (None, Some(Entered::Open(10))));
        assert!(breakers.ask(0, 19_999).is_none());
        assert_eq!(breakers.ask(0, 20_000).unwrap().tell(Health::Unclear, 20_000), None);
        assert_eq!(breakers.ask(0, 20_000).unwrap().tell(Health::Good, 20_000), Some(Entered::Closed));
        assert_eq!(tell(&breakers, BAD, 20_000), None);
    }

    #[test]
    fn answers_to_calls_from_before_it_opened_change_nothing() {
        let breakers = breakers();
        let (early, late) = (breakers.ask(0, 0).unwrap(), breakers.ask(0, 0).unwrap());
        fail(&breakers);
        assert_eq!(early.tell(Health::Good, 5_000), None);
        assert!(breakers.is_open(0, 5_000));
        let probe = breakers.ask(0, 10_000).unwrap();
        assert_eq!(late.tell(Health::Good, 10_000), None);
        assert!(breakers.ask(0, 10_000).is_none());
        assert_eq!(probe.tell(Health::Good, 10_000), Some(Entered::Closed));
    }

    #[test]
    fn told_to_come_later_it_opens_at_once_for_as_long_as_asked_up_to_a_limit() {
        for (asked, open) in [(30, 30), (1, 10), (86_400, LONGEST_WAIT)] {
            let told = Health::Bad { retry_after: Some(asked) };
            assert_eq!(tell(&breakers(), told, 0), Some(Entered::Open(open)), "{asked}");
        }
    }
}
