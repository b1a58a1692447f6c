//! The least a proxy-wasm filter can do, written with the `proxy-wasm` SDK: on each request it gets one header and
//! sets one. What farebox costs is measured against this, and in-process hosts are checked against it.
//!
//! `x-baseline-in` of the request is copied to `x-baseline` of the request that goes on to the upstream; a request
//! without it gets `x-baseline: none`.

// The SDK's `main!` makes exported functions without documentation.
#![expect(missing_docs)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Baseline) });
}}

/// Stateless: the same value serves as root and as each stream.
struct Baseline;

impl Context for Baseline {}

impl RootContext for Baseline {
    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Baseline))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl HttpContext for Baseline {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let value = self.get_http_request_header("x-baseline-in");
        self.set_http_request_header("x-baseline", Some(value.as_deref().unwrap_or("none")));
        Action::Continue
    }
}
