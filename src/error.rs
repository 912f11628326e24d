//! One error for the whole library, one variant an operation; its kind maps once to an exit code.
//!
//! What goes wrong with a single entry during a run is no error: it is a problem in the run's report.

use thiserror::Error as ThisError;

use crate::index::IndexError;
use crate::reconcile::RequestError;
use crate::storage::{OpenError, Trouble};

/// Why an operation could not begin, or not be finished.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be carried out as it stands.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The storage cannot be opened.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// The storage does not answer.
    #[error("{}", .0.message)]
    Trouble(Trouble),
    /// The index cannot do it.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request's: nothing was changed, and it will fail again.
    Usage,
    /// Nobody's: another run is writing.
    Busy,
    /// The world's: storage or database.
    Failed,
}

impl Error {
    /// Returns one stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(e) => e.code(),
            Self::Storage(e) => e.code(),
            Self::Trouble(t) => t.code,
            Self::Index(e) => e.code(),
        }
    }

    /// Returns whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        if matches!(self, Self::Index(IndexError::Held(_))) {
            return ErrorKind::Busy;
        }
        let usage = match self {
            Self::Request(_) => true,
            Self::Storage(e) => e.is_usage(),
            Self::Trouble(_) => false,
            Self::Index(e) => e.is_usage(),
        };
        if usage { ErrorKind::Usage } else { ErrorKind::Failed }
    }
}
