//! Proofs by HTTP message signature: draft-richer-oauth-httpsig-03 on RFC 9421.
//!
//! | | presentation of a token | introduction of a key |
//! |---|---|---|
//! | tag | [`TAG`] | [`INTRODUCTION_TAG`] |
//! | covers | `@method`, `@target-uri`, the field that carries the credential | `@method`, `@target-uri`, the field that carries the payment |
//! | covers, with a body | `content-digest` | `content-digest` |
//! | parameters | `created`, `nonce`, `tag` | and `alg`, `pub` |
//! | must not have | `alg`, `keyid`, `pub` | `keyid` |
//! | signatures with the tag | all must verify, at most [`MAX_SIGNATURES`] | one |
//!
//! Further components may be covered, and further parameters may stand there; they decide nothing. `expires` is
//! obeyed.
//!
//! Where the draft leaves room, or we differ:
//! - `content-digest` is a must for a request that may have a body, and no more than that: the paying request is often a
//!   `GET`, where the draft's token request is always a `POST`.
//! - A key is introduced by the request that pays. Its signature must cover the payment: otherwise whoever sees an
//!   introduction could set it beside another payment, and whoever sees a payment could set another introduction
//!   beside it without a trace. It does not say that the payer agrees to the key: that the first to show a payment
//!   names the key is the rule of the claim.
//! - A credential may come in `Capability-Token` where `Authorization` is the upstream's; then that field is covered.
//! - secp256k1 has no name in the registry of RFC 9421 §6.2. [`SECP256K1`] is formed like its neighbours; `pub` is the
//!   uncompressed point, and the signature is that of ES256K: `r‖s`, 64 bytes, `s` in the lower half, over SHA-256.
//! - An introduced key is named in tokens as a JWK, not as `htsk`: delegation needs it there, and what is signed at a
//!   presentation is the same.

use super::digest;
use super::error::{ProofError, Reason};
use super::fields::{Bare, InnerList, Item, Parameters, joined};
use super::signature::{self, Request, Signature};
use super::{Proven, Window, identity};
use crate::crypto::base64url;
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::http::Headers;
use serde_json::json;
use std::borrow::Cow;

/// Tag of a signature that comes with a token.
pub const TAG: &str = "httpsig-oauth";
/// Tag of a signature that introduces a key.
pub const INTRODUCTION_TAG: &str = "httpsig-oauth-token-request";
/// Bytes that a nonce may have.
pub const MAX_NONCE: usize = 128;
/// Signatures with one tag that a request may carry. Each costs a verification.
pub const MAX_SIGNATURES: usize = 2;
/// `alg` of an introduced Ed25519 key; its `pub` is the key as RFC 8032 encodes it (32 bytes).
pub const ED25519: &str = "ed25519";
/// `alg` of an introduced secp256k1 key; its `pub` is the uncompressed point (SEC 1 §2.3.3, 65 bytes).
pub const SECP256K1: &str = "ecdsa-secp256k1-sha256";

/// A key that a paying request introduces: what it buys is bound to this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The key, whose possession the request proves.
    pub key: PublicKey,
    /// What remains to be done, as with any proof.
    pub proven: Proven,
}

/// Checks the signatures that must come with a token whose leaf is bound to `key`, shown in `field`.
///
/// # Errors
/// [`Reason::ProofMissing`], [`Reason::ProofMalformed`], [`Reason::ProofIncomplete`], [`Reason::ProofExpired`],
/// [`Reason::ProofEarly`], [`Reason::ProofInvalid`]; nothing costly is done before everything cheap has passed.
pub(super) fn presented(
    field: &'static str,
    key: &PublicKey,
    request: &Request<'_>,
    headers: &Headers,
    window: Window,
) -> Result<Proven, ProofError> {
    let missing = || ProofError::new(Reason::ProofMissing, "the token needs a signature with the tag `httpsig-oauth`");
    let fields = Texts::of(headers).ok_or_else(missing)?;
    let (inputs, signatures) = fields.read()?;
    let ours = signature::tagged(&inputs, &signatures, TAG)?;
    if ours.is_empty() {
        return Err(missing());
    }
    if ours.len() > MAX_SIGNATURES {
        return Err(ProofError::new(Reason::ProofMalformed, "too many signatures with the tag `httpsig-oauth`"));
    }
    let mut checked = Vec::with_capacity(ours.len());
    for signature in &ours {
        forbid(signature, &["alg", "keyid", "pub"])?;
        checked.push(check(signature, field, request, headers, window)?);
    }
    for (signature, checked) in ours.iter().zip(&checked) {
        verify(key, checked, signature)?;
    }
    let body = checked.iter().find_map(|checked| checked.body);
    let until = checked.iter().map(|checked| window.ends(checked.created)).max().unwrap_or_default();
    let once = checked.iter().map(|checked| identity(TAG, key, &checked.nonce)).collect();
    Ok(Proven { once, until, body })
}

/// Reads and checks the introduction of a key by a request that pays in the field `payment` (lower case). `None` if
/// the request introduces none.
///
/// # Errors
/// [`Reason::ProofMalformed`], [`Reason::ProofIncomplete`], [`Reason::ProofExpired`], [`Reason::ProofEarly`],
/// [`Reason::ProofInvalid`]. A request with a bad introduction is refused: its sender wanted a token bound to a key, and
/// must not get another.
pub fn introduced(
    payment: &str,
    request: &Request<'_>,
    headers: &Headers,
    window: Window,
) -> Result<Option<Introduction>, ProofError> {
    let Some(fields) = Texts::of(headers) else { return Ok(None) };
    let (inputs, signatures) = fields.read()?;
    let ours = signature::tagged(&inputs, &signatures, INTRODUCTION_TAG)?;
    let signature = match ours.as_slice() {
        [] => return Ok(None),
        [signature] => signature,
        _ => return Err(ProofError::new(Reason::ProofMalformed, "a request may introduce one key")),
    };
    forbid(signature, &["keyid"])?;
    let checked = check(signature, payment, request, headers, window)?;
    let key = introduced_key(signature)?;
    verify(&key, &checked, signature)?;
    let once = vec![identity(INTRODUCTION_TAG, &key, &checked.nonce)];
    Ok(Some(Introduction { key, proven: Proven { once, until: window.ends(checked.created), body: checked.body } }))
}

/// The texts of the two fields.
struct Texts<'a> {
    input: Cow<'a, [u8]>,
    signature: Cow<'a, [u8]>,
}

impl<'a> Texts<'a> {
    /// `None` if the request has neither.
    fn of(headers: &'a Headers) -> Option<Self> {
        let (input, signature) = (joined(headers, signature::SIGNATURE_INPUT), joined(headers, signature::SIGNATURE));
        (input.is_some() || signature.is_some())
            .then(|| Self { input: input.unwrap_or_default(), signature: signature.unwrap_or_default() })
    }

    fn read(&self) -> Result<(super::fields::Dictionary<'_>, super::fields::Dictionary<'_>), ProofError> {
        let inputs = signature::dictionary("Signature-Input", &self.input)?;
        Ok((inputs, signature::dictionary("Signature", &self.signature)?))
    }
}

fn forbid(signature: &Signature<'_>, names: &[&str]) -> Result<(), ProofError> {
    match names.iter().find(|name| signature.input.parameters.get(name).is_some()) {
        Some(name) => {
            Err(ProofError::new(Reason::ProofMalformed, format!("the signature must not have a parameter `{name}`")))
        }
        None => Ok(()),
    }
}

/// A signature that is good if its bytes are.
struct Checked {
    base: String,
    created: u64,
    nonce: String,
    body: Option<[u8; 32]>,
}

/// Everything but the signature's bytes.
fn check(
    signature: &Signature<'_>,
    field: &str,
    request: &Request<'_>,
    headers: &Headers,
    window: Window,
) -> Result<Checked, ProofError> {
    let created = seconds(signature, "created")?.ok_or_else(|| incomplete("the signature needs `created`"))?;
    window.check(created)?;
    if seconds(signature, "expires")?.is_some_and(|expires| expires < window.now) {
        return Err(ProofError::new(Reason::ProofExpired, "the signature's `expires` has passed"));
    }
    let nonce = match signature.input.parameters.get("nonce") {
        Some(Bare::String(nonce)) if (1..=MAX_NONCE).contains(&nonce.len()) => nonce.clone().into_owned(),
        Some(_) => {
            return Err(ProofError::new(Reason::ProofMalformed, "`nonce` must be a string of 1 to 128 characters"));
        }
        None => return Err(incomplete("the signature needs a `nonce`")),
    };
    let covered = signature::covered(signature.input)?;
    if let Some(missing) = ["@method", "@target-uri", field].iter().find(|name| !covered.contains(name)) {
        return Err(incomplete(format!("the signature must cover `{missing}`")));
    }
    let body = if covered.contains(&digest::FIELD) { digest::stated(headers)? } else { None };
    let base = signature::base(request, headers, signature.input)?;
    if body.is_none() && request.may_have_body(headers) {
        return Err(incomplete(
            "a request that may have a body needs `Content-Digest`, and a signature that covers it",
        ));
    }
    Ok(Checked { base, created, nonce, body })
}

fn verify(key: &PublicKey, checked: &Checked, signature: &Signature<'_>) -> Result<(), ProofError> {
    if key.verify(checked.base.as_bytes(), signature.bytes) {
        Ok(())
    } else {
        Err(ProofError::new(Reason::ProofInvalid, "the signature does not verify under the key"))
    }
}

fn incomplete(detail: impl Into<Cow<'static, str>>) -> ProofError {
    ProofError::new(Reason::ProofIncomplete, detail)
}

/// A parameter that is a time.
fn seconds(signature: &Signature<'_>, name: &'static str) -> Result<Option<u64>, ProofError> {
    let bad = || ProofError::new(Reason::ProofMalformed, format!("`{name}` must be a number of seconds"));
    match signature.input.parameters.get(name) {
        None => Ok(None),
        Some(Bare::Integer(seconds)) => u64::try_from(*seconds).map(Some).map_err(|_| bad()),
        Some(_) => Err(bad()),
    }
}

/// The key of `alg` and `pub`.
fn introduced_key(signature: &Signature<'_>) -> Result<PublicKey, ProofError> {
    let parameters = &signature.input.parameters;
    let (Some(algorithm), Some(public)) = (parameters.get("alg"), parameters.get("pub")) else {
        return Err(incomplete("an introduction needs `alg` and `pub`"));
    };
    let jwk = match (algorithm, public) {
        (Bare::String(algorithm), Bare::Bytes(public)) if algorithm == ED25519 => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url::encode(public) })
        }
        (Bare::String(algorithm), Bare::Bytes(public)) if algorithm == SECP256K1 => match public.as_slice() {
            [4, xy @ ..] if xy.len() == 64 => {
                let (x, y) = xy.split_at_checked(32).unwrap_or_default();
                json!({ "kty": "EC", "crv": "secp256k1", "x": base64url::encode(x), "y": base64url::encode(y) })
            }
            _ => json!({}),
        },
        _ => {
            let detail = "`alg` must be \"ed25519\" or \"ecdsa-secp256k1-sha256\", and `pub` bytes";
            return Err(ProofError::new(Reason::ProofMalformed, detail));
        }
    };
    let none = || ProofError::new(Reason::ProofMalformed, "`pub` is no good public key of its `alg`");
    PublicKey::from_jwk(&jwk).ok_or_else(none)
}

/// `alg` and `pub` of a key.
fn described(key: &PublicKey) -> (&'static str, Vec<u8>) {
    match key {
        PublicKey::Ed25519(public) => (ED25519, public.to_vec()),
        PublicKey::Secp256k1(_) => {
            let jwk = key.to_jwk();
            let coordinate =
                |name| jwk.get(name).and_then(|text| base64url::decode(text.as_str()?)).unwrap_or_default();
            (SECP256K1, [&[4], coordinate("x").as_slice(), coordinate("y").as_slice()].concat())
        }
    }
}

/// How a signature is made.
#[derive(Clone, Copy)]
pub struct Signing<'a> {
    /// The holder's key.
    pub key: &'a SigningKey,
    /// Unix seconds.
    pub created: u64,
    /// Never used before with this key; at least 16 random bytes, encoded in at most [`MAX_NONCE`] characters.
    pub nonce: &'a str,
    /// Its name among the signatures of the request: `sig1`, unless another has it. A key of RFC 9651 §3.1.2.
    pub label: &'a str,
}

/// The values of the two fields that a signature adds to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `Signature-Input`.
    pub signature_input: String,
    /// `Signature`.
    pub signature: String,
}

/// A signature before its bytes are there, for keys that sign elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it proves nothing until it is signed"]
pub struct Unsigned {
    label: String,
    input: String,
    base: String,
}

impl Unsigned {
    /// The signature of a request that shows a token in `field`, as [`Signing::present`] makes it.
    ///
    /// # Errors
    /// As [`Signing::present`].
    pub fn present(
        (created, nonce, label): (u64, &str, &str),
        field: &str,
        request: &Request<'_>,
        headers: &Headers,
    ) -> Result<Self, ProofError> {
        Self::new((created, nonce, label), field, request, headers, TAG, None)
    }

    /// The signature of a request that pays in the field `payment` and introduces `key`, as [`Signing::introduce`]
    /// makes it.
    ///
    /// # Errors
    /// As [`Signing::present`].
    pub fn introduce(
        (created, nonce, label): (u64, &str, &str),
        key: &PublicKey,
        payment: &str,
        request: &Request<'_>,
        headers: &Headers,
    ) -> Result<Self, ProofError> {
        Self::new((created, nonce, label), payment, request, headers, INTRODUCTION_TAG, Some(described(key)))
    }

    /// What is to be signed: the signature base of RFC 9421 §2.5.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The two fields, with the signature's bytes.
    #[must_use]
    pub fn finish(self, signature: &[u8; 64]) -> Signed {
        let bytes = Bare::Bytes(signature.to_vec());
        Signed {
            signature_input: format!("{}={}", self.label, self.input),
            signature: format!("{}={bytes}", self.label),
        }
    }

    fn new(
        (created, nonce, label): (u64, &str, &str),
        field: &str,
        request: &Request<'_>,
        headers: &Headers,
        tag: &str,
        introduced: Option<(&str, Vec<u8>)>,
    ) -> Result<Self, ProofError> {
        let digested = request.may_have_body(headers) || headers.first(digest::FIELD).is_some();
        let names = ["@method", "@target-uri", field].into_iter().chain(digested.then_some(digest::FIELD));
        let item = |name| Item { value: string(name), parameters: Parameters::default() };
        let mut input = InnerList { items: names.map(item).collect(), parameters: Parameters::default() };
        input.parameters.set("created", Bare::Integer(i64::try_from(created).unwrap_or(i64::MAX)));
        input.parameters.set("nonce", string(nonce));
        input.parameters.set("tag", string(tag));
        if let Some((algorithm, public)) = introduced {
            input.parameters.set("alg", string(algorithm));
            input.parameters.set("pub", Bare::Bytes(public));
        }
        let base = signature::base(request, headers, &input)?;
        Ok(Self { label: label.to_owned(), input: input.to_string(), base })
    }
}

impl Signing<'_> {
    /// Signs a request that shows a token in `field` ([`AUTHORIZATION`](super::AUTHORIZATION) or
    /// [`CAPABILITY_TOKEN`](super::CAPABILITY_TOKEN)). `headers` must hold that field, and `Content-Digest` if there may
    /// be a body.
    ///
    /// # Errors
    /// [`Reason::ProofIncomplete`] if a field is missing, [`Reason::ProofMalformed`] if one cannot be signed.
    pub fn present(&self, field: &str, request: &Request<'_>, headers: &Headers) -> Result<Signed, ProofError> {
        let unsigned = Unsigned::present((self.created, self.nonce, self.label), field, request, headers)?;
        Ok(self.finish(unsigned))
    }

    /// Signs a request that pays in the field `payment` (lower case) and introduces this key.
    ///
    /// # Errors
    /// As [`present`](Self::present).
    pub fn introduce(&self, payment: &str, request: &Request<'_>, headers: &Headers) -> Result<Signed, ProofError> {
        let parameters = (self.created, self.nonce, self.label);
        Ok(self.finish(Unsigned::introduce(parameters, &self.key.public(), payment, request, headers)?))
    }

    fn finish(&self, unsigned: Unsigned) -> Signed {
        let signature = self.key.sign(unsigned.base().as_bytes());
        unsigned.finish(&signature)
    }
}

fn string(text: &str) -> Bare<'_> {
    Bare::String(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests;
