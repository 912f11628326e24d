//! The root: which directory it is, so that another one in its place is noticed.
//!
//! The point at which a disk is mounted is a directory like any other while the disk is away, and an empty one says of
//! every file that it is gone. What is mounted below the root is another matter: the index remembers it.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use super::dir::Dir;

/// The root of a storage.
#[derive(Debug, Clone)]
pub(super) struct Root {
    path: PathBuf,
    named: PathBuf,
    /// The device and the number by which the system knows the directory.
    id: (u64, u64),
}

impl Root {
    /// Takes the directory that is at `path` now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let named = std::path::absolute(path)?;
        let path = fs::canonicalize(path)?;
        let id = id_of(&entered(&path)?);
        Ok(Self { path, named, id })
    }

    /// Returns where it is, without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where it is, by the name that it was given.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    /// Checks that the directory is still the same one.
    ///
    /// # Errors
    /// When it is not: what is found or missing below it says nothing of the storage then. The error is never "not found".
    pub(super) fn check(&self) -> io::Result<()> {
        let gone = |e: io::Error| io::Error::other(format!("it is gone ({e})"));
        // What is mounted on demand may have gone to sleep, and wakes up when it is entered.
        if id_of(&fs::metadata(&self.path).map_err(gone)?) == self.id
            || id_of(&entered(&self.path).map_err(gone)?) == self.id
        {
            return Ok(());
        }
        Err(another())
    }

    /// Holds the directory, if it is still the same one.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) fn hold(&self) -> io::Result<Held> {
        self.check()?;
        let cannot = |e: io::Error| io::Error::other(format!("it cannot be entered ({e})"));
        let held = File::open(&self.path).map_err(cannot)?;
        // It may have changed since it was checked, but not since it was opened.
        if id_of(&held.metadata().map_err(cannot)?) == self.id { Ok(Held(held)) } else { Err(another()) }
    }
}

/// The root, held open: what is looked for below it is looked for there, whatever is mounted in its place meanwhile.
#[derive(Debug)]
pub(super) struct Held(File);

impl Held {
    /// Returns the directory.
    ///
    /// # Errors
    /// When the process may have no more open files.
    pub(super) fn dir(&self) -> io::Result<Dir> {
        Dir::try_from(self.0.try_clone()?)
    }

    /// Opens the file at `key`, to which no link may lead.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be opened.
    pub(super) fn open(&self, key: &str) -> io::Result<File> {
        let mut at = self.0.try_clone()?;
        for segment in key.split('/') {
            // Not waiting for whoever writes into a pipe, should it be one.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            at = File::from(openat(&at, segment, flags, Mode::empty())?);
        }
        Ok(at)
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

fn another() -> io::Error {
    io::Error::other("it is another one now (was a disk mounted or unmounted?)")
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
        let held = root.hold().unwrap();
        fs::rename(&at, &away).unwrap();
        let gone = root.check().unwrap_err();
        assert!(gone.to_string().contains("gone") && gone.kind() != io::ErrorKind::NotFound, "{gone}");
        fs::create_dir(&at).unwrap();
        for another in [root.check(), root.hold().map(drop)] {
            assert!(another.unwrap_err().to_string().contains("another one"));
        }
        // What is held stays what it is.
        assert!(held.open("a").is_ok() && held.open("b").is_err());
        assert_eq!(held.dir().unwrap().lists(&[b"a", b"b"]).unwrap(), [true, false]);
        fs::remove_dir(&at).unwrap();
        fs::write(&at, "").unwrap();
        assert!(root.check().is_err());
        fs::remove_file(&at).unwrap();
        fs::rename(&away, &at).unwrap();
        assert!(root.check().is_ok());
    }

    /// Without a word of it in [`Held::open`], this waits for ever.
    #[test]
    fn nobody_who_writes_into_a_pipe_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status();
        assert!(pipe.unwrap().success());
        let mut opened = Root::open(dir.path()).unwrap().hold().unwrap().open("pipe").unwrap();
        assert_eq!(io::Read::read(&mut opened, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn no_link_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("c", dir.path().join("a/b/link")).unwrap();
        let held = Root::open(dir.path()).unwrap().hold().unwrap();
        for (key, opens) in [("a/b/c", true), ("a/b/link", false), ("link/b/c", false), ("a/x", false)] {
            assert_eq!(held.open(key).is_ok(), opens, "{key}");
        }
    }
}
