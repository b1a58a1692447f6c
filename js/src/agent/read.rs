//! What TypeScript writes, read.

use farebox_core::agent::Wanted;
use farebox_core::agent::money::{AccountId, AssetId};
use farebox_core::agent::request::{Quote, Request};
use farebox_core::agent::wallet::Delegation;
use farebox_core::crypto::keys::PublicKey;
use serde_json::Value;

/// A public key: Ed25519 or secp256k1.
pub(super) fn jwk(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_jwk(&parse(text)?).ok_or_else(|| "not a public key, Ed25519 or secp256k1".to_owned())
}

/// What a caller wants: `{method, url, headers: [name, value, …], task?, agent?, quote?: {asset, amount, payee?}}`.
pub(super) fn wanted(text: &str, body: Vec<u8>) -> Result<Wanted, String> {
    let json = parse(text)?;
    let fields: Vec<&str> = strings(&json, "headers").collect();
    let pairs = fields.chunks_exact(2).filter_map(|pair| match pair {
        [name, value] => Some(((*name).to_owned(), (*value).to_owned())),
        _ => None,
    });
    let quote = match json.get("quote").filter(|quote| !quote.is_null()) {
        None => None,
        Some(quote) => Some(Quote {
            asset: AssetId::parse(string(quote, "asset").unwrap_or_default())?,
            amount: string(quote, "amount")
                .and_then(|amount| amount.parse().ok())
                .ok_or("quote.amount: atomic units in decimal digits")?,
            payee: string(quote, "payee").map(AccountId::parse).transpose()?,
        }),
    };
    let name = |member: &str| {
        let name = string(&json, member);
        if name.is_some_and(|name| !Request::is_name(name)) {
            return Err(format!("{member}: at most 64 letters, digits, '.', '_', '-', ':'"));
        }
        Ok(name.map(str::to_owned))
    };
    Ok(Wanted {
        method: string(&json, "method").unwrap_or_default().to_owned(),
        url: string(&json, "url").unwrap_or_default().to_owned(),
        headers: pairs.collect(),
        body,
        task: name("task")?,
        agent: name("agent")?,
        quote,
    })
}

/// What is to be handed on: `{holder, url, methods?, paths?, calls?, budget?, seconds?, levels?}`.
pub(super) fn delegation(text: &str) -> Result<Delegation, String> {
    let json = parse(text)?;
    let holder = json.get("holder").and_then(PublicKey::from_jwk);
    let holder = holder.ok_or("holder: not a public key, Ed25519 or secp256k1")?;
    let number = |member: &str| match json.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| format!("{member}: not a whole number")),
    };
    let budget = string(&json, "budget").map(str::parse).transpose();
    Ok(Delegation {
        methods: strings(&json, "methods").map(str::to_owned).collect(),
        paths: strings(&json, "paths").map(str::to_owned).collect(),
        calls: number("calls")?,
        budget: budget.map_err(|_| "budget: atomic units in decimal digits")?,
        seconds: number("seconds")?,
        levels: number("levels")?.unwrap_or(0),
        ..Delegation::to(holder, string(&json, "url").unwrap_or_default())
    })
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn string<'a>(json: &'a Value, member: &str) -> Option<&'a str> {
    json.get(member).and_then(Value::as_str)
}

fn strings<'a>(json: &'a Value, member: &str) -> impl Iterator<Item = &'a str> {
    json.get(member).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
