//! Writing in bulk: a batch in one short transaction, in key order, its rows in one bound JSON text (which SQLite takes as
//! fast as its own shell imports a file; a bound value for each column would cost more than the insert itself) or by
//! PostgreSQL's COPY. No decisions are made here.

use std::sync::Arc;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait as _,
};

use super::connect::Index;
use super::dialect::Dialect;
use super::dialect::copy::{Bulk, Refreshing};
use super::error::IndexError;
use super::journal;
use super::lease::{self, Under};
use super::retry::{patiently, unconfirmed};
use crate::clock::{self, Clock};
use crate::model::{FileId, ObjectFacts, RecordId, Timestamp, UserId, name_of, parent_of};

/// A record to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Whose.
    pub user: UserId,
    /// The object that it is for.
    pub object: ObjectFacts,
    /// Where in the object's key the path below the user's prefix begins.
    pub path_at: usize,
    /// The content type that its name promises.
    pub content_type: &'static str,
    /// Whether the user had no record at all when the run came to it.
    pub first: bool,
}

impl NewRecord {
    /// Returns the path below the user's prefix.
    pub fn path(&self) -> &str {
        &self.object.key[self.path_at..]
    }
}

/// A record to be brought up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Which.
    pub id: RecordId,
    /// All columns as they were read: the record is left alone when they have changed since.
    pub version: Vec<u8>,
    /// The facts of today.
    pub object: ObjectFacts,
    /// Where in the object's key the path below the user's prefix begins.
    pub path_at: usize,
    /// The content type that its name promises.
    pub content_type: &'static str,
}

/// A record of a file that is in step, but is another file on the disk than it was, e.g. a copy of it on a new disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    /// Which.
    pub id: RecordId,
    /// All columns as they were read: the record is left alone when they have changed since.
    pub version: Vec<u8>,
    /// What names the file now.
    pub file_id: Option<FileId>,
}

/// The handle that writes. Audits and dry runs are never given one.
#[derive(Debug, Clone)]
pub struct Writer {
    db: DatabaseConnection,
    /// The lease under which it writes, if it needs one.
    under: Option<Arc<Under>>,
    clock: Clock,
}

impl Index {
    /// Returns the handle that writes what people ask for, beside a run that may be under way.
    ///
    /// # Errors
    /// When the index was opened for reading.
    pub fn writer(&self) -> Result<Writer, IndexError> {
        Ok(Writer { db: self.writing()?.clone(), under: None, clock: self.clock })
    }
}

/// What a batch of writes came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Records made.
    pub created: u64,
    /// Records brought up to date.
    pub updated: u64,
    /// Records whose file identity was brought up to date.
    pub identified: u64,
}

const INSERT: &str = "INSERT INTO stored_files \
     (user_id, path, name, parent_path, size, content_type, etag, last_modified, file_id, created_at, updated_at) \
     SELECT value->>0, value->>1, substr(value->>1, (value->>2) + 2), substr(value->>1, 1, value->>2), value->>3, \
            value->>4, value->>5, value->>6, value->>7, ?, ? \
     FROM json_each(?) WHERE true ON CONFLICT (user_id, path) DO NOTHING";

impl Writer {
    /// Makes a handle that writes only while the lease is held.
    pub(super) fn under(db: DatabaseConnection, under: Arc<Under>, clock: Clock) -> Self {
        Self { db, under: Some(under), clock }
    }

    /// Returns the run's clock.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Makes and refreshes records, all or none.
    ///
    /// A record that somebody else has made or changed meanwhile is left as it is, and not counted.
    ///
    /// # Errors
    /// When the database does; then nothing of the batch is written.
    pub async fn write(&self, creates: &[NewRecord], updates: &[Refresh]) -> Result<Written, IndexError> {
        patiently(|| self.write_once(creates, updates)).await
    }

    /// Stores what names files now, all or none: neither the journal nor `updated_at` takes note of it, since the content
    /// is what it was. Returns how many records were changed.
    ///
    /// # Errors
    /// When the database does; then nothing of the batch is written.
    pub async fn identify(&self, records: &[NewIdentity]) -> Result<u64, IndexError> {
        patiently(|| self.identify_once(records)).await
    }

    async fn identify_once(&self, records: &[NewIdentity]) -> Result<u64, IndexError> {
        let rows = json(records.iter().map(|record| {
            let version = String::from_utf8_lossy(&record.version);
            (record.id, version, record.file_id.map(FileId::to_text))
        }));
        let transaction = self.begin().await?;
        let dialect = Dialect::of(&transaction);
        let update = format!(
            "UPDATE stored_files SET file_id = new.file_id FROM (SELECT CAST(value->>0 AS bigint) AS new_id, \
             value->>1 AS version, value->>2 AS file_id FROM {}) AS new WHERE stored_files.id = new.new_id AND {} = new.version",
            dialect.words().rows,
            dialect.version()
        );
        let updated = transaction.execute_raw(dialect.sql(&update, [rows.into()])).await.map_err(IndexError::Write)?;
        self.commit(transaction).await?;
        Ok(updated.rows_affected())
    }

    async fn write_once(&self, creates: &[NewRecord], updates: &[Refresh]) -> Result<Written, IndexError> {
        let now = clock::now();
        let dialect = Dialect::of(&self.db);
        let (journal, update) = (journal::of_refreshes(dialect, &fresh_rows(dialect)), refresh_statement(dialect));
        if dialect == Dialect::Postgres {
            let rows = refresh_rows(updates);
            let refreshing = Refreshing { journal: &journal, update: &update, rows: &rows };
            let refresh = (!updates.is_empty()).then_some(refreshing);
            return Bulk { creates, refresh, now, under: self.under.as_deref() }.write(&self.db).await;
        }
        let now = now.to_text();
        let transaction = self.begin().await?;
        let mut written = Written::default();
        if !creates.is_empty() {
            let rows = json(creates.iter().map(|new| {
                let parent = parent_of(new.path());
                // SQLite counts characters; without a parent, the name begins at the first one.
                let parent_len = if parent.is_empty() { -1 } else { count(parent.chars().count()) };
                let o = &new.object;
                (
                    new.user,
                    new.path(),
                    parent_len,
                    o.size,
                    new.content_type,
                    o.etag.as_deref(),
                    o.last_modified.to_text(),
                    o.file_id.map(FileId::to_text),
                )
            }));
            let values = [now.as_str().into(), now.as_str().into(), rows.into()];
            written.created =
                transaction.execute_raw(dialect.sql(INSERT, values)).await.map_err(IndexError::Write)?.rows_affected();
        }
        if !updates.is_empty() {
            let rows = refresh_rows(updates);
            let values = [self.task().map(str::to_owned).into(), now.as_str().into(), rows.as_str().into()];
            transaction.execute_raw(dialect.sql(&journal, values)).await.map_err(IndexError::Write)?;
            let values = [now.as_str().into(), rows.into()];
            let updated = transaction.execute_raw(dialect.sql(&update, values)).await.map_err(IndexError::Write)?;
            written.updated = updated.rows_affected();
        }
        self.commit(transaction).await?;
        Ok(written)
    }

    /// Returns the run that it writes for, if it writes for one.
    pub(super) fn task(&self) -> Option<&str> {
        self.under.as_ref().map(|under| under.task.as_str())
    }

    /// Begins a transaction that has the write lock from its start: one that took it later could fail half-way.
    /// And checks that the lease is still held, where one is needed.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, IndexError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let transaction = self.db.begin_with_options(options).await.map_err(IndexError::Write)?;
        if let Some(task) = self.task() {
            lease::check(&transaction, task).await?;
        }
        Ok(transaction)
    }

    /// Commits what [`Writer::begin`] has begun. Under a lease that is a sign of life: whoever has waited for the end of a
    /// long batch finds it renewed.
    pub(super) async fn commit(&self, transaction: DatabaseTransaction) -> Result<(), IndexError> {
        if let Some(under) = &self.under {
            lease::renew(&transaction, under).await?;
        }
        transaction.commit().await.map_err(unconfirmed)
    }
}

/// The rows of a refresh; its values are the moment and the rows.
fn fresh_rows(dialect: Dialect) -> String {
    format!(
        "(SELECT CAST(value->>0 AS bigint) AS new_id, value->>1 AS version, CAST(value->>2 AS bigint) AS size, \
         value->>3 AS content_type, value->>4 AS etag, value->>5 AS name, value->>6 AS parent_path, \
         {} AS last_modified, value->>8 AS file_id, {} AS updated_at FROM {}) AS new",
        dialect.time("value->>7"),
        dialect.time("?"),
        dialect.words().rows,
    )
}

/// Brings records up to date, if they still are what they were.
fn refresh_statement(dialect: Dialect) -> String {
    format!(
        "UPDATE stored_files SET name = new.name, parent_path = new.parent_path, size = new.size, \
         content_type = new.content_type, etag = new.etag, last_modified = new.last_modified, file_id = new.file_id, \
         updated_at = new.updated_at FROM {} \
         WHERE stored_files.id = new.new_id AND {} = new.version",
        fresh_rows(dialect),
        dialect.version()
    )
}

fn refresh_rows(updates: &[Refresh]) -> String {
    json(updates.iter().map(|refresh| {
        let (o, version) = (&refresh.object, String::from_utf8_lossy(&refresh.version));
        let path = &o.key[refresh.path_at..];
        let (name, parent, changed) = (name_of(path), parent_of(path), o.last_modified.to_text());
        let file_id = o.file_id.map(FileId::to_text);
        (refresh.id, version, o.size, refresh.content_type, o.etag.as_deref(), name, parent, changed, file_id)
    }))
}

/// Writes rows as one JSON text.
pub(super) fn json<T: serde::Serialize>(rows: impl Iterator<Item = T>) -> String {
    let mut text = vec![b'['];
    for row in rows {
        if text.len() > 1 {
            text.push(b',');
        }
        // Numbers and strings always serialise, and into memory.
        let _ = serde_json::to_writer(&mut text, &row);
    }
    text.push(b']');
    String::from_utf8(text).unwrap_or_default()
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Returns a moment in seconds since 1970, as both databases compare the ends of links.
pub(super) fn unix_seconds(time: Timestamp) -> f64 {
    // Milliseconds are what SQLite knows; rounding down keeps a link active rather than killing it early.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit in 53 bits")]
    let millis = time.micros().div_euclid(1_000) as f64;
    millis / 1_000.0
}
