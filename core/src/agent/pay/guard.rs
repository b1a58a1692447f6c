//! What else an agent may be asked to sign: nothing, but for payments that it decided on itself.
//!
//! A wallet that takes typed data from a page or a model asks here first. The answer is for data that this engine did
//! not make: a closed list of shapes is known, every other one is refused, and of those known only what cannot give
//! away more than a bounded amount to a known contract.

use crate::agent::money;
use crate::agent::policy::Policy;
use crate::rail::x402::permit2::PERMIT2;
use serde_json::Value;
use std::fmt;

/// Why typed data must not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is not typed data, or not of a shape that is known here.
    UnknownType,
    /// It is a payment: the engine makes those itself, once it has decided.
    Payment,
    /// It lets others take an amount without bound, or more than the policy allows at once.
    Unlimited,
    /// It lets somebody else than Permit2 take money.
    Spender,
    /// The token is not one that the policy lists, or is described otherwise.
    Asset,
    /// It is good for too long.
    Validity,
}

impl Refused {
    /// The code on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::Payment => "payment",
            Self::Unlimited => "unlimited",
            Self::Spender => "spender",
            Self::Asset => "asset",
            Self::Validity => "validity",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownType => "it is not typed data of a known shape",
            Self::Payment => "payments are made by the engine alone",
            Self::Unlimited => "it gives away more than the policy allows at once",
            Self::Spender => "it lets somebody take money who is not Permit2",
            Self::Asset => "its token is not one that the policy lists",
            Self::Validity => "it is good for too long",
        })
    }
}

impl std::error::Error for Refused {}

/// Whether typed data (`eth_signTypedData_v4`) that somebody else made may be signed.
///
/// The one shape that may is EIP-2612's `Permit` to Permit2, which Permit2 needs once: for a token that the policy
/// lists, for at most the highest cap in its unit, and for no longer than a payment.
///
/// # Errors
/// [`Refused`].
pub fn typed_data(policy: &Policy, data: &Value, now: u64) -> Result<(), Refused> {
    match data.get("primaryType").and_then(Value::as_str) {
        Some("Permit") => permit(policy, data, now),
        Some(
            "TransferWithAuthorization"
            | "ReceiveWithAuthorization"
            | "PermitWitnessTransferFrom"
            | "PermitTransferFrom"
            | "PermitBatchTransferFrom",
        ) => Err(Refused::Payment),
        // Permit2's own allowances have no bound in time that could be seen here.
        Some("PermitSingle" | "PermitBatch") => Err(Refused::Unlimited),
        _ => Err(Refused::UnknownType),
    }
}

fn permit(policy: &Policy, data: &Value, now: u64) -> Result<(), Refused> {
    let fields = data.pointer("/types/Permit").and_then(Value::as_array).ok_or(Refused::UnknownType)?;
    let fields: Vec<(&str, &str)> =
        fields.iter().filter_map(|field| Some((field.get("name")?.as_str()?, field.get("type")?.as_str()?))).collect();
    let known = [
        ("owner", "address"),
        ("spender", "address"),
        ("value", "uint256"),
        ("nonce", "uint256"),
        ("deadline", "uint256"),
    ];
    if fields != known {
        return Err(Refused::UnknownType);
    }
    let (domain, message) =
        (data.get("domain").ok_or(Refused::UnknownType)?, data.get("message").ok_or(Refused::UnknownType)?);
    let address = |value: Option<&Value>| value.and_then(Value::as_str).and_then(|text| money::evm(text).ok());
    if address(message.get("spender")) != Some(PERMIT2) {
        return Err(Refused::Spender);
    }
    let chain = domain.get("chainId").and_then(integer).and_then(|chain| u64::try_from(chain).ok());
    let token = address(domain.get("verifyingContract"));
    let (Some(chain), Some(token)) = (chain, token) else { return Err(Refused::Asset) };
    let asset = policy.asset(&money::AssetId { chain, address: token }).ok_or(Refused::Asset)?;
    let named = |name: &str| domain.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some((name, version)) = &asset.domain
        && (named("name").as_ref() != Some(name) || named("version").as_ref() != Some(version))
    {
        return Err(Refused::Asset);
    }
    let value =
        message.get("value").and_then(integer).and_then(|value| asset.counted(value)).ok_or(Refused::Unlimited)?;
    let most = policy.caps.iter().filter(|cap| cap.says.unit == value.unit).map(|cap| cap.says.amount).max();
    if most.is_none_or(|most| value.amount > most) {
        return Err(Refused::Unlimited);
    }
    let deadline = message.get("deadline").and_then(integer).ok_or(Refused::Validity)?;
    if deadline > u128::from(now.saturating_add(policy.max_validity)) {
        return Err(Refused::Validity);
    }
    Ok(())
}

/// An integer as wallets write it: a number, decimal digits, or hexadecimal ones after `0x`.
fn integer(value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u128::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}
