//! Topic `money`: the money rules hold under every fault.

use super::{Finding, MUTANT, Subject};
use anyhow::{Context, Result, bail};
use rig::stack::fault_policy;
use rig::tools::workspace_dir;
use rig::{Plan, Stack, corpus, money, proofs, replay};
use serde_json::Value;
use std::process::Command;

/// The claims, and the faults under which each must not hold.
pub(super) const CLAIMS: &[(u32, &[&str])] = &[
    (1, &["unknown_is_402", "no_claim"]),
    (2, &["no_claim"]),
    (3, &["loose_paths"]),
    (4, &["no_failover"]),
    (5, &["no_settle"]),
    (6, &["late_release"]),
    (7, &["no_secret"]),
    (8, &["no_settle_check"]),
];

pub(super) async fn claim(id: u32, subject: &Subject) -> Result<Finding> {
    match id {
        1 => matrix(subject).await,
        2 => replays(subject).await,
        3 => encodings(subject).await,
        4 => failover(subject).await,
        5 => clients(subject).await,
        6 => streaming(subject).await,
        7 => thief(subject).await,
        8 => books(subject).await,
        _ => bail!("no such claim"),
    }
}

/// The fault matrix, each row once, on the real Envoy, chain and facilitator.
async fn matrix(subject: &Subject) -> Result<Finding> {
    let stack = Stack::start(&subject.tools, Plan { workers: 1, ..subject.plan_with(fault_policy) }).await?;
    let rows = money::rows()?;
    let mut complaints = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        match money::try_row(&stack, row, number).await {
            Ok(tried) => {
                let [first, same, new] = &tried.cells;
                println!("    {:42} {first:28} {same:28} {new}", row.name());
                complaints.extend(tried.complaints());
            }
            Err(error) => complaints.push(format!("{}: {error:#}", row.name())),
        }
    }
    let host_faults = proofs::host_faults::host_faults(&subject.tools, &subject.filter, &subject.variables()).await?;
    for tried in &host_faults.tried {
        let [first, same, new] = &tried.cells;
        println!("    {:42} {first:28} {same:28} {new}", tried.row.name());
    }
    complaints.extend(host_faults.complaints());
    Ok(Finding {
        id: 1,
        tried: format!(
            "{} faults of the facilitator and the client and {} of the proxy × first try, same payment again, new payment",
            rows.len(),
            host_faults.tried.len()
        ),
        figure: format!("{} complaints{}", complaints.len(), first(&complaints)),
        bar:
            "every cell as in test-harness/vectors/money.json; nobody charged twice, nothing served unpaid, no unknown \
              settlement answered with 402, every charged-undelivered one recovered by the same payment"
                .to_owned(),
        holds: complaints.is_empty() && rows.len() >= 60 && host_faults.holds(),
    })
}

/// Of 500 payments in Envoy, those that must be delivered at least for the replays to mean something.
const DELIVERED: usize = 250;

/// A policy that waits for a facilitator that has much to do.
fn patient(origin: &str) -> Value {
    let mut policy = fault_policy(origin);
    policy["facilitators"][0]["verify_timeout_seconds"] = 20.into();
    policy["facilitators"][0]["settle_timeout_seconds"] = 20.into();
    policy
}

/// A million adversarial replays in process, and 20 000 against Envoy.
async fn replays(subject: &Subject) -> Result<Finding> {
    let mut storm = Command::new("cargo");
    storm
        .current_dir(workspace_dir())
        .args(["run", "--quiet", "--locked", "-p", "farebox-proxy-host", "--bin", "storm", "--"])
        .arg(&subject.filter)
        .args(["--sends", if subject.mutant.is_some() { "20000" } else { "1000000" }]);
    if let Some(mutant) = subject.mutant {
        storm.arg("--env").arg(format!("{MUTANT}={mutant}"));
    }
    eprintln!("· replaying in process (the first time, building the host takes minutes)");
    let output = storm.stderr(std::process::Stdio::inherit()).output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.trim_end());
    let line = text.lines().last().context("the storm printed nothing")?;
    let storm: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;

    let stack = Stack::start(&subject.tools, subject.plan_with(patient)).await?;
    let found = replay::storm(&stack, 20_000, 7).await?;
    println!("    against Envoy: mix {:?}, answers {:?}", found.mix, found.answers);
    let holds = storm["double_deliveries"] == 0
        && storm["double_settlements"] == 0
        && storm["unpaid_deliveries"] == 0
        && storm["own_traps"] == 0
        && storm["violations"] == 0
        && ["delivered", "recovered"].iter().all(|what| storm[what].as_u64().is_some_and(|count| count > 0))
        && found.double_deliveries == 0
        && found.double_settlements == 0
        && found.unpaid_deliveries == 0
        && found.delivered >= DELIVERED
        && found.workers.iter().filter(|connections| **connections > 0).count() == 2;
    Ok(Finding {
        id: 2,
        tried: format!(
            "{} adversarial sends in process over 2 VMs (EIP-3009, Permit2, two payments of one name); {} against Envoy over 2 workers",
            storm["sends"], found.sends
        ),
        figure: format!(
            "in process: {} delivered, {} of {} unknown outcomes recovered by the chain, {} double deliveries, {} double settlements, {} unpaid, {} own traps; Envoy: {} delivered, {} double deliveries, {} double settlements, {} unpaid, connections by worker {:?}",
            storm["delivered"],
            storm["recovered"],
            storm["untold"],
            storm["double_deliveries"],
            storm["double_settlements"],
            storm["unpaid_deliveries"],
            storm["own_traps"],
            found.delivered,
            found.double_deliveries,
            found.double_settlements,
            found.unpaid_deliveries,
            found.workers
        ),
        bar: "zero double deliveries, zero double settlements, nothing unpaid; half of the payments in Envoy delivered"
            .to_owned(),
        holds,
    })
}

/// Spellings of paths and methods, against every kind of route.
async fn encodings(subject: &Subject) -> Result<Finding> {
    let stack = Stack::start(&subject.tools, subject.plan_with(corpus::encodings_policy)).await?;
    let found = corpus::encodings(&stack).await?;
    Ok(Finding {
        id: 3,
        tried: format!("{} spellings of paths and methods × every kind of route, through Envoy", found.encodings),
        figure: format!("{} requests, {} complaints{}", found.requests, found.wrong.len(), first(&found.wrong)),
        bar: "at least 100 spellings; none served unpaid or cheaper, and the upstream sees the judged path".to_owned(),
        holds: found.encodings >= 100 && found.wrong.is_empty() && found.paid > 0,
    })
}

/// Two facilitators, one killed under load.
async fn failover(subject: &Subject) -> Result<Finding> {
    let found = proofs::failover::failover(&subject.tools, &subject.filter, &subject.variables()).await?;
    Ok(Finding {
        id: 4,
        tried: format!("{} paid requests while one of two facilitators is killed and comes back", found.purchases),
        figure: format!(
            "{:?}; charged twice {}, served unpaid {}, charged and lost {}; breaker {:?}; asked again {:.1} s after its return",
            found.ends, found.charged_twice, found.served_unpaid, found.lost, found.breaker, found.back_after
        ),
        bar:
            "every request served and paid, unpaid, or recovered with the same payment; breaker states in the metrics; \
              recovery without a restart"
                .to_owned(),
        holds: found.holds(),
    })
}

/// Official clients and contract wallets.
async fn clients(subject: &Subject) -> Result<Finding> {
    let found = proofs::clients::clients(&subject.tools, &subject.filter, &subject.variables()).await?;
    let paid = found.rows.iter().filter(|row| row.paid.is_ok()).count();
    Ok(Finding {
        id: 5,
        tried: found.rows.iter().map(|row| format!("{} by {}", row.who, row.how)).collect::<Vec<_>>().join(", "),
        figure: format!("{paid} of {} paid{}", found.rows.len(), first(&found.complaints())),
        bar: "all 14".to_owned(),
        holds: found.holds(),
    })
}

/// Event streams and a gigabyte.
async fn streaming(subject: &Subject) -> Result<Finding> {
    let found = proofs::streaming::streaming(&subject.tools, &subject.filter, &subject.variables()).await?;
    Ok(Finding {
        id: 6,
        tried: format!(
            "{} paid event streams, and a paid response of {} bytes",
            found.first_event.len(),
            found.large_bytes
        ),
        figure: format!(
            "slowest first event {:.1} ms after the settlement answer; memory {} kB more at most, {} kB before",
            found.slowest().as_secs_f64() * 1000.0,
            found.growth() >> 10,
            found.resident_before >> 10
        ),
        bar: "100 ms; 64 MiB more; every byte".to_owned(),
        holds: found.holds(),
    })
}

/// Payments rebuilt from what is public.
async fn thief(subject: &Subject) -> Result<Finding> {
    let found = proofs::thief::thief(&subject.tools, &subject.filter, &subject.variables()).await?;
    let stolen: usize = found.states.iter().map(|tried| tried.stolen).sum();
    Ok(Finding {
        id: 7,
        tried: format!("{} attempts in {} states of a claim", found.attempts(), found.states.len()),
        figure: format!("stolen {stolen}{}", first(&found.complaints())),
        bar: "nothing stolen, nothing forwarded, and every buyer gets what it is owed".to_owned(),
        holds: found.holds(),
    })
}

/// The first complaint, for a figure.
pub(super) fn first(complaints: &[String]) -> String {
    complaints.first().map(|first| format!("; first complaint: {first}")).unwrap_or_default()
}

/// After a mixed load with faults, the chain agrees with the gate's records.
async fn books(subject: &Subject) -> Result<Finding> {
    let stack = Stack::start(&subject.tools, Plan { workers: 1, ..subject.plan_with(fault_policy) }).await?;
    for (number, row) in money::rows()?.iter().enumerate() {
        let lasting =
            ["settle: no answer", "settle: reset", "settle: 500", "settle: 429", "settle: html", "settle: {}"];
        if !lasting.contains(&row.fault.as_str()) {
            // What a row comes to is claim 1's matter.
            let _ = money::try_row(&stack, row, number).await;
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    let books = money::balance_of_books(&stack).await?;
    Ok(Finding {
        id: 8,
        tried: "every row of the matrix that can be resolved, then the chain compared with the gate's records"
            .to_owned(),
        figure: format!("{books:?}"),
        bar: "as many settled claims as transfers, more than 50".to_owned(),
        holds: books["settled"] == books["transfers"] && books["transfers"] > 50,
    })
}
