//! What holders and administrators may ask: what is left on a token, and that tokens be revoked.

use super::super::admit::Case;
use super::super::refusal::Refusal;
use super::documents::json_reply;
use super::drawn::remaining;
use super::present::SKEW;
use crate::crypto::jws::Jws;
use crate::crypto::sha256;
use crate::host::{Event, Host, Level};
use crate::http::{Headers, Reply};
use crate::ledger::{CounterId, FamilyId, Left, Revocation, Store};
use crate::policy::{Admin, Tokens};
use crate::problem::{Code, Problem};
use crate::proof::{Fields, Presented, Shown};
use crate::receipt::{Entry, Kind};
use crate::token::Per;
use serde_json::{Map, Value, json};

/// The path where a holder asks what is left on its token.
pub(in crate::gate) const OWN: &str = "/.well-known/farebox/token";
/// `typ` of an administrator's request.
const ADMIN_TYP: &str = "admin+jwt";
/// Seconds that an administrator's request may be good for.
const ADMIN_LIFE: u64 = 60;
/// Seconds that a revocation holds if the request does not say how long: a year, the longest life of a token.
const REVOKED_FOR: u64 = 31_536_000;
/// Bytes an administrator's request may have.
const MAX_ADMIN: usize = 4096;

impl<H: Host> Case<'_, H> {
    /// What is left on the token that the request shows.
    pub(in crate::gate) async fn own_token(&self, tokens: &Tokens, headers: &Headers) -> Result<Reply, Refusal> {
        let method = self.visit.request.method();
        if !matches!(method, "GET" | "HEAD") {
            return Err(Refusal::method_not_allowed("GET, HEAD"));
        }
        if !self.gate.counters.challenge(self.source.get(), self.host) {
            return Err(Problem::new(Code::TooManyRequests, "too many questions from this address").into());
        }
        let shown = Shown::find(headers, Fields::Both).map_err(|error| self.refuse_proof(&error))?;
        let Some(shown) = shown else {
            return Err(self.unauthorized(Problem::new(Code::TokenInvalid, "show the token that you ask about")));
        };
        let chain = self.chain(tokens, &shown).await?;
        let _ = self.prove(tokens, &shown, &chain, headers).await?;
        chain.check_audience(self.visit.request.origin()).map_err(|error| self.refuse_token(&error))?;
        let limits = || chain.links().flat_map(|link| &link.token.grants).flat_map(|grant| &grant.limits);
        if self.has_lost(tokens, &chain, limits().any(|limit| limit.per == Per::Token)).await? {
            let detail = "what this token was used for is not known any more";
            return Err(self.unauthorized(Problem::new(Code::TokenInvalid, detail)));
        }
        let family = FamilyId::of(&chain.root().token.jti);
        let left = self.ledger(self.host.store().left(&family, self.host.now_millis()).await)?;
        let left = left.unwrap_or_default();
        let leaf = chain.leaf();
        let told = remaining(&chain, |unit| chain.left(&left, unit));
        let body = json!({ "token": leaf.name, "expires": chain.expires(), "remaining": told });
        Ok(json_reply(&body, "no-store"))
    }

    /// Does what an administrator asks.
    pub(in crate::gate) async fn administer(&self, admin: &Admin, headers: &Headers) -> Result<Reply, Refusal> {
        if self.visit.request.method() != "POST" {
            return Err(Refusal::method_not_allowed("POST"));
        }
        if !self.gate.counters.may_pay(self.source.get(), self.host) {
            return Err(Problem::new(Code::TooManyRequests, "too many refused requests from this address").into());
        }
        let asked = match self.asked(admin, headers) {
            Ok(asked) => asked,
            Err(why) => {
                self.gate.counters.payment_failed(self.source.get(), self.host);
                return Err(not_admin(why));
            }
        };
        let now = self.host.now();
        let identity = sha256(&[b"admin\0", asked.jti.as_bytes()]);
        if !self.ledger(self.host.store().once(&identity, asked.until, now).await)? {
            return Err(not_admin("this request was made before"));
        }
        match asked.what {
            Asked::Revoke { revocation, until } => {
                self.ledger(self.host.store().revoke(&revocation, until, now).await)?;
                let text = format!("tokens were revoked by an administrator: {}", asked.words);
                self.host.event(&Event::Log { level: Level::Warn, text: &text });
                self.gate.record(self.host, &Entry { what: Some(&asked.words), ..Entry::new(Kind::Revoke, "") });
                Ok(json_reply(&json!({ "revoked": asked.words, "until": until }), "no-store"))
            }
            Asked::Left { token } => {
                let family = FamilyId::of(&token);
                let left = self.ledger(self.host.store().left(&family, self.host.now_millis()).await)?;
                let counters = left.map(|left| self.counters(&left));
                Ok(json_reply(&json!({ "token": token, "counters": counters }), "no-store"))
            }
        }
    }

    /// The counters of a family in words: units by their names where the policy knows them.
    fn counters(&self, left: &Left) -> Vec<Value> {
        let assets =
            self.gate.policy.routes().iter().flat_map(|route| &route.call_prices).map(|(asset, _)| asset.wire());
        let units: Vec<&str> = ["call", "byte"].into_iter().chain(assets).collect();
        let unit = |counter: &CounterId| units.iter().find(|unit| counter.is_of(unit)).copied();
        left.0
            .iter()
            .map(|of| {
                json!({
                    "delegated": of.link.is_some(),
                    "unit": unit(&of.counter),
                    "per": of.period.map_or_else(|| json!("token"), |seconds| json!(seconds)),
                    "max": of.max.to_string(),
                    "left": of.left.to_string(),
                })
            })
            .collect()
    }

    fn asked(&self, admin: &Admin, headers: &Headers) -> Result<Request, &'static str> {
        let shown =
            Shown::find(headers, Fields::Both).ok().flatten().filter(|shown| shown.presented == Presented::Bearer);
        let shown = shown.ok_or("send one signed request in `Authorization: Bearer`")?;
        let signed = Jws::parse(shown.credential, MAX_ADMIN).map_err(|_| "the signed request cannot be read")?;
        signed.verify(&admin.key, ADMIN_TYP).map_err(|_| "it is not signed by the administrator's key")?;
        Request::read(&signed.payload, &admin.origin, self.host.now())
    }
}

/// A refusal that says how an administrator's request is signed (RFC 9110 §11.6.1).
fn not_admin(why: &str) -> Refusal {
    let mut refusal = Refusal::from(Problem::new(Code::AdminRefused, why));
    refusal.headers.push(("www-authenticate".to_owned(), "Bearer error=\"invalid_token\"".to_owned()));
    refusal
}

/// An administrator's request.
struct Request {
    jti: String,
    /// Unix seconds until which it must be remembered.
    until: u64,
    /// What it names, for the log.
    words: String,
    what: Asked,
}

enum Asked {
    Revoke { revocation: Revocation, until: u64 },
    Left { token: String },
}

impl Request {
    /// The format is ours, and closed.
    fn read(payload: &Map<String, Value>, origin: &str, now: u64) -> Result<Self, &'static str> {
        let number = |name: &str| payload.get(name).and_then(Value::as_u64);
        let text = |name: &str| payload.get(name).and_then(Value::as_str);
        if text("aud") != Some(origin) {
            return Err("`aud` is not the origin on which administrators are answered");
        }
        let (Some(iat), Some(exp)) = (number("iat"), number("exp")) else { return Err("`iat` or `exp` is missing") };
        if exp < iat || exp - iat > ADMIN_LIFE || iat > now.saturating_add(SKEW) || exp.saturating_add(SKEW) < now {
            return Err("it must be made within the last minute, for a minute at most");
        }
        let jti =
            text("jti").filter(|jti| (8..=128).contains(&jti.len())).ok_or("`jti` must have 8 to 128 characters")?;
        let (what, words, known) = match text("op") {
            Some("revoke") => {
                let named = payload.get("what").and_then(Value::as_object).filter(|what| what.len() == 1);
                let named = named.and_then(|what| what.iter().next()).ok_or("`what` must name one thing")?;
                let until = match payload.get("until") {
                    None => now.saturating_add(REVOKED_FOR),
                    Some(until) => until.as_u64().ok_or("`until` must be Unix seconds")?,
                };
                let revocation = match (named.0.as_str(), named.1) {
                    ("issued_before", at) => {
                        let at = at.as_u64().ok_or("`issued_before` must be Unix seconds")?;
                        Revocation::IssuedBefore { of: None, at }
                    }
                    (kind, Value::String(name)) => Revocation::read(kind, name)?,
                    _ => return Err("`what` must be `token`, `holder`, `payer` or `issued_before`"),
                };
                (
                    Asked::Revoke { revocation, until },
                    format!("{} {}", named.0, named.1.as_str().map_or_else(|| named.1.to_string(), str::to_owned)),
                    &["what", "until"][..],
                )
            }
            Some("left") => {
                let token = text("token").ok_or("`token` must be a token's id")?.to_owned();
                (Asked::Left { token: token.clone() }, token, &["token"][..])
            }
            _ => return Err("`op` must be `revoke` or `left`"),
        };
        let common = ["iss", "aud", "iat", "exp", "jti", "op"];
        if payload.keys().any(|name| !common.contains(&name.as_str()) && !known.contains(&name.as_str())) {
            return Err("it has a member that is not known");
        }
        Ok(Self { jti: jti.to_owned(), until: exp.saturating_add(SKEW).saturating_add(1), words, what })
    }
}
