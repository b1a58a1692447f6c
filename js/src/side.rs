//! What TypeScript does for one exchange, or for one turn of the work between exchanges (`js/ts/gate/side.ts`).
//!
//! No method throws: whatever goes wrong becomes the error that a promise is settled with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
export interface Side {
  callout(id: number, cluster: string, url: string, method: string, headers: string[], body: Uint8Array, timeout: number, most: number): void;
  sleep(id: number, milliseconds: number): void;
  store(id: number, place: number, message: Uint8Array): void;
  body(id: number, limit: number): void;
  forward(id: number, edits: string[]): void;
  sent(id: number): void;
  release(edits: string[]): boolean;
  reply(status: number, headers: string[], body: Uint8Array, grpcStatus: number | undefined): void;
  note(name: string, value: string): void;
  event(name: string, labels: string[], value: number): void;
  audit(line: string): void;
  log(level: string, text: string): void;
  done(): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The TypeScript object.
    #[wasm_bindgen(typescript_type = "Side")]
    #[derive(Clone)]
    pub type Side;

    /// Sends a request; settles `id` with the status and headers as lines and the body as bytes, or with an error:
    /// `"not sent"`, `"too large"` or another.
    #[wasm_bindgen(method)]
    #[allow(clippy::too_many_arguments)] // an object would cost as many calls
    pub(crate) fn callout(
        this: &Side,
        id: u32,
        cluster: &str,
        url: &str,
        method: &str,
        headers: Vec<String>,
        body: Vec<u8>,
        timeout: f64,
        most: u32,
    );

    /// Settles `id` after so many milliseconds.
    #[wasm_bindgen(method)]
    pub(crate) fn sleep(this: &Side, id: u32, milliseconds: f64);

    /// Carries a message to a place of the ledger; settles `id` with the answer.
    #[wasm_bindgen(method)]
    pub(crate) fn store(this: &Side, id: u32, place: u32, message: Vec<u8>);

    /// Reads the request's body; settles `id` with bytes, or with nothing if there are more than `limit`.
    #[wasm_bindgen(method)]
    pub(crate) fn body(this: &Side, id: u32, limit: f64);

    /// Sends the request on; settles `id` with the status, whether the response ends there, and headers as lines.
    #[wasm_bindgen(method)]
    pub(crate) fn forward(this: &Side, id: u32, edits: Vec<String>);

    /// Settles `id` with the bytes of the response's body that were sent, once it has gone or will not.
    #[wasm_bindgen(method)]
    pub(crate) fn sent(this: &Side, id: u32);

    /// Lets the response go; whether it could.
    #[wasm_bindgen(method)]
    pub(crate) fn release(this: &Side, edits: Vec<String>) -> bool;

    /// Answers instead.
    #[wasm_bindgen(method)]
    pub(crate) fn reply(this: &Side, status: u16, headers: Vec<String>, body: Vec<u8>, grpc_status: Option<u32>);

    /// A fact about the exchange.
    #[wasm_bindgen(method)]
    pub(crate) fn note(this: &Side, name: &str, value: &str);

    /// Something was counted.
    #[wasm_bindgen(method)]
    pub(crate) fn event(this: &Side, name: &str, labels: Vec<String>, value: f64);

    /// A line of the audit log.
    #[wasm_bindgen(method)]
    pub(crate) fn audit(this: &Side, line: &str);

    /// A line for the log.
    #[wasm_bindgen(method)]
    pub(crate) fn log(this: &Side, level: &str, text: &str);

    /// No task that belongs to this side is left.
    #[wasm_bindgen(method)]
    pub(crate) fn done(this: &Side);
}

/// A side, and how many tasks still need it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Scope(Rc<Inner>);

struct Inner {
    side: RefCell<Side>,
    tasks: Cell<usize>,
}

impl Scope {
    pub(crate) fn new(side: Side) -> Self {
        Self(Rc::new(Inner { side: RefCell::new(side), tasks: Cell::new(0) }))
    }

    /// The TypeScript object. A clone, because it may call back.
    pub(crate) fn side(&self) -> Side {
        self.0.side.borrow().clone()
    }

    /// Goes on with another side; the one before it gets no more calls.
    pub(crate) fn turn_to(&self, side: Side) {
        let old = self.0.side.replace(side);
        drop(old);
    }

    /// Keeps the side until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        self.0.tasks.set(self.0.tasks.get().saturating_add(1));
        Entered(self.clone())
    }
}

/// A task that needs its side.
pub(crate) struct Entered(Scope);

impl Drop for Entered {
    fn drop(&mut self) {
        let left = self.0.0.tasks.get().saturating_sub(1);
        self.0.0.tasks.set(left);
        if left == 0 {
            self.0.side().done();
        }
    }
}
