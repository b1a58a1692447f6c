//! Proxy-wasm shell. (Being written.)
