//! From bytes to the policy's types: everything that is wrong with the structure.

use super::config::Config;
use crate::json;
use crate::policy::mistake::{Mistakes, quoted};
use serde_json::Value;
use serde_path_to_error::Segment;

/// Bytes a policy may have.
pub const MAX_BYTES: usize = 256 * 1024;
const MAX_DEPTH: usize = 16;
/// Mistakes that are told at once.
const MAX_MISTAKES: usize = 32;

/// Reads a policy's structure, and its canonical document.
///
/// # Errors
/// Every mistake of structure that can be told apart. What the structure means is looked at only once there is none.
pub(super) fn read(text: &[u8]) -> Result<(Config, Value), Mistakes> {
    let mut document = json::parse(text, MAX_BYTES, MAX_DEPTH).map_err(|error| {
        Mistakes::one("", format!("not JSON that we read: {error}"), "write one JSON object, each member once")
    })?;
    let mut mistakes = Mistakes::default();
    tidy(&mut document, "", &mut mistakes);
    match document.get("version") {
        Some(version) if version.as_u64() != Some(1) => {
            let hint = "write `version: 1`, the only one this build reads";
            return Err(Mistakes::one("version", found(version), hint));
        }
        _ => {}
    }
    let mut rest = document.clone();
    while mistakes.0.len() < MAX_MISTAKES {
        match serde_path_to_error::deserialize::<_, Config>(&rest) {
            Ok(config) if mistakes.0.is_empty() => return Ok((config, document)),
            Ok(_) => break,
            Err(error) => {
                let segments: Vec<Segment> = error.path().iter().cloned().collect();
                let text = error.inner().to_string();
                if !explain(&text, &segments, &mut rest, &mut mistakes) {
                    break;
                }
            }
        }
    }
    Err(mistakes)
}

/// Turns `1.0` into `1`, since some hosts hand over every number as a double, and refuses null and fractions.
fn tidy(value: &mut Value, path: &str, mistakes: &mut Mistakes) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
            match whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok()) {
                Some(whole) => *number = whole.into(),
                None => mistakes.add(path, format!("found the number {number}"), "write a whole number"),
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                tidy(item, &format!("{path}[{index}]"), mistakes);
            }
        }
        Value::Object(members) => {
            members.retain(|name, member| {
                let path = joined(path, name);
                tidy(member, &path, mistakes);
                if member.is_null() {
                    mistakes.add(path, "found nothing (null)", "leave the field out, or write its value");
                }
                !member.is_null()
            });
        }
        _ => {}
    }
}

/// Notes a mistake and takes it out of `rest`, so that what else is wrong can be seen; `false` if it cannot.
fn explain(text: &str, segments: &[Segment], rest: &mut Value, mistakes: &mut Mistakes) -> bool {
    let path = segments.iter().fold(String::new(), |path, segment| extended(&path, segment));
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        mistakes.add(joined(&path, name), "missing", example(name).unwrap_or("write this field"));
        return drop_entry(rest, segments);
    }
    let field = segments.iter().rev().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    let expected = text.rsplit_once("expected ").map_or("", |(_, expected)| expected);
    let expected = expected.strip_prefix("one of ").unwrap_or(expected);
    let value = lookup(rest, segments).map_or_else(|| "found nothing".to_owned(), found);
    if text.starts_with("unknown field") {
        mistakes.add(path, "unknown field", format!("leave it out; the fields here are {expected}"));
    } else if text.starts_with("unknown variant") {
        mistakes.add(path, value, format!("write {expected}"));
    } else {
        let hint = match expected {
            _ if expected.contains("sequence") => "write a list".to_owned(),
            _ if expected.contains("struct") || expected.contains("map") => "write an object".to_owned(),
            _ if expected.contains("string") => "write text, in quotes".to_owned(),
            _ if expected.contains("boolean") => "write true or false".to_owned(),
            "u64" => "write a whole number that is not negative, without quotes".to_owned(),
            _ => format!("expected {expected}"),
        };
        let example = field.and_then(example).map(|example| format!("; {example}")).unwrap_or_default();
        mistakes.add(path, value, format!("{hint}{example}"));
    }
    drop_member(rest, segments)
}

/// A value as it was written, in a few words.
fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("found {}", quoted(text)),
        Value::Number(number) => format!("found the number {number}"),
        Value::Bool(value) => format!("found {value} (a boolean)"),
        Value::Null => "found nothing (null)".to_owned(),
        Value::Array(items) => format!("found a list of {}", items.len()),
        Value::Object(members) => format!("found an object of {} fields", members.len()),
    }
}

/// How a field is written, for those that are often missing or mistyped.
fn example(field: &str) -> Option<&'static str> {
    Some(match field {
        "version" => "write `version: 1`",
        "assets" => "list what may be paid in, like [{\"asset\": \"eip155:8453/erc20:0x…\", \"unit\": \"usd\"}]",
        "asset" => "write a CAIP-19 id, like \"eip155:8453/erc20:0x…\"",
        "unit" => "write what it counts as, like \"usd\"",
        "allow" => "list what may be paid, like [{\"match\": {\"hosts\": [\"api.example.com\"]}}]",
        "budgets" => "list budgets, like [{\"name\": \"day\", \"max\": \"5 usd\", \"seconds\": 86400}]",
        "max" | "above" => "write an amount with its unit, like \"0.05 usd\"",
        "name" => "write a short name",
        "hosts" => "like [\"api.example.com\", \"*.example.org\"]",
        "seconds" => "write seconds, like 86400",
        "within" => "list times, like [{\"days\": [\"mon\"], \"from\": \"08:00\", \"to\": \"18:00\"}]",
        "jwk" => "write a public key, like {\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"x\": \"…\"}",
        _ => return None,
    })
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn extended(path: &str, segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("{path}[{index}]"),
        Segment::Map { key } => joined(path, key),
        Segment::Enum { .. } | Segment::Unknown => path.to_owned(),
    }
}

fn lookup<'a>(value: &'a Value, segments: &[Segment]) -> Option<&'a Value> {
    segments.iter().try_fold(value, |value, segment| match segment {
        Segment::Seq { index } => value.get(*index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}

/// Removes the innermost object member that `segments` lead through.
fn drop_member(value: &mut Value, segments: &[Segment]) -> bool {
    let Some(last) = segments.iter().rposition(|segment| matches!(segment, Segment::Map { .. })) else { return false };
    match (segments.get(last), parent(value, segments, last)) {
        (Some(Segment::Map { key }), Some(Value::Object(members))) => members.remove(key).is_some(),
        _ => false,
    }
}

/// Removes the innermost list entry that `segments` lead through, if it is the last: the others keep their numbers.
fn drop_entry(value: &mut Value, segments: &[Segment]) -> bool {
    let Some(last) = segments.iter().rposition(|segment| matches!(segment, Segment::Seq { .. })) else { return false };
    match (segments.get(last), parent(value, segments, last)) {
        (Some(Segment::Seq { index }), Some(Value::Array(items))) if *index + 1 == items.len() => items.pop().is_some(),
        _ => false,
    }
}

/// The value that the first `count` of `segments` lead to.
fn parent<'a>(value: &'a mut Value, segments: &[Segment], count: usize) -> Option<&'a mut Value> {
    segments.iter().take(count).try_fold(value, |value, segment| match segment {
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Map { key } => value.get_mut(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}
