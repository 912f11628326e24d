//! Files of one directory, and what the system says of them when it is their turn.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rustix::fs::FileType;

use super::beneath::Refused;
use super::dir::{facts_of, type_of};
use super::directory::{Directory, Kind, Place, Spot};
use super::enter::listed_only;
use super::failed;
use super::metadata::object_of;
use super::root::Root;
use crate::model::{BadEntry, BadReason, Hides, ObjectFacts};
use crate::storage::listed::{Item, Listed};

/// Some files of a directory.
pub(super) struct Files {
    pub(super) place: Place,
    pub(super) page: Arc<Directory>,
    pub(super) range: Range<usize>,
    pub(super) keeps_inodes: bool,
}

impl Files {
    /// Asks the system for their facts.
    pub(super) fn look(&self, root: &Root, items: &mut Vec<Item>) {
        let mut absent = Vec::new();
        for at in self.range.clone() {
            match self.object(at) {
                Ok(Some(object)) => items.push(Ok(Listed::Object(object))),
                // It is something else by now: objects come and go while a walk goes on.
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => absent.push((items.len(), at)),
                Err(e) => items.push(Ok(Listed::Bad(unreadable(&e, self.key(at))))),
            }
        }
        if absent.is_empty() {
            return;
        }
        if let Err(error) = root.check() {
            items.push(Err(failed("", error)));
            return;
        }
        // Gone, unless the directory goes on to list it: then its word and that of the file contradict each other.
        let names: Vec<&[u8]> = absent.iter().map(|(_, at)| self.page.name(*at)).collect();
        let listed = self.place.dir.lists(&names);
        for (which, (place, at)) in absent.into_iter().enumerate().rev() {
            let error = match &listed {
                Ok(listed) if !listed[which] || self.object(at).is_ok() => continue,
                Ok(_) => listed_only(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => io::Error::other(e.to_string()),
            };
            items.insert(place, Ok(Listed::Bad(unreadable(&error, self.key(at)))));
        }
    }

    fn key(&self, at: usize) -> String {
        key_of(&self.place.spot, self.page.name(at))
    }

    /// Returns the object at an entry; none when it is no file any more.
    fn object(&self, at: usize) -> io::Result<Option<ObjectFacts>> {
        let facts = match (self.page.kind(at), &self.place.spot.wall) {
            (Kind::LinkedFile, Some(wall)) => {
                let name = String::from_utf8_lossy(self.page.name(at));
                match wall.open(&self.place.spot.below(wall, &name)) {
                    Ok(target) => facts_of(target)?,
                    Err(Refused::Absent | Refused::Outside | Refused::Loop) => return Ok(None),
                    Err(Refused::Failed(error)) => return Err(error),
                }
            }
            _ => self.place.dir.facts(self.page.c_name(at))?,
        };
        let is_file = type_of(&facts) == FileType::RegularFile;
        let linked = self.place.spot.is_linked || self.page.kind(at) == Kind::LinkedFile;
        Ok(is_file.then(|| ObjectFacts { linked, ..object_of(&facts, self.key(at), self.keeps_inodes) }))
    }
}

/// Returns the key of the entry `name`.
pub(super) fn key_of(spot: &Spot, name: &[u8]) -> String {
    format!("{}{}", spot.key, String::from_utf8_lossy(name))
}

/// Says of a place that it cannot be read.
pub(super) fn unreadable(error: &io::Error, key: String) -> BadEntry {
    BadEntry { shown: key.clone(), reason: BadReason::Unreadable(error.to_string()), hides: Hides::Tree(key) }
}
