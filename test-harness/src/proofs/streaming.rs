//! Paid streams: how soon after the settlement the first event is with the client, and what a gigabyte costs in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::plan;
use crate::envoy_config::FACILITATOR;
use crate::stack::test_policy;
use crate::{Fault, Operation, Stack, Tools, process, scenario};

/// Paid event streams that are timed.
const STREAMS: usize = 8;
/// Events of each, and the time between them.
const EVENTS: (usize, u64) = (15, 100);
/// Bytes of the large response.
const LARGE: u64 = 1 << 30;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// From the facilitator's settlement answer, as it passed into Envoy, to the first event at the client.
    pub first_event: Vec<Duration>,
    /// From the response's headers to the first event.
    pub after_headers: Vec<Duration>,
    /// From the request to the response's headers: never less than the settlement takes.
    pub held: Vec<Duration>,
    /// Pieces that came half an interval or more after the one before: as they were made, not all at the end.
    pub spread_events: usize,
    /// Bytes of the large response that the client got.
    pub large_bytes: u64,
    /// How long it took.
    pub large_took: Duration,
    /// Envoy's resident memory before it, in bytes.
    pub resident_before: u64,
    /// The most during it.
    pub resident_during: u64,
    /// A second after it.
    pub resident_after: u64,
}

impl Figures {
    /// Whether the first event comes within 100 ms of the settlement, and memory stays flat.
    pub fn holds(&self) -> bool {
        self.first_event.len() == STREAMS
            && self.slowest() < Duration::from_millis(100)
            && self.held.iter().all(|held| *held >= SETTLEMENT)
            && self.spread_events >= STREAMS * 3
            && self.large_bytes == LARGE
            && self.growth() < 64 << 20
    }

    /// The slowest first event.
    pub fn slowest(&self) -> Duration {
        self.first_event.iter().copied().max().unwrap_or_default()
    }

    /// Bytes that Envoy had more at most.
    pub fn growth(&self) -> u64 {
        self.resident_during.max(self.resident_after).saturating_sub(self.resident_before)
    }
}

/// What a settlement takes at least.
const SETTLEMENT: Duration = Duration::from_millis(300);

/// Tries it.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn streaming(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Figures> {
    let tap = Tap::start().await?;
    let port = tap.port;
    let plan = plan(filter, test_policy, env).adjust(move |config| {
        config.route_timeout = None;
        config.clusters.iter_mut().filter(|(name, _)| name == FACILITATOR).for_each(|(_, there)| *there = port);
    });
    let mut stack = tap.between(Stack::start(tools, plan)).await?;
    let mut figures = Figures::default();
    for number in 0..STREAMS {
        stream(&stack, &tap, number, &mut figures).await?;
    }
    large(&mut stack, &mut figures).await?;
    Ok(figures)
}

async fn stream(stack: &Stack, tap: &Tap, number: usize, figures: &mut Figures) -> Result<()> {
    let path = format!("/stream?chunks={}&ms={}&run={number}", EVENTS.0, EVENTS.1);
    let payment = scenario::sign(stack, &path).await?;
    stack.facilitator.set_faults(Operation::Settle, &[Fault::delay(SETTLEMENT)]).await?;
    let started = Instant::now();
    let request = crate::http::client().get(stack.url(&path)).header("payment-signature", &payment);
    let mut response = request.send().await?;
    let headers = Instant::now();
    ensure!(response.status() == 200, "{path}: {}", response.status());
    ensure!(response.headers().contains_key("payment-response"), "{path}: no receipt");
    let first = response.chunk().await?.context("no event")?;
    let came = Instant::now();
    let answered = tap.last_answer().context("no answer of the facilitator")?;
    figures.first_event.push(came.saturating_duration_since(answered));
    figures.after_headers.push(came - headers);
    figures.held.push(headers - started);
    // What came while the response was held comes at once; the rest as it is made.
    let (mut events, mut last) = (count(&first), came);
    while let Some(chunk) = response.chunk().await? {
        events += count(&chunk);
        figures.spread_events += usize::from(last.elapsed() >= Duration::from_millis(EVENTS.1 / 2));
        last = Instant::now();
    }
    ensure!(events == EVENTS.0, "{path}: {events} events");
    Ok(())
}

fn count(chunk: &[u8]) -> usize {
    String::from_utf8_lossy(chunk).matches("data: ").count()
}

async fn large(stack: &mut Stack, figures: &mut Figures) -> Result<()> {
    let path = format!("/large?bytes={LARGE}");
    let payment = scenario::sign(stack, &path).await?;
    let envoy = stack.envoy.process().id();
    figures.resident_before = resident(envoy)?;
    stack.facilitator.set_faults(Operation::Settle, &[Fault::delay(SETTLEMENT)]).await?;
    let started = Instant::now();
    let mut response = crate::http::client().get(stack.url(&path)).header("payment-signature", &payment).send().await?;
    ensure!(response.status() == 200, "{path}: {}", response.status());
    let mut looked = Instant::now();
    figures.resident_during = resident(envoy)?;
    while let Some(chunk) = response.chunk().await? {
        figures.large_bytes += chunk.len() as u64;
        if looked.elapsed() > Duration::from_millis(20) {
            figures.resident_during = figures.resident_during.max(resident(envoy)?);
            looked = Instant::now();
        }
    }
    figures.large_took = started.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    figures.resident_after = resident(envoy)?;
    Ok(())
}

/// The resident memory of a process, in bytes.
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Stands between Envoy and the facilitator, and notes when an answer last passed.
struct Tap {
    port: u16,
    listener: Mutex<Option<TcpListener>>,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Tap {
    async fn start() -> Result<Self> {
        let port = process::free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(Self { port, listener: Mutex::new(Some(listener)), last: Arc::default() })
    }

    /// Connects it to the facilitator of a stack that is being started.
    async fn between(&self, stack: impl Future<Output = Result<Stack>>) -> Result<Stack> {
        let stack = stack.await?;
        let (facilitator, last) = (stack.facilitator.port(), Arc::clone(&self.last));
        let listener = self.listener.lock().ok().and_then(|mut listener| listener.take());
        let listener = listener.context("the tap has been taken")?;
        tokio::spawn(async move {
            while let Ok((envoy, _)) = listener.accept().await {
                tokio::spawn(carry(envoy, facilitator, Arc::clone(&last)));
            }
        });
        Ok(stack)
    }

    fn last_answer(&self) -> Option<Instant> {
        *self.last.lock().ok()?
    }
}

async fn carry(envoy: TcpStream, facilitator: u16, last: Arc<Mutex<Option<Instant>>>) -> Result<()> {
    let facilitator = TcpStream::connect(("127.0.0.1", facilitator)).await?;
    envoy.set_nodelay(true)?;
    facilitator.set_nodelay(true)?;
    let ((mut from_envoy, mut to_envoy), (mut from_it, mut to_it)) = (envoy.into_split(), facilitator.into_split());
    let asking = tokio::spawn(async move { tokio::io::copy(&mut from_envoy, &mut to_it).await });
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from_it.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        if let Ok(mut last) = last.lock() {
            *last = Some(Instant::now());
        }
        to_envoy.write_all(&buffer[..length]).await?;
    }
    asking.abort();
    Ok(())
}
