//! [`Host`] over JavaScript: clock, randomness, fetch, tasks, the store, events.

use crate::executor;
use crate::lines;
use crate::random::random;
use crate::side::Scope;
use crate::store::Line;
use farebox_core::host::{Answer, Callout, CalloutError, Event, Host, HostError, Level};
use farebox_core::http::Headers;
use farebox_core::ledger::remote::Remote;
use js_sys::Uint8Array;
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::task::Poll;
use wasm_bindgen::{JsCast, JsValue};

/// The world as one exchange sees it, or the work between exchanges.
#[derive(Clone)]
pub(crate) struct World(Rc<Inner>);

struct Inner {
    scope: Scope,
    store: Remote<Line>,
    /// Set for the work between exchanges: its sleeps end with its next turn, not by a timer.
    turns: Option<Turns>,
}

/// Turns of the work between exchanges.
#[derive(Clone, Default)]
pub(crate) struct Turns(Rc<Rest>);

#[derive(Default)]
struct Rest {
    turn: Cell<u64>,
    resting: Cell<bool>,
}

impl Turns {
    /// A new turn begins.
    pub(crate) fn begin(&self) {
        self.0.turn.set(self.0.turn.get().wrapping_add(1));
        self.0.resting.set(false);
    }

    /// Whether the turn is over.
    pub(crate) fn are_resting(&self) -> bool {
        self.0.resting.get()
    }

    /// Whether these are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Ends with the next turn.
    fn rest(&self) -> impl Future<Output = ()> + use<> {
        let (turns, began) = (self.clone(), self.0.turn.get());
        std::future::poll_fn(move |_| {
            if turns.0.turn.get() != began {
                return Poll::Ready(());
            }
            turns.0.resting.set(true);
            Poll::Pending
        })
    }
}

impl World {
    pub(crate) fn new(scope: Scope, store: Remote<Line>, turns: Option<Turns>) -> Self {
        Self(Rc::new(Inner { scope, store, turns }))
    }
}

impl Host for World {
    type Store = Remote<Line>;

    fn now_millis(&self) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and never goes back to 1970
        let now = js_sys::Date::now() as u64;
        now
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        random(out)
    }

    fn callout(&self, call: Callout) -> impl Future<Output = Result<Answer, CalloutError>> + 'static {
        let side = self.0.scope.side();
        async move {
            let url = format!("{}://{}{}", call.scheme, call.authority, call.path);
            let headers = call.headers.into_iter().flat_map(|(name, value)| [name, value]).collect();
            #[allow(clippy::cast_precision_loss)]
            let timeout = call.timeout_millis as f64;
            let most = u32::try_from(Answer::MAX_BODY).unwrap_or(u32::MAX);
            let (id, promise) = executor::promise();
            side.callout(id, &call.cluster, &url, call.method, headers, call.body, timeout, most);
            promise.await.map_or_else(|error| Err(failure(&error)), |value| answer(&value).ok_or(CalloutError::Lost))
        }
    }

    fn sleep(&self, millis: u64) -> impl Future<Output = ()> + 'static {
        let turns = self.0.turns.as_ref().map(Turns::rest);
        let side = self.0.scope.side();
        async move {
            if let Some(rest) = turns {
                return rest.await;
            }
            let (id, promise) = executor::promise();
            #[allow(clippy::cast_precision_loss)]
            side.sleep(id, millis as f64);
            let _ = promise.await;
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let entered = self.0.scope.enter();
        executor::spawn(async move {
            let _entered = entered;
            task.await;
        });
    }

    fn store(&self) -> &Remote<Line> {
        &self.0.store
    }

    fn event(&self, event: &Event<'_>) {
        let side = self.0.scope.side();
        let labels =
            |pairs: &[(&str, &str)]| pairs.iter().flat_map(|(k, v)| [(*k).to_owned(), (*v).to_owned()]).collect();
        match *event {
            Event::Exchange { route, decision } => {
                side.event("farebox_exchanges_total", labels(&[("route", route), ("decision", decision)]), 1.0);
            }
            Event::Callout { kind, outcome, millis } => {
                side.event("farebox_callouts_total", labels(&[("kind", kind), ("outcome", outcome)]), 1.0);
                #[allow(clippy::cast_precision_loss)]
                side.event("farebox_callout_milliseconds", labels(&[("kind", kind)]), millis as f64);
            }
            Event::Breaker { facilitator, state } => {
                let of = [("facilitator", facilitator), ("state", state)];
                side.event("farebox_breaker_transitions_total", labels(&of), 1.0);
                let number = match state {
                    "closed" => 0.0,
                    "half_open" => 1.0,
                    _ => 2.0,
                };
                side.event("farebox_breaker_state", labels(&[("facilitator", facilitator)]), number);
            }
            Event::Claim { state } => side.event("farebox_claims_total", labels(&[("state", state)]), 1.0),
            Event::Audit { line } => side.audit(line),
            Event::Log { level, text } => {
                let level = match level {
                    Level::Debug => "debug",
                    Level::Info => "info",
                    Level::Warn => "warn",
                    Level::Error => "error",
                };
                side.log(level, text);
            }
        }
    }
}

/// A status line, header lines, and after them the body: `[lines, bytes]`.
fn answer(value: &JsValue) -> Option<Answer> {
    let pair = value.dyn_ref::<js_sys::Array>()?;
    let (status, headers) = status_and_headers(&pair.get(0))?;
    let body = pair.get(1).dyn_into::<Uint8Array>().ok()?.to_vec();
    Some(Answer { status, headers, body })
}

/// The status is the first line of TypeScript's text, and a pseudo header for the core.
pub(crate) fn status_and_headers(text: &JsValue) -> Option<(u16, Headers)> {
    let headers = lines::headers(&text.as_string()?);
    Some((headers.text(":status")?.parse().ok()?, headers))
}

fn failure(error: &JsValue) -> CalloutError {
    match error.as_string().as_deref() {
        Some("not sent") => CalloutError::NotSent,
        Some("too large") => CalloutError::TooLarge,
        _ => CalloutError::Lost,
    }
}
