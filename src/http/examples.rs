//! Examples for the specification: of each request that is usual, of each answer, and of each problem by its code.

use serde_json::{Map, Value, json};

use crate::reconcile::{Answer, Mode, Report, csv_header, csv_line};

/// Each code that a description names, with the words that come with it.
const PROBLEMS: &[(&str, &str)] = &[
    ("invalid_json", "the body is no JSON: EOF while parsing an object at line 1 column 9"),
    ("invalid_body", "invalid type: string \"yes\", expected a boolean"),
    ("unknown_field", "unknown field `mood`, expected one of `mode`, `user_id`, `dry_run`, `force`, …"),
    ("invalid_mode", "\"scan\" is no mode; the modes are audit, sync, clean and full"),
    (
        "force_required",
        "this mode deletes records; ask again with \"force\": true, or look first with \"dry_run\": true",
    ),
    ("invalid_max_delete", "\"many\" is no limit; write a number, or a share such as 50%"),
    ("invalid_exclude", "\"a{\" is no pattern: unclosed alternate group; missing '}'"),
    ("invalid_adopt", "adopting users makes no sense without adding records; use it with audit, sync or full"),
    ("invalid_parameter", super::problem::NO_PLACE),
    ("key_missing", super::problem::NO_KEY),
    ("invalid_key", "this is no valid key; see `storm-index key list`"),
    ("key_revoked", "this key was revoked; make another one"),
    ("key_expired", "this key has expired; make another one"),
    ("admin_required", "this key is not an admin's; make one with `storm-index key create --admin`"),
    ("unknown_task", "there is no task \"019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de\"; see the list of tasks"),
    (
        "findings_gone",
        "the findings of this task are not on this server: it was carried out elsewhere or too long ago, or there was no \
         room for them; run an audit again",
    ),
    ("run_in_progress", "another run writes into the index since 12 s; wait for it, or cancel it"),
    ("task_ended", "task 019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de has ended already: SUCCESSFUL"),
    ("body_too_large", "the body is longer than 65536 bytes; a request needs less"),
    ("body_too_slow", "the body did not come within 30 s; send it at once"),
    ("unsupported_media_type", "send the body as application/json"),
    ("unknown_user", "there is no user 99; see `storm-index user list`"),
    ("nested_prefix", "one user's prefix lies inside another's"),
    ("name_taken", "prefix \"bob\" cannot be user \"bob\"'s: that name belongs to the user of prefix \"b\""),
    ("id_taken", "prefix \"7\" cannot be user 7's: that id belongs to the user of prefix \"old\""),
    (
        "idempotency_key_reused",
        "this Idempotency-Key was used with another body within the last 24 hours; use a new key for a new request",
    ),
    ("too_many_failures", super::auth::TOO_MANY_FAILURES),
    ("too_many_tasks", "too many tasks are waiting; ask again when some of them have ended"),
    ("database_unavailable", "the database cannot be asked now; the server's log says why"),
    ("database_failed", "the database cannot be asked now; the server's log says why"),
    ("database_not_ours", "the database cannot be asked now; the server's log says why"),
    ("database_older", "the database cannot be asked now; the server's log says why"),
    ("database_newer", "the database cannot be asked now; the server's log says why"),
    ("database_read_only", "the database cannot be asked now; the server's log says why"),
    ("database_encoding", "the database cannot be asked now; the server's log says why"),
    ("database_collation", "the database cannot be asked now; the server's log says why"),
    ("shutting_down", "the server is shutting down; ask again in a moment"),
    ("not_found", "there is nothing at this path; see /docs"),
    ("method_not_allowed", "this path knows the method POST only"),
    ("internal", "the server failed; its log says where"),
];

const TASK: &str = "019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de";

/// Adds examples to everything in the specification that can have them.
pub(super) fn add(document: &mut Value) {
    if let Some(paths) = document["paths"].as_object_mut() {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            add_to(operation);
        }
    }
    // What is answered whatever the operation is.
    document["components"]["responses"] = json!({
        "NotFound": alone(404, "not_found", "`not_found`: an unknown path."),
        "MethodNotAllowed": alone(405, "method_not_allowed", "`method_not_allowed`: `Allow` names those that are."),
        "Internal": alone(500, "internal", "`internal`: the server broke down. Never a request's fault."),
    });
}

fn add_to(operation: &mut Value) {
    let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
    if name == "rebuildIndex" {
        operation["requestBody"]["content"]["application/json"]["examples"] = requests();
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, response) in responses.iter_mut() {
        let description = response["description"].as_str().unwrap_or_default().to_owned();
        let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) else { continue };
        for (kind, body) in content {
            let examples = match kind.split(';').next().unwrap_or_default() {
                super::problem::PROBLEM_JSON => problems(status.parse().unwrap_or_default(), &description),
                _ => answers(&name, status, kind),
            };
            if examples.as_object().is_some_and(|examples| !examples.is_empty()) {
                body["examples"] = examples;
            }
        }
        if let Some((name, header)) = header_of(status) {
            response["headers"][name] = header;
        }
    }
    for (status, name) in [("404", "NotFound"), ("405", "MethodNotAllowed"), ("500", "Internal")] {
        let answered = json!({ "$ref": format!("#/components/responses/{name}") });
        responses.entry(status).or_insert(answered);
    }
}

/// Returns the header that comes with every answer of a status.
fn header_of(status: &str) -> Option<(&'static str, Value)> {
    let (name, description, example) = match status {
        "401" => ("WWW-Authenticate", "How to come in (RFC 6750).", "Bearer realm=\"storm-index\""),
        "405" => ("Allow", "The methods that this path knows.", "GET, HEAD"),
        "429" | "503" => ("Retry-After", "In how many seconds to ask again.", "10"),
        _ => return None,
    };
    let header = json!({
        "description": description,
        "required": true,
        "schema": { "type": "string" },
        "example": example,
    });
    Some((name, header))
}

/// Returns an example for each code that a description names.
fn problems(status: u16, description: &str) -> Value {
    let named = |code: &str| description.contains(&format!("`{code}`"));
    let known = PROBLEMS.iter().filter(|(code, _)| named(code));
    known.map(|(code, detail)| ((*code).to_owned(), json!({ "value": problem(status, code, detail) }))).collect()
}

fn problem(status: u16, code: &str, detail: &str) -> Value {
    let status = poem::http::StatusCode::from_u16(status).unwrap_or_default();
    let mut problem = json!(super::problem::Problem::new(status, code, detail));
    if code == "run_in_progress" {
        problem["holder"] = json!({ "task_id": TASK, "name": "storm-index 4711 on server-1", "age_seconds": 12 });
    }
    problem
}

fn alone(status: u16, code: &str, description: &str) -> Value {
    let examples = problems(status, description);
    debug_assert!(examples.get(code).is_some(), "{code}");
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut response = json!({
        "description": description,
        "content": { super::problem::PROBLEM_JSON: { "schema": schema, "examples": examples } },
    });
    if let Some((name, header)) = header_of(&status.to_string()) {
        response["headers"] = json!({ name: header });
    }
    response
}

fn requests() -> Value {
    let example = |summary: &str, value: Value| json!({ "summary": summary, "value": value });
    json!({
        "audit": example("Only look", json!({ "mode": "audit" })),
        "sync": example(
            "Add and refresh the records of one user",
            json!({ "mode": "sync", "user_id": 123, "dry_run": false, "force": false }),
        ),
        "dry_run": example("What a full run would do", json!({ "mode": "full", "dry_run": true })),
        "full": example(
            "Add, refresh, and delete orphans that are older than an hour, at most 500",
            json!({ "mode": "full", "force": true, "max_delete": 500, "min_age": "1h", "exclude": ["*.tmp"] }),
        ),
    })
}

/// Returns examples of what is answered when all is well.
fn answers(operation: &str, status: &str, kind: &str) -> Value {
    let one = |name: &str, value: Value| json!({ name: { "value": value } });
    match (operation, status) {
        ("rebuildIndex", "200") => json!({
            "successful": { "value": answer("SUCCESSFUL") },
            "failed": { "value": answer("FAILED") },
        }),
        ("rebuildIndex", _) => one("running", json!({ "task_id": TASK, "status": "RUNNING", "result": null })),
        ("listTasks", _) => one("page", json!({ "tasks": [task("SUCCESSFUL")], "next": null })),
        ("getTask", _) => json!({
            "running": { "value": task("RUNNING") },
            "successful": { "value": task("SUCCESSFUL") },
        }),
        ("cancelTask", "202") => one("asked", task("RUNNING")),
        ("cancelTask", _) => one("cancelled", task("CANCELLED")),
        ("watchTask", _) => one("progress", json!({ "event": "progress", "data": task("RUNNING").to_string() })),
        ("listFindings", _) if kind.starts_with("application/json") => {
            one("page", json!({ "findings": [finding()], "next": 231 }))
        }
        ("listFindings", _) if kind.starts_with("text/csv") => {
            one("page", (csv_header() + &csv_line(&finding())).into())
        }
        ("listFindings", _) => one("page", (finding().to_string() + "\n").into()),
        ("live", _) => one("alive", json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") })),
        ("ready", "200") => one("ready", ready("ready", "ok")),
        ("ready", _) => one("unavailable", ready("unavailable", "database_unavailable")),
        ("metrics", _) => one("some", "storm_index_audit_findings{kind=\"missing\"} 2\n".into()),
        _ => Value::Null,
    }
}

/// Returns the numbers of ADR 009's example, or how a run ends that has no storage.
fn answer(status: &str) -> Value {
    let mut report = Report::new(Mode::Sync, false);
    if status == "FAILED" {
        report.fail("storage_missing", "storage (storage) does not exist; is the disk mounted?");
    }
    let mut answer = json!(Answer::from(&report));
    answer["task_id"] = TASK.into();
    if status != "FAILED" {
        let numbers = [("users_scanned", 1), ("files_on_disk", 10), ("files_in_db", 8)];
        for (name, number) in numbers.into_iter().chain([("missing_in_db", 2), ("records_created", 2)]) {
            answer["result"][name] = number.into();
        }
    }
    answer
}

fn task(status: &str) -> Value {
    let ended = status != "RUNNING";
    let errors = match status {
        "CANCELLED" => json!([{ "code": "cancelled", "message": "it was asked to end" }]),
        _ => json!([]),
    };
    json!({
        "id": TASK,
        "task_id": TASK,
        "status": status,
        "request": { "mode": "sync", "user_id": 123 },
        "progress": { "phase": "reading", "done": 10, "total": null, "rate": 250_000.0, "eta_seconds": null },
        "result": if status == "SUCCESSFUL" { answer(status)["result"].take() } else { Value::Null },
        "errors": errors,
        "created_at": "2025-11-23T09:00:00.000000+00:00",
        "started_at": "2025-11-23T09:00:00.120000+00:00",
        "finished_at": if ended { "2025-11-23T09:00:01.500000+00:00".into() } else { Value::Null },
    })
}

fn finding() -> Value {
    json!({
        "kind": "missing",
        "user_id": 1,
        "path": "photos/cat.jpg",
        "reasons": ["no_record"],
        "action": "create",
        "storage": {
            "key": "1/photos/cat.jpg",
            "size": 34_567,
            "content_type": "image/jpeg",
            "etag": "5d41402a",
            "last_modified": "2025-11-23T08:59:00.000000+00:00",
        },
        "index": null,
    })
}

fn ready(status: &str, database: &str) -> Value {
    let audit = json!({ "state": "waiting", "last": null, "age_seconds": null });
    json!({ "status": status, "database": database, "storage": "ok", "audit": audit })
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ParseFromJSON;

    use super::super::wire::{Alive, Answered, FindingPage, Ready, TaskPage, TaskView};
    use super::*;

    #[track_caller]
    fn is<T: ParseFromJSON>(value: Value) {
        T::parse_from_json(Some(value)).map_err(poem_openapi::types::ParseError::into_message).unwrap();
    }

    #[test]
    fn examples_are_what_they_are_examples_of() {
        let each = |operation: &str, status: &str| {
            let examples = answers(operation, status, "application/json");
            examples.as_object().unwrap().values().map(|example| example["value"].clone()).collect::<Vec<_>>()
        };
        each("rebuildIndex", "200").into_iter().chain(each("rebuildIndex", "202")).for_each(is::<Answered>);
        each("listTasks", "200").into_iter().for_each(is::<TaskPage>);
        each("getTask", "200").into_iter().for_each(is::<TaskView>);
        each("cancelTask", "200").into_iter().chain(each("cancelTask", "202")).for_each(is::<TaskView>);
        each("listFindings", "200").into_iter().for_each(is::<FindingPage>);
        each("live", "200").into_iter().for_each(is::<Alive>);
        each("ready", "200").into_iter().chain(each("ready", "503")).for_each(is::<Ready>);
        for request in requests().as_object().unwrap().values() {
            serde_json::from_value::<crate::reconcile::RequestWire>(request["value"].clone()).unwrap();
        }
    }
}
