//! What a call draws of its token, and what becomes of the draw.

use super::super::limits::Forwarded;
use crate::host::{Event, Held, Host, Level};
use crate::ledger::{CounterId, Reservation, Store};
use crate::token::{Chain, Per, Unit};
use std::cell::OnceCell;
use std::rc::Rc;

/// A draw that was charged, for a request that is not served yet.
///
/// Dropped before its request is forwarded, it is given back; after that it stays charged.
pub(in crate::gate) struct Drawing<H: Host> {
    host: H,
    chain: Rc<Chain>,
    reservation: Option<Reservation>,
    /// Counters of bytes: what is drawn of them is known when the response has gone.
    bytes: Vec<(CounterId, u128)>,
    cost: Vec<(Unit, u128)>,
    /// SHA-256 of the body that the proof is about.
    pub(in crate::gate) body: Option<[u8; 32]>,
    forwarded: Option<Forwarded<H>>,
    remaining: OnceCell<String>,
    went: bool,
}

impl<H: Host> Drawing<H> {
    pub(super) fn new(
        host: &H,
        chain: Rc<Chain>,
        reservation: Option<Reservation>,
        bytes: Vec<(CounterId, u128)>,
        cost: Vec<(Unit, u128)>,
        body: Option<[u8; 32]>,
        forwarded: Forwarded<H>,
    ) -> Self {
        Self {
            host: host.clone(),
            chain,
            reservation,
            bytes,
            cost,
            body,
            forwarded: Some(forwarded),
            remaining: OnceCell::new(),
            went: false,
        }
    }

    /// The token.
    pub(in crate::gate) fn chain(&self) -> &Rc<Chain> {
        &self.chain
    }

    /// What is left, as the upstream and the client are told: `call=7`, and so on for each unit that is limited; empty
    /// if none is.
    pub(in crate::gate) fn remaining(&self) -> &str {
        self.remaining.get_or_init(|| {
            let left = self.reservation.as_ref().map(Reservation::left);
            left.map(|left| remaining(&self.chain, |unit| left.budget(unit))).unwrap_or_default()
        })
    }

    /// What was drawn over the token's life: unit, amount, and what is left.
    pub(in crate::gate) fn drawn(&self) -> impl Iterator<Item = (&str, u128, Option<u128>)> {
        let left = self.reservation.as_ref().map(Reservation::left);
        self.cost
            .iter()
            .map(move |(unit, amount)| {
                let unit = unit.wire();
                (unit, *amount, left.and_then(|left| left.budget(unit)))
            })
            .filter(|(_, _, left)| left.is_some())
    }

    /// The request is about to be forwarded: from now on it is charged, whether or not the client stays.
    pub(in crate::gate) fn goes(&mut self) {
        self.went = true;
    }

    /// The upstream did what the token is for.
    pub(in crate::gate) fn served<R: Held>(mut self, held: &R) {
        if let Some(forwarded) = self.forwarded.take() {
            forwarded.delivered();
        }
        let Some(reservation) = self.reservation.take() else { return };
        if self.bytes.is_empty() {
            return;
        }
        let (host, counters, sent) = (self.host.clone(), std::mem::take(&mut self.bytes), held.sent());
        self.host.spawn(async move {
            let bytes = sent.await;
            let used: Vec<_> = counters.into_iter().map(|(counter, _)| (counter, u128::from(bytes))).collect();
            if let Err(error) = host.store().commit(reservation, &used, host.now_millis()).await {
                let text = format!("the bytes of a response were not charged: {error}");
                host.event(&Event::Log { level: Level::Error, text: &text });
            }
        });
    }

    /// The upstream failed: the draw is given back.
    pub(in crate::gate) async fn failed(mut self) {
        if let Some(reservation) = self.reservation.take() {
            refund(&self.host, reservation).await;
        }
    }
}

impl<H: Host> Drop for Drawing<H> {
    fn drop(&mut self) {
        let reservation = self.reservation.take();
        if let Some(forwarded) = self.forwarded.take()
            && (!self.went || reservation.is_some())
        {
            // It never went, or it is charged although the client left: no uncharged forward.
            forwarded.delivered();
        }
        if let (false, Some(reservation)) = (self.went, reservation) {
            let host = self.host.clone();
            self.host.spawn(async move { refund(&host, reservation).await });
        }
    }
}

async fn refund<H: Host>(host: &H, reservation: Reservation) {
    if let Err(error) = host.store().refund(reservation, host.now_millis()).await {
        let text = format!("a draw was not given back: {error}");
        host.event(&Event::Log { level: Level::Error, text: &text });
    }
}

/// What is left of each unit that the chain limits over its life: `call=7, byte=100, amount=5000;asset="…"`.
pub(super) fn remaining(chain: &Chain, left: impl Fn(&str) -> Option<u128>) -> String {
    let mut units: Vec<&Unit> = Vec::new();
    for limit in chain.links().flat_map(|link| &link.token.grants).flat_map(|grant| &grant.limits) {
        if limit.per == Per::Token && !units.contains(&&limit.unit) {
            units.push(&limit.unit);
        }
    }
    let told = units.into_iter().filter_map(|unit| {
        let left = left(unit.wire())?;
        Some(match unit {
            Unit::Asset(asset) => format!("amount={left};asset=\"{asset}\""),
            Unit::Call | Unit::Byte => format!("{}={left}", unit.wire()),
        })
    });
    told.collect::<Vec<_>>().join(", ")
}
