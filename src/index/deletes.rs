//! Deleting records so that no active share link is ever lost: lock and look in one statement, delete in the next.
//!
//! The transaction has the write lock from its start, so nobody can make a link between the look and the delete; and the
//! foreign key refuses to let a record go that has one.

use std::collections::{HashMap, HashSet};

use sea_orm::ConnectionTrait;

use super::connect::sql;
use super::error::IndexError;
use super::links::ACTIVE;
use super::packed::packed_row;
use super::writes::{Writer, json, unix_seconds};
use crate::clock;
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
        let transaction = self.begin().await?;
        let ids = json(candidates.iter().map(|c| c.id));
        let now = versions_now(&transaction, &ids).await?;
        let linked = linked_ids(&transaction, &ids, clock::now()).await.map_err(IndexError::Write)?;
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
        for statement in [
            "DELETE FROM share_links WHERE stored_file_id IN (SELECT value FROM json_each(?))",
            "DELETE FROM stored_files WHERE id IN (SELECT value FROM json_each(?))",
        ] {
            transaction.execute_raw(sql(statement, [doomed.as_str().into()])).await.map_err(IndexError::Write)?;
        }
        transaction.commit().await.map_err(IndexError::Write)?;
        Ok(fates)
    }
}

async fn versions_now(
    db: &impl ConnectionTrait,
    ids: &str,
) -> Result<HashMap<RecordId, (UserId, Vec<u8>)>, IndexError> {
    let query = format!(
        "SELECT id, user_id, CAST({} AS BLOB) FROM stored_files WHERE id IN (SELECT value FROM json_each(?))",
        packed_row()
    );
    let rows = db.query_all_raw(sql(&query, [ids.into()])).await.map_err(IndexError::Write)?;
    rows.iter()
        .map(|row| Ok((row.try_get_by_index(0)?, (row.try_get_by_index(1)?, row.try_get_by_index(2)?))))
        .collect::<Result<_, sea_orm::DbErr>>()
        .map_err(IndexError::Write)
}

/// Returns those of the records `ids` (a JSON array) that have an active share link.
pub(super) async fn linked_ids(
    db: &impl ConnectionTrait,
    ids: &str,
    now: Timestamp,
) -> Result<HashSet<RecordId>, sea_orm::DbErr> {
    let query = format!(
        "SELECT DISTINCT stored_file_id FROM share_links \
         WHERE stored_file_id IN (SELECT value FROM json_each(?)) AND {ACTIVE}"
    );
    let rows = db.query_all_raw(sql(&query, [ids.into(), unix_seconds(now).into()])).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
