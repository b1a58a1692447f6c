//! What holds whatever happens: budgets, tightening, and that texts decide nothing.

use super::super::challenge::Challenge;
use super::super::counters::{Counters, Outcome};
use super::super::decide::{self, Effect};
use super::super::policy::Policy;
use super::super::request::Request;
use super::kit::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// What a process does next.
#[derive(Clone, Debug)]
enum Step {
    /// Reads the store and works out a change on its copy.
    Read(usize, Change),
    /// Both at once: nobody comes between.
    Do(usize, Change),
    /// Tries to write its change; who comes too late reads and tries again.
    Write(usize),
    /// Dies: the change under way, and everything it knew of its payments, is gone.
    Crash(usize),
    /// Time passes.
    Pass(u64),
}

#[derive(Clone, Debug)]
enum Change {
    /// Decides about a payment of so many thousandths of a dollar to a host.
    Reserve(u64, usize),
    /// The same as the last time, under the same id: the answer to the first was lost.
    ReserveAgain,
    Sign(usize),
    Conclude(usize, Said),
    /// Sends a payment again whose answer nobody got.
    Resume(usize),
    Tick,
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Charged,
    Less,
    Refused,
    Unknown,
    NotSent,
    /// What the chain says, once it can.
    Chain,
}

fn step() -> impl Strategy<Value = Step> {
    let said = prop_oneof![
        3 => Just(Said::Charged),
        1 => Just(Said::Less),
        1 => Just(Said::Refused),
        2 => Just(Said::Unknown),
        1 => Just(Said::NotSent),
        2 => Just(Said::Chain),
    ];
    let change = prop_oneof![
        5 => (2u64..8, 0usize..2).prop_map(|(price, host)| Change::Reserve(price, host)),
        1 => Just(Change::ReserveAgain),
        5 => (0usize..3).prop_map(Change::Sign),
        5 => (0usize..4, said).prop_map(|(which, said)| Change::Conclude(which, said)),
        1 => (0usize..2).prop_map(Change::Resume),
        1 => Just(Change::Tick),
    ]
    .boxed();
    prop_oneof![
        14 => (0usize..3, change.clone()).prop_map(|(process, change)| Step::Do(process, change)),
        4 => (0usize..3, change).prop_map(|(process, change)| Step::Read(process, change)),
        4 => (0usize..3).prop_map(Step::Write),
        1 => (0usize..3).prop_map(Step::Crash),
        1 => (0u64..250).prop_map(Step::Pass),
    ]
}

/// A payment that was signed: it can be carried out until it expires, whatever anybody says.
struct Signed {
    id: String,
    at: u64,
    host: usize,
    price: u64,
    valid_before: u64,
    /// Whether its seller carries it out, sooner or later.
    taken: bool,
    /// The chain has shown that it was not used.
    unused: bool,
}

#[derive(Default)]
struct Process {
    under_way: Option<(Change, Counters, u64, [u8; 16])>,
    last: Option<(u64, usize, [u8; 16])>,
    /// Ids of its reservations, with host and price.
    mine: Vec<([u8; 16], usize, u64)>,
}

const HOSTS: [&str; 2] = ["https://a.example.com/x", "https://b.example.com/x"];
const PERIOD: u64 = 1000;

fn thrifty() -> Policy {
    with(json!({
        "allow": [{ "match": { "hosts": ["*.example.com"] } }],
        "budgets": [
            { "name": "rolling", "max": "0.020 usd", "seconds": PERIOD },
            { "name": "fixed", "max": "0.015 usd", "seconds": 700, "window": "fixed", "start": 50 },
            { "name": "host", "max": "0.012 usd", "seconds": PERIOD, "per": ["host"] },
            { "name": "ever", "max": "0.060 usd" },
        ],
        "calls": [{ "name": "calls", "max": 9, "seconds": 600 }],
    }))
}

/// The sum of what counts of `signed` after `from` and up to `to`.
fn spent<'a>(signed: impl Iterator<Item = &'a Signed>, from: u64, to: u64) -> u64 {
    signed.filter(|it| !it.unused && it.at > from && it.at <= to).map(|it| it.price).sum()
}

fn within_budgets(signed: &[Signed]) -> Result<(), TestCaseError> {
    for end in signed.iter().map(|it| it.at) {
        prop_assert!(spent(signed.iter(), end - PERIOD, end) <= 20, "the rolling budget at {end}");
        for host in 0..2 {
            let of_host = signed.iter().filter(|it| it.host == host);
            prop_assert!(spent(of_host, end - PERIOD, end) <= 12, "host {host} at {end}");
        }
        let begin = end - (end - 50) % 700;
        prop_assert!(spent(signed.iter(), begin - 1, begin + 699) <= 15, "the fixed budget at {end}");
        let calls = signed.iter().filter(|it| !it.unused && it.at > end - 600 && it.at <= end).count();
        prop_assert!(calls <= 9, "calls at {end}");
    }
    prop_assert!(spent(signed.iter(), 0, u64::MAX) <= 60, "the budget for ever");
    Ok(())
}

/// Runs the steps; how many payments were signed.
fn live(steps: &[Step], taken: &[bool]) -> Result<usize, TestCaseError> {
    let policy = thrifty();
    let mut store = (Counters::begin(&policy, NOW).encode(), 0u64);
    let mut processes = [Process::default(), Process::default(), Process::default()];
    let mut signed: Vec<Signed> = Vec::new();
    let mut now = NOW;
    for step in steps {
        match step {
            Step::Pass(seconds) => now += seconds,
            Step::Crash(process) => processes[*process] = Process::default(),
            Step::Read(process, change) | Step::Do(process, change) => {
                let counters = Counters::decode(&store.0, 0).unwrap();
                let id = match (change, processes[*process].last) {
                    (Change::ReserveAgain, Some((_, _, id))) => id,
                    _ => fresh(),
                };
                processes[*process].under_way = Some((change.clone(), counters, store.1, id));
            }
            Step::Write(_) => {}
        }
        let (Step::Write(process) | Step::Do(process, _)) = step else { continue };
        let process = &mut processes[*process];
        let Some((change, mut counters, mut version, id)) = process.under_way.take() else { continue };
        if version != store.1 {
            counters = Counters::decode(&store.0, 0).unwrap();
            version = store.1;
        }
        let learn = apply(&policy, &change, &mut counters, process, &mut signed, id, now, taken);
        store = (counters.encode(), version + 1);
        learn(process);
        within_budgets(&signed)?;
    }
    Ok(signed.len())
}

/// What a process knows once its change is written.
type Learn = Box<dyn FnOnce(&mut Process)>;

#[expect(clippy::too_many_arguments, reason = "the whole world of the model")]
fn apply(
    policy: &Policy,
    change: &Change,
    counters: &mut Counters,
    process: &Process,
    signed: &mut Vec<Signed>,
    id: [u8; 16],
    now: u64,
    taken: &[bool],
) -> Learn {
    let nothing: Learn = Box::new(|_| {});
    match change {
        Change::Tick => counters.tick(policy, now),
        Change::Resume(host) => drop(counters.resume(policy, &get(HOSTS[*host]), now)),
        Change::Reserve(..) | Change::ReserveAgain => {
            let (price, host) = match (change, process.last) {
                (Change::Reserve(price, host), _) => (*price, *host),
                (_, Some((price, host, _))) => (price, host),
                (_, None) => return nothing,
            };
            let challenge = challenge(&[offer(json!({ "amount": (price * 1000).to_string() }))]);
            let decision = counters.reserve(policy, &challenge, &get(HOSTS[host]), &purse(), id, now);
            let chosen = decision.choice().is_some();
            return Box::new(move |process| {
                process.last = Some((price, host, id));
                if chosen {
                    process.mine.push((id, host, price));
                }
            });
        }
        Change::Sign(which) => {
            let Some((id, host, price)) = process.mine.iter().rev().nth(*which).copied() else { return nothing };
            let at = counters.reservation(&id).map(|held| held.at);
            let payment = super::super::counters::Payment {
                header: "payment-signature".to_owned(),
                value: "x".to_owned(),
                nonce: "0x".to_owned(),
                valid_before: now + 300,
            };
            if counters.sign(policy, &id, payment, now).is_ok() {
                let id = super::super::counters::id_text(&id);
                if !signed.iter().any(|it| it.id == id) {
                    let taken = taken[signed.len() % taken.len()];
                    signed.push(Signed {
                        id,
                        at: at.unwrap(),
                        host,
                        price,
                        valid_before: now + 300,
                        taken,
                        unused: false,
                    });
                }
            }
        }
        Change::Conclude(which, said) => {
            let Some((id, ..)) = process.mine.iter().rev().nth(*which).copied() else { return nothing };
            let id = super::super::counters::id_text(&id);
            let payment = signed.iter_mut().find(|it| it.id == id);
            let outcome = match said {
                Said::Charged => Outcome::Charged(1000),
                Said::Less => Outcome::Charged(0),
                Said::Refused => Outcome::Refused,
                Said::Unknown => Outcome::Unknown,
                Said::NotSent => Outcome::NotSent,
                Said::Chain => match &payment {
                    Some(payment) if payment.taken => Outcome::Settled(u128::from(payment.price) * 1000),
                    Some(payment) if payment.valid_before < now => Outcome::Unused,
                    _ => return nothing,
                },
            };
            if counters.conclude(policy, &id, &outcome, 0, now).is_ok()
                && outcome == Outcome::Unused
                && let Some(payment) = payment
            {
                payment.unused = true;
            }
        }
    }
    nothing
}

proptest! {
    #![proptest_config(Config::with_cases(256))]

    /// No sequence of decisions, crashes, repetitions and lies, from one or several processes on one store, ever
    /// exceeds a budget.
    #[test]
    fn no_history_exceeds_a_budget(
        steps in prop::collection::vec(step(), 50..300),
        taken in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        live(&steps, &taken)?;
    }
}

/// The model does what it should: budgets are used up in it, and not only never touched.
#[test]
fn histories_do_spend() {
    let mut runner = TestRunner::deterministic();
    let signed: usize = (0..20)
        .map(|_| {
            let steps = prop::collection::vec(step(), 400).new_tree(&mut runner).unwrap().current();
            live(&steps, &[true, false]).unwrap()
        })
        .sum();
    assert!(signed > 100, "{signed} payments in 20 histories");
}

const EUR: &str = "eip155:84532/erc20:0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

fn some<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = Option<Vec<T>>> {
    prop_oneof![6 => Just(None), 1 => prop::sample::subsequence(values, 1..=values.len()).prop_map(Some)]
}

/// What a rule may be for, from a world that is small enough for rules to meet.
fn matching() -> impl Strategy<Value = Value> {
    (
        some(&["a.example.com", "*.example.com", "http://a.example.com", "b.example.com"]),
        some(&["/*", "/x", "/x/*", "/{id}"]),
        some(&["GET", "POST"]),
        some(&[PAYEE_ID, OTHER_ID]),
        some(&[USDC_ID, EUR]),
        some(&["exact", "upto"]),
        some(&["t1", "t2"]),
    )
        .prop_map(|(hosts, resources, methods, payees, assets, schemes, tasks)| {
            let mut on = json!({});
            for (name, list) in [
                ("hosts", hosts),
                ("resources", resources),
                ("methods", methods),
                ("payees", payees),
                ("assets", assets),
                ("schemes", schemes),
                ("tasks", tasks),
            ] {
                if let Some(list) = list {
                    on[name] = json!(list);
                }
            }
            on
        })
}

const PAYEE_ID: &str = "eip155:84532:0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const OTHER_ID: &str = "eip155:84532:0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

fn amount() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["0.005", "0.01", "0.02", "0.05"]), prop::sample::select(vec!["usd", "eur"]))
        .prop_map(|(amount, unit)| format!("{amount} {unit}"))
}

fn maybe(value: impl Strategy<Value = Value> + 'static, likely: u32) -> BoxedStrategy<Option<Value>> {
    prop_oneof![6 => Just(None), likely => value.prop_map(Some)].boxed()
}

/// A section of a policy: its name, and the values that it may have.
fn sections() -> Vec<(&'static str, BoxedStrategy<Option<Value>>)> {
    let seconds = || prop::sample::select(vec![60u64, 600, 3600]);
    let per = || prop::sample::select(vec![json!([]), json!(["host"]), json!(["payee"])]);
    let list =
        |entry: BoxedStrategy<Value>, most: usize| prop::collection::vec(entry, 1..=most).prop_map(Value::from).boxed();
    let allow = (matching(), prop::option::of(amount())).prop_map(|(on, max)| {
        let mut allow = json!({ "match": on });
        if let Some(max) = max {
            allow["max"] = max.into();
        }
        allow
    });
    let budgets =
        ("[pq]", matching(), amount(), prop::option::of(seconds()), per()).prop_map(|(name, on, max, span, per)| {
            let mut budget = json!({ "name": name, "match": on, "max": max, "per": per });
            if let Some(span) = span {
                budget["seconds"] = span.into();
            }
            budget
        });
    // One that covers everything, so that others can be seen to matter; now and then it is missing for a unit.
    let wide = prop_oneof![
        8 => Just(vec![json!({ "name": "u", "max": "1 usd" }), json!({ "name": "e", "max": "1 eur" })]),
        1 => Just(vec![json!({ "name": "u", "max": "1 usd" })]),
    ];
    let budgets =
        (prop::collection::vec(budgets, 0..2), wide).prop_map(|(some, wide)| Value::from([some, wide].concat()));
    let calls = (matching(), 1u64..4, seconds(), per()).prop_map(
        |(on, max, seconds, per)| json!({ "name": "c", "match": on, "max": max, "seconds": seconds, "per": per }),
    );
    let cooldowns = (matching(), seconds(), per())
        .prop_map(|(on, seconds, per)| json!({ "name": "d", "match": on, "seconds": seconds, "per": per }));
    let hours = (matching(), prop::sample::select(vec![("07:00", "12:00"), ("08:00", "09:00"), ("12:00", "08:30")]))
        .prop_map(|(on, (from, to))| json!({ "match": on, "within": [{ "from": from, "to": to }] }));
    let locks = (matching(), amount(), seconds())
        .prop_map(|(on, above, seconds)| json!({ "match": on, "above": above, "seconds": seconds }));
    let approvals =
        (matching(), prop::option::of(amount()), prop::sample::subsequence(vec!["host", "payee", "asset"], 0..3))
            .prop_map(|(on, above, first)| {
                let mut approval = json!({ "match": on, "first": first });
                if let Some(above) = above {
                    approval["above"] = above.into();
                }
                approval
            });
    let then = || prop::sample::select(vec!["deny", "ask"]);
    vec![
        ("allow", prop_oneof![3 => Just(Some(json!([{}]))), 1 => list(allow.boxed(), 2).prop_map(Some)].boxed()),
        ("deny", maybe(list(matching().prop_map(|on| json!({ "match": on })).boxed(), 1), 1)),
        (
            "caps",
            maybe(list((matching(), amount()).prop_map(|(on, max)| json!({ "match": on, "max": max })).boxed(), 2), 1),
        ),
        ("budgets", budgets.prop_map(Some).boxed()),
        ("calls", maybe(list(calls.boxed(), 1), 1)),
        ("cooldowns", maybe(list(cooldowns.boxed(), 1), 1)),
        ("hours", maybe(list(hours.boxed(), 1), 1)),
        ("locks", maybe(list(locks.boxed(), 1), 1)),
        ("approvals", maybe(list(approvals.boxed(), 1), 1)),
        (
            "validity",
            maybe(prop::sample::select(vec![100u64, 300, 900]).prop_map(|it| json!({ "max_seconds": it })), 1),
        ),
        (
            "slippage",
            maybe(
                (0u64..200, prop::option::of(0u64..5000)).prop_map(|(quoted, last)| {
                    let mut slippage = json!({ "quoted_bps": quoted });
                    if let Some(last) = last {
                        slippage["last_bps"] = last.into();
                    }
                    slippage
                }),
                1,
            ),
        ),
        ("payees", maybe(then().prop_map(|then| json!({ "on_change": then })), 1)),
        (
            "duplicates",
            maybe((seconds(), then()).prop_map(|(seconds, then)| json!({ "seconds": seconds, "then": then })), 1),
        ),
    ]
}

fn written(sections: &[(&'static str, Option<Value>)]) -> Option<Policy> {
    let mut json = json!({
        "version": 1,
        "assets": [
            { "asset": USDC_ID, "unit": "usd" },
            { "asset": EUR, "unit": "eur", "decimals": 6, "name": "EURC", "version": "2" },
        ],
    });
    for (name, value) in sections {
        if let Some(value) = value {
            json[*name] = value.clone();
        }
    }
    Policy::load(json.to_string().as_bytes()).ok()
}

fn payments() -> impl Strategy<Value = (Request, Challenge, u64)> {
    (
        prop::sample::select(vec![
            "https://a.example.com",
            "http://a.example.com",
            "https://b.example.com",
            "https://c.a.example.com",
        ]),
        prop::sample::select(vec!["/", "/x", "/X", "/x/y", "/x//y"]),
        prop::sample::select(vec!["GET", "POST", "HEAD"]),
        prop::option::of(prop::sample::select(vec!["t1", "t2"])),
        prop::sample::select(vec![1000u64, 5000, 10_000, 20_000, 50_000]),
        any::<(bool, bool)>(),
        prop::sample::select(vec![60u64, 300, 600]),
        prop::sample::select(vec![0u64, 30, 90, 700, 4000]),
    )
        .prop_map(|(origin, path, method, task, amount, (eur, other), timeout, pause)| {
            let mut request = Request::new(method, &format!("{origin}{path}")).unwrap();
            request.task = task.map(str::to_owned);
            let (asset, name) = if eur { (OTHER, "EURC") } else { (USDC, "USDC") };
            let payee = if other && !eur { OTHER } else { PAYEE };
            let offered = offer(json!({
                "amount": amount.to_string(), "asset": asset, "payTo": payee, "maxTimeoutSeconds": timeout,
                "extra": { "name": name, "version": "2" },
            }));
            (request, challenge(&[offered]), pause)
        })
}

/// Whatever a policy that is not looser says yes to, the older one says yes to; and it asks no less.
#[test]
fn tightening_never_allows_more() {
    let mut runner = TestRunner::deterministic();
    let sections = sections();
    let (mut compared, mut allowed, mut stricter) = (0, 0, 0);
    let history = prop::collection::vec(payments(), 0..5);
    let cases = prop::collection::vec(payments(), 12);
    for round in 0..4000 {
        let mut old: Vec<_> =
            sections.iter().map(|(name, values)| (*name, values.new_tree(&mut runner).unwrap().current())).collect();
        // Another of one section in place of its own, which is there.
        let mut new = old.clone();
        let at = round % sections.len();
        let mut there = || loop {
            if let Some(value) = sections[at].1.new_tree(&mut runner).unwrap().current() {
                break Some(value);
            }
        };
        (old[at].1, new[at].1) = (there(), there());
        let (Some(old), Some(new)) = (written(&old), written(&new)) else { continue };
        if !new.is_not_looser(&old) {
            continue;
        }
        compared += 1;
        let mut desk = Desk::new(old);
        for (request, challenge, pause) in history.new_tree(&mut runner).unwrap().current() {
            desk.now += pause;
            if let Some(id) = desk.pay(&challenge, &request) {
                let outcome = Outcome::Charged(challenge.offer(0).unwrap().amount);
                desk.counters.conclude(&desk.policy, &id, &outcome, 0, desk.now).unwrap();
            }
        }
        for (request, challenge, pause) in cases.new_tree(&mut runner).unwrap().current() {
            let now = desk.now + pause;
            let offer = challenge.offer(0).unwrap();
            let of = |policy: &Policy| {
                let purse = purse();
                let (_, verdicts) = decide::effect_of(policy, &challenge, offer, &request, &purse, &desk.counters, now);
                verdicts.iter().map(|verdict| verdict.effect).max().unwrap()
            };
            let (before, after) = (of(&desk.policy), of(&new));
            assert!(
                after >= before,
                "{request:?}\n{offer:?}\nold {before:?} {}\nnew {after:?} {}",
                desk.policy.document(),
                new.document(),
            );
            allowed += usize::from(before == Effect::Pass);
            stricter += usize::from(after > before);
        }
    }
    assert!(
        compared > 300 && allowed > 150 && stricter > 30,
        "{compared} pairs, {allowed} allowed, {stricter} stricter"
    );
}

proptest! {
    #![proptest_config(Config::with_cases(200))]

    /// Any text in any place of a challenge that is not one of an offer's own members changes no decision.
    #[test]
    fn no_text_changes_a_decision(
        texts in prop::collection::vec("\\PC{0,200}", 9),
        amounts in prop::collection::vec(1u64..100_000, 1..4),
    ) {
        let policy = with(json!({ "approvals": [{ "above": "0.03 usd" }], "caps": [{ "max": "0.05 usd" }] }));
        let decided = |texts: &[String]| {
            let offers: Vec<Value> = amounts
                .iter()
                .map(|amount| {
                    let mut offer = offer(json!({ "amount": amount.to_string() }));
                    offer["description"] = texts[0].clone().into();
                    offer["outputSchema"] = json!({ "input": texts[1] });
                    offer["extra"]["memo"] = texts[2].clone().into();
                    offer
                })
                .collect();
            let mut required = required(&offers);
            required["error"] = texts[3].clone().into();
            required["resource"] = json!({
                "url": texts[4], "description": texts[5], "mimeType": texts[6], "serviceName": texts[7],
            });
            required["extensions"] = json!({ "bazaar": { "info": { "x": texts[8] } } });
            let challenge = Challenge::read(&header(&required), b"").unwrap();
            let counters = Counters::begin(&policy, NOW);
            decide::decide(&policy, &challenge, &get(URL), &purse(), &counters, NOW)
        };
        let plain = vec![String::new(); 9];
        prop_assert_eq!(decided(&texts), decided(&plain));
    }
}
