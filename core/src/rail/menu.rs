//! The offers of a route that can be made at this moment.

use super::x402::{check::names, supported::Supported, wire};
use super::{Breakers, Offer, Payment, Resource, Terms};
use serde_json::Value;
use std::borrow::Cow;
use std::rc::Rc;

/// What is known of each facilitator, by its index in the policy; `None` until it has answered.
pub type Knowledge = Vec<Option<Supported>>;

/// The offers of a route that can be made now, ready to be written and compared.
#[derive(Clone, Debug, Default)]
pub struct Menu {
    entries: Vec<(Offer, Value)>,
    accepts: String,
    breakers: Rc<Breakers>,
}

impl Menu {
    /// Those of `offers` that can be made with what is known: an offer that needs something from a facilitator waits
    /// for it, and one that no facilitator supports is left out.
    #[must_use]
    pub fn of(offers: &[Offer], known: &Knowledge, breakers: &Rc<Breakers>) -> Self {
        let entries = offers.iter().filter_map(|offer| available(offer, known)).filter_map(|offer| {
            let Terms::X402(terms) = &offer.terms;
            let requirement = serde_json::from_str(&terms.json).ok()?;
            Some((offer, requirement))
        });
        Self::with(entries.collect(), breakers)
    }

    fn with(entries: Vec<(Offer, Value)>, breakers: &Rc<Breakers>) -> Self {
        let lines: Vec<&str> = entries
            .iter()
            .map(|(offer, _)| {
                let Terms::X402(terms) = &offer.terms;
                terms.json.as_str()
            })
            .collect();
        let accepts = format!("[{}]", lines.join(","));
        Self { entries, accepts, breakers: Rc::clone(breakers) }
    }

    /// What of it can be paid now: an offer whose every facilitator is left alone at the moment is not made. A payment
    /// that answers one is still recognised by the whole menu.
    #[must_use]
    pub fn payable(&self, now_millis: u64) -> Cow<'_, Self> {
        let payable = |(offer, _): &&(Offer, Value)| {
            offer.facilitators.iter().any(|index| !self.breakers.is_open(*index, now_millis))
        };
        if self.entries.iter().all(|entry| payable(&entry)) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self::with(self.entries.iter().filter(payable).cloned().collect(), &self.breakers))
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

    /// The header lines of a challenge, for every rail there is an offer on. `nonce` is for the client to echo;
    /// `identifier` says whether the client may (`false`) or must name its payment.
    #[must_use]
    pub fn challenge(
        &self,
        error: &str,
        resource: Resource<'_>,
        nonce: Option<&str>,
        identifier: Option<bool>,
    ) -> Vec<(String, String)> {
        vec![(wire::REQUIRED_HEADER.to_owned(), wire::required(error, resource, &self.accepts, nonce, identifier))]
    }

    /// The first offer that `payment` answers, compared with our own terms member by member.
    #[must_use]
    pub fn answered_by(&self, payment: &Payment) -> Option<&Offer> {
        let Payment::X402(payment) = payment;
        self.entries.iter().find(|(_, requirement)| names(&payment.accepted, requirement)).map(|(offer, _)| offer)
    }
}

/// The offer with what it needs from a facilitator, narrowed to the facilitators that can take it now.
fn available(offer: &Offer, known: &Knowledge) -> Option<Offer> {
    let Terms::X402(terms) = &offer.terms;
    let supported = |index: &u16| known.get(usize::from(*index)).and_then(Option::as_ref);
    if terms.from_supported.is_empty() {
        let facilitators: Vec<u16> = offer
            .facilitators
            .iter()
            .copied()
            .filter(|index| supported(index).is_none_or(|supported| supported.extra_for(terms).is_some()))
            .collect();
        return (!facilitators.is_empty()).then(|| Offer { facilitators, ..offer.clone() });
    }
    offer.facilitators.iter().find_map(|index| {
        let terms = terms.complete(supported(index)?.extra_for(terms)?)?;
        Some(Offer { facilitators: vec![*index], terms: Terms::X402(terms), ..offer.clone() })
    })
}
