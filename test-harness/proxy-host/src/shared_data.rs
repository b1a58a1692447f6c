//! Shared data as proxies keep it.

use crate::abi::status;
use crate::profile::Dialect;
use std::collections::HashMap;

/// A shared key-value store. It survives VMs.
#[derive(Debug)]
pub struct SharedData {
    dialect: Dialect,
    values: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    versions: u32,
}

impl SharedData {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, values: HashMap::new(), versions: 0 }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<(Vec<u8>, u32), u32> {
        self.values.get(key).cloned().ok_or(status::NOT_FOUND)
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], version: u32) -> Result<(), u32> {
        let Dialect::Envoy = self.dialect;
        self.versions = match self.versions.wrapping_add(1) {
            0 => 1,
            next => next,
        };
        match self.values.get_mut(key) {
            Some((_, known)) if version != 0 && version != *known => return Err(status::CAS_MISMATCH),
            Some(entry) => {
                entry.0.clear();
                entry.0.extend_from_slice(value);
                entry.1 = self.versions;
            }
            None => {
                self.values.insert(key.to_vec(), (value.to_vec(), self.versions));
            }
        }
        Ok(())
    }

    /// Number of keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.values.len()
    }

    /// Bytes of the longest value.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.values.values().map(|(value, _)| value.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envoy_overwrites_for_no_version_and_creates_for_any() {
        let mut data = SharedData::new(Dialect::Envoy);
        assert_eq!(data.get(b"k"), Err(status::NOT_FOUND));
        assert_eq!(data.set(b"k", b"1", u32::MAX), Ok(()));
        let (_, version) = data.get(b"k").unwrap();
        assert_eq!(data.set(b"k", b"2", u32::MAX), Err(status::CAS_MISMATCH));
        assert_eq!(data.set(b"k", b"2", version), Ok(()));
        assert_eq!(data.set(b"k", b"3", version), Err(status::CAS_MISMATCH));
        assert_eq!(data.set(b"k", b"", 0), Ok(()));
        assert_eq!(data.get(b"k").unwrap().0, b"");
    }
}
