//! How hosts and paths are written in a buyer's policy, and what they match.
//!
//! A rule that *grants* reads its patterns to the letter; a rule that *restricts* reads them as widely as they can be
//! meant. So nobody gets round a rule by spelling a URL otherwise.

use crate::policy::authority::Origin;
use crate::policy::path;

/// How a pattern is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// To the letter: the rule gives something.
    Grant,
    /// As widely as it can be meant: the rule takes something.
    Restrict,
}

/// One or more hosts: `api.example.com`, `*.example.com`, `http://localhost:8402`.
///
/// `*.` stands for one or more labels. Without a scheme a grant means `https`, and a restriction means any scheme and,
/// without a port, any port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern {
    scheme: Option<&'static str>,
    /// Without the `*.`.
    name: String,
    wildcard: bool,
    /// As written; the scheme's default is never written.
    port: Option<u16>,
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (origin, written) = match text.split_once("://") {
            Some(_) => (Origin::parse(text, true)?, true),
            None => (Origin::parse(&format!("https://{text}"), true)?, false),
        };
        let (name, wildcard) = match origin.authority.host.strip_prefix("*.") {
            Some(name) => (name.to_owned(), true),
            None => (origin.authority.host, false),
        };
        if wildcard && let Some(hint) = shared(&name) {
            return Err(hint);
        }
        Ok(Self { scheme: written.then_some(origin.scheme), name, wildcard, port: origin.authority.port })
    }

    /// Whether `url` has such a host.
    pub(super) fn matches(&self, url: &super::request::Url, reading: Reading) -> bool {
        let name = if self.wildcard { is_below(url.host(), &self.name) } else { url.host() == self.name };
        let scheme = match (self.scheme, reading) {
            (Some(scheme), _) => scheme == url.scheme(),
            (None, Reading::Grant) => url.scheme() == "https",
            (None, Reading::Restrict) => true,
        };
        let any_port = self.port.is_none() && self.scheme.is_none() && reading == Reading::Restrict;
        name && scheme && (any_port || self.port == url.port())
    }

    /// Whether every host of this pattern is one of `wider`'s.
    pub(super) fn within(&self, wider: &Self, reading: Reading) -> bool {
        let name = match (self.wildcard, wider.wildcard) {
            (false, false) => self.name == wider.name,
            (true, false) => false,
            (false, true) => is_below(&self.name, &wider.name),
            (true, true) => self.name == wider.name || is_below(&self.name, &wider.name),
        };
        let (mine, its) = (self.reach(reading), wider.reach(reading));
        let fits = |mine: Option<&str>, its: Option<&str>| its.is_none() || mine == its;
        name && fits(mine.0, its.0) && (its.1.is_none() || mine.1 == its.1)
    }

    /// Scheme and port as they are read; `None` is any.
    fn reach(&self, reading: Reading) -> (Option<&'static str>, Option<Option<u16>>) {
        match (self.scheme, reading) {
            (Some(scheme), _) => (Some(scheme), Some(self.port)),
            (None, Reading::Grant) => (Some("https"), Some(self.port)),
            (None, Reading::Restrict) => (None, self.port.map(Some)),
        }
    }
}

/// Whether `host` is a name below `parent`.
fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// What to write instead if names below `name` belong to different people.
///
/// This is no public suffix list. It knows the shape of registries (one label; two under a country) and the hosting
/// services that x402 sellers are found on.
fn shared(name: &str) -> Option<String> {
    let labels: Vec<&str> = name.split('.').collect();
    let registry = match labels.as_slice() {
        [] | [_] => true,
        [second, country] => country.len() == 2 && SECOND_LEVELS.contains(second),
        _ => false,
    };
    (registry || SHARED.contains(&name))
        .then(|| format!("names below `{name}` belong to different people: write the hosts that are meant"))
}

/// Second labels under which countries register names.
const SECOND_LEVELS: [&str; 14] =
    ["ac", "co", "com", "edu", "gen", "go", "gob", "gov", "gv", "ne", "net", "or", "org", "nom"];

/// Domains under which anybody gets a name.
const SHARED: [&str; 36] = [
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "b-cdn.net",
    "cloudapp.net",
    "cloudfront.net",
    "deno.dev",
    "fastly.net",
    "firebaseapp.com",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "hf.space",
    "lovable.app",
    "mintlify.app",
    "modal.run",
    "netlify.app",
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "onrender.com",
    "pages.dev",
    "r2.dev",
    "railway.app",
    "replit.app",
    "replit.dev",
    "run.app",
    "supabase.co",
    "trycloudflare.com",
    "up.railway.app",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// One or more paths: `/report`, `/report/{id}` (one segment), `/files/*` (everything below, and `/files` itself).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathPattern {
    /// `None` stands for any one segment.
    segments: Vec<Option<String>>,
    prefix: bool,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/') else { return Err("a path starts with `/`".to_owned()) };
        if text.contains('?') {
            return Err("leave out the query: rules are for paths".to_owned());
        }
        let (inner, prefix) = match inner.strip_suffix('*') {
            Some("") => ("", true),
            Some(rest) => match rest.strip_suffix('/') {
                Some(rest) => (rest, true),
                None => return Err("`*` stands for whole segments: write `/*` at the end".to_owned()),
            },
            None => (inner, false),
        };
        if inner.ends_with('/') {
            return Err("leave out the `/` at the end: paths match with and without it".to_owned());
        }
        let mut segments = Vec::new();
        for segment in inner.split('/').filter(|_| !inner.is_empty()) {
            if segment.contains('*') {
                return Err("`*` may stand only at the end; for one segment write `{id}`".to_owned());
            }
            if segment.contains(['{', '}']) {
                let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
                if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                    return Err("a parameter is a whole segment, like `/{id}`".to_owned());
                }
                segments.push(None);
                continue;
            }
            let canonical = path::canonical(format!("/{segment}").as_bytes()).map_err(str::to_owned)?;
            segments.push(Some(canonical.trim_start_matches('/').to_owned()));
        }
        Ok(Self { segments, prefix })
    }

    /// Whether `url` has such a path. A path that two readers could read as two different ones matches every
    /// restriction, and of the grants only `/*`.
    pub(super) fn matches(&self, url: &super::request::Url, reading: Reading) -> bool {
        let Some(path) = url.path() else {
            return reading == Reading::Restrict || (self.prefix && self.segments.is_empty());
        };
        let mut found = path::segments(path);
        for wanted in &self.segments {
            let same = match (found.next(), wanted) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(found), Some(wanted)) if reading == Reading::Grant => found == wanted,
                (Some(found), Some(wanted)) => plain(found) == plain(wanted),
            };
            if !same {
                return false;
            }
        }
        self.prefix || found.next().is_none()
    }

    /// Whether every path of this pattern is one of `wider`'s.
    pub(super) fn within(&self, wider: &Self, reading: Reading) -> bool {
        let same = |(mine, its): (&Option<String>, &Option<String>)| match (mine, its) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(its)) if reading == Reading::Grant => mine == its,
            (Some(mine), Some(its)) => plain(mine) == plain(its),
        };
        // Only `/*` of a grant matches what cannot be read: `/a/*` does not hold it, so lengths alone decide there too.
        let length = if wider.prefix {
            self.segments.len() >= wider.segments.len()
        } else {
            !self.prefix && self.segments.len() == wider.segments.len()
        };
        length && self.segments.iter().zip(&wider.segments).all(same)
    }
}

/// A segment as restrictions compare it: escapes opened, without regard to case.
fn plain(segment: &str) -> Vec<u8> {
    let mut bytes = segment.bytes();
    let mut opened = Vec::with_capacity(segment.len());
    while let Some(c) = bytes.next() {
        let mut digit = || bytes.next().and_then(|c| char::from(c).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let c = match c {
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => (high << 4) | low,
                _ => b'%',
            },
            c => c,
        };
        opened.push(c.to_ascii_lowercase());
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::super::request::Url;
    use super::*;

    fn host(pattern: &str, url: &str, reading: Reading) -> bool {
        HostPattern::parse(pattern).unwrap().matches(&Url::parse(url).unwrap(), reading)
    }

    fn path(pattern: &str, url: &str, reading: Reading) -> bool {
        PathPattern::parse(pattern).unwrap().matches(&Url::parse(&format!("https://h.example{url}")).unwrap(), reading)
    }

    #[test]
    fn a_grant_reads_hosts_to_the_letter_and_a_restriction_widely() {
        use Reading::{Grant, Restrict};
        for (pattern, url, granted, restricted) in [
            ("api.example.com", "https://api.example.com/x", true, true),
            ("api.example.com", "http://api.example.com/x", false, true),
            ("api.example.com", "https://api.example.com:8443/x", false, true),
            ("api.example.com:8443", "https://api.example.com:8443/x", true, true),
            ("api.example.com:8443", "https://api.example.com/x", false, false),
            ("*.example.com", "https://a.b.example.com/", true, true),
            ("*.example.com", "https://example.com/", false, false),
            ("*.example.com", "https://notexample.com/", false, false),
            ("http://localhost:8402", "http://localhost:8402/", true, true),
            ("http://localhost:8402", "https://localhost:8402/", false, false),
            ("https://api.example.com", "https://api.example.com:1/", false, false),
            ("API.example.com", "https://api.EXAMPLE.com/x", true, true),
        ] {
            assert_eq!(host(pattern, url, Grant), granted, "{pattern} {url}");
            assert_eq!(host(pattern, url, Restrict), restricted, "{pattern} {url}");
        }
    }

    #[test]
    fn wildcards_stop_where_names_belong_to_different_people() {
        for wrong in ["*.com", "*.co.uk", "*.com.br", "*.github.io", "*.workers.dev", "*.vercel.app", "*.", "*.uk"] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
        for right in ["*.example.com", "*.mine.workers.dev", "*.example.co.uk", "*.x402.org", "*.t.co"] {
            assert!(HostPattern::parse(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn paths_match_by_segment() {
        use Reading::{Grant, Restrict};
        for (pattern, url, granted, restricted) in [
            ("/v1/report", "/v1/report", true, true),
            ("/v1/report", "/v1/report/", true, true),
            ("/v1/report", "/v1/reports", false, false),
            ("/v1/report", "/V1/Report", false, true),
            ("/v1/report", "/v1/re%70ort", true, true),
            ("/v1/a!b", "/v1/a%21b", false, true),
            ("/v1/*", "/v1", true, true),
            ("/v1/*", "/v1/a/b", true, true),
            ("/v1/*", "/v11", false, false),
            ("/v1/{id}", "/v1/7", true, true),
            ("/v1/{id}", "/v1/7/8", false, false),
            ("/*", "/a//b", true, true),
            ("/v1/*", "/v1//b", false, true),
            ("/v1", "/v2/..%2fv1", false, true),
            ("/", "/", true, true),
        ] {
            assert_eq!(path(pattern, url, Grant), granted, "{pattern} {url}");
            assert_eq!(path(pattern, url, Restrict), restricted, "{pattern} {url}");
        }
    }

    #[test]
    fn what_is_within_a_pattern_matches_it_too() {
        use Reading::{Grant, Restrict};
        let hosts = ["a.example.com", "*.example.com", "*.a.example.com", "http://a.example.com", "a.example.com:81"];
        let urls =
            ["https://a.example.com", "http://a.example.com", "https://a.example.com:81", "https://b.a.example.com"];
        let paths = ["/", "/*", "/a", "/a/*", "/{x}", "/A", "/a/{x}", "/a/b"];
        let targets = ["/", "/a", "/A", "/a/b", "/a/c/d", "/b", "/a//b"];
        for reading in [Grant, Restrict] {
            for (narrow, wide) in hosts.iter().flat_map(|a| hosts.iter().map(move |b| (a, b))) {
                let (a, b) = (HostPattern::parse(narrow).unwrap(), HostPattern::parse(wide).unwrap());
                for url in urls.map(|url| Url::parse(url).unwrap()) {
                    let implied = !a.within(&b, reading) || !a.matches(&url, reading) || b.matches(&url, reading);
                    assert!(implied, "{narrow} in {wide} by {url:?}");
                }
                assert!(a.within(&a, reading));
            }
            for (narrow, wide) in paths.iter().flat_map(|a| paths.iter().map(move |b| (a, b))) {
                let (a, b) = (PathPattern::parse(narrow).unwrap(), PathPattern::parse(wide).unwrap());
                for url in targets.map(|path| Url::parse(&format!("https://h.example{path}")).unwrap()) {
                    let implied = !a.within(&b, reading) || !a.matches(&url, reading) || b.matches(&url, reading);
                    assert!(implied, "{narrow} in {wide} by {url:?}");
                }
                assert!(a.within(&a, reading));
            }
        }
    }
}
