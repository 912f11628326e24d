//! The specification is made from the operations, and what is checked in is what is made.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::playground::Playground;

#[test]
fn the_specification_that_is_checked_in_is_current() {
    let playground = Playground::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
    for (file, args) in [("openapi.json", &["openapi"][..]), ("openapi.yaml", &["openapi", "--yaml"])] {
        let made = playground.run(args).ends(0).out;
        assert!(
            made == std::fs::read_to_string(root.join(file)).unwrap(),
            "{file} is not current; run scripts/openapi.sh"
        );
    }
}

#[test]
fn the_specification_is_whole() {
    let spec: Value = Playground::new().run(&["openapi"]).ends(0).json();
    let paths = spec["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/v1/index/rebuild/"), "{:?}", paths.keys());
    let mut names = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"));
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert!(operation["tags"].is_array() && operation["summary"].is_string(), "{name}");
            assert_eq!(operation["security"].is_array(), path.starts_with("/api/"), "{name}");
            for status in ["404", "405", "500"] {
                assert!(operation["responses"][status].is_object(), "{name} {status}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = match response["$ref"].as_str() {
                    Some(shared) => spec.pointer(shared.strip_prefix('#').unwrap()).unwrap(),
                    None => response,
                };
                let header = match status.as_str() {
                    "202" if name == "rebuildIndex" => Some("Location"),
                    "401" => Some("WWW-Authenticate"),
                    "405" => Some("Allow"),
                    "429" | "503" => Some("Retry-After"),
                    _ => None,
                };
                // Names of headers are the same however they are written.
                let told = |header: &str| {
                    let headers = response["headers"].as_object();
                    headers.is_some_and(|told| told.keys().any(|name| name.eq_ignore_ascii_case(header)))
                };
                assert!(header.is_none_or(told), "{name} {status} {header:?}");
                assert!(
                    path == "/metrics"
                        || path.starts_with("/health")
                        || !response["description"].as_str().unwrap().is_empty()
                        || status == "200",
                    "{name} {status}"
                );
                for (kind, body) in response["content"].as_object().unwrap() {
                    assert!(!body["examples"].as_object().unwrap().is_empty(), "{name} {status} {kind}");
                }
                if !status.starts_with('2') && path.starts_with("/api/") {
                    // Each code that is named has its example, and there is no other.
                    let examples = response["content"]["application/problem+json"]["examples"].as_object().unwrap();
                    for (code, example) in examples {
                        let problem = &example["value"];
                        assert_eq!(
                            (&problem["code"], problem["status"].to_string()),
                            (&Value::from(code.as_str()), status.clone())
                        );
                    }
                    let named = response["description"].as_str().unwrap().split('`').skip(1).step_by(2);
                    let codes = named
                        .filter(|word| *word == "internal" || word.contains('_'))
                        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
                    assert_eq!(
                        codes.collect::<BTreeSet<_>>(),
                        examples.keys().map(String::as_str).collect(),
                        "{name} {status}"
                    );
                }
            }
        }
    }
    // The open routes answer what every route does, and the metrics refuse whom they are told to.
    for (path, refusals) in
        [("/health/live", &[][..]), ("/health/ready", &["503"]), ("/metrics", &["401", "403", "429", "503"])]
    {
        let told = spec["paths"][path]["get"]["responses"].as_object().unwrap().keys().map(String::as_str);
        let all = ["200", "404", "405", "500"].iter().chain(refusals).copied();
        assert_eq!(told.collect::<BTreeSet<_>>(), all.collect::<BTreeSet<_>>(), "{path}");
    }
    for item in paths.values().filter_map(Value::as_object).flat_map(|item| item.values()) {
        let unavailable = &item["responses"]["503"]["content"]["application/problem+json"]["examples"];
        assert!(unavailable.is_null() || unavailable["database_read_only"].is_object(), "{}", item["operationId"]);
    }
    assert!(spec["components"]["schemas"]["RequestWire"]["properties"]["min_age"]["nullable"] == true);
    // What the server is seen to answer is listed.
    let rebuild = &spec["paths"]["/api/v1/index/rebuild/"]["post"]["responses"];
    for (status, codes) in [
        ("400", &["invalid_exclude", "invalid_body"][..]),
        ("408", &["body_too_slow"]),
        ("422", &["unknown_user", "nested_prefix", "name_taken", "id_taken"]),
        ("503", &["database_not_ours", "database_older", "database_newer", "database_encoding", "database_collation"]),
    ] {
        let examples = &rebuild[status]["content"]["application/problem+json"]["examples"];
        assert!(codes.iter().all(|code| examples[code].is_object()), "{status}: {examples}");
    }
    // An id that cannot be one is that of no task: with nothing else to be badly written, nothing is 400.
    for (path, method, codes) in [
        ("/api/v1/index/tasks/{id}", "get", &[][..]),
        ("/api/v1/index/tasks/{id}/events", "get", &[]),
        ("/api/v1/index/tasks/{id}/cancel", "post", &["invalid_body"]),
        ("/api/v1/index/tasks/{id}/findings", "get", &["invalid_parameter"]),
        ("/api/v1/index/tasks/", "get", &["invalid_parameter"]),
    ] {
        let bad = &spec["paths"][path][method]["responses"]["400"]["content"]["application/problem+json"]["examples"];
        let told = bad.as_object().map(|bad| bad.keys().map(String::as_str).collect::<Vec<_>>()).unwrap_or_default();
        assert_eq!(told, codes, "{method} {path}");
    }
    // All but the mode may be left out, or be null, which is the same.
    for (name, field) in spec["components"]["schemas"]["RequestWire"]["properties"].as_object().unwrap() {
        assert_eq!(field["nullable"] == true, name != "mode", "{name}: {field}");
    }
    // A table has the columns that the server writes.
    let findings = &spec["paths"]["/api/v1/index/tasks/{id}/findings"]["get"]["responses"]["200"];
    let csv = findings["content"].as_object().unwrap().iter().find(|(kind, _)| kind.starts_with("text/csv")).unwrap().1;
    assert_eq!(csv["examples"]["page"]["value"].as_str().unwrap().lines().next().unwrap().split(',').count(), 16);
    assert_eq!(spec["components"]["schemas"]["RequestWire"]["properties"]["exclude"]["maxItems"], 500);
    assert_eq!(spec["components"]["securitySchemes"]["AdminKey"]["scheme"], "bearer");
    assert_eq!(spec["components"]["schemas"]["RequestWire"]["additionalProperties"], false);
}
