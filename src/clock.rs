//! The only place that asks what time it is.

use chrono::{DateTime, Utc};

use crate::model::Timestamp;

/// Returns the time now.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::from(Utc::now())
}

/// The clock that a run goes by: the one of this machine, or one that is a fixed time ahead of it or behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    ahead_micros: i64,
}

impl Clock {
    /// Returns a clock that is `micros` microseconds ahead of the machine's, or behind it if negative.
    pub fn ahead_by(micros: i64) -> Self {
        Self { ahead_micros: micros }
    }

    /// Returns the time by this clock.
    pub fn now(self) -> Timestamp {
        Timestamp::from_micros(now().micros().saturating_add(self.ahead_micros))
    }
}

/// Returns the time now as `chrono` has it, in the whole microseconds that the index keeps.
pub fn now_utc() -> DateTime<Utc> {
    now().to_utc()
}
