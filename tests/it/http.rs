//! The API from outside: who is let in, and what is refused how.

use serde_json::json;

use crate::support::playground::Playground;
use crate::support::server::{Reply, Server};
use crate::support::vacant::Vacant;

const TASKS: &str = "/api/v1/index/tasks";

/// Every operation that needs a key.
const GUARDED: [(&str, &str); 6] = [
    ("POST", "/api/v1/index/rebuild/"),
    ("GET", "/api/v1/index/tasks/"),
    ("GET", "/api/v1/index/tasks/019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de"),
    ("POST", "/api/v1/index/tasks/019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de/cancel"),
    ("GET", "/api/v1/index/tasks/019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de/events"),
    ("GET", "/api/v1/index/tasks/019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de/findings"),
];

#[test]
fn only_an_admins_living_key_is_let_in_on_every_route() {
    let playground = Playground::with_user();
    let admin = playground.admin_key();
    let plain = playground.key(&[]);
    let expired = playground.key(&["--admin", "--expires", "1ms"]);
    let revoked = playground.key(&["--admin", "--name", "old"]);
    playground.run(&["key", "revoke", &revoked[3..11]]).ends(0);
    let garbage = format!("sk_{}_{}", &admin[3..11], "0".repeat(64));
    // Failures are counted by address, and this test has many.
    for (method, path) in GUARDED {
        let server = playground.serve(&[]);
        let ask = |headers: &[(&str, &str)]| {
            let headers = [headers, &[("Content-Type", "application/json")]].concat();
            let body: &[u8] = if method == "POST" { b"{\"mode\":\"audit\"}" } else { b"" };
            server.send(method, path, &headers, body)
        };
        let bearer = |key: &str| ask(&[("Authorization", &format!("Bearer {key}"))]);
        ask(&[]).problem(401, "key_missing");
        ask(&[("Authorization", "Basic YTpi")]).problem(401, "invalid_key");
        bearer("nonsense").problem(401, "invalid_key");
        bearer(&garbage).problem(401, "invalid_key");
        bearer(&revoked).problem(401, "key_revoked");
        bearer(&expired).problem(401, "key_expired");
        bearer(&plain).problem(403, "admin_required");
        let status = bearer(&admin).status;
        assert!(![401, 403].contains(&status), "{method} {path}: {status}");
        for secret in [&admin, &plain, &expired, &revoked, &garbage] {
            assert!(!server.log().contains(&secret[12..]), "a secret is in the log");
        }
    }
}

#[test]
fn what_needs_no_key_answers_without() {
    let playground = Playground::with_user();
    let server = playground.serve(&[]);
    server.says("storm-index key create");
    let ready = server.until_ready(|told| told["storage"] == "ok");
    assert_eq!((&ready["status"], &ready["database"]), (&json!("ready"), &json!("ok")));
    for path in ["/health/live", "/health/live/", "/metrics", "/docs", "/docs/", "/openapi.json"] {
        server.send("GET", path, &[], b"").is(200);
    }
    // What they have no use for stops nobody.
    let odd = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), ("Content-Length", "70000")];
    for path in ["/health/live", "/metrics", "/docs", "/openapi.json"] {
        server.send("GET", path, &odd, b"").is(200);
    }
    // Without its database for a moment it says so.
    while server.send("GET", "/health/ready", &odd, b"").status == 503 {}
    server.send("GET", "/health/live", &odd, b"").is(200);
    // A balancer may ask without wanting to be told.
    assert_eq!(server.send("HEAD", "/health/live", &[], b"").is(200).body, "");
    let docs = server.send("GET", "/docs", &[], b"").body;
    assert!(docs.contains("swagger") && docs.contains("/api/v1/index/rebuild/"));
    for outside in ["src=\"http", "href=\"http", "@import", "src='http"] {
        assert!(!docs.contains(outside), "{outside}");
    }
    drop(server);
    let server = playground.serve(&["--metrics-auth"]);
    server.send("GET", "/metrics", &[], b"").problem(401, "key_missing");
    server.get("/metrics", &playground.admin_key()).is(200);
    let ran = playground.run(&["health", "--listen", &server.address]).ends(0);
    assert!(ran.out.contains("alive"), "{ran:?}");
    while playground.run(&["health", "--ready", "--listen", &server.address]).code != 0 {}
    let vacant = Vacant::new();
    let address = vacant.address().to_string();
    playground.run(&["health", "--listen", &address]).ends(4).complains(&[&address]);
}

#[test]
fn every_wrong_request_is_a_problem_with_its_code() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&[]);
    let rebuild = |body: &str| server.rebuild(&key, &[], body);
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("{\"mode\": ", 400, "invalid_json"),
        ("[]", 400, "invalid_body"),
        ("{}", 400, "invalid_body"),
        ("{\"mode\": \"audit\", \"mood\": 1}", 400, "unknown_field"),
        ("{\"mode\": \"audit\", \"force\": \"yes\"}", 400, "invalid_body"),
        ("{\"mode\": \"scan\"}", 400, "invalid_mode"),
        ("{\"mode\": \"audit\", \"max_delete\": \"many\"}", 400, "invalid_max_delete"),
        ("{\"mode\": \"audit\", \"max_delete\": \"+5\"}", 400, "invalid_max_delete"),
        ("{\"mode\": \"audit\", \"max_delete\": \"+5%\"}", 400, "invalid_max_delete"),
        ("{\"mode\": \"audit\", \"exclude\": [\"a{\"]}", 400, "invalid_exclude"),
        ("{\"mode\": \"clean\", \"adopt\": true, \"force\": true}", 400, "invalid_adopt"),
        ("{\"mode\": \"clean\"}", 400, "force_required"),
        ("{\"mode\": \"full\"}", 400, "force_required"),
        ("{\"mode\": \"audit\", \"user_id\": 99}", 422, "unknown_user"),
    ] {
        rebuild(body).problem(status, code);
    }
    let bearer = format!("Bearer {key}");
    let auth = ("Authorization", bearer.as_str());
    let path = "/api/v1/index/rebuild/";
    server.send("POST", path, &[auth], b"{\"mode\":\"audit\"}").problem(415, "unsupported_media_type");
    server.send("POST", path, &[auth, ("Content-Type", "text/plain")], b"x").problem(415, "unsupported_media_type");
    let long = format!("{{\"mode\": \"audit\", \"exclude\": [\"{}\"]}}", "x".repeat(70_000));
    rebuild(&long).problem(413, "body_too_large");
    for (method, path, allowed) in
        [("GET", path, "POST"), ("DELETE", TASKS, "GET, HEAD"), ("PUT", "/health/live", "GET, HEAD")]
    {
        let reply = server.send(method, path, &[auth], b"").problem(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some(allowed));
    }
    for path in ["/", "/nothing", "/api/v1/nothing", "/api/v2/index/rebuild/", "/docs/x"] {
        server.send("GET", path, &[auth], b"").problem(404, "not_found");
    }
    let nobody = "019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de";
    server.get(&format!("{TASKS}/{nobody}"), &key).problem(404, "unknown_task");
    // What cannot be the id of a task names none either.
    server.get(&format!("{TASKS}/{nobody}?%ff=%fe&="), &key).problem(404, "unknown_task");
    server.post(&format!("{TASKS}/seven/cancel"), &key, &[], "").problem(404, "unknown_task");
    for id in ["seven", "%ff", "seven/findings", "seven/events"] {
        let reply = server.get(&format!("{TASKS}/{id}"), &key).problem(404, "unknown_task");
        assert!(reply.body.contains("the id of a task is a UUID"), "{reply:?}");
    }
    server.get(&format!("{TASKS}?limit=0"), &key).problem(400, "invalid_parameter");
    server.get(&format!("{TASKS}?status=TIRED"), &key).problem(400, "invalid_parameter");
    // Nothing of all that has left a task, and none of it failed here.
    assert_eq!(server.get(TASKS, &key).is(200).json()["tasks"], json!([]));
    // What a client calls its request is repeated, unless it is unfit for that.
    let asked = |id: &str| server.send("GET", "/health/live", &[("X-Request-Id", id)], b"");
    assert_eq!(asked("abc-1").header("x-request-id"), Some("abc-1"));
    assert_ne!(asked("a b").header("x-request-id"), Some("a b"));
}

/// Guesses until there was one too many, and returns what was said to the others and to that one. Who is slow is allowed
/// some more of them meanwhile.
fn guesses(server: &Server) -> (Vec<u16>, Reply) {
    let mut statuses = Vec::new();
    loop {
        let reply = server.get(TASKS, "nonsense");
        if reply.status == 429 {
            return (statuses, reply.problem(429, "too_many_failures"));
        }
        statuses.push(reply.problem(401, "invalid_key").status);
        assert!(statuses.len() < 1_000, "nobody is limited");
    }
}

#[test]
fn a_null_is_what_was_left_out() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&[]);
    // Also to whom the same key is the same request.
    let ask = |body: &str| server.rebuild(&key, &[("Idempotency-Key", "one")], body);
    let task = ask(r#"{"mode": "audit"}"#).is(200).json()["task_id"].clone();
    for field in ["dry_run", "force", "adopt", "user_id", "max_delete", "min_age", "exclude", "moves"] {
        let answer = ask(&format!(r#"{{"mode": "audit", "{field}": null}}"#)).is(200).json();
        assert_eq!(answer["task_id"], task, "{field}");
    }
    // Nobody can go by a mode that is none.
    ask(r#"{"mode": null}"#).problem(400, "invalid_mode");
    ask("{}").problem(400, "invalid_body");
}

#[test]
fn failures_are_limited_and_a_right_key_is_let_in_all_the_same() {
    let playground = Playground::with_user();
    let key = playground.admin_key();
    let server = playground.serve(&[]);
    let (others, reply) = guesses(&server);
    assert!(others.len() >= 10, "{others:?}");
    assert!(reply.header("retry-after").is_some());
    server.get(TASKS, &key).is(200);
    // When to ask again is what the limit says: up to a minute, which the usual one never says.
    let server = playground.serve(&["--auth-failures", "1"]);
    let mut waits = Vec::new();
    while waits.last().is_none_or(|wait| *wait <= 10) {
        let (_, reply) = guesses(&server);
        assert!(!reply.body.contains("minute"), "{reply:?}");
        waits.push(reply.header("retry-after").unwrap().parse::<u64>().unwrap());
        assert!(waits.iter().all(|wait| *wait <= 60) && waits.len() < 100, "{waits:?}");
    }
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let playground = Playground::with_user();
    let made = playground.run(&[
        "key",
        "create",
        "--user",
        "ann",
        "--admin",
        "--name",
        "ci",
        "--expires",
        "90d",
        "--format",
        "json",
    ]);
    let made = made.ends(0).json();
    let secret = made["key"].as_str().unwrap();
    assert_eq!((secret.len(), &secret[..3], &secret[3..11]), (76, "sk_", made["prefix"].as_str().unwrap()));
    let list = playground.run(&["key", "list", "--format", "json"]).ends(0);
    assert!(!list.out.contains(&secret[12..]) && !list.out.contains("hash"), "{list:?}");
    let list = list.json();
    assert_eq!((&list[0]["name"], &list[0]["is_admin"], &list[0]["user"]), (&json!("ci"), &json!(true), &json!("ann")));
    let server = playground.serve(&[]);
    server.get(TASKS, secret).is(200);
    let used = || playground.run(&["key", "list", "--format", "json"]).json()[0]["last_used_at"].is_string();
    while !used() {
        // Should the database have been too slow to note it, the next use is noted.
        server.get(TASKS, secret).is(200);
    }
    playground.run(&["key", "revoke", &made["id"].to_string()]).ends(0);
    server.get(TASKS, secret).problem(401, "key_revoked");
    // Eight digits are a prefix, if there is such a key.
    let other = playground.admin_key();
    playground.sql(&format!("UPDATE api_keys SET prefix = '00000001' WHERE prefix = '{}'", &other[3..11]));
    playground.sql("UPDATE api_keys SET revoked_at = NULL");
    playground.run(&["key", "revoke", "00000001"]).ends(0);
    let revoked = || {
        let list = playground.run(&["key", "list", "--format", "json"]).json();
        [0, 1].map(|at: usize| list[at]["revoked_at"].is_string())
    };
    assert_eq!(revoked(), [false, true]);
    playground.run(&["key", "revoke", &format!("sk_{}", made["prefix"].as_str().unwrap())]).ends(0);
    assert_eq!(revoked(), [true, true]);
    playground.run(&["key", "revoke", "77"]).ends(2).complains(&["77"]);
    // An id is written in one way only.
    let id = made["id"].to_string();
    for which in [format!("+{id}"), format!("0{id}")] {
        playground.run(&["key", "revoke", &which]).ends(2).complains(&[&which]);
    }
    // Whatever somebody has at hand of it names a key; once it is revoked, it is so since then.
    playground.sql("UPDATE api_keys SET revoked_at = NULL");
    let list = playground.run(&["key", "list"]).ends(0).out;
    let shown = list.lines().find(|line| line.contains(&secret[3..11])).unwrap();
    let shown = shown.split_whitespace().find(|word| word.starts_with("sk_")).unwrap();
    let since = || playground.run(&["key", "list", "--format", "json"]).json()[0]["revoked_at"].clone();
    playground.run(&["key", "revoke", shown]).ends(0);
    let first = since();
    assert!(first.is_string(), "{shown}");
    let id = made["id"].to_string();
    for which in [secret, &secret[..11], &secret[3..11], &secret[3..], &secret[..30], &id] {
        playground.run(&["key", "revoke", which]).ends(0);
        assert_eq!(since(), first, "{which}");
    }
    let stranger = format!("sk_00000000_{}", &secret[12..]);
    for which in [stranger.as_str(), &secret[12..]] {
        let ran = playground.run(&["key", "revoke", which]).ends(2).complains(&[&which[..3], "key list"]);
        assert!(!ran.err.contains(&secret[32..]), "{ran:?}");
    }
    playground.run(&["key", "create", "--user", "nobody"]).ends(2).complains(&["nobody"]);
    // A key goes with its user.
    playground.run(&["user", "remove", "ann"]).ends(0);
    assert_eq!(playground.run(&["key", "list", "--format", "json"]).ends(0).json(), json!([]));
    server.get(TASKS, secret).problem(401, "invalid_key");
}
