//! HTTP message signatures (RFC 9421): which signatures a request carries, and what each is made over.

use super::error::{ProofError, Reason, malformed};
use super::fields::{Bare, Dictionary, InnerList, Item, Member, is_tchar};
use crate::http::Headers;
use std::fmt::Write;

/// Names of the two fields, in lower case.
pub const SIGNATURE_INPUT: &str = "signature-input";
/// Names of the two fields, in lower case.
pub const SIGNATURE: &str = "signature";

/// The request that a proof is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// Scheme and authority, lower case, without the scheme's default port: `https://api.example.com`.
    pub origin: &'a str,
    /// Path and query as the client sent them: the value of `:path`. The signer signed this spelling and no other.
    pub target: &'a str,
    /// Whether the host knows of a body. What the headers say of one counts in any case.
    pub has_body: bool,
}

impl<'a> Request<'a> {
    /// `@target-uri` (RFC 9421 §2.2.2).
    #[must_use]
    pub fn target_uri(&self) -> String {
        [self.origin, self.target].concat()
    }

    /// `@authority` (RFC 9421 §2.2.3).
    #[must_use]
    pub fn authority(&self) -> &'a str {
        self.origin.split_once("://").map_or(self.origin, |(_, authority)| authority)
    }

    /// `@path` (RFC 9421 §2.2.6).
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// `@query` (RFC 9421 §2.2.7): with its `?`, which stands alone where there is no query.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.target.find('?').and_then(|at| self.target.get(at..)).unwrap_or("?")
    }

    /// Whether a proof must cover the body: the method usually has one, or the request says that it has.
    #[must_use]
    pub fn may_have_body(&self, headers: &Headers) -> bool {
        let length = headers.all("content-length").any(|length| length.iter().any(|digit| *digit != b'0'));
        let usually = !matches!(self.method, "GET" | "HEAD" | "DELETE" | "OPTIONS");
        usually || self.has_body || length || headers.first("transfer-encoding").is_some()
    }

    /// The value of a derived component (RFC 9421 §2.2), of those that are read.
    fn derived(&self, name: &str) -> Option<String> {
        match name {
            "@method" => Some(self.method.to_owned()),
            "@target-uri" => Some(self.target_uri()),
            "@authority" => Some(self.authority().to_owned()),
            "@path" => Some(self.path().to_owned()),
            "@query" => Some(self.query().to_owned()),
            _ => None,
        }
    }
}

/// One signature of a message: what it says of itself, and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Covered components and parameters.
    pub input: &'a InnerList<'a>,
    /// The signature itself.
    pub bytes: &'a [u8],
}

/// Every signature with `tag`, in order. Others are somebody else's business.
///
/// # Errors
/// [`Reason::ProofMalformed`] if a label stands in one of the fields and not in the other (RFC 9421 §4), or a member
/// is of the wrong kind, whoever's signature it is.
pub fn tagged<'a>(
    inputs: &'a Dictionary<'a>,
    signatures: &'a Dictionary<'a>,
    tag: &str,
) -> Result<Vec<Signature<'a>>, ProofError> {
    let bad = |detail| ProofError::new(Reason::ProofMalformed, detail);
    if signatures.iter().any(|(label, _)| inputs.get(label).is_none()) {
        return Err(bad("a label of `Signature` is not in `Signature-Input`"));
    }
    let mut ours = Vec::new();
    for (label, input) in inputs.iter() {
        let Member::List(input) = input else {
            return Err(bad("each member of `Signature-Input` must be a list"));
        };
        let bytes = match signatures.get(label) {
            Some(Member::Item(Item { value: Bare::Bytes(bytes), .. })) => bytes,
            Some(_) => return Err(bad("each member of `Signature` must be bytes")),
            None => return Err(bad("a label of `Signature-Input` is not in `Signature`")),
        };
        if matches!(input.parameters.get("tag"), Some(Bare::String(found)) if found == tag) {
            ours.push(Signature { input, bytes });
        }
    }
    Ok(ours)
}

/// Reads one of the two fields.
///
/// # Errors
/// [`Reason::ProofMalformed`].
pub fn dictionary<'a>(field: &'static str, text: &'a [u8]) -> Result<Dictionary<'a>, ProofError> {
    Dictionary::parse(text).map_err(|error| malformed(field, error))
}

/// The component identifiers that `input` covers.
///
/// # Errors
/// [`Reason::ProofMalformed`] if one is not a string, has parameters (none of those that RFC 9421 defines is read), or
/// comes twice.
pub fn covered<'a>(input: &'a InnerList<'_>) -> Result<Vec<&'a str>, ProofError> {
    let mut names: Vec<&str> = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let Bare::String(name) = &item.value else {
            return Err(ProofError::new(Reason::ProofMalformed, "a covered component must be a string"));
        };
        if !item.parameters.is_empty() {
            return Err(ProofError::new(Reason::ProofMalformed, "covered components must not have parameters"));
        }
        if names.contains(&name.as_ref()) {
            return Err(ProofError::new(Reason::ProofMalformed, "a covered component comes twice"));
        }
        names.push(name);
    }
    Ok(names)
}

/// The signature base (RFC 9421 §2.5): what a signature with this `input` is made over.
///
/// `input` is written in its one serialisation, whatever spacing it travelled with.
///
/// # Errors
/// As [`covered`]; [`Reason::ProofMalformed`] for a component that does not exist, and for a covered field that holds
/// something other than visible ASCII, spaces and tabs; [`Reason::ProofIncomplete`] for a covered field that the
/// request does not have.
pub fn base(request: &Request<'_>, headers: &Headers, input: &InnerList<'_>) -> Result<String, ProofError> {
    let mut base = String::new();
    for name in covered(input)? {
        let value = if name.starts_with('@') {
            let unknown = || ProofError::new(Reason::ProofMalformed, "a covered component is none that is read here");
            let value = request.derived(name).ok_or_else(unknown)?;
            if !value.bytes().all(|c| c.is_ascii_graphic()) {
                return Err(ProofError::new(Reason::ProofMalformed, "the request line holds what cannot be signed"));
            }
            value
        } else {
            field(headers, name)?
        };
        let _ = writeln!(base, "\"{name}\": {value}");
    }
    let _ = write!(base, "\"@signature-params\": {input}");
    Ok(base)
}

/// The value of a field (RFC 9421 §2.1): its lines without surrounding whitespace, joined by a comma and a space.
fn field(headers: &Headers, name: &str) -> Result<String, ProofError> {
    if name.is_empty() || !name.bytes().all(|c| is_tchar(c) && !c.is_ascii_uppercase()) {
        return Err(ProofError::new(Reason::ProofMalformed, "a covered field must be named in lower case"));
    }
    let mut value: Option<String> = None;
    for line in headers.all(name) {
        let text = line.iter().all(|c| matches!(c, b' '..=b'~' | b'\t')).then(|| std::str::from_utf8(line).ok());
        let unsafe_text = || ProofError::new(Reason::ProofMalformed, "a covered field holds what cannot be signed");
        let line = text.flatten().ok_or_else(unsafe_text)?.trim_matches([' ', '\t']);
        value = Some(match value {
            None => line.to_owned(),
            Some(so_far) => [so_far.as_str(), ", ", line].concat(),
        });
    }
    value.ok_or_else(|| ProofError::new(Reason::ProofIncomplete, "a covered field is not in the request"))
}

#[cfg(test)]
mod tests;
