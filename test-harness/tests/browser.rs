//! The page of `examples/browser-agent` in a real Chromium; see [`rig::proofs::browser`].

use rig::proofs::browser::browsed;
use rig::{Tools, package};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_pays_through_envoy_keeps_its_budget_asks_and_can_be_used_by_everybody() {
    let progress = |step: &str| eprintln!("· {step}");
    let tools = Tools::ensure(&progress).unwrap();
    let filter = rig::wasm::build(&tools, "farebox-filter", &[]).unwrap();
    let package = package::build(&tools, &tools.workers(&progress).unwrap()).unwrap();
    let found = browsed(&tools, &filter, &package, None).await.unwrap();
    assert!(found.holds(), "{}", found.complaints().join("\n"));
    let (passes, violations) = found.axe();
    eprintln!("Chromium {}: axe {passes} passes, {violations} violations; {}", found.version, found.shots.display());

    // A page that is not as it should be is noticed.
    let spoilt = browsed(&tools, &filter, &package, Some("unlabelled")).await.unwrap();
    assert!(spoilt.axe().1 > 0);
}
