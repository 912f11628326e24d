//! Two records of one file, under two spellings of its name: the one that the directory does not list goes, and its links go
//! over to the other.

use std::collections::HashMap;

use super::deletes::versions_now;
use super::dialect::{Dialect, sql};
use super::error::IndexError;
use super::journal;
use super::moves::holders;
use super::retry::patiently;
use super::writes::{Writer, json};
use crate::model::{RecordId, UserId};

/// A record that goes, and the path of the one that takes over its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merging {
    /// Which goes.
    pub id: RecordId,
    /// Whose it is.
    pub user: UserId,
    /// All columns as they were read: it stays when they have changed since.
    pub version: Vec<u8>,
    /// The path of the other record, of the same user.
    pub into: String,
}

impl Writer {
    /// Gives the links of records to others and deletes the former, all or none. Returns which went; one stays that has
    /// changed, or whose counterpart is not there.
    ///
    /// # Errors
    /// When the database does; then nothing is changed.
    pub async fn merge(&self, merges: &[Merging]) -> Result<Vec<bool>, IndexError> {
        patiently(|| self.merge_once(merges)).await
    }

    async fn merge_once(&self, merges: &[Merging]) -> Result<Vec<bool>, IndexError> {
        let transaction = self.begin().await?;
        let words = Dialect::of(&transaction).words();
        let now = versions_now(&transaction, &json(merges.iter().map(|m| m.id))).await?;
        let into = holders(&transaction, merges.iter().map(|m| (m.user, m.into.as_str())), words.lock).await?;
        let into: HashMap<RecordId, RecordId> = merges
            .iter()
            .zip(into)
            .filter(|(m, _)| now.get(&m.id).is_some_and(|(user, version)| *user == m.user && *version == m.version))
            .filter_map(|(m, into)| Some((m.id, into.filter(|into| *into != m.id)?)))
            .collect();
        let going = json(into.keys());
        journal::deletions(&transaction, self.task(), &going).await.map_err(IndexError::Write)?;
        let follow = format!(
            "UPDATE share_links SET stored_file_id = new.after FROM (SELECT CAST(value->>0 AS bigint) AS before, \
             CAST(value->>1 AS bigint) AS after FROM {}) AS new WHERE stored_file_id = new.before",
            words.rows
        );
        let delete = format!("DELETE FROM stored_files WHERE id IN {}", words.ids);
        for (statement, value) in [(follow, json(into.iter())), (delete, going)] {
            let statement = sql(&transaction, &statement, [value.into()]);
            sea_orm::ConnectionTrait::execute_raw(&transaction, statement).await.map_err(IndexError::Write)?;
        }
        self.commit(transaction).await?;
        Ok(merges.iter().map(|m| into.contains_key(&m.id)).collect())
    }
}
