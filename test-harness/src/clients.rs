//! The official clients, unmodified: each is a [`Buyer`], which can `get` and `pay`.
//!
//! | client | package | reads | signs |
//! |---|---|---|---|
//! | [`Client::Fetch`] | npm `@x402/fetch` 2.27.0 | v2, v1 | exact (EIP-3009, Permit2), upto |
//! | [`Client::Axios`] | npm `@x402/axios` 2.11.0 | v2, v1 | exact (EIP-3009, Permit2), upto |
//! | [`Client::LegacyFetch`] | npm `x402-fetch` 1.2.0 | v1 only | exact (EIP-3009) up to $0.10 |
//! | [`Client::Python`] | PyPI `x402` 2.25.0 with httpx | v2, v1 | exact (EIP-3009, Permit2), upto |
//!
//! Only [`Client::Fetch`] can sign without sending ([`Buyer::sign`]).

use anyhow::Result;

use crate::accounts::Account;
use crate::buyer::{Buyer, fetch_client};
use crate::tools::Tools;

/// An official client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// `@x402/fetch`
    Fetch,
    /// `@x402/axios`
    Axios,
    /// `x402-fetch`, of x402 v1.
    LegacyFetch,
    /// `x402` for Python.
    Python,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::Axios, Self::LegacyFetch, Self::Python];

    /// The client's package and version, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "@x402/fetch 2.27.0",
            Self::Axios => "@x402/axios 2.11.0",
            Self::LegacyFetch => "x402-fetch 1.2.0",
            Self::Python => "x402 (Python) 2.25.0",
        }
    }

    /// Whether the client can pay a challenge of this version of the protocol.
    pub fn reads(self, version: u8) -> bool {
        match self {
            Self::LegacyFetch => version == 1,
            _ => version == 1 || version == 2,
        }
    }

    /// Starts the client, which pays from `payer`'s own address.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(self, tools: &Tools, payer: Account) -> Result<Buyer> {
        let mut command = match self {
            Self::Fetch => fetch_client(tools, payer),
            Self::Axios => tools.node("axios-client.mjs"),
            Self::LegacyFetch => tools.node("legacy-client.mjs"),
            Self::Python => tools.python("client.py"),
        };
        command.env("PRIVATE_KEY", payer.key);
        Buyer::start_command(command).await
    }
}
