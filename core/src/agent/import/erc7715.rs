//! ERC-7715 permissions, as wallets answer them.

use super::{Frame, Imported, LONGEST, NotImported, Rules, not, number, read, seconds};
use crate::agent::money::{self, AccountId, AssetId};
use serde_json::{Value, json};

/// Seconds of the window that a stream is cut into.
const STREAM_WINDOW: u64 = 3600;

/// A permission as a policy: what the wallet has answered to `wallet_requestExecutionPermissions`, which may be wider or
/// narrower than what was asked, or to its predecessor `wallet_grantPermissions`.
///
/// | permission | policy |
/// |---|---|
/// | `erc20-token-periodic`: `periodAmount`, `periodDuration`, `startTime` | a budget with a fixed window |
/// | `erc20-token-stream`: `amountPerSecond`, `startTime` | a budget of an hour's amount in any hour, from an hour after the start on, so that never more is spent than has accrued; `initialAmount` is given up |
/// | `erc20-token-stream`: `maxAmount` | a budget for the policy's life |
/// | `erc20-token-transfer` (older): `allowance` | a budget for the policy's life |
/// | rule `expiry`; `expiry` (older) | `not_after` |
/// | policy `call-limit` (older): `count` | a number of calls |
/// | policy `rate-limit` (older): `count`, `interval` | a number of calls in a rolling window |
/// | policy `gas-limit` (older) | nothing: facilitators pay the gas of what is paid here |
/// | `from`, `address` | the account that pays |
///
/// # Errors
/// [`NotImported`]; also for every rule and type that is not listed here.
pub fn erc7715(grant: &[u8], frame: &Frame) -> Result<Imported, NotImported> {
    let grant = read(grant)?;
    let chain = grant.get("chainId").and_then(seconds).filter(|chain| *chain > 0);
    let chain = chain.ok_or_else(|| not("chainId", "no chain id"))?;
    let mut rules = Rules { name: "ERC-7715 permission", ..Rules::default() };
    permission(&grant, chain, frame, &mut rules)?;
    let account = grant.get("from").or_else(|| grant.get("address")).and_then(Value::as_str);
    if let Some(account) = account {
        let address = money::evm(account).map_err(|hint| not("from", hint))?;
        rules.account = Some(AccountId { chain, address }.to_string());
    }
    if let Some(expiry) = grant.get("expiry") {
        rules.until(seconds(expiry).ok_or_else(|| not("expiry", "not a time in Unix seconds"))?);
    }
    for (index, rule) in list(&grant, "rules")?.iter().enumerate() {
        let at = format!("rules[{index}]");
        let (kind, says) = typed(rule, &at)?;
        match kind {
            "expiry" => {
                let time = says.get("timestamp").and_then(seconds);
                rules.until(time.ok_or_else(|| not(format!("{at}.data.timestamp"), "not a time in Unix seconds"))?);
            }
            _ => return Err(not(format!("{at}.type"), "a rule that is not known here")),
        }
    }
    for (index, policy) in list(&grant, "policies")?.iter().enumerate() {
        let at = format!("policies[{index}]");
        let (kind, says) = typed(policy, &at)?;
        let count = |name: &str| {
            let count = says.get(name).and_then(seconds).filter(|count| *count > 0);
            count.ok_or_else(|| not(format!("{at}.data.{name}"), "not a whole number above 0"))
        };
        match kind {
            "call-limit" => rules.calls.push(json!({ "name": format!("limit{index}"), "max": count("count")? })),
            "rate-limit" => {
                let (calls, interval) = (count("count")?, count("interval")?.min(LONGEST));
                rules.calls.push(json!({ "name": format!("rate{index}"), "max": calls, "seconds": interval }));
            }
            "gas-limit" => rules.notes.push("gas-limit: facilitators pay the gas of what is paid here".to_owned()),
            _ => return Err(not(format!("{at}.type"), "a policy that is not known here")),
        }
    }
    if rules.not_after.is_none() {
        return Err(not("rules", "a permission without an expiry: import one that ends"));
    }
    rules.finish(frame)
}

fn permission(grant: &Value, chain: u64, frame: &Frame, rules: &mut Rules) -> Result<(), NotImported> {
    const AT: &str = "permission.data";
    let permission = grant.get("permission").ok_or_else(|| not("permission", "missing"))?;
    let (kind, says) = typed(permission, "permission")?;
    let amount = |name: &str| {
        let amount = says.get(name).and_then(number).filter(|amount| *amount > 0);
        amount.ok_or_else(|| {
            not(format!("{AT}.{name}"), "not an amount, or one without bound: write a budget of your own")
        })
    };
    let time = |name: &str| match says.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(time) => seconds(time).ok_or_else(|| not(format!("{AT}.{name}"), "not a time in Unix seconds")),
    };
    let given = |name: &str| says.get(name).is_some_and(|value| !value.is_null());
    let address = if kind == "erc20-token-transfer" { "address" } else { "tokenAddress" };
    let token = |rules: &mut Rules| {
        let text = says.get(address).and_then(Value::as_str).unwrap_or_default();
        let token = money::evm(text).map_err(|hint| not(format!("{AT}.{address}"), hint))?;
        rules.token(AssetId { chain, address: token }, frame, &format!("{AT}.{address}"))
    };
    match kind {
        "erc20-token-periodic" => {
            let text = token(rules)?;
            let (max, period, start) = (amount("periodAmount")?, time("periodDuration")?, time("startTime")?);
            rules.budgets.push(match period {
                0 => return Err(not(format!("{AT}.periodDuration"), "missing, or 0")),
                1..=LONGEST => json!({
                    "name": "period", "max": text(max), "seconds": period, "window": "fixed", "start": start,
                }),
                _ => json!({ "name": "period", "max": text(max) }),
            });
            rules.from(start);
        }
        "erc20-token-stream" => {
            let text = token(rules)?;
            let hourly = amount("amountPerSecond")?.checked_mul(STREAM_WINDOW.into());
            let hourly = hourly.ok_or_else(|| not(format!("{AT}.amountPerSecond"), "an amount without bound"))?;
            let start = time("startTime")?;
            if start == 0 {
                return Err(not(format!("{AT}.startTime"), "missing: what has accrued cannot be told"));
            }
            rules.budgets.push(json!({ "name": "stream", "max": text(hourly), "seconds": STREAM_WINDOW }));
            if given("maxAmount") {
                rules.budgets.push(json!({ "name": "total", "max": text(amount("maxAmount")?) }));
            }
            if given("initialAmount") {
                rules.notes.push("initialAmount: given up".to_owned());
            }
            rules.from(start.saturating_add(STREAM_WINDOW));
        }
        "erc20-token-transfer" => {
            let text = token(rules)?;
            rules.budgets.push(json!({ "name": "allowance", "max": text(amount("allowance")?) }));
        }
        _ => return Err(not("permission.type", "not a permission to spend an ERC-20 token")),
    }
    Ok(())
}

/// The members `type` and `data` of something.
fn typed<'v>(value: &'v Value, at: &str) -> Result<(&'v str, &'v Value), NotImported> {
    let kind = value.get("type").and_then(Value::as_str).ok_or_else(|| not(format!("{at}.type"), "not a text"))?;
    let data = value.get("data").filter(|data| data.is_object());
    Ok((kind, data.ok_or_else(|| not(format!("{at}.data"), "not an object"))?))
}

fn list<'v>(grant: &'v Value, name: &str) -> Result<&'v [Value], NotImported> {
    match grant.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(not(name, "not a list")),
    }
}
