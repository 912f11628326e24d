//! A store of any number of objects, listed in an order that looks random, none of which is kept anywhere.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store that can only be listed.
#[derive(Debug)]
pub(crate) struct Scattered {
    /// How many objects it has.
    pub(crate) keys: u64,
}

impl fmt::Display for Scattered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scattered({})", self.keys)
    }
}

#[async_trait]
impl ObjectStore for Scattered {
    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let metas = (0..self.keys).map(|n| {
            // Multiplication by an odd number is one to one.
            let number = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Ok(ObjectMeta {
                location: Path::parse(format!("1/{:02x}/{number:016x}", number >> 56)).unwrap(),
                last_modified: chrono::DateTime::UNIX_EPOCH,
                size: n,
                e_tag: Some(format!("\"{n:032x}\"")),
                version: None,
            })
        });
        stream::iter(metas).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list_with_delimiter".into(), implementer: self.to_string() })
    }

    async fn get_opts(&self, location: &Path, _: GetOptions) -> Result<GetResult> {
        Err(Error::NotFound { path: location.to_string(), source: "it can only be listed".into() })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(Error::NotImplemented { operation: "put".into(), implementer: self.to_string() })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "put_multipart".into(), implementer: self.to_string() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: self.to_string() })
    }
}
