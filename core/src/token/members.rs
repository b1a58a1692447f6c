//! Reading objects of our own format: every member is known, or the object is refused.

use super::TokenError;
use serde_json::{Map, Value};

/// The members of an object that are still to be read.
pub(super) struct Members<'a> {
    object: &'a Map<String, Value>,
    read: usize,
}

impl<'a> Members<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, read: 0 }
    }

    pub(super) fn of(value: &'a Value, what: &'static str) -> Result<Self, TokenError> {
        value.as_object().map(Self::new).ok_or(TokenError::Malformed(what))
    }

    /// The member `name`. It must not be asked for twice.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Value> {
        let value = self.object.get(name);
        self.read += usize::from(value.is_some());
        value
    }

    /// The member `name`, read by `read`, which says `None` to what it does not understand.
    pub(super) fn maybe<T>(
        &mut self,
        name: &str,
        wrong: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, TokenError> {
        self.take(name).map(|value| read(value).ok_or(TokenError::Malformed(wrong))).transpose()
    }

    /// As [`maybe`](Self::maybe), and the member must be there.
    pub(super) fn must<T>(
        &mut self,
        name: &str,
        wrong: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, TokenError> {
        self.maybe(name, wrong, read)?.ok_or(TokenError::Malformed(wrong))
    }

    /// That nothing is left.
    pub(super) fn end(self, what: &'static str) -> Result<(), TokenError> {
        if self.read == self.object.len() { Ok(()) } else { Err(TokenError::Malformed(what)) }
    }
}

/// A list of 1 to `most` texts that `good` accepts.
pub(super) fn texts(value: &Value, most: usize, good: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let items = value.as_array()?;
    if items.is_empty() || items.len() > most {
        return None;
    }
    items.iter().map(|item| item.as_str().filter(|text| good(text)).map(str::to_owned)).collect()
}

/// Seconds, exact for every reader of JSON.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().filter(|seconds| *seconds < 1 << 53)
}
