use super::super::fields::{Dictionary, Member};
use super::*;
use crate::crypto::keys::PublicKey;
use serde_json::{Value, json};

fn request() -> Request<'static> {
    Request { method: "POST", origin: "https://example.com", target: "/foo?param=Value&Pet=dog", has_body: true }
}

/// The base that the only signature of `input` is made over.
fn based(request: &Request<'_>, headers: &[(&str, &str)], input: &str) -> Result<String, Reason> {
    let dictionary = Dictionary::parse(input.as_bytes()).unwrap();
    let (_, Member::List(input)) = dictionary.iter().next().unwrap() else { panic!("{input}") };
    base(request, &headers.iter().copied().collect(), input).map_err(|error| error.reason)
}

/// RFC 9421, appendix B.2.6.
#[test]
fn the_example_of_rfc_9421_verifies() {
    let headers =
        [("date", "Tue, 20 Apr 2021 02:07:55 GMT"), ("Content-Type", "application/json"), ("content-length", "18")];
    let input = r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;
    let base = based(&request(), &headers, input).unwrap();
    let expected = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
                    \"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n\
                    \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
                    \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
    assert_eq!(base, expected);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs" });
    let key = PublicKey::from_jwk(&jwk).unwrap();
    let signature = ":wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:";
    let text = format!("sig-b26={signature}");
    let dictionary = Dictionary::parse(text.as_bytes()).unwrap();
    let Some(Member::Item(Item { value: Bare::Bytes(bytes), .. })) = dictionary.get("sig-b26") else { panic!() };
    assert!(key.verify(base.as_bytes(), bytes));
}

/// RFC 9421 §§2.1, 2.2.
#[test]
fn components_have_the_values_of_rfc_9421() {
    let value = |request: &Request<'_>, headers: &[(&str, &str)], name: &str| -> Result<String, Reason> {
        let base = based(request, headers, &format!("a=(\"{name}\")"))?;
        Ok(base.strip_suffix(&format!("\n\"@signature-params\": (\"{name}\")")).unwrap().to_owned())
    };
    let get = |target| Request { method: "GET", origin: "https://www.example.com:8443", target, has_body: false };
    for (target, name, expected) in [
        ("/path?param=value", "@method", "GET"),
        ("/path?param=value", "@target-uri", "https://www.example.com:8443/path?param=value"),
        ("/path?param=value", "@authority", "www.example.com:8443"),
        ("/path?param=value", "@path", "/path"),
        ("/path?param=value", "@query", "?param=value"),
        ("/path?queryString", "@query", "?queryString"),
        ("/path?a?b", "@query", "?a?b"),
        ("/path?", "@query", "?"),
        ("/path", "@query", "?"),
        ("/path", "@path", "/path"),
        ("/", "@target-uri", "https://www.example.com:8443/"),
    ] {
        assert_eq!(value(&get(target), &[], name), Ok(format!("\"{name}\": {expected}")), "{target}");
    }
    let headers = [
        ("cache-control", "max-age=60"),
        ("x-empty", ""),
        ("Cache-Control", "   must-revalidate\t"),
        ("x-ows", "  a  b  "),
        ("x_odd!", "v"),
    ];
    for (name, expected) in
        [("cache-control", "max-age=60, must-revalidate"), ("x-empty", ""), ("x-ows", "a  b"), ("x_odd!", "v")]
    {
        assert_eq!(value(&get("/"), &headers, name), Ok(format!("\"{name}\": {expected}")));
    }
}

#[test]
fn what_cannot_be_signed_in_one_way_is_refused() {
    let headers = [("a", "1"), (":path", "/x"), ("b", "x\n\"@method\": GET"), ("c", "\u{e9}"), ("d", "\0"), ("E", "1")];
    for (input, reason) in [
        (r#"s=("a" "a")"#, Reason::ProofMalformed),
        (r#"s=("@method" "@method")"#, Reason::ProofMalformed),
        (r#"s=("a";sf)"#, Reason::ProofMalformed),
        (r#"s=("a";key="b")"#, Reason::ProofMalformed),
        (r#"s=("a";bs)"#, Reason::ProofMalformed),
        (r#"s=("a";tr)"#, Reason::ProofMalformed),
        (r#"s=("@method";req)"#, Reason::ProofMalformed),
        (r#"s=("@query-param";name="x")"#, Reason::ProofMalformed),
        (r#"s=("@signature-params")"#, Reason::ProofMalformed),
        (r#"s=("@status")"#, Reason::ProofMalformed),
        (r#"s=("@request-target")"#, Reason::ProofMalformed),
        (r#"s=("@METHOD")"#, Reason::ProofMalformed),
        (r#"s=("@")"#, Reason::ProofMalformed),
        (r#"s=("")"#, Reason::ProofMalformed),
        (r#"s=("A")"#, Reason::ProofMalformed),
        (r#"s=("E")"#, Reason::ProofMalformed),
        (r#"s=(":path")"#, Reason::ProofMalformed),
        (r#"s=("a ")"#, Reason::ProofMalformed),
        (r#"s=("a\"")"#, Reason::ProofMalformed),
        (r#"s=(a)"#, Reason::ProofMalformed),
        (r#"s=(:YQ==:)"#, Reason::ProofMalformed),
        (r#"s=("b")"#, Reason::ProofMalformed),
        (r#"s=("c")"#, Reason::ProofMalformed),
        (r#"s=("d")"#, Reason::ProofMalformed),
        (r#"s=("z")"#, Reason::ProofIncomplete),
    ] {
        assert_eq!(based(&request(), &headers, input), Err(reason), "{input}");
    }
    // A request line that could end its own line is not signed either.
    for request in [
        Request { method: "GET\n\"x\": y", ..request() },
        Request { target: "/\n\"x\": y", ..request() },
        Request { origin: "https://\u{e9}.example", ..request() },
    ] {
        let input = r#"s=("@method" "@target-uri")"#;
        assert_eq!(based(&request, &headers, input), Err(Reason::ProofMalformed), "{request:?}");
    }
}

#[test]
fn spacing_that_a_field_travelled_with_is_not_signed() {
    let tight = based(&request(), &[("a", "1")], r#"s=("a" "@path");created=1;nonce="x""#);
    assert_eq!(tight, based(&request(), &[("a", "1")], r#"  s=(  "a"   "@path" );  created=001; nonce="x"  "#));
    assert_ne!(tight, based(&request(), &[("a", "1")], r#"s=("a" "@path");nonce="x";created=1"#));
    assert_ne!(tight, based(&request(), &[("a", "1")], r#"s=("@path" "a");created=1;nonce="x""#));
}

#[test]
fn a_body_is_expected_of_methods_that_have_one_and_of_requests_that_say_so() {
    let expects = |method, has_body, headers: &[(&str, &str)]| {
        let request = Request { method, has_body, ..request() };
        request.may_have_body(&headers.iter().copied().collect())
    };
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        assert!(!expects(method, false, &[]));
        assert!(!expects(method, false, &[("content-length", "0")]));
        assert!(expects(method, true, &[]));
        assert!(expects(method, false, &[("Content-Length", "1")]));
        assert!(expects(method, false, &[("content-length", "00"), ("content-length", "10")]));
        assert!(expects(method, false, &[("content-length", "x")]));
        assert!(expects(method, false, &[("transfer-encoding", "chunked")]));
    }
    for method in ["POST", "PUT", "PATCH", "QUERY", "FOO", "get"] {
        assert!(expects(method, false, &[("content-length", "0")]), "{method}");
    }
}

#[test]
fn labels_stand_in_both_fields_or_the_request_is_refused() {
    let tags = |input: &str, signature: &str| {
        let (inputs, signatures) = (Dictionary::parse(input.as_bytes()), Dictionary::parse(signature.as_bytes()));
        let (inputs, signatures) = (inputs.unwrap(), signatures.unwrap());
        let ours = tagged(&inputs, &signatures, "t").map_err(|error| error.reason)?;
        Ok(ours.iter().map(|ours| ours.bytes.first().copied()).collect::<Vec<_>>())
    };
    let bad = Err(Reason::ProofMalformed);
    assert_eq!(tags(r#"a=();tag="t""#, "a=:AQ==:"), Ok(vec![Some(1)]));
    // Each label has its own bytes, in whatever order the fields come.
    assert_eq!(tags(r#"a=();tag="t", b=();tag="t""#, "b=:Ag==:, a=:AQ==:"), Ok(vec![Some(1), Some(2)]));
    // Other tags, no tag, and a tag of another kind are not ours.
    assert_eq!(tags(r#"a=();tag="T", b=(), c=();tag=t, d=();tag"#, "a=::, b=::, c=::, d=::"), Ok(vec![]));
    assert_eq!(tags("", ""), Ok(vec![]));
    for (input, signature) in [
        (r#"a=();tag="t""#, ""),
        ("", "a=:AQ==:"),
        (r#"a=();tag="t""#, "b=:AQ==:"),
        (r#"a=();tag="t""#, "a=:AQ==:, b=:AQ==:"),
        (r#"a=();tag="t", b=()"#, "a=:AQ==:"),
        // Members of the wrong kind, whoever's they are.
        (r#"a;tag="t""#, "a=:AQ==:"),
        (r#"a="x";tag="t""#, "a=:AQ==:"),
        (r#"a=();tag="t", b"#, "a=:AQ==:, b=:AQ==:"),
        (r#"a=();tag="t""#, "a"),
        (r#"a=();tag="t""#, "a=(:AQ==:)"),
        (r#"a=();tag="t""#, "a=\"AQ==\""),
        (r#"a=();tag="t", b=()"#, "a=:AQ==:, b=x"),
    ] {
        assert_eq!(tags(input, signature), bad, "{input} {signature}");
    }
}

/// What node:crypto signed and hashed.
#[test]
fn the_base_is_that_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/tokens.json")).unwrap();
    let tokens = vectors["tokens"].as_array().unwrap();
    let text = |name: &str| tokens.iter().find(|token| token["name"] == name).unwrap()["jws"].as_str().unwrap();
    let credential = format!("HTTPSig {}~{}", text("root"), text("child of root"));
    let target = "/v1/quotes/BTC?ccy=usd";
    let request = Request { method: "GET", origin: "https://api.example.com", target, has_body: false };
    let input = vectors["httpsig"]["signature_input"].as_str().unwrap();
    let base = based(&request, &[("authorization", &credential)], input).unwrap();
    let hash = crate::crypto::hex::encode(&crate::crypto::sha256(&[base.as_bytes()]));
    assert_eq!(hash.trim_start_matches("0x"), vectors["httpsig"]["signature_base_sha256"]);
}
