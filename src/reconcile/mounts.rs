//! The file systems that are mounted below the root: those that the index remembers, and those that the listing meets.
//!
//! A mount point without its file system looks like an emptied folder. So what lies below a mount that has gone, or below
//! another file system in its place, is not judged as long as fewer than half of its records have their object.

use super::identity::is_half;
use crate::index::Mount;
use crate::model::Timestamp;
use crate::storage::SeenMount;

/// One directory at which a file system is, or was, mounted.
#[derive(Debug)]
struct Place {
    /// Its key.
    key: String,
    remembered: Option<Mount>,
    seen: Option<SeenMount>,
    /// How many records there are below it, of all users.
    records: u64,
    /// Of the current user: all, and those whose object is there.
    now: (u64, u64),
    /// Whether some user's files below it could not be judged.
    withheld: bool,
    /// Whether the listing came to it.
    reached: bool,
}

impl Place {
    /// Tells whether the file system is the one that is remembered, or none is.
    fn is_as_it_was(&self) -> bool {
        match (&self.remembered, &self.seen) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(was), Some(is)) => was.fs_type == is.system.kind && was.fs_id == is.system.id,
        }
    }

    /// Tells whether the path of a user whose keys begin with `scope` lies below it.
    fn holds(&self, scope: &str, path: &str) -> bool {
        match self.key.strip_prefix(scope) {
            Some(below) => path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/')),
            None => scope.strip_prefix(&self.key).is_some_and(|rest| rest.starts_with('/')),
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    places: Vec<Place>,
    /// What the keys of the user begin with who was asked for last, and the places that this user's keys may lie below.
    near: Option<(String, Vec<usize>)>,
}

/// A user's part of a mount whose records are not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Withheld {
    /// What all keys below the mount begin with.
    pub(super) below: String,
    /// What is said of it.
    pub(super) message: String,
}

impl Mounts {
    /// Takes the mounts that are remembered.
    pub(super) fn new(remembered: Vec<Mount>) -> Self {
        let place = |mount: Mount| Place {
            key: mount.path.clone(),
            remembered: Some(mount),
            seen: None,
            records: 0,
            now: (0, 0),
            withheld: false,
            reached: false,
        };
        Self { places: remembered.into_iter().map(place).collect(), near: None }
    }

    /// Takes a mount that the listing meets.
    pub(super) fn see(&mut self, mount: SeenMount) {
        self.near = None;
        match self.places.iter_mut().find(|place| place.key == mount.key) {
            Some(place) => place.seen = Some(mount),
            None => self.places.push(Place {
                key: mount.key.clone(),
                remembered: None,
                seen: Some(mount),
                records: 0,
                now: (0, 0),
                withheld: false,
                reached: false,
            }),
        }
    }

    /// Counts a record of the user whose keys begin with `scope`, and whether its object is there.
    pub(super) fn count(&mut self, scope: &str, path: &str, matched: bool) {
        self.below(scope, path, |place| {
            place.records += 1;
            place.now.0 += 1;
            place.now.1 += u64::from(matched);
        });
    }

    /// Counts a record that is made for the user whose keys begin with `scope`.
    pub(super) fn add(&mut self, scope: &str, path: &str) {
        self.below(scope, path, |place| place.records += 1);
    }

    /// Visits the places that a path lies below.
    fn below(&mut self, scope: &str, path: &str, mut visit: impl FnMut(&mut Place)) {
        if self.places.is_empty() {
            return;
        }
        if self.near.as_ref().is_none_or(|(last, _)| last != scope) {
            let is_near = |place: &Place| place.key.starts_with(scope) || scope.starts_with(&format!("{}/", place.key));
            let near = (0..self.places.len()).filter(|at| is_near(&self.places[*at])).collect();
            self.near = Some((scope.to_owned(), near));
        }
        for at in self.near.iter().flat_map(|(_, near)| near) {
            if let Some(place) = self.places.get_mut(*at).filter(|place| place.holds(scope, path)) {
                visit(place);
            }
        }
    }

    /// Ends the part of the user whose keys begin with `scope`: says below which mounts the user's records are not judged.
    pub(super) fn leave(&mut self, scope: &str) -> Vec<Withheld> {
        let mut withheld = Vec::new();
        for place in &mut self.places {
            let start = format!("{}/", place.key);
            place.reached |= start.starts_with(scope) || scope.starts_with(&start);
            let (records, matched) = std::mem::take(&mut place.now);
            let Some(was) = place.remembered.as_ref().filter(|_| !place.is_as_it_was()) else { continue };
            if records == 0 || is_half(matched, records) {
                continue;
            }
            place.withheld = true;
            let what = match &place.seen {
                None => format!("the {} file system that was mounted at {:?} is gone", was.fs_type, place.key),
                Some(_) => format!("another file system is mounted at {:?} than the {} before", place.key, was.fs_type),
            };
            let message = format!(
                "{what}, and with it the files of {} of {records} records there; they are kept. Mount it again or, if it is \
                 not coming back: storm-index storage mounts forget {:?}",
                records - matched,
                place.key
            );
            withheld.push(Withheld { below: start, message });
        }
        withheld
    }

    /// Returns the mounts to remember and the paths to forget, at the end of a run over all users (`whole`) or one.
    pub(super) fn changes(&self, whole: bool, now: Timestamp) -> (Vec<Mount>, Vec<String>) {
        let (mut seen, mut gone) = (Vec::new(), Vec::new());
        for place in self.places.iter().filter(|place| place.reached && !place.withheld) {
            match (&place.seen, &place.remembered) {
                (Some(mount), was) if place.records > 0 => {
                    let is_known =
                        place.is_as_it_was() && was.as_ref().is_some_and(|was| !whole || was.records == place.records);
                    if !is_known {
                        seen.push(Mount {
                            path: place.key.clone(),
                            fs_type: mount.system.kind.clone(),
                            fs_id: mount.system.id.clone(),
                            records: place.records,
                            seen_at: now,
                        });
                    }
                }
                // Most of its records have their objects in the folder that is there now: nothing is missed.
                (None, Some(_)) if place.records > 0 => gone.push(place.key.clone()),
                _ => {}
            }
        }
        (seen, gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FileSystem;

    fn remembered(path: &str) -> Mount {
        let (fs_type, fs_id) = ("ext4".to_owned(), "a".to_owned());
        Mount { path: path.to_owned(), fs_type, fs_id, records: 4, seen_at: Timestamp::from_micros(0) }
    }

    fn seen(key: &str, id: &str) -> SeenMount {
        let system = FileSystem { kind: "ext4".to_owned(), id: id.to_owned(), keeps_inodes: true, tells_birth: true };
        SeenMount { key: key.to_owned(), system }
    }

    #[test]
    fn law_18_a_mount_that_is_not_what_it_was_is_judged_when_half_of_its_records_match() {
        for (now, matched, withheld) in [
            (Some("a"), 0, false),
            (None, 0, true),
            (None, 1, true),
            (None, 2, false),
            (Some("b"), 1, true),
            (Some("b"), 2, false),
            (Some("b"), 4, false),
        ] {
            let mut mounts = Mounts::new(vec![remembered("1/usb")]);
            now.into_iter().for_each(|id| mounts.see(seen("1/usb", id)));
            for n in 0..4 {
                mounts.count("1/", &format!("usb/{n}"), n < matched);
            }
            // What lies beside it counts for nothing.
            mounts.count("1/", "usb2/x", true);
            mounts.count("1/", "usb", true);
            let left = mounts.leave("1/");
            assert_eq!(!left.is_empty(), withheld, "{now:?} {matched}");
            assert!(left.iter().all(|w| w.below == "1/usb/" && w.message.contains("storage mounts forget \"1/usb\"")));
            let (remember, forget) = mounts.changes(true, Timestamp::from_micros(0));
            assert_eq!(
                (remember.len(), forget.len()),
                match (now, withheld) {
                    (_, true) | (Some("a"), _) => (0, 0),
                    (None, _) => (0, 1),
                    (Some(_), _) => (1, 0),
                }
            );
        }
    }

    #[test]
    fn a_mount_is_remembered_when_records_lie_below_it() {
        let mut mounts = Mounts::new(Vec::new());
        mounts.see(seen("teams", "a"));
        mounts.see(seen("x", "c"));
        mounts.count("teams/a/", "1", false);
        assert!(mounts.leave("teams/a/").is_empty() && mounts.leave("x/").is_empty());
        let (remember, forget) = mounts.changes(true, Timestamp::from_micros(0));
        assert_eq!(remember.iter().map(|m| (m.path.as_str(), m.records)).collect::<Vec<_>>(), [("teams", 1)]);
        assert!(forget.is_empty());
    }
}
