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
    use super::parse;

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
}
