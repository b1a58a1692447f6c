//! [`Exchange`] and [`Held`] over a [`Stream`].
//!
//! Methods that decide write an [`Intent`]; the executor applies it after the poll. The only host calls made here,
//! inside a poll, are ones no host answers by calling back: properties.

use crate::abi::Proxy;
use crate::executor::Executor;
use crate::stream::{Body, Intent, Kept, Sent, Stream};
use farebox_core::host::{BodyError, Done, Exchange, Fact, Held};
use farebox_core::http::{Edit, Edits, Headers, Reply};
use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

/// A request that is held.
pub(crate) struct Request<P: Proxy> {
    pub(crate) executor: Executor<P>,
    pub(crate) stream: Rc<Stream>,
    pub(crate) headers: Headers,
    pub(crate) source: OnceCell<String>,
    /// Whether the host's configuration lets a request be held for its body.
    pub(crate) reads_body: bool,
}

/// A response that is held.
pub(crate) struct Response<P: Proxy> {
    executor: Executor<P>,
    stream: Rc<Stream>,
    headers: Headers,
    end_of_stream: bool,
}

impl<P: Proxy> Exchange for Request<P> {
    type Held = Response<P>;

    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn source(&self) -> &str {
        self.source.get_or_init(|| {
            let read = || self.executor.proxy().property(&["source", "address"]);
            let address = self.executor.under(self.stream.context, read);
            let address = address.and_then(Result::ok).flatten().unwrap_or_default();
            without_port(&String::from_utf8_lossy(&address)).to_owned()
        })
    }

    /// Must be asked for in the first poll: once `on_request_headers` has returned, the host has been told whether
    /// the body will come, and what was not announced is `Unsupported` rather than waited for in vain.
    async fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if self.stream.bodiless.get() {
            return Ok(Vec::new());
        }
        if !self.reads_body || self.stream.headers_returned.get() {
            return Err(BodyError::Unsupported);
        }
        self.stream.body.replace(Body::Wanted(limit));
        poll_fn(|cx| {
            let body = self.stream.body.replace(Body::Failed);
            Poll::Ready(match body {
                Body::Wanted(_) | Body::Unwanted => {
                    self.stream.body.replace(body);
                    self.stream.wait(cx.waker());
                    return Poll::Pending;
                }
                Body::Whole(bytes) => Ok(bytes),
                Body::TooLarge => Err(BodyError::TooLarge),
                Body::Failed => Err(BodyError::Unsupported),
            })
        })
        .await
    }

    async fn forward(self, mut edits: Edits) -> Response<P> {
        let Self { executor, stream, headers, .. } = self;
        only_needed(&mut edits, &headers);
        drop(headers); // not kept while the upstream works
        stream.intent.replace(Some(Intent::Forward(edits)));
        let (headers, end_of_stream) = poll_fn(|cx| {
            let answer = stream.answer.borrow_mut().take();
            match answer {
                Some(answer) => Poll::Ready(answer),
                None => {
                    stream.wait(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await;
        Response { executor, stream, headers, end_of_stream }
    }

    fn reply(self, reply: Reply) -> Done {
        self.stream.intent.replace(Some(Intent::Reply(reply)));
        Done::decided()
    }

    fn note(&self, fact: Fact, value: &str) {
        note(&self.executor, &self.stream, fact, value);
    }
}

impl<P: Proxy> Held for Response<P> {
    fn headers(&self) -> &Headers {
        &self.headers
    }

    fn end_of_stream(&self) -> bool {
        self.end_of_stream
    }

    fn sent(&self) -> impl Future<Output = u64> + 'static {
        let sent = Rc::new(Sent::new(self.promised()));
        self.stream.sent.replace(Some(Rc::clone(&sent)));
        sent.bytes()
    }

    fn release(self, mut edits: Edits) -> Done {
        only_needed(&mut edits, &self.headers);
        self.stream.intent.replace(Some(Intent::Release(edits)));
        Done::decided()
    }

    fn release_or(self, edits: Edits, kept: impl FnOnce() + 'static) -> Done {
        self.stream.kept.replace(Some(Kept(Box::new(kept))));
        self.release(edits)
    }

    fn reply(self, reply: Reply) -> Done {
        self.stream.intent.replace(Some(Intent::Reply(reply)));
        Done::decided()
    }

    fn note(&self, fact: Fact, value: &str) {
        note(&self.executor, &self.stream, fact, value);
    }
}

/// Leaves out removals of what is not there: each would be a host call for nothing.
fn only_needed(edits: &mut Edits, present: &Headers) {
    let mut needed: Vec<Edit> = Vec::with_capacity(edits.0.len());
    for edit in edits.0.drain(..) {
        if let Edit::Remove(name) = &edit {
            let last = needed.iter().rev().find_map(|edit| match edit {
                Edit::Remove(other) => other.eq_ignore_ascii_case(name).then_some(false),
                Edit::Set(other, _) | Edit::Add(other, _) => other.eq_ignore_ascii_case(name).then_some(true),
            });
            if !last.unwrap_or_else(|| present.first(name).is_some()) {
                continue;
            }
        }
        needed.push(edit);
    }
    edits.0 = needed;
}

/// Facts are properties; Envoy shows a property that a filter sets as the filter state `wasm.<name>`.
fn note<P: Proxy>(executor: &Executor<P>, stream: &Stream, fact: Fact, value: &str) {
    let name = match fact {
        Fact::Payer => "farebox.payer",
        Fact::Route => "farebox.route",
        Fact::Decision => "farebox.decision",
        Fact::Amount => "farebox.amount",
        Fact::Transaction => "farebox.transaction",
        Fact::Token => "farebox.token",
    };
    // A log line without the fact is all that a refusal costs.
    let _ = executor.under(stream.context, || executor.proxy().set_property(&[name], value.as_bytes()));
}

/// `192.0.2.1:80` and `[2001:db8::1]:80` without port and brackets.
fn without_port(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_port() {
        for (whole, bare) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[broken", "broken"),
            ("", ""),
        ] {
            assert_eq!(without_port(whole), bare);
        }
    }

    #[test]
    fn removals_of_what_is_not_there_are_left_out() {
        let present = Headers::from_iter([("x-there", "1")]);
        let mut edits = Edits::default();
        edits.remove("X-There");
        edits.remove("x-absent");
        edits.remove("x-there");
        edits.set("x-new", "1");
        edits.remove("x-new");
        edits.remove("X-New");
        only_needed(&mut edits, &present);
        assert_eq!(edits.0.len(), 3, "{edits:?}");
    }
}
