//! The command line from outside: what is printed where, and how it ends.

use serde_json::{Value, json};
use storm_index::model::Timestamp;

use crate::support::backend::{Backend, Kind};
use crate::support::garage::is_seaweedfs;
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::vacant::Vacant;

#[test]
fn exit_0_and_1_follow_drift_alone() {
    let playground = Playground::with_user();
    playground.rebuild(&[]).ends(0);
    playground.write("1/a.txt", "x");
    playground.write("nobody/b", "x");
    std::os::unix::fs::symlink("/etc", playground.path("files/1/out")).unwrap();
    playground.rebuild(&[]).ends(1);
    playground.rebuild(&["--mode", "sync", "--dry-run"]).ends(1);
    playground.sync();
    let result = playground.rebuild(&[]).ends(0).result();
    assert_eq!((&result["unclaimed_on_disk"], &result["unindexable_on_disk"]), (&json!(1), &json!(1)));
    playground.share(1, "a.txt");
    playground.remove("1/a.txt");
    playground.rebuild(&[]).ends(1);
    let result = playground.rebuild(&["--mode", "full", "--force"]).ends(0).result();
    assert_eq!((&result["records_skipped"], &result["records_deleted"]), (&json!(1), &json!(0)));
    playground.rebuild(&["--mode", "full", "--dry-run"]).ends(1);
    // Force is accepted where it is not needed.
    playground.rebuild(&["--mode", "sync", "--force"]).ends(0);
}

#[test]
fn the_document_has_all_its_keys() {
    let playground = Playground::with_user();
    playground.write("1/a.txt", "x");
    let document = playground.rebuild(&["--mode", "sync"]).ends(0).json();
    assert_eq!(document["status"], "SUCCESSFUL");
    assert_eq!(document["task_id"].as_str().unwrap().len(), 36);
    assert_eq!(
        document["result"],
        json!({
            "mode": "sync", "deferred": 0, "identities_refreshed": 0, "excluded_in_db": 0, "dry_run": false, "users_scanned": 1, "users_adopted": 0, "files_on_disk": 1, "files_in_db": 0,
            "missing_in_db": 1, "orphaned_in_db": 0, "stale_in_db": 0, "moved_in_db": 0, "records_created": 1,
            "records_updated": 0, "records_moved": 0, "records_deleted": 0, "records_skipped": 0, "unclaimed_on_disk": 0,
            "unindexable_on_disk": 0, "incomplete_users": [], "refusal": null, "errors": []
        })
    );
}

#[test]
fn the_text_has_rclones_signs() {
    let playground = Playground::with_user();
    for key in ["1/same", "1/gone", "1/kept", "1/changed"] {
        playground.write(key, "x");
    }
    playground.run(&["rebuild", "--mode", "sync", "-q"]).ends(0);
    playground.share(1, "kept");
    playground.remove("1/gone");
    playground.remove("1/kept");
    playground.write("1/changed", "xyz");
    playground.write("1/new", "x");
    std::os::unix::fs::symlink("/etc", playground.path("files/1/out")).unwrap();
    let signs = |ran: &Ran| {
        let mut lines: Vec<String> = ran
            .out
            .lines()
            .filter(|l| "+-*!=?".contains(&l[..1]))
            .map(|l| l.split("  ").next().unwrap().to_owned())
            .collect();
        lines.sort();
        lines
    };
    let ran = playground.run(&["rebuild"]).ends(1);
    assert_eq!(signs(&ran), ["! 1/out", "* 1/changed", "+ 1/new", "- 1/gone", "- 1/kept"], "{ran:?}");
    assert!(ran.err.is_empty(), "{ran:?}");
    assert!(signs(&playground.run(&["rebuild", "-vv"]).ends(1)).contains(&"= 1/same".to_owned()));
    assert!(signs(&playground.run(&["rebuild", "-q"]).ends(1)).is_empty());
    let ran = playground.run(&["rebuild", "--mode", "full", "--force"]).ends(0);
    assert!(ran.out.contains("- 1/kept  (kept: active_share)"), "{ran:?}");
    // Nothing is coloured or drawn where no terminal stands.
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'));
}

#[test]
fn users_are_added_renamed_listed_and_removed() {
    let playground = Playground::new();
    assert_eq!(playground.run(&["user", "add", "ann"]).ends(0).out, "1\n");
    let bob = playground.run(&["user", "add", "bob", "--prefix", "teams/alpha", "--format", "json"]).ends(0).json();
    assert_eq!(bob, json!({"id": 2, "name": "bob", "prefix": "teams/alpha"}));
    playground.run(&["user", "rename", "bob", "robert"]).ends(0);
    let list = playground.run(&["user", "list", "--format", "json"]).ends(0).json();
    assert_eq!(
        list,
        json!([{"id": 1, "name": "ann", "prefix": "1"}, {"id": 2, "name": "robert", "prefix": "teams/alpha"}])
    );
    playground.run(&["user", "add", "ann"]).ends(2).complains(&["ann"]);
    playground.run(&["user", "add", "x", "--id", "2"]).ends(2).complains(&["id"]);
    playground.run(&["user", "add", "x", "--prefix", "teams"]).ends(2).complains(&["teams/alpha", "nest"]);
    playground.run(&["user", "add", "x", "--prefix", "teams/alpha/deep"]).ends(2).complains(&["teams/alpha"]);
    playground.run(&["user", "add", "x", "--prefix", ""]).ends(2);
    playground.run(&["user", "add", "x", "--prefix", "a//b"]).ends(2).complains(&["a//b"]);
    playground.run(&["user", "add", ""]).ends(2);
    playground.run(&["user", "rename", "nobody", "x"]).ends(2).complains(&["nobody"]);
    playground.run(&["user", "rename", "ann", "robert"]).ends(2).complains(&["robert"]);
    playground.run(&["user", "remove", "robert"]).ends(0);
    playground.run(&["user", "remove", "robert"]).ends(2);
    // Ids are not given twice.
    assert_eq!(playground.run(&["user", "add", "carl"]).ends(0).out, "3\n");
}

#[test]
fn shares_print_their_secret_alone() {
    let playground = Playground::with_user();
    playground.write("1/a b.txt", "x");
    playground.sync();
    let made = playground.run(&["share", "create", "--user-id", "1", "a b.txt", "--expires", "7d"]).ends(0);
    assert_eq!((made.out.lines().count(), made.out.trim().len()), (1, 64), "{made:?}");
    let token = made.out.trim();
    let list = playground.run(&["share", "list", "--format", "json"]).ends(0).json();
    assert_eq!(
        (&list[0]["token"], &list[0]["path"], &list[0]["is_active"]),
        (&json!(format!("{}…", &token[..6])), &json!("a b.txt"), &json!(true))
    );
    playground.run(&["share", "revoke", token]).ends(0);
    assert_eq!(playground.run(&["share", "list", "--format", "json"]).json()[0]["is_active"], false);
    playground.run(&["share", "revoke", "nonsense"]).ends(2).complains(&["nonsense"]);
    playground.run(&["share", "create", "--user-id", "1", "nothing"]).ends(2).complains(&["nothing", "sync"]);
    playground.run(&["share", "create", "--user-id", "9", "a b.txt"]).ends(2).complains(&["9"]);
}

#[test]
fn migrations_are_shown_and_applied() {
    let playground = Playground::new();
    let state = |p: &Playground| {
        let steps = p.run(&["migrate", "status", "--format", "json"]).ends(0).json();
        steps.as_array().unwrap().iter().filter(|s| s["applied"] == true).count()
    };
    assert_eq!(state(&playground), 0);
    assert!(!playground.path("index.sqlite3").exists(), "looking makes nothing");
    playground.run(&["migrate", "up"]).ends(0);
    assert!(state(&playground) >= 8);
    let all = playground.run(&["migrate", "status", "--format", "json"]).ends(0).json();
    assert_eq!(state(&playground), all.as_array().unwrap().len());
    playground.run(&["migrate", "up"]).ends(0);
}

#[test]
fn flags_beat_environment_beats_file() {
    let playground = Playground::with_user();
    std::fs::create_dir_all(playground.path("other/1")).unwrap();
    std::fs::write(playground.path("other/1/a"), "x").unwrap();
    let config = format!("storage = {:?}\n", playground.path("other"));
    std::fs::write(playground.path("c.toml"), config).unwrap();
    // The environment names the empty one, the file the other.
    playground.rebuild(&["--config", "c.toml"]).ends(0);
    let mut command = playground.command();
    command.env_remove("STORAGE_URL").args(["rebuild", "--config", "c.toml"]);
    Ran::from(command.output().unwrap()).ends(1);
    playground.rebuild(&["--storage", "other"]).ends(1);
    let url = format!("file://{}", playground.path("other").display());
    playground.rebuild(&["--storage", &url]).ends(1);
    playground.rebuild(&["--storage", "memory:///"]).ends(0);
}

#[test]
fn every_line_on_stderr_is_an_object_where_that_is_wanted() {
    let playground = Playground::with_user();
    playground.write("1/a", "a");
    playground.sync();
    std::fs::create_dir(playground.path("other")).unwrap();
    std::fs::write(playground.path("c.toml"), "log_format = 'json'\n").unwrap();
    let keys = ["fields", "level", "target", "timestamp"];
    let (flag, joined, file) = (&["--log-format", "json"][..], &["--log-format=json"][..], &["--config", "c.toml"][..]);
    for (args, format, code, level, said) in [
        (&["rebuild", "-v", "--storage", "other"][..], flag, 3, "ERROR", "refused: "),
        (&["rebuild", "--format", "json", "--storage", "nowhere"], joined, 4, "ERROR", "storage \"nowhere\""),
        (&["share", "create", "--user-id", "1", "a"], file, 0, "INFO", "this token opens \"a\""),
        (&["share", "create", "--user-id", "1", "a"], flag, 0, "INFO", "this token opens \"a\""),
        (&["task", "show", "nope"], file, 2, "ERROR", "no task \"nope\""),
        // Also what is wrong before the settings are known.
        (&["rebuild", "--config", "nowhere.toml"], flag, 2, "ERROR", "config file \"nowhere.toml\""),
        (&["rebuild", "--mode", "scan"], flag, 2, "ERROR", "invalid value 'scan'"),
        (&["rebuild", "--nonsense"], joined, 2, "ERROR", "unexpected argument"),
    ] {
        let ran = playground.run(&[args, format].concat()).ends(code);
        let lines: Vec<Value> = ran.err.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        for line in &lines {
            assert_eq!(line.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), keys, "{line}");
            let time = line["timestamp"].as_str().unwrap();
            assert!(time.len() == 27 && time.ends_with('Z') && Timestamp::from_text(time).is_some(), "{line}");
        }
        let last = lines.last().unwrap();
        assert_eq!(last["level"], level, "{last}");
        assert!(last["fields"]["message"].as_str().unwrap().starts_with(said), "{last}");
        // For people it is what it was.
        let told = playground.run(args).ends(code).err;
        let last = told.lines().last().unwrap();
        assert!(last.strip_prefix("error: ").unwrap_or(last).starts_with(said), "{told}");
        assert_eq!(last.starts_with("error: "), level == "ERROR", "{told}");
    }
}

#[test]
fn s3_through_the_usual_variables() {
    let playground = Playground::with_user();
    let backend = Backend::new(Kind::S3);
    block_on(async {
        backend.put("some/prefix/1/a.txt", b"hello").await;
        backend.put("some/prefix/1/", b"").await;
    });
    let (bucket, server) = backend.bucket();
    let with = |change: &dyn Fn(&mut std::process::Command), args: &[&str]| {
        let mut command = playground.command();
        command.env("STORAGE_URL", format!("s3://{bucket}/some/prefix")).envs(server.clone());
        change(&mut command);
        Ran::from(command.args(["rebuild", "--format", "json"]).args(args).output().unwrap())
    };
    let result = with(&|_| (), &["--mode", "sync"]).ends(0).result();
    assert_eq!((&result["records_created"], &result["unindexable_on_disk"]), (&json!(1), &json!(0)));
    with(&|_| (), &[]).ends(0);
    for (name, value, word) in [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "nobody", "AWS_ACCESS_KEY_ID"),
        ("STORAGE_URL", "s3://no-such-bucket", "bucket"),
    ] {
        let ran = with(
            &|c| {
                c.env(name, value);
            },
            &["--mode", "full", "--force"],
        )
        .ends(4);
        assert_eq!((ran.json()["status"].as_str(), ran.err.lines().count()), (Some("FAILED"), 1), "{ran:?}");
        // Garage does not say which of the two is wrong.
        let blurred = matches!(backend, Backend::Bucket(_)) && !is_seaweedfs() && word.starts_with("AWS_");
        assert!(ran.err.contains(if blurred { "credentials" } else { word }), "{ran:?}");
    }
    assert_eq!(playground.paths(), ["1/a.txt"], "a storage that refuses empties nothing");
}

#[test]
fn an_unreachable_server_is_one_clear_line() {
    let playground = Playground::with_user();
    let mut command = playground.command();
    let vacant = Vacant::new();
    command.env("STORAGE_URL", "s3://bucket").env("AWS_ENDPOINT_URL", format!("http://{}", vacant.address()));
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
    let ran = Ran::from(command.args(["rebuild", "--format", "json"]).output().unwrap()).ends(4);
    assert_eq!(ran.json()["result"]["errors"][0]["code"], "storage_unreachable", "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
}

#[test]
fn the_demo_makes_a_playground_and_throws_only_that_away() {
    let playground = Playground::new();
    // Nobody misses anything there.
    std::fs::create_dir_all(playground.path("data")).unwrap();
    let mut command = playground.command();
    let ran = Ran::from(command.arg("demo").output().unwrap()).ends(0);
    assert!(ran.out.contains("+ ") && ran.out.contains("- ") && ran.out.contains("* "), "{ran:?}");
    playground.run(&["demo"]).ends(0);
    playground.run(&["demo", "--fresh"]).ends(0);
    // One that was interrupted is made anew.
    for args in [&["demo"][..], &["demo", "--fresh"]] {
        std::fs::remove_dir_all(playground.path("data")).unwrap();
        let limited = format!("ulimit -f 8; exec {} {}", env!("CARGO_BIN_EXE_storm-index"), args.join(" "));
        let ended = std::process::Command::new("sh").args(["-c", &limited]).current_dir(playground.path(".")).output();
        assert!(!ended.unwrap().status.success() && playground.path("data").exists());
        playground.run(args).ends(0);
    }
    std::fs::remove_file(playground.path("data/.storm-index-demo")).unwrap();
    playground.run(&["demo", "--fresh"]).ends(2).complains(&["data"]);
    assert!(playground.path("data/files").exists());
    // Nor is what is no directory at all.
    std::fs::remove_dir_all(playground.path("data")).unwrap();
    let place = playground.path("data");
    std::fs::write(&place, "x").unwrap();
    playground.run(&["demo"]).ends(2).complains(&["data"]);
    std::fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink("nowhere", &place).unwrap();
    playground.run(&["demo"]).ends(2).complains(&["data"]);
}

#[test]
fn help_completions_and_manual_are_answers() {
    let playground = Playground::new();
    for args in [&["--help"][..], &["rebuild", "--help"], &["--version"], &["completions", "bash"], &["man"]] {
        let ran = playground.run(args).ends(0);
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{args:?}");
    }
    for args in [&["--help"][..], &["man"]] {
        let ran = playground.run(args);
        let flat = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        for code in ["0 done", "1 an audit", "2 bad usage", "3 a guard", "4 incomplete", "5 another run"] {
            assert!(flat.contains(code), "{code}: {flat}");
        }
        // Every setting of a file is named.
        std::fs::write(playground.path("c.toml"), "nonsense = 1\n").unwrap();
        let told = playground.run(&["health", "--config", "c.toml"]).ends(2).err;
        let settings = told.split("settings are ").nth(1).unwrap().trim().replace(" and ", ", ");
        assert_eq!(settings.split(", ").count(), 14, "{told}");
        for setting in settings.split(", ") {
            assert!(flat.contains(setting), "{setting}: {flat}");
        }
    }
}

#[test]
fn a_report_is_a_table_as_well() {
    let playground = Playground::with_user();
    for key in ["1/same", "1/gone, and \"quoted\"", "1/changed"] {
        playground.write(key, key);
    }
    playground.sync();
    playground.remove("1/gone, and \"quoted\"");
    playground.write("1/changed", "more than before");
    playground.write("1/new", "n");
    playground.rebuild(&["--report", "r.csv"]).ends(1);
    let text = std::fs::read_to_string(playground.path("r.csv")).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(lines[0].starts_with("kind,user_id,path,reasons,action,storage_key"), "{text}");
    assert_eq!((lines.len(), lines[4]), (5, ""), "{text}");
    let line =
        |start: &str| lines.iter().find(|line| line.starts_with(start)).copied().unwrap_or_else(|| panic!("{text}"));
    assert!(line("missing,1,new,no_record,none,1/new,1,application/octet-stream,").ends_with(",,,,,"), "{text}");
    assert!(line("stale,1,changed,size last_modified,none,1/changed,16,").contains(",changed,9,"), "{text}");
    line("orphaned,1,\"gone, and \"\"quoted\"\"\",no_object,none,,,,,,");
}
