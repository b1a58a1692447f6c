//! The page of `examples/browser-agent` in a real Chromium: it pays the gate in Envoy, is stopped by its budget, is
//! approved, opens receipts; and everybody can use it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::accounts::{BUYER, PAYEE};
use crate::browser::{BuiltPage, build_page};
use crate::package::Package;
use crate::site::Site;
use crate::tools::workspace_dir;
use crate::{Plan, Stack, Tools, shop};

/// Atomic units of one payment each: weather, news, rates, a pass, the satellite image.
const PAID: [u128; 5] = [10_000, 20_000, 10_000, 25_000, 250_000];
/// What the page says of the budget after the errands.
const LEFT: &str = "$0.315 spent, $0.00 reserved, $0.085 left of $0.40";

/// What a visit to the page was like.
#[derive(Clone, Debug, Deserialize)]
pub struct Visit {
    /// `phone` or `desktop`.
    pub view: String,
    /// `light` or `dark`.
    pub scheme: String,
    /// What axe-core found, in each state of the page.
    pub axe: Vec<Axe>,
    /// States in which the page was wider than its window.
    pub sideways: Vec<String>,
    /// What the browser complained of: errors, refused resources.
    pub complaints: Vec<String>,
    /// What was asked of others than the page's server and the gate.
    pub elsewhere: Vec<String>,
    before: Before,
    mistake: String,
    set: String,
    asked: String,
    focused: String,
    bought: Bought,
    receipts: Vec<Receipt>,
    reloaded: String,
    loosening: String,
    declined: Standing,
    tightened: Standing,
}

/// What axe-core found in one state of the page.
#[derive(Clone, Debug, Deserialize)]
pub struct Axe {
    /// The state.
    pub state: String,
    /// Rules that found something to judge, and were content.
    pub passes: usize,
    /// Rules that were not, and where.
    pub violations: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Before {
    run: bool,
    budget: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Bought {
    state: String,
    budget: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
struct Standing {
    budget: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    title: String,
    state: String,
    price: Option<String>,
    why: Option<String>,
    answer: Option<String>,
    reasons: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Receipt {
    title: String,
    verdict: String,
    amount: String,
    facts: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    version: String,
    visits: Vec<Visit>,
}

/// What came of all visits.
#[derive(Clone, Debug)]
pub struct Browsed {
    /// Version of Chromium.
    pub version: String,
    /// On a phone and on a desktop, in light and in dark.
    pub visits: Vec<Visit>,
    /// Where the screenshots are.
    pub shots: PathBuf,
    /// Atomic units that the payee has more than before.
    pub payee_delta: u128,
    /// Transfers to the payee, by transaction.
    pub transfers: BTreeMap<String, u128>,
    /// Authorizations of the page's wallet that the token has burnt.
    pub authorizations_used: usize,
    /// Requests that the shop's service saw, by path.
    pub served: BTreeMap<String, usize>,
    /// Whether one of them carried a payment or a token.
    pub leaked: bool,
}

impl Browsed {
    /// What is not as it must be.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.visits.iter().flat_map(|visit| self.of_visit(visit)).collect();
        let visits = self.visits.len();
        let mut must = |holds: bool, what: String| {
            if !holds {
                complaints.push(what);
            }
        };
        must(visits == 4, format!("{visits} visits"));
        let due = PAID.iter().sum::<u128>() * visits as u128;
        must(self.payee_delta == due, format!("the payee got {} instead of {due}", self.payee_delta));
        let used = self.authorizations_used;
        must(used == PAID.len() * visits, format!("{used} authorizations were used"));
        must(self.transfers.len() == PAID.len() * visits, format!("{} transfers", self.transfers.len()));
        for path in ["/shop/archive", "/shop/route"] {
            must(!self.served.contains_key(path), format!("{path} was served"));
        }
        must(self.served.get("/shop/satellite") == Some(&visits), format!("{:?}", self.served));
        must(!self.leaked, "the service saw a payment or a token".to_owned());
        complaints
    }

    /// Whether everything is as it must be.
    pub fn holds(&self) -> bool {
        self.complaints().is_empty()
    }

    /// Rules that axe-core was content with, and those that it was not, over all states.
    pub fn axe(&self) -> (usize, usize) {
        let all = || self.visits.iter().flat_map(|visit| &visit.axe);
        (all().map(|axe| axe.passes).sum(), all().map(|axe| axe.violations.len()).sum())
    }

    fn of_visit(&self, visit: &Visit) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                complaints.push(format!("{} {}: {what}", visit.view, visit.scheme));
            }
        };
        must(visit.axe.len() >= 5, format!("axe looked at {} states", visit.axe.len()));
        for axe in &visit.axe {
            must(axe.violations.is_empty(), format!("axe, {}: {}", axe.state, axe.violations.join("; ")));
            must(axe.passes >= 15, format!("axe, {}: only {} rules had something to judge", axe.state, axe.passes));
        }
        must(visit.sideways.is_empty(), format!("wider than the window: {}", visit.sideways.join(", ")));
        must(visit.complaints.is_empty(), format!("the browser: {}", visit.complaints.join("; ")));
        must(visit.elsewhere.is_empty(), format!("asked elsewhere: {}", visit.elsewhere.join(", ")));
        must(visit.before.run && visit.before.budget == "No budget yet", format!("at first: {:?}", visit.before));
        must(visit.mistake.contains("0.40"), format!("a bad amount: {:?}", visit.mistake));
        must(visit.set == "$0.00 spent, $0.00 reserved, $0.40 left of $0.40", format!("set: {}", visit.set));
        let asked = ["Pay $0.25?", "/shop/satellite", PAYEE.address];
        must(asked.iter().all(|part| visit.asked.contains(part)), format!("asked: {}", visit.asked));
        must(visit.focused == "no", format!("Enter would have said {}", visit.focused));

        let entry = |title: &str| visit.bought.entries.iter().find(|entry| entry.title == title);
        let is = |title: &str, state: &str, price: Option<&str>| {
            entry(title).is_some_and(|entry| entry.state == state && entry.price.as_deref() == price)
        };
        let bought = [
            is("Weather in Lisbon", "paid", Some("$0.01")),
            is("Morning news", "paid", Some("$0.02")),
            is("Euro in dollars", "paid", Some("$0.01")),
            is("Euro in yen", "paid", Some("$0.025")),
            entry("Euro in pounds").is_some_and(|entry| entry.state == "token"),
            is("Satellite image", "paid", Some("$0.25")),
            is("Opening hours", "free", None),
        ];
        must(bought.iter().all(|bought| *bought), format!("bought: {:#?}", visit.bought.entries));
        let got = visit.bought.entries.iter().filter(|entry| entry.answer.is_some()).count();
        must(got == bought.len() && visit.bought.state == "Done: 7 of 9 bought.", visit.bought.state.clone());
        must(refused(entry("The whole archive"), "over_cap"), format!("{:?}", entry("The whole archive")));
        must(refused(entry("Planned route"), "over_budget"), format!("{:?}", entry("Planned route")));
        must(visit.bought.budget == LEFT, format!("after the errands: {}", visit.bought.budget));

        must(visit.receipts.len() == PAID.len(), format!("{} receipts", visit.receipts.len()));
        for receipt in &visit.receipts {
            let fact = |name: &str| receipt.facts.get(name).map_or("", String::as_str);
            let settled = self.transfers.get(fact("Transaction")).map(|amount| dollars(*amount));
            let good = receipt.verdict.starts_with("Verified")
                && settled.as_ref() == Some(&receipt.amount)
                && fact("Paid to").ends_with(PAYEE.address)
                && fact("Paid by").ends_with(BUYER.address)
                && !fact("Signed with key").is_empty();
            must(good, format!("{}: {receipt:#?}", receipt.title));
        }

        must(visit.reloaded == LEFT, format!("after a reload: {}", visit.reloaded));
        must(visit.loosening == "Allow more than before?", format!("to allow more, it asked: {}", visit.loosening));
        let standing = |standing: &Standing, budget: &str, state: &str| {
            standing.budget == budget && standing.entries.last().is_some_and(|entry| entry.state == state)
        };
        let declined = "$0.315 spent, $0.00 reserved, $0.485 left of $0.80";
        must(standing(&visit.declined, declined, "declined"), format!("after a no: {:#?}", visit.declined));
        let tightened = "$0.315 spent, $0.00 reserved, $0.015 left of $0.33";
        must(standing(&visit.tightened, tightened, "refused"), format!("tightened: {:#?}", visit.tightened));
        let last = visit.tightened.entries.last();
        must(refused(last, "over_budget"), format!("tightened: {last:?}"));
        complaints
    }
}

/// Whether an errand was not paid for, with a sentence, by a rule that gives this reason.
fn refused(entry: Option<&Entry>, reason: &str) -> bool {
    entry.is_some_and(|entry| {
        entry.state == "refused" && entry.why.is_some() && entry.reasons.iter().any(|said| said.contains(reason))
    })
}

/// An amount as the page writes it.
fn dollars(atomic: u128) -> String {
    let part = format!("{:06}", atomic % 1_000_000);
    let part = part.trim_end_matches('0');
    format!("${}.{part:0<2}", atomic / 1_000_000)
}

/// A shop with its page, as `cargo xtask demo --keep` has it.
pub struct Shop {
    /// The gate and what stands around it.
    pub stack: Stack,
    /// The page's server.
    pub site: Site,
}

impl Shop {
    /// Starts it; `env` are variables that the filter may read.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn start(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Self> {
        let site = Site::start()?;
        let page = site.origin();
        let (name, key) = shop::environment();
        let plan = Plan::new(filter, move |gate| shop::policy(gate, &page)).env(name, &key);
        let plan = env.iter().fold(plan, |plan, (name, value)| plan.env(name, value));
        let stack = Stack::start(tools, plan).await?;
        shop::stock(&stack);
        site.put("/demo.json", shop::facts(&stack).to_string());
        Ok(Self { stack, site })
    }

    /// Serves the page.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(&self, page: &BuiltPage) -> Result<()> {
        self.site.serve(&page.folder(), &[&self.stack.origin])
    }
}

/// Four people visit the page: on a phone and on a desktop, in light and in dark. Screenshots are written into
/// `target/browser-agent/`. `fault` is one that the page or its agent is to have, and that must be found.
///
/// # Errors
/// If a part does not start, or the page does not come to where it should.
pub async fn browsed(tools: &Tools, filter: &Path, package: &Package, fault: Option<&str>) -> Result<Browsed> {
    let progress = |step: &str| eprintln!("· {step}");
    let (browser, workers) = (tools.browser(&progress)?, tools.workers(&progress)?);
    let page = build_page(&workers, package)?;
    let shop = Shop::start(tools, filter, &[]).await?;
    shop.open(&page)?;
    let stack = &shop.stack;
    let before = stack.chain.balance(PAYEE.address).await?;

    let shots = workspace_dir().join("target/browser-agent").join(fault.unwrap_or_default());
    let mut script = browser.script("page.mjs");
    script.env("PAGE", shop.site.origin()).env("GATE", &stack.origin).env("SHOTS", &shots);
    if let Some(fault) = fault {
        script.env("FAULT", fault);
    }
    let mut script = tokio::process::Command::from(script);
    let output = tokio::time::timeout(Duration::from_secs(300), script.kill_on_drop(true).output()).await;
    let output = output.context("the browser took more than 5 minutes")?.context("cannot run Node")?;
    ensure!(output.status.success(), "the page: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    let seen: Seen = serde_json::from_slice(&output.stdout).context("what the browser saw")?;

    let hits = stack.upstream.hits();
    let mut served = BTreeMap::new();
    for hit in &hits {
        *served.entry(hit.path().to_owned()).or_default() += 1;
    }
    let secrets = ["payment-signature", "x-payment", "capability-token", "authorization"];
    let transfers = stack.chain.transfers_to(PAYEE.address).await?;
    Ok(Browsed {
        version: seen.version,
        visits: seen.visits,
        shots,
        payee_delta: stack.chain.balance(PAYEE.address).await?.saturating_sub(before),
        transfers: transfers.into_iter().map(|transfer| (transfer.transaction, transfer.amount)).collect(),
        authorizations_used: stack.chain.authorizations_used_by(BUYER.address).await?,
        served,
        leaked: hits.iter().any(|hit| secrets.iter().any(|name| hit.header(name).is_some())),
    })
}
