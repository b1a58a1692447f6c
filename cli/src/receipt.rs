//! `farebox receipt verify`.

use crate::output::{Outcome, Table, Usage};
use crate::{input, time};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use farebox_core::crypto::keys::PublicKey;
use farebox_core::proof::digest;
use farebox_core::rail::x402::offer_receipt;
use farebox_core::receipt::{PayState, Receipt};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say whether a receipt is genuine, and what it says.
    Verify(Verify),
}

/// Options of `receipt verify`. What is given must be what the receipt says.
#[derive(Args)]
pub(crate) struct Verify {
    /// Public keys of the gate, a JWK or a JWKS.
    #[arg(long, value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// The money must have moved: a receipt of a payment that was only verified, failed or is unknown is not good.
    #[arg(long)]
    paid: bool,
    /// Who must have made it.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The request's method.
    #[arg(long)]
    method: Option<String>,
    /// The request's URL, with its query.
    #[arg(long)]
    url: Option<String>,
    /// The request's body.
    #[arg(long, value_name = "FILE")]
    request_body: Option<PathBuf>,
    /// The response's status.
    #[arg(long)]
    status: Option<u16>,
    /// The response's body.
    #[arg(long, value_name = "FILE")]
    response_body: Option<PathBuf>,
    /// The payer's account (CAIP-10), or its address.
    #[arg(long, value_name = "ACCOUNT")]
    payer: Option<String>,
    /// The value of Call-Receipt or of PAYMENT-RESPONSE, or a file with it.
    receipt: String,
}

pub(crate) fn run(command: Command) -> Result<Outcome, Usage> {
    let Command::Verify(options) = command;
    let keys = input::public_keys(&options.keys)?;
    let text = given(&options.receipt)?;
    if let Some(member) = payment_response(&text) {
        return of_payment(&member, &keys, &options);
    }
    match Receipt::read(&text, &keys) {
        Ok(receipt) => of_call(&receipt, &options),
        Err(error) => Ok(Outcome::refused("bad_receipt", error)),
    }
}

/// What was given on the command line: a value, or a file's name.
fn given(text: &str) -> Result<String, Usage> {
    let value = |text: &str| text.trim().len() > 100 && !text.contains('/') || payment_response(text).is_some();
    if text != "-" && value(text) {
        return Ok(text.trim().to_owned());
    }
    Ok(input::text(Path::new(text))?.trim().to_owned())
}

/// The `offer-receipt` member of a `PAYMENT-RESPONSE`, if the text is one.
fn payment_response(text: &str) -> Option<Value> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    let value = farebox_core::json::parse(&bytes, bytes.len(), 16).ok()?;
    value.is_object().then(|| value.pointer("/extensions/offer-receipt").cloned().unwrap_or_default())
}

/// What the options ask for and the receipt says otherwise.
struct Differences(Vec<String>);

impl Differences {
    fn check(&mut self, name: &str, asked: Option<&str>, said: Option<&str>) {
        if let Some(asked) = asked.filter(|asked| Some(*asked) != said) {
            self.0.push(format!("{name}: it says {}, not {asked}", said.unwrap_or("nothing")));
        }
    }

    fn body(&mut self, name: &str, file: Option<&PathBuf>, said: Option<&str>) -> Result<(), Usage> {
        let Some(file) = file else { return Ok(()) };
        let mut body = Vec::new();
        let read = input::open(file)?.read_to_end(&mut body);
        read.map_err(|error| Usage::new(format_args!("{}: {error}", file.display())))?;
        self.check(name, Some(&digest::field(&body)), said);
        Ok(())
    }

    fn payer(&mut self, asked: Option<&str>, said: Option<&str>) {
        // An address of a network whose addresses have no case is the same in any.
        let same = |asked: &str, said: &str| {
            let (asked, said) = (asked.to_ascii_lowercase(), said.to_ascii_lowercase());
            asked == said || said.rsplit(':').next() == Some(&asked)
        };
        let hex = said.is_some_and(|said| said.contains("0x"));
        let agree = asked.zip(said).is_some_and(|(asked, said)| {
            if hex { same(asked, said) } else { asked == said || said.rsplit(':').next() == Some(asked) }
        });
        if !agree {
            self.check("payer", asked, said);
        }
    }

    fn outcome(self, mut table: Table, json: Value) -> Outcome {
        let good = self.0.is_empty();
        self.0.iter().for_each(|difference| table.line(format_args!("NOT as asked: {difference}")));
        table.line(if good { "genuine" } else { "genuine, but NOT the receipt that was asked for" });
        let mut outcome = Outcome::new(good, table.end(), json);
        if !good {
            outcome.json.insert("reason".to_owned(), "differs".into());
            outcome.json.insert("differences".to_owned(), self.0.into());
        }
        outcome
    }
}

fn of_call(receipt: &Receipt, options: &Verify) -> Result<Outcome, Usage> {
    let mut differ = Differences(Vec::new());
    differ.check("issuer", options.issuer.as_deref(), Some(&receipt.iss));
    differ.check("method", options.method.as_deref(), Some(&receipt.htm));
    differ.check("URL", options.url.as_deref(), Some(&receipt.htu));
    let status = options.status.map(|status| status.to_string());
    differ.check("status", status.as_deref(), Some(&receipt.status.to_string()));
    differ.body("request body", options.request_body.as_ref(), receipt.req_digest.as_deref())?;
    differ.body("response body", options.response_body.as_ref(), receipt.res_digest.as_deref())?;
    differ.payer(options.payer.as_deref(), receipt.pay.as_ref().and_then(|pay| pay.payer.as_deref()));
    if options.paid && receipt.pay.as_ref().is_none_or(|pay| pay.state != PayState::Settled) {
        differ.0.push("paid: it does not say that money has moved".to_owned());
    }
    let mut table = Table::default();
    table.row("receipt", format_args!("{} of {}, {}", receipt.jti, receipt.iss, time::utc(receipt.iat)));
    table.row("call", format_args!("{} {} -> {}", receipt.htm, receipt.htu, receipt.status));
    table.maybe("request", receipt.req_digest.as_ref());
    table.maybe("response", receipt.res_digest.as_ref());
    if let Some(pay) = &receipt.pay {
        let amount = pay.amount.map_or_else(|| "an amount".to_owned(), |amount| amount.0.to_string());
        let state = match pay.state {
            PayState::Settled => "settled",
            PayState::Verified => "only verified: this proves no payment",
            PayState::Failed => "failed: nothing was paid",
            PayState::Unknown => "unknown",
        };
        let asset = pay.asset.as_deref().unwrap_or(&pay.network);
        table.row("payment", format_args!("{amount} of {asset}, {state}"));
        table.maybe("payer", pay.payer.as_ref());
        table.maybe("payee", pay.pay_to.as_ref());
        table.maybe("transaction", pay.transaction.as_ref());
    }
    table.maybe("token", receipt.tok.as_ref());
    for draw in &receipt.draw {
        let left = draw.left.map(|left| format!(", {} left", left.0)).unwrap_or_default();
        table.row("drew", format_args!("{} {}{left}", draw.amount.0, draw.unit));
    }
    table.maybe("holder", receipt.aud.as_ref());
    if let Some(log) = &receipt.log {
        table.row("log", format_args!("line {} of {log}", receipt.seq));
    }
    Ok(differ.outcome(table, json!({ "receipt": receipt })))
}

fn of_payment(member: &Value, keys: &[PublicKey], options: &Verify) -> Result<Outcome, Usage> {
    if member.is_null() {
        return Ok(Outcome::refused("no_receipt", "this PAYMENT-RESPONSE has no receipt in it (offer-receipt)"));
    }
    let Some(receipt) = offer_receipt::Receipt::read(member, keys) else {
        return Ok(Outcome::refused("bad_receipt", "its receipt is not signed by one of the keys"));
    };
    let mut differ = Differences(Vec::new());
    differ.check("URL", options.url.as_deref(), Some(&receipt.resource_url));
    differ.payer(options.payer.as_deref(), Some(&receipt.payer));
    for (name, asked) in [
        ("issuer", options.issuer.is_some()),
        ("method", options.method.is_some()),
        ("status", options.status.is_some()),
        ("request body", options.request_body.is_some()),
        ("response body", options.response_body.is_some()),
    ] {
        if asked {
            differ.0.push(format!("{name}: a receipt of this kind does not say; Call-Receipt does"));
        }
    }
    let mut table = Table::default();
    table.row("receipt", format_args!("of a payment, {}", time::utc(receipt.issued_at)));
    table.row("URL", &receipt.resource_url);
    table.row("payer", format_args!("{} on {}", receipt.payer, receipt.network));
    table.maybe("transaction", receipt.transaction.as_ref());
    Ok(differ.outcome(table, json!({ "receipt": receipt })))
}
