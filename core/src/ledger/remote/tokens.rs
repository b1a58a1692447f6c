//! The part of the messages that is about tokens.

use super::codec::{Reader, Writer};
use super::{
    CounterId, Draw, Drawn, FamilyId, Left, LeftOf, LinkId, Party, Reservation, Revocation, Revocations, Subject,
};

impl Writer {
    fn amount(&mut self, amount: u128) -> &mut Self {
        self.fixed(&amount.to_be_bytes())
    }

    /// No list here is anywhere near 65536 long.
    fn list<T>(&mut self, list: &[T], write: impl Fn(&mut Self, &T)) -> &mut Self {
        self.fixed(&u16::try_from(list.len()).unwrap_or(u16::MAX).to_be_bytes());
        list.iter().for_each(|item| write(self, item));
        self
    }

    pub(super) fn draw(&mut self, draw: &Draw) -> &mut Self {
        self.fixed(&draw.family.0).number(draw.expires);
        self.list(&draw.children, |message, child| {
            message.fixed(&child.id.0).number(child.expires);
        });
        self.list(&draw.counters, |message, counter| {
            message.byte(counter.link).fixed(&counter.id.0).short(counter.period);
            message.amount(counter.max).amount(counter.cost);
        })
    }

    pub(super) fn used(&mut self, used: &[(CounterId, u128)]) -> &mut Self {
        self.list(used, |message, (counter, amount)| {
            message.fixed(&counter.0).amount(*amount);
        })
    }

    pub(super) fn left(&mut self, left: &Left) -> &mut Self {
        self.list(&left.0, |message, of| {
            message.option(of.link.as_ref(), |message, link| message.fixed(&link.0));
            message.fixed(&of.counter.0).option(of.period.as_ref(), |message, period| message.short(*period));
            message.amount(of.max).amount(of.left).number(of.whole_in_millis);
        })
    }

    pub(super) fn drawn(&mut self, drawn: &Drawn) -> &mut Self {
        match drawn {
            Drawn::Reserved(reservation) => self.byte(0).left(&reservation.left),
            Drawn::Exhausted { link, counter, left } => self.byte(1).position(*link).fixed(&counter.0).amount(*left),
            Drawn::TooFast { link, counter, period, retry_after_millis } => {
                self.byte(2).position(*link).fixed(&counter.0).short(*period);
                self.option(retry_after_millis.as_ref(), |message, millis| message.number(*millis))
            }
            Drawn::TooManyChildren => self.byte(3),
            Drawn::Expired => self.byte(4),
        }
    }

    fn position(&mut self, link: usize) -> &mut Self {
        self.byte(u8::try_from(link).unwrap_or(u8::MAX))
    }

    pub(super) fn revocation(&mut self, what: &Revocation) -> &mut Self {
        match what {
            Revocation::Token(token) => self.byte(0).fixed(&token.0),
            Revocation::Holder(holder) => self.byte(1).fixed(&holder.0),
            Revocation::Payer(payer) => self.byte(2).fixed(&payer.0),
            Revocation::IssuedBefore { of: None, at } => self.byte(3).number(*at),
            Revocation::IssuedBefore { of: Some(Party::Holder(holder)), at } => {
                self.byte(4).fixed(&holder.0).number(*at)
            }
            Revocation::IssuedBefore { of: Some(Party::Payer(payer)), at } => self.byte(5).fixed(&payer.0).number(*at),
        }
    }

    pub(super) fn revocations(&mut self, revocations: &Revocations) -> &mut Self {
        self.number(revocations.epoch).list(&revocations.list, |message, what| {
            message.revocation(what);
        })
    }
}

impl Reader {
    fn amount(&mut self) -> Option<u128> {
        self.fixed().map(u128::from_be_bytes)
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.fixed().map(u16::from_be_bytes)?;
        let mut list = Vec::new(); // grows with what is there, whatever the count says
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }

    /// The draw is made anew, under the rules of every draw.
    pub(super) fn draw(&mut self) -> Option<Draw> {
        let mut draw = Draw::new(FamilyId(self.fixed()?), self.number()?);
        let children = self.list(|message| Some((LinkId(message.fixed()?), message.number()?)))?;
        let counters = self.list(|message| {
            let (link, id, period) = (message.byte()?, CounterId(message.fixed()?), message.short()?);
            Some((link, id, period, message.amount()?, message.amount()?))
        })?;
        let mut counters = counters.into_iter().peekable();
        let mut children = children.into_iter();
        for position in 0.. {
            while let Some((_, id, period, max, cost)) = counters.next_if(|(link, ..)| *link == position) {
                let made = if period == 0 { draw.budget(id, max, cost) } else { draw.rate(id, period, max, cost) };
                made.ok()?;
            }
            let Some((id, expires)) = children.next() else { break };
            draw.child(id, expires).ok()?;
        }
        counters.next().is_none().then_some(draw)
    }

    pub(super) fn used(&mut self) -> Option<Vec<(CounterId, u128)>> {
        self.list(|message| Some((CounterId(message.fixed()?), message.amount()?)))
    }

    pub(super) fn left(&mut self) -> Option<Left> {
        let left = self.list(|message| {
            Some(LeftOf {
                link: message.option(|message| message.fixed().map(LinkId))?,
                counter: CounterId(message.fixed()?),
                period: message.option(Self::short)?,
                max: message.amount()?,
                left: message.amount()?,
                whole_in_millis: message.number()?,
            })
        });
        left.map(Left)
    }

    /// What became of `draw`.
    pub(super) fn drawn(&mut self, draw: Draw) -> Option<Drawn> {
        Some(match self.byte()? {
            0 => Drawn::Reserved(Reservation { draw, left: self.left()? }),
            1 => {
                let (link, counter) = (usize::from(self.byte()?), CounterId(self.fixed()?));
                Drawn::Exhausted { link, counter, left: self.amount()? }
            }
            2 => {
                let (link, counter) = (usize::from(self.byte()?), CounterId(self.fixed()?));
                let (period, retry_after_millis) = (self.short()?, self.option(Self::number)?);
                Drawn::TooFast { link, counter, period, retry_after_millis }
            }
            3 => Drawn::TooManyChildren,
            4 => Drawn::Expired,
            _ => return None,
        })
    }

    pub(super) fn revocation(&mut self) -> Option<Revocation> {
        let kind = self.byte()?;
        if kind == 3 {
            return Some(Revocation::IssuedBefore { of: None, at: self.number()? });
        }
        let subject = Subject(self.fixed()?);
        Some(match kind {
            0 => Revocation::Token(subject),
            1 => Revocation::Holder(subject),
            2 => Revocation::Payer(subject),
            4 => Revocation::IssuedBefore { of: Some(Party::Holder(subject)), at: self.number()? },
            5 => Revocation::IssuedBefore { of: Some(Party::Payer(subject)), at: self.number()? },
            _ => return None,
        })
    }

    pub(super) fn revocations(&mut self) -> Option<Revocations> {
        Some(Revocations { epoch: self.number()?, list: self.list(Self::revocation)? })
    }
}
