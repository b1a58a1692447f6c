//! No spelling of a path or a method opens what it does not pay for.

use rig::{Plan, Stack, Tools, corpus};

#[tokio::test(flavor = "multi_thread")]
async fn no_encoding_is_served_unpaid_or_cheaper_and_the_upstream_sees_what_was_judged() {
    let tools = Tools::ensure(&|step| eprintln!("· {step}")).unwrap();
    let filter = corpus::filter(&tools).unwrap();
    for (name, adjust) in corpus::hardenings() {
        let plan = Plan::new(&filter, corpus::encodings_policy).adjust(adjust);
        let stack = Stack::start(&tools, plan).await.unwrap();
        let found = corpus::encodings(&stack).await.unwrap();
        eprintln!(
            "hardened {name}: {} encodings x {} kinds, {} requests: {} refused, {} challenged, {} free, {} paid, {} cheap",
            found.encodings,
            found.kinds,
            found.requests,
            found.refused,
            found.challenged,
            found.free,
            found.paid,
            found.cheap
        );
        assert!(found.wrong.is_empty(), "hardened {name}:\n{}", found.wrong.join("\n"));
        assert!(found.encodings >= 100 && found.kinds >= 5 && found.paid >= 100 && found.free >= 20, "{found:?}");
    }
}
