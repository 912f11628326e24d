//! What is answered of a run is what its row says, at every moment and whatever happened to the word on its end.

use serde_json::{Value, json};
use storm_index::index::{Access, Index};
use storm_index::reconcile::{Evidence, FindingKind, Mode, Observer, Progress, Reconciler, Request, Status};

use crate::support::database::on_postgres;
use crate::support::hanging::Hanging;
use crate::support::playground::{Playground, block_on};
use crate::support::server::{LONG, Server, answer_of};

const TASKS: &str = "/api/v1/index/tasks";

/// Somebody far away has taken the lease over, and ended the task that had it.
const TAKEN_OVER: &str = "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', \
     process = '1 1', expires_at = 9e9; \
     UPDATE tasks SET status = 'FAILED', errors = '[{\"code\":\"holder_vanished\",\"message\":\"gone\"}]' \
     WHERE status = 'RUNNING'";

/// Makes every write of a row of `table` that is so do something, in the words of the database.
fn trigger(playground: &Playground, table: &str, when: &str, sqlite: &str, postgres: &str) {
    playground.sql(&if on_postgres() {
        format!(
            "CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {postgres} END $$; \
             CREATE TRIGGER notices BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION noticed()"
        )
    } else {
        format!("CREATE TRIGGER notices BEFORE UPDATE ON {table} WHEN {when} BEGIN {sqlite} END")
    });
}

fn no_trigger(playground: &Playground) {
    playground.sql(if on_postgres() { "DROP FUNCTION noticed CASCADE" } else { "DROP TRIGGER notices" });
}

fn row(server: &Server, key: &str, task: &Value) -> Value {
    server.get(&format!("{TASKS}/{}", task.as_str().unwrap()), key).is(200).json()
}

fn ask_without_waiting(server: &Server, key: &str, mode: &str) -> Value {
    let body = format!("{{\"mode\":\"{mode}\"}}");
    server.rebuild(key, &[("Prefer", "respond-async")], &body).is(202).json()["task_id"].clone()
}

#[test]
fn law_12_an_end_that_cannot_be_written_yet_is_written_before_it_is_answered() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    playground.write("1/a", "x");
    let server = playground.serve(&["--lease-expiry", "1h"]);
    let is_end = "new.finished_at IS NOT NULL";
    trigger(&playground, "tasks", is_end, "SELECT raise(ABORT, 'not now');", "RAISE EXCEPTION 'not now';");
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200));
        server.says("could not be written down");
        // So long it has not ended for anybody.
        playground.rebuild(&["--mode", "sync"]).ends(5);
        no_trigger(&playground);
        asking.join().unwrap().json()
    });
    let row = row(&server, &key, &answer["task_id"]);
    assert_eq!((&answer["status"], &row["status"]), (&json!("SUCCESSFUL"), &json!("SUCCESSFUL")), "{row}");
    assert_eq!(row["result"], answer["result"]);
    // The lease was given back with it.
    playground.sync();
}

/// A server that has to stop before it could write the end of a run down says so, and who looks later finds no better word.
#[test]
fn law_12_an_end_that_could_not_be_written_at_all_is_told_with_its_answer() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    playground.write("1/a", "x");
    let server = playground.serve(&["--lease-expiry", "1h"]);
    let is_end = "new.finished_at IS NOT NULL";
    trigger(&playground, "tasks", is_end, "SELECT raise(ABORT, 'not now');", "RAISE EXCEPTION 'not now';");
    let (bearer, body) = (format!("Bearer {key}"), br#"{"mode":"sync"}"#);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), LONG];
    let asking = server.begin("POST", "/api/v1/index/rebuild/", &headers, body);
    server.says("could not be written down");
    assert_eq!(server.stop().0, 0);
    no_trigger(&playground);
    let answer = answer_of(asking).is(200).json();
    let errors = answer["result"]["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["code"], errors.len()), (&json!("end_unwritten"), 1), "{answer}");
    assert!(errors[0]["message"].as_str().unwrap().contains("not now"), "{answer}");
    // Nobody waits for the one that is gone, and what it did stays.
    playground.sync();
    let task =
        playground.run(&["task", "show", answer["task_id"].as_str().unwrap(), "--format", "json"]).ends(0).json();
    assert_eq!((&task["status"], &task["errors"][0]["code"]), (&json!("FAILED"), &json!("holder_vanished")), "{task}");
    assert_eq!(playground.paths(), ["1/a"]);
}

/// Where the lease is somebody else's by now, the run has failed, however well it went.
#[test]
fn law_12_a_run_that_has_lost_its_lease_has_failed_for_everybody() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200));
        let under_way = || server.get(&format!("{TASKS}?status=RUNNING"), &key).is(200).json()["tasks"].clone();
        let task = std::iter::repeat_with(under_way).find(|tasks| tasks[0].is_object()).unwrap();
        playground.sql(TAKEN_OVER);
        let path = format!("{TASKS}/{}/cancel", task[0]["task_id"].as_str().unwrap());
        server.post(&path, &key, &[], "").problem(409, "task_ended");
        asking.join().unwrap().json()
    });
    let row = row(&server, &key, &answer["task_id"]);
    assert_eq!((&answer["status"], &row["status"]), (&json!("FAILED"), &json!("FAILED")), "{answer} {row}");
    let errors = answer["result"]["errors"].as_array().unwrap();
    assert!(errors.iter().any(|error| error["code"] == "lease_lost"), "{answer}");
    assert_eq!((&row["result"], &row["errors"]), (&answer["result"], &answer["result"]["errors"]));
    // Its new holder has it still.
    server.rebuild(&key, &[], r#"{"mode":"sync"}"#).problem(409, "run_in_progress");
}

/// Takes the lease away from the run that it watches, and ends its task, as an heir does.
struct Heir<'p>(&'p Playground);

impl Observer for Heir<'_> {
    fn wants(&self, _kind: FindingKind) -> bool {
        false
    }

    fn begins(&mut self) {
        // On a thread of its own: this one belongs to the run.
        std::thread::scope(|scope| drop(scope.spawn(|| self.0.sql(TAKEN_OVER)).join()));
    }

    fn finding(&mut self, _evidence: &Evidence) {}

    fn progress(&mut self, _progress: Progress) {}
}

#[test]
fn law_12_a_run_with_nothing_to_write_has_failed_as_well_without_its_lease() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    let report = block_on(async {
        let storage = storm_index::storage::open(playground.path("files").to_str().unwrap()).unwrap();
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let reconciler = Reconciler::new(&storage, &index);
        let report = reconciler.run(&Request::new(Mode::Sync), &mut Heir(&playground)).await.unwrap();
        index.close().await;
        report
    });
    let codes: Vec<&str> = report.problems.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!((report.status, codes), (Status::Failed, vec!["lease_lost"]));
    let task = playground.run(&["task", "show", &report.task_id.to_string(), "--format", "json"]).ends(0).json();
    assert_eq!((&task["status"], &task["errors"][0]["code"]), (&json!("FAILED"), &json!("lease_lost")), "{task}");
}

#[test]
fn what_runs_here_is_told_as_running_wherever_it_is_told() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    // The word that it runs comes late.
    trigger(&playground, "tasks", "new.status = 'RUNNING'", "SELECT raise(IGNORE);", "RETURN NULL;");
    let ask =
        || server.rebuild(&key, &[("Prefer", "respond-async"), ("Idempotency-Key", "once")], r#"{"mode":"audit"}"#);
    let task = &ask().is(202).json()["task_id"];
    server.until(&key, task.as_str().unwrap(), |view| view["status"] == "RUNNING");
    let again = ask().is(202).json();
    assert_eq!((&again["task_id"], &again["status"]), (task, &json!("RUNNING")));
    let list = |rest: &str| {
        let page = server.get(&format!("{TASKS}{rest}"), &key).is(200).json();
        page["tasks"].as_array().unwrap().iter().map(|task| task["status"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list(""), ["RUNNING"]);
    assert!(!list("?status=READY").contains(&json!("RUNNING")) && !list("?status=READY").contains(&json!("READY")));
    let path = format!("{TASKS}/{}/cancel", task.as_str().unwrap());
    assert_eq!(server.post(&path, &key, &[], "").is(202).json()["status"], "RUNNING");
    server.until(&key, task.as_str().unwrap(), |view| view["status"] == "CANCELLED");
}

#[test]
fn the_findings_of_a_task_are_kept_while_it_runs() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    let findings = |task: &Value| server.get(&format!("{TASKS}/{}/findings", task.as_str().unwrap()), &key);
    let ask = || {
        let task = ask_without_waiting(&server, &key, "audit");
        // It has begun, and has its file.
        while findings(&task).is(200).json()["next"].is_null() {}
        server.until(&key, task.as_str().unwrap(), |view| view["status"] == "RUNNING");
        task
    };
    let first = ask();
    let newer: Vec<Value> = (0..23)
        .map(|_| {
            let task = ask();
            server.post(&format!("{TASKS}/{}/cancel", task.as_str().unwrap()), &key, &[], "").is(202);
            server.until(&key, task.as_str().unwrap(), |view| view["finished_at"].is_string());
            task
        })
        .collect();
    assert_eq!(findings(&first).is(200).json(), json!({ "findings": [], "next": 0 }));
    // Of the others, the last are kept.
    findings(&newer[0]).problem(404, "findings_gone");
    findings(&newer[22]).is(200);
}
