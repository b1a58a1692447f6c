//! The offers of a route that can be made at this moment.

use super::x402::wire::{self, Asking, SignedOffers};
use super::x402::{check::names, offer as x402, offer_receipt, supported::Supported, v1};
use super::{Breakers, Offer, Payment, Resource, Terms};
use crate::crypto::keys::SigningKey;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::rc::Rc;

/// What is known of each facilitator, by its index in the policy; `None` until it has answered.
pub type Knowledge = Vec<Option<Supported>>;

/// The offers of a route that can be made now, ready to be written and compared.
#[derive(Clone, Debug, Default)]
pub struct Menu {
    entries: Vec<Entry>,
    accepts: Rc<str>,
    breakers: Rc<Breakers>,
    /// What version 1 payments can be for, whether or not that can be offered now.
    in_v1: Rc<[x402::Terms]>,
}

/// One way of making an offer.
#[derive(Clone, Debug)]
struct Entry {
    /// Which of the route's offers. Only the first way of making it is listed; others are for payments that answer
    /// what was listed earlier, or by another worker.
    nth: usize,
    offer: Offer,
    requirement: Value,
    /// The offer as version 1 payments answer it, with the facilitators that take those.
    v1: Option<Offer>,
}

impl Entry {
    fn terms(&self) -> &x402::Terms {
        let Terms::X402(terms) = &self.offer.terms;
        terms
    }
}

impl Menu {
    /// Those of `offers` that can be made with what is known: an offer that needs something from a facilitator waits
    /// for it, and one that no facilitator supports is left out.
    #[must_use]
    pub fn of(offers: &[Offer], known: &Knowledge, breakers: &Rc<Breakers>) -> Self {
        let made = offers.iter().enumerate().flat_map(|(nth, offer)| {
            available(offer, known).into_iter().filter_map(move |offer| {
                let Terms::X402(terms) = &offer.terms;
                let requirement = serde_json::from_str(&terms.json).ok()?;
                let v1 = in_v1(&offer, known);
                Some(Entry { nth, offer, requirement, v1 })
            })
        });
        let in_v1 = offers.iter().filter_map(|offer| {
            let Terms::X402(terms) = &offer.terms;
            terms.v1.is_some().then(|| terms.clone())
        });
        Self::with(made.collect(), breakers, in_v1.collect())
    }

    fn with(entries: Vec<Entry>, breakers: &Rc<Breakers>, in_v1: Rc<[x402::Terms]>) -> Self {
        let mut menu = Self { entries, accepts: Rc::from(""), breakers: Rc::clone(breakers), in_v1 };
        let lines: Vec<&str> = menu.listed().map(|entry| entry.terms().json.as_str()).collect();
        menu.accepts = format!("[{}]", lines.join(",")).into();
        menu
    }

    /// The first way of making each offer.
    fn listed(&self) -> impl Iterator<Item = &Entry> {
        let mut before = None;
        self.entries.iter().filter(move |entry| before.replace(entry.nth) != Some(entry.nth))
    }

    /// What of it can be paid now: an offer whose every facilitator is left alone at the moment is not made. A payment
    /// that answers one is still recognised by the whole menu.
    #[must_use]
    pub fn payable(&self, now_millis: u64) -> Cow<'_, Self> {
        let payable = |offer: &Offer| offer.facilitators.iter().any(|index| !self.breakers.is_open(*index, now_millis));
        if self.entries.iter().all(|entry| payable(&entry.offer) && entry.v1.as_ref().is_none_or(payable)) {
            return Cow::Borrowed(self);
        }
        let entries = self.entries.iter().filter(|entry| payable(&entry.offer)).map(|entry| {
            let v1 = entry.v1.clone().filter(payable);
            Entry { v1, ..entry.clone() }
        });
        Cow::Owned(Self::with(entries.collect(), &self.breakers, Rc::clone(&self.in_v1)))
    }

    /// Seconds until there may be more to pay with, if that is known.
    #[must_use]
    pub fn wait(&self, now_millis: u64) -> Option<u64> {
        self.breakers.wait(now_millis)
    }

    /// Whether nothing can be offered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What version 1 payments can be for; empty where they are not taken.
    pub(super) fn in_v1(&self) -> &[x402::Terms] {
        &self.in_v1
    }

    /// The header lines of a challenge, for every rail there is an offer on.
    #[must_use]
    pub fn challenge(&self, asking: &Asking<'_>) -> Vec<(String, String)> {
        vec![(wire::REQUIRED_HEADER.to_owned(), wire::required(asking, &self.accepts))]
    }

    /// Signs the offers for the resource at `url`: that `issuer`, the origin that serves [`did_document`], makes them,
    /// from `now` for `valid_seconds`, or for as long as each payment may be valid for.
    ///
    /// [`did_document`]: super::did_document
    #[must_use]
    pub fn sign(
        &self,
        url: &str,
        issuer: &str,
        key: &SigningKey,
        now: u64,
        valid_seconds: Option<u64>,
    ) -> SignedOffers {
        let kid = offer_receipt::did_web(issuer, &key.public());
        let offers = offer_receipt::offers(self.listed().map(Entry::terms), url, key, &kid, now, valid_seconds);
        SignedOffers(offers.to_string())
    }

    /// Signatures that [`sign`](Self::sign) makes, and the seconds that the one holds that ends first.
    #[must_use]
    pub fn signing(&self, valid_seconds: Option<u64>) -> (u64, u64) {
        let seconds = self.listed().map(|entry| valid_seconds.unwrap_or(entry.terms().max_timeout_seconds));
        let (count, least) = seconds.fold((0, u64::MAX), |(count, least): (u64, u64), it| (count + 1, least.min(it)));
        (count, least)
    }

    /// What is listed, as it is written: two menus that offer the same have the same.
    #[must_use]
    pub fn listing(&self) -> &Rc<str> {
        &self.accepts
    }

    /// The members of a challenge's body, for clients that look there; empty where the route has none.
    #[must_use]
    pub fn body(&self, error: &str, resource: Resource<'_>) -> Map<String, Value> {
        v1::required(error, resource, self.listed().filter(|entry| entry.v1.is_some()).map(Entry::terms))
    }

    /// The offer that `payment` answers, compared with our own terms member by member. Clients may add to `extra`, so
    /// that a copy of an offer that says more also fits one that says less: the one that says most is meant, or else the
    /// first.
    #[must_use]
    pub fn answered_by(&self, payment: &Payment) -> Option<&Offer> {
        let Payment::X402(payment) = payment;
        if payment.is_v1() {
            let first = |to_the_letter| {
                self.entries
                    .iter()
                    .find(|entry| entry.v1.is_some() && v1::answers(payment, entry.terms(), to_the_letter))
                    .and_then(|entry| entry.v1.as_ref())
            };
            return first(true).or_else(|| first(false));
        }
        let says = |entry: &&Entry| entry.requirement.pointer("/extra").and_then(Value::as_object).map_or(0, Map::len);
        let named = self.entries.iter().rev().filter(|entry| names(&payment.accepted, &entry.requirement));
        named.max_by_key(says).map(|entry| &entry.offer)
    }
}

/// The offer with what it needs from a facilitator, narrowed to the facilitators that can take it now: once for all
/// of them, or once for each where it says by whom it is settled.
fn available(offer: &Offer, known: &Knowledge) -> Vec<Offer> {
    let Terms::X402(terms) = &offer.terms;
    if terms.from_supported.is_empty() {
        let takes = |index: &u16| supported(known, *index).is_none_or(|supported| supported.extra_for(terms).is_some());
        return narrowed(offer, takes).into_iter().collect();
    }
    let mut made: Vec<Offer> = Vec::new();
    for index in &offer.facilitators {
        let extra = supported(known, *index).and_then(|supported| supported.extra_for(terms));
        let Some(terms) = extra.and_then(|extra| terms.complete(extra)) else { continue };
        let made_so = |made: &&mut Offer| {
            let Terms::X402(other) = &made.terms;
            other.json == terms.json
        };
        match made.iter_mut().find(made_so) {
            Some(same) => same.facilitators.push(*index),
            None => made.push(Offer { facilitators: vec![*index], terms: Terms::X402(terms), ..offer.clone() }),
        }
    }
    made
}

/// The offer as version 1 payments answer it: only with facilitators that say that they take them.
fn in_v1(offer: &Offer, known: &Knowledge) -> Option<Offer> {
    let Terms::X402(terms) = &offer.terms;
    let name = terms.v1?;
    let takes =
        |index: &u16| supported(known, *index).is_some_and(|supported| supported.extra(1, "exact", name).is_some());
    narrowed(offer, takes)
}

fn narrowed(offer: &Offer, takes: impl Fn(&u16) -> bool) -> Option<Offer> {
    let facilitators: Vec<u16> = offer.facilitators.iter().copied().filter(takes).collect();
    (!facilitators.is_empty()).then(|| Offer { facilitators, ..offer.clone() })
}

fn supported(known: &Knowledge, index: u16) -> Option<&Supported> {
    known.get(usize::from(index)).and_then(Option::as_ref)
}
