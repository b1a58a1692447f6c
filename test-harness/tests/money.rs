//! The money rules under faults, with the real Envoy, chain, facilitator and client.

use rig::stack::fault_policy;
use rig::{Plan, Stack, Tools, money};

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_charges_twice_serves_unpaid_or_loses_what_was_paid() {
    let tools = Tools::ensure(&|step| eprintln!("· {step}")).unwrap();
    let filter = rig::wasm::build(&tools, "farebox-filter", &[]).unwrap();
    // One worker: breakers are each worker's own, and a row must meet the same one at every try.
    let plan = Plan { workers: 1, ..Plan::new(filter, fault_policy) };
    let stack = Stack::start(&tools, plan).await.unwrap();
    let mut complaints = Vec::new();
    let rows = money::rows().unwrap();
    for (number, row) in rows.iter().enumerate() {
        match money::try_row(&stack, row, number).await {
            Ok(tried) => complaints.extend(tried.complaints()),
            Err(error) => complaints.push(format!("{}: {error:#}", row.name())),
        }
    }
    assert!(complaints.is_empty(), "{} of {} rows:\n{}", complaints.len(), rows.len(), complaints.join("\n"));
}
