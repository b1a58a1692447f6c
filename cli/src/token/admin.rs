//! Requests to the gate's administrator route: `revoke`.

use super::{credential, random_id};
use crate::output::{Outcome, Usage};
use crate::{input, time};
use clap::Args;
use farebox_core::crypto::jws;
use farebox_core::ledger::Revocation;
use farebox_core::token::Chain;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seconds that a request is good for.
const GOOD_FOR: u64 = 60;

/// Options of `token revoke`.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The administrator's private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The gate's administrator route, like https://api.example.com/farebox/admin.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    what: What,
    /// How long the gate must remember it, from now on: seconds, or like 24h, 30d. As long as the gate's tokens live,
    /// if left out.
    #[arg(long, value_name = "SPAN", value_parser = time::seconds)]
    keep: Option<u64>,
    /// Send the request. If left out, it is printed as a curl command, which works for a minute, once.
    #[arg(long)]
    send: bool,
}

/// What is revoked: one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A token: its id, the token itself, or a file with it.
    #[arg(long)]
    token: Option<String>,
    /// Every token of this key: its thumbprint, or a file with the public key.
    #[arg(long, value_name = "KEY")]
    holder: Option<String>,
    /// Every token that this account (CAIP-10) paid for.
    #[arg(long, value_name = "ACCOUNT")]
    payer: Option<String>,
    /// Every token issued before this time, in Unix seconds, or `now`.
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
}

impl What {
    fn named(&self) -> Result<Value, Usage> {
        if let Some(text) = &self.token {
            // A token begins with JSON in base64url, perhaps after a scheme; no id has a space.
            let is_id = !text.contains(' ') && !text.starts_with("eyJ") && !Path::new(text).exists();
            if is_id {
                return name("token", text);
            }
            let chain =
                Chain::inspect(&credential(text)?).map_err(|error| Usage::new(format_args!("--token: {error}")))?;
            return Ok(json!({ "token": &*chain.leaf().name }));
        }
        if let Some(text) = &self.holder {
            let path = Path::new(text);
            if !path.exists() {
                return name("holder", text);
            }
            return match input::public_keys(&[path])?.as_slice() {
                [key] => Ok(json!({ "holder": key.thumbprint() })),
                _ => Err(Usage::new(format_args!("{text}: one key is needed"))),
            };
        }
        if let Some(account) = &self.payer {
            return name("payer", account);
        }
        let before = self.issued_before.as_deref().unwrap_or_default();
        let before = if before == "now" { Some(time::now()) } else { before.parse().ok() };
        before
            .map(|at| json!({ "issued_before": at }))
            .ok_or_else(|| Usage::new("--issued-before: write Unix seconds, or now"))
    }
}

/// What the gate would take for a name.
fn name(kind: &str, text: &str) -> Result<Value, Usage> {
    match Revocation::read(kind, text) {
        Ok(_) => Ok(json!({ kind: text })),
        Err(hint) => Err(Usage::new(format_args!("--{kind}: found {text:?}, which names nothing: {hint}"))),
    }
}

pub(crate) fn revoke(options: &Revoke) -> Result<Outcome, Usage> {
    let key = input::signing_key(&options.key)?;
    let origin = origin(&options.url)?;
    let what = options.what.named()?;
    let now = time::now();
    let mut payload = json!({
        "aud": origin,
        "iat": now,
        "exp": now + GOOD_FOR,
        "jti": random_id()?,
        "op": "revoke",
        "what": what,
    });
    if let Some(span) = options.keep {
        payload["until"] = now.saturating_add(span).into();
    }
    let request = jws::sign(&key, "admin+jwt", Some(&key.public().thumbprint()), &payload)
        .ok_or_else(|| Usage::new("a number is too large"))?;
    if options.send {
        return send(&options.url, &request, &payload);
    }
    let text = format!("curl -sS -X POST {} -H 'Authorization: Bearer {request}'", quoted(&options.url));
    Ok(Outcome::new(true, text, json!({ "url": options.url, "request": request, "claims": payload })))
}

/// Scheme and authority of a URL.
fn origin(url: &str) -> Result<&str, Usage> {
    let wrong = || Usage::new("--url: write the administrator route's URL, like https://api.example.com/farebox/admin");
    let after = url.find("://").map(|at| at + 3).ok_or_else(wrong)?;
    let end = url[after..].find('/').map(|at| after + at).ok_or_else(wrong)?;
    Ok(&url[..end])
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn send(url: &str, request: &str, payload: &Value) -> Result<Outcome, Usage> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .max_redirects(0)
        .build();
    let sent = ureq::Agent::from(config).post(url).header("authorization", &format!("Bearer {request}")).send_empty();
    let mut answer = sent.map_err(|error| Usage::new(format_args!("{url}: {error}")))?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_string().map_err(|error| Usage::new(format_args!("{url}: {error}")))?;
    let good = (200..300).contains(&status);
    let said: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let text = if good {
        format!("revoked: {}", payload["what"])
    } else {
        let detail = said.get("detail").and_then(Value::as_str).unwrap_or_default();
        format!("refused: the gate answered {status} {detail}")
    };
    Ok(Outcome::new(good, text, json!({ "status": status, "answer": said, "claims": payload })))
}
