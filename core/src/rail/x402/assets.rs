//! The assets a price may be in: the official SDK's default-asset tables, and the policy's own.

use std::borrow::Cow;

/// How value moves in an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// EIP-3009 `transferWithAuthorization`.
    Eip3009,
    /// Permit2, with EIP-2612 for its first approval.
    Permit2Eip2612,
    /// Permit2 alone.
    Permit2,
    /// A token program of Solana.
    Spl,
}

impl Transfer {
    /// Whether Permit2 is the only way.
    #[must_use]
    pub fn is_permit2(self) -> bool {
        matches!(self, Self::Permit2 | Self::Permit2Eip2612)
    }
}

/// An asset on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// CAIP-2 network.
    pub network: Cow<'static, str>,
    /// Ticker; compares without regard to case.
    pub symbol: Cow<'static, str>,
    /// Address as x402 writes it on this network (EVM: checksummed).
    pub address: Cow<'static, str>,
    /// Atomic units in one: `10^decimals`.
    pub decimals: u8,
    /// EIP-712 domain name; empty outside EVM.
    pub name: Cow<'static, str>,
    /// EIP-712 domain version; empty outside EVM.
    pub version: Cow<'static, str>,
    /// How value moves.
    pub transfer: Transfer,
}

/// CAIP-19 id of the asset that x402 writes as `address` on `network`.
#[must_use]
pub fn caip19(network: &str, address: &str) -> String {
    let kind = if network.starts_with("eip155:") { "erc20" } else { "token" };
    format!("{network}/{kind}:{address}")
}

/// The built-in assets with those of a policy.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    own: Vec<Asset>,
}

impl Assets {
    /// Adds an asset of the policy. It must differ from every known one of its network in address and ticker.
    pub(crate) fn add(&mut self, asset: Asset) {
        self.own.push(asset);
    }

    /// The asset of `network` that a price in dollars means: the first of the table, else the policy's first.
    #[must_use]
    pub fn default_of(&self, network: &str) -> Option<&Asset> {
        self.iter().find(|asset| asset.network == network)
    }

    /// The asset of `network` with this ticker.
    #[must_use]
    pub fn by_symbol(&self, network: &str, symbol: &str) -> Option<&Asset> {
        self.iter().find(|asset| asset.network == network && asset.symbol.eq_ignore_ascii_case(symbol))
    }

    /// The asset of `network` at this address, written as x402 writes it.
    #[must_use]
    pub fn by_address(&self, network: &str, address: &str) -> Option<&Asset> {
        self.iter().find(|asset| asset.network == network && asset.address == address)
    }

    /// Tickers known on `network`, for hints.
    #[must_use]
    pub fn symbols(&self, network: &str) -> Vec<&str> {
        self.iter().filter(|asset| asset.network == network).map(|asset| &*asset.symbol).collect()
    }

    /// Every known asset, built-in ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Asset> {
        DEFAULTS.iter().chain(&self.own)
    }
}

const fn evm(
    network: &'static str,
    symbol: &'static str,
    address: &'static str,
    decimals: u8,
    name: &'static str,
    version: &'static str,
    transfer: Transfer,
) -> Asset {
    Asset {
        network: Cow::Borrowed(network),
        symbol: Cow::Borrowed(symbol),
        address: Cow::Borrowed(address),
        decimals,
        name: Cow::Borrowed(name),
        version: Cow::Borrowed(version),
        transfer,
    }
}

const fn svm(network: &'static str, symbol: &'static str, address: &'static str, decimals: u8) -> Asset {
    evm(network, symbol, address, decimals, "", "", Transfer::Spl)
}

/// `DEFAULT_ASSETS` of `@x402/evm` and `@x402/svm` 2.27.0, in their order: the first of a network is its default.
///
/// The EIP-712 name is not the token's ticker, and differs between a network and its testnet.
#[rustfmt::skip]
static DEFAULTS: [Asset; 39] = [
    evm("eip155:8453", "USDC", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", 6, "USD Coin", "2", Transfer::Eip3009),
    evm("eip155:84532", "USDC", "0x036CbD53842c5426634e7929541eC2318f3dCF7e", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:1", "USDC", "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", 6, "USD Coin", "2", Transfer::Eip3009),
    evm("eip155:43114", "USDC", "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", 6, "USD Coin", "2", Transfer::Eip3009),
    evm("eip155:4326", "MegaUSD", "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7", 18, "MegaUSD", "1", Transfer::Permit2Eip2612),
    evm("eip155:143", "USDC", "0x754704Bc059F8C67012fEd69BC8A327a5aafb603", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:988", "USDT0", "0x779Ded0c9e1022225f8E0630b35a9b54bE713736", 6, "USDT0", "1", Transfer::Eip3009),
    evm("eip155:2201", "USDT0", "0x78Cf24370174180738C5B8E352B6D14c83a6c9A9", 6, "USDT0", "1", Transfer::Eip3009),
    evm("eip155:137", "USDC", "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", 6, "USD Coin", "2", Transfer::Eip3009),
    evm("eip155:42161", "USDC", "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", 6, "USD Coin", "2", Transfer::Eip3009),
    evm("eip155:421614", "USDC", "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d", 6, "USD Coin", "2", Transfer::Eip3009),
    evm("eip155:31612", "mUSD", "0xdD468A1DDc392dcdbEf6db6e34E89AA338F9F186", 18, "Mezo USD", "1", Transfer::Permit2Eip2612),
    evm("eip155:31611", "mUSD", "0x118917a40FAF1CD7a13dB0Ef56C86De7973Ac503", 18, "Mezo USD", "1", Transfer::Permit2Eip2612),
    evm("eip155:723487", "SBC", "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb", 6, "Stable Coin", "1", Transfer::Permit2Eip2612),
    evm("eip155:72344", "SBC", "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb", 6, "Stable Coin", "1", Transfer::Permit2Eip2612),
    evm("eip155:36900", "USDC.e", "0x9cb8142aEBBcdc60AF7c97Af897A67A8f3CA71C2", 6, "USDC.e", "2", Transfer::Eip3009),
    evm("eip155:190415", "USDC.e", "0x401eCb1D350407f13ba348573E5630B83638E30D", 6, "Bridged USDC", "2", Transfer::Eip3009),
    evm("eip155:181228", "USDC.e", "0x401eCb1D350407f13ba348573E5630B83638E30D", 6, "Bridged USDC", "2", Transfer::Eip3009),
    evm("eip155:50", "USDC", "0xfA2958CB79b0491CC627c1557F441eF849Ca8eb1", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:51", "USDC", "0xb5AB69F7bBada22B28e79C8FFAECe55eF1c771D4", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:38833", "USDC", "0xA5b8BF902b2844dA17d4506cc827F7F1681735E7", 6, "USDC", "1", Transfer::Permit2),
    evm("eip155:14", "USDT0", "0xe7cd86e13AC4309349F30B3435a9d337750fC82D", 6, "USD₮0", "1", Transfer::Eip3009),
    evm("eip155:42220", "USDC", "0xcebA9300f2b948710d2653dD7B07f33A8B32118C", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:42220", "USDT", "0x48065fbBE25f71C9282ddf5e1cD6D6A887483D5e", 6, "Tether USD", "1", Transfer::Eip3009),
    evm("eip155:42220", "USAT", "0xD2ab3C9A02DBBAB236BfEC45D1d755DF4267F771", 6, "Tether America USD", "1", Transfer::Eip3009),
    evm("eip155:11142220", "USDC", "0x01C5C0122039549AD1493B8220cABEdD739BC44E", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:1329", "USDC", "0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392", 6, "USDC", "2", Transfer::Eip3009),
    evm("eip155:1328", "USDC", "0x4fCF1784B31630811181f670Aea7A7bEF803eaED", 6, "USDC", "2", Transfer::Eip3009),
    svm("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "USDC", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", 6),
    svm("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "USDT", "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB", 6),
    svm("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "USDG", "2u1tszSeqZ3qBWF3uNGPFc8TzMk2tdiwknnRMWGWjGWH", 6),
    svm("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "PYUSD", "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo", 6),
    svm("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "CASH", "CASHx9KJUStyftLFWGvEVf59SGeG9sh5FfcnZMVPCASH", 6),
    svm("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "USDC", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", 6),
    svm("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "USDG", "4F6PM96JJxngmHnZLBh9n58RH4aTVNWvDs2nuwrT5BP7", 6),
    svm("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "PYUSD", "CXk2AMBfi3TwaEL2468s6zP8xq9NxTXjp9gjMgzeUynM", 6),
    svm("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z", "USDC", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU", 6),
    svm("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z", "USDG", "4F6PM96JJxngmHnZLBh9n58RH4aTVNWvDs2nuwrT5BP7", 6),
    svm("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z", "PYUSD", "CXk2AMBfi3TwaEL2468s6zP8xq9NxTXjp9gjMgzeUynM", 6),
];
