//! Coinbase Spend Permissions (`SpendPermissionManager`).

use super::{Frame, Imported, LONGEST, NotImported, Rules, not, number, read, seconds};
use crate::agent::money::{self, AccountId, AssetId};
use serde_json::{Value, json};

/// The token address that stands for the chain's own currency (ERC-7528).
const NATIVE: [u8; 20] = [0xee; 20];

/// A Spend Permission as a policy: as the SDK gives it (`{permission, chainId, …}`), or its typed data (`{domain,
/// message}`).
///
/// | permission | policy |
/// |---|---|
/// | `token` | the one of `assets` |
/// | `allowance`, `period`, `start` | a budget with a fixed window |
/// | `start`, `end` | `not_before`, `not_after` |
/// | `account` | the account that pays |
///
/// # Errors
/// [`NotImported`].
pub fn spend_permission(grant: &[u8], frame: &Frame) -> Result<Imported, NotImported> {
    let grant = read(grant)?;
    let (says, chain, at) = match (grant.get("permission"), grant.get("message")) {
        (Some(says), None) => (says, grant.get("chainId"), "permission"),
        (None, Some(says)) => (says, grant.pointer("/domain/chainId"), "message"),
        _ => return Err(not("", "found neither `permission` nor `message`, or both")),
    };
    let chain = chain.and_then(seconds).filter(|chain| *chain > 0).ok_or_else(|| not("chainId", "no chain id"))?;
    let address = |name: &str| {
        let text = says.get(name).and_then(Value::as_str).unwrap_or_default();
        money::evm(text).map_err(|hint| not(format!("{at}.{name}"), hint))
    };
    let time = |name: &str| {
        says.get(name).and_then(seconds).ok_or_else(|| not(format!("{at}.{name}"), "not a whole number of seconds"))
    };
    let token = address("token")?;
    if token == NATIVE {
        return Err(not(format!("{at}.token"), "the chain's own currency is not paid in here"));
    }
    let allowance = says.get("allowance").and_then(number).filter(|allowance| *allowance > 0);
    let allowance = allowance.ok_or_else(|| {
        not(format!("{at}.allowance"), "not an amount, or one without bound: write a budget of your own")
    })?;
    let (period, start, end) = (time("period")?, time("start")?, time("end")?);
    if period == 0 || start >= end {
        return Err(not(format!("{at}.period"), "a permission that is never good"));
    }
    let mut rules = Rules { name: "Coinbase Spend Permission", ..Rules::default() };
    let text = rules.token(AssetId { chain, address: token }, frame, &format!("{at}.token"))?;
    rules.account = Some(AccountId { chain, address: address("account")? }.to_string());
    rules.budgets.push(match period {
        1..=LONGEST => json!({
            "name": "allowance", "max": text(allowance), "seconds": period, "window": "fixed", "start": start,
        }),
        _ => json!({ "name": "allowance", "max": text(allowance) }),
    });
    rules.from(start);
    // The longest time that the contract can write means for ever.
    if end < (1 << 48) - 1 {
        rules.until(end);
    }
    let spender = address("spender")?;
    rules.notes.push(format!("spender {}: whoever carries out the spending on chain", money::checksummed(&spender)));
    rules.finish(frame)
}
