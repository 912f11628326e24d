//! (Finding, policy) -> what is to be done. Pure and total: nothing is chosen after this.

use serde::{Deserialize, Serialize};

use super::request::Policy;
use crate::model::Timestamp;

/// What is to be done about an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OrphanPlan {
    /// Nothing: this mode does not delete.
    Keep,
    /// It may wait for its deletion.
    Delete,
    /// It is kept by a mode that deletes.
    Skip(SkipReason),
}

/// Why an orphan is kept by a mode that deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It has an active share link.
    ActiveShare,
    /// Its record is younger than was asked for.
    TooYoung,
    /// Its object is there again.
    Reappeared,
    /// Somebody has changed or deleted its record since it was read.
    Changed,
    /// No storage can be asked for its key, so that nobody can say "not found".
    Unaddressable,
    /// The storage did not say whether the object is there.
    Unanswered,
    /// The listing went back over its place.
    Hidden,
    /// Its name opens a file, but no directory lists it.
    Unlisted,
    /// The listing of its user was shown to lack objects that are there.
    ListingWrong,
    /// Its file was renamed, but somebody else's record has taken the place.
    Taken,
}

impl SkipReason {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveShare => "active_share",
            Self::TooYoung => "too_young",
            Self::Reappeared => "reappeared",
            Self::Changed => "changed",
            Self::Unaddressable => "unaddressable",
            Self::Unanswered => "unanswered",
            Self::Hidden => "hidden",
            Self::Unlisted => "unlisted",
            Self::ListingWrong => "listing_wrong",
            Self::Taken => "taken",
        }
    }
}

/// Decides about an orphan that is `protected` by an active share link, or not, and whose record was made at `made`
/// (`None` when that cannot be read: such a record counts as young).
pub(super) fn plan_orphan(protected: bool, made: Option<Timestamp>, policy: &Policy) -> OrphanPlan {
    let young = policy.made_before.is_some_and(|border| made.is_none_or(|made| made >= border));
    match (policy.deletes, protected, young) {
        (false, _, _) => OrphanPlan::Keep,
        (true, true, _) => OrphanPlan::Skip(SkipReason::ActiveShare),
        (true, false, true) => OrphanPlan::Skip(SkipReason::TooYoung),
        (true, false, false) => OrphanPlan::Delete,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::request::{Mode, Request};
    use super::*;

    #[test]
    fn the_table_of_orphans() {
        let now = Timestamp::from_micros(100_000_000);
        let (old, young) = (Some(Timestamp::from_micros(1)), Some(Timestamp::from_micros(99_000_000)));
        let aged = Duration::from_secs(10);
        use OrphanPlan::{Delete, Keep, Skip};
        use SkipReason::{ActiveShare, TooYoung};
        for (mode, min_age, protected, made, want) in [
            (Mode::Audit, aged, true, young, Keep),
            (Mode::Sync, aged, false, old, Keep),
            (Mode::Clean, Duration::ZERO, false, young, Delete),
            (Mode::Clean, Duration::ZERO, false, None, Delete),
            (Mode::Clean, Duration::ZERO, true, old, Skip(ActiveShare)),
            (Mode::Full, aged, true, young, Skip(ActiveShare)),
            (Mode::Full, aged, false, young, Skip(TooYoung)),
            (Mode::Full, aged, false, None, Skip(TooYoung)),
            (Mode::Full, aged, false, old, Delete),
        ] {
            let request = Request { force: true, min_age, ..Request::new(mode) };
            let policy = Policy::of(&request, now).unwrap();
            assert_eq!(plan_orphan(protected, made, &policy), want, "{mode} {min_age:?} {protected} {made:?}");
        }
    }
}
