//! The callbacks: each finds its stream or root, says what happened, and lets the executor run.

use crate::abi::{Action, Buffer, ContextId, Direction, LogLevel, Map, Proxy, Token};
use crate::exchange::Request;
use crate::executor::{self, ById, Executor, Outcome};
use crate::logic::Logic;
use crate::root::Root;
use crate::stream::{Body, Progress, Stream};
use crate::trap;
use farebox_core::host::{Answer, CalloutError};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

/// The filter of one VM: on a host, with what decides.
pub(crate) struct Plugin<P: Proxy, L: Logic> {
    pub(crate) executor: Executor<P>,
    roots: RefCell<ById<Root<P, L>>>,
}

impl<P: Proxy, L: Logic> Plugin<P, L> {
    pub(crate) fn new(proxy: P) -> Self {
        Self { executor: Executor::new(proxy), roots: RefCell::default() }
    }

    pub(crate) fn on_vm_start(&self) -> bool {
        let revision = option_env!("FAREBOX_REVISION").unwrap_or("unknown revision");
        self.executor.log(LogLevel::Info, &format!("farebox {} ({revision})", env!("CARGO_PKG_VERSION")));
        true
    }

    /// Polls nothing: a host that is being configured may not be ready for callouts. The next callback does.
    pub(crate) fn on_configure(&self, root: ContextId, size: usize) -> bool {
        self.executor.quiet_callback(root, || {
            let configured = Root::configure(&self.executor, root, size);
            let accepted = configured.is_some();
            if let Some(configured) = configured {
                let old = self.roots.borrow_mut().insert(root, configured);
                drop(old); // its exchanges keep what they began with
            }
            accepted
        })
    }

    pub(crate) fn on_context_create(&self, context: ContextId, parent: ContextId) {
        if parent != 0 {
            self.executor.open_stream(context, parent);
        }
    }

    pub(crate) fn on_tick(&self, root: ContextId) {
        trap::here("tick");
        self.executor.callback(root, || self.executor.tick());
    }

    pub(crate) fn on_request_headers(&self, context: ContextId, end_of_stream: bool) -> Action {
        trap::arm(self.executor.proxy());
        trap::here("request_headers");
        let stream = self.stream(context);
        if stream.request.get() == Progress::Ahead {
            stream.bodiless.set(end_of_stream);
            self.inside(&stream, Direction::Request, || self.begin(&stream));
            stream.headers_returned.set(true);
        }
        stream.request_headers_action()
    }

    /// Starts the exchange; without one the stream is refused.
    fn begin(&self, stream: &Rc<Stream>) {
        stream.request.set(Progress::Held);
        let root = self.roots.borrow().get(&stream.root).cloned();
        let Some(Root { gate, world, reads_body }) = root else {
            return self.executor.refuse(stream, "farebox_not_configured");
        };
        let Ok(headers) = executor::headers(self.executor.proxy(), Map::RequestHeaders) else {
            return self.executor.refuse(stream, "farebox_no_headers");
        };
        let executor = self.executor.clone();
        let request = Request { executor, stream: stream.clone(), headers, source: OnceCell::new(), reads_body };
        let decided = gate.serve(world, request);
        self.executor.start(stream, decided);
    }

    pub(crate) fn on_request_body(&self, context: ContextId, size: usize, end_of_stream: bool) -> Action {
        trap::here("request_body");
        let stream = self.stream(context);
        self.inside(&stream, Direction::Request, || self.body(&stream, size, end_of_stream));
        stream.request_rest_action()
    }

    pub(crate) fn on_request_trailers(&self, context: ContextId) -> Action {
        trap::here("request_trailers");
        let stream = self.stream(context);
        self.inside(&stream, Direction::Request, || self.body(&stream, 0, true));
        stream.request_rest_action()
    }

    /// `size` bytes of the body are there, or more if its end was only known by the trailers.
    fn body(&self, stream: &Stream, size: usize, end_of_stream: bool) {
        let Body::Wanted(limit) = *stream.body.borrow() else {
            return;
        };
        let state = if size > limit {
            Body::TooLarge
        } else if !end_of_stream {
            return;
        } else {
            match self.executor.proxy().bytes(Buffer::RequestBody, limit.saturating_add(1)) {
                Ok(bytes) if bytes.len() > limit => Body::TooLarge,
                Ok(bytes) => Body::Whole(bytes),
                Err(_) => Body::Failed,
            }
        };
        stream.body.replace(state);
        stream.wake();
    }

    pub(crate) fn on_response_headers(&self, context: ContextId, end_of_stream: bool) -> Action {
        trap::here("response_headers");
        let stream = self.stream(context);
        let entry = stream.response.get();
        self.inside(&stream, Direction::Response, || self.executor.response_headers(&stream, end_of_stream));
        stream.response_headers_action(entry)
    }

    pub(crate) fn on_http_call_response(&self, root: ContextId, token: Token, headers: usize, body: usize) {
        trap::here("http_call_response");
        self.executor.callback(root, || {
            self.executor.callout_ended(token, || answer(self.executor.proxy(), headers, body));
        });
    }

    pub(crate) fn on_done(&self, context: ContextId) -> bool {
        trap::here("done");
        self.executor.callback(context, || {
            self.tell_sent(context);
            self.executor.done(context)
        })
    }

    /// Tells whoever asked how much of the response was sent: the host's own count, eight bytes, little-endian.
    fn tell_sent(&self, context: ContextId) {
        let Some(sent) = self.executor.stream(context).and_then(|stream| stream.sent.borrow_mut().take()) else {
            return;
        };
        let size = self.executor.proxy().property(&["response", "size"]).ok().flatten();
        let size = size.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        sent.tell(size);
    }

    pub(crate) fn on_delete(&self, context: ContextId) {
        trap::here("delete");
        self.executor.callback(context, || {
            self.executor.delete(context);
            let root = self.roots.borrow_mut().remove(&context);
            drop(root);
        });
    }

    /// The stream of a callback. One the host never announced belongs to no root, and is refused.
    fn stream(&self, context: ContextId) -> Rc<Stream> {
        self.executor.stream(context).unwrap_or_else(|| self.executor.open_stream(context, 0))
    }

    /// Runs a stream callback of `direction`.
    fn inside(&self, stream: &Stream, direction: Direction, body: impl FnOnce()) {
        let outer = stream.inside.replace(Some(direction));
        self.executor.callback(stream.context, body);
        stream.inside.set(outer);
    }
}

/// What a callout brought. No header at all is how hosts say that there is no answer.
fn answer(proxy: &impl Proxy, headers: usize, body: usize) -> Outcome {
    if headers == 0 {
        return Err(CalloutError::Lost);
    }
    let headers = executor::headers(proxy, Map::CalloutHeaders).map_err(|_| CalloutError::Lost)?;
    if body > Answer::MAX_BODY {
        return Err(CalloutError::TooLarge);
    }
    let body = match body {
        0 => Vec::new(),
        size => proxy.bytes(Buffer::CalloutBody, size).map_err(|_| CalloutError::Lost)?,
    };
    let status = headers.text(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, headers, body })
}
