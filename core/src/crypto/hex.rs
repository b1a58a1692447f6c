//! `0x` hexadecimal as Ethereum writes it.

/// `0x` and two lower-case digits a byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("0x");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0')));
        }
    }
    text
}

/// The bytes of `0x…` with an even number of digits of either case.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// As [`decode`], for exactly `N` bytes.
#[must_use]
pub fn decode_fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 + 2 * N {
        return None;
    }
    decode(text)?.try_into().ok()
}

fn digit(c: u8) -> Option<u8> {
    u8::try_from(char::from(c).to_digit(16)?).ok()
}
