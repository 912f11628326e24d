//! Law 7: the right storage, or none.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::{Value, json};
use storm_index::index::{Access, Index, NewUser};
use storm_index::model::{Timestamp, UnreadableMarker};
use storm_index::reconcile::{
    Action, Evidence, FindingKind, Mode, Observer, Progress, Reconciler, RefusalCode, Report, Request, Silent, Status,
    Tally,
};
use storm_index::storage::{MARKER, MarkerState, Storage, marker_document};
use uuid::Uuid;

use crate::support::backend::{Backend, Kind};
use crate::support::database::{self, TestDatabase};
use crate::support::faults::{Fault, FaultStore};
use crate::support::markers::{Turn, TurningStore};
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::s3::S3Server;

fn forced(mode: Mode) -> Request {
    Request { force: true, ..Request::new(mode) }
}

async fn run(storage: &Storage, index: &Index, request: &Request) -> Report {
    Reconciler::new(storage, index).run(request, &mut Silent).await.unwrap()
}

async fn index_in(database: &TestDatabase) -> Index {
    let index = Index::open(&database.url(), Access::Write).await.unwrap();
    index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
    index
}

fn code(report: &Report) -> Option<RefusalCode> {
    report.refusal.as_ref().map(|r| r.code)
}

/// Some files of user 1, in an index that is bound.
fn synced(files: usize) -> Playground {
    let playground = Playground::with_user();
    (0..files).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    playground.sync();
    playground
}

/// Has the index forget its storage, as if an earlier version had made it.
fn unbind(playground: &Playground) {
    playground.sql("UPDATE storage_binding SET storage_id = NULL, bound_at = NULL");
}

fn bound(playground: &Playground) -> Option<String> {
    let rows = async { database::rows(&playground.database().await, "SELECT storage_id FROM storage_binding").await };
    block_on(rows)[0][0].clone()
}

fn marker_id(playground: &Playground) -> Option<String> {
    let text = std::fs::read_to_string(playground.path("files").join(MARKER)).ok()?;
    Some(serde_json::from_str::<Value>(&text).ok()?["storage_id"].as_str()?.to_owned())
}

const EVERY_RUN: &[&[&str]] = &[
    &[],
    &["--mode", "sync"],
    &["--mode", "clean", "--force"],
    &["--mode", "full", "--force", "--max-delete", "100%"],
    &["--mode", "full", "--dry-run"],
    &["--mode", "full", "--force", "--user-id", "1"],
];

#[test]
fn law_07_an_unmounted_disk_refuses_every_run() {
    let playground = synced(3);
    let id = bound(&playground).unwrap();
    assert_eq!(marker_id(&playground).as_ref(), Some(&id));
    let before = playground.dump();
    std::fs::rename(playground.path("files"), playground.path("unmounted")).unwrap();
    std::fs::create_dir(playground.path("files")).unwrap();
    let refused_everywhere = |word: &str| {
        for args in EVERY_RUN {
            let ran = playground.rebuild(&[args, &["--report", "r.ndjson"][..]].concat()).ends(3);
            let (document, result) = (ran.json(), ran.result());
            assert_eq!(
                (&document["status"], &result["refusal"]["code"]),
                (&json!("SUCCESSFUL"), &json!("wrong_storage"))
            );
            let message = result["refusal"]["message"].as_str().unwrap();
            assert!(message.contains(&id) && message.contains(word) && message.contains("bind --force"), "{message}");
            // Nothing was listed, hence nothing counted or found.
            for key in ["files_on_disk", "files_in_db", "missing_in_db", "orphaned_in_db", "records_created"] {
                assert_eq!(result[key], 0, "{key} {args:?}");
            }
            assert_eq!(std::fs::read_to_string(playground.path("r.ndjson")).unwrap(), "");
        }
        assert_eq!((playground.dump(), bound(&playground)), (before.clone(), Some(id.clone())));
    };
    refused_everywhere("mounted");
    assert_eq!(std::fs::read_dir(playground.path("files")).unwrap().count(), 0, "nothing was written there");
    // Another disk is no better than an empty one.
    let other = Uuid::now_v7();
    playground.write(MARKER, &marker_document(other, Timestamp::from_micros(0)));
    refused_everywhere(&other.to_string());
    std::fs::remove_dir_all(playground.path("files")).unwrap();
    std::fs::rename(playground.path("unmounted"), playground.path("files")).unwrap();
    playground.full();
}

#[test]
fn law_07_an_emptied_but_right_storage_is_truth() {
    let playground = synced(10);
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    assert_eq!(playground.clean()["records_deleted"], 10);
    // Within the limits of law 8.
    let playground = synced(11);
    std::fs::remove_dir_all(playground.path("files/1")).unwrap();
    let result = playground.refused(&forced(Mode::Clean));
    assert_eq!(result["refusal"]["code"], "too_many_deletions");
}

#[test]
fn law_07_on_every_storage() {
    for kind in [Kind::Memory, Kind::Disk, Kind::S3] {
        let (right, wrong) = (Backend::new(kind), Backend::new(kind));
        let (database, second) = (TestDatabase::fresh(), TestDatabase::fresh());
        block_on(async {
            let index = index_in(&database).await;
            for n in 0..3 {
                right.put(&format!("1/f{n}"), b"x").await;
            }
            let storage = right.storage();
            // Who only looks writes and binds nothing.
            for look in [Request::new(Mode::Audit), Request { dry_run: true, ..Request::new(Mode::Full) }] {
                let report = run(&storage, &index, &look).await;
                assert_eq!((code(&report), report.tally.missing), (None, 3), "{kind:?}");
                assert_eq!(index.binding().await.unwrap(), None);
                assert_eq!(storage.marker().read().await, MarkerState::Absent);
            }
            assert_eq!(run(&storage, &index, &Request::new(Mode::Sync)).await.tally.created, 3);
            let id = index.binding().await.unwrap().unwrap();
            assert_eq!(storage.marker().read().await, MarkerState::Found(id), "{kind:?}");

            let report = run(&wrong.storage(), &index, &forced(Mode::Full)).await;
            assert_eq!((code(&report), report.status), (Some(RefusalCode::WrongStorage), Status::Successful));
            assert_eq!(report.tally, Tally::default(), "{kind:?}");
            assert_eq!(wrong.storage().marker().read().await, MarkerState::Absent);

            // Another index shares the marker, and the marker is nobody's object.
            let other = index_in(&second).await;
            let report = run(&storage, &other, &Request::new(Mode::Sync)).await;
            assert_eq!((report.tally.created, report.tally.unclaimed), (3, 0), "{kind:?}");
            assert_eq!(other.binding().await.unwrap(), Some(id));
            right.remove("1/f0").await;
            for index in [&index, &other] {
                assert_eq!(run(&storage, index, &forced(Mode::Clean)).await.tally.deleted, 1, "{kind:?}");
            }

            // Without records, an index is about whatever comes.
            right.remove("1/f1").await;
            right.remove("1/f2").await;
            assert_eq!(run(&storage, &index, &forced(Mode::Clean)).await.tally.deleted, 2, "{kind:?}");
            assert_eq!(code(&run(&wrong.storage(), &index, &forced(Mode::Clean)).await), None);
            let id = index.binding().await.unwrap().unwrap();
            assert_eq!(wrong.storage().marker().read().await, MarkerState::Found(id), "{kind:?}");
            // What is no marker is not overwritten, with or without records.
            wrong.put(MARKER, b"damaged").await;
            for request in [Request::new(Mode::Sync), forced(Mode::Full), Request::new(Mode::Audit)] {
                let report = run(&wrong.storage(), &index, &request).await;
                assert_eq!((code(&report), report.status), (Some(RefusalCode::MarkerUnreadable), Status::Successful));
                assert_eq!(report.tally, Tally::default(), "{kind:?}");
            }
            let damaged = MarkerState::Damaged(UnreadableMarker::NoJson(7));
            assert_eq!(wrong.storage().marker().read().await, damaged, "{kind:?}");
            run(&storage, &index, &Request::new(Mode::Sync)).await;
            assert_eq!(storage.marker().read().await, MarkerState::Found(index.binding().await.unwrap().unwrap()));
        });
    }
}

#[test]
fn law_07_an_unbound_index_takes_the_storage_that_half_of_its_records_know() {
    for marked in [true, false] {
        let playground = synced(4);
        playground.write("1/extra", "x");
        let id = bound(&playground).unwrap();
        unbind(&playground);
        if !marked {
            std::fs::remove_dir_all(playground.path("files/.storm-index")).unwrap();
        }
        // Of another size it is another file; a record without a size knows it by its name.
        playground.write("1/f0", "changed");
        playground.write("1/f1", "changed");
        playground.sql("UPDATE stored_files SET size = NULL WHERE path = 'f1'");
        playground.remove("1/f2");
        playground.remove("1/f3");
        let before = playground.dump();
        for args in [&["--mode", "sync"][..], &["--mode", "full", "--force"], &["--mode", "full", "--dry-run"]] {
            let result = playground.rebuild(args).ends(3).result();
            assert_eq!((&result["refusal"]["code"], &result["files_in_db"]), (&json!("storage_unbound"), &json!(0)));
            let message = result["refusal"]["message"].as_str().unwrap();
            assert!(message.contains("1 of its 4 records") && message.contains("bind --force"), "{message}");
        }
        // An audit is told the same, and what there is to see.
        let result = playground.rebuild(&[]).ends(3).result();
        assert_eq!((&result["refusal"]["code"], &result["orphaned_in_db"]), (&json!("storage_unbound"), &json!(2)));
        assert_eq!((playground.dump(), bound(&playground), marker_id(&playground).is_some()), (before, None, marked));

        playground.write("1/f2", "x");
        let result = playground.drifted();
        assert_eq!(
            (&result["refusal"], &result["orphaned_in_db"], bound(&playground)),
            (&Value::Null, &json!(1), None)
        );
        playground.rebuild(&["--mode", "full", "--dry-run"]).ends(1);
        assert_eq!((bound(&playground), marker_id(&playground).is_some()), (None, marked));
        let result = playground.full();
        assert_eq!(result["records_deleted"], 1);
        let now = bound(&playground);
        assert_eq!((&now, now == Some(id)), (&marker_id(&playground), marked), "the id that is there is taken");
    }
}

/// The whole storage has to be the right one, whomever a run is for.
#[test]
fn law_07_a_run_for_one_user_is_proven_by_all_records() {
    for (lost, code, exit) in [("1/f", Value::Null, 0), ("2/f", json!("storage_unbound"), 3)] {
        let playground = Playground::with_user();
        playground.add_user("bob", 2);
        (0..2).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
        (0..3).for_each(|n| playground.write(&format!("2/f{n}"), "x"));
        playground.sync();
        unbind(&playground);
        let count = if lost == "1/f" { 2 } else { 3 };
        (0..count).for_each(|n| playground.remove(&format!("{lost}{n}")));
        let result = playground.rebuild(&["--mode", "clean", "--force", "--user-id", "1"]).ends(exit).result();
        assert_eq!(result["refusal"]["code"], code, "{lost} {result}");
        assert_eq!(result["records_deleted"], if exit == 0 { 2 } else { 0 });
    }
}

/// A listing that is not complete proves what it has shown, and nobody takes its silence for a wrong storage.
#[test]
fn law_07_an_incomplete_listing_proves_what_it_has_shown() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = index_in(&database).await;
        let inner = Arc::new(InMemory::new());
        for n in 0..4 {
            inner.put(&Path::parse(format!("1/f{n}")).unwrap(), "x".into()).await.unwrap();
        }
        run(&Storage::new(Arc::clone(&inner) as Arc<dyn ObjectStore>), &index, &Request::new(Mode::Sync)).await;
        let db = database.connect().await;
        database::execute(&db, "UPDATE storage_binding SET storage_id = NULL").await;
        let cut = |n| Storage::new(Arc::new(FaultStore { inner: Arc::clone(&inner), fault: Fault::FailAfter(n) }));
        let report = run(&cut(0), &index, &Request::new(Mode::Sync)).await;
        assert_eq!((report.status, code(&report), report.problems.len()), (Status::Failed, None, 1));
        let report = run(&cut(1), &index, &Request::new(Mode::Sync)).await;
        assert_eq!((code(&report), report.problems.len()), (Some(RefusalCode::StorageUnbound), 1));
        assert_eq!(index.binding().await.unwrap(), None);
        assert_eq!(code(&run(&cut(2), &index, &Request::new(Mode::Sync)).await), None);
        assert!(index.binding().await.unwrap().is_some());
    });
}

/// Takes down what becomes of orphans.
#[derive(Default)]
struct Fates {
    deleted: u64,
    left: u64,
}

impl Observer for Fates {
    fn wants(&self, kind: FindingKind) -> bool {
        kind == FindingKind::Orphaned
    }

    fn finding(&mut self, evidence: &Evidence) {
        match evidence.action {
            Action::Delete => self.deleted += 1,
            Action::None => self.left += 1,
            _ => panic!("{evidence:?}"),
        }
    }

    fn progress(&mut self, _: Progress) {}
}

#[test]
fn law_07_a_marker_that_turns_between_two_batches_ends_the_deleting() {
    let other = marker_document(Uuid::from_u128(7), Timestamp::from_micros(0));
    for turn in [Turn::Vanishes, Turn::Becomes(other), Turn::Becomes("{".into()), Turn::Fails] {
        let database = TestDatabase::fresh();
        block_on(async {
            let index = index_in(&database).await;
            let inner = Arc::new(InMemory::new());
            for n in 0..1_200 {
                inner.put(&Path::parse(format!("1/f{n:04}")).unwrap(), "x".into()).await.unwrap();
            }
            let good = Storage::new(Arc::clone(&inner) as Arc<dyn ObjectStore>);
            run(&good, &index, &Request::new(Mode::Sync)).await;
            for n in 0..1_200 {
                inner.delete(&Path::parse(format!("1/f{n:04}")).unwrap()).await.unwrap();
            }
            let all = Request { max_delete: Some("100%".parse().unwrap()), ..forced(Mode::Clean) };
            let dry = Request { dry_run: true, ..all.clone() };
            // One look before the run, one before each batch of five hundred.
            for (request, after, deleted) in [(&dry, 2, 500), (&dry, 1, 0), (&all, 1, 0), (&all, 2, 500)] {
                let turning = TurningStore::new(Arc::clone(&inner), turn.clone(), after);
                let (storage, mut fates) = (Storage::new(Arc::new(turning)), Fates::default());
                let report = Reconciler::new(&storage, &index).run(request, &mut fates).await.unwrap();
                assert_eq!((report.tally.deleted, report.tally.skipped), (deleted, 0), "{turn:?} {report:?}");
                assert_eq!((fates.deleted, fates.left), (deleted, 1_200 - deleted), "{turn:?}");
                let problems: Vec<&str> = report.problems.iter().map(|p| p.code.as_str()).collect();
                match turn {
                    Turn::Fails => assert_eq!((code(&report), problems), (None, vec!["marker_unreadable"])),
                    Turn::Becomes(ref text) if text == "{" => {
                        assert_eq!((code(&report), problems), (Some(RefusalCode::MarkerUnreadable), vec![]));
                    }
                    _ => assert_eq!((code(&report), problems), (Some(RefusalCode::WrongStorage), vec![]), "{turn:?}"),
                }
            }
            let db = database.connect().await;
            assert_eq!(database::column(&db, "SELECT CAST(count(*) AS TEXT) FROM stored_files").await, ["700"]);
            // Such a run has not ended well.
            assert_eq!(database::column(&db, "SELECT name FROM users WHERE unsettled_since IS NOT NULL").await, ["u"]);
            assert_eq!(run(&good, &index, &all).await.tally.deleted, 700);
        });
    }
}

#[test]
fn law_07_without_a_marker_each_user_proves_the_storage() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    for user in [1, 2] {
        (0..4).for_each(|n| playground.write(&format!("{user}/f{n}"), "x"));
    }
    let none = |args: &[&str]| playground.rebuild(&[args, &["--identity", "none"]].concat());
    none(&["--mode", "sync"]).ends(0);
    assert_eq!((bound(&playground), marker_id(&playground)), (None, None));
    (0..3).for_each(|n| playground.remove(&format!("1/f{n}")));
    (0..2).for_each(|n| playground.remove(&format!("2/f{n}")));
    playground.write("1/new", "x");
    let dry = none(&["--mode", "full", "--dry-run"]).ends(3).result();
    let real = none(&["--mode", "full", "--force"]).ends(3).result();
    for key in ["orphaned_in_db", "records_deleted", "records_skipped", "records_created", "refusal"] {
        assert_eq!(dry[key], real[key], "{key}");
    }
    assert_eq!((&real["records_deleted"], &real["records_created"]), (&json!(2), &json!(1)));
    assert_eq!(real["refusal"]["code"], "identity_unproven");
    assert!(real["refusal"]["message"].as_str().unwrap().contains("of user 1 it is 1 of 4"), "{real}");
    assert_eq!(playground.paths(), ["1/f0", "1/f1", "1/f2", "1/f3", "1/new", "2/f2", "2/f3"]);
    assert_eq!((bound(&playground), marker_id(&playground)), (None, None));

    // The same by the environment and by a file; a flag beats both.
    std::fs::write(playground.path("c.toml"), "identity = 'none'\n").unwrap();
    none(&["--config", "c.toml"]).ends(1);
    playground.rebuild(&["--config", "c.toml", "--mode", "clean", "--force"]).ends(3);
    let by_environment = |args: &[&str]| -> Ran {
        let mut command = playground.command();
        command.env("STORAGE_IDENTITY", "none").args(["rebuild", "--mode", "clean", "--force"]).args(args);
        command.output().unwrap().into()
    };
    assert!(by_environment(&[]).ends(3).err.contains("without a marker"));
    assert!(by_environment(&["--identity", "marker"]).ends(0).err.is_empty());
    assert!(marker_id(&playground).is_some());
    playground.rebuild(&["--identity", "both"]).ends(2);
}

/// What a run that was refused has added from a storage does not prove that the records are about it.
#[test]
fn law_07_additions_of_a_refused_run_prove_nothing() {
    let playground = Playground::with_user();
    (0..60).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    let none = |args: &[&str]| playground.rebuild(&[args, &["--identity", "none"]].concat());
    none(&["--mode", "sync"]).ends(0);
    // Another storage is there in its place.
    std::fs::rename(playground.path("files"), playground.path("elsewhere")).unwrap();
    playground.write("1/f0", "x");
    (0..70).for_each(|n| playground.write(&format!("1/new{n}"), "x"));
    for created in [70, 0, 0] {
        let refused = none(&["--mode", "full", "--force"]).ends(3).result();
        assert_eq!(
            (&refused["records_created"], &refused["records_deleted"], &refused["refusal"]["code"]),
            (&json!(created), &json!(0), &json!("identity_unproven")),
            "{refused}"
        );
    }
    assert_eq!(playground.paths().len(), 130);
}

/// A run with an S3 server, as the binary is told of it.
fn on_s3(playground: &Playground, server: &S3Server, args: &[&str]) -> Ran {
    let mut command = playground.command();
    command.env("STORAGE_URL", "s3://bucket").envs(server.env()).args(args);
    command.output().unwrap().into()
}

#[test]
fn law_07_a_marker_that_cannot_be_read_is_4() {
    let playground = Playground::with_user();
    let server = S3Server::start();
    server.put("1/a", b"x");
    let rebuild = |args: &[&str]| on_s3(&playground, &server, &[&["rebuild", "--format", "json"], args].concat());
    rebuild(&["--mode", "sync"]).ends(0);
    let (before, lists) = (playground.dump(), server.faults().lists);
    server.faults().refuse_gets = true;
    for args in EVERY_RUN {
        let ran = rebuild(args).ends(4);
        assert_eq!((&ran.json()["status"], ran.err.lines().count()), (&json!("FAILED"), 1), "{ran:?}");
        let error = &ran.result()["errors"][0];
        assert_eq!(error["code"], "storage_refused");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(MARKER) && message.contains("identity = \"none\""), "{message}");
    }
    assert_eq!((playground.dump(), server.faults().lists), (before, lists), "nothing was listed");
    rebuild(&["--identity", "none"]).ends(0);
    on_s3(&playground, &server, &["storage", "status"]).ends(4);
    on_s3(&playground, &server, &["storage", "bind", "--force"]).ends(4);

    // What hides a marker on a disk is no word on it either.
    let playground = synced(2);
    std::fs::rename(playground.path("files/.storm-index"), playground.path("away")).unwrap();
    std::os::unix::fs::symlink("/no/such/place", playground.path("files/.storm-index")).unwrap();
    let ran = playground.rebuild(&["--mode", "full", "--force"]).ends(4);
    assert_eq!(ran.json()["status"], "FAILED", "{ran:?}");
}

#[test]
fn law_07_a_storage_that_takes_no_marker_loses_no_record() {
    let playground = Playground::with_user();
    let server = S3Server::start();
    (0..4).for_each(|n| server.put(&format!("1/f{n}"), b"x"));
    server.faults().refuse_puts = true;
    let rebuild = |args: &[&str]| on_s3(&playground, &server, &[&["rebuild", "--format", "json"], args].concat());
    let ran = rebuild(&["--mode", "sync"]).ends(0);
    assert_eq!((&ran.result()["records_created"], bound(&playground)), (&json!(4), None));
    assert!(ran.err.contains("WARN") && ran.err.contains("takes no marker"), "{ran:?}");
    server.remove("1/f0");
    server.put("1/new", b"another one");
    let result = rebuild(&["--mode", "full", "--force"]).ends(3).result();
    assert_eq!((&result["records_created"], &result["records_deleted"]), (&json!(1), &json!(0)), "additions go on");
    assert_eq!(result["refusal"]["code"], "storage_unbound");
    for word in ["access denied", "bind --print", "identity = \"none\""] {
        assert!(result["refusal"]["message"].as_str().unwrap().contains(word), "{result}");
    }
    on_s3(&playground, &server, &["storage", "bind", "--force"]).ends(4).complains(&["access denied", "bind --print"]);
    // Its owner uploads what is printed.
    let printed = on_s3(&playground, &server, &["storage", "bind", "--print"]).ends(0);
    assert!(printed.err.contains(MARKER) && bound(&playground).is_none(), "{printed:?}");
    server.put(MARKER, printed.out.as_bytes());
    assert_eq!(rebuild(&["--mode", "full", "--force"]).ends(0).result()["records_deleted"], 1);
    assert_eq!(bound(&playground).as_deref(), printed.json()["storage_id"].as_str());

    // The same where a disk has something else in the marker's place.
    let playground = Playground::with_user();
    (0..2).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    playground.write(".storm-index", "a file");
    playground.sync();
    playground.remove("1/f0");
    assert_eq!(playground.refused(&forced(Mode::Clean))["refusal"]["code"], "storage_unbound");
    assert_eq!(std::fs::read_to_string(playground.path("files/.storm-index")).unwrap(), "a file");
}

/// What is really there counts, whatever a server makes of conditions.
#[test]
fn law_07_the_marker_that_is_there_is_taken() {
    let theirs = Uuid::now_v7();
    for (ignored, unknown, takes_theirs) in [(false, false, true), (true, false, false), (false, true, false)] {
        let backend = Backend::new(Kind::FakeS3);
        let Backend::S3(server) = &backend else { unreachable!() };
        let database = TestDatabase::fresh();
        {
            let mut faults = server.faults();
            (faults.ignore_conditions, faults.no_conditions) = (ignored, unknown);
            if !unknown {
                faults.faster = Some(marker_document(theirs, Timestamp::from_micros(0)).into_bytes());
            }
        }
        block_on(async {
            let index = index_in(&database).await;
            assert_eq!(code(&run(&backend.storage(), &index, &Request::new(Mode::Sync)).await), None);
            let id = index.binding().await.unwrap().unwrap();
            assert_eq!(backend.storage().marker().read().await, MarkerState::Found(id));
            assert_eq!(id == theirs, takes_theirs, "{ignored} {unknown}");
        });
        assert!(server.get(MARKER).is_some());
    }
}

/// What is believed is what the storage shows afterwards, not what was written.
#[test]
fn law_07_what_was_written_is_read_back() {
    let theirs = Uuid::now_v7();
    let document = marker_document(theirs, Timestamp::from_micros(0));
    for (turn, bound) in [(Turn::Becomes(document), Some(theirs)), (Turn::Vanishes, None)] {
        let database = TestDatabase::fresh();
        block_on(async {
            let index = index_in(&database).await;
            // Two looks come before the write.
            let store = TurningStore::new(Arc::new(InMemory::new()), turn.clone(), 2);
            run(&Storage::new(Arc::new(store)), &index, &Request::new(Mode::Sync)).await;
            assert_eq!(index.binding().await.unwrap(), bound, "{turn:?}");
        });
    }
}

/// A write that was refused because somebody was faster is not forced through, even if the storage does not show it yet.
#[test]
fn law_07_a_marker_that_is_not_shown_yet_is_not_overwritten() {
    let theirs = Uuid::now_v7();
    let document = marker_document(theirs, Timestamp::from_micros(0));
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    server.put("1/a", b"x");
    {
        let mut faults = server.faults();
        (faults.faster, faults.slow_to_show) = (Some(document.clone().into_bytes()), true);
    }
    let database = TestDatabase::fresh();
    block_on(async {
        let index = index_in(&database).await;
        run(&backend.storage(), &index, &Request::new(Mode::Sync)).await;
        assert_eq!(server.get(MARKER).unwrap(), document.as_bytes());
        assert_eq!(index.binding().await.unwrap(), None);
        run(&backend.storage(), &index, &Request::new(Mode::Sync)).await;
        assert_eq!(index.binding().await.unwrap(), Some(theirs));
        assert_eq!(server.get(MARKER).unwrap(), document.as_bytes());
    });
}

/// What stands in the place of the marker and is none is told, with what is to be done.
#[test]
fn law_07_a_directory_in_the_place_of_the_marker_is_told() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    std::fs::create_dir_all(playground.path("files/.storm-index/identity.json")).unwrap();
    for args in [&["storage", "status"][..], &["storage", "bind", "--force"], &["rebuild", "--mode", "sync"]] {
        let ran = playground.run(args).ends(4);
        assert!(ran.err.contains("identity.json") && ran.err.contains("it is a directory; remove it"), "{ran:?}");
    }
    assert!(playground.paths().is_empty());
    std::fs::remove_dir(playground.path("files/.storm-index/identity.json")).unwrap();
    playground.sync();
}

/// What a link in the place of the marker leads to is somebody's file.
#[test]
fn law_07_a_marker_is_neither_read_nor_written_through_a_link() {
    let id = Uuid::now_v7();
    let document = marker_document(id, Timestamp::from_micros(0));
    for (link, target, at) in [
        (".storm-index", "1", "1/identity.json"),
        (".storm-index", "nowhere", "1/identity.json"),
        (MARKER, "../1/identity.json", "1/identity.json"),
        (MARKER, "data/identity.json", ".storm-index/data/identity.json"),
        (MARKER, "nowhere", "1/identity.json"),
    ] {
        for content in ["{\"mine\": true}", &document] {
            let playground = Playground::with_user();
            playground.write(at, content);
            let place = playground.path("files").join(link);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, &place).unwrap();
            let told = |ran: Ran| {
                assert!(ran.err.contains("is a link") && ran.err.contains("remove the link"), "{link} {ran:?}");
            };
            told(playground.rebuild(&["--mode", "sync"]).ends(4));
            told(playground.run(&["storage", "bind", "--force"]).ends(4));
            assert_eq!(std::fs::read_to_string(playground.path("files").join(at)).unwrap(), content, "{link}");
            assert_eq!((bound(&playground), playground.paths().len()), (None, 0));
            assert!(
                !playground.path("files/nowhere").exists() && !playground.path("files/.storm-index/nowhere").exists()
            );
            // As the message says.
            std::fs::remove_file(&place).unwrap();
            playground.sync();
            assert_eq!(bound(&playground), marker_id(&playground));
        }
    }
}

#[test]
fn law_07_a_marker_may_have_a_byte_order_mark() {
    let playground = synced(1);
    let text = std::fs::read_to_string(playground.path("files").join(MARKER)).unwrap();
    let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for content in [[b"\xef\xbb\xbf", text.as_bytes()].concat(), wide] {
        std::fs::write(playground.path("files").join(MARKER), &content).unwrap();
        playground.full();
        // An index without records takes it as well.
        let fresh = playground.path("fresh.sqlite3");
        let database = format!("sqlite://{}", fresh.display());
        playground.run(&["rebuild", "--mode", "sync", "--database", &database]).ends(0);
        assert_eq!(std::fs::read(playground.path("files").join(MARKER)).unwrap(), content);
        std::fs::remove_file(fresh).unwrap();
    }
}

/// A run, an audit, a dry run and `storage bind` leave it as it is, whatever the index knows.
#[test]
fn law_07_an_object_in_the_place_of_the_marker_is_never_overwritten() {
    const LARGE: u64 = 40 << 30;
    // What the index knows: nothing, records, and records of a storage that it is bound to.
    for (records, is_bound) in [(false, false), (true, false), (true, true), (false, true)] {
        for (content, what) in [
            (Some("{"), "an object of 1 bytes that is not JSON"),
            (Some(""), "an empty object"),
            (Some("{\"storage_id\": \"mine\"}"), "without a storage_id that is a UUID"),
            (None, "an object of 42949672960 bytes"),
        ] {
            let playground = synced(3);
            if !records {
                (0..3).for_each(|n| playground.remove(&format!("1/f{n}")));
                playground.clean();
            }
            if !is_bound {
                unbind(&playground);
            }
            let (before, known) = (playground.dump(), bound(&playground));
            let place = playground.path("files").join(MARKER);
            match content {
                Some(content) => std::fs::write(&place, content).unwrap(),
                None => std::fs::File::create(&place).unwrap().set_len(LARGE).unwrap(),
            }
            for args in EVERY_RUN {
                let ran = playground.rebuild(args).ends(3);
                let refusal = &ran.result()["refusal"];
                assert_eq!(
                    (&ran.json()["status"], &refusal["code"]),
                    (&json!("SUCCESSFUL"), &json!("marker_unreadable"))
                );
                let message = refusal["message"].as_str().unwrap();
                for word in [what, MARKER, "nothing was changed", "move that object away"] {
                    assert!(message.contains(word), "{message}");
                }
                assert_eq!(message.contains("bind --force"), is_bound, "{message}");
                assert_eq!((&ran.result()["files_on_disk"], &ran.result()["files_in_db"]), (&json!(0), &json!(0)));
            }
            for args in [&["storage", "bind"][..], &["storage", "bind", "--force"]] {
                playground.run(args).ends(3).complains(&[what, "nothing was changed", "move that object away"]);
            }
            let status = playground.run(&["storage", "status", "--format", "json"]).ends(3).json();
            assert_eq!((&status["marker"], &status["code"]), (&json!("damaged"), &json!("marker_unreadable")));
            assert_eq!((playground.dump(), bound(&playground)), (before, known.clone()));
            match content {
                Some(content) => assert_eq!(std::fs::read_to_string(&place).unwrap(), content),
                None => assert_eq!(std::fs::metadata(&place).unwrap().len(), LARGE),
            }
            // The owner's way out, as the message says.
            std::fs::rename(&place, playground.path("files/1-moved-away")).unwrap();
            if is_bound && records {
                playground.refused(&Request::new(Mode::Sync));
                playground.run(&["storage", "bind", "--force"]).ends(0);
                assert_eq!(bound(&playground), known);
            }
            playground.sync();
            assert_eq!(marker_id(&playground), bound(&playground));
        }
    }
}

/// Another program may put an object there between the look and the write; then the write is refused or not tried again.
#[test]
fn law_07_an_object_that_comes_there_meanwhile_is_not_overwritten() {
    for no_conditions in [false, true] {
        let playground = Playground::with_user();
        let server = S3Server::start();
        server.put("1/a", b"x");
        for args in [&["rebuild", "--format", "json", "--mode", "sync"][..], &["storage", "bind", "--force"]] {
            {
                let mut faults = server.faults();
                (faults.no_conditions, faults.faster) = (no_conditions, Some(b"theirs".to_vec()));
            }
            let ran = on_s3(&playground, &server, args).ends(3);
            assert!(ran.err.contains("an object of 6 bytes that is not JSON"), "{ran:?}");
            assert_eq!(server.get(MARKER).unwrap(), b"theirs".as_slice());
            assert_eq!((bound(&playground), playground.paths().len()), (None, 0));
            server.faults().faster = None;
            server.remove(MARKER);
        }
    }
}

#[test]
fn law_07_status_tells_and_bind_mends() {
    let playground = Playground::with_user();
    let status = |exit| -> Value {
        let ran = playground.run(&["storage", "status", "--format", "json"]).ends(exit);
        assert_eq!(ran.err.lines().count(), usize::from(exit != 0), "{ran:?}");
        let mut status = ran.json();
        // What the storage can do is another matter.
        for key in ["order", "order_by", "parts", "odd_keys", "renames", "file_systems"] {
            assert!(status.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        status
    };
    let blank =
        json!({"marker": "absent", "storage_id": null, "bound_to": null, "run": "go", "code": null, "message": null});
    assert_eq!(status(0), blank);
    let would = playground.run(&["storage", "bind"]).ends(2);
    assert_eq!(would.out, "");
    would.complains(&["to no storage", "has no marker", MARKER, "a new id", "nothing was changed", "--force"]);
    assert_eq!((status(0), marker_id(&playground)), (blank, None));
    playground.write("1/a", "x");
    playground.sync();
    let id = bound(&playground).unwrap();
    let good = status(0);
    assert_eq!((&good["marker"], &good["storage_id"], &good["bound_to"]), (&json!("found"), &json!(id), &json!(id)));
    assert!(playground.run(&["storage", "status"]).ends(0).out.contains("would go"));
    let done = playground.run(&["storage", "bind"]).ends(2).complains(&[&id, "already", "nothing has to be done"]);
    assert!(!done.err.contains("--force"), "{done:?}");
    let unchecked = playground.run(&["storage", "status", "--identity", "none", "--format", "json"]).ends(0).json();
    assert_eq!(unchecked["marker"], "unchecked");

    // The right storage has lost its marker: it gets the same id again.
    std::fs::remove_file(playground.path("files").join(MARKER)).unwrap();
    let refused = status(3);
    assert_eq!((&refused["run"], &refused["code"]), (&json!("refused"), &json!("wrong_storage")));
    playground.run(&["storage", "bind"]).ends(2).complains(&[&id, "the same id"]);
    assert_eq!(marker_id(&playground), None);
    playground.run(&["storage", "bind", "--force"]).ends(0);
    assert_eq!((marker_id(&playground), bound(&playground)), (Some(id.clone()), Some(id.clone())));
    // On another storage the index is bound to that one's id, and its marker stays as it is.
    let other = Uuid::now_v7();
    let document = marker_document(other, Timestamp::from_micros(0));
    playground.write(MARKER, &document);
    assert_eq!(status(3)["storage_id"], json!(other.to_string()));
    let other_id = other.to_string();
    playground.run(&["storage", "bind"]).ends(2).complains(&[&id, &other_id]);
    playground.rebuild(&[]).ends(3);
    let printed = playground.run(&["storage", "bind", "--print"]).ends(0);
    assert_eq!(printed.json()["storage_id"], json!(id), "what the index is bound to");
    playground.run(&["storage", "bind", "--force"]).ends(0);
    assert_eq!(bound(&playground), Some(other_id));
    assert_eq!(std::fs::read_to_string(playground.path("files").join(MARKER)).unwrap(), document);
    playground.in_step();

    // What is no id is told, and mended.
    playground.sql("UPDATE storage_binding SET storage_id = 'nonsense'");
    let ran = playground.rebuild(&["--mode", "sync"]).ends(4);
    assert!(ran.err.contains("nonsense") && ran.err.contains("bind --force"), "{ran:?}");
    playground.run(&["storage", "bind", "--force"]).ends(0);
    playground.sync();
    // Too few records: bind is how an owner says that it is right all the same.
    unbind(&playground);
    playground.remove("1/a");
    assert_eq!(status(3)["code"], "storage_unbound");
    playground.run(&["storage", "bind", "--force"]).ends(0);
    assert_eq!(playground.clean()["records_deleted"], 1);
    playground.run(&["storage", "bind", "--force", "--print"]).ends(2);
    playground.run(&["storage", "status", "--storage", "/no/such/place"]).ends(4);
}

/// On a wrong storage, what its folders are called is no mistake of the asker's.
#[test]
fn law_07_a_wrong_storage_is_told_before_its_folders() {
    let playground = synced(3);
    playground.run(&["user", "add", "bob", "--prefix", "teams/bob"]).ends(0);
    playground.write("bob/x", "x");
    let adopting = &[&["--adopt"][..], &["--adopt", "--mode", "sync"], &["--adopt", "--mode", "full", "--force"]];
    // On the right one it is.
    for args in adopting {
        playground.rebuild(args).ends(2).complains(&["\"bob\"", "teams/bob"]);
    }
    let before = playground.dump();
    let other = Uuid::now_v7();
    playground.write(MARKER, &marker_document(other, Timestamp::from_micros(0)));
    for args in adopting {
        let ran = playground.rebuild(args).ends(3);
        assert_eq!(ran.result()["refusal"]["code"], "wrong_storage", "{ran:?}");
        let row = playground.run(&["task", "show", ran.json()["task_id"].as_str().unwrap()]).ends(0);
        assert!(row.out.contains("wrong_storage"), "{row:?}");
    }
    playground.sql(
        "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', process = '1 1', \
         taken_at = 0, expires_at = 9e9",
    );
    playground.rebuild(&["--adopt", "--mode", "sync"]).ends(5).complains(&["theirs"]);
    assert_eq!(playground.dump(), before);
}

/// What is said without a run is what a run says, also where nobody asks for markers.
#[test]
fn law_07_an_outlook_says_what_a_run_says() {
    let playground = synced(3);
    let token = playground.share(1, "f0");
    let status = |exit| {
        let args = ["storage", "status", "--identity", "none", "--format", "json"];
        playground.run(&args).ends(exit).json()
    };
    assert_eq!((&status(0)["run"], &status(0)["marker"]), (&json!("go"), &json!("unchecked")));
    let there = playground.path("files").join(MARKER);
    let mine = std::fs::read(&there).unwrap();
    let other = Uuid::now_v7();
    playground.write(MARKER, &marker_document(other, Timestamp::from_micros(0)));
    playground.remove("1/f0");
    playground.rebuild(&["--identity", "none"]).ends(3);
    let refused = status(3);
    assert_eq!((&refused["run"], &refused["code"]), (&json!("refused"), &json!("wrong_storage")), "{refused}");
    assert_eq!((&refused["marker"], &refused["storage_id"]), (&json!("found"), &json!(other.to_string())), "{refused}");
    let dangling =
        |exit| playground.run(&["share", "list", "--dangling", "--show-tokens", "--identity", "none"]).ends(exit);
    assert_eq!(dangling(3).out, "");
    // A marker that is not there, or says nothing, is not asked for.
    for damage in [None, Some("{")] {
        match damage {
            None => std::fs::remove_file(&there).unwrap(),
            Some(damage) => playground.write(MARKER, damage),
        }
        playground.rebuild(&["--identity", "none"]).ends(1);
        assert_eq!(status(0)["marker"], "unchecked");
        assert!(dangling(0).out.contains(token.trim()));
    }
    std::fs::write(&there, mine).unwrap();
    assert_eq!(status(0)["run"], "go");
}
