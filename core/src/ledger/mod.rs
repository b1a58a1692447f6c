//! Claims, budgets, rates, proofs and revocations over a store.
//!
//! A store is asked for operations with meaning, never for get and set, so that each backend makes them atomic in
//! its own way. The rules of a claim's life are in [`claim`], those of a token's counters in [`draw`]; [`local`] keeps
//! them on shared data, [`remote`] reaches a store elsewhere.

pub mod claim;
#[cfg(any(test, feature = "test-host"))]
pub mod conformance;
pub mod draw;
mod family;
pub mod local;
#[cfg(any(test, feature = "test-host"))]
pub mod memory;
mod meter;
pub mod remote;
pub mod revocation;

pub use claim::{
    Binding, Claim, ClaimId, Claimed, Conclusion, LATE, Money, NewClaim, Pointer, Service, Ticket, Yield, Yielded,
};
pub use draw::{CounterId, Draw, DrawError, Drawn, FamilyId, Left, LeftOf, LinkId, Reservation};
pub use revocation::{Facts, Party, Revocation, Revocations, Revoked, Subject};

use std::fmt;
use std::future::Future;

/// A ledger backend. Every method is atomic against every other one, from any worker.
pub trait Store: Clone + 'static {
    /// The random name of this life of the store. What an earlier life knew is gone: tokens and credits carry the epoch
    /// they were counted in.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn epoch(&self) -> impl Future<Output = Result<[u8; 16], StoreError>>;

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

    /// Records that our settled claim is turned into the token `what`, unless it was turned into one before: the answer
    /// is what it has become, now or then. One claim yields one token, ever.
    ///
    /// A credit concludes the service as failed, and is given instead of the delivery: the payment is not served again.
    ///
    /// # Errors
    /// [`StoreError::Lost`] if the claim is not ours or not settled; [`StoreError::Failed`] if the backend failed.
    fn yield_once(&self, ticket: &Ticket, what: &Yield, now: u64) -> impl Future<Output = Result<Yield, StoreError>>;

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

    /// Charges every counter of `draw`, or none: all links of a chain at once.
    ///
    /// Counters begin with their first draw and are kept until the link expires, never less.
    ///
    /// # Errors
    /// [`StoreError::Full`] if live tokens fill the place this family belongs; [`StoreError::Failed`] if the backend
    /// failed. Nothing was charged, as far as the backend can know.
    fn reserve(&self, draw: Draw, now_millis: u64) -> impl Future<Output = Result<Drawn, StoreError>>;

    /// Concludes a draw with what was used: every counter of the draw that `used` names, at whichever link, is charged
    /// that instead of what was reserved. More is charged whether or not there is room; of a rate, nothing comes back.
    /// If nothing differs, the store is not asked, and the answer is what was left after the draw.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed: what was reserved stays charged.
    fn commit(
        &self,
        reservation: Reservation,
        used: &[(CounterId, u128)],
        now_millis: u64,
    ) -> impl Future<Output = Result<Left, StoreError>>;

    /// Gives a draw's budgets back, as if the call had not been made. What it took of rates stays taken.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed: what was reserved stays charged.
    fn refund(&self, reservation: Reservation, now_millis: u64) -> impl Future<Output = Result<(), StoreError>>;

    /// What is left on a family; `None` if nothing was ever drawn on it, or it has expired.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn left(&self, family: &FamilyId, now_millis: u64) -> impl Future<Output = Result<Option<Left>, StoreError>>;

    /// Remembers `id` until `until` (Unix seconds): `true` the first time, and `false` ever after. Also `false` if
    /// `until` has passed, or if it cannot be told because a clock that was ahead has come back.
    ///
    /// For whatever must not be shown twice: proofs of possession, single-use admin tokens.
    ///
    /// # Errors
    /// [`StoreError::Full`] if live ones fill the place it belongs, and none is forgotten for it;
    /// [`StoreError::Failed`] if the backend failed. In either case it must not be accepted.
    fn once(&self, id: &[u8; 32], until: u64, now: u64) -> impl Future<Output = Result<bool, StoreError>>;

    /// Revokes `what`, to be kept until `until` (Unix seconds) at least: the latest expiry of a token it may name.
    /// To do so again changes nothing. Once it has returned, every worker that asks for the epoch sees another one.
    ///
    /// # Errors
    /// [`StoreError::Full`] if live revocations fill the place it belongs; [`StoreError::Failed`] if the backend
    /// failed. It may or may not have happened then, and is to be asked for again.
    fn revoke(&self, what: &Revocation, until: u64, now: u64) -> impl Future<Output = Result<(), StoreError>>;

    /// Everything that is revoked.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn revocations(&self) -> impl Future<Output = Result<Revocations, StoreError>>;

    /// A number that changes with every revocation: one cheap read on the way of every call with a token.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the backend failed.
    fn revocation_epoch(&self) -> impl Future<Output = Result<u64, StoreError>>;

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
    /// Live entries fill the place this one belongs; nothing was forgotten to make room.
    Full,
    /// The claim is no longer ours.
    Lost,
    /// The backend failed or gave bytes that are not ours.
    Failed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the ledger is full of live entries",
            Self::Lost => "another worker concluded this claim",
            Self::Failed => "the ledger's store failed",
        })
    }
}

impl std::error::Error for StoreError {}
