//! farebox in this host: payments, a world that keeps the books, and the storm.

mod chain;
mod shop;
pub mod storm;
mod wallet;

pub use shop::{Attempt, Book, Conduct, Shop};
pub use wallet::{Payment, Spelling, Wallet, Way};

use serde_json::{Value, json};

/// Scheme and authority of the gate.
pub const ORIGIN: &str = "http://127.0.0.1:10000";
/// The gate's authority.
pub const AUTHORITY: &str = "127.0.0.1:10000";
/// CAIP-2 name of the chain.
pub const NETWORK: &str = "eip155:84532";
/// The token: USDC on Base Sepolia.
pub const TOKEN: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// The seller: Anvil's account 1.
pub const PAYEE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Seconds that a payment may be valid for.
pub const MAX_TIMEOUT: u64 = 120;

/// A policy with one route of each kind. Routes that settle after the upstream take version 1 too. `claims` is the ledger's ceiling.
#[must_use]
pub fn policy(claims: u64) -> Value {
    let priced = |name: &str, path: &str, price: &str, settle: &str| {
        json!({
            "name": name, "path": path, "description": name, "mime_type": "application/json", "settle": settle,
            "response_timeout_seconds": 30, "v1": settle == "after",
            "offers": [{ "price": price, "network": NETWORK, "max_timeout_seconds": MAX_TIMEOUT }]
        })
    };
    json!({
        "version": 1,
        "origins": [ORIGIN],
        "default": "denied",
        "payees": { NETWORK: PAYEE },
        "facilitators": [{
            "name": "books", "url": "http://facilitator.local", "cluster": "facilitator",
            "verify_timeout_seconds": 5, "settle_timeout_seconds": 10
        }],
        "ledger": { "claims": claims },
        "routes": [
            priced("after", "/after", "$0.01", "after"),
            priced("other", "/other", "$0.01", "after"),
            priced("before", "/before", "$0.01", "before"),
            priced("dear", "/dear", "$0.02", "after"),
            priced("items", "/items/{id}", "$0.01", "after"),
            { "name": "free", "path": "/free", "access": "free" },
            { "name": "denied", "path": "/denied", "access": "denied" }
        ]
    })
}

/// [`policy`] with routes that are paid by Permit2, one that knows `payment-identifier`, and a node to ask when an
/// outcome is unknown.
#[must_use]
pub fn storm_policy(claims: u64) -> Value {
    let mut policy = policy(claims);
    policy["rpc"] =
        json!([{ "network": NETWORK, "url": "http://node.local", "cluster": "node", "timeout_seconds": 5 }]);
    let offer = |price: &str| json!({ "price": price, "network": NETWORK, "max_timeout_seconds": MAX_TIMEOUT });
    let mut permit = offer("$0.01");
    permit["transfer_method"] = "permit2".into();
    if let Some(routes) = policy["routes"].as_array_mut() {
        for settle in ["after", "before"] {
            routes.push(json!({ "name": format!("permit-{settle}"), "path": format!("/permit/{settle}"),
                "settle": settle, "response_timeout_seconds": 30, "offers": [permit] }));
        }
        routes.push(json!({ "name": "named", "path": "/named", "response_timeout_seconds": 30,
            "payment_identifier": "optional", "offers": [offer("$0.03")] }));
    }
    policy
}

/// What a path of [`storm_policy`] costs in atomic units; `None` if it costs nothing.
#[must_use]
pub fn price(path: &str) -> Option<u128> {
    match path.split(['?', '#']).next().unwrap_or_default() {
        "/after" | "/other" | "/before" | "/permit/after" | "/permit/before" => Some(10_000),
        "/dear" => Some(20_000),
        "/named" => Some(NAMED_PRICE),
        path if path.starts_with("/items/") => Some(10_000),
        _ => None,
    }
}

/// Atomic units that the route costs which knows `payment-identifier`, and no other.
pub const NAMED_PRICE: u128 = 30_000;
