//! Tasks and promises.
//!
//! Every call from JavaScript that can move something (a new task, a promise that settled, an end) marks the tasks
//! concerned and then runs whatever is ready, in the JavaScript context of that call. So a task goes on in the context
//! of its own request, as workers demand, as long as nothing of another request wakes it; and nothing in the core does
//! that.
//!
//! 1. A future is taken out of its slot while it is polled: nothing is borrowed, so JavaScript may call back.
//! 2. A call that comes while a task is polled only marks; the loop that is running goes on with it.
//! 3. A task that is ended while it is polled is dropped after the poll.
//! 4. A promise that settles after nobody waits for it any more is ignored.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use wasm_bindgen::prelude::*;

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Executor {
    /// `None`: being polled.
    tasks: RefCell<BTreeMap<u32, Option<Task>>>,
    ready: RefCell<VecDeque<u32>>,
    promises: RefCell<BTreeMap<u32, Promised>>,
    running: Cell<bool>,
    /// The task that is being polled; 0: none.
    current: Cell<u32>,
    last: Cell<u32>,
}

thread_local! {
    static EXECUTOR: Executor = Executor::default();
}

/// A promise that a task waits for.
#[derive(Default)]
struct Promised {
    waker: Option<Waker>,
    value: Option<Result<JsValue, JsValue>>,
}

struct Wakes(u32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        EXECUTOR.with(|executor| executor.ready.borrow_mut().push_back(self.0));
    }
}

impl Executor {
    /// A number that is not in use. They come round after four thousand million.
    fn number(&self) -> u32 {
        loop {
            let number = self.last.get().wrapping_add(1);
            self.last.set(number);
            let taken = self.tasks.borrow().contains_key(&number) || self.promises.borrow().contains_key(&number);
            if number != 0 && !taken {
                return number;
            }
        }
    }

    fn run(&self) {
        if self.running.replace(true) {
            return;
        }
        loop {
            let next = self.ready.borrow_mut().pop_front();
            let Some(id) = next else { break };
            self.poll(id);
        }
        self.running.set(false);
    }

    fn poll(&self, id: u32) {
        let task = self.tasks.borrow_mut().get_mut(&id).and_then(Option::take);
        let Some(mut task) = task else { return };
        let waker = Waker::from(Arc::new(Wakes(id)));
        self.current.set(id);
        let over = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        self.current.set(0);
        let left = {
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(&id) {
                Some(slot) if !over => slot.replace(task), // nothing was there
                _ => {
                    tasks.remove(&id);
                    Some(task)
                }
            }
        };
        drop(left); // its destructors may call anything
    }
}

/// Starts a task; it is polled by the next [`run`].
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) -> u32 {
    EXECUTOR.with(|executor| {
        let id = executor.number();
        executor.tasks.borrow_mut().insert(id, Some(Box::pin(task)));
        executor.ready.borrow_mut().push_back(id);
        id
    })
}

/// The task that is being polled; 0: none.
#[cfg(feature = "agent")]
pub(crate) fn current() -> u32 {
    EXECUTOR.with(|executor| executor.current.get())
}

/// Ends a task where it stands.
#[cfg(any(test, feature = "gate"))]
pub(crate) fn end(id: u32) {
    let task = EXECUTOR.with(|executor| executor.tasks.borrow_mut().remove(&id));
    drop(task);
}

/// Runs whatever is ready, unless that is going on already.
pub(crate) fn run() {
    EXECUTOR.with(Executor::run);
}

/// Whether something is being run. Asked from outside, after a call that failed: then it was broken off there, and nothing
/// will ever be run again.
#[wasm_bindgen]
pub fn is_running() -> bool {
    EXECUTOR.with(|executor| executor.running.get())
}

/// A number for JavaScript to settle, and the future of what it settles it with.
pub(crate) fn promise() -> (u32, Promise) {
    EXECUTOR.with(|executor| {
        let id = executor.number();
        executor.promises.borrow_mut().insert(id, Promised::default());
        (id, Promise(id))
    })
}

/// What JavaScript promised.
pub(crate) struct Promise(u32);

impl Future for Promise {
    type Output = Result<JsValue, JsValue>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        EXECUTOR.with(|executor| {
            let mut promises = executor.promises.borrow_mut();
            let Some(promised) = promises.get_mut(&self.0) else { return Poll::Pending };
            if let Some(value) = promised.value.take() {
                return Poll::Ready(value);
            }
            promised.waker = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let _ = EXECUTOR.try_with(|executor| executor.promises.borrow_mut().remove(&self.0));
    }
}

/// A promise settled: `good` with a value, or with an error.
#[wasm_bindgen]
pub fn settle(id: u32, good: bool, value: JsValue) {
    let waker = EXECUTOR.with(|executor| {
        let mut promises = executor.promises.borrow_mut();
        let promised = promises.get_mut(&id)?;
        promised.value = Some(if good { Ok(value) } else { Err(value) });
        promised.waker.take()
    });
    if let Some(waker) = waker {
        waker.wake();
    }
    run();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn yields() -> impl Future<Output = ()> {
        let mut polled = false;
        std::future::poll_fn(move |context| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn a_task_that_ends_itself_is_dropped_after_its_poll() {
        let dropped = Rc::new(Cell::new(false));
        let (watch, me) = (Rc::clone(&dropped), Rc::new(Cell::new(0)));
        struct Tells(Rc<Cell<bool>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let (tells, id) = (Tells(watch), Rc::clone(&me));
        me.set(spawn(async move {
            let _tells = tells;
            end(id.get());
            assert!(!_tells.0.get());
            yields().await;
            unreachable!("nobody polls what has ended");
        }));
        run();
        assert!(dropped.get());
    }

    #[test]
    fn a_call_from_within_a_poll_only_marks() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let inner = Rc::clone(&order);
        spawn(async move {
            let told = Rc::clone(&inner);
            spawn(async move { told.borrow_mut().push("inner") });
            run();
            inner.borrow_mut().push("outer");
            yields().await;
            inner.borrow_mut().push("outer again");
        });
        run();
        assert_eq!(*order.borrow(), ["outer", "inner", "outer again"]);
    }

    #[test]
    fn a_promise_dropped_is_forgotten() {
        let (id, promise) = promise();
        drop(promise);
        assert!(EXECUTOR.with(|executor| !executor.promises.borrow().contains_key(&id)));
    }
}
