//! `docs/agent.md` shows what the buyer does: every rule of a policy with an example that loads, imports as they come out,
//! and every code.

use farebox_core::agent::answer::Fault;
use farebox_core::agent::import::{self, Frame};
use farebox_core::agent::policy::Policy;
use farebox_core::agent::reason::Reason;
use farebox_core::agent::receipt::Wrong;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent.md");

fn page() -> String {
    std::fs::read_to_string(PAGE).unwrap()
}

/// What stands after each mark of this test: its name, and the text up to the next blank line or the block's end.
fn marked() -> Vec<(String, String)> {
    let page = page();
    let parts = page.split("<!-- core/tests/agent_page.rs: ").skip(1);
    let part = |part: &str| {
        let (name, rest) = part.split_once(" -->\n").unwrap();
        let text = match rest.strip_prefix("```json\n") {
            Some(block) => block.split_once("\n```").unwrap().0,
            None => rest.split_once("\n\n").map_or(rest, |(text, _)| text),
        };
        (name.to_owned(), text.to_owned())
    };
    parts.map(part).collect()
}

fn text(name: &str) -> String {
    let found = marked().into_iter().find(|(mark, _)| mark == name);
    found.unwrap_or_else(|| panic!("nothing is marked {name}")).1
}

fn block(name: &str) -> Value {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// First and last cell of each row of a table.
fn table(name: &str) -> BTreeMap<String, String> {
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text(name);
    let rows = rows.lines().skip(2).map(cells);
    rows.map(|row| (row[0].trim_matches('`').to_owned(), row.last().unwrap().clone())).collect()
}

fn load(policy: &Value) -> Policy {
    Policy::load(policy.to_string().as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}\n{policy:#}"))
}

/// The policy of the page with these members in the place of its own.
fn with(part: &Value) -> Value {
    let mut policy = block("policy");
    for (name, value) in part.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}

/// Every member that a policy may have, as the reader of policies itself says.
fn members() -> Vec<String> {
    let mistakes = Policy::load(br#"{ "version": 1, "colour": "red" }"#).unwrap_err();
    let hint = mistakes.0.iter().find(|mistake| mistake.path == "colour").unwrap().hint.clone();
    let names: Vec<String> = hint.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 20, "{hint}");
    names
}

#[test]
fn every_rule_has_an_example_that_loads_and_says_something() {
    assert_eq!(load(&block("policy")).warnings(), Vec::<String>::new());
    let mut shown: Vec<String> = block("policy").as_object().unwrap().keys().cloned().collect();
    let known = members();
    for (name, text) in marked() {
        let Ok(part) = serde_json::from_str::<Value>(&text) else { continue };
        let Some(part) = part.as_object().filter(|part| part.keys().all(|name| known.contains(name))) else { continue };
        if part.contains_key("version") {
            load(&Value::Object(part.clone()));
            continue;
        }
        let policy = load(&with(&Value::Object(part.clone())));
        assert_ne!(policy.hash(), load(&block("policy")).hash(), "{name}");
        assert!(name == "match" || part.contains_key(&name), "{name} does not show {name}");
        shown.extend(part.keys().cloned());
    }
    for name in known {
        assert!(shown.contains(&name), "no example of `{name}`");
    }
}

#[test]
fn an_example_of_a_match_has_every_member_of_one() {
    let mistakes = Policy::load(with(&json!({ "deny": [{ "match": { "colour": [] } }] })).to_string().as_bytes());
    let hint = mistakes.unwrap_err().0[0].hint.clone();
    let shown = block("match")["deny"][0]["match"].clone();
    for name in hint.split('`').skip(1).step_by(2) {
        assert!(shown.get(name).is_some(), "no example of `{name}`: {hint}");
    }
}

#[test]
fn grants_become_what_the_page_says() {
    let hosts = vec!["api.example.com".to_owned()];
    let frame = Frame { hosts, unit: "usd".to_owned(), ..Frame::default() };
    let asset = "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
    let dollars = Frame { assets: vec![json!({ "asset": asset })], ..Frame::default() };
    type Import = fn(&[u8], &Frame) -> Result<import::Imported, import::NotImported>;
    let imports: [(&str, Import, &Frame); 3] = [
        ("erc7715", import::erc7715, &frame),
        ("spend_permission", import::spend_permission, &frame),
        ("ap2", import::ap2, &dollars),
    ];
    for (name, import, frame) in imports {
        let imported = import(text(name).as_bytes(), frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(imported.policy, block(&format!("{name}-policy")), "{name}");
    }
}

#[test]
fn the_tables_have_every_code_and_no_other() {
    let names = |table: &BTreeMap<String, String>| table.keys().cloned().collect::<Vec<_>>();
    let sorted = |mut codes: Vec<&'static str>| {
        codes.sort_unstable();
        codes
    };
    let reasons = sorted(Reason::ALL.iter().map(|reason| reason.wire()).collect());
    assert_eq!(names(&table("reasons")), reasons);
    let source = include_str!("../src/agent/reason.rs");
    for (code, meaning) in table("reasons") {
        assert!(source.contains(&format!("/// {meaning}\n")), "{code}: {meaning}");
    }
    assert_eq!(names(&table("faults")), sorted(Fault::ALL.iter().map(|fault| fault.wire()).collect()));
    assert_eq!(names(&table("wrong")), sorted(Wrong::ALL.iter().map(|wrong| wrong.wire()).collect()));
    assert_eq!(names(&table("events")), sorted(farebox_core::agent::Event::NAMES.to_vec()));
    assert_eq!(names(&table("errors")), sorted(farebox_core::agent::FetchError::CODES.to_vec()));
}
