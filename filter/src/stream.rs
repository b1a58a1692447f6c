//! One stream as the executor sees it: how far each direction may go, and what the exchange wants done.
//!
//! The exchange's future only writes an [`Intent`] here while it is polled; [`Executor`](crate::executor::Executor)
//! applies it after the poll. Each callback asks here, last, what to return.

use crate::abi::{Action, ContextId, Direction};
use farebox_core::http::{Edits, Headers, Reply};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// How far one direction of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its headers have not come.
    Ahead,
    /// Its headers are held.
    Held,
    /// It may go on.
    Released,
    /// We answered instead.
    Replied,
    /// The host answered instead.
    Overtaken,
}

/// What an exchange wants done with its stream.
#[derive(Debug)]
pub(crate) enum Intent {
    /// Send the request to the upstream.
    Forward(Edits),
    /// Let the response go to the client.
    Release(Edits),
    /// Answer with this instead.
    Reply(Reply),
}

/// What is to happen if a response that was released is kept by the host.
pub(crate) struct Kept(pub(crate) Box<dyn FnOnce()>);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

/// What is known of a request's body.
#[derive(Debug, Default)]
pub(crate) enum Body {
    /// Nobody has asked for it.
    #[default]
    Unwanted,
    /// It is waited for; more than this many bytes are too many.
    Wanted(usize),
    /// It is complete.
    Whole(Vec<u8>),
    /// It passed the limit.
    TooLarge,
    /// The host would not give it.
    Failed,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The host's number for it.
    pub(crate) context: ContextId,
    /// The root it belongs to.
    pub(crate) root: ContextId,
    /// Slot of the task that decides it.
    pub(crate) task: Cell<Option<usize>>,
    /// How far the request is.
    pub(crate) request: Cell<Progress>,
    /// How far the response is.
    pub(crate) response: Cell<Progress>,
    /// The direction whose callback for this stream is on the stack: its release is a return value.
    pub(crate) inside: Cell<Option<Direction>>,
    /// What the exchange wants, until it is applied.
    pub(crate) intent: RefCell<Option<Intent>>,
    /// What is to happen if the host does not let a released response go.
    pub(crate) kept: RefCell<Option<Kept>>,
    /// The request's body.
    pub(crate) body: RefCell<Body>,
    /// Whether the request has no body.
    pub(crate) bodiless: Cell<bool>,
    /// Whether `on_request_headers` has returned: after that the body can no longer be asked for.
    pub(crate) headers_returned: Cell<bool>,
    /// The response's headers, and whether the response ends with them, until the exchange takes them.
    pub(crate) answer: RefCell<Option<(Headers, bool)>>,
    /// Who waits for the body or the response.
    waiter: RefCell<Option<Waker>>,
    /// Whether the host has forgotten the stream.
    pub(crate) gone: Cell<bool>,
    /// Who wants to know how much of the response's body was sent.
    pub(crate) sent: RefCell<Option<Rc<Sent>>>,
}

/// How much of a response's body was sent, once that is known.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// What the response's headers promise, for hosts that do not count.
    promised: u64,
    bytes: Cell<Option<u64>>,
    waiter: RefCell<Option<Waker>>,
}

impl Sent {
    pub(crate) fn new(promised: u64) -> Self {
        Self { promised, ..Self::default() }
    }

    /// It is known, or will not be.
    pub(crate) fn tell(&self, bytes: Option<u64>) {
        self.bytes.set(Some(bytes.unwrap_or(self.promised)));
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// Waits until it is known.
    pub(crate) async fn bytes(self: Rc<Self>) -> u64 {
        poll_fn(|cx| match self.bytes.get() {
            Some(bytes) => Poll::Ready(bytes),
            None => {
                self.waiter.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

impl Stream {
    pub(crate) fn new(context: ContextId, root: ContextId) -> Self {
        Self {
            context,
            root,
            task: Cell::new(None),
            request: Cell::new(Progress::Ahead),
            response: Cell::new(Progress::Ahead),
            inside: Cell::new(None),
            intent: RefCell::new(None),
            body: RefCell::new(Body::Unwanted),
            bodiless: Cell::new(false),
            headers_returned: Cell::new(false),
            answer: RefCell::new(None),
            waiter: RefCell::new(None),
            gone: Cell::new(false),
            kept: RefCell::default(),
            sent: RefCell::default(),
        }
    }

    /// Remembers whom to wake.
    pub(crate) fn wait(&self, waker: &Waker) {
        let old = {
            let mut waiter = self.waiter.borrow_mut();
            match waiter.as_ref() {
                Some(known) if known.will_wake(waker) => return,
                _ => waiter.replace(waker.clone()),
            }
        };
        drop(old);
    }

    /// Wakes whoever waits.
    pub(crate) fn wake(&self) {
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// What the request headers callback returns.
    pub(crate) fn request_headers_action(&self) -> Action {
        match self.request.get() {
            Progress::Released => Action::Continue,
            _ if matches!(*self.body.borrow(), Body::Unwanted) => Action::PauseAll,
            _ => Action::Pause,
        }
    }

    /// What the request body and trailers callbacks return.
    pub(crate) fn request_rest_action(&self) -> Action {
        match self.request.get() {
            Progress::Released | Progress::Overtaken => Action::Continue,
            Progress::Ahead | Progress::Held | Progress::Replied => Action::Pause,
        }
    }

    /// What the response headers callback returns, if the response was at `entry` when it came.
    pub(crate) fn response_headers_action(&self, entry: Progress) -> Action {
        match (self.request.get(), self.response.get()) {
            // Not the upstream's response: our own reply passing by, or the host's.
            (Progress::Replied | Progress::Overtaken, _) => Action::Continue,
            (Progress::Released, Progress::Released) => Action::Continue,
            (Progress::Released, Progress::Replied) if entry == Progress::Replied => Action::Continue,
            _ => Action::PauseAll,
        }
    }
}
