//! Law 21: tokens and keys are shown when they are made and where they are asked for, and nowhere else.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use storm_index::index::{Access, Index, NewLink};

use crate::support::database::column;
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::server::LONG;
use crate::support::skip;

/// User 1 with files `a`, `b` and `gone`, and a link to each; of `gone` the file is gone.
fn shared() -> (Playground, Vec<String>) {
    let playground = Playground::with_user();
    let paths = ["a", "b", "gone"];
    paths.iter().for_each(|path| playground.write(&format!("1/{path}"), path));
    playground.sync();
    let tokens = paths.map(|path| playground.share(1, path));
    playground.remove("1/gone");
    (playground, tokens.map(|token| token.trim().to_owned()).to_vec())
}

fn masked(token: &str) -> String {
    format!("{}…", &token[..6])
}

/// Runs a command with something on its stdin.
fn with_stdin(playground: &Playground, args: &[&str], text: &[u8]) -> Ran {
    let mut command = playground.command();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever reads one line may have gone by the end of the text.
    let _ = child.stdin.take().unwrap().write_all(text);
    child.wait_with_output().unwrap().into()
}

/// Returns which links are active, by their ids.
fn active(playground: &Playground) -> Vec<i64> {
    let list = playground.run(&["share", "list", "--format", "json"]).ends(0).json();
    let active = list.as_array().unwrap().iter().filter(|link| link["is_active"] == true);
    active.map(|link| link["id"].as_i64().unwrap()).collect()
}

fn count(playground: &Playground, table: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS text) FROM {table}");
    block_on(async { column(&playground.database().await, &query).await }).remove(0)
}

#[test]
fn law_21_lists_show_ids_first_and_tokens_masked() {
    let (playground, tokens) = shared();
    for (args, shown) in [(&[][..], &tokens[..]), (&["--dangling"][..], &tokens[2..])] {
        let list = |more: &[&str]| playground.run(&[&["share", "list"], args, more].concat()).ends(0).out;
        let json = |more: &[&str]| -> Vec<Value> {
            let list: Value = serde_json::from_str(&list(&[&["--format", "json"], more].concat())).unwrap();
            list.as_array().unwrap().iter().map(|link| link["token"].clone()).collect()
        };
        let text = list(&[]);
        assert_eq!(text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>()[..2], ["ID", "TOKEN"]);
        let ids = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().parse::<usize>().unwrap());
        let want: Vec<usize> = (0..3).filter(|at| shown.contains(&tokens[*at])).map(|at| at + 1).collect();
        assert_eq!(ids.collect::<Vec<_>>(), want, "{text}");
        for token in shown {
            assert!(text.contains(&masked(token)) && !text.contains(token.as_str()), "{text}");
            assert!(list(&["--show-tokens"]).contains(token.as_str()));
        }
        assert_eq!(json(&[]), shown.iter().map(|token| json!(masked(token))).collect::<Vec<_>>());
        assert_eq!(json(&["--show-tokens"]), shown.iter().map(|token| json!(token)).collect::<Vec<_>>());
    }
}

#[test]
fn law_21_create_prints_the_whole_token_once() {
    let (playground, _) = shared();
    let made = playground.run(&["share", "create", "--user-id", "1", "a", "--format", "json"]).ends(0);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!((token.len(), made.json()["id"].clone(), made.err), (64, json!(4), String::new()));
    let made = playground.run(&["share", "create", "--user-id", "1", "a"]).ends(0);
    assert!(!made.err.contains(made.out.trim()), "{made:?}");
}

#[test]
fn a_link_is_revoked_by_its_id_its_token_or_a_line_on_stdin() {
    let (playground, tokens) = shared();
    playground.run(&["share", "revoke", "2"]).ends(0);
    assert_eq!(active(&playground), [1, 3]);
    playground.run(&["share", "revoke", &tokens[0]]).ends(0);
    assert_eq!(active(&playground), [3]);
    with_stdin(&playground, &["share", "revoke", "-"], format!("  {}\r\nmore\n", tokens[2]).as_bytes()).ends(0);
    assert_eq!(active(&playground), [] as [i64; 0]);
    for text in ["", "\n", "  \n3\n"] {
        with_stdin(&playground, &["share", "revoke", "-"], text.as_bytes()).ends(2).complains(&["stdin"]);
    }
    with_stdin(&playground, &["share", "revoke", "-"], b"\xff\n").ends(2).complains(&["stdin"]);
    with_stdin(&playground, &["share", "revoke", "-"], b"a\0b\n").ends(2).complains(&["share list"]);
    let id =
        playground.run(&["share", "create", "--user-id", "1", "a", "--format", "json"]).ends(0).json()["id"].clone();
    with_stdin(&playground, &["share", "revoke", "-"], id.to_string().as_bytes()).ends(0);
    assert_eq!(active(&playground), [] as [i64; 0]);
}

#[test]
fn what_names_two_links_or_none_revokes_nothing() {
    let (playground, tokens) = shared();
    playground.sql("INSERT INTO share_links (id, stored_file_id, token) SELECT 20, min(id), '2' FROM stored_files");
    playground
        .run(&["share", "revoke", "2"])
        .ends(2)
        .complains(&["id of one share link and the token of another", "20"]);
    assert_eq!(active(&playground), [1, 2, 3, 20]);
    // One that is both the id and the token of the same link names that link.
    playground.sql("UPDATE share_links SET token = '20' WHERE id = 20");
    playground.run(&["share", "revoke", "20"]).ends(0);
    assert_eq!(active(&playground), [1, 2, 3]);
    playground.run(&["share", "revoke", "77"]).ends(2).complains(&["77", "share list"]);
    let mistyped = format!("{}x", &tokens[0][..63]);
    for which in [mistyped.as_str(), "02", "+2"] {
        let ran = playground.run(&["share", "revoke", which]).ends(2).complains(&["no share link"]);
        assert!(!ran.err.contains(&mistyped[7..]), "{ran:?}");
    }
    assert_eq!(active(&playground), [1, 2, 3]);
}

#[test]
fn law_21_no_token_is_in_what_runs_and_their_reports_say() {
    let (playground, mut tokens) = shared();
    playground.write("1/dead", "x");
    playground.sync();
    tokens.push(playground.share(1, "dead"));
    playground.run(&["share", "revoke", &tokens[3]]).ends(0);
    playground.remove("1/dead");
    let cleaned = playground.rebuild(&["-vv", "--mode", "clean", "--force", "--report", "r.ndjson"]).ends(0);
    let task = cleaned.json()["task_id"].as_str().unwrap().to_owned();
    let mut said = vec![("clean", format!("{cleaned:?}"))];
    said.push(("report", std::fs::read_to_string(playground.path("r.ndjson")).unwrap()));
    for path in ["gone", "dead", "a"] {
        let ran = playground.run(&["explain", "--user-id", "1", path, "--format", "json"]).ends(0);
        // What went along with a record stands in the journal.
        assert!(path != "dead" || ran.json()["journal"][0]["links"][0]["token"] == masked(&tokens[3]), "{ran:?}");
        said.push(("explain --format json", format!("{ran:?}")));
        said.push(("explain", format!("{:?}", playground.run(&["explain", "--user-id", "1", path]).ends(0))));
    }
    said.push(("restore", format!("{:?}", playground.run(&["restore", &task, "--format", "json", "-vv"]).ends(0))));
    for args in [&["task", "list", "--format", "json"][..], &["task", "show", &task, "--format", "json"]] {
        said.push(("task", playground.run(args).ends(0).out));
    }
    let key = playground.admin_key();
    let server = playground.serve(&[]);
    let run = server.rebuild(&key, &[LONG], r#"{"mode": "audit"}"#).is(200);
    let id = run.json()["task_id"].as_str().unwrap().to_owned();
    for path in [format!("/api/v1/index/tasks/{id}/findings"), "/api/v1/index/tasks/".to_owned(), "/metrics".to_owned()]
    {
        said.push(("the API", server.get(&path, &key).is(200).body));
    }
    said.push(("the log of the server", server.log()));
    for (what, text) in said {
        for token in &tokens {
            assert!(!text.contains(token.as_str()), "{what}: {text}");
        }
        assert!(!text.contains(&key[12..]), "{what}: {text}");
    }
    let rows = "SELECT coalesce(CAST(request AS text), '') || coalesce(CAST(result AS text), '') || \
                coalesce(CAST(errors AS text), '') FROM tasks";
    let rows = block_on(async { column(&playground.database().await, rows).await });
    assert!(!rows.is_empty() && rows.iter().all(|row| tokens.iter().all(|token| !row.contains(token.as_str()))));
}

#[test]
fn law_21_no_error_of_the_library_has_a_token_in_it() {
    let (playground, tokens) = shared();
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let new = NewLink { user: 1, path: "b".to_owned(), token: tokens[0].as_str().into(), expires_at: None };
        assert!(!format!("{new:?}").contains(&tokens[0]));
        let error = index.create_link(new).await.unwrap_err();
        assert_eq!(error.code(), "token_taken");
        assert!(!format!("{error} {error:?}").contains(&tokens[0]), "{error} {error:?}");
        let links = format!("{:?}", index.placed_links(None).await.unwrap());
        assert!(links.contains(&masked(&tokens[0])) && !links.contains(&tokens[0]), "{links}");
        index.close().await;
    });
    let line = json!({"kind": "share_link", "user_id": 1, "user": "ann", "path": "a", "token": 123_456_789, "is_active": true,
                      "expires_at": null, "created_at": "2026-01-01T00:00:00+00:00"});
    let header = json!({"kind": "storm_index_export", "version": 1, "counts": {"share_link": 1}});
    let ran = with_stdin(&playground, &["index", "import", "-"], format!("{header}\n{line}\n").as_bytes());
    assert!(ran.code != 0 && !format!("{ran:?}").contains("123456789"), "{ran:?}");
}

/// What makes a secret, and the table where it is.
const CREATE: [(&[&str], &str); 2] = [
    (&["share", "create", "--user-id", "1", "a"], "share_links"),
    (&["key", "create", "--user", "ann", "--admin"], "api_keys"),
];

#[test]
fn what_nobody_could_read_is_not_made() {
    let (playground, _) = shared();
    for (args, table) in CREATE {
        for format in ["text", "json"] {
            let before = count(&playground, table);
            let run = |stdout: Stdio| -> Ran {
                let mut command = playground.command();
                command.args(args).args(["--format", format]).stdout(stdout).stderr(Stdio::piped());
                command.spawn().unwrap().wait_with_output().unwrap().into()
            };
            let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
            run(full.into()).ends(4).complains(&["could not be written to stdout", "removed again"]);
            assert_eq!(count(&playground, table), before, "{args:?} into a full disk");
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            run(writer.into()).ends(4).complains(&["could not be written to stdout", "removed again"]);
            assert_eq!(count(&playground, table), before, "{args:?} into a closed pipe");
            run(Stdio::null()).ends(0);
            assert_ne!(count(&playground, table), before, "{args:?}");
        }
    }
}

/// Where the database does not let go of it, its id is named.
#[test]
fn what_could_not_be_removed_again_is_named() {
    if skip::unless_on_sqlite() {
        return;
    }
    let (playground, _) = shared();
    for (args, table) in CREATE {
        playground.sql(&format!(
            "CREATE TRIGGER keep_{table} BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'kept'); END"
        ));
        let mut command = playground.command();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        command.args(args).stdout(full).stderr(Stdio::piped());
        let ran: Ran = command.spawn().unwrap().wait_with_output().unwrap().into();
        ran.ends(4).complains(&["could not be removed", "revoke it by its id"]);
    }
}
