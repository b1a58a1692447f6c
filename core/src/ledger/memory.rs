//! Shared data in memory, for tests: the same algorithms as on a proxy, without one.

use super::local::{Expected, SharedData, SharedError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Shared data of one process, in memory. Clones share.
#[derive(Clone, Default)]
pub struct MemoryData(Rc<RefCell<HashMap<String, Versioned>>>);

/// A value and its version.
type Versioned = (Vec<u8>, u32);

impl MemoryData {
    /// Bytes of the longest value.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.0.borrow().values().map(|(value, _)| value.len()).max().unwrap_or(0)
    }
}

impl SharedData for MemoryData {
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
