//! A plugin configuration: which host this is, what it lets us do, and the gate that its policy makes.

use crate::abi::{Buffer, ContextId, LogLevel, Proxy};
use crate::configuration;
use crate::executor::{Executor, TICK_MILLIS};
use crate::host::World;
use crate::logic::Logic;
use crate::shared::{Ledger, Shared};
use farebox_core::host::Capabilities;
use farebox_core::ledger::local::{Ceilings, SEED_BYTES};
use std::rc::Rc;

/// Most bytes of a plugin configuration.
const CONFIGURATION: usize = 16 << 20;

/// One plugin configuration at work.
pub(crate) struct Root<P: Proxy, L> {
    pub(crate) gate: Rc<L>,
    pub(crate) world: World<P>,
    pub(crate) reads_body: bool,
}

impl<P: Proxy, L> Clone for Root<P, L> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), world: self.world.clone(), reads_body: self.reads_body }
    }
}

impl<P: Proxy, L: Logic> Root<P, L> {
    /// Reads the configuration of `size` bytes and starts what it asks for; `None`, and the reasons in the log, if
    /// it is refused.
    pub(crate) fn configure(executor: &Executor<P>, root: ContextId, size: usize) -> Option<Self> {
        let refused = |why: &str| executor.log(LogLevel::Error, &format!("farebox: configuration refused: {why}"));
        let proxy = executor.proxy();
        if !is_envoy(proxy) {
            refused("this host is not Envoy, the only one this filter is known to be safe on");
            return None;
        }
        if size > CONFIGURATION {
            refused(&format!("it has {size} bytes, more than {CONFIGURATION}"));
            return None;
        }
        let json = match proxy.bytes(Buffer::PluginConfiguration, size) {
            Ok(bytes) => configuration::json(bytes),
            Err(status) => {
                refused(&format!("the host would not give it ({status})"));
                return None;
            }
        };
        let can = Capabilities { hold_response: true, read_body: L::reads_body(&json) };
        let gate = match L::load(&json, &|name| std::env::var(name).ok(), can) {
            Ok(gate) => Rc::new(gate),
            Err(mistakes) => {
                mistakes.iter().for_each(|mistake| refused(mistake));
                return None;
            }
        };
        let ceilings = Ceilings { claims: gate.claims_ceiling(), tokens: gate.tokens_ceiling() };
        let store = match open_store(proxy, ceilings) {
            Ok(store) => store,
            Err(why) => {
                refused(&why);
                return None;
            }
        };
        if let Err(status) = proxy.set_tick_period(TICK_MILLIS) {
            refused(&format!("the host has no timer ({status})"));
            return None;
        }
        gate.warnings().iter().for_each(|warning| executor.log(LogLevel::Warn, &format!("farebox: {warning}")));
        executor.open_root(root);
        let world = World::new(executor.clone(), root, store);
        executor.daemon(root, gate.clone().tend(world.clone()));
        Some(Self { gate, world, reads_body: can.read_body })
    }
}

fn open_store<P: Proxy>(proxy: &P, ceilings: Ceilings) -> Result<Ledger<P>, String> {
    let mut seed = [0; SEED_BYTES];
    getrandom::fill(&mut seed).map_err(|error| format!("the host has no randomness ({error})"))?;
    Ledger::open(Shared(proxy.clone()), ceilings, &seed).map_err(|error| error.to_string())
}

/// Whether this is Envoy, by what it says of itself in a property that no other host has.
///
/// Elsewhere it is not known that a response can be held, that a trap never serves anything, or what
/// [`PauseAll`](crate::abi::Action::PauseAll) does.
fn is_envoy(proxy: &impl Proxy) -> bool {
    proxy.property(&["xds", "node", "user_agent_name"]).is_ok_and(|name| name.as_deref() == Some(b"envoy"))
}
