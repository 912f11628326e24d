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
                if status.starts_with('4') {
                    assert!(response["content"]["application/problem+json"].is_object(), "{name} {status}");
                }
            }
        }
    }
    assert_eq!(spec["components"]["securitySchemes"]["AdminKey"]["scheme"], "bearer");
    assert_eq!(spec["components"]["schemas"]["RequestWire"]["additionalProperties"], false);
}
