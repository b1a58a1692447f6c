//! A request from question to answer, paid on the way if the policy says so.

use super::answer::{self, Answer, Fault};
use super::challenge::{self, Challenge};
use super::counters::{Adopted, Approved, BadApproval, Counters, Left, Outcome, Payment, Question, Reservation};
use super::decide::{self, Decision, Denied, Explanation, Outcome as Decided};
use super::pay::{BadSignature, Binding, Draft, NotSigned, Signer};
use super::policy::Policy;
use super::purse::Purse;
use super::request::{Body, Quote, Request, Url};
use super::store::{Kept, Store, StoreFailed};
use crate::host::HostError;
use crate::http::Headers;
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
    /// carries a payment (`message.payment`), and send nothing twice by itself.
    ///
    /// # Errors
    /// [`NoAnswer`] if there is none; the request may have arrived.
    fn send(&self, message: &Message<'_>) -> impl Future<Output = Result<Response<Self::Body>, NoAnswer>>;

    /// At most `limit` bytes of a body, and the body for whoever reads it next; what is longer comes cut.
    fn peek(&self, body: Self::Body, limit: usize) -> impl Future<Output = (Vec<u8>, Self::Body)>;
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
    /// The header that carries a payment: name and value. Such a request is never redirected.
    pub payment: Option<(&'a str, &'a str)>,
}

/// A response whose body has not been read.
#[derive(Clone, Debug)]
pub struct Response<B> {
    /// HTTP status.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
    /// The URL that answered, after redirects of a request without payment.
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

    fn method(&self) -> &str {
        if self.method.is_empty() { "GET" } else { &self.method }
    }

    fn message<'a>(&'a self, url: &'a str, payment: Option<&'a Payment>) -> Message<'a> {
        Message {
            method: self.method(),
            url,
            headers: &self.headers,
            body: &self.body,
            payment: payment.map(|payment| (payment.header.as_str(), payment.value.as_str())),
        }
    }

    /// What of it may decide, once `url` has answered.
    fn request(&self, url: &str) -> Result<Request, &'static str> {
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
    /// Who signed the receipt, if there is a good one.
    pub receipt: Option<String>,
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

impl From<StoreFailed> for FetchError {
    fn from(failed: StoreFailed) -> Self {
        Self::Store(failed)
    }
}

/// The buyer's side: a policy, an account, and where they stand.
#[derive(Debug)]
pub struct Agent<W, S, K> {
    policy: Policy,
    purse: Purse,
    world: W,
    kept: Kept<S>,
    signer: K,
}

impl<W: World, S: Store, K: Signer> Agent<W, S, K> {
    /// An agent that pays by `policy`, with the accounts of `purse` that `signer` signs for.
    #[must_use]
    pub fn new(policy: Policy, purse: Purse, world: W, store: S, signer: K) -> Self {
        Self { policy, purse, world, kept: Kept::new(store), signer }
    }

    /// Writes the first counters. A person says so, or whoever sets up the agent: it is how its budgets are filled.
    /// `false` if there are counters, which stay as they are.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn begin(&self) -> Result<bool, StoreFailed> {
        self.kept.begin(&self.policy, self.world.now()).await
    }

    /// Sends a request, and pays for it if it must be paid for and the policy allows it.
    ///
    /// A payment that was made for the same request before, and never answered, is sent again in place of a new one.
    ///
    /// # Errors
    /// [`FetchError`]; a response that refuses the payment is a response.
    pub async fn fetch(&self, wanted: &Wanted) -> Result<Fetched<W::Body>, FetchError> {
        let asked = wanted.request(&wanted.url).map_err(FetchError::Request)?;
        if let Some((id, reservation)) = self.unanswered(&asked).await? {
            return self.send_paid(wanted, &asked, id, reservation, Explanation::default()).await;
        }
        let mut response =
            self.world.send(&wanted.message(&wanted.url, None)).await.map_err(|NoAnswer| FetchError::NoAnswer)?;
        if response.status != 402 {
            return Ok(Fetched { response, paid: None });
        }
        let request = wanted.request(&response.url).map_err(FetchError::Request)?;
        let body;
        (body, response.body) = self.world.peek(response.body, challenge::MAX_BODY + 1).await;
        let challenge = Challenge::read(&response.headers, &body).map_err(FetchError::Challenge)?;

        let mut id = [0; 16];
        self.world.random(&mut id).map_err(|HostError| FetchError::Random)?;
        let now = self.world.now();
        let reserve =
            |counters: &mut Counters| counters.reserve(&self.policy, &challenge, &request, &self.purse, id, now);
        let decision = self.kept.change(&self.policy, now, reserve).await?;
        let explanation = decision.explanation;
        let choice = match decision.outcome {
            Decided::Choose(choice) => choice,
            Decided::Deny(denied) => return Err(FetchError::Denied(denied, explanation)),
            Decided::Ask(asked) => {
                let question = asked.question.ok_or(StoreFailed)?;
                return Err(FetchError::ApprovalNeeded(question, explanation));
            }
        };

        let binding = Binding { id: &id, holder: None };
        let draft = Draft::new(&challenge, &choice, &request, binding, self.world.now()).ok_or(StoreFailed)?;
        let signature = match self.signer.sign(&draft).await {
            Ok(signature) => signature,
            Err(why) => {
                self.give_up(&id).await?;
                return Err(FetchError::NotSigned(why));
            }
        };
        let payment = match draft.finish(&signature) {
            Ok(payment) => payment,
            Err(why) => {
                self.give_up(&id).await?;
                return Err(FetchError::BadSignature(why));
            }
        };
        // From here on it may be spent. It is written down before it leaves, so that nothing can make us forget it.
        let now = self.world.now();
        let sign = |counters: &mut Counters| {
            counters.sign(&self.policy, &id, payment.clone(), now)?;
            Ok(counters.reservation(&id).cloned())
        };
        let signed: Result<_, super::counters::NotHeld> = self.kept.change(&self.policy, now, sign).await?;
        let Ok(Some(reservation)) = signed else { return Err(FetchError::Store(StoreFailed)) };
        self.send_paid(wanted, &request, super::counters::id_text(&id), reservation, explanation).await
    }

    /// The payment of an earlier attempt at the same request, if nobody knows what became of it.
    async fn unanswered(&self, request: &Request) -> Result<Option<(String, Reservation)>, FetchError> {
        let now = self.world.now();
        let counters = self.kept.read(&self.policy, now).await?;
        if counters.clone().resume(&self.policy, request, now).is_none() {
            return Ok(None);
        }
        let resume = |counters: &mut Counters| counters.resume(&self.policy, request, now);
        let resumed = self.kept.change(&self.policy, now, resume).await?;
        Ok(resumed.map(|resumed| (resumed.id, resumed.reservation)))
    }

    /// Sends a request with its payment, again if the answer allows it, and records what became of it.
    async fn send_paid(
        &self,
        wanted: &Wanted,
        request: &Request,
        id: String,
        reservation: Reservation,
        explanation: Explanation,
    ) -> Result<Fetched<W::Body>, FetchError> {
        let payment = reservation.payment.clone().ok_or(StoreFailed)?;
        let url = request.url.text();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let sent = self.world.send(&wanted.message(url, Some(&payment))).await;
            let now = self.world.now();
            let (answer, response) = match sent {
                Ok(mut response) => {
                    let mut body = Vec::new();
                    if response.status >= 400 {
                        (body, response.body) = self.world.peek(response.body, answer::MAX_BYTES).await;
                    }
                    let (status, headers) = (response.status, &response.headers);
                    let answer = answer::read(&self.policy, &reservation, &request.url, status, headers, &body, now);
                    (answer, Some(response))
                }
                Err(NoAnswer) => (Answer::none(), None),
            };
            if let Some(millis) = answer.resends(&reservation, attempt, now) {
                self.world.sleep(millis).await;
                continue;
            }
            let record = |counters: &mut Counters| {
                counters.conclude(&self.policy, &id, &answer.outcome, answer.faults.len(), now).ok()
            };
            // What cannot be recorded stays as it was: sent, and counted in full.
            let _ = self.kept.change(&self.policy, now, record).await;
            let paid = Paid {
                id,
                reservation,
                outcome: answer.outcome,
                faults: answer.faults,
                code: answer.code,
                transaction: answer.transaction,
                receipt: answer.receipt,
                explanation,
            };
            return match response {
                Some(response) => Ok(Fetched { response, paid: Some(paid) }),
                None => Err(FetchError::Doubtful(Box::new(paid))),
            };
        }
    }

    /// Gives back what was reserved for a payment that was not made.
    async fn give_up(&self, id: &[u8; 16]) -> Result<(), StoreFailed> {
        let now = self.world.now();
        let free = |counters: &mut Counters| {
            counters.conclude(&self.policy, &super::counters::id_text(id), &Outcome::NotSent, 0, now).ok()
        };
        self.kept.change(&self.policy, now, free).await.map(|_| ())
    }

    /// What would be decided about a request, without paying or reserving anything. `None`: it costs nothing.
    ///
    /// # Errors
    /// [`FetchError`] as for [`fetch`](Self::fetch).
    pub async fn plan(&self, wanted: &Wanted) -> Result<Option<(Challenge, Decision)>, FetchError> {
        let response =
            self.world.send(&wanted.message(&wanted.url, None)).await.map_err(|NoAnswer| FetchError::NoAnswer)?;
        if response.status != 402 {
            return Ok(None);
        }
        let request = wanted.request(&response.url).map_err(FetchError::Request)?;
        let (body, _) = self.world.peek(response.body, challenge::MAX_BODY + 1).await;
        let challenge = Challenge::read(&response.headers, &body).map_err(FetchError::Challenge)?;
        let now = self.world.now();
        let counters = self.kept.read(&self.policy, now).await?;
        let decision = decide::decide(&self.policy, &challenge, &request, &self.purse, &counters, now);
        Ok(Some((challenge, decision)))
    }

    /// An approver's signed answer to a question.
    ///
    /// # Errors
    /// If the store failed; or within, if the answer does not count.
    pub async fn approve(&self, jws: &str) -> Result<Result<Approved, BadApproval>, StoreFailed> {
        let now = self.world.now();
        self.kept.change(&self.policy, now, |counters| counters.approve(jws, now)).await
    }

    /// The yes of whoever the program has asked, outside of the model.
    ///
    /// # Errors
    /// If the store failed; or within, if the answer does not count.
    pub async fn approve_by_host(&self, digest: &str) -> Result<Result<Approved, BadApproval>, StoreFailed> {
        let now = self.world.now();
        self.kept.change(&self.policy, now, |counters| counters.approve_by_host(digest, now)).await
    }

    /// The no of whoever was asked, which also stops a payment that waits.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn reject(&self, digest: &str) -> Result<(), StoreFailed> {
        self.kept.change(&self.policy, self.world.now(), |counters| counters.reject(digest)).await
    }

    /// Puts another policy in force for everyone who shares the store.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn adopt(&mut self, policy: Policy, loosen: bool) -> Result<Adopted, FetchError> {
        let mut nonce = [0; 16];
        self.world.random(&mut nonce).map_err(|HostError| FetchError::Random)?;
        let now = self.world.now();
        let adopt = |counters: &mut Counters| counters.adopt(&policy, loosen, nonce, now);
        let adopted = self.kept.change(&self.policy, now, adopt).await?;
        if adopted == Adopted::Done {
            self.policy = policy;
        }
        Ok(adopted)
    }

    /// The counters as they are.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn counters(&self) -> Result<Counters, StoreFailed> {
        self.kept.read(&self.policy, self.world.now()).await
    }

    /// What is left of every budget.
    ///
    /// # Errors
    /// If the store failed.
    pub async fn left(&self) -> Result<Vec<Left>, StoreFailed> {
        Ok(self.counters().await?.left(&self.policy, self.world.now()))
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
