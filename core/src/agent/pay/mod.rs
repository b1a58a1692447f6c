//! Making a payment: what is signed, who signs, and the header that carries it.
//!
//! | question | where it is decided |
//! |---|---|
//! | what is signed | [`Draft`] |
//! | what a wallet is shown | `typed_data` |
//! | what the request carries | `header` |
//! | what a signer must do | [`Signer`], and [`SessionKey`], the one that needs no wallet |
//! | what else an agent may be asked to sign | [`guard`] |

mod draft;
pub mod guard;
mod header;
mod session_key;
mod typed_data;

pub use draft::{BadSignature, Binding, Draft};
pub use session_key::SessionKey;

use std::fmt;
use std::future::Future;

/// Whoever holds the key: a session key, a wallet in a browser, a hardware device.
///
/// It signs typed data (EIP-712) for the account that the draft names, and nothing else is ever asked of it. It may
/// take as long as a person takes.
pub trait Signer {
    /// The signature over [`Draft::digest`], 65 bytes of a key or what a contract's owner signs; a wallet that wants
    /// to show what it signs takes [`Draft::typed_data`].
    ///
    /// # Errors
    /// [`NotSigned`] if it was declined or failed; the payment is not made.
    fn sign(&self, draft: &Draft) -> impl Future<Output = Result<Vec<u8>, NotSigned>>;
}

/// Why there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSigned {
    /// Whoever was asked said no.
    Declined,
    /// The signer has no such account, or failed.
    Failed,
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Declined => "the signature was declined",
            Self::Failed => "the signer failed",
        })
    }
}

impl std::error::Error for NotSigned {}
