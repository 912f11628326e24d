//! S3, with a listing that survives the keys that the storage library cannot hold.
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

use std::sync::{Arc, PoisonError};
use std::task::Poll;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, Result};

pub(super) use self::course::ANY_ORDER;
use self::course::{COURSE, Course};
use self::editor::Connector;
pub(super) use self::redirect::Redirected;
use super::listed::{Item, Items, Listed, object_of};
use crate::model::{BadEntry, BadReason, Hides};

/// A bucket, or what lies below a prefix of one.
#[derive(Debug)]
pub(super) struct S3Bucket {
    inner: Arc<PrefixStore<AmazonS3>>,
    /// Empty, or the prefix with a slash at its end.
    below: String,
}

impl S3Bucket {
    /// Builds the client; no request is made yet.
    pub(super) fn new(builder: AmazonS3Builder, prefix: Path) -> Result<Self> {
        let client = builder.with_http_connector(Connector).build()?;
        let below = if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { inner: Arc::new(PrefixStore::new(client, prefix)), below })
    }

    /// Returns the store for everything but listings.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner) as Arc<dyn ObjectStore>
    }

    /// Lists what lies below `prefix`, or all.
    pub(super) fn listing(&self, prefix: Option<&Path>) -> Items {
        self.entries(self.inner.list(prefix))
    }

    /// Lists as [`Self::listing`], behind the key `offset`.
    pub(super) fn listing_behind(&self, prefix: Option<&Path>, offset: &Path) -> Items {
        self.entries(self.inner.list_with_offset(prefix, offset))
    }

    /// Puts what the pages of a listing had aside back among their objects, and says as of when each page was listed.
    fn entries(&self, mut pages: BoxStream<'static, Result<ObjectMeta>>) -> Items {
        let (course, below) = (Course::shared(), self.below.clone());
        // What comes out before the page's first object, hence before anything that it could hide; the last one is next.
        let mut ahead: Vec<Listed> = Vec::new();
        let mut held: Option<Option<Item>> = None;
        let mut told_at = None;
        Box::pin(stream::poll_fn(move |context| {
            // Of a page that has no object, the odd keys come out before the next page: there may be any number of such.
            if held.is_none() {
                let polled = COURSE.sync_scope(Arc::clone(&course), || pages.poll_next_unpin(context));
                let (mut odd, now) = {
                    let mut course = course.lock().unwrap_or_else(PoisonError::into_inner);
                    (std::mem::take(&mut course.odd), course.told_at)
                };
                odd.sort_unstable_by(|a, b| b.cmp(a));
                let odd = odd.iter().map(|key| Listed::Bad(unaddressable(key.strip_prefix(&below).unwrap_or(key))));
                let mut new: Vec<Listed> = odd.collect();
                new.extend(now.filter(|_| std::mem::replace(&mut told_at, now) != now).map(Listed::AsOf));
                new.append(&mut ahead);
                ahead = new;
                match polled {
                    Poll::Ready(item) => held = Some(item.map(|item| item.map(|meta| Listed::Object(object_of(meta))))),
                    Poll::Pending if ahead.is_empty() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            Poll::Ready(match ahead.pop() {
                Some(entry) => Some(Ok(entry)),
                None => held.take().flatten(),
            })
        }))
    }
}

fn unaddressable(key: &str) -> BadEntry {
    BadEntry { shown: key.to_owned(), reason: BadReason::Unaddressable, hides: Hides::Key(key.to_owned()) }
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
        let found = bucket.store().head(&Path::from("a")).await.unwrap();
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
