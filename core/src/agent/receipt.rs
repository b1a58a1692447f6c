//! Receipts that come with a response: who signed them, and whether they are about what was paid.
//!
//! Two kinds are read, our gate's `Call-Receipt` and x402's `offer-receipt`, as JWS or by EIP-712. A signature counts if it
//! is that of the account that is paid, of a key that the policy names for the host, or, where the policy names none, of
//! a key in the set that the seller's own origin serves.

use super::challenge::SignedForm;
use super::money::{self, AssetId};
use super::pattern::Reading::Grant;
use super::policy::{Policy, SignerKey};
use super::request::{Body, Url};
use super::seller;
use crate::crypto::jws::Jws;
use crate::crypto::keys::PublicKey;
use crate::http::Headers;
use crate::proof::digest;
use crate::receipt::{self, PayState, call};
use crate::token::KeySet;
use serde_json::Value;

/// Seconds by which clocks may differ.
pub(super) const SKEW: u64 = 120;

/// A receipt that came with a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Which kind.
    pub kind: Kind,
    /// As it came: a compact JWS, or the JSON of an EIP-712 form. Keep it: it is the evidence.
    pub text: String,
    /// What it says. Text of the seller.
    pub claims: Value,
    /// Who signed it, if that is one who counts: a thumbprint (RFC 7638) or an address.
    pub signer: Option<String>,
    /// What is wrong with it; `None`: it is good.
    pub wrong: Option<Wrong>,
}

impl Receipt {
    /// Whether it is signed by one who counts, and says what happened.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.wrong.is_none()
    }
}

/// The kind of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Our gate's `Call-Receipt`.
    Call,
    /// x402's `offer-receipt`.
    Payment,
}

impl Kind {
    /// The kind on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Payment => "payment",
        }
    }
}

/// What is wrong with a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It cannot be read.
    Unreadable,
    /// Nobody who counts signed it: it proves nothing.
    Signer,
    /// It is for another method or URL.
    Resource,
    /// It is for another body.
    Body,
    /// It names another status.
    Status,
    /// It was made before the payment, or in the future.
    Time,
    /// It does not say that money has moved.
    Unsettled,
    /// It names another network or asset.
    Asset,
    /// It names another payer.
    Payer,
    /// It names another payee.
    Payee,
    /// It names another amount.
    Amount,
    /// It names another transaction.
    Transaction,
    /// It names another token.
    Token,
}

impl Wrong {
    /// Everything that can be wrong.
    pub const ALL: &'static [Self] = &[
        Self::Unreadable,
        Self::Signer,
        Self::Resource,
        Self::Body,
        Self::Status,
        Self::Time,
        Self::Unsettled,
        Self::Asset,
        Self::Payer,
        Self::Payee,
        Self::Amount,
        Self::Transaction,
        Self::Token,
    ];

    /// The code on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Signer => "signer",
            Self::Resource => "resource",
            Self::Body => "body",
            Self::Status => "status",
            Self::Time => "time",
            Self::Unsettled => "unsettled",
            Self::Asset => "asset",
            Self::Payer => "payer",
            Self::Payee => "payee",
            Self::Amount => "amount",
            Self::Transaction => "transaction",
            Self::Token => "token",
        }
    }
}

/// What a receipt must be about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a Url,
    pub(super) body: Body,
    pub(super) status: u16,
    pub(super) headers: &'a Headers,
    /// Unix seconds at which it was paid or sent.
    pub(super) at: u64,
    /// What was paid; `None` for a call with a token.
    pub(super) paid: Option<Paid<'a>>,
    /// Id of the token that was shown.
    pub(super) token: Option<&'a str>,
}

/// What was paid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paid<'a> {
    pub(super) asset: AssetId,
    pub(super) payee: &'a [u8; 20],
    pub(super) payer: &'a [u8; 20],
    pub(super) amount: u128,
    pub(super) transaction: Option<&'a str>,
}

/// Whether a key of this host must be asked for before its receipts can be judged.
pub(super) fn needs_keys(policy: &Policy, url: &Url) -> bool {
    named(policy, url).next().is_none()
}

fn named<'p>(policy: &'p Policy, url: &Url) -> impl Iterator<Item = &'p SignerKey> {
    let here = policy.signers.iter().filter(|signer| signer.hosts.iter().any(|host| host.matches(url, Grant)));
    here.map(|signer| &signer.key)
}

/// The key that signed a JWS, of those that count for this URL. `keys` are those that its origin serves.
pub(super) fn signer_of(policy: &Policy, url: &Url, jws: &Jws<'_>, keys: &KeySet) -> Option<PublicKey> {
    let verifies = |key: &&PublicKey| {
        jws.algorithm() == Some(key.algorithm()) && key.verify(jws.signing_input.as_bytes(), &jws.signature)
    };
    if needs_keys(policy, url) {
        // A DID URL names the key after its `#`.
        let kid = jws.kid().unwrap_or_default();
        let name = kid.rsplit_once('#').map_or(kid, |(_, name)| name);
        return keys.get(name).filter(verifies).copied();
    }
    let jwks = named(policy, url).filter_map(|key| match key {
        SignerKey::Jwk(key) => Some(key),
        SignerKey::Address(_) => None,
    });
    jwks.into_iter().find(verifies).copied()
}

/// Our gate's receipt, if the response has one.
pub(super) fn call(policy: &Policy, about: &About<'_>, keys: &KeySet, now: u64) -> Option<Receipt> {
    let text = about.headers.text(call::HEADER)?;
    let mut shown = Receipt { kind: Kind::Call, text: text.to_owned(), claims: Value::Null, signer: None, wrong: None };
    let (Ok(jws), Ok(says)) = (Jws::parse(text, call::MAX_BYTES), receipt::Receipt::unverified(text)) else {
        shown.text.truncate(0);
        shown.wrong = Some(Wrong::Unreadable);
        return Some(shown);
    };
    let key = signer_of(policy, about.url, &jws, keys).filter(|_| jws.has_type(call::TYPE));
    shown.claims = Value::Object(jws.payload);
    shown.signer = key.map(|key| key.thumbprint());
    shown.wrong = match &shown.signer {
        None => Some(Wrong::Signer),
        Some(_) => wrong_with(&says, about, now),
    };
    Some(shown)
}

fn wrong_with(says: &receipt::Receipt, about: &About<'_>, now: u64) -> Option<Wrong> {
    if says.htm != about.method || Url::parse(&says.htu).ok().is_none_or(|url| url.text() != about.url.text()) {
        return Some(Wrong::Resource);
    }
    if says.req_digest.as_deref().is_some_and(|stated| !is_of(stated, about.body)) {
        return Some(Wrong::Body);
    }
    let served = digest::stated(about.headers).ok().flatten();
    if let (Some(stated), Some(served)) = (&says.res_digest, served)
        && !is_of(stated, Body::Digest(served))
    {
        return Some(Wrong::Body);
    }
    if says.status != about.status {
        return Some(Wrong::Status);
    }
    if says.iat.saturating_add(SKEW) < about.at || says.iat > now.saturating_add(SKEW) {
        return Some(Wrong::Time);
    }
    match (&about.paid, about.token) {
        (Some(paid), _) => match &says.pay {
            Some(says) => wrong_with_payment(says, paid),
            None => Some(Wrong::Unsettled),
        },
        (None, Some(token)) if says.tok.as_deref() != Some(token) => Some(Wrong::Token),
        (None, _) => None,
    }
}

fn wrong_with_payment(says: &receipt::Pay, paid: &Paid<'_>) -> Option<Wrong> {
    let account = |text: &str| {
        let (network, address) = text.rsplit_once(':')?;
        (network == paid.asset.network()).then(|| money::evm(address).ok())?
    };
    let asset = says.asset.as_deref().and_then(|asset| AssetId::parse(asset).ok());
    if says.state != PayState::Settled {
        return Some(Wrong::Unsettled);
    }
    if says.network != paid.asset.network() || asset != Some(paid.asset) {
        return Some(Wrong::Asset);
    }
    if says.payer.as_deref().and_then(account).as_ref() != Some(paid.payer) {
        return Some(Wrong::Payer);
    }
    if says.pay_to.as_deref().and_then(account).as_ref() != Some(paid.payee) {
        return Some(Wrong::Payee);
    }
    if says.amount.is_none_or(|amount| amount.0 != paid.amount) {
        return Some(Wrong::Amount);
    }
    let other = |transaction: &str| paid.transaction.is_some_and(|named| !named.eq_ignore_ascii_case(transaction));
    says.transaction.as_deref().is_some_and(other).then_some(Wrong::Transaction)
}

/// Whether a `Content-Digest` is of this body, as far as both are known.
fn is_of(stated: &str, body: Body) -> bool {
    let field = [(digest::FIELD, stated)].into_iter().collect();
    match (digest::stated(&field), body) {
        (_, Body::Unknown) => true,
        (Ok(Some(stated)), Body::Digest(digest)) => stated == digest,
        (Ok(Some(stated)), Body::Empty) => digest::check(&stated, b"").is_ok(),
        _ => false,
    }
}

/// x402's receipt of a payment.
pub(super) fn payment(policy: &Policy, form: &SignedForm, about: &About<'_>, keys: &KeySet, now: u64) -> Receipt {
    let text = match form {
        SignedForm::Jws(text) => text.clone(),
        SignedForm::Eip712 { payload, signature } => {
            serde_json::json!({ "format": "eip712", "payload": payload, "signature": signature }).to_string()
        }
    };
    let read = about.paid.and_then(|paid| {
        let read = seller::receipt(policy, about.url, paid.payee, form, keys)?;
        Some((paid, read))
    });
    let Some((paid, (claims, signer))) = read else {
        return Receipt {
            kind: Kind::Payment,
            text: String::new(),
            claims: Value::Null,
            signer: None,
            wrong: Some(Wrong::Unreadable),
        };
    };
    let wrong = if signer.is_none() { Some(Wrong::Signer) } else { wrong_with_form(&claims, about, &paid, now) };
    Receipt { kind: Kind::Payment, text, claims, signer, wrong }
}

fn wrong_with_form(claims: &Value, about: &About<'_>, paid: &Paid<'_>, now: u64) -> Option<Wrong> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if !text("resourceUrl").is_some_and(|url| seller::is_resource(url, about.url)) {
        return Some(Wrong::Resource);
    }
    if text("network") != Some(&paid.asset.network()) {
        return Some(Wrong::Asset);
    }
    if text("payer").and_then(|payer| money::evm(payer).ok()).as_ref() != Some(paid.payer) {
        return Some(Wrong::Payer);
    }
    let issued = claims.get("issuedAt").and_then(seller::number);
    if issued.is_none_or(|at| at.saturating_add(SKEW) < about.at || at > now.saturating_add(SKEW)) {
        return Some(Wrong::Time);
    }
    let other = |transaction: &str| paid.transaction.is_some_and(|named| !named.eq_ignore_ascii_case(transaction));
    text("transaction").filter(|text| !text.is_empty()).is_some_and(other).then_some(Wrong::Transaction)
}
