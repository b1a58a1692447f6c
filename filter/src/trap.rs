//! Test builds only (feature `trap`): the filter traps in a callback that a test names, to prove that a trap never
//! serves anything unpaid.
//!
//! `FAREBOX_TRAP=<callback>` in the VM's environment traps at the first one. A request header
//! `x-farebox-trap: <callback>` arms the VM that sees it: the next such callback of that VM traps.

#[cfg(feature = "trap")]
mod armed {
    use crate::abi::{Map, Proxy};
    use std::cell::RefCell;

    thread_local! {
        static CALLBACK: RefCell<Option<String>> = RefCell::new(std::env::var("FAREBOX_TRAP").ok());
    }

    pub(crate) fn arm(proxy: &impl Proxy) {
        let Ok(pairs) = proxy.pairs(Map::RequestHeaders) else {
            return;
        };
        let named = pairs.iter().find(|(name, _)| *name == b"x-farebox-trap");
        if let Some((_, callback)) = named {
            let callback = String::from_utf8_lossy(callback).into_owned();
            CALLBACK.with_borrow_mut(|armed| *armed = Some(callback));
        }
    }

    pub(crate) fn here(callback: &str) {
        if CALLBACK.with_borrow(|armed| armed.as_deref() == Some(callback)) {
            std::process::abort(); // on wasm: the `unreachable` instruction, a trap
        }
    }
}

#[cfg(feature = "trap")]
pub(crate) use armed::{arm, here};

#[cfg(not(feature = "trap"))]
pub(crate) fn arm(_proxy: &impl crate::abi::Proxy) {}

#[cfg(not(feature = "trap"))]
pub(crate) fn here(_callback: &str) {}
