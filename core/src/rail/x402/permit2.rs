//! `exact` and `upto` on EVM by Permit2: reading the permit, its identity, and its EIP-712 digest.
//!
//! Source: x402 `scheme_exact_evm` and `scheme_upto_evm`, Permit2's `PermitWitnessTransferFrom`, EIP-712; x402.md
//! §§3.2, 3.5. A token's holder approves Permit2 once; each payment is a permit that names the x402 proxy as its
//! spender and, in the witness, who is paid.

use super::eip3009::{address_word, uint_word, uint256};
use crate::crypto::{hex, keccak256, secp256k1, sha256};
use crate::ledger::ClaimId;
use serde_json::Value;

/// The canonical Permit2 contract, the same on every chain.
pub(crate) const PERMIT2: [u8; 20] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0xd4, 0x73, 0x03, 0x0f, 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4, 0x3a, 0xc7, 0x8b,
    0xa3,
];
/// `x402ExactPermit2Proxy`, the same on every chain.
pub const EXACT_PROXY: [u8; 20] = [
    0x40, 0x20, 0x85, 0xc2, 0x48, 0xee, 0xa2, 0x7d, 0x92, 0xe8, 0xb3, 0x0b, 0x2c, 0x58, 0xed, 0x07, 0xf9, 0xe2, 0x00,
    0x01,
];
/// `x402UptoPermit2Proxy`, the same on every chain.
pub const UPTO_PROXY: [u8; 20] = [
    0x40, 0x20, 0xa4, 0xf3, 0xb7, 0xb9, 0x0c, 0xca, 0x42, 0x3b, 0x9f, 0xab, 0xcc, 0x0c, 0xe5, 0x7c, 0x6c, 0x24, 0x00,
    0x02,
];

/// A `PermitWitnessTransferFrom` as the payer signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Who pays.
    pub from: [u8; 20],
    /// The token.
    pub token: [u8; 20],
    /// Atomic units at most, as a 256-bit big-endian integer.
    pub amount: [u8; 32],
    /// Who may carry it out.
    pub spender: [u8; 20],
    /// Chosen by the payer; Permit2 burns (owner, nonce).
    pub nonce: [u8; 32],
    /// Unix seconds; valid up to and including.
    pub deadline: [u8; 32],
    /// Who is paid.
    pub to: [u8; 20],
    /// Who alone may settle; only `upto` says so.
    pub facilitator: Option<[u8; 20]>,
    /// Unix seconds; valid from.
    pub valid_after: [u8; 32],
    /// 65 bytes from a key, anything from a contract.
    pub signature: Vec<u8>,
}

impl Permit {
    /// Reads the scheme's `payload`. `None` if it is another kind of payload or not well formed.
    #[must_use]
    pub fn read(payload: &Value) -> Option<Self> {
        let permit = payload.get("permit2Authorization")?;
        let permitted = permit.get("permitted")?;
        let witness = permit.get("witness")?;
        let text = |object: &Value, name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let address = |object: &Value, name: &str| hex::decode_fixed(&text(object, name)?);
        let number = |object: &Value, name: &str| uint256(&text(object, name)?);
        Some(Self {
            from: address(permit, "from")?,
            token: address(permitted, "token")?,
            amount: number(permitted, "amount")?,
            spender: address(permit, "spender")?,
            nonce: number(permit, "nonce")?,
            deadline: number(permit, "deadline")?,
            to: address(witness, "to")?,
            facilitator: match witness.get("facilitator") {
                None => None,
                Some(_) => Some(address(witness, "facilitator")?),
            },
            valid_after: number(witness, "validAfter")?,
            signature: hex::decode(&text(payload, "signature")?)?,
        })
    }

    /// What Permit2 burns: (network, Permit2, owner, nonce), from decoded values alone.
    #[must_use]
    pub fn claim_id(&self, chain_id: u64) -> ClaimId {
        ClaimId(sha256(&[b"permit2\0", &chain_id.to_be_bytes(), &self.from, &self.nonce]))
    }

    /// The EIP-712 digest that the payer signs on this chain: `upto`'s if the witness names a facilitator.
    #[must_use]
    pub fn digest(&self, chain_id: u64) -> [u8; 32] {
        let permitted = keccak256(&[&keccak256(&[PERMISSIONS_TYPE]), &address_word(&self.token), &self.amount]);
        let (witness_type, witness) = match &self.facilitator {
            None => {
                (EXACT_WITNESS, keccak256(&[&keccak256(&[EXACT_WITNESS]), &address_word(&self.to), &self.valid_after]))
            }
            Some(facilitator) => (
                UPTO_WITNESS,
                keccak256(&[
                    &keccak256(&[UPTO_WITNESS]),
                    &address_word(&self.to),
                    &address_word(facilitator),
                    &self.valid_after,
                ]),
            ),
        };
        let message = keccak256(&[
            &keccak256(&[PERMIT_TYPE, PERMISSIONS_TYPE, witness_type]),
            &permitted,
            &address_word(&self.spender),
            &self.nonce,
            &self.deadline,
            &witness,
        ]);
        let domain = keccak256(&[
            &keccak256(&[DOMAIN_TYPE]),
            &keccak256(&[b"Permit2"]),
            &uint_word(u128::from(chain_id)),
            &address_word(&PERMIT2),
        ]);
        keccak256(&[&[0x19, 0x01], &domain, &message])
    }

    /// Whether the signature is the payer's own key's. `false` proves nothing: a contract may still accept it.
    #[must_use]
    pub fn is_signed_by_payer(&self, chain_id: u64) -> bool {
        secp256k1::recover(&self.digest(chain_id), &self.signature) == Some(self.from)
    }
}

const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,uint256 chainId,address verifyingContract)";
const PERMIT_TYPE: &[u8] = b"PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)";
const PERMISSIONS_TYPE: &[u8] = b"TokenPermissions(address token,uint256 amount)";
const EXACT_WITNESS: &[u8] = b"Witness(address to,uint256 validAfter)";
const UPTO_WITNESS: &[u8] = b"Witness(address to,address facilitator,uint256 validAfter)";

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap()
    }

    fn permit(vector: &str) -> Permit {
        let payload: Value = serde_json::from_str(vectors()[vector].as_str().unwrap()).unwrap();
        Permit::read(&payload["payload"]).unwrap()
    }

    #[test]
    fn digest_and_recovery_match_the_permit2_vector() {
        let permit = permit("permit2_payloadJson");
        let typehash = keccak256(&[PERMIT_TYPE, PERMISSIONS_TYPE, EXACT_WITNESS]);
        assert_eq!(hex::encode(&typehash), vectors()["permit2_typeString_hash"].as_str().unwrap());
        assert_eq!(hex::encode(&permit.digest(84532)), vectors()["permit2_digest"].as_str().unwrap());
        assert!(permit.is_signed_by_payer(84532) && !permit.is_signed_by_payer(8453));
        assert_eq!(permit.spender, EXACT_PROXY);
    }

    #[test]
    fn digest_and_recovery_match_the_upto_vector() {
        let permit = permit("upto_payloadJson");
        assert_eq!(hex::encode(&permit.digest(84532)), vectors()["upto_digest"].as_str().unwrap());
        assert!(permit.is_signed_by_payer(84532));
        assert_eq!(permit.spender, UPTO_PROXY);
    }

    #[test]
    fn a_changed_field_no_longer_recovers_to_the_payer() {
        let good = permit("upto_payloadJson");
        let mut tampered = vec![good.clone(); 9];
        tampered[0].token[0] ^= 1;
        tampered[1].amount[31] ^= 1;
        tampered[2].spender[0] ^= 1;
        tampered[3].nonce[31] ^= 1;
        tampered[4].deadline[31] ^= 1;
        tampered[5].to[0] ^= 1;
        tampered[6].facilitator = None;
        tampered[7].valid_after[31] ^= 1;
        tampered[8].signature[10] ^= 1;
        for permit in tampered {
            assert!(!permit.is_signed_by_payer(84532));
        }
    }

    #[test]
    fn a_permit_is_one_claim_whatever_its_spelling_token_or_scheme() {
        let good = permit("permit2_payloadJson");
        let upto = permit("upto_payloadJson");
        // The vectors share payer and nonce: Permit2 lets only one of them through.
        assert_eq!(good.claim_id(84532), upto.claim_id(84532));
        assert_ne!(good.claim_id(84532), good.claim_id(8453));
        let mut other = good.clone();
        other.nonce[0] ^= 1;
        assert_ne!(good.claim_id(84532), other.claim_id(84532));
    }

    #[test]
    fn a_number_that_is_no_decimal_string_is_no_permit() {
        let payload: Value = serde_json::from_str(vectors()["permit2_payloadJson"].as_str().unwrap()).unwrap();
        for (pointer, value) in [
            ("/permit2Authorization/nonce", Value::from("0x11")),
            ("/permit2Authorization/nonce", Value::from(17)),
            ("/permit2Authorization/deadline", Value::from("")),
            ("/permit2Authorization/witness/facilitator", Value::Null),
            ("/permit2Authorization/from", Value::from("0x12")),
        ] {
            let mut payload = payload["payload"].clone();
            if let Some(member) = payload.pointer_mut(pointer) {
                *member = value;
            } else {
                payload["permit2Authorization"]["witness"]["facilitator"] = value;
            }
            assert_eq!(Permit::read(&payload), None, "{pointer}");
        }
    }
}
