//! Prices: from what an operator writes to atomic units, exactly or not at all.

/// Why a price has no exact number of atomic units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceError {
    /// Not digits with at most one point between them.
    Shape,
    /// More decimal places than the asset has; it would have to be rounded.
    TooFine {
        /// Places in the price.
        places: usize,
    },
    /// Nothing to pay.
    Zero,
    /// Over `u128`.
    TooLarge,
}

/// `text`, a decimal number like `0.01`, in units of `10^-decimals`.
///
/// # Errors
/// [`PriceError`]. The official SDK rounds down instead, so that a seller of `$0.0000001` gives the call away.
pub fn atomic(text: &str, decimals: u8) -> Result<u128, PriceError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let point_alone = text.ends_with('.');
    if whole.is_empty()
        || point_alone
        || !digits(whole)
        || !digits(fraction)
        || (whole.len() > 1 && whole.starts_with('0'))
    {
        return Err(PriceError::Shape);
    }
    let missing =
        usize::from(decimals).checked_sub(fraction.len()).ok_or(PriceError::TooFine { places: fraction.len() })?;
    let zeros = std::iter::repeat_n(b'0', missing);
    let units = whole
        .bytes()
        .chain(fraction.bytes())
        .chain(zeros)
        .try_fold(0u128, |sum, c| sum.checked_mul(10)?.checked_add(u128::from(c - b'0')));
    match units {
        None => Err(PriceError::TooLarge),
        Some(0) => Err(PriceError::Zero),
        Some(units) => Ok(units),
    }
}

/// `amount` atomic units in units of the asset, as short as it can be written exactly: `0.01`.
#[must_use]
pub fn decimal(amount: u128, decimals: u8) -> String {
    let places = usize::from(decimals);
    // Most amounts fit, and twice as wide a number takes many times as long.
    let digits = u64::try_from(amount).map_or_else(|_| amount.to_string(), |amount| amount.to_string());
    let mut text = String::with_capacity(digits.len() + places + 2);
    let (whole, fraction) = match digits.len().checked_sub(places) {
        None | Some(0) => ("0", digits.as_str()),
        Some(whole) => digits.split_at_checked(whole).unwrap_or((&digits, "")),
    };
    text.push_str(whole);
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        text.push('.');
        text.extend(std::iter::repeat_n('0', places.saturating_sub(digits.len())));
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{PriceError, atomic, decimal};

    #[test]
    fn prices_are_exact_or_refused() {
        assert_eq!(atomic("0.01", 6), Ok(10_000));
        assert_eq!(atomic("1", 6), Ok(1_000_000));
        assert_eq!(atomic("0.000001", 6), Ok(1));
        assert_eq!(atomic("1.50", 18), Ok(1_500_000_000_000_000_000));
        assert_eq!(atomic("0.0000001", 6), Err(PriceError::TooFine { places: 7 }));
        assert_eq!(atomic("0.00", 6), Err(PriceError::Zero));
        assert_eq!(atomic("340282366920938463463374607431768211455", 0), Ok(u128::MAX));
        assert_eq!(atomic("340282366920938463463374607431768211456", 0), Err(PriceError::TooLarge));
        for wrong in ["", ".", ".5", "1.", "0,01", "-1", "+1", "1e3", "1_000", " 1", "01", "1.2.3", "$1", "١"] {
            assert_eq!(atomic(wrong, 6), Err(PriceError::Shape), "{wrong}");
        }
    }

    #[test]
    fn amounts_read_as_they_were_written() {
        for (amount, decimals, text) in
            [(10_000, 6, "0.01"), (1_000_000, 6, "1"), (1, 18, "0.000000000000000001"), (7, 0, "7")]
        {
            assert_eq!(decimal(amount, decimals), text);
            assert_eq!(atomic(text, decimals), Ok(amount));
        }
    }
}
