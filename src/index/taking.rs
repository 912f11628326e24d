//! Tasks that a server carries out: accepted before they begin, alive while it says so, asked to end by anybody.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use serde_json::Value as Json;

use super::connect::Index;
use super::dialect::{Dialect, sql};
use super::error::IndexError;
use super::keys::Claim;
use super::process::{is_gone, this_machine, this_process};
use super::tasks::{self, Task};
use crate::clock;

/// For how long an `Idempotency-Key` is remembered, in seconds.
const REMEMBERED: f64 = 24.0 * 60.0 * 60.0;

/// What accepting a task came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is a new one, and stands in the index.
    New,
    /// The same was asked before, under the same key: this task.
    Before(String),
    /// Something else was asked before under the same key.
    Clash,
}

impl Index {
    /// Notes that the task `id` has been accepted: it is `READY`, and counts as alive for a time of `alive`. With a `claim`,
    /// only if nothing was asked under it yet.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn accept_task(
        &self,
        id: &str,
        request: &Json,
        claim: Option<&Claim>,
        alive: Duration,
    ) -> Result<Taken, IndexError> {
        loop {
            // Whoever was there first may have been forgotten in between: then this one is the first.
            if let Some(taken) = self.accept_once(id, request, claim, alive).await? {
                return Ok(taken);
            }
        }
    }

    async fn accept_once(
        &self,
        id: &str,
        request: &Json,
        claim: Option<&Claim>,
        alive: Duration,
    ) -> Result<Option<Taken>, IndexError> {
        let transaction = self.writer()?.begin().await?;
        let dialect = Dialect::of(&transaction);
        let (now, time) = (dialect.words().seconds, dialect.time("?"));
        if let Some(claim) = claim {
            let forget = format!(
                "DELETE FROM idempotency_keys WHERE created_at < {now} - ? \
                 OR NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = idempotency_keys.task_id)"
            );
            let forget = dialect.sql(&forget, [REMEMBERED.into()]);
            transaction.execute_raw(forget).await.map_err(IndexError::Write)?;
            let insert = format!(
                "INSERT INTO idempotency_keys (api_key_id, idempotency_key, body_hash, task_id, created_at) \
                 VALUES (?, ?, ?, ?, {now}) ON CONFLICT (api_key_id, idempotency_key) DO NOTHING"
            );
            let (key, text) = (claim.api_key, claim.key.as_str());
            let values = [key.into(), text.into(), claim.body_hash.as_str().into(), id.into()];
            let done = transaction.execute_raw(dialect.sql(&insert, values)).await.map_err(IndexError::Write)?;
            if done.rows_affected() == 0 {
                let look =
                    "SELECT body_hash, task_id FROM idempotency_keys WHERE api_key_id = ? AND idempotency_key = ?";
                let row = transaction.query_one_raw(dialect.sql(look, [key.into(), text.into()])).await;
                let read = |row: QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
                let row: Option<(String, String)> =
                    row.and_then(|row| row.map(read).transpose()).map_err(IndexError::Read)?;
                transaction.rollback().await.map_err(IndexError::Write)?;
                return Ok(row.map(
                    |(hash, task)| {
                        if hash == claim.body_hash { Taken::Before(task) } else { Taken::Clash }
                    },
                ));
            }
        }
        let insert = format!(
            "INSERT INTO tasks (id, request, status, created_at, machine, process, alive_until) \
             VALUES (?, ?, 'READY', {time}, ?, ?, {now} + ?)"
        );
        let values = [
            id.into(),
            request.to_string().into(),
            clock::now().to_text().into(),
            this_machine().into(),
            this_process().into(),
            alive.as_secs_f64().into(),
        ];
        transaction.execute_raw(dialect.sql(&insert, values)).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(IndexError::Write)?;
        Ok(Some(Taken::New))
    }

    /// Forgets a task that could not begin, and the key under which it was asked for.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn forget_task(&self, id: &str) -> Result<(), IndexError> {
        let transaction = self.writer()?.begin().await?;
        for forget in ["DELETE FROM idempotency_keys WHERE task_id = ?", "DELETE FROM tasks WHERE id = ?"] {
            transaction.execute_raw(sql(&transaction, forget, [id.into()])).await.map_err(IndexError::Write)?;
        }
        transaction.commit().await.map_err(IndexError::Write)
    }

    /// Notes that a task runs that needs no lease.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn start_task(&self, id: &str) -> Result<(), IndexError> {
        let db = self.writing()?;
        let update = format!(
            "UPDATE tasks SET status = 'RUNNING', started_at = {} WHERE id = ? AND status = 'READY'",
            Dialect::of(db).time("?")
        );
        let values = [clock::now().to_text().into(), id.into()];
        db.execute_raw(sql(db, &update, values)).await.map(drop).map_err(IndexError::Write)
    }

    /// Notes how far a task is, and that it lives for a time of `alive`. Tells whether somebody has asked it to end.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn touch_task(&self, id: &str, progress: &Json, alive: Duration) -> Result<bool, IndexError> {
        let db = self.writing()?;
        let update = format!(
            "UPDATE tasks SET progress = ?, alive_until = {} + ? WHERE id = ?",
            Dialect::of(db).words().seconds
        );
        let values = [progress.to_string().into(), alive.as_secs_f64().into(), id.into()];
        db.execute_raw(sql(db, &update, values)).await.map_err(IndexError::Write)?;
        tasks::is_asked_to_end(db, id).await.map_err(IndexError::Read)
    }

    /// Asks the task `id` to end, whoever carries it out; where nobody does any more, and it is none that `is_here` knows to
    /// live, ends it. Returns it as it stood when it was asked; one that had ended before stays as it is.
    ///
    /// # Errors
    /// When there is none, or the index cannot be written.
    pub async fn cancel_task(&self, id: &str, is_here: impl Fn(&str) -> bool + Send) -> Result<Task, IndexError> {
        let db = self.writing()?;
        let ask = format!(
            "UPDATE tasks SET cancel_requested = true WHERE id = ? AND status IN ('READY', 'RUNNING') RETURNING {}",
            tasks::columns_alone(Dialect::of(db))
        );
        let asked = db.query_all_raw(sql(db, &ask, [id.into()])).await.map_err(IndexError::Write)?;
        let buried = self.bury_those("AND id = ?", [id.into()], is_here).await?;
        match asked.first() {
            // It may have heeded already: that is what was asked for.
            Some(row) if buried == 0 => tasks::task(row).map_err(IndexError::Read),
            _ => self.task(id).await,
        }
    }

    /// Ends the tasks whose holder is gone: neither has it the lease, nor has it given a sign of life in time, nor is it one
    /// that `is_here` knows to live. Returns how many they were.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn bury_vanished(&self, is_here: impl Fn(&str) -> bool + Send) -> Result<u64, IndexError> {
        self.bury_those("", [], is_here).await
    }

    /// Ends those of the tasks that a condition finds whose holder is gone.
    async fn bury_those(
        &self,
        which: &str,
        values: impl IntoIterator<Item = Value> + Send,
        is_here: impl Fn(&str) -> bool + Send,
    ) -> Result<u64, IndexError> {
        let db = self.writing()?;
        let now = Dialect::of(db).words().seconds;
        let query = format!(
            "SELECT id, coalesce(machine, ''), coalesce(process, ''), coalesce(alive_until < {now}, true) FROM tasks \
             WHERE status IN ('READY', 'RUNNING') {which}"
        );
        let rows = db.query_all_raw(sql(db, &query, values)).await.map_err(IndexError::Read)?;
        if rows.is_empty() {
            return Ok(0);
        }
        // Read after the tasks: one that has begun since is not among them.
        let holder = self.lease_holder().await?.map(|holder| holder.task_id);
        let mut buried = 0;
        for row in rows {
            let read = |row: &QueryResult| {
                let text = |at: usize| row.try_get_by_index::<String>(at);
                Ok((text(0)?, text(1)?, text(2)?, row.try_get_by_index::<bool>(3)?))
            };
            let (id, machine, process, silent) = read(&row).map_err(|e: DbErr| IndexError::Read(e))?;
            let gone = machine == this_machine() && is_gone(&process);
            if (silent || gone) && holder.as_deref() != Some(&id) && !is_here(&id) {
                buried += u64::from(tasks::bury(db, &id).await.map_err(IndexError::Write)?);
            }
        }
        Ok(buried)
    }

    /// Returns the newest `most` tasks of a `status`, if one is named, that are older than `before`, if one is named.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn tasks_page(
        &self,
        status: Option<&str>,
        before: Option<&str>,
        most: u32,
    ) -> Result<Vec<Task>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let bytewise = dialect.words().bytewise;
        let query = format!(
            "{} WHERE (? = '' OR status = ?) AND (? = '' OR id{bytewise} < ?) ORDER BY id{bytewise} DESC LIMIT ?",
            tasks::columns(dialect)
        );
        let (status, before) = (status.unwrap_or_default(), before.unwrap_or_default());
        let values = [status.into(), status.into(), before.into(), before.into(), i64::from(most).into()];
        let rows = self.reader.query_all_raw(dialect.sql(&query, values)).await.map_err(IndexError::Read)?;
        rows.iter().map(tasks::task).collect::<Result<_, DbErr>>().map_err(IndexError::Read)
    }
}
