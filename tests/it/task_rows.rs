//! Every run whose id is printed leaves its row where the database takes one.

use serde_json::{Value, json};

use crate::support::playground::{Playground, Ran};
use crate::support::s3::S3Server;
use crate::support::skip;
use crate::support::vacant::Vacant;

/// Looks the run up whose id was printed.
fn row(playground: &Playground, ran: &Ran) -> Value {
    let id = ran.json()["task_id"].as_str().unwrap().to_owned();
    playground.run(&["task", "show", &id, "--format", "json"]).ends(0).json()
}

/// The row says what was printed, and what was asked.
fn left(playground: &Playground, ran: &Ran, status: &str) -> Value {
    let row = row(playground, ran);
    assert_eq!((&row["status"], &row["result"]), (&json!(status), &ran.result()), "{ran:?}");
    assert!(row["started_at"].is_string() && row["finished_at"].is_string(), "{row}");
    row
}

#[test]
fn a_run_that_cannot_begin_leaves_its_row() {
    let playground = Playground::with_user();
    for mode in ["audit", "sync"] {
        let args = ["--mode", mode, "--storage", "/no/such/place", "--min-age", "2h"];
        let row = left(&playground, &playground.rebuild(&args).ends(4), "FAILED");
        assert_eq!((&row["request"]["mode"], &row["request"]["min_age"]), (&json!(mode), &json!(7_200)), "{row}");
        assert_eq!(row["errors"][0]["code"], row["result"]["errors"][0]["code"], "{row}");
    }
    // On a bucket that nobody answers for, with users to be adopted.
    let vacant = Vacant::new();
    for mode in ["audit", "sync"] {
        let mut command = playground.command();
        command.env("STORAGE_URL", "s3://bucket").env("AWS_ENDPOINT_URL", format!("http://{}", vacant.address()));
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
        command.args(["rebuild", "--format", "json", "--adopt", "--mode", mode]);
        left(&playground, &Ran::from(command.output().unwrap()).ends(4), "FAILED");
    }
    // What the asker did wrong is no run.
    let count = || playground.run(&["task", "list", "--format", "json"]).ends(0).json().as_array().unwrap().len();
    let before = count();
    playground.rebuild(&["--mode", "full"]).ends(2);
    playground.rebuild(&["--user-id", "9", "--storage", "/no/such/place"]).ends(2);
    assert_eq!(count(), before);
}

/// A bucket that answers for its marker and not for its folders.
#[test]
fn a_run_that_cannot_see_the_folders_leaves_its_row() {
    let playground = Playground::with_user();
    let server = S3Server::start();
    server.put("9/a", b"x");
    server.faults().refuse_lists_from = Some(0);
    for mode in ["audit", "sync"] {
        let mut command = playground.command();
        command.envs(server.env()).env("STORAGE_URL", server.url());
        command.args(["rebuild", "--format", "json", "--adopt", "--mode", mode]);
        left(&playground, &Ran::from(command.output().unwrap()).ends(4), "FAILED");
    }
}

#[test]
fn a_dry_run_of_a_restore_leaves_its_row() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    playground.remove("1/a");
    let cleaned = playground.rebuild(&["--mode", "clean", "--force"]).ends(0).json()["task_id"].clone();
    let cleaned = cleaned.as_str().unwrap();
    let dry = playground.run(&["restore", cleaned, "--dry-run", "--format", "json"]).ends(0);
    let row = left(&playground, &dry, "SUCCESSFUL");
    assert_eq!(row["request"], json!({"restore": cleaned, "dry_run": true}));
    // It is no undoing.
    let real = playground.run(&["restore", cleaned, "--format", "json"]).ends(0);
    assert_eq!(real.result()["records_restored"], 1);
    left(&playground, &real, "SUCCESSFUL");
}

/// Looking makes no database, and needs none that can be written.
#[test]
fn where_no_row_can_be_left_none_is() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = Playground::new();
    let url = playground.index.url();
    playground.rebuild(&["--storage", "/no/such/place"]).ends(4);
    playground.rebuild(&["--mode", "sync", "--dry-run", "--storage", "/no/such/place"]).ends(4);
    assert_eq!(playground.index.files().len(), 1, "only the directory");
    playground.add_user("ann", 1);
    playground.rebuild(&["--database", &format!("{url}?mode=ro"), "--storage", "/no/such/place"]).ends(4);
    assert_eq!(playground.run(&["task", "list", "--format", "json"]).ends(0).json(), json!([]));
}

/// The one file is the whole index, whatever looked at it last.
#[test]
fn looking_leaves_nothing_beside_the_database() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    let beside = |what: &str| {
        let files = playground.index.files();
        let names: Vec<_> = files.iter().filter_map(|f| f.file_name()).map(|n| n.to_string_lossy()).collect();
        assert!(!names.iter().any(|n| n.ends_with("-wal") || n.ends_with("-shm")), "{what}: {names:?}");
    };
    beside("user add");
    let audit = playground.rebuild(&[]).ends(1);
    beside("audit");
    playground.rebuild(&["--mode", "sync", "--dry-run"]).ends(1);
    beside("dry run");
    let synced = playground.rebuild(&["--mode", "sync"]).ends(0).json()["task_id"].clone();
    beside("sync");
    playground.run(&["restore", synced.as_str().unwrap(), "--dry-run"]).ends(0);
    beside("dry run of a restore");
    playground.rebuild(&["--storage", "/no/such/place"]).ends(4);
    beside("audit of nothing");
    let copy = playground.path("copy.sqlite3");
    let url = playground.index.url();
    std::fs::copy(url.trim_start_matches("sqlite://"), &copy).unwrap();
    let id = audit.json()["task_id"].as_str().unwrap().to_owned();
    let copied = format!("sqlite://{}?mode=ro", copy.display());
    playground.run(&["task", "show", &id, "--database", &copied]).ends(0);
}
