//! The door that every request passes: its id, who asks, how much is sent; and every answer: in one form, logged, counted.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse as _, Request, Response, Result};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use super::auth::Guard;
use super::problem::Problem;
use super::routes::route_of;
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
            headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("10"));
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
        let Some((_, allowed)) = route_of(&path) else { return Err(Problem::not_found()) };
        if !allows(allowed, request.method()) {
            let detail = format!("this path knows the method {allowed} only");
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            let mut response = problem.into_response();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Ok(response);
        }
        let mut names = request.headers().get_all("idempotency-key").iter();
        if names.next().is_some_and(|name| name.to_str().is_err()) || names.next().is_some() {
            let detail = "send one Idempotency-Key, of ASCII characters";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail));
        }
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let too_long = announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|l| l > LONGEST_BODY as u64);
        let reading = tokio::time::timeout(PATIENCE, request.take_body().into_bytes_limit(LONGEST_BODY));
        let body = if too_long { None } else { reading.await.ok().and_then(|read| read.ok()) };
        let Some(body) = body else {
            let detail = format!("the body is longer than {LONGEST_BODY} bytes, or broke off, or came too slowly");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        };
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
