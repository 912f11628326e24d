//! Writing in bulk: one statement a batch, its rows in one bound JSON text, in key order, in one short transaction.
//!
//! SQLite takes such a statement as fast as its own shell imports a file; a bound value for each column would cost more
//! than the insert itself. No decisions are made here.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions,
    TransactionTrait as _,
};

use super::connect::{Index, sql};
use super::error::IndexError;
use super::packed::packed_row;
use crate::clock;
use crate::model::{ObjectFacts, RecordId, Timestamp, UserId, parent_of};

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
    /// The content type that its name promises.
    pub content_type: &'static str,
}

/// The handle that writes. Audits and dry runs are never given one.
#[derive(Debug, Clone)]
pub struct Writer {
    db: DatabaseConnection,
}

impl Index {
    /// Returns the handle that writes.
    ///
    /// # Errors
    /// When the index was opened for reading.
    pub fn writer(&self) -> Result<Writer, IndexError> {
        Ok(Writer { db: self.writing()?.clone() })
    }
}

/// What a batch of writes came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Records made.
    pub created: u64,
    /// Records brought up to date.
    pub updated: u64,
}

const INSERT: &str = "INSERT INTO stored_files \
     (user_id, path, name, parent_path, size, content_type, etag, last_modified, created_at, updated_at) \
     SELECT value->>0, value->>1, substr(value->>1, (value->>2) + 2), substr(value->>1, 1, value->>2), value->>3, \
            value->>4, value->>5, value->>6, ?, ? \
     FROM json_each(?) WHERE true ON CONFLICT (user_id, path) DO NOTHING";

impl Writer {
    /// Makes and refreshes records, all or none.
    ///
    /// A record that somebody else has made or changed meanwhile is left as it is, and not counted.
    ///
    /// # Errors
    /// When the database does; then nothing of the batch is written.
    pub async fn write(&self, creates: &[NewRecord], updates: &[Refresh]) -> Result<Written, IndexError> {
        let now = clock::now().to_text();
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
                )
            }));
            let values = [now.as_str().into(), now.as_str().into(), rows.into()];
            written.created =
                transaction.execute_raw(sql(INSERT, values)).await.map_err(IndexError::Write)?.rows_affected();
        }
        if !updates.is_empty() {
            let rows = json(updates.iter().map(|refresh| {
                let (o, version) = (&refresh.object, String::from_utf8_lossy(&refresh.version));
                (refresh.id, version, o.size, refresh.content_type, o.etag.as_deref(), o.last_modified.to_text())
            }));
            let statement = format!(
                "UPDATE stored_files SET size = new.size, content_type = new.content_type, etag = new.etag, \
                 last_modified = new.last_modified, updated_at = ? \
                 FROM (SELECT value->>0 AS new_id, value->>1 AS version, value->>2 AS size, value->>3 AS content_type, \
                       value->>4 AS etag, value->>5 AS last_modified FROM json_each(?)) AS new \
                 WHERE stored_files.id = new.new_id AND {} = new.version",
                packed_row()
            );
            let values = [now.as_str().into(), rows.into()];
            written.updated =
                transaction.execute_raw(sql(&statement, values)).await.map_err(IndexError::Write)?.rows_affected();
        }
        transaction.commit().await.map_err(IndexError::Write)?;
        Ok(written)
    }

    /// Begins a transaction that has the write lock from its start: one that took it later could fail half-way.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, IndexError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.db.begin_with_options(options).await.map_err(IndexError::Write)
    }
}

/// Writes rows as one JSON text, for `json_each`.
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

/// Returns a moment as SQLite's `unixepoch(…, 'subsec')` tells it.
pub(super) fn unix_seconds(time: Timestamp) -> f64 {
    // Milliseconds are what SQLite knows; rounding down keeps a link active rather than killing it early.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit in 53 bits")]
    let millis = time.micros().div_euclid(1_000) as f64;
    millis / 1_000.0
}
