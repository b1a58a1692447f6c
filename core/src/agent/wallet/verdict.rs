//! What the answer to a call with a token says of the token.

use super::left::{self, Left};
use crate::agent::answer;
use crate::http::Headers;

/// What the seller says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Said {
    /// It was dealt with: what is left, if that was said.
    Used(Option<Vec<Left>>),
    /// It is good no more, by this code. Whether the seller broke its word with it.
    Gone(&'static str, bool),
    /// It is not for this request.
    NotForThis,
    /// The proof was no good: another one may be.
    BadProof,
    /// Calls come too fast for it.
    TooFast,
}

/// Reads the answer to a request that showed a token.
pub(in crate::agent) fn said(headers: &Headers, body: &[u8]) -> Said {
    let code = answer::code(headers, body).unwrap_or_default();
    match code.as_str() {
        "token_exhausted" => Said::Gone("token_exhausted", false),
        "token_expired" => Said::Gone("token_expired", false),
        "token_revoked" => Said::Gone("token_revoked", true),
        "token_invalid" => Said::Gone("token_invalid", true),
        "ledger_lost" => Said::Gone("ledger_lost", true),
        "token_scope" => Said::NotForThis,
        "proof_required" | "proof_invalid" | "proof_replayed" => Said::BadProof,
        "token_rate" | "token_not_yet_valid" => Said::TooFast,
        _ => Said::Used(left::told(headers)),
    }
}
