//! What a wallet is shown and signs: EIP-712 typed data as JSON (`eth_signTypedData_v4`).

use super::draft::{Draft, Signs};
use crate::agent::money::checksummed;
use crate::crypto::hex;
use crate::rail::x402::permit2::PERMIT2;
use serde_json::{Value, json};

/// The typed data of a draft.
pub(super) fn of(draft: &Draft) -> Value {
    match &draft.signs {
        Signs::Eip3009 { authorization, name, version, token } => json!({
            "types": {
                "EIP712Domain": [
                    { "name": "name", "type": "string" },
                    { "name": "version", "type": "string" },
                    { "name": "chainId", "type": "uint256" },
                    { "name": "verifyingContract", "type": "address" },
                ],
                "TransferWithAuthorization": [
                    { "name": "from", "type": "address" },
                    { "name": "to", "type": "address" },
                    { "name": "value", "type": "uint256" },
                    { "name": "validAfter", "type": "uint256" },
                    { "name": "validBefore", "type": "uint256" },
                    { "name": "nonce", "type": "bytes32" },
                ],
            },
            "primaryType": "TransferWithAuthorization",
            "domain": {
                "name": name,
                "version": version,
                "chainId": draft.chain,
                "verifyingContract": checksummed(token),
            },
            "message": {
                "from": checksummed(&authorization.from),
                "to": checksummed(&authorization.to),
                "value": decimal(&authorization.value),
                "validAfter": decimal(&authorization.valid_after),
                "validBefore": decimal(&authorization.valid_before),
                "nonce": hex::encode(&authorization.nonce),
            },
        }),
        Signs::Permit2(permit) => {
            let mut witness_type = vec![json!({ "name": "to", "type": "address" })];
            let mut witness = json!({ "to": checksummed(&permit.to), "validAfter": decimal(&permit.valid_after) });
            if let Some(facilitator) = &permit.facilitator {
                witness_type.push(json!({ "name": "facilitator", "type": "address" }));
                if let Some(members) = witness.as_object_mut() {
                    members.insert("facilitator".to_owned(), checksummed(facilitator).into());
                }
            }
            witness_type.push(json!({ "name": "validAfter", "type": "uint256" }));
            json!({
                "types": {
                    "EIP712Domain": [
                        { "name": "name", "type": "string" },
                        { "name": "chainId", "type": "uint256" },
                        { "name": "verifyingContract", "type": "address" },
                    ],
                    "PermitWitnessTransferFrom": [
                        { "name": "permitted", "type": "TokenPermissions" },
                        { "name": "spender", "type": "address" },
                        { "name": "nonce", "type": "uint256" },
                        { "name": "deadline", "type": "uint256" },
                        { "name": "witness", "type": "Witness" },
                    ],
                    "TokenPermissions": [
                        { "name": "token", "type": "address" },
                        { "name": "amount", "type": "uint256" },
                    ],
                    "Witness": witness_type,
                },
                "primaryType": "PermitWitnessTransferFrom",
                "domain": { "name": "Permit2", "chainId": draft.chain, "verifyingContract": checksummed(&PERMIT2) },
                "message": {
                    "permitted": { "token": checksummed(&permit.token), "amount": decimal(&permit.amount) },
                    "spender": checksummed(&permit.spender),
                    "nonce": decimal(&permit.nonce),
                    "deadline": decimal(&permit.deadline),
                    "witness": witness,
                },
            })
        }
    }
}

/// A 256-bit big-endian integer in decimal digits.
pub(super) fn decimal(word: &[u8; 32]) -> String {
    let mut digits = Vec::new();
    let mut rest = *word;
    loop {
        let mut remainder = 0u16;
        for byte in &mut rest {
            let value = remainder * 256 + u16::from(*byte);
            *byte = u8::try_from(value / 10).unwrap_or(0);
            remainder = value % 10;
        }
        digits.push(b'0' + u8::try_from(remainder).unwrap_or(0));
        if rest == [0; 32] {
            break;
        }
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::decimal;
    use crate::rail::x402::eip3009::uint_word;

    #[test]
    fn integers_of_256_bits_are_written_in_full() {
        assert_eq!(decimal(&[0; 32]), "0");
        assert_eq!(decimal(&uint_word(u128::MAX)), u128::MAX.to_string());
        assert_eq!(
            decimal(&[255; 32]),
            "115792089237316195423570985008687907853269984665640564039457584007913129639935"
        );
        assert_eq!(
            decimal(&[0x11; 32]),
            "7719472615821079694904732333912527190217998977709370935963838933860875309329"
        );
    }
}
