//! The door that every request passes: its id, who asks, how much is sent; and every answer: in one form, logged, counted.

use std::sync::Arc;
use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, IntoResponse as _, Request, Response, Result};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use super::auth::Guard;
use super::lists;
use super::problem::{Problem, RETRY_AFTER};
use super::routes::{REBUILD, route_of};
use super::scrub::Scrub;
use crate::task::Desk;

/// The most bytes of a body.
const LONGEST_BODY: usize = 64 * 1024;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request passes.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) desk: Arc<Desk>,
    pub(super) scrub: Scrub,
    pub(super) guard: Guard,
    /// Whether the metrics need a key as well.
    pub(super) metrics_auth: bool,
}

impl Door {
    /// Lets a request through to `inner`, and answers it whatever happens.
    pub(super) async fn pass<E: Endpoint>(self: Arc<Self>, inner: Arc<E>, request: Request) -> Result<Response> {
        let begun = Instant::now();
        let id = request_id(&request);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let route = route_of(&path).map_or("unmatched", |(route, _)| route);
        let span = tracing::info_span!("request", request_id = %id);
        let answered = self.answer(inner, request).instrument(span.clone()).await;
        let mut response = answered.unwrap_or_else(Problem::into_response);
        let (status, seconds) = (response.status(), begun.elapsed().as_secs_f64());
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from(RETRY_AFTER));
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if path.starts_with("/api/") {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let known =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].iter().find(|m| **m == method.as_str());
        let method = known.copied().unwrap_or("other");
        let labels =
            [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.as_u16().to_string())];
        metrics::counter!("storm_index_http_requests_total", &labels).increment(1);
        metrics::histogram!("storm_index_http_request_duration_seconds", "route" => route).record(seconds);
        let milliseconds = (seconds * 1_000.0).round();
        span.in_scope(|| {
            let status = status.as_u16();
            // What asks every few seconds whether the server lives is not told every few seconds.
            if route.starts_with("/health") || route == "/metrics" {
                tracing::debug!(method, path, status, milliseconds, "answered");
            } else {
                tracing::info!(method, path, status, milliseconds, "answered");
            }
        });
        Ok(response)
    }

    async fn answer<E: Endpoint>(&self, inner: Arc<E>, mut request: Request) -> Result<Response, Problem> {
        let path = request.uri().path().to_owned();
        if path == "/api" || path.starts_with("/api/") || (self.metrics_auth && path.starts_with("/metrics")) {
            let caller = self.guard.admit(&request, &self.desk, &self.scrub).await?;
            request.extensions_mut().insert(caller);
        }
        let Some((route, allowed)) = route_of(&path) else { return Err(Problem::not_found()) };
        if !allows(allowed, request.method()) {
            let detail = format!("this path knows the method {allowed} only");
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            let mut response = problem.into_response();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Ok(response);
        }
        if route == REBUILD {
            let mut names = request.headers().get_all("idempotency-key").iter();
            if names.next().is_some_and(|name| name.to_str().is_err()) || names.next().is_some() {
                let detail = "send one Idempotency-Key, of ASCII characters";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail));
            }
        }
        for list in [HeaderName::from_static("prefer"), header::ACCEPT] {
            lists::join(request.headers_mut(), &list);
        }
        // Who only asks has nothing to send: what comes all the same is not read.
        let body = if request.method() == Method::POST { read_announced(&mut request).await? } else { Vec::new() };
        request.set_body(body);
        match inner.call(request).await {
            Ok(response) => Ok(response.into_response()),
            Err(error) if error.is_from_response() => Ok(error.into_response()),
            Err(error) => {
                if error.status().is_server_error() {
                    tracing::error!(%error, "a request broke down");
                }
                Err(Problem::of_framework(&error))
            }
        }
    }
}

/// Reads the body of a request, unless it is announced to be too long.
async fn read_announced(request: &mut Request) -> Result<Vec<u8>, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|l| l > LONGEST_BODY as u64) {
        return Err(too_large());
    }
    read(request.take_body()).await
}

/// Reads a body, or says why it cannot be.
async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let Ok(read) = tokio::time::timeout(PATIENCE, body.into_bytes_limit(LONGEST_BODY)).await else {
        let detail = format!("the body did not come within {} s; send it at once", PATIENCE.as_secs());
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail));
    };
    match read {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(ReadBodyError::PayloadTooLarge) => Err(too_large()),
        Err(_) => {
            let detail = "the body broke off, or is not in the chunks that it was announced in; send it whole";
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail))
        }
    }
}

fn too_large() -> Problem {
    let detail = format!("the body is longer than {LONGEST_BODY} bytes; a request needs less");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn allows(allowed: &str, method: &Method) -> bool {
    allowed.split(", ").any(|allowed| method.as_str() == allowed)
}

/// Returns the id that the client has given the request, if it is fit to be repeated, or a new one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let fit = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    given.filter(fit).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_cannot_be_read_says_why() {
        let whole = |bytes: usize| Body::from(vec![b'x'; bytes]);
        assert_eq!(read(whole(LONGEST_BODY)).await.unwrap().len(), LONGEST_BODY);
        let broken = Body::from_bytes_stream(stream::iter([Ok("{"), Err(std::io::Error::other("reset"))]));
        let silent = Body::from_bytes_stream(stream::pending::<std::io::Result<&'static str>>());
        for (body, status, code) in [
            (whole(LONGEST_BODY + 1), 413, "body_too_large"),
            (broken, 400, "invalid_body"),
            (silent, 408, "body_too_slow"),
        ] {
            let problem = read(body).await.unwrap_err();
            assert_eq!((problem.status, problem.code.as_str()), (status, code));
        }
    }
}
