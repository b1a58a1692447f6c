//! A store somewhere else: every operation as one message of bytes, and one back.
//!
//! [`Remote`] is a [`Store`] over a [`Transport`]; at the other end [`serve`] carries an operation out on a store there.
//! The ledger is spread over several *places*, each with a store of its own: whatever an operation is about names its
//! place, so that all operations on one claim meet in one store, which makes them atomic. The operations that are about
//! the whole ledger are carried out at every place ([`Store::doubts`]) or always at the first ([`Store::lease`],
//! [`Store::publish`], [`Store::revoke`]). The epoch is the first place's: places begin and end together.
//!
//! A message that is lost is [`StoreError::Failed`], whether or not the operation was carried out: a claim that nobody
//! holds is concluded at its deadline, as if its worker had died.

mod codec;
mod tokens;

use super::{
    Binding, Claim, ClaimId, Claimed, Conclusion, CounterId, Draw, Drawn, FamilyId, Lease, Left, LeftOf, LinkId, Money,
    NewClaim, Notice, Party, Pointer, Reservation, Revocation, Revocations, Service, Store, StoreError, Subject,
    Ticket, Yield, Yielded,
};
use codec::{Reader, Writer};
use std::future::Future;

/// Carries messages to the places of a ledger.
pub trait Transport: Clone + 'static {
    /// How many places there are, at least one. All gates on one ledger must agree.
    fn places(&self) -> u32;

    /// Carries `message` to `place` (below [`places`](Self::places)) and brings back what [`serve`] made of it there.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if no answer came, whatever happened at the other end.
    fn send(&self, place: u32, message: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, StoreError>>;
}

/// A store that is reached through a transport.
#[derive(Clone, Debug)]
pub struct Remote<T> {
    transport: T,
}

impl<T: Transport> Remote<T> {
    /// A store over this transport.
    pub fn new(transport: T) -> Self {
        Self { transport }
    }

    /// The place of whatever `id` names.
    fn place(&self, id: &[u8]) -> u32 {
        let number = id.first_chunk::<4>().map_or(0, |start| u32::from_be_bytes(*start));
        number % self.transport.places().max(1)
    }

    async fn ask<A>(
        &self,
        place: u32,
        message: Writer,
        read: impl FnOnce(&mut Reader) -> Option<A>,
    ) -> Result<A, StoreError> {
        let answer = self.transport.send(place, message.0).await?;
        let mut reader = Reader::new(answer);
        match reader.byte() {
            Some(0) => read(&mut reader).filter(|_| reader.end().is_some()).ok_or(StoreError::Failed),
            Some(1) => Err(StoreError::Full),
            Some(2) => Err(StoreError::Lost),
            _ => Err(StoreError::Failed),
        }
    }
}

/// Names an operation on the wire.
#[derive(Clone, Copy)]
enum Operation {
    Claim = 1,
    Conclude,
    Release,
    Resolve,
    Point,
    Pointed,
    Unpoint,
    Doubt,
    Doubts,
    Doubted,
    Undoubt,
    Lease,
    Publish,
    Published,
    Epoch,
    YieldOnce,
    Reserve,
    Commit,
    Refund,
    Left,
    Once,
    Revoke,
    Revocations,
    RevocationEpoch,
}

impl Operation {
    const ALL: [Self; 24] = [
        Self::Claim,
        Self::Conclude,
        Self::Release,
        Self::Resolve,
        Self::Point,
        Self::Pointed,
        Self::Unpoint,
        Self::Doubt,
        Self::Doubts,
        Self::Doubted,
        Self::Undoubt,
        Self::Lease,
        Self::Publish,
        Self::Published,
        Self::Epoch,
        Self::YieldOnce,
        Self::Reserve,
        Self::Commit,
        Self::Refund,
        Self::Left,
        Self::Once,
        Self::Revoke,
        Self::Revocations,
        Self::RevocationEpoch,
    ];

    fn message(self) -> Writer {
        Writer(vec![self as u8])
    }
}

impl<T: Transport> Store for Remote<T> {
    async fn claim(&self, id: &ClaimId, new: &NewClaim, now: u64) -> Result<Claimed, StoreError> {
        let mut message = Operation::Claim.message();
        message.id(id).new_claim(new).number(now);
        self.ask(self.place(&id.0), message, Reader::claimed).await
    }

    async fn conclude(&self, ticket: &Ticket, to: &Conclusion, now: u64) -> Result<(), StoreError> {
        let mut message = Operation::Conclude.message();
        message.ticket(ticket).conclusion(to).number(now);
        self.ask(self.place(&ticket.id.0), message, Reader::nothing).await
    }

    async fn release(&self, ticket: &Ticket, now: u64) -> Result<(), StoreError> {
        let mut message = Operation::Release.message();
        message.ticket(ticket).number(now);
        self.ask(self.place(&ticket.id.0), message, Reader::nothing).await
    }

    async fn resolve(&self, id: &ClaimId, money: Money, transaction: &str, now: u64) -> Result<(), StoreError> {
        let mut message = Operation::Resolve.message();
        message.id(id).money(money).text(transaction).number(now);
        self.ask(self.place(&id.0), message, Reader::nothing).await
    }

    async fn point(
        &self,
        index: &ClaimId,
        to: &Pointer,
        instead_of: Option<&ClaimId>,
        now: u64,
    ) -> Result<Option<Pointer>, StoreError> {
        let mut message = Operation::Point.message();
        message.id(index).pointer(to).option(instead_of, |message, id| message.id(id)).number(now);
        self.ask(self.place(&index.0), message, |answer| answer.option(Reader::pointer)).await
    }

    async fn pointed(&self, index: &ClaimId, now: u64) -> Result<Option<Pointer>, StoreError> {
        let mut message = Operation::Pointed.message();
        message.id(index).number(now);
        self.ask(self.place(&index.0), message, |answer| answer.option(Reader::pointer)).await
    }

    async fn unpoint(&self, index: &ClaimId, target: &ClaimId, now: u64) -> Result<(), StoreError> {
        let mut message = Operation::Unpoint.message();
        message.id(index).id(target).number(now);
        self.ask(self.place(&index.0), message, Reader::nothing).await
    }

    async fn doubt(&self, id: &ClaimId, bytes: &[u8]) -> Result<(), StoreError> {
        let mut message = Operation::Doubt.message();
        message.id(id).bytes(bytes);
        self.ask(self.place(&id.0), message, Reader::nothing).await
    }

    async fn doubts(&self) -> Result<Vec<(ClaimId, Vec<u8>)>, StoreError> {
        let mut all = Vec::new();
        for place in 0..self.transport.places() {
            all.extend(self.ask(place, Operation::Doubts.message(), Reader::questions).await?);
        }
        Ok(all)
    }

    async fn doubted(&self, id: &ClaimId) -> Result<Option<Vec<u8>>, StoreError> {
        let mut message = Operation::Doubted.message();
        message.id(id);
        self.ask(self.place(&id.0), message, |answer| answer.option(Reader::bytes)).await
    }

    async fn undoubt(&self, id: &ClaimId) -> Result<(), StoreError> {
        let mut message = Operation::Undoubt.message();
        message.id(id);
        self.ask(self.place(&id.0), message, Reader::nothing).await
    }

    async fn lease(&self, name: Lease, seconds: u64, now: u64) -> Result<bool, StoreError> {
        let mut message = Operation::Lease.message();
        message.lease(name).number(seconds).number(now);
        self.ask(0, message, Reader::flag).await
    }

    async fn epoch(&self) -> Result<[u8; 16], StoreError> {
        self.ask(0, Operation::Epoch.message(), Reader::fixed).await
    }

    async fn yield_once(&self, ticket: &Ticket, what: &Yield, now: u64) -> Result<Yield, StoreError> {
        let mut message = Operation::YieldOnce.message();
        message.ticket(ticket).yielded(what).number(now);
        self.ask(self.place(&ticket.id.0), message, Reader::yielded).await
    }

    async fn reserve(&self, draw: Draw, now_millis: u64) -> Result<Drawn, StoreError> {
        let mut message = Operation::Reserve.message();
        message.draw(&draw).number(now_millis);
        self.ask(self.place(&draw.family.0), message, |answer| answer.drawn(draw)).await
    }

    async fn commit(
        &self,
        reservation: Reservation,
        used: &[(CounterId, u128)],
        now_millis: u64,
    ) -> Result<Left, StoreError> {
        if !reservation.differs(used) {
            return Ok(reservation.left);
        }
        let mut message = Operation::Commit.message();
        message.draw(&reservation.draw).left(&reservation.left).used(used).number(now_millis);
        self.ask(self.place(&reservation.draw.family.0), message, Reader::left).await
    }

    async fn refund(&self, reservation: Reservation, now_millis: u64) -> Result<(), StoreError> {
        let mut message = Operation::Refund.message();
        message.draw(&reservation.draw).number(now_millis);
        self.ask(self.place(&reservation.draw.family.0), message, Reader::nothing).await
    }

    async fn left(&self, family: &FamilyId, now_millis: u64) -> Result<Option<Left>, StoreError> {
        let mut message = Operation::Left.message();
        message.fixed(&family.0).number(now_millis);
        self.ask(self.place(&family.0), message, |answer| answer.option(Reader::left)).await
    }

    async fn once(&self, id: &[u8; 32], until: u64, now: u64) -> Result<bool, StoreError> {
        let mut message = Operation::Once.message();
        message.fixed(id).number(until).number(now);
        self.ask(self.place(id), message, Reader::flag).await
    }

    async fn revoke(&self, what: &Revocation, until: u64, now: u64) -> Result<(), StoreError> {
        let mut message = Operation::Revoke.message();
        message.revocation(what).number(until).number(now);
        self.ask(0, message, Reader::nothing).await
    }

    async fn revocations(&self) -> Result<Revocations, StoreError> {
        self.ask(0, Operation::Revocations.message(), Reader::revocations).await
    }

    async fn revocation_epoch(&self) -> Result<u64, StoreError> {
        self.ask(0, Operation::RevocationEpoch.message(), Reader::number).await
    }

    async fn publish(&self, notice: Notice, bytes: &[u8]) -> Result<(), StoreError> {
        let mut message = Operation::Publish.message();
        message.notice(notice).bytes(bytes);
        self.ask(0, message, Reader::nothing).await
    }

    async fn published(&self, notice: Notice) -> Result<Option<Vec<u8>>, StoreError> {
        let mut message = Operation::Published.message();
        message.notice(notice);
        self.ask(0, message, |answer| answer.option(Reader::bytes)).await
    }
}

/// Carries out on `store` what a [`Remote`] sent, and says what came of it.
///
/// Bytes that no `Remote` sends change nothing, and are answered as a failure.
pub async fn serve<S: Store>(store: &S, message: &[u8]) -> Vec<u8> {
    match carry_out(store, &mut Reader::new(message.to_vec())).await.unwrap_or(Err(StoreError::Failed)) {
        Ok(mut answer) => {
            answer.0.insert(0, 0);
            answer.0
        }
        Err(StoreError::Full) => vec![1],
        Err(StoreError::Lost) => vec![2],
        Err(StoreError::Failed) => vec![3],
    }
}

/// `None`: not a message.
async fn carry_out<S: Store>(store: &S, message: &mut Reader) -> Option<Result<Writer, StoreError>> {
    let number = message.byte()?;
    let operation = Operation::ALL.into_iter().find(|operation| *operation as u8 == number)?;
    let mut answer = Writer::default();
    let done = match operation {
        Operation::Claim => {
            let (id, new, now) = (message.id()?, message.new_claim()?, message.last()?);
            store.claim(&id, &new, now).await.map(|claimed| answer.claimed(&claimed))
        }
        Operation::Conclude => {
            let (ticket, to, now) = (message.ticket()?, message.conclusion()?, message.last()?);
            store.conclude(&ticket, &to, now).await.map(|()| &mut answer)
        }
        Operation::Release => {
            let (ticket, now) = (message.ticket()?, message.last()?);
            store.release(&ticket, now).await.map(|()| &mut answer)
        }
        Operation::Resolve => {
            let (id, money, transaction, now) = (message.id()?, message.money()?, message.text()?, message.last()?);
            store.resolve(&id, money, &transaction, now).await.map(|()| &mut answer)
        }
        Operation::Point => {
            let (index, to) = (message.id()?, message.pointer()?);
            let (instead_of, now) = (message.option(Reader::id)?, message.last()?);
            let there = store.point(&index, &to, instead_of.as_ref(), now).await;
            there.map(|there| answer.option(there.as_ref(), Writer::pointer))
        }
        Operation::Pointed => {
            let (index, now) = (message.id()?, message.last()?);
            store.pointed(&index, now).await.map(|there| answer.option(there.as_ref(), Writer::pointer))
        }
        Operation::Unpoint => {
            let (index, target, now) = (message.id()?, message.id()?, message.last()?);
            store.unpoint(&index, &target, now).await.map(|()| &mut answer)
        }
        Operation::Doubt => {
            let (id, bytes) = (message.id()?, message.bytes()?);
            message.end()?;
            store.doubt(&id, &bytes).await.map(|()| &mut answer)
        }
        Operation::Doubts => {
            message.end()?;
            store.doubts().await.map(|open| answer.questions(&open))
        }
        Operation::Doubted => {
            let id = message.id()?;
            message.end()?;
            store.doubted(&id).await.map(|open| answer.option(open.as_deref(), Writer::bytes))
        }
        Operation::Undoubt => {
            let id = message.id()?;
            message.end()?;
            store.undoubt(&id).await.map(|()| &mut answer)
        }
        Operation::Lease => {
            let (name, seconds, now) = (message.lease()?, message.number()?, message.last()?);
            store.lease(name, seconds, now).await.map(|taken| answer.flag(taken))
        }
        Operation::Publish => {
            let (notice, bytes) = (message.notice()?, message.bytes()?);
            message.end()?;
            store.publish(notice, &bytes).await.map(|()| &mut answer)
        }
        Operation::Published => {
            let notice = message.notice()?;
            message.end()?;
            store.published(notice).await.map(|bytes| answer.option(bytes.as_deref(), Writer::bytes))
        }
        Operation::Epoch => {
            message.end()?;
            store.epoch().await.map(|epoch| answer.fixed(&epoch))
        }
        Operation::YieldOnce => {
            let (ticket, what, now) = (message.ticket()?, message.yielded()?, message.last()?);
            store.yield_once(&ticket, &what, now).await.map(|yielded| answer.yielded(&yielded))
        }
        Operation::Reserve => {
            let (draw, now_millis) = (message.draw()?, message.last()?);
            store.reserve(draw, now_millis).await.map(|drawn| answer.drawn(&drawn))
        }
        Operation::Commit => {
            let reservation = Reservation { draw: message.draw()?, left: message.left()? };
            let (used, now_millis) = (message.used()?, message.last()?);
            store.commit(reservation, &used, now_millis).await.map(|left| answer.left(&left))
        }
        Operation::Refund => {
            let reservation = Reservation { draw: message.draw()?, left: Left::default() };
            store.refund(reservation, message.last()?).await.map(|()| &mut answer)
        }
        Operation::Left => {
            let (family, now_millis) = (FamilyId(message.fixed()?), message.last()?);
            store.left(&family, now_millis).await.map(|left| answer.option(left.as_ref(), Writer::left))
        }
        Operation::Once => {
            let (id, until, now) = (message.fixed()?, message.number()?, message.last()?);
            store.once(&id, until, now).await.map(|first| answer.flag(first))
        }
        Operation::Revoke => {
            let (what, until, now) = (message.revocation()?, message.number()?, message.last()?);
            store.revoke(&what, until, now).await.map(|()| &mut answer)
        }
        Operation::Revocations => {
            message.end()?;
            store.revocations().await.map(|revocations| answer.revocations(&revocations))
        }
        Operation::RevocationEpoch => {
            message.end()?;
            store.revocation_epoch().await.map(|epoch| answer.number(epoch))
        }
    };
    match done {
        Ok(_) => Some(Ok(answer)),
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests;
