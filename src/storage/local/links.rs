//! Links: followed within the storage, never out of it and never in a circle.

use std::fs;
use std::io;
use std::path::Path;

use crate::model::{BadReason, RESERVED_FOLDER};

/// Where a link leads that may be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkTarget {
    /// To a file of the storage.
    File,
    /// To a directory of the storage that the link does not stand in.
    Directory,
    /// The link itself is gone.
    Vanished,
}

/// Follows the link at `link`, found in the directory `parent` of the storage at `root` (canonical).
pub(super) fn resolve(root: &Path, link: &Path, parent: &Path) -> Result<LinkTarget, BadReason> {
    let real = match fs::canonicalize(link) {
        Ok(real) => real,
        Err(e) if is_absent(&e) => {
            return if fs::symlink_metadata(link).is_ok() {
                Err(BadReason::LinkBroken)
            } else {
                Ok(LinkTarget::Vanished)
            };
        }
        // The system gave up following: ELOOP, whose `ErrorKind` is not stable yet.
        Err(e) if e.raw_os_error() == Some(40) => return Err(BadReason::LinkLoop),
        Err(e) => return Err(BadReason::Unreadable(e.to_string())),
    };
    if !real.starts_with(root) || real.starts_with(root.join(RESERVED_FOLDER)) {
        return Err(BadReason::LinkOutside);
    }
    let metadata = fs::metadata(&real).map_err(|e| BadReason::Unreadable(e.to_string()))?;
    if metadata.is_file() {
        return Ok(LinkTarget::File);
    }
    if !metadata.is_dir() {
        return Err(BadReason::Special);
    }
    // A circle shows in one of two ways: the target is above the link, or the walk came through the target already.
    let above = fs::canonicalize(parent).map_err(|e| BadReason::Unreadable(e.to_string()))?;
    let walked =
        parent.ancestors().take_while(|a| a.starts_with(root)).any(|a| fs::canonicalize(a).is_ok_and(|a| a == real));
    if above.starts_with(&real) || walked { Err(BadReason::LinkLoop) } else { Ok(LinkTarget::Directory) }
}

/// Tells whether `error` says that there is nothing at a path: nothing of that name, or a file where a directory would
/// have to be, or a name longer than the file system can hold.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename)
}
