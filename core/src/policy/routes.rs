//! Which route a request belongs to: a trie over path segments, compiled once.
//!
//! The routes of the request's own host are looked at first, then those of the wildcard that covers it, then those of
//! any host. Within them each segment is matched exactly before by `{param}` before by `/*`, left to right, stepping
//! back where a branch leads nowhere: the most specific route wins, whatever the order of the policy. The cost depends
//! on the segments of the path, not on the number of routes.
//!
//! **A path that matches, but not with this method, is 405**, and never goes on to a less specific route. `GET
//! /report` priced beside a free `/*` must not make `POST /report` free: whoever wrote the specific route meant the
//! path, and the stricter reading costs nobody money.

use super::config::DefaultAccess;
use super::{CanonicalRequest, Route, authority, method, path};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Where a request belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Routed<'a> {
    /// To this route.
    Route(&'a Route),
    /// To a path that is not served with this method: 405.
    MethodNotAllowed {
        /// Value of `Allow`.
        allow: &'a str,
    },
    /// To no route; the policy says what that means.
    Unmatched(DefaultAccess),
}

/// A compiled path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Segments, folded; `None` is a parameter.
    pub(crate) segments: Vec<Option<Box<str>>>,
    /// Whether it ends in `/*`.
    pub(crate) prefix: bool,
}

/// The routes of a policy by host, path and method.
#[derive(Debug)]
pub(crate) struct Table {
    nodes: Vec<Node>,
    hosts: Map<usize>,
    any_host: Option<usize>,
    wildcards: bool,
    default: DefaultAccess,
}

#[derive(Debug, Default)]
struct Node {
    exact: Map<usize>,
    param: Option<usize>,
    here: Option<Box<Entries>>,
    below: Option<Box<Entries>>,
}

/// What is served at a pattern.
#[derive(Debug, Default)]
struct Entries {
    methods: Vec<(Box<str>, usize)>,
    any: Option<usize>,
    allow: String,
}

impl Table {
    /// A table without routes.
    pub(crate) fn new(default: DefaultAccess) -> Self {
        Self { nodes: Vec::new(), hosts: Map::default(), any_host: None, wildcards: false, default }
    }

    /// Adds the route with this index. No `host` means any; no `methods` means any.
    ///
    /// # Errors
    /// The index of the route that already serves the same host, path and method.
    pub(crate) fn add(
        &mut self,
        host: Option<&str>,
        pattern: &Pattern,
        methods: &[String],
        route: usize,
    ) -> Result<(), usize> {
        let mut at = self.root(host);
        for segment in &pattern.segments {
            at = self.child(at, segment.as_deref());
        }
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        let slot = if pattern.prefix { &mut node.below } else { &mut node.here };
        slot.get_or_insert_default().add(methods, route)
    }

    fn root(&mut self, host: Option<&str>) -> usize {
        let known = match host {
            Some(host) => self.hosts.get(host).copied(),
            None => self.any_host,
        };
        if let Some(root) = known {
            return root;
        }
        let root = self.push();
        match host {
            Some(host) => {
                self.wildcards |= host.starts_with("*.");
                self.hosts.insert(host.into(), root);
            }
            None => self.any_host = Some(root),
        }
        root
    }

    fn child(&mut self, at: usize, segment: Option<&str>) -> usize {
        let known = self.nodes.get(at).and_then(|node| match segment {
            Some(text) => node.exact.get(text).copied(),
            None => node.param,
        });
        if let Some(child) = known {
            return child;
        }
        let child = self.push();
        if let Some(node) = self.nodes.get_mut(at) {
            match segment {
                Some(text) => {
                    node.exact.insert(text.into(), child);
                }
                None => node.param = Some(child),
            }
        }
        child
    }

    fn push(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    /// Where `request` belongs, among `routes`.
    pub(crate) fn find<'a>(&'a self, routes: &'a [Route], request: &CanonicalRequest) -> Routed<'a> {
        match self.find_index(request.authority(), request.folded_path(), request.method()) {
            Found::Route(index) => routes.get(index).map_or(Routed::Unmatched(DefaultAccess::Denied), Routed::Route),
            Found::OtherMethods(allow) => Routed::MethodNotAllowed { allow },
            Found::Nothing => Routed::Unmatched(self.default),
        }
    }

    /// As [`find`](Self::find), from the parts that decide.
    pub(crate) fn find_index(&self, authority: &str, folded_path: &str, method: &str) -> Found<'_> {
        let segments: Vec<&str> = path::segments(folded_path).collect();
        let wildcard = if self.wildcards { authority::wildcard_of(authority) } else { None };
        let exact = self.hosts.get(authority).copied();
        let wildcard = wildcard.and_then(|name| self.hosts.get(name.as_str()).copied());
        for root in [exact, wildcard, self.any_host].into_iter().flatten() {
            if let Some(entries) = self.descend(root, &segments) {
                return match method::choose(method, &entries.methods, entries.any.as_ref()) {
                    Some(index) => Found::Route(*index),
                    None => Found::OtherMethods(&entries.allow),
                };
            }
        }
        Found::Nothing
    }

    /// The most specific entries at or below node `at` for the `rest` of a path. At most [`path::MAX_SEGMENTS`] deep.
    fn descend(&self, at: usize, rest: &[&str]) -> Option<&Entries> {
        let node = self.nodes.get(at)?;
        let deeper = match rest.split_first() {
            None => node.here.as_deref(),
            Some((segment, rest)) => {
                let exact = node.exact.get(*segment).and_then(|child| self.descend(*child, rest));
                exact.or_else(|| node.param.and_then(|child| self.descend(child, rest)))
            }
        };
        deeper.or(node.below.as_deref())
    }
}

/// What [`Table::find_index`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// The route with this index.
    Route(usize),
    /// The path is served with these methods only.
    OtherMethods(&'a str),
    /// No path matches.
    Nothing,
}

impl Entries {
    fn add(&mut self, methods: &[String], route: usize) -> Result<(), usize> {
        if methods.is_empty() {
            if let Some(other) = self.any {
                return Err(other);
            }
            self.any = Some(route);
            return Ok(());
        }
        for method in methods {
            if let Some((_, other)) = self.methods.iter().find(|(listed, _)| **listed == **method) {
                return Err(*other);
            }
        }
        self.methods.extend(methods.iter().map(|method| (method.as_str().into(), route)));
        let mut allow: Vec<&str> = self.methods.iter().map(|(method, _)| &**method).collect();
        if allow.contains(&"GET") && !allow.contains(&"HEAD") {
            allow.push("HEAD");
        }
        self.allow = allow.join(", ");
        Ok(())
    }
}

/// A map from texts of the policy. Its keys are the operator's, so nobody can aim at a bucket, and a short hash
/// without a random seed will do.
pub(crate) type Map<T> = HashMap<Box<str>, T, BuildHasherDefault<Fnv>>;

/// FNV-1a, 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
