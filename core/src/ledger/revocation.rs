//! What was revoked: tokens by id, by holder, by payer, or by when they were issued.

use crate::crypto::keys::THUMBPRINT_URN;
use crate::crypto::{base64url, sha256};
use crate::token::MAX_LINKS;
use std::collections::HashMap;

/// A token id, holder or payer, hashed: what a revocation names has no length of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(pub [u8; 16]);

impl Subject {
    /// A token's name, or a holder key's RFC 7638 thumbprint. For a payer, see [`payer`](Self::payer).
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut subject = [0; 16];
        for (to, from) in subject.iter_mut().zip(sha256(&[text.as_bytes()])) {
            *to = from;
        }
        Self(subject)
    }

    /// A payer as a token names it (CAIP-10). Two spellings of an EVM address are one payer.
    #[must_use]
    pub fn payer(account: &str) -> Self {
        if account.starts_with(EVM) { Self::of(&account.to_ascii_lowercase()) } else { Self::of(account) }
    }
}

const EVM: &str = "eip155:";

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

/// Ids are 1 to 64 letters, digits, `-`, `_`, `.`.
fn is_token(name: &str) -> bool {
    let is_id =
        |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    name.split('~').count() <= MAX_LINKS && name.split('~').all(is_id)
}

/// A thumbprint, alone or as the name that tokens give its key (RFC 9278).
fn thumbprint(name: &str) -> Option<&str> {
    let thumbprint = name.strip_prefix(THUMBPRINT_URN).unwrap_or(name);
    base64url::decode_fixed::<32>(thumbprint).map(|_| thumbprint)
}

/// Whether tokens may name a payer so.
fn is_payer(name: &str) -> bool {
    match name.strip_prefix(EVM).and_then(|rest| rest.split_once(':')) {
        Some((chain, address)) => {
            let digits = address.strip_prefix("0x").unwrap_or_default();
            !chain.is_empty()
                && chain.bytes().all(|c| c.is_ascii_digit())
                && digits.len() == 40
                && digits.bytes().all(|c| c.is_ascii_hexdigit())
        }
        None => !name.starts_with(EVM) && name.contains(':') && name.bytes().all(|c| c.is_ascii_graphic()),
    }
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
    /// Reads what is to be revoked: a `token` by its name, or what a `holder` holds or a `payer` bought.
    ///
    /// # Errors
    /// How it is to be written, where `name` can be no name of that kind: it would revoke nothing, and say nothing.
    pub fn read(kind: &str, name: &str) -> Result<Self, &'static str> {
        match kind {
            "token" if is_token(name) => Ok(Self::Token(Subject::of(name))),
            "token" => Err("write the token's id, and those of what it was delegated from before it, joined by `~`"),
            "holder" => match thumbprint(name) {
                Some(thumbprint) => Ok(Self::Holder(Subject::of(thumbprint))),
                None => Err("write the key's thumbprint (RFC 7638, SHA-256, base64url)"),
            },
            "payer" if is_payer(name) => Ok(Self::Payer(Subject::payer(name))),
            "payer" => Err("write the account with its network (CAIP-10), like \"eip155:8453:0x…\""),
            _ => Err("write one of `token`, `holder`, `payer`, `issued_before`"),
        }
    }

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
    fn names_are_read_in_every_spelling_and_what_can_be_no_name_is_refused() {
        let (mixed, lower) = (
            "eip155:8453:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "eip155:8453:0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        );
        let thumbprint = "FVV5umTuau890q59V-4Ga_R6qWb7ON_ivJc4EjvCwTM";
        let read = Revocation::read;
        assert_eq!(read("payer", mixed), read("payer", lower));
        assert_eq!(read("payer", mixed), Ok(Revocation::Payer(Subject::payer(lower))));
        assert_eq!(read("holder", &format!("{THUMBPRINT_URN}{thumbprint}")), read("holder", thumbprint));
        for (kind, name) in [
            ("token", "a"),
            ("token", "a.b-C_0~child"),
            ("payer", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp:7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv"),
            ("payer", "urn:farebox:claim:abc"),
        ] {
            assert!(read(kind, name).is_ok(), "{kind} {name}");
        }
        for (kind, name) in [
            ("token", ""),
            ("token", "Bearer eyJ"),
            ("token", "a~~b"),
            ("token", "a~b~c~d~e"),
            ("holder", "agent.jwk"),
            ("holder", "FVV5umTuau890q59V"),
            ("payer", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            ("payer", "eip155:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            ("payer", "eip155:8453:0xf39F"),
            ("payer", "somebody"),
            ("payer", "solana: x"),
            ("everybody", "a"),
        ] {
            assert!(read(kind, name).is_err(), "{kind} {name}");
        }
    }

    #[test]
    fn the_wider_of_two_revocations_holds_in_either_order() {
        let one = Revocation::IssuedBefore { of: None, at: 1001 };
        let other = Revocation::IssuedBefore { of: None, at: 5 };
        assert!(Revoked::new(&[one, other]).refuses(&facts()) && Revoked::new(&[other, one]).refuses(&facts()));
    }
}
