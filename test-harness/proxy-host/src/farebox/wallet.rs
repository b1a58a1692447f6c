//! Payments: signed once, spelled in many ways.

use super::{MAX_TIMEOUT, NETWORK, PAYEE, TOKEN};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_core::crypto::{hex, keccak256};
use farebox_core::rail::x402::eip3009::{Authorization, Domain, uint_word};
use farebox_core::rail::x402::permit2::{EXACT_PROXY, Permit};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};

/// A key that pays.
#[derive(Clone, Debug)]
pub struct Wallet {
    key: Option<SigningKey>,
    address: [u8; 20],
}

impl Wallet {
    /// Anvil's account 0, which every development chain funds.
    #[must_use]
    pub fn test() -> Self {
        let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        Self::new(hex::decode_fixed(key).unwrap_or_default())
    }

    /// The wallet of a secret, which must not be zero.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        let key = SigningKey::from_slice(&secret).ok();
        let point = key.as_ref().map(|key| key.verifying_key().to_sec1_point(false));
        let mut address = [0; 20];
        if let Some((_, xy)) = point.as_ref().and_then(|point| point.as_bytes().split_first()) {
            for (to, from) in address.iter_mut().zip(keccak256(&[xy]).into_iter().skip(12)) {
                *to = from;
            }
        }
        Self { key, address }
    }

    /// `0x` and 40 digits in lower case.
    #[must_use]
    pub fn address(&self) -> String {
        hex::encode(&self.address)
    }

    /// Signs a payment of `value` atomic units that is valid from now for the time that offers allow.
    #[must_use]
    pub fn pay(&self, value: u128, nonce: [u8; 32], now_seconds: u64) -> Payment {
        let before = now_seconds + MAX_TIMEOUT;
        let mut authorization = Authorization {
            from: self.address,
            to: hex::decode_fixed(PAYEE).unwrap_or_default(),
            value: uint_word(value),
            valid_after: uint_word(0),
            valid_before: uint_word(u128::from(before)),
            nonce,
            signature: Vec::new(),
        };
        let contract = hex::decode_fixed(TOKEN).unwrap_or_default();
        let digest = authorization.digest(&Domain { name: "USDC", version: "2", chain_id: 84_532, contract });
        if let Some(key) = &self.key {
            let (signature, recovery) = key.sign_prehash_recoverable(&digest);
            authorization.signature = signature.to_bytes().to_vec();
            authorization.signature.push(27 + recovery.to_byte());
        }
        let signature = hex::encode(&authorization.signature);
        Payment { nonce, value, before, from: self.address(), way: Way::Eip3009, name: None, signature }
    }

    /// As [`Wallet::pay`], by Permit2. Only the lower half of the nonce counts.
    #[must_use]
    pub fn permit(&self, value: u128, nonce: [u8; 32], now_seconds: u64) -> Payment {
        let before = now_seconds + MAX_TIMEOUT;
        let nonce = uint_word(low(&nonce));
        let mut permit = Permit {
            from: self.address,
            token: hex::decode_fixed(TOKEN).unwrap_or_default(),
            amount: uint_word(value),
            spender: EXACT_PROXY,
            nonce,
            deadline: uint_word(u128::from(before)),
            to: hex::decode_fixed(PAYEE).unwrap_or_default(),
            facilitator: None,
            valid_after: uint_word(0),
            signature: Vec::new(),
        };
        if let Some(key) = &self.key {
            let (signature, recovery) = key.sign_prehash_recoverable(&permit.digest(84_532));
            permit.signature = signature.to_bytes().to_vec();
            permit.signature.push(27 + recovery.to_byte());
        }
        let signature = hex::encode(&permit.signature);
        Payment { nonce, value, before, from: self.address(), way: Way::Permit2, name: None, signature }
    }
}

/// The lower half of a word.
pub(super) fn low(word: &[u8; 32]) -> u128 {
    word.last_chunk::<16>().map_or(0, |low| u128::from_be_bytes(*low))
}

/// How a payment moves money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// `exact` by EIP-3009.
    #[default]
    Eip3009,
    /// `exact` by Permit2.
    Permit2,
}

/// A signed authorization.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The authorization's nonce.
    pub nonce: [u8; 32],
    /// Atomic units.
    pub value: u128,
    /// Unix seconds at which it ends.
    pub before: u64,
    /// Address of the payer, in lower case.
    pub from: String,
    /// How it moves money.
    pub way: Way,
    /// The buyer's own name for it (`payment-identifier`), unless the spelling says another.
    pub name: Option<String>,
    signature: String,
}

/// How a payment is written. The default is how the official client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    /// Hexadecimal digits of authorization and signature in upper case.
    pub upper: bool,
    /// Zeros before every decimal number.
    pub zeros: usize,
    /// The `scheme` of the copied offer.
    pub scheme: Option<String>,
    /// The `network` of the copied offer.
    pub network: Option<String>,
    /// The `asset` of the copied offer in lower case.
    pub lower_asset: bool,
    /// Amount of the copied offer, where it is not the payment's own.
    pub amount: Option<u128>,
    /// The challenge nonce that is echoed.
    pub echo: Option<String>,
    /// The name that is shown instead of the payment's own; empty: none.
    pub name: Option<String>,
    /// Members in another order, and white space.
    pub shuffled: bool,
    /// As version 1 of the protocol, which copies no offer and echoes no nonce. The header's name follows.
    pub version1: bool,
    /// The copied offer is one that settles before.
    pub upfront: bool,
    /// A digit of the signature changed.
    pub broken_signature: bool,
}

impl Spelling {
    /// How the official client writes a payment for this path of [`policy`](super::policy).
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self { upfront: path.starts_with("/before") || path.starts_with("/permit/before"), ..Self::default() }
    }
}

impl Payment {
    /// The payment as JSON.
    #[must_use]
    pub fn json(&self, spelling: &Spelling) -> Value {
        let digits = |text: &str| {
            let digits = text.trim_start_matches("0x");
            format!("0x{}", if spelling.upper { digits.to_uppercase() } else { digits.to_owned() })
        };
        let decimal = |number: u128| format!("{}{number}", "0".repeat(spelling.zeros));
        let mut signature = digits(&self.signature);
        if spelling.broken_signature {
            let last = if signature.get(9..10) == Some("7") { "8" } else { "7" };
            signature.replace_range(9..10, last);
        }
        let mut extra = json!({ "name": "USDC", "version": "2" });
        let payload = match self.way {
            Way::Eip3009 => json!({
                "signature": signature,
                "authorization": {
                    "from": digits(&self.from),
                    "to": digits(PAYEE),
                    "value": decimal(self.value),
                    "validAfter": decimal(0),
                    "validBefore": decimal(u128::from(self.before)),
                    "nonce": digits(&hex::encode(&self.nonce))
                }
            }),
            Way::Permit2 => {
                extra["assetTransferMethod"] = "permit2".into();
                json!({
                    "signature": signature,
                    "permit2Authorization": {
                        "from": digits(&self.from),
                        "permitted": { "token": digits(TOKEN), "amount": decimal(self.value) },
                        "spender": digits(&hex::encode(&EXACT_PROXY)),
                        "nonce": decimal(low(&self.nonce)),
                        "deadline": decimal(u128::from(self.before)),
                        "witness": { "to": digits(PAYEE), "validAfter": decimal(0) }
                    }
                })
            }
        };
        let mut payment = json!({
            "x402Version": 2,
            "accepted": {
                "scheme": spelling.scheme.as_deref().unwrap_or("exact"),
                "network": spelling.network.as_deref().unwrap_or(NETWORK),
                "amount": spelling.amount.unwrap_or(self.value).to_string(),
                "asset": if spelling.lower_asset { TOKEN.to_lowercase() } else { TOKEN.to_owned() },
                "payTo": PAYEE,
                "maxTimeoutSeconds": MAX_TIMEOUT,
                "extra": extra
            },
            "payload": payload
        });
        if spelling.version1 {
            return json!({
                "x402Version": 1,
                "scheme": spelling.scheme.as_deref().unwrap_or("exact"),
                "network": spelling.network.as_deref().unwrap_or("base-sepolia"),
                "payload": payment["payload"]
            });
        }
        if spelling.upfront {
            payment["accepted"]["extra"]["paymentFlow"] = "upfront".into();
        }
        if let Some(echo) = &spelling.echo {
            payment["extensions"]["farebox"] = json!({ "info": { "nonce": echo }, "schema": {} });
        }
        if let Some(name) = spelling.name.as_ref().or(self.name.as_ref()).filter(|name| !name.is_empty()) {
            let info = json!({ "required": false, "id": name });
            payment["extensions"]["payment-identifier"] = json!({ "info": info, "schema": {} });
        }
        payment
    }

    /// Name of the header that carries it.
    #[must_use]
    pub fn header_name(spelling: &Spelling) -> &'static str {
        if spelling.version1 { "x-payment" } else { "payment-signature" }
    }

    /// The header's value.
    #[must_use]
    pub fn header(&self, spelling: &Spelling) -> String {
        let json = self.json(spelling);
        if !spelling.shuffled {
            return STANDARD.encode(json.to_string());
        }
        let members: Vec<String> = json
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                format!(
                    "\n  {} : {}",
                    Value::from(name.as_str()),
                    serde_json::to_string_pretty(value).unwrap_or_default()
                )
            })
            .rev()
            .collect();
        STANDARD.encode(format!(" {{{}\n}} ", members.join(" ,")))
    }
}
