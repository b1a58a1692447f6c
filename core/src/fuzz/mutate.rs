//! Changes to inputs: the few kinds that find most, several at a time.

use super::Kept;

/// Makes inputs out of others.
pub(super) struct Mutator {
    state: u64,
}

/// What parsers take for something else than text, or count wrong.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "\"", "\\", "\\\"", "\\u0000", "\\ud800", "{", "}", "[", "]", ":", ",", "null", "true", "false", "{}", "[]", "\"\"",
    ",null", ",0", ",\"\"", ",{}", ",[]", "\"a\":0,", "[[[[[[[[[[[[[[[[[[[[", "0", "-1", "-0", "0.5", "1e999",
    "18446744073709551615", "18446744073709551616", "9007199254740993", "340282366920938463463374607431768211455",
    "340282366920938463463374607431768211456", ".", "..", "/", "//", "/../", "%", "%2e", "%2F", "%00", "%25", "?", "#",
    ";", "~", "=", "==", "+", "-", "_", "*", "(", ")", "<", ">", "@", "'", "`", " ", "\t", "\r\n", "\n", "\n\n", "\0",
    "\u{7f}", "\u{80}", "\u{feff}", "\u{202e}", "é", "0x", "0X", "eip155:", "https://", "http://", "Bearer ", "DPoP ",
    "HTTPSig ", "sig1=", "none", "call", "token",
];
/// Bytes at edges.
const BYTES: &[u8] =
    &[0, 1, 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xf4, 0xff, b'"', b'\\', b'\n', b' ', b'0', b'9', b'A', b'_', b'-'];

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.below(of.len());
        of.get(index)
    }

    /// An input out of those that there are, of at most `most` bytes.
    pub(super) fn make(&mut self, kept: &Kept, most: usize) -> Vec<u8> {
        let refused = self.below(4) == 0 && !kept.refused.is_empty();
        let from = if refused { &kept.refused } else { &kept.read };
        let mut input = self.pick(from).cloned().unwrap_or_default();
        // Often one change, seldom many.
        let changes = 1 + (self.next().trailing_zeros() as usize).min(6);
        for _ in 0..changes {
            self.change(&mut input, &kept.read);
        }
        input.truncate(most);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, from: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.short(input.len() - at);
        match self.below(13) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let new = self.pick(BYTES).copied().unwrap_or(0);
                if let Some(byte) = input.get_mut(at) {
                    *byte = new;
                }
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 | 5 => {
                let word = self.pick(WORDS).copied().unwrap_or_default();
                let until = if self.below(2) == 0 { at } else { end };
                input.splice(at..until, word.bytes());
            }
            6 => {
                let other = self.pick(from).cloned().unwrap_or_default();
                let start = self.below(other.len() + 1);
                let stop = start + self.short(other.len() - start);
                input.splice(at..end, other[start..stop].iter().copied());
            }
            7 => {
                let other = self.pick(from).cloned().unwrap_or_default();
                let start = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[start..]);
            }
            8 => input.truncate(at),
            9 => self.change_number(input, at),
            10 => self.repeat(input, at, end),
            11 => self.change_part(input, at),
            _ => {
                if let Some(byte) = input.get_mut(at).filter(|byte| byte.is_ascii_alphabetic()) {
                    *byte ^= 0x20;
                }
            }
        }
    }

    /// A length up to `most`, mostly short.
    fn short(&mut self, most: usize) -> usize {
        let most = match self.below(4) {
            0 => most,
            1 => most.min(64),
            _ => most.min(8),
        };
        self.below(most + 1)
    }

    /// Another number instead of the next one.
    fn change_number(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(start) = input.iter().skip(at).position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
        let digits = input.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
        let old: Option<u64> =
            std::str::from_utf8(&input[start..start + digits]).ok().and_then(|text| text.parse().ok());
        let new = match (self.below(4), old) {
            (0, Some(old)) => old.wrapping_add(1).to_string(),
            (1, Some(old)) => old.wrapping_sub(1).to_string(),
            (2, _) => (1u128 << self.below(128)).to_string(),
            _ => self.next().to_string(),
        };
        input.splice(start..start + digits, new.into_bytes());
    }

    /// The same again, many times.
    fn repeat(&mut self, input: &mut Vec<u8>, at: usize, end: usize) {
        let times = 1 << self.below(8);
        let part = input[at..end.min(at + 32)].to_vec();
        input.splice(at..at, part.iter().copied().cycle().take(part.len() * times));
    }

    /// Drops, doubles or moves a whole part: a line, a member, a list's item.
    fn change_part(&mut self, input: &mut Vec<u8>, at: usize) {
        let separator = self.pick(b"\n,.~&; ").copied().unwrap_or(b'\n');
        let start = input[..at].iter().rposition(|byte| *byte == separator).map_or(0, |index| index + 1);
        let end = input[at..].iter().position(|byte| *byte == separator).map_or(input.len(), |index| at + index + 1);
        let part = input[start..end].to_vec();
        match self.below(3) {
            0 => drop(input.drain(start..end)),
            1 => drop(input.splice(end..end, part)),
            _ => {
                input.drain(start..end);
                let to = self.below(input.len() + 1);
                let to = input[..to].iter().rposition(|byte| *byte == separator).map_or(0, |index| index + 1);
                input.splice(to..to, part);
            }
        }
    }
}
