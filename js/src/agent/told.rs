//! What TypeScript is told besides what the engine tells itself ([`farebox_core::agent::tell`]).

use farebox_core::agent::counters::{Adopted, BadApproval, Question};
use farebox_core::agent::policy::Policy;
use farebox_core::agent::{FetchError, StoreFailed, tell};
use serde_json::{Value, json};
use std::fmt::Display;

/// Something that went wrong: `{error: {kind, code, detail}}`. `kind` is the class of the error in TypeScript.
pub(super) fn error(code: &str, detail: impl Display) -> Value {
    json!({ "error": { "kind": "agent", "code": code, "detail": detail.to_string() } })
}

pub(super) fn store(failed: &StoreFailed) -> Value {
    error("store", failed)
}

pub(super) fn bad_approval(bad: &BadApproval) -> Value {
    error("bad_approval", bad)
}

pub(super) fn asks(question: &Question) -> Value {
    json!({ "error": { "kind": "ask", "code": "approval_needed", "question": tell::question(question) } })
}

pub(super) fn adopted(adopted: &Adopted) -> Value {
    match adopted {
        Adopted::Done => json!({}),
        Adopted::Needs(question) => asks(question),
        Adopted::Rollback => error("rollback", "a later edition of the policy was in force"),
    }
}

pub(super) fn failed(policy: &Policy, failed: &FetchError) -> Value {
    let mut error = tell::error(policy, failed);
    let kind = match failed {
        FetchError::Denied(..) => "denied",
        FetchError::ApprovalNeeded(..) => "ask",
        FetchError::Challenge(_) => "challenge",
        FetchError::NoAnswer => "network",
        FetchError::NotSigned(_) | FetchError::BadSignature(_) => "unsigned",
        FetchError::Doubtful(_) => "doubtful",
        FetchError::Request(_) | FetchError::Store(_) | FetchError::Random => "agent",
    };
    if let Some(members) = error.as_object_mut() {
        members.insert("kind".to_owned(), kind.into());
    }
    json!({ "error": error })
}
