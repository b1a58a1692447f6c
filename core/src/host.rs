//! What a shell supplies: [`Host`] (the world) and [`Exchange`] (this stream).
//!
//! The rules a shell must keep are on the [crate page](crate). Nothing in the core asks for more than this.

use crate::http::{Edits, Headers, Reply};
use crate::ledger::Store;
use std::fmt;
use std::future::Future;

/// The world outside the exchange: clock, randomness, callouts, tasks, the store, and where facts go.
///
/// A `Host` is a cheap handle; clones mean the same world.
pub trait Host: Clone + 'static {
    /// The ledger's backend on this host.
    type Store: Store;

    /// Wall-clock time in milliseconds since the Unix epoch.
    fn now_millis(&self) -> u64;

    /// Wall-clock time in Unix seconds.
    fn now(&self) -> u64 {
        self.now_millis() / 1000
    }

    /// Fills `out` with cryptographically secure random bytes.
    ///
    /// # Errors
    /// If the host has none to give; the caller refuses whatever needed them.
    fn random(&self, out: &mut [u8]) -> Result<(), HostError>;

    /// Sends one HTTP request and waits for its whole answer.
    ///
    /// The request leaves when the future is first polled. Dropping the future does not take it back.
    fn callout(&self, call: Callout) -> impl Future<Output = Result<Answer, CalloutError>> + 'static;

    /// Resolves after about `millis` milliseconds; hosts with a coarse tick may round up.
    fn sleep(&self, millis: u64) -> impl Future<Output = ()> + 'static;

    /// Runs `task` detached: it outlives the exchange that started it, and the host lets it finish on a
    /// configuration update.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// The ledger's backend.
    fn store(&self) -> &Self::Store;

    /// Something worth counting or logging happened.
    fn event(&self, event: &Event<'_>);
}

/// One HTTP request and its response on their way through the gate.
///
/// Consumed by the decision: [`forward`](Self::forward) or [`reply`](Self::reply). The [`Done`] that every path ends
/// in can only come from such a decision, so an exchange without one does not compile.
pub trait Exchange: Sized + 'static {
    /// What [`forward`](Self::forward) resolves to.
    type Held: Held;

    /// The request's headers, pseudo headers included, as the host received them.
    fn headers(&self) -> &Headers;

    /// The client's address without a port, as the host sees it; for limits and logs, never for identity. Empty if the
    /// host does not know it: then nothing is limited by source.
    fn source(&self) -> &str;

    /// The whole request body, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] as soon as the length is known to pass `limit`; [`BodyError::Unsupported`] where the
    /// host cannot hold a request for its body.
    fn body(&mut self, limit: usize) -> impl Future<Output = Result<Vec<u8>, BodyError>>;

    /// Sends the request to the upstream with `edits` applied; resolves at the response's headers, which are held.
    fn forward(self, edits: Edits) -> impl Future<Output = Self::Held>;

    /// Answers instead of the upstream, which never sees the request.
    fn reply(self, reply: Reply) -> Done;

    /// Leaves a fact for the host's access log.
    fn note(&self, fact: Fact, value: &str);
}

/// An upstream response whose headers are held back from the client.
pub trait Held: Sized {
    /// The response's headers, `:status` included.
    fn headers(&self) -> &Headers;

    /// Whether the response ends with its headers (no body, no trailers).
    fn end_of_stream(&self) -> bool;

    /// Resolves once the response has gone, or will not, with the bytes of its body that were sent. To be asked for
    /// before [`release`](Self::release), and awaited in a detached task. A host that does not count tells what
    /// `Content-Length` says.
    fn sent(&self) -> impl Future<Output = u64> + 'static {
        std::future::ready(self.promised())
    }

    /// Bytes of body that the response's `Content-Length` promises, 0 if it promises none.
    fn promised(&self) -> u64 {
        self.headers().text("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    /// Lets the response go to the client with `edits` applied.
    fn release(self, edits: Edits) -> Done;

    /// As [`release`](Self::release); `kept` is what is to happen if the host then does not let it go. A shell whose host
    /// cannot refuse needs no more than this.
    fn release_or(self, edits: Edits, kept: impl FnOnce() + 'static) -> Done
    where
        Self: Sized,
    {
        drop(kept);
        self.release(edits)
    }

    /// Answers instead; what the upstream sent is dropped.
    fn reply(self, reply: Reply) -> Done;

    /// Leaves a fact for the host's access log.
    fn note(&self, fact: Fact, value: &str);

    /// The response's status, 0 if the host gave none.
    fn status(&self) -> u16 {
        self.headers().text(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

/// Proof that an exchange was decided. Only a shell's `release` and `reply` make one.
#[derive(Debug)]
#[must_use = "an exchange ends by returning this"]
pub struct Done(());

impl Done {
    /// For shells only: the decision has been recorded and will be applied after the poll.
    pub fn decided() -> Self {
        Self(())
    }
}

/// Facts for access logs. The host shows them as `farebox.<name>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// CAIP-10 account that paid.
    Payer,
    /// Name of the matched route.
    Route,
    /// The decision, as in `farebox_exchanges_total`.
    Decision,
    /// Amount charged, in atomic units.
    Amount,
    /// Transaction that settled the payment.
    Transaction,
    /// Id of the capability token that was shown.
    Token,
}

impl Fact {
    /// The fact's name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Payer => "payer",
            Self::Route => "route",
            Self::Decision => "decision",
            Self::Amount => "amount",
            Self::Transaction => "transaction",
            Self::Token => "token",
        }
    }
}

/// An HTTP request to one of the services the policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// The host's name for the service (Envoy: cluster).
    pub cluster: String,
    /// Request method.
    pub method: &'static str,
    /// `http` or `https`.
    pub scheme: String,
    /// Value of `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Body bytes.
    pub body: Vec<u8>,
    /// Milliseconds until the host gives up.
    pub timeout_millis: u64,
}

/// What a callout brought back. A host's own failure (refused, reset, timed out) may look like a 503 or 504 here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status, 0 if there was none.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
    /// Body bytes, at most [`Answer::MAX_BODY`].
    pub body: Vec<u8>,
}

impl Answer {
    /// Bytes of an answer's body that a shell keeps; more and it reports [`CalloutError::TooLarge`].
    pub const MAX_BODY: usize = 256 * 1024;
}

/// Why a callout has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalloutError {
    /// The host refused to send it: nothing left this machine.
    NotSent,
    /// It was sent, and no answer came or the connection failed: the service may have acted.
    Lost,
    /// The answer is larger than [`Answer::MAX_BODY`]: the service may have acted.
    TooLarge,
}

/// Why a request body cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than the limit.
    TooLarge,
    /// This host or its configuration cannot hold a request for its body.
    Unsupported,
}

/// The host refused something it should be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError;

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host refused")
    }
}

impl std::error::Error for HostError {}

/// What a host's configuration lets the gate do; checked when the policy is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Response headers can be held while a callout is under way (settle after).
    pub hold_response: bool,
    /// A request can be held for its body.
    pub read_body: bool,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers of farebox.
    Debug,
    /// Normal life.
    Info,
    /// An operator should look when there is time.
    Warn,
    /// An operator should look now.
    Error,
}

/// Things worth counting or logging. A shell maps them to its host's metrics and log, and adds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An exchange was decided: `farebox_exchanges_total` by route and decision.
    Exchange {
        /// Route name, `[A-Za-z0-9_-]+`.
        route: &'a str,
        /// Decision, `[a-z0-9_]+`.
        decision: &'static str,
    },
    /// A callout ended: `farebox_callout_milliseconds` by kind, and `farebox_callouts_total` by kind and outcome.
    Callout {
        /// `verify`, `settle`, `supported`, `rpc`.
        kind: &'static str,
        /// `ok`, `refused`, `failed`; for `settle` also `not_sent` and `unknown`.
        outcome: &'static str,
        /// From sending to the whole answer.
        millis: u64,
    },
    /// A facilitator's breaker entered a state, or a worker began with it: `farebox_breaker_transitions_total` by
    /// facilitator and state, and `farebox_breaker_state` by facilitator (0 closed, 1 half-open, 2 open).
    Breaker {
        /// The facilitator's name, `[A-Za-z0-9_-]+`.
        facilitator: &'a str,
        /// `closed`, `open`, `half_open`.
        state: &'static str,
    },
    /// A claim entered a state: `farebox_claims_total` by state.
    Claim {
        /// `claimed`, `settling`, `settled`, `failed`, `unknown`, `released`, `refused`.
        state: &'static str,
    },
    /// A line of the audit log, which is kept whatever the log's level.
    Audit {
        /// The line, JSON.
        line: &'a str,
    },
    /// A line for the log. Never carries a credential.
    Log {
        /// Severity.
        level: Level,
        /// The line.
        text: &'a str,
    },
}
