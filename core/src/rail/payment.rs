//! A payment as a request shows it, on whichever rail.

use super::x402::{self, check::Checked};
use super::{Menu, Offer, Resource, Terms};
use crate::crypto::sha256;
use crate::http::Headers;
use crate::ledger::ClaimId;
use crate::problem::{Code, Problem};

/// A payment, read but not checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Payment {
    /// x402.
    X402(x402::payment::Payment),
}

/// Request headers that carry a payment on some rail; at most one of them may come, once.
const CREDENTIALS: [&str; 2] = [x402::payment::HEADER, x402::v1::HEADER];

/// Whether a request header of this name carries a payment. The upstream never sees one.
#[must_use]
pub fn is_credential(name: &[u8]) -> bool {
    CREDENTIALS.iter().any(|credential| name.eq_ignore_ascii_case(credential.as_bytes()))
}

/// Name of the header field, in lower case, that the request's payment is in.
#[must_use]
pub fn field(headers: &Headers) -> Option<&'static str> {
    CREDENTIALS.into_iter().find(|name| headers.first(name).is_some())
}

impl Payment {
    /// The request's payment for `resource`, if it shows one that `menu` takes.
    ///
    /// # Errors
    /// [`Code::CredentialAmbiguous`] for more than one, [`Code::PaymentMalformed`] for one that cannot be read.
    pub fn find(headers: &Headers, menu: &Menu, resource: Resource<'_>) -> Result<Option<Self>, Problem> {
        let mut shown = headers.iter().filter(|(name, _)| is_credential(name));
        let Some((name, value)) = shown.next() else { return Ok(None) };
        if shown.next().is_some() {
            return Err(Problem::new(Code::CredentialAmbiguous, "a request may show one payment, once"));
        }
        if name.eq_ignore_ascii_case(x402::payment::HEADER.as_bytes()) {
            return x402::payment::Payment::read(value).map(|payment| Some(Self::X402(payment)));
        }
        // A version 1 payment where only version 2 is offered: as if it were not there, so that the client learns what
        // would be accepted.
        match menu.in_v1() {
            [] => Ok(None),
            candidates => x402::payment::Payment::read_v1(value, candidates, resource).map(|it| Some(Self::X402(it))),
        }
    }

    /// The payment's identity: what its rail burns, never its wire text.
    #[must_use]
    pub fn claim_id(&self) -> ClaimId {
        let Self::X402(payment) = self;
        payment.claim_id()
    }

    /// Hash of the terms that it answers, as the client states them, if they sell a pass: whatever is offered today.
    #[must_use]
    pub fn pass(&self) -> Option<[u8; 32]> {
        let Self::X402(payment) = self;
        payment.pass()
    }

    /// CAIP-10 account that pays, in one spelling, where the payment itself says so.
    #[must_use]
    pub fn account(&self) -> Option<String> {
        let Self::X402(payment) = self;
        Some(format!("{}:{}", payment.network(), payment.payer()?.to_ascii_lowercase()))
    }

    /// The buyer's own name for this payment, if it has one of the right form.
    #[must_use]
    pub fn identifier(&self) -> Option<&str> {
        let Self::X402(payment) = self;
        payment.identifier()
    }

    /// Hash of the secret that this payment's presentation shows and no chain ever does; zeros if it shows none. The
    /// buyer's own name for the payment is one, and so is the nonce of the challenge that it answers.
    #[must_use]
    pub fn secret(&self) -> [u8; 16] {
        let Self::X402(payment) = self;
        let named = payment.identifier().map(|id| ("id", id));
        let shown = named.or_else(|| Some(("nonce", payment.nonce.as_deref()?)));
        let Some((kind, shown)) = shown else { return [0; 16] };
        let mut secret = [0; 16];
        for (to, from) in secret.iter_mut().zip(sha256(&[b"secret\0", kind.as_bytes(), b"\0", shown.as_bytes()])) {
            *to = from;
        }
        secret
    }

    /// Who pays, as the rail writes it, where the payment itself says so.
    #[must_use]
    pub fn payer(&self) -> Option<String> {
        let Self::X402(payment) = self;
        payment.payer()
    }

    /// Checks the payment against the offer it answers, without asking anybody. `only_keys` refuses payers that are
    /// contracts.
    ///
    /// # Errors
    /// What is wrong with it, if that can be told from here.
    pub fn check(&self, offer: &Offer, only_keys: bool, now: u64) -> Result<Checked, Problem> {
        let (Self::X402(payment), Terms::X402(terms)) = (self, &offer.terms);
        x402::check::check(payment, terms, only_keys, now)
    }
}
