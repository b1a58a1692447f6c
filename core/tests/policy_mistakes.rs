//! Every mistake in `vectors/policy-mistakes.json` is refused, at its path, in words that name the remedy.

use farebox_core::host::Capabilities;
use farebox_core::policy::{Auth, Mistakes, Policy, Secret};
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/policy-mistakes.json")).unwrap()
}

fn load(text: &str, hold_response: bool) -> Result<Policy, Mistakes> {
    let env = |name: &str| {
        match name {
        "TOKEN" => Some("s3cret".to_owned()),
        // RFC 8037, appendix A.1.
        "TOKEN_KEY" => Some(
            r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
                .to_owned(),
        ),
        "CDP_SECRET" => {
            let cdp: Value = serde_json::from_str(include_str!("../vectors/cdp.json")).unwrap();
            Some(cdp["keys"]["ed25519"].as_str().unwrap().to_owned())
        }
        _ => None,
    }
    };
    Policy::load(text.as_bytes(), &env, Capabilities { hold_response, read_body: true })
}

/// `base` with the members that `case` sets (by JSON pointer, `-` appends) and removes.
fn patched(base: &Value, case: &Value) -> String {
    if let Some(text) = case["text"].as_str() {
        return text.to_owned();
    }
    let mut policy = base.clone();
    for pointer in case["remove"].as_array().into_iter().flatten() {
        let (parent, name) = pointer.as_str().unwrap().rsplit_once('/').unwrap();
        let removed = policy.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        assert!(removed.is_some(), "{pointer} is not in the base");
    }
    for (pointer, value) in case["set"].as_object().into_iter().flatten() {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match policy.pointer_mut(parent).unwrap() {
            Value::Array(items) if name == "-" => items.push(value.clone()),
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            Value::Object(members) => {
                members.insert(name.to_owned(), value.clone());
            }
            other => panic!("{pointer} leads to {other}"),
        }
    }
    policy.to_string()
}

#[test]
fn the_base_has_no_mistake() {
    let base = vectors()["base"].to_string();
    let policy = load(&base, true).unwrap();
    assert_eq!(policy.warnings(), [] as [&str; 0]);
    load(&base, false).unwrap();
}

#[test]
fn every_mistake_names_field_and_remedy() {
    let vectors = vectors();
    let cases = vectors["mistakes"].as_array().unwrap();
    assert!(cases.len() >= 45);
    let mut failed = Vec::new();
    for case in cases {
        let text = patched(&vectors["base"], case);
        let path = case["path"].as_str().unwrap();
        match load(&text, case["hold_response"].as_bool().unwrap_or(true)) {
            Ok(_) => failed.push(format!("{}: was accepted", case["name"])),
            Err(mistakes) => {
                let here: Vec<String> =
                    mistakes.0.iter().filter(|mistake| mistake.path == path).map(ToString::to_string).collect();
                let said = |word: &Value| here.iter().any(|line| line.contains(word.as_str().unwrap()));
                if here.is_empty() || !case["says"].as_array().unwrap().iter().all(said) || mistakes.0.len() != 1 {
                    failed.push(format!("{}: wanted {path} {}; got\n{mistakes}", case["name"], case["says"]));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n\n"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut policy = vectors()["base"].clone();
    policy["routes"][0]["offers"][0]["price"] = json!("$0.0000001");
    policy["routes"][1]["path"] = json!("health");
    policy["origins"][0] = json!("x");
    policy["ledger"] = json!({ "claims": 1 });
    let paths = |mistakes: Mistakes| mistakes.0.into_iter().map(|mistake| mistake.path).collect::<Vec<_>>();
    let found = paths(load(&policy.to_string(), true).unwrap_err());
    assert_eq!(found, ["origins[0]", "routes[0].offers[0].price", "routes[1].path", "ledger.claims"]);

    // Structure comes first, but each part of it by itself.
    policy["colour"] = json!("red");
    policy["routes"][0]["ofers"] = json!([]);
    policy["routes"][0]["offers"][0]["price"] = json!(1);
    policy["routes"][0]["offers"][0]["amount"] = json!(1);
    policy["routes"][1]["methods"] = json!([1]);
    policy["facilitators"][0]["auth"] = json!({ "cdp": { "key_id_env": "TOKEN" } });
    let mut found = paths(load(&policy.to_string(), true).unwrap_err());
    found.sort();
    assert_eq!(
        found,
        [
            "colour",
            "facilitators[0].auth.cdp.key_secret_env",
            "routes[0].ofers",
            "routes[0].offers[0].amount",
            "routes[0].offers[0].price",
            "routes[1].methods[0]"
        ]
    );
}

#[test]
fn numbers_that_came_as_doubles_are_whole_numbers() {
    let text = vectors()["base"].to_string().replace(r#""version":1"#, r#""version":1.0,"ledger":{"claims":1e4}"#);
    assert_eq!(load(&text, true).unwrap().claims_ceiling(), 10_000);
}

#[test]
fn a_secret_is_read_and_never_printed() {
    let mut policy = vectors()["base"].clone();
    policy["facilitators"][0]["auth"] = json!({ "bearer_env": "TOKEN" });
    let bearer = load(&policy.to_string(), true).unwrap();
    assert_eq!(bearer.facilitators()[0].auth, Some(Auth::Bearer(Secret::new("s3cret".to_owned()))));
    assert!(!format!("{bearer:?}").contains("s3cret"));

    policy["facilitators"][0]["auth"] = json!({ "cdp": { "key_id_env": "TOKEN", "key_secret_env": "CDP_SECRET" } });
    let cdp = load(&policy.to_string(), true).unwrap();
    assert!(matches!(cdp.facilitators()[0].auth, Some(Auth::Cdp(_))));
    let printed = format!("{cdp:?}");
    // Neither the text nor the bytes of the seed, however they are written.
    assert!(
        !printed.contains("nWGxne") && !printed.contains("157, 97, 177") && !printed.to_lowercase().contains("9d61b1")
    );
    // Nor what is set in place of a key.
    policy["facilitators"][0]["auth"]["cdp"]["key_secret_env"] = json!("TOKEN");
    assert!(!load(&policy.to_string(), true).unwrap_err().to_string().contains("s3cret"));
}
