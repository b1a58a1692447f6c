//! `cargo xtask build`: the filter and the npm package as they ship.

use anyhow::{Context, Result};
use rig::Tools;
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints where everything is and how large.
pub(crate) fn run() -> Result<ExitCode> {
    let tools = tools()?;
    let built = filter(&tools)?;
    let shipped = rig::tools::workspace_dir().join("target/farebox.wasm");
    std::fs::copy(&built, &shipped).with_context(|| format!("cannot write {}", shipped.display()))?;
    println!("target/farebox.wasm: {} bytes", size(&built)?);
    let package = package(&tools)?;
    println!("{}: {} bytes", named(&package.tarball), size(&package.tarball)?);
    for entry in rig::package::ENTRIES {
        let module = package.module(entry);
        println!(
            "  farebox/{entry}: {} bytes of WebAssembly, {} as gzip",
            size(&module)?,
            rig::package::gzip(&module)?
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The npm package, made if it is not current.
pub(crate) fn package(tools: &Tools) -> Result<rig::package::Package> {
    let workers = tools.workers(&|step| eprintln!("· {step}"))?;
    eprintln!("· making the npm package");
    rig::package::build(tools, &workers)
}

/// A file by its path in the workspace.
fn named(file: &std::path::Path) -> String {
    file.strip_prefix(rig::tools::workspace_dir()).unwrap_or(file).display().to_string()
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
