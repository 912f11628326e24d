//! Looking names up: is a file there, gone, or there under another spelling?
//!
//! A name is there when every segment of it is listed by its directory, byte for byte. It is gone when some segment is not
//! listed and the name does not open either. A name that opens without being listed is another spelling of a listed one,
//! as on file systems that ignore case, or nothing is known of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{FileType, Statx};

use super::beneath::{Refused, Wall};
use super::dir::{device_of, facts_of, type_of};
use super::directory::is_upload_name;
use super::enter::{Closed, Course, Entrance, listed_only};
use super::failed;
use super::file_system::FileSystems;
use super::metadata::{changed_at, object_of};
use crate::model::{BadReason, ObjectFacts, Orphan, PathQuery, PathState, RenameProof, name_of, parent_of};
use crate::storage::reader::{Claim, Glance, MoveProof};
use crate::storage::spelling::{sort_by_spelling, spellings_of};
use crate::storage::trouble::{Trouble, trouble_of};

/// How many names of directories are kept in mind.
const REMEMBERED: usize = 1_000_000;

/// Looks names up below one user's prefix.
pub(super) struct Lookup {
    wall: Option<Arc<Wall>>,
    /// Why nothing can be looked up, if it cannot.
    closed: Option<Trouble>,
    systems: FileSystems,
    /// The names in directories, sorted by their spelling, by their path below the prefix.
    names: HashMap<String, Rc<Vec<String>>>,
    remembered: usize,
    root: super::root::Root,
    prefix: String,
}

impl Lookup {
    /// Opens the prefix.
    pub(super) fn new(course: &Course) -> Self {
        let systems = FileSystems::new(course.declared);
        let trouble = |error: io::Error| trouble_of(&failed(&course.prefix, io::Error::other(error.to_string())));
        let (wall, closed) = match course.enter(&systems) {
            Ok(Entrance { place, .. }) => (place.and_then(|place| place.spot.wall.clone()), None),
            Err(Closed::Root(error)) => (None, Some(trouble_of(&failed("", error)))),
            Err(Closed::Entry(entry)) => (None, Some(trouble(io::Error::other(entry.reason.to_string())))),
        };
        let (root, prefix) = (course.root.clone(), course.prefix.clone());
        Self { wall, closed, systems, names: HashMap::new(), remembered: 0, root, prefix }
    }

    /// Looks up each of `paths`.
    pub(super) fn all(&mut self, paths: &[String]) -> Vec<Glance> {
        if let Some(trouble) = &self.closed {
            return vec![Glance::Unknown(trouble.clone()); paths.len()];
        }
        let mut glances: Vec<Glance> = paths.iter().map(|path| self.one(path)).collect();
        self.confirm_absence(paths, &mut glances);
        self.confirm_prefix(paths, &mut glances);
        // A root that went away meanwhile says nothing of its files.
        if let Err(error) = self.root.check() {
            let trouble = trouble_of(&failed("", error));
            glances.iter_mut().for_each(|glance| *glance = Glance::Unknown(trouble.clone()));
        }
        glances
    }

    fn one(&mut self, path: &str) -> Glance {
        let Some(wall) = self.wall.clone() else { return Glance::Absent };
        let target = match wall.open(path) {
            Ok(target) => target,
            // What a link that leads out shows is another user's, or no one's.
            Err(Refused::Absent | Refused::Outside | Refused::Loop) => return Glance::Absent,
            Err(Refused::Failed(error)) if is_too_long(&error, path) => return Glance::Absent,
            Err(Refused::Failed(error)) => return unknown(path, &error),
        };
        let facts = match facts_of(&target) {
            Ok(facts) => facts,
            Err(error) => return unknown(path, &error),
        };
        match type_of(&facts) {
            FileType::Directory => return Glance::Absent,
            FileType::RegularFile if !is_upload_name(name_of(path)) => {}
            _ => return unknown(path, &io::Error::other("not a file that can be indexed")),
        }
        let since = Some(changed_at(&facts));
        match self.listed_as(&wall, path, &facts) {
            Ok(Some(listed)) if listed == path => Glance::Present { since },
            Ok(Some(listed)) => Glance::Respelled { path: listed },
            Ok(None) => Glance::Unlisted { since },
            Err(error) => unknown(path, &error),
        }
    }

    /// Returns the path by which the directories list the file with `facts`, which `path` opens.
    fn listed_as(&mut self, wall: &Wall, path: &str, facts: &Statx) -> io::Result<Option<String>> {
        let (mut listed, mut asked) = (String::new(), String::new());
        for segment in path.split('/') {
            let names = self.names_in(wall, &listed)?;
            join(&mut asked, segment);
            let spellings = spellings_of(&names, segment);
            let found = match spellings.iter().find(|name| *name == segment) {
                Some(name) => Some(name),
                None => spellings.iter().find(|name| {
                    let mut candidate = listed.clone();
                    join(&mut candidate, name);
                    is_one(wall, &candidate, &asked)
                }),
            };
            match found {
                Some(name) => join(&mut listed, name),
                None => return Ok(None),
            }
        }
        let same = |fd: std::os::fd::OwnedFd| facts_of(fd).is_ok_and(|found| identity(&found) == identity(facts));
        Ok(wall.open(&listed).is_ok_and(same).then_some(listed))
    }

    /// Returns the names in a directory.
    fn names_in(&mut self, wall: &Wall, path: &str) -> io::Result<Rc<Vec<String>>> {
        if let Some(names) = self.names.get(path) {
            return Ok(Rc::clone(names));
        }
        let mut names = Vec::new();
        wall.open_dir(path).map_err(error_of)?.read(|name, _| {
            names.extend(name.to_str().ok().map(str::to_owned));
            Ok(true)
        })?;
        if self.remembered + names.len() > REMEMBERED {
            self.names.clear();
            self.remembered = 0;
        }
        self.remembered += names.len();
        sort_by_spelling(&mut names);
        let names = Rc::new(names);
        self.names.insert(path.to_owned(), Rc::clone(&names));
        Ok(names)
    }

    /// Asks the directories of what did not open: a name that one of them lists is not gone.
    fn confirm_absence(&self, paths: &[String], glances: &mut [Glance]) {
        let Some(wall) = &self.wall else { return };
        // The first name on the way that is missing, by the directory that would have to have it.
        let mut missing: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
        let mut existing: HashMap<String, String> = HashMap::new();
        for (at, path) in paths.iter().enumerate().filter(|(at, _)| glances[*at] == Glance::Absent) {
            let parent = parent_of(path).to_owned();
            let nearest = match existing.get(&parent) {
                Some(nearest) => nearest.clone(),
                None => nearest_directory(wall, &parent),
            };
            let rest = path[nearest.len()..].trim_start_matches('/');
            let name = rest.split('/').next().unwrap_or_default().to_owned();
            existing.insert(parent, nearest.clone());
            missing.entry(nearest).or_default().push((name, at));
        }
        for (directory, names) in missing {
            let asked: Vec<&[u8]> = names.iter().map(|(name, _)| name.as_bytes()).collect();
            let listed = wall.open_dir(&directory).map_err(error_of).and_then(|dir| dir.lists(&asked));
            for (which, (_, at)) in names.iter().enumerate() {
                let path = &paths[*at];
                match &listed {
                    Ok(listed) if !listed[which] => {}
                    // It has become a directory, or a link that leads out, or it is there again.
                    Ok(_) => match wall.open(path) {
                        Ok(target) if facts_of(&target).is_ok_and(|f| type_of(&f) == FileType::Directory) => {}
                        Ok(target) => {
                            let since = facts_of(&target).ok().map(|facts| changed_at(&facts));
                            glances[*at] = Glance::Present { since };
                        }
                        Err(Refused::Outside) => {}
                        Err(_)
                            if is_below_file(wall, path) || is_below_link(wall, &directory, &names[which].0, path) => {}
                        Err(_) => glances[*at] = unknown(path, &listed_only()),
                    },
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => glances[*at] = unknown(path, error),
                }
            }
        }
    }

    /// Asks the directories above the prefix, where something is there: a prefix that opens without being listed is another
    /// spelling of a listed one, or nothing is known of it.
    fn confirm_prefix(&self, paths: &[String], glances: &mut [Glance]) {
        let is_there = |glance: &Glance| matches!(glance, Glance::Present { .. } | Glance::Respelled { .. });
        if !glances.iter().any(is_there) {
            return;
        }
        let listed = self.lists_prefix();
        for (path, glance) in paths.iter().zip(glances).filter(|(_, glance)| is_there(glance)) {
            match &listed {
                Ok(true) => return,
                Ok(false) => {
                    let facts = self.wall.as_ref().and_then(|wall| facts_of(wall.open(path).ok()?).ok());
                    *glance = Glance::Unlisted { since: facts.map(|facts| changed_at(&facts)) };
                }
                Err(error) => *glance = unknown(path, error),
            }
        }
    }

    /// Tells whether each segment of the prefix is listed by its directory.
    fn lists_prefix(&self) -> io::Result<bool> {
        let mut dir = self.root.hold()?.dir()?;
        for segment in self.prefix.split('/').filter(|segment| !segment.is_empty()) {
            if dir.lists(&[segment.as_bytes()])? == [false] {
                return Ok(false);
            }
            dir = dir.open(segment.as_bytes())?;
        }
        Ok(true)
    }

    /// Judges each of `claims` by what is there now.
    pub(super) fn prove(&mut self, claims: &[Claim]) -> Vec<MoveProof> {
        let gone: Vec<String> = claims.iter().filter(|c| c.gone).map(|c| c.record.path.clone()).collect();
        let mut glances = self.all(&gone).into_iter();
        claims
            .iter()
            .map(|claim| {
                let glance = if claim.gone { glances.next() } else { None };
                match glance {
                    None | Some(Glance::Absent) => self.same_file(&claim.record, claim.to()),
                    Some(Glance::Respelled { path }) if path == claim.to() => self.object_now(&path).map_or_else(
                        || MoveProof::Unproven("file_changed"),
                        |(object, _)| MoveProof::Proven(Some(object)),
                    ),
                    Some(other) => MoveProof::NotGone(other),
                }
            })
            .collect()
    }

    /// Tells what is at the path of each of `queries` now.
    pub(super) fn path_states(&mut self, queries: &[PathQuery]) -> Vec<Result<PathState, Trouble>> {
        let paths: Vec<String> = queries.iter().map(|query| query.path.clone()).collect();
        let glances = self.all(&paths);
        let judge = |(query, glance): (&PathQuery, Glance)| match glance {
            // Through a link that leads out of the prefix it opens another user's file.
            Glance::Absent if self.leads_out(&query.path) => Ok(PathState::Other),
            // What a link led to may be on a file system that is not mounted.
            Glance::Absent if self.is_below_broken_link(&query.path) => {
                Err(trouble_of(&failed(&query.path, io::Error::other(BadReason::LinkBroken.to_string()))))
            }
            Glance::Absent => Ok(PathState::Empty),
            Glance::Present { .. } | Glance::Respelled { .. } | Glance::Unlisted { .. } => {
                let is_same = matches!(self.same_file(&query.record, &query.path), MoveProof::Proven(_));
                Ok(if is_same { PathState::SameFile } else { PathState::Other })
            }
            Glance::Unaddressable => Ok(PathState::Other),
            Glance::Unknown(trouble) => Err(trouble),
        };
        queries.iter().zip(glances).map(judge).collect()
    }

    fn leads_out(&self, path: &str) -> bool {
        self.wall.as_ref().is_some_and(|wall| matches!(wall.open(path), Err(Refused::Outside)))
    }

    /// Tells whether a link that leads to nothing within the prefix stands where a directory of `path` would have to be.
    fn is_below_broken_link(&self, path: &str) -> bool {
        let Some(wall) = &self.wall else { return false };
        let directory = nearest_directory(wall, parent_of(path));
        let name = path[directory.len()..].trim_start_matches('/').split('/').next().unwrap_or_default();
        is_below_link(wall, &directory, name, path)
    }

    /// Judges whether the file at `path` is the one of `record`, which is at another path.
    fn same_file(&self, record: &Orphan, path: &str) -> MoveProof {
        let Some(wall) = &self.wall else { return MoveProof::Unproven("file_changed") };
        let Some((object, kind)) = self.object_now(path) else { return MoveProof::Unproven("file_changed") };
        if !RenameProof::File.holds(record, &object) {
            return MoveProof::Unproven("file_changed");
        }
        // On two disks there may be two files of one inode number, and even of one birth time.
        let device = |path: &str| wall.open_dir(path).ok().map(|dir| dir.device);
        let was_on = device(&nearest_directory(wall, parent_of(&record.path)));
        // An overlay may show its files as being on another device than its directories.
        let is_on = if kind == "overlay" { device(parent_of(path)) } else { object.device };
        if was_on.is_none() || was_on != is_on {
            MoveProof::Unproven("other_device")
        } else {
            MoveProof::Proven(Some(object))
        }
    }

    /// Returns the file at `path` as it is now, and the kind of its file system.
    pub(super) fn object_now(&self, path: &str) -> Option<(ObjectFacts, String)> {
        let wall = self.wall.as_ref()?;
        let target = wall.open(path).ok()?;
        let facts = facts_of(&target).ok()?;
        let system = self.systems.look(&target, device_of(&facts)).ok()?;
        let is_file = type_of(&facts) == FileType::RegularFile;
        is_file.then(|| (object_of(&facts, format!("{}{path}", wall.key), system.keeps_inodes), system.kind))
    }
}

fn join(path: &mut String, segment: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(segment);
}

fn identity(facts: &Statx) -> (u64, u64) {
    (device_of(facts), facts.stx_ino)
}

/// Tells whether two paths open one file or directory, both held open at once.
fn is_one(wall: &Wall, one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (wall.open(one), wall.open(other)) else { return false };
    let identities = (facts_of(&one).map(|f| identity(&f)), facts_of(&other).map(|f| identity(&f)));
    matches!(identities, (Ok(one), Ok(other)) if one == other)
}

/// Returns the directory nearest to `path`, itself or above it, that exists; the prefix at the latest.
fn nearest_directory(wall: &Wall, path: &str) -> String {
    let mut path = path.to_owned();
    while !path.is_empty() && !matches!(wall.open_dir(&path), Ok(_) | Err(Refused::Failed(_))) {
        path.truncate(parent_of(&path).len());
    }
    path
}

/// Tells whether a file, or a link that leads out, stands where a directory of `path` would have to be.
fn is_below_file(wall: &Wall, path: &str) -> bool {
    let mut above = parent_of(path);
    while !above.is_empty() {
        match wall.open(above) {
            Ok(found) => return facts_of(found).is_ok_and(|facts| type_of(&facts) != FileType::Directory),
            Err(Refused::Outside) => return true,
            Err(_) => above = parent_of(above),
        }
    }
    false
}

/// Tells whether `path` lies below the link `name` in `directory`, which leads to no directory.
fn is_below_link(wall: &Wall, directory: &str, name: &str, path: &str) -> bool {
    let is_last = path[directory.len()..].trim_start_matches('/') == name;
    let facts = || wall.open_dir(directory).ok()?.facts(&std::ffi::CString::new(name).ok()?).ok();
    !is_last && facts().is_some_and(|facts| type_of(&facts) == FileType::Symlink)
}

/// The longest name that a file system of today can hold, in bytes: no file can have a longer one.
const LONGEST_NAME: usize = 255;

fn is_too_long(error: &io::Error, path: &str) -> bool {
    error.kind() == io::ErrorKind::InvalidFilename && path.split('/').any(|name| name.len() > LONGEST_NAME)
}

fn error_of(refused: Refused) -> io::Error {
    match refused {
        Refused::Failed(error) => error,
        Refused::Absent | Refused::Outside => io::ErrorKind::NotFound.into(),
        Refused::Loop => io::Error::other(BadReason::LinkLoop.to_string()),
    }
}

fn unknown(path: &str, error: &io::Error) -> Glance {
    Glance::Unknown(trouble_of(&failed(path, io::Error::other(error.to_string()))))
}
