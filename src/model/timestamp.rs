//! Times as the index compares them: whole microseconds, UTC.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A moment in whole microseconds since 1970, within the years 1 to 9999 that every database can write down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// 0001-01-01T00:00:00Z and the last microsecond of 9999: beyond them a text form no longer sorts or parses.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// Makes a moment from `micros` since 1970, clamped into the years that can be written down.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(FIRST, LAST))
    }

    /// Makes a moment from whole seconds and nanoseconds, as a file system tells them.
    pub fn from_unix(seconds: i64, nanos: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos.div_euclid(1_000)))
    }

    /// Returns the microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Returns the moment as `chrono` has it.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Returns the text that SeaORM writes into SQLite, e.g. `2026-11-23T08:54:54.123456+00:00`.
    pub fn to_text(self) -> String {
        self.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, false)
    }

    /// Reads a database's text: RFC 3339, or what SQLite's own functions read: a date alone, or with a time
    /// (`2026-11-23 08:54[:54[.123456]]`) and an offset; without one it is UTC. `None` when it is no time at all.
    pub fn from_text(text: &str) -> Option<Self> {
        if let Some(fast) = read_canonical(text.as_bytes()) {
            return Some(fast);
        }
        if !begins_with_date(text.as_bytes()) {
            return None;
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(time.to_utc().into());
        }
        let zoned = |format: &&str| DateTime::parse_from_str(text, format).ok().map(|time| time.to_utc());
        let plain = |format: &&str| NaiveDateTime::parse_from_str(text, format).ok().map(|time| time.and_utc());
        let date = || Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN).and_utc());
        ZONED.iter().find_map(zoned).or_else(|| PLAIN.iter().find_map(plain)).or_else(date).map(Self::from)
    }
}

/// How times with an offset are written, and how those without one are.
const ZONED: [&str; 8] = [
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f %#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f %#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d %H:%M %#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%dT%H:%M %#z",
];
const PLAIN: [&str; 4] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];

/// Tells whether `text` begins with a date in all its digits; the general parsers would take `2026-1-1` as well, which no
/// database reads as a time.
fn begins_with_date(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| if matches!(at, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() };
    text.len() >= 10 && text[..10].iter().enumerate().all(fits)
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self::from_micros(time.timestamp_micros())
    }
}

/// Reads exactly what [`Timestamp::to_text`] writes, several times faster than the general parser: an index in sync
/// has one such text a record.
fn read_canonical(text: &[u8]) -> Option<Timestamp> {
    let body = text.strip_suffix(b"+00:00")?;
    let (date, fraction) = match body.len() {
        19 => (body, &[][..]),
        21..=26 if body[19] == b'.' => (&body[..19], &body[20..]),
        _ => return None,
    };
    if date[4] != b'-' || date[7] != b'-' || date[10] != b'T' || date[13] != b':' || date[16] != b':' {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |sum, d| d.is_ascii_digit().then(|| sum * 10 + i64::from(d - b'0')))
    };
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..10])?);
    let (hour, minute, second) = (number(&date[11..13])?, number(&date[14..16])?, number(&date[17..19])?);
    // Anything unusual (a leap second, the 29th of February) is left to the general parser, which knows the calendar.
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=28).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = number(fraction)? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
    // Days from 1970 by Howard Hinnant's `days_from_civil` (http://howardhinnant.github.io/date_algorithms.html).
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    Some(Timestamp((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for micros in [0, 1, -1, 1_000_000, 1_764_000_000_123_456, -62_135_596_800_000_000, LAST, 951_782_400_000_000] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from_text(&time.to_text()), Some(time), "{}", time.to_text());
        }
        assert_eq!(Timestamp::from_text(&Timestamp::from_micros(i64::MAX).to_text()), Some(Timestamp(LAST)));
    }

    #[test]
    fn the_fast_path_agrees_with_the_calendar() {
        for step in 0..200_000_i64 {
            let time = Timestamp::from_micros(step * 86_399_123_457 * 7);
            let text = time.to_text();
            let slow = DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros();
            assert_eq!(Timestamp::from_text(&text).unwrap().micros(), slow, "{text}");
        }
    }

    #[test]
    fn other_programs_texts_are_understood() {
        let want = Some(Timestamp::from_micros(1_763_888_094_500_000));
        for text in [
            "2025-11-23 08:54:54.5",
            "2025-11-23T08:54:54.5Z",
            "2025-11-23T09:54:54.500+01:00",
            "2025-11-23 08:54:54.500000+00:00",
            "2025-11-23 08:54:54.5 +00:00",
        ] {
            assert_eq!(Timestamp::from_text(text), want, "{text}");
        }
        let want = Some(Timestamp::from_micros(1_763_888_040_000_000));
        for text in [
            "2025-11-23 08:54",
            "2025-11-23T08:54",
            "2025-11-23 08:54Z",
            "2025-11-23 09:54+01:00",
            "2025-11-23T09:54 +01:00",
            "2025-11-23T08:54:00",
        ] {
            assert_eq!(Timestamp::from_text(text), want, "{text}");
        }
        assert_eq!(Timestamp::from_text("1970-01-02"), Some(Timestamp::from_micros(86_400_000_000)));
        for text in [
            "",
            "yesterday",
            "1763888094",
            "2025-13-01T00:00:00+00:00",
            "2025-02-30T00:00:00+00:00",
            "2025-02-30",
            "2025-2-3",
            "2025-1-1 8:54",
            "2025-11-23 08",
            "2025-11-23 08:54 or so",
            "-infinity",
        ] {
            assert_eq!(Timestamp::from_text(text), None, "{text}");
        }
    }
}
