//! The walk: one thread reads directories in key order and hands runs of files to threads that ask for their facts;
//! the runs come back in the order in which they were handed out. Nothing waits for the consumer but a full queue.
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

/// Starts walking the keys of the storage at `root` (canonical) that lie below `prefix`.
pub(super) fn start(root: PathBuf, prefix: String) -> mpsc::Receiver<Announced> {
    let (announce, announced) = mpsc::channel(AHEAD);
    let (give, take) = sync_channel::<Job>(AHEAD);
    let take = Arc::new(Mutex::new(take));
    let workers = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    for _ in 0..workers {
        let take = Arc::clone(&take);
        thread::spawn(move || work(&take));
    }
    thread::spawn(move || {
        let mut walk = Walk { root, give, announce, run: Vec::new(), entries: 0 };
        // `None` is a consumer who has left: nobody is there to be told.
        if walk.all(&prefix).and_then(|()| walk.flush()).is_some() {
            let _ = walk.announce.blocking_send(Announced::End);
        }
    });
    announced
}

fn work(take: &Mutex<Receiver<Job>>) {
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
                Segment::Files { directory, range } => look(&directory, range, &mut items),
            }
        }
        // A consumer who has left does not want the run; the walk will notice by itself.
        let _ = done.send(items);
    }
}

/// Asks the system for the facts of a run of files.
fn look(directory: &Directory, range: Range<usize>, items: &mut Vec<Item>) {
    let mut path = directory.path.clone();
    path.push("x");
    for at in range {
        let Ok(name) = std::str::from_utf8(directory.name(at)) else { continue };
        path.set_file_name(name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => items.push(facts_of(&metadata, &format!("{}{name}", directory.key))),
            // It is something else by now, or gone: objects come and go while a walk goes on.
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
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
    root: PathBuf,
    give: SyncSender<Job>,
    announce: mpsc::Sender<Announced>,
    run: Vec<Segment>,
    entries: usize,
}

impl Walk {
    /// Walks everything below `prefix`. `None` when the consumer has left.
    fn all(&mut self, prefix: &str) -> Option<()> {
        match enter(&self.root, prefix) {
            Ok(Some(path)) => {
                let key = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
                self.tree(path, key)
            }
            Ok(None) => Some(()),
            Err(Refused::Entry(entry)) => self.push(Segment::Bad(entry), 1),
            Err(Refused::Root(error)) => self.push(Segment::Failed(failed("", error)), 1),
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
        match Level::read(&self.root, path, key.clone()) {
            Ok(mut level) => {
                match level.failed.take() {
                    // Half of the root is as good as none of it.
                    Some(error) if at_root => return self.push(Segment::Failed(failed("", error)), 1),
                    Some(error) => self.push(Segment::Bad(unreadable(&error, &key)), 1)?,
                    None => {}
                }
                open.push(Frame { level, page: Arc::default(), at: 0 });
                Some(())
            }
            // Gone since its parent was read: as if it had never been there. The root is not allowed to go.
            Err(e) if !at_root && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Some(())
            }
            Err(e) if at_root => self.push(Segment::Failed(failed("", e)), 1),
            Err(e) => self.push(Segment::Bad(unreadable(&e, &key)), 1),
        }
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
