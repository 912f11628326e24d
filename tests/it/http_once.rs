//! What a task says of itself is true at every moment: alive while it lives, one answer under one key, no end without why.

use std::time::Duration;

use serde_json::{Value, json};
use storm_index::index::{Access, Index};
use uuid::Uuid;

use crate::support::database::{self, TestDatabase, on_postgres};
use crate::support::hanging::Hanging;
use crate::support::playground::{Playground, block_on};
use crate::support::server::{LONG, Server};

const TASKS: &str = "/api/v1/index/tasks";

/// A lease that somebody far away holds.
const THEIRS: &str = "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', \
     process = '1 1', taken_at = 0, expires_at = 9e9";

fn column(playground: &Playground, query: &str) -> Vec<String> {
    block_on(async { database::column(&playground.database().await, query).await })
}

/// Calls what rows of tasks do each time that they are written so, in the words of the database.
fn trigger(when: &str, sqlite: &str, postgres: &str) -> String {
    if on_postgres() {
        return format!(
            "CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {postgres} END $$; \
             CREATE TRIGGER notices BEFORE UPDATE ON tasks FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION noticed()"
        );
    }
    format!("CREATE TRIGGER notices BEFORE UPDATE ON tasks WHEN {when} BEGIN {sqlite} END")
}

#[test]
fn a_task_counts_as_alive_until_its_end_is_written_down() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    playground.write("1/a", "x");
    let server = playground.serve(&["--lease-expiry", "1h"]);
    for mode in ["audit", "sync"] {
        server.rebuild(&key, &[], &format!("{{\"mode\":\"{mode}\"}}")).is(200);
    }
    let now = if on_postgres() { "extract(epoch FROM now())" } else { "unixepoch('subsec')" };
    let left = column(&playground, &format!("SELECT CAST(alive_until - {now} AS TEXT) FROM tasks"));
    assert_eq!(left.len(), 2);
    // Whoever looks for the dead at any moment before the last word finds it alive for about an hour.
    assert!(left.iter().all(|left| left.parse::<f64>().unwrap() > 1_800.0), "{left:?}");
}

#[test]
fn only_those_who_were_buried_are_counted() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let other = database.connect().await;
        let accept = async || {
            let id = Uuid::now_v7().to_string();
            index.accept_task(&id, &json!({ "mode": "audit" }), None, Duration::ZERO).await.unwrap();
            database::execute(&other, "UPDATE tasks SET alive_until = 0").await;
        };
        accept().await;
        assert_eq!(index.bury_vanished(|_| false).await.unwrap(), 1);
        // One that ends between the look and the word.
        accept().await;
        database::execute(&other, &trigger("new.status = 'FAILED'", "SELECT raise(IGNORE);", "RETURN NULL;")).await;
        assert_eq!(index.bury_vanished(|_| false).await.unwrap(), 0);
        index.close().await;
    });
}

/// Asks `servers` the same under the same key, all at once, and returns their statuses and codes.
fn all_at_once(servers: &[&Server], key: &str, once: &str, body: &str) -> Vec<(u16, Value)> {
    std::thread::scope(|scope| {
        let ask = |n: usize| {
            let reply = servers[n % servers.len()].rebuild(key, &[("Idempotency-Key", once)], body);
            (reply.status, reply.json()["code"].clone())
        };
        let clients: Vec<_> = (0..12).map(|n| scope.spawn(move || ask(n))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn equal_requests_that_are_refused_get_the_same_refusal() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let (one, two) = (playground.serve(&[]), playground.serve(&[]));
    playground.sql(THEIRS);
    // What could not begin has never failed, not even for a moment.
    playground.sql("CREATE TABLE seen (id TEXT)");
    let note = "INSERT INTO seen VALUES (new.id);";
    playground.sql(&trigger("new.status = 'FAILED'", note, &format!("{note} RETURN new;")));
    for (once, body, status, code) in [
        ("busy", r#"{"mode":"sync"}"#, 409, "run_in_progress"),
        ("nobody", r#"{"mode":"audit","user_id":77}"#, 422, "unknown_user"),
    ] {
        one.rebuild(&key, &[("Idempotency-Key", once)], body).problem(status, code);
        for servers in [&[&one][..], &[&one, &two]] {
            for _ in 0..4 {
                let told = all_at_once(servers, &key, once, body);
                assert!(told.iter().all(|told| *told == (status, json!(code))), "{told:?}");
            }
        }
    }
    assert_eq!(column(&playground, "SELECT id FROM seen"), [""; 0]);
    assert_eq!(one.get(TASKS, &key).is(200).json()["tasks"], json!([]));
    // And the keys are free.
    playground.sql("UPDATE lease SET task_id = NULL, expires_at = NULL");
    one.rebuild(&key, &[("Idempotency-Key", "busy")], r#"{"mode":"sync"}"#).is(200);
    one.rebuild(&key, &[("Idempotency-Key", "nobody")], r#"{"mode":"audit"}"#).is(200);
}

/// Who does not wait is told of a refusal as well, unless it takes longer than anybody is kept waiting.
#[test]
fn a_refusal_is_told_to_those_who_do_not_wait() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&[]);
    playground.sql(THEIRS);
    for (body, status, code) in
        [(r#"{"mode":"sync"}"#, 409, "run_in_progress"), (r#"{"mode":"audit","user_id":77}"#, 422, "unknown_user")]
    {
        let mut replies = std::iter::repeat_with(|| server.rebuild(&key, &[("Prefer", "respond-async")], body));
        replies.find(|reply| reply.status != 202).unwrap().problem(status, code);
    }
}

#[test]
fn a_task_that_another_server_carries_out_is_waited_for_as_well() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let one = hanging.serve(&playground, &[]);
    let two = playground.serve(&[]);
    let ask = |server: &Server, prefer: &str| {
        server.rebuild(&key, &[("Idempotency-Key", "once"), ("Prefer", prefer)], r#"{"mode":"sync"}"#)
    };
    let task = ask(&one, "respond-async").is(202).json()["task_id"].clone();
    assert_eq!(ask(&two, "wait=0").is(202).json()["task_id"], task);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&two, LONG.1));
        two.post(&format!("{TASKS}/{}/cancel", task.as_str().unwrap()), &key, &[], "").is(202);
        let ended = waiting.join().unwrap().is(200).json();
        assert_eq!((&ended["task_id"], &ended["status"]), (&task, &json!("CANCELLED")));
    });
}

#[test]
fn a_task_whose_server_was_killed_says_what_it_failed_of() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let mut server = hanging.serve(&playground, &[]);
    let ask = |server: &Server, prefer: &str| {
        let body = r#"{"mode":"full","dry_run":true}"#;
        server.rebuild(&key, &[("Idempotency-Key", "once"), ("Prefer", prefer)], body)
    };
    let task = ask(&server, "respond-async").is(202).json()["task_id"].as_str().unwrap().to_owned();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = playground.serve(&["--lease-expiry", "2s"]);
    server.until(&key, &task, |view| view["finished_at"].is_string());
    let answer = ask(&server, "wait=5").is(200).json();
    assert_eq!((answer["task_id"].as_str(), answer["status"].as_str()), (Some(task.as_str()), Some("FAILED")));
    let result = &answer["result"];
    assert_eq!((&result["mode"], &result["dry_run"]), (&json!("full"), &json!(true)), "{answer}");
    assert_eq!(result["errors"][0]["code"], "holder_vanished", "{answer}");
}
