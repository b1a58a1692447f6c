//! Which hosts are ours, and the origin each is known by.
//!
//! The origin of a resource comes from the policy, never from a header that a client or a proxy in between may set
//! (`X-Forwarded-*`): only the authority is read from the request, and it must be one of the policy's.

use super::routes::Map;

/// A parsed authority: host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Lower-case registered name, IPv4 address, or IPv6 address in brackets.
    pub host: String,
    /// The port, if it is written.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host` or `host:port`; `wildcard` allows `*` as the first label.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(raw: &[u8], wildcard: bool) -> Result<Self, &'static str> {
        let raw = std::str::from_utf8(raw).map_err(|_| "the authority must be ASCII")?;
        if raw.contains('@') {
            return Err("the authority must not hold user information (`@`)");
        }
        let (host, port) = if raw.starts_with('[') {
            let end = raw.find(']').ok_or("an IPv6 address must end with `]`")?;
            let (host, rest) = raw.split_at(end + 1);
            let address = host.trim_matches(['[', ']']);
            address.parse::<std::net::Ipv6Addr>().map_err(|_| "what stands in `[…]` must be an IPv6 address")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("only `:port` may follow an IPv6 address"),
            }
        } else {
            let (host, port) = raw.split_once(':').map_or((raw, None), |(host, port)| (host, Some(port)));
            let name = if wildcard { host.strip_prefix("*.").unwrap_or(host) } else { host };
            if name.is_empty() || name.len() > 253 {
                return Err("the host must have 1 to 253 characters");
            }
            if name.split('.').any(|label| label.is_empty() || label.len() > 63) {
                return Err("each label of the host must have 1 to 63 characters");
            }
            if !name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.')) {
                return Err("the host may hold letters, digits, `-`, `_` and `.` only");
            }
            (host, port)
        };
        let port = match port {
            None => None,
            Some(digits) if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) => {
                return Err("the port must be a number");
            }
            Some(digits) => match digits.parse::<u16>() {
                Ok(0) | Err(_) => return Err("the port must be from 1 to 65535"),
                Ok(port) => Some(port),
            },
        };
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// `host` or `host:port`.
    #[must_use]
    pub fn text(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// An origin of the policy: scheme and authority, the first label of which may be `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Lower-case, without the scheme's default port.
    pub authority: Authority,
}

impl Origin {
    /// Parses `scheme://authority`; `wildcard` allows `*` as the first label of the host.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(raw: &str, wildcard: bool) -> Result<Self, &'static str> {
        let (scheme, rest) = raw.split_once("://").ok_or("write scheme and host, like \"https://api.example.com\"")?;
        let (scheme, default) = match scheme {
            "https" => ("https", 443),
            "http" => ("http", 80),
            _ => return Err("the scheme must be `https` or `http`"),
        };
        if rest.contains(['/', '?', '#']) {
            return Err("leave out everything after the host and port");
        }
        let mut authority = Authority::parse(rest.as_bytes(), wildcard)?;
        if authority.port == Some(default) {
            authority.port = None;
        }
        Ok(Self { scheme, authority })
    }

    /// `scheme://authority`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}://{}", self.scheme, self.authority.text())
    }

    /// Every spelling of the authority that a request for this origin may carry: with and without the default port.
    fn spellings(&self) -> Vec<String> {
        let mut spellings = vec![self.authority.text()];
        if self.authority.port.is_none() {
            spellings.push(format!("{}:{}", self.authority.host, if self.scheme == "https" { 443 } else { 80 }));
        }
        spellings
    }
}

/// What the policy says about an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    scheme: &'static str,
    /// Whether the authority was written with the scheme's default port.
    drop_port: bool,
}

/// Every authority of the policy.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    known: Map<Known>,
}

impl Authorities {
    /// Adds an origin.
    ///
    /// # Errors
    /// The spelling by which a request could mean this origin or an earlier one.
    pub fn add(&mut self, origin: &Origin) -> Result<(), String> {
        let spellings = origin.spellings();
        if let Some(taken) = spellings.iter().find(|spelling| self.known.contains_key(spelling.as_str())) {
            return Err(taken.clone());
        }
        for (index, spelling) in spellings.into_iter().enumerate() {
            self.known.insert(spelling.into(), Known { scheme: origin.scheme, drop_port: index > 0 });
        }
        Ok(())
    }

    /// Bytes of the longest origin that a request can be for.
    #[must_use]
    pub fn longest_origin(&self) -> usize {
        /// What a `*` may stand for: one label.
        const LABEL: usize = 63;
        let longest = self.known.keys().map(|key| key.len() + if key.starts_with('*') { LABEL - 1 } else { 0 }).max();
        "https://".len() + longest.unwrap_or(0)
    }

    /// The scheme of a request's authority that is spelt as the policy spells it, which most are.
    pub(crate) fn spelt<'a>(&self, raw: &'a [u8]) -> Option<(&'static str, &'a str)> {
        let raw = std::str::from_utf8(raw).ok().filter(|raw| !raw.starts_with('*'))?;
        self.known.get(raw).filter(|known| !known.drop_port).map(|known| (known.scheme, raw))
    }

    /// The scheme of a request's authority, and the authority in its canonical spelling; `None` if it is not ours.
    #[must_use]
    pub fn resolve(&self, authority: &Authority) -> Option<(&'static str, String)> {
        let text = authority.text();
        let known = match self.known.get(text.as_str()) {
            Some(known) => known,
            None => self.known.get(wildcard_of(&text)?.as_str())?,
        };
        Some((known.scheme, if known.drop_port { authority.host.clone() } else { text }))
    }
}

/// `*.example.com:8443` for `api.example.com:8443`: the wildcard that covers this authority. A wildcard stands for
/// exactly one label, as in certificates.
pub(crate) fn wildcard_of(authority: &str) -> Option<String> {
    if authority.starts_with('[') {
        return None;
    }
    authority.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}
