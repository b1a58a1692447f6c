//! Where counters are kept.

use super::counters::Counters;
use super::policy::Policy;
use super::turns::{Turn, Turns};
use std::cell::Cell;
use std::fmt;
use std::future::Future;

/// A place for one blob that several processes may share: a file, a row, an entry of IndexedDB, a Durable Object.
///
/// Everything that keeps budgets is that [`swap`](Self::swap) is atomic: of two that expect the same version, one writes.
/// It must be kept where the model that drives the agent cannot write.
pub trait Store {
    /// Name of one state of the blob: a counter, a hash, a row version.
    type Version: Clone;

    /// The blob; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreFailed`] if it cannot be told; nothing is paid then.
    fn load(&self) -> impl Future<Output = Result<Option<Blob<Self::Version>>, StoreFailed>>;

    /// Writes the blob if its version is still `expected` (`None`: if there is still none); whether it did.
    ///
    /// # Errors
    /// [`StoreFailed`] if it failed, whether it was written or not.
    fn swap(&self, expected: Option<Self::Version>, bytes: Vec<u8>) -> impl Future<Output = Result<bool, StoreFailed>>;

    /// Whether calls of one process may wait for one another, so that they do not overtake each other here. Not where a
    /// call can go on only within its own request.
    fn takes_turns(&self) -> bool {
        true
    }
}

/// What a store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob<V> {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Name of this state of them.
    pub version: V,
}

/// The store failed, or holds what is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFailed;

impl fmt::Display for StoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store of the counters failed")
    }
}

impl std::error::Error for StoreFailed {}

/// Times that a change is tried again because another process was faster.
const ATTEMPTS: usize = 256;

/// Counters in a store.
#[derive(Debug)]
pub(super) struct Kept<S> {
    store: S,
    /// The highest revision seen: an older blob was put back by somebody.
    revision: Cell<u64>,
    /// Changes of one process are made one after another: only those of others are raced against.
    turns: Turns,
}

impl<S: Store> Kept<S> {
    pub(super) fn new(store: S) -> Self {
        Self { store, revision: Cell::new(0), turns: Turns::default() }
    }

    /// The counters as they are. Where there are none they count as lost.
    pub(super) async fn read(&self, policy: &Policy, now: u64) -> Result<Counters, StoreFailed> {
        let floor = self.revision.get();
        Ok(match self.store.load().await? {
            Some(blob) => self.decode(&blob.bytes, floor)?,
            None => self.lost(policy, now),
        })
    }

    /// One of `turns`, if the store takes them.
    pub(super) async fn turn<'t>(&self, turns: &'t Turns) -> Option<Turn<'t>> {
        if self.store.takes_turns() { Some(turns.take().await) } else { None }
    }

    /// Changes the counters; `change` may run more than once, on what others have left.
    pub(super) async fn change<T>(
        &self,
        policy: &Policy,
        now: u64,
        change: impl Fn(&mut Counters) -> T,
    ) -> Result<T, StoreFailed> {
        let _turn = self.turn(&self.turns).await;
        for _ in 0..ATTEMPTS {
            let floor = self.revision.get();
            let (mut counters, version) = match self.store.load().await? {
                Some(blob) => (self.decode(&blob.bytes, floor)?, Some(blob.version)),
                None => (self.lost(policy, now), None),
            };
            let result = change(&mut counters);
            if self.store.swap(version, counters.encode()).await? {
                self.revision.set(self.revision.get().max(counters.revision()));
                return Ok(result);
            }
        }
        Err(StoreFailed)
    }

    /// Writes the first counters; `false` if there are some. Those that were only found to be missing are none.
    pub(super) async fn begin(&self, policy: &Policy, now: u64) -> Result<bool, StoreFailed> {
        let _turn = self.turn(&self.turns).await;
        let Some(blob) = self.store.load().await? else {
            let mut counters = Counters::begin(policy, now).after(self.revision.get());
            return self.store.swap(None, counters.encode()).await;
        };
        let mut counters = self.decode(&blob.bytes, self.revision.get())?;
        if !counters.begin_after_all(policy) {
            return Ok(false);
        }
        self.store.swap(Some(blob.version), counters.encode()).await
    }

    /// Counters in place of those that are not there. What is seen of them later is no older blob.
    fn lost(&self, policy: &Policy, now: u64) -> Counters {
        Counters::lost(policy, now).after(self.revision.get())
    }

    /// Reads a blob. `floor` is the highest revision that was seen before it was asked for: while it was on its way, others
    /// of this process may have written a later one.
    fn decode(&self, blob: &[u8], floor: u64) -> Result<Counters, StoreFailed> {
        let counters = Counters::decode(blob, floor).map_err(|_| StoreFailed)?;
        self.revision.set(self.revision.get().max(counters.revision()));
        Ok(counters)
    }
}
