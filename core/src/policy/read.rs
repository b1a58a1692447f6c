//! From bytes to the policy's types: everything that is wrong with the structure.

use super::config::{Asset, Config, Facilitator, Offer, Route};
use super::mistake::{Mistakes, quoted};
use super::{MAX_BYTES, MAX_DEPTH};
use crate::json;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

/// Reads a policy's structure.
///
/// # Errors
/// Every mistake of structure. What the structure means is looked at only once there is none.
pub(super) fn read(text: &[u8]) -> Result<Config, Mistakes> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Mistakes::one("", "found nothing", "write the policy in the filter's `configuration`"));
    }
    let mut value = json::parse(text, MAX_BYTES, MAX_DEPTH).map_err(|error| {
        Mistakes::one("", format!("not JSON that we read: {error}"), "write one JSON object, each member once")
    })?;
    let mut mistakes = Mistakes::default();
    tidy(&mut value, "", &mut mistakes);
    match value.get("version") {
        None | Some(Value::Null) => {}
        Some(version) if version.as_u64() == Some(1) => {}
        Some(version) => {
            let hint = "write `version: 1`, the only one this build reads";
            return Err(Mistakes::one("version", found(version), hint));
        }
    }
    if mistakes.0.is_empty()
        && let Ok(config) = serde_json::from_value(value.clone())
    {
        return Ok(config);
    }
    pieces(value, &mut mistakes);
    if mistakes.0.is_empty() {
        mistakes.add("", "not a policy", "see docs/policy.schema.json");
    }
    Err(mistakes)
}

/// Turns `1.0` into `1`, since some hosts hand over every number as a double, and refuses null: an empty field is
/// something somebody forgot to fill in. `extra` is the operator's own and stays as it is.
fn tidy(value: &mut Value, path: &str, mistakes: &mut Mistakes) {
    match value {
        Value::Number(number) => {
            if let Some(float) =
                number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15)
                && let Ok(whole) = format!("{float:.0}").parse::<i64>()
            {
                *number = whole.into();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = format!("{path}[{index}]");
                if item.is_null() {
                    mistakes.add(path, "found nothing (null)", "leave the entry out, or write its value");
                } else {
                    tidy(item, &path, mistakes);
                }
            }
        }
        Value::Object(members) => {
            members.retain(|name, member| {
                let path = joined(path, name);
                if member.is_null() {
                    mistakes.add(path, "found nothing (null)", "leave the field out, or write its value");
                    return false;
                }
                if name != "extra" {
                    tidy(member, &path, mistakes);
                }
                true
            });
        }
        _ => {}
    }
}

/// Reads the parts of a policy one by one, so that a mistake in one does not hide those in another.
fn pieces(mut value: Value, mistakes: &mut Mistakes) {
    let take = |value: &mut Value, name: &str| match value.get_mut(name) {
        Some(Value::Array(items)) => std::mem::take(items),
        _ => Vec::new(),
    };
    let assets = take(&mut value, "assets");
    let facilitators = take(&mut value, "facilitators");
    let routes = take(&mut value, "routes");
    piece::<Config>(value, "", mistakes);
    for (index, asset) in assets.into_iter().enumerate() {
        piece::<Asset>(asset, &format!("assets[{index}]"), mistakes);
    }
    for (index, facilitator) in facilitators.into_iter().enumerate() {
        piece::<Facilitator>(facilitator, &format!("facilitators[{index}]"), mistakes);
    }
    for (index, mut route) in routes.into_iter().enumerate() {
        let offers = take(&mut route, "offers");
        piece::<Route>(route, &format!("routes[{index}]"), mistakes);
        for (nth, offer) in offers.into_iter().enumerate() {
            piece::<Offer>(offer, &format!("routes[{index}].offers[{nth}]"), mistakes);
        }
    }
}

/// Reads one part; a member that is wrong is noted and left out, until the rest can be read.
fn piece<T: DeserializeOwned>(mut value: Value, at: &str, mistakes: &mut Mistakes) {
    if value.is_null() {
        return;
    }
    loop {
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&value) else { return };
        let text = error.inner().to_string();
        let segments: Vec<Segment> = error.path().iter().cloned().collect();
        if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            let base = segments.iter().fold(at.to_owned(), |path, segment| extended(&path, segment));
            let path = joined(&base, name);
            if !mistakes.0.iter().any(|mistake| mistake.path == path) {
                mistakes.add(path, "missing", example(name).unwrap_or("write this field"));
            }
            return;
        }
        let path = segments.iter().fold(at.to_owned(), |path, segment| extended(&path, segment));
        let (found, hint) = explained(&text, &segments, lookup(&value, &segments));
        mistakes.add(path, found, hint);
        if !drop_member(&mut value, &segments) {
            return;
        }
    }
}

/// What was found and what to write, from serde's words.
fn explained(text: &str, segments: &[Segment], value: Option<&Value>) -> (String, String) {
    let field = segments.iter().rev().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    let expected = text.rsplit_once("expected ").map_or("", |(_, expected)| expected);
    if text.starts_with("unknown field") {
        let known = expected.strip_prefix("one of ").unwrap_or(expected);
        let nearest = field.and_then(|field| nearest(field, known));
        let hint = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`? The fields here are {known}"),
            None => format!("leave it out; the fields here are {known}"),
        };
        return ("unknown field".to_owned(), hint);
    }
    let found = value.map_or_else(|| text.to_owned(), found);
    if text.starts_with("unknown variant") {
        return (found, format!("write {}", expected.strip_prefix("one of ").unwrap_or(expected)));
    }
    let example = field.and_then(example).map(|example| format!("; {example}")).unwrap_or_default();
    let wants_text = expected.contains("string");
    let hint = match value {
        Some(Value::Number(number)) if wants_text => {
            let quoted = if number.is_f64() { "\"…\"".to_owned() } else { format!("\"{number}\"") };
            format!("put it in quotes, so that it stays text: {quoted}")
        }
        Some(Value::Bool(_)) if wants_text => "put it in quotes, so that it stays text".to_owned(),
        Some(Value::String(_)) if expected.contains('u') && expected.len() <= 4 => {
            "write a whole number, without quotes".to_owned()
        }
        Some(Value::Number(_)) if expected.starts_with('u') => "write a whole number that is not negative".to_owned(),
        Some(Value::String(_)) if expected.contains("boolean") => "write true or false, without quotes".to_owned(),
        _ if expected.contains("sequence") => "write a list".to_owned(),
        _ if expected.contains("map") || expected.contains("struct") => "write an object".to_owned(),
        _ => format!("expected {expected}"),
    };
    (found, format!("{hint}{example}"))
}

/// A value as the operator wrote it, in a few words.
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
        "origins" => "list the origins clients use, like [\"https://api.example.com\"]",
        "default" => "say what happens to requests that no route matches: `denied` or `free`",
        "path" => "write a path, like \"/report\", \"/report/{id}\" or \"/files/*\"",
        "network" => "write a CAIP-2 id, like \"eip155:8453\"",
        "price" => "write dollars like \"$0.01\"",
        "amount" => "write atomic units like \"10000\"",
        "address" | "pay_to" => "write an address like \"0x…\"",
        "payees" => "write one address per network, like {\"eip155:8453\": \"0x…\"}",
        "name" => "write a short name",
        "url" => "write the base URL, like \"https://x402.org/facilitator\"",
        "bearer_env" | "key_id_env" | "key_secret_env" => "write the name of an environment variable",
        "symbol" => "write the ticker, like \"USDC\"",
        "decimals" => "write the token's decimal places, like 6",
        "methods" => "like [\"GET\", \"POST\"]",
        "offers" => "like [{price: \"$0.01\", network: \"eip155:8453\"}]",
        _ => return None,
    })
}

/// Of the names in backquotes in `known`, one that `name` is probably a slip for.
fn nearest<'a>(name: &str, known: &'a str) -> Option<&'a str> {
    let names =
        known.split('`').filter(|part| part.bytes().all(|c| c.is_ascii_lowercase() || c == b'_') && !part.is_empty());
    let limit = if name.len() <= 4 { 1 } else { 2 };
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    names
        .map(|known| (distance(&plain(name), &plain(known)), known))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, known)| known)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = next;
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
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
    let mut at = value;
    for segment in segments.iter().take(last) {
        let next = match segment {
            Segment::Seq { index } => at.get_mut(*index),
            Segment::Map { key } => at.get_mut(key),
            Segment::Enum { .. } | Segment::Unknown => Some(at),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match (segments.get(last), at) {
        (Some(Segment::Map { key }), Value::Object(members)) => members.remove(key).is_some(),
        _ => false,
    }
}
