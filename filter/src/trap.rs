//! Test builds only (feature `trap`): the filter traps in a callback that a test names, to prove that a trap never
//! serves anything unpaid.
//!
//! `FAREBOX_TRAP=<callback>` in the VM's environment traps at the first one; `<callback>/2` at the second. A request
//! header `x-farebox-trap` of the same form arms the VM that sees it, from then on. Callbacks are `request_headers`,
//! `request_body`, `request_trailers`, `response_headers`, `http_call_response`, `tick`, `done`, `log`, `delete`.

#[cfg(feature = "trap")]
mod armed {
    use crate::abi::{Map, Proxy};
    use std::cell::RefCell;

    struct Armed {
        callback: String,
        /// Such callbacks until the trap.
        countdown: u32,
    }

    thread_local! {
        static ARMED: RefCell<Option<Armed>> = RefCell::new(std::env::var("FAREBOX_TRAP").ok().map(|what| read(&what)));
    }

    fn read(what: &str) -> Armed {
        let (callback, nth) = what.split_once('/').unwrap_or((what, "1"));
        Armed { callback: callback.to_owned(), countdown: nth.parse().unwrap_or(1) }
    }

    pub(crate) fn arm(proxy: &impl Proxy) {
        let Ok(pairs) = proxy.pairs(Map::RequestHeaders) else { return };
        let named = pairs.iter().find(|(name, _)| *name == b"x-farebox-trap");
        if let Some((_, what)) = named {
            let armed = read(&String::from_utf8_lossy(what));
            ARMED.with_borrow_mut(|current| *current = Some(armed));
        }
    }

    pub(crate) fn here(callback: &str) {
        ARMED.with_borrow_mut(|armed| {
            if let Some(armed) = armed
                && armed.callback == callback
            {
                armed.countdown = armed.countdown.saturating_sub(1);
                if armed.countdown == 0 {
                    std::process::abort(); // on wasm: the `unreachable` instruction, a trap
                }
            }
        });
    }
}

#[cfg(feature = "trap")]
pub(crate) use armed::{arm, here};

#[cfg(not(feature = "trap"))]
pub(crate) fn arm(_proxy: &impl crate::abi::Proxy) {}

#[cfg(not(feature = "trap"))]
pub(crate) fn here(_callback: &str) {}
