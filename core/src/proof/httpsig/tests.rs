use super::super::fields::{Dictionary, Member};
use super::super::{AUTHORIZATION, CAPABILITY_TOKEN};
use super::*;
use crate::crypto::keys::Algorithm;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
const GET: Request<'_> = Request { method: "GET", origin: "https://a.example", target: "/v1?q", has_body: false };
const POST: Request<'_> = Request { method: "POST", ..GET };
const TOKEN: (&str, &str) = ("authorization", "HTTPSig a.b.c");
const PAYMENT: (&str, &str) = ("payment-signature", "e30=");
const DIGEST: (&str, &str) = ("content-digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
const GOOD: &str =
    r#"("@method" "@target-uri" "authorization");created=1800000000;nonce="0123456789";tag="httpsig-oauth""#;

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::from_secret(algorithm, &[7; 32]).unwrap()
}

fn holder() -> SigningKey {
    key(Algorithm::EdDsa)
}

fn window() -> Window {
    Window { now: NOW, seconds: 30 }
}

/// The request with a signature of `key` for each of `inputs`. The signatures are right, whatever the inputs say, as
/// far as they can be.
fn signed(key: &SigningKey, request: &Request<'_>, fields: &[(&str, &str)], inputs: &[&str]) -> Headers {
    let mut headers: Headers = fields.iter().copied().collect();
    let (mut input_field, mut signature_field) = (Vec::new(), Vec::new());
    for (index, text) in inputs.iter().enumerate() {
        let text = format!("s{index}={text}");
        let base = match Dictionary::parse(text.as_bytes()).ok().as_ref().and_then(|read| read.iter().next()) {
            Some((_, Member::List(list))) => signature::base(request, &headers, list).unwrap_or_default(),
            _ => String::new(),
        };
        signature_field.push(format!("s{index}={}", Bare::Bytes(key.sign(base.as_bytes()).to_vec())));
        input_field.push(text);
    }
    headers.push(b"Signature-Input", input_field.join(", ").as_bytes());
    headers.push(b"Signature", signature_field.join(", ").as_bytes());
    headers
}

fn present(request: &Request<'_>, headers: &Headers) -> Result<Proven, Reason> {
    presented(AUTHORIZATION, &holder().public(), request, headers, window()).map_err(|error| error.reason)
}

/// What becomes of a presentation with this input, properly signed.
fn shows(input: &str) -> Result<(), Reason> {
    present(&GET, &signed(&holder(), &GET, &[TOKEN, DIGEST, ("x", "y")], &[input])).map(|_| ())
}

#[test]
fn a_presentation_says_and_covers_what_it_must() {
    let without = |part: &str| {
        assert!(GOOD.contains(part), "{part}");
        shows(&GOOD.replacen(part, "", 1))
    };
    assert_eq!(shows(GOOD), Ok(()));
    assert_eq!(without("\"@method\" "), Err(Reason::ProofIncomplete));
    assert_eq!(without("\"@target-uri\" "), Err(Reason::ProofIncomplete));
    assert_eq!(without(" \"authorization\""), Err(Reason::ProofIncomplete));
    assert_eq!(without(";created=1800000000"), Err(Reason::ProofIncomplete));
    assert_eq!(without(";nonce=\"0123456789\""), Err(Reason::ProofIncomplete));
    assert_eq!(without(";tag=\"httpsig-oauth\""), Err(Reason::ProofMissing));
    // Parts of the target are not the target.
    let parts = GOOD.replace("\"@target-uri\"", "\"@authority\" \"@path\" \"@query\"");
    assert_eq!(shows(&parts), Err(Reason::ProofIncomplete));
    // In any order, and with more than it must.
    let more = r#"("authorization" "x" "@query" "@target-uri" "@path" "@method" "content-digest");tag="httpsig-oauth";nonce="0";x=?0;created=1800000000;expires=1800000000"#;
    assert_eq!(shows(more), Ok(()));
}

#[test]
fn a_presentation_does_not_bring_its_key_along() {
    for forbidden in
        [";alg=\"ed25519\"", ";alg=\"none\"", ";alg", ";keyid=\"k\"", ";keyid=\"\"", ";keyid", ";pub=:AAAA:", ";pub"]
    {
        assert_eq!(shows(&format!("{GOOD}{forbidden}")), Err(Reason::ProofMalformed), "{forbidden}");
    }
}

#[test]
fn parameters_have_their_kind_and_their_range_and_come_once() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        shows(&GOOD.replacen(from, to, 1))
    };
    let created = "created=1800000000";
    for (to, reason) in [
        ("created=1799999970", None),
        ("created=1800000030", None),
        ("created=1799999969", Some(Reason::ProofExpired)),
        ("created=1800000031", Some(Reason::ProofEarly)),
        ("created=0", Some(Reason::ProofExpired)),
        ("created=999999999999999", Some(Reason::ProofEarly)),
        ("created=-1800000000", Some(Reason::ProofMalformed)),
        ("created=1800000000.0", Some(Reason::ProofMalformed)),
        ("created=@1800000000", Some(Reason::ProofMalformed)),
        ("created=\"1800000000\"", Some(Reason::ProofMalformed)),
        ("created", Some(Reason::ProofMalformed)),
        ("created=1800000000;created=1800000000", Some(Reason::ProofMalformed)),
        ("created=1800000000;expires=1800000000", None),
        ("created=1800000000;expires=1799999999", Some(Reason::ProofExpired)),
        ("created=1800000000;expires=-1", Some(Reason::ProofMalformed)),
        ("created=1800000000;expires=\"1800000100\"", Some(Reason::ProofMalformed)),
        ("created=1800000000;expires", Some(Reason::ProofMalformed)),
    ] {
        assert_eq!(with(created, to).err(), reason, "{to}");
    }
    let nonce = "nonce=\"0123456789\"";
    let long = |n: usize| format!("nonce=\"{}\"", "x".repeat(n));
    for (to, reason) in [
        ("nonce=\"x\"", None),
        (long(MAX_NONCE).as_str(), None),
        (long(MAX_NONCE + 1).as_str(), Some(Reason::ProofMalformed)),
        ("nonce=\"\"", Some(Reason::ProofMalformed)),
        ("nonce=abc", Some(Reason::ProofMalformed)),
        ("nonce=123", Some(Reason::ProofMalformed)),
        ("nonce=:AAAA:", Some(Reason::ProofMalformed)),
        ("nonce", Some(Reason::ProofMalformed)),
        ("nonce=\"a\";nonce=\"b\"", Some(Reason::ProofMalformed)),
    ] {
        assert_eq!(with(nonce, to).err(), reason, "{to}");
    }
    let tag = "tag=\"httpsig-oauth\"";
    for (to, reason) in [
        ("tag=\"httpsig-oauth-token-request\"", Reason::ProofMissing),
        ("tag=\"HTTPSig-OAuth\"", Reason::ProofMissing),
        ("tag=\"web-bot-auth\"", Reason::ProofMissing),
        ("tag=httpsig-oauth", Reason::ProofMissing),
        ("tag=\"\"", Reason::ProofMissing),
        ("tag", Reason::ProofMissing),
        ("tag=\"x\";tag=\"httpsig-oauth\"", Reason::ProofMalformed),
    ] {
        assert_eq!(with(tag, to), Err(reason), "{to}");
    }
    assert_eq!(with("\"@method\"", "\"@method\" \"@method\""), Err(Reason::ProofMalformed));
    assert_eq!(with("\"authorization\"", "\"authorization\";sf"), Err(Reason::ProofMalformed));
    assert_eq!(with("\"authorization\"", "\"Authorization\""), Err(Reason::ProofIncomplete));
    assert_eq!(with("\"authorization\"", "\"authorization\" \"z\""), Err(Reason::ProofIncomplete));
}

#[test]
fn a_body_is_covered_or_the_request_is_refused() {
    let covering = GOOD.replace("\"authorization\"", "\"authorization\" \"content-digest\"");
    let says = |request: &Request<'_>, fields: &[(&str, &str)], input: &str| {
        present(request, &signed(&holder(), request, fields, &[input])).map(|proven| proven.body)
    };
    let empty = Some(crate::crypto::sha256(&[b""]));
    assert_eq!(says(&GET, &[TOKEN], GOOD), Ok(None));
    assert_eq!(says(&POST, &[TOKEN, DIGEST], &covering), Ok(empty));
    assert_eq!(says(&GET, &[TOKEN, DIGEST], &covering), Ok(empty));
    // A digest that is not covered says nothing.
    assert_eq!(says(&GET, &[TOKEN, DIGEST], GOOD), Ok(None));
    assert_eq!(says(&POST, &[TOKEN, DIGEST], GOOD), Err(Reason::ProofIncomplete));
    assert_eq!(says(&POST, &[TOKEN], GOOD), Err(Reason::ProofIncomplete));
    assert_eq!(says(&POST, &[TOKEN], &covering), Err(Reason::ProofIncomplete));
    assert_eq!(says(&GET, &[TOKEN, DIGEST, ("content-length", "3")], GOOD), Err(Reason::ProofIncomplete));
    assert_eq!(says(&GET, &[TOKEN, ("transfer-encoding", "chunked")], GOOD), Err(Reason::ProofIncomplete));
    assert_eq!(says(&Request { has_body: true, ..GET }, &[TOKEN], GOOD), Err(Reason::ProofIncomplete));
    // One that is covered must be a digest that is read here.
    for bad in ["", "sha-512=:AAAA:", "sha-256=:AAAA:", "sha-256=x", "sha-256"] {
        let fields = [TOKEN, ("content-digest", bad)];
        assert_eq!(says(&POST, &fields, &covering), Err(Reason::ProofMalformed), "{bad}");
        assert_eq!(says(&GET, &fields, &covering), Err(Reason::ProofMalformed), "{bad}");
    }
    assert_eq!(says(&POST, &[TOKEN, DIGEST, DIGEST], &covering), Err(Reason::ProofMalformed));
}

#[test]
fn all_signatures_with_the_tag_must_verify() {
    let fields = [TOKEN];
    let second = GOOD.replace("0123456789", "another");
    let both = signed(&holder(), &GET, &fields, &[GOOD, &second]);
    let proven = present(&GET, &both).unwrap();
    // Both are remembered: taking one of them away makes no new proof.
    assert_eq!(proven.once.len(), 2);
    assert_ne!(proven.once[0], proven.once[1]);
    let alone = present(&GET, &signed(&holder(), &GET, &fields, &[&second])).unwrap();
    assert_eq!(alone.once, proven.once[1..]);
    // The later one decides how long.
    let later = second.replace("1800000000", "1800000020");
    assert_eq!(present(&GET, &signed(&holder(), &GET, &fields, &[&later, GOOD])).unwrap().until, NOW + 51);

    let other = key(Algorithm::Es256k);
    let spoil = |headers: &Headers, label: &str| {
        let spoilt = |name: &[u8], value: &[u8]| {
            let text = String::from_utf8(value.to_vec()).unwrap();
            let from = format!("{label}=:");
            let at = text.find(&from).filter(|_| name == b"Signature").map(|at| at + from.len());
            let Some(at) = at else { return text };
            let flipped = if &text[at..=at] == "A" { "B" } else { "A" };
            format!("{}{flipped}{}", &text[..at], &text[at + 1..])
        };
        let mut out = Headers::default();
        headers.iter().for_each(|(name, value)| out.push(name, spoilt(name, value).as_bytes()));
        out
    };
    assert_eq!(present(&GET, &spoil(&both, "s0")), Err(Reason::ProofInvalid));
    assert_eq!(present(&GET, &spoil(&both, "s1")), Err(Reason::ProofInvalid));
    assert_eq!(present(&GET, &signed(&other, &GET, &fields, &[GOOD])), Err(Reason::ProofInvalid));
    for bad in [
        second.replace("\"@method\" ", ""),
        second.replace(";nonce=\"another\"", ""),
        second.replace("1800000000", "1700000000"),
        format!("{second};keyid=\"k\""),
    ] {
        assert!(present(&GET, &signed(&holder(), &GET, &fields, &[GOOD, &bad])).is_err(), "{bad}");
        assert!(present(&GET, &signed(&holder(), &GET, &fields, &[&bad, GOOD])).is_err(), "{bad}");
    }
    let third = GOOD.replace("0123456789", "third");
    let three = signed(&holder(), &GET, &fields, &[GOOD, &second, &third]);
    assert_eq!(present(&GET, &three), Err(Reason::ProofMalformed));
    // Somebody else's signature is not looked at, also if it would not verify.
    let theirs =
        r#"("@authority" "signature-agent";key="s1");created=1;keyid="x";alg="ed25519";expires=2;tag="web-bot-auth""#;
    let headers = spoil(&signed(&holder(), &GET, &fields, &[GOOD, theirs]), "s1");
    assert!(present(&GET, &headers).is_ok());
}

#[test]
fn signatures_are_found_by_their_label_and_by_nothing_else() {
    let good = signed(&holder(), &GET, &[TOKEN], &[GOOD]);
    let (input, signature) = (good.text("signature-input").unwrap(), good.text("signature").unwrap());
    let says = |fields: &[(&str, &str)]| present(&GET, &[TOKEN].iter().chain(fields).copied().collect()).map(|_| ());
    let bad = Err(Reason::ProofMalformed);
    let missing = Err(Reason::ProofMissing);
    let (input_name, signature_name) = ("signature-input", "signature");
    assert_eq!(says(&[(input_name, input), (signature_name, signature)]), Ok(()));
    assert_eq!(says(&[]), missing);
    assert_eq!(says(&[(input_name, ""), (signature_name, "")]), missing);
    assert_eq!(says(&[(input_name, input)]), bad);
    assert_eq!(says(&[(signature_name, signature)]), bad);
    assert_eq!(says(&[(input_name, input), (signature_name, "")]), bad);
    assert_eq!(says(&[(input_name, input), (signature_name, &signature.replace("s0", "s1"))]), bad);
    assert_eq!(says(&[(input_name, &input.replace("s0", "s1")), (signature_name, signature)]), bad);
    // The same label twice, on one line or on two, in either field.
    assert_eq!(says(&[(input_name, input), (input_name, input), (signature_name, signature)]), bad);
    assert_eq!(says(&[(input_name, input), (signature_name, signature), (signature_name, signature)]), bad);
    let twice = format!("{signature}, {signature}");
    assert_eq!(says(&[(input_name, input), (signature_name, &twice)]), bad);
    // Labels swapped between two signatures of ours.
    let other = GOOD.replace("0123456789", "another");
    let both = signed(&holder(), &GET, &[TOKEN], &[GOOD, &other]);
    let (inputs, signatures) = (both.text("signature-input").unwrap(), both.text("signature").unwrap());
    let swapped = signatures.replace("s0", "s2").replace("s1", "s0").replace("s2", "s1");
    assert_eq!(says(&[(input_name, inputs), (signature_name, &swapped)]), Err(Reason::ProofInvalid));
    // Not 64 bytes, or something more than bytes.
    for signature in ["s0=::", "s0=:AAAA:", "s0", "s0=(:AAAA:)"] {
        assert!(says(&[(input_name, input), (signature_name, signature)]).is_err(), "{signature}");
    }
    // Two lines are one field.
    let (theirs, their_signature) = ("x=(\"@path\");tag=\"y\"", "x=:AAAA:");
    let lines =
        [(input_name, theirs), (signature_name, signature), (input_name, input), (signature_name, their_signature)];
    assert_eq!(says(&lines), Ok(()));
}

#[test]
fn a_credential_in_a_field_of_its_own_is_covered_there() {
    let fields = [("authorization", "Basic eDp5"), ("capability-token", "HTTPSig a.b.c")];
    let says = |input: &str| {
        let headers = signed(&holder(), &GET, &fields, &[input]);
        let proven = presented(CAPABILITY_TOKEN, &holder().public(), &GET, &headers, window());
        proven.map(|_| ()).map_err(|error| error.reason)
    };
    assert_eq!(says(&GOOD.replace("\"authorization\"", "\"capability-token\"")), Ok(()));
    assert_eq!(says(GOOD), Err(Reason::ProofIncomplete));
}

/// A properly signed introduction with this input, by `key`.
fn introduces(
    key: &SigningKey,
    request: &Request<'_>,
    fields: &[(&str, &str)],
    inputs: &[&str],
) -> Result<Option<Introduction>, Reason> {
    introduced(PAYMENT.0, request, &signed(key, request, fields, inputs), window()).map_err(|error| error.reason)
}

fn introduction(key: &SigningKey) -> String {
    let (algorithm, public) = described(&key.public());
    let covered = r#"("@method" "@target-uri" "payment-signature")"#;
    let parameters = r#"created=1800000000;nonce="0123456789";tag="httpsig-oauth-token-request""#;
    format!("{covered};{parameters};alg=\"{algorithm}\";pub={}", Bare::Bytes(public))
}

#[test]
fn a_paying_request_introduces_the_key_that_signed_it() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256k] {
        let key = key(algorithm);
        let found = introduces(&key, &GET, &[PAYMENT], &[&introduction(&key)]).unwrap().unwrap();
        assert_eq!(found.key, key.public());
        assert_eq!((found.proven.once.len(), found.proven.until, found.proven.body), (1, NOW + 31, None));
        // Of two keys, the one that is named must be the one that signed.
        let other = super::tests::key(if algorithm == Algorithm::EdDsa { Algorithm::Es256k } else { Algorithm::EdDsa });
        let claimed = introduces(&other, &GET, &[PAYMENT], &[&introduction(&key)]);
        assert_eq!(claimed, Err(Reason::ProofInvalid));
        // And it is the request's: another payment beside it is refused.
        let mut headers = Headers::default();
        for (name, value) in signed(&key, &GET, &[PAYMENT], &[&introduction(&key)]).iter() {
            headers.push(name, if name == PAYMENT.0.as_bytes() { b"e31=" } else { value });
        }
        let moved = introduced(PAYMENT.0, &GET, &headers, window()).unwrap_err();
        assert_eq!(moved.reason, Reason::ProofInvalid);
    }
}

#[test]
fn an_introduction_says_and_covers_what_it_must() {
    let key = holder();
    let good = introduction(&key);
    let says =
        |input: &str| introduces(&key, &GET, &[PAYMENT, ("x-payment", "e30=")], &[input]).map(|found| found.is_some());
    let without = |part: &str| {
        assert!(good.contains(part), "{part}");
        says(&good.replacen(part, "", 1))
    };
    assert_eq!(says(&good), Ok(true));
    assert_eq!(without("\"@method\" "), Err(Reason::ProofIncomplete));
    assert_eq!(without("\"@target-uri\" "), Err(Reason::ProofIncomplete));
    assert_eq!(without(" \"payment-signature\""), Err(Reason::ProofIncomplete));
    assert_eq!(says(&good.replace("payment-signature", "x-payment")), Err(Reason::ProofIncomplete));
    assert_eq!(without(";created=1800000000"), Err(Reason::ProofIncomplete));
    assert_eq!(without(";nonce=\"0123456789\""), Err(Reason::ProofIncomplete));
    assert_eq!(without(";alg=\"ed25519\""), Err(Reason::ProofIncomplete));
    let public = good.split(";pub=").nth(1).unwrap();
    assert_eq!(without(&format!(";pub={public}")), Err(Reason::ProofIncomplete));
    assert_eq!(says(&format!("{good};keyid=\"k\"")), Err(Reason::ProofMalformed));
    assert_eq!(says(&format!("{good};keyid")), Err(Reason::ProofMalformed));
    assert_eq!(says(&good.replace("=1800000000", "=1799999969")), Err(Reason::ProofExpired));
    assert_eq!(says(&good.replace("=1800000000", "=1800000031")), Err(Reason::ProofEarly));
    // Without the tag it introduces nothing: a presentation is no introduction.
    assert_eq!(without(";tag=\"httpsig-oauth-token-request\""), Ok(false));
    assert_eq!(says(&good.replace("httpsig-oauth-token-request", "httpsig-oauth")), Ok(false));
    assert_eq!(introduces(&key, &GET, &[PAYMENT], &[]), Ok(None));
    let none = introduced(PAYMENT.0, &GET, &[PAYMENT].into_iter().collect(), window());
    assert_eq!(none, Ok(None));
    // One key only.
    let second = good.replace("0123456789", "another");
    assert_eq!(introduces(&key, &GET, &[PAYMENT], &[&good, &second]), Err(Reason::ProofMalformed));
}

#[test]
fn an_introduced_key_is_a_good_key_of_its_algorithm() {
    let (ed25519, wallet) = (holder(), key(Algorithm::Es256k));
    let says = |key: &SigningKey, algorithm: &str, public: Bare<'_>| {
        let covered = r#"("@method" "@target-uri" "payment-signature")"#;
        let parameters = r#"created=1800000000;nonce="0";tag="httpsig-oauth-token-request""#;
        let input = format!("{covered};{parameters};alg={algorithm};pub={public}");
        introduces(key, &GET, &[PAYMENT], &[&input]).map(|_| ())
    };
    let bytes = |bytes: &[u8]| Bare::Bytes(bytes.to_vec());
    let (_, small) = described(&ed25519.public());
    let (_, large) = described(&wallet.public());
    assert_eq!(large.len(), 65);
    assert_eq!(says(&ed25519, "\"ed25519\"", bytes(&small)), Ok(()));
    assert_eq!(says(&wallet, "\"ecdsa-secp256k1-sha256\"", bytes(&large)), Ok(()));
    let bad = Err(Reason::ProofMalformed);
    for algorithm in ["\"Ed25519\"", "\"EdDSA\"", "ed25519", "\"none\"", "\"hmac-sha256\"", "\"\"", "?1", "1"] {
        assert_eq!(says(&ed25519, algorithm, bytes(&small)), bad, "{algorithm}");
    }
    for algorithm in ["\"ES256K\"", "\"ecdsa-p256-sha256\"", "\"ed25519\""] {
        assert_eq!(says(&wallet, algorithm, bytes(&large)), bad, "{algorithm}");
    }
    // Lengths, form, points that are none or whose signatures prove nothing.
    for public in [&small[1..], &[&small[..], &[0]].concat(), &[], &[0; 32], &[0xff; 32], &large] {
        assert_eq!(says(&ed25519, "\"ed25519\"", bytes(public)), bad, "{public:?}");
    }
    let neutral = [&[1][..], &[0; 31]].concat();
    assert_eq!(says(&ed25519, "\"ed25519\"", bytes(&neutral)), bad);
    let compressed = [&[2 + (large[64] & 1)][..], &large[1..33]].concat();
    let hybrid = [&[6 + (large[64] & 1)][..], &large[1..]].concat();
    let moved = [&large[..64], &[large[64] ^ 1]].concat();
    for public in [&large[..64], &large[1..], &compressed, &hybrid, &moved, &[4; 65], &[0], &small] {
        assert_eq!(says(&wallet, "\"ecdsa-secp256k1-sha256\"", bytes(public)), bad, "{public:?}");
    }
    // Text where bytes must be.
    let text = Bare::String(base64url::encode(&small).into());
    assert_eq!(says(&ed25519, "\"ed25519\"", text), bad);
}

#[test]
fn an_introduction_with_a_body_covers_it() {
    let key = holder();
    let covering = introduction(&key).replace("\"payment-signature\"", "\"payment-signature\" \"content-digest\"");
    let says = |fields: &[(&str, &str)], input: &str| {
        introduces(&key, &POST, fields, &[input]).map(|found| found.unwrap().proven.body.is_some())
    };
    assert_eq!(says(&[PAYMENT, DIGEST], &covering), Ok(true));
    assert_eq!(says(&[PAYMENT, DIGEST], &introduction(&key)), Err(Reason::ProofIncomplete));
    assert_eq!(says(&[PAYMENT], &introduction(&key)), Err(Reason::ProofIncomplete));
}

#[test]
fn a_signature_with_a_high_s_is_refused() {
    let key = key(Algorithm::Es256k);
    let order =
        crate::crypto::hex::decode("0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let headers = signed(&key, &GET, &[PAYMENT], &[&introduction(&key)]);
    let text = headers.text("signature").unwrap().to_owned();
    let dictionary = Dictionary::parse(text.as_bytes()).unwrap();
    let Some(Member::Item(Item { value: Bare::Bytes(bytes), .. })) = dictionary.get("s0") else { panic!() };
    // order - s, from the last byte to the first.
    let mut high = bytes.clone();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        high[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let mut changed = Headers::default();
    for (name, value) in headers.iter() {
        let signature = format!("s0={}", Bare::Bytes(high.clone()));
        changed.push(name, if name == b"Signature" { signature.as_bytes() } else { value });
    }
    assert!(introduced(PAYMENT.0, &GET, &headers, window()).is_ok());
    assert_eq!(introduced(PAYMENT.0, &GET, &changed, window()).unwrap_err().reason, Reason::ProofInvalid);
}

#[test]
fn what_cannot_be_signed_is_not_signed() {
    let key = holder();
    let signing = Signing { key: &key, created: NOW, nonce: "n", label: "sig1" };
    let says = |request: &Request<'_>, fields: &[(&str, &str)]| {
        signing
            .present(AUTHORIZATION, request, &fields.iter().copied().collect())
            .map(|_| ())
            .map_err(|error| error.reason)
    };
    assert_eq!(says(&GET, &[TOKEN]), Ok(()));
    assert_eq!(says(&GET, &[]), Err(Reason::ProofIncomplete));
    assert_eq!(says(&POST, &[TOKEN]), Err(Reason::ProofIncomplete));
    assert_eq!(says(&POST, &[TOKEN, DIGEST]), Ok(()));
    assert_eq!(says(&GET, &[("authorization", "HTTPSig a\nb")]), Err(Reason::ProofMalformed));
    // A digest that is there is covered, whatever the method.
    let signed = signing.present(AUTHORIZATION, &GET, &[TOKEN, DIGEST].into_iter().collect()).unwrap();
    assert!(signed.signature_input.contains("\"content-digest\""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// The rules of a presentation, written a second time: whatever a holder signs is taken if and only if they hold.
    #[test]
    fn what_a_holder_signs_is_taken_if_it_says_all_it_must_and_nothing_it_must_not(
        components in prop::sample::subsequence(
            vec!["@method", "@target-uri", "authorization", "content-digest", "@path", "@query", "x", "z", "@status", "@method;req"],
            3..8,
        ).prop_shuffle(),
        must in prop::bool::weighted(0.8),
        twice in prop::bool::weighted(0.1),
        created in prop::option::weighted(0.9, NOW - 40..NOW + 40),
        expires in prop::option::weighted(0.2, NOW - 5..NOW + 5),
        nonce in prop::option::weighted(0.9, prop::sample::select(vec![0_usize, 1, 20, MAX_NONCE, MAX_NONCE + 1])),
        tag in prop::sample::select(vec![TAG, TAG, TAG, TAG, INTRODUCTION_TAG, ""]),
        extra in prop::sample::select(vec!["", "", "", "", ";x", ";x=\"y\"", ";alg=\"ed25519\"", ";keyid=\"k\"", ";pub=:AAAA:"]),
        post in any::<bool>(),
        digest in prop::bool::weighted(0.8),
        own_key in prop::bool::weighted(0.9),
    ) {
        let mut names: Vec<&str> = components;
        if must {
            names.retain(|name| !["z", "@status", "@method;req"].contains(name));
            let all = ["@method", "@target-uri", "authorization", "content-digest"];
            let missing: Vec<_> = all[..if post { 4 } else { 3 }].iter().filter(|name| !names.contains(name)).copied().collect();
            names.extend(missing);
        }
        if twice && let Some(first) = names.first().copied() {
            names.push(first);
        }
        let items: Vec<_> = names.iter().map(|name| match name.split_once(';') {
            Some((name, parameter)) => format!("\"{name}\";{parameter}"),
            None => format!("\"{name}\""),
        }).collect();
        let mut input = format!("({})", items.join(" "));
        created.iter().for_each(|created| input += &format!(";created={created}"));
        nonce.iter().for_each(|length| input += &format!(";nonce=\"{}\"", "n".repeat(*length)));
        input += &format!(";tag=\"{tag}\"{extra}");
        expires.iter().for_each(|expires| input += &format!(";expires={expires}"));

        let (request, key) = (if post { POST } else { GET }, if own_key { holder() } else { key(Algorithm::Es256k) });
        let fields = if digest { vec![TOKEN, ("x", "y"), DIGEST] } else { vec![TOKEN, ("x", "y")] };
        let covers = |name: &str| names.contains(&name);
        let good = covers("@method") && covers("@target-uri") && covers("authorization")
            && (covers("content-digest") || !post) && (digest || !covers("content-digest"))
            && !covers("z") && !covers("@status") && !covers("@method;req") && !twice
            && created.is_some_and(|created| created.abs_diff(NOW) <= 30)
            && expires.is_none_or(|expires| expires >= NOW)
            && nonce.is_some_and(|length| (1..=128).contains(&length))
            && tag == TAG
            && !["alg", "keyid", "pub"].iter().any(|name| extra.contains(name))
            && own_key;
        let found = present(&request, &signed(&key, &request, &fields, &[&input]));
        prop_assert_eq!(found.is_ok(), good, "{}: {:?}", input, found);
    }
}
