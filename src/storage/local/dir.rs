//! Directories that are held open: each is opened below the one above it, and no link is followed on the way.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxAttributes, StatxFlags, makedev, openat, statx};

/// How many bytes of names the system is asked for at a time.
const BUFFER: usize = 64 * 1024;

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// The number of its device.
    pub(super) device: u64,
    /// Its inode number.
    pub(super) inode: u64,
    /// Whether a file system is mounted here.
    pub(super) is_mount: bool,
}

impl Dir {
    /// Takes a directory that was opened, below one on the device `above`.
    pub(super) fn new(fd: OwnedFd, above: Option<u64>) -> io::Result<Self> {
        let facts = facts_of(&fd)?;
        let device = device_of(&facts);
        let tells = facts.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        let is_mount = match tells {
            true => facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            false => above.is_some_and(|above| above != device),
        };
        Ok(Self { fd, device, inode: facts.stx_ino, is_mount })
    }

    /// Returns what tells it apart from every other directory of now.
    pub(super) fn id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Tells whether it is the directory `other`, or lies below it, of those at or below `top`.
    ///
    /// # Errors
    /// When a directory above cannot be asked for.
    pub(super) fn lies_in(&self, other: (u64, u64), top: (u64, u64)) -> io::Result<bool> {
        let mut here = self.id();
        let mut above: Option<OwnedFd> = None;
        loop {
            if here == other || here == top {
                return Ok(here == other);
            }
            let from = above.as_ref().map_or_else(|| self.fd.as_fd(), AsFd::as_fd);
            let up = openat(from, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let facts = facts_of(&up)?;
            let next = (device_of(&facts), facts.stx_ino);
            // The top of all is above itself.
            if next == here {
                return Ok(false);
            }
            (here, above) = (next, Some(up));
        }
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    /// When it is none, or a link to one, or cannot be opened.
    pub(super) fn open(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self::new(openat(&self.fd, name, flags, Mode::empty())?, Some(self.device))
    }

    /// Returns the facts of the entry `name`, be it a link.
    ///
    /// # Errors
    /// When there is none, or it cannot be asked for.
    pub(super) fn facts(&self, name: &CStr) -> io::Result<Statx> {
        Ok(statx(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, facts_wanted())?)
    }

    /// Reads the names in it and what each is, until `each` returns false.
    ///
    /// # Errors
    /// When the system breaks off; what it said before was passed on.
    pub(super) fn read(&self, mut each: impl FnMut(&CStr, FileType) -> io::Result<bool>) -> io::Result<()> {
        // A handle of its own: one that is shared would go on where another reader is.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat(&self.fd, c".", flags, Mode::empty())?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut entries = RawDir::new(&handle, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let (name, mut kind) = (entry.file_name(), entry.file_type());
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if kind == FileType::Unknown {
                match self.facts(name) {
                    Ok(facts) => kind = FileType::from_raw_mode(facts.stx_mode.into()),
                    // It vanished between the name and its type: as if it had never been there.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                }
            }
            if !each(name, kind)? {
                break;
            }
        }
        Ok(())
    }

    /// Tells which of `names` the directory lists, byte for byte.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub(super) fn lists(&self, names: &[&[u8]]) -> io::Result<Vec<bool>> {
        let places: std::collections::HashMap<&[u8], usize> = names.iter().copied().zip(0..).collect();
        let mut listed = vec![false; names.len()];
        self.read(|name, _| {
            if let Some(at) = places.get(name.to_bytes()) {
                listed[*at] = true;
            }
            Ok(true)
        })?;
        // The same name asked for twice has one answer.
        Ok(names.iter().map(|name| places.get(name).is_some_and(|at| listed[*at])).collect())
    }

    /// Tells whether it was removed from its file system, and only this handle keeps it.
    pub(super) fn is_removed(&self) -> bool {
        facts_of(&self.fd).is_ok_and(|facts| facts.stx_nlink == 0)
    }

    /// Returns another handle on the same directory.
    ///
    /// # Errors
    /// When the process may have no more of them.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, device: self.device, inode: self.inode, is_mount: self.is_mount })
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TryFrom<File> for Dir {
    type Error = io::Error;

    fn try_from(file: File) -> io::Result<Self> {
        Self::new(file.into(), None)
    }
}

/// Returns the facts of what is open.
///
/// # Errors
/// When the system does not tell them.
pub(super) fn facts_of(fd: impl AsFd) -> io::Result<Statx> {
    Ok(statx(fd, c"", AtFlags::EMPTY_PATH, facts_wanted())?)
}

/// Returns the number of the device that something is on.
pub(super) fn device_of(facts: &Statx) -> u64 {
    makedev(facts.stx_dev_major, facts.stx_dev_minor)
}

/// Returns what is at the end of `facts`: a file, a directory, a link or something else.
pub(super) fn type_of(facts: &Statx) -> FileType {
    FileType::from_raw_mode(facts.stx_mode.into())
}

fn facts_wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}
