//! Every reason for which the gate answers in the upstream's place, as RFC 9457 problems with stable codes.
//!
//! `docs/profile.md` lists the same codes with what a client should do; a test keeps the two in step.

/// Why an exchange was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The stable reason.
    pub code: Code,
    /// One sentence for people; never decides anything.
    pub detail: String,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem with the code's own advice on retrying.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: code.retry_after() }
    }
}

/// Declares the codes once: name on the wire, status, title, and what a client should do.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $wire:literal, $status:literal, $title:literal, $advice:ident;)+) => {
        /// A stable reason code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code on the wire.
            #[must_use]
            pub fn wire(self) -> &'static str {
                match self { $(Self::$name => $wire,)+ }
            }

            /// HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// RFC 9457 `title`.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What a client should do.
            #[must_use]
            pub fn advice(self) -> Advice {
                match self { $(Self::$name => Advice::$advice,)+ }
            }
        }
    };
}

/// What a client should do about a problem. In problem bodies as `advice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Pay one of the offers and send the request with the payment.
    Pay,
    /// Send the same request with the same payment again, after `Retry-After`.
    ResendSamePayment,
    /// Approve the token for Permit2 on chain, then send the same request with the same payment again.
    ApproveThenResend,
    /// Send the same request again, after `Retry-After`.
    RetryLater,
    /// Correct the request; the same one is refused again.
    FixRequest,
    /// Nothing: the request cannot be served.
    GiveUp,
}

impl Advice {
    /// The advice on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::ResendSamePayment => "resend_same_payment",
            Self::ApproveThenResend => "approve_then_resend",
            Self::RetryLater => "retry_later",
            Self::FixRequest => "fix_request",
            Self::GiveUp => "give_up",
        }
    }
}

codes! {
    /// No credential, and the route costs something.
    PaymentRequired = "payment_required", 402, "Payment required", Pay;
    /// The payment answers none of the route's offers as they are now.
    PaymentMismatch = "payment_mismatch", 402, "The payment matches no offer", Pay;
    /// The payment's time window has passed, or is about to.
    PaymentExpired = "payment_expired", 402, "The payment has expired", Pay;
    /// The payment's time window has not begun, or reaches further than the offer allows.
    PaymentTimeWindow = "payment_time_window", 402, "The payment's time window does not fit the offer", Pay;
    /// The payment is to another amount or payee than the offer's.
    PaymentTerms = "payment_terms", 402, "The payment's amount or payee is not the offer's", Pay;
    /// The payment was found invalid, by the gate or by the facilitator.
    PaymentInvalid = "payment_invalid", 402, "The payment is invalid", Pay;
    /// The payer has not yet allowed Permit2 to move the token; with that done, the same payment is good.
    Permit2AllowanceRequired = "permit2_allowance_required", 412, "Permit2 needs the payer's approval", ApproveThenResend;
    /// The rail refused to settle: nothing was paid, nothing was served.
    SettlementFailed = "settlement_failed", 402, "The payment could not be settled", Pay;
    /// The payment cannot be read.
    PaymentMalformed = "payment_malformed", 400, "The payment cannot be read", FixRequest;
    /// More than one credential, or one credential twice.
    CredentialAmbiguous = "credential_ambiguous", 400, "More than one credential", FixRequest;
    /// The payment was used, for this request or for another.
    PaymentUsed = "payment_used", 409, "The payment has been used", GiveUp;
    /// The payment is being used by another request at this moment.
    PaymentInProgress = "payment_in_progress", 409, "The payment is in use", ResendSamePayment;
    /// Whether the payment was settled is not known yet. Never pay again for this.
    OutcomeUnknown = "outcome_unknown", 503, "The payment's outcome is not known yet", ResendSamePayment;
    /// Whether the payment was settled could not be found out, and no longer will be. Ask the seller.
    OutcomeUnresolved = "outcome_unresolved", 409, "The payment's outcome could not be found out", GiveUp;
    /// The route takes only payments that the buyer has named (`payment-identifier`).
    PaymentIdentifierRequired = "payment_identifier_required", 400, "The payment needs an identifier", FixRequest;
    /// The same identifier was used for another request.
    PaymentIdentifierConflict = "payment_identifier_conflict", 409, "The payment identifier is another request's", FixRequest;
    /// The token cannot be read, or it is not signed by whom it says.
    TokenInvalid = "token_invalid", 401, "The token is not valid", FixRequest;
    /// The token is not good yet.
    TokenNotYetValid = "token_not_yet_valid", 401, "The token is not valid yet", RetryLater;
    /// The token's time is over.
    TokenExpired = "token_expired", 402, "The token has expired", Pay;
    /// The token, one it was delegated from, its holder or its payer was revoked.
    TokenRevoked = "token_revoked", 403, "The token was revoked", GiveUp;
    /// The token is not for this request.
    TokenScope = "token_scope", 403, "The token does not cover the request", FixRequest;
    /// Too little is left on the token, or on one it was delegated from.
    TokenExhausted = "token_exhausted", 402, "The token is used up", Pay;
    /// Calls with this token come faster than it allows.
    TokenRate = "token_rate", 429, "Too many calls with this token", RetryLater;
    /// What the token was used for is not known any more, and the policy does not let it start anew.
    LedgerLost = "ledger_lost", 402, "The token's account was lost", Pay;
    /// The token belongs to a key, and the request has no proof of it.
    ProofRequired = "proof_required", 401, "The token needs a proof of possession", FixRequest;
    /// The proof is not one for this request and this token.
    ProofInvalid = "proof_invalid", 401, "The proof of possession is not valid", FixRequest;
    /// The proof was used before.
    ProofReplayed = "proof_replayed", 401, "The proof of possession was used before", FixRequest;
    /// The pass is sold only to buyers that introduce a key, by a signature on the paying request; nothing was charged.
    HolderKeyRequired = "holder_key_required", 400, "The pass needs a holder key", FixRequest;
    /// The request to the administrator's address is not signed as it has to be.
    AdminRefused = "admin_refused", 401, "The request is not an administrator's", FixRequest;
    /// Too much unpaid or failed traffic from this source, or too many uncharged requests by this payer.
    TooManyRequests = "too_many_requests", 429, "Too many requests", RetryLater;
    /// No facilitator could be reached; nothing was charged.
    FacilitatorUnavailable = "facilitator_unavailable", 503, "Payments cannot be checked at the moment", ResendSamePayment;
    /// None of the route's offers can be made at the moment.
    OffersUnavailable = "offers_unavailable", 503, "Payments cannot be taken at the moment", RetryLater;
    /// The ledger cannot take another claim, or its store failed.
    LedgerUnavailable = "ledger_unavailable", 503, "Payments cannot be recorded at the moment", ResendSamePayment;
    /// The host did not give the upstream's response headers, so that nobody knows whether it did what was paid for.
    UpstreamUnreadable = "upstream_unreadable", 502, "The upstream's response could not be read", ResendSamePayment;
    /// The policy denies this route.
    RouteDenied = "route_denied", 403, "The route is denied", GiveUp;
    /// No route matches, and the policy denies the rest.
    NoRoute = "no_route", 404, "No such route", GiveUp;
    /// The path has routes, but none for this method.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here", FixRequest;
    /// The host is not one that the policy answers for.
    UnknownHost = "unknown_host", 421, "The gate does not answer for this host", FixRequest;
    /// The request target has no single meaning.
    BadPath = "bad_path", 400, "The request target is ambiguous", FixRequest;
    /// Path and query are longer than the gate reads.
    PathTooLong = "path_too_long", 414, "The request target is too long", FixRequest;
    /// The method is malformed or never allowed.
    BadMethod = "bad_method", 400, "The method is not acceptable", FixRequest;
    /// The authority is missing, doubled or malformed.
    BadAuthority = "bad_authority", 400, "The authority is not acceptable", FixRequest;
}

impl Code {
    /// The gRPC status that says it to a gRPC client, by the HTTP status.
    ///
    /// 402 is `FAILED_PRECONDITION`: the call fails until the client has changed something, and clients neither try it
    /// again as it is (as they do with `UNAVAILABLE`) nor fetch new credentials (`UNAUTHENTICATED`).
    #[must_use]
    pub fn grpc_status(self) -> u32 {
        const INVALID_ARGUMENT: u32 = 3;
        const PERMISSION_DENIED: u32 = 7;
        const RESOURCE_EXHAUSTED: u32 = 8;
        const FAILED_PRECONDITION: u32 = 9;
        const ABORTED: u32 = 10;
        const UNIMPLEMENTED: u32 = 12;
        const UNAVAILABLE: u32 = 14;
        const UNAUTHENTICATED: u32 = 16;
        match self.status() {
            402 | 412 => FAILED_PRECONDITION,
            401 => UNAUTHENTICATED,
            403 => PERMISSION_DENIED,
            404 | 405 => UNIMPLEMENTED,
            409 => ABORTED,
            429 => RESOURCE_EXHAUSTED,
            502 | 503 => UNAVAILABLE,
            _ => INVALID_ARGUMENT,
        }
    }

    fn retry_after(self) -> Option<u64> {
        match self {
            Self::PaymentInProgress | Self::TooManyRequests | Self::TokenRate | Self::TokenNotYetValid => Some(1),
            Self::OutcomeUnknown | Self::OffersUnavailable | Self::FacilitatorUnavailable | Self::LedgerUnavailable => {
                Some(5)
            }
            _ => None,
        }
    }
}
