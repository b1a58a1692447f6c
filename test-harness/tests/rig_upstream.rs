//! The rig against itself: the upstream speaks HTTP/2 and gRPC, gives bodies back, and waits for a test.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rig::{Upstream, grpc};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn grpc_calls_end_in_every_way() -> Result<()> {
    let upstream = Upstream::start()?;
    let port = upstream.port();

    let ok = grpc::call(port, "/rig.Echo/Unary", &[("x-mine", "kept")], b"hello").await?;
    assert_eq!((ok.http_status, ok.status(), ok.trailers_only), (200, Some(0), false));
    assert_eq!((ok.messages.len(), &ok.messages[0][..]), (1, &b"hello"[..]));
    assert!(ok.headers.iter().all(|(name, _)| name != "grpc-status"), "the status is in the trailers");
    let hit = upstream.hits().pop().expect("the call was recorded");
    assert_eq!((hit.http, hit.method.as_str(), hit.path()), (2, "POST", "/rig.Echo/Unary"));
    assert_eq!((hit.header("x-mine"), hit.header("te")), (Some("kept"), Some("trailers")));

    let fast = grpc::call(port, "/rig.Echo/FailFast", &[("rig-status", "7")], b"hello").await?;
    assert_eq!((fast.http_status, fast.status(), fast.trailers_only), (200, Some(7), true));
    assert_eq!((fast.messages.len(), fast.trailers.len()), (0, 0));
    assert_eq!(fast.metadata("grpc-message"), Some("failed as asked"));

    let late = grpc::call(port, "/rig.Echo/FailLate", &[], b"hello").await?;
    assert_eq!((late.http_status, late.status(), late.trailers_only), (200, Some(13), false));
    assert_eq!(late.messages.len(), 1);

    let stream = grpc::call(port, "/rig.Echo/Stream", &[("rig-messages", "5")], &[b'x'; 100_000]).await?;
    assert_eq!((stream.status(), stream.messages.len(), stream.messages[4].len()), (Some(0), 5, 100_000));
    Ok(())
}

#[tokio::test]
async fn bodies_come_back() -> Result<()> {
    let upstream = Upstream::start()?;
    let http = rig::http::client();
    let post = |path: &str, body: Vec<u8>| {
        http.post(format!("{}{path}", upstream.url())).header("content-type", "x/y").body(body).send()
    };
    let mirrored = post("/mirror/a", b"hello".to_vec()).await?;
    assert_eq!(mirrored.headers()["content-type"], "x/y");
    let digest = mirrored.headers()["content-digest"].to_str()?.to_owned();
    assert_eq!(digest, "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:");
    assert_eq!(mirrored.bytes().await?, "hello");
    let digest: Value = post("/digest", vec![b'x'; 5_000_000]).await?.json().await?;
    assert_eq!(digest["length"], 5_000_000);
    assert_eq!(digest["sha256"].as_str().map(str::len), Some(64));

    let large = http.get(format!("{}/large?bytes=200000001", upstream.url())).send().await?;
    assert_eq!(large.content_length(), Some(200_000_001));
    assert_eq!(large.bytes().await?.len(), 200_000_001);
    let metered = http.get(format!("{}/metered?charge=700", upstream.url())).send().await?;
    assert_eq!(metered.headers()["settlement-overrides"], r#"{"amount":"700"}"#);
    let status = http.get(format!("{}/status?code=301&header=a", upstream.url())).send().await?;
    assert_eq!((status.status().as_u16(), &status.headers()["rig-status"]), (301, &"a".parse()?));
    Ok(())
}

#[tokio::test]
async fn requests_wait_for_the_test() -> Result<()> {
    let upstream = Arc::new(Upstream::start()?);
    let url = format!("{}/plain/held", upstream.url());
    let hold = upstream.hold("/plain/held");
    let get = |url: String| tokio::spawn(async move { rig::http::client().get(url).send().await });
    let (first, second) = (get(url.clone()), get(url.clone()));
    let limit = Duration::from_secs(5);
    hold.arrived(limit).await?;
    hold.arrived(limit).await?;
    assert!(hold.arrived(Duration::from_millis(50)).await.is_err());
    assert_eq!(upstream.hits().len(), 2, "they are recorded while they wait");
    assert!(!first.is_finished() && !second.is_finished());
    hold.release_one();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(u8::from(first.is_finished()) + u8::from(second.is_finished()), 1);
    hold.release();
    assert_eq!((first.await??.status(), second.await??.status()), (reqwest_ok(), reqwest_ok()));
    assert_eq!(get(url).await??.status(), 200, "nothing is held any more");
    Ok(())
}

fn reqwest_ok() -> reqwest::StatusCode {
    reqwest::StatusCode::OK
}

#[tokio::test]
async fn a_connection_becomes_something_else() -> Result<()> {
    let upstream = Upstream::start()?;
    let mut stream = TcpStream::connect(("127.0.0.1", upstream.port())).await?;
    stream.write_all(b"GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await?;
    let mut head = vec![0; 4096];
    let mut length = 0;
    while !head[..length].ends_with(b"\r\n\r\n") {
        length += stream.read(&mut head[length..]).await?;
    }
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    stream.write_all(b"to and fro").await?;
    let mut back = [0; 10];
    stream.read_exact(&mut back).await?;
    assert_eq!(&back, b"to and fro");
    Ok(())
}
