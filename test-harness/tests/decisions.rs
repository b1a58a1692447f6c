//! The decision corpus against a real Envoy. `FAREBOX_CASES=word` plays the cases whose name or policy has the word.

use rig::{Tools, corpus};

#[tokio::test(flavor = "multi_thread")]
async fn envoy_decides_every_case_as_written() {
    let tools = Tools::ensure(&|step| eprintln!("· {step}")).unwrap();
    let word = std::env::var("FAREBOX_CASES").unwrap_or_default();
    let wanted = |case: &corpus::Case| case.name.contains(&word) || case.policy.contains(&word);
    let decided = corpus::decisions_of(&tools, &corpus::filter(&tools).unwrap(), wanted).await.unwrap();
    eprintln!("{} cases over {} rules, {} left out", decided.cases, decided.rules, decided.left_out);
    decided.pending.iter().for_each(|pending| eprintln!("pending: {pending}"));
    assert!(decided.wrong.is_empty(), "{}", decided.wrong.join("\n"));
    assert!(decided.cases >= 120 || !word.is_empty());
}
