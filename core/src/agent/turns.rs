//! One at a time, among the futures of one process.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem;
use std::task::{Poll, Waker};

/// Turns that are taken one after another. Whoever is woken first takes the next one, so one who waits and is dropped, or
/// never polled again, stands in nobody's way.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until nobody else has a turn.
    pub(super) async fn take(&self) -> Turn<'_> {
        poll_fn(|context| {
            if !self.taken.replace(true) {
                return Poll::Ready(Turn(self));
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        for waker in mem::take(&mut *self.0.waiting.borrow_mut()) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn polled<'t>(future: Pin<&mut impl Future<Output = Turn<'t>>>, woken: &Arc<Woken>) -> Option<Turn<'t>> {
        let waker = Waker::from(Arc::clone(woken));
        match future.poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_has_a_turn_and_whoever_is_dropped_while_waiting_stands_in_nobodys_way() {
        let turns = Turns::default();
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let turn = polled(pin!(turns.take()), &woken);
        assert!(turn.is_some());
        let mut last = pin!(turns.take());
        {
            let mut dropped = pin!(turns.take());
            assert!(polled(dropped.as_mut(), &woken).is_none() && polled(last.as_mut(), &woken).is_none());
        }
        drop(turn);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        let turn = polled(last, &woken);
        assert!(turn.is_some() && polled(pin!(turns.take()), &woken).is_none());
    }
}
