//! From the policy's types to the compiled policy: everything that is wrong with the meaning.

use super::authority::{Authorities, Origin};
use super::config::{self, Config};
use super::mistake::{Mistakes, quoted};
use super::route::{self, Access, Match, Route, Surroundings};
use super::routes::Table;
use super::{Policy, facilitator};
use crate::host::Capabilities;
use crate::rail::x402::address::{Network, normal};
use crate::rail::x402::assets::{Asset, Assets, Transfer};
use crate::rail::x402::offer::{Context, Passes, payable};
use crate::rail::{Offer, Settle, Terms};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Compiles a policy whose structure is right.
///
/// # Errors
/// Every mistake found.
pub(super) fn compile(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    can: Capabilities,
) -> Result<Policy, Mistakes> {
    let mut mistakes = Mistakes::default();
    let authorities = origins(&config.origins, &mut mistakes);
    let payees = payees(&config.payees, &mut mistakes);
    let assets = assets(&config.assets, &mut mistakes);
    let facilitators = facilitator::compile(&config.facilitators, env, &mut mistakes);
    if facilitators.is_empty() && config.routes.iter().any(|route| !route.offers.is_empty()) {
        let hint =
            "add the service that verifies and settles, like [{name: \"main\", url: \"https://x402.org/facilitator\"}]";
        mistakes.add("facilitators", "missing, and there are priced routes", hint);
    }
    let rpc = super::rpc::compile(&config.rpc, &mut mistakes);
    let tokens = super::tokens::compile(config, &authorities, env, can, &mut mistakes);
    let passes = match &tokens {
        None => Passes::NoTokens,
        Some(tokens) if tokens.signer.is_none() => Passes::NoSigner,
        Some(tokens) => Passes::Sold { bearer_max_seconds: tokens.bearer_max_seconds },
    };
    let around = Surroundings {
        authorities: &authorities,
        ignore_case: !config.case_sensitive_paths,
        facilitators: &facilitators,
        tokens: tokens.is_some(),
        signs_offers: tokens.as_ref().filter(|it| it.signed_offers.is_some()).map(|it| it.issuer.as_str()),
        offers: Context { payees: &payees, assets: &assets, can_settle_after: can.hold_response, passes },
    };
    let (mut routes, table) = routes(config, &around, &mut mistakes);
    pass_routes(&mut routes, &mut mistakes);
    for (field, value) in [("head_lines", 1_000_000), ("head_seconds", 86_400)]
        .into_iter()
        .zip(config.audit.iter().flat_map(|audit| [audit.head_lines, audit.head_seconds]))
        .filter_map(|((field, most), value)| (!(1..=most).contains(&value)).then_some((field, value)))
    {
        mistakes.add(format!("audit.{field}"), format!("found {value}"), "write a number from the range in the schema");
    }
    if config.audit.is_some() && tokens.as_ref().is_none_or(|tokens| tokens.signer.is_none()) {
        let hint = "write `tokens` with a key that signs: the audit log's heads are signed with it";
        mistakes.add("audit", "found without a signing key", hint);
    }
    if !(1000..=10_000_000).contains(&config.ledger.claims) {
        mistakes.add("ledger.claims", format!("found {}", config.ledger.claims), "write 1000 to 10000000");
    }
    if !(1000..=10_000_000).contains(&config.ledger.tokens) {
        mistakes.add("ledger.tokens", format!("found {}", config.ledger.tokens), "write 1000 to 10000000");
    }
    let tokens_ceiling = u32::try_from(config.ledger.tokens).unwrap_or(u32::MAX);
    let claims_ceiling = u32::try_from(config.ledger.claims).unwrap_or(u32::MAX);
    let allowed_origins = cors(&config.cors.allowed_origins, &mut mistakes);
    if !mistakes.0.is_empty() {
        return Err(mistakes);
    }
    let warnings = warnings(config, &routes);
    let case_sensitive = config.case_sensitive_paths;
    Ok(Policy {
        authorities,
        case_sensitive,
        routes,
        table,
        facilitators,
        rpc,
        limits: config.limits.clone(),
        claims_ceiling,
        tokens_ceiling,
        tokens,
        audit: config.audit.clone(),
        allowed_origins,
        warnings,
    })
}

fn origins(written: &[String], mistakes: &mut Mistakes) -> Authorities {
    let mut authorities = Authorities::default();
    if written.is_empty() {
        mistakes.add(
            "origins",
            "found an empty list",
            "list the origins clients use, like [\"https://api.example.com\"]",
        );
    }
    for (index, text) in written.iter().enumerate() {
        let at = format!("origins[{index}]");
        match Origin::parse(text, true) {
            Err(hint) => mistakes.add(at, format!("found {}", quoted(text)), hint),
            Ok(origin) => {
                if let Err(spelling) = authorities.add(&origin) {
                    let hint = format!("keep one: a request for `{spelling}` could mean this origin or an earlier one");
                    mistakes.add(at, format!("found {}", quoted(text)), hint);
                }
            }
        }
    }
    authorities
}

fn payees(written: &BTreeMap<String, String>, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    let mut payees = BTreeMap::new();
    for (network, address) in written {
        let at = format!("payees.{network}");
        match Network::parse(network) {
            Err(hint) => mistakes.add(at, "not a network", hint),
            Ok(parsed) => match payable(parsed.namespace, address) {
                Err(hint) => {
                    mistakes.add(at, format!("found {}", quoted(address)), hint);
                    // Kept, so that the offers that need it are not reported too.
                    payees.insert(network.clone(), address.clone());
                }
                Ok(address) => {
                    payees.insert(network.clone(), address);
                }
            },
        }
    }
    payees
}

fn assets(written: &[config::Asset], mistakes: &mut Mistakes) -> Assets {
    let mut assets = Assets::default();
    for (index, asset) in written.iter().enumerate() {
        let at = format!("assets[{index}]");
        let before = mistakes.0.len();
        let network = Network::parse(&asset.network)
            .map_err(|hint| mistakes.add(format!("{at}.network"), format!("found {}", quoted(&asset.network)), hint));
        let evm = network.is_ok_and(|network| network.chain_id.is_some());
        let address = network.and_then(|network| {
            normal(network.namespace, &asset.address).map_err(|hint| {
                mistakes.add(format!("{at}.address"), format!("found {}", quoted(&asset.address)), hint)
            })
        });
        let symbol = &asset.symbol;
        if !(1..=16).contains(&symbol.len())
            || !symbol.bytes().all(|c| c.is_ascii_graphic())
            || symbol.starts_with("0x")
        {
            let hint = "write a ticker of 1 to 16 printable ASCII characters, like \"USDC\"";
            mistakes.add(format!("{at}.symbol"), format!("found {}", quoted(symbol)), hint);
        }
        let permit2 = asset.transfer_method == Some(config::TransferMethod::Permit2);
        if let Some(method) = asset.transfer_method.filter(|_| !evm) {
            let hint = "leave it out: only eip155 tokens have it";
            mistakes.add(format!("{at}.transfer_method"), format!("found `{}`", method.wire()), hint);
        }
        for (field, value) in [("name", &asset.name), ("version", &asset.version)] {
            let other_is_empty = if field == "name" { asset.version.is_empty() } else { asset.name.is_empty() };
            if evm && value.is_empty() && permit2 && other_is_empty {
                continue;
            }
            if evm && value.is_empty() {
                let hint = format!("write the {field} of the token's EIP-712 domain; buyers sign over it");
                mistakes.add(format!("{at}.{field}"), "missing", hint);
            } else if !evm && !value.is_empty() {
                mistakes.add(
                    format!("{at}.{field}"),
                    format!("found {}", quoted(value)),
                    "leave it out: only eip155 tokens have it",
                );
            }
        }
        let decimals = u8::try_from(asset.decimals).unwrap_or(u8::MAX);
        if decimals > 38 {
            mistakes.add(format!("{at}.decimals"), format!("found {}", asset.decimals), "write 0 to 38");
        }
        let Ok(address) = address else { continue };
        if assets.by_address(&asset.network, &address).is_some() {
            let hint = "leave it out: it is in the built-in table or listed before";
            mistakes.add(format!("{at}.address"), format!("found {} again", quoted(&address)), hint);
        } else if assets.by_symbol(&asset.network, symbol).is_some() {
            let hint = format!("write another ticker: {} has this one for another asset", asset.network);
            mistakes.add(format!("{at}.symbol"), format!("found {} again", quoted(symbol)), hint);
        }
        if mistakes.0.len() == before {
            assets.add(Asset {
                network: asset.network.clone().into(),
                symbol: symbol.clone().into(),
                address: address.into(),
                decimals,
                name: asset.name.clone().into(),
                version: asset.version.clone().into(),
                transfer: match (evm, permit2) {
                    (false, _) => Transfer::Spl,
                    (true, false) => Transfer::Eip3009,
                    (true, true) if asset.name.is_empty() => Transfer::Permit2,
                    (true, true) => Transfer::Permit2Eip2612,
                },
            });
        }
    }
    assets
}

fn routes(config: &Config, around: &Surroundings<'_>, mistakes: &mut Mistakes) -> (Vec<Route>, Table) {
    let mut table = Table::new(config.default);
    let mut routes = Vec::with_capacity(config.routes.len());
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, written) in config.routes.iter().enumerate() {
        let at = format!("routes[{index}]");
        if let Some(name) = &written.name {
            route::check_name(name, &at, names.get(name).copied(), mistakes);
            names.entry(name.clone()).or_insert(index);
        }
        let (route, matched) = route::compile(written, &at, around, mistakes);
        routes.push(route);
        if let Some(matched) = matched {
            enter(&mut table, &matched, index, config, mistakes);
        }
    }
    for (index, (route, written)) in routes.iter_mut().zip(&config.routes).enumerate() {
        if written.name.is_none() {
            route.name = route::name(&written.path, &|name| names.contains_key(name));
            names.insert(route.name.clone(), index);
        }
    }
    (routes, table)
}

/// Says of each pass which routes it is good for, and that each of them takes what it has.
fn pass_routes(routes: &mut [Route], mistakes: &mut Mistakes) {
    // Of each priced route, the assets that a call has a price in, and its methods.
    let priced: HashMap<String, (Vec<String>, Vec<String>)> = routes
        .iter()
        .filter(|route| matches!(route.access, Access::Priced(_)))
        .map(|route| {
            let assets = route.call_prices.iter().map(|(asset, _)| asset.wire().to_owned()).collect();
            (route.name.clone(), (assets, route.methods.clone()))
        })
        .collect();
    for (index, route) in routes.iter_mut().enumerate() {
        let own = route.name.clone();
        let Access::Priced(offers) = &mut route.access else { continue };
        for offer in offers.iter_mut() {
            let Some(pass) = &mut offer.pass else { continue };
            let at = format!("routes[{index}].offers[{}].pass", offer.nth);
            if pass.routes.is_empty() {
                pass.routes.push(own.clone());
            }
            for (nth, name) in pass.routes.iter().enumerate() {
                match priced.get(name) {
                    None => {
                        let hint = "write the `name` of a priced route";
                        mistakes.add(format!("{at}.routes[{nth}]"), format!("found {}", quoted(name)), hint);
                    }
                    Some((assets, _)) if pass.limits.budget.is_some() && !assets.contains(&pass.asset) => {
                        let hint = format!(
                            "write what a call of route {name} draws in this asset under its `call_prices`, or give it \
                             a single-call offer in this asset"
                        );
                        mistakes.add(format!("{at}.budget"), "nothing says what a call costs", hint);
                    }
                    Some(_) => {}
                }
            }
            let listed = || pass.routes.iter().filter_map(|name| priced.get(name)).map(|(_, methods)| methods);
            if listed().all(|methods| !methods.is_empty()) {
                let mut seen = HashSet::new();
                pass.methods = listed().flatten().filter(|method| seen.insert(*method)).cloned().collect();
            }
            if mistakes.0.is_empty()
                && let Err(error) = pass.can_be_granted()
            {
                mistakes.add(at, format!("no token can be made of it: {error}"), "sell less with one pass");
            }
        }
    }
}

/// Enters a route for each of its hosts; one that can never be reached, or hides another, is a mistake.
fn enter(table: &mut Table, matched: &Match, index: usize, config: &Config, mistakes: &mut Mistakes) {
    let hosts: Vec<Option<&str>> = match &matched.hosts {
        None => vec![None],
        Some(hosts) => hosts.iter().map(|host| Some(host.as_str())).collect(),
    };
    for host in hosts {
        let Err(other) = table.add(host, &matched.pattern, &matched.methods, index) else { continue };
        let path = |index: usize| config.routes.get(index).map(|route| quoted(&route.path)).unwrap_or_default();
        let found = if other == index {
            format!("the host {} is listed twice", host.unwrap_or_default())
        } else {
            format!("found {}, which matches the same requests as routes[{other}] ({})", path(index), path(other))
        };
        let hint = "keep one of them, or give them different hosts or methods; parameter names do not count, and the \
                    case of letters only with `case_sensitive_paths: true`";
        mistakes.add(format!("routes[{index}].path"), found, hint);
        return;
    }
}

fn cors(written: &[String], mistakes: &mut Mistakes) -> Vec<String> {
    let mut allowed = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        let at = format!("cors.allowed_origins[{index}]");
        if text == "*" {
            if written.len() > 1 {
                mistakes.add(at, "found \"*\" beside others", "write [\"*\"] alone, or leave it out");
            }
            allowed.push(text.clone());
            continue;
        }
        match Origin::parse(text, false) {
            Ok(origin) => allowed.push(origin.text()),
            Err(hint) => mistakes.add(at, format!("found {}", quoted(text)), format!("{hint}, or \"*\" alone for all")),
        }
    }
    allowed
}

fn warnings(config: &Config, routes: &[Route]) -> Vec<String> {
    let mut warnings = Vec::new();
    if routes.is_empty() {
        let default = match config.default {
            config::DefaultAccess::Denied => "refused",
            config::DefaultAccess::Free => "forwarded without payment",
        };
        warnings.push(format!("routes: there are none, so every request is {default}"));
    }
    let mut used = vec![false; config.facilitators.len()];
    for (index, (route, written)) in routes.iter().zip(&config.routes).enumerate() {
        let lists = |name: &str| written.methods.iter().flatten().any(|method| method == name);
        if lists("HEAD") && !lists("GET") {
            warnings.push(format!(
                "routes[{index}].methods: HEAD without GET; a HEAD costs what this route says, not what the GET costs"
            ));
        }
        let Access::Priced(offers) = &route.access else { continue };
        for (nth, offer) in offers.iter().enumerate() {
            for facilitator in &offer.facilitators {
                if let Some(used) = used.get_mut(usize::from(*facilitator)) {
                    *used = true;
                }
            }
            warnings.extend(
                about_offer(route, offer).into_iter().map(|text| format!("routes[{index}].offers[{nth}]: {text}")),
            );
        }
    }
    for (index, _) in used.iter().enumerate().filter(|(_, used)| !**used) {
        warnings.push(format!("facilitators[{index}]: no offer is on a network it covers"));
    }
    warnings
}

fn about_offer(route: &Route, offer: &Offer) -> Option<String> {
    let Terms::X402(terms) = &offer.terms;
    if offer.settle == Settle::After && route.response_timeout_seconds > terms.max_timeout_seconds {
        return Some(format!(
            "a payment is valid for {} s, but the upstream may take {} s; an answer that late cannot be paid for",
            terms.max_timeout_seconds, route.response_timeout_seconds
        ));
    }
    (terms.scheme == "upto" && offer.settle == Settle::Before).then(|| {
        "the scheme `upto` settled `before` is charged at its ceiling: nothing is known of the use yet".to_owned()
    })
}
