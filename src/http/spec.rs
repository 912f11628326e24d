//! The specification of the API, made from the operations themselves.

use poem_openapi::OpenApiService;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::examples;
use super::rebuilding::MOST_EXCLUDES;

/// The operations, ready to be served.
pub(super) type Service = OpenApiService<Api, ()>;

/// What the whole is about.
const ABOUT: &str = "Keeps a database index of files in step with the object storage that is their truth. Everything under \
    `/api/` needs an admin's key. Errors are `application/problem+json` (RFC 9457) with a stable `code`; besides what each \
    operation lists, an unknown path is 404 `not_found`, a wrong method 405 `method_not_allowed`. Each path is there with \
    and without a slash at its end. `X-Request-Id` is taken over, or given.";

/// Makes the service.
pub(super) fn service(api: Api) -> Service {
    OpenApiService::new(api, "storm-index", env!("CARGO_PKG_VERSION")).description(ABOUT).license("MIT OR Apache-2.0")
}

/// Returns the specification.
pub(super) fn document(service: &Service) -> Value {
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    if let Some(paths) = document["paths"].as_object_mut() {
        // As ADR 009 writes it; the framework knows paths without the slash only.
        let slashed = |path: String| {
            if path.ends_with("/index/rebuild") || path.ends_with("/index/tasks") { path + "/" } else { path }
        };
        *paths = std::mem::take(paths).into_iter().map(|(path, item)| (slashed(path), item)).collect::<Map<_, _>>();
    }
    // What one event of the stream looks like.
    document["paths"]["/api/v1/index/tasks/{id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"] = json!({
        "type": "object",
        "description": "An event: the task as JSON (`TaskView`) in its `data`.",
        "required": ["event", "data"],
        "properties": {
            "event": { "type": "string", "enum": ["progress", "end"] },
            "data": { "type": "string" },
        },
    });
    // What may be missing is told as null.
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.values_mut().for_each(allow_null);
    }
    document["components"]["schemas"]["RequestWire"]["additionalProperties"] = false.into();
    // What is a number or a text.
    let fields = &mut document["components"]["schemas"]["RequestWire"]["properties"];
    let (most, age) = (fields["max_delete"]["description"].take(), fields["min_age"]["description"].take());
    fields["max_delete"] = json!({
        "description": most,
        "oneOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^([0-9]{1,18}|(100|[0-9]{1,2})%)$" }],
    });
    fields["min_age"] = json!({
        "description": age,
        "default": 0,
        "oneOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]{1,6}(s|m|h|d|w)$" }],
    });
    fields["exclude"]["maxItems"] = MOST_EXCLUDES.into();
    if let Some(fields) = fields.as_object_mut() {
        let optional = fields.iter_mut().filter(|(name, _)| *name != "mode");
        optional.for_each(|(_, field)| field["nullable"] = true.into());
    }
    examples::add(&mut document);
    document
}

/// Says of the fields of an object that are not required, and have no default, that they may be null.
fn allow_null(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, field) in fields {
        if !required.iter().any(|known| known == name) && field.get("default").is_none() {
            field["nullable"] = true.into();
        }
    }
}

/// Returns the specification as text: JSON, or YAML.
pub fn text(yaml: bool) -> String {
    let document = document(&service(Api::nowhere()));
    if yaml {
        return super::yaml::write(&document);
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// Returns the page that shows the specification, with everything that it needs.
pub(super) fn page(service: &Service, document: &Value) -> String {
    // Within a script, where nothing may look like its end.
    let document = document.to_string().replace("</", "<\\/");
    service.swagger_ui_html().replacen(&service.spec(), &document, 1)
}
