//! What one source or payer may cost, counted by each worker in memory that does not grow.
//!
//! A source that the host does not know is an empty text. Nothing is limited for it: all clients would share one limit,
//! and one of them could use it up for the others.

use super::Gate;
use crate::crypto::siphash;
use crate::host::Host;
use crate::policy::Limits;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
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
    pub(super) fn challenge(&self, source: &str, host: &impl Host) -> bool {
        source.is_empty() || self.challenges.hit(source, host)
    }

    /// Whether `source` has shown too many payments that were no good.
    pub(super) fn may_pay(&self, source: &str, host: &impl Host) -> bool {
        source.is_empty() || self.failed_payments.has_room(source, host)
    }

    /// Counts a payment that was no good.
    pub(super) fn payment_failed(&self, source: &str, host: &impl Host) {
        if !source.is_empty() {
            self.failed_payments.hit(source, host);
        }
    }

    /// Whether `payer` has had too many requests forwarded that were not charged.
    pub(super) fn may_forward(&self, payer: &str, host: &impl Host) -> bool {
        self.uncharged_forwards.has_room(payer, host)
    }

    /// Counts a request that was forwarded and then not charged.
    pub(super) fn not_charged(&self, payer: &str, host: &impl Host) {
        self.uncharged_forwards.hit(payer, host);
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
            self.gate.counters.not_charged(payer, &self.host);
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
    /// Of the hashes of either row, drawn when they are first needed: some hosts have no randomness before.
    keys: OnceCell<[[u64; 2]; 2]>,
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
            keys: OnceCell::new(),
        }
    }

    fn has_room(&self, name: &str, host: &impl Host) -> bool {
        self.each == 0 || self.keys(host).is_some_and(|keys| self.later(keys, name, host.now_millis(), false))
    }

    fn hit(&self, name: &str, host: &impl Host) -> bool {
        self.each == 0 || self.keys(host).is_some_and(|keys| self.later(keys, name, host.now_millis(), true))
    }

    /// `None` if the host has no randomness to give: then nothing has room.
    fn keys(&self, host: &impl Host) -> Option<&[[u64; 2]; 2]> {
        if self.keys.get().is_none() {
            let mut drawn = [[[0; 8]; 2]; 2];
            host.random(drawn.as_flattened_mut().as_flattened_mut()).ok()?;
            let _ = self.keys.set(drawn.map(|row| row.map(u64::from_ne_bytes)));
        }
        self.keys.get()
    }

    fn later(&self, keys: &[[u64; 2]; 2], name: &str, now_millis: u64, count: bool) -> bool {
        let now = now_millis.saturating_mul(1000);
        let mut room = false;
        let mut rows = self.rows.borrow_mut();
        for (row, key) in rows.iter_mut().zip(keys) {
            let place = usize::try_from(siphash(*key, name.as_bytes()) % CELLS as u64).unwrap_or(0);
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
    use crate::test_host::TestHost;

    const KEYS: [[u64; 2]; 2] = [[1, 2], [3, 4]];

    #[test]
    fn a_name_has_its_rate_and_others_have_theirs() {
        let rate = Rate::new(10, 60_000);
        let hit = |name: &str, now| rate.later(&KEYS, name, now, true);
        let has_room = |name: &str, now| rate.later(&KEYS, name, now, false);
        let served = (0..100).filter(|_| hit("a", 0)).count();
        assert_eq!(served, 10);
        assert!(!has_room("a", 5999) && has_room("a", 6000));
        let others = (0..500).filter(|n| has_room(&format!("b{n}"), 0)).count();
        assert_eq!(others, 500);
        assert!(hit("a", 6000) && !hit("a", 6000));
    }

    #[test]
    fn where_a_name_is_counted_is_drawn_from_the_host() {
        let host = TestHost::new(0, |_| None, |_| None);
        let rates = [(); 2].map(|()| Rate::new(1, 1000));
        let keys = rates.each_ref().map(|rate| *rate.keys(&host).unwrap());
        assert_ne!(keys[0], keys[1]);
        assert_eq!(rates[0].keys(&host), Some(&keys[0]), "and stays there");
    }

    #[test]
    fn no_limit_is_no_limit() {
        let host = TestHost::new(0, |_| None, |_| None);
        let rate = Rate::new(0, 1000);
        assert!((0..100_000).all(|_| rate.hit("a", &host)));
    }
}
