//! Facilitators: the services that verify and settle.

use super::Secret;
use super::authority::Origin;
use super::config;
use super::mistake::{Mistakes, quoted};
use super::path;
use crate::rail::x402::address::Network;
use crate::rail::x402::cdp::ApiKey;

/// An HTTP service that verifies and settles payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facilitator {
    /// Unique name, `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// The host's name for the service (Envoy: cluster).
    pub cluster: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Value of `:authority`.
    pub authority: String,
    /// What stands before `/verify`: empty, or starts with `/` and does not end with one.
    pub base_path: String,
    /// Seconds to wait for `/verify` and `/supported`.
    pub verify_timeout_seconds: u64,
    /// Seconds to wait for `/settle`.
    pub settle_timeout_seconds: u64,
    /// How we show who we are.
    pub auth: Option<Auth>,
    /// Failed calls in a row after which it is left alone.
    pub breaker_failures: u32,
    /// Seconds for which it is left alone.
    pub breaker_open_seconds: u64,
    networks: Option<Vec<String>>,
}

/// How we show a facilitator who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Value of `Authorization` after `Bearer `.
    Bearer(Secret),
    /// A key that signs a token for each request.
    Cdp(Box<ApiKey>),
}

impl Facilitator {
    /// Whether it covers `network`, a CAIP-2 id.
    #[must_use]
    pub fn covers(&self, network: &str) -> bool {
        let Some(networks) = &self.networks else { return true };
        networks.iter().any(|covered| match covered.strip_suffix('*') {
            Some(namespace) => network.starts_with(namespace),
            None => covered == network,
        })
    }
}

/// Whether `name` can be a metric's label and a log's word.
pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
}

/// Compiles the facilitators of a policy. One with a mistake is kept as far as it can be, so that offers still find
/// it and nobody is told twice.
pub(super) fn compile(
    configs: &[config::Facilitator],
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Mistakes,
) -> Vec<Facilitator> {
    if configs.len() > 64 {
        mistakes.add("facilitators", format!("found {}", configs.len()), "write at most 64");
    }
    let mut compiled: Vec<Facilitator> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let at = format!("facilitators[{index}]");
        if !is_name(&config.name) {
            mistakes.add(
                format!("{at}.name"),
                format!("found {}", quoted(&config.name)),
                "write 1 to 64 letters, digits, `_`, `-`",
            );
        } else if let Some(first) = compiled.iter().position(|other| other.name == config.name) {
            let hint = format!("write another name; facilitators[{first}] has this one");
            mistakes.add(format!("{at}.name"), format!("found {} again", quoted(&config.name)), hint);
        }
        compiled.push(one(config, &at, env, mistakes));
    }
    compiled
}

fn one(
    config: &config::Facilitator,
    at: &str,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Mistakes,
) -> Facilitator {
    for (field, seconds) in [
        ("verify_timeout_seconds", config.verify_timeout_seconds),
        ("settle_timeout_seconds", config.settle_timeout_seconds),
        ("breaker.open_seconds", config.breaker.open_seconds),
    ] {
        if !(1..=300).contains(&seconds) {
            mistakes.add(format!("{at}.{field}"), format!("found {seconds}"), "write 1 to 300 seconds");
        }
    }
    let failures = u32::try_from(config.breaker.failures).unwrap_or(u32::MAX);
    if !(1..=1000).contains(&failures) {
        let hint = "write 1 to 1000 failures in a row";
        mistakes.add(format!("{at}.breaker.failures"), format!("found {}", config.breaker.failures), hint);
    }
    let (origin, base_path) = match url(&config.url) {
        Ok((origin, base_path)) => (Some(origin), base_path),
        Err(hint) => {
            let hint = format!("{hint}; write the base URL, like \"https://x402.org/facilitator\"");
            mistakes.add(format!("{at}.url"), format!("found {}", quoted(&config.url)), hint);
            (None, String::new())
        }
    };
    let authority = origin.as_ref().map(|origin| origin.authority.text()).unwrap_or_default();
    if config.cluster.as_deref().is_some_and(|cluster| cluster.trim() != cluster || cluster.is_empty()) {
        mistakes.add(
            format!("{at}.cluster"),
            "found an empty name",
            "write the proxy's name for the service, or leave it out",
        );
    }
    for (nth, network) in config.networks.iter().flatten().enumerate() {
        let concrete = network.strip_suffix(":*").map(|namespace| format!("{namespace}:1"));
        if let Err(hint) = Network::parse(concrete.as_deref().unwrap_or(network)) {
            let hint = format!("{hint}, or \"eip155:*\" for all of a namespace");
            mistakes.add(format!("{at}.networks[{nth}]"), format!("found {}", quoted(network)), hint);
        }
    }
    if config.networks.as_ref().is_some_and(Vec::is_empty) {
        mistakes.add(format!("{at}.networks"), "found an empty list", "leave it out: it then covers every network");
    }
    Facilitator {
        name: config.name.clone(),
        cluster: config.cluster.clone().unwrap_or_else(|| authority.clone()),
        scheme: origin.map_or("https", |origin| origin.scheme).to_owned(),
        authority,
        base_path,
        verify_timeout_seconds: config.verify_timeout_seconds,
        settle_timeout_seconds: config.settle_timeout_seconds,
        auth: config.auth.as_ref().and_then(|auth| self::auth(auth, at, env, mistakes)),
        breaker_failures: failures,
        breaker_open_seconds: config.breaker.open_seconds,
        networks: config.networks.clone(),
    }
}

/// Scheme and authority, and the path before `/verify`.
pub(super) fn url(text: &str) -> Result<(Origin, String), &'static str> {
    let start = text.find("://").map_or(0, |colon| colon + 3);
    let split = text.get(start..).and_then(|rest| rest.find('/')).map_or(text.len(), |slash| start + slash);
    let (origin, base) = text.split_at_checked(split).unwrap_or((text, ""));
    let origin = Origin::parse(origin, false)?;
    if base.is_empty() {
        return Ok((origin, String::new()));
    }
    if base.contains('?') {
        return Err("a base URL has no query");
    }
    let base = path::canonical(base.as_bytes())?;
    Ok((origin, base.trim_end_matches('/').to_owned()))
}

fn auth(
    config: &config::Auth,
    at: &str,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Mistakes,
) -> Option<Auth> {
    match (&config.bearer_env, &config.cdp) {
        (Some(variable), None) => {
            let at = format!("{at}.auth.bearer_env");
            let hint = "set it to the bare token: no `Bearer`, no spaces, no line break at its end";
            let value = from_env(variable, &at, env, mistakes)?;
            graphic(&value, variable, &at, hint, mistakes).then(|| Auth::Bearer(Secret::new(value)))
        }
        (None, Some(cdp)) => {
            let (id_at, secret_at) = (format!("{at}.auth.cdp.key_id_env"), format!("{at}.auth.cdp.key_secret_env"));
            let id = from_env(&cdp.key_id_env, &id_at, env, mistakes);
            let secret = from_env(&cdp.key_secret_env, &secret_at, env, mistakes);
            let (id, secret) = (id?, secret?);
            if !graphic(&id, &cdp.key_id_env, &id_at, "set it to the key's id, as CDP gave it", mistakes) {
                return None;
            }
            let wrong = |hint: &str| {
                mistakes.add(secret_at, format!("the value of {} is no key", quoted(&cdp.key_secret_env)), hint);
            };
            ApiKey::read(&id, &secret).map_err(wrong).ok().map(|key| Auth::Cdp(Box::new(key)))
        }
        (found, _) => {
            let found = if found.is_some() { "found two ways" } else { "found an empty object" };
            let hint =
                "write either `bearer_env`, or `cdp` with `key_id_env` and `key_secret_env`, or leave `auth` out";
            mistakes.add(format!("{at}.auth"), found, hint);
            None
        }
    }
}

pub(super) fn from_env(
    variable: &str,
    at: &str,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Mistakes,
) -> Option<String> {
    let value = env(variable).filter(|value| !value.is_empty());
    if value.is_none() {
        let hint = "set it, and list it in vm_config.environment_variables.host_env_keys so that Envoy passes it on";
        mistakes.add(at, format!("the environment variable {} is not set", quoted(variable)), hint);
    }
    value
}

/// Whether a value can stand in a header.
fn graphic(value: &str, variable: &str, at: &str, hint: &str, mistakes: &mut Mistakes) -> bool {
    let fits = value.len() <= 8192 && value.bytes().all(|c| c.is_ascii_graphic());
    if !fits {
        mistakes.add(at, format!("the value of {} cannot stand in a header", quoted(variable)), hint);
    }
    fits
}
