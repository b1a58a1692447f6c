//! What a request costs an Envoy, by what is in its way: CPU time of the whole process, in rounds that take turns.
//!
//! All contestants are listeners of one Envoy with one worker, each with a filter chain of its own and the same answer
//! behind it. What is measured is the processor time that the kernel counts for the process, not the time that passes: so
//! the figures hold, as ratios, on a machine that does other things meanwhile.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use farebox_core::crypto::base64url;
use farebox_core::token::{Constraint, Grant, Limit, Per, Token, Unit, issue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::envoy_config::{Config, Configuration, FACILITATOR, WasmFilter};
use crate::process::free_port;
use crate::proofs::tokens::{KEY_ENV, gate_key, now};
use crate::{Envoy, EnvoyConfig, Tools};

/// Requests at a time, on connections that are kept.
const AT_ONCE: usize = 16;
/// Lines of a request that every contestant gets.
const HEAD: &str = "GET /v1/quotes/btc?ccy=usd HTTP/1.1\r\nuser-agent: bench/1\r\naccept: application/json\r\n";

/// What stands in the way of a request.
struct Contestant {
    name: &'static str,
    what: &'static str,
    port: u16,
    request: String,
    status: u16,
}

/// What a contestant came to.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Its name.
    pub name: &'static str,
    /// What was measured.
    pub what: &'static str,
    /// Microseconds of CPU time for a request, in each round.
    pub micros: Vec<f64>,
}

impl Cost {
    /// The median of the rounds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The filters to measure.
pub struct Filters {
    /// farebox.
    pub farebox: PathBuf,
    /// Another build of it, to be compared.
    pub other: Option<PathBuf>,
    /// The least that a filter can do.
    pub baseline: PathBuf,
}

/// Measures what a call with a token costs, against the other ways to decide on a request: `rounds` rounds of `requests`
/// requests to each, after a warm-up.
///
/// # Errors
/// If Envoy does not start, or an answer is not as it must be.
pub async fn tokens(tools: &Tools, filters: &Filters, rounds: usize, requests: usize) -> Result<Vec<Cost>> {
    let authorizer = crate::Upstream::start()?;
    let jwt = rs256(tools)?;
    let (mine, other) = (&filters.farebox, filters.other.as_ref());
    let baseline = WasmFilter::new("baseline", &filters.baseline, Configuration::Text(String::new())).build();
    let mut listeners = Vec::new();
    let mut contestants: Vec<Contestant> = Vec::new();
    let mut add = |name, what, status, filter: &dyn Fn(&str) -> Option<Value>| -> Result<()> {
        let port = free_port()?;
        let host = format!("127.0.0.1:{port}");
        listeners.push(listener(port, filter(&format!("http://{host}")))?);
        let request = format!("{HEAD}host: {host}\r\n");
        contestants.push(Contestant { name, what, port, request, status });
        Ok(())
    };
    add("none", "no filter", 200, &|_| None)?;
    add("baseline", "a wasm filter that gets one header and sets one", 200, &|_| Some(baseline.clone()))?;
    add("free", "farebox, a free route", 200, &|origin| {
        Some(farebox("free", mine, origin, |policy| policy["routes"][0] = free_route()))
    })?;
    add("token", "farebox, a bearer token with a budget and a rate", 200, &|origin| {
        Some(farebox("token", mine, origin, |_| {}))
    })?;
    if let Some(other) = other {
        add("token, other", "the same with the other build", 200, &|origin| {
            Some(farebox("token-other", other, origin, |_| {}))
        })?;
    }
    add("token, audit", "the same with an audit log", 200, &|origin| {
        Some(farebox("audit", mine, origin, |policy| policy["audit"] = json!({})))
    })?;
    if let Some(other) = other {
        add("token, audit, other", "the same with the other build", 200, &|origin| {
            Some(farebox("audit-other", other, origin, |policy| policy["audit"] = json!({})))
        })?;
    }
    add("challenge", "farebox, no credential: a 402", 402, &|origin| Some(farebox("challenge", mine, origin, |_| {})))?;
    add("jwt_authn", "Envoy's own jwt_authn, RS256", 200, &|_| Some(jwt_authn(&jwt)))?;
    add("ext_authz", "Envoy's own ext_authz over HTTP", 200, &|_| Some(ext_authz(authorizer.port())))?;

    let mut bootstrap = Config::new(authorizer.port())?.cluster(FACILITATOR, authorizer.port()).build();
    bootstrap["static_resources"]["listeners"] = listeners.into();
    let config = EnvoyConfig::new(bootstrap.to_string()).concurrency(1).env(KEY_ENV, &gate_key().to_jwk().to_string());
    let mut envoy = Envoy::start(tools, config).await?;

    for contestant in &mut contestants {
        let more = match contestant.name {
            "jwt_authn" => format!("authorization: Bearer {}\r\n\r\n", text(&jwt["token"])?),
            name if name.starts_with("token") => {
                let token = token(contestant.port).await?;
                format!("authorization: Bearer {token}\r\n\r\n")
            }
            // As many bytes as the others carry.
            _ => format!("x-baseline-in: {}\r\n\r\n", "a".repeat(900)),
        };
        contestant.request.push_str(&more);
    }
    let mut costs: Vec<Cost> =
        contestants.iter().map(|it| Cost { name: it.name, what: it.what, micros: Vec::new() }).collect();
    for contestant in &contestants {
        load(contestant, requests.min(5000)).await?;
    }
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            // Each round begins with another one.
            let nth = (turn + round) % contestants.len();
            let contestant = &contestants[nth];
            authorizer.clear();
            let before = cpu_nanos(envoy.process().id())?;
            load(contestant, requests).await?;
            let spent = cpu_nanos(envoy.process().id())? - before;
            costs[nth].micros.push(spent as f64 / 1000.0 / requests as f64);
        }
    }
    Ok(costs)
}

/// Nanoseconds that the threads of a process have had a processor.
fn cpu_nanos(process: u32) -> Result<u64> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has just ended has nothing to add.
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos += stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).context("no schedstat")?;
    }
    Ok(nanos)
}

/// Sends `requests` requests, each when its connection's last was answered.
async fn load(contestant: &Contestant, requests: usize) -> Result<()> {
    let left = Arc::new(AtomicUsize::new(requests));
    let wanted = format!("HTTP/1.1 {} ", contestant.status);
    let mut clients = Vec::new();
    for _ in 0..AT_ONCE {
        let (left, request, wanted) = (Arc::clone(&left), contestant.request.clone(), wanted.clone());
        let mut stream = TcpStream::connect(("127.0.0.1", contestant.port)).await?;
        stream.set_nodelay(true)?;
        clients.push(tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(16 * 1024);
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                stream.write_all(request.as_bytes()).await?;
                buffer.clear();
                let mut whole = None;
                while whole.is_none_or(|whole| buffer.len() < whole) {
                    ensure!(stream.read_buf(&mut buffer).await? > 0, "Envoy closed a connection");
                    whole = whole.or_else(|| length(&buffer));
                }
                if !buffer.starts_with(wanted.as_bytes()) {
                    bail!("{}", String::from_utf8_lossy(&buffer));
                }
            }
            anyhow::Ok(())
        }));
    }
    for client in clients {
        client.await?.with_context(|| contestant.name)?;
    }
    Ok(())
}

/// Bytes of a response, once its headers are there.
fn length(response: &[u8]) -> Option<usize> {
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(response.get(..end)?).ok()?;
    let body = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    Some(end + 4 + body.unwrap_or(0))
}

/// A listener whose requests are answered behind these filters.
fn listener(port: u16, filter: Option<Value>) -> Result<Value> {
    let mut config = Config::new(1)?;
    config.port = port;
    let mut bootstrap = config.build();
    let mut listener = bootstrap["static_resources"]["listeners"][0].take();
    listener["name"] = format!("bench-{port}").into();
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["stat_prefix"] = format!("bench-{port}").into();
    manager["route_config"]["virtual_hosts"][0]["routes"] = json!([{
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": "{\"quote\":1}" } },
        "response_headers_to_add": [{ "header": { "key": "content-type", "value": "application/json" } }],
    }]);
    let router = manager["http_filters"].take();
    manager["http_filters"] = filter.into_iter().chain(router.as_array().into_iter().flatten().cloned()).collect();
    Ok(listener)
}

/// farebox, for the clients that call it by `origin`, with a VM of its own.
fn farebox(name: &str, wasm: &Path, origin: &str, change: fn(&mut Value)) -> Value {
    let mut policy = json!({
        "version": 1,
        "origins": [origin],
        "default": "denied",
        "payees": { crate::chain::NETWORK: crate::accounts::PAYEE.address },
        "facilitators": [{ "name": "nobody", "url": "http://facilitator.local", "cluster": FACILITATOR }],
        "limits": { "challenges_per_second": 0 },
        "tokens": { "keys": [{ "env": KEY_ENV }] },
        "routes": [{
            "name": "quotes", "path": "/v1/quotes/*", "methods": ["GET"], "response_timeout_seconds": 30,
            "offers": [{ "price": "$0.01", "network": crate::chain::NETWORK }],
        }]
    });
    change(&mut policy);
    WasmFilter::new(name, wasm, Configuration::Struct(policy)).host_env_key(KEY_ENV).build()
}

fn free_route() -> Value {
    json!({ "name": "quotes", "path": "/v1/quotes/*", "access": "free" })
}

fn jwt_authn(jwt: &Value) -> Value {
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": { "bench": {
                "issuer": "https://bench.example",
                "local_jwks": { "inline_string": jwt["jwks"].to_string() },
            } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "bench" } }],
        },
    })
}

fn ext_authz(port: u16) -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "http_service": {
                "server_uri": {
                    "uri": format!("http://127.0.0.1:{port}"), "cluster": crate::envoy_config::UPSTREAM, "timeout": "5s",
                },
                "path_prefix": "/plain",
            },
        },
    })
}

/// An RSA key set, and a token that it signed: `{"jwks", "token"}`.
fn rs256(tools: &Tools) -> Result<Value> {
    let output = tools.node("rs256.mjs").stderr(Stdio::inherit()).output().context("cannot run node")?;
    ensure!(output.status.success(), "rs256.mjs failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("no text where one should be")
}

/// A token of the gate at this port, as it would sell one.
async fn token(port: u16) -> Result<String> {
    let origin = format!("http://127.0.0.1:{port}");
    let url = format!("{origin}/.well-known/oauth-protected-resource");
    let metadata: Value = serde_json::from_str(&crate::scenario::request("GET", &url, &[]).await?.body)?;
    let epoch = base64url::decode_fixed(text(&metadata["farebox_ledger_epoch"])?).context("no epoch")?;
    let limit = |per, max| Limit { per, unit: Unit::Call, max };
    let iat = now() - 1;
    let payer = format!("{}:{}", crate::chain::NETWORK, crate::accounts::BUYER.address);
    let token = Token {
        iss: origin.clone(),
        aud: vec![origin.clone()],
        client_id: Some(payer.clone()),
        sub: Some(payer.clone()),
        iat,
        nbf: Some(iat),
        exp: iat + 3600,
        jti: format!("bench-{port}-0123456789"),
        cnf: None,
        grants: vec![Grant {
            locations: vec![origin],
            actions: ["GET", "HEAD"].map(str::to_owned).to_vec(),
            constraints: vec![Constraint::RouteOneOf(vec!["quotes".to_owned()])],
            limits: vec![limit(Per::Token, 1_000_000_000), limit(Per::Window(1), 1_000_000)],
        }],
        del_depth: 0,
        del_max_depth: None,
        par_hash: None,
        txn: Some(format!("{}:0x{:0>64}", crate::chain::NETWORK, "1")),
        epoch: Some(epoch),
        scope: None,
        status: None,
        act: None,
    };
    Ok(issue(&gate_key(), &token)?)
}
