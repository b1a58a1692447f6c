//! Which calls a grant is for, beyond origin and method.

use super::TokenError;
use super::members::{Members, texts};
use crate::policy::path;
use serde_json::{Value, json};

/// A condition on a call. All those of a grant must hold.
///
/// Paths are canonical paths, without the query, compared by whole segments: `/v1/` covers `/v1/a` and `/v1/`, and
/// neither `/v1` nor `/v10/a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// The path begins with this one, which ends in `/`.
    PathPrefix(String),
    /// The path is one of these.
    PathOneOf(Vec<String>),
    /// The policy's name of the route is one of these.
    RouteOneOf(Vec<String>),
}

/// Entries of a list.
const MAX_CHOICES: usize = 64;

impl Constraint {
    /// Reads `{"key": "path" | "route", "prefix": … | "one_of": […]}`: exactly one operator, and one that the key has.
    ///
    /// # Errors
    /// [`TokenError::Malformed`].
    pub fn parse(value: &Value) -> Result<Self, TokenError> {
        const WHAT: &str = "a constraint has `key` \"path\" or \"route\", and one operator that it allows";
        const PATHS: &str = "paths of a constraint are canonical, and a prefix ends in `/`";
        let mut members = Members::of(value, WHAT)?;
        let key = members.must("key", WHAT, Value::as_str)?;
        let prefix = members.take("prefix");
        let choices = members.take("one_of");
        members.end(WHAT)?;
        match (key, prefix, choices) {
            ("path", Some(prefix), None) => prefix
                .as_str()
                .filter(|prefix| prefix.ends_with('/') && is_canonical(prefix))
                .map(|prefix| Self::PathPrefix(prefix.to_owned()))
                .ok_or(TokenError::Malformed(PATHS)),
            ("path", None, Some(choices)) => {
                texts(choices, MAX_CHOICES, is_canonical).map(Self::PathOneOf).ok_or(TokenError::Malformed(PATHS))
            }
            ("route", None, Some(choices)) => texts(choices, MAX_CHOICES, |name| !name.is_empty())
                .map(Self::RouteOneOf)
                .ok_or(TokenError::Malformed("`one_of` of a constraint is a list of names")),
            _ => Err(TokenError::Malformed(WHAT)),
        }
    }

    /// As [`parse`](Self::parse) reads it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::PathPrefix(prefix) => json!({ "key": "path", "prefix": prefix }),
            Self::PathOneOf(paths) => json!({ "key": "path", "one_of": paths }),
            Self::RouteOneOf(names) => json!({ "key": "route", "one_of": names }),
        }
    }

    /// Whether a call of this canonical path and route satisfies it.
    #[must_use]
    pub fn admits(&self, path: &str, route: &str) -> bool {
        match self {
            // Both are canonical and the prefix ends in `/`, so that this compares whole segments.
            Self::PathPrefix(prefix) => path.starts_with(prefix.as_str()),
            Self::PathOneOf(paths) => paths.iter().any(|listed| listed == path),
            Self::RouteOneOf(names) => names.iter().any(|listed| listed == route),
        }
    }

    /// Whether every call that satisfies it satisfies `parent`.
    #[must_use]
    pub fn narrower_than(&self, parent: &Self) -> bool {
        match (self, parent) {
            (Self::PathPrefix(ours), Self::PathPrefix(theirs)) => ours.starts_with(theirs.as_str()),
            (Self::PathOneOf(ours), Self::PathPrefix(theirs)) => {
                ours.iter().all(|path| path.starts_with(theirs.as_str()))
            }
            (Self::PathOneOf(ours), Self::PathOneOf(theirs)) | (Self::RouteOneOf(ours), Self::RouteOneOf(theirs)) => {
                ours.iter().all(|listed| theirs.contains(listed))
            }
            _ => false,
        }
    }

    /// Whether it is about the same property of a call as `other`.
    pub(super) fn same_key(&self, other: &Self) -> bool {
        matches!(self, Self::RouteOneOf(_)) == matches!(other, Self::RouteOneOf(_))
    }
}

fn is_canonical(text: &str) -> bool {
    path::canonical(text.as_bytes()).is_ok_and(|canonical| canonical == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Constraint {
        Constraint::parse(&value).unwrap()
    }

    #[test]
    fn a_prefix_is_of_segments_never_of_letters() {
        let v1 = read(json!({ "key": "path", "prefix": "/v1/" }));
        for path in ["/v1/", "/v1/a", "/v1/a/b", "/v1/%E2%82%AC"] {
            assert!(v1.admits(path, ""), "{path}");
        }
        for path in ["/v1", "/v10", "/v10/a", "/v", "/", "/V1/a", "/a/v1/", ""] {
            assert!(!v1.admits(path, ""), "{path}");
        }
        let all = read(json!({ "key": "path", "prefix": "/" }));
        assert!(all.admits("/", "") && all.admits("/a", "") && !all.admits("", ""));
    }

    #[test]
    fn a_choice_is_the_whole_thing() {
        let paths = read(json!({ "key": "path", "one_of": ["/v1/a", "/v1/b/"] }));
        assert!(paths.admits("/v1/a", "") && paths.admits("/v1/b/", ""));
        assert!(!paths.admits("/v1/a/", "") && !paths.admits("/v1/b", "") && !paths.admits("/v1/a/b", ""));
        let routes = read(json!({ "key": "route", "one_of": ["quotes"] }));
        assert!(routes.admits("/anything", "quotes") && !routes.admits("/quotes", "quote"));
    }

    #[test]
    fn what_is_not_understood_is_no_constraint() {
        for bad in [
            json!({}),
            json!([]),
            json!("path"),
            json!({ "key": "path" }),
            json!({ "prefix": "/v1/" }),
            json!({ "key": "query", "one_of": ["a"] }),
            json!({ "key": "path", "prefix": "/v1/", "one_of": ["/v1/a"] }),
            json!({ "key": "path", "prefix": "/v1/", "max": "1" }),
            json!({ "key": "path", "not_one_of": ["/v1/a"] }),
            json!({ "key": "path", "prefix": "/v1" }),
            json!({ "key": "path", "prefix": "v1/" }),
            json!({ "key": "path", "prefix": "" }),
            json!({ "key": "path", "prefix": "/v1//" }),
            json!({ "key": "path", "prefix": "/v1/../" }),
            json!({ "key": "path", "prefix": "/v1/%2e/" }),
            json!({ "key": "path", "prefix": "/%61/" }),
            json!({ "key": "path", "prefix": "/%e2%82%ac/" }),
            json!({ "key": "path", "prefix": "/a%2Fb/" }),
            json!({ "key": "path", "prefix": "/a?b/" }),
            json!({ "key": "path", "prefix": "/€/" }),
            json!({ "key": "path", "prefix": ["/v1/"] }),
            json!({ "key": "path", "one_of": [] }),
            json!({ "key": "path", "one_of": "/v1/a" }),
            json!({ "key": "path", "one_of": ["/v1/a", 1] }),
            json!({ "key": "path", "one_of": ["v1"] }),
            json!({ "key": "route", "prefix": "quotes/" }),
            json!({ "key": "route", "one_of": [""] }),
            json!({ "key": "route", "one_of": vec!["a"; 65] }),
        ] {
            assert!(Constraint::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_constraint_is_read_back_as_it_was_written() {
        for value in [
            json!({ "key": "path", "prefix": "/v1/" }),
            json!({ "key": "path", "one_of": ["/v1/a", "/"] }),
            json!({ "key": "route", "one_of": ["quotes"] }),
        ] {
            assert_eq!(read(value.clone()).to_value(), value);
        }
    }

    #[test]
    fn narrower_is_what_it_says() {
        let prefix = |path: &str| Constraint::PathPrefix(path.into());
        let paths = |paths: &[&str]| Constraint::PathOneOf(paths.iter().map(|path| (*path).into()).collect());
        let routes = |names: &[&str]| Constraint::RouteOneOf(names.iter().map(|name| (*name).into()).collect());
        assert!(prefix("/v1/a/").narrower_than(&prefix("/v1/")));
        assert!(prefix("/v1/").narrower_than(&prefix("/v1/")));
        assert!(!prefix("/v1/").narrower_than(&prefix("/v1/a/")));
        assert!(!prefix("/v10/").narrower_than(&prefix("/v1/")));
        assert!(paths(&["/v1/a", "/v1/"]).narrower_than(&prefix("/v1/")));
        assert!(!paths(&["/v1/a", "/v1"]).narrower_than(&prefix("/v1/")));
        assert!(!prefix("/v1/").narrower_than(&paths(&["/v1/"])));
        assert!(paths(&["/a"]).narrower_than(&paths(&["/a", "/b"])));
        assert!(!paths(&["/a", "/c"]).narrower_than(&paths(&["/a", "/b"])));
        assert!(routes(&["a"]).narrower_than(&routes(&["b", "a"])));
        assert!(!routes(&["a", "c"]).narrower_than(&routes(&["b", "a"])));
        assert!(!routes(&["/a"]).narrower_than(&paths(&["/a"])));
        assert!(!paths(&["/a"]).narrower_than(&routes(&["/a"])));
    }
}
