//! Many records in one value: the database joins the columns of a page of records into one text, which is several times
//! faster than one row each, and the page lends the facts out without copying them.

use std::borrow::Cow;

use sea_orm::{ConnectionTrait, Value};

use super::Dialect;
use crate::index::error::IndexError;
use crate::model::{FileId, RecordFacts, RecordId, Timestamp, UserId};

/// The columns of a packed record, in order; the whole is what [`RecordFacts::version`] compares.
const COLUMNS: [&str; 9] =
    ["id", "path", "size", "content_type", "etag", "last_modified", "file_id", "created_at", "updated_at"];

/// Where among them the path is.
const PATH: usize = 1;

/// Between columns, between records, and instead of NULL: control characters that no key has. Should a column have one
/// all the same, the count of separators tells, and the page is read column by column.
const UNIT: u8 = 0x1f;
const RECORD: u8 = 0x1e;
const NULL: &str = "\u{18}";

/// Returns the SQL expression of one packed record.
pub(crate) fn packed_row() -> String {
    let columns: Vec<String> = COLUMNS.iter().map(|c| format!("ifnull(stored_files.{c}, char(24))")).collect();
    format!("concat_ws(char(31), {})", columns.join(", "))
}

/// Some records of one user, in the byte order of their paths.
#[derive(Debug)]
pub(crate) struct PackedPage {
    text: String,
    /// Where each record's columns begin, and where the last one ends.
    rows: Vec<[u32; 10]>,
    ids: Vec<RecordId>,
    /// The places of records with a column that is not readable text.
    damaged: Vec<usize>,
    /// Records whose path is not readable text.
    unplaced: Vec<RecordId>,
    /// The path of the last one of all, should that be one of those.
    odd_end: Option<Vec<u8>>,
    /// Known to the empty page at the end.
    blob_path: Option<RecordId>,
}

impl PackedPage {
    /// Reads up to `limit` records of `user` whose path is greater than `after`.
    pub(crate) async fn read(
        db: &impl ConnectionTrait,
        user: UserId,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Self, IndexError> {
        let page = Self::read_rows(db, page_clause(after), page_values(user, after, limit)).await?;
        if page.len() == 0 && page.unplaced.is_empty() {
            let blob_path = blob_path(db, user).await.map_err(IndexError::Read)?;
            return Ok(Self { blob_path, ..page });
        }
        Ok(page)
    }

    /// Reads those of the records `ids` (a JSON array) that are of `user`.
    pub(crate) async fn read_ids(db: &impl ConnectionTrait, user: UserId, ids: &str) -> Result<Self, IndexError> {
        let clause = "WHERE user_id = ? AND path < x'' AND id IN (SELECT value FROM json_each(?)) ORDER BY path";
        Self::read_rows(db, clause, vec![user.into(), ids.into()]).await
    }

    async fn read_rows(db: &impl ConnectionTrait, clause: &str, values: Vec<Value>) -> Result<Self, IndexError> {
        let query = format!(
            "SELECT count(*), CAST(group_concat(packed, char(30)) AS BLOB) FROM (SELECT {} AS packed FROM stored_files \
             {clause})",
            packed_row(),
        );
        let row = db.query_one_raw(Dialect::Sqlite.sql(&query, values.clone())).await.map_err(IndexError::Read)?;
        let Some(row) = row else { return Ok(Self::empty()) };
        let count: i64 = row.try_get_by_index(0).map_err(IndexError::Read)?;
        if count == 0 {
            return Ok(Self::empty());
        }
        let bytes: Vec<u8> = row.try_get_by_index(1).map_err(IndexError::Read)?;
        let text = String::from_utf8(bytes).ok();
        match text.and_then(|text| Self::unpack(text, usize::try_from(count).unwrap_or(0))) {
            Some(page) => page,
            None => Self::read_columns(db, clause, values).await,
        }
    }

    /// Makes a page without records.
    pub(crate) fn empty() -> Self {
        Self {
            text: String::new(),
            rows: Vec::new(),
            ids: Vec::new(),
            damaged: Vec::new(),
            unplaced: Vec::new(),
            odd_end: None,
            blob_path: None,
        }
    }

    /// Splits a packed page. `None` when the separators do not add up, because a column has one of them.
    fn unpack(text: String, count: usize) -> Option<Result<Self, IndexError>> {
        let offset = |at: usize| u32::try_from(at).ok();
        let mut page = Self { rows: Vec::with_capacity(count), ids: Vec::with_capacity(count), ..Self::empty() };
        let (mut row, mut column) = ([0_u32; 10], 1);
        for at in memchr::memchr2_iter(UNIT, RECORD, text.as_bytes()).chain([text.len()]) {
            let ends_record = at == text.len() || text.as_bytes()[at] == RECORD;
            if ends_record != (column == COLUMNS.len()) {
                return None;
            }
            // The next column begins behind the separator; the last border is where the separator would be.
            row[column] = offset(at + 1)?;
            column += 1;
            if ends_record {
                page.ids.push(column_of(&text, &row, 0).parse().ok()?);
                page.rows.push(row);
                row[0] = offset(at + 1)?;
                column = 1;
            }
        }
        page.text = text;
        (page.rows.len() == count).then_some(Ok(page))
    }

    /// The slow way, for pages in which somebody has written a separator or bytes that are not UTF-8.
    async fn read_columns(db: &impl ConnectionTrait, clause: &str, values: Vec<Value>) -> Result<Self, IndexError> {
        let columns: Vec<String> = COLUMNS.iter().map(|c| format!("CAST(ifnull({c}, char(24)) AS BLOB)")).collect();
        let query = format!("SELECT id, {} FROM stored_files {clause}", columns.join(", "));
        let mut page = Self::empty();
        for row in db.query_all_raw(Dialect::Sqlite.sql(&query, values)).await.map_err(IndexError::Read)? {
            let id: RecordId = row.try_get_by_index(0).map_err(IndexError::Read)?;
            let columns = (1..=COLUMNS.len()).map(|at| row.try_get_by_index(at)).collect::<Result<Vec<_>, _>>();
            page.push(id, columns.map_err(IndexError::Read)?);
        }
        Ok(page)
    }

    fn push(&mut self, id: RecordId, mut columns: Vec<Vec<u8>>) {
        let start = self.text.len();
        self.odd_end = None;
        match self.lay_out(&columns) {
            Some((borders, is_readable)) => {
                if !is_readable {
                    self.damaged.push(self.rows.len());
                }
                self.ids.push(id);
                self.rows.push(borders);
            }
            None => {
                self.text.truncate(start);
                self.unplaced.push(id);
                self.odd_end = Some(columns.swap_remove(PATH));
            }
        }
    }

    /// Writes a record behind the others; returns its borders, and whether all of it is readable text. `None` when it has no
    /// place: its path is no text, or the page is too long.
    fn lay_out(&mut self, columns: &[Vec<u8>]) -> Option<([u32; 10], bool)> {
        let border = |text: &String| u32::try_from(text.len()).ok();
        let (mut borders, mut is_readable) = ([border(&self.text)?; 10], true);
        for (at, bytes) in columns.iter().enumerate() {
            let text = String::from_utf8_lossy(bytes);
            // A readable text is not copied by that.
            if matches!(text, Cow::Owned(_)) {
                is_readable = false;
                if at == PATH {
                    return None;
                }
            }
            self.text.push_str(&text);
            // The same separator as in the packed form, so that a record has one version, however it was read.
            self.text.push(char::from(UNIT));
            borders[at + 1] = border(&self.text)?;
        }
        Some((borders, is_readable))
    }

    /// See [`crate::index::RecordPage::unplaced`].
    pub(crate) fn unplaced(&self) -> &[RecordId] {
        &self.unplaced
    }

    /// Returns the path of the last record that was read, whatever it is.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.odd_end.as_deref().or_else(|| Some(self.path(self.len().checked_sub(1)?).as_bytes()))
    }

    /// See [`crate::index::RecordPage::blob_path`].
    pub(crate) fn blob_path(&self) -> Option<RecordId> {
        self.blob_path
    }

    /// Returns how many records there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the path of record `at`.
    pub(crate) fn path(&self, at: usize) -> &str {
        column_of(&self.text, &self.rows[at], 1)
    }

    /// Returns the facts of record `at`.
    pub(crate) fn get(&self, at: usize) -> RecordFacts<'_> {
        let row = &self.rows[at];
        let column = |which| Some(column_of(&self.text, row, which)).filter(|text| *text != NULL);
        RecordFacts {
            id: self.ids[at],
            path: column_of(&self.text, row, 1),
            size: column(2).and_then(|text| text.parse().ok()),
            content_type: column(3),
            etag: column(4),
            last_modified: column(5).and_then(Timestamp::from_text),
            file_id: column(6).and_then(FileId::from_text),
            created_at: column(7).and_then(Timestamp::from_text),
            version: &self.text.as_bytes()[row[0] as usize..row[9] as usize - 1],
            damaged: self.damaged.contains(&at),
        }
    }
}

/// A page begins behind the last path of the one before. The first has no border: even the empty path is greater.
fn page_clause(after: Option<&[u8]>) -> &'static str {
    match after {
        // Its bytes, for it may be no text; what is made of them is one all the same, and sorts where it stood.
        Some(_) => "WHERE user_id = ? AND path > CAST(? AS TEXT) AND path < x'' ORDER BY path LIMIT ?",
        None => "WHERE user_id = ? AND path < x'' ORDER BY path LIMIT ?",
    }
}

/// Every text sorts before every BLOB.
async fn blob_path(db: &impl ConnectionTrait, user: UserId) -> Result<Option<RecordId>, sea_orm::DbErr> {
    let query = "SELECT id FROM stored_files WHERE user_id = ? AND path >= x'' LIMIT 1";
    db.query_one_raw(Dialect::Sqlite.sql(query, [user.into()])).await?.map(|row| row.try_get_by_index(0)).transpose()
}

fn page_values(user: UserId, after: Option<&[u8]>, limit: u32) -> Vec<Value> {
    let mut values: Vec<Value> = vec![user.into()];
    values.extend(after.map(|path| Value::from(path.to_vec())));
    values.push(limit.into());
    values
}

fn column_of<'t>(text: &'t str, row: &[u32; 10], column: usize) -> &'t str {
    &text[row[column] as usize..row[column + 1] as usize - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(rows: &[[&str; 9]]) -> String {
        rows.iter().map(|r| r.join("\u{1f}")).collect::<Vec<_>>().join("\u{1e}")
    }

    const PLAIN: [&str; 9] =
        ["7", "a/é.txt", "12", "text/plain", "t1", "2026-11-23T08:54:54.5+00:00", "7b-ff", "2026-11-23 08:00:00", "u"];

    #[test]
    fn a_page_is_unpacked_without_loss() {
        let second = ["8", "b", NULL, NULL, NULL, "never", NULL, NULL, "u"];
        let page = PackedPage::unpack(packed(&[PLAIN, second]), 2).unwrap().unwrap();
        assert_eq!((page.len(), page.path(1)), (2, "b"));
        let first = page.get(0);
        assert_eq!(
            (first.id, first.path, first.size, first.content_type),
            (7, "a/é.txt", Some(12), Some("text/plain"))
        );
        assert_eq!(first.file_id, Some(FileId { inode: 0x7b, born: 0xff }));
        assert_eq!(first.version, packed(&[PLAIN]).as_bytes());
        assert_eq!(first.last_modified, Timestamp::from_text("2026-11-23T08:54:54.5Z"));
        let last = page.get(1);
        assert_eq!((last.size, last.etag, last.last_modified, last.created_at), (None, None, None, None));
        assert_eq!(last.version, packed(&[second]).as_bytes());
    }

    #[test]
    fn a_separator_in_a_column_is_noticed() {
        for (column, evil) in [(1, "a\u{1f}b"), (1, "a\u{1e}b"), (3, "\u{1f}"), (4, "x\u{1e}9\u{1f}y")] {
            let mut row = PLAIN;
            row[column] = evil;
            assert!(PackedPage::unpack(packed(&[PLAIN, row]), 2).is_none(), "{evil:?}");
        }
        // Separators that look like a whole record more.
        let mut row = PLAIN;
        let evil = format!("x\u{1e}{}", packed(&[PLAIN]));
        row[8] = &evil;
        assert!(PackedPage::unpack(packed(&[row]), 1).is_none());
    }
}
