//! `cargo xtask demo`: one story, told with real processes and real values.

use crate::build;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rig::accounts::{BUYER, PAYEE};
use rig::proofs::browser::Shop;
use rig::scenario::{self, Got, Paid};
use rig::{Stack, Tools};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Options of `demo`.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave everything running and print requests to try.
    #[arg(long)]
    keep: bool,
    /// Print one line of JSON last.
    #[arg(long)]
    json: bool,
    /// A filter to use instead of building one.
    #[arg(long, hide = true)]
    filter: Option<std::path::PathBuf>,
    /// Variables of the filter's environment, NAME=VALUE.
    #[arg(long, hide = true)]
    env: Vec<String>,
}

/// Atomic units that the demo's route costs: $0.01 in an asset of six decimals.
const PRICE: u128 = 10_000;

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let tools = build::tools()?;
    let filter = match options.filter {
        Some(filter) => filter,
        None => build::filter(&tools)?,
    };
    let wasm_bytes = build::size(&filter)?;
    eprintln!("· starting the chain, the facilitator, the upstream, Envoy and a buyer");
    let mut env = Vec::new();
    for variable in &options.env {
        let (name, value) = variable.split_once('=').context("--env wants NAME=VALUE")?;
        env.push((name.to_owned(), value.to_owned()));
    }
    let shop = Shop::start(&tools, &filter, &env).await?;
    let story = tell(&shop.stack).await?;
    if options.keep {
        keep(&tools, &shop).await?;
    }
    if options.json {
        let mut line = story.json.clone();
        line["wasm_bytes"] = json!(wasm_bytes);
        println!("{line}");
    }
    Ok(if story.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Story {
    json: Value,
    good: bool,
}

async fn tell(stack: &Stack) -> Result<Story> {
    say("1. A request without a payment");
    let unpaid = scenario::send(stack, "GET", "/plain/after", None).await?;
    show(&format!("GET {}", stack.url("/plain/after")));
    show(&format!("{} {}", unpaid.status, unpaid.code()));
    show(&format!("PAYMENT-REQUIRED, decoded: {:#}", challenge(&unpaid)?));

    say("2. The official client (@x402/fetch, unmodified) pays");
    let buyer_before = stack.chain.balance(BUYER.address).await?;
    let paid = scenario::buy(stack, "/plain/after").await?;
    let buyer_after = stack.chain.balance(BUYER.address).await?;
    show(&format!("{} {}", paid.bought.status, paid.bought.body));
    show(&format!("PAYMENT-RESPONSE, decoded: {:#}", paid.bought.payment_response.clone().unwrap_or_default()));
    show(&format!("buyer  {} {buyer_before} → {buyer_after}", BUYER.address));
    show(&format!("seller {} +{} (the chain's own transfer: {:?})", PAYEE.address, paid.payee_delta, paid.transferred));
    show(&format!("the upstream saw {} request, with a payment in it: {}", paid.hits, paid.payment_leaked));

    say("3. The same payment again, on the same request and on another");
    let payment = paid.bought.payment().context("the client sent no payment")?.value.clone();
    stack.upstream.clear();
    let before = stack.chain.balance(PAYEE.address).await?;
    let same = scenario::send(stack, "GET", "/plain/after", Some(&payment)).await?;
    let other = scenario::send(stack, "GET", "/plain/users/7", Some(&payment)).await?;
    for (what, got) in [("same request", &same), ("another request", &other)] {
        show(&format!("{what}: {} {}", got.status, got.code()));
    }
    let replay_refused = [&same, &other].iter().all(|got| got.status == 409 && got.code() == "payment_used")
        && stack.upstream.hits().is_empty()
        && stack.chain.balance(PAYEE.address).await? == before;
    show(&format!("the upstream saw {} requests", stack.upstream.hits().len()));

    say("4. A paid request whose upstream fails");
    let failed = scenario::buy(stack, "/fail?status=500").await?;
    show(&format!("{} from the upstream, which saw {} request", failed.bought.status, failed.hits));
    show(&format!("charged: {} atomic units; settlements asked for: {}", failed.payee_delta, failed.asked.settle));

    let was_paid = is_paid(&paid);
    let charged =
        failed.payee_delta != 0 || failed.asked.settle != 0 || failed.bought.status != 500 || failed.hits != 1;
    say(if was_paid && replay_refused && !charged { "It holds." } else { "It does not hold." });
    Ok(Story {
        json: json!({
            "paid": was_paid,
            "transaction": paid.transaction,
            "price": PRICE,
            "payee_delta": paid.payee_delta,
            "replay_refused": replay_refused,
            "failed_upstream_charged": charged,
        }),
        good: was_paid && replay_refused && !charged && unpaid.status == 402,
    })
}

/// Whether a purchase was served, settled once on the chain for the price, and kept from the upstream.
pub(crate) fn is_paid(paid: &Paid) -> bool {
    paid.bought.status == 200
        && paid.hits == 1
        && !paid.payment_leaked
        && paid.payee_delta == PRICE
        && paid.transferred == Some(PRICE)
        && paid.transaction.len() == 66
}

fn challenge(got: &Got) -> Result<Value> {
    let Some(header) = got.headers.get("payment-required") else { bail!("no PAYMENT-REQUIRED in a {}", got.status) };
    Ok(serde_json::from_slice(&STANDARD.decode(header)?)?)
}

async fn keep(tools: &Tools, shop: &Shop) -> Result<()> {
    let stack = &shop.stack;
    say("Everything keeps running until Ctrl-C. Try:");
    show(&format!("curl -i {}", stack.url("/plain/after")));
    show(&format!("curl -i {}", stack.url("/plain/free")));
    show(&format!("curl -i -X DELETE {}", stack.url("/plain/dear")));
    show(&format!("curl -i '{}' --path-as-is", stack.url("/plain/../plain/after")));
    let payment = scenario::sign(stack, "/plain/users/42").await?;
    show("a payment for /plain/users/42, good for two minutes; send it twice:");
    show(&format!("curl -i {} -H 'PAYMENT-SIGNATURE: {payment}'", stack.url("/plain/users/42")));
    show(&format!("metrics: curl -s {}/stats/prometheus | grep farebox", stack.envoy.admin_url()));
    say("And a page on which an agent buys here, within limits that you set:");
    // What is there already stays, whatever becomes of the page.
    match open_page(tools, shop) {
        Ok(()) => show(&format!("open {}/", shop.site.origin())),
        Err(error) => show(&format!("the page could not be made: {error:#}")),
    }
    std::future::pending().await
}

/// Makes the page of `examples/browser-agent`, and serves it.
fn open_page(tools: &Tools, shop: &Shop) -> Result<()> {
    let package = build::package(tools)?;
    let workers = tools.workers(&|step| eprintln!("· {step}"))?;
    shop.open(&rig::browser::build_page(&workers, &package)?)
}

fn say(line: &str) {
    eprintln!("\n{line}");
}

fn show(line: &str) {
    for line in line.lines() {
        eprintln!("   {line}");
    }
}
