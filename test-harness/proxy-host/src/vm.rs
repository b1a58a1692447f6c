//! The compiled filter, and one machine that runs it.

use crate::abi::KNOWN;
use crate::host::Inner;
use crate::{imports, wasi};
use std::fmt;
use std::path::Path;
use std::rc::Weak;
use wasmtime::{Config, Engine, ExternType, InstancePre, Linker, Memory, Module, OptLevel, Store, TypedFunc, Val};

/// Why a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub String);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

impl From<wasmtime::Error> for LoadError {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("{error:?}"))
    }
}

/// A compiled filter. Compiling takes about a second; clones share what was compiled.
#[derive(Clone)]
pub struct Filter {
    engine: Engine,
    linked: InstancePre<Guest>,
}

impl Filter {
    /// Compiles the filter in this file.
    ///
    /// # Errors
    /// If it cannot be read, is no module, or imports something that this host does not have; the message names it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let code = std::fs::read(path).map_err(|error| LoadError(format!("{}: {error}", path.display())))?;
        Self::compile(&code)
    }

    /// Compiles a filter.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn compile(code: &[u8]) -> Result<Self, LoadError> {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, code)?;
        let mut linker: Linker<Guest> = Linker::new(&engine);
        imports::link(&mut linker)?;
        wasi::link(&mut linker)?;
        let mut missing = Vec::new();
        for import in module.imports() {
            let (from, name) = (import.module(), import.name());
            if is_linked(from, name) {
                continue;
            }
            match import.ty() {
                ExternType::Func(ty) if from == "env" && KNOWN.contains(&name) => {
                    linker.func_new(from, name, ty, |_, _, results| {
                        if let Some(result) = results.first_mut() {
                            *result = Val::I32(12);
                        }
                        Ok(())
                    })?;
                }
                _ => missing.push(format!("{from}.{name}")),
            }
        }
        if !missing.is_empty() {
            return Err(LoadError(format!("the filter imports what this host does not have: {}", missing.join(", "))));
        }
        let linked = linker.instantiate_pre(&module)?;
        Ok(Self { engine, linked })
    }

    pub(crate) fn machine(&self, host: Weak<Inner>, vm: usize) -> Result<Machine, LoadError> {
        let mut store = Store::new(&self.engine, Guest { host, vm, memory: None, allocate: None });
        let instance = self.linked.instantiate(&mut store)?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| LoadError("the filter exports no memory".to_owned()))?;
        let allocate = ["proxy_on_memory_allocate", "malloc"]
            .into_iter()
            .find_map(|name| instance.get_typed_func::<u32, u32>(&mut store, name).ok())
            .ok_or_else(|| LoadError("the filter exports no proxy_on_memory_allocate".to_owned()))?;
        store.data_mut().memory = Some(memory);
        store.data_mut().allocate = Some(allocate);
        macro_rules! export {
            ($name:literal, $params:ty, $results:ty) => {
                instance.get_typed_func::<$params, $results>(&mut store, $name).ok()
            };
        }
        let exports = Exports {
            initialize: export!("_initialize", (), ()),
            start: export!("_start", (), ()),
            vm_start: export!("proxy_on_vm_start", (u32, u32), u32),
            configure: export!("proxy_on_configure", (u32, u32), u32),
            context_create: export!("proxy_on_context_create", (u32, u32), ()),
            tick: export!("proxy_on_tick", u32, ()),
            request_headers: export!("proxy_on_request_headers", (u32, u32, u32), u32),
            request_body: export!("proxy_on_request_body", (u32, u32, u32), u32),
            request_trailers: export!("proxy_on_request_trailers", (u32, u32), u32),
            response_headers: export!("proxy_on_response_headers", (u32, u32, u32), u32),
            response_body: export!("proxy_on_response_body", (u32, u32, u32), u32),
            response_trailers: export!("proxy_on_response_trailers", (u32, u32), u32),
            http_call_response: export!("proxy_on_http_call_response", Ended, ()),
            done: export!("proxy_on_done", u32, u32),
            log: export!("proxy_on_log", u32, ()),
            delete: export!("proxy_on_delete", u32, ()),
        };
        Ok(Machine { store, exports })
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

/// Whether this host has a function of its own for an import.
fn is_linked(module: &str, name: &str) -> bool {
    match module {
        "env" => imports::NAMES.contains(&name),
        "wasi_snapshot_preview1" => wasi::NAMES.contains(&name),
        _ => false,
    }
}

/// What host functions find in the store.
pub(crate) struct Guest {
    pub(crate) host: Weak<Inner>,
    pub(crate) vm: usize,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
}

/// A VM's machine.
pub(crate) struct Machine {
    pub(crate) store: Store<Guest>,
    pub(crate) exports: Exports,
}

/// Context, token, and the numbers of header fields, body bytes and trailers.
type Ended = (u32, u32, u32, u32, u32);

/// The guest's callbacks, as far as it has them.
pub(crate) struct Exports {
    pub(crate) initialize: Option<TypedFunc<(), ()>>,
    pub(crate) start: Option<TypedFunc<(), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) request_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) response_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) http_call_response: Option<TypedFunc<Ended, ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}
