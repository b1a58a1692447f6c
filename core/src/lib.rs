//! Everything that decides, and nothing that knows a host.

#![forbid(unsafe_code)]

pub mod gate;
pub mod host;
pub mod http;
pub mod ledger;
pub mod policy;
