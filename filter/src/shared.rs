//! [`SharedData`] over the host's shared key-value store, in a way that every host's dialect understands.
//!
//! Create-if-absent is where dialects differ. Envoy creates a missing key for any version and overwrites an existing
//! one for version 0 ("whatever is there"); nginx creates a missing key for version 0 only, and then only if it is
//! missing. A version nobody has tells them apart: it creates on Envoy, and mismatches on nginx, where, if the key is
//! still missing, version 0 is safe.

use crate::abi::{Proxy, Status};
use farebox_core::ledger::local::{Expected, LocalStore, SharedData, SharedError};

/// The ledger of a VM.
pub(crate) type Ledger<P> = LocalStore<Shared<P>>;

/// A version no key has: hosts count up from 1.
const NOBODYS: u32 = u32::MAX;

/// The host's shared data.
#[derive(Clone)]
pub(crate) struct Shared<P>(pub(crate) P);

impl<P: Proxy> SharedData for Shared<P> {
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError> {
        match self.0.shared(key) {
            Ok((value, 0)) if value.is_empty() => Ok(None),
            Ok(found) => Ok(Some(found)),
            Err(Status::NotFound) => Ok(None),
            Err(_) => Err(SharedError::Failed),
        }
    }

    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError> {
        match expected {
            // 0 would mean "whatever is there". No host gives it to a key that exists.
            Expected::Version(0) => Err(SharedError::Failed),
            Expected::Version(version) => self.0.set_shared(key, value, version).map_err(reason),
            Expected::Absent => match self.0.set_shared(key, value, NOBODYS) {
                Err(Status::CasMismatch) if self.get(key)?.is_none() => {
                    self.0.set_shared(key, value, 0).map_err(reason)
                }
                other => other.map_err(reason),
            },
        }
    }
}

fn reason(status: Status) -> SharedError {
    match status {
        Status::CasMismatch => SharedError::Mismatch,
        _ => SharedError::Failed,
    }
}
