//! A server for a page that was built: the files of one folder, and what the page is told of where it runs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::process::free_port;

/// A server on a port of its own, from the start, so that a gate can be told of it. It ends when this is dropped.
#[derive(Debug)]
pub struct Site {
    port: u16,
    files: Arc<RwLock<Files>>,
    _stop: oneshot::Sender<Infallible>,
}

/// What there is, by path: nothing else can be asked for.
#[derive(Debug, Default)]
struct Files {
    by_path: HashMap<String, (&'static str, Bytes)>,
    /// The `Content-Security-Policy` of every answer.
    policy: String,
}

impl Site {
    /// Starts a server that has nothing yet.
    ///
    /// # Errors
    /// If the system refuses a port or a thread.
    pub fn start() -> Result<Self> {
        let port = free_port()?;
        let listener = StdListener::bind(("127.0.0.1", port)).context("cannot listen for the page")?;
        listener.set_nonblocking(true)?;
        let files = Arc::<RwLock<Files>>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&files);
        std::thread::Builder::new().name("rig-site".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { port, files, _stop: stop })
    }

    /// Where pages find it: `http://127.0.0.1:<port>`.
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Serves a text at a path.
    pub fn put(&self, path: &str, text: String) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.by_path.insert(path.to_owned(), (kind(path), Bytes::from(text)));
    }

    /// Serves what is in `folder`, with `index.html` at `/`. Its page may call its own origin and `origins`, and loads
    /// nothing from elsewhere.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn serve(&self, folder: &Path, origins: &[&str]) -> Result<()> {
        let mut by_path = HashMap::new();
        read(folder, "", &mut by_path)?;
        if let Some(index) = by_path.get("/index.html").cloned() {
            by_path.insert("/".to_owned(), index);
        }
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.by_path.extend(by_path);
        files.policy = format!(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            origins.join(" ")
        );
        Ok(())
    }
}

fn read(folder: &Path, at: &str, files: &mut HashMap<String, (&'static str, Bytes)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let path = format!("{at}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &path, files)?;
        } else {
            let bytes = Bytes::from(fs::read(entry.path())?);
            files.insert(path.clone(), (kind(&path), bytes));
        }
    }
    Ok(())
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

async fn serve(listener: StdListener, files: Arc<RwLock<Files>>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let files = Arc::clone(&files);
        tokio::spawn(async move {
            let service = service_fn(|request| std::future::ready(answer(&request, &files)));
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
    }
}

fn answer<B>(request: &Request<B>, files: &RwLock<Files>) -> hyper::http::Result<Response<Full<Bytes>>> {
    let files = files.read().unwrap_or_else(PoisonError::into_inner);
    let found = files.by_path.get(request.uri().path()).filter(|_| request.method() == Method::GET);
    let response = Response::builder()
        .header("cache-control", "no-store")
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer");
    match found {
        Some((kind, bytes)) => response
            .header("content-type", *kind)
            .header("content-security-policy", &files.policy)
            .body(Full::new(bytes.clone())),
        None => response.status(404).body(Full::new(Bytes::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[tokio::test]
    async fn a_site_serves_what_is_in_its_folder_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("site")).unwrap();
        fs::write(dir.path().join("site/index.html"), "<p>here").unwrap();
        fs::write(dir.path().join("secret"), "not here").unwrap();
        let site = Site::start().unwrap();
        site.put("/facts.json", "{}".to_owned());
        site.serve(&dir.path().join("site"), &["http://gate.test"]).unwrap();
        let get = async |path: &str| scenario::request("GET", &format!("{}{path}", site.origin()), &[]).await.unwrap();
        let index = get("/").await;
        assert_eq!((index.status, index.body.as_str()), (200, "<p>here"));
        assert!(index.headers["content-security-policy"].contains("connect-src 'self' http://gate.test;"));
        assert_eq!(get("/facts.json").await.headers["content-type"], "application/json");
        for elsewhere in ["/secret", "/%2e%2e/secret", "/..%2fsecret", "//secret"] {
            assert_eq!(get(elsewhere).await.status, 404, "{elsewhere}");
        }
    }
}
