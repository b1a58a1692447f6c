//! A call with a token, in place of a payment.

use super::super::answer;
use super::super::counters::{Counters, host_key};
use super::super::event::Event;
use super::super::holder::Holder;
use super::super::pay::Signer;
use super::super::receipt::{self, About, Receipt};
use super::super::request::Request;
use super::super::store::{Store, StoreFailed};
use super::super::wallet::{self, Picked, Said, TokenUse};
use super::{Agent, FetchError, Fetched, NoAnswer, Response, Wanted, World, keys};
use crate::receipt::call;
use crate::token::KeySet;

/// Proofs that are made for one token and call. The second one is for a clock that jumped, or a nonce that was seen.
const MAX_PROOFS: usize = 2;

/// What became of a call with a token.
pub(super) enum ByToken<B> {
    /// The answer is for whoever asked.
    Served(Box<Fetched<B>>),
    /// The token is good no more, and this challenge says what the next one costs.
    Challenged(Response<B>),
    /// There is no token for the call.
    NoToken,
}

impl<W: World, S: Store, K: Signer, H: Holder> Agent<W, S, K, H> {
    /// The tokens that may be shown for a request, best first.
    pub(super) fn pick(&self, counters: &Counters, request: &Request, now: u64) -> Vec<Picked> {
        if !self.purse.keeps_tokens || counters.wallet().is_empty() {
            return Vec::new();
        }
        self.memory.pick(counters.wallet(), request, self.purse.holder.as_deref(), now)
    }

    /// Makes a call with the first of these tokens that is good for it.
    pub(super) async fn by_token(
        &self,
        wanted: &Wanted,
        request: &Request,
        picked: Vec<Picked>,
    ) -> Result<ByToken<W::Body>, FetchError> {
        let (mut last, mut told) = (None, None);
        for token in picked {
            let flying = self.memory.takes_off(&token);
            let shown = self.show(wanted, request, &token).await?;
            drop(flying);
            let Some((said, response, at)) = shown else { continue };
            match said {
                Said::Used(left) => {
                    *self.visits.borrow_mut().entry(host_key(request)).or_default() += 1;
                    let used = self.memory.used(&token, request, left);
                    self.world.event(&Event::TokenUsed { used: &used });
                    let served = self.served(request, response, used, at).await;
                    return Ok(ByToken::Served(Box::new(served)));
                }
                Said::Gone(code, broken) => {
                    self.drop_gone(request, &token, code, broken).await?;
                    last = Some(response).filter(|response| response.status == 402);
                }
                Said::NotForThis => {
                    self.memory.not_for(&token, request);
                    last = Some(response).filter(|response| response.status == 402).or(last);
                }
                // Paying besides would be no help. Another token may do; else the caller is told what the seller said.
                Said::TooFast | Said::BadProof => {
                    let used = TokenUse { id: token.name().to_owned(), left: Vec::new() };
                    told = Some(Fetched { token: Some(used), ..Fetched::free(response) });
                }
            }
        }
        Ok(match (told, last) {
            (Some(fetched), _) => ByToken::Served(Box::new(fetched)),
            (None, Some(challenged)) => ByToken::Challenged(challenged),
            (None, None) => ByToken::NoToken,
        })
    }

    /// Shows a token; what the answer says of it, and when it was shown. `None` if it cannot be shown.
    async fn show(
        &self,
        wanted: &Wanted,
        request: &Request,
        token: &Picked,
    ) -> Result<Option<(Said, Response<W::Body>, u64)>, FetchError> {
        let mut shown = None;
        for _ in 0..MAX_PROOFS {
            let parts = self.parts(wanted, request, self.random()?);
            let at = parts.now;
            let Ok(fields) = wallet::present(&token.token, &token.chain, &self.holder, &parts).await else {
                return Ok(shown);
            };
            let sent = self.world.send(&wanted.message(request.url.text(), &fields)).await;
            let mut response = sent.map_err(|NoAnswer| FetchError::NoAnswer)?;
            let mut body = Vec::new();
            if response.status >= 400 {
                (body, response.body) = self.world.peek(response.body, answer::MAX_BYTES).await;
            }
            let said = wallet::said(response.status, &response.headers, &body);
            let bad_proof = said == Said::BadProof;
            shown = Some((said, response, at));
            if !bad_proof {
                break;
            }
        }
        Ok(shown)
    }

    /// The answer to a call with a token, with what came beside it.
    async fn served(
        &self,
        request: &Request,
        response: Response<W::Body>,
        used: TokenUse,
        at: u64,
    ) -> Fetched<W::Body> {
        let receipts: Vec<Receipt> = if response.headers.first(call::HEADER).is_some() {
            let keys = if receipt::needs_keys(&self.policy, &request.url) {
                self.keys(&request.url, keys::FRESH).await.unwrap_or_default()
            } else {
                KeySet::default()
            };
            let about = About {
                method: &request.method,
                url: &request.url,
                body: request.body,
                status: response.status,
                headers: &response.headers,
                at,
                paid: None,
                token: Some(used.id.rsplit('~').next().unwrap_or_default()),
            };
            receipt::call(&self.policy, &about, &keys, self.world.now()).into_iter().collect()
        } else {
            Vec::new()
        };
        for receipt in &receipts {
            self.world.event(&Event::ReceiptChecked { id: None, receipt });
        }
        Fetched { receipts, token: Some(used), ..Fetched::free(response) }
    }

    /// Drops a token that is good no more.
    async fn drop_gone(&self, request: &Request, token: &Picked, code: &str, broken: bool) -> Result<(), StoreFailed> {
        let now = self.world.now();
        let host = host_key(request);
        let gone = |counters: &mut Counters| {
            let dropped = counters.wallet_mut().drop_token(&token.token);
            // What was paid for and not kept counts as a fault, once.
            if broken && dropped {
                counters.fault(&self.policy, &host, now);
            }
            dropped
        };
        if self.kept.change(&self.policy, now, gone).await? {
            self.world.event(&Event::TokenDropped { token: token.name(), why: code });
        }
        Ok(())
    }
}
