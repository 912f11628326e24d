//! What the system says of a file -> the facts of an object.

use std::fmt::Write as _;

use rustix::fs::{Statx, StatxFlags};

use super::dir::device_of;
use crate::model::{FileId, ObjectFacts, Timestamp};

/// Returns the facts of the file at `key`, on a file system that keeps inode numbers or not. The entity tag is that of
/// `LocalFileSystem`: `<inode>-<mtime in microseconds>-<size>`, in hexadecimal.
pub(super) fn object_of(facts: &Statx, key: String, keeps_inodes: bool) -> ObjectFacts {
    let (seconds, nanos) = (facts.stx_mtime.tv_sec, facts.stx_mtime.tv_nsec);
    let since_1970 = seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1_000)).max(0);
    let mut etag = String::with_capacity(40);
    // Writing to a string cannot fail.
    let _ = write!(etag, "{:x}-{since_1970:x}-{:x}", facts.stx_ino, facts.stx_size);
    let born = StatxFlags::from_bits_retain(facts.stx_mask).contains(StatxFlags::BTIME).then_some(facts.stx_btime);
    ObjectFacts {
        key,
        size: facts.stx_size,
        last_modified: Timestamp::from_unix(seconds, i64::from(nanos)),
        etag: Some(etag),
        file_id: born.filter(|_| keeps_inodes).and_then(|t| FileId::new(facts.stx_ino, t.tv_sec, t.tv_nsec)),
        device: Some(device_of(facts)),
        linked: false,
    }
}

/// Returns when the file was last changed in any way: its content, its name or its rights.
pub(super) fn changed_at(facts: &Statx) -> Timestamp {
    Timestamp::from_unix(facts.stx_ctime.tv_sec, i64::from(facts.stx_ctime.tv_nsec))
}
