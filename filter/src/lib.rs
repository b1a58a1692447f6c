//! The farebox gate as a proxy-wasm filter: a thin shell around [`farebox_core`].
//!
//! | what | where |
//! |---|---|
//! | the ABI, and all `unsafe` code | [`abi`] |
//! | the callbacks | `plugin` |
//! | tasks, timers, callouts: the rules a host's callbacks are met with | `executor` |
//! | how far a stream is, and what each callback returns | `stream` |
//! | a stream as the core sees it | `exchange` |
//! | the world as the core sees it | `host` |
//! | the ledger's place | `shared` |
//! | a plugin configuration, and which hosts are accepted | `root` |
//! | the configuration's JSON, in whichever form it comes | `configuration` |
//!
//! A panic in a filter ends its VM, and with it every exchange of that worker. So nothing here panics, whatever the
//! host or a client sends; where no answer is right, the stream is refused or stays held.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))] // natively only the tests call the callbacks

pub mod abi;
mod configuration;
mod exchange;
mod executor;
mod host;
mod logic;
mod plugin;
#[cfg(any(test, feature = "probe"))]
mod probe;
mod root;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod trap;

#[cfg(target_arch = "wasm32")]
pub use wasm::Filter;

/// The filter of this VM.
#[cfg(target_arch = "wasm32")]
mod wasm {
    use crate::abi::{Action, Callbacks, ContextId, Token, Wasm};
    use crate::plugin::Plugin;

    #[cfg(not(feature = "probe"))]
    type Logic = farebox_core::gate::Gate;
    #[cfg(feature = "probe")]
    type Logic = crate::probe::Probe;

    thread_local! {
        static PLUGIN: Plugin<Wasm, Logic> = Plugin::new(Wasm);
    }

    /// The callbacks of this VM's one [`Plugin`].
    #[derive(Debug)]
    pub struct Filter;

    impl Callbacks for Filter {
        fn on_vm_start() -> bool {
            PLUGIN.with(Plugin::on_vm_start)
        }

        fn on_configure(root: ContextId, size: usize) -> bool {
            PLUGIN.with(|plugin| plugin.on_configure(root, size))
        }

        fn on_context_create(context: ContextId, parent: ContextId) {
            PLUGIN.with(|plugin| plugin.on_context_create(context, parent));
        }

        fn on_tick(root: ContextId) {
            PLUGIN.with(|plugin| plugin.on_tick(root));
        }

        fn on_request_headers(stream: ContextId, end_of_stream: bool) -> Action {
            PLUGIN.with(|plugin| plugin.on_request_headers(stream, end_of_stream))
        }

        fn on_request_body(stream: ContextId, size: usize, end_of_stream: bool) -> Action {
            PLUGIN.with(|plugin| plugin.on_request_body(stream, size, end_of_stream))
        }

        fn on_request_trailers(stream: ContextId) -> Action {
            PLUGIN.with(|plugin| plugin.on_request_trailers(stream))
        }

        fn on_response_headers(stream: ContextId, end_of_stream: bool) -> Action {
            PLUGIN.with(|plugin| plugin.on_response_headers(stream, end_of_stream))
        }

        fn on_http_call_response(root: ContextId, token: Token, headers: usize, body: usize) {
            PLUGIN.with(|plugin| plugin.on_http_call_response(root, token, headers, body));
        }

        fn on_done(context: ContextId) -> bool {
            PLUGIN.with(|plugin| plugin.on_done(context))
        }

        #[cfg(feature = "trap")]
        fn on_log(_stream: ContextId) {
            crate::trap::here("log");
        }

        fn on_delete(context: ContextId) {
            PLUGIN.with(|plugin| plugin.on_delete(context));
        }
    }
}
