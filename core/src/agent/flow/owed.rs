//! What the store has not been told yet: reservations whose calls were dropped, and outcomes that could not be written.

use super::super::counters::{Counters, Outcome};
use super::super::event::Event;
use super::super::holder::Holder;
use super::super::pay::Signer;
use super::super::store::{Store, StoreFailed};
use super::super::wallet::TokenInfo;
use super::{Agent, World};
use std::cell::RefCell;
use std::slice;

/// Times that an outcome is written before it is left to the next call, and milliseconds between them.
const WRITES: usize = 3;
const WRITE_AGAIN_MILLIS: u64 = 100;

/// Something that the store is to be told.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    /// The call of this reservation was dropped: what is not signed is free, and what is signed is in doubt.
    Dropped(String),
    /// What became of a payment.
    Concluded(Conclusion),
}

/// What became of a payment, and what came for it.
#[derive(Clone, Debug)]
pub(super) struct Conclusion {
    pub(super) id: String,
    pub(super) outcome: Outcome,
    pub(super) faults: usize,
    pub(super) token: Option<String>,
    /// Where the token is from.
    pub(super) resource: String,
}

/// What is owed, held by whoever tells the store. If this is dropped before it was told, the next call does it.
pub(super) struct Debt<'a> {
    owed: &'a RefCell<Vec<Owed>>,
    what: Option<Owed>,
}

impl<'a> Debt<'a> {
    pub(super) fn new(owed: &'a RefCell<Vec<Owed>>, what: Owed) -> Self {
        Self { owed, what: Some(what) }
    }

    /// What is owed if the call of this reservation is dropped.
    pub(super) fn of_call(owed: &'a RefCell<Vec<Owed>>, id: &str) -> Self {
        Self::new(owed, Owed::Dropped(id.to_owned()))
    }

    pub(super) fn becomes(&mut self, what: Owed) {
        self.what = Some(what);
    }

    /// It is owed no more.
    pub(super) fn settle(mut self) {
        self.what = None;
    }
}

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        self.owed.borrow_mut().extend(self.what.take());
    }
}

impl<W: World, S: Store, K: Signer, H: Holder> Agent<W, S, K, H> {
    /// Tells the store what earlier calls could not: what they had reserved and not signed is given back, what they had
    /// sent is in doubt, and what they had bought is kept. The next call does it too; do it at once where a budget is
    /// waited for.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn tidy(&self) -> Result<(), StoreFailed> {
        // What one call is writing, others must find written.
        let _turn = self.kept.turn(&self.tidying).await;
        loop {
            let Some(owed) = self.owed.borrow_mut().pop() else { return Ok(()) };
            let debt = Debt::new(&self.owed, owed.clone());
            self.tell_store(&owed).await?;
            debt.settle();
            if let Owed::Concluded(Conclusion { token: Some(token), .. }) = owed
                && let Ok(token) = TokenInfo::of(&token)
            {
                self.world.event(&Event::TokenKept { token: &token });
            }
        }
    }

    /// Tells the store what became of a payment; whether it could be told. Else it is left to the next call.
    pub(super) async fn conclude(&self, mut debt: Debt<'_>, conclusion: Conclusion) -> bool {
        let bought = conclusion.token.is_some();
        let concluded = Owed::Concluded(conclusion);
        // A call that is dropped meanwhile has got nothing but the token: without one, the same payment is sent again.
        if bought {
            debt.becomes(concluded.clone());
        }
        for write in 1..=WRITES {
            if self.tell_store(&concluded).await.is_ok() {
                debt.settle();
                return true;
            }
            if write < WRITES {
                self.world.sleep(WRITE_AGAIN_MILLIS).await;
            }
        }
        debt.becomes(concluded);
        false
    }

    async fn tell_store(&self, owed: &Owed) -> Result<(), StoreFailed> {
        let now = self.world.now();
        match owed {
            Owed::Dropped(id) => {
                let abandon = |counters: &mut Counters| {
                    let freed = counters.conclude(&self.policy, id, &Outcome::NotSent, 0, now).is_ok();
                    counters.abandon(&self.policy, slice::from_ref(id), now);
                    freed
                };
                if self.kept.change(&self.policy, now, abandon).await? {
                    self.world.event(&Event::GivenUp { id, why: "abandoned" });
                }
                Ok(())
            }
            Owed::Concluded(conclusion) => {
                let Conclusion { id, outcome, faults, token, resource } = conclusion;
                let record = |counters: &mut Counters| {
                    if let Some(token) = token {
                        let _ = counters.wallet_mut().keep(token, resource, now);
                    }
                    // One that is held no more was concluded before.
                    let _ = counters.conclude(&self.policy, id, outcome, *faults, now);
                };
                self.kept.change(&self.policy, now, record).await
            }
        }
    }
}
