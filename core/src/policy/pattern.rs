//! How the path of a route is written: `/report`, `/report/{id}`, `/files/*`.

use super::fold::fold;
use super::path;
use super::routes::Pattern;

/// Reads the path of a route.
///
/// # Errors
/// What to write instead.
pub(super) fn parse(text: &str, ignore_case: bool) -> Result<Pattern, String> {
    let Some(inner) = text.strip_prefix('/') else {
        return Err("a path starts with `/`".to_owned());
    };
    if text.contains('?') {
        return Err("leave out the query: it does not select a route".to_owned());
    }
    if text.contains("//") {
        return Err("leave out the empty segment (`//`)".to_owned());
    }
    let (inner, prefix) = match inner.strip_suffix('*') {
        Some("") => ("", true),
        Some(rest) if rest.ends_with('/') => (rest.strip_suffix('/').unwrap_or(rest), true),
        Some(_) => return Err("`*` stands for whole segments: write `/*` at the end".to_owned()),
        None => (inner, false),
    };
    if inner.ends_with('/') {
        return Err("leave out the `/` at the end: paths match with and without it".to_owned());
    }
    let mut segments = Vec::new();
    for segment in inner.split('/').filter(|_| !inner.is_empty()) {
        if segment.contains('*') {
            return Err(
                "`*` may stand only at the end; for one segment in between write a parameter, like `{id}`".to_owned()
            );
        }
        if segment.contains(['{', '}']) {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let is_name =
                |name: &&str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            if name.filter(is_name).is_none() {
                return Err(
                    "a parameter is a whole segment, like `/{id}`: letters, digits and `_` in braces".to_owned()
                );
            }
            segments.push(None);
            continue;
        }
        if !segment.is_ascii() {
            return Err(format!("escape it as it is on the wire: `{}`", escaped(segment)));
        }
        let canonical = path::canonical(format!("/{segment}").as_bytes()).map_err(str::to_owned)?;
        let canonical = canonical.strip_prefix('/').unwrap_or(&canonical);
        segments.push(Some(fold(canonical, ignore_case).into()));
    }
    if segments.len() > path::MAX_SEGMENTS {
        return Err("a path may have 64 segments; no request with more gets through".to_owned());
    }
    Ok(Pattern { segments, prefix })
}

fn escaped(segment: &str) -> String {
    let mut text = String::new();
    for byte in segment.bytes() {
        if byte.is_ascii() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn patterns_are_read_or_refused_with_a_hint() {
        for (text, segments, prefix) in
            [("/", 0, false), ("/*", 0, true), ("/a/{id}/b", 3, false), ("/a/*", 1, true), ("/%7Ea", 1, false)]
        {
            let pattern = parse(text, true).unwrap();
            assert_eq!((pattern.segments.len(), pattern.prefix), (segments, prefix), "{text}");
        }
        assert_eq!(parse("/%7eA%21", true), parse("/~a!", true));
        for wrong in [
            "",
            "a",
            "/a/",
            "/a*",
            "/*/a",
            "/a//b",
            "/a//*",
            "//",
            "//*",
            "/a?b",
            "/a#b",
            "/a/{b",
            "/a/x{b}",
            "/a/{}",
            "/a/../b",
            "/a;b",
            "/caf\u{e9}",
            "/a b",
            "/%2f",
        ] {
            assert!(parse(wrong, true).is_err(), "{wrong}");
        }
        assert!(parse("/caf\u{e9}", true).unwrap_err().contains("caf%C3%A9"));
    }
}
