//! The audit that servers make by themselves: one of several at a time, by a small lease of its own, and what it came to.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::process::{is_gone, this_machine, this_process};

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditTurn {
    /// Ours.
    Ours,
    /// Another server is at it.
    Theirs,
    /// An audit has ended since then: none is needed.
    Done,
}

/// What the last audit came to.
#[derive(Debug, Clone, PartialEq)]
pub struct LastAudit {
    /// What its maker has written down: JSON.
    pub result: String,
    /// How many seconds ago it ended.
    pub age: f64,
}

impl Index {
    /// Returns the database's time, in seconds since 1970.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn database_time(&self) -> Result<f64, IndexError> {
        let query = format!("SELECT {}", Dialect::of(&self.reader).words().seconds);
        let row = self.reader.query_one_raw(sql(&self.reader, &query, [])).await.map_err(IndexError::Read)?;
        row.map_or(Ok(0.0), |row| row.try_get_by_index(0)).map_err(IndexError::Read)
    }

    /// Takes the audit for the server `holder` for a time of `alive`, unless another server is at it, or an audit has ended
    /// after the time `since` of the database.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn take_audit(&self, holder: &str, since: f64, alive: Duration) -> Result<AuditTurn, IndexError> {
        let transaction = self.writer()?.begin().await?;
        let words = Dialect::of(&transaction).words();
        let (now, lock) = (words.seconds, words.lock);
        // The row is always there, unless somebody has removed it.
        let make = "INSERT INTO audits (id) VALUES (1) ON CONFLICT (id) DO NOTHING";
        transaction.execute_raw(sql(&transaction, make, [])).await.map_err(IndexError::Write)?;
        let query = format!(
            "SELECT coalesce(holder, ''), coalesce(machine, ''), coalesce(process, ''), \
             coalesce(expires_at < {now}, true), coalesce(finished_at > ?, false) FROM audits WHERE id = 1{lock}"
        );
        let row = transaction.query_one_raw(sql(&transaction, &query, [since.into()])).await;
        let row = row.and_then(|row| row.as_ref().map(turn).transpose()).map_err(IndexError::Read)?;
        let Some((theirs, machine, process, expired, done)) = row else { return Ok(AuditTurn::Theirs) };
        if done {
            return Ok(AuditTurn::Done);
        }
        let vanished = machine == this_machine() && is_gone(&process);
        if !theirs.is_empty() && theirs != holder && !expired && !vanished {
            return Ok(AuditTurn::Theirs);
        }
        let take =
            format!("UPDATE audits SET holder = ?, machine = ?, process = ?, expires_at = {now} + ? WHERE id = 1");
        let values = [holder.into(), this_machine().into(), this_process().into(), alive.as_secs_f64().into()];
        transaction.execute_raw(sql(&transaction, &take, values)).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(IndexError::Write)?;
        Ok(AuditTurn::Ours)
    }

    /// Gives the audit back.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn end_audit(&self, holder: &str) -> Result<(), IndexError> {
        let db = self.writing()?;
        let update = "UPDATE audits SET holder = NULL, machine = NULL, process = NULL, expires_at = NULL \
                      WHERE id = 1 AND holder = ?";
        db.execute_raw(sql(db, update, [holder.into()])).await.map(drop).map_err(IndexError::Write)
    }

    /// Notes what an audit of everything has come to just now, whoever has asked for it.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn note_audit(&self, result: &str) -> Result<(), IndexError> {
        let db = self.writing()?;
        let update =
            format!("UPDATE audits SET finished_at = {}, result = ? WHERE id = 1", Dialect::of(db).words().seconds);
        db.execute_raw(sql(db, &update, [result.into()])).await.map(drop).map_err(IndexError::Write)
    }

    /// Returns what the last audit came to, if there was one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn last_audit(&self) -> Result<Option<LastAudit>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let query = format!(
            "SELECT {}, {} - finished_at FROM audits WHERE id = 1 AND finished_at IS NOT NULL",
            dialect.bytes("result"),
            dialect.words().seconds
        );
        let row = self.reader.query_one_raw(sql(&self.reader, &query, [])).await.map_err(IndexError::Read)?;
        let read = |row: QueryResult| {
            let age: f64 = row.try_get_by_index(1)?;
            Ok(LastAudit { result: lossy(&row, 0)?.unwrap_or_default(), age: age.max(0.0) })
        };
        row.map(read).transpose().map_err(IndexError::Read)
    }
}

fn turn(row: &QueryResult) -> Result<(String, String, String, bool, bool), DbErr> {
    Ok((
        row.try_get_by_index(0)?,
        row.try_get_by_index(1)?,
        row.try_get_by_index(2)?,
        row.try_get_by_index(3)?,
        row.try_get_by_index(4)?,
    ))
}
