//! Why a task could not be accepted, or not be told of.

use std::sync::Arc;

use thiserror::Error;

use crate::error::{Error, ErrorKind};
use crate::index::{Holder, IndexError};
use crate::reconcile::RequestError;

/// Why a task could not be accepted, or not be told of.
#[derive(Debug, Clone, Error)]
pub enum TaskError {
    /// The engine cannot do it.
    #[error("{0}")]
    Engine(Arc<Error>),
    /// The database does not answer, or not well.
    #[error("{}", .0.as_ref().map_or("the database does not answer yet".to_owned(), ToString::to_string))]
    NoIndex(Option<Arc<IndexError>>),
    /// The same `Idempotency-Key` was used for something else.
    #[error(
        "this Idempotency-Key was used with another body within the last 24 hours; use a new key for a new request"
    )]
    KeyReused,
    /// Nothing new is begun.
    #[error("the server is shutting down; ask again in a moment")]
    Closing,
    /// Too much is under way.
    #[error("too many tasks are waiting; ask again when some of them have ended")]
    TooMany,
    /// The task has ended, so it cannot be cancelled.
    #[error("task {0} has ended already: {1}")]
    Ended(String, String),
    /// Its findings are not here.
    #[error(
        "the findings of task {0} are not on this server: it was carried out elsewhere or too long ago, or there was no room \
         for them; run an audit again"
    )]
    NoFindings(String),
}

impl TaskError {
    /// Returns one stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.code(),
            Self::NoIndex(error) => error.as_ref().map_or("database_unavailable", |error| error.code()),
            Self::KeyReused => "idempotency_key_reused",
            Self::Closing => "shutting_down",
            Self::TooMany => "too_many_tasks",
            Self::Ended(..) => "task_ended",
            Self::NoFindings(_) => "findings_gone",
        }
    }

    /// Returns who holds the lease, if that is why.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Engine(error) => match error.as_ref() {
                Error::Index(IndexError::Held(holder)) => Some(holder),
                _ => None,
            },
            _ => None,
        }
    }

    /// Tells whether storage or database are at fault.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Engine(error) => error.kind() == ErrorKind::Failed,
            Self::NoIndex(_) => true,
            _ => false,
        }
    }
}

impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        Self::Engine(Arc::new(error))
    }
}

impl From<IndexError> for TaskError {
    fn from(error: IndexError) -> Self {
        Error::from(error).into()
    }
}

impl From<RequestError> for TaskError {
    fn from(error: RequestError) -> Self {
        Error::from(error).into()
    }
}
