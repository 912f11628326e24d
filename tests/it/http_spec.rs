//! The specification is made from the operations, and what is checked in is what is made.

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
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"));
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert!(operation["tags"].is_array() && operation["summary"].is_string(), "{name}");
            assert_eq!(operation["security"].is_array(), path.starts_with("/api/"), "{name}");
            for (status, response) in operation["responses"].as_object().unwrap() {
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
                        .filter(|word| word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
                    assert_eq!(
                        codes.collect::<std::collections::BTreeSet<_>>(),
                        examples.keys().map(String::as_str).collect(),
                        "{name} {status}"
                    );
                }
            }
        }
    }
    assert_eq!(spec["components"]["securitySchemes"]["AdminKey"]["scheme"], "bearer");
    assert_eq!(spec["components"]["schemas"]["RequestWire"]["additionalProperties"], false);
}
