//! Capability tokens: the gate's keys, and what is good no more.

use super::authority::{Authorities, Origin};
use super::config::{self, LedgerLost};
use super::facilitator::from_env;
use super::mistake::{Mistakes, quoted};
use super::path;
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::crypto::mac::Mac;
use crate::crypto::{base64url, jws};
use crate::host::Capabilities;
use crate::ledger::Revocation;
use crate::token::{self, KeySet};
use serde_json::Value;
use std::borrow::Cow;
use std::rc::Rc;

/// How tokens are made and checked.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `iss` and `aud` of tokens, `iss` of receipts: one of the policy's origins.
    pub issuer: String,
    /// The key that signs; `None` if all keys of the policy only verify.
    pub signer: Option<Signer>,
    /// Every key whose tokens are accepted, the signing one first.
    pub keys: KeySet,
    /// The most seconds that a token without a holder key may be good for.
    pub bearer_max_seconds: u64,
    /// How far the clocks of holders may be off, in seconds.
    pub proof_window_seconds: u64,
    /// Bytes of verified tokens that each worker remembers.
    pub cache_bytes: usize,
    /// Bytes up to which a body is read to be compared with the digest that a proof covers; `None`: it is not.
    pub max_body_bytes: Option<usize>,
    /// Whether a token whose counters were lost starts with its whole budget again.
    pub honours_lost: bool,
    /// Tokens that are good no more, whatever happens to the ledger.
    pub revoked: Vec<Revocation>,
    /// Where an operator revokes tokens.
    pub admin: Option<Admin>,
    /// How offers are signed; `None`: they are not.
    pub signed_offers: Option<SignedOffers>,
    /// Makes the upstream's names of payers; `None`: it is told their accounts.
    pseudonyms: Option<Mac>,
    /// What tokens of each key begin with.
    beginnings: Vec<String>,
}

impl Tokens {
    /// Whether a token that one of our keys signed stands in `value`, whatever the scheme before it.
    pub(crate) fn are_in(&self, value: &[u8]) -> bool {
        value.split(|c| matches!(c, b' ' | b'\t' | b',')).any(|token| {
            self.beginnings.iter().any(|start| token.starts_with(start.as_bytes())) || self.is_named_in(token)
        })
    }

    /// What the upstream that answers for `origin` is told of the payer: the account, or this origin's pseudonym of it.
    /// Another spelling of an EVM address is the same payer.
    pub(crate) fn told_payer<'a>(&self, origin: &str, account: &'a str) -> Cow<'a, str> {
        let Some(mac) = &self.pseudonyms else { return Cow::Borrowed(account) };
        let account = if account.starts_with("eip155:") {
            Cow::Owned(account.to_ascii_lowercase())
        } else {
            Cow::Borrowed(account)
        };
        // An origin has no NUL.
        let code = mac.of(&[origin.as_bytes(), b"\0", account.as_bytes()]);
        let name = code.first_chunk::<16>().map(|name| base64url::encode(name)).unwrap_or_default();
        Cow::Owned(format!("urn:farebox:payer:{name}"))
    }

    /// Whether a token's header names one of our keys: those that others signed with it are written as they like.
    fn is_named_in(&self, token: &[u8]) -> bool {
        let header = token.iter().position(|c| *c == b'.').and_then(|end| token.get(..end));
        let header = header.and_then(|header| base64url::decode(std::str::from_utf8(header).ok()?));
        let header = header.and_then(|header| crate::json::parse(&header, header.len(), jws::MAX_DEPTH).ok());
        header.is_some_and(|header| {
            header.get("kid").and_then(Value::as_str).is_some_and(|kid| self.keys.get(kid).is_some())
        })
    }
}

/// The key that signs tokens and receipts. It prints as its thumbprint.
#[derive(Clone)]
pub struct Signer {
    /// The key.
    pub key: Rc<SigningKey>,
    /// Its RFC 7638 thumbprint: the `kid` of what it signs.
    pub kid: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.kid)
    }
}

/// How offers are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedOffers {
    /// Seconds that a signed offer holds; `None`: as long as its payment may be valid for.
    pub valid_seconds: Option<u64>,
    /// The most signatures that each worker makes in a second.
    pub per_second: u64,
}

/// Where an operator revokes tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The origin on which it is answered.
    pub origin: String,
    /// The canonical path on which it is answered.
    pub path: String,
    /// The key that signs requests.
    pub key: PublicKey,
}

/// Compiles what the policy says of tokens; `None` if it says nothing.
pub(super) fn compile(
    config: &config::Config,
    authorities: &Authorities,
    env: &dyn Fn(&str) -> Option<String>,
    can: Capabilities,
    mistakes: &mut Mistakes,
) -> Option<Tokens> {
    let written = config.tokens.as_ref()?;
    let issuer = issuer(config, written, authorities, mistakes);
    if written.keys.is_empty() || written.keys.len() > 8 {
        let hint = "write 1 to 8 keys, like [{env: \"FAREBOX_TOKEN_KEY\"}]; `farebox keygen` makes one";
        mistakes.add("tokens.keys", format!("found {}", written.keys.len()), hint);
    }
    let mut signer = None;
    let mut keys: Vec<PublicKey> = Vec::new();
    for (index, key) in written.keys.iter().enumerate() {
        let at = format!("tokens.keys[{index}]");
        let Some((public, private)) = one_key(key, &at, env, mistakes) else { continue };
        if keys.contains(&public) {
            mistakes.add(at, "the same key again", "write each key once");
            continue;
        }
        if let (0, Some(key)) = (index, private) {
            signer = Some(Signer { kid: public.thumbprint(), key: Rc::new(key) });
        }
        keys.push(public);
    }
    let mut range = |field: &str, value: u64, least: u64, most: u64| {
        if !(least..=most).contains(&value) {
            mistakes.add(format!("tokens.{field}"), format!("found {value}"), format!("write {least} to {most}"));
        }
    };
    range("bearer_max_seconds", written.bearer_max_seconds, 1, LONGEST);
    range("proof_window_seconds", written.proof_window_seconds, 1, 300);
    range("cache_bytes", written.cache_bytes, 65_536, 1 << 30);
    if let Some(offers) = &written.signed_offers {
        range("signed_offers.per_second", offers.per_second, 1, 10_000);
        range("signed_offers.valid_seconds", offers.valid_seconds.unwrap_or(10), 10, 86_400);
    }
    if let Some(bytes) = written.max_body_bytes {
        range("max_body_bytes", bytes, 1, 16 * 1024 * 1024);
        if !can.read_body {
            let hint = "leave it out: this proxy cannot hold a request for its body";
            mistakes.add("tokens.max_body_bytes", format!("found {bytes}"), hint);
        }
    }
    let signed_offers = written.signed_offers.as_ref().map(|offers| {
        let config::SignedOffers { valid_seconds, per_second } = *offers;
        SignedOffers { valid_seconds, per_second }
    });
    if signed_offers.is_some() && signer.is_none() {
        let hint = "make the first of `tokens.keys` one that signs, or leave it out";
        mistakes.add("tokens.signed_offers", "found without a signing key", hint);
    }
    let pseudonyms = written.payer_pseudonyms.as_ref().and_then(|it| pseudonyms(&it.env, env, mistakes));
    let revoked = revoked(&written.revoked, mistakes);
    let beginnings = keys.iter().map(beginning).collect();
    let admin = written.admin.as_ref().and_then(|it| admin(it, authorities, &keys, mistakes));
    Some(Tokens {
        issuer,
        signer,
        keys: KeySet::new(keys),
        bearer_max_seconds: written.bearer_max_seconds,
        proof_window_seconds: written.proof_window_seconds,
        cache_bytes: usize::try_from(written.cache_bytes).unwrap_or(usize::MAX),
        max_body_bytes: written.max_body_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
        honours_lost: written.ledger_lost == LedgerLost::Honour,
        revoked,
        admin,
        signed_offers,
        pseudonyms,
        beginnings,
    })
}

/// Bytes that the secret of pseudonyms must have.
const PSEUDONYM_SECRET: usize = 32;

fn pseudonyms(variable: &str, env: &dyn Fn(&str) -> Option<String>, mistakes: &mut Mistakes) -> Option<Mac> {
    let at = "tokens.payer_pseudonyms.env";
    let secret = from_env(variable, at, env, mistakes)?;
    if secret.len() < PSEUDONYM_SECRET {
        let hint = "set it to a random secret of at least 32 bytes, like the output of `openssl rand -base64 32`";
        mistakes.add(at, format!("the value of {} has {} bytes", quoted(variable), secret.len()), hint);
        return None;
    }
    Some(Mac::derive(secret.as_bytes(), "farebox payer pseudonym"))
}

/// What a token signed by this key begins with: its header, which is always written the same.
fn beginning(key: &PublicKey) -> String {
    let header = serde_json::json!({ "alg": key.algorithm().wire(), "kid": key.thumbprint(), "typ": token::TYPE });
    base64url::encode(header.to_string().as_bytes()) + "."
}

/// The most seconds a token may be good for: a year.
pub(super) const LONGEST: u64 = 31_536_000;

fn issuer(
    config: &config::Config,
    written: &config::Tokens,
    authorities: &Authorities,
    mistakes: &mut Mistakes,
) -> String {
    match &written.issuer {
        Some(text) => own_origin(text, "tokens.issuer", authorities, mistakes).unwrap_or_default(),
        None => {
            let first = config.origins.iter().find(|origin| !origin.contains('*'));
            match first.and_then(|origin| Origin::parse(origin, false).ok()) {
                Some(origin) => origin.text(),
                None => {
                    let hint = "write the origin that tokens name as their issuer, like \"https://api.example.com\"";
                    mistakes.add("tokens.issuer", "missing, and every origin has a `*`", hint);
                    String::new()
                }
            }
        }
    }
}

/// An origin without a `*` that the policy answers for.
fn own_origin(text: &str, at: &str, authorities: &Authorities, mistakes: &mut Mistakes) -> Option<String> {
    let found = || format!("found {}", quoted(text));
    match Origin::parse(text, false) {
        Err(hint) => mistakes.add(at, found(), hint),
        Ok(origin) => match authorities.resolve(&origin.authority) {
            Some((scheme, _)) if scheme == origin.scheme => return Some(origin.text()),
            _ => mistakes.add(at, found(), "write one of the `origins`, or add it there"),
        },
    }
    None
}

fn one_key(
    key: &config::TokenKey,
    at: &str,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Mistakes,
) -> Option<(PublicKey, Option<SigningKey>)> {
    match (&key.env, &key.jwk) {
        (Some(variable), None) => {
            let at = format!("{at}.env");
            let text = from_env(variable, &at, env, mistakes)?;
            let jwk = crate::json::parse(text.as_bytes(), MAX_JWK, 2).ok();
            let Some(private) = jwk.as_ref().and_then(SigningKey::from_jwk) else {
                let hint = "set it to a private JWK, Ed25519 or secp256k1, as `farebox keygen` prints it";
                mistakes.add(at, format!("the value of {} is no key that signs", quoted(variable)), hint);
                return None;
            };
            Some((private.public(), Some(private)))
        }
        (None, Some(jwk)) => public(jwk, &format!("{at}.jwk"), mistakes).map(|public| (public, None)),
        (found, _) => {
            let found = if found.is_some() { "found two ways" } else { "found an empty object" };
            let hint = "write either `env`, the variable with a private key, or `jwk`, a public key";
            mistakes.add(at, found, hint);
            None
        }
    }
}

/// Bytes a key may have.
const MAX_JWK: usize = 1024;

fn public(jwk: &serde_json::Map<String, Value>, at: &str, mistakes: &mut Mistakes) -> Option<PublicKey> {
    if jwk.contains_key("d") {
        let hint = "take out `d` and make a new key: this one is written where policies are kept";
        mistakes.add(format!("{at}.d"), "found a private key", hint);
        return None;
    }
    let key = PublicKey::from_jwk(&Value::Object(jwk.clone()));
    if key.is_none() {
        let hint = "write a public JWK, like {kty: \"OKP\", crv: \"Ed25519\", x: \"…\"} or one with `crv: secp256k1`";
        mistakes.add(at, "not a key that we know", hint);
    }
    key
}

fn revoked(written: &[config::Revoked], mistakes: &mut Mistakes) -> Vec<Revocation> {
    if written.len() > 4096 {
        mistakes.add("tokens.revoked", format!("found {}", written.len()), "write at most 4096");
    }
    let mut all = Vec::with_capacity(written.len());
    for (index, entry) in written.iter().enumerate() {
        let at = format!("tokens.revoked[{index}]");
        let (kind, name) = match (&entry.token, &entry.holder, &entry.payer, entry.issued_before) {
            (Some(token), None, None, None) => ("token", token),
            (None, Some(holder), None, None) => ("holder", holder),
            (None, None, Some(payer), None) => ("payer", payer),
            (None, None, None, Some(at)) => {
                all.push(Revocation::IssuedBefore { of: None, at });
                continue;
            }
            _ => {
                let hint = "write one of `token`, `holder`, `payer`, `issued_before`";
                mistakes.add(at, "found none or several", hint);
                continue;
            }
        };
        match Revocation::read(kind, name) {
            Ok(revocation) => all.push(revocation),
            Err(hint) => mistakes.add(format!("{at}.{kind}"), format!("found {}", quoted(name)), hint),
        }
    }
    all
}

fn admin(
    written: &config::Admin,
    authorities: &Authorities,
    keys: &[PublicKey],
    mistakes: &mut Mistakes,
) -> Option<Admin> {
    let origin = own_origin(&written.origin, "tokens.admin.origin", authorities, mistakes);
    let key = public(&written.jwk, "tokens.admin.jwk", mistakes);
    if key.as_ref().is_some_and(|key| keys.contains(key)) {
        mistakes.add("tokens.admin.jwk", "found a key of the gate", "make a key for administrators alone");
        return None;
    }
    let canonical = path::canonical(written.path.as_bytes());
    if canonical.as_deref() != Ok(written.path.as_str()) || written.path == "/" {
        let hint = "write a plain path, like \"/.well-known/farebox/admin\"";
        mistakes.add("tokens.admin.path", format!("found {}", quoted(&written.path)), hint);
        return None;
    }
    Some(Admin { origin: origin?, path: written.path.clone(), key: key? })
}
