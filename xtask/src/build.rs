//! `cargo xtask build`: the filter as it ships.

use anyhow::{Context, Result};
use rig::Tools;
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints where the filter is and how large.
pub(crate) fn run() -> Result<ExitCode> {
    let tools = tools()?;
    let built = filter(&tools)?;
    let shipped = rig::tools::workspace_dir().join("target/farebox.wasm");
    std::fs::copy(&built, &shipped).with_context(|| format!("cannot write {}", shipped.display()))?;
    println!("target/farebox.wasm: {} bytes", size(&built)?);
    Ok(ExitCode::SUCCESS)
}

/// The tools, with one line for each step that takes time.
pub(crate) fn tools() -> Result<Tools> {
    Tools::ensure(&|step| eprintln!("· {step}"))
}

/// The filter, built if it is not current.
pub(crate) fn filter(tools: &Tools) -> Result<PathBuf> {
    eprintln!("· building the filter");
    rig::wasm::build(tools, "farebox-filter", &[])
}

/// Bytes of a file.
pub(crate) fn size(file: &std::path::Path) -> Result<u64> {
    Ok(std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len())
}
