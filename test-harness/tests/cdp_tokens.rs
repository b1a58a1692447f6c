//! The tokens in `core/vectors/cdp.json`, which core's own tests make byte for byte, are good to node:crypto.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn node_verifies_the_tokens_that_we_make_for_cdp() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let vectors = std::fs::read(format!("{root}/core/vectors/cdp.json")).unwrap();
    let mut node = Command::new("node")
        .arg(format!("{root}/test-harness/node/jwt-check.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(&vectors).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let (vectors, results): (Value, Value) =
        (serde_json::from_slice(&vectors).unwrap(), serde_json::from_slice(&output.stdout).unwrap());
    for alg in ["EdDSA", "ES256"] {
        let result = &results[alg];
        assert_eq!(result["valid"], true, "{alg}");
        let (header, claims) = (&result["header"], &result["claims"]);
        assert_eq!((&header["alg"], &header["typ"]), (&alg.into(), &"JWT".into()));
        assert_eq!((&header["kid"], &header["nonce"]), (&vectors["id"], &vectors["nonce"]));
        assert_eq!((&claims["sub"], &claims["iss"]), (&vectors["id"], &"cdp".into()));
        assert_eq!((&claims["iat"], &claims["nbf"]), (&vectors["now"], &vectors["now"]));
        assert_eq!(claims["exp"].as_u64(), vectors["now"].as_u64().map(|now| now + 120));
    }
}
