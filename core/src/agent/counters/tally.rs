//! What was spent, and when, as far as a window can still see it.

use crate::agent::policy::Span;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Parts of a rolling window in which amounts are added up. An amount counts until its part has left the window whole,
/// so it counts for up to a forty-eighth of the period too long and never too short.
const PARTS: u64 = 48;

/// Amounts by the time they were drawn at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tally {
    /// Everything ever drawn and not given back.
    #[serde(with = "super::decimal")]
    total: u128,
    /// What a window can still see, oldest first: first second, second after the last, amount.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    parts: VecDeque<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part(u64, u64, #[serde(with = "super::decimal")] u128);

impl Tally {
    /// What counts at `now`.
    pub(super) fn used(&self, span: Span, now: u64) -> u128 {
        let (from, _) = match span {
            Span::Lifetime => return self.total,
            span => reach(span, now),
        };
        let seen = self.parts.iter().filter(|part| part.1 > from);
        seen.fold(0, |sum, part| sum.saturating_add(part.2))
    }

    /// Adds `amount`, drawn at `now`; the part of the time that it is counted in.
    pub(super) fn draw(&mut self, amount: u128, span: Span, now: u64) -> (u64, u64) {
        self.total = self.total.saturating_add(amount);
        self.forget(span, now);
        let Some((begin, end)) = part(span, now) else { return (0, 0) };
        match self.parts.iter_mut().find(|part| part.0 == begin && part.1 == end) {
            Some(part) => part.2 = part.2.saturating_add(amount),
            None => self.parts.push_back(Part(begin, end, amount)),
        }
        (begin, end)
    }

    /// Takes back what was drawn in this part of the time. What no window sees any more cannot be taken back from it.
    pub(super) fn give_back(&mut self, amount: u128, (begin, end): (u64, u64)) {
        self.total = self.total.saturating_sub(amount);
        if let Some(part) = self.parts.iter_mut().find(|part| part.0 == begin && part.1 == end) {
            part.2 = part.2.saturating_sub(amount);
        }
    }

    /// Drops what no window sees any more; whether anything is left.
    pub(super) fn forget(&mut self, span: Span, now: u64) -> bool {
        if span == Span::Lifetime {
            return true;
        }
        let (from, _) = reach(span, now);
        self.parts.retain(|part| part.1 > from && part.2 > 0);
        !self.parts.is_empty()
    }
}

/// The seconds that count at `now`: after the first, up to the second.
fn reach(span: Span, now: u64) -> (u64, u64) {
    match span {
        Span::Lifetime => (0, now),
        Span::Rolling(seconds) => (now.saturating_sub(seconds), now),
        Span::Fixed { seconds, start } => (window(seconds, start, now).0, now),
    }
}

/// The part of the time that `now` belongs to: first second, second after the last.
fn part(span: Span, now: u64) -> Option<(u64, u64)> {
    match span {
        Span::Lifetime => None,
        Span::Rolling(seconds) => {
            let length = (seconds / PARTS).max(1);
            let begin = now - now % length;
            Some((begin, begin.saturating_add(length)))
        }
        Span::Fixed { seconds, start } => Some(window(seconds, start, now)),
    }
}

/// The fixed window that `now` is in. Before `start` there is one that ends there.
pub(in crate::agent) fn window(seconds: u64, start: u64, now: u64) -> (u64, u64) {
    let seconds = seconds.max(1);
    match now.checked_sub(start) {
        None => (0, start),
        Some(passed) => {
            let begin = start + (passed - passed % seconds);
            (begin, begin.saturating_add(seconds))
        }
    }
}

/// The time from which counters must have been kept so that what counts at `now` is all there.
pub(in crate::agent) fn needed_since(span: Span, now: u64) -> u64 {
    match span {
        Span::Lifetime => 0,
        span => reach(span, now).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fixed_window_begins_anew_and_a_lifetime_never() {
        let (fixed, life) = (Span::Fixed { seconds: 100, start: 1000 }, Span::Lifetime);
        let mut tally = Tally::default();
        tally.draw(5, fixed, 1099);
        assert_eq!((tally.used(fixed, 1099), tally.used(fixed, 1100)), (5, 0));
        let part = tally.draw(7, fixed, 1100);
        assert_eq!((tally.used(fixed, 1199), tally.used(life, 1199)), (7, 12));
        tally.give_back(7, part);
        assert_eq!((tally.used(fixed, 1199), tally.used(life, 1199)), (0, 5));
        assert_eq!(window(100, 1000, 999), (0, 1000));
    }

    proptest! {
        /// Whatever is drawn whenever: at every moment at least what was drawn in the last period counts, and nothing
        /// that is older than the period and a forty-eighth.
        #[test]
        fn a_rolling_window_never_counts_too_little(
            seconds in 1u64..5000,
            draws in prop::collection::vec((0u64..300, 1u128..100, any::<bool>()), 1..60),
        ) {
            let span = Span::Rolling(seconds);
            let mut tally = Tally::default();
            let mut kept: Vec<(u64, u128)> = Vec::new();
            let mut now = 1_800_000_000;
            for (pause, amount, back) in draws {
                now += pause;
                let part = tally.draw(amount, span, now);
                if back {
                    tally.give_back(amount, part);
                } else {
                    kept.push((now, amount));
                }
                let sum = |from: u64| kept.iter().filter(|(at, _)| *at > from).map(|(_, it)| it).sum::<u128>();
                prop_assert!(tally.used(span, now) >= sum(now - seconds));
                prop_assert!(tally.used(span, now) <= sum(now - seconds - (seconds / PARTS).max(1) - 1));
                prop_assert!(tally.parts.len() <= 50);
            }
        }
    }
}
