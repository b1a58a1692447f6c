//! What was spent, what is reserved, and what else a decision must remember.
//!
//! [`Counters`] is one value: every change is a pure function of it, an operation and the time. A store keeps it as one
//! blob of bytes and changes it by compare-and-swap, so processes that share a store share the budgets: whoever loses the
//! race decides again, on what the winner left.
//!
//! | question | where it is decided |
//! |---|---|
//! | what counts in a window | `tally` |
//! | what happens to money between decision and outcome | `reservation` |
//! | who must approve what, and has | `question` |
//! | what remains when counters are lost | [`Counters::lost`] |

pub(super) mod question;
mod reservation;
mod state;
mod tally;

pub use question::{Approved, Asked, BadApproval, Question, approve};
pub use reservation::{NotHeld, Outcome, Payment, Reservation, Resumed, Stage};
pub use state::{Adopted, BadCounters, Counters, Left};

pub(super) use reservation::{Draw, id_text, introduces};
pub(super) use state::{counter, host_key, price_key, seen_keys};
pub(super) use tally::{needed_since, window};

/// Amounts as decimal strings, since JSON has no integers of 128 bits.
pub(super) mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::agent) fn serialize<S: Serializer>(value: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in crate::agent) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom("not a decimal number below 2^128"))
    }
}
