//! The mistakes of `core/vectors/policy-mistakes.json`, as policies that a proxy must refuse.

use anyhow::{Context, Result};
use serde_json::Value;

/// The variables that these policies name for secrets; the key is of RFC 8037, appendix A.1.
pub const VARIABLES: [(&str, &str); 2] = [
    ("TOKEN", "s3cret"),
    (
        "TOKEN_KEY",
        r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    ),
];

/// One policy with a mistake in it.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// What is wrong, in a few words.
    pub name: String,
    /// The whole policy, as text.
    pub policy: String,
    /// The field that a refusal must name; empty: the policy itself.
    pub path: String,
    /// Words that a refusal must say.
    pub says: Vec<String>,
}

impl Mistake {
    /// Whether one line of `log` names the field and says what to do.
    pub fn is_explained_by(&self, log: &str) -> bool {
        log.lines().any(|line| line.contains(&self.path) && self.says.iter().all(|word| line.contains(word)))
    }
}

/// Every mistake that a proxy which can hold responses must refuse.
///
/// # Errors
/// If the file is not there or not as its README says.
pub fn all() -> Result<Vec<Mistake>> {
    let file = crate::tools::workspace_dir().join("core/vectors/policy-mistakes.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let cases = vectors["mistakes"].as_array().context("no mistakes")?;
    cases
        .iter()
        .filter(|case| case["hold_response"] != false)
        .map(|case| {
            let name = case["name"].as_str().context("a mistake without a name")?.to_owned();
            let policy = patched(&vectors["base"], case).with_context(|| name.clone())?;
            let says = case["says"].as_array().context("a mistake without words")?;
            Ok(Mistake {
                name,
                policy,
                path: case["path"].as_str().unwrap_or_default().to_owned(),
                says: says.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            })
        })
        .collect()
}

/// The base with the members that the case sets (by JSON pointer; `-` appends) and removes.
fn patched(base: &Value, case: &Value) -> Result<String> {
    if let Some(text) = case["text"].as_str() {
        return Ok(text.to_owned());
    }
    let mut policy = base.clone();
    for pointer in case["remove"].as_array().into_iter().flatten() {
        let (parent, name) = split(pointer.as_str())?;
        policy.pointer_mut(parent).and_then(Value::as_object_mut).context("nothing to remove from")?.remove(name);
    }
    for (pointer, value) in case["set"].as_object().into_iter().flatten() {
        let (parent, name) = split(Some(pointer))?;
        match policy.pointer_mut(parent).context("nowhere to set")? {
            Value::Array(items) if name == "-" => items.push(value.clone()),
            Value::Array(items) => *items.get_mut(name.parse::<usize>()?).context("no such item")? = value.clone(),
            parent => parent[name] = value.clone(),
        }
    }
    Ok(policy.to_string())
}

fn split(pointer: Option<&str>) -> Result<(&str, &str)> {
    pointer.and_then(|pointer| pointer.rsplit_once('/')).context("not a JSON pointer")
}
