//! `farebox policy check | explain`.

use crate::input;
use crate::output::{Outcome, Table, Usage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use farebox_core::crypto::keys::{Algorithm, PublicKey, SigningKey};
use farebox_core::crypto::sha256;
use farebox_core::host::Capabilities;
use farebox_core::http::Headers;
use farebox_core::policy::{
    Access, CanonicalRequest, DefaultAccess, Mistakes, Pass, PassLimits, Policy, Route, Routed,
};
use farebox_core::rail::{Offer, Settle, Terms};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether a policy loads, and if not, every mistake with the field and the remedy.
    ///
    /// A file may be a policy, or a proxy's configuration with policies in it.
    Check(Check),
    /// Say what becomes of a request: which route, which offers, what decision, and why.
    Explain(Explain),
}

/// Options of `policy check`.
#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    host: Host,
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Options of `policy explain`.
#[derive(Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    host: Host,
    /// The policy, or a proxy's configuration with one in it.
    policy: PathBuf,
    /// The request, like 'GET https://api.example.com/report?year=2026'.
    #[arg(required = true, num_args = 1..=2)]
    request: Vec<String>,
}

/// What a policy is loaded for.
#[derive(Args)]
struct Host {
    /// The proxy: what it can do decides what a policy may ask for.
    #[arg(long, value_enum, default_value_t = Proxy::Envoy)]
    host: Proxy,
    /// An environment variable that the policy names and that is not set here is a mistake, as it is in the proxy.
    #[arg(long)]
    strict_env: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Proxy {
    Envoy,
    Nginx,
}

pub(crate) fn run(command: Command) -> Result<Outcome, Usage> {
    match command {
        Command::Check(options) => check(&options),
        Command::Explain(options) => explain(&options),
    }
}

fn check(options: &Check) -> Result<Outcome, Usage> {
    let mut table = Table::default();
    let mut all = Vec::new();
    let mut good = true;
    for file in &options.files {
        for (at, policy) in policies(file)? {
            let name = format!("{}{at}", file.display());
            match options.host.load(&policy) {
                Ok(loaded) => {
                    table.line(format_args!("{name}: good, {}", extent(&loaded.policy)));
                    loaded
                        .policy
                        .warnings()
                        .iter()
                        .for_each(|warning| table.line(format_args!("  warning: {warning}")));
                    loaded.unset_note().into_iter().for_each(|note| table.line(format_args!("  note: {note}")));
                    all.push(json!({
                        "policy": name, "ok": true, "warnings": loaded.policy.warnings(), "not_set": loaded.unset,
                    }));
                }
                Err(mistakes) => {
                    good = false;
                    table.line(format_args!("{name}: NOT good"));
                    mistakes.0.iter().for_each(|mistake| table.line(format_args!("  {mistake}")));
                    all.push(json!({ "policy": name, "ok": false, "mistakes": mistakes_json(&mistakes) }));
                }
            }
        }
    }
    Ok(Outcome::new(good, table.end(), json!({ "policies": all })))
}

fn extent(policy: &Policy) -> String {
    let routes = policy.routes();
    let priced: Vec<usize> = routes
        .iter()
        .filter_map(|route| match &route.access {
            Access::Priced(offers) => Some(offers.len()),
            _ => None,
        })
        .collect();
    let offers: usize = priced.iter().sum();
    let s = |count: usize| if count == 1 { "" } else { "s" };
    format!("{} route{}, {} priced, {offers} offer{}", routes.len(), s(routes.len()), priced.len(), s(offers))
}

fn mistakes_json(mistakes: &Mistakes) -> Vec<Value> {
    let one = |mistake: &farebox_core::policy::Mistake| json!({ "path": mistake.path, "found": mistake.found, "hint": mistake.hint });
    mistakes.0.iter().map(one).collect()
}

/// The policies in a file, each with where it stands there (nothing for the file as a whole).
fn policies(file: &Path) -> Result<Vec<(String, Value)>, Usage> {
    let mut found = Vec::new();
    let documents = input::documents(file)?;
    for (number, document) in documents.iter().enumerate() {
        let at = if documents.len() > 1 { format!("#{}", number + 1) } else { String::new() };
        let before = found.len();
        if document.get("origins").is_none() {
            inside(document, &at, &mut found);
        }
        if found.len() == before && (documents.len() == 1 || document.get("origins").is_some()) {
            found.push((at, document.clone()));
        }
    }
    if found.is_empty() {
        Err(Usage::new(format_args!("{}: there is no policy in it", file.display())))
    } else {
        Ok(found)
    }
}

/// What looks like a policy in a larger configuration.
fn inside(value: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) if members.contains_key("origins") && members.contains_key("default") => {
            found.push((at.to_owned(), value.clone()));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| inside(member, &format!("{at}:{name}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| inside(item, &format!("{at}[{index}]"), found));
        }
        _ => {}
    }
}

/// A policy, and the variables that had to be made up to load it.
struct Loaded {
    policy: Policy,
    unset: Vec<String>,
}

impl Loaded {
    fn unset_note(&self) -> Option<String> {
        let unset = self.unset.join(", ");
        (!unset.is_empty()).then(|| format!("not set here, so not looked at: {unset}"))
    }
}

/// How many kinds of secrets a policy may name; which kind a variable is, loading tells.
const KINDS: usize = 3;

/// A value for a variable that is not set here: a key that belongs to nothing else.
fn made_up(kind: usize, name: &str) -> Option<String> {
    let seed = sha256(&[b"made up for a policy check\0", name.as_bytes()]);
    let key = SigningKey::from_secret(Algorithm::EdDsa, &seed)?;
    Some(match (kind, key.public()) {
        // An API key of Coinbase's, and a bearer token as good as any.
        (0, PublicKey::Ed25519(point)) => STANDARD.encode([seed, point].concat()),
        (1, _) => key.to_jwk().to_string(),
        (_, public) => public.to_jwk().to_string(),
    })
}

impl Host {
    fn load(&self, policy: &Value) -> Result<Loaded, Mistakes> {
        let can = match self.host {
            Proxy::Envoy => Capabilities { hold_response: true, read_body: true },
            Proxy::Nginx => Capabilities { hold_response: false, read_body: true },
        };
        let json = policy.to_string();
        // Of which kind each unset variable is taken to be.
        let unset: RefCell<BTreeMap<String, usize>> = RefCell::default();
        let env = |name: &str| {
            let set = std::env::var(name).ok().filter(|value| !value.is_empty());
            set.or_else(|| {
                if self.strict_env {
                    return None;
                }
                made_up(*unset.borrow_mut().entry(name.to_owned()).or_default(), name)
            })
        };
        loop {
            let outcome = Policy::load(json.as_bytes(), &env, can);
            let Err(mistakes) = outcome else {
                return outcome.map(|policy| Loaded { policy, unset: unset.into_inner().into_keys().collect() });
            };
            // A mistake about a variable's value: it is of another kind.
            let mut tried = false;
            for (name, nth) in unset.borrow_mut().iter_mut() {
                let named = format!("{name:?}");
                if *nth + 1 < KINDS && mistakes.0.iter().any(|mistake| mistake.found.contains(&named)) {
                    *nth += 1;
                    tried = true;
                }
            }
            if !tried {
                return Err(mistakes);
            }
        }
    }
}

fn explain(options: &Explain) -> Result<Outcome, Usage> {
    let (method, url) = request(&options.request)?;
    let mut found = policies(&options.policy)?;
    let (_, policy) = match (found.pop(), found.is_empty()) {
        (Some(one), true) => one,
        _ => return Err(Usage::new(format_args!("{}: there are several policies in it", options.policy.display()))),
    };
    let loaded = match options.host.load(&policy) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            let text = format!("{}: NOT good\n{mistakes}", options.policy.display());
            return Ok(Outcome::new(false, text, json!({ "mistakes": mistakes_json(&mistakes) })));
        }
    };
    let (authority, target) = url;
    let headers: Headers =
        [(":method", method.as_str()), (":authority", &authority), (":path", &target)].into_iter().collect();
    let request = match loaded.policy.canonical(&headers) {
        Ok(request) => request,
        Err(bad) => {
            let mut table = Table::default();
            table.row("decision", format_args!("{} {}", bad.status, bad.code));
            table.row("why", &bad.detail);
            return Ok(Outcome::new(
                true,
                table.end(),
                json!({ "status": bad.status, "decision": bad.code, "why": bad.detail }),
            ));
        }
    };
    let verdict = verdict(&loaded.policy, &request, &policy);
    let mut table = Table::default();
    let read_as = format!("{} {}", request.method(), request.url());
    table.row("request", &read_as);
    table.maybe("route", verdict.route.as_ref());
    table.row("decision", &verdict.decision);
    table.row("why", &verdict.why);
    let mut offers = Vec::new();
    for (number, offer) in verdict.offers.iter().enumerate() {
        table.row(if number == 0 { "offers" } else { "" }, about_offer(&loaded.policy, offer));
        offers.push(offer_json(&loaded.policy, offer));
    }
    let others = others(options, &policy, &headers);
    for (number, other) in others.iter().enumerate() {
        table.row(if number == 0 { "else" } else { "" }, other);
    }
    table.maybe("note", loaded.unset_note());
    let json = json!({
        "request": read_as,
        "route": verdict.name,
        "status": verdict.status,
        "decision": verdict.code,
        "why": verdict.why,
        "offers": offers,
        "else": others,
    });
    Ok(Outcome::new(true, table.end(), json))
}

/// Method, and authority and target of the URL.
fn request(words: &[String]) -> Result<(String, (String, String)), Usage> {
    let text = words.join(" ");
    let (method, url) = text.trim().split_once(' ').unwrap_or(("GET", text.trim()));
    let hint = "write the request like 'GET https://api.example.com/report'";
    let (_, rest) = url.split_once("://").ok_or_else(|| Usage::new(hint))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() {
        return Err(Usage::new(hint));
    }
    // What a client leaves out of a request.
    let target = target.split('#').next().unwrap_or_default();
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok((method.to_owned(), (authority.to_owned(), target)))
}

/// What becomes of a request.
struct Verdict<'a> {
    /// The route's name.
    name: Option<&'a str>,
    /// The route, for people.
    route: Option<String>,
    /// Status of the gate's own answer; none if the request is forwarded.
    status: Option<u16>,
    code: &'static str,
    decision: String,
    why: String,
    offers: &'a [Offer],
}

/// What the gate answers itself where a policy has `tokens`, before it looks at routes.
fn own(policy: &Policy, request: &CanonicalRequest) -> Option<&'static str> {
    let tokens = policy.tokens()?;
    let admin = tokens.admin.as_ref();
    if admin.is_some_and(|admin| admin.path == request.path() && admin.origin == request.origin()) {
        return Some("the administrator's route: `farebox token revoke` speaks to it");
    }
    match request.path() {
        "/.well-known/jwks.json" => Some("the keys that tokens and receipts verify under"),
        "/.well-known/did.json" => Some("the same keys, for x402's receipts"),
        "/.well-known/oauth-protected-resource" => Some("what kind of tokens are taken here"),
        "/.well-known/farebox/token" => Some("where holders ask what is left on their token"),
        _ => None,
    }
}

fn verdict<'a>(policy: &'a Policy, request: &CanonicalRequest, written: &Value) -> Verdict<'a> {
    let forwarded = "forwarded without payment".to_owned();
    if let Some(what) = own(policy, request) {
        let (code, decision) = ("own", "answered by the gate itself".to_owned());
        return Verdict { name: None, route: None, status: None, code, decision, why: what.to_owned(), offers: &[] };
    }
    match policy.route(request) {
        Routed::Route(route) => {
            let (status, code, decision, why, offers): (_, _, _, _, &[Offer]) = match &route.access {
                Access::Free => (None, "free", forwarded, "the route says `access: free`".to_owned(), &[]),
                Access::Denied => (
                    Some(403),
                    "route_denied",
                    refusal(403, "route_denied"),
                    "the route says `access: denied`".to_owned(),
                    &[],
                ),
                Access::Priced(offers) => {
                    let why = match policy.tokens() {
                        None => "the route has offers, and this request shows no payment",
                        Some(_) => "the route has offers, and this request shows neither a payment nor a token",
                    }
                    .to_owned();
                    (Some(402), "payment_required", refusal(402, "payment_required"), why, offers)
                }
            };
            let route_line = about_route(policy, route, written);
            Verdict { name: Some(&route.name), route: Some(route_line), status, code, decision, why, offers }
        }
        Routed::Unmatched(DefaultAccess::Free) => {
            let why = "no route matches, and the policy says `default: free`".to_owned();
            Verdict { name: None, route: None, status: None, code: "free", decision: forwarded, why, offers: &[] }
        }
        Routed::Unmatched(DefaultAccess::Denied) => {
            let why = "no route matches, and the policy says `default: denied`".to_owned();
            let decision = refusal(404, "no_route");
            Verdict { name: None, route: None, status: Some(404), code: "no_route", decision, why, offers: &[] }
        }
        Routed::MethodNotAllowed { allow } => {
            let why = format!("a route matches the path with other methods: {allow}");
            let (status, code) = (Some(405), "method_not_allowed");
            Verdict { name: None, route: None, status, code, decision: refusal(405, code), why, offers: &[] }
        }
    }
}

fn refusal(status: u16, code: &str) -> String {
    format!("refused: {status} {code}")
}

fn index(policy: &Policy, route: &Route) -> Option<usize> {
    policy.routes().iter().position(|other| std::ptr::eq(other, route))
}

/// `reports-id: routes[0], path "/reports/{id}", methods GET`.
fn about_route(policy: &Policy, route: &Route, written: &Value) -> String {
    let Some(index) = index(policy, route) else { return route.name.clone() };
    let mut text = format!("{}: routes[{index}]", route.name);
    let Some(written) = written.pointer(&format!("/routes/{index}")) else { return text };
    if let Some(path) = written.get("path") {
        text.push_str(&format!(", path {path}"));
    }
    for member in ["hosts", "methods"] {
        let listed: Vec<&str> =
            written.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if !listed.is_empty() {
            text.push_str(&format!(", {member} {}", listed.join(" ")));
        }
    }
    text
}

/// The routes that match too, the next best first: each is what is found once those before it are taken away.
fn others(options: &Explain, policy: &Value, headers: &Headers) -> Vec<String> {
    let mut policy = policy.clone();
    let mut others = Vec::new();
    // Indices in the policy as it was written.
    let count = policy.get("routes").and_then(Value::as_array).map_or(0, Vec::len);
    let mut left: Vec<usize> = (0..count).collect();
    for round in 0..6 {
        let Ok(loaded) = options.host.load(&policy) else { break };
        let Ok(request) = loaded.policy.canonical(headers) else { break };
        let Routed::Route(route) = loaded.policy.route(&request) else { break };
        let Some(index) = index(&loaded.policy, route).filter(|index| *index < left.len()) else { break };
        let original = left.remove(index);
        let Some(routes) = policy.get_mut("routes").and_then(Value::as_array_mut) else { break };
        let taken = routes.remove(index);
        if round > 0 {
            let path = taken.get("path").map(Value::to_string).unwrap_or_default();
            others.push(format!("routes[{original}], path {path}, matches too, less specifically"));
        }
    }
    others
}

fn about_offer(policy: &Policy, offer: &Offer) -> String {
    let Terms::X402(terms) = &offer.terms;
    let ceiling = if terms.scheme == "upto" { "at most " } else { "" };
    format!(
        "{} on {}: {ceiling}{} of {} to {}, settled {}, by {}",
        terms.scheme,
        terms.network,
        offer.amount(),
        terms.asset,
        terms.pay_to,
        when(offer),
        facilitators(policy, offer).join(", "),
    ) + &offer.pass.as_ref().map(about_pass).unwrap_or_default()
}

/// What an offer buys that buys more than one call.
fn about_pass(pass: &Pass) -> String {
    let limits = |limits: &PassLimits| {
        let mut text: Vec<String> = Vec::new();
        text.extend(limits.calls.map(|calls| format!("{calls} calls")));
        text.extend(limits.budget.map(|budget| format!("{budget} to spend")));
        text.extend(limits.bytes.map(|bytes| format!("{bytes} bytes")));
        text.extend(limits.rate.map(|(calls, seconds)| format!("{calls} in {seconds} s")));
        text.push(format!("for {} s", limits.seconds));
        text.join(", ")
    };
    let mut text = format!("; buys a pass: {}, on {}", limits(&pass.limits), pass.routes.join(" "));
    match &pass.bearer {
        None => text.push_str(", for buyers that introduce a key"),
        Some(bearer) if *bearer == pass.limits => {}
        Some(bearer) => text.push_str(&format!("; without a key {}", limits(bearer))),
    }
    text
}

fn when(offer: &Offer) -> &'static str {
    match offer.settle {
        Settle::After => "after the service answered",
        Settle::Before => "before the request is forwarded",
    }
}

fn facilitators<'a>(policy: &'a Policy, offer: &Offer) -> Vec<&'a str> {
    let named =
        |index: &u16| policy.facilitators().get(usize::from(*index)).map(|facilitator| facilitator.name.as_str());
    offer.facilitators.iter().filter_map(named).collect()
}

fn offer_json(policy: &Policy, offer: &Offer) -> Value {
    let Terms::X402(terms) = &offer.terms;
    json!({
        "settle": match offer.settle { Settle::After => "after", Settle::Before => "before" },
        "facilitators": facilitators(policy, offer),
        "pass": offer.pass.as_ref().map(Pass::described),
        "terms": serde_json::from_str::<Value>(&terms.json).unwrap_or_default(),
    })
}
