//! The journal: what each record was before it was changed or deleted, and what it became, written in the transaction that
//! does it. Records that are made are not in it: they can be made again.
//!
//! One statement a batch, and on PostgreSQL the same one that locks the records: nothing comes between.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};

use super::dialect::{Dialect, sql};
use super::error::IndexError;
use super::retry::patiently;
use super::writes::{Writer, unix_seconds};
use crate::clock;
use crate::model::Timestamp;

/// How many lines are forgotten at a time.
pub(super) const TRIMMED: u32 = 10_000;

/// The columns of a record that an image has: all of them.
const IMAGE: [&str; 12] = [
    "id",
    "user_id",
    "path",
    "name",
    "parent_path",
    "size",
    "content_type",
    "etag",
    "last_modified",
    "file_id",
    "created_at",
    "updated_at",
];

/// What a bulk write puts into a record.
const FACTS: [&str; 8] =
    ["name", "parent_path", "size", "content_type", "etag", "last_modified", "file_id", "updated_at"];

/// The columns of a link that went along with its record.
const LINK: [&str; 5] = ["id", "token", "is_active", "expires_at", "created_at"];

/// Returns the expression of the image of a record as it is.
pub(super) fn image(dialect: Dialect) -> String {
    object_text(dialect, IMAGE.map(|column| (column, dialect.jsonable(&format!("stored_files.{column}")))))
}

/// Returns the expression of the image of a record as it becomes by the rows `new`, which have its facts and those of the
/// columns in `also`.
fn image_after(dialect: Dialect, also: &[&str]) -> String {
    object_text(
        dialect,
        IMAGE.map(|column| {
            let is_new = FACTS.contains(&column) || also.contains(&column);
            let value =
                if is_new { format!("new.{column}") } else { dialect.jsonable(&format!("stored_files.{column}")) };
            (column, value)
        }),
    )
}

/// Returns the expression of the links of a record; NULL when it has none.
pub(super) fn links(dialect: Dialect) -> String {
    let (open, close) = dialect.words().array;
    let link = object(dialect, LINK.map(|column| (column, dialect.jsonable(&format!("share_links.{column}")))));
    format!(
        "(SELECT {open}{link} ORDER BY share_links.id{close} FROM share_links WHERE stored_file_id = stored_files.id \
         HAVING count(*) > 0)"
    )
}

fn object<const N: usize>(dialect: Dialect, fields: [(&str, String); N]) -> String {
    let fields = fields.map(|(name, value)| format!("'{name}', {value}"));
    format!("{}({})", dialect.words().object, fields.join(", "))
}

fn object_text<const N: usize>(dialect: Dialect, fields: [(&str, String); N]) -> String {
    format!("CAST({} AS text)", object(dialect, fields))
}

/// Returns the statement that journals refreshes; its values are the task and those of the rows `new`, which have the
/// `new_id`, the `version`, and the facts.
pub(super) fn of_refreshes(dialect: Dialect, new: &str) -> String {
    format!(
        "INSERT INTO journal (task_id, action, record_id, user_id, path, before, after, created_at) \
         SELECT CAST(? AS text), 'update', stored_files.id, user_id, path, {}, {}, new.updated_at \
         FROM {new} JOIN stored_files ON stored_files.id = new.new_id WHERE {} = new.version{}",
        image(dialect),
        image_after(dialect, &[]),
        dialect.version(),
        dialect.words().lock,
    )
}

/// Returns the statement that journals moves of records that are locked; its values are the task and those of the rows
/// `new`, which have the `new_id`, the `path`, and the facts.
pub(super) fn of_moves(dialect: Dialect, new: &str) -> String {
    format!(
        "INSERT INTO journal (task_id, action, record_id, user_id, path, new_path, before, after, created_at) \
         SELECT CAST(? AS text), 'move', stored_files.id, user_id, stored_files.path, new.path, {}, {}, new.updated_at \
         FROM {new} JOIN stored_files ON stored_files.id = new.new_id",
        image(dialect),
        image_after(dialect, &["path"]),
    )
}

/// Journals the deletion of the records `ids` (a JSON array), which are locked, with the links that they still have.
pub(super) async fn deletions(db: &impl ConnectionTrait, task: Option<&str>, ids: &str) -> Result<(), DbErr> {
    let dialect = Dialect::of(db);
    let insert = format!(
        "INSERT INTO journal (task_id, action, record_id, user_id, path, before, links, created_at) \
         SELECT CAST(? AS text), 'delete', id, user_id, path, {}, {}, {} FROM stored_files WHERE id IN {}",
        image(dialect),
        links(dialect),
        dialect.time("?"),
        dialect.words().ids,
    );
    let values = [task.map(str::to_owned).into(), clock::now().to_text().into(), ids.into()];
    db.execute_raw(sql(db, &insert, values)).await.map(drop)
}

impl Writer {
    /// Forgets the beginning of the journal, as far as it is older than `keep`.
    ///
    /// # Errors
    /// When the database does; what was forgotten by then is.
    pub async fn trim_journal(&self, keep: Duration) -> Result<u64, IndexError> {
        let micros = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let until = Timestamp::from_micros(clock::now().micros().saturating_sub(micros));
        self.note_horizon(until).await?;
        let mut forgotten = 0;
        loop {
            let deleted = patiently(|| self.trim_once(until)).await?;
            forgotten += deleted;
            if deleted < u64::from(TRIMMED) {
                return Ok(forgotten);
            }
        }
    }

    async fn trim_once(&self, until: Timestamp) -> Result<u64, IndexError> {
        let transaction = self.begin().await?;
        let dialect = Dialect::of(&transaction);
        let delete = format!(
            "DELETE FROM journal WHERE id IN (SELECT id FROM (SELECT id, created_at FROM journal ORDER BY id LIMIT \
             {TRIMMED}) AS oldest WHERE {})",
            dialect.earlier("created_at")
        );
        let deleted = transaction.execute_raw(dialect.sql(&delete, [unix_seconds(until).into()])).await;
        let deleted = deleted.map_err(IndexError::Write)?.rows_affected();
        self.commit(transaction).await?;
        Ok(deleted)
    }
}
