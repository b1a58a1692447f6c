//! The one canonical form of a path.
//!
//! Proxies and upstreams disagree about what a path means as soon as it holds an escaped separator, a dot segment, an
//! empty segment, a path parameter or a double escape, and each disagreement is a way round a price (x402
//! GHSA-3j63-5h8p-gf7c, Envoy GHSA-xcx5-93pw-jw2w). Such paths are refused. What is left is rewritten to one spelling
//! (RFC 3986 §6.2.2: escapes of unreserved characters opened, hexadecimal in upper case), and that spelling is what is
//! judged and what is forwarded.

/// Bytes a path with its query may have.
pub const MAX_TARGET: usize = 8 * 1024;
/// Segments a path may have.
pub const MAX_SEGMENTS: usize = 64;

/// The canonical spelling of `raw`, a path without its query.
///
/// # Errors
/// Why the path is refused, in words for the client.
pub fn canonical(raw: &[u8]) -> Result<String, &'static str> {
    match plain(raw) {
        Some(path) => Ok(path.to_owned()),
        None => rewritten(raw),
    }
}

/// The path itself, if it is seen at once that it is its own canonical form: most are.
pub(crate) fn plain(raw: &[u8]) -> Option<&str> {
    let (mut before, mut segments) = (0, 0);
    for c in raw {
        let fits = match (before, *c) {
            (b'/', b'/' | b'.') => false,
            (0, c) => c == b'/',
            (_, c) => BARE.get(usize::from(c)) == Some(&true) || c == b'/',
        };
        if !fits {
            return None;
        }
        segments += usize::from(*c == b'/');
        before = *c;
    }
    if raw.is_empty() || segments > MAX_SEGMENTS { None } else { std::str::from_utf8(raw).ok() }
}

/// Whether a path may hold a byte as it is, a separator apart.
const BARE: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0;
    while c < table.len() {
        #[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "below 256, while compiling")]
        {
            table[c] = is_bare(c as u8);
        }
        c += 1;
    }
    table
};

fn rewritten(raw: &[u8]) -> Result<String, &'static str> {
    if raw.first() != Some(&b'/') {
        return Err("the path must start with `/`");
    }
    let mut text = String::with_capacity(raw.len());
    // What an upstream sees once it has opened every escape.
    let mut opened = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(c) = bytes.next() {
        match c {
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next().and_then(digit), bytes.next().and_then(digit)) else {
                    return Err("a `%` in the path must be followed by two hexadecimal digits");
                };
                let c = (high << 4) | low;
                opened.push(c);
                match c {
                    0..=0x1f | 0x7f => return Err("the path must not hold an escaped control character"),
                    b'/' | b'\\' => return Err("the path must not hold an escaped separator (%2F, %5C)"),
                    b';' => return Err("the path must not hold a path parameter (`;`)"),
                    c if is_unreserved(c) => text.push(char::from(c)),
                    _ => {
                        text.push('%');
                        text.push(HEX.get(usize::from(high)).copied().unwrap_or('0'));
                        text.push(HEX.get(usize::from(low)).copied().unwrap_or('0'));
                    }
                }
            }
            b'/' => {
                opened.push(c);
                text.push('/');
            }
            b';' => return Err("the path must not hold a path parameter (`;`)"),
            b'#' => return Err("the path must not hold a fragment (`#`)"),
            c if is_bare(c) => {
                opened.push(c);
                text.push(char::from(c));
            }
            _ => return Err("the path holds a character that must be escaped there"),
        }
    }
    if std::str::from_utf8(&opened).is_err() {
        return Err("the path's escapes must be UTF-8");
    }
    if double_escaped(&text) {
        return Err("the path must not be escaped twice (%25 before two hexadecimal digits)");
    }
    let inner = text.strip_prefix('/').unwrap_or(&text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if text.len() > 1 && inner.split('/').any(str::is_empty) {
        return Err("the path must not hold an empty segment (`//`)");
    }
    if inner.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("the path must not hold a dot segment (`.`, `..`)");
    }
    if inner.split('/').count() > MAX_SEGMENTS {
        return Err("the path has more than 64 segments");
    }
    Ok(text)
}

/// The segments of a canonical or folded path; one trailing `/` does not count.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    inner.split('/').filter(|segment| !segment.is_empty())
}

/// RFC 3986 §2.3.
const fn is_unreserved(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 `pchar` without `;` and escapes: what may stand bare in a segment.
pub(crate) const fn is_bare(c: u8) -> bool {
    is_unreserved(c) || matches!(c, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// Looked for in the canonical text, because `%25%32%46` becomes `%252F` only there.
fn double_escaped(text: &str) -> bool {
    text.split("%25").skip(1).any(|rest| {
        let mut bytes = rest.bytes();
        let mut hex = || bytes.next().and_then(digit).is_some();
        hex() && hex()
    })
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

fn digit(c: u8) -> Option<u8> {
    u8::try_from(char::from(c).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_path_that_is_seen_to_be_canonical_is(path in "/([a-z.~!%2F/;:@#* \\u{e9}-]|[a-z]{3}/){0,70}") {
            if let Some(plain) = plain(path.as_bytes()) {
                prop_assert_eq!(rewritten(path.as_bytes()), Ok(plain.to_owned()));
            }
        }
    }

    #[test]
    fn ordinary_paths_are_seen_at_once() {
        for path in ["/", "/v1/quotes/btc", "/a/b-c_d~e.f/", "/reports/2026:11,12@x"] {
            assert_eq!(plain(path.as_bytes()), Some(path));
        }
        let deep = "/a".repeat(MAX_SEGMENTS);
        assert_eq!(plain(deep.as_bytes()), Some(deep.as_str()));
        for path in ["", "a", "//", "/a//b", "/.", "/a/../b", "/%41", "/a;b", "/a#", "/a b", "/\u{e9}", "/a?b"] {
            assert_eq!(plain(path.as_bytes()), None, "{path}");
        }
        assert_eq!(plain(format!("{deep}/a").as_bytes()), None);
    }
}
