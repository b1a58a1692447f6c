//! What a call draws from its token: the counters that it touches at every link of the delegation chain, all at once.
//!
//! A store counts a draw when it is [reserved](super::Store::reserve), so that a plain call costs one operation and a
//! worker that dies leaves the call spent. [`Store::commit`](super::Store::commit) corrects what was not known before
//! the call (bytes); [`Store::refund`](super::Store::refund) gives budgets back, and never rates.

use crate::crypto::sha256;
use std::fmt;

/// Links of a chain, the root included.
pub const MAX_LINKS: usize = 4;
/// Counters that one draw touches, over all links.
pub const MAX_COUNTERS: usize = 16;
/// Delegated tokens with counters that live under one root at once.
pub const MAX_CHILDREN: usize = 64;

/// A root token and everything delegated from it: their counters live and change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FamilyId(pub [u8; 16]);

impl FamilyId {
    /// The family of the root token with this `jti`.
    #[must_use]
    pub fn of(jti: &str) -> Self {
        Self(first(&sha256(&[jti.as_bytes()])))
    }
}

/// A delegated token among those of its family. Two that share an id share counters: that is never more than either
/// may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub [u8; 8]);

impl LinkId {
    /// The delegated token with this `jti`.
    #[must_use]
    pub fn of(jti: &str) -> Self {
        Self(first(&sha256(&[jti.as_bytes()])))
    }
}

/// A counter among those of its link: the grant that limits, and what it limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CounterId(pub [u8; 8]);

impl CounterId {
    /// What the `grant`-th grant of a token says of `unit`, in the words of the token: `call`, `byte`, or a CAIP-19
    /// asset. Windows of different length are told apart by the draw.
    #[must_use]
    pub fn of(grant: u8, unit: &str) -> Self {
        // The two that every token has cost no hash; nothing else's begins like theirs but by accident.
        let [a, b, c, d, e, f, g] = match unit {
            "call" => [0, 0, 0, 0, 0, 0, 1],
            "byte" => [0, 0, 0, 0, 0, 0, 2],
            _ => first(&sha256(&[unit.as_bytes()])),
        };
        Self([grant, a, b, c, d, e, f, g])
    }

    /// The grant that limits.
    #[must_use]
    pub fn grant(&self) -> u8 {
        let [grant, ..] = self.0;
        grant
    }

    /// Whether it limits `unit`.
    #[must_use]
    pub fn is_of(&self, unit: &str) -> bool {
        *self == Self::of(self.grant(), unit)
    }
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(hash) {
        *to = *from;
    }
    out
}

/// What one call draws. Made link by link, root first; a counter belongs to the link that was added last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    pub(super) family: FamilyId,
    pub(super) expires: u64,
    pub(super) children: Vec<Child>,
    pub(super) counters: Vec<Counter>,
}

/// A delegated token of a draw, and of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) id: LinkId,
    pub(super) expires: u64,
}

/// A counter of a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    /// Position of its link in the chain; 0 is the root.
    pub(super) link: u8,
    pub(super) id: CounterId,
    /// Length of the window in seconds; 0 for a budget, which counts over the token's life.
    pub(super) period: u32,
    pub(super) max: u128,
    pub(super) cost: u128,
}

impl Draw {
    /// A draw on the root token of `family`, whose counters are kept until `expires` (Unix seconds): the moment from
    /// which no clock of ours lets the root pass any more, its `exp` and the skew allowed.
    #[must_use]
    pub fn new(family: FamilyId, expires: u64) -> Self {
        Self { family, expires, children: Vec::new(), counters: Vec::with_capacity(4) }
    }

    /// Goes on to the next link of the chain, whose counters are kept until `expires` (Unix seconds).
    ///
    /// # Errors
    /// [`DrawError::Links`] beyond [`MAX_LINKS`]; [`DrawError::Twice`] if the chain has this link already.
    pub fn child(&mut self, id: LinkId, expires: u64) -> Result<(), DrawError> {
        if self.children.len() + 1 >= MAX_LINKS {
            return Err(DrawError::Links);
        }
        if self.children.iter().any(|child| child.id == id) {
            return Err(DrawError::Twice);
        }
        self.children.push(Child { id, expires });
        Ok(())
    }

    /// The call costs `cost` of a budget of `max` over the link's life.
    ///
    /// # Errors
    /// [`DrawError::Counters`] beyond [`MAX_COUNTERS`]; [`DrawError::Twice`] if the link has this budget already.
    pub fn budget(&mut self, id: CounterId, max: u128, cost: u128) -> Result<(), DrawError> {
        self.count(id, 0, max, cost)
    }

    /// The call costs `cost` of `max` that flow back evenly over `period` seconds: as much at once as has flowed back,
    /// and never more than `max`. Above 2⁸⁰ `max` counts as 2⁸⁰.
    ///
    /// # Errors
    /// As [`budget`](Self::budget); [`DrawError::Period`] for a window of no length.
    pub fn rate(&mut self, id: CounterId, period: u32, max: u128, cost: u128) -> Result<(), DrawError> {
        if period == 0 {
            return Err(DrawError::Period);
        }
        self.count(id, period, max, cost)
    }

    fn count(&mut self, id: CounterId, period: u32, max: u128, cost: u128) -> Result<(), DrawError> {
        let link = u8::try_from(self.children.len()).map_err(|_| DrawError::Links)?;
        if self.counters.iter().any(|there| (there.link, there.id, there.period) == (link, id, period)) {
            return Err(DrawError::Twice);
        }
        if self.counters.len() >= MAX_COUNTERS {
            return Err(DrawError::Counters);
        }
        self.counters.push(Counter { link, id, period, max, cost });
        Ok(())
    }

    /// The family drawn on.
    #[must_use]
    pub fn family(&self) -> FamilyId {
        self.family
    }

    /// The link at this position of the chain; `None` for the root.
    pub(super) fn link(&self, position: u8) -> Option<LinkId> {
        let child = usize::from(position).checked_sub(1)?;
        self.children.get(child).map(|child| child.id)
    }
}

/// Why a draw cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawError {
    /// The chain has more than [`MAX_LINKS`] links.
    Links,
    /// The call touches more than [`MAX_COUNTERS`] counters.
    Counters,
    /// The chain has the same link twice, or a link the same counter.
    Twice,
    /// A window has no length.
    Period,
}

impl fmt::Display for DrawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Links => "a chain has at most 4 links",
            Self::Counters => "a call touches at most 16 counters of its chain",
            Self::Twice => "the chain has a link twice, or a link a counter",
            Self::Period => "a window has a length",
        })
    }
}

impl std::error::Error for DrawError {}

/// The answer to a draw.
#[derive(Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Every counter had room, and has been charged.
    Reserved(Reservation),
    /// A budget has too little left; nothing was charged. Waiting does not help.
    Exhausted {
        /// Position in the chain of the link whose budget it is; 0 is the root.
        link: usize,
        /// The budget.
        counter: CounterId,
        /// What it has left.
        left: u128,
    },
    /// A rate has too little room; nothing was charged. Of several, the one that takes longest.
    TooFast {
        /// Position in the chain of the link whose rate it is; 0 is the root.
        link: usize,
        /// The rate.
        counter: CounterId,
        /// Its window, in seconds.
        period: u32,
        /// Milliseconds until there is room; `None` if one such call is more than the whole rate.
        retry_after_millis: Option<u64>,
    },
    /// The family has [`MAX_CHILDREN`] live delegated tokens with counters, or as many counters as are kept for one;
    /// nothing was charged.
    TooManyChildren,
    /// A link's counters have expired and may be gone. Also where a clock that was ahead has come back.
    Expired,
}

/// A draw that was charged. Dropped, it stays charged.
///
/// It cannot be copied, and both ways to conclude it consume it: a draw is never given back twice.
///
/// ```compile_fail,E0382
/// # use farebox_core::ledger::{Reservation, Store, StoreError};
/// async fn twice(store: impl Store, reservation: Reservation) -> Result<(), StoreError> {
///     store.refund(reservation, 0).await?;
///     store.refund(reservation, 0).await
/// }
/// ```
#[must_use = "commit it or give it back; dropped, it stays charged"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    pub(super) draw: Draw,
    pub(super) left: Left,
}

impl Reservation {
    /// What was left once it was charged.
    #[must_use]
    pub fn left(&self) -> &Left {
        &self.left
    }

    /// Whether `used` differs from what was charged.
    pub(super) fn differs(&self, used: &[(CounterId, u128)]) -> bool {
        self.draw.counters.iter().any(|counter| actual(counter, used) != counter.cost)
    }
}

/// What was used of a counter: what was charged unless `used` says otherwise.
pub(super) fn actual(counter: &Counter, used: &[(CounterId, u128)]) -> u128 {
    used.iter().find_map(|(id, amount)| (*id == counter.id).then_some(*amount)).unwrap_or(counter.cost)
}

/// What is left of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left(pub Vec<LeftOf>);

/// What is left of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOf {
    /// The delegated token it belongs to; `None` for the root.
    pub link: Option<LinkId>,
    /// The counter.
    pub counter: CounterId,
    /// The window of a rate, in seconds; `None` for a budget.
    pub period: Option<u32>,
    /// How much there is in all.
    pub max: u128,
    /// How much there is left now.
    pub left: u128,
    /// Milliseconds until a rate is whole again; 0 for a budget.
    pub whole_in_millis: u64,
}

impl Left {
    /// The least that any link has left of a budget of `unit` (in the words of the token); `None` without such a
    /// budget.
    #[must_use]
    pub fn budget(&self, unit: &str) -> Option<u128> {
        self.0.iter().filter(|of| of.period.is_none() && of.counter.is_of(unit)).map(|of| of.left).min()
    }
}
