//! Dates and times as ISO 8601 writes them, as far as mandates use it: `2026-12-01`, `2026-12-01T08:00:00Z`,
//! `2026-12-01T08:00:00.5+01:00`.

/// The Unix seconds at which a day or moment begins, and at which it is over.
pub(super) fn read(text: &str) -> Option<(u64, u64)> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let midnight = days(year, month, day).checked_mul(86_400)?;
    let Some(time) = time else { return Some((midnight, midnight.checked_add(86_400)?)) };
    let (clock, offset) = if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        (clock, 0)
    } else {
        let at = time.rfind(['+', '-'])?;
        let (clock, offset) = time.split_at_checked(at)?;
        let (hours, minutes) = offset.get(1..)?.split_once(':')?;
        let offset_seconds = i64::try_from(digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60).ok()?;
        (clock, if offset.starts_with('-') { -offset_seconds } else { offset_seconds })
    };
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, rest)| (clock, Some(rest)));
    if fraction.is_some_and(|fraction| fraction.is_empty() || !fraction.bytes().all(|c| c.is_ascii_digit())) {
        return None;
    }
    let mut parts = clock.split(':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 || offset.abs() > 86_400 {
        return None;
    }
    let local = i64::try_from(midnight + hour * 3600 + minute * 60 + second).ok()?;
    let moment = u64::try_from(local.checked_sub(offset)?).ok()?;
    Some((moment.checked_add(u64::from(fraction.is_some()))?, moment))
}

fn digits(text: &str, length: usize) -> Option<u64> {
    (text.len() == length && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

fn leaps(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leaps(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|year| if leaps(year) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn moments_are_read_and_nothing_else_is() {
        let day = 1_796_083_200; // 2026-12-01T00:00:00Z
        assert_eq!(read("2026-12-01"), Some((day, day + 86_400)));
        assert_eq!(read("2026-12-01T00:00:00Z"), Some((day, day)));
        assert_eq!(read("2026-12-01T01:00:00+01:00"), Some((day, day)));
        assert_eq!(read("2026-11-30T19:00:00.25-05:00"), Some((day + 1, day)));
        assert_eq!(read("2000-02-29"), Some((951_782_400, 951_868_800)));
        for wrong in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-12-1",
            "2026-12-01T",
            "2026-12-01T00:00:00",
            "2026-12-01T24:00:00Z",
            "2026-12-01T00:00Z",
            "2026-12-01T00:00:00.Z",
            "1969-12-31",
            "12026-01-01",
            "2026-12-01T00:00:00+1:00",
            "2026-12-01T00:00:00+99:00",
            "+026-12-01",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
