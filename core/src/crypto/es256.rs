//! ECDSA over P-256 with SHA-256 (JWA's ES256), with the deterministic nonces of RFC 6979.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};

/// A signing key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(SigningKey);

impl Key {
    /// From a PEM block `EC PRIVATE KEY` (SEC1) or `PRIVATE KEY` (PKCS#8); what stands before it is skipped.
    #[must_use]
    pub fn from_pem(text: &str) -> Option<Self> {
        match block(text, "EC PRIVATE KEY") {
            Some(sec1) => from_sec1(&sec1?),
            None => from_pkcs8(&block(text, "PRIVATE KEY")??),
        }
    }

    /// The signature over `message`, as JWS writes it: `r` and `s`, 32 bytes each.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().into()
    }
}

/// The bytes of the PEM block with this label, if there is one; `Some(None)` if it cannot be read.
fn block(text: &str, label: &str) -> Option<Option<Vec<u8>>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let body = rest.split_once(&format!("-----END {label}-----")).map(|(body, _)| body);
    Some(body.and_then(|body| STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()))
}

// The few types of DER (X.690) that keys are made of.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const PARAMETERS: u8 = 0xa0;
const PUBLIC: u8 = 0xa1;
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// 1.2.840.10045.3.1.7
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// The content of the element that `bytes` begins with, and what follows it. Keys are shorter than 256 bytes.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    match bytes {
        [t, 0x81, length, rest @ ..] if *t == tag && *length >= 0x80 => rest.split_at_checked(usize::from(*length)),
        [t, length, rest @ ..] if *t == tag && *length < 0x80 => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}

/// The content of the only element in `bytes`.
fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    element(bytes, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// RFC 5208: version 0, algorithm and curve, the key of RFC 5915; attributes after it are of no interest.
fn from_pkcs8(der: &[u8]) -> Option<Key> {
    let (version, rest) = element(only(der, SEQUENCE)?, INTEGER)?;
    let (algorithm, rest) = element(rest, SEQUENCE)?;
    let (kind, curve) = element(algorithm, OBJECT_ID)?;
    let (sec1, _) = element(rest, OCTET_STRING)?;
    (version == [0] && kind == EC_PUBLIC_KEY && only(curve, OBJECT_ID)? == PRIME256V1).then(|| from_sec1(sec1))?
}

/// RFC 5915: version 1, the secret number, and perhaps the curve and the public key, which must be right.
fn from_sec1(der: &[u8]) -> Option<Key> {
    let (version, rest) = element(only(der, SEQUENCE)?, INTEGER)?;
    let (secret, mut rest) = element(rest, OCTET_STRING)?;
    if version != [1] || secret.len() != 32 {
        return None;
    }
    let key = SigningKey::from_slice(secret).ok()?;
    if let Some((curve, after)) = element(rest, PARAMETERS) {
        (only(curve, OBJECT_ID)? == PRIME256V1).then_some(())?;
        rest = after;
    }
    if let Some((public, after)) = element(rest, PUBLIC) {
        let (unused_bits, point) = only(public, BIT_STRING)?.split_first()?;
        let ours = key.verifying_key().to_sec1_point(false);
        (*unused_bits == 0 && ours.as_bytes() == point).then_some(())?;
        rest = after;
    }
    rest.is_empty().then_some(Key(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hex;

    /// The key of RFC 6979, appendix A.2.5, in both kinds of PEM.
    fn pems() -> [String; 2] {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../vectors/cdp.json")).unwrap();
        ["sec1", "pkcs8"].map(|kind| vectors["keys"][kind].as_str().unwrap().to_owned())
    }

    #[test]
    fn signs_as_rfc_6979_from_either_kind_of_pem() {
        let expected = "0xefd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                        f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
        let [sec1, pkcs8] = pems();
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let with_parameters = format!("{parameters}{sec1}");
        for pem in [&sec1, &pkcs8, sec1.trim_end(), &pkcs8.replace('\n', "\r\n"), &with_parameters] {
            assert_eq!(hex::encode(&Key::from_pem(pem).unwrap().sign(b"sample")), expected, "{pem}");
        }
    }

    #[test]
    fn what_is_no_p256_key_is_refused() {
        let [sec1, pkcs8] = pems();
        let cut = &sec1[..sec1.len() / 2];
        let encrypted = pkcs8.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        for pem in ["", "nonsense", cut, &encrypted, public, &sec1.replace("EC PRIVATE", "PRIVATE")] {
            assert!(Key::from_pem(pem).is_none(), "{pem}");
        }
        // Every byte of a key is looked at: whichever is changed or missing, it is another key or none.
        let good = Key::from_pem(&sec1).unwrap();
        for pem in [(&sec1, "EC PRIVATE KEY"), (&pkcs8, "PRIVATE KEY")] {
            let der = block(pem.0, pem.1).unwrap().unwrap();
            let read = |der: &[u8]| if pem.1 == "PRIVATE KEY" { from_pkcs8(der) } else { from_sec1(der) };
            assert!(read(&der).unwrap() == good);
            for at in 0..der.len() {
                let mut bad = der.clone();
                bad[at] ^= 0x41;
                assert!(read(&bad).is_none(), "{at}");
                assert!(read(&der[..at]).is_none(), "{at}");
            }
        }
    }
}
