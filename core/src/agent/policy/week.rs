//! Times of the week, to the minute.

use super::config::{Day, Times};

/// Minutes of a week.
const MINUTES: u64 = 7 * DAY;
const DAY: u64 = 24 * 60;
/// The first second of the Unix epoch was a Thursday's.
const EPOCH: u64 = 3 * DAY;

/// A set of minutes of the week, in UTC, from Monday's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct Week(Vec<u64>);

impl Week {
    /// The minutes of `times` on a clock that is `ahead` minutes ahead of UTC.
    ///
    /// # Errors
    /// The index of the entry that is wrong, its field, and what to write instead.
    pub(super) fn of(times: &[Times], ahead: i64) -> Result<Self, (usize, &'static str, String)> {
        let mut week = Self(vec![0; usize::try_from(MINUTES.div_ceil(64)).unwrap_or(0)]);
        for (index, times) in times.iter().enumerate() {
            let clock = |text: &Option<String>, field, default| match text {
                None => Ok(default),
                Some(text) => minute(text).ok_or((index, field, "write hours and minutes, like \"08:30\"".to_owned())),
            };
            let from = clock(&times.from, "from", 0)?;
            let to = clock(&times.to, "to", DAY)?;
            if from >= DAY {
                return Err((index, "from", "a time begins before 24:00".to_owned()));
            }
            let minutes = if to > from { to - from } else { to + DAY - from };
            let days = times.days.as_deref().unwrap_or(&ALL);
            if days.is_empty() {
                return Err((index, "days", "name a day, or leave it out for every day".to_owned()));
            }
            for day in days {
                let begin = *day as u64 * DAY + from;
                for minute in begin..begin + minutes {
                    // An offset is less than a day, so a week more keeps it positive.
                    let utc = (minute + MINUTES).saturating_add_signed(-ahead) % MINUTES;
                    week.set(utc);
                }
            }
        }
        Ok(week)
    }

    fn set(&mut self, minute: u64) {
        let word = usize::try_from(minute / 64).ok().and_then(|word| self.0.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (minute % 64);
        }
    }

    /// Whether `now` (Unix seconds) is in it.
    pub(in crate::agent) fn holds(&self, now: u64) -> bool {
        let minute = (now / 60 + EPOCH) % MINUTES;
        let word = usize::try_from(minute / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word >> (minute % 64) & 1 == 1)
    }

    /// Whether all of it is in `wider`.
    pub(super) fn within(&self, wider: &Self) -> bool {
        self.0.iter().zip(&wider.0).all(|(mine, its)| mine & !its == 0)
    }
}

const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

/// `08:30` as minutes; `24:00` is the end of a day.
fn minute(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |text: &str| (text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse::<u64>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0))).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(days: Option<Vec<Day>>, from: &str, to: &str) -> Times {
        Times { days, from: Some(from.to_owned()), to: Some(to.to_owned()) }
    }

    /// 2027-01-15 was a Friday; 1800000000 is 08:00 of it.
    const FRIDAY: u64 = 1_800_000_000;

    #[test]
    fn a_time_is_of_its_day_and_its_clock() {
        let office = Week::of(&[times(Some(vec![Day::Fri]), "08:00", "18:00")], 0).unwrap();
        assert!(office.holds(FRIDAY) && !office.holds(FRIDAY - 1) && !office.holds(FRIDAY + 10 * 3600));
        assert!(office.holds(FRIDAY + 10 * 3600 - 1) && !office.holds(FRIDAY + 86_400));
        // One hour ahead of UTC the day begins an hour earlier.
        let berlin = Week::of(&[times(Some(vec![Day::Fri]), "08:00", "18:00")], 60).unwrap();
        assert!(berlin.holds(FRIDAY - 3600) && !berlin.holds(FRIDAY + 9 * 3600));
    }

    #[test]
    fn a_time_may_pass_midnight_and_the_end_of_the_week() {
        let night = Week::of(&[times(Some(vec![Day::Sun]), "22:00", "06:00")], 0).unwrap();
        let sunday = FRIDAY + 2 * 86_400;
        assert!(night.holds(sunday + 14 * 3600) && night.holds(sunday + 21 * 3600) && !night.holds(sunday + 22 * 3600));
        let all = Week::of(&[Times { days: None, from: None, to: None }], -300).unwrap();
        assert!((0..7 * 24).all(|hour| all.holds(FRIDAY + hour * 3600)));
        assert!(night.within(&all) && !all.within(&night));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (from, to) in [("8:00", "18:00"), ("08:60", "18:00"), ("24:00", "18:00"), ("08:00", "25:00"), ("", "1")] {
            assert!(Week::of(&[times(None, from, to)], 0).is_err(), "{from} {to}");
        }
        assert_eq!(Week::of(&[times(Some(vec![]), "08:00", "09:00")], 0).unwrap_err().1, "days");
    }
}
