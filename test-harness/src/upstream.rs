//! An upstream of our own, which records every request and can be slow, fail, break off, stream, and wait for the test.
//! It speaks HTTP/1.1 and HTTP/2 without TLS on one port.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use sha2::{Digest, Sha256};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::process::free_port;

/// A running upstream on a port of its own. It ends when this is dropped.
///
/// What it does is in the path, unless [`Upstream::answer`] has said otherwise:
///
/// | path | answer |
/// |---|---|
/// | `/slow?ms=N` | 200 after N milliseconds |
/// | `/fail?status=N` | status N (500 if absent) |
/// | `/redirect?to=PATH` | 302 |
/// | `/reset` | the connection is reset before any header |
/// | `/cut?bytes=N` | 200 with headers that promise twice N bytes; N bytes; a reset |
/// | `/stream?chunks=N&ms=M` | 200 `text/event-stream`: N events, M milliseconds apart |
/// | `/large?bytes=N` | 200 and N bytes, never all in memory |
/// | `/status?code=N&header=VALUE` | status N with a header `rig-status: VALUE` and a small JSON body |
/// | `/metered?charge=AMOUNT` | 200 with `Settlement-Overrides: {"amount":"AMOUNT"}` |
/// | `/mirror…` | 200 and the request's body, with its type and a `Content-Digest` (SHA-256) |
/// | `/digest…` | 200 `{"length", "sha256"}` of the request's body, the digest in hexadecimal |
/// | `/upgrade…` | 101 to whatever protocol the request asks for; then every byte comes back |
/// | `/rig.Echo/Unary` | gRPC: the request's message, then status 0 in the trailers |
/// | `/rig.Echo/FailFast` | gRPC: trailers only, with the status that the request's `rig-status` says, or 13 |
/// | `/rig.Echo/FailLate` | gRPC: the request's message, then that status in the trailers |
/// | `/rig.Echo/Stream` | gRPC: the message as often as `rig-messages` says (3 if absent), then status 0 |
/// | `/plain…` | 200 `{"message": "hello from upstream", "path"}` |
/// | anything else | 200 and the request as JSON: method, target, headers, body |
#[derive(Debug)]
pub struct Upstream {
    port: u16,
    recorder: Arc<Recorder>,
    _stop: oneshot::Sender<Infallible>,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The version of HTTP that it came by: 1 or 2.
    pub http: u8,
    /// The method.
    pub method: String,
    /// Path and query exactly as received.
    pub target: String,
    /// Headers in the order received, names in lower case; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// What an [`Upstream`] answers to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names and values; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// Requests for a path wait in the upstream, recorded but not answered, for what a test wants to happen meanwhile: see
/// [`Upstream::hold`]. When this is dropped they go on, and later ones do not wait.
#[derive(Debug)]
pub struct Hold {
    path: String,
    recorder: Arc<Recorder>,
    state: Arc<HoldState>,
}

#[derive(Debug)]
struct HoldState {
    arrived: Semaphore,
    released: Semaphore,
}

#[derive(Debug, Default)]
struct Recorder {
    answers: Mutex<HashMap<String, Answer>>,
    paid_answers: Mutex<HashMap<String, Answer>>,
    holds: Mutex<HashMap<String, Arc<HoldState>>>,
    count: AtomicU64,
    paused: AtomicBool,
    hits: Mutex<Vec<Hit>>,
}

type Body = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

impl Upstream {
    /// Starts an upstream with a thread of its own.
    ///
    /// # Errors
    /// If the system refuses a port or a thread.
    pub fn start() -> Result<Self> {
        let port = free_port()?;
        let listener = StdListener::bind(("127.0.0.1", port)).context("cannot listen for the upstream")?;
        listener.set_nonblocking(true)?;
        let recorder = Arc::<Recorder>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&recorder);
        std::thread::Builder::new().name("rig-upstream".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { port, recorder, _stop: stop })
    }

    /// The base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every request since the start or the last [`Upstream::clear`], oldest first.
    pub fn hits(&self) -> Vec<Hit> {
        self.recorder.hits().clone()
    }

    /// The requests whose path (without the query) is this one.
    pub fn hits_of(&self, path: &str) -> Vec<Hit> {
        self.recorder.hits().iter().filter(|hit| hit.path() == path).cloned().collect()
    }

    /// How many requests have arrived since the start or the last [`Upstream::clear`], recorded or not.
    pub fn count(&self) -> u64 {
        self.recorder.count.load(Ordering::SeqCst)
    }

    /// From now on, every request for this path (without the query) gets this answer.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.recorder.answers().insert(path.to_owned(), answer);
    }

    /// From now on, every request for this path that carries a payment (`PAYMENT-SIGNATURE` or `X-PAYMENT`) gets this
    /// answer, whatever [`Upstream::answer`] has said: with both, the upstream is a seller who believes everybody.
    pub fn answer_if_paid(&self, path: &str, answer: Answer) {
        self.recorder.paid_answers().insert(path.to_owned(), answer);
    }

    /// From now on, every request for this path (without the query) waits until it is released.
    pub fn hold(&self, path: &str) -> Hold {
        let state = Arc::new(HoldState { arrived: Semaphore::new(0), released: Semaphore::new(0) });
        self.recorder.holds().insert(path.to_owned(), Arc::clone(&state));
        Hold { path: path.to_owned(), recorder: Arc::clone(&self.recorder), state }
    }

    /// Forgets all requests. Answers stay.
    pub fn clear(&self) {
        self.recorder.hits().clear();
        self.recorder.count.store(0, Ordering::SeqCst);
    }

    /// Stops recording requests (they are still counted), or records again: for long runs.
    pub fn record(&self, record: bool) {
        self.recorder.paused.store(!record, Ordering::SeqCst);
    }
}

impl Hold {
    /// Waits until one more request has arrived.
    ///
    /// # Errors
    /// If none does within `limit`.
    pub async fn arrived(&self, limit: Duration) -> Result<()> {
        tokio::time::timeout(limit, self.state.arrived.acquire())
            .await
            .with_context(|| format!("no request for {} arrived within {limit:?}", self.path))??
            .forget();
        Ok(())
    }

    /// Lets one request go on: the one that has waited longest, or the next.
    pub fn release_one(&self) {
        self.state.released.add_permits(1);
    }

    /// Lets all go on, as dropping it does.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.recorder.holds();
        if holds.get(&self.path).is_some_and(|state| Arc::ptr_eq(state, &self.state)) {
            holds.remove(&self.path);
        }
        // Whoever waits sees it closed, and goes on.
        self.state.released.close();
    }
}

impl Hit {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// A status, one header and a body.
    pub fn new(status: u16, header: (&str, &str), body: impl Into<Bytes>) -> Self {
        let (name, value) = header;
        let headers = vec![(name.to_owned(), value.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// A header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn build(&self) -> Result<Response<Body>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Either::Left(Full::new(self.body.clone())))?)
    }
}

impl Recorder {
    fn answers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paid_answers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Answer>> {
        self.paid_answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<HoldState>>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a test has said that this request gets.
    fn told(&self, hit: &Hit) -> Option<Answer> {
        let paid = ["payment-signature", "x-payment"].iter().any(|name| hit.header(name).is_some());
        let if_paid = paid.then(|| self.paid_answers().get(hit.path()).cloned()).flatten();
        if_paid.or_else(|| self.answers().get(hit.path()).cloned())
    }

    fn hits(&self) -> std::sync::MutexGuard<'_, Vec<Hit>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, hit: &Hit) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if !self.paused.load(Ordering::SeqCst) {
            self.hits().push(hit.clone());
        }
    }
}

async fn serve(listener: StdListener, recorder: Arc<Recorder>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve_connection(stream, Arc::clone(&recorder)));
    }
}

/// Errors of a connection end it, which is what the other side is to see.
async fn serve_connection(stream: TcpStream, recorder: Arc<Recorder>) -> Result<()> {
    stream.set_nodelay(true)?;
    let socket = Arc::new(SockRef::from(&stream).try_clone()?);
    let service = service_fn(|request| answer(request, Arc::clone(&recorder), Arc::clone(&socket)));
    auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
        .map_err(|error| anyhow::anyhow!(error))
}

async fn answer(
    mut request: Request<Incoming>,
    recorder: Arc<Recorder>,
    socket: Arc<Socket>,
) -> Result<Response<Body>> {
    let upgrade = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
    let hit = read(request).await?;
    recorder.record(&hit);
    let hold = recorder.holds().get(hit.path()).cloned();
    if let Some(hold) = hold {
        hold.arrived.add_permits(1);
        if let Ok(permit) = hold.released.acquire().await {
            permit.forget();
        }
    }
    if let Some(answer) = recorder.told(&hit) {
        return answer.build();
    }
    let query = Query::of(&hit.target);
    match hit.path() {
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(query.number("ms", 1000))).await;
            json_response(200, json!({ "message": "slow but here" }))
        }
        "/fail" => json_response(u16::try_from(query.number("status", 500))?, json!({ "message": "failed as asked" })),
        "/redirect" => {
            let mut response = json_response(302, json!({}))?;
            response.headers_mut().insert("location", query.text("to").unwrap_or("/plain").parse()?);
            Ok(response)
        }
        "/reset" => {
            reset_on_close(&socket)?;
            Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
        }
        "/cut" => cut_response(query.number("bytes", 1000), socket),
        "/stream" => stream_response(query.number("chunks", 5), Duration::from_millis(query.number("ms", 10))),
        "/large" => large_response(usize::try_from(query.number("bytes", 1_000_000))?),
        "/status" => {
            let mut response =
                json_response(u16::try_from(query.number("code", 200))?, json!({ "message": "as asked" }))?;
            if let Some(value) = query.text("header") {
                response.headers_mut().insert("rig-status", value.parse()?);
            }
            Ok(response)
        }
        "/metered" => {
            let mut response = json_response(200, json!({ "message": "metered" }))?;
            let charge = json!({ "amount": query.text("charge").unwrap_or("0") });
            response.headers_mut().insert("settlement-overrides", charge.to_string().parse()?);
            Ok(response)
        }
        path if path.starts_with("/mirror") => {
            let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&hit.body)));
            let kind = hit.header("content-type").unwrap_or("application/octet-stream").to_owned();
            Ok(Response::builder()
                .header("content-type", kind)
                .header("content-digest", digest)
                .body(Either::Left(Full::new(hit.body)))?)
        }
        path if path.starts_with("/digest") => {
            json_response(200, json!({ "length": hit.body.len(), "sha256": hexadecimal(&Sha256::digest(&hit.body)) }))
        }
        path if path.starts_with("/upgrade") => upgrade_response(&hit, upgrade),
        "/rig.Echo/Unary" => Ok(grpc_response(hit.body, 1, 0)),
        "/rig.Echo/FailFast" => Ok(Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", grpc_status(&hit))
            .header("grpc-message", "failed as asked")
            .body(Either::Left(Full::default()))?),
        "/rig.Echo/FailLate" => {
            let status = grpc_status(&hit);
            Ok(grpc_response(hit.body, 1, status))
        }
        "/rig.Echo/Stream" => {
            let messages = hit.header("rig-messages").and_then(|text| text.parse().ok()).unwrap_or(3);
            Ok(grpc_response(hit.body, messages, 0))
        }
        path if path.starts_with("/plain") => {
            json_response(200, json!({ "message": "hello from upstream", "path": path }))
        }
        _ => json_response(200, echo(&hit)),
    }
}

async fn read(request: Request<Incoming>) -> Result<Hit> {
    let (head, body) = request.into_parts();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Hit {
        http: if head.version == Version::HTTP_2 { 2 } else { 1 },
        method: head.method.to_string(),
        target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body: body.collect().await?.to_bytes(),
    })
}

fn echo(hit: &Hit) -> serde_json::Value {
    let headers: HashMap<&str, &str> =
        hit.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    json!({
        "method": hit.method,
        "target": hit.target,
        "headers": headers,
        "body": String::from_utf8_lossy(&hit.body),
    })
}

fn json_response(status: u16, body: serde_json::Value) -> Result<Response<Body>> {
    let body = Either::Left(Full::new(Bytes::from(body.to_string())));
    Ok(Response::builder().status(status).header("content-type", "application/json").body(body)?)
}

fn stream_response(chunks: u64, interval: Duration) -> Result<Response<Body>> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for number in 0..chunks {
            if sender.send_data(Bytes::from(format!("data: {{\"chunk\":{number}}}\n\n"))).await.is_err() {
                return; // the reader has gone
            }
            tokio::time::sleep(interval).await;
        }
    });
    Ok(Response::builder().header("content-type", "text/event-stream").body(Either::Right(body))?)
}

fn large_response(bytes: usize) -> Result<Response<Body>> {
    const CHUNK: usize = 64 * 1024;
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        let chunk = Bytes::from(vec![b'x'; CHUNK]);
        let mut left = bytes;
        while left > 0 {
            let part = chunk.slice(..left.min(CHUNK));
            left -= part.len();
            if sender.send_data(part).await.is_err() {
                return; // the reader has gone
            }
        }
    });
    Ok(Response::builder()
        .header("content-type", "text/plain")
        .header("content-length", bytes.to_string())
        .body(Either::Right(body))?)
}

/// The message of the request (5 bytes before it) so many times, then a status in the trailers.
fn grpc_response(message: Bytes, times: u32, status: u32) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for _ in 0..times {
            if sender.send_data(message.clone()).await.is_err() {
                return; // the reader has gone
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status));
        if status != 0 {
            trailers.insert("grpc-message", HeaderValue::from_static("failed as asked"));
        }
        let _ = sender.send_trailers(trailers).await;
    });
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn grpc_status(hit: &Hit) -> u32 {
    hit.header("rig-status").and_then(|text| text.parse().ok()).unwrap_or(13)
}

/// A message with the 5 bytes before it that gRPC has: not compressed, and the length.
pub fn grpc_frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

fn upgrade_response(hit: &Hit, upgrade: Option<hyper::upgrade::OnUpgrade>) -> Result<Response<Body>> {
    let (Some(protocol), Some(upgrade)) = (hit.header("upgrade"), upgrade) else {
        return json_response(426, json!({ "message": "asks for no protocol" }));
    };
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await?);
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return anyhow::Ok(()),
                length => stream.write_all(&buffer[..length]).await?,
            }
        }
    });
    Ok(Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", protocol)
        .body(Either::Left(Full::default()))?)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn cut_response(bytes: u64, socket: Arc<Socket>) -> Result<Response<Body>> {
    let (mut sender, body) = Channel::new(1);
    let sent = Bytes::from(vec![b'x'; usize::try_from(bytes)?]);
    tokio::spawn(async move {
        let _ = sender.send_data(sent).await;
        // What has been written is to arrive before the reset.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = reset_on_close(&socket);
        sender.abort(io::Error::from(io::ErrorKind::ConnectionReset));
    });
    Ok(Response::builder().header("content-length", (bytes * 2).to_string()).body(Either::Right(body))?)
}

/// Makes the close of the connection a reset (RST) instead of an end (FIN).
fn reset_on_close(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

/// The query of a target, read as plainly as a test writes it.
struct Query<'a>(HashMap<&'a str, &'a str>);

impl<'a> Query<'a> {
    fn of(target: &'a str) -> Self {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        Self(query.split('&').filter_map(|pair| pair.split_once('=')).collect())
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }
}
