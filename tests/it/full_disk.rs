//! Law 13: a disk that fills up, or that can only be read, costs no record and no link.
//!
//! The index is a SQLite file on a small tmpfs, in the test of PostgreSQL as well: a server's disk is the server's affair.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::database;
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::skip;

/// A tmpfs of its own with an index on it.
struct Small {
    playground: Playground,
    mount: PathBuf,
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a test that failed may still have a file open.
        self.run_mount("umount", &["--lazy"]);
    }
}

impl Small {
    /// `None`, and the test counts as skipped, for users who may not mount.
    fn new(size: &str) -> Option<Self> {
        if skip::unless_root("mounting") {
            return None;
        }
        let playground = Playground::new();
        let mount = playground.path("small");
        std::fs::create_dir(&mount).unwrap();
        let small = Self { playground, mount };
        small.run_mount("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        small.playground.run(&["user", "add", "ann", "--id", "1", "--database", &small.url()]).ends(0);
        Some(small)
    }

    #[track_caller]
    fn run_mount(&self, program: &str, args: &[&str]) {
        let done = Command::new(program).args(args).arg(&self.mount).status().unwrap();
        assert!(done.success(), "{program} {args:?}");
    }

    fn remount(&self, options: &str) {
        self.run_mount("mount", &["-o", &format!("remount,{options}")]);
    }

    /// Leaves so much room and no more.
    fn leave(&self, kib: u64) {
        let used: u64 = std::fs::read_dir(&self.mount)
            .unwrap()
            .map(|entry| std::os::unix::fs::MetadataExt::blocks(&entry.unwrap().metadata().unwrap()) / 2)
            .sum();
        self.remount(&format!("size={}k", used + kib));
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.mount.join("i.sqlite3").display())
    }

    fn run(&self, args: &[&str]) -> Ran {
        // Nor is there room for a sign of life, of which a run that takes long would say so in a line of its own.
        self.playground.run(&[args, &["--database", &self.url(), "--lease-expiry", "1h"]].concat())
    }

    fn rebuild(&self, args: &[&str]) -> Ran {
        self.run(&[&["rebuild", "--format", "json"], args].concat())
    }

    fn restore(&self, task: &str) -> Ran {
        self.run(&["restore", task, "--format", "json"])
    }

    fn query(&self, query: &str) -> Vec<String> {
        block_on(async {
            let db = database::open_file(&self.mount.join("i.sqlite3")).await;
            let rows = database::column(&db, query).await;
            db.close().await.unwrap();
            rows
        })
    }

    /// Asserts that the file is sound and that no active link was lost; each belongs to a record that there is.
    #[track_caller]
    fn whole(&self, links: usize) {
        assert_eq!(self.query("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(self.query("PRAGMA foreign_key_check"), [""; 0]);
        let active =
            "SELECT token FROM share_links JOIN stored_files ON stored_files.id = stored_file_id WHERE is_active";
        assert_eq!(self.query(active).len(), links);
    }

    /// 6,000 files in step with the index; then 2,000 of them are renamed, 2,000 changed and 1,900 removed, and each
    /// twentieth of all was shared.
    fn drifted(&self) {
        for n in 0..6_000 {
            self.playground.write(&format!("1/{}/a-rather-long-file-name-{n}.txt", folder(n)), "x");
        }
        self.rebuild(&["--mode", "sync"]).ends(0);
        self.query(
            "INSERT INTO share_links (stored_file_id, token) SELECT id, 'live' || id FROM stored_files WHERE id % 20 = 0 \
             RETURNING ''",
        );
        let files = self.playground.path("files/1");
        std::fs::rename(files.join("renamed"), files.join("new")).unwrap();
        for n in 0..6_000 {
            match folder(n) {
                "changed" => self.playground.write(&format!("1/changed/a-rather-long-file-name-{n}.txt"), "longer"),
                "removed" => self.playground.remove(&format!("1/removed/a-rather-long-file-name-{n}.txt")),
                _ => {}
            }
        }
    }

    fn index(&self) -> Vec<String> {
        self.query("SELECT id || ' ' || path || ' ' || size || ' ' || coalesce(etag, '') FROM stored_files ORDER BY id")
    }
}

fn folder(n: usize) -> &'static str {
    ["renamed", "changed", "removed"][n % 3]
}

/// Asserts that it failed with one line that has a word in it.
#[track_caller]
fn fails(ran: &Ran, word: &str) {
    assert_eq!((ran.code, ran.err.lines().count()), (4, 1), "{ran:?}");
    assert!(ran.err.contains(word), "{word:?} is not in {ran:?}");
}

const FULL: [&str; 5] = ["--mode", "full", "--force", "--max-delete", "100%"];

#[test]
fn law_13_a_disk_that_fills_during_sync() {
    if skip::unless_on_sqlite() {
        return;
    }
    let Some(small) = Small::new("6m") else { return };
    for n in 0..30_000 {
        small.playground.write(&format!("1/a-rather-long-folder-name-{}/and-a-long-file-name-{n}.txt", n % 50), "");
    }
    let ran = small.rebuild(&["--mode", "sync"]);
    fails(&ran, "disk");
    small.whole(0);
    let created = &ran.result()["records_created"];
    assert_eq!(&small.rebuild(&[]).ends(1).result()["files_in_db"], created, "what is counted is there");
    assert_ne!(created, &json!(0), "the disk was full before it began");
    small.remount("size=64m");
    small.rebuild(&["--mode", "sync"]).ends(0);
    assert_eq!(small.rebuild(&[]).ends(0).result()["files_in_db"], 30_000);
}

/// Counts are what was committed, no link goes, and with more room the same command comes to the same end.
#[test]
fn law_13_a_disk_that_fills_during_full_and_during_restore() {
    if skip::unless_on_sqlite() {
        return;
    }
    let Some(small) = Small::new("64m") else { return };
    small.drifted();
    let before = small.index();
    let mut failed = 0;
    // From "not even the task fits" to "the last batch does not".
    for room in [0, 32, 128, 400, 800, 1_200] {
        small.leave(room);
        let ran = small.rebuild(&FULL);
        small.remount("size=64m");
        small.whole(300);
        if ran.code == 0 {
            break;
        }
        failed += 1;
        fails(&ran, "disk");
    }
    assert!(failed >= 3, "only {failed} of the runs had too little room");
    let full = small.rebuild(&FULL).ends(0);
    // 100 of the removed ones are kept by their links.
    small.whole(300);
    assert_eq!(small.query("SELECT CAST(count(*) AS TEXT) FROM stored_files"), ["4100"]);

    // Newest first, until the index is what it was.
    let mut tasks = small.query("SELECT id FROM tasks ORDER BY id DESC");
    tasks.pop();
    assert_eq!(Value::from(tasks[0].as_str()), full.json()["task_id"]);
    let mut failed = 0;
    for task in &tasks {
        for room in [0, 32, 128, 400, 800] {
            small.leave(room);
            let ran = small.restore(task);
            small.remount("size=64m");
            small.whole(300);
            if ran.code == 0 {
                break;
            }
            failed += 1;
            fails(&ran, "disk");
        }
        small.restore(task).ends(0);
    }
    assert!(failed >= 3, "only {failed} of the restores had too little room");
    assert_eq!(small.index(), before);
}

/// Some findings would look like all of them.
#[test]
fn findings_that_found_no_room_are_none() {
    if skip::unless_on_sqlite() {
        return;
    }
    let Some(small) = Small::new("64m") else { return };
    let playground = &small.playground;
    playground.add_user("ann", 1);
    for n in 0..2_000 {
        playground.write(&format!("1/a-rather-long-file-name-{n}.txt"), "");
    }
    let key = playground.admin_key();
    let server = playground.serve(&["--findings", small.mount.to_str().unwrap()]);
    small.leave(16);
    let answer = server.rebuild(&key, &[], r#"{"mode": "audit"}"#).is(200).json();
    assert_eq!(answer["result"]["missing_in_db"], 2_000);
    let findings = format!("/api/v1/index/tasks/{}/findings", answer["task_id"].as_str().unwrap());
    server.get(&findings, &key).problem(404, "findings_gone");
}

/// What only reads works on a medium that can only be read; what would write says so, and nothing is different after.
#[test]
fn law_13_a_disk_that_can_only_be_read() {
    if skip::unless_on_sqlite() {
        return;
    }
    let Some(small) = Small::new("64m") else { return };
    small.drifted();
    let before = small.index();
    let task = small.query("SELECT id FROM tasks LIMIT 1").remove(0);
    small.remount("ro");
    let audit = small.rebuild(&[]).ends(1).result();
    assert_eq!([&audit["moved_in_db"], &audit["orphaned_in_db"], &audit["stale_in_db"]], [&json!(2_000); 3]);
    let dry = small.rebuild(&[&FULL[..], &["--dry-run"]].concat()).ends(1).result();
    assert_eq!(dry["orphaned_in_db"], 2_000);
    for args in [
        &["explain", "--user-id", "1", "new/a-rather-long-file-name-0.txt"][..],
        &["storage", "status"],
        &["share", "list"],
        &["share", "list", "--dangling"],
        &["user", "list"],
        &["task", "list"],
        &["task", "show", &task],
        &["restore", &task, "--dry-run"],
        &["index", "export", small.playground.path("people.ndjson").to_str().unwrap()],
    ] {
        small.run(args).ends(0);
    }
    for args in [
        &["rebuild", "--mode", "sync"][..],
        &["rebuild", "--mode", "full", "--force", "--max-delete", "100%"],
        &["restore", &task],
        &["storage", "bind", "--force"],
        &["user", "add", "bob"],
        &["index", "import", small.playground.path("people.ndjson").to_str().unwrap()],
    ] {
        fails(&small.run(args), "whether the disk can be written");
    }
    small.remount("rw");
    assert_eq!(small.index(), before);
    small.whole(300);
}
