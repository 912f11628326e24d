//! What the system says of a file -> what the storage library would say of it.

use std::fmt::Write as _;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use object_store::{ObjectMeta, path::Path};

use super::Item;
use crate::model::Timestamp;

/// Returns the facts of the file at `key`, with the same entity tag as `LocalFileSystem`:
/// `"<inode>-<mtime in microseconds>-<size>"`, in hexadecimal.
pub(super) fn facts_of(metadata: &Metadata, key: &str) -> Item {
    let modified = Timestamp::from_unix(metadata.mtime(), metadata.mtime_nsec());
    let mut e_tag = String::with_capacity(48);
    let since_1970 = metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1_000).max(0);
    // Writing to a string cannot fail.
    let _ = write!(e_tag, "\"{:x}-{since_1970:x}-{:x}\"", metadata.ino(), metadata.len());
    Ok(ObjectMeta {
        location: Path::parse(key)?,
        last_modified: modified.to_utc(),
        size: metadata.len(),
        e_tag: Some(e_tag),
        version: None,
    })
}
