//! Base64url as JOSE writes it (RFC 7515 §2): no padding, and one spelling for every value.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of `text`, if it is their only spelling: no padding, no white space, no bits left over.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// As [`decode`], for exactly `N` bytes.
#[must_use]
pub fn decode_fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // A text of any other length is refused before it is read. The decoder asks for room up to three bytes more.
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (length == N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_fixed, encode};

    #[test]
    fn every_value_has_one_spelling() {
        for length in 0..70 {
            let bytes: Vec<u8> = (0..length).map(|index: u8| index.wrapping_mul(151)).collect();
            let text = encode(&bytes);
            assert_eq!(decode(&text).as_deref(), Some(&*bytes));
            // Whatever else the last character is, it is another value or none.
            for last in 0..=127u8 {
                let mut other = text.clone();
                if other.pop() != Some(char::from(last)) {
                    other.push(char::from(last));
                    assert_ne!(decode(&other).as_deref(), Some(&*bytes), "{other}");
                }
            }
            for other in [format!("{text}="), format!("{text}=="), format!("{text}\n"), format!(" {text}")] {
                assert_eq!(decode(&other), None, "{other:?}");
            }
        }
        for bad in ["A", "AB", "AAB", "AAAAA", "AA+A", "AA/A", "A A", "AA\0A", "ÀA"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_fixed_length_is_that_length() {
        let sixty_four = encode(&[7; 64]);
        assert_eq!(decode_fixed::<64>(&sixty_four), Some([7; 64]));
        assert_eq!(decode_fixed::<32>(&encode(&[7; 32])), Some([7; 32]));
        assert_eq!(decode_fixed::<16>(&encode(&[7; 16])), Some([7; 16]));
        for length in [0, 31, 33, 63, 65, 66] {
            assert_eq!(decode_fixed::<64>(&encode(&vec![7; length])), None, "{length}");
            assert_eq!(decode_fixed::<32>(&encode(&vec![7; length])), None, "{length}");
        }
    }
}
