//! `exact` on EVM by EIP-3009: reading the authorization, its identity, and its EIP-712 digest.
//!
//! Source: x402 `scheme_exact_evm`, EIP-3009, EIP-712.

use crate::crypto::{hex, keccak256, secp256k1, sha256};
use crate::ledger::ClaimId;
use serde_json::Value;

/// A `TransferWithAuthorization` as the payer signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who pays.
    pub from: [u8; 20],
    /// Who is paid.
    pub to: [u8; 20],
    /// Atomic units, as a 256-bit big-endian integer.
    pub value: [u8; 32],
    /// Unix seconds; valid strictly after.
    pub valid_after: [u8; 32],
    /// Unix seconds; valid strictly before.
    pub valid_before: [u8; 32],
    /// Chosen by the payer; the token burns (from, nonce).
    pub nonce: [u8; 32],
    /// 65 bytes from a key, anything from a contract.
    pub signature: Vec<u8>,
}

impl Authorization {
    /// Reads the scheme's `payload`. `None` if it is another kind of payload or not well formed.
    #[must_use]
    pub fn read(payload: &Value) -> Option<Self> {
        let authorization = payload.get("authorization")?;
        let text = |name: &str| authorization.get(name)?.as_str();
        Some(Self {
            from: hex::decode_fixed(text("from")?)?,
            to: hex::decode_fixed(text("to")?)?,
            value: uint256(text("value")?)?,
            valid_after: uint256(text("validAfter")?)?,
            valid_before: uint256(text("validBefore")?)?,
            nonce: hex::decode_fixed(text("nonce")?)?,
            signature: hex::decode(payload.get("signature")?.as_str()?)?,
        })
    }

    /// What the token burns: (network, asset, from, nonce), from decoded values alone.
    #[must_use]
    pub fn claim_id(&self, chain_id: u64, asset: &[u8; 20]) -> ClaimId {
        ClaimId(sha256(&[b"eip3009\0", &chain_id.to_be_bytes(), asset, &self.from, &self.nonce]))
    }

    /// The EIP-712 digest that the payer signs for this token.
    #[must_use]
    pub fn digest(&self, domain: &Domain<'_>) -> [u8; 32] {
        let message = keccak256(&[
            &keccak256(&[AUTHORIZATION_TYPE]),
            &address_word(&self.from),
            &address_word(&self.to),
            &self.value,
            &self.valid_after,
            &self.valid_before,
            &self.nonce,
        ]);
        keccak256(&[&[0x19, 0x01], &domain.separator(), &message])
    }

    /// Whether the signature is the payer's own key's. `false` proves nothing: a contract may still accept it.
    #[must_use]
    pub fn is_signed_by_payer(&self, domain: &Domain<'_>) -> bool {
        secp256k1::recover(&self.digest(domain), &self.signature) == Some(self.from)
    }
}

const AUTHORIZATION_TYPE: &[u8] = b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

/// The EIP-712 domain of a token.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// The token's EIP-712 name (not always its symbol).
    pub name: &'a str,
    /// The token's EIP-712 version.
    pub version: &'a str,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The token.
    pub contract: [u8; 20],
}

impl Domain<'_> {
    /// The domain separator.
    #[must_use]
    pub fn separator(&self) -> [u8; 32] {
        keccak256(&[
            &keccak256(&[DOMAIN_TYPE]),
            &keccak256(&[self.name.as_bytes()]),
            &keccak256(&[self.version.as_bytes()]),
            &uint_word(u128::from(self.chain_id)),
            &address_word(&self.contract),
        ])
    }
}

/// `address` as a 256-bit word.
pub(super) fn address_word(address: &[u8; 20]) -> [u8; 32] {
    let mut word = [0; 32];
    for (to, from) in word.iter_mut().skip(12).zip(address) {
        *to = *from;
    }
    word
}

/// `value` as a 256-bit big-endian integer.
#[must_use]
pub fn uint_word(value: u128) -> [u8; 32] {
    let mut word = [0; 32];
    for (to, from) in word.iter_mut().skip(16).zip(value.to_be_bytes()) {
        *to = from;
    }
    word
}

/// A 256-bit word as `u128`, if it fits.
#[must_use]
pub fn word_uint(word: &[u8; 32]) -> Option<u128> {
    let (high, low) = word.split_first_chunk::<16>()?;
    (*high == [0; 16]).then(|| low.try_into().map(u128::from_be_bytes).ok())?
}

/// A decimal string below 2^256 of at most 78 digits, as a big-endian word.
pub(super) fn uint256(text: &str) -> Option<[u8; 32]> {
    if text.is_empty() || text.len() > 78 || !text.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let mut word = [0u8; 32];
    for digit in text.bytes() {
        let mut carry = u16::from(digit - b'0');
        for byte in word.iter_mut().rev() {
            let sum = u16::from(*byte) * 10 + carry;
            *byte = u8::try_from(sum & 0xff).unwrap_or(0);
            carry = sum >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap()
    }

    fn usdc_sepolia() -> Domain<'static> {
        let contract = hex::decode_fixed("0x036CbD53842c5426634e7929541eC2318f3dCF7e").unwrap();
        Domain { name: "USDC", version: "2", chain_id: 84532, contract }
    }

    fn authorization(vector: &str) -> Authorization {
        let text = vectors()[vector].as_str().unwrap().to_owned();
        let payload: Value = serde_json::from_str(&text).unwrap();
        Authorization::read(&payload["payload"]).unwrap()
    }

    #[test]
    fn digest_and_recovery_match_the_v2_vector() {
        let authorization = authorization("exact3009_payloadJson");
        let expected = vectors()["exact3009_digest"].as_str().unwrap().to_owned();
        assert_eq!(hex::encode(&usdc_sepolia().separator()), vectors()["exact3009_domainSeparator"].as_str().unwrap());
        assert_eq!(hex::encode(&authorization.digest(&usdc_sepolia())), expected);
        assert!(authorization.is_signed_by_payer(&usdc_sepolia()));
    }

    #[test]
    fn a_v1_payment_recovers_to_its_payer() {
        assert!(authorization("v1_payloadJson").is_signed_by_payer(&usdc_sepolia()));
    }

    #[test]
    fn the_example_of_the_specification_recovers_to_its_payer() {
        let payload = serde_json::json!({
            "signature": "0x2d6a7588d6acca505cbf0d9a4a227e0c52c6c34008c8e8986a1283259764173608a2ce6496642e377d6da8dbbf5836e9bd15092f9ecab05ded3d6293af148b571c",
            "authorization": {
                "from": "0x857b06519E91e3A54538791bDbb0E22373e36b66",
                "to": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
                "value": "10000",
                "validAfter": "1740672089",
                "validBefore": "1740672154",
                "nonce": "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480"
            }
        });
        let authorization = Authorization::read(&payload).unwrap();
        assert_eq!(
            hex::encode(&authorization.digest(&usdc_sepolia())),
            vectors()["specExample_digest"].as_str().unwrap()
        );
        assert!(authorization.is_signed_by_payer(&usdc_sepolia()));
    }

    #[test]
    fn a_changed_field_no_longer_recovers_to_the_payer() {
        let good = authorization("exact3009_payloadJson");
        let mut tampered = vec![good.clone(); 6];
        tampered[0].to[0] ^= 1;
        tampered[1].value[31] ^= 1;
        tampered[2].valid_after[31] ^= 1;
        tampered[3].valid_before[31] ^= 1;
        tampered[4].nonce[0] ^= 1;
        tampered[5].signature[10] ^= 1;
        for authorization in tampered {
            assert!(!authorization.is_signed_by_payer(&usdc_sepolia()));
        }
    }

    #[test]
    fn one_authorization_is_one_claim_whatever_its_spelling() {
        let asset = [7; 20];
        let text = vectors()["exact3009_payloadJson"].as_str().unwrap().to_owned();
        let one: Value = serde_json::from_str(&text).unwrap();
        let mut other = one["payload"].clone();
        other["authorization"]["from"] =
            one["payload"]["authorization"]["from"].as_str().unwrap().to_lowercase().into();
        other["authorization"]["value"] = "00010000".into();
        let one = Authorization::read(&one["payload"]).unwrap();
        let other = Authorization::read(&other).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.claim_id(1, &asset), other.claim_id(1, &asset));
        assert_ne!(one.claim_id(1, &asset), one.claim_id(2, &asset));
        assert_ne!(one.claim_id(1, &asset), one.claim_id(1, &[8; 20]));
    }

    #[test]
    fn integers_past_256_bits_are_refused() {
        let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(uint256(max), Some([255; 32]));
        assert_eq!(uint256("115792089237316195423570985008687907853269984665640564039457584007913129639936"), None);
        assert_eq!(uint256("-1"), None);
        assert_eq!(uint256(""), None);
        assert_eq!(uint256("1e3"), None);
        assert_eq!(word_uint(&uint_word(u128::MAX)), Some(u128::MAX));
    }
}
