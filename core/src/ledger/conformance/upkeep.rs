//! Rules of marks, revocations, and what workers tell one another.

use super::{Backend, CEILINGS, NOW, all, id, lone, several};
use crate::crypto::sha256;
use crate::ledger::{Lease, MAX_DOUBT, Notice, Party, Revocation, Store, StoreError, Subject};

fn mark(n: u32) -> [u8; 32] {
    sha256(&[b"mark", &n.to_be_bytes()])
}

pub async fn a_mark_is_set_once<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    assert_eq!(backend.worker(&ledger).once(&mark(1), NOW + 60, NOW).await, Ok(true));
    for worker in several(backend, &ledger) {
        for now in [NOW, NOW + 60, NOW + 61, NOW - 1000] {
            assert_eq!(worker.once(&mark(1), NOW + 60, now).await, Ok(false));
        }
    }
    assert_eq!(backend.worker(&ledger).once(&mark(2), NOW - 1, NOW).await, Ok(false));
}

pub async fn of_workers_that_mark_at_once_one_is_first<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let workers = several(backend, &ledger);
    for n in 0..50 {
        let mark = mark(n);
        let marked = all(workers.iter().map(|worker| worker.once(&mark, NOW + 60, NOW))).await;
        assert_eq!(marked.iter().filter(|first| **first == Ok(true)).count(), 1);
        assert_eq!(marked.iter().filter(|first| **first == Ok(false)).count(), workers.len() - 1);
    }
}

pub async fn marks_are_refused_rather_than_forgotten<B: Backend>(backend: &B) {
    let store = lone(backend);
    let (mut set, most) = (0, backend.many(400_000));
    let refused = loop {
        // Who is asked for less is not full by then, and must have forgotten nothing all the same.
        if set == most && most < 400_000 {
            break None;
        }
        match store.once(&mark(set), NOW + 60, NOW).await {
            Ok(first) => assert!(first),
            Err(error) => break Some(error),
        }
        set += 1;
    };
    assert!(set > 10_000, "{set}");
    for n in (0..set).step_by(7) {
        assert_eq!(store.once(&mark(n), NOW + 60, NOW).await, Ok(false), "{n}");
    }
    if refused.is_some() {
        assert_eq!(refused, Some(StoreError::Full));
        assert_eq!(store.once(&mark(set), NOW + 90, NOW + 61).await, Ok(true));
    }
}

pub async fn marks_are_kept_until_they_end_and_never_set_anew<B: Backend>(backend: &B) {
    let store = lone(backend);
    let marks = backend.many(2000);
    for n in 0..marks {
        assert_eq!(store.once(&mark(n), NOW + u64::from(n % 60), NOW).await, Ok(true));
    }
    for n in 0..backend.many(40_000) {
        let until = NOW + 61 + u64::from(n % 60);
        match store.once(&mark(marks + n), until, NOW + 60).await {
            Ok(first) => assert!(first),
            Err(error) => assert_eq!(error, StoreError::Full),
        }
    }
    for n in 0..marks {
        assert_ne!(store.once(&mark(n), NOW + u64::from(n % 60), NOW).await, Ok(true), "{n}");
    }
}

pub async fn revocations_are_seen_by_every_worker<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let subject = |n: u32| Subject::of(&n.to_string());
    let mut all = vec![
        Revocation::Holder(subject(1)),
        Revocation::Payer(subject(1)),
        Revocation::IssuedBefore { of: None, at: NOW },
        Revocation::IssuedBefore { of: Some(Party::Holder(subject(2))), at: NOW + 1 },
        Revocation::IssuedBefore { of: Some(Party::Payer(subject(2))), at: NOW + 2 },
    ];
    all.extend((0..1000).map(|n| Revocation::Token(subject(n))));
    let workers = several(backend, &ledger);
    let mut epochs = vec![workers[0].revocation_epoch().await.unwrap()];
    assert_eq!(workers[0].revocations().await.unwrap().list, []);
    for (worker, what) in workers.iter().cycle().zip(&all) {
        worker.revoke(what, NOW + 1000, NOW).await.unwrap();
        let told = workers[0].revocation_epoch().await.unwrap();
        assert!(!epochs.contains(&told));
        epochs.push(told);
    }
    let order = |mut list: Vec<Revocation>| {
        list.sort_by_key(|what| format!("{what:?}"));
        list
    };
    let all = order(all);
    for worker in &workers {
        let told = worker.revocations().await.unwrap();
        assert_eq!(Some(&told.epoch), epochs.last());
        assert_eq!(order(told.list), all);
    }
    // Again, for longer, or less of it: it stays as it is.
    workers[1].revoke(&Revocation::Token(subject(3)), NOW + 5000, NOW).await.unwrap();
    workers[1].revoke(&Revocation::IssuedBefore { of: None, at: NOW - 9 }, NOW + 10, NOW).await.unwrap();
    assert_eq!(order(workers[2].revocations().await.unwrap().list), all);
    // What covers more takes the place of what covers less.
    workers[1].revoke(&Revocation::Holder(subject(2)), NOW + 1000, NOW).await.unwrap();
    let told = workers[2].revocations().await.unwrap().list;
    assert!(told.len() == all.len() && told.contains(&Revocation::Holder(subject(2))));
}

pub async fn what_lapsed_makes_room_for_revocations<B: Backend>(backend: &B) {
    let store = lone(backend);
    let what = |n: u32| Revocation::Token(Subject::of(&n.to_string()));
    let mut count = 0;
    while let Ok(()) = store.revoke(&what(count), NOW + 100, NOW).await {
        count += 1;
    }
    assert!(count > 4096, "{count}");
    assert_eq!(store.revoke(&what(count), NOW + 100, NOW).await, Err(StoreError::Full));
    assert_eq!(store.revocations().await.unwrap().list.len(), count as usize);
    // One that is known may still be made to last.
    for n in 0..count / 2 {
        assert_eq!(store.revoke(&what(n), NOW + 200, NOW).await, Ok(()));
    }
    assert_eq!(store.revoke(&what(count), NOW + 200, NOW + 101).await, Ok(()));
    let kept = store.revocations().await.unwrap().list;
    assert!((0..count / 2).all(|n| kept.contains(&what(n))));
}

pub async fn a_ledger_has_one_epoch_and_another_ledger_another<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let epoch = backend.worker(&ledger).epoch().await.unwrap();
    for worker in several(backend, &ledger) {
        assert_eq!(worker.epoch().await, Ok(epoch));
    }
    assert_ne!(lone(backend).epoch().await.unwrap(), epoch);
}

pub async fn open_questions_are_few_and_told_apart<B: Backend>(backend: &B) {
    let store = lone(backend);
    let mut asked = 0;
    let most = backend.many(10_000);
    for n in 0..most {
        asked += usize::from(store.doubt(&id(n), &n.to_be_bytes()).await.is_ok());
    }
    assert!(asked >= 300 && (most < 10_000 || asked < 10_000), "{asked}");
    assert_eq!(store.doubt(&id(5), &[0; MAX_DOUBT + 1]).await, Err(StoreError::Full));
    assert_eq!(store.doubts().await.unwrap().len(), asked);
    assert!(store.doubted(&id(0)).await.unwrap().is_some());
    let (first, bytes) = store.doubts().await.unwrap().swap_remove(7);
    assert_eq!(id(u32::from_be_bytes(bytes.try_into().unwrap())), first);
    store.undoubt(&first).await.unwrap();
    assert_eq!(store.doubts().await.unwrap().len(), asked - 1);
    assert_eq!(store.doubted(&first).await, Ok(None));
}

pub async fn one_worker_has_a_lease_until_it_ends<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let workers = several(backend, &ledger);
    for name in [Lease::Supported(5), Lease::Supported(6), Lease::Reconcile] {
        let taken = all(workers.iter().map(|worker| worker.lease(name, 10, NOW))).await;
        assert_eq!(taken.iter().filter(|taken| **taken == Ok(true)).count(), 1);
        assert_eq!(workers[0].lease(name, 10, NOW + 9).await, Ok(false));
        assert_eq!(workers[0].lease(name, 10, NOW + 10).await, Ok(true));
    }
}

pub async fn what_is_published_is_read_by_every_worker<B: Backend>(backend: &B) {
    let ledger = backend.found(CEILINGS);
    let store = backend.worker(&ledger);
    assert_eq!(store.published(Notice::Supported(1)).await, Ok(None));
    for text in [&b"first"[..], b"", b"the second"] {
        store.publish(Notice::Supported(1), text).await.unwrap();
        let read = backend.worker(&ledger).published(Notice::Supported(1)).await;
        assert_eq!(read, Ok(Some(text.to_vec())));
    }
    assert_eq!(store.published(Notice::Supported(2)).await, Ok(None));
}
