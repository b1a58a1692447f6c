//! The buyer: pays for requests, within the limits of a policy that no model can change.
//!
//! An agent with a wallet is one prompt injection away from an empty wallet. Here, what is paid is decided outside of
//! the model, by a pure function of a policy, what was offered, and what was spent before. Everything is reserved before
//! it is signed, and written down before it is sent; what was sent and not answered is sent again, and never paid twice.
//!
//! | question | where it is decided |
//! |---|---|
//! | what a policy may say, and whether one allows more than another | [`policy`] |
//! | what a 402 asks for | [`challenge`] |
//! | whether it is paid, which offer, and why | [`decide()`], with the codes of [`reason`] |
//! | what was spent, what is reserved, who has approved what | [`counters`] |
//! | what is signed, and what the request carries | [`pay`] |
//! | what the answer says about the money | [`answer`], [`receipt`] |
//! | which tokens there are, and which one a call is made with | [`wallet`] |
//! | who holds the key that they belong to | [`Holder`] |
//! | in which order all this happens | [`Agent::fetch`] |
//! | where counters and tokens are kept, and how processes share them | [`Store`] |
//! | what is said while it happens | [`Event`], as JSON by [`tell`] |
//!
//! `docs/agent.md` has every rule of a policy, with an example.
//!
//! # Example
//!
//! A seller asks for one cent; the policy allows it once. A real world has an HTTP client in [`World::send`],
//! which may well be a blocking one.
//!
//! ```
//! use farebox_core::agent::pay::SessionKey;
//! use farebox_core::agent::policy::Policy;
//! use farebox_core::agent::purse::Purse;
//! use farebox_core::agent::{Agent, Blob, FetchError, Message, NoAnswer, Response, Store, StoreFailed, Wanted, World};
//! use farebox_core::{host::HostError, http::Headers};
//! # use base64::{Engine, engine::general_purpose::STANDARD};
//! use std::cell::RefCell;
//! use std::future::Future;
//!
//! struct Shop;
//!
//! impl World for Shop {
//!     type Body = Vec<u8>;
//!     fn now(&self) -> u64 {
//!         1_800_000_000
//!     }
//!     fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
//!         out.fill(4); // chosen by fair dice roll
//!         Ok(())
//!     }
//!     async fn sleep(&self, millis: u64) {
//!         std::thread::sleep(std::time::Duration::from_millis(millis));
//!     }
//!     async fn send(&self, message: &Message<'_>) -> Result<Response<Vec<u8>>, NoAnswer> {
//!         let (status, name, json) = match message.payment() {
//!             None => (402, "payment-required", r#"{ "x402Version": 2, "accepts": [{
//!                 "scheme": "exact", "network": "eip155:84532", "amount": "10000",
//!                 "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
//!                 "payTo": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
//!                 "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" } }] }"#),
//!             Some(_) => (200, "payment-response",
//!                 r#"{ "success": true, "transaction": "0xab", "network": "eip155:84532" }"#),
//!         };
//!         let value = STANDARD.encode(json);
//!         let headers: Headers = [(name, value.as_str())].into_iter().collect();
//!         Ok(Response { status, headers, url: message.url.to_owned(), body: b"the report".to_vec() })
//!     }
//!     async fn peek(&self, body: Vec<u8>, limit: usize) -> (Vec<u8>, Vec<u8>) {
//!         (body.iter().copied().take(limit).collect(), body)
//!     }
//! }
//!
//! /// A store for one process. A file or a row is as short: compare the version, write.
//! #[derive(Default)]
//! struct Memory(RefCell<Option<Blob<u64>>>);
//!
//! impl Store for Memory {
//!     type Version = u64;
//!     async fn load(&self) -> Result<Option<Blob<u64>>, StoreFailed> {
//!         Ok(self.0.borrow().clone())
//!     }
//!     async fn swap(&self, expected: Option<u64>, bytes: Vec<u8>) -> Result<bool, StoreFailed> {
//!         let mut kept = self.0.borrow_mut();
//!         let same = kept.as_ref().map(|blob| blob.version) == expected;
//!         if same {
//!             *kept = Some(Blob { bytes, version: expected.unwrap_or(0) + 1 });
//!         }
//!         Ok(same)
//!     }
//! }
//!
//! /// Nothing here waits for anything, so polling is enough.
//! fn block_on<T>(future: impl Future<Output = T>) -> T {
//!     let mut future = std::pin::pin!(future);
//!     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//!     loop {
//!         if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
//!             return value;
//!         }
//!     }
//! }
//!
//! let policy = br#"{
//!     "version": 1,
//!     "assets": [{ "asset": "eip155:84532/erc20:0x036CbD53842c5426634e7929541eC2318f3dCF7e", "unit": "usd" }],
//!     "allow": [{ "match": { "hosts": ["api.example.com"], "methods": ["GET"] } }],
//!     "caps": [{ "max": "0.05 usd" }],
//!     "budgets": [{ "name": "day", "max": "0.015 usd", "seconds": 86400 }]
//! }"#;
//! let key = SessionKey::new(&[7; 32]).unwrap();
//! let purse = Purse::of_key(key.address());
//! let agent = Agent::new(Policy::load(policy).unwrap(), purse, Shop, Memory::default(), key);
//! block_on(agent.begin()).unwrap();
//!
//! let report = block_on(agent.fetch(&Wanted::get("https://api.example.com/report"))).unwrap();
//! assert_eq!(report.response.body, b"the report");
//! assert_eq!(report.paid.unwrap().reservation.amount, 10_000);
//!
//! // The next one would be over the budget of the day.
//! let Err(FetchError::Denied(denied, why)) = block_on(agent.fetch(&Wanted::get("https://api.example.com/report")))
//! else { panic!() };
//! assert_eq!(denied.reasons[0].wire(), "over_budget");
//! assert!(why.to_string().contains("budgets day (over_budget): max 0.015 usd, used 0.01 usd, left 0.005 usd"));
//! ```

pub mod answer;
pub mod challenge;
pub mod counters;
pub mod decide;
mod event;
pub mod facade;
mod flow;
mod holder;
pub mod import;
pub mod money;
mod pattern;
pub mod pay;
pub mod policy;
pub mod purse;
pub mod reason;
pub mod receipt;
pub mod request;
mod seller;
mod store;
pub mod tell;
#[cfg(test)]
mod tests;
mod turns;
pub mod wallet;

pub use decide::decide;
pub use event::Event;
pub use flow::{Agent, FetchError, Fetched, Message, NoAnswer, Paid, Plan, Response, Wanted, World};
pub use holder::{Holder, NoHolder};
pub use store::{Blob, Store, StoreFailed};
