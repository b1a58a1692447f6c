//! What travels: requests, responses, callouts.

/// Header fields in order, names in lower case, pseudo headers included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.bytes(name.as_bytes())
    }

    /// The first value of `name`, if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    pub(crate) fn bytes(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// Adds a field.
    pub fn add(&mut self, name: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) {
        self.0.push((name.as_ref().to_ascii_lowercase(), value.into()));
    }

    /// Replaces every field of this name by one, which takes the place of the first.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) {
        let name = name.as_ref().to_ascii_lowercase();
        match self.0.iter().position(|(known, _)| *known == name) {
            Some(at) => {
                if let Some((_, old)) = self.0.get_mut(at) {
                    *old = value.into();
                }
                let mut index = 0;
                self.0.retain(|(known, _)| {
                    index += 1;
                    index <= at + 1 || *known != name
                });
            }
            None => self.0.push((name, value.into())),
        }
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_ref()));
    }

    /// The value of `:status`, 0 if there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.text(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

impl<N: AsRef<[u8]>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.as_ref().to_ascii_lowercase(), value.into())).collect())
    }
}

/// A request as a client sends it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Header fields, pseudo headers included.
    pub headers: Headers,
    /// Body, in the chunks in which it arrives. None: the request ends with its headers.
    pub body: Vec<Vec<u8>>,
    /// Trailers, if there are any.
    pub trailers: Option<Headers>,
    /// `source.address`.
    pub source: String,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
        Self {
            headers: Headers::from_iter(pseudo),
            body: Vec::new(),
            trailers: None,
            source: "192.0.2.1:4711".to_owned(),
        }
    }

    /// With a header field more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.add(name, value);
        self
    }

    /// With a chunk of body more.
    #[must_use]
    pub fn chunk(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body.push(bytes.into());
        self
    }

    /// With trailers.
    #[must_use]
    pub fn trailers(mut self, trailers: Headers) -> Self {
        self.trailers = Some(trailers);
        self
    }
}

/// A request as the upstream sees it.
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    /// The stream's number.
    pub stream: u64,
    /// Header fields after the filter.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Option<Headers>,
    /// Virtual milliseconds at which it was complete.
    pub at: u64,
}

/// A response as an upstream sends it.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Header fields, `:status` included.
    pub headers: Headers,
    /// Body, in the chunks in which it arrives.
    pub body: Vec<Vec<u8>>,
    /// Trailers.
    pub trailers: Option<Headers>,
    /// The upstream resets the stream instead of ending it: before the headers if there are none, else after what is
    /// here.
    pub cut: bool,
}

impl Sent {
    /// A response with this status and body; an empty body ends it with its headers.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            headers: Headers::from_iter([(":status", status.to_string())]),
            body: if body.is_empty() { Vec::new() } else { vec![body] },
            trailers: None,
            cut: false,
        }
    }

    /// The upstream resets before it answers.
    #[must_use]
    pub fn reset() -> Self {
        Self { cut: true, ..Self::default() }
    }
}

/// Who made a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The upstream.
    Upstream,
    /// The filter.
    Filter,
    /// The host: a timeout, a limit, a VM that is gone.
    Host,
}

/// A response as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
    /// Body, as far as it came.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Option<Headers>,
    /// Who made it.
    pub author: Author,
    /// Virtual milliseconds at which its headers left.
    pub released_at: u64,
    /// Whether it came to its end.
    pub whole: bool,
}

/// A callout as the service sees it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number, for [`Host::answer`](crate::Host::answer).
    pub id: u64,
    /// The VM that made it.
    pub vm: usize,
    /// Envoy's cluster.
    pub cluster: String,
    /// Header fields, pseudo headers included.
    pub headers: Headers,
    /// Body.
    pub body: Vec<u8>,
    /// Milliseconds after which the host gives up.
    pub timeout: u32,
    /// Virtual milliseconds at which it left.
    pub at: u64,
}

impl Call {
    /// Value of `:path`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.headers.text(":path").unwrap_or_default()
    }
}

/// What a callout brings.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A response. A refused connection is a 503 in Envoy, a timeout a 504.
    Http(Headers, Vec<u8>),
    /// Nothing: the callback gets no header and no byte.
    Reset,
}

impl Answer {
    /// A response with this status and body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Http(Headers::from_iter([(":status", status.to_string())]), body.into())
    }
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As soon as the schedule comes to it.
    Soon,
    /// This many virtual milliseconds later.
    After(u64),
}

/// What becomes of a callout.
#[derive(Clone, Debug)]
pub enum Handling {
    /// The host call fails with this status: nothing leaves.
    Refuse(u32),
    /// It is answered, unless the timeout comes first.
    Answer(When, Answer),
    /// It waits for [`Host::answer`](crate::Host::answer), or for its timeout.
    Wait,
}

/// What becomes of a request at the upstream.
#[derive(Clone, Debug)]
pub enum Service {
    /// It is answered.
    Respond(When, Sent),
    /// It waits for [`Host::respond`](crate::Host::respond).
    Wait,
}

/// Everything outside the proxy: the services that callouts go to, and the upstream.
///
/// It is asked inside host calls, so it must not call the host.
pub trait World {
    /// A callout leaves.
    fn call(&mut self, call: &Call) -> Handling;
    /// A request is complete at the upstream.
    fn upstream(&mut self, request: &Forwarded) -> Service;
    /// A response's headers leave for the client.
    fn released(&mut self, _stream: u64, _response: &Response) {}
}
