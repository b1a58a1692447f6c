//! What a request's line and headers mean.

use super::{Label, Target, label, vectors};
use crate::host::Capabilities;
use crate::http::Headers;
use crate::policy::{Policy, Routed, path};
use serde_json::json;

/// `name: value` lines, up to an empty one.
pub(super) fn headers(lines: &[u8]) -> Headers {
    let mut headers = Headers::with_capacity(16, lines.len());
    for line in lines.split(|byte| *byte == b'\n') {
        // The colon of a pseudo-header is part of its name.
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map(|index| index + 1);
        if let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) {
            let value = value.strip_prefix(b":").unwrap_or(value);
            headers.push(name, value.strip_prefix(b" ").unwrap_or(value));
        }
    }
    headers
}

/// The same as text.
pub(super) fn lines<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    fields.into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>().into_bytes()
}

pub(super) const PATH: Target = Target { name: "path", reads: "a path", seeds: path_seeds, run: run_path };

fn path_seeds() -> Vec<Vec<u8>> {
    let cases = vectors!("paths");
    let targets = cases["cases"].as_array().unwrap().iter().filter_map(|case| case["path"].as_str());
    let paths = targets.map(|target| target.split('?').next().unwrap_or_default().as_bytes().to_vec());
    let (good, bad): (Vec<_>, Vec<_>) = paths.partition(|path| path::canonical(path).is_ok());
    let take = good.len();
    good.into_iter().chain(bad.into_iter().take(take)).collect()
}

fn run_path(input: &[u8]) -> Label {
    let canonical = path::canonical(input);
    if let Ok(text) = &canonical {
        assert_eq!(path::canonical(text.as_bytes()).as_ref(), Ok(text), "it is its own canonical form");
        assert!(text.starts_with('/') && text.is_ascii() && text.len() <= input.len());
        let strange = ["//", "/./", "/../", "\\", ";", "?", "#", "%2F", "%5C", "%00"];
        assert!(!strange.iter().any(|part| text.contains(part)) && !text.ends_with("/.") && !text.ends_with("/.."));
    }
    label(&canonical)
}

pub(super) const REQUEST: Target =
    Target { name: "request", reads: "method, authority and target", seeds: request_seeds, run: run_request };

fn request_seeds() -> Vec<Vec<u8>> {
    let requests = [
        ("GET", "api.example.com", "/"),
        ("GET", "api.example.com", "/v1/quotes/BTC?ccy=usd"),
        ("POST", "api.example.com:443", "/%61?"),
        ("HEAD", "x.wild.example.com", "/files/a/b"),
        ("GET", "[2001:db8::1]:8080", "/caf%C3%A9"),
    ];
    requests
        .map(|(method, authority, path)| lines([(":method", method), (":authority", authority), (":path", path)]))
        .into()
}

fn run_request(input: &[u8]) -> Label {
    thread_local! {
        static POLICY: Policy = {
            let policy = json!({
                "version": 1, "default": "free",
                "origins": ["https://api.example.com", "https://*.wild.example.com", "http://[2001:db8::1]:8080"],
                "routes": [
                    { "path": "/files/*", "access": "denied" },
                    { "path": "/v1/{any}/BTC", "access": "free", "methods": ["GET"] }
                ]
            });
            let can = Capabilities { hold_response: true, read_body: false };
            Policy::load(policy.to_string().as_bytes(), &|_| None, can).unwrap()
        };
    }
    POLICY.with(|policy| {
        let canonical = policy.canonical(&headers(input));
        let request = match canonical {
            Ok(request) => request,
            Err(error) => return format!("{} {}", error.code, error.detail).into(),
        };
        let again = [(":method", request.method()), (":authority", request.authority()), (":path", request.target())];
        let again = policy.canonical(&again.into_iter().collect()).unwrap();
        assert_eq!((again.url(), again.target(), again.path_rewritten()), (request.url(), request.target(), false));
        match (policy.route(&request), policy.route(&again)) {
            (Routed::Route(one), Routed::Route(other)) => {
                assert!(std::ptr::eq(one, other), "its canonical form has its route");
                "ok, a route".into()
            }
            (one, other) => {
                assert_eq!(one, other, "its canonical form has its route");
                "ok, none".into()
            }
        }
    })
}
