//! How long the agent takes, besides the network.

use anyhow::Result;
use serde::Deserialize;

use crate::Tools;
use crate::package::Package;
use crate::tools::run;

/// Medians, in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Pace {
    /// A request that costs nothing, at a seller that answers at once.
    pub free: i64,
    /// The decision about a request, with all its reasons: what a quote takes more than that.
    pub decision: i64,
    /// A request that is paid for by EIP-3009: decided, reserved, signed, written down, sent, concluded.
    pub payment: i64,
}

/// Measures.
///
/// # Errors
/// If the program fails.
pub fn pace(tools: &Tools, package: &Package) -> Result<Pace> {
    let mut node = tools.node("agent-pace.mjs");
    node.env("PACKAGE", &package.dir);
    Ok(serde_json::from_str(run(&mut node, "node")?.trim())?)
}
