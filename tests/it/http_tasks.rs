//! Tasks of the API: waited for or not, asked for twice, cancelled, watched, and known after a restart.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStoreExt as _, path::Path};
use serde_json::{Value, json};
use storm_index::index::{Access, Index, LeaseTerms, NewUser};
use storm_index::reconcile::{
    Cancel, CancelReason, Evidence, FindingKind, Mode, Observer, Phase, Progress, Reconciler, Request, Silent, Status,
};
use storm_index::storage::Storage;
use uuid::Uuid;

use crate::support::database::{self, TestDatabase};
use crate::support::hanging::Hanging;
use crate::support::playground::{Playground, block_on};
use crate::support::vacant::Vacant;

const TASKS: &str = "/api/v1/index/tasks";

/// An S3 server that lets nobody in.
fn refusing() -> Hanging {
    let hanging = Hanging::new();
    let listener = hanging.0.try_clone().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                // Requests for its objects have no body.
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0_u8];
                    if client.read_exact(&mut byte).is_err() {
                        return;
                    }
                    request.push(byte[0]);
                }
                let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = client.write_all(answer);
            });
        }
    });
    hanging
}

fn id_of(answer: &Value) -> String {
    answer["task_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_task_is_waited_for_as_long_as_the_client_prefers() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    for (prefer, applied) in [("respond-async", "respond-async"), ("wait=1", "wait=1")] {
        let reply = server.rebuild(&key, &[("Prefer", prefer)], r#"{"mode":"audit"}"#).is(202);
        assert_eq!(reply.header("preference-applied"), Some(applied));
        let answer = reply.json();
        // Who does not wait for long may be told before it has begun.
        assert!(["READY", "RUNNING"].map(Value::from).contains(&answer["status"]), "{answer}");
        assert_eq!(answer["result"], json!(null));
        server.until(&key, &id_of(&answer), |view| view["status"] == "RUNNING");
        let location = reply.header("location").unwrap();
        assert_eq!(location, format!("{TASKS}/{}", id_of(&answer)));
        let view = server.get(location, &key).is(200).json();
        assert_eq!(view["request"]["mode"], "audit");
        server.post(&format!("{location}/cancel/"), &key, &[], "").is(202);
        let view = server.until(&key, &id_of(&answer), |view| view["finished_at"].is_string());
        assert_eq!((&view["status"], &view["errors"][0]["code"]), (&json!("CANCELLED"), &json!("cancelled")), "{view}");
        server.post(&format!("{location}/cancel"), &key, &[], "").is(200);
    }
    server.post(&format!("{TASKS}/{}/cancel", Uuid::now_v7()), &key, &[], "").problem(404, "unknown_task");
}

#[test]
fn a_writing_task_that_hangs_is_cancelled_from_anywhere_and_gives_its_lease_back() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    for by_cli in [false, true] {
        let answer = server.rebuild(&key, &[("Prefer", "respond-async")], r#"{"mode":"sync"}"#).is(202).json();
        let task = id_of(&answer);
        server.until(&key, &task, |view| view["status"] == "RUNNING");
        // Meanwhile nobody else writes, and the one who does is named.
        let reply = server.rebuild(&key, &[], r#"{"mode":"sync"}"#).problem(409, "run_in_progress");
        assert_eq!(reply.json()["holder"]["task_id"], task.as_str());
        playground.rebuild(&["--mode", "sync"]).ends(5).complains(&[&task]);
        if by_cli {
            playground.run(&["task", "cancel", &task]).ends(0);
        } else {
            server.post(&format!("{TASKS}/{task}/cancel"), &key, &[], "").is(202);
        }
        let view = server.until(&key, &task, |view| view["finished_at"].is_string());
        assert_eq!(view["status"], "CANCELLED", "{view}");
        playground.run(&["task", "cancel", &task]).ends(2);
        playground.sync();
    }
    let done = playground.rebuild(&["--mode", "sync"]).ends(0).json();
    let path = format!("{TASKS}/{}/cancel", id_of(&done));
    server.post(&path, &key, &[], "").problem(409, "task_ended");
    assert_eq!(server.get(TASKS, &key).json()["tasks"].as_array().unwrap().len(), 5);
}

#[test]
fn a_server_that_is_stopped_ends_its_tasks_and_they_are_known_afterwards() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &["--log-format", "json"]);
    let ask = |mode: &str| {
        let body = format!("{{\"mode\":\"{mode}\"}}");
        id_of(&server.rebuild(&key, &[("Prefer", "respond-async")], &body).is(202).json())
    };
    let tasks = [ask("sync"), ask("audit")];
    let (code, log) = server.stop();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains(&format!("\"task_id\":\"{}\"", tasks[0])), "{log}");
    let server = playground.serve(&[]);
    for task in &tasks {
        let view = server.get(&format!("{TASKS}/{task}"), &key).is(200).json();
        assert_eq!((&view["status"], &view["errors"][0]["code"]), (&json!("FAILED"), &json!("shut_down")), "{view}");
    }
    playground.sync();
}

#[test]
fn tasks_whose_server_was_killed_are_failed() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let mut server = hanging.serve(&playground, &[]);
    let ask = |body: &str| id_of(&server.rebuild(&key, &[("Prefer", "respond-async")], body).is(202).json());
    let tasks = [ask(r#"{"mode":"sync"}"#), ask(r#"{"mode":"audit"}"#)];
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = playground.serve(&["--lease-expiry", "2s"]);
    for task in &tasks {
        let view = server.until(&key, task, |view| view["finished_at"].is_string());
        assert_eq!(
            (&view["status"], &view["errors"][0]["code"]),
            (&json!("FAILED"), &json!("holder_vanished")),
            "{view}"
        );
    }
}

#[test]
fn the_same_key_is_the_same_task() {
    let playground = Playground::with_user();
    let (key, other) = (playground.admin_key(), playground.admin_key());
    let server = playground.serve(&[]);
    let ask = |key: &str, body: &str| server.rebuild(key, &[("Idempotency-Key", "once")], body);
    let first = ask(&key, r#"{"mode":"sync"}"#).is(200).json();
    assert_eq!(ask(&key, r#"{ "dry_run": false, "mode": "sync" }"#).is(200).json(), first);
    ask(&key, r#"{"mode":"audit"}"#).problem(422, "idempotency_key_reused");
    assert_ne!(ask(&other, r#"{"mode":"sync"}"#).is(200).json()["task_id"], first["task_id"]);
    // What could not begin has used no key up.
    let unknown = r#"{"mode":"audit","user_id":2}"#;
    let again = |body: &str| server.rebuild(&key, &[("Idempotency-Key", "twice")], body);
    again(unknown).problem(422, "unknown_user");
    playground.add_user("bob", 2);
    again(unknown).is(200);
    server.rebuild(&key, &[("Idempotency-Key", "")], unknown).problem(400, "invalid_parameter");
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    server.rebuild(&key, &twice, unknown).problem(400, "invalid_parameter");
    // A task that somebody has removed is not answered for.
    let gone = again(unknown).is(200).json();
    playground.sql(&format!("DELETE FROM tasks WHERE id = '{}'", id_of(&gone)));
    assert_ne!(again(unknown).is(200).json()["task_id"], gone["task_id"]);
    // After a day it is forgotten.
    playground.sql("UPDATE idempotency_keys SET created_at = created_at - 86401");
    ask(&key, r#"{"mode":"audit"}"#).is(200);
}

#[test]
fn findings_are_paged_in_three_forms() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    (0..7).for_each(|n| playground.write(&format!("1/f{n}.txt"), "x"));
    playground.write("nobody/x", "x");
    let server = playground.serve(&[]);
    let task = id_of(&server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200).json());
    let path = format!("{TASKS}/{task}/findings");
    let (mut next, mut paths) = (json!(0), Vec::new());
    while !next.is_null() {
        let page = server.get(&format!("{path}?limit=3&after={next}"), &key).is(200);
        assert_eq!(page.header("link").is_some(), page.json()["next"].is_number());
        let page = page.json();
        paths.extend(page["findings"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_owned()));
        next = page["next"].clone();
    }
    assert_eq!(paths.len(), 8, "{paths:?}");
    let only = server.get(&format!("{path}?kind=unclaimed"), &key).is(200).json();
    assert_eq!((only["findings"].as_array().unwrap().len(), &only["findings"][0]["path"]), (1, &json!("nobody/x")));
    let form = |accept: &str| {
        let bearer = format!("Bearer {key}");
        server.send("GET", &path, &[("Authorization", &bearer), ("Accept", accept)], b"").is(200)
    };
    let ndjson = form("application/x-ndjson");
    assert!(ndjson.header("content-type").unwrap().starts_with("application/x-ndjson"), "{ndjson:?}");
    assert_eq!(ndjson.body.lines().filter(|l| serde_json::from_str::<Value>(l).is_ok()).count(), 8);
    let csv = form("text/csv");
    assert!(csv.header("content-type").unwrap().starts_with("text/csv"), "{csv:?}");
    assert_eq!(csv.body.lines().count(), 9, "{csv:?}");
    server.get(&format!("{path}?after=3"), &key).problem(400, "invalid_parameter");
    server.get(&format!("{path}?kind=matched"), &key).problem(400, "invalid_parameter");
    let elsewhere = id_of(&playground.rebuild(&[]).json());
    server.get(&format!("{TASKS}/{elsewhere}/findings"), &key).problem(404, "findings_gone");
}

#[test]
fn a_task_is_watched_to_its_end() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    let task = id_of(&server.rebuild(&key, &[("Prefer", "respond-async")], r#"{"mode":"sync"}"#).is(202).json());
    let auth = format!("Bearer {key}");
    let mut stream = server.begin("GET", &format!("{TASKS}/{task}/events"), &[("Authorization", &auth)], b"");
    let mut seen = String::new();
    let mut buffer = [0_u8; 4096];
    while !seen.contains("event: progress") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{seen}");
        seen += &String::from_utf8_lossy(&buffer[..read]);
    }
    assert!(seen.contains("text/event-stream"), "{seen}");
    server.post(&format!("{TASKS}/{task}/cancel"), &key, &[], "").is(202);
    stream.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("event: end") && seen.contains("CANCELLED"), "{seen}");
}

/// Also when the server is stopped, and the task ends with it.
#[test]
fn a_task_is_watched_to_its_end_by_the_end_of_its_server() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    for mode in ["sync", "audit"] {
        let hanging = Hanging::new();
        let server = hanging.serve(&playground, &[]);
        let body = format!("{{\"mode\":\"{mode}\"}}");
        let task = id_of(&server.rebuild(&key, &[("Prefer", "respond-async")], &body).is(202).json());
        server.until(&key, &task, |view| view["status"] == "RUNNING");
        let auth = format!("Bearer {key}");
        let mut stream = server.begin("GET", &format!("{TASKS}/{task}/events"), &[("Authorization", &auth)], b"");
        let mut seen = String::new();
        let mut buffer = [0_u8; 4096];
        while !seen.contains("event: progress") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{seen}");
            seen += &String::from_utf8_lossy(&buffer[..read]);
        }
        let watched = std::thread::spawn(move || stream.read_to_string(&mut seen).map(|_| seen));
        assert_eq!(server.stop().0, 0);
        let seen = watched.join().unwrap().unwrap();
        assert!(seen.contains("event: end") && seen.contains("shut_down"), "{mode}: {seen}");
    }
}

#[test]
fn fifty_clients_at_once_and_one_that_hangs_up() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    (0..50).for_each(|n| playground.write(&format!("1/f{n}"), "x"));
    let server = playground.serve(&[]);
    let auth = format!("Bearer {key}");
    let body = br#"{"mode":"sync"}"#;
    let headers = [("Authorization", auth.as_str()), ("Content-Type", "application/json")];
    drop(server.begin("POST", "/api/v1/index/rebuild/", &headers, body));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let mode = if n.is_multiple_of(2) { "sync" } else { "audit" };
            server.rebuild(&key, &[], &format!("{{\"mode\":\"{mode}\"}}")).status
        };
        let clients: Vec<_> = (0..50).map(|n| scope.spawn(move || ask(n))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 25, "{statuses:?}");
    while server.rebuild(&key, &[], r#"{"mode":"sync"}"#).status != 200 {}
    assert_eq!(playground.paths().len(), 50);
    server.send("GET", "/health/live", &[], b"").is(200);
    let metrics = server.send("GET", "/metrics", &[], b"").is(200).body;
    for word in [
        "storm_index_http_requests_total",
        "route=\"/api/v1/index/rebuild\"",
        "storm_index_runs_total",
        "outcome=\"successful\"",
    ] {
        assert!(metrics.contains(word), "{word}: {metrics}");
    }
}

/// ADR 009: the startup audit must not block the launch; and law 15.
#[test]
fn law_15_the_startup_audit_never_delays_or_stops_the_server() {
    // It finds drift: one readable line, a field of the health, metrics.
    let playground = Playground::with_user();
    let key = playground.admin_key();
    playground.write("1/a", "x");
    let server = playground.serve(&["--startup-audit", "true"]);
    let line = server.says("startup audit:");
    assert!(line.contains("1 missing, 0 orphaned, 0 stale, 0 moved; 1 files in the storage, 0 in the index"), "{line}");
    let last = server.until_ready(|told| told["audit"]["state"] == "done" && !told["audit"]["last"].is_null());
    assert_eq!(last["audit"]["last"]["result"]["missing_in_db"], 1);
    let metrics = server.send("GET", "/metrics", &[], b"").body;
    assert!(metrics.contains("storm_index_audit_findings{kind=\"missing\"} 1"), "{metrics}");
    drop(server);
    // The storage is missing: an answer, and no path of the disk in it.
    let missing = playground.path("gone");
    let server = playground.serve(&["--startup-audit", "true", "--storage", missing.to_str().unwrap()]);
    assert!(server.says("startup audit:").contains("does not exist"));
    let ready = server
        .until_ready(|told| told["audit"]["last"]["status"] == "FAILED" && told["storage"] != json!("storage_silent"));
    // Who sends no key is told a word, and no message, which may have names in it.
    let last = &ready["audit"]["last"];
    assert_eq!(last["result"]["errors"][0]["code"], "storage_missing");
    assert!(last["drift"].is_null(), "who saw nothing knows of no drift: {last}");
    assert!(last["summary"].as_str().unwrap().starts_with("storage_missing: see the log"), "{last}");
    assert!(!ready.to_string().contains("does not exist"), "{ready}");
    assert_eq!((&ready["status"], &ready["storage"]), (&json!("ready"), &json!("storage_missing")));
    let reply = server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200);
    assert_eq!(
        (&reply.json()["status"], &reply.json()["result"]["errors"][0]["code"]),
        (&json!("FAILED"), &json!("storage_missing"))
    );
    let view = server.get(&format!("{TASKS}/{}", id_of(&reply.json())), &key).is(200);
    for told in [&ready.to_string(), &reply.body, &view.body] {
        assert!(!told.contains(playground.dir.path().to_str().unwrap()), "{told}");
    }
    std::fs::create_dir(&missing).unwrap();
    server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200);
    drop(server);
    // Its listing hangs: the server answers, and goes when it is asked to.
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &["--startup-audit", "true"]);
    let ready = server.until_ready(|told| told["audit"]["state"] == "running");
    assert_eq!(ready["storage"], "storage_silent");
    server.get(TASKS, &key).is(200);
    assert_eq!(server.stop().0, 0);
    // It is there, and lets nobody in.
    let refusing = refusing();
    let server = refusing.serve(&playground, &[]);
    let ready = server.until_ready(|told| told["storage"] != "storage_silent");
    assert_eq!(ready["storage"], "storage_refused");
    drop(server);
    // Nothing is wrong, and nothing is asked for.
    let server = playground.serve(&[]);
    assert_eq!(server.send("GET", "/health/ready", &[], b"").json()["audit"]["state"], "off");
}

#[test]
fn one_of_several_servers_audits_and_the_schedule_repeats_it() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&["--startup-audit", "true", "--audit-every", "1s"]);
    let audits = || server.get(&format!("{TASKS}?limit=10"), &key).json()["tasks"].as_array().unwrap().len();
    while audits() < 3 {}
    drop(server);
    playground.serve(&["--audit-every", "0 3 * * *"]);
    playground.run(&["serve", "--audit-every", "often"]).ends(2).complains(&["often", "6h"]);
    // Somebody else is at it, and has then made one: this server's own is dropped.
    let stranger = "UPDATE audits SET holder = 'theirs', machine = 'far', process = '1 1', expires_at = 9e9";
    playground.sql(stranger);
    let server = playground.serve(&["--startup-audit", "true"]);
    server.until_ready(|told| told["audit"]["state"] == "waiting");
    playground.sql("UPDATE audits SET holder = NULL, expires_at = NULL, finished_at = 9e9");
    server.says("another server has just made one");
    server.until_ready(|told| told["audit"]["state"] == "done");
    drop(server);
    // What failed there may be well here.
    playground.sql("UPDATE audits SET result = replace(result, 'SUCCESSFUL', 'FAILED')");
    let server = playground.serve(&["--startup-audit", "true"]);
    server.says("startup audit: index and storage agree");
}

/// Without the database the server lives, and says what is missing.
#[test]
fn a_server_without_its_database_is_alive_and_not_ready() {
    let playground = Playground::with_user();
    playground.run(&["serve", "--database", "mysql://here"]).ends(2).complains(&["mysql://here", "sqlite://"]);
    let nobody = Vacant::new();
    let vacant = nobody.address();
    let url = format!("postgres://u:sesame@{vacant}/d");
    let server = playground.serve_at_once(&["--database", &url], |_| {});
    server.send("GET", "/health/live", &[], b"").is(200);
    let ready = server.send("GET", "/health/ready", &[], b"").is(503).json();
    assert_eq!((&ready["status"], &ready["database"]), (&json!("unavailable"), &json!("database_unavailable")));
    let secret = format!("sk_{}_{}", "0".repeat(8), "0".repeat(64));
    let reply = server.get(TASKS, &secret).problem(503, "database_unavailable");
    assert!(!reply.body.contains(&vacant.to_string()) && !server.log().contains("sesame"), "{reply:?}");
    playground.run(&["health", "--ready", "--listen", &server.address]).ends(4);
}

/// Stops a run at its first sign.
struct Impatient(Cancel, Phase);

impl Observer for Impatient {
    fn wants(&self, _kind: FindingKind) -> bool {
        false
    }

    fn finding(&mut self, _evidence: &Evidence) {}

    fn progress(&mut self, progress: Progress) {
        if progress.phase == self.1 && progress.done > 0 {
            self.0.cancel(CancelReason::Asked);
        }
    }
}

#[test]
fn a_run_that_is_cancelled_leaves_whole_batches_and_the_next_one_ends_the_work() {
    let database = TestDatabase::fresh();
    block_on(async {
        let store = Arc::new(InMemory::new());
        for n in 0..3_000 {
            store.put(&Path::parse(format!("1/{n:05}")).unwrap(), "x".into()).await.unwrap();
        }
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "ann".into(), id: Some(1), prefix: None }).await.unwrap();
        let storage = Storage::new(store).with_fingerprints();
        let cancel = Cancel::default();
        let reconciler = Reconciler::new(&storage, &index);
        let stopped = reconciler.clone().with_cancel(cancel.clone());
        let report = stopped.run(&Request::new(Mode::Sync), &mut Impatient(cancel, Phase::Reading)).await.unwrap();
        assert_eq!((report.status, report.problems[0].code.as_str()), (Status::Cancelled, "cancelled"));
        assert!(report.tally.created < 3_000, "{report:?}");
        assert_eq!(index.lease_holder().await.unwrap(), None);
        assert_eq!(index.task(&report.task_id.to_string()).await.unwrap().status, "CANCELLED");
        let report = reconciler.run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
        assert_eq!(report.status, Status::Successful);
        let report = reconciler.run(&Request::new(Mode::Audit), &mut Silent).await.unwrap();
        assert!(!report.tally.has_drift() && report.tally.records == 3_000, "{report:?}");
        // Moves and deletions as well.
        for (drift, phase, mode) in [
            ("UPDATE stored_files SET path = 'old/' || path, parent_path = 'old'", Phase::Moving, Mode::Sync),
            ("UPDATE stored_files SET path = 'old/' || path, etag = 'gone', size = 7", Phase::Deleting, Mode::Clean),
        ] {
            database::execute(&database.connect().await, drift).await;
            let mut request = Request::new(mode);
            (request.force, request.max_delete) = (true, Some("100%".parse().unwrap()));
            let cancel = Cancel::default();
            let stopped = reconciler.clone().with_cancel(cancel.clone());
            let report = stopped.run(&request, &mut Impatient(cancel, phase)).await.unwrap();
            let done = report.tally.carried + report.tally.deleted;
            assert_eq!(report.status, Status::Cancelled, "{phase:?}");
            assert!(0 < done && done < 3_000, "{phase:?} {done}");
            let report = reconciler.run(&request, &mut Silent).await.unwrap();
            assert_eq!(done + report.tally.carried + report.tally.deleted, 3_000, "{phase:?}");
            reconciler.run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
        }
        // Somebody who asks through the index is heard by the one who holds the lease.
        let task = Uuid::now_v7();
        let terms = LeaseTerms { heartbeat: std::time::Duration::from_millis(10), ..LeaseTerms::default() };
        let lease = index.take_lease(task, &json!({}), terms).await.unwrap();
        index.cancel_task(&task.to_string(), |_| false).await.unwrap();
        lease.asked_to_end().await;
        lease.release().await;
        index.close().await;
    });
}
