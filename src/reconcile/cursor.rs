//! One record after the other, out of pages that are read ahead; order is checked, because a merge of what is not
//! ordered would import and delete the same rows for ever.

use crate::index::{IndexError, RecordPage, RecordPages};
use crate::model::{RecordFacts, RecordId, UserId};

/// Where the reading of records is.
#[derive(Debug)]
pub(super) struct RecordCursor {
    pages: RecordPages,
    page: Option<RecordPage>,
    at: usize,
    last: Option<String>,
    /// Records without a place in the order.
    unplaced: Vec<RecordId>,
}

impl RecordCursor {
    /// Stands before the first record.
    pub(super) fn new(pages: RecordPages) -> Self {
        Self { pages, page: None, at: 0, last: None, unplaced: Vec::new() }
    }

    /// Tells whether the next record of the user is at hand without waiting.
    pub(super) fn is_ready(&self) -> bool {
        self.page.as_ref().is_some_and(|page| self.at < page.len() || page.is_end())
    }

    /// Waits until the next record of `user`, or the end of the user's records, is at hand.
    pub(super) async fn load(&mut self, user: UserId) -> Result<(), CursorError> {
        while !self.is_ready() {
            let page = self.pages.next().await?.ok_or(CursorError::Ended)?;
            if page.user() != user {
                return Err(CursorError::Ended);
            }
            self.check_order(&page)?;
            self.unplaced.extend(page.unplaced());
            self.at = 0;
            self.page = Some(page);
        }
        Ok(())
    }

    fn check_order(&mut self, page: &RecordPage) -> Result<(), CursorError> {
        let mut last = self.last.as_deref();
        for at in 0..page.len() {
            let path = page.path(at);
            if last.is_some_and(|last| last.as_bytes() >= path.as_bytes()) {
                return Err(CursorError::OutOfOrder(path.to_owned()));
            }
            last = Some(path);
        }
        self.last = last.map(str::to_owned);
        Ok(())
    }

    /// Returns the next record, which [`Self::load`] has brought; none at the end of the user's.
    pub(super) fn peek(&self) -> Option<RecordFacts<'_>> {
        let page = self.page.as_ref()?;
        (self.at < page.len()).then(|| page.get(self.at))
    }

    /// Returns the path of the next record, as [`Self::peek`].
    pub(super) fn peek_path(&self) -> Option<&str> {
        let page = self.page.as_ref()?;
        (self.at < page.len()).then(|| page.path(self.at))
    }

    /// Returns a record of the user whose path is no text and therefore has no place in the order, if there is one. Known
    /// at the end of the user's records.
    pub(super) fn blob_path(&self) -> Option<RecordId> {
        self.page.as_ref().and_then(RecordPage::blob_path)
    }

    /// Takes the records that were met since this was asked last and have no place in the order, as their paths are no
    /// readable text.
    pub(super) fn take_unplaced(&mut self) -> Vec<RecordId> {
        std::mem::take(&mut self.unplaced)
    }

    /// Goes on to the next record.
    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Leaves the user, whose records are at their end.
    pub(super) fn leave(&mut self) {
        self.page = None;
        self.last = None;
        self.unplaced.clear();
    }
}

/// Why the records cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum CursorError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the reading of records ended before its time")]
    Ended,
    #[error(
        "the database does not order paths by their bytes ({0:?} is out of order); check the collation of stored_files.path"
    )]
    OutOfOrder(String),
}

impl CursorError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Index(e) => e.code(),
            Self::Ended | Self::OutOfOrder(_) => "database_failed",
        }
    }
}
