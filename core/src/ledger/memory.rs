//! The `memory` backend, for tests: the ledger in plain maps, written to be compared with.
//!
//! Where other backends pack entries and touch as few bytes as they can, this one says what is meant.

use super::draw::{Counter, LinkId, MAX_CHILDREN, actual};
use super::family::MAX_KEPT;
use super::local::Ceilings;
use super::meter::Meter;
use super::revocation::Named;
use super::{
    Claim, ClaimId, Claimed, Conclusion, CounterId, Draw, Drawn, FamilyId, Lease, Left, LeftOf, MAX_DOUBT, Money,
    NewClaim, Notice, Pointer, Reservation, Revocation, Revocations, Store, StoreError, Ticket, Yield,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ledger in plain maps. Clones share, from any thread.
#[derive(Clone)]
pub struct MemoryStore(Arc<Mutex<State>>);

struct State {
    epoch: [u8; 16],
    ceilings: Ceilings,
    claims: HashMap<ClaimId, Claim>,
    pointers: HashMap<ClaimId, Pointer>,
    doubts: BTreeMap<[u8; 32], Vec<u8>>,
    leases: HashMap<(u8, u32), u64>,
    notices: HashMap<u32, Vec<u8>>,
    families: HashMap<FamilyId, Family>,
    marks: HashMap<[u8; 32], u64>,
    revocations: HashMap<Named, (u64, u64)>,
    revocation_epoch: u64,
    /// The latest expiry of a family and of a mark that was dropped.
    dropped: (u64, u64),
}

/// A family: for each of its links, when it expires, and its counters by id and window.
#[derive(Clone, Default)]
struct Family {
    expires: u64,
    dropped: u64,
    links: BTreeMap<Option<[u8; 8]>, Link>,
}

#[derive(Clone, Default)]
struct Link {
    expires: u64,
    counters: BTreeMap<([u8; 8], u32), Amount>,
}

/// What a counter may come to, and what it has come to.
#[derive(Clone, Copy, Default)]
struct Amount {
    max: u128,
    state: u128,
}

impl MemoryStore {
    /// An empty ledger of this epoch.
    #[must_use]
    pub fn new(epoch: [u8; 16], ceilings: Ceilings) -> Self {
        Self(Arc::new(Mutex::new(State {
            epoch,
            ceilings,
            claims: HashMap::new(),
            pointers: HashMap::new(),
            doubts: BTreeMap::new(),
            leases: HashMap::new(),
            notices: HashMap::new(),
            families: HashMap::new(),
            marks: HashMap::new(),
            revocations: HashMap::new(),
            revocation_epoch: 0,
            dropped: (0, 0),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Open questions that are kept.
const MAX_DOUBTS: usize = 512;
/// Marks that are kept.
const MAX_MARKS: usize = 1 << 17;
/// Revocations that are kept.
const MAX_REVOCATIONS: usize = 8192;

impl State {
    /// Refuses a new claim or pointer where the ledger is full of live ones.
    fn room_for_claim(&mut self, now: u64) -> Result<(), StoreError> {
        let full = |state: &Self| state.claims.len() + state.pointers.len() >= state.ceilings.claims as usize;
        if full(self) {
            self.claims.retain(|_, claim| claim.clone().at(now).is_some());
            self.pointers.retain(|_, pointer| now <= pointer.expires);
        }
        if full(self) { Err(StoreError::Full) } else { Ok(()) }
    }

    fn room_for_family(&mut self, now: u64) -> Result<(), StoreError> {
        let full = |state: &Self| state.families.len() >= state.ceilings.tokens as usize;
        if full(self) {
            let lapsed = self.families.values().map(|family| family.expires).filter(|expires| now > *expires).max();
            self.dropped.0 = self.dropped.0.max(lapsed.unwrap_or(0));
            self.families.retain(|_, family| now <= family.expires);
        }
        if full(self) { Err(StoreError::Full) } else { Ok(()) }
    }

    fn room_for_mark(&mut self, now: u64) -> Result<(), StoreError> {
        if self.marks.len() < MAX_MARKS {
            return Ok(());
        }
        let lapsed = self.marks.values().copied().filter(|until| now > *until).max();
        self.dropped.1 = self.dropped.1.max(lapsed.unwrap_or(0));
        self.marks.retain(|_, until| now <= *until);
        if self.marks.len() >= MAX_MARKS { Err(StoreError::Full) } else { Ok(()) }
    }
}

impl Family {
    /// Why the draw is refused, if it is; and the family after it, if that is to be kept: of a refused draw, rates that
    /// were corrected.
    fn after(&self, draw: &Draw, now_millis: u64) -> (Option<Drawn>, Option<Self>) {
        let now = now_millis / 1000;
        let mut after = self.clone();
        after.expires = after.expires.max(draw.expires);
        after.links.entry(None).or_default().expires = u64::MAX;
        for child in &draw.children {
            if !after.links.contains_key(&Some(child.id.0)) {
                if child.expires <= after.dropped {
                    return (Some(Drawn::Expired), None);
                }
                let lapsed = after.links.values().map(|link| link.expires).filter(|expires| now > *expires).max();
                after.dropped = after.dropped.max(lapsed.unwrap_or(0));
                after.links.retain(|_, link| now <= link.expires);
                if after.links.len() > MAX_CHILDREN {
                    return (Some(Drawn::TooManyChildren), None);
                }
            }
            let link = after.links.entry(Some(child.id.0)).or_default();
            link.expires = link.expires.max(child.expires);
        }
        let mut corrected = false;
        for counter in &draw.counters {
            let amount = after.amount(draw, counter);
            let known = amount.max == counter.max || amount.state == 0;
            amount.max = counter.max;
            if counter.period > 0 {
                let state = if known { amount.state } else { u128::MAX };
                if let Some(state) = Meter::new(counter.period, counter.max, now_millis).corrected(state) {
                    amount.state = state;
                    corrected = true;
                }
            }
        }
        if after.links.values().map(|link| link.counters.len()).sum::<usize>() > MAX_KEPT {
            return (Some(Drawn::TooManyChildren), None);
        }
        let before = after.clone();
        let mut refusals = Vec::new();
        for counter in &draw.counters {
            let (link, id, cost) = (usize::from(counter.link), counter.id, counter.cost);
            let amount = after.amount(draw, counter);
            if counter.period == 0 {
                let left = amount.max.saturating_sub(amount.state);
                if cost > left {
                    refusals.push((None, Drawn::Exhausted { link, counter: id, left }));
                }
                amount.state = amount.state.saturating_add(cost);
                continue;
            }
            match Meter::new(counter.period, counter.max, now_millis).take(amount.state, cost) {
                Ok(state) => amount.state = state,
                Err(_) if cost == 0 => {}
                Err(wait) => {
                    let refusal =
                        Drawn::TooFast { link, counter: id, period: counter.period, retry_after_millis: wait };
                    refusals.push((Some(wait.unwrap_or(u64::MAX)), refusal));
                }
            }
        }
        // Exhausted before too fast, the first of the former, the longest wait of the latter.
        let worst = |(at, (wait, _)): &(usize, (Option<u64>, Drawn))| (wait.is_none(), *wait, std::cmp::Reverse(*at));
        match refusals.into_iter().enumerate().max_by_key(worst) {
            None => (None, Some(after)),
            Some((_, (_, refusal))) => (Some(refusal), corrected.then_some(before)),
        }
    }

    fn amount(&mut self, draw: &Draw, counter: &Counter) -> &mut Amount {
        let link = draw.link(counter.link).map(|link| link.0);
        self.links.entry(link).or_default().counters.entry((counter.id.0, counter.period)).or_default()
    }

    fn known(&mut self, draw: &Draw, counter: &Counter) -> Option<&mut Amount> {
        let link = draw.link(counter.link).map(|link| link.0);
        self.links.get_mut(&link)?.counters.get_mut(&(counter.id.0, counter.period))
    }

    fn left(&mut self, draw: &Draw, now_millis: u64) -> Left {
        let of = |counter: &Counter| {
            let amount = *self.known(draw, counter)?;
            Some(left(draw.link(counter.link), counter.id, counter.period, &amount, now_millis))
        };
        Left(draw.counters.iter().filter_map(of).collect())
    }
}

fn left(link: Option<LinkId>, counter: CounterId, period: u32, amount: &Amount, now_millis: u64) -> LeftOf {
    let Amount { max, state } = *amount;
    if period == 0 {
        return LeftOf { link, counter, period: None, max, left: max.saturating_sub(state), whole_in_millis: 0 };
    }
    let meter = Meter::new(period, max, now_millis);
    let (left, whole_in_millis) = (meter.left(state), meter.whole_in_millis(state));
    LeftOf { link, counter, period: Some(period), max, left, whole_in_millis }
}

impl Store for MemoryStore {
    async fn epoch(&self) -> Result<[u8; 16], StoreError> {
        Ok(self.state().epoch)
    }

    async fn claim(&self, id: &ClaimId, new: &NewClaim, now: u64) -> Result<Claimed, StoreError> {
        let mut state = self.state();
        let known = state.claims.get(id).cloned();
        let fresh = known.is_none();
        let (claimed, kept) = Claim::take(known, id, new, now);
        if let Some(kept) = kept {
            if fresh {
                state.room_for_claim(now)?;
            }
            state.claims.insert(*id, kept);
        }
        Ok(claimed)
    }

    async fn conclude(&self, ticket: &Ticket, to: &Conclusion, now: u64) -> Result<(), StoreError> {
        self.state().claims.get_mut(&ticket.id).ok_or(StoreError::Lost)?.conclude(ticket, to, now)
    }

    async fn release(&self, ticket: &Ticket, _now: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.claims.get(&ticket.id).is_some_and(|claim| claim.may_go(ticket)) {
            return Err(StoreError::Lost);
        }
        state.claims.remove(&ticket.id);
        Ok(())
    }

    async fn resolve(&self, id: &ClaimId, money: Money, transaction: &str, now: u64) -> Result<(), StoreError> {
        self.state().claims.get_mut(id).ok_or(StoreError::Lost)?.resolve(money, transaction, now)
    }

    async fn yield_once(&self, ticket: &Ticket, what: &Yield, now: u64) -> Result<Yield, StoreError> {
        self.state().claims.get_mut(&ticket.id).ok_or(StoreError::Lost)?.yield_once(ticket, what, now)
    }

    async fn point(
        &self,
        index: &ClaimId,
        to: &Pointer,
        instead_of: Option<&ClaimId>,
        now: u64,
    ) -> Result<Option<Pointer>, StoreError> {
        let mut state = self.state();
        let there = state.pointers.get(index).copied().filter(|there| now <= there.expires);
        match there {
            Some(there) if there.target != to.target && Some(&there.target) != instead_of => return Ok(Some(there)),
            Some(_) => {}
            None => state.room_for_claim(now)?,
        }
        state.pointers.insert(*index, *to);
        Ok(None)
    }

    async fn pointed(&self, index: &ClaimId, now: u64) -> Result<Option<Pointer>, StoreError> {
        Ok(self.state().pointers.get(index).copied().filter(|there| now <= there.expires))
    }

    async fn unpoint(&self, index: &ClaimId, target: &ClaimId, _now: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.pointers.get(index).is_some_and(|there| there.target == *target) {
            state.pointers.remove(index);
        }
        Ok(())
    }

    async fn doubt(&self, id: &ClaimId, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        let full = state.doubts.len() >= MAX_DOUBTS && !state.doubts.contains_key(&id.0);
        if full || bytes.len() > MAX_DOUBT {
            return Err(StoreError::Full);
        }
        state.doubts.insert(id.0, bytes.to_vec());
        Ok(())
    }

    async fn doubts(&self) -> Result<Vec<(ClaimId, Vec<u8>)>, StoreError> {
        Ok(self.state().doubts.iter().map(|(id, bytes)| (ClaimId(*id), bytes.clone())).collect())
    }

    async fn doubted(&self, id: &ClaimId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().doubts.get(&id.0).cloned())
    }

    async fn undoubt(&self, id: &ClaimId) -> Result<(), StoreError> {
        self.state().doubts.remove(&id.0);
        Ok(())
    }

    async fn lease(&self, name: Lease, seconds: u64, now: u64) -> Result<bool, StoreError> {
        let name = match name {
            Lease::Supported(facilitator) => (0, facilitator),
            Lease::Reconcile => (1, 0),
        };
        let mut state = self.state();
        if state.leases.get(&name).is_some_and(|until| *until > now) {
            return Ok(false);
        }
        state.leases.insert(name, now.saturating_add(seconds));
        Ok(true)
    }

    async fn reserve(&self, draw: Draw, now_millis: u64) -> Result<Drawn, StoreError> {
        let (mut state, now) = (self.state(), now_millis / 1000);
        if now > draw.expires || draw.children.iter().any(|child| now > child.expires) {
            return Ok(Drawn::Expired);
        }
        let known = state.families.get(&draw.family).cloned();
        let fresh = known.is_none();
        if fresh && draw.expires <= state.dropped.0 {
            return Ok(Drawn::Expired);
        }
        let (refusal, mut kept) = known.unwrap_or_default().after(&draw, now_millis);
        let left = kept.as_mut().map(|kept| kept.left(&draw, now_millis)).unwrap_or_default();
        if let Some(kept) = kept {
            if fresh {
                state.room_for_family(now)?;
            }
            state.families.insert(draw.family, kept);
        }
        Ok(refusal.unwrap_or(Drawn::Reserved(Reservation { draw, left })))
    }

    async fn commit(
        &self,
        reservation: Reservation,
        used: &[(CounterId, u128)],
        now_millis: u64,
    ) -> Result<Left, StoreError> {
        if !reservation.differs(used) {
            return Ok(reservation.left);
        }
        let Reservation { draw, left } = reservation;
        let mut state = self.state();
        let live = |family: &&mut Family| now_millis / 1000 <= family.expires;
        let Some(family) = state.families.get_mut(&draw.family).filter(live) else { return Ok(left) };
        for counter in &draw.counters {
            let used = actual(counter, used);
            let Some(amount) = family.known(&draw, counter) else { continue };
            if counter.period == 0 {
                amount.state = (amount.state - amount.state.min(counter.cost)).saturating_add(used);
            } else if let Some(more) = used.checked_sub(counter.cost).filter(|more| *more > 0) {
                amount.state = Meter::new(counter.period, counter.max, now_millis).force(amount.state, more);
            }
        }
        Ok(family.left(&draw, now_millis))
    }

    async fn refund(&self, reservation: Reservation, now_millis: u64) -> Result<(), StoreError> {
        let draw = reservation.draw;
        let mut state = self.state();
        let live = |family: &&mut Family| now_millis / 1000 <= family.expires;
        let Some(family) = state.families.get_mut(&draw.family).filter(live) else { return Ok(()) };
        for counter in draw.counters.iter().filter(|counter| counter.period == 0) {
            if let Some(amount) = family.known(&draw, counter) {
                amount.state -= amount.state.min(counter.cost);
            }
        }
        Ok(())
    }

    async fn left(&self, family: &FamilyId, now_millis: u64) -> Result<Option<Left>, StoreError> {
        let state = self.state();
        let Some(family) = state.families.get(family).filter(|family| now_millis / 1000 <= family.expires) else {
            return Ok(None);
        };
        let mut all = Vec::new();
        for (id, link) in &family.links {
            for ((counter, period), amount) in &link.counters {
                all.push(left(id.map(LinkId), CounterId(*counter), *period, amount, now_millis));
            }
        }
        Ok(Some(Left(all)))
    }

    async fn once(&self, id: &[u8; 32], until: u64, now: u64) -> Result<bool, StoreError> {
        let mut state = self.state();
        if now > until || until <= state.dropped.1 || state.marks.contains_key(id) {
            return Ok(false);
        }
        state.room_for_mark(now)?;
        state.marks.insert(*id, until);
        Ok(true)
    }

    async fn revoke(&self, what: &Revocation, until: u64, now: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        let (named, before) = what.parts();
        if state.revocations.len() >= MAX_REVOCATIONS && !state.revocations.contains_key(&named) {
            state.revocations.retain(|_, (_, until)| now <= *until);
            if state.revocations.len() >= MAX_REVOCATIONS {
                return Err(StoreError::Full);
            }
        }
        let known = state.revocations.entry(named).or_default();
        *known = (known.0.max(before), known.1.max(until));
        state.revocation_epoch += 1;
        Ok(())
    }

    async fn revocations(&self) -> Result<Revocations, StoreError> {
        let state = self.state();
        let list = state.revocations.iter().map(|(named, (before, _))| Revocation::from_parts(*named, *before));
        Ok(Revocations { epoch: state.revocation_epoch, list: list.collect() })
    }

    async fn revocation_epoch(&self) -> Result<u64, StoreError> {
        Ok(self.state().revocation_epoch)
    }

    async fn publish(&self, notice: Notice, bytes: &[u8]) -> Result<(), StoreError> {
        let Notice::Supported(facilitator) = notice;
        self.state().notices.insert(facilitator, bytes.to_vec());
        Ok(())
    }

    async fn published(&self, notice: Notice) -> Result<Option<Vec<u8>>, StoreError> {
        let Notice::Supported(facilitator) = notice;
        Ok(self.state().notices.get(&facilitator).cloned())
    }
}
