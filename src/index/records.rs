//! The records of a run's users, page by page in key order, read ahead on a task of their own.
//!
//! Keyset pages, each its own short read: no cursor and no snapshot stays open while the run writes.

use sea_orm::DatabaseConnection;
use tokio::sync::mpsc;

use super::connect::Index;
use super::dialect::sql;
use super::error::IndexError;
use super::page::RecordPage;
use super::retry::Patience;
use super::writes::json;
use crate::model::{Orphan, RecordId, UserId};

/// How many records one page has at the most.
const PAGE: u32 = 5_000;

/// How many pages wait for the consumer.
const AHEAD: usize = 2;

/// Pages of records: for each user, in the order that was asked for, some pages and at the end one with nothing at all.
#[derive(Debug)]
pub struct RecordPages {
    pages: mpsc::Receiver<Result<RecordPage, IndexError>>,
}

impl RecordPages {
    /// Waits for the next page; `None` after the last user's empty one.
    ///
    /// # Errors
    /// When the index cannot be read. Nothing comes after that.
    pub async fn next(&mut self) -> Result<Option<RecordPage>, IndexError> {
        self.pages.recv().await.transpose()
    }
}

impl Index {
    /// Starts reading the records of `users`, in that order.
    pub fn records(&self, users: Vec<UserId>) -> RecordPages {
        let (give, pages) = mpsc::channel(AHEAD);
        let db = self.reader.clone();
        tokio::spawn(async move {
            for user in users {
                if read_user(&db, user, &give).await.is_none() {
                    return;
                }
            }
        });
        RecordPages { pages }
    }

    /// Reads the records `ids` of `user`, in the order of their paths; those that are gone, or damaged, are left out.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn records_by_id(&self, user: UserId, ids: &[RecordId]) -> Result<Vec<Orphan>, IndexError> {
        let page = RecordPage::read_ids(&self.reader, user, &json(ids.iter())).await?;
        let records = (0..page.len()).map(|at| page.get(at)).filter(|record| !record.damaged);
        Ok(records.map(|record| Orphan::of(user, &record)).collect())
    }

    /// Counts all records, for a progress bar: cheap, and only as exact as the moment.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn count_records(&self, user: Option<UserId>) -> Result<u64, IndexError> {
        let query = match user {
            None => sql(&self.reader, "SELECT count(*) FROM stored_files", []),
            Some(id) => sql(&self.reader, "SELECT count(*) FROM stored_files WHERE user_id = ?", [id.into()]),
        };
        let row = sea_orm::ConnectionTrait::query_one_raw(&self.reader, query).await.map_err(IndexError::Read)?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(IndexError::Read)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// `None` when the consumer has left, or reading has failed.
async fn read_user(
    db: &DatabaseConnection,
    user: UserId,
    give: &mpsc::Sender<Result<RecordPage, IndexError>>,
) -> Option<()> {
    let (mut after, mut patience) = (None::<Vec<u8>>, Patience::default());
    loop {
        let page = match RecordPage::read(db, user, after.as_deref(), PAGE).await {
            Ok(page) => page,
            Err(error) if patience.again(&error).await => continue,
            Err(error) => {
                let _ = give.send(Err(error)).await;
                return None;
            }
        };
        let done = page.is_end();
        after = page.last().map(<[u8]>::to_vec);
        give.send(Ok(page)).await.ok()?;
        if done {
            return Some(());
        }
    }
}
