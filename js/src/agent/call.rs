//! What TypeScript does for one call of an agent (`js/ts/agent/call.ts`).
//!
//! No method throws: whatever goes wrong becomes the error that a promise is settled with.

use crate::executor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
export interface Call {
  gone(): boolean;
  send(id: number, method: string, url: string, headers: string[], secret: boolean): void;
  peek(id: number, response: Response, limit: number): void;
  sleep(id: number, milliseconds: number): void;
  load(id: number): void;
  swap(id: number, expected: string | undefined, bytes: Uint8Array): void;
  sign(id: number, account: string, typedData: string, digest: string): void;
  prove(id: number, message: Uint8Array): void;
  event(event: string): void;
  done(reply: string, response: Response | undefined): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The TypeScript object.
    #[wasm_bindgen(typescript_type = "Call")]
    #[derive(Clone)]
    pub type Call;

    /// Whether nobody waits for the call any more: its signal has aborted.
    #[wasm_bindgen(method)]
    pub(super) fn gone(this: &Call) -> bool;

    /// Sends a request with these header fields (names and values by turns), whose body TypeScript has if it is the call's
    /// own; settles `id` with an array: status, URL and headers as lines, and the `Response`. A `secret` request carries a
    /// credential, and is not redirected.
    #[wasm_bindgen(method)]
    pub(super) fn send(this: &Call, id: u32, method: &str, url: &str, headers: Vec<String>, secret: bool);

    /// Reads the first bytes of a body; settles `id` with an array: bytes, and a `Response` of which nothing was read.
    #[wasm_bindgen(method)]
    pub(super) fn peek(this: &Call, id: u32, response: &JsValue, limit: f64);

    /// Settles `id` after so many milliseconds.
    #[wasm_bindgen(method)]
    pub(super) fn sleep(this: &Call, id: u32, milliseconds: f64);

    /// Reads the store; settles `id` with nothing, or with an array: bytes, and the name of this state of them.
    #[wasm_bindgen(method)]
    pub(super) fn load(this: &Call, id: u32);

    /// Writes the store if it is still in this state; settles `id` with whether it did.
    #[wasm_bindgen(method)]
    pub(super) fn swap(this: &Call, id: u32, expected: Option<String>, bytes: Vec<u8>);

    /// Has the wallet sign; settles `id` with the signature's bytes, or with an error: `"declined"` or another.
    #[wasm_bindgen(method)]
    pub(super) fn sign(this: &Call, id: u32, account: &str, typed_data: &str, digest: &str);

    /// Has the holder's key sign; settles `id` with 64 bytes.
    #[wasm_bindgen(method)]
    pub(super) fn prove(this: &Call, id: u32, message: Vec<u8>);

    /// Something has happened (JSON).
    #[wasm_bindgen(method)]
    pub(super) fn event(this: &Call, event: &str);

    /// The call is over: a reply (JSON), and the response that goes with it.
    #[wasm_bindgen(method)]
    pub(super) fn done(this: &Call, reply: &str, response: Option<JsValue>);
}

/// The call of a task.
struct Work {
    call: Call,
    unsent: Unsent,
}

/// How far a payment is that this call has made, and of which nothing has left yet.
enum Unsent {
    /// There is none.
    None,
    /// It was signed, at this time.
    Signed(u64),
    /// It is written down besides, as if it had left.
    Written(Withdrawn),
}

/// A payment that is written down as sent, and never left.
#[derive(Clone)]
pub(super) struct Withdrawn {
    /// The reservation.
    pub(super) id: String,
    /// When it was signed, in Unix seconds.
    pub(super) signed_at: u64,
}

thread_local! {
    /// The call of each task.
    static CALLS: RefCell<BTreeMap<u32, Work>> = const { RefCell::new(BTreeMap::new()) };
}

/// The call that is being worked on. `None` outside of tasks, where nothing of this is ever asked.
pub(super) fn current() -> Option<Call> {
    with_work(|work| work.call.clone())
}

fn with_work<T>(change: impl FnOnce(&mut Work) -> T) -> Option<T> {
    CALLS.with(|calls| calls.borrow_mut().get_mut(&executor::current()).map(change))
}

/// The call that is being worked on has signed a payment, at this time.
pub(super) fn signed(now: u64) {
    with_work(|work| work.unsent = Unsent::Signed(now));
}

/// What it has signed is written down under this name.
pub(super) fn written(id: &str) {
    with_work(|work| {
        if let Unsent::Signed(signed_at) = work.unsent {
            work.unsent = Unsent::Written(Withdrawn { id: id.to_owned(), signed_at });
        }
    });
}

/// The payment that must not leave, if what is about to leave is one, for the first time, and nobody waits any more.
pub(super) fn withdrawn() -> Option<Withdrawn> {
    let gone = current()?.gone();
    with_work(|work| match &work.unsent {
        Unsent::Written(payment) if gone => Some(payment.clone()),
        _ => None,
    })?
}

/// A payment leaves, and may be spent from now on.
pub(super) fn leaves() {
    with_work(|work| work.unsent = Unsent::None);
}

/// What comes of `task`, unless it waits with a payment that must not leave: then it ends there.
pub(super) async fn unless_withdrawn<T>(task: impl Future<Output = T>) -> Result<T, Withdrawn> {
    let mut task = pin!(task);
    poll_fn(|context| match task.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending => withdrawn().map_or(Poll::Pending, |payment| Poll::Ready(Err(payment))),
    })
    .await
}

/// What comes of `task`, unless it is `late` before that: then what it waited for is not looked at.
pub(super) async fn unless_late<T>(task: impl Future<Output = T>, late: impl Fn() -> bool) -> Option<T> {
    let mut task = pin!(task);
    poll_fn(|context| if late() { Poll::Ready(None) } else { task.as_mut().poll(context).map(Some) }).await
}

/// Works on a call: `task` gives the reply, and the response that goes with it.
pub(super) fn begin(call: Call, task: impl Future<Output = (String, Option<JsValue>)> + 'static) {
    let id = executor::spawn(async move {
        let (reply, response) = task.await;
        let work = CALLS.with(|calls| calls.borrow_mut().remove(&executor::current()));
        if let Some(Work { call, .. }) = work {
            call.done(&reply, response);
        }
    });
    CALLS.with(|calls| calls.borrow_mut().insert(id, Work { call, unsent: Unsent::None }));
    executor::run();
}
