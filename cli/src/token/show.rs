//! Looking at tokens: `inspect` and `verify`.

use super::credential;
use crate::output::{Outcome, Table, Usage};
use crate::{input, time};
use clap::Args;
use farebox_core::policy::path;
use farebox_core::token::{
    Call, Chain, Constraint, Grant, Holder, Issuer, KeySet, Limit, Per, Token, TokenError, Unit,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Options of `token inspect`.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The token, or a file with it.
    token: String,
}

/// Options of `token verify`.
#[derive(Args)]
pub(crate) struct Verify {
    /// Public keys of the gate, a JWK or a JWKS.
    #[arg(long, value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// Who must have issued it. The name that it gives itself, if left out.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// A call that it must allow, like 'GET https://api.example.com/v1/quotes'.
    #[arg(long, value_name = "REQUEST")]
    call: Option<String>,
    /// The name of the call's route in the gate's policy, for tokens that are limited to routes.
    #[arg(long, value_name = "NAME", default_value = "", requires = "call", hide_default_value = true)]
    route: String,
    /// What the call costs, like call=1 or eip155:8453/erc20:0x8335…=10000.
    #[arg(long, value_name = "UNIT=AMOUNT", value_parser = cost, requires = "call")]
    cost: Vec<(Unit, u128)>,
    /// When, in Unix seconds. Now, if left out.
    #[arg(long, value_name = "TIME")]
    at: Option<u64>,
    /// The token, or a file with it.
    token: String,
}

fn cost(text: &str) -> Result<(Unit, u128), String> {
    let (unit, amount) = text.rsplit_once('=').ok_or("write UNIT=AMOUNT")?;
    let unit = Unit::from_wire(unit).ok_or("the unit is `call`, `byte` or a CAIP-19 asset")?;
    Ok((unit, amount.parse().map_err(|_| "the amount is a whole number")?))
}

pub(crate) fn inspect(options: &Inspect) -> Result<Outcome, Usage> {
    let credential = credential(&options.token)?;
    Ok(match Chain::inspect(&credential) {
        Ok(chain) => {
            let text = format!("{}not verified", about(&chain, &credential));
            Outcome::new(true, text, json!({ "links": links(&chain), "verified": false }))
        }
        Err(error) => refused(error),
    })
}

pub(crate) fn verify(options: &Verify) -> Result<Outcome, Usage> {
    let keys = KeySet::new(input::public_keys(&options.keys)?);
    let credential = credential(&options.token)?;
    let now = options.at.unwrap_or_else(time::now);
    let issuer = match (&options.issuer, Chain::inspect(&credential)) {
        (_, Err(error)) => return Ok(refused(error)),
        (Some(issuer), _) => issuer.clone(),
        (None, Ok(chain)) => chain.root().token.iss.clone(),
    };
    let chain = match Chain::verify(&credential, &Issuer { iss: &issuer, keys: &keys }, now, 0) {
        Ok(chain) => chain,
        Err(error) => return Ok(refused(error)),
    };
    let mut text = about(&chain, &credential);
    if let Some(call) = &options.call {
        if let Err(error) = allows(&chain, call, options)? {
            return Ok(refused(error));
        }
        text.push_str(&format!("allows {call}\n"));
    }
    text.push_str("good, if the gate has not revoked it and it is not spent");
    Ok(Outcome::new(true, text, json!({ "links": links(&chain), "verified": true, "issuer": issuer })))
}

fn allows(chain: &Chain, call: &str, options: &Verify) -> Result<Result<(), TokenError>, Usage> {
    let hint = "write the call like 'GET https://api.example.com/v1/quotes'";
    let (method, url) = call.trim().split_once(' ').ok_or_else(|| Usage::new(hint))?;
    let after = url.find("://").map(|at| at + 3).ok_or_else(|| Usage::new(hint))?;
    let end = url[after..].find(['/', '?']).map_or(url.len(), |at| after + at);
    let (origin, target) = url.split_at(end);
    let raw = target.split('?').next().unwrap_or_default();
    let raw = if raw.is_empty() { "/" } else { raw };
    let path = path::canonical(raw.as_bytes()).map_err(|why| Usage::new(format_args!("{raw}: {why}")))?;
    let call = Call { origin, method, path: &path, route: &options.route, cost: &options.cost };
    Ok(chain.authorises(&call).map(|_| ()))
}

fn links(chain: &Chain) -> Vec<Value> {
    chain.links().map(|link| json!({ "name": &*link.name, "claims": link.token.to_value() })).collect()
}

fn about(chain: &Chain, credential: &str) -> String {
    let mut table = Table::default();
    for (depth, link) in chain.links().enumerate() {
        table.line(if depth == 0 { "token".to_owned() } else { format!("delegation {depth}") });
        one(&mut table, &link.token);
    }
    table.line(format_args!("{} bytes", credential.len()));
    table.end()
}

fn one(table: &mut Table, token: &Token) {
    table.row("  id", &token.jti);
    table.row("  issuer", &token.iss);
    table.maybe("  payer", token.sub.as_ref());
    table.maybe("  paid by", token.txn.as_ref());
    let from = token.nbf.unwrap_or(token.iat);
    table.row("  good", format_args!("{} to {}", time::utc(from), time::utc(token.exp)));
    table.row("  holder", holder(token.cnf.as_ref()));
    if let Some(depth) = token.del_max_depth {
        table.row("  delegable", format_args!("to depth {depth}, is at {}", token.del_depth));
    }
    for grant in &token.grants {
        table.row("  allows", allowed(grant));
        grant.limits.iter().for_each(|limit| table.row("  at most", at_most(limit)));
    }
}

fn holder(holder: Option<&Holder>) -> String {
    match holder {
        None => "any bearer".to_owned(),
        Some(Holder { key: Some(key), .. }) => format!("{} ({})", key.thumbprint(), key.algorithm().specified()),
        Some(holder) => format!("{} (DPoP only)", holder.thumbprint),
    }
}

fn allowed(grant: &Grant) -> String {
    let mut text = format!("{} on {}", grant.actions.join(", "), grant.locations.join(", "));
    for constraint in &grant.constraints {
        text.push_str(&match constraint {
            Constraint::PathPrefix(prefix) => format!(", path below {prefix}"),
            Constraint::PathOneOf(paths) => format!(", path {}", paths.join(" or ")),
            Constraint::RouteOneOf(routes) => format!(", route {}", routes.join(" or ")),
        });
    }
    text
}

fn at_most(limit: &Limit) -> String {
    let unit = match limit.unit.wire() {
        "call" => "calls",
        "byte" => "bytes",
        asset => asset,
    };
    let per = match limit.per {
        Per::Call => "in one call".to_owned(),
        Per::Token => "in all".to_owned(),
        Per::Window(seconds) => format!("in {seconds} s"),
    };
    format!("{} {unit} {per}", limit.max)
}

fn refused(error: TokenError) -> Outcome {
    Outcome::refused(error.reason(), error)
}
