//! Runs exchanges, detached tasks and daemons on the host's callbacks.
//!
//! A host calls back; each callback wakes whom it concerns and ends by polling every task that is ready. These are
//! the rules, tried in Envoy under storms of aborted clients and in hosts that call back from inside host calls:
//!
//!  1. No borrow is held across a poll or a host call that lets the host run. A future leaves its slot to be polled.
//!  2. During a poll an exchange only records what it wants ([`Intent`]). It is applied after the poll, with the
//!     future back in its slot. This alone makes it harmless that `local_response` and `continue_stream` may call
//!     back at once.
//!  3. A release inside the matching callback is that callback's return value; outside it is `continue_stream`.
//!  4. Held request headers return [`PauseAll`](crate::abi::Action::PauseAll), or `Pause` if the body is waited for;
//!     body and trailers return `Pause` until the request is released, whatever the host's flags; held response
//!     headers return `PauseAll`.
//!  5. The effective context is cached, set before each poll, and restored on a callback's exit. If the host refuses
//!     it, the stream is gone and the task is dropped; nothing is polled under a wrong context.
//!  6. An answer is copied while its own context is effective; only then is the waiter woken.
//!  7. An answer nobody waits for is dropped, unless a dispatch is on the stack: then it may be that dispatch's, and
//!     is kept until the dispatch returns with its token.
//!  8. Response headers of a request that is still held mean that the host answered over our head: the task is
//!     dropped, and the answer goes its way.
//!  9. A task that ends with its stream undecided is a 503.
//! 10. When the host forgets a stream, its future is dropped with no borrow held. If it is being polled, it is dropped
//!     after the poll.
//! 11. Spurious polls are legal. A wake-up of a task that is being polled makes it polled again.
//! 12. Detached tasks run on the root from the start. Nothing that happens to a stream cancels them.
//! 13. A root that is asked to be done is not while it has detached tasks. Daemons do not count: they end there.
//! 14. A response that the host will not let go although it was released is refused, and the exchange hears of it.
//!
//! If a host refuses even the reply that refuses a stream, the stream stays held until the host gives up on it.

use crate::abi::{ContextId, Direction, LocalResponse, LogLevel, Map, Pairs, Proxy, Status, Token};
use crate::stream::{Intent, Progress, Stream};
use farebox_core::host::{Answer, CalloutError, Done};
use farebox_core::http::{Edit, Edits, Headers, Reply};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Milliseconds between ticks; sleeps round up to it.
pub(crate) const TICK_MILLIS: u32 = 100;

/// Polls in one callback. A task that wakes itself without end goes on at the next one.
const POLLS: usize = 10_000;

/// Answers kept while a dispatch is on the stack.
const EARLY: usize = 16;

/// What a slot runs. An exchange's future stays what it is, so that it is moved but once.
enum Task {
    Exchange(Pin<Box<dyn Future<Output = Done>>>),
    Other(Pin<Box<dyn Future<Output = ()>>>),
}

impl Task {
    /// Polls it; whether it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Exchange(task) => task.as_mut().poll(cx).is_ready(),
            Self::Other(task) => task.as_mut().poll(cx).is_ready(),
        }
    }
}

/// Hash maps keyed by the host's small numbers.
pub(crate) type ById<T> = HashMap<u32, T, BuildHasherDefault<IdHasher>>;

/// Spreads the host's consecutive numbers; they are not a client's to choose.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What a task is for.
#[derive(Clone)]
enum Role {
    /// Decides a stream.
    Exchange(Rc<Stream>),
    /// Outlives streams; its root waits for it.
    Detached(ContextId),
    /// Goes on as long as its root.
    Daemon(ContextId),
}

impl Role {
    fn context(&self) -> ContextId {
        match self {
            Self::Exchange(stream) => stream.context,
            Self::Detached(root) | Self::Daemon(root) => *root,
        }
    }
}

/// A slot's life.
enum State {
    Free,
    /// Waiting to be polled.
    Idle(Task),
    /// Being polled, further up the stack.
    Busy {
        /// It was woken meanwhile.
        again: bool,
        /// It is to be dropped after the poll.
        kill: bool,
    },
}

struct Slot {
    state: State,
    role: Option<Role>,
    /// Made once per slot; a wake-up for an earlier task of the slot is a spurious poll of this one.
    waker: Waker,
    bell: Arc<Bell>,
}

/// Wakes a slot by putting its index on the ready list.
struct Bell {
    slot: usize,
    rung: AtomicBool,
    ready: Arc<Ready>,
}

#[derive(Default)]
struct Ready(Mutex<std::collections::VecDeque<usize>>);

impl Ready {
    fn push(&self, slot: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(slot);
    }

    fn pop(&self) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.ready.push(self.slot);
        }
    }
}

/// What a callout brings.
pub(crate) type Outcome = Result<Answer, CalloutError>;

#[derive(Default)]
struct Waiting {
    outcome: RefCell<Option<Outcome>>,
    waker: RefCell<Option<Waker>>,
}

struct Timer {
    id: u64,
    set: u64,
    due: u64,
    waker: Waker,
}

#[derive(Default)]
struct Root {
    detached: Cell<usize>,
    closing: Cell<bool>,
}

struct Inner<P> {
    proxy: P,
    effective: Cell<ContextId>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    ready: Arc<Ready>,
    streams: RefCell<ById<Rc<Stream>>>,
    roots: RefCell<ById<Rc<Root>>>,
    callouts: RefCell<ById<Rc<Waiting>>>,
    dispatching: Cell<usize>,
    early: RefCell<Vec<(Token, Outcome)>>,
    timers: RefCell<Vec<Timer>>,
    timer_ids: Cell<u64>,
    time: Cell<u64>,
    /// Whether the host was asked for the time in this callback.
    timed: Cell<bool>,
}

/// The executor of one VM. Clones are the same one.
pub(crate) struct Executor<P>(Rc<Inner<P>>);

impl<P> Clone for Executor<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Proxy> Executor<P> {
    pub(crate) fn new(proxy: P) -> Self {
        Self(Rc::new(Inner {
            proxy,
            effective: Cell::new(0),
            slots: RefCell::default(),
            free: RefCell::default(),
            ready: Arc::default(),
            streams: RefCell::default(),
            roots: RefCell::default(),
            callouts: RefCell::default(),
            dispatching: Cell::new(0),
            early: RefCell::default(),
            timers: RefCell::default(),
            timer_ids: Cell::new(0),
            time: Cell::new(0),
            timed: Cell::new(false),
        }))
    }

    pub(crate) fn proxy(&self) -> &P {
        &self.0.proxy
    }

    pub(crate) fn log(&self, level: LogLevel, text: &str) {
        let _ = self.0.proxy.log(level, text); // there is nowhere left to say that the log failed
    }

    /// Wall-clock milliseconds, the same within one callback; the last known ones if the host will not say.
    pub(crate) fn now_millis(&self) -> u64 {
        if !self.0.timed.replace(true)
            && let Ok(nanos) = self.0.proxy.now_nanos()
        {
            self.0.time.set(nanos / 1_000_000);
        }
        self.0.time.get()
    }

    // ---- callbacks -------------------------------------------------------------------------------------------------

    /// Runs a callback: `body` first, then everything that is ready.
    pub(crate) fn callback<R>(&self, context: ContextId, body: impl FnOnce() -> R) -> R {
        self.quiet_callback(context, || {
            let result = body();
            self.drain();
            result
        })
    }

    /// Runs a callback that polls nothing.
    pub(crate) fn quiet_callback<R>(&self, context: ContextId, body: impl FnOnce() -> R) -> R {
        let outer = self.0.effective.replace(context);
        self.0.timed.set(false);
        let result = body();
        self.0.effective.set(outer);
        result
    }

    /// Runs `body`, with `context` effective, and then makes the one before effective again.
    pub(crate) fn under<R>(&self, context: ContextId, body: impl FnOnce() -> R) -> Option<R> {
        let before = self.0.effective.get();
        let result = self.attend(context).then(body);
        if before != 0 {
            self.attend(before);
        }
        result
    }

    /// Makes `context` effective; `false` if the host does not know it.
    fn attend(&self, context: ContextId) -> bool {
        if self.0.effective.get() == context {
            return true;
        }
        let known = self.0.proxy.set_effective_context(context).is_ok();
        if known {
            self.0.effective.set(context);
        }
        known
    }

    pub(crate) fn stream(&self, context: ContextId) -> Option<Rc<Stream>> {
        self.0.streams.borrow().get(&context).cloned()
    }

    pub(crate) fn open_root(&self, root: ContextId) {
        self.0.roots.borrow_mut().entry(root).or_default();
    }

    pub(crate) fn open_stream(&self, context: ContextId, root: ContextId) -> Rc<Stream> {
        let stream = Rc::new(Stream::new(context, root));
        let old = self.0.streams.borrow_mut().insert(context, stream.clone());
        if let Some(old) = old {
            self.forget(&old); // the host reused a number without a word: the old stream is gone
        }
        stream
    }

    /// Starts the task that decides `stream`.
    pub(crate) fn start(&self, stream: &Rc<Stream>, task: impl Future<Output = Done> + 'static) {
        stream.request.set(Progress::Held);
        let slot = self.insert(Role::Exchange(stream.clone()), Task::Exchange(Box::pin(task)));
        stream.task.set(Some(slot));
    }

    /// Starts a task that outlives streams.
    pub(crate) fn spawn(&self, root: ContextId, task: impl Future<Output = ()> + 'static) {
        self.with_root(root, |root| root.detached.set(root.detached.get() + 1));
        self.insert(Role::Detached(root), Task::Other(Box::pin(task)));
    }

    /// Starts a task that goes on as long as its root.
    pub(crate) fn daemon(&self, root: ContextId, task: impl Future<Output = ()> + 'static) {
        self.insert(Role::Daemon(root), Task::Other(Box::pin(task)));
    }

    /// The response's headers are there.
    pub(crate) fn response_headers(&self, stream: &Rc<Stream>, end_of_stream: bool) {
        match (stream.request.get(), stream.response.get()) {
            (Progress::Released, Progress::Ahead) => {
                let headers = headers(&self.0.proxy, Map::ResponseHeaders).unwrap_or_default();
                stream.response.set(Progress::Held);
                if stream.task.get().is_none() {
                    self.refuse(stream, "farebox_undecided");
                    return;
                }
                stream.answer.replace(Some((headers, end_of_stream)));
                stream.wake();
            }
            (Progress::Held | Progress::Ahead, _) => {
                stream.request.set(Progress::Overtaken);
                self.kill(stream);
            }
            _ => {}
        }
    }

    /// A callout ended. `outcome` reads the answer, and runs while the callback's context is effective.
    pub(crate) fn callout_ended(&self, token: Token, outcome: impl FnOnce() -> Outcome) {
        let waiting = self.0.callouts.borrow_mut().remove(&token);
        match waiting {
            Some(waiting) => {
                waiting.outcome.replace(Some(outcome()));
                let waker = waiting.waker.borrow_mut().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            None if self.0.dispatching.get() > 0 && self.0.early.borrow().len() < EARLY => {
                let outcome = outcome();
                self.0.early.borrow_mut().push((token, outcome));
            }
            None => {}
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&self) {
        let now = self.now_millis();
        let mut due = Vec::new();
        self.0.timers.borrow_mut().retain(|timer| {
            // A clock that was set back must not make anyone sleep longer.
            let over = now >= timer.due || now < timer.set;
            if over {
                due.push(timer.waker.clone());
            }
            !over
        });
        due.into_iter().for_each(Waker::wake);
    }

    /// Whether the host may delete this context.
    pub(crate) fn done(&self, context: ContextId) -> bool {
        let Some(root) = self.0.roots.borrow().get(&context).cloned() else {
            return true;
        };
        root.closing.set(true);
        self.drop_tasks(|role| matches!(role, Role::Daemon(of) if *of == context));
        root.detached.get() == 0
    }

    /// The host forgets this context.
    pub(crate) fn delete(&self, context: ContextId) {
        let stream = self.0.streams.borrow_mut().remove(&context);
        if let Some(stream) = stream {
            self.forget(&stream);
        }
        let root = self.0.roots.borrow_mut().remove(&context);
        if root.is_some() {
            self.drop_tasks(|role| matches!(role, Role::Daemon(root) | Role::Detached(root) if *root == context));
        }
    }

    fn forget(&self, stream: &Rc<Stream>) {
        stream.gone.set(true);
        if let Some(sent) = stream.sent.borrow_mut().take() {
            sent.tell(None);
        }
        self.kill(stream);
    }

    fn with_root(&self, root: ContextId, act: impl FnOnce(&Root)) {
        let root = self.0.roots.borrow().get(&root).cloned();
        if let Some(root) = root {
            act(&root);
        }
    }

    // ---- tasks -----------------------------------------------------------------------------------------------------

    fn insert(&self, role: Role, task: Task) -> usize {
        let mut slots = self.0.slots.borrow_mut();
        let free = self.0.free.borrow_mut().pop();
        let index = free.unwrap_or(slots.len());
        match slots.get_mut(index) {
            Some(slot) => {
                slot.state = State::Idle(task);
                slot.role = Some(role);
                slot.waker.wake_by_ref();
            }
            None => {
                let bell = Arc::new(Bell { slot: index, rung: AtomicBool::new(false), ready: self.0.ready.clone() });
                let waker = Waker::from(bell.clone());
                waker.wake_by_ref();
                slots.push(Slot { state: State::Idle(task), role: Some(role), waker, bell });
            }
        }
        index
    }

    /// Polls everything that is ready.
    fn drain(&self) {
        for _ in 0..POLLS {
            match self.0.ready.pop() {
                Some(slot) => self.poll(slot),
                None => return,
            }
        }
    }

    fn poll(&self, index: usize) {
        let (mut task, role, waker) = {
            let mut slots = self.0.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index) else {
                return;
            };
            slot.bell.rung.store(false, Ordering::Relaxed);
            match &mut slot.state {
                State::Free => return,
                State::Busy { again, .. } => {
                    *again = true;
                    return;
                }
                State::Idle(_) => {}
            }
            let Some(role) = slot.role.clone() else {
                return;
            };
            let busy = State::Busy { again: false, kill: false };
            let State::Idle(task) = std::mem::replace(&mut slot.state, busy) else {
                return;
            };
            (task, role, slot.waker.clone())
        };

        let known = self.attend(role.context());
        let ended = !known || task.poll(&mut Context::from_waker(&waker));

        let dropped = {
            let mut slots = self.0.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index) else {
                return;
            };
            let State::Busy { again, kill } = slot.state else {
                return;
            };
            if ended || kill {
                Some(task)
            } else {
                slot.state = State::Idle(task);
                if again {
                    slot.waker.wake_by_ref();
                }
                None
            }
        };
        let ended = dropped.is_some();
        drop(dropped); // its destructors may call the host, and start tasks; the slot is still busy
        if ended {
            self.vacate(index, &role);
        }
        if let Role::Exchange(stream) = &role {
            self.apply(stream);
            if ended {
                self.close(stream);
            }
        }
    }

    /// Frees a slot whose task is dropped.
    fn vacate(&self, index: usize, role: &Role) {
        {
            let mut slots = self.0.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index) else {
                return;
            };
            slot.state = State::Free;
            slot.role = None;
            self.0.free.borrow_mut().push(index);
        }
        match role {
            Role::Exchange(stream) => stream.task.set(None),
            Role::Daemon(_) => {}
            Role::Detached(id) => self.with_root(*id, |root| {
                root.detached.set(root.detached.get().saturating_sub(1));
                if root.closing.get() && root.detached.get() == 0 && self.attend(*id) {
                    let _ = self.0.proxy.done(); // if the host refuses, it does not wait for us
                }
            }),
        }
    }

    /// Drops the task in a slot, now or after the poll it is in.
    fn discard(&self, index: usize) {
        let (task, role) = {
            let mut slots = self.0.slots.borrow_mut();
            let Some(slot) = slots.get_mut(index) else {
                return;
            };
            match &mut slot.state {
                State::Free => return,
                State::Busy { kill, .. } => {
                    *kill = true;
                    return;
                }
                State::Idle(_) => {}
            }
            let busy = State::Busy { again: false, kill: true };
            (std::mem::replace(&mut slot.state, busy), slot.role.clone())
        };
        drop(task);
        if let Some(role) = role {
            self.vacate(index, &role);
        }
    }

    fn kill(&self, stream: &Rc<Stream>) {
        if let Some(index) = stream.task.get() {
            self.discard(index);
        }
    }

    fn drop_tasks(&self, which: impl Fn(&Role) -> bool) {
        let found: Vec<usize> = {
            let slots = self.0.slots.borrow();
            slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.role.as_ref().is_some_and(&which))
                .map(|(at, _)| at)
                .collect()
        };
        for index in found {
            self.discard(index);
        }
    }

    // ---- effects ---------------------------------------------------------------------------------------------------

    /// Does what the exchange wants.
    fn apply(&self, stream: &Rc<Stream>) {
        let intent = stream.intent.borrow_mut().take();
        let Some(intent) = intent else { return };
        if stream.gone.get() || !self.attend(stream.context) {
            let kept = stream.kept.borrow_mut().take();
            kept.into_iter().for_each(|kept| kept.0());
            return;
        }
        match intent {
            Intent::Forward(edits) if stream.request.get() == Progress::Held => {
                if let Err(status) = self.edit(Map::RequestHeaders, &edits) {
                    self.log(LogLevel::Error, &format!("request headers could not be edited ({status}): refused"));
                    self.kill(stream);
                    self.refuse(stream, "farebox_edit_failed");
                    return;
                }
                stream.request.set(Progress::Released);
                self.go_on(stream, Direction::Request);
            }
            Intent::Release(edits) if stream.response.get() == Progress::Held => {
                // What was paid for is delivered even if a header of ours cannot be.
                if let Err(status) = self.edit(Map::ResponseHeaders, &edits) {
                    self.log(LogLevel::Error, &format!("response headers could not be edited ({status})"));
                }
                stream.response.set(Progress::Released);
                self.go_on(stream, Direction::Response);
            }
            Intent::Reply(reply) => self.reply(stream, &reply),
            Intent::Forward(_) | Intent::Release(_) => {}
        }
    }

    fn go_on(&self, stream: &Rc<Stream>, direction: Direction) {
        let kept = stream.kept.borrow_mut().take();
        if stream.inside.get() == Some(direction) {
            return; // the callback returns it
        }
        let Err(status) = self.0.proxy.continue_stream(direction) else { return };
        self.log(LogLevel::Warn, &format!("a stream would not go on ({status})"));
        if direction == Direction::Response {
            stream.response.set(Progress::Held);
            kept.into_iter().for_each(|kept| kept.0());
            self.refuse(stream, "farebox_not_released");
        }
    }

    fn edit(&self, map: Map, edits: &Edits) -> Result<(), Status> {
        let proxy = &self.0.proxy;
        let mut result = Ok(());
        for edit in &edits.0 {
            let done = match edit {
                Edit::Remove(name) => match proxy.remove(map, name) {
                    Err(Status::NotFound) => Ok(()),
                    other => other,
                },
                Edit::Set(name, value) => proxy.replace(map, name, value),
                Edit::Add(name, value) => proxy.add(map, name, value),
            };
            result = result.and(done);
        }
        result
    }

    /// A task has ended: its stream must have been decided.
    fn close(&self, stream: &Rc<Stream>) {
        if stream.gone.get() {
            return;
        }
        if stream.request.get() == Progress::Held || stream.response.get() == Progress::Held {
            self.refuse(stream, "farebox_undecided");
        }
    }

    /// Refuses a stream that has no task, or none that could decide it.
    pub(crate) fn refuse(&self, stream: &Rc<Stream>, details: &'static str) {
        if stream.gone.get() || !self.attend(stream.context) {
            return;
        }
        let headers = vec![("cache-control".to_owned(), "no-store".to_owned())];
        // 14: UNAVAILABLE, for a client that speaks gRPC; the host ignores it for any other.
        let grpc_status = Some(14);
        self.reply(stream, &Reply { status: 503, headers, body: Vec::new(), details, grpc_status });
    }

    fn reply(&self, stream: &Rc<Stream>, reply: &Reply) {
        let side = match (stream.request.get(), stream.response.get()) {
            (_, Progress::Held) => &stream.response,
            (Progress::Held, _) => &stream.request,
            _ => return,
        };
        let fields = reply.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        side.set(Progress::Replied); // before the call: it may call back
        let sent = Pairs::write(fields).and_then(|headers| {
            self.0.proxy.local_response(LocalResponse {
                status: reply.status,
                details: reply.details,
                headers: &headers,
                body: &reply.body,
                grpc_status: reply.grpc_status,
            })
        });
        if let Err(status) = sent {
            if side.get() == Progress::Replied {
                side.set(Progress::Held);
            }
            self.log(LogLevel::Error, &format!("a reply was refused by the host ({status}): the stream stays held"));
        }
    }

    // ---- what tasks wait for ---------------------------------------------------------------------------------------

    /// Sends `request` when first polled, and waits for the answer.
    pub(crate) fn callout(&self, request: Request) -> impl Future<Output = Outcome> + use<P> {
        Calling { executor: self.clone(), stage: Stage::Ready(request) }
    }

    /// Waits about `millis` milliseconds.
    pub(crate) fn sleep(&self, millis: u64) -> impl Future<Output = ()> + use<P> {
        let now = self.now_millis();
        let id = self.0.timer_ids.get().wrapping_add(1);
        self.0.timer_ids.set(id);
        Sleep { executor: self.clone(), id, set: now, due: now.saturating_add(millis) }
    }

    fn dispatch(&self, request: &Request) -> Result<(Token, Rc<Waiting>), Status> {
        let inner = &self.0;
        inner.dispatching.set(inner.dispatching.get() + 1);
        let sent = inner.proxy.http_call(&request.cluster, &request.headers, &request.body, request.timeout_millis);
        inner.dispatching.set(inner.dispatching.get().saturating_sub(1));
        let mut early = inner.early.borrow_mut();
        let result = sent.map(|token| {
            let waiting = Rc::new(Waiting::default());
            match early.iter().position(|(of, _)| *of == token) {
                Some(at) => {
                    waiting.outcome.replace(Some(early.swap_remove(at).1));
                }
                None => {
                    inner.callouts.borrow_mut().insert(token, waiting.clone());
                }
            }
            (token, waiting)
        });
        if inner.dispatching.get() == 0 {
            early.clear();
        }
        result
    }
}

/// The header fields of `map`.
pub(crate) fn headers(proxy: &impl Proxy, map: Map) -> Result<Headers, Status> {
    let pairs = proxy.pairs(map)?;
    let mut places = Vec::with_capacity(pairs.len());
    places.extend(pairs.places());
    Ok(Headers::lying_in(pairs.into_bytes(), places.into_iter()))
}

/// A callout in the form the host takes.
pub(crate) struct Request {
    pub(crate) cluster: String,
    pub(crate) headers: Pairs,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout_millis: u32,
}

enum Stage {
    Ready(Request),
    Sent(Token, Rc<Waiting>),
    Over,
}

struct Calling<P: Proxy> {
    executor: Executor<P>,
    stage: Stage,
}

impl<P: Proxy> Future for Calling<P> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            match &self.stage {
                Stage::Ready(request) => match self.executor.dispatch(request) {
                    Ok((token, waiting)) => self.stage = Stage::Sent(token, waiting),
                    Err(_) => {
                        self.stage = Stage::Over;
                        return Poll::Ready(Err(CalloutError::NotSent));
                    }
                },
                Stage::Sent(_, waiting) => {
                    let outcome = waiting.outcome.borrow_mut().take();
                    if let Some(outcome) = outcome {
                        self.stage = Stage::Over;
                        return Poll::Ready(outcome);
                    }
                    waiting.waker.replace(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                Stage::Over => return Poll::Ready(Err(CalloutError::Lost)),
            }
        }
    }
}

impl<P: Proxy> Drop for Calling<P> {
    fn drop(&mut self) {
        if let Stage::Sent(token, waiting) = &self.stage {
            let mut callouts = self.executor.0.callouts.borrow_mut();
            if callouts.get(token).is_some_and(|known| Rc::ptr_eq(known, waiting)) {
                callouts.remove(token); // the answer, when it comes, has an unknown token
            }
        }
    }
}

struct Sleep<P: Proxy> {
    executor: Executor<P>,
    id: u64,
    set: u64,
    due: u64,
}

impl<P: Proxy> Sleep<P> {
    fn unset(&self) {
        self.executor.0.timers.borrow_mut().retain(|timer| timer.id != self.id);
    }
}

impl<P: Proxy> Future for Sleep<P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.unset();
        let now = self.executor.now_millis();
        if now >= self.due || now < self.set {
            return Poll::Ready(());
        }
        let timer = Timer { id: self.id, set: self.set, due: self.due, waker: cx.waker().clone() };
        self.executor.0.timers.borrow_mut().push(timer);
        Poll::Pending
    }
}

impl<P: Proxy> Drop for Sleep<P> {
    fn drop(&mut self) {
        self.unset();
    }
}

#[cfg(test)]
impl<P> Executor<P> {
    /// Tasks, callouts, timers, streams: all that can leak.
    pub(crate) fn census(&self) -> (usize, usize, usize, usize) {
        let inner = &self.0;
        let live = inner.slots.borrow().iter().filter(|slot| !matches!(slot.state, State::Free)).count();
        let (callouts, timers) = (inner.callouts.borrow().len(), inner.timers.borrow().len());
        (live, callouts, timers, inner.streams.borrow().len())
    }
}
