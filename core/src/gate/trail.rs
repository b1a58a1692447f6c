//! What is left as evidence: receipts for buyers, and the lines of the audit log.

use super::Gate;
use super::token::issue::{Purchase, first};
use crate::crypto::{base64url, sha256};
use crate::host::{Event, Host};
use crate::ledger::ClaimId;
use crate::policy::CanonicalRequest;
use crate::rail::Paid;
use crate::receipt::{Amount, Cadence, Entry, Log, Pay, PayState, Position, Proof, Receipt};
use std::cell::RefCell;

/// The audit log of one worker.
#[derive(Default)]
pub(super) struct Trail {
    /// Begun with the first line, under a random name.
    log: RefCell<Option<Log>>,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trail")
    }
}

impl Gate {
    /// Appends a line to the audit log, if the policy wants one.
    pub(super) fn record<H: Host>(&self, host: &H, entry: &Entry<'_>) {
        self.head(host);
        if let Some(log) = self.trail.log.borrow_mut().as_mut() {
            host.event(&Event::Audit { line: &log.line(entry, host.now()) });
        }
    }

    /// Writes a signed head of the audit log, if one is due.
    pub(super) fn head<H: Host>(&self, host: &H) {
        let (Some(audit), Some(tokens)) = (self.policy.audit(), self.policy.tokens()) else { return };
        let Some(signer) = &tokens.signer else { return };
        let cadence = Cadence { lines: audit.head_lines, seconds: audit.head_seconds };
        let mut log = self.trail.log.borrow_mut();
        if log.is_none() {
            let mut name = [0; 16];
            if host.random(&mut name).is_err() {
                return;
            }
            *log = Some(Log::new(name));
        }
        if let Some(log) = log.as_mut()
            && log.head_due(cadence, host.now())
        {
            host.event(&Event::Audit { line: &log.head(&tokens.issuer, &signer.key, host.now()) });
        }
    }

    /// Adds the rail's own receipt to what the buyer is told of its payment, if the policy signs anything.
    pub(super) fn sign<H: Host>(&self, host: &H, request: &CanonicalRequest, paid: &mut Paid) {
        let Some((tokens, signer)) = self.policy.tokens().and_then(|it| Some((it, it.signer.as_ref()?))) else {
            return;
        };
        paid.sign(&tokens.issuer, &request.url(), &signer.key, host.now());
    }

    /// The receipt of a charged call, as a signed text; `None` if the policy signs nothing.
    pub(super) fn receipt<H: Host>(&self, host: &H, call: &Charged<'_>) -> Option<String> {
        let tokens = self.policy.tokens()?;
        let signer = tokens.signer.as_ref()?;
        let position = self.trail.log.borrow().as_ref().map(Log::position);
        let position = position.unwrap_or(Position { log: None, seq: 0, prev: [0; 32] });
        let jti = base64url::encode(&first::<16>(&sha256(&[b"receipt\0", &call.claim.0])));
        let receipt = Receipt {
            aud: call.purchase.holder.map(|key| key.thumbprint_urn()),
            htm: call.request.method().to_owned(),
            htu: call.request.url(),
            req_digest: call.purchase.digest.clone(),
            res_digest: call.digest.map(str::to_owned),
            status: call.status,
            tok: call.token.map(str::to_owned),
            pop: Some(if call.purchase.holder.is_some() { Proof::HttpSig } else { Proof::None }),
            pay: Some(pay(call.paid, PayState::Settled)),
            ..Receipt::new(&tokens.issuer, host.now(), &jti, &position)
        };
        Some(receipt.sign(&signer.key))
    }
}

/// A call that was charged.
pub(super) struct Charged<'a> {
    pub(super) request: &'a CanonicalRequest,
    pub(super) claim: &'a ClaimId,
    /// Status of the answer.
    pub(super) status: u16,
    /// `Content-Digest` of the answer.
    pub(super) digest: Option<&'a str>,
    pub(super) paid: &'a Paid,
    /// Id of the token that was given for it.
    pub(super) token: Option<&'a str>,
    pub(super) purchase: &'a Purchase,
}

/// A payment as receipts and lines write it.
pub(super) fn pay(paid: &Paid, state: PayState) -> Pay {
    let terms = paid.terms.as_ref();
    let network = paid.payer.as_deref().and_then(|payer| payer.rsplit_once(':')).map(|(network, _)| network);
    Pay {
        amount: paid.amount.as_deref().and_then(|amount| amount.parse().ok()).map(Amount),
        asset: terms.map(|terms| terms.asset.clone()),
        network: terms.map(|terms| terms.network.as_str()).or(network).unwrap_or_default().to_owned(),
        pay_to: terms.map(|terms| terms.pay_to.clone()),
        payer: paid.payer.clone(),
        scheme: terms.map(|terms| terms.scheme.clone()).unwrap_or_default(),
        state,
        transaction: Some(paid.transaction.clone()).filter(|transaction| !transaction.is_empty()),
    }
}

/// A claim's id as lines write it.
pub(super) fn claim_name(claim: &ClaimId) -> String {
    base64url::encode(&claim.0)
}
