//! The fitness functions of ADR 009, each by its name.

use serde_json::json;

use crate::support::playground::Playground;
use crate::support::server::Server;

fn rebuild(server: &Server, key: &str, body: &str) -> serde_json::Value {
    server.rebuild(key, &[], body).is(200).json()
}

/// Index rebuild must be idempotent (running twice produces same result).
#[test]
fn adr_1_a_rebuild_is_idempotent() {
    let playground = Playground::with_user();
    let key = playground.key(&["--admin"]);
    for name in ["new", "kept", "changed"] {
        playground.write(&format!("1/{name}"), "x");
    }
    playground.sync();
    playground.write("1/changed", "longer");
    playground.sql("UPDATE stored_files SET path = 'gone' WHERE path = 'new'; UPDATE stored_files SET etag = NULL, file_id = NULL WHERE path = 'gone'");
    let server = playground.serve(&[]);
    let first = rebuild(&server, &key, r#"{"mode": "full", "force": true}"#)["result"].clone();
    assert_eq!(
        [&first["records_created"], &first["records_updated"], &first["records_deleted"]],
        [&json!(1), &json!(1), &json!(1)]
    );
    let after = playground.dump();
    let second = rebuild(&server, &key, r#"{"mode": "full", "force": true}"#)["result"].clone();
    for count in ["records_created", "records_updated", "records_moved", "records_deleted"] {
        assert_eq!(second[count], 0, "{count}");
    }
    assert_eq!(playground.dump(), after);
}

/// Database records with active ShareLinks must never be deleted (CASCADE protection).
#[test]
fn adr_2_records_with_active_links_are_never_deleted() {
    let playground = Playground::with_user();
    let key = playground.key(&["--admin"]);
    playground.write("1/shared", "x");
    playground.write("1/revoked", "y");
    playground.sync();
    let token = playground.run(&["share", "create", "--user-id", "1", "shared"]).ends(0).out;
    let other = playground.run(&["share", "create", "--user-id", "1", "revoked"]).ends(0).out;
    playground.run(&["share", "revoke", other.trim()]).ends(0);
    playground.remove("1/shared");
    playground.remove("1/revoked");
    let server = playground.serve(&[]);
    for mode in ["clean", "full"] {
        let body = format!("{{\"mode\": \"{mode}\", \"force\": true, \"max_delete\": \"100%\"}}");
        let result = rebuild(&server, &key, &body)["result"].clone();
        assert_eq!(result["records_skipped"], 1, "{result}");
    }
    assert_eq!(playground.paths(), ["1/shared"]);
    let links = playground.run(&["share", "list"]).ends(0).out;
    assert!(links.contains(token.trim()) || links.contains("shared"), "{links}");
}

/// `clean` and `full` modes must require `force=True` to execute.
#[test]
fn adr_3_clean_and_full_require_force() {
    let playground = Playground::with_user();
    let key = playground.key(&["--admin"]);
    playground.write("1/a", "x");
    playground.sync();
    playground.remove("1/a");
    playground.write("1/b", "yy");
    let server = playground.serve(&[]);
    let before = playground.dump();
    for mode in ["clean", "full"] {
        for force in ["", ", \"force\": false", ", \"force\": null"] {
            let reply = server.rebuild(&key, &[], &format!("{{\"mode\": \"{mode}\"{force}}}"));
            reply.problem(400, "force_required");
        }
        playground.rebuild(&["--mode", mode]).ends(2);
    }
    assert_eq!(playground.dump(), before);
}

/// Filesystem wins: if file exists on disk but not in DB, DB must be updated (not file deleted).
#[test]
fn adr_4_the_storage_wins() {
    let playground = Playground::with_user();
    let key = playground.key(&["--admin"]);
    playground.write("1/only-on-disk", "x");
    let server = playground.serve(&[]);
    for mode in ["audit", "clean", "full", "sync"] {
        rebuild(&server, &key, &format!("{{\"mode\": \"{mode}\", \"force\": true}}"));
        assert_eq!(std::fs::read(playground.path("files/1/only-on-disk")).unwrap(), b"x");
    }
    assert_eq!(playground.paths(), ["1/only-on-disk"]);
}

/// Metadata updates must check both size and content_type (stale detection).
#[test]
fn adr_5_size_and_content_type_are_both_checked() {
    let playground = Playground::with_user();
    let key = playground.key(&["--admin"]);
    playground.write("1/a.txt", "x");
    playground.sync();
    let server = playground.serve(&[]);
    for wrong in ["size = 77", "content_type = 'image/png'"] {
        playground.sql(&format!("UPDATE stored_files SET {wrong}"));
        let result = rebuild(&server, &key, r#"{"mode": "sync"}"#)["result"].clone();
        assert_eq!([&result["stale_in_db"], &result["records_updated"]], [&json!(1), &json!(1)], "{wrong}");
    }
    let facts = playground.dump();
    let file = facts.iter().find(|row| row[0].as_deref() == Some("file")).unwrap();
    assert_eq!(file[4].as_deref(), Some("1"));
    assert!(file[6].as_deref().unwrap().starts_with("text/plain"), "{file:?}");
}

/// API endpoint must return task_id and serializable results; here with and without the slash.
#[test]
fn adr_6_the_endpoint_returns_a_task_id_and_results() {
    let playground = Playground::with_user();
    let key = playground.key(&["--admin"]);
    playground.write("1/a.txt", "hello");
    playground.write("1/b.txt", "hello");
    let server = playground.serve(&[]);
    let body = r#"{"mode": "sync", "user_id": 1, "dry_run": false, "force": false}"#;
    for (path, created) in [("/api/v1/index/rebuild/", 2), ("/api/v1/index/rebuild", 0)] {
        let answer = server.rebuild_at(path, &key, &[], body).is(200).json();
        assert_eq!(answer["status"], "SUCCESSFUL");
        assert_eq!(answer["task_id"].as_str().unwrap().len(), 36);
        let result = &answer["result"];
        assert_eq!((&result["records_created"], &result["files_on_disk"]), (&json!(created), &json!(2)), "{answer}");
        assert_eq!(
            (&result["mode"], &result["errors"], &result["refusal"]),
            (&json!("sync"), &json!([]), &json!(null))
        );
        // The same document as the command line's.
        let cli = playground.rebuild(&[]).json();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!((keys(&answer), keys(result)), (keys(&cli), keys(&cli["result"])));
    }
    assert_eq!(playground.paths(), ["1/a.txt", "1/b.txt"]);
}

/// Management command must succeed even if zero changes needed.
#[test]
fn adr_7_the_command_succeeds_when_nothing_changes() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    for args in
        [&["--mode", "audit"][..], &["--mode", "sync"], &["--mode", "clean", "--force"], &["--mode", "full", "--force"]]
    {
        assert_eq!(playground.rebuild(args).ends(0).json()["status"], "SUCCESSFUL");
    }
}

/// Startup audit must not block container launch: nor does a storage that is missing stop it.
#[test]
fn adr_8_the_startup_audit_does_not_block_the_launch() {
    let playground = Playground::with_user();
    playground.write("1/drift", "x");
    for storage in ["files", "missing"] {
        let server =
            playground.serve(&["--startup-audit", "true", "--storage", playground.path(storage).to_str().unwrap()]);
        server.send("GET", "/health/live", &[], b"").is(200);
        server.says("startup audit:");
        server.until_ready(|_| true);
        assert_eq!(server.stop().0, 0);
    }
}
