//! The guest's side of the boundary: the names the host looks up. They call [`Callbacks`], and do nothing else.
//!
//! Not here, on purpose: response body and trailers (see the module above), queues, gRPC, foreign functions.
//!
//! `no_mangle` is unsafe because two functions of one name would be one symbol; the `proxy_` names are the ABI's, and
//! nothing else in this module's one program defines them.

use super::{Callbacks, memory};
/// The one place that says whose callbacks these are.
use crate::Filter as Target;

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Which ABI this is.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Called once, before everything else.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // Naming the constructors keeps the linker from wrapping every export in a call to them.
    // SAFETY: the linker makes this function; it is meant to run once, first, which is when hosts call `_initialize`.
    unsafe { __wasm_call_ctors() }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    memory::give(size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_context: u32, _size: usize) -> bool {
    Target::on_vm_start()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
    Target::on_configure(root, size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    Target::on_context_create(context, parent);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    Target::on_tick(root);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(stream: u32, _fields: usize, end_of_stream: u32) -> u32 {
    Target::on_request_headers(stream, end_of_stream != 0).raw()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(stream: u32, size: usize, end_of_stream: u32) -> u32 {
    Target::on_request_body(stream, size, end_of_stream != 0).raw()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(stream: u32, _fields: usize) -> u32 {
    Target::on_request_trailers(stream).raw()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(stream: u32, _fields: usize, end_of_stream: u32) -> u32 {
    Target::on_response_headers(stream, end_of_stream != 0).raw()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body: usize, _trailers: usize) {
    Target::on_http_call_response(root, token, headers, body);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> bool {
    Target::on_done(context)
}

#[cfg(feature = "trap")]
#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(stream: u32) {
    Target::on_log(stream);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    Target::on_delete(context);
}
