//! Everything that decides, and nothing that knows a host.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod crypto;
pub mod gate;
pub mod host;
pub mod http;
pub mod json;
pub mod ledger;
mod mutant;
pub mod policy;
pub mod problem;
pub mod rail;
mod task;
#[cfg(any(test, feature = "test-host"))]
pub mod test_host;
