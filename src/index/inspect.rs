//! What the journal knows of one record: for people who want to know why it is what it is.

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::connect::Index;
use super::dialect::{Dialect, lossy};
use super::error::IndexError;
use super::links::told;
use super::token::masked;
use crate::model::{RecordId, UserId};

/// How many entries of the journal are told: the newest.
const ENTRIES: i64 = 100;

/// An entry of the journal, as it is told.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The number; later ones are greater.
    pub id: i64,
    /// The run, for [`Index::task`].
    pub task_id: Option<String>,
    /// What was done: `update`, `move`, `delete`…
    pub action: String,
    /// The record.
    pub record_id: RecordId,
    /// The path that the record had.
    pub path: String,
    /// The path that it got.
    pub new_path: Option<String>,
    /// The record before.
    pub before: Option<Box<RawValue>>,
    /// The record after.
    pub after: Option<Box<RawValue>>,
    /// The links that went along, their tokens masked.
    pub links: Option<Box<RawValue>>,
    /// When.
    pub created_at: String,
}

impl Index {
    /// Returns what the journal knows of the record `id` and of a user's `path`, the newest first, up to a hundred
    /// entries.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn journal_of(&self, user: UserId, path: &str, id: Option<RecordId>) -> Result<Vec<Entry>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let columns = ["task_id", "action", "path", "new_path", "before", "after", "links", "created_at"];
        let columns = columns.map(|column| dialect.bytes(column)).join(", ");
        // Each of the two has its index; both in one condition would have none.
        let one = |condition: &str| format!("SELECT id FROM journal WHERE {condition}");
        let query = format!(
            "SELECT id, record_id, {columns} FROM journal WHERE id IN ({} UNION {}) ORDER BY id DESC LIMIT ?",
            one("user_id = ? AND path = ?"),
            one("record_id = ?"),
        );
        let values = [user.into(), path.into(), id.unwrap_or_default().into(), ENTRIES.into()];
        let rows = self.reader.query_all_raw(dialect.sql(&query, values)).await.map_err(IndexError::Read)?;
        rows.iter().map(entry).collect::<Result<_, DbErr>>().map_err(IndexError::Read)
    }
}

fn entry(row: &QueryResult) -> Result<Entry, DbErr> {
    let text = |at| lossy(row, at);
    let raw = |at| Ok::<_, DbErr>(text(at)?.and_then(|text| RawValue::from_string(text).ok()));
    Ok(Entry {
        id: row.try_get_by_index(0)?,
        record_id: row.try_get_by_index(1)?,
        task_id: text(2)?,
        action: text(3)?.unwrap_or_default(),
        path: text(4)?.unwrap_or_default(),
        new_path: text(5)?,
        before: raw(6)?,
        after: raw(7)?,
        links: text(8)?.and_then(|links| masked_links(&links)),
        created_at: text(9)?.map(told).unwrap_or_default(),
    })
}

/// Masks the tokens in the journal's text about links; what cannot be read is left out.
fn masked_links(links: &str) -> Option<Box<RawValue>> {
    let mut links: Vec<Map<String, Value>> = serde_json::from_str(links).ok()?;
    for token in links.iter_mut().filter_map(|link| link.get_mut("token")) {
        *token = masked(token.as_str().unwrap_or_default()).into();
    }
    serde_json::value::to_raw_value(&links).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_of_the_journal_is_told_whole() {
        for (links, want) in [
            (r#"[{"id":1,"token":"0123456789abcdef0123456789abcdef"}]"#, Some(r#"[{"id":1,"token":"012345…"}]"#)),
            (r#"[{"id":1,"token":12345678}]"#, Some(r#"[{"id":1,"token":"…"}]"#)),
            ("[]", Some("[]")),
            (r#""0123456789abcdef""#, None),
            ("0123456789abcdef is cut of", None),
        ] {
            assert_eq!(masked_links(links).as_deref().map(RawValue::get), want, "{links}");
        }
    }
}
