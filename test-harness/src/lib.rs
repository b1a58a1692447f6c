//! The farebox rig: starts and stops the real processes that farebox is tested against, on free ports, and waits
//! until they are ready. Nothing here is a mock, except that a [`Facilitator`] can be told to misbehave.
//!
//! ```text
//!   Buyer ────────────▶ Envoy + wasm filter ──────────▶ Upstream
//!   @x402/fetch         1.40, V8       │                ours: plain, slow, failing, streaming;
//!   (buyer.mjs)                        │                records every request
//!                        /verify, /settle
//!                                      ▼
//!                                 Facilitator ─────────▶ Chain
//!                                 x402Facilitator +      Anvil as Base Sepolia,
//!                                 exact EVM + viem       UsdToken.sol at USDC's address
//!                                 (facilitator.mjs)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`tools`] | installs Envoy, Anvil, the npm packages and the wasm target into `target/farebox-tools/`, once |
//! | [`chain`] | Anvil with our EIP-3009 token; balances, transfers, used authorizations, time |
//! | [`facilitator`] | the official facilitator over HTTP, with counts, calls and faults |
//! | [`buyer`] | the official client, unmodified: pays, signs without sending |
//! | [`upstream`] | our upstream |
//! | [`envoy`] | Envoy: started, refused, validated; logs and statistics |
//! | [`envoy_config`] | makes configurations for it |
//! | [`wasm`] | builds the workspace's filters |
//! | [`package`] | makes the npm package |
//! | [`workerd`] | workerd, the runtime of Cloudflare's workers, with a gate in it |
//! | [`browser`] | Chromium, and the page of `examples/browser-agent` |
//! | [`site`] | a server for that page |
//! | [`shop`] | what the demo sells, and what the page is told of it |
//! | [`process`] | children that cannot outlive the rig, free ports, waiting until ready |
//! | [`stack`] | all of it together, and the policy of most tests |
//! | [`scenario`] | what tests and proofs try on a stack |
//! | [`money`] | the fault matrix |
//! | [`proofs`] | what else the money rules are tried by: failover, clients, streaming, thieves, faults of the host |
//! | [`corpus`] | the decision corpus against Envoy; encodings of paths and methods |
//! | [`mistakes`] | policies that must be refused |
//! | [`raw`] | requests byte for byte |
//! | [`agent`] | the npm package's agent, and servers of others that it pays |
//! | [`bench`] | what a request costs Envoy, by what is in its way |
//! | [`accounts`] | the public test accounts |
//!
//! Everything ends when its value is dropped, and when the program dies in whatever way.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use rig::envoy_config::{Config, Configuration, WasmFilter};
//! use rig::{Buyer, Chain, Envoy, EnvoyConfig, Facilitator, Tools, Upstream, accounts, envoy_config, wasm};
//!
//! let tools = Tools::ensure(&|step| eprintln!("{step}"))?;
//! let chain = Chain::start(&tools).await?;
//! let facilitator = Facilitator::start(&tools, &chain).await?;
//! let upstream = Upstream::start()?;
//! let filter = wasm::build(&tools, "farebox-filter", &[])?;
//! let policy = Configuration::Text(r#"{"…": "…"}"#.to_owned());
//! let config = Config::new(upstream.port())?
//!     .cluster(envoy_config::FACILITATOR, facilitator.port())
//!     .filter(WasmFilter::new("farebox", filter, policy));
//! let envoy = Envoy::start(&tools, EnvoyConfig::new(config.to_text())).await?;
//!
//! let buyer = Buyer::start(&tools, accounts::BUYER).await?;
//! let bought = buyer.get(format!("{}/plain", config.url())).await?;
//! assert_eq!(bought.status, 200);
//! assert_eq!(chain.transfers_to(accounts::PAYEE.address).await?.len(), 1);
//! # Ok(())
//! # }
//! ```

pub mod accounts;
pub mod agent;
pub mod bench;
pub mod browser;
pub mod buyer;
pub mod chain;
pub mod clients;
pub mod corpus;
pub mod envoy;
pub mod envoy_config;
pub mod facilitator;
pub mod grpc;
pub mod http;
pub mod mistakes;
pub mod money;
pub mod package;
pub mod permit2;
pub mod process;
pub mod proofs;
pub mod raw;
pub mod replay;
pub mod scenario;
pub mod shop;
pub mod site;
pub mod stack;
pub mod tools;
pub mod upstream;
pub mod wallets;
pub mod wasm;
pub mod workerd;

pub use buyer::{Bought, Buyer, Purchase};
pub use chain::Chain;
pub use envoy::{Envoy, EnvoyConfig};
pub use facilitator::{Facilitator, Fault, Operation};
pub use stack::{Plan, Scene, Stack};
pub use tools::Tools;
pub use upstream::Upstream;
pub use workerd::Workerd;
