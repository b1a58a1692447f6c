//! Route matching: what is most specific, and that the trie agrees with a matcher that tries every route.

use farebox_core::host::Capabilities;
use farebox_core::http::Headers;
use farebox_core::policy::{DefaultAccess, Policy, Routed};
use proptest::prelude::*;
use serde_json::{Value, json};

fn load(routes: Vec<Value>, case_sensitive: bool) -> Policy {
    let policy = json!({
        "version": 1,
        "origins": ["https://a.example", "https://b.example", "https://*.example", "http://localhost:8080"],
        "default": "denied",
        "case_sensitive_paths": case_sensitive,
        "routes": routes,
    });
    let can = Capabilities { hold_response: true, read_body: true };
    Policy::load(policy.to_string().as_bytes(), &|_| None, can).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn free(name: &str, path: &str) -> Value {
    json!({ "name": name, "path": path, "access": "free" })
}

/// The route's name, `405 <allow>`, or `-`.
fn find(policy: &Policy, method: &str, authority: &str, path: &str) -> String {
    let headers = Headers::from_iter([(":method", method), (":authority", authority), (":path", path)]);
    match policy.route(&policy.canonical(&headers).unwrap()) {
        Routed::Route(route) => route.name.clone(),
        Routed::MethodNotAllowed { allow } => format!("405 {allow}"),
        Routed::Unmatched(DefaultAccess::Denied) => "-".to_owned(),
        Routed::Unmatched(DefaultAccess::Free) => panic!("the policy says denied"),
    }
}

#[test]
fn the_most_specific_route_wins() {
    let policy = load(
        vec![
            free("below", "/a/*"),
            free("param", "/a/{x}"),
            free("exact", "/a/b"),
            free("root", "/"),
            free("deep", "/a/{x}/c/d"),
            free("bang", "/x!"),
        ],
        false,
    );
    for (path, name) in [
        ("/", "root"),
        ("/a", "below"),
        ("/a/", "below"),
        ("/a/b", "exact"),
        ("/a/b/", "exact"),
        ("/A/B", "exact"),
        ("/a/b?x=1", "exact"),
        ("/a/c", "param"),
        ("/a/b/c", "below"),
        ("/a/b/c/d", "deep"),
        ("/a/z/c/d/e", "below"),
        ("/b", "-"),
        ("/ab", "-"),
        ("/x!", "bang"),
        ("/X%21", "bang"),
    ] {
        assert_eq!(find(&policy, "GET", "a.example", path), name, "{path}");
    }
    let sensitive = load(vec![free("lower", "/a"), free("upper", "/A")], true);
    assert_eq!(find(&sensitive, "GET", "a.example", "/a"), "lower");
    assert_eq!(find(&sensitive, "GET", "a.example", "/A"), "upper");
}

#[test]
fn a_head_costs_what_its_get_costs() {
    let with = |name: &str, path: &str, methods: &[&str]| json!({ "name": name, "path": path, "access": "free", "methods": methods });
    let policy = load(
        vec![
            with("get", "/a", &["GET"]),
            free("rest", "/a"),
            with("own", "/b", &["HEAD"]),
            with("b", "/b", &["GET"]),
            with("post", "/c", &["POST"]),
            free("all", "/*"),
        ],
        false,
    );
    assert_eq!(find(&policy, "HEAD", "a.example", "/a"), "get");
    assert_eq!(find(&policy, "GET", "a.example", "/a"), "get");
    assert_eq!(find(&policy, "OPTIONS", "a.example", "/a"), "rest");
    assert_eq!(find(&policy, "HEAD", "a.example", "/b"), "own");
    assert_eq!(find(&policy, "PUT", "a.example", "/b"), "405 HEAD, GET");
    assert_eq!(find(&policy, "HEAD", "a.example", "/c"), "405 POST");
    assert_eq!(find(&policy, "OPTIONS", "a.example", "/c"), "405 POST");
    assert_eq!(find(&policy, "HEAD", "a.example", "/d"), "all");
}

#[test]
fn the_hosts_own_routes_come_first() {
    let on = |name: &str, hosts: &[&str]| json!({ "name": name, "path": "/a", "access": "free", "hosts": hosts });
    let policy = load(
        vec![
            on("a", &["A.example:443"]),
            on("wild", &["*.example"]),
            on("local", &["localhost:8080"]),
            free("any", "/*"),
        ],
        false,
    );
    assert_eq!(find(&policy, "GET", "a.example", "/a"), "a");
    assert_eq!(find(&policy, "GET", "b.example:443", "/a"), "wild");
    assert_eq!(find(&policy, "GET", "c.example", "/a"), "wild");
    assert_eq!(find(&policy, "GET", "localhost:8080", "/a"), "local");
    assert_eq!(find(&policy, "GET", "localhost:8080", "/b"), "any");
}

#[test]
fn routes_without_a_name_get_one() {
    let unnamed = |path: &str, method: &str| json!({ "path": path, "access": "free", "methods": [method] });
    let policy = load(
        vec![
            unnamed("/", "GET"),
            unnamed("/a/{id}/*", "GET"),
            unnamed("/a/{id}/*", "POST"),
            free("root-2", "/z"),
            unnamed("/*", "PUT"),
        ],
        false,
    );
    let names: Vec<&str> = policy.routes().iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["root", "a-id-all", "a-id-all-2", "root-2", "all"]);
}

#[test]
fn ten_thousand_routes_load() {
    let routes = (0..10_000).map(|n| free(&format!("r{n}"), &format!("/v{}/item{n}/{{id}}", n % 7))).collect();
    let policy = load(routes, false);
    assert_eq!(find(&policy, "GET", "a.example", "/v3/item10/7"), "r10");
    assert_eq!(find(&policy, "GET", "a.example", "/v4/item10/7"), "-");
}

#[derive(Clone, Debug)]
struct Candidate {
    host: Option<&'static str>,
    segments: Vec<&'static str>,
    prefix: bool,
    methods: Vec<&'static str>,
}

impl Candidate {
    fn path(&self) -> String {
        let path: String = self.segments.iter().map(|segment| format!("/{segment}")).collect();
        if self.prefix {
            path + "/*"
        } else if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// How specific a match of `path` on `host` is, lower first; `None` if it is none.
    fn rank(&self, host: &str, path: &[&str]) -> Option<Vec<u8>> {
        let mut rank = vec![match self.host {
            Some(own) if own == host => 0,
            Some("*.example") if host.ends_with(".example") => 1,
            None => 2,
            _ => return None,
        }];
        if path.len() < self.segments.len() || (!self.prefix && path.len() != self.segments.len()) {
            return None;
        }
        for (own, segment) in self.segments.iter().zip(path) {
            rank.push(match *own {
                "{x}" => 1,
                own if own == *segment => 0,
                _ => return None,
            });
        }
        rank.push(if self.prefix { 2 } else { 0 });
        Some(rank)
    }
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let host = proptest::sample::select(vec![None, None, Some("a.example"), Some("*.example")]);
    let segments = proptest::collection::vec(proptest::sample::select(vec!["a", "b", "{x}"]), 0..4);
    let methods = proptest::sample::subsequence(vec!["GET", "POST", "HEAD"], 0..3);
    (host, segments, any::<bool>(), methods).prop_map(|(host, segments, prefix, methods)| Candidate {
        host,
        segments,
        prefix,
        methods,
    })
}

/// Tries every route; the index of the one that wins, `405`, or `-`.
fn naive(candidates: &[Candidate], method: &str, host: &str, path: &[&str]) -> String {
    let ranks: Vec<_> = candidates.iter().map(|candidate| candidate.rank(host, path)).collect();
    let Some(best) = ranks.iter().flatten().min() else { return "-".to_owned() };
    let at_best: Vec<usize> = (0..candidates.len()).filter(|index| ranks[*index].as_ref() == Some(best)).collect();
    let listing = |method: &str| at_best.iter().find(|index| candidates[**index].methods.contains(&method));
    let found = listing(method)
        .or_else(|| if method == "HEAD" { listing("GET") } else { None })
        .or_else(|| at_best.iter().find(|index| candidates[**index].methods.is_empty()));
    found.map_or("405".to_owned(), |index| format!("r{index}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_trie_agrees_with_trying_every_route(
        mut candidates in proptest::collection::vec(candidate(), 0..24),
        paths in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(vec!["a", "b", "c"]), 0..5), 8),
    ) {
        // The policy refuses two routes for the same requests.
        let mut seen = std::collections::HashSet::new();
        candidates.retain(|c| {
            let methods = if c.methods.is_empty() { vec!["any"] } else { c.methods.clone() };
            let keys: Vec<_> = methods.iter().map(|method| (c.host, c.path(), *method)).collect();
            let new = keys.iter().all(|key| !seen.contains(key));
            if new {
                seen.extend(keys);
            }
            new
        });
        let routes = candidates.iter().enumerate().map(|(index, c)| {
            let mut route = free(&format!("r{index}"), &c.path());
            if let Some(host) = c.host {
                route["hosts"] = json!([host]);
            }
            if !c.methods.is_empty() {
                route["methods"] = json!(c.methods);
            }
            route
        });
        let policy = load(routes.collect(), false);
        for path in paths {
            for host in ["a.example", "z.example", "localhost:8080"] {
                for method in ["GET", "HEAD", "POST", "PUT"] {
                    let found = find(&policy, method, host, &format!("/{}", path.join("/")));
                    let found = if found.starts_with("405") { "405" } else { &found };
                    prop_assert_eq!(found, naive(&candidates, method, host, &path));
                }
            }
        }
    }
}
