//! A facilitator: the official `x402Facilitator` with the official EVM schemes (`exact` in v2 and v1, `upto`) over HTTP,
//! which can be told to misbehave.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::accounts::{Account, FACILITATOR};
use crate::chain::{CHAIN_ID, Chain};
use crate::process::{Process, Streams, free_port};
use crate::tools::Tools;
use crate::wallets::FACTORY;

/// Anvil's account 5, for a second facilitator on the same chain: two that send from one account get in each other's
/// way.
pub const SECOND_FACILITATOR: Account = Account {
    address: "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
    key: "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
};

/// A running facilitator on a chain. It ends when this is dropped.
#[derive(Debug)]
pub struct Facilitator {
    process: Process,
    port: u16,
    http: reqwest::Client,
    _dir: TempDir,
}

/// How many calls of each kind arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `POST /verify`
    pub verify: u64,
    /// `POST /settle`
    pub settle: u64,
    /// `GET /supported`
    pub supported: u64,
}

/// An operation of the facilitator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST /verify`
    Verify,
    /// `POST /settle`
    Settle,
    /// `GET /supported`
    Supported,
}

/// How a facilitator is to be.
#[derive(Clone, Debug)]
pub struct Options {
    port: Option<u16>,
    account: Account,
    factories: Vec<String>,
    confirmation: Duration,
}

/// What goes wrong with a call: made by one of the constructors, and changed by [`Fault::delayed`],
/// [`Fault::after_the_work`], [`Fault::times`] and [`Fault::always`].
///
/// Three kinds. Those that *replace* the answer do so without having asked the official class, unless
/// [`Fault::after_the_work`] says otherwise: [`Fault::answer`], [`Fault::reset`], [`Fault::dropped`] and the named
/// answers. Those that *spoil* it change what the official class said, so that a settlement has happened:
/// [`Fault::edited`] and those named after what is wrong. And those that interfere with the work itself:
/// [`Fault::pending`], [`Fault::settled_by_a_third_party`].
#[derive(Clone, Debug)]
pub struct Fault(Value);

impl Default for Options {
    fn default() -> Self {
        Self {
            port: None,
            account: FACILITATOR,
            factories: vec![FACTORY.to_owned()],
            confirmation: Duration::from_secs(180),
        }
    }
}

impl Options {
    /// On a port of the caller's choice: the one of a facilitator that has been stopped, or one that a proxy has been
    /// told before. A free one otherwise.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sending its transactions from another account than [`FACILITATOR`]: see [`SECOND_FACILITATOR`].
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Deploying the wallets of no factories but these (ERC-6492), instead of the rig's own.
    #[must_use]
    pub fn factories(mut self, factories: &[&str]) -> Self {
        self.factories = factories.iter().map(|&factory| factory.to_owned()).collect();
        self
    }

    /// Waiting so long for a receipt before a settlement is `settlement_pending`, instead of three minutes.
    #[must_use]
    pub fn confirmation(mut self, limit: Duration) -> Self {
        self.confirmation = limit;
        self
    }
}

impl Facilitator {
    /// Starts a facilitator that settles on `chain`, on a free port.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start(tools: &Tools, chain: &Chain) -> Result<Self> {
        Self::start_with(tools, chain, &Options::default()).await
    }

    /// Starts a facilitator on a port of the caller's choice: the one of a facilitator that has been stopped, or one
    /// that a proxy has been told before.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_on(tools: &Tools, chain: &Chain, port: u16) -> Result<Self> {
        Self::start_with(tools, chain, &Options::default().port(port)).await
    }

    /// Starts a facilitator with options.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_with(tools: &Tools, chain: &Chain, options: &Options) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-facilitator-").tempdir()?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut command = tools.node("facilitator.mjs");
        command
            .env("PORT", port.to_string())
            .env("RPC_URL", chain.url())
            .env("CHAIN_ID", CHAIN_ID.to_string())
            .env("FACTORIES", options.factories.join(","))
            .env("CONFIRMATION_MS", options.confirmation.as_millis().to_string())
            .env("PRIVATE_KEY", options.account.key);
        let log: PathBuf = dir.path().join("facilitator.log");
        let process = Process::spawn("the facilitator", command, &log, Streams::Log)?;
        let mut facilitator = Self { process, port, http: crate::http::client(), _dir: dir };
        let (http, health) = (facilitator.http.clone(), format!("{}/health", facilitator.url()));
        facilitator
            .process
            .wait_until(Duration::from_secs(30), || async { http.get(&health).send().await.ok() })
            .await?;
        Ok(facilitator)
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `POST /verify`: the answer's status and body.
    ///
    /// # Errors
    /// If there is no answer, or not one in JSON.
    pub async fn verify(&self, payload: &Value, requirements: &Value) -> Result<(u16, Value)> {
        self.decide("verify", payload, requirements).await
    }

    /// `POST /settle`: the answer's status and body.
    ///
    /// # Errors
    /// If there is no answer, or not one in JSON.
    pub async fn settle(&self, payload: &Value, requirements: &Value) -> Result<(u16, Value)> {
        self.decide("settle", payload, requirements).await
    }

    async fn decide(&self, operation: &str, payload: &Value, requirements: &Value) -> Result<(u16, Value)> {
        let envelope = json!({
            "x402Version": payload["x402Version"],
            "paymentPayload": payload,
            "paymentRequirements": requirements,
        });
        let response = self.http.post(format!("{}/{operation}", self.url())).json(&envelope).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// What the facilitator supports: the body of `GET /supported`.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn supported(&self) -> Result<Value> {
        self.get("supported").await
    }

    /// How many calls have arrived since the start.
    ///
    /// # Errors
    /// If the facilitator does not answer.
    pub async fn counts(&self) -> Result<Counts> {
        let counts = self.get("counts").await?;
        let count = |name: &str| counts[name].as_u64().with_context(|| format!("no count of {name}"));
        Ok(Counts { verify: count("verify")?, settle: count("settle")?, supported: count("supported")? })
    }

    /// The last calls, at most 1000, oldest first: `{"operation", "request", "answer", "headers"}`, where `answer` is
    /// `{"status", "body"}` as the official class said, or null if a fault kept it from being asked.
    ///
    /// # Errors
    /// If the facilitator does not answer.
    pub async fn calls(&self) -> Result<Vec<Value>> {
        match self.get("calls").await? {
            Value::Array(calls) => Ok(calls),
            other => bail!("/calls answered {other}"),
        }
    }

    async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.http.get(format!("{}/{path}", self.url())).send().await?.json().await?)
    }

    /// Sets what goes wrong with the next calls of an operation, in this order, in place of what was set before;
    /// an empty list heals it.
    ///
    /// # Errors
    /// If the facilitator does not answer.
    pub async fn set_faults(&self, operation: Operation, faults: &[Fault]) -> Result<()> {
        let name = match operation {
            Operation::Verify => "verify",
            Operation::Settle => "settle",
            Operation::Supported => "supported",
        };
        let faults: Vec<&Value> = faults.iter().map(|fault| &fault.0).collect();
        let request = self.http.post(format!("{}/faults", self.url())).json(&json!({ name: faults }));
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// The process, for its log and for signals (SIGSTOP makes it hang).
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Fault {
    /// The right answer, but late.
    pub fn delay(delay: Duration) -> Self {
        Self(json!({ "delayMs": milliseconds(delay) }))
    }

    /// Another answer.
    pub fn answer(status: u16, body: &str) -> Self {
        Self(json!({ "status": status, "body": body }))
    }

    /// The connection is closed without an answer.
    pub fn reset() -> Self {
        Self(json!({ "reset": true }))
    }

    /// No answer ever comes, and the connection stays open.
    pub fn dropped() -> Self {
        Self(json!({ "drop": true }))
    }

    /// An error of a server: 500, 502, 503, … with a JSON body that says so, as the reference facilitator has it.
    pub fn server_error(status: u16) -> Self {
        Self::answer(status, r#"{"error":"Internal Server Error"}"#)
    }

    /// 429 with `Retry-After`.
    pub fn too_many_requests(retry_after: Duration) -> Self {
        Self::answer(429, r#"{"error":"Too many requests"}"#).header("retry-after", &retry_after.as_secs().to_string())
    }

    /// A page of HTML, under whatever status.
    pub fn html(status: u16) -> Self {
        Self::answer(status, "<!DOCTYPE html><html><body><h1>It works!</h1></body></html>")
            .header("content-type", "text/html")
    }

    /// 200 and `{}`.
    pub fn empty_object() -> Self {
        Self::answer(200, "{}")
    }

    /// 200 and nothing.
    pub fn empty_body() -> Self {
        Self::answer(200, "")
    }

    /// `verify` says no, for this reason.
    pub fn refused(reason: &str) -> Self {
        Self::answer(200, &json!({ "isValid": false, "invalidReason": reason }).to_string())
    }

    /// `settle` says no, for this reason; nothing has reached the chain.
    pub fn not_settled(reason: &str) -> Self {
        let answer = json!({
            "success": false,
            "errorReason": reason,
            "transaction": "",
            "network": crate::chain::NETWORK,
        });
        Self::answer(200, &answer.to_string())
    }

    /// The settlement happens, and its answer is lost.
    pub fn answer_lost() -> Self {
        Self::reset().after_the_work()
    }

    /// The right answer with some fields replaced, or taken away if null.
    pub fn edited(fields: Value) -> Self {
        Self(json!({ "edit": fields }))
    }

    /// The right answer, but for another chain.
    pub fn wrong_network() -> Self {
        Self::edited(json!({ "network": "eip155:1" }))
    }

    /// The right answer, but for another payer.
    pub fn wrong_payer() -> Self {
        Self::edited(json!({ "payer": "0x000000000000000000000000000000000000dEaD" }))
    }

    /// The right answer, but with `"true"` where `true` should be.
    pub fn text_booleans(operation: Operation) -> Self {
        let field = if operation == Operation::Verify { "isValid" } else { "success" };
        Self::edited(json!({ field: "true" }))
    }

    /// `settle` says yes, and names no transaction; the settlement has happened.
    pub fn without_transaction() -> Self {
        Self::edited(json!({ "transaction": "" }))
    }

    /// `settle` says yes and names a transaction, and nothing has happened.
    pub fn pretended_settlement(payer: &str) -> Self {
        let answer = json!({
            "success": true,
            "transaction": format!("0x{:064x}", 0xfeed),
            "network": crate::chain::NETWORK,
            "payer": payer,
        });
        Self::answer(200, &answer.to_string())
    }

    /// The right answer, but only so much of its JSON, as if that were all.
    pub fn truncated(bytes: usize) -> Self {
        Self(json!({ "truncate": bytes }))
    }

    /// The right answer, of whose body only so much arrives before the connection is closed.
    pub fn cut(bytes: usize) -> Self {
        Self(json!({ "cut": bytes }))
    }

    /// The right answer, and a field of 1 MB in it.
    pub fn megabyte() -> Self {
        Self::padded(1_000_000)
    }

    /// The right answer, and a field of so many bytes in it.
    pub fn padded(bytes: usize) -> Self {
        Self(json!({ "pad": bytes }))
    }

    /// The settlement is sent, but its receipt does not come: the official class says `settlement_pending` with the
    /// transaction. Asked again, it looks for the receipt of that transaction, and finds it unless it is told this
    /// again ([`Fault::always`]: pending for ever).
    pub fn pending() -> Self {
        Self(json!({ "pending": true }))
    }

    /// Somebody else submits the payment's EIP-3009 authorization just before the official class is asked.
    pub fn settled_by_a_third_party() -> Self {
        Self(json!({ "thirdParty": true }))
    }

    /// The same, but the official class is asked first: a settlement reaches the chain, and only its answer is replaced.
    #[must_use]
    pub fn after_the_work(mut self) -> Self {
        self.0["after"] = json!(true);
        self
    }

    /// The same, so much later.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.0["delayMs"] = json!(milliseconds(delay));
        self
    }

    /// The same, with a header more, or instead.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0["headers"][name] = json!(value);
        self
    }

    /// For so many calls instead of one.
    #[must_use]
    pub fn times(mut self, calls: u32) -> Self {
        self.0["times"] = json!(calls.max(1));
        self
    }

    /// For all calls, until other faults are set.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.0["times"] = json!(0);
        self
    }
}

fn milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
