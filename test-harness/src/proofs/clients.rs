//! Official clients, unmodified, and payers that are contracts, through Envoy.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{add_routes, plan};
use crate::accounts::{BUYER, PAYEE};
use crate::chain::NETWORK;
use crate::clients::Client;
use crate::stack::{fault_policy, priced};
use crate::wallets::{Wallet, WalletKind};
use crate::{Bought, Buyer, Stack, Tools};

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    /// Every payer on every way to pay that it knows.
    pub rows: Vec<Row>,
}

/// One payer on one way to pay.
#[derive(Debug)]
pub struct Row {
    /// Who paid.
    pub who: String,
    /// How.
    pub how: &'static str,
    /// The purchase, or what went wrong.
    pub paid: Result<Paid>,
}

/// A purchase.
#[derive(Clone, Debug)]
pub struct Paid {
    /// Who got the receipt, as it says.
    pub payer: String,
    /// Atomic units that went from the payer to the payee.
    pub amount: u128,
    /// The transaction.
    pub transaction: String,
}

impl Figures {
    /// Whether everybody paid.
    pub fn holds(&self) -> bool {
        self.rows.len() == 14 && self.complaints().is_empty()
    }

    /// Who did not, and why.
    pub fn complaints(&self) -> Vec<String> {
        let failed = self.rows.iter().filter_map(|row| Some((row, row.paid.as_ref().err()?)));
        failed.map(|(row, error)| format!("{}, {}: {error:#}", row.who, row.how)).collect()
    }
}

/// A way to pay.
struct Way {
    name: &'static str,
    path: &'static str,
    /// Atomic units that it comes to.
    costs: u128,
    /// Where the receipt is.
    receipt: &'static str,
}

const EIP3009: Way =
    Way { name: "exact by EIP-3009", path: "/plain/eip3009", costs: 10_000, receipt: "payment-response" };
const PERMIT2: Way =
    Way { name: "exact by Permit2", path: "/plain/permit2", costs: 10_000, receipt: "payment-response" };
const UPTO: Way =
    Way { name: "upto $0.02, metered 7000", path: "/metered?charge=7000", costs: 7_000, receipt: "payment-response" };
const V1: Way = Way { name: "version 1", path: "/plain/v1", costs: 10_000, receipt: "x-payment-response" };

fn policy(origin: &str) -> Value {
    let mut policy = fault_policy(origin);
    // Some are slow at it: a wallet is made on the way.
    policy["facilitators"][0]["verify_timeout_seconds"] = json!(10);
    policy["facilitators"][0]["settle_timeout_seconds"] = json!(20);
    let offer = |price: &str, more: Value| {
        let mut offer = json!({ "price": price, "network": NETWORK, "max_timeout_seconds": 300 });
        if let (Some(offer), Value::Object(more)) = (offer.as_object_mut(), more) {
            offer.extend(more);
        }
        json!({ "offers": [offer] })
    };
    let mut v1 = offer("$0.01", json!({}));
    v1["v1"] = json!(true);
    add_routes(
        &mut policy,
        [
            priced("eip3009", "/plain/eip3009", offer("$0.01", json!({}))),
            priced("permit2", "/plain/permit2", offer("$0.01", json!({ "transfer_method": "permit2" }))),
            priced("v1", "/plain/v1", v1),
        ],
    );
    policy
}

/// Lets them all pay.
///
/// # Errors
/// If a part of the stack does not start. What goes wrong with one payer is in its row.
pub async fn clients(tools: &Tools, filter: &Path, env: &[(String, String)]) -> Result<Figures> {
    let stack = Stack::start(tools, plan(filter, policy, env)).await?;
    stack.chain.approve_permit2(BUYER.address, u128::MAX).await?;
    crate::scenario::offered(&stack.url("/metered")).await?;
    let mut rows = Vec::new();
    for client in Client::ALL {
        let ways: &[Way] = if client.reads(2) { &[EIP3009, PERMIT2, UPTO] } else { &[V1] };
        let buyer = client.start(tools, BUYER).await;
        for way in ways {
            let paid = match &buyer {
                Ok(buyer) => pay(&stack, buyer, way).await,
                Err(error) => Err(anyhow::anyhow!("{error:#}")),
            };
            rows.push(Row { who: client.name().to_owned(), how: way.name, paid });
        }
    }
    for kind in WalletKind::ALL {
        let paid = pay_from_wallet(tools, &stack, kind).await;
        rows.push(Row { who: format!("{kind:?} wallet"), how: EIP3009.name, paid });
    }
    Ok(Figures { rows })
}

async fn pay_from_wallet(tools: &Tools, stack: &Stack, kind: WalletKind) -> Result<Paid> {
    let wallet = Wallet::make(kind, &stack.chain, tools, EIP3009.costs).await?;
    let buyer = Buyer::start_for(tools, &wallet).await?;
    let paid = pay(stack, &buyer, &EIP3009).await?;
    ensure!(stack.chain.balance(&wallet.address).await? == 0, "the wallet still has something");
    Ok(paid)
}

async fn pay(stack: &Stack, buyer: &Buyer, way: &Way) -> Result<Paid> {
    let payer = buyer.address().to_lowercase();
    let before = stack.chain.balance(PAYEE.address).await?;
    let bought = buyer.get(stack.url(way.path)).await?;
    let Bought { status, body, headers, payment_response, .. } = &bought;
    ensure!(*status == 200 && body.contains("message"), "{status} {body} {headers:?}");
    ensure!(headers.contains_key(way.receipt), "no {} in {headers:?}", way.receipt);
    let receipt = payment_response.as_ref().context("no receipt that can be read")?;
    ensure!(receipt["success"] == true && receipt["network"].is_string(), "the receipt is {receipt}");
    let said = receipt["payer"].as_str().unwrap_or_default().to_owned();
    ensure!(said.to_lowercase() == payer, "the receipt names {said}, and {payer} has paid");
    let transaction = receipt["transaction"].as_str().unwrap_or_default().to_owned();
    let transfers = stack.chain.transfers_to(PAYEE.address).await?;
    let transfer = transfers.iter().find(|transfer| transfer.transaction == transaction && transfer.from == payer);
    let amount = transfer.context("no transfer under the transaction of the receipt")?.amount;
    let more = stack.chain.balance(PAYEE.address).await? - before;
    ensure!((amount, more) == (way.costs, way.costs), "transferred {amount}, the payee has {more} more");
    Ok(Paid { payer: said, amount, transaction })
}
