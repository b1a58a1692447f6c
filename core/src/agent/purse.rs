//! What the wallet can pay with, as far as a decision must know it.

use super::challenge::Offer;
use super::policy::config::Transfer;

/// An account that can sign payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its address.
    pub address: [u8; 20],
    /// EIP-155 ids of the chains it is used on; empty for every one.
    pub chains: Vec<u64>,
    /// How it can pay. `Permit2` only where the account has approved Permit2 for the token on chain.
    pub transfers: Vec<Transfer>,
    /// Whether it is a contract, whose signatures only the chain can check (ERC-1271).
    pub contract: bool,
}

impl Account {
    /// An account held by a key, for EIP-3009 on every chain.
    #[must_use]
    pub fn of_key(address: [u8; 20]) -> Self {
        Self { address, chains: Vec::new(), transfers: vec![Transfer::Eip3009], contract: false }
    }
}

/// What a wallet can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purse {
    /// The accounts, preferred one first.
    pub accounts: Vec<Account>,
    /// Whether capability tokens can be kept and shown, so that passes are of use.
    pub keeps_tokens: bool,
    /// Thumbprint (RFC 7638) of the key that is introduced for them, if there is one.
    /// [`Agent::with_holder`](super::Agent::with_holder) sees to it.
    pub holder: Option<String>,
}

impl Purse {
    /// A wallet of one account, for EIP-3009 on every chain, that keeps tokens.
    #[must_use]
    pub fn of_key(address: [u8; 20]) -> Self {
        Self { accounts: vec![Account::of_key(address)], keeps_tokens: true, holder: None }
    }

    /// The first account that can pay this offer.
    #[must_use]
    pub fn payer(&self, offer: &Offer) -> Option<&Account> {
        self.accounts.iter().find(|account| {
            (account.chains.is_empty() || account.chains.contains(&offer.asset.chain))
                && account.transfers.contains(&offer.transfer)
                && offer.pass.is_none_or(|pass| self.keeps_tokens && (self.holder.is_some() || !pass.needs_holder))
        })
    }
}
