//! Making tokens: `issue` and `delegate`.

use super::{credential, random_id};
use crate::output::{Outcome, Usage};
use crate::{input, time};
use clap::Args;
use farebox_core::token::{Chain, Grant, Holder, Narrower, Token, TokenError, delegate as delegated, issue as issued};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Options of `token issue`.
#[derive(Args)]
pub(crate) struct Issue {
    /// The gate's private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The key of whoever is to use the token; without it, the token is for any bearer.
    #[arg(long, value_name = "FILE")]
    holder: Option<PathBuf>,
    /// How long it is good for, from now on: seconds, or like 15m, 24h, 30d.
    #[arg(long, value_name = "SPAN", value_parser = time::seconds)]
    expires_in: Option<u64>,
    /// The token's claims. What is left out is filled in: `iat` and `nbf` are now, `exp` in an hour, `jti` random,
    /// `aud` all locations, `iss` the first of them, `client_id` the holder, `type` http_call.
    spec: PathBuf,
}

/// Options of `token delegate`.
#[derive(Args)]
pub(crate) struct Delegate {
    /// The private key of the token's holder.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The public key of whoever is to use the new token.
    #[arg(long, value_name = "FILE")]
    holder: PathBuf,
    /// How long it is good for, from now on: seconds, or like 15m, 24h, 30d. As long as the token, if left out.
    #[arg(long, value_name = "SPAN", value_parser = time::seconds)]
    expires_in: Option<u64>,
    /// What is to be narrower: `authorization_details`, `aud`, `exp`, `nbf`, `jti`, `del_max_depth`. What an entry
    /// leaves out is as in the token; without a file, everything is.
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// The token, or a file with it.
    token: String,
}

pub(crate) fn issue(options: &Issue) -> Result<Outcome, Usage> {
    let key = input::signing_key(&options.key)?;
    let mut spec = members(input::document(&options.spec)?, &options.spec)?;
    let wrong = |what: &str| Usage::new(format_args!("{}: {what}", options.spec.display()));
    let holder = match &options.holder {
        Some(path) => Some(Holder::of(one_key(path)?)),
        None => None,
    };
    if let Some(holder) = &holder {
        if spec.contains_key("cnf") {
            return Err(wrong("it has `cnf`, and there is --holder too"));
        }
        let key = holder.key.map(|key| key.to_jwk());
        spec.insert("cnf".to_owned(), json!({ "jwk": key }));
    }
    let now = time::now();
    let locations = grants(&mut spec).map_err(wrong)?;
    let default = |spec: &mut Map<String, Value>, name: &str, value: Value| {
        if !value.is_null() {
            spec.entry(name).or_insert(value);
        }
    };
    default(&mut spec, "iss", locations.first().cloned().into());
    default(&mut spec, "aud", locations.into());
    let iat = spec.entry("iat").or_insert(now.into()).as_u64().unwrap_or(now);
    default(&mut spec, "nbf", iat.into());
    if let Some(span) = options.expires_in {
        spec.insert("exp".to_owned(), iat.saturating_add(span).into());
    }
    default(&mut spec, "exp", iat.saturating_add(3600).into());
    default(&mut spec, "jti", random_id()?.into());
    let client = holder.as_ref().and_then(|holder| holder.key).map(|key| key.thumbprint_urn());
    let payer = spec.get("sub").cloned().unwrap_or_default();
    default(&mut spec, "client_id", client.map_or(payer, Value::from));
    let made = Token::parse(&spec).and_then(|token| issued(&key, &token).map(|text| (text, token)));
    match made {
        Ok((text, token)) => Ok(made_token(text, &token)),
        Err(error) => Ok(refused(error)),
    }
}

pub(crate) fn delegate(options: &Delegate) -> Result<Outcome, Usage> {
    let key = input::signing_key(&options.key)?;
    let holder = one_key(&options.holder)?;
    let credential = credential(&options.token)?;
    let chain = match Chain::inspect(&credential) {
        Ok(chain) => chain,
        Err(error) => return Ok(refused(error)),
    };
    let parent = &chain.leaf().token;
    let mut spec = match &options.spec {
        Some(path) => members(input::document(path)?, path)?,
        None => Map::new(),
    };
    let wrong = |what: &str| {
        let name = options.spec.as_ref().map(|path| format!("{}: ", path.display())).unwrap_or_default();
        Usage::new(format_args!("{name}{what}"))
    };
    let now = time::now();
    let grants = match spec.remove("authorization_details") {
        None => Ok(parent.grants.clone()),
        Some(Value::Array(entries)) => entries.iter().map(|entry| narrowed(entry, &parent.grants)).collect(),
        Some(_) => return Err(wrong("`authorization_details` is a list")),
    };
    let grants: Vec<Grant> = match grants {
        Ok(grants) => grants,
        Err(error) => return Ok(refused(error)),
    };
    let mut time_of = |name: &str| match spec.remove(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(&format!("`{name}` is a time in Unix seconds"))),
    };
    let (exp, nbf) = (time_of("exp")?, time_of("nbf")?);
    let depth = time_of("del_max_depth")?.map(|depth| u8::try_from(depth).unwrap_or(u8::MAX));
    let aud = match spec.remove("aud") {
        None => None,
        Some(Value::String(one)) => Some(vec![one]),
        Some(list) => Some(serde_json::from_value(list).map_err(|_| wrong("`aud` is an origin or a list of them"))?),
    };
    let jti = match spec.remove("jti") {
        None => random_id()?,
        Some(Value::String(jti)) => jti,
        Some(_) => return Err(wrong("`jti` is a text")),
    };
    if let Some((name, _)) = spec.iter().next() {
        return Err(wrong(&format!("a delegation does not say `{name}`")));
    }
    let span = options.expires_in.map(|span| now.saturating_add(span));
    let exp = span.or(exp).unwrap_or(parent.exp);
    let narrower = Narrower { jti, holder, grants, aud, iat: now, nbf, exp, del_max_depth: depth };
    match delegated(&credential, &key, narrower) {
        Ok(longer) => match Chain::inspect(&longer) {
            Ok(chain) => Ok(made_token(longer, &chain.leaf().token)),
            Err(error) => Ok(refused(error)),
        },
        Err(error) => Ok(refused(error)),
    }
}

/// The entry with what it leaves out as in the first of the parent's that it narrows.
fn narrowed(entry: &Value, parents: &[Grant]) -> Result<Grant, TokenError> {
    let mut first = None;
    for parent in parents {
        let mut entry = entry.clone();
        if let (Some(entry), Value::Object(theirs)) = (entry.as_object_mut(), parent.to_value()) {
            for name in ["type", "locations", "actions"] {
                if let Some(value) = theirs.get(name) {
                    entry.entry(name).or_insert(value.clone());
                }
            }
        }
        plain_numbers(&mut entry);
        let mut grant = Grant::parse(&entry)?;
        grant.inherit(parent);
        match grant.narrower_than(parent) {
            Ok(()) => return Ok(grant),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or(TokenError::NotDelegable))
}

/// Fills in `type`, and returns all locations.
fn grants(spec: &mut Map<String, Value>) -> Result<Vec<String>, &'static str> {
    const WHAT: &str = "`authorization_details` is a list of what the token allows";
    let entries = spec.get_mut("authorization_details").and_then(Value::as_array_mut).ok_or(WHAT)?;
    let mut locations: Vec<String> = Vec::new();
    for entry in entries {
        plain_numbers(entry);
        let entry = entry.as_object_mut().ok_or(WHAT)?;
        entry.entry("type").or_insert("http_call".into());
        let listed = entry.get("locations").and_then(Value::as_array).into_iter().flatten();
        for location in listed.filter_map(Value::as_str) {
            if !locations.iter().any(|known| known == location) {
                locations.push(location.to_owned());
            }
        }
    }
    Ok(locations)
}

/// `max: 1000` is `max: "1000"`: in a token amounts are strings, and people forget the quotes.
fn plain_numbers(entry: &mut Value) {
    for limit in entry.get_mut("limits").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(max) = limit.get_mut("max").filter(|max| max.is_u64()) {
            *max = max.to_string().into();
        }
    }
}

fn members(document: Value, path: &std::path::Path) -> Result<Map<String, Value>, Usage> {
    match document {
        Value::Object(members) => Ok(members),
        _ => Err(Usage::new(format_args!("{}: it is no object", path.display()))),
    }
}

fn one_key(path: &PathBuf) -> Result<farebox_core::crypto::keys::PublicKey, Usage> {
    match input::public_keys(&[path])?.as_slice() {
        [key] => Ok(*key),
        _ => Err(Usage::new(format_args!("{}: one key is needed", path.display()))),
    }
}

fn made_token(text: String, token: &Token) -> Outcome {
    let json = json!({ "token": text, "claims": token.to_value() });
    Outcome::new(true, text, json)
}

fn refused(error: TokenError) -> Outcome {
    Outcome::refused(error.reason(), error)
}
