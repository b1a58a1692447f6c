//! The request that a payment is for, as far as a decision may know it.

use super::money::{AccountId, AssetId};
use crate::crypto::sha256;
use crate::policy::authority::Origin;
use crate::policy::{method, path};

/// Bytes of a URL.
const MAX_URL: usize = 16 * 1024;

/// An absolute `http` or `https` URL, as a client would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: &'static str,
    host: String,
    port: Option<u16>,
    /// Origin, path and query, in one spelling. No fragment.
    text: String,
    origin_len: usize,
    /// The canonical path, if it has one meaning.
    path: Option<String>,
}

impl Url {
    /// Reads a URL; a fragment is dropped.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_URL {
            return Err("the URL is longer than 16 KiB");
        }
        if !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err("the URL holds a character that must be escaped");
        }
        let text = text.split('#').next().unwrap_or_default();
        let authority = text.split_once("://").ok_or("the URL must be absolute")?.1;
        let target = authority.find(['/', '?']).map_or("", |at| authority.get(at..).unwrap_or_default());
        let origin = text.strip_suffix(target).unwrap_or(text);
        let origin = Origin::parse(origin, false)?;
        let (raw_path, query) = match target.find('?') {
            Some(at) => target.split_at_checked(at).unwrap_or((target, "")),
            None => (target, ""),
        };
        let raw_path = if raw_path.is_empty() { "/" } else { raw_path };
        let canonical = path::canonical(raw_path.as_bytes()).ok();
        let mut text = origin.text();
        let origin_len = text.len();
        text.push_str(canonical.as_deref().unwrap_or(raw_path));
        text.push_str(query);
        let (scheme, host, port) = (origin.scheme, origin.authority.host, origin.authority.port);
        Ok(Self { scheme, host, port, text, origin_len, path: canonical })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Lower-case host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it is not the scheme's default.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Scheme and authority: `https://api.example.com`.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.get(..self.origin_len).unwrap_or(&self.text)
    }

    /// The canonical path, without the query; `None` if two readers could read it as two different ones.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The whole URL, in one spelling.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Origin and path, by which a resource is counted. All paths of a host that have no single meaning are one.
    #[must_use]
    pub fn resource(&self) -> String {
        match &self.path {
            Some(path) => format!("{}{}", self.origin(), path),
            None => format!("{}?", self.origin()),
        }
    }
}

/// What is known of a request's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    #[default]
    Empty,
    /// Its SHA-256.
    Digest([u8; 32]),
    /// It is streamed, or cannot be read.
    Unknown,
}

impl Body {
    /// A body that is at hand.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Digest(sha256(&[bytes])) }
    }

    fn tagged(&self) -> [u8; 33] {
        let mut tagged = [0; 33];
        let (tag, digest) = match self {
            Self::Empty => (0, [0; 32]),
            Self::Digest(digest) => (1, *digest),
            Self::Unknown => (2, [0; 32]),
        };
        for (to, from) in tagged.iter_mut().zip(std::iter::once(tag).chain(digest)) {
            *to = from;
        }
        tagged
    }
}

/// What a caller was told that the request would cost, before it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The asset.
    pub asset: AssetId,
    /// Atomic units of it.
    pub amount: u128,
    /// Who was to be paid, if that was told.
    pub payee: Option<AccountId>,
}

/// A request that might be paid for: everything about it that decides, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The URL that answered 402, after redirects.
    pub url: Url,
    /// The URL that the caller asked for, if it was another.
    pub asked: Option<Url>,
    /// The method, in upper case.
    pub method: String,
    /// The body.
    pub body: Body,
    /// The task it belongs to, named by the program, never by a model. Letters, digits, `.`, `_`, `-`, `:`.
    pub task: Option<String>,
    /// The agent that asks, likewise.
    pub agent: Option<String>,
    /// What the caller was told that it costs.
    pub quote: Option<Quote>,
}

impl Request {
    /// A request without a body, task, agent and quote.
    ///
    /// # Errors
    /// What is wrong with URL or method, in words.
    pub fn new(method: &str, url: &str) -> Result<Self, &'static str> {
        if !method::is_allowed(method.as_bytes()) {
            return Err("the method must be in upper case, and neither CONNECT nor TRACE");
        }
        let url = Url::parse(url)?;
        let method = method.to_owned();
        Ok(Self { url, asked: None, method, body: Body::Empty, task: None, agent: None, quote: None })
    }

    /// Whether `name` may name a task or an agent.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b':');
        (1..=64).contains(&name.len()) && name.bytes().all(fits)
    }

    /// Whether what asks for the payment is what the caller asked: the same URL, or another of its origin by a redirect that
    /// keeps the method.
    #[must_use]
    pub fn stayed(&self) -> bool {
        let reads = matches!(self.method.as_str(), "GET" | "HEAD");
        self.asked.as_ref().is_none_or(|asked| reads && asked.origin() == self.url.origin())
    }

    /// Hash of what is asked for: method, URL and body. Two requests with one key are the same request.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        let framed = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
        sha256(&[
            b"farebox request 1\0",
            &framed(&self.method),
            self.method.as_bytes(),
            &framed(self.url.text()),
            self.url.text().as_bytes(),
            &self.body.tagged(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_spelling() {
        for (text, same) in [
            ("https://API.example.com:443/a%7Eb?x=1#frag", "https://api.example.com/a~b?x=1"),
            ("https://api.example.com", "https://api.example.com/"),
            ("http://localhost:8402?x", "http://localhost:8402/?x"),
            ("https://api.example.com/a//b", "https://api.example.com/a//b"),
        ] {
            assert_eq!(Url::parse(text).unwrap().text(), same);
        }
        assert_eq!(Url::parse("https://h.example/a//b").unwrap().path(), None);
        assert_eq!(Url::parse("https://h.example/a/../b").unwrap().resource(), "https://h.example?");
        for wrong in ["", "/a", "ftp://h.example/", "https://u@h.example/", "https://h.example/ a", "https:///a"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_known_by_method_url_and_body() {
        let one = Request::new("GET", "https://h.example/a?x=1").unwrap();
        let mut others = vec![one.clone(); 4];
        others[0].method = "HEAD".to_owned();
        others[1].url = Url::parse("https://h.example/a?x=2").unwrap();
        others[2].body = Body::of(b"x");
        others[3].body = Body::Unknown;
        let mut keys: Vec<_> = others.iter().map(Request::key).chain([one.key()]).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 5);
        assert!(Request::new("get", "https://h.example/").is_err());
        assert!(Request::is_name("crawl-7.b:1") && !Request::is_name("a|b") && !Request::is_name(""));
    }
}
