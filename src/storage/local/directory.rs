//! Some entries of one directory, sorted: names in one arena, and of a file nothing else until it is its turn.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use rustix::fs::FileType;

use super::beneath::{Refused, Wall};
use super::dir::{Dir, device_of, facts_of, type_of};
use crate::model::BadReason;

/// What a directory entry is, as far as its name and type tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A link to a file within the user's prefix.
    LinkedFile,
    /// A directory.
    Directory,
    /// A link to a directory within the user's prefix.
    LinkedDirectory,
    /// Not indexable, for the reason that stands in [`Directory::bad`] at this place.
    Bad(u32),
}

impl Kind {
    /// Tells whether keys lie below the entry.
    pub(super) fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::LinkedDirectory)
    }

    /// Tells whether the entry is an object.
    pub(super) fn is_file(self) -> bool {
        matches!(self, Self::File | Self::LinkedFile)
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    len: u32,
    kind: Kind,
}

/// Where a directory is, and what its links may lead to.
#[derive(Debug)]
pub(super) struct Spot {
    /// What its keys begin with: empty, or ending in `/`.
    pub(super) key: String,
    /// The prefix that it lies in; `None` above all prefixes, where no link is followed.
    pub(super) wall: Option<Arc<Wall>>,
    /// Whether a link led here: another one is not followed then, which ends every circle.
    pub(super) is_linked: bool,
}

/// A directory that is open.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The directory.
    pub(super) dir: Arc<Dir>,
    /// Where it is.
    pub(super) spot: Arc<Spot>,
}

impl Place {
    /// `Ok(None)` is an entry that vanished while it was looked at.
    fn judge(&self, name: &[u8], file_type: FileType) -> Result<Option<Kind>, BadReason> {
        let Ok(text) = std::str::from_utf8(name) else { return Err(BadReason::NotUtf8) };
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(BadReason::ControlCharacter);
        }
        let kind = match file_type {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => match self.follow(text)? {
                Some(kind) => kind,
                None => return Ok(None),
            },
            _ => return Err(BadReason::Special),
        };
        if kind.is_file() && is_upload_name(text) { Err(BadReason::ReservedName) } else { Ok(Some(kind)) }
    }

    /// Says what the link `name` leads to.
    fn follow(&self, name: &str) -> Result<Option<Kind>, BadReason> {
        let Some(wall) = &self.spot.wall else { return Err(BadReason::LinkOutside) };
        let unreadable = |error: std::io::Error| BadReason::Unreadable(error.to_string());
        let target = match wall.open(&self.spot.below(wall, name)) {
            Ok(target) => facts_of(target).map_err(unreadable)?,
            Err(Refused::Outside) => return Err(BadReason::LinkOutside),
            Err(Refused::Loop) => return Err(BadReason::LinkLoop),
            Err(Refused::Failed(error)) => return Err(unreadable(error)),
            Err(Refused::Absent) => {
                let Ok(name) = CString::new(name) else { return Err(BadReason::ControlCharacter) };
                return match self.dir.facts(&name) {
                    Ok(_) => Err(BadReason::LinkBroken),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(unreadable(error)),
                };
            }
        };
        match type_of(&target) {
            FileType::RegularFile => Ok(Some(Kind::LinkedFile)),
            // Directories that link to each other have more paths than there are files in the world.
            FileType::Directory if self.spot.is_linked => Err(BadReason::LinkBelowLink),
            FileType::Directory => {
                let target = (device_of(&target), target.stx_ino);
                let lies_below = self.dir.lies_in(target, wall.dir.id()).map_err(unreadable)?;
                if lies_below { Err(BadReason::LinkLoop) } else { Ok(Some(Kind::LinkedDirectory)) }
            }
            _ => Err(BadReason::Special),
        }
    }
}

impl Spot {
    /// Returns the path of an entry below the wall.
    pub(super) fn below(&self, wall: &Wall, name: &str) -> String {
        format!("{}{name}", &self.key[wall.key.len()..])
    }
}

/// Entries of a directory in the byte order of the keys that they lead to.
#[derive(Debug, Default)]
pub(super) struct Directory {
    names: Vec<u8>,
    entries: Vec<Entry>,
    bad: Vec<BadReason>,
}

impl Directory {
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

    /// Judges an entry that the system lists in `place`, and adds it.
    pub(super) fn add(&mut self, place: &Place, name: &CStr, file_type: FileType) {
        let name = name.to_bytes();
        let is_reserved = place.spot.key.is_empty() && name == crate::model::RESERVED_FOLDER.as_bytes();
        if is_reserved && file_type != FileType::RegularFile {
            return;
        }
        match place.judge(name, file_type) {
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
        // As the system takes names.
        self.names.push(0);
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

    /// Returns the name of entry `at` as the system takes it.
    pub(super) fn c_name(&self, at: usize) -> &CStr {
        let entry = &self.entries[at];
        let bytes = &self.names[entry.start as usize..=(entry.start + entry.len) as usize];
        CStr::from_bytes_with_nul(bytes).unwrap_or_default()
    }

    /// Returns why entry `at` is bad, if it is.
    pub(super) fn reason(&self, at: usize) -> Option<&BadReason> {
        match self.entries[at].kind {
            Kind::Bad(reason) => self.bad.get(reason as usize),
            _ => None,
        }
    }
}

/// Returns what an entry is ordered by: a directory stands where its keys stand, so that `a-b` < `a/b` < `a0`.
pub(super) fn order(name: &[u8], kind: Kind) -> impl Iterator<Item = u8> {
    name.iter().copied().chain(kind.is_directory().then_some(b'/'))
}

/// Tells whether the storage library takes a file of this name for one of its unfinished uploads and refuses to address
/// it: what stands after the first `#` is all digits.
pub(super) fn is_upload_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('#').is_some_and(|(_, rest)| digits(rest))
}
