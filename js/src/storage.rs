//! What a ledger is kept in: the storage of a Durable Object, or a `Map`.

use farebox_core::ledger::local::{Expected, SharedData, SharedError};
use js_sys::Uint8Array;
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
    /// Keys and values: synchronous, and written by nobody else.
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
pub(crate) struct Kept(pub(crate) Storage);

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
