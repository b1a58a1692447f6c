//! Ed25519 signatures (RFC 8032).

use ed25519_dalek::{Signer, SigningKey};

/// A signing key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(SigningKey);

impl Key {
    /// From the 32 bytes of the seed and the 32 of the public key after them. `None` if they do not belong together.
    #[must_use]
    pub fn from_pair(bytes: &[u8]) -> Option<Self> {
        SigningKey::from_keypair_bytes(bytes.try_into().ok()?).ok().map(Self)
    }

    /// The signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Key;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    /// RFC 8037, appendices A.1 and A.4.
    #[test]
    fn signs_as_rfc_8037_and_refuses_a_pair_that_is_none() {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let mut pair = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        pair.extend(decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
        let signature =
            Key::from_pair(&pair).unwrap().sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), expected);
        assert!(Key::from_pair(&pair[..32]).is_none());
        pair[40] ^= 1;
        assert!(Key::from_pair(&pair).is_none());
    }
}
