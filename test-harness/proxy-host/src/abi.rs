//! Numbers and forms of the proxy-wasm ABI 0.2.1, from the host's side.

use crate::message::Headers;

/// Statuses that host calls return.
pub mod status {
    /// It was done.
    pub const OK: u32 = 0;
    /// There is no such thing.
    pub const NOT_FOUND: u32 = 1;
    /// An argument was refused.
    pub const BAD_ARGUMENT: u32 = 2;
    /// The guest named memory that it does not have.
    pub const INVALID_MEMORY: u32 = 6;
    /// Another writer was first.
    pub const CAS_MISMATCH: u32 = 8;
    /// The host failed.
    pub const INTERNAL_FAILURE: u32 = 10;
    /// This host does not have this call.
    pub const UNIMPLEMENTED: u32 = 12;
}

/// Header maps by number.
pub(crate) mod map {
    pub(crate) const REQUEST_HEADERS: u32 = 0;
    pub(crate) const REQUEST_TRAILERS: u32 = 1;
    pub(crate) const RESPONSE_HEADERS: u32 = 2;
    pub(crate) const RESPONSE_TRAILERS: u32 = 3;
    pub(crate) const CALLOUT_HEADERS: u32 = 6;
}

/// Buffers by number.
pub(crate) mod buffer {
    pub(crate) const REQUEST_BODY: u32 = 0;
    pub(crate) const RESPONSE_BODY: u32 = 1;
    pub(crate) const CALLOUT_BODY: u32 = 4;
    pub(crate) const PLUGIN_CONFIGURATION: u32 = 7;
}

/// Host functions of the ABI that this host knows by name alone: they answer `Unimplemented`.
pub(crate) const KNOWN: &[&str] = &[
    "proxy_get_status",
    "proxy_set_header_map_pairs",
    "proxy_close_stream",
    "proxy_get_shared_data_keys",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_grpc_call",
    "proxy_grpc_stream",
    "proxy_grpc_send",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_call_foreign_function",
    "proxy_set_buffer_bytes",
];

/// Writes fields in the ABI's form.
pub(crate) fn write_pairs(headers: &Headers) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + headers.0.iter().map(|(n, v)| 10 + n.len() + v.len()).sum::<usize>());
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend(size(headers.0.len()));
    for (name, value) in &headers.0 {
        bytes.extend(size(name.len()));
        bytes.extend(size(value.len()));
    }
    for (name, value) in &headers.0 {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

/// Reads fields in the ABI's form; `None` if the sizes do not add up.
pub(crate) fn read_pairs(bytes: &[u8]) -> Option<Headers> {
    if bytes.is_empty() {
        return Some(Headers::default());
    }
    let size = |at: usize| {
        let word = bytes.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*word)).ok()
    };
    let count = size(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    let mut headers = Headers::default();
    for index in 0..count {
        let mut word = |length: usize| {
            let word = bytes.get(at..at.checked_add(length)?)?;
            at += length + 1;
            Some(word.to_vec())
        };
        let name = word(size(4 + 8 * index)?)?;
        let value = word(size(8 + 8 * index)?)?;
        headers.0.push((name.to_ascii_lowercase(), value));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_make_a_round_trip() {
        let headers = Headers::from_iter([(":path", "/a"), ("x", ""), ("x", "two")]);
        assert_eq!(read_pairs(&write_pairs(&headers)), Some(headers));
        assert_eq!(read_pairs(&[]), Some(Headers::default()));
        assert_eq!(read_pairs(&[9, 0, 0, 0]), None);
    }
}
