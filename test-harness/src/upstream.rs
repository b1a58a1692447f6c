//! An upstream of our own, which records every request and can be slow, fail, break off and stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

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
/// | `/large?bytes=N` | 200 and N bytes |
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

#[derive(Debug, Default)]
struct Recorder {
    answers: Mutex<HashMap<String, Answer>>,
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
        let listener =
            StdListener::bind(("127.0.0.1", port)).context("cannot listen for the upstream")?;
        listener.set_nonblocking(true)?;
        let recorder = Arc::<Recorder>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::clone(&recorder);
        std::thread::Builder::new()
            .name("rig-upstream".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = serve(listener, shared) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            port,
            recorder,
            _stop: stop,
        })
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
        self.recorder
            .hits()
            .iter()
            .filter(|hit| hit.path() == path)
            .cloned()
            .collect()
    }

    /// How many requests have arrived since the start or the last [`Upstream::clear`], recorded or not.
    pub fn count(&self) -> u64 {
        self.recorder.count.load(Ordering::SeqCst)
    }

    /// From now on, every request for this path (without the query) gets this answer.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.recorder.answers().insert(path.to_owned(), answer);
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

impl Hit {
    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// A status, one header and a body.
    pub fn new(status: u16, header: (&str, &str), body: impl Into<Bytes>) -> Self {
        let (name, value) = header;
        let headers = vec![(name.to_owned(), value.to_owned())];
        Self {
            status,
            headers,
            body: body.into(),
        }
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
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    recorder: Arc<Recorder>,
    socket: Arc<Socket>,
) -> Result<Response<Body>> {
    let hit = read(request).await?;
    recorder.record(&hit);
    let told = recorder.answers().get(hit.path()).cloned();
    if let Some(answer) = told {
        return answer.build();
    }
    let query = Query::of(&hit.target);
    match hit.path() {
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(query.number("ms", 1000))).await;
            json_response(200, json!({ "message": "slow but here" }))
        }
        "/fail" => json_response(
            u16::try_from(query.number("status", 500))?,
            json!({ "message": "failed as asked" }),
        ),
        "/redirect" => {
            let mut response = json_response(302, json!({}))?;
            response
                .headers_mut()
                .insert("location", query.text("to").unwrap_or("/plain").parse()?);
            Ok(response)
        }
        "/reset" => {
            reset_on_close(&socket)?;
            Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
        }
        "/cut" => cut_response(query.number("bytes", 1000), socket),
        "/stream" => stream_response(
            query.number("chunks", 5),
            Duration::from_millis(query.number("ms", 10)),
        ),
        "/large" => {
            let body = Bytes::from(vec![
                b'x';
                usize::try_from(query.number("bytes", 1_000_000))?
            ]);
            Ok(Response::builder()
                .header("content-type", "text/plain")
                .body(Either::Left(Full::new(body)))?)
        }
        path if path.starts_with("/plain") => json_response(
            200,
            json!({ "message": "hello from upstream", "path": path }),
        ),
        _ => json_response(200, echo(&hit)),
    }
}

async fn read(request: Request<Incoming>) -> Result<Hit> {
    let (head, body) = request.into_parts();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Hit {
        method: head.method.to_string(),
        target: head
            .uri
            .path_and_query()
            .map_or_else(|| head.uri.to_string(), ToString::to_string),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
        body: body.collect().await?.to_bytes(),
    })
}

fn echo(hit: &Hit) -> serde_json::Value {
    let headers: HashMap<&str, &str> = hit
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    json!({
        "method": hit.method,
        "target": hit.target,
        "headers": headers,
        "body": String::from_utf8_lossy(&hit.body),
    })
}

fn json_response(status: u16, body: serde_json::Value) -> Result<Response<Body>> {
    let body = Either::Left(Full::new(Bytes::from(body.to_string())));
    Ok(Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body)?)
}

fn stream_response(chunks: u64, interval: Duration) -> Result<Response<Body>> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for number in 0..chunks {
            if sender
                .send_data(Bytes::from(format!("data: {{\"chunk\":{number}}}\n\n")))
                .await
                .is_err()
            {
                return; // the reader has gone
            }
            tokio::time::sleep(interval).await;
        }
    });
    Ok(Response::builder()
        .header("content-type", "text/event-stream")
        .body(Either::Right(body))?)
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
    Ok(Response::builder()
        .header("content-length", (bytes * 2).to_string())
        .body(Either::Right(body))?)
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
        Self(
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .collect(),
        )
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }
}
