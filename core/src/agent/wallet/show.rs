//! How a token is shown, and that its key is held; and how a key is introduced by a request that pays.
//!
//! Tokens travel in `Capability-Token`: it is read on every route, and leaves `Authorization` to the service.

use crate::agent::holder::Holder;
use crate::agent::pay::NotSigned;
use crate::agent::request::Url;
use crate::crypto::base64url;
use crate::http::Headers;
use crate::proof::httpsig::Unsigned;
use crate::proof::signature::{SIGNATURE, SIGNATURE_INPUT};
use crate::proof::{CAPABILITY_TOKEN, Request, digest, dpop};
use crate::token::Chain;

/// Name of our signature among those of a request.
const LABEL: &str = "farebox";

/// A request that a credential is added to.
#[derive(Clone, Copy, Debug)]
pub(in crate::agent) struct Parts<'a> {
    pub(in crate::agent) method: &'a str,
    pub(in crate::agent) url: &'a Url,
    /// Those of the caller.
    pub(in crate::agent) headers: &'a [(String, String)],
    pub(in crate::agent) body: &'a [u8],
    /// Unix seconds.
    pub(in crate::agent) now: u64,
    /// Sixteen random bytes, never used before.
    pub(in crate::agent) nonce: [u8; 16],
}

/// The fields that show a token, with the proof that its key is held.
///
/// # Errors
/// [`NotSigned`]: it cannot be shown.
pub(in crate::agent) async fn present<H: Holder>(
    token: &str,
    chain: &Chain,
    holder: &H,
    parts: &Parts<'_>,
) -> Result<Vec<(String, String)>, NotSigned> {
    let Some(bound) = chain.holder() else {
        return Ok(vec![(CAPABILITY_TOKEN.to_owned(), format!("Bearer {token}"))]);
    };
    let key = holder.key().filter(|key| *key.thumbprint() == *bound.thumbprint).ok_or(NotSigned::Failed)?;
    let nonce = base64url::encode(&parts.nonce);
    if bound.key.is_some() {
        let mut fields = vec![(CAPABILITY_TOKEN.to_owned(), format!("HTTPSig {token}"))];
        let headers = parts.fields(&mut fields);
        let unsigned = Unsigned::present((parts.now, &nonce, LABEL), CAPABILITY_TOKEN, &parts.request(), &headers);
        sign(holder, unsigned.map_err(|_| NotSigned::Failed)?, &mut fields).await?;
        return Ok(fields);
    }
    let mut fields = vec![(CAPABILITY_TOKEN.to_owned(), format!("DPoP {token}"))];
    let proof = dpop::unsigned(&key, &parts.request(), token, parts.now, &nonce).ok_or(NotSigned::Failed)?;
    let signature = holder.sign(proof.signing_input().as_bytes()).await?;
    fields.push((dpop::FIELD.to_owned(), proof.finish(&signature)));
    Ok(fields)
}

/// The fields of a payment that introduces the holder's key, so that what it buys belongs to that key.
///
/// # Errors
/// [`NotSigned`]: it cannot be introduced.
pub(in crate::agent) async fn introduce<H: Holder>(
    payment: (&str, &str),
    holder: &H,
    parts: &Parts<'_>,
) -> Result<Vec<(String, String)>, NotSigned> {
    let key = holder.key().ok_or(NotSigned::Failed)?;
    let nonce = base64url::encode(&parts.nonce);
    let mut fields = vec![(payment.0.to_owned(), payment.1.to_owned())];
    let headers = parts.fields(&mut fields);
    let unsigned = Unsigned::introduce((parts.now, &nonce, LABEL), &key, payment.0, &parts.request(), &headers);
    sign(holder, unsigned.map_err(|_| NotSigned::Failed)?, &mut fields).await?;
    Ok(fields)
}

async fn sign<H: Holder>(holder: &H, unsigned: Unsigned, fields: &mut Vec<(String, String)>) -> Result<(), NotSigned> {
    let signature = holder.sign(unsigned.base().as_bytes()).await?;
    let signed = unsigned.finish(&signature);
    fields.push((SIGNATURE_INPUT.to_owned(), signed.signature_input));
    fields.push((SIGNATURE.to_owned(), signed.signature));
    Ok(())
}

impl Parts<'_> {
    fn request(&self) -> Request<'_> {
        let target = self.url.text().strip_prefix(self.url.origin()).unwrap_or("/");
        Request { method: self.method, origin: self.url.origin(), target, has_body: !self.body.is_empty() }
    }

    /// Every field that the request will have, as far as signatures may cover it. A digest of the body is added to
    /// `fields` where a proof needs one and the caller has none.
    fn fields(&self, fields: &mut Vec<(String, String)>) -> Headers {
        let stated = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(digest::FIELD));
        let own: Headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if !stated && self.request().may_have_body(&own) {
            fields.push((digest::FIELD.to_owned(), digest::field(self.body)));
        }
        let all = self.headers.iter().chain(&*fields);
        all.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}
