//! Law 12: one writing run at a time.

use std::time::Duration;

use sea_orm::DatabaseConnection;
use serde_json::json;
use storm_index::index::{
    Access, AuditTurn, Candidate, Carry, Index, IndexError, LeaseTerms, NewRecord, NewUser, Outcome, Refresh, User,
};
use storm_index::model::{ObjectFacts, Prefix, Timestamp};
use uuid::Uuid;

use crate::support::database::{TestDatabase, column, execute, on_postgres};
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::vacant::Vacant;

/// Whoever is asked to end and is alive hears of it; who is not is known to have ended.
#[test]
fn a_task_without_a_living_holder_is_not_asked_to_end() {
    let playground = Playground::with_user();
    let time = if crate::support::database::on_postgres() { "now()" } else { "'2026-01-01T00:00:00+00:00'" };
    let cancel = |id: &str| playground.run(&["task", "cancel", id]);
    for (id, status, alive, leased, lives) in [
        ("leased", "RUNNING", "NULL", "9e9", true),
        ("expired", "RUNNING", "NULL", "1", false),
        ("unheard", "RUNNING", "NULL", "NULL", false),
        ("served", "READY", "9e9", "NULL", true),
        ("silent", "READY", "1", "NULL", false),
        ("both", "RUNNING", "1", "9e9", true),
    ] {
        playground.sql(&format!(
            "INSERT INTO tasks (id, request, status, created_at, machine, process, alive_until) \
             VALUES ('{id}', '{{}}', '{status}', {time}, 'far', '1 1', {alive}); \
             UPDATE lease SET task_id = '{id}', holder = 'process 1 on far', machine = 'far', process = '1 1', \
             taken_at = 0, expires_at = {leased}"
        ));
        if lives {
            let ran = cancel(id).ends(0);
            assert!(ran.err.contains("asked to end"), "{id} {ran:?}");
        } else {
            cancel(id).ends(2).complains(&[id, "has ended already: FAILED", "the process that ran the task is gone"]);
        }
        let task = playground.run(&["task", "show", id, "--format", "json"]).ends(0).json();
        assert_eq!((task["status"] == status, task["finished_at"].is_null()), (lives, lives), "{task}");
    }
    // The others are left to themselves.
    let status = "SELECT id || ' ' || status FROM tasks WHERE finished_at IS NULL ORDER BY 1";
    let living = block_on(async { column(&playground.database().await, status).await });
    assert_eq!(living, ["both RUNNING", "leased RUNNING", "served READY"]);
}

/// The rows that are always there come back by themselves.
#[test]
fn law_12_a_lost_row_of_the_lease_or_of_the_audits_is_made_again() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sql("DELETE FROM lease; DELETE FROM audits");
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        assert_eq!(index.lease_holder().await.unwrap(), None);
        let alive = Duration::from_secs(60);
        assert_eq!(index.take_audit("one", 0.0, alive).await.unwrap(), AuditTurn::Ours);
        assert_eq!(index.take_audit("two", 0.0, alive).await.unwrap(), AuditTurn::Theirs);
        index.note_audit("{}").await.unwrap();
        index.end_audit("one").await.unwrap();
        assert_eq!(index.last_audit().await.unwrap().map(|audit| audit.result), Some("{}".to_owned()));
        index.close().await;
    });
    playground.sync();
    playground.sql("DELETE FROM lease");
    playground.full();
    let rows = block_on(async { column(&playground.database().await, "SELECT CAST(id AS TEXT) FROM lease").await });
    assert_eq!(rows, ["1"]);
}

/// Whoever sees that a run has ended may begin the next one.
#[test]
fn law_12_the_end_of_a_run_and_of_its_lease_are_one() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
        let outcome = Outcome { status: "SUCCESSFUL", result: json!({}), errors: json!([]) };
        lease.writer().end_task(&task.to_string(), &outcome).await.unwrap();
        assert_eq!(index.lease_holder().await.unwrap(), None);
        assert_eq!(index.task(&task.to_string()).await.unwrap().status, "SUCCESSFUL");
        // Giving back what is somebody else's by now takes nothing from them.
        let next = index.take_lease(Uuid::now_v7(), &json!({}), LeaseTerms::default()).await.unwrap();
        lease.release().await;
        assert!(index.lease_holder().await.unwrap().is_some());
        next.release().await;
        index.close().await;
    });
}

/// However seldom it gives a sign of life itself; without that, this waits for weeks.
#[test]
fn who_is_asked_to_end_hears_of_it_at_once() {
    let playground = Playground::with_user();
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let terms = LeaseTerms::of(Duration::from_secs(10_000_000));
        let lease = index.take_lease(Uuid::now_v7(), &json!({}), terms).await.unwrap();
        execute(&playground.database().await, "UPDATE tasks SET cancel_requested = true").await;
        lease.asked_to_end().await;
        lease.release().await;
        index.close().await;
    });
}

#[test]
fn law_12_a_second_writing_run_is_5_and_names_the_first() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    playground.write("1/b", "x");
    let before = playground.dump();
    // The holder lives on threads of its own while the programs run.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let task = Uuid::now_v7();
    let (index, lease) = runtime.block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let lease = index.take_lease(task, &json!({}), SILENT).await.unwrap();
        (index, lease)
    });
    let task = task.to_string();
    for args in [&["--mode", "sync"][..], &["--mode", "full", "--force"], &["--mode", "clean", "--force"]] {
        let ran = playground.rebuild(args).ends(5);
        assert!(ran.err.contains(&std::process::id().to_string()), "{ran:?}");
        ran.complains(&[&task, "process", "wait"]);
    }
    playground.run(&["storage", "bind", "--force"]).ends(5).complains(&[&task]);
    // What is wrong with the request comes before, what is wrong with the world comes after.
    playground.rebuild(&["--mode", "full"]).ends(2);
    playground.rebuild(&["--mode", "sync", "--user-id", "9"]).ends(2);
    playground.rebuild(&["--mode", "sync", "--storage", "/no/such/place"]).ends(5).complains(&[&task]);
    let vacant = Vacant::new();
    for args in [&["--mode", "sync"][..], &["--mode", "sync", "--adopt"], &["--mode", "full", "--force", "--adopt"]] {
        let mut command = playground.command();
        command.env("STORAGE_URL", "s3://bucket").env("AWS_ENDPOINT_URL", format!("http://{}", vacant.address()));
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
        let ran = command.args([&["rebuild", "--format", "json"], args].concat()).output().unwrap();
        Ran::from(ran).ends(5).complains(&[&task]);
    }
    // Looking needs no lease, and people go on making links.
    playground.drifted();
    playground.rebuild(&["--mode", "full", "--dry-run"]).ends(1);
    assert_eq!(playground.dump(), before);
    playground.share(1, "a");
    runtime.block_on(lease.release());
    playground.sync();
    runtime.block_on(async {
        assert_eq!(index.lease_holder().await.unwrap(), None);
        index.close().await;
    });
}

#[test]
fn law_12_a_lease_without_a_living_holder_is_taken_over() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    // Somebody on another machine, of whom nothing is known but when he spoke last.
    let stranger = |expires: &str| {
        playground.sql(&format!(
            "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', process = '1 1', \
             taken_at = 0, expires_at = {expires}"
        ));
    };
    stranger("9e9");
    playground.rebuild(&["--mode", "sync"]).ends(5).complains(&["theirs", "far"]);
    stranger("1");
    playground.sync();
    // A process of this machine, killed while it held the lease: it is not waited for.
    (0..3_000).for_each(|n| playground.write(&format!("1/d/f{n}"), "x"));
    let held = "SELECT coalesce(task_id, '') FROM lease";
    let mut killed = 0;
    while killed == 0 {
        playground.sql("DELETE FROM stored_files");
        let mut child = playground.command().args(["rebuild", "--mode", "sync", "-q"]).spawn().unwrap();
        let holds = || block_on(async { column(&playground.database().await, held).await != [""] });
        while child.try_wait().unwrap().is_none() {
            if holds() {
                child.kill().unwrap();
            }
        }
        killed += u32::from(holds());
    }
    // Nobody is left who could heed it.
    let dead = block_on(async { column(&playground.database().await, held).await });
    playground.run(&["task", "cancel", &dead[0]]).ends(2).complains(&["has ended already: FAILED", "is gone"]);
    let last = playground.rebuild(&["--mode", "sync"]).ends(0).json();
    assert_eq!(playground.in_step()["files_in_db"], json!(3_001));

    // Each writing run left its row, and the killed one is known to be gone.
    let tasks = playground.run(&["task", "list", "--format", "json"]).ends(0).json();
    let tasks = tasks.as_array().unwrap();
    assert_eq!((&tasks[1]["id"], &tasks[1]["status"]), (&last["task_id"], &json!("SUCCESSFUL")), "{tasks:?}");
    assert_eq!((&tasks[2]["status"], &tasks[2]["errors"][0]["code"]), (&json!("FAILED"), &json!("holder_vanished")));
    let id = last["task_id"].as_str().unwrap();
    let task = playground.run(&["task", "show", id, "--format", "json"]).ends(0).json();
    assert_eq!((&task["result"], &task["request"]["mode"]), (&last["result"], &json!("sync")));
    assert!(task["started_at"].as_str() <= task["finished_at"].as_str(), "{task}");
    assert!(playground.run(&["task", "show", id]).ends(0).out.contains("SUCCESSFUL"));
    assert!(playground.run(&["task", "list", "--limit", "2"]).ends(0).out.contains(id));
    assert!(!playground.run(&["task", "list", "--limit", "1"]).ends(0).out.contains(id), "the audit came later");
    playground.run(&["task", "show", "nothing"]).ends(2).complains(&["nothing", "task list"]);
}

/// Whoever has lost the lease writes nothing more, whatever was already on the way.
#[test]
fn law_12_a_lost_lease_writes_nothing() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
        let writer = lease.writer();
        let record = |key: &str, first| {
            let object = ObjectFacts {
                key: key.into(),
                size: 1,
                last_modified: Timestamp::from_micros(5),
                etag: None,
                file_id: None,
                device: None,
                linked: false,
            };
            [NewRecord { user: 1, object, path_at: 2, content_type: "text/plain", first }]
        };
        assert_eq!(writer.write(&record("1/a", true), &[]).await.unwrap().created, 1);
        let db = database.connect().await;
        execute(&db, "UPDATE lease SET task_id = 'theirs'").await;
        execute(&db, "UPDATE tasks SET status = 'FAILED'").await;
        for first in [true, false] {
            let lost = writer.write(&record("1/b", first), &[]).await;
            assert!(matches!(lost, Err(IndexError::LeaseLost)), "{lost:?}");
        }
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        let facts = page.get(0);
        let lost = writer.delete(&[Candidate { id: facts.id, user: 1, version: facts.version }]).await;
        assert!(matches!(lost, Err(IndexError::LeaseLost)), "{lost:?}");
        assert!(matches!(writer.settle(&[1]).await, Err(IndexError::LeaseLost)));
        // How the task ended is what its heir has said of it.
        let outcome = Outcome { status: "SUCCESSFUL", result: json!({}), errors: json!([]) };
        let lost = writer.end_task(&task.to_string(), &outcome).await;
        assert!(matches!(lost, Err(IndexError::LeaseLost)), "{lost:?}");
        assert_eq!(column(&db, "SELECT status FROM tasks").await, ["FAILED"]);
        assert_eq!(column(&db, "SELECT path FROM stored_files").await, ["a"]);
        // Giving back what is not held any more takes nothing away from its new holder.
        lease.release().await;
        assert_eq!(column(&db, "SELECT task_id FROM lease").await, ["theirs"]);
        index.close().await;
    });
}

/// A holder that lives gives signs of it.
#[test]
fn law_12_a_living_holder_keeps_its_lease() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let terms = LeaseTerms { heartbeat: Duration::from_millis(20), ..SILENT };
        let lease = index.take_lease(Uuid::now_v7(), &json!({}), terms).await.unwrap();
        let db = database.connect().await;
        let expiry = "SELECT CAST(expires_at AS TEXT) FROM lease";
        let first = column(&db, expiry).await;
        while column(&db, expiry).await == first {
            tokio::task::yield_now().await;
        }
        assert!(matches!(index.take_lease(Uuid::now_v7(), &json!({}), terms).await, Err(IndexError::Held(_))));
        lease.release().await;
        index.close().await;
    });
}

/// Terms under which only what is written is a sign of life.
const SILENT: LeaseTerms = LeaseTerms { expiry: Duration::from_secs(1_000), heartbeat: Duration::from_secs(100_000) };

fn object(key: &str, size: u64) -> ObjectFacts {
    ObjectFacts {
        key: key.into(),
        size,
        last_modified: Timestamp::from_micros(5),
        etag: None,
        file_id: None,
        device: None,
        linked: false,
    }
}

fn record(key: &str, first: bool) -> [NewRecord; 1] {
    [NewRecord { user: 1, object: object(key, 1), path_at: 2, content_type: "text/plain", first }]
}

/// However long a batch took: who waits for its end finds a lease that lives.
#[test]
fn law_12_each_batch_is_a_sign_of_life() {
    async fn silence(db: &DatabaseConnection) {
        execute(db, "UPDATE lease SET expires_at = 1").await;
    }
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
        let lease = index.take_lease(Uuid::now_v7(), &json!({}), SILENT).await.unwrap();
        let (writer, db) = (lease.writer(), database.connect().await);
        for what in ["first", "create", "update", "carry", "delete", "adopt", "unsettle", "settle", "bind", "trim"] {
            let page = index.records(vec![1]).next().await.unwrap().unwrap();
            let (id, version) = match page.is_empty() {
                true => (0, Vec::new()),
                false => (page.get(0).id, page.get(0).version.to_vec()),
            };
            silence(&db).await;
            match what {
                "first" => assert_eq!(writer.write(&record("1/a", true), &[]).await.unwrap().created, 1),
                "create" => assert_eq!(writer.write(&record("1/b", false), &[]).await.unwrap().created, 1),
                "update" => {
                    let refresh =
                        Refresh { id, version, object: object("1/a", 7), content_type: "text/plain", path_at: 2 };
                    assert_eq!(writer.write(&[], &[refresh]).await.unwrap().updated, 1);
                }
                "carry" => {
                    let object = object("1/c", 7);
                    let carry = Carry { id, user: 1, version, object, path_at: 2, content_type: "text/plain" };
                    writer.carry(&[carry]).await.unwrap();
                }
                "delete" => {
                    writer.delete(&[Candidate { id, user: 1, version: &version }]).await.unwrap();
                }
                "adopt" => {
                    let prefix = Prefix::parse("adopted").unwrap();
                    writer.adopt_user(&User { id: 2, name: "adopted".into(), prefix }).await.unwrap();
                }
                "unsettle" => writer.unsettle(&[1]).await.unwrap(),
                "settle" => writer.settle(&[1]).await.unwrap(),
                "bind" => writer.bind(Uuid::now_v7()).await.unwrap(),
                _ => drop(writer.trim_journal(Duration::ZERO).await.unwrap()),
            }
            assert!(index.lease_holder().await.unwrap().is_some(), "{what}");
        }
        lease.release().await;
        index.close().await;
    });
}

/// While a run writes for longer than its lease lives, it is not another program that holds the lock.
#[test]
fn law_12_who_writes_for_long_is_named() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), SILENT).await.unwrap();
        let batch = database.connect().await;
        execute(&batch, "UPDATE lease SET expires_at = 1").await;
        // What the run holds in a transaction of its own.
        let lock = if on_postgres() { "BEGIN; SELECT 1 FROM lease FOR KEY SHARE" } else { "BEGIN IMMEDIATE" };
        execute(&batch, lock).await;
        match index.take_lease(Uuid::now_v7(), &json!({}), SILENT).await {
            Err(IndexError::Held(holder)) => assert_eq!(holder.task_id, task.to_string()),
            other => panic!("{other:?}"),
        }
        execute(&batch, "COMMIT").await;
        // Now that nobody writes, its silence counts.
        index.take_lease(Uuid::now_v7(), &json!({}), SILENT).await.unwrap().release().await;
        lease.release().await;
        index.close().await;
    });
}

/// A run whose end could not be written down is ended by the next one, and not RUNNING for ever.
#[test]
fn law_12_an_end_that_could_not_be_written_is_found() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    let first = playground.rebuild(&["--mode", "sync"]).ends(0).json();
    let (refuse, again) = if on_postgres() {
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
             CREATE TRIGGER refuse BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION refuse()",
            "DROP TRIGGER refuse ON tasks",
        )
    } else {
        (
            "CREATE TRIGGER refuse BEFORE UPDATE ON tasks BEGIN SELECT raise(ABORT, 'refused'); END",
            "DROP TRIGGER refuse",
        )
    };
    let restore = ["restore", first["task_id"].as_str().unwrap(), "--format", "json"];
    for args in [&["rebuild", "--mode", "sync", "--format", "json"][..], &restore] {
        playground.sql(refuse);
        let ran = playground.run(args).ends(0);
        assert!(ran.err.contains("could not be written down"), "{ran:?}");
        playground.sql(again);
        if on_postgres() {
            playground.sql("DROP FUNCTION refuse");
        }
        playground.sync();
        let id = ran.json()["task_id"].as_str().unwrap().to_owned();
        let task = playground.run(&["task", "show", &id, "--format", "json"]).ends(0).json();
        assert_eq!((&task["status"], &task["errors"][0]["code"]), (&json!("FAILED"), &json!("holder_vanished")));
    }
}

/// A clock that was ahead when a holder vanished locks nobody out once it is right.
#[test]
fn law_12_a_lease_of_the_future_is_void() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    let now = if on_postgres() {
        "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
    } else {
        "unixepoch('now', 'subsec')"
    };
    let taken = |ahead: &str| {
        playground.sql(&format!(
            "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', process = '1 1', \
             taken_at = {now} + {ahead}, expires_at = {now} + {ahead} + 1e5"
        ));
    };
    taken("1");
    playground.rebuild(&["--mode", "sync"]).ends(5).complains(&["theirs", "far"]);
    taken("1e7");
    playground.sync();
    // Whoever lives and sees the clock set back goes on.
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let terms = LeaseTerms { heartbeat: Duration::from_millis(20), ..SILENT };
        let lease = index.take_lease(Uuid::now_v7(), &json!({}), terms).await.unwrap();
        let db = playground.database().await;
        execute(&db, "UPDATE lease SET taken_at = taken_at + 1e7, expires_at = expires_at + 1e7").await;
        let ahead = column(&db, "SELECT CAST(expires_at AS TEXT) FROM lease").await;
        while column(&db, "SELECT CAST(expires_at AS TEXT) FROM lease").await == ahead {
            tokio::task::yield_now().await;
        }
        let is_ahead = format!("SELECT CAST(count(*) AS TEXT) FROM lease WHERE taken_at > {now}");
        assert_eq!(column(&db, &is_ahead).await, ["0"]);
        assert!(index.lease_holder().await.unwrap().is_some());
        lease.release().await;
        index.close().await;
    });
}

/// Runs that only look leave their row as well, where the database can be written, and need no right to do so.
#[test]
fn every_run_leaves_its_row() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    let audit = playground.rebuild(&[]).ends(1).json();
    let dry = playground.rebuild(&["--mode", "full", "--dry-run"]).ends(1).json();
    let sync = playground.rebuild(&["--mode", "sync"]).ends(0).json();
    let listed = || playground.run(&["task", "list", "--format", "json"]).ends(0).json();
    let tasks = listed();
    for (task, run, mode) in [(&tasks[2], &audit, "audit"), (&tasks[1], &dry, "full"), (&tasks[0], &sync, "sync")] {
        assert_eq!((&task["id"], &task["status"]), (&run["task_id"], &json!("SUCCESSFUL")), "{mode}");
        assert_eq!((&task["result"], &task["request"]["mode"]), (&run["result"], &json!(mode)));
    }
    // To explain is no run, and who asks for nothing to be written gets that.
    playground.run(&["explain", "--user-id", "1", "a"]).ends(0);
    if let Some(url) = playground.index.url().strip_prefix("sqlite") {
        let read_only = format!("sqlite{url}?mode=ro");
        playground.rebuild(&["--database", &read_only]).ends(0);
    }
    assert_eq!(listed().as_array().unwrap().len(), 3);
    // An index that does not exist is not made for it.
    let nothing = Playground::new();
    nothing.rebuild(&[]).ends(0);
    nothing.rebuild(&[]).ends(0);
    assert_eq!(nothing.run(&["task", "list", "--format", "json"]).ends(0).json(), json!([]));
}

/// How long a lease lives can be set, and a wrong setting is told.
#[test]
fn the_length_of_a_lease_can_be_set() {
    let playground = Playground::with_user();
    playground.rebuild(&["--mode", "sync", "--lease-expiry", "2s"]).ends(0);
    playground.rebuild(&["--mode", "sync", "--lease-expiry", "10ms"]).ends(2).complains(&["lease"]);
    std::fs::write(playground.path("c.toml"), "lease_expiry = '1m'").unwrap();
    playground.rebuild(&["--mode", "sync", "--config", "c.toml"]).ends(0);
    std::fs::write(playground.path("c.toml"), "lease_expiry = 'soon'").unwrap();
    playground.rebuild(&["--mode", "sync", "--config", "c.toml"]).ends(2).complains(&["c.toml", "soon"]);
}
