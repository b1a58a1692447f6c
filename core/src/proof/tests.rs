use super::*;
use crate::crypto::keys::{Algorithm, SigningKey};
use proptest::prelude::*;
use serde_json::Value;

/// A request of `vectors/proofs.json`.
#[derive(Clone, Debug)]
struct Vector {
    name: String,
    kind: String,
    key: PublicKey,
    signer: Option<SigningKey_>,
    now: u64,
    method: String,
    origin: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<String>,
    payment: String,
}

/// A signing key that can be cloned into a `Debug` struct without showing itself.
#[derive(Clone)]
struct SigningKey_(SigningKey);

impl std::fmt::Debug for SigningKey_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl Vector {
    fn all() -> Vec<Self> {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let tokens = read(include_str!("../../vectors/tokens.json"));
        let proofs = read(include_str!("../../vectors/proofs.json"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |it: &Value| {
            let signer = it["key"].as_str().map(|key| SigningKey::from_jwk(&tokens["keys"][key]["jwk"]).unwrap());
            let key = signer.as_ref().map(SigningKey::public);
            let url = text(&it["url"]);
            let path = url.match_indices('/').nth(2).unwrap().0;
            let pair = |field: &Value| (text(&field[0]), text(&field[1]));
            Self {
                name: text(&it["name"]),
                kind: text(&it["kind"]),
                key: key.unwrap_or_else(|| PublicKey::from_jwk(&it["jwk"]).unwrap()),
                signer: signer.map(SigningKey_),
                now: it["now"].as_u64().unwrap(),
                method: text(&it["method"]),
                origin: url[..path].to_owned(),
                target: url[path..].to_owned(),
                fields: it["headers"].as_array().unwrap().iter().map(pair).collect(),
                body: it["body"].as_str().map(str::to_owned),
                payment: text(&it["payment"]),
            }
        };
        proofs["proofs"].as_array().unwrap().iter().map(one).collect()
    }

    fn request(&self) -> Request<'_> {
        let has_body = self.body.is_some();
        Request { method: &self.method, origin: &self.origin, target: &self.target, has_body }
    }

    fn headers(&self) -> Headers {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn window(&self) -> Window {
        Window { now: self.now, seconds: 30 }
    }

    fn field(&mut self, name: &str) -> &mut String {
        &mut self.fields.iter_mut().find(|(known, _)| known == name).unwrap().1
    }

    /// What the gate says of it, and the key that it found.
    fn verdict(&self) -> Result<(PublicKey, Proven), Reason> {
        let headers = self.headers();
        if self.kind == "introduction" {
            let introduced = introduced(&self.payment, &self.request(), &headers, self.window());
            let introduced = introduced.map_err(|error| error.reason)?.ok_or(Reason::ProofMissing)?;
            return Ok((introduced.key, introduced.proven));
        }
        let shown = Shown::find(&headers, Fields::Both).map_err(|error| error.reason)?;
        let shown = shown.ok_or(Reason::CredentialMalformed)?;
        let proven = verify(&shown, Bound::Key(&self.key), &self.request(), &headers, self.window());
        Ok((self.key, proven.map_err(|error| error.reason)?))
    }
}

#[test]
fn every_vector_is_good_for_its_key_its_time_and_its_body() {
    let mut identities = std::collections::HashSet::new();
    for vector in Vector::all() {
        let (key, proven) = vector.verdict().unwrap_or_else(|reason| panic!("{}: {reason:?}", vector.name));
        assert_eq!(key, vector.key, "{}", vector.name);
        assert_eq!(proven.until, vector.now + 31);
        assert!(proven.once.iter().all(|identity| identities.insert(*identity)));
        assert_eq!(proven.once.len(), 1);
        if vector.kind != "dpop" {
            let stated = vector.body.as_ref().map(|body| sha256(&[body.as_bytes()]));
            assert_eq!(proven.body, stated, "{}", vector.name);
        }
        for (now, expected) in [
            (vector.now + 30, Ok(())),
            (vector.now - 30, Ok(())),
            (vector.now + 31, Err(Reason::ProofExpired)),
            (vector.now - 31, Err(Reason::ProofEarly)),
            (u64::MAX, Err(Reason::ProofExpired)),
            (0, Err(Reason::ProofEarly)),
        ] {
            let later = Vector { now, ..vector.clone() };
            assert_eq!(later.verdict().map(|_| ()), expected, "{} at {now}", vector.name);
        }
    }
}

#[test]
fn we_sign_as_the_vectors_were_signed() {
    let (mut same, mut equivalent) = (0, 0);
    for vector in Vector::all() {
        let Some(SigningKey_(key)) = &vector.signer else { continue };
        let (request, headers) = (vector.request(), vector.headers());
        let mut again = vector.clone();
        if vector.kind == "dpop" {
            let credential = Shown::find(&headers, Fields::Both).unwrap().unwrap().credential.to_owned();
            *again.field("dpop") = dpop::sign(key, &request, &credential, vector.now, "mGq2t0vJ6eYb3cXw").unwrap();
        } else {
            let input = again.field("signature-input").clone();
            let nonce = input.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
            let signing = Signing { key, created: vector.now, nonce, label: "sig1" };
            let field = Shown::find(&headers, Fields::Both).unwrap().map_or(AUTHORIZATION, |shown| shown.field);
            let signed = match vector.kind.as_str() {
                "introduction" => signing.introduce(&vector.payment, &request, &headers),
                _ => signing.present(field, &request, &headers),
            };
            let signed = signed.unwrap();
            *again.field("signature-input") = signed.signature_input;
            *again.field("signature") = signed.signature;
        }
        assert!(again.verdict().is_ok(), "{}", vector.name);
        if again.fields == vector.fields {
            same += 1;
        } else {
            equivalent += 1;
        }
    }
    // node:crypto has random numbers in its ECDSA, and one vector covers more than it must.
    assert_eq!((same, equivalent), (3, 4));
}

#[test]
fn a_proof_is_good_for_one_request_one_token_and_one_key() {
    let other = SigningKey::from_secret(Algorithm::Es256k, &[9; 32]).unwrap().public();
    for vector in Vector::all() {
        let refused = |change: &dyn Fn(&mut Vector)| {
            let mut changed = vector.clone();
            change(&mut changed);
            changed.verdict().expect_err(&vector.name)
        };
        let wrong = if vector.kind == "dpop" { Reason::ProofMismatch } else { Reason::ProofInvalid };
        assert_eq!(refused(&|it| it.method = "HEAD".to_owned()), wrong);
        assert_eq!(refused(&|it| it.origin = it.origin.replace("https", "http")), wrong);
        assert_eq!(refused(&|it| it.origin = it.origin.replace(".com", ".org")), wrong);
        assert_eq!(refused(&|it| it.target.insert(1, 'x')), wrong);
        if vector.kind != "introduction" {
            assert_eq!(refused(&|it| it.key = other), wrong);
            let field =
                vector.fields.iter().find(|(_, value)| value.contains("TTPSig ") || value.contains("DPoP ")).unwrap();
            assert_eq!(refused(&|it| it.field(&field.0).push('x')), wrong);
        }
        if vector.kind == "dpop" {
            // What RFC 9449 does not bind.
            let mut query = vector.clone();
            query.target.push_str("?other=query");
            assert!(query.verdict().is_ok());
        } else {
            assert_eq!(refused(&|it| it.target.push_str("&x=y")), wrong);
            let covered = vector
                .fields
                .iter()
                .filter(|(name, _)| vector.fields.iter().any(|(_, input)| input.contains(&format!("\"{name}\""))));
            for (name, _) in covered {
                let value = |it: &mut Vector| it.field(name).push('~');
                let reason = refused(&value);
                assert!(matches!(reason, Reason::ProofInvalid | Reason::ProofMalformed), "{name}: {reason:?}");
                let gone = refused(&|it| it.fields.retain(|(known, _)| known != name));
                assert!(matches!(gone, Reason::ProofIncomplete | Reason::CredentialMalformed), "{name}: {gone:?}");
            }
        }
    }
}

#[test]
fn scheme_and_binding_must_fit_each_other() {
    let vectors = Vector::all();
    let find = |kind: &str| vectors.iter().find(|vector| vector.kind == kind).unwrap().clone();
    let (signed, proof) = (find("presentation"), find("dpop"));
    let says = |vector: &Vector, scheme: &str, bound: Bound<'_>| {
        let mut vector = vector.clone();
        let value = vector.field("authorization");
        *value = format!("{scheme} {}", value.split_once(' ').unwrap().1);
        let headers = vector.headers();
        let shown = Shown::find(&headers, Fields::Both).unwrap().unwrap();
        verify(&shown, bound, &vector.request(), &headers, vector.window()).map_err(|error| error.reason)
    };
    let thumbprint = proof.key.thumbprint();
    let (by_key, by_thumbprint) = (Bound::Key(&proof.key), Bound::Thumbprint(&thumbprint));
    assert_eq!(says(&proof, "Bearer", Bound::Nothing), Ok(Proven::default()));
    // A bound token is never a bearer token, whatever proofs come along.
    assert_eq!(says(&proof, "Bearer", by_key), Err(Reason::ProofMissing));
    assert_eq!(says(&proof, "Bearer", by_thumbprint), Err(Reason::ProofMissing));
    assert_eq!(says(&signed, "Bearer", Bound::Key(&signed.key)), Err(Reason::ProofMissing));
    // An unbound token is shown as what it is.
    assert_eq!(says(&proof, "DPoP", Bound::Nothing), Err(Reason::ProofUnbound));
    assert_eq!(says(&signed, "HTTPSig", Bound::Nothing), Err(Reason::ProofUnbound));
    assert_eq!(says(&signed, "HTTPSig", Bound::Thumbprint(&signed.key.thumbprint())), Err(Reason::ProofUnbound));
    // DPoP brings its key along, so a thumbprint is enough.
    assert!(says(&proof, "DPoP", by_key).is_ok());
    assert!(says(&proof, "DPoP", by_thumbprint).is_ok());
    let other = signed.key.thumbprint();
    assert_eq!(says(&proof, "DPoP", Bound::Thumbprint(&other)), Err(Reason::ProofMismatch));
    assert_eq!(says(&proof, "DPoP", Bound::Thumbprint("")), Err(Reason::ProofMismatch));
    // One kind of proof is not the other.
    assert_eq!(says(&proof, "HTTPSig", by_key), Err(Reason::ProofMissing));
    assert_eq!(says(&signed, "DPoP", Bound::Key(&signed.key)), Err(Reason::ProofMissing));
}

#[test]
fn reasons_have_names_of_their_own() {
    let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.wire()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    assert_eq!(ProofError::replayed().reason(), "proof_replayed");
    assert!(ProofError::replayed().to_string().starts_with("proof_replayed: "));
}

#[test]
fn identities_differ_by_kind_key_and_nonce() {
    let keys = [Algorithm::EdDsa, Algorithm::Es256k]
        .map(|algorithm| SigningKey::from_secret(algorithm, &[7; 32]).unwrap().public());
    let mut seen = std::collections::HashSet::new();
    for kind in [httpsig::TAG, httpsig::INTRODUCTION_TAG, "dpop+jwt"] {
        for key in &keys {
            for nonce in ["a", "b", "ab", ""] {
                assert!(seen.insert(identity(kind, key, nonce)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Whatever the two fields hold: at most one credential is read, of characters that a token may have, and it
    /// stands in its field behind its scheme.
    #[test]
    fn a_credential_is_read_in_one_way_or_refused(
        fields in prop::collection::vec((any::<bool>(), "(HTTPSig|dpop|BEARER|Basic|)[ \t,=]{0,2}[a-c.~=, \"\u{e9}]{0,4}"), 0..4),
        both in any::<bool>(),
    ) {
        let name = |standard| if standard { AUTHORIZATION } else { CAPABILITY_TOKEN };
        let headers: Headers = fields.iter().map(|(standard, value)| (name(*standard), value.as_str())).collect();
        let which = if both { Fields::Both } else { Fields::CapabilityToken };
        if let Ok(Some(shown)) = Shown::find(&headers, which) {
            let of_it: Vec<_> = fields.iter().filter(|(standard, _)| name(*standard) == shown.field).collect();
            prop_assert_eq!(of_it.len(), 1);
            prop_assert!(both || shown.field == CAPABILITY_TOKEN);
            prop_assert!(shown.credential.bytes().all(|c| c.is_ascii_alphanumeric() || b".~=".contains(&c)));
            let before = of_it[0].1.strip_suffix(shown.credential).unwrap();
            let alone = before.is_empty() && shown.field == CAPABILITY_TOKEN && shown.presented == Presented::Bearer;
            let scheme = before.trim_end_matches(' ');
            prop_assert!(alone || before != scheme && scheme.eq_ignore_ascii_case(shown.presented.scheme()));
        }
    }

    /// Whatever one byte of a good request's proof is changed to, inserted or removed: refused, or only spacing that
    /// is not signed. Nothing panics.
    #[test]
    fn a_proof_that_was_tampered_with_is_refused_or_is_the_same_proof(
        which in any::<prop::sample::Index>(),
        field in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        how in 0..3_u8,
    ) {
        thread_local!(static ALL: Vec<Vector> = Vector::all());
        ALL.with(|all| {
            let vector = which.get(all);
            let (_, honest) = vector.verdict().unwrap();
            let field = field.index(vector.fields.len());
            let mut headers = Headers::default();
            for (index, (name, value)) in vector.fields.iter().enumerate() {
                let mut value = value.clone().into_bytes();
                if index == field {
                    let at = at.index(value.len());
                    match how {
                        0 => value[at] = byte,
                        1 => drop(value.remove(at)),
                        _ => value.insert(at, byte),
                    }
                }
                headers.push(name.as_bytes(), &value);
            }
            let proven = if vector.kind == "introduction" {
                introduced(&vector.payment, &vector.request(), &headers, vector.window()).ok().flatten().map(|it| it.proven)
            } else {
                let shown = Shown::find(&headers, Fields::Both).ok().flatten();
                shown.and_then(|shown| verify(&shown, Bound::Key(&vector.key), &vector.request(), &headers, vector.window()).ok())
            };
            if let Some(proven) = proven {
                prop_assert_eq!(proven, honest);
            }
            Ok(())
        })?;
    }
}
