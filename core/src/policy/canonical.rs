//! The canonical request: the one form of a request that is judged, charged, bound to a claim, and forwarded.

use super::authority::{Authorities, Authority};
use super::fold::fold;
use super::{method, path};
use crate::http::Headers;
use std::borrow::Cow;
use std::fmt;

/// A request that cannot be read in exactly one way, or is not for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// Stable reason: `bad_method`, `bad_path`, `path_too_long`, `bad_authority`, `unknown_host`.
    pub code: &'static str,
    /// HTTP status that says so: 400, 414 or 421.
    pub status: u16,
    /// What is wrong, in words. Never repeats what the client sent.
    pub detail: String,
}

impl BadRequest {
    fn new(code: &'static str, status: u16, detail: impl Into<String>) -> Self {
        Self { code, status, detail: detail.into() }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for BadRequest {}

/// A request in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalRequest {
    method: String,
    /// Scheme and authority.
    origin: String,
    /// Where the authority begins.
    authority_at: usize,
    /// Path and query.
    target: String,
    path_len: usize,
    rewritten: bool,
    /// The path as routes compare it, where that differs from the path itself.
    folded: Option<String>,
}

impl CanonicalRequest {
    pub(crate) fn read(headers: &Headers, ours: &Authorities, ignore_case: bool) -> Result<Self, BadRequest> {
        let method = one(headers, ":method")
            .filter(|method| method::is_allowed(method))
            .and_then(|method| std::str::from_utf8(method).ok())
            .ok_or_else(|| BadRequest::new("bad_method", 400, "one method in upper case, neither CONNECT nor TRACE"))?;

        let bad_authority = |detail| BadRequest::new("bad_authority", 400, detail);
        let authority = one(headers, ":authority").ok_or_else(|| bad_authority("one authority is needed"))?;
        if headers.all("host").any(|host| !host.eq_ignore_ascii_case(authority)) {
            return Err(bad_authority("`host` and `:authority` differ"));
        }
        let (scheme, authority) = match ours.spelt(authority) {
            Some((scheme, authority)) => (scheme, Cow::Borrowed(authority)),
            None => {
                let authority = Authority::parse(authority, false).map_err(bad_authority)?;
                let (scheme, authority) = ours
                    .resolve(&authority)
                    .ok_or_else(|| BadRequest::new("unknown_host", 421, "this host is not an origin of the policy"))?;
                (scheme, Cow::Owned(authority))
            }
        };

        let bad_path = |detail| BadRequest::new("bad_path", 400, detail);
        let raw = one(headers, ":path").ok_or_else(|| bad_path("one path is needed"))?;
        if raw.len() > path::MAX_TARGET {
            return Err(BadRequest::new("path_too_long", 414, "path and query may have 8192 bytes"));
        }
        let split = raw.iter().position(|c| *c == b'?').unwrap_or(raw.len());
        let (raw_path, raw_query) = raw.split_at_checked(split).unwrap_or((raw, &[]));
        let mut target = String::with_capacity(raw.len());
        match path::plain(raw_path) {
            Some(plain) => target.push_str(plain),
            None => target = path::canonical(raw_path).map_err(bad_path)?,
        }
        let path_len = target.len();
        let folded = match fold(&target, ignore_case) {
            Cow::Owned(folded) => Some(folded),
            Cow::Borrowed(_) => None,
        };
        let query = std::str::from_utf8(raw_query)
            .ok()
            .filter(|query| query.bytes().all(|c| c.is_ascii_graphic() && c != b'#'));
        target.push_str(query.ok_or_else(|| bad_path("the query holds a character that must be escaped there"))?);
        Ok(Self {
            method: method.to_owned(),
            origin: [scheme, "://", &authority].concat(),
            authority_at: scheme.len() + "://".len(),
            rewritten: target.as_bytes() != raw,
            target,
            path_len,
            folded,
        })
    }

    /// The method, as it came.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Lower-case host, with the port where it is not the scheme's default.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.origin.get(self.authority_at..).unwrap_or_default()
    }

    /// Scheme and authority, as the policy knows them: `https://api.example.com`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The canonical path, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.get(..self.path_len).unwrap_or(&self.target)
    }

    /// The query, as it came, without `?`. `Some("")` for a bare `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path_len + 1..)
    }

    /// Path and query exactly as they are to be forwarded: the value of `:path`.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Origin and target: the URL of the resource.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }

    /// Whether [`target`](Self::target) is spelt otherwise than the `:path` that came, so that it must be replaced.
    #[must_use]
    pub fn path_rewritten(&self) -> bool {
        self.rewritten
    }

    /// The path as routes compare it.
    pub(crate) fn folded_path(&self) -> &str {
        self.folded.as_deref().unwrap_or_else(|| self.path())
    }
}

/// The value of the field `name`, if there is exactly one.
fn one<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.all(name);
    values.next().filter(|_| values.next().is_none())
}
