//! What a database may say that is worth asking again: it was somebody else's turn, or the connection went away.

use std::time::Duration;

use sea_orm::sqlx::{Error as SqlxError, error::DatabaseError};
use sea_orm::{DbErr, RuntimeErr};

use super::error::IndexError;

/// How often one thing is tried in all.
const TRIES: u32 = 6;

/// How often something has been tried.
#[derive(Debug, Default)]
pub(super) struct Patience {
    tried: u32,
}

impl Patience {
    /// Tells whether what ended in `error` should be tried again, after a pause that grows.
    ///
    /// Only for what has certainly not happened: a commit that was not confirmed is another error.
    pub(super) async fn again(&mut self, error: &IndexError) -> bool {
        self.again_if(error, is_transient).await
    }

    /// As [`Patience::again`], also for what looks first whether a place is free, and then found it taken.
    pub(super) async fn again_or_taken(&mut self, error: &IndexError) -> bool {
        self.again_if(error, |cause| is_transient(cause) || is_duplicate(cause)).await
    }

    async fn again_if(&mut self, error: &IndexError, is_worth_it: impl Fn(&DbErr) -> bool) -> bool {
        self.tried += 1;
        let (IndexError::Read(cause) | IndexError::Write(cause)) = error else { return false };
        if self.tried >= TRIES || !is_worth_it(cause) {
            return false;
        }
        tracing::warn!(%error, tried = self.tried, "the database is asked again");
        tokio::time::sleep(Duration::from_millis(50 << self.tried)).await;
        true
    }
}

/// Tells whether somebody else has taken a place in the very moment between the look at it and the write.
pub(super) fn is_duplicate(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
}

/// Says what the end of a transaction came to: whether a commit that broke off has happened nobody knows.
pub(super) fn unconfirmed(error: DbErr) -> IndexError {
    if is_transient(&error) { IndexError::Unconfirmed(error) } else { IndexError::Write(error) }
}

/// Tells whether the same could succeed in a moment.
pub(super) fn is_transient(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(e))
    | DbErr::Exec(RuntimeErr::SqlxError(e))
    | DbErr::Query(RuntimeErr::SqlxError(e))) = error
    else {
        return false;
    };
    match e.as_ref() {
        SqlxError::Io(_) | SqlxError::Protocol(_) | SqlxError::PoolTimedOut | SqlxError::WorkerCrashed => true,
        SqlxError::Database(e) => is_transient_answer(e.as_ref()),
        _ => false,
    }
}

/// Serialization failures, deadlocks, servers that stop or start, connections that break:
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>. The numbers of SQLite are shorter.
fn is_transient_answer(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| {
        code.len() == 5
            && (["40001", "40P01", "57P01", "57P02", "57P03", "53300"].contains(&code.as_ref())
                || code.starts_with("08"))
    })
}
