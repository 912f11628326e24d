//! Records into PostgreSQL by COPY: straight into the table for users who had none, else through a temporary table and
//! one statement.

use std::collections::BTreeSet;

use sea_orm::sqlx::postgres::{PgConnection, PgPool};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

use super::{Dialect, numbered, postgres};
use crate::index::error::IndexError;
use crate::index::lease::{Under, held, sign};
use crate::index::retry::{is_duplicate, unconfirmed};
use crate::index::writes::{NewRecord, Written};
use crate::model::{FileId, Timestamp, UserId, name_of, parent_of};

const COLUMNS: &str = "user_id, path, name, parent_path, size, content_type, etag, last_modified, file_id, \
     created_at, updated_at";

/// Lives as long as the session, and is empty between transactions.
const STAGING: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS storm_index_new (user_id bigint, path text COLLATE \"C\", \
     name text, parent_path text, size bigint, content_type text, etag text, last_modified timestamptz, file_id text, \
     created_at timestamptz, updated_at timestamptz) ON COMMIT DELETE ROWS";

/// A batch that is written in one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk<'b> {
    /// Records to be made.
    pub(crate) creates: &'b [NewRecord],
    /// Records to be brought up to date.
    pub(crate) refresh: Option<Refreshing<'b>>,
    /// The moment that is written down.
    pub(crate) now: Timestamp,
    /// The lease under which it is written.
    pub(in crate::index) under: Option<&'b Under>,
}

/// The statements that bring records up to date.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refreshing<'b> {
    /// Writes the journal; its values are the task, the moment and the rows.
    pub(crate) journal: &'b str,
    /// Brings the records up to date; its values are the moment and the rows.
    pub(crate) update: &'b str,
    /// The rows.
    pub(crate) rows: &'b str,
}

impl Bulk<'_> {
    /// Writes all of it, or nothing.
    pub(crate) async fn write(self, db: &DatabaseConnection) -> Result<Written, IndexError> {
        let pool = db.get_postgres_connection_pool();
        let straight = !self.creates.is_empty() && self.creates.iter().all(|new| new.first);
        if straight {
            match self.once(pool, true).await {
                // Somebody else has made one of them meanwhile.
                Err(IndexError::Write(error)) if is_duplicate(&error) => {}
                done => return done,
            }
        }
        self.once(pool, false).await
    }

    async fn once(self, pool: &PgPool, straight: bool) -> Result<Written, IndexError> {
        let mut connection = pool.acquire().await.map_err(failed)?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        if let Some(under) = self.under {
            let look = sqlx::query(AssertSqlSafe(numbered(&held(Dialect::Postgres)))).bind(&under.task);
            look.fetch_optional(&mut *transaction).await.map_err(failed)?.ok_or(IndexError::LeaseLost)?;
        }
        let mut written = Written::default();
        if !self.creates.is_empty() {
            keep_users(&mut transaction, self.creates).await?;
            let table = if straight { "stored_files" } else { "storm_index_new" };
            if !straight {
                transaction.execute(STAGING).await.map_err(failed)?;
            }
            let copy = format!("COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)");
            let mut sink = transaction.copy_in_raw(&copy).await.map_err(failed)?;
            let copied = match sink.send(rows(self.creates, self.now)).await {
                Ok(_) => sink.finish().await.map_err(failed)?,
                Err(error) => {
                    // The first error is the one that says why.
                    let _ = sink.abort("the connection failed").await;
                    return Err(failed(error));
                }
            };
            written.created = copied;
            if !straight {
                let insert = format!(
                    "INSERT INTO stored_files ({COLUMNS}) SELECT {COLUMNS} FROM storm_index_new ORDER BY user_id, path \
                     ON CONFLICT (user_id, path) DO NOTHING"
                );
                let made = transaction.execute(AssertSqlSafe(insert)).await.map_err(failed)?;
                written.created = made.rows_affected();
            }
        }
        if let Some(Refreshing { journal, update, rows }) = self.refresh {
            let now = self.now.to_text();
            let journal = sqlx::query(AssertSqlSafe(numbered(journal)))
                .bind(self.under.map(|under| &under.task))
                .bind(&now)
                .bind(rows);
            journal.execute(&mut *transaction).await.map_err(failed)?;
            let update = sqlx::query(AssertSqlSafe(numbered(update))).bind(&now).bind(rows);
            written.updated = update.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
        }
        if let Some(under) = self.under {
            let sign = sqlx::query(AssertSqlSafe(numbered(&sign(Dialect::Postgres))));
            let sign = sign.bind(under.expiry.as_secs_f64()).bind(&under.task).execute(&mut *transaction);
            if sign.await.map_err(failed)?.rows_affected() == 0 {
                return Err(IndexError::LeaseLost);
            }
        }
        transaction.commit().await.map_err(|e| unconfirmed(DbErr::Exec(RuntimeErr::SqlxError(e.into()))))?;
        Ok(written)
    }
}

/// Checks once a batch what a foreign key would check once a record, for twice the time of the whole: that the users are
/// there, and stay until the end of the transaction.
async fn keep_users(connection: &mut PgConnection, creates: &[NewRecord]) -> Result<(), IndexError> {
    let users: BTreeSet<UserId> = creates.iter().map(|new| new.user).collect();
    let users: Vec<UserId> = users.into_iter().collect();
    let query = sqlx::query("SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR KEY SHARE").bind(&users);
    let there = query.fetch_all(connection).await.map_err(failed)?;
    if there.len() == users.len() { Ok(()) } else { Err(IndexError::UserGone) }
}

fn failed(error: sqlx::Error) -> IndexError {
    IndexError::Write(DbErr::Exec(RuntimeErr::SqlxError(error.into())))
}

/// Writes rows as COPY reads them: <https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format".
fn rows(creates: &[NewRecord], now: Timestamp) -> Vec<u8> {
    let mut rows = Vec::with_capacity(creates.len() * 200 + 32);
    rows.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for new in creates {
        let (path, object) = (new.path(), &new.object);
        rows.extend_from_slice(&11_i16.to_be_bytes());
        field(&mut rows, Some(&new.user.to_be_bytes()));
        field(&mut rows, Some(path.as_bytes()));
        field(&mut rows, Some(name_of(path).as_bytes()));
        field(&mut rows, Some(parent_of(path).as_bytes()));
        field(&mut rows, Some(&i64::try_from(object.size).unwrap_or(i64::MAX).to_be_bytes()));
        field(&mut rows, Some(new.content_type.as_bytes()));
        field(&mut rows, object.etag.as_ref().map(String::as_bytes));
        field(&mut rows, Some(&time(object.last_modified)));
        field(&mut rows, object.file_id.map(FileId::to_text).as_ref().map(String::as_bytes));
        field(&mut rows, Some(&time(now)));
        field(&mut rows, Some(&time(now)));
    }
    rows.extend_from_slice(&(-1_i16).to_be_bytes());
    rows
}

fn field(rows: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
    rows.extend_from_slice(&length.to_be_bytes());
    rows.extend_from_slice(value.unwrap_or_default());
}

fn time(time: Timestamp) -> [u8; 8] {
    (time.micros() - postgres::EPOCH).to_be_bytes()
}
