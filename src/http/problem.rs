//! What is wrong with a request, said in one form everywhere (RFC 9457).

use poem::error::ParsePathError as BadPathError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse as _, Response};
use poem_openapi::Object;
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError};
use serde::Serialize;

use super::scrub::Scrub;
use crate::error::Error;
use crate::index::IndexError;
use crate::task::TaskError;

/// The content type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// In how many seconds to ask again, where nobody knows.
pub(super) const RETRY_AFTER: u32 = 10;

/// What is wrong (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub(super) struct Problem {
    /// Always `about:blank`: the `code` says more.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    /// What the status means.
    pub title: String,
    /// The status.
    pub status: u16,
    /// One stable word for what is wrong, for programs.
    pub code: String,
    /// One line: what is wrong, with which thing, and how to mend it.
    pub detail: String,
    /// Who writes into the index now, if that is why.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<Box<HolderWire>>,
    /// In how many seconds to ask again, if that is worth it.
    #[oai(skip)]
    #[serde(skip)]
    pub retry_after: u32,
}

/// Who writes into the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub(super) struct HolderWire {
    /// The task.
    pub task_id: String,
    /// Process and host.
    pub name: String,
    /// Since how many seconds.
    pub age_seconds: u64,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            holder: None,
            retry_after: RETRY_AFTER,
        }
    }

    /// Says why a task could not be accepted, or not be told of.
    pub(super) fn of_task(error: &TaskError, scrub: &Scrub) -> Self {
        let status = match error {
            _ if error.holder().is_some() => StatusCode::CONFLICT,
            _ if error.is_failure() => StatusCode::SERVICE_UNAVAILABLE,
            TaskError::Engine(error) => match error.as_ref() {
                Error::Index(IndexError::UnknownTask(_)) => StatusCode::NOT_FOUND,
                // Well written, but about what is not there.
                Error::Index(_) => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            },
            TaskError::NoIndex(_) | TaskError::Closing => StatusCode::SERVICE_UNAVAILABLE,
            TaskError::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            TaskError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            TaskError::Ended(..) => StatusCode::CONFLICT,
            TaskError::NoFindings(_) => StatusCode::NOT_FOUND,
        };
        let mut detail = scrub.text(&error.to_string());
        if error.code() == "force_required" {
            detail = "this mode deletes records; ask again with \"force\": true, or look first with \"dry_run\": true"
                .into();
        }
        if error.is_failure() {
            // Addresses are for those who can read the log.
            detail = "the database cannot be asked now; the server's log says why".into();
        }
        let mut problem = Self::new(status, error.code(), detail);
        problem.holder = error.holder().map(|holder| {
            Box::new(HolderWire { task_id: holder.task_id.clone(), name: holder.name.clone(), age_seconds: holder.age })
        });
        problem
    }

    /// Says what the framework has refused.
    pub(super) fn of_framework(error: &poem::Error) -> Self {
        let status = error.status();
        if error.is::<ParsePathError>() || error.is::<BadPathError>() {
            // What cannot be the id of a task is that of none.
            return Self::new(StatusCode::NOT_FOUND, "unknown_task", NO_ID);
        }
        if error.is::<ParseParamError>() {
            return Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", error.to_string());
        }
        if error.is::<ContentTypeError>() {
            return Self::new(status, "unsupported_media_type", "send the body as application/json");
        }
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::UNAUTHORIZED => Self::new(status, "key_missing", NO_KEY),
            // Bodies are read elsewhere: what is left to be badly written is what follows the path.
            StatusCode::BAD_REQUEST => Self::new(status, "invalid_parameter", error.to_string()),
            _ if status.is_client_error() => Self::new(status, "bad_request", error.to_string()),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says where"),
        }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path; see /docs")
    }

    pub(super) fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::builder().status(status).content_type(PROBLEM_JSON).body(body);
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                let challenge = match self.code.as_str() {
                    "key_missing" => "Bearer realm=\"storm-index\"",
                    _ => "Bearer realm=\"storm-index\", error=\"invalid_token\"",
                };
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
            }
            _ => {}
        }
        response.into_response()
    }

    pub(super) fn into_error(self) -> poem::Error {
        poem::Error::from_response(self.into_response())
    }
}

/// All that stands in a path and can be badly written.
const NO_ID: &str = "the id of a task is a UUID; see the list of tasks";

/// Where no page of findings begins.
pub(super) const NO_PLACE: &str = "`after` is no place between two findings; use the `next` of the page before";

pub(super) const NO_KEY: &str = "send an admin's key: Authorization: Bearer KEY; `storm-index key create` makes one";
