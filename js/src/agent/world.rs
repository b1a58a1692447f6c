//! [`World`], [`Store`], [`Signer`] and [`Holder`] over JavaScript. Which call they work for is told by the task that is polled.

use super::call;
use crate::executor;
use crate::lines;
use crate::random::random;
use farebox_core::agent::pay::{Draft, NotSigned, SessionKey, Signer};
use farebox_core::agent::policy::Policy;
use farebox_core::agent::{Blob, Event, Holder, Message, NoAnswer, Response, Store, StoreFailed, World, tell};
use farebox_core::crypto::keys::{PublicKey, SigningKey};
use farebox_core::host::HostError;
use js_sys::{Array, Date, Function, Uint8Array};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};

/// Clock, randomness and `fetch`.
#[derive(Clone)]
pub(super) struct Outside {
    /// Gives milliseconds since 1970; `Date.now` if absent.
    pub(super) clock: Option<Function>,
    /// Whether anybody hears of events.
    pub(super) hears: bool,
    /// The policy, by whose units amounts are told.
    pub(super) policy: Rc<RefCell<Policy>>,
}

impl World for Outside {
    /// A `Response` of JavaScript.
    type Body = JsValue;

    fn now(&self) -> u64 {
        let told = self.clock.as_ref().and_then(|clock| clock.call0(&JsValue::UNDEFINED).ok()?.as_f64());
        let millis = if self.clock.is_some() { told.unwrap_or(f64::MAX) } else { Date::now() };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates; a clock that fails is far ahead
        let seconds = (millis / 1000.0) as u64;
        seconds
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        random(out)
    }

    async fn sleep(&self, millis: u64) {
        let Some(call) = call::current() else { return };
        let (id, promise) = executor::promise();
        #[allow(clippy::cast_precision_loss)]
        call.sleep(id, millis as f64);
        let _ = promise.await;
    }

    async fn send(&self, message: &Message<'_>) -> Result<Response<JsValue>, NoAnswer> {
        let call = call::current().ok_or(NoAnswer)?;
        if !message.credential.is_empty() {
            if call::withdrawn().is_some() {
                return std::future::pending().await; // `call::unless_withdrawn` ends it here
            }
            call::leaves();
        }
        let (id, promise) = executor::promise();
        let fields = message.headers.iter().chain(message.credential);
        let headers = fields.flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        call.send(id, message.method, message.url, headers, !message.credential.is_empty());
        let answer = promise.await.map_err(|_| NoAnswer)?;
        let answer: Array = answer.dyn_into().map_err(|_| NoAnswer)?;
        let headers = lines::headers(&answer.get(0).as_string().ok_or(NoAnswer)?);
        let status = headers.text(":status").and_then(|status| status.parse().ok()).ok_or(NoAnswer)?;
        let url = headers.text(":url").filter(|url| !url.is_empty()).unwrap_or(message.url).to_owned();
        Ok(Response { status, headers, url, body: answer.get(1) })
    }

    async fn peek(&self, body: JsValue, limit: usize) -> (Vec<u8>, JsValue) {
        let Some(call) = call::current() else { return (Vec::new(), body) };
        let (id, promise) = executor::promise();
        #[allow(clippy::cast_precision_loss)]
        call.peek(id, &body, limit as f64);
        let Ok(answer) = promise.await.and_then(JsCast::dyn_into::<Array>) else { return (Vec::new(), body) };
        let bytes = answer.get(0).dyn_into::<Uint8Array>().map(|bytes| bytes.to_vec()).unwrap_or_default();
        (bytes, answer.get(1))
    }

    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Signed { id, .. } => call::written(id),
            Event::Sent { .. } if call::withdrawn().is_some() => return,
            _ => {}
        }
        if self.hears
            && let Some(call) = call::current()
        {
            let told = tell::event(&self.policy.borrow(), event);
            call.event(&told.to_string());
        }
    }
}

/// The store of the call.
#[derive(Clone, Default)]
pub(super) struct Blobs {
    /// Whether a call cannot go on while another one runs.
    pub(super) apart: Rc<Cell<bool>>,
}

impl Store for Blobs {
    type Version = String;

    async fn load(&self) -> Result<Option<Blob<String>>, StoreFailed> {
        let call = call::current().ok_or(StoreFailed)?;
        let (id, promise) = executor::promise();
        call.load(id);
        let answer = promise.await.map_err(|_| StoreFailed)?;
        if answer.is_undefined() {
            return Ok(None);
        }
        let answer: Array = answer.dyn_into().map_err(|_| StoreFailed)?;
        let bytes = answer.get(0).dyn_into::<Uint8Array>().map_err(|_| StoreFailed)?.to_vec();
        Ok(Some(Blob { bytes, version: answer.get(1).as_string().ok_or(StoreFailed)? }))
    }

    async fn swap(&self, expected: Option<String>, bytes: Vec<u8>) -> Result<bool, StoreFailed> {
        let call = call::current().ok_or(StoreFailed)?;
        let (id, promise) = executor::promise();
        call.swap(id, expected, bytes);
        promise.await.ok().and_then(|written| written.as_bool()).ok_or(StoreFailed)
    }

    fn takes_turns(&self) -> bool {
        !self.apart.get()
    }
}

/// Who signs, and by which clock.
#[derive(Clone)]
pub(super) struct Hand {
    pub(super) key: Key,
    pub(super) outside: Outside,
}

/// Whose key signs.
#[derive(Clone)]
pub(super) enum Key {
    /// One that lives here, and whether the agent is closed: then it signs no more.
    Here(Rc<SessionKey>, Rc<Cell<bool>>),
    /// That of the call's wallet.
    Wallet,
}

impl Signer for Hand {
    async fn sign(&self, draft: &Draft) -> Result<Vec<u8>, NotSigned> {
        // Nobody waits for what it would pay for.
        if call::current().is_some_and(|call| call.gone()) {
            return Err(NotSigned::Declined);
        }
        let signature = self.key.sign(draft).await?;
        call::signed(self.outside.now());
        Ok(signature)
    }
}

impl Key {
    async fn sign(&self, draft: &Draft) -> Result<Vec<u8>, NotSigned> {
        if let Self::Here(key, closed) = self {
            return if closed.get() { Err(NotSigned::Failed) } else { key.sign(draft).await };
        }
        let call = call::current().ok_or(NotSigned::Failed)?;
        let (id, promise) = executor::promise();
        let typed_data = draft.typed_data().to_string();
        call.sign(id, &super::address(&draft.payer()), &typed_data, &super::hex(&draft.digest()));
        match promise.await {
            Ok(signature) => Ok(signature.dyn_into::<Uint8Array>().map_err(|_| NotSigned::Failed)?.to_vec()),
            Err(why) if why.as_string().as_deref() == Some("declined") => Err(NotSigned::Declined),
            Err(_) => Err(NotSigned::Failed),
        }
    }
}

/// Who holds the key of tokens.
#[derive(Clone)]
pub(super) enum Ring {
    /// Nobody.
    Nobody,
    /// A key that lives here.
    Key(Rc<SigningKey>),
    /// Whoever the call asks.
    Outside(PublicKey),
}

impl Holder for Ring {
    fn key(&self) -> Option<PublicKey> {
        match self {
            Self::Nobody => None,
            Self::Key(key) => Some(key.public()),
            Self::Outside(key) => Some(*key),
        }
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], NotSigned> {
        match self {
            Self::Nobody => return Err(NotSigned::Failed),
            Self::Key(key) => return Ok(key.sign(message)),
            Self::Outside(_) => {}
        }
        let call = call::current().ok_or(NotSigned::Failed)?;
        let (id, promise) = executor::promise();
        call.prove(id, message.to_vec());
        let signature = promise.await.map_err(|_| NotSigned::Failed)?;
        let signature = signature.dyn_into::<Uint8Array>().map_err(|_| NotSigned::Failed)?.to_vec();
        signature.try_into().map_err(|_| NotSigned::Failed)
    }
}
