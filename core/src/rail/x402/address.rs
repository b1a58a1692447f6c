//! Networks and addresses as x402 writes them.

use crate::crypto::keccak256;

/// A CAIP-2 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<'a> {
    /// What stands before the colon: `eip155`, `solana`, …
    pub namespace: &'a str,
    /// The chain id of an `eip155` network.
    pub chain_id: Option<u64>,
}

impl<'a> Network<'a> {
    /// Reads a CAIP-2 id.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let Some((namespace, reference)) = text.split_once(':') else {
            return Err(match V1_NAMES.iter().find(|(name, _)| *name == text) {
                Some((_, id)) => format!("write the CAIP-2 id, \"{id}\""),
                None => "write a CAIP-2 id, like \"eip155:8453\" (Base) or \"eip155:84532\" (Base Sepolia)".to_owned(),
            });
        };
        let lower = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let any = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if !(3..=8).contains(&namespace.len()) || !namespace.bytes().all(lower) {
            return Err(
                "before the colon stands a CAIP-2 namespace of 3 to 8 lower-case characters, like `eip155`".to_owned()
            );
        }
        if !(1..=32).contains(&reference.len()) || !reference.bytes().all(any) {
            return Err("after the colon stands one network's reference of 1 to 32 characters, like `8453`".to_owned());
        }
        let chain_id = if namespace == "eip155" {
            let id = reference.parse::<u64>().ok().filter(|id| *id > 0 && id.to_string() == reference);
            Some(id.ok_or("after `eip155:` stands the chain id, a decimal number, like \"eip155:8453\"")?)
        } else {
            None
        };
        Ok(Self { namespace, chain_id })
    }
}

/// `address` on a network of this namespace, in the spelling x402 uses (EVM: with the EIP-55 checksum).
///
/// # Errors
/// What to write instead.
pub fn normal(namespace: &str, address: &str) -> Result<String, String> {
    match namespace {
        "eip155" => evm(address),
        "solana" => match base58_len(address) {
            Some(32) => Ok(address.to_owned()),
            _ => Err("write a Solana address: base58 of 32 bytes".to_owned()),
        },
        _ if (1..=128).contains(&address.len()) && address.bytes().all(|c| c.is_ascii_graphic()) => {
            Ok(address.to_owned())
        }
        _ => Err("write an address of 1 to 128 printable characters".to_owned()),
    }
}

/// An EVM address with its EIP-55 checksum. One case throughout has no checksum to be wrong.
///
/// # Errors
/// What to write instead.
pub fn evm(address: &str) -> Result<String, String> {
    const SHAPE: &str = "write `0x` and 40 hexadecimal digits, in quotes";
    let digits = address.strip_prefix("0x").ok_or(SHAPE)?;
    if !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(SHAPE.to_owned());
    }
    if digits.len() != 40 {
        return Err(format!("{SHAPE}; these are {}", digits.len()));
    }
    let lower = digits.to_ascii_lowercase();
    let hash = keccak256(&[lower.as_bytes()]);
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut right = String::with_capacity(42);
    right.push_str("0x");
    right.extend(lower.chars().zip(nibbles).map(|(c, nibble)| if nibble >= 8 { c.to_ascii_uppercase() } else { c }));
    let mixed = digits.bytes().any(|c| c.is_ascii_lowercase()) && digits.bytes().any(|c| c.is_ascii_uppercase());
    if mixed && right != address {
        return Err(format!(
            "its checksum (EIP-55) is wrong, so a digit may be too; if every digit is right, write \"{right}\""
        ));
    }
    Ok(right)
}

/// How many bytes a base58 text stands for; `None` if it is not base58 or longer than an address can be.
fn base58_len(text: &str) -> Option<usize> {
    const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    // Little-endian base 256.
    let mut bytes: Vec<u8> = Vec::with_capacity(48);
    for c in text.chars() {
        let mut carry = u32::try_from(ALPHABET.find(c)?).ok()?;
        for byte in &mut bytes {
            carry += u32::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xff).ok()?;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(u8::try_from(carry & 0xff).ok()?);
            carry >>= 8;
        }
    }
    Some(bytes.len() + text.bytes().take_while(|c| *c == b'1').count())
}

/// Names of x402 v1 that an operator may remember, with what they are called now (x402.md §1.8).
const V1_NAMES: [(&str, &str); 14] = [
    ("base", "eip155:8453"),
    ("base-sepolia", "eip155:84532"),
    ("ethereum", "eip155:1"),
    ("sepolia", "eip155:11155111"),
    ("avalanche", "eip155:43114"),
    ("avalanche-fuji", "eip155:43113"),
    ("polygon", "eip155:137"),
    ("polygon-amoy", "eip155:80002"),
    ("celo", "eip155:42220"),
    ("sei", "eip155:1329"),
    ("monad", "eip155:143"),
    ("solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("solana-devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ("solana-testnet", "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
];

#[cfg(test)]
mod tests {
    use super::{Network, base58_len, evm};

    #[test]
    fn checksums_are_those_of_eip_55() {
        for right in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(evm(right).as_deref(), Ok(right));
            assert_eq!(evm(&right.to_lowercase()).as_deref(), Ok(right));
        }
        let error = evm("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD").unwrap_err();
        assert!(error.contains("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), "{error}");
    }

    #[test]
    fn base58_counts_bytes() {
        assert_eq!(base58_len("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"), Some(32));
        assert_eq!(base58_len("11111111111111111111111111111111"), Some(32));
        assert_eq!(base58_len("0OIl"), None);
    }

    #[test]
    fn networks_are_caip_2() {
        assert_eq!(Network::parse("eip155:8453").unwrap().chain_id, Some(8453));
        assert!(Network::parse("base-sepolia").unwrap_err().contains("eip155:84532"));
        for wrong in ["eip155:", "eip155:08453", "eip155:0", "EIP155:1", "eip155:*", "eip155:1:2", ""] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
