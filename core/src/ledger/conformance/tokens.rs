//! Rules of budgets and rates.

use super::{Backend, CEILINGS, NOW, all, call, calls, family, lone, reserved, several, was_reserved};
use crate::ledger::draw::{MAX_CHILDREN, MAX_COUNTERS, MAX_LINKS};
use crate::ledger::local::Ceilings;
use crate::ledger::{CounterId, Draw, DrawError, Drawn, FamilyId, LinkId, Store, StoreError};

const MILLIS: u64 = NOW * 1000;

fn link(n: u64) -> LinkId {
    LinkId::of(&format!("child {n}"))
}

/// A draw of one call on a root of `max` calls and a child of `child_max`.
fn child_call(child: u64, expires: u64, max: u128, child_max: u128) -> Draw {
    let mut draw = call(1, NOW + 1000, max);
    draw.child(link(child), expires).unwrap();
    draw.budget(calls(), child_max, 1).unwrap();
    draw
}

/// A draw on a rate of `max` a minute.
fn fast(max: u128, cost: u128) -> Draw {
    let mut draw = Draw::new(family(1), NOW + 10_000);
    draw.rate(calls(), 60, max, cost).unwrap();
    draw
}

async fn served(store: &impl Store, draw: &Draw, now_millis: u64) -> bool {
    was_reserved(&store.reserve(draw.clone(), now_millis).await.unwrap())
}

/// How many draws are served one after another, and what the next one is told.
async fn until_refused(store: &impl Store, draw: &Draw, now_millis: u64) -> (u32, Drawn) {
    let mut count = 0;
    loop {
        match store.reserve(draw.clone(), now_millis).await.unwrap() {
            Drawn::Reserved(_) => count += 1,
            refusal => return (count, refusal),
        }
    }
}

pub async fn a_budget_is_spent_to_the_last_unit_and_no_further<B: Backend>(backend: &B) {
    let store = lone(backend);
    let exhausted = Drawn::Exhausted { link: 0, counter: calls(), left: 0 };
    assert_eq!(until_refused(&store, &call(1, NOW + 100, 37), MILLIS).await, (37, exhausted));
    for max in [0, 1, u128::MAX] {
        let unit = CounterId::of(1, "byte");
        let mut all = Draw::new(family(2), NOW + 100);
        all.budget(CounterId::of(2, &max.to_string()), max, max).unwrap();
        let reservation = reserved(store.reserve(all.clone(), MILLIS).await.unwrap());
        assert_eq!(reservation.left().0[0].left, 0);
        let mut more = Draw::new(family(2), NOW + 100);
        more.budget(CounterId::of(2, &max.to_string()), max, 1).unwrap();
        assert!(!served(&store, &more, MILLIS).await, "{max}");
        let mut nothing = Draw::new(family(2), NOW + 100);
        nothing.budget(CounterId::of(2, &max.to_string()), max, 0).unwrap();
        nothing.budget(unit, 5, 0).unwrap();
        assert!(served(&store, &nothing, MILLIS).await, "{max}");
    }
}

pub async fn of_many_draws_at_once_exactly_as_many_as_fit_are_served<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let workers = several(backend, &ledger);
    let mut count = 0;
    for n in 0..40 {
        let draws = workers.iter().map(|worker| worker.reserve(child_call(n % 3, NOW + 100, 101, 60), MILLIS));
        count += all(draws).await.into_iter().filter(|drawn| was_reserved(drawn.as_ref().unwrap())).count();
    }
    assert_eq!(count, 101);
}

pub async fn a_draw_charges_every_link_or_none<B: Backend>(backend: &B) {
    let store = lone(backend);
    let exhausted = Drawn::Exhausted { link: 1, counter: calls(), left: 0 };
    assert_eq!(until_refused(&store, &child_call(1, NOW + 100, 10, 3), MILLIS).await, (3, exhausted));
    assert_eq!(store.left(&family(1), MILLIS).await.unwrap().unwrap().0[0].left, 7);
    // A rate that refuses leaves the budgets beside it alone, at its link and at others.
    let mut draw = child_call(2, NOW + 100, 10, 3);
    draw.rate(calls(), 60, 1, 1).unwrap();
    assert!(served(&store, &draw, MILLIS).await);
    assert!(matches!(store.reserve(draw, MILLIS).await, Ok(Drawn::TooFast { link: 1, .. })));
    let left = store.left(&family(1), MILLIS).await.unwrap().unwrap();
    assert_eq!(left.0.iter().filter(|of| of.period.is_none()).map(|of| of.left).sum::<u128>(), 6 + 2);
    // And a budget that refuses leaves rates alone.
    let mut draw = Draw::new(family(2), NOW + 100);
    draw.rate(calls(), 60, 1, 1).unwrap();
    draw.budget(calls(), 0, 1).unwrap();
    assert!(!served(&store, &draw, MILLIS).await);
    let mut draw = Draw::new(family(2), NOW + 100);
    draw.rate(calls(), 60, 1, 1).unwrap();
    assert!(served(&store, &draw, MILLIS).await);
}

pub async fn children_add_up_under_their_root<B: Backend>(backend: &B) {
    let store = lone(backend);
    let mut count = 0;
    for child in 0..20 {
        count += until_refused(&store, &child_call(child, NOW + 100, 100, 7), MILLIS).await.0;
    }
    assert_eq!(count, 100);
    // A chain as long as chains get, with its own counter at every link.
    let mut draw = Draw::new(family(2), NOW + 100);
    for n in 1..MAX_LINKS as u64 {
        draw.budget(calls(), 10 - u128::from(n), 1).unwrap();
        draw.child(link(n), NOW + 100).unwrap();
    }
    draw.budget(calls(), 5, 1).unwrap();
    assert_eq!(draw.child(link(99), NOW + 100), Err(DrawError::Links));
    let exhausted = Drawn::Exhausted { link: MAX_LINKS - 1, counter: calls(), left: 0 };
    assert_eq!(until_refused(&store, &draw, MILLIS).await, (5, exhausted));
}

pub async fn what_is_given_back_can_be_drawn_again_but_rates_keep_it<B: Backend>(backend: &B) {
    let store = lone(backend);
    let mut draw = child_call(1, NOW + 100, 2, 1);
    draw.rate(calls(), 60, 10, 1).unwrap();
    for _ in 0..10 {
        let reservation = reserved(store.reserve(draw.clone(), MILLIS).await.unwrap());
        store.refund(reservation, MILLIS).await.unwrap();
    }
    let refusal = store.reserve(draw.clone(), MILLIS).await.unwrap();
    assert!(matches!(refusal, Drawn::TooFast { link: 1, period: 60, retry_after_millis: Some(6000), .. }));
    let spent = reserved(store.reserve(draw.clone(), MILLIS + 6000).await.unwrap());
    assert!(matches!(store.reserve(draw, MILLIS + 6000).await, Ok(Drawn::Exhausted { link: 1, .. })));
    // Dropped, it stays spent.
    drop(spent);
    assert_eq!(store.left(&family(1), MILLIS).await.unwrap().unwrap().budget("call"), Some(0));
    // What has expired meanwhile is no error.
    let late = reserved(store.reserve(call(3, NOW + 10, 5), MILLIS).await.unwrap());
    assert_eq!(store.refund(late, MILLIS + 11_000).await, Ok(()));
}

pub async fn a_draw_is_corrected_to_what_was_used<B: Backend>(backend: &B) {
    let store = lone(backend);
    let bytes = CounterId::of(0, "byte");
    let draw = |cost| {
        let mut draw = call(1, NOW + 100, 100);
        draw.budget(bytes, 1000, cost).unwrap();
        draw.rate(bytes, 60, 1000, cost).unwrap();
        draw.child(link(1), NOW + 100).unwrap();
        draw.budget(bytes, 500, cost).unwrap();
        draw
    };
    let left_after = async |used: &[(CounterId, u128)]| {
        let reservation = reserved(store.reserve(draw(100), MILLIS).await.unwrap());
        let told = store.commit(reservation, used, MILLIS).await.unwrap();
        let kept = store.left(&family(1), MILLIS).await.unwrap().unwrap();
        for of in &told.0 {
            assert!(kept.0.contains(of), "{of:?} {kept:?}");
        }
        let at = |link, period| told.0.iter().find(|of| (of.link, of.counter, of.period) == (link, bytes, period));
        let left = |link, period| at(link, period).unwrap().left;
        (left(None, None), left(None, Some(60)), left(Some(link(1)), None), told.budget("call").unwrap())
    };
    assert_eq!(left_after(&[]).await, (900, 900, 400, 99));
    assert_eq!(left_after(&[(bytes, 100)]).await, (800, 800, 300, 98));
    assert_eq!(left_after(&[(bytes, 10)]).await, (790, 700, 290, 97));
    assert_eq!(left_after(&[(bytes, 150), (CounterId::of(7, "byte"), 3)]).await, (640, 550, 140, 96));
    // More than there is: it was used all the same, and nothing is left.
    assert_eq!(left_after(&[(bytes, 5000)]).await, (0, 0, 0, 95));
    assert!(matches!(store.reserve(draw(1), MILLIS).await, Ok(Drawn::Exhausted { link: 0, left: 0, .. })));
}

pub async fn the_tightest_counter_decides_and_the_refusal_names_it<B: Backend>(backend: &B) {
    let store = lone(backend);
    let mut draw = Draw::new(family(1), NOW + 100);
    draw.rate(calls(), 1, 2, 1).unwrap();
    draw.rate(calls(), 60, 2, 1).unwrap();
    draw.rate(calls(), 10, 2, 1).unwrap();
    assert_eq!(draw.rate(calls(), 10, 3, 1), Err(DrawError::Twice));
    assert_eq!(draw.rate(calls(), 0, 3, 1), Err(DrawError::Period));
    let slowest = Drawn::TooFast { link: 0, counter: calls(), period: 60, retry_after_millis: Some(30_000) };
    assert_eq!(until_refused(&store, &draw, MILLIS).await, (2, slowest));
    // Waiting does not help against a budget, so it is named first.
    let assets = CounterId::of(3, "eip155:8453/erc20:0x8335");
    draw.budget(assets, 6, 7).unwrap();
    assert_eq!(store.reserve(draw, MILLIS).await, Ok(Drawn::Exhausted { link: 0, counter: assets, left: 6 }));
    let never = Drawn::TooFast { link: 0, counter: calls(), period: 60, retry_after_millis: None };
    assert_eq!(store.reserve(fast(2, 3), MILLIS).await, Ok(never));
    let mut many = Draw::new(family(9), NOW + 100);
    for n in 0..MAX_COUNTERS as u32 {
        many.rate(calls(), n + 1, 2, 1).unwrap();
    }
    assert_eq!(many.budget(calls(), 1, 1), Err(DrawError::Counters));
    assert!(served(&store, &many, MILLIS).await);
}

pub async fn a_rate_gives_back_evenly<B: Backend>(backend: &B) {
    let store = lone(backend);
    let (count, refusal) = until_refused(&store, &fast(7, 1), MILLIS).await;
    assert_eq!(count, 7);
    // A seventh of a minute is 8571.43 ms.
    let wait = Drawn::TooFast { link: 0, counter: calls(), period: 60, retry_after_millis: Some(8572) };
    assert_eq!(refusal, wait);
    assert!(!served(&store, &fast(7, 1), MILLIS + 8571).await);
    assert!(served(&store, &fast(7, 1), MILLIS + 8572).await);
    assert_eq!(until_refused(&store, &fast(7, 1), MILLIS + 600_000).await.0, 7);
    // Over ten minutes of asking every 100 ms: what there was, and what came back, to the unit.
    let mut count = 0;
    for tick in 1..=6000 {
        count += u32::from(served(&store, &fast(7, 1), MILLIS + 600_000 + tick * 100).await);
    }
    assert_eq!(count, 70);
}

pub async fn a_clock_that_steps_back_gives_nothing<B: Backend>(backend: &B) {
    let store = lone(backend);
    let mut count = until_refused(&store, &fast(10, 1), MILLIS).await.0;
    for back in [1, 1000, 59_000, 61_000, 3_600_000, 86_400_000] {
        count += until_refused(&store, &fast(10, 1), MILLIS - back).await.0;
    }
    assert_eq!(count, 10);
    let budget = until_refused(&store, &call(2, NOW + 100, 10), MILLIS).await.0
        + until_refused(&store, &call(2, NOW + 100, 10), MILLIS - 86_400_000).await.0;
    assert_eq!(budget, 10);
}

pub async fn a_clock_that_was_ahead_locks_nobody_out<B: Backend>(backend: &B) {
    let store = lone(backend);
    let year = 365 * 86_400;
    let mut draw = Draw::new(family(1), NOW + 2 * year);
    draw.rate(calls(), 60, 10, 1).unwrap();
    assert_eq!(until_refused(&store, &draw, MILLIS + year * 1000).await.0, 10);
    // Back again: empty, and filling from now on.
    assert_eq!(until_refused(&store, &draw, MILLIS).await.0, 0);
    assert_eq!(until_refused(&store, &draw, MILLIS + 6000).await.0, 1);
    assert_eq!(until_refused(&store, &draw, MILLIS + 66_000).await.0, 10);
}

pub async fn counters_are_kept_until_they_expire_and_never_begun_anew<B: Backend>(backend: &B) {
    let store = backend.worker(&backend.found(Ceilings { claims: 64, tokens: 64 }));
    let ours = call(1, NOW + 100, 5);
    assert_eq!(until_refused(&store, &ours, MILLIS).await.0, 5);
    // Others come and go, until the last second.
    let mut n = 2;
    for second in (0..=100).step_by(5) {
        for _ in 0..100 {
            n += 1;
            let _ = store.reserve(call(n, NOW + second, 5), MILLIS + second * 1000 + 999).await;
        }
        let now = MILLIS + second * 1000 + 999;
        let exhausted = Drawn::Exhausted { link: 0, counter: calls(), left: 0 };
        assert_eq!(store.reserve(ours.clone(), now).await, Ok(exhausted), "{second}");
    }
    assert_eq!(store.reserve(ours.clone(), MILLIS + 101_000).await, Ok(Drawn::Expired));
    // The clock was ahead, everything was swept, and now it is what it was.
    for _ in 0..1000 {
        n += 1;
        let _ = store.reserve(call(n, NOW + 400, 5), MILLIS + 300_000).await;
    }
    assert!(!served(&store, &ours, MILLIS).await);
}

pub async fn a_family_counts_64_live_children<B: Backend>(backend: &B) {
    let store = lone(backend);
    for child in 0..MAX_CHILDREN as u64 {
        assert!(served(&store, &child_call(child, NOW + 100, 1000, 2), MILLIS).await);
    }
    assert_eq!(store.reserve(child_call(99, NOW + 100, 1000, 2), MILLIS).await, Ok(Drawn::TooManyChildren));
    // Those that are counted go on, and so does the root.
    for child in 0..MAX_CHILDREN as u64 {
        assert!(served(&store, &child_call(child, NOW + 100, 1000, 2), MILLIS).await);
        assert!(!served(&store, &child_call(child, NOW + 100, 1000, 2), MILLIS).await);
    }
    let mut draw = Draw::new(family(1), NOW + 1000);
    draw.budget(calls(), 1000, 1000 - 128).unwrap();
    assert!(served(&store, &draw, MILLIS).await);
    assert!(!served(&store, &draw, MILLIS).await);
    // Nor does a family keep counters without end.
    let kept = all((0..400_u32).map(|n| {
        let mut draw = Draw::new(family(2), NOW + 1000);
        draw.rate(calls(), n + 1, 5, 1).unwrap();
        store.reserve(draw, MILLIS)
    }));
    assert_eq!(kept.await.iter().filter(|drawn| was_reserved(drawn.as_ref().unwrap())).count(), 256);
}

pub async fn an_expired_child_makes_room_and_is_never_begun_anew<B: Backend>(backend: &B) {
    let store = lone(backend);
    for child in 0..MAX_CHILDREN as u64 {
        assert!(served(&store, &child_call(child, NOW + 10 + child, 1000, 2), MILLIS).await);
    }
    let late = MILLIS + 20_000;
    assert_eq!(store.reserve(child_call(5, NOW + 15, 1000, 2), late).await, Ok(Drawn::Expired));
    // Ten have expired. Ten others fit in, and count from nothing; the rest keep what they spent.
    for child in 100..110 {
        assert_eq!(until_refused(&store, &child_call(child, NOW + 500, 1000, 2), late).await.0, 2);
    }
    assert_eq!(store.reserve(child_call(110, NOW + 500, 1000, 2), late).await, Ok(Drawn::TooManyChildren));
    for child in 10..MAX_CHILDREN as u64 {
        assert_eq!(until_refused(&store, &child_call(child, NOW + 10 + child, 1000, 2), late).await.0, 1, "{child}");
    }
    // A clock that goes back to when they were alive finds them gone, and room.
    let store = lone(backend);
    for child in 0..10 {
        assert_eq!(until_refused(&store, &child_call(child, NOW + 10 + child, 1000, 2), MILLIS).await.0, 2);
    }
    assert!(served(&store, &child_call(100, NOW + 500, 1000, 2), late).await);
    for child in 0..10 {
        let expired = store.reserve(child_call(child, NOW + 10 + child, 1000, 2), MILLIS).await;
        assert_eq!(expired, Ok(Drawn::Expired), "{child}");
    }
}

pub async fn families_up_to_the_ceiling_are_taken_and_none_is_forgotten<B: Backend>(backend: &B) {
    let ceiling = backend.many(2000);
    let store = backend.worker(&backend.found(Ceilings { claims: 64, tokens: ceiling }));
    let mut taken = 0;
    let refused = loop {
        match store.reserve(call(taken, NOW + 100, 1), MILLIS).await {
            Ok(drawn) => _ = reserved(drawn),
            Err(error) => break error,
        }
        taken += 1;
    };
    assert_eq!(refused, StoreError::Full);
    assert!(u64::from(ceiling) <= u64::from(taken), "{taken}");
    for n in 0..taken {
        assert!(!served(&store, &call(n, NOW + 100, 1), MILLIS).await, "{n}");
    }
    // Once they have expired there is room again.
    assert!(served(&store, &call(taken, NOW + 200, 1), MILLIS + 101_000).await);
}

pub async fn ids_made_to_meet_do_not_meet<B: Backend>(backend: &B) {
    let store = backend.worker(&backend.found(Ceilings { claims: 2000, tokens: 2000 }));
    // All alike but in the last bytes, in the first, or in the middle: however a store were to cut an id up.
    for n in 0..600_u16 {
        let [high, low] = n.to_be_bytes();
        for place in [0, 7, 14] {
            let mut id = [0xaa; 16];
            (id[place], id[place + 1]) = (high, low);
            let mut draw = Draw::new(FamilyId(id), NOW + 100);
            draw.budget(calls(), 1, 1).unwrap();
            assert!(served(&store, &draw, MILLIS).await, "{n} {place}");
        }
        for place in [0, 15, 30] {
            let mut id = [0xaa; 32];
            (id[place], id[place + 1]) = (high, low);
            assert_eq!(store.once(&id, NOW + 100, NOW).await, Ok(true), "{n} {place}");
        }
    }
}

pub async fn what_is_left_is_told_of_every_counter<B: Backend>(backend: &B) {
    let store = lone(backend);
    assert_eq!(store.left(&family(1), MILLIS).await, Ok(None));
    let mut draw = child_call(1, NOW + 100, 10, 5);
    draw.rate(CounterId::of(4, "byte"), 60, 600, 100).unwrap();
    let reservation = reserved(store.reserve(draw, MILLIS).await.unwrap());
    let mut told = store.left(&family(1), MILLIS).await.unwrap().unwrap();
    let mut first = reservation.left().clone();
    let order = |left: &mut crate::ledger::Left| left.0.sort_by_key(|of| (of.link.map(|link| link.0), of.max));
    order(&mut told);
    order(&mut first);
    assert_eq!(told, first);
    let seen: Vec<_> = told.0.iter().map(|of| (of.link, of.period, of.max, of.left, of.whole_in_millis)).collect();
    let child = Some(link(1));
    assert_eq!(seen, [(None, None, 10, 9, 0), (child, None, 5, 4, 0), (child, Some(60), 600, 500, 10_000)]);
    assert_eq!(told.0[2].counter.grant(), 4);
    assert!(told.0[2].counter.is_of("byte") && !told.0[2].counter.is_of("call"));
    assert_eq!((told.budget("call"), told.budget("byte")), (Some(4), None));
    let later = store.left(&family(1), MILLIS + 5000).await.unwrap().unwrap();
    assert!(later.0.iter().any(|of| (of.left, of.whole_in_millis) == (550, 5000)));
    assert_eq!(store.left(&family(1), MILLIS + 1_001_000).await, Ok(None));
}
