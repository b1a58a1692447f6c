//! The keys that a seller's own origin serves, by which its receipts, signed offers and tokens are judged.

use super::super::holder::Holder;
use super::super::pay::Signer;
use super::super::receipt;
use super::super::request::Url;
use super::super::store::Store;
use super::{Agent, Message, World};
use crate::crypto::keys::PublicKey;
use crate::json;
use crate::token::KeySet;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Where a gate serves its keys.
const PATH: &str = "/.well-known/jwks.json";
/// Bytes of a key set, and keys of one that are looked at.
const MAX_BYTES: usize = 64 * 1024;
const MAX_KEYS: usize = 16;
/// Milliseconds in which it must come.
const PATIENCE: u64 = 5000;
/// Seconds for which a key set is taken as it was, and for which a seller that has none is not asked again.
pub(super) const FRESH: u64 = 300;
/// As [`FRESH`], where something is signed by a key that is not in the set: a seller may have begun to sign with it.
pub(super) const STALE: u64 = 10;
/// Origins whose keys are remembered.
const MAX_ORIGINS: usize = 64;

/// Keys by origin, each with the Unix second at which they came.
#[derive(Debug, Default)]
pub(super) struct Keys(RefCell<BTreeMap<String, (u64, KeySet)>>);

impl<W: World, S: Store, K: Signer, H: Holder> Agent<W, S, K, H> {
    /// Whether the keys that the origin of `url` serves count.
    pub(super) fn keys_count(&self, url: &Url) -> bool {
        receipt::needs_keys(&self.policy, url)
    }

    /// The keys that the origin of `url` serves, no older than so many seconds; none if it serves none. `None` if it does
    /// not answer in time: that says nothing of its keys, and the next call asks again.
    pub(super) async fn keys(&self, url: &Url, seconds: u64) -> Option<KeySet> {
        let origin = url.origin();
        let now = self.world.now();
        if let Some((at, keys)) = self.keys.0.borrow().get(origin)
            && at.saturating_add(seconds) > now
        {
            return Some(keys.clone());
        }
        let fetched = within(self.fetch_keys(origin), self.world.sleep(PATIENCE)).await;
        let keys = fetched.flatten()?;
        let mut known = self.keys.0.borrow_mut();
        if known.len() >= MAX_ORIGINS && !known.contains_key(origin) {
            let oldest = known.iter().min_by_key(|(_, (at, _))| *at).map(|(origin, _)| origin.clone());
            oldest.and_then(|origin| known.remove(&origin));
        }
        known.insert(origin.to_owned(), (now, keys.clone()));
        Some(keys)
    }

    /// The keys that `origin` serves, which may be none; `None` if there is no answer.
    async fn fetch_keys(&self, origin: &str) -> Option<KeySet> {
        let url = format!("{origin}{PATH}");
        let message = Message { method: "GET", url: &url, headers: &[], body: &[], credential: &[] };
        let response = self.world.send(&message).await.ok()?;
        // From nowhere else: whoever serves the keys decides what is genuine.
        let stayed = Url::parse(&response.url).is_ok_and(|found| found.text() == url);
        match response.status {
            200 if stayed => {}
            429 | 500..=599 => return None,
            _ => return Some(KeySet::default()),
        }
        let (body, _) = self.world.peek(response.body, MAX_BYTES + 1).await;
        Some(read(&body).unwrap_or_default())
    }
}

/// The keys of a JWK set that can be used here.
pub(in crate::agent) fn read(body: &[u8]) -> Option<KeySet> {
    let json = json::parse(body, MAX_BYTES, 8).ok()?;
    let keys = json.get("keys").and_then(Value::as_array)?;
    Some(KeySet::new(keys.iter().take(MAX_KEYS).filter_map(PublicKey::from_jwk)))
}

/// What `work` gives, if it does before `limit` ends. `limit` is not begun where `work` is ready at once.
async fn within<T>(work: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    let (mut work, mut limit) = (pin!(work), pin!(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}
