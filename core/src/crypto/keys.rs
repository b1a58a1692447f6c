//! The keys of tokens, proofs and receipts, and how JSON writes them (RFC 7517).
//!
//! Two kinds, each with one algorithm, so that a key and a message leave nothing to choose: Ed25519 and secp256k1. A
//! wallet's key is of the second kind.

use super::{base64url, ed25519, secp256k1, sha256};
use crate::mutant;
use serde_json::{Map, Value, json};
use std::fmt;

/// What precedes a thumbprint in the URN that RFC 9278 makes of it.
pub const THUMBPRINT_URN: &str = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";

/// A signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// EdDSA over Ed25519 (RFC 8037).
    EdDsa,
    /// ECDSA over secp256k1 with SHA-256 (RFC 8812).
    Es256k,
}

impl Algorithm {
    /// The `alg` we write into a JWS. `EdDSA`, because verifiers in use do not know its newer name (RFC 9864) yet.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256k => "ES256K",
        }
    }

    /// The `alg` we write into a key: fully specified, as RFC 9864 has it.
    #[must_use]
    pub fn specified(self) -> &'static str {
        match self {
            Self::EdDsa => "Ed25519",
            Self::Es256k => "ES256K",
        }
    }

    /// Reads an `alg`. Every other name, `none` and the symmetric ones first of all, is no algorithm.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        match name {
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "ES256K" => Some(Self::Es256k),
            _ => None,
        }
    }
}

/// A key that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// The point, as RFC 8032 encodes it.
    Ed25519([u8; 32]),
    /// The point, compressed (SEC 1 §2.3.3).
    Secp256k1([u8; 33]),
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

impl PublicKey {
    /// From a JWK of kind `OKP`/`Ed25519` (RFC 8037) or `EC`/`secp256k1` (RFC 8812).
    ///
    /// `None` unless it is exactly that: points on the curve and of high order, in their only spelling; no secret
    /// member; `alg`, `use` and `key_ops`, where they are present, such that it may verify. Other members say nothing.
    #[must_use]
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let jwk = jwk.as_object()?;
        if ["d", "k", "priv"].iter().any(|secret| jwk.contains_key(*secret)) {
            return None;
        }
        let key = public_members(jwk)?;
        may(jwk, &key, "verify").then_some(key)
    }

    /// The public members, and the fully specified `alg`.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.required();
        jwk.insert("alg".to_owned(), self.algorithm().specified().into());
        Value::Object(jwk)
    }

    /// The members that name the key: RFC 7638 §3.2.
    fn required(&self) -> Map<String, Value> {
        let members = match self {
            Self::Ed25519(x) => json!({ "crv": "Ed25519", "kty": "OKP", "x": base64url::encode(x) }),
            Self::Secp256k1(point) => {
                let (x, y) = secp256k1::coordinates(point).unwrap_or_default();
                json!({ "crv": "secp256k1", "kty": "EC", "x": base64url::encode(&x), "y": base64url::encode(&y) })
            }
        };
        match members {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// The key's name: the base64url of the SHA-256 of its required members (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        // Names of letters, values of letters: serde_json writes them as RFC 8785 does.
        base64url::encode(&sha256(&[Value::Object(self.required()).to_string().as_bytes()]))
    }

    /// The key's name as a URN (RFC 9278).
    #[must_use]
    pub fn thumbprint_urn(&self) -> String {
        format!("{THUMBPRINT_URN}{}", self.thumbprint())
    }

    /// The one algorithm of this kind of key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Secp256k1(_) => Algorithm::Es256k,
        }
    }

    /// Whether `signature` (64 bytes) is this key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        if mutant::is("trusting") {
            return signature.len() == 64;
        }
        match self {
            Self::Ed25519(public) => ed25519::verify(public, message, signature),
            Self::Secp256k1(public) => secp256k1::verify(public, message, signature),
        }
    }
}

/// A key that signs. Its bytes are wiped when it is dropped, and it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// Signs with EdDSA.
    Ed25519(ed25519::Key),
    /// Signs with ES256K.
    Secp256k1(secp256k1::Key),
}

impl SigningKey {
    /// From a private JWK: the public members, as [`PublicKey::from_jwk`] wants them, and `d`, which must belong to
    /// them.
    #[must_use]
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let jwk = jwk.as_object()?;
        let public = public_members(jwk)?;
        let secret = base64url::decode_fixed(jwk.get("d")?.as_str()?)?;
        let key = Self::from_secret(public.algorithm(), &secret)?;
        (key.public() == public && may(jwk, &public, "sign")).then_some(key)
    }

    /// From 32 secret bytes: the seed of an Ed25519 key, or the secret number of a secp256k1 key. `None` if the number
    /// is zero or not below the order.
    #[must_use]
    pub fn from_secret(algorithm: Algorithm, secret: &[u8; 32]) -> Option<Self> {
        match algorithm {
            Algorithm::EdDsa => Some(Self::Ed25519(ed25519::Key::from_seed(secret))),
            Algorithm::Es256k => secp256k1::Key::from_secret(secret).map(Self::Secp256k1),
        }
    }

    /// The private JWK. Whoever reads it can sign.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.public().to_jwk();
        let secret = match self {
            Self::Ed25519(key) => base64url::encode(key.seed()),
            Self::Secp256k1(key) => base64url::encode(&key.secret()),
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("d".to_owned(), secret.into());
        }
        jwk
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(key) => PublicKey::Ed25519(key.public()),
            Self::Secp256k1(key) => PublicKey::Secp256k1(key.public()),
        }
    }

    /// The signature over `message`, always the same one.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match self {
            Self::Ed25519(key) => key.sign(message),
            // A message that cannot be signed does not exist in practice; zeros verify under no key.
            Self::Secp256k1(key) => key.sign(message).unwrap_or([0; 64]),
        }
    }
}

fn public_members(jwk: &Map<String, Value>) -> Option<PublicKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let coordinate = |name: &str| text(name).and_then(base64url::decode_fixed::<32>);
    match (text("kty")?, text("crv")?) {
        ("OKP", "Ed25519") => coordinate("x").filter(ed25519::is_public).map(PublicKey::Ed25519),
        ("EC", "secp256k1") => {
            secp256k1::from_coordinates(&coordinate("x")?, &coordinate("y")?).map(PublicKey::Secp256k1)
        }
        _ => None,
    }
}

/// Whether what the JWK says about the key's use allows `operation` with the key's own algorithm.
fn may(jwk: &Map<String, Value>, key: &PublicKey, operation: &str) -> bool {
    let algorithm =
        jwk.get("alg").is_none_or(|alg| alg.as_str().and_then(Algorithm::from_wire) == Some(key.algorithm()));
    let usage = jwk.get("use").is_none_or(|usage| usage == "sig");
    let operations = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| operations.iter().any(|listed| listed == operation))
    });
    algorithm && usage && operations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ed25519() -> SigningKey {
        SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap()
    }

    fn secp256k1() -> SigningKey {
        SigningKey::from_secret(Algorithm::Es256k, &[7; 32]).unwrap()
    }

    /// RFC 8037, appendices A.1 to A.3.
    #[test]
    fn thumbprints_are_those_of_rfc_8037() {
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        let key = SigningKey::from_jwk(&jwk).unwrap();
        assert_eq!(key.public().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(
            key.public().thumbprint_urn(),
            "urn:ietf:params:oauth:jwk-thumbprint:sha-256:kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        for key in [ed25519(), secp256k1()] {
            assert!(SigningKey::from_jwk(&key.to_jwk()).unwrap() == key);
            assert_eq!(PublicKey::from_jwk(&key.public().to_jwk()), Some(key.public()));
            let message = b"message";
            let signature = key.sign(message);
            assert!(key.public().verify(message, &signature));
            assert!(!key.public().verify(b"another", &signature));
            assert!(!key.public().verify(message, &signature[..63]));
            assert!(!key.public().verify(message, &[&signature[..], &[0]].concat()));
            assert!(!key.public().verify(message, &[]));
            let other = SigningKey::from_secret(key.public().algorithm(), &[8; 32]).unwrap();
            assert!(!other.public().verify(message, &signature));
        }
        assert!(!ed25519().public().verify(b"m", &secp256k1().sign(b"m")));
        assert!(!secp256k1().public().verify(b"m", &ed25519().sign(b"m")));
    }

    #[test]
    fn a_public_key_with_a_secret_in_it_is_none() {
        for key in [ed25519(), secp256k1()] {
            assert_eq!(PublicKey::from_jwk(&key.to_jwk()), None);
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_refused() {
        for good in [ed25519(), secp256k1()] {
            let jwk = good.public().to_jwk();
            let change = |name: &str, value: Value| {
                let mut jwk = jwk.clone();
                jwk[name] = value;
                PublicKey::from_jwk(&jwk)
            };
            for name in ["kty", "crv", "x"] {
                let mut without = jwk.clone();
                without.as_object_mut().unwrap().remove(name);
                assert_eq!(PublicKey::from_jwk(&without), None, "without {name}");
                for value in [json!(null), json!(1), json!(""), json!("EC2"), json!(["OKP"]), json!("P-256")] {
                    assert_eq!(change(name, value.clone()), None, "{name} {value}");
                }
            }
            let x = jwk["x"].as_str().unwrap().to_owned();
            assert_eq!(change("x", format!("{x}=").into()), None);
            assert_eq!(change("x", format!("{x}A").into()), None);
            assert_eq!(change("x", format!("A{x}").into()), None);
            assert_eq!(change("x", x[..42].into()), None);
            assert_eq!(change("x", base64url::encode(&[0; 32]).into()), None);
            assert_eq!(change("x", base64url::encode(&[0xff; 32]).into()), None);
            for (name, value) in [
                ("alg", json!("none")),
                ("alg", json!("HS256")),
                ("alg", json!("ES256")),
                ("alg", json!(null)),
                ("use", json!("enc")),
                ("key_ops", json!(["sign"])),
                ("key_ops", json!("verify")),
                ("k", json!("AAAA")),
            ] {
                assert_eq!(change(name, value.clone()), None, "{name} {value}");
            }
            for (name, value) in
                [("use", json!("sig")), ("key_ops", json!(["verify"])), ("kid", json!("mine")), ("ext", json!(true))]
            {
                assert_eq!(change(name, value.clone()), Some(good.public()), "{name} {value}");
            }
        }
        let mut agreed = ed25519().public().to_jwk();
        agreed["alg"] = json!("EdDSA");
        assert!(PublicKey::from_jwk(&agreed).is_some());
        agreed["alg"] = json!("ES256K");
        assert_eq!(PublicKey::from_jwk(&agreed), None);
        let mut twisted = secp256k1().public().to_jwk();
        twisted["y"] = twisted["x"].clone();
        assert_eq!(PublicKey::from_jwk(&twisted), None, "not on the curve");
    }

    #[test]
    fn a_secret_that_belongs_to_another_key_is_refused() {
        for (key, other) in [(ed25519(), [8; 32]), (secp256k1(), [8; 32])] {
            let mut jwk = key.to_jwk();
            jwk["d"] = base64url::encode(&other).into();
            assert!(SigningKey::from_jwk(&jwk).is_none());
            for bad in [json!(null), json!(""), json!(base64url::encode(&[7; 31])), json!(7)] {
                jwk["d"] = bad;
                assert!(SigningKey::from_jwk(&jwk).is_none());
            }
            assert!(SigningKey::from_jwk(&key.public().to_jwk()).is_none());
        }
        assert!(SigningKey::from_secret(Algorithm::Es256k, &[0; 32]).is_none());
        assert!(SigningKey::from_secret(Algorithm::Es256k, &[0xff; 32]).is_none());
    }

    #[test]
    fn es256k_signatures_are_those_of_rfc_6979_and_have_no_twin() {
        // Key and message of a vector that bitcoin libraries share (trezor-crypto, "Satoshi Nakamoto" under key 1).
        let mut one = [0; 32];
        one[31] = 1;
        let key = SigningKey::from_secret(Algorithm::Es256k, &one).unwrap();
        let signature = key.sign(b"Satoshi Nakamoto");
        assert_eq!(
            crate::crypto::hex::encode(&signature),
            "0x934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8\
             2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
        );
        assert!(key.public().verify(b"Satoshi Nakamoto", &signature));
        let order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let order: [u8; 32] = crate::crypto::hex::decode_fixed(order).unwrap();
        let mut twin = signature;
        let mut borrow = 0i16;
        for index in (0..32).rev() {
            let difference = i16::from(order[index]) - i16::from(signature[32 + index]) - borrow;
            borrow = i16::from(difference < 0);
            twin[32 + index] = difference.rem_euclid(256) as u8;
        }
        let lax = k256::ecdsa::Signature::from_slice(&twin).unwrap();
        assert_eq!(lax.normalize_s().to_bytes()[..], signature[..]);
        assert!(!key.public().verify(b"Satoshi Nakamoto", &twin));
    }

    /// A hexadecimal text of `signatures.json`.
    fn bytes(value: &Value) -> Vec<u8> {
        crate::crypto::hex::decode(&format!("0x{}", value.as_str().unwrap())).unwrap()
    }

    #[test]
    fn signatures_that_must_be_refused_are_and_no_other() {
        let vectors: Value = serde_json::from_str(include_str!("../../vectors/signatures.json")).unwrap();
        for (algorithm, least) in [("EdDSA", 50), ("ES256K", 95)] {
            let cases = vectors[algorithm]["cases"].as_array().unwrap();
            assert!(cases.len() >= least && cases.iter().any(|case| case["good"] == true));
            for case in cases {
                // As tokens bring keys along: what is no key verifies nothing, however it is asked.
                let encode = |name: &str| base64url::encode(&bytes(&case[name]));
                let jwk = match algorithm {
                    "EdDSA" => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode("public") }),
                    _ => json!({ "kty": "EC", "crv": "secp256k1", "x": encode("x"), "y": encode("y") }),
                };
                let (message, signature) = (bytes(&case["message"]), bytes(&case["signature"]));
                let verified = PublicKey::from_jwk(&jwk).is_some_and(|key| key.verify(&message, &signature));
                assert_eq!(verified, case["good"].as_bool().unwrap(), "{algorithm}: {}", case["name"]);
                if let Ok(public) = <[u8; 32]>::try_from(case.get("public").map(bytes).unwrap_or_default()) {
                    let verified = PublicKey::Ed25519(public).verify(&message, &signature);
                    assert_eq!(verified, case["good"].as_bool().unwrap(), "{algorithm}, unread: {}", case["name"]);
                }
            }
        }
    }
}
