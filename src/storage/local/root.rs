//! The root: which directory it is, so that another one in its place is noticed.
//!
//! The point at which a disk is mounted is a directory like any other while the disk is away, and an empty one says of
//! every file that it is gone. A disk that is mounted somewhere below the root is not watched: nobody knows whether it
//! belongs there.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The root of a storage.
#[derive(Debug, Clone)]
pub(super) struct Root {
    path: PathBuf,
    /// The device and the number by which the system knows the directory.
    id: (u64, u64),
}

impl Root {
    /// Takes the directory that is at `path` now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let id = id_of(&entered(&path)?);
        Ok(Self { path, id })
    }

    /// Returns where it is, without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the directory is still the same one.
    ///
    /// # Errors
    /// When it is not: what is found or missing below it says nothing of the storage then. The error is never "not found".
    pub(super) fn check(&self) -> io::Result<()> {
        let gone = |e: io::Error| io::Error::other(format!("the root of the storage is gone ({e})"));
        // What is mounted on demand may have gone to sleep, and wakes up when it is entered.
        if id_of(&fs::metadata(&self.path).map_err(gone)?) == self.id
            || id_of(&entered(&self.path).map_err(gone)?) == self.id
        {
            return Ok(());
        }
        Err(io::Error::other("the root of the storage is another one now (was a disk mounted or unmounted?)"))
    }
}

/// Asks for the facts of a directory by entering it, where that is allowed.
fn entered(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    File::open(path).map_or(Ok(metadata), |directory| directory.metadata())
}

fn id_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_directory_in_its_place_is_another_root() {
        let dir = tempfile::tempdir().unwrap();
        let (at, away) = (dir.path().join("root"), dir.path().join("away"));
        assert!(Root::open(&at).is_err());
        fs::create_dir(&at).unwrap();
        let root = Root::open(&at).unwrap();
        assert!(root.check().is_ok());
        fs::write(at.join("a"), "").unwrap();
        assert!(root.check().is_ok(), "what lies in it may change");
        fs::rename(&at, &away).unwrap();
        let gone = root.check().unwrap_err();
        assert!(gone.to_string().contains("gone") && gone.kind() != io::ErrorKind::NotFound, "{gone}");
        fs::create_dir(&at).unwrap();
        assert!(root.check().unwrap_err().to_string().contains("another one"));
        fs::remove_dir(&at).unwrap();
        fs::write(&at, "").unwrap();
        assert!(root.check().is_err());
        fs::remove_file(&at).unwrap();
        fs::rename(&away, &at).unwrap();
        assert!(root.check().is_ok());
    }
}
