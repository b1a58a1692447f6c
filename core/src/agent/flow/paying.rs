//! A payment: reserved, signed, written down, sent, and sent again.

use super::super::answer::{self, Answer, Reply};
use super::super::challenge::Challenge;
use super::super::counters::{Counters, NotHeld, Outcome, Reservation, id_text, introduces};
use super::super::decide::{Explanation, Outcome as Decided};
use super::super::event::Event;
use super::super::holder::Holder;
use super::super::pay::{Binding, Draft, NotSigned, Signer};
use super::super::receipt::{Receipt, Wrong};
use super::super::request::Request;
use super::super::store::{Store, StoreFailed};
use super::super::wallet::{self, Parts, TokenInfo};
use super::owed::{Conclusion, Debt};
use super::{Agent, FetchError, Fetched, NoAnswer, Paid, Response, Wanted, World, keys};
use crate::json;
use crate::token::KeySet;
use serde_json::Value;

/// Bytes of the answer that is a token in place of a delivery.
const MAX_TOKEN_BODY: usize = 16 * 1024;

/// What became of a payment that was sent.
pub(super) struct Sent<B> {
    pub(super) fetched: Fetched<B>,
    /// Whether the answer is the token alone, with which the call can now be made.
    pub(super) token_alone: bool,
}

impl<W: World, S: Store, K: Signer, H: Holder> Agent<W, S, K, H> {
    /// Pays for a request, if the policy says so.
    pub(super) async fn pay(
        &self,
        wanted: &Wanted,
        request: &Request,
        challenge: &Challenge,
    ) -> Result<Sent<W::Body>, FetchError> {
        let id = self.random()?;
        let name = id_text(&id);
        let now = self.world.now();
        // From the first write on, a call that is dropped leaves something behind.
        let debt = Debt::of_call(&self.owed, &name);
        let left = self.memory.left(self.kept.read(&self.policy, now).await?.wallet());
        let reserve = |counters: &mut Counters| {
            self.count_visits(counters, now);
            for (token, left) in &left {
                counters.wallet_mut().note_left(token, left);
            }
            let decision = counters.reserve(&self.policy, challenge, request, &self.purse, id, now);
            (decision, counters.reservation(&id).cloned())
        };
        let (decision, reservation) = self.kept.change(&self.policy, now, reserve).await?;
        self.visits.borrow_mut().clear();
        let held = reservation.is_some().then_some(name.as_str());
        self.world.event(&Event::Decided { id: held, request, challenge, decision: &decision });
        let explanation = decision.explanation;
        let choice = match decision.outcome {
            Decided::Choose(choice) => choice,
            Decided::Deny(denied) => {
                debt.settle();
                return Err(FetchError::Denied(denied, explanation));
            }
            Decided::Ask(asked) => {
                debt.settle();
                let question = asked.question.ok_or(StoreFailed)?;
                return Err(FetchError::ApprovalNeeded(question, explanation));
            }
        };
        let reservation = reservation.ok_or(StoreFailed)?;
        self.world.event(&Event::Reserved { id: &name, reservation: &reservation });

        let holder = self.purse.holder.as_deref().filter(|_| introduces(challenge, &choice));
        let binding = Binding { id: &id, holder };
        let draft = Draft::new(challenge, &choice, request, binding, self.world.now()).ok_or(StoreFailed)?;
        let signed = match self.signer.sign(&draft).await {
            Ok(signature) => draft.finish(&signature).map_err(FetchError::BadSignature),
            Err(why) => Err(FetchError::NotSigned(why)),
        };
        let now = self.world.now();
        // Whoever signs may take longer than the payment is good for.
        let in_time = |payment| {
            if answer::is_in_time(&payment, now) { Ok(payment) } else { Err(FetchError::NotSigned(NotSigned::Failed)) }
        };
        let payment = match signed.and_then(in_time) {
            Ok(payment) => payment,
            Err(why) => {
                self.give_up(&id, why.code()).await?;
                debt.settle();
                return Err(why);
            }
        };
        // From here on it may be spent. It is written down before it leaves, so that nothing can make us forget it.
        let sign = |counters: &mut Counters| {
            counters.sign(&self.policy, &id, payment.clone(), now)?;
            Ok(counters.reservation(&id).cloned())
        };
        let signed: Result<_, NotHeld> = self.kept.change(&self.policy, now, sign).await?;
        debt.settle();
        let Ok(Some(reservation)) = signed else { return Err(FetchError::Store(StoreFailed)) };
        self.world.event(&Event::Signed { id: &name, reservation: &reservation });
        self.send_paid(wanted, request, name, reservation, explanation, false).await
    }

    /// Sends a request with its payment, again if the answer allows it, and records what became of it.
    pub(super) async fn send_paid(
        &self,
        wanted: &Wanted,
        request: &Request,
        id: String,
        reservation: Reservation,
        explanation: Explanation,
        resumed: bool,
    ) -> Result<Sent<W::Body>, FetchError> {
        let url = request.url.text();
        let debt = Debt::of_call(&self.owed, &id);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let credential = self.shown_payment(wanted, request, &reservation).await?;
            self.world.event(&Event::Sent { id: &id, attempt });
            let sent = self.world.send(&wanted.message(url, &credential)).await;
            let (answer, response) = match sent {
                Ok(response) => {
                    let (answer, response) = self.read_answer(request, &reservation, response).await;
                    (answer, Some(response))
                }
                Err(NoAnswer) => (Answer::none(), None),
            };
            let now = self.world.now();
            if let Some(millis) = answer.resends(&reservation, attempt, now) {
                self.world.sleep(millis).await;
                continue;
            }
            let conclusion = Conclusion {
                id: id.clone(),
                outcome: answer.outcome.clone(),
                faults: answer.faults.len(),
                token: answer.token.clone(),
                resource: request.url.resource(),
            };
            let written = self.conclude(debt, conclusion).await;
            let token = answer.token.as_deref().filter(|_| written);
            let kept = token.and_then(|token| TokenInfo::of(token).ok());
            let repeated = resumed || attempt > 1;
            let paid = Paid {
                id,
                reservation,
                outcome: answer.outcome,
                faults: answer.faults,
                code: answer.code,
                transaction: answer.transaction,
                receipts: answer.receipts,
                explanation,
            };
            self.tell(&paid, kept.as_ref());
            let Some(mut response) = response else { return Err(FetchError::Doubtful(Box::new(paid))) };
            let mut token_alone = false;
            if let Some(token) = answer.token.filter(|_| repeated && response.status == 200) {
                let (body, rest) = self.world.peek(response.body, MAX_TOKEN_BODY).await;
                response.body = rest;
                token_alone = is_token_alone(&body, &token);
            }
            let receipts: Vec<Receipt> = paid.receipts.clone();
            let fetched = Fetched { response, paid: Some(paid), token: None, kept, receipts };
            return Ok(Sent { fetched, token_alone });
        }
    }

    /// The fields that carry a payment, and that introduce our key if the payment is bound to it.
    async fn shown_payment(
        &self,
        wanted: &Wanted,
        request: &Request,
        reservation: &Reservation,
    ) -> Result<Vec<(String, String)>, FetchError> {
        let payment = reservation.payment.as_ref().ok_or(StoreFailed)?;
        let ours = self.purse.holder.as_ref().filter(|ours| reservation.introduces.as_ref() == Some(*ours));
        let plain = vec![(payment.header.clone(), payment.value.clone())];
        if ours.is_none() {
            return Ok(plain);
        }
        let parts = self.parts(wanted, request, self.random()?);
        let introduced = wallet::introduce((&payment.header, &payment.value), &self.holder, &parts).await;
        // The payment is made by now, and is better sent for a token of any bearer than kept.
        Ok(introduced.unwrap_or(plain))
    }

    pub(super) fn parts<'a>(&self, wanted: &'a Wanted, request: &'a Request, nonce: [u8; 16]) -> Parts<'a> {
        Parts {
            method: wanted.method(),
            url: &request.url,
            headers: &wanted.headers,
            body: &wanted.body,
            now: self.world.now(),
            nonce,
        }
    }

    /// Reads the answer to a payment; the response comes back for whoever asked.
    async fn read_answer(
        &self,
        request: &Request,
        reservation: &Reservation,
        mut response: Response<W::Body>,
    ) -> (Answer, Response<W::Body>) {
        let mut body = Vec::new();
        if response.status >= 400 {
            (body, response.body) = self.world.peek(response.body, answer::MAX_BYTES).await;
        }
        let needs_keys = answer::needs_keys(&self.policy, &request.url, &response.headers);
        let keys = if needs_keys { self.keys(&request.url, keys::FRESH).await } else { None };
        let read = |keys: &KeySet| {
            let reply = Reply {
                url: &request.url,
                sent: request.body,
                status: response.status,
                headers: &response.headers,
                body: &body,
                keys,
                holder: self.purse.holder.as_deref(),
            };
            answer::read(&self.policy, reservation, &reply, self.world.now())
        };
        let answered = keys.is_some();
        let mut answer = read(&keys.unwrap_or_default());
        if answered
            && answer.receipts.iter().any(|receipt| receipt.wrong == Some(Wrong::Signer))
            && let Some(keys) = self.keys(&request.url, keys::STALE).await
        {
            answer = read(&keys);
        }
        if !self.purse.keeps_tokens {
            answer.token = None;
        }
        (answer, response)
    }

    /// Says what became of a payment.
    fn tell(&self, paid: &Paid, kept: Option<&TokenInfo>) {
        for receipt in &paid.receipts {
            self.world.event(&Event::ReceiptChecked { id: Some(&paid.id), receipt });
        }
        self.world.event(&Event::Paid { paid });
        if let Some(token) = kept {
            self.world.event(&Event::TokenKept { token });
        }
    }

    /// Gives back what was reserved for a payment that was not made.
    pub(super) async fn give_up(&self, id: &[u8; 16], why: &str) -> Result<(), StoreFailed> {
        let now = self.world.now();
        let name = id_text(id);
        let free = |counters: &mut Counters| counters.conclude(&self.policy, &name, &Outcome::NotSent, 0, now).is_ok();
        if self.kept.change(&self.policy, now, free).await? {
            self.world.event(&Event::GivenUp { id: &name, why });
        }
        Ok(())
    }
}

/// Whether a body is what our gate answers when a payment is shown again whose token was given before.
fn is_token_alone(body: &[u8], token: &str) -> bool {
    let json = json::parse(body, MAX_TOKEN_BODY, 4).ok();
    let members = json.as_ref().and_then(Value::as_object).filter(|members| members.len() == 1);
    members.and_then(|members| members.get("capability_token")).and_then(Value::as_str) == Some(token)
}
