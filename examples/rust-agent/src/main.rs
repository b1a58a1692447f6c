//! `rust-agent <policy.json> <folder> begin` once, to fill the budgets; then `rust-agent <policy.json> <folder> <url>`.

use farebox_core::agent::pay::SessionKey;
use farebox_core::agent::policy::Policy;
use farebox_core::agent::purse::Purse;
use farebox_core::agent::{Agent, Wanted};
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use rust_agent::{Folder, Web, block_on, secret};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [policy, folder, url] = arguments.as_slice() else {
        return Err("policy.json, folder, and begin or a URL".into());
    };
    let policy = Policy::load(&std::fs::read(policy)?)?;
    // An account of its own, with little money on it; and a key that bought tokens belong to.
    let wallet = SessionKey::new(&secret("PRIVATE_KEY")?).ok_or("PRIVATE_KEY is no key")?;
    let holder = SigningKey::from_secret(Algorithm::EdDsa, &secret("HOLDER_KEY")?).ok_or("HOLDER_KEY is no key")?;

    let (purse, world) = (Purse::of_key(wallet.address()), Web::new().watched(&policy));
    let agent = Agent::new(policy, purse, world, Folder::open(folder)?, wallet).with_holder(holder);
    if url == "begin" {
        println!("{}", if block_on(agent.begin())? { "begun" } else { "had begun" });
        return Ok(());
    }
    let mut fetched = block_on(agent.fetch(&Wanted::get(url)))?;
    std::io::copy(&mut fetched.response.body, &mut std::io::stdout())?;
    Ok(())
}
