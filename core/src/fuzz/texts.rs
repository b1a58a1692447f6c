//! JSON, and what is written in it: keys, signatures, policies.

use super::{Label, Target, label, option, vectors, why};
use crate::crypto::jws::Jws;
use crate::crypto::keys::{PublicKey, SigningKey};
use crate::host::Capabilities;
use crate::json;
use crate::policy::Policy;
use serde_json::Value;
use std::sync::OnceLock;

pub(super) const JSON: Target = Target { name: "json", reads: "strict JSON", seeds: json_seeds, run: run_json };

fn json_seeds() -> Vec<Vec<u8>> {
    let x402 = vectors!("x402");
    let texts = ["exact3009_payloadJson", "paymentRequiredJson", "v1_payloadJson", "permit2_payloadJson"];
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|name| x402[name].as_str().unwrap().into()).collect();
    seeds.push(br#"{"a":[1,-2,1.5e3,"\u20ac\ud83d\ude00\n",null,true,{"":{}}],"b":9007199254740991}"#.to_vec());
    seeds
}

fn run_json(input: &[u8]) -> Label {
    let read = |bytes: &[u8]| json::parse(bytes, 1 << 16, 32);
    let parsed = read(input);
    if let Ok(value) = &parsed {
        let again = read(value.to_string().as_bytes()).unwrap();
        // A fraction may be off by its last digit, which is why no amount is one.
        assert!(again == *value || has_fraction(value), "what is written is read back");
        if let Some(text) = json::canonical(value) {
            let again = read(text.as_bytes()).unwrap();
            assert_eq!(again, *value, "the canonical text says the same");
            assert_eq!(json::canonical(&again), Some(text), "and has itself as canonical text");
        }
    }
    label(&parsed)
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}

pub(super) const JWK: Target = Target { name: "jwk", reads: "keys in JSON", seeds: jwk_seeds, run: run_jwk };

fn jwk_seeds() -> Vec<Vec<u8>> {
    let keys: Vec<_> = ["gateway", "agent", "wallet", "other_wallet"].map(key).into();
    let public = keys.iter().map(|key| key.public().to_jwk());
    public.chain(keys.iter().map(SigningKey::to_jwk)).map(|jwk| jwk.to_string().into_bytes()).collect()
}

/// A key of `tokens.json`.
pub(super) fn key(name: &str) -> SigningKey {
    SigningKey::from_jwk(&vectors!("tokens")["keys"][name]["jwk"]).unwrap()
}

fn run_jwk(input: &[u8]) -> Label {
    let Ok(jwk) = json::parse(input, 4096, 16) else { return "no json".into() };
    let secret = SigningKey::from_jwk(&jwk);
    let public = PublicKey::from_jwk(&jwk);
    assert!(secret.is_none() || public.is_none(), "a key with its secret is no public key");
    if let Some(key) = public {
        assert_eq!(PublicKey::from_jwk(&key.to_jwk()), Some(key));
        assert_eq!(key.thumbprint().len(), 43);
        assert!(!key.verify(input, &[0; 64]));
    }
    if let Some(key) = secret {
        let signature = key.sign(input);
        assert!(key.public().verify(input, &signature));
        return "ok, a secret".into();
    }
    option(public.as_ref())
}

pub(super) const JWS: Target =
    Target { name: "jws", reads: "signed objects", seeds: || signed().to_vec(), run: run_jws };

/// Everything in `tokens.json` that is signed.
pub(super) fn signed() -> &'static [Vec<u8>] {
    static SIGNED: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let vectors = vectors!("tokens");
        let tokens = vectors["tokens"].as_array().unwrap().iter().map(|token| &token["jws"]);
        let receipts = vectors["receipts"]["jws"].as_array().unwrap();
        tokens.chain(receipts).chain([&vectors["dpop"]["jws"]]).map(|text| text.as_str().unwrap().into()).collect()
    })
}

/// The public keys of `tokens.json`.
pub(super) fn public() -> &'static [PublicKey] {
    static KEYS: OnceLock<Vec<PublicKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        ["gateway", "agent", "subagent", "wallet", "other_wallet"].map(|name| key(name).public()).into()
    })
}

fn run_jws(input: &[u8]) -> Label {
    let Ok(text) = std::str::from_utf8(input) else { return "not utf-8".into() };
    let jws = match Jws::parse(text, 8192) {
        Ok(jws) => jws,
        Err(error) => return error.reason().into(),
    };
    let typ = jws.header.get("typ").and_then(Value::as_str).unwrap_or_default();
    let verified = public().iter().any(|key| jws.verify(key, typ).is_ok());
    assert!(!verified || signed().iter().any(|known| known == input), "nobody signed this");
    if verified { "ok".into() } else { "not verified".into() }
}

pub(super) const POLICY: Target =
    Target { name: "policy", reads: "a seller's policy", seeds: policy_seeds, run: run_policy };

fn policy_seeds() -> Vec<Vec<u8>> {
    let policies: Value =
        serde_json::from_str(include_str!("../../vectors/decisions/policies.json")).unwrap_or_default();
    let mut seeds: Vec<Vec<u8>> =
        policies.as_object().unwrap().values().map(|case| case["policy"].to_string().into_bytes()).collect();
    seeds.push(super::exchanges::policy().to_string().into_bytes());
    seeds
}

fn run_policy(input: &[u8]) -> Label {
    let can = Capabilities { hold_response: true, read_body: true };
    let env = |name: &str| (name == "KEY").then(|| super::exchanges::issuer().to_jwk().to_string());
    match Policy::load(input, &env, can) {
        Ok(policy) => {
            for authority in ["api.example.com", "localhost:8080", "x"] {
                let request =
                    [(":method", "GET"), (":authority", authority), (":path", "/a/b?c")].into_iter().collect();
                if let Ok(request) = policy.canonical(&request) {
                    let _ = policy.route(&request);
                }
            }
            "ok".into()
        }
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "a refusal says why");
            why(&mistakes.0[0].hint)
        }
    }
}
