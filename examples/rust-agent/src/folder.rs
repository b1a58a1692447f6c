//! Counters and tokens in a folder that several processes may share.

use farebox_core::agent::{Blob, Store, StoreFailed};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// A folder. The file in it is written whole or not at all, by one process at a time.
///
/// Keep it where the model that drives the agent cannot write: whoever can write it can fill the budgets again.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> std::io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn read(&self) -> std::io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join("agent.json")) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, expected: Option<&[u8]>, bytes: &[u8]) -> std::io::Result<bool> {
        let lock = File::create(self.0.join("lock"))?;
        lock.lock()?;
        if self.read()?.as_deref() != expected {
            return Ok(false);
        }
        let new = self.0.join("agent.json.new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(new, self.0.join("agent.json"))?;
        File::open(&self.0)?.sync_all()?;
        Ok(true)
    }
}

impl Store for Folder {
    /// The bytes themselves: no two states are the same.
    type Version = Vec<u8>;

    async fn load(&self) -> Result<Option<Blob<Vec<u8>>>, StoreFailed> {
        let bytes = self.read().map_err(|_| StoreFailed)?;
        Ok(bytes.map(|bytes| Blob { version: bytes.clone(), bytes }))
    }

    async fn swap(&self, expected: Option<Vec<u8>>, bytes: Vec<u8>) -> Result<bool, StoreFailed> {
        self.write(expected.as_deref(), &bytes).map_err(|_| StoreFailed)
    }
}
