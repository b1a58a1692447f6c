//! Payers that are contracts: the four kinds that official code knows, on the rig's chain.
//!
//! None of them pays with a signature that recovers to the payer's address by itself: 65 bytes by the owner are followed
//! by one byte more, and the contract is asked (ERC-1271).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::accounts::{Account, OTHER_BUYER};
use crate::chain::{CHAIN_ID, Chain, call_data, word_of_address, word_of_number};
use crate::process::{Process, Streams};
use crate::tools::Tools;

/// Where the factory of counterfactual wallets is, once one has been made; every [`crate::Facilitator`] allows it,
/// unless told otherwise.
pub const FACTORY: &str = "0xfac7000000000000000000000000000000006492";
/// Where ERC-6551's registry is on every chain.
pub const TOKEN_BOUND_REGISTRY: &str = "0x000000006551c19487814612e58FE06813775758";
/// Anvil's account 4, which [`WalletKind::Delegated`] delegates: it is its own owner.
pub const DELEGATED: Account = Account {
    address: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
    key: "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
};

const DEPLOYED: &str = "0x1271000000000000000000000000000000001271";
const DELEGATE: &str = "0x7702000000000000000000000000000000007702";
const NFT: &str = "0x0721000000000000000000000000000000000721";
const TOKEN_BOUND_IMPLEMENTATION: &str = "0x6551000000000000000000000000000000006551";

/// What a payer is that is not a plain account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WalletKind {
    /// A contract account (ERC-1271).
    Deployed,
    /// An account of a key that has delegated to a contract (EIP-7702). Its key's plain signature recovers to its
    /// address and is refused on the chain nevertheless.
    Delegated,
    /// A contract account that is not there yet: its first payment brings it about (ERC-6492).
    Counterfactual,
    /// The account of an NFT (ERC-6551): whoever has the NFT signs.
    TokenBound,
}

/// A payer that is a contract, for [`crate::Buyer::start_for`].
#[derive(Clone, Debug)]
pub struct Wallet {
    /// What it is.
    pub kind: WalletKind,
    /// The address that pays.
    pub address: String,
    /// Whose key signs.
    pub owner: Account,
    /// How it comes to be, if it is not there yet.
    pub deployment: Option<Deployment>,
}

/// The call that makes a wallet.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The contract to call.
    pub factory: &'static str,
    /// What to call it with, `0x…`.
    pub data: String,
}

impl WalletKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deployed, Self::Delegated, Self::Counterfactual, Self::TokenBound];
}

impl Wallet {
    /// Makes the wallet of a kind on a chain, with so much of the token, in atomic units. A second call for the same
    /// kind gives the same wallet, with so much more.
    ///
    /// # Errors
    /// If the chain refuses.
    pub async fn make(kind: WalletKind, chain: &Chain, tools: &Tools, funds: u128) -> Result<Self> {
        let wallet = match kind {
            WalletKind::Deployed => deployed(chain, tools).await?,
            WalletKind::Delegated => delegated(chain, tools).await?,
            WalletKind::Counterfactual => counterfactual(chain, tools, 0).await?,
            WalletKind::TokenBound => token_bound(chain, tools, 1).await?,
        };
        chain.mint(&wallet.address, funds).await?;
        Ok(wallet)
    }

    /// A counterfactual wallet that is another for another salt.
    ///
    /// # Errors
    /// If the chain refuses.
    pub async fn make_counterfactual(chain: &Chain, tools: &Tools, salt: u64, funds: u128) -> Result<Self> {
        let wallet = counterfactual(chain, tools, salt).await?;
        chain.mint(&wallet.address, funds).await?;
        Ok(wallet)
    }
}

async fn deployed(chain: &Chain, tools: &Tools) -> Result<Wallet> {
    chain.place_wallet(DEPLOYED, OTHER_BUYER.address, tools).await?;
    Ok(Wallet { kind: WalletKind::Deployed, address: DEPLOYED.to_owned(), owner: OTHER_BUYER, deployment: None })
}

async fn delegated(chain: &Chain, tools: &Tools) -> Result<Wallet> {
    chain.place(DELEGATE, "DelegatedWallet", tools).await?;
    let wanted = format!("0xef0100{}", DELEGATE.trim_start_matches("0x")).to_lowercase();
    if chain.code(DELEGATED.address).await? != wanted {
        let dir = tempfile::tempdir()?;
        let mut command = tools.node("delegate.mjs");
        command
            .arg(DELEGATE)
            .env("RPC_URL", chain.url())
            .env("CHAIN_ID", CHAIN_ID.to_string())
            .env("PRIVATE_KEY", DELEGATED.key);
        let mut process = Process::spawn("the delegation", command, &dir.path().join("log"), Streams::Log)?;
        let status = process.wait_exit(Duration::from_secs(30)).await?;
        ensure!(status.success(), "the delegation failed\n{}", process.log()?);
        let code = chain.code(DELEGATED.address).await?;
        ensure!(code == wanted, "{} has the code {code} instead of a delegation", DELEGATED.address);
    }
    let address = DELEGATED.address.to_owned();
    Ok(Wallet { kind: WalletKind::Delegated, address, owner: DELEGATED, deployment: None })
}

async fn counterfactual(chain: &Chain, tools: &Tools, salt: u64) -> Result<Wallet> {
    let owner = OTHER_BUYER;
    chain.place(FACTORY, "WalletFactory", tools).await?;
    let words = [word_of_address(owner.address)?, word_of_number(salt.into())];
    let contract = tools.contract("WalletFactory")?;
    let address = chain.call(FACTORY, &call_data(contract.selector("addressOf")?, &words)).await?;
    let data = call_data(contract.selector("create")?, &words);
    let deployment = Some(Deployment { factory: FACTORY, data });
    Ok(Wallet { kind: WalletKind::Counterfactual, address: address_in(&address)?, owner, deployment })
}

async fn token_bound(chain: &Chain, tools: &Tools, token_id: u64) -> Result<Wallet> {
    let owner = OTHER_BUYER;
    chain.place(TOKEN_BOUND_REGISTRY, "TokenBoundRegistry", tools).await?;
    chain.place(TOKEN_BOUND_IMPLEMENTATION, "TokenBoundAccount", tools).await?;
    chain.place(NFT, "Nft", tools).await?;
    let nft = tools.contract("Nft")?;
    let id = word_of_number(token_id.into());
    let holder = chain.call(NFT, &call_data(nft.selector("ownerOf")?, std::slice::from_ref(&id))).await?;
    if address_in(&holder)? != owner.address.to_lowercase() {
        let mint = call_data(nft.selector("mint")?, &[word_of_address(owner.address)?, id.clone()]);
        chain.transact(owner.address, NFT, &mint).await?;
    }
    let registry = tools.contract("TokenBoundRegistry")?;
    let words = [
        word_of_address(TOKEN_BOUND_IMPLEMENTATION)?,
        word_of_number(0),
        word_of_number(CHAIN_ID.into()),
        word_of_address(NFT)?,
        id,
    ];
    let create = call_data(registry.selector("createAccount")?, &words);
    chain.transact(owner.address, TOKEN_BOUND_REGISTRY, &create).await?;
    let address = chain.call(TOKEN_BOUND_REGISTRY, &call_data(registry.selector("account")?, &words)).await?;
    Ok(Wallet { kind: WalletKind::TokenBound, address: address_in(&address)?, owner, deployment: None })
}

/// The address in a word, lower case.
fn address_in(word: &str) -> Result<String> {
    let digits = word.get(word.len().saturating_sub(40)..).context("not a word")?;
    ensure!(digits.len() == 40, "not a word: {}", json!(word));
    Ok(format!("0x{digits}"))
}
