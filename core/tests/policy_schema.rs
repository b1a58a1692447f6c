//! `docs/policy.schema.json` is what the policy's types say. Run with `FAREBOX_BLESS=1` to write it.

use serde_json::Value;

#[test]
fn policy_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.schema.json");
    let current = format!("{:#}\n", farebox_core::policy::schema());
    if std::env::var_os("FAREBOX_BLESS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(published == current, "docs/policy.schema.json is not what the types say; run again with FAREBOX_BLESS=1");
}

#[test]
fn null_is_nowhere() {
    assert!(!farebox_core::policy::schema().to_string().contains("null"));
}

#[test]
fn every_field_is_described_and_nothing_else_is_allowed() {
    fn walk(schema: &Value, path: &str) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path} is open");
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{path}.{name} has no description");
            }
        }
        for (name, definition) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            walk(definition, name);
        }
    }
    walk(&farebox_core::policy::schema(), "policy");
}
