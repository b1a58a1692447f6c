//! Topic `tokens`: capability tokens and receipts.

use super::{Finding, Subject};
use anyhow::{Context, Result, bail};
use farebox_core::crypto::keys::SigningKey;
use rig::Stack;
use rig::proofs::tokens::{self, CALLS, CAP};
use serde_json::{Value, json};
use std::process::{Command, ExitCode};

/// The claims, and the faults under which each must not hold.
pub(super) const CLAIMS: &[(u32, &[&str])] = &[
    (1, &["no_draw"]),
    (2, &["no_draw"]),
    (3, &["loose_grants", "no_revocation"]),
    (4, &["forgetful"]),
    (5, &["no_epoch"]),
    (6, &["no_secret"]),
    (7, &["trusting"]),
    (8, &["silent_draws"]),
];

pub(super) async fn claim(id: u32, subject: &Subject) -> Result<Finding> {
    match id {
        1 => bulk(subject).await,
        2 => capped(subject).await,
        3 => delegated(subject).await,
        4 => million(subject).await,
        5 => lost(subject).await,
        6 => foreign(subject).await,
        7 => parsers(subject),
        8 => audit(subject).await,
        _ => bail!("no such claim"),
    }
}

async fn stack(subject: &Subject) -> Result<Stack> {
    let env = tokens::with_key(&subject.variables());
    let plan = rig::Plan::new(&subject.filter, tokens::policy);
    Stack::start(&subject.tools, env.iter().fold(plan, |plan, (name, value)| plan.env(name, value))).await
}

async fn bulk(subject: &Subject) -> Result<Finding> {
    let figures = tokens::bulk(&stack(subject).await?).await?;
    Ok(Finding {
        id: 1,
        tried: format!("@x402/fetch buys a bearer pass of {CALLS} calls, which are made over 2 workers"),
        figure: format!("{figures:?}"),
        bar: format!(
            "bought; {CALLS} served, each seen by the upstream, without a callout; left 0; the next is 402 \
             token_exhausted with a pass offer; both workers took part"
        ),
        holds: figures.holds(CALLS),
    })
}

async fn capped(subject: &Subject) -> Result<Finding> {
    let stack = stack(subject).await?;
    let alone = tokens::capped(&stack, 5000, 64).await?;
    let shared = tokens::shared(&stack, 2400, 48).await?;
    Ok(Finding {
        id: 2,
        tried: format!(
            "a cap of {CAP}: 5000 calls, 64 at once, with one token; 2400 calls, 48 at once, with 4 tokens delegated \
             from one; over 2 workers"
        ),
        figure: format!("one token: {alone:?}; delegated: {shared:?}"),
        bar: format!("exactly {CAP} served each time, all others 402; both workers took part"),
        holds: alone.holds() && shared.holds(),
    })
}

async fn delegated(subject: &Subject) -> Result<Finding> {
    let stack = stack(subject).await?;
    let figures = tokens::delegated(&stack, delegated_by_cli).await?;
    Ok(Finding {
        id: 3,
        tried:
            "a token delegated offline by `farebox token delegate`, inside and outside its grant, and after its root \
                was revoked"
                .to_owned(),
        figure: format!("{figures:?}"),
        bar: "inside 200, outside 403, without its own key 401, after the revocation 403 in all workers".to_owned(),
        holds: figures.holds(),
    })
}

/// `farebox token delegate`: to `/plain/shared/quotes/`, at most 20 calls.
fn delegated_by_cli(root: &str, holder: &SigningKey, agent: &SigningKey) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str, json: &Value| -> Result<String> {
        let path = dir.path().join(name);
        std::fs::write(&path, json.to_string())?;
        Ok(path.display().to_string())
    };
    let spec = json!({ "authorization_details": [{
        "constraints": [{ "key": "path", "prefix": "/plain/shared/quotes/" }],
        "limits": [{ "per": "token", "unit": "call", "max": "20" }],
    }] });
    let (holder, agent) = (file("holder.jwk", &holder.to_jwk())?, file("agent.jwk", &agent.public().to_jwk())?);
    let spec = file("spec.json", &spec)?;
    let (good, said) = farebox(&["token", "delegate", "--key", &holder, "--holder", &agent, "--spec", &spec, root])?;
    match said["token"].as_str() {
        Some(token) if good => Ok(token.to_owned()),
        _ => bail!("farebox token delegate: {said}"),
    }
}

/// Runs the command line; whether it says that all is well, and its JSON.
fn farebox(arguments: &[&str]) -> Result<(bool, Value)> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--locked", "-p", "farebox-cli", "--", "--json"]).args(arguments);
    let output = cargo.current_dir(rig::tools::workspace_dir()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = serde_json::from_str(said.trim())
        .with_context(|| format!("{said:?} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.success(), said))
}

/// The audit log of a real Envoy, whole and tampered with; and one of 100 000 lines.
async fn audit(subject: &Subject) -> Result<Finding> {
    let stack = stack(subject).await?;
    let bulk = tokens::bulk(&stack).await?;
    let log = stack.envoy.log()?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(farebox_core::receipt::audit::MARKER)).collect();
    let dir = tempfile::tempdir()?;
    let keys = dir.path().join("jwks.json");
    std::fs::write(&keys, json!({ "keys": [tokens::gate_key().public().to_jwk()] }).to_string())?;
    let verify = |name: &str, lines: &[&str], more: &[&str]| -> Result<(bool, Value)> {
        let path = dir.path().join(name);
        std::fs::write(&path, lines.join("\n"))?;
        let (keys, path) = (keys.display().to_string(), path.display().to_string());
        farebox(&[&["audit", "verify", "--keys", &keys], more, &[&path]].concat())
    };
    let draws = lines.iter().filter(|line| line.contains("\"kind\":\"draw\"")).count();
    let honest = verify("honest.log", &lines, &[])?;
    let middle = lines.iter().rposition(|line| line.contains("\"kind\":\"draw\"")).unwrap_or(0) / 2;
    let changed = lines.get(middle).map(|line| line.replace("\"status\":200", "\"status\":500")).unwrap_or_default();
    let mut edited = lines.clone();
    if let Some(line) = edited.get_mut(middle) {
        *line = &changed;
    }
    let edited = verify("edited.log", &edited, &[])?;
    let mut removed = lines.clone();
    removed.remove(middle);
    let removed = verify("removed.log", &removed, &[])?;
    let mut forked = lines.clone();
    forked.push(&changed);
    let forked = verify("forked.log", &forked, &[])?;
    let heads: Vec<&str> = lines.iter().copied().filter(|line| line.contains("\"kind\":\"head\"")).collect();
    let last = heads.last().copied().unwrap_or_default();
    let head = dir.path().join("head.txt");
    std::fs::write(&head, last)?;
    let end = lines.iter().position(|line| *line == last).unwrap_or(0);
    let cut = verify("cut.log", &lines[..end.saturating_sub(10)], &["--head", &head.display().to_string()])?;
    let large = Command::new("cargo")
        .args(["test", "--quiet", "--locked", "-p", "farebox-cli", "--test", "audit", "--", "--nocapture"])
        .current_dir(rig::tools::workspace_dir())
        .output()?;
    let said = String::from_utf8_lossy(&large.stdout).into_owned();
    let took = said.lines().find(|line| line.contains("100 000 lines verified")).unwrap_or("no figure").to_owned();
    let findings = |(good, said): &(bool, Value)| {
        let named = said["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["finding"].as_str());
        format!("{good} {:?}", named.collect::<Vec<_>>())
    };
    let found = |result: &(bool, Value), name: &str| !result.0 && findings(result).contains(name);
    let holds = honest.0
        && draws == CALLS
        && bulk.served == CALLS
        && found(&edited, "edited_line")
        && found(&removed, "missing_lines")
        && found(&forked, "fork")
        && found(&cut, "cut_tail")
        && large.status.success();
    Ok(Finding {
        id: 8,
        tried: format!("the audit log of Envoy with 2 workers after {CALLS} calls with a token, {} lines", lines.len()),
        figure: format!(
            "{draws} draws; honest {}; edited {}; removed {}; forked {}; cut {}; {took}",
            findings(&honest),
            findings(&edited),
            findings(&removed),
            findings(&forked),
            findings(&cut)
        ),
        bar: format!(
            "{CALLS} draws; the honest log passes; each change is found under its name; an honest log of 100 000 lines \
             passes in seconds"
        ),
        holds,
    })
}

async fn million(subject: &Subject) -> Result<Finding> {
    let features: &[&str] = if subject.mutant.is_some() { &["probe", "mutants"] } else { &["probe"] };
    let probe = rig::wasm::build(&subject.tools, "farebox-filter", features)?;
    let figures = tokens::million(&subject.tools, &probe, &subject.variables(), 1_000_000).await?;
    let mib = |bytes: &u64| bytes >> 20;
    let allocated: Vec<u64> = figures.allocated.iter().map(mib).collect();
    Ok(Finding {
        id: 4,
        tried:
            "two generations of a million claims and a million tokens, one after the other, in the ledger of a real \
                Envoy at its default ceiling"
                .to_owned(),
        figure: format!(
            "{} of {} found again; allocated by the proxy (MiB): empty, full, full again: {allocated:?}; {:.0} us each; \
             complaints {:?}",
            figures.found,
            2 * figures.entries,
            figures.micros,
            figures.complaints
        ),
        bar: "all found again in the last second of their lives; the second takes at most a tenth more memory"
            .to_owned(),
        holds: figures.holds(),
    })
}

async fn lost(subject: &Subject) -> Result<Finding> {
    let figures = tokens::lost(&subject.tools, &subject.filter, &subject.variables()).await?;
    Ok(Finding {
        id: 5,
        tried: "a spent token, a revoked one and a used credit, after the listener was removed and added, and after \
                Envoy was killed and started anew"
            .to_owned(),
        figure: format!("{figures:?}"),
        bar: "402 ledger_lost for each, and nothing reaches the upstream".to_owned(),
        holds: figures.holds(),
    })
}

async fn foreign(subject: &Subject) -> Result<Finding> {
    let stack = stack(subject).await?;
    let figures = tokens::foreign(&subject.tools, &stack).await?;
    Ok(Finding {
        id: 6,
        tried: "npm jose verifies offers, tokens and receipts of a pass and of a credit by the served keys; each payment is \
                replayed by thieves, and by its buyer"
            .to_owned(),
        figure: format!("{figures:?}"),
        bar: "8 of 8 verified, no altered one; thieves 409 and nothing; the buyer the same token again".to_owned(),
        holds: figures.holds(),
    })
}

/// The negative corpora, and every fuzz target for a minute; under a fault, the corpora alone.
fn parsers(subject: &Subject) -> Result<Finding> {
    let corpora = ["signatures_that_must_be_refused_are_and_no_other", "tokens_that_must_be_refused_are_and_for_the"];
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--locked", "-p", "farebox-core", "--lib"]);
    if let Some(mutant) = subject.mutant {
        cargo.args(["--features", "mutants"]).env(super::MUTANT, mutant);
    }
    let output = cargo.arg("--").args(corpora).current_dir(rig::tools::workspace_dir()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let result = said.lines().find(|line| line.starts_with("test result")).unwrap_or("no result").to_owned();
    let refused = output.status.success() && result.contains("2 passed");
    let found_nothing =
        subject.mutant.is_some() || crate::fuzz::run(&crate::fuzz::Options::all(60))? == ExitCode::SUCCESS;
    Ok(Finding {
        id: 7,
        tried:
            "the negative corpora for JOSE (172 cases) and for EdDSA and ES256K signatures (145 cases), and every fuzz \
                target for 60 s"
                .to_owned(),
        figure: format!("{result}; fuzzing {}", if found_nothing { "found nothing" } else { "found something" }),
        bar: "every case as written; no finding".to_owned(),
        holds: refused && found_nothing,
    })
}
