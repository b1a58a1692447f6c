//! The rig's own HTTP client.

/// A client that keeps no idle connections: a connection lives on the runtime that opened it, each asynchronous test
/// has a runtime of its own, and processes of the rig are shared between tests.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client without TLS needs nothing that can be missing")
}
