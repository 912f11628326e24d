//! S3 as an object store whose listing survives the keys that the storage library cannot hold.
//!
//! The library fails a whole page for one key such as `a//b` and strips the slash of a folder marker `dir/`, which then
//! looks like an object `dir`, out of order. So list answers are edited on the way in: empty folder markers, which are
//! no objects, are left out, and keys that cannot be addressed are set aside and come out as bad entries.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::model::{BadEntry, BadReason, Hides};

/// Keys that list answers had and that no [`Path`] can hold, until the listing that met them picks them up.
type SetAside = Arc<Mutex<Vec<String>>>;

tokio::task_local! {
    /// Where the listing that is being polled sets keys aside: each one its own, however many are under way.
    static SET_ASIDE: SetAside;
}

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
        let (set_aside, below) = (SetAside::default(), self.below.clone());
        let mut bad: Vec<String> = Vec::new();
        let mut held: Option<Option<Result<ObjectMeta>>> = None;
        Box::pin(stream::poll_fn(move |context| {
            // What a page had aside comes out before the page's first object, hence before anything it could hide.
            if held.is_none() {
                let polled = SET_ASIDE.sync_scope(Arc::clone(&set_aside), || pages.poll_next_unpin(context));
                let Poll::Ready(item) = polled else { return Poll::Pending };
                bad.append(&mut set_aside.lock().unwrap_or_else(PoisonError::into_inner));
                held = Some(item);
            }
            Poll::Ready(match bad.pop() {
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

fn unaddressable(key: &str) -> Error {
    let entry = BadEntry { shown: key.to_owned(), reason: BadReason::Unaddressable, hides: Hides::Key(key.to_owned()) };
    Error::Generic { store: "S3", source: Box::new(entry) }
}

/// Makes HTTP clients whose list answers are edited.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Editor { client }))
    }
}

#[derive(Debug)]
struct Editor {
    client: HttpClient,
}

#[async_trait]
impl HttpService for Editor {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let asks = |what: &str| request.uri().query().is_some_and(|q| q.split('&').any(|pair| pair.starts_with(what)));
        let (is_list, is_one_level) = (asks("list-type=2"), asks("delimiter="));
        let answer = self.client.execute(request).await?;
        if !is_list || !answer.status().is_success() {
            return Ok(answer);
        }
        let (mut head, body) = answer.into_parts();
        // A body that was cut off is asked for again, as any broken connection is.
        let body = body.bytes().await.map_err(|e| HttpError::new(HttpErrorKind::Interrupted, e))?;
        let Ok(text) = std::str::from_utf8(&body) else {
            return Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)));
        };
        let (edited, aside) = edit(text, is_one_level);
        // One level is asked for to see folders; its odd keys are told by the listing of all, outside of which there is
        // no place for them.
        if !aside.is_empty() {
            let _ = SET_ASIDE.try_with(|place| place.lock().unwrap_or_else(PoisonError::into_inner).extend(aside));
        }
        head.headers.remove("content-length");
        let body = edited.map_or_else(|| HttpResponseBody::from(body), HttpResponseBody::from);
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// Leaves out of a list answer what is no object, and of one level, which is asked for to see its folders, the objects
/// too: there may be millions. Returns the new text, unless nothing had to be left out, and the keys that no path can hold.
fn edit(text: &str, one_level: bool) -> (Option<String>, Vec<String>) {
    let (mut edited, mut aside) = (None::<String>, Vec::new());
    let (mut copied, mut from) = (0, 0);
    let addressable = |key: &str| Path::parse(key).is_ok_and(|path| path.as_ref() == key);
    while let Some((start, end)) = find_element(text, from) {
        from = end;
        let element = &text[start..end];
        let key = inner(element, "Key").map(unescape);
        let folder = inner(element, "Prefix").map(unescape);
        match (key, folder) {
            (Some(key), _) if !addressable(&key) => {
                if !(key.ends_with('/') && inner(element, "Size") == Some("0")) {
                    aside.push(key);
                }
            }
            (Some(_), _) if one_level => {}
            (None, Some(folder)) if !addressable(folder.strip_suffix('/').unwrap_or(&folder)) || folder == "/" => {}
            _ => continue,
        }
        edited.get_or_insert_with(String::new).push_str(&text[copied..start]);
        copied = end;
    }
    if let Some(edited) = &mut edited {
        edited.push_str(&text[copied..]);
    }
    (edited, aside)
}

/// Finds the next object or folder of a list answer.
fn find_element(text: &str, from: usize) -> Option<(usize, usize)> {
    let starts = memchr::memmem::find_iter(&text.as_bytes()[from..], "<Co").map(|at| from + at);
    for start in starts {
        for (open, close) in [("<Contents>", "</Contents>"), ("<CommonPrefixes>", "</CommonPrefixes>")] {
            if text[start..].starts_with(open) {
                return Some((start, start + text[start..].find(close)? + close.len()));
            }
        }
    }
    None
}

fn inner<'t>(element: &'t str, tag: &str) -> Option<&'t str> {
    let (_, rest) = element.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

/// Resolves the five names and the numbers that XML knows without a document type.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let Some((name, tail)) = after.split_once(';') else {
            plain.push('&');
            rest = after;
            continue;
        };
        let number = name.strip_prefix('#').and_then(|n| match n.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => n.parse().ok(),
        });
        match (name, number.and_then(char::from_u32)) {
            ("amp", _) => plain.push('&'),
            ("lt", _) => plain.push('<'),
            ("gt", _) => plain.push('>'),
            ("quot", _) => plain.push('"'),
            ("apos", _) => plain.push('\''),
            (_, Some(character)) => plain.push(character),
            _ => {
                plain.push('&');
                rest = after;
                continue;
            }
        }
        rest = tail;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[(&str, u32)]) -> String {
        let contents: String =
            keys.iter().map(|(k, size)| format!("<Contents><Key>{k}</Key><Size>{size}</Size></Contents>")).collect();
        format!("<ListBucketResult><Name>b</Name>{contents}<IsTruncated>false</IsTruncated></ListBucketResult>")
    }

    #[test]
    fn markers_are_left_out_and_odd_keys_are_set_aside() {
        let text =
            page(&[("a", 1), ("dir/", 0), ("full/", 3), ("x//y", 1), ("x&#xA;y", 1), ("z&amp;", 1), ("/lead", 1)]);
        let (edited, aside) = edit(&text, false);
        assert_eq!(edited.unwrap(), page(&[("a", 1), ("z&amp;", 1)]));
        assert_eq!(aside, ["full/", "x//y", "x\ny", "/lead"]);
    }

    #[test]
    fn an_ordinary_page_is_not_touched() {
        assert_eq!(edit(&page(&[("a", 1), ("b/c#1", 0), ("%2F", 0), ("é", 0)]), false), (None, Vec::new()));
        assert_eq!(edit(&page(&[]), false), (None, Vec::new()));
        assert_eq!(edit(&page(&[("a", 1), ("b", 0)]), true), (Some(page(&[])), Vec::new()));
    }

    #[test]
    fn folders_that_no_path_can_hold_are_left_out() {
        let folder = |name: &str| format!("<CommonPrefixes><Prefix>{name}/</Prefix></CommonPrefixes>");
        let text = [folder("a"), folder(""), folder("b&#10;"), folder("é")].concat();
        assert_eq!(edit(&text, true), (Some([folder("a"), folder("é")].concat()), Vec::new()));
    }

    #[test]
    fn xml_text_is_resolved() {
        for (text, want) in
            [("&lt;&gt;&quot;&apos;&amp;", "<>\"'&"), ("&#65;&#x42;", "AB"), ("&nope; & b", "&nope; & b"), ("", "")]
        {
            assert_eq!(unescape(text), want);
        }
    }
}
