//! What was revoked: tokens by id, by holder, by payer, or by when they were issued.

use crate::crypto::sha256;
use std::collections::HashMap;

/// A token id, holder or payer, hashed: what a revocation names has no length of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(pub [u8; 16]);

impl Subject {
    /// A token's `jti`, a holder key's RFC 7638 thumbprint, or a payer's CAIP-10 account as tokens name it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut subject = [0; 16];
        for (to, from) in subject.iter_mut().zip(sha256(&[text.as_bytes()])) {
            *to = from;
        }
        Self(subject)
    }
}

/// Tokens that are refused from now on, and with each everything delegated from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revocation {
    /// The token of this id.
    Token(Subject),
    /// Every token held by this key.
    Holder(Subject),
    /// Every token bought by this payer.
    Payer(Subject),
    /// Every token issued before `at` (Unix seconds): all of them, or those of one party.
    IssuedBefore {
        /// Whose; `None` for everybody's.
        of: Option<Party>,
        /// Unix seconds.
        at: u64,
    },
}

/// Whose tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Those held by this key.
    Holder(Subject),
    /// Those bought by this payer.
    Payer(Subject),
}

/// Revocations as a store keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Changes with every revocation; what [`Store::revocation_epoch`](super::Store::revocation_epoch) tells cheaply.
    pub epoch: u64,
    /// The revocations, in no order. Some may have lapsed.
    pub list: Vec<Revocation>,
}

/// One link of a chain, as revocations see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its id.
    pub token: Subject,
    /// Its holder key, if it is bound to one.
    pub holder: Option<Subject>,
    /// Who bought it, if that is known.
    pub payer: Option<Subject>,
    /// Unix seconds at which it was issued.
    pub issued_at: u64,
}

/// Revocations by what they name: a token is looked up without walking a list.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    /// What each name refuses: tokens issued before this moment.
    before: HashMap<Named, u64>,
}

/// What a revocation is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Named {
    Everybody,
    Token(Subject),
    Holder(Subject),
    Payer(Subject),
}

impl Revocation {
    /// What it names, and before when a token of that name must be issued to be refused.
    pub(super) fn parts(&self) -> (Named, u64) {
        match *self {
            Self::Token(token) => (Named::Token(token), u64::MAX),
            Self::Holder(holder) => (Named::Holder(holder), u64::MAX),
            Self::Payer(payer) => (Named::Payer(payer), u64::MAX),
            Self::IssuedBefore { of: None, at } => (Named::Everybody, at),
            Self::IssuedBefore { of: Some(Party::Holder(holder)), at } => (Named::Holder(holder), at),
            Self::IssuedBefore { of: Some(Party::Payer(payer)), at } => (Named::Payer(payer), at),
        }
    }

    /// Whom it names; nobody's hash for everybody.
    pub(super) fn subject(&self) -> Subject {
        match self.parts().0 {
            Named::Everybody => Subject([0; 16]),
            Named::Token(subject) | Named::Holder(subject) | Named::Payer(subject) => subject,
        }
    }

    /// The revocation of these parts.
    pub(super) fn from_parts(named: Named, before: u64) -> Self {
        match (named, before) {
            (Named::Token(token), _) => Self::Token(token),
            (Named::Holder(holder), u64::MAX) => Self::Holder(holder),
            (Named::Payer(payer), u64::MAX) => Self::Payer(payer),
            (Named::Everybody, at) => Self::IssuedBefore { of: None, at },
            (Named::Holder(holder), at) => Self::IssuedBefore { of: Some(Party::Holder(holder)), at },
            (Named::Payer(payer), at) => Self::IssuedBefore { of: Some(Party::Payer(payer)), at },
        }
    }
}

impl Revoked {
    /// All of these together; those of the configuration and those of the store, say.
    pub fn new<'a>(revocations: impl IntoIterator<Item = &'a Revocation>) -> Self {
        let mut revoked = Self::default();
        for revocation in revocations {
            let (named, before) = revocation.parts();
            let known = revoked.before.entry(named).or_default();
            *known = before.max(*known);
        }
        revoked
    }

    /// Whether this link, and so the whole chain, is refused.
    #[must_use]
    pub fn refuses(&self, link: &Facts) -> bool {
        if self.before.is_empty() {
            return false;
        }
        let names = [
            Some(Named::Everybody),
            Some(Named::Token(link.token)),
            link.holder.map(Named::Holder),
            link.payer.map(Named::Payer),
        ];
        names
            .into_iter()
            .flatten()
            .any(|named| self.before.get(&named).is_some_and(|before| *before == u64::MAX || link.issued_at < *before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let (token, holder, payer) = (Subject::of("t"), Some(Subject::of("h")), Some(Subject::of("p")));
        Facts { token, holder, payer, issued_at: 1000 }
    }

    #[test]
    fn a_link_is_refused_by_each_of_its_names_and_by_no_other() {
        let (holder, payer) = (Subject::of("h"), Subject::of("p"));
        for refuses in [
            Revocation::Token(Subject::of("t")),
            Revocation::Holder(holder),
            Revocation::Payer(payer),
            Revocation::IssuedBefore { of: None, at: 1001 },
            Revocation::IssuedBefore { of: Some(Party::Holder(holder)), at: 1001 },
            Revocation::IssuedBefore { of: Some(Party::Payer(payer)), at: 1001 },
        ] {
            assert!(Revoked::new(&[refuses]).refuses(&facts()), "{refuses:?}");
            let (named, before) = refuses.parts();
            assert_eq!(Revocation::from_parts(named, before), refuses);
        }
        for lets in [
            Revocation::Token(holder),
            Revocation::Holder(payer),
            Revocation::Payer(holder),
            Revocation::IssuedBefore { of: None, at: 1000 },
            Revocation::IssuedBefore { of: Some(Party::Holder(payer)), at: 1001 },
        ] {
            assert!(!Revoked::new(&[lets]).refuses(&facts()), "{lets:?}");
        }
        assert!(!Revoked::default().refuses(&facts()));
    }

    #[test]
    fn the_wider_of_two_revocations_holds_in_either_order() {
        let one = Revocation::IssuedBefore { of: None, at: 1001 };
        let other = Revocation::IssuedBefore { of: None, at: 5 };
        assert!(Revoked::new(&[one, other]).refuses(&facts()) && Revoked::new(&[other, one]).refuses(&facts()));
    }
}
