use super::*;
use proptest::prelude::*;

fn again(text: &str) -> Result<String, &'static str> {
    Dictionary::parse(text.as_bytes()).map(|read| read.to_string()).map_err(|error| error.why)
}

#[test]
fn every_kind_of_value_is_read_and_has_one_serialisation() {
    for (text, expected) in [
        ("", ""),
        ("   ", ""),
        ("a", "a"),
        ("a=?1", "a"),
        ("a=?1;b=?1;c=?0", "a;b;c=?0"),
        ("*a-_.*9=1", "*a-_.*9=1"),
        ("a=1,b=2 ,\tc=3 ", "a=1, b=2, c=3"),
        ("a=042, b=-7, c=-0, d=999999999999999", "a=42, b=-7, c=0, d=999999999999999"),
        ("a=1.50, b=-0.001, c=2.0, d=999999999999.999", "a=1.5, b=-0.001, c=2.0, d=999999999999.999"),
        (r#"a="", b="x\\y\"z\\", c=" ~""#, r#"a="", b="x\\y\"z\\", c=" ~""#),
        ("a=tok, b=*t!#$%&'*+-.^_`|~:/9", "a=tok, b=*t!#$%&'*+-.^_`|~:/9"),
        ("a=::, b=:aGVsbG8=:, c=:/+8=:", "a=::, b=:aGVsbG8=:, c=:/+8=:"),
        ("a=@1659578233, b=@-1", "a=@1659578233, b=@-1"),
        ("a=(), b=( 1  2 ), c=(x;y=1 z);w", "a=(), b=(1 2), c=(x;y=1 z);w"),
        ("a=1; b=2;  c;d=\"e\"", "a=1;b=2;c;d=\"e\""),
        ("  a=(\"x\" \"y\");created=1", "a=(\"x\" \"y\");created=1"),
    ] {
        assert_eq!(again(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_dictionary_is_refused() {
    for text in [
        ",",
        "a,",
        "a, ",
        "a,,b",
        "a b",
        "a=1 b=2",
        "A=1",
        "1=1",
        "a=",
        "a= 1",
        "a =1",
        "-a",
        "a=1;",
        "a=1;B",
        "a=1 ;b",
        "a;b=",
        "a=-",
        "a=--1",
        "a=1.",
        "a=.5",
        "a=1.2345",
        "a=1234567890123456",
        "a=1234567890123.1",
        "a=1.2.3",
        "a=+1",
        "a=1e3",
        "a=\"",
        "a=\"x",
        "a=\"x\\\"",
        "a=\"\\n\"",
        "a=\"\u{7f}\"",
        "a=\"\t\"",
        "a=\"\u{e9}\"",
        "a='x'",
        "a=:",
        "a=:aGVsbG8=",
        "a=:aGVsbG8:",
        "a=:aGVsbG9=:",
        "a=:aGVs bG8=:",
        "a=:_-8=:",
        "a=:=:",
        "a=:\u{e9}:",
        "a=?",
        "a=?2",
        "a=?true",
        "a=?10",
        "a=@",
        "a=@1.5",
        "a=@x",
        "a=%\"x\"",
        "a=(",
        "a=(1",
        "a=(1,2)",
        "a=(1)2",
        "a=(1\t2)",
        "a=((1))",
        "a=(1;)",
        "a=(\"x\"\"y\")",
        "a=)",
        "a=(1) b",
        "a\0",
        "\u{a0}a",
        "a=1\r\n",
    ] {
        assert!(again(text).is_err(), "{text:?} is read as {:?}", again(text));
    }
}

#[test]
fn what_comes_twice_is_refused_and_not_chosen_from() {
    assert_eq!(again("a=1, a=1"), Err("a key comes twice"));
    assert_eq!(again("a, b, a=(1)"), Err("a key comes twice"));
    assert_eq!(again("a=1;b=1;b=1"), Err("a parameter comes twice"));
    assert_eq!(again("a=(1;b;b)"), Err("a parameter comes twice"));
    assert_eq!(again("a=();b;c;b=?0"), Err("a parameter comes twice"));
}

#[test]
fn limits_hold_at_their_edge() {
    let members = |n: usize| (0..n).map(|i| format!("k{i}")).collect::<Vec<_>>().join(",");
    let items = |n: usize| format!("a=({})", vec!["1"; n].join(" "));
    let parameters = |n: usize| (0..n).fold("a=1".to_owned(), |text, i| text + &format!(";p{i}"));
    let bytes = |n: usize| format!("a=\"{}\"", "x".repeat(n - 4));
    assert!(again(&members(MAX_MEMBERS)).is_ok());
    assert!(again(&members(MAX_MEMBERS + 1)).is_err());
    assert!(again(&items(MAX_ITEMS)).is_ok());
    assert!(again(&items(MAX_ITEMS + 1)).is_err());
    assert!(again(&parameters(MAX_PARAMETERS)).is_ok());
    assert!(again(&parameters(MAX_PARAMETERS + 1)).is_err());
    assert!(again(&bytes(MAX_BYTES)).is_ok());
    assert!(again(&bytes(MAX_BYTES + 1)).is_err());
}

#[test]
fn lines_of_a_field_are_one_value_and_an_error_says_where() {
    let headers: Headers = [("A", "x=1"), ("b", "y"), ("a", "x=2")].into_iter().collect();
    let text = joined(&headers, "a").unwrap();
    assert_eq!(text.as_ref(), b"x=1, x=2");
    assert_eq!(Dictionary::parse(&text).unwrap_err().to_string(), "a key comes twice at byte 5");
    assert_eq!(joined(&headers, "c"), None);
}

const SEEDS: [&str; 4] = [
    r#"sig1=("@method" "@target-uri" "authorization");created=1795000020;nonce="k9Jyxempel2305Nmx7Rk";tag="httpsig-oauth""#,
    r#"sig1=("@method" "x";key="a\"b");alg="ed25519";pub=:iuemcj/GhRHmY/yCsMlDNp3BQgPZDdG00VRsg/BgU3s=:, b=(1 -2.5);c"#,
    "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:, sha-512=:AAAA:;p=?0",
    "a=@1, b=*tok/en;x=1.000, c, d=?0;y",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is done to a field, it is refused, or read as something whose serialisation reads as the same.
    #[test]
    fn a_field_that_was_tampered_with_is_refused_or_read_in_one_way(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..16_u8), 0..6),
    ) {
        let mut text = SEEDS[seed].as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at.index(text.len().max(1));
            match how % 4 {
                0 if at < text.len() => text[at] = byte,
                1 if at < text.len() => drop(text.remove(at)),
                _ if how < 15 => text.insert(at.min(text.len()), br#"()"\\;:=, ?@-.1aA"#[usize::from(byte) % 16]),
                _ => text.truncate(at),
            }
        }
        if let Ok(read) = Dictionary::parse(&text) {
            let written = read.to_string();
            let again = Dictionary::parse(written.as_bytes()).unwrap();
            prop_assert_eq!(again.to_string(), written.as_str());
            prop_assert_eq!(again, read);
        }
    }
}
