//! Shared data in memory, for tests: the same algorithms as on a proxy, without one.

use super::{Expected, SharedData, SharedError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared data of one process, in memory. Clones share, from any thread.
#[derive(Clone, Default)]
pub struct MemoryData(Arc<Mutex<HashMap<String, Versioned>>>);

/// A value and its version.
type Versioned = (Vec<u8>, u32);

impl MemoryData {
    /// Bytes of the longest value.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.map().values().map(|(value, _)| value.len()).max().unwrap_or(0)
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.map().iter().map(|(key, (value, _))| key.len() + value.len()).sum()
    }

    /// Number of keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.map().len()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<String, Versioned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedData for MemoryData {
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError> {
        Ok(self.map().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError> {
        let mut map = self.map();
        match (expected, map.get_mut(key)) {
            (Expected::Absent, None) => {
                map.insert(key.to_owned(), (value.to_vec(), 1));
                Ok(())
            }
            (Expected::Version(wanted), Some((held, version))) if wanted == *version => {
                held.clear();
                held.extend_from_slice(value);
                *version = version.wrapping_add(1);
                Ok(())
            }
            _ => Err(SharedError::Mismatch),
        }
    }
}
