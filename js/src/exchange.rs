//! [`Exchange`] and [`Held`] over `Request` and `Response`, which stay on the TypeScript side.

use crate::executor;
use crate::host::status_and_headers;
use crate::side::Scope;
use farebox_core::host::{BodyError, Done, Exchange, Fact, Held};
use farebox_core::http::{Edit, Edits, Headers, Reply};
use js_sys::Uint8Array;
use std::future::Future;
use wasm_bindgen::{JsCast, JsValue};

/// A request that waits for its decision.
pub(crate) struct Request {
    pub(crate) scope: Scope,
    pub(crate) headers: Headers,
    pub(crate) source: String,
}

/// A response that waits for its decision.
pub(crate) struct Response {
    scope: Scope,
    headers: Headers,
}

impl Exchange for Request {
    type Held = Response;

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn source(&self) -> &str {
        &self.source
    }

    async fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let (id, promise) = executor::promise();
        #[allow(clippy::cast_precision_loss)]
        self.scope.side().body(id, limit as f64);
        match promise.await {
            Ok(bytes) => bytes.dyn_into::<Uint8Array>().map(|bytes| bytes.to_vec()).map_err(|_| BodyError::TooLarge),
            Err(_) => Err(BodyError::Unsupported),
        }
    }

    async fn forward(self, edits: Edits) -> Response {
        let (id, promise) = executor::promise();
        self.scope.side().forward(id, written(edits));
        let answer = promise.await.unwrap_or(JsValue::UNDEFINED);
        // TypeScript makes a 503 of an upstream that failed; no status at all is nothing that anybody is charged for.
        let headers = status_and_headers(&answer).map(|(_, headers)| headers).unwrap_or_default();
        Response { scope: self.scope, headers }
    }

    fn reply(self, reply: Reply) -> Done {
        answer(&self.scope, reply)
    }

    fn note(&self, fact: Fact, value: &str) {
        self.scope.side().note(fact.name(), value);
    }
}

impl Held for Response {
    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn end_of_stream(&self) -> bool {
        self.headers.first(":end").is_some()
    }

    fn sent(&self) -> impl Future<Output = u64> + 'static {
        let (id, promise) = executor::promise();
        self.scope.side().sent(id);
        async move {
            let bytes = promise.await.ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
            let bytes = bytes as u64;
            bytes
        }
    }

    fn release(self, edits: Edits) -> Done {
        let _ = self.scope.side().release(written(edits));
        Done::decided()
    }

    fn release_or(self, edits: Edits, kept: impl FnOnce() + 'static) -> Done {
        if !self.scope.side().release(written(edits)) {
            kept();
        }
        Done::decided()
    }

    fn reply(self, reply: Reply) -> Done {
        answer(&self.scope, reply)
    }

    fn note(&self, fact: Fact, value: &str) {
        self.scope.side().note(fact.name(), value);
    }
}

fn answer(scope: &Scope, reply: Reply) -> Done {
    let headers = reply.headers.into_iter().flat_map(|(name, value)| [name, value]).collect();
    scope.side().reply(reply.status, headers, reply.body, reply.grpc_status);
    Done::decided()
}

/// Operation, name and value by turns.
fn written(edits: Edits) -> Vec<String> {
    let words = |edit| match edit {
        Edit::Remove(name) => ["remove".to_owned(), name.into_owned(), String::new()],
        Edit::Set(name, value) => ["set".to_owned(), name.into_owned(), value.into_owned()],
        Edit::Add(name, value) => ["add".to_owned(), name.into_owned(), value.into_owned()],
    };
    edits.0.into_iter().flat_map(words).collect()
}
