//! What another program does at the worst moment, on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use storm_index::index::{Access, Candidate, Fate, Index, NewUser, Refresh};
use storm_index::model::ObjectFacts;
use storm_index::reconcile::{Evidence, FindingKind, Mode, Observer, Phase, Progress, Reconciler, Request, Silent};
use storm_index::storage::Storage;

use crate::support::database::{self, TestDatabase};
use crate::support::playground::{Playground, block_on};

/// Calls back once, when the deletions begin: everything has been read and decided by then.
struct AtDeletions<F: FnOnce() + Send> {
    call: Option<F>,
}

impl<F: FnOnce() + Send> Observer for AtDeletions<F> {
    fn wants(&self, _: FindingKind) -> bool {
        false
    }
    fn finding(&mut self, _: &Evidence) {}
    fn progress(&mut self, progress: Progress) {
        if progress.phase == Phase::Deleting
            && let Some(call) = self.call.take()
        {
            call();
        }
    }
}

async fn many_orphans(database: &TestDatabase, count: usize) -> (Index, Storage, Arc<InMemory>) {
    let index = Index::open(&database.url(), Access::Write).await.unwrap();
    index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
    let store = Arc::new(InMemory::new());
    for n in 0..count {
        store.put(&Path::parse(format!("1/f{n:05}")).unwrap(), "x".into()).await.unwrap();
    }
    let storage = Storage::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    Reconciler::new(&storage, &index).run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
    for n in 0..count {
        store.delete(&Path::parse(format!("1/f{n:05}")).unwrap()).await.unwrap();
    }
    (index, storage, store)
}

fn everything() -> Request {
    Request { force: true, max_delete: Some("100%".parse().unwrap()), ..Request::new(Mode::Clean) }
}

/// After the first batch of deletions, all the others get a link, a change, or their object back.
#[test]
fn law_02_and_09_what_changes_while_the_run_deletes_is_kept() {
    let database = Arc::new(TestDatabase::fresh());
    block_on(async {
        let (index, storage, store) = many_orphans(&database, 2_000).await;
        let reconciler = Reconciler::new(&storage, &index);
        let shared = Arc::clone(&database);
        let mut observer = AtDeletions {
            call: Some(move || {
                let database = Arc::clone(&shared);
                std::thread::spawn(move || {
                    block_on(async {
                        let other = database.connect().await;
                        database::execute(
                            &other,
                            "INSERT INTO share_links (stored_file_id, token) SELECT id, path FROM stored_files WHERE path LIKE '%3'; \
                             UPDATE stored_files SET size = size + 1 WHERE path LIKE '%5';",
                        )
                        .await;
                        for n in (7..2_000).step_by(10) {
                            store.put(&Path::parse(format!("1/f{n:05}")).unwrap(), "back".into()).await.unwrap();
                        }
                    });
                })
                .join()
                .unwrap();
            }),
        };
        let report = reconciler.run(&everything(), &mut observer).await.unwrap();
        // 500 had gone before; of the other 1,500 three of ten are kept.
        assert_eq!((report.tally.deleted, report.tally.skipped), (500 + 1_050, 450));
        let db = database.connect().await;
        let left = database::column(&db, "SELECT DISTINCT substr(path, 6) FROM stored_files ORDER BY 1").await;
        assert_eq!(left, ["3", "5", "7"]);
        let links = "SELECT CAST(count(*) AS TEXT) FROM share_links JOIN stored_files f ON f.id = stored_file_id";
        assert_eq!(database::column(&db, links).await, ["150"]);
    });
}

/// A person makes links while a run cleans, and leaves it as much time as she takes, since SQLite knows no turns: whatever
/// link was made is there afterwards.
#[test]
fn law_02_links_made_during_a_clean_are_never_lost() {
    let database = Arc::new(TestDatabase::fresh());
    block_on(async {
        let (index, storage, _) = many_orphans(&database, 6_000).await;
        let (done, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let person = std::thread::spawn({
            let (done, made, database) = (Arc::clone(&done), Arc::clone(&made), Arc::clone(&database));
            move || {
                block_on(async {
                    let other = database.connect().await;
                    let mut n = 5_999;
                    while !done.load(Ordering::Relaxed) && n > 0 {
                        let link = format!(
                            "INSERT INTO share_links (stored_file_id, token) SELECT id, 't{n}' FROM stored_files WHERE path = 'f{n:05}'"
                        );
                        let begun = std::time::Instant::now();
                        let result = sea_orm::ConnectionTrait::execute_unprepared(&other, &link).await;
                        made.fetch_add(result.map_or(0, |r| r.rows_affected()), Ordering::Relaxed);
                        n -= 1;
                        std::thread::sleep(begun.elapsed());
                    }
                });
            }
        });
        let report = Reconciler::new(&storage, &index).run(&everything(), &mut Silent).await.unwrap();
        done.store(true, Ordering::Relaxed);
        person.join().unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        let db = database.connect().await;
        let links = "SELECT CAST(count(*) AS TEXT) FROM share_links JOIN stored_files f ON f.id = stored_file_id";
        assert_eq!(database::column(&db, links).await, [made.load(Ordering::Relaxed).to_string()]);
        assert_eq!(report.tally.deleted + report.tally.skipped, 6_000);
    });
}

/// The binary is killed at moments that come with the seed; the next run converges and no link is lost.
#[test]
fn a_killed_run_loses_nothing_and_the_next_one_converges() {
    let playground = Playground::with_user();
    for n in 0..3_000 {
        playground.write(&format!("1/d{}/f{n}", n % 10), "x");
    }
    playground.sync();
    playground.share(1, "d0/f0");
    playground.remove("1/d0/f0");
    let mut random = crate::support::random::Random::new(7);
    for round in 0..10 {
        for n in 0..40 {
            let _ = std::fs::remove_file(playground.path(&format!("files/1/d{}/f{}", n % 10, round * 100 + n)));
            playground.write(&format!("1/new{round}/f{n}"), "y");
        }
        let mut command = playground.command();
        command.args(["rebuild", "--mode", "full", "--force", "-q"]).stdout(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        for _ in 0..random.below(200_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if !database::on_postgres() {
            let check = async { database::column(&playground.database().await, "PRAGMA integrity_check").await };
            assert_eq!(block_on(check), ["ok"]);
        }
    }
    playground.full();
    let result = playground.rebuild(&["--mode", "audit"]).ends(1).result();
    assert_eq!(
        (&result["missing_in_db"], &result["stale_in_db"], &result["orphaned_in_db"]),
        (&0.into(), &0.into(), &1.into())
    );
    assert_eq!(playground.run(&["share", "list", "--format", "json"]).json().as_array().unwrap().len(), 1);
}

/// A refresh leaves alone what somebody has changed since it was read.
#[test]
fn a_refresh_of_a_changed_record_is_left_to_the_next_run() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, _, _) = many_orphans(&database, 1).await;
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        let record = page.get(0);
        let last_modified = record.last_modified.unwrap();
        let object = ObjectFacts {
            key: "1/f00000".into(),
            size: 77,
            last_modified,
            etag: None,
            file_id: None,
            device: None,
            linked: false,
        };
        let refresh = |version: &[u8]| Refresh {
            id: record.id,
            version: version.to_vec(),
            object: object.clone(),
            path_at: 2,
            content_type: "text/plain",
        };
        let writer = index.writer().unwrap();
        assert_eq!(writer.write(&[], &[refresh(b"as it was yesterday")]).await.unwrap().updated, 0);
        assert_eq!(writer.write(&[], &[refresh(record.version)]).await.unwrap().updated, 1);
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        assert_eq!(page.get(0).size, Some(77));
    });
}

/// A record that was given to another user since it was read is not the one that was looked for.
#[test]
fn law_09_a_record_that_changed_hands_is_kept() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, _, _) = many_orphans(&database, 1).await;
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        let record = page.get(0);
        let candidate = |user| Candidate { id: record.id, user, version: record.version };
        let writer = index.writer().unwrap();
        assert_eq!(writer.delete(&[candidate(2)]).await.unwrap(), [Fate::Changed]);
        assert_eq!(writer.delete(&[candidate(1)]).await.unwrap(), [Fate::Deleted]);
    });
}
