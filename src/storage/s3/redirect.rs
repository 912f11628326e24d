//! Answers that send the client to another place, and those that name another region: errors, never followed.

use futures::StreamExt as _;
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody};
use thiserror::Error;
use url::Url;

use super::xml::text_of;

/// How much of the body of such an answer is read, in bytes.
const MOST: usize = 64 * 1024;

/// An answer that another server, or this one elsewhere, would have to be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::storage) enum Redirected {
    /// It names another place.
    #[error(
        "{asked} redirects to {to} ({status}); redirects are not followed, so name the server that answers itself \
         (AWS_ENDPOINT_URL)"
    )]
    Elsewhere {
        /// The server that was asked.
        asked: String,
        /// What it redirects to, without path, query and credentials.
        to: String,
        /// The status of the answer.
        status: String,
    },
    /// It names another region.
    #[error("the bucket is in another region ({status}); set AWS_REGION={region}")]
    Region {
        /// The region of the bucket.
        region: String,
        /// The status of the answer.
        status: String,
    },
}

/// What is known of a request, for the answer to it.
#[derive(Debug)]
pub(super) struct Sent {
    url: Option<Url>,
    /// The region that it is signed for.
    region: Option<String>,
}

impl Sent {
    /// Takes what is needed of `request`.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        Self { url: Url::parse(&request.uri().to_string()).ok(), region: signed.and_then(signed_region) }
    }

    /// Passes `answer` on, unless it is a redirect or names another region.
    ///
    /// # Errors
    /// When it is one of these. The error is of a kind that is not tried again.
    pub(super) async fn accept(&self, answer: HttpResponse) -> Result<HttpResponse, HttpError> {
        let status = answer.status();
        let redirects = status.is_redirection() && status.as_u16() != 304;
        if !redirects && status.as_u16() != 400 {
            return Ok(answer);
        }
        let (mut head, body) = answer.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (named, location) = (header("x-amz-bucket-region"), header("location"));
        let body = match start_of(body).await {
            // The headers of a redirect say enough.
            Err(_) if redirects => Vec::new(),
            body => body?,
        };
        let text = String::from_utf8_lossy(&body);
        let told = Told { named: named.as_deref(), location: location.as_deref(), text: &text };
        let status = status.to_string();
        match self.region_in(&told, redirects) {
            Some(region) => Err(error(Redirected::Region { region, status })),
            None if redirects => Err(error(self.elsewhere(&told, status))),
            None => {
                head.headers.remove("content-length");
                Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)))
            }
        }
    }

    /// Returns the region that an answer names, if it is another one than that of the request.
    fn region_in(&self, told: &Told<'_>, redirects: bool) -> Option<String> {
        let Told { named, location, text } = *told;
        let code = text_of(text, "Code");
        // An answer to HEAD has no body. With any other code the region is no cause of the error.
        let counts = redirects || code == Some("AuthorizationHeaderMalformed") || (code.is_none() && named.is_some());
        let host = |location| Some(self.url.as_ref()?.join(location).ok()?.host_str()?.to_owned());
        let found = named
            .map(str::to_owned)
            .or_else(|| text_of(text, "Region").map(str::to_owned))
            .or_else(|| region_of_host(text_of(text, "Endpoint")?))
            .or_else(|| region_of_host(&host(location?)?));
        found.filter(|region| counts && is_region(region) && Some(region) != self.region.as_ref())
    }

    fn elsewhere(&self, told: &Told<'_>, status: String) -> Redirected {
        let asked = self.url.as_ref().map_or_else(|| "the server".to_owned(), origin);
        let target = told.location.and_then(|location| self.url.as_ref()?.join(location).ok());
        let to = match (target.as_ref().map(origin), text_of(told.text, "Endpoint")) {
            (Some(to), _) if to == asked => "another path of itself".to_owned(),
            (Some(to), _) => to,
            (None, Some(host)) if is_host(host) => host.to_owned(),
            (None, _) => "an unnamed place".to_owned(),
        };
        Redirected::Elsewhere { asked, to, status }
    }
}

/// What an answer says of where to go.
struct Told<'a> {
    /// The region in its header.
    named: Option<&'a str>,
    location: Option<&'a str>,
    text: &'a str,
}

/// Reads a body, but not more than is needed of one.
async fn start_of(body: HttpResponseBody) -> Result<Vec<u8>, HttpError> {
    let (mut read, mut chunks) = (Vec::new(), body.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        read.extend_from_slice(&chunk[..chunk.len().min(MOST - read.len())]);
        if read.len() == MOST {
            break;
        }
    }
    Ok(read)
}

fn error(redirected: Redirected) -> HttpError {
    HttpError::new(HttpErrorKind::Decode, redirected)
}

/// Returns scheme, host and port.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns the region in the scope of a signature.
fn signed_region(authorization: &str) -> Option<String> {
    let (_, credential) = authorization.split_once("Credential=")?;
    let scope = credential.split(',').next()?;
    scope.rsplit('/').nth(2).map(str::to_owned)
}

/// Returns the region in the name of a host of AWS.
fn region_of_host(host: &str) -> Option<String> {
    let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let labels: Vec<&str> = name.split('.').collect();
    let region = match labels.as_slice() {
        [.., "s3", region] | [.., "s3", "dualstack", region] => region,
        [.., last] => last.strip_prefix("s3-")?,
        [] => return None,
    };
    Some(region.to_owned())
}

/// Tells whether `text` can be the name of a region, so that it may be shown.
fn is_region(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Tells whether `text` can be the name of a host, so that it may be shown.
fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = "http://127.0.0.1:9000/bucket/1/a?versionId=secret";

    fn sent(region: Option<&str>) -> Sent {
        Sent { url: Url::parse(ASKED).ok(), region: region.map(str::to_owned) }
    }

    #[test]
    fn a_redirect_is_told_by_its_host_alone() {
        let asked = "http://127.0.0.1:9000";
        for (location, text, to) in [
            (Some("http://u:p@other:81/x?token=y"), "", "http://other:81"),
            (Some("https://other/x"), "", "https://other"),
            (Some("//other/x"), "", "http://other"),
            (Some("/login"), "", "another path of itself"),
            (Some("http://["), "", "an unnamed place"),
            (None, "<Error><Endpoint>b.example.org</Endpoint></Error>", "b.example.org"),
            (None, "<Error><Endpoint>two words</Endpoint></Error>", "an unnamed place"),
            (None, "", "an unnamed place"),
        ] {
            let told = Told { named: None, location, text };
            let to = Redirected::Elsewhere { asked: asked.into(), to: to.into(), status: "302 Found".into() };
            assert_eq!(sent(None).elsewhere(&told, "302 Found".to_owned()), to, "{location:?} {text}");
        }
    }

    #[test]
    fn the_region_of_a_bucket_is_found_where_it_is_another_one() {
        let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        let expired = "<Error><Code>ExpiredToken</Code><Region>eu-west-1</Region></Error>";
        let endpoint = "<Error><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>";
        let found = Some("eu-west-1");
        for (named, location, text, redirects, want) in [
            (found, None, "", true, found),
            (found, None, "", false, found),
            (None, None, malformed, false, found),
            (None, None, malformed, true, found),
            (None, None, endpoint, true, found),
            (None, Some("https://b.s3-eu-west-1.amazonaws.com/x"), "", true, found),
            (None, Some("https://b.s3.dualstack.eu-west-1.amazonaws.com/x"), "", true, found),
            (None, Some("https://b.s3.cn-north-1.amazonaws.com.cn/x"), "", true, Some("cn-north-1")),
            // Another error, the same region, none, and what is no region.
            (found, None, expired, false, None),
            (None, None, expired, false, None),
            (Some("us-east-1"), None, "", true, None),
            (None, Some("https://eu-west-1.example.org/x"), "", true, None),
            (Some("eu west"), None, "", true, None),
            (None, None, "", true, None),
            (None, None, "", false, None),
        ] {
            let told = Told { named, location, text };
            let region = sent(Some("us-east-1")).region_in(&told, redirects);
            assert_eq!(region.as_deref(), want, "{named:?} {location:?} {text} {redirects}");
        }
        let header = "AWS4-HMAC-SHA256 Credential=A/K/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host";
        assert_eq!(signed_region(header).as_deref(), found);
        assert_eq!(signed_region("Bearer x"), None);
    }
}
