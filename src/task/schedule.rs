//! When the standing audit is made again: after a while, or by a calendar.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use thiserror::Error;

use crate::clock;
use crate::model::Timestamp;

/// When something is done again.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// So long after the last time.
    Every(Duration),
    /// When the calendar says so, in UTC.
    Calendar(Box<Cron>),
}

/// Not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Neither a duration nor a calendar.
    #[error(
        "{0:?} is no schedule; write a duration of a second or more, e.g. 6h, or a cron expression, e.g. '0 3 * * *' (UTC)"
    )]
    Unreadable(String),
    /// A calendar without a day.
    #[error("{0:?} never comes; write a cron expression of a day that there is, e.g. '0 3 1 * *' (UTC)")]
    Never(String),
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        if let Ok(every) = humantime::parse_duration(text) {
            return if every < Duration::from_secs(1) {
                Err(ScheduleError::Unreadable(text.to_owned()))
            } else {
                Ok(Self::Every(every))
            };
        }
        let cron = Cron::from_str(text).map_err(|_| ScheduleError::Unreadable(text.to_owned()))?;
        let calendar = Self::Calendar(Box::new(cron));
        if calendar.next().is_none() { Err(ScheduleError::Never(text.to_owned())) } else { Ok(calendar) }
    }
}

impl Schedule {
    /// Returns how long after now it is time again; `None` for a calendar that has no such day.
    pub fn next(&self) -> Option<Duration> {
        self.after(clock::now())
    }

    /// Returns how old an audit may be that another server has made for the same time.
    pub fn slack(&self) -> Duration {
        match self {
            Self::Every(every) => *every - *every / 10,
            Self::Calendar(_) => Duration::from_millis(500),
        }
    }

    fn after(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Every(every) => Some(*every),
            Self::Calendar(cron) => {
                let now = now.to_utc();
                let next = cron.find_next_occurrence(&now, false).ok()?;
                // Not a moment too early, or it would be the same time again.
                (next - now).to_std().ok().map(|wait| wait.max(Duration::from_millis(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_calendars_are_schedules() {
        let noon = Timestamp::from_text("2026-11-23T12:00:00+00:00").unwrap();
        for (text, hours) in [("6h", 6), ("0 3 * * *", 15), ("@daily", 12), ("30m 30m", 1)] {
            assert_eq!(
                text.parse::<Schedule>().unwrap().after(noon),
                Some(Duration::from_secs(hours * 3_600)),
                "{text}"
            );
        }
        for bad in ["", "6", "0s", "10ms", "often", "61 * * * *"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        let never = "0 0 30 2 *".parse::<Schedule>().unwrap_err();
        assert!(matches!(never, ScheduleError::Never(_)), "{never}");
    }

    #[test]
    fn no_duration_is_too_long() {
        for (text, slack) in
            [("10s", Duration::from_secs(9)), ("500000000000y", Duration::from_secs(14_200_920_000_000_000_000))]
        {
            assert_eq!(text.parse::<Schedule>().unwrap().slack(), slack, "{text}");
        }
    }
}
