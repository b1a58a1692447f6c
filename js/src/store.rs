//! The ledger: in this process, or at places that messages go to.

use crate::executor;
use crate::random::random;
use crate::side::Scope;
use farebox_core::ledger::StoreError;
use farebox_core::ledger::local::{Ceilings, Expected, LocalStore, SEED_BYTES, SharedData, SharedError};
use farebox_core::ledger::remote::{Transport, serve};
use js_sys::Uint8Array;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use wasm_bindgen::JsCast;

/// Where messages of the ledger go.
#[derive(Clone)]
pub(crate) enum Line {
    /// A store in this process.
    Here(LocalStore<Memory>),
    /// Places that TypeScript reaches.
    There(Scope, u32),
}

impl Transport for Line {
    fn places(&self) -> u32 {
        match self {
            Self::Here(_) => 1,
            Self::There(_, places) => *places,
        }
    }

    async fn send(&self, place: u32, message: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Here(store) => Ok(serve(store, &message).await),
            Self::There(scope, _) => {
                let (id, promise) = executor::promise();
                scope.side().store(id, place, message);
                let answer = promise.await.map_err(|_| StoreError::Failed)?;
                Ok(answer.dyn_into::<Uint8Array>().map_err(|_| StoreError::Failed)?.to_vec())
            }
        }
    }
}

/// Shared data of this process, which ends with it.
#[derive(Clone, Default)]
pub(crate) struct Memory(Rc<RefCell<HashMap<String, Versioned>>>);

/// A value and its version.
type Versioned = (Vec<u8>, u32);

impl Memory {
    /// A store in this process.
    pub(crate) fn store(ceilings: Ceilings) -> Result<LocalStore<Self>, StoreError> {
        let mut seed = [0; SEED_BYTES];
        random(&mut seed).map_err(|_| StoreError::Failed)?;
        LocalStore::open(Self::default(), ceilings, &seed)
    }
}

impl SharedData for Memory {
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError> {
        Ok(self.0.borrow().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError> {
        let mut map = self.0.borrow_mut();
        let version = map.get(key).map(|(_, version)| *version);
        match (expected, version) {
            (Expected::Absent, None) => {}
            (Expected::Version(wanted), Some(found)) if wanted == found => {}
            _ => return Err(SharedError::Mismatch),
        }
        map.insert(key.to_owned(), (value.to_vec(), version.unwrap_or(0).wrapping_add(1)));
        Ok(())
    }
}
