//! One place of a ledger: the store inside a Durable Object, over the object's storage.

use crate::storage::{Kept, Storage};
use farebox_core::ledger::local::{Ceilings, LocalStore, SEED_BYTES};
use farebox_core::ledger::remote::serve;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::prelude::*;

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
