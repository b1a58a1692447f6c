//! A host made for tests: it keeps books, refuses what it is told to refuse, and calls back from inside host calls.

use crate::abi::{
    Action, Buffer, ContextId, Direction, LocalResponse, LogLevel, Map, Metric, MetricId, Pairs, Proxy, Status, Token,
};
use crate::plugin::Plugin;
use crate::probe::Probe;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

pub(super) const ROOT: ContextId = 1;

/// What a host call may do besides its work.
type Hook = Rc<dyn Fn(&Rig, &Call)>;
/// What refuses host calls by name.
type Refuse = Rc<dyn Fn(&str) -> Option<Status>>;
/// Header fields.
type Fields = Vec<(String, String)>;

/// A host call that lets the host run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Continue(ContextId, Direction),
    Reply(ContextId, u16),
    Http(Token, String),
    Done(ContextId),
}

#[derive(Default)]
pub(super) struct Books {
    pub(super) effective: Cell<ContextId>,
    pub(super) alive: RefCell<HashSet<ContextId>>,
    pub(super) maps: RefCell<HashMap<(ContextId, u32), Fields>>,
    pub(super) request_body: RefCell<Vec<u8>>,
    pub(super) answer: RefCell<(Fields, Vec<u8>)>,
    pub(super) calls: RefCell<Vec<Call>>,
    pub(super) open: RefCell<BTreeMap<Token, String>>,
    pub(super) metrics: RefCell<Vec<(String, i64)>>,
    pub(super) properties: RefCell<HashMap<(ContextId, String), Vec<u8>>>,
    pub(super) shared: RefCell<HashMap<String, (Vec<u8>, u32)>>,
    pub(super) log: RefCell<Vec<String>>,
    pub(super) now: Cell<u64>,
    pub(super) configuration: RefCell<Vec<u8>>,
    /// The dialect of create-if-absent.
    pub(super) like_nginx: Cell<bool>,
    /// Asked before each host call by name; a status refuses it.
    pub(super) refuse: RefCell<Option<Refuse>>,
    hook: RefCell<Option<Hook>>,
    rig: RefCell<Option<Rig>>,
    tokens: Cell<Token>,
}

#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Rc<Books>);

impl Fake {
    fn allowed(&self, call: &str) -> Result<(), Status> {
        let refuse = self.0.refuse.borrow().clone();
        refuse.and_then(|refuse| refuse(call)).map_or(Ok(()), Err)
    }

    /// The effective context, which must be alive for calls on a stream.
    fn stream(&self) -> Result<ContextId, Status> {
        let context = self.0.effective.get();
        if self.0.alive.borrow().contains(&context) { Ok(context) } else { Err(Status::BadArgument) }
    }

    fn note(&self, call: Call) {
        self.0.calls.borrow_mut().push(call.clone());
        let (hook, rig) = (self.0.hook.borrow().clone(), self.0.rig.borrow().clone());
        if let (Some(hook), Some(rig)) = (hook, rig) {
            hook(&rig, &call);
        }
    }

    fn map<R>(&self, map: Map, act: impl FnOnce(&mut Fields) -> R) -> Result<R, Status> {
        if map == Map::CalloutHeaders {
            return Ok(act(&mut self.0.answer.borrow_mut().0));
        }
        let context = self.stream()?;
        Ok(act(self.0.maps.borrow_mut().entry((context, map as u32)).or_default()))
    }
}

impl Proxy for Fake {
    fn log(&self, _level: LogLevel, text: &str) -> Result<(), Status> {
        self.allowed("log")?;
        self.0.log.borrow_mut().push(text.to_owned());
        Ok(())
    }

    fn now_nanos(&self) -> Result<u64, Status> {
        self.allowed("now")?;
        Ok(self.0.now.get() * 1_000_000)
    }

    fn set_tick_period(&self, _millis: u32) -> Result<(), Status> {
        self.allowed("tick")
    }

    fn set_effective_context(&self, context: ContextId) -> Result<(), Status> {
        self.allowed("effective")?;
        if !self.0.alive.borrow().contains(&context) {
            return Err(Status::BadArgument);
        }
        self.0.effective.set(context);
        Ok(())
    }

    fn done(&self) -> Result<(), Status> {
        self.allowed("done")?;
        self.note(Call::Done(self.stream()?));
        Ok(())
    }

    fn pairs(&self, map: Map) -> Result<Pairs, Status> {
        self.allowed("pairs")?;
        self.map(map, |fields| Pairs::write(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))))?
    }

    fn add(&self, map: Map, name: &str, value: &str) -> Result<(), Status> {
        self.allowed("add")?;
        self.map(map, |fields| fields.push((name.to_owned(), value.to_owned())))
    }

    fn replace(&self, map: Map, name: &str, value: &str) -> Result<(), Status> {
        self.allowed("replace")?;
        self.map(map, |fields| {
            fields.retain(|(known, _)| known != name);
            fields.push((name.to_owned(), value.to_owned()));
        })
    }

    fn remove(&self, map: Map, name: &str) -> Result<(), Status> {
        self.allowed("remove")?;
        self.map(map, |fields| fields.retain(|(known, _)| known != name))
    }

    fn bytes(&self, buffer: Buffer, max: usize) -> Result<Vec<u8>, Status> {
        self.allowed("bytes")?;
        let mut bytes = match buffer {
            Buffer::RequestBody => self.0.request_body.borrow().clone(),
            Buffer::CalloutBody => self.0.answer.borrow().1.clone(),
            Buffer::PluginConfiguration => self.0.configuration.borrow().clone(),
        };
        bytes.truncate(max);
        Ok(bytes)
    }

    fn continue_stream(&self, direction: Direction) -> Result<(), Status> {
        self.allowed("continue")?;
        self.note(Call::Continue(self.stream()?, direction));
        Ok(())
    }

    fn local_response(&self, response: LocalResponse<'_>) -> Result<(), Status> {
        self.allowed("reply")?;
        self.note(Call::Reply(self.stream()?, response.status));
        Ok(())
    }

    fn http_call(&self, cluster: &str, headers: &Pairs, _body: &[u8], _timeout: u32) -> Result<Token, Status> {
        self.allowed("http")?;
        if cluster != "mock" {
            return Err(Status::BadArgument);
        }
        let token = self.0.tokens.get() + 1;
        self.0.tokens.set(token);
        let path = headers.iter().find(|(name, _)| *name == b":path").map(|(_, value)| value.to_vec());
        let path = String::from_utf8(path.unwrap_or_default()).unwrap();
        self.0.open.borrow_mut().insert(token, path.clone());
        self.note(Call::Http(token, path));
        Ok(token)
    }

    fn property(&self, path: &[&str]) -> Result<Option<Vec<u8>>, Status> {
        self.allowed("property")?;
        Ok(match path {
            ["xds", "node", "user_agent_name"] => Some(b"envoy".to_vec()),
            ["source", "address"] => Some(b"192.0.2.7:4711".to_vec()),
            _ => None,
        })
    }

    fn set_property(&self, path: &[&str], value: &[u8]) -> Result<(), Status> {
        self.allowed("set_property")?;
        let context = self.stream()?;
        self.0.properties.borrow_mut().insert((context, path.join("\0")), value.to_vec());
        Ok(())
    }

    fn shared(&self, key: &str) -> Result<(Vec<u8>, u32), Status> {
        self.allowed("shared")?;
        self.0.shared.borrow().get(key).cloned().ok_or(Status::NotFound)
    }

    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Result<(), Status> {
        self.allowed("set_shared")?;
        let mut shared = self.0.shared.borrow_mut();
        let allowed = match (shared.get(key), version, self.0.like_nginx.get()) {
            (None, 0, _) | (None, _, false) | (Some(_), 0, false) => true,
            (None, _, true) | (Some(_), 0, true) => false,
            (Some((_, known)), version, _) => *known == version,
        };
        if !allowed {
            return Err(Status::CasMismatch);
        }
        let version = shared.get(key).map_or(1, |(_, version)| version + 1);
        shared.insert(key.to_owned(), (value.to_vec(), version));
        Ok(())
    }

    fn define_metric(&self, _kind: Metric, name: &str) -> Result<MetricId, Status> {
        self.allowed("define")?;
        let mut metrics = self.0.metrics.borrow_mut();
        metrics.push((name.to_owned(), 0));
        Ok(u32::try_from(metrics.len()).unwrap() - 1)
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        self.allowed("increment")?;
        self.0.metrics.borrow_mut()[id as usize].1 += by;
        Ok(())
    }

    fn record_metric(&self, id: MetricId, _value: u64) -> Result<(), Status> {
        self.0.metrics.borrow_mut()[id as usize].1 += 1;
        Ok(())
    }
}

/// A filter on a fake host, called the way hosts call.
#[derive(Clone)]
pub(super) struct Rig {
    pub(super) books: Rc<Books>,
    pub(super) plugin: Rc<Plugin<Fake, Probe>>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::configured("request_body").unwrap()
    }

    pub(super) fn configured(configuration: &str) -> Option<Self> {
        let fake = Fake::default();
        fake.0.configuration.replace(configuration.as_bytes().to_vec());
        let rig = Self { books: fake.0.clone(), plugin: Rc::new(Plugin::new(fake)) };
        rig.books.rig.replace(Some(rig.clone()));
        rig.books.now.set(1_000_000);
        rig.books.alive.borrow_mut().insert(ROOT);
        rig.plugin.on_vm_start();
        rig.plugin.on_context_create(ROOT, 0);
        rig.enter(ROOT, |plugin| plugin.on_configure(ROOT, configuration.len())).then_some(rig)
    }

    /// Calls back as hosts do: the callback's own context is effective, and afterwards the one before is again.
    pub(super) fn enter<R>(&self, context: ContextId, call: impl FnOnce(&Plugin<Fake, Probe>) -> R) -> R {
        let outer = self.books.effective.replace(context);
        let result = call(&self.plugin);
        self.books.effective.set(outer);
        result
    }

    pub(super) fn hook(&self, hook: impl Fn(&Self, &Call) + 'static) {
        self.books.hook.replace(Some(Rc::new(hook)));
    }

    pub(super) fn refuse(&self, refuse: impl Fn(&str) -> Option<Status> + 'static) {
        self.books.refuse.replace(Some(Rc::new(refuse)));
    }

    pub(super) fn allow(&self) {
        self.books.refuse.take();
    }

    /// A new stream with this script.
    pub(super) fn request(&self, context: ContextId, script: &str) -> Action {
        self.announce(context, script);
        self.enter(context, |plugin| plugin.on_request_headers(context, true))
    }

    /// A new stream with this script and a body to come.
    pub(super) fn upload(&self, context: ContextId, script: &str) -> Action {
        self.announce(context, script);
        self.enter(context, |plugin| plugin.on_request_headers(context, false))
    }

    fn announce(&self, context: ContextId, script: &str) {
        self.books.alive.borrow_mut().insert(context);
        let fields = [(":path", "/"), ("x-probe", script), ("x-secret", "s")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        self.books.maps.borrow_mut().insert((context, Map::RequestHeaders as u32), fields);
        let fields = vec![(":status".to_owned(), "200".to_owned())];
        self.books.maps.borrow_mut().insert((context, Map::ResponseHeaders as u32), fields);
        self.enter(context, |plugin| plugin.on_context_create(context, ROOT));
    }

    pub(super) fn response(&self, context: ContextId) -> Action {
        self.enter(context, |plugin| plugin.on_response_headers(context, false))
    }

    pub(super) fn body(&self, context: ContextId, bytes: &[u8], end: bool) -> Action {
        self.books.request_body.replace(bytes.to_vec());
        self.enter(context, |plugin| plugin.on_request_body(context, bytes.len(), end))
    }

    /// Answers the callout `token` with `status`; 0 is no answer.
    pub(super) fn answer(&self, token: Token, status: u16) {
        self.books.open.borrow_mut().remove(&token);
        let headers = if status == 0 { vec![] } else { vec![(":status".to_owned(), status.to_string())] };
        let count = headers.len();
        self.books.answer.replace((headers, b"{}".to_vec()));
        let body = if status == 0 { 0 } else { 2 };
        self.enter(ROOT, |plugin| plugin.on_http_call_response(ROOT, token, count, body));
        self.books.answer.take();
    }

    /// Answers the one callout to `path`.
    pub(super) fn answer_path(&self, path: &str, status: u16) {
        let open = self.books.open.borrow().iter().find(|(_, open)| *open == path).map(|(token, _)| *token);
        self.answer(open.unwrap_or_else(|| panic!("no callout to {path}: {:?}", self.books.open.borrow())), status);
    }

    pub(super) fn tick(&self, millis: u64) {
        self.books.now.set(self.books.now.get() + millis);
        self.enter(ROOT, |plugin| plugin.on_tick(ROOT));
    }

    pub(super) fn delete(&self, context: ContextId) {
        self.enter(context, |plugin| {
            let _ = plugin.on_done(context);
            plugin.on_delete(context);
        });
        self.books.alive.borrow_mut().remove(&context);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.books.calls.borrow().clone()
    }

    pub(super) fn metric(&self, name: &str) -> i64 {
        self.books.metrics.borrow().iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    /// Tasks besides the root's daemon, callouts, timers besides the daemon's, streams.
    pub(super) fn census(&self) -> [usize; 4] {
        let (tasks, callouts, timers, streams) = self.plugin.executor.census();
        [tasks - 1, callouts, timers.saturating_sub(1), streams]
    }

    pub(super) fn header(&self, context: ContextId, map: Map, name: &str) -> Option<String> {
        let maps = self.books.maps.borrow();
        let fields = maps.get(&(context, map as u32))?;
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}
