//! `farebox token issue | inspect | verify | delegate | revoke`.

mod admin;
mod make;
mod show;

use crate::input;
use crate::output::{Outcome, Usage};
use clap::Subcommand;
use farebox_core::crypto::base64url;
use std::path::Path;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a token, as the gate would.
    Issue(make::Issue),
    /// Say what a token says. Nothing is verified.
    Inspect(show::Inspect),
    /// Say whether a token is good, and whether it allows a call.
    ///
    /// Whether it was revoked or is spent, only the gate can tell.
    Verify(show::Verify),
    /// Make a narrower token from one that is held, offline.
    Delegate(make::Delegate),
    /// Have the gate refuse tokens from now on, with everything delegated from them.
    Revoke(admin::Revoke),
}

pub(crate) fn run(command: Command) -> Result<Outcome, Usage> {
    match command {
        Command::Issue(options) => make::issue(&options),
        Command::Inspect(options) => show::inspect(&options),
        Command::Verify(options) => show::verify(&options),
        Command::Delegate(options) => make::delegate(&options),
        Command::Revoke(options) => admin::revoke(&options),
    }
}

/// A credential, from the command line or from a file; a scheme before it does not matter.
fn credential(text: &str) -> Result<String, Usage> {
    let text = text.trim();
    let written = if text.contains('.') && (text.starts_with("eyJ") || text.contains(' ')) && !Path::new(text).exists()
    {
        text.to_owned()
    } else {
        input::text(Path::new(text))?.trim().to_owned()
    };
    Ok(written.split_ascii_whitespace().last().unwrap_or_default().to_owned())
}

/// An id that nobody can guess.
fn random_id() -> Result<String, Usage> {
    Ok(base64url::encode(&input::random::<16>()?))
}
