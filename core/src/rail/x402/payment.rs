//! A payment as a v2 request shows it: `PAYMENT-SIGNATURE`, standard base64 over JSON.
//!
//! Source: x402 v2 HTTP transport; x402.md §§1.1, 1.3.

use super::address;
use super::chain::Question;
use super::eip3009::{Authorization, word_uint};
use super::offer::{Method, Terms};
use super::permit2::Permit;
use crate::crypto::{hex, sha256};
use crate::json;
use crate::ledger::ClaimId;
use crate::problem::{Code, Problem};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Name of the request header that carries a payment.
pub const HEADER: &str = "payment-signature";

/// Bytes of the header's value; the largest payments of official clients (batched, gas sponsored) stay below 6 KiB.
const MAX_HEADER: usize = 16 * 1024;
const MAX_DEPTH: usize = 16;

/// A payment, read but not checked. Its copies of price, payee and resource are the client's word and decide nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    /// The decoded JSON as the client wrote it; this is what the facilitator gets.
    pub(in crate::rail) text: String,
    /// The client's copy of the offer it answers.
    pub(in crate::rail) accepted: Value,
    /// What the scheme defines.
    pub(super) payload: Value,
    /// The challenge nonce it echoes, if any.
    pub(in crate::rail) nonce: Option<String>,
    /// The buyer's own name for it, if any.
    identifier: Option<String>,
    /// The authorization, chain and asset, where this is an EIP-3009 payment.
    pub(super) exact: Option<Exact>,
    /// The permit and its chain, where this is a Permit2 payment.
    pub(super) permit: Option<(Permit, u64)>,
}

/// An EIP-3009 payment and what it is spent on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exact {
    pub(super) authorization: Authorization,
    chain_id: u64,
    asset: [u8; 20],
}

impl Payment {
    /// Reads the header's value.
    ///
    /// # Errors
    /// [`Code::PaymentMalformed`] for anything that gate and facilitator could read differently.
    pub fn read(value: &[u8]) -> Result<Self, Problem> {
        if value.len() > MAX_HEADER {
            return Err(malformed("the header is longer than 16 KiB"));
        }
        let bytes = STANDARD.decode(value).map_err(|_| malformed("not standard base64 with padding"))?;
        let json = json::parse(&bytes, MAX_HEADER, MAX_DEPTH).map_err(|error| malformed(&error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        if json.get("x402Version").and_then(Value::as_u64) != Some(2) {
            return Err(malformed("x402Version must be 2"));
        }
        let member = |name: &str| match json.get(name) {
            Some(value @ Value::Object(_)) => Ok(value.clone()),
            _ => Err(malformed(&format!("{name} must be an object"))),
        };
        let accepted = member("accepted")?;
        let payload = member("payload")?;
        let exact = exact(&accepted, &payload);
        let permit = permit(&accepted, &payload);
        let nonce = json.pointer("/extensions/farebox/info/nonce").and_then(Value::as_str).map(str::to_owned);
        let identifier =
            json.pointer("/extensions/payment-identifier/info/id").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { text, accepted, payload, nonce, identifier, exact, permit })
    }

    /// The payment's identity: what the chain burns, from decoded values; where the core cannot know that, the hash
    /// of the decoded payload.
    #[must_use]
    pub fn claim_id(&self) -> ClaimId {
        if let Some(exact) = &self.exact {
            return exact.authorization.claim_id(exact.chain_id, &exact.asset);
        }
        if let Some((permit, chain_id)) = &self.permit {
            return permit.claim_id(*chain_id);
        }
        let network = self.network().as_bytes();
        let length = u64::try_from(network.len()).unwrap_or(u64::MAX).to_be_bytes();
        ClaimId(sha256(&[b"opaque\0", &length, network, self.payload.to_string().as_bytes()]))
    }

    /// CAIP-2 network that the client says it pays on.
    pub(in crate::rail) fn network(&self) -> &str {
        self.accepted.get("network").and_then(Value::as_str).unwrap_or_default()
    }

    /// What must be known to find out the outcome of this payment for `terms`, if the chain can tell.
    pub(in crate::rail) fn question(&self, terms: &Terms, not_before: u64) -> Option<Question> {
        let Method::Eip3009(_) = &terms.method else { return None };
        let authorization = &self.exact.as_ref()?.authorization;
        let valid_before = word_uint(&authorization.valid_before).and_then(|seconds| u64::try_from(seconds).ok())?;
        Some(Question {
            network: terms.network.clone(),
            token: terms.asset.clone(),
            payer: hex::encode(&authorization.from),
            nonce: hex::encode(&authorization.nonce),
            payee: terms.pay_to.clone(),
            amount: terms.amount.to_string(),
            valid_before,
            not_before,
        })
    }

    /// The buyer's own name for this payment (`payment-identifier`), if it has one of the right form.
    pub(in crate::rail) fn identifier(&self) -> Option<&str> {
        let id = self.identifier.as_deref()?;
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        ((16..=128).contains(&id.len()) && id.bytes().all(fits)).then_some(id)
    }

    /// The payer's address as x402 writes it, where the payment itself says it.
    #[must_use]
    pub fn payer(&self) -> Option<String> {
        let from = match (&self.exact, &self.permit) {
            (Some(exact), _) => &exact.authorization.from,
            (None, Some((permit, _))) => &permit.from,
            (None, None) => return None,
        };
        address::evm(&hex::encode(from)).ok()
    }
}

/// Members by which facilitators tell kinds of payload apart. A payload of one kind has none of another's, so that
/// nobody reads it as something else than we did.
const KINDS: [&str; 5] = ["authorization", "permit2Authorization", "transaction", "permissionContext", "type"];

fn is_only(kind: &str, payload: &Value) -> bool {
    KINDS.iter().all(|other| (*other == kind) == payload.get(other).is_some())
}

fn chain_id(accepted: &Value) -> Option<u64> {
    let chain_id = accepted.get("network")?.as_str()?.strip_prefix("eip155:")?;
    (!chain_id.starts_with('0') && chain_id.bytes().all(|c| c.is_ascii_digit())).then(|| chain_id.parse().ok())?
}

fn permit(accepted: &Value, payload: &Value) -> Option<(Permit, u64)> {
    if !is_only("permit2Authorization", payload) {
        return None;
    }
    Some((Permit::read(payload)?, chain_id(accepted)?))
}

fn exact(accepted: &Value, payload: &Value) -> Option<Exact> {
    if !is_only("authorization", payload) {
        return None;
    }
    Some(Exact {
        authorization: Authorization::read(payload)?,
        chain_id: chain_id(accepted)?,
        asset: hex::decode_fixed(accepted.get("asset")?.as_str()?)?,
    })
}

fn malformed(why: &str) -> Problem {
    Problem::new(Code::PaymentMalformed, format!("PAYMENT-SIGNATURE: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> String {
        let vectors: Value = serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap();
        vectors["exact3009_header"].as_str().unwrap().to_owned()
    }

    fn encode(json: &str) -> String {
        STANDARD.encode(json)
    }

    #[test]
    fn the_official_clients_header_is_read_to_the_byte() {
        let payment = Payment::read(header().as_bytes()).unwrap();
        assert_eq!(payment.payer().unwrap(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(encode(&payment.text), header());
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let good = String::from_utf8(STANDARD.decode(header()).unwrap()).unwrap();
        let cases = [
            good.replacen("\"payload\":", "\"payload\":{},\"payload\":", 1),
            good.replacen("\"value\":", "\"value\":\"1\",\"v\\u0061lue\":", 1),
            good.replacen("\"x402Version\":2", "\"x402Version\":3", 1),
            good.replacen("\"x402Version\":2", "\"x402Version\":\"2\"", 1),
            format!("{good}{{}}"),
            format!("[{good}]"),
        ];
        for case in cases {
            assert_ne!(case, good);
            assert_eq!(Payment::read(encode(&case).as_bytes()).unwrap_err().code, Code::PaymentMalformed, "{case}");
        }
        let url_safe = header().replace('+', "-").replace('/', "_").replace('=', "");
        for case in ["", "****", url_safe.as_str()] {
            if case != header() {
                assert_eq!(Payment::read(case.as_bytes()).unwrap_err().code, Code::PaymentMalformed, "{case}");
            }
        }
        assert_eq!(Payment::read(&vec![b'A'; MAX_HEADER + 4]).unwrap_err().code, Code::PaymentMalformed);
    }

    #[test]
    fn the_claim_is_the_authorization_whatever_surrounds_it() {
        let id = Payment::read(header().as_bytes()).unwrap().claim_id();
        let good = String::from_utf8(STANDARD.decode(header()).unwrap()).unwrap();
        for same in [
            good.replace("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"),
            good.replace("\"scheme\":\"exact\"", "\"scheme\":\"upto\""),
            good.replace("https://api.example.com/premium-data", "https://other.example"),
            good.replace("0x036CbD53842c5426634e7929541eC2318f3dCF7e", "0x036cbd53842c5426634e7929541ec2318f3dcf7e"),
        ] {
            assert_ne!(same, good);
            assert_eq!(Payment::read(encode(&same).as_bytes()).unwrap().claim_id(), id);
        }
        let other = good.replace("0x1111111111111111", "0x1111111111111112");
        assert_ne!(Payment::read(encode(&other).as_bytes()).unwrap().claim_id(), id);
    }
}
