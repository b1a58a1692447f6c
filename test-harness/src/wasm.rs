//! Builds the workspace's filters as Envoy loads them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::tools::{Tools, WASM_TARGET, lock, run, workspace_dir};

/// Builds a `cdylib` crate of the workspace with the shipped profile and gives the path of a copy that later builds
/// with other features do not replace. A build that is current costs what Cargo takes to see that.
///
/// # Errors
/// If it does not compile; the message carries what the compiler said.
pub fn build(tools: &Tools, package: &str, features: &[&str]) -> Result<PathBuf> {
    let _lock = lock(tools.dir(), "wasm", &|_| {})?;
    let built = compile(package, features, "wasm", WASM_TARGET)?;

    let copies = tools.dir().join("wasm");
    fs::create_dir_all(&copies)?;
    let mut name = package.to_owned();
    features.iter().for_each(|feature| name = format!("{name}+{feature}"));
    let copy = copies.join(format!("{name}.wasm"));
    let code = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(&copy).is_ok_and(|old| old == code) {
        return Ok(copy);
    }
    // An Envoy that is being started elsewhere reads a whole file.
    let part = copies.join(format!("{name}.part"));
    fs::write(&part, code)?;
    fs::rename(part, &copy)?;
    Ok(copy)
}

/// Has Cargo build a `cdylib` crate, and gives the path of what it made, which the next build replaces.
pub(crate) fn compile(package: &str, features: &[&str], profile: &str, target: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace_dir())
        .args(["build", "--quiet", "--locked", "--package", package, "--profile", profile, "--target", target])
        .args(["--message-format", "json-render-diagnostics", "--features", &features.join(",")])
        // Flags that are meant for the host; the target has its own in .cargo/config.toml.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let messages = run(&mut cargo, &format!("the build of {package}"))?;
    messages.lines().find_map(wasm_artifact).with_context(|| format!("{package} made no .wasm file"))
}

fn wasm_artifact(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let files = message["filenames"].as_array()?;
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}
