//! The only place that asks what time it is.

use chrono::{DateTime, Utc};

use crate::model::Timestamp;

/// Returns the time now.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Timestamp {
    Timestamp::from(Utc::now())
}

/// Returns the time now as `chrono` has it, in the whole microseconds that the index keeps.
pub fn now_utc() -> DateTime<Utc> {
    now().to_utc()
}
