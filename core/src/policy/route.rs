//! Routes: what is matched, and what it asks for.

use super::authority::{Authorities, Authority};
use super::config::{self, PaymentIdentifier, Wallets};
use super::facilitator::{Facilitator, is_name};
use super::mistake::{Mistakes, quoted};
use super::routes::Pattern;
use super::{method, pattern};
use crate::rail::x402::offer::{self, Context};
use crate::rail::x402::{offer_receipt, v1};
use crate::rail::{Offer, Terms};
use crate::token::Unit;

/// A match, with what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique name, `[A-Za-z0-9_-]{1,64}`; what metrics and logs call it.
    pub name: String,
    /// What a request needs.
    pub access: Access,
    /// For the challenge's `resource.description`; empty if the policy gives none.
    pub description: String,
    /// For the challenge's `resource.mimeType`; empty if the policy gives none.
    pub mime_type: String,
    /// Whether an upstream status from 300 to 399 is a delivery.
    pub redirects_are_success: bool,
    /// Which payers are accepted.
    pub wallets: Wallets,
    /// Whether buyers may, or must, name their payments.
    pub payment_identifier: Option<PaymentIdentifier>,
    /// Seconds after a delivery within which a repeat under the same name is forwarded once more.
    pub redelivery_seconds: u64,
    /// Whether a charged, undelivered request with an unsafe method may reach the upstream a second time.
    pub redeliver_unsafe: bool,
    /// Seconds the upstream may take to its response headers; bounds the deadline of a claim.
    pub response_timeout_seconds: u64,
    /// Whether `Authorization` carries capability tokens here; if not, it is the upstream's.
    pub owns_authorization: bool,
    /// What a call with a token draws of a budget of money: CAIP-19 asset and atomic units.
    pub call_prices: Vec<(Unit, u128)>,
    /// Methods the route is for, as a grant lists them; empty for all.
    pub methods: Vec<String>,
}

impl Route {
    /// A route for requests that the gate answers itself.
    pub(crate) fn own(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            access: Access::Denied,
            description: String::new(),
            mime_type: String::new(),
            redirects_are_success: false,
            wallets: Wallets::Any,
            payment_identifier: None,
            redelivery_seconds: 0,
            redeliver_unsafe: false,
            response_timeout_seconds: 0,
            owns_authorization: true,
            call_prices: Vec::new(),
            methods: Vec::new(),
        }
    }
}

/// What a request on a route needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Nothing.
    Free,
    /// It is refused whatever it shows.
    Denied,
    /// One of these offers paid. Never empty.
    Priced(Vec<Offer>),
}

/// What a route is compiled against.
pub(super) struct Surroundings<'a> {
    pub(super) authorities: &'a Authorities,
    pub(super) ignore_case: bool,
    pub(super) facilitators: &'a [Facilitator],
    /// Whether the policy has tokens.
    pub(super) tokens: bool,
    /// The issuer in whose name offers are signed, if they are.
    pub(super) signs_offers: Option<&'a str>,
    pub(super) offers: Context<'a>,
}

/// What a route matches.
pub(super) struct Match {
    /// `None`: any host.
    pub(super) hosts: Option<Vec<String>>,
    pub(super) pattern: Pattern,
    /// Empty: any method.
    pub(super) methods: Vec<String>,
}

/// Characters a route's name may have.
const MAX_NAME: usize = 64;
/// Longest resource URL a challenge is sure to have room for, in bytes.
pub const URL_ROOM: usize = 512;
/// Room for the rest of a challenge: version, error, extensions without the texts of a scope.
const ENVELOPE_ROOM: usize = 544;
/// Longest resource URL, in bytes, with which signed offers are sure to have room; with longer ones they may go out
/// unsigned.
const SIGNED_URL_ROOM: usize = 256;
/// Room for each value copied from a facilitator's `/supported`.
const SUPPLIED_ROOM: usize = 64;
/// Bytes the `PAYMENT-REQUIRED` header may have.
pub const CHALLENGE_LIMIT: usize = 8 * 1024;

/// Compiles one route; `at` is its path in the policy. What it matches is `None` if that has a mistake.
pub(super) fn compile(
    config: &config::Route,
    at: &str,
    around: &Surroundings<'_>,
    mistakes: &mut Mistakes,
) -> (Route, Option<Match>) {
    if !(1..=3600).contains(&config.response_timeout_seconds) {
        let found = format!("found {}", config.response_timeout_seconds);
        mistakes.add(format!("{at}.response_timeout_seconds"), found, "write 1 to 3600 seconds");
    }
    let characters = config.description.chars().count();
    if characters > 500 {
        mistakes.add(format!("{at}.description"), format!("found {characters} characters"), "write at most 500");
    }
    let mime = &config.mime_type;
    if !mime.is_empty() && (!mime.contains('/') || mime.len() > 255 || !mime.bytes().all(|c| matches!(c, b' '..=b'~')))
    {
        mistakes.add(
            format!("{at}.mime_type"),
            format!("found {}", quoted(mime)),
            "write a media type, like \"application/json\"",
        );
    }
    if config.redelivery_seconds > 86_400 {
        let found = format!("found {}", config.redelivery_seconds);
        mistakes.add(format!("{at}.redelivery_seconds"), found, "write at most 86400 seconds");
    }
    if config.redelivery_seconds > 0 && config.payment_identifier.is_none() {
        let hint = "write `payment_identifier: optional` too; a repeat is known by the id it names";
        mistakes.add(format!("{at}.redelivery_seconds"), "found without `payment_identifier`", hint);
    }
    if config.authorization == Some(config::Authorization::Farebox) && !around.tokens {
        let hint = "write `tokens` too, or leave it out: without tokens `Authorization` is the upstream's";
        mistakes.add(format!("{at}.authorization"), "found `farebox` without `tokens`", hint);
    }
    let access = access(config, at, around, mistakes);
    let route = Route {
        name: config.name.clone().unwrap_or_default(),
        owns_authorization: around.tokens && config.authorization != Some(config::Authorization::Upstream),
        call_prices: call_prices(config, &access, at, around, mistakes),
        methods: config.methods.clone().unwrap_or_default(),
        access,
        description: config.description.clone(),
        mime_type: config.mime_type.clone(),
        redirects_are_success: config.redirects_are_success,
        wallets: config.wallets,
        payment_identifier: config.payment_identifier,
        redelivery_seconds: config.redelivery_seconds,
        redeliver_unsafe: config.redeliver_unsafe,
        response_timeout_seconds: config.response_timeout_seconds,
    };
    if config.v1 {
        old_clients(config, &route, at, mistakes);
    }
    if let Access::Priced(offers) = &route.access {
        room(&route, offers, around, at, mistakes);
    }
    (route, matched(config, at, around, mistakes))
}

/// What a call with a token draws in each asset: what is written, else the first single-call offer in it.
fn call_prices(
    config: &config::Route,
    access: &Access,
    at: &str,
    around: &Surroundings<'_>,
    mistakes: &mut Mistakes,
) -> Vec<(Unit, u128)> {
    let mut prices: Vec<(Unit, u128)> = Vec::new();
    let Access::Priced(offers) = access else {
        if !config.call_prices.is_empty() {
            mistakes.add(format!("{at}.call_prices"), "found on a route without offers", "leave it out");
        }
        return prices;
    };
    for (index, written) in config.call_prices.iter().enumerate().take(16) {
        let at = format!("{at}.call_prices[{index}]");
        let Some((asset, amount)) = offer::call_price(written, &at, around.offers.assets, mistakes) else { continue };
        let asset = Unit::Asset(asset.into());
        if prices.iter().any(|(there, _)| *there == asset) {
            mistakes.add(at, "the same asset again", "write one price for each asset");
            continue;
        }
        prices.push((asset, amount));
    }
    for offer in offers.iter().filter(|offer| offer.pass.is_none()) {
        let asset = Unit::Asset(offer.asset().into());
        if !prices.iter().any(|(there, _)| *there == asset) {
            prices.push((asset, offer.amount()));
        }
    }
    prices
}

fn access(config: &config::Route, at: &str, around: &Surroundings<'_>, mistakes: &mut Mistakes) -> Access {
    let contradiction = |word: &str, mistakes: &mut Mistakes| {
        let hint = format!("leave out `offers`, or write `access: priced` instead of `{word}`");
        mistakes.add(format!("{at}.access"), format!("found `{word}` beside offers"), hint);
    };
    match (config.access, config.offers.is_empty()) {
        (Some(config::Access::Free), true) => Access::Free,
        (Some(config::Access::Denied), true) => Access::Denied,
        (Some(config::Access::Free), false) => {
            contradiction("free", mistakes);
            Access::Denied
        }
        (Some(config::Access::Denied), false) => {
            contradiction("denied", mistakes);
            Access::Denied
        }
        (Some(config::Access::Priced), true) => {
            mistakes.add(
                format!("{at}.offers"),
                "missing on a priced route",
                "write at least one offer, like {price: \"$0.01\", network: \"eip155:8453\"}",
            );
            Access::Denied
        }
        (None, true) => {
            let hint = "write `offers`, or say `access: free` or `access: denied`";
            mistakes.add(format!("{at}.access"), "missing, and there are no offers", hint);
            Access::Denied
        }
        (Some(config::Access::Priced) | None, false) => Access::Priced(offers(config, at, around, mistakes)),
    }
}

fn offers(config: &config::Route, at: &str, around: &Surroundings<'_>, mistakes: &mut Mistakes) -> Vec<Offer> {
    if config.offers.len() > 16 {
        let hint = "write at most 16: buyers and facilitators read no more";
        mistakes.add(format!("{at}.offers"), format!("found {} offers", config.offers.len()), hint);
    }
    let mut compiled: Vec<(usize, Offer)> = Vec::with_capacity(config.offers.len());
    for (index, written) in config.offers.iter().enumerate() {
        let at = format!("{at}.offers[{index}]");
        let Some((settle, terms, pass)) = offer::compile(written, config.settle, &at, &around.offers, mistakes) else {
            continue;
        };
        let facilitators = covering(&terms.network, &at, around.facilitators, mistakes);
        let v1 = if config.v1 && pass.is_none() { v1::name_of(&terms) } else { None };
        let terms = Terms::X402(offer::Terms { v1, ..terms });
        if let Some((first, _)) =
            compiled.iter().find(|(_, other)| other.settle == settle && same_but_amount(&other.terms, &terms))
        {
            let hint = format!(
                "keep one: offers[{first}] differs in nothing but perhaps the amount, and buyers take the cheaper"
            );
            mistakes.add(at, "the same offer twice", hint);
        }
        compiled.push((index, Offer { nth: index, settle, facilitators, terms, pass }));
    }
    // Official clients pay the first offer they can: a single call, unless there is none.
    compiled.sort_by_key(|(_, offer)| offer.pass.is_some());
    compiled.into_iter().map(|(_, offer)| offer).collect()
}

fn same_but_amount(a: &Terms, b: &Terms) -> bool {
    let (Terms::X402(a), Terms::X402(b)) = (a, b);
    (&a.scheme, &a.network, &a.asset, &a.pay_to, &a.extra) == (&b.scheme, &b.network, &b.asset, &b.pay_to, &b.extra)
}

/// Indices of the facilitators that cover `network`.
fn covering(network: &str, at: &str, facilitators: &[Facilitator], mistakes: &mut Mistakes) -> Vec<u16> {
    let covering: Vec<u16> = facilitators
        .iter()
        .enumerate()
        .filter(|(_, facilitator)| facilitator.covers(network))
        .filter_map(|(index, _)| u16::try_from(index).ok())
        .collect();
    // Without any facilitator there is one mistake for the whole policy, not one for each offer.
    if covering.is_empty() && !facilitators.is_empty() {
        let names: Vec<&str> = facilitators.iter().map(|facilitator| facilitator.name.as_str()).collect();
        let hint = format!(
            "add it to `networks` of a facilitator ({}), or add a facilitator that covers it",
            names.join(", ")
        );
        mistakes.add(format!("{at}.network"), format!("no facilitator covers {network}"), hint);
    }
    covering
}

/// What clients of version 1 can pay, and what they cannot say.
fn old_clients(config: &config::Route, route: &Route, at: &str, mistakes: &mut Mistakes) {
    let at = format!("{at}.v1");
    let payable = |offer: &Offer| {
        let Terms::X402(terms) = &offer.terms;
        terms.v1.is_some()
    };
    match &route.access {
        Access::Priced(offers) if !offers.is_empty() && !offers.iter().any(payable) => {
            let hint = format!(
                "leave it out, or add an offer with scheme `exact` by EIP-3009 on a network it knows: {}",
                v1::names()
            );
            mistakes.add(&at, "no offer can be paid with version 1", hint);
        }
        Access::Free | Access::Denied if config.offers.is_empty() => {
            mistakes.add(&at, "found on a route without offers", "leave it out");
        }
        _ => {}
    }
    if config.payment_identifier == Some(config::PaymentIdentifier::Required) {
        let hint = "leave it out, or write `payment_identifier: optional`: payments of version 1 carry none";
        mistakes.add(&at, "found beside `payment_identifier: required`", hint);
    }
}

/// The challenge must fit into a header that every proxy lets through, whatever the resource.
fn room(route: &Route, offers: &[Offer], around: &Surroundings<'_>, at: &str, mistakes: &mut Mistakes) {
    let text = |text: &str| serde_json::Value::from(text).to_string().len();
    let offered: usize = offers
        .iter()
        .map(|offer| {
            let Terms::X402(terms) = &offer.terms;
            terms.json.len() + 1 + terms.from_supported.iter().map(|key| key.len() + SUPPLIED_ROOM).sum::<usize>()
        })
        .sum();
    // A name that is made later has at most as many characters.
    let name = if route.name.is_empty() { MAX_NAME } else { route.name.len() };
    let texts = text(&route.description) + text(&route.mime_type) + around.authorities.longest_origin() + name;
    let unsigned = URL_ROOM + offered;
    let signed = around.signs_offers.map_or(0, |issuer| {
        let each = |offer: &Offer| {
            let Terms::X402(terms) = &offer.terms;
            offer_receipt::room(terms, issuer, SIGNED_URL_ROOM)
        };
        SIGNED_URL_ROOM + offered + offer_receipt::ENVELOPE + offers.iter().map(each).sum::<usize>()
    });
    let json = ENVELOPE_ROOM + texts + unsigned.max(signed);
    let header = json.div_ceil(3) * 4;
    if header > CHALLENGE_LIMIT {
        let over = header - CHALLENGE_LIMIT;
        let hint = format!(
            "leave out offers or shorten `description` or `extra`: about {} bytes of JSON less",
            over.div_ceil(4) * 3
        );
        mistakes.add(
            format!("{at}.offers"),
            format!("the challenge would be {header} bytes, {over} more than fit a header"),
            hint,
        );
    }
}

fn matched(config: &config::Route, at: &str, around: &Surroundings<'_>, mistakes: &mut Mistakes) -> Option<Match> {
    let before = mistakes.0.len();
    let hosts = config.hosts.as_ref().map(|hosts| {
        if hosts.is_empty() {
            mistakes.add(
                format!("{at}.hosts"),
                "found an empty list",
                "leave it out: the route is then for every host",
            );
        }
        hosts
            .iter()
            .enumerate()
            .filter_map(|(index, host)| one_host(host, &format!("{at}.hosts[{index}]"), around, mistakes))
            .collect()
    });
    if config.methods.as_ref().is_some_and(Vec::is_empty) {
        mistakes.add(format!("{at}.methods"), "found an empty list", "leave it out: the route then has every method");
    }
    let methods = config.methods.clone().unwrap_or_default();
    for (index, method) in methods.iter().enumerate() {
        let at = format!("{at}.methods[{index}]");
        if methods.iter().take(index).any(|other| other == method) {
            mistakes.add(at, format!("found {} again", quoted(method)), "write each method once");
        } else if !method::is_allowed(method.as_bytes()) {
            let upper = method.to_ascii_uppercase();
            let hint = if method::is_allowed(upper.as_bytes()) {
                format!("write it in upper case: \"{upper}\"")
            } else if matches!(upper.as_str(), "CONNECT" | "TRACE") {
                "leave it out: CONNECT and TRACE are always refused".to_owned()
            } else {
                "write a method in upper case, like \"GET\"; for every method leave out `methods`".to_owned()
            };
            mistakes.add(at, format!("found {}", quoted(method)), hint);
        }
    }
    let pattern = pattern::parse(&config.path, around.ignore_case)
        .map_err(|hint| mistakes.add(format!("{at}.path"), format!("found {}", quoted(&config.path)), hint))
        .ok()?;
    (mistakes.0.len() == before).then_some(Match { hosts, pattern, methods })
}

fn one_host(host: &str, at: &str, around: &Surroundings<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let found = format!("found {}", quoted(host));
    if let Some((scheme, rest)) = host.split_once("://") {
        mistakes.add(at, found, format!("leave out `{scheme}://`: \"{}\"", rest.trim_end_matches('/')));
        return None;
    }
    match Authority::parse(host.as_bytes(), true) {
        Err(hint) => mistakes.add(at, found, format!("{hint}; write a host like \"api.example.com\"")),
        Ok(authority) => match around.authorities.resolve(&authority) {
            Some((_, canonical)) => return Some(canonical),
            None => mistakes.add(at, found, "write a host of one of the `origins`, or add its origin there"),
        },
    }
    None
}

/// A name for a route that has none, from its path; `taken` says which are in use.
pub(super) fn name(path: &str, taken: &dyn Fn(&str) -> bool) -> String {
    let mut words: Vec<String> = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if segment == "*" {
            words.push("all".to_owned());
            continue;
        }
        let word: String =
            segment.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        let word = word.trim_matches('-');
        if !word.is_empty() {
            words.push(word.to_owned());
        }
    }
    let mut base = if words.is_empty() { "root".to_owned() } else { words.join("-") };
    base.truncate(58);
    if !taken(&base) {
        return base;
    }
    (2u32..).map(|nth| format!("{base}-{nth}")).find(|name| !taken(name)).unwrap_or(base)
}

/// Adds a mistake if `name` is not one, or not the first of its kind.
pub(super) fn check_name(name: &str, at: &str, first: Option<usize>, mistakes: &mut Mistakes) {
    if !is_name(name) {
        mistakes.add(
            format!("{at}.name"),
            format!("found {}", quoted(name)),
            "write 1 to 64 letters, digits, `_`, `-`",
        );
    } else if let Some(first) = first {
        let hint = format!("write another name; routes[{first}] has this one");
        mistakes.add(format!("{at}.name"), format!("found {} again", quoted(name)), hint);
    }
}
