//! A store that distorts what the memory behind it lists.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use storm_index::model::is_reserved;

use super::random::Random;

/// What the listing does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails after so many objects.
    FailAfter(usize),
    /// It fails after so many objects, and goes on when it is asked again for those behind the last.
    FailOnce(usize),
    /// It tells this object twice.
    Repeat(usize),
    /// It tells the first so many objects again and again.
    Circle(usize),
    /// It tells this object and the next one in the wrong order.
    Swap(usize),
    /// It tells nothing of these objects, and no error.
    Forget(usize, usize),
    /// It says that this object is larger than anything can be.
    Inflate(usize),
    /// It tells everything folder by folder.
    ByFolder,
    /// It tells everything in an order that looks random.
    Shuffle(u64),
    /// It tells everything folder by folder, and then this many objects from this one on again.
    Again(usize, usize),
}

fn by_folder(item: &Result<ObjectMeta>) -> Vec<String> {
    item.as_ref().unwrap().location.as_ref().split('/').map(str::to_owned).collect()
}

#[derive(Debug)]
pub(crate) struct FaultStore {
    pub(crate) inner: Arc<InMemory>,
    pub(crate) fault: Fault,
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({:?})", self.fault)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (all, fault) = (self.inner.list(prefix), self.fault);
        let distorted = async move {
            // The marker, which the memory lists first, is none of the objects that are counted.
            let counted =
                |meta: &Result<ObjectMeta>| meta.as_ref().is_ok_and(|meta| !is_reserved(meta.location.as_ref()));
            let mut all: Vec<Result<ObjectMeta>> = all.filter(|meta| std::future::ready(counted(meta))).collect().await;
            match fault {
                Fault::FailAfter(n) | Fault::FailOnce(n) => {
                    all.truncate(n);
                    all.push(Err(Error::Generic { store: "FaultStore", source: "the wire was cut".into() }));
                }
                Fault::Repeat(n) => {
                    let again = all[n].as_ref().unwrap().clone();
                    all.insert(n, Ok(again));
                }
                Fault::Circle(n) => {
                    let pages: Vec<ObjectMeta> = all[..n].iter().map(|o| o.as_ref().unwrap().clone()).collect();
                    all = pages.into_iter().cycle().take(100_000).map(Ok).collect();
                }
                Fault::Swap(n) => all.swap(n, n + 1),
                Fault::Forget(from, to) => drop(all.drain(from..to)),
                Fault::ByFolder => all.sort_by_cached_key(by_folder),
                Fault::Shuffle(seed) => {
                    let mut random = Random::new(seed);
                    (1..all.len()).for_each(|n| all.swap(n, random.below(n + 1)));
                }
                Fault::Again(from, count) => {
                    all.sort_by_cached_key(by_folder);
                    let again: Vec<ObjectMeta> =
                        all[from..from + count].iter().map(|o| o.as_ref().unwrap().clone()).collect();
                    all.extend(again.into_iter().map(Ok));
                }
                Fault::Inflate(n) => all[n].as_mut().unwrap().size = (1 << 63) + 5,
            }
            stream::iter(all)
        };
        Box::pin(stream::once(distorted).flatten())
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        if matches!(self.fault, Fault::FailOnce(_)) {
            return self.inner.list_with_offset(prefix, offset);
        }
        let offset = offset.clone();
        let behind = move |item: &Result<ObjectMeta>| item.as_ref().map_or(true, |meta| meta.location > offset);
        self.list(prefix).filter(move |item| std::future::ready(behind(item))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
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
