//! Local disk: a listing in byte order of the keys that hides nothing, shows nothing from outside, and loses one name to a
//! bad name.
//!
//! `LocalFileSystem` lists in the order of the directory, ends at the first bad name, follows links out of its root and
//! hides files such as `x#12`; here it only writes the marker.

mod beneath;
mod dir;
mod directory;
mod enter;
mod file_system;
mod files;
mod level;
mod lookup;
mod marker_store;
mod metadata;
mod root;
mod walk;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt as _};
use object_store::{Error, ObjectStore, Result};
use rustix::fs::FileType;
use tokio::sync::{mpsc, oneshot};

use self::dir::Dir;
use self::enter::{Course, Step, step};
use self::file_system::FileSystems;
use self::lookup::Lookup;
use self::marker_store::MarkerStore;
use self::root::Root;
use self::walk::Announced;
use super::listed::{Item, Items};
use super::reader::{Claim, Glance, MoveProof};
use super::trouble::Trouble;
use crate::model::{FileSystem, PathQuery, PathState, Prefix, RESERVED_FOLDER};

const STORE: &str = "LocalDisk";

/// A directory of the local disk.
///
/// It remembers which directory it was opened on: while another one is in its place, as when a disk is mounted or
/// unmounted, no listing comes to its end, nothing is said to be absent, and nothing is written.
#[derive(Debug, Clone)]
pub(super) struct LocalDisk {
    root: Root,
    /// Whether its owner says that all file systems below keep their inode numbers.
    declared: bool,
}

impl LocalDisk {
    /// Opens the directory at `root`, which must exist: it is never created.
    ///
    /// # Errors
    /// When `root` is missing, unreadable or no directory.
    pub(super) fn new(root: impl AsRef<std::path::Path>) -> Result<Self> {
        let root = Root::open(root.as_ref()).map_err(|e| failed("", e))?;
        Ok(Self { root, declared: false })
    }

    /// Takes the owner's word that all file systems below keep their inode numbers.
    pub(super) fn with_stable_inodes(self, declared: bool) -> Self {
        Self { declared, ..self }
    }

    /// Returns the directory.
    pub(super) fn root(&self) -> &std::path::Path {
        self.root.path()
    }

    /// Returns what reads and writes the marker.
    ///
    /// # Errors
    /// When the root has gone.
    pub(super) fn marker_store(&self) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(MarkerStore::new(self.root.clone())?))
    }

    /// Lists what lies below `prefix`, or all, of users who own `walls`.
    pub(super) fn listing(&self, prefix: Option<&Prefix>, walls: &[Prefix]) -> Items {
        let announced = walk::start(self.course(prefix, walls));
        Listed { announced, waiting: None, run: Vec::new().into_iter(), ended: false }.boxed()
    }

    /// Looks for each of `paths` below `prefix`.
    pub(super) async fn glances(&self, prefix: &Prefix, paths: Vec<String>) -> Result<Vec<Glance>> {
        let course = self.course(Some(prefix), std::slice::from_ref(prefix));
        blocking(move || Ok(Lookup::new(&course).all(&paths))).await
    }

    /// Judges each of `claims` on files below `prefix`.
    pub(super) async fn prove(&self, prefix: &Prefix, claims: Vec<Claim>) -> Result<Vec<MoveProof>> {
        let course = self.course(Some(prefix), std::slice::from_ref(prefix));
        blocking(move || Ok(Lookup::new(&course).prove(&claims))).await
    }

    /// Tells what is at the path of each of `queries`, which are about files below `prefix`.
    pub(super) async fn path_states(
        &self,
        prefix: &Prefix,
        queries: Vec<PathQuery>,
    ) -> Result<Vec<Result<PathState, Trouble>>> {
        let course = self.course(Some(prefix), std::slice::from_ref(prefix));
        blocking(move || Ok(Lookup::new(&course).path_states(&queries))).await
    }

    fn course(&self, prefix: Option<&Prefix>, walls: &[Prefix]) -> Course {
        let mut walls = walls.to_vec();
        walls.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        let prefix = prefix.map(|prefix| prefix.as_str().to_owned()).unwrap_or_default();
        Course { root: self.root.clone(), prefix, walls: walls.into(), declared: self.declared }
    }

    /// Returns the names of the directories at the top; a link is none.
    ///
    /// # Errors
    /// When the root cannot be read.
    pub(super) async fn top_folders(&self) -> Result<Vec<String>> {
        let root = self.root.clone();
        blocking(move || {
            let mut folders = Vec::new();
            let dir = root.hold().and_then(|held| held.dir()).map_err(|e| failed("", e))?;
            let read = dir.read(|name, kind| {
                if kind == FileType::Directory && name.to_bytes() != RESERVED_FOLDER.as_bytes() {
                    folders.extend(name.to_str().ok().map(str::to_owned));
                }
                Ok(true)
            });
            read.and_then(|()| root.check()).map_err(|e| failed("", e))?;
            Ok(folders)
        })
        .await
    }

    /// Returns the file system that the directory of `prefix` is on; none when there is no such directory.
    ///
    /// # Errors
    /// When it cannot be asked for.
    pub(super) async fn file_system(&self, prefix: &Prefix) -> Result<Option<FileSystem>> {
        let (root, declared, prefix) = (self.root.clone(), self.declared, prefix.as_str().to_owned());
        blocking(move || {
            let find = || {
                let mut dir: Dir = root.hold()?.dir()?;
                for segment in prefix.split('/').filter(|s| !s.is_empty()) {
                    match step(&dir, segment.as_bytes())? {
                        Step::Into(next) => dir = next,
                        Step::Link | Step::Nothing => return Ok(None),
                    }
                }
                FileSystems::new(declared).of(&dir).map(Some)
            };
            find().map_err(|e: std::io::Error| failed(&prefix, e))
        })
        .await
    }
}

impl std::fmt::Display for LocalDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{STORE}({})", self.root().display())
    }
}

/// Says what is wrong with a key, or with the root itself. Where the root is on the disk is nobody's business but of those
/// who have named it.
fn failed(key: &str, source: std::io::Error) -> Error {
    let key = key.trim_end_matches('/');
    let path = if key.is_empty() { "the root of the storage" } else { key }.to_owned();
    if source.kind() == std::io::ErrorKind::NotFound {
        return Error::NotFound { path, source: Box::new(source) };
    }
    Error::Generic { store: STORE, source: format!("{path}: {source}").into() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

/// The runs of a walk, one item after the other.
struct Listed {
    announced: mpsc::Receiver<Announced>,
    waiting: Option<oneshot::Receiver<Vec<Item>>>,
    run: std::vec::IntoIter<Item>,
    ended: bool,
}

impl Stream for Listed {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.run.next() {
                return Poll::Ready(Some(item));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let run = match &mut self.waiting {
                Some(waiting) => ready!(Pin::new(waiting).poll(context)).ok(),
                None => match ready!(self.announced.poll_recv(context)) {
                    Some(Announced::Run(run)) => {
                        self.waiting = Some(run);
                        continue;
                    }
                    Some(Announced::End) => Some(Vec::new()),
                    None => None,
                },
            };
            self.ended = self.waiting.take().is_none() || run.is_none();
            // A thread that died said nothing of the rest: that is a failure, not an end.
            let lost = || vec![Err(Error::Generic { store: STORE, source: "the walk stopped before its end".into() })];
            self.run = run.unwrap_or_else(lost).into_iter();
        }
    }
}
