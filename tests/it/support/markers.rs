//! A store whose marker changes between two looks at it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use storm_index::storage::MARKER;

/// What the marker says from some look on.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// Nothing: it is gone.
    Vanishes,
    /// This.
    Becomes(String),
    /// It cannot be read.
    Fails,
}

#[derive(Debug)]
pub(crate) struct TurningStore {
    pub(crate) inner: Arc<InMemory>,
    pub(crate) turn: Turn,
    /// How many looks come before it turns.
    pub(crate) after: usize,
    looks: AtomicUsize,
}

impl TurningStore {
    pub(crate) fn new(inner: Arc<InMemory>, turn: Turn, after: usize) -> Self {
        Self { inner, turn, after, looks: AtomicUsize::new(0) }
    }
}

impl fmt::Display for TurningStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurningStore({:?})", self.turn)
    }
}

#[async_trait]
impl ObjectStore for TurningStore {
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if location.as_ref() != MARKER || self.looks.fetch_add(1, Ordering::Relaxed) < self.after {
            return self.inner.get_opts(location, options).await;
        }
        match &self.turn {
            Turn::Vanishes => {
                Err(Error::NotFound { path: MARKER.to_owned(), source: "the disk was unmounted".to_owned().into() })
            }
            Turn::Fails => Err(Error::Generic { store: "TurningStore", source: "Input/output error".into() }),
            Turn::Becomes(content) => {
                let other = InMemory::new();
                other.put(location, content.clone().into()).await?;
                other.get_opts(location, options).await
            }
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
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
