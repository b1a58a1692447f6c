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

/// Reads the answer to a request that showed a token. A 402 that says nothing of the token is a seller's who does not know
/// it.
pub(in crate::agent) fn said(status: u16, headers: &Headers, body: &[u8]) -> Said {
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
        _ if status == 402 => Said::NotForThis,
        _ => Said::Used(left::told(headers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_payment_and_says_nothing_of_the_token_does_not_know_it() {
        let none = Headers::default();
        assert_eq!(said(402, &none, b"{}"), Said::NotForThis);
        assert_eq!(said(402, &none, br#"{"x402Version":1,"accepts":[]}"#), Said::NotForThis);
        assert!(matches!(said(200, &none, b""), Said::Used(_)));
        assert!(matches!(said(500, &none, b"{}"), Said::Used(_)));
        let problem: Headers = [("content-type", "application/problem+json")].into_iter().collect();
        let body = br#"{"type":"urn:farebox:problem:token_exhausted","code":"token_exhausted","advice":"pay"}"#;
        assert_eq!(said(402, &problem, body), Said::Gone("token_exhausted", false));
    }
}
