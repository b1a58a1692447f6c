//! Work between exchanges: learning what facilitators support. One worker asks for all, under a lease.

use super::Gate;
use crate::host::{Event, Host, Level};
use crate::ledger::{Lease, Notice, Store};
use crate::policy::Facilitator;
use crate::rail::{self, Learnt, Supported};
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
        for facilitator in self.policy().facilitators() {
            host.event(&Event::Breaker { facilitator: &facilitator.name, state: "closed" });
        }
        loop {
            for (index, facilitator) in self.policy().facilitators().iter().enumerate() {
                self.learn(&host, index, facilitator).await;
            }
            self.reconcile(&host).await;
            self.head(&host);
            host.sleep(PACE_MILLIS).await;
        }
    }

    async fn learn<H: Host>(&self, host: &H, index: usize, facilitator: &Facilitator) {
        let name = address_hash(facilitator);
        let now = host.now();
        let published = host.store().published(Notice::Supported(name)).await.ok().flatten();
        let (due, body) = published
            .as_deref()
            .and_then(<[u8]>::split_first_chunk::<8>)
            .map_or((0, &[][..]), |(due, body)| (u64::from_be_bytes(*due), body));
        if let Some(supported) = Supported::read(body) {
            self.know(index, supported);
        }
        // Further away than any date we write: from a clock that was wrong.
        if due > now && due <= now.saturating_add(STALE_SECONDS) {
            return;
        }
        if host.store().lease(Lease::Supported(name), ATTEMPT_SECONDS, now).await != Ok(true) {
            return;
        }
        match rail::learn(host, facilitator).await {
            Learnt::Supported(body, supported) => {
                publish(host, name, STALE_SECONDS, &body).await;
                self.know(index, supported);
            }
            Learnt::Later(seconds) => {
                let seconds = seconds.clamp(ATTEMPT_SECONDS, STALE_SECONDS);
                publish(host, name, seconds, body).await;
                let text = format!("facilitator {}/supported: asks to be left alone for {seconds} s", facilitator.name);
                host.event(&Event::Log { level: Level::Warn, text: &text });
            }
            Learnt::Failed => {
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

/// Tells the other workers what a facilitator supports (nothing: not known yet), and when to ask it again.
async fn publish<H: Host>(host: &H, name: u32, seconds: u64, body: &[u8]) {
    let mut notice = host.now().saturating_add(seconds).to_be_bytes().to_vec();
    notice.extend_from_slice(body);
    let _ = host.store().publish(Notice::Supported(name), &notice).await;
}

/// Names a facilitator across workers and policies: the hash of its address.
fn address_hash(facilitator: &Facilitator) -> u32 {
    let parts = [&facilitator.scheme, &facilitator.authority, &facilitator.base_path].map(|part| part.as_bytes());
    let hash = crate::crypto::sha256(&[parts[0], b"\0", parts[1], b"\0", parts[2]]);
    hash.first_chunk::<4>().map_or(0, |chunk| u32::from_be_bytes(*chunk))
}
