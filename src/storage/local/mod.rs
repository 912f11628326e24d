//! Local disk as an object store that keeps the promises a listing needs: byte order, nothing hidden, nothing from
//! outside the root, and a bad name costs one name.
//!
//! `LocalFileSystem` underneath lists in the order of the directory, ends at the first bad name, follows links out of
//! its root and hides files such as `x#12`; it still does all reading and writing of content.

mod directory;
mod facts;
mod level;
mod links;
mod root;
mod walk;

use std::fmt;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures::Stream;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{mpsc, oneshot};

use self::directory::{Kind, is_upload_name};
use self::level::Level;
use self::root::Root;
use self::walk::Announced;
use crate::model::{BadEntry, is_reserved};

/// One thing that a listing says.
type Item = Result<ObjectMeta>;

const STORE: &str = "LocalDisk";

/// A directory of the local disk as an object store whose listing is ordered by the bytes of the keys.
///
/// An entry that cannot be an object (a name that is not UTF-8, a link out of the root, an unreadable directory) is an
/// `Err` item whose source is a [`BadEntry`], after which the listing goes on. `.storm-index/` is not listed.
///
/// It remembers which directory it was opened on: while another one is in its place, as when a disk is mounted or
/// unmounted, no listing comes to its end, nothing is said to be absent, and nothing is written.
#[derive(Debug, Clone)]
pub struct LocalDisk {
    root: Root,
    inner: Arc<LocalFileSystem>,
}

impl LocalDisk {
    /// Opens the directory at `root`, which must exist: it is never created.
    ///
    /// # Errors
    /// When `root` is missing, unreadable or no directory.
    pub fn new(root: impl AsRef<std::path::Path>) -> Result<Self> {
        let root = Root::open(root.as_ref()).map_err(|e| failed("", e))?;
        // What little is written is the marker, and an index that is bound to it has to find it after a power cut.
        let inner = Arc::new(LocalFileSystem::new_with_prefix(root.path())?.with_fsync(true));
        Ok(Self { root, inner })
    }

    /// Returns the directory.
    pub fn root(&self) -> &std::path::Path {
        self.root.path()
    }

    /// Returns the names of the directories at the top.
    ///
    /// # Errors
    /// When the root cannot be read.
    pub(super) async fn top_folders(&self) -> Result<Vec<String>> {
        let this = self.clone();
        blocking(move || {
            let root = this.root();
            let mut level = Level::read(root, root.to_owned(), String::new()).map_err(|e| failed("", e))?;
            this.check_root()?;
            if let Some(error) = level.failed.take() {
                return Err(failed("", error));
            }
            let mut folders = Vec::new();
            while let Some(page) = level.next_page().map_err(|e| failed("", e))? {
                let names = (0..page.len()).filter(|at| page.kind(*at) == Kind::Directory).map(|at| page.name(at));
                folders.extend(names.filter_map(|name| std::str::from_utf8(name).ok()).map(str::to_owned));
            }
            Ok(folders)
        })
        .await
    }

    /// Finds the file at `location`, refusing what a listing would refuse.
    fn find(&self, location: &Path) -> Result<fs::Metadata> {
        if is_reserved(location.as_ref()) {
            self.check_in_place(location)?;
        }
        let (key, path) = (location.as_ref(), self.root().join(location.as_ref()));
        let absent = |source| Error::NotFound { path: location.to_string(), source: Box::new(source) };
        let entry = match fs::symlink_metadata(&path) {
            Err(e) if links::is_absent(&e, &path) => return Err(self.absent_or_hidden(location, absent(e))),
            other => other.map_err(|e| failed(key, e))?,
        };
        // What exists but is no object is no "not found": the caller might delete something on that word.
        let real = fs::canonicalize(&path).map_err(|e| failed(key, std::io::Error::other(e.to_string())))?;
        if !real.starts_with(self.root()) {
            return Err(failed(key, std::io::Error::other("a link leads out of the storage")));
        }
        if entry.is_symlink() {
            // The same judgement as in a listing, or the look would miss what the listing has shown.
            links::resolve(self.root(), &path, path.parent().unwrap_or(self.root()))
                .map_err(|reason| failed(key, std::io::Error::other(reason.to_string())))?;
        }
        let metadata = if entry.is_symlink() { fs::metadata(&real).map_err(|e| failed(key, e))? } else { entry };
        if metadata.is_dir() && is_reserved(key) {
            return Err(failed(key, std::io::Error::other("it is a directory; remove it")));
        }
        if metadata.is_dir() {
            self.check_root()?;
            return Err(absent(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        if !metadata.is_file() || location.filename().is_some_and(is_upload_name) {
            return Err(failed(key, std::io::Error::other("not a file that can be indexed")));
        }
        Ok(metadata)
    }

    /// Says of `location`, where nothing is, that it is `absent`, unless that cannot be known: when a link on the way there
    /// leads out of the root or to nothing, the place is hidden rather than empty, and a root that went away says nothing
    /// about its files.
    fn absent_or_hidden(&self, location: &Path, absent: Error) -> Error {
        let (mut path, mut key) = (self.root().to_owned(), String::new());
        for segment in location.as_ref().split('/') {
            path.push(segment);
            key = if key.is_empty() { segment.to_owned() } else { format!("{key}/{segment}") };
            match fs::symlink_metadata(&path) {
                Ok(m) if m.is_symlink() => {
                    let inside = fs::canonicalize(&path).is_ok_and(|real| real.starts_with(self.root()));
                    if !inside {
                        return failed(&key, std::io::Error::other("a link on the way cannot be followed"));
                    }
                }
                Ok(_) => {}
                Err(e) if links::is_absent(&e, &path) => break,
                Err(e) => return failed(&key, std::io::Error::other(e.to_string())),
            }
        }
        // Asked once more where no other directory can come in between.
        match self.root.hold().map(|held| held.look(location.as_ref())) {
            Ok(Err(e)) if links::is_absent(&e, &path) => absent,
            Ok(Ok(())) => failed(&key, std::io::Error::other("it appeared while it was looked for")),
            Ok(Err(e)) => failed(&key, std::io::Error::other(e.to_string())),
            Err(e) => failed("", e),
        }
    }

    /// Reads what belongs to storm-index, in its place and nowhere else: it vouches for the storage.
    fn read_in_place(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        self.find(location)?;
        let held = self.root.hold().map_err(|e| failed("", e))?;
        let other = |e: std::io::Error| failed(location.as_ref(), std::io::Error::other(e.to_string()));
        let file = held.open(location.as_ref()).map_err(other)?;
        let meta = facts::facts_of(&file.metadata().map_err(other)?, location.as_ref())?;
        options.check_preconditions(&meta)?;
        let range = options.range.as_ref().map_or(Ok(0..meta.size), |range| range.as_range(meta.size));
        let range = range.map_err(|source| Error::Generic { store: STORE, source: Box::new(source) })?;
        // Where it is on the disk is said in errors only.
        let payload = GetResultPayload::File(file, location.as_ref().into());
        Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() })
    }

    fn check_root(&self) -> Result<()> {
        self.root.check().map_err(|e| failed("", e))
    }

    /// Checks that nothing on the way to `location`, which belongs to storm-index, is a link: what it leads to belongs to
    /// somebody else.
    fn check_in_place(&self, location: &Path) -> Result<()> {
        let (mut path, mut key) = (self.root().to_owned(), String::new());
        for segment in location.as_ref().split('/') {
            path.push(segment);
            key = if key.is_empty() { segment.to_owned() } else { format!("{key}/{segment}") };
            if fs::symlink_metadata(&path).is_ok_and(|entry| entry.is_symlink()) {
                let why = "this is a link, and the marker is neither read nor written through links; \
                           remove the link, or put the marker itself in its place";
                return Err(failed(&key, std::io::Error::other(why)));
            }
        }
        Ok(())
    }

    /// Tells an error of the file system as one of this store.
    fn told(&self, location: &Path, error: Error) -> Error {
        let path = location.to_string();
        let root = self.root().display().to_string();
        let below = format!("{}/", root.trim_end_matches('/'));
        let told = |source: Box<dyn std::error::Error + Send + Sync>| source.to_string().replace(&below, "").into();
        match error {
            Error::NotFound { source, .. } => Error::NotFound { path, source: told(source) },
            Error::AlreadyExists { source, .. } => Error::AlreadyExists { path, source: told(source) },
            Error::PermissionDenied { source, .. } => Error::PermissionDenied { path, source: told(source) },
            Error::Generic { source, .. } => Error::Generic { store: STORE, source: told(source) },
            other => other,
        }
    }
}

impl fmt::Display for LocalDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.root().display())
    }
}

fn bad(entry: BadEntry) -> Item {
    Err(Error::Generic { store: STORE, source: Box::new(entry) })
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

#[async_trait]
impl ObjectStore for LocalDisk {
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Item> {
        let prefix = prefix.map(|p| p.as_ref().to_owned()).unwrap_or_default();
        let announced = walk::start(self.root.clone(), prefix);
        Box::pin(Listed { announced, waiting: None, run: Vec::new().into_iter(), ended: false })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let key = prefix.map(|p| format!("{p}/")).filter(|p| p != "/").unwrap_or_default();
        let (this, path) = (self.clone(), self.root().join(&key));
        blocking(move || {
            let mut read = Level::read(this.root(), path.clone(), key.clone()).map_err(|e| failed(&key, e))?;
            this.check_root()?;
            let mut level =
                ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() };
            if let Some(error) = read.failed.take() {
                return Err(failed(&key, error));
            }
            while let Some(page) = read.next_page().map_err(|e| failed(&key, e))? {
                for at in 0..page.len() {
                    let Ok(name) = std::str::from_utf8(page.name(at)) else { continue };
                    match page.kind(at) {
                        Kind::Directory => level.common_prefixes.push(Path::parse(format!("{key}{name}"))?),
                        Kind::File => {
                            if let Ok(metadata) = fs::metadata(page.path_of(at)) {
                                level.objects.push(facts::facts_of(&metadata, &format!("{key}{name}"))?);
                            }
                        }
                        Kind::Bad(_) => {}
                    }
                }
            }
            Ok(level)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (this, at, head) = (self.clone(), location.clone(), options.head);
        if is_reserved(location.as_ref()) && !head {
            return blocking(move || this.read_in_place(&at, &options)).await;
        }
        let metadata = blocking(move || this.find(&at)).await?;
        if !head {
            return self.inner.get_opts(location, options).await.map_err(|error| self.told(location, error));
        }
        let meta = facts::facts_of(&metadata, location.as_ref())?;
        options.check_preconditions(&meta)?;
        let (range, empty) = (0..meta.size, Box::pin(futures::stream::empty()));
        Ok(GetResult {
            payload: GetResultPayload::Stream(empty),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (this, at) = (self.clone(), location.clone());
        blocking(move || this.check_root().and_then(|()| this.check_in_place(&at))).await?;
        self.inner.put_opts(location, payload, options).await.map_err(|error| self.told(location, error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
