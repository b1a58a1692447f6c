//! The npm package as its users would use it: installed from the file that npm publishes into empty projects, with the
//! snippets of its README as they are written there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::accounts::BUYER;
use crate::agent::Seller;
use crate::package::{Package, gzip};
use crate::process::{Process, Streams, free_port, wait_for};
use crate::scenario::Got;
use crate::tools::{WorkerTools, run, workspace_dir};
use crate::workerd::Config;
use crate::{Chain, Facilitator, Tools, Workerd, scenario};

/// What the README's port is written as.
const PORT: &str = "8787";
/// What is installed beside the package, as the rig has pinned it.
const HONO: [&str; 2] = ["hono", "@hono/node-server"];

/// What came of the snippets.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    /// Bytes of the file that npm publishes.
    pub tarball: u64,
    /// Bytes of the gate's WebAssembly, and as gzip.
    pub module: (u64, u64),
    /// Bytes of the JavaScript of the Worker that the README has, bundled and minified, and as gzip.
    pub script: (u64, u64),
    /// What the README's Worker answers in workerd: unpaid, free.
    pub worker: [String; 2],
    /// What the README's Hono application answers on Node.
    pub hono: [String; 2],
    /// What the README's page shows, built by Vite.
    pub page: String,
    /// Whether Vite shipped the module as it is.
    pub shipped: bool,
}

impl Installed {
    /// Whether everything ran as written.
    pub fn holds(&self) -> bool {
        self.worker == ["402 payment_required", "200 "]
            && self.hono == ["402 payment_required", "404 "]
            && self.page == "402 payment_required"
            && self.shipped
    }
}

/// Installs the package into a Worker project, a Hono application and a Vite project, and runs what the README has.
///
/// # Errors
/// If something does not install, bundle, or start.
pub async fn installed(workers: &WorkerTools, package: &Package) -> Result<Installed> {
    let readme = fs::read_to_string(workspace_dir().join("js/README.md"))?;
    let files = snippets(&readme);
    let mut figures = Installed {
        tarball: fs::metadata(&package.tarball)?.len(),
        module: (fs::metadata(package.module("gate"))?.len(), gzip(&package.module("gate"))?),
        ..Installed::default()
    };

    let project = project(package, &files, &["worker.js", "policy.json"], &[], PORT)?;
    let config = Config::new(project.path().join("worker.js"))?;
    let (port, workerd) = (config.port, Workerd::start(workers, config).await?);
    figures.worker = [answer(port, "/report", PORT).await?, answer(port, "/health", PORT).await?];
    figures.script = workerd.script;
    drop(workerd);

    let port = free_port()?;
    let project =
        self::project(package, &files, &["server.mjs", "policy.json"], &pinned(workers, &HONO)?, &port.to_string())?;
    let mut command = Command::new("node");
    command.arg("server.mjs").current_dir(project.path());
    let server = Process::spawn("Hono", command, &project.path().join("log"), Streams::Log)?;
    wait_for("Hono", Duration::from_secs(20), || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await
    .with_context(|| server.log_tail(20))?;
    let host = port.to_string();
    figures.hono = [answer(port, "/report", &host).await?, answer(port, "/health", &host).await?];
    drop(server);

    let project = self::project(package, &files, &["main.js", "policy.json"], &[], PORT)?;
    fs::write(project.path().join("index.html"), "<body><script type=module src=/main.js></script></body>")?;
    run(workers.bin("vite").args(["build", "--logLevel", "error"]).current_dir(project.path()), "Vite")?;
    let assets = project.path().join("dist/assets");
    let find = |kind: &str| {
        fs::read_dir(&assets)?
            .filter_map(|file| Some(file.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == kind))
            .with_context(|| format!("Vite made no .{kind}"))
    };
    figures.shipped = fs::read(find("wasm")?)? == fs::read(package.module("gate"))?;
    figures.page = page(project.path(), &find("js")?)?;
    Ok(figures)
}

/// What came of the agent's snippets.
#[derive(Clone, Debug, Default)]
pub struct AgentInstalled {
    /// Bytes of the agent's WebAssembly, and as gzip.
    pub module: (u64, u64),
    /// Bytes of the JavaScript of the README's program for Node, bundled and minified, and as gzip.
    pub script: (u64, u64),
    /// What the README's program for Node prints: the first time, when its budgets are filled, and the next.
    pub node: [Vec<String>; 2],
    /// What the types say of it: empty if nothing is wrong.
    pub types: String,
}

impl AgentInstalled {
    /// Whether everything ran as written.
    pub fn holds(&self) -> bool {
        let paid = ["200 {\"message\":\"paid\"}", "paid 0.01 usd"];
        self.types.is_empty() && self.node.iter().all(|printed| printed == &paid)
    }
}

/// Installs the package into an empty project, and runs what the README has of the agent, at a server that sells by
/// `@x402/hono`.
///
/// # Errors
/// If something does not install, or start.
pub async fn agent_installed(tools: &Tools, workers: &WorkerTools, package: &Package) -> Result<AgentInstalled> {
    let readme = fs::read_to_string(workspace_dir().join("js/README.md"))?;
    let files = snippets(&readme);
    let mut figures = AgentInstalled {
        module: (fs::metadata(package.module("agent"))?.len(), gzip(&package.module("agent"))?),
        ..AgentInstalled::default()
    };
    let chain = Chain::start(tools).await?;
    let facilitator = Facilitator::start(tools, &chain).await?;
    let seller = Seller::start(tools, "hono", &facilitator).await?;
    let port = seller.origin.rsplit(':').next().unwrap_or_default();
    let project = project(package, &files, &["agent.mjs", "spending.json"], &[], port)?;
    for (printed, argument) in figures.node.iter_mut().zip(["begin", "again"]) {
        let mut node = Command::new("node");
        node.args(["agent.mjs", argument]).env("AGENT_KEY", BUYER.key).current_dir(project.path());
        *printed = run(&mut node, "the README's agent")?.lines().map(str::to_owned).collect();
    }
    let bundle = project.path().join("bundle.js");
    let mut esbuild = workers.bin("esbuild");
    esbuild.args(["agent.mjs", "--bundle", "--format=esm", "--minify", "--platform=node", "--log-level=warning"]);
    run(esbuild.arg(format!("--outfile={}", bundle.display())).current_dir(project.path()), "esbuild")?;
    figures.script = (fs::metadata(&bundle)?.len(), gzip(&bundle)?);
    // The declarations are good for whoever checks types strictly.
    fs::write(project.path().join("typed.mts"), TYPED)?;
    let mut typescript = workers.bin("tsc");
    typescript.args(["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "typed.mts"]);
    figures.types = run(typescript.current_dir(project.path()), "the TypeScript compiler")
        .map_or_else(|error| format!("{error:#}"), |_| String::new());
    Ok(figures)
}

/// A program that uses much of the agent's interface.
const TYPED: &str = r#"
    import { createAgent, detailsOf, memoryStore, paymentOf, sessionKey, type Agent, type AgentEvent } from "farebox/agent";
    import { fileStore } from "farebox/agent/file";
    const heard: AgentEvent[] = [];
    const agent: Agent = createAgent({
        policy: {},
        wallet: sessionKey(new Uint8Array(32)),
        store: Math.random() > 2 ? fileStore("./counters") : memoryStore(),
        onEvent: (event) => heard.push(event),
        ask: async (question) => question.needs.length > 0,
    });
    const fetched: typeof fetch = agent.fetch;
    const response = await fetched(new Request("http://localhost/"), { method: "POST", body: "x" });
    const charged: string | undefined = paymentOf(response)?.charged;
    for (const event of heard) if (event.type === "decision") console.log(event.decision.explanation.offers[0]?.verdicts);
    console.log(charged, detailsOf(response).receipts[0]?.good, (await agent.quote("http://localhost/")).price?.amount);
"#;

/// Files by name: fences whose first line names one.
fn snippets(readme: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for fence in readme.split("\n```").skip(1).step_by(2) {
        if let Some((info, text)) = fence.split_once('\n')
            && let Some((_, name)) = info.split_once(' ')
        {
            files.insert(name.to_owned(), format!("{text}\n"));
        }
    }
    files
}

/// An empty project with the package installed, and some of the README's files.
fn project(
    package: &Package,
    files: &BTreeMap<String, String>,
    wanted: &[&str],
    beside: &[String],
    port: &str,
) -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("farebox-project-").tempdir()?;
    fs::write(dir.path().join("package.json"), r#"{ "private": true, "type": "module" }"#)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
    npm.arg(&package.tarball).args(beside).current_dir(dir.path());
    run(&mut npm, "npm install")?;
    for name in wanted {
        let text = files.get(*name).with_context(|| format!("js/README.md has no {name}"))?;
        fs::write(dir.path().join(name), text.replace(PORT, port))?;
    }
    Ok(dir)
}

/// Packages at the rig's versions.
fn pinned(workers: &WorkerTools, names: &[&str]) -> Result<Vec<String>> {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(workers.dir().join("package.json"))?)?;
    let version = |name: &&str| {
        let version = manifest["dependencies"][name].as_str().with_context(|| format!("{name} is not pinned"))?;
        Ok(format!("{name}@{version}"))
    };
    names.iter().map(version).collect()
}

/// Status and problem code of a request to a port, as if to the port that the README has.
async fn answer(port: u16, path: &str, host: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let got: Got = scenario::request("GET", &url, &[("host", &format!("localhost:{host}"))]).await?;
    ensure!((got.status == 402) == got.headers.contains_key("payment-required"), "{got:?}");
    Ok(format!("{} {}", got.status, got.code()))
}

/// What a page shows that Vite has built, in Node with as much of a browser as the page asks for.
fn page(project: &Path, script: &Path) -> Result<String> {
    let run_page = r#"
        import { readFileSync } from "node:fs";
        const [script, dist] = process.argv.slice(2);
        const nothing = new Proxy(() => nothing, { get: (_, name) => (name === "supports" ? () => true : nothing) });
        const body = {};
        globalThis.document = new Proxy({ body }, { get: (it, name) => it[name] ?? nothing });
        const fetched = [];
        globalThis.fetch = async (input) => {
            const path = String(input.url ?? input);
            fetched.push(path);
            if (!path.endsWith(".wasm")) throw new Error("there is no network");
            return new Response(readFileSync(dist + path));
        };
        await import(script);
        if (fetched[0] === undefined || !fetched[0].endsWith(".wasm")) throw new Error("fetched " + fetched);
        const [status, ...json] = body.textContent.split(" ");
        console.log(status, JSON.parse(json.join(" ")).code);
    "#;
    let file = project.join("run-page.mjs");
    fs::write(&file, run_page)?;
    let mut node = Command::new("node");
    node.arg(&file).arg(script).arg(project.join("dist"));
    let shown = run(&mut node, "the page that Vite built")?;
    match shown.lines().last() {
        Some(line) => Ok(line.to_owned()),
        None => bail!("the page shows nothing"),
    }
}

/// Checks, builds and tests `examples/worker` in a copy, with the package and the tools of the rig.
///
/// # Errors
/// If a step fails; with what it printed.
pub fn example(workers: &WorkerTools, package: &Package) -> Result<String> {
    let source = workspace_dir().join("examples/worker");
    let dir = tempfile::Builder::new().prefix("farebox-example-").tempdir()?;
    let project: PathBuf = dir.path().to_owned();
    for part in ["src", "test"] {
        crate::package::copy_dir(&source.join(part), &project.join(part))?;
    }
    for file in ["package.json", "policy.json", "tsconfig.json", "worker.capnp", "wrangler.jsonc"] {
        fs::copy(source.join(file), project.join(file))?;
    }
    link_packages(workers, package, &project)?;
    for script in ["check", "build", "test"] {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", script]).env("WORKERD", workers.workerd()).current_dir(&project);
        let printed = run(&mut npm, &format!("npm run {script}, in examples/worker"))?;
        if script == "test" {
            return Ok(printed);
        }
    }
    bail!("no tests")
}

/// Runs the tests of a script of `workers/`, on Node, with the package and the tools of the rig.
///
/// # Errors
/// If one fails; with what was printed.
pub fn on_node(workers: &WorkerTools, package: &Package, script: &str) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("farebox-node-").tempdir()?;
    link_packages(workers, package, dir.path())?;
    fs::copy(workspace_dir().join("test-harness/workers").join(script), dir.path().join(script))?;
    let mut node = Command::new("node");
    node.args(["--no-warnings", "--test", "--test-reporter=spec", script]).current_dir(dir.path());
    run(&mut node, "the tests on Node")
}

/// Has whoever checks types strictly compile programs that use the gate on Node: one without the types of browsers, and one
/// with Hono, whose own need them.
///
/// # Errors
/// If one does not compile; with what the compiler said.
pub fn types_on_node(workers: &WorkerTools, package: &Package) -> Result<()> {
    const HONO: [&str; 2] = ["--lib", "es2023,dom,dom.iterable"];
    let dir = tempfile::Builder::new().prefix("farebox-types-").tempdir()?;
    link_packages(workers, package, dir.path())?;
    fs::write(dir.path().join("package.json"), r#"{ "private": true, "type": "module" }"#)?;
    for (program, text, more) in [("gate.mts", TYPED_GATE, ["--lib", "es2023"]), ("hono.mts", TYPED_HONO, HONO)] {
        fs::write(dir.path().join(program), text)?;
        let mut typescript = workers.bin("tsc");
        typescript.args(["--noEmit", "--strict", "--module", "nodenext", "--target", "es2023", "--types", "node"]);
        run(typescript.args(more).arg(program).current_dir(dir.path()), "the TypeScript compiler")?;
    }
    Ok(())
}

/// A program that uses the gate's interface.
const TYPED_GATE: &str = r#"
    import { createGate, init, memoryStore, type Gate } from "farebox/gate";
    interface Env {
        KEY: string;
        facilitator: { fetch(request: Request): Promise<Response> };
    }
    declare const env: Env;
    await init(new URL("file:///gate.wasm"));
    const source = (request: Request) => request.headers.get("x-real-ip") ?? undefined;
    const gate: Gate = createGate({}, { store: memoryStore(), keys: env, facilitators: env, source });
    const next = (request: Request) => new Response(request.url);
    const response: Response = await gate.fetch(new Request("http://localhost/"), next, undefined, "192.0.2.1");
    console.log(response.status);
"#;

/// The gate as Hono's middleware.
const TYPED_HONO: &str = r#"
    import { getConnInfo } from "@hono/node-server/conninfo";
    import { createGate, honoMiddleware, memoryStore } from "farebox/gate";
    import { Hono } from "hono";
    const gate = createGate({}, { store: memoryStore() });
    const app = new Hono<{ Variables: { user: string } }>();
    app.use(honoMiddleware(gate));
    app.use("/paid/*", honoMiddleware(gate, { source: (c) => getConnInfo(c).remote.address }));
"#;

/// What a project would install is there already, but for the package itself.
fn link_packages(workers: &WorkerTools, package: &Package, project: &Path) -> Result<()> {
    let packages = project.join("node_modules");
    fs::create_dir(&packages)?;
    for entry in fs::read_dir(workers.dir().join("node_modules"))? {
        let entry = entry?;
        std::os::unix::fs::symlink(entry.path(), packages.join(entry.file_name()))?;
    }
    std::os::unix::fs::symlink(&package.dir, packages.join("farebox"))?;
    Ok(())
}
