//! How long an answer of the database is waited for by those who have nothing else to do with it.

use std::time::Duration;

use super::connect::{Index, PATIENCE};
use super::dialect::Dialect;
use super::error::IndexError;
use super::lease::LeaseTerms;

impl LeaseTerms {
    /// How long one short statement is waited for: as long as a lease lives without it, but longer than a lock is.
    pub fn patience(self) -> Duration {
        self.expiry.max(PATIENCE * 3 / 2)
    }

    /// How long a sign of life is waited for: another one has to follow before it is too late.
    pub fn sign_patience(self) -> Duration {
        self.expiry / 2
    }
}

/// Waits for `asked`, but not longer than `limit`: a connection behind which nobody is any more would never answer.
/// Dropped in the middle of a statement it is given up, and another one takes its place.
///
/// # Errors
/// When the limit is over, or `asked` has failed.
pub async fn within<T>(limit: Duration, asked: impl Future<Output = Result<T, IndexError>>) -> Result<T, IndexError> {
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(IndexError::Silent(limit)))
}

impl Index {
    /// Asks the database for a sign of life, on a connection that reads and on one that writes. Where there is only one
    /// that writes, and a run may have it, that one is not waited for.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn ask(&self) -> Result<(), IndexError> {
        self.database_time().await?;
        let writer = self.writing()?;
        match Dialect::of(writer) {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => writer.ping().await.map_err(IndexError::Write),
        }
    }
}
