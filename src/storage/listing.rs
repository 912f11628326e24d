//! Any store -> key-ordered batches of object facts, and at the end one word: complete, or in doubt.
//!
//! A failed listing looks like a short one, so "no more items" is never taken for the end by itself: an error before it
//! is remembered, and an order that is broken ends the listing, because a merge with it would lie.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::{Error, ObjectMeta};

use super::trouble::{Trouble, trouble_of};
use crate::model::{BadEntry, ObjectFacts, Timestamp, is_reserved, unquoted};

/// How many items one batch has at the most.
const BATCH: usize = 4096;

/// Objects in key order, and the bad entries that were met among them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The objects, each key greater than the one before.
    pub objects: Vec<ObjectFacts>,
    /// The entries that are no objects. They stand before anything that they could hide.
    pub bad: Vec<BadEntry>,
}

/// Why a listing cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// It broke off: everything after the last key is unknown.
    BrokenOff {
        /// What the storage said.
        trouble: Trouble,
        /// The last key that was listed, if any.
        last: Option<String>,
    },
    /// A key came that is not greater than the one before: nothing that was listed proves anything about absence.
    OutOfOrder {
        /// The key before.
        last: String,
        /// The key that came.
        next: String,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenOff { trouble, last: None } => write!(f, "{}", trouble.message),
            Self::BrokenOff { trouble, last: Some(last) } => {
                write!(f, "the listing broke off after {last:?}: {}", trouble.message)
            }
            Self::OutOfOrder { last, next } if last == next => {
                write!(f, "the storage listed {next:?} twice; nothing is deleted on such a listing")
            }
            Self::OutOfOrder { last, next } => write!(
                f,
                "the storage does not list in byte order ({next:?} came after {last:?}); such storages are not supported yet"
            ),
        }
    }
}

/// What a listing says next.
#[derive(Debug)]
pub enum Step {
    /// More.
    Batch(Batch),
    /// Everything in scope has been listed, but for what the bad entries hide.
    Complete,
    /// The listing ended in doubt.
    Incomplete(Doubt),
}

/// A listing that is under way.
pub struct Listing {
    items: futures::stream::ReadyChunks<BoxStream<'static, Result<ObjectMeta, Error>>>,
    last: Option<String>,
    doubt: Option<Doubt>,
    hidden: Arc<[String]>,
}

impl Listing {
    pub(super) fn new(items: BoxStream<'static, Result<ObjectMeta, Error>>, hidden: Arc<[String]>) -> Self {
        Self { items: items.ready_chunks(BATCH), last: None, doubt: None, hidden }
    }

    /// Waits for the next step. After `Complete` or `Incomplete` it keeps saying the same.
    pub async fn next(&mut self) -> Step {
        loop {
            if let Some(doubt) = &self.doubt {
                return Step::Incomplete(doubt.clone());
            }
            let Some(items) = self.items.next().await else { return Step::Complete };
            let batch = self.sift(items);
            if !batch.objects.is_empty() || !batch.bad.is_empty() {
                return Step::Batch(batch);
            }
        }
    }

    fn sift(&mut self, items: Vec<Result<ObjectMeta, Error>>) -> Batch {
        let mut batch = Batch { objects: Vec::with_capacity(items.len()), bad: Vec::new() };
        for item in items {
            match item.map_err(entry_of) {
                Ok(meta) => {
                    let key = String::from(meta.location);
                    let last = batch.objects.last().map(|o| o.key.as_str()).or(self.last.as_deref());
                    if let Some(last) = last.filter(|last| key.as_str() <= *last) {
                        self.doubt = Some(Doubt::OutOfOrder { last: last.to_owned(), next: key });
                        break;
                    }
                    if !is_reserved(&key) && !self.hidden.contains(&key) {
                        batch.objects.push(ObjectFacts {
                            key,
                            size: meta.size,
                            last_modified: Timestamp::from(meta.last_modified),
                            etag: meta.e_tag.map(|tag| unquoted(&tag).to_owned()),
                        });
                    }
                }
                Err(Ok(entry)) => batch.bad.push(entry),
                Err(Err(error)) => {
                    let last = batch.objects.last().map(|o| o.key.clone()).or_else(|| self.last.clone());
                    self.doubt = Some(Doubt::BrokenOff { trouble: trouble_of(&error), last });
                    break;
                }
            }
        }
        if let Some(last) = batch.objects.last() {
            self.last = Some(last.key.clone());
        }
        batch
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("last", &self.last).field("doubt", &self.doubt).finish_non_exhaustive()
    }
}

/// An entry of its own trouble, or the end of the listing.
fn entry_of(error: Error) -> Result<BadEntry, Error> {
    match error {
        Error::Generic { store, source } => match source.downcast::<BadEntry>() {
            Ok(entry) => Ok(*entry),
            Err(source) => Err(Error::Generic { store, source }),
        },
        other => Err(other),
    }
}
