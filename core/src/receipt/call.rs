//! `Call-Receipt`: a signed statement of what one exchange was, what was paid for it, and what was answered.
//!
//! A receipt is a JWS of type `receipt+jwt`. It is made of what the gate itself found and did, never of what a
//! credential says. One whose payment is [`Verified`](super::PayState::Verified) proves no payment.

use super::audit::Position;
use super::merkle::Hash;
use super::pay::{Draw, Pay};
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::crypto::{base64url, jws, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Name of the response header that carries a receipt.
pub const HEADER: &str = "call-receipt";
/// `typ` of a receipt.
pub const TYPE: &str = "receipt+jwt";
/// Bytes a receipt may have.
pub const MAX_BYTES: usize = 32 * 1024;

/// What a receipt says. Members of the JSON have the same names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Who made it: the gate's issuer name, as in its tokens.
    pub iss: String,
    /// When, in Unix seconds.
    pub iat: u64,
    /// Its name. A receipt that is made again for the same payment has the same.
    pub jti: String,
    /// The key that the call was proven with, as a URN (RFC 9278); absent for calls without a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Method of the request.
    pub htm: String,
    /// Its target, with the query: the gate's own origin and the canonical path and query.
    pub htu: String,
    /// SHA-256 in the `Content-Digest` (RFC 9530) that the request states, if it states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub req_digest: Option<String>,
    /// Status of the response.
    pub status: u16,
    /// SHA-256 in the `Content-Digest` (RFC 9530) that the upstream states, if it states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub res_digest: Option<String>,
    /// `jti` of the token that was shown, or sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tok: Option<String>,
    /// `jti`s of the tokens that `tok` was delegated from, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// How the holder of the key proved to be it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pop: Option<Proof>,
    /// What was paid for this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pay: Option<Pay>,
    /// What was taken of the token's budgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draw: Vec<Draw<'static>>,
    /// Where it stands: lines of the log before it.
    pub seq: u64,
    /// Leaf hash of the line before, in base64url.
    pub prev: String,
    /// The log it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// How a call's sender proved to hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// By a signature over the request (RFC 9421).
    #[serde(rename = "httpsig")]
    HttpSig,
    /// By DPoP (RFC 9449).
    #[serde(rename = "dpop")]
    Dpop,
    /// Not at all.
    #[serde(rename = "none")]
    None,
}

/// Why a text is no receipt of these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptError {
    /// It is no JWS of ours, or signed by none of the keys.
    Jws(jws::JwsError),
    /// Its `kid` names none of the keys.
    UnknownKey,
    /// Its claims are not those of a receipt; says which.
    Claims(String),
}

impl fmt::Display for ReceiptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jws(error) => error.fmt(f),
            Self::UnknownKey => f.write_str("its `kid` is none of the keys given"),
            Self::Claims(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ReceiptError {}

impl Receipt {
    /// A receipt with what each has. `position` is [`Log::position`](super::Log::position), taken right before the
    /// line that records the receipt is made.
    #[must_use]
    pub fn new(iss: &str, iat: u64, jti: &str, position: &Position) -> Self {
        Self {
            iss: iss.to_owned(),
            iat,
            jti: jti.to_owned(),
            aud: None,
            htm: String::new(),
            htu: String::new(),
            req_digest: None,
            status: 0,
            res_digest: None,
            tok: None,
            chain: Vec::new(),
            pop: None,
            pay: None,
            draw: Vec::new(),
            seq: position.seq,
            prev: base64url::encode(&position.prev),
            log: position.log.clone(),
        }
    }

    /// The receipt as it is sent.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        // Cannot fail: there are no floats in it, and a clock or a log beyond 2^53 is none.
        let payload = serde_json::to_value(self).unwrap_or_default();
        jws::sign(key, TYPE, Some(&key.public().thumbprint()), &payload).unwrap_or_default()
    }

    /// Reads a receipt that one of `keys` signed.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn read(text: &str, keys: &[PublicKey]) -> Result<Self, ReceiptError> {
        Self::from_claims(signed(text, MAX_BYTES, TYPE, keys)?)
    }

    /// Reads a receipt without a key: it proves nothing, and says what somebody claims.
    ///
    /// # Errors
    /// If it has not the form of one.
    pub fn unverified(text: &str) -> Result<Self, ReceiptError> {
        Self::from_claims(unverified(text, MAX_BYTES)?)
    }

    fn from_claims(claims: Value) -> Result<Self, ReceiptError> {
        let receipt: Self = serde_json::from_value(claims).map_err(|error| ReceiptError::Claims(error.to_string()))?;
        match base64url::decode_fixed::<32>(&receipt.prev) {
            Some(_) => Ok(receipt),
            None => Err(ReceiptError::Claims("`prev` is no SHA-256".to_owned())),
        }
    }

    /// What the log's line records of a receipt: the SHA-256 of its text.
    #[must_use]
    pub fn hash(text: &str) -> Hash {
        sha256(&[text.as_bytes()])
    }
}

/// The payload of a JWS of type `typ` that one of `keys` signed, found by `kid`.
pub(super) fn signed(text: &str, max: usize, typ: &str, keys: &[PublicKey]) -> Result<Value, ReceiptError> {
    let jws = jws::Jws::parse(text, max).map_err(ReceiptError::Jws)?;
    let key = keys.iter().find(|key| jws.kid() == Some(&key.thumbprint())).ok_or(ReceiptError::UnknownKey)?;
    jws.verify(key, typ).map_err(ReceiptError::Jws)?;
    Ok(Value::Object(jws.payload))
}

/// The payload of a JWS that nobody has verified.
pub(super) fn unverified(text: &str, max: usize) -> Result<Value, ReceiptError> {
    jws::Jws::parse(text, max).map(|jws| Value::Object(jws.payload)).map_err(ReceiptError::Jws)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hex;
    use crate::proof::digest;
    use crate::receipt::merkle::{Tree, leaf};
    use serde_json::json;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../vectors/tokens.json")).unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::from_jwk(&vectors()["keys"]["gateway"]["jwk"]).unwrap()
    }

    /// Two receipts that node:crypto signed.
    #[test]
    fn a_receipt_is_the_one_of_the_vectors_to_the_byte() {
        let vectors = &vectors()["receipts"];
        let mut tree = Tree::default();
        for text in vectors["jws"].as_array().unwrap() {
            let text = text.as_str().unwrap();
            let receipt = Receipt::read(text, &[key().public()]).unwrap();
            assert_eq!(receipt.sign(&key()), text);
            tree.push(leaf(text.as_bytes()));
        }
        assert_eq!(hex::encode(&tree.root()), format!("0x{}", vectors["tree"].as_str().unwrap()));
        let first = vectors["jws"][0].as_str().unwrap();
        assert_eq!(base64url::encode(&Receipt::hash(first)), vectors["hash_of_first"]);
        let receipt = Receipt::read(first, &[key().public()]).unwrap();
        assert_eq!(receipt.req_digest, Some(digest::field(b"")));
        assert_eq!(receipt.res_digest, Some(digest::field(br#"{"price":"1"}"#)));
        assert_eq!(receipt.pay.unwrap().state, crate::receipt::PayState::Settled);
    }

    #[test]
    fn a_receipt_is_read_back_as_it_was_made() {
        let position = Position { log: Some("l".to_owned()), seq: 7, prev: [9; 32] };
        let receipt = Receipt {
            htm: "POST".to_owned(),
            htu: "https://api.example.com/a?b=c".to_owned(),
            status: 200,
            tok: Some("t".to_owned()),
            chain: vec!["u".to_owned(), "v".to_owned()],
            pop: Some(Proof::HttpSig),
            draw: vec![Draw { unit: "call".into(), amount: super::super::Amount(1), left: None }],
            ..Receipt::new("https://api.example.com", 1_795_000_000, "j", &position)
        };
        assert_eq!(Receipt::read(&receipt.sign(&key()), &[key().public()]), Ok(receipt.clone()));
        let other = SigningKey::from_secret(crate::crypto::keys::Algorithm::Es256k, &[7; 32]).unwrap();
        let by_other = receipt.sign(&other);
        assert_eq!(Receipt::read(&by_other, &[key().public(), other.public()]), Ok(receipt.clone()));
        assert_eq!(Receipt::read(&by_other, &[key().public()]), Err(ReceiptError::UnknownKey));
        assert_eq!(Receipt::unverified(&by_other), Ok(receipt));
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        let good = Receipt::new("i", 1, "j", &Position { log: None, seq: 0, prev: [0; 32] });
        let claims = serde_json::to_value(&good).unwrap();
        let kid = key().public().thumbprint();
        let read = |typ: &str, claims: &Value| {
            Receipt::read(&jws::sign(&key(), typ, Some(&kid), claims).unwrap(), &[key().public()])
        };
        assert_eq!(read(TYPE, &claims), Ok(good));
        assert_eq!(read("at+jwt", &claims), Err(ReceiptError::Jws(jws::JwsError::Type)));
        for (member, value) in [
            ("more", json!(1)),
            ("prev", json!("AAAA")),
            ("status", json!("200")),
            ("status", json!(70_000)),
            ("seq", json!(-1)),
            ("pop", json!("hope")),
            ("pay", json!({ "network": "n", "scheme": "s", "state": "paid" })),
            ("draw", json!([{ "unit": "call", "amount": "01" }])),
            ("jti", json!(null)),
        ] {
            let mut claims = claims.clone();
            claims[member] = value;
            assert!(matches!(read(TYPE, &claims), Err(ReceiptError::Claims(_))), "{member}");
        }
    }
}
