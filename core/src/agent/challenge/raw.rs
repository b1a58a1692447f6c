//! Parts of a JSON text, exactly as they were written.
//!
//! A client answers an offer with a copy of it, and servers compare the two; what is not read again cannot be changed.
//! The text must have been read by [`json::parse`](crate::json::parse) before: nothing is checked here.

/// The members of the object `text`, names as they are written (with quotes and escapes).
pub(super) fn members(text: &str) -> Vec<(&str, &str)> {
    let mut reader = Reader { rest: text.trim_start() };
    let mut members = Vec::new();
    if !reader.take('{') {
        return members;
    }
    while let Some(name) = reader.value().filter(|name| name.starts_with('"')) {
        if !reader.take(':') {
            break;
        }
        let Some(value) = reader.value() else { break };
        members.push((name, value));
        if !reader.take(',') {
            break;
        }
    }
    members
}

/// The value of the member `name` of the object `text`.
pub(super) fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is = |written: &str| serde_json::from_str::<String>(written).is_ok_and(|written| written == name);
    members(text).into_iter().find(|(written, _)| is(written)).map(|(_, value)| value)
}

/// The entries of the array `text`.
pub(super) fn items(text: &str) -> Vec<&str> {
    let mut reader = Reader { rest: text.trim_start() };
    let mut items = Vec::new();
    if !reader.take('[') {
        return items;
    }
    while let Some(value) = reader.value() {
        items.push(value);
        if !reader.take(',') {
            break;
        }
    }
    items
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, c: char) -> bool {
        match self.rest.trim_start().strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The next value, up to the `,`, `:` or bracket after it.
    fn value(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let mut depth = 0usize;
        let mut in_string = false;
        let mut escaped = false;
        let mut end = text.len();
        for (at, c) in text.bytes().enumerate() {
            if in_string {
                match c {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match c {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => depth -= 1,
                b'}' | b']' | b',' | b':' if depth == 0 => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (value, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        Some(value.trim_end()).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn parts_are_as_they_were_written() {
        let text = r#" { "a" : [ 1.0 , {"b":"}\"," } ,[]] , "c\u0061" : { "x" : -1e3 } , "e":null}"#;
        assert_eq!(member(text, "a"), Some(r#"[ 1.0 , {"b":"}\"," } ,[]]"#));
        assert_eq!(member(text, "ca"), Some(r#"{ "x" : -1e3 }"#));
        assert_eq!(member(text, "e"), Some("null"));
        assert_eq!(member(text, "b"), None);
        assert_eq!(items(member(text, "a").unwrap()), ["1.0", r#"{"b":"}\"," }"#, "[]"]);
        assert_eq!(items("[]"), [""; 0]);
        assert_eq!(members("{}"), []);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\PC\"\\\\{}\\[\\],:\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[\\PC\"\\\\]{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_part_of_a_text_is_found(value in value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            match &value {
                Value::Object(object) => {
                    prop_assert_eq!(members(&text).len(), object.len());
                    for (name, value) in object {
                        let found: Value = serde_json::from_str(member(&text, name).unwrap()).unwrap();
                        prop_assert_eq!(&found, value);
                    }
                }
                Value::Array(array) => {
                    let found: Vec<Value> = items(&text).into_iter().map(|it| serde_json::from_str(it).unwrap()).collect();
                    prop_assert_eq!(&found, array);
                }
                _ => {}
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,64}") {
            let _ = (members(&text), items(&text), member(&text, "a"));
        }
    }
}
