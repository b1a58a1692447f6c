//! JSON Web Signatures (RFC 7515) in their compact form, as RFC 8725 says to read and to make them.
//!
//! The key decides the algorithm, the caller the type. Nothing in a header chooses a key's algorithm, brings a key
//! along (`jwk`, `jku`, `x5u`, `x5c` are never read) or has it fetched.

use super::base64url;
use super::keys::{Algorithm, PublicKey, SigningKey};
use crate::json;
use serde_json::{Map, Value, json};
use std::fmt;

/// How deep header and payload may be nested.
pub(crate) const MAX_DEPTH: usize = 16;

/// A signed object that was read, and not verified yet.
#[derive(Clone, Debug)]
pub struct Jws<'a> {
    /// The protected header.
    pub header: Map<String, Value>,
    /// The payload. It proves nothing before [`verify`](Self::verify).
    pub payload: Map<String, Value>,
    /// The bytes that are signed, as they came.
    pub signing_input: &'a str,
    /// The signature.
    pub signature: [u8; 64],
}

/// Why a JWS was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwsError {
    /// It is longer than allowed.
    TooLong,
    /// It is not three parts of base64url, the last of 64 bytes.
    Form,
    /// Header or payload is not a JSON object, is nested too deep, or has a member twice.
    Json,
    /// The header has an extension that must be understood (`crit`), or one that changes what is signed (`b64`, `zip`).
    Extension,
    /// The `typ` is missing or another.
    Type,
    /// The `alg` is not the key's.
    Algorithm,
    /// The signature is not the key's.
    Signature,
}

impl JwsError {
    /// A stable word for it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Form => "bad_form",
            Self::Json => "bad_json",
            Self::Extension => "unknown_extension",
            Self::Type => "wrong_type",
            Self::Algorithm => "wrong_algorithm",
            Self::Signature => "bad_signature",
        }
    }
}

impl fmt::Display for JwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is too long",
            Self::Form => "it is not a JWS in compact form with a signature of 64 bytes",
            Self::Json => "its header or payload is not a JSON object without repeated members",
            Self::Extension => "its header has an extension that is not understood",
            Self::Type => "its `typ` is missing or another",
            Self::Algorithm => "its `alg` is not that of the key",
            Self::Signature => "its signature is not that of the key",
        })
    }
}

impl std::error::Error for JwsError {}

impl<'a> Jws<'a> {
    /// Reads a JWS in compact form of at most `max_bytes`. No signature is looked at.
    ///
    /// # Errors
    /// [`JwsError::TooLong`], [`JwsError::Form`], [`JwsError::Json`] or [`JwsError::Extension`].
    pub fn parse(text: &'a str, max_bytes: usize) -> Result<Self, JwsError> {
        if text.len() > max_bytes {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Form)?;
        let signature = base64url::decode_fixed(signature).ok_or(JwsError::Form)?;
        let header = object(header)?;
        if ["crit", "b64", "zip"].iter().any(|name| header.contains_key(*name)) {
            return Err(JwsError::Extension);
        }
        Ok(Self { header, payload: object(payload)?, signing_input, signature })
    }

    /// The header's `alg`, if it is one of ours.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_wire)
    }

    /// The header's `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// Whether the header's `typ` is `typ`, in any case, with or without `application/` (RFC 7515 §4.1.9).
    #[must_use]
    pub fn has_type(&self, typ: &str) -> bool {
        const PREFIX: &str = "application/";
        self.header.get("typ").and_then(Value::as_str).is_some_and(|found| {
            let bare = match found.split_at_checked(PREFIX.len()) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
                _ => found,
            };
            bare.eq_ignore_ascii_case(typ)
        })
    }

    /// Checks that it is a `typ` and signed by `key` with the key's algorithm.
    ///
    /// # Errors
    /// [`JwsError::Type`], [`JwsError::Algorithm`] or [`JwsError::Signature`], in this order.
    pub fn verify(&self, key: &PublicKey, typ: &str) -> Result<(), JwsError> {
        if !self.has_type(typ) {
            return Err(JwsError::Type);
        }
        if self.algorithm() != Some(key.algorithm()) {
            return Err(JwsError::Algorithm);
        }
        if !key.verify(self.signing_input.as_bytes(), &self.signature) {
            return Err(JwsError::Signature);
        }
        Ok(())
    }
}

fn object(part: &str) -> Result<Map<String, Value>, JwsError> {
    let bytes = base64url::decode(part).ok_or(JwsError::Form)?;
    match json::parse(&bytes, bytes.len(), MAX_DEPTH) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(JwsError::Json),
    }
}

/// Signs `payload` as a `typ`, with the key's name `kid` in the header if there is one.
///
/// Header and payload are written as RFC 8785 says, so that the same claims are the same text. `None` if the payload
/// holds a number that has no exact form there ([`json::canonical`]).
#[must_use]
pub fn sign(key: &SigningKey, typ: &str, kid: Option<&str>, payload: &Value) -> Option<String> {
    sign_with_header(key, &header(key.public().algorithm(), typ, kid), payload)
}

/// The header of a JWS of ours.
pub(crate) fn header(algorithm: Algorithm, typ: &str, kid: Option<&str>) -> Value {
    let mut header = json!({ "alg": algorithm.wire(), "typ": typ });
    if let (Some(kid), Some(members)) = (kid, header.as_object_mut()) {
        members.insert("kid".to_owned(), kid.into());
    }
    header
}

/// As [`sign`], with a header of the caller's own; its `alg` is the caller's business.
pub(crate) fn sign_with_header(key: &SigningKey, header: &Value, payload: &Value) -> Option<String> {
    let unsigned = Unsigned::new(header, payload)?;
    let signature = key.sign(unsigned.signing_input().as_bytes());
    Some(unsigned.finish(&signature))
}

/// A JWS before its signature is there, for keys that sign elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is no JWS until it is signed"]
pub struct Unsigned(String);

impl Unsigned {
    /// `None` as for [`sign`].
    pub(crate) fn new(header: &Value, payload: &Value) -> Option<Self> {
        let header = base64url::encode(json::canonical(header)?.as_bytes());
        Some(Self([&header, ".", &base64url::encode(json::canonical(payload)?.as_bytes())].concat()))
    }

    /// What is to be signed, with the algorithm of the header.
    #[must_use]
    pub fn signing_input(&self) -> &str {
        &self.0
    }

    /// The JWS with its signature, whoever made it.
    #[must_use]
    pub fn finish(self, signature: &[u8; 64]) -> String {
        [&self.0, ".", &base64url::encode(signature)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../vectors/tokens.json")).unwrap()
    }

    fn key(name: &str) -> SigningKey {
        let vectors = vectors();
        let key = SigningKey::from_jwk(&vectors["keys"][name]["jwk"]).unwrap();
        assert_eq!(key.public().thumbprint(), vectors["keys"][name]["thumbprint"].as_str().unwrap());
        key
    }

    #[test]
    fn vectors_verify_and_are_what_we_would_sign() {
        let vectors = vectors();
        for token in vectors["tokens"].as_array().unwrap() {
            let text = token["jws"].as_str().unwrap();
            let key = key(token["key"].as_str().unwrap());
            let jws = Jws::parse(text, 8192).unwrap();
            assert_eq!(jws.verify(&key.public(), "at+jwt"), Ok(()), "{}", token["name"]);
            let payload = Value::Object(jws.payload.clone());
            assert_eq!(json::canonical(&payload).as_deref(), token["payload"].as_str());
            let again = sign(&key, token["typ"].as_str().unwrap(), token["kid"].as_str(), &payload).unwrap();
            assert_eq!(again, text, "{}", token["name"]);
        }
        for receipt in vectors["receipts"]["jws"].as_array().unwrap() {
            let jws = Jws::parse(receipt.as_str().unwrap(), 8192).unwrap();
            assert_eq!(jws.verify(&key("gateway").public(), "receipt+jwt"), Ok(()));
        }
        let dpop = Jws::parse(vectors["dpop"]["jws"].as_str().unwrap(), 8192).unwrap();
        assert_eq!(dpop.verify(&key("agent").public(), "dpop+jwt"), Ok(()));
    }

    /// A JWS of header, payload and signature as they are given.
    fn assembled(header: &str, payload: &str, signature: &[u8]) -> String {
        let encode = |part: &str| base64url::encode(part.as_bytes());
        format!("{}.{}.{}", encode(header), encode(payload), base64url::encode(signature))
    }

    /// A JWS with this header, properly signed by the key.
    fn signed(key: &SigningKey, header: &str, payload: &str) -> String {
        let unsigned = assembled(header, payload, &[]);
        let input = unsigned.strip_suffix('.').unwrap();
        format!("{input}.{}", base64url::encode(&key.sign(input.as_bytes())))
    }

    fn outcome(text: &str, key: &PublicKey) -> Result<(), JwsError> {
        Jws::parse(text, 1000).and_then(|jws| jws.verify(key, "at+jwt"))
    }

    #[test]
    fn the_type_is_compared_as_media_types_are() {
        let key = key("gateway");
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+JWT"] {
            let text = signed(&key, &format!(r#"{{"alg":"EdDSA","typ":"{typ}"}}"#), "{}");
            assert_eq!(outcome(&text, &key.public()), Ok(()), "{typ}");
        }
        for typ in [
            r#""JWT""#,
            r#""receipt+jwt""#,
            r#""at+jwt ""#,
            r#""application/application/at+jwt""#,
            r#""""#,
            "null",
            r#"["at+jwt"]"#,
        ] {
            let text = signed(&key, &format!(r#"{{"alg":"EdDSA","typ":{typ}}}"#), "{}");
            assert_eq!(outcome(&text, &key.public()), Err(JwsError::Type), "{typ}");
        }
        assert_eq!(outcome(&signed(&key, r#"{"alg":"EdDSA"}"#, "{}"), &key.public()), Err(JwsError::Type));
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let (ed25519, secp256k1) = (key("gateway"), key("wallet"));
        for alg in ["none", "None", "NONE", "", "HS256", "RS256", "ES256", "ES256K", "eddsa", "EdDSA ", "Ed448"] {
            let text = signed(&ed25519, &format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#), "{}");
            assert_eq!(outcome(&text, &ed25519.public()), Err(JwsError::Algorithm), "{alg}");
        }
        for alg in ["null", "[]", r#"["EdDSA"]"#, "1", r#"{"EdDSA":1}"#] {
            let text = signed(&ed25519, &format!(r#"{{"alg":{alg},"typ":"at+jwt"}}"#), "{}");
            assert_eq!(outcome(&text, &ed25519.public()), Err(JwsError::Algorithm), "{alg}");
        }
        assert_eq!(
            outcome(&signed(&ed25519, r#"{"typ":"at+jwt"}"#, "{}"), &ed25519.public()),
            Err(JwsError::Algorithm)
        );
        let confused = signed(&secp256k1, r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "{}");
        assert_eq!(outcome(&confused, &secp256k1.public()), Err(JwsError::Algorithm));
        assert_eq!(outcome(&confused, &ed25519.public()), Err(JwsError::Signature));
        for alg in ["EdDSA", "Ed25519"] {
            let text = signed(&ed25519, &format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#), "{}");
            assert_eq!(outcome(&text, &ed25519.public()), Ok(()), "{alg}");
        }
        let text = signed(&secp256k1, r#"{"alg":"ES256K","typ":"at+jwt"}"#, "{}");
        assert_eq!(outcome(&text, &secp256k1.public()), Ok(()));
    }

    #[test]
    fn a_key_that_the_header_brings_along_is_not_used() {
        let (ours, theirs) = (key("gateway"), key("agent"));
        let jwk = theirs.public().to_jwk();
        for header in [
            format!(r#"{{"alg":"EdDSA","typ":"at+jwt","jwk":{jwk}}}"#),
            r#"{"alg":"EdDSA","typ":"at+jwt","jku":"https://thief.example/keys"}"#.to_owned(),
            r#"{"alg":"EdDSA","typ":"at+jwt","x5u":"https://thief.example/cert"}"#.to_owned(),
            r#"{"alg":"EdDSA","typ":"at+jwt","x5c":["AAAA"]}"#.to_owned(),
        ] {
            assert_eq!(outcome(&signed(&theirs, &header, "{}"), &ours.public()), Err(JwsError::Signature), "{header}");
            assert_eq!(outcome(&signed(&ours, &header, "{}"), &ours.public()), Ok(()), "{header}");
        }
    }

    #[test]
    fn what_is_not_one_plain_jws_is_not_read() {
        let key = key("gateway");
        let good = signed(&key, r#"{"alg":"EdDSA","typ":"at+jwt"}"#, r#"{"a":1}"#);
        let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        let form = [
            String::new(),
            ".".into(),
            "..".into(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.{signature}"),
            format!("{header}..{signature}"),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}="),
            format!("{header}=.{payload}.{signature}"),
            format!("{header}.{payload}=.{signature}"),
            format!("{header}.{payload}.{}", &signature[..85]),
            format!("{header}.{payload}.{signature}A"),
            format!("{header}\n.{payload}.{signature}"),
            format!("{header}.{}.{signature}", payload.replace('e', "é")),
            assembled(r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "{}", &[0; 63]),
            assembled(r#"{"alg":"EdDSA","typ":"at+jwt"}"#, "{}", &[0; 65]),
            assembled(r#"{"alg":"none","typ":"at+jwt"}"#, "{}", &[]),
            r#"{"payload":"e30","signatures":[{"protected":"e30","signature":"AA"}]}"#.into(),
        ];
        for text in form {
            let error = outcome(&text, &key.public()).unwrap_err();
            assert!(matches!(error, JwsError::Form | JwsError::Json), "{text}: {error}");
        }
        // A last character with bits left over is another spelling of the same bytes.
        let (rest, last) = signature.split_at(85);
        let twin = format!("{header}.{payload}.{rest}{}", char::from(last.as_bytes()[0] + 1));
        assert_eq!(outcome(&twin, &key.public()), Err(JwsError::Form));

        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(16), "]".repeat(16));
        for payload in [
            "",
            "1",
            "[]",
            r#""{}""#,
            "null",
            "{} {}",
            "{",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":01}",
            "{'a':1}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
            &deep,
        ] {
            let text = signed(&key, r#"{"alg":"EdDSA","typ":"at+jwt"}"#, payload);
            assert_eq!(outcome(&text, &key.public()), Err(JwsError::Json), "{payload}");
        }
        for header in [
            r#"{"alg":"none","alg":"EdDSA","typ":"at+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","typ":"at+jwt"}"#,
            "[]",
            "",
        ] {
            assert_eq!(outcome(&signed(&key, header, "{}"), &key.public()), Err(JwsError::Json), "{header}");
        }
        for extension in [
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""crit":null"#,
            r#""b64":false,"crit":["b64"]"#,
            r#""b64":false"#,
            r#""b64":true"#,
            r#""zip":"DEF""#,
        ] {
            let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt",{extension}}}"#);
            assert_eq!(outcome(&signed(&key, &header, "{}"), &key.public()), Err(JwsError::Extension), "{header}");
        }
        let long = signed(&key, r#"{"alg":"EdDSA","typ":"at+jwt"}"#, &format!(r#"{{"a":"{}"}}"#, "a".repeat(1000)));
        assert_eq!(outcome(&long, &key.public()), Err(JwsError::TooLong));
        assert_eq!(outcome(&good, &key.public()), Ok(()));
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        for key in [key("gateway"), key("wallet")] {
            let header = format!(r#"{{"alg":"{}","typ":"at+jwt"}}"#, key.public().algorithm().wire());
            let good = signed(&key, &header, r#"{"a":1}"#);
            assert_eq!(outcome(&good, &key.public()), Ok(()));
            let mut bytes = good.clone().into_bytes();
            for index in 0..bytes.len() {
                bytes[index] ^= 1;
                let changed = std::str::from_utf8(&bytes).unwrap();
                assert!(outcome(changed, &key.public()).is_err(), "{index}");
                bytes[index] ^= 1;
            }
        }
    }

    #[test]
    fn a_payload_without_canonical_text_is_not_signed() {
        assert_eq!(sign(&key("gateway"), "at+jwt", None, &json!({ "amount": 0.1 })), None);
    }
}
