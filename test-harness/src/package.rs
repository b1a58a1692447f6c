//! Makes the npm package `farebox` of the crate `js/`: Rust to WebAssembly, wasm-bindgen (through its library, at the
//! version of `Cargo.lock`), TypeScript, and the file that npm would publish.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::tools::{JS_TARGET, Tools, WorkerTools, lock, run, workspace_dir};
use crate::wasm::compile;

/// Entries of the package, each with a build of the crate of its own: the feature is its name.
pub const ENTRIES: [&str; 2] = ["gate", "agent"];

/// The most bytes of WebAssembly that an entry may have, and as gzip: a jump beyond is to be looked at.
pub fn most(entry: &str) -> (u64, u64) {
    match entry {
        "gate" => (1_500_000, 520_000),
        _ => (1_700_000, 570_000),
    }
}

/// The package as it was made.
#[derive(Clone, Debug)]
pub struct Package {
    /// The folder that npm packs.
    pub dir: PathBuf,
    /// What `npm publish` would send, and `npm install` takes.
    pub tarball: PathBuf,
}

impl Package {
    /// The WebAssembly module of an entry.
    pub fn module(&self, entry: &str) -> PathBuf {
        self.dir.join("wasm").join(format!("farebox_{entry}_bg.wasm"))
    }
}

/// Makes the package in `target/npm/`.
///
/// # Errors
/// If something does not compile; the message carries what the compiler said.
pub fn build(tools: &Tools, workers: &WorkerTools) -> Result<Package> {
    build_with(tools, workers, &[])
}

/// Makes the package with further features of the crate, for tests: beside the one that ships.
///
/// # Errors
/// As [`build`].
pub fn build_with(tools: &Tools, workers: &WorkerTools, features: &[&str]) -> Result<Package> {
    let _lock = lock(tools.dir(), "package", &|_| {})?;
    let root = workspace_dir();
    let out = root.join("target/npm").join([&["farebox"], features].concat().join("+"));
    let (dir, staged) = (out.join("package"), out.join("staged"));
    let mut modules = Vec::new();
    for entry in ENTRIES {
        let mut with = vec![entry];
        with.extend(features);
        let compiled = compile("farebox-js", &with, "js", JS_TARGET)?;
        // The next entry's build replaces the file.
        let module = out.join(format!("farebox_{entry}.wasm"));
        fs::create_dir_all(&out)?;
        fs::copy(&compiled, &module)?;
        modules.push((entry, module));
    }
    let made_from = fingerprint(&[root.join("js"), root.join("LICENSE"), out.clone()], &[&dir, &staged])?;
    let stamp = out.join("made-from");
    let tarball = out.join(format!("farebox-{}.tgz", env!("CARGO_PKG_VERSION")));
    if fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_from) && tarball.exists() {
        return Ok(Package { dir, tarball });
    }
    for fresh in [&dir, &staged] {
        if fresh.exists() {
            fs::remove_dir_all(fresh)?;
        }
        fs::create_dir_all(fresh)?;
    }
    copy_dir(&root.join("js/ts"), &staged)?;
    for file in ["tsconfig.json", "package.json"] {
        fs::copy(root.join("js").join(file), staged.join(file))?;
    }
    for (entry, module) in &modules {
        bind(module, &format!("farebox_{entry}"), &staged.join("wasm"))?;
    }
    // Declarations beside the bindings are all that the compiler wants of them.
    let mut typescript = workers.bin("tsc");
    typescript.args(["--project", "tsconfig.json", "--outDir"]).arg(&dir).current_dir(&staged);
    run(&mut typescript, "the TypeScript compiler")?;
    copy_dir(&staged.join("wasm"), &dir.join("wasm"))?;
    fs::copy(root.join("LICENSE"), dir.join("LICENSE"))?;
    fs::copy(root.join("js/README.md"), dir.join("README.md"))?;
    fs::write(dir.join("package.json"), manifest(&root.join("js/package.json"))?)?;
    let mut pack = Command::new("npm");
    pack.args(["pack", "--pack-destination"]).arg(&out).current_dir(&dir);
    run(&mut pack, "npm pack")?;
    anyhow::ensure!(tarball.exists(), "npm pack made no {}", tarball.display());
    fs::write(&stamp, made_from)?;
    Ok(Package { dir, tarball })
}

/// Bytes of a file as gzip, which is what travels.
///
/// # Errors
/// If the file cannot be read, or there is no Node.
pub fn gzip(file: &Path) -> Result<u64> {
    let script = "process.stdout.write(String(require('zlib').gzipSync(require('fs').readFileSync(process.argv[1]),{level:9}).length))";
    let mut node = Command::new("node");
    node.args(["--eval", script]).arg(file);
    Ok(run(&mut node, "node")?.trim().parse()?)
}

/// What `wasm-bindgen --target web` does.
fn bind(module: &Path, name: &str, out: &Path) -> Result<()> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name(name);
    bindgen.web(true)?.typescript(true).omit_default_module_path(true).reset_state_function(true);
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen.generate(out).with_context(|| format!("wasm-bindgen cannot bind {}", module.display()))
}

/// The manifest, at the workspace's version.
fn manifest(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: Value = serde_json::from_str(&text)?;
    let version = env!("CARGO_PKG_VERSION");
    anyhow::ensure!(manifest["version"] == version, "js/package.json is not at version {version}");
    Ok(text)
}

/// Copies a folder and what is below it.
pub(crate) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let copy = to.join(path.file_name().context("a file without a name")?);
        if path.is_dir() {
            copy_dir(&path, &copy)?;
        } else {
            fs::copy(&path, &copy)?;
        }
    }
    Ok(())
}

/// Names and a hash of the contents of all files below `paths`, but for what is below `except` and what was made.
fn fingerprint(paths: &[PathBuf], except: &[&Path]) -> Result<String> {
    let mut all = String::new();
    for path in paths {
        if path.is_dir() && !except.contains(&path.as_path()) {
            let mut files: Vec<PathBuf> =
                fs::read_dir(path)?.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
            files.sort();
            all += &fingerprint(&files, except)?;
        } else if path.is_file() && path.extension().is_none_or(|kind| kind != "rs" && kind != "tgz") {
            if path.file_name().is_some_and(|name| name == "made-from") {
                continue;
            }
            let hash = Sha256::digest(fs::read(path)?);
            writeln!(all, "{} {:?}", path.display(), hash.as_slice())?;
        }
    }
    Ok(all)
}
