//! What people and programs do with an agent besides having it fetch.

use super::super::challenge::Challenge;
use super::super::counters::{Adopted, Approved, BadApproval, Counters, Left, NotHeld, Outcome, Question};
use super::super::decide::{self, Decision};
use super::super::event::Event;
use super::super::holder::Holder;
use super::super::pay::Signer;
use super::super::policy::Policy;
use super::super::store::{Store, StoreFailed};
use super::super::wallet::{self, Delegation, NotDelegated, TokenInfo};
use super::{Agent, FetchError, Wanted, World};
use crate::token::TokenError;

/// What would be done about a request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// It costs nothing: the status of the answer.
    Free(u16),
    /// It would be made with this token. Nothing was sent.
    Token(TokenInfo),
    /// It must be paid for, and this would be decided.
    Pay(Box<(Challenge, Decision)>),
}

impl<W: World, S: Store, K: Signer, H: Holder> Agent<W, S, K, H> {
    /// Writes the first counters. A person says so, or whoever sets up the agent: it is how its budgets are filled.
    /// `false` if there are counters, which stay as they are.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn begin(&self) -> Result<bool, StoreFailed> {
        self.kept.begin(&self.policy, self.world.now()).await
    }

    /// What would be done about a request, without paying, reserving, or showing a token. The request is sent without
    /// any credential if no token covers it: do this only with requests that do nothing when they are not paid for.
    ///
    /// What a plan says to pay can be made the most that is paid: it is the [`quote`](Wanted::quote) of the request.
    ///
    /// # Errors
    /// [`FetchError`] as for [`fetch`](Self::fetch).
    pub async fn quote(&self, wanted: &Wanted) -> Result<Plan, FetchError> {
        let asked = wanted.request(&wanted.url).map_err(FetchError::Request)?;
        let now = self.world.now();
        let counters = self.kept.read(&self.policy, now).await?;
        if let Some(token) = self.pick(&counters, &asked, now).into_iter().find(|token| token.certain) {
            let infos = self.memory.list(counters.wallet());
            if let Some(info) = infos.into_iter().find(|info| info.id == token.name()) {
                return Ok(Plan::Token(info));
            }
        }
        let response = self.plain(wanted).await?;
        if response.status != 402 {
            return Ok(Plan::Free(response.status));
        }
        let (request, challenge) = self.challenged(wanted, response).await?;
        let now = self.world.now();
        let mut counters = self.kept.read(&self.policy, now).await?;
        self.count_visits(&mut counters, now);
        let decision = decide::decide(&self.policy, &challenge, &request, &self.purse, &counters, now);
        Ok(Plan::Pay(Box::new((challenge, decision))))
    }

    /// An approver's signed answer to a question.
    ///
    /// # Errors
    /// If the store failed; or within, if the answer does not count.
    pub async fn approve(&self, jws: &str) -> Result<Result<Approved, BadApproval>, StoreFailed> {
        let now = self.world.now();
        self.kept.change(&self.policy, now, |counters| counters.approve(jws, now)).await
    }

    /// The yes of whoever the program has asked, outside of the model.
    ///
    /// # Errors
    /// If the store failed; or within, if the answer does not count.
    pub async fn approve_by_host(&self, digest: &str) -> Result<Result<Approved, BadApproval>, StoreFailed> {
        let now = self.world.now();
        self.kept.change(&self.policy, now, |counters| counters.approve_by_host(digest, now)).await
    }

    /// The no of whoever was asked, which also stops a payment that waits.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn reject(&self, digest: &str) -> Result<(), StoreFailed> {
        self.kept.change(&self.policy, self.world.now(), |counters| counters.reject(digest)).await
    }

    /// Puts another policy in force for everyone who shares the store.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn adopt(&mut self, policy: Policy, loosen: bool) -> Result<Adopted, FetchError> {
        let nonce = self.random()?;
        let now = self.world.now();
        let adopt = |counters: &mut Counters| counters.adopt(&policy, loosen, nonce, now);
        let adopted = self.kept.change(&self.policy, now, adopt).await?;
        if adopted == Adopted::Done {
            self.policy = policy;
        }
        Ok(adopted)
    }

    /// Opens the breaker of `host`, or of everything, again: `None` if it is open, or the question to the policy's
    /// approvers; ask again once they have answered.
    ///
    /// # Errors
    /// If the store failed, or there is no randomness.
    pub async fn unfreeze(&self, host: Option<&str>) -> Result<Option<Box<Question>>, FetchError> {
        let (nonce, now) = (self.random()?, self.world.now());
        let open = |counters: &mut Counters| counters.unfreeze(&self.policy, host, nonce, now).err();
        Ok(self.kept.change(&self.policy, now, open).await?)
    }

    /// What the chain says of a payment whose outcome is not known: how many atomic units it took, or `None` if it was
    /// not used and cannot be any more. Say so only when the chain does.
    ///
    /// # Errors
    /// If the store failed; or within, if there is no such payment any more.
    pub async fn evidence(&self, id: &str, charged: Option<u128>) -> Result<Result<(), NotHeld>, StoreFailed> {
        let now = self.world.now();
        let outcome = charged.map_or(Outcome::Unused, Outcome::Settled);
        self.kept.change(&self.policy, now, |counters| counters.conclude(&self.policy, id, &outcome, 0, now)).await
    }

    /// Says that whoever held these reservations has ended: a process that is known to be gone. Only then is a payment of
    /// its sent again before its lease has run out.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn abandon(&self, ids: &[String]) -> Result<(), StoreFailed> {
        let now = self.world.now();
        self.kept.change(&self.policy, now, |counters| counters.abandon(&self.policy, ids, now)).await
    }

    /// The tokens that are kept, each with what is left of it as far as is known.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, StoreFailed> {
        Ok(self.memory.list(self.counters().await?.wallet()))
    }

    /// Keeps a token that was given by somebody else: a delegation from another agent, or one of the seller's.
    ///
    /// # Errors
    /// If the store failed; or within, why it cannot be used: it is no token, has expired, or belongs to another key.
    pub async fn keep_token(&self, token: &str) -> Result<Result<TokenInfo, TokenError>, StoreFailed> {
        let now = self.world.now();
        let info = match TokenInfo::of(token) {
            Ok(info) if info.holder.is_none() || info.holder == self.purse.holder => info,
            Ok(_) => return Ok(Err(TokenError::BadLink("it belongs to another key"))),
            Err(why) => return Ok(Err(why)),
        };
        let keep = |counters: &mut Counters| counters.wallet_mut().keep(token, "", now);
        if let Err(why) = self.kept.change(&self.policy, now, keep).await? {
            return Ok(Err(why));
        }
        self.world.event(&Event::TokenKept { token: &info });
        Ok(Ok(info))
    }

    /// Drops the token of this name; whether there was one.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn drop_token(&self, id: &str) -> Result<bool, StoreFailed> {
        let now = self.world.now();
        let dropped = self.kept.change(&self.policy, now, |counters| counters.wallet_mut().drop_named(id)).await?;
        if dropped {
            self.world.event(&Event::TokenDropped { token: id, why: "dropped" });
        }
        Ok(dropped)
    }

    /// Makes a narrower token for a sub-agent, offline, within what the policy lets be handed on. Give it what is
    /// returned, and nothing else.
    ///
    /// # Errors
    /// [`NotDelegated`].
    pub async fn delegate(&self, delegation: &Delegation) -> Result<(String, TokenInfo), NotDelegated> {
        let id = self.random().map_err(|_| NotDelegated::Failed)?;
        let counters = self.counters().await.map_err(|_| NotDelegated::Failed)?;
        let now = self.world.now();
        wallet::delegate(counters.wallet(), self.policy.delegate(), &self.holder, delegation, (id, now)).await
    }

    /// The counters as they are.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn counters(&self) -> Result<Counters, StoreFailed> {
        self.kept.read(&self.policy, self.world.now()).await
    }

    /// What is left of every budget.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn left(&self) -> Result<Vec<Left>, StoreFailed> {
        Ok(self.counters().await?.left(&self.policy, self.world.now()))
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
