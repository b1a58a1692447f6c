//! What the tests of the command share.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]

use farebox_core::crypto::keys::{Algorithm, SigningKey};
use farebox_core::receipt::{Amount, Cadence, Draw, Entry, Kind, Log};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

pub const ISSUER: &str = "https://api.example.com";

/// Runs the command in `folder`.
pub fn farebox(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_farebox")).args(arguments).current_dir(folder).output().unwrap()
}

/// Exit code, and what it says in JSON.
pub fn json(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = farebox(folder, &[arguments, &["--json"]].concat());
    let code = output.status.code().unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (code, value)
}

/// Exit code, standard output and standard error.
pub fn text(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = farebox(folder, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The gate's key.
pub fn key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[7; 32]).unwrap()
}

/// Writes the gate's keys to `jwks.json`.
pub fn write_keys(folder: &Path) {
    let mut jwk = key().public().to_jwk();
    jwk["kid"] = key().public().thumbprint().into();
    std::fs::write(folder.join("jwks.json"), serde_json::json!({ "keys": [jwk] }).to_string()).unwrap();
}

/// An honest log with a head before every `every`th line, as the gate writes it.
pub fn log(name: u8, lines: u64, every: u64) -> Vec<String> {
    let mut log = Log::new([name; 16]);
    let cadence = Cadence { lines: every - 1, seconds: 1_000_000 };
    (0..lines)
        .map(|number| {
            let now = 1_795_000_000 + number / 10;
            if log.head_due(cadence, now) {
                return log.head(ISSUER, &key(), now);
            }
            let draw =
                [Draw { unit: "call".into(), amount: Amount(1), left: Some(Amount(u128::from(lines - number))) }];
            let entry = Entry {
                status: Some(200),
                tok: Some("0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
                draw: &draw,
                ..Entry::new(Kind::Draw, "quotes")
            };
            log.line(&entry, now)
        })
        .collect()
}
