//! Making narrower tokens from one that is held, without asking anybody.

use super::{Chain, Grant, Holder, Token, TokenError};
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::crypto::sha256;

/// What a delegation is to say. Times are Unix seconds.
#[derive(Clone, Debug)]
pub struct Narrower {
    /// Its id, as [`Token::jti`] may be: new, and not to be guessed where others should not know of it.
    pub jti: String,
    /// The key of whoever is to use it.
    pub holder: PublicKey,
    /// What it allows: each grant no more than one of the parent's. [`Grant::inherit`] fills in what it need not say.
    pub grants: Vec<Grant>,
    /// The origins it is for; `None` for the parent's.
    pub aud: Option<Vec<String>>,
    /// Now.
    pub iat: u64,
    /// Not to be used before this, if it is not to be used at once.
    pub nbf: Option<u64>,
    /// Not to be used from this on.
    pub exp: u64,
    /// How deep it may be delegated further, counted from the root; `None` for not at all.
    pub del_max_depth: Option<u8>,
}

/// Makes a delegation from the last link of `credential`, signed by its holder, and returns the longer credential.
///
/// # Errors
/// [`TokenError::NotDelegable`] if `key` is not the holder's, or the token may not be delegated; else whatever
/// verification would refuse the credential for: both use the same code.
pub fn delegate(credential: &str, key: &SigningKey, narrower: Narrower) -> Result<String, TokenError> {
    let chain = Chain::inspect(credential)?;
    let public = key.public();
    let parent = &chain.leaf().token;
    if parent.cnf.as_ref().and_then(|holder| holder.key) != Some(public) {
        return Err(TokenError::NotDelegable);
    }
    let signed = credential.rsplit('~').next().and_then(|link| link.rsplit_once('.')).map(|(input, _)| input);
    let child = Token {
        iss: public.thumbprint_urn(),
        aud: narrower.aud.unwrap_or_else(|| parent.aud.clone()),
        sub: None,
        client_id: None,
        iat: narrower.iat,
        nbf: narrower.nbf,
        exp: narrower.exp,
        jti: narrower.jti,
        cnf: Some(Holder::of(narrower.holder)),
        grants: narrower.grants,
        del_depth: parent.del_depth.saturating_add(1),
        del_max_depth: narrower.del_max_depth,
        par_hash: signed.map(|input| sha256(&[input.as_bytes()])),
        txn: None,
        epoch: None,
        scope: None,
        status: None,
        act: None,
    };
    let child = super::issue::sign(key, None, &child)?;
    let longer = format!("{credential}~{child}");
    Chain::inspect(&longer)?;
    Ok(longer)
}
