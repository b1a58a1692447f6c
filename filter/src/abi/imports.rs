//! The host's side of the boundary: one function per call, and [`Wasm`], which wraps them.

use super::{
    Buffer, ContextId, Direction, LocalResponse, LogLevel, Map, Metric, MetricId, Pairs, Proxy, Status, Token, memory,
};

use std::borrow::Cow;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, text_size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(out: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(millis: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_done() -> u32;
    fn proxy_get_header_map_pairs(map: u32, out: *mut *const u8, out_size: *mut usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, max: usize, out: *mut *const u8, out_size: *mut usize) -> u32;
    fn proxy_continue_stream(direction: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, out: *mut *const u8, out_size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        out: *mut *const u8,
        out_size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, version: u32)
    -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

/// The host this module runs in.
#[derive(Clone, Copy, Debug)]
pub struct Wasm;

/// Runs a host call that returns bytes, and takes what it returned.
fn returned(call: impl FnOnce(*mut *const u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let (mut start, mut size) = (std::ptr::null(), 0);
    Status::check(call(&raw mut start, &raw mut size))?;
    memory::take(start, size)
}

// Why every `unsafe` below is sound, said once. Arguments are numbers, or the pointer and length of a live slice that
// the host only reads before it returns, or a pointer to a local that outlives the call and whose every bit pattern is
// a value. The host keeps no pointer. Memory it returns is not read through its pointer: see `memory`.
impl Proxy for Wasm {
    fn log(&self, level: LogLevel, text: &str) -> Result<(), Status> {
        // SAFETY: one live slice, read only.
        Status::check(unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) })
    }

    fn now_nanos(&self) -> Result<u64, Status> {
        let mut nanos = 0;
        // SAFETY: the host writes one u64 to a live local.
        Status::check(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) })?;
        Ok(nanos)
    }

    fn set_tick_period(&self, millis: u32) -> Result<(), Status> {
        // SAFETY: a number.
        Status::check(unsafe { proxy_set_tick_period_milliseconds(millis) })
    }

    fn set_effective_context(&self, context: ContextId) -> Result<(), Status> {
        // SAFETY: a number; the host refuses one it does not know.
        Status::check(unsafe { proxy_set_effective_context(context) })
    }

    fn done(&self) -> Result<(), Status> {
        // SAFETY: no argument.
        Status::check(unsafe { proxy_done() })
    }

    fn pairs(&self, map: Map) -> Result<Pairs, Status> {
        // SAFETY: the host writes a pointer and a length to live locals.
        Pairs::read(returned(|out, size| unsafe { proxy_get_header_map_pairs(map as u32, out, size) })?)
    }

    fn add(&self, map: Map, name: &str, value: &str) -> Result<(), Status> {
        // SAFETY: two live slices, read only.
        Status::check(unsafe {
            proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn replace(&self, map: Map, name: &str, value: &str) -> Result<(), Status> {
        // SAFETY: two live slices, read only.
        Status::check(unsafe {
            proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn remove(&self, map: Map, name: &str) -> Result<(), Status> {
        // SAFETY: one live slice, read only.
        Status::check(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
    }

    fn bytes(&self, buffer: Buffer, max: usize) -> Result<Vec<u8>, Status> {
        // SAFETY: the host writes a pointer and a length to live locals.
        returned(|out, size| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max, out, size) })
    }

    fn continue_stream(&self, direction: Direction) -> Result<(), Status> {
        // SAFETY: a number.
        Status::check(unsafe { proxy_continue_stream(direction as u32) })
    }

    fn local_response(&self, response: LocalResponse<'_>) -> Result<(), Status> {
        let LocalResponse { status, details, headers, body, grpc_status } = response;
        let grpc_status = grpc_status.and_then(|status| i32::try_from(status).ok()).unwrap_or(-1);
        let headers = headers.as_bytes();
        // SAFETY: three live slices, read only. A gRPC status of -1: none of ours.
        Status::check(unsafe {
            proxy_send_local_response(
                u32::from(status),
                details.as_ptr(),
                details.len(),
                body.as_ptr(),
                body.len(),
                headers.as_ptr(),
                headers.len(),
                grpc_status,
            )
        })
    }

    fn http_call(&self, cluster: &str, headers: &Pairs, body: &[u8], timeout_millis: u32) -> Result<Token, Status> {
        const NO_TRAILERS: [u8; 4] = [0; 4];
        let headers = headers.as_bytes();
        let mut token = 0;
        // SAFETY: four live slices, read only; the host writes one u32 to a live local.
        Status::check(unsafe {
            proxy_http_call(
                cluster.as_ptr(),
                cluster.len(),
                headers.as_ptr(),
                headers.len(),
                body.as_ptr(),
                body.len(),
                NO_TRAILERS.as_ptr(),
                NO_TRAILERS.len(),
                timeout_millis,
                &raw mut token,
            )
        })?;
        Ok(token)
    }

    fn property(&self, path: &[&str]) -> Result<Option<Vec<u8>>, Status> {
        let path = path.join("\0");
        // SAFETY: one live slice, read only; the host writes a pointer and a length to live locals.
        match returned(|out, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), out, size) }) {
            Ok(value) => Ok(Some(value)),
            Err(Status::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }

    fn set_property(&self, path: &[&str], value: &[u8]) -> Result<(), Status> {
        let path = match path {
            [one] => Cow::Borrowed(*one),
            parts => Cow::Owned(parts.join("\0")),
        };
        // SAFETY: two live slices, read only.
        Status::check(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
    }

    fn shared(&self, key: &str) -> Result<(Vec<u8>, u32), Status> {
        let mut version = 0;
        let version_out = &raw mut version;
        // SAFETY: one live slice, read only; the host writes a pointer, a length and a u32 to live locals.
        let value =
            returned(|out, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), out, size, version_out) })?;
        Ok((value, version))
    }

    fn set_shared(&self, key: &str, value: &[u8], version: u32) -> Result<(), Status> {
        // SAFETY: two live slices, read only.
        Status::check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) })
    }

    fn define_metric(&self, kind: Metric, name: &str) -> Result<MetricId, Status> {
        let mut id = 0;
        // SAFETY: one live slice, read only; the host writes one u32 to a live local.
        Status::check(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
        Ok(id)
    }

    fn increment_metric(&self, id: MetricId, by: i64) -> Result<(), Status> {
        // SAFETY: numbers.
        Status::check(unsafe { proxy_increment_metric(id, by) })
    }

    fn record_metric(&self, id: MetricId, value: u64) -> Result<(), Status> {
        // SAFETY: numbers.
        Status::check(unsafe { proxy_record_metric(id, value) })
    }
}
