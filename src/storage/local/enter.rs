//! The way from the root of a storage into the part that is listed.

use std::io;
use std::sync::Arc;

use rustix::fs::FileType;

use super::beneath::Wall;
use super::dir::{Dir, type_of};
use super::directory::{Place, Spot};
use super::file_system::FileSystems;
use super::root::Root;
use crate::model::{BadEntry, BadReason, Hides, Prefix};
use crate::storage::listed::SeenMount;

/// What a walk is to list.
#[derive(Debug, Clone)]
pub(super) struct Course {
    /// The root of the storage.
    pub(super) root: Root,
    /// The prefix that is listed; empty for all.
    pub(super) prefix: String,
    /// The prefixes of all users, which no link leads out of, in the order of their bytes.
    pub(super) walls: Arc<[Prefix]>,
    /// Whether all file systems keep their inode numbers, as their owner says.
    pub(super) declared: bool,
}

/// Where a walk begins.
#[derive(Debug)]
pub(super) struct Entrance {
    /// The file systems that are mounted on the way.
    pub(super) mounts: Vec<SeenMount>,
    /// The directory; none when it does not exist.
    pub(super) place: Option<Place>,
}

/// Why a walk cannot begin.
#[derive(Debug)]
pub(super) enum Closed {
    /// Because of an entry on the way.
    Entry(BadEntry),
    /// Because of the root itself.
    Root(io::Error),
}

impl Course {
    /// Opens the directory of the prefix, segment by segment, following no link.
    pub(super) fn enter(&self, systems: &FileSystems) -> Result<Entrance, Closed> {
        let root = self.root.hold().and_then(|held| held.dir()).map_err(Closed::Root)?;
        let (mut dir, mut key, mut mounts) = (Arc::new(root), String::new(), Vec::new());
        let mut wall = self.walls.first().filter(|wall| wall.is_whole_storage()).map(|_| self.wall(&dir, &key));
        for segment in self.prefix.split('/').filter(|s| !s.is_empty()) {
            key.push_str(segment);
            let bad = |reason| Closed::Entry(BadEntry { shown: key.clone(), reason, hides: Hides::Tree(key.clone()) });
            dir = match step(&dir, segment.as_bytes()) {
                Ok(Step::Into(next)) => Arc::new(next),
                Ok(Step::Nothing) => return Ok(Entrance { mounts, place: None }),
                Ok(Step::Link) => return Err(bad(BadReason::LinkAsPrefix)),
                Err(error) => return Err(bad(BadReason::Unreadable(error.to_string()))),
            };
            if dir.is_mount {
                let system = systems.of(&dir).map_err(|error| bad(BadReason::Unreadable(error.to_string())))?;
                mounts.push(SeenMount::new(&key, system));
            }
            key.push('/');
            wall = wall.or_else(|| self.wall_at(&key, &dir));
        }
        Ok(Entrance { mounts, place: Some(Place { dir, spot: Arc::new(Spot { key, wall, is_linked: false }) }) })
    }

    /// Returns the wall around the directory `dir` of `key`, when there is none around a directory above it: that of its
    /// user, or of a folder that belongs to no user. None is around what lies above a prefix.
    pub(super) fn wall_at(&self, key: &str, dir: &Arc<Dir>) -> Option<Arc<Wall>> {
        (!self.has_wall_below(key)).then(|| self.wall(dir, key))
    }

    /// Tells whether `key`, without a slash at its end, is a prefix or on the way to one.
    pub(super) fn leads_to_a_prefix(&self, key: &str) -> bool {
        self.walls.binary_search_by(|wall| wall.as_str().cmp(key)).is_ok() || self.has_wall_below(&format!("{key}/"))
    }

    /// Tells whether a prefix begins with `start`.
    fn has_wall_below(&self, start: &str) -> bool {
        let first = self.walls.partition_point(|wall| wall.as_str() < start);
        self.walls.get(first).is_some_and(|wall| wall.as_str().starts_with(start))
    }

    fn wall(&self, dir: &Arc<Dir>, key: &str) -> Arc<Wall> {
        Arc::new(Wall::new(Arc::clone(dir), key.to_owned(), &self.root))
    }
}

/// What is behind a name.
pub(super) enum Step {
    /// A directory.
    Into(Dir),
    /// A link, wherever it leads.
    Link,
    /// Nothing, or a file.
    Nothing,
}

/// Goes from `dir` into `name`, following no link.
///
/// # Errors
/// When the system does not say what is there, or contradicts itself.
pub(super) fn step(dir: &Dir, name: &[u8]) -> io::Result<Step> {
    match dir.open(name) {
        Ok(next) => Ok(Step::Into(next)),
        Err(error) if is_no_directory(&error) => {
            let name = std::ffi::CString::new(name).map_err(io::Error::other)?;
            match dir.facts(&name) {
                Ok(facts) if type_of(&facts) == FileType::Symlink => Ok(Step::Link),
                Ok(facts) if type_of(&facts) == FileType::Directory => Err(error),
                Ok(_) => Ok(Step::Nothing),
                Err(e) if e.kind() == io::ErrorKind::NotFound => match dir.lists(&[name.to_bytes()])?[0] {
                    true => Err(listed_only()),
                    false => Ok(Step::Nothing),
                },
                Err(e) => Err(e),
            }
        }
        Err(error) => Err(error),
    }
}

/// Tells whether `error` says that a name is no directory: there is nothing, or something else, or a link.
pub(super) fn is_no_directory(error: &io::Error) -> bool {
    // ELOOP, whose `ErrorKind` is not stable yet, is what the system says of a link that is not to be followed.
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || error.raw_os_error() == Some(40)
}

/// The error for a name whose directory lists it although it cannot be opened.
pub(super) fn listed_only() -> io::Error {
    io::Error::other("its directory lists it, but it cannot be opened")
}
