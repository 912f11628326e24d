//! What only PostgreSQL can do wrong. Without a server (`scripts/test.sh` starts one) there is nothing to look at.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::json;
use storm_index::index::{
    Access, Candidate, Fate, Index, IndexError, LeaseTerms, NewLink, NewRecord, NewUser, Outcome, User,
};
use storm_index::model::{ObjectFacts, Prefix, Timestamp};
use storm_index::reconcile::{Mode, Reconciler, Request, Silent, Status};
use storm_index::storage::Storage;
use uuid::Uuid;

use crate::support::database::{self, TestDatabase, column, execute};
use crate::support::playground::{Playground, block_on};
use crate::support::skip;

/// Makes records `f00000` and so on for user 1, straight, without objects.
async fn with_records(database: &TestDatabase, count: usize) -> Index {
    let index = Index::open(&database.url(), Access::Write).await.unwrap();
    index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
    let creates: Vec<NewRecord> = (0..count).map(|n| record(&format!("1/f{n:05}"), true)).collect();
    assert_eq!(index.writer().unwrap().write(&creates, &[]).await.unwrap().created, count as u64);
    index
}

fn record(key: &str, first: bool) -> NewRecord {
    let last_modified = Timestamp::from_micros(1_700_000_000_123_456);
    let object = ObjectFacts {
        key: key.to_owned(),
        size: 1,
        last_modified,
        etag: Some("t".into()),
        file_id: None,
        device: None,
        linked: false,
    };
    NewRecord { user: 1, object, path_at: 2, content_type: "text/plain", first }
}

/// Ten thousand times a person and a run reach for the same record at the same moment, each on a connection of its own:
/// she makes a link to it, or brings a dead one back to life.
#[test]
fn law_02_ten_thousand_races_for_a_link_lose_none() {
    if skip::unless_on_postgres() {
        return;
    }
    let trials = 10_000;
    let database = TestDatabase::fresh();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let index = with_records(&database, trials).await;
        let person = database.connect().await;
        let revived = "INSERT INTO share_links (stored_file_id, token, is_active) \
                       SELECT id, 'dead ' || path, false FROM stored_files WHERE id % 2 = 0";
        execute(&person, revived).await;
        let mut records = Vec::new();
        let mut pages = index.records(vec![1]);
        while let Some(page) = pages.next().await.unwrap() {
            records.extend((0..page.len()).map(|at| (page.get(at).id, page.get(at).version.to_vec())));
        }
        assert_eq!(records.len(), trials);
        let writer = index.writer().unwrap();
        let (mut kept, mut gone) = (0, 0);
        for (n, (id, version)) in records.iter().enumerate() {
            let candidate = [Candidate { id: *id, user: 1, version }];
            let link = if id % 2 == 0 {
                format!("UPDATE share_links SET is_active = true WHERE stored_file_id = {id}")
            } else {
                format!("INSERT INTO share_links (stored_file_id, token) VALUES ({id}, 'live {id}')")
            };
            let linking = async {
                // Now the one, now the other has the start.
                for _ in 0..(n % 7) {
                    tokio::task::yield_now().await;
                }
                sea_orm::ConnectionTrait::execute_unprepared(&person, &link).await.map_or(0, |done| done.rows_affected())
            };
            let deleting = async {
                for _ in 0..(n % 5) {
                    tokio::task::yield_now().await;
                }
                writer.delete(&candidate).await.unwrap()
            };
            // Whoever is faster on this machine: each of them once, and then they race.
            let (linked, fates) = match n {
                0 => (linking.await, deleting.await),
                1 => {
                    let fates = deleting.await;
                    (linking.await, fates)
                }
                _ => tokio::join!(linking, deleting),
            };
            match (linked, fates[0]) {
                (1, Fate::Protected) => kept += 1,
                (0, Fate::Deleted) => gone += 1,
                other => panic!("record {id}: {other:?}"),
            }
        }
        println!("{kept} links won, {gone} records went");
        assert!(kept > 0 && gone > 0);
        let live = "SELECT CAST(count(*) AS TEXT) FROM share_links JOIN stored_files f ON f.id = stored_file_id WHERE is_active";
        assert_eq!(column(&person, live).await, [kept.to_string()]);
        index.close().await;
    });
}

/// A record that somebody else has made meanwhile stays, on the way straight into the table and on the other one.
#[test]
fn a_record_that_is_there_already_is_left_alone() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = with_records(&database, 3).await;
        let writer = index.writer().unwrap();
        for first in [true, false] {
            let rows: Vec<_> = ["1/f00001".to_owned(), format!("1/g{first}"), format!("1/h{first}")]
                .iter()
                .map(|k| record(k, first))
                .collect();
            assert_eq!(writer.write(&rows, &[]).await.unwrap().created, 2, "{first}");
        }
        let db = database.connect().await;
        let paths = column(&db, "SELECT path FROM stored_files ORDER BY path").await;
        assert_eq!(paths, ["f00000", "f00001", "f00002", "gfalse", "gtrue", "hfalse", "htrue"]);
        let names = column(&db, "SELECT DISTINCT CAST(size AS TEXT) || content_type || etag FROM stored_files").await;
        assert_eq!(names, ["1text/plaint"]);
        // A batch for a user who has been removed is written not at all.
        let mut rows = vec![record("1/x", true), record("1/y", true)];
        rows[1].user = 77;
        assert!(writer.write(&rows, &[]).await.is_err());
        assert_eq!(column(&db, "SELECT CAST(count(*) AS TEXT) FROM stored_files").await, ["7"]);
        index.close().await;
    });
}

#[test]
fn databases_that_cannot_be_the_index_are_4() {
    if skip::unless_on_postgres() {
        return;
    }
    let server = database::server().unwrap();
    let playground = Playground::with_user();
    let url = playground.index.url();
    let refuses = |url: &str, words: &[&str]| {
        let ran = playground.rebuild(&["--mode", "sync", "--database", url]).ends(4);
        assert_eq!(ran.json()["status"], "FAILED", "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        for word in words {
            assert!(ran.err.contains(word), "{word:?} is not in {ran:?}");
        }
    };
    let port = url::Url::parse(server).unwrap().port().unwrap().to_string();
    refuses(&url.replace(&port, "1"), &["no server answers", "host and port"]);
    refuses(&server.replace("/postgres", "/nothing"), &["\"nothing\" does not exist"]);
    refuses(&url.replace("postgres@", "nobody:sesame@"), &["nobody:***@", "does not exist"]);
    let sql = |database: &TestDatabase, statements: &str| {
        block_on(async { execute(&database.connect().await, statements).await });
    };
    let other = TestDatabase::blank();
    sql(&other, "CREATE TABLE invoices (id INTEGER)");
    refuses(&other.url(), &["another program", "invoices"]);

    let narrow = TestDatabase::made("TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    refuses(&narrow.url(), &["SQL_ASCII", "not as UTF-8"]);

    playground.sql("ALTER TABLE stored_files ALTER COLUMN path TYPE text COLLATE \"default\"");
    refuses(&url, &["collation", "not by bytes", "COLLATE \"C\""]);
    playground.sql("ALTER TABLE stored_files ALTER COLUMN path TYPE text COLLATE \"C\"");
    playground.sync();
    playground.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_future', 0)");
    refuses(&url, &["newer", "m29991231_000001_future"]);
}

/// What other programs write into the URL of a server.
#[test]
fn options_of_a_url_reach_the_server() {
    if skip::unless_on_postgres() {
        return;
    }
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    let url = playground.index.url();
    for option in
        ["connect_timeout=600", "options[statement_timeout]=600s", "options[datestyle]=German", "gssencmode=prefer"]
    {
        let ran = playground.rebuild(&["--database", &format!("{url}?{option}")]);
        if option.starts_with("gss") {
            ran.ends(2).complains(&["gssencmode", "sslmode", "connect_timeout", "options[NAME]", "application_name"]);
        } else {
            ran.ends(1);
        }
    }
    // However the session would write times, they are read.
    let german = format!("{url}?options[datestyle]=German");
    playground.rebuild(&["--database", &german, "--mode", "sync"]).ends(0);
    playground.rebuild(&["--database", &german]).ends(0);
    let tasks = playground.run(&["task", "list", "--format", "json", "--database", &german]).ends(0).json();
    assert!(tasks[0]["created_at"].as_str().unwrap().contains("T"), "{tasks}");
    let ran = playground.rebuild(&["--database", &format!("{url}?options[no_such_setting]=1")]).ends(4);
    assert!(ran.err.contains("no_such_setting"), "{ran:?}");
    playground.rebuild(&["--database", &format!("{url}?connect_timeout=soon")]).ends(2).complains(&["connect_timeout"]);
    // Nobody answers: who has less patience gives up before the other, who was there first.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |seconds: u32| format!("postgres://u@{}/d?connect_timeout={seconds}", silent.local_addr().unwrap());
    let mut patient = playground.command();
    let patient = patient.args(["rebuild", "-q", "--database", &url(86_400)]).stdout(Stdio::null());
    let mut patient = patient.spawn().unwrap();
    // It is there.
    let _its = silent.accept().unwrap();
    playground.rebuild(&["--database", &url(1)]).ends(4);
    assert!(patient.try_wait().unwrap().is_none(), "it has not waited as long as it was told to");
    patient.kill().unwrap();
    patient.wait().unwrap();
}

/// An audit needs no right but to read.
#[test]
fn law_05_a_role_that_can_only_read_can_audit() {
    if skip::unless_on_postgres() {
        return;
    }
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    let role = format!("reader{}", std::process::id());
    playground.sql(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    let url = playground.index.url().replace("postgres@", &format!("{role}@"));
    playground.rebuild(&["--database", &url]).ends(1);
    playground.rebuild(&["--database", &url, "--mode", "full", "--dry-run"]).ends(1);
    playground.rebuild(&["--database", &url, "--adopt"]).ends(1);
    let ran = playground.rebuild(&["--database", &url, "--mode", "sync"]).ends(4);
    assert!(ran.err.contains("permission denied") && ran.err.lines().count() == 1, "{ran:?}");
    playground.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn programs_that_start_together_migrate_once() {
    if skip::unless_on_postgres() {
        return;
    }
    let playground = Playground::new();
    let start = || {
        let mut command = playground.command();
        command.args(["migrate", "up"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let replicas: Vec<_> = (0..6).map(|_| start()).collect();
    for replica in replicas {
        let ran = replica.wait_with_output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let steps = playground.run(&["migrate", "status", "--format", "json"]).ends(0).json();
    assert!(steps.as_array().unwrap().iter().all(|step| step["applied"] == true), "{steps}");
}

/// A path longer than an entry of the index of paths can be is told, whatever is in it, and the others go on.
#[test]
fn a_path_that_is_too_long_is_unindexable() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = TestDatabase::fresh();
    block_on(async {
        let index = with_records(&database, 0).await;
        let longest = index.longest_path();
        let store = Arc::new(InMemory::new());
        // Nothing that could be compressed: that would hide where the limit is.
        let mut random = crate::support::random::Random::new(11);
        let mut path = |length: usize| -> String {
            (0..length)
                .map(|_| char::from(33 + random.below(14) as u8))
                .map(|c| if c == '/' { '0' } else { c })
                .collect()
        };
        for length in [longest, longest + 1, 4_000] {
            store.put(&Path::parse(format!("1/{}", path(length))).unwrap(), "x".into()).await.unwrap();
        }
        store.put(&Path::parse("1/z").unwrap(), "x".into()).await.unwrap();
        let storage = Storage::new(store);
        let reconciler = Reconciler::new(&storage, &index);
        let report = reconciler.run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
        assert_eq!((report.tally.created, report.tally.unindexable, report.tally.objects), (2, 2, 2), "{report:?}");
        assert!(report.problems.is_empty());
        let again = reconciler.run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
        assert_eq!((again.tally.created, again.tally.unindexable), (0, 2));
        index.close().await;
    });
}

/// On a database whose language sorts in its own way, a second run is empty all the same.
#[test]
fn law_01_a_language_does_not_change_the_order() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = TestDatabase::in_language_order();
    block_on(async {
        let index = with_records(&database, 0).await;
        let db = database.connect().await;
        assert_eq!(column(&db, "SELECT CAST('a' < 'B' AS TEXT)").await, ["true"], "this is no language");
        let store = Arc::new(InMemory::new());
        for key in ["a", "a-b", "a/b", "a0", "B", "é", "e\u{301}", "Z", "z", "a b", "_", "ä", "\u{ff5e}", "\u{10000}"]
        {
            store.put(&Path::parse(format!("1/{key}")).unwrap(), "x".into()).await.unwrap();
        }
        for n in 0..12_000 {
            store.put(&Path::parse(format!("1/{}{n}", ["d", "D", "é-"][n % 3])).unwrap(), "x".into()).await.unwrap();
        }
        let storage = Storage::new(store);
        let reconciler = Reconciler::new(&storage, &index);
        let request = Request { force: true, ..Request::new(Mode::Full) };
        assert_eq!(reconciler.run(&request, &mut Silent).await.unwrap().tally.created, 12_014);
        let again = reconciler.run(&request, &mut Silent).await.unwrap();
        assert_eq!((again.tally.records, again.tally.has_drift()), (12_014, false), "{again:?}");
        index.close().await;
    });
}

/// Connections that break in the middle of a run are made again where nothing is lost by it; else the run says so, and
/// the next one ends the work.
#[test]
fn connections_that_break_leave_nothing_half_done() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = Arc::new(TestDatabase::fresh());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let index = with_records(&database, 0).await;
        let store = Arc::new(InMemory::new());
        for n in 0..40_000 {
            store.put(&Path::parse(format!("1/f{n}")).unwrap(), "x".into()).await.unwrap();
        }
        let done = Arc::new(AtomicBool::new(false));
        let breaker = tokio::spawn({
            let (database, done) = (Arc::clone(&database), Arc::clone(&done));
            async move {
                let admin = database.connect().await;
                let mut broken = 0;
                while !done.load(Ordering::Relaxed) {
                    let end = "SELECT CAST(count(pg_terminate_backend(pid)) AS TEXT) FROM pg_stat_activity \
                               WHERE datname = current_database() AND pid <> pg_backend_pid()";
                    broken += column(&admin, end).await[0].parse::<u64>().unwrap();
                    tokio::task::yield_now().await;
                    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
                }
                broken
            }
        });
        let storage = Storage::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        let reconciler = Reconciler::new(&storage, &index);
        let request = Request { force: true, max_delete: Some("100%".parse().unwrap()), ..Request::new(Mode::Full) };
        let mut whole = 0;
        for round in 0..4 {
            match reconciler.run(&request, &mut Silent).await {
                Ok(report) => {
                    whole += u64::from(report.status == Status::Successful && report.problems.is_empty());
                    assert!(report.status == Status::Successful || !report.problems.is_empty(), "{report:?}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            for n in (round..40_000).step_by(4 * (round + 1)) {
                let _ = store.delete(&Path::parse(format!("1/f{n}")).unwrap()).await;
            }
        }
        done.store(true, Ordering::Relaxed);
        let broken = breaker.await.unwrap();
        println!("{broken} connections were broken, {whole} of 4 runs were whole");
        assert!(broken > 0);
        // A lease whose giving back was broken as well ends by itself.
        let release = "UPDATE lease SET task_id = NULL";
        database::execute(&database.connect().await, release).await;
        let report = reconciler.run(&request, &mut Silent).await.unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        let again = reconciler.run(&Request::new(Mode::Audit), &mut Silent).await.unwrap();
        assert!(!again.tally.has_drift() && again.tally.objects == again.tally.records, "{again:?}");
        index.close().await;
    });
}

/// Looking makes nothing: an audit of a database in which nothing is yet leaves it so.
#[test]
fn an_audit_of_a_blank_database_leaves_it_blank() {
    if skip::unless_on_postgres() {
        return;
    }
    let playground = Playground::new();
    playground.write("1/a", "x");
    assert_eq!(playground.rebuild(&[]).ends(0).result()["unclaimed_on_disk"], 1);
    playground.rebuild(&["--adopt"]).ends(1);
    playground.run(&["user", "list"]).ends(0);
    let tables = "SELECT CAST(tablename AS text) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(block_on(async { column(&playground.database().await, tables).await }), [""; 0]);
    // What stands in for it has the same limits: the real run finds what the dry one has foretold.
    playground.write(&format!("1/{}x", format!("{}/", "d".repeat(190)).repeat(15)), "x");
    let dry = playground.rebuild(&["--mode", "sync", "--adopt", "--dry-run"]).ends(1).result();
    let real = playground.rebuild(&["--mode", "sync", "--adopt"]).ends(0).result();
    for key in ["files_on_disk", "missing_in_db", "records_created", "unindexable_on_disk"] {
        assert_eq!((&dry[key], &real[key]), (&1.into(), &1.into()), "{key}");
    }
}

/// Whoever loses a deadlock tries again: nothing of the batch has happened.
#[test]
fn a_deadlock_is_tried_again() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = TestDatabase::fresh();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let index = with_records(&database, 2).await;
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        let records: Vec<_> = (0..2).map(|at| (page.get(at).id, page.get(at).version.to_vec())).collect();
        let (low, high) = (records[0].0, records[1].0);
        let (other, watcher) = (database.connect().await, database.connect().await);
        // The other one never gives way by itself.
        execute(&other, "SET deadlock_timeout = '1h'").await;
        execute(&other, &format!("BEGIN; SELECT 1 FROM stored_files WHERE id = {high} FOR UPDATE")).await;
        let writer = index.writer().unwrap();
        let deleting = tokio::spawn(async move {
            let candidates: Vec<_> =
                records.iter().map(|(id, version)| Candidate { id: *id, user: 1, version }).collect();
            writer.delete(&candidates).await
        });
        let waiting = "SELECT CAST(count(*) AS text) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while column(&watcher, waiting).await == ["0"] {
            tokio::task::yield_now().await;
        }
        execute(&other, &format!("SELECT 1 FROM stored_files WHERE id = {low} FOR UPDATE")).await;
        execute(&other, "COMMIT").await;
        assert_eq!(deleting.await.unwrap().unwrap(), [Fate::Deleted, Fate::Deleted]);
        index.close().await;
    });
}

/// Whatever is tried again has certainly not happened; whoever asked for it does not hear of it.
#[test]
fn the_small_writes_are_tried_again_as_well() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let db = database.connect().await;
        // The first write to one of these tables loses a deadlock; a sequence does not forget that it was asked.
        let hiccup = "CREATE SEQUENCE hiccups; CREATE FUNCTION hiccup() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                      IF nextval('hiccups') = 1 THEN RAISE EXCEPTION 'hiccup' USING ERRCODE = '40P01'; END IF; \
                      RETURN NULL; END $$";
        execute(&db, hiccup).await;
        for table in ["users", "tasks", "storage_binding", "journal"] {
            let trigger = "AFTER INSERT OR UPDATE OR DELETE";
            let trigger = format!("CREATE TRIGGER hiccup {trigger} ON {table} EXECUTE FUNCTION hiccup()");
            execute(&db, &trigger).await;
        }
        let task = Uuid::now_v7();
        let outcome = Outcome { status: "SUCCESSFUL", result: json!({}), errors: json!([]) };
        let user = |id| User { id, name: format!("u{id}"), prefix: Prefix::parse(&format!("u{id}")).unwrap() };
        let mut lease = None;
        for what in ["add", "rename", "take", "adopt", "unsettle", "settle", "bind", "trim", "end", "remove"] {
            execute(&db, "SELECT setval('hiccups', 1, false)").await;
            let writer = lease.as_ref().map(storm_index::index::Lease::writer);
            let writer = || writer.clone().unwrap();
            let done: Result<(), IndexError> = match what {
                "add" => index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.map(drop),
                "rename" => index.rename_user("u", "v").await.map(drop),
                "take" => index.take_lease(task, &json!({}), LeaseTerms::default()).await.map(|it| lease = Some(it)),
                "adopt" => writer().adopt_user(&user(7)).await,
                "unsettle" => writer().unsettle(&[1]).await,
                "settle" => writer().settle(&[1]).await,
                "bind" => writer().bind(Uuid::now_v7()).await,
                "trim" => writer().trim_journal(std::time::Duration::ZERO).await.map(drop),
                "end" => writer().end_task(&task.to_string(), &outcome).await,
                _ => index.remove_user("v").await.map(drop),
            };
            assert!(done.is_ok(), "{what}: {done:?}");
            let asked = column(&db, "SELECT CAST(last_value AS text) FROM hiccups").await;
            assert!(asked[0].parse::<u64>().unwrap() > 1, "{what} met no hiccup");
        }
        assert_eq!(index.lease_holder().await.unwrap(), None);
        index.close().await;
    });
}

/// A restore that brings the old record back in the moment of a link takes nothing from the link.
#[test]
fn a_link_to_a_record_that_is_replaced_leads_to_the_new_one() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = TestDatabase::fresh();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let index = with_records(&database, 1).await;
        let (other, watcher) = (database.connect().await, database.connect().await);
        let replace = "BEGIN; DELETE FROM stored_files; \
                       INSERT INTO stored_files (id, user_id, path) VALUES (77, 1, 'f00000')";
        let link = |token: &str| NewLink { user: 1, path: "f00000".into(), token: token.into(), expires_at: None };
        for (id, undone) in [(77, false), (78, true)] {
            execute(&other, &replace.replace("77", &id.to_string())).await;
            let (shared, new) = (index.clone(), link(&format!("t{id}")));
            let linking = tokio::spawn(async move { shared.create_link(new).await });
            let waiting = "SELECT CAST(count(*) AS text) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while column(&watcher, waiting).await == ["0"] && !linking.is_finished() {
                tokio::task::yield_now().await;
            }
            let end = if undone { "DELETE FROM stored_files; COMMIT" } else { "COMMIT" };
            execute(&other, end).await;
            match linking.await.unwrap() {
                Ok(link) => assert_eq!((link.stored_file_id, undone), (id, false)),
                Err(IndexError::UnknownPath { .. }) => assert!(undone, "there is a record"),
                Err(other) => panic!("{other}"),
            }
            execute(&other, "DELETE FROM share_links").await;
        }
        index.close().await;
    });
}

/// A batch that takes long does not keep its run from giving signs of life.
#[test]
fn law_12_signs_of_life_go_past_a_long_batch() {
    if skip::unless_on_postgres() {
        return;
    }
    let database = TestDatabase::fresh();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let index = with_records(&database, 1).await;
        let (expiry, heartbeat) = (std::time::Duration::from_secs(30), std::time::Duration::from_millis(20));
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), LeaseTerms { expiry, heartbeat }).await.unwrap();
        let (other, watcher) = (database.connect().await, database.connect().await);
        execute(&other, "BEGIN; LOCK TABLE stored_files").await;
        let writer = lease.writer();
        let batch = tokio::spawn(async move { writer.write(&[record("1/new", false)], &[]).await });
        let held =
            "SELECT CAST(count(*) AS text) FROM pg_locks WHERE relation = 'stored_files'::regclass AND NOT granted";
        while column(&watcher, held).await == ["0"] && !batch.is_finished() {
            tokio::task::yield_now().await;
        }
        let expires = "SELECT CAST(expires_at AS text) FROM lease";
        let before = column(&watcher, expires).await;
        while column(&watcher, expires).await == before && !batch.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!batch.is_finished(), "no sign of life came through");
        match index.take_lease(Uuid::now_v7(), &json!({}), LeaseTerms::default()).await {
            Err(IndexError::Held(holder)) => assert_eq!(holder.task_id, task.to_string()),
            other => panic!("{other:?}"),
        }
        // The end of the run waits for what it has under way, and nobody else begins before.
        let writer = lease.writer();
        let outcome = Outcome { status: "SUCCESSFUL", result: json!({}), errors: json!([]) };
        let end = tokio::spawn(async move { writer.end_task(&task.to_string(), &outcome).await });
        let two = "SELECT CAST(count(*) AS text) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while column(&watcher, two).await == ["1"] && !end.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!end.is_finished(), "it ended before its last batch");
        execute(&other, "COMMIT").await;
        assert_eq!(batch.await.unwrap().unwrap().created, 1);
        end.await.unwrap().unwrap();
        assert_eq!(index.task(&task.to_string()).await.unwrap().status, "SUCCESSFUL");
        drop(lease);
        index.close().await;
    });
}

/// Waits until so many connections to the database wait for a lock, or `child` has ended without waiting.
async fn until_waiting(watcher: &sea_orm::DatabaseConnection, count: usize, child: &mut std::process::Child) {
    let query = "SELECT CAST(count(*) AS text) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while column(watcher, query).await[0].parse::<usize>().unwrap() < count && child.try_wait().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

/// A user who is removed takes along what the person saw, and nothing that came while she waited.
#[test]
fn law_02_a_removal_waits_for_whoever_is_adding() {
    if skip::unless_on_postgres() {
        return;
    }
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    // Another program holds one dead link, so that the removal waits in its middle.
    playground
        .sql("INSERT INTO share_links (stored_file_id, token, is_active) SELECT id, 'dead', false FROM stored_files");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (holder, watcher) = runtime.block_on(async {
        let holder = playground.index.connect().await;
        execute(&holder, "BEGIN; UPDATE share_links SET token = token").await;
        (holder, playground.index.connect().await)
    });
    let mut removal = playground.command().args(["user", "remove", "ann"]).stderr(Stdio::null()).spawn().unwrap();
    runtime.block_on(until_waiting(&watcher, 1, &mut removal));
    playground.write("1/new", "x");
    let mut sync = playground.command();
    let mut sync =
        sync.args(["rebuild", "--mode", "sync", "-q"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    runtime.block_on(until_waiting(&watcher, 2, &mut sync));
    runtime.block_on(execute(&holder, "COMMIT"));
    assert!(removal.wait().unwrap().success());
    assert_eq!(sync.wait().unwrap().code(), Some(4), "the user is gone");
    assert_eq!(playground.paths(), [""; 0], "no record outlives its user");
    // And another program cannot take a user away from under her records.
    playground.add_user("ann", 1);
    playground.sync();
    let delete = async { sea_orm::ConnectionTrait::execute_unprepared(&watcher, "DELETE FROM users").await };
    assert!(runtime.block_on(delete).unwrap_err().to_string().contains("has records"));
}

/// A database that isolates transactions more than is asked for does not make a run fail.
#[test]
fn law_02_a_link_wins_whatever_the_usual_isolation_is() {
    if skip::unless_on_postgres() {
        return;
    }
    for isolation in ["repeatable read", "serializable"] {
        let playground = Playground::with_user();
        ["1/a", "1/b", "1/c"].iter().for_each(|key| playground.write(key, "x"));
        playground.sync();
        let name = url::Url::parse(&playground.index.url()).unwrap().path().trim_start_matches('/').to_owned();
        playground.sql(&format!("ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"));
        ["1/a", "1/b"].iter().for_each(|key| playground.remove(key));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (person, watcher) = runtime.block_on(async {
            let person = playground.index.connect().await;
            let link =
                "INSERT INTO share_links (stored_file_id, token) SELECT id, 'live' FROM stored_files WHERE path = 'a'";
            execute(&person, &format!("BEGIN; {link}")).await;
            (person, playground.index.connect().await)
        });
        let mut clean = playground.command();
        clean.args(["rebuild", "--mode", "clean", "--force", "--format", "json"]).stdout(Stdio::piped());
        let mut clean = clean.spawn().unwrap();
        runtime.block_on(async {
            until_waiting(&watcher, 1, &mut clean).await;
            execute(&person, "COMMIT").await;
        });
        let ran = crate::support::playground::Ran::from(clean.wait_with_output().unwrap()).ends(0).result();
        assert_eq!((&ran["records_deleted"], &ran["records_skipped"]), (&1.into(), &1.into()), "{isolation}: {ran}");
        assert_eq!(playground.paths(), ["1/a", "1/c"]);
    }
}
