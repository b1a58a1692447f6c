//! A chain of our own: Anvil in the place of Base Sepolia, with our token where Circle's USDC is, and Permit2 and x402's
//! contracts where they are on every chain ([`crate::permit2`]).

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::accounts::BUYER;
use crate::process::{Process, Streams, free_port};
use crate::tools::Tools;

/// The chain id of Base Sepolia, which the chain has.
pub const CHAIN_ID: u64 = 84532;
/// The chain as x402 v2 names it (CAIP-2).
pub const NETWORK: &str = "eip155:84532";
/// The chain as x402 v1 names it.
pub const NETWORK_V1: &str = "base-sepolia";
/// Where the token is: the address of USDC on Base Sepolia, so that official clients pay without being told to.
pub const TOKEN: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// Where real chains have Multicall3, by which official code finds out why a payment fails.
const MULTICALL3: &str = "0xcA11bde05977b3631167028862bE2a173976CA11";
/// Anvil's account 9: somebody who has to do with no payment, and sends what is public.
pub const THIRD_PARTY: &str = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720";
/// What [`BUYER`] has at the start, in atomic units: 1 000 USDC.
pub const BUYER_FUNDS: u128 = 1_000_000_000;

/// `keccak256("Transfer(address,address,uint256)")`
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// `keccak256("AuthorizationUsed(address,bytes32)")`
const AUTHORIZATION_USED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";
/// `keccak256("AuthorizationCanceled(address,bytes32)")`
const AUTHORIZATION_CANCELED: &str = "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81";

/// A running Anvil with the token in place. It ends when this is dropped.
#[derive(Debug)]
pub struct Chain {
    process: Process,
    port: u16,
    http: reqwest::Client,
    _dir: TempDir,
}

/// When the chain makes a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// For every transaction, at once. Blocks may have the same time: the chain's clock stays the
    /// world's, however many there are.
    Instant,
    /// Every so many seconds: a settlement waits for the next block.
    Every(u64),
}

/// A `Transfer` of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Payer, lower case.
    pub from: String,
    /// Payee, lower case.
    pub to: String,
    /// Atomic units.
    pub amount: u128,
    /// Hash of the transaction, `0x…`.
    pub transaction: String,
}

impl Chain {
    /// Starts a chain that mines at once, places the token and gives [`BUYER`] its [`BUYER_FUNDS`].
    ///
    /// # Errors
    /// If Anvil does not start or the token does not compile.
    pub async fn start(tools: &Tools) -> Result<Self> {
        Self::start_with(tools, Mining::Instant).await
    }

    /// [`Chain::start`] with a choice of when blocks are made.
    ///
    /// # Errors
    /// As [`Chain::start`].
    pub async fn start_with(tools: &Tools, mining: Mining) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-chain-").tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(tools.anvil());
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--chain-id", &CHAIN_ID.to_string(), "--silent"]);
        if let Mining::Every(seconds) = mining {
            command.args(["--block-time", &seconds.to_string()]);
        }
        let process = Process::spawn("Anvil", command, &dir.path().join("anvil.log"), Streams::Log)?;
        let mut chain = Self { process, port, http: crate::http::client(), _dir: dir };
        chain.wait_until_ready().await?;
        chain.place(TOKEN, "UsdToken", tools).await?;
        chain.place(MULTICALL3, "Multicall3", tools).await?;
        chain.place_permit2(tools).await?;
        chain.mint(BUYER.address, BUYER_FUNDS).await?;
        Ok(chain)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let (http, url) = (self.http.clone(), self.url());
        self.process
            .wait_until(Duration::from_secs(30), || async { rpc(&http, &url, "eth_chainId", json!([])).await.ok() })
            .await?;
        Ok(())
    }

    /// The JSON-RPC address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The JSON-RPC port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Any JSON-RPC call.
    ///
    /// # Errors
    /// If the node answers with an error or not at all.
    pub async fn rpc(&self, method: &str, params: Value) -> Result<Value> {
        rpc(&self.http, &self.url(), method, params).await
    }

    /// Puts the runtime code of one of our contracts at an address.
    ///
    /// # Errors
    /// If it does not compile or the node refuses.
    pub async fn place(&self, address: &str, contract: &str, tools: &Tools) -> Result<()> {
        let code = tools.contract(contract)?.runtime;
        self.rpc("anvil_setCode", json!([address, code])).await?;
        Ok(())
    }

    /// Makes `address` a contract account (ERC-1271) that `owner` signs for.
    ///
    /// # Errors
    /// As [`Chain::place`].
    pub async fn place_wallet(&self, address: &str, owner: &str, tools: &Tools) -> Result<()> {
        self.place(address, "OwnedWallet", tools).await?;
        let slot = word_of_number(0);
        self.rpc("anvil_setStorageAt", json!([address, slot, word_of_address(owner)?])).await?;
        Ok(())
    }

    /// The token balance of an address, in atomic units.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn balance(&self, address: &str) -> Result<u128> {
        let data = call_data("70a08231", &[word_of_address(address)?]);
        number(&json!(self.call(TOKEN, &data).await?))
    }

    /// What a contract answers to a call that changes nothing, `0x…`.
    ///
    /// # Errors
    /// If it reverts.
    pub async fn call(&self, to: &str, data: &str) -> Result<String> {
        let answer = self.rpc("eth_call", json!([{ "to": to, "data": data }, "latest"])).await?;
        Ok(answer.as_str().context("eth_call gave no text")?.to_owned())
    }

    /// The code at an address, `0x` if there is none.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn code(&self, address: &str) -> Result<String> {
        let code = self.rpc("eth_getCode", json!([address, "latest"])).await?;
        Ok(code.as_str().context("eth_getCode gave no text")?.to_owned())
    }

    /// Makes `amount` atomic units of the token for an address.
    ///
    /// # Errors
    /// If the transaction fails.
    pub async fn mint(&self, address: &str, amount: u128) -> Result<()> {
        let data = call_data("40c10f19", &[word_of_address(address)?, word_of_number(amount)]);
        self.transact(BUYER.address, TOKEN, &data).await?;
        Ok(())
    }

    /// Makes every token transfer from or to an address fail on the chain, or work again.
    ///
    /// # Errors
    /// If the transaction fails.
    pub async fn blacklist(&self, address: &str, listed: bool) -> Result<()> {
        let selector = if listed { "f9f92be4" } else { "1a895266" };
        let data = call_data(selector, &[word_of_address(address)?]);
        self.transact(BUYER.address, TOKEN, &data).await?;
        Ok(())
    }

    /// Sends a transaction from one of Anvil's accounts, waits for its receipt and gives it.
    ///
    /// # Errors
    /// If it is refused or reverts.
    pub async fn transact(&self, from: &str, to: &str, data: &str) -> Result<Value> {
        let hash = self.rpc("eth_sendTransaction", json!([{ "from": from, "to": to, "data": data }])).await?;
        let receipt = crate::process::wait_for("a receipt", Duration::from_secs(30), || async {
            self.rpc("eth_getTransactionReceipt", json!([hash])).await.ok().filter(|receipt| !receipt.is_null())
        })
        .await?;
        if receipt["status"] != "0x1" {
            bail!("the transaction {hash} reverted");
        }
        Ok(receipt)
    }

    /// [`Chain::transact`] from any address, also from one that has no key or that the node does not know.
    ///
    /// # Errors
    /// As [`Chain::transact`].
    pub async fn transact_as(&self, from: &str, to: &str, data: &str) -> Result<Value> {
        self.rpc("anvil_impersonateAccount", json!([from])).await?;
        self.rpc("anvil_setBalance", json!([from, "0x56bc75e2d63100000"])).await?;
        let receipt = self.transact(from, to, data).await;
        self.rpc("anvil_stopImpersonatingAccount", json!([from])).await?;
        receipt
    }

    /// Submits the EIP-3009 authorization of a payment, as its facilitator would, but from [`THIRD_PARTY`]: to whoever
    /// has seen a payment, or a settlement that is not yet in a block, this is open.
    ///
    /// # Errors
    /// If the payment is of another kind, or the token refuses.
    pub async fn settle_as_third_party(&self, payload: &Value) -> Result<Value> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("not an EIP-3009 payment");
        let authorization = &payload["payload"]["authorization"];
        let signature = text(&payload["payload"]["signature"])?;
        let signature = signature.trim_start_matches("0x");
        let mut words =
            vec![word_of_address(&text(&authorization["from"])?)?, word_of_address(&text(&authorization["to"])?)?];
        for field in ["value", "validAfter", "validBefore", "nonce"] {
            words.push(word_of_quantity(&text(&authorization[field])?)?);
        }
        words.push(word_of_number(7 * 32));
        words.push(word_of_number(signature.len() as u128 / 2));
        let padded = format!("{signature:0<width$}", width = signature.len().next_multiple_of(64));
        self.transact(THIRD_PARTY, TOKEN, &(call_data("cf092995", &words) + &padded)).await
    }

    /// Cancels an authorization by a signature of the payer over `CancelAuthorization` (65 bytes, `0x…`).
    ///
    /// # Errors
    /// If the token refuses.
    pub async fn cancel_authorization(&self, payer: &str, nonce: &str, signature: &str) -> Result<Value> {
        let signature = signature.trim_start_matches("0x");
        if signature.len() != 130 {
            bail!("a signature has 65 bytes");
        }
        let length = signature.len() / 2;
        let padded = format!("0x{signature:0<192}");
        let words = [word_of_address(payer)?, nonce.to_owned(), word_of_number(96), word_of_number(length as u128)];
        let data = call_data("b7b72899", &words) + padded.trim_start_matches("0x");
        self.transact(BUYER.address, TOKEN, &data).await
    }

    /// Every token transfer to a payee since the start, oldest first.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn transfers_to(&self, payee: &str) -> Result<Vec<Transfer>> {
        let logs = self.token_logs(json!([TRANSFER, null, word_of_address(payee)?])).await?;
        logs.iter().map(read_transfer).collect()
    }

    /// How often the token says that this authorization was used: 0 or 1 unless the token is broken.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn authorization_used(&self, payer: &str, nonce: &str) -> Result<usize> {
        Ok(self.token_logs(json!([AUTHORIZATION_USED, word_of_address(payer)?, nonce])).await?.len())
    }

    /// How often the token says that this authorization was canceled.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn authorization_canceled(&self, payer: &str, nonce: &str) -> Result<usize> {
        Ok(self.token_logs(json!([AUTHORIZATION_CANCELED, word_of_address(payer)?, nonce])).await?.len())
    }

    /// How many payments an address has made by authorization since the start.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn authorizations_used_by(&self, payer: &str) -> Result<usize> {
        Ok(self.token_logs(json!([AUTHORIZATION_USED, word_of_address(payer)?])).await?.len())
    }

    async fn token_logs(&self, topics: Value) -> Result<Vec<Value>> {
        self.logs(json!({ "address": TOKEN, "fromBlock": "0x0", "toBlock": "latest", "topics": topics })).await
    }

    /// `eth_getLogs` with this filter.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn logs(&self, filter: Value) -> Result<Vec<Value>> {
        match self.rpc("eth_getLogs", json!([filter])).await? {
            Value::Array(logs) => Ok(logs),
            other => bail!("eth_getLogs answered {other}"),
        }
    }

    /// The number of the latest block.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn block_number(&self) -> Result<u64> {
        Ok(u64::try_from(number(&self.rpc("eth_blockNumber", json!([])).await?)?)?)
    }

    /// The time of the latest block, in Unix seconds.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn block_time(&self) -> Result<u64> {
        let block = self.rpc("eth_getBlockByNumber", json!(["latest", false])).await?;
        Ok(u64::try_from(number(&block["timestamp"])?)?)
    }

    /// Moves the chain's clock on by so many seconds, and makes a block with the new time.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn increase_time(&self, seconds: u64) -> Result<()> {
        self.rpc("evm_increaseTime", json!([seconds])).await?;
        self.mine(1).await
    }

    /// Makes a block whose time is later than `time` (Unix seconds), for example a payment's `validBefore`; the chain's
    /// clock goes on from there. Nothing but a block if the time has passed already.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn jump_past(&self, time: u64) -> Result<()> {
        if self.block_time().await? <= time {
            self.rpc("evm_setNextBlockTimestamp", json!([time + 1])).await?;
        }
        self.mine(1).await
    }

    /// Makes so many blocks.
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.rpc("anvil_mine", json!([format!("0x{blocks:x}")])).await?;
        Ok(())
    }

    /// Whether transactions get into a block at once, which they do from the start unless [`Mining::Every`] was asked
    /// for. Without it they wait until [`Chain::mine`].
    ///
    /// # Errors
    /// If the node refuses.
    pub async fn set_automine(&self, on: bool) -> Result<()> {
        self.rpc("evm_setAutomine", json!([on])).await?;
        Ok(())
    }

    /// How many transactions wait for a block.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn waiting_transactions(&self) -> Result<u64> {
        let status = self.rpc("txpool_status", json!([])).await?;
        Ok(u64::try_from(number(&status["pending"])?)?)
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

async fn rpc(http: &reqwest::Client, url: &str, method: &str, params: Value) -> Result<Value> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut answer: Value = http.post(url).json(&request).send().await?.json().await?;
    if let Some(error) = answer.get("error") {
        bail!("{method} failed: {error}");
    }
    Ok(answer["result"].take())
}

fn read_transfer(log: &Value) -> Result<Transfer> {
    let address = |topic: usize| -> Result<String> {
        let word = log["topics"][topic].as_str().context("a Transfer without parties")?;
        Ok(format!("0x{}", &word[word.len() - 40..]))
    };
    Ok(Transfer {
        from: address(1)?,
        to: address(2)?,
        amount: number(&log["data"])?,
        transaction: log["transactionHash"].as_str().unwrap_or_default().to_owned(),
    })
}

pub(crate) fn call_data(selector: &str, words: &[String]) -> String {
    words.iter().fold(format!("0x{selector}"), |data, word| data + word.trim_start_matches("0x"))
}

pub(crate) fn word_of_address(address: &str) -> Result<String> {
    let digits = address.trim_start_matches("0x").to_ascii_lowercase();
    if digits.len() != 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!("not an address: {address}");
    }
    Ok(format!("0x{digits:0>64}"))
}

pub(crate) fn word_of_number(number: u128) -> String {
    format!("0x{number:064x}")
}

/// A word of any number of 256 bits: decimal, or hexadecimal with `0x`.
pub(crate) fn word_of_quantity(text: &str) -> Result<String> {
    if let Some(digits) = text.strip_prefix("0x") {
        return Ok(format!("0x{digits:0>64}"));
    }
    let mut bytes = [0_u8; 32];
    for digit in text.chars() {
        let mut carry = digit.to_digit(10).with_context(|| format!("not a number: {text}"))?;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
    }
    Ok(bytes.iter().fold("0x".to_owned(), |word, byte| word + &format!("{byte:02x}")))
}

/// Reads a quantity or a 32-byte word.
pub(crate) fn number(value: &Value) -> Result<u128> {
    let text = value.as_str().with_context(|| format!("not a number: {value}"))?;
    let digits = text.trim_start_matches("0x").trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    u128::from_str_radix(digits, 16).with_context(|| format!("not a number: {text}"))
}
