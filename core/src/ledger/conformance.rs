//! What every ledger backend must do, as one suite: the same rules for plain maps, a proxy's shared data, and a store
//! on the other side of a network.
//!
//! For a backend that never waits, `conformance_tests!` makes a test of each rule; one that waits awaits its [`rules`]
//! one after another. Every rule founds ledgers of its own.

#![allow(missing_docs, reason = "the name of a rule says it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "rules are tests")]

mod claims;
mod tokens;
mod upkeep;

use super::local::Ceilings;
use super::{Binding, ClaimId, Claimed, CounterId, Draw, Drawn, FamilyId, NewClaim, Reservation, Store, Ticket};
use crate::crypto::sha256;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// A kind of ledger.
pub trait Backend {
    /// Its handle for one worker.
    type Store: Store;
    /// One ledger of this kind.
    type Ledger: Clone;

    /// A ledger that nobody has used.
    fn found(&self, ceilings: Ceilings) -> Self::Ledger;

    /// Another worker's handle on it.
    fn worker(&self, ledger: &Self::Ledger) -> Self::Store;

    /// How many operations to make where a rule only needs many of them; backends behind a network make fewer.
    fn many(&self, number: u32) -> u32 {
        number
    }
}

/// A rule, for whoever wants to run them one by one.
pub type Rule<B> = (&'static str, for<'a> fn(&'a B) -> Pin<Box<dyn Future<Output = ()> + 'a>>);

/// The moment at which rules begin, in Unix seconds.
pub const NOW: u64 = 1_800_000_000;

macro_rules! rules {
    ($($module:ident: $($rule:ident)*;)*) => {
        /// Every rule. Each panics where a backend breaks it.
        #[must_use]
        pub fn rules<B: Backend>() -> Vec<Rule<B>> {
            vec![$($((stringify!($rule), |backend| Box::pin($module::$rule(backend)))),*),*]
        }

        $($(pub use $module::$rule;)*)*

        /// Makes a test of every rule, for a backend that never waits.
        #[cfg(test)]
        macro_rules! conformance_tests {
            ($backend:expr) => {
                $($(#[test] fn $rule() {
                    $crate::ledger::conformance::done($crate::ledger::conformance::$rule(&$backend));
                })*)*
            };
        }
        #[cfg(test)]
        pub(crate) use conformance_tests;
    };
}

rules! {
    claims:
        the_first_to_claim_wins_and_others_see_its_record
        of_workers_that_claim_at_once_one_wins
        past_its_deadline_a_claim_is_released_before_the_money_call_and_unknown_after_it
        what_is_settled_stays_settled_and_is_never_released
        a_record_goes_when_its_payment_lapsed_and_an_unknown_one_a_day_later
        the_ticket_of_a_dead_worker_never_fits_a_later_claim
        only_an_unknown_claim_is_resolved
        a_claim_yields_one_token_ever
        a_credit_is_instead_of_the_delivery
        the_first_pointer_stays_until_it_is_replaced_by_name
        claims_up_to_the_ceiling_are_taken_and_none_is_forgotten;
    tokens:
        a_budget_is_spent_to_the_last_unit_and_no_further
        of_many_draws_at_once_exactly_as_many_as_fit_are_served
        a_draw_charges_every_link_or_none
        children_add_up_under_their_root
        what_is_given_back_can_be_drawn_again_but_rates_keep_it
        a_draw_is_corrected_to_what_was_used
        the_tightest_counter_decides_and_the_refusal_names_it
        a_rate_gives_back_evenly
        a_clock_that_steps_back_gives_nothing
        a_clock_that_was_ahead_locks_nobody_out
        counters_are_kept_until_they_expire_and_never_begun_anew
        a_family_counts_64_live_children
        an_expired_child_makes_room_and_is_never_begun_anew
        families_up_to_the_ceiling_are_taken_and_none_is_forgotten
        ids_made_to_meet_do_not_meet
        what_is_left_is_told_of_every_counter;
    upkeep:
        a_mark_is_set_once
        of_workers_that_mark_at_once_one_is_first
        marks_are_refused_rather_than_forgotten
        marks_are_kept_until_they_end_and_never_set_anew
        revocations_are_seen_by_every_worker
        what_lapsed_makes_room_for_revocations
        a_ledger_has_one_epoch_and_another_ledger_another
        open_questions_are_few_and_told_apart
        one_worker_has_a_lease_until_it_ends
        what_is_published_is_read_by_every_worker;
}

/// The result of a future that never waits.
///
/// # Panics
/// If it waits.
pub fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("this backend never waits"),
    }
}

/// Polls all of them in turns until each is done.
async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut open: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut waiting = false;
        for (future, result) in &mut open {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    open.into_iter().filter_map(|(_, result)| result).collect()
}

const CEILINGS: Ceilings = Ceilings { claims: 1000, tokens: 1000 };

fn lone<B: Backend>(backend: &B) -> B::Store {
    backend.worker(&backend.found(CEILINGS))
}

fn several<B: Backend>(backend: &B, ledger: &B::Ledger) -> Vec<B::Store> {
    (0..5).map(|_| backend.worker(ledger)).collect()
}

fn id(n: u32) -> ClaimId {
    ClaimId(sha256(&[&n.to_be_bytes()]))
}

fn new(deadline: u64, expires: u64) -> NewClaim {
    NewClaim {
        binding: Binding([1; 16]),
        secret: [9; 16],
        deadline,
        expires,
        checked: true,
        repeatable: true,
        proven: false,
        window: 0,
    }
}

fn ours(claimed: Claimed) -> Ticket {
    match claimed {
        Claimed::Ours(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn family(n: u32) -> FamilyId {
    FamilyId::of(&format!("token {n}"))
}

fn calls() -> CounterId {
    CounterId::of(0, "call")
}

/// A draw of one call on a budget of `max`.
fn call(n: u32, expires: u64, max: u128) -> Draw {
    let mut draw = Draw::new(family(n), expires);
    draw.budget(calls(), max, 1).unwrap();
    draw
}

fn reserved(drawn: Drawn) -> Reservation {
    match drawn {
        Drawn::Reserved(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

fn was_reserved(drawn: &Drawn) -> bool {
    matches!(drawn, Drawn::Reserved(_))
}

#[cfg(test)]
mod tests;
