//! Browsers: preflights answered with our header fields in them, and our replies readable by the pages that may call.

use crate::http::{Edits, Headers, Reply};
use crate::policy::Policy;

/// Request fields a paying client sends; `@x402/fetch` sends the last one on requests.
const REQUEST_FIELDS: &str = "payment-signature, x-payment, capability-token, authorization, dpop, signature, signature-input, content-digest, access-control-expose-headers";
/// Response fields a paying client reads.
const RESPONSE_FIELDS: &str = "payment-required, payment-response, x-payment-response, capability-token, call-receipt, farebox-remaining, ratelimit, ratelimit-policy, www-authenticate, retry-after";

/// The answer to a preflight from a page that may call; `None` if this is not one.
pub(super) fn preflight(policy: &Policy, headers: &Headers) -> Option<Reply> {
    if headers.text(":method") != Some("OPTIONS") {
        return None;
    }
    let origin = allowed(policy, headers)?;
    let method = headers.text("access-control-request-method")?;
    let mut fields = REQUEST_FIELDS.to_owned();
    if let Some(asked) = headers.text("access-control-request-headers") {
        fields.push_str(", ");
        fields.push_str(asked);
    }
    let headers = [
        ("access-control-allow-origin", origin),
        ("access-control-allow-methods", method),
        ("access-control-allow-headers", &fields),
        ("access-control-max-age", "600"),
        ("vary", "origin, access-control-request-method, access-control-request-headers"),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Reply { status: 204, headers, body: Vec::new(), details: "preflight", grpc_status: None })
}

/// Changes to a response for a page that may call; none for anybody else.
pub(super) fn edits(policy: &Policy, headers: &Headers) -> Edits {
    let mut edits = Edits::default();
    if let Some(origin) = allowed(policy, headers) {
        edits.set("access-control-allow-origin", origin.to_owned());
        edits.add("access-control-expose-headers", RESPONSE_FIELDS);
        edits.add("vary", "origin");
    }
    edits
}

/// The same changes on a reply of our own.
pub(super) fn extend(reply: &mut Reply, edits: &Edits) {
    for edit in &edits.0 {
        if let crate::http::Edit::Set(name, value) | crate::http::Edit::Add(name, value) = edit {
            reply.headers.push((name.clone().into_owned(), value.clone().into_owned()));
        }
    }
}

fn allowed<'a>(policy: &Policy, headers: &'a Headers) -> Option<&'a str> {
    let origin = headers.text("origin").filter(|origin| policy.allows_origin(origin))?;
    // Every page may read what every page may ask for: never what a browser adds its cookies to. So `*` stays `*`.
    Some(if policy.allows_every_origin() { "*" } else { origin })
}
