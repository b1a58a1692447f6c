//! A buyer: an official client, unmodified, kept running so that many payments can be made: `@x402/fetch` unless
//! [`crate::clients`] says otherwise.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::accounts::Account;
use crate::chain::{CHAIN_ID, TOKEN};
use crate::process::{Process, Streams};
use crate::tools::Tools;
use crate::wallets::Wallet;

/// The longest that one payment may take, with everything that goes wrong on purpose.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A running official client with one payer. It may be used for many payments at once. It ends when this is dropped.
#[derive(Debug)]
pub struct Buyer {
    process: Mutex<Process>,
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    next_id: AtomicU64,
    address: String,
    _dir: TempDir,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A request to pay for.
#[derive(Clone, Debug)]
pub struct Purchase {
    url: String,
    method: String,
    headers: HashMap<String, String>,
    body: Option<String>,
}

/// What the official client got in the end, and what it did for it.
#[derive(Clone, Debug)]
pub struct Bought {
    /// Status of the last response.
    pub status: u16,
    /// Headers of the last response, names in lower case.
    pub headers: HashMap<String, String>,
    /// Body of the last response.
    pub body: String,
    /// The decoded `PAYMENT-RESPONSE` (or `X-PAYMENT-RESPONSE`) of the last response.
    pub payment_response: Option<Value>,
    /// The requests that the client made: one, or two if it was asked to pay and did.
    pub requests: Vec<WireRequest>,
}

/// One request that the official client made.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// Status of its response.
    pub status: u16,
    /// Headers of its response, names in lower case.
    pub headers: HashMap<String, String>,
    /// The decoded challenge, if the response was a 402.
    pub payment_required: Option<Value>,
    /// The payment that it carried.
    pub payment: Option<Signed>,
}

/// A payment as the official client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `PAYMENT-SIGNATURE`, or `X-PAYMENT` for v1.
    pub header: String,
    /// The header's value, base64.
    pub value: String,
}

impl Buyer {
    /// Starts a client that pays from `payer`'s own address.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(tools: &Tools, payer: Account) -> Result<Self> {
        Self::start_command(fetch_client(tools, payer)).await
    }

    /// Starts a client that pays from a wallet that is a contract (see [`crate::wallets`]).
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_for(tools: &Tools, wallet: &Wallet) -> Result<Self> {
        let mut command = fetch_client(tools, wallet.owner);
        command.env("PAYER_CONTRACT", &wallet.address);
        if let Some(deployment) = &wallet.deployment {
            command.env("FACTORY", deployment.factory).env("FACTORY_DATA", &deployment.data);
        }
        Self::start_command(command).await
    }

    /// Starts a client that pays from the contract account `wallet` (see [`crate::chain::Chain::place_wallet`]),
    /// for which `owner` signs.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_for_wallet(tools: &Tools, owner: Account, wallet: &str) -> Result<Self> {
        let mut command = fetch_client(tools, owner);
        command.env("PAYER_CONTRACT", wallet);
        Self::start_command(command).await
    }

    /// Starts a program that serves commands as `node/wire.mjs` tells.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn start_command(command: Command) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-buyer-").tempdir()?;
        let mut process = Process::spawn("the buyer", command, &dir.path().join("buyer.log"), Streams::Pipes)?;
        let (stdin, stdout) = process.take_pipes().context("the buyer has no pipes")?;
        let waiting = Waiting::default();
        // The line that says it is ready has no id of its own; it answers 0.
        let (sender, ready) = oneshot::channel();
        insert(&waiting, 0, sender)?;
        let readers = Arc::clone(&waiting);
        std::thread::Builder::new().name("rig-buyer".to_owned()).spawn(move || deliver(stdout, &readers))?;
        let ready = tokio::time::timeout(Duration::from_secs(30), ready)
            .await
            .map_err(anyhow::Error::from)
            .and_then(|answer| Ok(answer?))
            .with_context(|| format!("the buyer did not start\n{}", process.log_tail(40)))?;
        let address = ready["address"].as_str().context("the buyer has no address")?.to_owned();
        Ok(Self {
            process: Mutex::new(process),
            stdin: Mutex::new(stdin),
            waiting,
            next_id: AtomicU64::new(1),
            address,
            _dir: dir,
        })
    }

    /// The address that pays.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `GET`s a URL and pays if asked to.
    ///
    /// # Errors
    /// As [`Buyer::pay`].
    pub async fn get(&self, url: impl Into<String>) -> Result<Bought> {
        self.pay(Purchase::get(url)).await
    }

    /// Makes a request and pays if asked to.
    ///
    /// # Errors
    /// If the official client throws: no connection, an offer it cannot or will not pay, a challenge it cannot read.
    pub async fn pay(&self, purchase: Purchase) -> Result<Bought> {
        let mut command = json!({
            "op": "pay",
            "url": purchase.url,
            "method": purchase.method,
            "headers": purchase.headers,
        });
        if let Some(body) = purchase.body {
            command["body"] = json!(body);
        }
        read_bought(&self.command(command).await?)
    }

    /// The payment header that the official client would send for a challenge: the value of a `PAYMENT-REQUIRED`
    /// header, or the text of a v1 body. Nothing is sent.
    ///
    /// # Errors
    /// If the official client throws.
    pub async fn sign(&self, challenge: &str) -> Result<Signed> {
        read_signed(&self.command(json!({ "op": "sign", "challenge": challenge })).await?)
    }

    /// The decoded payment that the official client makes for a decoded challenge.
    ///
    /// # Errors
    /// If the official client throws.
    pub async fn sign_payload(&self, payment_required: &Value) -> Result<Value> {
        let answer = self.command(json!({ "op": "sign", "challenge": payment_required })).await?;
        Ok(answer["payload"].clone())
    }

    /// The buyer's signature that cancels its authorization with this nonce, for
    /// [`crate::chain::Chain::cancel_authorization`].
    ///
    /// # Errors
    /// If the client does not answer.
    pub async fn sign_cancellation(&self, nonce: &str) -> Result<String> {
        let typed_data = json!({
            "domain": { "name": "USDC", "version": "2", "chainId": CHAIN_ID, "verifyingContract": TOKEN },
            "types": { "CancelAuthorization": [
                { "name": "authorizer", "type": "address" },
                { "name": "nonce", "type": "bytes32" },
            ] },
            "primaryType": "CancelAuthorization",
            "message": { "authorizer": self.address, "nonce": nonce },
        });
        let answer = self.command(json!({ "op": "sign-typed-data", "typedData": typed_data })).await?;
        Ok(answer["signature"].as_str().context("no signature")?.to_owned())
    }

    pub(crate) async fn command(&self, mut command: Value) -> Result<Value> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        command["id"] = json!(id);
        let (sender, answer) = oneshot::channel();
        insert(&self.waiting, id, sender)?;
        self.send(&command)?;
        let mut answer = tokio::time::timeout(ANSWER_LIMIT, answer)
            .await
            .with_context(|| format!("the buyer did not answer within {ANSWER_LIMIT:?}"))?
            .map_err(|_| anyhow!("the buyer ended\n{}", self.log_tail()))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("the official client says: {error}"),
            None => Ok(answer["result"].take()),
        }
    }

    fn send(&self, command: &Value) -> Result<()> {
        let mut stdin = self.stdin.lock().map_err(|_| anyhow!("the buyer's input is gone"))?;
        writeln!(stdin, "{command}").with_context(|| format!("the buyer ended\n{}", self.log_tail()))
    }

    /// Ends the program at once, as a machine that fails does.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn kill(&self) -> Result<()> {
        self.process.lock().map_err(|_| anyhow!("the buyer is gone"))?.signal(libc::SIGKILL)
    }

    fn log_tail(&self) -> String {
        self.process.lock().map(|process| process.log_tail(40)).unwrap_or_default()
    }
}

/// `@x402/fetch` with a key, and without what the rig's own environment may say about wallets.
pub(crate) fn fetch_client(tools: &Tools, key: Account) -> Command {
    let mut command = tools.node("buyer.mjs");
    command.arg("--serve").env("PRIVATE_KEY", key.key);
    for name in ["PAYER_CONTRACT", "FACTORY", "FACTORY_DATA"] {
        command.env_remove(name);
    }
    command
}

impl Purchase {
    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: "GET".to_owned(), headers: HashMap::new(), body: None }
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// A header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A body.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }
}

impl Bought {
    /// The payment that the client sent with its last request.
    pub fn payment(&self) -> Option<&Signed> {
        self.requests.last()?.payment.as_ref()
    }

    /// The first challenge that the client met.
    pub fn challenge(&self) -> Option<&Value> {
        self.requests.iter().find_map(|request| request.payment_required.as_ref())
    }
}

/// Hands each answer to whoever waits for it, until the process closes its output; then nobody waits any more.
fn deliver(stdout: ChildStdout, waiting: &Waiting) {
    for line in BufReader::new(stdout).lines() {
        let Ok(answer) = line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str::<Value>(&line)?))
        else {
            break;
        };
        let id = answer["id"].as_u64().unwrap_or(0);
        if let Some(sender) = waiting.lock().ok().and_then(|mut waiting| waiting.remove(&id)) {
            // Whoever waited may have given up.
            let _ = sender.send(answer);
        }
    }
    if let Ok(mut waiting) = waiting.lock() {
        waiting.clear();
    }
}

fn insert(waiting: &Waiting, id: u64, sender: oneshot::Sender<Value>) -> Result<()> {
    waiting.lock().map_err(|_| anyhow!("the buyer's reader is gone"))?.insert(id, sender);
    Ok(())
}

fn read_bought(answer: &Value) -> Result<Bought> {
    Ok(Bought {
        status: read_status(answer)?,
        headers: read_headers(answer),
        body: answer["body"].as_str().unwrap_or_default().to_owned(),
        payment_response: not_null(&answer["paymentResponse"]),
        requests: answer["requests"]
            .as_array()
            .context("no requests")?
            .iter()
            .map(read_request)
            .collect::<Result<_>>()?,
    })
}

fn read_request(request: &Value) -> Result<WireRequest> {
    Ok(WireRequest {
        status: read_status(request)?,
        headers: read_headers(request),
        payment_required: not_null(&request["paymentRequired"]),
        payment: match (request["paymentHeader"].as_str(), request["paymentSignature"].as_str()) {
            (Some(header), Some(value)) => Some(Signed { header: header.to_owned(), value: value.to_owned() }),
            _ => None,
        },
    })
}

fn read_signed(answer: &Value) -> Result<Signed> {
    let text = |field: &str| answer[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
    Ok(Signed { header: text("header")?, value: text("value")? })
}

fn read_status(answer: &Value) -> Result<u16> {
    Ok(u16::try_from(answer["status"].as_u64().context("no status")?)?)
}

fn read_headers(answer: &Value) -> HashMap<String, String> {
    let headers = answer["headers"].as_object().into_iter().flatten();
    headers.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn not_null(value: &Value) -> Option<Value> {
    (!value.is_null()).then(|| value.clone())
}
