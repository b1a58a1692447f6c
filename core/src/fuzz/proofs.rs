//! Structured fields, credentials, and proofs of holding a key.

use super::requests::{headers, lines};
use super::texts::key;
use super::{Label, Target, label, vectors};
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::http::Headers;
use crate::proof::fields::Dictionary;
use crate::proof::{self, Bound, Fields, ProofError, Request, Shown, Window, digest, httpsig};
use serde_json::Value;

pub(super) const FIELDS: Target =
    Target { name: "fields", reads: "structured fields", seeds: fields_seeds, run: run_fields };

fn fields_seeds() -> Vec<Vec<u8>> {
    let proofs = vectors!("proofs");
    let headers = proofs["proofs"].as_array().unwrap().iter().flat_map(|case| case["headers"].as_array().unwrap());
    let ours = ["signature-input", "signature", "content-digest"];
    headers
        .filter(|field| ours.iter().any(|name| field[0] == **name))
        .map(|field| field[1].as_str().unwrap().into())
        .collect()
}

fn run_fields(input: &[u8]) -> Label {
    let parsed = Dictionary::parse(input);
    if let Ok(dictionary) = &parsed {
        for (key, member) in dictionary.iter() {
            assert!(dictionary.get(key).is_some_and(|found| std::ptr::eq(found, member)), "a key stands once");
        }
    }
    label(&parsed)
}

/// A case of `proofs.json` as lines: method, origin, target, then headers.
fn case(case: &Value) -> Vec<u8> {
    let url = case["url"].as_str().unwrap();
    let after = url.find("://").unwrap() + 3;
    let (origin, target) = url.split_at(url[after..].find('/').map_or(url.len(), |slash| after + slash));
    let mut text = format!("{} {origin} {target}\n", case["method"].as_str().unwrap()).into_bytes();
    let fields = case["headers"].as_array().unwrap();
    text.extend(lines(fields.iter().map(|field| (field[0].as_str().unwrap(), field[1].as_str().unwrap()))));
    text
}

fn seeds_of(kinds: &[&str]) -> Vec<Vec<u8>> {
    let proofs = vectors!("proofs");
    let cases = proofs["proofs"].as_array().unwrap().iter();
    cases.filter(|proof| kinds.iter().any(|kind| proof["kind"] == **kind)).map(case).collect()
}

/// The case of `proofs.json` that shows this: its time and its key.
fn known() -> Vec<(u64, PublicKey)> {
    let proofs = vectors!("proofs");
    let known = |case: &Value| {
        let key = match case["key"].as_str() {
            Some(name) => key(name).public(),
            None => PublicKey::from_jwk(&case["jwk"]).unwrap(),
        };
        (case["now"].as_u64().unwrap(), key)
    };
    let mut list: Vec<_> = proofs["proofs"].as_array().unwrap().iter().map(known).collect();
    list.dedup();
    list
}

/// What stands in the input, for `look`.
fn with_request<T>(input: &[u8], look: impl FnOnce(&Request<'_>, &Headers) -> T) -> Option<T> {
    let (first, rest) = input.split_at_checked(input.iter().position(|byte| *byte == b'\n')?)?;
    let mut words = std::str::from_utf8(first).ok()?.splitn(3, ' ');
    let (method, origin, target) = (words.next()?, words.next()?, words.next()?);
    Some(look(&Request { method, origin, target, has_body: false }, &headers(rest)))
}

pub(super) const SHOWN: Target = Target {
    name: "shown",
    reads: "the credential among the headers",
    seeds: || {
        let mut seeds = seeds_of(&["presentation", "dpop"]);
        seeds.push(b"GET https://a.example /\ncapability-token: abc~def\n".to_vec());
        seeds.push(b"GET https://a.example /\nauthorization: bearer  abc\n".to_vec());
        seeds
    },
    run: run_shown,
};

fn run_shown(input: &[u8]) -> Label {
    let shown = with_request(input, |_, headers| {
        let found = Shown::find(headers, Fields::Both);
        if let Ok(Some(shown)) = &found {
            let token68 = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/=".contains(&c);
            assert!(!shown.credential.is_empty() && shown.credential.bytes().all(token68));
        }
        match (found, Shown::find(headers, Fields::CapabilityToken)) {
            (Ok(Some(_)), Ok(Some(_))) => "ok, in its own field".into(),
            (Ok(Some(_)), _) => "ok".into(),
            (Ok(None), _) => "none".into(),
            (Err(error), _) => reason(&error),
        }
    });
    shown.unwrap_or("no request".into())
}

fn reason(error: &ProofError) -> Label {
    super::why(&format!("{} {error}", error.reason()))
}

pub(super) const PROOF: Target = Target {
    name: "proof",
    reads: "signatures and DPoP proofs on a request",
    seeds: || seeds_of(&["presentation", "dpop"]),
    run: run_proof,
};

fn run_proof(input: &[u8]) -> Label {
    thread_local! {
        static KNOWN: (Vec<(u64, PublicKey)>, SigningKey) = (known(), key("other_wallet"));
    }
    let label = with_request(input, |request, headers| {
        let Ok(Some(shown)) = Shown::find(headers, Fields::Both) else { return "nothing shown".into() };
        let _ = digest::stated(headers);
        KNOWN.with(|(known, stranger)| {
            let mut last = Label::from("nobody");
            for (now, key) in known {
                let window = Window { now: *now, seconds: 30 };
                match proof::verify(&shown, Bound::Key(key), request, headers, window) {
                    Ok(proven) => {
                        assert!(!proven.once.is_empty() && proven.until > *now, "a proof is good once");
                        // Who else holds a key has not proven anything by it.
                        let other = stranger.public();
                        assert!(proof::verify(&shown, Bound::Key(&other), request, headers, window).is_err());
                        assert!(proof::verify(&shown, Bound::Nothing, request, headers, window).is_err());
                        let late = Window { now: *now + 61, seconds: 30 };
                        assert!(proof::verify(&shown, Bound::Key(key), request, headers, late).is_err());
                        return "ok".into();
                    }
                    Err(error) => last = reason(&error),
                }
            }
            last
        })
    });
    label.unwrap_or("no request".into())
}

pub(super) const INTRODUCTION: Target = Target {
    name: "introduction",
    reads: "a key that a paying request introduces",
    seeds: || seeds_of(&["introduction"]),
    run: run_introduction,
};

fn run_introduction(input: &[u8]) -> Label {
    thread_local! {
        static TIMES: Vec<u64> = known().into_iter().map(|(now, _)| now).collect();
    }
    let label = with_request(input, |request, headers| {
        let payment = ["payment-signature", "authorization"].into_iter().find(|name| headers.first(name).is_some());
        TIMES.with(|times| {
            let mut last = Label::from("none");
            for now in times {
                let window = Window { now: *now, seconds: 30 };
                match httpsig::introduced(payment.unwrap_or("payment-signature"), request, headers, window) {
                    Ok(Some(introduced)) => {
                        assert_eq!(introduced.proven.once.len(), 1);
                        return "ok".into();
                    }
                    Ok(None) => {}
                    Err(error) => last = reason(&error),
                }
            }
            last
        })
    });
    label.unwrap_or("no request".into())
}
