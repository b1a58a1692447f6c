//! The fault matrix: what goes wrong × when the money moves × who asks again, and for each cell who was charged, what
//! was served and which status. What must come out is in `vectors/money.json`, written by hand; here it is only tried.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::accounts::{BUYER, PAYEE};
use crate::scenario::{self, Got};
use crate::stack::{Scene, Stack};
use crate::{Fault, Operation};

/// One row: a fault, and the cells that must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What goes wrong, by the names of [`Trouble::named`].
    pub fault: String,
    /// `after` or `before`.
    pub settle: String,
    /// How it is paid; `eip3009` where it is empty.
    #[serde(default)]
    pub pay: Pay,
    /// The first try.
    pub first: String,
    /// The same payment again.
    pub same: String,
    /// A new payment of the same payer for the same request, made instead of the second try.
    pub new: String,
    /// That payment, the same or the new one, once more when the fault is over; where it is empty, nobody tries.
    #[serde(default)]
    pub later: String,
}

/// A way to pay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pay {
    /// `exact` by EIP-3009.
    #[default]
    Eip3009,
    /// `exact` by Permit2.
    Permit2,
    /// `upto`, of which half is charged.
    Upto,
}

/// The rows of `vectors/money.json`.
///
/// # Errors
/// If the file is not there or not as its README says.
pub fn rows() -> Result<Vec<Row>> {
    read_rows("money.json")
}

/// The rows of a file in `vectors/`.
pub(crate) fn read_rows(file: &str) -> Result<Vec<Row>> {
    let file = crate::tools::workspace_dir().join("test-harness/vectors").join(file);
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

/// What came of one row.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The row.
    pub row: Row,
    /// What came of the first try, the second, and the new payment.
    pub cells: [Cell; 3],
    /// What came of the second and of the new payment when the fault was over, where the row says what should.
    pub later: Vec<Cell>,
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Status; 0 if no response came.
    pub status: u16,
    /// `served`, or the problem code, or `failed` for a failure that is not ours, or `nothing`.
    pub got: String,
    /// Atomic units that the payee had more afterwards, as a multiple of the price.
    pub charged: u128,
}

impl Cell {
    /// What a response, if there was one, and a charge come to.
    pub fn of(got: Option<&Got>, charged: u128) -> Self {
        let (status, got) = match got {
            None => (0, "nothing".to_owned()),
            Some(got) if got.status == 200 && !got.broken => (200, "served".to_owned()),
            Some(got) if got.code().is_empty() => (got.status, "failed".to_owned()),
            Some(got) => (got.status, got.code()),
        };
        Self { status, got, charged }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} +{}", self.status, self.got, self.charged)
    }
}

impl Row {
    /// What it is called in tables and complaints.
    pub fn name(&self) -> String {
        let paid = match self.pay {
            Pay::Eip3009 => "",
            Pay::Permit2 => ", Permit2",
            Pay::Upto => ", upto",
        };
        format!("{} / {}{paid}", self.fault, self.settle)
    }
}

impl Tried {
    /// What is wrong with it: cells that differ from the table, and money rules broken whatever the table says.
    pub fn complaints(&self) -> Vec<String> {
        let name = self.row.name();
        let mut complaints = Vec::new();
        let wanted = [("first", &self.row.first), ("same", &self.row.same), ("new", &self.row.new)];
        for ((which, wanted), cell) in wanted.into_iter().zip(&self.cells) {
            if cell.to_string() != *wanted {
                complaints.push(format!("{name}, {which}: {cell}, not {wanted}"));
            }
        }
        for (which, cell) in ["same", "new"].into_iter().zip(&self.later) {
            if cell.to_string() != self.row.later {
                complaints.push(format!("{name}, {which}, later: {cell}, not {}", self.row.later));
            }
            if cell.charged > 1 {
                complaints.push(format!("{name}, {which}, later: charged twice"));
            }
        }
        let [first, same, new] = &self.cells;
        let served = |cell: &Cell| u128::from(cell.got == "served");
        if first.charged + same.charged > 1 {
            complaints.push(format!("{name}: one payment charged twice"));
        }
        if served(first) + served(same) > first.charged + same.charged {
            complaints.push(format!("{name}: served unpaid"));
        }
        if first.charged == 1 && served(first) == 0 {
            if served(same) == 0 {
                complaints.push(format!("{name}: charged, and the same payment does not get it back"));
            }
            if new.charged > 0 {
                complaints.push(format!("{name}: charged again while the first payment is undelivered"));
            }
            if first.status == 402 {
                complaints.push(format!("{name}: an unknown settlement answered with 402"));
            }
        }
        if served(first) + served(new) > first.charged + new.charged {
            complaints.push(format!("{name}: served unpaid to a new payment"));
        }
        complaints
    }
}

/// What is done to a stack around a first try.
pub enum Trouble {
    /// The facilitator misbehaves.
    Facilitator(Operation, Vec<Fault>),
    /// The payer cancels the authorization on the chain while the upstream works.
    Cancelled,
    /// The client leaves while this is under way; `None`: the upstream.
    Gone(Option<Operation>),
    /// The client leaves while its settlement waits for a block; both other tries come before that block, and once more
    /// after it.
    GoneBeforeTheBlock,
}

impl Trouble {
    /// The fault of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self> {
        let late = Duration::from_millis(500);
        let (operation, rest) = match name.split_once(": ") {
            Some(("verify", rest)) => (Operation::Verify, rest),
            Some(("settle", rest)) => (Operation::Settle, rest),
            Some(("client gone", "settle, no block yet")) => return Ok(Self::GoneBeforeTheBlock),
            Some(("client gone", "verify")) => return Ok(Self::Gone(Some(Operation::Verify))),
            Some(("client gone", "settle")) => return Ok(Self::Gone(Some(Operation::Settle))),
            Some(("client gone", "upstream")) => return Ok(Self::Gone(None)),
            _ if name == "cancelled meanwhile" => return Ok(Self::Cancelled),
            _ => bail!("no fault {name:?}"),
        };
        let fault = match rest {
            "nothing wrong" => return Ok(Self::Facilitator(operation, Vec::new())),
            "late" => Fault::delay(late),
            "no answer" => Fault::dropped(),
            "no answer, done" => Fault::dropped().after_the_work(),
            "reset" => Fault::reset(),
            "reset, done" => Fault::answer_lost(),
            "500" => Fault::server_error(500),
            "500, done" => Fault::server_error(500).after_the_work(),
            "429" => Fault::too_many_requests(Duration::from_secs(1)),
            "html" => Fault::html(200),
            "{}" => Fault::empty_object(),
            "{}, done" => Fault::empty_object().after_the_work(),
            "truncated" => Fault::truncated(20),
            "wrong network" => Fault::wrong_network(),
            "wrong payer" => Fault::wrong_payer(),
            "text booleans" => Fault::text_booleans(operation),
            "no transaction" => Fault::without_transaction(),
            "a megabyte" => Fault::megabyte(),
            "refused" if operation == Operation::Verify => Fault::refused("insufficient_funds"),
            "refused" => Fault::not_settled("insufficient_funds"),
            "pending once" => Fault::pending(),
            "pending for ever" => Fault::pending().times(2),
            "a third party was first" => Fault::settled_by_a_third_party(),
            _ => bail!("no fault {name:?}"),
        };
        Ok(Self::Facilitator(operation, vec![fault]))
    }
}

/// Tries one row on a stack with [`crate::stack::fault_policy`]; `number` makes its requests its own.
///
/// # Errors
/// If the rig itself fails.
pub async fn try_row(stack: &Scene, row: &Row, number: usize) -> Result<Tried> {
    let path = |run: &str| {
        let slow = row.fault == "cancelled meanwhile" || row.fault == "client gone: upstream";
        match (row.pay, row.settle.as_str(), slow) {
            (Pay::Upto, ..) => format!("/metered?charge=10000&run={run}{number}"),
            (Pay::Permit2, "before", _) => format!("/plain/permit2/before/{run}{number}"),
            (Pay::Permit2, ..) => format!("/plain/permit2/after/{run}{number}"),
            (Pay::Eip3009, "before", _) => format!("/plain/prepaid/{run}{number}"),
            (Pay::Eip3009, _, true) => format!("/slow?ms=800&run={run}{number}"),
            (Pay::Eip3009, ..) => format!("/plain/users/{run}{number}"),
        }
    };
    if row.pay != Pay::Eip3009 {
        stack.chain.approve_permit2(BUYER.address, u128::MAX).await?;
    }
    let again = path("a");
    ready(stack, &again).await?;
    let payment = scenario::sign(stack, &again).await?;
    let first = cell(stack, first_try(stack, row, &again, &payment)).await?;
    ready(stack, &again).await?;
    let same = cell(stack, answer(stack, &again, &payment)).await?;
    let mut later = Vec::new();
    if !row.later.is_empty() {
        later.push(cell(stack, when_over(stack, &again, &payment)).await?);
    }

    let anew = path("b");
    let payment = scenario::sign(stack, &anew).await?;
    let other_first = cell(stack, first_try(stack, row, &anew, &payment)).await?;
    if other_first != first {
        bail!("{}: the first try came out as {first}, then as {other_first}", row.fault);
    }
    ready(stack, &anew).await?;
    let payment = scenario::sign(stack, &anew).await?;
    let new = cell(stack, answer(stack, &anew, &payment)).await?;
    if !row.later.is_empty() {
        later.push(cell(stack, when_over(stack, &anew, &payment)).await?);
    }
    Ok(Tried { row: row.clone(), cells: [first, same, new], later })
}

/// Ends what [`Trouble::GoneBeforeTheBlock`] began, and sends the payment once more as soon as its outcome is known.
async fn when_over(stack: &Scene, path: &str, payment: &str) -> Result<Option<Got>> {
    stack.chain.set_automine(true).await?;
    stack.chain.mine(1).await?;
    for _ in 0..50 {
        let got = scenario::send(stack, "GET", path, Some(payment)).await?;
        if got.code() != "outcome_unknown" {
            return Ok(Some(got));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("{path}: the outcome stays unknown")
}

/// Waits until the gate offers something for `path` again: a facilitator that said 429 is left alone for a while.
pub(crate) async fn ready(stack: &Scene, path: &str) -> Result<()> {
    crate::process::wait_for("an offer", Duration::from_secs(15), || async {
        let got = scenario::send(stack, "GET", path, None).await.ok()?;
        (got.status == 402).then_some(())
    })
    .await
}

/// What a try came to, with what the payee had more after it.
async fn cell(stack: &Scene, attempt: impl Future<Output = Result<Option<Got>>>) -> Result<Cell> {
    let before = stack.chain.balance(PAYEE.address).await?;
    let got = attempt.await?;
    let charged = (stack.chain.balance(PAYEE.address).await? - before) / 10_000;
    Ok(Cell::of(got.as_ref(), charged))
}

async fn answer(stack: &Scene, path: &str, payment: &str) -> Result<Option<Got>> {
    scenario::send(stack, "GET", path, Some(payment)).await.map(Some)
}

async fn first_try(stack: &Scene, row: &Row, path: &str, payment: &str) -> Result<Option<Got>> {
    let got = match Trouble::named(&row.fault)? {
        Trouble::Facilitator(operation, faults) => {
            stack.facilitator.set_faults(operation, &faults).await?;
            answer(stack, path, payment).await?
        }
        Trouble::Cancelled => {
            let upstream = stack.upstream.hold(without_query(path));
            let meanwhile = async {
                upstream.arrived(PATIENCE).await?;
                cancel(stack, payment).await?;
                drop(upstream);
                anyhow::Ok(())
            };
            let (got, cancelled) = tokio::join!(answer(stack, path, payment), meanwhile);
            cancelled?;
            got?
        }
        Trouble::Gone(None) => {
            let upstream = stack.upstream.hold(without_query(path));
            leave(stack, path, payment, upstream.arrived(PATIENCE)).await?;
            drop(upstream);
            tokio::time::sleep(LATE).await;
            None
        }
        Trouble::Gone(Some(operation)) => {
            stack.facilitator.set_faults(operation, &[Fault::delay(LATE)]).await?;
            let before = calls(stack, operation).await?;
            leave(stack, path, payment, called(stack, operation, before)).await?;
            tokio::time::sleep(LATE * 2).await;
            None
        }
        Trouble::GoneBeforeTheBlock => {
            stack.chain.set_automine(false).await?;
            let before = calls(stack, Operation::Settle).await?;
            let sent = async {
                called(stack, Operation::Settle, before).await?;
                crate::process::wait_for("the settlement's transaction", PATIENCE, || async {
                    stack.chain.waiting_transactions().await.ok().filter(|waiting| *waiting > 0)
                })
                .await?;
                Ok(())
            };
            leave(stack, path, payment, sent).await?;
            None
        }
    };
    for operation in [Operation::Verify, Operation::Settle] {
        stack.facilitator.set_faults(operation, &[]).await?;
    }
    Ok(got)
}

/// How late an answer is that a client does not wait for.
const LATE: Duration = Duration::from_millis(600);
/// How long anything may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a request, and leaves as soon as `moment` has come.
async fn leave(stack: &Scene, path: &str, payment: &str, moment: impl Future<Output = Result<()>>) -> Result<()> {
    let address = stack.origin.strip_prefix("http://").context("not plain HTTP")?;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\npayment-signature: {payment}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    tokio::select! {
        answer = stream.read_u8() => bail!("the response came before the client left: {answer:?}"),
        come = moment => come,
    }?;
    reset(&stream)
}

/// Has the connection reset when it is dropped: a client that has only said all it will say is not one that has left,
/// and workerd does not take it for one.
///
/// # Errors
/// If the system refuses.
pub(crate) fn reset(stream: &impl AsFd) -> Result<()> {
    Ok(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?)
}

/// How often this was called so far.
async fn calls(stack: &Scene, operation: Operation) -> Result<u64> {
    let counts = stack.facilitator.counts().await?;
    Ok(match operation {
        Operation::Verify => counts.verify,
        Operation::Settle => counts.settle,
        Operation::Supported => counts.supported,
    })
}

/// Waits until this was called more often than `before`.
async fn called(stack: &Scene, operation: Operation, before: u64) -> Result<()> {
    let more = || async { calls(stack, operation).await.ok().filter(|calls| *calls > before) };
    crate::process::wait_for("the call", PATIENCE, more).await?;
    Ok(())
}

/// The nonce of a payment header.
///
/// # Errors
/// If it is not an EIP-3009 payment.
pub fn nonce_of(payment: &str) -> Result<String> {
    let nonce = payload(payment)?["authorization"]["nonce"].as_str().map(str::to_owned);
    nonce.context("not an EIP-3009 payment")
}

/// What the scheme defines of a payment header.
fn payload(payment: &str) -> Result<serde_json::Value> {
    use base64::Engine;
    let mut json: serde_json::Value =
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payment)?)?;
    Ok(json["payload"].take())
}

/// Has the payer take back a payment on the chain.
async fn cancel(stack: &Scene, payment: &str) -> Result<()> {
    if let Some(permit) = payload(payment)?.get("permit2Authorization") {
        let nonce = permit["nonce"].as_str().context("no nonce")?;
        stack.chain.cancel_permit2_nonce(BUYER.address, nonce).await?;
        return Ok(());
    }
    let nonce = nonce_of(payment)?;
    let signature = stack.buyer.sign_cancellation(&nonce).await?;
    stack.chain.cancel_authorization(BUYER.address, &nonce, &signature).await?;
    Ok(())
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// Whether the gate's records and the chain agree: every settled claim has its transfer, and every transfer its claim.
///
/// # Errors
/// If a part of the stack does not answer.
pub async fn balance_of_books(stack: &Stack) -> Result<BTreeMap<&'static str, u64>> {
    let stats = stack.envoy.stats().await?;
    let claims = |state: &str| {
        stats
            .iter()
            .filter(|(name, _)| name.ends_with(&format!("farebox_claims_total.state.{state}")))
            .map(|(_, n)| n)
            .sum()
    };
    let transfers = stack.chain.transfers_to(PAYEE.address).await?.len() as u64;
    Ok(BTreeMap::from([("settled", claims("settled")), ("unknown", claims("unknown")), ("transfers", transfers)]))
}
