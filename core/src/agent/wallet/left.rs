//! What is left of a token.

use crate::http::Headers;
use crate::proof::fields::{Bare, Dictionary, Item, Member, joined};
use crate::receipt::Amount;
use crate::token::{Chain, Per, Unit};
use serde::{Deserialize, Serialize};

/// Name of the response header that says what is left.
const HEADER: &str = "farebox-remaining";

/// What is left of one budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// `call`, `byte` or a CAIP-19 asset.
    pub unit: String,
    /// How much of it; for an asset, atomic units.
    pub amount: Amount,
}

/// What a token is good for when nothing was used: for each unit the least of its links.
pub(in crate::agent) fn limits(chain: &Chain) -> Vec<Left> {
    let mut left: Vec<Left> = Vec::new();
    let limits = chain.links().flat_map(|link| &link.token.grants).flat_map(|grant| &grant.limits);
    for limit in limits.filter(|limit| limit.per == Per::Token) {
        match left.iter_mut().find(|known| known.unit == limit.unit.wire()) {
            Some(known) => known.amount.0 = known.amount.0.min(limit.max),
            None => left.push(Left { unit: limit.unit.wire().to_owned(), amount: Amount(limit.max) }),
        }
    }
    left
}

/// What a response says is left; `None` if it says nothing that can be read.
///
/// The one member whose name is fixed by RFC 9651 and cannot be a CAIP-19 id is `amount`, with the asset as a parameter.
pub(super) fn told(headers: &Headers) -> Option<Vec<Left>> {
    let text = joined(headers, HEADER)?;
    let told = Dictionary::parse(&text).ok()?;
    let mut left = Vec::new();
    for (name, member) in told.iter() {
        let Member::Item(Item { value: Bare::Integer(amount), parameters }) = member else { return None };
        let unit = match (name, parameters.get("asset")) {
            ("amount", Some(Bare::String(asset))) => Unit::from_wire(asset)?,
            (name, None) => Unit::from_wire(name)?,
            _ => return None,
        };
        left.push(Left { unit: unit.wire().to_owned(), amount: Amount(u128::try_from(*amount).ok()?) });
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_as_the_gate_writes_it() {
        let asset = "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
        let read = |text: &str| told(&[(HEADER, text)].into_iter().collect());
        let left = |unit: &str, amount| Left { unit: unit.to_owned(), amount: Amount(amount) };
        assert_eq!(
            read(&format!("call=199, amount=4990000;asset=\"{asset}\", byte=0")),
            Some(vec![left("call", 199), left(asset, 4_990_000), left("byte", 0)])
        );
        for wrong in
            ["call", "call=-1", "call=1.5", "amount=1", "amount=1;asset=usd", "calls=1", "call=1, call=2", "x=("]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(told(&Headers::default()), None);
    }
}
