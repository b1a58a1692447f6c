//! Proofs by `DPoP` (RFC 9449).
//!
//! A proof names method and URL without the query, and no body: two calls of one path are the same to it. Where the
//! query or the body decides what is bought, ask for `HTTPSig`. Nonces of ours are not demanded; each proof is accepted
//! once within its window.

use super::error::{ProofError, Reason};
use super::signature::Request;
use super::{Bound, Proven, Window, identity};
use crate::crypto::jws::{self, Jws};
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::crypto::{base64url, sha256};
use crate::http::Headers;
use crate::policy::{authority::Origin, path};
use serde_json::{Value, json};

/// Name of the field that carries a proof, in lower case.
pub const FIELD: &str = "dpop";
/// Bytes that a proof may have.
pub const MAX_BYTES: usize = 4 * 1024;
/// Bytes that a proof's `jti` may have.
pub const MAX_JTI: usize = 128;
/// `typ` of a proof.
const TYPE: &str = "dpop+jwt";

/// Checks the proof that must come with `credential` (RFC 9449 §4.3), whose leaf is bound to a key.
///
/// # Errors
/// [`Reason::ProofMissing`], [`Reason::ProofMalformed`], [`Reason::ProofIncomplete`], [`Reason::ProofMismatch`],
/// [`Reason::ProofExpired`], [`Reason::ProofEarly`], [`Reason::ProofInvalid`], the last one last.
pub(super) fn presented(
    credential: &str,
    bound: Bound<'_>,
    request: &Request<'_>,
    headers: &Headers,
    window: Window,
) -> Result<Proven, ProofError> {
    let malformed = |detail: &'static str| ProofError::new(Reason::ProofMalformed, detail);
    let incomplete = |detail: &'static str| ProofError::new(Reason::ProofIncomplete, detail);
    let mismatch = |detail: &'static str| ProofError::new(Reason::ProofMismatch, detail);

    let mut proofs = headers.all(FIELD);
    let missing = || ProofError::new(Reason::ProofMissing, "the token needs a proof in `DPoP`");
    let proof = proofs.next().ok_or_else(missing)?;
    if proofs.next().is_some() {
        return Err(malformed("`DPoP` may come once"));
    }
    let proof = std::str::from_utf8(proof).map_err(|_| malformed("a proof is ASCII"))?;
    let unread = |error| ProofError::new(Reason::ProofMalformed, format!("the proof cannot be read: {error}"));
    let proof = Jws::parse(proof, MAX_BYTES).map_err(unread)?;
    let jwk = proof.header.get("jwk").ok_or_else(|| incomplete("the proof's header needs `jwk`"))?;
    let no_key = "the proof's `jwk` must be a public Ed25519 or secp256k1 key, and its `alg` that key's";
    let key = PublicKey::from_jwk(jwk).ok_or_else(|| malformed(no_key))?;
    if proof.algorithm() != Some(key.algorithm()) {
        return Err(malformed(no_key));
    }
    if !proof.has_type(TYPE) {
        return Err(malformed("the proof's `typ` must be `dpop+jwt`"));
    }
    if !bound.is_to(&key) {
        return Err(mismatch("the proof's key is not the one that the token is bound to"));
    }

    let text = |name: &'static str| match proof.payload.get(name).map(Value::as_str) {
        Some(Some(text)) => Ok(text),
        Some(None) => Err(ProofError::new(Reason::ProofMalformed, format!("the proof's `{name}` must be a string"))),
        None => Err(ProofError::new(Reason::ProofIncomplete, format!("the proof needs `{name}`"))),
    };
    let jti = text("jti")?;
    if !(1..=MAX_JTI).contains(&jti.len()) {
        return Err(malformed("the proof's `jti` must have 1 to 128 bytes"));
    }
    if text("htm")? != request.method {
        return Err(mismatch("the proof is for another method"));
    }
    if !is_url_of(text("htu")?, request) {
        return Err(mismatch("the proof is for another URL, or its `htu` has a query or fragment"));
    }
    if text("ath")? != hash(credential) {
        return Err(mismatch("the proof is for another token"));
    }
    let issued = proof.payload.get("iat").ok_or_else(|| incomplete("the proof needs `iat`"))?;
    let issued = issued.as_u64().ok_or_else(|| malformed("the proof's `iat` must be whole seconds"))?;
    window.check(issued)?;

    proof
        .verify(&key, TYPE)
        .map_err(|_| ProofError::new(Reason::ProofInvalid, "the proof's signature is not its key's"))?;
    Ok(Proven { once: vec![identity(TYPE, &key, jti)], until: window.ends(issued), body: None })
}

/// `ath`: the hash of the credential as it is shown (RFC 9449 §4.2).
fn hash(credential: &str) -> String {
    base64url::encode(&sha256(&[credential.as_bytes()]))
}

/// Whether `htu` is the request's URL without query and fragment, after the normalisation that RFC 9449 §4.3 asks for.
fn is_url_of(htu: &str, request: &Request<'_>) -> bool {
    if htu.strip_prefix(request.origin) == Some(request.path()) {
        return true;
    }
    normal(htu).is_some_and(|it| Some(it) == normal(&[request.origin, request.path()].concat()))
}

/// Origin and canonical path of a URL that has nothing more.
fn normal(url: &str) -> Option<(Origin, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
    let origin = Origin::parse(&format!("{}://{authority}", scheme.to_ascii_lowercase()), false).ok()?;
    let path = path::canonical(if path.is_empty() { b"/" } else { path.as_bytes() }).ok()?;
    Some((origin, path))
}

/// Makes the proof for a request that shows `credential`. `jti` must never have been used before with this key; `None` if
/// `issued` (Unix seconds) is no time.
#[must_use]
pub fn sign(key: &SigningKey, request: &Request<'_>, credential: &str, issued: u64, jti: &str) -> Option<String> {
    let unsigned = unsigned(&key.public(), request, credential, issued, jti)?;
    let signature = key.sign(unsigned.signing_input().as_bytes());
    Some(unsigned.finish(&signature))
}

/// The proof that [`sign`] makes, for a key that signs elsewhere.
#[must_use]
pub fn unsigned(
    key: &PublicKey,
    request: &Request<'_>,
    credential: &str,
    issued: u64,
    jti: &str,
) -> Option<jws::Unsigned> {
    let header = json!({ "alg": key.algorithm().wire(), "jwk": key.to_jwk(), "typ": TYPE });
    let htu = [request.origin, request.path()].concat();
    let claims = json!({ "ath": hash(credential), "htm": request.method, "htu": htu, "iat": issued, "jti": jti });
    jws::Unsigned::new(&header, &claims)
}

#[cfg(test)]
mod tests;
