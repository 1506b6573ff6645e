//! `xs:dateTime`, as SAML writes it: UTC.

use std::time::{Duration, SystemTime};

/// Reads `2026-01-31T12:00:00Z`, with or without a fraction, between the years 1970 and 9999.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (year, rest) = date.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (hour, rest) = time.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    let (second, fraction) = match second.split_once('.') {
        Some((second, fraction)) => (second, nanoseconds(fraction)?),
        None => (second, 0),
    };

    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    let exists = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !exists {
        return None;
    }
    let years: u64 = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum();
    let months: u64 = (1..month).map(|m| days_in(year, m)).sum();
    let days = years + months + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, fraction))
}

/// Writes it with whole seconds. A time before 1970 is taken for 1970.
pub(crate) fn format(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while let Some(rest) = days.checked_sub(if leap(year) { 366 } else { 365 }) {
        (days, year) = (rest, year + 1);
    }
    let mut month = 1;
    while let Some(rest) = days.checked_sub(days_in(year, month)) {
        (days, month) = (rest, month + 1);
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let numeric = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| text.parse().ok())?
}

/// What is finer than a nanosecond is cut off.
fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        parse(text).map(|t| t.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64())
    }

    #[test]
    fn s09_times_in_utc_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T23:59:59Z", 951_868_799.0),
            ("2026-11-25T13:50:00.5Z", 1_795_614_600.5),
            ("2038-01-19T03:14:08.000Z", 2_147_483_648.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for text in [
            "1970-01-01T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "2000-02-29T00:00:01Z",
            "2100-03-01T12:30:00Z",
            "2028-12-31T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        let half = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        assert_eq!(format(half), "1970-01-01T00:00:01Z");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(before), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn s09_other_times_are_not() {
        for text in [
            "",
            "2026-11-25T13:50:00",
            "2026-11-25T13:50:00+00:00",
            "2026-11-25 13:50:00Z",
            "2026-02-29T13:50:00Z",
            "2026-13-01T13:50:00Z",
            "2026-11-00T13:50:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T13:50:60Z",
            "2026-11-25T13:50:00.Z",
            "2026-11-25T13:50:00.1e3Z",
            "26-11-25T13:50:00Z",
            "+026-11-25T13:50:00Z",
            "12026-11-25T13:50:00Z",
            " 2026-11-25T13:50:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
