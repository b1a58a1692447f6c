//! Rates, as the generic cell rate algorithm, in whole numbers.
//!
//! A rate of `max` in `period` milliseconds is a store of that size which fills evenly. Its state is the moment at
//! which it will be full again, in ticks of 1/`max` millisecond since the Unix epoch: one unit takes exactly `period`
//! ticks, so nothing is ever rounded.
//!
//! The clock may step. Full is never much further off than one whole period from now: a state beyond that was written
//! under a clock that was ahead, and is [corrected](Meter::corrected) to an empty store, so that nobody is locked out
//! until that clock's time comes. A clock that goes back makes nothing fuller; one that goes forward fills the store
//! once.

/// The largest rate that is counted exactly; with it and [`LAST_MILLI`] no sum below leaves `u128`.
const LARGEST: u128 = 1 << 80;
/// A moment in the year 6429.
const LAST_MILLI: u64 = 1 << 47;
/// Milliseconds by which workers may differ on what time it is, without one of them correcting another.
const APART: u128 = 10_000;

/// A rate at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    now: u128,
    /// Ticks that one unit takes.
    each: u128,
    /// Ticks that the whole store takes.
    whole: u128,
    max: u128,
}

impl Meter {
    pub(super) fn new(period_seconds: u32, max: u128, now_millis: u64) -> Self {
        let max = max.min(LARGEST);
        let each = u128::from(period_seconds) * 1000;
        Self { now: u128::from(now_millis.min(LAST_MILLI)) * max, each, whole: each * max, max }
    }

    /// What to put in the place of a state that no clock near ours has written. Must be kept, whatever becomes of the
    /// draw: the wait begins now.
    pub(super) fn corrected(&self, state: u128) -> Option<u128> {
        let empty = self.now + self.whole;
        (state > empty + APART * self.max).then_some(empty)
    }

    /// The state after taking `cost`.
    ///
    /// # Errors
    /// Milliseconds until there is room, if there will ever be.
    pub(super) fn take(&self, state: u128, cost: u128) -> Result<u128, Option<u64>> {
        if cost > self.max {
            return Err(None);
        }
        let after = self.whole_at(state).saturating_add(cost * self.each);
        let over = after.saturating_sub(self.now + self.whole);
        if over > 0 { Err(Some(self.millis(over))) } else { Ok(after) }
    }

    /// The state after taking `cost`, whether or not there is room: an empty store at most.
    pub(super) fn force(&self, state: u128, cost: u128) -> u128 {
        let after = self.whole_at(state).saturating_add(cost.min(self.max) * self.each);
        after.min(self.now + self.whole).max(state)
    }

    /// How much could be taken now.
    pub(super) fn left(&self, state: u128) -> u128 {
        (self.now + self.whole).saturating_sub(self.whole_at(state)).checked_div(self.each).unwrap_or(0)
    }

    /// Milliseconds until the store is full.
    pub(super) fn whole_in_millis(&self, state: u128) -> u64 {
        self.millis(self.whole_at(state) - self.now)
    }

    fn whole_at(&self, state: u128) -> u128 {
        state.max(self.now)
    }

    fn millis(&self, ticks: u128) -> u64 {
        u64::try_from(ticks.div_ceil(self.max.max(1))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000_000;

    /// Takes as the ledger does: what is corrected stays so.
    fn taken(state: &mut u128, max: u128, cost: u128, now: u64) -> bool {
        let meter = Meter::new(60, max, now);
        *state = meter.corrected(*state).unwrap_or(*state);
        meter.take(*state, cost).is_ok_and(|after| {
            *state = after;
            true
        })
    }

    #[test]
    fn as_much_as_has_flowed_back_and_no_more() {
        let mut state = 0;
        assert_eq!((0..100).filter(|_| taken(&mut state, 7, 1, NOW)).count(), 7);
        // A seventh of a minute is 8571.43 ms.
        assert!(!taken(&mut state, 7, 1, NOW + 8571));
        assert!(taken(&mut state, 7, 1, NOW + 8572));
        let meter = Meter::new(60, 7, NOW + 8572);
        assert_eq!(meter.left(state), 0);
        assert_eq!(meter.take(state, 1), Err(Some(8571)));
        assert_eq!(meter.take(state, 8), Err(None));
        assert_eq!(Meter::new(60, 7, NOW + 120_000).left(state), 7);
    }

    #[test]
    fn the_wait_that_is_told_is_exactly_long_enough() {
        for (max, cost) in [(1, 1), (7, 3), (1000, 999), (3, 2)] {
            let mut state = 0;
            while taken(&mut state, max, cost, NOW) {}
            let wait = Meter::new(60, max, NOW).take(state, cost).unwrap_err().unwrap();
            assert!(!taken(&mut state.clone(), max, cost, NOW + wait - 1), "{max} {cost}");
            assert!(taken(&mut state, max, cost, NOW + wait), "{max} {cost}");
        }
    }

    #[test]
    fn a_clock_that_went_far_ahead_and_came_back_locks_for_no_longer_than_the_rate() {
        let mut state = 0;
        let ahead = NOW + 1_000_000_000_000;
        while taken(&mut state, 10, 1, ahead) {}
        assert!(!taken(&mut state, 10, 1, NOW));
        assert!(!taken(&mut state, 10, 1, NOW + 5999));
        assert!(taken(&mut state, 10, 1, NOW + 6000));
    }

    #[test]
    fn workers_that_are_seconds_apart_correct_nothing() {
        let mut state = 0;
        while taken(&mut state, 1000, 1, NOW) {}
        let emptied = state;
        for early in 0..10_000 {
            assert!(!taken(&mut state, 1000, 1, NOW - early));
        }
        assert_eq!(state, emptied);
    }

    #[test]
    fn the_largest_numbers_neither_overflow_nor_let_anything_through() {
        for max in [0, 1, LARGEST, u128::MAX] {
            for now in [0, NOW, u64::MAX] {
                let meter = Meter::new(u32::MAX, max, now);
                for state in [0, u128::MAX] {
                    assert!(meter.left(state) <= max);
                    let _ = (meter.force(state, u128::MAX), meter.whole_in_millis(state), meter.corrected(state));
                    assert!(max == u128::MAX || meter.take(state, max + 1).is_err());
                }
                assert!(meter.take(u128::MAX, 1).is_err());
            }
        }
    }

    proptest! {
        /// However the clock steps back, no more is taken than the store's size and what flowed while it went forward.
        #[test]
        fn steps_back_give_nothing(
            max in 1_u128..50,
            steps in proptest::collection::vec((0_u64..20_000, 0_u64..90_000), 1..60),
        ) {
            let (mut state, mut served, mut now, mut forward) = (0, 0_u128, NOW, 0);
            for (ahead, back) in steps {
                now += ahead;
                forward += ahead;
                while taken(&mut state, max, 1, now) {
                    served += 1;
                }
                now -= back;
            }
            let flowed = max * u128::from(forward) / 60_000;
            prop_assert!(served <= max + flowed, "{served} > {max} + {flowed}");
        }
    }
}
