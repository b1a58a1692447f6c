//! Structured field values (RFC 9651): the part that signatures and digests are written in.
//!
//! Read strictly. Where the RFC lets the last of two equal keys win, two are an error here: one reader's first is
//! another's last. Display strings are not read. What is read can be written again in the one serialisation that
//! RFC 9651 §4.1 allows, which is what a signature is made over, whatever spacing a field travelled with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::fmt;

use crate::http::Headers;

/// Bytes that all lines of a field may have together.
pub const MAX_BYTES: usize = 8 * 1024;
/// Members that a dictionary may have.
pub const MAX_MEMBERS: usize = 16;
/// Items that an inner list may have.
pub const MAX_ITEMS: usize = 32;
/// Parameters that an item or an inner list may have.
pub const MAX_PARAMETERS: usize = 16;

/// Why a field was not read: where, and what is wrong. Repeats nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in bytes; lines of one field count as joined by `, `.
    pub at: usize,
    /// What is wrong, in words.
    pub why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

impl std::error::Error for Malformed {}

/// All lines of a field as one value (RFC 9110 §5.3), or `None` if there is no such field.
#[must_use]
pub fn joined<'a>(headers: &'a Headers, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.all(name);
    let mut value = Cow::Borrowed(lines.next()?);
    for line in lines {
        let value = value.to_mut();
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
    }
    Some(value)
}

/// A dictionary (RFC 9651 §3.2), in the order of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary<'a>(Vec<(&'a str, Member<'a>)>);

/// What a key of a dictionary stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// One value.
    Item(Item<'a>),
    /// Values in parentheses.
    List(InnerList<'a>),
}

/// An inner list (RFC 9651 §3.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InnerList<'a> {
    /// Its items, in order.
    pub items: Vec<Item<'a>>,
    /// Parameters of the list as a whole.
    pub parameters: Parameters<'a>,
}

/// A value with its parameters (RFC 9651 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The value.
    pub value: Bare<'a>,
    /// Its parameters.
    pub parameters: Parameters<'a>,
}

/// Parameters (RFC 9651 §3.1.2), in order. No key comes twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a>(Vec<(&'a str, Bare<'a>)>);

/// A bare item (RFC 9651 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bare<'a> {
    /// At most 15 digits.
    Integer(i64),
    /// In thousandths.
    Decimal(i64),
    /// Printable ASCII, escapes opened.
    String(Cow<'a, str>),
    /// A token, as it is written.
    Token(&'a str),
    /// Bytes that travelled as base64.
    Bytes(Vec<u8>),
    /// A boolean.
    Boolean(bool),
    /// A date, in Unix seconds.
    Date(i64),
}

impl<'a> Dictionary<'a> {
    /// Reads a dictionary.
    ///
    /// # Errors
    /// If it is none, has a key twice, or passes a limit of this module.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { text, at: 0 };
        if text.len() > MAX_BYTES {
            return Err(Malformed { at: MAX_BYTES, why: "the field is too long" });
        }
        let mut members: Vec<(&str, Member<'_>)> = Vec::new();
        reader.spaces();
        while reader.peek().is_some() {
            let at = reader.at;
            let key = reader.key()?;
            if members.iter().any(|(known, _)| *known == key) {
                return Err(Malformed { at, why: "a key comes twice" });
            }
            if members.len() == MAX_MEMBERS {
                return Err(Malformed { at, why: "the dictionary has too many members" });
            }
            members.push((key, reader.member()?));
            reader.optional_whitespace();
            if reader.peek().is_none() {
                break;
            }
            reader.expect(b',', "a comma is missing")?;
            reader.optional_whitespace();
            if reader.peek().is_none() {
                return Err(reader.bad("a comma has nothing after it"));
            }
        }
        Ok(Self(members))
    }

    /// The member with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Member<'a>> {
        self.iter().find(|(known, _)| *known == key).map(|(_, member)| member)
    }

    /// Every member with its key, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &Member<'a>)> {
        self.0.iter().map(|(key, member)| (*key, member))
    }
}

impl<'a> Parameters<'a> {
    /// The parameter with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Bare<'a>> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a parameter at the end; one of the same key is replaced where it stands.
    pub fn set(&mut self, key: &'a str, value: Bare<'a>) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = value,
            None => self.0.push((key, value)),
        }
    }
}

impl fmt::Display for Dictionary<'_> {
    /// The one serialisation (RFC 9651 §4.1.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, member)) in self.iter().enumerate() {
            write!(f, "{}{key}", if index == 0 { "" } else { ", " })?;
            match member {
                Member::Item(Item { value: Bare::Boolean(true), parameters }) => parameters.fmt(f)?,
                Member::Item(item) => write!(f, "={item}")?,
                Member::List(list) => write!(f, "={list}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for InnerList<'_> {
    /// The one serialisation (RFC 9651 §4.1.1.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, item) in self.items.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            item.fmt(f)?;
        }
        f.write_str(")")?;
        self.parameters.fmt(f)
    }
}

impl fmt::Display for Item<'_> {
    /// The one serialisation (RFC 9651 §4.1.3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)?;
        self.parameters.fmt(f)
    }
}

impl fmt::Display for Parameters<'_> {
    /// The one serialisation (RFC 9651 §4.1.1.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.0 {
            write!(f, ";{key}")?;
            if *value != Bare::Boolean(true) {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Bare<'_> {
    /// The one serialisation (RFC 9651 §4.1.3.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Decimal(value) => {
                let (whole, thousandths) = (value.unsigned_abs() / 1000, value.unsigned_abs() % 1000);
                let digits = format!("{thousandths:03}");
                let digits = digits.trim_end_matches('0');
                let sign = if *value < 0 { "-" } else { "" };
                write!(f, "{sign}{whole}.{}", if digits.is_empty() { "0" } else { digits })
            }
            Self::String(value) => {
                f.write_str("\"")?;
                for part in value.split_inclusive(['"', '\\']) {
                    match part.strip_suffix(['"', '\\']) {
                        Some(plain) => {
                            write!(f, "{plain}\\{}", part.get(plain.len()..).unwrap_or_default())?;
                        }
                        None => f.write_str(part)?,
                    }
                }
                f.write_str("\"")
            }
            Self::Token(value) => f.write_str(value),
            Self::Bytes(value) => write!(f, ":{}:", STANDARD.encode(value)),
            Self::Boolean(value) => f.write_str(if *value { "?1" } else { "?0" }),
            Self::Date(value) => write!(f, "@{value}"),
        }
    }
}

/// RFC 9651 §4.2, from left to right.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn bad(&self, why: &'static str) -> Malformed {
        Malformed { at: self.at, why }
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, wanted: u8, why: &'static str) -> Result<(), Malformed> {
        if self.take(wanted) { Ok(()) } else { Err(self.bad(why)) }
    }

    /// What follows as far as `belongs` says so. It must say so of ASCII alone.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|c| !belongs(*c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).and_then(|run| std::str::from_utf8(run).ok()).unwrap_or_default()
    }

    fn spaces(&mut self) {
        self.run(|c| c == b' ');
    }

    fn optional_whitespace(&mut self) {
        self.run(|c| matches!(c, b' ' | b'\t'));
    }

    fn key(&mut self) -> Result<&'a str, Malformed> {
        if !self.peek().is_some_and(|c| c.is_ascii_lowercase() || c == b'*') {
            return Err(self.bad("a key must begin with a lower-case letter or `*`"));
        }
        Ok(self.run(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-' | b'.' | b'*')))
    }

    fn member(&mut self) -> Result<Member<'a>, Malformed> {
        if !self.take(b'=') {
            return Ok(Member::Item(Item { value: Bare::Boolean(true), parameters: self.parameters()? }));
        }
        if self.peek() == Some(b'(') { self.inner_list().map(Member::List) } else { self.item().map(Member::Item) }
    }

    fn inner_list(&mut self) -> Result<InnerList<'a>, Malformed> {
        self.expect(b'(', "a list must begin with `(`")?;
        let mut items = Vec::new();
        loop {
            self.spaces();
            if self.take(b')') {
                return Ok(InnerList { items, parameters: self.parameters()? });
            }
            if items.len() == MAX_ITEMS {
                return Err(self.bad("the list has too many items"));
            }
            items.push(self.item()?);
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return Err(self.bad("a space or `)` is missing"));
            }
        }
    }

    fn item(&mut self) -> Result<Item<'a>, Malformed> {
        Ok(Item { value: self.bare()?, parameters: self.parameters()? })
    }

    fn parameters(&mut self) -> Result<Parameters<'a>, Malformed> {
        let mut parameters = Parameters::default();
        while self.take(b';') {
            self.spaces();
            let at = self.at;
            let key = self.key()?;
            let value = if self.take(b'=') { self.bare()? } else { Bare::Boolean(true) };
            if parameters.get(key).is_some() {
                return Err(Malformed { at, why: "a parameter comes twice" });
            }
            if parameters.0.len() == MAX_PARAMETERS {
                return Err(Malformed { at, why: "there are too many parameters" });
            }
            parameters.0.push((key, value));
        }
        Ok(parameters)
    }

    fn bare(&mut self) -> Result<Bare<'a>, Malformed> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'"') => self.string(),
            Some(b'*' | b'A'..=b'Z' | b'a'..=b'z') => Ok(Bare::Token(self.run(is_token))),
            Some(b':') => self.bytes(),
            Some(b'?') => self.boolean(),
            Some(b'@') => self.date(),
            _ => Err(self.bad("a value is missing, or is of a kind that is not read")),
        }
    }

    fn number(&mut self) -> Result<Bare<'a>, Malformed> {
        let at = self.at;
        let sign = if self.take(b'-') { -1 } else { 1 };
        let digits = |reader: &mut Self| reader.run(|c| c.is_ascii_digit());
        let whole = digits(self);
        let point = self.take(b'.');
        let fraction = if point { digits(self) } else { "" };
        let lengths = match (whole.len(), fraction.len()) {
            (1..=15, 0) => !point,
            (1..=12, 1..=3) => true,
            _ => false,
        };
        let value = |digits: &str| digits.parse::<i64>().ok();
        let read = || {
            let whole = value(whole)?;
            if !point {
                return Some(Bare::Integer(sign * whole));
            }
            let scale = [1000, 100, 10, 1].get(fraction.len())?;
            Some(Bare::Decimal(sign * (whole * 1000 + value(fraction)? * scale)))
        };
        lengths.then(read).flatten().ok_or(Malformed { at, why: "a number is malformed or too long" })
    }

    fn string(&mut self) -> Result<Bare<'a>, Malformed> {
        self.expect(b'"', "a string must begin with `\"`")?;
        let plain = |c: u8| matches!(c, b' '..=b'~') && c != b'"' && c != b'\\';
        let mut value = Cow::Borrowed(self.run(plain));
        loop {
            if self.take(b'"') {
                return Ok(Bare::String(value));
            }
            self.expect(b'\\', "a string does not end, or holds what no string may")?;
            match self.peek() {
                Some(escaped @ (b'"' | b'\\')) => value.to_mut().push(char::from(escaped)),
                _ => return Err(self.bad("only `\"` and `\\` may be escaped")),
            }
            self.at += 1;
            let rest = self.run(plain);
            value.to_mut().push_str(rest);
        }
    }

    fn bytes(&mut self) -> Result<Bare<'a>, Malformed> {
        let at = self.at;
        self.expect(b':', "bytes must begin with `:`")?;
        let text = self.run(|c| c != b':' && c.is_ascii());
        self.expect(b':', "bytes must end with `:`")?;
        let bytes = STANDARD.decode(text).map_err(|_| Malformed { at, why: "bytes must be base64 with padding" })?;
        Ok(Bare::Bytes(bytes))
    }

    fn boolean(&mut self) -> Result<Bare<'a>, Malformed> {
        self.expect(b'?', "a boolean must begin with `?`")?;
        match (self.take(b'1'), self.take(b'0')) {
            (true, false) => Ok(Bare::Boolean(true)),
            (false, true) => Ok(Bare::Boolean(false)),
            _ => Err(self.bad("a boolean must be `?0` or `?1`")),
        }
    }

    fn date(&mut self) -> Result<Bare<'a>, Malformed> {
        let at = self.at;
        self.expect(b'@', "a date must begin with `@`")?;
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => match self.number()? {
                Bare::Integer(value) => Ok(Bare::Date(value)),
                _ => Err(Malformed { at, why: "a date must be whole seconds" }),
            },
            _ => Err(self.bad("a date must be a number")),
        }
    }
}

/// RFC 9651 §3.3.4, after the first character.
fn is_token(c: u8) -> bool {
    is_tchar(c) || matches!(c, b':' | b'/')
}

/// RFC 9110 §5.6.2.
pub(super) fn is_tchar(c: u8) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests;
