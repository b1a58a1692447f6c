//! The JSON Schema of the policy, from the types that read it.

use super::config::Config;
use serde_json::Value;

/// The schema that `docs/policy.schema.json` publishes.
pub(super) fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    without_null(&mut schema);
    schema
}

/// An optional field is left out, never null (`read` refuses it), and a description is one line.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(members) => {
            members.values_mut().for_each(without_null);
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            let rest = match members.get_mut("type") {
                Some(Value::Array(types)) => {
                    types.retain(|name| name != "null");
                    if types.len() == 1 { types.pop() } else { None }
                }
                _ => None,
            };
            if let Some(only) = rest {
                members.insert("type".to_owned(), only);
            }
            if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if choices.len() == 1
                    && let Some(Value::Object(only)) = choices.pop()
                {
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
        }
        _ => {}
    }
}
