//! Making roots.

use super::{Chain, MAX_BYTES, TYPE, Token, TokenError};
use crate::crypto::jws;
use crate::crypto::keys::SigningKey;

/// Signs `token` with the issuer's key, whose name goes into the header. The same claims give the same text.
///
/// # Errors
/// Whatever verification would refuse it for, the issuer's name and the time aside.
pub fn issue(key: &SigningKey, token: &Token) -> Result<String, TokenError> {
    let credential = sign(key, Some(&key.public().thumbprint()), token)?;
    Chain::inspect(&credential)?;
    Ok(credential)
}

pub(super) fn sign(key: &SigningKey, kid: Option<&str>, token: &Token) -> Result<String, TokenError> {
    let link = jws::sign(key, TYPE, kid, &token.to_value());
    let link = link.ok_or(TokenError::Malformed("a claim has no canonical form"))?;
    if link.len() > MAX_BYTES { Err(TokenError::TooLarge) } else { Ok(link) }
}
