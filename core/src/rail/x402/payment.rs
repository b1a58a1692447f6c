//! A payment as a v2 request shows it: `PAYMENT-SIGNATURE`, standard base64 over JSON.
//!
//! Source: x402 v2 HTTP transport; x402.md §§1.1, 1.3.

use super::address;
use super::chain::{By, Question};
use super::check;
use super::eip3009::{Authorization, word_uint};
use super::offer::{Method, Terms};
use super::permit2::Permit;
use super::v1::{self, About};
use super::wire::Resource;
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
    /// The client's copy of the offer it answers; null in version 1.
    pub(in crate::rail) accepted: Value,
    /// What the scheme defines.
    pub(super) payload: Value,
    /// The challenge nonce it echoes, if any.
    pub(in crate::rail) nonce: Option<String>,
    /// The buyer's own name for it, if any.
    identifier: Option<String>,
    /// The authorization, chain and asset, where this is an EIP-3009 payment.
    pub(super) exact: Option<Exact>,
    /// What it is for, where this is a version 1 payment.
    pub(super) v1: Option<About>,
    /// The permit and its chain, where this is a Permit2 payment.
    pub(super) permit: Option<(Permit, u64)>,
}

/// An EIP-3009 payment and what it is spent on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exact {
    pub(super) authorization: Authorization,
    chain_id: u64,
    pub(super) asset: [u8; 20],
}

impl Payment {
    /// Reads the header's value.
    ///
    /// # Errors
    /// [`Code::PaymentMalformed`] for anything that gate and facilitator could read differently.
    pub fn read(value: &[u8]) -> Result<Self, Problem> {
        let (text, json) = decoded(value, 2)?;
        let accepted = object(&json, "accepted")?;
        let payload = object(&json, "payload")?;
        let exact = exact(&accepted, &payload);
        let permit = permit(&accepted, &payload);
        // Ours are 16 bytes in hexadecimal; anything else was not echoed but made up, and counts as absent.
        let nonce = json
            .pointer("/extensions/farebox/info/nonce")
            .and_then(Value::as_str)
            .filter(|nonce| hex::decode_fixed::<16>(nonce).is_some())
            .map(str::to_owned);
        let identifier =
            json.pointer("/extensions/payment-identifier/info/id").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { text, accepted, payload, nonce, identifier, exact, permit, v1: None })
    }

    /// Reads the value of version 1's header. Such a payment does not say in which token it is: the first of
    /// `candidates` that it can be for does.
    ///
    /// # Errors
    /// [`Code::PaymentMalformed`] for anything that gate and facilitator could read differently.
    pub fn read_v1(value: &[u8], candidates: &[Terms], resource: Resource<'_>) -> Result<Self, Problem> {
        let (text, json) = decoded(value, 1)?;
        let payload = object(&json, "payload")?;
        let (Some(scheme), Some(network)) =
            (json.get("scheme").and_then(Value::as_str), json.get("network").and_then(Value::as_str))
        else {
            return Err(malformed("scheme and network must be text"));
        };
        let authorization =
            if is_only("authorization", &payload) && scheme == "exact" { Authorization::read(&payload) } else { None };
        let exact = authorization.and_then(|authorization| {
            let signed_for =
                |terms: &Terms| check::token(terms).is_some_and(|token| authorization.is_signed_by_payer(&token));
            let terms = v1::token(candidates, network, signed_for)?;
            let asset = hex::decode_fixed(&terms.asset)?;
            let chain_id = terms.chain_id?;
            Some(Exact { authorization, chain_id, asset })
        });
        let v1 = Some(About::new(network, resource));
        let accepted = match &exact {
            Some(exact) => serde_json::json!({ "network": format!("eip155:{}", exact.chain_id) }),
            None => Value::Null,
        };
        Ok(Self { text, accepted, payload, nonce: None, identifier: None, exact, permit: None, v1 })
    }

    /// Whether it came as a version 1 payment.
    pub(in crate::rail) fn is_v1(&self) -> bool {
        self.v1.is_some()
    }

    /// The network as an answer to this payment names it, if its terms are on `network`.
    pub(in crate::rail) fn names_network<'a>(&'a self, network: &'a str) -> &'a str {
        self.v1.as_ref().map_or(network, |about| &about.network)
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

    /// Hash of the accepted terms, if they sell a pass.
    pub(in crate::rail) fn pass(&self) -> Option<[u8; 32]> {
        self.accepted.pointer("/extra/pass").map(|_| sha256(&[self.accepted.to_string().as_bytes()]))
    }

    /// Whether the payment itself says what it burns: else that is known only by the transaction that settles it.
    pub(in crate::rail) fn says_what_it_burns(&self) -> bool {
        self.exact.is_some() || self.permit.is_some()
    }

    /// CAIP-2 network that the client says it pays on.
    pub(in crate::rail) fn network(&self) -> &str {
        self.accepted.get("network").and_then(Value::as_str).unwrap_or_default()
    }

    /// What must be known to find out the outcome of this payment for `terms`, if the chain can tell.
    pub(in crate::rail) fn question(&self, terms: &Terms, not_before: u64) -> Option<Question> {
        let (by, from, nonce, amount, end) = match &terms.method {
            Method::Eip3009(_) => {
                let it = &self.exact.as_ref()?.authorization;
                (By::Authorization, &it.from, &it.nonce, terms.amount, &it.valid_before)
            }
            Method::Permit2 => {
                let (it, _) = self.permit.as_ref()?;
                (By::Permit, &it.from, &it.nonce, terms.amount, &it.deadline)
            }
            Method::Upto { .. } => {
                let (it, _) = self.permit.as_ref()?;
                // Whatever the facilitator made of it: no more than was signed for, once.
                let amount = if terms.amount == 0 { 0 } else { word_uint(&it.amount)? };
                (By::Upto, &it.from, &it.nonce, amount, &it.deadline)
            }
            Method::Opaque => return None,
        };
        Some(Question {
            network: terms.network.clone(),
            token: terms.asset.clone(),
            payer: hex::encode(from),
            nonce: hex::encode(nonce),
            payee: terms.pay_to.clone(),
            amount: amount.to_string(),
            valid_before: word_uint(end).and_then(|seconds| u64::try_from(seconds).ok())?,
            not_before,
            by,
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

/// A header's value as text and as JSON, of this version.
fn decoded(value: &[u8], version: u64) -> Result<(String, Value), Problem> {
    if value.len() > MAX_HEADER {
        return Err(malformed("longer than 16 KiB"));
    }
    let bytes = STANDARD.decode(value).map_err(|_| malformed("not standard base64 with padding"))?;
    let json = json::parse(&bytes, MAX_HEADER, MAX_DEPTH).map_err(|error| malformed(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
    if json.get("x402Version").and_then(Value::as_u64) != Some(version) {
        return Err(malformed(&format!("x402Version must be {version}")));
    }
    Ok((text, json))
}

fn object(json: &Value, name: &str) -> Result<Value, Problem> {
    match json.get(name) {
        Some(value @ Value::Object(_)) => Ok(value.clone()),
        _ => Err(malformed(&format!("{name} must be an object"))),
    }
}

fn malformed(why: &str) -> Problem {
    Problem::new(Code::PaymentMalformed, format!("the payment's header: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn an_echo_that_is_not_one_of_our_nonces_counts_as_absent() {
        let good = String::from_utf8(STANDARD.decode(header()).unwrap()).unwrap();
        let echo = |nonce: &str| {
            let echoed = format!(r#"{{"extensions":{{"farebox":{{"info":{{"nonce":{nonce}}}}}}},"#);
            Payment::read(encode(&good.replacen('{', &echoed, 1)).as_bytes()).unwrap().nonce
        };
        let ours = "0x00112233445566778899aabbccddeeff";
        assert_eq!(echo(&format!("\"{ours}\"")).as_deref(), Some(ours));
        for other in [
            "\"\"",
            "\"0x\"",
            "\"0x00112233445566778899aabbccddee\"",
            "\"0x00112233445566778899aabbccddeeff00\"",
            "\"00112233445566778899aabbccddeeff00\"",
            "\"0x00112233445566778899aabbccddeefg\"",
            "\"this-is-long-enough-but-not-ours\"",
            "17",
            "null",
            "[\"0x00112233445566778899aabbccddeeff\"]",
        ] {
            assert_eq!(echo(other), None, "{other}");
        }
    }

    fn terms() -> Terms {
        let token = super::super::offer::TokenDomain { name: "USDC".to_owned(), version: "2".to_owned() };
        Terms {
            scheme: "exact".to_owned(),
            network: "eip155:84532".to_owned(),
            amount: 10_000,
            asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned(),
            pay_to: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned(),
            max_timeout_seconds: 60,
            extra: serde_json::Map::new(),
            method: Method::Eip3009(token),
            v1: Some("base-sepolia"),
            chain_id: Some(84532),
            from_supported: Vec::new(),
            json: String::new(),
        }
    }

    /// `hex` with the case of its digits chosen by `upper`.
    fn recased(hex: &str, upper: u64) -> String {
        let digits = hex.trim_start_matches("0x").bytes().enumerate().map(|(index, c)| {
            let up = upper >> (index % 64) & 1 == 1;
            char::from(if up { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        });
        format!("0x{}", digits.collect::<String>())
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_authorization_is_one_claim(
            version_1 in any::<bool>(),
            case in any::<u64>(),
            zeros in 0usize..30,
            scheme in "[a-z]{1,8}",
            more in any::<u32>(),
        ) {
            let vectors: Value = serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap();
            let mut v1: Value = serde_json::from_str(vectors["v1_payloadJson"].as_str().unwrap()).unwrap();
            let resource = Resource { url: "https://a/", description: "", mime_type: "" };
            let read = |payment: &Value| Payment::read_v1(encode(&payment.to_string()).as_bytes(), &[terms()], resource);
            let id = read(&v1).unwrap().claim_id();
            let authorization = &mut v1["payload"]["authorization"];
            for name in ["from", "to", "nonce"] {
                authorization[name] = recased(authorization[name].as_str().unwrap(), case).into();
            }
            for name in ["value", "validAfter", "validBefore"] {
                authorization[name] = format!("{}{}", "0".repeat(zeros), authorization[name].as_str().unwrap()).into();
            }
            v1["payload"]["signature"] = recased(v1["payload"]["signature"].as_str().unwrap(), case).into();
            v1["payload"]["more"] = more.into();
            let payment = if version_1 {
                read(&v1).unwrap()
            } else {
                let v2 = serde_json::json!({ "x402Version": 2, "payload": v1["payload"], "accepted": {
                    "scheme": scheme, "network": "eip155:84532", "asset": recased(&terms().asset, case), "amount": more } });
                Payment::read(encode(&v2.to_string()).as_bytes()).unwrap()
            };
            prop_assert_eq!(payment.claim_id(), id);
        }

        #[test]
        fn every_spelling_of_a_permit_is_one_claim(
            case in any::<u64>(),
            zeros in 0usize..2,
            upto in any::<bool>(),
            more in any::<u32>(),
        ) {
            let vectors: Value = serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap();
            let name = if upto { "upto_payloadJson" } else { "permit2_payloadJson" };
            let one: Value = serde_json::from_str(vectors["permit2_payloadJson"].as_str().unwrap()).unwrap();
            let mut other: Value = serde_json::from_str(vectors[name].as_str().unwrap()).unwrap();
            let permit = &mut other["payload"]["permit2Authorization"];
            permit["from"] = recased(permit["from"].as_str().unwrap(), case).into();
            permit["nonce"] = format!("{}{}", "0".repeat(zeros), permit["nonce"].as_str().unwrap()).into();
            permit["permitted"]["amount"] = more.to_string().into();
            other["accepted"]["amount"] = more.into();
            let id = |payment: &Value| Payment::read(encode(&payment.to_string()).as_bytes()).unwrap().claim_id();
            prop_assert_eq!(id(&other), id(&one));
        }
    }
}
