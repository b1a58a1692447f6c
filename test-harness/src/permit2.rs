//! Permit2 and the contracts through which x402 spends its signatures: the second way to pay `exact`, and the only one
//! to pay `upto`.
//!
//! The chain has them from the start, at the addresses that real chains have them at. A payer has to approve Permit2
//! once: [`Chain::approve_permit2`].

use anyhow::Result;
use serde_json::{Value, json};

use crate::accounts::{FACILITATOR, PAYEE};
use crate::chain::{Chain, NETWORK, TOKEN, call_data, number, word_of_address, word_of_number, word_of_quantity};
use crate::tools::Tools;

/// Where Permit2 is on every chain.
pub const PERMIT2: &str = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
/// Where x402's contract for `exact` is: the spender that a payment of this kind names.
pub const EXACT_PROXY: &str = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001";
/// Where x402's contract for `upto` is.
pub const UPTO_PROXY: &str = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002";
/// Permit2's EIP-712 domain separator on the rig's chain.
pub const DOMAIN_SEPARATOR: &str = "0x010f27a92fb9a32622f44f001dc4d15706a85b33499cfc2ce9033113ab26592c";

/// What a v2 server asks for when it wants `exact` by Permit2, as [`PAYEE`].
pub fn exact_requirements(amount: u128) -> Value {
    json!({
        "scheme": "exact",
        "network": NETWORK,
        "amount": amount.to_string(),
        "asset": TOKEN,
        "payTo": PAYEE.address,
        "maxTimeoutSeconds": 300,
        "extra": { "name": "USDC", "version": "2", "assetTransferMethod": "permit2" },
    })
}

/// What a v2 server asks for when it wants `upto`, as [`PAYEE`], from clients of the facilitator of [`FACILITATOR`].
pub fn upto_requirements(ceiling: u128) -> Value {
    json!({
        "scheme": "upto",
        "network": NETWORK,
        "amount": ceiling.to_string(),
        "asset": TOKEN,
        "payTo": PAYEE.address,
        "maxTimeoutSeconds": 300,
        "extra": {
            "name": "USDC",
            "version": "2",
            "assetTransferMethod": "permit2",
            "facilitatorAddress": FACILITATOR.address,
        },
    })
}

impl Chain {
    pub(crate) async fn place_permit2(&self, tools: &Tools) -> Result<()> {
        self.place(PERMIT2, "Permit2", tools).await?;
        self.place(EXACT_PROXY, "X402ExactPermit2Proxy", tools).await?;
        self.place(UPTO_PROXY, "X402UptoPermit2Proxy", tools).await
    }

    /// Lets Permit2 move so much of an account's tokens; 0 takes it back. The account needs no key: the node signs.
    ///
    /// # Errors
    /// If the transaction fails.
    pub async fn approve_permit2(&self, owner: &str, amount: u128) -> Result<()> {
        let data = call_data("095ea7b3", &[word_of_address(PERMIT2)?, word_of_number(amount)]);
        self.transact_as(owner, TOKEN, &data).await?;
        Ok(())
    }

    /// Whether a Permit2 nonce (decimal, or hexadecimal with `0x`) of this owner has been used.
    ///
    /// # Errors
    /// If the nonce is not a number, or the node does not answer.
    pub async fn permit2_nonce_used(&self, owner: &str, nonce: &str) -> Result<bool> {
        let nonce = word_of_quantity(nonce)?;
        let (word, bit) = nonce.trim_start_matches("0x").split_at(62);
        let data = call_data("4fe02b44", &[word_of_address(owner)?, format!("00{word}")]);
        let bitmap = self.call(PERMIT2, &data).await?;
        let bitmap = bitmap.trim_start_matches("0x");
        let bit = usize::from_str_radix(bit, 16)?;
        let digit = number(&json!(format!("0x{}", &bitmap[63 - bit / 4..64 - bit / 4])))?;
        Ok(digit >> (bit % 4) & 1 == 1)
    }

    /// Burns a Permit2 nonce (decimal, or hexadecimal with `0x`) of this owner, as [`Chain::cancel_authorization`] does
    /// with an EIP-3009 nonce. Unlike there, a payment leaves no event of Permit2 to tell the two apart: only the token's
    /// `Transfer` does.
    ///
    /// # Errors
    /// If the nonce is not a number, or the transaction fails.
    pub async fn cancel_permit2_nonce(&self, owner: &str, nonce: &str) -> Result<Value> {
        let nonce = word_of_quantity(nonce)?;
        let (word, bit) = nonce.trim_start_matches("0x").split_at(62);
        let bit = usize::from_str_radix(bit, 16)?;
        let mut mask = [b'0'; 64];
        mask[63 - bit / 4] = b"1248"[bit % 4];
        let mask = String::from_utf8_lossy(&mask).into_owned();
        let data = call_data("3ff9dcb1", &[format!("00{word}"), mask]);
        self.transact_as(owner, PERMIT2, &data).await
    }
}
