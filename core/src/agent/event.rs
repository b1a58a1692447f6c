//! What an agent does, as it happens: for a page that shows it, a log, a test.

use super::challenge::Challenge;
use super::counters::Reservation;
use super::decide::Decision;
use super::flow::Paid;
use super::receipt::Receipt;
use super::request::Request;
use super::wallet::{TokenInfo, TokenUse};

/// Something that has happened. `id` names the reservation: all events of one payment have the same.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The offers of a challenge were judged. What is chosen is reserved by the time this is said, and what must be
    /// approved was asked.
    Decided {
        /// The reservation, if one was made.
        id: Option<&'a str>,
        /// The request.
        request: &'a Request,
        /// The challenge.
        challenge: &'a Challenge,
        /// What was decided, and how it came about.
        decision: &'a Decision,
    },
    /// Money was reserved; the signer is asked next.
    Reserved {
        /// The reservation.
        id: &'a str,
        /// What was reserved.
        reservation: &'a Reservation,
    },
    /// A reservation was given back: nothing was paid.
    GivenUp {
        /// The reservation.
        id: &'a str,
        /// Why: a code of [`FetchError::code`](super::FetchError::code), `abandoned` or `not_needed`.
        why: &'a str,
    },
    /// The payment was signed and written down.
    Signed {
        /// The reservation.
        id: &'a str,
        /// What was reserved, with the payment.
        reservation: &'a Reservation,
    },
    /// The payment of an earlier attempt at the same request is sent again, in place of a new one.
    Resumed {
        /// The reservation.
        id: &'a str,
        /// What was reserved, with the payment.
        reservation: &'a Reservation,
    },
    /// The payment leaves.
    Sent {
        /// The reservation.
        id: &'a str,
        /// How often it has been sent for this call, this time included.
        attempt: usize,
    },
    /// The payment was dealt with, well or badly.
    Paid {
        /// The payment and its outcome.
        paid: &'a Paid,
    },
    /// A receipt was checked, and is good or not.
    ReceiptChecked {
        /// The reservation; `None` for the receipt of a call with a token.
        id: Option<&'a str>,
        /// The receipt.
        receipt: &'a Receipt,
    },
    /// A token came, and is kept.
    TokenKept {
        /// The token.
        token: &'a TokenInfo,
    },
    /// A call was made with a token.
    TokenUsed {
        /// The token, and what is left of it.
        used: &'a TokenUse,
    },
    /// A token is shown no more.
    TokenDropped {
        /// Its id.
        token: &'a str,
        /// Why: the gate's code (`token_exhausted`, …), `expired`, or `dropped` by the program.
        why: &'a str,
    },
}

impl Event<'_> {
    /// The names of all events.
    pub const NAMES: &'static [&'static str] = &[
        "decided",
        "reserved",
        "given_up",
        "signed",
        "resumed",
        "sent",
        "paid",
        "receipt_checked",
        "token_kept",
        "token_used",
        "token_dropped",
    ];

    /// The event's stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Decided { .. } => "decided",
            Self::Reserved { .. } => "reserved",
            Self::GivenUp { .. } => "given_up",
            Self::Signed { .. } => "signed",
            Self::Resumed { .. } => "resumed",
            Self::Sent { .. } => "sent",
            Self::Paid { .. } => "paid",
            Self::ReceiptChecked { .. } => "receipt_checked",
            Self::TokenKept { .. } => "token_kept",
            Self::TokenUsed { .. } => "token_used",
            Self::TokenDropped { .. } => "token_dropped",
        }
    }
}
