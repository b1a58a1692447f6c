//! Coinbase's hosted facilitator: a short-lived JWT for each request, signed by an API key.
//!
//! Source: x402.md §2.4, from `auth/utils/jwt.js` of the CDP SDK.

use crate::crypto::{ed25519, es256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use std::fmt;

/// Seconds that a token is good for.
const LIFETIME: u64 = 120;

/// Header by which an SDK says who it is; the form is the SDK's, the content ours.
pub const CORRELATION: (&str, &str) =
    ("correlation-context", concat!("sdkLanguage=rust,source=farebox,sourceVersion=", env!("CARGO_PKG_VERSION")));

/// An API key. It prints without its secret, whoever formats it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: String,
    secret: Signer,
}

#[derive(Clone, PartialEq, Eq)]
enum Signer {
    Ed25519(ed25519::Key),
    Es256(es256::Key),
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// From an id and its secret: the base64 of an Ed25519 key (seed and public key, 64 bytes), or a P-256 key in PEM,
    /// whose line breaks may be written `\n`.
    ///
    /// # Errors
    /// What to write instead; never what was found.
    pub fn read(id: &str, secret: &str) -> Result<Self, &'static str> {
        let secret = if secret.contains("-----BEGIN") {
            let key = es256::Key::from_pem(&secret.replace("\\n", "\n"));
            Signer::Es256(key.ok_or("it looks like PEM, but is no P-256 private key; set it as CDP gave it")?)
        } else {
            let bytes = STANDARD.decode(secret.trim()).map_err(|_| "set it as CDP gave it: base64, or a PEM block")?;
            if bytes.len() != 64 {
                return Err("an Ed25519 secret is the base64 of 64 bytes; set it as CDP gave it");
            }
            let key = ed25519::Key::from_pair(&bytes);
            Signer::Ed25519(key.ok_or("its two halves do not belong together; set it as CDP gave it")?)
        };
        Ok(Self { id: id.to_owned(), secret })
    }

    /// The token for one request. `nonce` must be random.
    #[must_use]
    pub fn token(&self, method: &str, authority: &str, path: &str, now: u64, nonce: [u8; 16]) -> String {
        let algorithm = match &self.secret {
            Signer::Ed25519(_) => "EdDSA",
            Signer::Es256(_) => "ES256",
        };
        let nonce = crate::crypto::hex::encode(&nonce);
        let nonce = nonce.strip_prefix("0x").unwrap_or(&nonce);
        let header = json!({ "alg": algorithm, "kid": self.id, "typ": "JWT", "nonce": nonce });
        let claims = json!({
            "sub": self.id,
            "iss": "cdp",
            "uris": [format!("{method} {authority}{path}")],
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(LIFETIME),
        });
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let input = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = match &self.secret {
            Signer::Ed25519(key) => key.sign(input.as_bytes()),
            Signer::Es256(key) => key.sign(input.as_bytes()),
        };
        format!("{input}.{}", encode(&signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../vectors/cdp.json")).unwrap()
    }

    fn token(secret: &str) -> String {
        let vectors = vectors();
        let key = ApiKey::read(vectors["id"].as_str().unwrap(), secret).unwrap();
        let now = vectors["now"].as_u64().unwrap();
        key.token("POST", "api.cdp.coinbase.com", "/platform/v2/x402/verify", now, [7; 16])
    }

    #[test]
    fn tokens_are_those_that_node_makes_and_verifies() {
        let vectors = vectors();
        let secret = |name: &str| vectors["keys"][name].as_str().unwrap().to_owned();
        assert_eq!(token(&secret("ed25519")), vectors["tokens"]["EdDSA"].as_str().unwrap());
        let escaped = secret("sec1").trim_end().replace('\n', "\\n");
        for pem in [secret("sec1"), secret("pkcs8"), escaped] {
            assert_eq!(token(&pem), vectors["tokens"]["ES256"].as_str().unwrap());
        }
    }

    #[test]
    fn a_bad_secret_is_refused_and_never_printed() {
        let good = vectors()["keys"]["ed25519"].as_str().unwrap().to_owned();
        let mut pair = STANDARD.decode(&good).unwrap();
        let seed_alone = STANDARD.encode(&pair[..32]);
        pair[63] ^= 1;
        let forged = STANDARD.encode(&pair);
        for secret in ["", "s3cret", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n", &seed_alone, &forged] {
            let hint = ApiKey::read("id", secret).unwrap_err();
            assert!(hint.contains("CDP gave it") || hint.contains("base64"), "{hint}");
        }
        let key = ApiKey::read("the-id", &good).unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey { id: \"the-id\", .. }");
    }
}
