//! One exchange, from request to receipt. (Being written.)

use crate::host::{Capabilities, Done, Exchange, Host};
use crate::http::Reply;
use crate::policy::Mistakes;
use std::rc::Rc;

/// The seller side: one policy, ready to decide exchanges.
pub struct Gate;

impl Gate {
    /// Reads and compiles a policy.
    ///
    /// # Errors
    /// Every mistake found, each with the path of the field, what was found and what is allowed.
    pub fn load(_json: &[u8], _env: &dyn Fn(&str) -> Option<String>, _can: Capabilities) -> Result<Self, Mistakes> {
        Ok(Self)
    }

    /// The most claims the ledger may hold at once.
    #[must_use]
    pub fn claims_ceiling(&self) -> u32 {
        1_000_000
    }

    /// Decides one exchange.
    pub async fn serve<H: Host, E: Exchange>(self: Rc<Self>, _host: H, exchange: E) -> Done {
        exchange.reply(Reply { status: 402, headers: Vec::new(), body: Vec::new(), details: "stub" })
    }

    /// Work that goes on as long as the gate lives, on every worker.
    pub async fn tend<H: Host>(self: Rc<Self>, host: H) {
        loop {
            host.sleep(1000).await;
        }
    }
}
