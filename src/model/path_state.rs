//! What the storage has at a path to which a record may go back.

use super::{Orphan, Prefix};

/// A question to the storage: is a path free for a record, or does it hold the record's file?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathQuery {
    /// The prefix of the user who owns the record.
    pub prefix: Prefix,
    /// The path below the prefix that is asked about.
    pub path: String,
    /// The record, with the path and the facts that it has now.
    pub record: Orphan,
}

/// What the storage has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// Nothing: the storage itself said "not found".
    Empty,
    /// Provably the file of the record.
    SameFile,
    /// Something that is not provably the file of the record.
    Other,
}
