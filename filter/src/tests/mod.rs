//! The executor's rules, one after the other, on a host that does everything a host may do.

mod cost;
mod fake;

use crate::abi::{Action, Direction, Map, Status};
use crate::executor::Executor;
use crate::shared::Shared;
use fake::{Call, Fake, ROOT, Rig};
use farebox_core::ledger::local::{Expected, SharedData, SharedError};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

const S: u32 = 2;
const PAID: &str = "callout:/verify,forward,settle:/settle,release:ok";

fn continued(rig: &Rig, direction: Direction) -> bool {
    rig.calls().contains(&Call::Continue(S, direction))
}

fn replied(rig: &Rig) -> Option<u16> {
    rig.calls().iter().find_map(|call| match call {
        Call::Reply(S, status) => Some(*status),
        _ => None,
    })
}

#[test]
fn a_refusal_holds_the_request_and_its_reply_passes_by() {
    let rig = Rig::new();
    assert_eq!(rig.upload(S, "reply:402"), Action::PauseAll);
    assert_eq!(replied(&rig), Some(402));
    assert_eq!(rig.response(S), Action::Continue, "our own reply");
    assert_eq!(rig.body(S, b"late", true), Action::Pause, "the request is still not released");
    assert!(!continued(&rig, Direction::Request));
    rig.delete(S);
    assert_eq!(rig.census(), [0; 4]);
}

#[test]
fn a_release_inside_its_callback_is_the_return_value() {
    let rig = Rig::new();
    assert_eq!(rig.request(S, "forward,release:ok"), Action::Continue);
    assert_eq!(rig.header(S, Map::RequestHeaders, "x-secret"), None);
    assert_eq!(rig.header(S, Map::RequestHeaders, "x-probe-set").as_deref(), Some("one"));
    assert_eq!(rig.response(S), Action::Continue);
    assert_eq!(rig.header(S, Map::ResponseHeaders, "x-receipt").as_deref(), Some("ok"));
    assert_eq!(rig.calls(), [], "no host call that lets the host run");
    rig.delete(S);
    assert_eq!(rig.census(), [0; 4]);
}

#[test]
fn a_release_outside_its_callback_is_continue_stream() {
    let rig = Rig::new();
    assert_eq!(rig.upload(S, PAID), Action::PauseAll);
    assert_eq!(rig.body(S, b"early", true), Action::Pause, "whatever the host's flags");
    rig.answer_path("/verify", 200);
    assert!(continued(&rig, Direction::Request));
    assert_eq!(rig.body(S, b"more", true), Action::Continue);
    assert_eq!(rig.enter(S, |plugin| plugin.on_request_trailers(S)), Action::Continue);
    assert_eq!(rig.response(S), Action::PauseAll);
    assert!(!continued(&rig, Direction::Response));
    rig.answer_path("/settle", 200);
    assert!(continued(&rig, Direction::Response));
    assert_eq!(rig.header(S, Map::ResponseHeaders, "x-receipt").as_deref(), Some("ok"));
    rig.delete(S);
    assert_eq!(rig.census(), [0; 4]);
}

#[test]
fn a_refused_settlement_replaces_the_response() {
    let rig = Rig::new();
    rig.request(S, PAID);
    rig.answer_path("/verify", 200);
    rig.response(S);
    rig.answer_path("/settle", 402);
    assert_eq!(replied(&rig), Some(402));
    assert!(!continued(&rig, Direction::Response));
    assert_eq!(rig.response(S), Action::Continue, "our own reply, on hosts that show it to us");
}

#[test]
fn hosts_may_call_back_from_inside_host_calls() {
    let rig = Rig::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let actions = seen.clone();
    rig.hook(move |rig, call| match call {
        Call::Http(token, _) => rig.answer(*token, 200), // the token is not known to the guest yet
        Call::Continue(context, Direction::Request) => actions.borrow_mut().push(rig.response(*context)),
        Call::Reply(context, _) => {
            actions.borrow_mut().push(rig.response(*context));
            rig.delete(*context);
        }
        _ => {}
    });
    assert_eq!(rig.request(S, PAID), Action::Continue);
    assert_eq!(rig.response(S), Action::Continue);
    assert_eq!(rig.header(S, Map::ResponseHeaders, "x-receipt").as_deref(), Some("ok"));
    rig.delete(S);

    rig.request(3, "sleep:100,forward,settle:/settle,release:ok");
    rig.tick(200);
    assert_eq!(seen.take(), [Action::Continue], "settled and released inside continue_stream");
    rig.delete(3);

    rig.request(4, "reply:402");
    assert_eq!(seen.take(), [Action::Continue], "our own reply");
    assert_eq!(rig.census(), [0; 4]);
}

#[test]
fn a_stream_may_go_while_its_task_is_polled() {
    let rig = Rig::new();
    rig.hook(|rig, call| {
        if let Call::Http(..) = call {
            rig.delete(S);
        }
    });
    rig.request(S, PAID);
    assert_eq!(rig.census(), [0; 4], "dropped after the poll");
    assert_eq!(replied(&rig), None);
    rig.answer_path("/verify", 200);
    assert!(!continued(&rig, Direction::Request));
}

#[test]
fn answers_nobody_waits_for_are_dropped() {
    let rig = Rig::new();
    rig.request(S, PAID);
    for token in [0, 77, u32::MAX] {
        rig.answer(token, 200);
    }
    assert!(!continued(&rig, Direction::Request));
    rig.answer_path("/verify", 200);
    rig.answer(1, 402); // the same again
    assert!(continued(&rig, Direction::Request));
    assert_eq!(replied(&rig), None);
}

#[test]
fn callouts_fail_in_three_ways() {
    for (token_answer, script) in [(None, "callout:/nowhere"), (Some(0), "callout:/a")] {
        let rig = Rig::new();
        rig.request(S, script);
        if let Some(status) = token_answer {
            rig.answer_path("/a", status);
        }
        assert_eq!(replied(&rig), Some(402));
    }
    let rig = Rig::new();
    rig.request(S, PAID);
    rig.enter(ROOT, |plugin| plugin.on_http_call_response(ROOT, 1, 1, usize::MAX));
    assert_eq!(replied(&rig), Some(402), "too large");
}

#[test]
fn an_exchange_may_be_dropped_at_every_await() {
    let script = "body:100,callout:/verify,sleep:500,pair:/two,forward,settle:/settle,callout:/after,release:ok";
    let steps: [fn(&Rig); 7] = [
        |rig| assert_eq!(rig.body(S, b"body", true), Action::Pause),
        |rig| rig.answer_path("/verify", 200),
        |rig| rig.tick(1000),
        |rig| {
            rig.answer_path("/two", 200);
            rig.answer_path("/two", 200);
        },
        |rig| assert_eq!(rig.response(S), Action::PauseAll),
        |rig| rig.answer_path("/settle", 200),
        |rig| rig.answer_path("/after", 200),
    ];
    for reached in 0..=steps.len() {
        let rig = Rig::new();
        assert_eq!(rig.upload(S, script), Action::Pause, "the body is waited for");
        steps[..reached].iter().for_each(|step| step(&rig));
        assert_eq!(continued(&rig, Direction::Request), reached >= 4);
        assert_eq!(continued(&rig, Direction::Response), reached == steps.len());
        rig.delete(S);
        let open: Vec<_> = rig.books.open.borrow().keys().copied().collect();
        let settling = usize::from(reached == 5);
        assert_eq!(rig.census(), [settling, settling, 0, 0], "dropped at step {reached}");
        open.into_iter().for_each(|token| rig.answer(token, 200));
        assert_eq!(rig.census(), [0; 4]);
        assert_eq!(rig.metric("farebox_claims_total.state.settled"), i64::from(reached >= 5));
    }
}

#[test]
fn an_undecided_end_is_a_503() {
    let rig = Rig::new();
    assert_eq!(rig.request(S, "undecided"), Action::PauseAll);
    assert_eq!(replied(&rig), Some(503));

    let rig = Rig::new();
    rig.request(S, "forward,undecided");
    assert_eq!(rig.response(S), Action::PauseAll);
    assert_eq!(replied(&rig), Some(503));
}

#[test]
fn a_host_that_refuses_even_the_refusal_keeps_the_stream_held() {
    for (script, held) in [("reply:402", true), ("undecided", true), ("forward,undecided", false)] {
        let rig = Rig::new();
        rig.refuse(|call| (call == "reply").then_some(Status::Other(99)));
        assert_eq!(rig.upload(S, script) == Action::PauseAll, held);
        if held {
            assert_eq!(rig.body(S, b"", true), Action::Pause);
            assert_eq!(rig.enter(S, |plugin| plugin.on_request_trailers(S)), Action::Pause);
            assert!(!continued(&rig, Direction::Request));
        } else {
            assert_eq!(rig.response(S), Action::PauseAll);
            assert_eq!(rig.response(S), Action::PauseAll, "even if it comes again");
            assert!(!continued(&rig, Direction::Response));
        }
        rig.delete(S);
        assert_eq!(rig.census(), [0; 4]);
    }
}

#[test]
fn a_host_that_answers_over_our_head_ends_the_exchange() {
    let rig = Rig::new();
    rig.upload(S, PAID);
    assert_eq!(rig.response(S), Action::Continue);
    assert_eq!(rig.census(), [0, 0, 0, 1]);
    assert_eq!(rig.body(S, b"", true), Action::Continue);
    rig.answer(1, 200);
    assert_eq!(rig.calls(), [Call::Http(1, "/verify".to_owned())]);
}

#[test]
fn a_header_that_cannot_be_edited_is_not_forwarded() {
    for call in ["remove", "replace", "add"] {
        let rig = Rig::new();
        rig.refuse(move |asked| (asked == call).then_some(Status::BadArgument));
        assert_eq!(rig.request(S, "forward,release"), Action::PauseAll);
        assert_eq!(replied(&rig), Some(503));
        assert_eq!(rig.census(), [0, 0, 0, 1]);
    }
}

#[test]
fn a_paid_response_is_released_even_if_its_headers_cannot_be_edited() {
    let rig = Rig::new();
    rig.request(S, "forward,release");
    rig.refuse(|asked| (asked == "replace").then_some(Status::BadArgument));
    assert_eq!(rig.response(S), Action::Continue);
}

#[test]
fn nothing_is_polled_under_a_wrong_context() {
    let rig = Rig::new();
    rig.request(S, PAID);
    rig.refuse(|call| (call == "effective").then_some(Status::BadArgument));
    rig.answer_path("/verify", 200);
    rig.allow();
    assert_eq!(rig.census(), [0, 0, 0, 1], "dropped unpolled");
    assert!(!continued(&rig, Direction::Request));
    assert_eq!(rig.body(S, b"", true), Action::Pause, "and still held");
    assert_eq!(rig.response(S), Action::Continue, "the host gives up on it");
}

#[test]
fn streams_without_a_root_or_headers_are_refused() {
    let rig = Rig::new();
    rig.books.alive.borrow_mut().insert(S);
    assert_eq!(rig.enter(S, |plugin| plugin.on_request_headers(S, true)), Action::PauseAll);
    assert_eq!(replied(&rig), Some(503));

    let rig = Rig::new();
    rig.refuse(|call| (call == "pairs").then_some(Status::InternalFailure));
    assert_eq!(rig.request(S, "forward,release"), Action::PauseAll);
    assert_eq!(replied(&rig), Some(503));
}

#[test]
fn bodies_are_waited_for_up_to_the_limit() {
    let rig = Rig::new();
    assert_eq!(rig.upload(S, "body:10,forward,release"), Action::Pause);
    assert_eq!(rig.body(S, b"12345", false), Action::Pause);
    assert_eq!(rig.body(S, b"1234567890", true), Action::Continue);
    assert_eq!(rig.header(S, Map::RequestHeaders, "x-body-size").as_deref(), Some("10"));

    let rig = Rig::new();
    rig.upload(S, "body:10,forward,release");
    assert_eq!(rig.body(S, b"12345678901", false), Action::Pause, "as soon as it is known");
    assert_eq!(replied(&rig), Some(413));

    let rig = Rig::new();
    rig.upload(S, "body:10,forward,release");
    rig.body(S, b"12345", false);
    assert_eq!(rig.enter(S, |plugin| plugin.on_request_trailers(S)), Action::Continue, "trailers end a body");
    assert_eq!(rig.header(S, Map::RequestHeaders, "x-body-size").as_deref(), Some("5"));

    let rig = Rig::new();
    assert_eq!(rig.request(S, "body:10,forward,release"), Action::Continue, "there is none");

    let rig = Rig::new();
    rig.upload(S, "callout:/a,body:10,forward,release");
    rig.answer_path("/a", 200);
    assert_eq!(replied(&rig), Some(413), "too late to ask: it would never come");

    let rig = Rig::configured("no bodies").unwrap();
    rig.upload(S, "body:10,forward,release");
    assert_eq!(replied(&rig), Some(413), "the configuration does not allow it");
}

#[test]
fn a_root_waits_for_its_detached_tasks_only() {
    let rig = Rig::new();
    rig.request(S, PAID);
    rig.answer_path("/verify", 200);
    rig.response(S);
    rig.delete(S);
    assert!(!rig.enter(ROOT, |plugin| plugin.on_done(ROOT)));
    rig.answer_path("/settle", 200);
    assert_eq!(rig.metric("farebox_claims_total.state.settled"), 1);
    assert_eq!(rig.calls().last(), Some(&Call::Done(ROOT)));

    let rig = Rig::new();
    rig.tick(1);
    assert!(rig.enter(ROOT, |plugin| plugin.on_done(ROOT)), "daemons do not count");
    assert_eq!(rig.plugin.executor.census(), (0, 0, 0, 0));
}

#[test]
fn a_deleted_root_takes_its_tasks_along() {
    let rig = Rig::new();
    rig.request(S, PAID);
    rig.answer_path("/verify", 200);
    rig.response(S);
    rig.delete(S);
    rig.delete(ROOT);
    assert_eq!(rig.plugin.executor.census(), (0, 0, 0, 0));
    rig.answer_path("/settle", 200); // too late, and harmless
}

#[test]
fn sleeps_end_and_a_clock_set_back_lengthens_none() {
    let rig = Rig::new();
    rig.request(S, "sleep:500,forward,release");
    rig.tick(400);
    assert!(!continued(&rig, Direction::Request));
    rig.tick(100);
    assert!(continued(&rig, Direction::Request));

    let rig = Rig::new();
    rig.request(S, "sleep:500,forward,release");
    rig.books.now.set(5);
    rig.tick(0);
    assert!(continued(&rig, Direction::Request));
}

#[test]
fn configurations_are_refused_with_their_reasons() {
    assert!(Rig::configured("bad").is_none());
}

#[test]
fn facts_and_source_are_properties() {
    let rig = Rig::new();
    rig.request(S, "source,note:alice,forward,note:0xabc,release");
    assert_eq!(rig.header(S, Map::RequestHeaders, "x-source").as_deref(), Some("192.0.2.7"));
    rig.response(S);
    let properties = rig.books.properties.borrow();
    assert_eq!(properties.get(&(S, "farebox.payer".to_owned())).map(Vec::as_slice), Some(&b"alice"[..]));
    assert_eq!(properties.get(&(S, "farebox.transaction".to_owned())).map(Vec::as_slice), Some(&b"0xabc"[..]));
}

#[test]
fn a_wake_up_of_a_busy_task_polls_it_again() {
    let rig = Rig::new();
    let executor = rig.plugin.executor.clone();
    let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None::<Waker>)));
    let (seen, kept) = (polls.clone(), waker.clone());
    executor.spawn(
        ROOT,
        poll_fn(move |cx| {
            seen.set(seen.get() + 1);
            if seen.get() == 1 {
                cx.waker().wake_by_ref(); // busy
            }
            kept.replace(Some(cx.waker().clone()));
            if seen.get() < 5 { Poll::Pending } else { Poll::Ready(()) }
        }),
    );
    rig.tick(0);
    assert_eq!(polls.get(), 2);
    for expected in 3..=5 {
        let waker = waker.borrow().clone().unwrap();
        waker.wake_by_ref();
        waker.wake(); // once is enough
        rig.tick(0);
        assert_eq!(polls.get(), expected);
    }
    waker.take().unwrap().wake(); // after its end
    rig.tick(0);
    assert_eq!(polls.get(), 5);
}

#[test]
fn a_wake_up_seen_by_a_callback_inside_the_poll_is_not_lost() {
    let rig = Rig::new();
    let (polls, inner) = (Rc::new(Cell::new(0)), rig.clone());
    let seen = polls.clone();
    rig.plugin.executor.spawn(
        ROOT,
        poll_fn(move |cx| {
            seen.set(seen.get() + 1);
            if seen.get() > 1 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            inner.tick(0); // polls what is ready, and finds this task busy
            Poll::Pending
        }),
    );
    rig.tick(0);
    assert_eq!(polls.get(), 2);
}

#[test]
fn a_task_that_never_stops_waking_itself_does_not_stop_the_host() {
    let rig = Rig::new();
    rig.plugin.executor.spawn(
        ROOT,
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }),
    );
    rig.tick(0);
    assert_eq!(rig.request(S, "forward,release"), Action::Continue, "others get their turn");
}

#[test]
fn destructors_may_start_tasks_and_call_the_host() {
    struct Guard(Executor<Fake>, Rc<Cell<bool>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let done = self.1.clone();
            self.0.log(crate::abi::LogLevel::Info, "dropped");
            self.0.spawn(ROOT, async move { done.set(true) });
        }
    }
    let rig = Rig::new();
    let executor = rig.plugin.executor.clone();
    let released = Rc::new(Cell::new(false));
    rig.books.alive.borrow_mut().insert(S);
    let stream = executor.open_stream(S, ROOT);
    let guard = Guard(executor.clone(), released.clone());
    executor.start(&stream, async move {
        let _guard = guard;
        std::future::pending::<farebox_core::host::Done>().await
    });
    rig.tick(0);
    rig.delete(S);
    assert!(released.get());
    assert_eq!(rig.census(), [0; 4]);
}

#[test]
fn shared_data_is_created_once_in_every_dialect() {
    for like_nginx in [false, true] {
        let fake = Fake::default();
        fake.0.like_nginx.set(like_nginx);
        let shared = Shared(fake.clone());
        assert_eq!(shared.get("k"), Ok(None));
        assert_eq!(shared.set("k", b"one", Expected::Absent), Ok(()));
        assert_eq!(shared.set("k", b"two", Expected::Absent), Err(SharedError::Mismatch));
        let (value, version) = shared.get("k").unwrap().unwrap();
        assert_eq!(value, b"one");
        assert_eq!(shared.set("k", b"two", Expected::Version(version + 1)), Err(SharedError::Mismatch));
        assert_eq!(shared.set("k", b"two", Expected::Version(0)), Err(SharedError::Failed), "0 would overwrite");
        assert_eq!(shared.set("k", b"two", Expected::Version(version)), Ok(()));
        let rig = Rig { books: fake.0.clone(), plugin: Rc::new(crate::plugin::Plugin::new(fake)) };
        rig.refuse(|_| Some(Status::InternalFailure));
        assert_eq!(shared.get("k"), Err(SharedError::Failed));
    }
}

/// A linear congruential generator: the same story for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Streams, answers, deletions and host failures in any order: nothing is released that was not paid for, nothing
/// panics, nothing leaks.
#[test]
fn whatever_happens_nothing_unpaid_is_released() {
    for seed in 0..300 {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let rig = Rig::new();
    let mut dice = Dice(seed);
    // By path: the answer a callout had.
    let answers: Rc<RefCell<HashMap<String, u16>>> = Rc::default();
    let failing = Rc::new(Cell::new(seed.is_multiple_of(3)));
    let faults = Rc::new(RefCell::new(Dice(!seed)));
    let fail = failing.clone();
    rig.refuse(move |call| {
        let refused = fail.get() && call != "property" && faults.borrow_mut().roll(20) == 0;
        refused.then_some(Status::Other(42))
    });
    let book = answers.clone();
    if seed.is_multiple_of(2) {
        rig.hook(move |rig, call| match call {
            Call::Http(token, path) if path.contains('3') => {
                book.borrow_mut().insert(path.clone(), 200);
                rig.answer(*token, 200);
            }
            Call::Continue(context, Direction::Request) if context % 2 == 0 => {
                rig.response(*context);
            }
            Call::Reply(context, _) if context % 5 == 0 => {
                rig.response(*context);
            }
            _ => {}
        });
    }
    let paid = |context: u32, step: &str| answers.borrow().get(&format!("/{step}/{context}")) == Some(&200);
    let mut next = 10;
    let mut live: Vec<u32> = Vec::new();
    let mut forwarded: Vec<u32> = Vec::new();
    let check = |context: u32, what: Direction| match what {
        Direction::Request => assert!(paid(context, "verify"), "seed {seed}: request {context} released unpaid"),
        Direction::Response => assert!(paid(context, "settle"), "seed {seed}: response {context} released unpaid"),
    };
    for _ in 0..200 {
        match dice.roll(10) {
            0..=2 => {
                next += 1;
                live.push(next);
                let script = format!("callout:/verify/{next},forward,settle:/settle/{next},release:ok");
                if rig.upload(next, &script) == Action::Continue {
                    check(next, Direction::Request);
                    forwarded.push(next);
                }
            }
            3..=5 => {
                let open: Vec<_> = rig.books.open.borrow().iter().map(|(token, path)| (*token, path.clone())).collect();
                let Some((token, path)) = open.get(dice.roll(open.len().max(1) as u64) as usize).cloned() else {
                    continue;
                };
                let status = [200, 200, 200, 402, 0][dice.roll(5) as usize];
                answers.borrow_mut().insert(path, status);
                rig.answer(token, status);
            }
            6 => rig.answer(1_000_000 + dice.roll(10) as u32, 200),
            7 => rig.tick(dice.roll(300)),
            8 if !live.is_empty() => {
                let context = live.swap_remove(dice.roll(live.len() as u64) as usize);
                rig.delete(context);
            }
            _ if !live.is_empty() => {
                let context = live[dice.roll(live.len() as u64) as usize];
                if rig.body(context, b"x", dice.roll(2) == 0) == Action::Continue {
                    // Released, or the host has answered over our head.
                    let overtaken = rig.plugin.executor.stream(context).unwrap().request.get();
                    if overtaken != crate::stream::Progress::Overtaken {
                        check(context, Direction::Request);
                    }
                }
                let released = rig.calls().contains(&Call::Continue(context, Direction::Request));
                if (released || forwarded.contains(&context)) && rig.response(context) == Action::Continue {
                    let stream = rig.plugin.executor.stream(context).unwrap();
                    if stream.response.get() == crate::stream::Progress::Released {
                        check(context, Direction::Response);
                    } else {
                        assert_eq!(stream.response.get(), crate::stream::Progress::Replied, "seed {seed}");
                    }
                }
            }
            _ => {}
        }
        for call in rig.calls() {
            if let Call::Continue(context, direction) = call {
                check(context, direction);
            }
        }
        rig.books.calls.borrow_mut().retain(|call| matches!(call, Call::Continue(_, Direction::Request)));
    }
    failing.set(false);
    live.into_iter().for_each(|context| rig.delete(context));
    let open: Vec<_> = rig.books.open.borrow().keys().copied().collect();
    open.into_iter().for_each(|token| rig.answer(token, 200));
    rig.tick(0);
    let (tasks, callouts, timers, streams) = rig.plugin.executor.census();
    assert!(tasks <= 1 && timers <= 1, "seed {seed}: {tasks} tasks, {timers} timers");
    assert_eq!((callouts, streams), (0, 0), "seed {seed}");
}
