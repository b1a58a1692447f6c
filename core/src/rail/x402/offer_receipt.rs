//! x402's `offer-receipt` extension: signed offers in `PAYMENT-REQUIRED`, a signed receipt in `PAYMENT-RESPONSE`.
//!
//! Source: x402 `extension-offer-and-receipt`; x402.md §§4.4, 9.7. Of its two forms, the JWS: its header is exactly
//! `alg` and `kid`, and `kid` is a DID URL of the key. It says who paid for which URL, and when; what was delivered is
//! said by our own receipt ([`receipt`](crate::receipt)).

use super::offer::Terms;
use crate::crypto::jws::{self, Jws};
use crate::crypto::keys::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The extension's name.
pub const EXTENSION: &str = "offer-receipt";
/// Bytes a signed offer or receipt may have.
const MAX_BYTES: usize = 16 * 1024;

/// What a receipt says, as x402 writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Unix seconds.
    pub issued_at: u64,
    /// CAIP-2 network.
    pub network: String,
    /// Who paid, as the network writes addresses.
    pub payer: String,
    /// What was paid for: the challenge's `resource.url`.
    pub resource_url: String,
    /// The transaction. Absent, a receipt shows nobody where to look for the payer's other payments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Version of this form: 1.
    pub version: u64,
}

impl Receipt {
    /// The extension's member in `PAYMENT-RESPONSE`: `{"info":{"receipt":…},"schema":…}`.
    #[must_use]
    pub fn member(&self, key: &SigningKey, kid: &str) -> Value {
        let payload = serde_json::to_value(self).unwrap_or_default();
        json!({
            "info": { "receipt": { "format": "jws", "signature": signed(key, kid, &payload) } },
            "schema": schema("receipt", "object"),
        })
    }

    /// Reads the member of a `PAYMENT-RESPONSE` whose receipt one of `keys` signed; `None` if it is anything else.
    #[must_use]
    pub fn read(member: &Value, keys: &[PublicKey]) -> Option<Self> {
        let receipt = member.get("info")?.get("receipt")?;
        let receipt: Self = serde_json::from_value(verified(receipt, keys)?).ok()?;
        (receipt.version == 1).then_some(receipt)
    }
}

/// The extension's member in `PAYMENT-REQUIRED`: each of `offers` (the challenge's `accepts`, in order), good from `now`
/// for `valid_seconds`, or else for its `maxTimeoutSeconds`.
#[must_use]
pub fn offers<'a>(
    offers: impl IntoIterator<Item = &'a Terms>,
    resource_url: &str,
    key: &SigningKey,
    kid: &str,
    now: u64,
    valid_seconds: Option<u64>,
) -> Value {
    let offers = offers.into_iter().enumerate().map(|(index, terms)| {
        let payload = json!({
            "amount": terms.amount.to_string(),
            "asset": terms.asset,
            "network": terms.network,
            "payTo": terms.pay_to,
            "resourceUrl": resource_url,
            "scheme": terms.scheme,
            "validUntil": now.saturating_add(valid_seconds.unwrap_or(terms.max_timeout_seconds)),
            "version": 1,
        });
        json!({ "format": "jws", "acceptIndex": index, "signature": signed(key, kid, &payload) })
    });
    json!({ "info": { "offers": offers.collect::<Vec<_>>() }, "schema": schema("offers", "array") })
}

/// Bytes of the member around its offers, and what separates it from other extensions.
pub(crate) const ENVELOPE: usize = 144;

/// Bytes that a signed offer of `terms` may take in the member, for a resource URL of so many.
pub(crate) fn room(terms: &Terms, issuer: &str, url_bytes: usize) -> usize {
    let base64 = |bytes: usize| (bytes * 4).div_ceil(3);
    // `{"alg":"ES256K","kid":"did:web:…#…"}`, in which a `:` before a port takes three bytes.
    let header = 34 + did_of(issuer).len() + 43;
    let values = [&terms.asset, &terms.network, &terms.pay_to, &terms.scheme].map(|text| text.len());
    // Names, an amount and a time of as many digits as they can have, and texts.
    let payload = 116 + 39 + 20 + values.iter().sum::<usize>() + url_bytes;
    // `{"acceptIndex":99,"format":"jws","signature":"…"},`, with two dots and a signature of 64 bytes.
    52 + base64(header) + base64(payload) + 2 + 86
}

/// The payload of a signed offer of the member of a `PAYMENT-REQUIRED`, if one of `keys` signed it.
#[must_use]
pub fn offer(member: &Value, accept_index: usize, keys: &[PublicKey]) -> Option<Value> {
    let offers = member.get("info")?.get("offers")?.as_array()?;
    let offer =
        offers.iter().find(|offer| offer.get("acceptIndex").and_then(Value::as_u64) == Some(accept_index as u64));
    verified(offer?, keys)
}

fn schema(member: &str, kind: &str) -> Value {
    json!({ "type": "object", "properties": { member: { "type": kind } }, "required": [member] })
}

fn signed(key: &SigningKey, kid: &str, payload: &Value) -> String {
    let header = json!({ "alg": key.public().algorithm().wire(), "kid": kid });
    // Cannot fail: there are no floats in it, and a clock beyond 2^53 is none.
    jws::sign_with_header(key, &header, payload).unwrap_or_default()
}

fn verified(signed: &Value, keys: &[PublicKey]) -> Option<Value> {
    if signed.get("format")? != "jws" {
        return None;
    }
    let jws = Jws::parse(signed.get("signature")?.as_str()?, MAX_BYTES).ok()?;
    // Whatever else the key signs has a type, and must not be read as this.
    if jws.header.contains_key("typ") {
        return None;
    }
    let by = |key: &&PublicKey| {
        jws.algorithm() == Some(key.algorithm()) && key.verify(jws.signing_input.as_bytes(), &jws.signature)
    };
    keys.iter().find(by).map(|_| Value::Object(jws.payload))
}

/// The key as `did:key`, with the fragment that names it there: a `kid` that brings its key along. Who holds the key,
/// it does not say.
#[must_use]
pub fn did_key(key: &PublicKey) -> String {
    let name = match key {
        PublicKey::Ed25519(point) => multibase(&[0xed, 0x01], point),
        PublicKey::Secp256k1(point) => multibase(&[0xe7, 0x01], point),
    };
    format!("did:key:{name}#{name}")
}

/// The key as one of an origin's (`https://api.example.com`), by `did:web`: a `kid` that says who holds the key.
/// Whoever verifies it fetches [`did_document`] from `/.well-known/did.json` there.
#[must_use]
pub fn did_web(origin: &str, key: &PublicKey) -> String {
    format!("{}#{}", did_of(origin), key.thumbprint())
}

/// What `/.well-known/did.json` of an origin says, so that [`did_web`] can be resolved.
#[must_use]
pub fn did_document(origin: &str, keys: &[PublicKey]) -> Value {
    let did = did_of(origin);
    let methods = keys.iter().map(|key| {
        json!({ "id": did_web(origin, key), "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": key.to_jwk() })
    });
    let names: Vec<String> = keys.iter().map(|key| did_web(origin, key)).collect();
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/jws-2020/v1"],
        "id": did,
        "verificationMethod": methods.collect::<Vec<_>>(),
        "assertionMethod": names,
    })
}

fn did_of(origin: &str) -> String {
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    format!("did:web:{}", authority.replace(':', "%3A"))
}

/// Base58 (Bitcoin's alphabet) of two byte strings, as multibase marks it.
fn multibase(prefix: &[u8], bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    // Little-endian base 58. The prefix is not zero, so no leading zero needs a digit of its own.
    let mut digits: Vec<u8> = Vec::with_capacity(50);
    for byte in prefix.iter().chain(bytes) {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = u8::try_from(carry % 58).unwrap_or_default();
            carry /= 58;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 58).unwrap_or_default());
            carry /= 58;
        }
    }
    let letters = digits.iter().rev().filter_map(|digit| ALPHABET.get(usize::from(*digit)));
    std::iter::once('z').chain(letters.map(|letter| char::from(*letter))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::base64url;
    use crate::crypto::keys::Algorithm;
    use crate::rail::x402::offer::Method;
    use serde_json::Map;

    fn vector(name: &str) -> String {
        let vectors: Value = serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap();
        vectors[name].as_str().unwrap().to_owned()
    }

    /// RFC 8032, test 1: the key that the official package signed with.
    fn key() -> SigningKey {
        let seed = base64url::decode_fixed("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        SigningKey::from_secret(Algorithm::EdDsa, &seed).unwrap()
    }

    fn terms() -> Terms {
        Terms {
            scheme: "exact".to_owned(),
            network: "eip155:84532".to_owned(),
            amount: 10_000,
            asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned(),
            pay_to: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned(),
            max_timeout_seconds: 300,
            extra: Map::new(),
            method: Method::Opaque,
            v1: None,
            chain_id: Some(84532),
            from_supported: Vec::new(),
            json: String::new(),
        }
    }

    const URL: &str = "https://api.example.com/premium-data";

    #[test]
    fn a_signed_offer_is_the_official_one_to_the_byte() {
        let kid = did_key(&key().public());
        assert_eq!(kid, vector("jws_kid"));
        let member = offers([&terms()], URL, &key(), &kid, 1_800_000_000, None);
        let offer = &member["info"]["offers"][0];
        assert_eq!(offer["signature"], vector("offer_jws"));
        assert_eq!((&offer["format"], &offer["acceptIndex"]), (&json!("jws"), &json!(0)));
        let payload = super::offer(&member, 0, &[key().public()]).unwrap();
        assert_eq!(crate::json::canonical(&payload).unwrap(), vector("offer_canonical"));
        assert_eq!(super::offer(&member, 1, &[key().public()]), None);
    }

    #[test]
    fn a_signed_offer_takes_no_more_than_its_room() {
        let key = SigningKey::from_secret(Algorithm::Es256k, &[7; 32]).unwrap();
        let (issuer, url) = ("http://localhost:8080", "x".repeat(256));
        let widest = Terms { amount: u128::MAX, ..terms() };
        let kid = did_web(issuer, &key.public());
        for count in [1, 2, 9] {
            let member = offers(vec![&widest; count], &url, &key, &kid, 99_999_999_999, None);
            let room = ENVELOPE + count * room(&widest, issuer, url.len());
            let takes = format!(r#","{EXTENSION}":{member}"#).len();
            assert!((room * 9 / 10..=room).contains(&takes), "{count}: {takes} of {room}");
        }
    }

    #[test]
    fn a_signed_receipt_says_what_the_official_one_says() {
        let receipt = Receipt {
            issued_at: 1_800_000_000,
            network: "eip155:84532".to_owned(),
            payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
            resource_url: URL.to_owned(),
            transaction: None,
            version: 1,
        };
        let member = receipt.member(&key(), &did_key(&key().public()));
        let jws = member["info"]["receipt"]["signature"].as_str().unwrap();
        let payload = Value::Object(Jws::parse(jws, 10_000).unwrap().payload);
        assert_eq!(crate::json::canonical(&payload).unwrap(), vector("receipt_canonical_notx"));
        assert_eq!(Receipt::read(&member, &[key().public()]), Some(receipt.clone()));
        let other = SigningKey::from_secret(Algorithm::Es256k, &[7; 32]).unwrap();
        assert_eq!(Receipt::read(&member, &[other.public()]), None);
        let member = receipt.member(&other, &did_web("https://api.example.com", &other.public()));
        assert_eq!(Receipt::read(&member, &[key().public(), other.public()]), Some(receipt.clone()));
        let paid = Receipt { transaction: Some("0x1".to_owned()), ..receipt.clone() };
        assert_eq!(Receipt::read(&paid.member(&key(), "k"), &[key().public()]), Some(paid));
        let newer = Receipt { version: 2, ..receipt };
        assert_eq!(Receipt::read(&newer.member(&key(), "k"), &[key().public()]), None);
    }

    #[test]
    fn what_the_key_signed_for_another_purpose_is_no_receipt() {
        let payload = json!({ "issuedAt": 1, "network": "n", "payer": "p", "resourceUrl": "u", "version": 1 });
        let member = |jws: String| json!({ "info": { "receipt": { "format": "jws", "signature": jws } } });
        let typed = jws::sign(&key(), "at+jwt", None, &payload).unwrap();
        assert_eq!(Receipt::read(&member(typed), &[key().public()]), None);
        let good = member(signed(&key(), "k", &payload));
        assert!(Receipt::read(&good, &[key().public()]).is_some());
        let mut other_form = good.clone();
        other_form["info"]["receipt"]["format"] = json!("eip712");
        assert_eq!(Receipt::read(&other_form, &[key().public()]), None);
        let mut cut = good["info"]["receipt"]["signature"].as_str().unwrap().to_owned();
        cut.pop();
        assert_eq!(Receipt::read(&member(cut), &[key().public()]), None);
    }

    /// did-key, test vectors of the specification: an Ed25519 and a secp256k1 key.
    #[test]
    fn keys_are_named_as_did_key_names_them() {
        let ed25519 = "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let point = base64url::decode_fixed("O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik").unwrap();
        assert_eq!(did_key(&PublicKey::Ed25519(point)), format!("did:key:{ed25519}#{ed25519}"));
        let secp256k1 = "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";
        let jwk = json!({
            "kty": "EC", "crv": "secp256k1",
            "x": "h0wVx_2iDlOcblulc8E5iEw1EYh5n1RYtLQfeSTyNc0", "y": "O2EATIGbu6DezKFptj5scAIRntgfecanVNXxat1rnwE",
        });
        let key = PublicKey::from_jwk(&jwk).unwrap();
        assert_eq!(did_key(&key), format!("did:key:{secp256k1}#{secp256k1}"));
    }

    #[test]
    fn an_origins_document_holds_the_keys_that_did_web_names() {
        let keys = [key().public()];
        let kid = did_web("http://localhost:8080", &keys[0]);
        assert_eq!(kid, format!("did:web:localhost%3A8080#{}", keys[0].thumbprint()));
        let document = did_document("http://localhost:8080", &keys);
        assert_eq!(document["id"], "did:web:localhost%3A8080");
        assert_eq!(document["assertionMethod"], json!([kid]));
        assert_eq!(document["verificationMethod"][0]["id"], kid);
        assert_eq!(PublicKey::from_jwk(&document["verificationMethod"][0]["publicKeyJwk"]), Some(keys[0]));
        assert_eq!(did_web("https://api.example.com", &keys[0]).split_once('#').unwrap().0, "did:web:api.example.com");
    }
}
