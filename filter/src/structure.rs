//! `google.protobuf.Struct`: what operators write as plain YAML inside their Envoy files.
//!
//! Envoy hands a `StringValue`'s text to the filter as it is, but a `Struct` as its protobuf encoding (measured on
//! 1.40; its documentation says JSON). This turns the latter into the JSON that it stands for.

use prost::{Message, Oneof};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

#[derive(Clone, PartialEq, Message)]
struct ListValue {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// The configuration as JSON text: text as it is, an encoded structure as what it stands for. What is neither stays
/// as it is, for the reader of the policy to complain about.
pub(crate) fn json(configuration: Vec<u8>) -> Vec<u8> {
    // An encoded structure begins with the key of its first field, whose second byte after the white space that tag
    // and length may look like is a letter.
    if configuration.trim_ascii_start().first() == Some(&b'{') {
        return configuration;
    }
    match Struct::decode(configuration.as_slice()) {
        Ok(structure) if !structure.fields.is_empty() => object(structure).to_string().into_bytes(),
        _ => configuration,
    }
}

fn object(structure: Struct) -> serde_json::Value {
    serde_json::Value::Object(structure.fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

fn plain(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::Null(_)) => serde_json::Value::Null,
        Some(Kind::Number(number)) => number.into(),
        Some(Kind::Text(text)) => text.into(),
        Some(Kind::Bool(bool)) => bool.into(),
        Some(Kind::Struct(structure)) => object(structure),
        Some(Kind::List(list)) => list.values.into_iter().map(plain).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::Text(text.to_owned())) }
    }

    #[test]
    fn an_encoded_structure_becomes_its_json() {
        let list = ListValue { values: vec![text("a"), Value { kind: Some(Kind::Bool(true)) }] };
        let structure = Struct {
            fields: BTreeMap::from([
                ("version".to_owned(), Value { kind: Some(Kind::Number(1.0)) }),
                ("list".to_owned(), Value { kind: Some(Kind::List(list)) }),
                ("none".to_owned(), Value { kind: Some(Kind::Null(0)) }),
            ]),
        };
        let json = json(structure.encode_to_vec());
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"list":["a",true],"none":null,"version":1.0}"#);
    }

    #[test]
    fn text_and_rubbish_stay_as_they_are() {
        for configuration in [&b"{\"version\":1}"[..], b"\n {}", b"[]", b"", b"\xff\xfe", b"\x0a\x80"] {
            assert_eq!(json(configuration.to_vec()), configuration);
        }
    }

    #[test]
    fn a_structure_nested_without_end_is_not_followed() {
        let mut value = text("deep");
        for _ in 0..500 {
            value = Value { kind: Some(Kind::List(ListValue { values: vec![value] })) };
        }
        let bytes = Struct { fields: BTreeMap::from([("a".to_owned(), value)]) }.encode_to_vec();
        assert_eq!(json(bytes.clone()), bytes);
    }
}
