//! What falls silent, a storage or a database, keeps the server neither from listening, nor from answering, nor from its
//! end.

use std::process::Stdio;

use crate::support::database;
use crate::support::hanging::{Hanging, HangingDisk};
use crate::support::playground::{Playground, block_on};
use crate::support::relay::Relay;
use crate::support::server::Server;
use crate::support::skip;

const TASKS: &str = "/api/v1/index/tasks";

/// What is said on connections that write, and on no other.
const WRITES: &str = "default_transaction_isolation";

#[test]
fn law_15_a_disk_that_hangs_keeps_no_server_from_listening() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let Some(_disk) = HangingDisk::over(&playground.path("files")) else { return };
    let server = playground.serve(&["--startup-audit", "true"]);
    server.send("GET", "/health/live", &[], b"").is(200);
    let told = server.until_ready(|_| true);
    assert_eq!(told["storage"], "storage_silent", "{told}");
    let answer = server.rebuild(&key, &[("Prefer", "respond-async")], r#"{"mode":"audit"}"#).is(202).json();
    let task = answer["task_id"].as_str().unwrap();
    server.post(&format!("{TASKS}/{task}/cancel"), &key, &[], "").is(202);
    server.until(&key, task, |view| view["status"] == "CANCELLED");
    assert_eq!(server.stop().0, 0);
}

#[test]
fn a_disk_that_begins_to_hang_keeps_no_server_from_its_end() {
    let playground = Playground::with_user();
    let server = playground.serve(&[]);
    server.until_ready(|told| told["storage"] == "ok");
    let Some(_disk) = HangingDisk::over(&playground.path("files")) else { return };
    server.until_ready(|told| told["storage"] == "storage_silent");
    assert_eq!(server.stop().0, 0);
}

/// A playground on PostgreSQL, and a relay before its server; `None` where there is no such server.
fn relayed() -> Option<(Playground, Relay)> {
    if skip::unless_on_postgres() {
        return None;
    }
    let server = url::Url::parse(database::server()?).unwrap();
    let address = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap());
    Some((Playground::with_user(), Relay::before(&address)))
}

fn metrics(server: &Server) -> String {
    server.send("GET", "/metrics", &[], b"").is(200).body
}

fn gauge(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in {metrics}"))
}

#[test]
fn a_silent_database_keeps_no_server_from_its_end() {
    let Some((playground, relay)) = relayed() else { return };
    let server = playground.serve_with(&[], |command| {
        command.env("DATABASE_URL", relay.url(&playground.index.url()));
    });
    server.until_ready(|_| true);
    relay.silence("");
    assert_eq!(server.ready().0, 503);
    assert_eq!(server.stop().0, 0);
}

#[test]
fn while_the_database_is_silent_the_last_audit_grows_old() {
    let Some((playground, relay)) = relayed() else { return };
    let server = playground.serve_with(&["--startup-audit", "true"], |command| {
        command.env("DATABASE_URL", relay.url(&playground.index.url()));
    });
    server.until_ready(|told| told["audit"]["state"] == "done");
    let mut told = std::iter::repeat_with(|| metrics(&server));
    let told = told.find(|told| gauge(told, "storm_index_database_up") == 1.0).unwrap();
    let age = gauge(&told, "storm_index_audit_age_seconds");
    let finished = gauge(&told, "storm_index_audit_finished_timestamp_seconds");
    relay.silence("");
    assert_eq!(server.ready().0, 503);
    let told = metrics(&server);
    assert_eq!(gauge(&told, "storm_index_database_up"), 0.0);
    // Three seconds at least were waited for an answer.
    assert!(gauge(&told, "storm_index_audit_age_seconds") > age + 1.0);
    assert_eq!(gauge(&told, "storm_index_audit_finished_timestamp_seconds"), finished);
}

/// Servers that start together and find their database late make one audit all the same.
#[test]
fn an_audit_that_ended_before_the_first_connection_of_a_server_takes_the_place_of_its_own() {
    let Some((playground, relay)) = relayed() else { return };
    let server = playground.serve(&["--startup-audit", "true"]);
    server.until_ready(|told| told["audit"]["state"] == "done");
    drop(server);
    relay.silence("");
    let server = playground.serve_at_once(&["--startup-audit", "true"], |command| {
        let mut url = url::Url::parse(&relay.url(&playground.index.url())).unwrap();
        url.query_pairs_mut().append_pair("connect_timeout", "3");
        command.env("DATABASE_URL", url.as_str());
    });
    // It says so once it has waited for the database, so it has begun well before what comes now.
    assert_eq!(server.ready().0, 503);
    playground.sql("UPDATE audits SET finished_at = extract(epoch FROM clock_timestamp())");
    relay.speak();
    let line = server.says("startup audit: ");
    assert!(line.contains("another server has just made one"), "{line}");
}

#[test]
fn a_server_that_cannot_write_is_not_ready_until_it_can_again() {
    let Some((playground, relay)) = relayed() else { return };
    let key = playground.admin_key();
    let server = playground.serve_with(&["--lease-expiry", "2s"], |command| {
        command.env("DATABASE_URL", relay.url(&playground.index.url()));
    });
    server.until_ready(|_| true);
    relay.silence(WRITES);
    assert_eq!(server.ready().0, 503);
    server.get(TASKS, &key).is(200);
    relay.speak();
    server.until_ready(|_| true);
    server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200);
}

#[test]
fn a_connection_that_dies_in_the_middle_of_a_statement_is_given_up() {
    let Some((playground, relay)) = relayed() else { return };
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = playground.serve_with(&["--lease-expiry", "8s", "--log-format", "json"], |command| {
        command.env("DATABASE_URL", relay.url(&playground.index.url()));
        hanging.set(command);
    });
    let answer = server.rebuild(&key, &[("Prefer", "respond-async")], r#"{"mode":"audit"}"#).is(202).json();
    let task = answer["task_id"].as_str().unwrap();
    relay.silence("UPDATE tasks SET progress");
    // Whose line that is can be seen.
    assert!(server.says("how far the task is could not be noted").contains(task));
    relay.speak();
    // Whoever asks for the end of a task that gives no sign of life ends it.
    let alive = "SELECT 'alive' FROM tasks WHERE alive_until > extract(epoch FROM clock_timestamp())";
    while block_on(async { database::column(&playground.database().await, alive).await }).is_empty() {
        std::thread::yield_now();
    }
    // It is asked by somebody else, so it hears of it by the index alone.
    playground.run(&["task", "cancel", task]).ends(0);
    server.until(&key, task, |view| view["status"] == "CANCELLED");
}

/// Whoever falls silent in the middle of a transaction keeps its locks for a while and not for ever.
#[test]
fn law_12_a_holder_that_falls_silent_in_the_middle_keeps_nothing_for_ever() {
    let Some((playground, relay)) = relayed() else { return };
    playground.write("1/a", "x");
    // In the very transaction that takes the lease.
    relay.silence("INSERT INTO tasks");
    let mut command = playground.command();
    command.env("DATABASE_URL", relay.url(&playground.index.url())).args(["rebuild", "--mode", "sync", "-q"]);
    let mut silent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waits =
        "SELECT 'waits' FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    while block_on(async { database::column(&playground.database().await, waits).await }).is_empty() {
        assert!(silent.try_wait().unwrap().is_none(), "it ended before it was silent");
        std::thread::yield_now();
    }
    // Each of them waits for a while by itself.
    let ended = (0..20).map(|_| playground.rebuild(&["--mode", "sync"])).find(|ran| ran.code == 0);
    silent.kill().unwrap();
    silent.wait().unwrap();
    assert_eq!(ended.expect("the lock never falls").result()["records_created"], 1);
}
