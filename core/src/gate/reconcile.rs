//! Unknown outcomes, found out: by one worker for all, at its pace, and at once when a client asks again.

use super::Gate;
use crate::host::{Event, Host, Level};
use crate::ledger::{ClaimId, Lease, Money, Store, StoreError};
use crate::rail::{self, Judgement};

/// Seconds between rounds.
const PACE_SECONDS: u64 = 3;
/// Seconds after which nobody asks any more: the claim's own record is gone by then.
const GIVEN_UP: u64 = 2 * 24 * 3600;

impl Gate {
    /// One round through the open questions, if it is this worker's turn.
    pub(super) async fn reconcile<H: Host>(&self, host: &H) {
        let now = host.now();
        if !self.policy.asks_chains() || host.store().lease(Lease::Reconcile, PACE_SECONDS, now).await != Ok(true) {
            return;
        }
        for (id, question) in host.store().doubts().await.unwrap_or_default() {
            let Some((not_before, _)) = rail::asked_of(&question).filter(|it| now <= it.0.saturating_add(GIVEN_UP))
            else {
                let text = "a settlement's outcome was not found out in two days and is not asked for any more";
                host.event(&Event::Log { level: Level::Error, text });
                let _ = host.store().undoubt(&id).await;
                continue;
            };
            if now > not_before {
                self.resolve(host, &id, &question).await;
            }
        }
    }

    /// Asks what became of an unknown claim and records the answer.
    pub(super) async fn resolve<H: Host>(&self, host: &H, id: &ClaimId, question: &[u8]) -> Judgement {
        let (judgement, why) = rail::judge(host, &self.policy, question).await;
        let (money, state, transaction) = match &judgement {
            Judgement::Settled { transaction } => (Money::Settled, "settled", transaction.as_str()),
            Judgement::Failed => (Money::Failed, "failed", ""),
            Judgement::Open | Judgement::Nobody => return judgement,
        };
        match host.store().resolve(id, money, transaction, host.now()).await {
            Ok(()) => {
                host.event(&Event::Claim { state });
                let name = crate::crypto::hex::encode(id.0.first_chunk::<8>().map_or(&[], |id| id.as_slice()));
                let text = format!("claim {name}: the chain says {state} {transaction}{why}");
                host.event(&Event::Log { level: Level::Warn, text: &text });
            }
            // Somebody else concluded it meanwhile, or its record is gone: the question is answered all the same.
            Err(StoreError::Lost) => {}
            Err(StoreError::Full | StoreError::Failed) => return judgement,
        }
        let _ = host.store().undoubt(id).await;
        judgement
    }
}
