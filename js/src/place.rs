//! One place of a ledger: the store inside a Durable Object, over the object's storage.

use farebox_core::ledger::local::{Ceilings, Expected, LocalStore, SEED_BYTES, SharedData, SharedError};
use farebox_core::ledger::remote::serve;
use js_sys::Uint8Array;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
export interface Storage {
  get(key: string): Uint8Array | undefined;
  put(key: string, value: Uint8Array): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The object's storage: synchronous, and nobody else's.
    #[wasm_bindgen(typescript_type = "Storage")]
    #[derive(Clone)]
    pub type Storage;

    #[wasm_bindgen(method, catch)]
    fn get(this: &Storage, key: &str) -> Result<Option<Uint8Array>, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn put(this: &Storage, key: &str, value: Vec<u8>) -> Result<(), JsValue>;
}

/// The storage as shared data. Nobody else writes there, and an operation on it never waits, so nothing comes between a
/// look and the change that follows it: there is only one version.
#[derive(Clone)]
struct Kept(Storage);

const VERSION: u32 = 1;

impl SharedData for Kept {
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError> {
        let value = self.0.get(key).map_err(|_| SharedError::Failed)?;
        Ok(value.map(|value| (value.to_vec(), VERSION)))
    }

    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError> {
        if expected == Expected::Absent && self.get(key)?.is_some() {
            return Err(SharedError::Mismatch);
        }
        self.0.put(key, value.to_vec()).map_err(|_| SharedError::Failed)
    }
}

/// One place of a ledger.
#[wasm_bindgen]
pub struct Place(LocalStore<Kept>);

#[wasm_bindgen]
impl Place {
    /// Opens the store in `storage`, which the first opening founds with `seed` (48 random bytes) for at most so many live
    /// claims and token families.
    #[wasm_bindgen(constructor)]
    pub fn new(storage: Storage, claims: u32, tokens: u32, seed: &[u8]) -> Result<Place, JsValue> {
        let seed: &[u8; SEED_BYTES] = seed.try_into().map_err(|_| JsValue::from_str("the seed has 48 bytes"))?;
        let store = LocalStore::open(Kept(storage), Ceilings { claims, tokens }, seed)
            .map_err(|_| JsValue::from_str("this storage holds something else"))?;
        Ok(Self(store))
    }

    /// Carries out one message of a gate.
    pub fn serve(&self, message: &[u8]) -> Vec<u8> {
        match pin!(serve(&self.0, message)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => Vec::new(), // it never waits; an empty answer is a failure
        }
    }
}
