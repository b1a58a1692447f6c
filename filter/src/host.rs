//! [`Host`] over the proxy: clock, randomness, callouts, tasks, the store, metrics and log.

use crate::abi::{ContextId, LogLevel, Metric, MetricId, Pairs, Proxy};
use crate::executor::{Executor, IdHasher, Request};
use crate::shared::Ledger;
use farebox_core::host::{Answer, Callout, CalloutError, Event, Host, HostError, Level};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

/// Most metrics with different names. Names come from the policy, so this is only reached by a policy of thousands
/// of routes; what is over is not counted.
const METRICS: usize = 16_384;

/// The world as one root sees it.
pub(crate) struct World<P: Proxy>(Rc<Inner<P>>);

struct Inner<P: Proxy> {
    executor: Executor<P>,
    root: ContextId,
    store: Ledger<P>,
    metrics: RefCell<Metrics>,
}

#[derive(Default)]
struct Metrics {
    ids: HashMap<String, MetricId, BuildHasherDefault<IdHasher>>,
    name: String,
}

impl<P: Proxy> Clone for World<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Proxy> World<P> {
    pub(crate) fn new(executor: Executor<P>, root: ContextId, store: Ledger<P>) -> Self {
        Self(Rc::new(Inner { executor, root, store, metrics: RefCell::default() }))
    }

    /// The host's number for the metric whose name `write` writes.
    fn metric(&self, kind: Metric, write: impl FnOnce(&mut String)) -> Option<MetricId> {
        let mut metrics = self.0.metrics.borrow_mut();
        let Metrics { ids, name } = &mut *metrics;
        name.clear();
        write(name);
        if let Some(id) = ids.get(name.as_str()) {
            return Some(*id);
        }
        if ids.len() >= METRICS {
            return None;
        }
        let id = self.0.executor.proxy().define_metric(kind, name).ok()?; // no host calls back from here
        ids.insert(name.clone(), id);
        Some(id)
    }

    fn count(&self, write: impl FnOnce(&mut String)) {
        if let Some(id) = self.metric(Metric::Counter, write) {
            let _ = self.0.executor.proxy().increment_metric(id, 1); // counting is best effort
        }
    }
}

impl<P: Proxy> Host for World<P> {
    type Store = Ledger<P>;

    fn now_millis(&self) -> u64 {
        self.0.executor.now_millis()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        getrandom::fill(out).map_err(|_| HostError)
    }

    fn callout(&self, call: Callout) -> impl Future<Output = Result<Answer, CalloutError>> + 'static {
        let executor = self.0.executor.clone();
        async move {
            let request = request(call).ok_or(CalloutError::NotSent)?;
            executor.callout(request).await
        }
    }

    fn sleep(&self, millis: u64) -> impl Future<Output = ()> + 'static {
        self.0.executor.sleep(millis)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.executor.spawn(self.0.root, task);
    }

    fn store(&self) -> &Ledger<P> {
        &self.0.store
    }

    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Exchange { route, decision } => self.count(|name| {
                name.extend(["farebox_exchanges_total.route.", route, ".decision.", decision]);
            }),
            Event::Callout { kind, outcome, millis } => {
                self.count(|name| {
                    let _ = write!(name, "farebox_callouts_total.kind.{kind}.outcome.{outcome}");
                });
                let histogram = self.metric(Metric::Histogram, |name| {
                    let _ = write!(name, "farebox_callout_milliseconds.kind.{kind}");
                });
                if let Some(id) = histogram {
                    let _ = self.0.executor.proxy().record_metric(id, millis);
                }
            }
            Event::Breaker { facilitator, state } => {
                self.count(|name| {
                    let _ = write!(name, "farebox_breaker_transitions_total.facilitator.{facilitator}.state.{state}");
                });
                let gauge = self.metric(Metric::Gauge, |name| {
                    let _ = write!(name, "farebox_breaker_state.facilitator.{facilitator}");
                });
                if let Some(id) = gauge {
                    let value = match state {
                        "open" => 2,
                        "half_open" => 1,
                        _ => 0,
                    };
                    let _ = self.0.executor.proxy().record_metric(id, value);
                }
            }
            Event::Claim { state } => self.count(|name| {
                let _ = write!(name, "farebox_claims_total.state.{state}");
            }),
            // At a level that operators seldom turn off: a line that is missing looks like one that was taken out.
            Event::Audit { line } => self.0.executor.log(LogLevel::Warn, line),
            Event::Log { level, text } => {
                let level = match level {
                    Level::Debug => LogLevel::Debug,
                    Level::Info => LogLevel::Info,
                    Level::Warn => LogLevel::Warn,
                    Level::Error => LogLevel::Error,
                };
                self.0.executor.log(level, text);
            }
        }
    }
}

/// A callout in the form the host takes; `None` if it does not fit.
fn request(call: Callout) -> Option<Request> {
    let pseudo = [
        (":method", call.method),
        (":scheme", call.scheme.as_str()),
        (":authority", call.authority.as_str()),
        (":path", call.path.as_str()),
    ];
    let fields = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let fields = pseudo.into_iter().chain(fields).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let headers = Pairs::write(fields).ok()?;
    let timeout_millis = u32::try_from(call.timeout_millis).ok()?;
    Some(Request { cluster: call.cluster, headers, body: call.body, timeout_millis })
}
