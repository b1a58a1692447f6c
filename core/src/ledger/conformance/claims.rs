//! Rules of claims and pointers.

use super::{Backend, CEILINGS, NOW, all, id, lone, new, ours, several};
use crate::ledger::local::Ceilings;
use crate::ledger::{
    Binding, Claim, Claimed, Conclusion, Money, NewClaim, Pointer, Service, Store, StoreError, Yield, Yielded,
};

fn to(money: Money, service: Service, deadline: u64) -> Conclusion {
    Conclusion { money, service, deadline, transaction: String::new(), keep: 0 }
}

fn look() -> NewClaim {
    NewClaim { checked: false, ..new(0, 0) }
}

pub async fn the_first_to_claim_wins_and_others_see_its_record<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    ours(backend.worker(&ledger).claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    for worker in several(backend, &ledger) {
        let known = worker.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap();
        assert!(matches!(known, Claimed::Known(Claim { money: Money::None, .. })));
    }
    ours(backend.worker(&ledger).claim(&id(2), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    assert_eq!(backend.worker(&ledger).claim(&id(3), &look(), NOW).await, Ok(Claimed::Unseen));
}

pub async fn of_workers_that_claim_at_once_one_wins<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let workers = several(backend, &ledger);
    for n in 0..50 {
        let (id, new) = (id(n), new(NOW + 10, NOW + 100));
        let claimed = all(workers.iter().map(|worker| worker.claim(&id, &new, NOW))).await;
        let won = claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::Ours(_)))).count();
        let lost = claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::Known(_)))).count();
        assert_eq!((won, lost), (1, workers.len() - 1));
    }
}

pub async fn past_its_deadline_a_claim_is_released_before_the_money_call_and_unknown_after_it<B: Backend>(backend: &B) {
    let store = lone(backend);
    let first = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    let second = ours(store.claim(&id(1), &new(NOW + 30, NOW + 100), NOW + 11).await.unwrap());
    assert!(second.generation > first.generation);
    let lost = store.conclude(&first, &to(Money::Settling, Service::Waiting, NOW + 20), NOW + 11).await;
    assert_eq!(lost, Err(StoreError::Lost));
    assert_eq!(store.release(&first, NOW + 11).await, Err(StoreError::Lost));
    store.conclude(&second, &to(Money::Settling, Service::Waiting, NOW + 20), NOW + 12).await.unwrap();
    let known = store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 21).await.unwrap();
    assert!(matches!(known, Claimed::Known(Claim { money: Money::Unknown, .. })));
    // A late answer still finds the claim it belongs to.
    store.conclude(&second, &to(Money::Settled, Service::Waiting, NOW), NOW + 22).await.unwrap();
    // One that nobody took over is released all the same: whoever looked at it has been told so.
    let late = ours(store.claim(&id(2), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    assert_eq!(store.claim(&id(2), &look(), NOW + 11).await, Ok(Claimed::Unseen));
    for to in [to(Money::None, Service::Forwarded, NOW + 90), to(Money::Settling, Service::Waiting, NOW + 90)] {
        assert_eq!(store.conclude(&late, &to, NOW + 11).await, Err(StoreError::Lost));
    }
}

pub async fn what_is_settled_stays_settled_and_is_never_released<B: Backend>(backend: &B) {
    let store = lone(backend);
    let ticket = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    store.conclude(&ticket, &to(Money::Settling, Service::Forwarded, NOW + 20), NOW).await.unwrap();
    let settled = Conclusion { transaction: "0x1".to_owned(), ..to(Money::Settled, Service::Forwarded, NOW + 20) };
    store.conclude(&ticket, &settled, NOW + 3).await.unwrap();
    for money in [Money::None, Money::Settling, Money::Failed, Money::Unknown] {
        assert_eq!(store.conclude(&ticket, &to(money, Service::Failed, 0), NOW).await, Err(StoreError::Lost));
    }
    assert_eq!(store.release(&ticket, NOW).await, Err(StoreError::Lost));
    store.conclude(&ticket, &to(Money::Settled, Service::Delivered, NOW + 5), NOW + 5).await.unwrap();
    match store.claim(&id(1), &look(), NOW + 6).await.unwrap() {
        Claimed::Known(claim) => {
            assert_eq!((claim.money, claim.service), (Money::Settled, Service::Delivered));
            assert_eq!((claim.settled_at, claim.transaction.as_str()), (NOW + 3, "0x1"));
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_record_goes_when_its_payment_lapsed_and_an_unknown_one_a_day_later<B: Backend>(backend: &B) {
    let store = lone(backend);
    let settled = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    let unknown = ours(store.claim(&id(2), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    for ticket in [&settled, &unknown] {
        store.conclude(ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW).await.unwrap();
    }
    store.conclude(&settled, &to(Money::Settled, Service::Delivered, NOW), NOW).await.unwrap();
    assert!(matches!(store.claim(&id(1), &look(), NOW + 100).await.unwrap(), Claimed::Known(_)));
    assert_eq!(store.claim(&id(1), &look(), NOW + 101).await, Ok(Claimed::Unseen));
    assert!(matches!(store.claim(&id(2), &look(), NOW + 80_000).await.unwrap(), Claimed::Known(_)));
    assert_eq!(store.claim(&id(2), &look(), NOW + 90_000).await, Ok(Claimed::Unseen));
}

pub async fn the_ticket_of_a_dead_worker_never_fits_a_later_claim<B: Backend>(backend: &B) {
    let store = backend.worker(&backend.found(Ceilings { claims: 64, tokens: 64 }));
    let dead = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    // Others pass meanwhile, and what has lapsed is swept away.
    for n in 2..400 {
        let _ = store.claim(&id(n), &new(NOW + 10, NOW + 100), NOW + 11).await;
    }
    ours(store.claim(&id(1), &new(NOW + 30, NOW + 100), NOW + 12).await.unwrap());
    assert_eq!(store.release(&dead, NOW + 12).await, Err(StoreError::Lost));
    let late = to(Money::Settling, Service::Waiting, NOW + 50);
    assert_eq!(store.conclude(&dead, &late, NOW + 12).await, Err(StoreError::Lost));
}

pub async fn only_an_unknown_claim_is_resolved<B: Backend>(backend: &B) {
    let store = lone(backend);
    let ticket = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    assert_eq!(store.resolve(&id(1), Money::Settled, "0x1", NOW).await, Err(StoreError::Lost));
    store.conclude(&ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW).await.unwrap();
    assert_eq!(store.resolve(&id(1), Money::Settled, "0x1", NOW + 20).await, Err(StoreError::Lost));
    assert_eq!(store.resolve(&id(1), Money::None, "", NOW + 21).await, Err(StoreError::Lost));
    store.resolve(&id(1), Money::Settled, "0x1", NOW + 21).await.unwrap();
    let old = store.conclude(&ticket, &to(Money::Settled, Service::Waiting, 0), NOW + 21).await;
    assert_eq!(old, Err(StoreError::Lost));
    match store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 22).await.unwrap() {
        Claimed::Again(_, claim) => {
            assert_eq!((claim.money, claim.settled_at), (Money::Settled, NOW + 21));
            assert_eq!(claim.service, Service::Waiting, "the record as it was");
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_claim_yields_one_token_ever<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let store = backend.worker(&ledger);
    let ticket = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    let pass = |n| Yield { kind: Yielded::Pass, terms: [n; 8] };
    assert_eq!(store.yield_once(&ticket, &pass(0), NOW).await, Err(StoreError::Lost));
    store.conclude(&ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW).await.unwrap();
    assert_eq!(store.yield_once(&ticket, &pass(0), NOW).await, Err(StoreError::Lost));
    store.conclude(&ticket, &to(Money::Settled, Service::Waiting, NOW + 20), NOW).await.unwrap();
    let workers = several(backend, &ledger);
    let terms: Vec<Yield> = (0..5).map(pass).collect();
    let asked = workers.iter().zip(&terms).map(|(worker, what)| worker.yield_once(&ticket, what, NOW));
    let yielded: Vec<Yield> = all(asked).await.into_iter().map(Result::unwrap).collect();
    assert!(yielded.iter().all(|what| *what == yielded[0]), "{yielded:?}");
    let credit = Yield { kind: Yielded::Credit, terms: [9; 8] };
    assert_eq!(store.yield_once(&ticket, &credit, NOW + 1).await, Ok(yielded[0]));
    // Whoever serves the request later finds what was given for it.
    match store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 21).await.unwrap() {
        Claimed::Again(later, claim) => {
            assert_eq!(claim.yielded, Some(yielded[0]));
            assert_eq!(store.yield_once(&ticket, &credit, NOW + 21).await, Err(StoreError::Lost));
            assert_eq!(store.yield_once(&later, &credit, NOW + 21).await, Ok(yielded[0]));
        }
        other => panic!("{other:?}"),
    }
}

pub async fn a_credit_is_instead_of_the_delivery<B: Backend>(backend: &B) {
    let store = lone(backend);
    let ticket = ours(store.claim(&id(1), &new(NOW + 10, NOW + 100), NOW).await.unwrap());
    store.conclude(&ticket, &to(Money::Settling, Service::Waiting, NOW + 20), NOW).await.unwrap();
    store.conclude(&ticket, &to(Money::Settled, Service::Forwarded, NOW + 20), NOW).await.unwrap();
    let credit = Yield { kind: Yielded::Credit, terms: [9; 8] };
    assert_eq!(store.yield_once(&ticket, &credit, NOW + 1).await, Ok(credit));
    match store.claim(&id(1), &new(NOW + 90, NOW + 100), NOW + 21).await.unwrap() {
        Claimed::Known(claim) => assert_eq!((claim.service, claim.yielded), (Service::Failed, Some(credit))),
        other => panic!("{other:?}"),
    }
}

pub async fn the_first_pointer_stays_until_it_is_replaced_by_name<B: Backend>(backend: &B) {
    let store = lone(backend);
    let pointer = |n| Pointer { target: id(n), binding: Binding([1; 16]), expires: NOW + 50 };
    assert_eq!(store.point(&id(9), &pointer(1), None, NOW).await, Ok(None));
    assert_eq!(store.point(&id(9), &pointer(1), None, NOW).await, Ok(None));
    assert_eq!(store.point(&id(9), &pointer(2), None, NOW).await, Ok(Some(pointer(1))));
    assert_eq!(store.point(&id(9), &pointer(2), Some(&id(1)), NOW).await, Ok(None));
    store.unpoint(&id(9), &id(1), NOW).await.unwrap();
    assert_eq!(store.pointed(&id(9), NOW).await, Ok(Some(pointer(2))));
    assert_eq!(store.pointed(&id(9), NOW + 51).await, Ok(None));
    store.unpoint(&id(9), &id(2), NOW).await.unwrap();
    assert_eq!(store.pointed(&id(9), NOW).await, Ok(None));
}

pub async fn claims_up_to_the_ceiling_are_taken_and_none_is_forgotten<B: Backend>(backend: &B) {
    let ceiling = backend.many(2000);
    let store = backend.worker(&backend.found(Ceilings { claims: ceiling, tokens: 64 }));
    let mut taken = 0;
    let refused = loop {
        match store.claim(&id(taken), &new(NOW + 10, NOW + 100), NOW).await {
            Ok(claimed) => _ = ours(claimed),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert_eq!(refused, StoreError::Full);
    assert!(taken >= ceiling, "{taken}");
    for n in 0..taken {
        let known = store.claim(&id(n), &new(NOW + 10, NOW + 100), NOW).await;
        assert!(matches!(known, Ok(Claimed::Known(_))), "{n} {known:?}");
    }
    // Once they have lapsed there is room again.
    ours(store.claim(&id(taken), &new(NOW + 30, NOW + 100), NOW + 11).await.unwrap());
}
