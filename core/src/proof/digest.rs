//! `Content-Digest` (RFC 9530): which body a request is about.

use super::error::{ProofError, Reason, malformed};
use super::fields::{Bare, Dictionary, Member, joined};
use crate::crypto::sha256;
use crate::http::Headers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Name of the field, in lower case.
pub const FIELD: &str = "content-digest";

/// The SHA-256 digest that a request states of its body, if it states any digest at all.
///
/// Other algorithms may stand beside it and decide nothing.
///
/// # Errors
/// [`Reason::ProofMalformed`] if the field cannot be read, has a key twice, or has no `sha-256` of 32 bytes.
pub fn stated(headers: &Headers) -> Result<Option<[u8; 32]>, ProofError> {
    let Some(text) = joined(headers, FIELD) else { return Ok(None) };
    let digests = Dictionary::parse(&text).map_err(|error| malformed("Content-Digest", error))?;
    let sha256 = match digests.get("sha-256") {
        Some(Member::Item(item)) => match &item.value {
            Bare::Bytes(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).ok(),
            _ => None,
        },
        _ => None,
    };
    let none = || ProofError::new(Reason::ProofMalformed, "`Content-Digest` must state a sha-256 digest of 32 bytes");
    sha256.map(Some).ok_or_else(none)
}

/// The SHA-256 digest that is stated of a body, as [`field`] writes it; nothing if there is none that can be read.
#[must_use]
pub fn stated_field(headers: &Headers) -> Option<String> {
    stated(headers).ok().flatten().map(|digest| field_of(&digest))
}

/// Checks a body against the digest that was stated of it.
///
/// # Errors
/// [`Reason::BodyMismatch`].
pub fn check(stated: &[u8; 32], body: &[u8]) -> Result<(), ProofError> {
    if sha256(&[body]) == *stated {
        Ok(())
    } else {
        Err(ProofError::new(Reason::BodyMismatch, "the body is not the one that `Content-Digest` describes"))
    }
}

/// The field's value for `body`.
///
/// ```
/// use farebox_core::proof::digest;
/// assert_eq!(digest::field(b""), "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
/// ```
#[must_use]
pub fn field(body: &[u8]) -> String {
    field_of(&sha256(&[body]))
}

fn field_of(digest: &[u8; 32]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<[u8; 32]>, Reason> {
        stated(&lines.iter().map(|line| (FIELD, *line)).collect()).map_err(|error| error.reason)
    }

    #[test]
    fn a_stated_digest_is_the_bodys_or_the_body_is_refused() {
        let body = b"{\"hello\": \"world\"}";
        // RFC 9530, appendix D.
        let digest = read(&["sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"]).unwrap().unwrap();
        assert_eq!(check(&digest, body), Ok(()));
        assert_eq!(check(&digest, b"{\"hello\": \"World\"}").unwrap_err().reason, Reason::BodyMismatch);
        assert_eq!(check(&digest, b"").unwrap_err().reason, Reason::BodyMismatch);
        assert_eq!(read(&[&field(body)]), Ok(Some(digest)));
        // Other algorithms beside it, on the same line or another.
        let other =
            "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
        assert_eq!(read(&[&format!("{other}, {}", field(body))]), Ok(Some(digest)));
        assert_eq!(read(&[other, &field(body)]), Ok(Some(digest)));
    }

    #[test]
    fn no_field_states_nothing_and_a_bad_one_is_refused() {
        assert_eq!(read(&[]), Ok(None));
        let good = field(b"");
        let twice = format!("{good}, {good}");
        for bad in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=::",
            "sha-256=:AAAA:",
            "sha-256=(:AAAA:)",
            "SHA-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
            "sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU:",
            "sha-256=:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=:",
            "sha-256=\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"",
            "sha-512=:AAAA:",
            &twice,
        ] {
            assert_eq!(read(&[bad]), Err(Reason::ProofMalformed), "{bad}");
        }
        assert_eq!(read(&[&good, &good]), Err(Reason::ProofMalformed));
    }
}
