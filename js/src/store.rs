//! The ledger: in this process, or at places that messages go to.

use crate::executor;
use crate::random::random;
use crate::side::Scope;
use crate::storage::{Kept, Storage};
use farebox_core::ledger::StoreError;
use farebox_core::ledger::local::{Ceilings, LocalStore, SEED_BYTES};
use farebox_core::ledger::remote::{Transport, serve};
use js_sys::Uint8Array;
use wasm_bindgen::JsCast;

/// Where messages of the ledger go.
#[derive(Clone)]
pub(crate) enum Line {
    /// A store in this process.
    Here(LocalStore<Kept>),
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

/// The store in the memory of this process, which other gates may have open too.
pub(crate) fn open(memory: Storage, ceilings: Ceilings) -> Result<LocalStore<Kept>, StoreError> {
    let mut seed = [0; SEED_BYTES];
    random(&mut seed).map_err(|_| StoreError::Failed)?;
    LocalStore::open(Kept(memory), ceilings, &seed)
}
