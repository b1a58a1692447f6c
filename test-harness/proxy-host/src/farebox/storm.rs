//! The storm: every payment is sent many times, by an adversary, over several workers, while clients leave, VMs trap,
//! host calls fail, services lie low, and workers race for the same shared data.
//!
//! What must hold whatever happens: no authorization is delivered twice, none is settled twice, nothing is delivered
//! unpaid or for less than it costs. The [`Shop`] judges, from the far side of the filter: it counts what it carried
//! out and what left for clients, and never asks the filter.

use super::{AUTHORITY, Attempt, Conduct, Payment, Shop, Spelling, Wallet, Way, price, storm_policy};
use crate::host::CALLS_FAILED;
use crate::{At, Author, Effect, Filter, Host, Profile, Random, Refused, Request};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How a storm is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One seed, one storm.
    pub seed: u64,
    /// Requests with a payment, at least.
    pub sends: u64,
    /// Workers.
    pub vms: usize,
    /// The host.
    pub profile: Profile,
    /// The environment that the filter may read.
    pub env: Vec<(String, String)>,
    /// The ledger's ceiling: the fewer, the more claims share a slot.
    pub claims: u64,
    /// Percent of shared data calls inside which another worker runs.
    pub races: u32,
    /// Percent of clients that leave at some point.
    pub aborts: u32,
    /// Percent of exchanges that the host answers itself at some point.
    pub overtakes: u32,
    /// Percent of waves in which a VM traps at some host call.
    pub traps: u32,
    /// Percent of waves in which some host calls fail.
    pub failures: u32,
    /// Host functions that do not fail.
    pub spared: Vec<&'static str>,
    /// How facilitator and upstream behave.
    pub conduct: Conduct,
}

impl Plan {
    /// Two workers, and a little of everything that can go wrong.
    #[must_use]
    pub fn new(seed: u64, sends: u64) -> Self {
        Self {
            seed,
            sends,
            vms: 2,
            profile: Profile::envoy(),
            env: Vec::new(),
            claims: 1000,
            races: 20,
            aborts: 10,
            overtakes: 2,
            traps: 15,
            failures: 10,
            spared: Vec::new(),
            conduct: Conduct {
                slow: 20,
                verify_lost: 2,
                verify_refused: 2,
                not_sent: 3,
                settle_refused: 3,
                settle_lost: 3,
                settle_gone: 2,
                settle_pending: 3,
                node_lost: 10,
                upstream_fails: 3,
                upstream_resets: 3,
                upstream_slow: 10,
            },
        }
    }
}

/// What a storm did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// Requests sent.
    pub sends: u64,
    /// Payments signed.
    pub payments: u64,
    /// Payments by how they pay.
    pub ways: BTreeMap<&'static str, u64>,
    /// Requests by what the adversary did.
    pub mix: BTreeMap<&'static str, u64>,
    /// Requests by what became of them: status and, for refusals, problem code.
    pub answers: BTreeMap<String, u64>,
    /// Authorizations that the chain carried out.
    pub charged: u64,
    /// Authorizations that were delivered.
    pub delivered: u64,
    /// Authorizations that were carried out and not delivered: the upstream failed, the client left, the answer was
    /// lost, a VM trapped.
    pub charged_undelivered: u64,
    /// Authorizations that were carried out by a call whose answer was lost.
    pub untold: u64,
    /// Those of them that were delivered in the end: the chain was asked.
    pub recovered: u64,
    /// Calls of the chain's node.
    pub asked_chain: u64,
    /// Authorizations delivered more than once.
    pub double_deliveries: u64,
    /// Authorizations settled more than once.
    pub double_settlements: u64,
    /// VMs that trapped because the storm said so.
    pub traps: u64,
    /// VMs that came back refusing their configuration, because the storm let the host calls fail that reading it takes.
    pub refused: u64,
    /// VMs that trapped of themselves.
    pub own_traps: u64,
    /// Host calls that the storm let fail.
    pub failures: u64,
    /// Callbacks of one worker that ran inside a shared data call of another.
    pub races: u64,
    /// Compare-and-swaps that lost.
    pub mismatches: u64,
    /// Host calls.
    pub calls: u64,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// The faults of each wave with a violation.
    pub circumstances: Vec<String>,
    /// Last words of VMs that trapped of themselves.
    pub last_words: Vec<String>,
    /// Real time.
    pub elapsed: Duration,
    /// Virtual time.
    pub virtual_seconds: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: u64, of: u64| count as f64 * 100.0 / of.max(1) as f64;
        writeln!(
            f,
            "storm, seed {}: {} sends of {} payments in {:.1} s ({:.0}/s), {} s of virtual time",
            self.seed,
            self.sends,
            self.payments,
            self.elapsed.as_secs_f64(),
            self.sends as f64 / self.elapsed.as_secs_f64().max(1e-9),
            self.virtual_seconds
        )?;
        writeln!(f, "payments:")?;
        for (way, count) in &self.ways {
            writeln!(f, "  {:6.2} %  {way}", share(*count, self.payments))?;
        }
        writeln!(f, "mix:")?;
        for (kind, count) in &self.mix {
            writeln!(f, "  {:6.2} %  {kind}", share(*count, self.sends))?;
        }
        writeln!(f, "answers:")?;
        for (answer, count) in &self.answers {
            writeln!(f, "  {:6.2} %  {answer}", share(*count, self.sends))?;
        }
        writeln!(
            f,
            "payments: {} charged, {} delivered, {} charged and not delivered ({:.2} % of the charged)",
            self.charged,
            self.delivered,
            self.charged_undelivered,
            share(self.charged_undelivered, self.charged)
        )?;
        writeln!(
            f,
            "unknown outcomes: {} charged and not told, {} of them delivered after all; {} questions to the chain",
            self.untold, self.recovered, self.asked_chain
        )?;
        writeln!(
            f,
            "faults: {} traps, {} failed host calls, {} configurations refused for them; {} races, {} lost swaps; {} host calls",
            self.traps, self.failures, self.refused, self.races, self.mismatches, self.calls
        )?;
        write!(
            f,
            "double deliveries {}, double settlements {}, violations {}, traps of its own {}",
            self.double_deliveries,
            self.double_settlements,
            self.violations.len(),
            self.own_traps
        )
    }
}

/// Host calls that a store needs to remember anything at all: if they fail after the money moved, nobody can say so.
pub const MONEY_CALLS: [&str; 2] = ["proxy_get_shared_data", "proxy_set_shared_data"];

/// Payments of one wave.
const WAVE: usize = 6;
/// Sends of one payment in its wave.
const SENDS: usize = 20;
/// Earlier payments that are sent again.
const OLD: usize = 64;
/// Statuses that failing host calls return.
const STATUSES: [u32; 8] = [1, 2, 3, 4, 7, 8, 10, 12];
/// Host functions whose failure would be a lie that nothing helps against: a call that left is called unsent, a field
/// that goes on is called absent, a response that goes is called held. Calls that are truly not sent are the [`Shop`]'s
/// (`not_sent`).
const LIES: [&str; 3] = ["proxy_http_call", "proxy_remove_header_map_value", "proxy_continue_stream"];
const PATHS: [&str; 8] =
    ["/after", "/other", "/before", "/dear", "/items/7", "/permit/after", "/permit/before", "/named"];

struct Sold {
    payment: Payment,
    path: &'static str,
    echo: Option<String>,
}

/// Runs a storm.
///
/// # Errors
/// If the filter does not start.
pub fn storm(filter: &Filter, plan: &Plan) -> Result<Report, Refused> {
    let started = Instant::now();
    let shop = Rc::new(RefCell::new(Shop::new(plan.seed)));
    shop.borrow_mut().keep = false;
    let host = Host::new(filter, plan.profile.clone(), plan.seed, shop.clone());
    let json = storm_policy(plan.claims).to_string();
    let env: Vec<_> = plan.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for _ in 0..plan.vms {
        host.start(&json, &env)?;
    }
    host.advance(2500); // until every worker has learnt what facilitators support
    host.races(plan.races);
    host.spare(&[plan.spared.as_slice(), &LIES].concat());
    shop.borrow_mut().conduct = plan.conduct;
    let began = host.now();
    let mut storm = Storm {
        plan: plan.clone(),
        host,
        shop,
        random: Random::new(plan.seed ^ 0x57_0e14),
        open: Vec::new(),
        sold: Vec::new(),
        report: Report { seed: plan.seed, ..Report::default() },
        intended: 0,
        found: 0,
    };
    while storm.report.sends < plan.sends {
        storm.wave();
    }
    let mut report = storm.close();
    report.virtual_seconds = (storm.host.now() - began) / 1000;
    report.elapsed = started.elapsed();
    Ok(report)
}

struct Storm {
    plan: Plan,
    host: Host,
    shop: Rc<RefCell<Shop>>,
    random: Random,
    open: Vec<u64>,
    sold: Vec<Sold>,
    report: Report,
    /// Traps that the storm asked for.
    intended: u64,
    /// Violations so far.
    found: usize,
}

impl Storm {
    fn pick<T: Copy>(&mut self, from: &[T], or: T) -> T {
        from.get(self.random.below(from.len())).copied().unwrap_or(or)
    }

    fn wave(&mut self) {
        let first = self.sell();
        self.faults();
        let traps = self.host.counters().traps;
        // From a burst, where everything waits for its turn at once, to a trickle.
        let pace = self.pick(&[1, 3, 6, 12], 1);
        let mut sends: Vec<usize> = (0..WAVE * SENDS).map(|nth| first + nth % WAVE).collect();
        while !sends.is_empty() {
            let next = self.random.below(sends.len());
            let payment = sends.swap_remove(next);
            self.send(payment);
            for _ in 0..self.random.below(pace) {
                self.host.step();
            }
            if self.random.chance(2) {
                let pause = self.random.below(500);
                self.host.advance(u64::try_from(pause).unwrap_or(0));
            }
        }
        self.host.advance(1000);
        if self.random.chance(50) {
            // Long enough for deadlines to pass, short enough for payments to be valid still.
            self.host.advance(45_000);
            for payment in first..first + WAVE {
                self.send(payment);
                self.send(payment);
            }
        }
        let pause = self.random.below(60_000);
        self.host.advance(30_000 + u64::try_from(pause).unwrap_or(0));
        self.host.clear_faults();
        self.gather();
        self.own_traps(traps);
        let struck = self.host.struck();
        let found = self.shop.borrow().violations.len();
        if found > self.found {
            self.found = found;
            self.report.circumstances.push(format!("wave with a violation, faults: {struck:?}"));
        }
        if self.sold.len() > OLD {
            self.sold.drain(..self.sold.len() - OLD);
        }
    }

    /// Signs the wave's payments; the index of the first.
    fn sell(&mut self) -> usize {
        let now = self.host.now() / 1000;
        let first = self.sold.len();
        let one_payer = self.random.chance(30);
        let mut wallet = self.wallet();
        // The name of the payment before, which the next one may take too.
        let mut name: Option<String> = None;
        for nth in 0..WAVE {
            let named_again = name.is_some() && self.random.chance(60);
            if nth > 0 && !one_payer && !named_again {
                wallet = self.wallet();
            }
            let path = if named_again { "/named" } else { self.pick(&PATHS, "/after") };
            let mut nonce = [0; 32];
            self.random.fill(&mut nonce);
            let value = price(path).unwrap_or_default();
            let mut payment = match path {
                "/permit/after" | "/permit/before" => wallet.permit(value, nonce, now),
                _ => wallet.pay(value, nonce, now),
            };
            if path != "/named" {
                name = None;
            } else if !named_again {
                name = self.random.chance(80).then(|| format!("pay_{:032x}", self.random.next_u64()));
            }
            payment.name.clone_from(&name);
            let way = match (payment.way, &payment.name, named_again) {
                (Way::Permit2, ..) => "Permit2",
                (Way::Eip3009, None, _) => "EIP-3009",
                (Way::Eip3009, Some(_), false) => "EIP-3009, named",
                (Way::Eip3009, Some(_), true) => "EIP-3009, named like the one before",
            };
            *self.report.ways.entry(way).or_default() += 1;
            self.shop.borrow_mut().issue(&payment);
            let echo = self.random.chance(70).then(|| format!("0x{:032x}", self.random.next_u64()));
            self.sold.push(Sold { payment, path, echo });
            self.report.payments += 1;
        }
        first
    }

    fn wallet(&mut self) -> Wallet {
        let mut secret = [0; 32];
        self.random.fill(&mut secret);
        Wallet::new(secret)
    }

    fn faults(&mut self) {
        if self.random.chance(self.plan.traps) {
            let at = match self.random.below(3) {
                0 => At::Callback("proxy_on_http_call_response".to_owned(), 1 + self.below(12)),
                1 => At::Callback("proxy_on_response_headers".to_owned(), 1 + self.below(12)),
                _ => At::Call(1 + self.below(3000)),
            };
            self.host.inject(at, Effect::Trap);
        }
        if self.random.chance(self.plan.failures) {
            for _ in 0..1 + self.random.below(4) {
                let status = self.pick(&STATUSES, 10);
                let effect = if self.random.chance(50) { Effect::Status(status) } else { Effect::DoneBut(status) };
                let at = 1 + self.below(3000);
                self.host.inject(At::Call(at), effect);
            }
        }
    }

    fn below(&mut self, end: usize) -> u64 {
        u64::try_from(self.random.below(end)).unwrap_or(0)
    }

    fn own_traps(&mut self, before: u64) {
        let new = self.host.counters().traps - before;
        if new == 0 {
            return;
        }
        for line in self.host.log().iter().rev().filter(|line| line.level == 5).take(usize::try_from(new).unwrap_or(0))
        {
            if line.text.contains("trap injected in") {
                self.intended += 1;
            } else if line.text.contains(CALLS_FAILED) {
                // Right so: it serves nothing until it is started again, and the next request starts it.
                self.report.refused += 1;
            } else {
                self.report.last_words.push(line.text.clone());
            }
        }
    }

    /// Sends a payment, as the adversary likes.
    fn send(&mut self, index: usize) {
        let old = self.random.chance(5);
        let index = if old { self.random.below(self.sold.len()) } else { index };
        let Some(Sold { payment, path, echo }) = self.sold.get(index) else { return };
        let (payment, mut path, echo) = (payment.clone(), (*path).to_owned(), echo.clone());
        let mut spelling = Spelling { echo, ..Spelling::of(&path) };
        let mut method = "GET";
        let mut header = None;
        let mut twice = false;
        let kind = match self.random.below(100) {
            0..25 => "the same",
            25..26 => {
                spelling.name = Some(format!("pay_{:032x}", self.random.next_u64()));
                "another name"
            }
            26..28 => {
                spelling.name = Some(String::new());
                "without its name"
            }
            28..30 => {
                spelling.version1 = true;
                path = self.pick(&PATHS, "/other").to_owned();
                "as version 1, other route"
            }
            30..36 => {
                spelling.upper = true;
                "upper case"
            }
            36..42 => {
                spelling.zeros = 1 + self.random.below(9);
                "leading zeros"
            }
            42..47 => {
                spelling.shuffled = true;
                "other JSON"
            }
            47..50 => {
                spelling.lower_asset = true;
                "asset in lower case"
            }
            50..55 => {
                spelling.scheme = Some(self.pick(&["EXACT", "Exact", "upto", "exact ", ""], "upto").to_owned());
                "other scheme"
            }
            55..58 => {
                let network = self.pick(&["EIP155:84532", "eip155:084532", "eip155:8453", "base-sepolia"], "eip155:1");
                spelling.network = Some(network.to_owned());
                "other network"
            }
            58..61 => {
                spelling.amount = Some(20_000);
                "other amount"
            }
            61..70 => {
                path = self.pick(&PATHS, "/other").to_owned();
                spelling.upfront = Spelling::of(&path).upfront;
                spelling.amount = price(&path);
                "other route"
            }
            70..74 => {
                path.push_str(self.pick(&["?", "?a=1", "?a=2"], "?"));
                "other query"
            }
            74..79 => {
                method = self.pick(&["HEAD", "POST", "PUT"], "POST");
                "other method"
            }
            79..84 => {
                spelling.echo = None;
                "no nonce echoed"
            }
            84..88 => {
                spelling.echo = Some(format!("0x{:032x}", self.random.next_u64()));
                "other nonce echoed"
            }
            88..91 => {
                spelling.broken_signature = true;
                "broken signature"
            }
            91..95 => {
                spelling.version1 = true;
                "as version 1"
            }
            95..96 => {
                header = Some("x-payment");
                "in version 1's header"
            }
            96..98 => {
                twice = true;
                "two payments"
            }
            _ => {
                spelling.upper = true;
                spelling.zeros = 3;
                spelling.shuffled = true;
                spelling.lower_asset = true;
                "every spelling at once"
            }
        };
        let kind = if old { "an old payment" } else { kind };
        *self.report.mix.entry(kind).or_default() += 1;
        self.report.sends += 1;
        let header = header.unwrap_or_else(|| Payment::header_name(&spelling));
        let mut request = Request::new(method, "http", AUTHORITY, &path).header(header, &payment.header(&spelling));
        if twice {
            request = request.header("payment-signature", &payment.header(&Spelling::default()));
        }
        if matches!(method, "POST" | "PUT") {
            request = request.chunk("some ").chunk("body");
        }
        if self.random.chance(90) {
            let [a, b, c, d, ..] = self.random.next_u64().to_be_bytes();
            request.source = format!("{a}.{b}.{c}.{d}:4711");
        }
        let vm = self.random.below(self.plan.vms);
        let id = self.host.open(vm, request);
        self.shop.borrow_mut().attempts.insert(id, Attempt { path, nonce: Some(payment.nonce) });
        if self.random.chance(self.plan.aborts) {
            self.host.abort_soon(id);
        } else if self.random.chance(self.plan.overtakes) {
            self.host.overtake_soon(id, 504);
        }
        self.open.push(id);
    }

    /// Ends what hangs, and counts what clients got.
    fn gather(&mut self) {
        for id in std::mem::take(&mut self.open) {
            let hung = !self.host.closed(id);
            if hung {
                self.host.abort(id);
            }
            self.host.run_until_idle();
            let answer = match self.host.take(id) {
                Some(response) if response.author == Author::Host => format!("{} by the host", response.status),
                Some(response) if !response.whole => format!("{} broken off", response.status),
                Some(response) => {
                    let json: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
                    format!("{} {}", response.status, json["code"].as_str().unwrap_or_default())
                }
                None if hung => "hung until the client left".to_owned(),
                None => "the client left".to_owned(),
            };
            *self.report.answers.entry(answer).or_default() += 1;
            self.shop.borrow_mut().attempts.remove(&id);
        }
    }

    fn close(&mut self) -> Report {
        self.host.advance(120_000);
        let mut report = std::mem::take(&mut self.report);
        let shop = self.shop.borrow();
        for book in shop.books.values() {
            report.charged += u64::from(book.moved);
            report.delivered += u64::from(book.delivered > 0);
            report.charged_undelivered += u64::from(book.moved && book.delivered == 0);
            report.untold += u64::from(book.untold);
            report.recovered += u64::from(book.untold && book.delivered > 0);
            report.double_deliveries += u64::from(book.delivered > 1);
            report.double_settlements += u64::from(book.repeated > 0);
        }
        report.asked_chain = shop.asked_chain;
        report.violations.clone_from(&shop.violations);
        let counters = self.host.counters();
        report.traps = self.intended;
        report.own_traps = u64::try_from(report.last_words.len()).unwrap_or(u64::MAX);
        report.failures = counters.faults.saturating_sub(self.intended);
        report.races = counters.races;
        report.mismatches = counters.mismatches;
        report.calls = counters.calls;
        report
    }
}
