//! Test builds only (feature `probe`): exchanges that do what the request header `x-probe` says, to try the executor
//! in a real host and, natively, in a false one.
//!
//! The header is a list of steps: `callout:<path>` asks the cluster `mock` and waits; `pair:<path>` asks twice at
//! once; `settle:<path>` asks in a detached task and waits for that; `body:<limit>`, `sleep:<millis>`,
//! `lease:<number>`, `fill:<what>` and `check:<what>` (see [`fill`]), `random`, `source`, `note`, `never`; `forward`, then the same steps on the response; `release`,
//! `reply:<status>`, or `undecided`. A step that fails is a 402 that says so.

use crate::logic::Logic;
use farebox_core::crypto::sha256;
use farebox_core::host::{Answer, Callout, CalloutError, Capabilities, Done, Event, Exchange, Fact, Held, Host, Level};
use farebox_core::http::{Edits, Reply};
use farebox_core::ledger::{
    Binding, ClaimId, Claimed, Conclusion, CounterId, Draw, Drawn, FamilyId, Lease, Money, NewClaim, Service, Store,
};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

pub(crate) struct Probe {
    pub(crate) json: Vec<u8>,
}

impl Logic for Probe {
    fn load(json: &[u8], env: &dyn Fn(&str) -> Option<String>, _can: Capabilities) -> Result<Self, Vec<String>> {
        if json.windows(3).any(|word| word == b"bad") {
            return Err(vec![format!("bad: this is {json:?}"), format!("HOME_PROBE is {:?}", env("HOME_PROBE"))]);
        }
        Ok(Self { json: json.to_vec() })
    }

    fn reads_body(json: &[u8]) -> bool {
        json.windows(12).any(|word| word == b"request_body")
    }

    fn claims_ceiling(&self) -> u32 {
        self.ceiling()
    }

    fn tokens_ceiling(&self) -> u32 {
        self.ceiling()
    }

    fn serve<H: Host, E: Exchange>(self: Rc<Self>, host: H, exchange: E) -> impl Future<Output = Done> + 'static {
        serve(self, host, exchange)
    }

    async fn tend<H: Host>(self: Rc<Self>, host: H) {
        loop {
            host.sleep(1000).await;
            host.event(&Event::Claim { state: "tick" });
            if self.json.windows(4).any(|word| word == b"tend") {
                let _ = host.callout(call("/tend")).await;
            }
        }
    }
}

impl Probe {
    fn ceiling(&self) -> u32 {
        if self.json.windows(7).any(|word| word == b"million") { 1_000_000 } else { 10_000 }
    }
}

async fn serve<H: Host, E: Exchange>(probe: Rc<Probe>, host: H, mut exchange: E) -> Done {
    let script = exchange.headers().text("x-probe").unwrap_or("reply:402").to_owned();
    let mut steps = script.split(',');
    let mut edits = Edits::default();
    loop {
        let Some(step) = steps.next() else {
            return exchange.reply(reply(402, "no step decided"));
        };
        match step.split_once(':').unwrap_or((step, "")) {
            ("forward", _) => break,
            ("undecided", _) => return Done::decided(),
            ("reply", status) => {
                let text = String::from_utf8_lossy(&probe.json).into_owned();
                return exchange.reply(reply(status.parse().unwrap_or(402), &text));
            }
            ("body", limit) => match exchange.body(limit.parse().unwrap_or(0)).await {
                Ok(body) => edits.set("x-body-size", body.len().to_string()),
                Err(error) => return exchange.reply(reply(413, &format!("{error:?}"))),
            },
            ("source", _) => edits.set("x-source", exchange.source().to_owned()),
            ("note", value) => exchange.note(Fact::Payer, value),
            (step, value) => {
                if let Err(why) = common(&host, step, value).await {
                    return exchange.reply(reply(402, &why));
                }
            }
        }
    }
    edits.set("x-probe-set", "one");
    edits.add("x-probe-add", "two");
    edits.remove("x-secret");
    edits.remove("x-probe");
    host.event(&Event::Exchange { route: "probe", decision: "forward" });
    let held = exchange.forward(edits).await;
    for step in steps {
        match step.split_once(':').unwrap_or((step, "")) {
            ("undecided", _) => return Done::decided(),
            ("release", value) => {
                let mut edits = Edits::default();
                edits.set("x-receipt", value.to_owned());
                edits.remove("server");
                edits.set("x-status", held.status().to_string());
                edits.set("x-end", held.end_of_stream().to_string());
                return held.release(edits);
            }
            ("reply", status) => {
                return held.reply(reply(status.parse().unwrap_or(402), "instead"));
            }
            ("note", value) => held.note(Fact::Transaction, value),
            (step, value) => {
                if let Err(why) = common(&host, step, value).await {
                    return held.reply(reply(402, &why));
                }
            }
        }
    }
    held.reply(reply(402, "no step decided"))
}

async fn common<H: Host>(host: &H, step: &str, value: &str) -> Result<(), String> {
    match step {
        "callout" => ok(host.callout(call(value)).await),
        "pair" => {
            let (mut one, mut two) = (pin!(host.callout(call(value))), pin!(host.callout(call(value))));
            let (mut first, mut second) = (None, None);
            poll_fn(|cx| {
                if first.is_none()
                    && let Poll::Ready(answer) = one.as_mut().poll(cx)
                {
                    first = Some(answer);
                }
                if second.is_none()
                    && let Poll::Ready(answer) = two.as_mut().poll(cx)
                {
                    second = Some(answer);
                }
                if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            ok(first.unwrap_or(Err(CalloutError::Lost)))?;
            ok(second.unwrap_or(Err(CalloutError::Lost)))
        }
        "settle" => {
            let joint: Rc<RefCell<(Option<_>, Option<Waker>)>> = Rc::default();
            let (there, world, path) = (joint.clone(), host.clone(), value.to_owned());
            host.spawn(async move {
                let before = world.now_millis();
                let answer = world.callout(call(&path)).await;
                let millis = world.now_millis().saturating_sub(before);
                let outcome = if answer.is_ok() { "ok" } else { "failed" };
                world.event(&Event::Callout { kind: "settle", outcome, millis });
                world.event(&Event::Claim { state: "settled" });
                world.event(&Event::Log { level: Level::Warn, text: &format!("settled {path} after {millis} ms") });
                there.borrow_mut().0 = Some(answer);
                let waker = there.borrow_mut().1.take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            });
            let answer = poll_fn(|cx| {
                let mut joint = joint.borrow_mut();
                match joint.0.take() {
                    Some(answer) => Poll::Ready(answer),
                    None => {
                        joint.1 = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await;
            ok(answer)
        }
        "sleep" => {
            host.sleep(value.parse().unwrap_or(0)).await;
            Ok(())
        }
        "random" => {
            let mut bytes = [0; 16];
            host.random(&mut bytes).map_err(|error| error.to_string())?;
            Err(format!("{bytes:02x?} {}", host.now_millis()))
        }
        "lease" => {
            let lease = Lease::Supported(value.parse().unwrap_or(0));
            match host.store().lease(lease, 60, host.now()).await {
                Ok(true) => Ok(()),
                Ok(false) => Err("taken".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        }
        "fill" => fill(host, value).await,
        "check" => check(host, value).await,
        "never" => pending().await,
        other => Err(format!("no such step: {other}")),
    }
}

/// Which entries of the ledger are meant: `<now>-<from>-<count>`, alive for a thousand seconds from `now`.
struct Entries {
    now: u64,
    from: u64,
    count: u64,
}

impl Entries {
    const LIFE: u64 = 1000;

    fn of(text: &str) -> Result<Self, String> {
        let mut numbers = text.split('-').map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(now)), Some(Ok(from)), Some(Ok(count))) => Ok(Self { now, from, count }),
            _ => Err(format!("not <now>-<from>-<count>: {text}")),
        }
    }

    fn ids(&self) -> impl Iterator<Item = ClaimId> {
        (self.from..self.from + self.count).map(|n| ClaimId(sha256(&[&self.now.to_be_bytes(), &n.to_be_bytes()])))
    }

    fn claim(&self, now: u64) -> NewClaim {
        NewClaim {
            binding: Binding([1; 16]),
            secret: [9; 16],
            deadline: now + 30,
            expires: self.now + Self::LIFE,
            checked: true,
            repeatable: false,
            proven: false,
            window: 0,
        }
    }

    /// One call of a token that is good for one.
    fn draw(&self, id: &ClaimId) -> Result<Draw, String> {
        let mut family = [0; 16];
        family.copy_from_slice(&id.0[..16]);
        let mut draw = Draw::new(FamilyId(family), self.now + Self::LIFE);
        draw.budget(CounterId::of(0, "call"), 1, 1).map_err(|error| error.to_string())?;
        Ok(draw)
    }
}

/// Makes claims that are settled and delivered, and as many tokens that are used up.
async fn fill<H: Host>(host: &H, value: &str) -> Result<(), String> {
    let entries = Entries::of(value)?;
    let now = entries.now;
    for id in entries.ids() {
        let claimed = host.store().claim(&id, &entries.claim(now), now).await.map_err(|error| error.to_string())?;
        let Claimed::Ours(ticket) = claimed else { return Err(format!("{claimed:?}")) };
        for (money, service) in [(Money::Settling, Service::Waiting), (Money::Settled, Service::Delivered)] {
            let to = Conclusion {
                money,
                service,
                deadline: now + 30,
                transaction: format!("0x{}", "ab".repeat(32)),
                keep: 0,
            };
            host.store().conclude(&ticket, &to, now).await.map_err(|error| error.to_string())?;
        }
        let drawn = host.store().reserve(entries.draw(&id)?, now * 1000).await.map_err(|error| error.to_string())?;
        if !matches!(drawn, Drawn::Reserved(_)) {
            return Err(format!("{drawn:?}"));
        }
    }
    Ok(())
}

/// In the last second of their lives, all of them are known, and nothing is left on the tokens.
async fn check<H: Host>(host: &H, value: &str) -> Result<(), String> {
    let entries = Entries::of(value)?;
    let last = entries.now + Entries::LIFE;
    for id in entries.ids() {
        let known = host.store().claim(&id, &entries.claim(last), last).await.map_err(|error| error.to_string())?;
        if !matches!(&known, Claimed::Known(claim) if claim.money == Money::Settled) {
            return Err(format!("forgotten: {known:?}"));
        }
        let drawn = host.store().reserve(entries.draw(&id)?, last * 1000).await.map_err(|error| error.to_string())?;
        if !matches!(drawn, Drawn::Exhausted { .. }) {
            return Err(format!("forgotten: {drawn:?}"));
        }
    }
    Ok(())
}

fn call(path: &str) -> Callout {
    Callout {
        cluster: if path.starts_with("/nowhere") { "nowhere" } else { "mock" }.to_owned(),
        method: "POST",
        scheme: "http".to_owned(),
        authority: "mock".to_owned(),
        path: path.to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: b"{}".to_vec(),
        timeout_millis: 3000,
    }
}

fn ok(answer: Result<Answer, CalloutError>) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("status {} {}", answer.status, String::from_utf8_lossy(&answer.body))),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn reply(status: u16, text: &str) -> Reply {
    let headers = vec![("x-replied".to_owned(), "yes".to_owned())];
    Reply { status, headers, body: format!("{text}\n").into_bytes(), details: "probe", grpc_status: None }
}
