//! Capability tokens at the gate.
//!
//! | question | module |
//! |---|---|
//! | may this request go, on the token that it shows | `present` |
//! | what does a call draw, and what is left | `drawn` |
//! | which token is given for a payment | `issue` |
//! | what anybody may read: keys, metadata | `documents` |
//! | what holders and administrators may ask | `inquiry` |

pub(super) mod documents;
pub(super) mod drawn;
pub(super) mod inquiry;
pub(super) mod issue;
mod present;

use crate::host::{Host, HostError};
use crate::ledger::{Revoked, Store, StoreError};
use crate::policy::Tokens;
use crate::token::{Cache, Chain, Issuer, TokenError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a worker remembers of tokens between exchanges.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Made at first use, with a key of the host's randomness.
    cache: RefCell<Option<Cache>>,
    /// Revocations of policy and ledger together, and the ledger's epoch that they are of.
    revoked: RefCell<Revoked>,
    revoked_at: Cell<Option<u64>>,
}

impl Desk {
    /// The chain that was read from this very credential before.
    fn known(&self, credential: &str) -> Option<Rc<Chain>> {
        self.cache.borrow_mut().as_mut()?.get(credential, 0)
    }

    /// Verifies a credential, and remembers it if it is good.
    fn verify<H: Host>(&self, host: &H, tokens: &Tokens, credential: &str, skew: u64) -> Result<Rc<Chain>, TokenError> {
        let issuer = Issuer { iss: &tokens.issuer, keys: &tokens.keys };
        let chain = Rc::new(Chain::verify(credential, &issuer, host.now(), skew)?);
        if let Ok(cache) = self.cache(host, tokens.cache_bytes) {
            cache.borrow_mut().iter_mut().for_each(|cache| cache.put(credential, 0, Rc::clone(&chain)));
        }
        Ok(chain)
    }

    fn cache<H: Host>(&self, host: &H, bytes: usize) -> Result<&RefCell<Option<Cache>>, HostError> {
        if self.cache.borrow().is_none() {
            let mut key = [0; 16];
            host.random(&mut key)?;
            *self.cache.borrow_mut() = Some(Cache::new(key, bytes));
        }
        Ok(&self.cache)
    }

    /// Whether a link of `chain` was revoked. Asks the ledger for one number; only if that has changed, for the list.
    async fn is_revoked<H: Host>(&self, host: &H, tokens: &Tokens, chain: &Chain) -> Result<bool, StoreError> {
        let epoch = host.store().revocation_epoch().await?;
        if self.revoked_at.get() != Some(epoch) {
            let revocations = host.store().revocations().await?;
            *self.revoked.borrow_mut() = Revoked::new(tokens.revoked.iter().chain(&revocations.list));
            self.revoked_at.set(Some(revocations.epoch));
        }
        let revoked = self.revoked.borrow();
        Ok(chain.links().any(|link| revoked.refuses(&link.facts)))
    }
}
