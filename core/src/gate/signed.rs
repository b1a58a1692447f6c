//! Signed offers: a signature costs as much as many challenges, so what was signed is kept, and only so many are made in
//! a second. A challenge that comes when no more may be made says the same, unsigned.

use super::admit::Case;
use crate::host::{Event, Host, Level};
use crate::rail::{Menu, SignedOffers};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Bytes of signed offers that a worker keeps.
const MOST: usize = 1 << 20;
/// Bytes that an entry takes besides its texts, about.
const OVERHEAD: usize = 200;

/// What one worker has signed.
#[derive(Debug, Default)]
pub(super) struct Signed {
    kept: RefCell<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_url: HashMap<Rc<str>, Entry>,
    /// Oldest first.
    order: VecDeque<Rc<str>>,
    bytes: usize,
    /// The second that is running, and what was signed in it.
    second: u64,
    made: u64,
    /// When it was last said that too many are wanted.
    warned: u64,
}

#[derive(Debug)]
struct Entry {
    listing: Rc<str>,
    signed: Rc<SignedOffers>,
    from: u64,
    until: u64,
    bytes: usize,
}

impl Kept {
    /// What was signed for this resource and these offers, if half of its time is not over.
    fn find(&self, url: &str, listing: &str, now: u64) -> Option<Rc<SignedOffers>> {
        let entry = self.by_url.get(url)?;
        let good = (entry.from..entry.until).contains(&now) && *entry.listing == *listing;
        good.then(|| Rc::clone(&entry.signed))
    }

    /// Whether so many more signatures may be made in this second.
    fn may_make(&mut self, signatures: u64, per_second: u64, now: u64) -> bool {
        if self.second != now {
            (self.second, self.made) = (now, 0);
        }
        // A menu that is longer than a second's signatures is signed all the same, alone in its second.
        if self.made > 0 && self.made.saturating_add(signatures) > per_second {
            return false;
        }
        self.made = self.made.saturating_add(signatures);
        true
    }

    fn keep(&mut self, url: &str, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.bytes);
        let url: Rc<str> = url.into();
        match self.by_url.insert(Rc::clone(&url), entry) {
            Some(old) => self.bytes = self.bytes.saturating_sub(old.bytes),
            None => self.order.push_back(url),
        }
        while self.bytes > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.by_url.remove(&oldest).map_or(0, |entry| entry.bytes);
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }
}

impl<H: Host> Case<'_, H> {
    /// The offers of `menu` for the resource at `url`, signed; `None` if the policy does not sign them, or not now.
    pub(super) fn signed(&self, menu: &Menu, url: &str) -> Option<Rc<SignedOffers>> {
        let tokens = self.gate.policy.tokens()?;
        let (wanted, signer) = (tokens.signed_offers?, tokens.signer.as_ref()?);
        let now = self.host.now();
        let mut kept = self.gate.signed.kept.borrow_mut();
        if let Some(known) = kept.find(url, menu.listing(), now) {
            return Some(known);
        }
        let (signatures, seconds) = menu.signing(wanted.valid_seconds);
        if !kept.may_make(signatures, wanted.per_second, now) {
            if now.abs_diff(kept.warned) >= 60 {
                kept.warned = now;
                let text =
                    "challenges go out unsigned: more signatures are wanted than tokens.signed_offers.per_second";
                self.host.event(&Event::Log { level: Level::Warn, text });
            }
            return None;
        }
        let signed = Rc::new(menu.sign(url, &tokens.issuer, &signer.key, now, wanted.valid_seconds));
        let bytes = OVERHEAD + 2 * url.len() + signed.bytes();
        let until = now.saturating_add(seconds / 2);
        let listing = Rc::clone(menu.listing());
        kept.keep(url, Entry { listing, signed: Rc::clone(&signed), from: now, until, bytes });
        Some(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_signatures_and_one_menu_always() {
        let mut kept = Kept::default();
        assert!(kept.may_make(200, 50, 1), "more than a second has, and nothing before");
        assert!(!kept.may_make(1, 50, 1));
        assert!(kept.may_make(25, 50, 2) && kept.may_make(25, 50, 2) && !kept.may_make(1, 50, 2));
        assert!(kept.may_make(1, 50, 1), "a clock that goes back is another second");
    }
}
