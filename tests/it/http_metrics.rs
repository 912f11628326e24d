//! What Prometheus and a probe are told of audits: whether their numbers are the whole truth.

use serde_json::json;

use crate::support::playground::{Playground, gone_mount};
use crate::support::server::Server;

fn metrics(server: &Server) -> String {
    server.send("GET", "/metrics", &[], b"").is(200).body
}

#[track_caller]
fn tells(server: &Server, line: &str) {
    let metrics = metrics(server);
    assert!(metrics.lines().any(|told| told == line), "{line:?} is not in {metrics}");
}

/// A server whose startup audit has ended.
fn audited(playground: &Playground, args: &[&str]) -> Server {
    let server = playground.serve(&[&["--startup-audit", "true"], args].concat());
    server.until_ready(|told| ["done", "failed"].contains(&told["audit"]["state"].as_str().unwrap()));
    server
}

#[test]
fn an_audit_counts_as_successful_only_when_it_saw_everything() {
    let playground = Playground::with_user();
    playground.write("1/link/old", "x");
    playground.sync();
    tells(&audited(&playground, &[]), "storm_index_audit_successful 1");
    // Missing.
    let gone = playground.path("gone");
    tells(&audited(&playground, &["--storage", gone.to_str().unwrap()]), "storm_index_audit_successful 0");
    // Another one, or not mounted.
    std::fs::create_dir_all(gone.join("1")).unwrap();
    let server = audited(&playground, &["--storage", gone.to_str().unwrap()]);
    tells(&server, "storm_index_audit_successful 0");
    drop(server);
    // Right, but a part of it cannot be seen.
    std::fs::remove_dir_all(playground.path("files/1/link")).unwrap();
    playground.sql(&gone_mount("1/link"));
    tells(&audited(&playground, &[]), "storm_index_audit_successful 0");
}

#[test]
fn an_audit_of_everything_is_the_last_audit_whoever_has_asked_for_it() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    playground.write("1/a", "x");
    let server = playground.serve(&[]);
    assert!(!metrics(&server).contains("storm_index_audit_successful"));
    server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200);
    tells(&server, "storm_index_audit_successful 1");
    tells(&server, "storm_index_audit_findings{kind=\"missing\"} 1");
    playground.write("1/b", "x");
    for part in
        [r#"{"mode":"audit","user_id":1}"#, r#"{"mode":"audit","exclude":["x"]}"#, r#"{"mode":"full","dry_run":true}"#]
    {
        server.rebuild(&key, &[], part).is(200);
        tells(&server, "storm_index_audit_findings{kind=\"missing\"} 1");
    }
    server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200);
    tells(&server, "storm_index_audit_findings{kind=\"missing\"} 2");
    assert!(metrics(&server).contains("storm_index_audit_finished_timestamp_seconds 1"), "since 1970");
}

#[test]
fn a_probe_is_told_of_a_storage_that_is_not_the_one_of_the_index() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    let tells = |args: &[&str], storage: &str, drift: Option<bool>| {
        let server = audited(&playground, args);
        server.until_ready(|told| told["storage"] == storage && told["audit"]["last"]["drift"] == json!(drift));
    };
    tells(&[], "ok", Some(false));
    playground.write("1/b", "x");
    tells(&[], "ok", Some(true));
    // Where nobody asks for a marker, one that says otherwise is heard all the same.
    let marker = playground.path("files/.storm-index/identity.json");
    for (content, asked, unasked) in [
        (r#"{"storage_id":"00000000-0000-4000-8000-000000000001"}"#, "wrong_storage", ("wrong_storage", None)),
        ("no marker", "marker_unreadable", ("ok", Some(true))),
        ("", "wrong_storage", ("ok", Some(true))),
    ] {
        match content {
            "" => std::fs::remove_file(&marker).unwrap(),
            _ => std::fs::write(&marker, content).unwrap(),
        }
        tells(&[], asked, None);
        tells(&["--identity", "none"], unasked.0, unasked.1);
    }
    // Without records an index is about nothing yet.
    playground.sql("DELETE FROM stored_files");
    tells(&[], "ok", Some(true));
}
