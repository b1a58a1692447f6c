//! From the policy's types to the compiled policy: everything that is wrong with the meaning.

use super::config::Config;
use super::mistake::Mistakes;
use super::Policy;
use crate::host::Capabilities;

pub(super) fn compile(_config: &Config, _env: &dyn Fn(&str) -> Option<String>, _can: Capabilities) -> Result<Policy, Mistakes> {
    Err(Mistakes::one("", "uncompiled", "being written"))
}
