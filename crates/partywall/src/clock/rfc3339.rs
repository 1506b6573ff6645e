//! Points in time as text.

use super::Timestamp;

impl Timestamp {
    /// Reads RFC 3339 5.6, with any offset. A fraction is cut off; a leap second counts as the
    /// second before it. `None` when it is none, or lies before 1970.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
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
        let seconds = good.then(|| u64::try_from(local - offset(zone)?).ok())?;
        seconds.map(Self)
    }

    /// Writes RFC 3339 in UTC: `2026-01-31T12:00:00Z`. Years end with 9999.
    pub fn to_rfc3339(self) -> String {
        // Until the year 9999; later ones are nobody's.
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX).min(253_402_300_799);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_written_as_it_is_read() {
        for day in 0..60_000 {
            let time = Timestamp(day * 86_400 + day % 86_400);
            let text = time.to_rfc3339();
            assert_eq!(Timestamp::from_rfc3339(&text), Some(time), "{text}");
        }
        assert_eq!(Timestamp(u64::MAX).to_rfc3339(), "9999-12-31T23:59:59Z");
    }
}
