//! Work between exchanges: learning what facilitators support. One worker asks for all, under a lease.

use super::Gate;
use crate::host::{Event, Host, Level};
use crate::ledger::{Lease, Notice, Store};
use crate::policy::Facilitator;
use crate::rail::{self, Supported};
use std::rc::Rc;

/// Milliseconds between looks at what other workers have learnt.
const PACE_MILLIS: u64 = 1000;
/// Seconds after which what was learnt is asked for again.
const STALE_SECONDS: u64 = 300;
/// Seconds between two attempts to ask.
const ATTEMPT_SECONDS: u64 = 10;

impl Gate {
    /// Work that goes on as long as the gate lives, on every worker.
    pub async fn tend<H: Host>(self: Rc<Self>, host: H) {
        loop {
            for (index, facilitator) in self.policy().facilitators().iter().enumerate() {
                self.learn(&host, index, facilitator).await;
            }
            self.reconcile(&host).await;
            host.sleep(PACE_MILLIS).await;
        }
    }

    async fn learn<H: Host>(&self, host: &H, index: usize, facilitator: &Facilitator) {
        let name = address_hash(facilitator);
        let now = host.now();
        let published = host.store().published(Notice::Supported(name)).await.ok().flatten();
        let age = published.as_ref().and_then(|bytes| {
            let (at, body) = bytes.split_first_chunk::<8>()?;
            self.know(index, Supported::read(body)?);
            Some(now.saturating_sub(u64::from_be_bytes(*at)))
        });
        if age.is_some_and(|age| age < STALE_SECONDS) {
            return;
        }
        if host.store().lease(Lease::Supported(name), ATTEMPT_SECONDS, now).await != Ok(true) {
            return;
        }
        match rail::learn(host, facilitator).await {
            Some((body, supported)) => {
                let mut notice = host.now().to_be_bytes().to_vec();
                notice.extend_from_slice(&body);
                let _ = host.store().publish(Notice::Supported(name), &notice).await;
                self.know(index, supported);
            }
            None => {
                let text = format!("facilitator {}/supported: no usable answer", facilitator.name);
                host.event(&Event::Log { level: Level::Warn, text: &text });
            }
        }
    }

    fn know(&self, index: usize, supported: Supported) {
        let mut known = self.known.borrow_mut();
        if let Some(slot) = known.get_mut(index)
            && slot.as_ref() != Some(&supported)
        {
            *slot = Some(supported);
            self.menus.borrow_mut().clear();
        }
    }
}

/// Names a facilitator across workers and policies: the hash of its address.
fn address_hash(facilitator: &Facilitator) -> u32 {
    let parts = [&facilitator.scheme, &facilitator.authority, &facilitator.base_path].map(|part| part.as_bytes());
    let hash = crate::crypto::sha256(&[parts[0], b"\0", parts[1], b"\0", parts[2]]);
    hash.first_chunk::<4>().map_or(0, |chunk| u32::from_be_bytes(*chunk))
}
