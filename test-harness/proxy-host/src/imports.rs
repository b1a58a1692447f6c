//! The host functions of the ABI, as the guest imports them from `env`.

use crate::abi::{buffer, map, read_pairs, status, write_pairs};
use crate::host::Inner;
use crate::inject::Effect;
use crate::message::{Answer, Call};
use crate::message::{Handling, Headers, When};
use crate::state::{Action, Context, Dir, Pending, State, Step};
use crate::vm::Guest;
use std::rc::Rc;
use wasmtime::{Caller, Error, Linker};

/// Why a host function does not return 0.
pub(crate) enum Stop {
    Status(u32),
    Trap(Error),
}

impl From<u32> for Stop {
    fn from(status: u32) -> Self {
        Self::Status(status)
    }
}

type Outcome = Result<(), Stop>;

/// A host function at work.
pub(crate) struct HostCall<'a, 'b> {
    caller: &'a mut Caller<'b, Guest>,
    host: Rc<Inner>,
    vm: usize,
}

/// Runs a host function, or the fault that is set for it.
pub(crate) fn run(
    caller: &mut Caller<'_, Guest>,
    name: &'static str,
    body: impl FnOnce(&mut HostCall<'_, '_>) -> Outcome,
) -> wasmtime::Result<u32> {
    let vm = caller.data().vm;
    let host = caller.data().host.upgrade().ok_or_else(|| Error::msg("the host is gone"))?;
    let fault = {
        let mut state = host.state.borrow_mut();
        state.counters.calls += 1;
        match state.profile.unimplemented.contains(&name) {
            true => Some(Effect::Status(status::UNIMPLEMENTED)),
            false => state.faults.on_call(vm, name),
        }
    };
    match fault {
        Some(Effect::Status(status)) => return Ok(status),
        Some(Effect::Trap) => return Err(Error::msg(format!("trap injected in {name}"))),
        Some(Effect::DoneBut(_)) | None => {}
    }
    let done = match body(&mut HostCall { caller, host, vm }) {
        Ok(()) => status::OK,
        Err(Stop::Status(status)) => status,
        Err(Stop::Trap(error)) => return Err(error),
    };
    Ok(match fault {
        Some(Effect::DoneBut(status)) => status,
        _ => done,
    })
}

impl HostCall<'_, '_> {
    pub(crate) fn vm(&self) -> usize {
        self.vm
    }

    pub(crate) fn state<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.host.state.borrow_mut())
    }

    fn memory(&mut self) -> Result<&mut [u8], Stop> {
        let memory = self.caller.data().memory.ok_or(status::INVALID_MEMORY)?;
        Ok(memory.data_mut(&mut *self.caller))
    }

    pub(crate) fn bytes(&mut self, start: u32, size: u32) -> Result<Vec<u8>, Stop> {
        let (start, size) = (start as usize, size as usize);
        let end = start.checked_add(size).ok_or(status::INVALID_MEMORY)?;
        Ok(self.memory()?.get(start..end).ok_or(status::INVALID_MEMORY)?.to_vec())
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Outcome {
        let at = at as usize;
        let end = at.checked_add(bytes.len()).ok_or(status::INVALID_MEMORY)?;
        self.memory()?.get_mut(at..end).ok_or(status::INVALID_MEMORY)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn word(&mut self, at: u32, word: u32) -> Outcome {
        self.write(at, &word.to_le_bytes())
    }

    /// Gives the guest bytes, in memory that it allocates.
    fn give(&mut self, bytes: &[u8], out: u32, out_size: u32) -> Outcome {
        let mut start = 0;
        let size = u32::try_from(bytes.len()).map_err(|_| status::INTERNAL_FAILURE)?;
        if size > 0 {
            let allocate = self.caller.data().allocate.clone().ok_or(status::INTERNAL_FAILURE)?;
            start = allocate.call(&mut *self.caller, size).map_err(Stop::Trap)?;
            if start == 0 {
                return Err(status::INTERNAL_FAILURE.into());
            }
            self.write(start, bytes)?;
        }
        self.word(out, start)?;
        self.word(out_size, size)
    }

    // ---- header maps and buffers -----------------------------------------------------------------------------------

    fn with_map<R>(&self, number: u32, read: impl FnOnce(&Headers) -> R) -> Option<R> {
        self.state(|state| {
            if number == map::CALLOUT_HEADERS {
                return state.vms.get(self.vm)?.answer.as_ref().map(|(headers, _)| read(headers));
            }
            let (_, stream) = state.stream(self.vm)?;
            match number {
                map::REQUEST_HEADERS => Some(read(&stream.decode.headers)),
                map::REQUEST_TRAILERS => stream.decode.trailers.as_ref().map(read),
                map::RESPONSE_HEADERS => Some(read(&stream.encode.headers)),
                map::RESPONSE_TRAILERS => stream.encode.trailers.as_ref().map(read),
                _ => None,
            }
        })
    }

    fn change_map(&self, number: u32, change: impl FnOnce(&mut Headers)) -> Outcome {
        self.state(|state| {
            let (_, stream) = state.stream(self.vm).ok_or(status::BAD_ARGUMENT)?;
            let headers = match number {
                map::REQUEST_HEADERS if stream.decode.writable => Some(&mut stream.decode.headers),
                map::RESPONSE_HEADERS if stream.encode.writable => Some(&mut stream.encode.headers),
                map::REQUEST_TRAILERS => stream.decode.trailers.as_mut(),
                map::RESPONSE_TRAILERS => stream.encode.trailers.as_mut(),
                _ => None,
            };
            change(headers.ok_or(status::BAD_ARGUMENT)?);
            Ok(())
        })
    }

    fn buffer(&self, number: u32, start: u32, max: u32) -> Result<Vec<u8>, Stop> {
        let (start, max) = (start as usize, max as usize);
        let cut = |bytes: &[u8]| {
            let end = start.saturating_add(max).min(bytes.len());
            bytes.get(start..end).map(<[u8]>::to_vec).ok_or(Stop::Status(status::BAD_ARGUMENT))
        };
        self.state(|state| match number {
            buffer::REQUEST_BODY => cut(&state.stream(self.vm).ok_or(status::NOT_FOUND)?.1.decode.visible),
            buffer::RESPONSE_BODY => cut(&state.stream(self.vm).ok_or(status::NOT_FOUND)?.1.encode.visible),
            buffer::CALLOUT_BODY => {
                let vm = state.vms.get(self.vm).ok_or(status::NOT_FOUND)?;
                cut(&vm.answer.as_ref().ok_or(status::NOT_FOUND)?.1)
            }
            buffer::PLUGIN_CONFIGURATION => {
                let vm = state.vms.get(self.vm).ok_or(status::NOT_FOUND)?;
                cut(vm.configuration.as_ref().ok_or(status::NOT_FOUND)?)
            }
            _ => Err(status::NOT_FOUND.into()),
        })
    }

    // ---- streams ---------------------------------------------------------------------------------------------------

    fn continue_stream(&self, direction: u32) -> Outcome {
        let dir = match direction {
            0 => Dir::Request,
            1 => Dir::Response,
            _ => return Err(status::BAD_ARGUMENT.into()),
        };
        self.state(|state| {
            let (id, stream) = state.stream(self.vm).ok_or(status::BAD_ARGUMENT)?;
            stream.side(dir).writable = false;
            if let Some(vm) = state.vms.get_mut(self.vm) {
                vm.actions.push_back(Action::Continue(id, dir));
            }
            Ok(())
        })
    }

    /// `grpc` below 0: no status of gRPC. Clients of gRPC get it in headers that end the response, as Envoy does it.
    fn local_response(&self, code: u32, headers: &[u8], mut body: Vec<u8>, grpc: i32) -> Outcome {
        let mut headers = read_pairs(headers).ok_or(status::BAD_ARGUMENT)?;
        let mut code = u16::try_from(code).map_err(|_| status::BAD_ARGUMENT)?;
        self.state(|state| {
            let (id, stream) = state.stream(self.vm).ok_or(status::BAD_ARGUMENT)?;
            if std::mem::replace(&mut stream.replied, true) {
                return Err(status::BAD_ARGUMENT.into());
            }
            if grpc >= 0 && is_grpc(stream.request.headers.text("content-type")) {
                headers.set("content-type", "application/grpc");
                headers.set("grpc-status", grpc.to_string());
                headers.set("grpc-message", std::mem::take(&mut body));
                code = 200;
            }
            if let Some(vm) = state.vms.get_mut(self.vm) {
                vm.stop = true;
                vm.actions.push_back(Action::Reply { stream: id, status: code, headers, body });
            }
            Ok(())
        })
    }

    fn http_call(&mut self, cluster: &[u8], headers: &[u8], body: Vec<u8>, timeout: u32, token: u32) -> Outcome {
        let headers = read_pairs(headers).ok_or(status::BAD_ARGUMENT)?;
        if [":method", ":path", ":authority"].iter().any(|name| headers.get(name).is_none()) {
            return Err(status::BAD_ARGUMENT.into());
        }
        let (vm, host) = (self.vm, self.host.clone());
        let call = self.state(|state| {
            state.last_call += 1;
            let cluster = String::from_utf8_lossy(cluster).into_owned();
            Call { id: state.last_call, vm, cluster, headers, body, timeout, at: state.millis() }
        });
        let handling = host.world.borrow_mut().call(&call);
        if let Handling::Refuse(status) = handling {
            return Err(status.into());
        }
        let number = self.state(|state| {
            state.counters.callouts += 1;
            let root = match state.context(vm) {
                Some(Context::Stream(id)) => state.streams.get(&id).map_or(0, |stream| stream.root),
                _ => state.vms.get(vm).map_or(0, |vm| vm.effective),
            };
            let worker = state.vms.get_mut(vm)?;
            worker.last_token = worker.last_token.wrapping_add(1);
            let (life, number) = (worker.life, worker.last_token);
            state.calls.insert(call.id, Pending { vm, life, root, token: number });
            let limit = u64::from(timeout);
            let late = || Answer::new(504, "upstream request timeout");
            match handling {
                Handling::Answer(When::Soon, answer) => state.ready.push_back(Step::Answer(call.id, answer)),
                Handling::Answer(When::After(millis), answer) if millis < limit => {
                    state.after(millis, Step::Answer(call.id, answer));
                }
                Handling::Answer(..) | Handling::Wait | Handling::Refuse(_) => {
                    state.after(limit, Step::Answer(call.id, late()));
                }
            }
            Some(number)
        });
        self.word(token, number.ok_or(status::INTERNAL_FAILURE)?)
    }

    fn effective(&self, context: u32) -> Outcome {
        self.state(|state| {
            let vm = state.vms.get_mut(self.vm).ok_or(status::BAD_ARGUMENT)?;
            if !vm.contexts.contains_key(&context) {
                return Err(status::BAD_ARGUMENT.into());
            }
            vm.effective = context;
            Ok(())
        })
    }

    fn done(&self) -> Outcome {
        self.state(|state| {
            let vm = state.vms.get_mut(self.vm).ok_or(status::NOT_FOUND)?;
            if !vm.draining.contains(&vm.effective) {
                return Err(status::NOT_FOUND.into());
            }
            vm.actions.push_back(Action::Done(vm.effective));
            Ok(())
        })
    }

    fn tick_period(&self, millis: u32) -> Outcome {
        self.state(|state| {
            let serial = state.order;
            let vm = state.vms.get_mut(self.vm).ok_or(status::BAD_ARGUMENT)?;
            let (life, root) = (vm.life, vm.effective);
            if vm.contexts.get(&root) != Some(&Context::Root) {
                return Err(status::BAD_ARGUMENT.into());
            }
            vm.ticks.insert(root, (u64::from(millis), serial));
            if millis > 0 {
                state.after(u64::from(millis), Step::Tick { vm: self.vm, life, root, serial });
            }
            Ok(())
        })
    }

    fn property(&self, path: &[u8]) -> Result<Vec<u8>, Stop> {
        let dotted = String::from_utf8_lossy(path).replace('\0', ".");
        self.state(|state| {
            let fixed = state.profile.properties.iter().find(|(name, _)| *name == dotted);
            if let Some((_, value)) = fixed {
                return Ok(value.as_bytes().to_vec());
            }
            let (id, stream) = state.stream(self.vm).ok_or(status::NOT_FOUND)?;
            if let Some((_, value)) = stream.properties.iter().find(|(known, _)| known == path) {
                return Ok(value.clone());
            }
            let header = |name: &str| stream.decode.headers.get(name).map(<[u8]>::to_vec);
            let value = match dotted.as_str() {
                "source.address" => Some(stream.request.source.clone().into_bytes()),
                "request.path" => header(":path"),
                "request.method" => header(":method"),
                "request.scheme" => header(":scheme"),
                "request.host" => header(":authority"),
                "request.id" => Some(id.to_string().into_bytes()),
                "response.code" => Some(u64::from(stream.encode.headers.status()).to_le_bytes().to_vec()),
                "response.size" => {
                    let size = stream.reply.as_ref().map_or(0, |reply| reply.body.len() as u64);
                    Some(size.to_le_bytes().to_vec())
                }
                other => other.strip_prefix("request.headers.").and_then(header),
            };
            value.ok_or(Stop::Status(status::NOT_FOUND))
        })
    }

    fn set_property(&self, path: Vec<u8>, value: Vec<u8>) -> Outcome {
        self.state(|state| {
            let (_, stream) = state.stream(self.vm).ok_or(status::NOT_FOUND)?;
            match stream.properties.iter_mut().find(|(known, _)| *known == path) {
                Some(entry) => entry.1 = value,
                None => stream.properties.push((path, value)),
            }
            Ok(())
        })
    }

    fn define_metric(&self, kind: u32, name: &[u8]) -> Result<u32, Stop> {
        if kind > 2 {
            return Err(status::BAD_ARGUMENT.into());
        }
        let name = String::from_utf8_lossy(name).into_owned();
        self.state(|state| {
            if let Some(id) = state.metric_ids.get(&name) {
                return Ok(*id);
            }
            let id = u32::try_from(state.metrics.len()).map_err(|_| status::INTERNAL_FAILURE)?;
            state.metrics.push((name.clone(), 0));
            state.metric_ids.insert(name, id);
            Ok(id)
        })
    }

    fn metric(&self, id: u32, change: impl FnOnce(&mut u64)) -> Outcome {
        self.state(|state| {
            change(&mut state.metrics.get_mut(id as usize).ok_or(status::NOT_FOUND)?.1);
            Ok(())
        })
    }
}

/// The functions of `env` that [`link`] makes.
pub(crate) const NAMES: &[&str] = &[
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_set_effective_context",
    "proxy_done",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_buffer_bytes",
    "proxy_continue_stream",
    "proxy_send_local_response",
    "proxy_http_call",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_metric",
];

/// Links `env`.
#[expect(clippy::too_many_lines, reason = "a table: one entry for each function")]
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    macro_rules! env {
        ($name:literal, |$host:ident $(, $arg:ident: $ty:ty)*| $body:expr) => {
            linker.func_wrap("env", $name, |mut caller: Caller<'_, Guest> $(, $arg: $ty)*| {
                run(&mut caller, $name, |$host| $body)
            })?;
        };
    }
    env!("proxy_log", |host, level: u32, text: u32, size: u32| {
        let text = host.bytes(text, size)?;
        let vm = host.vm;
        host.state(|state| state.log(vm, level, String::from_utf8_lossy(&text).into_owned()));
        Ok(())
    });
    env!("proxy_get_log_level", |host, out: u32| host.word(out, 2));
    env!("proxy_get_current_time_nanoseconds", |host, out: u32| {
        let now = host.state(|state| state.now);
        host.write(out, &now.to_le_bytes())
    });
    env!("proxy_set_tick_period_milliseconds", |host, millis: u32| host.tick_period(millis));
    env!("proxy_set_effective_context", |host, context: u32| host.effective(context));
    env!("proxy_done", |host| host.done());
    env!("proxy_get_header_map_pairs", |host, number: u32, out: u32, out_size: u32| {
        let pairs = host.with_map(number, write_pairs).unwrap_or_default();
        host.give(&pairs, out, out_size)
    });
    env!("proxy_get_header_map_value", |host, number: u32, key: u32, key_size: u32, out: u32, out_size: u32| {
        let key = host.bytes(key, key_size)?;
        let value = host.with_map(number, |headers| headers.bytes(&key).map(<[u8]>::to_vec));
        host.give(&value.ok_or(status::BAD_ARGUMENT)?.ok_or(status::NOT_FOUND)?, out, out_size)
    });
    env!("proxy_add_header_map_value", |host, number: u32, key: u32, key_size: u32, value: u32, value_size: u32| {
        let (key, value) = (host.bytes(key, key_size)?, host.bytes(value, value_size)?);
        host.change_map(number, |headers| headers.add(key, value))
    });
    env!("proxy_replace_header_map_value", |host,
                                            number: u32,
                                            key: u32,
                                            key_size: u32,
                                            value: u32,
                                            value_size: u32| {
        let (key, value) = (host.bytes(key, key_size)?, host.bytes(value, value_size)?);
        host.change_map(number, |headers| headers.set(key, value))
    });
    env!("proxy_remove_header_map_value", |host, number: u32, key: u32, key_size: u32| {
        let key = host.bytes(key, key_size)?;
        host.change_map(number, |headers| headers.remove(key))
    });
    env!("proxy_get_buffer_bytes", |host, number: u32, start: u32, max: u32, out: u32, out_size: u32| {
        let bytes = host.buffer(number, start, max)?;
        host.give(&bytes, out, out_size)
    });
    env!("proxy_continue_stream", |host, direction: u32| host.continue_stream(direction));
    env!("proxy_send_local_response", |host,
                                       code: u32,
                                       _details: u32,
                                       _details_size: u32,
                                       body: u32,
                                       body_size: u32,
                                       headers: u32,
                                       headers_size: u32,
                                       grpc: u32| {
        let (body, headers) = (host.bytes(body, body_size)?, host.bytes(headers, headers_size)?);
        host.local_response(code, &headers, body, grpc.cast_signed())
    });
    env!("proxy_http_call", |host,
                             cluster: u32,
                             cluster_size: u32,
                             headers: u32,
                             headers_size: u32,
                             body: u32,
                             body_size: u32,
                             _trailers: u32,
                             _trailers_size: u32,
                             timeout: u32,
                             token: u32| {
        let (cluster, headers) = (host.bytes(cluster, cluster_size)?, host.bytes(headers, headers_size)?);
        let body = host.bytes(body, body_size)?;
        host.http_call(&cluster, &headers, body, timeout, token)
    });
    env!("proxy_get_property", |host, path: u32, path_size: u32, out: u32, out_size: u32| {
        let path = host.bytes(path, path_size)?;
        let value = host.property(&path)?;
        host.give(&value, out, out_size)
    });
    env!("proxy_set_property", |host, path: u32, path_size: u32, value: u32, value_size: u32| {
        let (path, value) = (host.bytes(path, path_size)?, host.bytes(value, value_size)?);
        host.set_property(path, value)
    });
    env!("proxy_get_shared_data", |host, key: u32, key_size: u32, out: u32, out_size: u32, version: u32| {
        let key = host.bytes(key, key_size)?;
        host.host.race();
        let (value, number) = host.state(|state| state.shared.get(&key))?;
        host.give(&value, out, out_size)?;
        host.word(version, number)
    });
    env!("proxy_set_shared_data", |host, key: u32, key_size: u32, value: u32, value_size: u32, version: u32| {
        let (key, value) = (host.bytes(key, key_size)?, host.bytes(value, value_size)?);
        host.host.race();
        host.state(|state| {
            let done = state.shared.set(&key, &value, version);
            state.counters.mismatches += u64::from(done == Err(status::CAS_MISMATCH));
            done
        })?;
        Ok(())
    });
    env!("proxy_define_metric", |host, kind: u32, name: u32, name_size: u32, out: u32| {
        let name = host.bytes(name, name_size)?;
        let id = host.define_metric(kind, &name)?;
        host.word(out, id)
    });
    env!("proxy_increment_metric", |host, id: u32, by: i64| {
        host.metric(id, |value| *value = value.saturating_add_signed(by))
    });
    // Of a histogram: how many values there were.
    env!("proxy_record_metric", |host, id: u32, _value: u64| host.metric(id, |value| *value = value.saturating_add(1)));
    env!("proxy_get_metric", |host, id: u32, out: u32| {
        let mut found = 0;
        host.metric(id, |value| found = *value)?;
        host.write(out, &found.to_le_bytes())
    });
    Ok(())
}

fn is_grpc(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind == "application/grpc" || kind.starts_with("application/grpc+"))
}
