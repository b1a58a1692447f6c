//! Ed25519 signatures (RFC 8032).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// A signing key. Its bytes are wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(SigningKey);

impl Key {
    /// From the 32 bytes of the seed and the 32 of the public key after them. `None` if they do not belong together.
    #[must_use]
    pub fn from_pair(bytes: &[u8]) -> Option<Self> {
        SigningKey::from_keypair_bytes(bytes.try_into().ok()?).ok().map(Self)
    }

    /// From the seed (RFC 8032 calls it the private key).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed. Whoever has it can sign.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Whether `bytes` are the one spelling of a point that a signature proves anything for: on the curve, of high order.
#[must_use]
pub fn is_public(bytes: &[u8; 32]) -> bool {
    is_reduced(bytes) && VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
}

/// Whether the y coordinate is below the field's prime, 2²⁵⁵ − 19: RFC 8032 §5.1.3 has decoding fail if it is not.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    *first < 0xed || middle.iter().any(|byte| *byte != 0xff) || last & 0x7f != 0x7f
}

/// Whether `signature` is that of `public` over `message`.
///
/// Stricter than RFC 8032: points of small order and values that are not reduced are refused, so that a signature has
/// one spelling and stands for one message.
#[must_use]
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(public), Signature::from_slice(signature)) else {
        return false;
    };
    is_reduced(public) && key.verify_strict(message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Key, is_public, verify};
    use crate::crypto::{base64url, hex};

    /// RFC 8037, appendices A.1 and A.4.
    #[test]
    fn signs_as_rfc_8037_and_refuses_a_pair_that_is_none() {
        let decode = |text: &str| base64url::decode(text).unwrap();
        let mut pair = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        pair.extend(decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"));
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let key = Key::from_pair(&pair).unwrap();
        assert_eq!(base64url::encode(&key.sign(message)), expected);
        assert!(Key::from_seed(pair[..32].try_into().unwrap()) == key);
        assert_eq!(key.public()[..], pair[32..]);
        assert!(verify(&key.public(), message, &decode(expected)));
        assert!(Key::from_pair(&pair[..32]).is_none());
        pair[40] ^= 1;
        assert!(Key::from_pair(&pair).is_none());
    }

    #[test]
    fn points_of_small_order_off_the_curve_or_spelt_otherwise_are_no_keys() {
        // The eight points of small order and their other spellings, as libsodium lists them (ed25519_ref10.c).
        let small = [
            "0x0000000000000000000000000000000000000000000000000000000000000000",
            "0x0100000000000000000000000000000000000000000000000000000000000000",
            "0x26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "0xc7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "0xecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0xedffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0xeeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for text in small {
            let mut point = hex::decode_fixed::<32>(text).unwrap();
            assert!(!is_public(&point), "{text}");
            // A signature of zeros is good for such a key, over every message, for a verifier that is not strict.
            let mut signature = [0; 64];
            signature[0] = 1;
            assert!(!verify(&point, b"anything", &signature), "{text}");
            point[31] |= 0x80;
            assert!(!is_public(&point), "{text} negative");
        }
        // y = 2 is not on the curve; y = p + 3 is 3 spelt otherwise, and 3 is good.
        let mut two = [0; 32];
        two[0] = 2;
        assert!(!is_public(&two));
        let mut three = [0; 32];
        three[0] = 3;
        assert!(is_public(&three));
        let mut other = [0xff; 32];
        (other[0], other[31]) = (0xf0, 0x7f);
        assert!(!is_public(&other));
    }
}
