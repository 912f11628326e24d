//! Why a run has to stop in the middle.

use thiserror::Error;

use super::cancel::CancelReason;
use super::cursor::CursorError;
use crate::index::IndexError;

/// Why a run had to stop.
#[derive(Debug, Error)]
pub(super) enum Stop {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Cursor(#[from] CursorError),
    #[error(transparent)]
    Cancelled(#[from] CancelReason),
    #[error("the deletions that wait cannot be kept on disk: {0}; make room where temporary files go (TMPDIR)")]
    Queue(#[from] std::io::Error),
}

impl Stop {
    /// Returns one stable word for it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Index(e) => e.code(),
            Self::Cursor(e) => e.code(),
            Self::Cancelled(reason) => reason.code(),
            Self::Queue(_) => "queue_failed",
        }
    }
}
