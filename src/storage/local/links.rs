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
        Err(e) if is_absent(&e, link) => {
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
    let above = fs::canonicalize(parent).map_err(|e| BadReason::Unreadable(e.to_string()))?;
    if above.starts_with(&real) {
        return Err(BadReason::LinkLoop);
    }
    // Directories that link to each other have more paths than there are files in the world: one link on the way is
    // followed, the next one is not, which ends every circle as well.
    if above == parent { Ok(LinkTarget::Directory) } else { Err(BadReason::LinkBelowLink) }
}

/// The longest name that a file system of today can hold, in bytes.
const LONGEST_NAME: usize = 255;

/// Tells whether `error` says that there is nothing at `path`: nothing of that name, or a file where a directory would
/// have to be, or a name longer than any file system can hold. A path that is too long as a whole says nothing.
pub(super) fn is_absent(error: &io::Error, path: &Path) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::InvalidFilename => path.iter().any(|name| name.len() > LONGEST_NAME),
        _ => false,
    }
}
