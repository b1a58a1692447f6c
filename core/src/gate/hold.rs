//! A claim in our hands.

use super::admit::Index;
use crate::host::{Event, Host, Level};
use crate::ledger::{ClaimId, Conclusion, Money, Pointer, Service, Store, StoreError, Ticket};

/// Seconds that an unresolved claim of a payer is found by its request.
const UNRESOLVED_KEPT: u64 = 24 * 3600;

/// Our right to a claim, and what we last said about it.
///
/// An exchange may be dropped at any await point. A hold that is dropped with it says so to the store, in a detached
/// task: a claim without money is released, one that is paid and not delivered may be asked for again at once. While
/// the money call is under way the claim belongs to the detached task that makes it, and a dropped hold is silent.
pub(super) struct Hold<H: Host> {
    host: H,
    ticket: Option<Ticket>,
    money: Money,
    service: Service,
    /// Where the ledger keeps that this payer has an unresolved claim for this request.
    index: Option<Index>,
    /// Unix seconds until which the claim's record is kept at least, once it is paid.
    keep: u64,
    /// Where the ledger keeps the payment's name: taken back if the claim is.
    name: Option<ClaimId>,
    /// Writes the audit log's line of the charge, if nobody gets to do it who knows more.
    unwritten: Option<Box<dyn FnOnce()>>,
}

impl<H: Host> Hold<H> {
    pub(super) fn new(host: &H, ticket: Ticket, money: Money, service: Service, index: Option<Index>) -> Self {
        Self { host: host.clone(), ticket: Some(ticket), money, service, index, keep: 0, name: None, unwritten: None }
    }

    /// The claim was charged: `write` writes so if the exchange goes before it is concluded.
    pub(super) fn charged(mut self, write: Option<Box<dyn FnOnce()>>) -> Self {
        self.unwritten = write;
        self
    }

    /// Whether there is a claim in it.
    pub(super) fn is_ours(&self) -> bool {
        self.ticket.is_some()
    }

    /// The right to the claim in it.
    pub(super) fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// The claim in it.
    pub(super) fn claim(&self) -> Option<ClaimId> {
        self.ticket.as_ref().map(|ticket| ticket.id)
    }

    /// Writes the audit log's line of the charge, where nobody else will.
    pub(super) fn write_charge(&mut self) {
        self.unwritten.take().into_iter().for_each(|write| write());
    }

    /// What became of the claim is on record: nothing of this payer is open any more.
    pub(super) async fn closed(mut self) {
        if let (Some(ticket), Some(index)) = (self.ticket.take(), &self.index) {
            let _ = self.host.store().unpoint(&index.id, &ticket.id, self.host.now()).await;
        }
    }

    /// What else is unresolved of this payer has been looked at.
    pub(super) fn looked(&mut self) {
        if let Some(index) = &mut self.index {
            index.looked = true;
        }
    }

    /// The payment has a name, kept at `index`, which is remembered until then, and the record of what became of it as
    /// long.
    pub(super) fn named(&mut self, index: ClaimId, until: u64) {
        self.keep = until;
        self.name = Some(index);
    }

    /// Gives the claim away, to the task that makes the money call: with the service, where it is found, and how long
    /// its record is kept once it is paid.
    pub(super) fn hand_over(mut self) -> Option<(Ticket, Service, Option<Index>, u64)> {
        self.ticket.take().map(|ticket| (ticket, self.service, self.index, self.keep))
    }

    /// The request is about to be forwarded, and its response may take until `deadline`.
    ///
    /// # Errors
    /// If the claim is no longer ours: the request must not be forwarded.
    pub(super) async fn forwarding(&mut self, deadline: u64) -> Result<(), StoreError> {
        let Some(ticket) = &self.ticket else { return Err(StoreError::Lost) };
        let to = concluding(self.money, Service::Forwarded, deadline);
        self.host.store().conclude(ticket, &to, self.host.now()).await?;
        self.service = Service::Forwarded;
        Ok(())
    }

    /// Forgets the claim: the payment may be used again. Only where no money moved.
    pub(super) async fn release(mut self) {
        if let Some(ticket) = self.ticket.take() {
            release(&self.host, &ticket, self.name).await;
        }
    }

    /// The response is about to be let go to the client.
    ///
    /// # Errors
    /// If that cannot be recorded: the response must not be let go, because it could be asked for again.
    pub(super) async fn delivered(mut self) -> Result<Delivered<H>, StoreError> {
        let Some(ticket) = &self.ticket else { return Err(StoreError::Lost) };
        let now = self.host.now();
        let to = concluding(self.money, Service::Delivered, now);
        self.host.store().conclude(ticket, &to, now).await?;
        // An exchange that goes meanwhile still has its claim, and gives it back.
        if let Some(index) = &self.index {
            let _ = self.host.store().unpoint(&index.id, &ticket.id, now).await;
        }
        let Some(ticket) = self.ticket.take() else { return Err(StoreError::Lost) };
        Ok(Delivered { host: self.host.clone(), ticket, money: self.money, index: self.index })
    }

    /// The upstream failed after the money moved: the buyer is owed a delivery.
    pub(super) async fn failed(mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.host.now();
            if conclude(&self.host, &ticket, &concluding(self.money, Service::Failed, now)).await.is_ok() {
                point_to(&self.host, &ticket, self.index.as_ref()).await;
            }
        }
    }
}

/// A claim whose delivery is on record, while the host may still refuse to let the response go.
pub(super) struct Delivered<H: Host> {
    host: H,
    ticket: Ticket,
    money: Money,
    index: Option<Index>,
}

impl<H: Host> Delivered<H> {
    /// It did refuse: what was paid for may be asked for again. What a dropped hold does is what is to be done.
    pub(super) fn kept(self) {
        drop(Hold::new(&self.host, self.ticket, self.money, Service::Forwarded, self.index));
    }
}

impl<H: Host> Drop for Hold<H> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        self.write_charge();
        let (host, money, service, index) = (self.host.clone(), self.money, self.service, self.index);
        let name = self.name;
        self.host.spawn(async move {
            if money == Money::None {
                release(&host, &ticket, name).await;
            } else {
                let past = host.now().saturating_sub(1);
                if conclude(&host, &ticket, &concluding(money, service, past)).await.is_ok() {
                    point_to(&host, &ticket, index.as_ref()).await;
                }
            }
        });
    }
}

/// Concludes a claim, and tells the operator if the store would not have it.
///
/// # Errors
/// What the store says.
pub(super) async fn conclude<H: Host>(host: &H, ticket: &Ticket, to: &Conclusion) -> Result<(), StoreError> {
    let concluded = host.store().conclude(ticket, to, host.now()).await;
    if let Err(error) = concluded {
        let level = if error == StoreError::Lost { Level::Warn } else { Level::Error };
        let text = format!("claim {}: {:?}/{:?} not recorded: {error}", short(ticket), to.money, to.service);
        host.event(&Event::Log { level, text: &text });
    }
    concluded
}

/// A change that says nothing new of the transaction.
pub(super) fn concluding(money: Money, service: Service, deadline: u64) -> Conclusion {
    Conclusion { money, service, deadline, transaction: String::new(), keep: 0 }
}

/// Keeps that this claim of its payer for its request has no good end yet: one at most is kept, and the latest is the
/// one. Not needed to be safe, so a full store is no reason to stop.
pub(super) async fn point_to<H: Host>(host: &H, ticket: &Ticket, index: Option<&Index>) {
    let Some(index) = index else { return };
    let (store, now) = (host.store(), host.now());
    let pointer = Pointer { target: ticket.id, binding: index.binding, expires: now.saturating_add(UNRESOLVED_KEPT) };
    let there = match index.looked {
        true => store.pointed(&index.id, now).await.ok().flatten().map(|pointer| pointer.target),
        false => None,
    };
    let _ = store.point(&index.id, &pointer, there.as_ref(), now).await;
}

async fn release<H: Host>(host: &H, ticket: &Ticket, name: Option<ClaimId>) {
    if let Some(name) = name {
        let _ = host.store().unpoint(&name, &ticket.id, host.now()).await;
    }
    match host.store().release(ticket, host.now()).await {
        Ok(()) => host.event(&Event::Claim { state: "released" }),
        Err(StoreError::Lost) => {}
        Err(error) => {
            let text = format!("claim {}: not released: {error}", short(ticket));
            host.event(&Event::Log { level: Level::Error, text: &text });
        }
    }
}

/// Enough of a claim's id to find it in logs; a claim's id is a hash and no secret.
pub(super) fn short(ticket: &Ticket) -> String {
    crate::crypto::hex::encode(ticket.id.0.first_chunk::<8>().map_or(&[], |id| id.as_slice()))
}
