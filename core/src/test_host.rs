//! A host without a proxy, for tests: time stands still until told, callouts and the upstream are closures, every
//! task is polled until nothing moves. Nothing of it is in a shipped build.

use crate::gate::Gate;
use crate::host::{Answer, BodyError, Callout, CalloutError, Done, Event, Exchange, Fact, Held, Host, HostError};
use crate::http::{Edit, Edits, Headers, Reply};
use crate::ledger::local::{Ceilings, LocalStore, MemoryData, SEED_BYTES};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Service = Box<dyn FnMut(&Callout) -> Option<Result<Answer, CalloutError>>>;
type Upstream = Box<dyn FnMut(&Headers) -> Option<Headers>>;

/// The world of a test. Clones are the same world.
#[derive(Clone)]
pub struct TestHost(Rc<World>);

struct World {
    now: Cell<u64>,
    source: Cell<&'static str>,
    random: Cell<u8>,
    store: LocalStore<MemoryData>,
    service: RefCell<Service>,
    upstream: RefCell<Upstream>,
    tasks: RefCell<Vec<Task>>,
    calls: RefCell<Vec<Callout>>,
    forwarded: RefCell<Vec<Headers>>,
    counts: RefCell<BTreeMap<String, u64>>,
    log: RefCell<Vec<String>>,
    audit: RefCell<Vec<String>>,
}

impl TestHost {
    /// A world at `now` (Unix seconds), with callouts answered by `service` and requests by `upstream`. Either may
    /// answer `None`: not yet, ask again at the next poll.
    ///
    /// # Panics
    /// If the in-memory store cannot be opened.
    #[must_use]
    pub fn new(
        now: u64,
        service: impl FnMut(&Callout) -> Option<Result<Answer, CalloutError>> + 'static,
        upstream: impl FnMut(&Headers) -> Option<Headers> + 'static,
    ) -> Self {
        Self::born(7, now, service, upstream)
    }

    /// As [`new`](Self::new), with a store whose life is named by `seed`: another one has forgotten what this one knew.
    ///
    /// # Panics
    /// If the in-memory store cannot be opened.
    #[must_use]
    pub fn born(
        seed: u8,
        now: u64,
        service: impl FnMut(&Callout) -> Option<Result<Answer, CalloutError>> + 'static,
        upstream: impl FnMut(&Headers) -> Option<Headers> + 'static,
    ) -> Self {
        Self(Rc::new(World {
            now: Cell::new(now),
            source: Cell::new("192.0.2.1"),
            random: Cell::new(0),
            store: LocalStore::open(
                MemoryData::default(),
                Ceilings { claims: 1000, tokens: 1000 },
                &[seed; SEED_BYTES],
            )
            .unwrap_or_else(|_| unreachable!()),
            service: RefCell::new(Box::new(service)),
            upstream: RefCell::new(Box::new(upstream)),
            tasks: RefCell::default(),
            calls: RefCell::default(),
            forwarded: RefCell::default(),
            counts: RefCell::default(),
            log: RefCell::default(),
            audit: RefCell::default(),
        }))
    }

    /// Moves the clock on by `seconds`.
    pub fn pass(&self, seconds: u64) {
        self.0.now.set(self.0.now.get() + seconds);
    }

    /// All requests come from another address from now on; empty: nobody knows where from.
    pub fn come_from(&self, source: &'static str) {
        self.0.source.set(source);
    }

    /// Sends a request through the gate; it goes as far as it can at once.
    #[must_use]
    pub fn send(&self, gate: &Rc<Gate>, headers: Headers) -> Sent {
        let stream = Rc::new(Stream::default());
        let exchange = TestExchange { host: self.clone(), headers, stream: Rc::clone(&stream) };
        let serving = Rc::clone(gate).serve(self.clone(), exchange);
        let mut sent = Sent {
            stream,
            task: Some(Box::pin(async move {
                let _ = serving.await;
            })),
        };
        self.settle_down(&mut sent);
        sent
    }

    /// Lets everything that can move do so.
    pub fn settle_down(&self, sent: &mut Sent) {
        for _ in 0..64 {
            if let Some(task) = &mut sent.task
                && poll(task)
            {
                sent.task = None;
            }
            self.work();
        }
    }

    /// Polls detached tasks.
    pub fn work(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        let waiting: Vec<Task> = tasks.into_iter().filter_map(|mut task| (!poll(&mut task)).then_some(task)).collect();
        self.0.tasks.borrow_mut().extend(waiting);
    }

    /// Paths of the callouts made so far.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.0.calls.borrow().iter().map(|call| call.path.clone()).collect()
    }

    /// The callouts made so far.
    #[must_use]
    pub fn callouts(&self) -> Vec<Callout> {
        self.0.calls.borrow().clone()
    }

    /// Requests the upstream has seen, as it saw them.
    #[must_use]
    pub fn forwarded(&self) -> Vec<Headers> {
        self.0.forwarded.borrow().clone()
    }

    /// How often something was counted: `route/decision`, `callout/kind/outcome`, `claim/state`.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.0.counts.borrow().get(what).copied().unwrap_or(0)
    }

    /// Log lines so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.0.log.borrow().clone()
    }

    /// Audit lines so far.
    #[must_use]
    pub fn audit(&self) -> Vec<String> {
        self.0.audit.borrow().clone()
    }

    /// Replaces what answers callouts.
    pub fn serve_callouts(&self, service: impl FnMut(&Callout) -> Option<Result<Answer, CalloutError>> + 'static) {
        *self.0.service.borrow_mut() = Box::new(service);
    }
}

/// What every upstream sends.
const BODY: &[u8] = b"upstream";

fn poll(task: &mut Task) -> bool {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// A request under way.
pub struct Sent {
    stream: Rc<Stream>,
    task: Option<Task>,
}

impl Sent {
    /// What the client got; `None` while it waits.
    #[must_use]
    pub fn reply(&self) -> Option<Reply> {
        self.stream.reply.borrow().clone()
    }

    /// A fact left for the access log.
    #[must_use]
    pub fn note(&self, fact: Fact) -> Option<String> {
        self.stream.notes.borrow().get(fact.name()).cloned()
    }

    /// The client goes away: the exchange is dropped where it stands.
    pub fn hang_up(&mut self) {
        self.task = None;
    }
}

#[derive(Default)]
struct Stream {
    reply: RefCell<Option<Reply>>,
    notes: RefCell<BTreeMap<&'static str, String>>,
}

struct TestExchange {
    host: TestHost,
    headers: Headers,
    stream: Rc<Stream>,
}

struct TestHeld {
    headers: Headers,
    stream: Rc<Stream>,
}

impl Host for TestHost {
    type Store = LocalStore<MemoryData>;

    fn now_millis(&self) -> u64 {
        self.0.now.get() * 1000
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        self.0.random.set(self.0.random.get().wrapping_add(1));
        out.fill(self.0.random.get());
        Ok(())
    }

    fn callout(&self, call: Callout) -> impl Future<Output = Result<Answer, CalloutError>> + 'static {
        let host = self.clone();
        let mut sent = false;
        std::future::poll_fn(move |_| {
            if !std::mem::replace(&mut sent, true) {
                host.0.calls.borrow_mut().push(call.clone());
            }
            (host.0.service.borrow_mut())(&call).map_or(Poll::Pending, Poll::Ready)
        })
    }

    fn sleep(&self, millis: u64) -> impl Future<Output = ()> + 'static {
        let host = self.clone();
        let until = host.now_millis() + millis;
        std::future::poll_fn(move |_| if host.now_millis() >= until { Poll::Ready(()) } else { Poll::Pending })
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.borrow_mut().push(Box::pin(task));
    }

    fn store(&self) -> &Self::Store {
        &self.0.store
    }

    fn event(&self, event: &Event<'_>) {
        let what = match event {
            Event::Exchange { route, decision } => format!("{route}/{decision}"),
            Event::Callout { kind, outcome, .. } => format!("callout/{kind}/{outcome}"),
            Event::Breaker { facilitator, state } => format!("breaker/{facilitator}/{state}"),
            Event::Claim { state } => format!("claim/{state}"),
            Event::Audit { line } => {
                self.0.audit.borrow_mut().push((*line).to_owned());
                return;
            }
            Event::Log { text, .. } => {
                self.0.log.borrow_mut().push((*text).to_owned());
                return;
            }
        };
        *self.0.counts.borrow_mut().entry(what).or_default() += 1;
    }
}

impl Exchange for TestExchange {
    type Held = TestHeld;

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn source(&self) -> &str {
        self.host.0.source.get()
    }

    async fn body(&mut self, _limit: usize) -> Result<Vec<u8>, BodyError> {
        Err(BodyError::Unsupported)
    }

    async fn forward(self, edits: Edits) -> TestHeld {
        let request = apply(&self.headers, &edits);
        self.host.0.forwarded.borrow_mut().push(request.clone());
        let host = self.host.clone();
        let headers =
            std::future::poll_fn(move |_| (host.0.upstream.borrow_mut())(&request).map_or(Poll::Pending, Poll::Ready))
                .await;
        TestHeld { headers, stream: self.stream }
    }

    fn reply(self, reply: Reply) -> Done {
        *self.stream.reply.borrow_mut() = Some(reply);
        Done::decided()
    }

    fn note(&self, fact: Fact, value: &str) {
        self.stream.notes.borrow_mut().insert(fact.name(), value.to_owned());
    }
}

impl Held for TestHeld {
    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn end_of_stream(&self) -> bool {
        false
    }

    fn sent(&self) -> impl Future<Output = u64> + 'static {
        std::future::ready(BODY.len() as u64)
    }

    fn release(self, edits: Edits) -> Done {
        let headers = apply(&self.headers, &edits);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        *self.stream.reply.borrow_mut() = Some(Reply {
            status: self.status(),
            headers: headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            body: BODY.to_vec(),
            details: "upstream",
            grpc_status: None,
        });
        Done::decided()
    }

    fn reply(self, reply: Reply) -> Done {
        *self.stream.reply.borrow_mut() = Some(reply);
        Done::decided()
    }

    fn note(&self, fact: Fact, value: &str) {
        self.stream.notes.borrow_mut().insert(fact.name(), value.to_owned());
    }
}

fn apply(headers: &Headers, edits: &Edits) -> Headers {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> =
        headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
    for edit in &edits.0 {
        match edit {
            Edit::Remove(name) => fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name.as_bytes())),
            Edit::Set(name, value) => {
                fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name.as_bytes()));
                fields.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            }
            Edit::Add(name, value) => fields.push((name.as_bytes().to_vec(), value.as_bytes().to_vec())),
        }
    }
    let mut edited = Headers::default();
    for (name, value) in fields {
        edited.push(&name, &value);
    }
    edited
}
