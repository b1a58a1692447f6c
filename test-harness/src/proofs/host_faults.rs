//! Faults of the proxy itself, in the cells of [`crate::money`]: it answers past the filter, the filter traps, the
//! listener gets a new configuration or goes away. What must come out is in `vectors/host-faults.json`, written by hand.
//!
//! Each row has a proxy of its own. Two payments for two things are under way when the fault strikes; afterwards, when
//! the gate's own deadlines have passed, one buyer asks again with the same payment and the other pays anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{add_routes, nonce_of, plan};
use crate::accounts::BUYER;
use crate::money::{self, Cell, Row, Tried};
use crate::scenario::{self, Got};
use crate::stack::{fault_policy, priced};
use crate::upstream::Answer;
use crate::{Fault, Operation, Plan, Stack, Tools};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The rows, each with its cells.
    pub tried: Vec<Tried>,
    /// Rows whose fault could not be brought about, and why.
    pub not_tried: Vec<String>,
}

impl Figures {
    /// Whether every cell is as the table says, and no money rule is broken.
    pub fn holds(&self) -> bool {
        !self.tried.is_empty() && self.complaints().is_empty()
    }

    /// What is wrong.
    pub fn complaints(&self) -> Vec<String> {
        self.tried.iter().flat_map(Tried::complaints).chain(self.not_tried.iter().cloned()).collect()
    }
}

/// The rows of `vectors/host-faults.json`.
///
/// # Errors
/// If the file is not there or not as its README says.
pub fn rows() -> Result<Vec<Row>> {
    money::read_rows("host-faults.json")
}

/// Seconds until the gate gives up on a claim of [`policy`], whatever it was at: twice the settle timeout, and the
/// time that a worker may be late.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest that a client waits.
const PATIENCE: Duration = Duration::from_secs(8);

fn policy(origin: &str) -> Value {
    let mut policy = fault_policy(origin);
    for route in policy["routes"].as_array_mut().into_iter().flatten() {
        if route.get("offers").is_some() {
            route["response_timeout_seconds"] = json!(3);
        }
    }
    add_routes(&mut policy, [priced("cut", "/cut", json!({ "response_timeout_seconds": 3 }))]);
    policy
}

/// Tries every row of the table.
///
/// # Errors
/// If a filter cannot be built. What keeps one row from being tried is in the figures.
pub async fn host_faults(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Figures> {
    try_rows(tools, filter, env, rows()?).await
}

/// Tries some rows, a few at once: most of the time they wait.
///
/// # Errors
/// As [`host_faults`].
pub async fn try_rows(tools: &Tools, filter: &Path, env: &[(String, String)], rows: Vec<Row>) -> Result<Figures> {
    const AT_ONCE: usize = 3;
    let trap: &[&str] = if env.is_empty() { &["trap"] } else { &["trap", "mutants"] };
    let trap = crate::wasm::build(tools, "farebox-filter", trap)?;
    let (mut figures, mut running) = (Figures::default(), JoinSet::new());
    let mut waiting = rows.into_iter().enumerate();
    loop {
        while running.len() < AT_ONCE
            && let Some((number, row)) = waiting.next()
        {
            let filter = if row.fault.starts_with("trap: ") { &trap } else { filter }.to_owned();
            let (tools, env) = (tools.clone(), env.to_vec());
            running.spawn(async move {
                let tried = try_row(&tools, &filter, &env, &row, number).await;
                tried.map_err(|error| format!("{}: {error:#}", row.name()))
            });
        }
        match running.join_next().await {
            None => break,
            Some(tried) => match tried? {
                Ok(tried) => figures.tried.push(tried),
                Err(why) => figures.not_tried.push(why),
            },
        }
    }
    figures.tried.sort_by(|a, b| (&a.row.fault, &a.row.settle).cmp(&(&b.row.fault, &b.row.settle)));
    Ok(figures)
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// The proxy's route timeout.
    RouteTimeout,
    /// The upstream resets a response that the filter holds.
    Reset,
    /// The filter traps.
    Trap,
    /// The listener gets a new configuration.
    Push,
    /// The listener goes away, and comes back; another one with the same filter stays.
    Removal,
}

/// What the gate is at when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Verify,
    Upstream,
    Settle,
    /// A settlement that takes longer than the proxy lets a listener drain.
    LongSettle,
}

fn read(fault: &str) -> Result<(Blow, Moment)> {
    Ok(match fault {
        "route timeout: upstream" => (Blow::RouteTimeout, Moment::Upstream),
        "route timeout: settle" => (Blow::RouteTimeout, Moment::Settle),
        "upstream reset: settle" => (Blow::Reset, Moment::Settle),
        "trap: verify" => (Blow::Trap, Moment::Verify),
        "trap: upstream" => (Blow::Trap, Moment::Upstream),
        "trap: settle" => (Blow::Trap, Moment::Settle),
        "configuration push: upstream" => (Blow::Push, Moment::Upstream),
        "configuration push: settle" => (Blow::Push, Moment::Settle),
        "configuration push: long settle" => (Blow::Push, Moment::LongSettle),
        "listener removed: settle" => (Blow::Removal, Moment::Settle),
        "listener removed: long settle" => (Blow::Removal, Moment::LongSettle),
        _ => bail!("no fault {fault:?}"),
    })
}

/// Tries one row; `filter` is one that can trap, if that is the fault.
///
/// # Errors
/// If the rig itself fails.
pub async fn try_row(
    tools: &Tools,
    filter: &Path,
    env: &[(String, String)],
    row: &Row,
    number: usize,
) -> Result<Tried> {
    let (fault, at_once) = row.fault.strip_suffix(", asked at once").map_or((&*row.fault, false), |it| (it, true));
    let (blow, moment) = read(fault)?;
    let site = Site::start(tools, filter, env, blow).await?;
    let path = |run: &str| match (row.settle.as_str(), blow, moment) {
        ("before", ..) => format!("/plain/prepaid/{run}{number}"),
        (_, Blow::Reset, _) => format!("/cut?bytes=1000&run={run}{number}"),
        (_, Blow::RouteTimeout, Moment::Settle) => format!("/large?bytes=5000000&run={run}{number}"),
        _ => format!("/plain/users/{run}{number}"),
    };
    let paths = [path("a"), path("b")];
    let payments = [scenario::sign(&site.stack, &paths[0]).await?, scenario::sign(&site.stack, &paths[1]).await?];
    let firsts = site.strike(blow, moment, &paths, &payments).await?;
    // Late answers, then the deadlines that the gate gave itself.
    let patience = match blow {
        _ if at_once => Duration::ZERO,
        Blow::RouteTimeout | Blow::Reset => Duration::from_secs(2),
        Blow::Trap | Blow::Push | Blow::Removal => DEADLINE,
    };
    tokio::time::sleep(patience).await;
    let mut cells = Vec::new();
    for (got, payment) in firsts.iter().zip(&payments) {
        cells.push(Cell::of(got.as_ref(), site.charges(&[payment]).await?));
    }
    if cells[0] != cells[1] {
        bail!("the first tries came out as {} and as {}", cells[0], cells[1]);
    }
    for path in &paths {
        money::ready(&site.stack, path).await?;
    }
    let before = site.charges(&[&payments[0]]).await?;
    let got = scenario::send(&site.stack, "GET", &paths[0], Some(&payments[0])).await?;
    let same = Cell::of(Some(&got), site.charges(&[&payments[0]]).await? - before);

    let before = site.charges(&[&payments[1]]).await?;
    let payment = scenario::sign(&site.stack, &paths[1]).await?;
    let got = scenario::send(&site.stack, "GET", &paths[1], Some(&payment)).await?;
    let new = Cell::of(Some(&got), site.charges(&[&payments[1], &payment]).await? - before);
    Ok(Tried { row: row.clone(), cells: [cells[0].clone(), same, new], later: Vec::new() })
}

struct Site {
    stack: Stack,
    /// The file that the listener is read from.
    listeners: Listeners,
}

/// The file that Envoy watches for its listeners.
struct Listeners {
    file: PathBuf,
    dir: tempfile::TempDir,
}

impl Site {
    async fn start(tools: &Tools, filter: &Path, env: &[(String, String)], blow: Blow) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-listeners-").tempdir()?;
        let listeners = Listeners { file: dir.path().join("listeners.json"), dir };
        let (file, watched) = (listeners.file.clone(), matches!(blow, Blow::Push | Blow::Removal));
        let other_port = crate::process::free_port()?;
        let plan = Plan { workers: 1, ..plan(filter, policy, env) };
        let plan = plan
            .adjust(move |config| {
                if blow == Blow::RouteTimeout {
                    config.route_timeout = Some(Duration::from_secs(1));
                }
            })
            .edit(move |bootstrap| {
                if watched {
                    let listeners = bootstrap["static_resources"]["listeners"].take();
                    // What Envoy's workers share lives as long as one listener has the filter.
                    let others = if blow == Blow::Removal { vec![another(&listeners[0], other_port)] } else { vec![] };
                    bootstrap["static_resources"]["listeners"] = json!(others);
                    bootstrap["node"] = json!({ "id": "rig", "cluster": "rig" });
                    bootstrap["dynamic_resources"]["lds_config"] =
                        json!({ "resource_api_version": "V3", "path_config_source": { "path": file } });
                    // An error shows as a proxy that has no listener.
                    let _ = std::fs::write(&file, resources(&listeners, 1).to_string());
                }
            });
        Ok(Self { stack: Stack::start(tools, plan).await?, listeners })
    }

    /// Has both paid for, and strikes meanwhile; what the two clients got.
    async fn strike(
        &self,
        blow: Blow,
        moment: Moment,
        paths: &[String; 2],
        payments: &[String; 2],
    ) -> Result<Vec<Option<Got>>> {
        let facilitator = &self.stack.facilitator;
        let mut holds: Vec<_> = match moment {
            Moment::Upstream => paths.iter().map(|path| self.stack.upstream.hold(path)).collect(),
            _ => Vec::new(),
        };
        let slow = match moment {
            Moment::Verify => Some((Operation::Verify, 1500)),
            Moment::Settle if blow == Blow::RouteTimeout => Some((Operation::Settle, 1700)),
            Moment::Settle => Some((Operation::Settle, 700)),
            Moment::LongSettle => Some((Operation::Settle, 1900)),
            Moment::Upstream => None,
        };
        if let Some((operation, millis)) = slow {
            facilitator.set_faults(operation, &[Fault::delay(Duration::from_millis(millis)).times(2)]).await?;
        }
        let before = facilitator.counts().await?;
        let buying = async {
            let (one, other) =
                tokio::join!(self.first_try(&paths[0], &payments[0]), self.first_try(&paths[1], &payments[1]));
            vec![one, other]
        };
        let striking = async {
            match moment {
                Moment::Upstream => {
                    for hold in &holds {
                        hold.arrived(Duration::from_secs(30)).await?;
                    }
                }
                Moment::Verify | Moment::Settle | Moment::LongSettle => {
                    let called = || async {
                        let counts = facilitator.counts().await.ok()?;
                        let calls = match moment {
                            Moment::Verify => counts.verify - before.verify,
                            _ => counts.settle - before.settle,
                        };
                        (calls == 2).then_some(())
                    };
                    crate::process::wait_for("both calls", Duration::from_secs(30), called).await?;
                    if moment != Moment::Verify {
                        // The answers wait; the settlements themselves are to be on the chain.
                        self.settled(payments).await?;
                    }
                }
            }
            self.blow(blow).await?;
            if blow != Blow::RouteTimeout {
                holds.clear();
            }
            anyhow::Ok(())
        };
        let (got, struck) = tokio::join!(buying, striking);
        struck?;
        drop(holds);
        for path in paths.iter().filter(|_| blow == Blow::Reset) {
            let path = path.split('?').next().unwrap_or_default();
            let kind = ("content-type", "text/plain");
            self.stack.upstream.answer(path, Answer::new(200, kind, "all of it"));
        }
        Ok(got)
    }

    async fn blow(&self, blow: Blow) -> Result<()> {
        match blow {
            // They come by themselves.
            Blow::RouteTimeout | Blow::Reset => {}
            Blow::Trap => {
                let url = self.stack.url("/plain/free");
                // Whatever it gets: it is the one that the trap strikes in.
                let _ = scenario::request("GET", &url, &[("x-farebox-trap", "request_headers")]).await;
            }
            Blow::Push => {
                let description = "another description";
                self.listeners.write(&self.listener(Some(description)), 2)?;
                self.reads(|text| text.contains(description)).await?;
            }
            Blow::Removal => {
                self.listeners.write(&json!([]), 2)?;
                let port = self.stack.config.port;
                crate::process::wait_for("the listener to go", Duration::from_secs(10), || async {
                    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.err()
                })
                .await?;
                // Longer than it may drain.
                tokio::time::sleep(Duration::from_secs(3)).await;
                self.listeners.write(&self.listener(None), 3)?;
                self.reads(|text| text.contains("\"active_state\"")).await?;
            }
        }
        Ok(())
    }

    /// The listener as it was, or with the description of one route changed.
    fn listener(&self, description: Option<&str>) -> Value {
        let mut config = self.stack.config.clone();
        if let (Some(description), Some(filter)) = (description, config.filters.first_mut())
            && let crate::envoy_config::Configuration::Struct(policy) = &mut filter.configuration
        {
            policy["routes"][0]["description"] = json!(description);
        }
        config.build()["static_resources"]["listeners"].take()
    }

    /// Waits until Envoy's dump of its listeners is as wanted.
    async fn reads(&self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        crate::process::wait_for("the new listener", Duration::from_secs(20), || async {
            let dump = self.stack.envoy.admin("/config_dump?resource=dynamic_listeners").await.ok()?;
            wanted(&dump).then_some(())
        })
        .await
    }

    async fn first_try(&self, path: &str, payment: &str) -> Option<Got> {
        let got = scenario::send(&self.stack, "GET", path, Some(payment));
        tokio::time::timeout(PATIENCE, got).await.ok()?.ok()
    }

    async fn settled(&self, payments: &[String; 2]) -> Result<()> {
        crate::process::wait_for("both settlements", Duration::from_secs(10), || async {
            let charges = self.charges(&[&payments[0], &payments[1]]).await.ok()?;
            (charges == 2).then_some(())
        })
        .await
    }

    /// How many of these payments the chain has carried out.
    async fn charges(&self, payments: &[&String]) -> Result<u128> {
        let mut charges = 0;
        for payment in payments {
            charges += self.stack.chain.authorization_used(BUYER.address, &nonce_of(payment)?).await? as u128;
        }
        Ok(charges)
    }
}

impl Listeners {
    /// Envoy looks when a file is moved there.
    fn write(&self, listeners: &Value, version: u32) -> Result<()> {
        let part = self.dir.path().join("part");
        std::fs::write(&part, resources(listeners, version).to_string())?;
        Ok(std::fs::rename(part, &self.file)?)
    }
}

/// The same listener once more, on another port.
fn another(listener: &Value, port: u16) -> Value {
    let mut other = listener.clone();
    other["name"] = json!("other");
    other["address"]["socket_address"]["port_value"] = json!(port);
    other
}

/// Listeners as Envoy reads them from a file.
fn resources(listeners: &Value, version: u32) -> Value {
    let typed = listeners.as_array().into_iter().flatten().map(|listener| {
        let mut listener = listener.clone();
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
        listener
    });
    json!({ "version_info": version.to_string(), "resources": typed.collect::<Vec<_>>() })
}
