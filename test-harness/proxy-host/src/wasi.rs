//! The little of WASI that filters import: environment, clock, randomness, standard output.

use crate::imports::{HostCall, Stop, run};
use crate::vm::Guest;
use wasmtime::{Caller, Error, Linker};

/// WASI errno of what is not there.
const BADF: u32 = 8;

/// The functions of `wasi_snapshot_preview1` that [`link`] makes.
pub(crate) const NAMES: &[&str] = &[
    "environ_sizes_get",
    "environ_get",
    "args_sizes_get",
    "args_get",
    "clock_time_get",
    "random_get",
    "fd_write",
    "fd_close",
    "fd_fdstat_get",
    "fd_seek",
    "fd_prestat_get",
    "sched_yield",
    "proc_exit",
];

fn variables(host: &HostCall<'_, '_>) -> Vec<Vec<u8>> {
    let vm = host.vm();
    host.state(|state| {
        let variables = state.vms.get(vm).map(|vm| vm.env.as_slice()).unwrap_or_default();
        variables.iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
    })
}

/// Links WASI.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    macro_rules! wasi {
        ($name:literal, |$host:ident $(, $arg:ident: $ty:ty)*| $body:expr) => {
            linker.func_wrap("wasi_snapshot_preview1", $name, |mut caller: Caller<'_, Guest> $(, $arg: $ty)*| {
                run(&mut caller, $name, |$host| $body)
            })?;
        };
    }
    wasi!("environ_sizes_get", |host, count: u32, size: u32| {
        let variables = variables(host);
        host.word(count, u32::try_from(variables.len()).unwrap_or(0))?;
        host.word(size, u32::try_from(variables.iter().map(Vec::len).sum::<usize>()).unwrap_or(0))
    });
    wasi!("environ_get", |host, pointers: u32, text: u32| {
        let (mut pointer, mut at) = (pointers, text);
        for variable in variables(host) {
            host.word(pointer, at)?;
            host.write(at, &variable)?;
            pointer += 4;
            at += u32::try_from(variable.len()).unwrap_or(0);
        }
        Ok(())
    });
    wasi!("args_sizes_get", |host, count: u32, size: u32| {
        host.word(count, 0)?;
        host.word(size, 0)
    });
    wasi!("args_get", |_host, _pointers: u32, _text: u32| Ok(()));
    wasi!("clock_time_get", |host, _clock: u32, _precision: u64, out: u32| {
        let now = host.state(|state| state.now);
        host.write(out, &now.to_le_bytes())
    });
    wasi!("random_get", |host, out: u32, size: u32| {
        let mut bytes = vec![0; size as usize];
        host.state(|state| state.guest_random.fill(&mut bytes));
        host.write(out, &bytes)
    });
    wasi!("fd_write", |host, fd: u32, vectors: u32, count: u32, written: u32| {
        let mut text = Vec::new();
        for index in 0..count {
            let entry = host.bytes(vectors + 8 * index, 8)?;
            let mut words = entry.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes));
            let (start, size) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
            text.extend(host.bytes(start, size)?);
        }
        let vm = host.vm();
        host.word(written, u32::try_from(text.len()).unwrap_or(0))?;
        let level = if fd == 2 { 4 } else { 2 };
        host.state(|state| state.log(vm, level, String::from_utf8_lossy(&text).into_owned()));
        Ok(())
    });
    wasi!("fd_close", |_host, _fd: u32| Err(Stop::Status(BADF)));
    wasi!("fd_fdstat_get", |_host, _fd: u32, _out: u32| Err(Stop::Status(BADF)));
    wasi!("fd_seek", |_host, _fd: u32, _offset: i64, _whence: u32, _out: u32| Err(Stop::Status(BADF)));
    wasi!("fd_prestat_get", |_host, _fd: u32, _out: u32| Err(Stop::Status(BADF)));
    wasi!("sched_yield", |_host| Ok(()));
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: u32| -> wasmtime::Result<()> {
        Err(Error::msg(format!("the filter exited with {code}")))
    })?;
    Ok(())
}
