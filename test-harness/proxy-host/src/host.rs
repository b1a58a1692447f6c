//! The host: VMs, callbacks, the schedule.

use crate::inject::{At, Effect};
use crate::message::{Answer, Author, Request, Response, Sent, World};
use crate::profile::{OnTrap, Profile};
use crate::random::Random;
use crate::state::{Action, Context, Counters, Dir, Line, State, Step, Stream, Vm};
use crate::vm::{Filter, LoadError, Machine};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;

/// Why a VM does not run a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The module cannot be instantiated.
    Load(LoadError),
    /// The filter trapped.
    Trapped(String),
    /// The filter refused it, with these words in its log.
    Configuration(Vec<String>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::Trapped(why) => write!(f, "trapped: {why}"),
            Self::Configuration(lines) => f.write_str(&lines.join("\n")),
        }
    }
}

impl std::error::Error for Refused {}

pub(crate) struct Inner {
    pub(crate) filter: Filter,
    pub(crate) state: RefCell<State>,
    pub(crate) world: Rc<RefCell<dyn World>>,
}

/// A proxy with a filter in it. See the [crate page](crate).
#[derive(Clone)]
pub struct Host(pub(crate) Rc<Inner>);

impl Host {
    /// A proxy without VMs. One `seed` makes one run.
    #[must_use]
    pub fn new(filter: &Filter, profile: Profile, seed: u64, world: Rc<RefCell<dyn World>>) -> Self {
        let state = RefCell::new(State::new(profile, seed));
        Self(Rc::new(Inner { filter: filter.clone(), state, world }))
    }

    // ---- VMs -------------------------------------------------------------------------------------------------------

    /// Starts a VM, as one more worker, with this configuration and environment.
    ///
    /// # Errors
    /// If it does not start: Envoy then refuses the listener.
    pub fn start(&self, json: &str, env: &[(&str, &str)]) -> Result<usize, Refused> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let vm = {
            let mut state = self.0.state.borrow_mut();
            state.vms.push(Vm {
                json: json.as_bytes().to_vec(),
                env,
                machine: None,
                running: false,
                failed: true,
                life: 0,
                root: 0,
                last_context: 0,
                contexts: HashMap::new(),
                draining: Vec::new(),
                effective: 0,
                last_token: 0,
                ticks: HashMap::new(),
                answer: None,
                configuration: None,
                actions: VecDeque::new(),
                stop: false,
            });
            state.vms.len() - 1
        };
        self.0.boot(vm)?;
        Ok(vm)
    }

    /// Gives a VM a new configuration, as an xDS update does: a new root for new streams. The old root and its
    /// streams go on until [`retire`](Self::retire).
    ///
    /// # Errors
    /// If the filter refuses it; the old one stays.
    pub fn update(&self, vm: usize, json: &str) -> Result<(), Refused> {
        let old = self.vm(vm, |vm| std::mem::replace(&mut vm.json, json.as_bytes().to_vec()));
        self.0.configure(vm).inspect_err(|_| self.vm(vm, |vm| vm.json = old))
    }

    /// Ends the drain after an [`update`](Self::update): streams of roots other than the current are cut, those roots
    /// are asked to be done, and deleted as soon as they are.
    pub fn retire(&self, vm: usize) {
        let (old, streams) = {
            let state = self.0.state.borrow();
            let Some(worker) = state.vms.get(vm) else { return };
            let roots = worker.contexts.iter().filter(|(id, kind)| **kind == Context::Root && **id != worker.root);
            let old: Vec<u32> = roots.map(|(id, _)| *id).filter(|id| !worker.draining.contains(id)).collect();
            let streams = state.streams.iter().filter(|(_, stream)| {
                stream.vm == vm && stream.life == worker.life && old.contains(&stream.root) && !stream.closed
            });
            (old.clone(), streams.map(|(id, _)| *id).collect::<Vec<_>>())
        };
        for stream in streams {
            self.abort(stream);
        }
        for root in old {
            self.vm(vm, |vm| vm.draining.push(root));
            let done = self.0.callback(vm, root, "proxy_on_done", |machine| {
                machine.exports.done.as_ref().map_or(Ok(1), |done| done.call(&mut machine.store, root))
            });
            if done.is_none_or(|done| done != 0) {
                self.0.delete_root(vm, root);
            }
        }
    }

    /// Roots of a VM that were asked to be done and are not.
    #[must_use]
    pub fn draining(&self, vm: usize) -> usize {
        self.vm(vm, |vm| vm.draining.len())
    }

    /// Kills a VM, as a trap between callbacks would.
    pub fn trap(&self, vm: usize) {
        self.0.fail(vm, "killed by the test");
    }

    /// Whether a VM has trapped and was not started again.
    #[must_use]
    pub fn failed(&self, vm: usize) -> bool {
        self.vm(vm, |vm| vm.failed)
    }

    fn vm<R: Default>(&self, vm: usize, act: impl FnOnce(&mut Vm) -> R) -> R {
        self.0.state.borrow_mut().vms.get_mut(vm).map(act).unwrap_or_default()
    }

    // ---- streams ---------------------------------------------------------------------------------------------------

    /// A client sends a request to a worker. Nothing runs yet.
    pub fn open(&self, vm: usize, request: Request) -> u64 {
        let mut state = self.0.state.borrow_mut();
        state.last_stream += 1;
        state.counters.streams += 1;
        let id = state.last_stream;
        state.streams.insert(id, Stream::new(vm, request));
        state.ready.push_back(Step::Client(id));
        id
    }

    /// The client goes away now.
    pub fn abort(&self, stream: u64) {
        self.0.abort(stream);
    }

    /// The client goes away at some point of the schedule.
    pub fn abort_soon(&self, stream: u64) {
        self.0.state.borrow_mut().ready.push_back(Step::Abort(stream));
    }

    /// The host answers in the filter's and the upstream's place: a route timeout, an idle timeout, a reset.
    ///
    /// While a response is held, the client gets this answer past every filter. Before, it is a response like any
    /// other. After, the response breaks off.
    pub fn overtake(&self, stream: u64, status: u16) {
        self.0.overtake(stream, status);
    }

    /// As [`overtake`](Self::overtake), at some point of the schedule.
    pub fn overtake_soon(&self, stream: u64, status: u16) {
        self.0.state.borrow_mut().ready.push_back(Step::Overtake(stream, status));
    }

    /// What the client has of its response so far; `None` as long as nothing left.
    #[must_use]
    pub fn reply(&self, stream: u64) -> Option<Response> {
        self.0.state.borrow().streams.get(&stream)?.reply.clone()
    }

    /// Whether the stream is over.
    #[must_use]
    pub fn closed(&self, stream: u64) -> bool {
        self.0.state.borrow().streams.get(&stream).is_none_or(|stream| stream.closed)
    }

    /// Forgets a stream, which must be over, and gives what the client got.
    pub fn take(&self, stream: u64) -> Option<Response> {
        let mut state = self.0.state.borrow_mut();
        if !state.streams.get(&stream)?.closed {
            return None;
        }
        state.streams.remove(&stream)?.reply
    }

    /// A fact that the filter left on a stream.
    #[must_use]
    pub fn property(&self, stream: u64, name: &str) -> Option<Vec<u8>> {
        let state = self.0.state.borrow();
        let properties = &state.streams.get(&stream)?.properties;
        properties.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value.clone())
    }

    /// Answers a callout that waits.
    pub fn answer(&self, call: u64, answer: Answer) {
        self.0.state.borrow_mut().ready.push_back(Step::Answer(call, answer));
    }

    /// Callouts under way.
    #[must_use]
    pub fn pending(&self) -> Vec<u64> {
        let mut pending: Vec<u64> = self.0.state.borrow().calls.keys().copied().collect();
        pending.sort_unstable();
        pending
    }

    /// The upstream answers a request that waits.
    pub fn respond(&self, stream: u64, response: Sent) {
        let mut state = self.0.state.borrow_mut();
        if let Some(known) = state.streams.get_mut(&stream) {
            known.upstream = Some(response);
            state.ready.push_back(Step::Upstream(stream));
        }
    }

    // ---- schedule --------------------------------------------------------------------------------------------------

    /// Takes steps in the order in which they became possible, instead of in one that the seed chooses.
    pub fn in_order(&self) {
        self.0.state.borrow_mut().shuffle = false;
    }

    /// In so many percent of all shared data calls, other VMs run before the call is made: the race of two workers.
    pub fn races(&self, percent: u32) {
        self.0.state.borrow_mut().races = percent;
    }

    /// Does one thing that can happen now; `false` if nothing can.
    pub fn step(&self) -> bool {
        self.0.step()
    }

    /// Does everything that can happen without time passing.
    pub fn run_until_idle(&self) {
        while self.step() {}
    }

    /// Lets time pass, and everything that is due in it happen.
    pub fn advance(&self, millis: u64) {
        let end = self.0.state.borrow().now.saturating_add(millis.saturating_mul(1_000_000));
        loop {
            self.run_until_idle();
            let mut state = self.0.state.borrow_mut();
            match state.timers.peek().map(|timer| timer.0.at).filter(|at| *at <= end) {
                Some(at) => state.now = state.now.max(at),
                None => {
                    state.now = end;
                    return;
                }
            }
            state.wake();
        }
    }

    /// Virtual milliseconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.state.borrow().millis()
    }

    /// The generator that orders the schedule; tests may draw from it too.
    pub fn random<R>(&self, draw: impl FnOnce(&mut Random) -> R) -> R {
        draw(&mut self.0.state.borrow_mut().random)
    }

    // ---- faults and facts ------------------------------------------------------------------------------------------

    /// Sets a fault.
    pub fn inject(&self, at: At, effect: Effect) {
        self.0.state.borrow_mut().faults.add(at, effect);
    }

    /// Exempts host functions from faults at the n-th host call, which strike the next call instead.
    pub fn spare(&self, functions: &[&'static str]) {
        self.0.state.borrow_mut().faults.spared = functions.to_vec();
    }

    /// The faults that struck since this was last asked: function or callback, and effect.
    #[must_use]
    pub fn struck(&self) -> Vec<String> {
        std::mem::take(&mut self.0.state.borrow_mut().faults.history)
    }

    /// Removes every fault that has not struck.
    pub fn clear_faults(&self) {
        self.0.state.borrow_mut().faults.clear();
    }

    /// Starts a trace of host calls, and gives the one kept so far: VM and function of each call.
    pub fn trace(&self) -> Vec<(usize, &'static str)> {
        self.0.state.borrow_mut().faults.trace.replace(Vec::new()).unwrap_or_default()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let state = self.0.state.borrow();
        Counters { faults: state.faults.struck, ..state.counters.clone() }
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log(&self) -> Vec<Line> {
        self.0.state.borrow().log.iter().cloned().collect()
    }

    /// A metric of the filter's: a counter's value, or how many values a histogram has.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        let state = self.0.state.borrow();
        let id = state.metric_ids.get(name).copied();
        id.and_then(|id| state.metrics.get(id as usize)).map_or(0, |(_, value)| *value)
    }

    /// Keys of the shared data, and bytes of its longest value.
    #[must_use]
    pub fn shared_data(&self) -> (usize, usize) {
        let state = self.0.state.borrow();
        (state.shared.keys(), state.shared.largest())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// In the log of a VM that came up refusing its configuration because host calls were made to fail meanwhile.
pub(crate) const CALLS_FAILED: &str = ", host calls having been made to fail";

impl Inner {
    /// Makes a machine for a VM, and configures it.
    fn boot(self: &Rc<Self>, vm: usize) -> Result<(), Refused> {
        let mut machine = self.filter.machine(Rc::downgrade(self), vm).map_err(Refused::Load)?;
        {
            let mut state = self.state.borrow_mut();
            state.lives += 1;
            let life = state.lives;
            let Some(worker) = state.vms.get_mut(vm) else { return Ok(()) };
            worker.life = life;
            worker.failed = false;
            worker.root = 0;
            worker.last_context = 0;
            worker.contexts.clear();
            worker.draining.clear();
            worker.actions.clear();
            worker.ticks.clear();
            worker.running = true;
        }
        // Not a callback: a machine that fails here never was one.
        let started = match (&machine.exports.initialize, &machine.exports.start) {
            (Some(initialize), _) => initialize.call(&mut machine.store, ()),
            (None, Some(start)) => start.call(&mut machine.store, ()),
            (None, None) => Ok(()),
        };
        self.put_back(vm, machine, started.is_ok());
        if let Err(error) = started {
            self.fail(vm, &format!("{error:?}"));
            return Err(Refused::Trapped(format!("{error:?}")));
        }
        let struck = self.state.borrow().faults.struck;
        self.configure(vm).inspect_err(|refused| {
            // A configuration that was good before is refused where the host would not give what it takes to read it.
            let failed = self.state.borrow().faults.struck > struck;
            let because = if failed { CALLS_FAILED } else { "" };
            self.fail(vm, &format!("its configuration was refused{because}: {refused:?}"));
        })
    }

    fn put_back(&self, vm: usize, machine: impl Into<Box<Machine>>, alive: bool) {
        let machine = machine.into();
        let mut state = self.state.borrow_mut();
        if let Some(worker) = state.vms.get_mut(vm) {
            worker.running = false;
            if alive {
                worker.machine = Some(machine);
            }
        }
    }

    /// Makes a root with the VM's configuration and, if the filter accepts it, the VM's root.
    fn configure(self: &Rc<Self>, vm: usize) -> Result<(), Refused> {
        let (root, size, first) = {
            let mut state = self.state.borrow_mut();
            let Some(worker) = state.vms.get_mut(vm) else { return Ok(()) };
            worker.last_context += 1;
            let root = worker.last_context;
            worker.contexts.insert(root, Context::Root);
            worker.configuration = Some(worker.json.clone());
            (root, u32::try_from(worker.json.len()).unwrap_or(u32::MAX), worker.root == 0)
        };
        let logged = self.state.borrow().log.len();
        let trapped = || Refused::Trapped(self.last_words());
        self.callback(vm, root, "proxy_on_context_create", |machine| match &machine.exports.context_create {
            Some(create) => create.call(&mut machine.store, (root, 0)),
            None => Ok(()),
        })
        .ok_or_else(trapped)?;
        let mut accepted = 1;
        if first {
            accepted = self
                .callback(vm, root, "proxy_on_vm_start", |machine| match &machine.exports.vm_start {
                    Some(start) => start.call(&mut machine.store, (root, 0)),
                    None => Ok(1),
                })
                .ok_or_else(trapped)?;
        }
        if accepted != 0 {
            accepted = self
                .callback(vm, root, "proxy_on_configure", |machine| match &machine.exports.configure {
                    Some(configure) => configure.call(&mut machine.store, (root, size)),
                    None => Ok(1),
                })
                .ok_or_else(trapped)?;
        }
        let mut state = self.state.borrow_mut();
        let lines = state.log.iter().skip(logged).map(|line| line.text.clone()).collect();
        let Some(worker) = state.vms.get_mut(vm) else { return Ok(()) };
        worker.configuration = None;
        if accepted == 0 {
            worker.contexts.remove(&root);
            return Err(Refused::Configuration(lines));
        }
        worker.root = root;
        Ok(())
    }

    fn last_words(&self) -> String {
        self.state.borrow().log.back().map(|line| line.text.clone()).unwrap_or_default()
    }

    /// Calls the guest, and then does what it asked for. `None`: the VM is gone, or trapped.
    pub(crate) fn callback<R>(
        self: &Rc<Self>,
        vm: usize,
        context: u32,
        name: &str,
        call: impl FnOnce(&mut Machine) -> wasmtime::Result<R>,
    ) -> Option<R> {
        let mut machine = {
            let mut state = self.state.borrow_mut();
            let worker = state.vms.get_mut(vm)?;
            let machine = worker.machine.take()?;
            worker.running = true;
            worker.effective = context;
            worker.stop = false;
            machine
        };
        let fault = {
            let mut state = self.state.borrow_mut();
            state.counters.callbacks += 1;
            state.faults.on_callback(name)
        };
        let result = match fault {
            Some(_) => Err(wasmtime::Error::msg(format!("trap injected in {name}"))),
            None => call(&mut machine),
        };
        self.put_back(vm, machine, result.is_ok());
        let result = match result {
            Ok(result) => Some(result),
            Err(error) => {
                self.fail(vm, &format!("{name}: {error:?}"));
                None
            }
        };
        // What was asked for before a trap happens all the same.
        self.act(vm);
        result
    }

    /// Does what the guest asked for in its last callback.
    fn act(self: &Rc<Self>, vm: usize) {
        loop {
            let action = self.state.borrow_mut().vms.get_mut(vm).and_then(|vm| vm.actions.pop_front());
            match action {
                Some(Action::Continue(stream, dir)) => self.go_on(stream, dir),
                Some(Action::Reply { stream, status, headers, body }) => {
                    self.local_reply(stream, Author::Filter, status, headers, body);
                }
                Some(Action::Done(root)) => self.delete_root(vm, root),
                None => return,
            }
        }
    }

    /// Ends a VM.
    pub(crate) fn fail(&self, vm: usize, why: &str) {
        let mut state = self.state.borrow_mut();
        let Some(worker) = state.vms.get_mut(vm) else { return };
        if worker.failed {
            return;
        }
        worker.failed = true;
        worker.machine = None;
        worker.draining.clear();
        state.counters.traps += 1;
        state.log(vm, 5, format!("VM failed: {why}"));
    }

    fn delete_root(self: &Rc<Self>, vm: usize, root: u32) {
        {
            let mut state = self.state.borrow_mut();
            let Some(worker) = state.vms.get_mut(vm) else { return };
            worker.draining.retain(|draining| *draining != root);
            if worker.contexts.get(&root) != Some(&Context::Root) {
                return;
            }
            let life = worker.life;
            worker.ticks.remove(&root);
            state.calls.retain(|_, call| (call.vm, call.life, call.root) != (vm, life, root));
        }
        self.callback(vm, root, "proxy_on_delete", |machine| match &machine.exports.delete {
            Some(delete) => delete.call(&mut machine.store, root),
            None => Ok(()),
        });
        if let Some(worker) = self.state.borrow_mut().vms.get_mut(vm) {
            worker.contexts.remove(&root);
        }
    }

    /// Gives a stream a context; starts the VM again if it is gone and the profile says so.
    pub(crate) fn attach(self: &Rc<Self>, id: u64) -> bool {
        let (vm, failed, on_trap) = {
            let state = self.state.borrow();
            let Some(stream) = state.streams.get(&id) else { return false };
            let failed = state.vms.get(stream.vm).is_none_or(|vm| vm.failed);
            (stream.vm, failed, state.profile.on_trap)
        };
        if failed && (on_trap != OnTrap::Reload || self.boot(vm).is_err()) {
            return false;
        }
        let (context, root) = {
            let mut state = self.state.borrow_mut();
            let Some(worker) = state.vms.get_mut(vm) else { return false };
            worker.last_context += 1;
            let (context, root, life) = (worker.last_context, worker.root, worker.life);
            worker.contexts.insert(context, Context::Stream(id));
            let Some(stream) = state.streams.get_mut(&id) else { return false };
            (stream.life, stream.context, stream.root) = (life, context, root);
            (context, root)
        };
        self.callback(vm, context, "proxy_on_context_create", |machine| match &machine.exports.context_create {
            Some(create) => create.call(&mut machine.store, (context, root)),
            None => Ok(()),
        })
        .is_some()
    }

    // ---- schedule --------------------------------------------------------------------------------------------------

    pub(crate) fn step(self: &Rc<Self>) -> bool {
        let step = self.state.borrow_mut().take_step();
        match step {
            Some(step) => {
                self.run(step);
                true
            }
            None => false,
        }
    }

    /// Lets other VMs run, inside a host call, as often as the dice say.
    pub(crate) fn race(self: &Rc<Self>) {
        loop {
            let step = {
                let mut state = self.state.borrow_mut();
                let races = state.races;
                if races == 0 || !state.random.chance(races) {
                    return;
                }
                let step = state.take_step();
                state.counters.races += u64::from(step.is_some());
                step
            };
            match step {
                Some(step) => self.run(step),
                None => return,
            }
        }
    }

    fn run(self: &Rc<Self>, step: Step) {
        match step {
            Step::Client(stream) => self.client(stream),
            Step::Upstream(stream) => self.upstream(stream),
            Step::Answer(call, answer) => self.answer(call, answer),
            Step::Tick { vm, life, root, serial } => self.tick(vm, life, root, serial),
            Step::Abort(stream) => self.abort(stream),
            Step::Overtake(stream, status) => self.overtake(stream, status),
        }
    }

    fn tick(self: &Rc<Self>, vm: usize, life: u64, root: u32, serial: u64) {
        {
            let mut state = self.state.borrow_mut();
            let Some(worker) = state.vms.get(vm) else { return };
            let period = match worker.ticks.get(&root) {
                Some((period, number)) if worker.life == life && !worker.failed && *number == serial => *period,
                _ => return,
            };
            state.after(period, Step::Tick { vm, life, root, serial });
        }
        self.callback(vm, root, "proxy_on_tick", |machine| match &machine.exports.tick {
            Some(tick) => tick.call(&mut machine.store, root),
            None => Ok(()),
        });
    }

    fn answer(self: &Rc<Self>, call: u64, answer: Answer) {
        let (vm, root, token, fields, bytes) = {
            let mut state = self.state.borrow_mut();
            let Some(call) = state.calls.remove(&call) else { return };
            let alive = state.vms.get(call.vm).is_some_and(|vm| {
                !vm.failed && vm.life == call.life && vm.contexts.get(&call.root) == Some(&Context::Root)
            });
            if !alive {
                state.counters.lost_answers += 1;
                return;
            }
            let Some(worker) = state.vms.get_mut(call.vm) else { return };
            let (headers, body) = match answer {
                Answer::Http(headers, body) => (headers, body),
                Answer::Reset => Default::default(),
            };
            let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
            let (fields, bytes) = (size(headers.0.len()), size(body.len()));
            worker.answer = Some((headers, body));
            (call.vm, call.root, call.token, fields, bytes)
        };
        self.callback(vm, root, "proxy_on_http_call_response", |machine| match &machine.exports.http_call_response {
            Some(respond) => respond.call(&mut machine.store, (root, token, fields, bytes, 0)),
            None => Ok(()),
        });
        if let Some(worker) = self.state.borrow_mut().vms.get_mut(vm) {
            worker.answer = None;
        }
    }

    /// Calls a stream's callback. `None`: its VM is gone, or trapped.
    pub(crate) fn stream_callback<R>(
        self: &Rc<Self>,
        id: u64,
        name: &str,
        call: impl FnOnce(&mut Machine, u32) -> wasmtime::Result<R>,
    ) -> Option<(R, bool)> {
        let (vm, context) = {
            let state = self.state.borrow();
            let stream = state.streams.get(&id)?;
            let worker = state.vms.get(stream.vm)?;
            if worker.failed || worker.life != stream.life {
                return None;
            }
            (stream.vm, stream.context)
        };
        let stopped = std::cell::Cell::new(false);
        let result = self.callback(vm, context, name, |machine| {
            let result = call(machine, context);
            if let Some(host) = machine.store.data().host.upgrade() {
                stopped.set(host.state.borrow().vms.get(vm).is_some_and(|vm| vm.stop));
            }
            result
        });
        result.map(|result| (result, stopped.get()))
    }

    pub(crate) fn stream<R>(&self, id: u64, act: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let mut state = self.state.borrow_mut();
        state.streams.get_mut(&id).filter(|stream| !stream.closed).map(act)
    }

    pub(crate) fn side<R>(&self, id: u64, dir: Dir, act: impl FnOnce(&mut crate::state::Side) -> R) -> Option<R> {
        self.stream(id, |stream| act(stream.side(dir)))
    }
}
