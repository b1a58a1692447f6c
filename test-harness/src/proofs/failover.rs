//! Two facilitators on one chain; the first is killed under load of paid requests, and comes back later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{nonce_of, plan};
use crate::accounts::{BUYER, PAYEE};
use crate::envoy_config::FACILITATOR;
use crate::facilitator::{Options, SECOND_FACILITATOR};
use crate::process::free_port;
use crate::scenario;
use crate::stack::fault_policy;
use crate::{Facilitator, Fault, Operation, Stack, Tools};

/// Purchases under way at once.
const AT_ONCE: usize = 8;
/// The longest that a buyer asks again for what it has paid for.
const PATIENCE: Duration = Duration::from_secs(60);

/// An end that is none.
const OPEN: &str = "then nothing else for a minute";

/// How an end begins where the gate asked nobody else: verifying goes on to the next facilitator, so none may.
const TURNED_AWAY: &str = "503 facilitator_unavailable";

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Purchases that were begun, each of a thing of its own.
    pub purchases: usize,
    /// How they ended.
    pub ends: BTreeMap<String, usize>,
    /// Things that were charged for more than once.
    pub charged_twice: usize,
    /// Things that were served and not charged for.
    pub served_unpaid: usize,
    /// Things that were charged for and never served, however often the buyer asked.
    pub lost: usize,
    /// Transfers to the payee on the chain.
    pub transfers: usize,
    /// Authorizations of the buyers that the chain has used.
    pub authorizations: usize,
    /// States that the first facilitator's breakers entered after the kill, from Prometheus.
    pub breaker: BTreeMap<String, u64>,
    /// Verify calls that the second facilitator got before the kill, and until the first one was back.
    pub second: [u64; 2],
    /// Verify calls that the first facilitator got before the kill, and after it was back.
    pub first: [u64; 2],
    /// Seconds from its return until it was asked again.
    pub back_after: f64,
    /// Connections that each Envoy worker took.
    pub workers: Vec<u64>,
    /// What the gate's log says of settlements without a good answer, each once.
    pub doubts: BTreeMap<String, usize>,
}

impl Figures {
    /// Whether every purchase ended served and paid, or unpaid, and the proxy went over and came back by itself.
    pub fn holds(&self) -> bool {
        let (served, entered) = (self.served(), |state: &str| self.breaker.get(state).is_some_and(|times| *times > 0));
        (self.charged_twice, self.served_unpaid, self.lost) == (0, 0, 0)
            && self.purchases >= 50
            && self.ends.values().sum::<usize>() == self.purchases
            && !self.ends.keys().any(|end| end.ends_with(OPEN) || end.starts_with(TURNED_AWAY))
            && (self.transfers, self.authorizations) == (served, served)
            && ["open", "half_open", "closed"].into_iter().all(entered)
            && self.second[1] > self.second[0]
            && self.first.iter().all(|calls| *calls > 0)
            && self.workers.iter().filter(|connections| **connections > 0).count() == 2
    }

    /// Purchases that ended well.
    pub fn served(&self) -> usize {
        self.ends.iter().filter(|(end, _)| end.contains("served")).map(|(_, times)| times).sum()
    }
}

/// One purchase.
struct Bought {
    end: String,
    /// Every payment that its buyer signed.
    nonces: Vec<String>,
    served: bool,
}

fn policy(origin: &str) -> Value {
    let mut policy = fault_policy(origin);
    let facilitator = |name: &str, cluster: &str| {
        json!({ "name": name, "url": format!("http://{name}.local"), "cluster": cluster,
                "verify_timeout_seconds": 2, "settle_timeout_seconds": 3 })
    };
    for route in policy["routes"].as_array_mut().into_iter().flatten().filter(|route| route.get("offers").is_some()) {
        // What nobody carried out is over soon.
        route["offers"][0]["max_timeout_seconds"] = json!(20);
    }
    policy["facilitators"] = json!([facilitator("first", "first"), facilitator("second", FACILITATOR)]);
    policy
}

/// Tries it.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn failover(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Figures> {
    let port = free_port()?;
    let plan = plan(filter, policy, env).adjust(move |config| config.clusters.push(("first".to_owned(), port)));
    let stack = Arc::new(Stack::start(tools, plan).await?);
    let options = Options::default().port(port).account(SECOND_FACILITATOR);
    let mut first = Facilitator::start_with(tools, &stack.chain, &options).await?;
    // So that some settlements have reached the chain, and their answers have not left, when it is killed.
    first.set_faults(Operation::Settle, &[Fault::delay(Duration::from_millis(150)).always()]).await?;

    let load = Load::start(&stack);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut figures = Figures { first: [first.counts().await?.verify, 0], ..Figures::default() };
    let before = transitions(&stack).await?;
    figures.second[0] = stack.facilitator.counts().await?.verify;
    first.process().signal(libc::SIGKILL)?;
    drop(first);
    tokio::time::sleep(Duration::from_secs(6)).await;

    let first = Facilitator::start_with(tools, &stack.chain, &options).await?;
    figures.second[1] = stack.facilitator.counts().await?.verify;
    let back = Instant::now();
    while first.counts().await?.verify == 0 && back.elapsed() < Duration::from_secs(40) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    figures.back_after = back.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bought = load.stop(&stack).await?;
    figures.first[1] = first.counts().await?.verify;
    for (state, times) in transitions(&stack).await? {
        let times = times - before.get(&state).copied().unwrap_or(0);
        figures.breaker.insert(state, times);
    }
    for line in stack.envoy.log()?.lines() {
        if let Some((_, doubt)) = line.split_once("facilitator ").filter(|(_, doubt)| doubt.contains("/settle: ")) {
            *figures.doubts.entry(doubt.to_owned()).or_default() += 1;
        }
    }
    figures.workers = stack.envoy.connections_by_worker(stack.config.port).await?;
    figures.transfers = stack.chain.transfers_to(PAYEE.address).await?.len();
    figures.authorizations = stack.chain.authorizations_used_by(BUYER.address).await?;
    figures.purchases = bought.len();
    for bought in bought {
        let mut charged = 0;
        for nonce in &bought.nonces {
            charged += stack.chain.authorization_used(BUYER.address, nonce).await?;
        }
        figures.charged_twice += usize::from(charged > 1);
        figures.served_unpaid += usize::from(bought.served && charged == 0);
        figures.lost += usize::from(!bought.served && charged > 0);
        *figures.ends.entry(bought.end).or_default() += 1;
    }
    Ok(figures)
}

/// Buyers that buy one thing after another.
struct Load {
    stop: Arc<AtomicBool>,
    buyers: Vec<tokio::task::JoinHandle<Result<Vec<Bought>>>>,
}

impl Load {
    fn start(stack: &Arc<Stack>) -> Self {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let buyer = |_| {
            let (stack, stop, next) = (Arc::clone(stack), Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move {
                let mut bought = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    bought.push(buy(&stack, next.fetch_add(1, Ordering::SeqCst)).await?);
                }
                Ok(bought)
            })
        };
        Self { buyers: (0..AT_ONCE).map(buyer).collect(), stop }
    }

    /// Waits until all have ended, while the chain's time goes on.
    async fn stop(self, stack: &Stack) -> Result<Vec<Bought>> {
        self.stop.store(true, Ordering::SeqCst);
        while !self.buyers.iter().all(tokio::task::JoinHandle::is_finished) {
            stack.chain.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let mut all = Vec::new();
        for buyer in self.buyers {
            all.extend(buyer.await??);
        }
        Ok(all)
    }
}

/// Buys one thing until it is there or was refused: in case of trouble by the same payment, or, every other time, as
/// the official client does by itself: anew.
async fn buy(stack: &Stack, number: usize) -> Result<Bought> {
    let url = stack.url(&format!("/plain/users/{number}"));
    let (started, anew) = (Instant::now(), number % 2 == 1);
    let mut bought = stack.buyer.get(&url).await?;
    let mut nonces = Vec::new();
    let mut payment = bought.payment().map(|signed| signed.value.clone());
    if let Some(payment) = &payment {
        nonces.push(nonce_of(payment)?);
    }
    if bought.status == 200 {
        return Ok(Bought { end: "served".to_owned(), nonces, served: true });
    }
    let first = format!("{} {}", bought.status, code(&bought.body));
    loop {
        if started.elapsed() > PATIENCE {
            return Ok(Bought { end: format!("{first}, {OPEN}"), nonces, served: false });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (status, body, way) = match &payment {
            Some(payment) if !anew => {
                let got = scenario::request("GET", &url, &[("payment-signature", payment)]).await?;
                (got.status, got.body, "by the same payment")
            }
            _ => {
                bought = stack.buyer.get(&url).await?;
                payment = bought.payment().map(|signed| signed.value.clone());
                if let Some(payment) = &payment {
                    nonces.push(nonce_of(payment)?);
                }
                (bought.status, bought.body.clone(), "to a new payment")
            }
        };
        match status {
            200 => return Ok(Bought { end: format!("{first}, then served {way}"), nonces, served: true }),
            503 => {}
            409 if code(&body) == "payment_in_progress" => {}
            402 | 409 => {
                let end = format!("{first}, then {status} {}", code(&body));
                return Ok(Bought { end, nonces, served: false });
            }
            _ => bail!("{url}: {first}, then {status} {body}"),
        }
    }
}

/// The code in the body of a refusal.
fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

/// How often the first facilitator's breakers entered each state, as Prometheus is told.
async fn transitions(stack: &Stack) -> Result<BTreeMap<String, u64>> {
    let prometheus = stack.envoy.prometheus().await?;
    let lines = prometheus.lines().filter(|line| {
        line.starts_with("farebox_breaker_transitions_total{") && line.contains(r#"facilitator="first""#)
    });
    let entered = lines.filter_map(|line| {
        let (_, state) = line.split_once(r#"state=""#)?;
        let (state, rest) = state.split_once('"')?;
        Some((state.to_owned(), rest.rsplit(' ').next()?.parse().ok()?))
    });
    Ok(entered.collect())
}
