//! How far the journal has forgotten.

use sea_orm::ConnectionTrait;

use super::dialect::{Dialect, lossy};
use super::error::IndexError;
use super::journal::TRIMMED;
use super::retry::unconfirmed;
use super::writes::{Writer, unix_seconds};
use crate::model::Timestamp;

impl Writer {
    /// Notes that the journal forgets what is older than `until`, if there is anything.
    pub(super) async fn note_horizon(&self, until: Timestamp) -> Result<(), IndexError> {
        let transaction = self.begin().await?;
        let dialect = Dialect::of(&transaction);
        let old = format!(
            "SELECT 1 FROM (SELECT created_at FROM journal ORDER BY id LIMIT {TRIMMED}) AS oldest WHERE {} LIMIT 1",
            dialect.earlier("created_at")
        );
        let old = dialect.sql(&old, [unix_seconds(until).into()]);
        if transaction.query_one_raw(old).await.map_err(IndexError::Read)?.is_some() {
            let note = format!("UPDATE journal_horizon SET forgotten_before = {} WHERE id = 1", dialect.time("?"));
            let note = dialect.sql(&note, [until.to_text().into()]);
            transaction.execute_raw(note).await.map_err(IndexError::Write)?;
        }
        transaction.commit().await.map_err(unconfirmed)
    }
}

/// Returns before when all that was journaled may be forgotten, if anything is.
pub(super) async fn horizon(db: &impl ConnectionTrait) -> Result<Option<Timestamp>, IndexError> {
    let dialect = Dialect::of(db);
    let query = format!("SELECT {} FROM journal_horizon WHERE id = 1", dialect.bytes("forgotten_before"));
    let row = db.query_one_raw(dialect.sql(&query, [])).await.map_err(IndexError::Read)?;
    let text = row.map_or(Ok(None), |row| lossy(&row, 0)).map_err(IndexError::Read)?;
    Ok(text.and_then(|text| Timestamp::from_text(&text)))
}
