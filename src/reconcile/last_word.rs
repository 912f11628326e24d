//! The last word on a run: how it ended, which gives its lease back as it is written down.

use super::report::{Report, Status};
use crate::error::Error;
use crate::index::{IndexError, Lease};

/// How a run ended, and what became of the word on it.
pub(crate) type Ran = (Result<Report, Error>, LastWord);

/// What became of the last word.
#[derive(Debug)]
pub(crate) enum LastWord {
    /// It is written down, and the lease was given back with it.
    Said,
    /// Whoever has asked for the run writes it down: it has no lease, or none any more.
    Owed,
    /// It could not be written down, and the lease is held until it is.
    Unsaid(Lease, IndexError),
}

/// Notes that somebody else has taken over: however well the run went, for all who look it has failed.
pub(crate) fn lose_lease(report: &mut Report) {
    let lost = IndexError::LeaseLost;
    report.status = Status::Failed;
    if !report.problems.iter().any(|problem| problem.code == lost.code()) {
        report.note_always(lost.code(), lost.to_string());
    }
}
