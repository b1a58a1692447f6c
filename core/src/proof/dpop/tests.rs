use super::*;
use crate::crypto::keys::Algorithm;
use proptest::prelude::*;
use serde_json::Map;

const NOW: u64 = 1_800_000_000;
const TOKEN: &str = "a.b.c";
const GET: Request<'_> = Request { method: "GET", origin: "https://a.example", target: "/v1/x?q=1", has_body: false };

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_secret(algorithm, &[7; 32]).unwrap()
}

fn holder() -> SigningKey {
    key(Algorithm::EdDsa)
}

fn window() -> Window {
    Window { now: NOW, seconds: 30 }
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "jwk": holder().public().to_jwk(), "typ": "dpop+jwt" })
}

fn claims() -> Value {
    json!({ "ath": hash(TOKEN), "htm": "GET", "htu": "https://a.example/v1/x", "iat": NOW, "jti": "j" })
}

fn present(request: &Request<'_>, proofs: &[&str]) -> Result<Proven, Reason> {
    let headers: Headers = proofs.iter().map(|proof| ("DPoP", *proof)).collect();
    let key = holder().public();
    presented(TOKEN, Bound::Key(&key), request, &headers, window()).map_err(|error| error.reason)
}

/// What becomes of a properly signed proof with this header and these claims.
fn shows(header: &Value, claims: &Value) -> Result<(), Reason> {
    let proof = jws::sign_with_header(&holder(), header, claims).unwrap();
    present(&GET, &[&proof]).map(|_| ())
}

/// With a member set to another value, or taken out.
fn with(object: &Value, name: &str, value: Option<Value>) -> Value {
    let mut members: Map<String, Value> = object.as_object().unwrap().clone();
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
    Value::Object(members)
}

#[test]
fn a_proof_says_what_it_must() {
    assert_eq!(shows(&header(), &claims()), Ok(()));
    for name in ["ath", "htm", "htu", "iat", "jti"] {
        assert_eq!(shows(&header(), &with(&claims(), name, None)), Err(Reason::ProofIncomplete), "{name}");
        for value in [json!(null), json!([]), json!({}), json!(true)] {
            let bad = with(&claims(), name, Some(value));
            assert_eq!(shows(&header(), &bad), Err(Reason::ProofMalformed), "{name}");
        }
    }
    assert_eq!(shows(&with(&header(), "jwk", None), &claims()), Err(Reason::ProofIncomplete));
    assert_eq!(shows(&with(&header(), "typ", None), &claims()), Err(Reason::ProofMalformed));
    assert_eq!(shows(&with(&header(), "alg", None), &claims()), Err(Reason::ProofMalformed));
    // Members that nobody asked for decide nothing.
    assert_eq!(shows(&with(&header(), "kid", Some(json!("x"))), &with(&claims(), "nonce", Some(json!("n")))), Ok(()));
}

#[test]
fn each_claim_is_the_requests() {
    for (name, value, reason) in [
        ("ath", json!(hash("a.b.d")), Reason::ProofMismatch),
        ("ath", json!(TOKEN), Reason::ProofMismatch),
        ("ath", json!(format!("{}=", hash(TOKEN))), Reason::ProofMismatch),
        ("ath", json!(""), Reason::ProofMismatch),
        ("htm", json!("POST"), Reason::ProofMismatch),
        ("htm", json!("get"), Reason::ProofMismatch),
        ("htm", json!(""), Reason::ProofMismatch),
        ("iat", json!(NOW - 31), Reason::ProofExpired),
        ("iat", json!(NOW + 31), Reason::ProofEarly),
        ("iat", json!(0), Reason::ProofExpired),
        ("iat", json!(9_007_199_254_740_991_u64), Reason::ProofEarly),
        ("iat", json!(-1), Reason::ProofMalformed),
        ("iat", json!(NOW.to_string()), Reason::ProofMalformed),
        ("jti", json!(""), Reason::ProofMalformed),
        ("jti", json!("x".repeat(MAX_JTI + 1)), Reason::ProofMalformed),
        ("jti", json!(1), Reason::ProofMalformed),
    ] {
        assert_eq!(shows(&header(), &with(&claims(), name, Some(value.clone()))), Err(reason), "{name} {value}");
    }
    for (name, value) in
        [("iat", json!(NOW - 30)), ("iat", json!(NOW + 30)), ("jti", json!("x".repeat(MAX_JTI))), ("jti", json!("é"))]
    {
        assert_eq!(shows(&header(), &with(&claims(), name, Some(value.clone()))), Ok(()), "{name} {value}");
    }
}

#[test]
fn the_url_is_compared_as_rfc_3986_normalises_it() {
    let says = |htu: &str| shows(&header(), &with(&claims(), "htu", Some(json!(htu))));
    for same in [
        "https://a.example/v1/x",
        "HTTPS://A.Example/v1/x",
        "https://a.example:443/v1/x",
        "https://a.example/%76%31/x",
        "https://a.example/v1/%78",
    ] {
        assert_eq!(says(same), Ok(()), "{same}");
    }
    for other in [
        "",
        "/v1/x",
        "a.example/v1/x",
        "//a.example/v1/x",
        "https://a.example",
        "https://a.example/",
        "https://a.example/v1",
        "https://a.example/v1/x/",
        "https://a.example/v1/X",
        "https://a.example/v1//x",
        "https://a.example/v1/./x",
        "https://a.example/v1/y/../x",
        "https://a.example/v1/x;a",
        "https://a.example/v1%2Fx",
        "http://a.example/v1/x",
        "https://a.example:8443/v1/x",
        "https://a.example:80/v1/x",
        "https://b.example/v1/x",
        "https://u@a.example/v1/x",
        "https://a.example./v1/x",
        "https://a.example/v1/x?q=1",
        "https://a.example/v1/x?",
        "https://a.example/v1/x#f",
        "https://a.example/v1/x#",
        " https://a.example/v1/x",
        "https://a.example/v1/x ",
        "https:///v1/x",
        "ftp://a.example/v1/x",
        "https://a.example\\v1/x",
    ] {
        assert_eq!(says(other), Err(Reason::ProofMismatch), "{other}");
    }
    // The request's own spelling may be any that means its path.
    let spelt = Request { target: "/%761/x?q=1", ..GET };
    let proof = jws::sign_with_header(&holder(), &header(), &claims()).unwrap();
    assert!(present(&spelt, &[&proof]).is_ok());
    let root = Request { target: "/", ..GET };
    for htu in ["https://a.example", "https://a.example/"] {
        let proof = jws::sign_with_header(&holder(), &header(), &with(&claims(), "htu", Some(json!(htu)))).unwrap();
        assert!(present(&root, &[&proof]).is_ok(), "{htu}");
    }
}

#[test]
fn the_header_names_the_key_that_the_token_is_bound_to() {
    let bad = Err(Reason::ProofMalformed);
    for typ in ["jwt", "at+jwt", "dpop", "dpop+jwt ", "", "JWT", "application/jwt"] {
        assert_eq!(shows(&with(&header(), "typ", Some(json!(typ))), &claims()), bad, "{typ}");
    }
    for typ in ["DPoP+jwt", "application/dpop+jwt"] {
        assert_eq!(shows(&with(&header(), "typ", Some(json!(typ))), &claims()), Ok(()), "{typ}");
    }
    for alg in ["none", "None", "HS256", "ES256K", "ES256", "RS256", "eddsa", ""] {
        assert_eq!(shows(&with(&header(), "alg", Some(json!(alg))), &claims()), bad, "{alg}");
    }
    assert_eq!(shows(&with(&header(), "alg", Some(json!("Ed25519"))), &claims()), Ok(()));
    for name in ["crit", "b64", "zip"] {
        assert_eq!(shows(&with(&header(), name, Some(json!(["exp"]))), &claims()), bad, "{name}");
    }
    let jwk = holder().public().to_jwk();
    let other = key(Algorithm::Es256k).public().to_jwk();
    for (jwk, expected) in [
        (with(&jwk, "alg", None), Ok(())),
        (with(&jwk, "kid", Some(json!("k"))), Ok(())),
        // Private members, of whatever content.
        (holder().to_jwk(), bad),
        (with(&jwk, "d", Some(json!(""))), bad),
        (with(&jwk, "d", Some(json!(null))), bad),
        (with(&jwk, "k", Some(json!("AAAA"))), bad),
        (with(&jwk, "x", None), bad),
        (with(&jwk, "x", Some(json!("AAAA"))), bad),
        (with(&jwk, "crv", Some(json!("Ed448"))), bad),
        (with(&jwk, "crv", Some(json!("X25519"))), bad),
        (with(&jwk, "kty", Some(json!("EC"))), bad),
        (with(&jwk, "alg", Some(json!("ES256K"))), bad),
        (with(&jwk, "use", Some(json!("enc"))), bad),
        (with(&jwk, "key_ops", Some(json!(["sign"]))), bad),
        (json!({ "kty": "oct", "k": "AAAA" }), bad),
        (json!({ "kty": "RSA", "n": "AAAA", "e": "AQAB" }), bad),
        (json!("x"), bad),
        (json!(null), bad),
        (json!([jwk.clone()]), bad),
        // A good key of another algorithm than `alg`, and a good key that is not the token's.
        (other, bad),
        (SigningKey::from_secret(Algorithm::EdDsa, &[8; 32]).unwrap().public().to_jwk(), Err(Reason::ProofMismatch)),
    ] {
        assert_eq!(shows(&with(&header(), "jwk", Some(jwk.clone())), &claims()), expected, "{jwk}");
    }
}

#[test]
fn the_signature_is_that_of_the_key_in_the_header() {
    let proof = jws::sign_with_header(&key(Algorithm::Es256k), &header(), &claims()).unwrap();
    assert_eq!(present(&GET, &[&proof]), Err(Reason::ProofInvalid));
    let good = jws::sign_with_header(&holder(), &header(), &claims()).unwrap();
    let (signed, _) = good.rsplit_once('.').unwrap();
    assert_eq!(present(&GET, &[&format!("{signed}.{}", base64url::encode(&[0; 64]))]), Err(Reason::ProofInvalid));
    for bad in [
        signed.to_owned(),
        format!("{signed}."),
        format!("{good}.x"),
        format!("{good}="),
        format!("{good} "),
        String::new(),
    ] {
        assert_eq!(present(&GET, &[&bad]), Err(Reason::ProofMalformed), "{bad}");
    }
}

#[test]
fn one_proof_comes_in_one_field() {
    let good = jws::sign_with_header(&holder(), &header(), &claims()).unwrap();
    let other = jws::sign_with_header(&holder(), &header(), &with(&claims(), "jti", Some(json!("k")))).unwrap();
    assert_eq!(present(&GET, &[]), Err(Reason::ProofMissing));
    assert_eq!(present(&GET, &[&good, &good]), Err(Reason::ProofMalformed));
    assert_eq!(present(&GET, &[&good, &other]), Err(Reason::ProofMalformed));
    assert_eq!(present(&GET, &[&format!("{good}, {other}")]), Err(Reason::ProofMalformed));
    assert_eq!(present(&GET, &["\u{e9}"]), Err(Reason::ProofMalformed));
    let long = with(&claims(), "x", Some(json!("x".repeat(MAX_BYTES))));
    assert_eq!(shows(&header(), &long), Err(Reason::ProofMalformed));
    let ids = |proof: &str| present(&GET, &[proof]).unwrap().once;
    assert_eq!(ids(&good), ids(&good));
    assert_ne!(ids(&good), ids(&other));
}

#[test]
fn members_that_come_twice_are_refused() {
    let encode = |text: &str| base64url::encode(text.as_bytes());
    let jwk = holder().public().to_jwk();
    let claims = claims().to_string();
    let says = |header: &str, claims: &str| {
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = base64url::encode(&holder().sign(input.as_bytes()));
        present(&GET, &[&format!("{input}.{signature}")]).map(|_| ())
    };
    let header = format!(r#"{{"alg":"EdDSA","jwk":{jwk},"typ":"dpop+jwt"}}"#);
    assert_eq!(says(&header, &claims), Ok(()));
    let twice = header.replace("{\"alg\":\"EdDSA\",\"jwk\"", "{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"jwk\"");
    assert_ne!(twice, header);
    assert_eq!(says(&twice, &claims), Err(Reason::ProofMalformed));
    let twice = header.replace("\"kty\"", "\"crv\":\"Ed25519\",\"kty\"");
    assert_eq!(says(&twice, &claims), Err(Reason::ProofMalformed));
    assert_eq!(says(&header, &claims.replace("{\"", "{\"htm\":\"GET\",\"")), Err(Reason::ProofMalformed));
    assert_eq!(says(&header, &claims.replace(&NOW.to_string(), &format!("{NOW}.0"))), Err(Reason::ProofMalformed));
    assert_eq!(says(&header, &claims.replace(&NOW.to_string(), "1.8e9")), Err(Reason::ProofMalformed));
}

#[test]
fn what_we_make_is_good() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256k] {
        let key = key(algorithm);
        let proof = sign(&key, &GET, TOKEN, NOW, "j").unwrap();
        let headers: Headers = [("dpop", proof.as_str())].into_iter().collect();
        let thumbprint = key.public().thumbprint();
        let proven = presented(TOKEN, Bound::Thumbprint(&thumbprint), &GET, &headers, window()).unwrap();
        assert_eq!((proven.once.len(), proven.until, proven.body), (1, NOW + 31, None));
    }
    assert_eq!(sign(&holder(), &GET, TOKEN, u64::MAX, "j"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The rules of a proof, written a second time: whatever a holder signs is taken if and only if they hold.
    #[test]
    fn what_a_holder_signs_is_taken_if_every_part_of_it_is_right(
        changes in prop::collection::vec((prop::sample::select(vec!["ath", "htm", "htu", "iat", "jti", "alg", "typ", "jwk"]), 0..7_usize), 0..3),
        own_key in prop::bool::weighted(0.9),
    ) {
        let wallet = key(Algorithm::Es256k);
        let (mut header, mut claims) = (header(), claims());
        let mut good = own_key;
        for (name, choice) in &changes {
            // The first ones are good; after them, bad ones.
            let (fine, values) = match *name {
                "ath" => (1, [json!(hash(TOKEN)), json!(hash("x")), json!(""), json!(1), json!(TOKEN), json!(null), json!([hash(TOKEN)])]),
                "htm" => (1, [json!("GET"), json!("HEAD"), json!("get"), json!(""), json!(1), json!(null), json!(["GET"])]),
                "htu" => (2, [
                    json!("https://a.example/v1/x"), json!("HTTPS://A.EXAMPLE:443/v1/%78"), json!("https://a.example/v1/x?q=1"),
                    json!("https://a.example/v1/x#"), json!("https://b.example/v1/x"), json!("/v1/x"), json!(null),
                ]),
                "iat" => (3, [json!(NOW), json!(NOW - 30), json!(NOW + 30), json!(NOW - 31), json!(NOW + 31), json!("0"), json!(-1)]),
                "jti" => (2, [json!("k"), json!("k".repeat(128)), json!("k".repeat(129)), json!(""), json!(1), json!(null), json!({})]),
                "alg" => (2, [json!("EdDSA"), json!("Ed25519"), json!("ES256K"), json!("none"), json!("HS256"), json!(null), json!(1)]),
                "typ" => (2, [json!("dpop+jwt"), json!("application/dpop+jwt"), json!("at+jwt"), json!("jwt"), json!(""), json!(null), json!(1)]),
                _ => (1, [
                    holder().public().to_jwk(), holder().to_jwk(), wallet.public().to_jwk(), json!({}), json!("x"), json!(null),
                    with(&holder().public().to_jwk(), "x", Some(json!("AA"))),
                ]),
            };
            let part = if ["alg", "typ", "jwk"].contains(name) { &mut header } else { &mut claims };
            *part = with(part, name, Some(values[*choice].clone()));
            let last = changes.iter().rev().find(|(other, _)| other == name).map(|(_, choice)| *choice);
            good &= last.is_some_and(|choice| choice < fine);
        }
        let proof = jws::sign_with_header(&if own_key { holder() } else { wallet }, &header, &claims).unwrap();
        let found = present(&GET, &[&proof]);
        prop_assert_eq!(found.is_ok(), good, "{} {}: {:?}", header, claims, found);
    }
}
