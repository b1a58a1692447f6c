//! What is left as evidence: receipts for buyers, and a log in which nothing can be changed or left out unseen.
//!
//! | question | where it is decided |
//! |---|---|
//! | what a receipt says, and when one is genuine | [`call`] |
//! | what a line of the audit log says, and how lines are chained and signed | [`audit`] |
//! | whether a log is whole | [`verify`] |
//! | how a log's lines become one hash | [`merkle`] |
//!
//! All of it is pure: keys, time and random names are passed in, and lines go wherever the caller writes them.

pub mod audit;
pub mod call;
pub mod merkle;
mod pay;
pub mod verify;

pub use audit::{Cadence, Entry, Kind, Log, Position};
pub use call::{Proof, Receipt, ReceiptError};
pub use pay::{Amount, Draw, Pay, PayState};
