//! Claims (later also budgets, rates, revocations) over a store.
//!
//! A store is asked for operations with meaning, never for get and set, so that each backend makes them atomic in
//! its own way. The rules of a claim's life are in [`claim`]; [`local`] keeps them on shared data, [`remote`] reaches a
//! store elsewhere.

pub mod claim;
pub mod local;
#[cfg(any(test, feature = "test-host"))]
pub mod memory;
pub mod remote;

pub use claim::{Binding, Claim, ClaimId, Claimed, Conclusion, Money, NewClaim, Pointer, Service, Ticket};

use std::fmt;
use std::future::Future;

/// A ledger backend. Every method is atomic against every other one, from any worker.
pub trait Store: Clone + 'static {
    /// Takes the claim `id`, or says what is known about it.
    ///
    /// A claim past its deadline is first concluded as [`claim`] says: before the money call released, after it
    /// unknown.
    ///
    /// # Errors
    /// [`StoreError::Full`] if live claims fill the place this one belongs; [`StoreError::Failed`] if the backend
    /// failed.
    fn claim(&self, id: &ClaimId, new: &NewClaim, now: u64) -> impl Future<Output = Result<Claimed, StoreError>>;

    /// Moves our claim on, if it is still ours (same generation).
    ///
    /// # Errors
    /// [`StoreError::Lost`] if another took or concluded it; the loser changes nothing.
    fn conclude(&self, ticket: &Ticket, to: &Conclusion, now: u64) -> impl Future<Output = Result<(), StoreError>>;

    /// Forgets our claim, if it is still ours and no money call was made for it: the payment may be used again.
    ///
    /// # Errors
    /// As [`conclude`](Self::conclude).
    fn release(&self, ticket: &Ticket, now: u64) -> impl Future<Output = Result<(), StoreError>>;

    /// Concludes a claim whose outcome is unknown, for whoever found it out; any claim in another state stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Lost`] if the claim is not unknown; [`StoreError::Failed`] if the backend failed.
    fn resolve(
        &self,
        id: &ClaimId,
        money: Money,
        transaction: &str,
        now: u64,
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Sets the pointer `index`, unless another one is there that is not `instead_of`: that one is returned.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    fn point(
        &self,
        index: &ClaimId,
        to: &Pointer,
        instead_of: Option<&ClaimId>,
        now: u64,
    ) -> impl Future<Output = Result<Option<Pointer>, StoreError>>;

    /// The pointer `index`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn pointed(&self, index: &ClaimId, now: u64) -> impl Future<Output = Result<Option<Pointer>, StoreError>>;

    /// Removes the pointer `index`, if it still points to `target`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn unpoint(&self, index: &ClaimId, target: &ClaimId, now: u64) -> impl Future<Output = Result<(), StoreError>>;

    /// Keeps what finding out the outcome of claim `id` needs, at most [`MAX_DOUBT`] bytes.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there are too many open questions; the claim stays unknown all the same.
    fn doubt(&self, id: &ClaimId, bytes: &[u8]) -> impl Future<Output = Result<(), StoreError>>;

    /// The open questions, oldest first in each of their places.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn doubts(&self) -> impl Future<Output = Result<Vec<(ClaimId, Vec<u8>)>, StoreError>>;

    /// The open question about claim `id`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn doubted(&self, id: &ClaimId) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>>;

    /// Drops the question about claim `id`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn undoubt(&self, id: &ClaimId) -> impl Future<Output = Result<(), StoreError>>;

    /// Takes the lease `name` for `seconds`, unless another holds it. Of all workers that ask, one is told `true`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn lease(&self, name: Lease, seconds: u64, now: u64) -> impl Future<Output = Result<bool, StoreError>>;

    /// Shows `bytes` to every worker under `notice`, replacing what was there.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn publish(&self, notice: Notice, bytes: &[u8]) -> impl Future<Output = Result<(), StoreError>>;

    /// What was last published under `notice`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn published(&self, notice: Notice) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>>;
}

/// Periodic work that one worker does for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Asking the facilitator whose address has this hash for what it supports.
    Supported(u32),
    /// Finding out unknown outcomes.
    Reconcile,
}

/// Bytes of an open question.
pub const MAX_DOUBT: usize = 512;

/// What workers tell one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// What the facilitator whose address has this hash supports.
    Supported(u32),
}

/// Why a store operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Live claims fill the place this one belongs; nothing was forgotten to make room.
    Full,
    /// The claim is no longer ours.
    Lost,
    /// The backend failed or gave bytes that are not ours.
    Failed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the ledger is full of live claims",
            Self::Lost => "another worker concluded this claim",
            Self::Failed => "the ledger's store failed",
        })
    }
}

impl std::error::Error for StoreError {}
