//! Randomness of the runtime.

use farebox_core::host::HostError;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// `crypto.getRandomValues`
    #[wasm_bindgen(catch, js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(out: &mut [u8]) -> Result<JsValue, JsValue>;
}

/// Fills `out` from the runtime's cryptographic source.
pub(crate) fn random(out: &mut [u8]) -> Result<(), HostError> {
    // The runtime gives at most 64 KiB at a time.
    for part in out.chunks_mut(32 * 1024) {
        get_random_values(part).map_err(|_| HostError)?;
    }
    Ok(())
}
