//! A thin layer over the proxy-wasm ABI, version 0.2.1.
//!
//! It types what crosses the boundary and adds nothing. There is no dispatcher, no context object and no panic:
//!
//! * Calls to the host are the methods of [`Proxy`]. Each returns `Result<_, Status>`, and a status this module has
//!   never heard of is [`Status::Other`], not the end of the VM.
//! * Calls from the host are the associated functions of [`Callbacks`]. Only these are exported. In particular no
//!   response body or trailers callback is: a host that does not find one leaves those phases to the stream's state,
//!   and nothing here can let a held response go by mistake.
//! * [`Action`] has the value 4, `StopAllIterationAndWatermark`, that Envoy understands and the specification's two
//!   values lack. A response of any size can be held by it.
//!
//! # Unsafe code
//!
//! The only `unsafe` of this crate is in `imports` (calls into the host) and `exports` (names the host looks up).
//! No pointer that the host returns is ever dereferenced. Memory that the host asked for stays in a table
//! (`memory`); when the host names a pointer and a length, they are looked up there and the buffer is taken out as
//! the `Vec` it always was. A host that names something else gets nothing, so no host output can break the guest's
//! memory.
//!
//! # Contexts
//!
//! Contexts are the host's numbers: a root for each plugin configuration, and one for each stream. Host calls work
//! on the *effective* context, which is the callback's own until [`Proxy::set_effective_context`] changes it.
#![allow(unsafe_code)]

#[cfg(target_arch = "wasm32")]
mod exports;
#[cfg(target_arch = "wasm32")]
mod imports;
mod memory;
mod pairs;

#[cfg(target_arch = "wasm32")]
pub use imports::Wasm;
pub use pairs::Pairs;

use std::fmt;

/// A host's number for a root or a stream.
pub type ContextId = u32;

/// A host's number for a callout under way.
pub type Token = u32;

/// A host's number for a metric.
pub type MetricId = u32;

/// Why a host call did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no such thing.
    NotFound,
    /// An argument was refused; also: the stream is gone, or its headers have left.
    BadArgument,
    /// The host could not serialise the value.
    SerializationFailure,
    /// The host could not parse the value.
    ParseFailure,
    /// An expression was refused.
    BadExpression,
    /// The host, or this module on the host's behalf, met memory that is not there.
    InvalidMemoryAccess,
    /// There is nothing to give.
    Empty,
    /// Another writer was first.
    CasMismatch,
    /// The result is not of the kind asked for.
    ResultMismatch,
    /// The host failed.
    InternalFailure,
    /// A connection broke.
    BrokenConnection,
    /// This host does not have this call.
    Unimplemented,
    /// A status of a later ABI, or none at all.
    Other(u32),
}

impl Status {
    /// What a host call's return value means.
    ///
    /// # Errors
    /// Every value but 0.
    pub fn check(raw: u32) -> Result<(), Self> {
        Err(match raw {
            0 => return Ok(()),
            1 => Self::NotFound,
            2 => Self::BadArgument,
            3 => Self::SerializationFailure,
            4 => Self::ParseFailure,
            5 => Self::BadExpression,
            6 => Self::InvalidMemoryAccess,
            7 => Self::Empty,
            8 => Self::CasMismatch,
            9 => Self::ResultMismatch,
            10 => Self::InternalFailure,
            11 => Self::BrokenConnection,
            12 => Self::Unimplemented,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(raw) => write!(f, "host status {raw}"),
            known => write!(f, "{known:?}"),
        }
    }
}

impl std::error::Error for Status {}

/// What a stream callback tells the host to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Continue,
    /// Stop here. Where the host iterates over bodies while headers are stopped, body callbacks still come.
    Pause,
    /// Stop everything of this direction, and push back on the sender instead of buffering without end. No body
    /// callback comes. Envoy only; others do not know the value.
    PauseAll,
}

impl Action {
    /// The value on the wire.
    #[must_use]
    pub fn raw(self) -> u32 {
        match self {
            Self::Continue => 0,
            Self::Pause => 1,
            Self::PauseAll => 4,
        }
    }
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `debug`
    Debug = 1,
    /// `info`
    Info = 2,
    /// `warn`
    Warn = 3,
    /// `error`
    Error = 4,
}

/// The direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Request = 0,
    /// From the upstream to the client.
    Response = 1,
}

/// A list of header fields that the host keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Headers of the request.
    RequestHeaders = 0,
    /// Headers of the response.
    ResponseHeaders = 2,
    /// Headers of a callout's answer, inside its callback.
    CalloutHeaders = 6,
}

/// Bytes that the host keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The request's body as far as it is buffered.
    RequestBody = 0,
    /// Body of a callout's answer, inside its callback.
    CalloutBody = 4,
    /// The plugin's configuration, inside `on_configure`.
    PluginConfiguration = 7,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Only grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// A distribution of values.
    Histogram = 2,
}

/// A response made by the guest.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse<'a> {
    /// HTTP status.
    pub status: u16,
    /// A word for the host's logs.
    pub details: &'a str,
    /// Header fields.
    pub headers: &'a Pairs,
    /// Body bytes; for a gRPC client its `grpc-message`.
    pub body: &'a [u8],
    /// gRPC status, if the client speaks gRPC and the host is not to make one of the HTTP status.
    pub grpc_status: Option<u32>,
}

/// Everything a guest can ask of the host. `Wasm` is the real one; tests bring their own.
///
/// # Errors
/// Every method gives the host's status unless the host said it was done.
#[allow(clippy::missing_errors_doc)] // said once, above
pub trait Proxy: Clone + 'static {
    /// Writes a line to the host's log.
    fn log(&self, level: LogLevel, text: &str) -> Result<(), Status>;
    /// Wall-clock time in nanoseconds since the Unix epoch.
    fn now_nanos(&self) -> Result<u64, Status>;
    /// Asks for `on_tick` of the effective root every `millis` milliseconds; 0 ends it.
    fn set_tick_period(&self, millis: u32) -> Result<(), Status>;
    /// Makes later host calls work on `context`.
    fn set_effective_context(&self, context: ContextId) -> Result<(), Status>;
    /// Says that the effective context, whose `on_done` said "not yet", now is.
    fn done(&self) -> Result<(), Status>;

    /// All fields of `map`.
    fn pairs(&self, map: Map) -> Result<Pairs, Status>;
    /// Adds a field to `map`.
    fn add(&self, map: Map, name: &str, value: &str) -> Result<(), Status>;
    /// Replaces every field of this name in `map` by one.
    fn replace(&self, map: Map, name: &str, value: &str) -> Result<(), Status>;
    /// Removes every field of this name from `map`.
    fn remove(&self, map: Map, name: &str) -> Result<(), Status>;
    /// At most `max` bytes of `buffer`, from its start.
    fn bytes(&self, buffer: Buffer, max: usize) -> Result<Vec<u8>, Status>;

    /// Lets a direction of the effective stream go on.
    fn continue_stream(&self, direction: Direction) -> Result<(), Status>;
    /// Answers the effective stream's client.
    fn local_response(&self, response: LocalResponse<'_>) -> Result<(), Status>;
    /// Sends an HTTP request; the answer comes to `on_http_call_response` with the token.
    fn http_call(&self, cluster: &str, headers: &Pairs, body: &[u8], timeout_millis: u32) -> Result<Token, Status>;

    /// The value of a property; `None` if there is none.
    fn property(&self, path: &[&str]) -> Result<Option<Vec<u8>>, Status>;
    /// Sets a property.
    fn set_property(&self, path: &[&str], value: &[u8]) -> Result<(), Status>;

    /// A shared value and its version. On some hosts a key that was removed has a version and an empty value.
    fn shared(&self, key: &str) -> Result<(Vec<u8>, u32), Status>;
    /// Sets a shared value; `version` 0 means "whatever is there".
    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Result<(), Status>;

    /// Makes a metric known.
    fn define_metric(&self, kind: Metric, name: &str) -> Result<MetricId, Status>;
    /// Adds to a counter.
    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status>;
    /// Adds a value to a histogram.
    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status>;
}

/// What the host calls. The type that implements it is named once, in `exports`.
pub trait Callbacks {
    /// The VM was made.
    fn on_vm_start() -> bool;
    /// A plugin configuration of `size` bytes is there to be read; `false` refuses it.
    fn on_configure(root: ContextId, size: usize) -> bool;
    /// A context was made. A root has `parent` 0.
    fn on_context_create(context: ContextId, parent: ContextId);
    /// The tick period of `root` has passed.
    fn on_tick(root: ContextId);
    /// The request's headers are there.
    fn on_request_headers(stream: ContextId, end_of_stream: bool) -> Action;
    /// `size` bytes of the request's body are there.
    fn on_request_body(stream: ContextId, size: usize, end_of_stream: bool) -> Action;
    /// The request's trailers are there.
    fn on_request_trailers(stream: ContextId) -> Action;
    /// The response's headers are there.
    fn on_response_headers(stream: ContextId, end_of_stream: bool) -> Action;
    /// A callout ended: with an answer, or, if it has no header, without.
    fn on_http_call_response(root: ContextId, token: Token, headers: usize, body: usize);
    /// The host is about to delete `context`; `false` asks it to wait for [`Proxy::done`].
    fn on_done(context: ContextId) -> bool;
    /// The access log of `stream` is about to be written. Exported by test builds only.
    #[cfg(feature = "trap")]
    fn on_log(stream: ContextId);
    /// The host forgets `context`.
    fn on_delete(context: ContextId);
}
