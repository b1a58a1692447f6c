//! Messages as bytes: numbers of fixed width, big endian; bytes and text after their length; a flag before what may be
//! absent. Both ends come from one build of this crate or of neighbouring ones, so the format has no version of its own:
//! new operations get new numbers, and the meaning of a number never changes.

use super::{
    Binding, Claim, ClaimId, Claimed, Conclusion, Lease, Money, NewClaim, Notice, Pointer, Service, Ticket, Yield,
    Yielded,
};

/// Writes a message.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.byte(u8::from(flag))
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    pub(super) fn short(&mut self, number: u32) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// No message is anywhere near 4 GiB; one that were would be read as something else and refused.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.short(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).fixed(bytes)
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn option<T: ?Sized>(
        &mut self,
        value: Option<&T>,
        write: impl for<'w> FnOnce(&'w mut Self, &T) -> &'w mut Self,
    ) -> &mut Self {
        match value {
            None => self.flag(false),
            Some(value) => write(self.flag(true), value),
        }
    }

    pub(super) fn id(&mut self, id: &ClaimId) -> &mut Self {
        self.fixed(&id.0)
    }

    pub(super) fn ticket(&mut self, ticket: &Ticket) -> &mut Self {
        self.id(&ticket.id).short(ticket.generation)
    }

    pub(super) fn money(&mut self, money: Money) -> &mut Self {
        self.byte(match money {
            Money::None => 0,
            Money::Settling => 1,
            Money::Settled => 2,
            Money::Failed => 3,
            Money::Unknown => 4,
        })
    }

    fn service(&mut self, service: Service) -> &mut Self {
        self.byte(match service {
            Service::Waiting => 0,
            Service::Forwarded => 1,
            Service::Delivered => 2,
            Service::Failed => 3,
        })
    }

    pub(super) fn new_claim(&mut self, new: &NewClaim) -> &mut Self {
        self.fixed(&new.binding.0)
            .fixed(&new.secret)
            .number(new.deadline)
            .number(new.expires)
            .flag(new.checked)
            .flag(new.repeatable)
            .flag(new.proven)
            .number(new.window)
    }

    pub(super) fn conclusion(&mut self, to: &Conclusion) -> &mut Self {
        self.money(to.money).service(to.service).number(to.deadline).text(&to.transaction).number(to.keep)
    }

    pub(super) fn pointer(&mut self, pointer: &Pointer) -> &mut Self {
        self.id(&pointer.target).fixed(&pointer.binding.0).number(pointer.expires)
    }

    fn claim(&mut self, claim: &Claim) -> &mut Self {
        self.money(claim.money)
            .service(claim.service)
            .fixed(&claim.binding.0)
            .fixed(&claim.secret)
            .short(claim.generation)
            .number(claim.deadline)
            .number(claim.expires)
            .byte(claim.retries)
            .number(claim.settled_at)
            .option(claim.yielded.as_ref(), Self::yielded)
            .text(&claim.transaction)
    }

    pub(super) fn yielded(&mut self, yielded: &Yield) -> &mut Self {
        self.byte(match yielded.kind {
            Yielded::Pass => 0,
            Yielded::Credit => 1,
        })
        .fixed(&yielded.terms)
    }

    pub(super) fn claimed(&mut self, claimed: &Claimed) -> &mut Self {
        match claimed {
            Claimed::Ours(ticket) => self.byte(0).ticket(ticket),
            Claimed::Again(ticket, claim) => self.byte(1).ticket(ticket).claim(claim),
            Claimed::Known(claim) => self.byte(2).claim(claim),
            Claimed::Unseen => self.byte(3),
        }
    }

    pub(super) fn questions(&mut self, open: &[(ClaimId, Vec<u8>)]) -> &mut Self {
        self.short(u32::try_from(open.len()).unwrap_or(u32::MAX));
        for (id, question) in open {
            self.id(id).bytes(question);
        }
        self
    }

    pub(super) fn lease(&mut self, lease: Lease) -> &mut Self {
        match lease {
            Lease::Supported(facilitator) => self.byte(0).short(facilitator),
            Lease::Reconcile => self.byte(1),
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) -> &mut Self {
        match notice {
            Notice::Supported(facilitator) => self.byte(0).short(facilitator),
        }
    }
}

/// Reads a message from its start; `None` where it is not one.
pub(super) struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.rest().first_chunk::<N>()?;
        self.at = self.at.saturating_add(N);
        Some(bytes)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub(super) fn short(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.short()?).ok()?;
        let bytes = self.rest().get(..length)?.to_vec();
        self.at = self.at.saturating_add(length);
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    /// There is nothing more.
    pub(super) fn end(&self) -> Option<()> {
        self.rest().is_empty().then_some(())
    }

    /// A number, and nothing more: the clock stands last in most messages.
    pub(super) fn last(&mut self) -> Option<u64> {
        let number = self.number()?;
        self.end()?;
        Some(number)
    }

    /// What operations without a result answer.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // a reader like the others
    pub(super) fn nothing(&mut self) -> Option<()> {
        Some(())
    }

    pub(super) fn id(&mut self) -> Option<ClaimId> {
        self.fixed().map(ClaimId)
    }

    pub(super) fn ticket(&mut self) -> Option<Ticket> {
        Some(Ticket { id: self.id()?, generation: self.short()? })
    }

    pub(super) fn money(&mut self) -> Option<Money> {
        Some(match self.byte()? {
            0 => Money::None,
            1 => Money::Settling,
            2 => Money::Settled,
            3 => Money::Failed,
            4 => Money::Unknown,
            _ => return None,
        })
    }

    fn service(&mut self) -> Option<Service> {
        Some(match self.byte()? {
            0 => Service::Waiting,
            1 => Service::Forwarded,
            2 => Service::Delivered,
            3 => Service::Failed,
            _ => return None,
        })
    }

    pub(super) fn new_claim(&mut self) -> Option<NewClaim> {
        Some(NewClaim {
            binding: Binding(self.fixed()?),
            secret: self.fixed()?,
            deadline: self.number()?,
            expires: self.number()?,
            checked: self.flag()?,
            repeatable: self.flag()?,
            proven: self.flag()?,
            window: self.number()?,
        })
    }

    pub(super) fn conclusion(&mut self) -> Option<Conclusion> {
        Some(Conclusion {
            money: self.money()?,
            service: self.service()?,
            deadline: self.number()?,
            transaction: self.text()?,
            keep: self.number()?,
        })
    }

    pub(super) fn pointer(&mut self) -> Option<Pointer> {
        Some(Pointer { target: self.id()?, binding: Binding(self.fixed()?), expires: self.number()? })
    }

    fn claim(&mut self) -> Option<Claim> {
        Some(Claim {
            money: self.money()?,
            service: self.service()?,
            binding: Binding(self.fixed()?),
            secret: self.fixed()?,
            generation: self.short()?,
            deadline: self.number()?,
            expires: self.number()?,
            retries: self.byte()?,
            settled_at: self.number()?,
            yielded: self.option(Self::yielded)?,
            transaction: self.text()?,
        })
    }

    pub(super) fn yielded(&mut self) -> Option<Yield> {
        let kind = match self.byte()? {
            0 => Yielded::Pass,
            1 => Yielded::Credit,
            _ => return None,
        };
        Some(Yield { kind, terms: self.fixed()? })
    }

    pub(super) fn claimed(&mut self) -> Option<Claimed> {
        Some(match self.byte()? {
            0 => Claimed::Ours(self.ticket()?),
            1 => Claimed::Again(self.ticket()?, self.claim()?),
            2 => Claimed::Known(self.claim()?),
            3 => Claimed::Unseen,
            _ => return None,
        })
    }

    pub(super) fn questions(&mut self) -> Option<Vec<(ClaimId, Vec<u8>)>> {
        let count = self.short()?;
        let mut open = Vec::new(); // grows with what is there, whatever the count says
        for _ in 0..count {
            open.push((self.id()?, self.bytes()?));
        }
        Some(open)
    }

    pub(super) fn lease(&mut self) -> Option<Lease> {
        Some(match self.byte()? {
            0 => Lease::Supported(self.short()?),
            1 => Lease::Reconcile,
            _ => return None,
        })
    }

    pub(super) fn notice(&mut self) -> Option<Notice> {
        Some(match self.byte()? {
            0 => Notice::Supported(self.short()?),
            _ => return None,
        })
    }
}
