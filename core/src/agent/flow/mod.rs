//! A request from question to answer: with a token if there is one, else paid on the way if the policy says so.
//!
//! | question | where it is decided |
//! |---|---|
//! | what passes between an agent and its world | `types` |
//! | in which order everything happens | [`Agent::fetch`] |
//! | how a call is made with a token | `token` |
//! | how a payment is reserved, signed, sent, and sent again | `paying` |
//! | what is told to the store later, because it failed or a call was dropped | `owed` |
//! | by which keys a seller's receipts are judged | `keys` |
//! | what people and programs do with an agent besides | `manage` |

pub(super) mod keys;
mod manage;
mod owed;
mod paying;
mod token;
mod types;

pub use manage::Plan;
pub use types::{FetchError, Fetched, Message, NoAnswer, Paid, Response, Wanted, World};

use super::challenge::{self, Challenge};
use super::counters::{Counters, host_key};
use super::decide::{self, Explanation};
use super::event::Event;
use super::holder::{Holder, NoHolder};
use super::pay::Signer;
use super::policy::Policy;
use super::purse::Purse;
use super::request::Request;
use super::store::{Kept, Store};
use super::turns::Turns;
use super::wallet::Memory;
use crate::host::HostError;
use keys::Keys;
use owed::{Debt, Owed};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use token::ByToken;

/// Milliseconds after which a call looks again whether the pass that another call is buying has come, and how often.
const WAIT_MILLIS: u64 = 50;
const MAX_WAITS: usize = 60;

/// The buyer's side: a policy, an account, and where they stand.
///
/// Futures of an agent may be dropped at any await. What was reserved and not signed is given back by the next call, or by
/// [`tidy`](Self::tidy); what was signed is sent again by the next call for the same request; what was bought is kept.
#[derive(Debug)]
pub struct Agent<W, S, K, H = NoHolder> {
    policy: Policy,
    purse: Purse,
    world: W,
    kept: Kept<S>,
    signer: K,
    holder: H,
    memory: Memory,
    keys: Keys,
    /// Calls that were made with tokens and are not counted in the store yet, by host.
    visits: RefCell<BTreeMap<String, u64>>,
    /// Hosts at which a pass is being bought.
    buying: RefCell<BTreeSet<String>>,
    /// What the store has not been told yet.
    owed: RefCell<Vec<Owed>>,
    tidying: Turns,
}

impl<W: World, S: Store, K: Signer> Agent<W, S, K> {
    /// An agent that pays by `policy`, with the accounts of `purse` that `signer` signs for.
    #[must_use]
    pub fn new(policy: Policy, purse: Purse, world: W, store: S, signer: K) -> Self {
        Self {
            policy,
            purse,
            world,
            kept: Kept::new(store),
            signer,
            holder: NoHolder,
            memory: Memory::default(),
            keys: Keys::default(),
            visits: RefCell::default(),
            buying: RefCell::default(),
            owed: RefCell::default(),
            tidying: Turns::default(),
        }
    }

    /// The agent with a key that the tokens it buys are bound to. It keeps tokens from now on.
    #[must_use]
    pub fn with_holder<H: Holder>(self, holder: H) -> Agent<W, S, K, H> {
        let Self { policy, mut purse, world, kept, signer, memory, keys, visits, buying, owed, tidying, .. } = self;
        purse.keeps_tokens = true;
        purse.holder = holder.key().map(|key| key.thumbprint());
        Agent { policy, purse, world, kept, signer, holder, memory, keys, visits, buying, owed, tidying }
    }
}

impl<W: World, S: Store, K: Signer, H: Holder> Agent<W, S, K, H> {
    /// Sends a request: with a token that covers it, or else as it is; and pays for it if it must be paid for and the
    /// policy allows it.
    ///
    /// A payment that was made for the same request before, and never answered, is sent again in place of a new one. A
    /// request that carries a payment or a token is never redirected: its response is given as it came.
    ///
    /// # Errors
    /// [`FetchError`]; a response that refuses the payment is a response.
    pub async fn fetch(&self, wanted: &Wanted) -> Result<Fetched<W::Body>, FetchError> {
        let asked = wanted.request(&wanted.url).map_err(FetchError::Request)?;
        let host = host_key(&asked);
        let (mut waits, mut calls_again) = (0, true);
        loop {
            self.tidy().await?;
            let now = self.world.now();
            let counters = self.kept.read(&self.policy, now).await?;
            if let Some(sent) = self.resume(wanted, &counters, &asked).await? {
                if std::mem::take(&mut calls_again) && sent.token_alone {
                    continue;
                }
                return Ok(sent.fetched);
            }
            let mut picked = self.pick(&counters, &asked, now);
            if picked.is_empty() && self.waits_for_pass(&host, &mut waits).await {
                continue;
            }
            let rate = counters.calls_per_hour(&host, now).saturating_add(self.visits(&host));
            let next_due = self.memory.runs_out(&picked, &host, rate, now);
            let mut response = None;
            if next_due {
                self.memory.asked_for_next(&host, now);
            } else {
                match self.by_token(wanted, &asked, std::mem::take(&mut picked)).await? {
                    ByToken::Served(fetched) => return Ok(*fetched),
                    ByToken::Challenged(challenged) => response = Some(challenged),
                    ByToken::NoToken => {}
                }
            }
            let response = match response {
                Some(response) => response,
                None => self.plain(wanted).await?,
            };
            if response.status != 402 {
                return Ok(Fetched::free(response));
            }
            let (mut request, mut challenge) = self.challenged(wanted, response).await?;
            // A redirect within the origin has led to another request, which may have been paid for before.
            if request.key() != asked.key() && request.stayed() {
                let counters = self.kept.read(&self.policy, self.world.now()).await?;
                if let Some(sent) = self.resume(wanted, &counters, &request).await? {
                    if std::mem::take(&mut calls_again) && sent.token_alone {
                        continue;
                    }
                    return Ok(sent.fetched);
                }
            }
            if next_due && !self.buys_pass(&challenge, &request).await? {
                match self.by_token(wanted, &asked, picked).await? {
                    ByToken::Served(fetched) => return Ok(*fetched),
                    ByToken::Challenged(response) => {
                        (request, challenge) = self.challenged(wanted, response).await?;
                    }
                    ByToken::NoToken => {}
                }
            }
            let buying = if self.buys_pass(&challenge, &request).await? {
                match Buying::begin(&self.buying, &host) {
                    None if self.waits_for_pass(&host, &mut waits).await => continue,
                    buying => buying,
                }
            } else {
                None
            };
            let sent = self.pay(wanted, &request, &challenge).await?;
            drop(buying);
            // What was given again was the token alone, and this call can be made with it.
            if std::mem::take(&mut calls_again) && sent.token_alone {
                continue;
            }
            return Ok(sent.fetched);
        }
    }

    /// Sends a request without any credential.
    async fn plain(&self, wanted: &Wanted) -> Result<Response<W::Body>, FetchError> {
        self.world.send(&wanted.message(&wanted.url, &[])).await.map_err(|NoAnswer| FetchError::NoAnswer)
    }

    /// What a 402 asks for, and of which request.
    async fn challenged(
        &self,
        wanted: &Wanted,
        response: Response<W::Body>,
    ) -> Result<(Request, Challenge), FetchError> {
        let request = wanted.request(&response.url).map_err(FetchError::Request)?;
        let (body, _) = self.world.peek(response.body, challenge::MAX_BODY + 1).await;
        let challenge = Challenge::read(&response.headers, &body).map_err(FetchError::Challenge)?;
        if !self.policy.signed_offer || !self.keys_count(&request.url) {
            return Ok((request, challenge));
        }
        let keys = self.keys(&request.url, keys::FRESH).await;
        Ok((request, challenge.with_keys(keys.unwrap_or_default())))
    }

    /// Whether what would be decided now is to buy a pass.
    async fn buys_pass(&self, challenge: &Challenge, request: &Request) -> Result<bool, FetchError> {
        let offers_pass = challenge.offers().iter().flatten().any(|offer| offer.pass.is_some());
        if !offers_pass || !self.purse.keeps_tokens {
            return Ok(false);
        }
        let now = self.world.now();
        let mut counters = self.kept.read(&self.policy, now).await?;
        self.count_visits(&mut counters, now);
        let decision = decide::decide(&self.policy, challenge, request, &self.purse, &counters, now);
        let chosen = decision.choice().and_then(|choice| challenge.offer(choice.offer));
        Ok(chosen.is_some_and(|offer| offer.pass.is_some()))
    }

    /// Waits a moment if another call of this process is buying a pass at `host`, for which this one may then be made.
    async fn waits_for_pass(&self, host: &str, waits: &mut usize) -> bool {
        if *waits >= MAX_WAITS || !self.buying.borrow().contains(host) {
            return false;
        }
        *waits += 1;
        self.world.sleep(WAIT_MILLIS).await;
        true
    }

    /// Sends the payment of an earlier attempt at the same request again, if nobody knows what became of it.
    async fn resume(
        &self,
        wanted: &Wanted,
        counters: &Counters,
        request: &Request,
    ) -> Result<Option<paying::Sent<W::Body>>, FetchError> {
        let now = self.world.now();
        let Some(found) = counters.clone().resume(&self.policy, request, now) else { return Ok(None) };
        let debt = Debt::of_call(&self.owed, &found.id);
        let resume = |counters: &mut Counters| counters.resume(&self.policy, request, now);
        let resumed = self.kept.change(&self.policy, now, resume).await?;
        debt.settle();
        let Some(resumed) = resumed else { return Ok(None) };
        let (id, reservation) = (resumed.id, resumed.reservation);
        self.world.event(&Event::Resumed { id: &id, reservation: &reservation });
        self.send_paid(wanted, request, id, reservation, Explanation::default(), true).await.map(Some)
    }

    /// Calls to `host` that are not counted in the store yet.
    fn visits(&self, host: &str) -> u64 {
        self.visits.borrow().get(host).copied().unwrap_or(0)
    }

    /// Counts what is not counted in the store yet.
    fn count_visits(&self, counters: &mut Counters, now: u64) {
        for (host, calls) in &*self.visits.borrow() {
            counters.visit(host, *calls, now);
        }
    }

    /// Sixteen random bytes.
    fn random(&self) -> Result<[u8; 16], FetchError> {
        let mut bytes = [0; 16];
        self.world.random(&mut bytes).map_err(|HostError| FetchError::Random)?;
        Ok(bytes)
    }
}

/// A pass that is being bought; it is no longer when this is dropped.
struct Buying<'a> {
    hosts: &'a RefCell<BTreeSet<String>>,
    host: String,
}

impl<'a> Buying<'a> {
    /// `None` if another call does already.
    fn begin(hosts: &'a RefCell<BTreeSet<String>>, host: &str) -> Option<Self> {
        hosts.borrow_mut().insert(host.to_owned()).then(|| Self { hosts, host: host.to_owned() })
    }
}

impl Drop for Buying<'_> {
    fn drop(&mut self) {
        self.hosts.borrow_mut().remove(&self.host);
    }
}
