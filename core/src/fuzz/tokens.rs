//! Tokens, whole and in parts.

use super::texts::{key, signed};
use super::{Label, Target, vectors};
use crate::crypto::keys::SigningKey;
use crate::crypto::{base64url, jws, sha256};
use crate::json;
use crate::token::{Call, Chain, Grant, Issuer, KeySet, TYPE, Token, TokenError, Unit, issue};
use serde_json::Value;
use std::sync::OnceLock;

const NOW: u64 = 1_795_000_020;
const ISS: &str = "https://api.example.com";
const USDC: &str = "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

fn keys() -> &'static KeySet {
    static KEYS: OnceLock<KeySet> = OnceLock::new();
    KEYS.get_or_init(|| KeySet::new([key("gateway").public(), key("wallet").public()]))
}

fn verify(credential: &str) -> Result<Chain, TokenError> {
    Chain::verify(credential, &Issuer { iss: ISS, keys: keys() }, NOW, 0)
}

/// Which error it was, without the words.
fn label<T>(result: &Result<T, TokenError>) -> Label {
    match result {
        Ok(_) => "ok".into(),
        Err(TokenError::Malformed(what) | TokenError::BadLink(what) | TokenError::Wider(what)) => (*what).into(),
        Err(error) => error.reason().into(),
    }
}

/// Hands over calls of every kind, so that two grants can be compared.
fn each_call(mut look: impl FnMut(&Call<'_>)) {
    static COSTS: OnceLock<Vec<Vec<(Unit, u128)>>> = OnceLock::new();
    let costs = COSTS.get_or_init(|| {
        let usdc = |amount| vec![(Unit::Call, 1), (Unit::Asset(USDC.into()), amount)];
        let other = vec![(Unit::Asset("eip155:1/slip44:60".into()), 1)];
        vec![vec![], vec![(Unit::Call, 1), (Unit::Byte, 10)], usdc(10_000), usdc(10_001), other]
    });
    for origin in [ISS, "https://b.example.com"] {
        for method in ["GET", "POST", "HEAD"] {
            for path in ["/", "/v1", "/v1/", "/v1/quotes", "/v1/quotes/", "/v1/quotes/BTC", "/v10/a"] {
                for route in ["", "quotes"] {
                    for cost in costs {
                        look(&Call { origin, method, path, route, cost });
                    }
                }
            }
        }
    }
}

pub(super) const CREDENTIAL: Target =
    Target {
        name: "credential", reads: "root~child~…, as it is shown", seeds: credential_seeds, run: run_credential
    };

fn credential_seeds() -> Vec<Vec<u8>> {
    let vectors = vectors!("tokens");
    let text = |index: usize| vectors["tokens"][index]["jws"].as_str().unwrap().to_owned();
    [vec![0], vec![2], vec![0, 1], vec![2, 3], vec![2, 3, 4]]
        .map(|links| links.into_iter().map(text).collect::<Vec<_>>().join("~").into_bytes())
        .into()
}

fn run_credential(input: &[u8]) -> Label {
    let Ok(text) = std::str::from_utf8(input) else { return "not utf-8".into() };
    let inspected = Chain::inspect(text);
    let verified = verify(text);
    if let Ok(chain) = &verified {
        assert_eq!(inspected.as_ref(), Ok(chain), "what verifies can be read");
        let known = |link: &str| signed().iter().any(|known| known == link.as_bytes());
        assert!(text.split('~').all(known), "every link was signed as it stands");
        assert_eq!(text.split('~').count(), chain.links().count());
    }
    label(&verified)
}

pub(super) const CLAIMS: Target =
    Target { name: "claims", reads: "what a token says", seeds: claims_seeds, run: run_claims };

fn claims_seeds() -> Vec<Vec<u8>> {
    let vectors = vectors!("tokens");
    vectors["tokens"].as_array().unwrap().iter().map(|token| token["payload"].as_str().unwrap().into()).collect()
}

fn run_claims(input: &[u8]) -> Label {
    let Ok(Value::Object(claims)) = json::parse(input, 8192, 16) else { return "no object".into() };
    let token = match Token::parse(&claims) {
        Ok(token) => token,
        Err(error) => return label(&Err::<(), _>(error)),
    };
    let written = token.to_value();
    assert_eq!(Token::parse(written.as_object().unwrap()).as_ref(), Ok(&token), "what is written is read back");
    // Whatever it allows, it allows itself.
    assert_eq!(token.narrower_than(&token), Ok(()));
    if token.par_hash.is_some() {
        return "ok, a delegation".into();
    }
    let issued = issue(&key("gateway"), &token);
    let Ok(credential) = &issued else { return label(&issued) };
    let chain = Chain::inspect(credential).unwrap();
    assert_eq!(chain.root().token, token);
    let mut allowed = false;
    each_call(|call| {
        if let Ok(granted) = chain.authorises(call) {
            allowed = true;
            assert!(granted.draw(60).is_ok(), "what is allowed can be counted");
        }
    });
    if allowed { "ok, allows".into() } else { "ok, allows nothing here".into() }
}

pub(super) const DELEGATION: Target = Target {
    name: "delegation",
    reads: "what a delegation says, signed by its parent's holder",
    seeds: || claims_seeds().into_iter().filter(|claims| claims.windows(8).any(|part| part == b"par_hash")).collect(),
    run: run_delegation,
};

fn run_delegation(input: &[u8]) -> Label {
    static PARENT: OnceLock<(String, Chain, SigningKey)> = OnceLock::new();
    let (root, parent, holder) = PARENT.get_or_init(|| {
        let root = vectors!("tokens")["tokens"][0]["jws"].as_str().unwrap().to_owned();
        let chain = verify(&root).unwrap();
        (root, chain, key("agent"))
    });
    let Ok(mut claims) = json::parse(input, 8192, 16) else { return "no json".into() };
    // Of a delegation of another root, only that is put right.
    if claims.get("par_hash").is_some() {
        let (signed, _) = root.rsplit_once('.').unwrap();
        claims["par_hash"] = base64url::encode(&sha256(&[signed.as_bytes()])).into();
        claims["iss"] = holder.public().thumbprint_urn().into();
        claims["del_depth"] = 1.into();
        claims["del_max_depth"] = 2.into();
    }
    let Some(child) = jws::sign(holder, TYPE, None, &claims) else { return "not signed".into() };
    let verified = verify(&format!("{root}~{child}"));
    if let Ok(chain) = &verified {
        each_call(|call| {
            let allowed = chain.authorises(call).is_ok();
            assert!(
                !allowed || parent.authorises(call).is_ok(),
                "allowed to the child, refused to its parent: {call:?}"
            );
        });
    }
    label(&verified)
}

pub(super) const GRANTS: Target =
    Target { name: "grants", reads: "two grants, one to a line", seeds: grants_seeds, run: run_grants };

fn grants_seeds() -> Vec<Vec<u8>> {
    let grants: Vec<String> = claims_seeds()
        .iter()
        .map(|claims| serde_json::from_slice::<Value>(claims).unwrap()["authorization_details"][0].to_string())
        .collect();
    // Small ones, in which a change or two matters.
    let small = |constraint: &str, limits: &str| {
        let head = r#"{"type":"http_call","locations":["https://api.example.com"],"actions":["GET","POST"]"#;
        format!(r#"{head},"constraints":[{constraint}],"limits":[{limits}]}}"#)
    };
    let prefix = small(r#"{"key":"path","prefix":"/v1/"}"#, "");
    let paths = small(r#"{"key":"path","one_of":["/v1/quotes","/v1/quotes/BTC"]}"#, "");
    let routes = small(r#"{"key":"route","one_of":["quotes"]},{"key":"path","one_of":["/","/v1/"]}"#, "");
    let calls = small("", r#"{"max":"1","per":"call","unit":"call"}"#);
    let money = small("", &format!(r#"{{"max":"10000","per":"call","unit":"{USDC}"}}"#));
    let more_money = small("", r#"{"max":"1","per":"token","unit":"eip155:1/slip44:60"}"#);
    let pairs = [
        (&grants[0], &grants[1]),
        (&grants[1], &grants[1]),
        (&prefix, &prefix),
        (&prefix, &paths),
        (&paths, &paths),
        (&routes, &routes),
        (&calls, &calls),
        (&money, &money),
        (&money, &more_money),
    ];
    pairs.map(|(parent, child)| format!("{parent}\n{child}").into_bytes()).into()
}

fn run_grants(input: &[u8]) -> Label {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let mut read = || {
        let value = json::parse(lines.next().unwrap_or_default(), 8192, 16).ok()?;
        Some(Grant::parse(&value))
    };
    let (parent, child) = match (read(), read()) {
        (Some(Ok(parent)), Some(Ok(child))) => (parent, child),
        (Some(Err(error)), _) | (_, Some(Err(error))) => return label(&Err::<(), _>(error)),
        _ => return "no json".into(),
    };
    for grant in [&parent, &child] {
        assert_eq!(Grant::parse(&grant.to_value()).as_ref(), Ok(grant), "what is written is read back");
        assert_eq!(grant.narrower_than(grant), Ok(()));
    }
    let narrower = child.narrower_than(&parent);
    if narrower.is_ok() {
        each_call(|call| assert!(child.covers(call).is_err() || parent.covers(call).is_ok(), "{call:?}"));
    }
    let mut inheriting = child;
    inheriting.inherit(&parent);
    match narrower {
        Ok(()) => "ok, narrower".into(),
        Err(error) => format!("ok, {error}").into(),
    }
}
