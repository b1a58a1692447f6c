//! Files that commands read.

use crate::output::Usage;
use farebox_core::crypto::keys::{PublicKey, SigningKey};
use farebox_core::json;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Bytes a file that is read as a whole may have.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The file, or standard input if its name is `-`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>, Usage> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::with_capacity(1 << 16, file))),
        Err(error) => Err(Usage::new(format_args!("{}: {error}", path.display()))),
    }
}

/// The whole text of a file.
pub(crate) fn text(path: &Path) -> Result<String, Usage> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(MAX_BYTES).read_to_end(&mut bytes);
    let text = read.map_err(|error| error.to_string()).and_then(|length| {
        if length as u64 == MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes"));
        }
        String::from_utf8(bytes).map_err(|error| error.to_string())
    });
    text.map_err(|error| Usage::new(format_args!("{}: {error}", path.display())))
}

/// The documents of a YAML or JSON file. A member that comes twice is refused in both.
pub(crate) fn documents(path: &Path) -> Result<Vec<Value>, Usage> {
    let text = text(path)?;
    let what = |error: &dyn std::fmt::Display| Usage::new(format_args!("{}: {error}", path.display()));
    if text.trim_start().starts_with(['{', '[']) && path.extension().is_none_or(|ending| ending != "yaml") {
        return match json::parse(text.as_bytes(), text.len(), 64) {
            Ok(value) => Ok(vec![value]),
            Err(error) => Err(what(&error)),
        };
    }
    serde_saphyr::from_multiple(&text).map_err(|error| what(&error))
}

/// The one document of a YAML or JSON file.
pub(crate) fn document(path: &Path) -> Result<Value, Usage> {
    let mut documents = documents(path)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(Usage::new(format_args!("{}: one document is needed", path.display()))),
    }
}

/// A private JWK.
pub(crate) fn signing_key(path: &Path) -> Result<SigningKey, Usage> {
    warn_if_others_can_read(path);
    let no_key = || {
        let hint = "it is no private JWK of Ed25519 or secp256k1; `farebox keygen` makes one";
        Usage::new(format_args!("{}: {hint}", path.display()))
    };
    SigningKey::from_jwk(&document(path)?).ok_or_else(no_key)
}

#[cfg(unix)]
fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = path.metadata().map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        eprintln!("warning: {} can be read by others; chmod 600 it", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_path: &Path) {}

/// The keys of a JWK or a JWKS that can verify; of private ones, the public half.
pub(crate) fn public_keys<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PublicKey>, Usage> {
    let mut all = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let document = document(path)?;
        let listed: Vec<&Value> = match document.get("keys").and_then(Value::as_array) {
            Some(keys) => keys.iter().collect(),
            None => vec![&document],
        };
        let public = |jwk: &&Value| {
            PublicKey::from_jwk(jwk).or_else(|| SigningKey::from_jwk(jwk).map(|private| private.public()))
        };
        let keys: Vec<PublicKey> = listed.iter().filter_map(public).collect();
        if keys.is_empty() {
            let hint = "there is no key of Ed25519 or secp256k1 in it, as a JWK or a JWKS";
            return Err(Usage::new(format_args!("{}: {hint}", path.display())));
        }
        all.extend(keys);
    }
    Ok(all)
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Usage> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Usage::new(format_args!("no randomness: {error}")))?;
    Ok(bytes)
}
