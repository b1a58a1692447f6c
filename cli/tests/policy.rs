//! `farebox policy check` and `explain` say what the gate does.

mod common;

use common::{json, text};
use farebox_core::gate::Gate;
use farebox_core::host::Capabilities;
use farebox_core::http::Headers;
use farebox_core::test_host::TestHost;
use serde_json::Value;
use std::path::Path;
use std::rc::Rc;

const POLICY: &str = r#"
version: 1
origins: ["https://api.example.com", "https://*.shop.example.com"]
default: denied
payees: { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" }
facilitators:
  - { name: main, url: "https://x402.org/facilitator", auth: { bearer_env: FAREBOX_TEST_NEVER_SET } }
tokens:
  keys: [{ env: FAREBOX_TEST_NEVER_SET_EITHER }]
  admin:
    origin: https://api.example.com
    jwk: { kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo }
routes:
  - name: quotes
    path: /v1/quotes/*
    methods: [GET]
    offers:
      - { price: "$0.01", network: "eip155:84532" }
      - { price: "$1", network: "eip155:84532", pass: { calls: 200, seconds: 86400, bearer: { calls: 50, seconds: 600 } } }
  - { path: "/v1/*", access: denied }
  - { path: "/v1/quotes/free", access: free }
  - { path: "/.well-known/*", access: free }
"#;

/// What the gate does with a request: the code of its refusal, `own` for another answer of its own, `free` for none.
fn decision(method: &str, authority: &str, target: &str) -> String {
    let policy: Value = serde_saphyr::from_str(POLICY).unwrap();
    let env = |name: &str| match name {
        "FAREBOX_TEST_NEVER_SET_EITHER" => Some(common::key().to_jwk().to_string()),
        _ => Some("token".to_owned()),
    };
    let can = Capabilities { hold_response: true, read_body: true };
    let gate = Rc::new(Gate::load(policy.to_string().as_bytes(), &env, can).unwrap());
    let upstream = |_: &Headers| Some([(":status", "200")].into_iter().collect());
    let host = TestHost::new(1_800_000_000, |_| None, upstream);
    let headers = [(":method", method), (":authority", authority), (":path", target)].into_iter().collect();
    let reply = host.send(&gate, headers).reply().unwrap();
    if !host.forwarded().is_empty() {
        return "free".to_owned();
    }
    let problem: Option<Value> = serde_json::from_slice(&reply.body).ok();
    problem.and_then(|body| body.get("code")?.as_str().map(str::to_owned)).unwrap_or_else(|| "own".to_owned())
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn an_explanation_is_what_the_gate_does() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "policy.yaml", POLICY);
    for (method, authority, target) in [
        ("GET", "api.example.com", "/v1/quotes/btc?ccy=usd"),
        ("POST", "api.example.com", "/v1/quotes/btc"),
        ("GET", "api.example.com", "/v1/quotes/free"),
        ("GET", "api.example.com", "/v1/other"),
        ("GET", "a.shop.example.com", "/v1/quotes/btc"),
        ("GET", "api.example.com", "/"),
        ("GET", "elsewhere.example.com", "/v1/quotes/btc"),
        ("GET", "api.example.com", "/v1/../quotes"),
        ("get", "api.example.com", "/v1/quotes/btc"),
        ("GET", "api.example.com", "/.well-known/jwks.json"),
        ("GET", "api.example.com", "/.well-known/did.json"),
        ("GET", "api.example.com", "/.well-known/oauth-protected-resource"),
        ("GET", "api.example.com", "/.well-known/other"),
    ] {
        let request = format!("{method} https://{authority}{target}");
        let (code, said) = json(folder.path(), &["policy", "explain", "policy.yaml", &request]);
        assert_eq!(code, 0, "{request}: {said}");
        assert_eq!(said["decision"], decision(method, authority, target), "{request}");
    }
    // These answer questions, and refuse those that ask nothing.
    for path in ["/.well-known/farebox/token", "/.well-known/farebox/admin"] {
        let (_, said) =
            json(folder.path(), &["policy", "explain", "policy.yaml", &format!("GET https://api.example.com{path}")]);
        assert_eq!(said["decision"], "own");
        assert!(
            ["token_invalid", "method_not_allowed"].contains(&&*decision("GET", "api.example.com", path)),
            "{path}"
        );
    }
}

#[test]
fn an_explanation_says_which_route_which_offers_and_why() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "policy.yaml", POLICY);
    let (code, out, _) =
        text(folder.path(), &["policy", "explain", "policy.yaml", "GET", "https://api.example.com/v1/quotes/btc"]);
    assert_eq!(code, 0);
    for said in [
        "quotes: routes[0], path \"/v1/quotes/*\", methods GET",
        "refused: 402 payment_required",
        "neither a payment nor a token",
        "exact on eip155:84532: 10000 of 0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "buys a pass: 200 calls, for 86400 s, on quotes; without a key 50 calls, for 600 s",
        "routes[1], path \"/v1/*\", matches too, less specifically",
        "not set here, so not looked at: FAREBOX_TEST_NEVER_SET, FAREBOX_TEST_NEVER_SET_EITHER",
    ] {
        assert!(out.contains(said), "{said:?} is not in\n{out}");
    }
    let (_, said) =
        json(folder.path(), &["policy", "explain", "policy.yaml", "GET https://api.example.com/v1/quotes/btc"]);
    assert_eq!((said["route"].as_str(), said["offers"].as_array().unwrap().len()), (Some("quotes"), 2));
    assert_eq!(said["offers"][1]["pass"]["calls"], 200);
    let (code, _, complaint) = text(folder.path(), &["policy", "explain", "policy.yaml", "nonsense"]);
    assert!(code == 2 && complaint.contains("write the request like"), "{complaint}");
}

#[test]
fn every_mistake_is_told_with_its_field_and_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.yaml", POLICY);
    write(
        folder.path(),
        "bad.yaml",
        &POLICY.replace("\"$0.01\"", "\"0.01\"").replace("default: denied", "default: maybe"),
    );
    let (code, said) = json(folder.path(), &["policy", "check", "good.yaml", "bad.yaml"]);
    assert_eq!((code, &said["policies"][0]["ok"], &said["policies"][1]["ok"]), (1, &true.into(), &false.into()));
    assert_eq!(said["policies"][1]["mistakes"][0]["path"], "default");
    let (code, out, _) = text(folder.path(), &["policy", "check", "bad.yaml"]);
    assert!(code == 1 && out.contains("default: ") && out.contains("bad.yaml: NOT good"), "{out}");
    let (code, _, _) = text(folder.path(), &["policy", "check", "good.yaml"]);
    assert_eq!(code, 0);
    // As strict as the proxy: a variable that is not set.
    let (code, out, _) = text(folder.path(), &["policy", "check", "--strict-env", "good.yaml"]);
    assert!(code == 1 && out.contains("FAREBOX_TEST_NEVER_SET"), "{out}");
    // A host that cannot hold a response cannot settle after it.
    let (code, _, _) = text(folder.path(), &["policy", "check", "--host", "nginx", "good.yaml"]);
    assert_eq!(code, 0, "without `settle`, the gate settles before where it must");
    write(folder.path(), "after.yaml", &POLICY.replace("methods: [GET]", "methods: [GET]\n    settle: after"));
    assert_eq!(text(folder.path(), &["policy", "check", "after.yaml"]).0, 0);
    assert_eq!(text(folder.path(), &["policy", "check", "--host", "nginx", "after.yaml"]).0, 1);
}

#[test]
fn a_policy_is_found_in_a_proxys_configuration_and_json_is_read_as_strictly_as_yaml() {
    let folder = tempfile::tempdir().unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for shipped in ["envoy-config/envoy.yaml", "envoy-config/istio/farebox.yaml", "examples/policies/mixed.yaml"] {
        let (code, said) = json(folder.path(), &["policy", "check", &format!("{root}/{shipped}")]);
        assert_eq!((code, said["policies"].as_array().unwrap().len()), (0, 1), "{shipped}: {said}");
    }
    let (code, said) = json(
        folder.path(),
        &["policy", "explain", &format!("{root}/envoy-config/envoy.yaml"), "GET http://localhost:8080/health"],
    );
    assert_eq!((code, said["decision"].as_str()), (0, Some("free")));
    for (name, text) in
        [("twice.json", r#"{"version":1,"version":1}"#), ("twice.yaml", "version: 1\nversion: 1\n"), ("none.yaml", "")]
    {
        write(folder.path(), name, text);
        assert_eq!(common::text(folder.path(), &["policy", "check", name]).0, 2, "{name}");
    }
    write(folder.path(), "other.yaml", "a: 1\n");
    assert_eq!(common::text(folder.path(), &["policy", "check", "other.yaml"]).0, 1, "it is read as a policy");
}
