//! The npm package's agent, as a program of its own (`node/agent.mjs`), and the servers of others that it pays
//! (`node/sellers.mjs`, `node/hostile.mjs`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::accounts::{Account, BUYER, PAYEE};
use crate::buyer::Buyer;
use crate::chain::{NETWORK, TOKEN};
use crate::package::Package;
use crate::process::{Process, Streams, free_port, wait_for};
use crate::{Facilitator, Tools};

/// The token, as policies name it.
pub fn asset() -> String {
    format!("{NETWORK}/erc20:{TOKEN}")
}

/// A policy that allows everything at some origins: at most 0.05 usd each, 1 usd a day.
pub fn policy(origins: &[&str]) -> Value {
    json!({
        "version": 1,
        "assets": [{ "asset": asset(), "unit": "usd" }],
        "allow": [{ "match": { "hosts": origins } }],
        "caps": [{ "max": "0.05 usd" }],
        "budgets": [{ "name": "day", "max": "1 usd", "seconds": 86_400 }],
    })
}

/// How an agent is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    policy: Value,
    variables: Vec<(&'static str, String)>,
}

impl Plan {
    /// An agent with a session key and a store in memory.
    pub fn new(policy: Value) -> Self {
        Self { policy, variables: Vec::new() }.key(BUYER)
    }

    /// With another key.
    #[must_use]
    pub fn key(self, account: Account) -> Self {
        self.variable("PRIVATE_KEY", account.key)
    }

    /// With another wallet: `viem`, `ethers`, `provider`, `contract`.
    #[must_use]
    pub fn wallet(self, kind: &str) -> Self {
        self.variable("WALLET", kind)
    }

    /// A contract wallet.
    #[must_use]
    pub fn contract(self, address: &str) -> Self {
        self.wallet("contract").variable("CONTRACT", address)
    }

    /// Whose account can pay so.
    #[must_use]
    pub fn transfers(self, transfers: &str) -> Self {
        self.variable("TRANSFERS", transfers)
    }

    /// With a store in a folder, whose budgets are filled if it is new.
    #[must_use]
    pub fn store(self, folder: &Path) -> Self {
        self.variable("STORE", &folder.display().to_string()).variable("BEGIN", "1")
    }

    /// With a key for tokens: `webcrypto`, or the digits of a secret.
    #[must_use]
    pub fn holder(self, holder: &str) -> Self {
        self.variable("HOLDER", holder)
    }

    /// With another variable of the program's environment.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(there, _)| *there != name);
        self.variables.push((name, value.to_owned()));
        self
    }
}

/// A running agent. It ends when this is dropped.
#[derive(Debug)]
pub struct Agent(Buyer);

/// What agents are started from.
#[derive(Clone, Debug)]
pub struct Agents<'a> {
    /// The rig's tools.
    pub tools: &'a Tools,
    /// The npm package.
    pub package: &'a Package,
    /// Variables of their environment, for faults that are built in.
    pub env: Vec<(String, String)>,
}

impl<'a> Agents<'a> {
    /// Of a package, as it is.
    pub fn new(tools: &'a Tools, package: &'a Package) -> Self {
        Self { tools, package, env: Vec::new() }
    }

    /// Starts an agent.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(&self, plan: &Plan) -> Result<Agent> {
        let mut command = self.tools.node("agent.mjs");
        for name in ["STORE", "BEGIN", "WALLET", "CONTRACT", "TRANSFERS", "HOLDER", "ASK", "NO_BODY"] {
            command.env_remove(name);
        }
        command.env("PACKAGE", &self.package.dir).env("POLICY", plan.policy.to_string());
        command.envs(plan.variables.iter().map(|(name, value)| (name, value)));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(Agent(Buyer::start_command(command).await?))
    }
}

impl Agent {
    /// The address that pays.
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// `GET`s a URL, and pays for it if it must.
    ///
    /// # Errors
    /// If the program ends. What the agent says of the request is in the answer.
    pub async fn get(&self, url: &str) -> Result<Fetched> {
        self.pay(json!({ "url": url })).await
    }

    /// Makes a request, as `agent.mjs` tells, and pays for it if it must.
    ///
    /// # Errors
    /// As [`Agent::get`].
    pub async fn pay(&self, mut purchase: Value) -> Result<Fetched> {
        purchase["op"] = "pay".into();
        Ok(Fetched(self.0.command(purchase).await?))
    }

    /// Makes many requests at once.
    ///
    /// # Errors
    /// As [`Agent::get`].
    pub async fn pay_all(&self, purchases: &[Value]) -> Result<Vec<Fetched>> {
        let answer = self.0.command(json!({ "op": "pay-all", "purchases": purchases })).await?;
        Ok(answer["answers"].as_array().context("no answers")?.iter().cloned().map(Fetched).collect())
    }

    /// Calls a method of the agent.
    ///
    /// # Errors
    /// As [`Agent::get`].
    pub async fn call(&self, method: &str, arguments: Value) -> Result<Value> {
        self.0.command(json!({ "op": method, "arguments": arguments })).await
    }

    /// What was used of the policy's first budget, as the policy counts.
    ///
    /// # Errors
    /// If the agent says nothing of it.
    pub async fn used(&self) -> Result<String> {
        let left = self.call("left", json!([])).await?;
        Ok(left[0]["used"].as_str().with_context(|| format!("{left}"))?.to_owned())
    }

    /// What happened since the last time.
    ///
    /// # Errors
    /// As [`Agent::get`].
    pub async fn events(&self) -> Result<Vec<Value>> {
        Ok(self.call("events", json!([])).await?.as_array().cloned().unwrap_or_default())
    }

    /// Ends the program at once, as a machine that fails does.
    ///
    /// # Errors
    /// If it has ended.
    pub fn kill(&self) -> Result<()> {
        self.0.kill()
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Fetched(pub Value);

impl Fetched {
    /// The status; 0 if the agent gave no response.
    pub fn status(&self) -> u16 {
        self.0["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0)
    }

    /// The code of the error; empty if there was none.
    pub fn code(&self) -> &str {
        self.0["error"]["code"].as_str().unwrap_or_default()
    }

    /// What was paid for it.
    pub fn payment(&self) -> &Value {
        &self.0["payment"]
    }

    /// Payments that were sent, by their text.
    pub fn payments(&self) -> Vec<&str> {
        let requests = self.0["requests"].as_array().into_iter().flatten();
        requests.filter_map(|request| request["payment"].as_str()).collect()
    }
}

/// A server of others. It ends when this is dropped.
#[derive(Debug)]
pub struct Seller {
    _process: Process,
    /// Where it is: `http://127.0.0.1:<port>`.
    pub origin: String,
    _dir: TempDir,
}

impl Seller {
    /// Starts a server that sells by an official middleware: a kind of `sellers.mjs`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(tools: &Tools, kind: &str, facilitator: &Facilitator) -> Result<Self> {
        let mut command = tools.node("sellers.mjs");
        command.arg(kind).env("FACILITATOR", facilitator.url()).env("PAYEE", PAYEE.address).env("NETWORK", NETWORK);
        Self::serve(kind, command).await
    }

    /// Starts a server that means ill: `hostile.mjs`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn hostile(tools: &Tools) -> Result<Self> {
        let mut command = tools.node("hostile.mjs");
        command.env("PAYEE", PAYEE.address).env("ASSET", TOKEN).env("NETWORK", NETWORK);
        Self::serve("hostile", command).await
    }

    async fn serve(name: &str, mut command: Command) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-seller-").tempdir()?;
        let port = free_port()?;
        command.env("PORT", port.to_string());
        let log: PathBuf = dir.path().join("log");
        let process = Process::spawn(name, command, &log, Streams::Log)?;
        wait_for(name, Duration::from_secs(60), || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await
        .with_context(|| process.log_tail(20))?;
        Ok(Self { _process: process, origin: format!("http://127.0.0.1:{port}"), _dir: dir })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}
