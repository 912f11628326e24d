//! List answers on their way in: checked, and edited where the library would stumble.

use std::sync::PoisonError;
use std::time::Instant;

use async_trait::async_trait;
use object_store::Result;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path;

use super::client::client;
use super::course::{COURSE, Extent, PageFacts, moment};
use super::page::{self, PageError};
use super::redirect::Sent;
use super::xml::{inner, text_of, unescape};

/// Makes HTTP clients that follow no redirect, and whose list answers are edited.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(Editor { client: HttpClient::new(client(options)?) }))
    }
}

#[derive(Debug)]
struct Editor {
    client: HttpClient,
}

#[async_trait]
impl HttpService for Editor {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let (asked, sent, asked_at) = (asked(&request), Sent::of(&request), Instant::now());
        let answer = sent.accept(self.client.execute(request).await?).await?;
        let Some(Asked { token, prefix, one_level }) = asked.filter(|_| answer.status().is_success()) else {
            return Ok(answer);
        };
        let (mut head, body) = answer.into_parts();
        // A body that was cut off is asked for again, as any broken connection is.
        let body = body.bytes().await.map_err(|e| HttpError::new(HttpErrorKind::Interrupted, e))?;
        let Ok(text) = std::str::from_utf8(&body) else { return Err(none(PageError::Other("no UTF-8".to_owned()))) };
        page::check(text, token.as_deref()).map_err(none)?;
        let Edited { text: edited, odd, extent, shown, entries, frame } = edit(text, one_level);
        page::check_fields(&frame, entries, &prefix).map_err(none)?;
        let gone_on = COURSE.try_with(|course| {
            let mut course = course.lock().unwrap_or_else(PoisonError::into_inner);
            let name = text_of(&frame, "Name").map(unescape);
            let date = head.headers.get("date").and_then(|date| moment(date.to_str().ok()?));
            course.go_on(PageFacts { extent, shown, name, date, asked_at, came_at: Instant::now() })?;
            // One level is asked for to see folders; its odd keys are told by the listing of all, outside of which there
            // is no place for them.
            course.odd.extend(odd.into_iter().filter(|_| !one_level));
            Ok(())
        });
        gone_on.unwrap_or(Ok(())).map_err(none)?;
        head.headers.remove("content-length");
        let body = edited.map_or_else(|| HttpResponseBody::from(body), HttpResponseBody::from);
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// An answer that is no page is not asked for again: it would hardly be another one.
fn none(error: PageError) -> HttpError {
    HttpError::new(HttpErrorKind::Decode, error)
}

/// What a list request asks for.
struct Asked {
    /// Behind what.
    token: Option<String>,
    /// Below what; empty for the whole bucket.
    prefix: String,
    /// One level only.
    one_level: bool,
}

/// Returns what `request` asks for, if it asks for a list.
fn asked(request: &HttpRequest) -> Option<Asked> {
    let (mut is_list, mut asked) = (false, Asked { token: None, prefix: String::new(), one_level: false });
    for (name, value) in url::form_urlencoded::parse(request.uri().query()?.as_bytes()) {
        match &*name {
            "list-type" => is_list = true,
            "continuation-token" => asked.token = Some(value.into_owned()),
            "prefix" => asked.prefix = value.into_owned(),
            "delimiter" => asked.one_level = true,
            _ => {}
        }
    }
    is_list.then_some(asked)
}

/// A list answer as it is passed on.
#[derive(Debug, PartialEq, Eq)]
struct Edited {
    /// The new text, unless nothing had to be left out.
    text: Option<String>,
    /// The keys that no path can hold.
    odd: Vec<String>,
    /// The keys and folders, those that were left out too.
    extent: Extent,
    /// Whether anything is left that the library turns into objects or folders.
    shown: bool,
    /// How many objects and folders there were.
    entries: usize,
    /// The old text without them: what the page says of itself.
    frame: String,
}

/// Leaves out of a list answer what is no object, and of one level, which is asked for to see its folders, the objects
/// too: there may be millions.
fn edit(text: &str, one_level: bool) -> Edited {
    let (mut edited, mut odd, mut extent, mut shown) = (None::<String>, Vec::new(), Extent::default(), false);
    let (mut copied, mut from) = (0, 0);
    let (mut entries, mut frame) = (0, String::new());
    let addressable = |key: &str| Path::parse(key).is_ok_and(|path| path.as_ref() == key);
    while let Some((start, end)) = find_element(text, from) {
        frame.push_str(&text[from..start]);
        entries += 1;
        from = end;
        let element = &text[start..end];
        let key = inner(element, "Key").map(unescape);
        let folder = inner(element, "Prefix").map(unescape);
        if let Some(key) = key.as_deref().or(folder.as_deref()) {
            extent.take(key);
        }
        match (key, folder) {
            (Some(key), _) if !addressable(&key) => {
                if !(key.ends_with('/') && inner(element, "Size") == Some("0")) {
                    odd.push(key);
                }
            }
            (Some(_), _) if one_level => {}
            (None, Some(folder)) if !addressable(folder.strip_suffix('/').unwrap_or(&folder)) || folder == "/" => {}
            _ => {
                shown = true;
                continue;
            }
        }
        edited.get_or_insert_with(String::new).push_str(&text[copied..start]);
        copied = end;
    }
    if let Some(edited) = &mut edited {
        edited.push_str(&text[copied..]);
    }
    frame.push_str(&text[from..]);
    Edited { text: edited, odd, extent, shown, entries, frame }
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
        let edited = edit(&text, false);
        assert_eq!(edited.text.unwrap(), page(&[("a", 1), ("z&amp;", 1)]));
        assert_eq!(edited.odd, ["full/", "x//y", "x\ny", "/lead"]);
        assert_eq!((edited.extent.least.unwrap(), edited.extent.greatest.unwrap()), ("/lead".into(), "z&".into()));
        assert!(edited.shown);
    }

    #[test]
    fn an_ordinary_page_is_not_touched() {
        let as_it_is = |ends: Option<(&str, &str)>, text, shown, entries| {
            let (least, greatest) = ends.map(|(least, greatest)| (least.to_owned(), greatest.to_owned())).unzip();
            Edited { text, odd: vec![], extent: Extent { least, greatest }, shown, entries, frame: page(&[]) }
        };
        let text = page(&[("a", 1), ("b/c#1", 0), ("%2F", 0), ("é", 0)]);
        assert_eq!(edit(&text, false), as_it_is(Some(("%2F", "é")), None, true, 4));
        assert_eq!(edit(&page(&[]), false), as_it_is(None, None, false, 0));
        assert_eq!(edit(&page(&[("a", 1), ("b", 0)]), true), as_it_is(Some(("a", "b")), Some(page(&[])), false, 2));
    }

    #[test]
    fn folders_that_no_path_can_hold_are_left_out() {
        let folder = |name: &str| format!("<CommonPrefixes><Prefix>{name}/</Prefix></CommonPrefixes>");
        let text = [folder("a"), folder(""), folder("b&#10;"), folder("é")].concat();
        let edited = edit(&text, true);
        assert_eq!((edited.text, edited.odd), (Some([folder("a"), folder("é")].concat()), Vec::new()));
        assert_eq!((edited.entries, edited.frame.as_str()), (4, ""));
    }
}
