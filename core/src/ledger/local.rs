//! The `local` backend: the ledger on a proxy's shared data.

use std::fmt;

/// Shared data as a proxy offers it: keys that are never freed, values replaced by compare-and-swap.
pub trait SharedData: Clone + 'static {
    /// The value of `key` and its version; `None` if it was never set.
    ///
    /// # Errors
    /// If the host failed.
    fn get(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, SharedError>;

    /// Sets `key` if it is still as `expected`.
    ///
    /// # Errors
    /// [`SharedError::Mismatch`] if another worker was first.
    fn set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), SharedError>;
}

/// What a compare-and-swap expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key was never set.
    Absent,
    /// The key has this version.
    Version(u32),
}

/// Why shared data was not read or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedError {
    /// Another worker was first.
    Mismatch,
    /// The host failed.
    Failed,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mismatch => "another worker was first",
            Self::Failed => "shared data failed",
        })
    }
}

impl std::error::Error for SharedError {}
