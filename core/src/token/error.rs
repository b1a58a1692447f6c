//! Why a token is refused.

use std::fmt;

/// Why a token was refused, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// The credential is longer than [`MAX_BYTES`](super::MAX_BYTES).
    TooLarge,
    /// It has more than [`MAX_LINKS`](super::MAX_LINKS) links.
    TooManyLinks,
    /// It cannot be read; what is wrong with it, in words.
    Malformed(&'static str),
    /// Its key is none of the issuer's.
    UnknownKey,
    /// Another issuer's name is in it.
    WrongIssuer,
    /// It is for other origins.
    WrongAudience,
    /// Its time has not begun.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// A signature is not the key's.
    BadSignature,
    /// A link does not continue the one before it; what is wrong, in words.
    BadLink(&'static str),
    /// A link allows something that the one before it does not; what, in words.
    Wider(&'static str),
    /// A link was made from a token that may not be delegated, or not this far.
    NotDelegable,
    /// The call is not among those it allows.
    NotGranted,
    /// The call costs more than it allows for one call.
    CallLimit,
}

impl TokenError {
    /// A stable code for it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "token_too_large",
            Self::TooManyLinks => "token_too_many_links",
            Self::Malformed(_) => "token_malformed",
            Self::UnknownKey => "token_unknown_key",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::WrongAudience => "token_wrong_audience",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Expired => "token_expired",
            Self::BadSignature => "token_bad_signature",
            Self::BadLink(_) => "token_bad_link",
            Self::Wider(_) => "token_wider",
            Self::NotDelegable => "token_not_delegable",
            Self::NotGranted => "token_not_granted",
            Self::CallLimit => "token_call_limit",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the token with its delegations is longer than {} bytes", super::MAX_BYTES),
            Self::TooManyLinks => write!(f, "the token has more than {} links", super::MAX_LINKS),
            Self::Malformed(what) => write!(f, "the token cannot be read: {what}"),
            Self::UnknownKey => f.write_str("the token's key is none of the issuer's"),
            Self::WrongIssuer => f.write_str("the token is another issuer's"),
            Self::WrongAudience => f.write_str("the token is for another origin"),
            Self::NotYetValid => f.write_str("the token's time has not begun"),
            Self::Expired => f.write_str("the token has expired"),
            Self::BadSignature => f.write_str("the token's signature is not good"),
            Self::BadLink(what) => write!(f, "the delegation does not continue its parent: {what}"),
            Self::Wider(what) => write!(f, "the delegation allows more than its parent: {what}"),
            Self::NotDelegable => f.write_str("the token may not be delegated, or not this far"),
            Self::NotGranted => f.write_str("the token does not allow this call"),
            Self::CallLimit => f.write_str("the call costs more than the token allows for one call"),
        }
    }
}

impl std::error::Error for TokenError {}
