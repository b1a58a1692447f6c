//! A facilitator: the official `x402Facilitator` and exact EVM scheme over HTTP, which can be told to misbehave.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::accounts::FACILITATOR;
use crate::chain::{CHAIN_ID, Chain};
use crate::process::{Process, Streams, free_port};
use crate::tools::Tools;

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

/// What goes wrong with a call. Make one with [`Fault::delay`], [`Fault::answer`] or [`Fault::reset`].
#[derive(Clone, Debug)]
pub struct Fault(Value);

impl Facilitator {
    /// Starts a facilitator that settles on `chain`, on a free port.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start(tools: &Tools, chain: &Chain) -> Result<Self> {
        Self::start_on(tools, chain, free_port()?).await
    }

    /// Starts a facilitator on a port of the caller's choice: the one of a facilitator that has been stopped, or one
    /// that a proxy has been told before.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_on(tools: &Tools, chain: &Chain, port: u16) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("farebox-facilitator-")
            .tempdir()?;
        let mut command = tools.node("facilitator.mjs");
        command
            .env("PORT", port.to_string())
            .env("RPC_URL", chain.url())
            .env("CHAIN_ID", CHAIN_ID.to_string())
            .env("PRIVATE_KEY", FACILITATOR.key);
        let log: PathBuf = dir.path().join("facilitator.log");
        let process = Process::spawn("the facilitator", command, &log, Streams::Log)?;
        let mut facilitator = Self {
            process,
            port,
            http: crate::http::client(),
            _dir: dir,
        };
        let (http, health) = (
            facilitator.http.clone(),
            format!("{}/health", facilitator.url()),
        );
        facilitator
            .process
            .wait_until(Duration::from_secs(30), || async {
                http.get(&health).send().await.ok()
            })
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

    async fn decide(
        &self,
        operation: &str,
        payload: &Value,
        requirements: &Value,
    ) -> Result<(u16, Value)> {
        let envelope = json!({
            "x402Version": payload["x402Version"],
            "paymentPayload": payload,
            "paymentRequirements": requirements,
        });
        let response = self
            .http
            .post(format!("{}/{operation}", self.url()))
            .json(&envelope)
            .send()
            .await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// How many calls have arrived since the start.
    ///
    /// # Errors
    /// If the facilitator does not answer.
    pub async fn counts(&self) -> Result<Counts> {
        let counts = self.get("counts").await?;
        let count = |name: &str| {
            counts[name]
                .as_u64()
                .with_context(|| format!("no count of {name}"))
        };
        Ok(Counts {
            verify: count("verify")?,
            settle: count("settle")?,
            supported: count("supported")?,
        })
    }

    /// The last calls, at most 1000, oldest first: `{"operation", "request", "answer"}`, where `answer` is what the
    /// official class said, or null if a fault kept it from being asked.
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
        Ok(self
            .http
            .get(format!("{}/{path}", self.url()))
            .send()
            .await?
            .json()
            .await?)
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
        let request = self
            .http
            .post(format!("{}/faults", self.url()))
            .json(&json!({ name: faults }));
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
        Self(json!({ "delayMs": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) }))
    }

    /// Another answer, without having asked the official class.
    pub fn answer(status: u16, body: &str) -> Self {
        Self(json!({ "status": status, "body": body }))
    }

    /// The connection is closed without an answer, and without having asked the official class.
    pub fn reset() -> Self {
        Self(json!({ "reset": true }))
    }

    /// The same, but the official class is asked first: a settlement reaches the chain, and only its answer is lost.
    #[must_use]
    pub fn after_the_work(mut self) -> Self {
        self.0["after"] = json!(true);
        self
    }

    /// The same, so much later.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.0["delayMs"] = Self::delay(delay).0["delayMs"].take();
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
