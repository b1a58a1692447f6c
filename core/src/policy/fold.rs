//! The form in which paths are compared. It is never forwarded.

use std::borrow::Cow;

/// `path` (canonical) as routes compare it: escapes of characters that may also stand bare in a path are opened, and
/// with `ignore_case` ASCII letters are lower-case.
///
/// RFC 3986 lets `/a%21b` and `/a!b` be two resources, and most servers answer the same to both. Whoever asks for the
/// one must not get away with the price of the other, so both have the same route; what is forwarded stays as it was.
pub(crate) fn fold(path: &str, ignore_case: bool) -> Cow<'_, str> {
    let mut folded = Cow::Borrowed(path);
    if path.contains('%') {
        let mut open = String::with_capacity(path.len());
        let mut parts = path.split('%');
        open.push_str(parts.next().unwrap_or_default());
        for part in parts {
            match part.split_at_checked(2) {
                Some((escape, rest)) => match bare(escape) {
                    Some(c) => {
                        open.push(c);
                        open.push_str(rest);
                    }
                    None => {
                        open.push('%');
                        open.push_str(part);
                    }
                },
                None => {
                    open.push('%');
                    open.push_str(part);
                }
            }
        }
        folded = Cow::Owned(open);
    }
    if ignore_case && folded.bytes().any(|c| c.is_ascii_uppercase()) {
        folded.to_mut().make_ascii_lowercase();
    }
    folded
}

/// The character that `%` and `escape` stand for, if it may stand bare in a segment.
fn bare(escape: &str) -> Option<char> {
    let c = u8::from_str_radix(escape, 16).ok()?;
    super::path::is_bare(c).then(|| char::from(c))
}
