//! The canonical request: every case of `vectors/paths.json`, and what must hold for all paths.

use farebox_core::host::Capabilities;
use farebox_core::http::Headers;
use farebox_core::policy::{Access, BadRequest, CanonicalRequest, Policy, Routed};
use proptest::prelude::*;
use serde_json::{Value, json};

fn load(policy: &Value) -> Policy {
    let can = Capabilities { hold_response: true, read_body: true };
    Policy::load(policy.to_string().as_bytes(), &|_| None, can).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn read(policy: &Policy, method: &str, authority: &str, path: &str) -> Result<CanonicalRequest, BadRequest> {
    policy.canonical(&Headers::from_iter([(":method", method), (":authority", authority), (":path", path)]))
}

#[test]
fn every_vector() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/paths.json")).unwrap();
    let policy = load(&json!({ "version": 1, "origins": vectors["origins"], "default": "free" }));
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 80);
    let mut failed = Vec::new();
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let authority = case["authority"].as_str().unwrap_or("api.example.com");
        let got = match read(&policy, text("method"), authority, text("path")) {
            Ok(request) => {
                assert_eq!(request.path_rewritten(), request.target() != text("path"), "{case}");
                request.target().to_owned()
            }
            Err(refused) => {
                assert!(matches!(refused.status, 400 | 414 | 421), "{case}");
                refused.code.to_owned()
            }
        };
        if got != text("expect") {
            failed.push(format!("{case}: got {got}"));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn a_request_has_one_of_each() {
    let policy = load(&json!({ "version": 1, "origins": ["https://a.example"], "default": "free" }));
    let good = [(":method", "GET"), (":authority", "a.example"), (":path", "/")];
    for (name, code) in [(":method", "bad_method"), (":authority", "bad_authority"), (":path", "bad_path")] {
        let without: Headers = good.into_iter().filter(|(field, _)| *field != name).collect();
        assert_eq!(policy.canonical(&without).unwrap_err().code, code);
        let twice: Headers = good.into_iter().chain(good.into_iter().filter(|(field, _)| *field == name)).collect();
        assert_eq!(policy.canonical(&twice).unwrap_err().code, code);
    }
    let with = |host| Headers::from_iter(good.into_iter().chain([("host", host)]));
    assert!(policy.canonical(&with("A.example")).is_ok());
    assert_eq!(policy.canonical(&with("b.example")).unwrap_err().code, "bad_authority");
}

#[test]
fn the_url_begins_with_an_origin_of_the_policy() {
    let origins = ["https://a.example", "http://b.example:8080", "https://*.c.example:8443", "http://[::1]"];
    let policy = load(&json!({ "version": 1, "origins": origins, "default": "free" }));
    for (authority, url) in [
        ("A.example:443", "https://a.example/x?y"),
        ("b.example:8080", "http://b.example:8080/x?y"),
        ("shop.c.example:8443", "https://shop.c.example:8443/x?y"),
        ("[::1]:80", "http://[::1]/x?y"),
    ] {
        let mut headers = Headers::from_iter([(":method", "GET"), (":authority", authority), (":path", "/%78?y")]);
        headers.push(b"x-forwarded-host", b"evil.example");
        headers.push(b"x-forwarded-proto", b"gopher");
        let request = policy.canonical(&headers).unwrap();
        assert_eq!(request.url(), url);
        assert_eq!((request.path(), request.query(), request.target()), ("/x", Some("y"), "/x?y"));
        assert!(url.starts_with(request.origin()));
    }
}

/// Everything but one priced path is free.
fn one_priced() -> Policy {
    load(&json!({
        "version": 1,
        "origins": ["https://api.example.com"],
        "default": "free",
        "payees": { "eip155:84532": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" },
        "facilitators": [{ "name": "main", "url": "http://facilitator" }],
        "routes": [
            { "path": "/*", "access": "free" },
            { "path": "/premium/*", "access": "denied" },
            { "path": PRICED, "offers": [{ "price": "$1", "network": "eip155:84532" }] },
        ]
    }))
}

const PRICED: &str = "/premium/caf%C3%A9~x!/data";

/// A spelling of `PRICED` that some server takes for the same resource.
fn respelt() -> impl Strategy<Value = String> {
    let opened: Vec<u8> = "/premium/caf\u{e9}~x!/data".into();
    let letters: Vec<_> = opened.into_iter().map(respelt_byte).collect();
    let end = prop_oneof![5 => Just(""), 1 => Just("/"), 1 => Just("//"), 1 => Just("/."), 1 => Just(";x"), 1 => Just("?x=1"),
        1 => Just("%00"), 1 => Just("#"), 1 => Just("/x/.."), 1 => Just("%2F"), 1 => Just("%3f")];
    (letters, end).prop_map(|(letters, end)| letters.concat() + end)
}

fn respelt_byte(byte: u8) -> BoxedStrategy<String> {
    let c = char::from(byte);
    let upper = format!("%{byte:02X}");
    let lower = format!("%{byte:02x}");
    if !byte.is_ascii() {
        return prop_oneof![Just(upper), Just(lower)].boxed();
    }
    if c == '/' {
        let odd =
            vec!["//", "/./", "/x/../", "/;/", "/;x=1/", "%2F", "%2f", "\\", "%5C", "/%2e/", "/.;/", "%252F", "/%00"];
        return prop_oneof![40 => Just("/".to_owned()), 1 => proptest::sample::select(odd).prop_map(str::to_owned)]
            .boxed();
    }
    let other_case = if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    prop_oneof![
        40 => Just(c.to_string()),
        8 => Just(upper.clone()),
        8 => Just(lower),
        8 => Just(other_case.to_string()),
        2 => Just(format!("%{:02x}", u32::from(other_case))),
        1 => Just(format!("%25{byte:02X}")),
        1 => Just(format!("%2{}", upper.replace('%', "5"))),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_spelling_is_cheaper(path in respelt()) {
        thread_local!(static POLICY: Policy = one_priced());
        POLICY.with(|policy| {
            let Ok(request) = read(policy, "GET", "api.example.com", &path) else { return Ok(()) };
            let Routed::Route(route) = policy.route(&request) else { panic!("{path} has no route") };
            // An escaped `?` at the end names another resource, below the denied prefix; all the rest is the priced one.
            let priced = matches!(route.access, Access::Priced(_));
            prop_assert!(priced || path.ends_with("%3f") && route.access == Access::Denied, "{} is {:?}", path, route);
            // What is forwarded is judged in the same way when it comes back.
            let again = read(policy, "GET", "api.example.com", request.target()).unwrap();
            prop_assert_eq!(policy.route(&again), Routed::Route(route));
            Ok(())
        })?;
    }

    #[test]
    fn canonical_is_canonical(path in "/([a-zA-Z0-9/.%;!~+?-]|%[0-9a-fA-F]{2}){0,24}") {
        thread_local!(static POLICY: Policy = one_priced());
        POLICY.with(|policy| {
            if let Ok(request) = read(policy, "GET", "api.example.com", &path) {
                let again = read(policy, "GET", "api.example.com", request.target());
                prop_assert_eq!(again.as_ref().map(CanonicalRequest::target), Ok(request.target()));
                prop_assert!(!again.unwrap().path_rewritten());
            }
            Ok(())
        })?;
    }

    #[test]
    fn nothing_panics(path in ".{0,40}", method in ".{0,8}", authority in ".{0,30}") {
        thread_local!(static POLICY: Policy = one_priced());
        POLICY.with(|policy| {
            let _ = read(policy, &method, "api.example.com", &path);
            let _ = read(policy, "GET", &authority, "/");
        });
    }

    #[test]
    fn no_policy_panics(text in ".{0,60}", price in "[$0-9.,]{0,12}", network in "[a-z0-9:]{0,12}", path in "/[a-z{}*/%]{0,12}") {
        let can = Capabilities { hold_response: true, read_body: true };
        let _ = Policy::load(text.as_bytes(), &|_| None, can);
        let policy = json!({ "version": 1, "origins": [text], "default": "free", "payees": { &network: &text },
            "routes": [{ "path": path, "offers": [{ "price": price, "network": network, "asset": text }] }] });
        let _ = Policy::load(policy.to_string().as_bytes(), &|_| None, can);
    }
}
