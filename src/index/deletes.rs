//! Deleting records so that no active share link is ever lost: lock and look in one statement, delete in the next.
//!
//! On SQLite the transaction has the write lock from its start. On PostgreSQL the first statement locks the records, which
//! keeps new links out, and the second one the links that are there, which keeps them as they are; had one statement
//! looked and deleted, it would have looked at what was there before it waited for its locks. And the foreign key
//! refuses to let a record go that has a link.

use std::collections::{HashMap, HashSet};

use sea_orm::ConnectionTrait;

use super::dialect::{Dialect, sql};
use super::error::IndexError;
use super::journal;
use super::retry::patiently;
use super::writes::{Writer, json, unix_seconds};
use crate::model::{RecordId, Timestamp, UserId};

/// A record that may go if it is still what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'q> {
    /// Which.
    pub id: RecordId,
    /// Whose it was when it was read: the storage was asked for that user's key.
    pub user: UserId,
    /// All columns as they were read.
    pub version: &'q [u8],
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is gone, and its dead links with it.
    Deleted,
    /// It is kept: somebody has changed it since it was read, or it is gone already.
    Changed,
    /// It is kept: it has an active share link.
    Protected,
}

impl Writer {
    /// Deletes those of `candidates` that are unchanged and have no active share link, with their dead links: all or
    /// none. Returns what became of each, in order.
    ///
    /// # Errors
    /// When the database does; then nothing of the batch is deleted.
    pub async fn delete(&self, candidates: &[Candidate<'_>]) -> Result<Vec<Fate>, IndexError> {
        patiently(|| self.delete_once(candidates)).await
    }

    async fn delete_once(&self, candidates: &[Candidate<'_>]) -> Result<Vec<Fate>, IndexError> {
        let transaction = self.begin().await?;
        let words = Dialect::of(&transaction).words();
        let ids = json(candidates.iter().map(|c| c.id));
        let now = versions_now(&transaction, &ids).await?;
        let linked = linked_ids(&transaction, &ids, self.clock().now(), words.lock).await.map_err(IndexError::Write)?;
        let fates: Vec<Fate> = candidates
            .iter()
            .map(|c| match now.get(&c.id) {
                Some((user, version)) if *user == c.user && version == c.version && linked.contains(&c.id) => {
                    Fate::Protected
                }
                Some((user, version)) if *user == c.user && version == c.version => Fate::Deleted,
                _ => Fate::Changed,
            })
            .collect();
        let doomed = json(candidates.iter().zip(&fates).filter(|(_, f)| **f == Fate::Deleted).map(|(c, _)| c.id));
        journal::deletions(&transaction, self.task(), &doomed).await.map_err(IndexError::Write)?;
        for statement in [
            format!("DELETE FROM share_links WHERE stored_file_id IN {}", words.ids),
            format!("DELETE FROM stored_files WHERE id IN {}", words.ids),
        ] {
            transaction
                .execute_raw(sql(&transaction, &statement, [doomed.as_str().into()]))
                .await
                .map_err(IndexError::Write)?;
        }
        self.commit(transaction).await?;
        Ok(fates)
    }
}

/// Returns whose the records `ids` (a JSON array) are and their versions, and locks them.
pub(super) async fn versions_now(
    db: &impl ConnectionTrait,
    ids: &str,
) -> Result<HashMap<RecordId, (UserId, Vec<u8>)>, IndexError> {
    let dialect = Dialect::of(db);
    let words = dialect.words();
    let query = format!(
        "SELECT id, user_id, {} FROM stored_files WHERE id IN {} ORDER BY id{}",
        dialect.bytes(&dialect.version()),
        words.ids,
        words.lock
    );
    let rows = db.query_all_raw(dialect.sql(&query, [ids.into()])).await.map_err(IndexError::Write)?;
    rows.iter()
        .map(|row| Ok((row.try_get_by_index(0)?, (row.try_get_by_index(1)?, row.try_get_by_index(2)?))))
        .collect::<Result<_, sea_orm::DbErr>>()
        .map_err(IndexError::Write)
}

/// Returns those of the records `ids` (a JSON array) that a share link keeps, with `now` by the run's clock; `lock` keeps all their links as they
/// are, dead ones too, which somebody could otherwise bring back to life.
pub(super) async fn linked_ids(
    db: &impl ConnectionTrait,
    ids: &str,
    now: Timestamp,
    lock: &str,
) -> Result<HashSet<RecordId>, sea_orm::DbErr> {
    let dialect = Dialect::of(db);
    // Judged row by row in the list of columns: a condition would leave the dead ones unlocked.
    let query = format!(
        "SELECT {}, stored_file_id FROM share_links WHERE stored_file_id IN {}{lock}",
        dialect.keeps_record(),
        dialect.words().ids
    );
    let rows = db.query_all_raw(sql(db, &query, [unix_seconds(now).into(), ids.into()])).await?;
    let read = |row: &sea_orm::QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
    let links: Vec<(bool, RecordId)> = rows.iter().map(read).collect::<Result<_, sea_orm::DbErr>>()?;
    Ok(links.into_iter().filter(|(active, _)| *active).map(|(_, id)| id).collect())
}
