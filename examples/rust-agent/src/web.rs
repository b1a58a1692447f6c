//! The world: the machine's clock and randomness, and HTTP.

use farebox_core::agent::{Event, Message, NoAnswer, Response, World, policy::Policy, tell};
use farebox_core::host::HostError;
use farebox_core::http::Headers;
use std::io::{Cursor, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The body of a response, to be read.
pub type Body = Box<dyn Read>;

/// A blocking HTTP client.
pub struct Web {
    http: ureq::Agent,
    /// Says what happens to standard error, by this policy's units.
    watched: Option<Policy>,
}

impl Web {
    /// A client that gives up after a minute.
    #[must_use]
    pub fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { http: config.into(), watched: None }
    }

    /// Says each event to standard error, as JSON.
    #[must_use]
    pub fn watched(self, policy: &Policy) -> Self {
        Self { watched: Some(policy.clone()), ..self }
    }

    fn answer(&self, message: &Message<'_>) -> Result<Response<Body>, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(message.method).uri(message.url);
        for (name, value) in message.headers.iter().chain(message.credential) {
            request = request.header(name, value);
        }
        let request = request.body(message.body)?;
        // What carries a payment or a token goes nowhere else.
        let redirects = if message.credential.is_empty() { 5 } else { 0 };
        let request = self.http.configure_request(request).max_redirects(redirects);
        let response = self.http.run(request.save_redirect_history(true).build())?;
        let url = ureq::ResponseExt::get_uri(&response).to_string();
        let (parts, body) = response.into_parts();
        let mut headers = Headers::default();
        for (name, value) in &parts.headers {
            headers.push(name.as_str().as_bytes(), value.as_bytes());
        }
        Ok(Response { status: parts.status.as_u16(), headers, url, body: Box::new(body.into_reader()) })
    }
}

impl Default for Web {
    fn default() -> Self {
        Self::new()
    }
}

impl World for Web {
    type Body = Body;

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }

    fn random(&self, out: &mut [u8]) -> Result<(), HostError> {
        getrandom::fill(out).map_err(|_| HostError)
    }

    async fn sleep(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    async fn send(&self, message: &Message<'_>) -> Result<Response<Body>, NoAnswer> {
        self.answer(message).map_err(|_| NoAnswer)
    }

    async fn peek(&self, mut body: Body, limit: usize) -> (Vec<u8>, Body) {
        let mut beginning = Vec::new();
        // What cannot be read is not there; whoever reads on finds the same.
        let _ = body.by_ref().take(limit as u64).read_to_end(&mut beginning);
        let whole = Cursor::new(beginning.clone()).chain(body);
        (beginning, Box::new(whole))
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(policy) = &self.watched {
            eprintln!("{}", tell::event(policy, event));
        }
    }
}
