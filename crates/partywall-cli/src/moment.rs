//! Points in time as people write them.

use std::str::FromStr;

use partywall::Timestamp;

/// A point in time: RFC 3339 (`2026-01-31T12:00:00Z`) or seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moment(pub(crate) Timestamp);

/// A text was no point in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write it like 2026-01-31T12:00:00Z, or as seconds since 1970")]
pub(crate) struct InvalidMoment;

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok().map(Timestamp),
            false => Timestamp::from_rfc3339(text),
        };
        time.map(Self).ok_or(InvalidMoment)
    }
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
}
