//! S3 as an object store whose listing survives the keys that the storage library cannot hold.
//!
//! The library fails a whole page for one key such as `a//b` and strips the slash of a folder marker `dir/`, which then
//! looks like an object `dir`, out of order. So list answers are edited on the way in: empty folder markers, which are
//! no objects, are left out, and keys that cannot be addressed are set aside and come out as bad entries. The library also
//! takes any document for the last page of a listing, so that a page that is none, or that says nothing of how it goes on,
//! is turned into an error: a short listing looks like files that are gone.

mod client;
mod course;
mod editor;
mod page;
mod redirect;
mod xml;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use self::course::{COURSE, Course};
use self::editor::Connector;
pub(super) use self::redirect::Redirected;
use crate::model::{BadEntry, BadReason, Hides};

/// A bucket, or what lies below a prefix of one.
#[derive(Debug)]
pub(super) struct S3Bucket {
    inner: PrefixStore<AmazonS3>,
    /// Empty, or the prefix with a slash at its end.
    below: String,
}

impl S3Bucket {
    /// Builds the client; no request is made yet.
    pub(super) fn new(builder: AmazonS3Builder, prefix: Path) -> Result<Self> {
        let client = builder.with_http_connector(Connector).build()?;
        let below = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { inner: PrefixStore::new(client, prefix), below })
    }

    /// Puts what the pages of a listing had aside back among their objects.
    fn with_odd_keys(
        &self,
        mut pages: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (course, below) = (Course::shared(), self.below.clone());
        // The greatest one first.
        let mut odd: Vec<String> = Vec::new();
        let mut held: Option<Option<Result<ObjectMeta>>> = None;
        Box::pin(stream::poll_fn(move |context| {
            // What a page had aside comes out before the page's first object, hence before anything it could hide. Of a
            // page that has none it comes out before the next page: there may be any number of such pages.
            if held.is_none() {
                let polled = COURSE.sync_scope(Arc::clone(&course), || pages.poll_next_unpin(context));
                let mut new = std::mem::take(&mut course.lock().unwrap_or_else(PoisonError::into_inner).odd);
                new.sort_unstable_by(|a, b| b.cmp(a));
                new.append(&mut odd);
                odd = new;
                match polled {
                    Poll::Ready(item) => held = Some(item),
                    Poll::Pending if odd.is_empty() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            Poll::Ready(match odd.pop() {
                Some(key) => Some(Err(unaddressable(key.strip_prefix(&below).unwrap_or(&key)))),
                None => held.take().flatten(),
            })
        }))
    }
}

impl fmt::Display for S3Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for S3Bucket {
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.with_odd_keys(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.with_odd_keys(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        COURSE.scope(Course::shared(), self.inner.list_with_delimiter(prefix)).await
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

fn unaddressable(key: &str) -> Error {
    let entry = BadEntry { shown: key.to_owned(), reason: BadReason::Unaddressable, hides: Hides::Key(key.to_owned()) };
    Error::Generic { store: "S3", source: Box::new(entry) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use chrono::DateTime;
    use object_store::ObjectStoreExt as _;

    use super::*;

    /// Starts a server that gives these answers, each on a connection of its own, and returns a bucket on it.
    fn bucket_answering(answers: &'static [&'static str]) -> S3Bucket {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut client, _) = listener.accept().unwrap();
                let _ = client.read(&mut [0; 65_536]);
                let _ = client.write_all(answer.as_bytes());
            }
        });
        let builder = AmazonS3Builder::new().with_bucket_name("b").with_endpoint(endpoint).with_allow_http(true);
        S3Bucket::new(builder.with_skip_signature(true), Path::default()).unwrap()
    }

    #[tokio::test]
    async fn a_head_says_when_an_object_was_written() {
        let bucket = bucket_answering(&["HTTP/1.1 200 OK\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             etag: \"e\"\r\ncontent-length: 7\r\nconnection: close\r\n\r\n"]);
        let found = bucket.head(&Path::from("a")).await.unwrap();
        assert_eq!(found.last_modified, DateTime::from_timestamp(784_111_777, 0).unwrap());
        assert_eq!((found.size, found.e_tag.as_deref()), (7, Some("\"e\"")));
    }

    #[tokio::test]
    async fn a_list_answer_says_as_of_when_it_is() {
        let bucket = bucket_answering(&["HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             connection: close\r\n\r\n<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"]);
        let course = Course::shared();
        let mut items = bucket.inner.list(None);
        let first = COURSE.scope(Arc::clone(&course), items.next()).await;
        assert!(first.is_none(), "{first:?}");
        let told_at = course.lock().unwrap().told_at;
        assert_eq!(told_at.map(crate::model::Timestamp::micros), Some(784_111_777_000_000));
    }
}
