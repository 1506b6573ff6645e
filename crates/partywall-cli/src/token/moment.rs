//! Points in time as people write them.

use std::str::FromStr;

use partywall::Timestamp;

/// A point in time: RFC 3339 (`2026-01-31T12:00:00Z`) or seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Moment(pub(super) Timestamp);

/// A text was no point in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write it like 2026-01-31T12:00:00Z, or as seconds since 1970")]
pub(super) struct InvalidMoment;

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok(),
            false => rfc3339(text),
        };
        seconds.map(|seconds| Self(Timestamp(seconds))).ok_or(InvalidMoment)
    }
}

/// RFC 3339 5.6. A fraction is cut off; a leap second counts as the second before it.
fn rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let good = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let local =
        days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59);
    good.then(|| u64::try_from(local - offset(zone)?).ok())?
}

/// The seconds a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        (_, rest) => (-1, rest),
    };
    let [hours, minutes] = numbers(rest, ':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Exactly `N` numbers of so many digits each.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| good)?;
    }
    parts.next().is_none().then_some(found)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// In the proleptic Gregorian calendar. Years are counted from March, so that the day that is not
/// always there is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_to_month = (153 * month + 2) / 5;
    365 * year + leaps + days_to_month + day - 1 - 719_468
}

/// As RFC 3339, in UTC.
pub(super) fn in_utc(time: Timestamp) -> String {
    // Until the year 9999; later ones are nobody's.
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX).min(253_402_300_799);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The year by its mean length is right or one too far.
    let guess = 1970 + days * 400 / 146_097;
    let year = if days_since_1970(guess, 1, 1) > days { guess - 1 } else { guess };
    let year = if days_since_1970(year + 1, 1, 1) <= days { year + 1 } else { year };
    let mut left = days - days_since_1970(year, 1, 1);
    let mut month = 1;
    while left >= days_in(year, month) {
        left -= days_in(year, month);
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        text.parse::<Moment>().ok().map(|Moment(time)| time.0)
    }

    #[test]
    fn times_are_read_in_both_spellings() {
        for (text, expected) in [
            ("0", 0),
            ("1767225600", 1_767_225_600),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-01-01t00:00:00z", 1_767_225_600),
            ("2026-01-01 00:00:00.999Z", 1_767_225_600),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "now",
            "-1",
            "1.5",
            "99999999999999999999",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-1-1T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+24:00",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_day_is_written_as_it_is_read() {
        for day in 0..60_000 {
            let time = Timestamp(day * 86_400 + day % 86_400);
            assert_eq!(seconds(&in_utc(time)), Some(time.0), "{}", in_utc(time));
        }
        assert_eq!(in_utc(Timestamp(u64::MAX)), "9999-12-31T23:59:59Z");
    }
}
