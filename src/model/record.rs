//! What the index says of a file.

use serde::{Deserialize, Serialize};

use super::{FileId, Timestamp};

/// The id of a user.
pub type UserId = i64;

/// The highest id that a user can be given: above it there is room for those that are counted up.
pub const HIGHEST_USER_ID: UserId = i64::MAX / 2;

/// The id of a record. It is never given twice.
pub type RecordId = i64;

/// The facts of one record, borrowed from the page that it was read with. `None` is NULL, or a value that cannot be
/// read as what the column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFacts<'page> {
    /// The id.
    pub id: RecordId,
    /// The path below the user's prefix.
    pub path: &'page str,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The content type.
    pub content_type: Option<&'page str>,
    /// The entity tag, as it was stored.
    pub etag: Option<&'page str>,
    /// When the object was last written.
    pub last_modified: Option<Timestamp>,
    /// What names the file on a local disk, as it was when the record was last compared with it.
    pub file_id: Option<FileId>,
    /// When the record was made.
    pub created_at: Option<Timestamp>,
    /// All columns as the database gave them: equal only while nobody has changed the record.
    pub version: &'page [u8],
    /// Whether a column is not readable text, so that nobody can say what the record means.
    pub damaged: bool,
}

/// A record without an object, owned, so that it can wait on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Whose.
    pub user: UserId,
    /// The record.
    pub id: RecordId,
    /// The path below the user's prefix.
    pub path: String,
    /// The size that the record has.
    pub size: Option<u64>,
    /// The content type that the record has.
    pub content_type: Option<String>,
    /// The entity tag that the record has.
    pub etag: Option<String>,
    /// Microseconds since 1970, as the record has them.
    pub last_modified: Option<i64>,
    /// See [`RecordFacts::file_id`].
    pub file_id: Option<FileId>,
    /// When the record was made, microseconds since 1970.
    pub created_at: Option<i64>,
    /// See [`RecordFacts::version`].
    pub version: String,
}

impl Orphan {
    /// Takes what a later decision and the report need of `record`.
    pub fn of(user: UserId, record: &RecordFacts<'_>) -> Self {
        Self {
            user,
            id: record.id,
            path: record.path.to_owned(),
            size: record.size,
            content_type: record.content_type.map(str::to_owned),
            etag: record.etag.map(str::to_owned),
            last_modified: record.last_modified.map(Timestamp::micros),
            file_id: record.file_id,
            created_at: record.created_at.map(Timestamp::micros),
            version: String::from_utf8_lossy(record.version).into_owned(),
        }
    }
}
