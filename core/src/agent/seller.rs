//! What sellers sign: offers before they are paid, receipts after.
//!
//! Source: x402 `extension-offer-and-receipt` (JWS and EIP-712 forms); x402.md §§4.4, 9.7. A key counts if it is that of
//! the account that is paid, or one that the policy names for the host.

use super::challenge::{Challenge, Offer, SignedForm};
use super::money;
use super::pattern::Reading::Grant;
use super::policy::{Policy, SignerKey};
use super::receipt;
use super::request::{Request, Url};
use crate::crypto::jws::Jws;
use crate::crypto::{hex, keccak256, secp256k1};
use crate::rail::x402::eip3009::uint_word;
use crate::token::KeySet;
use serde_json::{Map, Value};

/// Bytes of a signed object.
const MAX_BYTES: usize = 16 * 1024;

/// Who signed this offer as it is, for people; `None` if nobody who counts did.
pub(super) fn signer_of_offer(
    policy: &Policy,
    challenge: &Challenge,
    offer: &Offer,
    request: &Request,
    now: u64,
) -> Option<String> {
    challenge.signed().iter().filter(|signed| signed.index == offer.index).find_map(|signed| {
        let (url, payee) = (&request.url, &offer.payee.address);
        let (payload, signer) = read(policy, url, payee, &signed.form, Kind::Offer, challenge.keys())?;
        signer.filter(|_| says_offer(&payload, offer, request, now))
    })
}

/// What a receipt says, and who signed it, if that is one who counts; `None` if it cannot be read. `keys` are those
/// that the seller's origin serves.
pub(super) fn receipt(
    policy: &Policy,
    url: &Url,
    payee: &[u8; 20],
    form: &SignedForm,
    keys: &KeySet,
) -> Option<(Value, Option<String>)> {
    let (payload, signer) = read(policy, url, payee, form, Kind::Receipt, keys)?;
    version_1(&payload).then_some((Value::Object(payload), signer))
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Offer,
    Receipt,
}

/// The signed object, and its signer, if that is one who counts for this URL and payee.
fn read(
    policy: &Policy,
    url: &Url,
    payee: &[u8; 20],
    form: &SignedForm,
    kind: Kind,
    keys: &KeySet,
) -> Option<(Map<String, Value>, Option<String>)> {
    match form {
        SignedForm::Jws(text) => {
            let jws = Jws::parse(text, MAX_BYTES).ok()?;
            let signer = receipt::signer_of(policy, url, &jws, keys).map(|key| key.thumbprint());
            Some((jws.payload, signer))
        }
        SignedForm::Eip712 { payload, signature } => {
            let payload = payload.as_object()?;
            let signer = secp256k1::recover(&digest(payload, kind)?, &hex::decode(signature)?);
            let named = || policy.signers.iter().filter(|it| it.hosts.iter().any(|host| host.matches(url, Grant)));
            let counts =
                |signer: &[u8; 20]| signer == payee || named().any(|named| named.key == SignerKey::Address(*signer));
            Some((payload.clone(), signer.filter(counts).map(|signer| money::checksummed(&signer))))
        }
    }
}

/// Whether a signed offer says what the unsigned one says, for this request, now.
fn says_offer(payload: &Map<String, Value>, offer: &Offer, request: &Request, now: u64) -> bool {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    let address = |name: &str| text(name).and_then(|text| money::evm(text).ok());
    let valid_until = payload.get("validUntil").and_then(number).unwrap_or(0);
    version_1(payload)
        && text("scheme") == Some(offer.scheme.wire())
        && text("network") == Some(offer.asset.network().as_str())
        && address("asset") == Some(offer.asset.address)
        && address("payTo") == Some(offer.payee.address)
        && text("amount") == Some(offer.amount.to_string().as_str())
        && text("resourceUrl").is_some_and(|url| is_resource(url, &request.url))
        && (valid_until == 0 || valid_until >= now)
}

/// Whether `text` names the resource at `url`. Sellers may leave the query out.
pub(super) fn is_resource(text: &str, url: &Url) -> bool {
    Url::parse(text).is_ok_and(|named| {
        named.text() == url.text()
            || (named.path().is_some() && !text.contains('?') && named.resource() == url.resource())
    })
}

fn version_1(payload: &Map<String, Value>) -> bool {
    payload.get("version").and_then(number) == Some(1)
}

/// A number, or its decimal text: both are seen for EIP-712 integers.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,string version,uint256 chainId)";
const OFFER_TYPE: &[u8] = b"Offer(uint256 version,string resourceUrl,string scheme,string network,string asset,string payTo,string amount,uint256 validUntil)";
const RECEIPT_TYPE: &[u8] =
    b"Receipt(uint256 version,string network,string resourceUrl,string payer,uint256 issuedAt,string transaction)";

/// The EIP-712 digest of an offer or a receipt. The domain's chain is always 1, whatever is paid on.
fn digest(payload: &Map<String, Value>, kind: Kind) -> Option<[u8; 32]> {
    let text = |name: &str, default: Option<&str>| {
        let text = payload.get(name).filter(|value| !value.is_null()).map_or(default, Value::as_str)?;
        Some(keccak256(&[text.as_bytes()]))
    };
    let integer = |name: &str| {
        let value = payload.get(name).filter(|value| !value.is_null()).map_or(Some(0), number)?;
        Some(uint_word(value.into()))
    };
    let (name, message) = match kind {
        Kind::Offer => (
            "x402 offer",
            keccak256(&[
                &keccak256(&[OFFER_TYPE]),
                &integer("version")?,
                &text("resourceUrl", None)?,
                &text("scheme", None)?,
                &text("network", None)?,
                &text("asset", None)?,
                &text("payTo", None)?,
                &text("amount", None)?,
                &integer("validUntil")?,
            ]),
        ),
        Kind::Receipt => (
            "x402 receipt",
            keccak256(&[
                &keccak256(&[RECEIPT_TYPE]),
                &integer("version")?,
                &text("network", None)?,
                &text("resourceUrl", None)?,
                &text("payer", None)?,
                &integer("issuedAt")?,
                &text("transaction", Some(""))?,
            ]),
        ),
    };
    let domain =
        keccak256(&[&keccak256(&[DOMAIN_TYPE]), &keccak256(&[name.as_bytes()]), &keccak256(&[b"1"]), &uint_word(1)]);
    Some(keccak256(&[&[0x19, 0x01], &domain, &message]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../vectors/x402.json")).unwrap()
    }

    #[test]
    fn digests_are_those_of_the_official_package() {
        let offer: Value = serde_json::from_str(vectors()["offer_canonical"].as_str().unwrap()).unwrap();
        let expected = vectors()["offer_digest"].as_str().unwrap().to_owned();
        assert_eq!(hex::encode(&digest(offer.as_object().unwrap(), Kind::Offer).unwrap()), expected);
        let receipt: Value = serde_json::from_str(vectors()["receipt_canonical_notx"].as_str().unwrap()).unwrap();
        let expected = vectors()["receipt_digest"].as_str().unwrap().to_owned();
        assert_eq!(hex::encode(&digest(receipt.as_object().unwrap(), Kind::Receipt).unwrap()), expected);
        // tokens.md §4.1, from the specification.
        let example = json!({
            "version": 1, "network": "eip155:8453", "resourceUrl": "https://api.example.com/premium-data",
            "payer": "0x857b06519E91e3A54538791bDbb0E22373e36b66", "issuedAt": 1_703_123_456, "transaction": "",
        });
        assert_eq!(
            hex::encode(&digest(example.as_object().unwrap(), Kind::Receipt).unwrap()),
            "0x060dbcfb87035bac821d6baa07fdab2ec109e6f06deaa00e037c2c1f4fbe6f8b"
        );
    }
}
