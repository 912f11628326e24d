//! In which form something is asked and told: headers, bodies, pages, tables, and no path of the disk.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::hanging::Hanging;
use crate::support::playground::Playground;
use crate::support::server::{Reply, Server, answer_of};

const TASKS: &str = "/api/v1/index/tasks";

fn findings(server: &Server, key: &str, task: &Value, accept: &str) -> Reply {
    let path = format!("{TASKS}/{}/findings?limit=1000", task.as_str().unwrap());
    server.send("GET", &path, &[("Authorization", &format!("Bearer {key}")), ("Accept", accept)], b"").is(200)
}

#[test]
fn a_task_has_its_id_under_both_names_at_both_doors() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&["--startup-audit", "false"]);
    let task = server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200).json()["task_id"].clone();
    let id = task.as_str().unwrap();
    let path = format!("{TASKS}/{id}");
    let events = server.get(&format!("{path}/events"), &key).is(200).body;
    let event = events.lines().find_map(|line| line.strip_prefix("data:")).unwrap();
    let told = [
        server.get(&path, &key).is(200).json(),
        server.get(TASKS, &key).is(200).json()["tasks"][0].clone(),
        serde_json::from_str(event).unwrap(),
        playground.run(&["task", "show", id, "--format", "json"]).ends(0).json(),
        playground.run(&["task", "list", "--format", "json"]).ends(0).json()[0].clone(),
    ];
    for view in told {
        assert_eq!((&view["id"], &view["task_id"]), (&task, &task), "{view}");
    }
    // People read it once.
    let text = playground.run(&["task", "show", id]).ends(0).out;
    assert_eq!(text.matches(id).count(), 1, "{text}");
}

#[test]
fn several_fields_of_a_header_are_one_list() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    let server = hanging.serve(&playground, &[]);
    for (prefer, applied) in [
        (["handling=lenient", "respond-async"], "respond-async"),
        (["foo=\"a, respond-async\"", "wait=1"], "wait=1"),
        (["\u{e9}", "wait=1"], "wait=1"),
        (["wait=1; wait=0, wait=5", "wait=7"], "wait=1"),
    ] {
        let prefer = prefer.map(|value| ("Prefer", value));
        let reply = server.rebuild(&key, &prefer, r#"{"mode":"audit"}"#).is(202);
        assert_eq!(reply.header("preference-applied"), Some(applied), "{prefer:?}");
        server.post(&format!("{}/cancel", reply.header("location").unwrap()), &key, &[], "").is(202);
    }
}

#[test]
fn no_answer_has_a_path_of_the_disk_in_it() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    // The storage is a link, and where it leads is known only later.
    let (link, place, other) = (playground.path("link"), playground.path("a secret place"), playground.path("other"));
    let server = playground.serve(&["--storage", link.to_str().unwrap()]);
    let clean = |reply: Reply| {
        for known in [playground.path(""), place.clone(), other.clone()] {
            let known = known.to_str().unwrap().trim_end_matches('/');
            assert!(!reply.body.contains(known) && !reply.body.contains("secret"), "{reply:?}");
        }
        reply
    };
    assert_eq!(clean(server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200)).json()["status"], "FAILED");
    std::fs::create_dir_all(place.join("1")).unwrap();
    symlink(&place, &link).unwrap();
    server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200);
    let endless = |root: &PathBuf| {
        let marker = root.join(".storm-index/identity.json");
        std::fs::create_dir_all(marker.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&marker);
        symlink("identity.json", &marker).unwrap();
    };
    endless(&place);
    let reply = clean(server.rebuild(&key, &[], r#"{"mode":"sync"}"#).is(200));
    let errors = reply.json()["result"]["errors"].clone();
    // What is wrong is told all the same, and with which thing.
    let message = errors[0]["message"].as_str().unwrap();
    assert!(message.contains(".storm-index/identity.json") && message.contains("this is a link"), "{message}");
    // Another program names another place.
    std::fs::create_dir_all(other.join("1")).unwrap();
    endless(&other);
    for mode in ["audit", "sync"] {
        let ran = playground.rebuild(&["--mode", mode, "--storage", other.to_str().unwrap()]).ends(4);
        assert!(ran.err.contains(".storm-index/identity.json") && ran.err.contains("this is a link"), "{ran:?}");
    }
    // However it names it.
    for relative in ["../secret-x/nope", "./secret-x", "secret place/x", "secret-x", "file:secret-x"] {
        playground.rebuild(&["--mode", "sync", "--storage", relative]).ends(4);
    }
    // Whatever stands in a row.
    let errors =
        json!([{ "code": "x", "message": format!("storage {other:?}: {}: odd (os error 5)", other.display()) }]);
    playground.sql(&format!("UPDATE tasks SET errors = '{errors}' WHERE status = 'CANCELLED' OR status = 'FAILED'"));
    let tasks = clean(server.get(TASKS, &key).is(200)).json()["tasks"].clone();
    assert!(tasks.as_array().unwrap().len() >= 4, "{tasks}");
    for task in tasks.as_array().unwrap() {
        clean(server.get(&format!("{TASKS}/{}", task["task_id"].as_str().unwrap()), &key).is(200));
        clean(findings_or_none(&server, &key, &task["task_id"]));
    }
}

fn findings_or_none(server: &Server, key: &str, task: &Value) -> Reply {
    server.get(&format!("{TASKS}/{}/findings", task.as_str().unwrap()), key)
}

#[test]
fn the_last_page_is_the_last() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&[]);
    for _ in 0..3 {
        server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200);
    }
    let page = |limit: u32, before: &str| {
        let page = server.get(&format!("{TASKS}?limit={limit}{before}"), &key).is(200).json();
        (page["tasks"].as_array().unwrap().len(), page["next"].clone())
    };
    assert_eq!(page(3, ""), (3, json!(null)));
    assert_eq!(page(4, ""), (3, json!(null)));
    let (two, next) = page(2, "");
    assert_eq!((two, page(2, &format!("&before={}", next.as_str().unwrap()))), (2, (1, json!(null))));
    let (one, next) = page(1, "");
    assert_eq!((one, page(2, &format!("&before={}", next.as_str().unwrap()))), (1, (2, json!(null))));
}

#[test]
fn a_task_that_failed_at_once_has_found_nothing() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&["--storage", playground.path("gone").to_str().unwrap()]);
    let answer = server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200).json();
    assert_eq!(answer["status"], "FAILED");
    let page = findings(&server, &key, &answer["task_id"], "application/json").json();
    assert_eq!(page, json!({ "findings": [], "next": null }));
}

#[test]
fn a_task_that_waits_for_its_turn_has_found_nothing_yet() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let hanging = Hanging::new();
    // All of them note how far they are, and SQLite knows no turns: a new one may have to wait for long.
    let server = hanging.serve(&playground, &["--lease-expiry", "1h"]);
    let ask = || server.rebuild(&key, &[("Prefer", "respond-async")], r#"{"mode":"audit"}"#).is(202).json();
    // Eight at a time are carried out.
    for _ in 0..8 {
        server.until(&key, ask()["task_id"].as_str().unwrap(), |view| view["status"] == "RUNNING");
    }
    let last = ask();
    assert_eq!(last["status"], "READY");
    let page = || findings(&server, &key, &last["task_id"], "application/json").json();
    assert_eq!(page(), json!({ "findings": [], "next": 0 }));
    let task = last["task_id"].as_str().unwrap();
    server.post(&format!("{TASKS}/{task}/cancel"), &key, &[], "").is(202);
    server.until(&key, task, |view| view["finished_at"].is_string());
    // Its row says so a moment before the server does.
    while page() != json!({ "findings": [], "next": null }) {}
}

#[test]
fn the_table_is_the_same_through_both_doors() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    for name in ["same", "gone, and \"quoted\"", "changed", "-gone"] {
        playground.write(&format!("1/{name}"), name);
    }
    playground.sync();
    playground.remove("1/gone, and \"quoted\"");
    playground.remove("1/-gone");
    playground.write("1/changed", "more than before");
    for name in ["=1+1", "new", " blank"] {
        playground.write(&format!("1/{name}"), name);
    }
    playground.write("nobody/x", "x");
    playground.rebuild(&["--report", "r.csv"]).ends(1);
    let text = std::fs::read_to_string(playground.path("r.csv")).unwrap();
    assert!(text.contains(",'=1+1,") && text.contains(",'-gone,"), "{text}");
    let server = playground.serve(&[]);
    let task = server.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200).json()["task_id"].clone();
    assert_eq!(findings(&server, &key, &task, "text/csv").body, text);
    // In which form it comes is the client's choice, and what it refuses is not sent.
    for (accept, kind) in [
        ("text/csv;q=0, application/json", "application/json"),
        ("text/csv;q=0.1, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("text/csv; q=0.000", "application/json"),
        ("text/csv, */*", "text/csv"),
        ("text/html, */*;q=0.8", "application/json"),
        ("*/*, application/json;q=0", "application/x-ndjson"),
    ] {
        let reply = findings(&server, &key, &task, accept);
        assert!(reply.header("content-type").unwrap().starts_with(kind), "{accept}: {reply:?}");
    }
}

/// Sends exactly these bytes, and returns the status and the code of the answer.
fn raw(server: &Server, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    // Who is refused before the end may have hung up.
    let _ = stream.write_all(text.as_bytes());
    let reply = answer_of(stream);
    (reply.status, reply.json()["code"].as_str().unwrap().to_owned())
}

#[test]
fn what_is_wrong_with_a_request_is_told_by_its_own_code() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    playground.run(&["user", "add", "teams", "--id", "2", "--prefix", "other"]).ends(0);
    playground.write("teams/x", "x");
    let server = playground.serve(&[]);
    for path in ["%ff", "%ff/findings"] {
        server.get(&format!("{TASKS}/{path}"), &key).problem(404, "unknown_task");
    }
    server.post(&format!("{TASKS}/%ff/cancel"), &key, &[], "").problem(404, "unknown_task");
    let adopt = r#"{"mode":"audit","adopt":true}"#;
    server.rebuild(&key, &[], adopt).problem(422, "name_taken");
    playground.sql("UPDATE users SET name = 'else' WHERE id = 2");
    playground.write("2/x", "x");
    server.rebuild(&key, &[], adopt).problem(422, "id_taken");
    let head = format!(
        "POST /api/v1/index/rebuild/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n"
    );
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(raw(&server, &format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n")), (400, "invalid_body".to_owned()));
    let long = "x".repeat(70_000);
    let long = format!("{chunked}{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    assert_eq!(raw(&server, &long), (413, "body_too_large".to_owned()));
    let exclude = |count: usize| json!({ "mode": "audit", "exclude": vec!["*.tmp"; count] }).to_string();
    server.rebuild(&key, &[], &exclude(500)).is(200);
    server.rebuild(&key, &[], &exclude(501)).problem(400, "invalid_exclude");
}

#[test]
fn findings_of_servers_that_were_killed_are_swept() {
    let playground = Playground::with_user();
    let rooms = || {
        let mut rooms: Vec<PathBuf> =
            std::fs::read_dir(playground.dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        rooms.retain(|room| room.file_name().unwrap().to_str().unwrap().starts_with("storm-index-findings-"));
        rooms.sort();
        rooms
    };
    let key = playground.admin_key();
    let mut killed = playground.serve(&[]);
    killed.rebuild(&key, &[], r#"{"mode":"audit"}"#).is(200);
    let left = rooms();
    assert_eq!(left.len(), 1);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    // What only looks like one is left alone.
    for (name, file) in [("storm-index-findings-mine", "x.ndjson"), ("storm-index-findings-1-x", "precious")] {
        std::fs::create_dir(playground.path(name)).unwrap();
        std::fs::write(playground.path(name).join(file), "x").unwrap();
    }
    let living = playground.serve(&[]);
    let now = rooms();
    assert!(now.len() == 3 && !now.contains(&left[0]), "{now:?}");
    let third = playground.serve(&[]);
    assert_eq!(rooms().len(), 4, "{:?}", rooms());
    for server in [living, third] {
        assert_eq!(server.stop().0, 0);
    }
    assert_eq!(rooms().len(), 2, "{:?}", rooms());
}
