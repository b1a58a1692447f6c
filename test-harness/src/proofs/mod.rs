//! What else the money rules are tried by, besides the matrix of [`crate::money`]. Each module has one function that
//! tries, and the figures that come of it, which say themselves whether they hold.
//!
//! | module | what is tried |
//! |---|---|
//! | [`failover`] | one of two facilitators is killed under load |
//! | [`clients`] | official clients and contract wallets pay |
//! | [`streaming`] | the first event after the settlement; a gigabyte |
//! | [`thief`] | payments rebuilt from what is public |
//! | [`tokens`] | passes, calls with tokens, delegation, revocation, credits, restarts |
//! | [`edge`] | tokens and overhead of the npm package's gate in workerd |
//! | [`agent`] | the npm package's agent pays, refuses, is killed |
//! | [`browser`] | the page of `examples/browser-agent` in Chromium |
//! | [`package`] | the npm package as its users would install it |
//! | [`host_faults`] | the proxy answers past the filter, traps, gets a new configuration |

pub mod agent;
pub mod browser;
pub mod clients;
pub mod edge;
pub mod failover;
pub mod host_faults;
pub mod package;
pub mod streaming;
pub mod thief;
pub mod tokens;

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Plan;

/// A stack with this filter and policy, and variables that the filter may read.
fn plan(filter: &Path, policy: fn(&str) -> Value, env: &[(String, String)]) -> Plan {
    env.iter().fold(Plan::new(filter, policy), |plan, (name, value)| plan.env(name, value))
}

/// Adds routes to a policy.
fn add_routes(policy: &mut Value, routes: impl IntoIterator<Item = Value>) {
    if let Some(there) = policy["routes"].as_array_mut() {
        there.extend(routes);
    }
}

/// The JSON in a header's base64.
fn decode(header: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&STANDARD.decode(header)?)?)
}

/// The header that carries some JSON.
fn encode(json: &Value) -> String {
    STANDARD.encode(json.to_string())
}

/// What a payment burns on the chain: the nonce of its authorization, of whatever kind.
fn nonce_of(payment: &str) -> Result<String> {
    let json = decode(payment)?;
    let kinds = ["/payload/authorization/nonce", "/payload/permit2Authorization/nonce"];
    let nonce = kinds.into_iter().find_map(|pointer| json.pointer(pointer)?.as_str());
    nonce.map(str::to_owned).context("a payment without a nonce")
}
