//! A plugin configuration as JSON, in whichever form the host hands it over.
//!
//! Envoy gives a `google.protobuf.StringValue`'s text as it is. A `google.protobuf.Struct`, which lets operators
//! write plain YAML inside their Envoy file, it gives in protobuf's wire format (1.40; its documentation says JSON).
//! The two cannot be mistaken for each other: each field of a struct has the byte 0x12 in front of its value, and
//! JSON text cannot contain that byte.

/// Deepest nesting of a struct. JSON readers have such a limit too.
const DEPTH: usize = 64;

/// The configuration's JSON.
pub(crate) fn json(bytes: Vec<u8>) -> Vec<u8> {
    let mut text = String::new();
    match write_struct(&bytes, &mut text, DEPTH) {
        Some(()) if !bytes.is_empty() => text.into_bytes(),
        _ => bytes,
    }
}

/// One field on the wire, of the kinds that a struct is made of.
enum Wire<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// Takes one field from `input`: its number and what it holds.
fn field<'a>(input: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let tag = varint(input)?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(input)?),
        1 => {
            let (word, rest) = input.split_first_chunk::<8>()?;
            *input = rest;
            Wire::Fixed(u64::from_le_bytes(*word))
        }
        2 => {
            let size = usize::try_from(varint(input)?).ok()?;
            let (bytes, rest) = input.split_at_checked(size)?;
            *input = rest;
            Wire::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// `Struct { map<string, Value> fields = 1; }`, where an entry is `{ string key = 1; Value value = 2; }`.
fn write_struct(mut input: &[u8], out: &mut String, depth: usize) -> Option<()> {
    let mut separator = '{';
    while !input.is_empty() {
        let (1, Wire::Bytes(mut entry)) = field(&mut input)? else { return None };
        let (1, Wire::Bytes(key)) = field(&mut entry)? else { return None };
        let (2, Wire::Bytes(value)) = field(&mut entry)? else { return None };
        if !entry.is_empty() {
            return None;
        }
        out.push(separator);
        separator = ',';
        write_string(key, out)?;
        out.push(':');
        write_value(value, out, depth)?;
    }
    out.push_str(if separator == '{' { "{}" } else { "}" });
    Some(())
}

/// `Value`: one of null = 1, number = 2, string = 3, bool = 4, struct = 5, list = 6.
fn write_value(mut input: &[u8], out: &mut String, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match field(&mut input)? {
        (1, Wire::Varint(0)) => out.push_str("null"),
        (2, Wire::Fixed(bits)) => write_number(f64::from_bits(bits), out)?,
        (3, Wire::Bytes(text)) => write_string(text, out)?,
        (4, Wire::Varint(truth)) => out.push_str(if truth == 0 { "false" } else { "true" }),
        (5, Wire::Bytes(fields)) => write_struct(fields, out, depth)?,
        (6, Wire::Bytes(values)) => write_list(values, out, depth)?,
        _ => return None,
    }
    input.is_empty().then_some(())
}

/// `ListValue { repeated Value values = 1; }`
fn write_list(mut input: &[u8], out: &mut String, depth: usize) -> Option<()> {
    let mut separator = '[';
    while !input.is_empty() {
        let (1, Wire::Bytes(value)) = field(&mut input)? else { return None };
        out.push(separator);
        separator = ',';
        write_value(value, out, depth)?;
    }
    out.push_str(if separator == '[' { "[]" } else { "]" });
    Some(())
}

/// Numbers are doubles in a struct. One that is whole is written without a fraction, as it was in the YAML.
fn write_number(number: f64, out: &mut String) -> Option<()> {
    if !number.is_finite() {
        return None;
    }
    out.push_str(&number.to_string()); // shortest text that reads back as the same double; never an exponent
    Some(())
}

fn write_string(text: &[u8], out: &mut String) -> Option<()> {
    out.push('"');
    for char in std::str::from_utf8(text).ok()?.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            control if u32::from(control) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&json(bytes.to_vec())).into_owned()
    }

    /// `number`, length, bytes.
    fn nest(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut size = bytes.len();
        while size > 0x7f {
            out.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        out.push(size as u8);
        out.extend(bytes);
        out
    }

    fn entry(key: &str, value: &[u8]) -> Vec<u8> {
        nest(1, &[nest(1, key.as_bytes()), nest(2, value)].concat())
    }

    fn number(number: f64) -> Vec<u8> {
        [&[0x11][..], &number.to_le_bytes()].concat()
    }

    #[test]
    fn text_is_left_alone() {
        for text in ["", "{}", "\n{\n \"a\": 1}", " x", "\n\u{1}"] {
            assert_eq!(read(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_envoy_gives_is_read() {
        // Envoy 1.40, from `{ routes: [ { path: "/a", n: 3, b: true } ] }`.
        let seen = b"\n7\n\x06routes\x12-2+\n)*'\n\x0c\n\x04path\x12\x04\x1a\x02/a\n\x0e\n\x01n\x12\t\x11\x00\x00\x00\x00\x00\x00\x08@\n\x07\n\x01b\x12\x02 \x01";
        assert_eq!(read(seen), r#"{"routes":[{"path":"/a","n":3,"b":true}]}"#);
    }

    #[test]
    fn every_kind_of_value() {
        let bytes = [
            entry("null", &[0x08, 0]),
            entry("whole", &number(9_007_199_254_740_991.0)),
            entry("less", &number(-0.5)),
            entry("large", &number(1e300)),
            entry("text", &nest(3, "\"\\\n\u{1}é".as_bytes())),
            entry("no", &[0x20, 0]),
            entry("empty", &nest(5, b"")),
            entry("list", &nest(6, b"")),
            entry("long", &nest(3, "x".repeat(300).as_bytes())),
        ]
        .concat();
        let text = read(&bytes);
        let start = r#"{"null":null,"whole":9007199254740991,"less":-0.5,"large":1000"#;
        assert!(text.starts_with(start), "{text}");
        let end =
            format!(r#""text":"\"\\\u000a\u0001é","no":false,"empty":{{}},"list":[],"long":"{}"}}"#, "x".repeat(300));
        assert!(text.ends_with(&end), "{text}");
    }

    #[test]
    fn what_is_not_a_struct_is_left_for_the_json_reader_to_refuse() {
        let whole = entry("key", &nest(5, &entry("inner", &number(1.0))));
        for end in 1..whole.len() {
            assert_eq!(json(whole[..end].to_vec()), &whole[..end]);
        }
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] = 0xff;
            let _ = json(other); // no panic
        }
        let not_finite = entry("n", &number(f64::NAN));
        assert_eq!(json(not_finite.clone()), not_finite);
    }

    #[test]
    fn nesting_has_an_end() {
        let mut value = number(1.0);
        for _ in 0..100_000 {
            value = nest(6, &nest(1, &value));
            if value.len() > 40_000 {
                break;
            }
        }
        let bytes = entry("deep", &value);
        assert_eq!(json(bytes.clone()), bytes);
    }
}
