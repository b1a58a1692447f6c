//! An x402 offer: the requirement a client copies into `accepted`, compiled from the policy.

use super::address::{Network, normal};
use super::assets::{Asset, Assets, Transfer, caip19};
use super::check::FACILITATOR;
use super::price::{PriceError, atomic};
use crate::crypto::hex;
use crate::policy::config;
use crate::policy::mistake::{Mistakes, quoted};
use crate::policy::pass::{self, Pass};
use crate::rail::Settle;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What an x402 offer asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// x402 scheme.
    pub scheme: String,
    /// CAIP-2 network.
    pub network: String,
    /// Atomic units of the asset: never 0 in an offer, and 0 only where an `upto` payment is settled for nothing.
    pub amount: u128,
    /// The asset as x402 writes it on this network (EVM: checksummed address).
    pub asset: String,
    /// The payee as x402 writes it on this network (EVM: checksummed address).
    pub pay_to: String,
    /// Seconds an authorization may be valid for.
    pub max_timeout_seconds: u64,
    /// The requirement's `extra`, without what [`from_supported`](Self::from_supported) adds.
    pub extra: Map<String, Value>,
    /// What a payment is made by, and so what the core can check.
    pub method: Method,
    /// Name of the network in x402 version 1, where the route takes payments of that version for this offer.
    pub v1: Option<&'static str>,
    /// EIP-155 chain id of an EVM network.
    pub chain_id: Option<u64>,
    /// Members of the facilitator's `/supported` kind's `extra` that the requirement must carry. Empty: the offer can
    /// be made without asking.
    pub from_supported: Vec<String>,
    /// The requirement as JSON, members in the SDK's order, without what `from_supported` adds.
    pub json: String,
}

/// What a payment is made by. Of all but [`Opaque`](Self::Opaque) the core knows the identity and can check the terms
/// and, where a key signed, the payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `exact` by an EIP-3009 authorization over this EIP-712 domain of the token.
    Eip3009(TokenDomain),
    /// `exact` by Permit2.
    Permit2,
    /// `upto` by Permit2: the amount is a ceiling, and the upstream's response says what is charged.
    Upto {
        /// Decimal places of the asset, where they are known.
        decimals: Option<u8>,
    },
    /// Passed through to the facilitator, settled before forwarding.
    Opaque,
}

/// Name and version of a token's EIP-712 domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDomain {
    /// EIP-712 `name`, which may differ from the token's `name()` on another network.
    pub name: String,
    /// EIP-712 `version`.
    pub version: String,
}

impl Terms {
    /// Whether the core knows what a payment for these terms burns, and checks it.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.method != Method::Opaque
    }

    /// These terms with the members of `extra` (a facilitator's `/supported` kind) that they need; `None` if one is
    /// missing there.
    #[must_use]
    pub fn complete(&self, extra: &Map<String, Value>) -> Option<Self> {
        let mut complete = self.clone();
        for key in &self.from_supported {
            complete.extra.insert(key.clone(), extra.get(key)?.clone());
        }
        if matches!(self.method, Method::Upto { .. }) {
            hex::decode_fixed::<20>(complete.extra.get(FACILITATOR)?.as_str()?)?;
        }
        complete.json = complete.render();
        Some(complete)
    }

    /// These terms with another amount, for settling.
    #[must_use]
    pub fn charging(&self, amount: u128) -> Self {
        let mut terms = Self { amount, ..self.clone() };
        terms.json = terms.render();
        terms
    }

    /// The requirement as JSON, members in the SDK's order (x402.md §1.1).
    pub(crate) fn render(&self) -> String {
        format!(
            r#"{{"scheme":{},"network":{},"amount":"{}","asset":{},"payTo":{},"maxTimeoutSeconds":{},"extra":{}}}"#,
            text(&self.scheme),
            text(&self.network),
            self.amount,
            text(&self.asset),
            text(&self.pay_to),
            self.max_timeout_seconds,
            Value::Object(self.extra.clone()),
        )
    }
}

/// `value` as a JSON string.
fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// What an offer is compiled against.
pub(crate) struct Context<'a> {
    /// Payees by network, in x402's spelling.
    pub(crate) payees: &'a BTreeMap<String, String>,
    /// Known assets.
    pub(crate) assets: &'a Assets,
    /// Whether this host can settle after.
    pub(crate) can_settle_after: bool,
    /// Whether passes can be sold.
    pub(crate) passes: Passes,
}

/// Whether passes can be sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// The policy has no tokens.
    NoTokens,
    /// It has tokens, and no key that signs.
    NoSigner,
    /// They can.
    Sold {
        /// The most seconds a bearer token may be good for.
        bearer_max_seconds: u64,
    },
}

/// Compiles one offer of the policy. `at` is its path, `settle` what its route says.
///
/// `None` if a mistake was added that leaves nothing to compile; other mistakes are added and the offer is returned.
pub(crate) fn compile(
    offer: &config::Offer,
    settle: Option<config::Settle>,
    at: &str,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<(Settle, Terms, Option<Pass>)> {
    let pass_at = format!("{at}.pass");
    let mut wrong = |field: &str, found: String, hint: String| mistakes.add(format!("{at}.{field}"), found, hint);
    let network = match Network::parse(&offer.network) {
        Ok(network) => network,
        Err(hint) => {
            wrong("network", format!("found {}", quoted(&offer.network)), hint);
            return None;
        }
    };
    let scheme_char = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if !(1..=32).contains(&offer.scheme.len()) || !offer.scheme.bytes().all(scheme_char) {
        wrong("scheme", format!("found {}", quoted(&offer.scheme)), "write an x402 scheme, like \"exact\"".to_owned());
    }
    if !(10..=3600).contains(&offer.max_timeout_seconds) {
        let hint = "write 10 to 3600 seconds: facilitators refuse less than 6, wallets more than an hour";
        wrong("max_timeout_seconds", format!("found {}", offer.max_timeout_seconds), hint.to_owned());
    }
    let priced = priced(&Written::of(offer), network, context.assets, &mut wrong);
    let pay_to = payee(offer, network, context.payees, &mut wrong);
    let (amount, address, asset) = priced?;
    let pay_to = pay_to?;
    if pay_to == address {
        wrong(
            "pay_to",
            format!("found the asset's own address {address}"),
            "write the address of who is paid".to_owned(),
        );
    }
    let means = means(offer, network, asset, &mut wrong)?;
    let settle = timing(offer, settle, &means, context.can_settle_after, &mut wrong)?;

    let mut extra = offer.extra.clone();
    extra.extend(means.extra);
    if settle == Settle::Before {
        extra.insert("paymentFlow".to_owned(), Value::String("upfront".to_owned()));
    }
    if offer.pass.is_some() && offer.scheme == "upto" {
        wrong("pass", "found beside `upto`".to_owned(), "write `scheme: exact`: a pass has one price".to_owned());
    }
    if offer.pass.is_some() {
        extra.insert("pass".to_owned(), Value::Null);
    }
    let pass = offer.pass.as_ref().and_then(|written| {
        let bearer_max_seconds = match context.passes {
            Passes::Sold { bearer_max_seconds } => bearer_max_seconds,
            Passes::NoTokens => {
                let hint = "write `tokens` with a key that signs, like {keys: [{env: \"FAREBOX_TOKEN_KEY\"}]}";
                mistakes.add(&pass_at, "found without `tokens`", hint);
                return None;
            }
            Passes::NoSigner => {
                let hint = "write `env` for the first of `tokens.keys`: nothing can be signed with a public key";
                mistakes.add(&pass_at, "found without a key that signs", hint);
                return None;
            }
        };
        let asset = caip19(&offer.network, &address);
        let pass = pass::compile(written, &asset, &pass_at, bearer_max_seconds, mistakes);
        extra.insert("pass".to_owned(), pass.described());
        Some(pass)
    });
    let mut terms = Terms {
        scheme: offer.scheme.clone(),
        network: offer.network.clone(),
        amount,
        asset: address,
        pay_to,
        max_timeout_seconds: offer.max_timeout_seconds,
        extra,
        method: means.method,
        v1: None,
        chain_id: network.chain_id,
        from_supported: means.from_supported,
        json: String::new(),
    };
    terms.json = terms.render();
    Some((settle, terms, pass))
}

/// A price as it is written.
struct Written<'a> {
    price: Option<&'a str>,
    amount: Option<&'a str>,
    network: &'a str,
    asset: Option<&'a str>,
}

impl<'a> Written<'a> {
    fn of(offer: &'a config::Offer) -> Self {
        Self {
            price: offer.price.as_deref(),
            amount: offer.amount.as_deref(),
            network: &offer.network,
            asset: offer.asset.as_deref(),
        }
    }
}

/// Compiles what a call with a token draws in one asset: its CAIP-19 id, and atomic units of it.
pub(crate) fn call_price(
    written: &config::CallPrice,
    at: &str,
    assets: &Assets,
    mistakes: &mut Mistakes,
) -> Option<(String, u128)> {
    let mut wrong = |field: &str, found: String, hint: String| mistakes.add(format!("{at}.{field}"), found, hint);
    let network = match Network::parse(&written.network) {
        Ok(network) => network,
        Err(hint) => {
            wrong("network", format!("found {}", quoted(&written.network)), hint);
            return None;
        }
    };
    let price = Written {
        price: written.price.as_deref(),
        amount: written.amount.as_deref(),
        network: &written.network,
        asset: written.asset.as_deref(),
    };
    let (amount, address, _) = priced(&price, network, assets, &mut wrong)?;
    Some((caip19(&written.network, &address), amount))
}

/// Adds a mistake: field, found, hint.
type Wrong<'a> = dyn FnMut(&str, String, String) + 'a;

/// Amount, asset address, and what is known about the asset.
fn priced<'a>(
    offer: &Written<'_>,
    network: Network<'_>,
    assets: &'a Assets,
    wrong: &mut Wrong<'_>,
) -> Option<(u128, String, Option<&'a Asset>)> {
    // The asset comes first: without it no price means anything.
    let named = match offer.asset {
        None => None,
        Some(text) => match assets.by_symbol(offer.network, text) {
            Some(asset) => Some((asset.address.to_string(), Some(asset))),
            None if is_ticker(text) => {
                let known = assets.symbols(offer.network).join(", ");
                let known = if known.is_empty() { "none".to_owned() } else { known };
                let hint = format!("write its address, or add it under `assets`; known on {}: {known}", offer.network);
                wrong("asset", format!("found {}", quoted(text)), hint);
                return None;
            }
            None => match normal(network.namespace, text) {
                Ok(address) => {
                    let asset = assets.by_address(offer.network, &address);
                    Some((address, asset))
                }
                Err(hint) => {
                    wrong("asset", format!("found {}", quoted(text)), hint);
                    return None;
                }
            },
        },
    };
    match (offer.price, offer.amount) {
        (Some(_), Some(_)) => {
            wrong("amount", "found beside `price`".to_owned(), "write one of the two".to_owned());
            None
        }
        (None, None) => {
            wrong("price", "missing".to_owned(), "write dollars like \"$0.01\", or `amount` and `asset`".to_owned());
            None
        }
        (None, Some(text)) => {
            let Some((address, asset)) = named else {
                let hint = "an `amount` is in units of an asset: write its address, in quotes";
                wrong("asset", "missing".to_owned(), hint.to_owned());
                return None;
            };
            match atomic(text, 0) {
                Ok(amount) => Some((amount, address, asset)),
                Err(error) => {
                    wrong("amount", format!("found {}", quoted(text)), said(error, "atomic units like \"10000\"", 0));
                    None
                }
            }
        }
        (Some(text), None) => {
            let in_dollars = text.strip_prefix('$');
            let (address, asset) = match named {
                Some(named) => named,
                None if in_dollars.is_none() => {
                    wrong("price", format!("found {}", quoted(text)), unit_hint(text, offer));
                    return None;
                }
                None => match assets.default_of(offer.network) {
                    Some(asset) => (asset.address.to_string(), Some(asset)),
                    None => {
                        let hint = format!(
                            "no default asset is known on {}: add one under `assets`, or write `amount` and `asset`",
                            offer.network
                        );
                        wrong("price", format!("found {}", quoted(text)), hint);
                        return None;
                    }
                },
            };
            let Some(asset) = asset else {
                let hint = format!(
                    "the decimals of {address} are not known: add it under `assets`, or write `amount` in atomic units"
                );
                wrong("price", format!("found {}", quoted(text)), hint);
                return None;
            };
            match atomic(in_dollars.unwrap_or(text), asset.decimals) {
                Ok(amount) => Some((amount, address, Some(asset))),
                Err(error) => {
                    let like = if in_dollars.is_some() { "dollars like \"$0.01\"" } else { "a number like \"0.01\"" };
                    wrong("price", format!("found {}", quoted(text)), said(error, like, asset.decimals));
                    None
                }
            }
        }
    }
}

/// Whether `text` can only be meant as a ticker.
fn is_ticker(text: &str) -> bool {
    text.len() <= 16 && !text.starts_with("0x")
}

/// What to write instead of a price without `$` and without an asset.
fn unit_hint(text: &str, offer: &Written<'_>) -> String {
    if let Some((number, ticker)) = text.split_once(' ')
        && is_ticker(ticker)
        && atomic(number, 38).is_ok()
    {
        return format!("write price: \"${number}\" and asset: \"{ticker}\"");
    }
    if atomic(text, 38).is_ok() {
        return format!("write dollars like \"${text}\", or name the `asset` it is in");
    }
    format!("write dollars like \"$0.01\" (the default asset of {}), with a point", offer.network)
}

fn said(error: PriceError, like: &str, decimals: u8) -> String {
    match error {
        PriceError::Shape => format!("write {like}: digits, at most one point, no sign, no comma, no exponent"),
        PriceError::TooFine { .. } if decimals == 0 => format!("write {like}: atomic units have no decimal places"),
        PriceError::TooFine { places } => {
            format!("{places} decimal places where the asset has {decimals}; write {like}, it is never rounded")
        }
        PriceError::Zero => "nothing to pay; for a free route write `access: free` and leave out `offers`".to_owned(),
        PriceError::TooLarge => format!("more than 2^128 atomic units; write {like}"),
    }
}

fn payee(
    offer: &config::Offer,
    network: Network<'_>,
    payees: &BTreeMap<String, String>,
    wrong: &mut Wrong<'_>,
) -> Option<String> {
    match offer.pay_to.as_deref() {
        Some(text) => match payable(network.namespace, text) {
            Ok(address) => Some(address),
            Err(hint) => {
                wrong("pay_to", format!("found {}", quoted(text)), hint);
                None
            }
        },
        None => {
            let payee = payees.get(&offer.network).cloned();
            if payee.is_none() {
                let hint = format!("write it here, or `payees: {{\"{}\": \"0x…\"}}` for every offer", offer.network);
                wrong("pay_to", "missing".to_owned(), hint);
            }
            payee
        }
    }
}

/// The address of someone who can be paid, in x402's spelling.
///
/// # Errors
/// What to write instead.
pub(crate) fn payable(namespace: &str, text: &str) -> Result<String, String> {
    let address = normal(namespace, text)?;
    if namespace == "eip155" && address.bytes().skip(2).all(|c| c == b'0') {
        return Err("nobody has the zero address; write the address of who is paid".to_owned());
    }
    Ok(address)
}

/// How a payment for an offer is made, and who can check it.
struct Means {
    /// Members that we add to `extra`.
    extra: Map<String, Value>,
    method: Method,
    from_supported: Vec<String>,
    /// Why the core cannot compute what a payment burns.
    passed_through: Option<String>,
}

fn means(offer: &config::Offer, network: Network<'_>, asset: Option<&Asset>, wrong: &mut Wrong<'_>) -> Option<Means> {
    for (key, instead) in [("paymentFlow", "write `settle: before` instead"), ("pass", "the gate writes it")] {
        if offer.extra.contains_key(key) {
            wrong(&format!("extra.{key}"), "reserved".to_owned(), format!("leave it out; {instead}"));
        }
    }
    let evm = network.chain_id.is_some();
    let mut supplied: Vec<String> = match (offer.scheme.as_str(), network.namespace) {
        ("exact", "solana") => vec!["feePayer".to_owned()],
        ("upto", "eip155") => vec![FACILITATOR.to_owned()],
        _ => Vec::new(),
    };
    for (index, key) in offer.from_supported.iter().flatten().enumerate() {
        if key.is_empty() || key == "paymentFlow" || key == "pass" {
            wrong(
                &format!("from_supported[{index}]"),
                format!("found {}", quoted(key)),
                "name a member of the kind's `extra`".to_owned(),
            );
        } else if !supplied.contains(key) {
            supplied.push(key.clone());
        }
    }
    for key in &supplied {
        if offer.extra.contains_key(key) {
            let hint = "leave it out; it is copied from the facilitator's /supported".to_owned();
            wrong(&format!("extra.{key}"), "contradicts `from_supported`".to_owned(), hint);
        }
    }
    if !evm || !matches!(offer.scheme.as_str(), "exact" | "upto") {
        if let Some(method) = offer.transfer_method {
            let hint = "leave it out: only `exact` and `upto` on eip155 networks have a transfer method";
            wrong("transfer_method", format!("found `{}`", method.wire()), hint.to_owned());
        }
        let why = format!("scheme {} on {} is passed through to the facilitator", offer.scheme, offer.network);
        let (extra, method) = (Map::new(), Method::Opaque);
        return Some(Means { extra, method, from_supported: supplied, passed_through: Some(why) });
    }
    let written = transfer_method(offer, asset, wrong)?;
    let mut extra = Map::new();
    let by_permit2 = asset.is_some_and(|asset| asset.transfer.is_permit2());
    if offer.scheme == "exact" && matches!(written, None | Some("eip3009")) && !by_permit2 {
        let domain = domain(offer, asset, wrong)?;
        extra.insert("name".to_owned(), Value::String(domain.name.clone()));
        extra.insert("version".to_owned(), Value::String(domain.version.clone()));
        let method = Method::Eip3009(domain);
        return Some(Means { extra, method, from_supported: supplied, passed_through: None });
    }
    let written = written.unwrap_or("permit2");
    extra.insert(TRANSFER_METHOD.to_owned(), Value::String(written.to_owned()));
    // As the official SDK: the domain is told where it is needed, for EIP-2612 approvals.
    if let Some(asset) = asset.filter(|asset| asset.transfer != Transfer::Permit2 && !asset.name.is_empty()) {
        let domain = domain(offer, Some(asset), wrong)?;
        extra.insert("name".to_owned(), Value::String(domain.name));
        extra.insert("version".to_owned(), Value::String(domain.version));
    }
    let (method, passed_through) = match (offer.scheme.as_str(), written) {
        ("upto", _) => (Method::Upto { decimals: asset.map(|asset| asset.decimals) }, None),
        (_, "permit2") => (Method::Permit2, None),
        _ => (Method::Opaque, Some(format!("scheme exact by {written} is passed through to the facilitator"))),
    };
    Some(Means { extra, method, from_supported: supplied, passed_through })
}

/// The member of `extra` that says how value moves.
const TRANSFER_METHOD: &str = "assetTransferMethod";

/// How an EVM offer says that value moves, if it says; the asset must be able to.
fn transfer_method<'a>(
    offer: &'a config::Offer,
    asset: Option<&Asset>,
    wrong: &mut Wrong<'_>,
) -> Option<Option<&'a str>> {
    let in_extra = format!("extra.{TRANSFER_METHOD}");
    let (field, method) = match (offer.transfer_method, offer.extra.get(TRANSFER_METHOD)) {
        (None, None) => return Some(None),
        (Some(method), None) => ("transfer_method", method.wire()),
        (None, Some(Value::String(method))) => (in_extra.as_str(), method.as_str()),
        (None, Some(_)) => {
            wrong(&in_extra, "not text".to_owned(), "write \"eip3009\" or \"permit2\", in quotes".to_owned());
            return None;
        }
        (Some(method), Some(_)) => {
            let hint = format!("leave it out: `transfer_method: {}` says it", method.wire());
            wrong(&in_extra, "found beside `transfer_method`".to_owned(), hint);
            return None;
        }
    };
    if offer.scheme == "upto" && method != "permit2" {
        wrong(field, format!("found {}", quoted(method)), "leave it out: `upto` is paid by Permit2".to_owned());
        return None;
    }
    if method == "eip3009" && asset.is_some_and(|asset| asset.transfer.is_permit2()) {
        let hint = "leave it out: this token has no EIP-3009, it is paid by Permit2".to_owned();
        wrong(field, "found \"eip3009\"".to_owned(), hint);
        return None;
    }
    Some(Some(method))
}

/// The token's EIP-712 domain: what the table says, or what `extra` says of a token that is in no table.
fn domain(offer: &config::Offer, asset: Option<&Asset>, wrong: &mut Wrong<'_>) -> Option<TokenDomain> {
    let mut part = |key: &str, known: Option<&str>| {
        let path = format!("extra.{key}");
        match (offer.extra.get(key), known) {
            (None, Some(known)) => Some(known.to_owned()),
            (None, None) => {
                let hint = "write the token's EIP-712 domain name and version here, or add the token under `assets`";
                wrong(&path, "missing".to_owned(), hint.to_owned());
                None
            }
            (Some(Value::String(own)), _) if own.is_empty() => {
                wrong(&path, "found \"\"".to_owned(), "write what the token's EIP-712 domain says".to_owned());
                None
            }
            (Some(Value::String(own)), None) => Some(own.clone()),
            (Some(Value::String(own)), Some(known)) if own == known => Some(known.to_owned()),
            (Some(own), Some(known)) => {
                let hint = format!("leave it out: this token's EIP-712 {key} is {known:?}");
                wrong(&path, format!("found {}", quoted(&own.to_string())), hint);
                None
            }
            (Some(own), None) => {
                wrong(&path, format!("found {}", quoted(&own.to_string())), "write text, in quotes".to_owned());
                None
            }
        }
    };
    let name = part("name", asset.map(|asset| &*asset.name));
    let version = part("version", asset.map(|asset| &*asset.version));
    Some(TokenDomain { name: name?, version: version? })
}

/// When the money moves: what is written, as far as host and rail allow it.
fn timing(
    offer: &config::Offer,
    route: Option<config::Settle>,
    means: &Means,
    can_settle_after: bool,
    wrong: &mut Wrong<'_>,
) -> Option<Settle> {
    let written = offer.settle.or(route);
    if let Some(why) = &means.passed_through {
        if written == Some(config::Settle::Before) {
            return Some(Settle::Before);
        }
        let found = if written.is_some() { "found `after`" } else { "missing" };
        let hint = format!(
            "write `settle: before`: {why}, and the gate cannot tell two of its payments apart before they are settled"
        );
        wrong("settle", found.to_owned(), hint);
        return None;
    }
    match written {
        Some(config::Settle::Before) => Some(Settle::Before),
        Some(config::Settle::After) if !can_settle_after => {
            let hint = "write `settle: before`: this proxy cannot hold a response while it is paid for".to_owned();
            wrong("settle", "found `after`".to_owned(), hint);
            None
        }
        None if !can_settle_after => Some(Settle::Before),
        Some(config::Settle::After) | None => Some(Settle::After),
    }
}
