//! The marker on a local disk: read and written in its own place, never through a link, and only while the root is the one
//! that the storage was opened on.

use std::fmt;
use std::fs;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::dir::facts_of;
use super::metadata::object_of;
use super::root::Root;
use super::{STORE, blocking, failed};

/// Reads and writes what belongs to storm-index, and can do nothing else.
#[derive(Debug, Clone)]
pub(super) struct MarkerStore {
    root: Root,
    inner: std::sync::Arc<LocalFileSystem>,
}

impl MarkerStore {
    /// Opens the store below `root`.
    pub(super) fn new(root: Root) -> Result<Self> {
        // What little is written is the marker, and an index that is bound to it has to find it after a power cut.
        let inner = LocalFileSystem::new_with_prefix(root.path())?.with_fsync(true).into();
        Ok(Self { root, inner })
    }

    fn read(&self, location: &Path, options: &GetOptions) -> Result<GetResult> {
        self.check_in_place(location)?;
        let other = |e: std::io::Error| failed(location.as_ref(), std::io::Error::other(e.to_string()));
        let held = self.root.hold().map_err(|e| failed("", e))?;
        let file = match held.open(location.as_ref()) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                self.root.check().map_err(|e| failed("", e))?;
                return Err(Error::NotFound { path: location.to_string(), source: Box::new(e) });
            }
            Err(e) => return Err(other(e)),
        };
        let metadata = file.metadata().map_err(other)?;
        if metadata.is_dir() {
            return Err(other(std::io::Error::other("it is a directory; remove it")));
        }
        if !metadata.is_file() {
            return Err(other(std::io::Error::other("not a file that can be indexed")));
        }
        let object = object_of(&facts_of(&file).map_err(other)?, String::new(), false);
        let (size, etag) = (object.size, object.etag.map(|etag| format!("\"{etag}\"")));
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: object.last_modified.to_utc(),
            size,
            e_tag: etag,
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = options.range.as_ref().map_or(Ok(0..size), |range| range.as_range(size));
        let range = range.map_err(|source| Error::Generic { store: STORE, source: Box::new(source) })?;
        // Where it is on the disk is said in errors only.
        let payload = GetResultPayload::File(file, location.as_ref().into());
        Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() })
    }

    /// Checks that nothing on the way to `location` is a link: what it leads to belongs to others.
    fn check_in_place(&self, location: &Path) -> Result<()> {
        let (mut path, mut key) = (self.root.path().to_owned(), String::new());
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

    /// Tells an error of the file system without where the root is.
    fn told(&self, location: &Path, error: Error) -> Error {
        let path = location.to_string();
        let root = self.root.path().display().to_string();
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

impl fmt::Display for MarkerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.root.path().display())
    }
}

fn never(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

#[async_trait]
impl ObjectStore for MarkerStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (this, at) = (self.clone(), location.clone());
        blocking(move || this.read(&at, &options)).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (this, at) = (self.clone(), location.clone());
        let ready = move || this.root.check().map_err(|e| failed("", e)).and_then(|()| this.check_in_place(&at));
        blocking(ready).await?;
        self.inner.put_opts(location, payload, options).await.map_err(|error| self.told(location, error))
    }

    fn list(&self, _prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::iter([Err(never("list"))]).boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(never("list"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(never("put_multipart"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::iter([Err(never("delete"))]).boxed()
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(never("copy"))
    }
}
