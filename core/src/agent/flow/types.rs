//! What passes between an agent and its world.

use super::super::answer::Fault;
use super::super::challenge;
use super::super::counters::{Outcome, Question, Reservation};
use super::super::decide::{Denied, Explanation};
use super::super::event::Event;
use super::super::pay::{BadSignature, NotSigned};
use super::super::reason::Reason;
use super::super::receipt::Receipt;
use super::super::request::{Body, Quote, Request, Url};
use super::super::store::StoreFailed;
use super::super::wallet::{TokenInfo, TokenUse};
use crate::host::HostError;
use crate::http::Headers;
use crate::proof::CAPABILITY_TOKEN;
use crate::rail::x402::{payment, v1};
use std::fmt;
use std::future::Future;

/// The world of an agent: its clock, its randomness, and HTTP.
pub trait World {
    /// The body of a response, of which the agent reads only challenges and problems.
    type Body;

    /// Wall-clock time in Unix seconds.
    fn now(&self) -> u64;

    /// Fills `out` with cryptographically secure random bytes.
    ///
    /// # Errors
    /// If there are none to have; nothing is paid then.
    fn random(&self, out: &mut [u8]) -> Result<(), HostError>;

    /// Resolves after about `millis` milliseconds.
    fn sleep(&self, millis: u64) -> impl Future<Output = ()>;

    /// Sends a request once and waits for the headers of its response. It must follow no redirect of a request that
    /// carries a credential ([`Message::credential`]), and send nothing twice by itself.
    ///
    /// # Errors
    /// [`NoAnswer`] if there is none; the request may have arrived.
    fn send(&self, message: &Message<'_>) -> impl Future<Output = Result<Response<Self::Body>, NoAnswer>>;

    /// At most `limit` bytes of a body, and the body for whoever reads it next; what is longer comes cut.
    fn peek(&self, body: Self::Body, limit: usize) -> impl Future<Output = (Vec<u8>, Self::Body)>;

    /// Something has happened, for whoever watches. What is done here decides nothing, and must not wait.
    fn event(&self, event: &Event<'_>) {
        let _ = event;
    }
}

/// A request as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Method.
    pub method: &'a str,
    /// Absolute URL.
    pub url: &'a str,
    /// Header fields of the caller.
    pub headers: &'a [(String, String)],
    /// Body bytes.
    pub body: &'a [u8],
    /// Header fields, besides those of the caller, that carry a payment, or a token and its proof: names in lower
    /// case, and values. A request that has any is never redirected.
    pub credential: &'a [(String, String)],
}

impl Message<'_> {
    /// The value of one of the credential's fields.
    #[must_use]
    pub fn shown(&self, name: &str) -> Option<&str> {
        self.credential.iter().find(|(shown, _)| shown == name).map(|(_, value)| value.as_str())
    }

    /// The payment that it carries.
    #[must_use]
    pub fn payment(&self) -> Option<&str> {
        self.shown(payment::HEADER).or_else(|| self.shown(v1::HEADER))
    }
}

/// A response whose body has not been read.
#[derive(Clone, Debug)]
pub struct Response<B> {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
    /// The URL that answered, after redirects of a request without a credential.
    pub url: String,
    /// The body.
    pub body: B,
}

/// There was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// What a caller wants.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Method; empty for `GET`.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Body bytes.
    pub body: Vec<u8>,
    /// The task it belongs to, named by the program, never by a model.
    pub task: Option<String>,
    /// The agent that asks, likewise.
    pub agent: Option<String>,
    /// What the caller was told that it costs.
    pub quote: Option<Quote>,
}

impl Wanted {
    /// A GET.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    pub(super) fn method(&self) -> &str {
        if self.method.is_empty() { "GET" } else { &self.method }
    }

    pub(super) fn message<'a>(&'a self, url: &'a str, credential: &'a [(String, String)]) -> Message<'a> {
        Message { method: self.method(), url, headers: &self.headers, body: &self.body, credential }
    }

    /// What of it may decide, once `url` has answered.
    pub(super) fn request(&self, url: &str) -> Result<Request, &'static str> {
        let ours = [payment::HEADER, v1::HEADER, CAPABILITY_TOKEN];
        if self.headers.iter().any(|(name, _)| ours.iter().any(|ours| name.eq_ignore_ascii_case(ours))) {
            return Err("payments and tokens are the agent's to show");
        }
        let mut request = Request::new(self.method(), url)?;
        request.asked = Some(Url::parse(&self.url)?).filter(|asked| asked.text() != request.url.text());
        request.body = Body::of(&self.body);
        request.task.clone_from(&self.task);
        request.agent.clone_from(&self.agent);
        request.quote = self.quote;
        Ok(request)
    }
}

/// A response, and what was paid for it.
#[derive(Clone, Debug)]
pub struct Fetched<B> {
    /// The response.
    pub response: Response<B>,
    /// What was paid, if anything.
    pub paid: Option<Paid>,
    /// The token that it was called with in place of a payment, if one was.
    pub token: Option<TokenUse>,
    /// The token that came with the response, if it was kept.
    pub kept: Option<TokenInfo>,
    /// Receipts that came with the response, each with whether it is good.
    pub receipts: Vec<Receipt>,
}

impl<B> Fetched<B> {
    /// A response that nothing was paid for.
    pub(super) fn free(response: Response<B>) -> Self {
        Self { response, paid: None, token: None, kept: None, receipts: Vec::new() }
    }
}

/// What was paid, or may have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Paid {
    /// Name of the reservation.
    pub id: String,
    /// What was reserved.
    pub reservation: Reservation,
    /// What became of it.
    pub outcome: Outcome,
    /// What was wrong with how the seller dealt with it.
    pub faults: Vec<Fault>,
    /// The code of a refusal.
    pub code: Option<String>,
    /// The transaction that the seller names.
    pub transaction: Option<String>,
    /// Receipts that came with the answer, each with whether it is good.
    pub receipts: Vec<Receipt>,
    /// How the decision to pay came about; empty for a payment that was made earlier and sent again.
    pub explanation: Explanation,
}

/// Why there is no response to hand over.
#[derive(Debug)]
pub enum FetchError {
    /// The request cannot be sent or judged.
    Request(&'static str),
    /// There was no answer, and nothing had been paid.
    NoAnswer,
    /// The 402 has no challenge that can be read.
    Challenge(challenge::Refused),
    /// The policy denies the payment.
    Denied(Denied, Explanation),
    /// Somebody must approve the payment first; then the same request is sent again.
    ApprovalNeeded(Box<Question>, Explanation),
    /// The payment was not signed; nothing was paid.
    NotSigned(NotSigned),
    /// The signer signed something else; nothing was paid.
    BadSignature(BadSignature),
    /// The counters could not be read or written.
    Store(StoreFailed),
    /// There is no randomness.
    Random,
    /// The payment was sent, and there was no usable answer. The same request later sends the same payment.
    Doubtful(Box<Paid>),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(why) => f.write_str(why),
            Self::NoAnswer => f.write_str("there was no answer, and nothing had been paid"),
            Self::Challenge(refused) => refused.fmt(f),
            Self::Denied(denied, _) => {
                let codes: Vec<&str> = denied.reasons.iter().map(|reason| reason.wire()).collect();
                write!(f, "the policy denies the payment: {}", codes.join(", "))
            }
            Self::ApprovalNeeded(question, _) => write!(f, "somebody must approve the payment {}", question.digest),
            Self::NotSigned(why) => why.fmt(f),
            Self::BadSignature(why) => why.fmt(f),
            Self::Store(why) => why.fmt(f),
            Self::Random => f.write_str("there is no randomness"),
            Self::Doubtful(_) => f.write_str("a payment was sent and not answered; the same request sends it again"),
        }
    }
}

impl std::error::Error for FetchError {}

impl FetchError {
    /// The codes besides those of a decision.
    pub const CODES: &'static [&'static str] =
        &["no_answer", "signature_declined", "signer_failed", "bad_signature", "store", "random", "doubtful"];

    /// A stable code: what of the engine failed, or the first reason of the decision ([`Reason`]).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => Reason::RequestUnreadable.wire(),
            Self::NoAnswer => "no_answer",
            Self::Challenge(refused) => refused.reason.wire(),
            Self::Denied(denied, _) => denied.reasons.first().map_or("", |reason| reason.wire()),
            Self::ApprovalNeeded(..) => Reason::ApprovalNeeded.wire(),
            Self::NotSigned(NotSigned::Declined) => "signature_declined",
            Self::NotSigned(NotSigned::Failed) => "signer_failed",
            Self::BadSignature(_) => "bad_signature",
            Self::Store(_) => "store",
            Self::Random => "random",
            Self::Doubtful(_) => "doubtful",
        }
    }
}

impl From<StoreFailed> for FetchError {
    fn from(failed: StoreFailed) -> Self {
        Self::Store(failed)
    }
}
