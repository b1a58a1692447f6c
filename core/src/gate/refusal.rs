//! Refusals and challenges as HTTP: RFC 9457 problem bodies, and the header lines that belong to them.

use crate::http::{Headers, Reply};
use crate::policy::BadRequest;
use crate::problem::{Code, Problem};
use serde_json::{Map, Value, json};

/// A problem, and what else the client gets with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) problem: Problem,
    /// Challenge lines, settlement headers, `Allow`.
    pub(super) headers: Vec<(String, String)>,
    /// Members of the body besides the problem's, for clients that look for the offers there.
    pub(super) body: Map<String, Value>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, headers: Vec::new(), body: Map::new() }
    }
}

impl Refusal {
    /// A path that has something, but not for this method (RFC 9110 §15.5.6).
    pub(super) fn method_not_allowed(allow: &str) -> Self {
        let mut refusal = Self::from(Problem::new(Code::MethodNotAllowed, format!("allowed here: {allow}")));
        refusal.headers.push(("allow".to_owned(), allow.to_owned()));
        refusal
    }
}

impl From<BadRequest> for Problem {
    fn from(bad: BadRequest) -> Self {
        let code = Code::ALL.iter().copied().find(|code| code.wire() == bad.code).unwrap_or(Code::BadPath);
        Self::new(code, bad.detail)
    }
}

/// What a client can read, by the request it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// HTTP: a problem as JSON.
    Json,
    /// gRPC: a status and one line; everything else is metadata.
    Grpc,
}

impl Form {
    /// The form for the client that sent `headers`. What counts as gRPC is what Envoy counts: gRPC-Web as it comes from
    /// a browser is HTTP.
    pub(super) fn of(headers: &Headers) -> Self {
        match headers.first("content-type").and_then(|kind| kind.strip_prefix(b"application/grpc")) {
            Some([] | [b'+', ..]) => Self::Grpc,
            _ => Self::Json,
        }
    }
}

impl Refusal {
    /// The refusal as a response that no cache may keep.
    pub(super) fn reply(self, form: Form) -> Reply {
        let code = self.problem.code;
        let mut headers = vec![("cache-control".to_owned(), "no-store".to_owned())];
        if let Some(seconds) = self.problem.retry_after {
            headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        headers.extend(self.headers);
        let (kind, body, grpc_status) = match form {
            Form::Json => ("application/problem+json", json(self.problem, self.body), None),
            Form::Grpc => {
                let line = format!("{}: {}", code.wire(), self.problem.detail);
                ("application/grpc", line, Some(code.grpc_status()))
            }
        };
        headers.insert(0, ("content-type".to_owned(), kind.to_owned()));
        Reply { status: code.status(), headers, body: body.into_bytes(), details: code.wire(), grpc_status }
    }
}

/// A problem's body, with what else stands in it.
fn json(problem: Problem, mut body: Map<String, Value>) -> String {
    let code = problem.code;
    let members = json!({
        "type": format!("urn:farebox:problem:{}", code.wire()),
        "title": code.title(),
        "status": code.status(),
        "detail": problem.detail,
        "code": code.wire(),
        "advice": code.advice().wire(),
    });
    if let Value::Object(members) = members {
        body.extend(members);
    }
    Value::Object(body).to_string()
}
