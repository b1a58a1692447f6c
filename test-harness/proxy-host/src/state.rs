//! Everything a host knows but the VMs' machines: streams, contexts, callouts, the schedule, what was counted.

use crate::inject::Faults;
use crate::message::{Answer, Author, Forwarded, Headers, Request, Response, Sent};
use crate::profile::Profile;
use crate::random::Random;
use crate::shared_data::SharedData;
use crate::vm::Machine;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

/// Lines of the log that are kept.
const LOG: usize = 4096;

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dir {
    Request,
    Response,
}

/// How the filter left one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Its headers have not come.
    Ahead,
    /// It goes on.
    Going,
    /// Headers are stopped; body and trailers callbacks come.
    StopHeaders,
    /// Everything is stopped.
    StopAll,
    /// A reply took its place.
    Over,
}

/// One direction of a stream at the filter.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) flow: Flow,
    pub(crate) headers: Headers,
    /// Whether the guest may still change the headers.
    pub(crate) writable: bool,
    /// Whether the headers went on.
    pub(crate) passed: bool,
    /// Whether the headers end the stream.
    pub(crate) only_headers: bool,
    /// Whether the source has sent everything.
    pub(crate) ended: bool,
    /// Body that is held.
    pub(crate) buffer: Vec<u8>,
    /// Body that a callback sees.
    pub(crate) visible: Vec<u8>,
    pub(crate) trailers: Option<Headers>,
    /// Whether the source waits until the buffer goes.
    pub(crate) pushed_back: bool,
}

impl Side {
    fn new() -> Self {
        Self {
            flow: Flow::Ahead,
            headers: Headers::default(),
            writable: false,
            passed: false,
            only_headers: false,
            ended: false,
            buffer: Vec::new(),
            visible: Vec::new(),
            trailers: None,
            pushed_back: false,
        }
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) vm: usize,
    /// Which life of the VM; 0 until the stream has a context.
    pub(crate) life: u64,
    pub(crate) context: u32,
    pub(crate) root: u32,
    pub(crate) request: Request,
    /// Pieces of the request that have arrived.
    pub(crate) arrived: usize,
    pub(crate) decode: Side,
    pub(crate) encode: Side,
    pub(crate) seen: Forwarded,
    pub(crate) upstream: Option<Sent>,
    /// Pieces of the response that have arrived.
    pub(crate) answered: usize,
    /// Whether a local response was asked for.
    pub(crate) replied: bool,
    pub(crate) author: Author,
    pub(crate) properties: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) reply: Option<Response>,
    pub(crate) closed: bool,
}

impl Stream {
    pub(crate) fn new(vm: usize, request: Request) -> Self {
        Self {
            vm,
            life: 0,
            context: 0,
            root: 0,
            request,
            arrived: 0,
            decode: Side::new(),
            encode: Side::new(),
            seen: Forwarded::default(),
            upstream: None,
            answered: 0,
            replied: false,
            author: Author::Upstream,
            properties: Vec::new(),
            reply: None,
            closed: false,
        }
    }

    pub(crate) fn side(&mut self, dir: Dir) -> &mut Side {
        match dir {
            Dir::Request => &mut self.decode,
            Dir::Response => &mut self.encode,
        }
    }
}

/// What a context number of a VM means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Root,
    Stream(u64),
}

/// What a host does once the callback that asked for it has returned.
#[derive(Debug)]
pub(crate) enum Action {
    Continue(u64, Dir),
    Reply {
        stream: u64,
        status: u16,
        headers: Headers,
        body: Vec<u8>,
    },
    /// `proxy_done` of a root that was asked to be done.
    Done(u32),
}

/// One worker's VM.
pub(crate) struct Vm {
    pub(crate) json: Vec<u8>,
    pub(crate) env: Vec<(String, String)>,
    /// The machine; gone while it runs, and after a trap.
    pub(crate) machine: Option<Box<Machine>>,
    pub(crate) running: bool,
    pub(crate) failed: bool,
    pub(crate) life: u64,
    pub(crate) root: u32,
    pub(crate) last_context: u32,
    pub(crate) contexts: HashMap<u32, Context>,
    /// Roots that were asked to be done and are not.
    pub(crate) draining: Vec<u32>,
    pub(crate) effective: u32,
    pub(crate) last_token: u32,
    /// Tick periods of roots, with the number of the setting.
    pub(crate) ticks: HashMap<u32, (u64, u64)>,
    /// What `on_http_call_response` may read.
    pub(crate) answer: Option<(Headers, Vec<u8>)>,
    /// What `on_configure` may read.
    pub(crate) configuration: Option<Vec<u8>>,
    pub(crate) actions: VecDeque<Action>,
    /// A local response was asked for in this callback.
    pub(crate) stop: bool,
}

/// A callout under way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) vm: usize,
    pub(crate) life: u64,
    pub(crate) root: u32,
    pub(crate) token: u32,
}

/// Something that can happen now.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next piece of a request arrives.
    Client(u64),
    /// The next piece of a response arrives.
    Upstream(u64),
    /// A callout ends.
    Answer(u64, Answer),
    Tick {
        vm: usize,
        life: u64,
        root: u32,
        serial: u64,
    },
    Abort(u64),
    /// The host answers in the filter's and the upstream's place.
    Overtake(u64, u16),
}

/// A step for later.
pub(crate) struct Timer {
    pub(crate) at: u64,
    pub(crate) order: u64,
    pub(crate) step: Step,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What a host has counted.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Host calls.
    pub calls: u64,
    /// Callbacks.
    pub callbacks: u64,
    /// Steps of other VMs that ran inside a host call.
    pub races: u64,
    /// Compare-and-swaps that were refused.
    pub mismatches: u64,
    /// VMs that trapped, for whatever reason.
    pub traps: u64,
    /// Callouts that left.
    pub callouts: u64,
    /// Answers that found no VM or root to go to.
    pub lost_answers: u64,
    /// Streams that were opened.
    pub streams: u64,
    /// Faults that struck.
    pub faults: u64,
}

/// One line of the guest's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The VM.
    pub vm: usize,
    /// 0 trace to 5 critical.
    pub level: u32,
    /// The text.
    pub text: String,
}

/// See the module.
pub(crate) struct State {
    pub(crate) profile: Profile,
    pub(crate) random: Random,
    /// What the guests' random source gives; apart from the schedule's.
    pub(crate) guest_random: Random,
    pub(crate) now: u64,
    pub(crate) shared: SharedData,
    pub(crate) vms: Vec<Vm>,
    pub(crate) streams: HashMap<u64, Stream>,
    pub(crate) last_stream: u64,
    pub(crate) calls: HashMap<u64, Pending>,
    pub(crate) last_call: u64,
    pub(crate) lives: u64,
    pub(crate) ready: VecDeque<Step>,
    pub(crate) timers: BinaryHeap<Reverse<Timer>>,
    pub(crate) order: u64,
    /// Whether steps are taken in random order.
    pub(crate) shuffle: bool,
    /// Percent of shared data calls in which other VMs run.
    pub(crate) races: u32,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    pub(crate) log: VecDeque<Line>,
    pub(crate) metrics: Vec<(String, u64)>,
    pub(crate) metric_ids: BTreeMap<String, u32>,
}

impl State {
    pub(crate) fn new(profile: Profile, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let guest_random = Random::new(random.next_u64());
        Self {
            shared: SharedData::new(profile.shared_data),
            profile,
            random,
            guest_random,
            now: 1_800_000_000_000_000_000,
            vms: Vec::new(),
            streams: HashMap::new(),
            last_stream: 0,
            calls: HashMap::new(),
            last_call: 0,
            lives: 0,
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            order: 0,
            shuffle: true,
            races: 0,
            faults: Faults::default(),
            counters: Counters::default(),
            log: VecDeque::new(),
            metrics: Vec::new(),
            metric_ids: BTreeMap::new(),
        }
    }

    pub(crate) fn millis(&self) -> u64 {
        self.now / 1_000_000
    }

    pub(crate) fn log(&mut self, vm: usize, level: u32, text: String) {
        if self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back(Line { vm, level, text });
    }

    pub(crate) fn after(&mut self, millis: u64, step: Step) {
        self.order += 1;
        let at = self.now.saturating_add(millis.saturating_mul(1_000_000));
        self.timers.push(Reverse(Timer { at, order: self.order, step }));
    }

    /// Makes timers that are due ready.
    pub(crate) fn wake(&mut self) {
        while self.timers.peek().is_some_and(|Reverse(timer)| timer.at <= self.now) {
            if let Some(Reverse(timer)) = self.timers.pop() {
                self.ready.push_back(timer.step);
            }
        }
    }

    /// The VM a step runs on; `None` for steps that have lost theirs.
    fn vm_of(&self, step: &Step) -> Option<usize> {
        match step {
            Step::Client(stream) | Step::Upstream(stream) | Step::Abort(stream) | Step::Overtake(stream, _) => {
                self.streams.get(stream).map(|stream| stream.vm)
            }
            Step::Answer(call, _) => self.calls.get(call).map(|call| call.vm),
            Step::Tick { vm, .. } => Some(*vm),
        }
    }

    /// Takes a step whose VM is not running.
    pub(crate) fn take_step(&mut self) -> Option<Step> {
        let length = self.ready.len();
        let start = if self.shuffle { self.random.below(length) } else { 0 };
        for nth in 0..length {
            let at = (start + nth) % length;
            let vm = self.ready.get(at).and_then(|step| self.vm_of(step));
            let idle = vm.and_then(|vm| self.vms.get(vm)).is_none_or(|vm| !vm.running);
            if idle {
                return if self.shuffle { self.ready.swap_remove_back(at) } else { self.ready.remove(at) };
            }
        }
        None
    }

    /// What the effective context of a VM is.
    pub(crate) fn context(&self, vm: usize) -> Option<Context> {
        let vm = self.vms.get(vm)?;
        vm.contexts.get(&vm.effective).copied()
    }

    /// The effective stream of a VM.
    pub(crate) fn stream(&mut self, vm: usize) -> Option<(u64, &mut Stream)> {
        match self.context(vm)? {
            Context::Stream(id) => self.streams.get_mut(&id).map(|stream| (id, stream)),
            Context::Root => None,
        }
    }
}
