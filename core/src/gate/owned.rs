//! Header fields that are ours alone: what a client may not tell the upstream, and an upstream not the client.

use super::Visit;
use crate::http::{Edits, Headers};
use crate::policy::{CanonicalRequest, Tokens};
use crate::proof::digest;
use crate::rail;

/// Prefix of what the gate tells the upstream.
const PREFIX: &[u8] = b"farebox-";
/// Carries a capability token, in either direction.
const TOKEN: &[u8] = b"capability-token";
/// What only the gate says to a client.
const ANSWERS: [&[u8]; 4] = [b"payment-required", b"payment-response", b"x-payment-response", b"call-receipt"];
/// Make some upstreams read another method or path than the judged one.
const OVERRIDES: [&[u8]; 5] =
    [b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url"];

/// Prefixes of what makes a proxy send a request more than once or give up on it at another time than the operator set.
const RETRIES: [&[u8]; 4] = [b"x-envoy-retr", b"x-envoy-max-retries", b"x-envoy-upstream-rq-", b"x-envoy-hedge-"];

/// What the names above begin with, and the rail's.
const INITIALS: &[u8] = b"cfpsx";

/// Changes to the request: the canonical path, no credential, no field that is ours to set. `tokens` of which one in
/// `Authorization` is to be taken out.
pub(super) fn towards_upstream(headers: &Headers, request: &CanonicalRequest, tokens: Option<&Tokens>) -> Edits {
    let mut edits = Edits::default();
    if request.path_rewritten() {
        edits.set(":path", request.target().to_owned());
    }
    if headers.text(":authority").is_some_and(|authority| authority != request.authority()) {
        edits.set(":authority", request.authority().to_owned());
    }
    if tokens.is_some_and(|tokens| headers.all("authorization").any(|value| tokens.are_in(value))) {
        edits.remove("authorization");
    }
    strip(headers, &mut edits, |name| {
        rail::is_credential(name)
            || is_ours(name)
            || OVERRIDES.contains(&name)
            || RETRIES.iter().any(|prefix| name.starts_with(prefix))
    });
    edits
}

/// Changes to the response: nothing that only the gate says.
pub(super) fn strip_from_response(headers: &Headers, edits: &mut Edits) {
    strip(headers, edits, is_ours);
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX) || name == TOKEN || ANSWERS.contains(&name) || rail::is_metering(name)
}

/// Removes the fields whose name, in lower case and with `_` read as `-`, satisfies `unwanted`.
fn strip(headers: &Headers, edits: &mut Edits, unwanted: impl Fn(&[u8]) -> bool) {
    for (name, _) in headers.iter() {
        if !name.first().is_some_and(|c| INITIALS.contains(&c.to_ascii_lowercase())) {
            continue;
        }
        // The longest name we own is shorter than this; longer ones can only match the prefix.
        let mut folded = [0u8; 32];
        let length = name.len().min(folded.len());
        for (to, from) in folded.iter_mut().zip(name) {
            *to = if *from == b'_' { b'-' } else { from.to_ascii_lowercase() };
        }
        if unwanted(folded.get(..length).unwrap_or_default())
            && let Ok(name) = std::str::from_utf8(name)
        {
            edits.remove(name.to_owned());
        }
    }
}

/// Fields that some caches obey before `Cache-Control` (RFC 9213 and those it grew from).
const CACHE_ORDERS: [&str; 5] =
    ["cdn-cache-control", "surrogate-control", "cloudflare-cdn-cache-control", "edge-control", "x-accel-expires"];

/// Changes to a paid response: it belongs to whoever paid, so no shared cache may keep it.
pub(super) fn keep_private(edits: &mut Edits) {
    for name in CACHE_ORDERS {
        edits.remove(name);
    }
    edits.set("cache-control", "private, no-store");
    edits.add("vary", "authorization, payment-signature, x-payment");
}

/// What the client says of its body, as it says it; empty if it says nothing.
pub(super) fn stated_body(headers: &Headers) -> Vec<u8> {
    let values: Vec<&[u8]> = headers.all(digest::FIELD).collect();
    values.join(&b","[..])
}

/// The request a claim is bound to: method, origin, path and query, what is stated of the body; and the pass that is
/// bought, if one is.
pub(super) fn binding(visit: &Visit<'_>, body: &[u8], pass: Option<[u8; 32]>) -> crate::ledger::Binding {
    let method = visit.request.method().as_bytes();
    let length = |part: &[u8]| u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes();
    let url = visit.request.url();
    let request = [&length(method)[..], method, &length(body)[..], body, url.as_bytes()].concat();
    let hash = match pass {
        None => crate::crypto::sha256(&[b"binding\0", &request]),
        Some(terms) => crate::crypto::sha256(&[b"pass\0", &terms, &request]),
    };
    let mut binding = [0; 16];
    for (to, from) in binding.iter_mut().zip(hash) {
        *to = from;
    }
    crate::ledger::Binding(binding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_looked_for_has_one_of_the_initials() {
        let names = [PREFIX, TOKEN].into_iter().chain(ANSWERS).chain(OVERRIDES).chain(RETRIES);
        assert!(names.into_iter().all(|name| INITIALS.contains(&name[0])));
        for initial in (0..=u8::MAX).filter(|initial| !INITIALS.contains(&initial.to_ascii_lowercase())) {
            for name in ["payment-signature", "x-payment", "settlement-overrides"] {
                let name = [&[initial], &name.as_bytes()[1..]].concat();
                assert!(!rail::is_credential(&name) && !rail::is_metering(&name));
            }
        }
        assert!(rail::is_credential(b"payment-signature") && rail::is_credential(b"x-payment"));
        assert!(rail::is_metering(b"settlement-overrides"));
    }
}
