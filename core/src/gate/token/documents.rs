//! What everybody may read: the keys that tokens and receipts verify under (RFC 7517, and as did:web), and what kind of
//! tokens are taken here (RFC 9728).

use super::super::refusal::Refusal;
use crate::crypto::base64url;
use crate::crypto::keys::Algorithm;
use crate::host::Host;
use crate::http::Reply;
use crate::ledger::Store;
use crate::policy::{CanonicalRequest, Tokens};
use crate::rail;
use serde_json::{Value, json};

/// The path of the key set.
pub(in crate::gate) const JWKS: &str = "/.well-known/jwks.json";
/// The path of the metadata of a protected resource (RFC 9728 §3).
pub(in crate::gate) const METADATA: &str = "/.well-known/oauth-protected-resource";
/// The path of the document that names the keys of the issuer's origin for x402's receipts (did:web).
const DID: &str = "/.well-known/did.json";
/// Seconds that each may be kept by caches. Before its first use, a new key is listed for longer than that.
const MAX_AGE: u64 = 300;

/// The document that `request` asks for, if it does.
pub(in crate::gate) async fn answer<H: Host>(
    host: &H,
    tokens: &Tokens,
    request: &CanonicalRequest,
) -> Option<Result<Reply, Refusal>> {
    let body = match request.path() {
        JWKS => tokens.keys.to_jwks(),
        DID => rail::did_document(&tokens.issuer, &tokens.keys.iter().copied().collect::<Vec<_>>()),
        METADATA => metadata(request, host.store().epoch().await.ok()),
        _ => return None,
    };
    if !matches!(request.method(), "GET" | "HEAD") {
        return Some(Err(Refusal::method_not_allowed("GET, HEAD")));
    }
    Some(Ok(json_reply(&body, &format!("public, max-age={MAX_AGE}"))))
}

fn metadata(request: &CanonicalRequest, epoch: Option<[u8; 16]>) -> Value {
    let origin = request.origin();
    let algorithms = [Algorithm::EdDsa, Algorithm::Es256k].map(Algorithm::wire);
    json!({
        "resource": origin,
        "jwks_uri": format!("{origin}{JWKS}"),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": algorithms,
        "authorization_details_types_supported": ["http_call"],
        // Tokens with counters that are issued elsewhere name it in their `epoch`.
        "farebox_ledger_epoch": epoch.map(|epoch| base64url::encode(&epoch)),
    })
}

/// A reply of our own with a JSON body.
pub(in crate::gate) fn json_reply(body: &Value, cache_control: &str) -> Reply {
    Reply {
        status: 200,
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("cache-control".to_owned(), cache_control.to_owned()),
        ],
        body: body.to_string().into_bytes(),
        details: "farebox_document",
        grpc_status: None,
    }
}
