//! Keys that derive from a configured secret, and names made under them.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use std::fmt;

/// A key for HMAC-SHA256, derived from a secret for one purpose (RFC 5869: no salt, the purpose as `info`). It prints as
/// `Mac`, whoever formats it.
#[derive(Clone)]
pub struct Mac(Hmac<Sha256>);

impl Mac {
    /// The key of `secret` for `purpose`. Different purposes have keys that say nothing of each other.
    #[must_use]
    pub fn derive(secret: &[u8], purpose: &str) -> Self {
        // HMAC fills its key up to a block with zeros: these 32 bytes are the key.
        let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
        if let Some(key) = key.get_mut(..32) {
            // Cannot fail: one block of the expansion has as many.
            let _ = Hkdf::<Sha256>::new(None, secret).expand(purpose.as_bytes(), key);
        }
        Self(Hmac::<Sha256>::new(&key))
    }

    /// The code of the parts one after another. Parts must be of fixed length or framed by the caller.
    #[must_use]
    pub fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::base64url;

    #[test]
    fn purposes_have_keys_of_their_own() {
        let [a, b] = ["a", "b"].map(|purpose| Mac::derive(&[7; 32], purpose));
        assert_ne!(a.of(&[b"text"]), b.of(&[b"text"]));
        assert_ne!(a.of(&[b"text"]), Mac::derive(&[8; 32], "a").of(&[b"text"]));
        assert_eq!(a.of(&[b"te", b"xt"]), a.of(&[b"text"]));
        assert_eq!(format!("{a:?}"), "Mac");
    }

    /// By node:crypto, `hkdfSync("sha256", …)` and `createHmac("sha256", …)`.
    #[test]
    fn it_is_hkdf_and_hmac_with_sha_256() {
        let mac = Mac::derive(b"0123456789abcdef0123456789abcdef", "farebox payer pseudonym");
        let code = mac.of(&[b"https://api.example.com\0eip155:84532:0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"]);
        assert_eq!(base64url::encode(&code), "uLj__fDyIUrlf6ujUmTO8cJRhNgkLJ7DOymv50hudJU");
    }
}
