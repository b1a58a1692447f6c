//! The decision corpus against the compiled filter, in process.

mod common;

use proxy_host::{
    Answer, Call, Filter, Forwarded, Handling, Headers, Host, Profile, Request as HostRequest, Sent, Service, When,
    World, status,
};
use rig::corpus::{
    self, Case, Decided, Hit, Policy, Reaction, Request, Response, SERVED, Script, Seen, Subject, Upstream,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// The scripted world.
struct Scripted {
    script: Script,
    hits: Vec<Hit>,
    holds: BTreeSet<String>,
    /// Calls that wait, with what they get.
    calls: Vec<(String, u64, Answer)>,
    /// Requests that wait at the upstream.
    requests: Vec<u64>,
    now: u64,
}

impl World for Scripted {
    fn call(&mut self, call: &Call) -> Handling {
        let authority = call.headers.text(":authority").unwrap_or_default();
        let answer = match self.script.react(authority, call.path(), &call.body, self.now) {
            Reaction::NotSent => return Handling::Refuse(status::INTERNAL_FAILURE),
            Reaction::Lost => Answer::Reset,
            Reaction::Answer { status, headers, body } => {
                let mut all = Headers::from_iter([(":status", status.to_string())]);
                headers.iter().for_each(|(name, value)| all.add(name, value.as_str()));
                Answer::Http(all, body.into_bytes())
            }
        };
        let endpoint = call.path().trim_start_matches('/').to_owned();
        if self.holds.contains(&endpoint) {
            self.calls.push((endpoint, call.id, answer));
            return Handling::Wait;
        }
        Handling::Answer(When::Soon, answer)
    }

    fn upstream(&mut self, request: &Forwarded) -> Service {
        let text = |name: &str| request.headers.text(name).unwrap_or_default().to_owned();
        let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = request.headers.0.iter().filter(|(name, _)| !name.starts_with(b":"));
        self.hits.push(Hit {
            method: text(":method"),
            target: text(":path"),
            authority: text(":authority"),
            headers: fields.map(|(name, value)| (bytes(name), bytes(value))).collect(),
        });
        if self.holds.contains("upstream") {
            self.requests.push(request.stream);
            return Service::Wait;
        }
        Service::Respond(When::Soon, self.sent())
    }
}

impl Scripted {
    fn sent(&self) -> Sent {
        match &self.script.upstream {
            Upstream::Answer { status, headers } => {
                let mut sent = Sent::new(*status, if [204, 304].contains(status) { "" } else { SERVED });
                headers.iter().for_each(|(name, value)| sent.headers.add(name, value.as_str()));
                sent
            }
            Upstream::Reset | Upstream::Nothing => Sent::reset(),
        }
    }
}

struct InProcess {
    host: Host,
    world: Rc<RefCell<Scripted>>,
    vms: usize,
    sent: Vec<u64>,
}

impl InProcess {
    fn start(filter: &Filter, profile: Profile, policy: &Policy) -> Self {
        let world = Rc::new(RefCell::new(Scripted {
            script: Script::idle(policy),
            hits: Vec::new(),
            holds: BTreeSet::new(),
            calls: Vec::new(),
            requests: Vec::new(),
            now: 1_800_000_000,
        }));
        let host = Host::new(filter, profile, 1, world.clone());
        let vms = if policy.fresh { 1 } else { 2 };
        let env: Vec<_> = policy.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for _ in 0..vms {
            host.start(&policy.json.to_string(), &env).unwrap();
        }
        let mut started = Self { host, world, vms, sent: Vec::new() };
        // The first tick: what facilitators support.
        started.advance(1200);
        started
    }

    fn advance(&mut self, millis: u64) {
        self.host.advance(millis);
        self.world.borrow_mut().now = self.host.now() / 1000;
    }
}

impl Subject for InProcess {
    fn now(&self) -> u64 {
        self.host.now() / 1000
    }

    fn script(&mut self, script: Script, _: &str) {
        let mut world = self.world.borrow_mut();
        world.script = script;
        world.hits.clear();
    }

    fn send(&mut self, request: &Request) -> Result<usize, String> {
        let mut sent = HostRequest::new(&request.method, "http", &request.authority, &request.path);
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        self.sent.push(self.host.open(self.sent.len() % self.vms, sent));
        self.host.run_until_idle();
        Ok(self.sent.len() - 1)
    }

    fn hold(&mut self, at: &str) {
        self.world.borrow_mut().holds.insert(at.to_owned());
    }

    fn held(&mut self, at: &str) -> Result<(), String> {
        let world = self.world.borrow();
        let there = match at {
            "upstream" => !world.requests.is_empty(),
            endpoint => world.calls.iter().any(|(waits, _, _)| waits == endpoint),
        };
        if there { Ok(()) } else { Err(format!("nothing waits at {at}")) }
    }

    fn resume(&mut self, at: &str) {
        let (calls, requests, sent) = {
            let mut world = self.world.borrow_mut();
            world.holds.remove(at);
            (std::mem::take(&mut world.calls), std::mem::take(&mut world.requests), world.sent())
        };
        for (_, call, answer) in calls {
            self.host.answer(call, answer);
        }
        for request in requests {
            self.host.respond(request, sent.clone());
        }
        self.host.run_until_idle();
    }

    fn leave(&mut self, sent: usize) {
        self.host.abort(self.sent[sent]);
        self.host.run_until_idle();
    }

    fn response(&mut self, sent: usize) -> Result<Response, String> {
        let stream = self.sent[sent];
        for _ in 0..10 {
            if self.host.closed(stream) {
                break;
            }
            self.advance(500);
        }
        let reply = self.host.reply(stream).ok_or("no answer")?;
        let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = reply.headers.0.iter().filter(|(name, _)| !name.starts_with(b":"));
        let headers = fields.map(|(name, value)| (bytes(name), bytes(value))).collect();
        Ok(Response { status: reply.status, headers, body: bytes(&reply.body) })
    }

    fn pass(&mut self, seconds: u64) {
        self.advance(seconds * 1000);
    }

    fn seen(&mut self) -> Seen {
        let world = self.world.borrow();
        Seen { calls: world.script.calls.clone(), hits: world.hits.clone() }
    }
}

#[test]
fn the_filter_decides_every_case_as_written() {
    let (corpus, filter) = (corpus::corpus().unwrap(), common::filter());
    for profile in [Profile::envoy, Profile::envoy_body_iteration] {
        let mut decided = Decided::default();
        for (name, policy) in &corpus.policies {
            let cases: Vec<&Case> = corpus.of("host").filter(|case| case.policy == *name).collect();
            for some in cases.chunks(if policy.fresh { 1 } else { cases.len().max(1) }) {
                let mut subject = InProcess::start(&filter, profile(), policy);
                for case in some {
                    decided.add(case, corpus::play(case, policy, &mut subject));
                }
                assert_eq!(subject.host.counters().traps, 0, "{name}: {:#?}", subject.host.log());
            }
        }
        eprintln!("{} cases", decided.cases);
        assert!(decided.wrong.is_empty(), "{}", decided.wrong.join("\n"));
        assert!(decided.cases >= 120);
    }
}
