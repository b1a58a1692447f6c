//! Making narrower tokens from one that is held, without asking anybody.

use super::{Chain, Grant, Holder, MAX_BYTES, TYPE, Token, TokenError};
use crate::crypto::jws;
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
    let unsigned = Undelegated::new(credential, &key.public(), narrower)?;
    let signature = key.sign(unsigned.signing_input().as_bytes());
    unsigned.finish(&signature)
}

/// A delegation before it is signed, for holders whose key signs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is no delegation until it is signed"]
pub struct Undelegated {
    parent: String,
    child: jws::Unsigned,
}

impl Undelegated {
    /// As [`delegate`], by the holder of `public`.
    ///
    /// # Errors
    /// As [`delegate`]; what only a finished credential shows, [`finish`](Self::finish) finds.
    pub fn new(credential: &str, public: &PublicKey, narrower: Narrower) -> Result<Self, TokenError> {
        let child = child(credential, *public, narrower)?;
        let header = jws::header(public.algorithm(), TYPE, None);
        let child = jws::Unsigned::new(&header, &child.to_value());
        let child = child.ok_or(TokenError::Malformed("a claim has no canonical form"))?;
        Ok(Self { parent: credential.to_owned(), child })
    }

    /// What the holder signs.
    #[must_use]
    pub fn signing_input(&self) -> &str {
        self.child.signing_input()
    }

    /// The longer credential, with the holder's signature. Whether that is good is for whoever verifies the chain.
    ///
    /// # Errors
    /// Whatever verification would refuse it for.
    pub fn finish(self, signature: &[u8; 64]) -> Result<String, TokenError> {
        let longer = [&self.parent, "~", &self.child.finish(signature)].concat();
        if longer.len() > MAX_BYTES {
            return Err(TokenError::TooLarge);
        }
        Chain::inspect(&longer)?;
        Ok(longer)
    }
}

fn child(credential: &str, public: PublicKey, narrower: Narrower) -> Result<Token, TokenError> {
    let chain = Chain::inspect(credential)?;
    let parent = &chain.leaf().token;
    if parent.cnf.as_ref().and_then(|holder| holder.key) != Some(public) {
        return Err(TokenError::NotDelegable);
    }
    let signed = credential.rsplit('~').next().and_then(|link| link.rsplit_once('.')).map(|(input, _)| input);
    Ok(Token {
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
    })
}
