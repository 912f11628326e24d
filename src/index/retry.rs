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

/// Does something by `attempt`, again where [`Patience`] says so.
pub(super) async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, IndexError>
where
    F: Future<Output = Result<T, IndexError>>,
{
    let mut patience = Patience::default();
    loop {
        match attempt().await {
            Err(error) if patience.again(&error).await => {}
            done => return done,
        }
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

/// Tells whether somebody else has held a lock, or the connection that writes, for longer than is waited for.
pub(super) fn is_locked(error: &DbErr) -> bool {
    match driver_error(error) {
        None => matches!(error, DbErr::ConnectionAcquire(_)),
        Some(SqlxError::PoolTimedOut) => true,
        // SQLITE_BUSY and `lock_not_available`.
        Some(SqlxError::Database(e)) => e.code().is_some_and(|code| ["5", "55P03"].contains(&code.as_ref())),
        _ => false,
    }
}

/// Tells whether the same could succeed in a moment.
pub(super) fn is_transient(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(SqlxError::Io(_) | SqlxError::Protocol(_) | SqlxError::PoolTimedOut | SqlxError::WorkerCrashed) => true,
        Some(SqlxError::Database(e)) => is_transient_answer(e.as_ref()),
        _ => false,
    }
}

fn driver_error(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(e.as_ref()),
        _ => None,
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
