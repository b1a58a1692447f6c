//! What decides exchanges: the gate, and in test builds something simpler.

use farebox_core::gate::Gate;
use farebox_core::host::{Capabilities, Done, Exchange, Host};
use std::future::Future;
use std::rc::Rc;

/// The part of [`Gate`] that the shell uses.
pub(crate) trait Logic: Sized + 'static {
    /// Reads and compiles a configuration, or says everything that is wrong with it.
    fn load(json: &[u8], env: &dyn Fn(&str) -> Option<String>, can: Capabilities) -> Result<Self, Vec<String>>;
    /// Whether the configuration says that the host lets requests be held for their body.
    ///
    /// Envoy does with `allow_on_headers_stop_iteration: true`, which a filter cannot see: a body waited for without
    /// it never comes. So the policy has to say so, and this is where it is asked.
    fn reads_body(_json: &[u8]) -> bool {
        false
    }
    /// The most claims the ledger may hold at once.
    fn claims_ceiling(&self) -> u32;
    /// The most tokens with counters, and proofs, that the ledger may hold at once.
    fn tokens_ceiling(&self) -> u32;
    /// What an operator should know about a configuration that is accepted.
    fn warnings(&self) -> &[String] {
        &[]
    }
    /// Decides one exchange.
    fn serve<H: Host, E: Exchange>(self: Rc<Self>, host: H, exchange: E) -> impl Future<Output = Done> + 'static;
    /// Work that goes on as long as the configuration lives.
    fn tend<H: Host>(self: Rc<Self>, host: H) -> impl Future<Output = ()> + 'static;
}

impl Logic for Gate {
    fn load(json: &[u8], env: &dyn Fn(&str) -> Option<String>, can: Capabilities) -> Result<Self, Vec<String>> {
        Self::load(json, env, can).map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
    }

    fn reads_body(json: &[u8]) -> bool {
        farebox_core::policy::reads_bodies(json)
    }

    fn claims_ceiling(&self) -> u32 {
        self.policy().claims_ceiling()
    }

    fn tokens_ceiling(&self) -> u32 {
        self.policy().tokens_ceiling()
    }

    fn warnings(&self) -> &[String] {
        self.policy().warnings()
    }

    fn serve<H: Host, E: Exchange>(self: Rc<Self>, host: H, exchange: E) -> impl Future<Output = Done> + 'static {
        self.serve(host, exchange)
    }

    fn tend<H: Host>(self: Rc<Self>, host: H) -> impl Future<Output = ()> + 'static {
        self.tend(host)
    }
}
