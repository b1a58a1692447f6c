//! A payment before it is signed.

use super::header;
use super::typed_data;
use crate::agent::challenge::{Challenge, Offer, Version};
use crate::agent::counters::Payment;
use crate::agent::decide::Choice;
use crate::agent::policy::config::Transfer;
use crate::agent::request::Request;
use crate::crypto::{hex, secp256k1, sha256};
use crate::mutant;
use crate::rail::x402::eip3009::{Authorization, Domain, uint_word};
use crate::rail::x402::permit2::{EXACT_PROXY, Permit, UPTO_PROXY};
use serde_json::Value;
use std::fmt;

/// Seconds by which the clock of a version 1 facilitator may be behind.
const V1_AFTER: u64 = 600;
/// Bytes of a contract's signature.
const MAX_SIGNATURE: usize = 8 * 1024;

/// What a payment is bound to, besides its offer.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The reservation's id.
    pub id: &'a [u8; 16],
    /// RFC 7638 thumbprint of the key that the request proves to hold, if it proves one.
    pub holder: Option<&'a str>,
}

/// A payment before it is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub(super) signs: Signs,
    pub(super) chain: u64,
    payer: [u8; 20],
    contract: bool,
    valid_before: u64,
    pub(super) frame: header::Frame,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Signs {
    Eip3009 { authorization: Authorization, name: String, version: String, token: [u8; 20] },
    Permit2(Permit),
}

/// The signature is not the payer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signature is not the payer's")
    }
}

impl std::error::Error for BadSignature {}

impl Draft {
    /// The payment for what was chosen. `None` if the choice is of another challenge.
    #[must_use]
    pub fn new(
        challenge: &Challenge,
        choice: &Choice,
        request: &Request,
        binding: Binding<'_>,
        now: u64,
    ) -> Option<Self> {
        let offer = challenge.offer(choice.offer)?;
        let payer = choice.payer.address;
        let valid_before = now.saturating_add(choice.valid_seconds);
        let nonce = nonce(challenge.nonce(), binding, request);
        let valid_after = if offer.version == Version::V1 { now.saturating_sub(V1_AFTER) } else { 0 };
        let word = |seconds: u64| uint_word(seconds.into());
        let signs = match offer.transfer {
            Transfer::Eip3009 => {
                let (name, version) = offer.domain.clone()?;
                let authorization = Authorization {
                    from: payer,
                    to: offer.payee.address,
                    value: uint_word(if mutant::is("short_payment") { 1 } else { offer.amount }),
                    valid_after: word(valid_after),
                    valid_before: word(valid_before),
                    nonce,
                    signature: Vec::new(),
                };
                Signs::Eip3009 { authorization, name, version, token: offer.asset.address }
            }
            Transfer::Permit2 => Signs::Permit2(permit(offer, payer, nonce, word(valid_before), word(valid_after))),
        };
        let frame = header::Frame::new(challenge, offer, binding.id);
        let chain = offer.asset.chain;
        Some(Self { signs, chain, payer, contract: choice.contract, valid_before, frame })
    }

    /// The account that signs.
    #[must_use]
    pub fn payer(&self) -> [u8; 20] {
        self.payer
    }

    /// EIP-155 chain id.
    #[must_use]
    pub fn chain(&self) -> u64 {
        self.chain
    }

    /// The EIP-712 digest.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        match &self.signs {
            Signs::Eip3009 { authorization, name, version, token } => {
                authorization.digest(&Domain { name, version, chain_id: self.chain, contract: *token })
            }
            Signs::Permit2(permit) => permit.digest(self.chain),
        }
    }

    /// What is signed, as `eth_signTypedData_v4` takes it.
    #[must_use]
    pub fn typed_data(&self) -> Value {
        typed_data::of(self)
    }

    /// The payment with its signature, as it is kept and sent.
    ///
    /// # Errors
    /// [`BadSignature`] if a key's signature does not recover to the payer. A contract's cannot be checked here.
    pub fn finish(mut self, signature: &[u8]) -> Result<Payment, BadSignature> {
        let mut signature = signature.to_vec();
        // Some signers write the parity as 0 and 1.
        if let [.., v @ (0 | 1)] = signature.as_mut_slice()
            && !self.contract
        {
            *v += 27;
        }
        let good = if self.contract {
            (1..=MAX_SIGNATURE).contains(&signature.len())
        } else {
            secp256k1::recover(&self.digest(), &signature) == Some(self.payer)
        };
        if !good {
            return Err(BadSignature);
        }
        let nonce = match &mut self.signs {
            Signs::Eip3009 { authorization, .. } => {
                authorization.signature = signature;
                authorization.nonce
            }
            Signs::Permit2(permit) => {
                permit.signature = signature;
                permit.nonce
            }
        };
        let (header, value) = self.frame.header(&self.signs);
        Ok(Payment { header: header.to_owned(), value, nonce: hex::encode(&nonce), valid_before: self.valid_before })
    }
}

fn permit(offer: &Offer, from: [u8; 20], nonce: [u8; 32], deadline: [u8; 32], valid_after: [u8; 32]) -> Permit {
    Permit {
        from,
        token: offer.asset.address,
        amount: uint_word(offer.amount),
        spender: if offer.facilitator.is_some() { UPTO_PROXY } else { EXACT_PROXY },
        nonce,
        deadline,
        to: offer.payee.address,
        facilitator: offer.facilitator,
        valid_after,
        signature: Vec::new(),
    }
}

/// What the chain burns. It is a hash of the challenge's nonce, the holder's key and the request, so that the payment
/// itself says what it was made for; where the challenge has no nonce, of the reservation's random id in its place.
fn nonce(challenge: Option<&str>, binding: Binding<'_>, request: &Request) -> [u8; 32] {
    let salt = if challenge.is_some() { [0; 16] } else { *binding.id };
    let framed = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
    let (challenge, holder) = (challenge.unwrap_or_default(), binding.holder.unwrap_or_default());
    sha256(&[
        b"farebox payment 1\0",
        &framed(challenge),
        challenge.as_bytes(),
        &framed(holder),
        holder.as_bytes(),
        &request.key(),
        &salt,
    ])
}
