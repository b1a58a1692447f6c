//! `farebox keygen`.

use crate::input;
use crate::output::{Outcome, Usage};
use clap::{Args, ValueEnum};
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `keygen`.
#[derive(Args)]
pub(crate) struct Options {
    /// What the key signs with.
    #[arg(long, value_enum, default_value = "EdDSA")]
    alg: Alg,
    /// File that gets the private JWK, readable by its owner alone. It must not exist.
    file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Alg {
    /// Ed25519: for the gate, and for holders.
    #[value(name = "EdDSA")]
    EdDsa,
    /// secp256k1, as wallets have it.
    #[value(name = "ES256K")]
    Es256k,
}

pub(crate) fn run(options: &Options) -> Result<Outcome, Usage> {
    let algorithm = match options.alg {
        Alg::EdDsa => Algorithm::EdDsa,
        Alg::Es256k => Algorithm::Es256k,
    };
    let key = loop {
        // Of secp256k1, one number in 2^128 is no key.
        if let Some(key) = SigningKey::from_secret(algorithm, &input::random()?) {
            break key;
        }
    };
    let text = format!("{}\n", key.to_jwk());
    write_private(&options.file, &text)
        .map_err(|error| Usage::new(format_args!("{}: {error}", options.file.display())))?;
    let public = key.public();
    let thumbprint = public.thumbprint();
    let mut jwk = public.to_jwk();
    jwk["kid"] = thumbprint.clone().into();
    let text = jwk.to_string();
    Ok(Outcome::new(true, text, json!({ "file": options.file, "public": jwk, "thumbprint": thumbprint })))
}

/// Writes a file that only its owner can read. An existing one is left alone: it may be the only copy of a key.
pub(crate) fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
