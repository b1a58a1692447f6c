//! A value handed from a detached task to whoever waits for it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Makes a pair: what is given to the [`Giver`] arrives at the [`Awaited`].
pub(crate) fn handover<T>() -> (Giver<T>, Awaited<T>) {
    let shared = Rc::new(RefCell::new(Shared { value: None, waker: None, given: false, abandoned: None }));
    (Giver(Rc::clone(&shared)), Awaited(shared))
}

struct Shared<T> {
    value: Option<T>,
    waker: Option<Waker>,
    given: bool,
    /// Whom to tell that nobody waits any more.
    abandoned: Option<Waker>,
}

/// Gives the value, once.
pub(crate) struct Giver<T>(Rc<RefCell<Shared<T>>>);

impl<T> Giver<T> {
    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) < 2
    }

    /// Resolves once nobody waits any more.
    pub(crate) fn abandoned(&self) -> impl Future<Output = ()> + use<'_, T> {
        poll_fn(|context| {
            if self.is_abandoned() {
                return Poll::Ready(());
            }
            self.0.borrow_mut().abandoned = Some(context.waker().clone());
            Poll::Pending
        })
    }

    pub(crate) fn give(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = self.0.borrow_mut();
            shared.given = true;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Resolves to the value, or to `None` if the task ended without giving one.
pub(crate) struct Awaited<T>(Rc<RefCell<Shared<T>>>);

impl<T> Future for Awaited<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.0.borrow_mut();
        if shared.given {
            return Poll::Ready(shared.value.take());
        }
        shared.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        let waker = self.0.borrow_mut().abandoned.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What `future` comes to, if it does so before `signal`; otherwise it is as far as it is, and can be waited for.
pub(crate) async fn before<F: Future>(mut future: Pin<&mut F>, signal: impl Future<Output = ()>) -> Option<F::Output> {
    let mut signal = pin!(signal);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => signal.as_mut().poll(context).map(|()| None),
    })
    .await
}
