//! What a call draws of its token, and what becomes of the draw.

use super::super::Gate;
use super::super::limits::Forwarded;
use crate::host::{Event, Held, Host, Level};
use crate::ledger::{CounterId, Reservation, Store};
use crate::mutant;
use crate::receipt::{Amount, Draw, Entry, Kind};
use crate::token::{Chain, Per, Unit};
use std::cell::OnceCell;
use std::fmt::Write as _;
use std::rc::Rc;

/// A draw that was charged, for a request that is not served yet.
///
/// Dropped before its request is forwarded, it is given back; after that it stays charged.
pub(in crate::gate) struct Drawing<H: Host> {
    pub(super) host: H,
    pub(super) chain: Rc<Chain>,
    /// Whether `Authorization` carried the token.
    pub(in crate::gate) in_authorization: bool,
    /// SHA-256 of the body that the proof is about.
    pub(in crate::gate) body: Option<[u8; 32]>,
    /// The most bytes that the response may have.
    pub(super) most_bytes: Option<u128>,
    pub(super) reservation: Option<Reservation>,
    /// Counters of bytes: what is drawn of them is known when the response has gone.
    pub(super) bytes: Vec<(CounterId, u128)>,
    /// What was drawn of them, once that is known.
    pub(super) sent: Option<u64>,
    pub(super) cost: Vec<(Unit, u128)>,
    pub(super) forwarded: Option<Forwarded<H>>,
    /// Who writes the audit log's line, and the route's name there; `None` if there is no log, or the line is written.
    pub(super) written: Option<(Rc<Gate>, String)>,
    pub(super) remaining: OnceCell<String>,
    pub(super) went: bool,
}

impl<H: Host> Drawing<H> {
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

    /// Whether the response may have more bytes than the token allows for one call, as far as its headers say.
    pub(in crate::gate) fn is_exceeded_by<R: Held>(&self, held: &R) -> bool {
        let Some(most) = self.most_bytes.filter(|_| !held.end_of_stream()) else { return false };
        let length = held.headers().text("content-length").and_then(|length| length.parse::<u64>().ok());
        length.is_none_or(|length| u128::from(length) > most)
    }

    /// Writes the audit log's line. `status`: what the upstream answered, if it did.
    fn write(&mut self, status: Option<u16>, charged: bool) {
        let Some((gate, route)) = self.written.take().filter(|_| !mutant::is("silent_draws")) else { return };
        let left = self.reservation.as_ref().filter(|_| charged).map(Reservation::left);
        let drawn = self.cost.iter().filter_map(|(unit, amount)| {
            let left = left.and_then(|left| left.budget(unit.wire()))?;
            // One byte stands for what is not known before the response has gone.
            let (amount, left) = match (unit, self.sent) {
                (Unit::Byte, Some(sent)) => {
                    let sent = u128::from(sent);
                    (sent, left.saturating_add(*amount).saturating_sub(sent))
                }
                _ => (*amount, left),
            };
            Some(Draw { amount: Amount(amount), left: Some(Amount(left)), unit: unit.wire().into() })
        });
        let drawn: Vec<Draw<'_>> = drawn.collect();
        let entry = Entry {
            draw: &drawn,
            payer: Some(self.chain.payer()),
            status,
            tok: Some(&self.chain.leaf().name),
            ..Entry::new(Kind::Draw, &route)
        };
        gate.record(&self.host, &entry);
    }

    /// The request is about to be forwarded: from now on it is charged, whether or not the client stays.
    pub(in crate::gate) fn goes(&mut self) {
        self.went = true;
    }

    /// The upstream did what the token is for.
    pub(in crate::gate) fn served<R: Held>(mut self: Box<Self>, held: &R) {
        if let Some(forwarded) = self.forwarded.take() {
            forwarded.delivered();
        }
        let status = Some(held.status());
        if self.bytes.is_empty() || self.reservation.is_none() {
            self.write(status, true);
            self.reservation = None;
            return;
        }
        let (host, sent) = (self.host.clone(), held.sent());
        self.host.clone().spawn(async move {
            let bytes = sent.await;
            let counters = std::mem::take(&mut self.bytes);
            let used: Vec<_> = counters.into_iter().map(|(counter, _)| (counter, u128::from(bytes))).collect();
            self.sent = Some(bytes);
            self.write(status, true);
            let Some(reservation) = self.reservation.take() else { return };
            if let Err(error) = host.store().commit(reservation, &used, host.now_millis()).await {
                let text = format!("the bytes of a response were not charged: {error}");
                host.event(&Event::Log { level: Level::Error, text: &text });
            }
        });
    }

    /// The upstream failed: the draw is given back.
    pub(in crate::gate) async fn failed(mut self: Box<Self>, status: u16) {
        self.write(Some(status), false);
        if let Some(reservation) = self.reservation.take() {
            refund(&self.host, reservation).await;
        }
    }
}

impl<H: Host> Drop for Drawing<H> {
    fn drop(&mut self) {
        if self.went && self.reservation.is_some() {
            // It is charged although the client left: the log says so too.
            self.write(None, true);
        }
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
    let mut told = String::new();
    for unit in units {
        let Some(left) = left(unit.wire()) else { continue };
        let comma = if told.is_empty() { "" } else { ", " };
        let _ = match unit {
            Unit::Asset(asset) => write!(told, "{comma}amount={left};asset=\"{asset}\""),
            Unit::Call | Unit::Byte => write!(told, "{comma}{}={left}", unit.wire()),
        };
    }
    told
}
