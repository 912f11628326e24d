//! Ids that somebody has given by hand are stepped over, and none is ever given twice.

use sea_orm::ConnectionTrait as _;
use serde_json::json;
use storm_index::index::{Access, Index, NewLink};

use crate::support::database::{self, column};
use crate::support::playground::{Playground, block_on};
use crate::support::skip;

fn query(playground: &Playground, query: &str) -> Vec<String> {
    block_on(async { column(&playground.database().await, query).await })
}

fn ids(playground: &Playground) -> Vec<String> {
    query(playground, "SELECT CAST(id AS TEXT) || ' ' || path FROM stored_files ORDER BY id")
}

fn share(playground: &Playground, path: &str) -> i64 {
    let made = playground.run(&["share", "create", "--user-id", "1", path, "--format", "json"]).ends(0).json();
    made["id"].as_i64().unwrap()
}

/// The files `names` of user 1, and no record.
fn with_files(names: &[&str]) -> Playground {
    let playground = Playground::with_user();
    names.iter().for_each(|name| playground.write(&format!("1/{name}"), "x"));
    playground
}

#[test]
fn the_first_id_is_not_passed_over() {
    let playground = with_files(&["a", "b"]);
    playground.sync();
    assert_eq!(ids(&playground), ["1 a", "2 b"]);
    assert_eq!(share(&playground, "a"), 1);
    playground.sync();
    playground.write("1/c", "x");
    playground.sync();
    assert_eq!((ids(&playground), share(&playground, "c")), (["1 a", "2 b", "3 c"].map(str::to_owned).to_vec(), 2));
}

#[test]
fn records_and_links_that_came_with_their_ids_are_stepped_over() {
    let playground = with_files(&["a", "b", "c"]);
    playground.sql("INSERT INTO stored_files (id, user_id, path) VALUES (1, 1, 'a'), (2, 1, 'b')");
    playground.sync();
    assert_eq!(ids(&playground), ["1 a", "2 b", "3 c"]);
    playground.sql("INSERT INTO share_links (id, stored_file_id, token) VALUES (1, 1, 't1'), (7, 1, 't7')");
    assert_eq!((share(&playground, "b"), share(&playground, "c")), (8, 9));
    // What the database would give is never lowered.
    playground.sql("DELETE FROM share_links WHERE id > 7");
    assert_eq!(share(&playground, "b"), 10);
    playground.sql("DELETE FROM stored_files WHERE path = 'c'");
    playground.sync();
    assert_eq!(ids(&playground), ["1 a", "2 b", "4 c"]);
}

#[test]
fn an_id_that_was_given_by_hand_is_not_given_again_when_its_record_is_gone() {
    let playground = with_files(&["a"]);
    playground.sync();
    playground.sql("INSERT INTO stored_files (id, user_id, path) VALUES (50, 1, 'gone')");
    playground.sql("INSERT INTO share_links (id, stored_file_id, token, is_active) VALUES (60, 50, 't', false)");
    let cleaned = playground.rebuild(&["--mode", "clean", "--force"]).ends(0).json();
    playground.write("1/b", "x");
    playground.sync();
    assert_eq!(ids(&playground), ["1 a", "51 b"]);
    assert_eq!(share(&playground, "b"), 61);
    // It comes back as what it was, and the next one is given another.
    playground.run(&["restore", cleaned["task_id"].as_str().unwrap()]).ends(0);
    assert_eq!(ids(&playground), ["1 a", "50 gone", "51 b"]);
    assert_eq!(query(&playground, "SELECT CAST(id AS TEXT) FROM share_links ORDER BY share_links.id"), ["60", "61"]);
    if database::on_postgres() {
        // An earlier version has deleted one of which only the journal knows.
        playground.sql("INSERT INTO journal (action, record_id, user_id, path) VALUES ('delete', 70, 1, 'x')");
        playground.write("1/c", "x");
        playground.sync();
        assert_eq!(ids(&playground), ["1 a", "50 gone", "51 b", "71 c"]);
    }
    // Nor when they went with their user.
    playground.add_user("bob", 2);
    playground.sql("INSERT INTO stored_files (id, user_id, path) VALUES (90, 2, 'x')");
    playground.sql("INSERT INTO share_links (id, stored_file_id, token, is_active) VALUES (95, 90, 'u', false)");
    playground.run(&["user", "remove", "bob"]).ends(0);
    playground.write("1/d", "x");
    playground.sync();
    assert_eq!(ids(&playground).last().unwrap(), "91 d");
    assert_eq!(share(&playground, "d"), 96);
}

#[test]
fn imports_and_restores_step_over_them_as_well() {
    let playground = with_files(&["a", "b"]);
    playground.sync();
    share(&playground, "a");
    playground.run(&["index", "export", "made.ndjson"]).ends(0);
    playground.sql("DELETE FROM share_links");
    // As a fixture leaves them: with ids, and nothing that counts them.
    playground.sql("INSERT INTO share_links (id, stored_file_id, token) VALUES (2, 2, 't2'), (3, 2, 't3')");
    playground.run(&["index", "import", "made.ndjson"]).ends(0);
    assert_eq!(query(&playground, "SELECT CAST(id AS TEXT) FROM share_links ORDER BY share_links.id"), ["2", "3", "4"]);
    // A link that only a line of the journal knew is made again by a restore; another program makes the next one.
    let link = json!([{"id": 20, "token": "old", "is_active": false, "expires_at": null,
                       "created_at": "2026-01-01T00:00:00+00:00"}]);
    let image = json!({"id": 9, "user_id": 1, "path": "gone", "size": 1, "content_type": null, "etag": null,
                       "last_modified": null, "created_at": "2026-01-01T00:00:00+00:00",
                       "updated_at": "2026-01-01T00:00:00+00:00"});
    playground.sql(&format!(
        "INSERT INTO tasks (id, request, status) VALUES ('old', '{{}}', 'SUCCESSFUL'); \
         INSERT INTO journal (task_id, action, record_id, user_id, path, before, links) \
         VALUES ('old', 'delete', 9, 1, 'gone', '{image}', '{link}')"
    ));
    playground.run(&["restore", "old"]).ends(0);
    playground.sql("INSERT INTO share_links (stored_file_id, token) VALUES (9, 'new')");
    playground.sql("INSERT INTO stored_files (user_id, path) VALUES (1, 'new')");
    assert_eq!(
        query(&playground, "SELECT CAST(id AS TEXT) FROM share_links ORDER BY share_links.id"),
        ["2", "3", "4", "20", "21"]
    );
    assert_eq!(ids(&playground), ["1 a", "2 b", "9 gone", "10 new"]);
}

/// Many people make links at the moment at which somebody has given ids by hand.
#[test]
fn people_who_share_at_once_get_ids_of_their_own() {
    let playground = with_files(&["a"]);
    playground.sync();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = playground.database().await;
        let mut indexes = Vec::new();
        for _ in 0..4 {
            indexes.push(Index::open(&playground.index.url(), Access::Write).await.unwrap());
        }
        for round in 0..30 {
            let give = format!(
                "INSERT INTO share_links (id, stored_file_id, token) SELECT max(id) + 3, 1, 'hand {round}' FROM \
                 (SELECT id FROM share_links UNION ALL SELECT 0) AS s"
            );
            db.execute_unprepared(&give).await.unwrap();
            let sharing = indexes.iter().enumerate().map(|(n, index)| {
                let token = format!("{round} {n}");
                let new = NewLink { user: 1, path: "a".to_owned(), token: token.into(), expires_at: None };
                let index = index.clone();
                tokio::spawn(async move { index.create_link(new).await })
            });
            for made in futures::future::join_all(sharing).await {
                made.unwrap().unwrap();
            }
        }
        assert_eq!(column(&db, "SELECT CAST(count(*) AS TEXT) FROM share_links").await, ["150"]);
        for index in indexes {
            index.close().await;
        }
    });
}

/// Who may not say where the ids go on can work all the same, and is told what to do when it is too late.
#[test]
fn a_role_that_may_not_raise_the_ids_is_told_how() {
    if skip::unless_on_postgres() {
        return;
    }
    let playground = with_files(&["a", "b"]);
    let role = format!("writer{}", std::process::id());
    playground.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    ));
    let url = playground.index.url().replace("postgres@", &format!("{role}@"));
    let sync = ["--database", &url, "--mode", "sync"];
    for grant in ["", "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO"] {
        if !grant.is_empty() {
            playground.sql(&format!("{grant} {role}"));
        }
        playground.sql("DELETE FROM stored_files");
        playground.rebuild(&sync).ends(0);
        let next = "SELECT CAST(last_value + 1 AS TEXT) FROM stored_files_id_seq";
        let next = query(&playground, next).remove(0);
        playground.sql(&format!(
            "INSERT INTO stored_files (id, user_id, path) VALUES ({next}, 1, 'hand'); DELETE FROM stored_files WHERE path = 'a'"
        ));
        let ran = playground.rebuild(&sync).ends(4);
        assert!(ran.err.contains("SELECT setval('stored_files_id_seq'"), "{ran:?}");
    }
    playground.sql("INSERT INTO share_links (id, stored_file_id, token) SELECT 1, min(id), 't' FROM stored_files");
    let ran = playground.run(&["share", "create", "--user-id", "1", "b", "--database", &url]).ends(4);
    assert!(ran.err.contains("SELECT setval('share_links_id_seq'"), "{ran:?}");
    playground.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
