//! Strict reading of JSON, for everything that decides.
//!
//! JSON with a member twice is two documents: one reader takes the first, another the last. Gate and facilitator must
//! never read two different payments, so such a text is refused before anything in it is looked at.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Why a text was not read as JSON: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError(String);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JsonError {}

/// Reads one JSON text (RFC 8259) of at most `max_bytes` bytes, nested at most `max_depth` deep.
///
/// Numbers that fit neither `u64` nor `i64` become `f64`, as in JavaScript.
///
/// # Errors
/// If it is too long or too deep, not UTF-8, not JSON, followed by anything, or has a member twice in one object
/// (compared after escapes are read) at any depth.
pub fn parse(bytes: &[u8], max_bytes: usize, max_depth: usize) -> Result<Value, JsonError> {
    if bytes.len() > max_bytes {
        return Err(JsonError(format!("{} bytes where at most {max_bytes} are allowed", bytes.len())));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|error| JsonError(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: max_depth }.deserialize(&mut reader).map_err(|error| JsonError(error.to_string()))?;
    reader.end().map_err(|error| JsonError(error.to_string()))?;
    Ok(value)
}

/// The one text of `value` that RFC 8785 (JCS) defines, for what is signed or hashed.
///
/// `None` if it holds a number that is no integer, or one beyond 2⁵³ − 1: such numbers are not the same to every reader.
/// Amounts are strings.
#[must_use]
pub fn canonical(value: &Value) -> Option<String> {
    let mut text = String::new();
    write_canonical(value, &mut text)?;
    Some(text)
}

fn write_canonical(value: &Value, text: &mut String) -> Option<()> {
    const MAX_SAFE: u64 = (1 << 53) - 1;
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => {
            let integer = number.as_i64()?;
            if integer.unsigned_abs() > MAX_SAFE {
                return None;
            }
            text.push_str(&number.to_string());
        }
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // RFC 8785 §3.2.3 sorts by UTF-16 code units, which beyond U+FFFF is not the order of UTF-8.
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_canonical(value, text)?;
            }
            text.push('}');
        }
    }
    Some(())
}

/// RFC 8785 §3.2.2.2: only what must be escaped is, in its shortest form.
fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            c if c < ' ' => {
                text.push_str("\\u00");
                for digit in [u32::from(c) >> 4, u32::from(c) & 15] {
                    text.extend(char::from_digit(digit, 16));
                }
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Reads one value that may be nested `depth` deep.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                let name: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("member {name:?} twice in one object")));
            }
            let value = members.next_value_seed(below)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical, parse};
    use serde_json::{Value, json};

    fn says(text: &str) -> String {
        parse(text.as_bytes(), 1000, 4).map_or_else(|error| error.to_string(), |value| value.to_string())
    }

    #[test]
    fn what_is_refused_says_what_and_where() {
        assert!(says(r#"{"a":1,"b":{"c":1,"\u0063":2}}"#).contains(r#"member "c" twice in one object at line 1"#));
        assert!(says("[1] 2").contains("trailing characters at line 1 column 5"));
        assert!(says("[[[[[1]]]]]").contains("nested too deep"));
        assert_eq!(says("[[[[1]]]]"), "[[[[1]]]]");
        assert!(says(r#""\ud800""#).contains("line 1"));
        assert!(says("\u{feff}{}").contains("line 1"));
        assert_eq!(parse(b"\"\xff\"", 10, 4).unwrap_err().to_string(), "not UTF-8 at byte 1");
        assert_eq!(parse(b"[1,2]", 4, 4).unwrap_err().to_string(), "5 bytes where at most 4 are allowed");
        assert!(says("1e999").contains("out of range"));
        assert!(says("").contains("EOF"));
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let text = r#"{"a":[1,-2,1.5,"x",null,true],"b":{"c":18446744073709551615}}"#;
        assert_eq!(says(text), text);
    }

    #[test]
    fn canonical_text_is_that_of_rfc_8785() {
        let escapes = json!("\u{20ac}$\u{f}\u{a}A'\u{42}\u{22}\u{5c}\\\"/\u{8}\t\u{c}\r\u{7f}\u{0}\u{1f}");
        let expected = "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\\b\\t\\f\\r\u{7f}\\u0000\\u001f\"";
        assert_eq!(canonical(&escapes).unwrap(), expected);
        // The names of RFC 8785 §3.2.3 in their order; U+1F600 comes before U+FB33 there.
        let names = ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
        let object: Value = names.iter().rev().map(|name| ((*name).to_owned(), json!(1))).collect();
        let text = canonical(&object).unwrap();
        let positions: Vec<_> = names.iter().map(|name| text.find(&super::tests::quoted(name)).unwrap()).collect();
        assert!(positions.is_sorted(), "{text}");
        let nested =
            json!({ "b": [null, true, false, -1, 0, {}, []], "a": { "c": "", "b": 9_007_199_254_740_991_u64 } });
        let expected = r#"{"a":{"b":9007199254740991,"c":""},"b":[null,true,false,-1,0,{},[]]}"#;
        assert_eq!(canonical(&nested).unwrap(), expected);
    }

    fn quoted(name: &str) -> String {
        canonical(&json!(name)).unwrap()
    }

    #[test]
    fn numbers_that_readers_disagree_about_have_no_canonical_text() {
        for number in [json!(1.5), json!(1e3), json!(-0.0), json!(9_007_199_254_740_992_u64), json!(i64::MIN)] {
            assert_eq!(canonical(&json!([number])), None, "{number}");
        }
        assert_eq!(canonical(&json!(-9_007_199_254_740_991_i64)).unwrap(), "-9007199254740991");
    }
}
