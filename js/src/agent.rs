//! The agent as TypeScript calls it.

mod call;
mod read;
mod told;
mod world;

use call::{Call, Withdrawn};
use farebox_core::agent::pay::SessionKey;
use farebox_core::agent::policy::Policy;
use farebox_core::agent::purse::{Account, Purse};
use farebox_core::agent::{Agent as Core, Event, World, facade, tell};
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use world::{Blobs, Hand, Key, Outside, Ring};
use zeroize::Zeroizing;

/// Seconds after its signature within which nobody else sends a payment: the counters leave it to its call for half of the time
/// that it is good for, and what is good for less than twice this is sent by nobody else.
const OURS: u64 = 5;

type Buyer = Core<Outside, Blobs, Hand, Ring>;

/// The buyer side: a policy and the accounts of a wallet.
#[wasm_bindgen]
pub struct Agent {
    core: RefCell<Rc<Buyer>>,
    purse: Purse,
    outside: Outside,
    hand: Hand,
    ring: Ring,
    blobs: Blobs,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Key::Here(_, closed) = &self.hand.key {
            closed.set(true);
        }
    }
}

#[wasm_bindgen]
impl Agent {
    /// Reads a policy and the accounts of a wallet (JSON, as [`facade::Engine::new`] takes them).
    /// `secret` is the key of an account that lives here, `holder` the public key of tokens (a JWK), or `holder_secret` an
    /// Ed25519 key of tokens that lives here; `clock` gives milliseconds since 1970; `hears` says whether
    /// anybody hears of events.
    ///
    /// # Errors
    /// An array of the policy's mistakes: path, what was found, what is allowed, by turns; or a text on something else.
    #[wasm_bindgen(constructor)]
    pub fn new(
        policy: &str,
        accounts: &str,
        secret: Option<Vec<u8>>,
        holder: Option<String>,
        holder_secret: Option<Vec<u8>>,
        clock: Option<js_sys::Function>,
        hears: bool,
    ) -> Result<Agent, JsValue> {
        #[cfg(feature = "mutants")]
        js_sys::Reflect::get(&js_sys::global(), &JsValue::from_str("FAREBOX_MUTANT"))
            .ok()
            .and_then(|mutant| mutant.as_string())
            .into_iter()
            .for_each(farebox_core::mutant::choose);
        let (secret, holder_secret) = (secret.map(Zeroizing::new), holder_secret.map(Zeroizing::new));
        let policy = load(policy)?;
        let mut purse = facade::purse(accounts).map_err(|why| JsValue::from_str(&why))?;
        let mut signs = Key::Wallet;
        if let Some(secret) = secret {
            let key = session_key(&secret)?;
            let address = key.address();
            if !purse.accounts.iter().any(|account| account.address == address) {
                purse.accounts.push(Account::of_key(address));
            }
            signs = Key::Here(Rc::new(key), Rc::default());
        }
        let ring = match (holder, holder_secret) {
            (_, Some(secret)) => Ring::Key(Rc::new(holder_key(&secret)?)),
            (Some(jwk), None) => Ring::Outside(read::jwk(&jwk).map_err(|why| JsValue::from_str(&why))?),
            (None, None) => Ring::Nobody,
        };
        let outside = Outside { clock, hears, policy: Rc::new(RefCell::new(policy.clone())) };
        let hand = Hand { key: signs, outside: outside.clone() };
        let blobs = Blobs::default();
        let core = Core::new(policy, purse.clone(), outside.clone(), blobs.clone(), hand.clone());
        let core = core.with_holder(ring.clone());
        Ok(Self { core: RefCell::new(Rc::new(core)), purse, outside, hand, ring, blobs })
    }

    /// Says that a call cannot go on while another one runs: they do not wait for one another then.
    pub fn stand_apart(&self) {
        self.blobs.apart.set(true);
    }

    /// Addresses of the accounts, preferred one first.
    pub fn accounts(&self) -> Vec<String> {
        self.purse.accounts.iter().map(|account| address(&account.address)).collect()
    }

    /// Sends a request, and pays for it if it must be paid for and the policy allows it. `wanted` is JSON; `call` hears of
    /// everything else.
    pub fn fetch(&self, call: Call, wanted: &str, body: Vec<u8>) {
        let core = Rc::clone(&self.core.borrow());
        let outside = self.outside.clone();
        let wanted = read::wanted(wanted, body);
        call::begin(call, async move {
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(why) => return (told::error("request_unreadable", why).to_string(), None),
            };
            let fetched = match call::unless_withdrawn(core.fetch(&wanted)).await {
                Ok(fetched) => fetched,
                Err(payment) => {
                    take_back(&core, &outside, &payment).await;
                    return (told::error("aborted", "nobody waited for it any more").to_string(), None);
                }
            };
            match fetched {
                Ok(fetched) => (tell::fetched(core.policy(), &fetched).to_string(), Some(fetched.response.body)),
                Err(why) => (told::failed(core.policy(), &why).to_string(), None),
            }
        });
    }

    /// What would be done about a request.
    pub fn quote(&self, call: Call, wanted: &str, body: Vec<u8>) {
        let wanted = read::wanted(wanted, body);
        self.work(call, move |core| async move {
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(why) => return told::error("request_unreadable", why),
            };
            match core.quote(&wanted).await {
                Ok(plan) => tell::plan(core.policy(), &plan),
                Err(why) => told::failed(core.policy(), &why),
            }
        });
    }

    /// Writes the first counters.
    pub fn begin(&self, call: Call) {
        self.work(call, |core| async move {
            core.begin().await.map_or_else(|why| told::store(&why), |begun| json!({ "begun": begun }))
        });
    }

    /// What is left, open, asked and kept.
    pub fn status(&self, call: Call) {
        let now = self.outside.now();
        self.work(call, move |core| async move {
            let (counters, tokens) = match (core.counters().await, core.tokens().await) {
                (Ok(counters), Ok(tokens)) => (counters, tokens),
                (Err(why), _) | (_, Err(why)) => return told::store(&why),
            };
            let mut status = tell::status(core.policy(), &counters, now);
            if let Some(members) = status.as_object_mut() {
                members.insert("tokens".to_owned(), tokens.iter().map(tell::token).collect());
            }
            status
        });
    }

    /// An answer to a question: its digest (the program's own yes) or a signed approval.
    pub fn approve(&self, call: Call, answer: String) {
        self.work(call, move |core| async move {
            let signed = answer.contains('.');
            let approved = if signed { core.approve(&answer).await } else { core.approve_by_host(&answer).await };
            match approved {
                Ok(Ok(approved)) => json!({ "approved": tell::approved(approved) }),
                Ok(Err(bad)) => told::bad_approval(&bad),
                Err(why) => told::store(&why),
            }
        });
    }

    /// The no of whoever was asked.
    pub fn reject(&self, call: Call, digest: String) {
        self.work(call, move |core| async move {
            core.reject(&digest).await.map_or_else(|why| told::store(&why), |()| json!({}))
        });
    }

    /// Puts another policy in force for everyone who shares the store. If the reply is no error it is, and the agent goes
    /// on with it once [`take_over`](Self::take_over) is called.
    ///
    /// # Errors
    /// As [`new`](Self::new), of the policy.
    pub fn adopt(&self, call: Call, policy: &str, loosen: bool) -> Result<(), JsValue> {
        let new = load(policy)?;
        let mut core = self.another(self.core.borrow().policy().clone());
        call::begin(call, async move {
            let reply = match core.adopt(new, loosen).await {
                Ok(adopted) => told::adopted(&adopted),
                Err(why) => told::failed(core.policy(), &why),
            };
            (reply.to_string(), None)
        });
        Ok(())
    }

    /// Goes on with a policy that is in force.
    ///
    /// # Errors
    /// As [`new`](Self::new), of the policy.
    pub fn take_over(&self, policy: &str) -> Result<(), JsValue> {
        let policy = load(policy)?;
        self.outside.policy.replace(policy.clone());
        let old = self.core.replace(Rc::new(self.another(policy)));
        drop(old);
        Ok(())
    }

    /// Opens what the breaker has stopped: a host, or everything.
    pub fn unfreeze(&self, call: Call, host: Option<String>) {
        self.work(call, move |core| async move {
            match core.unfreeze(host.as_deref()).await {
                Ok(None) => json!({}),
                Ok(Some(question)) => told::asks(&question),
                Err(why) => told::failed(core.policy(), &why),
            }
        });
    }

    /// What the chain says of a payment: atomic units that were taken; none if it was not used and cannot be any more.
    pub fn evidence(&self, call: Call, id: String, taken: Option<String>) {
        self.work(call, move |core| async move {
            let Ok(taken) = taken.map(|taken| taken.parse::<u128>()).transpose() else {
                return told::error("bad_amount", "not an amount of atomic units");
            };
            match core.evidence(&id, taken).await {
                Ok(Ok(())) => json!({}),
                Ok(Err(why)) => told::error("not_held", why),
                Err(why) => told::store(&why),
            }
        });
    }

    /// Says that whoever held these reservations has ended.
    pub fn abandon(&self, call: Call, ids: Vec<String>) {
        self.work(call, move |core| async move {
            core.abandon(&ids).await.map_or_else(|why| told::store(&why), |()| json!({}))
        });
    }

    /// Keeps a token that was given by somebody else.
    pub fn keep_token(&self, call: Call, token: String) {
        self.work(call, move |core| async move {
            match core.keep_token(&token).await {
                Ok(Ok(info)) => json!({ "token": tell::token(&info) }),
                Ok(Err(why)) => told::error("bad_token", why),
                Err(why) => told::store(&why),
            }
        });
    }

    /// Drops a token.
    pub fn drop_token(&self, call: Call, id: String) {
        self.work(call, move |core| async move {
            core.drop_token(&id).await.map_or_else(|why| told::store(&why), |dropped| json!({ "dropped": dropped }))
        });
    }

    /// Makes a narrower token for a sub-agent, offline. `delegation` is JSON.
    pub fn delegate(&self, call: Call, delegation: &str) {
        let delegation = read::delegation(delegation);
        self.work(call, move |core| async move {
            let delegation = match delegation {
                Ok(delegation) => delegation,
                Err(why) => return told::error("bad_delegation", why),
            };
            match core.delegate(&delegation).await {
                Ok((text, info)) => json!({ "text": text, "token": tell::token(&info) }),
                Err(why) => told::error(why.wire(), why),
            }
        });
    }

    /// The same agent under another policy.
    fn another(&self, policy: Policy) -> Buyer {
        Core::new(policy, self.purse.clone(), self.outside.clone(), self.blobs.clone(), self.hand.clone())
            .with_holder(self.ring.clone())
    }

    fn work<F: Future<Output = Value> + 'static>(&self, call: Call, task: impl FnOnce(Rc<Buyer>) -> F + 'static) {
        let work = task(Rc::clone(&self.core.borrow()));
        call::begin(call, async move { (work.await.to_string(), None) });
    }
}

/// Gives back what was reserved for a payment that never left and is forgotten here. This is so only as long as no other
/// process can have found it in the store and sent it: later it stays what it is there.
async fn take_back(core: &Buyer, outside: &Outside, payment: &Withdrawn) {
    let late = || outside.now() >= payment.signed_at.saturating_add(OURS);
    let freed = call::unless_late(core.evidence(&payment.id, None), late).await;
    if matches!(freed, Some(Ok(Ok(())))) {
        outside.event(&Event::GivenUp { id: &payment.id, why: "abandoned" });
    }
}

/// Makes a policy's rules of a grant of another format: see [`facade::import`].
///
/// # Errors
/// JSON: `{error: {code, detail}}`.
#[wasm_bindgen]
pub fn import_policy(kind: &str, grant: &str, frame: &str) -> Result<String, JsValue> {
    facade::import(kind, grant, frame).map_err(|error| JsValue::from_str(&error))
}

/// Reads a policy, and tells what is in it (JSON).
///
/// # Errors
/// As [`Agent::new`].
#[wasm_bindgen]
pub fn read_policy(policy: &str) -> Result<String, JsValue> {
    Ok(tell::policy(&load(policy)?).to_string())
}

/// The address of a secp256k1 key of 32 bytes.
///
/// # Errors
/// A text, if it is none.
#[wasm_bindgen]
pub fn address_of(secret: Vec<u8>) -> Result<String, JsValue> {
    let secret = Zeroizing::new(secret);
    session_key(&secret).map(|key| address(&key.address()))
}

/// The public key (a JWK) of an Ed25519 key of 32 bytes.
///
/// # Errors
/// A text, if it is none.
#[wasm_bindgen]
pub fn holder_of(secret: Vec<u8>) -> Result<String, JsValue> {
    let secret = Zeroizing::new(secret);
    holder_key(&secret).map(|key| key.public().to_jwk().to_string())
}

fn session_key(secret: &[u8]) -> Result<SessionKey, JsValue> {
    let key = fixed(secret).and_then(|bytes| SessionKey::new(&bytes));
    key.ok_or_else(|| JsValue::from_str("the secret is not 32 bytes of a secp256k1 key"))
}

fn holder_key(secret: &[u8]) -> Result<SigningKey, JsValue> {
    let key = fixed(secret).and_then(|bytes| SigningKey::from_secret(Algorithm::EdDsa, &bytes));
    key.ok_or_else(|| JsValue::from_str("the holder's secret is not 32 bytes"))
}

fn fixed(secret: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    secret.try_into().ok().map(Zeroizing::new)
}

fn load(policy: &str) -> Result<Policy, JsValue> {
    Policy::load(policy.as_bytes()).map_err(|mistakes| {
        let words = mistakes.0.into_iter().flat_map(|mistake| [mistake.path, mistake.found, mistake.hint]);
        JsValue::from(words.map(JsValue::from).collect::<js_sys::Array>())
    })
}

/// An address with its checksum.
fn address(bytes: &[u8; 20]) -> String {
    farebox_core::agent::money::checksummed(bytes)
}

/// `0x` and hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    farebox_core::crypto::hex::encode(bytes)
}
