//! Some entries of one directory, sorted: names in one arena, nothing else is kept of a file until it is its turn.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
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

/// Entries of a directory in the byte order of the keys that they lead to.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What its keys begin with: empty, or ending in `/`.
    pub(super) key: String,
    names: Vec<u8>,
    entries: Vec<Entry>,
    bad: Vec<BadReason>,
}

impl Directory {
    /// Makes a page without entries.
    pub(super) fn new(path: PathBuf, key: String) -> Self {
        Self { path, key, ..Self::default() }
    }

    /// Brings the entries into order. What the system told twice, because the directory changed meanwhile, stays once.
    pub(super) fn sort(&mut self) {
        let names = std::mem::take(&mut self.names);
        let name = |e: &Entry| &names[e.start as usize..(e.start + e.len) as usize];
        self.entries.sort_unstable_by(|a, b| order(name(a), a.kind).cmp(order(name(b), b.kind)));
        self.entries.dedup_by(|a, b| name(a) == name(b));
        self.names = names;
    }

    /// Returns how many bytes the names have.
    pub(super) fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
        self.bad.clear();
    }

    /// Looks at an entry that the system has told, and adds it.
    pub(super) fn add(&mut self, root: &Path, name: &[u8], file_type: fs::FileType) {
        if self.key.is_empty() && name == crate::model::RESERVED_FOLDER.as_bytes() && !file_type.is_file() {
            return;
        }
        match self.judge(root, name, file_type) {
            Ok(Some(kind)) => self.push(name, kind),
            Ok(None) => {}
            Err(reason) => self.push_bad(name, reason),
        }
    }

    /// Adds an entry that cannot be an object.
    pub(super) fn push_bad(&mut self, name: &[u8], reason: BadReason) {
        self.bad.push(reason);
        self.push(name, Kind::Bad(u32::try_from(self.bad.len() - 1).unwrap_or(u32::MAX)));
    }

    /// Adds an entry. A page ends long before its names have 4 GiB.
    pub(super) fn push(&mut self, name: &[u8], kind: Kind) {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.entries.push(Entry { start: offset(self.names.len()), len: offset(name.len()), kind });
        self.names.extend_from_slice(name);
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

/// Returns what an entry is ordered by: a directory stands where its keys stand, so that `a-b` < `a/b` < `a0`.
pub(super) fn order(name: &[u8], kind: Kind) -> impl Iterator<Item = u8> {
    name.iter().copied().chain((kind == Kind::Directory).then_some(b'/'))
}

/// Tells whether the storage library takes a file of this name for one of its unfinished uploads and refuses to address
/// it: what stands after the first `#` is all digits.
pub(super) fn is_upload_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('#').is_some_and(|(_, rest)| digits(rest))
}
