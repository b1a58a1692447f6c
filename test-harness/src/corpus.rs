//! The decision corpus of `core/vectors/decisions/` against a real Envoy and a real workerd, and path and method encodings against every
//! kind of route.

#[path = "../../core/tests/decisions/case.rs"]
mod case;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener as StdListener, TcpStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

pub use case::{
    AUTHORITY, Case, Corpus, Hit, LONGEST_ANSWER, Policy, Reaction, Request, Response, SERVED, Script, Seen, Subject,
    TRANSACTION, Upstream, play,
};

use crate::envoy_config::{Config, Configuration, FACILITATOR, RPC, WasmFilter, read_access_log};
use crate::package::Package;
use crate::process::free_port;
use crate::stack::Stack;
use crate::tools::{WorkerTools, workspace_dir};
use crate::{Envoy, EnvoyConfig, Fault, Operation, Tools, Workerd, accounts, chain, workerd};

/// The cluster of a second facilitator.
const BACKUP: &str = "backup";
/// The longest that one exchange of a case may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest that an answer to an encoding is waited for: some are never answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a run of the corpus found.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// Cases that were played.
    pub cases: usize,
    /// Rules that they stand for.
    pub rules: usize,
    /// Cases that this host cannot play.
    pub left_out: usize,
    /// Cases that are known not to hold, with the reason.
    pub pending: Vec<String>,
    /// Cases that come out otherwise in this host, as it is written down, with the reason.
    pub differs: Vec<String>,
    /// What was not as written.
    pub wrong: Vec<String>,
}

/// The corpus.
///
/// # Errors
/// If it is not as its README says.
pub fn corpus() -> Result<Corpus> {
    Corpus::read(&workspace_dir().join("core/vectors/decisions")).map_err(|wrong| anyhow!(wrong))
}

impl Decided {
    /// Adds what was found in one case.
    pub fn add(&mut self, case: &Case, found: Vec<String>) {
        self.cases += 1;
        match &case.pending {
            None => self.wrong.extend(found),
            Some(_) if found.is_empty() => self.wrong.push(format!("{} holds: take `pending` out", case.name)),
            Some(reason) => self.pending.push(format!("{}: {reason}", case.name)),
        }
    }
}

/// Plays every case that a real Envoy can play against this filter: one Envoy for each policy, or one for each case
/// where what one worker counts matters. Nothing of Envoy's own hardening is on, so that the filter decides alone.
///
/// # Errors
/// If the rig itself fails.
pub async fn decisions(tools: &Tools, filter: &Path) -> Result<Decided> {
    decisions_of(tools, filter, |_| true).await
}

/// [`decisions`] of some cases.
///
/// # Errors
/// As [`decisions`].
pub async fn decisions_of(tools: &Tools, filter: &Path, wanted: impl Fn(&Case) -> bool) -> Result<Decided> {
    decided("envoy", wanted, async |policy| InProcess::envoy(tools, filter, policy).await).await
}

/// Plays every case against the npm package in workerd: one workerd for each policy, or one for each case.
///
/// # Errors
/// As [`decisions`].
pub async fn decisions_in_workerd(
    workers: &WorkerTools,
    package: &Package,
    wanted: impl Fn(&Case) -> bool,
) -> Result<Decided> {
    decisions_in_workerd_under(workers, package, wanted, None).await
}

/// The same with a variable that the worker sees.
///
/// # Errors
/// As [`decisions`].
pub async fn decisions_in_workerd_under(
    workers: &WorkerTools,
    package: &Package,
    wanted: impl Fn(&Case) -> bool,
    variable: Option<(&str, &str)>,
) -> Result<Decided> {
    let file = std::fs::read(workspace_dir().join("test-harness/vectors/workerd.json"))?;
    let differences: BTreeMap<String, Difference> = serde_json::from_slice(&file)?;
    let all = corpus()?;
    if let Some(name) = differences.keys().find(|name| all.cases.iter().all(|case| case.name != **name)) {
        bail!("vectors/workerd.json: there is no case {name:?}");
    }
    let mut decided =
        decided("workerd", &wanted, async |policy| InProcess::workerd(workers, package, policy, variable).await)
            .await?;
    for case in all.of("workerd").filter(|case| wanted(case)) {
        let Some(difference) = differences.get(&case.name) else { continue };
        let own = format!("{} step ", case.name);
        let (found, others): (Vec<String>, Vec<String>) =
            std::mem::take(&mut decided.wrong).into_iter().partition(|wrong| wrong.starts_with(&own));
        decided.wrong = others;
        // Last comes the whole answer, to read.
        let found: Vec<&str> = found
            .iter()
            .map(|wrong| &wrong[case.name.len() + 1..])
            .filter(|wrong| !wrong.contains(": answer: "))
            .collect();
        let as_written = found.len() == difference.wrong.len()
            && found.iter().zip(&difference.wrong).all(|(found, written)| found.starts_with(written));
        if as_written {
            decided.differs.push(format!("{}: {}", case.name, difference.reason));
        } else {
            decided.wrong.push(format!("{}: not the difference that vectors/workerd.json has: {found:?}", case.name));
        }
    }
    Ok(decided)
}

/// How a case comes out in workerd otherwise than everywhere else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    reason: String,
    /// How each complaint begins.
    wrong: Vec<String>,
}

async fn decided(
    host: &str,
    wanted: impl Fn(&Case) -> bool,
    start: impl AsyncFn(&Policy) -> Result<InProcess>,
) -> Result<Decided> {
    let corpus = corpus()?;
    let mut decided = Decided { rules: corpus.rules.len(), ..Decided::default() };
    decided.left_out = corpus.cases.iter().filter(|case| !case.runs_on(host)).count();
    for (name, policy) in &corpus.policies {
        let cases: Vec<&Case> = corpus.of(host).filter(|case| case.policy == *name && wanted(case)).collect();
        for some in cases.chunks(if policy.fresh { 1 } else { cases.len().max(1) }) {
            let (cases, policy): (Vec<Case>, _) = (some.iter().map(|case| (*case).clone()).collect(), policy.clone());
            let mut subject = start(&policy).await?;
            let found = tokio::task::spawn_blocking(move || {
                cases.into_iter().map(|case| (play(&case, &policy, &mut subject), case)).collect::<Vec<_>>()
            });
            for (wrong, case) in found.await? {
                decided.add(&case, wrong);
            }
        }
    }
    Ok(decided)
}

// ---- a gate in a process of its own ----------------------------------------------------------------------------------

/// A gate in some process with a scripted world around it.
struct InProcess {
    world: World,
    port: u16,
    sent: Vec<Option<Sent>>,
    _process: Box<dyn Any + Send>,
}

struct Sent {
    stream: StdStream,
    answer: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl InProcess {
    async fn envoy(tools: &Tools, filter: &Path, policy: &Policy) -> Result<Self> {
        let world = World::start(Script::idle(policy), true)?;
        let mut config = Config::new(world.port)?;
        for cluster in [FACILITATOR, BACKUP, RPC] {
            config = config.cluster(cluster, world.port);
        }
        config.normalize_path = false;
        config.merge_slashes = false;
        config.headers_with_underscores_action = "ALLOW".to_owned();
        let mut wasm = WasmFilter::new("farebox", filter, Configuration::Struct(policy.json.clone()));
        for (name, _) in &policy.env {
            wasm = wasm.host_env_key(name);
        }
        let config = config.filter(wasm);
        let workers = if policy.fresh { 1 } else { 2 };
        let mut started = EnvoyConfig::new(config.to_text()).concurrency(workers);
        for (name, value) in &policy.env {
            started = started.env(name, value);
        }
        let envoy = Envoy::start(tools, started).await?;
        if policy.supported.is_some() {
            world.learnt().await?;
        }
        Ok(Self { world, port: config.port, sent: Vec::new(), _process: Box::new(envoy) })
    }

    async fn workerd(
        workers: &WorkerTools,
        package: &Package,
        policy: &Policy,
        variable: Option<(&str, &str)>,
    ) -> Result<Self> {
        // workerd sends a GET once more if a kept connection breaks; whether it has kept one would be chance.
        let world = World::start(Script::idle(policy), false)?;
        let mut config = workerd::Config::gate(package, &policy.json, world.port)?;
        for cluster in [FACILITATOR, BACKUP, RPC] {
            config = config.service(cluster, world.port);
        }
        if let Some((name, value)) = variable {
            config = config.text(name, value);
        }
        for (name, value) in &policy.env {
            config = config.text(name, value);
        }
        let port = config.port;
        let workerd = Workerd::start(workers, config).await?;
        Ok(Self { world, port, sent: Vec::new(), _process: Box::new(workerd) })
    }
}

impl Subject for InProcess {
    fn now(&self) -> u64 {
        now()
    }

    fn script(&mut self, script: Script, _: &str) {
        let mut state = self.world.state();
        state.script = script;
        state.hits.clear();
    }

    fn send(&mut self, request: &Request) -> Result<usize, String> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.path, request.authority);
        for (name, value) in &request.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("connection: close\r\n\r\n");
        let head = request.method == "HEAD";
        let connect = || -> std::io::Result<Sent> {
            let stream = StdStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(LIMIT))?;
            let mut other = stream.try_clone()?;
            let answer = std::thread::spawn(move || {
                other.write_all(text.as_bytes())?;
                let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
                while !is_whole(&bytes, head) {
                    match other.read(&mut buffer)? {
                        0 => break,
                        size => bytes.extend_from_slice(&buffer[..size]),
                    }
                }
                Ok(bytes)
            });
            Ok(Sent { stream, answer })
        };
        self.sent.push(Some(connect().map_err(|error| error.to_string())?));
        Ok(self.sent.len() - 1)
    }

    fn hold(&mut self, at: &str) {
        self.world.state().holds.insert(at.to_owned(), watch::channel(()).0);
    }

    fn held(&mut self, at: &str) -> Result<(), String> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            let state = self.world.state();
            let there = if at == "upstream" { !state.hits.is_empty() } else { state.script.calls.contains_key(at) };
            drop(state);
            if there {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(format!("nothing came to {at}"))
    }

    fn resume(&mut self, at: &str) {
        // Whoever waits sees the sender go.
        self.world.state().holds.remove(at);
        if self.sent.last().is_some_and(Option::is_none) {
            // Nobody waits for the answer; give the gate the time to record it.
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn leave(&mut self, sent: usize) {
        if let Some(sent) = self.sent.get_mut(sent).and_then(Option::take) {
            let _ = crate::money::reset(&sent.stream);
            let _ = sent.stream.shutdown(Shutdown::Both);
            let _ = sent.answer.join();
        }
        // The host is to notice before anything else happens.
        std::thread::sleep(Duration::from_millis(100));
    }

    fn response(&mut self, sent: usize) -> Result<Response, String> {
        let sent = self.sent.get_mut(sent).and_then(Option::take).ok_or("nothing was sent")?;
        let bytes = sent.answer.join().map_err(|_| "the sender panicked")?.map_err(|error| error.to_string())?;
        response(&bytes).map_err(|error| format!("{error:#}"))
    }

    fn pass(&mut self, seconds: u64) {
        std::thread::sleep(Duration::from_secs(seconds));
    }

    fn seen(&mut self) -> Seen {
        let state = self.world.state();
        Seen { calls: state.script.calls.clone(), hits: state.hits.clone() }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Whether these are all bytes of a response. Envoy may keep a connection for a second after that, whatever was asked.
fn is_whole(bytes: &[u8], head: bool) -> bool {
    let Ok(response) = response(bytes) else { return false };
    let length = header(&response, "content-length").and_then(|length| length.parse().ok());
    let body = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| bytes.len() - end - 4);
    match length {
        _ if head || [204, 304].contains(&response.status) => true,
        Some(length) => body >= length,
        None => bytes.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// Reads an HTTP/1.1 response.
fn response(bytes: &[u8]) -> Result<Response> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no response")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("not HTTP")?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { dechunked(body)? } else { body.to_vec() };
    Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn dechunked(mut body: &[u8]) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    while !body.is_empty() {
        let end = body.windows(2).position(|two| two == b"\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end])?.trim(), 16)?;
        if size == 0 {
            break;
        }
        whole.extend_from_slice(body.get(end + 2..end + 2 + size).context("a chunk that is too short")?);
        body = body.get(end + 4 + size..).unwrap_or_default();
    }
    Ok(whole)
}

// ---- the scripted world ----------------------------------------------------------------------------------------------

/// Facilitators, a chain node and the upstream, all on one port and told apart by the host they are asked as.
struct World {
    port: u16,
    state: Arc<Mutex<WorldState>>,
    _stop: oneshot::Sender<Infallible>,
}

struct WorldState {
    script: Script,
    hits: Vec<Hit>,
    /// Whether a gate has asked what the facilitator supports.
    asked: bool,
    /// Where calls wait: until the sender is gone.
    holds: BTreeMap<String, watch::Sender<()>>,
}

impl World {
    /// A world that keeps connections open between exchanges, or does not.
    fn start(script: Script, keeps: bool) -> Result<Self> {
        let port = free_port()?;
        let listener = StdListener::bind(("127.0.0.1", port)).context("cannot listen for the scripted world")?;
        listener.set_nonblocking(true)?;
        let state = Arc::new(Mutex::new(WorldState { script, hits: Vec::new(), asked: false, holds: BTreeMap::new() }));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("rig-world".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, shared, keeps) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { port, state, _stop: stop })
    }

    fn state(&self) -> MutexGuard<'_, WorldState> {
        lock(&self.state)
    }

    /// Waits until every worker knows what the facilitator supports: one has asked, and the others have looked.
    async fn learnt(&self) -> Result<()> {
        for _ in 0..300 {
            if self.state().asked {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the gate never asked what the facilitator supports")
    }
}

fn lock(state: &Mutex<WorldState>) -> MutexGuard<'_, WorldState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: StdListener, state: Arc<Mutex<WorldState>>, keeps: bool) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&state)));
            // An error breaks the connection off, as the script wants it.
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().keep_alive(keeps);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    state: Arc<Mutex<WorldState>>,
) -> Result<hyper::Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let host = head.headers.get("host").map(|host| text(host.as_bytes())).unwrap_or_default();
    let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
    let service = host.ends_with(".test");
    let (reaction, held) = {
        let mut state = lock(&state);
        let at = if service { target.trim_start_matches('/').to_owned() } else { "upstream".to_owned() };
        state.asked |= service && at.ends_with("supported");
        let held = state.holds.get(&at).map(watch::Sender::subscribe);
        let reaction = if service {
            state.script.react(&host, &target, &body, now())
        } else {
            state.hits.push(Hit {
                method: head.method.to_string(),
                target,
                authority: host,
                headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            });
            match &state.script.upstream {
                Upstream::Answer { status, headers } => Reaction::Answer {
                    status: *status,
                    headers: headers.clone(),
                    body: if [204, 304].contains(status) { String::new() } else { SERVED.to_owned() },
                },
                Upstream::Reset | Upstream::Nothing => Reaction::Lost,
            }
        };
        (reaction, held)
    };
    if let Some(mut held) = held {
        // Ends when the sender is gone.
        let _ = held.changed().await;
    }
    match reaction {
        Reaction::Answer { status, headers, body } => {
            let mut response = hyper::Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(Bytes::from(body)))?)
        }
        Reaction::Lost | Reaction::NotSent => Err(anyhow!("broken off as the script says")),
    }
}

// ---- encodings -------------------------------------------------------------------------------------------------------

/// What path and method encodings did.
#[derive(Clone, Debug, Default)]
pub struct EncodingFindings {
    /// Ways to write a path or a method.
    pub encodings: usize,
    /// Kinds of routes that each was tried on.
    pub kinds: usize,
    /// Requests in all.
    pub requests: usize,
    /// Requests that were refused without a challenge.
    pub refused: usize,
    /// Requests that got no answer: connections that Envoy closed or left waiting.
    pub unanswered: usize,
    /// Requests that were challenged.
    pub challenged: usize,
    /// Requests that a free route served.
    pub free: usize,
    /// Challenges that were answered with a payment, and served.
    pub paid: usize,
    /// Payments for something cheaper that were shown and opened nothing.
    pub cheap: usize,
    /// What was served unpaid or cheaper, or reached the upstream otherwise than it was judged.
    pub wrong: Vec<String>,
}

/// The policy that [`encodings`] needs: a route of every kind, below `/plain`.
pub fn encodings_policy(origin: &str) -> Value {
    let priced = |name: &str, path: &str, price: &str| {
        json!({ "name": name, "path": path,
                "offers": [{ "price": price, "network": chain::NETWORK, "max_timeout_seconds": 120 }] })
    };
    json!({
        "version": 1,
        "origins": [origin],
        "default": "denied",
        "payees": { chain::NETWORK: accounts::PAYEE.address },
        "facilitators": [{ "name": "official", "url": "http://facilitator.local", "cluster": FACILITATOR }],
        "limits": { "challenges_per_second": 0, "failed_payments_per_minute": 0, "uncharged_forwards_per_minute": 0,
                    "verifying_per_source": 0 },
        "routes": [
            priced("exact", "/plain/report", "$0.01"),
            priced("dear", "/plain/vault", "$0.02"),
            priced("param", "/plain/users/{id}", "$0.01"),
            priced("prefix", "/plain/files/*", "$0.01"),
            { "name": "free", "path": "/plain/files/readme", "access": "free" },
            { "name": "free-exact", "path": "/plain/open", "access": "free" },
            { "name": "denied", "path": "/plain/secret", "access": "denied" },
            { "name": "denied-below", "path": "/plain/files/secret/*", "access": "denied" }
        ]
    })
}

/// Paths of each kind of [`encodings_policy`]'s routes, with the names of their routes.
const KINDS: [(&str, &str); 8] = [
    ("exact", "/plain/report"),
    ("dear", "/plain/vault"),
    ("param", "/plain/users/alice"),
    ("prefix", "/plain/files/a/b"),
    ("free", "/plain/files/readme"),
    ("free-exact", "/plain/open"),
    ("denied", "/plain/secret"),
    ("denied-below", "/plain/files/secret/plan"),
];
/// What costs nothing, as the upstream has it.
const FREE: [&str; 2] = ["/plain/files/readme", "/plain/open"];
/// What the dear route sells.
const DEAR: &str = "/plain/vault";

struct Encoding {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

/// Tries every encoding of `core/vectors/encodings.json` on every kind of route of a stack that has
/// [`encodings_policy`]: without a payment, with one for something cheaper, and, where it is challenged, paid. The
/// facilitator only pretends to settle meanwhile, so the stack's chain knows nothing of these payments.
///
/// # Errors
/// If the rig itself fails.
pub async fn encodings(stack: &Stack) -> Result<EncodingFindings> {
    let file: Value = serde_json::from_slice(&std::fs::read(workspace_dir().join("core/vectors/encodings.json"))?)?;
    let all = file["encodings"].as_array().context("no encodings")?;
    let mut findings = EncodingFindings { encodings: all.len(), kinds: KINDS.len(), ..EncodingFindings::default() };
    let port = stack.config.port;
    // Settlements are a matter of seconds, and what settles is not the question here.
    let settled = Fault::pretended_settlement(accounts::BUYER.address).always();
    stack.facilitator.set_faults(Operation::Settle, &[settled]).await?;
    let mut cheap = crate::scenario::sign(stack, "/plain/report").await?;
    let log_before = read_access_log(&stack.access_log).map_or(0, |lines| lines.len());
    let mut expected_log = Vec::new();
    for (kind, path) in KINDS {
        for encoding in all {
            let encoding = encoding_of(encoding, path)?;
            let what = format!("{kind}: {} {:?} {:?}", encoding.method, encoding.target, encoding.headers);
            stack.upstream.clear();
            findings.requests += 1;
            let response = send(port, &encoding, None, PATIENCE).await.unwrap_or_default();
            for hit in stack.upstream.hits() {
                findings.free += 1;
                if !FREE.iter().any(|free| reads_as(&hit.target, free)) {
                    findings.wrong.push(format!("{what}: served unpaid as {}", hit.target));
                }
                expected_log.push((hit.target.clone(), "free"));
            }
            let challenge = header(&response, "payment-required");
            match (response.status, &challenge) {
                (402, Some(_)) => findings.challenged += 1,
                (402, None) => findings.wrong.push(format!("{what}: a 402 without a challenge")),
                (200..=299, _) if stack.upstream.hits().is_empty() => {
                    findings.wrong.push(format!("{what}: {} from nowhere", response.status));
                }
                (200..=399, _) => {}
                (0, _) => findings.unanswered += 1,
                _ => findings.refused += 1,
            }
            if kind == "dear" {
                stack.upstream.clear();
                findings.requests += 1;
                send(port, &encoding, Some(&cheap), PATIENCE).await.unwrap_or_default();
                findings.cheap += 1;
                for hit in stack.upstream.hits() {
                    if reads_as(&hit.target, DEAR) {
                        findings.wrong.push(format!("{what}: served cheaper as {}", hit.target));
                    }
                    expected_log.push((hit.target.clone(), "any"));
                    cheap = crate::scenario::sign(stack, "/plain/report").await?;
                }
            }
            if let Some(challenge) = challenge {
                stack.upstream.clear();
                findings.requests += 1;
                let judged = judged_target(&challenge, &stack.config.url())?;
                let payment = stack.buyer.sign(&challenge).await?.value;
                let response = send(port, &encoding, Some(&payment), LIMIT).await.unwrap_or_default();
                match stack.upstream.hits().as_slice() {
                    [hit] if hit.target == judged && hit.method == encoding.method => findings.paid += 1,
                    // A proxy may keep to what `Connection` says of the payment; nothing is served then.
                    [] if response.status == 402 && encoding.headers.iter().any(|(name, _)| name == "Connection") => {
                        findings.refused += 1;
                        continue;
                    }
                    hits => findings.wrong.push(format!(
                        "{what}: paid for {judged}, {}, and the upstream saw {:?}",
                        response.status,
                        hits.iter().map(|hit| &hit.target).collect::<Vec<_>>()
                    )),
                }
                expected_log.push((judged, "paid"));
            }
        }
    }
    stack.facilitator.set_faults(Operation::Settle, &[]).await?;
    // What the gate says that it judged is what the upstream saw.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let log = read_access_log(&stack.access_log)?;
    let mut forwarded: BTreeSet<(String, String)> = BTreeSet::new();
    for line in log.iter().skip(log_before) {
        let (path, decision) =
            (line["path"].as_str().unwrap_or_default(), line["decision"].as_str().unwrap_or_default());
        if ["free", "paid"].contains(&decision) {
            let route = line["route"].as_str().unwrap_or_default();
            if (decision == "free") != route.starts_with("free") {
                findings.wrong.push(format!("{path} was {decision} on the route {route}"));
            }
            forwarded.insert((path.to_owned(), decision.to_owned()));
        }
    }
    for (target, decision) in expected_log {
        let logged = |decision: &str| forwarded.contains(&(target.clone(), decision.to_owned()));
        if !(logged(decision) || decision == "any" && (logged("free") || logged("paid"))) {
            findings
                .wrong
                .push(format!("the upstream saw {target}, which the gate does not say it judged ({decision})"));
        }
    }
    Ok(findings)
}

async fn send(port: u16, encoding: &Encoding, payment: Option<&str>, limit: Duration) -> Result<Response> {
    let mut text = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", encoding.method, encoding.target);
    for (name, value) in &encoding.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(payment) = payment {
        text.push_str(&format!("payment-signature: {payment}\r\n"));
    }
    text.push_str("connection: close\r\n\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut bytes = Vec::new();
        while !is_whole(&bytes, encoding.method == "HEAD") && stream.read_buf(&mut bytes).await? > 0 {}
        response(&bytes)
    };
    tokio::time::timeout(limit, exchange).await?
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

/// The target that a challenge says was judged.
fn judged_target(challenge: &str, origin: &str) -> Result<String> {
    use base64::Engine;
    let json: Value = serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(challenge)?)?;
    let url = json["resource"]["url"].as_str().context("no resource")?;
    Ok(url.strip_prefix(origin).context("the resource is elsewhere")?.to_owned())
}

/// Whether some server may take `target` for `path`: everything decoded as often as it can be, parameters and what
/// follows a NUL dropped, dots and slashes resolved, without regard to case.
fn reads_as(target: &str, path: &str) -> bool {
    let mut text: Vec<u8> = target.split(['?', '#']).next().unwrap_or_default().bytes().collect();
    for _ in 0..4 {
        text = opened(&text);
    }
    let text = String::from_utf8_lossy(&text).to_lowercase().replace('\\', "/");
    let text = text.split('\0').next().unwrap_or_default();
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/")) == path
}

fn opened(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|c| char::from(*c).to_digit(16));
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text.get(at) {
        match (c, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(0));
                at += 3;
            }
            _ => {
                out.push(*c);
                at += 1;
            }
        }
    }
    out
}

/// An encoding of the file, written for `path`. See `core/vectors/README.md` for the words in braces.
fn encoding_of(json: &Value, path: &str) -> Result<Encoding> {
    let template = json["target"].as_str().unwrap_or("{path}");
    let (dir, leaf) = path.rsplit_once('/').context("not a path")?;
    let (first, rest) = leaf.split_at(1);
    let byte = first.as_bytes()[0];
    let all = |format: &dyn Fn(u8) -> String| leaf.bytes().map(format).collect::<String>();
    let words: [(&str, String); 15] = [
        ("{path}", path.to_owned()),
        ("{dir}", dir.to_owned()),
        ("{leaf}", leaf.to_owned()),
        ("{LEAF}", leaf.to_uppercase()),
        ("{PATH}", path.to_uppercase()),
        ("{first}", first.to_owned()),
        ("{rest}", rest.to_owned()),
        ("{hex}", format!("{byte:02x}")),
        ("{HEX}", format!("{byte:02X}")),
        ("{all}", all(&|byte| format!("%{byte:02x}"))),
        ("{all twice}", all(&|byte| format!("%25{byte:02x}"))),
        ("{overlong}", format!("%{:02X}%{:02X}", 0xc0 | (byte >> 6), 0x80 | (byte & 0x3f))),
        ("{wide}", format!("%EF%BC%{:02X}", byte.wrapping_add(0x60) & 0xbf | 0x80)),
        ("{backslashes}", path.replace('/', "\\")),
        ("{slashes}", path.get(1..).unwrap_or_default().replace('/', "%2f")),
    ];
    let mut target = template.to_owned();
    for (word, value) in &words {
        target = target.replace(word, value);
    }
    let headers = json["headers"].as_object().into_iter().flatten().map(|(name, value)| {
        let mut value = value.as_str().unwrap_or_default().to_owned();
        for (word, with) in &words {
            value = value.replace(word, with);
        }
        (name.clone(), value)
    });
    Ok(Encoding { method: json["method"].as_str().unwrap_or("GET").to_owned(), target, headers: headers.collect() })
}

/// A name, and what it changes in Envoy's configuration.
pub type Hardening = (&'static str, fn(&mut Config));

/// How Envoy may be hardened against encodings: every combination of what the shipped configurations set.
pub fn hardenings() -> Vec<Hardening> {
    vec![
        ("as shipped", |_| {}),
        ("not at all", |config| {
            config.normalize_path = false;
            config.merge_slashes = false;
            config.headers_with_underscores_action = "ALLOW".to_owned();
        }),
        ("paths normalized only", |config| {
            config.merge_slashes = false;
            config.headers_with_underscores_action = "ALLOW".to_owned();
        }),
        ("slashes merged only", |config| config.normalize_path = false),
        ("escaped slashes opened", |config| {
            config.path_with_escaped_slashes_action = "UNESCAPE_AND_FORWARD".to_owned();
        }),
        ("escaped slashes refused", |config| {
            config.path_with_escaped_slashes_action = "REJECT_REQUEST".to_owned();
        }),
    ]
}

/// The filter's file, for [`decisions`].
///
/// # Errors
/// If it does not build.
pub fn filter(tools: &Tools) -> Result<PathBuf> {
    crate::wasm::build(tools, "farebox-filter", &[])
}
