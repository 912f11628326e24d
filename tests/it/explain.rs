//! `explain`: what is known of a path, and which rule decides about it.

use serde_json::{Value, json};

use crate::support::database;
use crate::support::playground::Playground;

fn explain(playground: &Playground, path: &str) -> Value {
    playground.run(&["explain", "--user-id", "1", path, "--format", "json"]).ends(0).json()
}

#[test]
fn each_kind_of_path_is_explained() {
    let playground = Playground::with_user();
    for key in ["same", "changed", "gone", "shared", "old name", "copy"] {
        playground.write(&format!("1/{key}"), key);
    }
    std::fs::hard_link(playground.path("files/1/copy"), playground.path("files/1/copy2")).unwrap();
    playground.rebuild(&["--mode", "sync"]).ends(0);
    let token = playground.run(&["share", "create", "--user-id", "1", "shared"]).ends(0).out;
    for key in ["gone", "shared"] {
        playground.remove(&format!("1/{key}"));
    }
    playground.write("1/changed", "and longer");
    playground.write("1/new", "n");
    let rename = |from: &str, to: &str| {
        std::fs::rename(playground.path("files/1").join(from), playground.path("files/1").join(to)).unwrap();
    };
    rename("old name", "new name");
    rename("copy2", "copy3");
    std::os::unix::fs::symlink("/no/such/place", playground.path("files/1/link")).unwrap();
    let before = playground.dump();
    for (path, storage, kind, action, words) in [
        ("same", "present", "matched", "none", "agree"),
        ("changed", "present", "stale", "update", "up to date"),
        ("gone", "absent", "orphaned", "delete", "without an active link"),
        ("shared", "absent", "orphaned", "skip", "active share link"),
        ("new", "present", "missing", "create", "without a record"),
        ("old name", "absent", "moved", "move", "where the file is now"),
        ("new name", "present", "moved", "move", "comes here"),
        ("copy2", "absent", "deferred", "skip", "cannot be decided"),
        ("link", "unknown", "unindexable", "none", "cannot be a record"),
    ] {
        let code = if storage == "unknown" { 4 } else { 0 };
        let said = playground.run(&["explain", "--user-id", "1", path, "--format", "json"]).ends(code).json();
        assert_eq!((&said["storage"], &said["finding"]["kind"]), (&json!(storage), &json!(kind)), "{said}");
        assert_eq!(said["finding"]["action"], action, "{said}");
        assert!(said["rule"].as_str().unwrap().contains(words), "{said}");
    }
    assert_eq!(explain(&playground, "shared")["links"][0]["token"], token.trim());
    assert_eq!(explain(&playground, "nothing")["rule"], "neither an object nor a record");
    assert_eq!(playground.dump(), before);
    let text = playground.run(&["explain", "--user-id", "1", "changed"]).ends(0).out;
    for word in ["stale (size", "present", "record", "rule"] {
        assert!(text.contains(word), "{text}");
    }
    // What was done is in the journal.
    let task = playground.rebuild(&["--mode", "full", "--force"]).ends(0).json();
    let said = explain(&playground, "new name");
    assert_eq!((&said["journal"][0]["action"], &said["journal"][0]["path"]), (&json!("move"), &json!("old name")));
    assert_eq!(said["journal"][0]["task_id"], task["task_id"]);
    assert_eq!(explain(&playground, "gone")["journal"][0]["action"], "delete");
    assert_eq!(explain(&playground, "changed")["journal"][0]["after"]["size"], 10);
    playground.run(&["explain", "--user-id", "9", "a"]).ends(2).complains(&["9"]);
    // Numbers are numbers, and what is none stays what it is.
    let record = explain(&playground, "changed")["record"].clone();
    assert!(record["id"].is_i64() && record["path"] == "changed", "{record}");
    assert_eq!((&record["user_id"], &record["size"]), (&json!(1), &json!(10)), "{record}");
    playground.sql("UPDATE stored_files SET size = NULL, etag = '7' WHERE path = 'changed'");
    let record = explain(&playground, "changed")["record"].clone();
    assert_eq!((&record["size"], &record["etag"]), (&Value::Null, &json!("7")), "{record}");
    if !database::on_postgres() {
        playground.sql("UPDATE stored_files SET size = 'much' WHERE path = 'changed'");
        assert_eq!(explain(&playground, "changed")["record"]["size"], "much");
    }
}
