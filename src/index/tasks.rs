//! Tasks: a row for each run, from its beginning, so that what was done is known after the one who did it is gone.

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::lease;
use super::retry::{patiently, unconfirmed};
use super::writes::Writer;
use crate::clock;
use crate::model::Timestamp;

/// How a task ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// `SUCCESSFUL`, `FAILED` or `CANCELLED`.
    pub status: &'static str,
    /// The result, as it is on the wire.
    pub result: Json,
    /// What went wrong: a list.
    pub errors: Json,
}

/// A task, as it is told.
#[derive(Debug, Clone, Serialize)]
pub struct Task {
    /// The id: the name of the column.
    pub id: String,
    /// The same, by the name with which a rebuild answers.
    pub task_id: String,
    /// `READY`, `RUNNING`, `SUCCESSFUL`, `FAILED` or `CANCELLED`.
    pub status: String,
    /// What was asked.
    pub request: Option<Box<RawValue>>,
    /// How far it is, or was.
    pub progress: Option<Box<RawValue>>,
    /// What it came to, once it has ended.
    pub result: Option<Box<RawValue>>,
    /// What went wrong.
    pub errors: Option<Box<RawValue>>,
    /// When it was asked for.
    pub created_at: String,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
}

impl Index {
    /// Notes a run that only looked, and has ended, where the database lets it. A run needs no right to do so.
    pub async fn note_task(&self, id: &str, request: &Json, started: Timestamp, outcome: &Outcome) {
        if let Err(error) = self.try_note_task(id, request, started, outcome).await {
            tracing::debug!(%error, "a run that only looked could not be noted");
        }
    }

    /// Notes how a run has ended.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn try_note_task(
        &self,
        id: &str,
        request: &Json,
        started: Timestamp,
        outcome: &Outcome,
    ) -> Result<(), IndexError> {
        let db = match (self.writing(), &self.notes) {
            (Ok(db), _) => db,
            (Err(_), Some(notes)) => notes.open().await?,
            (Err(_), None) => return Ok(()),
        };
        let time = Dialect::of(db).time("?");
        let insert = format!(
            "INSERT INTO tasks (id, request, status, result, errors, created_at, started_at, finished_at) \
             VALUES (?, ?, ?, ?, ?, {time}, {time}, {time}) ON CONFLICT (id) DO UPDATE SET \
             status = excluded.status, result = excluded.result, errors = excluded.errors, \
             started_at = coalesce(tasks.started_at, excluded.started_at), finished_at = excluded.finished_at"
        );
        let (began, ended) = (started.to_text(), clock::now().to_text());
        let values = [
            id.into(),
            request.to_string().into(),
            outcome.status.into(),
            outcome.result.to_string().into(),
            outcome.errors.to_string().into(),
            began.as_str().into(),
            began.as_str().into(),
            ended.into(),
        ];
        db.execute_raw(sql(db, &insert, values)).await.map(drop).map_err(IndexError::Write)
    }

    /// Returns the newest `most` tasks, the newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn tasks(&self, most: u32) -> Result<Vec<Task>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let query = format!("{} ORDER BY id{} DESC LIMIT ?", columns(dialect), dialect.words().bytewise);
        let values = [i64::from(most).into()];
        let rows = self.reader.query_all_raw(dialect.sql(&query, values)).await.map_err(IndexError::Read)?;
        rows.iter().map(task).collect::<Result<_, DbErr>>().map_err(IndexError::Read)
    }

    /// Returns the task `id`.
    ///
    /// # Errors
    /// When there is none, or the index cannot be read.
    pub async fn task(&self, id: &str) -> Result<Task, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let query = format!("{} WHERE id = ?", columns(dialect));
        let row = self.reader.query_one_raw(dialect.sql(&query, [id.into()])).await.map_err(IndexError::Read)?;
        let row = row.ok_or_else(|| IndexError::UnknownTask(id.to_owned()))?;
        task(&row).map_err(IndexError::Read)
    }
}

impl Writer {
    /// Notes how the task `id` ended, and gives the lease back with it: whoever sees the end may begin the next run.
    ///
    /// # Errors
    /// When the database does.
    pub async fn end_task(&self, id: &str, outcome: &Outcome) -> Result<(), IndexError> {
        patiently(|| self.end_task_once(id, outcome)).await
    }

    async fn end_task_once(&self, id: &str, outcome: &Outcome) -> Result<(), IndexError> {
        let transaction = self.begin().await?;
        let time = Dialect::of(&transaction).time("?");
        let update = format!("UPDATE tasks SET status = ?, result = ?, errors = ?, finished_at = {time} WHERE id = ?");
        let values = [
            outcome.status.into(),
            outcome.result.to_string().into(),
            outcome.errors.to_string().into(),
            clock::now().to_text().into(),
            id.into(),
        ];
        transaction.execute_raw(sql(&transaction, &update, values)).await.map_err(IndexError::Write)?;
        lease::free(&transaction, id).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(unconfirmed)
    }
}

/// Notes that the task `id` runs from now on.
pub(super) async fn begin(db: &impl ConnectionTrait, id: &str, request: &Json) -> Result<(), DbErr> {
    let now = clock::now().to_text();
    let time = Dialect::of(db).time("?");
    let insert = format!(
        "INSERT INTO tasks (id, request, status, created_at, started_at) VALUES (?, ?, 'RUNNING', {time}, {time}) \
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, started_at = excluded.started_at"
    );
    let values = [id.into(), request.to_string().into(), now.as_str().into(), now.as_str().into()];
    db.execute_raw(sql(db, &insert, values)).await.map(drop)
}

/// Tells whether it is written down that the task `id` has ended so, by the one who ran it.
pub(super) async fn has_ended(db: &impl ConnectionTrait, id: &str, outcome: &Outcome) -> Result<bool, IndexError> {
    // Who ends a task in another's place knows of no result.
    let look = "SELECT 1 FROM tasks WHERE id = ? AND status = ? AND result IS NOT NULL";
    let row = db.query_one_raw(sql(db, look, [id.into(), outcome.status.into()])).await;
    Ok(row.map_err(IndexError::Read)?.is_some())
}

/// Tells whether somebody has asked the task `id` to end.
pub(super) async fn is_asked_to_end(db: &impl ConnectionTrait, id: &str) -> Result<bool, DbErr> {
    let look = "SELECT 1 FROM tasks WHERE id = ? AND cancel_requested";
    Ok(db.query_one_raw(sql(db, look, [id.into()])).await?.is_some())
}

/// Ends a task whose holder was found gone. Tells whether it had not ended by itself meanwhile.
pub(super) async fn bury(db: &impl ConnectionTrait, id: &str) -> Result<bool, DbErr> {
    let time = Dialect::of(db).time("?");
    let update = format!(
        "UPDATE tasks SET status = 'FAILED', errors = ?, finished_at = {time} WHERE id = ? AND status IN ('READY', 'RUNNING')"
    );
    let errors = r#"[{"code":"holder_vanished","message":"the process that ran the task is gone; run again"}]"#;
    let values = [errors.into(), clock::now().to_text().into(), id.into()];
    Ok(db.execute_raw(sql(db, &update, values)).await?.rows_affected() > 0)
}

pub(super) fn columns(dialect: Dialect) -> String {
    format!("SELECT {} FROM tasks", columns_alone(dialect))
}

/// Lists what [`task`] reads.
pub(super) fn columns_alone(dialect: Dialect) -> String {
    let columns =
        ["id", "status", "request", "result", "errors", "created_at", "started_at", "finished_at", "progress"];
    columns.map(|column| dialect.bytes(column)).join(", ")
}

pub(super) fn task(row: &QueryResult) -> Result<Task, DbErr> {
    let text = |at| lossy(row, at);
    // What somebody else has written there and is no JSON is left out, rather than hiding the other tasks.
    let raw = |at| Ok::<_, DbErr>(text(at)?.and_then(|text| RawValue::from_string(text).ok()));
    let time = |at| {
        let told = |text: String| Timestamp::from_text(&text).map_or(text, Timestamp::to_text);
        Ok::<_, DbErr>(text(at)?.map(told))
    };
    let id = text(0)?.unwrap_or_default();
    Ok(Task {
        task_id: id.clone(),
        id,
        status: text(1)?.unwrap_or_default(),
        request: raw(2)?,
        progress: raw(8)?,
        result: raw(3)?,
        errors: raw(4)?,
        created_at: time(5)?.unwrap_or_default(),
        started_at: time(6)?,
        finished_at: time(7)?,
    })
}
