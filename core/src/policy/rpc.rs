//! Chain nodes: who is asked what became of a payment.

use super::config;
use super::facilitator::url;
use super::mistake::{Mistakes, quoted};
use crate::rail::x402::address::Network;

/// A node of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// CAIP-2 network.
    pub network: String,
    /// The host's name for the service (Envoy: cluster).
    pub cluster: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Value of `:authority`.
    pub authority: String,
    /// Path that requests are posted to.
    pub path: String,
    /// Seconds to wait for an answer.
    pub timeout_seconds: u64,
    /// How many blocks back events are looked for.
    pub blocks: u64,
    /// How many blocks must stand on an event before it counts.
    pub confirmations: u64,
}

/// Compiles the nodes of a policy.
pub(super) fn compile(configs: &[config::Rpc], mistakes: &mut Mistakes) -> Vec<Rpc> {
    let mut compiled: Vec<Rpc> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let at = format!("rpc[{index}]");
        let mut wrong = |field: &str, found: String, hint: String| mistakes.add(format!("{at}.{field}"), found, hint);
        match Network::parse(&config.network) {
            Err(hint) => wrong("network", format!("found {}", quoted(&config.network)), hint),
            Ok(network) if network.chain_id.is_none() => {
                wrong(
                    "network",
                    format!("found {}", quoted(&config.network)),
                    "write an `eip155:` network; no other chain is asked yet".to_owned(),
                );
            }
            Ok(_) => {}
        }
        if let Some(first) = compiled.iter().position(|other| other.network == config.network) {
            let hint = format!("write each network once; rpc[{first}] has this one");
            wrong("network", format!("found {} again", quoted(&config.network)), hint);
        }
        for (field, value, least, most) in [
            ("timeout_seconds", config.timeout_seconds, 1, 60),
            ("blocks", config.blocks, 1, 100_000),
            ("confirmations", config.confirmations, 0, 1000),
        ] {
            if !(least..=most).contains(&value) {
                wrong(field, format!("found {value}"), format!("write {least} to {most}"));
            }
        }
        let (origin, path) = match url(&config.url) {
            Ok((origin, path)) => (Some(origin), path),
            Err(hint) => {
                wrong(
                    "url",
                    format!("found {}", quoted(&config.url)),
                    format!("{hint}; write the node's URL, like \"https://mainnet.base.org\""),
                );
                (None, String::new())
            }
        };
        let authority = origin.as_ref().map(|origin| origin.authority.text()).unwrap_or_default();
        compiled.push(Rpc {
            network: config.network.clone(),
            cluster: config.cluster.clone().unwrap_or_else(|| authority.clone()),
            scheme: origin.map_or("https", |origin| origin.scheme).to_owned(),
            authority,
            path: if path.is_empty() { "/".to_owned() } else { path },
            timeout_seconds: config.timeout_seconds,
            blocks: config.blocks,
            confirmations: config.confirmations,
        });
    }
    compiled
}
