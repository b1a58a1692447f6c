//! Refusals and challenges as HTTP: RFC 9457 problem bodies, and the header lines that belong to them.

use crate::http::Reply;
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

impl From<BadRequest> for Problem {
    fn from(bad: BadRequest) -> Self {
        let code = Code::ALL.iter().copied().find(|code| code.wire() == bad.code).unwrap_or(Code::BadPath);
        Self::new(code, bad.detail)
    }
}

impl Refusal {
    /// The refusal as a response that no cache may keep.
    pub(super) fn reply(self) -> Reply {
        let code = self.problem.code;
        let problem = json!({
            "type": format!("urn:farebox:problem:{}", code.wire()),
            "title": code.title(),
            "status": code.status(),
            "detail": self.problem.detail,
            "code": code.wire(),
            "advice": code.advice().wire(),
        });
        let mut body = self.body;
        if let Value::Object(members) = problem {
            body.extend(members);
        }
        let mut headers = vec![
            ("content-type".to_owned(), "application/problem+json".to_owned()),
            ("cache-control".to_owned(), "no-store".to_owned()),
        ];
        if let Some(seconds) = self.problem.retry_after {
            headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        headers.extend(self.headers);
        Reply {
            status: code.status(),
            headers,
            body: Value::Object(body).to_string().into_bytes(),
            details: code.wire(),
        }
    }
}
