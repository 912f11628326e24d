//! The laws that one picture shows better than a thousand worlds; each is named after its law.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sea_orm::ConnectionTrait as _;
use storm_index::index::{Access, Index, NewLink, NewUser};
use storm_index::model::{Identity, Order};
use storm_index::reconcile::{
    Evidence, Excludes, FindingKind, Mode, Observer, Progress, Reconciler, RefusalCode, Report, Request, Silent, Status,
};
use storm_index::storage::Storage;

use crate::support::backend::{Backend, Kind};
use crate::support::database::{self, TestDatabase, column, execute, on_postgres};
use crate::support::faults::{Fault, FaultStore};
use crate::support::playground::{Playground, block_on};

/// An index, and what it is in where that is not memory.
struct TestIndex(Index, #[expect(dead_code, reason = "the database goes with it")] Option<TestDatabase>);

impl std::ops::Deref for TestIndex {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.0
    }
}

async fn index_of(prefixes: &[&str]) -> TestIndex {
    let database = database::on_postgres().then(TestDatabase::fresh);
    let url = database.as_ref().map_or_else(|| "sqlite::memory:".to_owned(), TestDatabase::url);
    let index = TestIndex(Index::open(&url, Access::Write).await.unwrap(), database);
    for (n, prefix) in prefixes.iter().enumerate() {
        let new = NewUser { name: format!("u{n}"), id: None, prefix: Some((*prefix).to_owned()) };
        index.add_user(new).await.unwrap();
    }
    index
}

async fn memory_with(keys: impl IntoIterator<Item = String>) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    for key in keys {
        store.put(&Path::parse(key).unwrap(), "x".into()).await.unwrap();
    }
    store
}

async fn run(storage: &Storage, index: &Index, request: &Request) -> Report {
    Reconciler::new(storage, index).run(request, &mut Silent).await.unwrap()
}

fn forced(mode: Mode) -> Request {
    Request { force: true, ..Request::new(mode) }
}

#[test]
fn law_03_without_force_nothing_changes_and_it_says_why() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    playground.remove("1/a");
    let before = playground.dump();
    for mode in ["clean", "full"] {
        playground.rebuild(&["--mode", mode]).ends(2).complains(&["--force", mode]);
        assert_eq!(playground.dump(), before);
    }
    playground.clean();
    assert_eq!(playground.paths(), [""; 0]);
}

/// What a listing that goes wrong at some place may still clean.
#[test]
fn law_06_a_distorted_listing_cleans_only_what_it_cannot_hide() {
    let keys = || (1..=3).flat_map(|u| (0..4).map(move |n| format!("{u}/f{n}")));
    for (fault, deleted, incomplete, status) in [
        // Each user has lost f0, and what stands before the last object that was listed is known to be gone.
        (Fault::FailAfter(0), 0, vec![1, 2, 3], Status::Failed),
        (Fault::FailAfter(2), 1, vec![1, 2, 3], Status::Successful),
        (Fault::FailAfter(3), 1, vec![1, 2, 3], Status::Successful),
        (Fault::FailAfter(5), 2, vec![2, 3], Status::Successful),
        (Fault::FailAfter(8), 3, vec![3], Status::Successful),
        // Where the listing went back, and nowhere else, nothing is believed before it comes to a new key.
        (Fault::Swap(0), 3, vec![1], Status::Successful),
        (Fault::Swap(1), 2, vec![1, 2], Status::Successful),
        (Fault::Swap(2), 2, vec![1, 2], Status::Successful),
        (Fault::Swap(7), 3, vec![3], Status::Successful),
        (Fault::Repeat(5), 2, vec![2, 3], Status::Successful),
        (Fault::Repeat(8), 3, vec![3], Status::Successful),
        (Fault::Circle(2), 1, vec![1, 2, 3], Status::Successful),
    ] {
        block_on(async {
            let index = index_of(&["1", "2", "3"]).await;
            let inner = memory_with(keys()).await;
            run(&Storage::new(Arc::clone(&inner) as Arc<dyn ObjectStore>), &index, &Request::new(Mode::Sync)).await;
            for user in 1..=3 {
                inner.delete(&Path::parse(format!("{user}/f0")).unwrap()).await.unwrap();
            }
            let storage =
                Storage::new(Arc::new(FaultStore { inner: Arc::clone(&inner), fault })).with_order(Order::Bytes);
            let report = run(&storage, &index, &forced(Mode::Full)).await;
            assert_eq!((report.tally.deleted, report.status), (deleted, status), "{fault:?} {report:?}");
            assert_eq!(
                (report.tally.orphaned, report.tally.skipped),
                (deleted, 0),
                "what is not known is no orphan, {fault:?}"
            );
            assert_eq!(report.incomplete_users, incomplete, "{fault:?}");
            assert!(!report.problems.is_empty(), "{fault:?}");
            assert_eq!(report.tally.records, 12, "all records are counted, {fault:?}");
            // On a sound storage the next run ends the work.
            let sound = Storage::new(inner as Arc<dyn ObjectStore>);
            let report = run(&sound, &index, &forced(Mode::Full)).await;
            assert_eq!((report.tally.deleted, report.tally.created), (3 - deleted, 0), "{fault:?}");
        });
    }
}

/// The database refuses also where a program has not asked for foreign keys; a link that lost its record all the same, by a
/// program that takes the refusal away, is told.
#[test]
fn law_02_the_database_itself_refuses_whoever_deletes() {
    let playground = Playground::with_user();
    for name in ["a", "b"] {
        playground.write(&format!("1/{name}"), name);
    }
    playground.sync();
    let token = playground.share(1, "a");
    block_on(async {
        let db = playground.database().await;
        if !on_postgres() {
            execute(&db, "PRAGMA foreign_keys = OFF").await;
            assert_eq!(column(&db, "SELECT CAST(foreign_keys AS text) FROM pragma_foreign_keys").await, ["0"]);
        }
        for statement in ["DELETE FROM stored_files", "DELETE FROM stored_files WHERE path = 'a'", "DELETE FROM users"]
        {
            let error = db.execute_unprepared(statement).await.unwrap_err().to_string();
            assert!(error.to_lowercase().contains("foreign key") || error.contains("has records"), "{error}");
        }
        assert_eq!(column(&db, "SELECT path FROM stored_files ORDER BY path").await, ["a", "b"]);
        let lift = match on_postgres() {
            true => "ALTER TABLE share_links DROP CONSTRAINT share_links_stored_file_id",
            false => "DROP TRIGGER linked_files_stay",
        };
        execute(&db, lift).await;
        execute(&db, "DELETE FROM stored_files WHERE path = 'a'").await;
    });
    for args in [&["share", "list", "--show-tokens"][..], &["share", "list", "--dangling", "--show-tokens"]] {
        let links = playground.run(&[args, &["--format", "json"]].concat()).ends(0).json();
        assert_eq!(links[0]["token"], token.as_str(), "{links}");
        assert!(links[0]["path"].is_null() && links[0]["user_id"].is_null(), "{links}");
        let listed = playground.run(args).ends(0).out;
        assert!(listed.contains(&token) && listed.contains("its record is gone"), "{listed}");
    }
}

/// An object that the listing forgot without a word is saved by the look before the delete.
#[test]
fn law_09_what_the_listing_forgot_is_looked_for_again() {
    block_on(async {
        let index = index_of(&["1"]).await;
        let inner = memory_with((0..20).map(|n| format!("1/f{n:02}"))).await;
        run(&Storage::new(Arc::clone(&inner) as Arc<dyn ObjectStore>), &index, &Request::new(Mode::Sync)).await;
        inner.delete(&Path::parse("1/f03").unwrap()).await.unwrap();
        let storage = Storage::new(Arc::new(FaultStore { inner, fault: Fault::Forget(2, 8) }));
        let dry = run(&storage, &index, &Request { dry_run: true, ..Request::new(Mode::Clean) }).await;
        // A listing that lacks what is there, and still does when it is asked again, proves nothing of the one that is gone.
        assert_eq!((dry.tally.orphaned, dry.tally.deleted, dry.tally.skipped), (7, 0, 7));
        assert_eq!((dry.incomplete_users.as_slice(), dry.problems[0].code.as_str()), (&[1][..], "listing_wrong"));
        let real = run(&storage, &index, &forced(Mode::Clean)).await;
        assert_eq!(real.tally, dry.tally, "the looks are part of the dry run");
    });
}

#[test]
fn law_09_an_answer_that_is_not_not_found_keeps_the_record() {
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    for n in 0..5 {
        server.put(&format!("1/f{n}"), b"x");
    }
    block_on(async {
        let index = index_of(&["1"]).await;
        run(&backend.storage(), &index, &Request::new(Mode::Sync)).await;
        server.remove("1/f1");
        server.remove("1/f2");
        server.faults().refuse_head = Some("1/f1".to_owned());
        let report = run(&backend.storage(), &index, &forced(Mode::Clean)).await;
        assert_eq!((report.tally.orphaned, report.tally.deleted, report.tally.skipped), (2, 1, 1));
        assert_eq!((report.problems.len(), report.problems[0].code.as_str()), (1, "head_failed"));
        assert_eq!(report.problems[0].key.as_deref(), Some("1/f1"));
    });
}

/// A server that will not tell of one user's files has answered all the same: those of others are looked for.
#[test]
fn law_09_looks_that_are_refused_stop_no_others() {
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    for user in 1..=2 {
        for n in 0..100 {
            server.put(&format!("{user}/f{n:02}"), b"x");
        }
    }
    block_on(async {
        let index = index_of(&["1", "2"]).await;
        run(&backend.storage(), &index, &Request::new(Mode::Sync)).await;
        for n in 0..40 {
            server.remove(&format!("1/f{n:02}"));
            server.remove(&format!("2/f{n:02}"));
        }
        server.faults().refuse_heads_below = Some("1/".to_owned());
        let asked = server.faults().heads;
        let report = run(&backend.storage(), &index, &forced(Mode::Clean)).await;
        assert_eq!((report.tally.deleted, report.tally.skipped), (40, 40), "{:?}", report.problems);
        assert_eq!(server.faults().heads - asked, 80, "each was asked for");
        for problem in &report.problems {
            assert!(
                problem.message.contains("denied") && !problem.message.contains("stopped answering"),
                "{problem:?}"
            );
        }
    });
}

/// What could not be looked for has not been judged: it is measured by the next run as it was by the one before.
#[test]
fn law_08_looks_without_an_answer_settle_nothing() {
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    let old = |n: usize| format!("1/old{n:02}");
    for n in 0..40 {
        server.put(&old(n), format!("old {n}").as_bytes());
    }
    block_on(async {
        let index = index_of(&["1"]).await;
        run(&backend.storage(), &index, &Request::new(Mode::Sync)).await;
        for n in 0..40 {
            server.remove(&old(n));
            server.put(&format!("1/new{n:02}"), format!("new {n}").as_bytes());
        }
        let refused = async || {
            let report = run(&backend.storage(), &index, &forced(Mode::Full)).await;
            let message = report.refusal.unwrap().message;
            assert!(message.contains("40 of the 40"), "{message}");
            assert_eq!(report.tally.deleted, 0);
        };
        refused().await;
        // Some are back, so that it would not be all of them, but the server does not say what has become of the others.
        (0..3).for_each(|n| server.put(&old(n), format!("old {n}").as_bytes()));
        server.faults().refuse_heads_below = Some("1/".to_owned());
        let unanswered = run(&backend.storage(), &index, &forced(Mode::Full)).await;
        assert_eq!((unanswered.tally.deleted, unanswered.tally.skipped), (0, 37), "{unanswered:?}");
        server.faults().refuse_heads_below = None;
        (0..3).for_each(|n| server.remove(&old(n)));
        refused().await;
    });
}

#[test]
fn law_06_a_refused_page_on_s3_ends_in_doubt() {
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    for user in 1..=3 {
        for n in 0..900 {
            server.put(&format!("{user}/f{n:03}"), b"x");
        }
    }
    block_on(async {
        let index = index_of(&["1", "2", "3"]).await;
        run(&backend.storage(), &index, &Request::new(Mode::Sync)).await;
        for user in 1..=3 {
            server.remove(&format!("{user}/f500"));
        }
        let asked = server.faults().lists;
        server.faults().refuse_lists_from = Some(asked + 1);
        let report = run(&backend.storage().with_order(Order::Bytes), &index, &forced(Mode::Clean)).await;
        // One page of a thousand: user 1 is behind, user 2 is not.
        assert_eq!((report.tally.deleted, report.incomplete_users), (1, vec![2, 3]));
        assert_eq!(report.problems[0].code, "storage_refused", "{:?}", report.problems);
    });
}

/// An index that lies among the files that it is about comes to rest.
#[test]
fn law_01_the_index_itself_is_no_object() {
    let playground = Playground::new();
    let database = format!("sqlite://{}", playground.path("files/index.sqlite3").display());
    let run = |args: &[&str]| playground.run(&[args, &["--database", &database]].concat());
    run(&["user", "add", "all", "--prefix", ""]).ends(0);
    playground.write("a", "x");
    playground.write("index.sqlite3x", "x");
    let first = run(&["rebuild", "--mode", "full", "--force", "--format", "json"]).ends(0).result();
    assert_eq!(first["records_created"], 2);
    for _ in 0..2 {
        let again = run(&["rebuild", "--mode", "full", "--force", "--format", "json"]).ends(0).result();
        assert_eq!((&again["files_on_disk"], &again["records_updated"]), (&2.into(), &0.into()));
    }
    // A record of it, which an earlier version may have made, is an orphan like any other.
    let add = "INSERT INTO stored_files (user_id, path) VALUES (1, 'index.sqlite3')";
    block_on(async {
        database::execute(&database::open_file(&playground.path("files/index.sqlite3")).await, add).await;
    });
    let done = run(&["rebuild", "--mode", "full", "--force", "--format", "json"]).ends(0).result();
    assert_eq!((&done["records_deleted"], &done["records_skipped"]), (&1.into(), &0.into()));

    std::os::unix::fs::symlink("files/real.db", playground.path("linked.db")).unwrap();
    let database = format!("sqlite://{}", playground.path("linked.db").display());
    let run = |args: &[&str]| playground.run(&[args, &["--database", &database]].concat());
    run(&["user", "add", "all", "--prefix", ""]).ends(0);
    run(&["rebuild", "--mode", "sync"]).ends(0);
    run(&["rebuild"]).ends(0);
}

/// Law 14: entries that are no objects carry the listing on, wherever the records lie between them.
#[test]
fn law_14_bad_entries_without_an_object_are_not_kept() {
    let playground = Playground::with_user();
    playground.add_user("zoe", 9);
    std::fs::create_dir_all(playground.path("files/1")).unwrap();
    for n in 0..9_000 {
        std::os::unix::fs::symlink("nothing", playground.path(&format!("files/1/l{n:05}"))).unwrap();
    }
    let mut rows = Vec::new();
    for n in (0..9_000).step_by(100) {
        rows.push(format!("(1, 'l{n:05}')"));
        rows.push(format!("(1, 'l{n:05}x')"));
    }
    rows.push("(1, 'a')".into());
    rows.push("(1, 'z')".into());
    rows.push("(9, 'z')".into());
    playground.sql(&format!("INSERT INTO stored_files (user_id, path) VALUES {}", rows.join(",")));
    // None of these records has an object, so they are bound to nothing.
    let result = playground.rebuild(&[]).ends(3).result();
    let count = |key: &str| result[key].as_u64().unwrap();
    // A link hides the record of exactly its own key, and no other.
    assert_eq!((count("unindexable_on_disk"), count("orphaned_in_db")), (9_000, 93));
    assert_eq!((count("files_in_db"), count("users_scanned")), (183, 2));
}

/// The records of a dry run and of the real one are told in the same words.
#[test]
fn law_05_the_dry_run_has_the_findings_of_the_real_one() {
    let playground = Playground::with_user();
    for n in 0..30 {
        playground.write(&format!("1/d/f{n}"), "x");
    }
    playground.sync();
    for n in 0..8 {
        playground.remove(&format!("1/d/f{n}"));
        playground.write(&format!("1/d/new{n}"), "x");
        playground.write(&format!("1/d/f{}", n + 10), "changed");
    }
    playground.share(1, "d/f3");
    playground.write("unclaimed", "x");
    let report = |name: &str, args: &[&str], code| {
        let args = [&["--mode", "full", "--report", name], args].concat();
        let numbers = playground.rebuild(&args).ends(code).result();
        let mut lines: Vec<String> =
            std::fs::read_to_string(playground.path(name)).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        (numbers, lines)
    };
    let (mut dry, dry_lines) = report("dry.ndjson", &["--dry-run"], 1);
    let (real, real_lines) = report("real.ndjson", &["--force"], 0);
    assert_eq!(dry_lines, real_lines);
    assert_eq!(dry_lines.len(), 8 * 3 + 1);
    dry["dry_run"] = false.into();
    assert_eq!(dry, real);
    let (_, again) = report("again.ndjson", &["--force"], 0);
    assert_eq!(again.len(), 2, "the protected orphan and what nobody owns");
    let first: serde_json::Value = serde_json::from_str(&dry_lines[0]).unwrap();
    let mut keys: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["action", "index", "kind", "path", "reasons", "storage", "user_id"]);
}

/// A storage whose tags only count its writes says nothing of what a file is.
#[test]
fn law_11_a_count_of_writes_makes_no_move() {
    block_on(async {
        let index = index_of(&["1"]).await;
        let on = async |key: &str, mode| {
            let storage = Storage::new(memory_with([key.to_owned()]).await);
            let reconciler = Reconciler::new(&storage, &index).with_identity(Identity::None);
            reconciler.run(&Request::new(mode), &mut Silent).await.unwrap().tally
        };
        assert_eq!(on("1/a", Mode::Sync).await.created, 1);
        let tally = on("1/b", Mode::Sync).await;
        assert_eq!((tally.moved, tally.created, tally.orphaned), (0, 1, 1));
    });
}

/// A size that no index can write down would be stale for ever: it is told, and costs nobody else anything.
#[test]
fn law_01_an_object_larger_than_anything_is_left_alone() {
    block_on(async {
        let index = index_of(&["1"]).await;
        let inner = memory_with(["1/a", "1/b", "1/c"].map(str::to_owned)).await;
        run(&Storage::new(Arc::clone(&inner) as Arc<dyn ObjectStore>), &index, &Request::new(Mode::Sync)).await;
        inner.put(&Path::parse("1/d").unwrap(), "new".into()).await.unwrap();
        let storage = Storage::new(Arc::new(FaultStore { inner, fault: Fault::Inflate(1) }));
        for (created, mode) in [(1, Mode::Full), (0, Mode::Full), (0, Mode::Audit)] {
            let report = run(&storage, &index, &forced(mode)).await;
            let tally = report.tally;
            assert_eq!((tally.unindexable, tally.created, tally.updated, tally.deleted), (1, created, 0, 0));
            assert_eq!((tally.stale, tally.orphaned, report.problems.len()), (0, 0, 0), "{:?}", report.problems);
        }
    });
}

#[test]
fn min_age_keeps_young_orphans() {
    block_on(async {
        let index = index_of(&["1"]).await;
        let store = memory_with(["1/a".to_owned(), "1/b".to_owned()]).await;
        let storage = Storage::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        run(&storage, &index, &Request::new(Mode::Sync)).await;
        store.delete(&Path::parse("1/a").unwrap()).await.unwrap();
        let aged = Request { min_age: Duration::from_secs(3_600), ..forced(Mode::Clean) };
        let report = run(&storage, &index, &aged).await;
        assert_eq!((report.tally.deleted, report.tally.skipped), (0, 1));
        let report = run(&storage, &index, &forced(Mode::Clean)).await;
        assert_eq!((report.tally.deleted, report.tally.skipped), (1, 0));
    });
}

#[test]
fn adoption_rebuilds_a_lost_index_from_the_storage_alone() {
    block_on(async {
        let index = index_of(&["teams/alpha"]).await;
        let keys = [
            "7/a",
            "7/b",
            " /blank",
            "zed/x",
            "1a/y",
            "30/z",
            "loose",
            "teams/alpha/t",
            "teams/beta/u",
            ".storm-index/another.json",
        ];
        let store = memory_with(keys.map(str::to_owned)).await;
        let storage = Storage::new(store);
        let adopting = |mode, dry_run| Request { adopt: true, dry_run, ..Request::new(mode) };
        let audit = run(&storage, &index, &adopting(Mode::Audit, false)).await.tally;
        let dry = run(&storage, &index, &adopting(Mode::Sync, true)).await.tally;
        assert_eq!(index.users().await.unwrap().len(), 1, "audit and dry run only count");
        let real = run(&storage, &index, &adopting(Mode::Sync, false)).await.tally;
        assert_eq!(real, dry);
        assert_eq!((audit.users_adopted, audit.missing, audit.unclaimed, audit.created), (4, 6, 3, 0));
        assert_eq!((real.users_adopted, real.created, real.unclaimed, real.users_scanned), (4, 6, 3, 5));
        let users = index.users().await.unwrap();
        let users: Vec<(i64, &str, &str)> = users.iter().map(|u| (u.id, u.name.as_str(), u.prefix.as_str())).collect();
        assert_eq!(
            users,
            [(1, "u0", "teams/alpha"), (7, "7", "7"), (30, "30", "30"), (31, "1a", "1a"), (32, "zed", "zed")]
        );
        let again = run(&storage, &index, &adopting(Mode::Sync, false)).await.tally;
        assert_eq!((again.users_adopted, again.created, again.missing), (0, 0, 0));
    });
}

/// A folder that has no object to be adopted is in nobody's way, whatever it is called.
#[test]
fn adoption_fails_for_no_folder_without_objects() {
    let playground = Playground::new();
    playground.add_user("ann", 1);
    playground.run(&["user", "add", "bob", "--id", "2", "--prefix", "b"]).ends(0);
    playground.write("7/a", "x");
    for folder in ["ann/deep/er", "2"] {
        std::fs::create_dir_all(playground.path("files").join(folder)).unwrap();
    }
    playground.write("ann/.DS_Store", "x");
    let adopt = |more: &[&str]| playground.rebuild(&[&["--mode", "sync", "--adopt"], more].concat());
    adopt(&[]).ends(2);
    assert_eq!(adopt(&["--exclude-noise"]).ends(0).result()["users_adopted"], 1);
    playground.remove("ann/.DS_Store");
    adopt(&[]).ends(0);
    playground.write("2/c/d", "x");
    let taken = adopt(&[]).ends(2);
    assert!(taken.err.contains("\"2\"") && taken.err.contains("\"b\""), "{taken:?}");
}

/// Remembers whose each finding is.
#[derive(Default)]
struct Owners(Vec<(Option<i64>, String)>);

impl Observer for Owners {
    fn wants(&self, _kind: FindingKind) -> bool {
        true
    }

    fn finding(&mut self, evidence: &Evidence) {
        self.0.push((evidence.user_id, evidence.path.clone()));
    }

    fn progress(&mut self, _progress: Progress) {}
}

/// Folders without objects are met on a disk and not in a bucket: they cost no id on either.
#[test]
fn adoption_gives_the_same_ids_on_every_storage() {
    for kind in [Kind::Memory, Kind::Disk, Kind::FakeS3] {
        let backend = Backend::new(kind);
        block_on(async {
            if let Backend::Disk(root) = &backend {
                for folder in ["beta/deep", "lost+found"] {
                    std::fs::create_dir_all(root.path().join(folder)).unwrap();
                }
            }
            for key in ["alpha/x", "zeta/y", "2/z", "left out/t.tmp"] {
                backend.put(key, b"x").await;
            }
            let storage = backend.storage();
            let index = index_of(&[]).await;
            let exclude = Excludes::parse(vec!["*.tmp".to_owned()]).unwrap();
            let request = Request { adopt: true, exclude, ..Request::new(Mode::Sync) };
            let mut dry = Owners::default();
            Reconciler::new(&storage, &index)
                .run(&Request { dry_run: true, ..request.clone() }, &mut dry)
                .await
                .unwrap();
            let mut real = Owners::default();
            Reconciler::new(&storage, &index).run(&request, &mut real).await.unwrap();
            assert_eq!(dry.0, real.0, "{kind:?}");
            let users = index.users().await.unwrap();
            let users: Vec<(i64, &str)> = users.iter().map(|u| (u.id, u.name.as_str())).collect();
            assert_eq!(users, [(2, "2"), (3, "alpha"), (4, "zeta")], "{kind:?}");
        });
    }
}

/// Law 14 where it can be seen without a clock or a meter: no finding is kept that nobody wants, and problems are capped.
#[test]
fn law_14_a_hundred_thousand_findings_leave_a_small_report() {
    struct Count(u64);
    impl Observer for Count {
        fn wants(&self, _: FindingKind) -> bool {
            true
        }
        fn finding(&mut self, _: &Evidence) {
            self.0 += 1;
        }
        fn progress(&mut self, _: Progress) {}
    }
    block_on(async {
        let index = index_of(&["1"]).await;
        let store = memory_with((0..20_000).map(|n| format!("1/d{}/f{n}", n % 7))).await;
        let storage = Storage::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let mut count = Count(0);
        let report = Reconciler::new(&storage, &index).run(&Request::new(Mode::Sync), &mut count).await.unwrap();
        assert_eq!((count.0, report.tally.created, report.problems.len()), (20_000, 20_000, 0));
        let empty = Storage::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        for n in 0..20_000 {
            store.delete(&Path::parse(format!("1/d{}/f{n}", n % 7)).unwrap()).await.unwrap();
        }
        let report = run(&empty, &index, &forced(Mode::Clean)).await;
        assert_eq!(report.refusal.unwrap().code, RefusalCode::TooManyDeletions);
        let all = Request { max_delete: Some("100%".parse().unwrap()), ..forced(Mode::Clean) };
        assert_eq!(run(&empty, &index, &all).await.tally.deleted, 20_000);
    });
}

/// The look protects a file, the version protects a record, the link protects both.
#[test]
fn one_user_and_the_whole_storage() {
    block_on(async {
        let index = index_of(&[""]).await;
        let store = memory_with(["a", "b/c", ".storm-index/another.json"].map(str::to_owned)).await;
        let storage = Storage::new(store);
        let report = run(&storage, &index, &Request::new(Mode::Sync)).await;
        assert_eq!((report.tally.created, report.tally.unclaimed), (2, 0));
        let beside = NewUser { name: "x".into(), id: None, prefix: Some("b".into()) };
        assert!(index.add_user(beside).await.is_err(), "the whole storage has one owner");
        let link = NewLink { user: 1, path: "b/c".into(), token: "t".into(), expires_at: None };
        index.create_link(link).await.unwrap();
        assert!(index.remove_user("u0").await.is_err(), "an active link would be lost");
        index.revoke_link("t").await.unwrap();
        index.remove_user("u0").await.unwrap();
        assert!(index.users().await.unwrap().is_empty());
    });
}

/// One user's run leaves the others alone, and lists that prefix only.
#[test]
fn a_user_filter_stays_within_the_user() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    for key in ["1/a", "2/a", "loose"] {
        playground.write(key, "x");
    }
    let result = playground.rebuild(&["--mode", "sync", "--user-id", "2"]).ends(0).result();
    let numbers = ["users_scanned", "files_on_disk", "records_created", "unclaimed_on_disk"].map(|k| result[k].clone());
    assert_eq!(numbers, [1, 1, 1, 0].map(serde_json::Value::from));
    assert_eq!(playground.paths(), ["2/a"]);
}

/// A link to itself or out of the prefix is no object and hides nothing but its own name: what has records below it is gone.
/// Where one leads to nothing within the prefix, a file system may be missing there: only what is seen elsewhere goes on.
#[test]
fn law_06_a_broken_link_hides_what_was_below_it() {
    let cases = [
        ("album", 0, &["1/b", "1/other"][..]),
        ("/no/such/mount", 0, &["1/b", "1/other"]),
        ("no/such/folder", 4, &["1/album/a", "1/b", "1/other"]),
    ];
    for (target, exit, paths) in cases {
        let playground = Playground::with_user();
        for key in ["1/album/a", "1/album/b", "1/other", "1/gone"] {
            playground.write(key, "x");
        }
        playground.sync();
        playground.remove("1/gone");
        std::fs::rename(playground.path("files/1/album/b"), playground.path("files/1/b")).unwrap();
        std::fs::remove_dir_all(playground.path("files/1/album")).unwrap();
        std::os::unix::fs::symlink(target, playground.path("files/1/album")).unwrap();
        let result = playground.rebuild(&["--mode", "full", "--force"]).ends(exit).result();
        assert_eq!((&result["records_moved"], &result["unindexable_on_disk"]), (&1.into(), &1.into()), "{result}");
        assert_eq!(playground.paths(), paths, "{target}: {result}");
        playground.rebuild(&[]).ends(exit);
    }
}
