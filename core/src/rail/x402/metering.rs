//! What an `upto` payment is charged: the upstream says so in `Settlement-Overrides`, never more than the ceiling.
//!
//! Source: x402.md §3.5; the same forms as the official SDK's `resolveSettlementOverrideAmount`.

use crate::http::Headers;
use crate::json;
use serde_json::Value;

/// Name of the upstream's response header. It never reaches a client.
pub const HEADER: &str = "settlement-overrides";

/// Atomic units to charge of `ceiling`, in an asset with so many decimal places, and why the header was not followed
/// if it was not. A header that cannot be followed charges the ceiling, as the official SDK does.
#[must_use]
pub fn charge(headers: &Headers, ceiling: u128, decimals: Option<u8>) -> (u128, Option<&'static str>) {
    let mut values = headers.all(HEADER);
    let Some(value) = values.next() else { return (ceiling, None) };
    if values.next().is_some() {
        return (ceiling, Some("it came more than once"));
    }
    match read(value, ceiling, decimals) {
        Ok(amount) if amount <= ceiling => (amount, None),
        Ok(_) => (ceiling, Some("it is above the ceiling")),
        Err(why) => (ceiling, Some(why)),
    }
}

fn read(value: &[u8], ceiling: u128, decimals: Option<u8>) -> Result<u128, &'static str> {
    const SHAPE: &str = "it is not {\"amount\": \"1000\"}, \"33.33%\" or \"$0.05\"";
    let json = json::parse(value, 1024, 8).map_err(|_| SHAPE)?;
    let amount = json.get("amount").and_then(Value::as_str).ok_or(SHAPE)?;
    if let Some(percent) = amount.strip_suffix('%') {
        let hundredths = fixed(percent, 2, false).ok_or(SHAPE)?;
        return Ok(share(ceiling, hundredths));
    }
    if let Some(dollars) = amount.strip_prefix('$') {
        let decimals = decimals.ok_or("it is in dollars, and the asset's decimals are not known")?;
        return fixed(dollars, usize::from(decimals), true).ok_or(SHAPE);
    }
    if amount.contains('.') {
        return Err(SHAPE);
    }
    fixed(amount, 0, false).ok_or(SHAPE)
}

/// A decimal number in units of `10^-places`; further places are cut off, or not allowed. As large as `u128` goes.
fn fixed(text: &str, places: usize, cut: bool) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let point_alone = cut && text.ends_with('.');
    if whole.is_empty() || point_alone || !digits(whole) || !digits(fraction) || (!cut && fraction.len() > places) {
        return None;
    }
    let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(places);
    Some(
        whole
            .bytes()
            .chain(padded)
            .fold(0u128, |sum, c| sum.saturating_mul(10).saturating_add(u128::from(c.wrapping_sub(b'0')))),
    )
}

/// `hundredths` of a percent of `ceiling`, rounded down.
fn share(ceiling: u128, hundredths: u128) -> u128 {
    const WHOLE: u128 = 10_000;
    let of_whole = (ceiling / WHOLE).saturating_mul(hundredths);
    let of_rest = (ceiling % WHOLE).saturating_mul(hundredths) / WHOLE;
    of_whole.saturating_add(of_rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(value: &str, ceiling: u128, decimals: Option<u8>) -> (u128, bool) {
        let headers: Headers = [("Settlement-Overrides", value)].into_iter().collect();
        let (amount, warning) = charge(&headers, ceiling, decimals);
        (amount, warning.is_some())
    }

    #[test]
    fn the_three_forms_of_the_official_sdk_are_understood() {
        for (amount, charged) in [
            ("1000", 1000),
            ("0", 0),
            ("007", 7),
            ("20000", 20_000),
            ("50%", 10_000),
            ("33.33%", 6666),
            ("33.%", 6600),
            ("0%", 0),
            ("0.01%", 2),
            ("100%", 20_000),
            ("$0.005", 5000),
            ("$0.0000019", 1),
            ("$0", 0),
        ] {
            let header = format!(r#"{{"amount":"{amount}"}}"#);
            assert_eq!(said(&header, 20_000, Some(6)), (charged, false), "{amount}");
        }
        assert_eq!(charge(&Headers::default(), 20_000, Some(6)), (20_000, None));
        assert_eq!(said(r#"{"amount":"33.33%"}"#, u128::MAX, None).0, u128::MAX / 10_000 * 3333 + 1455 * 3333 / 10_000);
    }

    #[test]
    fn what_cannot_be_followed_charges_the_ceiling_and_says_so() {
        for header in [
            "",
            "1000",
            "{}",
            r#"{"amount":1000}"#,
            r#"{"amount":""}"#,
            r#"{"amount":"-1"}"#,
            r#"{"amount":"+1"}"#,
            r#"{"amount":" 1"}"#,
            r#"{"amount":"1e3"}"#,
            r#"{"amount":"1.5"}"#,
            r#"{"amount":"1."}"#,
            r#"{"amount":"0x10"}"#,
            r#"{"amount":"33.333%"}"#,
            r#"{"amount":"%"}"#,
            r#"{"amount":"$"}"#,
            r#"{"amount":"$1."}"#,
            r#"{"amount":"$.5"}"#,
            r#"{"amount":"1","amount":"2"}"#,
            r#"{"amount":"20001"}"#,
            r#"{"amount":"100.01%"}"#,
            r#"{"amount":"$0.020001"}"#,
            r#"{"amount":"99999999999999999999999999999999999999999999999999"}"#,
        ] {
            assert_eq!(said(header, 20_000, Some(6)), (20_000, true), "{header}");
        }
        assert_eq!(said(r#"{"amount":"$0.01"}"#, 20_000, None), (20_000, true));
        let twice: Headers = [(HEADER, r#"{"amount":"1"}"#), (HEADER, r#"{"amount":"2"}"#)].into_iter().collect();
        assert_eq!(charge(&twice, 20_000, Some(6)).0, 20_000);
    }

    proptest! {
        #[test]
        fn nothing_an_upstream_says_charges_more_than_the_ceiling(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                r#"\{"amount":"[$]?[0-9]{0,45}[.]?[0-9]{0,20}%?"\}"#.prop_map(String::into_bytes),
            ],
            ceiling in any::<u128>(),
            decimals in proptest::option::of(any::<u8>()),
        ) {
            let mut headers = Headers::default();
            headers.push(HEADER.as_bytes(), &value);
            let (amount, _) = charge(&headers, ceiling, decimals);
            prop_assert!(amount <= ceiling);
        }
    }
}
