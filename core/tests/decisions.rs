//! The decision corpus against the core, on a host without a proxy.

#![allow(unreachable_pub, reason = "the corpus' reader is shared with other runners")]

#[path = "decisions/case.rs"]
#[allow(dead_code, reason = "each runner uses its part")]
mod case;

use case::{
    Case, Corpus, Hit, LONGEST_ANSWER, Policy, Reaction, Request, Response, SERVED, Script, Seen, Subject, Upstream,
    play,
};
use farebox_core::gate::Gate;
use farebox_core::host::{Answer, Callout, CalloutError, Capabilities};
use farebox_core::http::Headers;
use farebox_core::test_host::{Sent, TestHost};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

const NOW: u64 = 1_800_000_000;

struct InCore {
    host: TestHost,
    gate: Rc<Gate>,
    script: Rc<RefCell<Script>>,
    holds: Rc<RefCell<BTreeSet<String>>>,
    /// Endpoints of which a call waits, and has been counted.
    counted: Rc<RefCell<BTreeSet<String>>>,
    clock: Rc<Cell<u64>>,
    sent: Vec<Sent>,
    hits: usize,
}

impl InCore {
    fn new(policy: &Policy) -> Self {
        let script = Rc::new(RefCell::new(Script::idle(policy)));
        let holds = Rc::new(RefCell::new(BTreeSet::<String>::new()));
        let clock = Rc::new(Cell::new(NOW));
        let counted = Rc::new(RefCell::new(BTreeSet::<String>::new()));
        let service = {
            let (script, holds, clock) = (Rc::clone(&script), Rc::clone(&holds), Rc::clone(&clock));
            let counted = Rc::clone(&counted);
            move |call: &Callout| {
                let endpoint = call.path.trim_start_matches('/');
                if holds.borrow().contains(endpoint) {
                    // It has arrived, and is asked again at each poll: it is counted once, when it begins to wait.
                    if counted.borrow_mut().insert(endpoint.to_owned()) {
                        *script.borrow_mut().calls.entry(endpoint.to_owned()).or_default() += 1;
                    }
                    return None;
                }
                let reaction = script.borrow_mut().react(&call.authority, &call.path, &call.body, clock.get());
                if counted.borrow_mut().remove(endpoint) {
                    let calls = &mut script.borrow_mut().calls;
                    if calls.insert(endpoint.to_owned(), calls[endpoint] - 1) == Some(1) {
                        calls.remove(endpoint);
                    }
                }
                Some(match reaction {
                    Reaction::Lost => Err(CalloutError::Lost),
                    Reaction::NotSent => Err(CalloutError::NotSent),
                    Reaction::Answer { body, .. } if body.len() > LONGEST_ANSWER => Err(CalloutError::TooLarge),
                    Reaction::Answer { status, headers, body } => {
                        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                        Ok(Answer { status, headers, body: body.into_bytes() })
                    }
                })
            }
        };
        let upstream = {
            let (script, holds) = (Rc::clone(&script), Rc::clone(&holds));
            move |_: &Headers| {
                if holds.borrow().contains("upstream") {
                    return None;
                }
                Some(match &script.borrow().upstream {
                    Upstream::Reset => [(":status", "503")].into_iter().collect(),
                    Upstream::Nothing => Headers::default(),
                    Upstream::Answer { status, headers } => {
                        let mut all = Headers::default();
                        all.push(b":status", status.to_string().as_bytes());
                        headers.iter().for_each(|(name, value)| all.push(name.as_bytes(), value.as_bytes()));
                        all
                    }
                })
            }
        };
        let can = Capabilities { hold_response: true, read_body: false };
        let env = policy.env.clone();
        let env = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let gate = Gate::load(policy.json.to_string().as_bytes(), &env, can).unwrap_or_else(|wrong| panic!("{wrong}"));
        let (host, gate) = (TestHost::new(NOW, service, upstream), Rc::new(gate));
        farebox_core::host::Host::spawn(&host, Rc::clone(&gate).tend(host.clone()));
        host.work();
        Self { host, gate, script, holds, counted, clock, sent: Vec::new(), hits: 0 }
    }

    fn settle_down(&mut self) {
        for sent in &mut self.sent {
            self.host.settle_down(sent);
        }
    }
}

impl Subject for InCore {
    fn now(&self) -> u64 {
        self.clock.get()
    }

    fn script(&mut self, script: Script, _: &str) {
        *self.script.borrow_mut() = script;
        self.hits = self.host.forwarded().len();
    }

    fn send(&mut self, request: &Request) -> Result<usize, String> {
        let mut headers: Headers = [
            (":method", request.method.as_str()),
            (":scheme", "https"),
            (":authority", request.authority.as_str()),
            (":path", request.path.as_str()),
        ]
        .into_iter()
        .collect();
        for (name, value) in &request.headers {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        self.sent.push(self.host.send(&self.gate, headers));
        Ok(self.sent.len() - 1)
    }

    fn hold(&mut self, at: &str) {
        self.holds.borrow_mut().insert(at.to_owned());
    }

    fn held(&mut self, at: &str) -> Result<(), String> {
        let there = match at {
            "upstream" => self.host.forwarded().len() > self.hits,
            endpoint => self.script.borrow().calls.contains_key(endpoint),
        };
        if there { Ok(()) } else { Err(format!("nothing waits at {at}")) }
    }

    fn resume(&mut self, at: &str) {
        self.holds.borrow_mut().remove(at);
        self.settle_down();
        for _ in 0..64 {
            self.host.work();
        }
        self.counted.borrow_mut().clear();
    }

    fn leave(&mut self, sent: usize) {
        self.sent[sent].hang_up();
        self.host.work();
    }

    fn response(&mut self, sent: usize) -> Result<Response, String> {
        for _ in 0..5 {
            if self.sent[sent].reply().is_some() {
                break;
            }
            self.pass(1);
        }
        let reply = self.sent[sent].reply().ok_or("no answer")?;
        let headers = reply.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let body =
            if reply.details == "upstream" { SERVED.into() } else { String::from_utf8_lossy(&reply.body).into_owned() };
        let mut response = Response { status: reply.status, headers: headers.collect(), body };
        if let Some(status) = reply.grpc_status {
            // As every host does it.
            let message = std::mem::take(&mut response.body);
            response.headers.extend([("grpc-status".into(), status.to_string()), ("grpc-message".into(), message)]);
            response.status = 200;
        }
        Ok(response)
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.set(self.clock.get() + seconds);
        self.host.pass(seconds);
        self.settle_down();
        self.host.work();
    }

    fn seen(&mut self) -> Seen {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let hit = |headers: &Headers| Hit {
            method: headers.text(":method").unwrap_or_default().to_owned(),
            target: headers.text(":path").unwrap_or_default().to_owned(),
            authority: headers.text(":authority").unwrap_or_default().to_owned(),
            headers: headers
                .iter()
                .filter(|(name, _)| !name.starts_with(b":"))
                .map(|(name, value)| (text(name).to_lowercase(), text(value)))
                .collect(),
        };
        let hits = self.host.forwarded().get(self.hits..).unwrap_or_default().iter().map(hit).collect();
        Seen { calls: self.script.borrow().calls.clone(), hits }
    }
}

fn corpus() -> Corpus {
    Corpus::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/decisions"))
        .unwrap_or_else(|wrong| panic!("{wrong}"))
}

#[test]
fn the_core_decides_every_case_as_written() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    let mut ran = 0;
    for case in corpus.of("core") {
        let policy = &corpus.policies[&case.policy];
        let found = play(case, policy, &mut InCore::new(policy));
        match &case.pending {
            None => wrong.extend(found),
            Some(_) if found.is_empty() => wrong.push(format!("{} holds: take `pending` out", case.name)),
            Some(reason) => eprintln!("pending: {}: {reason}", case.name),
        }
        ran += 1;
    }
    eprintln!("{ran} cases over {} rules", corpus.rules.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_whole() {
    let corpus = corpus();
    assert!(corpus.cases.len() >= 750 && corpus.rules.len() >= 130, "{} {}", corpus.cases.len(), corpus.rules.len());
    let partial: Vec<&Case> = corpus.cases.iter().filter(|case| case.only.is_some()).collect();
    assert!(partial.len() * 100 <= corpus.cases.len() * 15, "{} of {}", partial.len(), corpus.cases.len());
    // Every refusal there is.
    let text = ["access", "challenge", "payments", "settlement", "repeats", "fields", "limits", "tokens"]
        .iter()
        .filter_map(|name| {
            std::fs::read_to_string(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/decisions/{name}.json")),
            )
            .ok()
        })
        .collect::<String>();
    for code in farebox_core::problem::Code::ALL {
        assert!(text.contains(&format!("\"code\": \"{}\"", code.wire())), "no case for {}", code.wire());
    }
}
