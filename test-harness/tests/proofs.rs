//! The money rules beyond the matrix, with the real Envoy, chain, facilitator and clients: see [`rig::proofs`].

use std::path::PathBuf;
use std::sync::OnceLock;

use rig::Tools;
use rig::proofs;

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::ensure(&|step| eprintln!("· {step}")).unwrap())
}

fn filter() -> PathBuf {
    rig::wasm::build(tools(), "farebox-filter", &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitator_that_dies_under_load_costs_nobody_money() {
    let figures = proofs::failover::failover(tools(), &filter(), &[]).await.unwrap();
    eprintln!("{figures:#?}");
    assert!(figures.holds(), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_and_contract_wallets_pay_through_envoy() {
    let figures = proofs::clients::clients(tools(), &filter(), &[]).await.unwrap();
    eprintln!("{figures:#?}");
    assert!(figures.holds(), "{} rows; {:#?}", figures.rows.len(), figures.complaints());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_flow_from_the_settlement_on_and_cost_no_memory() {
    let figures = proofs::streaming::streaming(tools(), &filter(), &[]).await.unwrap();
    eprintln!("{figures:#?}");
    assert!(figures.holds(), "{figures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_tells_everybody_buys_nothing() {
    let figures = proofs::thief::thief(tools(), &filter(), &[]).await.unwrap();
    eprintln!("{figures:#?}");
    assert!(figures.holds(), "{:#?}", figures.complaints());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_the_proxy_charges_twice_serves_unpaid_or_loses_what_was_paid() {
    // One of each kind; `cargo xtask prove money` tries them all.
    let tried = [
        "route timeout: settle",
        "route timeout: settle, asked at once",
        "upstream reset: settle",
        "trap: settle",
        "configuration push: long settle",
        "listener removed: long settle",
    ];
    let mut rows = proofs::host_faults::rows().unwrap();
    rows.retain(|row| row.settle == "after" && tried.contains(&row.fault.as_str()));
    assert_eq!(rows.len(), tried.len());
    let figures = proofs::host_faults::try_rows(tools(), &filter(), &[], rows).await.unwrap();
    eprintln!("{figures:#?}");
    assert!(figures.holds(), "{:#?}", figures.complaints());
}
