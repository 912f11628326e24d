//! Records out of PostgreSQL: rows of binary columns, copied into one text a page.

use std::fmt::Write as _;

use sea_orm::sqlx::postgres::PgRow;
use sea_orm::sqlx::{Row as _, ValueRef as _};
use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{Dialect, postgres};
use crate::index::error::IndexError;
use crate::model::{FileId, RecordFacts, RecordId, Timestamp, UserId};

/// Some records of one user, in the byte order of their paths.
#[derive(Debug)]
pub(crate) struct WidePage {
    text: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    id: RecordId,
    size: Option<u64>,
    last_modified: Option<Timestamp>,
    file_id: Option<FileId>,
    created_at: Option<Timestamp>,
    /// Where in the text the path begins, and where path, content type, entity tag and version end.
    borders: [u32; 5],
    has_content_type: bool,
    has_etag: bool,
}

impl WidePage {
    /// Reads up to `limit` records of `user` whose path is greater than `after`.
    pub(crate) async fn read(
        db: &impl ConnectionTrait,
        user: UserId,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Self, IndexError> {
        // The order is said, although the column has it: it has to be that of the bytes, and use the index.
        let clause = "WHERE user_id = ? AND path COLLATE \"C\" > ? ORDER BY path COLLATE \"C\" LIMIT ?";
        let first = "WHERE user_id = ? ORDER BY path COLLATE \"C\" LIMIT ?";
        let mut values: Vec<Value> = vec![user.into()];
        values.extend(after.map(|path| Value::from(String::from_utf8_lossy(path).into_owned())));
        values.push(i64::from(limit).into());
        Self::read_rows(db, if after.is_some() { clause } else { first }, values).await
    }

    /// Reads those of the records `ids` (a JSON array) that are of `user`.
    pub(crate) async fn read_ids(db: &impl ConnectionTrait, user: UserId, ids: &str) -> Result<Self, IndexError> {
        let ids_of = Dialect::Postgres.words().ids;
        let clause = format!("WHERE user_id = ? AND id IN {ids_of} ORDER BY path COLLATE \"C\"");
        Self::read_rows(db, &clause, vec![user.into(), ids.into()]).await
    }

    async fn read_rows(db: &impl ConnectionTrait, clause: &str, values: Vec<Value>) -> Result<Self, IndexError> {
        let query = format!(
            "SELECT id, path, size, content_type, etag, last_modified, file_id, created_at, xmin FROM stored_files {clause}"
        );
        let rows = db.query_all_raw(Dialect::Postgres.sql(&query, values)).await.map_err(IndexError::Read)?;
        let mut page = Self { text: String::with_capacity(rows.len() * 64), rows: Vec::with_capacity(rows.len()) };
        for row in &rows {
            let row = row.try_as_pg_row().ok_or_else(|| unreadable("no row of PostgreSQL"))?;
            page.push(row)?;
        }
        Ok(page)
    }

    fn push(&mut self, row: &PgRow) -> Result<(), IndexError> {
        let id = i64::from_be_bytes(fixed(row, 0)?.ok_or_else(|| unreadable("a record without an id"))?);
        let start = self.border(id)?;
        let path = text(row, 1)?.ok_or(IndexError::Damaged(id))?;
        self.text.push_str(path);
        let path_end = self.border(id)?;
        let content_type = text(row, 3)?;
        self.text.push_str(content_type.unwrap_or_default());
        let content_type_end = self.border(id)?;
        let etag = text(row, 4)?;
        self.text.push_str(etag.unwrap_or_default());
        let etag_end = self.border(id)?;
        let version = fixed(row, 8)?.map_or(0, u32::from_be_bytes);
        // A text always takes what is written to it.
        let _ = write!(self.text, "{version}");
        let end = self.border(id)?;
        self.rows.push(Row {
            id,
            size: fixed(row, 2)?.map(i64::from_be_bytes).and_then(|size| u64::try_from(size).ok()),
            last_modified: time(row, 5)?,
            file_id: text(row, 6)?.and_then(FileId::from_text),
            created_at: time(row, 7)?,
            borders: [start, path_end, content_type_end, etag_end, end],
            has_content_type: content_type.is_some(),
            has_etag: etag.is_some(),
        });
        Ok(())
    }

    fn border(&self, id: RecordId) -> Result<u32, IndexError> {
        u32::try_from(self.text.len()).map_err(|_| IndexError::Damaged(id))
    }

    /// Returns how many records there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the path of record `at`.
    pub(crate) fn path(&self, at: usize) -> &str {
        let [start, end, ..] = self.rows[at].borders;
        &self.text[start as usize..end as usize]
    }

    /// Returns the facts of record `at`.
    pub(crate) fn get(&self, at: usize) -> RecordFacts<'_> {
        let row = &self.rows[at];
        let part = |which: usize| &self.text[row.borders[which] as usize..row.borders[which + 1] as usize];
        RecordFacts {
            id: row.id,
            path: part(0),
            size: row.size,
            content_type: row.has_content_type.then(|| part(1)),
            etag: row.has_etag.then(|| part(2)),
            last_modified: row.last_modified,
            file_id: row.file_id,
            created_at: row.created_at,
            version: part(3).as_bytes(),
            damaged: false,
        }
    }
}

fn unreadable(what: &str) -> IndexError {
    IndexError::Read(DbErr::Type(format!("{what}; is stored_files still what storm-index made?")))
}

fn bytes(row: &PgRow, column: usize) -> Result<Option<&[u8]>, IndexError> {
    let value = row.try_get_raw(column).map_err(|e| unreadable(&e.to_string()))?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(Some).map_err(|e| unreadable(&e.to_string()))
}

fn text(row: &PgRow, column: usize) -> Result<Option<&str>, IndexError> {
    let bytes = bytes(row, column)?;
    bytes.map(|b| std::str::from_utf8(b).map_err(|e| unreadable(&e.to_string()))).transpose()
}

fn fixed<const N: usize>(row: &PgRow, column: usize) -> Result<Option<[u8; N]>, IndexError> {
    let bytes = bytes(row, column)?;
    bytes.map(|b| b.try_into().map_err(|_| unreadable("a column of another type"))).transpose()
}

/// `infinity` is no moment that could be written down.
fn time(row: &PgRow, column: usize) -> Result<Option<Timestamp>, IndexError> {
    let micros = fixed(row, column)?.map(i64::from_be_bytes).filter(|micros| !matches!(*micros, i64::MIN | i64::MAX));
    Ok(micros.map(|micros| Timestamp::from_micros(micros.saturating_add(postgres::EPOCH))))
}
