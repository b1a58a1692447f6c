//! Requests byte for byte, for what HTTP clients put right before it is sent.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An HTTP/1.1 response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawResponse {
    /// The status.
    pub status: u16,
    /// Everything up to the empty line, bytes that are not UTF-8 replaced.
    pub head: String,
    /// Everything after it, in whatever transfer coding.
    pub body: Vec<u8>,
}

/// Sends bytes to a port of 127.0.0.1, and reads until the other side closes: the request should say
/// `connection: close`.
///
/// # Errors
/// If there is no connection, no response, or no end of it within `limit`.
pub async fn exchange(port: u16, request: &[u8], limit: Duration) -> Result<RawResponse> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        parse(&response)
    };
    tokio::time::timeout(limit, exchange).await.with_context(|| format!("no end of the response within {limit:?}"))?
}

/// [`exchange`] of a request without a body: request line and headers as given, each line without its
/// end; `connection: close` is added.
///
/// # Errors
/// As [`exchange`].
pub async fn request(port: u16, lines: &[&str]) -> Result<RawResponse> {
    let mut request = lines.join("\r\n");
    request += "\r\nconnection: close\r\n\r\n";
    exchange(port, request.as_bytes(), Duration::from_secs(30)).await
}

impl RawResponse {
    /// The first value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

fn parse(response: &[u8]) -> Result<RawResponse> {
    let end = response
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("the connection was closed before the headers were complete")?;
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(RawResponse {
        status: status.with_context(|| format!("not HTTP: {head}"))?,
        head,
        body: response[end + 4..].to_vec(),
    })
}
