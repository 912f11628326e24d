//! The walk: one thread reads directories in key order and hands runs of files to threads that ask for their facts;
//! the runs come back in the order in which they were handed out. Nothing waits for the consumer but a full queue.
//!
//! What is gone by the time it is looked at is as if it had never been there, but only while the root is still the one that
//! the storage was opened on.
//!
//! Memory: one page of a directory a level, and a fixed number of runs.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::{fs, io, thread};

use tokio::sync::{mpsc, oneshot};

use super::directory::{Directory, Kind};
use super::facts::facts_of;
use super::level::Level;
use super::links::{LinkTarget, resolve};
use super::root::Root;
use super::{Item, bad, failed};
use crate::model::{BadEntry, BadReason, Hides};

/// How many entries one run has: enough that the cost of handing it over vanishes.
const RUN: usize = 1024;

/// How many runs may wait for the consumer.
const AHEAD: usize = 16;

/// What the walk says, in key order.
pub(super) enum Announced {
    /// A run that is being looked at.
    Run(oneshot::Receiver<Vec<Item>>),
    /// The walk came to its end: silence without this word is a failure.
    End,
}

enum Segment {
    Files { directory: Arc<Directory>, range: Range<usize> },
    Bad(BadEntry),
    Failed(object_store::Error),
}

struct Job {
    run: Vec<Segment>,
    done: oneshot::Sender<Vec<Item>>,
}

/// Starts walking the keys of the storage at `root` that lie below `prefix`.
pub(super) fn start(root: Root, prefix: String) -> mpsc::Receiver<Announced> {
    let (announce, announced) = mpsc::channel(AHEAD);
    let (give, take) = sync_channel::<Job>(AHEAD);
    let take = Arc::new(Mutex::new(take));
    let workers = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    for _ in 0..workers {
        let (take, root) = (Arc::clone(&take), root.clone());
        thread::spawn(move || work(&take, &root));
    }
    thread::spawn(move || {
        let mut walk = Walk { root, give, announce, run: Vec::new(), entries: 0 };
        // `None` is a consumer who has left: nobody is there to be told.
        if walk.all(&prefix).and_then(|()| walk.end()).is_some() {
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
                Segment::Bad(entry) => items.push(bad(entry)),
                Segment::Failed(error) => items.push(Err(error)),
                Segment::Files { directory, range } => look(&directory, range, root, &mut items),
            }
        }
        // A consumer who has left does not want the run; the walk will notice by itself.
        let _ = done.send(items);
    }
}

/// Asks the system for the facts of a run of files.
fn look(directory: &Directory, range: Range<usize>, root: &Root, items: &mut Vec<Item>) {
    let mut path = directory.path.clone();
    path.push("x");
    for at in range {
        let Ok(name) = std::str::from_utf8(directory.name(at)) else { continue };
        path.set_file_name(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => items.push(facts_of(&metadata, &format!("{}{name}", directory.key))),
            // It is something else by now, or gone: objects come and go while a walk goes on.
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                items.extend(root.check().err().map(|e| Err(failed("", e))));
            }
            Err(e) => items.push(bad(unreadable(&e, &format!("{}{name}", directory.key)))),
        }
    }
}

fn unreadable(error: &io::Error, key: &str) -> BadEntry {
    let key = key.trim_end_matches('/').to_owned();
    BadEntry { shown: key.clone(), reason: BadReason::Unreadable(error.to_string()), hides: Hides::Tree(key) }
}

/// A directory in which the walk is.
struct Frame {
    level: Level,
    page: Arc<Directory>,
    at: usize,
}

struct Walk {
    root: Root,
    give: SyncSender<Job>,
    announce: mpsc::Sender<Announced>,
    run: Vec<Segment>,
    entries: usize,
}

impl Walk {
    /// Walks everything below `prefix`. `None` when the consumer has left.
    fn all(&mut self, prefix: &str) -> Option<()> {
        match enter(self.root.path(), prefix) {
            Ok(Some(path)) => {
                let key = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                self.tree(path, key)
            }
            Ok(None) => Some(()),
            Err(Refused::Entry(entry)) => self.push(Segment::Bad(entry), 1),
            Err(Refused::Root(error)) => self.fail(error),
        }
    }

    fn tree(&mut self, path: PathBuf, key: String) -> Option<()> {
        let mut open: Vec<Frame> = Vec::new();
        self.descend(path, key, &mut open)?;
        while let Some(frame) = open.last_mut() {
            let (page, at) = (Arc::clone(&frame.page), frame.at);
            let mut end = at;
            while end < page.len() && page.kind(end) == Kind::File && end - at < RUN {
                end += 1;
            }
            frame.at = end;
            if end > at {
                self.push(Segment::Files { directory: page, range: at..end }, end - at)?;
                continue;
            }
            if end == page.len() {
                match frame.level.next_page() {
                    Ok(Some(page)) => (frame.page, frame.at) = (Arc::new(page), 0),
                    Ok(None) => drop(open.pop()),
                    Err(e) => {
                        open.pop();
                        self.push(Segment::Bad(unreadable(&e, &page.key)), 1)?;
                    }
                }
                continue;
            }
            frame.at = end + 1;
            if page.kind(end) == Kind::Directory {
                let key = format!("{}{}/", page.key, String::from_utf8_lossy(page.name(end)));
                self.descend(page.path_of(end), key, &mut open)?;
            } else {
                self.push(Segment::Bad(bad_entry(&page, end)), 1)?;
            }
        }
        Some(())
    }

    fn descend(&mut self, path: PathBuf, key: String, open: &mut Vec<Frame>) -> Option<()> {
        let at_root = key.is_empty();
        match Level::read(self.root.path(), path, key.clone()) {
            Ok(mut level) => {
                // All that is below another one would be taken for all that there is.
                if at_root && let Err(error) = self.root.check() {
                    return self.fail(error);
                }
                match level.failed.take() {
                    // Half of the root is as good as none of it.
                    Some(error) if at_root => return self.fail(error),
                    Some(error) => self.push(Segment::Bad(unreadable(&error, &key)), 1)?,
                    None => {}
                }
                open.push(Frame { level, page: Arc::default(), at: 0 });
                Some(())
            }
            // Gone since its parent was read. The root is not allowed to go.
            Err(e) if !at_root && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.check_root()
            }
            Err(e) if at_root => self.fail(e),
            Err(e) => self.push(Segment::Bad(unreadable(&e, &key)), 1),
        }
    }

    /// Ends the walk: what it has found missing is missing only in the storage that it was to walk.
    fn end(&mut self) -> Option<()> {
        self.check_root()?;
        self.flush()
    }

    fn check_root(&mut self) -> Option<()> {
        self.root.check().map_or_else(|error| self.fail(error), Some)
    }

    /// Says that the listing as a whole has failed.
    fn fail(&mut self, error: io::Error) -> Option<()> {
        self.push(Segment::Failed(failed("", error)), 1)
    }

    fn push(&mut self, segment: Segment, entries: usize) -> Option<()> {
        self.run.push(segment);
        self.entries += entries;
        if self.entries < RUN { Some(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Option<()> {
        if self.run.is_empty() {
            return Some(());
        }
        let (done, result) = oneshot::channel();
        self.entries = 0;
        self.announce.blocking_send(Announced::Run(result)).ok()?;
        self.give.send(Job { run: std::mem::take(&mut self.run), done }).ok()
    }
}

/// Why the walk cannot enter its prefix.
enum Refused {
    Entry(BadEntry),
    Root(io::Error),
}

/// Finds the directory of `prefix`, segment by segment, so that a link on the way is judged as it is within the walk.
/// `Ok(None)` when there is no such directory.
fn enter(root: &Path, prefix: &str) -> Result<Option<PathBuf>, Refused> {
    if !fs::metadata(root).map_err(Refused::Root)?.is_dir() {
        return Err(Refused::Root(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let (mut path, mut key) = (root.to_path_buf(), String::new());
    for segment in prefix.split('/').filter(|s| !s.is_empty()) {
        let parent = path.clone();
        path.push(segment);
        key = if key.is_empty() { segment.to_owned() } else { format!("{key}/{segment}") };
        let refused = |reason| Refused::Entry(BadEntry { shown: key.clone(), reason, hides: Hides::Tree(key.clone()) });
        match fs::symlink_metadata(&path) {
            Ok(m) if m.is_dir() => {}
            Ok(m) if m.is_symlink() => match resolve(root, &path, &parent).map_err(refused)? {
                LinkTarget::Directory => {}
                LinkTarget::File | LinkTarget::Vanished => return Ok(None),
            },
            Ok(_) => return Ok(None),
            Err(e) if super::links::is_absent(&e, &path) => return Ok(None),
            Err(e) => return Err(refused(BadReason::Unreadable(e.to_string()))),
        }
    }
    Ok(Some(path))
}

/// Names the bad entry `at` and what it could hide.
fn bad_entry(directory: &Directory, at: usize) -> BadEntry {
    let name = directory.name(at);
    let shown = format!("{}{}", directory.key, String::from_utf8_lossy(name));
    let reason = directory.reason(at).cloned().unwrap_or(BadReason::Special);
    let hides = match reason {
        BadReason::NotUtf8 => Hides::Nothing,
        BadReason::ReservedName | BadReason::Special => Hides::Key(shown.clone()),
        _ => Hides::Tree(shown.clone()),
    };
    BadEntry { shown, reason, hides }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that comes back before the walk has ended has hidden what was looked for meanwhile.
    #[test]
    fn what_is_missing_below_another_root_has_not_vanished() {
        let dir = tempfile::tempdir().unwrap();
        let (at, away) = (dir.path().join("root"), dir.path().join("away"));
        fs::create_dir_all(at.join("folder")).unwrap();
        fs::write(at.join("file"), "").unwrap();
        let root = Root::open(&at).unwrap();
        let page = Level::read(&at, at.clone(), String::new()).unwrap().next_page().unwrap().unwrap();
        assert_eq!(page.kind(0), Kind::File);
        let steps = |vanish: bool| {
            let (give, _take) = sync_channel(1);
            let (announce, _announced) = mpsc::channel(1);
            let mut walk = Walk { root: root.clone(), give, announce, run: Vec::new(), entries: 0 };
            let mut items = Vec::new();
            let name = if vanish { "other" } else { "folder" };
            walk.descend(at.join(name), format!("{name}/"), &mut Vec::new()).unwrap();
            look(&page, 0..1, &root, &mut items);
            (walk.run.iter().any(|segment| matches!(segment, Segment::Failed(_))), items.pop())
        };
        assert!(matches!(steps(false), (false, Some(Ok(_)))));
        fs::rename(&at, &away).unwrap();
        fs::create_dir(&at).unwrap();
        assert!(matches!(steps(false), (true, Some(Err(_)))));
        fs::remove_dir(&at).unwrap();
        fs::rename(&away, &at).unwrap();
        fs::remove_file(at.join("file")).unwrap();
        assert!(matches!(steps(true), (false, None)));
    }
}
