//! What can go wrong with a storage, and the diary of what did.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What goes wrong. Places are thousandths of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The listing fails there; taken up again it goes on to its end, or fails again and again.
    Break { at: usize, once: bool },
    /// These keys are not listed.
    Forget(BTreeSet<String>),
    /// Nothing is listed.
    Empty,
    /// The listing ends there as if it were whole.
    Truncate(usize),
    /// So many items are told twice in a row.
    Repeat { at: usize, count: usize },
    /// The first so many items are told again and again.
    Circle(usize),
    /// An item and the one so far behind it change places.
    Swap { at: usize, by: usize },
    /// So many items come in any order.
    Shuffle { at: usize, count: usize, seed: u64 },
    /// Nothing is ready there for so many looks.
    Stall { at: usize, polls: usize },
    /// Somebody writes (or removes) objects while the listing is there.
    MeddleAt { at: usize, changes: Vec<(String, Option<Vec<u8>>)> },
    /// Somebody does something at the look number so many.
    AtLook(usize, Deed),
    /// Looks for these keys are not answered.
    Deaf(BTreeSet<String>),
    /// From this read of the marker on it says this; nothing: that it cannot be read.
    Marker { after: usize, says: Option<Option<String>> },
    /// The storage takes no marker.
    ReadOnly,
}

/// What somebody does at the worst moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Shares the record whose object is asked for.
    Share,
    /// Edits it.
    Edit,
    /// Uploads its object.
    Upload,
    /// Takes the lease away.
    Steal,
}

impl Fault {
    /// Tells whether the same run again would meet the same.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(
            self,
            Self::MeddleAt { .. }
                | Self::AtLook(..)
                | Self::Marker { .. }
                | Self::ReadOnly
                | Self::Break { once: true, .. }
        )
    }
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) content: Vec<u8>,
    pub(crate) micros: i64,
}

impl Entry {
    pub(crate) fn etag(&self) -> String {
        etag_of(&self.content)
    }
}

pub(crate) fn etag_of(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

pub(crate) type Objects = BTreeMap<String, Entry>;

/// What one listing told, taken up again or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) keys: Vec<(String, u64, String)>,
    /// Whether the last thing it said was an error.
    pub(crate) failed: bool,
    /// Whether it goes round and round.
    pub(crate) circles: bool,
    /// Whether it was asked for only to look at one place again.
    pub(crate) is_second_look: bool,
}

/// All that was asked and done since the faults were armed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diary {
    pub(crate) listings: Vec<Told>,
    /// Keys of which it was said that they are not there.
    pub(crate) absent: BTreeSet<String>,
    /// The last answer about the marker: nothing when it could not be read, then nothing when it was not there.
    pub(crate) marker: Option<Option<String>>,
    /// Whether the marker was ever asked for.
    pub(crate) marker_read: bool,
    pub(crate) marker_written: bool,
    /// Writes that nobody may make.
    pub(crate) forbidden: Vec<String>,
    /// Keys that somebody else changed.
    pub(crate) meddled: BTreeSet<String>,
    /// Records that were shared or edited.
    pub(crate) shared: BTreeSet<i64>,
    pub(crate) edited: BTreeSet<i64>,
    pub(crate) stolen: bool,
    pub(super) looks: usize,
    pub(super) marker_reads: usize,
    pub(super) breaks: u32,
}

impl Diary {
    /// What the run itself was told, by its last listing.
    pub(crate) fn listing(&self) -> &Told {
        self.listings.iter().rfind(|told| !told.is_second_look).unwrap()
    }
}
