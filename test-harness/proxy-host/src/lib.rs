//! An in-process proxy-wasm host: it loads the same compiled `.wasm` that Envoy loads, and drives it through what
//! real processes are too slow for.
//!
//! ```text
//!   Host ─┬─ VM 0 (a wasmtime store) ─ root, streams ─┐
//!         ├─ VM 1                    ─ root, streams ─┼─ one shared data store, one clock, one schedule, one seed
//!         └─ …                                        ┘
//!   World: the services that callouts go to, and the upstream; written by the test
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `profile` | hosts as data: [`Profile`] |
//! | `vm` | compiling and linking: [`Filter`] |
//! | `imports`, `wasi` | the host functions |
//! | `host` | [`Host`]: VMs, callbacks, steps, time |
//! | `flow` | a stream's way through the filter, as Envoy's filter manager has it |
//! | `state` | all that is not a machine |
//! | `inject` | faults at the boundary |
//! | `message` | requests, responses, callouts, and [`World`] |
//! | [`farebox`] | payments, a facilitator and an upstream that keep the books, and the storm |
//!
//! # What can happen when
//!
//! Everything is a step: a piece of a request or response arrives, a callout is answered, a tick is due, a client
//! leaves. [`Host::step`] takes one of those that can happen now, chosen by the seed. One VM runs one callback at a
//! time, as an Envoy worker does; what a callback asks for (`proxy_continue_stream`, `proxy_send_local_response`)
//! happens when it has returned, as in Envoy.
//!
//! Workers run in parallel, and meet only in the shared data. So that is where [`Host::races`] lets other VMs run
//! whole callbacks *inside* a VM's shared data call, before it is made: everything that another worker can do between
//! a read and the compare-and-swap that follows it.
//!
//! # Where it differs from Envoy
//!
//! * A request reaches the upstream when it is complete; early responses do not happen.
//! * A VM that trapped is started again by the next request at once, without Envoy's back-off.
//! * Races nest: the callback that runs inside another's host call runs to its end (or is itself interrupted by a
//!   third VM). Two callbacks never alternate call by call.
//! * gRPC callouts, queues and foreign functions answer `Unimplemented`.

mod abi;
pub mod farebox;
mod flow;
mod host;
mod imports;
mod inject;
mod message;
mod profile;
mod random;
mod shared_data;
mod state;
mod vm;
mod wasi;

pub use abi::status;
pub use host::{Host, Refused};
pub use inject::{At, Effect};
pub use message::{Answer, Author, Call, Forwarded, Handling, Headers, Request, Response, Sent, Service, When, World};
pub use profile::{Dialect, OnTrap, Profile};
pub use random::Random;
pub use shared_data::SharedData;
pub use state::{Counters, Line};
pub use vm::{Filter, LoadError};
