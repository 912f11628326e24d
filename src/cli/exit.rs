//! How the program ends, and the one line that says why.

use std::process::ExitCode;

use super::output;
use crate::config::ConfigError;
use crate::error::{Error, ErrorKind};
use crate::index::IndexError;
use crate::reconcile::{Mode, Report, RequestError, Status};

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// An audit or a dry run found drift.
    Drift = 1,
    /// Bad usage.
    Usage = 2,
    /// A guard refused.
    Refused = 3,
    /// Incomplete, or failed.
    Failed = 4,
    /// Another run is writing.
    Busy = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Says how a run ended: the first that applies, from the gravest on.
    pub(super) fn of(report: &Report) -> Self {
        let looked_only = report.mode == Mode::Audit || report.dry_run;
        if report.status != Status::Successful || !report.problems.is_empty() || !report.incomplete_users.is_empty() {
            Self::Failed
        } else if report.refusal.is_some() {
            Self::Refused
        } else if looked_only && report.tally.has_drift() {
            Self::Drift
        } else {
            Self::Done
        }
    }
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Says so on stderr, and returns the exit code.
    pub(super) fn tell(self) -> Exit {
        output::complain(&self.message);
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Busy => Exit::Busy,
            ErrorKind::Failed => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Error::from(error).into()
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Error::from(error).into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{Refusal, RefusalCode, Tally};

    #[test]
    fn the_gravest_that_applies_decides() {
        let drift = Tally { missing: 1, ..Tally::default() };
        let refusal = || Some(Refusal { code: RefusalCode::TooManyDeletions, message: String::new() });
        for (mode, dry_run, tally, refusal, problem, want) in [
            (Mode::Audit, false, Tally::default(), None, false, Exit::Done),
            (Mode::Audit, false, drift, None, false, Exit::Drift),
            (Mode::Audit, false, Tally { orphaned: 1, ..Tally::default() }, None, false, Exit::Drift),
            (Mode::Audit, false, Tally { stale: 1, ..Tally::default() }, None, false, Exit::Drift),
            (Mode::Audit, false, Tally { unclaimed: 1, unindexable: 1, ..Tally::default() }, None, false, Exit::Done),
            (Mode::Sync, false, drift, None, false, Exit::Done),
            (Mode::Sync, true, drift, None, false, Exit::Drift),
            (Mode::Full, true, drift, refusal(), false, Exit::Refused),
            (Mode::Full, false, drift, refusal(), true, Exit::Failed),
            (Mode::Audit, false, drift, None, true, Exit::Failed),
        ] {
            let mut report = Report::new(mode, dry_run);
            (report.tally, report.refusal) = (tally, refusal);
            if problem {
                report.note("x", "x", None);
            }
            assert_eq!(Exit::of(&report), want, "{report:?}");
        }
        let mut report = Report::new(Mode::Sync, false);
        report.incomplete_users.push(1);
        assert_eq!(Exit::of(&report), Exit::Failed);
    }
}
