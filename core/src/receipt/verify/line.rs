//! Lines of an audit log, found in other logs' lines and read.

use super::{Head, Trust};
use crate::crypto::base64url;
use crate::json;
use crate::receipt::audit::{Kind, MARKER};
use crate::receipt::call::ReceiptError;
use crate::receipt::merkle::{self, Hash};
use crate::receipt::pay::{Draw, Pay};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Bytes a line may have.
const MAX_LINE: usize = 64 * 1024;
/// What a line looks like inside a string of JSON.
const QUOTED_MARKER: &str = r#"{\"audit\":1,"#;

/// The text of the audit line in `line`, if there is one: from its marker to the end, whatever a proxy wrote before it.
/// Or the end of a string in a line of JSON, as log collectors write them.
pub(super) fn find(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(text) = from(line, MARKER) {
        return Some(Cow::Borrowed(text.trim_ascii_end()));
    }
    from(line, QUOTED_MARKER)?;
    let envelope = json::parse(line.trim_ascii(), 2 * MAX_LINE, 8).ok()?;
    let text = in_strings(&envelope)?;
    Some(Cow::Owned(text.trim_ascii_end().to_vec()))
}

/// What begins with `marker` in `line`.
fn from<'a>(line: &'a [u8], marker: &str) -> Option<&'a [u8]> {
    let at = line.windows(marker.len()).position(|window| window == marker.as_bytes())?;
    line.get(at..)
}

fn in_strings(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => from(text.as_bytes(), MARKER),
        Value::Array(items) => items.iter().find_map(in_strings),
        Value::Object(members) => members.values().find_map(in_strings),
        _ => None,
    }
}

/// What the verification needs of a line.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) hash: Hash,
    pub(super) prev: Hash,
    pub(super) iat: u64,
    pub(super) place: u64,
    pub(super) kind: Kind,
    pub(super) receipt: Option<Box<Hash>>,
    pub(super) head: Option<Box<Result<Head, ReceiptError>>>,
}

/// A line as it is read: the members of `audit::Line`, and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "members that are only checked for their form")]
struct Line {
    audit: u8,
    claim: Option<String>,
    code: Option<String>,
    draw: Option<Vec<Draw<'static>>>,
    iat: u64,
    kind: Kind,
    log: String,
    pay: Option<Pay>,
    payer: Option<String>,
    prev: String,
    receipt: Option<String>,
    route: Option<String>,
    seq: u64,
    status: Option<u16>,
    sth: Option<String>,
    tok: Option<String>,
    what: Option<String>,
}

impl Record {
    /// Reads the text of a line; with it, the log it is of. Says in words what is wrong with one that is none.
    pub(super) fn read(text: &[u8], place: u64, trust: &Trust) -> Result<(String, Self), String> {
        let value = json::parse(text, MAX_LINE, 8).map_err(|error| error.to_string())?;
        let line: Line = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if base64url::decode_fixed::<16>(&line.log).is_none() {
            return Err("`log` is no name of a log".to_owned());
        }
        if (line.kind == Kind::Head) != line.sth.is_some() {
            return Err("`sth` belongs to heads, and to every head".to_owned());
        }
        let hash = |text: &str| base64url::decode_fixed(text).ok_or_else(|| "a hash is no SHA-256".to_owned());
        let record = Self {
            seq: line.seq,
            hash: merkle::leaf(text),
            prev: hash(&line.prev)?,
            iat: line.iat,
            place,
            kind: line.kind,
            receipt: line.receipt.map(|text| hash(&text).map(Box::new)).transpose()?,
            head: line.sth.map(|text| Box::new(Head::read(&text, trust))),
        };
        Ok((line.log, record))
    }
}
