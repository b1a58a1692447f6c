//! gRPC calls without a gRPC library: one message there, what comes back frame by frame.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::HeaderMap;
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::upstream::grpc_frame;

/// The longest that a call may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status of HTTP: 200, whatever gRPC says.
    pub http_status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The messages, without the 5 bytes before each.
    pub messages: Vec<Bytes>,
    /// The trailers; empty if the stream ended with the headers.
    pub trailers: Vec<(String, String)>,
    /// Whether the stream ended with the headers ("trailers only").
    pub trailers_only: bool,
}

/// Makes a unary or server-streaming call by HTTP/2 without TLS, on a connection of its own.
///
/// # Errors
/// If there is no connection or the stream is reset.
pub async fn call(port: u16, path: &str, metadata: &[(&str, &str)], message: &[u8]) -> Result<Reply> {
    tokio::time::timeout(LIMIT, exchange(port, path, metadata, message))
        .await
        .with_context(|| format!("no end of the call within {LIMIT:?}"))?
}

async fn exchange(port: u16, path: &str, metadata: &[(&str, &str)], message: &[u8]) -> Result<Reply> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let uri: Uri = format!("http://127.0.0.1:{port}{path}").parse()?;
    let mut request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let (head, mut body) = sender.send_request(request.body(Full::new(grpc_frame(message)))?).await?.into_parts();
    let trailers_only = body.is_end_stream();
    let (mut data, mut trailers) = (BytesMut::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers.extend(frame.trailers_ref().map(pairs).unwrap_or_default()),
        }
    }
    connection.abort();
    Ok(Reply {
        http_status: head.status.as_u16(),
        headers: pairs(&head.headers),
        messages: messages(data.freeze())?,
        trailers,
        trailers_only,
    })
}

impl Reply {
    /// gRPC's status, from wherever it is.
    pub fn status(&self) -> Option<u32> {
        self.metadata("grpc-status")?.parse().ok()
    }

    /// A value of the trailers, or else of the headers, named in lower case.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let mut all = self.trailers.iter().chain(&self.headers);
        all.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

fn messages(mut data: Bytes) -> Result<Vec<Bytes>> {
    let mut messages = Vec::new();
    while data.has_remaining() {
        let length = data.get(1..5).context("a message is cut off")?.try_into().map(u32::from_be_bytes)?;
        data.advance(5);
        let length = usize::try_from(length)?;
        anyhow::ensure!(data.len() >= length, "a message is cut off");
        messages.push(data.split_to(length));
    }
    Ok(messages)
}
