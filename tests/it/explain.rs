//! `explain`: what is known of a path, and which rule decides about it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::database;
use crate::support::playground::{Playground, gone_mount};

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
    playground.sync();
    let token = playground.share(1, "shared");
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
        ("copy2", "absent", "moved", "move", "where the file is now"),
        ("link", "absent", "unindexable", "none", "cannot be a record"),
    ] {
        let said = explain(&playground, path);
        assert_eq!((&said["storage"], &said["finding"]["kind"]), (&json!(storage), &json!(kind)), "{said}");
        assert_eq!(said["finding"]["action"], action, "{said}");
        assert!(said["rule"].as_str().unwrap().contains(words), "{said}");
    }
    assert_eq!(explain(&playground, "shared")["links"][0]["token"], format!("{}…", &token[..6]));
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

#[test]
fn times_are_told_in_one_form_whatever_the_database_is() {
    let playground = Playground::with_user();
    playground.write("1/a", "a");
    playground.sync();
    playground.sql(
        "UPDATE stored_files SET last_modified = '2026-01-02 03:04:05.123456+00:00', \
         created_at = '2026-01-03 04:05:06.5+00:00', updated_at = '2026-01-04 05:06:07+00:00'",
    );
    let said = explain(&playground, "a");
    let want = ["2026-01-02T03:04:05.123456+00:00", "2026-01-03T04:05:06.500+00:00", "2026-01-04T05:06:07+00:00"];
    let record = &said["record"];
    assert_eq!(json!([record["last_modified"], record["created_at"], record["updated_at"]]), json!(want), "{said}");
    assert_eq!(said["finding"]["index"]["last_modified"], want[0], "{said}");
    let text = playground.run(&["explain", "--user-id", "1", "a"]).ends(0).out;
    assert!(want.iter().all(|time| text.contains(time)), "{text}");
    // What is no time stays what it is.
    if !database::on_postgres() {
        playground.sql("UPDATE stored_files SET updated_at = 'one day', etag = '2026-01-02 03:04:05'");
        let record = explain(&playground, "a")["record"].clone();
        assert_eq!((&record["updated_at"], &record["etag"]), (&json!("one day"), &json!("2026-01-02 03:04:05")));
    }
}

/// All that the next full run says of each path, by user.
fn next_full_run(playground: &Playground, code: i32) -> BTreeMap<(i64, String), Vec<Value>> {
    playground.rebuild(&["--mode", "full", "--dry-run", "-vv", "--report", "report.ndjson"]).ends(code);
    let mut said = BTreeMap::<_, Vec<Value>>::new();
    for line in std::fs::read_to_string(playground.path("report.ndjson")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(user) = line["user_id"].as_i64() else { continue };
        let mut paths = BTreeSet::from([line["path"].as_str().unwrap().to_owned()]);
        if line["kind"] == "moved" {
            paths.insert(line["index"]["path"].as_str().unwrap().to_owned());
        }
        paths.into_iter().for_each(|path| said.entry((user, path)).or_default().push(line.clone()));
    }
    said
}

/// Checks that `explain` says of a path what the run does.
fn explains(playground: &Playground, (user, path): &(i64, String), lines: &[Value], code: i32) -> Value {
    let said = playground.run(&["explain", "--user-id", &user.to_string(), "--format", "json", "--", path]);
    let said = said.ends(code).json();
    assert_eq!(said["findings"], json!(lines), "{user} {path:?}: {said}");
    assert_eq!(said["finding"], lines.first().cloned().unwrap_or_default(), "{said}");
    said
}

#[test]
fn what_is_explained_is_what_the_next_full_run_does() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    playground.add_user("eve", 3);
    let keys = ["same", "stale", "orphan", "shared", "dead", "from", "left", "right", "c1", "c2", "copy", "strayed"];
    for (n, key) in keys.into_iter().enumerate() {
        // Each of another size: within one tick of the clock nothing else tells them apart.
        playground.write(&format!("1/{key}"), &"x".repeat(20 + n));
    }
    playground.write("2/same", "of bob");
    let at = |path: &str| playground.path("files/1").join(path);
    std::fs::hard_link(at("copy"), at("copy2")).unwrap();
    playground.sync();
    playground.share(1, "shared");
    let dead = playground.share(1, "dead");
    playground.run(&["share", "revoke", dead.trim()]).ends(0);
    ["1/orphan", "1/shared", "1/dead"].into_iter().for_each(|key| playground.remove(key));
    playground.write("1/stale", "and longer");
    playground.write("1/new", "n");
    for (from, to) in [
        ("from", "to"),
        ("left", "between"),
        ("right", "left"),
        ("between", "right"),
        ("c2", "c3"),
        ("c1", "c2"),
        ("copy2", "copy3"),
        ("strayed", "../2/came"),
    ] {
        std::fs::rename(at(from), at(to)).unwrap();
    }
    // What is no object.
    symlink("no/such/place", at("link")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    playground.write("1/up#12", "being written");
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, 'young')");

    let mut world = next_full_run(&playground, 1);
    for (user, path) in [(1, "nothing"), (2, "orphan"), (3, "same")] {
        world.entry((user, path.to_owned())).or_default();
    }
    let mut kinds = BTreeSet::new();
    for (place, lines) in &world {
        let said = explains(&playground, place, lines, 0);
        let rule = said["rule"].as_str().unwrap();
        for line in lines {
            let word = |field: &str| line[field].as_str().unwrap().to_owned();
            kinds.insert(format!("{} {}", word("kind"), word("action")));
            let strayed = line["reasons"].as_array().unwrap().contains(&json!("moved_to_user"));
            assert_eq!(rule.contains("another user's"), strayed, "{said}");
        }
        if ["left", "right", "c2"].contains(&place.1.as_str()) {
            // Both what comes here and what goes from here.
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert!(rule.contains("comes here") && rule.contains("where the file is now"), "{said}");
        }
    }
    let all = [
        "matched none",
        "missing create",
        "moved move",
        "orphaned delete",
        "orphaned skip",
        "stale update",
        "unindexable none",
    ];
    assert_eq!(kinds, all.map(str::to_owned).into());
    assert!(world[&(1, "strayed".to_owned())][0]["reasons"].as_array().unwrap().contains(&json!("moved_to_user")));
    let text = playground.run(&["explain", "--user-id", "1", "left"]).ends(0).out;
    assert_eq!(text.matches("moved (same_file), action move").count(), 2, "{text}");

    // One user's refusal is everybody's.
    let rows: Vec<String> = (0..12).map(|n| format!("(3, 'gone {n}')")).collect();
    playground.sql(&format!("INSERT INTO stored_files (user_id, path) VALUES {}", rows.join(", ")));
    let refused = next_full_run(&playground, 3);
    for place in [(1, "orphan"), (1, "dead"), (1, "shared"), (3, "gone 0")].map(|(user, path)| (user, path.to_owned()))
    {
        let said = explains(&playground, &place, &refused[&place], 0);
        assert_eq!(said["refusal"]["code"], "too_many_deletions", "{said}");
        let rule = said["rule"].as_str().unwrap();
        assert_eq!(rule.contains("refused as a whole"), place.1 != "shared", "{said}");
    }

    // What lies below a mount that has gone is not judged.
    playground.sql(&gone_mount("1/usb"));
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, 'usb/below')");
    let mut doubtful = next_full_run(&playground, 4);
    doubtful.entry((1, "usb/below".to_owned())).or_default();
    for place in [(1, "usb/below"), (1, "left"), (1, "to")].map(|(user, path)| (user, path.to_owned())) {
        let said = explains(&playground, &place, &doubtful[&place], 4);
        let rule = said["rule"].as_str().unwrap();
        assert_eq!(rule.contains("nobody can say"), place.1 == "usb/below", "{said}");
    }
}

/// None of two users loses too much, and both of them do.
#[test]
fn deletions_that_are_too_many_for_all_users_together_are_explained_as_refused() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    let mut rows = Vec::new();
    for (user, files, gone) in [(1, 100, 55), (2, 60, 50)] {
        (gone..files).for_each(|n| playground.write(&format!("{user}/f{n}"), "x"));
        rows.extend((0..gone).map(|n| format!("({user}, 'f{n}')")));
    }
    playground.sync();
    playground.sql(&format!("INSERT INTO stored_files (user_id, path) VALUES {}", rows.join(", ")));
    let refused = next_full_run(&playground, 3);
    for place in [(1, "f0".to_owned()), (2, "f0".to_owned())] {
        let said = explains(&playground, &place, &refused[&place], 0);
        assert_eq!(said["finding"]["action"], "none", "{said}");
        assert!(said["refusal"]["message"].as_str().unwrap().contains("105 of the 160"), "{said}");
    }
}

#[test]
fn what_nobody_can_say_is_explained_as_that() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    for key in ["1/closed/old", "1/open", "2/open", "2/closed/old"] {
        playground.write(key, key);
    }
    playground.sync();
    playground.write("1/closed/new", "n");
    let mode = |folder: &str, mode| {
        let path = playground.path("files").join(folder);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("1/closed", 0o700);
    let explain = |path: &str, code| {
        playground.run_as_nobody(&["explain", "--user-id", "1", "--format", "json", path]).ends(code).json()
    };
    let said = explain("closed/new", 4);
    assert_eq!((&said["storage"], &said["record"], &said["finding"]), (&json!("unknown"), &Value::Null, &Value::Null));
    assert!(said["rule"].as_str().unwrap().contains("does not say whether there is an object"), "{said}");
    let said = explain("closed/old", 4);
    assert!(said["rule"].as_str().unwrap().contains("nobody can say"), "{said}");
    mode("1/closed", 0o755);
    // What is wrong with another user's files says nothing of these.
    mode("2/closed", 0o700);
    assert_eq!(explain("open", 0)["finding"]["kind"], "matched");
    mode("2/closed", 0o755);

    // Another storage says nothing at all.
    let marker = playground.path("files/.storm-index/identity.json");
    std::fs::rename(&marker, playground.path("marker")).unwrap();
    for path in ["open", "nothing"] {
        let said = playground.run(&["explain", "--user-id", "1", "--format", "json", path]).ends(3).json();
        assert_eq!(said["refusal"]["code"], "wrong_storage", "{said}");
        assert!(said["rule"].as_str().unwrap().contains("nothing would be done"), "{said}");
        assert!(!said["rule"].as_str().unwrap().contains("see the errors"), "{said}");
    }
}

#[test]
fn the_reserved_place_is_explained_by_its_name() {
    let playground = Playground::new();
    playground.run(&["user", "add", "ann", "--id", "1", "--prefix", ""]).ends(0);
    playground.write("a", "x");
    playground.sync();
    let said = explain(&playground, ".storm-index/identity.json");
    assert!(said["rule"].as_str().unwrap().contains("belongs to storm-index itself"), "{said}");
}
