//! From bytes to the policy's types: everything that is wrong with the structure.

use super::config::Config;
use super::mistake::Mistakes;

pub(super) fn read(_json: &[u8]) -> Result<Config, Mistakes> {
    Err(Mistakes::one("", "unread", "being written"))
}
