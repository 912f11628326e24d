//! Share links page by page, each with the place in the storage where its file should be; and all that the index has of
//! one path.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult};

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::links::{ShareLink, told};
use super::writes::unix_seconds;
use crate::model::{Prefix, RecordId, UserId};

/// How many links one page has at the most.
const PAGE: i64 = 1_000;

/// A share link, and the key of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLink {
    /// The link.
    pub link: ShareLink,
    /// The key; `None` when its user's prefix cannot be one, or the link has no record.
    pub key: Option<String>,
    /// The prefix of its user; `None` where the key is.
    pub prefix: Option<Prefix>,
}

/// A record as it stands, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// The id.
    pub id: RecordId,
    /// Each column by its name, as text, times in the same form on every database; `None` is NULL.
    pub columns: BTreeMap<&'static str, Option<String>>,
}

/// The columns of a record that hold times.
const TIMES: [&str; 3] = ["last_modified", "created_at", "updated_at"];

/// The columns of a record.
const COLUMNS: [&str; 12] = [
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

impl Index {
    /// Returns links whose id is greater than `after`, active and dead, in the order of their ids; no more when there are
    /// none. Nothing stays open between two pages.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn placed_links(&self, after: Option<i64>) -> Result<Vec<PlacedLink>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let select = select(dialect);
        // The page is cut before anything is looked up for it.
        let query = format!(
            "{select} FROM (SELECT * FROM share_links WHERE id > ? ORDER BY id LIMIT ?) AS links \
             LEFT JOIN stored_files ON stored_files.id = stored_file_id LEFT JOIN users ON users.id = user_id \
             ORDER BY links.id"
        );
        let values = [unix_seconds(self.clock.now()).into(), after.unwrap_or(i64::MIN).into(), PAGE.into()];
        let rows = self.reader.query_all_raw(dialect.sql(&query, values)).await.map_err(IndexError::Read)?;
        rows.iter().map(placed).collect::<Result<_, DbErr>>().map_err(IndexError::Read)
    }

    /// Returns the record of the `path` of `user` as it stands, if there is one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn record_row(&self, user: UserId, path: &str) -> Result<Option<RecordRow>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let columns = COLUMNS.map(|column| dialect.bytes(column)).join(", ");
        let query = format!("SELECT id, {columns} FROM stored_files WHERE user_id = ? AND path = ?");
        let query = dialect.sql(&query, [user.into(), path.into()]);
        let row = self.reader.query_one_raw(query).await.map_err(IndexError::Read)?;
        let read = |row: QueryResult| {
            let column = |(at, name): (usize, &'static str)| {
                let text = lossy(&row, at + 1)?;
                Ok((name, if TIMES.contains(&name) { text.map(told) } else { text }))
            };
            let columns = COLUMNS.into_iter().enumerate().map(column).collect::<Result<_, DbErr>>()?;
            Ok(RecordRow { id: row.try_get_by_index(0)?, columns })
        };
        row.map(read).transpose().map_err(IndexError::Read)
    }

    /// Returns the links to the record `id`, active and dead, the oldest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn links_of(&self, id: RecordId) -> Result<Vec<ShareLink>, IndexError> {
        let select = select(Dialect::of(&self.reader));
        let query = format!(
            "{select} FROM share_links AS links JOIN stored_files ON stored_files.id = stored_file_id \
             LEFT JOIN users ON users.id = user_id WHERE stored_file_id = ? ORDER BY links.id"
        );
        let values = [unix_seconds(self.clock.now()).into(), id.into()];
        let rows = self.reader.query_all_raw(sql(&self.reader, &query, values)).await.map_err(IndexError::Read)?;
        let links = rows.iter().map(|row| Ok(placed(row)?.link));
        links.collect::<Result<_, DbErr>>().map_err(IndexError::Read)
    }
}

fn select(dialect: Dialect) -> String {
    let [token, path, ends] = ["token", "path", "expires_at"].map(|column| dialect.bytes(column));
    let [made, prefix] = ["links.created_at", "users.prefix"].map(|column| dialect.bytes(column));
    let (active, ends_in_time) = (dialect.opens(), dialect.words().ends_in_time);
    format!(
        "SELECT links.id, {token}, user_id, {path}, stored_file_id, {active}, {ends}, {made}, {prefix}, {ends_in_time}"
    )
}

fn placed(row: &QueryResult) -> Result<PlacedLink, DbErr> {
    let (ends, in_time): (_, bool) = (lossy(row, 6)?, row.try_get_by_index(9)?);
    let link = ShareLink {
        id: row.try_get_by_index(0)?,
        token: lossy(row, 1)?.unwrap_or_default().into(),
        user_id: row.try_get_by_index(2)?,
        path: lossy(row, 3)?,
        stored_file_id: row.try_get_by_index(4)?,
        is_active: row.try_get_by_index(5)?,
        // What the database does not judge by is told as it stands: such a link is active, whatever we would read there.
        expires_at: if in_time { ends.map(told) } else { ends },
        created_at: lossy(row, 7)?.map(told).unwrap_or_default(),
    };
    // A path or prefix that is not quite text names another key than the one that is meant.
    let text = |column| {
        Ok::<_, DbErr>(row.try_get_by_index::<Option<Vec<u8>>>(column)?.and_then(|b| String::from_utf8(b).ok()))
    };
    let prefix = text(8)?.and_then(|prefix| Prefix::parse(&prefix).ok());
    let key = prefix.as_ref().zip(text(3)?).map(|(prefix, path)| prefix.key_of(&path));
    let prefix = prefix.filter(|_| key.is_some());
    Ok(PlacedLink { link, key, prefix })
}
