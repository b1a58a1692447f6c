//! What one source or payer may cost, counted by each worker in memory that does not grow.
//!
//! A source that the host does not know is an empty text. Nothing is limited for it: all clients would share one limit,
//! and one of them could use it up for the others.

use super::Gate;
use crate::host::Host;
use crate::policy::Limits;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;

/// The limits of one worker.
#[derive(Debug)]
pub(super) struct Counters {
    challenges: Rate,
    failed_payments: Rate,
    uncharged_forwards: Rate,
    verifying: Rc<RefCell<HashMap<String, u64>>>,
    verifying_per_source: u64,
}

impl Counters {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            challenges: Rate::new(limits.challenges_per_second, 1000),
            failed_payments: Rate::new(limits.failed_payments_per_minute, 60_000),
            uncharged_forwards: Rate::new(limits.uncharged_forwards_per_minute, 60_000),
            verifying: Rc::default(),
            verifying_per_source: limits.verifying_per_source,
        }
    }

    /// Counts a challenge; `false` if `source` has had too many.
    pub(super) fn challenge(&self, source: &str, now_millis: u64) -> bool {
        source.is_empty() || self.challenges.hit(source, now_millis)
    }

    /// Whether `source` has shown too many payments that were no good.
    pub(super) fn may_pay(&self, source: &str, now_millis: u64) -> bool {
        source.is_empty() || self.failed_payments.has_room(source, now_millis)
    }

    /// Counts a payment that was no good.
    pub(super) fn payment_failed(&self, source: &str, now_millis: u64) {
        if !source.is_empty() {
            self.failed_payments.hit(source, now_millis);
        }
    }

    /// Whether `payer` has had too many requests forwarded that were not charged.
    pub(super) fn may_forward(&self, payer: &str, now_millis: u64) -> bool {
        self.uncharged_forwards.has_room(payer, now_millis)
    }

    /// A place among the payments of `source` under verification, until it is dropped; `None` if all are taken.
    pub(super) fn verify(&self, source: &str) -> Option<Verifying> {
        let mut verifying = self.verifying.borrow_mut();
        let count = verifying.entry(source.to_owned()).or_default();
        if self.verifying_per_source > 0 && *count >= self.verifying_per_source && !source.is_empty() {
            return None;
        }
        *count += 1;
        Some(Verifying { all: Rc::clone(&self.verifying), source: source.to_owned() })
    }
}

/// The client's address, found out when it is asked for: that costs a question to the host.
pub(super) struct Source<'a> {
    find: &'a dyn Fn() -> String,
    found: OnceCell<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(find: &'a dyn Fn() -> String) -> Self {
        Self { find, found: OnceCell::new() }
    }

    /// The address.
    pub(super) fn get(&self) -> &str {
        self.found.get_or_init(self.find)
    }
}

/// A request that is forwarded and may come to be charged. Dropped before it is, whether the upstream failed or the
/// client left, it counts as uncharged.
pub(super) struct Forwarded<H: Host> {
    gate: Rc<Gate>,
    host: H,
    payer: Option<String>,
}

impl<H: Host> Forwarded<H> {
    /// For a request that `payer` (CAIP-10) is to pay for; nobody is counted if it is not known who that is.
    pub(super) fn new(gate: &Rc<Gate>, host: &H, payer: Option<String>) -> Self {
        Self { gate: Rc::clone(gate), host: host.clone(), payer }
    }

    /// The upstream did what is to be paid for.
    pub(super) fn delivered(mut self) {
        self.payer = None;
    }
}

impl<H: Host> Drop for Forwarded<H> {
    fn drop(&mut self) {
        if let Some(payer) = &self.payer {
            self.gate.counters.uncharged_forwards.hit(payer, self.host.now_millis());
        }
    }
}

/// A place among payments under verification.
#[derive(Debug)]
pub(super) struct Verifying {
    all: Rc<RefCell<HashMap<String, u64>>>,
    source: String,
}

impl Drop for Verifying {
    fn drop(&mut self) {
        let mut all = self.all.borrow_mut();
        if let Some(count) = all.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.source);
            }
        }
    }
}

const CELLS: usize = 4096;

/// A rate for each name (GCRA), in two rows of cells that names share by keyed hashes: a name is over its rate only
/// if both of its cells are, so that another must meet it in both rows to disturb it.
#[derive(Debug)]
struct Rate {
    /// Milliseconds that one hit takes; 0: no limit.
    each: u64,
    /// Milliseconds that may be used up at once.
    burst: u64,
    rows: RefCell<[Vec<u64>; 2]>,
    hashers: [RandomState; 2],
}

impl Rate {
    fn new(hits: u64, period_millis: u64) -> Self {
        // Thousandths of a millisecond keep high rates exact enough.
        let each = period_millis.saturating_mul(1000).checked_div(hits).map_or(0, |each| each.max(1));
        let cells = if hits == 0 { 0 } else { CELLS };
        Self {
            each,
            burst: period_millis.saturating_mul(1000),
            rows: RefCell::new([vec![0; cells], vec![0; cells]]),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    fn has_room(&self, name: &str, now_millis: u64) -> bool {
        self.each == 0 || self.later(name, now_millis, false)
    }

    fn hit(&self, name: &str, now_millis: u64) -> bool {
        self.each == 0 || self.later(name, now_millis, true)
    }

    fn later(&self, name: &str, now_millis: u64, count: bool) -> bool {
        let now = now_millis.saturating_mul(1000);
        let mut room = false;
        let mut rows = self.rows.borrow_mut();
        for (row, hasher) in rows.iter_mut().zip(&self.hashers) {
            let place = usize::try_from(hasher.hash_one(name) % CELLS as u64).unwrap_or(0);
            let Some(cell) = row.get_mut(place) else { continue };
            let start = (*cell).max(now);
            if start.saturating_sub(now).saturating_add(self.each) <= self.burst {
                room = true;
                if count {
                    *cell = start.saturating_add(self.each);
                }
            }
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_name_has_its_rate_and_others_have_theirs() {
        let rate = Rate::new(10, 60_000);
        let served = (0..100).filter(|_| rate.hit("a", 0)).count();
        assert_eq!(served, 10);
        assert!(!rate.has_room("a", 5999) && rate.has_room("a", 6000));
        let others = (0..500).filter(|n| rate.has_room(&format!("b{n}"), 0)).count();
        assert_eq!(others, 500);
        assert!(rate.hit("a", 6000) && !rate.hit("a", 6000));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let rate = Rate::new(0, 1000);
        assert!((0..100_000).all(|_| rate.hit("a", 0)));
    }
}
