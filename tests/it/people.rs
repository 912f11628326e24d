//! What people made, users and share links, survives the loss of the index.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use storm_index::index::{Access, Candidate, Fate, Index, Line};
use storm_index::reconcile::{Mode, Request};

use crate::support::database::{self, TestDatabase, column, execute};
use crate::support::playground::{Playground, Ran, binary, block_on};
use crate::support::s3::S3Server;
use crate::support::skip;

const PAST: &str = "2020-01-01T00:00:00+00:00";

/// What each link opens, whether, until when and since when; by what people know, not by ids.
fn links(playground: &Playground) -> Vec<String> {
    let query = "SELECT token || '>' || prefix || '/' || path || ' ' || CAST(is_active AS TEXT) || ' ' || \
                 coalesce(CAST(expires_at AS TEXT), 'never') || ' ' || CAST(share_links.created_at AS TEXT) FROM share_links \
                 JOIN stored_files ON stored_files.id = stored_file_id JOIN users ON users.id = user_id ORDER BY 1";
    block_on(async { column(&playground.database().await, query).await })
}

fn users(playground: &Playground) -> Vec<String> {
    let query = "SELECT CAST(id AS TEXT) || ' ' || name || ' ' || prefix FROM users ORDER BY 1";
    block_on(async { column(&playground.database().await, query).await })
}

/// Ann, whose prefix is her id, and two others; links of all sorts.
fn with_links() -> Playground {
    let playground = Playground::with_user();
    playground.run(&["user", "add", "the papers", "--id", "5", "--prefix", "papers"]).ends(0);
    playground.run(&["user", "add", "bob", "--id", "12", "--prefix", "20"]).ends(0);
    for key in ["1/a.txt", "1/deep/b.txt", "papers/c", "20/d"] {
        playground.write(key, key);
    }
    playground.sync();
    for (user, path) in [("1", "a.txt"), ("1", "a.txt"), ("1", "deep/b.txt"), ("5", "c"), ("12", "d")] {
        playground.run(&["share", "create", "--user-id", user, path, "--expires", "7d"]).ends(0);
    }
    // Revoked, expired, endless, of another age; and one that is both revoked and endless.
    let token = |at: u32| format!("token = (SELECT token FROM share_links ORDER BY id LIMIT 1 OFFSET {at})");
    let dialect = if database::on_postgres() { ("false", "timestamptz ") } else { ("0", "") };
    let (no, time) = dialect;
    playground.sql(&format!(
        "UPDATE share_links SET is_active = {no} WHERE {}; UPDATE share_links SET expires_at = {time}'{PAST}' WHERE {}; \
         UPDATE share_links SET expires_at = NULL, created_at = {time}'{PAST}' WHERE {}; \
         UPDATE share_links SET is_active = {no}, expires_at = NULL WHERE {}",
        token(0),
        token(1),
        token(2),
        token(3)
    ));
    playground
}

fn export(playground: &Playground) -> Vec<Value> {
    playground.run(&["index", "export", "made.ndjson"]).ends(0);
    let text = std::fs::read_to_string(playground.path("made.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn import(playground: &Playground, args: &[&str]) -> Ran {
    playground.run(&[&["index", "import", "made.ndjson", "--format", "json"], args].concat())
}

/// Imports lines that a test has put together.
fn import_text(playground: &Playground, text: &str) -> Ran {
    std::fs::write(playground.path("made.ndjson"), text).unwrap();
    import(playground, &[])
}

fn header(users: u64, links: u64) -> String {
    let counts = json!({"user": users, "share_link": links});
    format!("{}\n", json!({"kind": "storm_index_export", "version": 1, "counts": counts}))
}

fn user(id: u64, name: &str, prefix: &str) -> String {
    format!("{}\n", json!({"kind": "user", "id": id, "name": name, "prefix": prefix, "created_at": PAST}))
}

fn link(user_id: u64, user: &str, path: &str, token: &str) -> String {
    let line = json!({"kind": "share_link", "user_id": user_id, "user": user, "path": path, "token": token,
        "is_active": true, "expires_at": null, "created_at": PAST});
    format!("{line}\n")
}

#[test]
fn law_02_links_survive_the_loss_of_the_index() {
    let mut playground = with_links();
    let (before, who) = (links(&playground), users(&playground));
    assert_eq!(before.len(), 5);
    let lines = export(&playground);
    assert_eq!((&lines[0]["kind"], &lines[0]["version"]), (&json!("storm_index_export"), &json!(1)));
    assert_eq!(lines[0]["counts"], json!({"user": 3, "share_link": 5, "api_key": 0}));
    let kinds: Vec<&str> = lines[1..].iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["user", "user", "user", "share_link", "share_link", "share_link", "share_link", "share_link"]);
    let keys: Vec<&String> = lines[4].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["created_at", "expires_at", "is_active", "kind", "path", "token", "user", "user_id"]);
    assert_eq!(
        (&lines[4]["user_id"], &lines[4]["user"], &lines[4]["path"]),
        (&json!(1), &json!("ann"), &json!("a.txt"))
    );
    assert_eq!(std::fs::metadata(playground.path("made.ndjson")).unwrap().mode() & 0o777, 0o600);

    playground.index = TestDatabase::blank();
    playground.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    assert_ne!(users(&playground), who, "adoption gives other ids and names");
    let dry = import(&playground, &["--dry-run"]).ends(0).json();
    assert_eq!(links(&playground).len(), 0);
    let result = import(&playground, &[]).ends(0).json();
    assert_eq!(
        result,
        json!({"dry_run": false,
            "users": {"in_file": 3, "registered": 0, "renamed": 3, "present": 0, "conflicts": 0},
            "links": {"in_file": 5, "imported": 5, "present": 0, "without_record": 0, "conflicts": 0},
            "keys": {"in_file": 0, "imported": 0, "present": 0, "revoked": 0, "without_owner": 0, "conflicts": 0},
            "problems": []})
    );
    assert_eq!((&dry["users"], &dry["links"], &dry["dry_run"]), (&result["users"], &result["links"], &json!(true)));
    assert_eq!(links(&playground), before);
    let names = "SELECT name || '=' || prefix FROM users ORDER BY prefix";
    let names = block_on(async { column(&playground.database().await, names).await });
    assert_eq!(names, ["ann=1", "bob=20", "the papers=papers"]);

    // A second time nothing is left to do, and what people did meanwhile stays done.
    let tokens = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    let active = tokens.as_array().unwrap().iter().find(|link| link["is_active"] == true).unwrap();
    playground.run(&["share", "revoke", active["token"].as_str().unwrap()]).ends(0);
    playground.run(&["user", "rename", "bob", "robert"]).ends(0);
    let after = playground.dump();
    let again = import(&playground, &[]).ends(0).json();
    assert_eq!((&again["users"]["present"], &again["links"]["present"]), (&json!(3), &json!(5)), "{again}");
    assert_eq!(playground.dump(), after);
    let text = playground.run(&["index", "import", "made.ndjson"]).ends(0);
    assert!(text.out.contains("5 there already") && text.err.is_empty(), "{text:?}");
}

/// What was a user within a folder has become a part of the user who adopted the folder: its tokens open the same files.
#[test]
fn law_02_a_link_belongs_to_its_key_whoever_owns_it_now() {
    let mut playground = Playground::new();
    playground.run(&["user", "add", "alpha", "--prefix", "teams/alpha"]).ends(0);
    playground.write("teams/alpha/x", "x");
    playground.sync();
    let token = playground.share(1, "x");
    let before = links(&playground);
    export(&playground);
    playground.index = TestDatabase::blank();
    playground.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    let ran = import(&playground, &[]).ends(4);
    let result = ran.json();
    assert_eq!((&result["links"]["imported"], &result["users"]["conflicts"]), (&json!(1), &json!(1)), "{ran:?}");
    assert!(ran.err.contains("alpha") && ran.err.contains("teams") && ran.err.lines().count() == 1, "{ran:?}");
    assert!(before[0].starts_with(token.trim()));
    assert_eq!(links(&playground), before, "the same key by another prefix and path");
}

#[test]
fn law_02_onto_an_empty_index_and_after_a_sync_once_more() {
    let mut playground = with_links();
    let (before, who) = (links(&playground), users(&playground));
    let tokens: Vec<Value> = export(&playground)[4..].iter().map(|line| line["token"].clone()).collect();
    playground.index = TestDatabase::blank();
    let dry = import(&playground, &["--dry-run"]).ends(4).json();
    let ran = import(&playground, &[]).ends(4);
    let result = ran.json();
    assert_eq!((&result["users"]["registered"], &result["links"]["without_record"]), (&json!(3), &json!(5)));
    assert_eq!(
        (&dry["users"], &dry["links"], &dry["problems"]),
        (&result["users"], &result["links"], &result["problems"])
    );
    assert_eq!(users(&playground), who);
    let problems = result["problems"].as_array().unwrap();
    assert_eq!((problems.len(), ran.err.lines().count()), (5, 5), "{ran:?}");
    for (problem, token) in problems.iter().zip(&tokens) {
        let token = token.as_str().unwrap();
        assert_eq!(problem["code"], "without_record");
        assert_eq!(problem["token"], format!("{}…", &token[..6]), "{problem}");
        assert!(!ran.err.contains(token) && !ran.out.contains(token), "a secret is told: {ran:?}");
    }
    assert_eq!((&problems[3]["user"], &problems[3]["path"]), (&json!("the papers"), &json!("c")));
    // Ids that were taken over are not given again.
    assert_eq!(playground.run(&["user", "add", "new"]).ends(0).out, "13\n");
    playground.sync();
    let result = import(&playground, &[]).ends(0).json();
    assert_eq!((&result["users"]["present"], &result["links"]["imported"]), (&json!(3), &json!(5)));
    assert_eq!(links(&playground), before);
}

#[test]
fn what_contradicts_is_told_and_the_rest_is_taken_over() {
    let playground = with_links();
    let taken = links(&playground)[0].split('>').next().unwrap().to_owned();
    let before = links(&playground);
    let other = if before[0].contains("a.txt") { "deep/b.txt" } else { "a.txt" };
    let text = [
        &header(4, 5),
        &user(1, "ann", "1"),
        &user(5, "eve", "eve"),
        &user(30, "bob", "bobs"),
        &user(31, "carl", "papers/carl"),
        // Another file has it here; the same one twice; once more for another file.
        &link(1, "ann", other, &taken),
        &link(1, "ann", "a.txt", "twice"),
        &link(1, "ann", "a.txt", "twice"),
        &link(1, "ann", "deep/b.txt", "twice"),
        // Nobody owns that.
        &link(5, "eve", "x", "nobody's"),
    ]
    .map(String::as_str)
    .concat();
    let ran = import_text(&playground, &text).ends(4);
    let result = ran.json();
    assert_eq!(result["users"], json!({"in_file": 4, "registered": 0, "renamed": 0, "present": 1, "conflicts": 3}));
    let want = json!({"in_file": 5, "imported": 1, "present": 1, "without_record": 1, "conflicts": 2});
    assert_eq!(result["links"], want, "{ran:?}");
    let said: Vec<(&str, u64)> = result["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["code"].as_str().unwrap(), p["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        said,
        [
            ("id_taken", 3),
            ("name_taken", 4),
            ("nested_prefix", 5),
            ("token_taken", 6),
            ("token_taken", 9),
            ("without_record", 10),
        ]
    );
    assert_eq!(links(&playground).len(), before.len() + 1);
    assert!(!ran.err.contains(&taken), "{ran:?}");
}

#[test]
fn a_file_that_is_no_export_imports_nothing_and_is_2() {
    let mut playground = Playground::new();
    playground.index = TestDatabase::blank();
    let good = user(1, "ann", "1");
    for (text, word) in [
        (String::new(), "line 1"),
        ("hello\n".to_owned(), "line 1"),
        (good.clone(), "line 1"),
        (format!("\n\n{good}"), "line 3"),
        (format!("{{\"kind\":\"storm_index_export\"}}\n{good}"), "version"),
        (format!("{{\"kind\":\"storm_index_export\",\"version\":0}}\n{good}"), "version"),
        (format!("{{\"kind\":\"storm_index_export\",\"version\":\"1\"}}\n{good}"), "line 1"),
        (header(1, 0)[..30].to_owned(), "line 1"),
        ("\u{feff}".to_owned() + &header(1, 0) + &good, "line 1"),
    ] {
        import_text(&playground, &text).ends(2).complains(&[word, "export"]);
    }
    std::fs::write(playground.path("made.ndjson"), b"SQLite format 3\0\xff\xfe").unwrap();
    import(&playground, &[]).ends(2).complains(&["line 1"]);
    playground.run(&["index", "import", "nothing.ndjson"]).ends(2).complains(&["nothing.ndjson"]);
    playground.run(&["index", "import", "files"]).ends(2).complains(&["directory"]);
    assert!(playground.run(&["user", "list", "--format", "json"]).ends(0).json() == json!([]));
}

#[test]
fn broken_lines_are_named_and_the_others_taken_over() {
    let playground = with_links();
    let text = [
        &header(1, 3),
        &user(1, "ann", "1"),
        "{\"kind\":\"share_link\",\"user_id\":1,\n",
        "\n",
        "{\"kind\":\"share_link\",\"user_id\":1,\"user\":\"ann\",\"path\":\"a.txt\",\"token\":\"t\\u0000\",\"is_active\":true,\
          \"expires_at\":null,\"created_at\":\"2020-01-01T00:00:00Z\"}\n",
        &link(1, "ann", "a.txt", "good"),
        &link(1, "ann", "a.txt", "late").replace("\"expires_at\":null", "\"expires_at\":\"tomorrow\""),
        "\u{1b}[2J\n",
    ]
    .concat();
    let ran = import_text(&playground, &text).ends(4);
    let result = ran.json();
    let said: Vec<(&str, u64)> = result["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["code"].as_str().unwrap(), p["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(said, [("bad_line", 3), ("bad_line", 5), ("bad_line", 7), ("bad_line", 8)], "{ran:?}");
    assert_eq!(result["links"]["imported"], 1);
    assert!(!ran.err.contains('\u{1b}') && ran.err.lines().count() == 4, "{ran:?}");
}

/// Cut at every place: what is left of it is imported, and that something is missing is always told.
#[test]
fn a_file_that_was_cut_off_is_noticed_wherever() {
    let mut playground = with_links();
    export(&playground);
    let whole = std::fs::read_to_string(playground.path("made.ndjson")).unwrap();
    playground.index = TestDatabase::blank();
    playground.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    let first = whole.find('\n').unwrap();
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at).collect();
    for cut in [first, first + 1, ends[1], ends[2] + 9, ends[4], ends[4] + 1, ends[6] + 40, whole.len() - 2] {
        let ran = import_text(&playground, &whole[..cut]).ends(4);
        assert!(ran.err.contains("line"), "cut at {cut}: {ran:?}");
    }
    import_text(&playground, &whole[..ends[4]]).ends(4).json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["code"] == "lines_missing")
        .unwrap();
    // But for its last line break.
    import_text(&playground, &whole[..whole.len() - 1]).ends(0);
    // Two files in one.
    assert_eq!(import_text(&playground, &whole.repeat(2)).ends(0).json()["links"]["present"], 10);
}

#[test]
fn what_a_newer_version_has_added_is_told() {
    let playground = with_links();
    let newer =
        header(1, 2).replace("\"version\":1", "\"version\":2").replace("\"counts\":{", "\"counts\":{\"web_hook\":2,");
    let key = "{\"kind\":\"web_hook\",\"user_id\":1,\"hash\":\"x\"}\n";
    let limited = link(1, "ann", "a.txt", "limited").replace("\"is_active\"", "\"most_downloads\":3,\"is_active\"");
    let text = [&newer, &user(1, "ann", "1"), key, key, &link(1, "ann", "a.txt", "plain"), &limited].concat();
    let ran = import_text(&playground, &text).ends(4);
    let result = ran.json();
    assert_eq!(result["links"]["imported"], 2, "{ran:?}");
    let problems = result["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{ran:?}");
    for (words, line) in [(["web_hook", "2 in all"], 3), (["most_downloads", "share_link"], 6)] {
        let problem = problems.iter().find(|p| p["line"] == line).unwrap();
        assert!(words.iter().all(|word| problem["message"].as_str().unwrap().contains(word)), "{problem}");
    }
}

#[test]
fn odd_names_and_tokens_come_through() {
    let mut playground = Playground::new();
    let names = [
        "it's \"quoted\"",
        "ü ñ 漢字 🦀",
        "back\\slash {json} [x]",
        "%s ? $1 -- ;",
        "\u{202e}right",
        "'; DROP TABLE users;",
    ];
    for (n, name) in names.iter().enumerate() {
        playground.run(&["user", "add", name, "--prefix", &format!("p{n}-{name}")]).ends(0);
        playground.write(&format!("p{n}-{name}/{name}/{name}"), "x");
    }
    playground.sync();
    for n in 1..=names.len() {
        let (quoted, id) = (names[n - 1].replace('\'', "''"), n);
        playground.sql(&format!(
            "INSERT INTO share_links (stored_file_id, token) SELECT id, 'token {quoted}' FROM stored_files WHERE user_id = {id}"
        ));
    }
    let (before, who) = (links(&playground), users(&playground));
    assert_eq!(before.len(), names.len());
    assert_eq!(export(&playground).len(), 1 + 2 * names.len());
    playground.index = TestDatabase::blank();
    import(&playground, &[]).ends(4);
    assert_eq!(users(&playground), who);
    playground.sync();
    assert_eq!(import(&playground, &[]).ends(0).json()["links"]["imported"], names.len());
    let cut =
        |all: Vec<String>| all.into_iter().map(|l| l.rsplit_once(" never ").unwrap().0.to_owned()).collect::<Vec<_>>();
    assert_eq!(cut(links(&playground)), cut(before));
}

#[test]
fn law_14_twenty_thousand_links_go_out_and_in_by_pages() {
    let mut playground = Playground::with_user();
    let count = 20_000;
    let series = if database::on_postgres() {
        format!("SELECT n FROM generate_series(1, {count}) AS n")
    } else {
        format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s")
    };
    let records =
        format!("INSERT INTO stored_files (user_id, path) SELECT 1, 'd/' || CAST(n AS TEXT) FROM ({series}) AS s");
    playground.sql(&format!(
        "{records}; INSERT INTO share_links (stored_file_id, token, created_at) \
         SELECT id, 'token ' || path, '{PAST}' FROM stored_files"
    ));
    let before = links(&playground);
    assert_eq!(export(&playground).len(), count + 2);
    playground.index = TestDatabase::blank();
    playground.add_user("ann", 1);
    playground.sql(&records);
    // One has no record any more, far behind.
    playground.sql("DELETE FROM stored_files WHERE path = 'd/19999'");
    let started = std::time::Instant::now();
    let ran = import(&playground, &[]).ends(4);
    println!("20,000 links imported in {:?}", started.elapsed());
    assert_eq!(
        (&ran.json()["links"]["imported"], &ran.json()["links"]["without_record"]),
        (&json!(count - 1), &json!(1))
    );
    assert_eq!(ran.json()["problems"][0]["path"], "d/19999");
    assert_eq!(import(&playground, &[]).ends(4).json()["links"]["present"], json!(count - 1));
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, 'd/19999')");
    import(&playground, &[]).ends(0);
    assert_eq!(links(&playground), before);
    // All of them without a record: each is told, in a document that is one.
    playground.sql("DELETE FROM share_links; DELETE FROM stored_files");
    let result = import(&playground, &[]).ends(4).json();
    assert_eq!(result["problems"].as_array().unwrap().len(), count);
    // Through a pipe, as backups go.
    playground.sql(&records);
    let script = format!("{0} index export - | {0} index import - --format json", binary().display());
    let mut shell = playground.command();
    let env: Vec<_> = shell.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
    shell = Command::new("bash");
    shell.env_clear().envs(env).env("PATH", "/usr/bin:/bin").current_dir(playground.dir.path());
    let ran = Ran::from(shell.args(["-c", &script]).output().unwrap()).ends(0);
    assert_eq!(ran.json()["users"]["present"], 1, "{ran:?}");
}

/// A dry run judges each line as if the lines before it had been taken over.
#[test]
fn law_05_a_dry_import_of_a_file_that_repeats_itself_says_what_the_import_does() {
    let mut playground = with_links();
    playground.admin_key();
    let lines = export(&playground);
    let token = |at: usize| lines.iter().filter(|line| line["kind"] == "share_link").nth(at).unwrap()["token"].clone();
    let once = std::fs::read_to_string(playground.path("made.ndjson")).unwrap();
    // A second time with another name, a token that opens another file by now, and a key that has been ended.
    let mut other: Vec<Value> = lines.clone();
    for line in &mut other {
        if line["kind"] == "share_link" && line["token"] == token(0) {
            line["path"] = json!("deep/b.txt");
        }
        if line["kind"] == "api_key" {
            line["revoked_at"] = json!(PAST);
        }
    }
    let other: String = other.iter().map(|line| format!("{line}\n")).collect();
    let many: String = (0..2_500).map(|n| link(1, "ann", "a.txt", &format!("many {}", n % 1_300))).collect();
    let file = format!("{once}{other}{many}{once}");
    playground.index = TestDatabase::blank();
    playground.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    std::fs::write(playground.path("made.ndjson"), &file).unwrap();
    let before = playground.dump();
    let mut dry = import(&playground, &["--dry-run"]).ends(4).json();
    assert_eq!(playground.dump(), before);
    let done = import(&playground, &[]).ends(4).json();
    dry["dry_run"] = json!(false);
    assert_eq!(dry, done);
    assert_eq!(
        done["links"],
        json!({"in_file": 2_515, "imported": 1_305, "present": 1_209, "without_record": 0, "conflicts": 1})
    );
    assert_eq!(
        done["keys"],
        json!({"in_file": 3, "imported": 1, "present": 1, "revoked": 1, "without_owner": 0, "conflicts": 0})
    );
    // And once more, when all of it is there.
    let mut dry = import(&playground, &["--dry-run"]).ends(4).json();
    dry["dry_run"] = json!(false);
    assert_eq!(dry, import(&playground, &[]).ends(4).json());
}

/// A list is read while it is printed: what goes meanwhile, far behind, is not on it.
#[test]
fn law_14_links_are_listed_page_by_page() {
    let playground = Playground::with_user();
    let count = 20_000;
    let series = if database::on_postgres() {
        format!("SELECT n FROM generate_series(1, {count}) AS n")
    } else {
        format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s")
    };
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, 'a')");
    playground.sql(&format!(
        "INSERT INTO share_links (stored_file_id, token, created_at) \
         SELECT (SELECT min(id) FROM stored_files), 'token ' || CAST(n AS TEXT), '{PAST}' FROM ({series}) AS s"
    ));
    let whole = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    assert_eq!(whole.as_array().unwrap().len(), count);
    assert_eq!(playground.run(&["share", "list"]).ends(0).out.lines().count(), count + 1);
    for format in ["json", "text"] {
        let mut child = playground.command();
        let mut child =
            child.args(["share", "list", "--show-tokens", "--format", format]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut text = vec![0];
        out.read_exact(&mut text).unwrap();
        // It has begun, and cannot be far: nobody has read more than a byte of it.
        playground.sql("DELETE FROM share_links WHERE id = (SELECT max(id) FROM share_links)");
        out.read_to_end(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("token 1 ") || text.contains("\"token 1\""), "{format}");
        let last = if format == "json" { count } else { count - 1 };
        assert!(!text.contains(&format!("token {last}")), "{format}");
        if format == "json" {
            let list: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(list.as_array().unwrap().len(), count - 1);
        }
    }
    playground.sql("DELETE FROM share_links");
    assert_eq!(playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json(), json!([]));
    assert_eq!(playground.run(&["share", "list"]).ends(0).out.lines().count(), 1);
}

#[test]
fn an_export_is_whole_or_not_there() {
    let playground = with_links();
    export(&playground);
    let good = std::fs::read(playground.path("made.ndjson")).unwrap();
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(playground.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = names();
    std::os::unix::fs::symlink(playground.path("made.ndjson"), playground.path("link")).unwrap();
    for (file, word) in [
        ("no/such/directory/x", "directory"),
        ("files", "directory"),
        ("files/1/x.ndjson", "within the storage"),
        ("link", "no ordinary file"),
        ("/dev/null", "no ordinary file"),
        ("..", "no name"),
    ] {
        playground.run(&["index", "export", file]).ends(2).complains(&[word]);
    }
    if !database::on_postgres() {
        for file in playground.index.files().iter().filter(|file| file.is_file()) {
            playground.run(&["index", "export", file.to_str().unwrap()]).ends(2).complains(&["is the index"]);
        }
    }
    std::fs::remove_file(playground.path("link")).unwrap();
    // The disk takes only so much.
    let rows = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 3000) \
                INSERT INTO share_links (stored_file_id, token) SELECT (SELECT min(id) FROM stored_files), \
                'padding padding padding padding ' || CAST(n AS TEXT) FROM s";
    playground.sql(rows);
    let limited = |signal: &str| {
        let script = format!("{signal}; ulimit -f 128; exec {} index export made.ndjson", binary().display());
        let command = playground.command();
        let env: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
        let mut shell = Command::new("bash");
        shell.env_clear().envs(env).current_dir(playground.dir.path()).stdin(Stdio::null());
        Ran::from(shell.args(["-c", &script]).output().unwrap())
    };
    limited("trap '' XFSZ").ends(4).complains(&["cannot be written", "as it was"]);
    assert_eq!(names(), before, "nothing is left beside it");
    assert_eq!(std::fs::read(playground.path("made.ndjson")).unwrap(), good);
    // Killed in the middle.
    assert_eq!(limited("true").code, -1);
    assert_eq!(std::fs::read(playground.path("made.ndjson")).unwrap(), good);
    // It can be written: readable by its owner alone, also where another one could read the old one.
    let mode = |mode| std::fs::set_permissions(playground.path("made.ndjson"), std::fs::Permissions::from_mode(mode));
    mode(0o644).unwrap();
    assert_eq!(export(&playground).len(), 1 + 3 + 5 + 3_000);
    assert_eq!(std::fs::metadata(playground.path("made.ndjson")).unwrap().mode() & 0o777, 0o600);
}

/// A backup that goes on every night after the index was lost does not take the last good one along.
#[test]
fn an_empty_index_replaces_no_export() {
    let mut playground = with_links();
    export(&playground);
    let good = std::fs::read(playground.path("made.ndjson")).unwrap();
    playground.index = TestDatabase::blank();
    playground.run(&["index", "export", "made.ndjson"]).ends(3).complains(&["refused", "made.ndjson"]);
    assert_eq!(std::fs::read(playground.path("made.ndjson")).unwrap(), good);
    playground.run(&["index", "export", "new.ndjson"]).ends(0);
    let copy = playground.path("new.ndjson");
    import_text(&playground, &std::fs::read_to_string(copy).unwrap()).ends(0);
}

/// What is written while an export is under way is in it whole or not at all.
#[test]
fn an_export_is_of_one_moment() {
    let playground = with_links();
    block_on(async {
        let db = playground.database().await;
        let index = Index::open(&playground.index.url(), Access::Read).await.unwrap();
        let mut export = index.export().await.unwrap();
        let Line::Header(header) = export.page().await.unwrap().unwrap().lines.remove(0) else { panic!() };
        execute(&db, "INSERT INTO users (id, name, prefix) VALUES (90, 'late', 'late')").await;
        execute(
            &db,
            "INSERT INTO share_links (stored_file_id, token) SELECT id, 'late' FROM stored_files WHERE path = 'd'",
        )
        .await;
        execute(&db, "UPDATE share_links SET stored_file_id = (SELECT min(id) FROM stored_files)").await;
        let (mut users, mut paths) = (0, std::collections::BTreeSet::new());
        while let Some(page) = export.page().await.unwrap() {
            for line in page.lines {
                match line {
                    Line::User(_) => users += 1,
                    Line::ShareLink(link) => drop(paths.insert((link.path, link.token))),
                    Line::Header(_) | Line::ApiKey(_) => panic!("{line:?}"),
                }
            }
        }
        assert_eq!((users, paths.len() as u64), (header.counts["user"], header.counts["share_link"]));
        let paths: std::collections::BTreeSet<String> = paths.into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), 4, "{paths:?}");
        drop(export);
        index.close().await;
    });
}

/// The database's own verdict on a link goes with it, whatever stands in its columns.
#[test]
fn ends_that_cannot_be_read_mean_what_they_meant() {
    let mut playground = with_links();
    playground.sql("DELETE FROM share_links");
    let ends: &[(&str, bool)] = if database::on_postgres() {
        &[("'infinity'", true), ("'-infinity'", false), ("'0044-03-15 BC'", false)]
    } else {
        &[
            ("'someday'", true),
            ("'2026-02-31'", true),
            ("7", true),
            ("''", true),
            ("x'ff'", true),
            ("'2020-01-01'", false),
            ("'2020-01-01 00:00'", false),
            ("'2999-01-01'", true),
            ("'2999-01-01T00:00+01:00'", true),
        ]
    };
    for (n, (end, _)) in ends.iter().enumerate() {
        playground.sql(&format!(
            "INSERT INTO share_links (stored_file_id, token, expires_at) SELECT min(id), 't{n}', {end} FROM stored_files"
        ));
    }
    if !database::on_postgres() {
        playground.sql("INSERT INTO share_links (stored_file_id, token) SELECT min(id), x'ff00' FROM stored_files");
        let ran = playground.run(&["index", "export", "made.ndjson"]);
        assert!(ran.code == 4 && ran.err.contains("no text") && ran.err.lines().count() == 2, "{ran:?}");
        playground.sql("DELETE FROM share_links WHERE token = x'ff00'");
    }
    export(&playground);
    playground.index = TestDatabase::blank();
    playground.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    import(&playground, &[]).ends(0);
    let list = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    let active: Vec<bool> = list.as_array().unwrap().iter().map(|link| link["is_active"].as_bool().unwrap()).collect();
    let want: Vec<bool> = ends.iter().map(|(_, active)| *active).collect();
    assert_eq!(active, want, "{list}");
}

/// An end by which the database does not judge is told as it stands: nobody takes it for one that is over.
#[test]
fn ends_that_the_database_cannot_read_are_told_as_they_stand() {
    if skip::unless_on_sqlite() {
        return;
    }
    let playground = with_links();
    playground.sql("DELETE FROM share_links");
    let ends = [
        ("'2000-01-01T00:00:00+0200'", "2000-01-01T00:00:00+0200", true),
        ("'2000-01-01 00:00:00 +02'", "2000-01-01 00:00:00 +02", true),
        ("'someday'", "someday", true),
        ("7", "7", true),
        ("'2000-01-01T00:00:00+02:00'", "1999-12-31T22:00:00+00:00", false),
        ("'2000-01-01'", "2000-01-01T00:00:00+00:00", false),
        ("'2999-01-01 00:00'", "2999-01-01T00:00:00+00:00", true),
    ];
    for (n, (end, ..)) in ends.iter().enumerate() {
        let made = "SELECT id, 't{n}', {end} FROM stored_files WHERE path = 'a.txt'";
        let made = made.replace("{n}", &n.to_string()).replace("{end}", end);
        playground.sql(&format!("INSERT INTO share_links (stored_file_id, token, expires_at) {made}"));
    }
    let want: Vec<_> = ends.iter().map(|(_, told, is_active)| json!([told, is_active])).collect();
    let list = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    let explained = playground.run(&["explain", "--user-id", "1", "a.txt", "--format", "json"]).json()["links"].clone();
    for links in [&list, &explained] {
        let told = links.as_array().unwrap().iter().map(|link| json!([link["expires_at"], link["is_active"]]));
        assert_eq!(told.collect::<Vec<_>>(), want, "{links}");
    }
    let text = playground.run(&["share", "list"]).ends(0).out;
    for (line, (_, told, is_active)) in text.lines().skip(1).zip(&ends) {
        let state = if *is_active { "active" } else { "ended" };
        assert!(line.contains(&format!("{state:<6}  {told}")), "{line}");
    }
}

/// Records go while links to them are imported: each link is there with its record, or told.
#[test]
fn law_02_records_that_vanish_during_an_import_are_told() {
    let playground = Playground::with_user();
    let count = 6_000;
    let rows = format!(
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) \
         INSERT INTO stored_files (user_id, path) SELECT 1, 'f' || CAST(n AS TEXT) FROM s"
    );
    playground.sql(&rows);
    let mut text = header(1, count) + &user(1, "ann", "1");
    (1..=count).rev().for_each(|n| text.push_str(&link(1, "ann", &format!("f{n}"), &format!("t{n}"))));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let other = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let mut records = Vec::new();
        let mut pages = index.records(vec![1]);
        while let Some(page) = pages.next().await.unwrap() {
            records.extend((0..page.len()).map(|at| (page.get(at).id, page.get(at).version.to_vec())));
        }
        let deleting = tokio::spawn(async move {
            let (writer, mut deleted) = (other.writer().unwrap(), 0);
            for some in records.chunks(25) {
                let candidates: Vec<_> =
                    some.iter().map(|(id, version)| Candidate { id: *id, user: 1, version }).collect();
                let begun = std::time::Instant::now();
                let fates = loop {
                    match writer.delete(&candidates).await {
                        Ok(fates) => break fates,
                        // SQLite knows no turns.
                        Err(error) => assert!(error.to_string().contains("locked"), "{error}"),
                    }
                };
                tokio::time::sleep(begun.elapsed()).await;
                deleted += fates.into_iter().filter(|fate| *fate == Fate::Deleted).count() as u64;
            }
            deleted
        });
        let mut told = 0;
        let imported = index.import(text.as_bytes(), false, &mut |_| told += 1).await.unwrap();
        let deleted = deleting.await.unwrap();
        println!("{deleted} records went, {} links came", imported.links.imported);
        assert_eq!((imported.links.imported + deleted, imported.links.without_record), (count, deleted));
        assert_eq!(told, deleted);
        let db = playground.database().await;
        let there = "SELECT CAST(count(*) AS TEXT) FROM share_links JOIN stored_files f ON f.id = stored_file_id";
        assert_eq!(column(&db, there).await, [imported.links.imported.to_string()]);
        index.close().await;
    });
}

fn dangling(playground: &Playground, change: impl Fn(&mut Command)) -> Ran {
    let mut command = playground.command();
    change(&mut command);
    command.args(["share", "list", "--dangling", "--format", "json"]).output().unwrap().into()
}

fn paths(ran: &Ran) -> Vec<String> {
    ran.json().as_array().unwrap().iter().map(|link| link["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn dangling_links_are_listed_and_left_alone() {
    let playground = with_links();
    assert_eq!(paths(&dangling(&playground, |_| ()).ends(0)), [""; 0]);
    playground.remove("1/a.txt");
    playground.remove("papers/c");
    let before = playground.dump();
    let ran = dangling(&playground, |_| ()).ends(0);
    // Two links, one revoked and one expired; and a third one of another user.
    assert_eq!(paths(&ran), ["a.txt", "a.txt", "c"]);
    assert!(ran.json().as_array().unwrap().iter().all(|link| link["is_active"] == false), "{ran:?}");
    let text = playground.run(&["share", "list", "--dangling"]).ends(0);
    assert_eq!((text.out.lines().count(), text.err.as_str()), (4, ""), "{text:?}");
    assert_eq!(paths(&playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0)).len(), 5);
    // Something is there that is no object: nobody can say that the file is gone.
    std::os::unix::fs::symlink("nowhere", playground.path("files/1/a.txt")).unwrap();
    let ran = dangling(&playground, |_| ()).ends(4);
    assert_eq!((paths(&ran), ran.err.lines().count()), (vec!["c".to_owned()], 2), "{ran:?}");
    assert_eq!(playground.dump(), before);
    // On a disk that is not mounted all of them would dangle.
    std::fs::rename(playground.path("files"), playground.path("elsewhere")).unwrap();
    std::fs::create_dir(playground.path("files")).unwrap();
    playground.run(&["share", "list", "--dangling"]).ends(3).complains(&["mounted"]);
    std::fs::remove_dir(playground.path("files")).unwrap();
    playground.run(&["share", "list", "--dangling"]).ends(4).complains(&["does not exist"]);
    playground.run(&["share", "list", "--dangling", "--storage", "x://y"]).ends(2);
    let mut command = playground.command();
    Ran::from(command.env_remove("STORAGE_URL").args(["share", "list", "--dangling"]).output().unwrap())
        .ends(2)
        .complains(&["--storage"]);
}

#[test]
fn dangling_on_s3_is_what_the_server_says_is_not_found() {
    let playground = with_links();
    let server = S3Server::start();
    for key in ["1/a.txt", "1/deep/b.txt", "20/d"] {
        server.put(key, b"x");
    }
    let on = |url: &str| {
        let url = url.to_owned();
        dangling(&playground, |command| {
            command.env("STORAGE_URL", &url).envs(server.env()).env("STORAGE_IDENTITY", "none");
        })
    };
    assert_eq!(paths(&on("s3://bucket").ends(0)), ["c"]);
    server.remove("20/d");
    server.faults().refuse_head = Some("papers/c".to_owned());
    let ran = on("s3://bucket").ends(4);
    assert_eq!((paths(&ran), ran.err.lines().count()), (vec!["d".to_owned()], 1), "{ran:?}");
    assert!(ran.err.contains("\"c\" of user 5") && ran.err.contains("access denied"), "{ran:?}");
    // A wrong bucket has none of the files, and says so of each.
    server.faults().refuse_head = None;
    let ran = on("s3://no-such-bucket").ends(4);
    assert_eq!((paths(&ran).len(), ran.err.lines().count()), (0, 1), "{ran:?}");
    assert!(ran.err.contains("bucket does not exist"), "{ran:?}");
}

/// At most so many questions at a time, and none after a storage that does not answer at all.
#[test]
fn a_storage_that_never_answers_is_left_alone() {
    let playground = with_links();
    let rows = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 3000) \
                INSERT INTO share_links (stored_file_id, token) SELECT (SELECT min(id) FROM stored_files), CAST(n AS TEXT) FROM s";
    playground.sql(rows);
    let server = S3Server::start();
    let ran = dangling(&playground, |command| {
        command.env("STORAGE_URL", "s3://bucket").envs(server.env()).env("STORAGE_IDENTITY", "none");
        command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    })
    .ends(4);
    assert!(ran.err.contains("does not answer") && ran.err.lines().count() < 100, "{}", ran.err.lines().count());
    assert_eq!(paths(&ran).len(), 0);
}

#[test]
fn all_that_is_known_of_one_path() {
    let playground = with_links();
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Read).await.unwrap();
        let row = index.record_row(1, "a.txt").await.unwrap().unwrap();
        let of = |name: &str| row.columns[name].as_deref();
        assert_eq!((of("path"), of("parent_path"), of("size")), (Some("a.txt"), Some(""), Some("7")));
        assert_eq!((of("content_type"), row.columns.len()), (Some("text/plain"), 12));
        let links = index.links_of(row.id).await.unwrap();
        assert_eq!(
            links.iter().map(|link| (link.path.as_deref().unwrap(), link.is_active)).collect::<Vec<_>>(),
            [("a.txt", false); 2]
        );
        assert_eq!(index.record_row(1, "nothing").await.unwrap(), None);
        assert_eq!(index.record_row(9, "a.txt").await.unwrap(), None);
        index.close().await;
    });
}
