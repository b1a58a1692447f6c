//! workerd, the runtime of Cloudflare's workers, with workers in it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::envoy_config::{FACILITATOR, RPC};
use crate::package::Package;
use crate::process::{Process, Streams, free_port};
use crate::stack::Scene;
use crate::tools::{WorkerTools, run, workspace_dir};
use crate::{Buyer, Chain, Facilitator, Tools, Upstream, accounts};

/// What all workers of the rig are run at.
const COMPATIBILITY_DATE: &str = "2026-11-01";
/// The binding of whatever stands behind a gate.
const UPSTREAM: &str = "upstream";

/// Modules of Node that workerd has, by their names with `node:` alone.
const NODE_MODULES: [&str; 10] =
    ["assert", "buffer", "crypto", "events", "fs", "path", "stream", "string_decoder", "url", "util"];

/// How workerd is to run: one worker, on as many ports as it has copies.
#[derive(Clone, Debug)]
pub struct Config {
    /// The package that the source imports; `None` if that is a matter of the folder that the source lies in.
    package: Option<PathBuf>,
    /// The worker's source; what it imports is bundled with it.
    pub source: PathBuf,
    /// The first copy's port.
    pub port: u16,
    /// Ports of all copies. Each is a worker of its own; all are bound to one namespace of Durable Objects.
    pub ports: Vec<u16>,
    /// Bindings to other services: name, and the port on this machine.
    services: Vec<(String, u16)>,
    /// Bindings that hold text.
    texts: Vec<(String, String)>,
    /// Bindings that hold JSON.
    values: Vec<(String, Value)>,
    /// Flags besides those that all workers of the rig have.
    pub flags: Vec<String>,
    /// Where Durable Objects are kept; in a folder of this workerd's own if absent.
    pub disk: Option<PathBuf>,
}

impl Config {
    /// The rig's own worker, `workers/gate.mjs`: a gate with this policy in front of what listens on a port.
    ///
    /// # Errors
    /// If no port is free.
    pub fn gate(package: &Package, policy: &Value, upstream: u16) -> Result<Self> {
        let source = workspace_dir().join("test-harness/workers/gate.mjs");
        let config = Self::of(package, source)?;
        Ok(config.service(UPSTREAM, upstream).value("POLICY", policy.clone()))
    }

    /// A worker that imports the package.
    ///
    /// # Errors
    /// If no port is free.
    pub fn of(package: &Package, source: PathBuf) -> Result<Self> {
        Ok(Self { package: Some(package.dir.clone()), ..Self::new(source)? })
    }

    /// A worker whose imports are found from where its source lies.
    ///
    /// # Errors
    /// If no port is free.
    pub fn new(source: PathBuf) -> Result<Self> {
        let port = free_port()?;
        Ok(Self {
            package: None,
            source,
            port,
            ports: vec![port],
            services: Vec::new(),
            texts: Vec::new(),
            values: Vec::new(),
            flags: Vec::new(),
            disk: None,
        })
    }

    /// With a folder for Durable Objects that outlives this workerd.
    #[must_use]
    pub fn disk(mut self, folder: &Path) -> Self {
        self.disk = Some(folder.to_owned());
        self
    }

    /// With another flag of the runtime.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// With another policy.
    #[must_use]
    pub fn policy(self, policy: Value) -> Self {
        self.value("POLICY", policy)
    }

    /// With another copy of the worker, on a port of its own.
    ///
    /// # Errors
    /// If no port is free.
    pub fn copy(mut self) -> Result<Self> {
        self.ports.push(free_port()?);
        Ok(self)
    }

    /// With a binding to what listens on a port of this machine. Requests keep the host that they are made for.
    #[must_use]
    pub fn service(mut self, name: &str, port: u16) -> Self {
        self.services.push((name.to_owned(), port));
        self
    }

    /// With a binding that holds text.
    #[must_use]
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.texts.push((name.to_owned(), text.to_owned()));
        self
    }

    /// With a binding that holds JSON, instead of one of the same name.
    #[must_use]
    pub fn value(mut self, name: &str, value: Value) -> Self {
        self.values.retain(|(there, _)| there != name);
        self.values.push((name.to_owned(), value));
        self
    }

    /// The URL of the first copy.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn write(&self, modules: &[String], disk: &Path) -> Result<String> {
        let mut text = String::from("using Workerd = import \"/workerd/workerd.capnp\";\n\n");
        let mut services = String::new();
        let mut sockets = String::new();
        for (index, port) in self.ports.iter().enumerate() {
            writeln!(services, "    (name = \"worker{index}\", worker = .worker{index}),")?;
            writeln!(
                sockets,
                "    (name = \"http{index}\", address = \"127.0.0.1:{port}\", http = (), service = \"worker{index}\"),"
            )?;
        }
        for (name, port) in &self.services {
            writeln!(services, "    (name = \"{name}\", external = (address = \"127.0.0.1:{port}\", http = ())),")?;
        }
        // Tests reach their own services on this machine.
        services.push_str("    (name = \"internet\", network = (allow = [\"public\", \"private\"])),\n");
        // Objects on SQLite need a disk, also where they are forgotten.
        fs::create_dir_all(disk)?;
        writeln!(services, "    (name = \"disk\", disk = (path = {}, writable = true)),", quoted(disk.display()))?;
        write!(
            text,
            "const config :Workerd.Config = (\n  services = [\n{services}  ],\n  sockets = [\n{sockets}  ]\n);\n"
        )?;
        for index in 0..self.ports.len() {
            let mut bindings = String::new();
            let of = if index == 0 { "" } else { ", serviceName = \"worker0\"" };
            writeln!(
                bindings,
                "    (name = \"LEDGER\", durableObjectNamespace = (className = \"LedgerObject\"{of})),"
            )?;
            for (name, _) in &self.services {
                writeln!(bindings, "    (name = \"{name}\", service = \"{name}\"),")?;
            }
            for (name, value) in &self.texts {
                writeln!(bindings, "    (name = \"{name}\", text = {}),", quoted(value))?;
            }
            for (name, value) in &self.values {
                writeln!(bindings, "    (name = \"{name}\", json = {}),", quoted(value))?;
            }
            let flags: Vec<String> = ["enable_request_signal"]
                .into_iter()
                .chain(self.flags.iter().map(String::as_str))
                .map(|flag| format!("\"{flag}\""))
                .collect();
            let objects = if index == 0 {
                "  durableObjectNamespaces = [(className = \"LedgerObject\", uniqueKey = \"farebox\", enableSql = true)],\n  durableObjectStorage = (localDisk = \"disk\"),\n"
                    .to_owned()
            } else {
                String::new()
            };
            write!(
                text,
                "\nconst worker{index} :Workerd.Worker = (\n  modules = [\n{}  ],\n  compatibilityDate = \"{COMPATIBILITY_DATE}\",\n  compatibilityFlags = [{}],\n{objects}  bindings = [\n{bindings}  ]\n);\n",
                modules.concat(),
                flags.join(", ")
            )?;
        }
        Ok(text)
    }
}

/// A text of Cap'n Proto's language, whose escapes are C's.
fn quoted(text: impl std::fmt::Display) -> String {
    format!("\"{}\"", text.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A running workerd. It ends when this is dropped.
#[derive(Debug)]
pub struct Workerd {
    process: Process,
    /// Bytes of the bundled and minified JavaScript, without WebAssembly, and as gzip.
    pub script: (u64, u64),
    _dir: TempDir,
}

impl Workerd {
    /// Bundles the worker, starts workerd, and waits until it answers.
    ///
    /// # Errors
    /// If the worker does not bundle, or workerd does not serve; with its log.
    pub async fn start(workers: &WorkerTools, config: Config) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-workerd-").tempdir()?;
        let modules = bundle(workers, &config, dir.path())?;
        let bundled = dir.path().join("out/worker.js");
        let script = (fs::metadata(&bundled)?.len(), crate::package::gzip(&bundled)?);
        let file = dir.path().join("config.capnp");
        let disk = config.disk.clone().unwrap_or_else(|| dir.path().join("objects"));
        fs::write(&file, config.write(&modules, &disk)?)?;
        let mut command = Command::new(workers.workerd());
        command.args(["serve", "--experimental"]).arg(&file).current_dir(dir.path());
        let mut process = Process::spawn("workerd", command, &dir.path().join("workerd.log"), Streams::Log)?;
        let port = *config.ports.last().context("no copies")?;
        process
            .wait_until(Duration::from_secs(30), || async move {
                tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
            })
            .await?;
        Ok(Self { process, script, _dir: dir })
    }

    /// Everything that workerd and its workers have logged.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Makes one module of the worker and what it imports, as a seller's tools would; WebAssembly stays beside it. Gives
/// the lines that name the modules.
fn bundle(workers: &WorkerTools, config: &Config, dir: &Path) -> Result<Vec<String>> {
    let out = dir.join("out");
    let mut source = config.source.clone();
    if let Some(package) = &config.package {
        let packages = dir.join("node_modules");
        fs::create_dir_all(&packages)?;
        std::os::unix::fs::symlink(package, packages.join("farebox"))?;
        source = dir.join(config.source.file_name().context("no source")?);
        fs::copy(&config.source, &source).with_context(|| format!("cannot read {}", config.source.display()))?;
    }
    let mut esbuild = workers.bin("esbuild");
    esbuild
        .arg(&source)
        .args(["--bundle", "--format=esm", "--minify", "--conditions=workerd,worker", "--loader:.wasm=copy"])
        .args(["--external:cloudflare:*", "--external:node:*", "--log-level=warning"])
        .arg(format!("--outdir={}", out.display()))
        .args(["--entry-names=worker", "--asset-names=[name]"])
        // Other people's packages name Node's modules the old way.
        .args(NODE_MODULES.map(|name| format!("--alias:{name}=node:{name}")))
        .env("NODE_PATH", workers.dir().join("node_modules"))
        .current_dir(dir);
    run(&mut esbuild, "esbuild")?;
    // The first module is the worker.
    let mut modules = vec!["    (name = \"worker.js\", esModule = embed \"out/worker.js\"),\n".to_owned()];
    for file in fs::read_dir(&out)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wasm") {
            modules.push(format!("    (name = \"{name}\", wasm = embed \"out/{name}\"),\n"));
        }
    }
    Ok(modules)
}

/// A whole stack with a gate in workerd instead of a proxy. Everything in it ends when it is dropped.
pub struct WorkerStack {
    scene: Scene,
    /// workerd with the gate.
    pub workerd: Workerd,
    /// What it was configured with.
    pub config: Config,
}

impl WorkerStack {
    /// Starts everything and waits until it is ready. The policy is made from the origin that clients use.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn start(
        tools: &Tools,
        workers: &WorkerTools,
        package: &Package,
        policy: fn(&str) -> Value,
        adjust: impl FnOnce(Config) -> Result<Config>,
    ) -> Result<Self> {
        let chain = Chain::start(tools).await?;
        let facilitator = Facilitator::start(tools, &chain).await?;
        let upstream = Upstream::start()?;
        let config = Config::gate(package, &Value::Null, upstream.port())?
            .service(FACILITATOR, facilitator.port())
            .service(RPC, chain.port());
        let origin = config.url();
        let policy = policy(&origin);
        let config = adjust(config.policy(policy))?;
        let workerd = Workerd::start(workers, config.clone()).await?;
        let buyer = Buyer::start(tools, accounts::BUYER).await?;
        let scene = Scene { chain, facilitator, upstream, buyer, origin };
        Ok(Self { scene, workerd, config })
    }

    /// What the gate counted: JSON lines of [`crate::workerd`]'s worker, by metric and labels as Envoy would name them.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn counted(&self, name: &str) -> Result<u64> {
        let log = self.workerd.log()?;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter(|line| line["counted"] == name).filter_map(|line| line["value"].as_u64()).sum())
    }
}

impl std::ops::Deref for WorkerStack {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}
