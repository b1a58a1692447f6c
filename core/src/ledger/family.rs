//! The counters of a token family: the one record that a draw changes, in whichever backend.

use super::draw::{Child, Counter, CounterId, Draw, Drawn, Left, LeftOf, LinkId, MAX_CHILDREN, Reservation, actual};
use super::meter::Meter;
use crate::mutant;

/// Counters that are kept for a family, over all of its links.
pub(super) const MAX_KEPT: usize = 256;

/// The counters of a root token and of the live tokens delegated from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// Unix seconds until which the root may be used.
    pub(super) expires: u64,
    /// The latest expiry among children that were dropped: a child that expires no later may be one of them.
    pub(super) dropped: u64,
    pub(super) children: Vec<Child>,
    pub(super) counters: Vec<Kept>,
}

/// A counter that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its link: 0 for the root, else the position in `children` and one.
    pub(super) link: u8,
    pub(super) id: CounterId,
    /// Seconds of a rate's window; 0 for a budget.
    pub(super) period: u32,
    pub(super) max: u128,
    /// What is spent of a budget; the state of a rate's [`Meter`].
    pub(super) state: u128,
}

/// What became of a draw.
pub(super) struct Outcome {
    /// What was left once it was charged, or the refusal.
    pub(super) result: Result<Left, Drawn>,
    /// Whether the family changed, and must be kept: also a refusal may have corrected a rate.
    pub(super) changed: bool,
}

impl Family {
    pub(super) fn new(expires: u64) -> Self {
        Self { expires, dropped: 0, children: Vec::new(), counters: Vec::new() }
    }

    /// Charges every counter of `draw`, or none.
    pub(super) fn draw(&mut self, draw: &Draw, now_millis: u64) -> Outcome {
        let now = now_millis / 1000;
        let refused = |refusal| Outcome { result: Err(refusal), changed: false };
        if now > draw.expires || draw.children.iter().any(|child| now > child.expires) {
            return refused(Drawn::Expired);
        }
        self.expires = self.expires.max(draw.expires);
        let places = match self.places(draw, now) {
            Ok(places) => places,
            Err(refusal) => return refused(refusal),
        };
        let corrected = self.correct(draw, &places, now_millis);
        match self.charge(draw, &places, now_millis) {
            Ok(charged) => {
                for (kept, state) in charged {
                    if let Some(kept) = self.counters.get_mut(kept) {
                        kept.state = state;
                    }
                }
                Outcome { result: Ok(self.left_of(draw, &places, now_millis)), changed: true }
            }
            Err(refusal) => Outcome { result: Err(refusal), changed: corrected },
        }
    }

    /// Charges what was used instead of what was reserved.
    pub(super) fn settle(&mut self, reservation: &Reservation, used: &[(CounterId, u128)], now_millis: u64) -> Left {
        let draw = &reservation.draw;
        for counter in &draw.counters {
            let used = actual(counter, used);
            let Some(kept) = self.find(draw, counter).and_then(|place| self.counters.get_mut(place)) else { continue };
            if counter.period == 0 {
                kept.state = kept.state.saturating_sub(counter.cost).saturating_add(used);
            } else if used > counter.cost {
                let meter = Meter::new(counter.period, counter.max, now_millis);
                kept.state = meter.force(kept.state, used - counter.cost);
            }
        }
        let of = |counter: &Counter| {
            self.find(draw, counter).and_then(|place| self.counters.get(place)).map(|kept| self.left(kept, now_millis))
        };
        Left(draw.counters.iter().filter_map(of).collect())
    }

    /// Gives the budgets of a draw back, and no rates.
    pub(super) fn refund(&mut self, reservation: &Reservation) {
        let draw = &reservation.draw;
        for counter in draw.counters.iter().filter(|counter| counter.period == 0) {
            if let Some(kept) = self.find(draw, counter).and_then(|place| self.counters.get_mut(place)) {
                kept.state = kept.state.saturating_sub(counter.cost);
            }
        }
    }

    /// What is left of every counter.
    pub(super) fn all_left(&self, now_millis: u64) -> Left {
        Left(self.counters.iter().map(|kept| self.left(kept, now_millis)).collect())
    }

    /// The places of the draw's counters, made where they are missing.
    fn places(&mut self, draw: &Draw, now: u64) -> Result<Vec<usize>, Drawn> {
        for child in &draw.children {
            self.admit(child, now)?;
        }
        let mut places = Vec::with_capacity(draw.counters.len());
        for counter in &draw.counters {
            let place = match self.find(draw, counter) {
                Some(place) => place,
                None if self.counters.len() >= MAX_KEPT => return Err(Drawn::TooManyChildren),
                None => {
                    let link = self.link(draw.link(counter.link)).ok_or(Drawn::TooManyChildren)?;
                    let Counter { id, period, max, .. } = *counter;
                    self.counters.push(Kept { link, id, period, max, state: 0 });
                    self.counters.len() - 1
                }
            };
            places.push(place);
        }
        Ok(places)
    }

    /// Makes room for a child that is not known yet.
    fn admit(&mut self, child: &Child, now: u64) -> Result<(), Drawn> {
        if let Some(known) = self.children.iter_mut().find(|known| known.id == child.id) {
            known.expires = known.expires.max(child.expires);
            return Ok(());
        }
        if child.expires <= self.dropped {
            return Err(Drawn::Expired);
        }
        self.drop_expired(now);
        if self.children.len() >= MAX_CHILDREN {
            return Err(Drawn::TooManyChildren);
        }
        self.children.push(*child);
        Ok(())
    }

    fn drop_expired(&mut self, now: u64) {
        let Some(latest) = self.children.iter().map(|child| child.expires).filter(|expires| now > *expires).max()
        else {
            return;
        };
        self.dropped = self.dropped.max(latest);
        let before = std::mem::take(&mut self.children);
        self.children = before.iter().filter(|child| now <= child.expires).copied().collect();
        let counters = std::mem::take(&mut self.counters);
        let moved = |mut kept: Kept| {
            let link = usize::from(kept.link).checked_sub(1).and_then(|at| before.get(at)).map(|child| child.id);
            kept.link = self.link(link)?;
            Some(kept)
        };
        self.counters = counters.into_iter().filter_map(moved).collect();
    }

    /// Corrects rates that were written under a clock that was ahead, or for another size.
    fn correct(&mut self, draw: &Draw, places: &[usize], now_millis: u64) -> bool {
        let mut corrected = false;
        for (counter, place) in draw.counters.iter().zip(places) {
            let Some(kept) = self.counters.get_mut(*place) else { continue };
            if counter.period > 0 {
                let meter = Meter::new(counter.period, counter.max, now_millis);
                // A state is in ticks that depend on the size. A token's never changes; if it does, the store is empty.
                let known = kept.max == counter.max || kept.state == 0;
                let state = if known { kept.state } else { u128::MAX };
                if let Some(state) = meter.corrected(state) {
                    kept.state = state;
                    corrected = true;
                }
            }
            kept.max = counter.max;
        }
        corrected
    }

    /// The new states of the counters.
    fn charge(&self, draw: &Draw, places: &[usize], now_millis: u64) -> Result<Vec<(usize, u128)>, Drawn> {
        let mut charged = Vec::with_capacity(places.len());
        let mut slowest = None;
        for (counter, place) in draw.counters.iter().zip(places) {
            let Some(kept) = self.counters.get(*place) else { continue };
            let link = usize::from(counter.link);
            if counter.period == 0 {
                // What is over is over by corrections; it keeps nobody from a call that costs nothing.
                let left = counter.max.saturating_sub(kept.state);
                if counter.cost > left && !mutant::is("no_budget") {
                    return Err(Drawn::Exhausted { link, counter: counter.id, left });
                }
                charged.push((*place, kept.state.saturating_add(counter.cost)));
                continue;
            }
            match Meter::new(counter.period, counter.max, now_millis).take(kept.state, counter.cost) {
                Ok(state) => charged.push((*place, state)),
                Err(_) if counter.cost == 0 => {}
                Err(wait) => {
                    let order = wait.unwrap_or(u64::MAX);
                    if slowest.as_ref().is_none_or(|(slowest, _)| order > *slowest) {
                        let (counter, period) = (counter.id, counter.period);
                        slowest = Some((order, Drawn::TooFast { link, counter, period, retry_after_millis: wait }));
                    }
                }
            }
        }
        slowest.map_or(Ok(charged), |(_, refusal)| Err(refusal))
    }

    fn left_of(&self, draw: &Draw, places: &[usize], now_millis: u64) -> Left {
        let of = places.iter().take(draw.counters.len()).filter_map(|place| self.counters.get(*place));
        Left(of.map(|kept| self.left(kept, now_millis)).collect())
    }

    fn left(&self, kept: &Kept, now_millis: u64) -> LeftOf {
        let link = usize::from(kept.link).checked_sub(1).and_then(|at| self.children.get(at)).map(|child| child.id);
        let (counter, max) = (kept.id, kept.max);
        if kept.period == 0 {
            let left = max.saturating_sub(kept.state);
            return LeftOf { link, counter, period: None, max, left, whole_in_millis: 0 };
        }
        let meter = Meter::new(kept.period, max, now_millis);
        let (left, whole_in_millis) = (meter.left(kept.state), meter.whole_in_millis(kept.state));
        LeftOf { link, counter, period: Some(kept.period), max, left, whole_in_millis }
    }

    fn find(&self, draw: &Draw, counter: &Counter) -> Option<usize> {
        let link = self.link(draw.link(counter.link))?;
        self.counters.iter().position(|kept| (kept.link, kept.id, kept.period) == (link, counter.id, counter.period))
    }

    /// How a link is named in [`Kept::link`].
    fn link(&self, id: Option<LinkId>) -> Option<u8> {
        let Some(id) = id else { return Some(0) };
        let position = self.children.iter().position(|child| child.id == id)?;
        u8::try_from(position + 1).ok()
    }
}
