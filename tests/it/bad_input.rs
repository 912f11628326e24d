//! Bad input: one clear line with the mend, the exit code of the contract, and nothing changed.

use serde_json::json;

use crate::support::database;
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::skip;

fn small() -> Playground {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.write("1/b", "x");
    playground.sync();
    playground.remove("1/b");
    playground
}

#[test]
fn bad_usage_is_2_and_changes_nothing() {
    let playground = small();
    let before = playground.dump();
    std::fs::write(playground.path("bad.toml"), "nonsense = 1\n").unwrap();
    std::fs::write(playground.path("a-file"), "x").unwrap();
    for args in [
        &["rebuild", "--mode", "destroy"][..],
        &["rebuild", "--nonsense"],
        &["nonsense"],
        &[],
        &["rebuild", "-v", "-q"],
        &["rebuild", "--mode", "full"],
        &["rebuild", "--mode", "clean", "--force", "--adopt"],
        &["rebuild", "--adopt", "--user-id", "1"],
        &["rebuild", "--max-delete", "many"],
        &["rebuild", "--max-delete", "101%"],
        &["rebuild", "--min-age", "soon"],
        &["rebuild", "--user-id", "99"],
        &["rebuild", "--user-id", "x"],
        &["rebuild", "--storage", "ftp://x/y"],
        &["rebuild", "--storage", "s3://bucket?nonsense=1"],
        &["rebuild", "--storage", "file://far/x"],
        &["rebuild", "--storage", "a-file"],
        &["rebuild", "--storage", "/no/such/place", "--user-id", "99"],
        &["rebuild", "--database", "mysql://x/y"],
        &["rebuild", "--database", "sqlite://x?nonsense=1"],
        &["rebuild", "--config", "bad.toml"],
        &["rebuild", "--config", "missing.toml"],
        &["rebuild", "--report", "report.txt"],
        &["rebuild", "--report", "no/such/place/r.ndjson"],
        &["rebuild", "--format", "xml"],
        &["completions", "nonsense"],
        &["serve", "--listen", "nonsense"],
        &["serve", "--listen", "http://127.0.0.1:8080"],
        &["serve", "--listen", "127.0.0.1:99999"],
        &["serve", "--listen", ":8080"],
        &["health", "--listen", "nonsense"],
    ] {
        let ran = playground.run(args).ends(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?} {ran:?}");
        assert!(ran.err.lines().count() == 1 || args.is_empty(), "{args:?} {ran:?}");
    }
    let mut command = playground.command();
    command.env_remove("STORAGE_URL").arg("rebuild");
    Ran::from(command.output().unwrap()).ends(2).complains(&["STORAGE_URL", "--storage"]);
    assert_eq!(playground.dump(), before);
}

#[test]
fn prefixes_that_another_program_nested_are_2() {
    let playground = small();
    playground.sql("INSERT INTO users (id, name, prefix) VALUES (5, 'evil', '1/deep')");
    playground.rebuild(&["--mode", "sync"]).ends(2).complains(&["1/deep", "nest"]);
    playground.rebuild(&["--mode", "sync", "--user-id", "1"]).ends(2).complains(&["1/deep", "nest"]);
    // The asker's mistake comes before the missing storage.
    playground.rebuild(&["--storage", "/no/such/place"]).ends(2).complains(&["1/deep", "nest"]);
    playground.rebuild(&["--storage", "/no/such/place", "--database", "mysql://x"]).ends(2).complains(&["mysql"]);
}

/// What only SQLite lets another program write.
#[test]
fn one_damaged_row_does_not_lock_the_others_out() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = small();
    playground.add_user("bob", 2);
    playground.write("2/a", "x");
    playground.write("1/c", "x");
    playground.write("1/d", "x");
    playground.sync();
    playground.sql("UPDATE stored_files SET etag = CAST(x'ff' AS TEXT), size = 5 WHERE path = 'c'");
    playground.sql("UPDATE stored_files SET path = CAST(path AS BLOB) WHERE path = 'd'");
    playground.write("2/b", "x");
    let ran = playground.rebuild(&["--mode", "full", "--force"]).ends(4);
    assert_eq!(ran.json()["status"], "SUCCESSFUL");
    let result = ran.result();
    // The file of the BLOB gets a record that can be read; the two damaged ones are told and left alone.
    assert_eq!((&result["records_created"], &result["records_updated"]), (&json!(2), &json!(0)), "{ran:?}");
    assert!(ran.err.contains("is damaged") && ran.err.contains("BLOB"), "{ran:?}");
    assert_eq!(result["errors"].as_array().unwrap().len(), 2);
    assert_eq!(playground.paths(), ["1/a", "1/c", "1/d", "1/d", "2/a", "2/b"]);

    playground.sql("INSERT INTO users (id, name, prefix) VALUES (7, 'odd', '/x//y')");
    let ran = playground.rebuild(&[]).ends(4);
    assert!(ran.err.contains("\"odd\"") && ran.err.contains("/x//y"), "{ran:?}");
    playground.rebuild(&["--user-id", "2"]).ends(0);
    assert!(playground.run(&["user", "list"]).ends(0).out.contains("/x//y"));
    playground.run(&["user", "remove", "odd"]).ends(0);
    // A path without a place in the order costs nobody anything.
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, CAST(x'61ff' AS TEXT))");
    playground.write("2/c", "x");
    playground.sql("INSERT INTO users (id, name, prefix) VALUES (8, CAST(x'ff' AS TEXT), '8')");
    let ran = playground.rebuild(&["--mode", "full", "--force"]).ends(4);
    let result = ran.result();
    assert_eq!((&result["records_created"], &result["incomplete_users"]), (&json!(1), &json!([])), "{ran:?}");
    assert_eq!(playground.run(&["user", "list"]).ends(0).out.lines().count(), 4);
    playground.sql("DELETE FROM stored_files WHERE path = CAST(x'61ff' AS TEXT)");
    playground.sql(
        "INSERT INTO share_links (stored_file_id, token, is_active, expires_at) \
                    SELECT id, 't', 1, CAST(x'fe' AS TEXT) FROM stored_files WHERE path = 'a' AND user_id = 1",
    );
    assert!(playground.run(&["share", "list"]).ends(0).out.contains("1"));
}

/// A path without a place in the order: the records around it are judged all the same, and a dry run says what comes.
#[test]
fn law_05_a_path_that_is_no_text_hides_no_other_record() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = small();
    let names = ["b", "h", "m", "z"];
    names.iter().for_each(|name| playground.write(&format!("1/{name}"), name));
    playground.sync();
    // One in the middle of a page, and more of them than a page has.
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, CAST(x'68ff' AS TEXT))");
    for count in [1, 11_002] {
        playground.sql(&format!(
            "WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) \
             INSERT INTO stored_files (user_id, path) SELECT 1, CAST(x'68ff' AS TEXT) || n FROM n WHERE n <= {count}"
        ));
        playground.sql("DELETE FROM stored_files WHERE path = 'new'");
        playground.write("1/new", &format!("new {count}"));
        playground.remove("1/z");
        for mode in [&["--mode", "sync"][..], &["--mode", "full", "--force"]] {
            let dry = playground.rebuild(&[mode, &["--dry-run"]].concat()).ends(4).result();
            let real = playground.rebuild(mode).ends(4).result();
            let numbers = ["files_in_db", "missing_in_db", "orphaned_in_db", "records_created", "records_deleted"];
            for key in numbers {
                assert_eq!(dry[key], real[key], "{key}: {dry} {real}");
            }
            let made = u64::from(mode[1] == "sync");
            assert_eq!((&real["records_created"], &real["orphaned_in_db"]), (&json!(made), &json!(1)), "{real}");
            assert_eq!((&real["errors"][0]["code"], &real["incomplete_users"]), (&json!("record_damaged"), &json!([])));
        }
        playground.write("1/z", "z");
        playground.rebuild(&["--mode", "sync"]).ends(4);
        let whole = "SELECT CAST(count(*) AS TEXT) FROM stored_files WHERE path IN ('a', 'b', 'h', 'm', 'new', 'z')";
        let whole = block_on(async { database::column(&playground.database().await, whole).await });
        assert_eq!(whole, ["6"]);
    }
}

#[test]
fn a_report_that_is_another_name_of_an_object_is_2() {
    let playground = small();
    std::fs::hard_link(playground.path("files/1/a"), playground.path("r.ndjson")).unwrap();
    playground.rebuild(&["--report", "r.ndjson"]).ends(2).complains(&["hard link", "another file"]);
    assert_eq!(std::fs::read_to_string(playground.path("files/1/a")).unwrap(), "x");
    std::os::unix::fs::symlink(playground.path("files/1/made.ndjson"), playground.path("link.ndjson")).unwrap();
    playground.rebuild(&["--report", "link.ndjson"]).ends(2).complains(&["link", "name a file"]);
    assert!(!playground.path("files/1/made.ndjson").exists(), "nothing is ever written into the storage");
    // The asker's mistake comes before the missing storage.
    playground
        .rebuild(&["--storage", "/no/such/place", "--report", "no/such/r.ndjson"])
        .ends(2)
        .complains(&["no/such"]);
}

#[test]
fn a_report_in_place_of_the_index_is_2() {
    let playground = Playground::new();
    let database = format!("sqlite://{}", playground.path("i.ndjson").display());
    playground.run(&["user", "add", "ann", "--database", &database]).ends(0);
    playground
        .rebuild(&["--mode", "sync", "--database", &database, "--report", "i.ndjson"])
        .ends(2)
        .complains(&["index"]);
    playground.run(&["user", "list", "--database", &database]).ends(0);
}

#[test]
fn a_missing_root_is_4_and_changes_nothing() {
    let playground = small();
    let before = playground.dump();
    std::fs::rename(playground.path("files"), playground.path("unmounted")).unwrap();
    for mode in ["audit", "sync", "clean", "full"] {
        let ran = playground.rebuild(&["--mode", mode, "--force"]).ends(4);
        let document = ran.json();
        assert_eq!(
            (&document["status"], &document["result"]["errors"][0]["code"]),
            (&json!("FAILED"), &json!("storage_missing"))
        );
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
    assert_eq!(playground.dump(), before);
    assert!(!playground.path("files").exists(), "the root is never made");
}

/// Runs a sync on a database that is in some bad state; says what the one error line has to have.
#[track_caller]
fn refuses(playground: &Playground, database: &str, words: &[&str]) {
    let ran = playground.rebuild(&["--mode", "sync", "--database", database]).ends(4);
    let document = ran.json();
    assert_eq!(document["status"], "FAILED", "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "{word:?} is not in {ran:?}");
    }
}

#[test]
fn sqlite_files_that_are_not_ours_newer_broken_or_read_only_are_4() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = small();
    let url = playground.index.url();
    let before = playground.dump();
    refuses(&playground, &format!("{url}?mode=ro"), &["reading only"]);
    // An audit needs no more than that.
    playground.rebuild(&["--database", &format!("{url}?mode=ro")]).ends(1);
    playground.rebuild(&["--database", &format!("{url}?mode=ro"), "--mode", "full", "--dry-run"]).ends(1);
    assert_eq!(playground.dump(), before);

    crate::support::playground::block_on(async {
        let other = database::open_file(&playground.path("other.sqlite3")).await;
        database::execute(&other, "CREATE TABLE invoices (id INTEGER)").await;
    });
    let other = format!("sqlite://{}", playground.path("other.sqlite3").display());
    refuses(&playground, &other, &["another program", "invoices"]);
    playground.rebuild(&["--database", &other]).ends(4);

    std::fs::write(playground.path("garbage.sqlite3"), vec![b'x'; 10_000]).unwrap();
    refuses(
        &playground,
        &format!("sqlite://{}", playground.path("garbage.sqlite3").display()),
        &["not a SQLite database"],
    );
    std::fs::create_dir(playground.path("dir.sqlite3")).unwrap();
    refuses(&playground, &format!("sqlite://{}", playground.path("dir.sqlite3").display()), &["is a directory"]);

    crate::support::playground::block_on(async {
        let wide = database::open_file(&playground.path("wide.sqlite3")).await;
        database::execute(&wide, "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (id); DROP TABLE t").await;
    });
    let wide = format!("sqlite://{}", playground.path("wide.sqlite3").display());
    refuses(&playground, &wide, &["UTF-16le", "not as UTF-8", "make a new one"]);

    playground.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_future', 0)");
    refuses(&playground, &url, &["newer", "m29991231_000001_future"]);
}

#[test]
fn a_database_that_cannot_be_there_is_4_and_one_that_is_not_there_yet_is_empty() {
    let playground = small();
    std::fs::write(playground.path("file"), "x").unwrap();
    std::os::unix::fs::symlink("round", playground.path("round")).unwrap();
    let long = format!("sqlite://{}/x.db", "x".repeat(300));
    for (url, why) in [
        ("sqlite:///dev/null/x.db", "Not a directory"),
        ("sqlite://file/a/b/x.db", "Not a directory"),
        ("sqlite:///dev/null", "no file"),
        ("sqlite://round/x.db", "symbolic links"),
        (&long, "too long"),
    ] {
        for args in [&[][..], &["--mode", "full", "--dry-run"]] {
            let ran = playground.rebuild(&[args, &["--database", url]].concat()).ends(4);
            assert_eq!(ran.json()["result"]["errors"][0]["code"], "database_unavailable", "{ran:?}");
            assert!(ran.err.lines().count() == 1 && ran.err.contains(url) && ran.err.contains(why), "{ran:?}");
        }
        for args in [&["task", "list"][..], &["migrate", "status"], &["share", "list"]] {
            playground.run(&[args, &["--database", url]].concat()).ends(4).complains(&[url, why]);
        }
        refuses(&playground, url, &[url]);
    }
    let ran = playground.rebuild(&["--database", "sqlite://not/yet/x.db"]).ends(0);
    assert_eq!(ran.result()["users_scanned"], 0);
    assert!(!playground.path("not").exists());
}

#[test]
fn a_locked_database_is_4() {
    let playground = small();
    crate::support::playground::block_on(async {
        let other = playground.database().await;
        let lock =
            if database::on_postgres() { "LOCK TABLE users, stored_files" } else { "UPDATE users SET name = 'x'" };
        database::execute(&other, &format!("BEGIN; {lock}")).await;
        playground.write("1/new", "x");
        let ran = playground.rebuild(&["--mode", "sync"]).ends(4);
        assert!(ran.err.contains("locked by another program"), "{ran:?}");
        assert_eq!(ran.json()["result"]["records_created"], 0);
        database::execute(&other, "ROLLBACK").await;
    });
    playground.sync();
}

/// What other programs can leave in the columns costs at most a refresh.
#[test]
fn odd_columns_are_read_and_mended() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = Playground::with_user();
    for n in 0..9 {
        playground.write(&format!("1/f{n}"), "x");
    }
    playground.sync();
    playground.sql(
        "UPDATE stored_files SET size = 'many' WHERE path = 'f0'; \
         UPDATE stored_files SET size = -1 WHERE path = 'f1'; \
         UPDATE stored_files SET content_type = 'a' || char(31) || 'b' || char(30) || 'c' WHERE path = 'f2'; \
         UPDATE stored_files SET etag = NULL, content_type = char(24) WHERE path = 'f3'; \
         UPDATE stored_files SET last_modified = 'yesterday', updated_at = 'today' WHERE path = 'f4'; \
         UPDATE stored_files SET created_at = '' WHERE path = 'f5'; \
         INSERT INTO stored_files (user_id, path) VALUES (1, ''), (1, 'a//b'), (1, '/x'), (1, '../x'), (1, 'tab' || char(9)); \
         INSERT INTO stored_files (user_id, path) VALUES (1, 'sep' || char(31) || 'x' || char(30));",
    );
    let result = playground.rebuild(&["--mode", "sync"]).ends(0).result();
    assert_eq!(
        (&result["stale_in_db"], &result["records_updated"], &result["orphaned_in_db"]),
        (&json!(5), &json!(5), &json!(6))
    );
    let result = playground.rebuild(&["--mode", "sync"]).ends(0).result();
    assert_eq!((&result["stale_in_db"], &result["records_updated"]), (&json!(0), &json!(0)));
    // No storage can be asked for such keys, so nobody can say "not found", and their records stay.
    let result = playground.rebuild(&["--mode", "clean", "--force"]).ends(0).result();
    assert_eq!((&result["records_deleted"], &result["records_skipped"]), (&json!(0), &json!(6)), "{result}");
}

/// Without room for temporary files a huge directory cannot be sorted: that is no word on its files.
#[test]
fn law_06_a_directory_that_cannot_be_sorted_is_not_absent() {
    let playground = Playground::with_user();
    for n in 0..18_500 {
        playground.write(&format!("1/big/{n:0>230}"), "");
    }
    playground.write("1/z", "x");
    let homeless = |args: &[&str]| {
        let mut command = playground.command();
        command.env("TMPDIR", "/no/such/place").args(["rebuild", "--format", "json"]).args(args);
        Ran::from(command.output().unwrap())
    };
    let result = homeless(&["--mode", "sync"]).ends(4).result();
    assert_eq!((&result["incomplete_users"], &result["records_created"]), (&json!([1]), &json!(1)), "{result}");
    let result = playground.rebuild(&["--mode", "sync"]).ends(0).result();
    assert_eq!(result["records_created"], 18_500, "sorted on disk");
    let result = homeless(&[]).ends(4).result();
    assert_eq!(result["orphaned_in_db"], 0, "{result}");
}

/// A path that is too long for the system says nothing of what is there.
#[test]
fn law_06_a_path_that_is_too_long_for_one_call_is_listed() {
    let playground = Playground::new();
    let prefix = vec!["p".repeat(250); 14].join("/");
    playground.run(&["user", "add", "ann", "--id", "1", "--prefix", &prefix]).ends(0);
    for n in 0..3 {
        playground.write(&format!("{prefix}/f{n}"), "x");
    }
    playground.sync();
    let deep = playground.path(&vec!["d".repeat(250); 3].join("/"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::rename(playground.path("files"), deep.join("files")).unwrap();
    let storage = deep.join("files").display().to_string();
    for args in [&["--mode", "clean", "--force", "--user-id", "1"][..], &["--mode", "clean", "--force"]] {
        let result = playground.rebuild(&[&["--storage", &storage], args].concat()).ends(0).result();
        assert_eq!((&result["files_on_disk"], &result["orphaned_in_db"]), (&json!(3), &json!(0)), "{result}");
    }
    std::fs::remove_dir_all(deep.join("files").join("p".repeat(250))).unwrap();
    let result = playground.rebuild(&["--storage", &storage, "--mode", "clean", "--force"]).ends(0).result();
    assert_eq!(result["records_deleted"], 3, "{result}");
}

#[test]
fn a_report_never_lands_in_the_storage_or_over_an_older_one_in_vain() {
    let playground = small();
    playground.write("1/precious.ndjson", "precious");
    for name in ["files/1/precious.ndjson", "files/new.ndjson"] {
        playground.rebuild(&["--report", name]).ends(2).complains(&["within the storage"]);
    }
    assert_eq!(std::fs::read_to_string(playground.path("files/1/precious.ndjson")).unwrap(), "precious");
    std::fs::write(playground.path("old.ndjson"), "old").unwrap();
    let run = |more: &[&str]| playground.rebuild(&[&["--report", "old.ndjson"], more].concat());
    let is_old = || assert_eq!(std::fs::read_to_string(playground.path("old.ndjson")).unwrap(), "old");
    run(&["--user-id", "99"]).ends(2);
    is_old();
    playground.sql(
        "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', process = '1 1', taken_at = 0, \
         expires_at = 9e9",
    );
    run(&["--mode", "sync"]).ends(5);
    is_old();
    playground.sql("UPDATE lease SET task_id = NULL, expires_at = NULL");
    // Another run that is writing it is not written over.
    let theirs = std::fs::File::options().write(true).open(playground.path("old.ndjson")).unwrap();
    theirs.lock().unwrap();
    let ran = run(&[]).ends(4);
    assert!(ran.err.contains("another run is writing it"), "{ran:?}");
    is_old();
    // Closed it would be locked still, as long as a process that another test starts at this moment has it open as well.
    theirs.unlock().unwrap();
    run(&[]).ends(1);
    let report = std::fs::read_to_string(playground.path("old.ndjson")).unwrap();
    assert!(report.lines().all(|line| line.starts_with('{')), "{report:?}");
    playground
        .sql("INSERT INTO users (name, prefix, created_at) VALUES ('within', '1/b', '2026-01-01T00:00:00+00:00')");
    std::fs::write(playground.path("old.ndjson"), "old").unwrap();
    run(&[]).ends(2);
    is_old();
}

#[test]
fn a_user_of_the_highest_id_has_nobody_after() {
    let playground = small();
    playground.write("x/a", "x");
    playground.sql(
        "INSERT INTO users (id, name, prefix, created_at) VALUES (9223372036854775807, 'last', 'last', \
         '2026-01-01T00:00:00+00:00')",
    );
    playground.run(&["user", "add", "new"]).ends(2).complains(&["no id is left", "--id"]);
    playground.add_user("new", 7);
    playground.rebuild(&["--adopt"]).ends(2);
    playground.run(&["user", "rename", "new", "last"]).ends(2).complains(&["\"7\"", "\"last\"", "name"]);
    playground.run(&["user", "add", "other", "--id", "8", "--prefix", "7/a"]).ends(2).complains(&["--prefix"]);
}

#[test]
fn a_result_that_cannot_be_written_is_4() {
    let playground = small();
    let mut command = playground.command();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = command.args(["rebuild", "--format", "json"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(4));
}

#[test]
fn an_address_that_is_taken_is_4() {
    let playground = small();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    playground.run(&["serve", "--listen", &address]).ends(4).complains(&[&address, "--listen"]);
    playground.run(&["serve", "--listen", "no-such-host.invalid:0"]).ends(4).complains(&["no-such-host.invalid"]);
}
