//! How long the agent takes in WebAssembly on Node, besides the network.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::Tools;
use crate::package::Package;
use crate::tools::{WASM_TARGET, run, workspace_dir};

/// Medians of the whole agent, in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Pace {
    /// A request that costs nothing, at a seller that answers at once.
    pub free: i64,
    /// A quote: asked, read, decided with all reasons, told.
    pub quote: i64,
    /// A request that is paid for by EIP-3009: decided, reserved, signed, written down, sent, concluded.
    pub payment: i64,
}

/// Measures the package.
///
/// # Errors
/// If the program fails.
pub fn pace(tools: &Tools, package: &Package) -> Result<Pace> {
    let mut node = tools.node("agent-pace.mjs");
    node.env("PACKAGE", &package.dir);
    Ok(serde_json::from_str(run(&mut node, "node")?.trim())?)
}

/// Medians of the engine alone, in microseconds.
#[derive(Clone, Debug)]
pub struct EnginePace {
    /// A decision, by the number of offers.
    pub decisions: Vec<(u32, f64)>,
    /// A payment by EIP-3009, signed and checked.
    pub payment: f64,
}

/// Measures the engine: `core/examples/decision_speed.rs`, in WebAssembly on Node.
///
/// # Errors
/// If it does not build or run.
pub fn engine_pace(tools: &Tools) -> Result<EnginePace> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace_dir()).args(["build", "--quiet", "--locked", "-p", "farebox-core"]);
    cargo.args(["--example", "decision_speed", "--profile", "wasm", "--target", WASM_TARGET]);
    run(cargo.env_remove("RUSTFLAGS"), "the build of decision_speed")?;
    let built: PathBuf = ["target", WASM_TARGET, "wasm/examples/decision_speed.wasm"].iter().collect();
    let mut node = tools.node("wasi.mjs");
    let printed = run(node.arg(workspace_dir().join(built)), "node")?;
    let mut found = EnginePace { decisions: Vec::new(), payment: f64::NAN };
    for line in printed.lines() {
        let (what, value) = line.split_once(": ").with_context(|| format!("not understood: {line}"))?;
        let value: f64 = value.trim_end_matches(" µs").parse()?;
        match what.strip_prefix("decision, ").and_then(|rest| rest.split(' ').next()) {
            Some(offers) => found.decisions.push((offers.parse()?, value)),
            None => found.payment = value,
        }
    }
    Ok(found)
}
