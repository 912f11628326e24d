//! A page of records, however the database hands it out.

use sea_orm::ConnectionTrait;

use super::dialect::Dialect;
use super::dialect::packed::PackedPage;
use super::dialect::wide::WidePage;
use super::error::IndexError;
use crate::model::{RecordFacts, RecordId, UserId};

/// Some records of one user, in the byte order of their paths.
#[derive(Debug)]
pub struct RecordPage {
    user: UserId,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Packed(PackedPage),
    Wide(WidePage),
}

impl RecordPage {
    /// Reads up to `limit` records of `user` whose path is greater than `after`.
    pub(super) async fn read(
        db: &impl ConnectionTrait,
        user: UserId,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Self, IndexError> {
        let rows = match Dialect::of(db) {
            Dialect::Sqlite => Rows::Packed(PackedPage::read(db, user, after, limit).await?),
            Dialect::Postgres => Rows::Wide(WidePage::read(db, user, after, limit).await?),
        };
        Ok(Self { user, rows })
    }

    /// Reads those of the records `ids` (a JSON array) that are of `user`.
    pub(super) async fn read_ids(db: &impl ConnectionTrait, user: UserId, ids: &str) -> Result<Self, IndexError> {
        let rows = match Dialect::of(db) {
            Dialect::Sqlite => Rows::Packed(PackedPage::read_ids(db, user, ids).await?),
            Dialect::Postgres => Rows::Wide(WidePage::read_ids(db, user, ids).await?),
        };
        Ok(Self { user, rows })
    }

    /// Returns the records that belong here and are left out, because their paths are no readable text: nobody can say what
    /// they are of.
    pub fn unplaced(&self) -> &[RecordId] {
        match &self.rows {
            Rows::Packed(page) => page.unplaced(),
            Rows::Wide(_) => &[],
        }
    }

    /// Tells whether the user has no further records, not even such as are left out.
    pub fn is_end(&self) -> bool {
        self.is_empty() && self.unplaced().is_empty()
    }

    /// Returns the path of the last record, those that are left out included, behind which the next page begins.
    pub(super) fn last(&self) -> Option<&[u8]> {
        match &self.rows {
            Rows::Packed(page) => page.last(),
            Rows::Wide(page) => Some(page.path(page.len().checked_sub(1)?).as_bytes()),
        }
    }

    /// Returns whose records these are.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Returns a record of the user whose path is a BLOB: it sorts behind every text, so it is in no page. Only the empty
    /// page at the end knows of it.
    pub fn blob_path(&self) -> Option<RecordId> {
        match &self.rows {
            Rows::Packed(page) => page.blob_path(),
            Rows::Wide(_) => None,
        }
    }

    /// Returns how many records there are.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Packed(page) => page.len(),
            Rows::Wide(page) => page.len(),
        }
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the path of record `at`.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn path(&self, at: usize) -> &str {
        match &self.rows {
            Rows::Packed(page) => page.path(at),
            Rows::Wide(page) => page.path(at),
        }
    }

    /// Returns the facts of record `at`.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn get(&self, at: usize) -> RecordFacts<'_> {
        match &self.rows {
            Rows::Packed(page) => page.get(at),
            Rows::Wide(page) => page.get(at),
        }
    }
}
