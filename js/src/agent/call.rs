//! What TypeScript does for one call of an agent (`js/ts/agent/call.ts`).
//!
//! No method throws: whatever goes wrong becomes the error that a promise is settled with.

use crate::executor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
export interface Call {
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

thread_local! {
    /// The call of each task.
    static CALLS: RefCell<BTreeMap<u32, Call>> = const { RefCell::new(BTreeMap::new()) };
}

/// The call that is being worked on. `None` outside of tasks, where nothing of this is ever asked.
pub(super) fn current() -> Option<Call> {
    CALLS.with(|calls| calls.borrow().get(&executor::current()).cloned())
}

/// Works on a call: `task` gives the reply, and the response that goes with it.
pub(super) fn begin(call: Call, task: impl Future<Output = (String, Option<JsValue>)> + 'static) {
    let id = executor::spawn(async move {
        let (reply, response) = task.await;
        let call = CALLS.with(|calls| calls.borrow_mut().remove(&executor::current()));
        if let Some(call) = call {
            call.done(&reply, response);
        }
    });
    CALLS.with(|calls| calls.borrow_mut().insert(id, call));
    executor::run();
}
