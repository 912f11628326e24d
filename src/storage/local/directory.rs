//! One directory, read whole and sorted: names in one arena, nothing else is kept of a file until it is its turn.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::links::{LinkTarget, resolve};
use crate::model::BadReason;

/// What a directory entry is, as far as its name and type tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file, or a link to one within the storage.
    File,
    /// A directory, or a link to one within the storage.
    Directory,
    /// Not indexable, for the reason that stands in [`Directory::bad`] at this place.
    Bad(u32),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    len: u32,
    kind: Kind,
}

/// A directory's entries in the byte order of the keys that they lead to.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What its keys begin with: empty, or ending in `/`.
    pub(super) key: String,
    names: Vec<u8>,
    entries: Vec<Entry>,
    bad: Vec<BadReason>,
    /// Set when the system could not tell all entries.
    pub(super) failed: Option<io::Error>,
}

impl Directory {
    /// Reads the directory at `path`, whose keys begin with `key`, within the storage at `root`.
    ///
    /// # Errors
    /// When the directory cannot be opened. A failure in the middle keeps what was read and is told in `failed`.
    pub(super) fn read(root: &Path, path: PathBuf, key: String) -> io::Result<Self> {
        let mut directory = Self { names: Vec::new(), entries: Vec::new(), bad: Vec::new(), failed: None, path, key };
        for entry in fs::read_dir(&directory.path)? {
            let classified = entry.and_then(|entry| {
                let kind = entry.file_type()?;
                Ok((entry.file_name().into_vec(), kind))
            });
            match classified {
                Ok((name, kind)) => directory.add(root, &name, kind),
                // Vanished between the name and its type: as if it had never been there.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    directory.failed = Some(e);
                    break;
                }
            }
        }
        let names = std::mem::take(&mut directory.names);
        directory.entries.sort_unstable_by(|a, b| {
            let order_key = |e: &Entry| {
                let name = &names[e.start as usize..(e.start + e.len) as usize];
                // A directory stands where its keys stand: `a-b` < `a/b` < `a0`.
                name.iter().copied().chain((e.kind == Kind::Directory).then_some(b'/'))
            };
            order_key(a).cmp(order_key(b))
        });
        directory.names = names;
        Ok(directory)
    }

    fn add(&mut self, root: &Path, name: &[u8], file_type: fs::FileType) {
        if self.key.is_empty() && name == crate::model::RESERVED_FOLDER.as_bytes() && !file_type.is_file() {
            return;
        }
        let kind = match self.judge(root, name, file_type) {
            Ok(Some(kind)) => kind,
            Ok(None) => return,
            Err(reason) => {
                self.bad.push(reason);
                Kind::Bad(u32::try_from(self.bad.len() - 1).unwrap_or(u32::MAX))
            }
        };
        let (Ok(start), Ok(len)) = (u32::try_from(self.names.len()), u32::try_from(name.len())) else {
            self.failed = Some(io::Error::other("more than 4 GiB of names in one directory"));
            return;
        };
        self.names.extend_from_slice(name);
        self.entries.push(Entry { start, len, kind });
    }

    /// `Ok(None)` is an entry that vanished while it was looked at.
    fn judge(&self, root: &Path, name: &[u8], file_type: fs::FileType) -> Result<Option<Kind>, BadReason> {
        let Ok(text) = std::str::from_utf8(name) else { return Err(BadReason::NotUtf8) };
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(BadReason::ControlCharacter);
        }
        let kind = if file_type.is_dir() {
            Kind::Directory
        } else if file_type.is_file() {
            Kind::File
        } else if file_type.is_symlink() {
            match resolve(root, &self.path.join(text), &self.path)? {
                LinkTarget::File => Kind::File,
                LinkTarget::Directory => Kind::Directory,
                LinkTarget::Vanished => return Ok(None),
            }
        } else {
            return Err(BadReason::Special);
        };
        if kind == Kind::File && is_upload_name(text) { Err(BadReason::ReservedName) } else { Ok(Some(kind)) }
    }

    /// Returns how many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns what entry `at` is.
    pub(super) fn kind(&self, at: usize) -> Kind {
        self.entries[at].kind
    }

    /// Returns the bytes of the name of entry `at`.
    pub(super) fn name(&self, at: usize) -> &[u8] {
        let entry = &self.entries[at];
        &self.names[entry.start as usize..(entry.start + entry.len) as usize]
    }

    /// Returns where entry `at` is.
    pub(super) fn path_of(&self, at: usize) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(self.name(at)))
    }

    /// Returns why entry `at` is bad, if it is.
    pub(super) fn reason(&self, at: usize) -> Option<&BadReason> {
        match self.entries[at].kind {
            Kind::Bad(reason) => self.bad.get(reason as usize),
            Kind::File | Kind::Directory => None,
        }
    }
}

/// Tells whether the storage library takes a file of this name for one of its unfinished uploads and refuses to address
/// it: what stands after the first `#` is all digits.
pub(super) fn is_upload_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('#').is_some_and(|(_, rest)| digits(rest))
}
