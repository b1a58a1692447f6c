//! Which methods a request may have, and **what a HEAD costs: what the GET it mirrors costs**.

/// Whether `method` can be judged: an upper-case token that is neither `CONNECT` nor `TRACE`.
///
/// RFC 9110 §9.1 methods are case-sensitive, and every registered one is upper-case. A lower-case spelling that some
/// upstream takes for the same method would be judged as another, so it is refused. `CONNECT` opens a tunnel that no
/// price describes; `TRACE` echoes credentials.
#[must_use]
pub fn is_allowed(method: &[u8]) -> bool {
    !method.is_empty()
        && method.len() <= 32
        && method.iter().all(|c| is_token(*c))
        && !matches!(method, b"CONNECT" | b"TRACE")
}

/// Whether a request with this method has no body unless it says so by `Content-Length` or `Transfer-Encoding`.
#[must_use]
pub fn is_bodiless(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS")
}

fn is_token(c: u8) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_')
}

/// What `entries` (method, value) says about `method`; `any` answers for methods that are not listed.
///
/// `HEAD` is answered by its own entry if there is one, else by that of `GET`: a HEAD tells everything about a GET's
/// response but its body, so it is paid as the GET it mirrors.
#[must_use]
pub fn choose<'a, T>(method: &str, entries: &'a [(Box<str>, T)], any: Option<&'a T>) -> Option<&'a T> {
    let listed = |name: &str| entries.iter().find(|(listed, _)| **listed == *name).map(|(_, value)| value);
    listed(method).or_else(|| if method == "HEAD" { listed("GET") } else { None }).or(any)
}
