//! `farebox keygen` and `farebox token`: a key, a token, a narrower one, and a request to revoke it.

mod common;

use common::json;
use std::path::Path;

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn keygen(folder: &Path, name: &str, more: &[&str]) {
    let (code, value) = json(folder, &[&["keygen", name], more].concat());
    assert_eq!(code, 0, "{value}");
    write(folder, &format!("{name}.pub"), &value["public"].to_string());
}

const SPEC: &str = "
iss: https://api.example.com
sub: eip155:8453:0x857b06519E91e3A54538791bDbb0E22373e36b66
del_max_depth: 1
authorization_details:
  - locations: [https://api.example.com]
    actions: [GET, POST]
    constraints: [{ key: path, prefix: /v1/ }]
    limits: [{ per: token, unit: call, max: 1000 }]
";

#[test]
fn a_token_is_issued_inspected_verified_delegated_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, more) in [("gate", &[][..]), ("holder", &["--alg", "ES256K"]), ("agent", &[]), ("admin", &[])] {
        keygen(folder, name, more);
    }
    write(folder, "spec.yaml", SPEC);
    let issue = ["token", "issue", "--key", "gate", "--holder", "holder.pub", "--expires-in", "1h", "spec.yaml"];
    let (code, issued) = json(folder, &issue);
    assert_eq!(code, 0, "{issued}");
    let token = issued["token"].as_str().unwrap().to_owned();

    let (code, said) = json(folder, &["token", "inspect", &token]);
    assert_eq!(code, 0, "{said}");
    let verify = |token: &str, call: &str| {
        let keys = ["token", "verify", "--keys", "gate.pub", "--issuer", "https://api.example.com"];
        json(folder, &[&keys[..], &["--call", call, token]].concat())
    };
    assert_eq!(verify(&token, "GET https://api.example.com/v1/quotes/btc").0, 0);
    assert_eq!(verify(&token, "GET https://api.example.com/v2/quotes/btc").0, 1);
    assert_eq!(verify(&token, "DELETE https://api.example.com/v1/quotes/btc").0, 1);
    let (kept, last) = token.split_at(token.len() - 9);
    let forged = format!("{kept}{}{}", if last.starts_with('A') { 'B' } else { 'A' }, &last[1..]);
    assert_eq!(verify(&forged, "GET https://api.example.com/v1/quotes/btc").0, 1);

    write(
        folder,
        "narrower.json",
        r#"{"authorization_details":[{"actions":["GET"],"constraints":[{"key":"path","prefix":"/v1/quotes/"}]}]}"#,
    );
    let delegate = |spec: &str| {
        json(folder, &["token", "delegate", "--key", "holder", "--holder", "agent.pub", "--spec", spec, &token])
    };
    let (code, made) = delegate("narrower.json");
    assert_eq!(code, 0, "{made}");
    let child = made["token"].as_str().unwrap().to_owned();
    assert!(child.starts_with(&format!("{token}~")));
    assert_eq!(verify(&child, "GET https://api.example.com/v1/quotes/btc").0, 0);
    assert_eq!(verify(&child, "GET https://api.example.com/v1/other").0, 1);
    write(folder, "wider.json", r#"{"authorization_details":[{"actions":["DELETE"]}]}"#);
    assert_eq!(delegate("wider.json").0, 1);

    let url = "https://api.example.com/.well-known/farebox/admin";
    let (code, asked) = json(folder, &["token", "revoke", "--key", "admin", "--url", url, "--token", &token]);
    assert_eq!(code, 0, "{asked}");
    assert_eq!(asked["claims"]["aud"], "https://api.example.com");
    assert_eq!(asked["claims"]["what"]["token"], &*farebox_core::token::Chain::inspect(&token).unwrap().root().name);
    assert!(asked["request"].as_str().unwrap().split('.').count() == 3);
    // With its scheme, as it is shown, it is the same token.
    let shown = format!("Bearer {token}");
    let (code, again) = json(folder, &["token", "revoke", "--key", "admin", "--url", url, "--token", &shown]);
    assert_eq!((code, &again["claims"]["what"]), (0, &asked["claims"]["what"]));
    // What can name nothing is not sent as if it did.
    for (option, name) in
        [("--holder", "agnet.pub"), ("--payer", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"), ("--token", "a b")]
    {
        let output = common::farebox(folder, &["token", "revoke", "--key", "admin", "--url", url, option, name]);
        assert_eq!(output.status.code(), Some(2), "{option} {name}");
    }
}

#[test]
fn a_private_key_is_for_its_owner_alone_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    keygen(folder, "key", &[]);
    assert_eq!(std::fs::metadata(folder.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(folder.join("key")).unwrap();
    let output = common::farebox(folder, &["keygen", "key"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(std::fs::read(folder.join("key")).unwrap(), before);
}
