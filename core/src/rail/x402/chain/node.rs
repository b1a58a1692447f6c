//! Asking a node.

use super::at;
use crate::host::{Answer, Callout, Event, Host};
use crate::json;
use crate::policy::Rpc;
use serde_json::{Value, json};
use std::fmt;

/// A node of the payment's chain.
pub(super) struct Node<'a, H: Host> {
    pub(super) host: &'a H,
    pub(super) rpc: &'a Rpc,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The node could not be asked, or its answer makes no sense.
    Unusable(String),
    /// It says that it will or can not answer this.
    Refused(String),
}

impl Trouble {
    pub(super) fn senseless(what: &str) -> Self {
        Self::Unusable(what.to_owned())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unusable(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
}

/// The blocks that are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The first.
    pub(super) first: u128,
    /// The last that has the confirmations that the policy asks for.
    pub(super) last: u128,
    /// The last one's time (Unix seconds).
    pub(super) time: u128,
}

impl<H: Host> Node<'_, H> {
    /// The blocks to look at now.
    pub(super) async fn window(&self) -> Result<Window, Trouble> {
        let mut block = self.block("latest").await?;
        let last = quantity(at(&block, "/number"))?.saturating_sub(u128::from(self.rpc.confirmations));
        if self.rpc.confirmations > 0 {
            block = self.block(&format!("{last:#x}")).await?;
        }
        let time = quantity(at(&block, "/timestamp"))?;
        Ok(Window { first: last.saturating_sub(u128::from(self.rpc.blocks)), last, time })
    }

    async fn block(&self, name: &str) -> Result<Value, Trouble> {
        self.call("eth_getBlockByNumber", json!([name, false])).await
    }

    /// The logs of a contract in these blocks, both included, that fit `topics`.
    pub(super) async fn logs(
        &self,
        contract: &str,
        (first, last): (u128, u128),
        topics: Value,
    ) -> Result<Vec<Value>, Trouble> {
        let filter = json!({
            "address": contract,
            "fromBlock": format!("{first:#x}"),
            "toBlock": format!("{last:#x}"),
            "topics": topics,
        });
        match self.call("eth_getLogs", json!([filter])).await? {
            Value::Array(logs) => Ok(logs),
            _ => Err(Trouble::senseless("eth_getLogs: not a list")),
        }
    }

    /// What a function of a contract returns for `data` at the end of a block.
    pub(super) async fn read(&self, contract: &str, data: &str, block: u128) -> Result<Value, Trouble> {
        self.call("eth_call", json!([{ "to": contract, "data": data }, format!("{block:#x}")])).await
    }

    pub(super) async fn call(&self, method: &str, params: Value) -> Result<Value, Trouble> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let rpc = self.rpc;
        let request = Callout {
            cluster: rpc.cluster.clone(),
            method: "POST",
            scheme: rpc.scheme.clone(),
            authority: rpc.authority.clone(),
            path: rpc.path.clone(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
            timeout_millis: rpc.timeout_seconds.saturating_mul(1000),
        };
        let started = self.host.now_millis();
        let answer = self.host.callout(request).await;
        let result = match answer {
            Ok(Answer { status: 200, body, .. }) => match json::parse(&body, Answer::MAX_BODY, 32) {
                Ok(answer) => result(method, answer),
                Err(error) => Err(Trouble::Unusable(format!("{method}: {error}"))),
            },
            Ok(answer) => Err(Trouble::Unusable(format!("{method}: status {}", answer.status))),
            Err(error) => Err(Trouble::Unusable(format!("{method}: {error:?}"))),
        };
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        let millis = self.host.now_millis().saturating_sub(started);
        self.host.event(&Event::Callout { kind: "rpc", outcome, millis });
        result
    }
}

fn result(method: &str, mut answer: Value) -> Result<Value, Trouble> {
    if let Some(result) = answer.get_mut("result").filter(|result| !result.is_null()) {
        return Ok(result.take());
    }
    if answer.get("error").is_some_and(Value::is_object) {
        let said: String = at(&answer, "/error/message").as_str().unwrap_or_default().chars().take(200).collect();
        return Err(Trouble::Refused(format!("{method}: the node says {said:?}")));
    }
    Err(Trouble::Unusable(format!("{method}: no result")))
}

/// A number as JSON-RPC writes it.
pub(super) fn quantity(value: &Value) -> Result<u128, Trouble> {
    let wrong = || Trouble::senseless("not a quantity");
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).ok_or_else(wrong)?;
    match digits.trim_start_matches('0') {
        "" if !digits.is_empty() => Ok(0),
        digits => u128::from_str_radix(digits, 16).map_err(|_| wrong()),
    }
}
