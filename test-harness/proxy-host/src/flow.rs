//! A stream's way through the filter: Envoy's filter manager, with one filter in it.
//!
//! Both directions work alike: headers, body and trailers come from a source (client, upstream), meet the filter,
//! and go on to a sink (upstream, client) as far as the filter's return values let them.

use crate::host::Inner;
use crate::message::{Author, Headers, Response, Sent, Service, When};
use crate::profile::OnTrap;
use crate::state::{Dir, Flow, Step};
use std::rc::Rc;

/// What a callback's return value means for body and trailers.
enum Rest {
    Continue,
    Buffer,
    Watermark,
    Drop,
}

impl Inner {
    // ---- sources ---------------------------------------------------------------------------------------------------

    /// The next piece of the request arrives.
    pub(crate) fn client(self: &Rc<Self>, id: u64) {
        let Some(first) = self.stream(id, |stream| {
            stream.decode.pushed_back = false;
            stream.arrived == 0
        }) else {
            return;
        };
        if first && !self.attach(id) {
            self.lost(id);
            if self.side(id, Dir::Request, |side| side.flow == Flow::Over).unwrap_or(true) {
                return;
            }
        }
        let Some((piece, end)) = self.stream(id, |stream| {
            let (at, request) = (stream.arrived, &mut stream.request);
            stream.arrived += 1;
            let pieces = 1 + request.body.len() + usize::from(request.trailers.is_some());
            let piece = match at.checked_sub(1) {
                None => Piece::Headers(request.headers.clone()),
                Some(chunk) => match request.body.get_mut(chunk) {
                    Some(chunk) => Piece::Data(std::mem::take(chunk)),
                    None => Piece::Trailers(request.trailers.clone().unwrap_or_default()),
                },
            };
            (piece, at + 1 >= pieces)
        }) else {
            return;
        };
        self.receive(id, Dir::Request, piece, end);
        let more = self.side(id, Dir::Request, |side| !end && side.flow != Flow::Over && !side.pushed_back);
        if more == Some(true) {
            self.state.borrow_mut().ready.push_back(Step::Client(id));
        }
    }

    /// The next piece of the response arrives.
    pub(crate) fn upstream(self: &Rc<Self>, id: u64) {
        enum Next {
            Piece(Piece, bool),
            Cut,
        }
        let Some(Some(next)) = self.stream(id, |stream| {
            stream.encode.pushed_back = false;
            if stream.author != Author::Upstream || stream.encode.flow == Flow::Over {
                return None;
            }
            let at = stream.answered;
            let sent = stream.upstream.as_mut()?;
            let Sent { headers, body, trailers, cut } = sent;
            let pieces = if headers.0.is_empty() { 0 } else { 1 + body.len() + usize::from(trailers.is_some()) };
            if at >= pieces {
                return cut.then_some(Next::Cut);
            }
            stream.answered += 1;
            let piece = match at.checked_sub(1) {
                None => Piece::Headers(std::mem::take(headers)),
                Some(chunk) => match body.get_mut(chunk) {
                    Some(chunk) => Piece::Data(std::mem::take(chunk)),
                    None => Piece::Trailers(trailers.take().unwrap_or_default()),
                },
            };
            if at == 0 {
                // The place of the headers must not look empty.
                headers.add(":status", "taken");
            }
            let end = at + 1 >= pieces && !*cut;
            Some(Next::Piece(piece, end))
        }) else {
            return;
        };
        match next {
            Next::Cut => self.overtake(id, if self.answered(id) { 502 } else { 503 }),
            Next::Piece(piece, end) => {
                self.receive(id, Dir::Response, piece, end);
                let more = self.side(id, Dir::Response, |side| !end && side.flow != Flow::Over && !side.pushed_back);
                if more == Some(true) {
                    self.state.borrow_mut().ready.push_back(Step::Upstream(id));
                }
            }
        }
    }

    fn answered(&self, id: u64) -> bool {
        self.side(id, Dir::Response, |side| side.flow != Flow::Ahead).unwrap_or(false)
    }

    // ---- the filter ------------------------------------------------------------------------------------------------

    fn receive(self: &Rc<Self>, id: u64, dir: Dir, piece: Piece, end: bool) {
        match piece {
            Piece::Headers(headers) => self.headers(id, dir, headers, end),
            Piece::Data(bytes) => {
                let limit = self.state.borrow().profile.buffer_limit;
                let stopped = self.side(id, dir, |side| {
                    side.ended = end;
                    if side.flow != Flow::StopAll {
                        return false;
                    }
                    side.buffer.extend_from_slice(&bytes);
                    side.pushed_back = side.buffer.len() > limit;
                    true
                });
                if stopped == Some(false) {
                    self.data(id, dir, bytes, end);
                }
            }
            Piece::Trailers(trailers) => {
                let stopped = self.side(id, dir, |side| {
                    side.ended = true;
                    side.trailers = Some(trailers);
                    side.flow == Flow::StopAll
                });
                if stopped == Some(false) {
                    self.trailers(id, dir);
                }
            }
        }
    }

    fn headers(self: &Rc<Self>, id: u64, dir: Dir, headers: Headers, end: bool) {
        let count = u32::try_from(headers.0.len()).unwrap_or(u32::MAX);
        let begun = self.side(id, dir, |side| {
            if side.flow == Flow::Over {
                return false;
            }
            side.headers = headers;
            (side.writable, side.only_headers, side.ended, side.flow) = (true, end, end, Flow::Going);
            true
        });
        if begun != Some(true) {
            return;
        }
        let (name, last) = match dir {
            Dir::Request => ("proxy_on_request_headers", u32::from(end)),
            Dir::Response => ("proxy_on_response_headers", u32::from(end)),
        };
        let result = self.stream_callback(id, name, |machine, context| {
            let export = match dir {
                Dir::Request => &machine.exports.request_headers,
                Dir::Response => &machine.exports.response_headers,
            };
            export.as_ref().map_or(Ok(0), |export| export.call(&mut machine.store, (context, count, last)))
        });
        let iterates = self.state.borrow().profile.body_iteration;
        let flow = match result {
            None => {
                self.lost(id);
                Flow::Going
            }
            Some((_, true)) => Flow::StopAll,
            Some((0 | 2, _)) => Flow::Going,
            Some((1, _)) if iterates => Flow::StopHeaders,
            Some(_) => Flow::StopAll,
        };
        // While the callback ran, a reply may have taken this direction's place, or the stream may have ended.
        let going = self.side(id, dir, |side| {
            if side.flow != Flow::Going {
                return false;
            }
            side.flow = flow;
            flow == Flow::Going
        });
        if going == Some(true) {
            self.pass_headers(id, dir);
        }
    }

    fn data(self: &Rc<Self>, id: u64, dir: Dir, bytes: Vec<u8>, end: bool) {
        let size = self.side(id, dir, |side| {
            side.visible = std::mem::take(&mut side.buffer);
            side.visible.extend_from_slice(&bytes);
            u32::try_from(side.visible.len()).unwrap_or(u32::MAX)
        });
        let Some(size) = size else { return };
        let name = match dir {
            Dir::Request => "proxy_on_request_body",
            Dir::Response => "proxy_on_response_body",
        };
        let result = self.stream_callback(id, name, |machine, context| {
            let export = match dir {
                Dir::Request => &machine.exports.request_body,
                Dir::Response => &machine.exports.response_body,
            };
            export.as_ref().map_or(Ok(0), |export| export.call(&mut machine.store, (context, size, u32::from(end))))
        });
        let limit = self.state.borrow().profile.buffer_limit;
        let rest = match result {
            None => {
                self.lost(id);
                Rest::Continue
            }
            Some((0, false)) => Rest::Continue,
            Some((1, false)) => Rest::Buffer,
            Some((2, false)) => Rest::Watermark,
            Some(_) => Rest::Drop,
        };
        let Some((visible, flow)) = self.side(id, dir, |side| (std::mem::take(&mut side.visible), side.flow)) else {
            return;
        };
        if flow == Flow::Over {
            return;
        }
        match rest {
            Rest::Continue => {
                self.side(id, dir, |side| side.flow = Flow::Going);
                self.pass_headers(id, dir);
                self.pass_data(id, dir, visible, end);
            }
            Rest::Buffer | Rest::Watermark => {
                let over = visible.len() > limit;
                let watermark = matches!(rest, Rest::Watermark);
                self.side(id, dir, |side| {
                    side.buffer = visible;
                    side.flow = Flow::StopHeaders;
                    side.pushed_back = over && watermark;
                });
                if over && !watermark {
                    self.too_large(id, dir);
                }
            }
            Rest::Drop => {
                self.side(id, dir, |side| side.flow = Flow::StopHeaders);
            }
        }
    }

    fn trailers(self: &Rc<Self>, id: u64, dir: Dir) {
        let name = match dir {
            Dir::Request => "proxy_on_request_trailers",
            Dir::Response => "proxy_on_response_trailers",
        };
        self.side(id, dir, |side| side.visible = side.buffer.clone());
        let result = self.stream_callback(id, name, |machine, context| {
            let export = match dir {
                Dir::Request => &machine.exports.request_trailers,
                Dir::Response => &machine.exports.response_trailers,
            };
            export.as_ref().map_or(Ok(0), |export| export.call(&mut machine.store, (context, 0)))
        });
        let going = match result {
            None => {
                self.lost(id);
                true
            }
            Some((result, stopped)) => result == 0 && !stopped,
        };
        let over = self.side(id, dir, |side| {
            side.visible.clear();
            if side.flow != Flow::Over {
                side.flow = if going { Flow::Going } else { Flow::StopHeaders };
            }
            side.flow == Flow::Over
        });
        if over == Some(false) && going {
            self.pass_headers(id, dir);
            let held = self.side(id, dir, |side| std::mem::take(&mut side.buffer)).unwrap_or_default();
            if !held.is_empty() {
                self.pass_data(id, dir, held, false);
            }
            self.pass_trailers(id, dir);
        }
    }

    /// `proxy_continue_stream`.
    pub(crate) fn go_on(self: &Rc<Self>, id: u64, dir: Dir) {
        let held = self.side(id, dir, |side| {
            let all = match side.flow {
                Flow::StopAll => true,
                Flow::StopHeaders => false,
                Flow::Ahead | Flow::Going | Flow::Over => return None,
            };
            side.flow = Flow::Going;
            side.writable = false;
            let last = side.ended && !side.only_headers && side.trailers.is_none();
            let pushed_back = std::mem::take(&mut side.pushed_back);
            Some((all, std::mem::take(&mut side.buffer), last, pushed_back))
        });
        let Some(Some((all, buffer, last, pushed_back))) = held else { return };
        self.pass_headers(id, dir);
        if !buffer.is_empty() || last {
            // What came while everything was stopped has not met this filter yet.
            if all { self.data(id, dir, buffer, last) } else { self.pass_data(id, dir, buffer, last) }
        }
        let trailers = self.side(id, dir, |side| side.trailers.is_some() && side.flow == Flow::Going);
        if trailers == Some(true) {
            if all { self.trailers(id, dir) } else { self.pass_trailers(id, dir) }
        }
        if pushed_back {
            let step = match dir {
                Dir::Request => Step::Client(id),
                Dir::Response => Step::Upstream(id),
            };
            self.state.borrow_mut().ready.push_back(step);
        }
    }

    // ---- sinks -----------------------------------------------------------------------------------------------------

    fn pass_headers(self: &Rc<Self>, id: u64, dir: Dir) {
        let only = self.side(id, dir, |side| {
            side.writable = false;
            (!std::mem::replace(&mut side.passed, true)).then_some(side.only_headers)
        });
        let Some(Some(only)) = only else { return };
        match dir {
            Dir::Request => {
                self.stream(id, |stream| stream.seen.headers = stream.decode.headers.clone());
                if only {
                    self.request_complete(id);
                }
            }
            Dir::Response => {
                let (headers, author) = self
                    .stream(id, |stream| (stream.encode.headers.clone(), stream.author))
                    .unwrap_or((Headers::default(), Author::Host));
                self.release(id, headers, author);
                if only {
                    self.finish(id, true);
                }
            }
        }
    }

    fn pass_data(self: &Rc<Self>, id: u64, dir: Dir, bytes: Vec<u8>, end: bool) {
        self.stream(id, |stream| match dir {
            Dir::Request => stream.seen.body.extend_from_slice(&bytes),
            Dir::Response => {
                if let Some(reply) = &mut stream.reply {
                    reply.body.extend_from_slice(&bytes);
                }
            }
        });
        if end {
            self.passed_all(id, dir);
        }
    }

    fn pass_trailers(self: &Rc<Self>, id: u64, dir: Dir) {
        self.stream(id, |stream| {
            let trailers = stream.side(dir).trailers.take();
            match dir {
                Dir::Request => stream.seen.trailers = trailers,
                Dir::Response => {
                    if let Some(reply) = &mut stream.reply {
                        reply.trailers = trailers;
                    }
                }
            }
        });
        self.passed_all(id, dir);
    }

    fn passed_all(self: &Rc<Self>, id: u64, dir: Dir) {
        match dir {
            Dir::Request => self.request_complete(id),
            Dir::Response => self.finish(id, true),
        }
    }

    fn request_complete(self: &Rc<Self>, id: u64) {
        let now = self.state.borrow().millis();
        let seen = self.stream(id, |stream| {
            (stream.seen.stream, stream.seen.at) = (id, now);
            stream.seen.clone()
        });
        let Some(seen) = seen else { return };
        let service = self.world.borrow_mut().upstream(&seen);
        let mut state = self.state.borrow_mut();
        if let Service::Respond(when, sent) = service {
            if let Some(stream) = state.streams.get_mut(&id) {
                stream.upstream = Some(sent);
            }
            match when {
                When::Soon => state.ready.push_back(Step::Upstream(id)),
                When::After(millis) => state.after(millis, Step::Upstream(id)),
            }
        }
    }

    /// Response headers leave for the client.
    fn release(self: &Rc<Self>, id: u64, headers: Headers, author: Author) {
        let now = self.state.borrow().millis();
        let response = Response {
            status: headers.status(),
            headers,
            body: Vec::new(),
            trailers: None,
            author,
            released_at: now,
            whole: false,
        };
        self.world.borrow_mut().released(id, &response);
        self.stream(id, |stream| stream.reply = Some(response));
    }

    // ---- replies of the filter's and the host's --------------------------------------------------------------------

    /// A reply in the upstream's place: through the filter if no response has come to it yet, else straight out.
    pub(crate) fn local_reply(
        self: &Rc<Self>,
        id: u64,
        author: Author,
        status: u16,
        mut headers: Headers,
        body: Vec<u8>,
    ) {
        headers.remove(":status");
        headers.remove("content-length");
        headers.0.insert(0, (b":status".to_vec(), status.to_string().into_bytes()));
        if !body.is_empty() {
            headers.add("content-length", body.len().to_string());
        }
        let way = self.stream(id, |stream| {
            stream.decode.flow = Flow::Over;
            let through = stream.encode.flow == Flow::Ahead;
            if stream.reply.is_none() {
                stream.author = author;
            }
            (stream.reply.is_some(), through)
        });
        match way {
            // Its headers have left: the stream breaks.
            Some((true, _)) => self.finish(id, false),
            Some((false, true)) => {
                self.headers(id, Dir::Response, headers, body.is_empty());
                if !body.is_empty() {
                    self.receive(id, Dir::Response, Piece::Data(body), true);
                }
            }
            Some((false, false)) => self.direct_reply(id, author, headers, body),
            None => {}
        }
    }

    fn direct_reply(self: &Rc<Self>, id: u64, author: Author, headers: Headers, body: Vec<u8>) {
        self.stream(id, |stream| {
            stream.decode.flow = Flow::Over;
            stream.encode.flow = Flow::Over;
            stream.author = author;
        });
        self.release(id, headers, author);
        self.stream(id, |stream| {
            if let Some(reply) = &mut stream.reply {
                reply.body = body;
            }
        });
        self.finish(id, true);
    }

    fn host_reply(status: u16) -> Headers {
        Headers::from_iter([(":status", status.to_string())])
    }

    fn too_large(self: &Rc<Self>, id: u64, dir: Dir) {
        match dir {
            Dir::Request => self.local_reply(id, Author::Host, 413, Headers::default(), b"Payload Too Large".to_vec()),
            Dir::Response if self.stream(id, |stream| stream.reply.is_some()) == Some(true) => self.finish(id, false),
            Dir::Response => self.direct_reply(id, Author::Host, Self::host_reply(500), Vec::new()),
        }
    }

    /// The VM of a stream is gone: closed, the stream fails; open, it goes on.
    fn lost(self: &Rc<Self>, id: u64) {
        if self.state.borrow().profile.on_trap == OnTrap::Open {
            return;
        }
        match self.stream(id, |stream| stream.reply.is_some()) {
            Some(true) => self.finish(id, false),
            Some(false) => self.direct_reply(id, Author::Host, Self::host_reply(503), Vec::new()),
            None => {}
        }
    }

    /// See [`Host::overtake`](crate::Host::overtake).
    pub(crate) fn overtake(self: &Rc<Self>, id: u64, status: u16) {
        let way = self.stream(id, |stream| (stream.reply.is_some(), stream.encode.flow == Flow::Ahead));
        match way {
            Some((true, _)) => self.finish(id, false),
            Some((false, true)) => {
                self.local_reply(id, Author::Host, status, Headers::default(), b"upstream failure".to_vec());
            }
            Some((false, false)) => self.direct_reply(id, Author::Host, Self::host_reply(status), Vec::new()),
            None => {}
        }
    }

    pub(crate) fn abort(self: &Rc<Self>, id: u64) {
        self.finish(id, false);
    }

    /// The stream is over: log, done, delete.
    fn finish(self: &Rc<Self>, id: u64, whole: bool) {
        let ended = self.stream(id, |stream| {
            stream.decode.flow = Flow::Over;
            stream.encode.flow = Flow::Over;
            if let Some(reply) = &mut stream.reply {
                reply.whole = whole;
            }
            stream.closed = true;
            (stream.vm, stream.life, stream.context)
        });
        let Some((vm, life, context)) = ended else { return };
        self.stream_callback(id, "proxy_on_log", |machine, context| {
            machine.exports.log.as_ref().map_or(Ok(()), |log| log.call(&mut machine.store, context))
        });
        self.stream_callback(id, "proxy_on_done", |machine, context| {
            machine.exports.done.as_ref().map_or(Ok(1), |done| done.call(&mut machine.store, context))
        });
        self.stream_callback(id, "proxy_on_delete", |machine, context| {
            machine.exports.delete.as_ref().map_or(Ok(()), |delete| delete.call(&mut machine.store, context))
        });
        let mut state = self.state.borrow_mut();
        if let Some(worker) = state.vms.get_mut(vm).filter(|worker| worker.life == life) {
            worker.contexts.remove(&context);
        }
    }
}

/// A part of a message.
enum Piece {
    Headers(Headers),
    Data(Vec<u8>),
    Trailers(Headers),
}
