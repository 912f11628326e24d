//! The walk: one thread reads directories in key order and hands runs of files to threads that ask for their facts;
//! the runs come back in the order in which they were handed out. Nothing waits for the consumer but a full queue.
//!
//! What is gone by the time it is looked at is as if it had never been there, but only while the root is still the one that
//! the storage was opened on, and only if the directory no longer lists it.
//!
//! Memory: one page of a directory a level, and a fixed number of runs. Open directories: a fixed number.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::beneath::Refused;
use super::dir::Dir;
use super::directory::{Directory, Kind, Place, Spot};
use super::enter::{Closed, Course, Entrance, Step, step};
use super::failed;
use super::file_system::FileSystems;
use super::files::{Files, key_of, unreadable};
use super::level::Level;
use super::root::Root;
use crate::model::{BadEntry, BadReason, Hides};
use crate::storage::listed::{Item, Listed, SeenMount};

/// How many entries one run has: enough that the cost of handing it over vanishes.
const RUN: usize = 1024;

/// How many directories one run has: they stay open until their files were asked for.
const DIRECTORIES: usize = 24;

/// How many runs may wait for the consumer.
const AHEAD: usize = 16;

/// How many of the directories that the walk is in stay open; the others are opened again on the way back.
const OPEN: usize = 64;

/// What the walk says, in key order.
pub(super) enum Announced {
    /// A run that is being looked at.
    Run(oneshot::Receiver<Vec<Item>>),
    /// The walk came to its end: silence without this word is a failure.
    End,
}

enum Segment {
    Files(Files),
    Bad(BadEntry),
    Mount(SeenMount),
    Failed(object_store::Error),
}

struct Job {
    run: Vec<Segment>,
    done: oneshot::Sender<Vec<Item>>,
}

/// Starts walking.
pub(super) fn start(course: Course) -> mpsc::Receiver<Announced> {
    let (announce, announced) = mpsc::channel(AHEAD);
    let (give, take) = sync_channel::<Job>(AHEAD);
    let take = Arc::new(Mutex::new(take));
    let workers = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    for _ in 0..workers {
        let (take, root) = (Arc::clone(&take), course.root.clone());
        thread::spawn(move || work(&take, &root));
    }
    thread::spawn(move || {
        let systems = FileSystems::new(course.declared);
        let mut walk = Walk { course, systems, give, announce, run: Vec::new(), entries: 0, directories: 0 };
        // `None` is a consumer who has left.
        if walk.all().and_then(|()| walk.end()).is_some() {
            let _ = walk.announce.blocking_send(Announced::End);
        }
    });
    announced
}

fn work(take: &Mutex<Receiver<Job>>, root: &Root) {
    loop {
        let job = match take.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(Job { run, done }) = job else { return };
        let mut items = Vec::with_capacity(RUN);
        for segment in run {
            match segment {
                Segment::Bad(entry) => items.push(Ok(Listed::Bad(entry))),
                Segment::Mount(mount) => items.push(Ok(Listed::Mount(mount))),
                Segment::Failed(error) => items.push(Err(error)),
                Segment::Files(files) => files.look(root, &mut items),
            }
        }
        // A consumer who has left does not want the run; the walk will notice by itself.
        let _ = done.send(items);
    }
}

/// A directory in which the walk is.
struct Frame {
    level: Level,
    page: Arc<Directory>,
    at: usize,
    spot: Arc<Spot>,
    id: (u64, u64),
    keeps_inodes: bool,
    /// Closed while the walk is far below.
    dir: Option<Arc<Dir>>,
}

struct Walk {
    course: Course,
    systems: FileSystems,
    give: SyncSender<Job>,
    announce: mpsc::Sender<Announced>,
    run: Vec<Segment>,
    entries: usize,
    directories: usize,
}

impl Walk {
    /// Walks everything below the prefix. `None` when the consumer has left.
    fn all(&mut self) -> Option<()> {
        match self.course.enter(&self.systems) {
            Ok(Entrance { mounts, place }) => {
                for mount in mounts {
                    self.push(Segment::Mount(mount), 1)?;
                }
                place.map_or(Some(()), |place| self.tree(place))
            }
            Err(Closed::Entry(entry)) => self.push(Segment::Bad(entry), 1),
            Err(Closed::Root(error)) => self.fail(error),
        }
    }

    fn tree(&mut self, place: Place) -> Option<()> {
        let mut open: Vec<Frame> = Vec::new();
        self.descend(place, &mut open)?;
        while let Some(frame) = open.last_mut() {
            let (page, at) = (Arc::clone(&frame.page), frame.at);
            let mut end = at;
            while end < page.len() && page.kind(end).is_file() && end - at < RUN {
                end += 1;
            }
            frame.at = end;
            if end > at {
                let (keeps_inodes, spot) = (frame.keeps_inodes, Arc::clone(&frame.spot));
                match reopen(&mut open) {
                    Ok(dir) => {
                        self.directories += 1;
                        let files = Files { place: Place { dir, spot }, page, range: at..end, keeps_inodes };
                        self.push(Segment::Files(files), end - at)?;
                    }
                    Err(e) => self.leave(&mut open, &e)?,
                }
            } else if end < page.len() {
                frame.at = end + 1;
                match page.kind(end) {
                    Kind::Bad(_) => {
                        let entry = self.bad_entry(&frame.spot, &page, end);
                        self.push(Segment::Bad(entry), 1)?;
                    }
                    kind => self.child(page.name(end), kind, &mut open)?,
                }
            } else {
                match frame.level.next_page() {
                    Ok(Some(page)) => (frame.page, frame.at) = (Arc::new(page), 0),
                    Ok(None) => drop(open.pop()),
                    Err(e) => self.leave(&mut open, &e)?,
                }
            }
        }
        Some(())
    }

    /// Leaves the innermost directory, of which the rest cannot be read.
    fn leave(&mut self, open: &mut Vec<Frame>, error: &io::Error) -> Option<()> {
        let key = open.pop().map(|frame| frame.spot.key.trim_end_matches('/').to_owned()).unwrap_or_default();
        self.push(Segment::Bad(unreadable(error, key)), 1)
    }

    /// Goes into the directory `name` of the innermost one.
    fn child(&mut self, name: &[u8], kind: Kind, open: &mut Vec<Frame>) -> Option<()> {
        let Some(spot) = open.last().map(|frame| Arc::clone(&frame.spot)) else { return Some(()) };
        let key = key_of(&spot, name);
        let above = match reopen(open) {
            Ok(above) => above,
            Err(e) => return self.leave(open, &e),
        };
        let stepped = match (&spot.wall, kind) {
            (Some(wall), Kind::LinkedDirectory) => match wall.open_dir(&key[wall.key.len()..]) {
                Ok(dir) => Ok(Step::Into(dir)),
                Err(Refused::Failed(error)) => Err(error),
                // It leads to something else by now.
                Err(_) => Ok(Step::Nothing),
            },
            _ => step(&above, name),
        };
        match stepped {
            Ok(Step::Into(dir)) => {
                let is_linked = spot.is_linked || kind == Kind::LinkedDirectory;
                if dir.is_mount && !is_linked {
                    match self.systems.of(&dir) {
                        Ok(system) => self.push(Segment::Mount(SeenMount::new(&key, system)), 1)?,
                        Err(e) => return self.push(Segment::Bad(unreadable(&e, key)), 1),
                    }
                }
                let (dir, key) = (Arc::new(dir), format!("{key}/"));
                let wall = spot.wall.clone().or_else(|| self.course.wall_at(&key, &dir));
                self.descend(Place { dir, spot: Arc::new(Spot { key, wall, is_linked }) }, open)
            }
            // Gone since its parent was read, or something else by now, as when a directory and a link change names.
            Ok(Step::Nothing | Step::Link) => self.check_root(),
            Err(e) if is_lost_and_found(&e, name, &above) => {
                let (shown, reason, hides) = (key.clone(), BadReason::LostAndFound, Hides::Tree(key));
                self.push(Segment::Bad(BadEntry { shown, reason, hides }), 1)
            }
            Err(e) => self.push(Segment::Bad(unreadable(&e, key)), 1),
        }
    }

    fn descend(&mut self, place: Place, open: &mut Vec<Frame>) -> Option<()> {
        let at_root = place.spot.key.is_empty();
        let key = || place.spot.key.trim_end_matches('/').to_owned();
        let read = self.systems.of(&place.dir).and_then(|system| Ok((system.keeps_inodes, Level::read(&place)?)));
        let (keeps_inodes, mut level) = match read {
            Ok(read) => read,
            Err(e) if at_root => return self.fail(e),
            Err(e) => return self.push(Segment::Bad(unreadable(&e, key())), 1),
        };
        // All that is below another one would be taken for all that there is.
        if at_root && let Err(error) = self.course.root.check() {
            return self.fail(error);
        }
        match level.failed.take() {
            // Half of the root is as good as none of it.
            Some(error) if at_root => return self.fail(error),
            // It was removed, which only an empty one can be.
            Some(error) if error.kind() == io::ErrorKind::NotFound && place.dir.is_removed() => {
                return self.check_root();
            }
            Some(error) => self.push(Segment::Bad(unreadable(&error, key())), 1)?,
            None => {}
        }
        if let Some(far) = open.len().checked_sub(OPEN).filter(|far| *far > 0) {
            open[far].dir = None;
        }
        let (page, id, Place { dir, spot }) = (Arc::default(), place.dir.id(), place);
        open.push(Frame { level, page, at: 0, spot, id, keeps_inodes, dir: Some(dir) });
        Some(())
    }

    /// Ends the walk: what it has found missing is missing only in the storage that it was to walk.
    fn end(&mut self) -> Option<()> {
        self.check_root()?;
        self.flush()
    }

    fn check_root(&mut self) -> Option<()> {
        self.course.root.check().map_or_else(|error| self.fail(error), Some)
    }

    /// Says that the listing as a whole has failed.
    fn fail(&mut self, error: io::Error) -> Option<()> {
        self.push(Segment::Failed(failed("", error)), 1)
    }

    fn push(&mut self, segment: Segment, entries: usize) -> Option<()> {
        self.run.push(segment);
        self.entries += entries;
        if self.entries < RUN && self.directories < DIRECTORIES { Some(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Option<()> {
        if self.run.is_empty() {
            return Some(());
        }
        let (done, result) = oneshot::channel();
        (self.entries, self.directories) = (0, 0);
        self.announce.blocking_send(Announced::Run(result)).ok()?;
        self.give.send(Job { run: std::mem::take(&mut self.run), done }).ok()
    }

    /// Names the bad entry `at` and what it could hide.
    fn bad_entry(&self, spot: &Spot, page: &Directory, at: usize) -> BadEntry {
        let shown = key_of(spot, page.name(at));
        let reason = page.reason(at).cloned().unwrap_or(BadReason::Special);
        let (reason, hides) = match reason {
            BadReason::NotUtf8 => (reason, Hides::Nothing),
            // The files of a user would be behind it.
            BadReason::LinkOutside if self.course.leads_to_a_prefix(&shown) => {
                (BadReason::LinkAsPrefix, Hides::Tree(shown.clone()))
            }
            // What it leads to is not the user's, so nothing of the user's is hidden.
            BadReason::LinkOutside => (reason, Hides::Nothing),
            // Its name is known, and nothing can be below it. A broken link is no such entry: what it led to may be on a file
            // system that is not mounted.
            BadReason::ReservedName | BadReason::Special | BadReason::LinkLoop | BadReason::LinkBelowLink => {
                (reason, Hides::Key(shown.clone()))
            }
            _ => (reason, Hides::Tree(shown.clone())),
        };
        BadEntry { shown, reason, hides }
    }
}

/// Returns the innermost directory, which is opened again if it was closed while the walk was far below.
fn reopen(open: &mut [Frame]) -> io::Result<Arc<Dir>> {
    let Some(innermost) = open.len().checked_sub(1) else { return Err(io::ErrorKind::NotFound.into()) };
    let first = open.iter().rposition(|frame| frame.dir.is_some()).unwrap_or(0);
    let mut last = open[first].dir.clone().ok_or(io::ErrorKind::NotFound)?;
    for at in first + 1..=innermost {
        let spot = Arc::clone(&open[at].spot);
        let key = spot.key.trim_end_matches('/');
        let next = match (&spot.wall, spot.is_linked && !open[at - 1].spot.is_linked) {
            (Some(wall), true) => wall.open_dir(&key[wall.key.len()..]).map_err(|refused| match refused {
                Refused::Failed(error) => error,
                _ => io::ErrorKind::NotFound.into(),
            })?,
            _ => last.open(key.rsplit('/').next().unwrap_or_default().as_bytes())?,
        };
        if next.id() != open[at].id {
            return Err(io::Error::other("another directory took its place while it was listed"));
        }
        last = Arc::new(next);
        if at + OPEN > innermost {
            open[at].dir = Some(Arc::clone(&last));
        }
    }
    Ok(last)
}

/// Tells whether a directory that cannot be read is the one in which a file system keeps what it has recovered.
fn is_lost_and_found(error: &io::Error, name: &[u8], above: &Dir) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        && name == b"lost+found"
        && above.is_mount
        && above.facts(c"lost+found").is_ok_and(|facts| facts.stx_uid == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn course(root: &Root) -> Course {
        Course { root: root.clone(), prefix: String::new(), walls: Arc::default(), declared: false }
    }

    /// A disk that comes back before the walk has ended has hidden what was looked for meanwhile.
    #[test]
    fn what_is_missing_below_another_root_has_not_vanished() {
        let dir = tempfile::tempdir().unwrap();
        let (at, away) = (dir.path().join("root"), dir.path().join("away"));
        fs::create_dir_all(at.join("folder")).unwrap();
        fs::write(at.join("file"), "").unwrap();
        let root = Root::open(&at).unwrap();
        let entrance = course(&root).enter(&FileSystems::default()).unwrap();
        let place = entrance.place.unwrap();
        let page = Arc::new(Level::read(&place).unwrap().next_page().unwrap().unwrap());
        assert_eq!(page.kind(0), Kind::File);
        fs::remove_file(at.join("file")).unwrap();
        let steps = |name: &[u8]| {
            let (give, _take) = sync_channel(1);
            let (announce, _announced) = mpsc::channel(1);
            let systems = FileSystems::default();
            let course = course(&root);
            let mut walk = Walk { course, systems, give, announce, run: Vec::new(), entries: 0, directories: 0 };
            let mut open = Vec::new();
            walk.descend(place.clone(), &mut open).unwrap();
            walk.child(name, Kind::Directory, &mut open).unwrap();
            let mut items = Vec::new();
            Files { place: place.clone(), page: Arc::clone(&page), range: 0..1, keeps_inodes: false }
                .look(&root, &mut items);
            (walk.run.iter().any(|segment| matches!(segment, Segment::Failed(_))), items.pop())
        };
        assert!(matches!(steps(b"other"), (false, None)));
        fs::rename(&at, &away).unwrap();
        fs::create_dir(&at).unwrap();
        assert!(matches!(steps(b"other"), (true, Some(Err(_)))));
        fs::remove_dir(&at).unwrap();
        fs::rename(&away, &at).unwrap();
        assert!(matches!(steps(b"folder"), (false, None)));
    }
}
