//! farebox for JavaScript: a thin shell around [`farebox_core`], built by wasm-bindgen for the npm package.
//!
//! Nothing is decided here, nor in the TypeScript around it (`js/ts/`), which adapts `Request`, `Response`, promises,
//! keys and storage. Each entry of the package is a build of this crate with one feature.
//!
//! | what | where |
//! |---|---|
//! | tasks and promises: when a future is polled | `executor` |
//! | what TypeScript does for one exchange | `side` |
//! | the world as the core sees it | `host` |
//! | a request and its response as the core sees them | `exchange` |
//! | the ledger: in this process, or behind messages | `store` |
//! | what JavaScript keeps a ledger in | `storage` |
//! | what TypeScript calls: the gate | `gate` |
//! | what TypeScript calls: one place of a ledger, inside a Durable Object | `place` |
//! | what TypeScript calls: the agent | `agent` |
//! | the world, the store and the wallet as the agent sees them | `agent::world` |
//! | what TypeScript does for one call of an agent | `agent::call` |

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))] // natively nobody calls
#![allow(unreachable_pub)] // what JavaScript calls is public, and no Rust code reaches it

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "gate")]
mod exchange;
#[cfg(any(feature = "gate", feature = "agent"))]
mod executor;
#[cfg(feature = "gate")]
mod gate;
#[cfg(feature = "gate")]
mod host;
#[cfg(any(feature = "gate", feature = "agent"))]
mod lines;
#[cfg(feature = "gate")]
mod place;
#[cfg(any(feature = "gate", feature = "agent"))]
mod random;
#[cfg(feature = "gate")]
mod side;
#[cfg(feature = "gate")]
mod storage;
#[cfg(feature = "gate")]
mod store;
