//! Assets, accounts and amounts as the buyer compares them: decoded, never as text.
//!
//! A policy counts in *units* of its own naming (`usd`): every asset that it lists belongs to one. All amounts of a
//! unit have [`SCALE`] decimal places, whatever the asset's own are, so that counters outlive a change of the policy.

use crate::crypto::hex;
use crate::rail::x402::address::{self, Network};
use crate::rail::x402::price;
use std::fmt;

/// Decimal places of an amount in a policy's unit. No asset has more.
pub const SCALE: u8 = 18;

/// An ERC-20 token on one chain (CAIP-19 `eip155:<chain>/erc20:<address>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetId {
    /// EIP-155 chain id.
    pub chain: u64,
    /// The token's contract.
    pub address: [u8; 20],
}

impl AssetId {
    /// Reads a CAIP-19 id; addresses in any spelling whose checksum is not wrong.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write a CAIP-19 id, like \"eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913\"";
        let (network, asset) = text.split_once('/').ok_or(SHAPE)?;
        let chain = chain(network)?;
        let address = asset.strip_prefix("erc20:").ok_or(SHAPE)?;
        Ok(Self { chain, address: evm(address)? })
    }

    /// CAIP-2 network.
    #[must_use]
    pub fn network(&self) -> String {
        format!("eip155:{}", self.chain)
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eip155:{}/erc20:{}", self.chain, checksummed(&self.address))
    }
}

/// An account on one chain (CAIP-10 `eip155:<chain>:<address>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId {
    /// EIP-155 chain id.
    pub chain: u64,
    /// The account's address.
    pub address: [u8; 20],
}

impl AccountId {
    /// Reads a CAIP-10 id; addresses in any spelling whose checksum is not wrong.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write a CAIP-10 id, like \"eip155:8453:0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"";
        let (network, account) = text.rsplit_once(':').ok_or(SHAPE)?;
        Ok(Self { chain: chain(network)?, address: evm(account)? })
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eip155:{}:{}", self.chain, checksummed(&self.address))
    }
}

/// The chain id of a CAIP-2 network.
///
/// # Errors
/// What to write instead.
pub fn chain(network: &str) -> Result<u64, String> {
    Network::parse(network)?.chain_id.ok_or_else(|| "write an eip155 network: this build pays on EVM chains".to_owned())
}

/// The bytes of an EVM address whose checksum, if it has one, is right.
///
/// # Errors
/// What to write instead.
pub fn evm(text: &str) -> Result<[u8; 20], String> {
    let right = address::evm(text)?;
    hex::decode_fixed(&right).ok_or_else(|| "write an address".to_owned())
}

/// `address` with its EIP-55 checksum.
#[must_use]
pub fn checksummed(address: &[u8; 20]) -> String {
    let plain = hex::encode(address);
    address::evm(&plain).unwrap_or(plain)
}

/// An amount in one of a policy's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Index of the unit in the policy.
    pub unit: usize,
    /// `10^-18` of the unit.
    pub amount: u128,
}

/// `amount` (in `10^-18`) of the unit `name`, for people: `0.05 usd`.
#[must_use]
pub fn text(amount: u128, name: &str) -> String {
    format!("{} {name}", price::decimal(amount, SCALE))
}

/// `10^places`, for at most [`SCALE`] places.
pub(super) fn power(places: u8) -> u128 {
    10u128.saturating_pow(u32::from(places.min(SCALE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_any_spelling_and_written_in_one() {
        let text = "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
        let asset = AssetId::parse(text).unwrap();
        assert_eq!(asset.to_string(), text);
        assert_eq!(AssetId::parse(&text.to_lowercase()), Ok(asset));
        let account = AccountId::parse("eip155:1:0x70997970c51812dc3a010c7d01b50e0d17dc79c8").unwrap();
        assert_eq!(account.to_string(), "eip155:1:0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
        for wrong in [
            "",
            "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            "eip155:8453/slip44:60",
            "eip155:08453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02914",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        ] {
            assert!(AssetId::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(text(50_000_000_000_000_000, "usd"), "0.05 usd");
        assert_eq!(text(0, "usd"), "0 usd");
        assert_eq!(power(SCALE), 1_000_000_000_000_000_000);
    }
}
