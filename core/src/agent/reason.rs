//! Every reason for which nothing is paid, with its stable code.
//!
//! `docs/agent.md` lists the same codes; a test keeps the two in step.

/// Declares the codes once: name on the wire, and what it means.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $wire:literal;)+) => {
        /// A stable reason code of the buyer's side.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code on the wire.
            #[must_use]
            pub fn wire(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }
        }
    };
}

reasons! {
    /// The challenge cannot be read, or two readers could read it as two.
    ChallengeUnreadable = "challenge_unreadable";
    /// The challenge is longer than this engine reads.
    ChallengeTooLarge = "challenge_too_large";
    /// The challenge has more offers than this engine looks at.
    TooManyOffers = "too_many_offers";
    /// The challenge has no offer.
    NoOffers = "no_offers";
    /// The offer is not well formed.
    OfferUnreadable = "offer_unreadable";
    /// This engine does not pay by the offer's scheme, network, transfer method or flow.
    OfferUnsupported = "offer_unsupported";
    /// No account of the wallet can pay it.
    WalletCannotPay = "wallet_cannot_pay";
    /// The method or the URL cannot be judged.
    RequestUnreadable = "request_unreadable";
    /// The request was redirected to another origin, or by a method other than GET and HEAD.
    Redirected = "redirected";
    /// Another policy is in force.
    PolicyNotAdopted = "policy_not_adopted";
    /// The policy is not in force yet, or no longer.
    PolicyNotInForce = "policy_not_in_force";
    /// The counters were lost, and what was spent before cannot be known.
    CountersLost = "counters_lost";
    /// The counters have no room for another entry; nothing is forgotten to make room.
    CountersFull = "counters_full";
    /// The clock has gone back further than clocks do.
    ClockWentBack = "clock_went_back";
    /// The circuit breaker is open.
    Frozen = "frozen";
    /// A rule denies it.
    Denied = "denied";
    /// No rule allows it.
    NotAllowed = "not_allowed";
    /// The asset is not one that the policy lists.
    AssetNotListed = "asset_not_listed";
    /// The offer describes the asset otherwise than the policy knows it.
    AssetDisagrees = "asset_disagrees";
    /// The payment would stay good for too long.
    ValidityTooLong = "validity_too_long";
    /// The amount is above the cap for one payment.
    OverCap = "over_cap";
    /// A budget has not enough left.
    OverBudget = "over_budget";
    /// No budget covers it.
    NoBudget = "no_budget";
    /// Too many payments have been made.
    TooManyCalls = "too_many_calls";
    /// The last payment was too short a time ago.
    CoolingDown = "cooling_down";
    /// Now is not a time at which it may be paid.
    OutsideHours = "outside_hours";
    /// The amount waits until it may be paid.
    TimeLocked = "time_locked";
    /// The price is above what the caller was told.
    PriceAboveQuote = "price_above_quote";
    /// Asset or payee is not what the caller was told.
    QuoteChanged = "quote_changed";
    /// The price is too far above what was paid last.
    PriceAboveLast = "price_above_last";
    /// The host was paid at another account before.
    PayeeChanged = "payee_changed";
    /// The same was paid a moment ago.
    Duplicate = "duplicate";
    /// The policy wants offers to be signed, and this one is not, or not by whom it should.
    OfferUnsigned = "offer_unsigned";
    /// Somebody must approve it first.
    ApprovalNeeded = "approval_needed";
}
