//! Law 10 where restores meet restores, other people and a journal that has forgotten.

use serde_json::json;
use storm_index::index::{Access, Index, LeaseTerms, NewRecord, NewUser, Refresh};
use storm_index::model::{ObjectFacts, Timestamp};
use uuid::Uuid;

use crate::support::database::{self, TestDatabase, column};
use crate::support::look::Unasked;
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::skip;

/// User 1 with some files, in step.
fn with_files(names: &[&str]) -> Playground {
    let playground = Playground::with_user();
    for name in names {
        playground.write(&format!("1/{name}"), name);
    }
    sync(&playground);
    playground
}

fn task(ran: &Ran) -> String {
    ran.json()["task_id"].as_str().unwrap().to_owned()
}

fn sync(playground: &Playground) -> String {
    task(&playground.rebuild(&["--mode", "sync"]).ends(0))
}

fn full(playground: &Playground) -> String {
    task(&playground.rebuild(&["--mode", "full", "--force", "--max-delete", "100%"]).ends(0))
}

fn restore(playground: &Playground, task: &str, args: &[&str]) -> Ran {
    playground.run(&[&["restore", task, "--format", "json"], args].concat())
}

fn codes(ran: &Ran) -> Vec<String> {
    let errors = ran.result()["errors"].clone();
    errors.as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap().to_owned()).collect()
}

fn rename(playground: &Playground, from: &str, to: &str) {
    let files = playground.path("files");
    std::fs::rename(files.join(from), files.join(to)).unwrap();
}

/// A record that the task deleted, and that is there again, has moved to where another one of the task was.
#[test]
fn law_10_no_record_of_a_task_is_taken_for_a_newer_one() {
    let playground = with_files(&["a", "b", "k"]);
    playground.remove("1/a");
    playground.remove("1/b");
    let deleted = full(&playground);
    restore(&playground, &deleted, &[]).ends(0);
    playground.write("1/b", "a longer one");
    full(&playground);
    playground.share(1, "b");
    rename(&playground, "1/b", "1/a");
    full(&playground);
    assert_eq!(playground.paths(), ["1/a", "1/k"]);
    let before = playground.dump();
    for args in [&["--dry-run"][..], &[], &[]] {
        let ran = restore(&playground, &deleted, args).ends(4);
        assert_eq!((codes(&ran), playground.dump()), (vec!["path_held".to_owned()], before.clone()), "{args:?}");
    }
}

/// What a restore had brought back tells nothing of the file to which a record goes back.
#[test]
fn law_10_a_restore_that_is_undone_leaves_each_record_the_facts_of_its_own_file() {
    let playground = with_files(&["p", "q", "k"]);
    playground.write("1/p", &"x".repeat(100));
    sync(&playground);
    let modified = std::fs::metadata(playground.path("files/1/q")).unwrap().modified().unwrap();
    std::fs::rename(playground.path("files/1/p"), playground.path("away")).unwrap();
    playground.write("1/q", "five!");
    let changed = full(&playground);
    rename(&playground, "1/q", "1/p");
    sync(&playground);
    playground.share(1, "p");
    let before = playground.dump();
    let restored = task(&restore(&playground, &changed, &[]).ends(0));
    assert_ne!(playground.dump(), before);
    // The file of the record at `q` is at `p`, with the content that the record has now.
    playground.write("1/p", "q");
    std::fs::File::options().write(true).open(playground.path("files/1/p")).unwrap().set_modified(modified).unwrap();
    restore(&playground, &restored, &[]).ends(0);
    assert_eq!(playground.dump(), before);
}

/// A user of the same id is the same person only when nobody with another prefix was there between.
#[test]
fn law_10_what_was_one_users_is_never_another_ones() {
    let add = |playground: &Playground, name: &str, prefix: &str| {
        playground.run(&["user", "add", name, "--id", "5", "--prefix", prefix]).ends(0);
    };
    let remove = |playground: &Playground, name: &str| {
        playground.run(&["user", "remove", name]).ends(0);
    };
    let with_five = || {
        let playground = Playground::new();
        add(&playground, "five", "A");
        playground.write("A/secret", "x");
        playground.write("A/k", "k");
        sync(&playground);
        playground.remove("A/secret");
        let deleted = full(&playground);
        (playground, deleted)
    };
    let gone = |playground: &Playground, deleted: &str| {
        for args in [&["--dry-run"][..], &[]] {
            assert_eq!(codes(&restore(playground, deleted, args).ends(4)), ["user_gone"], "{args:?}");
        }
        assert_eq!(playground.paths(), [""; 0]);
    };
    // Another one, who was there twice.
    let (playground, deleted) = with_five();
    remove(&playground, "five");
    add(&playground, "bob", "B");
    gone(&playground, &deleted);
    remove(&playground, "bob");
    add(&playground, "bob", "B");
    gone(&playground, &deleted);
    // And the same one, after all.
    remove(&playground, "bob");
    add(&playground, "five", "A");
    restore(&playground, &deleted, &[]).ends(0);
    assert_eq!(playground.paths(), ["5/secret"]);

    // Another one, who is older than the run.
    let other = Playground::new();
    add(&other, "bob", "B");
    let export = other.path("people.ndjson");
    other.run(&["index", "export", export.to_str().unwrap()]).ends(0);
    let (playground, deleted) = with_five();
    remove(&playground, "five");
    playground.run(&["index", "import", export.to_str().unwrap()]).ends(0);
    gone(&playground, &deleted);

    // Who was never away stays who they are.
    let (playground, deleted) = with_five();
    playground.run(&["user", "rename", "five", "fifth"]).ends(0);
    restore(&playground, &deleted, &[]).ends(0);
    assert_eq!(playground.paths(), ["5/k", "5/secret"]);
}

#[test]
fn law_10_what_the_journal_has_forgotten_is_told() {
    let playground = with_files(&["a", "b", "c", "d"]);
    playground.remove("1/a");
    let dead = full(&playground);
    playground.remove("1/b");
    playground.remove("1/c");
    let deleted = full(&playground);
    let restored = task(&restore(&playground, &deleted, &[]).ends(0));
    // One that died has left no numbers, but all its lines.
    playground.sql(&format!("UPDATE tasks SET status = 'FAILED', result = NULL WHERE id = '{dead}'"));
    restore(&playground, &dead, &[]).ends(0);
    let empty = task(&playground.rebuild(&["--mode", "sync"]).ends(0));
    playground.rebuild(&["--mode", "sync", "--journal-keep", "0"]).ends(0);
    let later = sync(&playground);
    playground.sql(&format!("UPDATE tasks SET status = 'FAILED', result = NULL WHERE id = '{later}'"));
    for _ in 0..2 {
        for of in [&deleted, &restored, &dead] {
            let ran = restore(&playground, of, &["--dry-run"]).ends(4);
            assert_eq!(codes(&ran), ["journal_trimmed"], "{ran:?}");
        }
        for of in [&empty, &later] {
            restore(&playground, of, &["--dry-run"]).ends(0);
        }
        // It goes on forgetting, and knows that it does.
        playground.rebuild(&["--mode", "sync", "--journal-keep", "0"]).ends(0);
    }
}

#[test]
fn law_10_that_a_task_still_runs_is_told() {
    let playground = with_files(&["a", "b"]);
    playground.remove("1/a");
    let deleted = full(&playground);
    let told = || playground.run(&["restore", &deleted, "--dry-run"]).ends(0).err;
    assert_eq!(told(), "");
    playground.sql(&format!("UPDATE tasks SET status = 'RUNNING' WHERE id = '{deleted}'"));
    let told = told();
    assert!(told.lines().count() == 1 && told.contains(&deleted) && told.contains("still runs"), "{told}");
}

/// So many that the server, which knows nothing yet of the journal, would rather read all of it each time. What was read is
/// counted, not timed.
#[test]
fn law_10_a_restore_reads_no_more_than_a_few_rows_a_line() {
    if skip::unless_on_postgres() {
        return;
    }
    let lines = 32_000;
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
        let other = database.connect().await;
        database::execute(&other, "ALTER TABLE journal SET (autovacuum_enabled = false)").await;
        let object = |n: usize, size| ObjectFacts {
            key: format!("1/f{n:05}"),
            size,
            last_modified: Timestamp::from_micros(1_700_000_000_123_456),
            etag: Some("t".into()),
            file_id: None,
            device: None,
            linked: false,
        };
        let creates: Vec<NewRecord> = (0..lines)
            .map(|n| NewRecord { user: 1, object: object(n, 1), path_at: 2, content_type: "text/plain", first: true })
            .collect();
        index.writer().unwrap().write(&creates, &[]).await.unwrap();
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
        let mut pages = index.records(vec![1]);
        while let Some(page) = pages.next().await.unwrap() {
            let refreshes: Vec<Refresh> = (0..page.len())
                .map(|at| Refresh {
                    path_at: 2,
                    id: page.get(at).id,
                    object: object(at, 2),
                    content_type: "text/plain",
                    version: page.get(at).version.to_vec(),
                })
                .collect();
            lease.writer().write(&[], &refreshes).await.unwrap();
        }
        lease.release().await;
        let report = index.restore(&task.to_string(), true, LeaseTerms::default(), &mut Unasked).await.unwrap();
        assert_eq!(report.tally.records_restored, lines as u64);
        index.close().await;
        // What a session has read is written down when it has ended.
        let alone = "SELECT 'alone' WHERE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                     AND pid <> pg_backend_pid())";
        while column(&other, alone).await.is_empty() {
            tokio::task::yield_now().await;
        }
        let read = "SELECT CAST(sum(idx_tup_read) AS text) FROM pg_stat_user_indexes WHERE relname = 'journal'";
        let read: usize = column(&other, read).await[0].parse().unwrap();
        assert!(read < 20 * lines, "{read} entries were read for {lines} lines");
    });
}
