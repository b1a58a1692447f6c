//! Header fields as one text: names and values by turns, each followed by a line feed, which neither can contain.
//! One text crosses from JavaScript much faster than many.

use farebox_core::http::Headers;

/// Reads what TypeScript wrote.
pub(crate) fn headers(text: &str) -> Headers {
    let mut headers = Headers::with_capacity(24, text.len());
    let mut lines = text.split_terminator('\n');
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        headers.push(name.as_bytes(), &bytes(value));
    }
    headers
}

/// The bytes of a header value: `Headers` in JavaScript give one character for each byte. A runtime that decodes UTF-8
/// instead gives characters that no byte is; those are encoded again.
fn bytes(value: &str) -> std::borrow::Cow<'_, [u8]> {
    if value.is_ascii() {
        return value.as_bytes().into();
    }
    let bytes: Option<Vec<u8>> = value.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
    bytes.map_or_else(|| value.as_bytes().into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_by_turns() {
        let read = headers(":method\nGET\nx-empty\n\nx-byte\n\u{e9}\nx-text\n\u{20ac}\n");
        let fields: Vec<(&[u8], &[u8])> = read.iter().collect();
        let wanted: [(&[u8], &[u8]); 4] =
            [(b":method", b"GET"), (b"x-empty", b""), (b"x-byte", b"\xe9"), (b"x-text", "\u{20ac}".as_bytes())];
        assert_eq!(fields, wanted);
    }
}
