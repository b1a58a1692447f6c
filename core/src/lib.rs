//! Everything that decides, and nothing that knows a host.
//!
//! One exchange, from request to receipt, is one `async fn`: [`Gate::serve`](gate::Gate::serve). It asks the world for
//! what it needs through two traits, [`Host`](host::Host) and [`Exchange`](host::Exchange), which a *shell* supplies:
//! the thin adapter of a proxy, a worker runtime, or a test. The shell polls the future; the core knows no callback.
//!
//! | folder | what is decided there |
//! |---|---|
//! | [`policy`] | what a seller may write, how a request is read, which route it belongs to |
//! | [`gate`] | what an exchange gets: challenge, service, receipt or refusal |
//! | [`rail`] | what a payment is, which offer it answers, what a facilitator's answer means |
//! | [`proof`] | whether a request that shows a token holds the token's key |
//! | [`ledger`] | who may use a payment, and what is known about one that was used |
//! | [`receipt`] | what is left as evidence: receipts, and the audit log |
//! | [`token`] | what a capability token allows, whether it is good, how narrower ones are made of it |
//! | [`problem`] | every reason for a refusal, with its stable code |
//!
//! # The rules a shell must keep
//!
//! Money depends on each of them. `filter/src/executor.rs` is a shell's run loop, with its own rules written out.
//!
//! 1. **Poll, and nothing else.** The futures of this crate are driven by polling alone: no thread, no timer, no
//!    executor of its own. Any poll is legal at any time, also one that nobody was woken for. A wake-up must lead to a
//!    poll, also one that comes while that very future is being polled.
//! 2. **Hold no borrow across a poll** or across a call into the host that may call back. The core calls
//!    [`Host`](host::Host) and [`Exchange`](host::Exchange) from inside a poll, and hosts call back from inside their
//!    own functions.
//! 3. **Record the decision, apply it after the poll.** `forward`, `release` and `reply` only note what is wanted. The
//!    request goes on, and the response is let go, once the future is back where it belongs.
//! 4. **Hold means hold.** Between the request's arrival and `forward`, and between the response's headers and
//!    `release`, nothing reaches the other side: no body byte, no trailer, whatever its size.
//! 5. **[`Done`](host::Done) is made by a decision.** Only `release` and `reply` make one, so an exchange that ends
//!    well was decided. A future that ends otherwise (it was dropped, its host failed) leaves the exchange undecided:
//!    that is a 503, never a pass.
//! 6. **An exchange may be dropped at every await point**: the client has gone, or the host answered over our head.
//!    Drop the future, at once, with no borrow held; its destructors tell the ledger.
//! 7. **Detached tasks outlive streams.** What [`Host::spawn`](host::Host::spawn) gets runs to its end, whatever becomes
//!    of the exchange that started it, and a host that is asked to go waits for it. Money calls are such tasks.
//! 8. **A callout is sent at its first poll, and its answer is told as it came.** `NotSent` says that nothing left the
//!    machine, and the core believes it: it may pay elsewhere. When in doubt, it is `Lost`.
//! 9. **Store operations are atomic** against one another from every worker ([`Store`](ledger::Store)). A store that
//!    fails says so; it never answers "unseen".
//! 10. **Time is the wall clock, randomness is cryptographic.** Deadlines of claims are Unix seconds that all workers
//!     agree on; nonces must not be guessed. A host that has no randomness returns an error.
//! 11. **Claim no capability the host lacks.** [`Capabilities`](host::Capabilities) are checked when a policy is loaded.
//!     A shell that does not recognise its host refuses to load one.
//!
//! # Example
//!
//! `test_host` (feature `test-host`) is the smallest shell: callouts and the upstream are closures.
//!
//! ```
//! # #[cfg(feature = "test-host")] {
//! use farebox_core::{gate::Gate, host::Capabilities, http::Headers, test_host::TestHost};
//! use std::rc::Rc;
//!
//! let policy = br#"{
//!     "version": 1,
//!     "origins": ["https://api.example.com"],
//!     "default": "denied",
//!     "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
//!     "facilitators": [{ "name": "main", "url": "https://x402.org/facilitator" }],
//!     "routes": [{ "path": "/report", "offers": [{ "price": "$0.01", "network": "eip155:84532" }] }]
//! }"#;
//! let can = Capabilities { hold_response: true, read_body: false };
//! let gate = Rc::new(Gate::load(policy, &|_variable| None, can).unwrap());
//!
//! let upstream = |_request: &Headers| Some([(":status", "200")].into_iter().collect());
//! let host = TestHost::new(1_800_000_000, |_callout| None, upstream);
//! let request = [(":method", "GET"), (":authority", "api.example.com"), (":path", "/report")];
//!
//! let reply = host.send(&gate, request.into_iter().collect()).reply().unwrap();
//! assert_eq!(reply.status, 402);
//! assert!(reply.headers.iter().any(|(name, _)| name == "payment-required"));
//! assert!(host.forwarded().is_empty());
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod agent;
pub mod crypto;
#[cfg(any(test, feature = "test-host"))]
pub mod fuzz;
pub mod gate;
pub mod host;
pub mod http;
pub mod json;
pub mod ledger;
#[cfg(feature = "mutants")]
pub mod mutant;
#[cfg(not(feature = "mutants"))]
mod mutant;
pub mod policy;
pub mod problem;
pub mod proof;
pub mod rail;
pub mod receipt;
mod task;
#[cfg(any(test, feature = "test-host"))]
pub mod test_host;
pub mod token;
