//! The body of a request: JSON, and nothing in it that is not known. What is wrong with it is told by a stable code.

use poem::http::StatusCode;
use poem::{FromRequest as _, Request, RequestBody, Result};
use poem_openapi::impl_apirequest_for_payload;
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::reconcile::{Mode, RequestError};

/// A body that is read by `serde`, so that commands, API and stored tasks are read by the same rules.
#[derive(Debug)]
pub(super) struct Strict<T>(pub(super) T);

impl<T: Type> Payload for Strict<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned + Send> ParsePayload for Strict<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> Result<Self> {
        let bytes = Vec::<u8>::from_request(request, body).await?;
        parse(&bytes).map(Self).map_err(Problem::into_error)
    }
}

impl_apirequest_for_payload!(Strict<T>, T: Type + DeserializeOwned + Send);

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |code: &str, detail: String| Problem::new(StatusCode::BAD_REQUEST, code, detail);
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| bad("invalid_json", format!("the body is no JSON: {error}")))?;
    if !value.is_object() {
        return Err(bad("invalid_body", "the body is no JSON object; write e.g. {\"mode\": \"audit\"}".to_owned()));
    }
    if let Some(mode) = value.get("mode")
        && mode.as_str().is_none_or(|mode| mode.parse::<Mode>().is_err())
    {
        let shown = mode.as_str().map_or_else(|| mode.to_string(), str::to_owned);
        return Err(bad("invalid_mode", RequestError::UnknownMode(shown).to_string()));
    }
    // From the text once more: a name that is there twice is seen only there.
    serde_json::from_slice(bytes).map_err(|error| {
        let said = error.to_string();
        let code = if said.starts_with("unknown field") { "unknown_field" } else { "invalid_body" };
        bad(code, said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::RequestWire;

    #[test]
    fn what_is_wrong_with_a_body_has_a_code() {
        let code = |body: &str| parse::<RequestWire>(body.as_bytes()).map_err(|problem| problem.code);
        for (body, want) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("[]", "invalid_body"),
            ("{}", "invalid_body"),
            ("{\"mode\":\"scan\"}", "invalid_mode"),
            ("{\"mode\":7}", "invalid_mode"),
            ("{\"mode\":\"audit\",\"forse\":true}", "unknown_field"),
            ("{\"mode\":\"full\",\"force\":false,\"force\":true}", "invalid_body"),
            ("{\"mode\":\"audit\",\"force\":\"yes\"}", "invalid_body"),
            ("{\"mode\":\"audit\",\"user_id\":\"1\"}", "invalid_body"),
            ("{\"mode\":\"audit\",\"min_age\":\"old\"}", "invalid_body"),
            ("{\"mode\":\"audit\",\"max_delete\":-1}", "invalid_body"),
        ] {
            assert_eq!(code(body).unwrap_err(), want, "{body}");
        }
        let full = r#"{"mode":"full","user_id":null,"force":true,"max_delete":5,"min_age":"2h","exclude":["*.tmp"]}"#;
        let wire = code(full).unwrap();
        assert_eq!(code(r#"{"mode":"audit","min_age":null}"#).unwrap().min_age, 0);
        assert_eq!((wire.max_delete.as_deref(), wire.min_age, wire.moves), (Some("5"), 7_200, true));
        let bare = code(r#"{"mode":"sync"}"#).unwrap();
        for field in ["dry_run", "force", "adopt", "user_id", "max_delete", "min_age", "exclude", "moves"] {
            assert_eq!(code(&format!(r#"{{"mode":"sync","{field}":null}}"#)), Ok(bare.clone()), "{field}");
        }
        assert_eq!(code(r#"{"mode":null}"#).unwrap_err(), "invalid_mode");
    }
}
